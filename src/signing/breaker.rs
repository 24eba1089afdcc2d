//! A circuit breaker in front of creates and clicks: while the upstream is dead, new ones are queued at
//! once instead of each waiting for its own time-out, and one probe at a time finds out when it is back.
//!
//! When it is back, the queue does not fall on it all at once: one create goes first, and each answer
//! lets one more go beside it, so that the number under way doubles with every round trip.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// Failures in a row that open the circuit.
const TOLERATED: u32 = 5;
/// Time between probes while it is open. Short, because an uncertain create is to be decided within
/// seconds of the upstream answering again.
const PROBE_EVERY: Duration = Duration::from_secs(2);
/// Unfinished creates that recovery has in hand at once when all is well.
const WIDEST: u32 = 64;

/// Counts failures in a row. All times are uptime.
#[derive(Debug)]
pub(super) struct Breaker {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    failures: u32,
    next_probe: Duration,
    /// Unfinished creates that recovery may have in hand at once.
    window: u32,
    /// Those it has.
    in_hand: u32,
}

impl Default for Breaker {
    fn default() -> Self {
        let state = State { failures: 0, next_probe: Duration::ZERO, window: WIDEST, in_hand: 0 };
        Self { state: Mutex::new(state) }
    }
}

/// A create that recovery has in hand; given back when it is dropped.
#[derive(Debug)]
pub(super) struct InHand<'a>(&'a Breaker);

impl Drop for InHand<'_> {
    fn drop(&mut self) {
        self.0.state().in_hand -= 1;
    }
}

impl Breaker {
    /// Whether a call may be tried now. While open, one caller in [`PROBE_EVERY`] may.
    pub(super) fn admits(&self, uptime: Duration) -> bool {
        let mut state = self.state();
        if !state.is_open() {
            return true;
        }
        let probe = uptime >= state.next_probe;
        if probe {
            state.next_probe = uptime + PROBE_EVERY;
        }
        probe
    }

    /// How many unfinished creates recovery may take up now. While open: one, if it is time for a probe.
    pub(super) fn room(&self, uptime: Duration) -> u32 {
        let state = self.state();
        if state.is_open() {
            return u32::from(uptime >= state.next_probe && state.in_hand == 0);
        }
        // Slow posts must not keep look-ups waiting, so a little room is always left.
        state.window.saturating_sub(state.in_hand).max(state.window / 8).max(1)
    }

    /// Recovery takes something up. Apart from [`Breaker::room`], because there may be nothing to take up,
    /// and then nobody has probed.
    pub(super) fn take_up(&self, uptime: Duration) {
        let mut state = self.state();
        if state.is_open() {
            state.next_probe = uptime + PROBE_EVERY;
        }
    }

    /// Counts a create as in hand.
    pub(super) fn in_hand(&self) -> InHand<'_> {
        self.state().in_hand += 1;
        InHand(self)
    }

    /// The upstream answered, whatever it said, about so many creates.
    pub(super) fn answered(&self, creates: usize) {
        let mut state = self.state();
        state.failures = 0;
        let creates = u32::try_from(creates).unwrap_or(WIDEST);
        state.window = state.window.saturating_add(creates).min(WIDEST);
    }

    /// The upstream did not answer.
    pub(super) fn failed(&self, uptime: Duration) {
        let mut state = self.state();
        state.failures = state.failures.saturating_add(1);
        if state.failures == TOLERATED {
            state.next_probe = uptime + PROBE_EVERY;
        }
        if state.is_open() {
            state.window = 1;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    const fn is_open(&self) -> bool {
        self.failures >= TOLERATED
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn open() -> Breaker {
        let breaker = Breaker::default();
        for _ in 0..TOLERATED {
            assert!(breaker.admits(at(1)));
            breaker.failed(at(1));
        }
        breaker
    }

    #[test]
    fn it_opens_after_failures_probes_and_closes_with_an_answer() {
        let breaker = open();
        assert!(!breaker.admits(at(1)));
        assert!(breaker.admits(at(4)), "one probe");
        assert!(!breaker.admits(at(4)), "and only one");
        breaker.answered(1);
        assert!(breaker.admits(at(4)) && breaker.admits(at(4)));
    }

    #[test]
    fn looking_for_room_is_no_probe_and_a_probe_in_hand_is_the_only_one() {
        let breaker = open();
        assert_eq!((breaker.room(at(1)), breaker.room(at(4)), breaker.room(at(4))), (0, 1, 1));
        breaker.take_up(at(4));
        let probe = breaker.in_hand();
        assert_eq!((breaker.room(at(4)), breaker.room(at(60))), (0, 0), "a slow probe stays alone");
        drop(probe);
        assert_eq!(breaker.room(at(60)), 1);
    }

    #[test]
    fn after_an_outage_the_queue_goes_slowly_at_first() {
        let breaker = open();
        let mut rooms = Vec::new();
        breaker.answered(1);
        for _ in 0..7 {
            let room = breaker.room(at(9));
            rooms.push(room);
            breaker.answered(usize::try_from(room).unwrap());
        }
        assert_eq!(rooms, [2, 4, 8, 16, 32, 64, 64]);
    }
}
