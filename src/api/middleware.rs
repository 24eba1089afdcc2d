//! Around every request of a listener: its id, its metrics, its log line, the problem's body and `Retry-After`, and
//! what the listener refuses before anybody looks at it.
//!
//! One layer and not a stack of them, because this is on the hot path.

use std::{net::IpAddr, sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{MatchedPath, Request, State},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use futures_util::FutureExt as _;
use http::{HeaderName, HeaderValue, StatusCode, header, uri::Authority};
use tracing::Instrument as _;

use crate::{
    api::Problem,
    clock::SharedClock,
    listener::Peer,
    telemetry::{
        metrics::{Metrics, Route},
        traces::{Attribute, Context, Kind, Span, Tracer},
    },
};

/// The route of calls that are passed on.
const PASSED_ON: &str = "/v1/senders/{name}/esign/{*path}";

/// Why a request is refused whose body is in another transfer coding than chunks (RFC 9112, section 6.1): hyper takes
/// the chunks away, whatever else is named beside them, and what is left would be taken for the body, or passed on as it.
fn transfer_coded(request: &Request) -> Option<Problem> {
    let mut codings = request.headers().get_all(header::TRANSFER_ENCODING).iter();
    let first = codings.next()?;
    let is_chunked = first.as_bytes().eq_ignore_ascii_case(b"chunked") && codings.next().is_none();
    (!is_chunked).then(|| {
        let detail = "the Transfer-Encoding is another than chunked alone";
        Problem::new("transfer_encoding_unsupported", detail)
    })
}

/// Why a request is refused that came through a proxy to a listener which only this machine is meant to reach: somebody
/// may have published it.
fn forwarded(request: &Request) -> Option<Problem> {
    let is_loopback = request.extensions().get::<Peer>().is_some_and(|peer| peer.loopback);
    (is_loopback && request.headers().keys().any(is_of_a_proxy)).then(|| {
        let detail = "the request came through a proxy (Forwarded, X-Forwarded-… or X-Real-IP), and this listener \
                      is for this machine alone; if the proxy is meant, set allow_forwarded = true in its section";
        let fix = "Call this listener directly, without the proxy; or set allow_forwarded = true in its section of the \
                   settings ([api], [ops]), if what comes through the proxy is meant to reach it.";
        Problem::new("forbidden", detail).fix(fix)
    })
}

/// Why a request is refused that was made by a name which is none of this machine's, at a TCP listener that only this
/// machine is meant to reach: a web page can have its own name mean this machine (DNS rebinding), and then reads what it asks for
/// with a visitor's browser. Addresses, and names that mean something in this network alone, pass.
fn foreign_name(request: &Request) -> Option<Problem> {
    let peer = request.extensions().get::<Peer>();
    let is_loopback = peer.is_some_and(|peer| peer.loopback && peer.address.is_some());
    (is_loopback && !names_this_machine(request)).then(|| {
        let detail = "the request was for another host than this machine, and this listener is for this machine alone; if \
                      that name is meant, set allow_forwarded = true in its section";
        let fix = "Call this listener as localhost or by its loopback address; or set allow_forwarded = true in [ops] of \
                   the settings, if another name is meant to reach it.";
        Problem::new("forbidden", detail).fix(fix)
    })
}

/// Whether all that says whom a request is for (RFC 9110, 7.2) means this machine. A browser never leaves it out.
fn names_this_machine(request: &Request) -> bool {
    let hosts = request.headers().get_all(header::HOST).iter();
    let hosts = hosts.map(|host| Authority::try_from(host.as_bytes()).ok());
    let target = request.uri().authority().cloned().map(Some);
    hosts.chain(target).all(|named| named.is_some_and(|named| is_this_machine(named.host())))
}

/// A name that somebody elsewhere can point here has a dot in it; an address is what it is.
fn is_this_machine(host: &str) -> bool {
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    !name.contains('.') || name.ends_with(".localhost") || address.parse::<IpAddr>().is_ok()
}

/// RFC 7239, and what stood in for it before.
fn is_of_a_proxy(name: &HeaderName) -> bool {
    name == header::FORWARDED || name == "x-real-ip" || name.as_str().starts_with("x-forwarded-")
}

/// The id of a request, in and out.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Methods that are shown as they are; any other could be anything.
const STANDARD_METHODS: [&str; 7] = ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"];

/// What the layer needs. The routes are made once: a counter is bound, not looked up.
#[derive(Debug, Clone)]
pub struct Watch {
    clock: SharedClock,
    metrics: Arc<Metrics>,
    routes: Arc<std::collections::HashMap<&'static str, Route>>,
    other: Arc<Route>,
    tracer: Tracer,
    /// Whether those who ask are callers, and no browsers.
    is_callers: bool,
    refused: Refused,
}

/// Who asks at a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asking {
    /// Visitors' browsers, at the public listener.
    Browsers,
    /// Callers, at the API.
    Callers,
    /// Operators and probes.
    Operators,
}

