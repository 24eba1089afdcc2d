//! The budget of upstream calls: shared between daemons, written down, and shown.

use std::sync::Arc;

use crate::{
    app::Parts,
    domain::SenderName,
    telemetry::metrics::{self, Metrics},
};

/// Starts the sharing and the gauges.
pub(super) fn start(parts: &Parts) {
    let (esign, auth, clock) = (Arc::clone(&parts.esign), parts.auth.clone(), Arc::clone(&parts.clock));
    parts.metrics.on_scrape(move |metrics| {
        let now = clock.now();
        for name in auth.senders() {
            // An account that no sender has used yet has spent nothing of ours.
            let Some(acting) = esign.known(&SenderName::new(name.clone())) else { continue };
            let left = esign.budget().remaining(&acting.account);
            let forecast = esign.budget().forecast(&acting.account);
            let runway =
                forecast.exhausted_at.map_or(f64::INFINITY, |at| at.duration_since(now).as_secs_f64());
            show(metrics, &name, (left.hour, left.burst), runway);
        }
    });
    let (esign, store, stopping) =
        (Arc::clone(&parts.esign), Arc::clone(&parts.store), parts.life.stopping());
    parts.life.spawn("budget", async move { esign.budget().keep_sharing(&*store, stopping).await });
}

/// Calls left and seconds until they are gone. A gauge holds a float, and calls are far below 2^52.
#[expect(clippy::cast_precision_loss, reason = "calls are counted in thousands")]
fn show(metrics: &Metrics, sender: &str, (hour, burst): (u64, u64), runway_seconds: f64) {
    metrics.budget_remaining(sender, metrics::Window::Hour, hour as f64);
    metrics.budget_remaining(sender, metrics::Window::Burst, burst as f64);
    metrics.budget_runway(sender, runway_seconds);
}

/// Writes down what was counted up to the end.
pub(super) async fn finish(parts: &Parts) {
    if let Err(error) = parts.esign.budget().save_ledger(&*parts.store).await {
        tracing::warn!(%error, "the last counts of upstream calls are not in the ledger");
    }
}
