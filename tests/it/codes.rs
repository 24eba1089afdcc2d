//! Every code of the API is provoked somewhere: here, or in the test that the table names.

use std::path::Path;

use countersign::api::problem::CODES;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::{CALLER_KEY, TempDir, TestDaemon, key_hash, order};

/// A key of a caller with a small rate.
const SLOW_KEY: &str = "cs_CCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCC";

/// Which file provokes a code, besides this one.
const ELSEWHERE: &[(&str, &str)] = &[
    ("anchor_not_found", "tests/it/signings.rs"),
    ("clock_skew", "src/auth/tests.rs"),
    ("consent_required", "tests/it/signings.rs"),
    ("endpoint_disabled", "tests/it/webhooks.rs"),
    ("idempotency_key_missing", "tests/it/signings.rs"),
    ("idempotency_key_reused", "tests/it/signings.rs"),
    ("invalid_request", "tests/it/signings.rs"),
    ("issuer_unavailable", "tests/it/callers.rs"),
    ("outcome_unknown", "tests/it/passthrough.rs"),
    ("payload_too_large", "tests/it/passthrough.rs"),
    ("phone_invalid", "tests/it/signings.rs"),
    ("polling_budget", "tests/it/journey.rs"),
    ("provider_rate_limited", "src/esign/tests.rs"),
    ("provider_rejected", "src/esign/tests.rs"),
    ("range_not_satisfiable", "tests/it/documents.rs"),
    ("return_url_refused", "tests/it/signings.rs"),
    ("sender_not_connected", "tests/it/pairing.rs"),
    ("sender_unknown", "tests/it/senders.rs"),
    ("sender_user_is_account", "tests/it/senders.rs"),
    ("shutting_down", "src/auth/tests.rs"),
    ("store_unavailable", "tests/it/store_faults.rs"),
    ("template_role_mismatch", "tests/it/signings.rs"),
    ("unauthenticated", "tests/it/signings.rs"),
    ("unknown_field", "tests/it/signings.rs"),
    ("wrong_base_uri", "src/esign/tests.rs"),
    ("wrong_environment", "src/auth/user_info.rs"),
];
/// What the API has no answer with: a link is a browser's, and a revoked one is a page (public listener).
const OF_PAGES: &[&str] = &["link_revoked"];

#[test]
fn every_code_is_provoked_by_a_test() {
    let read =
        |path: &str| std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
    let here = read("tests/it/codes.rs");
    let (_, here) = here.split_once("fn every_code_is_provoked_by_a_test").unwrap();
    for code in CODES.iter().map(|code| code.code).filter(|code| !OF_PAGES.contains(code)) {
        let quoted = format!("\"{code}\"");
        let elsewhere = ELSEWHERE.iter().find(|(name, _)| *name == code);
        let is_there = elsewhere.is_some_and(|(_, file)| read(file).contains(&quoted));
        assert!(is_there || here.contains(&quoted), "{code} has no test that provokes it");
    }
}

/// The registered key of the emulator's first user, at every start.
const INTEGRATION_KEY: &str = "5e0b1c8d-9a47-4c7e-8d21-6f3a2b900001";
const USER: &str = "b7d7a1c4-52e8-4d0f-9b6a-7e3f0c210001";

fn sender(name: &str, user: &str, key: &str, more: &str) -> String {
    format!(
        "[senders.{name}]\nintegration_key = \"{INTEGRATION_KEY}\"\nuser_id = \"{user}\"\nkeys = [\"{key}\"]\n{more}\n"
    )
}

#[tokio::test]
async fn a_sender_that_cannot_act_says_which_of_its_settings_is_wrong() {
    use std::{io::Write as _, os::unix::fs::OpenOptionsExt as _};
    let folder = TempDir::new();
    let strange = folder.0.join("strange.pem");
    let made = countersign::auth::signing_key::generate().unwrap();
    let mut file =
        std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&strange).unwrap();
    file.write_all(made.private_pem.as_bytes()).unwrap();
    let nobody = "00000000-0000-4000-8000-000000000000";
    let settings = [
        sender("strange", USER, &strange.display().to_string(), ""),
        sender("nobody", nobody, "@KEY@", ""),
        sender("elsewhere", USER, "@KEY@", "account = \"00000000-0000-4000-8000-00000000000a\""),
    ];
    let daemon = TestDaemon::builder().with(&settings.concat()).start().await;
    for (name, code) in [
        ("strange", "key_rejected"),
        ("nobody", "sender_unknown_user"),
        ("elsewhere", "sender_not_in_account"),
    ] {
        let mut body = order();
        body["sender"] = name.into();
        let key = format!("as-{name}");
        let refused = tokio::select! {
            refused = daemon.create(&key, &body) => refused,
            () = daemon.run_clock("never", async || false) => unreachable!(),
        };
        assert_eq!((refused.status, refused.code()), (StatusCode::BAD_GATEWAY, code), "{}", refused.text);
        assert!(!refused.body["fix"].as_str().unwrap().is_empty());
    }
}

