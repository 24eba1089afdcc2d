//! The whole life of a signing over sockets: link, view, events in and out, return, download.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign::clock::Clock as _;
use http::{Method, StatusCode, header};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::harness::{TestDaemon, order};

#[tokio::test]
async fn f1_only_the_event_completes_a_signing_and_the_pdf_follows() {
    let daemon = TestDaemon::builder().public().start().await;
    let made = daemon.create("order-1", &order()).await;
    let guid = only_signer(&daemon).await;
    let early = daemon.get(&format!("/v1/signings/{}/documents/combined", made.id())).await;
    assert_eq!((early.status, early.code()), (StatusCode::CONFLICT, "signer_not_ready"));
    let signed = daemon.control(Method::POST, &format!("signers/{guid}/sign"), &json!({})).await;
    let path = format!("/v1/signings/{}", made.id());
    daemon.run_clock("completed", async || daemon.get(&path).await.body["status"] == "completed").await;
    let read = daemon.get(&path).await;
    assert_eq!(read.body["signers"][0]["status"], "signed");
    assert_eq!(read.body["signers"][0]["last_return"], Value::Null, "nobody has come back yet");

    // The browser comes back with what the upstream told it, and goes on to the site with the fact.
    let back = signed["redirect_url"].as_str().unwrap();
    let returned = daemon.call(Method::GET, back, None, &[], Vec::new()).await;
    assert_eq!(returned.status, StatusCode::SEE_OTHER, "{}", returned.text);
    let to = returned.headers[header::LOCATION].to_str().unwrap();
    assert!(to.starts_with("https://www.example.com/done?"), "{to}");
    assert!(to.contains(made.id()) && to.contains("status=completed") && to.contains("result="), "{to}");
    let read = daemon.get(&path).await;
    assert_eq!(read.body["signers"][0]["last_return"]["claim"], "signing_complete");

    let pdf = daemon.get(&format!("{path}/documents/combined")).await;
    assert_eq!(pdf.headers[header::CONTENT_TYPE], "application/pdf");
    assert!(pdf.text.starts_with("%PDF"));
    let timeline = daemon.get(&format!("{path}/timeline")).await;
    assert!(timeline.body["data"].as_array().unwrap().len() >= 5, "{}", timeline.text);
}

/// What others judge by their clocks is dated by the upstream's, however wrong this machine's is.
#[tokio::test]
async fn t9_results_links_and_webhooks_are_dated_by_the_upstreams_time() {
    let (taken, webhook) = webhook().await;
    let mut daemon = TestDaemon::builder().public().with(&webhook).start().await;
    let day = SignedDuration::from_hours(24);
    daemon.move_upstream(day).await;
    let made = daemon.create("order-1", &order()).await;
    let is_near =
        |at: Timestamp, truth: Timestamp| at.duration_since(truth).abs() <= SignedDuration::from_secs(3);
    let links = format!("/v1/signings/{}/signers/{}/links", made.id(), made.signer());
    let link = daemon.post(&links, &json!({"expires_in": "2h"})).await;
    let ends: Timestamp = link.body["expires_at"].as_str().unwrap().parse().unwrap();
    assert!(is_near(ends, daemon.clock.now() + day + SignedDuration::from_hours(2)), "{}", link.text);
    let url = link.body["url"].as_str().unwrap();
    let look = async |path: &str| daemon.call(Method::GET, path, None, &[], Vec::new()).await;
    let facts = look(&format!("{url}/facts")).await;
    let claims = facts.body["result"].as_str().unwrap().split('.').nth(1).unwrap();
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap();
    let issued = Timestamp::from_second(claims["iat"].as_i64().unwrap()).unwrap();
    assert!(is_near(issued, daemon.clock.now() + day), "{claims}");
    daemon.run_clock("an event", async || of_signings(&taken).next().is_some()).await;
    let (headers, _) = of_signings(&taken).next().unwrap();
    let sent = headers["webhook-timestamp"].to_str().unwrap().parse().unwrap();
    let since = (daemon.clock.now() + day).duration_since(Timestamp::from_second(sent).unwrap());
    assert!(since.abs() < SignedDuration::from_mins(5), "receivers allow five minutes: {since:?}");
    // The link ends in its time, by this wrong clock too.
    assert_eq!(look(url).await.status, StatusCode::OK);
    daemon.clock.advance(std::time::Duration::from_secs(2 * 3_600 + 5));
    assert_eq!(look(url).await.status, StatusCode::GONE);
}

