//! `[upstream]`: which DocuSign, and how patiently.
//!
//! Hosts follow from the environment: nobody can point a production key at another host by a typing
//! mistake, and the emulator and a real upstream cannot be mixed (rule S4).

use std::{path::PathBuf, time::Duration};

use serde::Deserialize;
use url::Url;

use super::{ConfigError, values};

/// developers.docusign.com/platform/auth/reference: one host each, worldwide.
const DEMO_HOST: &str = "https://account-d.docusign.com";
const PRODUCTION_HOST: &str = "https://account.docusign.com";

/// A DocuSign environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Environment {
    /// Developer accounts: nothing signed there binds anybody.
    Demo,
    /// `countersign emulate` on this machine.
    Emulator,
    /// The real thing.
    Production,
}

/// Whether what is signed binds anybody, as our API shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It does.
    Live,
    /// It does not.
    Test,
}

/// The section, checked.
#[derive(Debug, Clone)]
pub struct Upstream {
    environment: Environment,
    oauth_url: Url,
    other_oauth_url: Option<Url>,
    /// Certificates to trust instead of the system's; for the emulator only.
    pub ca_file: Option<PathBuf>,
    /// The proxy on the way to DocuSign; a bare origin.
    pub proxy: Option<Url>,
    /// Time to connect, TLS included.
    pub connect_timeout: Duration,
    /// Time for one call of the eSignature API.
    pub request_timeout: Duration,
    /// Time for one exchange with the account server.
    pub token_timeout: Duration,
    /// Calls open at once.
    pub max_connections: u32,
    /// Whether connections are kept open to the hosts of accounts.
    pub keep_warm: bool,
    /// Creates that may wait for an upstream that is away; beyond, new ones are refused.
    pub queue_limit: u32,
}

impl Upstream {
    /// Which DocuSign this is.
    pub fn environment(&self) -> Environment {
        self.environment
    }

    /// Whether it is the emulator.
    pub fn is_emulator(&self) -> bool {
        self.environment == Environment::Emulator
    }

    /// Whether what is signed there binds anybody.
    pub fn mode(&self) -> Mode {
        if self.environment == Environment::Production { Mode::Live } else { Mode::Test }
    }

