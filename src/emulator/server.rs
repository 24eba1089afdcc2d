//! The vendor's listener and the control listener: what happens to every request around its handler.
//!
//! In order: the body is read within the vendor's limit, the request is logged and its faults are
//! drawn, then the handler runs as one step under the lock, then the answer gets the vendor's usual
//! headers, the judge looks at it, and Connect events go to the deliverer. An answer that a fault delays waits
//! after all that, so that a client that does not wait for it has done what it asked for; what is in it the
//! client is told only when it goes out. A reset cuts the connection of every request that has not been
//! answered: it changes nothing in the new world.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, header, request};
use hyper::body::Incoming;
use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

use super::{
    accounts, brands,
    connect::{self, Deliverer},
    connect_settings, consent, control, envelopes,
    faults::{Fault, Kind},
    http::{Answer, Call, text, vendor_time},
    in_memory::InMemory,
    judge::Observed,
    lenient_json,
    mishaps::{Fate, Plan},
    oauth,
    requests::Entry,
    signatures,
    state::{Setup, SharedWorld, World},
    time::Time,
    unplayed,
    wire::{Cut, call, read, truncated, whole},
};
use crate::{
    clock::SharedClock,
    lifecycle::Lifecycle,
    listener::{Bound, Limits},
};

/// The vendor's limit on one request: developers.docusign.com, "Rules and resource limits".
const MAX_BODY: usize = 35_651_584;
const MAX_CONTROL_BODY: usize = 1 << 20;

#[derive(Debug, Clone)]
struct Server {
    world: SharedWorld,
    time: Time,
    deliverer: Deliverer,
    stopping: CancellationToken,
}

/// Serves both listeners until the life stops. Answers what they serve.
pub(super) fn start(
    vendor: Bound,
    control: Bound,
    setup: Arc<Setup>,
    clock: SharedClock,
    life: &Lifecycle,
) -> InMemory {
    let time = Time::new(clock);
    let world = SharedWorld::new(World::new(setup, time.now()));
    let deliverer = Deliverer::start(world.clone(), time.clone(), life);
    let in_memory = InMemory::of(world.clone(), time.clone());
    let server = Server { world, time, deliverer, stopping: life.stopping() };

    let limits = Limits { drain: Duration::from_secs(5), ..Limits::default() };
    let (ticking, at_vendor, at_control) = (server.clone(), server.clone(), server);
    life.spawn("emulator", async move {
        let stopping = at_vendor.stopping.clone();
        let answer = move |request| at_vendor.clone().vendor(request);
        vendor.serve_with(answer, limits, stopping).await;
    });
    life.spawn("emulator control", async move {
        let stopping = at_control.stopping.clone();
        let answer = move |request| at_control.clone().control(request);
        control.serve_with(answer, limits, stopping).await;
    });
    life.spawn("emulator time", ticking.tick());
    in_memory
}

impl Server {
    /// Lets time alone do what it does, also when nobody calls: envelopes expire.
    async fn tick(self) {
        loop {
            let next = self.time.now().saturating_add(SignedDuration::from_secs(1)).unwrap_or(Timestamp::MAX);
            tokio::select! {
                () = self.stopping.cancelled() => return,
                () = self.time.sleep_until(next) => {}
            }
            let mut world = self.world.lock();
            world.tick(self.time.now());
            self.deliverer.enqueue(connect::take(&mut world));
        }
    }

    async fn vendor(self, request: Request<Incoming>) -> Result<Response<Body>, Cut> {
        let era = self.world.lock().era.clone();
        era.run_until_cancelled(self.serve(request, &era)).await.unwrap_or(Err(Cut))
    }

    async fn serve(
        &self,
        request: Request<Incoming>,
        era: &CancellationToken,
    ) -> Result<Response<Body>, Cut> {
        let (parts, body) = request.into_parts();
        let body = read(body, MAX_BODY).await?;
        let size = body.as_ref().map_or(MAX_BODY as u64 + 1, |body| body.len() as u64);
        let (number, plan) = {
            let mut world = self.world.lock_in(era).ok_or(Cut)?;
            arrived(&mut world, &self.time, &parts, size)
        };
        let answer =
            if plan.is_handled() { Some(self.work(&parts, body, number, &plan, era)?) } else { None };
        if let Some(delay) = plan.delay {
            tokio::time::sleep(delay).await;
            if plan.fate == Fate::Answers {
                // Its client has waited for it; one that left was told nothing.
                self.world.lock_in(era).ok_or(Cut)?.judge.told(number, self.time.now());
            }
        }
        if let Some(stall) = &plan.stall {
            self.stall(stall).await;
        }
        match (answer, plan.fate) {
            (Some(answer), Fate::Answers) => Ok(whole(answer)),
            (Some(answer), Fate::Truncates) => Ok(truncated(answer)),
            (_, Fate::Drops | Fate::Resets) | (None, _) => Err(Cut),
        }
    }

