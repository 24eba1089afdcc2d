//! From the settings of the ops listener to its router.

use std::sync::Arc;

use axum::{Router, middleware::from_fn_with_state};
use tokio_util::sync::CancellationToken;

use crate::{
    api::middleware::{Asking, Refused, Watch, watch},
    app::Parts,
    config::{Config, Environment},
    domain::SenderName,
    ops::{
        self,
        admin::{Admin, Dependencies, Makers},
    },
    telemetry::traces::Tracer,
};

/// What the settings say of operators.
#[derive(Debug)]
pub(super) struct Settings {
    is_tls: bool,
    allow_forwarded: bool,
    environment: &'static str,
}

impl Settings {
    /// Reads them.
    pub(super) fn of(config: &Config) -> Self {
        Self {
            is_tls: config.ops.tls.is_some(),
            allow_forwarded: config.ops.allow_forwarded,
            environment: match config.upstream.environment() {
                Environment::Demo => "demo environment",
                Environment::Emulator => "emulator",
                Environment::Production => "production",
            },
        }
    }
}

/// The ops listener's router, watched like the others.
pub(super) fn router(parts: &Parts, settings: &Settings, closing: &CancellationToken) -> Router {
    let admin = Admin::new(Dependencies {
        password: parts.password.clone(),
        is_tls: settings.is_tls,
        environment: settings.environment,
        health: parts.health.clone(),
        auth: parts.auth.clone(),
        esign: Arc::clone(&parts.esign),
        signings: parts.signings.clone(),
        store: Arc::clone(&parts.store),
        consents: parts.secrets.consents.clone(),
        pairings: parts.pairings.clone(),
        makers: Makers {
            find: Arc::new({
                let callers = parts.callers.clone();
                move || callers.makers()
            }),
            of_sender: Arc::new({
                let callers = parts.callers.clone();
                move |sender: &SenderName| callers.of_sender(sender)
            }),
        },
        public_origin: parts.signings.settings().public_origin.clone(),
        clock: Arc::clone(&parts.clock),
        closing: closing.clone(),
    });
    let ledger = ops::ledger::router(Arc::clone(&parts.store), Arc::clone(&parts.clock));
    let router = ops::router(parts.health.clone(), Arc::clone(&parts.metrics), admin).merge(ledger);
    let refused = Refused {
        forwarded: !settings.allow_forwarded,
        // With TLS a name that is not the certificate's gets no further than the browser's handshake.
        foreign_names: !settings.allow_forwarded && !settings.is_tls,
    };
    // Probes take no series from callers' routes, so none of the paths is named; and every probe would be a trace.
    let (metrics, clock) = (Arc::clone(&parts.metrics), Arc::clone(&parts.clock));
    let watcher = Watch::new(Asking::Operators, &[], metrics, Tracer::off(), clock);
    router.layer(from_fn_with_state(watcher.refusing(refused), watch))
}
