//! Durable state, behind one trait.
//!
//! What is accepted is on disk before it is answered, what is personal is sealed (rule S2), and every
//! change of a signing states the version it was computed from, so that several tasks and several
//! daemons cannot overwrite one another (rule E5). The store holds no rules of the field: it keeps what
//! it is given, and refuses what is stale.
//!
//! It must never see a recipient-view URL or a link token in the clear: of tokens it gets digests, and
//! answers that are kept for a repeated call are sealed like everything else.

use std::{future::Future, path::PathBuf, pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use jiff::Timestamp;

mod bounds;
mod migrations;
mod postgres;
mod records;
mod retention;
mod rows;
mod seal;
mod sqlite;

pub use bounds::{CLOCKS, LONGEST_DELIVERY, LONGEST_DELIVERY_LEASE, LONGEST_LOOK, LONGEST_RETRY};
pub use postgres::PostgresStore;
pub use records::{
    Begun, Change, Counter, Delivery, DeliveryState, DueDelivery, Durability, Endpoint, EventFilter, Filter,
    INBOUND_PAGE, Inbound, InboundPage, Intent, KeptAnswer, Link, NotedCalls, Payload, Received, Record,
    SenderRecord, Taking, Version, Work,
};
pub use retention::{Destroyed, Retention, Sealed};
pub use seal::{KEY_LEN as SEAL_KEY_LEN, SealKeyId, SealKeys};
pub use sqlite::SqliteStore;
pub(crate) use sqlite::place_of_file;

use crate::clock::SharedClock;
use crate::domain::{
    AccountId, CallerName, DeliveryId, EndpointId, EnvelopeId, Event, EventId, LinkId, Private, SenderName,
    Signing, SigningId,
};

/// What every call of the store answers with.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'a>>;

/// A SHA-256 digest.
pub type Digest = [u8; 32];

/// A store as it is passed around.
pub type SharedStore = Arc<dyn Store>;

/// Why the store did not do it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The row has changed since it was read, or what a new one belongs to is gone: read it again and decide again.
    #[error("the record changed meanwhile")]
    Conflict,
    /// The database does not answer, or its disk is full or read-only. May heal by itself.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// The database holds what this program cannot use: foreign, corrupt, newer, or sealed with a key
    /// that is not in the settings; or a constraint does not hold that no other writer can break. Only a
    /// person can heal it.
    #[error("the store is unusable: {0}")]
    Unusable(String),
}

/// Where a store is and how it works.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Which database.
    pub location: Location,
    /// What [`Durability::Synced`] costs and is worth.
    pub synchronous: Synchronous,
    /// Connections that read (SQLite), or all of them (Postgres).
    pub connections: u32,
    /// How long one operation may take before the store counts as unavailable.
    pub patience: Duration,
}

impl Settings {
    /// The usual settings for a database.
    pub fn new(location: Location) -> Self {
        let connections = match location {
            Location::Postgres { .. } => 16,
            Location::Sqlite { .. } => 4,
        };
        Self { location, synchronous: Synchronous::Full, connections, patience: Duration::from_secs(10) }
    }
}

/// Which database.
#[derive(Debug, Clone)]
pub enum Location {
    /// A Postgres that several daemons may share. The URL holds a password.
    Postgres {
        /// `postgres://user:password@host/database`.
        url: Private<String>,
    },
    /// A file of our own.
    Sqlite {
        /// Its path.
        path: PathBuf,
    },
}

impl Location {
    /// Whether it is reached over a network, and any server that answers there is believed to be it.
    pub fn trusts_any_server(&self) -> bool {
        match self {
            Self::Postgres { url } => postgres::trusts_any_server(url),
            Self::Sqlite { .. } => false,
        }
    }
}

/// What it takes until a write counts as durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Synchronous {
    /// It has reached the disk.
    Full,
    /// It survives the death of the process; a power cut may take the last moments, whole.
    Normal,
    /// Like `Normal`; with SQLite, a power cut may also damage the file. For measurements.
    Off,
}

/// Opens the store and brings its schema up to date. Fails rather than start over: what cannot be read
/// is [`Error::Unusable`], in one line that names the fix.
pub async fn open(settings: &Settings, keys: SealKeys, clock: SharedClock) -> Result<SharedStore, Error> {
    Ok(match &settings.location {
        Location::Postgres { url } => Arc::new(PostgresStore::open(url, settings, keys, clock).await?),
        Location::Sqlite { path } => Arc::new(SqliteStore::open(path, settings, keys, clock).await?),
    })
}

