//! Destroys what has been kept long enough (rule S2): once an hour, in batches that nobody waits for.
//! How long that is, is in [`Retention`].
//!
//! A machine whose clock is wrong, as one without a battery may have it at its start, must not destroy what is still to be
//! kept. Where it runs ahead the upstream says what time it is, and before it has answered once nothing is destroyed;
//! where it is behind, what it has just written is as old as its own clock says.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::{app::Parts, store::Retention};

const EVERY: Duration = Duration::from_secs(3_600);
/// How often it is looked whether the upstream has told the time.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Starts the task.
pub(super) fn start(parts: &Parts, keep: Duration) {
    let keep = SignedDuration::try_from(keep).unwrap_or(SignedDuration::MAX);
    parts.repeat("retention", EVERY, move |parts| async move {
        let now = loop {
            match parts.esign.told_now() {
                Some(told) => break judged_at(told, parts.clock.now()),
                None => parts.clock.sleep(LOOK_EVERY).await,
            }
        };
        match parts.store.destroy(Retention::at(now, keep)).await {
            Ok(destroyed) => tracing::debug!(?destroyed, "what was kept long enough is destroyed"),
            Err(error) => tracing::warn!(%error, "what was kept long enough could not be destroyed"),
        }
    });
}

/// The time by which it is judged how old something is: by either clock it must be old enough.
fn judged_at(told: Timestamp, ours: Timestamp) -> Timestamp {
    told.min(ours)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_clock_makes_nothing_older_whichever_way_it_is_wrong() {
        let told = Timestamp::constant(1_800_000_000, 0);
        for (ours, expected) in [(0, 0), (1_800_000_000, 1_800_000_000), (2_000_000_000, 1_800_000_000)] {
            assert_eq!(judged_at(told, Timestamp::constant(ours, 0)), Timestamp::constant(expected, 0));
        }
    }
}
