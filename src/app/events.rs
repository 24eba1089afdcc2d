//! Events in and out: Connect deliveries taken in, our own webhooks sent.

use std::sync::Arc;

use anyhow::Context as _;
use axum::Router;
use secrecy::ExposeSecret as _;

use crate::{
    app::Parts,
    clock::SharedClock,
    config::{Config, Webhook},
    connect::{self, Inbox},
    domain::{CallerName, EventKind, Private},
    events::{Dispatcher, Endpoints, FromSettings, Limits, Targets, Webhooks, endpoints::secret_bytes},
    public,
    store::SharedStore,
};

/// What the settings say of events, in both directions.
#[derive(Debug)]
pub(super) struct Settings {
    keys: connect::Keys,
    webhooks: Vec<FromSettings>,
    callers: Vec<CallerName>,
    targets: Targets,
}

impl Settings {
    /// Reads them.
    pub(super) fn of(config: &Config) -> Self {
        Self {
            keys: connect::Keys::new(
                config.connect.hmac_keys.iter().map(secrecy::ExposeSecret::expose_secret),
            ),
            webhooks: config.webhooks.iter().map(|(name, webhook)| from_settings(name, webhook)).collect(),
            callers: config.callers.keys().map(|name| CallerName::new(name.as_str())).collect(),
            targets: Targets { plain_loopback: config.upstream.is_emulator() },
        }
    }
}

impl Settings {
    /// The endpoints of a store; those of the settings come when this is started.
    pub(super) fn endpoints(&self, store: &SharedStore, clock: &SharedClock) -> Endpoints {
        Endpoints::new(Arc::clone(store), Arc::clone(clock), self.targets)
    }
}

/// Starts both directions; answers the route that DocuSign pushes to.
pub(super) async fn start(parts: &Parts, settings: Settings) -> anyhow::Result<Router> {
    let endpoints = parts.endpoints.clone();
    let applied = endpoints.apply(&settings.webhooks, &settings.callers).await;
    applied.context("cannot store the webhooks of the settings")?;
    let dispatcher = Dispatcher::new(
        Arc::clone(&parts.store),
        endpoints,
        Webhooks::new(settings.targets).context("cannot build the client for webhooks")?,
        parts.hub.clone(),
        Arc::clone(&parts.clock),
        parts.life.clone(),
        Arc::clone(&parts.metrics),
        Limits::default(),
    );
    parts.life.spawn("webhooks", dispatcher.run());
    let inbox = Inbox::new(
        Arc::clone(&parts.store),
        parts.signings.clone(),
        Arc::clone(&parts.clock),
        parts.life.clone(),
        Arc::clone(&parts.metrics),
        settings.keys,
        connect::Limits::default(),
    );
    parts.life.spawn("connect inbox", inbox.clone().run());
    Ok(public::deliveries(inbox))
}

fn from_settings(name: &str, webhook: &Webhook) -> FromSettings {
    let kinds = webhook.events.iter().flatten().filter_map(|word| EventKind::parse(word));
    let secrets = webhook.secrets.iter().filter_map(|secret| secret_bytes(secret.expose_secret()));
    FromSettings {
        name: name.to_owned(),
        url: webhook.url.to_string(),
        secrets: Private::new(secrets.collect()),
        events: kinds.collect(),
        allow_private: webhook.allow_private,
    }
}
