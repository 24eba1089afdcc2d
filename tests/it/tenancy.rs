//! Callers see only their own: every route of our OpenAPI document, with another caller's ids, and with the
//! key of a caller who has nothing to do with them. Generated, so that a new route cannot be forgotten: a
//! parameter that this file has no foreign value for fails the test.

use std::collections::BTreeMap;

use countersign::{clock::Clock as _, config::Config};
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::{CALLER_KEY, THIRD_KEY, TestDaemon, key_hash, order};

/// A caller with a sender of its own, who must see nothing of the first one's.
const NEIGHBOUR_KEY: &str = THIRD_KEY;

/// A caller that shares the first one's sender, and nothing else.
const COLLEAGUE_KEY: &str = "cs_DDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDD";

/// What is the first caller's: the value of each path parameter, by route where that tells it.
struct Foreign {
    signing: String,
    signer: String,
    link: String,
    endpoint: String,
    delivery: String,
    envelope: String,
}

async fn start() -> TestDaemon {
    let neighbour = format!(
        "[callers.neighbour]\nkey_hash = \"{}\"\nsenders = [\"unconsented\"]\n\
         return_origins = [\"https://www.example.com\"]\n\
         [webhooks.website]\nurl = \"http://127.0.0.1:9/hook\"\n\
         secrets = [\"whsec_cGxhbnRlZC13ZWJob29rLXNlY3JldC0wMDE=\"]\nallow_private = true\n\
         [callers.colleague]\nkey_hash = \"{}\"\nsenders = [\"system\"]\n",
        key_hash(NEIGHBOUR_KEY),
        key_hash(COLLEAGUE_KEY)
    );
    let builder = TestDaemon::builder().public().with(&neighbour).caller("sender_patterns = [\"system\"]\n");
    builder.connectable("customer", "code", "").start().await
}

async fn foreign(daemon: &TestDaemon) -> Foreign {
    let sender = json!({"name": "acme", "like": "system", "user_id": daemon.emulator.ready().user_id});
    assert_eq!(daemon.post("/v1/senders", &sender).await.status, StatusCode::CREATED);
    let made = daemon.create("theirs", &order()).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    let path = format!("/v1/signings/{}/signers/{}/links", made.id(), made.signer());
    let link = daemon.post(&path, &json!({})).await;
    let endpoint = daemon.get("/v1/webhook_endpoints").await;
    let mut delivery = String::new();
    daemon
        .run_clock("a delivery", async || {
            let listed = daemon.get("/v1/deliveries").await;
            listed.body["data"][0]["id"].as_str().unwrap_or_default().clone_into(&mut delivery);
            !delivery.is_empty()
        })
        .await;
    Foreign {
        signing: made.id().to_owned(),
        signer: made.signer().to_owned(),
        link: link.body["id"].as_str().unwrap_or_default().to_owned(),
        endpoint: endpoint.body["data"][0]["id"].as_str().unwrap_or_default().to_owned(),
        delivery,
        envelope: made.body["provider"]["envelope_id"].as_str().unwrap_or_default().to_owned(),
    }
}

impl Foreign {
    /// The route with the first caller's ids in it: once for each of its senders where it names one, and of an
    /// envelope's id once for each way to write it.
    fn fill(&self, path: &str, account: &str) -> Vec<String> {
        let id = &self.envelope;
        let mut spellings = vec![id.clone()];
        if path.contains("{path}") {
            let plain = id.replace('-', "");
            spellings.extend([id.to_uppercase(), plain.to_uppercase(), plain]);
            spellings.extend([format!("%7B{id}%7D"), format!("urn:uuid:{id}")]);
        }
        spellings.iter().flat_map(|envelope| self.filled(path, account, envelope)).collect()
    }

