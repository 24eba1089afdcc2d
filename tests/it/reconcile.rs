//! What nobody could tell us: what happened while we were down, and signings of which nothing is heard.

use std::time::Duration;

use countersign::{
    clock::Clock as _,
    domain::{SenderName, SigningStatus},
    store::{Begun, Work},
};
use http::{Method, StatusCode};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::{
    harness::{Reply, TestDaemon, order},
    intake::{digest, push},
    postgres,
    signings::{base64_of, contract},
    store::samples,
};

/// The emulator's second account.
const SECOND_ACCOUNT: &str = "3f1c9a52-6f0e-4a3b-8f57-1d2a90c4e002";

#[tokio::test]
async fn what_happened_while_we_were_down_is_asked_for_with_one_call() {
    let mut daemon = TestDaemon::builder().public().start().await;
    let made = daemon.create("order-1", &order()).await;
    let other = daemon.create("order-2", &order()).await;
    daemon.run_clock("its pulse", async || daemon.parts().store.last_pulse().await.unwrap().is_some()).await;
    daemon
        .restart_after(async |daemon| {
            daemon.clock.advance(Duration::from_secs(600));
            let signers = daemon.control(Method::GET, "signers", &Value::Null).await;
            let ours = signers["signers"].as_array().unwrap();
            let envelope = &made.body["provider"]["envelope_id"];
            let signer = ours.iter().find(|one| one["envelope_id"] == *envelope).unwrap();
            let id = signer["id"].as_str().unwrap();
            daemon.control(Method::POST, &format!("signers/{id}/sign"), &json!({})).await;
            daemon.forget_requests().await;
        })
        .await;
    // Time stands still: DocuSign's own second try, after a while, is not what brings it.
    let path = format!("/v1/signings/{}", made.id());
    daemon.until("completed", async || daemon.get(&path).await.body["status"] == "completed").await;
    assert_eq!(daemon.get(&format!("/v1/signings/{}", other.id())).await.body["status"], "open");
    let asked = daemon.requests().await;
    let asked: Vec<_> = asked.iter().filter(|line| line.starts_with("GET /restapi")).collect();
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert!(asked[0].ends_with("/envelopes"), "{asked:?}");
}

/// An account's own configuration sends a completion without the recipients; ours comes later, and tells when they signed.
#[tokio::test]
async fn f1_when_somebody_signed_is_written_down_also_after_a_completion_that_did_not_say_so() {
    let daemon = TestDaemon::builder().public().start().await;
    let made = daemon.create("order-1", &order()).await;
    let (path, envelope) = (format!("/v1/signings/{}", made.id()), &made.body["provider"]["envelope_id"]);
    let asked_at = daemon.clock.now();
    daemon.clock.advance(Duration::from_secs(300));
    let after = |seconds| (asked_at + SignedDuration::from_secs(seconds)).to_string();
    let bare = json!({"event": "envelope-completed", "generatedDateTime": after(20),
        "data": {"envelopeId": envelope}});
    let mut full = bare.clone();
    full["generatedDateTime"] = json!(after(21));
    full["data"]["envelopeSummary"] = json!({"status": "completed", "envelopeId": envelope,
        "completedDateTime": after(19), "recipients": {"signers": [{"recipientId": "1", "status": "completed",
            "clientUserId": made.signer(), "signedDateTime": after(10)}]}});
    let url = format!("{}/in/docusign/events", daemon.public.as_ref().unwrap());
    let send = async |message: &Value| {
        let body = serde_json::to_vec(message).unwrap();
        let digest = digest(&daemon, &body);
        assert_eq!(push(&daemon, &url, &[("x-docusign-signature-1", &digest)], body).await, StatusCode::OK);
    };
    let signed_at = async || {
        let timeline = daemon.get(&format!("{path}/timeline")).await;
        let moments = timeline.body["data"].as_array().unwrap();
        let line = moments.iter().find(|moment| moment["what"] == "signer.signed");
        line.map(|line| line["happened_at"].clone())
    };
    let told = async || daemon.get("/v1/events?limit=100").await.body["data"].as_array().unwrap().len();
    send(&bare).await;
    daemon.until("completed", async || daemon.get(&path).await.body["status"] == "completed").await;
    assert_eq!(signed_at().await, Some(Value::Null));
    let before = told().await;
    send(&full).await;
    daemon.until("when they signed", async || signed_at().await == Some(json!(after(10)))).await;
    let read = daemon.get(&path).await;
    assert_eq!((&read.body["completed_at"], told().await), (&json!(after(20)), before), "it is no news");
}

