//! Destroys what has been kept long enough (rule S2): once an hour, in batches that nobody waits for.
//! How long that is, is in [`Retention`].
//!
//! A machine whose clock runs ahead, as one without a battery may at its start, must not destroy what is still to be
//! kept. So what time it is the upstream says, and before it has answered once nothing is destroyed.

use std::time::Duration;

use jiff::SignedDuration;

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
                Some(now) => break now,
                None => parts.clock.sleep(LOOK_EVERY).await,
            }
        };
        match parts.store.destroy(Retention::at(now, keep)).await {
            Ok(destroyed) => tracing::debug!(?destroyed, "what was kept long enough is destroyed"),
            Err(error) => tracing::warn!(%error, "what was kept long enough could not be destroyed"),
        }
    });
}