/// What lies where the store shall be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// Nothing yet: the first start makes it.
    Nothing,
    /// A store that our keys open. The next start brings its schema up to date if this is not the last one.
    Ours {
        /// Whether its schema is the one that this version writes.
        is_up_to_date: bool,
    },
    /// One that a crash left, or that was copied while it was written: only a start can take it up.
    InLog,
}

/// Looks whether [`open`] would take what is there, and leaves no trace: nothing is made, written or locked. Fails
/// as `open` does.
pub async fn examine(settings: &Settings, keys: &SealKeys) -> Result<Found, Error> {
    match &settings.location {
        Location::Postgres { url } => postgres::examine(url, settings, keys).await,
        Location::Sqlite { path } => {
            let (path, keys) = (path.clone(), keys.clone());
            tokio::task::spawn_blocking(move || sqlite::examine(&path, &keys))
                .await
                .map_err(|e| Error::Unavailable(format!("it could not be looked at: {e}")))?
        }
    }
}

/// What is kept of senders, and leaves no trace either. Only where [`examine`] has found a store whose schema is up to date.
/// Fails where that lies in a log that only a start can take up.
pub async fn kept_of_senders(settings: &Settings, keys: &SealKeys) -> Result<Vec<SenderRecord>, Error> {
    let rows = match &settings.location {
        Location::Postgres { url } => postgres::kept_of_senders(url, settings).await?,
        Location::Sqlite { path } => {
            let path = path.clone();
            tokio::task::spawn_blocking(move || sqlite::kept_of_senders(&path))
                .await
                .map_err(|e| Error::Unavailable(format!("it could not be looked at: {e}")))??
        }
    };
    Ok(rows::legible(rows, "sender record", |row| row.into_record(keys)))
}

/// How many daemons may have a store open at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Daemons {
    /// One: whoever had it open before is gone, and does nothing more.
    One,
    /// Several.
    Several,
}

