//! What DocuSign pushes to us, over sockets: who is believed, what is hostile, what is told to whom.

use std::time::Duration;

use countersign::domain::{EventKind, MomentKind};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::{
    harness::{TestDaemon, order},
    visitors::unopened,
};

/// A daemon with an open signing: where events go, and its envelope.
async fn open() -> (TestDaemon, String, String, String) {
    let daemon = TestDaemon::builder().public().start().await;
    let made = daemon.create("order-1", &order()).await;
    let url = format!("{}/in/docusign/events", daemon.public.as_ref().unwrap());
    let envelope = made.body["provider"]["envelope_id"].as_str().unwrap().to_owned();
    (daemon, url, format!("/v1/signings/{}", made.id()), envelope)
}

/// A message that tells no more of the envelope than why it is voided, if it is.
fn event(name: &str, envelope: &str) -> Vec<u8> {
    let mut message = json!({"event": name, "generatedDateTime": "2026-06-01T12:00:01.0000000Z",
        "data": {"envelopeId": envelope}});
    if name == "envelope-voided" {
        message["data"]["envelopeSummary"] = json!({"voidedReason": "Called off"});
    }
    serde_json::to_vec(&message).unwrap()
}

pub(crate) fn digest(daemon: &TestDaemon, body: &[u8]) -> String {
    let key = daemon.emulator.ready().connect_hmac_key.clone();
    countersign::connect::Keys::new([key.as_str()]).sign(body).unwrap()
}

pub(crate) async fn push(
    daemon: &TestDaemon,
    url: &str,
    headers: &[(&str, &str)],
    body: Vec<u8>,
) -> StatusCode {
    daemon.call(Method::POST, url, None, headers, body).await.status
}

#[tokio::test]
async fn f3_only_the_raw_bytes_that_were_signed_are_believed() {
    let (daemon, url, path, envelope) = open().await;
    let body = event("envelope-voided", &envelope);
    let good = digest(&daemon, &body);
    let name = "x-docusign-signature-1";
    // The same JSON, written anew.
    let value: Value = serde_json::from_slice(&body).unwrap();
    let rewritten = serde_json::to_vec_pretty(&value).unwrap();
    assert_eq!(push(&daemon, &url, &[(name, &good)], rewritten).await, StatusCode::UNAUTHORIZED);
    let mut longer = body.clone();
    longer.push(b' ');
    assert_eq!(push(&daemon, &url, &[(name, &good)], longer).await, StatusCode::UNAUTHORIZED);
    for headers in [&[][..], &[(name, "")], &[(name, &good[1..])], &[("x-docusign-signature", &good)]] {
        assert_eq!(push(&daemon, &url, headers, body.clone()).await, StatusCode::UNAUTHORIZED, "{headers:?}");
    }
    assert_eq!(daemon.get(&path).await.body["status"], "open");
    let metrics = daemon.ops("/metrics").await.text;
    assert!(metrics.contains("connect_deliveries_total{result=\"bad_digest\"} 6"), "{metrics}");
    // The right one may stand under any number, beside wrong ones, and comes as often as it likes.
    let headers = [("x-docusign-signature-7", good.as_str()), (name, "AAAA")];
    for _ in 0..3 {
        assert_eq!(push(&daemon, &url, &headers, body.clone()).await, StatusCode::OK);
    }
    daemon.until("voided", async || daemon.get(&path).await.body["status"] == "voided").await;
    // What comes a day late, and what nobody knows, is taken and changes nothing.
    daemon.clock.advance(Duration::from_secs(86_400));
    for (name_of, id) in [
        ("envelope-completed", envelope.as_str()),
        ("envelope-beamed-up", &envelope),
        ("envelope-sent", "unknown"),
    ] {
        let body = event(name_of, id);
        let digest = digest(&daemon, &body);
        assert_eq!(push(&daemon, &url, &[(name, &digest)], body).await, StatusCode::OK, "{name_of}");
    }
    daemon
        .run_clock("counted", async || daemon.ops("/metrics").await.text.contains("{result=\"unknown\"} 1"))
        .await;
    assert_eq!(daemon.get(&path).await.body["status"], "voided");
}

