//! Visitors: what a link, a return and a frame do over real sockets, and what they must never do.

mod leases;
mod line;
mod strangers;
mod turns;

use std::time::Duration;

use http::{Method, StatusCode, header};
use serde_json::{Value, json};

use crate::harness::{Reply, TestDaemon, order};

const CLICK: [(&str, &str); 1] = [("sec-fetch-site", "same-origin")];

/// An order with links alone.
pub(crate) fn unopened() -> Value {
    let mut order = order();
    order["view"] = json!(false);
    order
}

/// An order with two signers, one after the other.
pub(crate) fn in_turn() -> Value {
    let mut order = unopened();
    order["documents"] = json!([{ "name": "Contract.pdf",
        "content_base64": std::str::from_utf8(&crate::esign::pdf()).unwrap(),
        "anchors": { "sign": { "visitor": "/sn1/", "manager": "/co1/" } } }]);
    order["signers"] = json!([
        { "key": "visitor", "name": "Ada Lovelace", "email": "ada@example.com", "order": 1,
          "return_url": "https://www.example.com/done" },
        { "key": "manager", "name": "Charles Babbage", "email": "charles@example.com", "order": 2,
          "return_url": "https://www.example.com/done" },
    ]);
    order
}

pub(crate) fn link_of(made: &Reply, signer: usize) -> String {
    made.body["signers"][signer]["link"]["url"].as_str().unwrap().to_owned()
}

pub(crate) fn location(reply: &Reply) -> String {
    assert_eq!(reply.status, StatusCode::SEE_OTHER, "{}", reply.text);
    reply.headers[header::LOCATION].to_str().unwrap().to_owned()
}

/// Where the emulator sends a browser that opens this address.
pub(crate) async fn location_of(daemon: &TestDaemon, url: &str) -> String {
    let opened = daemon.look(url).await;
    assert!(opened.status.is_redirection(), "{}", opened.text);
    let to = opened.headers[header::LOCATION].to_str().unwrap().to_owned();
    if to.starts_with('/') { format!("{}{to}", daemon.emulator.ready().base_url) } else { to }
}

impl TestDaemon {
    pub(crate) async fn look(&self, url: &str) -> Reply {
        self.call(Method::GET, url, None, &[], Vec::new()).await
    }

    pub(crate) async fn click(&self, url: &str) -> Reply {
        self.call(Method::POST, url, None, &CLICK, Vec::new()).await
    }

    /// What the emulator says of a signer.
    pub(crate) async fn recipient(&self, client_user_id_at: usize) -> Value {
        let signers = self.control(Method::GET, "signers", &Value::Null).await;
        signers["signers"][client_user_id_at].clone()
    }

    pub(crate) async fn act(&self, signer: usize, action: &str, given: &Value) -> Value {
        let id = self.recipient(signer).await["id"].as_str().unwrap().to_owned();
        self.control(Method::POST, &format!("signers/{id}/{action}"), given).await
    }

    pub(crate) async fn broke_no_rule(&self) {
        let rules = self.control(Method::GET, "rules", &Value::Null).await;
        assert_eq!(rules["rules"].as_array().map(Vec::len), Some(0), "{rules}");
    }
}

