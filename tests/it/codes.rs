//! Every code of the API is provoked somewhere: here, or in the test that the table names.

use std::path::Path;

use countersign::api::problem::CODES;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::{
    architecture::{every_source, tests_in},
    harness::{CALLER_KEY, THIRD_KEY, TempDir, TestDaemon, key_hash, order},
};

/// A key of a caller with a small rate.
const SLOW_KEY: &str = THIRD_KEY;

/// Which test provokes a code, besides those of this file: the file, and the test that names the code.
const ELSEWHERE: &[(&str, &str, &str)] = &[
    ("anchor_not_found", "tests/it/signings.rs", "a_missing_anchor_is_found_before_anything_is_sent"),
    ("clock_skew", "src/auth/tests/mod.rs", "t9_a_clock_that_no_correction_helps_is_named"),
    ("consent_required", "tests/it/signings.rs", "t11_missing_consent_is_told_and_stores_nothing"),
    (
        "endpoint_disabled",
        "tests/it/webhooks.rs",
        "an_endpoint_is_switched_off_and_on_by_its_caller_and_nothing_is_replayed_to_one_that_is_off",
    ),
    ("idempotency_key_missing", "tests/it/signings.rs", "what_is_around_the_body_is_checked_too"),
    (
        "idempotency_key_reused",
        "tests/it/signings.rs",
        "e3_the_same_key_gets_the_same_answer_and_another_body_is_refused",
    ),
    (
        "internal",
        "src/api/middleware.rs",
        "a_panic_is_a_problem_with_the_id_of_the_request_and_to_a_browser_nothing",
    ),
    ("invalid_request", "tests/it/signings.rs", "every_refusal_has_its_code_and_sends_and_stores_nothing"),
    ("issuer_unavailable", "tests/it/callers.rs", "a_token_of_an_issuer_stands_for_its_caller"),
    ("link_revoked", "tests/it/visitors/mod.rs", "a_revoked_link_takes_everything_with_it_that_hangs_on_it"),
    (
        "outcome_unknown",
        "tests/it/passthrough.rs",
        "e2_a_passed_create_whose_answer_is_lost_is_not_to_be_repeated",
    ),
    (
        "payload_too_large",
        "tests/it/passthrough.rs",
        "a_body_over_the_limit_and_a_smuggled_request_reach_nobody",
    ),
    ("phone_invalid", "tests/it/signings.rs", "every_refusal_has_its_code_and_sends_and_stores_nothing"),
    ("polling_budget", "tests/it/journey.rs", "b3_a_refresh_is_spent_once_in_a_quarter_of_an_hour"),
    (
        "precondition_failed",
        "tests/it/documents.rs",
        "a_document_has_its_digest_ranges_and_conditions_and_costs_one_call",
    ),
    (
        "provider_rate_limited",
        "tests/it/uncertain.rs",
        "b2_a_limit_is_told_with_a_time_and_leaves_the_key_free",
    ),
    (
        "provider_rejected",
        "tests/it/refusals.rs",
        "a_refusal_of_docusigns_is_told_with_its_status_and_trace_and_a_repetition_too",
    ),
    (
        "range_not_satisfiable",
        "tests/it/documents.rs",
        "a_document_has_its_digest_ranges_and_conditions_and_costs_one_call",
    ),
    ("return_url_refused", "tests/it/signings.rs", "every_refusal_has_its_code_and_sends_and_stores_nothing"),
    ("sender_busy", "tests/it/pairing.rs", "a_renewal_that_does_not_end_is_told_as_that_with_its_time"),
    (
        "sender_not_connected",
        "tests/it/pairing.rs",
        "a_customer_connects_by_impersonation_and_nothing_of_theirs_is_stored",
    ),
    ("sender_unknown", "tests/it/senders.rs", "senders_show_how_they_stand_and_no_secret"),
    (
        "sender_user_is_account",
        "tests/it/senders.rs",
        "each_fault_of_a_pairing_has_its_own_name_at_start_and_in_the_api",
    ),
    (
        "store_unavailable",
        "tests/it/store_faults.rs",
        "a_disk_that_is_full_refuses_creates_and_takes_them_once_there_is_room",
    ),
    (
        "template_role_mismatch",
        "tests/it/signings.rs",
        "every_refusal_has_its_code_and_sends_and_stores_nothing",
    ),
    (
        "unauthenticated",
        "tests/it/signings.rs",
        "who_has_no_key_gets_nowhere_and_others_signings_do_not_exist",
    ),
    ("unknown_field", "tests/it/signings.rs", "every_refusal_has_its_code_and_sends_and_stores_nothing"),
    (
        "wrong_base_uri",
        "tests/it/senders.rs",
        "each_fault_of_a_pairing_has_its_own_name_at_start_and_in_the_api",
    ),
    // The emulator is neither environment, and nothing else is met over the wire.
    ("wrong_environment", "src/auth/user_info.rs", "an_account_of_the_other_environment_is_named_as_that"),
];

