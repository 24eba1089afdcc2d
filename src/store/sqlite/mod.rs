//! The embedded store: one SQLite file in WAL mode, one daemon.
//!
//! All writes go through one thread that shares a commit among all that wait ([`threads`]); reads have
//! connections of their own and see the last commit. A third kind of thread moves the log into the file
//! ([`checkpoint`]). Sealing and JSON happen in the caller's task, so that the writer only binds and steps. What an
//! operation does is in the files of the second table; [`operations`] sends it where it belongs.
//!
//! | How it works | |
//! |---|---|
//! | [`file`] | opening the file, whether it is ours |
//! | [`links`], [`locks`] | where it is, however its path is spelt, and what keeps others off it |
//! | [`queue`], [`threads`] | what waits, and the threads that work it off |
//! | [`checkpoint`] | from the log into the file |
//! | [`operations`] | the [`Store`](crate::store::Store) itself |
//!
//! | What it does, in SQL | |
//! |---|---|
//! | [`signings`] | signings, their payloads and links |
//! | [`inbox`] | what the upstream sent us |
//! | [`endpoints`] | who wants our own events |
//! | [`outbox`] | our own events, and their deliveries |
//! | [`senders`] | records of senders |
//! | [`dates`] | what a clock that was ahead has written, mended |
//! | [`presence`] | whether the daemon and the disk are there |
//! | [`counts`] | calls by the hour, and what was spent of a window |
//! | [`checks`] | status checks of envelopes, and their changes |
//! | [`retention`] | destroying and sealing anew |

mod checkpoint;
mod checks;
mod counts;
mod dates;
mod endpoints;
mod file;
mod inbox;
mod links;
mod locks;
mod operations;
mod outbox;
mod presence;
mod queue;
mod retention;
mod senders;
mod signings;
mod threads;

pub(super) use file::{examine, kept_of_senders};
pub(crate) use links::place_of_file;

use std::{
    fmt,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use rusqlite::Connection;

use crate::{
    clock::SharedClock,
    store::{
        Durability, Error, Record, Settings,
        retention::Looks,
        rows::{SigningRow, micros},
        seal::SealKeys,
        sqlite::{
            checkpoint::Log,
            file::{Access, DatabaseFile, OpenPath},
            queue::Queue,
            threads::{Job, MAX_WAITING, Write, Writer, job, stopped},
        },
    },
};

/// The store in a file.
pub struct SqliteStore {
    keys: SealKeys,
    clock: SharedClock,
    patience: Duration,
    /// Whether there may be an endpoint. Without one, events need no deliveries, and are not looked through.
    listened_to: AtomicBool,
    writes: Arc<Queue<Write>>,
    reads: Arc<Queue<Box<dyn Job>>>,
    log: Arc<Log>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// Whether a write has failed since the last check that found all well.
    failing: AtomicBool,
    /// What only a person can mend that an operation has met last.
    unusable: Mutex<Option<String>>,
    open_path: Arc<OpenPath>,
    looks: Looks,
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore").field("keys", &self.keys).finish_non_exhaustive()
    }
}

impl SqliteStore {
    /// Opens the file at `path`, or makes it.
    pub async fn open(
        path: &Path,
        settings: &Settings,
        keys: SealKeys,
        clock: SharedClock,
    ) -> Result<Self, Error> {
        let (path, settings) = (path.to_owned(), settings.clone());
        tokio::task::spawn_blocking(move || Self::start(&path, &settings, keys, clock))
            .await
            .map_err(|e| Error::Unavailable(format!("it could not be opened: {e}")))?
    }

    fn start(path: &Path, settings: &Settings, keys: SealKeys, clock: SharedClock) -> Result<Self, Error> {
        let (file, connection) = DatabaseFile::open(path, &keys)?;
        // The lock on the file proves that whoever held a lease is gone: nothing waits for it to lapse.
        signings::end_leases(&connection, micros(clock.now()))?;
        outbox::end_leases(&connection)?;
        let listened_to = AtomicBool::new(endpoints::is_listened_to(&connection)?);
        let writes = Arc::new(Queue::new(MAX_WAITING));
        let reads = Arc::new(Queue::<Box<dyn Job>>::new(MAX_WAITING));
        let store = Self {
            keys,
            clock,
            patience: settings.patience,
            listened_to,
            writes: Arc::clone(&writes),
            reads: Arc::clone(&reads),
            log: Arc::default(),
            threads: Mutex::default(),
            failing: AtomicBool::new(false),
            unusable: Mutex::default(),
            open_path: Arc::clone(file.open_path()),
            looks: Looks::default(),
        };
        for _ in 0..settings.connections.max(1) {
            let (file, reads) = (Arc::clone(&file), Arc::clone(&reads));
            let connection = file.connect(Access::Read)?;
            store.spawn("store-read", move || threads::read(&file, &reads, connection))?;
        }
        let writing = Writer::new(file, writes, connection, settings.synchronous, Arc::clone(&store.log))?;
        store.spawn("store-write", move || writing.run())?;
        Ok(store)
    }