    /// Does what a request asks for, at once and in this era only.
    fn work(
        &self,
        parts: &request::Parts,
        body: Option<Bytes>,
        number: u64,
        plan: &Plan,
        era: &CancellationToken,
    ) -> Result<Answer, Cut> {
        let origin = origin(&self.world, parts);
        let is_whole = body.is_some();
        let call = call(parts, body.unwrap_or_default(), number, &self.time, origin);
        let mut world = self.world.lock_in(era).ok_or(Cut)?;
        let answer = handle(&mut world, call, plan, is_whole);
        // Under the lock, so that they queue in the order in which they happened.
        self.deliverer.enqueue(connect::take(&mut world));
        Ok(answer)
    }

    async fn control(self, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
        let (parts, body) = request.into_parts();
        if let Some(refusal) = control::callers::refusal(&parts) {
            return Ok(whole(mark(refusal, self.time.now())));
        }
        let Ok(Some(body)) = read(body, MAX_CONTROL_BODY).await else {
            let problem = "the body is over 1 MiB, or did not arrive whole";
            return Ok(whole(Answer::control_error(StatusCode::PAYLOAD_TOO_LARGE, problem)));
        };
        let origin = self.world.lock().setup.origin.clone();
        let call = call(&parts, body, 0, &self.time, origin);
        let answer = {
            let mut world = self.world.lock();
            let answer = control::route(&mut world, &self.time, &call);
            self.deliverer.enqueue(connect::take(&mut world));
            answer
        };
        Ok(whole(mark(answer, self.time.now())))
    }

    async fn stall(&self, fault: &Fault) {
        tokio::select! {
            () = self.stopping.cancelled() => {}
            () = async {
                match fault.delay_ms {
                    Some(delay) => tokio::time::sleep(Duration::from_millis(delay)).await,
                    None => std::future::pending().await,
                }
            } => {}
        }
    }
}

/// One vendor request without a connection around it: what is to become of the bytes is up to who asks.
/// Of the faults that are armed, those apply that change the answer.
pub(super) fn step(world: &SharedWorld, time: &Time, request: Request<Bytes>) -> Response<Bytes> {
    let (parts, body) = request.into_parts();
    let (number, mut plan) = arrived(&mut world.lock(), time, &parts, body.len() as u64);
    // When the answer is there is up to who asks, too.
    plan.delay = None;
    let call = call(&parts, body, number, time, origin(world, &parts));
    let mut world = world.lock();
    let answer = handle(&mut world, call, &plan, true);
    // Nobody delivers Connect events here.
    world.outgoing.clear();
    plain(answer)
}

/// One control request, likewise.
pub(super) fn control_step(world: &SharedWorld, time: &Time, request: Request<Bytes>) -> Response<Bytes> {
    let (parts, body) = request.into_parts();
    let call = call(&parts, body, 0, time, origin(world, &parts));
    plain(control::route(&mut world.lock(), time, &call))
}

fn plain(answer: Answer) -> Response<Bytes> {
    let mut response = Response::new(answer.body);
    *response.status_mut() = answer.status;
    *response.headers_mut() = *answer.headers;
    response
}

fn arrived(world: &mut World, time: &Time, parts: &request::Parts, bytes: u64) -> (u64, Plan) {
    let (method, path) = (parts.method.as_str(), parts.uri.path());
    let number = world.requests.arrived(Entry {
        number: 0,
        at: time.now(),
        method: method.to_owned(),
        path: path.to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        status: None,
        bytes,
    });
    (number, Plan::draw(world, method, path))
}

/// The origin the request came to, so that links lead back through whatever stands between.
fn origin(world: &SharedWorld, parts: &request::Parts) -> String {
    let own = world.lock().setup.origin.clone();
    let host = parts
        .headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok())
        .or_else(|| parts.uri.authority().map(http::uri::Authority::as_str));
    match (host, own.split_once("://")) {
        (Some(host), Some((scheme, _))) => format!("{scheme}://{host}"),
        _ => own,
    }
}

