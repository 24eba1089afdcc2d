//! Checkpoints: moving what the log holds into the database, beside the writer.
//!
//! SQLite's own way is that the commit which makes the log long moves all of it, and whoever waits for that commit or
//! the next one waits for thousands of pages and their sync. Here a thread of its own moves and syncs them while
//! commits go on. The log begins anew only once all of it is moved (sqlite.org, "Write-Ahead Logging", 2.3), so the
//! writer moves what came meanwhile, which is little, when its answers are out.
//!
//! Must never be what a commit depends on: a checkpoint that fails is tried again, and all is in the log.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI32, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::JoinHandle,
};

use rusqlite::Connection;

use crate::store::{
    Error, Synchronous,
    sqlite::file::{Access, DatabaseFile},
};

/// What the tests of this crate divide the numbers below by, so as not to write gigabytes.
const SCALE: i32 = if cfg!(test) { 32 } else { 1 };

/// Pages in the log before they are moved: 16 MiB. A page that many creates touch is then moved once for all of them.
const MANY_PAGES: i32 = 4_096 / SCALE;

/// So many are moved by the writer, between two commits.
const FEW_PAGES: i32 = 256 / SCALE;

/// With so many in the log the writer moves them all, however long that takes: 64 MiB.
const MOST_PAGES: i32 = 16_384 / SCALE;

/// What is known of the log, in pages.
#[derive(Debug, Default)]
struct Log {
    /// It held so many after the last commit.
    written: AtomicI32,
    /// So many of them are in the database, too.
    moved: AtomicI32,
}

/// The writer's side.
#[derive(Debug)]
pub(super) struct Checkpoints {
    log: Arc<Log>,
    wake: SyncSender<()>,
    thread: JoinHandle<()>,
}

impl Checkpoints {
    /// Starts the thread.
    pub(super) fn start(file: Arc<DatabaseFile>, synchronous: Synchronous) -> Result<Self, Error> {
        let log = Arc::new(Log::default());
        let (wake, woken) = sync_channel(1);
        let beside = Beside { connection: None, file, log: Arc::clone(&log), synchronous };
        let thread = std::thread::Builder::new()
            .name("store-checkpoint".into())
            .spawn(move || beside.run(&woken))
            .map_err(|e| Error::Unavailable(format!("no thread for it: {e}")))?;
        Ok(Self { log, wake, thread })
    }

    /// Learns from each commit of this connection how long the log is.
    pub(super) fn watch(&self, writer: &mut Connection) -> Result<(), Error> {
        let log = Arc::clone(&self.log);
        let hook = move |_: &mut _, pages| {
            if pages < log.written.swap(pages, Ordering::Relaxed) {
                log.moved.store(0, Ordering::Relaxed);
            }
            Ok(())
        };
        Ok(writer.wal_hook(Some(hook))?)
    }

    /// Called by the writer between two commits.
    pub(super) fn between(&self, writer: &Connection) {
        let written = self.log.written.load(Ordering::Relaxed);
        let left = written.saturating_sub(self.log.moved.load(Ordering::Relaxed));
        if written < MANY_PAGES || left <= 0 {
            return;
        }
        if left <= FEW_PAGES || written >= MOST_PAGES {
            self.log.note(&checkpoint(writer));
        } else {
            // Woken already is as good.
            let _ = self.wake.try_send(());
        }
    }

    /// Ends the thread, so that the file has one user again.
    pub(super) fn stop(self) {
        drop(self.wake);
        let _ = self.thread.join();
    }
}

impl Log {
    /// A failure leaves the count as it is: the next one moves the same pages.
    fn note(&self, moved: &Result<i32, Error>) {
        if let Ok(moved) = moved {
            self.moved.store(*moved, Ordering::Relaxed);
        }
    }
}

/// The thread's side. The connection goes before the file, whose handle must be closed last.
struct Beside {
    connection: Option<Connection>,
    file: Arc<DatabaseFile>,
    log: Arc<Log>,
    synchronous: Synchronous,
}

