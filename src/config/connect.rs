//! `[connect]`: what the upstream pushes to us.

use std::{collections::BTreeMap, fmt::Write as _, path::PathBuf};

use aws_lc_rs::digest;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

use super::{
    CertificateName, ConfigError, SubjectRule,
    callers::Subjects,
    secret::{Credentials, Entry},
    values,
};

/// SHA-256 of the key of `countersign emulate`, which `config/local.toml` has: with it anybody can write events.
const EMULATED_KEY_DIGEST: &str = "95aea4e38351a637404b7836111567063b454112924be780967793ceb59f59b5";

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

/// Refuses the key that everybody has, where the events that it proves count (rule S4).
pub(super) fn check_own(setting: &str, keys: &[SecretString]) -> Result<(), ConfigError> {
    let is_emulated = |key: &SecretString| {
        let digest = digest::digest(&digest::SHA256, key.expose_secret().as_bytes());
        let mut hex = String::new();
        for byte in digest.as_ref() {
            // Writing into a string cannot fail.
            let _ = write!(hex, "{byte:02x}");
        }
        hex == EMULATED_KEY_DIGEST
    };
    let Some(at) = keys.iter().position(is_emulated) else { return Ok(()) };
    let fix = "write a key of Settings > Connect > Connect Keys at DocuSign";
    Err(ConfigError::new(
        format!("{setting}.{at}"),
        "this is the key of the emulator, which everybody has",
        fix,
    ))
}