#[tokio::test]
async fn what_was_signed_in_an_outage_of_two_days_is_dated_by_docusign() {
    const OUTAGE: SignedDuration = SignedDuration::from_hours(48);
    let mut daemon = TestDaemon::builder().public().start().await;
    let made = daemon.create("order-1", &order()).await;
    daemon.run_clock("its pulse", async || daemon.parts().store.last_pulse().await.unwrap().is_some()).await;
    daemon.clock.advance(Duration::from_secs(300));
    let signed_at = daemon.clock.now();
    daemon
        .restart_after(async |daemon| {
            daemon.sign_all().await;
            daemon.clock.advance(OUTAGE.unsigned_abs());
        })
        .await;
    let path = format!("/v1/signings/{}", made.id());
    daemon.until("completed", async || daemon.get(&path).await.body["status"] == "completed").await;
    let signed = json!(signed_at.to_string());
    assert_eq!(daemon.get(&path).await.body["completed_at"], signed);
    let timeline = daemon.get(&format!("{path}/timeline")).await;
    for what in ["signer.signed", "signing.completed"] {
        let moments = timeline.body["data"].as_array().unwrap();
        let line = moments.iter().find(|moment| moment["what"] == what).unwrap();
        assert_eq!(line["happened_at"], signed, "{what}");
        assert!(date(&line["at"]) >= signed_at + OUTAGE, "it was heard of then: {line}");
    }
    let events = daemon.get("/v1/events?limit=100").await;
    let told =
        events.body["data"].as_array().unwrap().iter().find(|event| event["type"] == "signing.completed");
    let told = told.unwrap();
    assert_eq!(told["data"]["completed_at"], signed);
    assert!(date(&told["timestamp"]) >= signed_at + OUTAGE, "and told then: {told}");
}

/// DocuSign's clock is the right one.
#[tokio::test]
async fn nothing_is_signed_before_it_was_asked_for_by_a_machine_whose_clock_is_behind() {
    let mut daemon = TestDaemon::builder().public().start().await;
    daemon.move_upstream(SignedDuration::from_hours(2)).await;
    let made = daemon.create("order-1", &order()).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    daemon.sign_all().await;
    daemon.settle(made.id(), "completed").await;
    let read = daemon.get(&format!("/v1/signings/{}", made.id())).await;
    let took = date(&read.body["completed_at"]).duration_since(date(&read.body["created_at"]));
    assert!((0..60).contains(&took.as_secs()), "{}", read.text);
}

/// A date in an answer.
fn date(shown: &Value) -> Timestamp {
    shown.as_str().unwrap().parse().unwrap()
}

/// A daemon with two signings, of which no event tells.
async fn without_events() -> (TestDaemon, [Reply; 2]) {
    let daemon = TestDaemon::builder().public().start().await;
    let made = [daemon.create("order-1", &order()).await, daemon.create("order-2", &order()).await];
    daemon.run_clock("its pulse", async || daemon.parts().store.last_pulse().await.unwrap().is_some()).await;
    daemon.fault(&json!({"fault": "event_bad_signature"})).await;
    daemon.forget_requests().await;
    (daemon, made)
}

/// Has the one signer of a signing sign.
async fn sign(daemon: &TestDaemon, made: &Reply) {
    let signers = daemon.control(Method::GET, "signers", &Value::Null).await;
    let envelope = &made.body["provider"]["envelope_id"];
    let all = signers["signers"].as_array().unwrap();
    let id = all.iter().find(|one| one["envelope_id"] == *envelope).unwrap()["id"].as_str().unwrap();
    daemon.control(Method::POST, &format!("signers/{id}/sign"), &json!({})).await;
}

