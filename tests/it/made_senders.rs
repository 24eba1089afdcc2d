//! Senders that callers make, change and unmake: whose they are, whose users they may act as, and what stays of them.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::{Reply, THIRD_KEY, TestDaemon};

#[tokio::test]
async fn a_caller_makes_changes_and_unmakes_senders_of_its_own() {
    let key = THIRD_KEY;
    let vendor = format!(
        "[callers.vendor]\nkey_hash = \"{}\"\nsenders = [\"system\"]\n\
         sender_patterns = [\"system\", \"customer\"]\n",
        crate::harness::key_hash(key)
    );
    let builder = TestDaemon::builder().public().with(&vendor).connectable("customer", "code", "");
    let mut daemon = builder.start().await;
    let as_vendor = async |daemon: &TestDaemon, method: Method, path: &str, body: Value| {
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let url = format!("{}{path}", daemon.api);
        daemon.call(method, &url, Some(key), &[("content-type", "application/json")], body).await
    };
    let user = daemon.emulator.ready().user_id.clone();
    let second = "3f1c9a52-6f0e-4a3b-8f57-1d2a90c4e002";

    let made = as_vendor(
        &daemon,
        Method::POST,
        "/v1/senders",
        json!({"name": "acme", "like": "system", "user_id": user}),
    )
    .await;
    assert_eq!((made.status, &made.body["like"]), (StatusCode::CREATED, &json!("system")), "{}", made.text);
    let reply = as_vendor(&daemon, Method::GET, "/v1/senders/acme/esign/templates", Value::Null).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text);
    let changed = as_vendor(&daemon, Method::PATCH, "/v1/senders/acme", json!({"account": second})).await;
    assert_eq!(changed.status, StatusCode::OK, "{}", changed.text);
    let reply = as_vendor(&daemon, Method::GET, "/v1/senders/acme/esign/templates", Value::Null).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text);
    let shown = as_vendor(&daemon, Method::GET, "/v1/senders/acme", Value::Null).await;
    assert_eq!(shown.body["account_id"], second, "{}", shown.text);
    let other =
        as_vendor(&daemon, Method::POST, "/v1/senders", json!({"name": "shop", "like": "customer"})).await;
    assert_eq!(
        (other.status, &other.body["connected"]),
        (StatusCode::CREATED, &json!(false)),
        "{}",
        other.text
    );
    let link = as_vendor(&daemon, Method::GET, "/v1/senders/shop/connect", Value::Null).await;
    assert!(link.body["url"].as_str().unwrap().contains("/connect/"), "{}", link.text);

    // They are the vendor's alone, and outlive a restart.
    daemon.restart().await;
    assert_eq!(daemon.get("/v1/senders/acme").await.code(), "sender_unknown");
    let names = daemon.get("/v1/senders").await.text;
    assert!(!names.contains("acme") && !names.contains("shop"), "{names}");
    let reply = as_vendor(&daemon, Method::GET, "/v1/senders/acme/esign/templates", Value::Null).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text);

    refuses_bad_senders(&daemon, key, &user).await;
    let forbidden =
        daemon.post("/v1/senders", &json!({"name": "b", "like": "system", "user_id": user})).await;
    assert_eq!(forbidden.code(), "forbidden", "{}", forbidden.text);
    let url = format!("{}/v1/senders/system", daemon.api);
    let of_settings =
        daemon.call(Method::DELETE, &url, Some(crate::harness::CALLER_KEY), &[], Vec::new()).await;
    assert_eq!(of_settings.code(), "forbidden", "{}", of_settings.text);

    let gone = as_vendor(&daemon, Method::DELETE, "/v1/senders/acme", Value::Null).await;
    assert_eq!(gone.status, StatusCode::NO_CONTENT, "{}", gone.text);
    assert_eq!(
        as_vendor(&daemon, Method::GET, "/v1/senders/acme", Value::Null).await.code(),
        "sender_unknown"
    );
    assert!(
        daemon.get("/v1/senders/system/esign/templates").await.status.is_success(),
        "the pattern is whole"
    );
}

