//! Metrics: every family is a field of [`Metrics`], and its doc comment is its help text.
//!
//! Labels are closed sets ([`labels`]), never an id, and the number of series is bounded whatever the
//! traffic: families that could grow have a cap, beyond which everything counts as `other`, and keeps the labels
//! that alerts look at. A scrape stays under 300 series, whatever the traffic and however many senders there
//! are. Hot paths bind their handles once ([`Route`], [`Operation`]); gauges that only a part can compute are
//! set when a scrape comes ([`Metrics::on_scrape`]).

mod bound;
mod labels;
mod open;
mod process;
mod senders;

use std::{
    collections::BTreeSet,
    fmt,
    sync::{Mutex, PoisonError, atomic::AtomicUsize},
};

use prometheus::{
    Encoder as _, Gauge, GaugeVec, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts,
    Registry, TextEncoder,
};

pub use self::{
    bound::{Operation, Route},
    labels::{
        AttemptResult, AuthMethod, AuthResult, ConnectResult, Decision, ExpiryKind, Fact, HandshakeRefusal,
        IdempotencyResult, KeyState, LinkKind, MintResult, Outcome, ReturnClaim, Right, SigningStatus,
        SpanResult, ViewResult, Window,
    },
    open::CONTENT_TYPE as OPEN_METRICS,
    senders::{KeyReading, SenderReading},
};

/// What the name of each of our families begins with.
const PREFIX: &str = "countersign_";

/// From a store read to the longest wait for the upstream.
const BUCKETS_SECONDS: [f64; 6] = [0.005, 0.025, 0.1, 0.5, 2.5, 10.0];

/// Accounts with a label of their own in `budget_remaining`.
const ACCOUNT_LABELS: usize = 4;

/// Something that sets gauges when a scrape comes.
type ScrapeHook = Box<dyn Fn(&Metrics) + Send + Sync>;

