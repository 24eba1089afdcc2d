//! Carries what the parts know to the metrics.

use std::{collections::HashMap, sync::Arc, time::Duration};

use crate::{
    app::Parts,
    auth::{SenderStatus, consent::Consent, key_ring},
    budget::{Operation, Outcome},
    esign,
    telemetry::metrics::{self, KeyReading, KeyState, Metrics, SenderReading},
};

/// How often gauges that need the store are read.
const READ_EVERY: Duration = Duration::from_secs(5);

/// Starts the scrape hooks and the task behind the gauges.
pub(super) fn start(parts: &Parts) {
    let auth = parts.auth.clone();
    parts.metrics.on_scrape(move |metrics| {
        let statuses = auth.statuses();
        metrics.observe_senders(&statuses.iter().map(reading).collect::<Vec<_>>());
        if let Some(offset) = auth.clock_offset() {
            metrics.clock_offset(offset.offset.as_secs_f64());
        }
    });
    let (parts, stopping) = (parts.clone(), parts.life.stopping());
    let task = {
        let parts = parts.clone();
        async move {
            loop {
                if let Ok(count) = parts.signings.unsettled().await {
                    parts.metrics.signings_uncertain(i64::try_from(count).unwrap_or(i64::MAX));
                }
                tokio::select! {
                    () = stopping.cancelled() => return,
                    () = parts.clock.sleep(READ_EVERY) => {}
                }
            }
        }
    };
    parts.life.spawn("gauges", task);
}

fn reading(status: &SenderStatus) -> SenderReading {
    SenderReading {
        sender: status.name.to_string(),
        expires_at_seconds: status.expires_at.map_or(0.0, |at| at.as_duration().as_secs_f64()),
        runway_seconds: status.runway.as_secs_f64(),
        consent_granted: status.consent == Consent::Granted,
        keys: status.keys.iter().filter_map(key_reading).collect(),
    }
}

fn key_reading(key: &key_ring::KeyStatus) -> Option<KeyReading> {
    let state = match key.state {
        key_ring::KeyState::Active | key_ring::KeyState::Standby => KeyState::Current,
        key_ring::KeyState::Unproven => KeyState::Candidate,
        key_ring::KeyState::Broken | key_ring::KeyState::Rejected => KeyState::Bad,
    };
    Some(KeyReading { fingerprint: key.fingerprint?.to_string(), state })
}

/// Counts and times every call to the upstream.
pub(super) fn calls(metrics: &Arc<Metrics>) -> Arc<dyn esign::Observer> {
    let bound = Operation::ALL.iter().map(|operation| (*operation, metrics.operation(operation.as_str())));
    Arc::new(Calls { metrics: Arc::clone(metrics), bound: bound.collect() })
}

#[derive(Debug)]
struct Calls {
    metrics: Arc<Metrics>,
    bound: HashMap<Operation, metrics::Operation>,
}

impl esign::Observer for Calls {
    fn observed(&self, operation: Operation, outcome: Outcome, duration: Duration) {
        let outcome = match outcome {
            Outcome::Ok => metrics::Outcome::Good,
            Outcome::Limited | Outcome::Shed => metrics::Outcome::Limited,
            Outcome::Rejected | Outcome::Unauthorized => metrics::Outcome::Rejected,
            Outcome::BadAnswer | Outcome::NotSent | Outcome::Unavailable | Outcome::Unknown => {
                metrics::Outcome::Unavailable
            }
        };
        if let Some(bound) = self.bound.get(&operation) {
            bound.ended(&self.metrics, outcome, duration.as_secs_f64());
        }
    }
}