async fn stands(daemon: &TestDaemon, made: &Reply) -> String {
    let read = daemon.get(&format!("/v1/signings/{}", made.id())).await;
    read.body["status"].as_str().unwrap().to_owned()
}

/// The lists that the upstream was asked for.
async fn lists(daemon: &TestDaemon) -> usize {
    let is_list = |line: &&String| line.starts_with("GET /restapi") && line.ends_with("/envelopes");
    daemon.requests().await.iter().filter(is_list).count()
}

/// Its machine was suspended. DocuSign may keep what comes later back for a day.
#[tokio::test]
async fn what_happened_while_a_daemon_stood_still_is_asked_for_at_once_and_what_comes_later_within_the_hour()
{
    let (daemon, [first, second]) = without_events().await;
    sign(&daemon, &first).await;
    daemon.live_through(Duration::from_secs(60)).await;
    assert_eq!((lists(&daemon).await, &*stands(&daemon, &first).await), (0, "open"), "it was there");
    daemon.clock.advance(Duration::from_secs(40));
    daemon.run_clock_slowly("completed", async || stands(&daemon, &first).await == "completed").await;
    assert_eq!((lists(&daemon).await, &*stands(&daemon, &second).await), (1, "open"));
    sign(&daemon, &second).await;
    daemon.live_through(Duration::from_secs(40 * 60)).await;
    assert_eq!((lists(&daemon).await, &*stands(&daemon, &second).await), (1, "open"));
    daemon.live_through(Duration::from_secs(36 * 60)).await;
    daemon.until("completed", async || stands(&daemon, &second).await == "completed").await;
    assert_eq!(lists(&daemon).await, 2);
}

/// Somebody else holds the file of its store for as long as a delivery may wait.
#[tokio::test]
async fn what_happened_while_deliveries_were_refused_is_asked_for_within_a_pulse() {
    let (daemon, [first, second]) = without_events().await;
    sign(&daemon, &first).await;
    let holder = rusqlite::Connection::open(daemon.store_file()).unwrap();
    holder.execute_batch("BEGIN IMMEDIATE").unwrap();
    let message = json!({"event": "envelope-sent", "generatedDateTime": "2026-06-01T12:00:01.0000000Z",
        "data": {"envelopeId": second.body["provider"]["envelope_id"]}});
    let body = serde_json::to_vec(&message).unwrap();
    let (url, digest) =
        (format!("{}/in/docusign/events", daemon.public.as_ref().unwrap()), digest(&daemon, &body));
    let headers = [("x-docusign-signature-1", &*digest)];
    let answer = tokio::select! {
        answer = push(&daemon, &url, &headers, body) => answer,
        () = daemon.pass(Duration::from_millis(100), u32::MAX) => unreachable!(),
    };
    assert_eq!(answer, StatusCode::SERVICE_UNAVAILABLE);
    holder.execute_batch("ROLLBACK").unwrap();
    drop(holder);
    let refused_at = daemon.clock.now();
    daemon.run_clock_slowly("completed", async || stands(&daemon, &first).await == "completed").await;
    let took = daemon.clock.now().duration_since(refused_at);
    assert!(took < SignedDuration::from_secs(60), "{took:?}");
    assert_eq!((lists(&daemon).await, &*stands(&daemon, &second).await), (1, "open"));
}

