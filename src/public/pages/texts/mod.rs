//! What the pages say, one plain table a language.
//!
//! A table is a struct, so a text that is missing in one language does not compile. Texts speak to a
//! visitor who has never heard of us: what has happened, and what to do now. They hold no markup. A soft hyphen in a
//! button says where its longest word is broken in a window that is too narrow for it.

mod de;
mod en;
mod es;
mod fr;

use jiff::{Timestamp, tz::TimeZone};

use crate::domain::Language;

/// Makes the table's type, and a way to walk over all texts for the tests.
macro_rules! texts {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Everything the pages can say, in one language.
        #[derive(Debug)]
        pub(super) struct Texts { $($(#[$doc])* pub(super) $name: &'static str,)* }

        impl Texts {
            /// Every text with its name.
            #[cfg(test)]
            pub(super) fn all(&self) -> Vec<(&'static str, &'static str)> {
                vec![$((stringify!($name), self.$name)),*]
            }
        }
    };
}

texts! {
    /// Link back to the site; `{host}`.
    back,
    /// What the browser sent cannot be used.
    bad_request_title,
    bad_request_body,
    /// The envelope is complete.
    completed_title,
    completed_body,
    /// A customer connects an account that is connected already; `{sender}`.
    connect_again_title,
    connect_again_body,
    /// A customer connects an account; `{sender}`.
    connect_body,
    connect_button,
    /// Which of several accounts; `{sender}`.
    connect_choose_title,
    connect_choose_body,
    connect_choose_button,
    connect_choose_default,
    connect_choose_legend,
    /// The customer refused.
    connect_denied_title,
    connect_denied_body,
    /// The account is connected; `{sender}`, `{account}`.
    connect_done_title,
    connect_done_body,
    /// It failed; `{code}`.
    connect_failed_title,
    connect_failed_body,
    /// There is no account to use.
    connect_no_account_title,
    connect_no_account_body,
    /// DocuSign does not let us act.
    connect_not_allowed_title,
    connect_not_allowed_body,
    connect_not_allowed_button,
    /// An old link or answer.
    connect_stale_title,
    connect_stale_body,
    /// Title of the first page.
    connect_title,
    /// Somebody refused consent, or nobody was asked who could give it.
    consent_denied_title,
    consent_denied_body,
    /// Consent could not be proven.
    consent_failed_title,
    consent_failed_body,
    /// Consent was granted; `{sender}`.
    consent_granted_title,
    consent_granted_body,
    /// Somebody has answered who came by a link without a state: an administrator, or the sender's user by the log.
    consent_organisation_body,
    /// It is not known whom the answer is about.
    consent_received_title,
    consent_received_body,
    /// The account server refused to ask for it; `{code}`.
    consent_refused_title,
    consent_refused_body,
    /// The account server has a problem of its own.
    consent_unavailable_title,
    consent_unavailable_body,
    /// Somebody else consented; `{sender}`.
    consent_wrong_user_title,
    consent_wrong_user_body,
    /// The signer has opened the documents before.
    continue_title,
    continue_body,
    continue_button,
    /// The envelope does not exist yet.
    creating_title,
    creating_body,
    /// It waits for its turn, and so does a person, who can say so.
    creating_behind_body,
    creating_button,
    /// They have said so.
    creating_first_title,
    creating_first_body,
    /// A moment; `{day}`, `{month}`, `{year}`, `{time}`.
    date_and_time,
    /// The signer declined.
    declined_title,
    declined_body,
    /// Another signer declined.
    declined_other_title,
    declined_other_body,
    /// Before the visitor leaves for the upstream's pages.
    docusign_note,
    /// Another view of the envelope may be open; `{minutes}`.
    elsewhere_title,
    elsewhere_body,
    elsewhere_retry,
    /// The envelope ran out of time.
    expired_title,
    expired_body,
    /// The envelope will never exist.
    failed_title,
    failed_body,
    /// Waiting for a fax.
    fax_title,
    fax_body,
    /// Label of the signer's name.
    for_label,
    /// The upstream has no such envelope (any more).
    gone_title,
    gone_body,
    /// An identity check failed.
    id_check_title,
    id_check_body,
    /// The upstream does not answer; the click waits in line.
    in_line_title,
    in_line_body,
    /// A click of which nothing is known here (any more), where it can be repeated.
    line_lost,
    /// The link's own time is over.
    link_expired_title,
    link_expired_body,
    /// The link leads on for as long as the envelope is open.
    link_lives,
    /// It does until then; `{moment}`.
    link_lives_until,
    /// So many minutes; `{n}`.
    minutes_many,
    minutes_one,
    /// The names of the twelve, with a space between.
    months,
    /// The claim is not confirmed yet.
    pending_title,
    pending_body,
    pending_long,
    /// A click that did not come from our own page.
    press_again,
    /// The signer's turn.
    ready_title,
    ready_body,
    ready_button,
    /// Label of the caller's reference.
    reference_label,
    /// The page loads itself again.
    refreshes,
    /// "Finish later".
    renamed_title,
    renamed_body,
    resume_cancel_title,
    resume_cancel_body,
    /// The signing page failed.
    resume_exception_title,
    resume_exception_body,
    /// Idle for too long.
    resume_timeout_title,
    resume_timeout_body,
    /// The view was used already, or too late.
    resume_ttl_title,
    resume_ttl_body,
    /// The link was revoked.
    revoked_title,
    revoked_body,
    /// The signer has signed, and others have not.
    signed_title,
    signed_body,
    /// The signer has signed, and nobody knows whether others have to.
    signed_last_body,
    /// Said before a signing with an SMS check.
    sms_note,
    /// Nothing that is done here binds.
    test_mode,
    /// Too many guesses.
    too_many_title,
    too_many_body,
    /// Too many views for one signer.
    too_often_title,
    too_often_body,
    /// Something on our side that does not heal by itself.
    trouble_title,
    trouble_body,
    /// The upstream does not answer.
    unavailable_title,
    unavailable_body,
    unavailable_button,
    /// No such link.
    unknown_title,
    unknown_body,
    /// The sender called it off.
    voided_title,
    voided_body,
    /// Others sign first, of whom only the upstream knows.
    waiting_ask_body,
    /// Others sign first.
    waiting_title,
    waiting_body,
}

impl Texts {
    /// The table of a language.
    pub(super) const fn of(language: Language) -> &'static Self {
        match language {
            Language::De => &de::TEXTS,
            Language::En => &en::TEXTS,
            Language::Es => &es::TEXTS,
            Language::Fr => &fr::TEXTS,
        }
    }

    /// So many minutes, in words.
    pub(super) fn minutes(&self, minutes: u64) -> String {
        match minutes {
            0 | 1 => self.minutes_one.to_owned(),
            more => self.minutes_many.replace("{n}", &more.to_string()),
        }
    }

    /// A moment, to the minute. The month has its name, because its number is taken for the day's in other countries.
    pub(super) fn moment(&self, at: Timestamp) -> String {
        let at = at.to_zoned(TimeZone::UTC);
        let before = usize::from(at.month().unsigned_abs()).saturating_sub(1);
        self.date_and_time
            .replace("{day}", &at.day().to_string())
            .replace("{month}", self.months.split(' ').nth(before).unwrap_or_default())
            .replace("{year}", &at.year().to_string())
            .replace("{time}", &at.strftime("%H:%M").to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The `{…}` of a text, sorted.
    fn holes(text: &str) -> Vec<&str> {
        let mut holes: Vec<_> =
            text.split('{').skip(1).filter_map(|rest| rest.split_once('}')).map(|(name, _)| name).collect();
        holes.sort_unstable();
        holes
    }

    #[test]
    fn l5_every_text_exists_in_each_language_with_the_same_holes() {
        let english = Texts::of(Language::En).all();
        assert!(english.len() > 60);
        for language in Language::ALL {
            for ((name, text), (_, original)) in Texts::of(language).all().into_iter().zip(&english) {
                assert!(!text.trim().is_empty(), "{language:?} {name}");
                assert_eq!(holes(text), holes(original), "{language:?} {name}");
                assert!(!text.contains('<'), "texts hold no markup: {language:?} {name}");
                assert!(!text.contains('…') && !text.contains("TODO"), "{language:?} {name}");
            }
        }
    }

    #[test]
    fn l5_a_moment_is_said_as_the_language_says_it() {
        let at: Timestamp = "2026-03-01T07:05:59Z".parse().unwrap();
        for (language, words) in [
            (Language::De, "1. März 2026, 07:05 Uhr (UTC)"),
            (Language::En, "1 March 2026, 07:05 (UTC)"),
            (Language::Es, "1 de marzo de 2026, 07:05 (UTC)"),
            (Language::Fr, "1 mars 2026 à 07:05 (UTC)"),
        ] {
            let texts = Texts::of(language);
            assert_eq!(texts.moment(at), words);
            assert_eq!(texts.months.split(' ').count(), 12, "{language:?}");
        }
    }

    #[test]
    fn l5_no_text_was_left_in_english() {
        let english = Texts::of(Language::En).all();
        for language in [Language::De, Language::Es, Language::Fr] {
            for ((name, text), (_, original)) in Texts::of(language).all().into_iter().zip(&english) {
                // "1 minute" is the same word in French.
                let may_agree = name.starts_with("minutes");
                assert!(may_agree || text != *original, "{language:?} {name}");
            }
        }
    }
}