/// One whole step: what time did, the handler, the log, the judge.
fn handle(world: &mut World, mut call: Call, plan: &Plan, is_whole: bool) -> Answer {
    world.tick(call.now);
    let mut notes = Notes::default();
    if plan.token_dies
        && let Some(token) = oauth::bearer(&call)
    {
        oauth::kill(world, token);
    }
    let answer = if !is_whole {
        Answer::error(
            StatusCode::PAYLOAD_TOO_LARGE,
            "REQUEST_ENTITY_TOO_LARGE",
            &format!("The request is larger than {MAX_BODY} bytes."),
        )
    } else if let Some(fault) = &plan.instead {
        notes.is_faked = true;
        misbehave(world, &call, fault, &mut notes)
    } else {
        dispatch(world, &mut call, &mut notes)
    };
    if notes.is_faked
        && answer.status == StatusCode::UNAUTHORIZED
        && let Some(token) = oauth::bearer(&call)
    {
        // To the client it is dead, so that minting another one is right.
        oauth::mourn(world, token);
    }
    let answer = decorate(world, &call, answer);
    if plan.fate != Fate::Drops {
        world.requests.answered(call.number, answer.status.as_u16());
        world.judge.answered(call.number, answer.status.as_u16());
    }
    observe(world, &call, answer.status, &notes);
    if plan.fate == Fate::Answers && plan.delay.is_none() {
        world.judge.told(call.number, call.now);
    }
    answer
}

/// What the judge wants to know about one call.
#[derive(Debug, Default)]
struct Notes {
    /// The account's budget is spent until then, and refused the call.
    account_spent_until: Option<Timestamp>,
    /// So did the envelope's.
    envelope_spent_until: Option<Timestamp>,
    /// A fault answered instead of a handler.
    is_faked: bool,
}

fn observe(world: &mut World, call: &Call, status: StatusCode, notes: &Notes) {
    let Some(entry) = world.requests.entry(call.number) else { return };
    let route = call.route();
    let account = match route.as_slice() {
        ["restapi", _, "accounts", account, ..] => {
            world.directory.account(account).map(|(id, _)| id.to_owned())
        }
        _ => None,
    };
    let of_envelope = envelope_budget(call).filter(|_| account.is_some()).map(|(id, writes)| {
        let what = if writes { "writes" } else { "reads" };
        (format!("{id} {what}"), notes.envelope_spent_until)
    });
    let of_account = account.map(|account| (account, notes.account_spent_until));
    let is_create = call.method == Method::POST && call.below_account() == ["envelopes"];
    let transaction = if is_create { transaction_id(&call.body) } else { None };
    world.judge.observe(&Observed {
        entry,
        route: &route,
        budgets: of_account.into_iter().chain(of_envelope).collect(),
        bearer: oauth::bearer(call),
        method: &call.method,
        status,
        is_faked: notes.is_faked,
        transaction,
    });
}

/// The client's own id in a create, whether JSON or the JSON part of a multipart form.
fn transaction_id(body: &Bytes) -> Option<String> {
    let start = body.iter().position(|byte| *byte == b'{')?;
    let definition = lenient_json::first(&body[start..])?;
    let mut fields = definition.as_object()?.iter();
    text(fields.find(|(name, _)| name.eq_ignore_ascii_case("transactionId")).map(|(_, value)| value))
}

fn dispatch(world: &mut World, call: &mut Call, notes: &mut Notes) -> Answer {
    let route = call.route();
    let answer = match route.as_slice() {
        ["oauth", "auth"] => Some(consent::route(world, call)),
        ["oauth" | ".well-known" | "logout", ..] => oauth::route(world, call),
        ["restapi", "service_information" | "v2.1"] => accounts::unauthenticated(call),
        ["restapi", "v2.1", "accounts"] | ["restapi", "v2.1", "accounts", "provisioning"] => None,
        ["restapi", "v2", ..] => return unplayed::older(),
        ["restapi", "v2.1", "accounts", ..] => return rest(world, call, notes),
        _ => envelopes::route(world, call),
    };
    answer.unwrap_or_else(|| unplayed::answer(call))
}

