//! Thousands of senders in one daemon: what they cost while they rest, and that each one's trouble is its own.
//! The number is in the environment (see `proof_lengths`); the long run is made by hand.

use std::{fmt::Write as _, time::Duration};

use serde_json::{Value, json};

use crate::{
    harness::{CALLER_KEY, TempDir, TestDaemon, http_client},
    kills::start,
    proof_lengths,
};

#[tokio::test]
async fn resting_senders_cost_little_and_are_not_minted_for() {
    let configured = proof_lengths::senders();
    let active = (configured / 20).max(25);
    let around = TestDaemon::start().await;
    let generous = json!({"hourly": 1_000_000, "burst": 1_000_000});
    around.control(http::Method::POST, "limits", &generous).await;
    let ready = around.emulator.ready();
    let folder = TempDir::new();
    let store = format!("sqlite://{}", folder.0.join("many.db").display());
    let mut written = around.settings_for_a_process(&store);
    for number in 0..configured {
        // Every tenth of the active ones acts as somebody who has not consented.
        let user =
            if number < active && number % 10 == 9 { &ready.no_consent_user_id } else { &ready.user_id };
        let _ = write!(
            written,
            "[senders.tenant-{number:05}]\nintegration_key = \"{}\"\nuser_id = \"{user}\"\nkeys = [\"{}\"]\n",
            ready.integration_key,
            ready.private_key_file.display(),
        );
    }
    let (daemon, api) = start(&written, &folder.0, 0).await;
    around.forget_requests().await;
    let client = http_client();
    let use_one = async |number: usize| {
        let url = format!("{api}/v1/senders/tenant-{number:05}/esign/templates");
        let reply = client.get(url).bearer_auth(CALLER_KEY).send().await.unwrap();
        reply.status().as_u16()
    };
    for number in 0..active {
        let expected = if number % 10 == 9 { 409 } else { 200 };
        assert_eq!(use_one(number).await, expected, "tenant {number}");
    }
    let mints = around.requests().await.iter().filter(|line| line.contains("/oauth/token")).count();
    assert!(mints <= active + 25, "{mints} mints for {active} senders in use");

    let shown =
        client.get(format!("{api}/v1/senders?limit=100")).bearer_auth(CALLER_KEY).send().await.unwrap();
    let shown: Value = serde_json::from_str(&shown.text().await.unwrap()).unwrap();
    assert_eq!((shown["data"].as_array().unwrap().len(), &shown["has_more"]), (100, &json!(true)));
    let (resident, own) = (rollup_mib(daemon.id(), "Rss:"), rollup_mib(daemon.id(), "Anonymous:"));
    eprintln!("{configured} senders, {active} in use: {resident:.1} MiB resident, {own:.1} of them its own");
    // A debug build's program text alone takes 45 MiB; a release's takes 17.
    let most_own = if cfg!(debug_assertions) { 45.0 } else { 60.0 };
    assert!(own < most_own && (resident < 60.0 || cfg!(debug_assertions)), "{resident} MiB, {own} its own");
}

fn rollup_mib(pid: u32, row: &str) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = text.lines().find(|line| line.starts_with(row)).unwrap();
    let kib: f64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib / 1024.0
}

