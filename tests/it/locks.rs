//! Signers who are locked by a failed identity check, and how the lock is lifted.

use std::time::Duration;

use http::{Method, StatusCode, header};
use serde_json::{Value, json};

use crate::{
    harness::{Reply, TestDaemon, order},
    visitors::{link_of, location, location_of, unopened},
};

/// The emulator's template with two roles, Client and Manager, one after the other.
const TWO_ROLES: &str = "c1a55e00-7e3d-4b1a-9f00-5e1f7e3a0002";
const AT_DOCUSIGN: [(&str, &str); 1] = [("content-type", "application/x-www-form-urlencoded")];

/// The manager is named first, so that our numbers are not those of the template.
fn two_roles() -> Value {
    let mut order = order();
    order["view"] = json!(false);
    order["documents"] = json!([{ "template": TWO_ROLES }]);
    order["signers"][0]["order"] = json!(1);
    let manager = json!({ "key": "manager", "name": "Charles Babbage", "email": "charles@example.com",
        "role": "Manager", "order": 2, "return_url": "https://www.example.com/done" });
    order["signers"].as_array_mut().unwrap().insert(0, manager);
    order
}

impl TestDaemon {
    async fn status_of(&self, made: &Reply, signer: usize) -> Value {
        let read = self.get(&format!("/v1/signings/{}", made.id())).await;
        read.body["signers"][signer]["status"].clone()
    }

    async fn until_status(&self, made: &Reply, signer: usize, status: &str) {
        self.run_clock(status, async || self.status_of(made, signer).await == status).await;
    }
}

fn of_signer(made: &Reply, signer: usize, what: &str) -> String {
    let id = made.body["signers"][signer]["id"].as_str().unwrap();
    format!("/v1/signings/{}/signers/{id}/{what}", made.id())
}

#[tokio::test]
async fn a_locked_signer_gets_another_number_and_nobody_else_does() {
    let daemon = TestDaemon::builder().public().start().await;
    let made = daemon.create("order-1", &two_roles()).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    let (visitor, link) = (1, link_of(&made, 1));
    assert_eq!(daemon.click(&link).await.status, StatusCode::SEE_OTHER);
    assert_eq!(daemon.recipient(0).await["has_phone_check"], true, "the template's first is the visitor");
    daemon.act(0, "fail_otp", &json!({})).await;
    daemon.until_status(&made, visitor, "auth_failed").await;
    assert_eq!(daemon.click(&link).await.status, StatusCode::FORBIDDEN);

    let path = of_signer(&made, visitor, "phone");
    let unknown = daemon.post(&path, &json!({"phone": "+4915187654321", "name": "Ada"})).await;
    assert_eq!((unknown.status.as_u16(), unknown.code()), (400, "unknown_field"), "{}", unknown.text);
    let bad = daemon.post(&path, &json!({"phone": "0151"})).await;
    assert_eq!((bad.code(), &bad.body["errors"][0]["pointer"]), ("phone_invalid", &json!("/phone")));
    assert!(!bad.text.contains("0151"));
    let body = json!({"phone": "+4915187654321"});
    let foreign = daemon.as_stranger(Method::POST, &path, &body).await;
    assert_eq!(foreign.status, StatusCode::NOT_FOUND);
    let reset = daemon.post(&path, &body).await;
    assert_eq!(reset.status, StatusCode::OK, "{}", reset.text);
    assert_eq!(reset.body["signers"][visitor]["status"], "ready");
    assert!(!reset.text.contains("87654321"));
    assert_eq!(daemon.recipient(0).await["is_locked"], false);
    assert_eq!(daemon.recipient(1).await["has_phone_check"], false, "the manager is asked for no code");

    assert!(location(&daemon.click(&link).await).contains("/Signing/MTRedeem/"));
    daemon.act(0, "sign", &json!({})).await;
    let outbox = daemon.control(Method::GET, "outbox", &Value::Null).await;
    let last = outbox["messages"].as_array().unwrap().last().unwrap()["to"].to_string();
    assert!(last.contains("87654321"), "{last}");
    daemon.until_status(&made, visitor, "signed").await;
    daemon.until_status(&made, 0, "ready").await;
    let timeline = daemon.get(&format!("/v1/signings/{}/timeline", made.id())).await;
    let moments = timeline.body["data"].as_array().unwrap();
    let reset = moments.iter().find(|moment| moment["what"] == "authentication_reset").unwrap();
    assert!(reset["trace"].is_string() && reset["signer"] == "visitor", "{reset}");
    daemon.broke_no_rule().await;
}

