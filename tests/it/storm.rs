//! Many signings at once while nearly a third of all calls to the upstream fails, each in another way:
//! every one ends `open` or in a definite refusal, none twice, none forgotten.
//!
//! `COUNTERSIGN_STORM=10000` runs it at full size.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use countersign::clock::Clock as _;
use futures_util::StreamExt as _;
use http::Method;
use serde_json::json;

use crate::{
    harness::{Reply, TestDaemon, order},
    proof_lengths,
};

/// Connections that ask at once.
const CLIENTS: usize = 128;

#[tokio::test(flavor = "multi_thread")]
async fn e2_a_storm_of_failing_calls_leaves_one_envelope_a_key() {
    let keys = usize::try_from(proof_lengths::storm()).unwrap();
    let daemon = TestDaemon::start().await;
    // Of the calls that are under way when a limit comes, some are slower than a second of this clock.
    daemon.rules_may_break();
    daemon.control(Method::POST, "limits", &json!({"hourly": 10_000_000, "burst": 10_000_000})).await;
    // Each of the six in a twentieth of all calls: 26 to 30 in a hundred fail.
    let stall_ms = if keys >= 10_000 { 30_000 } else { 1_500 };
    for fault in [
        json!({"fault": "status", "status": 500}),
        json!({"fault": "rate_limit", "status": 429, "reset_s": 1}),
        json!({"fault": "reset_before_commit"}),
        json!({"fault": "commit_then_drop"}),
        json!({"fault": "stall", "delay_ms": stall_ms}),
        json!({"fault": "html", "status": 502}),
    ] {
        let mut fault = fault;
        fault["rate"] = json!(0.055);
        daemon.fault(&fault).await;
    }
    let is_over = AtomicBool::new(false);
    let time = async {
        while !is_over.load(Ordering::Relaxed) {
            daemon.clock.advance(Duration::from_millis(200));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let asked = async {
        let ends: HashMap<String, String> = futures_util::stream::iter(0..keys)
            .map(|number| end_of(&daemon, number))
            .buffer_unordered(CLIENTS)
            .collect()
            .await;
        is_over.store(true, Ordering::Relaxed);
        ends
    };
    let ((), ends) = tokio::join!(time, asked);
    let opened = ends.values().filter(|end| *end == "open").count();
    let refused: Vec<_> = ends.values().filter(|end| *end != "open").collect();
    assert_eq!(ends.len(), keys);
    assert_eq!(daemon.envelopes().await, opened, "one envelope for each that is open; refused: {refused:?}");
    assert_eq!(daemon.parts().signings.unsettled().await.unwrap(), 0, "none is forgotten");
    assert!(opened * 10 >= keys * 9, "{opened} of {keys} are open, refused: {refused:?}");
}

/// Creates a signing, as a caller does who repeats what was not definite, and follows it to its end.
async fn end_of(daemon: &TestDaemon, number: usize) -> (String, String) {
    let key = format!("order-{number}");
    let prefer = if number.is_multiple_of(2) { "respond-async" } else { "wait=2" };
    let mut promised: Option<String> = None;
    for _ in 0..4_000 {
        let answer = daemon.create_with(&key, &order(), &[("prefer", prefer)]).await;
        match answer.status.as_u16() {
            201 => {
                same(&mut promised, &answer);
                return (key, "open".to_owned());
            }
            202 => same(&mut promised, &answer),
            409 | 429 | 503 => {}
            _ => {
                assert_eq!(answer.body["retryable"], false, "{}", answer.text);
                return (key, answer.code().to_owned());
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let id = promised.unwrap();
    let known = daemon.parts().store.signing(id.parse().unwrap()).await.unwrap().map(|record| record.work);
    let timeline = daemon.get(&format!("/v1/signings/{id}/timeline")).await;
    panic!("{key} never ended; now {:?}, work {known:?}, {}", daemon.clock.now(), timeline.text);
}

fn same(promised: &mut Option<String>, answer: &Reply) {
    assert_eq!(promised.get_or_insert_with(|| answer.id().to_owned()), answer.id(), "a key keeps its id");
}
