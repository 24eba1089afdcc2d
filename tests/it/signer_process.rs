//! The isolated signer on the real binary: who holds the key, what its holder can do, and what happens
//! when it dies.

use std::{
    fs::{self, File},
    io::{Read as _, Seek as _, SeekFrom, Write as _},
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use countersign::clock::{Clock, SystemClock};
use rsa::{pkcs1::DecodeRsaPrivateKey as _, pkcs8::DecodePrivateKey as _};
use rustix::process::{Pid, Signal};
use serde_json::{Value, json};

use crate::{
    harness::{TempDir, http_client},
    reload::Daemon,
};

const ISOLATED: &str = "[signer]\nisolate = true\n";

/// The processes whose parent this is.
fn children(parent: u32) -> Vec<u32> {
    let all = fs::read_dir("/proc").unwrap().flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| status_line(*pid, "PPid").is_some_and(|found| found == parent.to_string())).collect()
}

/// The signer of a daemon; none while it is being started.
fn signer(daemon: &Daemon) -> Option<u32> {
    children(daemon.process.id()).into_iter().find(|pid| {
        fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "countersign-key")
    })
}

/// A line of `/proc/PID/status`.
fn status_line(pid: u32, name: &str) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    Some(line.trim().to_owned())
}

fn kill(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    // It may have ended meanwhile.
    let _ = rustix::process::kill_process(pid, signal);
}

/// A prime of a key, as aws-lc keeps it in memory: words, the lowest first.
fn prime(pem: &str) -> Vec<u64> {
    use rsa::traits::PrivateKeyParts as _;
    let key = rsa::PrivateKey::from_pkcs1_pem(pem).or_else(|_| rsa::PrivateKey::from_pkcs8_pem(pem)).unwrap();
    let bytes = key.primes()[0].to_le_bytes();
    bytes.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().unwrap())).collect()
}

/// Whether these words are anywhere in the writable memory of a process; none if it cannot be looked at.
fn memory_holds(pid: u32, words: &[u64]) -> Option<bool> {
    let mut memory = File::open(format!("/proc/{pid}/mem")).ok()?;
    for line in fs::read_to_string(format!("/proc/{pid}/maps")).ok()?.lines() {
        let mut fields = line.split(' ');
        let (range, rights) = (fields.next()?, fields.next()?);
        if !rights.starts_with("rw") {
            continue;
        }
        let (from, to) = range.split_once('-')?;
        let (from, to) = (u64::from_str_radix(from, 16).ok()?, u64::from_str_radix(to, 16).ok()?);
        let mut bytes = vec![0; usize::try_from(to - from).ok()?];
        memory.seek(SeekFrom::Start(from)).ok()?;
        if memory.read_exact(&mut bytes).is_err() {
            continue;
        }
        let first = words[0].to_ne_bytes();
        let mut starts = bytes.chunks_exact(8).enumerate().filter(|(_, word)| *word == first);
        let rest: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        if starts.any(|(at, _)| bytes[at * 8..].starts_with(&rest)) {
            return Some(true);
        }
    }
    Some(false)
}

async fn senders(daemon: &Daemon) -> Value {
    let (_, text) = daemon.get(daemon.api.join("/v1/senders").unwrap()).await;
    serde_json::from_str(&text).unwrap()
}

async fn is_ready(daemon: &Daemon) -> bool {
    senders(daemon).await["data"][0]["state"] == "ready"
}

async fn ops(daemon: &Daemon, path: &str) -> (u16, String) {
    daemon.get(daemon.ops.join(path).unwrap()).await
}

/// Whether `/readyz` names the part and says this.
async fn readyz_says(daemon: &Daemon, part: &str, detail: &str) -> bool {
    let (_, text) = ops(daemon, "/readyz").await;
    let report: Value = serde_json::from_str(&text).unwrap();
    let reasons = report["reasons"].as_array().cloned().unwrap_or_default();
    reasons.iter().any(|one| one["part"] == part && one["detail"].as_str().unwrap_or("").contains(detail))
}

