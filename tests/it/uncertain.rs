//! Creates whose outcome is in doubt (rules E1, E2, E4): never two envelopes, never one forgotten.

use std::{
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use countersign::telemetry::logging::{self, Format};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use tracing::{
    dispatcher::Dispatch,
    level_filters::LevelFilter,
    subscriber::{DefaultGuard, NoSubscriber},
};

use crate::{
    harness::{CALLER_KEY, Reply, TestDaemon, order},
    visitors::{link_of, location, location_of, unopened},
};

#[tokio::test]
async fn e2_a_lost_reply_is_looked_up_and_not_posted_again() {
    let daemon = TestDaemon::start().await;
    daemon.fault_create("commit_then_drop").await;
    let made = daemon.create_with("order-1", &order(), &[("prefer", "wait=0.0, respond-async")]).await;
    assert_eq!(made.status, StatusCode::ACCEPTED, "{}", made.text);
    daemon.settle(made.id(), "open").await;
    assert_eq!(daemon.envelopes().await, 1);
    let again = daemon.create_with("order-1", &order(), &[("prefer", "respond-async")]).await;
    assert_eq!((again.status, again.id()), (StatusCode::CREATED, made.id()), "{}", again.text);
}

#[tokio::test]
async fn e2_what_never_arrived_is_posted_again_after_it_was_looked_up() {
    let daemon = TestDaemon::start().await;
    daemon.fault_create("reset_before_commit").await;
    let made = daemon.queue("order-1", &order()).await;
    daemon.settle(made.id(), "open").await;
    assert_eq!(daemon.envelopes().await, 1);
    let requests = daemon.requests().await;
    let posts: Vec<_> =
        requests.iter().enumerate().filter(|(_, line)| line.starts_with("POST /restapi")).collect();
    let lookups = requests
        .iter()
        .enumerate()
        .filter(|(_, line)| line.starts_with("GET /restapi") && line.ends_with("/envelopes"));
    assert_eq!(posts.len(), 2, "{requests:?}");
    let between = lookups.filter(|(at, _)| posts[0].0 < *at && *at < posts[1].0).count();
    assert!(between >= 3, "looked up again and again, and by the other mark: {requests:?}");
}

/// Whoever waits for a create that recovery has to send again gets what any other caller gets, and so does whoever
/// repeats it: a view and a link.
#[tokio::test]
async fn e3_what_recovery_sends_again_is_answered_with_a_view_and_a_link() {
    let daemon = TestDaemon::builder().public().start().await;
    for (key, prefer) in [("order-1", "wait=60"), ("order-2", "respond-async")] {
        daemon
            .fault(&json!({"fault": "status", "status": 500, "method": "POST", "path": "/envelopes", "count": 1}))
            .await;
        let headers = [("prefer", prefer)];
        let order = order();
        let mut call = std::pin::pin!(daemon.create_with(key, &order, &headers));
        let mut made = loop {
            tokio::select! {
                biased;
                made = &mut call => break made,
                () = tokio::time::sleep(Duration::from_millis(5)) => daemon.clock.advance(Duration::from_millis(250)),
            }
        };
        if made.status == StatusCode::ACCEPTED {
            daemon.settle(made.id(), "open").await;
            made = daemon.create(key, &order).await;
        }
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
        let signer = &made.body["signers"][0];
        assert!(signer["view"]["url"].is_string(), "{key}: {}", made.text);
        assert!(signer["link"]["url"].is_string(), "{key}: {}", made.text);
        let again = daemon.create(key, &order).await;
        assert_eq!(again.text, made.text, "the same again");
    }
    assert_eq!(daemon.envelopes().await, 2);
}

/// Between two look-ups that found nothing, one that failed counts for nothing: else decisions could be put off for
/// as long as calls fail now and then.
#[tokio::test]
async fn e2_a_look_up_that_fails_among_others_does_not_begin_the_wait_again() {
    let daemon = TestDaemon::start().await;
    daemon.fault_create("reset_before_commit").await;
    let made = daemon.queue("order-1", &order()).await;
    let looked = async || {
        let requests = daemon.requests().await;
        let is_look = |line: &&String| line.starts_with("GET /restapi") && line.ends_with("/envelopes");
        requests.iter().filter(is_look).count()
    };
    daemon.run_clock("a look-up that finds nothing", async || looked().await == 1).await;
    daemon
        .fault(&json!({"fault": "status", "status": 500, "method": "GET", "path": "/envelopes", "count": 1}))
        .await;
    let path = format!("/v1/signings/{}", made.id());
    daemon.run_clock_slowly("open", async || daemon.get(&path).await.body["status"] == "open").await;
    assert_eq!(daemon.envelopes().await, 1);
    // One finds nothing after a second, one fails, two come before and after the ten seconds, and the last one asks
    // by the other mark.
    assert_eq!(looked().await, 5);
}

#[tokio::test]
async fn e2_a_list_that_lags_does_not_lead_to_a_second_envelope() {
    let daemon = TestDaemon::start().await;
    daemon.fault(&json!({"fault": "list_lag", "delay_ms": 8000})).await;
    daemon.fault_create("commit_then_drop").await;
    let made = daemon.queue("order-1", &order()).await;
    daemon.settle(made.id(), "open").await;
    assert_eq!(daemon.envelopes().await, 1);
}

/// How long a list may lag is documented nowhere, so no time of ours is enough: what comes to light after the
/// create was sent again is voided, and the signing keeps the one that it showed.
#[tokio::test]
async fn e2_what_is_listed_much_later_is_found_and_voided() {
    let daemon = TestDaemon::start().await;
    // It is sent again under its transaction id, as it is nowhere to be seen.
    daemon.rules_may_break();
    daemon.fault(&json!({"fault": "list_lag", "delay_ms": 40_000})).await;
    daemon.fault_create("commit_then_drop").await;
    let made = daemon.queue("order-1", &order()).await;
    let path = format!("/v1/signings/{}", made.id());
    daemon.until("doubt", async || daemon.get(&path).await.body["status"] == "uncertain").await;
    daemon.settle(made.id(), "open").await;
    assert_eq!(daemon.envelopes().await, 2, "the first one was not to be seen");
    let signing = daemon.get(&path).await;
    let ours = signing.body["provider"]["envelope_id"].as_str().unwrap().to_owned();
    daemon.run_clock("one is voided", async || statuses(&daemon, &ours).await.1 == ["voided"]).await;
    assert_eq!(statuses(&daemon, &ours).await.0, ["sent"], "and the signing's own goes on");
    let again = daemon.create("order-1", &order()).await;
    assert_eq!(again.body["provider"]["envelope_id"], ours.as_str());
}

/// The answer to the void of the envelope too many comes or is lost: whoever reads what happened finds it either way. If
/// DocuSign refuses the create when it is sent again, the one of the first is too many, and the only one.
#[tokio::test]
async fn the_timeline_tells_that_a_create_was_sent_twice_and_which_envelope_was_voided() {
    for (is_lost, is_refused) in [(false, false), (true, false), (false, true)] {
        let daemon = TestDaemon::start().await;
        daemon.rules_may_break();
        daemon.fault(&json!({"fault": "list_lag", "delay_ms": 40_000})).await;
        daemon.fault_create("commit_then_drop").await;
        let made = daemon.queue("order-1", &order()).await;
        let path = format!("/v1/signings/{}", made.id());
        daemon.until("doubt", async || daemon.get(&path).await.body["status"] == "uncertain").await;
        if is_refused {
            let refused =
                json!({"fault": "status", "status": 400, "method": "POST", "path": "/envelopes", "count": 1});
            daemon.fault(&refused).await;
        }
        daemon.settle(made.id(), if is_refused { "failed" } else { "open" }).await;
        assert_eq!(daemon.envelopes().await, if is_refused { 1 } else { 2 });
        let ours = daemon.get(&path).await.body["provider"]["envelope_id"].clone();
        let all = daemon.control(Method::GET, "signers", &Value::Null).await;
        let mut envelopes = all["signers"].as_array().unwrap().iter().map(|signer| &signer["envelope_id"]);
        let extra = envelopes.find(|envelope| **envelope != ours).unwrap();
        if is_lost {
            let lost = json!({"fault": "commit_then_drop", "method": "PUT", "path": extra, "count": 1});
            daemon.fault(&lost).await;
        }
        let told = async || daemon.get(&format!("{path}/timeline")).await;
        daemon
            .run_clock("it is told", async || told().await.text.contains("\"extra_envelope_voided\""))
            .await;
        // Nor is it told again by the next look, a quarter of an hour later.
        daemon.live_through(Duration::from_secs(16 * 60)).await;
        let told = told().await;
        let moments = told.body["data"].as_array().unwrap();
        let of = |what: &str| moments.iter().filter(|one| one["what"] == what).collect::<Vec<_>>();
        let (repeated, voided) = (of("create_repeated"), of("extra_envelope_voided"));
        assert_eq!((repeated.len(), voided.len()), (1, 1), "{}", told.text);
        assert!(voided[0]["text"].as_str().unwrap().contains(extra.as_str().unwrap()), "{}", told.text);
        assert_eq!(voided[0]["trace"].is_string(), !is_lost, "{}", told.text);
    }
}

/// Its sender is gone, so nobody can look: it keeps its place for as long as its key lives, and then it ends.
#[tokio::test]
async fn e2_a_doubt_that_nobody_can_resolve_any_more_ends_as_unknown() {
    let daemon = TestDaemon::builder().caller("sender_patterns = [\"system\"]\n").start().await;
    let sender = json!({"name": "acme", "like": "system", "user_id": daemon.emulator.ready().user_id});
    assert_eq!(daemon.post("/v1/senders", &sender).await.status, StatusCode::CREATED);
    // Should it be looked up before its sender is gone.
    daemon.fault(&json!({"fault": "status", "status": 503, "method": "GET", "path": "/envelopes"})).await;
    daemon.faults_may_wait();
    daemon.fault_create("commit_then_drop").await;
    let mut order = order();
    order["sender"] = json!("acme");
    let made = daemon.queue("order-1", &order).await;
    daemon.settle(made.id(), "uncertain").await;
    let sender = format!("{}/v1/senders/acme", daemon.api);
    let gone = daemon.call(Method::DELETE, &sender, Some(CALLER_KEY), &[], Vec::new()).await;
    assert!(gone.status.is_success(), "{}", gone.text);
    daemon.clock.advance(Duration::from_secs(5 * 86_400));
    daemon.clock.advance(Duration::from_secs(120));
    daemon.settle(made.id(), "uncertain").await;
    daemon.clock.advance(Duration::from_secs(86_400));
    daemon.settle(made.id(), "failed").await;
    let shown = daemon.get(&format!("/v1/signings/{}", made.id())).await;
    assert_eq!(shown.body["failure"]["code"], "outcome_unknown", "{}", shown.text);
    // The timeline does not put it down to a refusal of DocuSign's: nobody knows of one.
    let timeline = daemon.get(&format!("/v1/signings/{}/timeline", made.id())).await;
    let moments = timeline.body["data"].as_array().unwrap();
    let failed = moments.iter().find(|moment| moment["what"] == "signing.failed").unwrap();
    assert_eq!(failed["text"], "The signing failed: its `failure` says why.");
}

/// The status of this envelope, and of all others.
async fn statuses(daemon: &TestDaemon, ours: &str) -> (Vec<String>, Vec<String>) {
    let all = daemon.control(Method::GET, "signers", &serde_json::Value::Null).await;
    let all = all["signers"].as_array().cloned().unwrap_or_default();
    let (own, others): (Vec<_>, Vec<_>) = all.iter().partition(|signer| signer["envelope_id"] == ours);
    let status =
        |signer: &&serde_json::Value| signer["envelope_status"].as_str().unwrap_or_default().to_owned();
    (own.iter().map(status).collect(), others.iter().map(status).collect())
}

#[tokio::test]
async fn what_could_not_be_sent_in_its_time_fails_and_is_not_tried_for_ever() {
    let daemon = TestDaemon::start().await;
    daemon.fault(&json!({"fault": "status", "status": 503, "method": "POST", "path": "/envelopes"})).await;
    let mut order = order();
    order["expires_in"] = json!("1h");
    let made = daemon.queue("order-1", &order).await;
    let is_tried = async || daemon.requests().await.iter().any(|line| line.ends_with("/envelopes"));
    daemon.run_clock_slowly("a try", is_tried).await;
    daemon.clock.advance(std::time::Duration::from_secs(3_600));
    daemon.settle(made.id(), "failed").await;
    daemon.forget_requests().await;
    daemon.pass(Duration::from_secs(60), 60).await;
    let sent = daemon.requests().await;
    assert!(!sent.iter().any(|line| line.starts_with("POST ") && line.ends_with("/envelopes")), "{sent:?}");
    let again = daemon.create("order-1", &order).await;
    assert_eq!((again.status.as_u16(), again.code()), (400, "invalid_request"), "{}", again.text);
}

/// What was in the way is told, and not that DocuSign was away; and the key's answer is none to come back for.
#[tokio::test]
async fn e3_what_kept_a_create_until_its_time_was_over_is_told_as_the_cause() {
    let daemon = TestDaemon::start().await;
    let account = daemon.emulator.ready().account_id.clone();
    let features = json!({"account_id": account, "identity_verification": false});
    daemon.control(Method::POST, "features", &features).await;
    for (sender, code, (status, answered)) in [
        ("unconsented", "consent_required", (400, "invalid_request")),
        ("system", "sms_auth_unavailable", (422, "sms_auth_unavailable")),
    ] {
        let mut order = order();
        order["sender"] = json!(sender);
        order["expires_in"] = json!("1h");
        let made = daemon.queue(sender, &order).await;
        let id = made.id().parse().unwrap();
        let is_tried = async || daemon.record(id).await.signing.last_try.is_some();
        daemon.run_clock_slowly("a try", is_tried).await;
        daemon.clock.advance(Duration::from_secs(3_600));
        daemon.settle(made.id(), "failed").await;
        let failure = daemon.get(&format!("/v1/signings/{}", made.id())).await.body["failure"].clone();
        assert_eq!(failure["code"], code, "{failure}");
        assert!(failure["detail"].as_str().unwrap().contains("time of this signing was over"), "{failure}");
        let again = daemon.create(sender, &order).await;
        assert_eq!((again.status.as_u16(), again.code()), (status, answered), "{}", again.text);
        assert!(again.text.contains(code), "{}", again.text);
        assert_eq!(again.headers["idempotency-replayed"], "true");
    }
}

#[tokio::test]
async fn e4_a_create_that_a_daemon_left_in_doubt_is_found_by_the_next_one() {
    let mut daemon = TestDaemon::start().await;
    daemon.fault_create("commit_then_drop").await;
    let made = daemon.queue("order-1", &order()).await;
    let path = format!("/v1/signings/{}", made.id());
    daemon.until("doubt", async || daemon.get(&path).await.body["status"] == "uncertain").await;
    daemon.restart().await;
    daemon.settle(made.id(), "open").await;
    let is_create = |line: &&String| line.starts_with("POST ") && line.ends_with("/envelopes");
    assert_eq!(daemon.requests().await.iter().filter(is_create).count(), 1, "found, and not sent again");
    assert_eq!(daemon.envelopes().await, 1);
    assert_eq!(daemon.create("order-1", &order()).await.id(), made.id(), "the caller has its id");
}

/// Nobody was there to hear of it, and by the list that finds the envelope it is known all the same.
#[tokio::test]
async fn f1_what_happened_while_a_create_was_in_doubt_is_known_when_it_is_found() {
    // Without the public listener no event comes.
    let mut daemon = TestDaemon::start().await;
    daemon.fault_create("commit_then_drop").await;
    let made = daemon.queue("order-1", &order()).await;
    let path = format!("/v1/signings/{}", made.id());
    daemon.until("doubt", async || daemon.get(&path).await.body["status"] == "uncertain").await;
    daemon
        .restart_after(async |daemon| {
            daemon.sign_all().await;
            // From its start on: it looks at once.
            daemon.forget_requests().await;
        })
        .await;
    daemon.run_clock("its outcome", async || daemon.get(&path).await.body["status"] != "uncertain").await;
    let read = daemon.get(&path).await;
    assert_eq!(read.body["status"], "completed", "{}", read.text);
    assert_eq!(read.body["signers"][0]["status"], "signed", "{}", read.text);
    let asked = daemon.requests().await;
    assert_eq!(asked.iter().filter(|line| line.starts_with("GET /restapi")).count(), 1, "{asked:?}");
    let timeline = daemon.get(&format!("{path}/timeline")).await;
    let told =
        timeline.body["data"].as_array().unwrap().iter().map(|moment| moment["what"].as_str().unwrap());
    let told: Vec<_> = told.skip_while(|what| *what != "found").collect();
    // Nor is anybody told to sign who has signed.
    assert_eq!(told, ["found", "signing.opened", "signer.signed", "signing.completed", "document.available"]);
}

#[tokio::test]
async fn an_upstream_that_is_down_gets_the_creates_when_it_is_back() {
    let daemon = TestDaemon::start().await;
    daemon.fault(&json!({"fault": "status", "status": 503, "method": "POST", "path": "/envelopes"})).await;
    let mut made = Vec::new();
    for number in 0..5 {
        let one = daemon.queue(&format!("order-{number}"), &order()).await;
        made.push(one);
    }
    daemon.pass(Duration::from_secs(1), 20).await;
    for one in &made {
        let read = daemon.get(&format!("/v1/signings/{}", one.id())).await;
        assert_ne!(read.body["status"], "failed", "{}", read.text);
    }
    assert_eq!(daemon.envelopes().await, 0, "it is down");
    daemon.control(Method::DELETE, "faults", &serde_json::Value::Null).await;
    for one in &made {
        daemon.settle(one.id(), "open").await;
    }
    assert_eq!(daemon.envelopes().await, 5);
}

#[tokio::test]
async fn a_refusal_for_good_is_kept_as_the_keys_answer() {
    let daemon = TestDaemon::start().await;
    let fault = json!({"fault": "status", "status": 400, "method": "POST", "path": "/envelopes", "count": 1});
    daemon.fault(&fault).await;
    let order = order();
    let refused = daemon.create("order-1", &order).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", refused.text);
    let again = daemon.create("order-1", &order).await;
    assert_eq!((again.status, again.code()), (refused.status, refused.code()));
    assert_eq!(again.headers["idempotency-replayed"], "true");
    assert_eq!(daemon.envelopes().await, 0);
}

#[tokio::test]
async fn b2_a_limit_is_told_with_a_time_and_leaves_the_key_free() {
    let daemon = TestDaemon::start().await;
    for status in [400, 429] {
        let fault = json!({"fault": "rate_limit", "status": status, "method": "POST", "path": "/envelopes", "count": 1, "reset_s": 60});
        daemon.fault(&fault).await;
        let key = format!("order-{status}");
        let refused = daemon.create(&key, &order()).await;
        assert_eq!(
            (refused.status.as_u16(), refused.code()),
            (429, "provider_rate_limited"),
            "{}",
            refused.text
        );
        let after: u64 = refused.headers["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((1..=3_600).contains(&after), "{after}");
        daemon.clock.advance(std::time::Duration::from_secs(after + 1));
        let made = daemon.create(&key, &order()).await;
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    }
    assert_eq!(daemon.envelopes().await, 2);
}

#[tokio::test]
async fn a_role_that_the_template_lacks_is_refused_before_the_create() {
    let daemon = TestDaemon::start().await;
    let mut order = order();
    order["signers"][0]["role"] = json!("Nobody");
    let refused = daemon.create("order-1", &order).await;
    assert_eq!(
        (refused.status.as_u16(), refused.code()),
        (422, "template_role_mismatch"),
        "{}",
        refused.text
    );
    assert_eq!(refused.body["errors"][0]["pointer"], "/signers/0/role");
    assert_eq!(daemon.envelopes().await, 0);
}

#[tokio::test]
async fn e1_a_link_made_while_the_create_is_under_way_does_not_cost_its_outcome() {
    let daemon = TestDaemon::builder().public().start().await;
    daemon.create("warm", &order()).await;
    daemon.forget_requests().await;
    let slow =
        json!({"fault": "delay", "method": "POST", "path": "/envelopes", "count": 1, "delay_ms": 1_500});
    daemon.fault(&slow).await;
    let body = order();
    let linked = async {
        let is_sent = async || daemon.requests().await.iter().any(|line| line.ends_with("/envelopes"));
        daemon.until("the create to be sent", is_sent).await;
        let under_way = daemon.get("/v1/signings?status=creating").await.body["data"][0].clone();
        let (id, signer) =
            (under_way["id"].as_str().unwrap(), under_way["signers"][0]["id"].as_str().unwrap());
        daemon.post(&format!("/v1/signings/{id}/signers/{signer}/links"), &json!({})).await
    };
    let (made, link) = tokio::join!(daemon.create("order-1", &body), linked);
    assert_eq!(link.status, StatusCode::CREATED, "{}", link.text);
    assert_eq!((made.status, &made.body["status"]), (StatusCode::CREATED, &json!("open")), "{}", made.text);
    let timeline = daemon.get(&format!("/v1/signings/{}/timeline", made.id())).await.text;
    assert!(timeline.contains("\"link_made\"") && timeline.contains("\"signing.opened\""), "{timeline}");
    assert_eq!(daemon.envelopes().await, 2);
}

#[tokio::test]
async fn what_a_caller_asked_for_is_written_down_when_the_caller_hangs_up() {
    let daemon = TestDaemon::start().await;
    let made = daemon.create("order-1", &order()).await;
    let envelope = made.body["provider"]["envelope_id"].as_str().unwrap();
    let slow = json!({"fault": "delay", "method": "PUT", "path": envelope, "count": 1, "delay_ms": 1_000});
    daemon.fault(&slow).await;
    daemon.forget_requests().await;
    let path = format!("/v1/signings/{}", made.id());
    let (void, body) = (format!("{path}/void"), json!({"reason": "not needed"}));
    let is_sent = async || daemon.requests().await.iter().any(|line| line.starts_with("PUT"));
    tokio::select! {
        early = daemon.post(&void, &body) => panic!("it is slow: {}", early.text),
        () = daemon.until("the void to be sent", is_sent) => {}
    }
    daemon.until("the void", async || daemon.get(&path).await.body["status"] == "voided").await;
}

#[tokio::test]
async fn e3_a_view_that_could_not_be_had_is_had_by_the_repeated_call() {
    let daemon = TestDaemon::builder().public().start().await;
    let broken = json!({"fault": "truncate", "method": "POST", "path": "/views/recipient", "count": 1});
    daemon.fault(&broken).await;
    let first = daemon.create("order-1", &order()).await;
    assert_eq!((first.status, &first.body["signers"][0]["view"]), (StatusCode::CREATED, &json!(null)));
    let second = daemon.create("order-1", &order()).await;
    assert_eq!(second.id(), first.id());
    assert!(second.body["signers"][0]["view"]["url"].is_string(), "{}", second.text);
    let third = daemon.create("order-1", &order()).await;
    assert_eq!(third.text, second.text, "and from then on it is the answer");
    assert_eq!(daemon.envelopes().await, 1);
}

/// It exists, so it is told of and its link works, whatever becomes of the view.
#[tokio::test]
async fn an_envelope_is_open_while_its_first_view_is_waited_for() {
    let daemon = TestDaemon::builder().public().start().await;
    let hangs = json!({"fault": "stall", "delay_ms": 2_000, "method": "POST", "path": "/views/recipient", "count": 1});
    daemon.fault(&hangs).await;
    let body = order();
    let found = async || daemon.get("/v1/signings?reference=order-8812").await.body["data"][0].clone();
    let meanwhile = async {
        daemon.until("the view to be asked for", async || views_of(&daemon).await == 1).await;
        daemon.clock.advance(Duration::from_secs(1));
        daemon.until("it to be open", async || found().await["status"] == "open").await;
        let open = found().await;
        assert!(open["provider"]["envelope_id"].is_string(), "{open}");
        assert_eq!(open["signers"][0]["status"], "ready", "{open}");
        daemon.clock.advance(Duration::from_secs(2));
    };
    let headers = [("prefer", "wait=3")];
    let (made, ()) = tokio::join!(daemon.create_with("order-1", &body, &headers), meanwhile);
    assert_eq!((made.status, &made.body["status"]), (StatusCode::CREATED, &json!("open")), "{}", made.text);
    assert_eq!(made.body["signers"][0]["view"], json!(null), "{}", made.text);
    // There will be none: whoever asks again has one made.
    let id = made.id().parse().unwrap();
    let is_free = async || daemon.record(id).await.signing.live_view.is_none();
    daemon.until("the lease to end", is_free).await;
    let page = daemon.look(&link_of(&made, 0)).await;
    assert!(page.text.contains("ready to sign"), "{}", page.text);
    let again = daemon.create("order-1", &body).await;
    assert_eq!((again.status, again.id()), (StatusCode::CREATED, made.id()), "{}", again.text);
    assert!(again.body["signers"][0]["view"]["url"].is_string(), "{}", again.text);
    daemon.broke_no_rule().await;
}

/// The caller gets it as long as they wait, and else it is the answer to the same call made again.
#[tokio::test]
async fn e3_a_first_view_that_takes_its_time_is_added_when_it_comes() {
    let daemon = TestDaemon::builder().public().start().await;
    let slow = json!({"fault": "delay", "delay_ms": 1_500, "method": "POST", "path": "/views/recipient", "count": 1});
    let body = order();
    for (key, wait, passes) in [("order-1", "wait=25", 1), ("order-2", "wait=2", 2)] {
        daemon.fault(&slow).await;
        daemon.forget_requests().await;
        let meanwhile = async {
            daemon.until("the view to be asked for", async || views_of(&daemon).await == 1).await;
            daemon.clock.advance(Duration::from_secs(passes));
        };
        let headers = [("prefer", wait)];
        let (made, ()) = tokio::join!(daemon.create_with(key, &body, &headers), meanwhile);
        assert_eq!(
            (made.status, &made.body["status"]),
            (StatusCode::CREATED, &json!("open")),
            "{}",
            made.text
        );
        let again = daemon.create(key, &body).await;
        assert_eq!((again.status, again.id()), (StatusCode::CREATED, made.id()), "{}", again.text);
        assert!(again.body["signers"][0]["view"]["url"].is_string(), "{key}: {}", again.text);
        if passes == 1 {
            assert_eq!(made.text, again.text);
        }
        assert_eq!(views_of(&daemon).await, 1, "{key}");
        let timeline = daemon.get(&format!("/v1/signings/{}/timeline", made.id())).await.text;
        assert_eq!(timeline.matches("view_minted").count(), 1, "{timeline}");
        let clicked = daemon.click(&link_of(&made, 0)).await;
        assert_eq!(clicked.status, StatusCode::SEE_OTHER, "{key}: nobody has opened it: {}", clicked.text);
    }
    assert_eq!(daemon.envelopes().await, 2);
    daemon.broke_no_rule().await;
}

/// DocuSign may finish it at any moment, and would end the session of whoever had another made meanwhile.
#[tokio::test]
async fn l2_while_a_first_view_is_on_its_way_nobody_has_another_made() {
    let daemon = TestDaemon::builder().public().start().await;
    daemon.fault(&json!({"fault": "stall", "method": "POST", "path": "/views/recipient", "count": 1})).await;
    let made = told_before_the_view(&daemon, "order-1", &order()).await;
    let link = link_of(&made, 0);
    let page = daemon.look(&link).await;
    assert!(page.text.contains("Already open"), "{}", page.text);
    let clicked = daemon.click(&link).await;
    assert_eq!(clicked.status, StatusCode::CONFLICT, "{}", clicked.text);
    assert!(clicked.text.contains("Already open"), "{}", clicked.text);
    let views = format!("/v1/signings/{}/signers/{}/views", made.id(), made.signer());
    let asked = daemon.post(&views, &json!({})).await;
    assert_eq!((asked.status, asked.code()), (StatusCode::CONFLICT, "signer_not_ready"), "{}", asked.text);
    assert_eq!(views_of(&daemon).await, 1);
}

/// Else the answer without it would be that of the key, and the view nobody's: not even of the caller who waits for it.
#[tokio::test]
async fn e3_what_is_told_while_a_first_view_is_on_its_way_is_not_kept() {
    let daemon = TestDaemon::builder().public().start().await;
    let slow = json!({"fault": "delay", "delay_ms": 4_000, "method": "POST", "path": "/views/recipient", "count": 1});
    daemon.fault(&slow).await;
    let body = order();
    let meanwhile = async {
        daemon.until("the view to be asked for", async || views_of(&daemon).await == 1).await;
        daemon.clock.advance(Duration::from_secs(1));
        let is_open = async || daemon.get("/v1/signings?status=open").await.body["data"][0].is_object();
        daemon.until("it to be open", is_open).await;
        refused_while_it_may_come(&daemon, "order-1", &body).await;
    };
    let headers = [("prefer", "wait=60")];
    let (made, ()) = tokio::join!(daemon.create_with("order-1", &body, &headers), meanwhile);
    assert_eq!((made.status, &made.body["status"]), (StatusCode::CREATED, &json!("open")), "{}", made.text);
    assert!(made.body["signers"][0]["view"]["url"].is_string(), "{}", made.text);
    assert_eq!(daemon.create("order-1", &body).await.text, made.text);
    assert_eq!(views_of(&daemon).await, 1);
    daemon.broke_no_rule().await;
}

#[tokio::test]
async fn e3_a_repeat_that_waits_for_a_first_view_that_fails_has_another_made() {
    let daemon = TestDaemon::builder().public().start().await;
    let hangs = json!({"fault": "stall", "delay_ms": 2_000, "method": "POST", "path": "/views/recipient", "count": 1});
    daemon.fault(&hangs).await;
    let body = order();
    let made = told_before_the_view(&daemon, "order-1", &body).await;
    // The clock stands still: it waits until there is none.
    let again = daemon.create("order-1", &body).await;
    assert_eq!((again.status, again.id()), (StatusCode::CREATED, made.id()), "{}", again.text);
    assert!(again.body["signers"][0]["view"]["url"].is_string(), "{}", again.text);
    assert_eq!(daemon.create("order-1", &body).await.text, again.text);
    daemon.broke_no_rule().await;
}

/// Its lease is left, and ends by itself as soon as no call for it can be under way.
#[tokio::test]
async fn e3_a_daemon_that_dies_over_a_first_view_costs_its_caller_a_minute_and_no_view() {
    let mut daemon = TestDaemon::builder().public().start().await;
    daemon.fault(&json!({"fault": "stall", "method": "POST", "path": "/views/recipient", "count": 1})).await;
    let body = order();
    let made = told_before_the_view(&daemon, "order-1", &body).await;
    daemon.crash().await;
    daemon.forget_requests().await;
    refused_while_it_may_come(&daemon, "order-1", &body).await;
    assert_eq!(views_of(&daemon).await, 0);
    daemon.clock.advance(Duration::from_secs(60));
    let again = daemon.create("order-1", &body).await;
    assert_eq!((again.status, again.id()), (StatusCode::CREATED, made.id()), "{}", again.text);
    assert!(again.body["signers"][0]["view"]["url"].is_string(), "{}", again.text);
    assert_eq!(daemon.create("order-1", &body).await.text, again.text);
    assert_eq!(daemon.envelopes().await, 1);
}

/// The upstream may still make it, and would then throw out whoever had another made.
#[tokio::test]
async fn l2_a_first_view_that_is_given_up_unanswered_keeps_its_lease() {
    let daemon = TestDaemon::builder().public().upstream("request_timeout = \"2s\"\n").start().await;
    daemon.fault(&json!({"fault": "stall", "method": "POST", "path": "/views/recipient", "count": 1})).await;
    let body = order();
    let made = told_before_the_view(&daemon, "order-1", &body).await;
    daemon.forget_requests().await;
    let given_up =
        async || daemon.metric("countersign_view_mints_total", &["result=\"unavailable\""]).await > 0.0;
    daemon.until("the call to be given up", given_up).await;
    refused_while_it_may_come(&daemon, "order-1", &body).await;
    assert_eq!(views_of(&daemon).await, 0);
    daemon.clock.advance(Duration::from_secs(60));
    let again = daemon.create("order-1", &body).await;
    assert_eq!((again.status, again.id()), (StatusCode::CREATED, made.id()), "{}", again.text);
}

/// What the upstream cannot do now is no answer to keep for a week.
#[tokio::test]
async fn e3_a_repeat_whose_view_cannot_be_had_now_is_not_kept_without_one() {
    let daemon = TestDaemon::builder().public().start().await;
    let down =
        json!({"fault": "status", "status": 503, "method": "POST", "path": "/views/recipient", "count": 2});
    daemon.fault(&down).await;
    let body = order();
    for _ in 0..2 {
        let made = daemon.create("order-1", &body).await;
        assert_eq!((made.status, &made.body["signers"][0]["view"]), (StatusCode::CREATED, &json!(null)));
    }
    let again = daemon.create("order-1", &body).await;
    assert!(again.body["signers"][0]["view"]["url"].is_string(), "{}", again.text);
    assert_eq!(daemon.create("order-1", &body).await.text, again.text);
    assert_eq!(daemon.envelopes().await, 1);
}

/// A caller who was given a view of their own is not told to wait for another, and gets one once that is over.
#[tokio::test]
async fn e3_a_repeat_beside_a_view_that_the_caller_had_made_is_answered_and_not_kept_without_one() {
    let daemon = TestDaemon::builder().public().start().await;
    let broken = json!({"fault": "truncate", "method": "POST", "path": "/views/recipient", "count": 1});
    daemon.fault(&broken).await;
    let body = order();
    let made = daemon.create("order-1", &body).await;
    assert_eq!((made.status, &made.body["signers"][0]["view"]), (StatusCode::CREATED, &json!(null)));
    let views = format!("/v1/signings/{}/signers/{}/views", made.id(), made.signer());
    assert_eq!(daemon.post(&views, &json!({})).await.status, StatusCode::CREATED);
    let early = repeated(&daemon, "order-1", &body).await;
    assert_eq!((early.status, early.id()), (StatusCode::CREATED, made.id()), "{}", early.text);
    assert_eq!(early.body["signers"][0]["view"], json!(null), "{}", early.text);
    let page = daemon.look(&link_of(&early, 0)).await;
    assert!(page.text.contains("ready to sign"), "{}", page.text);
    daemon.clock.advance(Duration::from_secs(300));
    let again = daemon.create("order-1", &body).await;
    assert_eq!((again.status, again.id()), (StatusCode::CREATED, made.id()), "{}", again.text);
    assert!(again.body["signers"][0]["view"]["url"].is_string(), "{}", again.text);
    assert_eq!(daemon.create("order-1", &body).await.text, again.text);
    daemon.broke_no_rule().await;
}

/// The same call again, with the clock running until it is answered.
async fn repeated(daemon: &TestDaemon, key: &str, body: &Value) -> Reply {
    tokio::select! {
        told = daemon.create(key, body) => told,
        () = daemon.run_clock_slowly("an answer", async || false) => panic!("the clock has stopped"),
    }
}

/// The same call is told that it is still running, and when to come again.
async fn refused_while_it_may_come(daemon: &TestDaemon, key: &str, body: &Value) {
    let early = repeated(daemon, key, body).await;
    let seen = (early.status, early.code());
    assert_eq!(seen, (StatusCode::CONFLICT, "idempotency_in_progress"), "{}", early.text);
    assert_eq!(early.headers["retry-after"], "2");
}

/// A create whose caller is told, after 2 s, that the envelope is open and its first view is not here yet.
async fn told_before_the_view(daemon: &TestDaemon, key: &str, body: &Value) -> Reply {
    let before = views_of(daemon).await;
    let meanwhile = async {
        daemon.until("the view to be asked for", async || views_of(daemon).await > before).await;
        daemon.clock.advance(Duration::from_secs(2));
    };
    let headers = [("prefer", "wait=2")];
    let (made, ()) = tokio::join!(daemon.create_with(key, body, &headers), meanwhile);
    assert_eq!((made.status, &made.body["status"]), (StatusCode::CREATED, &json!("open")), "{}", made.text);
    assert_eq!(made.body["signers"][0]["view"], json!(null), "{}", made.text);
    made
}

/// A store that does not take what became of a create costs its caller the time of a lease, and no second envelope.
#[tokio::test]
async fn e2_what_was_made_and_cannot_be_written_down_is_found_when_its_lease_ends() {
    let daemon = TestDaemon::start().await;
    let store = rusqlite::Connection::open(daemon.store_file()).unwrap();
    let refuse = "CREATE TRIGGER refuse BEFORE UPDATE ON signings WHEN NEW.status = 'open' \
                  BEGIN SELECT RAISE(ABORT, 'no'); END";
    store.execute_batch(refuse).unwrap();
    let body = unopened();
    let made = daemon.create("order-1", &body).await;
    assert_eq!((made.status.as_u16(), made.code()), (503, "store_unavailable"), "{}", made.text);
    assert_eq!(daemon.envelopes().await, 1, "it was sent, and made");
    store.execute_batch("DROP TRIGGER refuse").unwrap();

    let again = async || daemon.create_with("order-1", &body, &[("prefer", "respond-async")]).await;
    let early = again().await;
    assert_eq!((early.status.as_u16(), early.code()), (409, "idempotency_in_progress"), "{}", early.text);
    daemon.clock.advance(Duration::from_secs(91));
    daemon.run_clock("the look-up", async || again().await.status == StatusCode::CREATED).await;
    assert_eq!(daemon.envelopes().await, 1);
}

/// So it is where it was sent again out of sight, and the log has one line for it.
#[tokio::test]
async fn e2_what_is_sent_again_and_cannot_be_written_down_is_said_once_and_found() {
    let (log, _hearing) = Log::hear();
    let daemon = TestDaemon::start().await;
    let store = rusqlite::Connection::open(daemon.store_file()).unwrap();
    let refuse = "CREATE TRIGGER refuse BEFORE UPDATE ON signings WHEN NEW.status = 'open' \
                  BEGIN SELECT RAISE(ABORT, 'no'); END";
    store.execute_batch(refuse).unwrap();
    daemon.fault_create("reset_before_commit").await;
    let made = daemon.queue("order-1", &order()).await;
    let lines = |what: &str| log.text().matches(what).count();
    let of_it = "what became of a create cannot be written down";
    daemon.run_clock("a line", async || lines(of_it) > 0).await;
    assert_eq!((lines(of_it), lines("recovery cannot save")), (1, 0), "{}", log.text());
    store.execute_batch("DROP TRIGGER refuse").unwrap();
    daemon.settle(made.id(), "open").await;
    assert_eq!(daemon.envelopes().await, 1, "looked up, and not sent once more");
}

/// What the thread of a test logs.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Warnings and errors from now on, for as long as what comes with it lives.
    pub(crate) fn hear() -> (Self, (DefaultGuard, Dispatch)) {
        // Where there are two of them, a line is not silenced here because another test's thread does not hear it.
        let second = Dispatch::new(NoSubscriber::new());
        let log = Self::default();
        let writer = log.clone();
        let (subscriber, _) = logging::subscriber(LevelFilter::WARN, Format::Json, move || writer.clone());
        (log, (tracing::subscriber::set_default(subscriber), second))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A store that has a bad moment over a view makes the signing no failure: it is told without one, and none is in the way.
#[tokio::test]
async fn a_first_view_that_cannot_be_written_down_costs_the_view_and_not_the_signing() {
    let daemon = TestDaemon::builder().public().start().await;
    let slow = json!({"fault": "delay", "delay_ms": 1_500, "method": "POST", "path": "/views/recipient", "count": 1});
    daemon.fault(&slow).await;
    let store = rusqlite::Connection::open(daemon.store_file()).unwrap();
    let refuse = "CREATE TRIGGER refuse BEFORE UPDATE ON signings WHEN NEW.answer IS NOT NULL \
                  BEGIN SELECT RAISE(ABORT, 'no'); END";
    store.execute_batch(refuse).unwrap();
    let body = order();
    let meanwhile = async {
        daemon.until("the view to be asked for", async || views_of(&daemon).await == 1).await;
        daemon.clock.advance(Duration::from_secs(1));
    };
    let (made, ()) = tokio::join!(daemon.create("order-1", &body), meanwhile);
    assert_eq!((made.status, &made.body["status"]), (StatusCode::CREATED, &json!("open")), "{}", made.text);
    assert_eq!(made.body["signers"][0]["view"], json!(null), "{}", made.text);
    assert_eq!(daemon.record(made.id().parse().unwrap()).await.signing.live_view, None);
    store.execute_batch("DROP TRIGGER refuse").unwrap();
    let again = daemon.create("order-1", &body).await;
    assert_eq!((again.status, again.id()), (StatusCode::CREATED, made.id()), "{}", again.text);
    assert!(again.body["signers"][0]["view"]["url"].is_string(), "{}", again.text);
}

/// How many views DocuSign was asked for.
async fn views_of(daemon: &TestDaemon) -> usize {
    daemon.requests().await.iter().filter(|line| line.ends_with("/views/recipient")).count()
}

/// An envelope may be there, and who is told to correct the call makes another one.
#[tokio::test]
async fn e3_a_call_that_has_no_answer_yet_is_not_refused_for_settings_that_changed_meanwhile() {
    let mut daemon = TestDaemon::builder().public().start().await;
    let broken = json!({"fault": "truncate", "method": "POST", "path": "/views/recipient", "count": 1});
    daemon.fault(&broken).await;
    let first = daemon.create("order-1", &order()).await;
    assert_eq!((first.status, &first.body["signers"][0]["view"]), (StatusCode::CREATED, &json!(null)));
    daemon.restart_with(|settings| settings.replace("nda = ", "another = ")).await;
    assert_eq!(daemon.create("order-2", &order()).await.code(), "invalid_request");
    let second = daemon.create("order-1", &order()).await;
    assert_eq!((second.status, second.id()), (StatusCode::CREATED, first.id()), "{}", second.text);
    assert_eq!(daemon.envelopes().await, 1);
}

/// Whoever repeats a create asks for no view in particular, and none is worth a signer's work.
#[tokio::test]
async fn l2_a_repeated_create_throws_out_nobody() {
    let daemon = TestDaemon::builder().public().start().await;
    let broken =
        json!({"fault": "status", "status": 503, "method": "POST", "path": "/views/recipient", "count": 1});
    daemon.fault(&broken).await;
    let first = daemon.create("order-1", &order()).await;
    assert_eq!((first.status, &first.body["signers"][0]["view"]), (StatusCode::CREATED, &json!(null)));
    let clicked = daemon.click(&link_of(&first, 0)).await;
    let session = location_of(&daemon, &location(&clicked)).await;
    daemon.forget_requests().await;
    let second = daemon.create("order-1", &order()).await;
    assert_eq!((second.status, second.id()), (StatusCode::CREATED, first.id()), "{}", second.text);
    assert_eq!(second.body["signers"][0]["view"], json!(null), "the link still works");
    assert_eq!(daemon.requests().await, Vec::<String>::new());
    assert_eq!(daemon.look(&session).await.status, StatusCode::OK, "still signing");
    daemon.broke_no_rule().await;
}

#[tokio::test]
async fn l2_of_two_repeated_creates_at_once_one_has_a_view_made_for_both() {
    let daemon = TestDaemon::builder().public().start().await;
    let broken = json!({"fault": "truncate", "method": "POST", "path": "/views/recipient", "count": 1});
    daemon.fault(&broken).await;
    let body = order();
    daemon.create("order-1", &body).await;
    daemon.forget_requests().await;
    let (one, two) = tokio::join!(daemon.create("order-1", &body), daemon.create("order-1", &body));
    assert!(one.body["signers"][0]["view"]["url"].is_string(), "{}", one.text);
    assert_eq!(one.text, two.text);
    assert_eq!(daemon.requests().await.len(), 1, "one view");
    daemon.broke_no_rule().await;
}

/// The list of workflows is read before the envelope is asked for: without it nothing is in doubt.
#[tokio::test]
async fn e2_what_cannot_be_prepared_is_queued_and_not_uncertain() {
    let daemon = TestDaemon::start().await;
    let down = json!({"fault": "status", "status": 503, "method": "GET", "path": "/identity_verification", "count": 1});
    daemon.fault(&down).await;
    let made = daemon.queue("order-1", &order()).await;
    daemon.settle(made.id(), "open").await;
    let timeline = daemon.get(&format!("/v1/signings/{}/timeline", made.id())).await.text;
    assert!(timeline.contains("create_queued") && !timeline.contains("uncertain"), "{timeline}");
    assert_eq!(daemon.envelopes().await, 1);
}
