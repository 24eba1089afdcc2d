//! `[store]`: durable state, and the keys that seal personal data in it (rule S2).

use std::{path::PathBuf, sync::Arc, time::Duration};

use aws_lc_rs::digest;
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use secrecy::{ExposeSecret as _, SecretBox, SecretString};
use serde::Deserialize;

use super::{
    ConfigError, Environment, published,
    secret::{Credentials, Entry, Forms},
    values,
};

/// The section, checked.
#[derive(Debug, Clone)]
pub struct Store {
    /// Which database.
    pub url: StoreUrl,
    /// Keys that seal personal data, the one in use first. Never empty.
    pub seal_keys: Vec<SealKey>,
    /// Personal data is destroyed this long after its signing has ended.
    pub retention: Duration,
    /// What a commit survives; SQLite and Postgres alike.
    pub synchronous: Synchronous,
}

/// Which database.
#[derive(Debug, Clone)]
pub enum StoreUrl {
    /// A whole `postgres://…` URL; it may hold a password.
    Postgres(SecretString),
    /// The file of an SQLite database.
    Sqlite(PathBuf),
}

/// What a commit survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Synchronous {
    /// A power cut.
    Full,
    /// A crash of the process.
    Normal,
    /// Neither.
    Off,
}

/// A key for sealing. Its id is derived from it, so that ids cannot be mixed up.
#[derive(Debug, Clone)]
pub struct SealKey {
    /// The first 8 hex digits of the SHA-256 over the key; stored beside what it sealed.
    pub id: String,
    /// 32 bytes.
    pub key: Arc<SecretBox<[u8; 32]>>,
}

impl SealKey {
    fn parse(setting: &str, text: &SecretString, environment: Environment) -> Result<Self, ConfigError> {
        let wrong = || {
            let fix = "make one with: openssl rand -base64 32";
            ConfigError::new(setting, "not base64 of 32 bytes", fix)
        };
        let bytes = zeroize::Zeroizing::new(BASE64.decode(text.expose_secret()).map_err(|_| wrong())?);
        let key: [u8; 32] = bytes.as_slice().try_into().map_err(|_| wrong())?;
        // Also a former one: what was sealed or signed with it is taken from anybody (rule S4).
        if environment != Environment::Emulator && published::is_seal_key(&key) {
            let fix = "make one with: openssl rand -base64 32; and start with a new store, as anybody could read this one";
            return Err(ConfigError::new(setting, "this is the key of an example, which everybody has", fix));
        }
        let digest = digest::digest(&digest::SHA256, &key);
        let id = digest.as_ref().first_chunk().copied().unwrap_or_default();
        let id = format!("{:08x}", u32::from_be_bytes(id));
        Ok(Self { id, key: Arc::new(SecretBox::new(Box::new(key))) })
    }
}

impl Store {
    /// What derived secrets hang on: the seal key in use, and the others, under which they are still taken.
    pub fn secrets(&self) -> (Vec<u8>, Vec<Vec<u8>>) {
        let mut all = self.seal_keys.iter().map(|key| key.key.expose_secret().to_vec());
        (all.next().unwrap_or_default(), all.collect())
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Raw {
    #[serde(default, deserialize_with = "values::maybe")]
    url: Option<String>,
    #[serde(default, deserialize_with = "values::maybe")]
    url_file: Option<PathBuf>,
    #[serde(default, deserialize_with = "values::maybe")]
    url_credential: Option<String>,
    #[serde(default, deserialize_with = "values::maybe")]
    seal_key: Option<String>,
    #[serde(default, deserialize_with = "values::maybe")]
    seal_key_file: Option<PathBuf>,
    #[serde(default, deserialize_with = "values::maybe")]
    seal_key_credential: Option<String>,
    #[serde(default, deserialize_with = "values::one_or_many")]
    seal_keys: Vec<Entry>,
    #[serde(deserialize_with = "values::given")]
    retention: Duration,
    synchronous: Synchronous,
}

/// Each is tried on what comes back from browsers.
const MOST_SEAL_KEYS: usize = 8;

/// What `url` is unless something says otherwise; the same as in `config/default.toml`.
const DEFAULT_URL: &str = "sqlite://countersign.db";

impl Raw {
    pub(super) fn check(
        self,
        credentials: &Credentials,
        environment: Environment,
    ) -> Result<Store, ConfigError> {
        let elsewhere = self.url_file.is_some() || self.url_credential.is_some();
        // The default is no second form: whoever gives a file need not unset it.
        let value = self.url.filter(|url| !(elsewhere && url == DEFAULT_URL));
        let url = Forms { value, file: self.url_file, credential: self.url_credential };
        let url = url.reveal("store.url", credentials)?.unwrap_or_else(|| DEFAULT_URL.into());
        let seal_key =
            Forms { value: self.seal_key, file: self.seal_key_file, credential: self.seal_key_credential };
        let setting = "store.seal_key";
        let seal_keys = match (seal_key.reveal(setting, credentials)?, self.seal_keys.as_slice()) {
            (None, []) => {
                let fix = "put back the one that this store is sealed with (in the file, or as \
                           COUNTERSIGN__STORE__SEAL_KEY); for a new store, make one with `openssl rand -base64 32` and \
                           keep it: without it sealed data is lost";
                return Err(ConfigError::new(setting, "missing", fix));
            }
            (Some(key), []) => vec![SealKey::parse(setting, &key, environment)?],
            (None, entries) if entries.len() > MOST_SEAL_KEYS => {
                let cause = format!("{} keys; {MOST_SEAL_KEYS} are the most", entries.len());
                let fix = "leave out the oldest of which the log has said that it may be taken out";
                return Err(ConfigError::new("store.seal_keys", cause, fix));
            }
            (None, entries) => entries
                .iter()
                .enumerate()
                .map(|(index, entry)| {
                    let setting = format!("store.seal_keys.{index}");
                    SealKey::parse(&setting, &credentials.reveal(&setting, entry)?, environment)
                })
                .collect::<Result<_, _>>()?,
            (Some(_), _) => {
                let cause = "given twice, also as store.seal_keys";
                return Err(ConfigError::new(setting, cause, "keep one of the two"));
            }
        };
        values::positive("store.retention", &self.retention)?;
        Ok(Store {
            url: store_url(&url)?,
            seal_keys,
            retention: self.retention,
            synchronous: self.synchronous,
        })
    }
}

fn store_url(url: &SecretString) -> Result<StoreUrl, ConfigError> {
    let refused = |cause: &str, fix: &str| Err(ConfigError::new("store.url", cause, fix));
    let text = url.expose_secret();
    if let Some(path) = text.strip_prefix("sqlite://") {
        if path.is_empty() || path.ends_with('/') {
            return refused("names no file", "write such as sqlite:///var/lib/countersign/countersign.db");
        }
        if path.contains(['?', '#']) {
            return refused("has options", "write only the path; the other settings of [store] do the rest");
        }
        return Ok(StoreUrl::Sqlite(PathBuf::from(path)));
    }
    if text.starts_with("postgres://") || text.starts_with("postgresql://") {
        let has_host = url::Url::parse(text).is_ok();
        if !has_host {
            return refused("not a Postgres URL", "write postgres://user:password@host/database");
        }
        return Ok(StoreUrl::Postgres(url.clone()));
    }
    refused("neither sqlite:// nor postgres://", "write such as sqlite://countersign.db")
}