    fn filled(&self, path: &str, account: &str, envelope: &str) -> Vec<String> {
        let id = match path.split('/').nth(2).unwrap_or_default() {
            "signings" => &self.signing,
            "links" => &self.link,
            "webhook_endpoints" => &self.endpoint,
            "deliveries" => &self.delivery,
            _ => "",
        };
        let rest = format!("restapi/v2.1/accounts/{account}/envelopes/{envelope}");
        let fixed = [
            ("{signer}", self.signer.as_str()),
            ("{part}", "combined"),
            ("{path}", rest.as_str()),
            ("{id}", id),
        ];
        let mut filled = path.to_owned();
        for (name, value) in fixed {
            assert!(
                !filled.contains(name) || !value.is_empty(),
                "{path} needs a foreign {name}: add one here"
            );
            filled = filled.replace(name, value);
        }
        let all: Vec<String> = if filled.contains("{name}") {
            ["system", "customer", "acme"].map(|sender| filled.replace("{name}", sender)).into()
        } else {
            vec![filled]
        };
        assert!(all.iter().all(|path| !path.contains('{')), "{path} has a parameter that is not known here");
        all
    }

    fn words(&self) -> [&str; 6] {
        [&self.signing, &self.signer, &self.link, &self.endpoint, &self.delivery, &self.envelope]
    }
}

#[tokio::test]
async fn no_route_shows_another_callers_things() {
    let daemon = start().await;
    let account = daemon.emulator.ready().account_id.clone();
    let foreign = foreign(&daemon).await;
    let document = daemon.get("/openapi.json").await.body;
    let paths = document["paths"].as_object().unwrap();
    let stranger = crate::harness::STRANGER_KEY;
    let mut tried = BTreeMap::new();
    daemon.forget_requests().await;
    for (path, item) in paths {
        for (method, operation) in item.as_object().unwrap() {
            if operation["security"] == json!([]) {
                continue;
            }
            let body = body_of(operation);
            for url in foreign.fill(path, &account) {
                for key in [NEIGHBOUR_KEY, stranger, COLLEAGUE_KEY] {
                    if key == COLLEAGUE_KEY && is_shared(path, &url) {
                        continue;
                    }
                    let reply = call(&daemon, method, &url, key, &body).await;
                    *tried.entry(path.as_str()).or_insert(0) += 1;
                    if path.contains('{') {
                        let is_hidden = matches!(reply.status.as_u16(), 403 | 404);
                        assert!(is_hidden, "{method} {url}: {} {}", reply.status, reply.text);
                    }
                    for word in foreign.words() {
                        let echoed = url.contains(word);
                        assert!(echoed || !reply.text.contains(word), "{method} {url} shows {word}");
                    }
                }
            }
        }
    }
    assert!(tried.len() > 20 && tried.len() == paths.len() - open_paths(paths), "{tried:?}");
    // Nothing that was refused had an effect, here or upstream.
    let upstream: Vec<_> =
        daemon.requests().await.into_iter().filter(|line| !line.contains("/oauth/")).collect();
    assert_eq!(upstream, Vec::<String>::new());
    let own = daemon.get(&format!("/v1/signings/{}", foreign.signing)).await;
    assert_eq!((own.status, &own.body["status"]), (StatusCode::OK, &json!("open")), "{}", own.text);
    let endpoints = daemon.get("/v1/webhook_endpoints").await;
    assert_eq!(endpoints.body["data"].as_array().unwrap().len(), 1, "{}", endpoints.text);
}

#[tokio::test]
async fn lists_and_creates_are_each_callers_own() {
    let daemon = start().await;
    let foreign = foreign(&daemon).await;
    for path in ["/v1/signings", "/v1/events", "/v1/deliveries", "/v1/webhook_endpoints"] {
        let mine = daemon.get(path).await;
        assert!(!mine.body["data"].as_array().unwrap().is_empty(), "{path}: {}", mine.text);
        let theirs = call(&daemon, "get", path, NEIGHBOUR_KEY, &Value::Null).await;
        // That a sender which they may use has no consent is theirs to know.
        let of_their_sender = |one: &&Value| one["data"]["id"] == "unconsented";
        let all = theirs.body["data"].as_array().unwrap();
        let foreign: Vec<_> = all.iter().filter(|one| !of_their_sender(one)).collect();
        assert!(foreign.is_empty(), "{path}: {foreign:?}");
    }
    let senders = call(&daemon, "get", "/v1/senders", NEIGHBOUR_KEY, &Value::Null).await;
    let names: Vec<_> =
        senders.body["data"].as_array().unwrap().iter().map(|one| one["name"].clone()).collect();
    assert_eq!(names, [json!("unconsented")]);
    // The same Idempotency-Key is another one for another caller, and a foreign sender is none.
    let url = format!("{}/v1/signings", daemon.api);
    let headers = [("content-type", "application/json"), ("idempotency-key", "theirs")];
    let reply = daemon
        .call(Method::POST, &url, Some(NEIGHBOUR_KEY), &headers, order().to_string().into_bytes())
        .await;
    assert_eq!((reply.status.as_u16(), reply.code()), (404, "sender_unknown"), "{}", reply.text);
    assert!(!reply.text.contains(&foreign.signing));
    let by_reference =
        call(&daemon, "get", "/v1/signings?reference=order-8812", NEIGHBOUR_KEY, &Value::Null).await;
    assert_eq!(by_reference.body["data"], json!([]));
    assert_eq!(
        daemon.get("/v1/signings?reference=order-8812").await.body["data"][0]["id"],
        foreign.signing.as_str()
    );
    let _ = CALLER_KEY;
}

