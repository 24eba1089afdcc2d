//! The only place that reads the time.
//!
//! Rules take `now` as an argument; whoever needs to know or to wait is given a [`Clock`].
//! Two readings exist because they answer different questions: [`Clock::now`] is what the machine
//! believes the date to be and may be wrong or jump (rule T9), [`Clock::uptime`] only ever goes
//! forward and decides how long something has lived.

mod deadline;

use std::{
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp, TimestampArithmetic};
use tokio::sync::watch;

pub use deadline::{Deadline, Held};

/// A source of time, and a way to wait for it to pass.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// The date and time as this machine believes it.
    fn now(&self) -> Timestamp;

    /// Time since an arbitrary start. Nobody can set it, and it goes on while the machine is suspended.
    fn uptime(&self) -> Duration;

    /// Waits until `duration` of uptime has passed.
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + 'static>>;
}

/// A clock as it is passed around.
pub type SharedClock = Arc<dyn Clock>;

/// A time so much later. Saturates: the end of time, where there is none.
pub fn later(at: Timestamp, by: impl Into<TimestampArithmetic>) -> Timestamp {
    at.saturating_add(by).unwrap_or(Timestamp::MAX)
}

/// A time so much earlier. Saturates: the beginning of time, where there is none.
pub fn earlier(at: Timestamp, by: impl Into<TimestampArithmetic>) -> Timestamp {
    at.saturating_sub(by).unwrap_or(Timestamp::MIN)
}

/// When the hour began in which a time lies, by UTC; or another `unit` of whole seconds, such as a minute or a day.
/// Saturates: the beginning of time, where there is none.
pub fn start_of(at: Timestamp, unit: SignedDuration) -> Timestamp {
    let unit_s = unit.as_secs().max(1);
    Timestamp::from_second(at.as_second().div_euclid(unit_s) * unit_s).unwrap_or(Timestamp::MIN)
}

/// One moment, read from both hands of the clock: the uptime decides, the date is what people are told.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// The date.
    pub date: Timestamp,
    /// The uptime.
    pub uptime: Duration,
}

impl Now {
    /// Reads the clock.
    pub fn read(clock: &dyn Clock) -> Self {
        Self { date: clock.now(), uptime: clock.uptime() }
    }

    /// The date at which the uptime will be `at`.
    pub fn date_of(&self, at: Duration) -> Timestamp {
        let left = SignedDuration::try_from(at.saturating_sub(self.uptime)).unwrap_or(SignedDuration::ZERO);
        later(self.date, left)
    }
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the date")]
    fn now(&self) -> Timestamp {
        // Microseconds are what the stores keep: what is read back equals what was written.
        let now = Timestamp::now();
        Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now)
    }

    fn uptime(&self) -> Duration {
        // BOOTTIME and not MONOTONIC: a token ages while a laptop sleeps.
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or(0))
    }

    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + 'static>> {
        Box::pin(tokio::time::sleep(duration))
    }
}

/// A clock that stands still until it is told to move. For tests.
///
/// Clones share one time.
#[derive(Debug, Clone)]
pub struct ManualClock {
    reading: Arc<Mutex<Reading>>,
    moved: watch::Sender<Duration>,
}

#[derive(Debug, Clone, Copy)]
struct Reading {
    now: Timestamp,
    uptime: Duration,
}

impl ManualClock {
    /// A clock that shows `now`.
    pub fn new(now: Timestamp) -> Self {
        let uptime = Duration::from_secs(1_000);
        Self { reading: Arc::new(Mutex::new(Reading { now, uptime })), moved: watch::Sender::new(uptime) }
    }

    /// Lets `duration` pass, and wakes whoever waited for that.
    pub fn advance(&self, duration: Duration) {
        let uptime = {
            let mut reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
            reading.now = later(reading.now, duration);
            reading.uptime = reading.uptime.saturating_add(duration);
            reading.uptime
        };
        self.moved.send_replace(uptime);
    }

    /// Sets the date wrong (or right) without any time passing, as a bad NTP server does.
    pub fn step(&self, by: SignedDuration) {
        let mut reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        reading.now = later(reading.now, by);
    }

    fn reading(&self) -> Reading {
        *self.reading.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.reading().now
    }

    fn uptime(&self) -> Duration {
        self.reading().uptime
    }

    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + 'static>> {
        let until = self.reading().uptime.saturating_add(duration);
        let mut moved = self.moved.subscribe();
        Box::pin(async move {
            // The sender lives in every clone; when all are gone nobody can move this clock any more.
            if moved.wait_for(|uptime| *uptime >= until).await.is_err() {
                std::future::pending::<()>().await;
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_manual_clock_wakes_only_those_whose_time_has_come() {
        let clock = ManualClock::new(Timestamp::UNIX_EPOCH);
        let early = tokio::spawn(clock.sleep(Duration::from_secs(5)));
        let late = tokio::spawn(clock.sleep(Duration::from_secs(60)));
        clock.advance(Duration::from_secs(5));
        early.await.unwrap();
        assert!(!late.is_finished());
        assert_eq!(clock.now(), Timestamp::from_second(5).unwrap());
    }

    #[test]
    fn times_that_do_not_exist_are_the_last_and_the_first() {
        let (epoch, second) = (Timestamp::UNIX_EPOCH, Duration::from_secs(1));
        assert_eq!(later(earlier(epoch, second), second), epoch);
        assert_eq!(earlier(epoch, second), Timestamp::from_second(-1).unwrap());
        for by in [Duration::from_secs(u64::MAX), Duration::from_secs(1 << 62)] {
            assert_eq!((later(epoch, by), earlier(epoch, by)), (Timestamp::MAX, Timestamp::MIN));
        }
        let (endless, back) = (SignedDuration::MAX, SignedDuration::MIN);
        assert_eq!((later(epoch, endless), earlier(epoch, endless)), (Timestamp::MAX, Timestamp::MIN));
        assert_eq!((later(epoch, back), earlier(epoch, back)), (Timestamp::MIN, Timestamp::MAX));
    }

    #[test]
    fn a_unit_begins_with_its_first_second_before_1970_too() {
        let (hour, day) = (SignedDuration::from_hours(1), SignedDuration::from_hours(24));
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let evening = at("2026-12-24T23:59:59.999Z");
        assert_eq!(start_of(evening, hour), at("2026-12-24T23:00:00Z"));
        assert_eq!(start_of(at("2026-12-24T23:00:00Z"), hour), at("2026-12-24T23:00:00Z"));
        assert_eq!(start_of(evening, day), at("2026-12-24T00:00:00Z"));
        assert_eq!(start_of(at("1969-12-31T23:30:00Z"), hour), at("1969-12-31T23:00:00Z"));
        assert_eq!(start_of(Timestamp::MIN, day), Timestamp::MIN);
    }

    #[test]
    fn a_step_moves_the_date_and_not_the_uptime() {
        let clock = ManualClock::new(Timestamp::UNIX_EPOCH);
        let before = clock.uptime();
        clock.step(SignedDuration::from_hours(24));
        assert_eq!(clock.uptime(), before);
        assert_eq!(clock.now(), Timestamp::from_second(86_400).unwrap());
    }
}
