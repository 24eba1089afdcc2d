//! The website's server: its routes, and what its pages need.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{DefaultBodyLimit, Path, Query, Request, State},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Redirect, Response},
    routing::{get, post},
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use maud::Markup;
use serde::Deserialize;
use url::Url;

use super::{
    actions,
    backend::{Backend, Refusal, Signing},
    contract,
    orders::{Order, OrderId, Orders, VISITOR},
    outbox::Outbox,
    pages::{self, Filled, Notice},
    placing,
    returned::Checker,
    webhooks::{Receiver, Told},
};
use crate::{
    clock::SharedClock,
    http_client::HttpClient,
    lifecycle::Lifecycle,
    listener::{Bound, Limits},
};

/// A form of a few short fields, or an event about two signers.
const BODY_LIMIT_BYTES: usize = 16 * 1024;
/// Orders on the list; each costs a call to the daemon.
const LIST_LENGTH: usize = 20;
/// How long the page of an order waits for the fact behind a claim: commonly it is there before that,
/// and the visitor sees no interim page.
const PATIENCE_S: u64 = 3;
/// How long it waits for the webhooks of what is known, which are a moment behind it; and how often it looks.
const TOLD_PATIENCE: Duration = Duration::from_millis(500);
const TOLD_LOOK: Duration = Duration::from_millis(20);
/// Where the daemon posts its webhooks.
pub const HOOK_PATH: &str = "/hooks/countersign";

/// The website's name among the daemon's callers.
pub const CALLER: &str = "website";

/// How to start the website.
pub struct Options {
    /// Where to listen; loopback only.
    pub listen: Bound,
    /// The origin of the daemon's API.
    pub api: Url,
    /// The caller key.
    pub caller_key: String,
    /// What the daemon's webhooks are signed with (`whsec_…`).
    pub webhook_secret: String,
    /// The origin of the emulator's control interface, for the outbox page.
    pub control: Url,
    /// The origins that our forms may lead to: those of the signing pages and of durable links.
    pub signing_origins: Vec<String>,
    /// The origin of the daemon's visitor pages, for its component.
    pub public: Option<String>,
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options").field("listen", &self.listen).finish_non_exhaustive()
    }
}

/// Why the website cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// It would be reachable by others.
    #[error("the demo website listens on loopback only")]
    NotLoopback,
    /// The caller key or an origin cannot be put into a header.
    #[error("the caller key or an origin holds characters that no header takes")]
    NotAHeader,
    /// The secret of the webhooks is of another form.
    #[error("the webhook secret is not whsec_ and base64")]
    NotASecret,
}

/// The running website.
#[derive(Debug)]
pub struct Site {
    url: String,
}

/// What the pages work with. Clones share it.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) backend: Backend,
    outbox: Outbox,
    pub(super) orders: Orders,
    checker: Checker,
    receiver: Receiver,
    pub(super) clock: SharedClock,
    pub(super) origin: Arc<str>,
    /// The origin of the component; none: everyone signs elsewhere.
    pub(super) public: Option<Arc<str>>,
    policy: HeaderValue,
    policy_here: HeaderValue,
}

