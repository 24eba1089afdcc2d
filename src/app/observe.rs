//! Carries what the parts know to the metrics.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use crate::{
    app::Parts,
    auth::{
        Auth, Error, SenderStatus,
        account_server_calls::{End, Question},
        consent::Consent,
        key_ring,
        token_cache::Mints,
    },
    budget::{Operation, Outcome},
    clock::SharedClock,
    esign,
    ops::Status,
    telemetry::{
        metrics::{self, KeyReading, KeyState, Metrics, MintResult, SenderReading},
        traces::{Attribute, Kind, Span, Tracer},
    },
};

/// How often gauges that need the store are read.
const READ_EVERY: Duration = Duration::from_secs(5);

/// Starts the scrape hooks and the task behind the gauges.
pub(super) fn start(parts: &Parts) {
    let (auth, health, last) = (parts.auth.clone(), parts.health.clone(), Mutex::new(LastScrape::default()));
    let audit = parts.signings.audit().clone();
    let account_server = AccountServerCalls::new(&parts.metrics);
    parts.metrics.on_scrape(move |metrics| {
        let statuses = auth.statuses_that_tell();
        metrics.observe_senders(&statuses.iter().map(reading).collect::<Vec<_>>());
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        for status in &statuses {
            last.count_mints(metrics, &status.name, status.mints);
        }
        last.count_asked(metrics, &auth, &account_server);
        let signer = auth.signer_process();
        let restarts = signer.as_ref().map_or(0, |signer| signer.restarts);
        let more = restarts.saturating_sub(std::mem::replace(&mut last.restarts, restarts));
        metrics.signer(signer.is_none_or(|signer| signer.pid.is_some()), more);
        metrics.audit(audit.trouble().is_none());
        metrics.ready(health.status() != Status::NotReady);
        if let Some(offset) = auth.clock_offset() {
            metrics.clock_offset(offset.offset.as_secs_f64(), offset.error_bound.as_secs_f64());
        }
    });
    parts.repeat("gauges", READ_EVERY, |parts| async move {
        if let Ok(count) = parts.signings.uncertain().await {
            parts.metrics.signings_uncertain(i64::try_from(count).unwrap_or(i64::MAX));
        }
    });
}

/// What the last scrape saw of counts that are kept elsewhere.
#[derive(Default)]
struct LastScrape {
    mints: HashMap<Arc<str>, Mints>,
    asked: HashMap<(Question, End), u64>,
    restarts: u64,
}

impl LastScrape {
    fn count_mints(&mut self, metrics: &Metrics, sender: &Arc<str>, mints: Mints) {
        let before = self.mints.insert(Arc::clone(sender), mints).unwrap_or_default();
        for (result, count, seen) in [
            (MintResult::Good, mints.good, before.good),
            (MintResult::Refused, mints.refused, before.refused),
            (MintResult::Unavailable, mints.unavailable, before.unavailable),
        ] {
            // A sender that was replaced counts from zero again.
            let more = if count < seen { count } else { count - seen };
            if more > 0 {
                metrics.tokens_minted(sender, result, more);
            }
        }
    }

    fn count_asked(&mut self, metrics: &Metrics, auth: &Auth, calls: &AccountServerCalls) {
        for (question, end, count) in auth.asked().ends() {
            let seen = self.asked.entry((question, end)).or_default();
            let more = count.saturating_sub(std::mem::replace(seen, count));
            let outcome = match end {
                End::Good => metrics::Outcome::Good,
                End::Limited => metrics::Outcome::Limited,
                End::Refused => metrics::Outcome::Rejected,
                End::Unavailable => metrics::Outcome::Unavailable,
            };
            if more > 0 {
                calls.of(question).ended_untimed(metrics, outcome, more);
            }
        }
    }
}

/// Calls of the account server, among those of the upstream.
struct AccountServerCalls {
    token: metrics::Operation,
    user_info: metrics::Operation,
}

impl AccountServerCalls {
    fn new(metrics: &Metrics) -> Self {
        Self { token: metrics.operation("token"), user_info: metrics.operation("user_info") }
    }

    const fn of(&self, question: Question) -> &metrics::Operation {
        match question {
            Question::Token => &self.token,
            Question::UserInfo => &self.user_info,
        }
    }
}

fn is_failing(status: &SenderStatus) -> bool {
    status.failure.as_ref().is_some_and(|failure| !matches!(*failure.error, Error::NotConnected))
}

