//! The embedded store: one SQLite file in WAL mode, one daemon.
//!
//! All writes go through one thread that shares a commit among all that wait ([`threads`]); reads have
//! connections of their own and see the last commit. A third kind of thread moves the log into the file
//! ([`checkpoint`]). Sealing and JSON happen in the caller's task, so that the writer only binds and steps. What an operation does is in [`signings`], [`outbox`],
//! [`inbox`] and [`retention`]; this file only sends it where it belongs.

mod checkpoint;
mod checks;
mod file;
mod inbox;
mod outbox;
mod queue;
mod retention;
mod signings;
mod threads;

pub(super) use file::examine;

use std::{
    fmt,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use bytes::Bytes;
use jiff::Timestamp;
use rusqlite::{Connection, types::Value};

use crate::{
    clock::SharedClock,
    domain::{
        AccountId, CallerName, DeliveryId, EndpointId, EnvelopeId, Event, EventId, LinkId, Private,
        SenderName, Signing, SigningId,
    },
    store::{
        Answer, Begun, Change, ConnectedSender, Delivery, Destroyed, Digest, DueDelivery, Durability,
        Endpoint, Error, EventFilter, Filter, Inbound, Intent, Link, NotedCalls, Received, Record, Retention,
        Settings, Spent, Store, Taking, Version,
        rows::{
            self, ChangedRow, InboundRow, NewRow, SenderRow, SigningRow, bytes, micros, payload_place,
            seal_endpoint, signed, timestamp,
        },
        seal::{SEALED_COLUMNS, SealKeys},
        sqlite::{
            file::{Access, DatabaseFile},
            queue::Queue,
            threads::{Job, MAX_WAITING, Write, Writer, job, stopped},
        },
    },
};

/// Room that must be there before a store whose writes failed counts as well again.
const ROOM_BYTES: i64 = 256 << 10;

/// The store in a file.
pub struct SqliteStore {
    keys: SealKeys,
    clock: SharedClock,
    patience: Duration,
    /// Whether there may be an endpoint. Without one, events need no deliveries, and are not looked through.
    listened_to: AtomicBool,
    writes: Arc<Queue<Write>>,
    reads: Arc<Queue<Box<dyn Job>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// Whether a write has failed since the last check that found all well.
    failing: AtomicBool,
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
        let listened_to = AtomicBool::new(outbox::is_listened_to(&connection)?);
        let writes = Arc::new(Queue::new(MAX_WAITING));
        let reads = Arc::new(Queue::<Box<dyn Job>>::new(MAX_WAITING));
        let store = Self {
            keys,
            clock,
            patience: settings.patience,
            listened_to,
            writes: Arc::clone(&writes),
            reads: Arc::clone(&reads),
            threads: Mutex::default(),
            failing: AtomicBool::new(false),
        };
        for _ in 0..settings.connections.max(1) {
            let (file, reads) = (Arc::clone(&file), Arc::clone(&reads));
            let connection = file.connect(Access::Read)?;
            store.spawn("store-read", move || threads::read(&file, &reads, connection))?;
        }
        let writing = Writer::new(file, writes, connection, settings.synchronous)?;
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

    fn threads(&self) -> std::sync::MutexGuard<'_, Vec<JoinHandle<()>>> {
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
        outcome
    }

    /// Runs a query on the last committed state.
    async fn read<T: Send + 'static>(
        &self,
        run: impl Fn(&Connection) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (job, answer) = job(run);
        self.reads.push(job)?;
        match tokio::time::timeout(self.patience, answer).await {
            Ok(answer) => answer.unwrap_or_else(|_| Err(stopped())),
            Err(_) => Err(Error::Unavailable(format!("a query took more than {:?}", self.patience))),
        }
    }

    /// Repeats a batch of a clean-up until it finds less than a full one.
    async fn sweep(
        &self,
        batch: impl Fn(&Connection) -> Result<u64, Error> + Clone + Send + 'static,
    ) -> Result<u64, Error> {
        let mut total = 0;
        loop {
            let destroyed = self.write(Durability::Flushed, batch.clone()).await?;
            total += destroyed;
            if destroyed < u64::from(retention::BATCH) {
                return Ok(total);
            }
        }
    }

    /// Seals anew what older keys of the ring have sealed.
    async fn reseal(&self) -> Result<(), Error> {
        for older in self.keys.ids().skip(1) {
            if !self.read(move |db| retention::is_sealed_with(db, older)).await? {
                continue;
            }
            for column in SEALED_COLUMNS {
                // Less than every id: SQLite sorts text before bytes.
                let mut from = Some(Value::Text(String::new()));
                while let Some(after) = from {
                    let keys = self.keys.clone();
                    let batch = move |db: &Connection| retention::reseal(db, &keys, older, column, &after);
                    from = self.write(Durability::Flushed, batch).await?;
                }
            }
            self.write(Durability::Synced, move |db| retention::forget_key(db, older)).await?;
        }
        Ok(())
    }

    fn record(&self, row: Option<SigningRow>) -> Result<Option<Record>, Error> {
        row.map(|row| row.into_record(&self.keys)).transpose()
    }

    fn inbound(&self, rows: Vec<InboundRow>) -> Result<Vec<Inbound>, Error> {
        rows.into_iter().map(|row| row.into_inbound(&self.keys)).collect()
    }
}

