//! How wrong this machine's clock is, by what the upstream's `Date` headers say (rule T9).
//!
//! Each answer brackets the upstream's clock: it wrote `Date` after we sent and before we received.
//! The brackets of several answers are cut with each other, which makes the estimate better than
//! the header's whole seconds. They are kept against *uptime*, which nobody can set: when someone
//! sets this machine's date, the offset follows at once, without a new answer.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};

use crate::clock::SharedClock;

/// A `Date` is cut to the second, and servers keep the text for up to one second more.
const DATE_LAG: i128 = 2_000_000_000;
/// Quartz drifts by up to 100 ppm; two machines by twice that.
const DRIFT_PPM: i128 = 200;

/// The estimate, shared by all who talk to the upstream.
#[derive(Debug)]
pub struct ClockOffset {
    clock: SharedClock,
    bracket: Mutex<Option<Bracket>>,
}

/// Bounds of "the upstream's time minus our uptime", in nanoseconds.
#[derive(Debug, Clone, Copy)]
struct Bracket {
    low: i128,
    high: i128,
    at: Duration,
}

/// The offset at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offset {
    /// What would have to be added to this machine's clock.
    pub offset: SignedDuration,
    /// By how much that may be wrong, either way.
    pub error_bound: Duration,
}

impl ClockOffset {
    /// Nothing is known yet.
    pub fn new(clock: SharedClock) -> Self {
        Self { clock, bracket: Mutex::new(None) }
    }

    /// Takes in an answer that has just come: the uptime at which its request left, and its `Date` if it has one.
    pub fn observe(&self, sent: Duration, date: Option<Timestamp>) {
        let Some(date) = date.map(Timestamp::as_nanosecond) else { return };
        let received = self.clock.uptime();
        let fresh =
            Bracket { low: date - nanos(received), high: date + DATE_LAG - nanos(sent), at: received };
        let mut bracket = self.bracket.lock().unwrap_or_else(PoisonError::into_inner);
        // Brackets that do not meet mean that a clock was set: the newest answer is right.
        *bracket = bracket.and_then(|known| known.aged(received).cut(fresh)).or(Some(fresh));
    }

    /// The upstream's time as far as we know it; this machine's if nothing is known, or if what is known does not
    /// say that it is wrong.
    pub fn corrected_now(&self) -> Timestamp {
        let (now, uptime) = (self.clock.now(), nanos(self.clock.uptime()));
        match self.bracket() {
            Some(bracket) if !bracket.holds(now.as_nanosecond() - uptime) => at(bracket.middle() + uptime),
            Some(_) | None => now,
        }
    }

    /// How wrong this machine's clock is; none before the first answer.
    pub fn offset(&self) -> Option<Offset> {
        let bracket = self.bracket()?;
        let ours = self.clock.now().as_nanosecond() - nanos(self.clock.uptime());
        let half = (bracket.high - bracket.low) / 2;
        Some(Offset {
            offset: SignedDuration::from_nanos(clamp(bracket.middle() - ours)),
            error_bound: Duration::from_nanos(clamp(half).unsigned_abs()),
        })
    }

    fn bracket(&self) -> Option<Bracket> {
        let bracket = *self.bracket.lock().unwrap_or_else(PoisonError::into_inner);
        bracket.map(|bracket| bracket.aged(self.clock.uptime()))
    }
}

impl Bracket {
    /// Wider by what may have drifted since.
    fn aged(self, now: Duration) -> Self {
        let drift = nanos(now.saturating_sub(self.at)) * DRIFT_PPM / 1_000_000;
        Self { low: self.low - drift, high: self.high + drift, at: now.max(self.at) }
    }

    fn cut(self, other: Self) -> Option<Self> {
        let (low, high) = (self.low.max(other.low), self.high.min(other.high));
        (low <= high).then_some(Self { low, high, at: other.at })
    }

