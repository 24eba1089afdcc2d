//! Checkpoints: moving what the log holds into the database, beside the writer.
//!
//! SQLite's own way is that the commit which makes the log long moves all of it, and whoever waits for that commit or
//! the next one waits for thousands of pages and their sync. Here a thread of its own moves and syncs them while
//! commits go on. The log begins anew only once all of it is moved (sqlite.org, "Write-Ahead Logging", 2.3), so the
//! writer moves what came meanwhile, which is little, when its answers are out.
//!
//! What is deleted is overwritten in the log only: until that is moved, the file holds what was there before, and the
//! log what it held earlier. So whoever must be able to say that something is gone asks for an empty log
//! ([`SqliteStore::empty_log`]), in the same two steps.
//!
//! Must never be what a commit depends on: a checkpoint that fails is tried again, and all is in the log. But one
//! failure cannot be tried again: a sync. SQLite counts pages as moved when they are written and syncs them later, and
//! a system that could not write them to the disk may forget that at the next try (the "fsyncgate" of 2018). So the
//! process ends there, without closing anything: the next start reads the log from its beginning, as after a power cut.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, TryLockError,
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread::JoinHandle,
    time::Duration,
};

use rusqlite::{Connection, ffi};
use tokio::sync::oneshot;

use crate::store::{
    Durability, Error, Synchronous,
    sqlite::{
        SqliteStore,
        file::{Access, BUSY_TIMEOUT, DatabaseFile},
    },
};

/// What the tests of this crate divide the numbers below by, so as not to write gigabytes.
const SCALE: i32 = if cfg!(test) { 32 } else { 1 };

/// Pages in the log before they are moved: 32 MiB. A page that many creates touch is then moved once for all of them.
const MANY_PAGES: i32 = 8_192 / SCALE;

/// So many are moved by the writer, between two commits.
const FEW_PAGES: i32 = 256 / SCALE;

/// With so many in the log the writer moves them all, however long that takes: 64 MiB.
const MOST_PAGES: i32 = 16_384 / SCALE;

/// So long the writer waits for those who read in the log, where it is to be emptied. Our own reads seldom take so long.
const READERS_WAIT: Duration = Duration::from_millis(200);

/// What is known of the log.
#[derive(Debug, Default, Clone, Copy)]
struct Known {
    /// It held so many pages after the last commit.
    written: i32,
    /// So many of them are in the database, too.
    moved: i32,
    /// How often it has begun anew.
    begun: u64,
    /// How often the writer has connected: each time for a reason.
    connected: u64,
    /// The thread has moved what it could for those who wait for an empty log: the rest is the writer's, however much.
    is_writers: bool,
}

/// What came of asking for an empty log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Emptied {
    /// All that was in it is in the file alone.
    Wholly,
    /// Most of it was moved beside the writer: what came meanwhile is little, if it is asked again.
    NotYet,
    /// Somebody reads in it.
    InUse,
}

/// What the store, its writer and the thread know of each other's work.
#[derive(Debug, Default)]
pub(super) struct Log {
    known: Mutex<Known>,
    /// Held by who moves pages: SQLite lets one at a time, and says no to the other.
    turn: Mutex<()>,
    /// Those who wait for an empty log. One that is dropped learns that it could not be done.
    waiting: Mutex<Vec<oneshot::Sender<Emptied>>>,
}