/// How many tokens the emulator has given out.
async fn mints(daemon: &Daemon) -> usize {
    let url = format!("{}/_test/requests", daemon.emulator.ready().control_url);
    let (_, text) = daemon.get(url.parse().unwrap()).await;
    let all: Value = serde_json::from_str(&text).unwrap();
    let all = all["requests"].as_array().unwrap();
    all.iter().filter(|one| one["path"] == "/oauth/token" && one["status"] == 200).count()
}

#[tokio::test]
async fn s1_the_key_is_in_the_signers_memory_and_nowhere_in_the_daemons() {
    let daemon = Daemon::start_with(ISOLATED).await;
    daemon.until("a token", async |daemon| is_ready(daemon).await).await;
    let key = fs::read_to_string(&daemon.emulator.ready().private_key_file).unwrap();
    let prime = prime(&key);
    let signer = signer(&daemon).expect("it runs");
    match memory_holds(signer, &prime) {
        Some(holds) => assert!(holds, "the control: the signer holds it"),
        // It is not dumpable, so only root may look.
        None => assert!(!rustix::process::getuid().is_root(), "root may look into any process"),
    }
    if let Some(holds) = memory_holds(daemon.process.id(), &prime) {
        assert!(!holds, "the daemon holds the key");
    }
    drop(daemon);

    // The control: without isolation this very search finds it in the daemon.
    let daemon = Daemon::start_with("").await;
    daemon.until("a token", async |daemon| is_ready(daemon).await).await;
    let key = fs::read_to_string(&daemon.emulator.ready().private_key_file).unwrap();
    if let Some(holds) = memory_holds(daemon.process.id(), &self::prime(&key)) {
        assert!(holds, "the search finds nothing even where the key is");
    }
    assert_eq!(children(daemon.process.id()), Vec::<u32>::new());
}

#[tokio::test]
async fn s1_the_signer_is_confined_as_the_kernel_sees_it() {
    let daemon = Daemon::start_with(ISOLATED).await;
    daemon.until("a token", async |daemon| is_ready(daemon).await).await;
    let signer = signer(&daemon).expect("it runs");
    assert_eq!(status_line(signer, "Seccomp").as_deref(), Some("2"), "a filter is on");
    assert_eq!(status_line(signer, "NoNewPrivs").as_deref(), Some("1"));
    assert_eq!(status_line(signer, "Threads").as_deref(), Some("1"));
    let network = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/net")).ok();
    let log = daemon.log();
    assert!(log.contains("own_network="), "what the system allowed is said: {log}");
    if log.contains("own_network=true")
        && let Some(its) = network(&signer.to_string())
    {
        assert_ne!(Some(its), network("self"), "a network of its own");
    }
    if let Ok(open) = fs::read_dir(format!("/proc/{signer}/fd")) {
        // A pipe that the test itself inherited may be there; it can be written to by nobody.
        let open: Vec<_> = open.flatten().filter_map(|fd| fs::read_link(fd.path()).ok()).collect();
        let is_socket = |to: &&std::path::PathBuf| to.to_string_lossy().starts_with("socket:");
        let sockets: std::collections::HashSet<_> = open.iter().filter(is_socket).collect();
        let is_file = |to: &&std::path::PathBuf| to.is_absolute() && !to.starts_with("/dev/null");
        assert_eq!((sockets.len(), open.iter().find(is_file)), (1, None), "of the daemon's: {open:?}");
    }
    if let Ok(environment) = fs::read(format!("/proc/{signer}/environ")) {
        assert!(environment.is_empty(), "the daemon's environment may hold secrets");
    }
    // The daemon's end takes it along, however sudden.
    kill(daemon.process.id(), Signal::KILL);
    daemon.until("the end", async |_| status_line(signer, "State").is_none_or(|s| s.starts_with('Z'))).await;
}