#[test]
fn every_code_is_provoked_by_a_test() {
    let read =
        |path: &str| std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
    let here = read("tests/it/codes.rs");
    let names = |text: &str, function: &str, code: &str| {
        function_of(text, function).is_some_and(|body| body.contains(&format!("\"{code}\"")))
    };
    for code in CODES.iter().map(|code| code.code) {
        if tests_in(&here).iter().any(|function| names(&here, function, code)) {
            continue;
        }
        let elsewhere = ELSEWHERE.iter().find(|(name, ..)| *name == code);
        let (_, file, function) = elsewhere.unwrap_or_else(|| panic!("{code} has no test that provokes it"));
        let text = read(file);
        assert!(tests_in(&text).iter().any(|name| name == function), "there is no test {function} in {file}");
        assert!(names(&text, function, code), "{function} in {file} does not name {code}");
    }
}

/// The compiler takes any text for a code.
#[test]
fn every_code_that_a_source_makes_a_problem_of_is_in_the_table() {
    let mut count = 0;
    for file in every_source(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/api")) {
        let text = std::fs::read_to_string(&file).unwrap();
        for made in ["Problem::new(", "Self::new("].into_iter().flat_map(|new| text.split(new).skip(1)) {
            let Some(rest) = made.trim_start().strip_prefix('"') else { continue };
            let code = rest.split('"').next().unwrap_or_default();
            assert!(CODES.iter().any(|known| known.code == code), "{}: {code}", file.display());
            count += 1;
        }
    }
    assert!(count > 50, "{count}");
}

/// A function, to where the next one begins at the same indent.
fn function_of<'a>(text: &'a str, function: &str) -> Option<&'a str> {
    let name = text.find(&format!("fn {function}("))?;
    let begin = text[..name].rfind('\n').map_or(0, |end| end + 1);
    let indent = text[begin..].len() - text[begin..].trim_start().len();
    let rest = &text[begin..];
    let begins_another = |line: &str| {
        let code = line.trim_start();
        let bare = ["pub(crate) ", "pub ", "async "]
            .iter()
            .fold(code, |code, word| code.strip_prefix(word).unwrap_or(code));
        line.len() - code.len() == indent && bare.starts_with("fn ")
    };
    let mut lines = rest.split_inclusive('\n');
    let first = lines.next()?;
    let more: usize = lines.take_while(|line| !begins_another(line)).map(str::len).sum();
    Some(&rest[..first.len() + more])
}

#[test]
fn the_check_of_the_codes_can_fail() {
    let text = "const A: &str = \"a_code\";\n\n#[test]\nfn one() {\n    code(\"b_code\");\n}\n\n\
                async fn two() {\n    \"c_code\";\n}\n";
    let one = function_of(text, "one").unwrap();
    assert!(one.contains("\"b_code\"") && !one.contains("a_code") && !one.contains("c_code"), "{one}");
    assert!(function_of(text, "two").unwrap().ends_with("}\n"), "the last one goes to the end");
    assert_eq!(tests_in(text), ["one"], "a helper provokes nothing");
    assert!(function_of(text, "on").is_none() && function_of(text, "three").is_none());
}

