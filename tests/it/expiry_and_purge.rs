//! What time brings by itself to signings that exist: in its time, by the right clock, and each whatever becomes of
//! the others.

use std::time::Duration;

use countersign::{
    clock::Clock as _,
    domain::SigningId,
    store::{Retention, Work},
};
use http::{Method, StatusCode};
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::harness::{CALLER_KEY, TestDaemon, order};

const HOUR: u64 = 3_600;
/// Another account of the user whom the sender of most tests acts as.
const ELSEWHERE: &str = "3f1c9a52-6f0e-4a3b-8f57-1d2a90c4e002";

impl TestDaemon {
    /// Moves the upstream's clock, and starts the daemon anew, which learns of it as from any answer.
    pub(crate) async fn move_upstream(&mut self, by: SignedDuration) {
        let moved = json!({"advance_s": by.as_secs()});
        self.restart_after(async |daemon| drop(daemon.control(Method::POST, "clock", &moved).await)).await;
    }
}

/// A signing that its caller wants to end after so long.
async fn ending_after(daemon: &TestDaemon, sender: &str, expires_in: &str) -> SigningId {
    let mut short = order();
    short["expires_in"] = json!(expires_in);
    short["sender"] = json!(sender);
    let made = daemon.create("order-1", &short).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    made.id().parse().unwrap()
}

/// A daemon with a sender `acme`, which its caller may set to another account.
async fn with_acme() -> TestDaemon {
    let daemon = TestDaemon::builder().caller("sender_patterns = [\"system\"]\n").start().await;
    let sender = json!({"name": "acme", "like": "system", "user_id": daemon.emulator.ready().user_id});
    assert_eq!(daemon.post("/v1/senders", &sender).await.status, StatusCode::CREATED);
    daemon
}

async fn set_account_of_acme(daemon: &TestDaemon, account: &Value) {
    let url = format!("{}/v1/senders/acme", daemon.api);
    let body = json!({ "account": account }).to_string().into_bytes();
    let json_type = [("content-type", "application/json")];
    let changed = daemon.call(Method::PATCH, &url, Some(CALLER_KEY), &json_type, body).await;
    assert_eq!(changed.status, StatusCode::OK, "{}", changed.text);
}

async fn status(daemon: &TestDaemon, id: SigningId) -> String {
    daemon.record(id).await.signing.status.as_str().to_owned()
}

/// How often somebody wanted to change an envelope.
async fn voids(daemon: &TestDaemon) -> usize {
    daemon.requests().await.iter().filter(|line| line.starts_with("PUT ")).count()
}

#[tokio::test]
async fn a_late_look_for_a_second_envelope_costs_neither_the_next_looks_nor_the_end() {
    let daemon = TestDaemon::start().await;
    let id = ending_after(&daemon, "system", "2h").await;
    let sent_again = daemon.clock.now();
    let first_look = Work::at(sent_again + SignedDuration::from_mins(1));
    daemon.rewrite(id, Some(first_look), |signing| signing.repeated_at = Some(sent_again)).await;
    daemon.fault(&json!({"fault": "status", "status": 503, "method": "GET", "path": "/envelopes"})).await;
    daemon.run_clock("a look that fails", async || daemon.record(id).await.work.unwrap().attempts > 0).await;
    // By the first look that comes through it is time for the second one, too.
    daemon.clock.advance(Duration::from_secs(16 * 60));
    daemon.control(Method::DELETE, "faults", &Value::Null).await;
    let looks = async || daemon.record(id).await.signing.twins_sought;
    daemon.run_clock("two looks", async || looks().await == 2).await;
    daemon.clock.advance(Duration::from_secs(2 * HOUR));
    daemon.run_clock("the end", async || status(&daemon, id).await == "expired").await;
    assert_eq!(looks().await, 2);
    daemon.clock.advance(Duration::from_secs(24 * HOUR));
    daemon.run_clock("the last look", async || looks().await == 3).await;
    daemon.run_clock("nothing more", async || daemon.record(id).await.work.is_none()).await;
}

