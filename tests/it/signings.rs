//! Signings through the API: what is created, what is refused, what is the same the second time.

use std::{cell::Cell, time::Duration};

use countersign::{
    domain::{CallerName, SenderName, Signing, SigningId},
    signing::{self, MAX_WAITING, MAX_WAITING_OF_ONE},
};
use futures_util::{FutureExt as _, StreamExt as _, stream::FuturesUnordered};
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::{CALLER_KEY, Reply, STRANGER_KEY, THIRD_KEY, TestDaemon, key_hash, order};

#[tokio::test]
async fn a_signing_is_created_with_a_view_and_reads_back_without_it() {
    let daemon = TestDaemon::start().await;
    let made = daemon.create("order-1", &order()).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    assert_eq!(made.body["status"], "open");
    assert_eq!(made.body["signers"][0]["status"], "ready");
    assert!(made.body["signers"][0]["view"]["url"].as_str().unwrap().contains("/Signing/"));
    assert_eq!(made.headers["location"], format!("/v1/signings/{}", made.id()).as_str());

    let read = daemon.get(&format!("/v1/signings/{}", made.id())).await;
    assert_eq!(read.body["signers"][0]["view"], Value::Null);
    assert_eq!(read.body["provider"]["envelope_id"], made.body["provider"]["envelope_id"]);
    let listed = daemon.get("/v1/signings?reference=order-8812").await;
    assert_eq!(listed.body["data"][0]["id"], made.body["id"]);
    daemon.stop().await;
}

#[tokio::test]
async fn s5_past_so_many_who_wait_a_caller_is_told_when_to_come_again_and_others_still_wait() {
    let colleague = format!(
        "[callers.colleague]\nkey_hash = \"{}\"\nreturn_origins = [\"https://www.example.com\"]\n",
        key_hash(THIRD_KEY)
    );
    let daemon = TestDaemon::builder().with(&colleague).start().await;
    let made = daemon.create("order-1", &order()).await;
    let (signings, caller) = (daemon.parts().signings.clone(), CallerName::new("website"));
    let id: SigningId = made.id().parse().unwrap();
    let patience = Duration::from_secs(60);
    let wait = |_| signings.wait(&caller, id, None, patience);
    let mut waiting: FuturesUnordered<_> = (0..=MAX_WAITING_OF_ONE).map(wait).collect();
    // The clock stands still: whoever is answered did not wait.
    let refused = tokio::time::timeout(patience, waiting.next()).await.unwrap().unwrap();
    assert!(matches!(refused, Err(signing::Error::TooManyWaiting { .. })), "{refused:?}");
    assert!(waiting.next().now_or_never().is_none(), "all others wait");

    let path = format!("/v1/signings/{id}/wait");
    let refused = daemon.get(&path).await;
    assert_eq!((refused.status.as_u16(), refused.code()), (429, "quota_exceeded"), "{}", refused.text);
    assert_eq!(refused.headers["retry-after"], "10");
    let detail = refused.body["detail"].as_str().unwrap();
    for limit in [MAX_WAITING, MAX_WAITING_OF_ONE] {
        assert!(detail.contains(&limit.to_string()), "{limit}: {detail}");
    }
    for answered in [format!("{path}?timeout=0"), format!("{path}?sequence=0")] {
        assert_eq!(daemon.get(&answered).await.status, StatusCode::OK, "{answered} does not wait");
    }

    // Nobody asks those who wait, so their places are taken while the clock runs for somebody else.
    let headers = [("content-type", "application/json"), ("idempotency-key", "order-1")];
    let (url, body) = (format!("{}/v1/signings", daemon.api), serde_json::to_vec(&order()).unwrap());
    let theirs = daemon.call(Method::POST, &url, Some(THIRD_KEY), &headers, body).await;
    assert_eq!(theirs.status, StatusCode::CREATED, "{}", theirs.text);
    let url = format!("{url}/{}/wait?timeout=1", theirs.id());
    let answered = Cell::new(false);
    let waits = async {
        let reply = daemon.call(Method::GET, &url, Some(THIRD_KEY), &[], Vec::new()).await;
        answered.set(true);
        reply
    };
    let (reply, ()) = tokio::join!(waits, daemon.run_clock("the end of the wait", async || answered.get()));
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text);
    drop(waiting);
    daemon.stop().await;
}

