//! `[connect]`: what the upstream pushes to us.

use std::{collections::BTreeMap, path::PathBuf};

use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

use super::{
    CertificateName, ConfigError, Environment, SubjectRule,
    callers::Subjects,
    published,
    secret::{Credentials, Entry},
    values,
};

/// The fewest characters of a Connect key for a real upstream. Those that DocuSign makes have 44; what is short can be
/// found out from one delivery and its digest.
const MIN_KEY: usize = 16;

/// The section, checked.
#[derive(Debug, Clone)]
pub struct Connect {
    /// HMAC keys; a delivery must match one of them. Empty: no delivery can be believed.
    pub hmac_keys: Vec<SecretString>,
    /// Values of which the `Authorization` header of a delivery must carry one, after `Bearer`. Empty: it
    /// is not looked at.
    pub bearer_tokens: Vec<SecretString>,
    /// Whose access tokens a delivery must carry: subjects, by the issuer's name in `[oidc]`. Empty: nobody's.
    pub oidc: BTreeMap<String, Vec<SubjectRule>>,
    /// The CA that the client certificate of a delivery must come from. None: it needs none.
    pub client_ca: Option<PathBuf>,
    /// Names of which the certificate must carry one. Empty: any of that CA.
    pub certificates: Vec<CertificateName>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Raw {
    #[serde(deserialize_with = "values::one_or_many")]
    hmac_keys: Vec<Entry>,
    #[serde(deserialize_with = "values::one_or_many")]
    bearer_tokens: Vec<Entry>,
    #[serde(default)]
    oidc: BTreeMap<String, Subjects>,
    #[serde(default, deserialize_with = "values::maybe")]
    client_ca: Option<PathBuf>,
    #[serde(deserialize_with = "values::list")]
    certificates: Vec<CertificateName>,
}

impl Raw {
    pub(super) fn check(self, credentials: &Credentials) -> Result<Connect, ConfigError> {
        let reveal = |list: &str, entries: &[Entry]| {
            let each = entries.iter().enumerate();
            each.map(|(at, entry)| credentials.reveal(&format!("connect.{list}.{at}"), entry))
                .collect::<Result<Vec<_>, ConfigError>>()
        };
        if let Some(path) = &self.client_ca {
            values::readable("connect.client_ca", path)?;
        } else if !self.certificates.is_empty() {
            let fix = "name the CA that these certificates come from";
            return Err(ConfigError::new("connect.client_ca", "there are certificates without it", fix));
        }
        Ok(Connect {
            oidc: self.oidc.into_iter().map(|(issuer, subjects)| (issuer, subjects.0)).collect(),
            client_ca: self.client_ca,
            certificates: self.certificates,
            hmac_keys: reveal("hmac_keys", &self.hmac_keys)?,
            bearer_tokens: reveal("bearer_tokens", &self.bearer_tokens)?,
        })
    }
}

/// Why a text can be no Connect key. It is not repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ConnectKeyError {
    /// Nothing is left of it without quotes and blanks.
    #[error("empty")]
    Empty,
    /// An example shows it, and the events that it proves count (rule S4).
    #[error("this is the key of the emulator, which everybody has")]
    Published,
    /// Too few characters, and the events that it proves count.
    #[error("shorter than {} characters", MIN_KEY)]
    Short,
}

/// A Connect key without the quotes and blanks around it, which came with copying. Empty: it is none.
pub fn bare_connect_key(text: &str) -> &str {
    text.trim().trim_matches(['"', '\'']).trim()
}

/// The bare key, if deliveries may be proven with it. The events of the emulator count for nothing, so any key will do
/// for it.
pub fn connect_key(text: &str, environment: Environment) -> Result<&str, ConnectKeyError> {
    let key = bare_connect_key(text);
    let is_real = environment != Environment::Emulator;
    match key {
        "" => Err(ConnectKeyError::Empty),
        key if is_real && published::is_connect_key(key) => Err(ConnectKeyError::Published),
        key if is_real && key.chars().count() < MIN_KEY => Err(ConnectKeyError::Short),
        key => Ok(key),
    }
}

/// Refuses what is no key for this upstream.
pub(super) fn check_keys(
    setting: &str,
    keys: &[SecretString],
    environment: Environment,
) -> Result<(), ConfigError> {
    for (at, key) in keys.iter().enumerate() {
        connect_key(key.expose_secret(), environment).map_err(|why| {
            let fix = "write a key of Settings > Connect > Connect Keys at DocuSign";
            ConfigError::new(format!("{setting}.{at}"), why.to_string(), fix)
        })?;
    }
    Ok(())
}