#[tokio::test]
async fn what_fails_again_and_again_keeps_nothing_else_back() {
    let daemon = TestDaemon::start().await;
    let id = ending_after(&daemon, "system", "36h").await;
    let made = daemon.clock.now();
    let end = Work::at(made + SignedDuration::from_hours(36));
    // The last look comes eight hours after the end.
    daemon
        .rewrite(id, Some(end), |signing| {
            signing.repeated_at = Some(made + SignedDuration::from_hours(20));
            signing.twins_sought = 2;
        })
        .await;
    let envelope = daemon.record(id).await.signing.envelope.unwrap();
    let down = json!({"fault": "status", "status": 503, "method": "PUT", "path": envelope.as_str()});
    daemon.fault(&down).await;
    daemon.clock.advance(Duration::from_secs(36 * HOUR));
    daemon.run_clock("a void that fails", async || voids(&daemon).await > 0).await;
    daemon.clock.advance(Duration::from_secs(8 * HOUR));
    daemon.run_clock("the look", async || daemon.record(id).await.signing.twins_sought == 3).await;
    assert_eq!(status(&daemon, id).await, "open");
    daemon.control(Method::DELETE, "faults", &Value::Null).await;
    daemon.run_clock("the end", async || status(&daemon, id).await == "expired").await;
}

/// The end is told by DocuSign, which may be late; the caller's time is over all the same.
#[tokio::test]
async fn l3_nobody_is_given_a_view_or_a_link_once_the_time_is_over_however_late_the_void_comes() {
    let daemon = TestDaemon::builder().public().start().await;
    let id = ending_after(&daemon, "system", "36h").await;
    let signer = daemon.record(id).await.signing.signers[0].id;
    let ask = async |what: &str| {
        daemon.post(&format!("/v1/signings/{id}/signers/{signer}/{what}"), &json!({})).await
    };
    for what in ["views", "links"] {
        assert_eq!(ask(what).await.status, StatusCode::CREATED, "{what}");
    }
    let envelope = daemon.record(id).await.signing.envelope.unwrap();
    let passed = format!("/v1/senders/system/esign/envelopes/{envelope}/views/recipient");
    let view = json!({"returnUrl": "https://www.example.com/done", "authenticationMethod": "none",
        "userName": "Ada", "email": "ada@example.com", "clientUserId": "c-1"});
    let answered = daemon.post(&passed, &view).await;
    assert!(!answered.text.contains("signing_closed"), "that is DocuSign's to refuse: {}", answered.text);
    let down = json!({"fault": "status", "status": 503, "method": "PUT", "path": envelope.as_str()});
    daemon.fault(&down).await;
    daemon.clock.advance(Duration::from_secs(36 * HOUR));
    daemon.run_clock("a void that fails", async || voids(&daemon).await > 0).await;
    daemon.forget_requests().await;
    for (what, refused) in [
        ("views", ask("views").await),
        ("links", ask("links").await),
        ("a passed view", daemon.post(&passed, &view).await),
    ] {
        assert_eq!((refused.status, refused.code()), (StatusCode::CONFLICT, "signing_closed"), "{what}");
        assert!(refused.body["detail"].as_str().unwrap().contains("has expired"), "{}", refused.text);
        let fix = refused.body["fix"].as_str().unwrap();
        for word in ["new signing", "signing.expired", "signing.failed if its create"] {
            assert!(fix.contains(word), "{}", refused.text);
        }
    }
    assert_eq!(status(&daemon, id).await, "open");
    let asked = daemon.requests().await;
    assert!(!asked.iter().any(|line| line.ends_with("/views/recipient")), "no call is spent: {asked:?}");
    daemon.control(Method::DELETE, "faults", &Value::Null).await;
    daemon.run_clock("the end", async || status(&daemon, id).await == "expired").await;
}

