//! Events in and out: Connect deliveries taken in, our own webhooks sent.

use std::{collections::HashMap, sync::Arc};

use anyhow::Context as _;
use axum::Router;
use secrecy::ExposeSecret;

use crate::{
    app::{Dependencies, Parts},
    config::{self, Config, ConfigError, ConnectKeyError, Environment, Webhook},
    connect::{self, Inbox, OwnKeys},
    domain::{CallerName, EventKind, Private, SenderName},
    events::{self, Dispatcher, Endpoints, FromSettings, Limits, Targets, Webhooks, endpoints::secret_bytes},
    oidc::Issuers,
    pairing::Pairings,
    public,
    signing::{EventsTo, Signings},
    tls::Name,
};

/// Keys of senders of the settings that count at the general address, too: each costs a digest of whatever
/// comes there, from whomever.
const MAX_OWN_AT_GENERAL: usize = 100;

/// What the settings say of events, in both directions.
#[derive(Debug)]
pub(super) struct Settings {
    webhooks: Vec<FromSettings>,
    callers: Vec<CallerName>,
    targets: Targets,
}

impl Settings {
    /// Reads them.
    pub(super) fn of(config: &Config) -> Result<Self, ConfigError> {
        Ok(Self {
            webhooks: webhooks(config)?,
            callers: config.callers.keys().map(|name| CallerName::new(name.as_str())).collect(),
            targets: targets(config),
        })
    }

    /// The endpoints of a store; those of the settings come with [`Settings::apply_to`].
    pub(super) fn endpoints(&self, given: &Dependencies) -> Endpoints {
        Endpoints::new(Arc::clone(&given.store), Arc::clone(&given.clock), self.targets)
    }

    /// Makes the stored endpoints of the settings these: at start, and when the settings are read again.
    pub(super) async fn apply_to(&self, endpoints: &Endpoints) -> anyhow::Result<()> {
        let applied = endpoints.apply(&self.webhooks, &self.callers).await;
        applied.context("cannot store the webhooks of the settings")?;
        self.advise();
        Ok(())
    }

    /// Says what is allowed and seldom meant. Not where it is read: at start there is no log yet to say it in.
    fn advise(&self) {
        let Some(only) = self.callers.first() else { return };
        let is_named_after_none = |webhook: &&FromSettings| {
            webhook.callers.is_none() && self.callers.iter().all(|caller| caller.as_str() != webhook.name)
        };
        for webhook in self.webhooks.iter().filter(is_named_after_none) {
            tracing::warn!(
                webhook = webhook.name,
                caller = only.as_str(),
                "a webhook is named after no caller: it gets the events of the only one there is, or none if it was the \
                 webhook of one who is gone; write callers = [...] into its table, or take it out"
            );
        }
    }
}

/// The inbox of Connect deliveries, not running yet.
pub(super) fn inbox(
    config: &Config,
    issuers: &Issuers,
    given: &Dependencies,
    signings: &Signings,
    own_keys: &OwnKeys,
) -> Inbox {
    let for_inbox = connect::Dependencies {
        store: Arc::clone(&given.store),
        signings: signings.clone(),
        own_keys: own_keys.clone(),
        clock: Arc::clone(&given.clock),
        life: given.life.clone(),
        metrics: Arc::clone(&given.metrics),
    };
    let inbox = Inbox::new(for_inbox, connect::Limits::default());
    prove(&inbox, own_keys, config, issuers);
    inbox
}

/// Tells the inbox what a delivery is proven by: at start, and when the settings are read again.
pub(super) fn prove(inbox: &Inbox, own: &OwnKeys, config: &Config, issuers: &Issuers) {
    let connect = &config.connect;
    let subjects = connect.oidc.clone();
    inbox.set_tokens((!subjects.is_empty()).then(|| connect::Tokens::new(issuers.clone(), subjects)));
    let names = connect.certificates.iter().filter_map(|name| Name::parse(name.as_str()));
    inbox.set_clients(connect.client_ca.as_ref().map(|_| connect::Clients::new(names)));
    inbox.set_keys(general_keys(config));
    own.set(keys_of_senders(config));
    let tokens = connect.bearer_tokens.iter().map(|token| token.expose_secret().to_owned());
    inbox.set_bearers(connect::Bearers::new(tokens));
}

/// What counts at the general address: the keys that are everybody's, and those of few senders, which once had no
/// address of their own.
fn general_keys(config: &Config) -> connect::Keys {
    let mut keys = connect::Keys::new(config.connect.hmac_keys.iter().map(ExposeSecret::expose_secret));
    let own = config.senders.values().map(|sender| sender.hmac_keys.len()).sum::<usize>();
    if own <= MAX_OWN_AT_GENERAL {
        for (name, sender) in &config.senders {
            let secrets = sender.hmac_keys.iter().map(ExposeSecret::expose_secret);
            keys.add_of(&SenderName::new(name.as_str()), secrets);
        }
    }
    keys
}

