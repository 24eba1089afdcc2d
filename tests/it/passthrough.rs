//! The pass-through: what goes through to the upstream, and that nothing else does.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::{CALLER_KEY, STRANGER_KEY, TestDaemon};

fn root(daemon: &TestDaemon) -> String {
    format!("/v1/senders/system/esign/restapi/v2.1/accounts/{}", daemon.emulator.ready().account_id)
}

fn envelope() -> Value {
    json!({
        "emailSubject": "From an SDK", "status": "sent",
        "documents": [{"documentId": "1", "name": "a.txt", "fileExtension": "txt", "documentBase64": "SGVsbG8="}],
        "recipients": {"signers": [{
            "recipientId": "1", "name": "Ada", "email": "ada@example.com", "clientUserId": "c-1",
            "tabs": {"signHereTabs": [{"documentId": "1", "pageNumber": "1", "xPosition": "10", "yPosition": "10"}]},
        }]},
    })
}

#[tokio::test]
async fn what_an_sdk_does_for_embedded_signing_goes_through() {
    let daemon = TestDaemon::start().await;
    let root = root(&daemon);
    let made = daemon.post(&format!("{root}/envelopes"), &envelope()).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    let id = made.body["envelopeId"].as_str().unwrap();
    let view = json!({
        "returnUrl": "https://www.example.com/done", "authenticationMethod": "none",
        "userName": "Ada", "email": "ada@example.com", "clientUserId": "c-1",
    });
    let view = daemon.post(&format!("{root}/envelopes/{id}/views/recipient"), &view).await;
    assert!(view.body["url"].as_str().unwrap().contains("/Signing/"), "{}", view.text);
    let user = &daemon.emulator.ready().user_id;
    for path in [
        format!("envelopes/{id}"),
        format!("envelopes/{id}/recipients"),
        format!("envelopes/{id}/documents"),
        "envelopes?from_date=2026-05-31T00:00:00Z".to_owned(),
        "templates".to_owned(),
        format!("templates/{}", daemon.emulator.ready().template_id),
        format!("users/{user}/signatures"),
    ] {
        let read = daemon.get(&format!("{root}/{path}")).await;
        assert_eq!(read.status, StatusCode::OK, "{path}: {}", read.text);
        assert!(!read.headers.contains_key("authorization") && !read.headers.contains_key("set-cookie"));
    }
}

#[tokio::test]
async fn the_upstream_refuses_in_its_own_words() {
    let daemon = TestDaemon::start().await;
    let refused = daemon.post(&format!("{}/envelopes", root(&daemon)), &json!({"status": "sent"})).await;
    assert!(refused.status.is_client_error(), "{}", refused.text);
    assert!(refused.body["errorCode"].is_string() && refused.body["code"].is_null(), "{}", refused.text);
}

#[tokio::test]
async fn b3_a_second_status_read_within_15_minutes_is_refused_by_us() {
    let daemon = TestDaemon::start().await;
    let root = root(&daemon);
    let made = daemon.post(&format!("{root}/envelopes"), &envelope()).await;
    let path = format!("{root}/envelopes/{}", made.body["envelopeId"].as_str().unwrap());
    assert_eq!(daemon.get(&path).await.status, StatusCode::OK);
    daemon.forget_requests().await;
    let again = daemon.get(&path).await;
    assert_eq!((again.status, again.code()), (StatusCode::CONFLICT, "polling_budget"), "{}", again.text);
    assert!(again.headers.contains_key("retry-after"));
    assert!(daemon.requests().await.is_empty());
}

#[tokio::test]
async fn everything_else_is_refused_and_reaches_nobody() {
    let daemon = TestDaemon::start().await;
    let root = root(&daemon);
    let account = daemon.emulator.ready().account_id.clone();
    let other = "11111111-2222-3333-4444-555555555555";
    let base = "/v1/senders/system/esign";
    let paths = [
        format!("{root}/../{other}/envelopes"),
        format!("{root}/envelopes/.."),
        format!("{root}/envelopes/%2e%2e/templates"),
        format!("{root}/envelopes/%2E%2E%2Ftemplates"),
        format!("{root}/envelopes%2f1"),
        format!("{root}/envelopes/1%5c..%5c2"),
        format!("{root}/envelopes/1;x=/recipients"),
        format!("{root}//envelopes"),
        format!("{root}/envelopes/"),
        format!("{root}/connect"),
        format!("{root}/users"),
        format!("{root}/users/{other}/signatures"),
        format!("{root}/envelopes/1/views/sender"),
        root.clone(),
        format!("{base}/restapi/v2.1/accounts/{other}/envelopes"),
        format!("{base}/restapi/v2/accounts/{account}/envelopes"),
        format!("{base}//restapi/v2.1/accounts/{account}/envelopes"),
        format!("{base}/oauth/userinfo"),
        format!("{base}/oauth/token"),
        format!("/v1/senders/../senders/system/esign/restapi/v2.1/accounts/{account}/envelopes"),
        format!("/v1/senders/nobody/esign/restapi/v2.1/accounts/{account}/envelopes"),
    ];
    daemon.forget_requests().await;
    for path in &paths {
        for method in ["GET", "POST"] {
            let status = daemon.raw(method, path, Some(CALLER_KEY), "Content-Length: 0\r\n").await;
            assert!(matches!(status, 403 | 404), "{method} {path}: {status}");
        }
    }
    for method in ["DELETE", "PUT", "PATCH", "OPTIONS", "HEAD"] {
        let status = daemon.raw(method, &format!("{root}/envelopes/1"), Some(CALLER_KEY), "").await;
        assert_eq!(status, 403, "{method}");
    }
    let path = format!("{root}/envelopes");
    for (key, expected) in [(None, 401), (Some("eyJhbGciOiJub25lIn0.e30."), 401), (Some(STRANGER_KEY), 404)] {
        assert_eq!(daemon.raw("GET", &path, key, "").await, expected);
    }
    assert_eq!(sent(&daemon).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_body_over_the_limit_and_a_smuggled_request_reach_nobody() {
    let daemon = TestDaemon::start().await;
    let path = format!("{}/envelopes", root(&daemon));
    daemon.forget_requests().await;
    let url = format!("{}{path}", daemon.api);
    let json = [("content-type", "application/json")];
    let large = vec![b' '; 1024 * 1024 + 1];
    let refused = daemon.call(Method::POST, &url, Some(CALLER_KEY), &json, large).await;
    assert_eq!((refused.status, refused.code()), (StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large"));
    for framing in [
        "Content-Length: 4\r\nContent-Length: 5\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Content-Length: +4\r\n",
    ] {
        let status = daemon.raw("POST", &path, Some(CALLER_KEY), framing).await;
        assert_eq!(status, 400, "{framing:?}");
    }
    assert_eq!(sent(&daemon).await, Vec::<String>::new());
}

/// What reached the upstream; the sender without consent asks for tokens by itself.
async fn sent(daemon: &TestDaemon) -> Vec<String> {
    let all = daemon.requests().await;
    all.into_iter().filter(|line| line != "POST /oauth/token").collect()
}
