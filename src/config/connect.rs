//! `[connect]`: what the upstream pushes to us.

use secrecy::SecretString;
use serde::Deserialize;

use super::{
    ConfigError,
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
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Raw {
    #[serde(deserialize_with = "values::one_or_many")]
    hmac_keys: Vec<Entry>,
    #[serde(deserialize_with = "values::one_or_many")]
    bearer_tokens: Vec<Entry>,
}

impl Raw {
    pub(super) fn check(self, credentials: &Credentials) -> Result<Connect, ConfigError> {
        let reveal = |list: &str, entries: &[Entry]| {
            let each = entries.iter().enumerate();
            each.map(|(at, entry)| credentials.reveal(&format!("connect.{list}.{at}"), entry))
                .collect::<Result<Vec<_>, ConfigError>>()
        };
        Ok(Connect {
            hmac_keys: reveal("hmac_keys", &self.hmac_keys)?,
            bearer_tokens: reveal("bearer_tokens", &self.bearer_tokens)?,
        })
    }
}