/// Settings of senders `tenant-0000` and so on, all of one key and one user.
fn tenants(count: usize) -> impl Fn(&str, &str) -> String + 'static {
    move |key, pem| {
        let one = |number: usize| {
            format!(
                "[senders.tenant-{number:04}]\nintegration_key = \"{key}\"\n\
                 user_id = \"b7d7a1c4-52e8-4d0f-9b6a-7e3f0c210001\"\nkeys = [\"{pem}\"]\n"
            )
        };
        (0..count).map(one).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refreshes_of_many_senders_are_spread_and_those_that_rest_are_left_alone() {
    const ACTIVE: usize = 800;
    const MINUTES: usize = 60;
    let daemon = TestDaemon::builder().with_senders(tenants(2 * ACTIVE)).start().await;
    let auth = daemon.parts().auth.clone();
    // All of them are first used at the same moment, which is the worst.
    let names: Vec<String> = (0..ACTIVE).map(|number| format!("tenant-{number:04}")).collect();
    let tokens = futures_util::future::join_all(names.iter().map(|name| auth.token(name))).await;
    assert!(tokens.iter().all(Result::is_ok));
    let generation = |name: &String| auth.ready(name).unwrap().generation();
    let mut known: Vec<u64> = names.iter().map(generation).collect();
    let mut refreshed = Vec::new();
    for _ in 0..MINUTES {
        daemon.clock.advance(Duration::from_secs(60));
        let now = countersign::clock::Clock::uptime(&daemon.clock);
        let is_done = |name: &String| auth.ready(name).is_some_and(|token| token.schedule().refresh_at > now);
        daemon.until("the refreshes of this minute", async || names.iter().all(is_done)).await;
        let seen: Vec<u64> = names.iter().map(generation).collect();
        refreshed.push(known.iter().zip(&seen).filter(|(before, after)| before != after).count());
        known = seen;
    }
    let (all, most) = (refreshed.iter().sum::<usize>(), *refreshed.iter().max().unwrap());
    eprintln!("{ACTIVE} senders, {all} refreshes in {MINUTES} min, at most {most} in one: {refreshed:?}");
    assert!(most * MINUTES <= 2 * all, "no minute has more than twice the mean: {refreshed:?}");
    let in_use = auth.statuses_in_use().len();
    assert!((ACTIVE..ACTIVE + 25).contains(&in_use), "{in_use} have a token");
}

/// What `/readyz` says of all senders together, if something is to be said.
async fn together(daemon: &TestDaemon) -> Option<Value> {
    let reasons = daemon.ops("/readyz").await.body["reasons"].clone();
    reasons.as_array().unwrap().iter().find(|reason| reason["part"] == "senders").cloned()
}

#[tokio::test]
async fn h1_of_very_many_senders_a_bad_key_and_a_wrong_account_are_told_too() {
    let lost = |key: &str, pem: &str| {
        format!(
            "[senders.lost]\nintegration_key = \"{key}\"\naccount = \"Nobody Ltd\"\n\
             user_id = \"b7d7a1c4-52e8-4d0f-9b6a-7e3f0c210001\"\nkeys = [\"{pem}\"]\n"
        )
    };
    let daemon = TestDaemon::builder().with_senders(tenants(25)).with_senders(lost).start().await;
    let says = async |words: &str| {
        let said =
            |told: Value| told["status"] == "degraded" && told["detail"].as_str().unwrap().contains(words);
        together(&daemon).await.is_some_and(said)
    };
    daemon.run_clock("the account", async || says("lost (sender_not_in_account)").await).await;
    std::fs::write(&daemon.emulator.ready().private_key_file, "no key").unwrap();
    daemon.run_clock("the key", async || says("system (key_truncated)").await).await;
    assert_eq!(daemon.ops("/readyz").await.status, 200, "the key that was read before still signs");
}

#[tokio::test]
async fn t11_of_very_many_senders_those_that_rest_are_asked_by_turns() {
    let daemon = TestDaemon::builder().with_senders(tenants(25)).start().await;
    let is_told = async || {
        let words = "unconsented (consent_required)";
        together(&daemon).await.is_some_and(|told| told["detail"].as_str().unwrap().contains(words))
    };
    assert!(!is_told().await, "of so many it is not asked at the start");
    // After a day nobody has a token.
    daemon.clock.advance(Duration::from_secs(86_400 + 60));
    let auth = &daemon.parts().auth;
    daemon.until("rest", async || auth.statuses_in_use().is_empty()).await;
    let is_its_turn = async || {
        daemon.clock.advance(Duration::from_secs(20));
        is_told().await
    };
    daemon.until("its turn", is_its_turn).await;
    assert_eq!(auth.statuses_in_use().len(), 1, "who is well rests on");
    assert_eq!(daemon.ops("/readyz").await.status, 200, "one customer's trouble is not the daemon's");
    let user = &daemon.emulator.ready().no_consent_user_id;
    daemon.control(http::Method::POST, "consent", &json!({"user_id": user, "granted": true})).await;
    daemon.run_clock("the grant", async || !is_told().await).await;
}

#[tokio::test]
async fn many_senders_are_listed_in_pages() {
    let daemon = TestDaemon::builder().with_senders(tenants(130)).start().await;
    let (mut names, mut path) = (Vec::new(), "/v1/senders?limit=50".to_owned());
    loop {
        let page = daemon.get(&path).await.body;
        let data = page["data"].as_array().unwrap();
        names.extend(data.iter().map(|sender| sender["name"].as_str().unwrap().to_owned()));
        let Some(cursor) = page["next_cursor"].as_str() else {
            assert_eq!(page["has_more"], false);
            break;
        };
        assert_eq!((data.len(), &page["has_more"]), (50, &json!(true)));
        path = format!("/v1/senders?limit=50&cursor={cursor}");
    }
    assert_eq!(names.len(), 132, "each once");
    assert!(names.is_sorted());
    assert_eq!(daemon.get("/v1/senders").await.body["data"].as_array().unwrap().len(), 20);
    for (wrong, code) in
        [("limit=0", "invalid_request"), ("limit=101", "invalid_request"), ("page=2", "unknown_field")]
    {
        let refused = daemon.get(&format!("/v1/senders?{wrong}")).await;
        assert_eq!((refused.status.as_u16(), refused.code()), (400, code), "{wrong}");
    }
    // A caller sees the pages of its own senders alone.
    let foreign = daemon.as_stranger(http::Method::GET, "/v1/senders?limit=1", &Value::Null).await;
    assert_eq!(foreign.body["data"], json!([]));
}
