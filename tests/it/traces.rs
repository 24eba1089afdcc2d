//! Traces as a collector gets them: one request is one tree, from the caller's `traceparent` to the upstream's
//! own trace token, and nothing that is secret or personal is in it (rule S1).

use std::sync::{Arc, Mutex};

use countersign::listener::{Bound, Limits};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::harness::{TestDaemon, order};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// A collector: keeps what it gets.
pub(crate) async fn collector() -> (String, Arc<Mutex<Vec<String>>>) {
    let got = Arc::new(Mutex::new(Vec::new()));
    let keep = Arc::clone(&got);
    let handler = move |headers: http::HeaderMap, body: String| {
        let is_json = headers.get("content-type").is_some_and(|kind| kind == "application/json");
        keep.lock().unwrap().push(body);
        async move { if is_json { http::StatusCode::OK } else { http::StatusCode::UNSUPPORTED_MEDIA_TYPE } }
    };
    let router = axum::Router::new().route("/v1/traces", axum::routing::post(handler));
    let bound = Bound::tcp("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let url = bound.origin();
    tokio::spawn(bound.serve(router, Limits::default(), CancellationToken::new()));
    (url, got)
}

fn spans(got: &Mutex<Vec<String>>) -> Vec<Value> {
    let got = got.lock().unwrap();
    let messages = got.iter().map(|text| serde_json::from_str::<Value>(text).unwrap());
    messages
        .flat_map(|message| {
            let resource = &message["resourceSpans"][0];
            assert_eq!(resource["resource"]["attributes"][0]["value"]["stringValue"], "countersign");
            resource["scopeSpans"][0]["spans"].as_array().unwrap().clone()
        })
        .collect()
}

fn attribute<'a>(span: &'a Value, key: &str) -> Option<&'a str> {
    let all = span["attributes"].as_array()?;
    let found = all.iter().find(|attribute| attribute["key"] == key)?;
    found["value"]["stringValue"].as_str().or(found["value"]["intValue"].as_str())
}

#[tokio::test]
async fn a_trace_leads_from_the_caller_to_the_upstreams_own_and_holds_no_secret() {
    let (url, got) = collector().await;
    let settings = format!("[otel]\nendpoint = \"{url}\"\n");
    let daemon = TestDaemon::builder().public().with(&settings).start().await;
    // Roles and workflow are read once; after that a signing is two calls (rule B1).
    assert_eq!(daemon.create("warm", &order()).await.status, 201);
    let parent = format!("00-{TRACE}-00f067aa0ba902b7-01");
    let made = daemon.create_with("traced", &order(), &[("traceparent", &parent)]).await;
    assert_eq!(made.status, 201, "{}", made.text);
    let unsampled = format!("00-{}-00f067aa0ba902b7-00", "a".repeat(32));
    daemon.create_with("unsampled", &order(), &[("traceparent", &unsampled)]).await;
    let ours = || spans(&got).into_iter().filter(|span| span["traceId"] == TRACE).collect::<Vec<_>>();
    daemon.run_clock("the spans", async || ours().len() >= 3).await;

    let ours = ours();
    let request = ours.iter().find(|span| span["kind"] == 2).unwrap();
    assert_eq!(request["name"], "POST /v1/signings");
    assert_eq!(request["parentSpanId"], "00f067aa0ba902b7");
    assert_eq!(attribute(request, "http.response.status_code"), Some("201"));
    let calls: Vec<_> = ours.iter().filter(|span| span["kind"] == 3).collect();
    assert_eq!(calls.len(), 2, "create and view: {ours:?}");
    for call in &calls {
        assert_eq!(call["parentSpanId"], request["spanId"]);
        assert_eq!(attribute(call, "docusign.trace_token").map(str::len), Some(36), "{call}");
        assert_eq!(attribute(call, "countersign.outcome"), Some("ok"));
    }
    let text = got.lock().unwrap().concat();
    assert!(!text.contains(&"a".repeat(32)), "who is not sampled is not traced");
    let view = made.body["signers"][0]["view"]["url"].as_str().unwrap();
    let link = made.body["signers"][0]["link"]["url"].as_str().unwrap();
    let secrets = ["Ada", "ada@", "15112345678", "cs_", "order-8812", view, link, "slt=", "Bearer", "eyJ"];
    for secret in secrets {
        assert!(!text.contains(secret), "traces hold {secret}");
    }
    let metrics = daemon.ops("/metrics").await.text;
    assert!(metrics.contains("countersign_trace_spans_total{result=\"sent\"}"), "{metrics}");
    daemon.stop().await;
}

#[tokio::test]
async fn a_collector_that_is_away_costs_no_request() {
    let daemon = TestDaemon::builder().with("[otel]\nendpoint = \"http://127.0.0.1:9\"\n").start().await;
    assert_eq!(daemon.create("untraced", &order()).await.status, 201);
    let failed = "countersign_trace_spans_total{result=\"failed\"}";
    daemon.run_clock("the failure", async || daemon.ops("/metrics").await.text.contains(failed)).await;
    assert_eq!(daemon.create("untraced-too", &order()).await.status, 201);
    daemon.stop().await;
}