impl Site {
    /// Serves the website until `life` stops.
    pub fn start(
        options: Options,
        client: HttpClient,
        clock: SharedClock,
        life: &Lifecycle,
    ) -> Result<Self, StartError> {
        if !options.listen.address().is_some_and(|address: SocketAddr| address.ip().is_loopback()) {
            return Err(StartError::NotLoopback);
        }
        let origin = options.listen.origin();
        // Chromium holds redirects after a form to `form-action`, too. A page of ours stands in a frame of
        // ours for a moment, when a visitor comes back from signing in one.
        let signing = options.signing_origins.join(" ");
        let policy = format!(
            "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self' {signing}; \
             base-uri 'none'; frame-ancestors 'self'",
        );
        let public = options.public.as_deref().unwrap_or_default();
        let policy_here = format!(
            "{policy}; script-src 'self' {public}; connect-src 'self' {public}; frame-src 'self' {signing}"
        );
        let backend =
            Backend::new(client.clone(), options.api, &options.caller_key).ok_or(StartError::NotAHeader)?;
        let shared = Shared {
            checker: Checker::new(backend.clone(), CALLER),
            receiver: Receiver::new(&options.webhook_secret).ok_or(StartError::NotASecret)?,
            backend,
            outbox: Outbox::new(client, &options.control),
            orders: Orders::default(),
            clock,
            origin: origin.as_str().into(),
            public: options.public.as_deref().map(Arc::from),
            policy: HeaderValue::try_from(policy).map_err(|_| StartError::NotAHeader)?,
            policy_here: HeaderValue::try_from(policy_here).map_err(|_| StartError::NotAHeader)?,
        };
        let (listen, closing) = (options.listen, life.stopping());
        life.spawn("website", listen.serve(router(shared), Limits::default(), closing));
        Ok(Self { url: origin })
    }

    /// Its origin.
    pub fn url(&self) -> &str {
        &self.url
    }
}

fn router(shared: Shared) -> Router {
    Router::new()
        .route("/", get(home))
        .route("/style.css", get(style))
        .route("/icon.svg", get(icon))
        .route("/here.js", get(script))
        .route("/papers/letter.pdf", get(letter))
        .route("/orders", get(list).post(placing::place))
        .route("/orders/{id}", get(show))
        .route("/orders/{id}/here", get(here))
        .route("/orders/{id}/ticket", post(ticket))
        .route("/orders/{id}/sign", post(resume))
        .route("/orders/{id}/signed.pdf", get(signed))
        .route("/orders/{id}/certificate.pdf", get(certificate))
        .route("/orders/{id}/refresh", post(actions::refresh))
        .route("/orders/{id}/phone", post(actions::phone))
        .route("/orders/{id}/revoke", post(actions::revoke))
        .route("/orders/{id}/link", post(actions::link))
        .route("/orders/{id}/void", post(actions::void))
        .route("/orders/{id}/purge", post(actions::purge))
        .route(HOOK_PATH, post(told))
        .route("/outbox", get(outbox))
        .fallback(nothing_here)
        .layer(DefaultBodyLimit::max(BODY_LIMIT_BYTES))
        .layer(from_fn_with_state(shared.clone(), guard))
        .with_state(shared)
}

