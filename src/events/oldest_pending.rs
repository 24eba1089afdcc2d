//! How long the oldest event has been waiting for delivery, as the metrics tell it.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};

use crate::{clock::SharedClock, store::SharedStore, telemetry::metrics::Metrics};

/// How often it is looked up: what begins to wait is told so much later.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(5);

/// How long it waits, if any does. That is looked up now and then.
#[derive(Debug, Clone, Default)]
pub(super) struct OldestPending(Arc<Mutex<Waits>>);

#[derive(Debug, Clone, Copy, Default)]
enum Waits {
    /// None does.
    #[default]
    None,
    /// It was so young at the last look that it is likely to be delivered before the next one: told as it was then.
    Briefly(SignedDuration),
    /// It has been there for a whole while between two looks, and goes on from scrape to scrape.
    Since(Timestamp),
}

impl Waits {
    fn at_look(since: Option<Timestamp>, now: Timestamp) -> Self {
        let Some(since) = since else { return Self::None };
        let age = now.duration_since(since).max(SignedDuration::ZERO);
        if age.unsigned_abs() < LOOK_EVERY { Self::Briefly(age) } else { Self::Since(since) }
    }

    fn seconds(self, now: Timestamp) -> f64 {
        match self {
            Self::None => 0.0,
            Self::Briefly(age) => age.as_secs_f64(),
            Self::Since(since) => now.duration_since(since).as_secs_f64().max(0.0),
        }
    }
}

impl OldestPending {
    /// One that these metrics tell; nothing waits as far as is known.
    pub(super) fn in_metrics(metrics: &Metrics, clock: SharedClock) -> Self {
        let oldest = Self::default();
        let told = oldest.clone();
        metrics.on_scrape(move |metrics| {
            let waits = *told.lock();
            metrics.webhook_oldest_pending(waits.seconds(clock.now()));
        });
        oldest
    }

    /// Looks it up. While the store does not answer, what was known stays.
    pub(super) async fn look_up(&self, store: &SharedStore, now: Timestamp) {
        let Ok(since) = store.oldest_pending_delivery().await else { return };
        *self.lock() = Waits::at_look(since, now);
    }

    fn lock(&self) -> MutexGuard<'_, Waits> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{clock::later, events::testing::now};

    /// What is told `after` the look at an event that was `old` then.
    fn told(old: Duration, after: Duration) -> f64 {
        let look = later(now(), old);
        Waits::at_look(Some(now()), look).seconds(later(look, after))
    }

    #[test]
    fn an_event_that_was_young_at_the_look_is_not_told_older_afterwards() {
        let (ms, s) = (Duration::from_millis, Duration::from_secs);
        for (old, after, seconds) in [
            // Under way at the look, and delivered since.
            (ms(5), ms(4_900), 0.005),
            (ms(4_999), ms(4_900), 4.999),
            (s(5), s(0), 5.0),
            (s(5), s(3), 8.0),
            (s(3_600), s(4), 3_604.0),
        ] {
            assert!((told(old, after) - seconds).abs() < 1e-9, "{old:?}, {after:?}: {}", told(old, after));
        }
        let none = Waits::at_look(None, now());
        assert!(none.seconds(later(now(), s(60))).abs() < f64::EPSILON);
        // The event is another machine's, whose clock is ahead.
        let ahead = Waits::at_look(Some(later(now(), s(9))), now());
        assert!(ahead.seconds(now()).abs() < f64::EPSILON);
    }
}
