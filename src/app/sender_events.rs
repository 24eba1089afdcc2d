//! Our events about senders: `sender.consent_missing` when a consent is found to be missing, and
//! `sender.recovered` when a sender that could not act can again.
//!
//! Every caller that may use the sender gets one; of a sender that a caller made, that caller alone. Several
//! daemons on one store each tell what they see, so an event may come once from each; `data.state` and
//! `data.consent` are what counts, and `sequence` orders them.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    app::{
        Parts,
        announce::{announce, callers_of},
    },
    auth::{Error, SenderStatus, Standing, consent::Consent},
    domain::{EventKind, SenderName},
    objects::event,
    store,
    telemetry::chain,
};

/// What was last told of each sender.
#[derive(Debug, Default)]
pub(super) struct News(BTreeMap<Arc<str>, Told>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Told {
    consent_is_missing: bool,
    cannot_act: bool,
}

impl News {
    /// Tells what has changed. What the store does not take is told at the next look.
    pub(super) async fn tell(&mut self, parts: &Parts) {
        for status in parts.auth.statuses_that_tell() {
            let before = self.0.get(&status.name).copied().unwrap_or_default();
            let (now, kind) = before.after(&status);
            if let Some(kind) = kind
                && let Err(error) = tell(parts, &status, kind).await
            {
                tracing::warn!(sender = %status.name, event = kind.as_str(), error = %chain(&error), "not told yet");
                continue;
            }
            self.0.insert(Arc::clone(&status.name), now);
        }
        self.0.retain(|name, _| parts.auth.has(name));
    }
}

impl Told {
    /// What is known now, and what is to be told of the change.
    fn after(self, status: &SenderStatus) -> (Self, Option<EventKind>) {
        let can_act = status.standing() != Standing::NotReady;
        let now = Self {
            consent_is_missing: status.consent == Consent::Missing,
            // What was never tried has not failed.
            cannot_act: !can_act
                && (status.trouble().is_some_and(|(error, _)| is_told(&error)) || self.cannot_act),
        };
        let kind = match (self, now) {
            (Self { consent_is_missing: false, .. }, Self { consent_is_missing: true, .. }) => {
                Some(EventKind::SenderConsentMissing)
            }
            (was, Self { consent_is_missing: false, cannot_act: false }) if was != Self::default() => {
                Some(EventKind::SenderRecovered)
            }
            _ => None,
        };
        (now, kind)
    }
}

/// While token after token is refused, each mint would be a recovery, up to once a second.
pub(super) fn is_told(error: &Error) -> bool {
    !matches!(error, Error::TokenRefused { .. })
}

async fn tell(parts: &Parts, status: &SenderStatus, kind: EventKind) -> Result<(), store::Error> {
    let state = status.standing().as_str();
    let mode = parts.signings.settings().mode;
    let callers = callers_of(parts, &SenderName::new(Arc::clone(&status.name)));
    let data = |sequence| event::sender(&status.name, mode, state, status.consent.as_str(), sequence);
    announce(parts, kind, callers, data).await
}
