//! How long the oldest event has been waiting for delivery, as the metrics tell it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

use crate::{clock::SharedClock, store::SharedStore, telemetry::metrics::Metrics};

/// Since when it waits, if any does. That is looked up now and then; how long ago it was is told at each scrape.
#[derive(Debug, Clone, Default)]
pub(super) struct OldestPending(Arc<Mutex<Option<Timestamp>>>);

impl OldestPending {
    /// One that these metrics tell; nothing waits as far as is known.
    pub(super) fn in_metrics(metrics: &Metrics, clock: SharedClock) -> Self {
        let oldest = Self::default();
        let told = oldest.clone();
        metrics.on_scrape(move |metrics| {
            let since = *told.lock();
            let age = since.map_or(0.0, |at| clock.now().duration_since(at).as_secs_f64());
            metrics.webhook_oldest_pending(age.max(0.0));
        });
        oldest
    }

    /// Looks it up. While the store does not answer, what was known stays.
    pub(super) async fn look_up(&self, store: &SharedStore) {
        let Ok(since) = store.oldest_pending_delivery().await else { return };
        *self.lock() = since;
    }

    fn lock(&self) -> MutexGuard<'_, Option<Timestamp>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
