//! Several signers of one envelope: whose turn it is, and who has signed, by our record and by DocuSign's.

use std::time::Duration;

use countersign::{clock::Clock as _, domain::SignerStatus};
use http::{Method, StatusCode};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::{
    harness::{Reply, TestDaemon, order},
    intake::{digest, push},
    signings::{base64_of, contract},
    visitors::{in_turn, link_of, location, location_of},
};

#[tokio::test]
async fn several_signers_each_have_a_link_that_works_in_turn() {
    let daemon = TestDaemon::builder().public().start().await;
    let mut order = in_turn();
    order["signers"][0]["access_code"] = json!("Turing-1936");
    order["signers"][0]["authenticated_by"] =
        json!({ "method": "password", "at": "2026-06-01T11:59:00Z", "id": "login-77f1" });
    let made = daemon.create("order-1", &order).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    let (first, second) = (link_of(&made, 0), link_of(&made, 1));
    assert!(daemon.look(&second).await.text.contains("not your turn"));
    assert_eq!(daemon.click(&second).await.status, StatusCode::CONFLICT);
    let ceremony = location_of(&daemon, &location(&daemon.click(&first).await)).await;
    assert!(daemon.look(&ceremony).await.text.contains("access_code"), "the code is asked for first");
    daemon.act(0, "sign", &json!({})).await;
    let path = format!("/v1/signings/{}", made.id());
    let stands = async |signer: usize| daemon.get(&path).await.body["signers"][signer]["status"].clone();
    daemon.run_clock("the second's turn", async || stands(1).await == "ready").await;
    assert_eq!(stands(0).await, "signed");
    let events = daemon.get("/v1/events?type=signer.ready").await;
    let events = if events.status == StatusCode::OK { events } else { daemon.get("/v1/events").await };
    let manager = made.body["signers"][1]["id"].as_str().unwrap();
    assert!(
        events.body["data"]
            .as_array()
            .unwrap()
            .iter()
            .any(|event| { event["type"] == "signer.ready" && event["data"]["signer_id"] == manager }),
        "{}",
        events.text
    );
    assert!(daemon.look(&first).await.text.contains("You have signed"));
    assert!(location(&daemon.click(&second).await).contains("/Signing/MTRedeem/"));
    daemon.act(1, "sign", &json!({})).await;
    daemon.run_clock("the end", async || daemon.get(&path).await.body["status"] == "completed").await;
    for link in [&first, &second] {
        assert!(daemon.look(link).await.text.contains("Everyone has signed"));
    }
    let certificate = daemon.get(&format!("{path}/documents/certificate")).await;
    assert!(certificate.status == StatusCode::OK);
    daemon.broke_no_rule().await;
}

/// The sender corrects the envelope at DocuSign.
async fn take_off_the_second(daemon: &TestDaemon, made: &Reply) {
    let token = daemon.parts().auth.token("system").await.unwrap();
    let bearer = token.header().to_str().unwrap().trim_start_matches("Bearer ").to_owned();
    let (ready, envelope) = (daemon.emulator.ready(), made.body["provider"]["envelope_id"].as_str().unwrap());
    let account = format!("{}/restapi/v2.1/accounts/{}", ready.base_url, ready.account_id);
    let recipient = format!("{account}/envelopes/{envelope}/recipients/2");
    let gone = daemon.call(Method::DELETE, &recipient, Some(&bearer), &[], Vec::new()).await;
    assert!(gone.status.is_success(), "{}", gone.text);
}

