//! What is known of a sender beyond the life of one cache: counts, and consent.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU8, AtomicU64, Ordering},
};

use crate::auth::{consent::Consent, error::Error, identity::UserId};

/// What mints are counted by: `ok`, and [`Error::cause`] of what one can end with.
const RESULTS: [&str; 20] = [
    "ok",
    "clock_skew",
    "closed",
    "code_rejected",
    "connection_lost",
    "consent_required",
    "internal",
    "issuer_unknown",
    "key_rejected",
    "key_unusable",
    "malformed",
    "not_connected",
    "rate_limited",
    "refused",
    "signing",
    "token_refused",
    "unavailable",
    "unkept",
    "unreachable",
    "user_unknown",
];

/// A new record is 0 and knows nothing of consent.
const GRANTED: u8 = 1;
const MISSING: u8 = 2;

/// Counts of a sender's mints, and what its last one said of consent.
#[derive(Debug, Default)]
pub struct Record {
    mints: [AtomicU64; RESULTS.len()],
    consent: AtomicU8,
    /// Who consented last, if it was somebody else than the configured user.
    stranger: Mutex<Option<UserId>>,
}

impl Record {
    pub(in crate::auth) fn minted(&self) {
        self.mints[0].fetch_add(1, Ordering::Relaxed);
        self.proven();
    }

    /// The sender can act: a mint showed it, or somebody who did the same.
    pub(in crate::auth) fn proven(&self) {
        self.consent.store(GRANTED, Ordering::Relaxed);
        self.consented(None);
    }

    /// Somebody went through the consent page: the configured user (none), or another one.
    pub(in crate::auth) fn consented(&self, stranger: Option<UserId>) {
        *self.stranger.lock().unwrap_or_else(PoisonError::into_inner) = stranger;
    }

    /// Who consented last, if it was somebody else than the configured user.
    pub fn stranger(&self) -> Option<UserId> {
        *self.stranger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(in crate::auth) fn failed(&self, error: &Error) {
        let place = |word| RESULTS.iter().position(|result| *result == word);
        // What has no counter of its own.
        let result = place(error.cause()).or_else(|| place("refused")).unwrap_or_default();
        self.mints[result].fetch_add(1, Ordering::Relaxed);
        // A refresh token that is taken no more was revoked with the consent, or is too old: both want the person.
        if matches!(error, Error::ConsentRequired(_) | Error::ConnectionLost) {
            self.consent.store(MISSING, Ordering::Relaxed);
        }
    }

    /// How many mints ended with each result.
    pub fn mints(&self) -> impl Iterator<Item = (&'static str, u64)> {
        RESULTS.into_iter().zip(self.mints.iter().map(|count| count.load(Ordering::Relaxed)))
    }

    /// What the last mint that could tell said of consent.
    pub fn consent(&self) -> Consent {
        match self.consent.load(Ordering::Relaxed) {
            GRANTED => Consent::Granted,
            MISSING => Consent::Missing,
            _ => Consent::Unknown,
        }
    }
}
