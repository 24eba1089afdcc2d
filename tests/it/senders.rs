//! Senders as resources: how they stand, what a check finds, where consent is given; and dry runs.

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::{CALLER_KEY, Reply, THIRD_KEY, TestDaemon, order};

#[tokio::test]
async fn senders_show_how_they_stand_and_no_secret() {
    let daemon = TestDaemon::start().await;
    let listed = daemon.get("/v1/senders").await;
    let of = |name: &str| {
        let data = listed.body["data"].as_array().unwrap();
        data.iter().find(|sender| sender["name"] == name).cloned().unwrap()
    };
    let system = of("system");
    assert_eq!((&system["state"], &system["consent"]), (&json!("ready"), &json!("granted")));
    assert_eq!(system["account_id"], daemon.emulator.ready().account_id.as_str());
    assert!(system["runway_seconds"].as_u64().unwrap() > 0 && system["keys"][0]["state"] == "active");
    assert_eq!(of("unconsented")["state"], "not_ready");
    let token = daemon.parts().auth.token("system").await.unwrap();
    let bearer = token.header().to_str().unwrap().trim_start_matches("Bearer ").to_owned();
    assert!(!listed.text.contains(&bearer) && !listed.text.contains(".pem"));

    let foreign = daemon.as_stranger(Method::GET, "/v1/senders", &Value::Null).await;
    assert_eq!(foreign.body["data"], json!([]));
    for (method, path) in
        [(Method::POST, "/v1/senders/system/check"), (Method::GET, "/v1/senders/system/consent")]
    {
        let foreign = daemon.as_stranger(method, path, &Value::Null).await;
        assert_eq!((foreign.status, foreign.code()), (StatusCode::NOT_FOUND, "sender_unknown"), "{path}");
    }
}

#[tokio::test]
async fn a_check_asks_now_and_names_what_is_wrong_with_its_fix() {
    let daemon = TestDaemon::start().await;
    daemon.clock.advance(std::time::Duration::from_secs(60));
    daemon.forget_requests().await;
    let good = daemon.post("/v1/senders/system/check", &json!({})).await;
    assert_eq!(good.body["ok"], true, "{}", good.text);
    assert_eq!(good.body["checks"].as_array().unwrap().len(), 3);
    let asked = daemon.requests().await;
    assert!(asked.contains(&"GET /oauth/userinfo".to_owned()), "{asked:?}");
    assert!(asked.contains(&"POST /oauth/token".to_owned()), "{asked:?}");

    // Mints keep a distance to one another, which takes time to pass.
    let nothing = json!({});
    let bad = tokio::select! {
        bad = daemon.post("/v1/senders/unconsented/check", &nothing) => bad,
        () = daemon.run_clock("never", async || false) => unreachable!(),
    };
    assert_eq!((bad.status, &bad.body["ok"]), (StatusCode::OK, &json!(false)), "{}", bad.text);
    assert_eq!(bad.body["checks"][0]["code"], "consent_required");
    assert!(bad.body["checks"][0]["fix"].as_str().unwrap().contains("consent"));
}

#[tokio::test]
async fn b4_a_dry_run_or_check_that_cannot_end_in_its_callers_time_asks_nobody() {
    let daemon = TestDaemon::start().await;
    // What is proven by a token of just now need not ask for another.
    daemon.clock.advance(Duration::from_secs(60));
    let (dry, check) = ("/v1/signings?dry_run=true", "/v1/senders/system/check");
    let ask = async |path: &str, body: &Value, wait: &'static str| {
        let headers = [("content-type", "application/json"), ("prefer", wait)];
        let url = format!("{}{path}", daemon.api);
        daemon.call(Method::POST, &url, Some(CALLER_KEY), &headers, body.to_string().into()).await
    };
    // A sender without consent asks for a token now and then.
    let asked =
        async |about: &str| daemon.requests().await.iter().filter(|line| line.contains(about)).count();
    daemon.forget_requests().await;
    for (path, body) in [(dry, order()), (check, json!({}))] {
        let refused = ask(path, &body, "wait=0").await;
        assert!(refused.status.is_server_error(), "{path}: {} {}", refused.status, refused.text);
    }
    for about in ["/templates", "/identity_verification", "/oauth/userinfo"] {
        assert_eq!(asked(about).await, 0, "{about}");
    }
    let body = order();
    daemon.fault(&json!({"fault": "stall", "method": "GET", "count": 1})).await;
    let time = async {
        daemon.until("the call", async || asked("/templates").await > 0).await;
        daemon.clock.advance(Duration::from_secs(4));
    };
    let (late, ()) = tokio::join!(ask(dry, &body, "wait=1"), time);
    assert!(late.status.is_server_error(), "{} {}", late.status, late.text);
    let good = ask(check, &json!({}), "wait=60").await;
    assert_eq!((good.status, &good.body["ok"]), (StatusCode::OK, &json!(true)), "{}", good.text);
}