/// Makes the sender need another token. A signer that is only just up may make it try again, so the answer is not looked
/// at.
async fn lose_the_token(daemon: &Daemon) {
    let url = format!("{}/_test/tokens/revoke", daemon.emulator.ready().control_url);
    assert!(http_client().post(url).body("{}").send().await.unwrap().status().is_success());
    let _answer = daemon.get(passed_read(daemon)).await;
}

/// A call that needs a token, and nothing else.
fn passed_read(daemon: &Daemon) -> url::Url {
    let account = &daemon.emulator.ready().account_id;
    let path = format!("/v1/senders/system/esign/restapi/v2.1/accounts/{account}/templates");
    daemon.api.join(&path).unwrap()
}

#[tokio::test]
async fn a_dead_or_hanging_signer_is_replaced_while_the_token_serves() {
    let daemon = Daemon::start_with(ISOLATED).await;
    daemon.until("a token", async |daemon| is_ready(daemon).await).await;
    let before = mints(&daemon).await;
    let mut dead = Vec::new();
    for _ in 0..6 {
        daemon.until("another signer", async |d| signer(d).is_some_and(|pid| !dead.contains(&pid))).await;
        let pid = signer(&daemon).unwrap();
        dead.push(pid);
        kill(pid, Signal::KILL);
        let (status, text) = daemon.get(passed_read(&daemon)).await;
        assert_eq!(status, 200, "a valid token needs no signature: {text}");
    }
    daemon.until("the reason", async |d| readyz_says(d, "signer", "SIGKILL").await).await;
    assert_eq!(ops(&daemon, "/readyz").await.0, 200, "degraded, and serving");
    assert!(ops(&daemon, "/metrics").await.1.contains("countersign_signer_up 0"));
    daemon.until("another signer", async |d| signer(d).is_some_and(|pid| !dead.contains(&pid))).await;
    daemon.until("its health", async |d| !readyz_says(d, "signer", "").await).await;
    let (_, metrics) = ops(&daemon, "/metrics").await;
    assert!(metrics.contains("countersign_signer_up 1"), "{metrics}");
    assert!(metrics.contains("countersign_signer_restarts_total 6"), "{metrics}");
    // The new one signs, though nobody told it of the key again.
    lose_the_token(&daemon).await;
    daemon.until("a mint", async |daemon| mints(daemon).await > before).await;

    // One that hangs is as good as dead.
    let hanging = signer(&daemon).unwrap();
    kill(hanging, Signal::STOP);
    daemon.until("another signer", async |d| signer(d).is_some_and(|pid| pid != hanging)).await;
    let before = mints(&daemon).await;
    lose_the_token(&daemon).await;
    daemon.until("a mint", async |daemon| mints(daemon).await > before).await;
}

#[tokio::test]
async fn t10_the_signer_follows_its_key_file_and_a_bad_one_changes_nothing() {
    let daemon = Daemon::start_with(ISOLATED).await;
    daemon.until("a token", async |daemon| is_ready(daemon).await).await;
    let ready = daemon.emulator.ready();
    let path = Path::new(&ready.private_key_file).to_owned();
    let pair = countersign::auth::signing_key::generate().unwrap();
    let keys: Value =
        json!({"integration_key": ready.integration_key, "public_key_pem": pair.public_pem, "active": true});
    let url = format!("{}/_test/keys", ready.control_url);
    let sent = http_client().post(url).body(keys.to_string()).send().await.unwrap();
    assert!(sent.status().is_success());
    fs::write(&path, pair.private_pem.as_bytes()).unwrap();
    let is_active = async |daemon: &Daemon| {
        let key = senders(daemon).await["data"][0]["keys"][0].clone();
        key["state"] == "active" && key["fingerprint"] == pair.fingerprint.to_string()
    };
    daemon.until("the new key", async |daemon| is_active(daemon).await).await;
    fs::write(&path, &pair.private_pem.as_bytes()[..900]).unwrap();
    daemon.until("the defect", async |d| readyz_says(d, "sender.system", "cut off or damaged").await).await;
    assert_eq!(ops(&daemon, "/readyz").await.0, 200, "degraded, and serving");
    let (_, metrics) = ops(&daemon, "/metrics").await;
    let bad = "countersign_key_info{fingerprint=\"none\",sender=\"system\",state=\"broken\"} 1";
    assert!(metrics.contains(bad), "{metrics}");
    assert!(daemon.log().contains("is bad now: the key read before stays"), "{}", daemon.log());
    // The old key still signs.
    let before = mints(&daemon).await;
    lose_the_token(&daemon).await;
    daemon.until("a mint", async |daemon| mints(daemon).await > before).await;
}