fn reading(status: &SenderStatus) -> SenderReading {
    SenderReading {
        sender: status.name.to_string(),
        expires_at_seconds: status.expires_at.map_or(0.0, |at| at.as_duration().as_secs_f64()),
        // Who rests, or waits for a customer, needs none; who was never tried has not failed.
        runway_seconds: (status.has_token() || is_failing(status)).then_some(status.runway.as_secs_f64()),
        consent_granted: match status.consent {
            Consent::Granted => Some(true),
            Consent::Missing => Some(false),
            Consent::Unknown => None,
        },
        keys: status.keys.iter().flat_map(key_readings).collect(),
    }
}

/// The key, and beside it the bad file that could not take its place: that has no fingerprint.
fn key_readings(key: &key_ring::KeyStatus) -> Vec<KeyReading> {
    let state = match key.state {
        key_ring::KeyState::Active => KeyState::Active,
        key_ring::KeyState::Broken => KeyState::Broken,
        key_ring::KeyState::Rejected => KeyState::Rejected,
        key_ring::KeyState::Standby => KeyState::Standby,
        key_ring::KeyState::Unproven => KeyState::Unproven,
    };
    let held = key.fingerprint.map(|print| KeyReading { fingerprint: print.to_string(), state });
    let bad =
        key.defect.as_ref().map(|_| KeyReading { fingerprint: "none".to_owned(), state: KeyState::Broken });
    held.into_iter().chain(bad).collect()
}

/// Counts and times every call to the upstream.
pub(super) fn calls(
    metrics: &Arc<Metrics>,
    tracer: &Tracer,
    clock: &SharedClock,
) -> Arc<dyn esign::Observer> {
    let bound = Operation::ALL.iter().map(|operation| (*operation, metrics.operation(operation.as_str())));
    let bound: HashMap<_, _> = bound.collect();
    // What every signing costs.
    for operation in [Operation::CreateEnvelope, Operation::CreateView] {
        if let Some(bound) = bound.get(&operation) {
            bound.begin(metrics);
        }
    }
    let (metrics, tracer, clock) = (Arc::clone(metrics), tracer.clone(), Arc::clone(clock));
    Arc::new(Calls { metrics, bound, tracer, clock })
}

#[derive(Debug)]
struct Calls {
    metrics: Arc<Metrics>,
    bound: HashMap<Operation, metrics::Operation>,
    tracer: Tracer,
    clock: SharedClock,
}

impl esign::Observer for Calls {
    fn observed(
        &self,
        operation: Operation,
        outcome: Outcome,
        duration: Duration,
        trace: &dyn Fn() -> Option<String>,
    ) {
        if self.tracer.is_on() {
            self.tracer.inner(&self.span(operation, outcome, duration, trace()));
        }
        let outcome = match outcome {
            Outcome::Ok => metrics::Outcome::Good,
            Outcome::Limited => metrics::Outcome::Limited,
            Outcome::Shed => metrics::Outcome::Shed,
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

impl Calls {
    fn span(&self, operation: Operation, outcome: Outcome, took: Duration, trace: Option<String>) -> Span {
        let text = |text: &str| Attribute::Text(text.to_owned());
        let mut attributes = vec![("countersign.outcome", text(outcome.as_str()))];
        attributes.extend(trace.map(|trace| ("docusign.trace_token", Attribute::Text(trace))));
        Span {
            name: format!("docusign {}", operation.as_str()),
            kind: Kind::Client,
            ended: self.clock.now().as_duration().try_into().unwrap_or_default(),
            took,
            failed: outcome != Outcome::Ok,
            attributes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mints_are_told_by_how_they_ended_and_those_of_a_replaced_sender_are_added() {
        let (metrics, mut last) = (Metrics::new(&["system"]), LastScrape::default());
        let name: Arc<str> = Arc::from("system");
        let mut told = |good, refused, unavailable| {
            last.count_mints(&metrics, &name, Mints { good, refused, unavailable });
            let text = metrics.render();
            ["good", "refused", "unavailable"].map(|result| {
                let series =
                    format!(r#"countersign_token_mints_total{{result="{result}",sender="system"}} "#);
                let value = text.lines().find_map(|line| line.strip_prefix(&series));
                value.map(|value| value.parse::<u64>().unwrap())
            })
        };
        assert_eq!(told(2, 0, 1), [Some(2), None, Some(1)]);
        assert_eq!(told(2, 3, 1), [Some(2), Some(3), Some(1)]);
        // Another one has the name.
        assert_eq!(told(1, 0, 0), [Some(3), Some(3), Some(1)]);
        assert_eq!(told(2, 0, 0), [Some(4), Some(3), Some(1)]);
    }
}
