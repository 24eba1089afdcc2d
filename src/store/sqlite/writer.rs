//! The one thread that writes, and how many share its commits.

use std::{
    sync::{Mutex, PoisonError, mpsc},
    thread::JoinHandle,
};

use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::store::{Durability, Error, Synchronous};

/// Writes that may wait; beyond, the caller is told that the store is busy (rule S5).
const QUEUE: usize = 20_000;
/// Writes that share one commit at most, so that no answer waits for too many others.
const BATCH: usize = 256;

/// The sending side of the writer's queue.
pub(super) struct Writer {
    queue: Mutex<Option<mpsc::SyncSender<Item>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Item {
    work: Box<dyn Work>,
    durability: Durability,
}

/// One write: applied inside the shared transaction, answered after its commit.
trait Work: Send {
    /// Does it; `false` undoes what it has done so far, and only that.
    fn apply(&mut self, connection: &Connection) -> bool;
    /// Tells how it ended, once the commit has.
    fn finish(self: Box<Self>, committed: Result<(), Error>);
}

struct Write<T, F> {
    rule: Option<F>,
    result: Option<Result<T, Error>>,
    tell: oneshot::Sender<Result<T, Error>>,
}

impl<T, F> Work for Write<T, F>
where
    T: Send,
    F: FnOnce(&Connection) -> Result<T, Error> + Send,
{
    fn apply(&mut self, connection: &Connection) -> bool {
        let result = self.rule.take().map(|rule| rule(connection));
        let is_good = matches!(result, Some(Ok(_)));
        self.result = result;
        is_good
    }

    fn finish(self: Box<Self>, committed: Result<(), Error>) {
        let result = match (self.result, committed) {
            (Some(Ok(value)), Ok(())) => Ok(value),
            (Some(Err(error)), _) | (_, Err(error)) => Err(error),
            (None, Ok(())) => Err(Error::Unavailable("the write was not made".into())),
        };
        // Who hung up meanwhile reads the record when they come back.
        let _ = self.tell.send(result);
    }
}

impl Writer {
    /// Starts the thread.
    pub(super) fn start(connection: Connection, synchronous: Synchronous) -> Result<Self, Error> {
        let (queue, items) = mpsc::sync_channel(QUEUE);
        let thread = std::thread::Builder::new()
            .name("sqlite-writer".into())
            .spawn(move || run(&connection, &items, synchronous))
            .map_err(|error| Error::Unavailable(format!("cannot start a thread: {error}")))?;
        Ok(Self { queue: Mutex::new(Some(queue)), thread: Mutex::new(Some(thread)) })
    }

    /// Writes, and answers once it has reached the disk.
    pub(super) async fn synced<T, F>(&self, rule: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Error> + Send + 'static,
    {
        self.with(Durability::Synced, rule).await
    }

    /// Writes, and answers once it would survive the death of the process.
    pub(super) async fn flushed<T, F>(&self, rule: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Error> + Send + 'static,
    {
        self.with(Durability::Flushed, rule).await
    }

    /// Writes with the durability asked for.
    pub(super) async fn with<T, F>(&self, durability: Durability, rule: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Error> + Send + 'static,
    {
        let (tell, told) = oneshot::channel();
        let work = Box::new(Write { rule: Some(rule), result: None, tell });
        {
            let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
            let queue = queue.as_ref().ok_or_else(|| Error::Unavailable("the store is closed".into()))?;
            queue
                .try_send(Item { work, durability })
                .map_err(|_| Error::Unavailable("too many writes wait for the disk".into()))?;
        }
        told.await.map_err(|_| Error::Unavailable("the write was lost: its thread ended".into()))?
    }

    /// Writes what waits, and ends the thread.
    pub(super) async fn close(&self) {
        drop(self.queue.lock().unwrap_or_else(PoisonError::into_inner).take());
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }
}

fn run(connection: &Connection, items: &mpsc::Receiver<Item>, synchronous: Synchronous) {
    let mut level = Level::Unknown;
    while let Ok(first) = items.recv() {
        let mut batch = vec![first];
        while batch.len() < BATCH {
            match items.try_recv() {
                Ok(item) => batch.push(item),
                Err(_) => break,
            }
        }
        let committed = commit(connection, &mut batch, synchronous, &mut level);
        for item in batch {
            item.work.finish(committed.clone());
        }
    }
    // The file is left whole and small for whoever copies it.
    let _ = connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)");
}

/// What `PRAGMA synchronous` was last set to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Full,
    Normal,
    Off,
    Unknown,
}

fn commit(
    connection: &Connection,
    batch: &mut [Item],
    synchronous: Synchronous,
    level: &mut Level,
) -> Result<(), Error> {
    let is_synced = batch.iter().any(|item| item.durability == Durability::Synced);
    let wanted = match synchronous {
        Synchronous::Full if is_synced => Level::Full,
        Synchronous::Full | Synchronous::Normal => Level::Normal,
        Synchronous::Off => Level::Off,
    };
    set_level(connection, wanted, level)?;
    connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
    let applied = apply_all(connection, batch);
    match applied {
        Ok(()) => match connection.prepare_cached("COMMIT")?.execute([]) {
            Ok(_) => Ok(()),
            Err(error) => Err(roll_back(connection, error.into())),
        },
        Err(error) => Err(roll_back(connection, error)),
    }
}

fn apply_all(connection: &Connection, batch: &mut [Item]) -> Result<(), Error> {
    for item in batch {
        connection.prepare_cached("SAVEPOINT one")?.execute([])?;
        if !item.work.apply(connection) {
            connection.prepare_cached("ROLLBACK TO one")?.execute([])?;
        }
        connection.prepare_cached("RELEASE one")?.execute([])?;
    }
    Ok(())
}

fn roll_back(connection: &Connection, cause: Error) -> Error {
    // Some errors (a full disk) have rolled back already; then there is nothing to do.
    if !connection.is_autocommit() {
        let _ = connection.execute_batch("ROLLBACK");
    }
    cause
}

fn set_level(connection: &Connection, wanted: Level, level: &mut Level) -> Result<(), Error> {
    if *level == wanted {
        return Ok(());
    }
    let pragma = match wanted {
        Level::Full | Level::Unknown => "PRAGMA synchronous = FULL",
        Level::Normal => "PRAGMA synchronous = NORMAL",
        Level::Off => "PRAGMA synchronous = OFF",
    };
    connection.execute_batch(pragma)?;
    *level = wanted;
    Ok(())
}