/// Makes a field's metric from its type, name, doc comment and labels.
macro_rules! metrics {
    (
        $(#[$meta:meta])*
        pub struct $Metrics:ident {
            $( $(#[doc = $help:literal])+ $field:ident: $Kind:ident $(<$($label:literal),+>)?, )+
        }
    ) => {
        $(#[$meta])*
        pub struct $Metrics {
            registry: Registry,
            senders: senders::Labels,
            accounts: Mutex<BTreeSet<String>>,
            operation_series: AtomicUsize,
            refusal_series: AtomicUsize,
            exemplars: open::Exemplars,
            route_series: AtomicUsize,
            hooks: Mutex<Vec<ScrapeHook>>,
            $( $(#[doc = $help])+ $field: $Kind, )+
        }

        impl $Metrics {
            fn build(senders: &[&str]) -> Result<Self, prometheus::Error> {
                let registry = Registry::new();
                $(
                    let $field: $Kind = Family::family(
                        &format!("{PREFIX}{}", stringify!($field)),
                        concat!($($help),+).trim(),
                        &[$($($label),+)?],
                    )?;
                    registry.register(Box::new($field.clone()))?;
                )+
                let metrics = Self {
                    registry,
                    senders: senders::Labels::new(senders),
                    accounts: Mutex::default(),
                    operation_series: AtomicUsize::new(0),
                    refusal_series: AtomicUsize::new(0),
                    exemplars: open::Exemplars::default(),
                    route_series: AtomicUsize::new(0),
                    hooks: Mutex::default(),
                    $( $field, )+
                };
                Ok(metrics)
            }
        }
    };
}

metrics! {
    /// All metrics of one daemon, in a registry of their own.
    pub struct Metrics {
        /// Whether the audit log can be written, without which nothing is done; 1, too, without such a log.
        audit_up: Gauge,
        /// Version of this daemon; always 1.
        build_info: GaugeVec<"version">,
        /// Calls that the account's limit allows in an hour, as DocuSign states it.
        budget_limit: GaugeVec<"account">,
        /// Calls left of the account's limit, as far as we know.
        budget_remaining: GaugeVec<"account", "window">,
        /// Seconds until the account's hourly limit is used up at the present pace; +Inf: it lasts.
        budget_runway_seconds: GaugeVec<"account">,
        /// Requests by how their caller showed who it is, and whether it was believed.
        caller_authentications_total: IntCounterVec<"method", "result">,
        /// Requests that lacked a right, by what was done about it.
        caller_rights_total: IntCounterVec<"right", "decision">,
        /// When a file of a listener that speaks TLS runs out: the first date in it that passes.
        certificate_expiry_timestamp_seconds: GaugeVec<"listener", "kind">,
        /// By how much clock_offset_seconds may be wrong, either way.
        clock_offset_error_seconds: Gauge,
        /// How far this machine's clock is behind the upstream's (negative: ahead).
        clock_offset_seconds: Gauge,
        /// How far this machine's clock is behind the database's (negative: ahead); 0 on a store without a clock.
        store_clock_offset_seconds: Gauge,
        /// Connect deliveries received, by what became of them.
        connect_deliveries_total: IntCounterVec<"result">,
        /// Whether the sender's consent is granted, as far as we know.
        consent_granted: GaugeVec<"sender">,
        /// Time from a request's arrival to the start of its answer, api and public listener.
        http_request_duration_seconds: Histogram,
        /// Requests answered.
        http_requests_total: IntCounterVec<"listener", "route", "status">,
        /// Creates by what their Idempotency-Key led to.
        idempotency_total: IntCounterVec<"result">,
        /// The sender's private keys by fingerprint of their public half; always 1.
        key_info: GaugeVec<"sender", "fingerprint", "state">,
        /// Links opened.
        link_opens_total: IntCounterVec<"kind">,
        /// Whether callers are served, as /readyz says: 1 if ready or degraded, 0 if not.
        ready: Gauge,
        /// Signers who came back, by what the browser claimed and what turned out to be so.
        returns_total: IntCounterVec<"claim", "fact">,
        /// Times that the process which holds the private keys was started again (signer.isolate).
        signer_restarts_total: IntCounter,
        /// Whether what holds the private keys can sign: this process, or the one that it keeps.
        signer_up: Gauge,
        /// Signings that reached a status.
        signings_total: IntCounterVec<"status">,
        /// Signings whose create has an unknown outcome right now.
        signings_uncertain: IntGauge,
        /// Tasks that have not ended: each connection, stream and piece of work under way has one.
        tasks: IntGauge,
        /// TLS handshakes that came to nothing, all listeners.
        tls_handshakes_refused_total: IntCounterVec<"reason">,
        /// When the access token in use ends; 0 without one.
        token_expiry_timestamp_seconds: GaugeVec<"sender">,
        /// Attempts to get a token, each with as many exchanges as it tries keys.
        token_mints_total: IntCounterVec<"sender", "result">,
        /// How long the account server may stay down from now before a caller notices.
        token_runway_seconds: GaugeVec<"sender">,
        /// Spans of traces, by what became of them.
        trace_spans_total: IntCounterVec<"result">,
        /// Time from the start of a call of the eSignature API to the end of its answer.
        upstream_request_duration_seconds: Histogram,
        /// Calls of the eSignature API, and of the account server (token, user_info).
        upstream_requests_total: IntCounterVec<"operation", "outcome">,
        /// Recipient views asked for.
        view_mints_total: IntCounterVec<"result">,
        /// Attempts to deliver our events.
        webhook_attempts_total: IntCounterVec<"result">,
        /// Age of the oldest event that waits for delivery: the event's own, also after a replay; 0 if none waits. Looked up
        /// every 5 s; below 5 s it is the age at that look.
        webhook_oldest_pending_seconds: Gauge,
    }
}

impl Metrics {
    /// Metrics of a daemon with these senders.
    pub fn new(senders: &[&str]) -> Self {
        let metrics = Self::build(senders).expect("names and labels are constants that are valid and differ");
        metrics.build_info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1.0);
        metrics.audit_up.set(1.0);
        metrics.begin();
        metrics
    }

    /// Counts begin at 0: a series that is born at 1 shows no increase, and an alert on its first event would be
    /// silent; and a fresh daemon shows that it counts. Of the upstream's operations [`Operation::begin`] does it.
    fn begin(&self) {
        for (family, labels) in [
            (&self.connect_deliveries_total, ConnectResult::LABELS),
            (&self.idempotency_total, IdempotencyResult::LABELS),
            (&self.link_opens_total, LinkKind::LABELS),
            (&self.signings_total, SigningStatus::LABELS),
            (&self.tls_handshakes_refused_total, HandshakeRefusal::LABELS),
            (&self.view_mints_total, ViewResult::LABELS),
            (&self.webhook_attempts_total, AttemptResult::LABELS),
        ] {
            for label in labels {
                let _ = family.with_label_values(&[*label]);
            }
        }
        for (family, firsts, seconds) in [
            (&self.caller_rights_total, Right::LABELS, Decision::LABELS),
            (&self.returns_total, ReturnClaim::LABELS, Fact::LABELS),
        ] {
            for first in firsts {
                for second in seconds {
                    let _ = family.with_label_values(&[*first, *second]);
                }
            }
        }
    }

    /// When a file of a listener runs out.
    pub fn certificate_expires(&self, listener: &str, kind: ExpiryKind, at: jiff::Timestamp) {
        let gauge = self.certificate_expiry_timestamp_seconds.with_label_values(&[listener, kind.as_str()]);
        gauge.set(at.as_duration().as_secs_f64());
    }

    /// A TLS handshake came to nothing.
    pub fn handshake_refused(&self, reason: HandshakeRefusal) {
        self.tls_handshakes_refused_total.with_label_values(&[reason.as_str()]).inc();
    }

    /// Whether what is done can be written down.
    pub fn audit(&self, is_up: bool) {
        self.audit_up.set(f64::from(u8::from(is_up)));
    }

    /// Whether callers are served.
    pub fn ready(&self, is_ready: bool) {
        self.ready.set(f64::from(u8::from(is_ready)));
    }

    /// Adds something that sets gauges when a scrape comes. It must be quick and must not wait.
    pub fn on_scrape(&self, hook: impl Fn(&Self) + Send + Sync + 'static) {
        self.hooks.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(hook));
    }

    /// Everything, in Prometheus' text format.
    pub fn render(&self) -> String {
        for hook in self.hooks.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            hook(self);
        }
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            self.tasks.set(i64::try_from(runtime.metrics().num_alive_tasks()).unwrap_or(i64::MAX));
        }
        let mut text = Vec::with_capacity(16 * 1024);
        // Writing to memory does not fail, and the families are well-formed by construction.
        let _ = TextEncoder::new().encode(&self.registry.gather(), &mut text);
        let mut text = String::from_utf8(text).unwrap_or_default();
        process::render(&mut text);
        text
    }

    /// As [`render`](Self::render), in OpenMetrics' text format, with traces of requests beside their durations.
    pub fn render_open(&self) -> String {
        self.exemplars.render(&self.render())
    }

    /// A request of this trace was answered after so long.
    pub fn traced(&self, trace_id: String, seconds: f64, at: jiff::Timestamp) {
        self.exemplars.observe(trace_id, seconds, at);
    }

    /// So many exchanges with the account server ended since the last call.
    pub fn tokens_minted(&self, sender: &str, result: MintResult, count: u64) {
        let sender = self.senders.label(sender);
        self.token_mints_total.with_label_values(&[sender, result.as_str()]).inc_by(count);
    }

    /// How far this machine's clock is behind the upstream's, and by how much that may be wrong.
    pub fn clock_offset(&self, seconds: f64, error_bound_seconds: f64) {
        self.clock_offset_seconds.set(seconds);
        self.clock_offset_error_seconds.set(error_bound_seconds);
    }

    /// How far this machine's clock is behind the database's.
    pub fn store_clock_offset(&self, seconds: f64) {
        self.store_clock_offset_seconds.set(seconds);
    }

    /// Whether keys can be used, and how often their process was started again since the last call.
    pub fn signer(&self, is_up: bool, restarts: u64) {
        self.signer_up.set(f64::from(u8::from(is_up)));
        self.signer_restarts_total.inc_by(restarts);
    }

    /// A caller showed who it is.
    pub fn caller_authenticated(&self, method: AuthMethod, result: AuthResult) {
        self.caller_authentications_total.with_label_values(&[method.as_str(), result.as_str()]).inc();
    }

    /// A request lacked a right.
    pub fn right_missing(&self, right: Right, decision: Decision) {
        self.caller_rights_total.with_label_values(&[right.as_str(), decision.as_str()]).inc();
    }

    /// So many spans were sent, or not.
    pub fn spans(&self, result: SpanResult, count: u64) {
        if count > 0 {
            self.trace_spans_total.with_label_values(&[result.as_str()]).inc_by(count);
        }
    }

    /// Calls left in a window of an account's limit. Name the account by one of its senders, not by its
    /// id; from the fifth account on, all share the label `other`.
    pub fn budget_remaining(&self, account: &str, window: Window, calls: f64) {
        self.budget_remaining.with_label_values(&[self.account(account), window.as_str()]).set(calls);
    }

    /// Calls that an hour's limit allows; accounts are named as above.
    pub fn budget_limit(&self, account: &str, calls: f64) {
        self.budget_limit.with_label_values(&[self.account(account)]).set(calls);
    }

    /// How long the hour's limit lasts at the present pace; accounts are named as above.
    pub fn budget_runway(&self, account: &str, seconds: f64) {
        self.budget_runway_seconds.with_label_values(&[self.account(account)]).set(seconds);
    }

    fn account<'a>(&self, account: &'a str) -> &'a str {
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        if accounts.len() < ACCOUNT_LABELS {
            accounts.insert(account.to_owned());
        }
        if accounts.contains(account) { account } else { "other" }
    }

    /// A signing reached a status.
    pub fn signing_reached(&self, status: SigningStatus) {
        self.signings_total.with_label_values(&[status.as_str()]).inc();
    }

    /// So many signings have a create with an unknown outcome.
    pub fn signings_uncertain(&self, count: i64) {
        self.signings_uncertain.set(count);
    }

    /// A recipient view was asked for.
    pub fn view_minted(&self, result: ViewResult) {
        self.view_mints_total.with_label_values(&[result.as_str()]).inc();
    }

    /// A link was opened.
    pub fn link_opened(&self, kind: LinkKind) {
        self.link_opens_total.with_label_values(&[kind.as_str()]).inc();
    }

    /// A signer came back.
    pub fn returned(&self, claim: ReturnClaim, fact: Fact) {
        self.returns_total.with_label_values(&[claim.as_str(), fact.as_str()]).inc();
    }

    /// A Connect delivery was received.
    pub fn connect_delivered(&self, result: ConnectResult) {
        self.connect_deliveries_total.with_label_values(&[result.as_str()]).inc();
    }

    /// So many of the Connect deliveries that were received before are of an envelope that is nobody's.
    pub fn connect_unknown(&self, deliveries: u64) {
        self.connect_deliveries_total
            .with_label_values(&[ConnectResult::Unknown.as_str()])
            .inc_by(deliveries);
    }

    /// A delivery of one of our events was tried.
    pub fn webhook_attempted(&self, result: AttemptResult) {
        self.webhook_attempts_total.with_label_values(&[result.as_str()]).inc();
    }

    /// The age of the oldest event that waits for delivery.
    pub fn webhook_oldest_pending(&self, seconds: f64) {
        self.webhook_oldest_pending_seconds.set(seconds);
    }

    /// A create with an idempotency key was decided.
    pub fn idempotency(&self, result: IdempotencyResult) {
        self.idempotency_total.with_label_values(&[result.as_str()]).inc();
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// A kind of metric that a field can have.
trait Family: Sized {
    fn family(name: &str, help: &str, labels: &[&str]) -> Result<Self, prometheus::Error>;
}

impl Family for Gauge {
    fn family(name: &str, help: &str, _: &[&str]) -> Result<Self, prometheus::Error> {
        Self::new(name, help)
    }
}

impl Family for IntGauge {
    fn family(name: &str, help: &str, _: &[&str]) -> Result<Self, prometheus::Error> {
        Self::new(name, help)
    }
}

impl Family for GaugeVec {
    fn family(name: &str, help: &str, labels: &[&str]) -> Result<Self, prometheus::Error> {
        Self::new(Opts::new(name, help), labels)
    }
}

impl Family for IntCounter {
    fn family(name: &str, help: &str, _: &[&str]) -> Result<Self, prometheus::Error> {
        Self::new(name, help)
    }
}

impl Family for IntCounterVec {
    fn family(name: &str, help: &str, labels: &[&str]) -> Result<Self, prometheus::Error> {
        Self::new(Opts::new(name, help), labels)
    }
}

impl Family for Histogram {
    fn family(name: &str, help: &str, _: &[&str]) -> Result<Self, prometheus::Error> {
        Self::with_opts(HistogramOpts::new(name, help).buckets(BUCKETS_SECONDS.to_vec()))
    }
}

#[cfg(test)]
mod tests;