#[tokio::test]
async fn b1_a_warm_signing_costs_two_calls_and_a_fresh_view_one() {
    let daemon = TestDaemon::start().await;
    daemon.create("warm", &order()).await;
    daemon.forget_requests().await;
    let made = daemon.create("order-1", &order()).await;
    assert_eq!(daemon.requests().await.len(), 2);
    daemon.forget_requests().await;
    let path = format!("/v1/signings/{}/signers/{}/views", made.id(), made.signer());
    let view = daemon.post(&path, &json!({})).await;
    assert_eq!(view.status, StatusCode::CREATED, "{}", view.text);
    assert_eq!(daemon.requests().await.len(), 1);
}

#[tokio::test]
async fn t5_a_thousand_first_requests_cost_one_exchange() {
    let daemon = TestDaemon::start().await;
    daemon.control(Method::POST, "limits", &json!({"hourly": 100_000, "burst": 100_000})).await;
    daemon.create("learn", &order()).await;
    // A token that was minted a moment ago is not minted again at once.
    daemon.clock.advance(std::time::Duration::from_secs(120));
    let before = daemon.mints().await;
    // All at once, on a daemon whose token is taken away first.
    let token = daemon.parts().auth.token("system").await.unwrap();
    daemon.parts().auth.retire("system", token.generation());
    let order = order();
    let keys: Vec<String> = (0..1_000).map(|number| format!("order-{number}")).collect();
    let calls = keys.iter().map(|key| daemon.create(key, &order));
    let made = futures_util::future::join_all(calls).await;
    for made in &made {
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    }
    assert_eq!(daemon.mints().await - before, 1);
    let creates = daemon.requests().await.into_iter().filter(|line| line.ends_with("/envelopes")).count();
    assert_eq!(creates, 1_001);
}

#[tokio::test]
async fn t7_a_token_that_died_early_costs_one_exchange_and_one_replay() {
    let daemon = TestDaemon::start().await;
    daemon.create("warm", &order()).await;
    daemon.clock.advance(std::time::Duration::from_secs(120));
    daemon.control(Method::POST, "tokens/revoke", &json!({})).await;
    daemon.forget_requests().await;
    let made = daemon.create("order-1", &order()).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    let requests = daemon.requests().await;
    assert_eq!(daemon.mints().await, 1, "{requests:?}");
    assert_eq!(requests.len(), 4, "{requests:?}");
}

#[tokio::test]
async fn e3_the_same_key_gets_the_same_answer_and_another_body_is_refused() {
    let mut daemon = TestDaemon::start().await;
    let first = daemon.create("\"order-1\"", &order()).await;
    let again = daemon.create("order-1", &order()).await;
    assert_eq!((again.status, &again.text), (StatusCode::CREATED, &first.text));
    assert_eq!(again.headers["idempotency-replayed"], "true");
    assert!(!first.headers.contains_key("idempotency-replayed"));
    let mut other = order();
    other["reference"] = json!("order-2");
    let refused = daemon.create("order-1", &other).await;
    assert_eq!(
        (refused.status, refused.code()),
        (StatusCode::UNPROCESSABLE_ENTITY, "idempotency_key_reused")
    );
    daemon.restart().await;
    let again = daemon.create("order-1", &order()).await;
    assert_eq!(again.text, first.text, "also after a restart");
    assert_eq!(daemon.envelopes().await, 1);
}

#[tokio::test]
async fn e3_the_answer_stays_though_the_settings_would_refuse_the_call_now() {
    let mut daemon = TestDaemon::start().await;
    let first = daemon.create("order-1", &order()).await;
    daemon.restart_with(|settings| settings.replace("nda = ", "another = ")).await;
    let refused = daemon.create("order-2", &order()).await;
    assert_eq!((refused.status, refused.code()), (StatusCode::BAD_REQUEST, "invalid_request"));
    let again = daemon.create("order-1", &order()).await;
    assert_eq!((again.status, &again.text), (StatusCode::CREATED, &first.text));
    let mut other = order();
    other["reference"] = json!("order-2");
    assert_eq!(daemon.create("order-1", &other).await.code(), "idempotency_key_reused");
    // Of these three calls one is refused before its key has led to anything.
    for (result, count) in [("replayed", 1.0), ("conflict", 1.0), ("new", 0.0)] {
        let label = format!("result=\"{result}\"");
        let counted = daemon.metric("countersign_idempotency_total", &[label.as_str()]).await;
        assert!((counted - count).abs() < 0.5, "{result}: {counted}");
    }
}