#[tokio::test]
async fn l1_a_day_of_link_scanners_mints_nothing() {
    let daemon = TestDaemon::builder().public().start().await;
    let made = daemon.create("order-1", &unopened()).await;
    let link = link_of(&made, 0);
    daemon.forget_requests().await;
    let mut at = 0;
    let lines = include_str!("../../fixtures/scanners.jsonl").lines().skip(1);
    let day: Vec<Value> = lines.map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(day.len() > 60);
    for visit in &day {
        let next = visit["at"].as_u64().unwrap();
        daemon.clock.advance(Duration::from_secs(next - at));
        at = next;
        let method: Method = visit["method"].as_str().unwrap().parse().unwrap();
        let headers = visit["headers"].as_object().unwrap();
        let headers: Vec<_> =
            headers.iter().map(|(name, value)| (name.as_str(), value.as_str().unwrap())).collect();
        let seen = daemon.call(method.clone(), &link, None, &headers, Vec::new()).await;
        let expected =
            if method == Method::OPTIONS { StatusCode::METHOD_NOT_ALLOWED } else { StatusCode::OK };
        assert_eq!(seen.status, expected, "{visit}");
    }
    let sent = daemon.requests().await;
    assert!(!sent.iter().any(|line| line.contains("/views/")), "{sent:?}");
    let metrics = daemon.ops("/metrics").await.text;
    assert!(
        !metrics
            .lines()
            .any(|line| line.starts_with("countersign_view_mints_total") && !line.ends_with(" 0"))
    );
    let read = daemon.get(&format!("/v1/signings/{}", made.id())).await;
    assert_eq!(
        (read.body["sequence"].clone(), &read.body["status"]),
        (made.body["sequence"].clone(), &json!("open"))
    );
    assert_eq!(daemon.click(&link).await.status, StatusCode::SEE_OTHER, "and then the visitor comes");
}

#[tokio::test]
async fn who_clicks_for_an_envelope_that_is_not_there_is_sent_for_a_new_link() {
    let daemon = TestDaemon::builder().public().start().await;
    let made = daemon.create("order-1", &unopened()).await;
    // As from an emulator that was started anew, and has forgotten it.
    let forgotten = json!({"fault": "status", "status": 404, "method": "POST", "path": "/views/recipient"});
    daemon.fault(&forgotten).await;
    let clicked = daemon.click(&link_of(&made, 0)).await;
    assert_eq!(clicked.status, StatusCode::GONE, "{}", clicked.text);
    assert!(clicked.text.contains("ask whoever sent it to you for a new one"), "{}", clicked.text);
    assert!(!clicked.text.contains("stays valid"), "{}", clicked.text);
    let signer = made.body["signers"][0]["id"].as_str().unwrap();
    let view = daemon.post(&format!("/v1/signings/{}/signers/{signer}/views", made.id()), &json!({})).await;
    assert_eq!((view.status, &view.body["code"]), (StatusCode::NOT_FOUND, &json!("not_found")));
    let fix = view.body["fix"].as_str().unwrap();
    assert!(fix.contains("An emulator that was started anew") && fix.contains("make a new signing"), "{fix}");
}