/// Sends bytes as they are, then whatever comes of it: the status, 0 if there was no answer.
async fn raw(address: &str, request: &[u8], then: impl AsyncFnOnce()) -> u16 {
    let host = address.strip_prefix("http://").unwrap();
    let mut socket = tokio::net::TcpStream::connect(host).await.unwrap();
    // Who is refused early may be cut off while still writing.
    let _ = socket.write_all(request).await;
    then().await;
    let mut answer = vec![0; 64];
    let read = tokio::time::timeout(Duration::from_secs(20), socket.read(&mut answer)).await;
    let count = read.expect("nothing hangs").unwrap_or(0);
    let line = String::from_utf8_lossy(&answer[..count]);
    line.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
}

#[tokio::test]
async fn s5_huge_slow_and_flooding_requests_are_cut_off_and_change_nothing() {
    let (daemon, _, path, _) = open().await;
    let (public, api) = (daemon.public.clone().unwrap(), daemon.api.clone());
    let head = |path: &str, length: usize, more: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\
             Content-Type: application/json\r\nX-DocuSign-Signature-1: AAAA\r\n{more}\r\n"
        )
    };
    // 100 MB are refused by their length, before any of it is read.
    let huge = head("/in/docusign/events", 100_000_000, "");
    assert_eq!(raw(&public, huge.as_bytes(), async || {}).await, 413);
    let key = format!("Authorization: Bearer {}\r\nIdempotency-Key: a\r\n", crate::harness::CALLER_KEY);
    assert_eq!(raw(&api, head("/v1/signings", 100_000_000, &key).as_bytes(), async || {}).await, 413);
    // Without a length they are refused where the limit is.
    let mut endless = huge.replace("Content-Length: 100000000", "Transfer-Encoding: chunked").into_bytes();
    for _ in 0..40 {
        endless.extend_from_slice(b"10000\r\n");
        endless.extend_from_slice(&vec![b' '; 0x10000]);
        endless.extend_from_slice(b"\r\n");
    }
    assert!(matches!(raw(&public, &endless, async || {}).await, 413 | 0));
    // A body that never ends arrives for ten seconds.
    let slow = format!("{}half", head("/in/docusign/events", 1_000, ""));
    let pass = async || {
        for _ in 0..70 {
            daemon.clock.advance(Duration::from_secs(1));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert_eq!(raw(&public, slow.as_bytes(), pass).await, 408);
    let slow = format!("{}half", head("/v1/signings", 1_000, &key));
    assert_eq!(raw(&api, slow.as_bytes(), pass).await, 400);
    // Header floods: too many, and too large.
    let many = (0..200).fold(String::new(), |all, number| format!("{all}X-Flood-{number}: x\r\n"));
    let large = format!("X-Flood: {}\r\n", "x".repeat(1_000_000));
    for address in [&public, &api, &daemon.ops] {
        for more in [&many, &large] {
            let status = raw(address, head("/v1/signings", 0, more).as_bytes(), async || {}).await;
            assert!(matches!(status, 431 | 0), "{status}");
        }
    }
    assert_eq!(daemon.get(&path).await.body["status"], "open");
}

/// Two who fill the roles of a template, asked for in the other order than the template has them.
fn reversed_order() -> Value {
    json!({
        "reference": "order-1", "sender": "system", "view": false,
        // The emulator's second template: recipient 1 is the client, who signs first, and 2 the manager.
        "documents": [{"template": "c1a55e00-7e3d-4b1a-9f00-5e1f7e3a0002"}],
        "signers": [
            {"key": "boss", "name": "Grace Hopper", "email": "grace@example.com", "role": "Manager", "order": 2},
            {"key": "visitor", "name": "Ada Lovelace", "email": "ada@example.com", "role": "Client", "order": 1},
        ],
    })
}

#[tokio::test]
async fn f1_an_event_that_does_not_say_whom_is_not_believed_of_somebody_else() {
    let daemon = TestDaemon::builder().public().start().await;
    let made = daemon.create("order-1", &reversed_order()).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    let (path, envelope) = (format!("/v1/signings/{}", made.id()), &made.body["provider"]["envelope_id"]);
    let url = format!("{}/in/docusign/events", daemon.public.as_ref().unwrap());
    // What the envelope's own configuration would tell does not come through.
    daemon.fault(&json!({"fault": "event_bad_signature"})).await;
    let signers = daemon.control(Method::GET, "signers", &Value::Null).await;
    let client =
        signers["signers"].as_array().unwrap().iter().find(|one| one["recipient_id"] == "1").unwrap();
    let id = client["id"].as_str().unwrap();
    daemon.control(Method::POST, &format!("signers/{id}/sign"), &json!({})).await;
    daemon.forget_requests().await;
    // The account's configuration leaves the recipients out: "1" is the template's number of the client,
    // and ours of the manager.
    for second in 1..=3 {
        let message = json!({"event": "recipient-completed",
            "generatedDateTime": format!("2026-06-01T12:00:0{second}.0000000Z"),
            "data": {"envelopeId": envelope, "recipientId": "1"}});
        let body = serde_json::to_vec(&message).unwrap();
        let digest = digest(&daemon, &body);
        assert_eq!(push(&daemon, &url, &[("x-docusign-signature-1", &digest)], body).await, StatusCode::OK);
    }
    let statuses = async || {
        let signing = daemon.get(&path).await;
        [0, 1].map(|at| signing.body["signers"][at]["status"].as_str().unwrap().to_owned())
    };
    daemon
        .run_clock("the client's signature", async || {
            let [boss, visitor] = statuses().await;
            assert_ne!(boss, "signed", "the manager has not signed");
            visitor == "signed"
        })
        .await;
    assert_eq!(statuses().await[0], "ready", "it is the manager's turn");
    // However many said so: one check.
    daemon.live_through(Duration::from_secs(60)).await;
    let asked = daemon.requests().await;
    assert_eq!(asked.iter().filter(|line| line.starts_with("GET /restapi")).count(), 1, "{asked:?}");
}

/// Pushes a message as an account's own configuration may send it: without the envelope.
async fn push_bare(daemon: &TestDaemon, name: &str, envelope: &Value, recipient: Option<&str>) {
    let mut message = json!({"event": name, "generatedDateTime": "2026-06-01T12:00:01.0000000Z",
        "data": {"envelopeId": envelope}});
    if let Some(recipient) = recipient {
        message["data"]["recipientId"] = json!(recipient);
    }
    let url = format!("{}/in/docusign/events", daemon.public.as_ref().unwrap());
    let body = serde_json::to_vec(&message).unwrap();
    let digest = digest(daemon, &body);
    assert_eq!(push(daemon, &url, &[("x-docusign-signature-1", &digest)], body).await, StatusCode::OK);
}

async fn expire(daemon: &TestDaemon, envelope: &Value) {
    let expire = format!("envelopes/{}/expire", envelope.as_str().unwrap());
    daemon.control(Method::POST, &expire, &json!({})).await;
}

/// Several envelopes that have expired, of which no message of ours has told.
async fn expired_unheard() -> (TestDaemon, Vec<Value>) {
    let daemon = TestDaemon::builder().public().start().await;
    daemon.fault(&json!({"fault": "event_bad_signature"})).await;
    let mut envelopes = Vec::new();
    for number in 0..8 {
        let made = daemon.create(&format!("order-{number}"), &unopened()).await;
        envelopes.push(made.body["provider"]["envelope_id"].clone());
        expire(&daemon, envelopes.last().unwrap()).await;
    }
    (daemon, envelopes)
}

/// What the upstream was asked.
async fn asked(daemon: &TestDaemon) -> Vec<String> {
    daemon.requests().await.into_iter().filter(|line| line.starts_with("GET /restapi")).collect()
}

/// All that comes through is the word of the account's own configuration, which tells that it ended, and neither why nor
/// by whom; also while the check of the interval is spent.
#[tokio::test]
async fn f1_what_an_end_does_not_say_is_looked_up() {
    for (name, status, signer, is_checked) in [
        ("envelope-voided", "expired", "ready", false),
        ("envelope-voided", "expired", "ready", true),
        ("envelope-declined", "declined", "declined", false),
        ("envelope-declined", "declined", "declined", true),
    ] {
        let daemon = TestDaemon::builder().public().start().await;
        let made = daemon.create("order-1", &unopened()).await;
        let (path, envelope) = (format!("/v1/signings/{}", made.id()), &made.body["provider"]["envelope_id"]);
        if is_checked {
            let checked = daemon.post(&format!("{path}/refresh"), &json!({})).await;
            assert_eq!(checked.status, StatusCode::OK, "{}", checked.text);
            daemon.live_through(Duration::from_secs(60)).await;
        }
        daemon.fault(&json!({"fault": "event_bad_signature"})).await;
        if status == "expired" {
            expire(&daemon, envelope).await;
        } else {
            daemon.act(0, "decline", &json!({})).await;
        }
        daemon.forget_requests().await;
        push_bare(&daemon, name, envelope, None).await;
        daemon.run_clock("the end", async || daemon.get(&path).await.body["status"] != "open").await;
        let read = daemon.get(&path).await;
        let stands = [&read.body["status"], &read.body["signers"][0]["status"]];
        assert_eq!(stands, [status, signer], "{}", read.text);
        let asked = asked(&daemon).await;
        assert_eq!(asked.len(), 1, "{asked:?}");
    }
}

/// The first of two has signed, and has been asked about, when the second declines.
#[tokio::test]
async fn f1_a_second_event_that_does_not_say_whom_is_looked_up_in_the_same_quarter_of_an_hour() {
    let daemon = TestDaemon::builder().public().start().await;
    let made = daemon.create("order-1", &reversed_order()).await;
    let (path, envelope) = (format!("/v1/signings/{}", made.id()), &made.body["provider"]["envelope_id"]);
    daemon.fault(&json!({"fault": "event_bad_signature"})).await;
    let act = async |recipient: &str, action: &str| {
        let signers = daemon.control(Method::GET, "signers", &Value::Null).await;
        let all = signers["signers"].as_array().unwrap();
        let id = all.iter().find(|one| one["recipient_id"] == recipient).unwrap()["id"].as_str().unwrap();
        daemon.control(Method::POST, &format!("signers/{id}/{action}"), &json!({})).await;
    };
    let stands = async |at: usize, status: &str| {
        let read = daemon.get(&path).await;
        read.body["signers"][at]["status"] == status
    };
    act("1", "sign").await;
    push_bare(&daemon, "recipient-completed", envelope, Some("1")).await;
    daemon.run_clock("the client's signature", async || stands(1, "signed").await).await;
    let check = daemon.post(&format!("{path}/refresh"), &json!({})).await;
    assert_eq!(check.status, StatusCode::OK, "the list has spent nobody's check: {}", check.text);
    act("2", "decline").await;
    daemon.forget_requests().await;
    push_bare(&daemon, "recipient-declined", envelope, Some("2")).await;
    push_bare(&daemon, "envelope-declined", envelope, None).await;
    daemon.run_clock("the end", async || daemon.get(&path).await.body["status"] != "open").await;
    assert!(stands(0, "declined").await, "{}", daemon.get(&path).await.text);
    let history = daemon.record(made.id().parse().unwrap()).await.signing.history;
    let told: Vec<_> = history.into_iter().map(|moment| moment.what).collect();
    let by_whom_and_end = [EventKind::SignerDeclined, EventKind::SigningDeclined].map(MomentKind::Event);
    assert!(told.ends_with(&by_whom_and_end), "{told:?}");
    // Whatever else was to be asked has been told.
    daemon.pass(Duration::from_secs(1), 60).await;
    let asked = asked(&daemon).await;
    assert_eq!(asked.len(), 1, "{asked:?}");
}

/// The upstream cannot be asked when the end is told, and the signer's own message comes after it.
#[tokio::test]
async fn f1_who_has_declined_is_looked_up_after_the_end_if_it_could_not_be_before() {
    let daemon = TestDaemon::builder().public().start().await;
    let made = daemon.create("order-1", &unopened()).await;
    let (path, envelope) = (format!("/v1/signings/{}", made.id()), &made.body["provider"]["envelope_id"]);
    daemon.fault(&json!({"fault": "event_bad_signature"})).await;
    daemon.act(0, "decline", &json!({})).await;
    let down = json!({"fault": "status", "status": 503, "method": "GET", "path": "/envelopes", "count": 1});
    daemon.fault(&down).await;
    push_bare(&daemon, "envelope-declined", envelope, None).await;
    daemon.run_clock("the end", async || daemon.get(&path).await.body["status"] == "declined").await;
    let signer = async || daemon.get(&path).await.body["signers"][0]["status"].clone();
    assert_eq!(signer().await, "ready", "nobody has said who");
    push_bare(&daemon, "recipient-declined", envelope, Some("1")).await;
    daemon.run_clock("who has declined", async || signer().await == "declined").await;
}

/// Somebody calls many off at once, or many end on the same day.
#[tokio::test]
async fn b2_what_many_ends_do_not_say_is_asked_by_a_list() {
    let (daemon, envelopes) = expired_unheard().await;
    daemon.forget_requests().await;
    // The first list is under way while the others fall due.
    let slow = json!({"fault": "delay", "method": "GET", "path": "/envelopes", "delay_ms": 300, "count": 1});
    daemon.fault(&slow).await;
    for envelope in &envelopes {
        push_bare(&daemon, "envelope-voided", envelope, None).await;
    }
    let all = async || {
        let listed = daemon.get("/v1/signings?status=expired").await;
        listed.body["data"].as_array().unwrap().len() == envelopes.len()
    };
    daemon.run_clock_slowly("all ends", all).await;
    let asked = asked(&daemon).await;
    assert!(asked.len() <= 2, "{asked:?}");
}

/// Whoever asks for many at once and is not answered has not lost the others' answers.
#[tokio::test]
async fn f1_a_list_that_fails_costs_one_end_its_reason_and_not_all() {
    let (daemon, envelopes) = expired_unheard().await;
    // The first list holds the others up, and the second one fails, which may be that of all others.
    let slow = json!({"fault": "delay", "method": "GET", "path": "/envelopes", "delay_ms": 300, "count": 1});
    daemon.fault(&slow).await;
    let down = json!({"fault": "status", "status": 503, "method": "GET", "path": "/envelopes", "count": 2});
    daemon.fault(&down).await;
    for envelope in &envelopes {
        push_bare(&daemon, "envelope-voided", envelope, None).await;
    }
    let count = async |status: &str| {
        let listed = daemon.get(&format!("/v1/signings?status={status}")).await;
        listed.body["data"].as_array().unwrap().len()
    };
    let all = async || count("expired").await + count("voided").await == envelopes.len();
    daemon.run_clock_slowly("all ends", all).await;
    assert!((1..=2).contains(&count("voided").await), "those who asked for the lists that failed");
}

#[tokio::test]
async fn s5_a_hundred_slow_bodies_of_a_stranger_do_not_shut_docusign_out() {
    let (daemon, url, path, envelope) = open().await;
    let host = daemon.public.as_ref().unwrap().strip_prefix("http://").unwrap().to_owned();
    let head = "POST /in/docusign/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\
                X-DocuSign-Signature-1: AAAA\r\nExpect: 100-continue\r\n\r\n";
    let mut slow = Vec::new();
    for _ in 0..100 {
        let mut socket = tokio::net::TcpStream::connect(&host).await.unwrap();
        socket.write_all(head.as_bytes()).await.unwrap();
        // It says so when it begins to read.
        let mut answer = [0; 12];
        socket.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 100");
        slow.push(socket);
    }
    // Time stands still, so nobody's patience ends.
    let body = event("envelope-voided", &envelope);
    let digest = digest(&daemon, &body);
    let headers = [("x-docusign-signature-1", digest.as_str())];
    let pushed = tokio::time::timeout(Duration::from_secs(30), push(&daemon, &url, &headers, body)).await;
    assert_eq!(pushed.expect("nobody is waited for"), StatusCode::OK);
    daemon.until("voided", async || daemon.get(&path).await.body["status"] == "voided").await;
}

#[tokio::test]
async fn an_account_level_configuration_is_taken_beside_that_of_the_envelope() {
    let daemon = TestDaemon::builder().public().start().await;
    let url = format!("{}/in/docusign/events", daemon.public.as_ref().unwrap());
    let ready = daemon.emulator.ready();
    let token = daemon.parts().auth.token("system").await.unwrap();
    let configuration = json!({
        "urlToPublishTo": url, "name": "all", "allUsers": "true", "allowEnvelopePublish": "true",
        "configurationType": "custom", "includeHMAC": "true", "requiresAcknowledgement": "true",
        "events": ["envelope-sent", "envelope-completed", "recipient-completed", "envelope-created"],
        "eventData": {"version": "restv2.1", "format": "json", "includeData": ["recipients"]},
    });
    let made = daemon
        .call(
            Method::POST,
            &format!("{}/restapi/v2.1/accounts/{}/connect", ready.base_url, ready.account_id),
            None,
            &[("authorization", token.header().to_str().unwrap()), ("content-type", "application/json")],
            serde_json::to_vec(&configuration).unwrap(),
        )
        .await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    let made = daemon.create("order-1", &order()).await;
    daemon.sign_all().await;
    let path = format!("/v1/signings/{}", made.id());
    daemon.until("completed", async || daemon.get(&path).await.body["status"] == "completed").await;
    // The account's own configuration tells everything a second time: nothing of ours comes of that.
    let doubled =
        async || daemon.ops("/metrics").await.text.contains("connect_deliveries_total{result=\"duplicate\"}");
    daemon.until("the second telling", doubled).await;
    let events = daemon.get("/v1/events?limit=100").await;
    let kinds: Vec<_> = events.body["data"].as_array().unwrap().iter().map(|one| &one["type"]).collect();
    for kind in ["signer.signed", "signing.completed", "document.available"] {
        assert_eq!(kinds.iter().filter(|one| **one == kind).count(), 1, "{kinds:?}");
    }
}

#[tokio::test]
async fn who_waits_is_told_by_the_event_itself() {
    let (daemon, url, path, envelope) = open().await;
    let sequence = daemon.get(&path).await.body["sequence"].as_u64().unwrap();
    // Time stands still, so neither the time-out nor a look by itself can end the wait.
    let wait_path = format!("{path}/wait?sequence={sequence}&timeout=20");
    let wait = daemon.get(&wait_path);
    let tell = async {
        daemon.until("the wait", async || daemon.parts().signings.waiting() == 1).await;
        let body = event("envelope-completed", &envelope);
        let digest = digest(&daemon, &body);
        push(&daemon, &url, &[("x-docusign-signature-1", &digest)], body).await
    };
    let (told, status) = tokio::join!(wait, tell);
    assert_eq!((status, &told.body["status"]), (StatusCode::OK, &json!("completed")));
}

/// Whoever waits for a purge says what they know, and must neither be answered at once again and again nor miss it.
#[tokio::test]
async fn who_waits_after_the_end_is_told_when_something_comes() {
    let (daemon, url, path, envelope) = open().await;
    let tell = async |name: &str| {
        let body = event(name, &envelope);
        let digest = digest(&daemon, &body);
        push(&daemon, &url, &[("x-docusign-signature-1", &digest)], body).await
    };
    assert_eq!(tell("envelope-completed").await, StatusCode::OK);
    daemon.until("completed", async || daemon.get(&path).await.body["status"] == "completed").await;
    let sequence = daemon.get(&path).await.body["sequence"].as_u64().unwrap();
    // Time stands still: what waits does not end by itself.
    let known = format!("{path}/wait?timeout=20&sequence={sequence}");
    for at_once in [
        format!("{path}/wait?timeout=20"),
        format!("{path}/wait?timeout=20&sequence={}", sequence - 1),
        format!("{path}/wait?timeout=0&sequence={sequence}"),
    ] {
        assert_eq!(daemon.get(&at_once).await.body["sequence"], sequence, "{at_once}");
    }
    let waiting = || daemon.parts().signings.waiting();
    let early = tokio::time::timeout(Duration::from_millis(300), daemon.get(&known)).await;
    assert!(early.is_err(), "nothing has come: {early:?}");
    daemon.until("the end of the wait that was given up", async || waiting() == 0).await;
    let purge = async {
        daemon.until("the wait", async || waiting() == 1).await;
        tell("envelope-purge").await
    };
    let (told, status) = tokio::join!(daemon.get(&known), purge);
    assert_eq!(status, StatusCode::OK);
    assert!(told.body["purged_at"].is_string(), "{}", told.text);
}

#[tokio::test]
async fn keys_and_bearer_tokens_follow_the_settings_without_a_restart() {
    let (daemon, url, path, envelope) = open().await;
    let body = event("envelope-voided", &envelope);
    let signed = |key: &str| countersign::connect::Keys::new([key]).sign(&body).unwrap();
    let settings = daemon.settings_for_a_process("sqlite://none.db");
    let old = daemon.emulator.ready().connect_hmac_key.clone();
    let new = settings.replace(
        &format!("hmac_keys = [\"{old}\"]"),
        "hmac_keys = [\"another\"]\nbearer_tokens = [\"t-1\", \"t-2\"]",
    );
    let config = countersign::config::Config::from_toml(&new).unwrap_or_else(|error| panic!("{error}"));
    daemon.parts().reload(&config).await.unwrap();
    let name = "x-docusign-signature-1";
    let (before, after) = (signed(&old), signed("another"));
    for headers in [
        &[(name, before.as_str()), ("authorization", "Bearer t-1")][..],
        &[(name, &after)],
        &[(name, &after), ("authorization", "Bearer t-3")],
        &[("authorization", "Bearer t-1")],
    ] {
        assert_eq!(push(&daemon, &url, headers, body.clone()).await, StatusCode::UNAUTHORIZED, "{headers:?}");
    }
    let headers = [(name, after.as_str()), ("authorization", "Bearer t-2")];
    assert_eq!(push(&daemon, &url, &headers, body).await, StatusCode::OK);
    daemon.until("voided", async || daemon.get(&path).await.body["status"] == "voided").await;
}

#[tokio::test]
async fn mutual_tls_asks_docusign_for_a_certificate_and_visitors_for_none() {
    let directory = crate::harness::TempDir::new();
    let file = |name: &str, text: &str| {
        let path = directory.0.join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        path
    };
    let (ours, theirs) = (Authority::new(), Authority::new());
    let (server, server_key) = ours.sign("127.0.0.1");
    let ca = file("ca.pem", &ours.pem);
    let connect =
        format!("client_ca = \"{}\"\ncertificates = [\"dns:connect.docusign.net\"]\n", ca.display());
    let daemon = TestDaemon::builder()
        .public_tls(&file("server.pem", &server), &file("server.key", &server_key))
        .connect(&connect)
        .start()
        .await;
    let made = daemon.create("order-1", &order()).await;
    let url = format!("{}/in/docusign/events", daemon.public.as_ref().unwrap());
    let body = event("envelope-voided", made.body["provider"]["envelope_id"].as_str().unwrap());
    let digest = digest(&daemon, &body);
    let push = async |client: &reqwest::Client| {
        let request = client.post(&url).header("x-docusign-signature-1", &digest).body(body.clone());
        request.send().await.ok().map(|answer| answer.status())
    };
    let client = |identity: Option<(String, String)>| ours.client(identity);
    assert_eq!(push(&client(None)).await, Some(StatusCode::UNAUTHORIZED));
    assert_eq!(push(&client(Some(ours.sign("visitor.example.com")))).await, Some(StatusCode::UNAUTHORIZED));
    assert_eq!(push(&client(Some(theirs.sign("connect.docusign.net")))).await, None, "no handshake");
    let page =
        client(None).get(made.body["signers"][0]["link"]["url"].as_str().unwrap()).send().await.unwrap();
    assert_eq!(page.status(), StatusCode::OK, "a visitor needs none");
    assert_eq!(push(&client(Some(ours.sign("connect.docusign.net")))).await, Some(StatusCode::OK));
    let path = format!("/v1/signings/{}", made.id());
    daemon.until("voided", async || daemon.get(&path).await.body["status"] == "voided").await;
}

/// A CA of the test.
struct Authority {
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, uuid::Uuid::new_v4().to_string());
        let key = rcgen::KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: rcgen::Issuer::new(params, key), pem }
    }

    /// A certificate and its key, as PEM.
    fn sign(&self, name: &str) -> (String, String) {
        use rcgen::ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
        let mut params = rcgen::CertificateParams::new([name.to_owned()]).unwrap();
        params.extended_key_usages = vec![ClientAuth, ServerAuth];
        let key = rcgen::KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    /// A client that trusts this CA, and shows a certificate if it has one.
    #[expect(clippy::disallowed_methods, reason = "the tests are a client of their own")]
    fn client(&self, identity: Option<(String, String)>) -> reqwest::Client {
        let ca = reqwest::Certificate::from_pem(self.pem.as_bytes()).unwrap();
        let mut builder = reqwest::Client::builder().no_proxy().tls_certs_only([ca]);
        if let Some((certificate, key)) = identity {
            let pem = format!("{key}{certificate}");
            builder = builder.identity(reqwest::Identity::from_pem(pem.as_bytes()).unwrap());
        }
        builder.build().unwrap()
    }
}