impl Asking {
    /// The listener's name in metrics.
    const fn listener(self) -> &'static str {
        match self {
            Self::Browsers => "public",
            Self::Callers => "api",
            Self::Operators => "ops",
        }
    }
}

/// What a listener refuses that comes by way of loopback.
#[derive(Debug, Clone, Copy, Default)]
pub struct Refused {
    /// What came through a proxy.
    pub forwarded: bool,
    /// What was asked for by a name that is none of this machine's.
    pub foreign_names: bool,
}

impl Refused {
    fn refusal(self, request: &Request) -> Option<Problem> {
        let foreign = if self.foreign_names { foreign_name(request) } else { None };
        foreign.or_else(|| if self.forwarded { forwarded(request) } else { None })
    }
}

impl Watch {
    /// Watches a listener with these routes.
    pub fn new(
        asking: Asking,
        routes: &[&'static str],
        metrics: Arc<Metrics>,
        tracer: Tracer,
        clock: SharedClock,
    ) -> Self {
        let listener = asking.listener();
        let routes = routes.iter().map(|path| (*path, metrics.route(listener, path))).collect();
        let other = Arc::new(metrics.route(listener, "other"));
        // A visitor's browser has no trace that we should go on with.
        let is_callers = asking == Asking::Callers;
        let refused = Refused::default();
        Self { clock, metrics, routes: Arc::new(routes), other, tracer, is_callers, refused }
    }

    /// Refuses these.
    #[must_use]
    pub fn refusing(self, refused: Refused) -> Self {
        Self { refused, ..self }
    }
}

/// Answers one request, whatever the handler does: a panic becomes a 500 without a word of it (`internal`).
pub async fn watch(State(watch): State<Watch>, request: Request, next: Next) -> Response {
    let began = watch.clock.uptime();
    let id = request_id(&request);
    let traceparent = request.headers().get("traceparent").filter(|_| watch.is_callers);
    let (context, parent) = Context::enter(traceparent.and_then(|value| value.to_str().ok()));
    let method = request.method().clone();
    let path = request.extensions().get::<MatchedPath>().cloned();
    // Of the highest level: what is logged of a request names it and its trace, whatever the level is.
    let log = tracing::error_span!(
        "request",
        request.id = id.to_str().unwrap_or_default(),
        trace.id = context.trace_id()
    );
    let answer = async {
        match transfer_coded(&request).or_else(|| watch.refused.refusal(&request)) {
            Some(problem) => problem.into_response(),
            None => next.run(request).await,
        }
    };
    let answer = context.scope(answer).instrument(log.clone());
    let answered = std::panic::AssertUnwindSafe(answer).catch_unwind().await;
    let mut response = answered.unwrap_or_else(|_| {
        log.in_scope(|| tracing::error!("a handler panicked"));
        let route = path.as_ref().map_or("other", MatchedPath::as_str);
        broken_off(watch.is_callers, method == http::Method::POST && route == PASSED_ON)
    });
    if let Some(problem) = response.extensions_mut().remove::<Arc<Problem>>() {
        if let Some(wait) = problem.wait(watch.clock.now()) {
            response.headers_mut().insert(header::RETRY_AFTER, wait);
        }
        let id = id.to_str().unwrap_or_default();
        let document = match path.as_ref().map(MatchedPath::as_str) {
            Some(PASSED_ON) => problem.document_for_sdks(id),
            _ => problem.document(id),
        };
        *response.body_mut() = Body::from(document);
    }
    let path = path.as_ref().map_or("other", MatchedPath::as_str);
    let status = response.status().as_u16();
    let took = watch.clock.uptime().saturating_sub(began);
    let route = watch.routes.get(path).unwrap_or(&watch.other);
    route.answered(&watch.metrics, status, took.as_secs_f64());
    if watch.tracer.is_on() || parent.is_some() {
        // Without a collector of ours it is still a trace of the caller's.
        watch.metrics.traced(context.trace_id(), took.as_secs_f64(), watch.clock.now());
    }
    if watch.tracer.is_on() {
        let span = span(&method, path, status, &id, (watch.clock.now(), took));
        watch.tracer.request(context, parent, &span);
    }
    if tracing::enabled!(tracing::Level::DEBUG) {
        // Within its span: the formatter names the spans that are entered, not the one that is a line's parent.
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        log.in_scope(|| tracing::debug!(%method, route = path, status, took_ms, "answered"));
    }
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

/// The answer of a handler that panicked. A browser has a page of its own for an empty one. Our own calls can be
/// repeated; one that was passed on, and may have made something at DocuSign, makes another one then (rule E2).
fn broken_off(is_callers: bool, may_make_another: bool) -> Response {
    if !is_callers {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    let problem = Problem::broken_off();
    if may_make_another {
        let fix = "Look for what the call was to make before you send it again: nobody knows whether DocuSign did it. \
                   Give the operator the request_id; the log has a line of it.";
        return problem.for_good().fix(fix).into_response();
    }
    problem.into_response()
}

/// A request as a span: OpenTelemetry's conventions for HTTP servers.
fn span(
    method: &http::Method,
    route: &str,
    status: u16,
    id: &HeaderValue,
    (ended, took): (jiff::Timestamp, Duration),
) -> Span {
    let text = |text: &str| Attribute::Text(text.to_owned());
    let method = if STANDARD_METHODS.contains(&method.as_str()) { method.as_str() } else { "_OTHER" };
    Span {
        name: format!("{method} {route}"),
        kind: Kind::Server,
        ended: ended.as_duration().try_into().unwrap_or_default(),
        took,
        failed: status >= 500,
        attributes: vec![
            ("http.request.method", text(method)),
            ("http.route", text(route)),
            ("http.response.status_code", Attribute::Number(status.into())),
            ("countersign.request_id", text(id.to_str().unwrap_or_default())),
        ],
    }
}

/// The caller's id if it is a plain one, else one of ours.
fn request_id(request: &Request) -> HeaderValue {
    let given = request.headers().get(&REQUEST_ID).filter(|id| {
        (1..=128).contains(&id.len())
            && id.as_bytes().iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(byte))
    });
    given.cloned().unwrap_or_else(|| {
        let id = uuid::Uuid::new_v4().simple().to_string();
        HeaderValue::from_maybe_shared(bytes::Bytes::from(id)).expect("hex digits are a header value")
    })
}

#[cfg(test)]
mod tests {
    use axum::{
        Router,
        middleware::from_fn_with_state,
        routing::{any, get},
    };
    use serde_json::json;
    use tower::ServiceExt as _;

    use super::*;
    use crate::{
        clock::SystemClock,
        telemetry::logging::{Format, tests::Logged},
    };

    #[tokio::test]
    async fn a_line_of_a_request_holds_its_id_and_plain_values() {
        let logged = Logged::start(tracing::level_filters::LevelFilter::DEBUG, Format::Json);
        let metrics = Arc::new(Metrics::new(&[]));
        let watching = Watch::new(Asking::Callers, &["/x"], metrics, Tracer::off(), Arc::new(SystemClock));
        let app = Router::new().route("/x", get(async || "")).layer(from_fn_with_state(watching, watch));
        let request = Request::builder().uri("/x").header(REQUEST_ID, "order-8812").body(Body::empty());
        app.oneshot(request.unwrap()).await.unwrap();
        let text = logged.take();
        let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        let line = lines.into_iter().find(|line| line["message"] == "answered").expect("a line");
        assert_eq!(line["spans"][0]["request.id"], "order-8812", "{line}");
        assert!(line["took_ms"].is_u64() && line["status"].is_u64(), "{line}");
    }

    #[tokio::test]
    async fn a_panic_is_a_problem_with_the_id_of_the_request_and_to_a_browser_nothing() {
        for asking in [Asking::Callers, Asking::Browsers] {
            let metrics = Arc::new(Metrics::new(&[]));
            let watching = Watch::new(asking, &["/x"], metrics, Tracer::off(), Arc::new(SystemClock));
            let breaks = get(async || -> &'static str { panic!("a secret") });
            let app = Router::new().route("/x", breaks).layer(from_fn_with_state(watching, watch));
            let request = Request::builder().uri("/x").header(REQUEST_ID, "order-8812").body(Body::empty());
            let response = app.oneshot(request.unwrap()).await.unwrap();
            assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
            assert_eq!(response.headers()[REQUEST_ID], "order-8812");
            let comes_back = response.headers().get(header::RETRY_AFTER).cloned();
            let media = response.headers().get(header::CONTENT_TYPE).cloned();
            let body = axum::body::to_bytes(response.into_body(), 4_096).await.unwrap();
            if asking == Asking::Browsers {
                assert!(body.is_empty());
                continue;
            }
            assert_eq!(media.unwrap(), "application/problem+json");
            let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!((&problem["code"], &problem["retryable"]), (&json!("internal"), &json!(true)));
            assert_eq!(comes_back.unwrap(), "1", "the same call tells what became of the first");
            assert_eq!(problem["request_id"], "order-8812");
            assert!(!problem.to_string().contains("secret"), "{problem}");
        }
    }

    #[tokio::test]
    async fn a_body_in_another_transfer_coding_than_chunks_is_refused_on_every_listener() {
        for asking in [Asking::Callers, Asking::Operators, Asking::Browsers] {
            let metrics = Arc::new(Metrics::new(&[]));
            let watching = Watch::new(asking, &["/x"], metrics, Tracer::off(), Arc::new(SystemClock));
            let app = Router::new().route("/x", any(async || "")).layer(from_fn_with_state(watching, watch));
            let ask = async |codings: &[&'static str]| {
                let mut request = Request::post("/x");
                for coding in codings {
                    request = request.header(header::TRANSFER_ENCODING, *coding);
                }
                app.clone().oneshot(request.body(Body::from("x")).unwrap()).await.unwrap()
            };
            let taken: [&[&str]; 3] = [&[], &["chunked"], &["Chunked"]];
            for taken in taken {
                assert_eq!(ask(taken).await.status(), StatusCode::OK, "{asking:?}: {taken:?}");
            }
            let coded: [&[&str]; 4] =
                [&["gzip, chunked"], &["chunked, chunked"], &["gzip", "chunked"], &["identity"]];
            for coded in coded {
                let response = ask(coded).await;
                assert_eq!(response.status(), StatusCode::NOT_IMPLEMENTED, "{asking:?}: {coded:?}");
                let body = axum::body::to_bytes(response.into_body(), 4_096).await.unwrap();
                let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
                assert_eq!(problem["code"], "transfer_encoding_unsupported");
            }
        }
    }

    #[tokio::test]
    async fn e2_a_passed_call_that_broke_off_is_not_to_be_repeated() {
        let metrics = Arc::new(Metrics::new(&[]));
        let watching =
            Watch::new(Asking::Callers, &[PASSED_ON], metrics, Tracer::off(), Arc::new(SystemClock));
        let breaks = any(async || -> &'static str { panic!("a secret") });
        let app = Router::new().route(PASSED_ON, breaks).layer(from_fn_with_state(watching, watch));
        for (method, is_retryable) in [(http::Method::POST, false), (http::Method::GET, true)] {
            let request = Request::builder().method(method).uri("/v1/senders/system/esign/envelopes");
            let response = app.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
            assert_eq!(response.headers().contains_key(header::RETRY_AFTER), is_retryable);
            let body = axum::body::to_bytes(response.into_body(), 4_096).await.unwrap();
            let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!((&problem["code"], &problem["retryable"]), (&json!("internal"), &json!(is_retryable)));
        }
    }
}
