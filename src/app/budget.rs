//! The budget of upstream calls: shared between daemons, written down, and shown.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;

use crate::{
    app::{
        Parts,
        announce::{announce, callers_of},
    },
    auth::account_server_calls::AskedSoFar,
    budget::AccountServerCalls,
    domain::{AccountId, EventKind},
    esign::AccountBudget,
    objects::event::BudgetEvent,
    telemetry::{chain, metrics::Window},
};

/// How often calls of the account server are counted: as often as the ledger is written.
const COUNT_EVERY: Duration = Duration::from_secs(5);
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
            metrics.budget_limit(name.as_str(), whole(remaining.hour_limit));
            let gone = esign.budget().forecast(&account).exhausted_at;
            let runway = gone.map_or(f64::INFINITY, |at| at.duration_since(now).as_secs_f64());
            metrics.budget_runway(name.as_str(), runway);
        }
    });
    let (esign, store, stopping) =
        (Arc::clone(&parts.esign), Arc::clone(&parts.store), parts.life.stopping());
    parts.life.spawn("budget", async move { esign.budget().keep_sharing(&*store, stopping).await });
    let counted = Arc::clone(&parts.asked);
    parts.repeat("account server's calls", COUNT_EVERY, move |parts| {
        let counted = Arc::clone(&counted);
        async move { counted.pass_on(&parts) }
    });
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
            Err(error) => {
                tracing::warn!(event = EventKind::BudgetLow.as_str(), error = %chain(&error), "not told yet");
            }
        }
    }
}

/// What of the account server's calls the ledger knows.
#[derive(Debug, Default)]
pub(super) struct Counted(Mutex<AskedSoFar>);

impl Counted {
    /// Tells the ledger the rest.
    fn pass_on(&self, parts: &Parts) {
        let so_far = parts.auth.asked().so_far();
        let before = std::mem::replace(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner), so_far);
        let AskedSoFar { tokens, early, user_info, limited } = so_far.since(&before);
        let asked = AccountServerCalls { tokens, early, user_info, limited };
        parts.esign.budget().account_server_asked(asked);
    }
}

/// Writes down what was counted up to the end.
pub(super) async fn finish(parts: &Parts) {
    parts.asked.pass_on(parts);
    if let Err(error) = parts.esign.budget().save_ledger(&*parts.store).await {
        tracing::warn!(error = %chain(&error), "the last counts of upstream calls are not in the ledger");
    }
}
