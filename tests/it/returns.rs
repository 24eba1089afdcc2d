//! Visitors who come back, leave too early, press twice, or sign under another name.

use std::time::Duration;

use countersign::clock::Clock as _;
use http::{Method, StatusCode};
use jiff::SignedDuration;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;

use crate::{
    harness::{Reply, TestDaemon},
    visitors::{in_turn, link_of, location, location_of, unopened},
};

/// An order without a code, so that opening the view opens the documents.
fn plain() -> Value {
    let mut order = unopened();
    order["signers"][0]["sms_auth"] = Value::Null;
    order
}

impl TestDaemon {
    /// No event comes for a day.
    pub(crate) async fn without_events(&self) {
        self.fault(&json!({"fault": "event_delay", "delay_ms": 86_400_000})).await;
    }

    async fn timeline_of(&self, made: &Reply) -> Vec<(String, Value)> {
        let timeline = self.get(&format!("/v1/signings/{}/timeline", made.id())).await;
        let moments = timeline.body["data"].as_array().unwrap();
        moments.iter().map(|one| (one["what"].as_str().unwrap().to_owned(), one["trace"].clone())).collect()
    }

    async fn returns_told(&self) -> usize {
        let events = self.get("/v1/events?limit=100").await;
        let events = events.body["data"].as_array().unwrap();
        events.iter().filter(|event| event["type"] == "signer.returned").count()
    }

    /// What was asked about envelopes; tokens are renewed as time goes by.
    async fn asked(&self) -> Vec<String> {
        self.requests().await.into_iter().filter(|line| line.contains("/envelopes/")).collect()
    }

    async fn back_from(&self, action: &str, given: &Value) -> String {
        self.act(0, action, given).await["redirect_url"].as_str().unwrap().to_owned()
    }
}

/// A signer who has signed, of which no event tells: with the address that leads their browser back.
async fn signed_in_silence() -> (TestDaemon, Reply, String) {
    let daemon = TestDaemon::builder().public().start().await;
    let made = daemon.create("order-1", &unopened()).await;
    assert_eq!(daemon.click(&link_of(&made, 0)).await.status, StatusCode::SEE_OTHER);
    daemon.without_events().await;
    let back = daemon.back_from("sign", &json!({})).await;
    (daemon, made, back)
}

/// No event tells that the first has signed, and the one check of the interval is spent. Whether they have, DocuSign knows.
#[tokio::test]
async fn l3_the_next_signer_waits_for_no_event_once_those_before_say_that_they_have_signed() {
    let daemon = TestDaemon::builder().public().start().await;
    let made = daemon.create("order-1", &in_turn()).await;
    let (path, id) = (format!("/v1/signings/{}", made.id()), made.id().parse().unwrap());
    let (first, second) = (link_of(&made, 0), link_of(&made, 1));
    let stands = async || daemon.get(&path).await.body["signers"][1]["status"].clone();
    assert_eq!(daemon.post(&format!("{path}/refresh"), &json!({})).await.status, StatusCode::OK);
    daemon.without_events().await;
    assert_eq!(daemon.click(&first).await.status, StatusCode::SEE_OTHER);
    assert!(!daemon.look(&second).await.text.contains("<form method=\"post\">"));

    let forged =
        daemon.back_from("finish_later", &json!({})).await.replace("event=cancel", "event=signing_complete");
    daemon.look(&forged).await;
    let page = daemon.look(&second).await.text;
    assert!(page.contains("not your turn") && page.contains("<form method=\"post\">"), "{page}");
    assert_eq!(daemon.click(&second).await.status, StatusCode::CONFLICT);
    // They wait for the first, as they did: word that the first has signed must not find them denied.
    assert_eq!(daemon.record(id).await.signing.signers[1].upstream.denied_at, None);

    assert_eq!(daemon.click(&first).await.status, StatusCode::SEE_OTHER);
    let back = daemon.back_from("sign", &json!({})).await;
    daemon.look(&back).await;
    assert_eq!(stands().await, "waiting", "what the browser says is no fact");
    assert!(location(&daemon.click(&second).await).contains("/Signing/MTRedeem/"));
    assert_eq!(stands().await, "ready");
    daemon.broke_no_rule().await;
}

