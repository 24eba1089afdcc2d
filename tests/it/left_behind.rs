//! The harness fails tests for what they leave behind, and not those that mean it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use http::StatusCode;
use serde_json::json;

use crate::{
    harness::{TestDaemon, order},
    visitors::location_of,
};

/// What the end of a test says of it.
fn end(daemon: TestDaemon) -> Option<String> {
    let ended = catch_unwind(AssertUnwindSafe(|| drop(daemon)));
    ended.err().map(|said| *said.downcast::<String>().unwrap())
}

#[tokio::test]
async fn a_fault_that_never_fired_fails_its_test() {
    for is_meant in [false, true] {
        let daemon = TestDaemon::start().await;
        daemon.fault(&json!({"fault": "status", "status": 503, "path": "/renamed"})).await;
        if is_meant {
            daemon.faults_may_wait();
        }
        let said = end(daemon);
        assert_eq!(said.as_ref().is_some_and(|said| said.contains("/renamed")), !is_meant, "{said:?}");
        assert_eq!(said.is_none(), is_meant, "{said:?}");
    }
}

#[tokio::test]
async fn a_rule_of_docusigns_that_was_broken_fails_its_test() {
    for is_meant in [false, true] {
        let daemon = TestDaemon::start().await;
        let made = daemon.create("order-1", &order()).await;
        // The signer is in the session of the first view.
        let view = made.body["signers"][0]["view"]["url"].as_str().unwrap();
        location_of(&daemon, view).await;
        let views = format!("/v1/signings/{}/signers/{}/views", made.id(), made.signer());
        assert_eq!(daemon.post(&views, &json!({})).await.status, StatusCode::CREATED);
        if is_meant {
            daemon.rules_may_break();
        }
        let said = end(daemon);
        assert_eq!(said.as_ref().is_some_and(|said| said.contains("view_reminted")), !is_meant, "{said:?}");
        assert_eq!(said.is_none(), is_meant, "{said:?}");
    }
}