/// What the colleague may do: all that is not about something of the first caller's, and what the sender that
/// both have shows of itself; but nothing of a signing, not even by passing a call through.
fn is_shared(path: &str, url: &str) -> bool {
    !path.contains('{') || (url.starts_with("/v1/senders/system") && !path.ends_with("/esign/{path}"))
}

/// The example of a request, or the least that is valid.
fn body_of(operation: &Value) -> Value {
    let example = &operation["requestBody"]["content"]["application/json"]["example"];
    if example.is_null() { json!({}) } else { example.clone() }
}

async fn call(
    daemon: &TestDaemon,
    method: &str,
    path: &str,
    key: &str,
    body: &Value,
) -> crate::harness::Reply {
    let method: Method = method.to_ascii_uppercase().parse().unwrap();
    let headers = [("content-type", "application/json"), ("idempotency-key", "matrix")];
    let body =
        if method == Method::GET || body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
    // A stream or a long poll on what is not theirs ends at once.
    daemon.call(method, &format!("{}{path}", daemon.api), Some(key), &headers, body).await
}

fn open_paths(paths: &serde_json::Map<String, Value>) -> usize {
    let is_open = |item: &Value| item.as_object().unwrap().values().all(|one| one["security"] == json!([]));
    paths.values().filter(|item| is_open(item)).count()
}

fn capped(rights: &str) -> String {
    format!(
        "[callers.neighbour]\nkey_hash = \"{}\"\nreturn_origins = [\"https://www.example.com\"]\n{rights}\n",
        key_hash(NEIGHBOUR_KEY)
    )
}

async fn create(daemon: &TestDaemon, key: &str) -> crate::harness::Reply {
    create_at(daemon, &daemon.api, key).await
}

async fn create_at(daemon: &TestDaemon, api: &str, key: &str) -> crate::harness::Reply {
    let url = format!("{api}/v1/signings");
    let headers = [("content-type", "application/json"), ("idempotency-key", key)];
    daemon.call(Method::POST, &url, Some(NEIGHBOUR_KEY), &headers, order().to_string().into_bytes()).await
}

#[tokio::test]
async fn a_callers_day_is_capped_and_nobody_elses() {
    let mut daemon = TestDaemon::builder().with(&capped("daily_signings = 2")).start().await;
    for key in ["a", "b", "a"] {
        let made = create(&daemon, key).await;
        assert_eq!(made.status, StatusCode::CREATED, "{key}: {}", made.text);
    }
    daemon.restart().await;
    let over = create(&daemon, "c").await;
    assert_eq!((over.status.as_u16(), over.code()), (429, "quota_exceeded"), "{}", over.text);
    assert!(over.body["fix"].as_str().unwrap().contains("daily_signings"), "{}", over.text);
    // Noon: half a day is left.
    assert_eq!(over.headers["retry-after"], "43200");
    assert_eq!(daemon.create("c", &order()).await.status, StatusCode::CREATED, "another caller's");
    daemon.clock.advance(std::time::Duration::from_secs(43_200));
    daemon.until("the next day", async || create(&daemon, "c").await.status == StatusCode::CREATED).await;
}