/// The sender takes the second one off the envelope at DocuSign, and the first one's signature completes it.
#[tokio::test]
async fn f1_whoever_was_taken_off_the_envelope_has_not_signed() {
    let daemon = TestDaemon::builder().public().start().await;
    let made = daemon.create("order-1", &in_turn()).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    take_off_the_second(&daemon, &made).await;
    daemon.act(0, "sign", &json!({})).await;
    let path = format!("/v1/signings/{}", made.id());
    daemon.until("the end", async || daemon.get(&path).await.body["status"] == "completed").await;
    // Nobody waits for who is gone.
    let read = daemon.get(&format!("{path}/wait?timeout=20")).await;
    let stands = [0, 1].map(|signer: usize| read.body["signers"][signer]["status"].clone());
    // It would have been their turn.
    assert_eq!(stands, ["signed", "ready"], "{}", read.text);
    let events = daemon.get("/v1/events?limit=100").await;
    let told = events.body["data"].as_array().unwrap();
    let signed: Vec<_> = told.iter().filter(|event| event["type"] == "signer.signed").collect();
    assert_eq!(signed.len(), 1, "{}", events.text);
    assert_eq!(signed[0]["data"]["signer_id"], made.signer());
    assert_eq!(
        daemon.click(&link_of(&made, 1)).await.status,
        StatusCode::CONFLICT,
        "there is nothing to sign"
    );
}

/// All that comes through of it is the word of the account's own configuration, which leaves the recipients out.
#[tokio::test]
async fn f1_who_has_signed_is_looked_up_if_a_completion_does_not_say() {
    let daemon = TestDaemon::builder().public().start().await;
    let made = daemon.create("order-1", &in_turn()).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    take_off_the_second(&daemon, &made).await;
    daemon.fault(&json!({"fault": "event_bad_signature"})).await;
    daemon.act(0, "sign", &json!({})).await;
    daemon.forget_requests().await;
    tell_of_the_end(&daemon, &made, daemon.clock.now()).await;
    let path = format!("/v1/signings/{}", made.id());
    daemon.run_clock("the end", async || daemon.get(&path).await.body["status"] == "completed").await;
    let read = daemon.get(&path).await;
    let stands = [0, 1].map(|signer: usize| read.body["signers"][signer]["status"].clone());
    // By one answer: their turn never came.
    assert_eq!(stands, ["signed", "waiting"], "{}", read.text);
    let asked = daemon.requests().await;
    assert_eq!(asked.iter().filter(|line| line.starts_with("GET /restapi")).count(), 1, "{asked:?}");
}

/// An account's own configuration tells that the envelope is completed, and lists no recipients.
async fn tell_of_the_end(daemon: &TestDaemon, made: &Reply, generated_at: Timestamp) {
    let message = json!({"event": "envelope-completed", "generatedDateTime": generated_at.to_string(),
        "data": {"envelopeId": made.body["provider"]["envelope_id"]}});
    let body = serde_json::to_vec(&message).unwrap();
    let (url, digest) =
        (format!("{}/in/docusign/events", daemon.public.as_ref().unwrap()), digest(daemon, &body));
    assert_eq!(push(daemon, &url, &[("x-docusign-signature-1", &digest)], body).await, StatusCode::OK);
}

/// Two configurations tell of it without the recipients. For the first DocuSign is asked who has signed, and takes its
/// time to say so.
#[tokio::test]
async fn f1_a_check_that_is_under_way_tells_who_has_signed_before_a_completion_does() {
    let daemon = TestDaemon::builder().public().start().await;
    let made = daemon.create("order-1", &in_turn()).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    take_off_the_second(&daemon, &made).await;
    daemon.fault(&json!({"fault": "event_bad_signature"})).await;
    daemon.act(0, "sign", &json!({})).await;
    daemon.fault(&json!({"fault": "delay", "method": "GET", "path": "/envelopes", "delay_ms": 1_000})).await;
    daemon.forget_requests().await;
    for second in [0, 1] {
        let generated_at = daemon.clock.now() + SignedDuration::from_secs(second);
        tell_of_the_end(&daemon, &made, generated_at).await;
    }
    let asked = async || daemon.requests().await.iter().any(|line| line.starts_with("GET /restapi"));
    daemon.run_clock_slowly("the question", asked).await;
    // Longer than a list would be waited for once more.
    daemon.clock.advance(Duration::from_secs(6));
    let path = format!("/v1/signings/{}", made.id());
    daemon.until("the end", async || daemon.get(&path).await.body["status"] == "completed").await;
    let read = daemon.get(&path).await;
    let stands = [0, 1].map(|signer: usize| read.body["signers"][signer]["status"].clone());
    // By one answer: their turn never came.
    assert_eq!(stands, ["signed", "waiting"], "{}", read.text);
    let asked = daemon.requests().await;
    assert_eq!(asked.iter().filter(|line| line.starts_with("GET /restapi")).count(), 1, "{asked:?}");
}