    fn spawn(&self, name: &str, run: impl FnOnce() + Send + 'static) -> Result<(), Error> {
        let thread = std::thread::Builder::new()
            .name(name.into())
            .spawn(run)
            .map_err(|e| Error::Unavailable(format!("no thread for it: {e}")))?;
        self.threads().push(thread);
        Ok(())
    }

    fn threads(&self) -> MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs an operation in the next batch, and answers once it is committed.
    async fn write<T: Send + 'static>(
        &self,
        durability: Durability,
        run: impl Fn(&Connection) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (job, answer) = job(run);
        self.writes.push(Write { durability, job })?;
        // No limit on the wait: what is queued will be committed, and must not be reported as failed.
        let outcome = answer.await.unwrap_or_else(|_| Err(stopped()));
        if matches!(outcome, Err(Error::Unavailable(_) | Error::Unusable(_))) {
            self.failing.store(true, Ordering::Relaxed);
        }
        self.noted(outcome)
    }

    /// Runs a query on the last committed state.
    async fn read<T: Send + 'static>(
        &self,
        run: impl Fn(&Connection) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (job, answer) = job(run);
        self.reads.push(job)?;
        let outcome = match tokio::time::timeout(self.patience, answer).await {
            Ok(answer) => answer.unwrap_or_else(|_| Err(stopped())),
            Err(_) => Err(Error::Unavailable(format!("a query took more than {:?}", self.patience))),
        };
        self.noted(outcome)
    }

    /// Keeps what only a person can mend for who asks.
    fn noted<T>(&self, outcome: Result<T, Error>) -> Result<T, Error> {
        if let Err(Error::Unusable(why)) = &outcome {
            *self.met() = Some(why.clone());
        }
        outcome
    }

    fn met(&self) -> MutexGuard<'_, Option<String>> {
        self.unusable.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record(&self, row: Option<SigningRow>) -> Result<Option<Record>, Error> {
        row.map(|row| row.into_record(&self.keys)).transpose()
    }
}

impl Drop for SqliteStore {
    /// Lets what was accepted be written, and the file be free once the value is gone.
    fn drop(&mut self) {
        self.reads.close();
        let _ = end(std::mem::take(&mut *self.threads()), &self.writes);
    }
}