#[tokio::test]
async fn f2_the_check_after_a_return_outlives_the_visitor() {
    let (daemon, made, back) = signed_in_silence().await;
    let envelope = made.body["provider"]["envelope_id"].as_str().unwrap();
    daemon.fault(&json!({"fault": "delay", "method": "GET", "path": envelope, "delay_ms": 1_500})).await;
    daemon.forget_requests().await;

    let host = daemon.public.as_ref().unwrap().strip_prefix("http://").unwrap().to_owned();
    let path = back.split_once(&host).unwrap().1;
    let mut visitor = tokio::net::TcpStream::connect(&host).await.unwrap();
    visitor.write_all(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes()).await.unwrap();
    let asked = async || daemon.requests().await.iter().any(|line| line.ends_with(envelope));
    daemon.until("the question", asked).await;
    drop(visitor);
    let path = format!("/v1/signings/{}", made.id());
    daemon.until("the answer", async || daemon.get(&path).await.body["status"] == "completed").await;
    let timeline = daemon.timeline_of(&made).await;
    let checked = timeline.iter().find(|(what, _)| what == "checked").unwrap();
    assert!(checked.1.is_string(), "{timeline:?}");
    daemon.broke_no_rule().await;
}

#[tokio::test]
async fn f2_a_return_spends_the_check_unless_it_says_that_nothing_was_done() {
    for (said, status) in [
        ("", "completed"),
        ("?event=what_is_this", "completed"),
        ("?event=exception", "completed"),
        ("?event=ttl_expired", "completed"),
        ("?event=cancel", "open"),
        ("?event=session_timeout", "open"),
    ] {
        let (daemon, made, back) = signed_in_silence().await;
        daemon.forget_requests().await;
        daemon.look(&format!("{}{said}", back.split('?').next().unwrap())).await;
        assert_eq!(daemon.asked().await.len(), usize::from(status == "completed"), "{said}");
        let read = daemon.get(&format!("/v1/signings/{}", made.id())).await;
        assert_eq!(read.body["status"], status, "{said}");
        daemon.broke_no_rule().await;
    }
}

/// The one check of the interval is spent when they come back, and another daemon is there when the next one may be made.
#[tokio::test]
async fn f2_a_return_that_may_not_be_checked_yet_is_checked_once_it_may_be() {
    let mut daemon = TestDaemon::builder().public().start().await;
    let made = daemon.create("order-1", &unopened()).await;
    daemon.run_clock("its pulse", async || daemon.parts().store.last_pulse().await.unwrap().is_some()).await;
    let path = format!("/v1/signings/{}", made.id());
    assert_eq!(daemon.post(&format!("{path}/refresh"), &json!({})).await.status, StatusCode::OK);
    daemon.live_through(Duration::from_secs(60)).await;
    assert_eq!(daemon.click(&link_of(&made, 0)).await.status, StatusCode::SEE_OTHER);
    daemon.without_events().await;
    let back = daemon.back_from("sign", &json!({})).await;
    daemon.forget_requests().await;
    daemon.look(&back).await;
    assert_eq!(daemon.get(&path).await.body["status"], "open");
    // Nor does a list tell what has changed meanwhile.
    daemon.fault(&json!({"fault": "status", "status": 503, "method": "GET", "path": "/envelopes"})).await;
    daemon.restart().await;
    daemon.clock.advance(Duration::from_secs(13 * 60));
    daemon.pass(Duration::from_secs(1), 30).await;
    assert_eq!(daemon.asked().await, Vec::<String>::new());
    daemon.run_clock("the check", async || daemon.get(&path).await.body["status"] == "completed").await;
    assert_eq!(daemon.asked().await.len(), 1);
    let id = made.id().parse().unwrap();
    daemon.run_clock("nothing more to do", async || daemon.record(id).await.work.is_none()).await;
    daemon.broke_no_rule().await;
}

