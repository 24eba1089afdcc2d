//! The composition root: builds each part once, wires them, runs them, stops them; and what the daemon does by itself,
//! by the clock.
//!
//! The only module that names concrete adapters and the only one that knows every other. Everything that can be
//! wrong with the settings is found before the first port is bound; every port is bound before anything is said to
//! be ready.
//!
//! | Files | Decide |
//! |---|---|
//! | `from_settings`, `issuers`, `senders`, `secrets`, `callers`, `operators`, `visitors`, `listeners`, `reload` | order alone: what is made from which settings, and when |
//! | `sender_health`, `sender_log`, `sender_events`, `consent_probe`, `default_accounts`, `store`, `store_clock`, `retention`, `sealing`, `certificates`, `peers`, `pdfs` | what is wrong with a part, whom that is told, and what is old enough to go |
//! | `observe`, `budget`, `shares`, `announce`, `pairing`, `events`, `traces`, `witness` | how often something is carried from one part to another |
//!
//! The rules of the second row are here because each looks at parts that must not know each other. This module must
//! never decide about a request: what a caller, a visitor or DocuSign is answered is the rule of another one.

mod announce;
mod budget;
mod callers;
mod certificates;
mod consent_probe;
mod default_accounts;
mod events;
mod from_settings;
mod issuers;
mod listeners;
mod observe;
mod operators;
mod pairing;
mod pdfs;
mod peers;
mod reload;
mod retention;
mod sealing;
mod secrets;
mod sender_events;
mod sender_health;
mod sender_log;
mod senders;
mod shares;
mod store;
mod store_clock;
mod traces;
mod visitors;
mod witness;

use certificates::Certificates;
use from_settings::{audit, esign, signing_settings};
use listeners::Listeners;

pub(crate) use certificates::examine_certificates;
pub use from_settings::auth_of;
pub use listeners::{Inherited, InheritedSocket};
pub(crate) use pairing::form_of;
pub use secrets::Secrets;
pub(crate) use senders::{device_module, key_source, key_sources};
pub use store::located;
pub(crate) use store::settings_id;

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use arc_swap::ArcSwap;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::{
    api::Callers,
    audit::Audit,
    auth::Auth,
    clock::SharedClock,
    config::{self, Config, Written},
    connect::{Inbox, OwnKeys},
    domain::{SenderName, TemplateNames},
    esign,
    events::{Endpoints, Hub},
    lifecycle::Lifecycle,
    listener::{Bound, Limits},
    oidc::Issuers,
    ops::{Health, admin::Password},
    pairing::Pairings,
    public,
    signing::{self, Signings},
    store::SharedStore,
    telemetry::{metrics::Metrics, traces::Tracer},
};

/// A daemon whose ports are bound and whose parts are wired, not running yet.
#[derive(Debug)]
pub struct App {
    parts: Parts,
    listeners: Listeners,
    templates: Arc<TemplateNames>,
    callers: callers::Settings,
    stop: config::Stop,
    visitors: Option<public::Settings>,
    events: events::Settings,
    retention: Duration,
    operators: operators::Settings,
    collector: Option<traces::Collector>,
    /// Whether any server that answers at the database's address is believed to be it.
    trusts_any_server: bool,
}

/// The running parts that others may look at. Clones share them.
#[derive(Debug, Clone)]
pub struct Parts {
    /// How we act as senders.
    pub auth: Auth,
    /// The use cases.
    pub signings: Signings,
    /// Who may call.
    pub callers: Callers,
    /// How we are.
    pub health: Health,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Durable state.
    pub store: SharedStore,
    /// Passes wake-ups on.
    pub hub: Hub,
    /// Calls to the upstream.
    pub esign: Arc<esign::Client>,
    /// Where our events go.
    pub endpoints: Endpoints,
    /// What DocuSign pushes to us.
    pub inbox: Inbox,
    /// The keys of accounts that are one sender's.
    own_keys: OwnKeys,
    /// Which accounts customers have connected.
    pub pairings: Pairings,
    /// What is derived from the seal key.
    pub secrets: Secrets,
    /// Of the operators.
    pub password: Password,
    certificates: Certificates,
    /// What other daemons on the store have to agree with.
    agreed: Arc<ArcSwap<peers::Agreed>>,
    /// The settings that this start was made with.
    written: Written,
    tracer: Tracer,
    /// Which of the account server's calls the ledger knows.
    asked: Arc<budget::Counted>,
    clock: SharedClock,
    life: Lifecycle,
}

