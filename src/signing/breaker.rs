//! A circuit breaker in front of creates and clicks: while the upstream is dead, new ones are queued at
//! once instead of each waiting for its own time-out, and one probe at a time finds out when it is back.
//!
//! When it is back, the queue does not fall on it all at once: one create goes first, and each answer
//! lets one more go beside it, so that the number under way doubles with every round trip.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;

use crate::esign::Reach;

/// Failures in a row that open the circuit.
const TOLERATED: u32 = 5;
/// Time between probes while it is open. Short, because an uncertain create is to be decided within
/// seconds of the upstream answering again.
const PROBE_EVERY: Duration = Duration::from_secs(2);
/// How long one probe that has not ended keeps others from being made: its call may hang for a minute, in
/// which the upstream may be back.
const PROBE_HANGS: Duration = Duration::from_secs(10);
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
    /// Whether the last probe has neither ended nor said how the upstream is.
    is_probed: bool,
    /// Unfinished creates that recovery may have in hand at once.
    window: u32,
    /// Those it has.
    in_hand: u32,
    /// Whether more is due than recovery can take up.
    is_behind: bool,
    /// Why the last try since it opened asked nobody, if it was one that did not.
    held_up: Option<HeldUp>,
}

/// Why a try that would have shown whether the upstream is back did not ask it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldUp {
    /// The code that a caller would get.
    pub code: &'static str,
    /// What it met, in words for an operator.
    pub why: String,
    /// Until when it lasts, if that is known.
    pub until: Option<Timestamp>,
}

impl Default for Breaker {
    fn default() -> Self {
        let state = State {
            failures: 0,
            next_probe: Duration::ZERO,
            is_probed: false,
            window: WIDEST,
            in_hand: 0,
            is_behind: false,
            held_up: None,
        };
        Self { state: Mutex::new(state) }
    }
}

/// Calls that may be made, until it is dropped.
#[derive(Debug)]
pub(super) struct Admitted {
    breaker: Arc<Breaker>,
    /// Of recovery's room.
    in_hand: u32,
    is_probe: bool,
}

impl Admitted {
    /// Parts with so many creates, for a task of their own.
    pub(super) fn split(&mut self, creates: usize) -> Self {
        let taken = self.in_hand.min(u32::try_from(creates).unwrap_or(WIDEST));
        self.in_hand -= taken;
        Self {
            breaker: Arc::clone(&self.breaker),
            in_hand: taken,
            is_probe: std::mem::take(&mut self.is_probe),
        }
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        if self.in_hand == 0 && !self.is_probe {
            return;
        }
        let mut state = self.breaker.state();
        state.in_hand -= self.in_hand;
        // It ended without a word about the upstream, and so found nothing out.
        if self.is_probe && state.is_probed {
            state.is_probed = false;
            state.next_probe = Duration::ZERO;
        }
    }
}

impl Breaker {
    /// Whether a call may be tried now. While open, one at a time may, to find out.
    pub(super) fn admit(self: &Arc<Self>, uptime: Duration) -> Option<Admitted> {
        self.admit_by(self.state(), uptime)
    }

    /// Whether a new create may be tried now. It may not overtake those in line.
    pub(super) fn admit_new(self: &Arc<Self>, uptime: Duration) -> Option<Admitted> {
        let state = self.state();
        if state.is_behind { None } else { self.admit_by(state, uptime) }
    }

    fn admit_by(self: &Arc<Self>, mut state: MutexGuard<'_, State>, uptime: Duration) -> Option<Admitted> {
        let is_probe = state.is_open();
        if is_probe && !state.probe(uptime) {
            return None;
        }
        drop(state);
        Some(Admitted { breaker: Arc::clone(self), in_hand: 0, is_probe })
    }

    /// How many unfinished creates recovery may take up now. While open: one, if it is time for a probe.
    pub(super) fn room(&self, uptime: Duration) -> u32 {
        let state = self.state();
        if state.is_open() {
            return u32::from(uptime >= state.next_probe);
        }
        // Slow posts must not keep look-ups waiting, so there is a little more room than the window.
        (state.window + (state.window / 8).max(1)).saturating_sub(state.in_hand)
    }

    /// Recovery takes so many creates up. Apart from [`Breaker::room`], because there may be nothing to take
    /// up, and then nobody has probed.
    pub(super) fn take_up(self: &Arc<Self>, uptime: Duration, creates: usize) -> Admitted {
        let mut state = self.state();
        let is_probe = state.is_open() && state.probe(uptime);
        let in_hand = u32::try_from(creates).unwrap_or(WIDEST);
        state.in_hand += in_hand;
        drop(state);
        Admitted { breaker: Arc::clone(self), in_hand, is_probe }
    }

    /// Whether the upstream has left creates unanswered lately, and none since got an answer.
    pub(super) fn is_open(&self) -> bool {
        self.state().is_open()
    }

    /// Whether new creates must stand in line, behind what is due and not taken up yet.
    pub(super) fn is_behind(&self) -> bool {
        self.state().is_behind
    }

    /// Recovery has taken up all that is due, or there is more.
    pub(super) fn fell_behind(&self, is_behind: bool) {
        self.state().is_behind = is_behind;
    }

    /// A call about so many creates has ended, and came so far. A refusal is an answer; what nobody was asked for says
    /// nothing.
    pub(super) fn note(&self, reach: Reach, creates: usize, uptime: Duration) {
        match reach {
            Reach::Answered => self.answered(creates),
            Reach::NotAsked => {}
            Reach::NotSent | Reach::Unknown => self.failed(uptime),
        }
    }

