//! One signer's session, and the ways it can end.

use jiff::{SignedDuration, Timestamp};

use crate::emulator::{envelopes::model::Fields, recipient_views::View};

/// A session without a click ends after so long: the account setting Recipient Session Timeout has this default.
pub(in crate::emulator) const IDLE: SignedDuration = SignedDuration::from_mins(20);

/// How a ceremony can end: the vendor's `event`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::emulator) enum Event {
    /// The access code was wrong too often.
    AccessCodeFailed,
    /// Finish later.
    Cancel,
    /// Declined.
    Decline,
    /// Something broke.
    Exception,
    /// Waits for a fax.
    FaxPending,
    /// The identity check failed.
    IdCheckFailed,
    /// Idle too long.
    SessionTimeout,
    /// Signed.
    SigningComplete,
    /// The address was stale or spent.
    TtlExpired,
    /// There was nothing to sign.
    ViewingComplete,
}

impl Event {
    /// As it stands in the return URL.
    pub(super) fn name(self) -> &'static str {
        self.names().0
    }

    /// In the return URL, and in `clientURLs`.
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::AccessCodeFailed => ("access_code_failed", "onAccessCodeFailed"),
            Self::Cancel => ("cancel", "onCancel"),
            Self::Decline => ("decline", "onDecline"),
            Self::Exception => ("exception", "onException"),
            Self::FaxPending => ("fax_pending", "onFaxPending"),
            Self::IdCheckFailed => ("id_check_failed", "onIdCheckFailed"),
            Self::SessionTimeout => ("session_timeout", "onSessionTimeout"),
            Self::SigningComplete => ("signing_complete", "onSigningComplete"),
            Self::TtlExpired => ("ttl_expired", "onTTLExpired"),
            Self::ViewingComplete => ("viewing_complete", "onViewingComplete"),
        }
    }
}

/// Why a session is no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::emulator) enum Ending {
    /// It came to this event.
    Event(Event),
    /// A newer view was made.
    ThrownOut,
}

/// One signer at work.
#[derive(Debug, Clone)]
pub(in crate::emulator) struct Session {
    /// The envelope.
    pub(in crate::emulator) envelope: String,
    /// The recipient: its `recipientIdGuid`.
    pub(in crate::emulator) recipient: String,
    /// The request that made the view it came from.
    pub(in crate::emulator) request: u64,
    pub(super) return_url: String,
    pub(super) client_urls: Fields,
    pub(super) ancestors: Vec<String>,
    pub(super) locale: String,
    pub(super) last_seen: Timestamp,
    pub(super) ending: Option<Ending>,
    pub(super) has_access: bool,
    pub(super) has_phone: bool,
    pub(super) code: Option<String>,
    pub(super) has_opened: bool,
}

impl Session {
    /// One that begins with a view.
    pub(super) fn new(view: &View, locale: &str, now: Timestamp) -> Self {
        Self {
            return_url: view.return_url.clone(),
            client_urls: view.client_urls.clone(),
            ancestors: view.ancestors.clone(),
            ..Self::without_view(&view.envelope, &view.recipient, view.request, locale, now)
        }
    }

    /// One that begins without a view, and so leads nowhere afterwards.
    pub(super) fn without_view(
        envelope: &str,
        recipient: &str,
        request: u64,
        locale: &str,
        now: Timestamp,
    ) -> Self {
        Self {
            envelope: envelope.to_owned(),
            recipient: recipient.to_owned(),
            request,
            return_url: String::new(),
            client_urls: Fields::new(),
            ancestors: Vec::new(),
            locale: locale.to_owned(),
            last_seen: now,
            ending: None,
            has_access: false,
            has_phone: false,
            code: None,
            has_opened: false,
        }
    }

    /// Whether somebody is at work in it.
    pub(in crate::emulator) fn is_live(&self, now: Timestamp) -> bool {
        self.ending.is_none() && now.duration_since(self.last_seen) < IDLE
    }

    /// An old one is remembered for a day, so that its pages still find the way back.
    pub(in crate::emulator) fn is_worth_keeping(&self, now: Timestamp) -> bool {
        now.duration_since(self.last_seen) < SignedDuration::from_hours(24)
    }

    /// Ends it.
    pub(in crate::emulator) fn end(&mut self, ending: Ending) {
        self.ending.get_or_insert(ending);
    }
}

/// Where the browser goes: the place given for this outcome, or the return URL with its event.
pub(super) fn way_back(return_url: &str, client_urls: &Fields, event: Event) -> String {
    let (name, field) = event.names();
    // The vendor's OpenAPI file begins these names with a capital, its SDKs do not.
    let own = client_urls
        .iter()
        .find(|(key, _)| key.eq_ignore_ascii_case(field))
        .and_then(|(_, value)| value.as_str());
    if let Some(own) = own.filter(|own| !own.is_empty()) {
        return own.to_owned();
    }
    appended(return_url, &format!("event={name}"))
}

/// An address with more in its query.
pub(in crate::emulator) fn appended(whole: &str, more: &str) -> String {
    let (address, fragment) = whole.split_once('#').map_or((whole, None), |(a, f)| (a, Some(f)));
    let joint = match address.split_once('?') {
        None => "?",
        Some((_, "")) => "",
        Some((_, query)) if query.ends_with('&') => "",
        Some(_) => "&",
    };
    let fragment = fragment.map(|fragment| format!("#{fragment}")).unwrap_or_default();
    format!("{address}{joint}{more}{fragment}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_event_joins_the_query_properly() {
        let back = |url: &str| way_back(url, &Fields::new(), Event::Cancel);
        assert_eq!(back("https://a.example/done"), "https://a.example/done?event=cancel");
        assert_eq!(back("https://a.example/done?x=1"), "https://a.example/done?x=1&event=cancel");
        assert_eq!(back("https://a.example/done?"), "https://a.example/done?event=cancel");
        assert_eq!(back("https://a.example/done?x=1#top"), "https://a.example/done?x=1&event=cancel#top");
        assert_eq!(back("app://done"), "app://done?event=cancel");
    }

    #[test]
    fn a_place_of_its_own_wins() {
        let own = json!({ "OnDecline": "https://a.example/no" });
        let own = own.as_object().unwrap();
        assert_eq!(way_back("https://a.example/", own, Event::Decline), "https://a.example/no");
        assert_eq!(way_back("https://a.example/", own, Event::Cancel), "https://a.example/?event=cancel");
    }
}
