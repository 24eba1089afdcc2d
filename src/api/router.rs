//! Every route of the API on one page, and what its handlers work with.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Router,
    extract::DefaultBodyLimit,
    middleware::from_fn_with_state,
    routing::{get, post},
};

use tokio_util::sync::CancellationToken;

use crate::{
    api::{
        Callers, Problem,
        middleware::{Watch, watch},
        openapi, signings,
    },
    clock::SharedClock,
    domain::SenderName,
    signing::Signings,
    telemetry::metrics::Metrics,
};

/// What handlers work with. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Api {
    /// Who may call.
    pub callers: Callers,
    /// The use cases.
    pub signings: Signings,
    /// The senders of the settings.
    pub senders: Arc<Vec<SenderName>>,
    /// The templates of the settings, by name.
    pub templates: Arc<BTreeMap<String, String>>,
    /// The largest body, in bytes.
    pub body_limit: usize,
    /// Fires when this daemon takes no more work.
    pub closing: CancellationToken,
    /// The time.
    pub clock: SharedClock,
    /// What is counted.
    pub metrics: Arc<Metrics>,
}

/// The paths of the API, as the metrics name them.
pub const PATHS: &[&str] = &[
    "/v1/signings",
    "/v1/signings/{id}",
    "/v1/signings/{id}/wait",
    "/v1/signings/{id}/signers/{signer}/views",
    "/v1/signings/{id}/signers/{signer}/links",
    "/v1/signings/{id}/void",
    "/v1/signings/{id}/refresh",
    "/v1/signings/{id}/documents/{part}",
    "/v1/signings/{id}/timeline",
    "/v1/links/{id}",
    "/openapi.json",
    "/docs",
    "/docs/errors/{code}",
];

/// The API listener.
pub fn router(api: Api) -> Router {
    let watcher = Watch::new("api", PATHS, Arc::clone(&api.metrics), Arc::clone(&api.clock));
    let signings = Router::new()
        .route("/v1/signings", post(signings::create).get(signings::list))
        .route("/v1/signings/{id}", get(signings::show))
        .route("/v1/signings/{id}/wait", get(signings::wait))
        .route("/v1/signings/{id}/signers/{signer}/views", post(signings::view))
        .route("/v1/signings/{id}/signers/{signer}/links", post(signings::link))
        .route("/v1/signings/{id}/void", post(signings::void))
        .route("/v1/signings/{id}/refresh", post(signings::refresh))
        .route("/v1/signings/{id}/documents/{part}", get(signings::document))
        .route("/v1/signings/{id}/timeline", get(signings::timeline))
        .route("/v1/links/{id}", axum::routing::delete(signings::revoke_link));
    let about = Router::new()
        .route("/openapi.json", get(openapi::pages::json))
        .route("/docs", get(openapi::pages::docs))
        .route("/docs/errors/{code}", get(openapi::pages::error));
    signings
        .merge(about)
        .fallback(nothing_here)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(api.body_limit))
        .layer(from_fn_with_state(watcher, watch))
        .with_state(api)
}

/// Paths of the other listeners are unknown here, too.
async fn nothing_here() -> Problem {
    Problem::not_found()
}

async fn wrong_method() -> Problem {
    Problem::new("not_found", "this path does not take this method")
}
