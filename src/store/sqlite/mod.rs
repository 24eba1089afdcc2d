//! The embedded store: one SQLite file in WAL mode, one writer thread, a few readers.
//!
//! All writes go through one thread, which takes everything that waits into one transaction, so that
//! concurrent requests share a sync. A batch in which something must survive a power cut commits with
//! `synchronous = FULL` (or what the settings trade for it); one in which nothing must, without a sync.
//! Source: sqlite.org, "Write-Ahead Logging" and "PRAGMA synchronous".

mod events;
mod links;
mod schema;
mod signings;
mod upkeep;
mod writer;

use std::{
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use jiff::Timestamp;
use rusqlite::{Connection, OpenFlags};

use crate::{
    domain::{
        AccountId, CallerName, DeliveryId, EndpointId, EnvelopeId, Event, LinkId, Private, SenderName,
        Signing, SigningId,
    },
    store::{
        Answer, Begun, Change, ConnectedSender, Delivery, Destroyed, Digest, DueDelivery, Endpoint, Error,
        EventFilter, Filter, Inbound, Intent, Link, Received, Record, Retention, SealKeys, Spent, Store,
        Synchronous, Version,
    },
};
use writer::Writer;

/// The first version without the bug that could corrupt a WAL database when it was reset.
const OLDEST: i32 = 3_051_003;
/// Reads at once.
const READERS: usize = 4;

/// A SQLite file as a store.
pub struct SqliteStore {
    writer: Writer,
    readers: Arc<Readers>,
    keys: Arc<SealKeys>,
    /// Held as long as the store lives, so that no second daemon writes to the file.
    _lock: std::fs::File,
}

struct Readers {
    idle: Mutex<Vec<Connection>>,
    slots: tokio::sync::Semaphore,
}

impl std::fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SqliteStore")
    }
}

impl SqliteStore {
    /// Opens the file, or makes a new one (mode 0600), and brings its schema up to date.
    pub fn open(path: &Path, keys: SealKeys, synchronous: Synchronous) -> Result<Self, Error> {
        if rusqlite::version_number() < OLDEST {
            return Err(Error::Unusable(format!(
                "SQLite {} may corrupt its file; 3.51.3 is needed",
                rusqlite::version()
            )));
        }
        let lock = lock(path)?;
        let keys = Arc::new(keys);
        let mut connection = connect(path, Access::Write)?;
        schema::migrate(&mut connection, path)?;
        schema::prove_key(&connection, &keys)?;
        let readers = (0..READERS).map(|_| connect(path, Access::Read)).collect::<Result<Vec<_>, _>>()?;
        let writer = Writer::start(connection, synchronous)?;
        let readers = Readers { idle: Mutex::new(readers), slots: tokio::sync::Semaphore::new(READERS) };
        Ok(Self { writer, readers: Arc::new(readers), keys, _lock: lock })
    }

    /// Reads on a connection of its own, off the executor's threads.
    async fn read<T, F>(&self, query: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Connection, &SealKeys) -> Result<T, Error> + Send + 'static,
    {
        let readers = Arc::clone(&self.readers);
        let keys = Arc::clone(&self.keys);
        let _slot = self
            .readers
            .slots
            .acquire()
            .await
            .map_err(|_| Error::Unavailable("the store is closed".into()))?;
        let reading = tokio::task::spawn_blocking(move || {
            let taken = readers.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let connection = taken.ok_or_else(|| Error::Unavailable("the store is closed".into()))?;
            let result = query(&connection, &keys);
            readers.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
            result
        });
        reading.await.map_err(|_| Error::Unavailable("a read was aborted".into()))?
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    Read,
    Write,
}

fn connect(path: &Path, access: Access) -> Result<Connection, Error> {
    let flags = match access {
        Access::Read => OpenFlags::SQLITE_OPEN_READ_ONLY,
        Access::Write => OpenFlags::SQLITE_OPEN_READ_WRITE,
    };
    let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)
        .map_err(|error| at(path, &error))?;
    connection.set_prepared_statement_cache_capacity(64);
    let pragmas = match access {
        Access::Read => "PRAGMA busy_timeout = 5000; PRAGMA query_only = ON;",
        Access::Write => {
            "PRAGMA busy_timeout = 5000; PRAGMA journal_mode = WAL; PRAGMA foreign_keys = ON;
             PRAGMA journal_size_limit = 67108864; PRAGMA wal_autocheckpoint = 4000;"
        }
    };
    connection.execute_batch(pragmas).map_err(|error| at(path, &error))?;
    Ok(connection)
}

