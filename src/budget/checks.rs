//! One status check an envelope in 15 minutes (rule B3).
//!
//! Source: "Rules and limits", polling: one GET of the same resource in 15 minutes; breaking it does
//! not fail the call, but it can fail the review before going live.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, RandomState},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};

use super::{Now, Scope, Shed};
use crate::{
    clock::{earlier, later},
    domain::EnvelopeId,
    store::Taking,
};

/// Between two checks of one resource of one envelope.
pub const INTERVAL: Duration = Duration::from_secs(15 * 60);
/// The name under which an envelope is asked about by a list. No path has a slash at its beginning.
pub(super) const LISTING: &str = "/list";
/// So many are remembered at least before those whose time is over are forgotten.
const SWEEP_AT: usize = 16_384;

/// Whether an envelope that was last asked about then may be asked about now; if not, when.
pub fn may_check(last_checked: Option<Timestamp>, now: Timestamp) -> Result<(), Timestamp> {
    let Some(last) = last_checked else { return Ok(()) };
    let interval = SignedDuration::try_from(INTERVAL).unwrap_or(SignedDuration::MAX);
    // A check "in the future" means that the clock was set back: it must not block for longer than one interval.
    let last = last.min(now);
    match last.saturating_add(interval) {
        Ok(retry_at) if retry_at > now => Err(retry_at),
        _ => Ok(()),
    }
}

/// When the next check may be made after one that was claimed then.
pub fn next_after(claimed: Now) -> Timestamp {
    claimed.date_of(claimed.uptime.saturating_add(INTERVAL))
}

/// What makes a check free in the store, where it is told by dates.
pub(super) fn taking(now: Now) -> Taking {
    Taking { now: now.date, free_since: earlier(now.date, INTERVAL), absurd_after: later(now.date, INTERVAL) }
}

/// The checks that this process made, whoever asked for them.
#[derive(Debug, Default)]
pub(super) struct Checks {
    /// Two hashes make a mark: at hundreds of returns a second, names would be megabytes.
    hashes: [RandomState; 2],
    made: Mutex<Made>,
}

#[derive(Debug, Default)]
struct Made {
    /// When a resource of an envelope was asked about, by the mark of both.
    at: HashMap<(u64, u64), Duration>,
    /// How many there may be before those whose time is over are forgotten.
    sweep_at: usize,
}

impl Checks {
    pub(super) fn claim(&self, envelope: &EnvelopeId, resource: &str, now: Now) -> Result<(), Shed> {
        let mark = self.mark(envelope, resource);
        let mut made = self.made();
        made.sweep(now);
        match made.at.get(&mark).map(|at| at.saturating_add(INTERVAL)) {
            Some(until) if until > now.uptime => Err(shed(until, now)),
            _ => {
                made.at.insert(mark, now.uptime);
                Ok(())
            }
        }
    }

    /// A claim of ours was refused, because one was made then by somebody else: so it counts here, too.
    pub(super) fn made_elsewhere(
        &self,
        envelope: &EnvelopeId,
        resource: &str,
        made_at: Duration,
        now: Now,
    ) -> Shed {
        self.made().at.insert(self.mark(envelope, resource), made_at);
        shed(made_at.saturating_add(INTERVAL), now)
    }

    /// When that may be asked about again which was claimed here and not given back, if that is still to come.
    pub(super) fn next(&self, envelope: &EnvelopeId, resource: &str, now: Now) -> Option<Timestamp> {
        let mark = self.mark(envelope, resource);
        let until = self.made().at.get(&mark)?.saturating_add(INTERVAL);
        (until > now.uptime).then(|| now.date_of(until))
    }

    pub(super) fn give_back(&self, envelope: &EnvelopeId, resource: &str) {
        self.made().at.remove(&self.mark(envelope, resource));
    }

    fn mark(&self, envelope: &EnvelopeId, resource: &str) -> (u64, u64) {
        let [one, two] = &self.hashes;
        let named = (envelope.as_str(), resource);
        (one.hash_one(named), two.hash_one(named))
    }

    fn made(&self) -> MutexGuard<'_, Made> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Made {
    /// Forgets those whose time is over, once there are twice as many as the last time left.
    fn sweep(&mut self, now: Now) {
        if self.at.len() >= self.sweep_at.max(SWEEP_AT) {
            self.at.retain(|_, at| at.saturating_add(INTERVAL) > now.uptime);
            self.sweep_at = 2 * self.at.len();
            self.at.shrink_to(self.sweep_at.max(SWEEP_AT));
        }
    }
}

fn shed(until: Duration, now: Now) -> Shed {
    Shed { scope: Scope::Polling, retry_at: now.date_of(until), until, is_gone: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Now {
        Now { uptime: Duration::from_secs(seconds), date: Timestamp::UNIX_EPOCH }
    }

    #[test]
    fn b3_what_was_asked_is_remembered_for_a_quarter_of_an_hour_and_then_forgotten() {
        let checks = Checks::default();
        let envelope = |number: usize| EnvelopeId::new(number.to_string());
        for number in 0..2 * SWEEP_AT {
            assert!(checks.claim(&envelope(number), LISTING, at(10)).is_ok(), "{number}");
        }
        assert!(checks.claim(&envelope(7), LISTING, at(909)).is_err(), "however many there are");
        assert!(checks.claim(&envelope(7), "/recipients", at(909)).is_ok(), "another resource");
        assert_eq!(checks.made().at.len(), 2 * SWEEP_AT + 1, "none is forgotten in time");
        for number in 0..2 * SWEEP_AT {
            assert!(checks.claim(&envelope(number), LISTING, at(910)).is_ok(), "{number}");
        }
        for number in 0..4 * SWEEP_AT {
            assert!(checks.claim(&envelope(number), "/documents", at(2_000)).is_ok(), "{number}");
        }
        assert_eq!(checks.made().at.len(), 4 * SWEEP_AT, "those whose time is over are");
    }
}
