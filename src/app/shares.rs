//! Callers' shares of the hour's calls: what each daemon counted is told to the others through the store.

use std::time::Duration;

use crate::{
    app::Parts,
    store::{self, Counter},
};

/// As often as daemons tell each other of the account's own hour.
const TELL_EVERY: Duration = Duration::from_secs(5);

/// Starts the telling.
pub(super) fn start(parts: &Parts) {
    parts.repeat("callers' shares", TELL_EVERY, |parts| async move { tell(&parts).await });
}

/// Tells what was counted, and learns what the others did. Without the store each daemon goes on by itself.
pub(super) async fn tell(parts: &Parts) {
    if let Err(error) = tell_all(parts).await {
        tracing::debug!(%error, "cannot tell other daemons of callers' shares");
    }
}

async fn tell_all(parts: &Parts) -> Result<(), store::Error> {
    for (name, share) in parts.callers.shares() {
        let Some((hour, calls)) = share.untold(parts.clock.now()) else { continue };
        let spent = parts.store.spend(&Counter::Share(name), hour, calls).await?;
        share.learned(hour, calls, spent, parts.clock.now());
    }
    Ok(())
}
