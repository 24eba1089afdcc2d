//! A caller's share of the hour's calls upstream (`budget_percent`). Counted here at once; what other daemons
//! counted for the same caller is learned through the store, a few seconds late.

use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};

use crate::clock::{later, start_of};

const HOUR: SignedDuration = SignedDuration::from_hours(1);

/// What one caller has spent in the hour.
#[derive(Debug, Default)]
pub struct Share(Mutex<Hour>);

#[derive(Debug, Default)]
struct Hour {
    start: Timestamp,
    own: u64,
    /// What of our own the others have been told.
    told: u64,
    others: u64,
    /// Whether anything was heard of the others in this hour.
    has_heard: bool,
}

impl Share {
    /// Counts so many calls. The error is the start of the next hour: with them it would be more than `most`,
    /// and they are not counted.
    pub(super) fn spend(&self, calls: u64, most: u64, now: Timestamp) -> Result<(), Timestamp> {
        let mut hour = self.at(now);
        if hour.own.saturating_add(hour.others).saturating_add(calls) > most {
            return Err(later(hour.start, HOUR));
        }
        hour.own += calls;
        Ok(())
    }

    /// Takes back calls that were counted then and are not made; what the others were told of stays counted, and an hour
    /// that is over, too.
    pub(super) fn give_back(&self, calls: u64, counted_at: Timestamp, now: Timestamp) {
        let mut hour = self.at(now);
        if start_of(counted_at, HOUR) == hour.start {
            hour.own = hour.own.saturating_sub(calls).max(hour.told);
        }
    }

    /// The hour, by its start, and the calls in it that other daemons have not been told of. None: what others
    /// spend makes no difference here, because nobody calls.
    pub fn untold(&self, now: Timestamp) -> Option<(Timestamp, u64)> {
        let hour = self.at(now);
        let matters = hour.own > 0 || !hour.has_heard;
        matters.then(|| (hour.start, hour.own - hour.told))
    }

    /// So many of the hour's calls were told, and this is what all daemons have spent in it.
    pub fn learned(&self, hour: Timestamp, told: u64, all: u64, now: Timestamp) {
        let mut known = self.at(now);
        // What was spent in an hour that ended meanwhile says nothing about this one.
        if known.start == hour {
            known.told += told;
            known.others = all.saturating_sub(known.told);
            known.has_heard = true;
        }
    }

    fn at(&self, now: Timestamp) -> MutexGuard<'_, Hour> {
        let start = start_of(now, HOUR);
        let mut hour = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if hour.start != start {
            *hour = Hour { start, ..Hour::default() };
        }
        hour
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_spent_counts_and_an_hour_begins_with_nothing() {
        let (share, nine) = (Share::default(), "2026-01-01T09:10:00Z".parse().unwrap());
        let ten: Timestamp = "2026-01-01T10:00:00Z".parse().unwrap();
        assert_eq!(share.spend(6, 10, nine), Ok(()));
        share.give_back(2, nine, nine);
        let (hour, calls) = share.untold(nine).unwrap();
        assert_eq!((hour, calls), ("2026-01-01T09:00:00Z".parse().unwrap(), 4));
        assert_eq!(share.spend(1, 10, nine), Ok(()), "while the others are told");
        share.learned(hour, calls, 9, nine);
        assert_eq!(share.untold(nine), Some((hour, 1)));
        assert_eq!(share.spend(1, 10, nine), Err(ten), "five of our own and five of theirs");
        share.give_back(5, nine, nine);
        assert_eq!(share.spend(2, 10, nine), Err(ten), "four of our own were told");
        assert_eq!(share.spend(10, 10, ten), Ok(()));
        share.learned(hour, 1, 99, ten);
        assert_eq!(share.untold(ten), Some((ten, 10)), "late news of the hour before");
        share.give_back(2, nine, ten);
        assert_eq!(share.untold(ten), Some((ten, 10)), "they were no calls of this hour");
    }

    #[test]
    fn a_share_that_nobody_uses_is_asked_about_once_an_hour() {
        let (share, nine) = (Share::default(), "2026-01-01T09:10:00Z".parse().unwrap());
        let (hour, calls) = share.untold(nine).unwrap();
        share.learned(hour, calls, 30, nine);
        assert_eq!(share.untold(nine), None);
        assert!(share.spend(1, 30, nine).is_err(), "and what was spent before a restart is known");
        assert!(share.untold("2026-01-01T10:00:00Z".parse().unwrap()).is_some());
    }
}