#[tokio::test]
async fn a_repeat_of_a_create_that_was_refused_does_not_count_in_the_day() {
    let daemon = TestDaemon::builder().with(&capped("daily_signings = 2")).start().await;
    let mut body = order();
    body["sender"] = json!("unconsented");
    let url = format!("{}/v1/signings", daemon.api);
    // "c" is refused by the cap, and was not counted before: its repeat is no way around it. It is told why no signing
    // is to be seen that has used the day up.
    for (key, code) in [
        ("a", "consent_required"),
        ("a", "consent_required"),
        ("a", "consent_required"),
        ("b", "consent_required"),
        ("c", "quota_exceeded"),
        ("c", "quota_exceeded"),
        ("a", "consent_required"),
    ] {
        let headers = [("content-type", "application/json"), ("idempotency-key", key)];
        let body = body.to_string().into_bytes();
        let refused = daemon.call(Method::POST, &url, Some(NEIGHBOUR_KEY), &headers, body).await;
        assert_eq!(refused.code(), code, "{key}: {}", refused.text);
        let detail = refused.body["detail"].as_str().unwrap();
        assert_eq!(detail.contains("DocuSign refused"), code == "quota_exceeded", "{key}: {detail}");
    }
}

/// So many calls with one key, at once, to these daemons in turn.
async fn at_once(daemon: &TestDaemon, apis: &[&str], key: &str, count: usize) -> Vec<crate::harness::Reply> {
    let calls = apis.iter().cycle().take(count).map(|api| create_at(daemon, api, key));
    futures_util::future::join_all(calls).await
}

/// One of them has made it, and the others are told what it has made.
fn made_once(replies: &[crate::harness::Reply]) {
    for reply in replies {
        assert_eq!((reply.status, reply.id()), (StatusCode::CREATED, replies[0].id()), "{}", reply.text);
    }
    let replayed = replies.iter().filter(|reply| reply.headers.contains_key("idempotency-replayed")).count();
    assert_eq!(replayed, replies.len() - 1);
}

#[tokio::test]
async fn e3_calls_with_one_key_at_once_count_once_in_the_day() {
    let daemon = TestDaemon::builder().with(&capped("daily_signings = 3")).start().await;
    for (key, count) in [("a", 10), ("b", 2), ("c", 8)] {
        made_once(&at_once(&daemon, &[&daemon.api], key, count).await);
    }
    assert_eq!(daemon.envelopes().await, 3);
    // The day is used up: a new key is refused however often it comes at once, and an old one is answered.
    for over in at_once(&daemon, &[&daemon.api], "d", 8).await {
        assert_eq!((over.status.as_u16(), over.code()), (429, "quota_exceeded"), "{}", over.text);
    }
    let again = at_once(&daemon, &[&daemon.api], "c", 4).await;
    assert!(again.iter().all(|reply| reply.headers.contains_key("idempotency-replayed")), "{again:?}");
    assert_eq!(daemon.envelopes().await, 3);
}

#[tokio::test]
async fn e3_calls_with_one_key_at_once_count_once_in_the_share_of_the_hour() {
    // 30 calls, which are 15 creates.
    let daemon = TestDaemon::builder().with(&capped("budget_percent = 1")).start().await;
    made_once(&at_once(&daemon, &[&daemon.api], "same", 10).await);
    for number in 1..15 {
        let made = create(&daemon, &format!("order-{number}")).await;
        assert_eq!(made.status, StatusCode::CREATED, "{number}: {}", made.text);
    }
    for over in at_once(&daemon, &[&daemon.api], "one-more", 4).await {
        assert_eq!((over.status.as_u16(), over.code()), (429, "quota_exceeded"), "{}", over.text);
    }
    assert_eq!(daemon.envelopes().await, 15);
}

