//! Several daemons on one account tell each other, through the store, what they have spent.
//!
//! Each counts its own calls at once and learns of the others' with a delay of seconds; the headers of
//! the next answer correct what is missed in between.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{Budget, Now, lock};
use crate::store::{self, Store};

/// How often daemons tell each other. Small against an hour, rare against the store's speed.
const INTERVAL: Duration = Duration::from_secs(5);

impl Budget {
    /// Tells the store what was spent since the last time, and learns what others spent.
    pub async fn share(&self, store: &dyn Store) -> Result<(), store::Error> {
        for (id, account) in self.known() {
            let now = Now::read(&*self.clock);
            let (hour, calls) = {
                let mut account = lock(&account);
                account.roll(now);
                account.hour.unreported(now)
            };
            let spent = store.spend(&id, hour, calls).await?;
            lock(&account).hour.shared(calls, spent.calls);
        }
        Ok(())
    }

    /// Shares until it is told to stop.
    pub async fn keep_sharing(&self, store: &dyn Store, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.clock.sleep(INTERVAL) => {}
            }
            if let Err(error) = self.share(store).await {
                tracing::debug!(%error, "cannot share the budget of calls");
            }
        }
    }
}