#[tokio::test]
async fn f2_a_return_whose_check_fails_is_checked_a_quarter_of_an_hour_later() {
    let (daemon, made, back) = signed_in_silence().await;
    let (path, id) = (format!("/v1/signings/{}", made.id()), made.id().parse().unwrap());
    let envelope = made.body["provider"]["envelope_id"].as_str().unwrap();
    let down = json!({"fault": "status", "status": 503, "method": "GET", "path": envelope, "count": 1});
    daemon.fault(&down).await;
    daemon.forget_requests().await;
    daemon.look(&back).await;
    assert_eq!(daemon.get(&path).await.body["status"], "open");
    daemon.live_through(Duration::from_secs(14 * 60)).await;
    daemon.pass(Duration::from_secs(1), 30).await;
    assert_eq!(daemon.asked().await.len(), 1, "the one that failed");
    daemon.run_clock("the check", async || daemon.get(&path).await.body["status"] == "completed").await;
    assert_eq!(daemon.asked().await.len(), 2);
    daemon.run_clock("nothing more to do", async || daemon.record(id).await.work.is_none()).await;
    daemon.broke_no_rule().await;
}

/// The answer is to a question of before they came back. They sign then, and close the window.
#[tokio::test]
async fn f2_a_check_that_a_return_has_overtaken_is_no_answer_to_it() {
    let daemon = TestDaemon::builder().public().start().await;
    let made = daemon.create("order-1", &unopened()).await;
    let (path, link) = (format!("/v1/signings/{}", made.id()), link_of(&made, 0));
    let envelope = made.body["provider"]["envelope_id"].as_str().unwrap();
    daemon.without_events().await;
    assert_eq!(daemon.click(&link).await.status, StatusCode::SEE_OTHER);
    let left = daemon.back_from("finish_later", &json!({})).await;
    let back = left.replace("event=cancel", "event=signing_complete");
    let slow = json!({"fault": "delay", "method": "GET", "path": envelope, "delay_ms": 1_500, "count": 1});
    daemon.fault(&slow).await;
    daemon.forget_requests().await;
    let (refresh, nothing) = (format!("{path}/refresh"), json!({}));
    let returns = async {
        daemon.until("the question", async || !daemon.asked().await.is_empty()).await;
        daemon.clock.advance(Duration::from_secs(1));
        daemon.look(&back).await
    };
    let (answer, _) = tokio::join!(daemon.post(&refresh, &nothing), returns);
    assert_eq!((answer.status, &answer.body["status"]), (StatusCode::OK, &json!("open")), "{}", answer.text);
    assert_eq!(daemon.click(&link).await.status, StatusCode::SEE_OTHER);
    daemon.act(0, "sign", &json!({})).await;

    let down = json!({"fault": "status", "status": 503, "method": "GET", "path": envelope, "count": 1});
    daemon.fault(&down).await;
    daemon.forget_requests().await;
    daemon.live_through(Duration::from_secs(15 * 60)).await;
    daemon.run_clock("a check that fails", async || daemon.asked().await.len() == 1).await;
    daemon.live_through(Duration::from_secs(15 * 60)).await;
    daemon.run_clock("the check", async || daemon.get(&path).await.body["status"] == "completed").await;
    assert_eq!(daemon.asked().await.len(), 2);
    daemon.broke_no_rule().await;
}

