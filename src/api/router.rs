//! Every route of the API on one page, and what its handlers work with.

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    middleware::{from_fn, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{any, get, post},
};
use http::header;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::{
    api::{
        Callers, Problem,
        bodies::Room,
        caller::Caller,
        connect, creates, documents, events, evidence, made_senders,
        middleware::{Watch, refuse_forwarded, watch},
        openapi, passthrough, senders, signings,
    },
    auth::{Auth, consent_state::ConsentStates},
    clock::SharedClock,
    domain::{Mode, SenderName, TemplateNames},
    esign,
    events::{Endpoints, Log, Streams},
    pairing::Pairings,
    signing::{ResultKey, Signings, Tickets},
    telemetry::{metrics::Metrics, traces::Tracer},
};

/// What handlers work with. Clones share it: every request makes some.
#[derive(Debug, Clone)]
pub struct Api(Arc<Parts>);

impl std::ops::Deref for Api {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

/// The parts of an [`Api`].
#[derive(Debug)]
pub struct Parts {
    /// Who may call.
    pub callers: Callers,
    /// The use cases.
    pub signings: Signings,
    /// How we act as senders.
    pub auth: Auth,
    /// Calls to the upstream, for those who pass theirs through.
    pub esign: Arc<esign::Client>,
    /// Where events go.
    pub endpoints: Endpoints,
    /// What was sent, and how it fared.
    pub log: Log,
    /// Events as they happen.
    pub streams: Streams,
    /// Makes the `state` of consent links.
    pub consents: ConsentStates,
    /// Makes the tickets of the direct form.
    pub tickets: Tickets,
    /// The origin of the public listener; none if it is off.
    pub public_origin: Option<String>,
    /// Whether signatures bind.
    pub mode: Mode,
    /// Which accounts customers have connected.
    pub pairings: Pairings,
    /// What templates are called.
    pub templates: Arc<TemplateNames>,
    /// Whether requests that came through a proxy are answered on loopback.
    pub allow_forwarded: bool,
    /// The largest body, in bytes.
    pub body_limit: usize,
    /// What large bodies may take of memory at once.
    pub room: Room,
    /// The calls of an account in an hour, as the settings have them: what callers' shares are shares of.
    pub hourly_limit: u64,
    /// The largest body of a call that is passed through, in bytes.
    pub passthrough_limit: usize,
    /// The public half of the key that signs results, as a JWK set.
    pub result_keys: Arc<str>,
    /// That key.
    pub results: Arc<ResultKey>,
    /// Creates that may still be under way at once.
    pub creates: Arc<Semaphore>,
    /// Bundles of evidence that may still be made at once.
    pub bundles: Arc<Semaphore>,
    /// Fires when this daemon takes no more work.
    pub closing: CancellationToken,
    /// The time.
    pub clock: SharedClock,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Takes spans.
    pub tracer: Tracer,
}

impl Api {
    /// Whether a caller is told of a sender.
    pub(super) fn sees(&self, caller: &Caller, sender: &SenderName) -> bool {
        match self.pairings.made(sender) {
            Some(made) => made.owner == caller.name,
            None => caller.sees_sender(sender),
        }
    }

    /// Whether a caller may use a sender: its own, or one of the settings that it has a right to.
    pub(super) fn may_use(&self, caller: &Caller, sender: &SenderName) -> bool {
        match self.pairings.made(sender) {
            Some(made) => made.owner == caller.name,
            None => caller.may_use_sender(sender),
        }
    }