/// What is refused before anything is written down leaves nothing that could answer the others: each is a try of its own.
#[tokio::test]
async fn calls_with_one_key_at_once_that_are_refused_each_count_in_the_hour_and_once_in_the_day() {
    let daemon = TestDaemon::builder().with(&capped("budget_percent = 1\ndaily_signings = 12")).start().await;
    let mut body = order();
    body["sender"] = json!("unconsented");
    let (url, body) = (format!("{}/v1/signings", daemon.api), body.to_string().into_bytes());
    let headers = [("content-type", "application/json"), ("idempotency-key", "same")];
    let calls = (0..4).map(|_| daemon.call(Method::POST, &url, Some(NEIGHBOUR_KEY), &headers, body.clone()));
    for refused in futures_util::future::join_all(calls).await {
        assert_eq!(refused.code(), "consent_required", "{}", refused.text);
    }
    // Four times two calls of thirty.
    for number in 0..11 {
        let made = create(&daemon, &format!("order-{number}")).await;
        assert_eq!(made.status, StatusCode::CREATED, "{number}: {}", made.text);
    }
    assert!(create(&daemon, "one-more").await.text.contains("budget_percent"), "the hour is used up");
    daemon.clock.advance(std::time::Duration::from_secs(3_600));
    let is_capped = async || create(&daemon, "one-more").await.text.contains("daily_signings");
    daemon.until("the next hour", is_capped).await;
}

#[tokio::test]
async fn a_call_waits_for_its_turn_at_a_key_no_longer_than_its_caller_does() {
    let daemon = TestDaemon::builder().with(&capped("daily_signings = 2")).start().await;
    let key = countersign::digest::sha256(b"neighbour\0same");
    let turn = daemon.parts().signings.turn(key).await;
    let url = format!("{}/v1/signings", daemon.api);
    let headers = [("content-type", "application/json"), ("idempotency-key", "same"), ("prefer", "wait=2")];
    let call =
        daemon.call(Method::POST, &url, Some(NEIGHBOUR_KEY), &headers, order().to_string().into_bytes());
    let told = tokio::select! {
        told = call => told,
        () = daemon.run_clock("never", async || false) => unreachable!(),
    };
    assert_eq!((told.status.as_u16(), told.code()), (409, "idempotency_in_progress"), "{}", told.text);
    assert!(told.headers.contains_key("retry-after"));
    assert_eq!(
        create(&daemon, "other").await.status,
        StatusCode::CREATED,
        "another key has a turn of its own"
    );
    drop(turn);
    assert_eq!(create(&daemon, "same").await.status, StatusCode::CREATED, "and what waited has not counted");
    assert_eq!(create(&daemon, "one-more").await.code(), "quota_exceeded");
}

#[tokio::test(flavor = "multi_thread")]
async fn e5_calls_with_one_key_at_once_to_several_daemons_count_once() {
    let Some(url) = crate::postgres::database() else { return };
    let limits = capped("daily_signings = 2\nbudget_percent = 1");
    let daemon = TestDaemon::builder().store(&url).with(&limits).start().await;
    let beside = daemon.beside().await;
    let apis = [&*daemon.api, &*beside.api];
    // What another daemon has made of a key is looked for from time to time.
    let all_at_once = async |key: &str| {
        tokio::select! {
            replies = at_once(&daemon, &apis, key, 8) => replies,
            () = daemon.pass(std::time::Duration::from_millis(10), u32::MAX) => unreachable!(),
        }
    };
    for key in ["a", "b"] {
        made_once(&all_at_once(key).await);
    }
    for over in all_at_once("c").await {
        assert_eq!((over.status.as_u16(), over.code()), (429, "quota_exceeded"), "{}", over.text);
        assert!(over.text.contains("daily_signings"), "{}", over.text);
    }
    assert_eq!(daemon.envelopes().await, 2);
    beside.stop().await;
}

#[tokio::test]
async fn envelopes_that_are_passed_through_count_in_the_day() {
    let daemon = TestDaemon::builder().with(&capped("daily_signings = 2")).start().await;
    let envelope = json!({"emailSubject": "x", "status": "created",
        "documents": [{"documentId": "1", "name": "a.txt", "fileExtension": "txt", "documentBase64": "SGVsbG8="}]});
    let pass =
        async || call(&daemon, "post", "/v1/senders/system/esign/envelopes", NEIGHBOUR_KEY, &envelope).await;
    assert_eq!(pass().await.status, StatusCode::CREATED);
    assert_eq!(create(&daemon, "a").await.status, StatusCode::CREATED);
    let over = pass().await;
    assert_eq!((over.status.as_u16(), over.code()), (429, "quota_exceeded"), "{}", over.text);
    let read = call(&daemon, "get", "/v1/senders/system/esign/templates", NEIGHBOUR_KEY, &Value::Null).await;
    assert_eq!(read.status, StatusCode::OK, "what makes nothing goes on");
}