#[tokio::test]
async fn a_revoked_link_takes_everything_with_it_that_hangs_on_it() {
    let daemon = TestDaemon::builder().public().start().await;
    let made = daemon.create("order-1", &unopened()).await;
    let (link, id) = (link_of(&made, 0), made.body["signers"][0]["link"]["id"].as_str().unwrap().to_owned());
    assert_eq!(daemon.click(&link).await.status, StatusCode::SEE_OTHER);
    let later = daemon.act(0, "finish_later", &json!({})).await;
    let back = later["redirect_url"].as_str().unwrap().to_owned();
    let resume = daemon.look(&back).await;
    assert!(resume.text.contains("<form method=\"post\">"), "the way back, before");
    let nonce = back.split('?').next().unwrap().to_owned();

    let revoked = daemon
        .call(
            Method::DELETE,
            &format!("{}/v1/links/{id}", daemon.api),
            Some(crate::harness::CALLER_KEY),
            &[],
            Vec::new(),
        )
        .await;
    assert_eq!(revoked.status, StatusCode::NO_CONTENT);
    daemon.forget_requests().await;
    for (what, reply) in [
        ("the link", daemon.look(&link).await),
        ("its button", daemon.click(&link).await),
        ("the way back", daemon.click(&nonce).await),
    ] {
        assert_eq!(reply.status, StatusCode::GONE, "{what}: {}", reply.text);
        assert!(reply.text.contains("no longer valid"), "{what}");
    }
    let page = daemon.look(&back.replace("event=cancel", "event=ttl_expired")).await;
    assert!(page.text.contains("no longer valid") && !page.text.contains("<form"), "{}", page.text);
    assert!(page.text.contains("href=\"https://www.example.com/done"), "back to the site is open");
    let facts = daemon.look(&format!("{link}/facts")).await;
    assert_eq!((facts.status, &facts.body["status"]), (StatusCode::GONE, &json!("link_revoked")));
    let ticket = daemon.post(&format!("/v1/links/{id}/tickets"), &json!({})).await;
    assert_eq!((ticket.status, ticket.code()), (StatusCode::GONE, "link_revoked"));
    assert!(!daemon.requests().await.iter().any(|line| line.contains("/views/")), "nothing was minted");

    // A new link of the same signer works, and so does what the caller asks for by itself.
    let path = format!("/v1/signings/{}/signers/{}", made.id(), made.signer());
    let fresh = daemon.post(&format!("{path}/links"), &json!({})).await;
    assert_eq!(daemon.click(fresh.body["url"].as_str().unwrap()).await.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn a_link_may_end_sooner_than_its_signing() {
    let daemon = TestDaemon::builder().public().start().await;
    let mut order = unopened();
    order["expires_in"] = json!("21d");
    let made = daemon.create("order-1", &order).await;
    let path = format!("/v1/signings/{}/signers/{}/links", made.id(), made.signer());
    let short = daemon.post(&path, &json!({"expires_in": "2h"})).await;
    assert_eq!(short.body["expires_at"], "2026-06-01T14:00:00Z", "{}", short.text);
    let long = daemon.post(&path, &json!({"expires_in": "300d"})).await;
    assert_eq!(long.body["expires_at"], made.body["expires_at"], "never longer than the signing");
    for wrong in [json!({"expires_in": "soon"}), json!({"expires_in": 5}), json!({"life": "2h"}), json!([])] {
        assert_eq!(daemon.post(&path, &wrong).await.status, StatusCode::BAD_REQUEST, "{wrong}");
    }
    let url = short.body["url"].as_str().unwrap();
    assert_eq!(daemon.look(url).await.status, StatusCode::OK);
    daemon.clock.advance(Duration::from_secs(2 * 3_600));
    let over = daemon.click(url).await;
    assert!(over.status == StatusCode::GONE && over.text.contains("has expired"), "{}", over.text);
    assert_eq!(daemon.look(&link_of(&made, 0)).await.status, StatusCode::OK, "the other one goes on");
}

#[tokio::test]
async fn a_form_of_the_site_leads_straight_to_signing_with_a_ticket_once() {
    let daemon = TestDaemon::builder().public().start().await;
    let made = daemon.create("order-1", &unopened()).await;
    let (link, id) = (link_of(&made, 0), made.body["signers"][0]["link"]["id"].as_str().unwrap().to_owned());
    let ticket = daemon.post(&format!("/v1/links/{id}/tickets"), &json!({})).await;
    assert_eq!(ticket.status, StatusCode::CREATED, "{}", ticket.text);
    assert_eq!(ticket.body["expires_at"], "2026-06-01T12:01:00Z");
    let form = format!("ticket={}", ticket.body["ticket"].as_str().unwrap());
    let foreign = [("sec-fetch-site", "cross-site"), ("content-type", "application/x-www-form-urlencoded")];
    let direct = async || daemon.call(Method::POST, &link, None, &foreign, form.clone().into_bytes()).await;
    assert!(location(&direct().await).contains("/Signing/MTRedeem/"));
    let again = direct().await;
    assert!(again.status == StatusCode::FORBIDDEN, "{}", again.status);
    let stranger = daemon.as_stranger(Method::POST, &format!("/v1/links/{id}/tickets"), &json!({})).await;
    assert_eq!(stranger.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn the_senders_brand_goes_with_the_envelope() {
    const BRAND: &str = "7c1d4e90-3a5b-4d2f-8e61-0b9f2a6c5001";
    let daemon = TestDaemon::builder().public().sender(&format!("brand = \"{BRAND}\"")).start().await;
    assert_eq!(daemon.emulator.ready().brand_id, BRAND);
    let made = daemon.create("order-1", &order()).await;
    let view = made.body["signers"][0]["view"]["url"].as_str().unwrap();
    let page = daemon.look(&location_of(&daemon, view).await).await;
    assert!(page.text.contains("Emulated Brand"), "{}", page.text);

    let other = "brand = \"7c1d4e90-3a5b-4d2f-8e61-0b9f2a6c5999\"";
    let daemon = TestDaemon::builder().sender(other).start().await;
    let refused = daemon.create("order-1", &order()).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", refused.text);
}

#[tokio::test]
async fn a_site_that_frames_the_signing_pages_is_named_with_docusigns_own_frame() {
    let daemon = TestDaemon::builder().public().start().await;
    let mut order = order();
    order["frame_ancestors"] = json!(["https://www.example.com"]);
    let made = daemon.create("order-1", &order).await;
    let view = made.body["signers"][0]["view"]["url"].as_str().unwrap_or_else(|| panic!("{}", made.text));
    let page = daemon.look(&location_of(&daemon, view).await).await;
    let policies = page.headers.get_all(header::CONTENT_SECURITY_POLICY).iter();
    let policy = policies.map(|policy| policy.to_str().unwrap()).collect::<Vec<_>>().join("; ");
    assert!(
        policy.contains("https://www.example.com") && policy.contains("https://apps-d.docusign.com"),
        "{policy}"
    );
    let ours = daemon.look(&link_of(&made, 0)).await;
    let policy = ours.headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
    assert!(policy.ends_with("frame-ancestors https://www.example.com"), "{policy}");
}

#[tokio::test]
async fn the_facts_of_a_link_are_for_the_pages_that_were_named_and_change_nothing() {
    let daemon = TestDaemon::builder().public().start().await;
    let mut order = unopened();
    order["frame_ancestors"] = json!(["https://shop.example.com"]);
    let made = daemon.create("order-1", &order).await;
    let facts = format!("{}/facts", link_of(&made, 0));
    daemon.forget_requests().await;
    for (origin, may) in [
        ("https://shop.example.com", true),
        ("https://www.example.com", true),
        ("https://evil.example", false),
        ("null", false),
    ] {
        let read = daemon.call(Method::GET, &facts, None, &[("origin", origin)], Vec::new()).await;
        assert_eq!(read.headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN), may, "{origin}");
        assert!(!read.headers.contains_key(header::ACCESS_CONTROL_ALLOW_CREDENTIALS));
        assert_eq!((&read.body["status"], &read.body["claim"]), (&json!("ready"), &Value::Null));
        assert!(!read.text.contains("Ada") && !read.text.contains("example.com/done"), "{}", read.text);
    }
    assert_eq!(daemon.requests().await.len(), 0);
    let unknown = daemon.look(&facts.replace("/facts", "A/facts")).await;
    assert_eq!(unknown.status, StatusCode::NOT_FOUND);

    // What the browser claims is told as a claim, and the fact beside it.
    assert_eq!(daemon.click(&link_of(&made, 0)).await.status, StatusCode::SEE_OTHER);
    let later = daemon.act(0, "finish_later", &json!({})).await;
    let forged = later["redirect_url"].as_str().unwrap().replace("event=cancel", "event=signing_complete");
    daemon.look(&forged).await;
    let read = daemon.look(&facts).await;
    assert_eq!(read.body["claim"], "signing_complete");
    assert!(read.body["status"] != "signed" && read.body["status"] != "completed", "{}", read.text);
}

#[tokio::test]
async fn the_component_is_served_to_any_site_and_kept_by_its_browser() {
    let daemon = TestDaemon::builder().public().start().await;
    let url = format!("{}/countersign.js", daemon.public.as_ref().unwrap());
    let script = daemon.look(&url).await;
    assert_eq!(script.headers[header::CONTENT_TYPE], "text/javascript; charset=utf-8");
    assert!(script.text.len() < 5_000 && script.text.contains("countersign-link"));
    let tag = script.headers[header::ETAG].to_str().unwrap().to_owned();
    let again = daemon.call(Method::GET, &url, None, &[("if-none-match", &tag)], Vec::new()).await;
    assert_eq!((again.status, again.text.as_str()), (StatusCode::NOT_MODIFIED, ""));
}
