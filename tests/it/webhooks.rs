//! Events out through the API: endpoints and their secrets, the log, streams; each only for its caller.

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::{CALLER_KEY, TestDaemon, order};

#[tokio::test]
async fn a_secret_is_shown_when_it_is_made_and_never_again() {
    let daemon = TestDaemon::start().await;
    let new = json!({"url": "https://hooks.example.com/in", "events": ["signing.completed"]});
    let made = daemon.post("/v1/webhook_endpoints", &new).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    let first = made.body["secret"].as_str().unwrap().to_owned();
    assert!(first.starts_with("whsec_") && made.id().starts_with("whk_"));
    let path = format!("/v1/webhook_endpoints/{}", made.id());
    let read = daemon.get(&path).await;
    assert_eq!((read.status, &read.body["secret"]), (StatusCode::OK, &Value::Null));
    assert_eq!(read.body["events"], json!(["signing.completed"]));
    let rotated = daemon.post(&format!("{path}/rotate"), &json!({})).await;
    let second = rotated.body["secret"].as_str().unwrap().to_owned();
    assert_ne!(first, second);
    let listed = daemon.get("/v1/webhook_endpoints").await;
    assert_eq!(listed.body["data"][0]["id"], made.id());
    assert!(!listed.text.contains("whsec_"));

    for (method, path) in [
        (Method::GET, path.clone()),
        (Method::DELETE, path.clone()),
        (Method::POST, format!("{path}/rotate")),
    ] {
        assert_eq!(daemon.as_stranger(method, &path, &Value::Null).await.status, StatusCode::NOT_FOUND);
    }
    let foreign = daemon.as_stranger(Method::GET, "/v1/webhook_endpoints", &Value::Null).await;
    assert_eq!(foreign.body["data"], json!([]));
    let url = format!("{}{path}", daemon.api);
    let gone = daemon.call(Method::DELETE, &url, Some(CALLER_KEY), &[], Vec::new()).await;
    assert_eq!(gone.status, StatusCode::NO_CONTENT);
    assert_eq!(daemon.get(&path).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn bad_endpoints_are_refused_with_their_place() {
    let daemon = TestDaemon::start().await;
    for (body, code, pointer) in [
        (json!({"url": "http://hooks.example.com/"}), "invalid_request", "/url"),
        (json!({"url": "https://10.0.0.1/"}), "invalid_request", "/url"),
        (json!({"url": "nothing"}), "invalid_request", "/url"),
        (json!({"url": "https://a.example/", "events": ["no.such"]}), "invalid_request", "/events/0"),
        (json!({"url": "https://a.example/", "events": []}), "invalid_request", "/events"),
    ] {
        let refused = daemon.post("/v1/webhook_endpoints", &body).await;
        assert_eq!((refused.status, refused.code()), (StatusCode::BAD_REQUEST, code), "{body}");
        assert_eq!(refused.body["errors"][0]["pointer"], pointer, "{body}");
    }
    let misspelt = json!({"url": "https://a.example/", "events": ["signing.opened", "signing.complete"]});
    let refused = daemon.post("/v1/webhook_endpoints", &misspelt).await;
    let detail = "there is no such type of event; did you mean signing.completed?";
    let place = json!({"pointer": "/events/1", "code": "invalid_request", "detail": detail});
    assert_eq!(refused.body["errors"], json!([place]), "{}", refused.text);
    // What is near to none of them is told which there are.
    let foreign = json!({"url": "https://a.example/", "events": ["nope"]});
    let refused = daemon.post("/v1/webhook_endpoints", &foreign).await;
    let detail = refused.body["errors"][0]["detail"].as_str().unwrap();
    assert!(detail.starts_with("there is no such type of event; the types are budget.low, "), "{detail}");
    assert!(detail.ends_with(", signing.voided"), "{detail}");
    let all = json!({"url": "https://a.example/", "events": null});
    assert_eq!(
        daemon.post("/v1/webhook_endpoints", &all).await.status,
        StatusCode::CREATED,
        "as if left out"
    );
    let unknown = json!({"url": "https://a.example/", "secret": "x"});
    assert_eq!(daemon.post("/v1/webhook_endpoints", &unknown).await.code(), "unknown_field");
}

#[tokio::test]
async fn an_endpoint_of_all_types_is_shown_with_them_and_can_be_made_again_from_what_is_shown() {
    let daemon = TestDaemon::start().await;
    let made = daemon.post("/v1/webhook_endpoints", &json!({"url": "https://a.example/all"})).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    let shown = daemon.get(&format!("/v1/webhook_endpoints/{}", made.id())).await;
    let types = shown.body["events"].as_array().unwrap();
    for one in ["budget.low", "signing.completed", "signer.ready"] {
        assert!(types.contains(&json!(one)), "{}", shown.text);
    }
    assert_eq!(made.body["events"], shown.body["events"]);
    let again = json!({"url": "https://a.example/again", "events": types});
    let again = daemon.post("/v1/webhook_endpoints", &again).await;
    assert_eq!(again.status, StatusCode::CREATED, "{}", again.text);
    assert_eq!(again.body["events"], shown.body["events"]);
}

#[tokio::test]
async fn deliveries_are_listed_and_replayed_for_their_caller_only() {
    let daemon = TestDaemon::start().await;
    daemon.post("/v1/webhook_endpoints", &json!({"url": "http://127.0.0.1:9/"})).await;
    daemon.create("order-1", &order()).await;
    // The fan-out is the dispatcher's work, after the answer.
    let mut listed = daemon.get("/v1/deliveries").await;
    daemon
        .until("a delivery", async || {
            listed = daemon.get("/v1/deliveries").await;
            listed.body["data"][0]["id"].is_string()
        })
        .await;
    let id = listed.body["data"][0]["id"].as_str().unwrap().to_owned();
    assert!(id.starts_with("dlv_"), "{}", listed.text);
    let path = format!("/v1/deliveries/{id}/replay");
    let foreign = daemon.as_stranger(Method::POST, &path, &Value::Null).await;
    assert_eq!(foreign.status, StatusCode::NOT_FOUND);
    let replayed = daemon.post(&path, &json!({})).await;
    assert_eq!((replayed.status, &replayed.body["object"]), (StatusCode::OK, &json!("delivery")));
    let foreign = daemon.as_stranger(Method::GET, "/v1/deliveries", &Value::Null).await;
    assert_eq!(foreign.body["data"], json!([]));
}

#[tokio::test]
async fn with_the_emulator_a_receiver_on_loopback_needs_no_word_more_in_the_settings() {
    let of_settings = "[webhooks.website]\nurl = \"http://127.0.0.1:9/\"\n\
                       secrets = [\"whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\"]\n";
    let daemon = TestDaemon::builder().with(of_settings).start().await;
    let listed = daemon.get("/v1/webhook_endpoints").await;
    assert_eq!(listed.body["data"][0]["allow_private"], true, "{}", listed.text);
}

#[tokio::test]
async fn an_endpoint_is_switched_off_and_on_by_its_caller_and_nothing_is_replayed_to_one_that_is_off() {
    let secret = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
    let of_settings = format!(
        "[webhooks.ours]\nurl = \"https://hooks.example.com/\"\nsecrets = [\"{secret}\"]\n\
                               callers = [\"website\"]\nevents = [\"budget.low\"]\n"
    );
    let daemon = TestDaemon::builder().with(&of_settings).start().await;
    let made = daemon.post("/v1/webhook_endpoints", &json!({"url": "http://127.0.0.1:9/"})).await;
    let path = format!("/v1/webhook_endpoints/{}", made.id());
    let change = async |path: &str, body: &Value| {
        let headers = [("content-type", "application/json")];
        let url = format!("{}{path}", daemon.api);
        daemon.call(Method::PATCH, &url, Some(CALLER_KEY), &headers, body.to_string().into_bytes()).await
    };
    daemon.create("order-1", &order()).await;
    let mut delivery = String::new();
    daemon
        .until("a delivery", async || {
            let listed = daemon.get("/v1/deliveries").await;
            delivery = listed.body["data"][0]["id"].as_str().unwrap_or_default().to_owned();
            !delivery.is_empty()
        })
        .await;
    let replay = format!("/v1/deliveries/{delivery}/replay");
    let off = change(&path, &json!({"disabled": true})).await;
    assert_eq!((off.status, off.body["disabled_at"].is_string()), (StatusCode::OK, true), "{}", off.text);
    let refused = daemon.post(&replay, &json!({})).await;
    assert_eq!((refused.status, refused.code()), (StatusCode::CONFLICT, "endpoint_disabled"));
    let off_again = change(&path, &json!({"disabled": true})).await;
    assert_eq!(off_again.body, off.body, "since the first time");
    for _ in 0..2 {
        let on = change(&path, &json!({"disabled": false})).await;
        assert_eq!((on.status, &on.body["disabled_at"]), (StatusCode::OK, &Value::Null), "{}", on.text);
    }
    assert_eq!(daemon.post(&replay, &json!({})).await.status, StatusCode::OK);

    for (body, code) in [
        (json!({}), "invalid_request"),
        (json!({"disabled": 1}), "invalid_request"),
        (json!({"disabled": false, "url": "https://a.example/"}), "unknown_field"),
    ] {
        let refused = change(&path, &body).await;
        assert_eq!((refused.status, refused.code()), (StatusCode::BAD_REQUEST, code), "{body}");
    }
    let foreign = daemon.as_stranger(Method::PATCH, &path, &json!({"disabled": true})).await;
    assert_eq!(foreign.status, StatusCode::NOT_FOUND);
    let listed = daemon.get("/v1/webhook_endpoints").await;
    let data = listed.body["data"].as_array().unwrap();
    let ours = data.iter().find(|one| one["from_settings"] == true).unwrap()["id"].as_str().unwrap();
    let refused = change(&format!("/v1/webhook_endpoints/{ours}"), &json!({"disabled": true})).await;
    assert_eq!((refused.status, refused.code()), (StatusCode::FORBIDDEN, "forbidden"));
    // But a 410 may have switched it off.
    let on = change(&format!("/v1/webhook_endpoints/{ours}"), &json!({"disabled": false})).await;
    assert_eq!((on.status, &on.body["disabled_at"]), (StatusCode::OK, &Value::Null), "{}", on.text);
    // Without its endpoint there is nowhere to deliver to.
    let url = format!("{}{path}", daemon.api);
    daemon.call(Method::DELETE, &url, Some(CALLER_KEY), &[], Vec::new()).await;
    assert_eq!(daemon.post(&replay, &json!({})).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn the_log_pages_and_shows_each_caller_their_own() {
    let daemon = TestDaemon::start().await;
    let made = daemon.create("order-1", &order()).await;
    let first = daemon.get("/v1/events?limit=1").await;
    assert_eq!(first.body["has_more"], true, "{}", first.text);
    let next = format!("/v1/events?limit=100&after={}", first.body["next_cursor"].as_str().unwrap());
    let rest = daemon.get(&next).await;
    assert!(!rest.text.contains(first.body["data"][0]["id"].as_str().unwrap()));
    let of_signing = format!("/v1/events?signing={}", made.id());
    assert_eq!(daemon.get(&of_signing).await.body["data"][0]["object"], "event");
    assert_eq!(daemon.as_stranger(Method::GET, "/v1/events", &Value::Null).await.body["data"], json!([]));
    let foreign = daemon.as_stranger(Method::GET, &of_signing, &Value::Null).await;
    assert_eq!(foreign.status, StatusCode::NOT_FOUND);
    assert_eq!(daemon.get("/v1/events?limit=0").await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_stream_brings_events_as_they_happen_and_goes_on_where_it_left_off() {
    let daemon = TestDaemon::start().await;
    let made = daemon.create("order-1", &order()).await;
    let known = daemon.get("/v1/events").await;
    let last = known.body["data"].as_array().unwrap().last().unwrap()["id"].as_str().unwrap().to_owned();
    let wait = format!("/v1/signings/{}/wait", made.id());
    let mut one = daemon.stream(&wait, &[("last-event-id", &last)]).await;
    let mut all = daemon.stream("/v1/events", &[("last-event-id", &last)]).await;
    assert_eq!(one.headers()["content-type"], "text/event-stream");
    daemon.post(&format!("/v1/signings/{}/void", made.id()), &json!({"reason": "test"})).await;
    for stream in [&mut one, &mut all] {
        let text = until(stream, "signing.voided").await;
        assert!(text.contains("event: signing.voided") && text.contains("id: evt_"), "{text}");
        assert!(!text.contains(&last), "{text}");
    }
    let foreign = daemon.as_stranger(Method::GET, &wait, &Value::Null).await;
    assert_eq!(foreign.status, StatusCode::NOT_FOUND);
    let bad = daemon.stream("/v1/events", &[("last-event-id", "7")]).await;
    assert_eq!(bad.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_stream_of_a_signing_misses_nothing_behind_the_sequence_that_its_reader_knows() {
    let daemon = TestDaemon::start().await;
    let made = daemon.create("order-1", &order()).await;
    let path = format!("/v1/signings/{}", made.id());
    let known = daemon.get(&path).await.body["sequence"].as_u64().unwrap();
    assert!(known > 0);
    // Between a long poll and a stream.
    daemon.post(&format!("{path}/void"), &json!({"reason": "test"})).await;
    let mut stream = daemon.stream(&format!("{path}/wait?sequence={known}"), &[]).await;
    let text = until(&mut stream, "signing.voided").await;
    assert!(text.contains("event: signing.voided"), "{text}");
    assert!(!text.contains("event: signing.opened"), "what is known comes again: {text}");
}

#[tokio::test]
async fn a_stream_of_a_signing_ends_when_the_time_is_up_that_was_asked_for() {
    let daemon = TestDaemon::start().await;
    let made = daemon.create("order-1", &order()).await;
    let wait = format!("/v1/signings/{}/wait", made.id());
    let mut timed = daemon.stream(&format!("{wait}?timeout=5"), &[]).await;
    let mut other = daemon.stream(&wait, &[]).await;
    daemon.clock.advance(Duration::from_secs(5));
    let ends = async { while timed.chunk().await.unwrap().is_some() {} };
    tokio::time::timeout(Duration::from_secs(10), ends).await.expect("the stream ends");
    daemon.post(&format!("/v1/signings/{}/void", made.id()), &json!({"reason": "test"})).await;
    let text = until(&mut other, "signing.voided").await;
    assert!(text.contains("event: signing.voided"), "without a timeout it goes on: {text}");
    let long = daemon.stream(&format!("{wait}?timeout=61"), &[]).await;
    assert_eq!(long.status(), StatusCode::BAD_REQUEST);
}

async fn until(stream: &mut reqwest::Response, word: &str) -> String {
    let mut text = String::new();
    let read = async {
        while !text.contains(word) || !text.ends_with("\n\n") {
            let Some(piece) = stream.chunk().await.unwrap() else { break };
            text.push_str(&String::from_utf8_lossy(&piece));
        }
    };
    tokio::time::timeout(Duration::from_secs(10), read).await.expect("the stream brings it");
    text
}
