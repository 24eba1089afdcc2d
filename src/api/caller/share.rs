//! A caller's share of the hour's calls upstream (`budget_percent`). Counted here at once; what other daemons
//! counted for the same caller is learned through the store, a few seconds late.

use std::{
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

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
    /// Calls for which there is room, and that are not counted yet ([`Held`]).
    held: u64,
    /// What of our own the others have been told.
    told: u64,
    others: u64,
    /// Whether anything was heard of the others in this hour.
    has_heard: bool,
}

/// Room for calls that may still be refused. Nobody is told of them, and they leave no trace unless they are kept.
#[derive(Debug)]
#[must_use]
pub(in crate::api) struct Held {
    share: Arc<Share>,
    calls: u64,
    since: Timestamp,
}

impl Held {
    /// Counts the calls, and answers when.
    pub(in crate::api) fn keep(mut self, now: Timestamp) -> Timestamp {
        let calls = mem::take(&mut self.calls);
        // In one step, or others would find room between the two.
        let mut hour = self.share.at(now);
        if start_of(self.since, HOUR) == hour.start {
            hour.held = hour.held.saturating_sub(calls);
        }
        hour.own += calls;
        drop(hour);
        now
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.share.free(self.calls, self.since);
    }
}

impl Share {
    /// Holds room for so many calls. The error is the start of the next hour: with them it would be more than `most`.
    pub(super) fn hold(self: &Arc<Self>, calls: u64, most: u64, now: Timestamp) -> Result<Held, Timestamp> {
        let mut hour = self.at(now);
        let spent = hour.own.saturating_add(hour.held).saturating_add(hour.others);
        if spent.saturating_add(calls) > most {
            return Err(later(hour.start, HOUR));
        }
        hour.held += calls;
        Ok(Held { share: Arc::clone(self), calls, since: now })
    }

    /// Gives up room that was held since then: with its hour it is gone.
    fn free(&self, calls: u64, since: Timestamp) {
        let mut hour = self.lock();
        if start_of(since, HOUR) == hour.start {
            hour.held = hour.held.saturating_sub(calls);
        }
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
        let matters = hour.own > 0 || hour.held > 0 || !hour.has_heard;
        matters.then(|| (hour.start, hour.own.saturating_sub(hour.told)))
    }

    /// So many of the hour's calls were told, and this is what all daemons have spent in it.
    pub fn learned(&self, hour: Timestamp, told: u64, all: u64, now: Timestamp) {
        let mut known = self.at(now);
        // What was spent in an hour that ended meanwhile says nothing about this one.
        if known.start == hour {
            // Some may have been given back while they were told: they stay counted, as if others had spent them.
            known.told = known.told.saturating_add(told).min(known.own);
            known.others = all.saturating_sub(known.told);
            known.has_heard = true;
        }
    }

    fn at(&self, now: Timestamp) -> MutexGuard<'_, Hour> {
        let start = start_of(now, HOUR);
        let mut hour = self.lock();
        if hour.start != start {
            *hour = Hour { start, ..Hour::default() };
        }
        hour
    }

    fn lock(&self) -> MutexGuard<'_, Hour> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spend(share: &Arc<Share>, calls: u64, most: u64, now: Timestamp) -> Result<(), Timestamp> {
        share.hold(calls, most, now).map(|held| {
            held.keep(now);
        })
    }

    #[test]
    fn what_others_spent_counts_and_an_hour_begins_with_nothing() {
        let (share, nine) = (Arc::new(Share::default()), "2026-01-01T09:10:00Z".parse().unwrap());
        let ten: Timestamp = "2026-01-01T10:00:00Z".parse().unwrap();
        assert_eq!(spend(&share, 6, 10, nine), Ok(()));
        share.give_back(2, nine, nine);
        let (hour, calls) = share.untold(nine).unwrap();
        assert_eq!((hour, calls), ("2026-01-01T09:00:00Z".parse().unwrap(), 4));
        assert_eq!(spend(&share, 1, 10, nine), Ok(()), "while the others are told");
        share.learned(hour, calls, 9, nine);
        assert_eq!(share.untold(nine), Some((hour, 1)));
        assert_eq!(spend(&share, 1, 10, nine), Err(ten), "five of our own and five of theirs");
        share.give_back(5, nine, nine);
        assert_eq!(spend(&share, 2, 10, nine), Err(ten), "four of our own were told");
        assert_eq!(spend(&share, 10, 10, ten), Ok(()));
        share.learned(hour, 1, 99, ten);
        assert_eq!(share.untold(ten), Some((ten, 10)), "late news of the hour before");
        share.give_back(2, nine, ten);
        assert_eq!(share.untold(ten), Some((ten, 10)), "they were no calls of this hour");
    }

    #[test]
    fn a_share_that_nobody_uses_is_asked_about_once_an_hour() {
        let (share, nine) = (Arc::new(Share::default()), "2026-01-01T09:10:00Z".parse().unwrap());
        let (hour, calls) = share.untold(nine).unwrap();
        share.learned(hour, calls, 30, nine);
        assert_eq!(share.untold(nine), None);
        assert!(spend(&share, 1, 30, nine).is_err(), "and what was spent before a restart is known");
        assert!(share.untold("2026-01-01T10:00:00Z".parse().unwrap()).is_some());
    }

    /// Another daemon is first with a call that is just being told.
    #[test]
    fn what_is_given_back_while_it_is_told_leaves_no_debt() {
        let (share, nine) = (Arc::new(Share::default()), "2026-01-01T09:10:00Z".parse().unwrap());
        assert_eq!(spend(&share, 2, 10, nine), Ok(()));
        let (hour, calls) = share.untold(nine).unwrap();
        share.give_back(2, nine, nine);
        share.learned(hour, calls, 2, nine);
        assert_eq!(spend(&share, 1, 3, nine), Ok(()));
        assert_eq!(share.untold(nine), Some((hour, 1)), "and not nearly all that a number can hold");
        assert!(spend(&share, 1, 3, nine).is_err(), "what was told stays counted");
    }

    #[test]
    fn room_that_is_held_is_told_to_nobody_and_leaves_no_trace_unless_it_is_kept() {
        let (share, nine) = (Arc::new(Share::default()), "2026-01-01T09:10:00Z".parse().unwrap());
        let ten: Timestamp = "2026-01-01T10:00:00Z".parse().unwrap();
        let held = share.hold(2, 3, nine).unwrap();
        assert!(share.hold(2, 3, nine).is_err(), "there is room for one of them");
        let (hour, calls) = share.untold(nine).unwrap();
        assert_eq!(calls, 0);
        share.learned(hour, calls, 0, nine);
        drop(held);
        assert_eq!(share.untold(nine), None);
        let held = share.hold(2, 3, nine).unwrap();
        assert_eq!((held.keep(nine), share.untold(nine)), (nine, Some((hour, 2))));
        // The hour may be over by then.
        let held = share.hold(1, 3, nine).unwrap();
        assert_eq!((held.keep(ten), share.untold(ten)), (ten, Some((ten, 1))));
    }
}
