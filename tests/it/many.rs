//! Thousands of senders in one daemon: what they cost while they rest, and that each one's trouble is its own.
//! The number is in the environment (see `settings`); the long run is made by hand.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::{
    harness::{CALLER_KEY, TempDir, TestDaemon, http_client},
    kills::start,
    settings,
};

#[tokio::test]
async fn resting_senders_cost_little_and_are_not_minted_for() {
    let configured = settings::senders();
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

    let listed = client.get(format!("{api}/v1/senders")).bearer_auth(CALLER_KEY).send().await.unwrap();
    let listed: Value = serde_json::from_str(&listed.text().await.unwrap()).unwrap();
    assert_eq!(listed["data"].as_array().unwrap().len(), configured + 2);
    let resident = resident_mib(daemon.id());
    eprintln!("{configured} senders, {active} in use: {resident:.1} MiB resident");
    assert!(resident < 60.0, "{resident} MiB");
}

fn resident_mib(pid: u32) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = text.lines().find(|line| line.starts_with("Rss:")).unwrap();
    let kib: f64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib / 1024.0
}
