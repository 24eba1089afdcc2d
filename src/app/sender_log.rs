//! What the log says of senders: one line when one can act, cannot any more, or can again; and one when a key
//! is taken or refused. Not one an attempt: a sender that waits for a person asks again for as long as it takes.
//!
//! It must never log a token, an assertion or where a key lies: a key is its fingerprint. A consent link is
//! logged without its state, which is the visitor's who was given it.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    app::Parts,
    auth::{
        Error, SenderStatus,
        consent::{self, Consent, ConsentBy},
        key_ring::KeyState,
    },
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
    /// Its keys, by fingerprint.
    keys: BTreeMap<String, KeyState>,
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
    /// A key is refused, or its file is bad.
    KeyBad(String, KeyState),
}

impl Said {
    /// Says what has changed.
    pub(super) fn tell(&mut self, parts: &Parts) {
        for status in parts.auth.statuses_that_tell() {
            let before = self.0.get(&status.name).cloned().unwrap_or_default();
            let now = Stand::of(&status, before.acts);
            if before == now {
                continue;
            }
            for news in now.since(&before) {
                log(parts, &status, &news);
            }
            self.0.insert(Arc::clone(&status.name), now);
        }
        self.0.retain(|name, _| parts.auth.has(name));
    }
}

impl Stand {
    fn of(status: &SenderStatus, before: Acts) -> Self {
        let failure = status.trouble().map(|(error, _)| error.cause());
        // A token that is good for no account is of no use.
        let acts = match (status.has_token() && status.misplaced.is_none(), failure) {
            (true, _) => Acts::Yes,
            (false, Some(_)) => Acts::No,
            // Idle, or just started: what was known of it stands.
            (false, None) => before,
        };
        let key = |key: &crate::auth::key_ring::KeyStatus| Some((key.fingerprint?.to_string(), key.state));
        Self { acts, cause: failure, keys: status.keys.iter().filter_map(key).collect() }
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
        let of_keys = self.keys.iter().filter_map(|(print, state)| {
            let was = before.keys.get(print);
            match state {
                _ if was == Some(state) => None,
                KeyState::Broken | KeyState::Rejected => Some(News::KeyBad(print.clone(), *state)),
                KeyState::Active => Some(News::KeyTaken(print.clone())),
                KeyState::Standby | KeyState::Unproven => None,
            }
        });
        of_keys.chain(of_token).collect()
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
        News::KeyBad(fingerprint, state) => {
            let fix = match state {
                KeyState::Rejected => {
                    "register its public half at DocuSign, or take it out of the settings; it is tried again by \
                     itself, and until then the next key signs"
                }
                _ => {
                    "put a good file in its place; it is read again by itself, and until then the next key signs"
                }
            };
            let state = state.as_str();
            tracing::warn!(sender, key.fingerprint = fingerprint, state, fix, "this key cannot be used now");
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
    fn a_key_that_is_taken_or_refused_is_one_line() {
        let with = |state| Stand { keys: BTreeMap::from([("a".to_owned(), state)]), ..Stand::default() };
        let (fresh, bad) = (with(KeyState::Unproven), with(KeyState::Rejected));
        assert_eq!(fresh.since(&Stand::default()), []);
        assert_eq!(bad.since(&fresh), [News::KeyBad("a".to_owned(), KeyState::Rejected)]);
        assert_eq!(bad.since(&bad), []);
        assert_eq!(with(KeyState::Active).since(&bad), [News::KeyTaken("a".to_owned())]);
        assert_eq!(with(KeyState::Standby).since(&with(KeyState::Active)), []);
    }
}