    /// A sender, if it exists and this caller may use it: both sound the same from outside.
    pub(super) fn sender_of(&self, caller: &Caller, name: &str) -> Result<SenderName, Problem> {
        let known = SenderName::new(name);
        let is_theirs = self.auth.has(name) && self.may_use(caller, &known);
        is_theirs
            .then_some(known)
            .ok_or_else(|| Problem::new("sender_unknown", "there is no sender of that name for this caller"))
    }
}

/// The paths of the API, as the metrics name them.
pub const PATHS: &[&str] = &[
    "/v1/signings",
    "/v1/signings/{id}",
    "/v1/signings/{id}/wait",
    "/v1/signings/{id}/signers/{signer}/views",
    "/v1/signings/{id}/signers/{signer}/links",
    "/v1/signings/{id}/signers/{signer}/phone",
    "/v1/signings/{id}/signers/{signer}/access_code",
    "/v1/signings/{id}/void",
    "/v1/signings/{id}/refresh",
    "/v1/signings/{id}/purge",
    "/v1/signings/{id}/documents/{part}",
    "/v1/signings/{id}/timeline",
    "/v1/signings/{id}/evidence",
    "/v1/links/{id}",
    "/v1/links/{id}/tickets",
    "/v1/senders",
    "/v1/senders/{name}",
    "/v1/senders/{name}/check",
    "/v1/senders/{name}/consent",
    "/v1/senders/{name}/connect",
    "/v1/senders/{name}/esign/{*path}",
    "/v1/webhook_endpoints",
    "/v1/webhook_endpoints/{id}",
    "/v1/webhook_endpoints/{id}/rotate",
    "/v1/events",
    "/v1/deliveries",
    "/v1/deliveries/{id}/replay",
    "/.well-known/jwks.json",
    "/openapi.json",
    "/docs",
    "/docs/component",
    "/docs/results",
    "/docs/migrating",
    "/docs/errors/{code}",
];

/// The API listener.
pub fn router(parts: Parts) -> Router {
    let api = Api(Arc::new(parts));
    let watcher =
        Watch::new("api", PATHS, Arc::clone(&api.metrics), api.tracer.clone(), Arc::clone(&api.clock));
    let signings = Router::new()
        .route("/v1/signings", post(creates::create).get(signings::list))
        .route("/v1/signings/{id}", get(signings::show))
        .route("/v1/signings/{id}/wait", get(signings::wait))
        .route("/v1/signings/{id}/signers/{signer}/views", post(signings::view))
        .route("/v1/signings/{id}/signers/{signer}/links", post(signings::link))
        .route("/v1/signings/{id}/signers/{signer}/phone", post(signings::phone))
        .route("/v1/signings/{id}/signers/{signer}/access_code", post(signings::access_code))
        .route("/v1/signings/{id}/void", post(signings::void))
        .route("/v1/signings/{id}/refresh", post(signings::refresh))
        .route("/v1/signings/{id}/purge", post(signings::purge))
        .route("/v1/signings/{id}/documents/{part}", get(documents::document))
        .route("/v1/signings/{id}/timeline", get(signings::timeline))
        .route("/v1/signings/{id}/evidence", get(evidence::bundle))
        .route("/v1/links/{id}", axum::routing::delete(signings::revoke_link))
        .route("/v1/links/{id}/tickets", post(signings::ticket));
    let about = Router::new()
        .route("/.well-known/jwks.json", get(result_keys))
        .route("/openapi.json", get(openapi::pages::json))
        .route("/docs", get(openapi::pages::docs))
        .route("/docs/component", get(openapi::component::component))
        .route("/docs/results", get(openapi::results::results))
        .route("/docs/migrating", get(openapi::pages::migrate))
        .route("/docs/errors/{code}", get(openapi::pages::error));
    let senders = Router::new()
        .route("/v1/senders", get(senders::list).post(made_senders::make))
        .route(
            "/v1/senders/{name}",
            get(senders::show).patch(made_senders::change).delete(made_senders::unmake),
        )
        .route("/v1/senders/{name}/check", post(senders::check))
        .route("/v1/senders/{name}/consent", get(senders::consent))
        .route("/v1/senders/{name}/connect", get(connect::show).delete(connect::disconnect))
        .route("/v1/senders/{name}/esign/{*path}", any(passthrough::forward));
    let events = Router::new()
        .route("/v1/webhook_endpoints", post(events::create_endpoint).get(events::list_endpoints))
        .route(
            "/v1/webhook_endpoints/{id}",
            get(events::show_endpoint).patch(events::change_endpoint).delete(events::remove_endpoint),
        )
        .route("/v1/webhook_endpoints/{id}/rotate", post(events::rotate_endpoint))
        .route("/v1/events", get(events::list_events))
        .route("/v1/deliveries", get(events::list_deliveries))
        .route("/v1/deliveries/{id}/replay", post(events::replay));
    let all = signings
        .merge(senders)
        .merge(events)
        .merge(about)
        .fallback(nothing_here)
        .method_not_allowed_fallback(wrong_method);
    let all = if api.allow_forwarded { all } else { all.layer(from_fn(refuse_forwarded)) };
    all.layer(from_fn_with_state(watcher, watch)).with_state(api)
}

/// What a website checks the `result` of a return URL with. Public by nature, so without a key.
async fn result_keys(State(api): State<Api>) -> Response {
    ([(header::CONTENT_TYPE, "application/jwk-set+json")], api.result_keys.to_string()).into_response()
}

/// Paths of the other listeners are unknown here, too.
async fn nothing_here() -> Problem {
    Problem::not_found()
}

async fn wrong_method() -> Problem {
    Problem::new("method_not_allowed", "this path does not take this method")
}