impl Parts {
    /// Does something at once, and again so long after each time has ended, until the stop, which does not
    /// wait for it.
    fn repeat<F, W>(&self, name: &'static str, every: Duration, mut work: F)
    where
        F: FnMut(Self) -> W + Send + 'static,
        W: Future<Output = ()> + Send,
    {
        let (parts, stopping) = (self.clone(), self.life.stopping());
        self.life.spawn(name, async move {
            let again = async move {
                loop {
                    work(parts.clone()).await;
                    parts.clock.sleep(every).await;
                }
            };
            tokio::select! {
                () = stopping.cancelled() => {}
                () = again => {}
            }
        });
    }
}

/// What almost every part is built on.
struct Dependencies {
    audit: Audit,
    store: SharedStore,
    clock: SharedClock,
    life: Lifecycle,
    metrics: Arc<Metrics>,
}

/// Where a daemon listens: what the ready file holds.
#[derive(Debug, Clone, Serialize)]
pub struct Ready {
    /// Our process.
    pub pid: u32,
    /// The API listener.
    pub api_url: String,
    /// The public listener, if it is on.
    pub public_url: Option<String>,
    /// The ops listener.
    pub ops_url: String,
}

impl App {
    /// Builds every part and binds every port. A fault of the settings is a [`ConfigError`] in the chain.
    pub async fn build(config: Config, clock: SharedClock, life: Lifecycle) -> anyhow::Result<Self> {
        Self::build_on(Inherited::default(), config, clock, life).await
    }

    /// Like [`App::build`], on sockets that a service manager holds for us, as far as there are any.
    pub async fn build_on(
        inherited: Inherited,
        config: Config,
        clock: SharedClock,
        life: Lifecycle,
    ) -> anyhow::Result<Self> {
        let metrics = Arc::new(Metrics::new(&config.senders.keys().map(String::as_str).collect::<Vec<_>>()));
        let visitors = visitors::settings(&config)?;
        let health = Health::new(Arc::clone(&clock)).of_settings(&settings_id(&config));
        let auth = auth_of(&config, &clock).await?;
        let store = store::open(&config, &clock).await?;
        let (tracer, collector) = traces::collector(&config)?;
        let given = Dependencies { audit: audit(&config, &clock)?, store, clock, life, metrics };
        let Dependencies { audit, store, clock, life, metrics } = &given;
        let esign = esign(&config, &auth, &given, observe::calls(metrics, &tracer, clock))?;
        let (hub, secrets) = (Hub::new(), Secrets::derive(&config));
        witness::watch(&auth, audit);
        let pairings = pairing::pairings(&config, &auth, &esign, &given, &secrets.pairings)?;
        pairings.sync().await.context("who is connected cannot be read")?;
        let own_keys = events::own_keys(&pairings, config.upstream.environment());
        let signings = Signings::new(signing::Dependencies {
            store: Arc::clone(store),
            esign: Arc::clone(&esign),
            hub: hub.clone(),
            clock: Arc::clone(clock),
            life: life.clone(),
            settings: signing_settings(&config, &given, &own_keys),
        });
        let issuers = issuers::issuers(&config, &Issuers::default(), clock)?;
        let inbox = events::inbox(&config, &issuers, &given, &signings, &own_keys);
        let callers = Callers::new(&config.callers, issuers, Arc::clone(metrics));
        let events = events::Settings::of(&config)?;
        let endpoints = events.endpoints(&given);
        let certificates = Certificates::read(&config, clock, metrics)?;
        let listeners = listeners::bind(&config, inherited, &certificates).await?;
        let Dependencies { store, clock, life, metrics, .. } = given;
        let parts = Parts {
            auth,
            signings,
            callers,
            health,
            metrics,
            store,
            hub,
            esign,
            endpoints,
            inbox,
            own_keys,
            pairings,
            secrets,
            password: Password::default(),
            certificates,
            agreed: Arc::new(ArcSwap::from_pointee(peers::Agreed::of(&config))),
            written: config.written.clone(),
            tracer,
            asked: Arc::default(),
            clock,
            life,
        };
        parts.password.replace(config.ops.operator_password_hash.clone());
        let templates = Arc::new(senders::template_names(&config, &parts.pairings));
        Ok(Self {
            parts,
            listeners,
            templates,
            callers: callers::Settings::of(&config),
            visitors,
            events,
            operators: operators::Settings::of(&config),
            stop: config.stop,
            retention: config.store.retention,
            collector,
            trusts_any_server: store::located(&config)?.0.location.trusts_any_server(),
        })
    }

    /// Where it listens.
    pub fn ready(&self) -> Ready {
        Ready {
            pid: std::process::id(),
            api_url: self.listeners.api.origin(),
            public_url: self.listeners.public.as_ref().map(Bound::origin),
            ops_url: self.listeners.ops.origin(),
        }
    }

