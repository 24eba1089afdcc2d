//! Signings a second: a durable begin and the save that ends the create, at concurrency 1, 16 and 64, for
//! each level of durability, on SQLite. With `COUNTERSIGN_BENCH_POSTGRES=postgres://…` (an empty database),
//! on Postgres too.
//!
//! The last line is what both writes cost in CPU time of the whole process.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use bytes::Bytes;
use countersign::{
    clock::{Clock as _, SystemClock},
    domain::{
        AccountId, CallerName, Email, EnvelopeId, Event, EventId, EventKind, LinkId, Mode, Private,
        SenderName, Signer, SignerId, SignerStatus, Signing, SigningId, SigningStatus, TransactionId,
        Upstream,
    },
    store::{
        self, Begun, Change, Durability, Intent, KeptAnswer, Link, Location, Payload, SealKeys, Settings,
        SharedStore, Synchronous, Work,
    },
};
use criterion::{BenchmarkId, Criterion, Throughput};
use jiff::Timestamp;
use tokio::runtime::Runtime;

/// Signings that each task makes in one round.
const EACH: u64 = 8;

fn signing(now: Timestamp) -> Signing {
    Signing {
        id: SigningId::generate(now),
        caller: CallerName::new("website"),
        mode: Mode::Test,
        sender: SenderName::new("system"),
        reference: Some("order-8812".into()),
        status: SigningStatus::Creating,
        transaction_id: TransactionId::generate(),
        posted_at: None,
        missing_since: None,
        repeated_at: None,
        twins_sought: 0,
        account: None,
        envelope: None,
        signers: vec![Signer {
            id: SignerId::generate(now),
            key: "visitor".into(),
            status: SignerStatus::Waiting,
            order: 1,
            name: Private::new("Ada Lovelace".into()),
            email: Email::trusted("ada@example.com".into()),
            recipient_id: "1".into(),
            client_user_id: "0192f1c2a3b47c5d8e9f0a1b2c3d4e5f".into(),
            role: Some("Client".into()),
            return_url: Some("https://www.example.com/done".into()),
            authenticated_by: None,
            sms_auth: true,
            last_return: None,
            upstream: Upstream::default(),
        }],
        metadata: Private::new(BTreeMap::new()),
        locale: Some("de".into()),
        frame_ancestors: vec![],
        failure: None,
        last_try: None,
        live_view: None,
        checked_at: None,
        sequence: 0,
        history: vec![],
        created_at: now,
        completed_at: None,
        expires_at: None,
        purge_requested_at: None,
        purge_scope: None,
        purged_at: None,
    }
}

fn digest() -> store::Digest {
    let mut digest = [0; 32];
    digest[..16].copy_from_slice(TransactionId::generate().as_uuid().as_bytes());
    digest
}

/// What a create does to the store: the intent, then its end with two events and the kept answer.
async fn create(store: &SharedStore) -> SigningId {
    // The real time: ids sort by age, and indexes grow at their end.
    let now = SystemClock.now();
    let mut signing = signing(now);
    let link = Link {
        id: LinkId::generate(now),
        signing: signing.id,
        signer: signing.signers[0].id,
        token: digest(),
        created_at: now,
        expires_at: None,
        revoked_at: None,
    };
    let intent = Intent {
        signing: signing.clone(),
        key: digest(),
        request: digest(),
        links: vec![link],
        payload: Some(Private::new(Bytes::from_static(&[b'x'; 600]))),
        work: Work { due_at: now, leased_until: Some(now), attempts: 0 },
    };
    let Ok(Begun::New(from)) = store.begin(&intent).await else { panic!("the intent was not new") };
    let happened = signing.open(AccountId::new("a"), EnvelopeId::new(signing.id.to_string()));
    signing.sequence = 2;
    let events: Vec<_> = (1..)
        .zip(happened)
        .map(|(sequence, happening)| Event {
            id: EventId::generate(now),
            caller: signing.caller.clone(),
            kind: EventKind::SigningOpened,
            signing: Some(signing.id),
            signer: happening.signer,
            sequence,
            at: now,
            data: "{\"object\":\"signing\"}".repeat(20),
        })
        .collect();
    let change = Change {
        signing: &signing,
        from,
        events: &events,
        links: vec![],
        answer: Some(KeptAnswer { body: Private::new(Bytes::from_static(&[b'x'; 900])) }),
        payload: Payload::Drop,
        work: None,
        durability: Durability::Flushed,
    };
    store.save(change).await.expect("nobody else changes it");
    signing.id
}

async fn round(store: &SharedStore, concurrency: u64) {
    let tasks: Vec<_> = (0..concurrency)
        .map(|_| {
            let store = Arc::clone(store);
            tokio::spawn(async move {
                for _ in 0..EACH {
                    create(&store).await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("no create panics");
    }
}

fn open(runtime: &Runtime, location: Location, synchronous: Synchronous) -> SharedStore {
    let settings = Settings { synchronous, ..Settings::new(location) };
    let keys = SealKeys::new(&[1; 32], &[]);
    runtime.block_on(store::open(&settings, keys, Arc::new(SystemClock))).expect("the store opens")
}

fn folder() -> PathBuf {
    let folder = std::env::temp_dir().join(format!("countersign-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    folder
}

/// CPU time of this process, user and system, in microseconds (Linux: 100 ticks a second).
fn cpu_us() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ');
    fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum::<u64>() * 10_000
}

#[expect(clippy::print_stdout, reason = "a benchmark prints")]
fn print_cpu(what: &str, runtime: &Runtime, store: &SharedStore, concurrency: u64) {
    let rounds = 20_000 / (concurrency * EACH);
    let before = cpu_us();
    for _ in 0..rounds {
        runtime.block_on(round(store, concurrency));
    }
    let each = (cpu_us() - before) / (rounds * concurrency * EACH);
    println!("{what}, {concurrency} at once: {each} us of CPU for begin and save");
}

#[expect(clippy::disallowed_methods, reason = "the one switch of a benchmark")]
fn postgres() -> Option<String> {
    std::env::var("COUNTERSIGN_BENCH_POSTGRES").ok()
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args().sample_size(20);
    let runtime = Runtime::new().expect("a runtime");
    let folder = folder();
    for (name, synchronous) in
        [("full", Synchronous::Full), ("normal", Synchronous::Normal), ("off", Synchronous::Off)]
    {
        let file = Location::Sqlite { path: folder.join(format!("{name}.db")) };
        let mut stores = vec![("sqlite", open(&runtime, file, synchronous))];
        if let Some(url) = postgres() {
            let location = Location::Postgres { url: Private::new(url) };
            stores.push(("postgres", open(&runtime, location, synchronous)));
        }
        for (backend, store) in stores {
            let mut group = criterion.benchmark_group(format!("{backend} {name}"));
            for concurrency in [1, 16, 64] {
                group.throughput(Throughput::Elements(concurrency * EACH));
                group.bench_function(BenchmarkId::from_parameter(concurrency), |bencher| {
                    bencher.iter(|| runtime.block_on(round(&store, concurrency)));
                });
            }
            let id = runtime.block_on(create(&store));
            group.throughput(Throughput::Elements(1));
            group.bench_function("read one", |bencher| {
                bencher.iter(|| runtime.block_on(store.signing(id)).expect("it is there"));
            });
            group.finish();
            print_cpu(&format!("{backend} {name}"), &runtime, &store, 64);
            runtime.block_on(store.close()).expect("it closes");
        }
    }
    criterion.final_summary();
    let _ = std::fs::remove_dir_all(folder);
}
