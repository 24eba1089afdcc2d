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
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Raw {
    #[serde(deserialize_with = "values::one_or_many")]
    hmac_keys: Vec<Entry>,
}

impl Raw {
    pub(super) fn check(self, credentials: &Credentials) -> Result<Connect, ConfigError> {
        let reveal = |(index, entry)| credentials.reveal(&format!("connect.hmac_keys.{index}"), entry);
        Ok(Connect { hmac_keys: self.hmac_keys.iter().enumerate().map(reveal).collect::<Result<_, _>>()? })
    }
}
