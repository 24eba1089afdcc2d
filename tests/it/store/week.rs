//! Two virtual weeks of traffic on the real store: the first fills it, and over the second neither its rows
//! nor its file grow, because retention takes away what comes. Nor does the process grow: that is asserted
//! in the long run only, which is made alone (`proof_lengths`), because other tests share the process.
//!
//! Most signings come as their rows do: intent, answer, what the upstream pushes, events and their deliveries.
//! A few are created by the daemon itself and finished by its recovery, which also ends those whose time is
//! over. Idempotency keys live for seven days, so a store is full only after that, however short its
//! retention is.

use std::{collections::BTreeMap, future::ready, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use countersign::{
    clock::{Clock as _, ManualClock},
    domain::{
        AccountId, EnvelopeFact, EnvelopeId, EventId, EventKind, Fact, Private, SignerFact, SigningId,
        SigningStatus,
    },
    emulator::InMemory,
    http_client::{Carried, Carrier},
    lifecycle::Spawner,
    signing::{Created, Signings},
    store::{self, Change, DeliveryState, Inbound, KeptAnswer, Payload, Retention, SharedStore, Synchronous},
};
use futures_util::{StreamExt as _, stream};
use http::Request;
use jiff::SignedDuration;

use crate::{
    process::resident_kib,
    simulation::envelope::{ask_for, daemon, order, prepare},
    store::{Fixture, key, samples},
};

/// Retention is a day; what is kept longest are keys, with the records they name.
const KEEP: SignedDuration = SignedDuration::from_hours(24);
const FILLED: u64 = 9 * 24;
const WEEK: u64 = 7 * 24;
/// What must level off.
const TABLES: [&str; 7] = ["signings", "payloads", "links", "inbound", "events", "deliveries", "ledger"];
/// Every so many hours the daemon makes two by itself: one is signed, one is left lying.
const OWN_EVERY: u64 = 4;
/// So many signings an hour are a long run.
const LONG: u64 = 100;
/// What the process may hold more after the second week: the allocator's and SQLite's leftovers.
const ROOM_KIB: u64 = 16 * 1024;
/// As the upstream's messages are.
const MESSAGE_BYTES: usize = 3_000;

#[derive(Debug)]
struct Wire(InMemory);

impl Carrier for Wire {
    fn carry(&self, request: Request<Bytes>, _: Duration) -> Carried {
        Box::pin(ready(Ok(self.0.vendor(request))))
    }
}

struct Bench {
    fixture: Fixture,
    clock: ManualClock,
    store: SharedStore,
    signings: Signings,
    /// Signings made so far, for numbers that come once.
    count: u64,
    /// Those that nobody signs.
    left_lying: Vec<SigningId>,
}

#[tokio::test]
async fn a_week_of_signings_leaves_the_store_as_large_as_it_was() {
    let mut bench = Bench::new().await;
    let per_hour = crate::proof_lengths::week();
    for hour in 0..FILLED {
        bench.hour(hour, per_hour).await;
    }
    let (rows, size) = (bench.rows(), bench.size());
    let (mut most, mut largest) = (rows.clone(), size);
    let resident = resident_kib(std::process::id());
    for hour in FILLED..FILLED + WEEK {
        bench.hour(hour, per_hour).await;
        largest = largest.max(bench.size());
        for (table, count) in bench.rows() {
            most.entry(table).and_modify(|most| *most = (*most).max(count));
        }
    }
    println!("{} signings; rows {rows:?}, at most {most:?}; {size} bytes, at most {largest}", bench.count);
    let now = resident_kib(std::process::id());
    println!("{resident} KiB resident, and a week later {now}");
    assert!(per_hour < LONG || now <= resident + ROOM_KIB, "{now} KiB resident, and before {resident}");
    for (table, most) in most {
        assert!(most <= rows[table] + rows[table] / 20, "{table}: {most}, and before {}", rows[table]);
    }
    // What is deleted leaves pages that the next rows take: the file does not shrink, nor does it grow.
    assert!(largest <= size + size / 20, "{largest} bytes, and before {size}");
    let record = bench.store.signing(bench.left_lying[0]).await.unwrap();
    assert!(record.is_none(), "what recovery ended went like all others");
}

impl Bench {
    async fn new() -> Self {
        let fixture = Fixture::sqlite();
        let clock = fixture.clock.clone();
        // What is measured is not the disk.
        let settings = store::Settings {
            synchronous: Synchronous::Off,
            ..store::Settings::new(fixture.location.clone())
        };
        let store = store::open(&settings, key(1), Arc::new(clock.clone())).await.unwrap();
        store.put_endpoint(samples::endpoint("hook")).await.unwrap();
        let emulator = InMemory::new(1, Arc::new(clock.clone()));
        prepare(&emulator, Duration::ZERO);
        let (wire, shared) = (Arc::new(Wire(emulator)), Arc::new(clock.clone()));
        let signings = daemon(wire, Arc::clone(&store), &Spawner::tokio(), shared, 1);
        Self { fixture, clock, store, signings, count: 0, left_lying: Vec::new() }
    }

    /// One hour: its signings, the deliveries of all, and retention at its end.
    async fn hour(&mut self, hour: u64, per_hour: u64) {
        let numbers = self.count..self.count + per_hour;
        stream::iter(numbers).for_each_concurrent(64, |number| self.one(number)).await;
        self.count += per_hour;
        if hour.is_multiple_of(OWN_EVERY) {
            self.recovered().await;
        }
        self.deliver().await;
        self.clock.advance(Duration::from_hours(1));
        self.store.note_calls(self.clock.now(), vec![("create_envelope".into(), per_hour)]).await.unwrap();
        self.store.destroy(Retention::at(self.clock.now(), KEEP)).await.unwrap();
    }

    /// Two that recovery sends, and one whose time is over: it had a day.
    async fn recovered(&mut self) {
        let signed = self.created("signed").await;
        let lying = self.created("lying").await;
        self.left_lying.push(lying);
        self.recover(signed, SigningStatus::Open).await;
        self.recover(lying, SigningStatus::Open).await;
        self.end(signed).await;
        if let Some(over) = self.left_lying.iter().rev().nth(7) {
            self.recover(*over, SigningStatus::Expired).await;
        }
    }

    /// A signing from its create to its end, as the rows of a real one come and go.
    async fn one(&self, number: u64) {
        let now = self.clock.now();
        let mut intent = samples::intent(number);
        intent.signing.id = SigningId::generate(now);
        intent.signing.created_at = now;
        intent.signing.expires_at = None;
        intent.payload = None;
        let mut signing = intent.signing.clone();
        intent.links.push(store::Link { created_at: now, ..samples::link(&signing, number) });
        let version = self.begin(intent).await;
        let envelope = EnvelopeId::new(format!("envelope-{number}"));
        signing.open(AccountId::new("account"), envelope.clone());
        let mut event = samples::event(Some(&signing), EventKind::SigningOpened, 1);
        (event.id, event.at) = (EventId::generate(now), now);
        let body = Private::new(Bytes::from(vec![b'a'; 1_500]));
        let change = Change {
            events: &[event],
            answer: Some(KeptAnswer { body }),
            payload: Payload::Drop,
            ..samples::change(&signing, version)
        };
        self.store.save(change).await.unwrap();
        self.hear(number, &envelope).await;
    }

    async fn begin(&self, intent: store::Intent) -> store::Version {
        match self.store.begin(&intent).await.unwrap() {
            store::Begun::New(version) => version,
            store::Begun::Known(_) => panic!("a key that was never used is known"),
        }
    }

    /// What the upstream pushes about an envelope that is signed.
    async fn hear(&self, number: u64, envelope: &EnvelopeId) {
        let signer = |fact| Fact::Signer { recipient_id: "1".into(), fact, at: None };
        let facts = [
            signer(SignerFact::Delivered),
            signer(SignerFact::Signed),
            Fact::Envelope(EnvelopeFact::Completed, None),
        ];
        for (message, fact) in (number * 3..).zip(facts) {
            let body = Private::new(Bytes::from(vec![b'b'; MESSAGE_BYTES]));
            let received_at = self.clock.now();
            let inbound = Inbound { received_at, body, ..samples::inbound(message, Some(envelope)) };
            let identity = inbound.identity;
            self.store.receive(inbound).await.unwrap();
            self.signings.observe(envelope, &[fact]).await.unwrap();
            self.store.taken_in(identity, self.clock.now()).await.unwrap();
        }
    }

    /// A create by the daemon whose caller does not wait: it is queued, for recovery to send.
    async fn created(&self, name: &str) -> SigningId {
        let key = format!("{name}-{}", self.left_lying.len());
        let mut order = order(&key, false);
        order["expires_in"] = "1d".into();
        let ask = ask_for(&key, Bytes::from(order.to_string()), Duration::ZERO);
        match self.signings.create(ask, None).await.unwrap() {
            Created::Accepted { signing, .. } => signing,
            Created::Made { .. } => panic!("nobody waited"),
        }
    }

    /// Lets recovery go round until it has brought this one so far.
    async fn recover(&self, id: SigningId, wanted: SigningStatus) {
        for _ in 0..1_000 {
            if self.store.signing(id).await.unwrap().unwrap().signing.status == wanted {
                return;
            }
            self.signings.round(&Arc::default()).await.unwrap();
            tokio::task::yield_now().await;
        }
        panic!("recovery does not bring {id} to {wanted:?}");
    }

    async fn end(&self, id: SigningId) {
        let envelope = self.store.signing(id).await.unwrap().unwrap().signing.envelope.unwrap();
        self.signings.observe(&envelope, &[Fact::Envelope(EnvelopeFact::Completed, None)]).await.unwrap();
    }

    async fn deliver(&self) {
        let now = self.clock.now();
        while self.store.fan_out(now, 1_000).await.unwrap() > 0 {}
        loop {
            let until = now + SignedDuration::from_mins(1);
            let due = self.store.claim_deliveries(now, until, 1_000, 1_000).await.unwrap();
            if due.is_empty() {
                return;
            }
            let taken = due.into_iter().map(|due| store::Delivery {
                state: DeliveryState::Delivered,
                attempts: 1,
                attempted_at: Some(now),
                response_status: Some(204),
                ..due.delivery
            });
            let write = |delivery| async { self.store.delivery_attempted(delivery).await.unwrap() };
            stream::iter(taken).for_each_concurrent(64, write).await;
        }
    }

    fn rows(&self) -> BTreeMap<&'static str, u64> {
        let db = rusqlite::Connection::open(self.fixture.path()).unwrap();
        let count = |table| db.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0));
        TABLES.into_iter().map(|table| (table, count(table).unwrap())).collect()
    }

    /// The file with its log.
    fn size(&self) -> u64 {
        let size = |path: &Path| std::fs::metadata(path).map_or(0, |file| file.len());
        size(self.fixture.path()) + size(&self.fixture.path().with_file_name("store.db-wal"))
    }
}
