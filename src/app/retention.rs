//! Destroys what has been kept long enough (rule S2): once an hour, in batches that nobody waits for.
//! How long that is, is in [`Retention`].
//!
//! A machine whose clock is wrong, as one without a battery may have it at its start, must not destroy what is still to be
//! kept. Where it runs ahead the upstream says what time it is, and before it has answered once nothing is destroyed;
//! where it is behind, what it has just written is as old as its own clock says.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};

use crate::{
    app::Parts,
    store::{self, Destroyed, Retention},
};

const EVERY: Duration = Duration::from_secs(3_600);
/// How often it is looked whether the upstream has told the time.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Starts the task.
pub(super) fn start(parts: &Parts, keep: Duration) {
    let keep = SignedDuration::try_from(keep).unwrap_or(SignedDuration::MAX);
    let last_failed = Arc::new(AtomicBool::new(false));
    parts.repeat("retention", EVERY, move |parts| {
        let last_failed = Arc::clone(&last_failed);
        async move {
            let now = loop {
                match parts.esign.told_now() {
                    Some(told) => break judged_at(told, parts.clock.now()),
                    None => parts.clock.sleep(LOOK_EVERY).await,
                }
            };
            let done = parts.store.destroy(Retention::at(now, keep)).await;
            let had_failed = last_failed.swap(done.is_err(), Ordering::Relaxed);
            tell(&done, had_failed);
        }
    });
}

/// A run that failed is told, and so is the next one that did not: whoever saw the warning waits for it.
fn tell(done: &Result<Destroyed, store::Error>, had_failed: bool) {
    match done {
        Ok(destroyed) if had_failed || *destroyed != Destroyed::default() => {
            let Destroyed { keys, personal, events, signings } = destroyed;
            tracing::info!(keys, personal, events, signings, "what was kept long enough is destroyed");
        }
        Ok(_) => tracing::debug!("nothing has been kept long enough"),
        Err(error) => tracing::warn!(%error, "what was kept long enough could not be destroyed"),
    }
}

/// The time by which it is judged how old something is: by either clock it must be old enough.
fn judged_at(told: Timestamp, ours: Timestamp) -> Timestamp {
    told.min(ours)
}

#[cfg(test)]
mod tests {
    use tracing::level_filters::LevelFilter;

    use super::*;
    use crate::telemetry::logging::{Format, tests::Logged};

    #[test]
    fn what_was_destroyed_is_told_and_after_a_failure_that_it_works_again() {
        let logged = Logged::start(LevelFilter::INFO, Format::Human);
        let none = Destroyed::default();
        tell(&Ok(none), false);
        assert_eq!(logged.take(), "", "nothing was old enough");
        tell(&Ok(Destroyed { personal: 3, ..none }), false);
        let told = logged.take();
        assert!(told.contains("INFO") && told.contains("is destroyed"), "{told}");
        assert!(told.contains("personal") && told.contains('3'), "{told}");
        tell(&Err(store::Error::Unavailable("another program reads it".to_owned())), false);
        assert!(logged.take().contains("could not be destroyed"));
        tell(&Ok(none), true);
        assert!(logged.take().contains("is destroyed"), "whoever saw the warning waits for it");
    }

    #[test]
    fn a_wrong_clock_makes_nothing_older_whichever_way_it_is_wrong() {
        let told = Timestamp::constant(1_800_000_000, 0);
        for (ours, expected) in [(0, 0), (1_800_000_000, 1_800_000_000), (2_000_000_000, 1_800_000_000)] {
            assert_eq!(judged_at(told, Timestamp::constant(ours, 0)), Timestamp::constant(expected, 0));
        }
    }
}
