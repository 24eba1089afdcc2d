//! The threads that own the connections: one that writes, a few that read.
//!
//! The writer takes whatever waits, runs it in one transaction, and commits once: sixty-four concurrent
//! creates share one sync. An operation is answered only after that commit. One that fails undoes only
//! itself: usually it has written nothing (a stale version, a known key); if it has, the batch is run
//! again with a savepoint for each, which costs a copy of every page and so is not the rule. A batch in which
//! anything must reach the disk commits with `synchronous = FULL`; a batch of things that recovery would find out
//! again commits with `NORMAL`, which does not wait for the disk
//! (sqlite.org, PRAGMA synchronous: in WAL mode the file stays consistent either way).

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::store::{
    Durability, Error, Synchronous,
    sqlite::{
        checkpoint::{Checkpoints, Log},
        file::{Access, DatabaseFile},
        queue::{Queue, Refused},
    },
};

/// Operations that share one commit at most.
const MAX_BATCH: usize = 256;

/// Operations that wait at most; more are refused.
pub(super) const MAX_WAITING: usize = 8_192;

/// An operation on its way to a connection, and the way back.
pub(super) trait Job: Send {
    /// Does it, and keeps the outcome. May be called again after a rollback.
    fn run(&mut self, connection: &Connection) -> Result<(), Error>;

    /// Answers: with the outcome, or with why it could not be kept.
    fn answer(self: Box<Self>, kept: Result<(), Error>);
}

/// A write, with what its commit must guarantee.
pub(super) struct Write {
    pub(super) durability: Durability,
    pub(super) job: Box<dyn Job>,
}

struct Operation<F, T> {
    run: F,
    outcome: Result<T, Error>,
    reply: oneshot::Sender<Result<T, Error>>,
}

/// Wraps a closure into a job, and gives where its answer will come.
pub(super) fn job<F, T>(run: F) -> (Box<dyn Job>, oneshot::Receiver<Result<T, Error>>)
where
    F: Fn(&Connection) -> Result<T, Error> + Send + 'static,
    T: Send + 'static,
{
    let (reply, answer) = oneshot::channel();
    (Box::new(Operation { run, outcome: Err(stopped()), reply }), answer)
}

impl<F, T> Job for Operation<F, T>
where
    F: Fn(&Connection) -> Result<T, Error> + Send,
    T: Send,
{
    fn run(&mut self, connection: &Connection) -> Result<(), Error> {
        // A bug in one operation must not take the store down with it.
        self.outcome = catch_unwind(AssertUnwindSafe(|| (self.run)(connection)))
            .unwrap_or_else(|_| Err(Error::Unavailable("the operation failed; see the log".into())));
        self.outcome.as_ref().map(|_| ()).map_err(Error::clone)
    }

    fn answer(self: Box<Self>, kept: Result<(), Error>) {
        // Whoever hung up does not want the answer.
        let _ = self.reply.send(kept.and(self.outcome));
    }
}

/// What is said once the store is closed.
pub(super) fn stopped() -> Error {
    Error::Unavailable("it is closed".into())
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Closed => stopped(),
            Refused::Full => Self::Unavailable(format!("{MAX_WAITING} operations are waiting already")),
        }
    }
}

/// Drops what still waits when a thread ends, however it ends.
struct Abandon<T>(Arc<Queue<T>>);

impl<T> Drop for Abandon<T> {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

/// The thread that reads.
pub(super) fn read(file: &DatabaseFile, queue: &Queue<Box<dyn Job>>, first: Connection) {
    let mut connection = Some(first);
    loop {
        let Some(mut job) = queue.take(1).pop() else { return };
        let kept = reopen(&mut connection, file).and_then(|connection| job.run(connection));
        if needs_reopening(&kept) {
            connection = None;
        }
        job.answer(kept);
    }
}

/// The thread that writes.
pub(super) struct Writer {
    // Before the file, whose handle must be closed last.
    connection: Option<Connection>,
    file: Arc<DatabaseFile>,
    checkpoints: Checkpoints,
    queue: Arc<Queue<Write>>,
    synchronous: Synchronous,
    /// What the connection is set to now.
    now: Option<Synchronous>,
}

impl Writer {
    pub(super) fn new(
        file: Arc<DatabaseFile>,
        queue: Arc<Queue<Write>>,
        mut connection: Connection,
        synchronous: Synchronous,
        log: Arc<Log>,
    ) -> Result<Self, Error> {
        let checkpoints = Checkpoints::start(Arc::clone(&file), synchronous, log)?;
        checkpoints.watch(&mut connection)?;
        Ok(Self { connection: Some(connection), file, checkpoints, queue, synchronous, now: None })
    }

