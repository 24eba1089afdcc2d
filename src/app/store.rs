//! From the settings to the store, and from the store's state to health.
//!
//! Whether it works is asked all the time, because nobody else notices that it has healed: while it fails,
//! callers are sent elsewhere, and so nothing is written.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use jiff::SignedDuration;
use secrecy::ExposeSecret as _;

use crate::{
    app::Parts,
    clock::SharedClock,
    config::{Config, ConfigError, StoreUrl, Synchronous},
    domain::Private,
    ops::{PartStatus, Reason},
    store::{self, Location, SealKeys, SharedStore},
};

/// What health calls it.
const PART: &str = "store";
/// How often it is asked.
const ASK_EVERY: Duration = Duration::from_secs(2);
/// How long it may take to answer: a disk that hangs gives no error.
const PATIENCE: Duration = Duration::from_secs(10);

/// Opens the store of the settings. What only a person can mend is a fault of the settings.
pub(super) async fn open(config: &Config, clock: &SharedClock) -> anyhow::Result<SharedStore> {
    let keys: Vec<_> = config.store.seal_keys.iter().map(|key| *key.key.expose_secret()).collect();
    let (current, older) = keys.split_first().context("there is no seal key")?;
    let location = match &config.store.url {
        StoreUrl::Postgres(url) => Location::Postgres { url: Private::new(url.expose_secret().to_owned()) },
        StoreUrl::Sqlite(path) => Location::Sqlite { path: path.clone() },
    };
    let synchronous = match config.store.synchronous {
        Synchronous::Full => store::Synchronous::Full,
        Synchronous::Normal => store::Synchronous::Normal,
        Synchronous::Off => store::Synchronous::Off,
    };
    let settings = store::Settings { synchronous, ..store::Settings::new(location) };
    let opened = store::open(&settings, SealKeys::new(current, older), Arc::clone(clock)).await;
    opened.map_err(|error| match error {
        store::Error::Unusable(text) => {
            ConfigError::new("store", text, "see deploy/README.md for backup and keys").into()
        }
        other => anyhow::Error::new(other),
    })
}

/// Keeps health up to date with the store.
pub(super) fn watch(parts: &Parts) {
    parts.repeat("store health", ASK_EVERY, ask);
}

/// Asks once, for as long as that takes.
async fn ask(parts: Parts) {
    let check = parts.store.check();
    tokio::pin!(check);
    let outcome = tokio::select! {
        biased;
        outcome = &mut check => outcome,
        () = parts.clock.sleep(PATIENCE) => {
            let detail = format!("the store has not answered for {} s", PATIENCE.as_secs());
            parts.health.set(Reason::new(PART, PartStatus::NotReady, detail));
            check.await
        }
    };
    let reason = match outcome {
        Ok(()) => Reason::new(PART, PartStatus::Ready, "takes writes"),
        Err(error) => {
            let after = SignedDuration::try_from(ASK_EVERY).unwrap_or_default();
            let next_try = parts.clock.now().saturating_add(after).ok();
            Reason { next_try, ..Reason::new(PART, PartStatus::NotReady, error.to_string()) }
        }
    };
    parts.health.set(reason);
}