#[tokio::test]
async fn e3_two_calls_with_one_key_at_once_make_one_envelope() {
    let daemon = TestDaemon::start().await;
    let order = order();
    let calls = (0..20).map(|_| daemon.create("order-1", &order));
    let made = futures_util::future::join_all(calls).await;
    for one in &made {
        assert_eq!(one.status, StatusCode::CREATED, "{}", one.text);
        assert_eq!(one.id(), made[0].id());
    }
    assert_eq!(daemon.envelopes().await, 1);
}

#[tokio::test]
async fn every_refusal_has_its_code_and_sends_and_stores_nothing() {
    let daemon = TestDaemon::start().await;
    daemon.forget_requests().await;
    let bad = |change: &dyn Fn(&mut Value)| {
        let mut order = order();
        change(&mut order);
        order
    };
    let pdf = base64_of(b"%PDF-1.7 nothing of a PDF follows");
    let cases = [
        (bad(&|o| o["signers"][0]["email"] = json!("nobody")), 400, "invalid_request", "/signers/0/email"),
        (
            bad(&|o| o["signers"][0]["sms_auth"]["phone"] = json!("0151")),
            400,
            "phone_invalid",
            "/signers/0/sms_auth/phone",
        ),
        (bad(&|o| o["sngers"] = json!(1)), 400, "unknown_field", "/sngers"),
        (
            bad(&|o| o["documents"][0]["template"] = json!("none")),
            400,
            "invalid_request",
            "/documents/0/template",
        ),
        (
            bad(&|o| o["documents"] = json!([{"name": "a", "content_base64": "bm90IGEgUERG"}])),
            400,
            "invalid_request",
            "/documents/0/content_base64",
        ),
        (
            bad(&|o| o["documents"] = json!([{"name": "a", "content_base64": pdf}])),
            400,
            "invalid_request",
            "/documents/0/content_base64",
        ),
        (
            bad(&|o| o["documents"] = json!([{"name": "a", "content_base64": "%%%"}])),
            400,
            "invalid_request",
            "/documents/0/content_base64",
        ),
        (
            bad(&|o| o["signers"][0]["return_url"] = json!("https://evil.example/")),
            400,
            "return_url_refused",
            "/signers/0/return_url",
        ),
        (
            bad(&|o| o["signers"][0]["return_url"] = json!("https://www.example.com.evil.example/")),
            400,
            "return_url_refused",
            "/signers/0/return_url",
        ),
        (bad(&|o| o["signers"][0]["role"] = Value::Null), 422, "template_role_mismatch", "/signers/0/role"),
    ];
    for (number, (body, status, code, pointer)) in cases.iter().enumerate() {
        let refused = daemon.create(&format!("bad-{number}"), body).await;
        assert_eq!((refused.status.as_u16(), refused.code()), (*status, *code), "{}", refused.text);
        assert_eq!(refused.body["errors"][0]["pointer"], *pointer, "{}", refused.text);
        assert!(refused.body["fix"].as_str().is_some_and(|fix| fix.len() > 10));
        assert_eq!(refused.headers["content-type"], "application/problem+json");
    }
    let mut unknown = order();
    unknown["sender"] = json!("nobody");
    assert_eq!(daemon.create("bad", &unknown).await.code(), "sender_unknown");
    assert_eq!(daemon.requests().await, Vec::<String>::new(), "nothing was sent");
    let listed = daemon.get("/v1/signings").await;
    assert_eq!(listed.body["data"], json!([]), "nothing is stored");
}

#[tokio::test]
async fn two_signers_in_one_role_are_refused_before_one_signs_for_both() {
    let daemon = TestDaemon::start().await;
    let mut both = order();
    let second = json!({"key": "second", "name": "Grace Hopper", "email": "grace@example.com", "role": "client",
        "return_url": "https://www.example.com/done"});
    both["signers"].as_array_mut().unwrap().push(second);
    for refused in
        [daemon.post("/v1/signings?dry_run=true", &both).await, daemon.create("order-1", &both).await]
    {
        assert_eq!((refused.status.as_u16(), refused.code()), (422, "template_role_mismatch"));
        assert_eq!(refused.body["errors"][0]["pointer"], "/signers/1/role", "{}", refused.text);
    }
    assert_eq!(daemon.envelopes().await, 0);
    let mut templates = order();
    templates["documents"] = json!([{"template": "nda"}, {"template": "nda"}]);
    let made = daemon.create("order-2", &templates).await;
    assert_eq!(made.status, StatusCode::CREATED, "one signer in one role of both: {}", made.text);
    daemon.stop().await;
}

