//! `[oidc.NAME]`: who issues tokens that callers may show instead of an API key.

use std::{path::PathBuf, time::Duration};

use serde::Deserialize;
use url::Url;

use super::{
    ConfigError,
    secret::{self, Credentials},
    values,
    values::Setting,
};

/// An issuer, checked.
#[derive(Debug, Clone)]
pub struct Oidc {
    /// What `iss` says.
    pub issuer: String,
    /// What `aud` must hold.
    pub audience: String,
    /// Where its keys are: this, or the file.
    pub jwks_url: Option<Url>,
    /// Its keys, a JWK set.
    pub jwks_file: Option<PathBuf>,
    /// The CA of `jwks_url`.
    pub ca_file: Option<PathBuf>,
    /// A bearer token to show at `jwks_url`, in a file that changes.
    pub token_file: Option<PathBuf>,
    /// The signatures that are taken, by their names in RFC 7518.
    pub algorithms: Vec<TokenAlgorithm>,
    /// After so long the keys are read again.
    pub refresh: Duration,
    /// Keys older than this are not believed.
    pub max_age: Duration,
}

/// A signature by a key pair; shared secrets are not among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenAlgorithm(&'static str);

impl TokenAlgorithm {
    const ALL: [&'static str; 9] =
        ["ES256", "ES384", "EdDSA", "PS256", "PS384", "PS512", "RS256", "RS384", "RS512"];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        self.0
    }
}

impl Setting for TokenAlgorithm {
    fn parse(text: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|name| *name == text).map(Self);
        known.ok_or_else(|| format!("not a signature that is taken; write one of {}", Self::ALL.join(", ")))
    }
}

/// A subject, or with a `*` at its end all that begin so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubjectRule {
    text: String,
    is_prefix: bool,
}

impl SubjectRule {
    /// Whether it speaks of this subject.
    pub fn matches(&self, subject: &str) -> bool {
        if self.is_prefix { subject.starts_with(&self.text) } else { subject == self.text }
    }

    /// The greater, the more it says.
    pub fn precision(&self) -> (bool, usize) {
        (!self.is_prefix, self.text.len())
    }
}

impl Setting for SubjectRule {
    fn parse(text: &str) -> Result<Self, String> {
        let (text, is_prefix) = text.strip_suffix('*').map_or((text, false), |prefix| (prefix, true));
        if text.is_empty() {
            return Err("everybody whom the issuer knows; write a subject, or its beginning and a *".into());
        }
        if text.contains('*') {
            return Err("has a * before its end; write a subject, or its beginning and a *".into());
        }
        Ok(Self { text: text.to_owned(), is_prefix })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Raw {
    #[serde(default, deserialize_with = "values::maybe")]
    issuer: Option<String>,
    #[serde(default, deserialize_with = "values::maybe")]
    audience: Option<String>,
    #[serde(default, deserialize_with = "values::maybe")]
    jwks_url: Option<Url>,
    #[serde(default, deserialize_with = "values::maybe")]
    jwks_file: Option<PathBuf>,
    #[serde(default, deserialize_with = "values::maybe")]
    ca_file: Option<PathBuf>,
    #[serde(default, deserialize_with = "values::maybe")]
    token_file: Option<PathBuf>,
    #[serde(default, deserialize_with = "values::maybe")]
    token_credential: Option<String>,
    #[serde(deserialize_with = "values::list")]
    algorithms: Vec<TokenAlgorithm>,
    #[serde(deserialize_with = "values::given")]
    refresh: Duration,
    #[serde(deserialize_with = "values::given")]
    max_age: Duration,
}

impl Raw {
    pub(super) fn check(self, name: &str, credentials: &Credentials) -> Result<Oidc, ConfigError> {
        let setting = |key: &str| format!("oidc.{name}.{key}");
        let missing = |key: &str, fix: &str| ConfigError::new(setting(key), "missing", fix);
        let fix = "write what the tokens say in iss, such as https://kubernetes.default.svc.cluster.local";
        let issuer = self.issuer.ok_or_else(|| missing("issuer", fix))?;
        let fix = "write what the tokens are issued for, such as \"countersign\"";
        let audience = self.audience.ok_or_else(|| missing("audience", fix))?;
        match (&self.jwks_url, &self.jwks_file) {
            (Some(_), Some(_)) => {
                let cause = format!("given twice, also as {}", setting("jwks_file"));
                return Err(ConfigError::new(setting("jwks_url"), cause, "keep one of the two"));
            }
            (None, None) => {
                return Err(missing("jwks_url", "write where the issuer publishes its keys, or jwks_file"));
            }
            (Some(url), None) if url.scheme() != "https" && !values::is_loopback(url) => {
                let fix = "use https: who changes the keys on the way is everybody";
                return Err(ConfigError::new(setting("jwks_url"), "plain http outside of loopback", fix));
            }
            (None, Some(path)) => values::readable(&setting("jwks_file"), path)?,
            (Some(_), None) => {}
        }
        if let Some(path) = &self.ca_file {
            values::readable(&setting("ca_file"), path)?;
        }
        let token_file =
            secret::place(&setting("token"), self.token_file, self.token_credential, credentials)?;
        if self.algorithms.is_empty() {
            return Err(ConfigError::new(setting("algorithms"), "empty", "write such as [\"RS256\"]"));
        }
        values::positive(&setting("refresh"), &self.refresh)?;
        if self.max_age < self.refresh {
            let fix = "write a longer time than refresh";
            return Err(ConfigError::new(setting("max_age"), "shorter than refresh", fix));
        }
        let Self { jwks_url, jwks_file, ca_file, algorithms, refresh, max_age, .. } = self;
        let checked =
            Oidc { issuer, audience, jwks_url, jwks_file, ca_file, token_file, algorithms, refresh, max_age };
        Ok(checked)
    }
}