    /// What others may look at.
    pub fn parts(&self) -> Parts {
        self.parts.clone()
    }

    /// Serves until the stop, and through it: not ready at once, accepting for the grace, then drained.
    pub async fn run(self) -> anyhow::Result<()> {
        advise(&self);
        let Self { parts, listeners, templates, callers, visitors, events, operators, retention, .. } = self;
        let (stop, closing) = (self.stop, CancellationToken::new());
        observe::start(&parts);
        peers::watch(&parts);
        if let Some(collector) = self.collector {
            traces::start(&parts, collector);
        }
        budget::start(&parts);
        shares::start(&parts);
        witness::note_first_head(&parts);
        sender_health::watch(&parts);
        consent_probe::watch(&parts);
        default_accounts::watch(&parts);
        store::watch(&parts);
        certificates::watch(&parts);
        pairing::watch(&parts);
        pdfs::probe(&parts);
        let recovery = parts.signings.clone().recover(Arc::clone(&templates), parts.life.stopping());
        parts.life.spawn("recovery", recovery);
        let names = parts.auth.senders().into_iter().map(SenderName::new).collect();
        let reconcile = parts.signings.clone().watch_over(names, parts.life.stopping());
        parts.life.spawn("reconciliation", reconcile);
        retention::start(&parts, retention);
        sealing::start(&parts);
        let connect = events::start(&parts, events).await?;
        let Listeners { api, public, ops } = listeners;
        let limits = Limits { drain: stop.deadline, ..Limits::default() };
        if let (Some(bound), Some(visitors)) = (public, visitors) {
            let router = visitors::router(&parts, visitors, connect);
            parts.life.spawn("public listener", bound.serve(router, limits, closing.clone()));
        }
        let router = operators::router(&parts, &operators, &closing);
        parts.life.spawn("ops listener", ops.serve(router, limits, closing.clone()));
        let router = callers::router(&parts, callers, templates, &closing);
        parts.life.spawn("api listener", api.serve(router, limits, closing.clone()));

        parts.life.stopping().cancelled().await;
        let began = parts.clock.uptime();
        parts.health.stopping();
        tokio::select! {
            () = parts.clock.sleep(stop.grace.min(stop.deadline)) => {}
            () = parts.life.aborting().cancelled_owned() => {}
        }
        closing.cancel();
        let left = stop.deadline.saturating_sub(parts.clock.uptime().saturating_sub(began));
        let whole = parts.life.drain(left).await;
        // At once: a token that is asked for from here on would be waited for by nobody.
        parts.auth.close();
        if let Some(closed) = parts.life.put_away(put_away(&parts)).await {
            closed?;
        } else {
            tracing::warn!("stopped before the last counts were written and the store was closed");
        }
        anyhow::ensure!(!parts.life.has_failed(), "a part of the daemon failed; the log says which");
        if !whole {
            tracing::warn!("stopped before everything had ended; recovery takes it up at the next start");
        }
        Ok(())
    }
}

/// Writes down what was counted, and closes what is written to.
async fn put_away(parts: &Parts) -> anyhow::Result<()> {
    budget::finish(parts).await;
    shares::finish(parts).await;
    witness::note_head(parts, "ends");
    parts.signings.audit().close().await;
    parts.store.close().await.context("the store did not close")
}

/// Says what is allowed and seldom meant, and what was found at the start, before there was a log to say it in.
fn advise(app: &App) {
    let App { parts, listeners, stop, .. } = app;
    parts.signings.audit().tell_what_was_cut_off();
    parts.callers.warn_if_none();
    if parts.callers.has_unix_users() && listeners.api.address().is_some() {
        tracing::warn!("callers have unix_uids, which count on a unix socket alone: set api.unix_socket");
    }
    let is_open = listeners.ops.address().is_some_and(|address| !address.ip().is_loopback());
    if parts.password.number().is_some() && is_open && parts.certificates.of("ops").is_none() {
        tracing::warn!(
            "operators send their password to the ops listener over a network without TLS: set ops.tls, \
             or let a proxy on this machine end TLS and listen on loopback"
        );
    }
    if app.trusts_any_server {
        tracing::warn!(
            "the database is reached over a network and need not prove that it is ours, and without sslmode all may pass in \
             plain text: add ?sslmode=verify-full&sslrootcert=FILE to store.url, with the certificate of the database's CA"
        );
    }
    if stop.grace >= stop.deadline {
        tracing::warn!(
            "stop.grace is no shorter than stop.deadline, so a stop drops what is under way: both count from the signal"
        );
    }
}