#[tokio::test]
async fn oauth_for_connect_asks_for_a_token_of_the_operators_own_server() {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    let directory = crate::harness::TempDir::new();
    let key = rcgen::KeyPair::generate().unwrap();
    let public = key.public_key_raw().to_vec();
    let (x, y) = (URL_SAFE_NO_PAD.encode(&public[1..33]), URL_SAFE_NO_PAD.encode(&public[33..65]));
    let set = json!({"keys": [{"kty": "EC", "crv": "P-256", "kid": "k1", "use": "sig", "x": x, "y": y}]});
    let jwks = directory.0.join("jwks.json");
    std::fs::write(&jwks, set.to_string()).unwrap();
    let token = |subject: &str, exp: u64| {
        let head = jsonwebtoken::Header {
            kid: Some("k1".to_owned()),
            ..jsonwebtoken::Header::new(jsonwebtoken::Algorithm::ES256)
        };
        let claims = json!({"iss": "https://login", "sub": subject, "aud": "countersign", "exp": exp});
        let signing = jsonwebtoken::EncodingKey::from_ec_der(&key.serialize_der());
        format!("Bearer {}", jsonwebtoken::encode(&head, &claims, &signing).unwrap())
    };
    let issuer = format!(
        "[oidc.login]\nissuer = \"https://login\"\naudience = \"countersign\"\njwks_file = \"{}\"\n",
        jwks.display()
    );
    let daemon = TestDaemon::builder()
        .public()
        .connect("oidc = { login = [\"docusign-*\"] }\n")
        .with(&issuer)
        .start()
        .await;
    let made = daemon.create("order-1", &order()).await;
    let url = format!("{}/in/docusign/events", daemon.public.as_ref().unwrap());
    let body = event("envelope-voided", made.body["provider"]["envelope_id"].as_str().unwrap());
    let digest = digest(&daemon, &body);
    let signature = ("x-docusign-signature-1", digest.as_str());
    let (late, other) = (token("docusign-connect", 1_000), token("website", 4_000_000_000));
    for refused in [&late, &other, "Bearer x", ""] {
        let headers = [signature, ("authorization", refused)];
        assert_eq!(push(&daemon, &url, &headers, body.clone()).await, StatusCode::UNAUTHORIZED, "{refused}");
    }
    assert_eq!(push(&daemon, &url, &[signature], body.clone()).await, StatusCode::UNAUTHORIZED);
    let good = token("docusign-connect", 4_000_000_000);
    // The token alone proves nothing either.
    assert_eq!(
        push(&daemon, &url, &[("authorization", &good)], body.clone()).await,
        StatusCode::UNAUTHORIZED
    );
    assert_eq!(push(&daemon, &url, &[signature, ("authorization", &good)], body).await, StatusCode::OK);
    let path = format!("/v1/signings/{}", made.id());
    daemon.until("voided", async || daemon.get(&path).await.body["status"] == "voided").await;
}
