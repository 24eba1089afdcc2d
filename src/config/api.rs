//! `[api]`: the listener for callers.

use std::{net::SocketAddr, path::PathBuf};

use serde::Deserialize;

use super::{
    ConfigError,
    secret::{self, Credentials},
    values,
    values::ByteSize,
};

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
    /// That CA's revocation lists. Only together with `client_ca`.
    pub client_crl: Option<PathBuf>,
    /// Whether requests that came through a proxy are answered on a loopback address.
    pub allow_forwarded: bool,
    /// Largest request.
    pub body_limit: ByteSize,
    /// Bytes of large requests in memory at once; further ones wait for a moment and are refused then.
    pub bodies_at_once: ByteSize,
    /// Creates under way at once; further ones are refused.
    pub creates_at_once: u32,
    /// Largest request that is passed through; it streams and is not kept in memory.
    pub passthrough_limit: ByteSize,
}

/// A listener's certificate, whose files are there.
#[derive(Debug, Clone)]
pub struct Tls {
    /// Certificate chain, PEM.
    pub cert_file: PathBuf,
    /// Its private key, PEM.
    pub key_file: PathBuf,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTls {
    #[serde(deserialize_with = "values::given")]
    cert_file: PathBuf,
    #[serde(default, deserialize_with = "values::maybe")]
    key_file: Option<PathBuf>,
    #[serde(default, deserialize_with = "values::maybe")]
    key_credential: Option<String>,
}

impl RawTls {
    pub(super) fn check(self, listener: &str, credentials: &Credentials) -> Result<Tls, ConfigError> {
        values::readable(&format!("{listener}.tls.cert_file"), &self.cert_file)?;
        let setting = format!("{listener}.tls.key");
        let key_file = secret::place(&setting, self.key_file, self.key_credential, credentials)?;
        let key_file = key_file.ok_or_else(|| {
            let fix = "name the file of the certificate's private key, or its key_credential";
            ConfigError::new(format!("{setting}_file"), "missing", fix)
        })?;
        Ok(Tls { cert_file: self.cert_file, key_file })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Raw {
    #[serde(deserialize_with = "values::given")]
    listen: SocketAddr,
    #[serde(default, deserialize_with = "values::maybe")]
    unix_socket: Option<PathBuf>,
    #[serde(default)]
    tls: Option<RawTls>,
    #[serde(default, deserialize_with = "values::maybe")]
    client_ca: Option<PathBuf>,
    #[serde(default, deserialize_with = "values::maybe")]
    client_crl: Option<PathBuf>,
    #[serde(deserialize_with = "values::given")]
    allow_forwarded: bool,
    #[serde(deserialize_with = "values::given")]
    body_limit: ByteSize,
    #[serde(deserialize_with = "values::given")]
    bodies_at_once: ByteSize,
    #[serde(deserialize_with = "values::given")]
    creates_at_once: u32,
    #[serde(deserialize_with = "values::given")]
    passthrough_limit: ByteSize,
}

impl Raw {
    pub(super) fn check(self, credentials: &Credentials) -> Result<Api, ConfigError> {
        let tls = self.tls.map(|tls| tls.check("api", credentials)).transpose()?;
        if tls.is_some() && self.unix_socket.is_some() {
            let fix = "remove api.tls or api.unix_socket";
            return Err(ConfigError::new("api.tls", "a unix socket speaks no TLS", fix));
        }
        if let Some(path) = &self.client_ca {
            values::readable("api.client_ca", path)?;
            if tls.is_none() {
                let fix = "add api.tls with cert_file and key_file";
                return Err(ConfigError::new("api.client_ca", "client certificates need TLS", fix));
            }
        }
        if let Some(path) = &self.client_crl {
            values::readable("api.client_crl", path)?;
            if self.client_ca.is_none() {
                let fix = "add api.client_ca with the CA that the list is of";
                return Err(ConfigError::new("api.client_crl", "a revocation list without its CA", fix));
            }
        }
        if self.body_limit.bytes() < 1024 {
            let fix = "write more, such as \"50MiB\"";
            return Err(ConfigError::new("api.body_limit", "smaller than any request (1 KiB)", fix));
        }
        values::positive("api.creates_at_once", &self.creates_at_once)?;
        Ok(Api {
            listen: self.listen,
            unix_socket: self.unix_socket,
            tls,
            client_ca: self.client_ca,
            client_crl: self.client_crl,
            allow_forwarded: self.allow_forwarded,
            body_limit: self.body_limit,
            // The largest of them must have room.
            bodies_at_once: self.bodies_at_once.max(self.body_limit),
            creates_at_once: self.creates_at_once,
            passthrough_limit: self.passthrough_limit,
        })
    }
}