    /// A try ended without asking the upstream, and so it is not known whether it is back. That is kept while it is open.
    pub(super) fn held_up_by(&self, what: HeldUp) {
        let mut state = self.state();
        if state.is_open() {
            state.held_up = Some(what);
        }
    }

    /// Why the last try while it is open asked nobody; none if it did ask.
    pub(super) fn held_up(&self) -> Option<HeldUp> {
        self.state().held_up.clone()
    }

    /// The upstream answered, whatever it said, about so many creates.
    fn answered(&self, creates: usize) {
        let mut state = self.state();
        state.failures = 0;
        state.is_probed = false;
        state.held_up = None;
        let creates = u32::try_from(creates).unwrap_or(WIDEST);
        state.window = state.window.saturating_add(creates).min(WIDEST);
    }

    /// The upstream did not answer.
    fn failed(&self, uptime: Duration) {
        let mut state = self.state();
        state.failures = state.failures.saturating_add(1);
        state.held_up = None;
        // What was begun before it opened may end in failures for a minute; that is no news.
        if state.failures == TOLERATED || state.is_probed {
            state.is_probed = false;
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

    /// Whether it is time for a probe; if so, it is being made.
    fn probe(&mut self, uptime: Duration) -> bool {
        let is_time = uptime >= self.next_probe;
        if is_time {
            self.is_probed = true;
            self.next_probe = uptime + PROBE_HANGS;
        }
        is_time
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn open() -> Arc<Breaker> {
        let breaker = Arc::new(Breaker::default());
        for _ in 0..TOLERATED {
            assert!(breaker.admit(at(1)).is_some());
            breaker.failed(at(1));
        }
        breaker
    }

    #[test]
    fn it_opens_after_failures_probes_and_closes_with_an_answer() {
        let breaker = open();
        assert!(breaker.admit(at(1)).is_none());
        let probe = breaker.admit(at(4));
        assert!(probe.is_some() && breaker.admit(at(4)).is_none(), "one probe, and only one");
        assert!(breaker.admit(at(13)).is_none() && breaker.room(at(13)) == 0, "while it has not ended");
        assert!(breaker.admit(at(14)).is_some(), "one that hangs is not waited for for ever");
        breaker.answered(1);
        assert!(breaker.admit(at(4)).is_some() && breaker.admit(at(4)).is_some());
    }

    #[test]
    fn a_probe_that_found_nothing_out_leaves_its_place_to_the_next() {
        let breaker = open();
        drop(breaker.admit(at(4)).unwrap());
        let probe = breaker.admit(at(4)).unwrap();
        breaker.failed(at(5));
        drop(probe);
        assert!(breaker.admit(at(6)).is_none(), "it has found out that the upstream is away");
        assert!(breaker.admit(at(7)).is_some());
    }

    #[test]
    fn a_refusal_closes_it_and_what_nobody_was_asked_for_does_not() {
        let breaker = open();
        let probe = breaker.admit(at(4));
        breaker.note(Reach::NotAsked, 1, at(4));
        assert!(breaker.is_open());
        drop(probe);
        breaker.note(Reach::Answered, 1, at(5));
        assert!(!breaker.is_open());
        for reach in [Reach::NotSent, Reach::NotSent, Reach::NotAsked, Reach::Unknown, Reach::NotSent] {
            breaker.note(reach, 1, at(6));
        }
        assert!(!breaker.is_open(), "four");
        breaker.note(Reach::Unknown, 1, at(6));
        assert!(breaker.is_open());
    }

    #[test]
    fn why_the_last_try_asked_nobody_is_kept_until_one_asks() {
        let what = || HeldUp { code: "key_rejected", why: "no token".to_owned(), until: None };
        let well = Breaker::default();
        well.held_up_by(what());
        assert_eq!(well.held_up(), None, "nobody doubts that the upstream is there");
        let breaker = open();
        assert_eq!(breaker.held_up(), None, "it was asked");
        breaker.held_up_by(what());
        breaker.note(Reach::NotAsked, 1, at(4));
        assert_eq!(breaker.held_up(), Some(what()));
        breaker.note(Reach::NotSent, 1, at(5));
        assert_eq!(breaker.held_up(), None, "asked again, and left unanswered");
        breaker.held_up_by(what());
        breaker.note(Reach::Answered, 1, at(6));
        assert_eq!((breaker.held_up(), breaker.is_open()), (None, false));
    }

    #[test]
    fn looking_for_room_is_no_probe_and_a_probe_in_hand_is_the_only_one() {
        let breaker = open();
        assert_eq!((breaker.room(at(1)), breaker.room(at(4)), breaker.room(at(4))), (0, 1, 1));
        let probe = breaker.take_up(at(4), 1);
        assert_eq!((breaker.room(at(4)), breaker.room(at(13))), (0, 0), "a slow probe stays alone");
        assert!(breaker.admit(at(13)).is_none(), "also before new calls");
        drop(probe);
        assert_eq!(breaker.room(at(5)), 1);
    }

    #[test]
    fn what_hangs_takes_up_its_room() {
        let breaker = Arc::new(Breaker::default());
        let mut all = breaker.take_up(at(1), 64);
        assert_eq!(breaker.room(at(1)), 8, "a little is left for look-ups");
        let last = breaker.take_up(at(1), 8);
        assert_eq!(breaker.room(at(1)), 0);
        let one = all.split(1);
        drop(all);
        assert_eq!(breaker.room(at(1)), 63);
        drop((one, last));
        assert_eq!(breaker.room(at(1)), 72);
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
        assert_eq!(rooms, [3, 6, 12, 25, 54, 72, 72]);
    }
}