/// The store was away for both of them. What one has asked, since when and with what answer, the other cannot know.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_daemons_that_had_to_refuse_deliveries_each_asks_what_happened() {
    let Some(url) = postgres::database() else { return };
    let daemon = TestDaemon::builder().store(&url).start().await;
    let beside = daemon.beside().await;
    let made = daemon.create("order-1", &order()).await;
    daemon.sign_all().await;
    // It stays open: who comes second has something to ask for, too.
    assert_eq!(daemon.create("order-2", &order()).await.status, StatusCode::CREATED);
    daemon.forget_requests().await;
    daemon.parts().signings.event_refused();
    beside.parts.signings.event_refused();
    daemon.run_clock_slowly("both lists", async || lists(&daemon).await == 2).await;
    daemon.until("completed", async || stands(&daemon, &made).await == "completed").await;
    daemon.pass(Duration::from_secs(1), 60).await;
    assert_eq!(lists(&daemon).await, 2, "each asks once");
    beside.stop().await;
}

/// Its clock was ahead when it wrote that it was there, and is right now: that says nothing of how long it was away.
#[tokio::test]
async fn a_pulse_from_the_future_hides_nothing_that_happened_since() {
    let mut daemon = TestDaemon::builder().public().start().await;
    let made = daemon.create("order-1", &order()).await;
    daemon.run_clock("its pulse", async || daemon.parts().store.last_pulse().await.unwrap().is_some()).await;
    daemon
        .restart_after(async |daemon| {
            daemon.clock.step(SignedDuration::from_hours(-3));
            daemon.clock.advance(Duration::from_secs(600));
            daemon.sign_all().await;
        })
        .await;
    let path = format!("/v1/signings/{}", made.id());
    daemon.until("completed", async || daemon.get(&path).await.body["status"] == "completed").await;
    let is_past = async || {
        daemon.parts().store.last_pulse().await.unwrap().is_some_and(|last| last <= daemon.clock.now())
    };
    daemon.until("a pulse of now", is_past).await;
}

/// The same with a create that is in doubt: it is looked up within a minute, and not only on the day that was written.
#[tokio::test]
async fn e2_a_create_that_a_wrong_clock_has_put_off_is_taken_up_within_a_minute() {
    let daemon = TestDaemon::start().await;
    daemon.fault_create("reset_before_commit").await;
    let made = daemon.queue("order-1", &order()).await;
    let path = format!("/v1/signings/{}", made.id());
    daemon.until("doubt", async || daemon.get(&path).await.body["status"] == "uncertain").await;
    let work = Work::at(daemon.clock.now() + SignedDuration::from_hours(24 * 365));
    daemon.rewrite(made.id().parse().unwrap(), Some(work), |_| {}).await;
    let begun = daemon.clock.now();
    daemon.run_clock_slowly("open", async || daemon.get(&path).await.body["status"] == "open").await;
    let took = daemon.clock.now().duration_since(begun);
    assert!(took < SignedDuration::from_mins(2), "{took:?}");
    assert_eq!(daemon.envelopes().await, 1);
}

/// The upstream does not answer, and may take longer than a stop.
#[tokio::test]
async fn h2_a_stop_does_not_wait_for_what_is_asked_of_quiet_signings() {
    let mut daemon = TestDaemon::start().await;
    daemon.restart_with(|settings| settings.replace("deadline = 5", "deadline = 60")).await;
    daemon.create("order-1", &order()).await;
    daemon.forget_requests().await;
    daemon.fault(&json!({"fault": "stall", "method": "GET", "path": "/envelopes", "count": 20})).await;
    daemon.clock.advance(Duration::from_secs(3_700));
    let is_asked = async || daemon.requests().await.iter().any(|line| line.starts_with("GET /restapi"));
    daemon.run_clock("the question", is_asked).await;
    // A call to the upstream may take half a minute.
    let stopped = tokio::time::timeout(Duration::from_secs(20), daemon.stop()).await;
    assert!(stopped.is_ok(), "it waits for the answer");
}

/// What the upstream was asked until so many signings were found to be completed.
pub(crate) async fn asked_until_completed(daemon: &TestDaemon, count: usize) -> Vec<String> {
    let completed = async || {
        let listed = daemon.get("/v1/signings?status=completed").await;
        listed.body["data"].as_array().unwrap().len() == count
    };
    daemon.run_clock("completed", completed).await;
    let requests = daemon.requests().await;
    requests.into_iter().filter(|line| line.starts_with("GET /restapi")).collect()
}