#[tokio::test]
async fn h2_a_create_that_comes_while_the_daemon_closes_is_told_that_it_stops() {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpStream,
    };
    let daemon = TestDaemon::start().await;
    let host = daemon.api.strip_prefix("http://").unwrap();
    let mut late = TcpStream::connect(host).await.unwrap();
    let begin = format!("POST /v1/signings HTTP/1.1\r\nHost: {host}\r\n");
    late.write_all(begin.as_bytes()).await.unwrap();
    // Connections are taken in their order, so by this answer that one was taken, and is being read.
    assert_eq!(daemon.raw("GET", "/v1/signings", Some(CALLER_KEY), "").await, 200);
    daemon.begin_stop();
    daemon.until("the closed listener", async || TcpStream::connect(host).await.is_err()).await;
    let body = order().to_string();
    let end = format!(
        "Authorization: Bearer {CALLER_KEY}\r\nIdempotency-Key: late\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    late.write_all(end.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // What it did not read it may reset; what it said before counts.
    let _ = late.read_to_end(&mut answer).await;
    let answer = String::from_utf8(answer).unwrap();
    let (head, problem) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer}"));
    assert!(head.starts_with("HTTP/1.1 503 ") && head.contains("\r\nretry-after: "), "{head}");
    let problem: Value = serde_json::from_str(problem).unwrap();
    assert_eq!((&problem["code"], &problem["retryable"]), (&json!("shutting_down"), &json!(true)));
    assert_eq!(daemon.envelopes().await, 0, "nothing was made");
    drop(late);
    daemon.stop().await;
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
    assert!(nowhere.body["fix"].as_str().unwrap().contains("/docs has the paths"), "{}", nowhere.text);
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
    assert!(second.body["fix"].as_str().unwrap().contains("callers.slow.rate"), "{}", second.text);
    assert!(second.headers.contains_key("retry-after"));
}

#[tokio::test]
async fn a_body_that_is_coded_is_not_taken_for_what_it_is_not() {
    let daemon = TestDaemon::start().await;
    let account = daemon.emulator.ready().account_id.clone();
    let passed = format!("/v1/senders/system/esign/restapi/v2.1/accounts/{account}/envelopes");
    let head = "Content-Type: application/json\r\nIdempotency-Key: coded\r\n";
    for path in ["/v1/signings", &passed] {
        for codings in ["gzip, chunked", "chunked, chunked", "gzip\r\nTransfer-Encoding: chunked"] {
            let more = format!("{head}Transfer-Encoding: {codings}\r\n\r\n2\r\n{{}}\r\n0\r\n");
            let answer = daemon.raw_answer("POST", path, Some(CALLER_KEY), &more).await;
            let (status, problem) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer}"));
            assert!(status.starts_with("HTTP/1.1 501 "), "{codings}: {answer}");
            let problem: Value = serde_json::from_str(problem).unwrap();
            assert_eq!(problem["code"], "transfer_encoding_unsupported", "{codings}: {answer}");
        }
    }
    for path in ["/v1/signings", "/v1/webhook_endpoints", &passed] {
        for coding in ["gzip", "gzip, identity", "utf-16"] {
            let headers = [
                ("content-type", "application/json"),
                ("idempotency-key", "coded"),
                ("content-encoding", coding),
            ];
            let url = format!("{}{path}", daemon.api);
            let body = b"\x1f\x8b".to_vec();
            let refused = daemon.call(Method::POST, &url, Some(CALLER_KEY), &headers, body).await;
            let seen = (refused.status.as_u16(), refused.code());
            assert_eq!(seen, (415, "content_encoding_unsupported"), "{path} {coding}: {}", refused.text);
            assert_eq!(refused.headers["accept-encoding"], "identity", "{path} {coding}");
        }
    }
    let sent = daemon.requests().await;
    assert!(!sent.iter().any(|line| line.ends_with("/envelopes")), "{sent:?}");
    for none in ["identity", "", "utf-8", "UTF-8"] {
        let key = format!("coded-{none}");
        let made = daemon.create_with(&key, &order(), &[("content-encoding", none)]).await;
        assert_eq!(made.status, StatusCode::CREATED, "{none}: {}", made.text);
    }
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
    daemon.fault_create("stall").await;
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
async fn what_is_signed_and_not_told_of_yet_has_no_document() {
    let daemon = TestDaemon::start().await;
    let made = daemon.create("order-1", &order()).await;
    daemon.sign_all().await;
    let path = format!("/v1/signings/{}/documents/combined", made.id());
    let early = daemon.get(&path).await;
    // DocuSign's event has not come: the fact is not known yet.
    assert_eq!((early.status, early.code()), (StatusCode::CONFLICT, "signer_not_ready"), "{}", early.text);
}

#[tokio::test]
async fn what_lies_above_the_type_of_a_problem_lists_every_code() {
    let daemon = TestDaemon::start().await;
    let page = daemon.get("/docs/errors").await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.text);
    for code in CODES {
        assert!(page.text.contains(&format!("\"/docs/errors/{}\"", code.code)), "{}", code.code);
    }
}
