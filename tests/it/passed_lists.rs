//! Lists of envelopes that are passed through: where callers share an account, and where nobody else tells of an end.

use std::{cell::Cell, time::Duration};

use countersign::domain::{AccountId, SenderName};
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::{
    harness::{CALLER_KEY, Reply, THIRD_KEY, TestDaemon, key_hash, order},
    passthrough::{colleague, envelope, made_beside, root, sent},
};

/// What stands in the signing of [`coded`], beside the signer's name.
const CODE: &str = "SecretCode77";
/// Longer ago than any envelope.
const ALL: &str = "from_date=2020-01-01";

/// A create whose signer is told a code.
fn coded() -> Value {
    let mut body = order();
    let signer = body["signers"][0].as_object_mut().unwrap();
    signer.remove("sms_auth");
    signer.insert("access_code".to_owned(), json!(CODE));
    body
}

/// A list as this caller has it.
async fn list(daemon: &TestDaemon, key: &str, query: &str) -> Reply {
    let url = format!("{}{}/envelopes?{query}", daemon.api, root(daemon));
    daemon.call(Method::GET, &url, Some(key), &[], Vec::new()).await
}

/// A signing of this caller's.
async fn create_as(daemon: &TestDaemon, key: &str) -> Reply {
    let url = format!("{}/v1/signings", daemon.api);
    let headers = [("content-type", "application/json"), ("idempotency-key", "order-1")];
    daemon.call(Method::POST, &url, Some(key), &headers, coded().to_string().into_bytes()).await
}