fn keys_of_senders(config: &Config) -> HashMap<SenderName, connect::Keys> {
    let with_own = config.senders.iter().filter(|(_, sender)| !sender.hmac_keys.is_empty());
    let of = |(name, sender): (&String, &config::Sender)| {
        let (name, mut keys) = (SenderName::new(name.as_str()), connect::Keys::default());
        keys.add_of(&name, sender.hmac_keys.iter().map(ExposeSecret::expose_secret));
        (name, keys)
    };
    with_own.map(of).collect()
}

/// The keys of all senders that have some, with those that callers make.
pub(super) fn own_keys(pairings: &Pairings, environment: Environment) -> OwnKeys {
    let pairings = pairings.clone();
    OwnKeys::new(Box::new(move |sender| {
        let mut keys = connect::Keys::default();
        if let Some(made) = pairings.made(sender) {
            // One of a store that was an emulator's before.
            let is_own =
                |key: &&str| config::connect_key(key, environment) != Err(ConnectKeyError::Published);
            keys.add_of(sender, made.hmac_keys().iter().map(String::as_str).filter(is_own));
        }
        keys
    }))
}

/// Where envelopes' events are to be pushed to, as far as they could be believed.
pub(super) fn events_to(config: &Config, origin: &str, keys: &OwnKeys) -> EventsTo {
    let (origin, keys) = (format!("{origin}/in/docusign"), keys.clone());
    let is_for_all = !config.connect.hmac_keys.is_empty();
    EventsTo {
        general: is_for_all.then(|| format!("{origin}/events")),
        own: Arc::new(move |sender| {
            keys.has(sender).then(|| format!("{origin}/{}", connect::own_keys::path_of(sender)))
        }),
    }
}

/// Attempts are sockets: how many this process may have open.
fn limits() -> Limits {
    let open_files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    open_files.map_or_else(Limits::default, Limits::for_open_files)
}

/// Starts both directions; answers the route that DocuSign pushes to.
pub(super) async fn start(parts: &Parts, settings: Settings) -> anyhow::Result<Router> {
    let endpoints = parts.endpoints.clone();
    settings.apply_to(&endpoints).await?;
    let webhooks = Webhooks::new(settings.targets).context("cannot build the client for webhooks")?;
    let auth = parts.auth.clone();
    let given = events::Dependencies {
        store: Arc::clone(&parts.store),
        endpoints,
        webhooks: webhooks.dated_by(move || auth.corrected_now()),
        hub: parts.hub.clone(),
        clock: Arc::clone(&parts.clock),
        life: parts.life.clone(),
        metrics: Arc::clone(&parts.metrics),
    };
    let dispatcher = Dispatcher::new(given, limits());
    parts.life.spawn("webhooks", dispatcher.run());
    parts.life.spawn("connect inbox", parts.inbox.clone().run());
    Ok(public::deliveries(parts.inbox.clone()))
}

fn targets(config: &Config) -> Targets {
    Targets { plain_loopback: config.upstream.is_emulator() }
}

/// The receivers of the settings, as `events` wants them. One whose address shows that nothing would ever be sent
/// there is refused now, and not found out when its first event is given up.
fn webhooks(config: &Config) -> Result<Vec<FromSettings>, ConfigError> {
    let targets = targets(config);
    let all = config.webhooks.iter().map(|(name, webhook)| {
        let decided = targets.may_be_private(&webhook.url, webhook.allow_private);
        let allow_private = decided.map_err(|forbidden| {
            let fix = "write a public https address; allow_private = true is for a receiver inside (left out, loopback is \
                       allowed with the emulator)";
            ConfigError::new(format!("webhooks.{name}.url"), forbidden.to_string(), fix)
                .found_in(webhook.found_in.clone())
        })?;
        Ok(from_settings(name, webhook, allow_private))
    });
    all.collect()
}

fn from_settings(name: &str, webhook: &Webhook, allow_private: bool) -> FromSettings {
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
        allow_private,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The settings are a leaf and have the words again: one that only they knew would be dropped without a word.
    #[test]
    fn the_settings_take_the_events_that_there_are() {
        let all: Vec<_> = EventKind::ALL.iter().map(|kind| kind.as_str()).collect();
        assert_eq!(config::EVENT_TYPES.to_vec(), all);
    }
}
