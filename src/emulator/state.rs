//! The whole state of the emulated DocuSign, behind one lock.
//!
//! Everything is in memory and a handler holds the lock from its first look to its last change, so
//! that each call is one step: what a fault drops afterwards has happened. The lock is never held
//! across an await.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::{
    connect::Outgoing,
    directory::Directory,
    envelopes::{self, Book},
    faults::Fault,
    faults::Faults,
    judge::Judge,
    limits::Limits,
    requests::RequestLog,
};

/// What a start was given; a reset goes back to it.
#[derive(Debug, Clone)]
pub(super) struct Setup {
    /// Of ids and of faults.
    pub(super) seed: u64,
    /// Faults armed from the start.
    pub(super) faults: Vec<Fault>,
    /// Public keys (PKCS#1 DER) of the two integration keys.
    pub(super) public_keys: [Vec<u8>; 2],
    /// The first account's Connect HMAC key.
    pub(super) connect_hmac_key: String,
    /// Where vendor pages are served: the origin for links made outside a vendor request.
    pub(super) origin: String,
}

/// Everything the emulator knows.
#[derive(Debug)]
pub(super) struct World {
    /// Accounts, users, keys, consents, tokens.
    pub(super) directory: Directory,
    /// Envelopes, templates, views and ceremonies.
    pub(super) envelopes: Book,
    /// SMS messages sent, oldest first.
    pub(super) outbox: Vec<Sms>,
    /// Connect events that are ready to go; the server hands them to the deliverer after each step.
    pub(super) outgoing: Vec<Outgoing>,
    /// Misbehaviour that is armed.
    pub(super) faults: Faults,
    /// The budgets of calls.
    pub(super) limits: Limits,
    /// Rules that the client broke.
    pub(super) judge: Judge,
    /// What arrived.
    pub(super) requests: RequestLog,
    /// Ends with a reset, and with it whatever began before and is not done.
    pub(super) era: CancellationToken,
    /// What it was started with.
    pub(super) setup: Arc<Setup>,
    random: fastrand::Rng,
}

/// A text message to a signer's phone.
#[derive(Debug, Clone, serde::Serialize)]
pub(super) struct Sms {
    /// The number, `+` and digits.
    pub(super) to: String,
    /// The whole text.
    pub(super) text: String,
    /// The code in it.
    pub(super) code: String,
    /// When it was sent.
    pub(super) at: Timestamp,
    /// For which envelope.
    pub(super) envelope_id: String,
    /// For which recipient: the `recipientIdGuid`.
    pub(super) recipient_id: String,
}

impl World {
    /// A fresh world.
    pub(super) fn new(setup: Arc<Setup>, now: Timestamp) -> Self {
        let mut faults = Faults::new(setup.seed);
        for fault in &setup.faults {
            faults.arm(fault.clone());
        }
        Self {
            directory: Directory::stocked(setup.public_keys.clone(), &setup.connect_hmac_key, now),
            envelopes: Book::default(),
            outbox: Vec::new(),
            outgoing: Vec::new(),
            faults,
            limits: Limits::default(),
            judge: Judge::default(),
            requests: RequestLog::default(),
            era: CancellationToken::new(),
            random: fastrand::Rng::with_seed(setup.seed),
            setup,
        }
    }

    /// Back to the state after start. What is under way ends without a trace; numbers of requests go on, so that none
    /// means two.
    pub(super) fn reset(&mut self, now: Timestamp) {
        self.era.cancel();
        let mut requests = std::mem::take(&mut self.requests);
        requests.forget();
        *self = Self { requests, ..Self::new(Arc::clone(&self.setup), now) };
    }

    /// Lets time alone do what it does: envelopes expire.
    pub(super) fn tick(&mut self, now: Timestamp) {
        envelopes::tick(self, now);
    }

    /// A new GUID, from the seed.
    pub(super) fn guid(&mut self) -> String {
        uuid::Builder::from_random_bytes(self.random.u128(..).to_be_bytes()).into_uuid().to_string()
    }

    /// A number from a range, from the seed.
    pub(super) fn number(&mut self, range: std::ops::Range<u32>) -> u32 {
        self.random.u32(range)
    }

    /// Bytes that nobody can foretell: for tokens. They do not come from the seed.
    pub(super) fn secret<const N: usize>() -> [u8; N] {
        let mut bytes = [0; N];
        aws_lc_rs::rand::fill(&mut bytes).expect("the system has randomness");
        bytes
    }
}

/// The world as tasks share it.
#[derive(Debug, Clone)]
pub(super) struct SharedWorld(Arc<Mutex<World>>);

impl SharedWorld {
    /// Shares it.
    pub(super) fn new(world: World) -> Self {
        Self(Arc::new(Mutex::new(world)))
    }

    /// Enters it. A handler that panicked left a step half done; a test double goes on.
    pub(super) fn lock(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters it, unless it was reset since this era.
    pub(super) fn lock_in(&self, era: &CancellationToken) -> Option<MutexGuard<'_, World>> {
        let world = self.lock();
        // Looked at under the lock, under which a reset ends it.
        (!era.is_cancelled()).then_some(world)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emulator::requests::Entry;

    fn arrive(world: &mut World) -> u64 {
        world.requests.arrived(Entry {
            number: 0,
            at: Timestamp::UNIX_EPOCH,
            method: "GET".to_owned(),
            path: "/x".to_owned(),
            query: String::new(),
            status: None,
            bytes: 0,
        })
    }

    #[test]
    fn a_reset_ends_its_era_and_an_answer_of_that_era_is_nobodys() {
        let setup = Setup {
            seed: 0,
            faults: Vec::new(),
            public_keys: [Vec::new(), Vec::new()],
            connect_hmac_key: String::new(),
            origin: String::new(),
        };
        let shared = SharedWorld::new(World::new(Arc::new(setup), Timestamp::UNIX_EPOCH));
        let era = shared.lock().era.clone();
        let before = arrive(&mut shared.lock_in(&era).unwrap());
        shared.lock().reset(Timestamp::UNIX_EPOCH);
        assert!(shared.lock_in(&era).is_none());
        let mut world = shared.lock();
        assert!(!world.era.is_cancelled());
        let after = arrive(&mut world);
        assert_ne!(before, after);
        world.requests.answered(before, 200);
        let entries = world.requests.entries();
        assert_eq!((entries.len(), entries[0].number, entries[0].status), (1, after, None));
    }
}
