//! What a reset brings back, and what it cuts off.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::emulator::{Options, read_plan, testing::Running};

#[tokio::test]
async fn a_reset_brings_back_the_state_after_start() {
    let plan = read_plan("[[fault]]\nfault = \"status\"\nstatus = 500\npath = \"/brands\"\n").unwrap();
    let emulator = Running::with(Options { faults: Some(plan), ..Options::default() }).await;
    let token = emulator.access_token().await;
    assert_eq!(emulator.call("GET", "/brands", &token, None).await.status(), 500);
    emulator.control("DELETE", "faults", json!({})).await;
    emulator.control("POST", "clock", json!({ "advance_s": 500 })).await;
    emulator.control("POST", "consent", json!({ "granted": false })).await;
    emulator.control("POST", "reset", json!({})).await;
    let requests = emulator.control("GET", "requests", json!({})).await;
    assert_eq!(requests["requests"], json!([]));
    assert_eq!(emulator.call("GET", "/brands", &token, None).await.status(), 500);
    assert_eq!(emulator.call("GET", "/users", &token, None).await.status(), 401);
    let token = emulator.access_token().await;
    assert_eq!(emulator.call("GET", "/users", &token, None).await.status(), 200);
}

/// Waits until the work of a request whose path ends so is done, and has this status.
async fn until_done(emulator: &Running, path: &str, status: u16) {
    let done = async {
        loop {
            let log = emulator.control("GET", "requests", json!({})).await;
            let mut entries = log["requests"].as_array().unwrap().iter();
            if entries
                .any(|entry| entry["path"].as_str().unwrap().ends_with(path) && entry["status"] == status)
            {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), done).await.expect("it is done");
}

#[tokio::test]
async fn a_reset_cuts_off_a_late_answer_and_what_was_done_for_it_is_gone() {
    let emulator = Running::start().await;
    let token = emulator.access_token().await;
    let fault = json!({ "fault": "delay", "delay_ms": 3_600_000, "method": "POST", "path": "/envelopes" });
    emulator.control("POST", "faults", fault).await;
    let url =
        format!("{}/restapi/v2.1/accounts/{}/envelopes", emulator.ready.base_url, emulator.ready.account_id);
    let create = emulator.http.post(url).bearer_auth(&token).json(&json!({ "emailSubject": "x" })).send();
    let reset = async {
        until_done(&emulator, "/envelopes", 201).await;
        emulator.control("POST", "reset", json!({})).await;
    };
    let both = async { tokio::join!(create, reset) };
    let (created, ()) =
        tokio::time::timeout(Duration::from_secs(20), both).await.expect("nobody waits for an hour");
    assert!(created.is_err(), "the connection is closed");
    assert_eq!(emulator.control("GET", "requests", json!({})).await["requests"], json!([]));
    let token = emulator.access_token().await;
    let all = emulator.call("GET", "/envelopes?from_date=2020-01-01", &token, None).await;
    assert_eq!(all.json::<Value>().await.unwrap()["resultSetSize"], "0");
}

#[tokio::test]
async fn a_reset_cuts_off_a_body_that_is_still_coming() {
    let emulator = Running::start().await;
    let host = emulator.ready.base_url.strip_prefix("http://").unwrap();
    let mut socket = tokio::net::TcpStream::connect(host).await.unwrap();
    let head = "POST /oauth/token HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n";
    socket.write_all(head.as_bytes()).await.unwrap();
    // It says so when it begins to read.
    let mut begun = [0; 12];
    socket.read_exact(&mut begun).await.unwrap();
    assert_eq!(&begun, b"HTTP/1.1 100");
    emulator.control("POST", "reset", json!({})).await;
    let mut rest = Vec::new();
    let read = socket.read_to_end(&mut rest);
    let end = tokio::time::timeout(Duration::from_secs(20), read).await.expect("the connection is closed");
    // Closed or reset: in either case nothing is answered.
    assert!(end.is_err() || rest == b" Continue\r\n\r\n", "{}", String::from_utf8_lossy(&rest));
    assert_eq!(emulator.control("GET", "requests", json!({})).await["requests"], json!([]));
}
