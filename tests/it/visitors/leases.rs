//! One view of a signer at a time: who is kept out by one that lives, and for how long.

use std::time::Duration;

use countersign::{
    clock::Clock as _,
    domain::{LiveView, ViewKind},
};
use http::{Method, StatusCode};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::{
    harness::{TestDaemon, order},
    visitors::{link_of, location, location_of, unopened},
};

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