#[tokio::test]
async fn a_missing_anchor_is_found_before_anything_is_sent() {
    let daemon = TestDaemon::start().await;
    daemon.forget_requests().await;
    let document = |anchor: &str| {
        json!({"sender": "system",
            "documents": [{"name": "Contract.pdf", "content_base64": base64_of(&contract()), "anchors": {"sign": anchor}}],
            "signers": [{"name": "Ada", "email": "ada@example.com", "return_url": "https://www.example.com/"}]})
    };
    let refused = daemon.create("bad", &document("/nowhere/")).await;
    assert_eq!((refused.status.as_u16(), refused.code()), (422, "anchor_not_found"), "{}", refused.text);
    assert_eq!(refused.body["errors"][0]["pointer"], "/documents/0/anchors/sign");
    assert_eq!(daemon.requests().await.len(), 0);
    let made = daemon.create("good", &document("/sn1/")).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
}

#[tokio::test]
async fn who_has_no_key_gets_nowhere_and_others_signings_do_not_exist() {
    let daemon = TestDaemon::start().await;
    let made = daemon.create("order-1", &order()).await;
    let url = format!("{}/v1/signings/{}", daemon.api, made.id());
    for key in [None, Some(""), Some("cs_wrong"), Some("Basic x")] {
        let refused = daemon.call(Method::GET, &url, key, &[], Vec::new()).await;
        assert_eq!((refused.status.as_u16(), refused.code()), (401, "unauthenticated"));
    }
    let foreign = daemon.call(Method::GET, &url, Some(STRANGER_KEY), &[], Vec::new()).await;
    assert_eq!((foreign.status.as_u16(), foreign.code()), (404, "not_found"));
    let headers = [("content-type", "application/json"), ("idempotency-key", "order-1")];
    let body = serde_json::to_vec(&order()).unwrap();
    let url = format!("{}/v1/signings", daemon.api);
    let refused = daemon.call(Method::POST, &url, Some(STRANGER_KEY), &headers, body).await;
    assert_eq!((refused.status.as_u16(), refused.code()), (404, "sender_unknown"));
}

#[tokio::test]
async fn what_is_around_the_body_is_checked_too() {
    let daemon = TestDaemon::start().await;
    let url = format!("{}/v1/signings", daemon.api);
    let body = || serde_json::to_vec(&order()).unwrap();
    let json = ("content-type", "application/json");
    let no_key = daemon.call(Method::POST, &url, Some(CALLER_KEY), &[json], body()).await;
    assert_eq!((no_key.status.as_u16(), no_key.code()), (400, "idempotency_key_missing"));
    for key in ["", "\"open", "has blank", &"x".repeat(256)] {
        let refused = daemon
            .call(Method::POST, &url, Some(CALLER_KEY), &[json, ("idempotency-key", key)], body())
            .await;
        assert_eq!(refused.code(), "idempotency_key_missing", "{key}");
    }
    let text = [("content-type", "text/plain"), ("idempotency-key", "a")];
    assert_eq!(
        daemon.call(Method::POST, &url, Some(CALLER_KEY), &text, body()).await.code(),
        "invalid_request"
    );
    let big = vec![b' '; 1024 * 1024 + 1];
    let large =
        daemon.call(Method::POST, &url, Some(CALLER_KEY), &[json, ("idempotency-key", "a")], big).await;
    assert_eq!((large.status.as_u16(), large.code()), (413, "payload_too_large"));
    for path in [
        "/metrics",
        "/readyz",
        "/s/x",
        "/r/x",
        "/_test/requests",
        "/restapi/v2.1",
        "/v1/none",
        "/v1/signings/x",
    ] {
        assert_eq!(daemon.get(path).await.status, StatusCode::NOT_FOUND, "{path}");
    }
    let given =
        daemon.call(Method::GET, &url, Some(CALLER_KEY), &[("x-request-id", "abc-1")], Vec::new()).await;
    assert_eq!(given.headers["x-request-id"], "abc-1");
}