#[tokio::test]
async fn a_callers_share_of_the_hour_is_its_own() {
    // 3000 an hour: one percent is 30 calls, which are 15 creates.
    let daemon = TestDaemon::builder().with(&capped("budget_percent = 1")).start().await;
    for number in 0..15 {
        let made = create(&daemon, &format!("order-{number}")).await;
        assert_eq!(made.status, StatusCode::CREATED, "{number}: {}", made.text);
    }
    let over = create(&daemon, "one-more").await;
    assert_eq!((over.status.as_u16(), over.code()), (429, "quota_exceeded"), "{}", over.text);
    assert_eq!(over.headers["retry-after"], "3600");
    assert!(over.body["fix"].as_str().unwrap().contains("callers.neighbour.budget_percent"), "{}", over.text);
    let tried = call(&daemon, "post", "/v1/signings?dry_run=true", NEIGHBOUR_KEY, &order()).await;
    assert_eq!(tried.status, StatusCode::OK, "a dry run spends nothing: {}", tried.text);
    daemon.parts().reload(&Config::from_toml(daemon.settings()).unwrap()).await.unwrap();
    assert_eq!(create(&daemon, "one-more").await.code(), "quota_exceeded", "new settings give no new share");
    let read = call(&daemon, "get", "/v1/signings", NEIGHBOUR_KEY, &Value::Null).await;
    assert_eq!(read.status, StatusCode::OK, "what costs nothing upstream goes on");
    assert_eq!(
        daemon.create("theirs", &order()).await.status,
        StatusCode::CREATED,
        "the others' shares are whole"
    );
    daemon.clock.advance(std::time::Duration::from_secs(3_600));
    daemon
        .until("the next hour", async || create(&daemon, "later").await.status == StatusCode::CREATED)
        .await;
}

/// What the one refuses is not counted by the other.
#[tokio::test]
async fn a_used_up_hour_takes_nothing_of_the_day_nor_the_day_of_the_hour() {
    let daemon = TestDaemon::builder().with(&capped("budget_percent = 1\ndaily_signings = 17")).start().await;
    let create_some = async |name: &str, count: u32| {
        for number in 0..count {
            let made = create(&daemon, &format!("{name}-{number}")).await;
            assert_eq!(made.status, StatusCode::CREATED, "{name} {number}: {}", made.text);
        }
    };
    create_some("first", 15).await;
    for number in 0..5 {
        let over = create(&daemon, &format!("over-{number}")).await;
        assert!(over.text.contains("budget_percent"), "{}", over.text);
    }
    daemon.clock.advance(std::time::Duration::from_secs(3_600));
    daemon.until("the next hour", async || create(&daemon, "next").await.status == StatusCode::CREATED).await;
    create_some("last", 1).await;
    for number in 0..20 {
        let over = create(&daemon, &format!("late-{number}")).await;
        assert!(over.text.contains("daily_signings"), "{}", over.text);
    }
    let read = async || {
        let path = "/v1/senders/system/esign/templates";
        call(&daemon, "get", path, NEIGHBOUR_KEY, &Value::Null).await
    };
    // Two creates were made in this hour: of its thirty calls that leaves twenty-six.
    for number in 0..26 {
        assert_eq!(read().await.status, StatusCode::OK, "{number}");
    }
    assert!(read().await.text.contains("budget_percent"), "and no more");
}

