//! `[api]`: the listener for callers.

use std::{net::SocketAddr, path::PathBuf};

use serde::Deserialize;

use super::{ConfigError, values, values::ByteSize};

/// The section, checked.
#[derive(Debug, Clone)]
pub struct Api {
    /// TCP address; not used when `unix_socket` is set.
    pub listen: SocketAddr,
    /// A socket served instead of the TCP address.
    pub unix_socket: Option<PathBuf>,
    /// Speak TLS.
    pub tls: Option<Tls>,
    /// The CA that callers' certificates must come from. Only together with `tls`.
    pub client_ca: Option<PathBuf>,
    /// Largest request.
    pub body_limit: ByteSize,
}

/// A listener's certificate.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// Certificate chain, PEM.
    #[serde(deserialize_with = "values::given")]
    pub cert_file: PathBuf,
    /// Its private key, PEM.
    #[serde(deserialize_with = "values::given")]
    pub key_file: PathBuf,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Raw {
    #[serde(deserialize_with = "values::given")]
    listen: SocketAddr,
    #[serde(default, deserialize_with = "values::maybe")]
    unix_socket: Option<PathBuf>,
    #[serde(default)]
    tls: Option<Tls>,
    #[serde(default, deserialize_with = "values::maybe")]
    client_ca: Option<PathBuf>,
    #[serde(deserialize_with = "values::given")]
    body_limit: ByteSize,
}

impl Raw {
    pub(super) fn check(self) -> Result<Api, ConfigError> {
        if let Some(tls) = &self.tls {
            values::readable("api.tls.cert_file", &tls.cert_file)?;
            values::readable("api.tls.key_file", &tls.key_file)?;
            if self.unix_socket.is_some() {
                let fix = "remove api.tls or api.unix_socket";
                return Err(ConfigError::new("api.tls", "a unix socket speaks no TLS", fix));
            }
        }
        if let Some(path) = &self.client_ca {
            values::readable("api.client_ca", path)?;
            if self.tls.is_none() {
                let fix = "add api.tls with cert_file and key_file";
                return Err(ConfigError::new("api.client_ca", "client certificates need TLS", fix));
            }
        }
        if self.body_limit.bytes() < 1024 {
            let fix = "write more, such as \"50MiB\"";
            return Err(ConfigError::new("api.body_limit", "smaller than any request (1 KiB)", fix));
        }
        Ok(Api {
            listen: self.listen,
            unix_socket: self.unix_socket,
            tls: self.tls,
            client_ca: self.client_ca,
            body_limit: self.body_limit,
        })
    }
}