#[tokio::test]
async fn t11_missing_consent_is_told_and_stores_nothing() {
    let daemon = TestDaemon::start().await;
    let mut order = order();
    order["sender"] = json!("unconsented");
    let refused = daemon.create("order-1", &order).await;
    assert_eq!((refused.status.as_u16(), refused.code()), (409, "consent_required"), "{}", refused.text);
    let link = refused.body["links"]["consent"].as_str().unwrap();
    assert_eq!(link, "/v1/senders/unconsented/consent", "there is no public listener to come back to");
    assert_eq!(daemon.get("/v1/signings").await.body["data"], json!([]));
    let user = daemon.emulator.ready().no_consent_user_id.clone();
    let key = daemon.emulator.ready().integration_key.clone();
    let grant = json!({"user_id": user, "integration_key": key, "granted": true, "scopes": ["signature", "impersonation"]});
    daemon.control(Method::POST, "consent", &grant).await;
    let acts = async || daemon.parts().auth.ready("unconsented").is_some();
    daemon.run_clock("the grant", acts).await;
    assert_eq!(daemon.create("order-1", &order).await.status, StatusCode::CREATED);
}

/// Every call about a signing says where to consent, and not only the one that makes it.
#[tokio::test]
async fn t11_every_call_about_a_signing_whose_consent_is_missing_links_to_where_it_is_given() {
    let daemon = TestDaemon::start().await;
    let path_of = |made: &Reply| format!("/v1/signings/{}", made.id());
    let done = daemon.create("order-1", &order()).await;
    daemon.sign_all().await;
    let completed = daemon.post(&format!("{}/refresh", path_of(&done)), &json!({})).await;
    assert_eq!(completed.body["status"], "completed", "{}", completed.text);
    let open = daemon.create("order-2", &order()).await;
    for made in [&open, &done] {
        let id: SigningId = made.id().parse().unwrap();
        daemon.rewrite(id, None, |signing| signing.sender = SenderName::new("unconsented")).await;
    }
    let of_signer = |what: &str| format!("{}/signers/{}/{what}", path_of(&open), open.signer());
    let mut refused = Vec::new();
    for (path, body) in [
        (of_signer("views"), json!({})),
        (of_signer("phone"), json!({"phone": "+4915112345679"})),
        (of_signer("access_code"), json!({"access_code": "Turing-1936"})),
        (format!("{}/refresh", path_of(&open)), json!({})),
        (format!("{}/void", path_of(&open)), json!({"reason": "ordered twice"})),
        (format!("{}/purge", path_of(&done)), json!({})),
    ] {
        refused.push(daemon.post(&path, &body).await);
    }
    for what in ["documents/combined", "evidence"] {
        refused.push(daemon.get(&format!("{}/{what}", path_of(&done))).await);
    }
    for one in refused {
        assert_eq!((one.status.as_u16(), one.code()), (409, "consent_required"), "{}", one.text);
        assert_eq!(one.body["links"]["consent"], "/v1/senders/unconsented/consent", "{}", one.text);
    }
}

