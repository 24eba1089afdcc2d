//! From the settings to the store, and from the store's state to health.
//!
//! Whether it works is asked all the time, because nobody else notices that it has healed: while it fails,
//! callers are sent elsewhere, and so nothing is written.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::Context as _;
use jiff::SignedDuration;
use secrecy::ExposeSecret as _;
use url::Url;

use crate::{
    app::{Parts, store_clock::Apart},
    clock::SharedClock,
    config::{Config, ConfigError, StoreUrl, Synchronous},
    digest::{hex, sha256},
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
/// How long a failure is told of that the check knows nothing of: it may be met seldom.
const TOLD_FOR: Duration = Duration::from_secs(60);

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

/// By what `doctor` tells the daemon of these settings from another one: where its store is, and the environment. Not the
/// senders: who has just written one into the file is to hear of the daemon that still runs without it. It is the
/// beginning of a digest, because anybody who reaches `/readyz` reads it.
pub(crate) fn settings_id(config: &Config) -> String {
    let place = match &config.store.url {
        StoreUrl::Postgres(url) => database(url.expose_secret()),
        StoreUrl::Sqlite(path) => store::place_of_file(path).display().to_string(),
    };
    let text = format!("countersign settings\n{:?}\n{place}", config.upstream.environment());
    hex(&sha256(text.as_bytes())[..4])
}

/// The database that a URL leads to, however one logs in there: users and passwords change under a daemon.
fn database(url: &str) -> String {
    let Ok(url) = Url::parse(url) else { return String::new() };
    let is_place = |name: &str| matches!(name, "dbname" | "host" | "hostaddr" | "port");
    let more: Vec<_> = url.query_pairs().filter(|(name, _)| is_place(name)).collect();
    format!("{}:{}{} {more:?}", url.host_str().unwrap_or_default(), url.port().unwrap_or(5432), url.path())
}

/// Opens the store of the settings. What only a person can mend is a fault of the settings.
pub(super) async fn open(config: &Config, clock: &SharedClock) -> anyhow::Result<SharedStore> {
    let (settings, keys) = located(config)?;
    let opened = store::open(&settings, keys, Arc::clone(clock)).await;
    opened.map_err(|error| match error {
        store::Error::Unusable(text) => {
            let fix = "see deploy/upkeep.md for backups, deploy/rotation.md for seal keys, deploy/kubernetes.md for Postgres";
            ConfigError::new("store", text, fix).into()
        }
        other => anyhow::Error::new(other),
    })
}

/// What is remembered from one look to the next.
#[derive(Debug, Default)]
struct Before {
    is_clock_wrong: AtomicBool,
    trouble: Mutex<Option<(Duration, String)>>,
}

impl Before {
    /// What an operation has met, for a while after it was met last.
    fn trouble(&self, met: Option<String>, uptime: Duration) -> Option<String> {
        let mut last = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(why) = met {
            *last = Some((uptime, why));
        }
        let is_recent = |(met_at, _): &&(Duration, String)| uptime.saturating_sub(*met_at) < TOLD_FOR;
        last.as_ref().filter(is_recent).map(|(_, why)| why.clone())
    }
}

/// Keeps health up to date with the store.
pub(super) fn watch(parts: &Parts) {
    let before = Arc::new(Before::default());
    parts.repeat("store health", ASK_EVERY, move |parts| ask(parts, Arc::clone(&before)));
}

/// Asks once, for as long as that takes.
async fn ask(parts: Parts, before: Arc<Before>) {
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
    let met = parts.store.trouble();
    let reason = match outcome {
        Ok(()) => match clock_trouble(&parts, &before.is_clock_wrong).await {
            Some(detail) => Reason::new(PART, Status::NotReady, detail),
            None => working(before.trouble(met, parts.clock.uptime())),
        },
        // What the check itself has met is over with it.
        Err(error) => {
            let after = SignedDuration::try_from(ASK_EVERY).unwrap_or_default();
            let next_try = parts.clock.now().saturating_add(after).ok();
            Reason { next_try, ..Reason::new(PART, Status::NotReady, error.to_string()) }
        }
    };
    parts.health.set(reason);
}

/// It answers and can be written. Something in it may fail all the same, of which others know nothing: those are served.
fn working(trouble: Option<String>) -> Reason {
    match trouble {
        Some(why) => {
            let detail = format!("takes writes, and an operation has failed within the last minute: {why}");
            Reason::new(PART, Status::Degraded, detail)
        }
        None => Reason::new(PART, Status::Ready, "takes writes"),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_known_by_the_place_of_the_store_and_not_by_how_one_logs_in() {
        let id = |url: &str, more: &str| {
            let text = format!(
                "[senders.system]\nintegration_key = \"5e0b1c8d-9a47-4c7e-8d21-6f3a2b900001\"\n\
                 user_id = \"b7d7a1c4-52e8-4d0f-9b6a-7e3f0c210001\"\nkeys = [\"key.pem\"]\n\
                 [store]\nseal_key = \"QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWY=\"\nurl = \"{url}\"\n{more}"
            );
            settings_id(&Config::from_toml(&text).unwrap())
        };
        let ours = id("postgres://daemon:secret@db.example/countersign", "");
        assert!(ours.len() == 8 && ours.bytes().all(|byte| byte.is_ascii_hexdigit()), "{ours}");
        for same in [
            "postgres://another:new@db.example/countersign",
            "postgresql://db.example:5432/countersign?sslmode=disable&password=x",
        ] {
            assert_eq!(id(same, ""), ours, "{same}");
        }
        for other in [
            "postgres://daemon:secret@db.example/another",
            "postgres://daemon:secret@other.example/countersign",
            "postgres://daemon:secret@db.example:5433/countersign",
            "postgres://daemon:secret@db.example/countersign?host=/run/postgresql",
            "sqlite://countersign.db",
        ] {
            assert_ne!(id(other, ""), ours, "{other}");
        }
        let here = std::env::current_dir().unwrap().join("countersign.db").display().to_string();
        assert_eq!(id("sqlite://countersign.db", ""), id(&format!("sqlite://{here}"), ""), "one file");
        let folder = std::env::temp_dir().join(format!("countersign-settings-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("data")).unwrap();
        let at = |name: &str| id(&format!("sqlite://{}", folder.join(name).display()), "");
        std::os::unix::fs::symlink("data", folder.join("folder")).unwrap();
        // Before the first start there is no file.
        std::os::unix::fs::symlink("data/store.db", folder.join("link.db")).unwrap();
        let links = ["link.db", "folder/store.db", "data/../data/store.db"].map(at);
        let (real, other) = (at("data/store.db"), at("data/other.db"));
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(links.iter().all(|link| *link == real) && other != real, "one file by four names");
        assert_ne!(id("sqlite:///a/countersign.db", ""), id("sqlite:///b/countersign.db", ""));
        let demo = "[upstream]\nenvironment = \"demo\"\n";
        let production = demo.replace("demo", "production");
        assert_ne!(id("sqlite:///a.db", demo), id("sqlite:///a.db", &production));
    }

    #[test]
    fn what_an_operation_has_met_is_told_for_a_minute_after_it_was_met_last() {
        let before = Before::default();
        let told =
            |why: Option<&str>, second| before.trouble(why.map(str::to_owned), Duration::from_secs(second));
        assert_eq!(told(None, 0), None);
        assert_eq!(told(Some("a"), 2).as_deref(), Some("a"));
        assert_eq!(told(None, 61).as_deref(), Some("a"));
        assert_eq!(told(Some("b"), 61).as_deref(), Some("b"), "the last one");
        assert_eq!(told(None, 120).as_deref(), Some("b"));
        assert_eq!(told(None, 121), None);
        let (degraded, ready) = (working(Some("b".to_owned())), working(None));
        assert_eq!((degraded.status, ready.status), (Status::Degraded, Status::Ready));
        assert!(degraded.detail.ends_with(": b"), "{}", degraded.detail);
    }
}