/// One daemon a file: the lock goes with the process, however it ends.
fn lock(path: &Path) -> Result<std::fs::File, Error> {
    let unavailable = |error: &dyn std::fmt::Display| {
        Error::Unavailable(format!("cannot open {}: {error}", path.display()))
    };
    let mut options = std::fs::OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    options.open(path).map_err(|error| unavailable(&error))?;
    let beside = PathBuf::from(format!("{}-lock", path.display()));
    let file = options.open(&beside).map_err(|error| unavailable(&error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(Error::Unavailable(format!(
            "another process uses {}; several daemons share a Postgres database instead",
            path.display()
        ))),
        Err(std::fs::TryLockError::Error(error)) => Err(unavailable(&error)),
    }
}

/// What an error of SQLite means to us, by its code.
fn meaning(error: &rusqlite::Error) -> Error {
    use rusqlite::ErrorCode;
    let text = match error {
        // The message may quote a value; the code says enough.
        rusqlite::Error::SqliteFailure(failure, _) => failure.to_string(),
        rusqlite::Error::QueryReturnedNoRows => return Error::Conflict,
        _ => "a row is not of the shape that this program wrote".to_owned(),
    };
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
            Error::Unusable(format!("{text}: the file is corrupt or not ours; restore it from a backup"))
        }
        Some(ErrorCode::DiskFull) => Error::Unavailable(format!("{text}: free space on its disk")),
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => {
            Error::Unavailable(format!("{text}: make the file and its directory writable"))
        }
        Some(_) => Error::Unavailable(text),
        None => Error::Unusable(text),
    }
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        meaning(&error)
    }
}

fn at(path: &Path, error: &rusqlite::Error) -> Error {
    let place = |text: String| format!("{}: {text}", path.display());
    match meaning(error) {
        Error::Unavailable(text) => Error::Unavailable(place(text)),
        Error::Unusable(text) => Error::Unusable(place(text)),
        Error::Conflict => Error::Conflict,
    }
}

/// Microseconds since 1970.
fn micros(at: Timestamp) -> i64 {
    at.as_microsecond()
}

fn time(micros: i64) -> Timestamp {
    Timestamp::from_microsecond(micros).unwrap_or(Timestamp::UNIX_EPOCH)
}

fn maybe_time(micros: Option<i64>) -> Option<Timestamp> {
    micros.map(time)
}

/// A uuid column.
fn uuid(row: &rusqlite::Row<'_>, index: usize) -> rusqlite::Result<uuid::Uuid> {
    Ok(uuid::Uuid::from_bytes(row.get::<_, [u8; 16]>(index)?))
}

