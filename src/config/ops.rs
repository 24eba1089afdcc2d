//! `[ops]`: the listener for operators.

use std::{net::SocketAddr, path::PathBuf};

use argon2::PasswordHash;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

use super::{
    ConfigError, Tls,
    api::RawTls,
    secret::{Credentials, Forms},
    values,
};

/// The section, checked.
#[derive(Debug, Clone)]
pub struct Ops {
    /// TCP address.
    pub listen: SocketAddr,
    /// Speak TLS.
    pub tls: Option<Tls>,
    /// Whether requests that came through a proxy are answered on a loopback address.
    pub allow_forwarded: bool,
    /// Argon2 hash of the operators' password, PHC text. None: the status page is off.
    pub operator_password_hash: Option<SecretString>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Raw {
    #[serde(deserialize_with = "values::given")]
    listen: SocketAddr,
    #[serde(default)]
    tls: Option<RawTls>,
    #[serde(deserialize_with = "values::given")]
    allow_forwarded: bool,
    #[serde(default, deserialize_with = "values::maybe")]
    operator_password_hash: Option<String>,
    #[serde(default, deserialize_with = "values::maybe")]
    operator_password_hash_file: Option<PathBuf>,
    #[serde(default, deserialize_with = "values::maybe")]
    operator_password_hash_credential: Option<String>,
}

impl Raw {
    pub(super) fn check(self, credentials: &Credentials) -> Result<Ops, ConfigError> {
        let setting = "ops.operator_password_hash";
        let forms = Forms {
            value: self.operator_password_hash,
            file: self.operator_password_hash_file,
            credential: self.operator_password_hash_credential,
        };
        let hash = forms.reveal(setting, credentials)?;
        if let Some(text) = &hash {
            let is_argon2 = PasswordHash::new(text.expose_secret())
                .is_ok_and(|hash| hash.algorithm.as_str().starts_with("argon2") && hash.hash.is_some());
            if !is_argon2 {
                let fix = "make it with `countersign operator password`; the text begins with $argon2id$";
                return Err(ConfigError::new(setting, "not an argon2 hash", fix));
            }
        }
        let tls = self.tls.map(|tls| tls.check("ops", credentials)).transpose()?;
        let (listen, allow_forwarded) = (self.listen, self.allow_forwarded);
        Ok(Ops { listen, tls, allow_forwarded, operator_password_hash: hash })
    }
}
