//! Events in and out: Connect deliveries taken in, our own webhooks sent.

use std::sync::Arc;

use anyhow::Context as _;
use axum::Router;
use secrecy::ExposeSecret;

use crate::{
    app::Parts,
    clock::SharedClock,
    config::{Config, Webhook},
    connect::{self, Inbox},
    domain::{CallerName, EventKind, Private, SenderName},
    events::{Dispatcher, Endpoints, FromSettings, Limits, Targets, Webhooks, endpoints::secret_bytes},
    lifecycle::Lifecycle,
    oidc::Issuers,
    public,
    signing::Signings,
    store::SharedStore,
    telemetry::metrics::Metrics,
    tls::Name,
};

/// What the settings say of events, in both directions.
#[derive(Debug)]
pub(super) struct Settings {
    webhooks: Vec<FromSettings>,
    callers: Vec<CallerName>,
    targets: Targets,
}

impl Settings {
    /// Reads them.
    pub(super) fn of(config: &Config) -> Self {
        Self {
            webhooks: webhooks(config),
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

/// The inbox of Connect deliveries, not running yet.
pub(super) fn inbox(
    config: &Config,
    issuers: &Issuers,
    store: &SharedStore,
    signings: &Signings,
    clock: &SharedClock,
    life: &Lifecycle,
    metrics: &Arc<Metrics>,
) -> Inbox {
    let inbox = Inbox::new(
        Arc::clone(store),
        signings.clone(),
        Arc::clone(clock),
        life.clone(),
        Arc::clone(metrics),
        connect::Keys::default(),
        connect::Limits::default(),
    );
    prove(&inbox, config, issuers);
    inbox
}

/// Tells the inbox what a delivery is proven by: at start, and when the settings are read again.
pub(super) fn prove(inbox: &Inbox, config: &Config, issuers: &Issuers) {
    let connect = &config.connect;
    let subjects = connect.oidc.clone();
    inbox.set_tokens((!subjects.is_empty()).then(|| connect::Tokens::new(issuers.clone(), subjects)));
    let names = connect.certificates.iter().filter_map(|name| Name::parse(name.as_str()));
    inbox.set_clients(connect.client_ca.as_ref().map(|_| connect::Clients::new(names)));
    let mut keys = connect::Keys::new(connect.hmac_keys.iter().map(ExposeSecret::expose_secret));
    for (name, sender) in &config.senders {
        let secrets = sender.hmac_keys.iter().map(ExposeSecret::expose_secret);
        keys.add_of(&SenderName::new(name.as_str()), secrets);
    }
    inbox.set_keys(keys);
    let tokens = connect.bearer_tokens.iter().map(|token| token.expose_secret().to_owned());
    inbox.set_bearers(connect::Bearers::new(tokens));
}

/// Attempts are sockets: how many this process may have open.
fn limits() -> Limits {
    let open_files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    open_files.map_or_else(Limits::default, Limits::for_open_files)
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
        limits(),
    );
    parts.life.spawn("webhooks", dispatcher.run());
    parts.life.spawn("connect inbox", parts.inbox.clone().run());
    Ok(public::deliveries(parts.inbox.clone()))
}

/// The receivers of the settings, as `events` wants them.
pub(super) fn webhooks(config: &Config) -> Vec<FromSettings> {
    config.webhooks.iter().map(|(name, webhook)| from_settings(name, webhook)).collect()
}

fn from_settings(name: &str, webhook: &Webhook) -> FromSettings {
    let kinds = webhook.events.iter().flatten().filter_map(|word| EventKind::parse(word));
    let secrets = webhook.secrets.iter().filter_map(|secret| secret_bytes(secret.expose_secret()));
    FromSettings {
        name: name.to_owned(),
        callers: webhook
            .callers
            .as_ref()
            .map(|all| all.iter().map(|name| CallerName::new(name.as_str())).collect()),
        url: webhook.url.to_string(),
        secrets: Private::new(secrets.collect()),
        events: kinds.collect(),
        allow_private: webhook.allow_private,
    }
}