#[tokio::test]
async fn a_create_that_takes_longer_than_its_signing_may_live_has_no_first_view() {
    let daemon = TestDaemon::start().await;
    let slow = json!({"fault": "delay", "method": "POST", "path": "/envelopes", "count": 1, "delay_ms": 500});
    daemon.fault(&slow).await;
    let mut short = order();
    short["expires_in"] = json!("2s");
    let meanwhile = async {
        let is_sent = async || daemon.requests().await.iter().any(|line| line.ends_with("/envelopes"));
        daemon.until("the create to be sent", is_sent).await;
        daemon.clock.advance(Duration::from_secs(10));
    };
    let headers = [("prefer", "wait=25")];
    let (made, ()) = tokio::join!(daemon.create_with("order-1", &short, &headers), meanwhile);
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    assert!(made.body["signers"][0]["view"].is_null(), "{}", made.text);
    let asked = daemon.requests().await;
    assert!(!asked.iter().any(|line| line.ends_with("/views/recipient")), "{asked:?}");
    let id: SigningId = made.id().parse().unwrap();
    daemon.run_clock("the end", async || status(&daemon, id).await == "expired").await;
}

/// A void cannot be undone: it goes by the upstream's clock, and not by this machine's, which is a day and more ahead.
#[tokio::test]
async fn nothing_ends_early_because_this_machines_clock_is_ahead() {
    let daemon = TestDaemon::start().await;
    let id = ending_after(&daemon, "system", "36h").await;
    let work = daemon.record(id).await.work.unwrap();
    daemon.forget_requests().await;
    daemon.clock.step(SignedDuration::from_hours(40));
    daemon.run_clock("a look at it", async || daemon.record(id).await.work.unwrap().attempts > 0).await;
    assert_eq!((status(&daemon, id).await.as_str(), voids(&daemon).await), ("open", 0));
    // The clock is mended, and with it the date of the next look.
    daemon.clock.step(SignedDuration::from_hours(-40));
    daemon.run_clock("its own time", async || daemon.record(id).await.work == Some(work)).await;
    daemon.clock.advance(Duration::from_secs(36 * HOUR));
    daemon.run_clock("the end", async || status(&daemon, id).await == "expired").await;
    assert_eq!(voids(&daemon).await, 1);
}

/// DocuSign's clock is the right one, and dates the end of a signing and that of its purge.
#[tokio::test]
async fn a_purge_is_dated_by_docusigns_clock_and_looked_at_by_it() {
    let mut daemon = TestDaemon::start().await;
    daemon.move_upstream(SignedDuration::from_hours(2)).await;
    let made = daemon.create("order-1", &order()).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    daemon.sign_all().await;
    let path = format!("/v1/signings/{}", made.id());
    let refreshed = daemon.post(&format!("{path}/refresh"), &json!({})).await;
    assert_eq!(refreshed.body["status"], "completed", "{}", refreshed.text);
    let asked = daemon.post(&format!("{path}/purge"), &json!({})).await;
    assert_eq!(asked.status, StatusCode::ACCEPTED, "{}", asked.text);
    let record = daemon.record(made.id().parse().unwrap()).await;
    let (asked_at, ended_at) =
        (record.signing.purge_requested_at.unwrap(), record.signing.completed_at.unwrap());
    assert!(asked_at >= ended_at, "{asked_at} {ended_at}");
    // By this machine's own clock that is as long from now.
    let due_in = record.work.unwrap().due_at.duration_since(daemon.clock.now());
    let look = SignedDuration::from_hours(14 * 24 + 6);
    assert!((due_in - look).abs() < SignedDuration::from_secs(60), "{due_in:?}");
}