fn envelope_of(made: &Reply) -> String {
    made.body["provider"]["envelope_id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_list_tells_no_more_of_another_callers_signing_than_that_it_is_there() {
    let daemon = TestDaemon::builder().with(&colleague()).start().await;
    let made = daemon.create("order-1", &coded()).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    let theirs = envelope_of(&made);
    let passed = daemon.post(&format!("{}/envelopes", root(&daemon)), &envelope()).await;
    let free = passed.body["envelopeId"].as_str().unwrap();
    daemon.forget_requests().await;

    for (query, status, code) in [
        (format!("{ALL}&include=recipients,tabs"), 403, "forbidden"),
        (format!("{ALL}&Include=custom_fields"), 403, "forbidden"),
        (format!("{ALL}&include=what_comes_next_year"), 403, "forbidden"),
        (format!("{ALL}&search_text=ada@example.com"), 403, "forbidden"),
        (format!("{ALL}&order_by=signer_list"), 403, "forbidden"),
        (format!("envelope_ids={free}&{ALL}&include=recipients"), 403, "forbidden"),
        (format!("Envelope_Ids={free}&include=recipients"), 403, "forbidden"),
        (format!("envelope_ids={theirs}"), 404, "not_found"),
        (format!("envelope_ids={free},{theirs}&include=recipients"), 404, "not_found"),
        (format!("{ALL}&envelope_ids={}", theirs.replace('-', "").to_uppercase()), 404, "not_found"),
    ] {
        let refused = list(&daemon, THIRD_KEY, &query).await;
        assert_eq!((refused.status.as_u16(), refused.code()), (status, code), "{query}: {}", refused.text);
        assert!(refused.body["fix"].is_string(), "{}", refused.text);
    }
    assert_eq!(sent(&daemon).await, Vec::<String>::new());

    let plain = list(&daemon, THIRD_KEY, &format!("{ALL}&count=10&order_by=created")).await;
    assert_eq!((plain.status, &plain.body["resultSetSize"]), (StatusCode::OK, &json!("2")), "{}", plain.text);
    for word in [CODE, "ada@example.com", "Ada Lovelace", made.id()] {
        assert!(!plain.text.contains(word), "{word}: {}", plain.text);
    }
    // What is of no signing is shared, and what is one's own is not kept from oneself: nor has anybody taken its one list.
    let shared = list(&daemon, THIRD_KEY, &format!("envelope_ids={free}&include=recipients,tabs")).await;
    assert!(shared.status == StatusCode::OK && shared.text.contains("c-1"), "{}", shared.text);
    let own = list(&daemon, CALLER_KEY, &format!("envelope_ids={theirs}&include=recipients")).await;
    assert!(own.status == StatusCode::OK && own.text.contains("Ada Lovelace"), "{}", own.text);
    // Nobody else has a signing there, as yet.
    let own = list(&daemon, CALLER_KEY, &format!("{ALL}&include=recipients")).await;
    assert!(own.status == StatusCode::OK && own.text.contains("Ada Lovelace"), "{}", own.text);
    assert_eq!(create_as(&daemon, THIRD_KEY).await.status, StatusCode::CREATED);
    let own = list(&daemon, CALLER_KEY, &format!("{ALL}&include=recipients")).await;
    assert_eq!((own.status.as_u16(), own.code()), (403, "forbidden"), "{}", own.text);
}

#[tokio::test]
async fn a_caller_that_shares_its_account_with_nobody_lists_whatever_it_asks_for() {
    for (rights, status) in [
        ("senders = []", StatusCode::OK),
        ("senders = [\"away\"]", StatusCode::OK),
        ("senders = [\"system\"]", StatusCode::FORBIDDEN),
        ("senders = []\nenforcement = \"audit\"", StatusCode::FORBIDDEN),
    ] {
        let other = format!(
            "[callers.other]\nkey_hash = \"{}\"\nreturn_origins = [\"https://www.example.com\"]\n{rights}\n",
            key_hash(THIRD_KEY)
        );
        let daemon =
            TestDaemon::builder().public().with(&other).connectable("away", "code", "").start().await;
        let all = format!("{ALL}&include=recipients&search_text=ada");
        let listed = list(&daemon, CALLER_KEY, &all).await;
        assert_eq!(listed.status, StatusCode::OK, "nothing is there yet, {rights}: {}", listed.text);
        let may_create = status == StatusCode::FORBIDDEN;
        let made = create_as(&daemon, THIRD_KEY).await;
        assert_eq!(made.status == StatusCode::CREATED, may_create, "{rights}: {}", made.text);
        let listed = list(&daemon, CALLER_KEY, &all).await;
        assert_eq!(listed.status, status, "{rights}: {}", listed.text);
    }
}

#[tokio::test]
async fn a_list_tells_no_more_of_the_signings_of_a_caller_that_is_gone() {
    let mut daemon = TestDaemon::builder().with(&colleague()).start().await;
    let made = create_as(&daemon, THIRD_KEY).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    daemon.restart_with(|settings| settings.replace(&colleague(), "")).await;
    let listed = list(&daemon, THIRD_KEY, ALL).await;
    assert_eq!(listed.status, StatusCode::UNAUTHORIZED, "it is gone: {}", listed.text);
    let refused = list(&daemon, CALLER_KEY, &format!("{ALL}&include=recipients")).await;
    assert_eq!((refused.status.as_u16(), refused.code()), (403, "forbidden"), "{}", refused.text);
    let plain = list(&daemon, CALLER_KEY, ALL).await;
    assert!(plain.status == StatusCode::OK && !plain.text.contains(CODE), "{}", plain.text);
}

/// Ids of so many envelopes that do not exist, each behind a comma.
fn unknown(count: usize) -> String {
    (0..count).map(|number| format!(",{number:08x}-0000-4000-8000-000000000000")).collect::<Vec<_>>().concat()
}

/// Whose a new envelope is may have to be waited for: once for all that a list names, and for no more than a hundred.
#[tokio::test]
async fn a_list_takes_a_hundred_ids_and_waits_for_whose_they_are() {
    let daemon = TestDaemon::builder().with(&colleague()).start().await;
    let passed = daemon.post(&format!("{}/envelopes", root(&daemon)), &envelope()).await;
    let free = passed.body["envelopeId"].as_str().unwrap();
    daemon.forget_requests().await;
    let refused = list(&daemon, THIRD_KEY, &format!("envelope_ids={free}{}", unknown(100))).await;
    assert_eq!((refused.status.as_u16(), refused.code()), (400, "invalid_request"), "{}", refused.text);
    assert!(refused.body["fix"].is_string() && refused.text.contains("101"), "{}", refused.text);
    assert_eq!(sent(&daemon).await, Vec::<String>::new());

    // It is made, its answer is lost, and nobody can look it up.
    daemon.fault(&json!({"fault": "status", "status": 503, "method": "GET", "path": "/envelopes"})).await;
    daemon.fault_create("commit_then_drop").await;
    let made = daemon.queue("order-1", &order()).await;
    daemon.run_clock("the envelope", async || daemon.envelopes().await == 2).await;
    let theirs = made_beside(&daemon, free).await;
    let with_theirs = format!("envelope_ids={free},{theirs}{}", unknown(98));
    let answered = Cell::new(false);
    let asks = async {
        let reply = list(&daemon, THIRD_KEY, &with_theirs).await;
        answered.set(true);
        reply
    };
    let (unsure, ()) = tokio::join!(asks, daemon.run_clock("an answer", async || answered.get()));
    assert_eq!((unsure.status.as_u16(), unsure.code()), (503, "provider_unavailable"), "{}", unsure.text);
    assert!(unsure.text.contains("not yet known whose"), "{}", unsure.text);

    daemon.control(Method::DELETE, "faults", &Value::Null).await;
    daemon.settle(made.id(), "open").await;
    let hidden = list(&daemon, THIRD_KEY, &with_theirs).await;
    assert_eq!((hidden.status.as_u16(), hidden.code()), (404, "not_found"), "{}", hidden.text);
    let shared = list(&daemon, THIRD_KEY, &format!("envelope_ids={free}{}", unknown(99))).await;
    assert!(shared.status == StatusCode::OK && shared.text.contains(free), "{}", shared.text);
}

/// Such a list takes the same right to ask about an envelope as our own look at quiet signings (rule B3).
#[tokio::test]
async fn f1_who_lists_its_envelope_each_quarter_of_an_hour_does_not_keep_its_end_from_being_known() {
    // Without the public listener nobody can tell us.
    let daemon = TestDaemon::start().await;
    let made = daemon.create("order-1", &order()).await;
    let query = format!("envelope_ids={}", envelope_of(&made));
    let signing = format!("/v1/signings/{}", made.id());
    daemon.sign_all().await;
    daemon.forget_requests().await;
    // Halfway between two of our looks. After an hour the signing is quiet.
    let half = Duration::from_secs(450);
    daemon.pass(half, 1).await;
    for _ in 0..4 {
        let passed = list(&daemon, CALLER_KEY, &query).await;
        assert_eq!(passed.status, StatusCode::OK, "{}", passed.text);
        daemon.pass(half, 2).await;
    }
    let refused = list(&daemon, CALLER_KEY, &query).await;
    assert_eq!((refused.status.as_u16(), refused.code()), (409, "polling_budget"), "{}", refused.text);
    assert!(
        refused.headers.contains_key("retry-after") && refused.body["fix"].is_string(),
        "{}",
        refused.text
    );
    daemon.until("completed", async || daemon.get(&signing).await.body["status"] == "completed").await;
    let lists = sent(&daemon).await.iter().filter(|line| line.ends_with("/envelopes")).count();
    assert_eq!(lists, 5, "the caller's four, and ours in the place of its fifth");
    daemon.pass(half, 2).await;
    let passed = list(&daemon, CALLER_KEY, &query).await;
    assert_eq!(passed.status, StatusCode::OK, "it has ended: {}", passed.text);
}

#[tokio::test]
async fn b3_our_look_in_the_place_of_a_list_is_at_all_that_it_names() {
    let daemon = TestDaemon::start().await;
    let first = daemon.create("order-1", &order()).await;
    daemon.pass(Duration::from_secs(3_000), 1).await;
    let second = daemon.create("order-2", &order()).await;
    daemon.pass(Duration::from_secs(601), 1).await;
    let query = format!("envelope_ids={},{}", envelope_of(&first), envelope_of(&second));
    let refused = list(&daemon, CALLER_KEY, &query).await;
    assert_eq!((refused.status.as_u16(), refused.code()), (409, "polling_budget"), "{}", refused.text);
    // The first is quiet after an hour, the second after half of it and an hour: they were asked about together.
    for made in [&first, &second] {
        let record = daemon.record(made.id().parse().unwrap()).await;
        assert!(record.signing.checked_at.is_some(), "{}", made.id());
    }
}

/// A caller has two senders in one account, and one of them cannot act any more, or acts elsewhere by now.
#[tokio::test]
async fn what_cannot_be_looked_at_has_no_list_refused_that_another_sender_can_have() {
    let daemon = TestDaemon::start().await;
    let gone = daemon.create("order-1", &order()).await;
    daemon.rewrite(gone.id().parse().unwrap(), None, |it| it.sender = SenderName::new("gone")).await;
    let left = daemon.create("order-2", &order()).await;
    daemon.rewrite(left.id().parse().unwrap(), None, |it| it.account = Some(AccountId::new("left"))).await;
    daemon.pass(Duration::from_secs(3_000), 1).await;
    let fresh = daemon.create("order-3", &order()).await;
    daemon.pass(Duration::from_secs(601), 1).await;
    let all = [gone, left, fresh];
    let query = format!("envelope_ids={}", all.each_ref().map(envelope_of).join(","));
    let listed = list(&daemon, CALLER_KEY, &query).await;
    assert_eq!(
        (listed.status, &listed.body["resultSetSize"]),
        (StatusCode::OK, &json!("3")),
        "{}",
        listed.text
    );
    for made in &all {
        let record = daemon.record(made.id().parse().unwrap()).await;
        assert!(record.signing.checked_at.is_none(), "{}", made.id());
    }
}