#[tokio::test]
async fn f1_a_forged_return_changes_no_status() {
    let daemon = TestDaemon::builder().public().start().await;
    let made = daemon.create("order-1", &order()).await;
    let guid = only_signer(&daemon).await;
    let later = daemon.control(Method::POST, &format!("signers/{guid}/finish_later"), &json!({})).await;
    let back = later["redirect_url"].as_str().unwrap().replace("event=cancel", "event=signing_complete");
    assert!(back.contains("event=signing_complete"), "{back}");
    let returned = daemon.call(Method::GET, &back, None, &[], Vec::new()).await;
    assert_eq!(returned.status, StatusCode::SEE_OTHER, "{}", returned.text);
    let to = returned.headers[header::LOCATION].to_str().unwrap();
    assert!(to.starts_with("https://www.example.com/done?") && to.contains("status="), "{to}");
    assert!(!to.contains("status=completed") && !to.contains("status=signed"), "{to}");
    let read = daemon.get(&format!("/v1/signings/{}", made.id())).await;
    assert_eq!(read.body["status"], "open");
    assert_ne!(read.body["signers"][0]["status"], "signed");
    assert_eq!(
        read.body["signers"][0]["last_return"]["claim"], "signing_complete",
        "and is no more than that"
    );
}

#[tokio::test]
async fn l1_looking_at_a_link_mints_nothing_and_the_button_mints_one_view() {
    let daemon = TestDaemon::builder().public().start().await;
    let mut order = order();
    order["view"] = json!(false);
    let made = daemon.create("order-1", &order).await;
    let link = made.body["signers"][0]["link"]["url"].as_str().unwrap().to_owned();
    daemon.forget_requests().await;
    for method in [Method::GET, Method::HEAD, Method::GET] {
        let page = daemon.call(method, &link, None, &[], Vec::new()).await;
        assert_eq!(page.status, StatusCode::OK);
    }
    assert_eq!(daemon.requests().await.len(), 0);
    let clicks = (0..20)
        .map(|_| daemon.call(Method::POST, &link, None, &[("sec-fetch-site", "same-origin")], Vec::new()));
    let clicked = futures_util::future::join_all(clicks).await;
    let views = clicked.iter().filter(|one| one.status == StatusCode::SEE_OTHER).count();
    assert_eq!(views, 1, "one live view, nobody is thrown out");
    assert_eq!(daemon.requests().await.len(), 1);
}

#[tokio::test]
async fn a_signing_is_voided_once_and_again_without_harm() {
    let daemon = TestDaemon::builder().public().start().await;
    let made = daemon.create("order-1", &order()).await;
    daemon.forget_requests().await;
    let path = format!("/v1/signings/{}/void", made.id());
    for _ in 0..2 {
        let voided = daemon.post(&path, &json!({"reason": "not needed"})).await;
        assert_eq!(
            (voided.status, &voided.body["status"]),
            (StatusCode::OK, &json!("voided")),
            "{}",
            voided.text
        );
    }
    let voids = daemon.requests().await.into_iter().filter(|line| line.starts_with("PUT ")).count();
    assert_eq!(voids, 1, "DocuSign is asked once");
    let view =
        daemon.post(&format!("/v1/signings/{}/signers/{}/views", made.id(), made.signer()), &json!({})).await;
    assert_eq!((view.status, view.code()), (StatusCode::CONFLICT, "signing_closed"));
}

#[tokio::test]
async fn b3_a_refresh_is_spent_once_in_a_quarter_of_an_hour() {
    let daemon = TestDaemon::start().await;
    let made = daemon.create("order-1", &order()).await;
    let path = format!("/v1/signings/{}/refresh", made.id());
    assert_eq!(daemon.post(&path, &json!({})).await.status, StatusCode::OK);
    let refused = daemon.post(&path, &json!({})).await;
    assert_eq!((refused.status, refused.code()), (StatusCode::CONFLICT, "polling_budget"));
    assert!(refused.body["retry_at"].is_string());
    daemon.clock.advance(std::time::Duration::from_secs(15 * 60 + 1));
    assert_eq!(daemon.post(&path, &json!({})).await.status, StatusCode::OK);
}

/// Whoever comes back after the time that they were told must not be refused for coming too early.
#[tokio::test]
async fn b3_a_check_that_fails_is_spent_and_says_when_the_next_may_be_made() {
    let daemon = TestDaemon::start().await;
    let made = daemon.create("order-1", &order()).await;
    let path = format!("/v1/signings/{}/refresh", made.id());
    let envelope = made.body["provider"]["envelope_id"].as_str().unwrap();
    let down = json!({"fault": "status", "status": 503, "method": "GET", "path": envelope, "count": 1});
    daemon.fault(&down).await;
    let failed = daemon.post(&path, &json!({})).await;
    assert_eq!(failed.status, StatusCode::SERVICE_UNAVAILABLE, "{}", failed.text);
    assert_eq!(failed.code(), "provider_unavailable");
    assert_eq!(failed.headers["retry-after"], "900", "{}", failed.text);
    assert_eq!(failed.body["provider"]["http_status"], 503, "{}", failed.text);
    daemon.clock.advance(std::time::Duration::from_secs(899));
    let refused = daemon.post(&path, &json!({})).await;
    assert_eq!((refused.status, refused.code()), (StatusCode::CONFLICT, "polling_budget"));
    assert_eq!(refused.body["retry_at"], failed.body["retry_at"]);
    daemon.clock.advance(std::time::Duration::from_secs(1));
    assert_eq!(daemon.post(&path, &json!({})).await.status, StatusCode::OK);
}