/// The caller's deadline travels: they are answered by then, and what cannot end by then is not begun.
#[tokio::test]
async fn b4_no_view_check_correction_or_void_takes_longer_than_its_caller_waits() {
    let daemon = TestDaemon::start().await;
    let made = daemon.create("order-1", &order()).await;
    // As a failed check tells it: nothing has to be read before the correction.
    let known = |signing: &mut Signing| signing.signers[0].upstream.recipient_id = Some("1".to_owned());
    daemon.rewrite(made.id().parse().unwrap(), None, known).await;
    let path = format!("{}/v1/signings/{}", daemon.api, made.id());
    let calls = [
        (format!("{path}/signers/{}/views", made.signer()), "{}"),
        (format!("{path}/signers/{}/phone", made.signer()), "{\"phone\": \"+4915112345679\"}"),
        (format!("{path}/signers/{}/access_code", made.signer()), "{\"access_code\": \"Turing-1936\"}"),
        (format!("{path}/refresh"), "{}"),
        (format!("{path}/void"), "{\"reason\": \"ordered twice\"}"),
    ];
    let ask = async |url: &str, body: &'static str, wait: &'static str| {
        let headers = [("content-type", "application/json"), ("prefer", wait)];
        daemon.call(Method::POST, url, Some(CALLER_KEY), &headers, body.into()).await
    };
    daemon.forget_requests().await;
    for (url, body) in &calls {
        let refused = ask(url, body, "wait=0").await;
        assert!(refused.status.is_server_error(), "{url}: {} {}", refused.status, refused.text);
    }
    assert_eq!(daemon.requests().await, Vec::<String>::new());
    let envelope = &made.body["provider"]["envelope_id"];
    for path in [envelope, &json!("/views/recipient"), &json!("/recipients")] {
        daemon.fault(&json!({"fault": "stall", "path": path, "count": 20})).await;
    }
    // A sender without consent asks for a token now and then.
    let about = envelope.as_str().unwrap();
    let asked = async || daemon.requests().await.iter().filter(|line| line.contains(about)).count();
    for (url, body) in &calls {
        // A call of ours may take 30 s; whoever asks here wants to know sooner, and a moment later is the latest.
        let before = asked().await;
        let time = async {
            daemon.until("the call", async || asked().await > before).await;
            daemon.clock.advance(Duration::from_millis(1_250));
        };
        let (late, ()) = tokio::join!(ask(url, body, "wait=1"), time);
        assert!(late.status.is_server_error(), "{url}: {} {}", late.status, late.text);
    }
    assert_eq!(asked().await, calls.len());
}

#[tokio::test]
async fn b4_no_purge_or_download_takes_longer_than_its_caller_waits() {
    let daemon = TestDaemon::start().await;
    let made = daemon.create("order-1", &order()).await;
    daemon.sign_all().await;
    let path = format!("/v1/signings/{}", made.id());
    assert_eq!(daemon.post(&format!("{path}/refresh"), &json!({})).await.body["status"], "completed");
    let ask = async |part: &str, wait: &'static str| {
        let url = format!("{}{path}/{part}", daemon.api);
        let headers = [("content-type", "application/json"), ("prefer", wait)];
        let (method, body) = if part == "purge" { (Method::POST, "{}") } else { (Method::GET, "") };
        daemon.call(method, &url, Some(CALLER_KEY), &headers, body.into()).await
    };
    let about = made.body["provider"]["envelope_id"].as_str().unwrap();
    let asked = async || daemon.requests().await.iter().filter(|line| line.contains(about)).count();
    daemon.forget_requests().await;
    for part in ["documents/combined", "evidence", "purge"] {
        let refused = ask(part, "wait=0").await;
        assert!(refused.status.is_server_error(), "{part}: {} {}", refused.status, refused.text);
    }
    assert_eq!(asked().await, 0);
    for path in [about, "/documents/combined"] {
        daemon.fault(&json!({"fault": "stall", "path": path, "count": 20})).await;
    }
    for part in ["documents/combined", "purge"] {
        let before = asked().await;
        let time = async {
            daemon.until("the call", async || asked().await > before).await;
            daemon.clock.advance(Duration::from_millis(1_250));
        };
        let (late, ()) = tokio::join!(ask(part, "wait=1"), time);
        assert!(late.status.is_server_error(), "{part}: {} {}", late.status, late.text);
    }
    assert_eq!(asked().await, 2);
}

