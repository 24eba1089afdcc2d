//! What `signings_total` counts: each signing that is kept, once, whatever way it came to be.

use std::{pin::pin, time::Duration};

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::{
    harness::{CALLER_KEY, Reply, TestDaemon, order},
    visitors::unopened,
};

/// How many signings a daemon says have reached their first status.
async fn begun(daemon: &TestDaemon, expected: f64, when: &str) {
    let counted = daemon.metric("countersign_signings_total", &["status=\"creating\""]).await;
    assert!((counted - expected).abs() < 0.5, "{when}: {counted}");
}

fn create_that(fault: &Value) -> Value {
    let mut armed = json!({"method": "POST", "path": "/envelopes", "count": 1});
    armed.as_object_mut().unwrap().extend(fault.as_object().unwrap().clone());
    armed
}

/// A create whose caller's time runs, slowly enough for a slow disk.
async fn create_meanwhile(daemon: &TestDaemon, key: &str, wait: &str) -> Reply {
    let (body, headers) = (unopened(), [("prefer", wait)]);
    let mut call = pin!(daemon.create_with(key, &body, &headers));
    loop {
        tokio::select! {
            biased;
            made = &mut call => return made,
            () = tokio::time::sleep(Duration::from_millis(5)) => daemon.clock.advance(Duration::from_millis(20)),
        }
    }
}

#[tokio::test]
async fn what_was_withdrawn_has_reached_no_status() {
    let daemon = TestDaemon::start().await;
    daemon.fault(&create_that(&json!({"fault": "rate_limit", "reset_s": 60}))).await;
    for _ in 0..5 {
        let refused = daemon.create("order-1", &order()).await;
        assert_eq!(refused.code(), "provider_rate_limited", "{}", refused.text);
    }
    begun(&daemon, 0.0, "one was refused, and four were held back").await;
    daemon.clock.advance(Duration::from_secs(61));
    for when in ["made", "replayed"] {
        let made = daemon.create("order-1", &order()).await;
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
        begun(&daemon, 1.0, when).await;
    }
}

#[tokio::test]
async fn what_is_kept_is_counted_once_on_each_way() {
    let daemon = TestDaemon::start().await;
    let queued = daemon.queue("queued", &unopened()).await;
    begun(&daemon, 1.0, "accepted").await;
    daemon.settle(queued.id(), "open").await;
    assert_eq!(daemon.create("queued", &unopened()).await.status, StatusCode::CREATED);
    begun(&daemon, 1.0, "sent by recovery, and replayed").await;

    daemon.fault(&create_that(&json!({"fault": "status", "status": 400}))).await;
    for when in ["refused for good", "replayed"] {
        let refused = daemon.create("refused", &unopened()).await;
        assert_eq!(refused.code(), "provider_rejected", "{}", refused.text);
        begun(&daemon, 2.0, when).await;
    }

    daemon.fault(&create_that(&json!({"fault": "commit_then_drop"}))).await;
    let lost = create_meanwhile(&daemon, "lost", "wait=10").await;
    assert!(lost.status.is_success(), "{}", lost.text);
    begun(&daemon, 3.0, "in doubt").await;
    daemon.settle(lost.id(), "open").await;
    begun(&daemon, 3.0, "found").await;

    daemon.fault(&create_that(&json!({"fault": "stall", "delay_ms": 2_000}))).await;
    let slow = create_meanwhile(&daemon, "slow", "wait=2").await;
    assert_eq!(slow.status, StatusCode::ACCEPTED, "{}", slow.text);
    begun(&daemon, 4.0, "accepted while DocuSign is asked").await;
    daemon.settle(slow.id(), "open").await;
    begun(&daemon, 4.0, "in doubt, looked up, and sent again").await;
}

#[tokio::test]
async fn what_a_daemon_died_over_is_counted_where_the_repeated_call_has_it_finished() {
    let mut daemon = TestDaemon::start().await;
    daemon.fault(&create_that(&json!({"fault": "stall"}))).await;
    let body = unopened();
    {
        let is_create = |line: &String| line.starts_with("POST ") && line.ends_with("/envelopes");
        let sent = daemon.until("the create", async || daemon.requests().await.iter().any(is_create));
        let call = pin!(daemon.create("order-1", &body));
        tokio::select! {
            made = call => panic!("{}", made.text),
            () = sent => {}
        }
    }
    begun(&daemon, 0.0, "it may yet be withdrawn").await;
    daemon.crash().await;
    let again = async || daemon.create_with("order-1", &body, &[("prefer", "respond-async")]).await.status;
    daemon.run_clock("the repeated call", async || again().await == StatusCode::CREATED).await;
    begun(&daemon, 1.0, "by the next one").await;
    assert_eq!(daemon.envelopes().await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_daemons_that_are_asked_with_one_key_one_counts() {
    let Some(url) = crate::postgres::database() else { return };
    let daemon = TestDaemon::builder().store(&url).start().await;
    let beside = daemon.beside().await;
    let body = unopened();
    let headers = [("content-type", "application/json"), ("idempotency-key", "order-1")];
    let (of_other, bytes) = (format!("{}/v1/signings", beside.api), serde_json::to_vec(&body).unwrap());
    let both = async {
        tokio::join!(
            daemon.create("order-1", &body),
            daemon.call(Method::POST, &of_other, Some(CALLER_KEY), &headers, bytes),
        )
    };
    let (one, two) = tokio::select! {
        both = both => both,
        () = daemon.run_clock_slowly("never", async || false) => unreachable!(),
    };
    for made in [one, two] {
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    }
    let counted = beside.parts.metrics.render();
    let counted = counted.lines().find_map(|line| {
        line.strip_prefix("countersign_signings_total{status=\"creating\"} ")?.parse::<f64>().ok()
    });
    begun(&daemon, 1.0 - counted.unwrap(), "together").await;
    beside.stop().await;
}
