//! Senders as resources: how they stand, what a check finds, where consent is given; and dry runs.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::{TestDaemon, order};

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
async fn consent_links_come_in_both_forms_and_lead_back_to_us() {
    let daemon = TestDaemon::builder().public().start().await;
    let links = daemon.get("/v1/senders/unconsented/consent").await;
    let back = format!("{}/consent/callback", daemon.public.as_ref().unwrap());
    assert_eq!(links.body["redirect_uri"], back.as_str(), "{}", links.text);
    let individual = links.body["individual_url"].as_str().unwrap();
    assert!(individual.contains("scope=signature%20impersonation") && individual.contains("&state="));
    let organisation = links.body["organisation_url"].as_str().unwrap();
    assert!(organisation.contains("admin_consent_scope=signature%20impersonation"), "{organisation}");
    let page = daemon.call(Method::GET, individual, None, &[], Vec::new()).await;
    assert!(page.status.is_success() || page.status.is_redirection(), "{}: {}", page.status, page.text);

    let daemon = TestDaemon::start().await;
    let refused = daemon.get("/v1/senders/system/consent").await;
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