/// Their site reads the envelope through us, ten minutes before they come back: the question after the return is held back.
#[tokio::test]
async fn f2_a_return_whose_check_never_left_is_checked_as_soon_as_one_may_be_made() {
    let (daemon, made, back) = signed_in_silence().await;
    let (path, id) = (format!("/v1/signings/{}", made.id()), made.id().parse().unwrap());
    let envelope = made.body["provider"]["envelope_id"].as_str().unwrap();
    let account = &daemon.emulator.ready().account_id;
    let read = format!("/v1/senders/system/esign/restapi/v2.1/accounts/{account}/envelopes/{envelope}");
    assert_eq!(daemon.get(&read).await.status, StatusCode::OK);
    daemon.live_through(Duration::from_secs(10 * 60)).await;
    daemon.forget_requests().await;
    let returned_at = daemon.clock.now();
    daemon.look(&back).await;
    assert_eq!(daemon.get(&path).await.body["status"], "open");
    let tries = async || daemon.record(id).await.work.map(|work| work.attempts);
    daemon.run_clock("a try", async || tries().await == Some(1)).await;
    daemon.pass(Duration::from_secs(1), 60).await;
    assert_eq!(tries().await, Some(1), "there is no use in another one yet");
    assert_eq!(daemon.record(id).await.signing.checked_at, None, "it is given back");
    assert_eq!(daemon.asked().await, Vec::<String>::new());
    daemon.run_clock("the check", async || daemon.get(&path).await.body["status"] == "completed").await;
    let after = daemon.clock.now().duration_since(returned_at);
    assert!(after < SignedDuration::from_mins(10), "{after:?}");
    assert_eq!(daemon.asked().await.len(), 1);
    daemon.run_clock("nothing more to do", async || daemon.record(id).await.work.is_none()).await;
    daemon.broke_no_rule().await;
}

/// The end that its caller gave and the check of a return have both come due when somebody is there again.
#[tokio::test]
async fn f2_a_return_is_not_checked_once_the_signing_has_ended() {
    let daemon = TestDaemon::builder().public().start().await;
    let mut short = unopened();
    short["expires_in"] = json!("20m");
    let made = daemon.create("order-1", &short).await;
    let (path, id) = (format!("/v1/signings/{}", made.id()), made.id().parse().unwrap());
    let envelope = made.body["provider"]["envelope_id"].as_str().unwrap();
    daemon.without_events().await;
    assert_eq!(daemon.click(&link_of(&made, 0)).await.status, StatusCode::SEE_OTHER);
    let left = daemon.back_from("finish_later", &json!({})).await;
    let down = json!({"fault": "status", "status": 503, "method": "GET", "path": envelope, "count": 1});
    daemon.fault(&down).await;
    daemon.look(&left.replace("event=cancel", "event=signing_complete")).await;
    daemon.forget_requests().await;
    daemon.clock.advance(Duration::from_secs(21 * 60));
    daemon.run_clock("nothing more to do", async || daemon.record(id).await.work.is_none()).await;
    assert_eq!(daemon.get(&path).await.body["status"], "expired");
    let asked = daemon.asked().await;
    assert!(asked.len() == 1 && asked[0].starts_with("PUT "), "{asked:?}");
    daemon.broke_no_rule().await;
}

/// What is known needs no second look.
#[tokio::test]
async fn f2_a_return_that_was_checked_leaves_nothing_to_do() {
    let (daemon, made, back) = signed_in_silence().await;
    daemon.look(&back).await;
    let record = daemon.record(made.id().parse().unwrap()).await;
    assert_eq!((record.signing.status.as_str(), record.work), ("completed", None));
}

/// They come back by a page that is loaded again and again, and their browser keeps the last way on. Nobody's time goes by
/// while the answer is waited for.
#[tokio::test]
async fn f2_all_who_come_back_while_the_check_is_under_way_are_told_what_it_tells() {
    let (daemon, made, back) = signed_in_silence().await;
    let envelope = made.body["provider"]["envelope_id"].as_str().unwrap();
    let slow = json!({"fault": "delay", "method": "GET", "path": envelope, "delay_ms": 1_000, "count": 1});
    daemon.fault(&slow).await;
    daemon.forget_requests().await;
    let at_once = futures_util::future::join_all((0..6).map(|_| daemon.look(&back)));
    let later = async {
        daemon.until("the question", async || !daemon.asked().await.is_empty()).await;
        daemon.look(&back).await
    };
    let (mut all, last) = tokio::join!(at_once, later);
    all.push(last);
    for one in &all {
        assert!(location(one).contains("status=completed"), "{}", location(one));
    }
    assert_eq!(daemon.asked().await.len(), 1, "by one question");
    daemon.broke_no_rule().await;
}

