//! Visitors: what a link, a return and a frame do over real sockets, and what they must never do.

use std::time::Duration;

use countersign::{
    clock::Clock as _,
    domain::{LiveView, SignerStatus, ViewKind},
};
use http::{Method, StatusCode, header};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::{
    harness::{Reply, TestDaemon, order},
    intake::{digest, push},
    signings::{base64_of, contract},
};

const CLICK: [(&str, &str); 1] = [("sec-fetch-site", "same-origin")];

/// An order with links alone.
pub(crate) fn unopened() -> Value {
    let mut order = order();
    order["view"] = json!(false);
    order
}

pub(crate) fn link_of(made: &Reply, signer: usize) -> String {
    made.body["signers"][signer]["link"]["url"].as_str().unwrap().to_owned()
}

pub(crate) fn location(reply: &Reply) -> String {
    assert_eq!(reply.status, StatusCode::SEE_OTHER, "{}", reply.text);
    reply.headers[header::LOCATION].to_str().unwrap().to_owned()
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
    let lines = include_str!("../fixtures/scanners.jsonl").lines().skip(1);
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
async fn l2_a_hundred_clicks_at_once_are_one_live_view() {
    let daemon = TestDaemon::builder().public().start().await;
    let made = daemon.create("order-1", &unopened()).await;
    let link = link_of(&made, 0);
    daemon.forget_requests().await;
    let clicked = futures_util::future::join_all((0..100).map(|_| daemon.click(&link))).await;
    let of = |status| clicked.iter().filter(|one| one.status == status).count();
    assert_eq!((of(StatusCode::SEE_OTHER), of(StatusCode::CONFLICT)), (1, 99));
    assert!(
        clicked
            .iter()
            .filter(|one| one.status == StatusCode::CONFLICT)
            .all(|one| one.text.contains("Already open"))
    );
    assert_eq!(daemon.requests().await.len(), 1);
    // The one who got in is at work, and a hundred more clicks do not throw them out.
    let view = clicked.iter().find(|one| one.status == StatusCode::SEE_OTHER).map(location).unwrap();
    let session = location_of(&daemon, &view).await;
    let again = futures_util::future::join_all((0..100).map(|_| daemon.click(&link))).await;
    assert!(again.iter().all(|one| one.status == StatusCode::CONFLICT));
    assert_eq!(daemon.look(&session).await.status, StatusCode::OK, "still signing");
    daemon.broke_no_rule().await;
}

#[tokio::test]
async fn l2_a_click_ends_no_view_that_its_caller_had_made_by_a_passed_call() {
    let daemon = TestDaemon::builder().public().start().await;
    let mut order = unopened();
    order["signers"][0]["sms_auth"] = Value::Null;
    let made = daemon.create("order-1", &order).await;
    let envelope = made.body["provider"]["envelope_id"].as_str().unwrap();
    let view = json!({
        "returnUrl": "https://www.example.com/done", "authenticationMethod": "none", "userName": "Ada Lovelace",
        "email": "ada@example.com", "clientUserId": made.signer(),
    });
    let path = format!("{}/envelopes/{envelope}/views/recipient", crate::passthrough::root(&daemon));
    let passed = daemon.post(&path, &view).await;
    assert_eq!(passed.status, StatusCode::CREATED, "{}", passed.text);
    let session = location_of(&daemon, passed.body["url"].as_str().unwrap()).await;
    assert_eq!(daemon.look(&session).await.status, StatusCode::OK);
    let read = format!("/v1/signings/{}", made.id());
    // Its lease is over in five minutes: nothing prolongs it.
    daemon
        .run_clock_slowly("in session", async || {
            daemon.get(&read).await.body["signers"][0]["status"] == "in_session"
        })
        .await;
    assert_eq!(daemon.click(&link_of(&made, 0)).await.status, StatusCode::CONFLICT);
    assert_eq!(daemon.look(&session).await.status, StatusCode::OK, "still signing");
    let timeline = daemon.get(&format!("{read}/timeline")).await;
    assert!(timeline.text.contains("view_minted"), "{}", timeline.text);
    daemon.broke_no_rule().await;
}

/// Where the emulator sends a browser that opens this address.
pub(crate) async fn location_of(daemon: &TestDaemon, url: &str) -> String {
    let opened = daemon.look(url).await;
    assert!(opened.status.is_redirection(), "{}", opened.text);
    let to = opened.headers[header::LOCATION].to_str().unwrap().to_owned();
    if to.starts_with('/') { format!("{}{to}", daemon.emulator.ready().base_url) } else { to }
}

/// A click while DocuSign makes no views. It answers with where the line's page is: one that a browser can come back to,
/// and load again.
async fn stand_in_line(daemon: &TestDaemon, url: &str) -> String {
    daemon
        .fault(&json!({"fault": "status", "status": 503, "method": "POST", "path": "/views/recipient"}))
        .await;
    let to = location(&daemon.click(url).await);
    assert!(to.starts_with("?line="), "{to}");
    to
}

/// What the line's page answers once it has somewhere to lead to.
async fn out_of_line(daemon: &TestDaemon, page: &str) -> Reply {
    let mut last = daemon.look(page).await;
    daemon
        .run_clock("the view", async || {
            last = daemon.look(page).await;
            last.status != StatusCode::SERVICE_UNAVAILABLE
        })
        .await;
    last
}

#[tokio::test]
async fn a_click_stands_in_line_while_docusign_is_down_and_goes_on_by_itself() {
    let daemon = TestDaemon::builder().public().start().await;
    let made = daemon.create("order-1", &unopened()).await;
    let link = link_of(&made, 0);
    let to = stand_in_line(&daemon, &link).await;
    let page = format!("{link}{to}");
    let first = daemon.look(&page).await;
    assert!(first.text.contains(&format!("content=\"12;url={to}\"")), "{}", first.text);
    for _ in 0..5 {
        daemon.clock.advance(Duration::from_secs(12));
        let waiting = daemon.look(&page).await;
        assert_eq!(waiting.status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(waiting.text.contains("Your place is kept"));
        let head = daemon.call(Method::HEAD, &page, None, &[], Vec::new()).await;
        assert_eq!((head.status, &*head.text), (StatusCode::SERVICE_UNAVAILABLE, ""), "as GET");
    }
    // Whoever else holds the link sees its page, and gets nothing of that line.
    let other = daemon.look(&format!("{link}?line={}", "A".repeat(22))).await;
    assert!(other.status == StatusCode::OK && !other.text.contains("Your place is kept"), "{}", other.text);
    daemon.control(Method::DELETE, "faults", &Value::Null).await;
    daemon.forget_requests().await;
    let last = out_of_line(&daemon, &page).await;
    assert!(location(&last).contains("/Signing/MTRedeem/"));
    assert_eq!(location(&daemon.look(&page).await), location(&last), "looking twice is one view");
    let head = daemon.call(Method::HEAD, &page, None, &[], Vec::new()).await;
    assert_eq!(location(&head), location(&last), "as GET");
    let views = daemon.requests().await.iter().filter(|line| line.contains("/views/recipient")).count();
    assert_eq!(views, 1);
    daemon.broke_no_rule().await;
}

#[tokio::test]
async fn whoever_goes_on_after_a_return_stands_in_line_at_a_page_to_come_back_to() {
    let daemon = TestDaemon::builder().public().start().await;
    let made = daemon.create("order-1", &unopened()).await;
    assert_eq!(daemon.click(&link_of(&made, 0)).await.status, StatusCode::SEE_OTHER);
    let later = daemon.act(0, "finish_later", &json!({})).await;
    let back = later["redirect_url"].as_str().unwrap().to_owned();
    assert!(daemon.look(&back).await.text.contains("<form method=\"post\">"));
    let to = stand_in_line(&daemon, &back).await;
    let page = format!("{}{to}", back.split('?').next().unwrap());
    for _ in 0..2 {
        let waiting = daemon.look(&page).await;
        assert_eq!(waiting.status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(waiting.text.contains("Your place is kept"), "{}", waiting.text);
    }
    daemon.control(Method::DELETE, "faults", &Value::Null).await;
    let last = out_of_line(&daemon, &page).await;
    assert!(location(&last).contains("/Signing/MTRedeem/"));
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
async fn nobody_mints_for_a_visitor_who_has_left_the_line() {
    let daemon = TestDaemon::builder().public().start().await;
    let made = daemon.create("order-1", &unopened()).await;
    let link = link_of(&made, 0);
    stand_in_line(&daemon, &link).await;
    daemon.pass(Duration::from_secs(2), 45).await;
    daemon.control(Method::DELETE, "faults", &Value::Null).await;
    daemon.forget_requests().await;
    daemon.pass(Duration::from_secs(2), 30).await;
    assert!(!daemon.requests().await.iter().any(|line| line.contains("/views/")));
    assert_eq!(daemon.click(&link).await.status, StatusCode::SEE_OTHER, "and the link is free");
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
async fn behind_a_trusted_proxy_each_visitor_has_their_own_allowance() {
    let daemon = TestDaemon::builder().public_with("trusted_proxies = [\"127.0.0.0/8\"]").start().await;
    let wrong = format!("{}/s/{}", daemon.public.as_ref().unwrap(), "A".repeat(43));
    let guess = async |from: &str| {
        let headers = [("x-forwarded-for", from)];
        daemon.call(Method::GET, &wrong, None, &headers, Vec::new()).await.status
    };
    for _ in 0..60 {
        assert_eq!(guess("203.0.113.9").await, StatusCode::NOT_FOUND);
    }
    assert_eq!(guess("203.0.113.9").await, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(guess("198.51.100.1, 203.0.113.9").await, StatusCode::TOO_MANY_REQUESTS, "their own word");
    assert_eq!(guess("203.0.113.10").await, StatusCode::NOT_FOUND, "a neighbour");

    let alone = TestDaemon::builder().public().start().await;
    let wrong = format!("{}/s/{}", alone.public.as_ref().unwrap(), "A".repeat(43));
    let mut last = StatusCode::OK;
    for number in 0..61 {
        let from = format!("203.0.113.{number}");
        let headers = [("x-forwarded-for", from.as_str()), ("forwarded", "for=192.0.2.60")];
        last = alone.call(Method::GET, &wrong, None, &headers, Vec::new()).await.status;
    }
    assert_eq!(last, StatusCode::TOO_MANY_REQUESTS, "a header from a stranger buys nothing");
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

/// All that an answer dates for others it dates by the same clock; how long our own lease lasts is our clock's.
#[tokio::test]
async fn t9_a_view_ends_by_the_upstreams_time() {
    let mut daemon = TestDaemon::builder().public().start().await;
    let (hour, life) = (SignedDuration::from_hours(1), SignedDuration::from_mins(5));
    daemon.move_upstream(hour).await;
    let made = daemon.create("order-1", &order()).await;
    let views = format!("/v1/signings/{}/signers/{}/views", made.id(), made.signer());
    let fresh = daemon.post(&views, &json!({})).await;
    for view in [&made.body["signers"][0]["view"], &fresh.body] {
        let end: Timestamp = view["expires_at"].as_str().unwrap().parse().unwrap();
        let off = end.duration_since(daemon.clock.now() + hour + life).abs();
        assert!(off <= SignedDuration::from_secs(3), "{view}");
    }
    let lease = daemon.record(made.id().parse().unwrap()).await.signing.live_view.unwrap();
    assert_eq!(lease.until, daemon.clock.now() + life);
}

#[tokio::test]
async fn s5_whoever_holds_a_link_cannot_spend_the_calls_of_the_account_by_it() {
    let daemon = TestDaemon::builder().public().start().await;
    let made = daemon.create("order-1", &unopened()).await;
    let link = link_of(&made, 0);
    let minted = async || {
        let asked = daemon.requests().await;
        asked.iter().filter(|line| line.contains("/views/recipient")).count()
    };
    // Each view is opened and left at once, which makes room for the next one.
    let mut back = String::new();
    for _ in 0..10 {
        assert_eq!(daemon.click(&link).await.status, StatusCode::SEE_OTHER);
        let left = daemon.act(0, "finish_later", &json!({})).await;
        left["redirect_url"].as_str().unwrap().clone_into(&mut back);
        assert!(daemon.look(&back).await.text.contains("<form method=\"post\">"));
    }
    assert_eq!(minted().await, 10);
    let nonce = back.split('?').next().unwrap();
    for refused in [daemon.click(&link).await, daemon.click(nonce).await] {
        assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS, "{}", refused.text);
        assert!(refused.text.contains("Please wait a minute"), "{}", refused.text);
        assert_eq!(refused.headers[header::RETRY_AFTER], "60");
    }
    assert_eq!(minted().await, 10, "no call was spent");
    // What the caller asks for is the caller's to limit.
    let views = format!("/v1/signings/{}/signers/{}/views", made.id(), made.signer());
    assert_eq!(daemon.post(&views, &json!({})).await.status, StatusCode::CREATED);
    daemon.clock.advance(Duration::from_secs(301));
    assert_eq!(daemon.click(&link).await.status, StatusCode::SEE_OTHER, "the link stays valid");
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

#[tokio::test]
async fn l6_no_query_and_no_header_leads_a_browser_elsewhere() {
    let daemon = TestDaemon::builder().public().start().await;
    let mut order = unopened();
    for wrong in [
        "https://evil.example/done",
        "https://www.example.com.evil.example/",
        "https://www.example.com@evil.example/",
        "https://www.example.com\\@evil.example/",
        "https://@www.example.com/done",
        "//www.example.com/done",
        "https:www.example.com/done",
        "https:/www.example.com/done",
        " https://www.example.com/done",
        "http://www.example.com/done",
        "https://www.example.com:8443/done",
        "javascript:alert(1)//https://www.example.com",
        "data:text/html,<script>alert(1)</script>",
    ] {
        order["signers"][0]["return_url"] = json!(wrong);
        let refused = daemon.create("order-1", &order).await;
        assert!(refused.status.is_client_error(), "{wrong}: {}", refused.text);
    }
    // Earlier versions took this. A browser reads it as a path of the site, and so do we.
    let made = daemon.create("order-2", &unopened()).await;
    let id = made.id().parse().unwrap();
    let work = daemon.record(id).await.work;
    let taken_once = Some("https://www.example.com\\@evil.example/".to_owned());
    daemon.rewrite(id, work, |signing| signing.signers[0].return_url = taken_once).await;
    daemon.click(&link_of(&made, 0)).await;
    let back = daemon.act(0, "decline", &json!({})).await["redirect_url"].as_str().unwrap().to_owned();
    assert!(location(&daemon.look(&back).await).starts_with("https://www.example.com/"));

    let made = daemon.create("order-1", &unopened()).await;
    let link = link_of(&made, 0);
    let evil = [("host", "evil.example"), ("x-forwarded-host", "evil.example"), ("origin", "null")];
    let clicked = daemon
        .call(
            Method::POST,
            &format!("{link}?next=//evil.example&url=https://evil.example"),
            None,
            &evil,
            Vec::new(),
        )
        .await;
    assert!(location(&clicked).starts_with(&daemon.emulator.ready().base_url));
    let later = daemon.act(1, "finish_later", &json!({})).await;
    let nonce = later["redirect_url"].as_str().unwrap().split('?').next().unwrap().to_owned();
    for query in [
        "event=signing_complete&return_url=https://evil.example",
        "event=decline&signing_id=sig_evil&status=completed&result=a.b.c",
        "event=viewing_complete&event=cancel&next=//evil.example",
        "event=signing_complete%0d%0aLocation:%20https://evil.example",
        "event=%00%ff",
    ] {
        let back = daemon.call(Method::GET, &format!("{nonce}?{query}"), None, &evil, Vec::new()).await;
        let to = back.headers.get(header::LOCATION).map(|to| to.to_str().unwrap().to_owned());
        let to = to.unwrap_or_else(|| "https://www.example.com/done?".to_owned());
        assert!(to.starts_with("https://www.example.com/done?"), "{query}: {to}");
        assert!(!to.contains("evil") && !to.contains("completed"), "{query}: {to}");
        assert!(!back.text.contains("evil.example"), "{query}");
    }
    assert_eq!(daemon.get(&format!("/v1/signings/{}", made.id())).await.body["status"], "open");
}

#[tokio::test]
async fn l5_script_in_every_field_that_reaches_a_page_stays_text() {
    const SCRIPT: &str = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>";
    let brand = format!("[public.brand]\nname = '''{SCRIPT}'''\n");
    let daemon = TestDaemon::builder().public().with(&brand).start().await;
    let mut order = unopened();
    for (pointer, value) in [
        ("/reference", SCRIPT.to_owned()),
        ("/subject", SCRIPT.to_owned()),
        ("/signers/0/name", SCRIPT.to_owned()),
        ("/signers/0/key", "visitor".to_owned()),
        ("/signers/0/return_url", format!("https://www.example.com/done?x={SCRIPT}#{SCRIPT}")),
    ] {
        let (place, name) = pointer.rsplit_once('/').unwrap();
        order.pointer_mut(place).unwrap()[name] = json!(value);
    }
    let made = daemon.create("order-1", &order).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    let link = link_of(&made, 0);
    let mut pages = vec![daemon.look(&link).await, daemon.look(&format!("{link}?line={SCRIPT}")).await];
    pages.push(daemon.look(&format!("{link}/facts")).await);
    assert_eq!(daemon.click(&link).await.status, StatusCode::SEE_OTHER);
    pages.push(daemon.look(&link).await);
    let back = daemon.act(0, "finish_later", &json!({})).await["redirect_url"].as_str().unwrap().to_owned();
    for event in ["cancel", "exception", "session_timeout", "ttl_expired", SCRIPT] {
        pages.push(daemon.look(&back.replace("event=cancel", &format!("event={event}"))).await);
    }
    pages.push(daemon.look(&format!("{}/s/{SCRIPT}", daemon.public.as_ref().unwrap())).await);
    pages.push(
        daemon
            .look(&format!(
                "{}/consent/callback?state={SCRIPT}&code={SCRIPT}",
                daemon.public.as_ref().unwrap()
            ))
            .await,
    );
    for page in &pages {
        if let Some(to) = page.headers.get(header::LOCATION) {
            assert!(!to.to_str().unwrap().contains(['<', '"']), "{to:?}");
            continue;
        }
        if page.headers[header::CONTENT_TYPE] == "application/json" {
            assert!(!page.text.contains("<script"), "{}", page.text);
            continue;
        }
        assert!(!page.text.contains("<script") && !page.text.contains("<img src=x"), "{}", page.text);
        let policy = page.headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(policy.contains("default-src 'none'") && !policy.contains("script-src"), "{policy}");
    }
    assert!(pages[0].text.contains("&lt;script&gt;alert(1)"), "shown as what it is: {}", pages[0].text);
}

#[tokio::test]
async fn floods_and_guesses_are_refused_and_counted_and_change_nothing() {
    let daemon = TestDaemon::builder().public().start().await;
    let made = daemon.create("order-1", &unopened()).await;
    let link = link_of(&made, 0);
    let before = daemon.get(&format!("/v1/signings/{}", made.id())).await.text;
    daemon.forget_requests().await;
    let public = daemon.public.clone().unwrap();
    let host = public.strip_prefix("http://").unwrap();
    let path = link.strip_prefix(&public).unwrap();
    let many = (0..500).fold(String::new(), |all, number| format!("{all}X-H{number}: 1\r\n"));
    let large = format!("X-Large: {}\r\n", "a".repeat(2 * 1024 * 1024));
    for flood in [many, large, "Content-Length: 99999999999\r\n".to_owned()] {
        let status =
            raw(host, &format!("POST {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{flood}\r\n"))
                .await;
        assert!((400..500).contains(&status) || status == 0, "{status}");
    }
    for garbage in
        ["GET\r\n\r\n", "\u{16}\u{3}\u{1}", "GET /s/\u{0} HTTP/1.1\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nXX"]
    {
        let status = raw(host, garbage).await;
        assert!((400..500).contains(&status) || status == 0, "{status}");
    }
    let token = path.strip_prefix("/s/").unwrap();
    let nonce_of_another_daemon = "A".repeat(64);
    let guesses = [
        format!("{public}/s/{}", &token[..42]),
        format!("{public}/s/{}{}", &token[1..], &token[..1]),
        format!("{public}/s/{token}%00"),
        format!("{public}/s/{}", "A".repeat(100_000 / 16)),
        format!("{public}/r/{nonce_of_another_daemon}"),
        format!("{public}/r/{token}"),
        format!("{public}/s/..%2f..%2fetc%2fpasswd"),
    ];
    for guess in &guesses {
        for method in [Method::GET, Method::HEAD, Method::POST] {
            let refused = daemon.call(method, guess, None, &[], Vec::new()).await;
            assert!(refused.status.is_client_error(), "{guess}: {}", refused.status);
        }
    }
    assert_eq!(daemon.requests().await.len(), 0);
    assert_eq!(daemon.get(&format!("/v1/signings/{}", made.id())).await.text, before);
    let counted = daemon.metric("countersign_link_opens_total", &["kind=\"unknown\""]).await;
    assert!(counted >= 10.0, "{counted}");
    let metrics = daemon.ops("/metrics").await.text;
    assert!(metrics.contains("listener=\"public\",route=\"/r/{nonce}\",status=\"404\""), "{metrics}");
    assert_eq!(daemon.look(&link).await.status, StatusCode::OK, "the good link goes on");
}

/// Bytes as they are; the status that came back, or 0 if the connection was closed without one.
async fn raw(host: &str, request: &str) -> u16 {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut socket = tokio::net::TcpStream::connect(host).await.unwrap();
    // A server that refuses may reset before all was sent.
    let _ = socket.write_all(request.as_bytes()).await;
    let _ = socket.shutdown().await;
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(20), socket.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
}

/// Nobody is at a view that was never handed out.
#[tokio::test]
async fn l3_a_daemon_that_dies_over_a_click_costs_its_visitor_a_minute() {
    let mut daemon = TestDaemon::builder().public().start().await;
    let made = daemon.create("order-1", &unopened()).await;
    let link = link_of(&made, 0);
    daemon.fault(&json!({"fault": "stall", "method": "POST", "path": "/views/recipient", "count": 1})).await;
    let is_asked = async || daemon.requests().await.iter().any(|line| line.ends_with("/views/recipient"));
    tokio::select! {
        told = daemon.click(&link) => panic!("there is no view: {}", told.text),
        () = daemon.until("the view to be asked for", is_asked) => {}
    }
    daemon.crash().await;
    assert_eq!(daemon.click(&link).await.status, StatusCode::CONFLICT, "it may still be made");
    daemon.clock.advance(Duration::from_secs(60));
    assert_eq!(daemon.click(&link).await.status, StatusCode::SEE_OTHER);
}

/// The store has a bad moment when there is a view. Its signer is at work for longer than the call for it may take, and
/// their page says so only after that.
#[tokio::test]
async fn l2_a_clicks_view_that_cannot_be_written_down_at_once_is_a_moment_later() {
    let daemon = TestDaemon::builder().public().start().await;
    let made = daemon.create("order-1", &unopened()).await;
    let (link, id) = (link_of(&made, 0), made.id().parse().unwrap());
    let store = rusqlite::Connection::open(daemon.store_file()).unwrap();
    let refuse = "CREATE TRIGGER refuse BEFORE UPDATE ON signings WHEN NEW.state ->> '$.live_view.clicked' \
                  AND NEW.state ->> '$.live_view.coming' IS NULL BEGIN SELECT RAISE(ABORT, 'no'); END";
    store.execute_batch(refuse).unwrap();
    assert_eq!(daemon.click(&link).await.status, StatusCode::SEE_OTHER, "there is a view");
    let kind = async || daemon.record(id).await.signing.live_view.map(|view| view.kind);
    daemon.pass(Duration::from_secs(1), 10).await;
    assert_eq!(kind().await, Some(ViewKind::Clicked));
    store.execute_batch("DROP TRIGGER refuse").unwrap();
    daemon.run_clock_slowly("the view", async || kind().await == Some(ViewKind::InUse)).await;
    daemon.clock.advance(Duration::from_secs(60));
    assert_eq!(daemon.click(&link).await.status, StatusCode::CONFLICT, "they are at work");
    let timeline = daemon.get(&format!("/v1/signings/{}/timeline", made.id())).await.text;
    assert_eq!(timeline.matches("view_minted").count(), 1, "{timeline}");
    daemon.clock.advance(Duration::from_secs(240));
    assert_eq!(daemon.click(&link).await.status, StatusCode::SEE_OTHER, "it cannot be opened any more");
}

/// The answer never has the visitor's view, whenever that comes.
#[tokio::test]
async fn e3_a_repeated_create_does_not_wait_for_the_view_of_a_click() {
    for order in [unopened(), order()] {
        let daemon = TestDaemon::builder().public().start().await;
        let made = daemon.queue("order-1", &order).await;
        let id = made.id();
        daemon.until("open", async || stands(&daemon, id).await == "open").await;
        daemon
            .fault(&json!({"fault": "stall", "method": "POST", "path": "/views/recipient", "count": 1}))
            .await;
        let link = link_of(&made, 0);
        let clicked = daemon.click(&link);
        tokio::pin!(clicked);
        daemon.forget_requests().await;
        let asked = async || {
            let all = daemon.requests().await;
            all.iter().filter(|line| line.ends_with("/views/recipient")).count()
        };
        let is_asked = async || asked().await == 1;
        tokio::select! {
            told = &mut clicked => panic!("there is no view: {}", told.text),
            () = daemon.until("the view to be asked for", is_asked) => {}
        }
        // The clock stands still.
        let again = tokio::select! {
            told = &mut clicked => panic!("there is no view: {}", told.text),
            again = daemon.create("order-1", &order) => again,
        };
        assert_eq!((again.status, again.id()), (StatusCode::CREATED, id), "{}", again.text);
        assert_eq!(again.body["signers"][0]["view"], json!(null), "{}", again.text);
        assert_eq!(asked().await, 1, "nobody else has one made");
    }
}

/// How a signing stands.
async fn stands(daemon: &TestDaemon, id: &str) -> Value {
    daemon.get(&format!("/v1/signings/{id}")).await.body["status"].clone()
}

#[tokio::test]
async fn l2_a_view_that_a_caller_does_not_get_ends_no_signers_lease() {
    let daemon = TestDaemon::builder().public().start().await;
    let made = daemon.create("order-1", &unopened()).await;
    let link = link_of(&made, 0);
    assert_eq!(daemon.click(&link).await.status, StatusCode::SEE_OTHER, "the signer is at work");
    let down =
        json!({"fault": "status", "status": 503, "method": "POST", "path": "/views/recipient", "count": 1});
    daemon.fault(&down).await;
    let views = format!("/v1/signings/{}/signers/{}/views", made.id(), made.signer());
    let refused = daemon.post(&views, &json!({})).await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE, "{}", refused.text);
    daemon.forget_requests().await;
    let again = daemon.click(&link).await;
    assert_ne!(again.status, StatusCode::SEE_OTHER, "a second view would end the first");
    assert_eq!(daemon.requests().await, Vec::<String>::new());
}

/// A lease lasts for minutes: one that lasts for hours was taken while the clock was ahead.
#[tokio::test]
async fn l2_a_lease_that_a_wrong_clock_wrote_keeps_nobody_out() {
    let daemon = TestDaemon::builder().public().start().await;
    let made = daemon.create("order-1", &unopened()).await;
    let link = link_of(&made, 0);
    let id = made.id().parse().unwrap();
    let work = daemon.record(id).await.work;
    let minted_at = daemon.clock.now() + SignedDuration::from_hours(3);
    let until = minted_at + SignedDuration::from_mins(5);
    daemon
        .rewrite(id, work, |signing| {
            let signer = signing.signers[0].id;
            signing.live_view = Some(LiveView { kind: ViewKind::InUse, signer, minted_at, until });
        })
        .await;
    assert!(!daemon.look(&link).await.text.contains("Already open"));
    assert_eq!(daemon.click(&link).await.status, StatusCode::SEE_OTHER);
    assert_eq!(daemon.click(&link).await.status, StatusCode::CONFLICT, "this one is real");
}

#[tokio::test]
async fn b2_creates_and_checks_that_hang_leave_signers_a_place() {
    let daemon = TestDaemon::builder().upstream("max_connections = 4\n").public().start().await;
    let mut made = Vec::new();
    for number in 0..4 {
        made.push(daemon.create(&format!("order-{number}"), &unopened()).await);
    }
    daemon.fault(&json!({"fault": "stall", "method": "POST", "path": "/envelopes", "count": 20})).await;
    for made in &made {
        let envelope = &made.body["provider"]["envelope_id"];
        daemon.fault(&json!({"fault": "stall", "method": "GET", "path": envelope, "count": 20})).await;
    }
    // Who comes first hangs; the others find no place.
    daemon.faults_may_wait();
    daemon.forget_requests().await;
    let order = unopened();
    let keys: Vec<_> = (0..4).map(|number| format!("hanging-{number}")).collect();
    let checks: Vec<_> = made.iter().map(|made| format!("/v1/signings/{}/refresh", made.id())).collect();
    let nothing = json!({});
    let checked = futures_util::future::join_all(checks.iter().map(|path| daemon.post(path, &nothing)));
    let created = futures_util::future::join_all(keys.iter().map(|key| daemon.create(key, &order)));
    let clicked = async {
        daemon.until("three calls to hang", async || daemon.requests().await.len() >= 3).await;
        daemon.click(&link_of(&made[0], 0)).await
    };
    tokio::select! {
        _ = checked => panic!("they hang"),
        _ = created => panic!("they hang"),
        clicked = clicked => assert_eq!(clicked.status, StatusCode::SEE_OTHER, "{}", clicked.text),
    }
    assert_eq!(daemon.requests().await.len(), 4, "the others wait for a place");
    daemon.control(Method::DELETE, "faults", &Value::Null).await;
}