/// A call about an account: token, account, budget, handler.
fn rest(world: &mut World, call: &mut Call, notes: &mut Notes) -> Answer {
    if let Err(mut refused) = accounts::authorise(world, call) {
        // The budget is told with every answer, also to whom it is not known.
        let asked = call.segments.get(3).map(String::as_str).unwrap_or_default();
        let account = world.directory.account(asked).map(|(id, _)| id).unwrap_or_default();
        refused.headers.extend(world.limits.left(account, call.now));
        return refused;
    }
    let account = call.account.clone().unwrap_or_default();
    let verdict = world.limits.spend(&account, call.now);
    let mut answer = if let Some((refused, until)) = verdict.refusal {
        notes.account_spent_until = Some(until);
        refused
    } else {
        let refusal = envelope_budget(call)
            .and_then(|(id, writes)| world.limits.spend_on_envelope(id, writes, call.now));
        notes.envelope_spent_until = refusal.as_ref().map(|(_, until)| *until);
        refusal
            .map(|(refused, _)| refused)
            .or_else(|| unplayed::on_behalf(world, call))
            .or_else(|| envelopes::route(world, call))
            .or_else(|| accounts::route(world, call))
            .or_else(|| brands::route(world, call))
            .or_else(|| signatures::route(world, call))
            .or_else(|| connect_settings::route(world, call))
            .unwrap_or_else(|| unplayed::answer(call))
    };
    answer.headers.extend(verdict.headers);
    answer
}

/// The envelope whose own budget a call is counted in, and whether it is that of writes.
fn envelope_budget(call: &Call) -> Option<(&str, bool)> {
    let writes = call.method == Method::PUT;
    match call.below_account().as_slice() {
        ["envelopes", id, ..] if *id != "status" && (writes || call.method == Method::GET) => {
            Some((*id, writes))
        }
        _ => None,
    }
}

/// The answer of a fault that replaces the work.
fn misbehave(world: &World, call: &Call, fault: &Fault, notes: &mut Notes) -> Answer {
    let status = fault.status.and_then(|status| StatusCode::from_u16(status).ok());
    if fault.fault == Kind::RateLimit {
        let wait = SignedDuration::from_secs(i64::try_from(fault.reset_s.unwrap_or(30)).unwrap_or(i64::MAX));
        let reset = call.now.saturating_add(wait).unwrap_or(Timestamp::MAX);
        notes.account_spent_until = Some(reset);
        return world.limits.pretend(status, reset);
    }
    let status = status.unwrap_or(StatusCode::BAD_GATEWAY);
    if fault.fault == Kind::Html {
        let page = "<!DOCTYPE html><html><head><title>Service Unavailable</title></head>\
                    <body><h1>We'll be right back</h1><p>The service is not available.</p></body></html>";
        return Answer::html(status, page.to_owned());
    }
    if status.is_success() {
        return Answer::json(status, serde_json::json!({}));
    }
    if call.path.starts_with("/oauth/") {
        let error = if status.is_server_error() { "temporarily_unavailable" } else { "invalid_request" };
        return Answer::json(status, serde_json::json!({ "error": error }));
    }
    let code = match status {
        StatusCode::UNAUTHORIZED => "AUTHORIZATION_INVALID_TOKEN",
        StatusCode::FORBIDDEN => "USER_LACKS_PERMISSIONS",
        StatusCode::NOT_FOUND => "RESOURCE_NOT_FOUND",
        StatusCode::TOO_MANY_REQUESTS => "HOURLY_APIINVOCATION_LIMIT_EXCEEDED",
        _ if status.is_server_error() => "UNSPECIFIED_ERROR",
        _ => "INVALID_REQUEST_PARAMETER",
    };
    Answer::error(status, code, "The emulator was told to answer so.")
}

/// Adds the vendor's headers to a REST answer, and the emulator's to every one.
fn decorate(world: &mut World, call: &Call, mut answer: Answer) -> Answer {
    if call.path.starts_with("/restapi") {
        let trace = HeaderValue::from_str(&world.guid()).expect("a GUID is a header value");
        answer.headers.insert(HeaderName::from_static("x-docusign-tracetoken"), trace);
        answer
            .headers
            .insert(HeaderName::from_static("x-docusign-node"), HeaderValue::from_static("EMU1FE1"));
        if let Some(asked) = call.header("x-docusign-timetrack") {
            let at = vendor_time(call.now);
            let own = if asked.trim().is_empty() { String::new() } else { format!("{};", asked.trim()) };
            if let Ok(value) = HeaderValue::from_str(&format!("{own}REST0_Start,{at};REST0_End,{at}")) {
                answer.headers.insert(HeaderName::from_static("x-docusign-timetrack"), value);
            }
        }
    }
    mark(answer, call.now)
}

fn mark(mut answer: Answer, now: Timestamp) -> Answer {
    let date = httpdate::fmt_http_date(now.into());
    answer.headers.insert(header::DATE, HeaderValue::from_str(&date).expect("a date is a header value"));
    let name = HeaderName::from_static("x-countersign-emulator");
    answer.headers.insert(name, HeaderValue::from_static("true"));
    answer.headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}