    /// Works until the queue is closed and empty.
    pub(super) fn run(mut self) {
        let _abandon = Abandon(Arc::clone(&self.queue));
        loop {
            let mut batch = self.queue.gather(MAX_BATCH);
            if batch.is_empty() {
                break;
            }
            // Where the file is lost the connection stays: it alone can empty the log at the end, which the next start
            // would else read into whatever file lies there.
            let kept = self.file.open_path().confirm().and_then(|()| self.keep(&mut batch));
            for write in batch {
                write.job.answer(kept.clone());
            }
            if let Some(connection) = &self.connection {
                self.checkpoints.between(connection);
            }
        }
        self.checkpoints.stop(self.connection.as_ref());
    }

    /// Commits a batch. A connection that is in doubt then goes.
    fn keep(&mut self, batch: &mut [Write]) -> Result<(), Error> {
        let kept = self.commit(batch);
        if needs_reopening(&kept) {
            self.connection = None;
        }
        kept
    }

    /// Runs a batch in one transaction. An error means that none of it was kept.
    fn commit(&mut self, batch: &mut [Write]) -> Result<(), Error> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => {
                self.now = None;
                let mut connection = self.file.connect(Access::Write)?;
                self.checkpoints.watch(&mut connection)?;
                none.insert(connection)
            }
        };
        let wanted = match self.synchronous {
            Synchronous::Full if batch.iter().all(|write| write.durability == Durability::Flushed) => {
                Synchronous::Normal
            }
            wanted => wanted,
        };
        if self.now != Some(wanted) {
            connection.execute_batch(pragma(wanted))?;
            self.now = Some(wanted);
        }
        match in_transaction(connection, || run_all(connection, batch)) {
            Ok(Ran::All) => Ok(()),
            Ok(Ran::Partly) => in_transaction(connection, || run_each(connection, batch)).map(|_| ()),
            Err(e) => Err(e),
        }
    }
}

/// How far a batch came.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ran {
    /// Every operation is done, or has failed and left nothing behind.
    All,
    /// One failed halfway: nothing of this may be committed.
    Partly,
}

fn in_transaction(connection: &Connection, run: impl FnOnce() -> Result<Ran, Error>) -> Result<Ran, Error> {
    execute(connection, "BEGIN IMMEDIATE")?;
    let outcome = run().and_then(|ran| match ran {
        Ran::All => execute(connection, "COMMIT").map(|()| ran),
        Ran::Partly => Ok(ran),
    });
    if !connection.is_autocommit() {
        execute(connection, "ROLLBACK")?;
    }
    outcome
}

/// Runs every operation as long as each that fails has written nothing.
fn run_all(connection: &Connection, batch: &mut [Write]) -> Result<Ran, Error> {
    for write in batch {
        let before = connection.total_changes();
        if let Err(e) = write.job.run(connection) {
            if connection.is_autocommit() {
                return Err(e);
            }
            if connection.total_changes() != before {
                return Ok(Ran::Partly);
            }
        }
    }
    Ok(Ran::All)
}

/// Runs every operation in a savepoint, so that one that fails undoes only itself.
fn run_each(connection: &Connection, batch: &mut [Write]) -> Result<Ran, Error> {
    for write in batch {
        execute(connection, "SAVEPOINT operation")?;
        if let Err(e) = write.job.run(connection) {
            // A full disk or a failed write may have undone the whole transaction (sqlite.org,
            // "Response To Errors Within A Transaction"); then nothing of the batch is kept.
            if connection.is_autocommit() {
                return Err(e);
            }
            execute(connection, "ROLLBACK TO operation")?;
        }
        execute(connection, "RELEASE operation")?;
    }
    Ok(Ran::All)
}

fn execute(connection: &Connection, sql: &'static str) -> Result<(), Error> {
    connection.prepare_cached(sql)?.execute([])?;
    Ok(())
}

const fn pragma(synchronous: Synchronous) -> &'static str {
    match synchronous {
        Synchronous::Full => "PRAGMA synchronous = FULL",
        Synchronous::Normal => "PRAGMA synchronous = NORMAL",
        Synchronous::Off => "PRAGMA synchronous = OFF",
    }
}

/// Whether the connection itself is in doubt: the disk may have been remounted or repaired.
const fn needs_reopening(outcome: &Result<(), Error>) -> bool {
    matches!(outcome, Err(Error::Unavailable(_) | Error::Unusable(_)))
}

fn reopen<'a>(connection: &'a mut Option<Connection>, file: &DatabaseFile) -> Result<&'a Connection, Error> {
    match connection {
        Some(connection) => Ok(connection),
        None => Ok(connection.insert(file.connect(Access::Read)?)),
    }
}