    fn holds(self, offset: i128) -> bool {
        (self.low..=self.high).contains(&offset)
    }

    fn middle(self) -> i128 {
        i128::midpoint(self.low, self.high)
    }
}

fn nanos(duration: Duration) -> i128 {
    i128::try_from(duration.as_nanos()).unwrap_or(i128::MAX / 4)
}

fn clamp(nanos: i128) -> i64 {
    i64::try_from(nanos).unwrap_or(if nanos < 0 { i64::MIN } else { i64::MAX })
}

fn at(nanos: i128) -> Timestamp {
    // As our own clock tells it: microseconds are what the stores keep.
    let micros = i64::try_from(nanos.div_euclid(1_000)).ok();
    let at = micros.and_then(|micros| Timestamp::from_microsecond(micros).ok());
    at.unwrap_or(if nanos < 0 { Timestamp::MIN } else { Timestamp::MAX })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::{Clock as _, ManualClock};

    /// The upstream's clock is right; ours is `wrong` seconds ahead.
    fn machine(wrong: i64) -> (ManualClock, ClockOffset) {
        let clock = ManualClock::new(Timestamp::from_second(1_800_000_000 + wrong).unwrap());
        let offset = ClockOffset::new(Arc::new(clock.clone()));
        (clock, offset)
    }

    /// One answer that took `took` ms, half of it on the way there.
    fn answer(clock: &ManualClock, offset: &ClockOffset, wrong: i64, took: u64) {
        let sent = clock.uptime();
        clock.advance(Duration::from_millis(took / 2));
        let truth = clock.now().as_second() - wrong;
        clock.advance(Duration::from_millis(took / 2));
        offset.observe(sent, Some(Timestamp::from_second(truth).unwrap()));
    }

    #[test]
    fn t9_the_offset_is_within_its_error_bound() {
        for wrong in [0, 600, -600, 86_400, -86_400] {
            let (clock, offset) = machine(wrong);
            assert_eq!(offset.offset(), None);
            assert_eq!(offset.corrected_now(), clock.now());
            for took in [900, 40, 130, 333, 71] {
                answer(&clock, &offset, wrong, took);
                let found = offset.offset().unwrap();
                let error = (found.offset + SignedDuration::from_secs(wrong)).unsigned_abs();
                assert!(error <= found.error_bound, "{error:?} > {:?}", found.error_bound);
                assert!(found.error_bound < Duration::from_millis(1_500));
                clock.advance(Duration::from_secs(61));
            }
        }
    }

    #[test]
    fn t9_setting_this_machines_date_shows_at_once() {
        let (clock, offset) = machine(3_600);
        answer(&clock, &offset, 3_600, 100);
        let truth = offset.corrected_now();
        clock.step(SignedDuration::from_hours(24));
        assert_eq!(offset.corrected_now(), truth);
        let found = offset.offset().unwrap();
        assert!((found.offset + SignedDuration::from_hours(25)).unsigned_abs() <= found.error_bound);
        // Mended: nothing that is known speaks against this machine's own time any more.
        clock.step(SignedDuration::from_hours(-25));
        assert_eq!(offset.corrected_now(), clock.now());
    }

    #[test]
    fn t9_when_the_upstreams_clock_is_set_the_newest_answer_counts() {
        let (clock, offset) = machine(0);
        answer(&clock, &offset, 0, 100);
        answer(&clock, &offset, 300, 100);
        let found = offset.offset().unwrap();
        assert!((found.offset + SignedDuration::from_secs(300)).unsigned_abs() <= found.error_bound);
    }

    #[test]
    fn the_bound_widens_with_age() {
        let (clock, offset) = machine(0);
        answer(&clock, &offset, 0, 100);
        let before = offset.offset().unwrap().error_bound;
        clock.advance(Duration::from_secs(100_000));
        assert_eq!(offset.offset().unwrap().error_bound, before + Duration::from_secs(20));
    }
}