#[tokio::test]
async fn what_is_not_there_or_not_allowed_says_so() {
    let slow = format!("[callers.slow]\nkey_hash = \"{}\"\nrate = \"1/h\"\n", key_hash(SLOW_KEY));
    let daemon = TestDaemon::builder().with(&slow).start().await;
    let account = daemon.emulator.ready().account_id.clone();
    let path = format!("/v1/senders/system/esign/restapi/v2.1/accounts/{account}/connect");
    let refused = daemon.get(&path).await;
    assert_eq!((refused.status, refused.code()), (StatusCode::FORBIDDEN, "forbidden"));
    let nowhere = daemon.get("/v1/nowhere").await;
    assert_eq!((nowhere.status, nowhere.code()), (StatusCode::NOT_FOUND, "not_found"));
    let put =
        daemon.call(Method::PUT, &format!("{}/v1/signings", daemon.api), Some(CALLER_KEY), &[], vec![]).await;
    assert_eq!((put.status, put.code()), (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"));
    let allowed = put.headers["allow"].to_str().unwrap();
    assert!(allowed.contains("GET") && allowed.contains("POST"), "{allowed}");
    let url = format!("{}/v1/signings", daemon.api);
    let first = daemon.call(Method::GET, &url, Some(SLOW_KEY), &[], vec![]).await;
    assert_eq!(first.status, StatusCode::OK, "{}", first.text);
    let second = daemon.call(Method::GET, &url, Some(SLOW_KEY), &[], vec![]).await;
    assert_eq!((second.status, second.code()), (StatusCode::TOO_MANY_REQUESTS, "quota_exceeded"));
    assert!(second.headers.contains_key("retry-after"));
}

#[tokio::test]
async fn what_docusign_lacks_or_does_not_answer_says_so() {
    let daemon = TestDaemon::start().await;
    let made = daemon.create("first", &order()).await;
    let again =
        daemon.post(&format!("/v1/signings/{}/signers/{}/views", made.id(), "sgr_0"), &json!({})).await;
    assert_eq!(again.code(), "not_found");
    daemon.fault(&json!({"fault": "status", "status": 503, "path": "/views/recipient"})).await;
    let path = format!("/v1/signings/{}/signers/{}/views", made.id(), made.signer());
    let nothing = json!({});
    let view = tokio::select! {
        view = daemon.post(&path, &nothing) => view,
        () = daemon.run_clock("never", async || false) => unreachable!(),
    };
    assert_eq!(
        (view.status, view.code()),
        (StatusCode::SERVICE_UNAVAILABLE, "provider_unavailable"),
        "{}",
        view.text
    );
    daemon.control(Method::DELETE, "faults", &Value::Null).await;
    let voided = daemon.post(&format!("/v1/signings/{}/void", made.id()), &json!({"reason": "a test"})).await;
    assert_eq!(voided.status, StatusCode::OK, "{}", voided.text);
    let closed = daemon.post(&path, &json!({})).await;
    assert_eq!((closed.status, closed.code()), (StatusCode::CONFLICT, "signing_closed"));

    let account = daemon.emulator.ready().account_id.clone();
    daemon
        .control(Method::POST, "features", &json!({"account_id": account, "identity_verification": false}))
        .await;
    let fresh = TestDaemon::start().await;
    let account = fresh.emulator.ready().account_id.clone();
    fresh
        .control(Method::POST, "features", &json!({"account_id": account, "identity_verification": false}))
        .await;
    let sms = fresh.create("sms", &order()).await;
    assert_eq!(
        (sms.status, sms.code()),
        (StatusCode::UNPROCESSABLE_ENTITY, "sms_auth_unavailable"),
        "{}",
        sms.text
    );
}

#[tokio::test]
async fn a_second_call_while_the_first_has_no_outcome_is_told_to_come_back() {
    let daemon = TestDaemon::start().await;
    daemon.fault(&json!({"fault": "stall", "method": "POST", "path": "/envelopes", "count": 1})).await;
    let body = order();
    let first = daemon.create_with("twice", &body, &[("prefer", "wait=60")]);
    let second = async {
        daemon
            .until("the first create has been sent", async || {
                daemon.requests().await.iter().any(|request| request.ends_with("/envelopes"))
            })
            .await;
        let second = daemon.create("twice", &body);
        let second = tokio::select! {
            second = second => second,
            () = daemon.run_clock("never", async || false) => unreachable!(),
        };
        assert_eq!(
            (second.status, second.code()),
            (StatusCode::CONFLICT, "idempotency_in_progress"),
            "{}",
            second.text
        );
        assert!(second.headers.contains_key("retry-after"));
    };
    tokio::select! {
        () = second => {}
        first = first => panic!("the first was answered before: {}", first.text),
    }
}

#[tokio::test]
async fn a_signer_whose_turn_it_is_not_is_said_so() {
    let daemon = TestDaemon::start().await;
    let mut body = order();
    body["documents"] = json!([{"template": "nda"}]);
    body["signers"][0]["order"] = 1.into();
    let made = daemon.create("turn", &body).await;
    let id = daemon.control(Method::GET, "signers", &Value::Null).await["signers"][0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    daemon.control(Method::POST, &format!("signers/{id}/sign"), &json!({})).await;
    let path = format!("/v1/signings/{}/documents/combined", made.id());
    let early = daemon.get(&path).await;
    // DocuSign's event has not come: the fact is not known yet.
    assert_eq!((early.status, early.code()), (StatusCode::CONFLICT, "signer_not_ready"), "{}", early.text);
}