#[tokio::test]
async fn f2_nobody_who_comes_back_waits_for_a_check_that_is_answered_or_has_failed() {
    for fails in [false, true] {
        let daemon = TestDaemon::builder().public().start().await;
        let made = daemon.create("order-1", &unopened()).await;
        let envelope = made.body["provider"]["envelope_id"].as_str().unwrap();
        assert_eq!(daemon.click(&link_of(&made, 0)).await.status, StatusCode::SEE_OTHER);
        daemon.without_events().await;
        let left = daemon.back_from("finish_later", &json!({})).await;
        let back = left.replace("event=cancel", "event=signing_complete");
        if fails {
            let down =
                json!({"fault": "status", "status": 503, "method": "GET", "path": envelope, "count": 1});
            daemon.fault(&down).await;
        }
        daemon.forget_requests().await;
        // Time stands still, so nobody's patience ends.
        for _ in 0..3 {
            let site = location(&daemon.look(&back).await);
            assert!(site.contains("status=") && !site.contains("status=completed"), "{site}");
        }
        assert_eq!(daemon.asked().await.len(), 1);
        daemon.broke_no_rule().await;
    }
}

#[tokio::test]
async fn f2_a_visitor_who_stays_is_not_kept_while_docusign_is_slow() {
    let (daemon, made, back) = signed_in_silence().await;
    let envelope = made.body["provider"]["envelope_id"].as_str().unwrap();
    daemon.fault(&json!({"fault": "stall", "method": "GET", "path": envelope})).await;
    daemon.forget_requests().await;
    let looking = daemon.look(&back);
    tokio::pin!(looking);
    let mut is_asked = false;
    // Twelve seconds of the daemon's clock, from the question on: its own patience is three.
    let (mut steps, mut looks) = (0, 0);
    let reply = loop {
        tokio::select! {
            biased;
            reply = &mut looking => break reply,
            () = tokio::time::sleep(Duration::from_millis(20)) => {}
        }
        looks += 1;
        assert!(looks < 1_500, "the visitor is kept");
        is_asked = is_asked || daemon.requests().await.iter().any(|line| line.ends_with(envelope));
        if is_asked && steps < 24 {
            daemon.clock.advance(Duration::from_millis(500));
            steps += 1;
        }
    };
    let site = location(&reply);
    assert!(site.starts_with("https://www.example.com/done?") && site.contains("status=ready"), "{site}");
}

#[tokio::test]
async fn a_replayed_return_tells_the_site_a_few_times_a_view() {
    let daemon = TestDaemon::builder().public().start().await;
    let made = daemon.create("order-1", &unopened()).await;
    assert_eq!(daemon.click(&link_of(&made, 0)).await.status, StatusCode::SEE_OTHER);
    let back = daemon.back_from("finish_later", &json!({})).await;
    for number in 0..20 {
        let event = if number % 2 == 0 { "event=cancel" } else { "event=exception" };
        daemon.look(&back.replace("event=cancel", event)).await;
    }
    assert_eq!(daemon.returns_told().await, 3);
    let read = daemon.get(&format!("/v1/signings/{}", made.id())).await;
    assert_eq!(read.body["signers"][0]["last_return"]["claim"], "exception", "the last one is shown");
    daemon.clock.advance(Duration::from_secs(10));
    daemon.look(&back).await;
    assert_eq!(daemon.returns_told().await, 3, "nor later");
    assert_eq!(daemon.click(&link_of(&made, 0)).await.status, StatusCode::SEE_OTHER);
    let back = daemon.back_from("finish_later", &json!({})).await;
    daemon.look(&back).await;
    assert_eq!(daemon.returns_told().await, 4, "the next view leads back on its own account");
}