#[tokio::test]
async fn b3_a_check_that_never_left_is_not_spent() {
    let daemon = TestDaemon::start().await;
    let made = daemon.create("order-1", &order()).await;
    let path = format!("/v1/signings/{}/refresh", made.id());
    // Without a token nobody can be asked.
    daemon.fault(&json!({"fault": "status", "status": 503, "method": "POST", "path": "/oauth/token"})).await;
    daemon.clock.advance(std::time::Duration::from_secs(3_700));
    let refused = daemon.post(&path, &json!({})).await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE, "{}", refused.text);
    daemon.control(Method::DELETE, "faults", &Value::Null).await;
    daemon.run_clock("a token", async || daemon.parts().auth.ready("system").is_some()).await;
    assert_eq!(daemon.post(&path, &json!({})).await.status, StatusCode::OK);
}

#[tokio::test]
async fn h1_a_first_token_is_known_to_health_as_soon_as_callers_can_act_with_it() {
    // Its clock stands: no look that time brings comes to help.
    let daemon = TestDaemon::start().await;
    assert_eq!(daemon.create("order-1", &order()).await.status, StatusCode::CREATED);
    assert_eq!(daemon.ops("/startupz").await.status, StatusCode::OK);
    let is_denied = async || daemon.ops("/readyz").await.text.contains("sender.system");
    daemon.until("the look", async || !is_denied().await).await;
    // What cannot be had is said as soon, and why.
    let is_told = async || daemon.ops("/readyz").await.text.contains("consent_required");
    daemon.until("the refusal", async || is_told().await).await;
}

#[tokio::test]
async fn h1_an_outage_is_degraded_while_the_token_lives_and_unready_after() {
    let daemon = TestDaemon::start().await;
    daemon.run_clock("started", async || daemon.ops("/startupz").await.status == StatusCode::OK).await;
    assert_eq!(daemon.ops("/livez").await.status, StatusCode::OK);
    // The sender without consent is a reason; the other one serves.
    daemon
        .run_clock("its reason", async || daemon.ops("/readyz").await.text.contains("consent_required"))
        .await;
    daemon.fault(&json!({"fault": "status", "status": 503, "method": "POST", "path": "/oauth/token"})).await;
    daemon.clock.advance(std::time::Duration::from_secs(31 * 60));
    daemon
        .run_clock("degraded", async || daemon.ops("/readyz").await.text.contains("its refresh fails"))
        .await;
    assert_eq!(
        daemon.create("order-1", &order()).await.status,
        StatusCode::CREATED,
        "callers notice nothing"
    );
    let metrics = daemon.ops("/metrics").await;
    assert!(metrics.text.contains("countersign_token_runway_seconds{sender=\"system\"}"), "{}", metrics.text);
}

/// It was away, and whether it is back nobody can find out who has no token: then that is said, and not that DocuSign
/// leaves unanswered what it is not asked.
#[tokio::test]
async fn h1_an_upstream_that_is_not_asked_is_not_said_to_leave_creates_unanswered() {
    let daemon = TestDaemon::start().await;
    daemon.fault(&json!({"fault": "status", "status": 503, "method": "POST", "path": "/envelopes"})).await;
    let mut made = Vec::new();
    for number in 0..5 {
        made.push(daemon.queue(&format!("order-{number}"), &order()).await);
    }
    daemon.until("five failures", async || daemon.parts().signings.is_upstream_away()).await;
    daemon.control(Method::DELETE, "faults", &Value::Null).await;
    daemon.fault(&json!({"fault": "status", "status": 503, "method": "POST", "path": "/oauth/token"})).await;
    daemon.clock.advance(std::time::Duration::from_secs(2 * 3_600));
    let told = async || {
        let report = daemon.ops("/readyz").await.body;
        let reasons = report["reasons"].as_array().cloned().unwrap_or_default();
        let of_upstream = reasons.into_iter().find(|reason| reason["part"] == "upstream");
        of_upstream.map(|reason| reason["detail"].as_str().unwrap().to_owned())
    };
    let is_said = async || told().await.is_some_and(|detail| detail.contains("it was not asked"));
    daemon.run_clock("why it was not asked", is_said).await;
    let detail = told().await.unwrap();
    assert!(detail.contains("(provider_unavailable)") && !detail.contains("every few seconds"), "{detail}");

    daemon.control(Method::DELETE, "faults", &Value::Null).await;
    daemon.run_clock("well", async || told().await.is_none()).await;
    for one in &made {
        daemon.settle(one.id(), "open").await;
    }
    assert_eq!(daemon.envelopes().await, 5);
}