/// A signer that the test speaks to in the daemon's place.
fn by_hand() -> (UnixStream, Child) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let process = Command::new(env!("CARGO_BIN_EXE_countersign"))
        .arg("signer-process")
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    (ours, process)
}

fn read(from: &mut UnixStream) -> Value {
    let mut header = [0; 4];
    from.read_exact(&mut header).unwrap();
    let mut body = vec![0; usize::try_from(u32::from_be_bytes(header)).unwrap()];
    from.read_exact(&mut body).unwrap();
    serde_json::from_slice(&body).unwrap()
}

fn send(to: &mut UnixStream, message: &Value) {
    let body = message.to_string();
    to.write_all(&u32::try_from(body.len()).unwrap().to_be_bytes()).unwrap();
    to.write_all(body.as_bytes()).unwrap();
}

#[test]
fn s1_the_signer_forgets_the_key_of_a_place_that_is_closed() {
    let (mut ours, mut process) = by_hand();
    assert!(read(&mut ours)["Ok"].is_object());
    let (pair, folder) = (countersign::auth::signing_key::generate().unwrap(), TempDir::new());
    let path = folder.0.join("key.pem");
    fs::write(&path, pair.private_pem.as_bytes()).unwrap();
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    send(&mut ours, &json!({"Look": {"slot": 5, "path": path, "known": null, "wanted": []}}));
    let key = read(&mut ours)["Key"]["fingerprint"].clone();
    let claims = json!({
        "integration_key": uuid::Uuid::new_v4(), "user_id": uuid::Uuid::new_v4(),
        "audience": "account-d.docusign.com", "scopes": "signature impersonation",
    });
    let now = Clock::now(&SystemClock).as_second();
    let sign = json!({"Sign": {"slot": 5, "key": key, "claims": claims, "now": now}});
    send(&mut ours, &sign);
    assert!(read(&mut ours)["Signature"].is_string());
    send(&mut ours, &json!({"Close": {"slot": 5}}));
    assert_eq!(read(&mut ours), json!("Closed"));
    send(&mut ours, &sign);
    assert_eq!(read(&mut ours), json!({"Refused": "UnknownKey"}));
    drop(ours);
    assert_eq!(process.wait().unwrap().code(), Some(0));
}

#[tokio::test]
async fn the_signer_takes_no_bytes_to_sign_and_ends_with_its_daemon() {
    let (mut ours, mut process) = by_hand();
    // It says this only after it has tried to open sockets and to write, and was refused.
    assert!(read(&mut ours)["Ok"]["is_memory_locked"].is_boolean());
    let claims = json!({
        "integration_key": uuid::Uuid::new_v4(), "user_id": uuid::Uuid::new_v4(),
        "audience": "account-d.docusign.com", "scopes": "signature impersonation",
    });
    send(&mut ours, &json!({"Sign": {"slot": 0, "key": vec![7; 32], "claims": claims, "now": 0}}));
    assert_eq!(read(&mut ours), json!({"Refused": "UnknownKey"}));
    // What is no message of ours ends it: bytes to sign, above all.
    send(&mut ours, &json!({"SignBytes": {"slot": 0, "bytes": "eyJ"}}));
    let mut rest = Vec::new();
    let _ = ours.read_to_end(&mut rest);
    assert!(rest.is_empty());
    assert_eq!(process.wait().unwrap().code(), Some(1));

    let by_hand = Command::new(env!("CARGO_BIN_EXE_countersign"))
        .arg("signer-process")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(by_hand.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&by_hand.stderr).contains("for the daemon"));
}