impl Drop for SqliteStore {
    /// Lets what was accepted be written, and the file be free once the value is gone.
    fn drop(&mut self) {
        self.writes.close();
        self.reads.close();
        for thread in std::mem::take(&mut *self.threads()) {
            let _ = thread.join();
        }
    }
}

impl Store for SqliteStore {
    fn begin(&self, intent: Intent) -> Answer<'_, Begun> {
        Box::pin(async move {
            let row = NewRow::new(intent, &self.keys);
            let known = self.write(Durability::Synced, move |db| signings::begin(db, &row)).await?;
            Ok(match self.record(known)? {
                None => Begun::New(Version(1)),
                Some(record) => Begun::Known(Box::new(record)),
            })
        })
    }

    fn signing(&self, id: SigningId) -> Answer<'_, Option<Record>> {
        Box::pin(async move { self.record(self.read(move |db| signings::by_id(db, id)).await?) })
    }

    fn signing_by_key<'a>(&'a self, caller: &'a CallerName, key: Digest) -> Answer<'a, Option<Record>> {
        let caller = caller.clone();
        Box::pin(async move { self.record(self.read(move |db| signings::by_key(db, &caller, &key)).await?) })
    }

    fn signing_by_envelope<'a>(&'a self, envelope: &'a EnvelopeId) -> Answer<'a, Option<Record>> {
        let envelope = envelope.clone();
        Box::pin(async move { self.record(self.read(move |db| signings::by_envelope(db, &envelope)).await?) })
    }

    fn signings<'a>(&'a self, caller: &'a CallerName, filter: Filter) -> Answer<'a, Vec<Signing>> {
        let caller = caller.clone();
        Box::pin(async move {
            let rows = self.read(move |db| signings::list(db, &caller, &filter)).await?;
            rows.into_iter().map(|row| row.into_signing(&self.keys)).collect()
        })
    }

    fn save<'a>(&'a self, change: Change<'a>) -> Answer<'a, Version> {
        Box::pin(async move {
            let (durability, next) = (change.durability, Version(change.from.0 + 1));
            let row = ChangedRow::new(change, &self.keys, self.clock.now());
            self.write(durability, move |db| signings::save(db, &row)).await?;
            Ok(next)
        })
    }

    fn forget(&self, id: SigningId, from: Version) -> Answer<'_, ()> {
        Box::pin(self.write(Durability::Synced, move |db| signings::forget(db, id, signed(from.0))))
    }

    fn payload(&self, id: SigningId) -> Answer<'_, Option<Private<Bytes>>> {
        Box::pin(async move {
            let id = bytes(id.as_uuid());
            let sealed = self.read(move |db| signings::payload(db, &id)).await?;
            let open = |sealed| self.keys.open(payload_place(&id), sealed).map(Private::new);
            sealed.map(open).transpose()
        })
    }

    fn claim(&self, now: Timestamp, until: Timestamp, limit: u32) -> Answer<'_, Vec<Record>> {
        Box::pin(async move {
            let (now, until) = (micros(now), micros(until));
            let claimed =
                self.write(Durability::Flushed, move |db| signings::claim(db, now, until, limit)).await?;
            rows::readable(claimed, &self.keys)
        })
    }

    fn unsettled(&self) -> Answer<'_, u64> {
        Box::pin(self.read(signings::unsettled))
    }

    fn uncertain(&self) -> Answer<'_, u64> {
        Box::pin(self.read(signings::uncertain))
    }

    fn quiet<'a>(
        &'a self,
        before: Timestamp,
        except: &'a [SenderName],
        limit: u32,
    ) -> Answer<'a, Vec<Record>> {
        let except = except.to_vec();
        Box::pin(async move {
            let found = self.read(move |db| signings::quiet(db, micros(before), &except, limit)).await?;
            rows::readable(found, &self.keys)
        })
    }

    fn link_by_token(&self, token: Digest) -> Answer<'_, Option<Link>> {
        Box::pin(self.read(move |db| signings::link_by_token(db, &token)))
    }

    fn link(&self, id: LinkId) -> Answer<'_, Option<Link>> {
        Box::pin(self.read(move |db| signings::link(db, id)))
    }

    fn add_link(&self, link: Link) -> Answer<'_, ()> {
        Box::pin(self.write(Durability::Synced, move |db| signings::add_link(db, &link)))
    }

    fn revoke_link(&self, id: LinkId, now: Timestamp) -> Answer<'_, ()> {
        Box::pin(self.write(Durability::Synced, move |db| signings::revoke_link(db, id, now)))
    }

    fn receive(&self, inbound: Inbound) -> Answer<'_, Received> {
        Box::pin(async move {
            let row = InboundRow::new(inbound, &self.keys);
            self.write(Durability::Synced, move |db| inbox::receive(db, &row)).await
        })
    }

    fn inbox(&self, limit: u32) -> Answer<'_, Vec<Inbound>> {
        Box::pin(async move { self.inbound(self.read(move |db| inbox::waiting(db, limit)).await?) })
    }

    fn taken_in(&self, identity: Digest, now: Timestamp) -> Answer<'_, ()> {
        // Lost in a power cut, it is taken in once more, which changes nothing.
        Box::pin(self.write(Durability::Flushed, move |db| inbox::taken_in(db, &identity, micros(now))))
    }

    fn inbound_of<'a>(&'a self, envelope: &'a EnvelopeId) -> Answer<'a, Vec<Inbound>> {
        let envelope = envelope.clone();
        Box::pin(async move { self.inbound(self.read(move |db| inbox::of(db, &envelope)).await?) })
    }

    fn add_events(&self, events: Vec<Event>) -> Answer<'_, ()> {
        Box::pin(self.write(Durability::Synced, move |db| outbox::add_events(db, &events)))
    }

    fn events(&self, filter: EventFilter) -> Answer<'_, Vec<Event>> {
        Box::pin(self.read(move |db| outbox::events(db, &filter)))
    }

    fn event_before(&self, filter: EventFilter, at: Timestamp) -> Answer<'_, Option<EventId>> {
        Box::pin(self.read(move |db| outbox::event_before(db, &filter, micros(at))))
    }

    fn put_endpoint(&self, endpoint: Endpoint) -> Answer<'_, ()> {
        Box::pin(async move {
            self.listened_to.store(true, Ordering::SeqCst);
            let sealed = seal_endpoint(&self.keys, &endpoint);
            self.write(Durability::Synced, move |db| outbox::put_endpoint(db, &endpoint, &sealed)).await
        })
    }

    fn endpoints<'a>(&'a self, caller: Option<&'a CallerName>) -> Answer<'a, Vec<Endpoint>> {
        let caller = caller.cloned();
        Box::pin(async move {
            let rows = self.read(move |db| outbox::endpoints(db, caller.as_ref())).await?;
            rows.into_iter().map(|row| row.into_endpoint(&self.keys)).collect()
        })
    }

    fn switch_endpoint(&self, id: EndpointId, disabled_at: Option<Timestamp>) -> Answer<'_, ()> {
        let disabled_at = disabled_at.map(micros);
        Box::pin(self.write(Durability::Synced, move |db| outbox::switch_endpoint(db, id, disabled_at)))
    }

    fn remove_endpoint(&self, id: EndpointId) -> Answer<'_, ()> {
        Box::pin(self.write(Durability::Synced, move |db| outbox::remove_endpoint(db, id)))
    }

    fn fan_out(&self, now: Timestamp, limit: u32) -> Answer<'_, u64> {
        Box::pin(async move {
            if !self.listened_to.load(Ordering::SeqCst) {
                return Ok(0);
            }
            self.write(Durability::Flushed, move |db| outbox::fan_out(db, now, limit)).await
        })
    }

    fn pulse(&self, now: Timestamp) -> Answer<'_, ()> {
        Box::pin(self.write(Durability::Flushed, move |db| inbox::pulse(db, micros(now))))
    }

    fn last_pulse(&self) -> Answer<'_, Option<Timestamp>> {
        Box::pin(async move { self.read(inbox::last_pulse).await?.map(timestamp).transpose() })
    }

    fn claim_deliveries(
        &self,
        now: Timestamp,
        until: Timestamp,
        per_endpoint: u32,
        limit: u32,
    ) -> Answer<'_, Vec<DueDelivery>> {
        Box::pin(async move {
            if !self.listened_to.load(Ordering::SeqCst) {
                return Ok(Vec::new());
            }
            let (now, until) = (micros(now), micros(until));
            let due = self
                .write(Durability::Flushed, move |db| {
                    outbox::claim_deliveries(db, now, until, per_endpoint, limit)
                })
                .await?;
            due.into_iter().map(|due| due.open(&self.keys)).collect()
        })
    }

    fn delivery_attempted(&self, delivery: Delivery) -> Answer<'_, ()> {
        // Lost in a power cut, it is delivered twice: deliveries may repeat, events do not.
        Box::pin(self.write(Durability::Flushed, move |db| outbox::delivery_attempted(db, &delivery)))
    }

    fn deliveries<'a>(
        &'a self,
        caller: &'a CallerName,
        before: Option<DeliveryId>,
        limit: u32,
    ) -> Answer<'a, Vec<Delivery>> {
        let caller = caller.clone();
        Box::pin(self.read(move |db| outbox::deliveries(db, &caller, before, limit)))
    }

    fn replay(&self, id: DeliveryId, now: Timestamp) -> Answer<'_, ()> {
        Box::pin(self.write(Durability::Synced, move |db| outbox::replay(db, id, micros(now))))
    }

    fn oldest_pending_delivery(&self) -> Answer<'_, Option<Timestamp>> {
        Box::pin(async move { self.read(outbox::oldest_pending).await?.map(timestamp).transpose() })
    }

    fn note_calls(&self, hour: Timestamp, counts: Vec<(String, u64)>) -> Answer<'_, ()> {
        Box::pin(async move {
            let note = move |db: &Connection| signings::note_calls(db, micros(hour), &counts);
            self.write(Durability::Flushed, note).await
        })
    }

    fn noted_calls(&self, since: Timestamp, until: Timestamp) -> Answer<'_, Vec<NotedCalls>> {
        Box::pin(
            async move { self.read(move |db| signings::noted_calls(db, micros(since), micros(until))).await },
        )
    }

    fn spend<'a>(&'a self, account: &'a AccountId, window: Timestamp, calls: u64) -> Answer<'a, Spent> {
        let account = account.clone();
        Box::pin(async move {
            let spend = move |db: &Connection| signings::spend(db, account.as_str(), micros(window), calls);
            Ok(Spent { calls: self.write(Durability::Flushed, spend).await? })
        })
    }

    fn take_checks<'a>(
        &'a self,
        envelopes: &'a [EnvelopeId],
        resource: &'a str,
        taking: Taking,
    ) -> Answer<'a, Vec<(EnvelopeId, Timestamp)>> {
        let (envelopes, resource) = (envelopes.to_vec(), resource.to_owned());
        let take = move |db: &Connection| checks::take(db, &envelopes, &resource, taking);
        Box::pin(self.write(Durability::Synced, take))
    }

    fn return_checks<'a>(
        &'a self,
        envelopes: &'a [EnvelopeId],
        resource: &'a str,
        taken_at: Timestamp,
    ) -> Answer<'a, ()> {
        let (envelopes, resource) = (envelopes.to_vec(), resource.to_owned());
        let give_back = move |db: &Connection| checks::give_back(db, &envelopes, &resource, micros(taken_at));
        Box::pin(self.write(Durability::Flushed, give_back))
    }

    fn count_change<'a>(&'a self, envelope: &'a EnvelopeId, now: Timestamp) -> Answer<'a, u64> {
        let envelope = envelope.clone();
        let count = move |db: &Connection| checks::count_change(db, &envelope, micros(now));
        Box::pin(self.write(Durability::Flushed, count))
    }

    fn connected_sender<'a>(&'a self, sender: &'a SenderName) -> Answer<'a, Option<ConnectedSender>> {
        let name = sender.clone();
        Box::pin(async move {
            let row = self.read(move |db| inbox::sender(db, name.as_str())).await?;
            row.map(|row| row.into_sender(&self.keys)).transpose()
        })
    }

    fn connected_senders(&self) -> Answer<'_, Vec<ConnectedSender>> {
        Box::pin(async move {
            let rows = self.read(inbox::senders).await?;
            rows.into_iter().map(|row| row.into_sender(&self.keys)).collect()
        })
    }

    fn put_connected_sender(&self, sender: ConnectedSender) -> Answer<'_, Version> {
        Box::pin(async move {
            let row = SenderRow::new(&sender, &self.keys);
            let next = self.write(Durability::Synced, move |db| inbox::put_sender(db, &row)).await?;
            Ok(rows::version(next))
        })
    }

    fn remove_connected_sender<'a>(&'a self, sender: &'a SenderName) -> Answer<'a, ()> {
        let name = sender.clone();
        Box::pin(self.write(Durability::Synced, move |db| {
            db.execute("DELETE FROM senders WHERE name = ?1", [name.as_str()])?;
            Ok(())
        }))
    }

    fn destroy(&self, retention: Retention) -> Answer<'_, Destroyed> {
        Box::pin(async move {
            self.reseal().await?;
            Ok(Destroyed {
                keys: self.sweep(move |db| retention::keys(db, retention)).await?,
                personal: self.sweep(move |db| retention::personal(db, retention)).await?,
                events: self.sweep(move |db| retention::events(db, retention)).await?,
                signings: self.sweep(move |db| retention::signings(db, retention)).await?,
            })
        })
    }

    fn check(&self) -> Answer<'_, ()> {
        // A write, because a full or read-only disk is what an operator most needs to hear of. One page fits
        // into the log even then, so after a failure it takes as much as a create may need.
        let now = micros(self.clock.now());
        let was_failing = self.failing.load(Ordering::Relaxed);
        Box::pin(async move {
            let check = move |db: &Connection| {
                db.prepare_cached("UPDATE meta SET value = ?1 WHERE name = 'checked_at'")?.execute([now])?;
                if was_failing {
                    let room = "INSERT OR REPLACE INTO meta (name, value) VALUES ('room', zeroblob(?1))";
                    db.prepare_cached(room)?.execute([ROOM_BYTES])?;
                }
                Ok(())
            };
            self.write(Durability::Flushed, check).await?;
            if was_failing {
                self.failing.store(false, Ordering::Relaxed);
            }
            Ok(())
        })
    }

    fn close(&self) -> Answer<'_, ()> {
        self.writes.close();
        self.reads.close();
        let threads = std::mem::take(&mut *self.threads());
        Box::pin(async move {
            tokio::task::spawn_blocking(move || {
                threads.into_iter().try_for_each(|thread| {
                    thread.join().map_err(|_| Error::Unavailable("a thread of the store failed".into()))
                })
            })
            .await
            .map_err(|e| Error::Unavailable(format!("it could not be closed: {e}")))?
        })
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, time::Duration};

    use jiff::Timestamp;
    use rusqlite::{StatementStatus, params};

    use super::*;
    use crate::{
        clock::ManualClock,
        domain::{EventId, EventKind},
        store::{Location, Synchronous},
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
        let path = folder.join("store.db");
        let settings = Settings { synchronous, ..Settings::new(Location::Sqlite { path: path.clone() }) };
        let clock = Arc::new(ManualClock::new(Timestamp::UNIX_EPOCH));
        let store = SqliteStore::open(&path, &settings, SealKeys::new(&[1; 32], &[]), clock).await.unwrap();
        (store, Folder(folder))
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
        let filter = EventFilter { limit: 100_000, ..EventFilter::default() };
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
        assert!(matches!(two, Err(Error::Conflict)), "{two:?}");
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
