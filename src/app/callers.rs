//! From the settings of the api listener to its router.

use std::{sync::Arc, time::Duration};

use axum::Router;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::{
    api::{self, Api},
    app::Parts,
    config::{Config, Environment},
    domain::TemplateNames,
    events::{Log, Streams},
};

/// Limits of the API, and what it refuses.
#[derive(Debug, Clone, Copy)]
pub(super) struct Settings {
    /// The largest body of our own calls, which are read into memory.
    own_body: usize,
    /// Of large bodies at once.
    bodies: usize,
    /// Of calls that are passed through, which stream.
    passed_body: usize,
    /// How many calls an account has in an hour.
    hourly_calls: u64,
    /// Creates under way at once.
    creates_at_once: usize,
    /// Whether a proxy's `Forwarded` headers are let in.
    allow_forwarded: bool,
    /// Which DocuSign the upstream is.
    environment: Environment,
    /// How long what has come about signings is kept.
    retention: Duration,
}

impl Settings {
    /// Reads them.
    pub(super) fn of(config: &Config) -> Self {
        Self {
            own_body: config.api.body_limit.bytes(),
            bodies: config.api.bodies_at_once.bytes(),
            passed_body: config.api.passthrough_limit.bytes(),
            hourly_calls: config.budget.hourly_limit.into(),
            creates_at_once: config.api.creates_at_once as usize,
            allow_forwarded: config.api.allow_forwarded,
            environment: config.upstream.environment(),
            retention: config.store.retention,
        }
    }
}

/// The api listener's router, which is watched by itself.
pub(super) fn router(
    parts: &Parts,
    settings: Settings,
    templates: Arc<TemplateNames>,
    closing: &CancellationToken,
) -> Router {
    let (store, hub, clock) = (&parts.store, &parts.hub, &parts.clock);
    api::router(Api {
        callers: parts.callers.clone(),
        signings: parts.signings.clone(),
        auth: parts.auth.clone(),
        esign: Arc::clone(&parts.esign),
        endpoints: parts.endpoints.clone(),
        log: Log::new(Arc::clone(store), hub.clone(), Arc::clone(clock)),
        streams: Streams::new(Arc::clone(store), hub.clone(), Arc::clone(clock), parts.life.clone()),
        consents: parts.secrets.consents.clone(),
        tickets: parts.secrets.tickets.clone(),
        public_origin: parts.signings.settings().public_origin.clone(),
        mode: parts.signings.settings().mode,
        environment: settings.environment,
        pairings: parts.pairings.clone(),
        templates,
        allow_forwarded: settings.allow_forwarded,
        body_limit: settings.own_body,
        room: api::bodies::Room::new(settings.bodies),
        passthrough_limit: settings.passed_body,
        hourly_limit: settings.hourly_calls,
        retention: settings.retention,
        results: Arc::clone(&parts.secrets.results),
        creates: Arc::new(Semaphore::new(settings.creates_at_once)),
        bundles: Arc::new(Semaphore::new(api::BUNDLES_AT_ONCE)),
        closing: closing.clone(),
        clock: Arc::clone(clock),
        metrics: Arc::clone(&parts.metrics),
        tracer: parts.tracer.clone(),
    })
}
