//! Tokens and keys while callers keep calling: outages, rotations, early deaths and wrong clocks, and not
//! one call that fails for them.

use std::{fs, path::Path, time::Duration};

use countersign::auth::{signing_key, signing_key::Generated};
use futures_util::future::join_all;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::{TestDaemon, order};

/// Creates under way at once.
const AT_ONCE: usize = 8;

/// A daemon at whose upstream nothing but the token can go wrong.
async fn unlimited() -> TestDaemon {
    let daemon = TestDaemon::start().await;
    daemon.control(Method::POST, "limits", &json!({"hourly": 10_000_000, "burst": 10_000_000})).await;
    daemon.create("learn", &order()).await;
    daemon
}

/// A wave of callers, each of which must get its envelope.
async fn wave(daemon: &TestDaemon, name: &str) {
    let keys: Vec<String> = (0..AT_ONCE).map(|number| format!("{name}-{number}")).collect();
    let order = order();
    // As long as they may: beside them the clock may run.
    let patient = [("prefer", "wait=60")];
    for made in join_all(keys.iter().map(|key| daemon.create_with(key, &order, &patient))).await {
        assert_eq!(made.status, StatusCode::CREATED, "{name}: {}", made.text);
    }
}

/// What was asked of the upstream: path and status.
async fn requests(daemon: &TestDaemon) -> Vec<(String, u64)> {
    let all = daemon.control(Method::GET, "requests", &Value::Null).await;
    let line = |one: &Value| (one["path"].as_str().unwrap().to_owned(), one["status"].as_u64().unwrap_or(0));
    all["requests"].as_array().unwrap().iter().map(line).collect()
}

#[tokio::test]
async fn h1_25_minutes_without_an_account_server_fail_no_request() {
    let daemon = unlimited().await;
    // In the minutes in which nobody asks for a token.
    daemon.faults_may_wait();
    // The worst moment: just before the refresh at half of life, with half an hour left.
    daemon.pass(Duration::from_secs(20), 79).await;
    let down = [
        json!({"fault": "status", "status": 503, "path": "/oauth/token"}),
        json!({"fault": "reset_before_commit", "path": "/oauth/token"}),
        json!({"fault": "html", "status": 502, "path": "/oauth/token"}),
    ];
    let before = daemon.mints().await;
    for minute in 0..25 {
        daemon.control(Method::DELETE, "faults", &Value::Null).await;
        daemon.fault(&down[minute % down.len()]).await;
        daemon.pass(Duration::from_secs(10), 6).await;
        wave(&daemon, &format!("minute-{minute}")).await;
        if minute == 20 {
            // The other sender of the settings, who has no consent, makes the whole not ready.
            let health = daemon.ops("/readyz").await;
            let reasons = health.body["reasons"].as_array().unwrap();
            let system = reasons.iter().find(|one| one["part"] == "sender.system").expect("it is said");
            assert_eq!(system["status"], "degraded", "{}", health.text);
            assert!(system["detail"].as_str().unwrap().starts_with("the token is valid"), "{}", health.text);
        }
    }
    assert_eq!(daemon.mints().await, before, "it really was down");
    daemon.control(Method::DELETE, "faults", &Value::Null).await;
    daemon.run_clock("a new token", async || daemon.mints().await > before).await;
    wave(&daemon, "after").await;
}

#[tokio::test]
async fn t10_twenty_rotations_in_a_row_under_load_fail_no_request() {
    let daemon = unlimited().await;
    let ready = daemon.emulator.ready().clone();
    let file = Path::new(&ready.private_key_file);
    let pairs: Vec<Generated> = (0..4).map(|_| signing_key::generate().unwrap()).collect();
    let register = async |pair: &Generated, active: bool| {
        let body = json!({
            "integration_key": ready.integration_key, "public_key_pem": pair.public_pem, "active": active,
        });
        daemon.control(Method::POST, "keys", &body).await;
    };
    for round in 0..20 {
        let (new, old) = (&pairs[round % 4], &pairs[(round + 3) % 4]);
        register(new, true).await;
        replace(file, new, round);
        let is_active = || {
            let keys = daemon.parts().auth.status("system").unwrap().keys;
            keys.len() == 1 && keys[0].fingerprint == Some(new.fingerprint) && keys[0].last_success.is_some()
        };
        let calls = async {
            while !is_active() {
                wave(&daemon, &format!("round-{round}-{}", fastrand::u64(..))).await;
            }
        };
        let rotated = daemon.run_clock("the new key", async || is_active());
        tokio::join!(calls, rotated);
        // The old key is removed at once; and every fourth time the token dies with it.
        if round > 0 {
            register(old, false).await;
        }
        if round % 4 == 3 {
            daemon.pass(Duration::from_secs(60), 1).await;
            daemon.control(Method::POST, "tokens/revoke", &json!({})).await;
        }
        wave(&daemon, &format!("after-{round}")).await;
    }
}

/// As people do it, in turn: written over, renamed over, and a symlink that is swapped.
fn replace(file: &Path, pair: &Generated, round: usize) {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    let write = |path: &Path| {
        let _ = fs::remove_file(path);
        fs::write(path, pair.private_pem.as_bytes()).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    };
    let beside = |name: String| file.with_file_name(name);
    match round % 3 {
        0 => fs::write(file, pair.private_pem.as_bytes()).unwrap(),
        1 => {
            write(&beside("next.pem".to_owned()));
            fs::rename(beside("next.pem".to_owned()), file).unwrap();
        }
        _ => {
            write(&beside(format!("data-{round}.pem")));
            symlink(format!("data-{round}.pem"), beside("next-link".to_owned())).unwrap();
            fs::rename(beside("next-link".to_owned()), file).unwrap();
        }
    }
}

