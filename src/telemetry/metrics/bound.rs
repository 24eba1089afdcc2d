//! Handles for hot paths: bound once, counted without a lookup.

use std::sync::{OnceLock, atomic::Ordering};

use prometheus::{Histogram, IntCounter, IntCounterVec};

use super::{Metrics, Outcome};

/// Series of `http_requests_total` that routes may make, except those below. Further ones keep their listener
/// and the class of their status, which alerts look at, and count as route `other`.
const ROUTE_SERIES: usize = 24;

/// Series that routes may make of refusals (4xx), apart: those a stranger can cause on every path, and must not
/// take the place of what callers get.
const REFUSAL_SERIES: usize = 6;

/// Refusals that have a series of their own whatever was refused before: why orders and views fail, and visitors do not
/// come in, is what an operator looks for first. With those above they are as many as there is room for.
pub(super) const KEPT_REFUSALS: [(&str, &[u16]); 4] = [
    ("/v1/signings", &[400, 401, 409, 422, 429]),
    ("/v1/signings/{id}", &[404]),
    ("/v1/signings/{id}/signers/{signer}/views", &[409, 429]),
    ("/s/{token}", &[404, 429]),
];

/// Likewise for `upstream_requests_total` and its operations, except those of the account server.
const OPERATION_SERIES: usize = 20;

/// The operations of the account server. The alert on the eSignature API leaves them out by name, so none of their
/// series, of which there are few, may count as operation `other`.
pub(super) const ACCOUNT_SERVER: [&str; 2] = ["token", "user_info"];

/// Status codes that are shown as they are; others as their class.
const CODES: [(u16, &str); 18] = [
    (200, "200"),
    (201, "201"),
    (202, "202"),
    (204, "204"),
    (303, "303"),
    (304, "304"),
    (400, "400"),
    (401, "401"),
    (403, "403"),
    (404, "404"),
    (409, "409"),
    (413, "413"),
    (422, "422"),
    (429, "429"),
    (500, "500"),
    (502, "502"),
    (503, "503"),
    (504, "504"),
];

/// By what a status begins with; what begins with 1 ends no request.
const CLASSES: [&str; 5] = ["other", "2xx", "3xx", "4xx", "5xx"];

/// Counts the answers of one route. Make it when the router is built, from a constant.
#[derive(Debug)]
pub struct Route {
    listener: &'static str,
    path: &'static str,
    requests: IntCounterVec,
    /// None on the ops listener: its probes and scrapes come by the clock, and would drown what people wait for.
    seconds: Option<Histogram>,
    bound: [OnceLock<IntCounter>; CODES.len() + CLASSES.len()],
}

impl Route {
    /// A request was answered.
    pub fn answered(&self, metrics: &Metrics, status: u16, seconds: f64) {
        let begins_with = usize::from(status / 100);
        let class = if (2..=5).contains(&begins_with) { begins_with - 1 } else { 0 };
        let index = CODES.iter().position(|(code, _)| *code == status).unwrap_or(CODES.len() + class);
        let counter = self.bound[index].get_or_init(|| {
            let (made, most) = match begins_with {
                4 => (&metrics.refusal_series, REFUSAL_SERIES),
                _ => (&metrics.route_series, ROUTE_SERIES),
            };
            if self.is_kept(status) || made.fetch_add(1, Ordering::Relaxed) < most {
                let status = CODES.get(index).map_or(CLASSES[class], |(_, text)| text);
                self.requests.with_label_values(&[self.listener, self.path, status])
            } else {
                self.requests.with_label_values(&[self.listener, "other", CLASSES[class]])
            }
        });
        counter.inc();
        if let Some(histogram) = &self.seconds {
            histogram.observe(seconds);
        }
    }

    fn is_kept(&self, status: u16) -> bool {
        KEPT_REFUSALS.iter().any(|(path, codes)| *path == self.path && codes.contains(&status))
    }
}

/// Counts the calls of one upstream operation.
#[derive(Debug)]
pub struct Operation {
    name: &'static str,
    requests: IntCounterVec,
    seconds: Histogram,
    bound: [OnceLock<IntCounter>; Outcome::ALL.len()],
}

impl Operation {
    /// Shows how often it succeeds from now on, at 0. Not for all of them: they would take the place of outcomes that
    /// occur.
    pub fn begin(&self, metrics: &Metrics) {
        self.counter(metrics, Outcome::Good);
    }

    /// A call ended.
    pub fn ended(&self, metrics: &Metrics, outcome: Outcome, seconds: f64) {
        self.counter(metrics, outcome).inc();
        if outcome != Outcome::Shed {
            self.seconds.observe(seconds);
        }
    }

    /// So many calls ended of which nobody here knows how long they took.
    pub fn ended_untimed(&self, metrics: &Metrics, outcome: Outcome, count: u64) {
        self.counter(metrics, outcome).inc_by(count);
    }

    fn counter(&self, metrics: &Metrics, outcome: Outcome) -> &IntCounter {
        self.bound[outcome as usize].get_or_init(|| {
            let has_own = ACCOUNT_SERVER.contains(&self.name)
                || metrics.operation_series.fetch_add(1, Ordering::Relaxed) < OPERATION_SERIES;
            let name = if has_own { self.name } else { "other" };
            self.requests.with_label_values(&[name, outcome.as_str()])
        })
    }
}

impl Metrics {
    /// The counters of one route, such as `("api", "/v1/signings")`.
    pub fn route(&self, listener: &'static str, path: &'static str) -> Route {
        // Who asks to wait is not kept waiting by us.
        let is_timed = listener != "ops" && !path.ends_with("/wait");
        Route {
            listener,
            path,
            requests: self.http_requests_total.clone(),
            seconds: is_timed.then(|| self.http_request_duration_seconds.clone()),
            bound: [const { OnceLock::new() }; CODES.len() + CLASSES.len()],
        }
    }

    /// The counters of one upstream operation, such as `envelope_create`.
    pub fn operation(&self, name: &'static str) -> Operation {
        Operation {
            name,
            requests: self.upstream_requests_total.clone(),
            seconds: self.upstream_request_duration_seconds.clone(),
            bound: [const { OnceLock::new() }; Outcome::ALL.len()],
        }
    }
}