/// There is nothing to answer before it is done, and what a caller did not wait for is learnt all the same.
#[tokio::test]
async fn b4_a_check_that_its_caller_does_not_wait_for_is_not_lost() {
    let daemon = TestDaemon::start().await;
    let made = daemon.create("order-1", &order()).await;
    let path = format!("{}/v1/signings/{}", daemon.api, made.id());
    let headers = [("content-type", "application/json"), ("prefer", "respond-async")];
    let view = format!("{path}/signers/{}/views", made.signer());
    let view = daemon.call(Method::POST, &view, Some(CALLER_KEY), &headers, "{}".into()).await;
    assert_eq!(view.status, StatusCode::CREATED, "{}", view.text);
    daemon.sign_all().await;
    let envelope = &made.body["provider"]["envelope_id"];
    daemon.fault(&json!({"fault": "delay", "delay_ms": 2_000, "path": envelope, "count": 1})).await;
    daemon.forget_requests().await;
    let headers = [("content-type", "application/json"), ("prefer", "wait=1")];
    let refresh = format!("{path}/refresh");
    let refresh = daemon.call(Method::POST, &refresh, Some(CALLER_KEY), &headers, "{}".into());
    let time = async {
        let about = envelope.as_str().unwrap();
        let is_asked = async || daemon.requests().await.iter().any(|line| line.contains(about));
        daemon.until("the call", is_asked).await;
        daemon.clock.advance(Duration::from_secs(4));
    };
    let (late, ()) = tokio::join!(refresh, time);
    assert!(late.status.is_server_error(), "{}", late.text);
    // The check has left: another one is refused for the rest of the quarter of an hour, of which 4 s are over.
    assert_eq!(late.headers["retry-after"], "896", "{}", late.text);
    let detail = late.body["detail"].as_str().unwrap();
    assert!(detail.starts_with("no answer came") && detail.contains("was spent on it"), "{detail}");
    let read = format!("/v1/signings/{}", made.id());
    daemon.until("the answer", async || daemon.get(&read).await.body["status"] == "completed").await;
}

#[tokio::test]
async fn two_voids_at_once_are_both_told_that_it_is_voided() {
    let daemon = TestDaemon::start().await;
    let made = daemon.create("order-1", &order()).await;
    let path = format!("/v1/signings/{}/void", made.id());
    let body = json!({"reason": "ordered twice"});
    let both = futures_util::future::join_all((0..2).map(|_| daemon.post(&path, &body))).await;
    for one in &both {
        assert_eq!((one.status.as_u16(), &one.body["status"]), (200, &json!("voided")), "{}", one.text);
    }
}

/// Events and checks tell an expiry from a void by the reason alone.
#[tokio::test]
async fn f1_a_void_is_refused_whose_reason_would_be_read_as_an_expiry() {
    let daemon = TestDaemon::start().await;
    let made = daemon.create("order-1", &order()).await;
    let path = format!("/v1/signings/{}/void", made.id());
    daemon.forget_requests().await;
    for reason in ["Envelope has expired", " envelope HAS expired: it was ordered twice"] {
        let refused = daemon.post(&path, &json!({"reason": reason})).await;
        assert_eq!((refused.status.as_u16(), refused.code()), (400, "invalid_request"), "{}", refused.text);
        assert_eq!(refused.body["errors"][0]["pointer"], "/reason", "{}", refused.text);
    }
    assert_eq!(daemon.requests().await, Vec::<String>::new());
    let voided = daemon.post(&path, &json!({"reason": "The envelope has expired"})).await;
    assert_eq!((voided.status.as_u16(), &voided.body["status"]), (200, &json!("voided")), "{}", voided.text);
}

/// It is shown to those who were to sign.
#[tokio::test]
async fn a_void_is_refused_whose_reason_cannot_be_read_as_it_stands() {
    let daemon = TestDaemon::start().await;
    let made = daemon.create("order-1", &order()).await;
    let path = format!("/v1/signings/{}/void", made.id());
    daemon.forget_requests().await;
    let long = "x".repeat(201);
    for reason in [
        "",
        " \n",
        "a\u{0}b",
        "a\nb",
        "a\u{7f}",
        "a\u{202e}b",
        "a\u{2066}b",
        "\u{200b}",
        "\u{200b}\u{feff}",
        &*long,
    ] {
        let refused = daemon.post(&path, &json!({"reason": reason})).await;
        assert_eq!((refused.status.as_u16(), refused.code()), (400, "invalid_request"), "{reason:?}");
        assert_eq!(refused.body["errors"][0]["pointer"], "/reason", "{}", refused.text);
    }
    assert_eq!(daemon.requests().await, Vec::<String>::new());
    let voided = daemon
        .post(&path, &json!({"reason": "  Zo\u{eb} \u{633}\u{200c}\u{631} hat doppelt bestellt\n"}))
        .await;
    assert_eq!((voided.status.as_u16(), &voided.body["status"]), (200, &json!("voided")), "{}", voided.text);
}

