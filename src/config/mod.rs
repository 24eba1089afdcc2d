//! The settings: read once at start (and on SIGHUP), checked whole, then handed out section by section.
//!
//! Three layers: `config/default.toml` (compiled in, documents and supplies every default), the
//! settings file, the environment (`COUNTERSIGN__SECTION__KEY`). One file and one type a section; each
//! section checks itself, [`Config`] checks what concerns two. Whatever is wrong becomes one line, a
//! [`ConfigError`], that names the setting and the fix and never a value.
//!
//! Nothing else in the crate reads the environment or a settings file. This module opens no port,
//! asks no network and knows no other module; private keys are only located here, `auth` reads them.

mod api;
mod audit;
mod budget;
mod callers;
mod connect;
mod documents;
mod error;
mod exposed;
mod layers;
mod log;
mod network;
mod oidc;
mod ops;
mod otel;
mod public;
mod published;
mod secret;
mod sections;
mod senders;
mod signer;
mod stop;
mod store;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod upstream;
mod values;
mod webhooks;
mod written;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use figment::Figment;
use serde::Deserialize;
use uuid::Uuid;

use secret::Credentials;

pub use self::{
    api::{Api, Tls},
    audit::Audit,
    budget::Budget,
    callers::{Caller, CertificateName, Enforcement, KeyHash, Passthrough},
    connect::{Connect, ConnectKeyError, bare_connect_key, connect_key},
    documents::Documents,
    error::ConfigError,
    layers::{DEFAULTS, Variables},
    log::{Log, LogFormat},
    network::Network,
    oidc::{Oidc, SubjectRule, TokenAlgorithm},
    ops::Ops,
    otel::Otel,
    public::{Brand, ProxyHeader, Public},
    sections::{Agreement, agreement, is_reloaded},
    senders::{ConnectForm, EXAMPLE_KEY_FINGERPRINT, KeySource, Sender},
    signer::{Pkcs11, Signer},
    stop::Stop,
    store::{SealKey, Store, StoreUrl, Synchronous},
    upstream::{Environment, Mode, Upstream},
    values::{ByteSize, Origin, Rate, check_name},
    webhooks::{EVENT_TYPES, Webhook, instead_of_event},
    written::Written,
};

/// All settings, checked.
///
/// Drop it after start, so that only the part that needs a secret still holds it.
#[derive(Debug, Clone)]
pub struct Config {
    /// Which DocuSign we talk to, and how patiently.
    pub upstream: Upstream,
    /// The users we act as, by name.
    pub senders: BTreeMap<String, Sender>,
    /// The listener for callers.
    pub api: Api,
    /// The listener for browsers and the upstream.
    pub public: Public,
    /// The listener for operators.
    pub ops: Ops,
    /// Who may call, by name.
    pub callers: BTreeMap<String, Caller>,
    /// Who issues tokens for callers, by name.
    pub oidc: BTreeMap<String, Oidc>,
    /// Durable state.
    pub store: Store,
    /// Template ids, by name.
    pub templates: BTreeMap<String, Uuid>,
    /// What the upstream pushes to us.
    pub connect: Connect,
    /// Where signed documents lie while they are fetched.
    pub documents: Documents,
    /// Where our own events go, by name.
    pub webhooks: BTreeMap<String, Webhook>,
    /// What the key was used for.
    pub audit: Audit,
    /// The upstream's limits.
    pub budget: Budget,
    /// What was written, for comparing.
    pub written: Written,
    /// Files that hold secrets and that others can read or write.
    pub exposed: Vec<PathBuf>,
    /// How the daemon stops.
    pub stop: Stop,
    /// Logging.
    pub log: Log,
    /// Traces.
    pub otel: Otel,
    /// The isolated signer.
    pub signer: Signer,
}