#[tokio::test]
async fn h1_an_upstream_that_leaves_creates_unanswered_is_degraded_and_nothing_is_uncertain() {
    let daemon = TestDaemon::start().await;
    let degraded = |report: &Value| {
        let reasons = report["reasons"].as_array().cloned().unwrap_or_default();
        reasons.iter().any(|reason| reason["part"] == "upstream" && reason["status"] == "degraded")
    };
    daemon.fault(&json!({"fault": "status", "status": 503, "method": "POST", "path": "/envelopes"})).await;
    let mut made = Vec::new();
    for number in 0..6 {
        let key = format!("order-{number}");
        made.push(daemon.queue(&key, &order()).await);
    }
    daemon.run_clock("degraded", async || degraded(&daemon.ops("/readyz").await.body)).await;
    assert_eq!(daemon.ops("/readyz").await.status, StatusCode::OK, "callers are served");
    assert!(daemon.ops("/metrics").await.text.contains("countersign_ready 1\n"));
    daemon.control(Method::DELETE, "faults", &Value::Null).await;
    daemon.run_clock("well", async || !degraded(&daemon.ops("/readyz").await.body)).await;
    for one in &made {
        let path = format!("/v1/signings/{}", one.id());
        daemon.run_clock("open", async || daemon.get(&path).await.body["status"] == "open").await;
    }
    let told = daemon.get(&format!("/v1/signings/{}/timeline", made[5].id())).await;
    let queued =
        told.body["data"].as_array().unwrap().iter().filter(|moment| moment["what"] == "create_queued");
    assert!(queued.count() <= 1, "{}", told.text);
}

#[tokio::test]
async fn the_timeline_tells_of_the_envelope_before_its_view() {
    let daemon = TestDaemon::start().await;
    let made = daemon.create("order-1", &order()).await;
    let told = daemon.get(&format!("/v1/signings/{}/timeline", made.id())).await;
    let what: Vec<_> = told.body["data"].as_array().unwrap().iter().map(|one| one["what"].clone()).collect();
    assert_eq!(what, ["asked_for", "signing.opened", "signer.ready", "view_minted"], "{}", told.text);
    assert!(told.body["data"][1]["trace"].is_string(), "the create's own: {}", told.text);
}

#[tokio::test]
async fn our_events_reach_a_webhook_signed() {
    let (taken, webhook) = webhook().await;
    let daemon = TestDaemon::builder().public().with(&webhook).start().await;
    daemon.create("order-1", &order()).await;
    daemon.run_clock("an event", async || of_signings(&taken).next().is_some()).await;
    let (headers, body) = of_signings(&taken).next().unwrap();
    assert_eq!((&body["type"], &body["data"]["sequence"]), (&json!("signing.opened"), &json!(1)), "{body}");
    assert!(headers["webhook-id"].to_str().unwrap().starts_with("evt_"));
    assert!(headers["webhook-signature"].to_str().unwrap().starts_with("v1,"));
}

type Taken = std::sync::Arc<std::sync::Mutex<Vec<(http::HeaderMap, String)>>>;

/// What came about signings; that a sender has no consent may come at any time.
fn of_signings(taken: &Taken) -> impl Iterator<Item = (http::HeaderMap, Value)> + use<> {
    let all = taken.lock().unwrap().clone();
    let read =
        all.into_iter().map(|(headers, body)| (headers, serde_json::from_str::<Value>(&body).unwrap()));
    read.filter(|(_, body)| body["type"].as_str().unwrap().starts_with("signing."))
}

/// A receiver of webhooks, and the settings of it.
async fn webhook() -> (Taken, String) {
    let (taken, url) = receiver().await;
    let settings = format!(
        "[webhooks.website]\nurl = \"{url}\"\nsecrets = [\"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"]\nallow_private = true\n"
    );
    (taken, settings)
}

/// A receiver of webhooks.
async fn receiver() -> (Taken, String) {
    let taken = Taken::default();
    let keep = taken.clone();
    let router = axum::Router::new().route(
        "/hook",
        axum::routing::post(move |headers: http::HeaderMap, body: String| async move {
            keep.lock().unwrap().push((headers, body));
        }),
    );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (taken, url)
}

/// The upstream's id of the only signer.
async fn only_signer(daemon: &TestDaemon) -> String {
    let signers = daemon.control(Method::GET, "signers", &Value::Null).await;
    let first = &signers["signers"][0];
    let id =
        first.get("recipient_id_guid").or_else(|| first.get("id")).or_else(|| first.get("recipientIdGuid"));
    id.and_then(Value::as_str).unwrap_or_else(|| panic!("{signers}")).to_owned()
}
