//! The budget between daemons and across restarts (rules B2, B3), on both stores.

use std::{sync::Arc, time::Duration};

use countersign::{
    budget::{Budget, Operation, Options, Priority, Scope, Unclaimed, ledger::Window},
    clock::{Now, SharedClock},
    domain::{AccountId, EnvelopeId},
    store::{Retention, SharedStore},
};
use http::{HeaderMap, Method, StatusCode};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    harness::{CALLER_KEY, TestDaemon, order},
    store::{Fixture, on_both, retention::KEEP_ALL},
};

on_both!(
    b2_daemons_share_the_burst_and_the_hour,
    b2_the_forecast_is_of_all_daemons,
    b3_one_check_is_one_for_all_daemons_and_outlives_a_process,
    b3_one_list_of_quiet_signings_is_one_for_all_daemons,
    checks_that_are_over_are_forgotten,
    the_ledger_counts_changes_of_an_envelope_beyond_what_is_advised,
    the_ledger_outlives_its_process
);

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

/// Others have used the account, too: by our own count nearly all of the hour is left.
#[tokio::test]
async fn b2_an_hour_that_docusign_says_is_gone_is_gone_for_gauges_and_event() {
    let create = json!({ "method": "POST", "path": "/envelopes", "count": 1 });
    for (more, longest) in [
        (json!({ "fault": "rate_limit", "reset_s": 600 }), 600),
        // The code alone, without a header that says for how long.
        (json!({ "fault": "status", "status": 429 }), 3_600),
    ] {
        let daemon = TestDaemon::start().await;
        let left = async |window: &str| {
            let labels = ["account=\"system\"".to_owned(), format!("window=\"{window}\"")];
            daemon.metric("countersign_budget_remaining", &labels.each_ref().map(String::as_str)).await
        };
        let runway =
            async || daemon.metric("countersign_budget_runway_seconds", &["account=\"system\""]).await;
        let told = async || {
            let listed = daemon.get("/v1/events").await;
            let events = listed.body["data"].as_array().unwrap_or_else(|| panic!("{}", listed.text));
            events.iter().filter(|event| event["type"] == "budget.low").cloned().collect::<Vec<_>>()
        };
        assert!(left("hour").await > 2_900.0 && runway().await.is_infinite());

        let mut fault = create.clone();
        fault.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        daemon.fault(&fault).await;
        let asked_at = Now::read(&daemon.clock).date;
        let refused = daemon.create("order-1", &order()).await;
        assert_eq!(refused.code(), "provider_rate_limited", "{}", refused.text);
        let wait: i64 = refused.headers["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((1..=longest).contains(&wait), "{wait}");
        assert!(left("hour").await < 1.0 && runway().await < 1.0, "{fault}");
        assert!(left("burst").await > 100.0, "half a minute is no hour");

        daemon.run_clock("the event", async || !told().await.is_empty()).await;
        let mut rounds = 0..40;
        daemon.run_clock("twenty seconds more", async || rounds.next().is_none()).await;
        let events = told().await;
        assert_eq!(events.len(), 1, "{events:?}");
        let data = &events[0]["data"];
        assert_eq!((&data["hour_limit"], &data["hour_remaining"]), (&json!(3_000), &json!(0)), "{data}");
        assert!(data["exhausted_at"].is_string(), "{data}");
        let resets_at: Timestamp = data["resets_at"].as_str().unwrap().parse().unwrap();
        let lasts = resets_at.duration_since(asked_at).as_secs();
        assert!((wait - 1..=wait + 1).contains(&lasts), "{lasts} s, as callers are told: {wait}");

        daemon.clock.advance(Duration::from_secs(wait.unsigned_abs()));
        assert!(left("hour").await > 2_900.0 && runway().await.is_infinite(), "it is over");
    }
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

async fn b2_the_forecast_is_of_all_daemons(fixture: Fixture) {
    let store = fixture.open().await;
    let ((busy, clock), (idle, _)) = (budget(&fixture, 1_000, 1_000), budget(&fixture, 1_000, 1_000));
    let account = AccountId::new("a");
    spend(&busy, &clock, 100).unwrap();
    spend(&idle, &clock, 1).unwrap();
    for budget in [&busy, &idle, &busy] {
        budget.share(&*store).await.unwrap();
    }
    // What was spent before it looked first may be of long ago.
    assert_eq!(idle.forecast(&account).calls_per_hour, 12);
    for _ in 0..4 {
        fixture.clock.advance(Duration::from_secs(60));
        spend(&busy, &clock, 50).unwrap();
        busy.share(&*store).await.unwrap();
        idle.share(&*store).await.unwrap();
    }
    let (of_busy, of_idle) = (busy.forecast(&account), idle.forecast(&account));
    // Each has its own calls and those that it saw the other spend: 300 and one, and one and 200, in 5 minutes.
    assert_eq!((of_busy.calls_per_hour, of_idle.calls_per_hour), (3_612, 2_412));
    assert_eq!((of_busy.remaining, of_idle.remaining), (699, 699));
    assert!(of_idle.exhausted_at.is_some(), "it has made one call itself, and says when the hour is gone");
    // A new hour begins with what is spent in it, from its first call on.
    fixture.clock.advance(Duration::from_secs(3_600));
    spend(&busy, &clock, 120).unwrap();
    busy.share(&*store).await.unwrap();
    idle.share(&*store).await.unwrap();
    assert_eq!(idle.forecast(&account).calls_per_hour, 1_440);
}

fn daemon(fixture: &Fixture, store: &SharedStore) -> Arc<Budget> {
    Budget::on(Arc::clone(store), Options::default(), Arc::new(fixture.clock.clone()))
}

async fn b3_one_check_is_one_for_all_daemons_and_outlives_a_process(fixture: Fixture) {
    let store = fixture.open().await;
    let (one, two) = (daemon(&fixture, &store), daemon(&fixture, &store));
    let (envelope, now) = (EnvelopeId::new("e"), Now::read(&fixture.clock));
    let claims = (0..16).map(|number| {
        let (budget, envelope) = (Arc::clone(if number % 2 == 0 { &one } else { &two }), envelope.clone());
        tokio::spawn(async move { budget.claim_check(&envelope, "", now).await.is_ok() })
    });
    let claimed = futures_util::future::join_all(claims).await.into_iter().filter(|it| *it.as_ref().unwrap());
    assert_eq!(claimed.count(), 1, "of many at two daemons");
    assert!(two.claim_check(&envelope, "recipients", now).await.is_ok(), "another part has its own");
    // One that starts anew knows of it, and says a true time.
    fixture.clock.advance(Duration::from_secs(899));
    let refused = daemon(&fixture, &store).claim_check(&envelope, "", Now::read(&fixture.clock)).await;
    let Err(Unclaimed::Shed(shed)) = refused else { panic!("{refused:?}") };
    assert_eq!(shed.retry_at, now.date + jiff::SignedDuration::from_secs(900));
    fixture.clock.advance(Duration::from_secs(1));
    let then = Now::read(&fixture.clock);
    one.claim_check(&envelope, "", then).await.unwrap();
    assert!(two.claim_check(&envelope, "", then).await.is_err());
    // What was surely not sent is given back, to everybody.
    one.return_check(&envelope, "", then).await;
    daemon(&fixture, &store).claim_check(&envelope, "", then).await.unwrap();
    // What a clock wrote that was days ahead blocks nothing.
    fixture.clock.step(jiff::SignedDuration::from_hours(-48));
    daemon(&fixture, &store).claim_check(&envelope, "", Now::read(&fixture.clock)).await.unwrap();
}

async fn b3_one_list_of_quiet_signings_is_one_for_all_daemons(fixture: Fixture) {
    let store = fixture.open().await;
    let (one, two) = (daemon(&fixture, &store), daemon(&fixture, &store));
    let envelopes: Vec<_> = (0..50).map(|number| EnvelopeId::new(format!("e{number}"))).collect();
    let now = Now::read(&fixture.clock);
    let (of_one, of_two) =
        tokio::join!(one.claim_listing(&envelopes, now), two.claim_listing(&envelopes, now));
    let (of_one, of_two) = (of_one.unwrap(), of_two.unwrap());
    assert_eq!(of_one.len() + of_two.len(), 50, "each is one daemon's");
    assert!(of_one.iter().all(|envelope| !of_two.contains(envelope)));
    let mine: Vec<_> = envelopes.iter().filter(|it| !of_one.contains(it)).cloned().collect();
    one.return_listing(&mine, now).await.unwrap();
    assert_eq!(two.claim_listing(&mine, now).await.unwrap(), Vec::<EnvelopeId>::new());
    // A list is no check of the envelope.
    one.claim_check(&envelopes[0], "", now).await.unwrap();
}

async fn checks_that_are_over_are_forgotten(fixture: Fixture) {
    let store = fixture.open().await;
    let budget = daemon(&fixture, &store);
    let (envelope, begun) = (EnvelopeId::new("e"), Now::read(&fixture.clock));
    budget.claim_check(&envelope, "", begun).await.unwrap();
    for expected in 1..=3 {
        assert_eq!(store.count_change(&envelope, begun.date).await.unwrap(), expected);
    }
    let after = |seconds| begun.date + jiff::SignedDuration::from_secs(seconds);
    let kept = Retention { checks_before: after(0), events_before: after(0), ..KEEP_ALL };
    store.destroy(kept).await.unwrap();
    assert!(daemon(&fixture, &store).claim_check(&envelope, "", begun).await.is_err());
    assert_eq!(store.count_change(&envelope, begun.date).await.unwrap(), 4);
    store.destroy(Retention { checks_before: after(1), events_before: after(1), ..KEEP_ALL }).await.unwrap();
    assert!(daemon(&fixture, &store).claim_check(&envelope, "", begun).await.is_ok());
    assert_eq!(store.count_change(&envelope, begun.date).await.unwrap(), 1);
}

async fn the_ledger_counts_changes_of_an_envelope_beyond_what_is_advised(fixture: Fixture) {
    let store = fixture.open().await;
    let (one, two) = (daemon(&fixture, &store), daemon(&fixture, &store));
    let (many, few) = (EnvelopeId::new("many"), EnvelopeId::new("few"));
    for _ in 0..3 {
        one.envelope_changed(&many).await;
        two.envelope_changed(&many).await;
        two.envelope_changed(&few).await;
    }
    one.save_ledger(&*store).await.unwrap();
    two.save_ledger(&*store).await.unwrap();
    let noted = store.noted_calls(Timestamp::UNIX_EPOCH, Timestamp::MAX).await.unwrap();
    let window = Window::of(Timestamp::UNIX_EPOCH, Timestamp::MAX, &noted);
    let changes = window.rules.iter().find(|rule| rule.rule.as_str() == "envelope_changes").unwrap();
    assert_eq!((changes.avoided, changes.broken), (0, 2), "the create, four changes, and two more");
    assert!(window.kept_every_rule && !window.followed_every_advice);
}

async fn the_ledger_outlives_its_process(fixture: Fixture) {
    let store = fixture.open().await;
    let (first, clock) = budget(&fixture, 3_000, 100);
    let begun = clock.now();
    spend(&first, &clock, 100).unwrap();
    assert_eq!(spend(&first, &clock, 1), Err(Scope::Burst));
    let envelope = EnvelopeId::new("e");
    first.claim_check(&envelope, "", Now::read(&*clock)).await.unwrap();
    first.claim_check(&envelope, "", Now::read(&*clock)).await.unwrap_err();
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
    let expected = [
        ("account_server_limit", 0),
        ("burst_limit", 1),
        ("document_downloads", 0),
        ("envelope_changes", 0),
        ("envelope_limit", 0),
        ("hourly_limit", 0),
        ("pause", 0),
        ("polling", 1),
        ("token_kept", 0),
    ];
    assert_eq!(avoided, expected);
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

/// The next calls are refused again, as by an account that others use up: whoever has waited as long as was asked breaks no
/// rule, neither for the vendor's judge nor in our own ledger.
#[tokio::test]
async fn b2_after_the_end_that_a_limit_states_the_pause_is_over() {
    let mut daemon = TestDaemon::start().await;
    let fault = json!({"fault": "rate_limit", "status": 429, "method": "POST", "path": "/envelopes", "count": 3, "reset_s": 30});
    daemon.fault(&fault).await;
    for number in 0..3 {
        let refused = daemon.create(&format!("order-{number}"), &order()).await;
        assert_eq!(refused.code(), "provider_rate_limited", "{}", refused.text);
        let wait: u64 = refused.headers["retry-after"].to_str().unwrap().parse().unwrap();
        daemon.clock.advance(Duration::from_secs(wait));
    }
    let judged = daemon.control(Method::GET, "rules", &Value::Null).await;
    assert_eq!(judged["rules"], json!([]), "{judged}");
    daemon.restart().await;
    let ledger = daemon.ops("/ledger?hours=2").await;
    let broken = |name: &str| {
        let rules = ledger.body["rules"].as_array().unwrap();
        rules.iter().find(|rule| rule["rule"] == name).unwrap()["broken"].as_u64()
    };
    assert_eq!((broken("hourly_limit"), broken("pause")), (Some(3), Some(0)), "{}", ledger.text);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b3_two_daemons_asked_at_the_same_moment_make_one_get() {
    let Some(url) = crate::postgres::database() else { return };
    let daemon = TestDaemon::builder().store(&url).start().await;
    let beside = daemon.beside().await;
    let made = daemon.create("order-1", &order()).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    let envelope = made.body["provider"]["envelope_id"].as_str().unwrap().to_owned();
    let account = &daemon.emulator.ready().account_id;
    let passed = format!("/v1/senders/system/esign/restapi/v2.1/accounts/{account}/envelopes/{envelope}");
    let refresh = format!("/v1/signings/{}/refresh", made.id());
    daemon.forget_requests().await;
    let asked = async |api: &str, method, path: &str| {
        daemon.call(method, &format!("{api}{path}"), Some(CALLER_KEY), &[], Vec::new()).await.status
    };
    let (one, two) = (daemon.api.as_str(), beside.api.as_str());
    let answers = tokio::join!(
        asked(one, Method::POST, &refresh),
        asked(two, Method::POST, &refresh),
        asked(one, Method::GET, &passed),
        asked(two, Method::GET, &passed),
    );
    let gets = async || {
        let requests = daemon.requests().await;
        requests.iter().filter(|line| line.starts_with("GET ") && line.ends_with(&envelope)).count()
    };
    assert_eq!(gets().await, 1, "{answers:?}");
    let answers = [answers.0, answers.1, answers.2, answers.3];
    assert_eq!(answers.iter().filter(|status| **status == StatusCode::CONFLICT).count(), 3, "{answers:?}");
    // A part of it has a count of its own, at both of them together; and the time is true for the other one, too.
    let recipients = format!("{passed}/recipients");
    assert_eq!(asked(two, Method::GET, &recipients).await, StatusCode::OK);
    assert_eq!(asked(one, Method::GET, &recipients).await, StatusCode::CONFLICT);
    daemon.clock.advance(Duration::from_secs(899));
    assert_eq!(asked(two, Method::GET, &passed).await, StatusCode::CONFLICT);
    daemon.clock.advance(Duration::from_secs(1));
    assert_eq!(asked(two, Method::GET, &passed).await, StatusCode::OK);
    assert_eq!(gets().await, 2);
    let rules = daemon.control(Method::GET, "rules", &Value::Null).await;
    assert!(!rules.to_string().contains("\"polling\""), "{rules}");
    // What was held back is in the ledger of both.
    beside.stop().await;
    daemon
        .run_clock("the ledger is written", async || {
            let ledger = daemon.ops("/ledger").await;
            let rules = ledger.body["rules"].as_array().unwrap();
            rules.iter().any(|rule| {
                rule["rule"] == "polling" && rule["avoided"].as_u64() >= Some(5) && rule["broken"] == 0
            })
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b3_two_daemons_that_look_at_quiet_signings_make_one_list() {
    let Some(url) = crate::postgres::database() else { return };
    // Without the public listener nobody can tell us.
    let daemon = TestDaemon::builder().store(&url).start().await;
    let beside = daemon.beside().await;
    for number in 0..3 {
        daemon.create(&format!("order-{number}"), &order()).await;
    }
    daemon.sign_all().await;
    // Slow enough that both look while the first has no answer yet.
    daemon.fault(&json!({"fault": "delay", "method": "GET", "path": "/envelopes", "delay_ms": 2_000})).await;
    daemon.forget_requests().await;
    daemon.clock.advance(Duration::from_secs(3_700));
    let asked = crate::reconcile::asked_until_completed(&daemon, 3).await;
    assert_eq!(asked.len(), 1, "{asked:?}");
    beside.stop().await;
}

/// What a rehearsal shows of the account server, and of an envelope that is changed too often.
#[tokio::test]
async fn the_ledger_shows_tokens_that_were_not_kept_and_limits_of_the_account_server() {
    let mut daemon = TestDaemon::start().await;
    let rule = |ledger: &crate::harness::Reply, name: &str| {
        let rules = ledger.body["rules"].as_array().unwrap().clone();
        rules.into_iter().find(|rule| rule["rule"] == name).unwrap_or_else(|| panic!("{}", ledger.text))
    };
    daemon.restart().await;
    let quiet = daemon.ops("/ledger").await;
    assert_eq!(rule(&quiet, "token_kept")["broken"], 0, "two starts are two tokens: {}", quiet.text);
    assert_eq!(quiet.body["account_server"]["token"].as_u64(), Some(2), "{}", quiet.text);
    // A token in the first half of its life, and somebody has another one made.
    daemon.clock.advance(Duration::from_secs(60));
    daemon.parts().auth.prove("system").await.unwrap();
    daemon.fault(&json!({"fault": "rate_limit", "status": 429, "path": "/oauth/userinfo", "count": 1, "reset_s": 60})).await;
    daemon.parts().auth.look_up_user("system").await.unwrap_err();
    daemon.restart().await;
    let ledger = daemon.ops("/ledger").await;
    let (kept, limited) = (rule(&ledger, "token_kept"), rule(&ledger, "account_server_limit"));
    assert_eq!((&kept["broken"], &kept["weight"]), (&json!(1), &json!("advice")), "{}", ledger.text);
    assert_eq!((&limited["broken"], &limited["weight"]), (&json!(1), &json!("limit")), "{}", ledger.text);
    assert!(limited["says"].is_string() && limited["source"].as_str().unwrap().contains("docusign"));
    assert_eq!(
        (&ledger.body["kept_every_rule"], &ledger.body["followed_every_advice"]),
        (&json!(false), &json!(false))
    );
    daemon.stop().await;
}

#[tokio::test]
async fn calls_of_the_account_server_are_counted_among_those_of_the_upstream() {
    let daemon = TestDaemon::start().await;
    let counted = async |operation: &str, outcome: &str| {
        let labels = [format!("operation=\"{operation}\""), format!("outcome=\"{outcome}\"")];
        daemon.metric("countersign_upstream_requests_total", &labels.each_ref().map(String::as_str)).await
    };
    assert!(counted("token", "good").await >= 1.0);
    let before = counted("user_info", "good").await;
    assert!(before >= 1.0);
    assert_eq!(counted("user_info", "good").await.to_bits(), before.to_bits(), "a scrape adds nothing");
    daemon.fault(&json!({"fault": "status", "status": 503, "path": "/oauth/userinfo"})).await;
    daemon.post("/v1/senders/system/check", &json!({})).await;
    assert!(counted("user_info", "unavailable").await >= 1.0);
}