/// Durable state. Every method is atomic; all may be called from many tasks at once.
pub trait Store: std::fmt::Debug + Send + Sync + 'static {
    /// Stores a new signing with its links, or finds the one that its key has made (rules E1, E3).
    fn begin<'a>(&'a self, intent: &'a Intent) -> Answer<'a, Begun>;

    /// Reads one signing.
    fn signing(&self, id: SigningId) -> Answer<'_, Option<Record>>;

    /// The signing that an idempotency key has made.
    fn signing_by_key<'a>(&'a self, caller: &'a CallerName, key: Digest) -> Answer<'a, Option<Record>>;

    /// The signing that owns an envelope.
    fn signing_by_envelope<'a>(&'a self, envelope: &'a EnvelopeId) -> Answer<'a, Option<Record>>;

    /// The signings that own these envelopes, in the order in which they were made. If one cannot be read it fails: who
    /// owns its envelope is then not known.
    fn signings_of_envelopes<'a>(&'a self, envelopes: &'a [EnvelopeId]) -> Answer<'a, Vec<Record>>;

    /// Lists a caller's signings, newest first.
    fn signings<'a>(&'a self, caller: &'a CallerName, filter: Filter) -> Answer<'a, Vec<Signing>>;

    /// Whose signings there are: each caller once, in the order of their names.
    fn callers(&self) -> Answer<'_, Vec<CallerName>>;

    /// Saves one change, or answers [`Error::Conflict`] if the record has moved on.
    fn save<'a>(&'a self, change: Change<'a>) -> Answer<'a, Version>;

    /// Removes a signing that nobody was promised and that surely has no envelope, if it is still at
    /// that version: the key is free again.
    fn forget(&self, id: SigningId, from: Version) -> Answer<'_, ()>;

    /// The payload of a signing, if it is still kept.
    fn payload(&self, id: SigningId) -> Answer<'_, Option<Private<Bytes>>>;

    /// Claims signings with work due and no live lease, oldest first, and leases them until `until`. Their
    /// versions move on: whoever read them before cannot save any more.
    fn claim(&self, now: Timestamp, until: Timestamp, limit: u32) -> Answer<'_, Vec<Record>>;

    /// Makes due what waits, after a try that failed, of the creates of these senders that are not settled: they can act
    /// again. What somebody is at, or is only looked for in case it comes to light late (`twins_sought`), stays as it is; so
    /// does what waits for the end of a limit (`limited_until`), and a create that a person stands before: it waits with a
    /// lease, and comes by itself, within 5 s, when the limit ends, or a quarter of an hour after a refusal at most. At most
    /// `limit`, those that would come first; answers how many that were: when it is less than `limit`, there are none left.
    /// Versions move on, as with [`claim`](Self::claim).
    fn hasten<'a>(&'a self, senders: &'a [SenderName], now: Timestamp, limit: u32) -> Answer<'a, u64>;

    /// Makes due what is leased, or waits after a failure, for longer than anything ever is, also deliveries, and counts
    /// what was heard of, or ended, in the future as heard of and ended now: the clock that wrote those dates has been
    /// set back since. Answers how many dates that were. Versions move on, as with [`claim`](Self::claim).
    fn mend_dates(&self, now: Timestamp) -> Answer<'_, u64>;

    /// How many signings are `creating` or `uncertain`.
    fn unsettled(&self) -> Answer<'_, u64>;

    /// Which of them, of these senders, may just have made an envelope that is not written down yet: they were sent
    /// (`posted_at`) by `sent_by`, and somebody is at them, or they are uncertain and were sent in the last 15 minutes.
    fn making<'a>(
        &'a self,
        senders: &'a [SenderName],
        now: Timestamp,
        sent_by: Timestamp,
    ) -> Answer<'a, Vec<SigningId>>;

    /// Which of them, of other callers and in this account, may have made an envelope that is not written down yet:
    /// somebody is at them, or they were sent (`posted_at`) in the last 15 minutes, or in the last day and no look-up has
    /// missed it so far. At most `limit` of them, in no order.
    fn making_for_others<'a>(
        &'a self,
        caller: &'a CallerName,
        account: &'a AccountId,
        now: Timestamp,
        limit: u32,
    ) -> Answer<'a, Vec<SigningId>>;

    /// How many of them are uncertain, except those that are only looked for in case they come to light late
    /// (`twins_sought`): nobody was promised those.
    fn uncertain(&self) -> Answer<'_, u64>;

    /// Open signings that were neither checked (`checked_at`) nor heard of (an inbound message about their
    /// envelope) since `before`, oldest first, except those of some senders.
    fn quiet<'a>(
        &'a self,
        before: Timestamp,
        except: &'a [SenderName],
        limit: u32,
    ) -> Answer<'a, Vec<Record>>;

    /// The link whose token has this digest.
    fn link_by_token(&self, token: Digest) -> Answer<'_, Option<Link>>;

    /// One link by its id.
    fn link(&self, id: LinkId) -> Answer<'_, Option<Link>>;

    /// Adds a link to a signing; [`Error::Conflict`] if that is gone, or another link has the token.
    fn add_link(&self, link: Link) -> Answer<'_, ()>;

    /// Revokes a link; repeating it is harmless.
    fn revoke_link(&self, id: LinkId, now: Timestamp) -> Answer<'_, ()>;

    /// Stores an inbound message unless it came before.
    fn receive(&self, inbound: Inbound) -> Answer<'_, Received>;

    /// Inbound messages that were not taken in yet, oldest first.
    fn inbox(&self, limit: u32) -> Answer<'_, Vec<Inbound>>;

    /// Marks an inbound message as taken in.
    fn taken_in(&self, identity: Digest, now: Timestamp) -> Answer<'_, ()>;

    /// What was received about one envelope, oldest first and [`INBOUND_PAGE`] at once: from the beginning, or behind the
    /// `next` of the page before.
    fn inbound_of<'a>(&'a self, envelope: &'a EnvelopeId, after: Option<u64>) -> Answer<'a, InboundPage>;

    /// Writes down that a daemon is there to be told of events. The last one counts, and not the latest: that one's
    /// clock may have been wrong.
    fn pulse(&self, now: Timestamp) -> Answer<'_, ()>;

    /// When a daemon was last there.
    fn last_pulse(&self) -> Answer<'_, Option<Timestamp>>;

    /// Stores events that belong to no change of a signing (senders, budgets).
    fn add_events(&self, events: Vec<Event>) -> Answer<'_, ()>;

    /// Reads the outbox, oldest first. Going on from the last id misses nothing; with several daemons an
    /// event may therefore show a moment after it was stored.
    fn events(&self, filter: EventFilter) -> Answer<'_, Vec<Event>>;

    /// The last event of a slice that is from before that time (`after` and `limit` do not count).
    fn event_before(&self, filter: EventFilter, at: Timestamp) -> Answer<'_, Option<EventId>>;

    /// Adds or replaces an endpoint. One that is there stays on or off as it is.
    fn put_endpoint(&self, endpoint: Endpoint) -> Answer<'_, ()>;

    /// Adds an endpoint, unless its caller has as many as `most` others, dropped ones aside. Answers whether it did: of many
    /// who add one at once none goes past that.
    fn add_endpoint(&self, endpoint: Endpoint, most: u32) -> Answer<'_, bool>;

    /// All endpoints, or those of one caller.
    fn endpoints<'a>(&'a self, caller: Option<&'a CallerName>) -> Answer<'a, Vec<Endpoint>>;

    /// Switches an endpoint off, since that time, or on again; nothing else of it changes. What waited for it
    /// is due once it is on.
    fn switch_endpoint(&self, id: EndpointId, disabled_at: Option<Timestamp>) -> Answer<'_, ()>;

    /// Gives an endpoint the address and the secrets of `to`, unless it is gone or no longer as it was read.
    /// Answers whether it did.
    fn rotate_endpoint(&self, read: Endpoint, to: Endpoint) -> Answer<'_, bool>;

    /// Makes the endpoints of the settings these: all of them, or none if it fails. Whichever of them was off is on again;
    /// those that are not among them are dropped (`dropped_at`). Answers which those are. What is pending for one that was
    /// another caller's is deleted.
    fn replace_webhooks(&self, wanted: Vec<Endpoint>, now: Timestamp) -> Answer<'_, Vec<EndpointId>>;

    /// The endpoints of the settings that were named after the caller whose they were, however long ago, and whether they
    /// are still there or not: by the ids of their names alone.
    fn own_webhooks(&self) -> Answer<'_, Vec<EndpointId>>;

    /// Removes an endpoint and its pending deliveries.
    fn remove_endpoint(&self, id: EndpointId) -> Answer<'_, ()>;

    /// Makes a pending delivery for every event not fanned out yet and every endpoint that wants it.
    /// Answers how many events it took, at most `limit`: when it is 0, there are none left.
    fn fan_out(&self, now: Timestamp, limit: u32) -> Answer<'_, u64>;

    /// Claims deliveries that are due and leases them until `until`, so many that this daemon has at most
    /// `per_endpoint` of each endpoint out at once: a dead receiver never holds up a living one, nor a daemon that died
    /// another one. Endpoints that are disabled or dropped get nothing, and none gets what is another caller's: that
    /// fails.
    fn claim_deliveries(
        &self,
        now: Timestamp,
        until: Timestamp,
        per_endpoint: u32,
        limit: u32,
    ) -> Answer<'_, Vec<DueDelivery>>;

    /// Writes the outcome of an attempt, and ends its lease.
    fn delivery_attempted(&self, delivery: Delivery) -> Answer<'_, ()>;

    /// Gives back deliveries that were claimed and not attempted: each is due at its `due_at`, and its place is free at
    /// once. One that was attempted meanwhile, or that is another daemon's by now, stays as it is.
    fn return_deliveries(&self, deliveries: Vec<Delivery>, now: Timestamp) -> Answer<'_, ()>;

    /// A caller's deliveries, newest first.
    fn deliveries<'a>(
        &'a self,
        caller: &'a CallerName,
        before: Option<DeliveryId>,
        limit: u32,
    ) -> Answer<'a, Vec<Delivery>>;

    /// Makes a delivery pending again, with all its attempts, unless its endpoint is gone.
    fn replay(&self, id: DeliveryId, now: Timestamp) -> Answer<'_, ()>;

    /// When the oldest pending delivery was made to an endpoint that is neither disabled nor dropped.
    fn oldest_pending_delivery(&self) -> Answer<'_, Option<Timestamp>>;

    /// Adds to the counts of an hour, by their names.
    fn note_calls(&self, hour: Timestamp, counts: Vec<(String, u64)>) -> Answer<'_, ()>;

    /// The counts of the hours from `since` to before `until`, of all daemons together.
    fn noted_calls(&self, since: Timestamp, until: Timestamp) -> Answer<'_, Vec<NotedCalls>>;

    /// Adds to a counter's window, and answers what all daemons have counted in it. Nothing added leaves no trace.
    fn spend<'a>(&'a self, counter: &'a Counter, window: Timestamp, count: u64) -> Answer<'a, u64>;

    /// Counts one more in a counter's window, unless that would be more than `most`. With `once` only if that has counted
    /// nothing in the window yet, and counts one there, too. Answers whether it is counted, now or before: of many who
    /// count the same once, one does, and where it is one too many, each is told so.
    fn count_within<'a>(
        &'a self,
        counter: &'a Counter,
        once: Option<&'a Counter>,
        window: Timestamp,
        most: u64,
    ) -> Answer<'a, bool>;

    /// Takes the status check of a resource of envelopes, of each that has none any more (rule B3), before it is
    /// made; answers the others, each with when theirs was taken. Of many who take one at once, one gets it.
    fn take_checks<'a>(
        &'a self,
        envelopes: &'a [EnvelopeId],
        resource: &'a str,
        taking: Taking,
    ) -> Answer<'a, Vec<(EnvelopeId, Timestamp)>>;

    /// Gives checks back that were taken at that time and surely not made.
    fn return_checks<'a>(
        &'a self,
        envelopes: &'a [EnvelopeId],
        resource: &'a str,
        taken_at: Timestamp,
    ) -> Answer<'a, ()>;

    /// Counts a change of an envelope, and answers how many there were.
    fn count_change<'a>(&'a self, envelope: &'a EnvelopeId, now: Timestamp) -> Answer<'a, u64>;

    /// What is kept of a sender under this name.
    fn sender_record<'a>(&'a self, sender: &'a SenderName) -> Answer<'a, Option<SenderRecord>>;

    /// All that is kept of senders.
    fn sender_records(&self) -> Answer<'_, Vec<SenderRecord>>;

    /// Adds or replaces a record of a sender, if nobody has since the version it states (0: a new one).
    fn put_sender_record(&self, sender: SenderRecord) -> Answer<'_, Version>;

    /// Destroys what is kept of a sender under this name.
    fn remove_sender_record<'a>(&'a self, sender: &'a SenderName) -> Answer<'a, ()>;

    /// Destroys what has been kept long enough, in batches that nobody waits for.
    fn destroy(&self, retention: Retention) -> Answer<'_, Destroyed>;

    /// Seals anew what older seal keys have sealed, in batches that nobody waits for, and answers which of them, once used, are
    /// not needed any more. Where several daemons write, nothing must have been found for an hour, since one of them may
    /// still seal with such a key; it holds once none of them does.
    fn reseal(&self) -> Answer<'_, Sealed>;

    /// Whether the database answers, and can be written.
    fn check(&self) -> Answer<'_, ()>;

    /// What an operation has met since this was asked last: what only a person can mend, and on Postgres what did not end
    /// in time, as behind somebody's lock. The database may answer and be written all the same: [`check`](Self::check)
    /// knows no table of what is kept. A row that was read and cannot be opened, with these seal keys or by this version,
    /// is not among it: that one row is told of where it is met.
    fn trouble(&self) -> Option<String>;

    /// How many daemons may have it open at once: whether a lease that another one took may be of one that lives.
    fn daemons(&self) -> Daemons;

    /// What the database's own clock says. Daemons on one store compare each its own clock with the leases of
    /// the others; a store that has one daemon has no other clock.
    fn clock(&self) -> Answer<'_, Option<Timestamp>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    /// Leaves a note of this daemon for the others on the store, and answers theirs as far as they are
    /// younger than `life`. A store that has one daemon has nobody to tell.
    fn note(&self, daemon: uuid::Uuid, note: Vec<u8>, life: Duration) -> Answer<'_, Vec<Vec<u8>>> {
        let _ = (daemon, note, life);
        Box::pin(std::future::ready(Ok(Vec::new())))
    }

    /// Writes what is still buffered and closes.
    fn close(&self) -> Answer<'_, ()>;
}