impl Beside {
    fn run(mut self, woken: &Receiver<()>) {
        while woken.recv().is_ok() {
            let moved = self.once();
            if moved.is_err() {
                self.connection = None;
            }
            self.log.note(&moved);
        }
    }

    fn once(&mut self) -> Result<i32, Error> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => {
                let connection = self.file.connect(Access::Write)?;
                let mode = if self.synchronous == Synchronous::Off { "OFF" } else { "NORMAL" };
                connection.pragma_update(None, "synchronous", mode)?;
                none.insert(connection)
            }
        };
        let moved = checkpoint(connection)?;
        if self.synchronous != Synchronous::Off {
            // SQLite syncs the file only when the log is moved to its end, and commits go on beside us.
            self.file.sync()?;
        }
        Ok(moved)
    }
}

/// Moves what can be moved without waiting for anyone; how much of the log is moved then.
fn checkpoint(connection: &Connection) -> Result<i32, Error> {
    let mut pragma = connection.prepare_cached("PRAGMA wal_checkpoint(PASSIVE)")?;
    Ok(pragma.query_row([], |row| row.get(2))?)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::store::{
        Store as _,
        sqlite::{
            SqliteStore,
            tests::{count, event, open},
        },
    };

    /// Writes about so many pages of events without a pause, a few at a time.
    async fn write(store: &SqliteStore, pages: i32) -> usize {
        let operations = usize::try_from(pages).unwrap() / 8;
        for _ in 0..operations {
            store.add_events((0..8).map(|_| event(3_500)).collect()).await.unwrap();
        }
        operations * 8
    }

    /// The pages in the log, as another program sees them.
    fn pages_in_log(folder: &Path) -> i32 {
        let other = Connection::open(folder.join("store.db")).unwrap();
        other.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| row.get(1)).unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_log_begins_anew_while_commits_go_on() {
        for synchronous in [Synchronous::Full, Synchronous::Normal, Synchronous::Off] {
            let (store, folder) = open(&format!("anew-{synchronous:?}"), synchronous).await;
            let written = write(&store, 8 * MOST_PAGES).await;
            let longest = std::fs::metadata(folder.0.join("store.db-wal")).unwrap().len() / 4_120;
            let bound = u64::try_from(MOST_PAGES + MANY_PAGES).unwrap();
            assert!(longest < bound, "{longest} pages in a log of at most {bound}");
            assert_eq!(count(&store).await, written);
            store.close().await.unwrap();
            assert!(!folder.0.join("store.db-wal").exists(), "one file is left behind");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn whoever_reads_for_long_makes_the_log_longer_and_nothing_else() {
        let (store, folder) = open("reader", Synchronous::Full).await;
        let mut written = write(&store, 8).await;
        let reader = Connection::open(folder.0.join("store.db")).unwrap();
        reader.execute_batch("BEGIN; SELECT count(*) FROM events;").unwrap();
        let seen = |db: &Connection| db.query_row("SELECT count(*) FROM events", [], |row| row.get(0));
        assert_eq!(seen(&reader), Ok(written));
        let before = written;
        written += write(&store, 2 * MOST_PAGES).await;
        assert!(pages_in_log(&folder.0) > MOST_PAGES);
        assert_eq!(seen(&reader), Ok(before), "it reads on what it began with");
        reader.execute_batch("COMMIT").unwrap();
        written += write(&store, 64).await;
        assert!(pages_in_log(&folder.0) < MOST_PAGES);
        assert_eq!(seen(&reader), Ok(written));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_checkpoint_that_fails_is_tried_again() {
        let (store, folder) = open("fails", Synchronous::Full).await;
        let beside = folder.0.join("elsewhere.db");
        // Its thread cannot connect as long as the file is not where it was; the writer's connection goes on.
        std::fs::rename(folder.0.join("store.db"), &beside).unwrap();
        let mut written = write(&store, MANY_PAGES + 64).await;
        std::fs::rename(&beside, folder.0.join("store.db")).unwrap();
        written += write(&store, 2 * MOST_PAGES).await;
        assert!(pages_in_log(&folder.0) < MOST_PAGES + MANY_PAGES);
        assert_eq!(count(&store).await, written);
    }
}
