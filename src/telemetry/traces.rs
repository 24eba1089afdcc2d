//! Traces: what one request caused, as spans that another program shows (OpenTelemetry, OTLP 1.x).
//!
//! A span is made in two places only: around a request of a caller, which takes up the caller's `traceparent`
//! (W3C Trace Context, level 1), and around a call to the upstream, which notes the upstream's own trace token.
//! Both are written by hand and hold names from this code, codes and counts: never a URL, a header, a body or
//! an id of a person (rule S1). This is why no subscriber turns whatever is logged into spans, and why the
//! few lines of OTLP are here and not the SDK: that keeps its exporter, its HTTP client and its context in
//! globals of the process.
//!
//! The context of a request travels with its task, and with the work that the request leaves behind
//! ([`carry`]). What cannot be sent in time is dropped and counted, never waited for.

use std::{
    fmt::Write as _,
    future::Future,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use tracing::Instrument as _;

/// Spans that wait to be sent; further ones are dropped.
const QUEUE_LIMIT: usize = 8_192;

/// Spans in one message.
pub const BATCH: usize = 512;

tokio::task_local! {
    static CURRENT: Context;
}

/// Where in a trace the running code is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Context {
    trace: u128,
    span: u64,
    is_sampled: bool,
}

impl Context {
    /// A new span: in the trace of the caller, if its `traceparent` can be read, else in one of its own.
    /// Answers the caller's span, too.
    pub fn enter(traceparent: Option<&str>) -> (Self, Option<u64>) {
        let parent = traceparent.and_then(Self::parse);
        let (trace, is_sampled) = parent.map_or_else(
            || (uuid::Uuid::new_v4().as_u128(), true),
            |parent| (parent.trace, parent.is_sampled),
        );
        (Self { trace, span: new_span(), is_sampled }, parent.map(|parent| parent.span))
    }

    /// Reads `00-{32 hex}-{16 hex}-{2 hex}`. Of later versions the same beginning counts (section 4.3).
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.trim().split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let is_hex = |text: &str, length| {
            text.len() == length && text.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'))
        };
        let is_whole = is_hex(version, 2) && is_hex(trace, 32) && is_hex(span, 16) && is_hex(flags, 2);
        if !is_whole || version == "ff" || (version == "00" && parts.next().is_some()) {
            return None;
        }
        let trace = u128::from_str_radix(trace, 16).ok().filter(|trace| *trace != 0)?;
        let span = u64::from_str_radix(span, 16).ok().filter(|span| *span != 0)?;
        let flags = u8::from_str_radix(flags, 16).ok()?;
        Some(Self { trace, span, is_sampled: flags & 1 == 1 })
    }

    /// The trace, as logs and other programs write it.
    pub fn trace_id(&self) -> String {
        format!("{:032x}", self.trace)
    }

    /// That of the running task, if it belongs to a request.
    pub fn current() -> Option<Self> {
        CURRENT.try_with(|context| *context).ok()
    }

    /// Runs something in this context.
    pub async fn scope<F: Future>(self, work: F) -> F::Output {
        CURRENT.scope(self, work).await
    }
}

/// Runs work of a task of its own in the context that it was started in.
pub fn carry<F>(work: F) -> impl Future<Output = F::Output>
where
    F: Future,
{
    let context = Context::current();
    let work = async move {
        match context {
            Some(context) => context.scope(work).await,
            None => work.await,
        }
    };
    // What is logged of it names the request that began it.
    work.in_current_span()
}

fn new_span() -> u64 {
    // Any part of a random id will do; zero is not one.
    uuid::Uuid::new_v4().as_u64_pair().1 | 1
}

/// What a span is around.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A call that we make.
    Client,
    /// A request that we answer.
    Server,
}

/// One span, ended.
#[derive(Debug, Clone)]
pub struct Span {
    /// What it is called: words of this code.
    pub name: String,
    /// What it is around.
    pub kind: Kind,
    /// When it ended, since 1970.
    pub ended: Duration,
    /// How long it took.
    pub took: Duration,
    /// Whether it failed.
    pub failed: bool,
    /// More of it. Never personal, never secret.
    pub attributes: Vec<(&'static str, Attribute)>,
}

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attribute {
    /// A number.
    Number(i64),
    /// Words.
    Text(String),
}

/// Takes spans. Off, it does nothing. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Tracer {
    queue: Option<Arc<Queue>>,
}

#[derive(Debug, Default)]
struct Queue {
    spans: Mutex<Vec<Value>>,
    dropped: AtomicU64,
}

impl Tracer {
    /// Spans go nowhere.
    pub fn off() -> Self {
        Self::default()
    }

    /// Spans wait to be taken with [`Tracer::take`].
    pub fn on() -> Self {
        Self { queue: Some(Arc::default()) }
    }

    /// Whether spans are taken.
    pub fn is_on(&self) -> bool {
        self.queue.is_some()
    }

    /// A span of a request ended: `context` is its own, `parent` the caller's.
    pub fn request(&self, context: Context, parent: Option<u64>, span: &Span) {
        self.push(context, context.span, parent, span);
    }

    /// A span inside of a request ended.
    pub fn inner(&self, span: &Span) {
        if let Some(context) = Context::current() {
            self.push(context, new_span(), Some(context.span), span);
        }
    }