/// Refuses forms that another site sends in the visitor's name, and sets the headers of all answers.
async fn guard(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    let foreign = |headers: &HeaderMap| {
        headers.get(header::ORIGIN).is_some_and(|origin| origin.as_bytes() != shared.origin.as_bytes())
    };
    let mut response = if request.method() != Method::GET && foreign(request.headers()) {
        page(StatusCode::FORBIDDEN, pages::message("Not from here", "This form was sent by another website."))
    } else {
        next.run(request).await
    };
    let headers = response.headers_mut();
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(shared.policy);
    let set: [(HeaderName, HeaderValue); 3] = [
        // Not "no-referrer": with it a browser sends `Origin: null` even to ourselves.
        (header::REFERRER_POLICY, HeaderValue::from_static("same-origin")),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
    ];
    headers.extend(set);
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

async fn home() -> Response {
    page(StatusCode::OK, pages::home(&OrderId::generate(), &Filled::default(), Notice::None))
}

impl Shared {
    /// An order and what the daemon knows of it.
    pub(super) async fn find(&self, id: &str) -> Result<(Order, Signing), Response> {
        let order = OrderId::parse(id).and_then(|id| self.orders.find(&id)).ok_or_else(no_such_order)?;
        let signing = self.backend.signing(&order.signing).await.map_err(|refusal| trouble(&refusal))?;
        Ok((order, signing))
    }

    pub(super) async fn shown(
        &self,
        order: &Order,
        signing: &Signing,
        query: &ReturnQuery,
        refusal: Option<&Refusal>,
    ) -> Markup {
        let timeline = self.backend.timeline(&signing.id).await.unwrap_or_default();
        let (status, token) = (query.status.as_deref(), query.result.as_deref());
        let proof = if query.is_return() {
            Some(self.checker.check(&signing.id, status, token, self.clock.now()).await)
        } else {
            None
        };
        let told = self.told(signing).await;
        pages::order(&pages::Shown { order, signing, timeline: &timeline, told: &told, proof, refusal })
    }

    /// What the daemon's webhooks have told of a signing. The newest is given a moment to arrive.
    async fn told(&self, signing: &Signing) -> Vec<Told> {
        let until = self.clock.uptime() + TOLD_PATIENCE;
        loop {
            let told = self.receiver.of(&signing.id);
            let is_all = told.last().is_some_and(|last| last.sequence >= signing.sequence);
            if is_all || self.clock.uptime() >= until {
                return told;
            }
            self.clock.sleep(TOLD_LOOK).await;
        }
    }
}

/// What the daemon adds to the return URL. All of it is only a claim until its token was checked.
#[derive(Debug, Default, Deserialize)]
pub(super) struct ReturnQuery {
    signing_id: Option<String>,
    status: Option<String>,
    result: Option<String>,
}

impl ReturnQuery {
    const fn is_return(&self) -> bool {
        self.signing_id.is_some() || self.result.is_some()
    }
}

/// Where the visitor comes back, and where the truth is.
async fn show(
    State(shared): State<Shared>,
    Path(id): Path<String>,
    Query(query): Query<ReturnQuery>,
) -> Result<Response, Response> {
    let (order, mut signing) = shared.find(&id).await?;
    let until = shared.clock.uptime() + Duration::from_secs(PATIENCE_S);
    while signing.awaits_confirmation() && shared.clock.uptime() < until {
        match shared.backend.newer(&signing.id, signing.sequence, PATIENCE_S).await {
            Ok(newer) if newer.sequence > signing.sequence => signing = newer,
            _ => break,
        }
    }
    Ok(page(StatusCode::OK, shared.shown(&order, &signing, &query, None).await))
}

/// Signing without leaving: the daemon's component, and beside it what it reports.
async fn here(State(shared): State<Shared>, Path(id): Path<String>) -> Result<Response, Response> {
    let (order, signing) = shared.find(&id).await?;
    let (Some(public), Some(link)) = (&shared.public, &order.link) else {
        return Ok(to_order(&order.id));
    };
    let shown = pages::here(&order, &signing, &link.url, &format!("{public}/countersign.js"));
    let mut response = page(StatusCode::OK, shown);
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, shared.policy_here.clone());
    Ok(response)
}

/// A one-use ticket for a visitor who has pressed the component's button: they need not press another.
async fn ticket(State(shared): State<Shared>, Path(id): Path<String>) -> Result<Response, Response> {
    let (order, _) = shared.find(&id).await?;
    let link = order.link.as_ref().ok_or_else(no_such_order)?;
    let ticket = shared.backend.ticket(&link.id).await.map_err(|refusal| trouble(&refusal))?;
    Ok(([(header::CONTENT_TYPE, "text/plain")], ticket).into_response())
}

/// A fresh signing page for who comes back to go on.
async fn resume(State(shared): State<Shared>, Path(id): Path<String>) -> Result<Response, Response> {
    let (order, signing) = shared.find(&id).await?;
    let signer = signing.signer(VISITOR).ok_or_else(no_such_order)?;
    match shared.backend.view(&signing.id, &signer.id).await {
        Ok(address) => Ok(see_other(&address)),
        Err(refusal) => {
            let shown = shared.shown(&order, &signing, &ReturnQuery::default(), Some(&refusal)).await;
            Err(page(StatusCode::CONFLICT, shown))
        }
    }
}

