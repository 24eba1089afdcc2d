//! How long things are kept.
//!
//! | What | Kept |
//! |---|---|
//! | idempotency keys and their answers | 7 days (rule E3) |
//! | personal data of a signing, and what DocuSign sent about it (rule S2) | `store.retention` after its end |
//! | events, deliveries, inbound messages, counts of calls | `store.retention` |
//! | when an envelope was last asked about (rule B3) | a day |
//! | webhooks that the settings no longer name, with what is pending for them | a day |
//! | which of them were named after their callers, by a digest of the name | for good |
//! | what was spent of half a minute, an hour or a day, and which creates were counted in it | 2 days |
//! | the bare record of a signing (ids, statuses, times, the caller's reference and keys of signers) and its links | twice `store.retention` after its end |
//!
//! Whatever the setting, a record stays as long as its key, and as long as there is something to be done
//! about it; what has not ended stays whole. A key stays as long as its create has not ended, an event until it is
//! delivered, and an inbound message until it is taken in; what waits for an endpoint that is off does not count.
//!
//! What is destroyed cannot be had back, so it must be old by the upstream's time and by this machine's clock: nothing is
//! destroyed before the upstream has answered once, nor what has just been written by a clock that is behind.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};

use super::SealKeyId;
use crate::clock::earlier;

/// How long the key of a create is known (rule E3).
const KEYS: SignedDuration = SignedDuration::from_hours(7 * 24);
/// How long a status check is known, of which 15 minutes count (rule B3).
const CHECKS: SignedDuration = SignedDuration::from_hours(24);
/// How long a webhook that the settings no longer name is kept with what waits for it: a daemon of a rolling update that starts
/// with older settings, or a slip in them, costs no event.
const DROPPED: SignedDuration = SignedDuration::from_hours(24);
/// How long a window is known in which calls or creates were counted; the longest is a day.
const WINDOWS: SignedDuration = SignedDuration::from_hours(48);
/// So many times the retention a record without persons is kept, so that it can still be seen what came of it.
const RECORDS: i32 = 2;

/// What has been kept long enough.
#[derive(Debug, Clone, Copy)]
pub struct Retention {
    /// Idempotency keys and their answers made before this are forgotten, once their creates have ended.
    pub keys_before: Timestamp,
    /// Status checks made before this are forgotten.
    pub checks_before: Timestamp,
    /// Windows in which calls or creates were counted are forgotten if they began before this.
    pub windows_before: Timestamp,
    /// Webhooks that the settings no longer name since before this are removed.
    pub dropped_before: Timestamp,
    /// Personal data of signings that ended before this is destroyed.
    pub personal_before: Timestamp,
    /// Events, deliveries and inbound messages older than this are deleted, once nothing is to be done with them.
    pub events_before: Timestamp,
    /// Signings that ended before this are deleted with all that hangs off them, unless their key is known
    /// or something is still to be done.
    pub signings_before: Timestamp,
}

impl Retention {
    /// What has been kept long enough at `now`, if persons are to be forgotten after `keep`.
    pub fn at(now: Timestamp, keep: SignedDuration) -> Self {
        let before = |age| earlier(now, age);
        let records = keep.checked_mul(RECORDS).unwrap_or(SignedDuration::MAX);
        Self {
            keys_before: before(KEYS),
            checks_before: before(CHECKS),
            windows_before: before(WINDOWS),
            dropped_before: before(DROPPED),
            personal_before: before(keep),
            events_before: before(keep),
            // Those that ended later have their keys, and would only be looked at in vain.
            signings_before: before(records.max(KEYS)),
        }
    }
}

/// So many bytes of sealed values are looked at in one go: a payload may have 50 MiB, and the writer is busy meanwhile.
const RESEALED_BYTES: u64 = 4 * 1024 * 1024;

/// How many of the next values, which are so long, are looked at in one go: one in any case.
pub(super) fn looked_at_once(lengths: impl IntoIterator<Item = u64>) -> usize {
    let mut sum = 0_u64;
    let fits = lengths.into_iter().take_while(|length| {
        sum = sum.saturating_add(*length);
        sum <= RESEALED_BYTES
    });
    fits.count().max(1)
}

/// How much one run of retention destroyed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Destroyed {
    /// Idempotency keys.
    pub keys: u64,
    /// Signings whose personal data was destroyed.
    pub personal: u64,
    /// Events, deliveries and inbound messages.
    pub events: u64,
    /// Whole signings.
    pub signings: u64,
}

/// With which keys the store is sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// The key that seals.
    pub current: SealKeyId,
    /// Older keys of the ring with which something was sealed, and nothing is any more.
    pub unused: Vec<SealKeyId>,
}

/// What this daemon's looks at the store have come to, of each older key with which anything is known to have been sealed: since
/// what uptime they find nothing, if they do. Not of the others: in the first step of a rotation the new key is one.
#[derive(Debug, Default)]
pub(super) struct Looks(Mutex<HashMap<SealKeyId, Option<Duration>>>);

impl Looks {
    /// Notes that something was, or may be, sealed with a key.
    pub(super) fn known(&self, key: SealKeyId) {
        self.all().entry(key).or_default();
    }

    /// Notes that a look found something that is sealed with a key.
    pub(super) fn found(&self, key: SealKeyId) {
        self.all().insert(key, None);
    }

    /// Notes that a look found nothing, and answers for how long that has been so; none: the key is not known.
    pub(super) fn found_nothing(&self, key: SealKeyId, now: Duration) -> Option<Duration> {
        let since = *self.all().get_mut(&key)?.get_or_insert(now);
        Some(now.saturating_sub(since))
    }

    fn all(&self) -> MutexGuard<'_, HashMap<SealKeyId, Option<Duration>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::SealKeys;

    #[test]
    fn nothing_is_found_for_as_long_as_no_look_finds_any() {
        let (looks, key) = (Looks::default(), SealKeys::new(&[1; 32], &[]).current());
        let s = Duration::from_secs;
        assert_eq!(looks.found_nothing(key, s(1)), None, "nothing was ever sealed with it");
        looks.known(key);
        assert_eq!(looks.found_nothing(key, s(2)), Some(s(0)));
        looks.known(key);
        assert_eq!(looks.found_nothing(key, s(5)), Some(s(3)));
        looks.found(key);
        assert_eq!(looks.found_nothing(key, s(6)), Some(s(0)), "it begins anew");
        assert_eq!(looks.found_nothing(key, s(8)), Some(s(2)));
    }

    #[test]
    fn a_few_large_values_or_many_small_ones_are_looked_at_in_one_go() {
        assert_eq!(looked_at_once([1_000; 500]), 500);
        assert_eq!(looked_at_once([0, 50 << 20, 50 << 20]), 1);
        assert_eq!(looked_at_once([50 << 20, 1]), 1, "the largest has its turn, too");
        assert_eq!(looked_at_once([1 << 20; 500]), 4);
        assert_eq!(looked_at_once([u64::MAX, u64::MAX]), 1);
    }

    #[test]
    fn records_outlive_persons_and_no_record_goes_before_its_key() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let days = |days: i64| SignedDuration::from_hours(24 * days);
        let usual = Retention::at(now, days(90));
        assert_eq!((usual.personal_before, usual.signings_before), (now - days(90), now - days(180)));
        assert_eq!(usual.dropped_before, now - days(1));
        let short = Retention::at(now, days(1));
        assert_eq!((short.personal_before, short.signings_before), (now - days(1), now - days(7)));
        let endless = Retention::at(now, SignedDuration::MAX);
        assert_eq!(endless.signings_before, Timestamp::MIN);
    }
}