#[tokio::test]
async fn each_view_that_leads_back_is_a_return_however_quickly_and_an_old_page_is_none() {
    let daemon = TestDaemon::builder().public().start().await;
    let made = daemon.create("order-1", &unopened()).await;
    let path = format!("/v1/signings/{}", made.id());
    let said = async || daemon.get(&path).await.body["signers"][0]["last_return"].clone();
    let mut pages = Vec::new();
    for (action, claim) in
        [("finish_later", "cancel"), ("finish_later", "cancel"), ("sign", "signing_complete")]
    {
        daemon.clock.advance(Duration::from_secs(3));
        let view = daemon.post(&format!("{path}/signers/{}/views", made.signer()), &json!({})).await;
        assert_eq!(view.status, StatusCode::CREATED, "{}", view.text);
        pages.push(daemon.back_from(action, &json!({})).await);
        daemon.look(pages.last().unwrap()).await;
        assert_eq!(said().await, json!({ "claim": claim, "at": daemon.clock.now() }));
    }
    assert_eq!(daemon.returns_told().await, 3);
    let last = said().await;
    daemon.clock.advance(Duration::from_secs(20));
    daemon.look(&pages[0]).await;
    assert_eq!((said().await, daemon.returns_told().await), (last, 3));
}

#[tokio::test]
async fn l2_a_signer_at_work_is_not_thrown_out_however_long_it_takes() {
    let daemon = TestDaemon::builder().public().start().await;
    let made = daemon.create("order-1", &plain()).await;
    let link = link_of(&made, 0);
    let view = location(&daemon.click(&link).await);
    let session = location_of(&daemon, &view).await;
    assert_eq!(daemon.look(&session).await.status, StatusCode::OK);
    let ping = daemon.recipient(0).await["ping_url"].as_str().unwrap().to_owned();
    assert!(ping.starts_with(daemon.public.as_ref().unwrap()), "{ping}");
    // The page is open for half an hour, and says so; its reader turns a page now and then.
    for _ in 0..15 {
        daemon.clock.advance(Duration::from_secs(120));
        assert_eq!(daemon.look(&ping).await.status, StatusCode::NO_CONTENT);
        assert_eq!(daemon.look(&session).await.status, StatusCode::OK);
        let second = daemon.click(&link).await;
        assert!(
            second.status == StatusCode::CONFLICT && second.text.contains("Already open"),
            "{}",
            second.text
        );
    }
    // Opening the spent address again does not end the first session.
    let spent = location_of(&daemon, &view).await;
    assert!(spent.contains("event=ttl_expired"), "{spent}");
    daemon.look(&spent).await;
    assert_eq!(daemon.click(&link).await.status, StatusCode::CONFLICT);
    assert_eq!(daemon.look(&session).await.status, StatusCode::OK, "still at work");
    daemon.broke_no_rule().await;

    // The window is closed without a word: the link is free again after five minutes.
    daemon.clock.advance(Duration::from_secs(20 * 60));
    assert_eq!(daemon.click(&link).await.status, StatusCode::SEE_OTHER);
    // The page of the old view has no say any more, and looking (HEAD) changes nothing.
    let fresh = daemon.recipient(0).await["ping_url"].as_str().unwrap().to_owned();
    daemon.clock.advance(Duration::from_secs(200));
    daemon.look(&ping).await;
    daemon.call(Method::HEAD, &fresh, None, &[], Vec::new()).await;
    daemon.clock.advance(Duration::from_secs(101));
    assert_eq!(daemon.click(&link).await.status, StatusCode::SEE_OTHER);
    for wrong in [format!("{ping}x"), ping.replace("/r/", "/r/A")] {
        assert_eq!(daemon.look(&wrong).await.status, StatusCode::NOT_FOUND, "{wrong}");
    }
}

#[tokio::test]
async fn l2_an_old_way_back_that_is_loaded_again_does_not_end_a_later_view() {
    let daemon = TestDaemon::builder().public().start().await;
    let made = daemon.create("order-1", &unopened()).await;
    let link = link_of(&made, 0);
    assert_eq!(daemon.click(&link).await.status, StatusCode::SEE_OTHER);
    let old = daemon.back_from("finish_later", &json!({})).await;
    assert_eq!(daemon.look(&old).await.status, StatusCode::OK);
    daemon.clock.advance(Duration::from_secs(20));
    let view = location(&daemon.click(&link).await);
    let session = location_of(&daemon, &view).await;
    assert_eq!(daemon.look(&session).await.status, StatusCode::OK);
    daemon.look(&old).await;
    let second = daemon.click(&link).await;
    assert!(second.status == StatusCode::CONFLICT && second.text.contains("Already open"), "{}", second.text);
    let own = daemon.back_from("finish_later", &json!({})).await;
    daemon.look(&own).await;
    assert_eq!(daemon.click(&link).await.status, StatusCode::SEE_OTHER, "its own way back ends it");
}

