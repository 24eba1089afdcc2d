//! The budget between daemons and across restarts (rules B2, B3), on both stores.

use std::{sync::Arc, time::Duration};

use countersign::{
    budget::{Budget, Now, Operation, Options, Priority, Scope, ledger::Window},
    clock::SharedClock,
    domain::{AccountId, EnvelopeId},
};
use http::{HeaderMap, Method, StatusCode};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    harness::{TestDaemon, order},
    store::{Fixture, on_both},
};

on_both!(b2_daemons_share_the_burst_and_the_hour, the_ledger_outlives_its_process);

#[tokio::test]
async fn b2_a_budget_that_runs_low_is_told_once_an_hour() {
    let daemon = TestDaemon::start().await;
    let told = async || {
        let listed = daemon.get("/v1/events").await;
        let events = listed.body["data"].as_array().unwrap_or_else(|| panic!("{}", listed.text));
        events.iter().filter(|event| event["type"] == "budget.low").cloned().collect::<Vec<_>>()
    };
    // A create and its view are two calls; what is read once costs two more.
    daemon.control(Method::POST, "limits", &json!({ "hourly": 12 })).await;
    for number in 0..3 {
        assert_eq!(daemon.create(&format!("k{number}"), &order()).await.status, StatusCode::CREATED);
    }
    let mut rounds = 0..40;
    daemon.run_clock("twenty seconds", async || rounds.next().is_none()).await;
    assert_eq!(told().await, Vec::<Value>::new(), "four are left");
    assert_eq!(daemon.create("k3", &order()).await.status, StatusCode::CREATED);
    daemon.run_clock("the event", async || !told().await.is_empty()).await;
    let mut rounds = 0..40;
    daemon.run_clock("twenty seconds more", async || rounds.next().is_none()).await;
    let events = told().await;
    assert_eq!(events.len(), 1, "{events:?}");
    let data = &events[0]["data"];
    assert_eq!(
        (&data["object"], &data["hour_limit"], &data["hour_remaining"]),
        (&json!("budget"), &json!(12), &json!(2))
    );
    assert!(data["id"].is_string() && data["sequence"].is_u64(), "{data}");
}

fn budget(fixture: &Fixture, hourly: u64, burst: u64) -> (Arc<Budget>, SharedClock) {
    let clock: SharedClock = Arc::new(fixture.clock.clone());
    let options = Options { hourly, burst, ..Options::default() };
    (Budget::new(options, Arc::clone(&clock)), clock)
}

fn spend(budget: &Budget, clock: &SharedClock, calls: u64) -> Result<(), Scope> {
    let account = AccountId::new("a");
    for _ in 0..calls {
        let now = Now::read(&**clock);
        let permit = budget.admit(&account, Operation::CreateView, Priority::Signer, now);
        permit.map_err(|shed| shed.scope)?.answered(&HeaderMap::new(), now);
    }
    Ok(())
}

async fn b2_daemons_share_the_burst_and_the_hour(fixture: Fixture) {
    let store = fixture.open().await;
    let ((one, clock), (two, _)) = (budget(&fixture, 300, 100), budget(&fixture, 300, 100));
    let account = AccountId::new("a");
    spend(&one, &clock, 60).unwrap();
    spend(&two, &clock, 1).unwrap();
    one.share(&*store).await.unwrap();
    two.share(&*store).await.unwrap();
    one.share(&*store).await.unwrap();
    assert_eq!((one.remaining(&account).burst, two.remaining(&account).burst), (39, 39));
    assert_eq!((one.remaining(&account).hour, two.remaining(&account).hour), (239, 239));
    assert_eq!(spend(&two, &clock, 40), Err(Scope::Burst), "the other's calls count");
    // Half a minute later the burst is over; the hour is not.
    fixture.clock.advance(Duration::from_secs(36));
    assert_eq!(two.remaining(&account).burst, 100);
    one.share(&*store).await.unwrap();
    two.share(&*store).await.unwrap();
    one.share(&*store).await.unwrap();
    assert_eq!((one.remaining(&account).hour, two.remaining(&account).hour), (200, 200));
    // One that starts anew learns what was spent before, with its first call.
    let (three, _) = budget(&fixture, 300, 100);
    spend(&three, &clock, 1).unwrap();
    three.share(&*store).await.unwrap();
    assert_eq!(three.remaining(&account).hour, 199);
}

