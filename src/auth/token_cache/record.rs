//! What is known of a sender beyond the life of one cache: counts, and consent.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU8, AtomicU64, Ordering},
};

use crate::auth::{
    consent::Consent,
    error::{Error, Kind},
    identity::UserId,
};

/// How many of a sender's mints ended in which way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Mints {
    /// A token came.
    pub good: u64,
    /// A person has to act ([`Kind::Permanent`]).
    pub refused: u64,
    /// It heals by itself ([`Kind::Transient`]).
    pub unavailable: u64,
}

/// A new record is 0 and knows nothing of consent.
const GRANTED: u8 = 1;
const MISSING: u8 = 2;

/// Counts of a sender's mints, and what its last one said of consent.
#[derive(Debug, Default)]
pub struct Record {
    good: AtomicU64,
    refused: AtomicU64,
    unavailable: AtomicU64,
    consent: AtomicU8,
    /// Who consented last, if it was somebody else than the configured user.
    stranger: Mutex<Option<UserId>>,
}

impl Record {
    pub(in crate::auth) fn minted(&self) {
        self.good.fetch_add(1, Ordering::Relaxed);
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
        let count = match error.kind() {
            Kind::Permanent => &self.refused,
            Kind::Transient => &self.unavailable,
        };
        // Where nobody is connected yet there is nothing to mint with, and nobody refuses anything.
        if !matches!(error, Error::NotConnected) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        // A refresh token that is taken no more was revoked with the consent, or is too old: both want the person.
        if matches!(error, Error::ConsentRequired(_) | Error::ConnectionLost) {
            self.consent.store(MISSING, Ordering::Relaxed);
        }
    }

    /// How its mints ended so far.
    pub fn mints(&self) -> Mints {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Mints { good: read(&self.good), refused: read(&self.refused), unavailable: read(&self.unavailable) }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::error::Said;

    #[test]
    fn mints_are_counted_by_what_helps_and_those_of_nobody_are_not() {
        let record = Record::default();
        record.minted();
        record.failed(&Error::Unkept);
        record.failed(&Error::RateLimited { retry_after: None });
        record.failed(&Error::KeyRejected(Said::default()));
        record.failed(&Error::UserIsAccount);
        record.failed(&Error::ConsentRequired(Said::default()));
        record.failed(&Error::NotConnected);
        assert_eq!(record.mints(), Mints { good: 1, refused: 3, unavailable: 2 });
        assert_eq!(record.consent(), Consent::Missing);
    }
}