impl Store for SqliteStore {
    fn begin(&self, intent: Intent) -> Answer<'_, Begun> {
        Box::pin(async move {
            // Sealed here and not on the writer's thread, which everyone shares.
            let row = signings::NewRow::of(&intent, &self.keys);
            let key = intent.key;
            let begun = self.writer.synced(move |connection| signings::begin(connection, &row)).await?;
            match begun {
                Some(version) => Ok(Begun::New(version)),
                None => {
                    let found =
                        self.read(move |connection, keys| signings::by_key(connection, keys, key)).await?;
                    found.map(|record| Begun::Known(Box::new(record))).ok_or(Error::Conflict)
                }
            }
        })
    }

    fn signing(&self, id: SigningId) -> Answer<'_, Option<Record>> {
        Box::pin(self.read(move |connection, keys| signings::by_id(connection, keys, id)))
    }

    fn signing_by_key<'a>(&'a self, _: &'a CallerName, key: Digest) -> Answer<'a, Option<Record>> {
        Box::pin(self.read(move |connection, keys| signings::by_key(connection, keys, key)))
    }

    fn signing_by_envelope<'a>(&'a self, envelope: &'a EnvelopeId) -> Answer<'a, Option<Record>> {
        let envelope = envelope.to_string();
        Box::pin(self.read(move |connection, keys| signings::by_envelope(connection, keys, &envelope)))
    }

    fn signings<'a>(&'a self, caller: &'a CallerName, filter: Filter) -> Answer<'a, Vec<Signing>> {
        let caller = caller.to_string();
        Box::pin(self.read(move |connection, keys| signings::page(connection, keys, &caller, &filter)))
    }

    fn save<'a>(&'a self, change: Change<'a>) -> Answer<'a, Version> {
        Box::pin(async move {
            let durability = change.durability;
            let row = signings::ChangedRow::of(change, &self.keys);
            self.writer.with(durability, move |connection| signings::save(connection, &row)).await
        })
    }

    fn forget(&self, id: SigningId, from: Version) -> Answer<'_, ()> {
        Box::pin(self.writer.synced(move |connection| signings::forget(connection, id, from)))
    }

    fn payload(&self, id: SigningId) -> Answer<'_, Option<Private<Bytes>>> {
        Box::pin(self.read(move |connection, keys| signings::payload(connection, keys, id)))
    }

    fn claim(&self, now: Timestamp, until: Timestamp, limit: u32) -> Answer<'_, Vec<Record>> {
        Box::pin(async move {
            // Most of the time nothing is due: looking costs a read, not a write.
            if !self.read(move |connection, _| signings::any_due(connection, now)).await? {
                return Ok(Vec::new());
            }
            let keys = Arc::clone(&self.keys);
            self.writer.flushed(move |connection| signings::claim(connection, &keys, now, until, limit)).await
        })
    }

    fn unsettled(&self) -> Answer<'_, u64> {
        Box::pin(self.read(|connection, _| signings::unsettled(connection)))
    }

    fn quiet(&self, before: Timestamp, limit: u32) -> Answer<'_, Vec<Record>> {
        Box::pin(self.read(move |connection, keys| signings::quiet(connection, keys, before, limit)))
    }

    fn link_by_token(&self, token: Digest) -> Answer<'_, Option<Link>> {
        Box::pin(self.read(move |connection, _| links::by_token(connection, token)))
    }

    fn link(&self, id: LinkId) -> Answer<'_, Option<Link>> {
        Box::pin(self.read(move |connection, _| links::by_id(connection, id)))
    }

    fn add_link(&self, link: Link) -> Answer<'_, ()> {
        Box::pin(self.writer.synced(move |connection| links::add(connection, &link)))
    }

    fn revoke_link(&self, id: LinkId, now: Timestamp) -> Answer<'_, ()> {
        Box::pin(self.writer.synced(move |connection| links::revoke(connection, id, now)))
    }

    fn receive(&self, inbound: Inbound) -> Answer<'_, Received> {
        Box::pin(async move {
            let sealed = self.keys.seal(links::inbound_place(&inbound.identity), inbound.body.reveal());
            self.writer.synced(move |connection| links::receive(connection, &inbound, &sealed)).await
        })
    }

    fn inbox(&self, limit: u32) -> Answer<'_, Vec<Inbound>> {
        Box::pin(self.read(move |connection, keys| links::inbox(connection, keys, limit)))
    }

    fn taken_in(&self, identity: Digest, now: Timestamp) -> Answer<'_, ()> {
        Box::pin(self.writer.flushed(move |connection| links::taken_in(connection, identity, now)))
    }

    fn inbound_of<'a>(&'a self, envelope: &'a EnvelopeId) -> Answer<'a, Vec<Inbound>> {
        let envelope = envelope.to_string();
        Box::pin(self.read(move |connection, keys| links::inbound_of(connection, keys, &envelope)))
    }

    fn add_events(&self, new: Vec<Event>) -> Answer<'_, ()> {
        Box::pin(
            self.writer
                .synced(move |connection| new.iter().try_for_each(|event| events::add(connection, event))),
        )
    }

    fn events(&self, filter: EventFilter) -> Answer<'_, Vec<Event>> {
        Box::pin(self.read(move |connection, _| events::list(connection, &filter)))
    }

    fn put_endpoint(&self, endpoint: Endpoint) -> Answer<'_, ()> {
        Box::pin(async move {
            let sealed = events::seal_secrets(&self.keys, &endpoint);
            self.writer.synced(move |connection| events::put_endpoint(connection, &endpoint, &sealed)).await
        })
    }

    fn endpoints<'a>(&'a self, caller: Option<&'a CallerName>) -> Answer<'a, Vec<Endpoint>> {
        let caller = caller.map(ToString::to_string);
        Box::pin(self.read(move |connection, keys| events::endpoints(connection, keys, caller.as_deref())))
    }

    fn remove_endpoint(&self, id: EndpointId) -> Answer<'_, ()> {
        Box::pin(self.writer.synced(move |connection| events::remove_endpoint(connection, id)))
    }

    fn fan_out(&self, now: Timestamp, limit: u32) -> Answer<'_, u64> {
        Box::pin(async move {
            if !self.read(|connection, _| events::any_to_fan_out(connection)).await? {
                return Ok(0);
            }
            self.writer.flushed(move |connection| events::fan_out(connection, now, limit)).await
        })
    }

    fn claim_deliveries(
        &self,
        now: Timestamp,
        until: Timestamp,
        per_endpoint: u32,
        limit: u32,
    ) -> Answer<'_, Vec<DueDelivery>> {
        Box::pin(async move {
            if !self.read(move |connection, _| events::any_due(connection, now)).await? {
                return Ok(Vec::new());
            }
            let keys = Arc::clone(&self.keys);
            let claim = move |connection: &Connection| {
                events::claim(connection, &keys, now, until, per_endpoint, limit)
            };
            self.writer.flushed(claim).await
        })
    }

    fn delivery_attempted(&self, delivery: Delivery) -> Answer<'_, ()> {
        Box::pin(self.writer.flushed(move |connection| events::attempted(connection, &delivery)))
    }

    fn deliveries<'a>(
        &'a self,
        caller: &'a CallerName,
        before: Option<DeliveryId>,
        limit: u32,
    ) -> Answer<'a, Vec<Delivery>> {
        let caller = caller.to_string();
        Box::pin(self.read(move |connection, _| events::deliveries(connection, &caller, before, limit)))
    }

    fn replay(&self, id: DeliveryId, now: Timestamp) -> Answer<'_, ()> {
        Box::pin(self.writer.synced(move |connection| events::replay(connection, id, now)))
    }

    fn oldest_pending_delivery(&self) -> Answer<'_, Option<Timestamp>> {
        Box::pin(self.read(|connection, _| events::oldest_pending(connection)))
    }

    fn spend<'a>(&'a self, account: &'a AccountId, window: Timestamp, calls: u64) -> Answer<'a, Spent> {
        let account = account.to_string();
        Box::pin(self.writer.flushed(move |connection| upkeep::spend(connection, &account, window, calls)))
    }

    fn connected_sender<'a>(&'a self, sender: &'a SenderName) -> Answer<'a, Option<ConnectedSender>> {
        let sender = sender.to_string();
        Box::pin(async move {
            let all =
                self.read(move |connection, keys| upkeep::senders(connection, keys, Some(&sender))).await?;
            Ok(all.into_iter().next())
        })
    }

    fn connected_senders(&self) -> Answer<'_, Vec<ConnectedSender>> {
        Box::pin(self.read(|connection, keys| upkeep::senders(connection, keys, None)))
    }

    fn put_connected_sender(&self, sender: ConnectedSender) -> Answer<'_, Version> {
        Box::pin(async move {
            let sealed = upkeep::seal_refresh(&self.keys, &sender);
            self.writer
                .synced(move |connection| upkeep::put_sender(connection, &sender, sealed.as_deref()))
                .await
        })
    }

    fn remove_connected_sender<'a>(&'a self, sender: &'a SenderName) -> Answer<'a, ()> {
        let sender = sender.to_string();
        Box::pin(self.writer.synced(move |connection| {
            connection
                .prepare_cached("DELETE FROM connected_senders WHERE sender = ?1")?
                .execute([&sender])?;
            Ok(())
        }))
    }

    fn destroy(&self, retention: Retention) -> Answer<'_, Destroyed> {
        Box::pin(self.writer.synced(move |connection| upkeep::destroy(connection, &retention)))
    }

    fn check(&self) -> Answer<'_, ()> {
        Box::pin(self.writer.flushed(|connection| {
            connection.prepare_cached("SELECT 1")?.query_row([], |_| Ok(()))?;
            Ok(())
        }))
    }

    fn close(&self) -> Answer<'_, ()> {
        Box::pin(async move {
            self.writer.close().await;
            self.readers.slots.close();
            self.readers.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
            Ok(())
        })
    }
}