#[tokio::test]
async fn signings_of_which_nothing_is_heard_are_asked_about_many_at_a_time() {
    // Without the public listener nobody can tell us.
    let daemon = TestDaemon::start().await;
    for number in 0..3 {
        daemon.create(&format!("order-{number}"), &order()).await;
    }
    daemon.sign_all().await;
    daemon.forget_requests().await;
    daemon.clock.advance(Duration::from_secs(3_700));
    let asked = asked_until_completed(&daemon, 3).await;
    assert_eq!(asked.len(), 1, "{asked:?}");
}

#[tokio::test]
async fn a_sender_that_cannot_be_asked_hides_nobody_elses_quiet_signings() {
    let daemon = TestDaemon::start().await;
    // As many as one look takes, older than all others, of a sender that is not in the settings any more.
    let store = &daemon.parts().store;
    for number in 0..100 {
        let mut intent = samples::intent(number);
        intent.signing.created_at = "2026-05-01T12:00:00Z".parse().unwrap();
        let mut signing = samples::full(intent.signing.clone());
        signing.sender = SenderName::new("gone");
        signing.status = SigningStatus::Open;
        signing.checked_at = None;
        let Begun::New(version) = store.begin(&intent).await.unwrap() else { panic!("a new key") };
        store.save(samples::change(&signing, version)).await.unwrap();
    }
    let made = daemon.create("order-1", &order()).await;
    daemon.sign_all().await;
    daemon.clock.advance(Duration::from_secs(3_700));
    let path = format!("/v1/signings/{}", made.id());
    daemon.run_clock("completed", async || daemon.get(&path).await.body["status"] == "completed").await;
}

#[tokio::test]
async fn a_sender_that_does_not_answer_keeps_nobody_else_from_being_asked_what_changed() {
    // The senders are asked in the order of their names.
    let first = |key: &str, pem: &str| {
        format!(
            "[senders.away]\nintegration_key = \"{key}\"\nkeys = [\"{pem}\"]\n\
             user_id = \"b7d7a1c4-52e8-4d0f-9b6a-7e3f0c210001\"\naccount = \"{SECOND_ACCOUNT}\"\n"
        )
    };
    let mut daemon = TestDaemon::builder().public().with_senders(first).start().await;
    // Whether an event that has failed comes again within this is nobody's promise.
    daemon.faults_may_wait();
    let mut of_first = order();
    of_first["sender"] = json!("away");
    of_first["documents"] = json!([{"name": "a.pdf", "anchors": {"sign": "/sn1/"},
        "content_base64": base64_of(&contract())}]);
    of_first["signers"][0].as_object_mut().unwrap().remove("sms_auth");
    let made = [daemon.create("order-1", &of_first).await, daemon.create("order-2", &order()).await];
    assert!(made.iter().all(|made| made.status == StatusCode::CREATED), "{}", made[0].text);
    daemon.run_clock("its pulse", async || daemon.parts().store.last_pulse().await.unwrap().is_some()).await;
    // No event comes through, and one account's lists are not to be had.
    daemon.fault(&json!({"fault": "event_bad_signature"})).await;
    let list = format!("/accounts/{SECOND_ACCOUNT}/envelopes");
    daemon.fault(&json!({"fault": "status", "method": "GET", "path": list, "status": 503})).await;
    daemon
        .restart_after(async |daemon| {
            daemon.clock.advance(Duration::from_secs(600));
            daemon.sign_all().await;
        })
        .await;
    let status = async |at: usize| {
        let signing = daemon.get(&format!("/v1/signings/{}", made[at].id())).await;
        signing.body["status"].as_str().unwrap().to_owned()
    };
    daemon.run_clock("the other sender's", async || status(1).await == "completed").await;
    assert_eq!(status(0).await, "open");
    daemon.control(Method::DELETE, "faults", &Value::Null).await;
    daemon.fault(&json!({"fault": "event_bad_signature"})).await;
    daemon.run_clock("the first sender's", async || status(0).await == "completed").await;
}