#[tokio::test]
async fn consent_links_come_in_both_forms_and_lead_back_to_us() {
    let daemon = TestDaemon::builder().public().start().await;
    let links = daemon.get("/v1/senders/unconsented/consent").await;
    let back = format!("{}/consent/callback", daemon.public.as_ref().unwrap());
    assert_eq!(links.body["redirect_uri"], back.as_str(), "{}", links.text);
    let individual = links.body["individual_url"].as_str().unwrap();
    assert!(individual.contains("scope=signature%20impersonation") && individual.contains("&state="));
    let organisation = links.body["organisation_url"].as_str().unwrap();
    assert!(organisation.contains("admin_consent_scope=signature%20impersonation"), "{organisation}");
    assert!(organisation.contains("scope=openid&"), "{organisation}");
    assert_eq!(links.body["own_organisation_url"], Value::Null, "the emulator has no administration pages");
    let forms = links.body["forms"].as_array().unwrap();
    assert!(
        forms.iter().all(|form| links.body.get(form["url_field"].as_str().unwrap()).is_some()),
        "{forms:?}"
    );
    let page = daemon.call(Method::GET, individual, None, &[], Vec::new()).await;
    assert!(page.status.is_success() || page.status.is_redirection(), "{}: {}", page.status, page.text);

    let daemon = TestDaemon::start().await;
    // Without a page of ours the browser ends at DocuSign's, as `countersign consent` has it.
    let landing = daemon.get("/v1/senders/system/consent").await;
    assert_eq!(landing.body["redirect_uri"], "https://www.docusign.com", "{}", landing.text);
    let individual = landing.body["individual_url"].as_str().unwrap();
    assert!(individual.ends_with("redirect_uri=https%3A%2F%2Fwww.docusign.com"), "{individual}");
    let refused = daemon.get("/v1/senders/system/consent?redirect_uri=ftp%3A%2F%2Fa.example").await;
    assert_eq!(refused.body["errors"][0]["pointer"], "/redirect_uri", "{}", refused.text);
    let given = daemon.get("/v1/senders/system/consent?redirect_uri=https%3A%2F%2Fa.example%2Fb").await;
    assert!(
        given.body["individual_url"].as_str().unwrap().ends_with("redirect_uri=https%3A%2F%2Fa.example%2Fb")
    );
}

#[tokio::test]
async fn a_dry_run_makes_nothing_and_finds_what_a_create_would() {
    let daemon = TestDaemon::start().await;
    let good = daemon.post("/v1/signings?dry_run=true", &order()).await;
    assert_eq!((good.status, &good.body["ok"]), (StatusCode::OK, &json!(true)), "{}", good.text);
    daemon.forget_requests().await;
    daemon.post("/v1/signings?dry_run=true", &order()).await;
    assert_eq!(daemon.requests().await, Vec::<String>::new(), "what was read is remembered");
    assert_eq!(good.body["documents"], json!([]), "a template is no file");
    let file = crate::signings::contract();
    let mut with_file = order();
    with_file["documents"] =
        json!([{"name": "Contract.pdf", "content_base64": crate::signings::base64_of(&file)}]);
    with_file["signers"][0].as_object_mut().unwrap().remove("role");
    let seen = daemon.post("/v1/signings?dry_run=true", &with_file).await;
    let documents = json!([{"name": "Contract.pdf", "bytes": file.len(), "pages": 1}]);
    assert_eq!(seen.body["documents"], documents, "{}", seen.text);
    let mut wrong = order();
    wrong["signers"][0]["role"] = json!("Nobody");
    let refused = daemon.post("/v1/signings?dry_run=true", &wrong).await;
    assert_eq!((refused.status.as_u16(), refused.code()), (422, "template_role_mismatch"));
    let mut wrong = order();
    wrong["sender"] = json!("unconsented");
    let refused = daemon.post("/v1/signings?dry_run=true", &wrong).await;
    assert_eq!((refused.status.as_u16(), refused.code()), (409, "consent_required"));
    wrong["signers"][0]["return_url"] = json!("https://evil.example/");
    wrong["documents"] = json!([{"name": "a", "content_base64": "bm90IGEgUERG"}]);
    let refused = daemon.post("/v1/signings?dry_run=true", &wrong).await;
    let codes: Vec<_> = refused.body["errors"].as_array().unwrap().iter().map(|one| &one["code"]).collect();
    assert_eq!(codes, ["return_url_refused", "invalid_request", "consent_required"], "{}", refused.text);
    assert_eq!(daemon.envelopes().await, 0);
    assert_eq!(daemon.get("/v1/signings").await.body["data"], json!([]));
    let unknown = daemon.post("/v1/signings?dryrun=true", &order()).await;
    assert_eq!(unknown.status, StatusCode::BAD_REQUEST, "a misspelt dry run is no create");
}

