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
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{Receiver, SyncSender, sync_channel},
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
        let beside = Beside { connection: None, file, log: Arc::clone(&log), synchronous };
        let thread = std::thread::Builder::new()
            .name("store-checkpoint".into())
            .spawn(move || beside.run(&woken))
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
            // Woken already is as good: its next time begins after this commit. When it has ended, it tells who waits.
            let _ = self.wake.try_send(());
            return;
        }
        // A thread that does not keep up is waited for: whoever writes more must not fill the disk.
        let turn = if is_long { Some(self.log.turn()) } else { self.log.turn.try_lock().ok() };
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

/// The thread's side. The connection goes before the file, whose handle must be closed last.
struct Beside {
    /// With the number of the writer's that it goes with.
    connection: Option<(u64, Connection)>,
    file: Arc<DatabaseFile>,
    log: Arc<Log>,
    synchronous: Synchronous,
}

impl Beside {
    fn run(mut self, woken: &Receiver<()>) {
        give_way();
        while woken.recv().is_ok() {
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
        self.log.waiting().clear();
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
mod tests {
    use std::{io::Write as _, os::unix::process::ExitStatusExt as _, path::Path};

    use super::*;
    use crate::store::{
        Store as _,
        sqlite::{
            SqliteStore,
            tests::{count, event, open, open_at},
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

    /// Makes syncs of the file `store.db` fail while the file that `SYNCS_FAIL_IF` names is there.
    const FAILING_DISK: &str = r#"
        #define _GNU_SOURCE
        #include <errno.h>
        #include <stdio.h>
        #include <stdlib.h>
        #include <string.h>
        #include <sys/syscall.h>
        #include <unistd.h>
        static int fails(int fd) {
            char link[64], path[4096];
            snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
            ssize_t length = readlink(link, path, sizeof path - 1);
            if (length < 9 || access(getenv("SYNCS_FAIL_IF"), F_OK)) return 0;
            path[length] = 0;
            return !strcmp(path + length - 9, "/store.db");
        }
        int fsync(int fd) { return fails(fd) ? (errno = EIO, -1) : syscall(SYS_fsync, fd); }
        int fdatasync(int fd) { return fails(fd) ? (errno = EIO, -1) : syscall(SYS_fdatasync, fd); }
    "#;

    /// Runs in a process of its own, which it is meant to end.
    #[tokio::test(flavor = "multi_thread")]
    #[ignore = "the next test starts it"]
    async fn a_process_whose_disk_fails() {
        let path = std::env::temp_dir().join("store.db");
        let store = open_at(&path, Synchronous::Full).await;
        std::fs::write(path.with_file_name("fails"), "").unwrap();
        // A byte for each: a file that is written anew is empty in between, and the end comes at any moment.
        let mut written = std::fs::File::create(path.with_file_name("written")).unwrap();
        loop {
            store.add_events(vec![event(3_500)]).await.unwrap();
            written.write_all(b".").unwrap();
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_disk_that_does_not_keep_a_checkpoint_ends_the_process_and_loses_nothing() {
        let (store, folder) = open("unsynced", Synchronous::Full).await;
        store.close().await.unwrap();
        drop(store);
        std::fs::write(folder.0.join("disk.c"), FAILING_DISK).unwrap();
        let mut compiler = std::process::Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-o", "disk.so", "disk.c"]).current_dir(&folder.0);
        assert!(compiler.status().unwrap().success());
        let ended = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "store::sqlite::checkpoint::tests::a_process_whose_disk_fails"])
            .env("LD_PRELOAD", folder.0.join("disk.so"))
            .env("SYNCS_FAIL_IF", folder.0.join("fails"))
            .env("TMPDIR", &folder.0)
            .output()
            .unwrap();
        assert_eq!(ended.status.signal(), Some(6), "{}", String::from_utf8_lossy(&ended.stderr));
        let written = std::fs::read(folder.0.join("written")).unwrap().len();
        assert!(written > 10, "{written}: the log had to fill first");
        let path = folder.0.join("store.db");
        let store = open_at(&path, Synchronous::Full).await;
        assert!(count(&store).await >= written, "what was answered is there");
    }
}
