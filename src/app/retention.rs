//! Destroys what has been kept long enough (rule S2): once an hour, in batches that nobody waits for.
//!
//! | What | Kept |
//! |---|---|
//! | idempotency keys and their answers | 7 days (rule E3) |
//! | personal data of a signing, and what DocuSign sent about it | `store.retention` after its end |
//! | events, deliveries, inbound messages | `store.retention` |
//! | the bare record of a signing: ids, statuses, times | for good |

use std::{sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};

use crate::{app::Parts, store::Retention};

const EVERY: Duration = Duration::from_secs(3_600);
const KEYS: SignedDuration = SignedDuration::from_hours(7 * 24);

/// Starts the task.
pub(super) fn start(parts: &Parts, keep: Duration) {
    let keep = SignedDuration::try_from(keep).unwrap_or(SignedDuration::MAX);
    let (store, clock) = (Arc::clone(&parts.store), Arc::clone(&parts.clock));
    let stopping = parts.life.stopping();
    let task = async move {
        loop {
            match store.destroy(limits(clock.now(), keep)).await {
                Ok(destroyed) => tracing::debug!(?destroyed, "what was kept long enough is destroyed"),
                Err(error) => tracing::warn!(%error, "what was kept long enough could not be destroyed"),
            }
            tokio::select! {
                () = stopping.cancelled() => return,
                () = clock.sleep(EVERY) => {}
            }
        }
    };
    parts.life.spawn("retention", task);
}

fn limits(now: Timestamp, keep: SignedDuration) -> Retention {
    let before = |age| now.saturating_sub(age).unwrap_or(Timestamp::MIN);
    Retention {
        keys_before: before(KEYS),
        personal_before: before(keep),
        events_before: before(keep),
        signings_before: Timestamp::MIN,
    }
}
