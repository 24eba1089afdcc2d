//! Senders as resources: how they stand, what a check finds, where consent is given; and dry runs.

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::{CALLER_KEY, TestDaemon, order};

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
async fn the_example_of_a_create_with_a_file_is_taken_as_it_stands() {
    let daemon = TestDaemon::start().await;
    let document = daemon.get("/openapi.json").await.body;
    let example = &document["components"]["schemas"]["CreateSigning"]["examples"][0];
    let tried = daemon.post("/v1/signings?dry_run=true", example).await;
    assert_eq!(
        (tried.status, &tried.body["documents"][0]["pages"]),
        (StatusCode::OK, &json!(1)),
        "{}",
        tried.text
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
async fn a_sender_in_the_wrong_account_says_since_when() {
    const USER: &str = "b7d7a1c4-52e8-4d0f-9b6a-7e3f0c210001";
    const OTHER_ACCOUNT: &str = "3f1c9a52-6f0e-4a3b-8f57-1d2a90c4e003";
    let misplaced = |key: &str, pem: &str| paired(key, pem, "not-there", USER, Some(OTHER_ACCOUNT));
    let daemon = TestDaemon::builder().with_senders(misplaced).start().await;
    let told = async || daemon.get("/v1/senders/not-there").await.body["last_error"].clone();
    daemon.until("what is wrong", async || told().await["code"] == "sender_not_in_account").await;
    let first = told().await;
    assert!(first["since"].is_string(), "{first}");
    // Found again, it began no later.
    daemon.clock.advance(Duration::from_secs(120));
    let again = daemon.get("/v1/senders/not-there/esign/templates").await;
    assert_eq!(again.code(), "sender_not_in_account", "{}", again.text);
    assert_eq!(told().await, first);
}

const SECOND_ACCOUNT: &str = "3f1c9a52-6f0e-4a3b-8f57-1d2a90c4e002";

/// Has the user of "system" be a member of an account, or not. Whoever is in none yet has it as their default.
async fn member(daemon: &TestDaemon, account: &str, is_member: bool) {
    let user = &daemon.emulator.ready().user_id;
    let body = json!({"user_id": user, "account_id": account, "member": is_member});
    daemon.control(Method::POST, "users", &body).await;
}

/// Has the second account be the default of the user of "system", who stays a member of the first.
async fn make_second_the_default(daemon: &TestDaemon, first: &str) {
    member(daemon, first, false).await;
    member(daemon, SECOND_ACCOUNT, false).await;
    member(daemon, SECOND_ACCOUNT, true).await;
    member(daemon, first, true).await;
}

#[tokio::test]
async fn a_default_that_changed_is_looked_for_by_itself_and_moves_no_sender() {
    let daemon = TestDaemon::start().await;
    let first = daemon.emulator.ready().account_id.clone();
    make_second_the_default(&daemon, &first).await;
    daemon.forget_requests().await;
    // Nobody uses the sender. Its token is renewed after half an hour, and good when it is looked.
    daemon.clock.advance(Duration::from_secs(34 * 60));
    daemon.until("another token", async || daemon.mints().await > 0).await;
    let renewed =
        async || daemon.parts().auth.status("system").unwrap().runway > Duration::from_secs(40 * 60);
    daemon.until("its use", renewed).await;
    let looks = async || daemon.answered("/oauth/userinfo", 200).await;
    assert_eq!(looks().await, 0);
    daemon.clock.advance(Duration::from_secs(27 * 60));
    daemon.until("the look", async || looks().await > 0).await;
    let made = daemon.create("after", &order()).await;
    assert_eq!(made.body["provider"]["account_id"], first.as_str(), "{}", made.text);
    assert_eq!(looks().await, 1, "what it learned is remembered");
}

#[tokio::test]
async fn a_sender_whose_account_is_not_named_moves_to_no_other_while_the_daemon_runs() {
    let mut daemon = TestDaemon::start().await;
    let first = daemon.emulator.ready().account_id.clone();
    let made = daemon.create("before", &order()).await;
    assert_eq!(made.body["provider"]["account_id"], first.as_str(), "{}", made.text);

    // Another default.
    make_second_the_default(&daemon, &first).await;
    daemon.clock.advance(Duration::from_secs(61));
    let check = daemon.post("/v1/senders/system/check", &json!({})).await;
    let found = check.body["checks"].as_array().unwrap().last().unwrap().clone();
    assert!(found["detail"].as_str().unwrap().contains(&first), "{}", check.text);
    let made = daemon.create("after", &order()).await;
    assert_eq!(made.body["provider"]["account_id"], first.as_str(), "{}", made.text);

    // No member any more.
    member(&daemon, &first, false).await;
    daemon.clock.advance(Duration::from_secs(61));
    let templates = async || daemon.get("/v1/senders/system/esign/templates").await;
    // DocuSign says so first, in its own words.
    assert_ne!(templates().await.status, StatusCode::OK);
    let refused = templates().await;
    assert_eq!(refused.code(), "sender_not_in_account", "{}", refused.text);
    assert!(refused.body["detail"].as_str().unwrap().contains(SECOND_ACCOUNT), "{}", refused.text);
    assert!(refused.body["fix"].as_str().unwrap().contains("Set the sender's account"), "{}", refused.text);
    assert_eq!(daemon.create("between", &order()).await.code(), "sender_not_in_account");
    let shown = daemon.get("/v1/senders/system").await;
    assert_eq!(
        (&shown.body["state"], &shown.body["last_error"]["code"]),
        (&json!("not_ready"), &json!("sender_not_in_account"))
    );

    member(&daemon, &first, true).await;
    daemon.clock.advance(Duration::from_secs(61));
    assert_eq!(templates().await.status, StatusCode::OK, "back where it was, whichever is the default");
    daemon.restart().await;
    daemon.get("/v1/senders/system/esign/templates").await;
    let shown = daemon.get("/v1/senders/system").await;
    assert_eq!(shown.body["account_id"], SECOND_ACCOUNT, "a start takes the default anew: {}", shown.text);
}

#[tokio::test]
async fn t7_tokens_that_are_refused_in_a_row_are_said_to_be_that() {
    let daemon = TestDaemon::start().await;
    let auth = daemon.parts().auth.clone();
    for _ in 0..5 {
        daemon.run_clock("a token", async || auth.ready("system").is_some()).await;
        let token = auth.ready("system").unwrap();
        // The emulator knows that they are dead, too: to mint another one is no fault of ours.
        daemon.control(Method::POST, "tokens/revoke", &json!({})).await;
        auth.retire("system", token.generation());
    }
    let shown = daemon.get("/v1/senders/system").await.body;
    assert_eq!(shown["state"], "not_ready", "{shown}");
    let told = &shown["last_error"];
    assert_eq!((&told["code"], &told["cause"]), (&json!("provider_unavailable"), &json!("token_refused")));
    assert!(told["fix"].as_str().unwrap().contains("suspended") && told["since"].is_string(), "{shown}");
    assert!(shown["next_try"].is_string(), "{shown}");
    let reason = async || {
        let ready = daemon.ops("/readyz").await;
        let reasons = ready.body["reasons"].as_array().cloned().unwrap_or_default();
        reasons.into_iter().find(|one| one["part"] == "sender.system")
    };
    let is_told =
        async || reason().await.is_some_and(|it| it["code"] == "token_refused" && it["next_try"].is_string());
    daemon.run_clock_slowly("the reason", async || is_told().await).await;
    // It ends with the next token that nobody refuses, and is no recovery of a consent or a key.
    daemon.run_clock("the end", async || reason().await.is_none()).await;
    let shown = daemon.get("/v1/senders/system").await.body;
    assert_eq!((&shown["last_error"], &shown["next_try"]), (&Value::Null, &Value::Null), "{shown}");
    let told = daemon.get("/v1/events?limit=100").await;
    assert!(!told.text.contains("sender.recovered"), "{}", told.text);
}