impl Log {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for its turn.
    fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its turn, unless somebody moves pages now. Whoever ended by a panic over that moves none.
    fn try_turn(&self) -> Option<MutexGuard<'_, ()>> {
        match self.turn.try_lock() {
            Ok(turn) => Some(turn),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// A commit has made it so long.
    fn written(&self, pages: i32) {
        let mut known = self.known();
        if pages < known.written {
            known.begun += 1;
            known.moved = 0;
        }
        known.written = pages;
    }

    /// So much of the log that was begun then is moved.
    fn moved(&self, begun: u64, pages: i32) {
        let mut known = self.known();
        if known.begun == begun {
            known.moved = pages;
        }
    }

    /// The log is empty.
    fn emptied(&self) {
        let mut known = self.known();
        (known.written, known.moved, known.begun) = (0, 0, known.begun + 1);
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<oneshot::Sender<Emptied>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells all who wait what has come of it.
    fn tell(&self, emptied: Emptied) {
        let waiting = std::mem::take(&mut *self.waiting());
        for one in waiting {
            // Whoever was cancelled does not want to know.
            let _ = one.send(emptied);
        }
    }
}

impl SqliteStore {
    /// Moves all of the log into the file and empties it, so that what was deleted before lies in neither. While somebody
    /// reads in it that cannot be done: then whoever asks has to ask again later.
    pub(super) async fn empty_log(&self) -> Result<(), Error> {
        loop {
            let (told, emptied) = oneshot::channel();
            self.log.waiting().push(told);
            // It writes nothing: the writer looks who waits once the answers of a batch are out.
            self.write(Durability::Flushed, |_| Ok(())).await?;
            match emptied.await {
                Ok(Emptied::Wholly) => return Ok(()),
                Ok(Emptied::NotYet) => {}
                Ok(Emptied::InUse) => {
                    return Err(still_there("another program, such as a backup, reads them: let it end"));
                }
                Err(_) => return Err(still_there("the log could not be moved into the file")),
            }
        }
    }
}

fn still_there(why: &str) -> Error {
    Error::Unavailable(format!(
        "what was deleted still lies in the database's files, and is tried again: {why}"
    ))
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
    pub(super) fn start(
        file: Arc<DatabaseFile>,
        synchronous: Synchronous,
        log: Arc<Log>,
    ) -> Result<Self, Error> {
        let (wake, woken) = sync_channel(1);
        let last_word = LastWord(Arc::clone(&log));
        let beside = Beside { connection: None, file, log: Arc::clone(&log), synchronous };
        let work = move || {
            // Goes last, when nobody can be woken any more.
            let _last_word = last_word;
            beside.run(woken);
        };
        let thread = std::thread::Builder::new()
            .name("store-checkpoint".into())
            .spawn(work)
            .map_err(|e| Error::Unavailable(format!("no thread for it: {e}")))?;
        Ok(Self { log, wake, thread })
    }

    /// Learns from each commit of this connection how long the log is.
    pub(super) fn watch(&self, writer: &mut Connection) -> Result<(), Error> {
        self.log.known().connected += 1;
        let log = Arc::clone(&self.log);
        let hook = move |_: &mut _, pages| {
            log.written(pages);
            Ok(())
        };
        Ok(writer.wal_hook(Some(hook))?)
    }

    /// Called by the writer between two commits.
    pub(super) fn between(&self, writer: &Connection) {
        let Known { written, moved, begun, is_writers, .. } = *self.log.known();
        let left = written.saturating_sub(moved);
        let is_waited_for = !self.log.waiting().is_empty();
        if !is_waited_for && (written < MANY_PAGES || left <= 0) {
            return;
        }
        let is_long = written >= MOST_PAGES;
        if left > FEW_PAGES && !is_long && !(is_waited_for && is_writers) {
            // Woken already is as good: its next time begins after this commit.
            if let Err(TrySendError::Disconnected(())) = self.wake.try_send(()) {
                self.log.waiting().clear();
            }
            return;
        }
        // A thread that does not keep up is waited for: whoever writes more must not fill the disk.
        let turn = if is_long { Some(self.log.turn()) } else { self.log.try_turn() };
        let Some(_turn) = turn else { return };
        if is_waited_for {
            return self.empty(writer, begun);
        }
        match checkpoint(writer, "PASSIVE") {
            Ok(Checkpoint { moved, .. }) => self.log.moved(begun, moved),
            Err(error) => put_off(&error.into()),
        }
    }

    /// Empties the log for those who wait for it.
    fn empty(&self, writer: &Connection, begun: u64) {
        self.log.known().is_writers = false;
        let outcome = writer.busy_timeout(READERS_WAIT).and_then(|()| checkpoint(writer, "TRUNCATE"));
        if let Err(error) = writer.busy_timeout(BUSY_TIMEOUT) {
            put_off(&error.into());
        }
        match outcome {
            Ok(Checkpoint { is_whole: true, .. }) => {
                self.log.emptied();
                self.log.tell(Emptied::Wholly);
            }
            Ok(Checkpoint { moved, .. }) => {
                self.log.moved(begun, moved);
                self.log.tell(Emptied::InUse);
            }
            Err(error) => {
                put_off(&error.into());
                self.log.waiting().clear();
            }
        }
    }

    /// Ends the thread, and leaves one file behind. Should that fail, the log is read at the next start.
    ///
    /// A file that was moved away gets what is its own, too, and the log that stayed behind is left empty. SQLite itself,
    /// when the last connection goes, does neither for a file that is not at its path.
    pub(super) fn stop(self, writer: Option<&Connection>) {
        drop(self.wake);
        let _ = self.thread.join();
        let _ = writer.map(|writer| checkpoint(writer, "TRUNCATE"));
    }
}

/// However the thread ends, be it by a panic: whoever waits for it learns that it could not be done.
struct LastWord(Arc<Log>);

impl Drop for LastWord {
    fn drop(&mut self) {
        self.0.waiting().clear();
    }
}

/// The thread's side. The connection goes before the file, whose handle must be closed last.
struct Beside {
    /// With the number of the writer's that it goes with.
    connection: Option<(u64, Connection)>,
    file: Arc<DatabaseFile>,
    log: Arc<Log>,
    synchronous: Synchronous,
}

impl Beside {
    fn run(mut self, woken: Receiver<()>) {
        give_way();
        for () in woken {
            let Known { begun, connected, .. } = *self.log.known();
            match self.once(connected) {
                Ok(moved) => {
                    self.log.moved(begun, moved);
                    if !self.log.waiting().is_empty() {
                        self.log.known().is_writers = true;
                        self.log.tell(Emptied::NotYet);
                    }
                }
                Err(error) => {
                    put_off(&error);
                    self.connection = None;
                    self.log.waiting().clear();
                }
            }
        }
    }

    fn once(&mut self, connected: u64) -> Result<i32, Error> {
        let _turn = self.log.turn();
        // The writer has connected anew since: whatever was wrong with its connection may be wrong with this one.
        drop(self.connection.take_if(|(number, _)| *number != connected));
        let connection = match &mut self.connection {
            Some((_, connection)) => connection,
            none => {
                let connection = self.file.connect(Access::Write)?;
                let mode = if self.synchronous == Synchronous::Off { "OFF" } else { "NORMAL" };
                connection.pragma_update(None, "synchronous", mode)?;
                &mut none.insert((connected, connection)).1
            }
        };
        let Checkpoint { moved, .. } = checkpoint(connection, "PASSIVE")?;
        if self.synchronous != Synchronous::Off
            && let Err(error) = self.file.sync()
        {
            // SQLite syncs the file only when the log is moved to its end, and commits go on beside us.
            unsynced(&error);
        }
        Ok(moved)
    }
}

/// Lets every other thread go first where they share a core: it has seconds for what it does in one go in 20 ms, and
/// whoever is answered in that time would wait for it. On Linux a nice value is a thread's own (setpriority(2), "C
/// library/kernel differences"). It still gets a tenth of a busy core, twice what it needs. A system that forbids it
/// is as well off as before.
fn give_way() {
    let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), 10);
}