async fn refuses_bad_senders(daemon: &TestDaemon, key: &str, user: &str) {
    let url = format!("{}/v1/senders", daemon.api);
    let headers = [("content-type", "application/json")];
    for (body, expected) in [
        (json!({"name": "acme", "like": "system", "user_id": user}), "/name"),
        (json!({"name": "system", "like": "system", "user_id": user}), "/name"),
        (json!({"name": "A b", "like": "system", "user_id": user}), "/name"),
        (json!({"name": "b", "like": "system"}), "/user_id"),
        (json!({"name": "b", "like": "customer", "user_id": user}), "/user_id"),
        (json!({"name": "b", "like": "system", "user_id": "ada@example.com"}), "/user_id"),
        (json!({"name": "b", "like": "system", "user_id": "10000001"}), "/user_id"),
        (json!({"name": "b", "like": "system", "user_id": user, "keys": []}), "/keys"),
    ] {
        let refused =
            daemon.call(Method::POST, &url, Some(key), &headers, body.to_string().into_bytes()).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{body}: {}", refused.text);
        assert_eq!(refused.body["errors"][0]["pointer"], expected, "{}", refused.text);
        assert!(!refused.text.contains("ada@"), "{}", refused.text);
        if body["user_id"] == "ada@example.com" {
            assert_eq!(refused.body["errors"][0]["code"], "email_as_id", "{}", refused.text);
        }
    }
    for (body, places, what) in [
        (json!({}), ["/name", "/like"], "is missing"),
        (json!({"name": 7, "like": null}), ["/like", "/name"], "must be a string"),
    ] {
        let refused =
            daemon.call(Method::POST, &url, Some(key), &headers, body.to_string().into_bytes()).await;
        let places = places.map(|place| json!({"pointer": place, "code": "invalid_request", "detail": what}));
        assert_eq!(refused.body["errors"], json!(places), "each place once: {}", refused.text);
    }
    let long = json!({"name": "b", "like": "system", "account": "a".repeat(101)}).to_string();
    // As everywhere: what is there twice is no guess, and a misspelt field hides nothing beside it.
    for (body, what) in [
        (r#"{"name": "a", "name": "b", "like": "system"}"#, "the field name is there twice"),
        (r#"{"name": "a",}"#, "the body is not JSON (line 1, column"),
        ("[]", "must be an object"),
        (r#"{"name": "b", "lik": "system"}"#, "did you mean like?"),
        (r#"{"name": "b", "lik": "system", "brand": "blue"}"#, "must be the GUID of a brand"),
        (long.as_str(), "must be the id or the name of an account, at most 100 characters"),
    ] {
        let refused = daemon.call(Method::POST, &url, Some(key), &headers, body.into()).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{body}: {}", refused.text);
        assert!(refused.text.contains(what), "{body}: {}", refused.text);
    }
}

/// The key of a caller that makes senders of its own.
pub(crate) const VENDOR_KEY: &str = THIRD_KEY;
/// And of another one.
pub(crate) const RIVAL_KEY: &str = "cs_DDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDD";

/// A user with consent and an account of their own, whom no sender of the settings acts as.
pub(crate) const ELIAS: &str = "b7d7a1c4-52e8-4d0f-9b6a-7e3f0c210003";
/// Another one.
const RAFAEL: &str = "b7d7a1c4-52e8-4d0f-9b6a-7e3f0c210006";

/// A daemon with two callers that make senders like "system" and like "customer". The vendor may also use those of the
/// settings, and so act as their users.
pub(crate) async fn with_vendors() -> TestDaemon {
    let vendor = |name: &str, key: &str, senders: &str| {
        format!(
            "[callers.{name}]\nkey_hash = \"{}\"\nsenders = [{senders}]\n\
             sender_patterns = [\"system\", \"customer\"]\n\
             return_origins = [\"https://www.example.com\"]\n",
            crate::harness::key_hash(key)
        )
    };
    let both = vendor("vendor", VENDOR_KEY, "\"system\", \"unconsented\"") + &vendor("rival", RIVAL_KEY, "");
    let builder = TestDaemon::builder().public().with(&both);
    builder.connectable("customer", "impersonation", "").start().await
}

pub(crate) async fn call_as(
    daemon: &TestDaemon,
    key: &str,
    method: Method,
    path: &str,
    body: Value,
) -> Reply {
    let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
    let url = if path.starts_with("http") { path.to_owned() } else { format!("{}{path}", daemon.api) };
    daemon.call(method, &url, Some(key), &[("content-type", "application/json")], body).await
}

async fn make(daemon: &TestDaemon, key: &str, body: Value) -> Reply {
    call_as(daemon, key, Method::POST, "/v1/senders", body).await
}

/// Makes a sender whose user has not consented, and has it tried.
async fn make_one_that_cannot_act(daemon: &TestDaemon, name: &str) {
    let user = daemon.emulator.ready().no_consent_user_id.clone();
    let made = make(daemon, VENDOR_KEY, json!({"name": name, "like": "system", "user_id": user})).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    let path = format!("/v1/senders/{name}/esign/templates");
    let tried = call_as(daemon, VENDOR_KEY, Method::GET, &path, Value::Null).await;
    assert_eq!(tried.code(), "consent_required", "{}", tried.text);
}

#[tokio::test]
async fn what_happens_to_a_made_sender_is_told_to_its_maker_alone() {
    let daemon = with_vendors().await;
    make_one_that_cannot_act(&daemon, "acme").await;
    let told = async |key: &str| {
        let listed = call_as(&daemon, key, Method::GET, "/v1/events", Value::Null).await;
        let events = listed.body["data"].as_array().unwrap().clone();
        events.into_iter().any(|event| event["data"]["name"] == "acme")
    };
    daemon.run_clock("the event", async || told(VENDOR_KEY).await).await;
    let all = crate::harness::CALLER_KEY;
    assert!(!told(all).await && !told(RIVAL_KEY).await, "of a sender that is none of theirs");
}

#[tokio::test]
async fn health_forgets_a_sender_that_is_unmade() {
    let daemon = with_vendors().await;
    make_one_that_cannot_act(&daemon, "acme").await;
    let is_named = async || daemon.ops("/readyz").await.text.contains("sender.acme");
    daemon.run_clock("its fault", async || is_named().await).await;
    let gone = call_as(&daemon, VENDOR_KEY, Method::DELETE, "/v1/senders/acme", Value::Null).await;
    assert_eq!(gone.status, StatusCode::NO_CONTENT, "{}", gone.text);
    daemon.run_clock("nothing of it", async || !is_named().await).await;
}

#[tokio::test]
async fn a_name_stays_its_makers_and_a_link_of_the_one_before_leads_nowhere() {
    let mut daemon = with_vendors().await;
    let shop = json!({"name": "shop", "like": "customer"});
    let link = async |daemon: &TestDaemon, key: &str| {
        let shown = call_as(daemon, key, Method::GET, "/v1/senders/shop/connect", Value::Null).await;
        shown.body["url"].as_str().unwrap_or_default().to_owned()
    };
    let open = async |daemon: &TestDaemon, url: &str| {
        call_as(daemon, "", Method::GET, url, Value::Null).await.status
    };
    assert_eq!(make(&daemon, VENDOR_KEY, shop.clone()).await.status, StatusCode::CREATED);
    let old = link(&daemon, VENDOR_KEY).await;
    assert_eq!(open(&daemon, &old).await, StatusCode::OK);
    call_as(&daemon, VENDOR_KEY, Method::DELETE, "/v1/senders/shop", Value::Null).await;
    assert_eq!(open(&daemon, &old).await, StatusCode::GONE);

    for restarts in [false, true] {
        if restarts {
            daemon.restart().await;
        }
        let taken = make(&daemon, RIVAL_KEY, shop.clone()).await;
        assert_eq!(taken.body["errors"][0]["pointer"], "/name", "{}", taken.text);
    }
    let again = make(&daemon, VENDOR_KEY, shop).await;
    assert_eq!(
        (again.status, &again.body["connected"]),
        (StatusCode::CREATED, &json!(false)),
        "{}",
        again.text
    );
    let new = link(&daemon, VENDOR_KEY).await;
    assert_eq!(open(&daemon, &new).await, StatusCode::OK);
    let port = |url: &str| url::Url::parse(url).unwrap().path().to_owned();
    let old = format!("{}{}", daemon.public.as_ref().unwrap(), port(&old));
    assert_eq!(open(&daemon, &old).await, StatusCode::GONE, "it was given out for another");
}

#[tokio::test]
async fn a_new_birth_of_a_name_takes_nothing_of_the_one_before_also_by_way_of_another_daemon() {
    let daemon = with_vendors().await;
    let user = daemon.emulator.ready().user_id.clone();
    let acme = json!({"name": "acme", "like": "system", "user_id": user});
    assert_eq!(make(&daemon, VENDOR_KEY, acme).await.status, StatusCode::CREATED);
    // Another daemon destroys it, and makes a connectable one in its place.
    let store = &daemon.parts().store;
    let name = countersign::domain::SenderName::new("acme@");
    let row = store.sender_record(&name).await.unwrap().unwrap();
    store.remove_sender_record(&name).await.unwrap();
    let other = json!({"owner": "vendor", "like": "customer", "user_id": null, "account": null,
        "born": uuid::Uuid::new_v4()});
    let other = countersign::domain::Private::new(other.to_string());
    let version = countersign::store::Version(0);
    let row = countersign::store::SenderRecord { sealed: Some(other), version, ..row };
    store.put_sender_record(row).await.unwrap();
    daemon.parts().pairings.sync().await.unwrap();
    let shown = call_as(&daemon, VENDOR_KEY, Method::GET, "/v1/senders/acme", Value::Null).await;
    assert_eq!(
        (&shown.body["like"], &shown.body["connected"]),
        (&json!("customer"), &json!(false)),
        "{}",
        shown.text
    );
}

#[tokio::test]
async fn a_connected_sender_acts_in_no_account_but_the_one_that_its_maker_allows() {
    const CONNECTED: &str = "3f1c9a52-6f0e-4a3b-8f57-1d2a90c4e003";
    const ANOTHER: &str = "3f1c9a52-6f0e-4a3b-8f57-1d2a90c4e002";
    let daemon = with_vendors().await;
    let made = make(&daemon, VENDOR_KEY, json!({"name": "shop", "like": "customer"})).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    let row = countersign::store::SenderRecord {
        sender: countersign::domain::SenderName::new("shop"),
        user_id: ELIAS.to_owned(),
        account: countersign::domain::AccountId::new(CONNECTED.to_owned()),
        sealed: None,
        connected_at: "2026-06-01T11:00:00Z".parse().unwrap(),
        version: countersign::store::Version(0),
    };
    daemon.parts().store.put_sender_record(row).await.unwrap();
    daemon.parts().pairings.sync().await.unwrap();
    let templates = async || {
        let path = "/v1/senders/shop/esign/templates";
        call_as(&daemon, VENDOR_KEY, Method::GET, path, Value::Null).await
    };
    // Often enough for its token.
    let acts = async || {
        for _ in 0..3 {
            let read = templates().await;
            assert_eq!(read.status, StatusCode::OK, "{}", read.text);
        }
    };
    let allow = async |account: Value| {
        let changed =
            call_as(&daemon, VENDOR_KEY, Method::PATCH, "/v1/senders/shop", json!({"account": account}))
                .await;
        assert_eq!(changed.status, StatusCode::OK, "{}", changed.text);
        changed.body
    };
    acts().await;
    let tokens = daemon.mints().await;
    for another in [ANOTHER, "Countersign Emulator Labs"] {
        let changed = allow(json!(another)).await;
        let refused = templates().await;
        assert_eq!(refused.code(), "sender_not_in_account", "{}", refused.text);
        let detail = refused.body["detail"].as_str().unwrap();
        assert!(detail.contains(CONNECTED) && detail.contains(another), "{detail}");
        assert_eq!(changed["state"], "not_ready", "at once, where nobody need be asked: {changed}");
        assert_eq!(changed["last_error"]["code"], "sender_not_in_account", "{changed}");
        assert!(changed["last_error"]["detail"].as_str().unwrap().contains(another), "{changed}");
        let path = "/v1/senders/shop/check";
        let check = call_as(&daemon, VENDOR_KEY, Method::POST, path, json!({})).await;
        let found = check.body["checks"].as_array().unwrap().last().unwrap().clone();
        assert_eq!((&found["check"], &found["ok"]), (&json!("account"), &json!(false)), "{}", check.text);
        assert!(found["fix"].as_str().unwrap().contains("connect link"), "{found}");
    }
    let open = allow(Value::Null).await;
    assert_eq!((&open["state"], &open["last_error"]), (&json!("ready"), &Value::Null), "{open}");
    acts().await;
    let named = allow(json!("Somebody Else Inc")).await;
    assert_eq!(named["state"], "ready", "it is the one: {named}");
    acts().await;
    assert_eq!(daemon.mints().await, tokens, "it goes on with the token that it has");
    let told = async || {
        let listed = call_as(&daemon, VENDOR_KEY, Method::GET, "/v1/events", Value::Null).await.body;
        let is_it = |event: &Value| event["type"] == "sender.recovered" && event["data"]["name"] == "shop";
        listed["data"].as_array().unwrap().iter().any(is_it)
    };
    for wrong in ["Somebody Else Inc.", "Somebody Els Inc"] {
        let changed = allow(json!(wrong)).await;
        assert_eq!(changed["state"], "not_ready", "{changed}");
        assert!(changed["last_error"]["detail"].as_str().unwrap().contains(wrong), "{changed}");
        daemon.pass(std::time::Duration::from_secs(1), 5).await;
        assert!(!told().await, "{wrong} mends nothing");
    }
    allow(json!("Somebody Else Inc")).await;
    daemon.run_clock("the event", async || told().await).await;
}

#[tokio::test]
async fn a_right_to_make_senders_that_a_reload_brings_works_at_once() {
    let daemon = TestDaemon::start().await;
    let with = daemon
        .settings()
        .replace("[callers.stranger]\n", "[callers.stranger]\nsender_patterns = [\"system\"]\n");
    let config = countersign::config::Config::from_toml(&with).unwrap();
    daemon.parts().reload(&config).await.unwrap();
    let body = json!({"name": "acme", "like": "system", "user_id": ELIAS});
    let made = daemon.as_stranger(Method::POST, "/v1/senders", &body).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    let read = daemon.as_stranger(Method::GET, "/v1/senders/acme/esign/templates", &Value::Null).await;
    assert_eq!(read.status, StatusCode::OK, "{}", read.text);
}

#[tokio::test]
async fn who_made_changed_and_destroyed_a_sender_is_in_the_audit_log() {
    let directory = crate::harness::TempDir::new();
    let path = directory.0.join("audit.jsonl");
    let settings = format!("[audit]\nfile = \"{}\"\n", path.display());
    let daemon =
        TestDaemon::builder().caller("sender_patterns = [\"system\"]\n").with(&settings).start().await;
    let user = daemon.emulator.ready().user_id.clone();
    daemon.post("/v1/senders", &json!({"name": "acme", "like": "system", "user_id": user})).await;
    let key = crate::harness::CALLER_KEY;
    call_as(&daemon, key, Method::PATCH, "/v1/senders/acme", json!({"account": null})).await;
    call_as(&daemon, key, Method::DELETE, "/v1/senders/acme", Value::Null).await;
    let text = std::fs::read_to_string(&path).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let of_acme: Vec<_> = lines.filter(|line| line["sender"] == "acme").collect();
    assert_eq!(of_acme.len(), 3, "{text}");
    assert!(of_acme.iter().all(|line| line["caller"] == "website"), "{text}");
}

#[tokio::test]
async fn who_makes_senders_acts_as_no_user_of_a_sender_that_is_not_theirs() {
    let daemon = with_vendors().await;
    let user = daemon.emulator.ready().user_id.clone();
    let like_system = |name: &str, user: &str| json!({"name": name, "like": "system", "user_id": user});
    let is_refused = |refused: &Reply| {
        assert_eq!(
            (refused.status, refused.code()),
            (StatusCode::FORBIDDEN, "forbidden"),
            "{}",
            refused.text
        );
        assert!(refused.body["fix"].as_str().unwrap().contains("user_id"), "{}", refused.text);
        assert!(!refused.text.contains("acme") && !refused.text.contains("vendor"), "{}", refused.text);
    };
    // Of a sender of the settings that the rival may not use, however the id is written.
    for spelled in [user.clone(), user.to_uppercase(), user.replace('-', "")] {
        is_refused(&make(&daemon, RIVAL_KEY, like_system("shop", &spelled)).await);
    }
    let nora = daemon.emulator.ready().no_consent_user_id.clone();
    is_refused(&make(&daemon, RIVAL_KEY, like_system("shop", &nora)).await);
    assert_eq!(make(&daemon, VENDOR_KEY, like_system("own", &user)).await.status, StatusCode::CREATED);

    // Of one that another caller made; several of one's own are one's own affair.
    for name in ["acme", "acme-two"] {
        let made = make(&daemon, VENDOR_KEY, like_system(name, ELIAS)).await;
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    }
    is_refused(&make(&daemon, RIVAL_KEY, like_system("shop", ELIAS)).await);
    let made = make(&daemon, RIVAL_KEY, like_system("shop", RAFAEL)).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    let change = async |user: &str| {
        call_as(&daemon, RIVAL_KEY, Method::PATCH, "/v1/senders/shop", json!({"user_id": user})).await
    };
    is_refused(&change(ELIAS).await);
    is_refused(&change(&user).await);
    let shown = call_as(&daemon, RIVAL_KEY, Method::GET, "/v1/senders/shop", Value::Null).await;
    assert_eq!(shown.body["user_id"], RAFAEL, "{}", shown.text);
    for name in ["acme", "acme-two"] {
        let path = format!("/v1/senders/{name}");
        call_as(&daemon, VENDOR_KEY, Method::DELETE, &path, Value::Null).await;
    }
    let free = change(ELIAS).await;
    assert_eq!((free.status, &free.body["user_id"]), (StatusCode::OK, &json!(ELIAS)), "{}", free.text);
}

#[tokio::test]
async fn a_disconnect_beside_the_end_of_its_sender_leaves_no_sender_behind() {
    let daemon = with_vendors().await;
    let made = make(&daemon, VENDOR_KEY, json!({"name": "shop", "like": "customer"})).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    let (parts, vendor) = (daemon.parts(), countersign::domain::CallerName::new("vendor"));
    let shop = countersign::domain::SenderName::new("shop");
    // Both find the sender, and take their turns.
    let (gone, disconnected) =
        tokio::join!(parts.pairings.unmake(&shop, &vendor), parts.pairings.disconnect(&shop, &vendor));
    assert!(gone.is_ok(), "{gone:?}");
    assert!(matches!(disconnected, Err(countersign::pairing::Error::Stale)), "{disconnected:?}");
    assert!(!parts.auth.has("shop"));
}