    /// Where DocuSign's own pages come from that its focused view frames (how-to/request-signature-focused-view).
    pub fn apps_origin(&self) -> &'static str {
        match self.environment {
            Environment::Demo | Environment::Emulator => "https://apps-d.docusign.com",
            Environment::Production => "https://apps.docusign.com",
        }
    }

    /// The account server's origin, without a slash at its end: `/oauth/token` is added to it.
    pub fn oauth_base(&self) -> String {
        self.oauth_url.origin().ascii_serialization()
    }

    /// The account server of the other environment: production's for demo and the other way round. Only
    /// `doctor` asks it, whether what is unknown here is known there.
    pub fn other_oauth_base(&self) -> Option<String> {
        match self.environment {
            Environment::Demo => Some(PRODUCTION_HOST.to_owned()),
            Environment::Production => Some(DEMO_HOST.to_owned()),
            Environment::Emulator => {
                self.other_oauth_url.as_ref().map(|url| url.origin().ascii_serialization())
            }
        }
    }

    /// The `aud` of our assertions: the account server's bare host.
    pub fn audience(&self) -> &str {
        // An IPv6 host keeps its brackets here, as in the Host header.
        self.oauth_url.host_str().unwrap_or_default()
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Raw {
    environment: Environment,
    #[serde(default, deserialize_with = "values::maybe")]
    oauth_url: Option<Url>,
    #[serde(default, deserialize_with = "values::maybe")]
    other_oauth_url: Option<Url>,
    #[serde(default, deserialize_with = "values::maybe")]
    ca_file: Option<PathBuf>,
    #[serde(default, deserialize_with = "values::maybe")]
    proxy: Option<Url>,
    #[serde(deserialize_with = "values::given")]
    connect_timeout: Duration,
    #[serde(deserialize_with = "values::given")]
    request_timeout: Duration,
    #[serde(deserialize_with = "values::given")]
    token_timeout: Duration,
    #[serde(deserialize_with = "values::given")]
    max_connections: u32,
    #[serde(deserialize_with = "values::given")]
    keep_warm: bool,
    #[serde(deserialize_with = "values::given")]
    queue_limit: u32,
}

impl Raw {
    pub(super) fn check(self) -> Result<Upstream, ConfigError> {
        values::positive("upstream.connect_timeout", &self.connect_timeout)?;
        values::positive("upstream.request_timeout", &self.request_timeout)?;
        values::positive("upstream.token_timeout", &self.token_timeout)?;
        values::positive("upstream.max_connections", &self.max_connections)?;
        values::positive("upstream.queue_limit", &self.queue_limit)?;
        if self.environment != Environment::Emulator {
            let set = [
                ("oauth_url", self.oauth_url.is_some()),
                ("other_oauth_url", self.other_oauth_url.is_some()),
                ("ca_file", self.ca_file.is_some()),
            ];
            if let Some((name, _)) = set.iter().find(|(_, is_set)| *is_set) {
                let fix = "remove it, or set upstream.environment = \"emulator\"";
                return Err(ConfigError::new(format!("upstream.{name}"), "only for the emulator", fix));
            }
        }
        if let Some(proxy) = &self.proxy {
            proxy_origin(proxy)?;
        }
        let host = match self.environment {
            Environment::Demo => DEMO_HOST,
            Environment::Production => PRODUCTION_HOST,
            Environment::Emulator => {
                return self.emulator();
            }
        };
        let oauth_url = Url::parse(host).expect("a constant that parses");
        Ok(self.built(oauth_url))
    }

    fn emulator(mut self) -> Result<Upstream, ConfigError> {
        let setting = "upstream.oauth_url";
        let Some(url) = self.oauth_url.take() else {
            let fix = "write the address that `countersign emulate` prints";
            return Err(ConfigError::new(setting, "missing for the emulator", fix));
        };
        emulator_origin(setting, &url)?;
        if let Some(other) = &self.other_oauth_url {
            emulator_origin("upstream.other_oauth_url", other)?;
        }
        if self.proxy.is_some() {
            let fix = "remove it, or set upstream.environment to \"demo\" or \"production\"";
            return Err(ConfigError::new("upstream.proxy", "no proxy leads to the emulator", fix));
        }
        if let Some(path) = &self.ca_file {
            values::readable("upstream.ca_file", path)?;
        }
        Ok(self.built(url))
    }

    fn built(self, oauth_url: Url) -> Upstream {
        Upstream {
            environment: self.environment,
            oauth_url,
            other_oauth_url: self.other_oauth_url,
            ca_file: self.ca_file,
            proxy: self.proxy,
            connect_timeout: self.connect_timeout,
            request_timeout: self.request_timeout,
            token_timeout: self.token_timeout,
            max_connections: self.max_connections,
            keep_warm: self.keep_warm,
            queue_limit: self.queue_limit,
        }
    }
}

/// A proxy is a bare origin, too, wherever it is.
fn proxy_origin(url: &Url) -> Result<(), ConfigError> {
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        let fix = "write such as http://proxy.example.com:3128";
        return Err(ConfigError::new("upstream.proxy", "has a path", fix));
    }
    Ok(())
}

/// The emulator is a bare origin on this machine.
fn emulator_origin(setting: &str, url: &Url) -> Result<(), ConfigError> {
    if !values::is_loopback(url) {
        let fix = "write a loopback address, or set upstream.environment to \"demo\" or \"production\"";
        return Err(ConfigError::new(setting, "the emulator lives on this machine only", fix));
    }
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        return Err(ConfigError::new(setting, "has a path", "write only scheme, host and port"));
    }
    Ok(())
}