#[tokio::test]
async fn t7_a_thousand_callers_hit_by_a_401_cost_one_mint_and_one_replay_each() {
    let daemon = unlimited().await;
    daemon.pass(Duration::from_secs(60), 6).await;
    daemon.control(Method::POST, "tokens/revoke", &json!({})).await;
    daemon.forget_requests().await;
    // A read that goes through to the upstream costs one call with the token, and nothing else.
    let account = &daemon.emulator.ready().account_id;
    let path = format!("/v1/senders/system/esign/restapi/v2.1/accounts/{account}/templates");
    for read in join_all((0..1_000).map(|_| daemon.get(&path))).await {
        assert_eq!(read.status, StatusCode::OK, "{}", read.text);
    }
    let all = requests(&daemon).await;
    let count = |what: &str, with: u64| {
        all.iter().filter(|(path, status)| path.ends_with(what) && *status == with).count()
    };
    assert_eq!(count("/oauth/token", 200), 1);
    assert_eq!(count("/templates", 200), 1_000);
    let refused = count("/templates", 401);
    assert!((1..=1_000).contains(&refused), "each caller is refused once at most: {refused}");
}

#[tokio::test]
async fn t7_early_deaths_in_a_row_cost_one_mint_and_one_replay_each() {
    let daemon = unlimited().await;
    daemon.pass(Duration::from_secs(60), 1).await;
    for round in 0..3 {
        daemon.control(Method::POST, "tokens/revoke", &json!({})).await;
        daemon.forget_requests().await;
        let (key, order) = (format!("round-{round}"), order());
        // The mint keeps a distance to the one before, which takes time to pass.
        let made = tokio::select! {
            made = daemon.create(&key, &order) => made,
            () = daemon.pass(Duration::from_millis(50), 4_000) => panic!("round {round}: it never ended"),
        };
        assert_eq!(made.status, StatusCode::CREATED, "round {round}: {}", made.text);
        let all = requests(&daemon).await;
        let count = |what: &str, with: u64| {
            all.iter().filter(|(path, status)| path.ends_with(what) && *status == with).count()
        };
        let costs = (count("/envelopes", 401), count("/oauth/token", 200), count("/envelopes", 201));
        assert_eq!(costs, (1, 1, 1), "round {round}: {all:?}");
    }
    let broken = daemon.control(Method::GET, "rules", &Value::Null).await;
    assert!(!broken.to_string().contains("dead_token_reused"), "{broken}");
}

#[tokio::test]
async fn t1_an_hour_of_steady_use_costs_three_mints_at_most() {
    let daemon = unlimited().await;
    for hour in 0..6 {
        let before = daemon.mints().await;
        for minute in 0..60 {
            daemon.pass(Duration::from_secs(60), 1).await;
            if minute % 15 == 0 {
                wave(&daemon, &format!("{hour}-{minute}")).await;
            }
        }
        let cost = daemon.mints().await - before;
        assert!((1..=3).contains(&cost), "hour {hour}: {cost} mints");
    }
}

#[tokio::test]
async fn t9_a_day_of_clock_error_either_way_costs_one_corrected_retry() {
    for wrong in [86_400_i64, -86_400] {
        let daemon = unlimited().await;
        daemon.pass(Duration::from_secs(60), 6).await;
        // The upstream's clock is what moves; and its tokens are dead, so that one must be minted now.
        daemon.control(Method::POST, "clock", &json!({"advance_s": wrong})).await;
        daemon.control(Method::POST, "tokens/revoke", &json!({})).await;
        daemon.forget_requests().await;
        wave(&daemon, "at-once").await;
        let all = requests(&daemon).await;
        let system: Vec<u64> =
            all.iter().filter(|(path, _)| path == "/oauth/token").map(|(_, status)| *status).collect();
        assert!(system.len() <= 2 && system.last() == Some(&200), "{wrong}: {system:?}");
        let bound = daemon.metric("countersign_clock_offset_error_seconds", &[]).await;
        let offset = daemon.metric("countersign_clock_offset_seconds", &[]).await;
        #[expect(clippy::cast_precision_loss, reason = "86,400 is exact")]
        let error = (offset - wrong as f64).abs();
        assert!(bound <= 2.0 && error <= bound + 0.001, "{wrong}: {offset} ± {bound}");
    }
}

#[tokio::test]
async fn t5_a_thousand_callers_of_a_refused_sender_cost_one_attempt_a_step() {
    let daemon = TestDaemon::start().await;
    let mut order = order();
    order["sender"] = json!("unconsented");
    daemon.until("the first refusal", async || daemon.refusals().await == 1).await;
    let refused = async |count: usize| {
        let keys: Vec<String> = (0..count).map(|number| format!("order-{number}")).collect();
        for answer in join_all(keys.iter().map(|key| daemon.create(key, &order))).await {
            let told = (answer.status, answer.code());
            assert_eq!(told, (StatusCode::CONFLICT, "consent_required"), "{}", answer.text);
        }
    };
    refused(1_000).await;
    assert_eq!(daemon.refusals().await, 1, "who calls changes nothing");
    // Whoever was told where to consent may be on the way: one attempt a look, however many callers there are in
    // between, and they get the same answer.
    for step in 1..=14 {
        daemon.pass(Duration::from_secs(10), 1).await;
        refused(5).await;
        daemon.until("the attempt", async || daemon.refusals().await == 1 + step).await;
    }
    assert_eq!(daemon.refusals().await, 15, "after 140 s");
}
