//! What the log says of senders: one line when one can act, cannot any more, or can again; and one when a key
//! is taken or refused. Not one an attempt: a sender that waits for a person asks again for as long as it takes.
//!
//! It must never log a token or an assertion. A key is its fingerprint; one that was never read has none, and is the
//! place in the settings that names it. A consent link is logged without its state, which is the visitor's who was
//! given it.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    app::{Parts, sender_events::is_told},
    auth::{
        Error, SenderStatus,
        consent::{self, Consent, ConsentBy},
        key_ring::{KeyState, KeyStatus},
    },
    domain::SenderName,
    telemetry::chain,
};

/// What was last said of each sender.
#[derive(Debug, Default)]
pub(super) struct Said(BTreeMap<Arc<str>, Stand>);

/// How a sender stands, as far as it is worth a line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Stand {
    acts: Acts,
    /// Why its last mint failed, in a word.
    cause: Option<&'static str>,
    keys: BTreeMap<KeyName, KeyState>,
}

/// What a key is called here.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum KeyName {
    /// Its fingerprint.
    Read(String),
    /// Its number in the settings' list, and why nothing could be read there: another reason is news.
    Unread(usize, String),
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Acts {
    /// Nothing is known yet.
    #[default]
    Untried,
    Yes,
    No,
}

/// What is worth a line.
#[derive(Debug, PartialEq, Eq)]
enum News {
    /// It has its first token.
    Acts,
    /// It has a token again, or its refresh works again.
    Recovered,
    /// It has a token, and cannot get the next one.
    Ails,
    /// It has none.
    CannotAct,
    /// A key is accepted: a token was earned with it, which may be another sender's of the same app.
    KeyTaken(String),
    /// DocuSign refuses a key.
    KeyRefused(String),
    /// Where the settings name a key none can be read, and why.
    KeyUnread(usize, String),
}

impl Said {
    /// Says what has changed. Answers who acts now and did not before, also before the daemon was started: creates may wait
    /// for it.
    pub(super) fn tell(&mut self, parts: &Parts) -> Vec<SenderName> {
        let mut acting = Vec::new();
        for status in parts.auth.statuses_that_tell() {
            let before = self.0.get(&status.name).cloned().unwrap_or_default();
            let now = Stand::of(&status, before.acts);
            if before == now {
                continue;
            }
            for news in now.since(&before) {
                log(parts, &status, &news);
            }
            if now.begins_to_act(&before) {
                acting.push(SenderName::new(Arc::clone(&status.name)));
            }
            self.0.insert(Arc::clone(&status.name), now);
        }
        self.0.retain(|name, _| parts.auth.has(name));
        acting
    }
}

impl Stand {
    fn of(status: &SenderStatus, before: Acts) -> Self {
        let failure = status.trouble().filter(|(error, _)| is_told(error)).map(|(error, _)| error.cause());
        // A token that is good for no account is of no use.
        let acts = match (status.has_token() && status.misplaced.is_none(), failure) {
            (true, _) => Acts::Yes,
            (false, Some(_)) => Acts::No,
            // Idle, or just started: what was known of it stands.
            (false, None) => before,
        };
        let key = |key: &KeyStatus| Some((KeyName::of(key)?, key.state));
        Self { acts, cause: failure, keys: status.keys.iter().filter_map(key).collect() }
    }

    /// Whether it acts, and did not when it was last looked at. One that nothing is known of may have been mended by the
    /// start itself, as with another key in the settings.
    fn begins_to_act(&self, before: &Self) -> bool {
        before.acts != Acts::Yes && self.acts == Acts::Yes
    }