/// The machine's clock is a day behind when it makes a signing, and is mended then: its end comes in its time, and its
/// key is known as long as any (rules E3, T9).
#[tokio::test]
async fn e3_a_clock_that_was_a_day_behind_ends_nothing_early_and_forgets_no_key() {
    let mut daemon = TestDaemon::start().await;
    let day = SignedDuration::from_hours(24);
    daemon.move_upstream(day).await;
    let order_of = |expires_in: &str| {
        let mut short = order();
        short["expires_in"] = json!(expires_in);
        short
    };
    let (upstream, wanted) = (daemon.clock.now() + day, order_of("36h"));
    let made = daemon.create("order-1", &wanted).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    let earlier: SigningId = daemon.create("order-2", &order_of("34h")).await.id().parse().unwrap();
    let id: SigningId = made.id().parse().unwrap();
    let record = daemon.record(id).await;
    let (created_at, end) = (record.signing.created_at, record.signing.expires_at.unwrap());
    assert!(created_at.duration_since(upstream).abs() < SignedDuration::from_secs(3), "{created_at}");
    // What comes, this machine does by its own clock.
    let due_in = record.work.unwrap().due_at.duration_since(daemon.clock.now());
    assert!((due_in - SignedDuration::from_hours(36)).abs() < SignedDuration::from_secs(3), "{due_in:?}");

    daemon.clock.step(day);
    daemon.move_upstream(-day).await;
    // Then it comes up a day early, and is put off.
    daemon.clock.advance(Duration::from_secs(12 * HOUR));
    daemon.run_clock("its own time", async || daemon.record(id).await.work == Some(Work::at(end))).await;
    daemon.clock.advance(Duration::from_secs(22 * HOUR));
    daemon.run_clock("the end before", async || status(&daemon, earlier).await == "expired").await;
    assert_eq!((status(&daemon, id).await.as_str(), voids(&daemon).await), ("open", 1));
    daemon.clock.advance(Duration::from_secs(2 * HOUR));
    daemon.run_clock("the end", async || status(&daemon, id).await == "expired").await;

    let told = || daemon.parts().esign.told_now().unwrap();
    for (age, is_known) in [(7 * 24 - 1, true), (7 * 24 + 1, false)] {
        let left = (created_at + SignedDuration::from_hours(age)).duration_since(told());
        daemon.clock.advance(Duration::try_from(left).unwrap());
        let kept = Retention::at(told(), SignedDuration::from_hours(90 * 24));
        daemon.parts().store.destroy(kept).await.unwrap();
        let again = daemon.create("order-1", &wanted).await;
        assert_eq!(
            (again.status, again.id() == made.id()),
            (StatusCode::CREATED, is_known),
            "{}",
            again.text
        );
    }
}

#[tokio::test]
async fn what_nobody_can_do_any_more_is_given_up_after_a_month() {
    let daemon = TestDaemon::builder().caller("sender_patterns = [\"system\"]\n").start().await;
    let sender = json!({"name": "acme", "like": "system", "user_id": daemon.emulator.ready().user_id});
    assert_eq!(daemon.post("/v1/senders", &sender).await.status, StatusCode::CREATED);
    let id = ending_after(&daemon, "acme", "36h").await;
    let sender = format!("{}/v1/senders/acme", daemon.api);
    let gone = daemon.call(Method::DELETE, &sender, Some(CALLER_KEY), &[], Vec::new()).await;
    assert!(gone.status.is_success(), "{}", gone.text);
    daemon.clock.advance(Duration::from_secs(36 * HOUR));
    daemon.run_clock("a try", async || daemon.record(id).await.work.unwrap().attempts > 0).await;
    daemon.clock.advance(Duration::from_secs(29 * 24 * HOUR));
    let tried = daemon.record(id).await.work.unwrap().attempts;
    daemon.run_clock("a try", async || daemon.record(id).await.work.unwrap().attempts > tried).await;
    daemon.clock.advance(Duration::from_secs(24 * HOUR));
    daemon.run_clock("the last try", async || daemon.record(id).await.work.is_none()).await;
}