async fn the_ledger_outlives_its_process(fixture: Fixture) {
    let store = fixture.open().await;
    let (first, clock) = budget(&fixture, 3_000, 100);
    let begun = clock.now();
    spend(&first, &clock, 100).unwrap();
    assert_eq!(spend(&first, &clock, 1), Err(Scope::Burst));
    let envelope = EnvelopeId::new("e");
    first.claim_check(&envelope, "", Now::read(&*clock)).unwrap();
    first.claim_check(&envelope, "", Now::read(&*clock)).unwrap_err();
    first.save_ledger(&*store).await.unwrap();
    first.save_ledger(&*store).await.unwrap();
    drop(first);
    fixture.clock.advance(Duration::from_secs(3_600));
    let (second, _) = budget(&fixture, 3_000, 100);
    spend(&second, &clock, 7).unwrap();
    second.save_ledger(&*store).await.unwrap();

    let noted = store.noted_calls(Timestamp::UNIX_EPOCH, Timestamp::MAX).await.unwrap();
    let window = Window::of(begun, clock.now(), &noted);
    assert_eq!((window.calls["recipient_view"], window.total, window.busiest_hour), (107, 107, 100));
    let avoided: Vec<_> = window.rules.iter().map(|rule| (rule.rule.as_str(), rule.avoided)).collect();
    assert_eq!(avoided, [("burst_limit", 1), ("envelope_limit", 0), ("hourly_limit", 0), ("polling", 1)]);
    assert!(window.kept_every_rule);
    let later =
        store.noted_calls(clock.now().saturating_sub(Duration::from_secs(1_800)).unwrap(), Timestamp::MAX);
    assert!(later.await.unwrap().len() <= 1, "only the hours asked for");
}

#[tokio::test]
async fn the_ledger_is_shown_to_operators_also_after_a_restart() {
    let mut daemon = TestDaemon::start().await;
    let made = daemon.create("order-1", &order()).await;
    assert_eq!(made.status, http::StatusCode::CREATED, "{}", made.text);
    let fault = serde_json::json!({"fault": "rate_limit", "status": 429, "method": "POST", "path": "/envelopes", "count": 1, "reset_s": 1});
    daemon.fault(&fault).await;
    daemon.create("order-2", &order()).await;
    daemon.restart().await;
    let ledger = daemon.ops("/ledger?hours=2").await;
    assert_eq!(ledger.body["calls"]["envelope_create"], 2, "{}", ledger.text);
    assert_eq!(ledger.body["calls"]["recipient_view"], 1, "{}", ledger.text);
    assert_eq!(ledger.body["kept_every_rule"], false, "the upstream had to refuse one: {}", ledger.text);
    let url = format!("{}/ledger", daemon.ops);
    let table = daemon.call(http::Method::GET, &url, None, &[("accept", "text/plain")], Vec::new()).await;
    assert!(
        table.text.contains("envelope_create") && table.text.contains("rules were broken"),
        "{}",
        table.text
    );
    assert_eq!(daemon.ops("/ledger?hours=0").await.status.as_u16(), 400);
    let metrics = daemon.ops("/metrics").await;
    assert!(
        metrics.text.contains("countersign_budget_remaining{account=\"system\",window=\"hour\"}"),
        "{}",
        metrics.text
    );
    assert!(
        metrics.text.contains("countersign_budget_runway_seconds{account=\"system\"}"),
        "{}",
        metrics.text
    );
    daemon.stop().await;
}
