//! The store's conformance: one suite, run on SQLite and on a real Postgres.

mod model;
mod outbox;
pub(crate) mod retention;
pub(crate) mod samples;
mod schema;
mod sealing;
mod signings;
mod week;

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use countersign::{
    clock::ManualClock,
    domain::{Event, Private},
    store::{self, EventFilter, Location, SealKeys, Settings, SharedStore},
};
use jiff::Timestamp;

use crate::waiting::found;

/// Declares that each test runs on both stores.
macro_rules! on_both {
    ($($name:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::$name(crate::store::Fixture::sqlite()).await;
            })*
        }

        mod postgres {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                if let Some(fixture) = crate::store::Fixture::postgres() {
                    super::$name(fixture).await;
                }
            })*
        }
    };
}
pub(crate) use on_both;

/// A database of its own, empty at first, and a clock that stands still.
pub(crate) struct Fixture {
    pub(crate) location: Location,
    pub(crate) clock: ManualClock,
    folder: Option<PathBuf>,
}

impl Fixture {
    pub(crate) fn sqlite() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("countersign-store-{}-{number}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        let location = Location::Sqlite { path: folder.join("store.db") };
        Self { location, clock: ManualClock::new(samples::START), folder: Some(folder) }
    }

    pub(crate) fn postgres() -> Option<Self> {
        let location = Location::Postgres { url: Private::new(crate::postgres::database()?) };
        Some(Self { location, clock: ManualClock::new(samples::START), folder: None })
    }

    pub(crate) async fn open(&self) -> SharedStore {
        self.try_open(key(1)).await.unwrap()
    }

    pub(crate) async fn try_open(&self, keys: SealKeys) -> Result<SharedStore, store::Error> {
        let settings = Settings { connections: 8, ..Settings::new(self.location.clone()) };
        store::open(&settings, keys, Arc::new(self.clock.clone())).await
    }

    /// Another daemon on the same database, where that is allowed; else the same one again.
    pub(crate) async fn neighbour(&self, store: &SharedStore) -> SharedStore {
        match self.location {
            Location::Postgres { .. } => self.open().await,
            Location::Sqlite { .. } => Arc::clone(store),
        }
    }

    /// The SQLite file.
    pub(crate) fn path(&self) -> &std::path::Path {
        match &self.location {
            Location::Sqlite { path } => path,
            Location::Postgres { .. } => panic!("this is not a file"),
        }
    }

    /// Runs SQL behind the store's back.
    pub(crate) fn sql(&self, sql: &str) -> String {
        match &self.location {
            Location::Sqlite { path } => {
                let db = rusqlite::Connection::open(path).unwrap();
                db.execute_batch(sql).map(|()| String::new()).unwrap()
            }
            Location::Postgres { url } => {
                let name = url.reveal().rsplit('/').next().unwrap();
                crate::postgres::server().unwrap().sql(name, sql)
            }
        }
    }

    /// Every byte that the database keeps, as it lies there.
    pub(crate) fn dump(&self) -> Vec<u8> {
        match &self.location {
            Location::Sqlite { .. } => {
                let files = std::fs::read_dir(self.folder.as_ref().unwrap()).unwrap();
                files.flat_map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect()
            }
            Location::Postgres { .. } => {
                // bytea is printed as hex, so it is decoded as text too.
                let tables = self.sql("SELECT tablename FROM pg_tables WHERE schemaname = 'public'");
                let mut dump = Vec::new();
                for table in tables.lines() {
                    let text = self.sql(&format!("SET bytea_output = 'escape'; SELECT * FROM {table}"));
                    dump.extend_from_slice(text.as_bytes());
                }
                dump
            }
        }
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        if let Some(folder) = &self.folder {
            let _ = std::fs::remove_dir_all(folder);
        }
    }
}

/// A ring of one key.
pub(crate) fn key(number: u8) -> SealKeys {
    SealKeys::new(&[number; 32], &[])
}

/// Reads the outbox until it has this many events: on Postgres one may be held back for a moment, while
/// the transactions of other tests run.
pub(crate) async fn events(store: &SharedStore, filter: EventFilter, count: usize) -> Vec<Event> {
    let enough = async || {
        let events = store.events(filter.clone()).await.unwrap();
        (events.len() >= count).then_some(events)
    };
    found(&format!("{count} events in the outbox"), enough).await
}

/// So many seconds after the start.
pub(crate) fn after(seconds: i64) -> Timestamp {
    samples::START + jiff::SignedDuration::from_secs(seconds)
}
