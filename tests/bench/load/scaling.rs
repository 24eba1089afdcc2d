//! How countersign scales: with cores, open signings in its store, senders, and the size of documents. Durability
//! is SQLite `full` throughout, and every other thing is as in the main table.

use std::{fmt::Write as _, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Method, StatusCode};

use super::{
    contender::{CORE, OTHER_CORE, Process},
    driver::{self, Load},
    report,
    scenario::{Bench, INTEGRATION_KEY, body, concat_key, key_file, settings},
    upstream::USER,
};

/// Rows that are made in one transaction.
const BATCH: u64 = 100_000;

/// Prints a table for each of them.
pub(super) fn run(bench: &Bench) {
    report::line("How it scales, template over HTTP unless said, SQLite `full`:\n");
    report::scaling_head();
    cores(bench);
    rows(bench);
    senders(bench);
    sizes(bench);
}

/// On two cores the callers and the stand-in take a part of the second one.
fn cores(bench: &Bench) {
    let both = format!("{CORE},{OTHER_CORE}");
    for (what, cores) in [("1 core", CORE), ("2 cores, one shared with the callers", both.as_str())] {
        let (process, origin) = bench.start_with(&of_file(bench, &fresh(bench)), cores);
        measure(bench, what, &process, origin, [body(None, "system")].into(), 64);
    }
}

/// Open signings that are in the store already. Copies of one that was made: an index finds them, and nothing is
/// due of them.
fn rows(bench: &Bench) {
    let mut count = 1_000;
    while count <= bench.wanted.rows {
        let file = fresh(bench);
        let (process, origin) = bench.start_with(&of_file(bench, &file), CORE);
        let load = load(origin, [body(None, "system")].into());
        bench.runtime.block_on(driver::run(&load, 1, Duration::ZERO));
        process.end();
        report::progress(&format!("{count} open signings are made"));
        fill(&file, count);
        let (process, origin) = bench.start_with(&of_file(bench, &file), CORE);
        let what = format!("{count} open signings");
        measure(bench, &what, &process, origin, [body(None, "system")].into(), 64);
        drop(process);
        let _ = std::fs::remove_file(&file);
        count *= 10;
    }
}

/// What is sealed belongs to its row, so the copies do not open: the log says that of those which the daemon looks
/// at when it starts.
fn fill(file: &Path, count: u64) {
    let db = rusqlite::Connection::open(file).expect("the store");
    db.execute_batch(
        "PRAGMA synchronous = off; PRAGMA cache_size = -1000000; \
         CREATE TEMP TABLE first AS SELECT * FROM signings LIMIT 1; \
         UPDATE first SET due_at = NULL, leased_until = NULL, answer = NULL;",
    )
    .expect("one signing");
    let mut left = count;
    while left > 0 {
        let some = left.min(BATCH);
        db.execute_batch(&format!(
            "BEGIN; \
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {some}), \
             made AS (SELECT first.*, randomblob(16) AS new_id, randomblob(32) AS new_key, \
                 lower(hex(randomblob(16))) AS new_envelope FROM first, n) \
             INSERT INTO signings SELECT new_id, caller, new_key, request, reference, status, new_envelope, version, \
                 created_at, heard_at, ended_at, due_at, leased_until, free_at, attempts, state, sealed, answer \
             FROM made; \
             COMMIT;"
        ))
        .expect("copies");
        left -= some;
    }
    db.execute_batch("PRAGMA wal_checkpoint(TRUNCATE);").expect("a checkpoint");
}

/// Each sender has a token of its own, and they take turns.
fn senders(bench: &Bench) {
    for count in [1_u32, 100, 10_000] {
        let mut text = of_file(bench, &fresh(bench));
        let key = key_file(&bench.folder);
        for number in 1..count {
            let _ = write!(
                text,
                "[senders.s-{number}]\nintegration_key = \"{INTEGRATION_KEY}\"\nuser_id = \"{USER}\"\n\
                 keys = [\"{}\"]\n",
                key.display()
            );
        }
        let names = (1..count).map(|number| format!("s-{number}"));
        let bodies: Arc<[Bytes]> =
            std::iter::once("system".to_owned()).chain(names).map(|name| body(None, &name)).collect();
        let (process, origin) = bench.start_with(&text, CORE);
        let warm = load(origin.clone(), Arc::clone(&bodies));
        // A first call of each makes its token.
        for _ in 0..count.div_ceil(100) {
            bench.runtime.block_on(driver::run(&warm, 100, Duration::ZERO));
        }
        measure(bench, &format!("{count} senders in use"), &process, origin, bodies, 64);
    }
}

/// Documents of a size, sixteen at once; those of 25 MB eight, which is what the stand-in and the callers manage.
fn sizes(bench: &Bench) {
    let (kib, mib) = (1 << 10, 1 << 20);
    for (name, size, callers) in [
        ("1 KB", kib, 16),
        ("64 KB", 64 * kib, 16),
        ("1 MB", mib, 16),
        ("5 MB", 5 * mib, 16),
        ("25 MB", 25 * mib, 8),
    ] {
        let (process, origin) = bench.start_with(&of_file(bench, &fresh(bench)), CORE);
        let what = format!("a document of {name}, {callers} at once");
        measure(bench, &what, &process, origin, [body(Some(size), "system")].into(), callers);
    }
}

pub(super) fn fresh(bench: &Bench) -> std::path::PathBuf {
    bench.folder.join(format!("store-{}.db", uuid::Uuid::new_v4().simple()))
}

pub(super) fn of_file(bench: &Bench, file: &Path) -> String {
    let (origin, key) = (&bench.upstream.http, key_file(&bench.folder));
    settings(&bench.upstream, origin, &key, &format!("sqlite://{}", file.display()), "full")
}

pub(super) fn load(origin: String, bodies: Arc<[Bytes]>) -> Load {
    Load {
        origin,
        method: Method::POST,
        path: "/v1/signings".to_owned(),
        key: concat_key(),
        bodies,
        good: StatusCode::CREATED,
    }
}

fn measure(
    bench: &Bench,
    what: &str,
    process: &Process,
    origin: String,
    bodies: Arc<[Bytes]>,
    callers: usize,
) {
    let (load, seconds) = (load(origin, bodies), bench.wanted.seconds);
    bench.runtime.block_on(driver::run(&load, callers, seconds / 3));
    let before = process.cpu_seconds();
    let measured = bench.runtime.block_on(driver::run(&load, callers, seconds));
    #[expect(clippy::cast_precision_loss, reason = "counts of a benchmark")]
    let cpu_us = (process.cpu_seconds() - before) * 1e6 / measured.latencies_us.len() as f64;
    report::scaling(what, cpu_us, &measured, (process.resident_mib(), process.peak_mib()));
}
