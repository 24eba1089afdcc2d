//! Signings a second: a durable begin and the save that ends the create, at concurrency 1, 16 and 64, for
//! each level of durability, on SQLite. With `COUNTERSIGN_BENCH_POSTGRES=postgres://…` (an empty database),
//! on Postgres too.
//!
//! The last line is what both writes cost in CPU time of the whole process.

mod writes;

use std::{path::PathBuf, sync::Arc};

use bytes::Bytes;
use countersign::{
    clock::{Clock as _, SystemClock},
    domain::{EnvelopeId, LinkId, Private, SigningId},
    store::{self, Link, Location, SealKeys, Settings, SharedStore, Synchronous},
};
use criterion::{BenchmarkId, Criterion, Throughput};
use tokio::runtime::Runtime;

/// Signings that each task makes in one round.
const EACH: u64 = 8;

/// What a create does to the store, with a link.
async fn create(store: &SharedStore) -> SigningId {
    // The real time: ids sort by age, and indexes grow at their end.
    let now = SystemClock.now();
    let mut signing = writes::signing(now);
    let link = Link {
        id: LinkId::generate(now),
        signing: signing.id,
        signer: signing.signers[0].id,
        token: writes::digest(),
        created_at: now,
        expires_at: None,
        revoked_at: None,
    };
    let from = writes::begin(store, &signing, vec![link]).await;
    let envelope = EnvelopeId::new(signing.id.to_string());
    writes::end(store, &mut signing, from, envelope, Bytes::from_static(&[b'x'; 900])).await;
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