    fn since(&self, before: &Self) -> Vec<News> {
        let of_token = match (before.acts, self.acts) {
            (Acts::Untried, Acts::Yes) if self.cause.is_none() => Some(News::Acts),
            (_, Acts::Yes) if self.cause.is_some() && self.cause != before.cause => Some(News::Ails),
            (Acts::No, Acts::Yes) => Some(News::Recovered),
            (Acts::Yes, Acts::Yes) if self.cause.is_none() && before.cause.is_some() => Some(News::Recovered),
            (_, Acts::No) if self.acts != before.acts || self.cause != before.cause => Some(News::CannotAct),
            _ => None,
        };
        let of_keys = self.keys.iter().filter_map(|(name, state)| match (name, state) {
            _ if before.keys.get(name) == Some(state) => None,
            (KeyName::Unread(number, why), _) => Some(News::KeyUnread(*number, why.clone())),
            (KeyName::Read(print), KeyState::Rejected) => Some(News::KeyRefused(print.clone())),
            (KeyName::Read(print), KeyState::Active) => Some(News::KeyTaken(print.clone())),
            (KeyName::Read(_), KeyState::Broken | KeyState::Standby | KeyState::Unproven) => None,
        });
        of_keys.chain(of_token).collect()
    }
}

impl KeyName {
    fn of(key: &KeyStatus) -> Option<Self> {
        match key.fingerprint {
            Some(print) => Some(Self::Read(print.to_string())),
            None => Some(Self::Unread(key.number?, chain(key.defect.as_deref()?).to_string())),
        }
    }
}

fn log(parts: &Parts, status: &SenderStatus, news: &News) {
    let sender = &*status.name;
    match news {
        News::Acts => tracing::info!(sender, "the sender acts: it has a token"),
        News::Recovered => tracing::info!(sender, "the sender acts again, with a fresh token"),
        News::KeyTaken(fingerprint) => {
            tracing::info!(
                sender,
                key.fingerprint = fingerprint,
                "DocuSign accepts this key, and it signs from now on"
            );
        }
        News::KeyRefused(fingerprint) => {
            let fix = "register its public half at DocuSign, or take it out of the settings; it is tried again by \
                       itself";
            let fix = meanwhile(fix, "the next key signs", &status.keys);
            tracing::warn!(sender, key.fingerprint = fingerprint, fix, "DocuSign refuses this key");
        }
        News::KeyUnread(number, why) => {
            let fix = "put a good file in its place; it is read again by itself";
            let fix = meanwhile(fix, "the other keys sign", &status.keys);
            let setting = format!("keys.{number}");
            tracing::warn!(sender, key.setting = setting, error = why, fix, "a key cannot be read");
        }
        News::Ails | News::CannotAct => {
            let Some((error, _)) = status.trouble() else { return };
            let why = error.in_full();
            let what = match news {
                News::Ails => "the sender's token is valid, and its refresh fails",
                _ => "the sender cannot act",
            };
            let (code, fix) = (error.code(), error.fix());
            // What is to be opened, once, is said where it is found missing (rule T11).
            let open = consent_page(parts, status, &error);
            tracing::warn!(sender, code, error = why, open, fix, "{what}");
        }
    }
}

/// What is to be done about a key, and what happens until then, if there is another one that can sign.
fn meanwhile(fix: &str, until_then: &str, keys: &[KeyStatus]) -> String {
    let can_sign = |key: &KeyStatus| match key.state {
        KeyState::Active | KeyState::Standby | KeyState::Unproven => true,
        KeyState::Broken | KeyState::Rejected => false,
    };
    if keys.iter().any(can_sign) { format!("{fix}, and until then {until_then}") } else { fix.to_owned() }
}

