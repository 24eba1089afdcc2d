//! `[connect]`: what the upstream pushes to us.

use std::{collections::BTreeMap, path::PathBuf};

use secrecy::SecretString;
use serde::Deserialize;

use super::{
    CertificateName, ConfigError, SubjectRule,
    callers::Subjects,
    secret::{Credentials, Entry},
    values,
};

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
