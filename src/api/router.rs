//! Every route of the API on one page, and what its handlers work with.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::State,
    middleware::from_fn_with_state,
    response::{IntoResponse, Response},
    routing::{any, delete, get, post},
};
use http::header;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::{
    api::{
        Callers, Problem,
        bodies::Room,
        caller::Caller,
        creates, documents, events, evidence, made_senders,
        middleware::{Asking, Refused, Watch, watch},
        openapi, pairing, passthrough, senders, signings,
    },
    auth::{Auth, consent_state::ConsentStates},
    clock::SharedClock,
    config::Environment,
    domain::{Mode, SenderName, TemplateNames},
    esign,
    events::{Endpoints, Log, Streams},
    pairing::Pairings,
    signing::{ResultKey, Signings, Tickets},
    telemetry::{metrics::Metrics, traces::Tracer},
};

/// What handlers work with, as one shared state.
#[derive(Debug)]
pub struct Api {
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
    /// Which DocuSign the upstream is.
    pub environment: Environment,
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
    /// How long what has come about signings is kept.
    pub retention: Duration,
    /// The key that signs results, and the public halves of those beside it.
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

/// Makes the paths and the router of one table, so that neither has what the other has not.
macro_rules! routes {
    ($($path:literal => $handlers:expr;)*) => {
        /// The paths of the API, as the metrics name them and in the order of the documentation.
        pub const PATHS: &[&str] = &[$($path,)*];

        fn routes() -> Router<Arc<Api>> {
            Router::new()$(.route($path, $handlers))*
        }
    };
}

routes! {
    "/v1/signings" => post(creates::create).get(signings::list);
    "/v1/signings/{id}" => get(signings::show);
    "/v1/signings/{id}/wait" => get(signings::wait);
    "/v1/signings/{id}/signers/{signer}/views" => post(signings::view);
    "/v1/signings/{id}/signers/{signer}/links" => post(signings::link);
    "/v1/signings/{id}/signers/{signer}/phone" => post(signings::phone);
    "/v1/signings/{id}/signers/{signer}/access_code" => post(signings::access_code);
    "/v1/signings/{id}/void" => post(signings::void);
    "/v1/signings/{id}/refresh" => post(signings::refresh);
    "/v1/signings/{id}/purge" => post(signings::purge);
    "/v1/signings/{id}/documents/{part}" => get(documents::document);
    "/v1/signings/{id}/timeline" => get(signings::timeline);
    "/v1/signings/{id}/evidence" => get(evidence::bundle);
    "/v1/links/{id}" => delete(signings::revoke_link);
    "/v1/links/{id}/tickets" => post(signings::ticket);

    "/v1/senders" => get(senders::list).post(made_senders::make);
    "/v1/senders/{name}" => get(senders::show).patch(made_senders::change).delete(made_senders::unmake);
    "/v1/senders/{name}/check" => post(senders::check);
    "/v1/senders/{name}/consent" => get(senders::consent);
    "/v1/senders/{name}/connect" => get(pairing::show).delete(pairing::disconnect);
    "/v1/senders/{name}/esign/{*path}" => any(passthrough::forward);

    "/v1/webhook_endpoints" => post(events::create_endpoint).get(events::list_endpoints);
    "/v1/webhook_endpoints/{id}" =>
        get(events::show_endpoint).patch(events::change_endpoint).delete(events::remove_endpoint);
    "/v1/webhook_endpoints/{id}/rotate" => post(events::rotate_endpoint);
    "/v1/events" => get(events::list_events);
    "/v1/deliveries" => get(events::list_deliveries);
    "/v1/deliveries/{id}/replay" => post(events::replay);

    "/.well-known/jwks.json" => get(result_keys);
    "/openapi.json" => get(openapi::pages::json);
    "/docs" => get(openapi::pages::docs);
    "/docs/component" => get(openapi::component::component);
    "/docs/results" => get(openapi::results::results);
    "/docs/migrating" => get(openapi::pages::migrate);
    "/docs/errors" => get(openapi::pages::errors);
    "/docs/errors/{code}" => get(openapi::pages::error);
}

/// The API listener.
pub fn router(api: Api) -> Router {
    let api = Arc::new(api);
    let watcher = Watch::new(
        Asking::Callers,
        PATHS,
        Arc::clone(&api.metrics),
        api.tracer.clone(),
        Arc::clone(&api.clock),
    );
    let watcher = watcher.refusing(Refused { forwarded: !api.allow_forwarded, ..Refused::default() });
    let all = routes().fallback(nothing_here).method_not_allowed_fallback(wrong_method);
    all.layer(from_fn_with_state(watcher, watch)).with_state(api)
}

/// What a website checks the `result` of a return URL with. Public by nature, so without a key.
async fn result_keys(State(api): State<Arc<Api>>) -> Response {
    ([(header::CONTENT_TYPE, "application/jwk-set+json")], api.results.jwks()).into_response()
}

/// Paths of the other listeners are unknown here, too.
async fn nothing_here() -> Problem {
    Problem::not_found()
}

async fn wrong_method() -> Problem {
    Problem::new("method_not_allowed", "this path does not take this method")
}