/// Nobody comes back by the browser, and DocuSign says that they left.
#[tokio::test]
async fn l3_whoever_puts_it_off_and_closes_the_window_may_go_on_at_once() {
    let daemon = TestDaemon::builder().public().start().await;
    let made = daemon.create("order-1", &unopened()).await;
    let link = link_of(&made, 0);
    let id = made.id().parse().unwrap();
    assert_eq!(daemon.click(&link).await.status, StatusCode::SEE_OTHER);
    daemon.clock.advance(Duration::from_secs(20));
    daemon.back_from("finish_later", &json!({})).await;
    let is_free = async || daemon.record(id).await.signing.live_view.is_none();
    daemon.until("word that they left", is_free).await;
    assert_eq!(daemon.click(&link).await.status, StatusCode::SEE_OTHER);
    let read = daemon.get(&format!("/v1/signings/{}", made.id())).await;
    assert_eq!(read.body["signers"][0]["last_return"], Value::Null, "no browser has said anything");
    daemon.broke_no_rule().await;
}

/// DocuSign tells it late, and by a clock that is an hour ahead of ours.
#[tokio::test]
async fn l2_late_word_that_a_signer_left_does_not_end_a_later_view() {
    let mut daemon = TestDaemon::builder().public().start().await;
    daemon.move_upstream(SignedDuration::from_hours(1)).await;
    let made = daemon.create("order-1", &unopened()).await;
    let link = link_of(&made, 0);
    assert_eq!(daemon.click(&link).await.status, StatusCode::SEE_OTHER);
    daemon.fault(&json!({"fault": "event_delay", "delay_ms": 30_000})).await;
    let back = daemon.back_from("finish_later", &json!({})).await;
    assert_eq!(daemon.look(&back).await.status, StatusCode::OK);
    daemon.clock.advance(Duration::from_secs(20));
    let session = location_of(&daemon, &location(&daemon.click(&link).await)).await;
    assert_eq!(daemon.look(&session).await.status, StatusCode::OK);

    let envelope = daemon.record(made.id().parse().unwrap()).await.signing.envelope.unwrap();
    let store = &daemon.parts().store;
    let has_come = async || {
        let told = store.inbound_of(&envelope, None).await.unwrap().messages;
        told.iter().any(|message| message.event == "recipient-finish-later")
    };
    daemon.run_clock("word that they left", has_come).await;
    daemon.until("it is taken in", async || store.inbox(10).await.unwrap().is_empty()).await;
    let second = daemon.click(&link).await;
    assert!(second.status == StatusCode::CONFLICT && second.text.contains("Already open"), "{}", second.text);
}

#[tokio::test]
async fn a_new_name_is_learnt_from_the_event_that_tells_it() {
    let daemon = TestDaemon::builder().public().start().await;
    let made = daemon.create("order-1", &unopened()).await;
    let link = link_of(&made, 0);
    for name in ["Augusta Ada King", "Ada Byron"] {
        assert_eq!(daemon.click(&link).await.status, StatusCode::SEE_OTHER);
        let back = daemon.back_from("finish_later", &json!({"name": name})).await;
        assert_eq!(daemon.look(&back).await.status, StatusCode::OK);
        daemon.run_clock("the name", async || daemon.look(&link).await.text.contains(name)).await;
        daemon.clock.advance(Duration::from_secs(11));
    }
    daemon.forget_requests().await;
    assert!(location(&daemon.click(&link).await).contains("/Signing/MTRedeem/"));
    assert_eq!(daemon.asked().await.len(), 1, "asked for under the name that fits");
    daemon.broke_no_rule().await;
}

