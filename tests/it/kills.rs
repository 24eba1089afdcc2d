//! Rule E4 on the real binary: killed with SIGKILL at random moments under load, started again, asked again.
//! Each key that was answered, before or after, has exactly one envelope, and keeps its id. The audit log stays one
//! chain, and has a line for each envelope (rule S6).

use std::{
    collections::{HashMap, HashSet},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::Arc,
    time::Duration,
};

use countersign::{
    audit::{Audit, Head, chain},
    clock::SystemClock,
};
use http::Method;
use serde_json::{Value, json};

use crate::{
    harness::{TestDaemon, http_client, order},
    postgres, proof_lengths,
    waiting::read_ready,
};

/// Creates under way at once.
const AT_ONCE: usize = 8;

#[tokio::test]
async fn e4_sqlite_killed_at_random_moments_makes_one_envelope_a_key() {
    let folder = crate::harness::TempDir::new();
    kills(&format!("sqlite://{}", folder.0.join("kills.db").display())).await;
}

#[tokio::test]
async fn e4_postgres_killed_at_random_moments_makes_one_envelope_a_key() {
    if let Some(url) = postgres::database() {
        kills(&url).await;
    }
}

async fn kills(store: &str) {
    // Its emulator and control interface serve; its own daemon stays idle.
    let around = TestDaemon::start().await;
    around.control(Method::POST, "limits", &json!({"hourly": 100_000, "burst": 100_000})).await;
    let folder = crate::harness::TempDir::new();
    let log = folder.0.join("audit.jsonl");
    let audit = format!("[audit]\nfile = \"{}\"\n", log.display());
    let config = format!("{}\n{audit}", around.settings_for_a_process(store));
    let mut random = fastrand::Rng::with_seed(7);
    let mut ids: HashMap<String, String> = HashMap::new();
    let kills = usize::try_from(proof_lengths::kills()).unwrap();
    for round in 0..kills {
        let (mut daemon, api) = start(&config, &folder.0, round).await;
        let keys: Vec<String> = (0..AT_ONCE).map(|number| format!("order-{round}-{number}")).collect();
        let calls = keys.iter().map(|key| create(&api, key));
        let calls = futures_util::future::join_all(calls);
        let kill = tokio::time::sleep(Duration::from_millis(random.u64(0..60)));
        tokio::pin!(calls, kill);
        let early = tokio::select! { made = &mut calls => Some(made), () = &mut kill => None };
        daemon.kill();
        let answers = match early {
            Some(made) => made,
            None => calls.await,
        };
        remember(&mut ids, &keys, answers);
    }
    let (mut daemon, api) = start(&config, &folder.0, kills).await;
    for round in 0..kills {
        let keys: Vec<String> = (0..AT_ONCE).map(|number| format!("order-{round}-{number}")).collect();
        for key in &keys {
            let id = settled(&around, &api, key).await;
            assert_eq!(ids.entry(key.clone()).or_insert_with(|| id.clone()), &id, "{key} keeps its id");
        }
    }
    daemon.kill();
    assert_eq!(around.envelopes().await, kills * AT_ONCE, "exactly one envelope a key");
    audited(&log, &ids).await;
}

/// The log goes on whatever a kill has left of it, and is whole from its first line on; each signing's create is in it.
async fn audited(log: &Path, ids: &HashMap<String, String>) {
    let audit = Audit::open(log, false, Arc::new(SystemClock)).unwrap();
    let end = audit.head().unwrap();
    audit.close().await;
    let text = std::fs::read_to_string(log).unwrap();
    assert_eq!(chain::verify(text.as_bytes(), Some(&Head::genesis())).unwrap(), end);
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let creates = lines.filter(|line| line["event"] == "envelope.create");
    let announced: HashSet<String> =
        creates.map(|line| line["signing"].as_str().unwrap().to_owned()).collect();
    assert!(ids.values().all(|id| announced.contains(id)), "{ids:?}\n{text}");
}

fn remember(ids: &mut HashMap<String, String>, keys: &[String], answers: Vec<Option<(u16, Value)>>) {
    for (key, answer) in keys.iter().zip(answers) {
        if let Some((201 | 202, body)) = answer {
            ids.insert(key.clone(), body["id"].as_str().unwrap().to_owned());
        }
    }
}

/// Repeats a call until it is answered for good; time at the upstream stands still, so it is moved on.
pub(crate) async fn settled(around: &TestDaemon, api: &str, key: &str) -> String {
    for _ in 0..400 {
        if let Some((201, body)) = create(api, key).await {
            return body["id"].as_str().unwrap().to_owned();
        }
        around.clock.advance(Duration::from_millis(100));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{key} was never settled");
}

/// One create; none if the daemon died over it.
pub(crate) async fn create(api: &str, key: &str) -> Option<(u16, Value)> {
    let request = http_client()
        .post(format!("{api}/v1/signings"))
        .header("authorization", format!("Bearer {}", crate::harness::CALLER_KEY))
        .header("idempotency-key", key)
        .header("content-type", "application/json")
        .body(order().to_string());
    let response = request.send().await.ok()?;
    let status = response.status().as_u16();
    let body = response.text().await.ok()?;
    Some((status, serde_json::from_str(&body).ok()?))
}

/// A daemon that is killed, at the latest when its test ends.
pub(crate) struct Daemon(Child);

impl Daemon {
    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().unwrap()
    }

    pub(crate) fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Starts the real binary with these settings, and waits until it listens.
pub(crate) async fn start(settings: &str, folder: &Path, round: usize) -> (Daemon, String) {
    start_by(Command::new(env!("CARGO_BIN_EXE_countersign")), settings, folder, round).await
}

/// The same, by a command to which the arguments of the binary are added.
pub(crate) async fn start_by(
    mut command: Command,
    settings: &str,
    folder: &Path,
    round: usize,
) -> (Daemon, String) {
    let (file, ready) = (folder.join("settings.toml"), folder.join(format!("ready-{round}.json")));
    std::fs::write(&file, settings).unwrap();
    let process = command
        .args(["serve", "--config"])
        .arg(&file)
        .arg("--ready-file")
        .arg(&ready)
        .stderr(Stdio::null())
        .spawn();
    let daemon = Daemon(process.unwrap());
    let api = read_ready(&ready).await["api_url"].as_str().unwrap().to_owned();
    (daemon, api)
}