/// Waits for the threads, of which the writer was started last. It ends after all others: of two connections that go at
/// one moment neither is the last one, which takes the log away.
fn end(mut threads: Vec<JoinHandle<()>>, writes: &Queue<Write>) -> Result<(), Error> {
    let join = |thread: JoinHandle<()>| {
        thread.join().map_err(|_| Error::Unavailable("a thread of the store failed".into()))
    };
    let last = threads.pop();
    let others = threads.into_iter().try_for_each(join);
    writes.close();
    others.and(last.map_or(Ok(()), join))
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, time::Duration};

    use jiff::Timestamp;
    use rusqlite::{StatementStatus, params};

    use super::*;
    use crate::{
        clock::ManualClock,
        domain::{CallerName, Event, EventId, EventKind},
        store::{EventFilter, Location, Store as _, Synchronous},
    };

    pub(super) struct Folder(pub(super) std::path::PathBuf);

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    pub(super) async fn open(name: &str, synchronous: Synchronous) -> (SqliteStore, Folder) {
        let folder = std::env::temp_dir().join(format!("countersign-sqlite-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        (open_at(&folder.join("store.db"), synchronous).await, Folder(folder))
    }

    pub(super) async fn open_at(path: &Path, synchronous: Synchronous) -> SqliteStore {
        let settings = Settings { synchronous, ..Settings::new(Location::Sqlite { path: path.to_owned() }) };
        let clock = Arc::new(ManualClock::new(Timestamp::UNIX_EPOCH));
        SqliteStore::open(path, &settings, SealKeys::new(&[1; 32], &[]), clock).await.unwrap()
    }

    pub(super) fn event(size: usize) -> Event {
        Event {
            id: EventId::generate(Timestamp::UNIX_EPOCH),
            caller: CallerName::new("website"),
            kind: EventKind::BudgetLow,
            signing: None,
            signer: None,
            sequence: 0,
            at: Timestamp::UNIX_EPOCH,
            data: "x".repeat(size),
        }
    }

    pub(super) async fn count(store: &SqliteStore) -> usize {
        let caller = CallerName::new("website");
        let filter = EventFilter { caller, signing: None, after: None, limit: 100_000 };
        store.events(filter).await.unwrap().len()
    }

    #[tokio::test]
    async fn only_what_must_reach_the_disk_waits_for_it() {
        let level =
            |db: &Connection| Ok(db.pragma_query_value(None, "synchronous", |row| row.get::<_, i64>(0))?);
        let (full, _folder) = open("full", Synchronous::Full).await;
        for (durability, expected) in
            [(Durability::Synced, 2), (Durability::Flushed, 1), (Durability::Synced, 2)]
        {
            assert_eq!(full.write(durability, level).await.unwrap(), expected);
        }
        let (normal, _folder) = open("normal", Synchronous::Normal).await;
        assert_eq!(normal.write(Durability::Synced, level).await.unwrap(), 1);
        let (off, _folder) = open("off", Synchronous::Off).await;
        assert_eq!(off.write(Durability::Synced, level).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn what_is_bound_to_a_statement_does_not_have_it_compiled_anew() {
        let (store, _folder) = open("plans", Synchronous::Off).await;
        let compiled = |db: &Connection| {
            let sql =
                "SELECT id FROM signings WHERE envelope = ?1 AND status = ?2 ORDER BY created_at LIMIT ?3";
            for envelope in ["a", "b", "c"] {
                let mut statement = db.prepare_cached(sql)?;
                assert!(!statement.exists(params![envelope, "open", 1])?);
            }
            Ok(db.prepare_cached(sql)?.get_status(StatementStatus::RePrepare))
        };
        assert_eq!(store.read(compiled).await.unwrap(), 0);
        assert_eq!(store.write(Durability::Flushed, compiled).await.unwrap(), 0);
    }

    /// Holds the writer, lets operations gather, and lets go: they are one batch.
    #[tokio::test(flavor = "multi_thread")]
    async fn one_that_fails_undoes_only_itself() {
        let (store, _folder) = open("savepoint", Synchronous::Normal).await;
        let (go, wait) = mpsc::channel::<()>();
        let held = store.write(Durability::Flushed, move |_| {
            let _ = wait.recv();
            Ok(())
        });
        let (first, last) = (event(1), event(1));
        // Its second event is there already, so its first must go again.
        let doomed = vec![event(1), first.clone()];
        let release = async move {
            // All of them are queued by now: futures of a join are polled in order. Hung up, and not
            // sent, because the held write runs again when another one of its batch fails.
            drop(go);
        };
        let (held, one, two, three, panicked, ()) = tokio::join!(
            held,
            store.add_events(vec![first]),
            store.add_events(doomed),
            store.add_events(vec![last]),
            store.write::<()>(Durability::Flushed, |_| panic!("a bug")),
            release,
        );
        assert!(held.is_ok() && one.is_ok() && three.is_ok());
        assert!(matches!(&two, Err(Error::Unusable(why)) if why.contains("events.id")), "{two:?}");
        assert!(matches!(panicked, Err(Error::Unavailable(_))), "{panicked:?}");
        assert_eq!(count(&store).await, 2);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_full_disk_is_said_and_forgotten_once_there_is_room() {
        let (store, _folder) = open("full-disk", Synchronous::Full).await;
        let limit = |pages: i64| {
            move |db: &Connection| {
                Ok(db.pragma_update_and_check(None, "max_page_count", pages, |row| row.get::<_, i64>(0))?)
            }
        };
        let pages = store.write(Durability::Flushed, limit(1)).await.unwrap();
        store.write(Durability::Flushed, limit(pages + 20)).await.unwrap();
        let mut kept = 0;
        let failed = loop {
            match store.add_events(vec![event(3_000), event(3_000)]).await {
                Ok(()) => kept += 2,
                Err(e) => break e,
            }
        };
        assert!(matches!(&failed, Error::Unavailable(why) if why.contains("disk is full")), "{failed:?}");
        assert_eq!(count(&store).await, kept, "nothing of it is half there");
        store.write(Durability::Flushed, limit(1_000_000)).await.unwrap();
        store.add_events(vec![event(3_000)]).await.unwrap();
        assert_eq!(count(&store).await, kept + 1);
    }

    #[tokio::test]
    async fn a_read_only_database_is_said_and_opened_again() {
        let (store, _folder) = open("read-only", Synchronous::Full).await;
        store.check().await.unwrap();
        let forbid = |db: &Connection| Ok(db.pragma_update(None, "query_only", true)?);
        store.write(Durability::Flushed, forbid).await.unwrap();
        let failed = store.check().await.unwrap_err();
        assert!(matches!(&failed, Error::Unavailable(why) if why.contains("read-only")), "{failed:?}");
        // A lone operation does not reopen for its own sake; the file is writable, so it is soon well.
        store.check().await.unwrap();
    }

    /// The check writes elsewhere, and finds all well.
    #[tokio::test]
    async fn what_only_a_person_can_mend_is_kept_until_it_is_asked_for() {
        let (store, _folder) = open("unusable", Synchronous::Normal).await;
        assert_eq!(store.trouble(), None);
        let first = event(1);
        store.add_events(vec![first.clone()]).await.unwrap();
        store.add_events(vec![first]).await.unwrap_err();
        store.check().await.unwrap();
        let told = store.trouble();
        assert!(told.as_deref().is_some_and(|why| why.contains("events.id")), "{told:?}");
        assert_eq!(store.trouble(), None, "told once");
        let rename = |db: &Connection| Ok(db.execute_batch("ALTER TABLE signings RENAME TO away")?);
        store.write(Durability::Flushed, rename).await.unwrap();
        let failed = store.uncertain().await.unwrap_err();
        assert!(matches!(&failed, Error::Unusable(why) if why.contains("signings")), "{failed:?}");
        store.check().await.unwrap();
        let told = store.trouble();
        assert!(told.as_deref().is_some_and(|why| why.contains("signings")), "a read: {told:?}");
    }

    #[tokio::test]
    async fn a_file_that_is_removed_or_replaced_is_refused_until_it_is_the_very_same_again() {
        let (store, folder) = open("replaced", Synchronous::Full).await;
        let [file, aside, other] = ["store.db", "aside.db", "other.db"].map(|name| folder.0.join(name));
        drop(open_at(&other, Synchronous::Full).await);
        store.add_events(vec![event(1)]).await.unwrap();
        store.check().await.unwrap();
        let refuses = async || {
            for _ in 0..2 {
                let failed = store.check().await.unwrap_err();
                let is_said =
                    matches!(&failed, Error::Unavailable(why) if why.contains("removed or replaced"));
                assert!(is_said, "{failed:?}");
                store.add_events(vec![event(1)]).await.unwrap_err();
            }
        };
        std::fs::rename(&file, &aside).unwrap();
        refuses().await;
        // One of ours, and yet another one.
        std::fs::rename(&other, &file).unwrap();
        refuses().await;
        assert_eq!(count(&store).await, 1, "what is there can be read");
        std::fs::rename(&aside, &file).unwrap();
        store.check().await.unwrap();
        store.add_events(vec![event(1)]).await.unwrap();
        assert_eq!(count(&store).await, 2);
    }

    #[tokio::test]
    async fn a_file_that_vanished_is_not_begun_anew() {
        let (store, folder) = open("vanished", Synchronous::Full).await;
        store.add_events(vec![event(1)]).await.unwrap();
        for name in ["store.db", "store.db-wal", "store.db-shm"] {
            std::fs::remove_file(folder.0.join(name)).unwrap();
        }
        let fail = |_: &Connection| Err::<(), _>(Error::Unavailable("as if".into()));
        let _ = store.write(Durability::Flushed, fail).await;
        let _ = tokio::time::timeout(Duration::from_secs(5), store.check()).await;
        assert!(!folder.0.join("store.db").exists());
    }
}
