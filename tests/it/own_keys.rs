//! Connect keys of one sender's account: believed at that sender's address, of its envelopes, and nowhere else.

use std::fmt::Write as _;

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::{
    harness::{Reply, TestDaemon, order},
    made_senders::{ELIAS, RIVAL_KEY, VENDOR_KEY, call_as, with_vendors},
};

async fn make(daemon: &TestDaemon, key: &str, (name, user): (&str, &str), secret: &str) -> Reply {
    let body = json!({"name": name, "like": "system", "user_id": user, "hmac_keys": [secret]});
    let made = call_as(daemon, key, Method::POST, "/v1/senders", body).await;
    assert_eq!(
        (made.status, &made.body["hmac_key_count"]),
        (StatusCode::CREATED, &json!(1)),
        "{}",
        made.text
    );
    assert!(!made.text.contains(secret), "it is never shown");
    made
}

async fn keep(daemon: &TestDaemon, keys: &Value) -> Reply {
    call_as(daemon, VENDOR_KEY, Method::PATCH, "/v1/senders/acme", json!({"hmac_keys": keys})).await
}

/// Pushes a word about an envelope to an address, signed with a key.
async fn push(daemon: &TestDaemon, at: &str, envelope: &str, key: &str) -> StatusCode {
    let message = json!({"event": "envelope-voided", "generatedDateTime": "2026-06-01T12:00:01.0000000Z",
        "data": {"envelopeId": envelope}});
    let body = message.to_string().into_bytes();
    let digest = countersign::connect::Keys::new([key]).sign(&body).unwrap();
    let url = format!("{}/in/docusign/{at}", daemon.public.as_ref().unwrap());
    let headers = [("x-docusign-signature-1", digest.as_str())];
    daemon.call(Method::POST, &url, None, &headers, body).await.status
}

#[tokio::test]
async fn the_keys_of_a_made_sender_count_at_its_address_for_its_envelopes() {
    let daemon = with_vendors().await;
    let real = daemon.emulator.ready().connect_hmac_key.clone();
    make(&daemon, VENDOR_KEY, ("acme", &daemon.emulator.ready().user_id), &real).await;
    make(&daemon, RIVAL_KEY, ("rival-co", ELIAS), "the-rivals").await;
    let mut body = order();
    body["sender"] = json!("acme");
    let url = format!("{}/v1/signings", daemon.api);
    let headers = [("content-type", "application/json"), ("idempotency-key", "one")];
    let made =
        daemon.call(Method::POST, &url, Some(VENDOR_KEY), &headers, body.to_string().into_bytes()).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    let envelope = made.body["provider"]["envelope_id"].as_str().unwrap();
    let path = format!("/v1/signings/{}", made.id());
    let status = async || {
        let shown = call_as(&daemon, VENDOR_KEY, Method::GET, &path, Value::Null).await;
        shown.body["status"].as_str().unwrap_or_default().to_owned()
    };

    // Another's key at this address, this one's at another, another's at its own about this envelope; and a sender
    // that has none, or does not exist.
    for (at, key) in [
        ("of.acme", "the-rivals"),
        ("of.rival-co", real.as_str()),
        ("of.rival-co", "the-rivals"),
        ("of.system", real.as_str()),
        ("of.nobody", real.as_str()),
        ("events", "the-rivals"),
    ] {
        assert_eq!(push(&daemon, at, envelope, key).await, StatusCode::UNAUTHORIZED, "{at} {key}");
    }
    assert_eq!(status().await, "open");

    // The real thing: the account signs with its own key, and tells the address that the envelope was made with,
    // also while the key is being changed.
    let kept = keep(&daemon, &json!(["the-next-one", real])).await;
    assert_eq!(kept.body["hmac_key_count"], 2, "{}", kept.text);
    daemon.sign_all().await;
    daemon.until("completion", async || status().await == "completed").await;
    let sent = daemon.requests().await;
    assert!(sent.iter().any(|line| line.starts_with("POST") && line.ends_with("/envelopes")), "{sent:?}");

    assert_eq!(keep(&daemon, &json!([])).await.body["hmac_key_count"], 0);
    assert_eq!(push(&daemon, "of.acme", envelope, &real).await, StatusCode::UNAUTHORIZED);
    for (wrong, place) in [
        (json!(["1", "2", "3", "4", "5"]), "/hmac_keys"),
        (json!("secret-key"), "/hmac_keys"),
        (json!([""]), "/hmac_keys/0"),
        (json!(["good", "secret key"]), "/hmac_keys/1"),
        (json!([7]), "/hmac_keys/0"),
    ] {
        let refused = keep(&daemon, &wrong).await;
        assert_eq!(refused.body["errors"][0]["pointer"], place, "{}", refused.text);
        assert_eq!(refused.body["errors"].as_array().unwrap().len(), 1, "{}", refused.text);
        assert!(!refused.text.contains("secret"), "{}", refused.text);
    }
}

/// Senders of the settings with a key each.
fn with_keys(count: usize) -> impl Fn(&str, &str) -> String + 'static {
    move |key, pem| {
        (0..count).fold(String::new(), |mut all, number| {
            let _ = write!(
                all,
                "[senders.tenant-{number}]\nintegration_key = \"{key}\"\n\
                 user_id = \"b7d7a1c4-52e8-4d0f-9b6a-7e3f0c210001\"\nkeys = [\"{pem}\"]\n\
                 hmac_keys = [\"key-{number}\"]\n"
            );
            all
        })
    }
}

#[tokio::test]
async fn the_general_address_holds_a_delivery_against_the_keys_of_few_senders_only() {
    // An envelope that is nobody's is acknowledged and not kept, if its key is believed at all.
    for (count, expected) in [(3, StatusCode::OK), (101, StatusCode::UNAUTHORIZED)] {
        let daemon = TestDaemon::builder().public().with_senders(with_keys(count)).start().await;
        assert_eq!(push(&daemon, "events", "nobodys", "key-2").await, expected, "{count} senders");
        assert_eq!(push(&daemon, "of.tenant-2", "nobodys", "key-2").await, StatusCode::OK);
        assert_eq!(push(&daemon, "of.tenant-2", "nobodys", "key-1").await, StatusCode::UNAUTHORIZED);
    }
}

/// Whose envelope it is may be found out by a create in doubt, if that is of a sender whose key signed; another's
/// doubt holds nobody up.
#[tokio::test]
async fn a_create_in_doubt_holds_up_no_delivery_to_another_sender() {
    let daemon = TestDaemon::builder().public().with_senders(with_keys(3)).start().await;
    // Perhaps nobody looks it up: time stands still.
    daemon.faults_may_wait();
    daemon.fault(&json!({"fault": "status", "status": 503, "method": "GET", "path": "/envelopes"})).await;
    daemon.fault_create("commit_then_drop").await;
    let made = daemon.queue("doubtful", &order()).await;
    daemon.settle(made.id(), "uncertain").await;
    // The clock stands still: whoever waited would wait for ever.
    assert_eq!(push(&daemon, "of.tenant-2", "nobodys", "key-2").await, StatusCode::OK);
}