    fn push(&self, context: Context, id: u64, parent: Option<u64>, span: &Span) {
        let Some(queue) = self.queue.as_ref().filter(|_| context.is_sampled) else { return };
        let written = write(context, id, parent, span);
        let mut spans = queue.spans.lock().unwrap_or_else(PoisonError::into_inner);
        if spans.len() < QUEUE_LIMIT {
            spans.push(written);
        } else {
            queue.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The next spans to send, at most a batch, as an OTLP message; none if there are none.
    pub fn take(&self) -> Option<(Vec<u8>, usize)> {
        let queue = self.queue.as_ref()?;
        let mut spans = queue.spans.lock().unwrap_or_else(PoisonError::into_inner);
        let count = spans.len().min(BATCH);
        if count == 0 {
            return None;
        }
        let batch: Vec<Value> = spans.drain(..count).collect();
        drop(spans);
        Some((message(&batch), count))
    }

    /// How many were dropped since this was last asked.
    pub fn dropped(&self) -> u64 {
        self.queue.as_ref().map_or(0, |queue| queue.dropped.swap(0, Ordering::Relaxed))
    }
}

/// OTLP/JSON: the protobuf mapping, with ids in hex and 64-bit numbers as text.
fn write(context: Context, id: u64, parent: Option<u64>, span: &Span) -> Value {
    let attributes = span.attributes.iter().map(|(key, value)| {
        let value = match value {
            Attribute::Number(number) => json!({ "intValue": number.to_string() }),
            Attribute::Text(text) => json!({ "stringValue": text }),
        };
        json!({ "key": key, "value": value })
    });
    let began = span.ended.saturating_sub(span.took);
    let mut written = json!({
        "traceId": context.trace_id(),
        "spanId": format!("{id:016x}"),
        "name": span.name,
        "kind": match span.kind { Kind::Server => 2, Kind::Client => 3 },
        "startTimeUnixNano": began.as_nanos().to_string(),
        "endTimeUnixNano": span.ended.as_nanos().to_string(),
        "attributes": attributes.collect::<Vec<_>>(),
        "status": if span.failed { json!({ "code": 2 }) } else { json!({}) },
    });
    if let Some(parent) = parent {
        let mut text = String::new();
        let _ = write!(text, "{parent:016x}");
        written["parentSpanId"] = Value::String(text);
    }
    written
}

fn message(spans: &[Value]) -> Vec<u8> {
    let text = |key: &str, value: &str| json!({ "key": key, "value": { "stringValue": value } });
    let resource = [text("service.name", "countersign"), text("service.version", env!("CARGO_PKG_VERSION"))];
    let scope = json!({ "name": "countersign" });
    let message = json!({ "resourceSpans": [{
        "resource": { "attributes": resource },
        "scopeSpans": [{ "scope": scope, "spans": spans }],
    }] });
    message.to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn span() -> Span {
        let attributes = vec![("http.response.status_code", Attribute::Number(201))];
        let (ended, took) = (Duration::from_secs(10), Duration::from_secs(2));
        Span { name: "POST /v1/signings".into(), kind: Kind::Server, ended, took, failed: false, attributes }
    }

    #[test]
    fn a_callers_trace_goes_on_and_a_bad_header_begins_a_new_one() {
        let (context, parent) = Context::enter(Some(PARENT));
        assert_eq!(context.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(parent, Some(0x00f0_67aa_0ba9_02b7));
        assert!(
            Context::enter(Some("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more")).1.is_some()
        );
        for bad in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(Context::enter(Some(bad)).1, None, "{bad}");
        }
    }

    #[tokio::test]
    async fn inner_spans_hang_on_the_request_also_in_tasks_of_their_own() {
        let tracer = Tracer::on();
        let (context, parent) = Context::enter(Some(PARENT));
        let inner = tracer.clone();
        context
            .scope(async move {
                let work = carry(async move { inner.inner(&span()) });
                tokio::spawn(work).await.unwrap();
            })
            .await;
        tracer.request(context, parent, &span());
        let (message, count) = tracer.take().unwrap();
        assert_eq!(count, 2);
        let message: Value = serde_json::from_slice(&message).unwrap();
        let spans = &message["resourceSpans"][0]["scopeSpans"][0]["spans"];
        assert_eq!(spans[0]["parentSpanId"], spans[1]["spanId"]);
        assert_eq!(spans[1]["parentSpanId"], "00f067aa0ba902b7");
        assert_eq!(spans[0]["traceId"], spans[1]["traceId"]);
        assert_eq!(spans[1]["startTimeUnixNano"], "8000000000");
        assert!(tracer.take().is_none());
    }

    #[test]
    fn who_is_not_sampled_leaves_no_span_and_a_full_queue_drops() {
        let tracer = Tracer::on();
        let (context, parent) = Context::enter(Some(&PARENT.replace("-01", "-00")));
        tracer.request(context, parent, &span());
        assert!(tracer.take().is_none());
        let (context, parent) = Context::enter(None);
        (0..QUEUE_LIMIT + 3).for_each(|_| tracer.request(context, parent, &span()));
        assert_eq!((tracer.dropped(), tracer.dropped()), (3, 0));
        assert_eq!(tracer.take().unwrap().1, BATCH);
        Tracer::off().request(context, parent, &span());
    }

    proptest! {
        #[test]
        fn no_header_makes_it_panic(text in ".{0,80}") {
            let _ = Context::enter(Some(&text));
        }
    }
}