/// A signer who has adopted another name and come back, and nobody has told the daemon. With the create and the link.
async fn back_under_another_name() -> (TestDaemon, Reply, String) {
    let daemon = TestDaemon::builder().public().start().await;
    let made = daemon.create("order-1", &unopened()).await;
    let link = link_of(&made, 0);
    daemon.without_events().await;
    assert_eq!(daemon.click(&link).await.status, StatusCode::SEE_OTHER);
    let back = daemon.back_from("finish_later", &json!({"name": "Augusta Ada King"})).await;
    assert_eq!(daemon.look(&back).await.status, StatusCode::OK);
    (daemon, made, link)
}

#[tokio::test]
async fn a_new_name_that_no_event_tells_is_read_once_in_a_quarter_of_an_hour_and_not_chased() {
    let (daemon, made, link) = back_under_another_name().await;
    daemon.forget_requests().await;
    assert!(location(&daemon.click(&link).await).contains("/Signing/MTRedeem/"));
    assert_eq!(daemon.asked().await.len(), 3, "refused, read once, minted");
    daemon.live_through(Duration::from_secs(60)).await;
    let back = daemon.back_from("finish_later", &json!({"name": "Ada Byron"})).await;
    assert_eq!(daemon.look(&back).await.status, StatusCode::OK);

    daemon.forget_requests().await;
    let told = daemon.click(&link).await;
    assert_eq!(told.status, StatusCode::CONFLICT, "{}", told.text);
    assert!(told.text.contains("You changed your name") && told.text.contains("14 minutes"), "{}", told.text);
    let path = format!("/v1/signings/{}/signers/{}/views", made.id(), made.signer());
    let refused = daemon.post(&path, &json!({})).await;
    assert_eq!((refused.status, refused.code()), (StatusCode::CONFLICT, "polling_budget"));
    daemon.pass(Duration::from_secs(2), 30).await;
    assert_eq!(daemon.asked().await.len(), 2, "the click and the call, and nobody tries again by itself");
    daemon.clock.advance(Duration::from_secs(13 * 60 + 1));
    assert!(location(&daemon.click(&link).await).contains("/Signing/MTRedeem/"));
    daemon.broke_no_rule().await;
}

/// It reads whose recipient ids the template has given out, and that is the one read in a quarter of an hour.
#[tokio::test]
async fn a_new_name_that_a_correction_has_read_is_the_one_that_the_next_view_is_asked_for_under() {
    let (daemon, made, link) = back_under_another_name().await;
    daemon.forget_requests().await;
    let path = format!("/v1/signings/{}/signers/{}/phone", made.id(), made.signer());
    let corrected = daemon.post(&path, &json!({"phone": "+4915187654321"})).await;
    assert_eq!(corrected.status, StatusCode::OK, "{}", corrected.text);
    let asked = daemon.asked().await;
    let is_read = |line: &&String| line.starts_with("GET ") && line.ends_with("/recipients");
    assert_eq!(asked.iter().filter(is_read).count(), 1, "{asked:?}");

    daemon.forget_requests().await;
    assert!(location(&daemon.click(&link).await).contains("/Signing/MTRedeem/"));
    assert_eq!(daemon.asked().await.len(), 1, "asked for under the name that fits");
    daemon.broke_no_rule().await;
}

#[tokio::test]
async fn a_new_name_that_could_not_be_read_is_not_chased_until_it_may_be_read_again() {
    let (daemon, _, link) = back_under_another_name().await;
    let down = json!({"fault": "status", "status": 503, "method": "GET", "path": "/recipients", "count": 1});
    daemon.fault(&down).await;
    daemon.forget_requests().await;
    let told = daemon.click(&link).await;
    assert_eq!(told.status, StatusCode::CONFLICT, "{}", told.text);
    assert!(told.text.contains("You changed your name") && told.text.contains("15 minutes"), "{}", told.text);
    daemon.pass(Duration::from_secs(2), 30).await;
    let asked = daemon.asked().await;
    let mints = asked.iter().filter(|line| line.contains("/views/recipient")).count();
    assert_eq!(mints, 1, "{asked:?}");
    daemon.clock.advance(Duration::from_secs(14 * 60 + 1));
    assert!(location(&daemon.click(&link).await).contains("/Signing/MTRedeem/"));
    daemon.broke_no_rule().await;
}