/// A sender of the harness's emulator under another user or account.
fn paired(daemon_key: &str, pem: &str, name: &str, user: &str, account: Option<&str>) -> String {
    let account = account.map(|account| format!("account = \"{account}\"\n")).unwrap_or_default();
    format!(
        "[senders.{name}]\nintegration_key = \"{daemon_key}\"\nuser_id = \"{user}\"\nkeys = [\"{pem}\"]\n{account}"
    )
}

#[tokio::test]
async fn each_fault_of_a_pairing_has_its_own_name_at_start_and_in_the_api() {
    const USER: &str = "b7d7a1c4-52e8-4d0f-9b6a-7e3f0c210001";
    const CLOSED: &str = "b7d7a1c4-52e8-4d0f-9b6a-7e3f0c210005";
    const REMOTE: &str = "b7d7a1c4-52e8-4d0f-9b6a-7e3f0c210006";
    const ACCOUNT: &str = "3f1c9a52-6f0e-4a3b-8f57-1d2a90c4e001";
    const OTHER_ACCOUNT: &str = "3f1c9a52-6f0e-4a3b-8f57-1d2a90c4e003";
    let cases = [
        ("not-there", USER, Some(OTHER_ACCOUNT), "sender_not_in_account", "Countersign Emulator Labs"),
        ("no-name", USER, Some("Nobody Ltd"), "sender_not_in_account", "Countersign Emulator Labs"),
        ("elsewhere", REMOTE, None, "wrong_base_uri", "eu.docusign.invalid"),
        ("an-account", ACCOUNT, None, "sender_user_is_account", "id of an account"),
        ("closed", CLOSED, None, "sender_unknown_user", "does not know this user"),
    ];
    let builder = cases.into_iter().fold(TestDaemon::builder(), |builder, (name, user, account, ..)| {
        builder.with_senders(move |key, pem| paired(key, pem, name, user, account))
    });
    let daemon = builder.start().await;
    for (name, _, _, code, detail) in cases {
        let of = async |daemon: &TestDaemon| {
            let listed = daemon.get("/v1/senders").await;
            let data = listed.body["data"].as_array().unwrap().clone();
            data.into_iter().find(|sender| sender["name"] == name).unwrap()
        };
        daemon.until("what is wrong", async || of(&daemon).await["last_error"]["code"] == code).await;
        let shown = of(&daemon).await;
        assert_eq!(shown["state"], "not_ready", "{shown}");
        assert!(shown["last_error"]["detail"].as_str().unwrap().contains(detail), "{shown}");
        assert!(!shown["last_error"]["fix"].as_str().unwrap().is_empty());
        let used = daemon.get(&format!("/v1/senders/{name}/esign/templates")).await;
        assert_eq!(used.code(), code, "{}", used.text);
        assert!(used.body["fix"].as_str().unwrap().ends_with('.'));
        assert!(
            used.body["detail"].as_str().unwrap().contains(detail),
            "what is listed is listed: {}",
            used.text
        );
        let part = format!("sender.{name}");
        daemon
            .run_clock("health", async || {
                let ready = daemon.ops("/readyz").await;
                let reasons = ready.body["reasons"].as_array().cloned().unwrap_or_default();
                let why = |one: &Value| {
                    one["part"] == part.as_str() && one["detail"].as_str().unwrap().contains(code)
                };
                reasons.iter().any(why)
            })
            .await;
    }
    assert_eq!(
        daemon.get("/v1/senders/system/esign/templates").await.status,
        StatusCode::OK,
        "the others act"
    );
}

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
    // As everywhere: what is there twice is no guess, and a misspelt field hides nothing beside it.
    for (body, what) in [
        (r#"{"name": "a", "name": "b", "like": "system"}"#, "the field name is there twice"),
        (r#"{"name": "a",}"#, "the body is not JSON (line 1, column"),
        ("[]", "must be an object"),
        (r#"{"name": "b", "lik": "system"}"#, "did you mean like?"),
        (r#"{"name": "b", "lik": "system", "brand": "blue"}"#, "must be the GUID of a brand"),
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
async fn consent_for_an_organisation_comes_before_anybody_connects() {
    for form in ["impersonation", "code"] {
        let daemon = TestDaemon::builder().public().connectable("customer", form, "").start().await;
        let links = daemon.get("/v1/senders/customer/consent").await;
        assert_eq!(links.status, StatusCode::OK, "{form}: {}", links.text);
        let wanted = if form == "code" { "signature%20extended" } else { "signature%20impersonation" };
        let organisation = links.body["organisation_url"].as_str().unwrap();
        assert!(
            organisation.contains(&format!("scope=openid&admin_consent_scope={wanted}&")),
            "{organisation}"
        );
        assert!(links.body["individual_url"].as_str().unwrap().contains("/connect/"), "{}", links.text);
        let connection = daemon.get("/v1/senders/customer/connect").await;
        assert_eq!(connection.body["organisation_url"], organisation, "{}", connection.text);
        let page = daemon.call(Method::GET, organisation, None, &[], Vec::new()).await;
        assert!(page.status.is_success() || page.status.is_redirection(), "{}: {}", page.status, page.text);
    }
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
