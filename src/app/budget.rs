//! The budget of upstream calls: shared between daemons, written down, and shown.

use std::{collections::HashMap, sync::Arc, time::Duration};

use jiff::Timestamp;

use crate::{
    app::{
        Parts,
        announce::{announce, callers_of},
    },
    domain::{AccountId, EventKind},
    esign::AccountBudget,
    objects::event::BudgetEvent,
    telemetry::metrics::Window,
};

/// How often it is looked whether a budget is low.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Starts the sharing, the gauges, and the events.
pub(super) fn start(parts: &Parts) {
    let (esign, clock) = (Arc::clone(&parts.esign), Arc::clone(&parts.clock));
    parts.metrics.on_scrape(move |metrics| {
        let now = clock.now();
        for AccountBudget { account, senders, remaining } in esign.budgets() {
            // An account is told by the first of its senders: people know that name, and not the account's id.
            let Some(name) = senders.first() else { continue };
            metrics.budget_remaining(name.as_str(), Window::Hour, whole(remaining.hour));
            metrics.budget_remaining(name.as_str(), Window::Burst, whole(remaining.burst));
            let gone = esign.budget().forecast(&account).exhausted_at;
            let runway = gone.map_or(f64::INFINITY, |at| at.duration_since(now).as_secs_f64());
            metrics.budget_runway(name.as_str(), runway);
        }
    });
    let (esign, store, stopping) =
        (Arc::clone(&parts.esign), Arc::clone(&parts.store), parts.life.stopping());
    parts.life.spawn("budget", async move { esign.budget().keep_sharing(&*store, stopping).await });
    let told = Arc::new(tokio::sync::Mutex::new(HashMap::new()));
    parts.repeat("budget events", LOOK_EVERY, move |parts| {
        let told = Arc::clone(&told);
        async move { tell(&parts, &mut *told.lock().await).await }
    });
}

/// A gauge holds a float, and calls are far below 2^52.
#[expect(clippy::cast_precision_loss, reason = "calls are counted in thousands")]
fn whole(calls: u64) -> f64 {
    calls as f64
}

/// Tells `budget.low`, once in an account's hour, to every caller that may use one of its senders. `told` holds
/// until when each account was told. Several daemons on one store each tell it.
async fn tell(parts: &Parts, told: &mut HashMap<AccountId, Timestamp>) {
    let (now, budget) = (parts.clock.now(), parts.esign.budget());
    for spent in parts.esign.budgets() {
        let is_told = told.get(&spent.account).is_some_and(|until| now < *until);
        if is_told || !budget.is_low(&spent.remaining) {
            continue;
        }
        let mut callers: Vec<_> = spent.senders.iter().flat_map(|sender| callers_of(parts, sender)).collect();
        callers.sort();
        callers.dedup();
        let data = |sequence| {
            let left = &spent.remaining;
            let event = BudgetEvent {
                id: spent.account.as_str(),
                hour_limit: left.hour_limit,
                hour_remaining: left.hour,
                resets_at: left.resets_at,
                exhausted_at: budget.forecast(&spent.account).exhausted_at,
                sequence,
            };
            event.data()
        };
        match announce(parts, EventKind::BudgetLow, callers, data).await {
            Ok(()) => drop(told.insert(spent.account, spent.remaining.resets_at)),
            Err(error) => tracing::warn!(event = EventKind::BudgetLow.as_str(), %error, "not told yet"),
        }
    }
}

/// Writes down what was counted up to the end.
pub(super) async fn finish(parts: &Parts) {
    if let Err(error) = parts.esign.budget().save_ledger(&*parts.store).await {
        tracing::warn!(%error, "the last counts of upstream calls are not in the ledger");
    }
}