async fn list(State(shared): State<Shared>) -> Response {
    let mut shown = Vec::new();
    for order in shared.orders.all().into_iter().take(LIST_LENGTH) {
        let signing = shared.backend.signing(&order.signing).await.ok();
        shown.push((order, signing));
    }
    page(StatusCode::OK, pages::orders(&shown))
}

async fn signed(State(shared): State<Shared>, Path(id): Path<String>) -> Result<Response, Response> {
    download(&shared, &id, "combined", "signed").await
}

async fn certificate(State(shared): State<Shared>, Path(id): Path<String>) -> Result<Response, Response> {
    download(&shared, &id, "certificate", "certificate").await
}

/// Hands a document through as it streams in; the daemon's key never reaches the browser.
async fn download(shared: &Shared, id: &str, part: &str, suffix: &str) -> Result<Response, Response> {
    let (order, signing) = shared.find(id).await?;
    let document = shared.backend.document(&signing.id, part).await.map_err(|refusal| trouble(&refusal))?;
    let name = format!("attachment; filename=\"{}-{suffix}.pdf\"", order.id.as_str());
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/pdf")),
        (header::CONTENT_DISPOSITION, HeaderValue::try_from(name).map_err(|_| no_such_order())?),
    ];
    Ok((headers, Body::from_stream(document.into_stream())).into_response())
}

/// The letter before anyone ordered it.
async fn letter(State(shared): State<Shared>) -> Response {
    let pdf = contract::letter("(your name)", None, "(its number)", &pages::day(shared.clock.now()));
    ([(header::CONTENT_TYPE, "application/pdf")], pdf).into_response()
}

/// A webhook of the daemon. What is not genuine changes nothing, and is told no more than that.
async fn told(State(shared): State<Shared>, headers: HeaderMap, body: Bytes) -> StatusCode {
    match shared.receiver.take(&headers, &body, shared.clock.now()) {
        Ok(()) => StatusCode::NO_CONTENT,
        Err(_) => StatusCode::BAD_REQUEST,
    }
}

async fn outbox(State(shared): State<Shared>) -> Response {
    page(StatusCode::OK, pages::outbox(shared.outbox.messages().await.as_deref()))
}

async fn style() -> Response {
    asset("text/css; charset=utf-8", pages::STYLE)
}

async fn icon() -> Response {
    asset("image/svg+xml", pages::ICON)
}

async fn script() -> Response {
    asset("text/javascript; charset=utf-8", pages::HERE_SCRIPT)
}

async fn nothing_here() -> Response {
    page(StatusCode::NOT_FOUND, pages::message("No such page", "Please check the address."))
}

fn asset(kind: &'static str, content: &'static str) -> Response {
    ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "public, max-age=300")], content).into_response()
}

pub(super) fn page(status: StatusCode, markup: Markup) -> Response {
    let kind = [(header::CONTENT_TYPE, "text/html; charset=utf-8")];
    (status, kind, markup.into_string()).into_response()
}

pub(super) fn bad_form() -> Response {
    let text = "Something was missing or wrong in it. Please start again.";
    page(StatusCode::BAD_REQUEST, pages::message("The form did not arrive whole", text))
}

pub(super) fn no_such_order() -> Response {
    let text = "This demo forgets its orders when it ends.";
    page(StatusCode::NOT_FOUND, pages::message("There is no such order", text))
}

fn trouble(refusal: &Refusal) -> Response {
    let text = format!("{} {}", refusal.detail, refusal.fix);
    page(StatusCode::BAD_GATEWAY, pages::message("We cannot tell right now", text.trim()))
}

pub(super) fn to_order(id: &OrderId) -> Response {
    Redirect::to(&format!("/orders/{}", id.as_str())).into_response()
}

pub(super) fn see_other(address: &str) -> Response {
    Redirect::to(address).into_response()
}