/// A template may bring somebody who signs first and is none of our signers: by all that we know it is our signer's
/// turn, and only DocuSign knows better. Here it does because our record is ahead of it.
#[tokio::test]
async fn a_turn_that_docusign_denies_is_a_page_and_no_outage() {
    let daemon = TestDaemon::builder().public().start().await;
    let made = daemon.create("order-1", &in_turn()).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    let id = made.id().parse().unwrap();
    let work = daemon.record(id).await.work;
    daemon.rewrite(id, work, |signing| signing.signers[1].status = SignerStatus::Ready).await;
    let link = link_of(&made, 1);
    assert!(daemon.look(&link).await.text.contains("ready to sign"));
    let asked =
        async || daemon.requests().await.iter().filter(|line| line.contains("/views/recipient")).count();
    daemon.forget_requests().await;
    // More than open the circuit when nobody answers.
    for _ in 0..6 {
        let early = daemon.click(&link).await;
        assert_eq!(early.status, StatusCode::CONFLICT, "{}", early.text);
        assert!(
            early.text.contains("not your turn") && early.text.contains("content=\"60\""),
            "{}",
            early.text
        );
    }
    daemon.pass(Duration::from_secs(2), 30).await;
    assert_eq!(asked().await, 6, "once a click, and never by itself");
    let ready = daemon.ops("/readyz").await.body;
    let reasons = ready["reasons"].as_array().cloned().unwrap_or_default();
    assert!(!reasons.iter().any(|reason| reason["part"] == "upstream"), "{ready}");
    let rejected = daemon.metric("countersign_view_mints_total", &["result=\"rejected\""]).await;
    assert!(rejected > 5.5, "{rejected}");

    let signer = made.body["signers"][1]["id"].as_str().unwrap();
    let views = format!("/v1/signings/{}/signers/{signer}/views", made.id());
    let refused = daemon.post(&views, &json!({})).await;
    assert_eq!(
        (refused.status, refused.code()),
        (StatusCode::CONFLICT, "signer_not_ready"),
        "{}",
        refused.text
    );
    daemon.act(0, "sign", &json!({})).await;
    assert!(location(&daemon.click(&link).await).contains("/Signing/MTRedeem/"), "and then it is");
}

/// A signing whose second signer is ready by our record and not by DocuSign's, with its path and that signer's link.
async fn second_seems_ready(daemon: &TestDaemon) -> (Reply, String, String) {
    let made = daemon.create("order-1", &in_turn()).await;
    let id = made.id().parse().unwrap();
    let work = daemon.record(id).await.work;
    daemon.rewrite(id, work, |signing| signing.signers[1].status = SignerStatus::Ready).await;
    let (path, link) = (format!("/v1/signings/{}", made.id()), link_of(&made, 1));
    (made, path, link)
}

#[tokio::test]
async fn f1_whoever_docusign_denies_their_turn_is_told_of_as_waiting_until_it_says_otherwise() {
    let daemon = TestDaemon::builder().public().start().await;
    let (_, path, link) = second_seems_ready(&daemon).await;
    let stands = async || daemon.get(&path).await.body["signers"][1]["status"].clone();
    assert_eq!(stands().await, "ready");
    assert_eq!(daemon.click(&link).await.status, StatusCode::CONFLICT);
    assert_eq!(stands().await, "waiting");
    let page = daemon.look(&link).await.text;
    assert!(page.contains("not your turn") && page.contains("<form method=\"post\">"), "{page}");
    assert_eq!(daemon.look(&format!("{link}/facts")).await.body["signer_status"], "waiting");
    assert_eq!(daemon.click(&link).await.status, StatusCode::CONFLICT);
    let told = daemon.get(&format!("{path}/timeline")).await.text;
    assert_eq!(told.matches("turn_denied").count(), 1, "{told}");
    daemon.act(0, "sign", &json!({})).await;
    daemon.run_clock("the second's turn", async || stands().await == "ready").await;
    assert!(daemon.look(&link).await.text.contains("ready to sign"));
}