/// What is answered from the store costs no call, and is there whatever has been spent (rule E3).
#[tokio::test]
async fn e3_a_share_that_is_used_up_hides_no_answer_and_what_goes_nowhere_costs_none() {
    // 30 calls, which are 15 creates.
    let daemon = TestDaemon::builder().with(&capped("budget_percent = 1")).start().await;
    let url = format!("{}/v1/signings", daemon.api);
    let post = async |key: &str, body: &Value| {
        let headers = [("content-type", "application/json"), ("idempotency-key", key)];
        let body = body.to_string().into_bytes();
        daemon.call(Method::POST, &url, Some(NEIGHBOUR_KEY), &headers, body).await
    };
    let (mut wrong, mut other) = (order(), order());
    wrong["signers"] = json!([]);
    other["reference"] = json!("order-9999");
    let first = post("order-0", &order()).await;
    assert_eq!(first.status, StatusCode::CREATED, "{}", first.text);
    for _ in 0..20 {
        assert_eq!(post("wrong", &wrong).await.status, StatusCode::BAD_REQUEST);
        assert_eq!(post("order-0", &order()).await.text, first.text);
    }
    for number in 1..15 {
        let made = create(&daemon, &format!("order-{number}")).await;
        assert_eq!(made.status, StatusCode::CREATED, "{number}: {}", made.text);
    }
    assert_eq!(create(&daemon, "one-more").await.code(), "quota_exceeded", "it is used up");
    let again = post("order-0", &order()).await;
    assert_eq!((again.status, &again.text), (StatusCode::CREATED, &first.text));
    assert_eq!(again.headers["idempotency-replayed"], "true");
    let reused = post("order-0", &other).await;
    assert_eq!((reused.status.as_u16(), reused.code()), (422, "idempotency_key_reused"), "{}", reused.text);
    assert_eq!(post("wrong", &wrong).await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_document_that_lies_here_costs_no_share() {
    let daemon = TestDaemon::builder().with(&capped("budget_percent = 1")).start().await;
    let made = create(&daemon, "order-0").await;
    daemon.sign_all().await;
    let path = format!("/v1/signings/{}", made.id());
    let refreshed = call(&daemon, "post", &format!("{path}/refresh"), NEIGHBOUR_KEY, &json!({})).await;
    assert_eq!(refreshed.body["status"], "completed", "{}", refreshed.text);
    let document =
        async |part: &str| call(&daemon, "get", &format!("{path}/{part}"), NEIGHBOUR_KEY, &Value::Null).await;
    assert_eq!(document("documents/combined").await.status, StatusCode::OK);
    for number in 1..14 {
        let made = create(&daemon, &format!("order-{number}")).await;
        assert_eq!(made.status, StatusCode::CREATED, "{number}: {}", made.text);
    }
    assert_eq!(create(&daemon, "one-more").await.code(), "quota_exceeded", "it is used up");
    assert_eq!(document("documents/combined").await.status, StatusCode::OK, "it lies here");
    for part in ["documents/certificate", "evidence"] {
        let over = document(part).await;
        assert_eq!((over.status.as_u16(), over.code()), (429, "quota_exceeded"), "{part}: {}", over.text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callers_share_of_the_hour_is_counted_by_all_daemons_together_and_through_a_restart() {
    let Some(url) = crate::postgres::database() else { return };
    let settings = capped("budget_percent = 1");
    let mut daemon = TestDaemon::builder().store(&url).with(&settings).start().await;
    let beside = daemon.beside().await;
    // 30 calls between them: each has room of its own until it hears of the other's.
    for number in 0..15 {
        let api = if number % 2 == 0 { &daemon.api } else { &beside.api };
        let made = create_at(&daemon, api, &format!("order-{number}")).await;
        assert_eq!(made.status, StatusCode::CREATED, "{number}: {}", made.text);
    }
    // A new one each time: a repeat would be answered.
    let fresh = || uuid::Uuid::new_v4().to_string();
    let is_refused = async |api: &str| create_at(&daemon, api, &fresh()).await.code() == "quota_exceeded";
    daemon.run_clock("one hears of two", async || is_refused(&daemon.api).await).await;
    daemon.run_clock("two hears of one", async || is_refused(&beside.api).await).await;
    beside.stop().await;
    daemon.restart().await;
    let restarted = daemon.clock.now();
    let is_refused = async || create(&daemon, &fresh()).await.code() == "quota_exceeded";
    daemon.run_clock("it hears of what was before it", is_refused).await;
    assert!(daemon.clock.now().duration_since(restarted).as_secs() < 30, "within a few seconds");
}