/// The settings as written, before sections check themselves and secrets are read.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    upstream: upstream::Raw,
    #[serde(default)]
    senders: BTreeMap<String, senders::Raw>,
    api: api::Raw,
    public: public::Raw,
    ops: ops::Raw,
    #[serde(default)]
    callers: BTreeMap<String, callers::Raw>,
    #[serde(default)]
    oidc: BTreeMap<String, oidc::Raw>,
    store: store::Raw,
    #[serde(default, deserialize_with = "values::named")]
    templates: BTreeMap<String, Uuid>,
    connect: connect::Raw,
    documents: documents::Raw,
    #[serde(default)]
    webhooks: BTreeMap<String, webhooks::Raw>,
    audit: Audit,
    budget: Budget,
    stop: Stop,
    log: Log,
    otel: Otel,
    signer: signer::Raw,
}

impl Config {
    /// The fingerprint of the key that must not be used: a real account server must never trust the example key
    /// (rule S4).
    pub fn barred_key(&self) -> Option<&'static str> {
        (!self.upstream.is_emulator()).then_some(EXAMPLE_KEY_FINGERPRINT)
    }

    /// Whether anything that the upstream pushes can be believed: by keys that are everybody's, or one sender's.
    pub fn has_hmac_keys(&self) -> bool {
        !self.connect.hmac_keys.is_empty() || self.senders.values().any(|sender| !sender.hmac_keys.is_empty())
    }

    /// Loads defaults, then the file if there is one, then the environment.
    ///
    /// In a thread of its own: with thousands of senders the layers are many times what stays of them, and
    /// the allocator gives that back only where nothing that stays lies between.
    pub fn load(path: Option<&Path>, variables: &Variables) -> Result<Self, ConfigError> {
        let read = std::thread::scope(|scope| scope.spawn(|| Self::read(path, variables)).join());
        let config = read.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        Ok(config.clone())
    }

    fn read(path: Option<&Path>, variables: &Variables) -> Result<Self, ConfigError> {
        let file = match path {
            Some(path) => Some((path.display().to_string(), layers::read(path)?)),
            None => None,
        };
        let file = file.as_ref().map(|(name, text)| (name.as_str(), text.as_str()));
        let config = Self::from_layers(file, variables)?;
        let exposed = path.zip(file).map(|(path, (_, text))| exposed::exposed(path, text));
        Ok(Self { exposed: exposed.unwrap_or_default(), ..config })
    }

    /// Defaults, then this text as the settings file. The environment is not asked.
    pub fn from_toml(text: &str) -> Result<Self, ConfigError> {
        Self::from_layers(Some(("settings", text)), &Variables::default())
    }

    fn from_layers(file: Option<(&str, &str)>, variables: &Variables) -> Result<Self, ConfigError> {
        let figment = layers::stack(file, variables)?;
        let raw: Raw = figment.extract().map_err(ConfigError::from_figment)?;
        let credentials = Credentials(variables.credentials_directory());
        let checked = Self::check(raw, &credentials).map(|mut config| {
            webhooks::note_origins(&mut config.webhooks, &figment);
            Self { written: Written::of(&figment), ..config }
        });
        checked.map_err(|mut error| {
            if file.is_none() {
                error.fix.push_str("; no settings file was named (--config FILE)");
            }
            // Where only a default stands, nobody wrote it, and its file is inside of the binary.
            let source_name =
                origin_of(&figment, &error.setting).filter(|name| name != layers::DEFAULTS_NAME);
            error.found_in(source_name)
        })
    }

    fn check(raw: Raw, credentials: &Credentials) -> Result<Self, ConfigError> {
        let upstream = raw.upstream.check()?;
        values::checked_names("templates", raw.templates.keys())?;
        raw.budget.check()?;
        raw.otel.check()?;
        let environment = upstream.environment();
        let store = raw.store.check(credentials, environment)?;
        let callers: Vec<String> = raw.callers.keys().cloned().collect();
        let config = Self {
            senders: each(raw.senders, |sender, name| sender.check(name, credentials))?,
            api: raw.api.check(credentials)?,
            public: raw.public.check(environment, credentials)?,
            ops: raw.ops.check(credentials)?,
            callers: each(raw.callers, |caller, name| caller.check(name, environment))?,
            oidc: each(raw.oidc, |issuer, name| issuer.check(name, credentials))?,
            templates: raw.templates,
            written: Written::default(),
            exposed: Vec::new(),
            connect: raw.connect.check(credentials)?,
            documents: raw.documents.check(&store.url)?,
            store,
            webhooks: each(raw.webhooks, |webhook, name| {
                webhook.check(name, environment, credentials, &callers)
            })?,
            audit: raw.audit,
            budget: raw.budget,
            stop: raw.stop,
            log: raw.log,
            otel: raw.otel,
            signer: raw.signer.check(credentials)?,
            upstream,
        };
        config.check_together()?;
        Ok(config)
    }

    /// What concerns two sections.
    fn check_together(&self) -> Result<(), ConfigError> {
        if self.senders.is_empty() {
            let fix = "add a table [senders.system] with integration_key, user_id and keys";
            return Err(ConfigError::new("senders", "there is no sender", fix));
        }
        for (name, sender) in &self.senders {
            sender.check_devices(name, self.signer.pkcs11.is_some())?;
        }
        if self.signer.isolate {
            for (name, sender) in &self.senders {
                sender.check_isolated(name)?;
            }
        }
        for (name, caller) in &self.callers {
            caller.check_names(name, &self.senders, &self.templates, &self.oidc)?;
            if !caller.certificates.is_empty() && self.api.client_ca.is_none() {
                let fix = "set api.client_ca to the CA of the callers' certificates, or take the names out";
                let setting = format!("callers.{name}.certificates");
                return Err(ConfigError::new(setting, "nobody can show a certificate", fix));
            }
        }
        callers::check_apart(&self.callers)?;
        if let Some(issuer) = self.connect.oidc.keys().find(|issuer| !self.oidc.contains_key(*issuer)) {
            let fix = format!("add a table [oidc.{issuer}]");
            return Err(ConfigError::new("connect.oidc", format!("there is no issuer {issuer}"), fix));
        }
        let environment = self.upstream.environment();
        connect::check_keys("connect.hmac_keys", &self.connect.hmac_keys, environment)?;
        for (name, sender) in &self.senders {
            connect::check_keys(&format!("senders.{name}.hmac_keys"), &sender.hmac_keys, environment)?;
        }
        self.check_listeners()
    }

    fn check_listeners(&self) -> Result<(), ConfigError> {
        if self.connect.client_ca.is_some() && self.public.tls.is_none() {
            let fix =
                "add public.tls; or let the proxy that ends TLS ask for the certificate on /in/docusign/";
            return Err(ConfigError::new("connect.client_ca", "client certificates need TLS", fix));
        }
        let mut listeners = vec![("ops.listen", self.ops.listen)];
        if self.api.unix_socket.is_none() {
            listeners.push(("api.listen", self.api.listen));
        }
        if self.public.base_url.is_some() {
            listeners.push(("public.listen", self.public.listen));
        }
        for (index, (setting, address)) in listeners.iter().enumerate() {
            let twin = listeners[..index].iter().find(|(_, other)| address.port() != 0 && other == address);
            if let Some((other, _)) = twin {
                let cause = format!("the same address as {other}");
                return Err(ConfigError::new(*setting, cause, "give each listener its own port"));
            }
        }
        Ok(())
    }
}

/// Checks every named table of a section.
fn each<R, T>(
    raw: BTreeMap<String, R>,
    check: impl Fn(R, &str) -> Result<T, ConfigError>,
) -> Result<BTreeMap<String, T>, ConfigError> {
    raw.into_iter().map(|(name, table)| check(table, &name).map(|checked| (name, checked))).collect()
}

/// The file or variable that gave a setting; none if it is missing. For an entry of a list, that of
/// the list.
fn origin_of(figment: &Figment, setting: &str) -> Option<String> {
    let setting = match setting.rsplit_once('.') {
        Some((list, index)) if index.bytes().all(|c| c.is_ascii_digit()) => list,
        _ => setting,
    };
    figment.find_metadata(setting).map(|layer| layer.name.to_string())
}
