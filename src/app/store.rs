//! From the settings to the store, and from the store's state to health.
//!
//! Whether it works is asked all the time, because nobody else notices that it has healed: while it fails,
//! callers are sent elsewhere, and so nothing is written.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::Context as _;
use jiff::SignedDuration;
use secrecy::ExposeSecret as _;

use crate::{
    app::{Parts, store_clock::Apart},
    clock::SharedClock,
    config::{Config, ConfigError, StoreUrl, Synchronous},
    domain::Private,
    ops::{Reason, Status},
    store::{self, Location, SealKeys, SharedStore},
};

/// What health calls it.
const PART: &str = "store";
/// How often it is asked.
const ASK_EVERY: Duration = Duration::from_secs(2);
/// How long it may take to answer: a disk that hangs gives no error.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where the store of the settings is, how it works, and the keys that it is sealed with.
pub fn located(config: &Config) -> anyhow::Result<(store::Settings, SealKeys)> {
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
    Ok((settings, SealKeys::new(current, older)))
}

/// Opens the store of the settings. What only a person can mend is a fault of the settings.
pub(super) async fn open(config: &Config, clock: &SharedClock) -> anyhow::Result<SharedStore> {
    let (settings, keys) = located(config)?;
    let opened = store::open(&settings, keys, Arc::clone(clock)).await;
    opened.map_err(|error| match error {
        store::Error::Unusable(text) => {
            let fix = "see deploy/upkeep.md for backups, deploy/rotation.md for seal keys";
            ConfigError::new("store", text, fix).into()
        }
        other => anyhow::Error::new(other),
    })
}

/// Keeps health up to date with the store.
pub(super) fn watch(parts: &Parts) {
    let is_clock_wrong = Arc::new(AtomicBool::new(false));
    parts.repeat("store health", ASK_EVERY, move |parts| ask(parts, Arc::clone(&is_clock_wrong)));
}

/// Asks once, for as long as that takes.
async fn ask(parts: Parts, is_clock_wrong: Arc<AtomicBool>) {
    let check = parts.store.check();
    tokio::pin!(check);
    let outcome = tokio::select! {
        biased;
        outcome = &mut check => outcome,
        () = parts.clock.sleep(PATIENCE) => {
            let detail = format!("the store has not answered for {} s", PATIENCE.as_secs());
            parts.health.set(Reason::new(PART, Status::NotReady, detail));
            check.await
        }
    };
    let reason = match outcome {
        Ok(()) => match clock_trouble(&parts, &is_clock_wrong).await {
            Some(detail) => Reason::new(PART, Status::NotReady, detail),
            None => Reason::new(PART, Status::Ready, "takes writes"),
        },
        Err(error) => {
            let after = SignedDuration::try_from(ASK_EVERY).unwrap_or_default();
            let next_try = parts.clock.now().saturating_add(after).ok();
            Reason { next_try, ..Reason::new(PART, Status::NotReady, error.to_string()) }
        }
    };
    parts.health.set(reason);
}

/// What is wrong with this machine's clock, if it is far from the database's. Says so once in the log, and once when
/// that is over.
async fn clock_trouble(parts: &Parts, was_wrong: &AtomicBool) -> Option<String> {
    let apart = Apart::measure(&*parts.store, &*parts.clock).await?;
    parts.metrics.store_clock_offset(apart.behind.as_secs_f64());
    let before = was_wrong.load(Ordering::Relaxed);
    let is_wrong = apart.is_too_far(before);
    was_wrong.store(is_wrong, Ordering::Relaxed);
    if is_wrong && !before {
        tracing::error!("not ready: {}", apart.detail());
    } else if before && !is_wrong {
        tracing::info!("this machine's clock agrees with the database's again");
    }
    is_wrong.then(|| apart.detail())
}