fn consent_page(parts: &Parts, status: &SenderStatus, error: &Error) -> Option<String> {
    if status.consent != Consent::Missing || error.code() != "consent_required" {
        return None;
    }
    let redirect = consent::redirect_uri(parts.signings.settings().public_origin.as_deref());
    parts.auth.consent_url(&status.name, ConsentBy::Individual, &redirect, None).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stand(acts: Acts, cause: Option<&'static str>) -> Stand {
        Stand { acts, cause, keys: BTreeMap::new() }
    }

    #[test]
    fn t11_each_change_of_a_sender_is_one_line_and_an_attempt_is_none() {
        let missing = || stand(Acts::No, Some("consent_required"));
        let well = || stand(Acts::Yes, None);
        let walk = [
            (stand(Acts::Untried, None), vec![]),
            (missing(), vec![News::CannotAct]),
            // Asked every minute, for an hour.
            (missing(), vec![]),
            (missing(), vec![]),
            (stand(Acts::No, Some("unreachable")), vec![News::CannotAct]),
            (well(), vec![News::Recovered]),
            (well(), vec![]),
            (stand(Acts::Yes, Some("unavailable")), vec![News::Ails]),
            (stand(Acts::Yes, Some("unavailable")), vec![]),
            (well(), vec![News::Recovered]),
            (missing(), vec![News::CannotAct]),
        ];
        let mut before = Stand::default();
        for (number, (now, expected)) in walk.into_iter().enumerate() {
            assert_eq!(now.since(&before), expected, "step {number}");
            before = now;
        }
        assert_eq!(well().since(&Stand::default()), [News::Acts]);
    }

    #[test]
    fn creates_may_wait_for_a_sender_from_before_the_start_too_and_it_is_not_said_to_act_again() {
        let acting = [None, Some("unavailable")].map(|cause| stand(Acts::Yes, cause));
        for now in &acting {
            assert!(now.begins_to_act(&stand(Acts::No, Some("key_rejected"))));
            assert!(now.begins_to_act(&Stand::default()));
            assert!(!now.since(&Stand::default()).contains(&News::Recovered), "it may always have");
            assert!(acting.iter().all(|before| !now.begins_to_act(before)), "it did before");
        }
        assert!(!stand(Acts::No, Some("key_rejected")).begins_to_act(&Stand::default()));
        assert!(!Stand::default().begins_to_act(&Stand::default()));
    }

    #[test]
    fn a_key_that_is_taken_or_refused_is_one_line() {
        let name = || KeyName::Read("a".to_owned());
        let with = |state| Stand { keys: BTreeMap::from([(name(), state)]), ..Stand::default() };
        let (fresh, bad) = (with(KeyState::Unproven), with(KeyState::Rejected));
        assert_eq!(fresh.since(&Stand::default()), []);
        assert_eq!(bad.since(&fresh), [News::KeyRefused("a".to_owned())]);
        assert_eq!(bad.since(&bad), []);
        assert_eq!(with(KeyState::Active).since(&bad), [News::KeyTaken("a".to_owned())]);
        assert_eq!(with(KeyState::Standby).since(&with(KeyState::Active)), []);
    }

    #[test]
    fn t10_another_key_signs_meanwhile_only_where_there_is_one() {
        let key = |state| KeyStatus {
            origin: "key.pem".to_owned(),
            number: Some(0),
            fingerprint: None,
            bits: None,
            state,
            loaded_at: None,
            last_success: None,
            defect: None,
        };
        let said = |states: &[KeyState]| {
            meanwhile(
                "mend it",
                "the next key signs",
                &states.iter().map(|state| key(*state)).collect::<Vec<_>>(),
            )
        };
        for alone in
            [vec![KeyState::Rejected], vec![KeyState::Rejected, KeyState::Broken, KeyState::Rejected]]
        {
            assert_eq!(said(&alone), "mend it", "{alone:?}");
        }
        for other in [KeyState::Active, KeyState::Standby, KeyState::Unproven] {
            assert_eq!(said(&[KeyState::Rejected, other]), "mend it, and until then the next key signs");
        }
    }

    #[test]
    fn t10_a_key_that_cannot_be_read_is_one_line_until_the_reason_is_another() {
        let with = |why: &str| Stand {
            keys: BTreeMap::from([
                (KeyName::Read("a".to_owned()), KeyState::Active),
                (KeyName::Unread(1, why.to_owned()), KeyState::Broken),
            ]),
            ..Stand::default()
        };
        let well =
            Stand { keys: BTreeMap::from([(KeyName::Read("a".to_owned()), KeyState::Active)]), ..with("") };
        let unread = |why: &str| vec![News::KeyUnread(1, why.to_owned())];
        assert_eq!(with("it is not there").since(&well), unread("it is not there"));
        assert_eq!(with("it is not there").since(&with("it is not there")), []);
        assert_eq!(with("it is empty").since(&with("it is not there")), unread("it is empty"));
        assert_eq!(well.since(&with("it is empty")), []);
    }
}