#[tokio::test]
async fn a_wider_purge_is_asked_for_anew_and_the_same_one_is_not() {
    let daemon = TestDaemon::start().await;
    let made = daemon.create("order-1", &order()).await;
    let read = format!("/v1/signings/{}", made.id());
    daemon.post(&format!("{read}/void"), &json!({"reason": "test"})).await;
    daemon.forget_requests().await;
    let purge =
        async |scope: &str| daemon.post(&format!("{read}/purge"), &json!({"scope": scope})).await.status;
    for (scope, calls) in [
        ("documents", 1),
        ("documents", 1),
        ("documents_and_metadata", 2),
        ("documents", 2),
        ("documents_and_metadata", 2),
        ("documents_metadata_and_redact", 3),
    ] {
        assert_eq!(purge(scope).await, StatusCode::ACCEPTED, "{scope}");
        assert_eq!(daemon.requests().await.len(), calls, "{scope}");
    }
}

#[tokio::test]
async fn the_timeline_tells_what_was_asked_of_docusign_with_its_trace() {
    let daemon = TestDaemon::builder().public().start().await;
    let made = daemon.create("order-1", &order()).await;
    let path = format!("/v1/signings/{}", made.id());
    let links = format!("{path}/signers/{}/links", made.signer());
    let link = daemon.post(&links, &json!({})).await;
    let revoke = format!("{}/v1/links/{}", daemon.api, link.id());
    for _ in 0..2 {
        let revoked = daemon.call(Method::DELETE, &revoke, Some(CALLER_KEY), &[], Vec::new()).await;
        assert_eq!(revoked.status, StatusCode::NO_CONTENT);
    }
    daemon.post(&format!("{path}/void"), &json!({"reason": "test"})).await;
    let timeline = daemon.get(&format!("{path}/timeline")).await;
    let moments = timeline.body["data"].as_array().unwrap();
    let at = |what: &str| {
        let found: Vec<_> = moments.iter().enumerate().filter(|(_, moment)| moment["what"] == what).collect();
        assert_eq!(found.len(), 1, "{what}: {}", timeline.text);
        (found[0].0, found[0].1["trace"].is_string())
    };
    assert!(at("link_made").0 < at("link_revoked").0);
    let (asked, voided) = (at("void_asked"), at("signing.voided"));
    assert_eq!((asked.1, voided.1, asked.0 + 1), (true, false, voided.0), "{}", timeline.text);

    let signed = daemon.create("order-2", &order()).await;
    daemon.sign_all().await;
    let path = format!("/v1/signings/{}", signed.id());
    daemon.run_clock("the end", async || daemon.get(&path).await.body["status"] == "completed").await;
    for _ in 0..2 {
        let read = daemon.get(&format!("{path}/documents/combined")).await;
        assert_eq!(read.status, StatusCode::OK);
    }
    let timeline = daemon.get(&format!("{path}/timeline")).await;
    let moments = timeline.body["data"].as_array().unwrap();
    let fetched: Vec<_> = moments.iter().filter(|moment| moment["what"] == "document_fetched").collect();
    assert!(fetched.len() == 1 && fetched[0]["trace"].is_string(), "{}", timeline.text);
}

/// A PDF with the anchor `/sn1/`.
pub(crate) fn contract() -> Vec<u8> {
    padded_contract(0)
}

/// The same, and so many bytes larger.
pub(crate) fn padded_contract(padding: usize) -> Vec<u8> {
    use pdf_writer::{Content, Finish as _, Name, Pdf, Rect, Ref, Str};
    let mut pdf = Pdf::new();
    let [catalog, tree, page, font, content, metadata] = [1, 2, 3, 4, 5, 6].map(Ref::new);
    pdf.catalog(catalog).pages(tree);
    pdf.pages(tree).kids([page]).count(1);
    let mut writer = pdf.page(page);
    writer.media_box(Rect::new(0.0, 0.0, 595.0, 842.0)).parent(tree).contents(content).metadata(metadata);
    writer.resources().fonts().pair(Name(b"F1"), font);
    writer.finish();
    pdf.type1_font(font).base_font(Name(b"Helvetica")).encoding_predefined(Name(b"WinAnsiEncoding"));
    let mut stream = Content::new();
    stream
        .begin_text()
        .set_font(Name(b"F1"), 12.0)
        .next_line(72.0, 700.0)
        .show(Str(b"Sign: /sn1/"))
        .end_text();
    pdf.stream(content, &stream.finish());
    pdf.stream(metadata, &vec![b' '; padding]);
    pdf.finish()
}

pub(crate) fn base64_of(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