/// By our own order it is the second's turn; DocuSign denies it, and says a moment later that it is: what it says may be
/// taken in before the denial is written down.
#[tokio::test]
async fn f1_a_denial_that_the_event_of_their_turn_has_overtaken_makes_nobody_wait() {
    let daemon = TestDaemon::builder().public().start().await;
    let (made, path, link) = second_seems_ready(&daemon).await;
    let id = made.id().parse().unwrap();
    let stands = async || daemon.get(&path).await.body["signers"][1]["status"].clone();
    let message = json!({"event": "recipient-sent", "generatedDateTime": daemon.clock.now().to_string(),
        "data": {"envelopeId": made.body["provider"]["envelope_id"], "recipientId": "2"}});
    let body = serde_json::to_vec(&message).unwrap();
    let (url, digest) =
        (format!("{}/in/docusign/events", daemon.public.as_ref().unwrap()), digest(&daemon, &body));
    assert_eq!(push(&daemon, &url, &[("x-docusign-signature-1", &digest)], body).await, StatusCode::OK);
    let is_known =
        async || daemon.record(id).await.signing.signers[1].upstream.turn_at == Some(daemon.clock.now());
    daemon.until("the word", is_known).await;
    assert_eq!(daemon.click(&link).await.status, StatusCode::CONFLICT);
    assert_eq!(stands().await, "ready");
    assert!(!daemon.get(&format!("{path}/timeline")).await.text.contains("turn_denied"));
    // What DocuSign denies long after is so.
    daemon.clock.advance(Duration::from_secs(120));
    assert_eq!(daemon.click(&link).await.status, StatusCode::CONFLICT);
    assert_eq!(stands().await, "waiting");
}

/// A template whose own first recipient signs before the role that we fill.
async fn signed_by_another_first(daemon: &TestDaemon) -> Value {
    let token = daemon.parts().auth.token("system").await.unwrap();
    let bearer = token.header().to_str().unwrap().trim_start_matches("Bearer ").to_owned();
    let ready = daemon.emulator.ready();
    let url = format!("{}/restapi/v2.1/accounts/{}/templates", ready.base_url, ready.account_id);
    let contract = base64_of(&contract());
    let template = json!({ "name": "Approved first", "emailSubject": "Please sign",
        "documents": [{ "documentId": "1", "name": "a.pdf", "fileExtension": "pdf", "documentBase64": contract }],
        "recipients": { "signers": [
            { "recipientId": "1", "routingOrder": "1", "name": "Grace Hopper", "email": "grace@example.com" },
            { "recipientId": "2", "routingOrder": "2", "roleName": "Client" },
        ] } });
    let headers = [("content-type", "application/json")];
    let body = serde_json::to_vec(&template).unwrap();
    let made = daemon.call(Method::POST, &url, Some(&bearer), &headers, body).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    made.body["templateId"].clone()
}

#[tokio::test]
async fn f1_a_create_whose_view_is_denied_makes_nobody_ready() {
    let daemon = TestDaemon::builder().public().start().await;
    let template = signed_by_another_first(&daemon).await;
    let mut order = order();
    order["documents"] = json!([{ "template": template }]);
    order["signers"][0].as_object_mut().unwrap().remove("sms_auth");
    order["signers"][0]["order"] = json!(2);
    let made = daemon.create("order-1", &order).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    let signer = &made.body["signers"][0];
    assert_eq!((&signer["status"], &signer["view"]), (&json!("waiting"), &Value::Null), "{}", made.text);
    let events = daemon.get("/v1/events").await;
    assert!(!events.text.contains("signer.ready"), "{}", events.text);
    daemon.act(0, "sign", &json!({})).await;
    let path = format!("/v1/signings/{}", made.id());
    let stands = async || daemon.get(&path).await.body["signers"][0]["status"].clone();
    daemon.run_clock("our signer's turn", async || stands().await == "ready").await;
    assert!(location(&daemon.click(&link_of(&made, 0)).await).contains("/Signing/MTRedeem/"));
}