/// What a checkpoint came to.
#[derive(Debug, Clone, Copy)]
struct Checkpoint {
    /// Whether nobody was in the way of what it is to do.
    is_whole: bool,
    /// So many pages of the log are in the database.
    moved: i32,
}

/// Moves what can be moved.
fn checkpoint(connection: &Connection, mode: &str) -> rusqlite::Result<Checkpoint> {
    let done = connection
        .prepare_cached(&format!("PRAGMA wal_checkpoint({mode})"))
        // (busy, pages in the log, pages moved); the counts are -1 if another program was at it.
        .and_then(|mut pragma| {
            pragma.query_row([], |row| {
                Ok(Checkpoint { is_whole: row.get::<_, i32>(0)? == 0, moved: row.get::<_, i32>(2)?.max(0) })
            })
        });
    if let Err(error) = &done
        && error.sqlite_error().is_some_and(|error| error.extended_code == ffi::SQLITE_IOERR_FSYNC)
    {
        unsynced(error);
    }
    done
}

fn put_off(error: &Error) {
    tracing::warn!(%error, "the store's log could not be moved into its file; it will be tried again");
}

/// Ends the process: see above.
fn unsynced(error: &dyn std::fmt::Display) -> ! {
    tracing::error!(%error, "the disk did not keep what was written to the store: ending, to read the log anew");
    std::process::abort();
}

#[cfg(test)]
mod tests;
