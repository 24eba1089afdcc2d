//! Connections that are kept open, through a real daemon.

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::{TestDaemon, order};

const PROBE: &str = "GET /restapi/service_information";

async fn probes(daemon: &TestDaemon) -> usize {
    daemon.requests().await.iter().filter(|line| *line == PROBE).count()
}

async fn until_probed(daemon: &TestDaemon, count: usize) {
    daemon.until("what keeps it open", async || probes(daemon).await >= count).await;
    assert_eq!(probes(daemon).await, count);
}

#[tokio::test]
async fn a_connection_is_there_before_the_first_call_and_after_a_rest() {
    let daemon = TestDaemon::builder().upstream("keep_warm = true\n").start().await;
    until_probed(&daemon, 1).await;
    assert_eq!(daemon.create("first", &order()).await.status, StatusCode::CREATED);
    let spent = || daemon.parts().esign.budgets()[0].remaining.hour;
    let before = spent();
    daemon.clock.advance(Duration::from_secs(45));
    until_probed(&daemon, 2).await;
    assert_eq!(spent(), before, "it is no call of an account");
}

#[tokio::test]
async fn h1_a_host_that_is_away_is_told_of_before_a_caller_meets_it() {
    let daemon = TestDaemon::builder().upstream("keep_warm = true\n").start().await;
    until_probed(&daemon, 1).await;
    daemon.fault(&json!({"fault": "status", "status": 503, "path": "/service_information"})).await;
    let is_degraded = async || {
        let ready = daemon.ops("/readyz").await;
        let reasons = ready.body["reasons"].as_array().cloned().unwrap_or_default();
        let of_upstream = reasons.iter().find(|reason| reason["part"] == "upstream");
        if let Some(reason) = of_upstream {
            assert!(reason["next_try"].is_string(), "it is asked again, and when is told: {reason}");
        }
        of_upstream.is_some_and(|reason| reason["status"] == "degraded") && ready.status == StatusCode::OK
    };
    assert!(!is_degraded().await);
    for count in 2..5 {
        daemon.clock.advance(Duration::from_secs(45));
        until_probed(&daemon, count).await;
    }
    daemon.run_clock("degraded", async || is_degraded().await).await;
    assert_eq!(daemon.create("well", &order()).await.status, StatusCode::CREATED, "it is nobody's trouble");
    daemon.control(Method::DELETE, "faults", &Value::Null).await;
    daemon.run_clock("well", async || !is_degraded().await).await;
}