#[tokio::test]
async fn old_news_does_not_lock_a_signer_again_and_new_failures_do() {
    let daemon = TestDaemon::builder().public().start().await;
    let made = daemon.create("order-1", &unopened()).await;
    assert_eq!(daemon.click(&link_of(&made, 0)).await.status, StatusCode::SEE_OTHER);
    // The event stays away for an hour: the failure is known by asking.
    daemon.fault(&json!({"fault": "event_delay", "delay_ms": 3_600_000, "count": 1})).await;
    daemon.act(0, "fail_otp", &json!({})).await;
    let refresh = format!("/v1/signings/{}/refresh", made.id());
    let read = daemon.post(&refresh, &json!({})).await;
    assert_eq!(read.body["signers"][0]["status"], "auth_failed", "{}", read.text);
    daemon.live_through(Duration::from_secs(60)).await;
    let path = of_signer(&made, 0, "phone");
    let reset = daemon.post(&path, &json!({"phone": "+4915187654321"})).await;
    assert_eq!(reset.body["signers"][0]["status"], "ready", "{}", reset.text);

    daemon.live_through(Duration::from_secs(16 * 60)).await;
    let read = daemon.post(&refresh, &json!({})).await;
    assert_eq!(read.status, StatusCode::OK, "{}", read.text);
    assert_eq!(read.body["signers"][0]["status"], "ready", "DocuSign still tells the old result");
    let messages =
        async || daemon.metric("countersign_connect_deliveries_total", &["result=\"accepted\""]).await;
    let before = messages().await;
    daemon.clock.advance(Duration::from_secs(3_600));
    daemon.run_clock("the late event", async || messages().await > before).await;
    for _ in 0..20 {
        daemon.clock.advance(Duration::from_secs(1));
        assert_eq!(daemon.status_of(&made, 0).await, "ready", "the first delivery comes late");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }

    // The new number fails, too.
    assert_eq!(daemon.click(&link_of(&made, 0)).await.status, StatusCode::SEE_OTHER);
    daemon.act(0, "fail_otp", &json!({})).await;
    daemon.until_status(&made, 0, "auth_failed").await;
}

