//! Destroys what has been kept long enough (rule S2): once an hour, in batches that nobody waits for.
//! How long that is, is in [`Retention`].

use std::time::Duration;

use jiff::SignedDuration;

use crate::{app::Parts, store::Retention};

const EVERY: Duration = Duration::from_secs(3_600);

/// Starts the task.
pub(super) fn start(parts: &Parts, keep: Duration) {
    let keep = SignedDuration::try_from(keep).unwrap_or(SignedDuration::MAX);
    parts.repeat("retention", EVERY, move |parts| async move {
        match parts.store.destroy(Retention::at(parts.clock.now(), keep)).await {
            Ok(destroyed) => tracing::debug!(?destroyed, "what was kept long enough is destroyed"),
            Err(error) => tracing::warn!(%error, "what was kept long enough could not be destroyed"),
        }
    });
}