/// Its sender was set to another account, where nothing is found of it: nobody asks there, whatever is asked of us, and
/// what time brings comes once the sender is set back.
#[tokio::test]
async fn what_is_in_an_account_that_its_sender_has_left_is_sought_nowhere_else() {
    let daemon = with_acme().await;
    let mut of_acme = order();
    of_acme["sender"] = json!("acme");
    let done = daemon.create("done", &of_acme).await;
    daemon.sign_all().await;
    let done = format!("/v1/signings/{}", done.id());
    assert_eq!(daemon.post(&format!("{done}/refresh"), &json!({})).await.body["status"], "completed");
    let id = ending_after(&daemon, "acme", "36h").await;
    let signer = daemon.record(id).await.signing.signers[0].id;
    set_account_of_acme(&daemon, &json!(ELSEWHERE)).await;
    daemon.forget_requests().await;
    let mut refused = Vec::new();
    for (path, body) in [
        (format!("/v1/signings/{id}/refresh"), json!({})),
        (format!("/v1/signings/{id}/void"), json!({"reason": "ordered twice"})),
        (format!("/v1/signings/{id}/signers/{signer}/access_code"), json!({"access_code": "Turing-1936"})),
        (format!("{done}/purge"), json!({})),
    ] {
        refused.push(daemon.post(&path, &body).await);
    }
    refused.push(daemon.get(&format!("{done}/documents/combined")).await);
    for one in refused {
        assert_eq!((one.status.as_u16(), one.code()), (502, "sender_not_in_account"), "{}", one.text);
        assert!(one.body["fix"].as_str().unwrap().contains("back to the one"), "{}", one.text);
    }
    daemon.clock.advance(Duration::from_secs(36 * HOUR));
    daemon.run_clock("a try", async || daemon.record(id).await.work.unwrap().attempts > 0).await;
    let asked = daemon.requests().await;
    assert!(!asked.iter().any(|line| line.contains("/envelopes/")), "{asked:?}");
    assert_eq!(status(&daemon, id).await, "open");

    set_account_of_acme(&daemon, &Value::Null).await;
    daemon.run_clock("the end", async || status(&daemon, id).await == "expired").await;
}

/// In another account nothing would be found of it, so that there is no look, and none of the three is used up.
#[tokio::test]
async fn a_second_envelope_is_looked_for_once_its_sender_is_back_in_its_account() {
    let daemon = with_acme().await;
    let mut of_acme = order();
    of_acme["sender"] = json!("acme");
    let made = daemon.create("order-1", &of_acme).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    let id: SigningId = made.id().parse().unwrap();
    set_account_of_acme(&daemon, &json!(ELSEWHERE)).await;
    let now = daemon.clock.now();
    let sent_again = now - SignedDuration::from_mins(1);
    daemon.rewrite(id, Some(Work::at(now)), |signing| signing.repeated_at = Some(sent_again)).await;
    daemon.forget_requests().await;
    let tried = async || {
        let record = daemon.record(id).await;
        record.signing.twins_sought > 0 || record.work.is_some_and(|work| work.attempts > 0)
    };
    daemon.run_clock("a try", tried).await;
    assert_eq!(daemon.record(id).await.signing.twins_sought, 0);
    let asked = daemon.requests().await;
    assert!(!asked.iter().any(|line| line.ends_with("/envelopes")), "{asked:?}");

    set_account_of_acme(&daemon, &Value::Null).await;
    let looked = async || daemon.record(id).await.signing.twins_sought >= 1;
    daemon.run_clock("the look", looked).await;
    assert!(daemon.requests().await.iter().any(|line| line.ends_with("/envelopes")));
}

/// A purge that never comes is followed for sixteen days, however often nobody could be asked meanwhile.
#[tokio::test]
async fn an_outage_uses_up_none_of_the_looks_at_a_purge() {
    let daemon = TestDaemon::start().await;
    let id = ending_after(&daemon, "system", "36h").await;
    daemon.sign_all().await;
    let refreshed = daemon.post(&format!("/v1/signings/{id}/refresh"), &json!({})).await;
    assert_eq!(refreshed.body["status"], "completed", "{}", refreshed.text);
    daemon.clock.advance(Duration::from_secs(HOUR));
    // It should have happened by now, and many looks have failed.
    let now = daemon.clock.now();
    let work = Work { attempts: 20, ..Work::at(now) };
    daemon
        .rewrite(id, Some(work), |signing| {
            signing.purge_requested_at = Some(now - SignedDuration::from_hours(14 * 24 + 6));
        })
        .await;
    let next = async || daemon.record(id).await.work;
    daemon.run_clock("a look", async || next().await.unwrap().attempts == 0).await;
    daemon.clock.advance(Duration::from_secs(15 * 24 * HOUR));
    daemon.run_clock("another", async || next().await.unwrap().due_at > daemon.clock.now()).await;
    daemon.clock.advance(Duration::from_secs(25 * HOUR));
    daemon.run_clock("the last look", async || next().await.is_none()).await;
}