#[tokio::test]
async fn a_wrong_access_code_locks_and_another_one_unlocks() {
    let daemon = TestDaemon::builder().public().start().await;
    let mut order = unopened();
    order["signers"][0]["sms_auth"] = Value::Null;
    order["signers"][0]["access_code"] = json!("Turing-1936");
    let made = daemon.create("order-1", &order).await;
    let link = link_of(&made, 0);
    let type_in = async |code: &str| {
        let session = location_of(&daemon, &location(&daemon.click(&link).await)).await;
        let mut last = daemon.look(&session).await;
        for _ in 0..3 {
            let form = format!("action=access_code&access_code={code}").into_bytes();
            last = daemon.call(Method::POST, &session, None, &AT_DOCUSIGN, form).await;
        }
        last
    };
    let back = type_in("wrong").await.headers[header::LOCATION].to_str().unwrap().to_owned();
    assert!(back.contains("event=access_code_failed"), "{back}");
    daemon.look(&back).await;
    daemon.until_status(&made, 0, "auth_failed").await;

    let path = of_signer(&made, 0, "access_code");
    for wrong in [json!({}), json!({"access_code": ""}), json!({"access_code": "<b>"}), json!({"code": "x"})]
    {
        let refused = daemon.post(&path, &wrong).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{wrong}");
    }
    daemon.clock.advance(Duration::from_secs(60));
    let reset = daemon.post(&path, &json!({"access_code": "Lovelace-1843"})).await;
    assert_eq!(reset.status, StatusCode::OK, "{}", reset.text);
    assert_eq!(reset.body["signers"][0]["status"], "ready");
    assert!(!reset.text.contains("Lovelace-1843"));
    let session = location_of(&daemon, &location(&daemon.click(&link).await)).await;
    let form = b"action=access_code&access_code=Lovelace-1843".to_vec();
    let let_in = daemon.call(Method::POST, &session, None, &AT_DOCUSIGN, form).await;
    assert!(let_in.status.is_redirection(), "{}", let_in.text);
    let page = daemon.look(&session).await;
    assert!(page.status == StatusCode::OK && !page.text.contains("access_code"), "{}", page.text);
    daemon.act(0, "sign", &json!({})).await;
    daemon.until_status(&made, 0, "signed").await;
    let phone = daemon.post(&of_signer(&made, 0, "phone"), &json!({"phone": "+4915187654321"})).await;
    assert_eq!(phone.code(), "signer_not_ready");
}

#[tokio::test]
async fn whoever_is_unlocked_at_docusigns_own_console_is_unlocked_here() {
    let daemon = TestDaemon::builder().public().start().await;
    let made = daemon.create("order-1", &unopened()).await;
    assert_eq!(daemon.click(&link_of(&made, 0)).await.status, StatusCode::SEE_OTHER);
    daemon.act(0, "fail_otp", &json!({})).await;
    daemon.until_status(&made, 0, "auth_failed").await;
    daemon.clock.advance(Duration::from_secs(60));
    let envelope = made.body["provider"]["envelope_id"].as_str().unwrap();
    let account = made.body["provider"]["account_id"].as_str().unwrap();
    let token = daemon.parts().auth.token("system").await.unwrap();
    let bearer = token.header().to_str().unwrap().to_owned();
    let url = format!(
        "{}/restapi/v2.1/accounts/{account}/envelopes/{envelope}?resend_envelope=true",
        daemon.emulator.ready().base_url
    );
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    let resent = daemon.call(Method::PUT, &url, None, &headers, b"{}".to_vec()).await;
    assert_eq!(resent.status, StatusCode::OK, "{}", resent.text);
    daemon.until_status(&made, 0, "ready").await;
    assert_eq!(daemon.click(&link_of(&made, 0)).await.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn a_correction_that_docusign_did_not_take_is_repeated_at_once() {
    let daemon = TestDaemon::builder().public().start().await;
    let made = daemon.create("order-1", &two_roles()).await;
    daemon.fault(&json!({"fault": "status", "status": 503, "method": "PUT", "count": 1})).await;
    let (path, body) = (of_signer(&made, 1, "phone"), json!({"phone": "+4915187654321"}));
    let failed = daemon.post(&path, &body).await;
    assert_eq!(failed.status, StatusCode::SERVICE_UNAVAILABLE, "{}", failed.text);
    let again = daemon.post(&path, &body).await;
    assert_eq!(again.status, StatusCode::OK, "whose recipient it is was read already: {}", again.text);
    let manager = daemon.post(&of_signer(&made, 0, "phone"), &body).await;
    assert_eq!(manager.code(), "signer_not_ready", "no check by SMS: {}", manager.text);
    // His was in the same answer, and there is no other for 15 minutes.
    daemon.forget_requests().await;
    let code = daemon.post(&of_signer(&made, 0, "access_code"), &json!({"access_code": "Turing-1936"})).await;
    assert_eq!(code.status, StatusCode::OK, "{}", code.text);
    let asked = daemon.requests().await;
    assert!(!asked.iter().any(|line| line.starts_with("GET") && line.ends_with("/recipients")), "{asked:?}");
    daemon.broke_no_rule().await;
}
