//! The store fails under the real binary: what is said at the start and at `/readyz`, what callers get, and
//! that everything goes on by itself, with one envelope a key, once the cause has gone.
//!
//! A disk of its own, which can be filled or be read-only for root, too, is a `tmpfs` in a namespace of the
//! test's own; `tests/run` looks first whether the machine allows one.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use countersign::{
    clock::{Clock as _, SystemClock},
    domain::EventKind,
};
use http::Method;
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::{
    harness::{CALLER_KEY, TempDir, TestDaemon, http_client, order},
    kills::{Daemon, settled},
    left_out::leave_out,
    postgres,
    process::without_privileges,
    store::samples,
};

/// How long the real binary may take for anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// What `serve` says when it cannot start: the exit code, and its one line.
fn refusal(mut command: Command, settings: &Path) -> (i32, String) {
    let done = command.arg("serve").arg("--config").arg(settings).stdin(Stdio::null()).output().unwrap();
    let line = String::from_utf8(done.stderr).unwrap();
    assert_eq!((line.lines().count(), done.stdout.len()), (1, 0), "one line, and nothing else: {line}");
    (done.status.code().unwrap(), line)
}

fn binary() -> Command {
    Command::new(env!("CARGO_BIN_EXE_countersign"))
}

/// Puts what is wrong into place.
type Make<'a> = &'a dyn Fn();

/// A file that a daemon has used, and the folder that holds it.
async fn used_file(around: &TestDaemon) -> (TempDir, PathBuf, String) {
    let folder = TempDir::new();
    let file = folder.0.join("used.db");
    let settings = around.settings_for_a_process(&format!("sqlite://{}", file.display()));
    let (daemon, api) = crate::kills::start(&settings, &folder.0, 0).await;
    settled(around, &api, "order-1").await;
    stop(&daemon);
    around.until("the end of the daemon", async || fs::read_dir(&folder.0).unwrap().count() == 4).await;
    (folder, file, settings)
}

fn stop(daemon: &Daemon) {
    let pid = rustix::process::Pid::from_raw(daemon.id().try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
}

fn sql(file: &Path, sql: &str) {
    rusqlite::Connection::open(file).unwrap().execute_batch(sql).unwrap();
}

/// How many signings a file holds.
fn signings(file: &Path) -> i64 {
    let file = rusqlite::Connection::open(file).unwrap();
    file.query_row("SELECT count(*) FROM signings", [], |row| row.get(0)).unwrap()
}

#[tokio::test]
async fn a_store_that_cannot_be_used_stops_the_start_with_one_line_and_is_left_as_it_is() {
    let around = TestDaemon::start().await;
    let (folder, used, settings) = used_file(&around).await;
    let file = folder.0.join("case.db");
    let config = folder.0.join("case.toml");
    let here = settings.replace("used.db", "case.db");
    let ours = "seal_key = \"OjuYkzzbqKkGyKTs1ZNpUfXwLRp9XRTZ9X6m8Y8aZf0=\"";
    assert!(here.contains(ours));
    let other_key = here.replace("OjuY", "AAAA");
    let no_key = here.replace(ours, "");
    let nowhere = here.replace("case.db", "nowhere/case.db");
    let cut = |length: u64| {
        fs::copy(&used, &file).unwrap();
        fs::File::options().write(true).open(&file).unwrap().set_len(length).unwrap();
    };
    let copy_and = |change: &str| {
        fs::copy(&used, &file).unwrap();
        sql(&file, change);
    };
    let lost = || fs::write(folder.0.join("case.db-lock"), "held data").unwrap();
    let a_folder = here.replace("/case.db", "");
    let cases: [(&str, Make<'_>, &str, i32, &[&str]); 10] = [
        ("text", &|| fs::write(&file, "no database ".repeat(900)).unwrap(), &here, 64, &["restore a backup"]),
        ("cut", &|| cut(20_000), &here, 64, &["damaged: restore a backup"]),
        ("foreign", &|| sql(&file, "CREATE TABLE theirs (a)"), &here, 64, &["another program", "store.url"]),
        ("newer", &|| copy_and("PRAGMA user_version = 9999"), &here, 64, &["9999", "at least as new"]),
        ("wrong key", &|| copy_and(""), &other_key, 64, &["store.seal_key", "put that key back"]),
        ("lost key", &|| copy_and(""), &no_key, 64, &["store.seal_key", "put back the one"]),
        ("lost file", &lost, &here, 64, &["restore the file", "begin anew"]),
        ("emptied file", &|| (lost(), cut(0)).1, &here, 64, &["restore the file", "begin anew"]),
        ("no folder", &|| {}, &nowhere, 64, &["nowhere/case.db: ", "make its folder", "store.url"]),
        ("a folder", &|| {}, &a_folder, 64, &["this is a folder", "countersign.db", "store.url"]),
    ];
    for (what, make, settings, code, words) in cases {
        make();
        fs::write(&config, settings).unwrap();
        let before = fs::read(&file).ok();
        let (exit, line) = refusal(binary(), &config);
        assert_eq!(exit, code, "{what}: {line}");
        assert!(words.iter().all(|word| line.contains(word)), "{what}: {line}");
        assert!(!line.contains("OjuY") && !line.contains("AAAA"), "{line}");
        assert!(fs::read(&file).ok() == before, "{what} is left as it was");
        for end in ["", "-lock", "-wal", "-shm"] {
            let _ = fs::remove_file(format!("{}{end}", file.display()));
        }
    }
}

#[tokio::test]
async fn a_file_that_belongs_to_somebody_else_stops_the_start_and_is_named() {
    let bound = || without_privileges(env!("CARGO_BIN_EXE_countersign"));
    let around = TestDaemon::start().await;
    let (folder, used, settings) = used_file(&around).await;
    let config = folder.0.join("settings.toml");
    fs::write(&config, settings).unwrap();
    for end in ["", "-lock"] {
        let shut = format!("{}{end}", used.display());
        let mode = |mode| fs::set_permissions(&shut, fs::Permissions::from_mode(mode)).unwrap();
        mode(0o000);
        let (exit, line) = refusal(bound(), &config);
        let doctor =
            bound().args(["doctor", "--offline", "--json", "--config"]).arg(&config).output().unwrap();
        mode(0o600);
        assert_eq!(exit, 64, "{line}");
        assert!(line.contains(&format!("{shut}: this user may not")), "{line}");
        let report: Value = serde_json::from_slice(&doctor.stdout).unwrap();
        let checks = report["checks"].as_array().unwrap();
        let check = checks.iter().find(|check| check["code"] == "store_unwritable");
        let check = check.unwrap_or_else(|| panic!("{report:#}"));
        let (detail, fix) = (check["detail"].as_str().unwrap(), check["fix"].as_str().unwrap());
        assert!(detail.contains(&shut), "{check}");
        for text in [line.as_str(), fix] {
            assert!(
                ["-lock", "-wal", "-shm"].iter().all(|end| text.contains(&format!("used.db{end}"))),
                "{text}"
            );
        }
    }
}

#[tokio::test]
async fn a_postgres_that_is_not_there_stops_the_start_with_one_line_and_no_password() {
    let around = TestDaemon::start().await;
    let folder = TempDir::new();
    let config = folder.0.join("settings.toml");
    let nowhere = "postgres://user:planted@127.0.0.1:1/nothing";
    fs::write(&config, around.settings_for_a_process(nowhere)).unwrap();
    let (exit, line) = tokio::task::spawn_blocking(move || refusal(binary(), &config)).await.unwrap();
    assert_eq!(exit, 1, "{line}");
    assert!(line.contains("store.url") && !line.contains("planted"), "{line}");
}

/// A shell in a namespace of its own with a small disk; what it is told to do it does there.
struct Disk {
    shell: Child,
    commands: Option<ChildStdin>,
    said: BufReader<ChildStdout>,
    folder: TempDir,
}

impl Disk {
    /// None where the machine allows no namespaces.
    fn new(size: &str) -> Option<Self> {
        let disk = Self::mounted(size);
        if disk.is_none() {
            leave_out("this machine allows no mount namespaces");
        }
        disk
    }

    fn mounted(size: &str) -> Option<Self> {
        let folder = TempDir::new();
        let script = "mount -t tmpfs -o size=$1 store \"$2\" || exit; echo mounted; \
                      while read -r line; do eval \"$line\"; echo done; done; [ -z \"$server\" ] || kill -9 $server";
        let mut shell = Command::new("unshare")
            .args(["--map-root-user", "--mount", "sh", "-c", script, "sh", size])
            .arg(&folder.0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let mut said = BufReader::new(shell.stdout.take().unwrap());
        let mut line = String::new();
        said.read_line(&mut line).unwrap();
        let commands = shell.stdin.take();
        let disk = Self { shell, commands, said, folder };
        (line == "mounted\n").then_some(disk)
    }

    fn file(&self, name: &str) -> String {
        self.folder.0.join(name).display().to_string()
    }

    /// Runs a line of shell there, and waits for its end.
    fn run(&mut self, command: &str) {
        writeln!(self.commands.as_mut().unwrap(), "{command}").unwrap();
        let mut line = String::new();
        self.said.read_line(&mut line).unwrap();
        assert_eq!(line, "done\n", "{command}");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(self.commands.take());
        let _ = self.shell.wait();
    }
}

/// A daemon and where it is asked.
struct Asked {
    api: String,
    ops: String,
}

impl Asked {
    async fn at(ready: &Path) -> Self {
        for _ in 0..PATIENCE.as_millis() / 10 {
            if let Ok(text) = fs::read(ready) {
                let ready: Value = serde_json::from_slice(&text).unwrap();
                let url = |name: &str| ready[name].as_str().unwrap().to_owned();
                return Self { api: url("api_url"), ops: url("ops_url") };
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the daemon did not start");
    }

    /// Status and body of `/readyz`.
    async fn readiness(&self) -> (u16, Value) {
        let answer = http_client().get(format!("{}/readyz", self.ops)).send().await.unwrap();
        let status = answer.status().as_u16();
        (status, serde_json::from_str(&answer.text().await.unwrap()).unwrap())
    }

    async fn until(&self, status: u16) -> Value {
        for _ in 0..PATIENCE.as_millis() / 50 {
            match self.readiness().await {
                (now, body) if now == status => return body,
                _ => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
        panic!("{status} did not come: {:?}", self.readiness().await);
    }

    /// What `/readyz` says of the store once it fails.
    async fn trouble(&self) -> String {
        let body = self.until(503).await;
        let reasons = body["reasons"].as_array().unwrap();
        let store = reasons.iter().find(|reason| reason["part"] == "store");
        let store = store.unwrap_or_else(|| panic!("{body}"));
        let moments = [&body["since"], &store["next_try"]];
        assert!(moments.iter().all(|at| at.as_str().is_some()), "{body}");
        store["detail"].as_str().unwrap().to_owned()
    }

    /// One create: status, `Retry-After`, body.
    async fn create(&self, key: &str) -> (u16, Option<u64>, Value) {
        let request = http_client()
            .post(format!("{}/v1/signings", self.api))
            .bearer_auth(CALLER_KEY)
            .header("idempotency-key", key)
            .header("content-type", "application/json")
            // The time of the caller, and what the store may take on top of it.
            .header("prefer", "wait=3")
            .timeout(PATIENCE)
            .body(order().to_string());
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        let after = answer.headers().get("retry-after").and_then(|text| text.to_str().ok()?.parse().ok());
        (status, after, serde_json::from_str(&answer.text().await.unwrap()).unwrap())
    }

    /// The code of a create that the store refuses.
    async fn refused(&self, key: &str) -> String {
        let (status, after, body) = self.create(key).await;
        assert_eq!(status, 503, "{body}");
        assert!(after.is_some_and(|seconds| (1..=60).contains(&seconds)), "{after:?}");
        assert_eq!(body["retryable"], true, "{body}");
        assert!(body["fix"].as_str().is_some_and(|fix| fix.contains("Idempotency-Key")), "{body}");
        assert!(!body.to_string().contains(".db"), "paths are the operator's: {body}");
        body["code"].as_str().unwrap().to_owned()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_full_refuses_creates_and_takes_them_once_there_is_room() {
    let Some(mut disk) = Disk::new("3m") else { return };
    let around = TestDaemon::start().await;
    let elsewhere = TempDir::new();
    let (config, ready) = (elsewhere.0.join("settings.toml"), elsewhere.0.join("ready.json"));
    fs::write(&config, around.settings_for_a_process(&format!("sqlite://{}", disk.file("full.db")))).unwrap();
    disk.run(&format!(
        "'{}' serve --config '{}' --ready-file '{}' >/dev/null </dev/null & server=$!",
        env!("CARGO_BIN_EXE_countersign"),
        config.display(),
        ready.display()
    ));
    let daemon = Asked::at(&ready).await;
    settled(&around, &daemon.api, "before").await;
    daemon.until(200).await;

    let filler = disk.file("filler");
    disk.run(&format!("cat /dev/zero >'{filler}' 2>/dev/null"));
    for number in 0..3 {
        assert_eq!(daemon.refused(&format!("order-{number}")).await, "store_unavailable");
    }
    let why = daemon.trouble().await;
    assert!(why.contains("full") && why.contains("make room"), "{why}");
    // What is there can be read, and what was made is answered from it.
    let list = http_client().get(format!("{}/v1/signings", daemon.api)).bearer_auth(CALLER_KEY);
    let list: Value = serde_json::from_str(&list.send().await.unwrap().text().await.unwrap()).unwrap();
    assert_eq!(list["data"].as_array().unwrap().len(), 1, "nothing is half there: {list}");
    assert_eq!(around.envelopes().await, 1, "what is not written down is not sent");

    disk.run(&format!("rm '{filler}'"));
    daemon.until(200).await;
    let mut ids = Vec::new();
    for number in 0..3 {
        ids.push(settled(&around, &daemon.api, &format!("order-{number}")).await);
    }
    for (number, id) in ids.iter().enumerate() {
        assert_eq!(&settled(&around, &daemon.api, &format!("order-{number}")).await, id);
    }
    assert_eq!(around.envelopes().await, 4, "one envelope a key");
}

#[tokio::test]
async fn a_read_only_or_full_place_stops_the_start_with_one_line() {
    let Some(mut disk) = Disk::new("64k") else { return };
    let around = TestDaemon::start().await;
    let elsewhere = TempDir::new();
    let config = elsewhere.0.join("settings.toml");
    fs::write(&config, around.settings_for_a_process(&format!("sqlite://{}", disk.file("a.db")))).unwrap();
    let said = elsewhere.0.join("said");
    let serve = format!(
        "'{}' serve --config '{}' </dev/null >'{}' 2>&1",
        env!("CARGO_BIN_EXE_countersign"),
        config.display(),
        said.display(),
    );
    for (before, words) in [
        (format!("cat /dev/zero >'{}' 2>/dev/null", disk.file("filler")), ["full", "make room"]),
        (format!("mount -o remount,ro '{}'", disk.folder.0.display()), ["a.db", "mount it for writing"]),
    ] {
        disk.run(&before);
        disk.run(&serve);
        let line = fs::read_to_string(&said).unwrap();
        assert_eq!(line.lines().count(), 1, "{line}");
        assert!(words.iter().all(|word| line.contains(word)), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_removed_or_replaced_under_the_daemon_is_refused_until_it_is_started_again() {
    let around = TestDaemon::start().await;
    let folder = TempDir::new();
    let (file, backup) = (folder.0.join("lost.db"), folder.0.join("backup.db"));
    let settings = around.settings_for_a_process(&format!("sqlite://{}", file.display()));
    let (process, _) = crate::kills::start(&settings, &folder.0, 0).await;
    let daemon = Asked::at(&folder.0.join("ready-0.json")).await;
    let before = settled(&around, &daemon.api, "before").await;
    daemon.until(200).await;
    sql(&file, &format!("VACUUM INTO '{}'", backup.display()));

    for end in ["", "-wal", "-shm"] {
        fs::remove_file(format!("{}{end}", file.display())).unwrap();
    }
    let why = daemon.trouble().await;
    assert!(why.contains("removed or replaced") && why.contains("start it again"), "{why}");
    assert_eq!(daemon.refused("order-1").await, "store_unavailable");
    fs::copy(&backup, &file).unwrap();
    assert_eq!(daemon.refused("order-1").await, "store_unavailable");
    assert!(daemon.trouble().await.contains("removed or replaced"), "it was put there under its feet");

    drop(process);
    let (_process, api) = crate::kills::start(&settings, &folder.0, 1).await;
    assert_eq!(settled(&around, &api, "before").await, before);
    settled(&around, &api, "order-1").await;
    assert_eq!(around.envelopes().await, 2, "one envelope a key");
}

/// What was signed after the backup is in the file that was moved aside, or in its log: none of it comes back.
#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_is_put_in_the_place_of_the_file_is_what_the_next_start_has() {
    let around = TestDaemon::start().await;
    for (round, is_killed) in [false, true].into_iter().enumerate() {
        let folder = TempDir::new();
        let [file, aside, backup] = ["used.db", "aside.db", "backup.db"].map(|name| folder.0.join(name));
        let settings = around.settings_for_a_process(&format!("sqlite://{}", file.display()));
        let (mut process, _) = crate::kills::start(&settings, &folder.0, 0).await;
        let daemon = Asked::at(&folder.0.join("ready-0.json")).await;
        let before = settled(&around, &daemon.api, &format!("before-{round}")).await;
        daemon.until(200).await;
        sql(&file, &format!("VACUUM INTO '{}'", backup.display()));
        settled(&around, &daemon.api, &format!("after-{round}")).await;

        fs::rename(&file, &aside).unwrap();
        fs::rename(&backup, &file).unwrap();
        let (why, beside) = (daemon.trouble().await, |end: &str| format!("{}-{end}", file.display()));
        assert!(["wal", "shm"].into_iter().all(|end| why.contains(&beside(end))), "{why}");
        assert_eq!(daemon.refused("order-1").await, "store_unavailable");
        if is_killed {
            process.kill();
            for end in ["wal", "shm"] {
                fs::remove_file(beside(end)).unwrap();
            }
        } else {
            stop(&process);
            around.until("the end of the daemon", async || process.ended().is_some()).await;
            assert_eq!(signings(&aside), 2, "the file that was there has all of its log");
        }

        let (_process, api) = crate::kills::start(&settings, &folder.0, 1).await;
        assert_eq!(settled(&around, &api, &format!("before-{round}")).await, before);
        assert_eq!(signings(&file), 1, "killed: {is_killed}");
    }
}

/// Creates that go on through an outage: how each was answered.
async fn orders(daemon: &Asked, from: usize, until_over: Arc<Mutex<bool>>) -> Vec<(String, u16, Value)> {
    let mut answers = Vec::new();
    let mut number = from;
    while !*until_over.lock().unwrap() {
        let key = format!("order-{number}");
        let (status, _, body) = daemon.create(&key).await;
        answers.push((key, status, body));
        number += 1;
    }
    answers
}

#[tokio::test(flavor = "multi_thread")]
async fn a_postgres_that_is_stopped_and_started_under_creates_makes_one_envelope_a_key() {
    let Some(server) = postgres::own_server("-stopped") else { return };
    let around = TestDaemon::start().await;
    around.control(Method::POST, "limits", &json!({"hourly": 100_000, "burst": 100_000})).await;
    let folder = TempDir::new();
    let settings = around.settings_for_a_process(&server.create());
    let (_daemon, _) = crate::kills::start(&settings, &folder.0, 0).await;
    let daemon = Arc::new(Asked::at(&folder.0.join("ready-0.json")).await);
    settled(&around, &daemon.api, "before").await;
    daemon.until(200).await;

    let over = Arc::new(Mutex::new(false));
    let callers: Vec<_> = (0..4)
        .map(|caller| {
            let (daemon, over) = (Arc::clone(&daemon), Arc::clone(&over));
            tokio::spawn(async move { orders(&daemon, caller * 100_000, over).await })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(500)).await;
    tokio::task::block_in_place(|| server.stop());
    let why = daemon.trouble().await;
    assert!(why.contains("Postgres") && why.contains("start it"), "{why}");
    *over.lock().unwrap() = true;
    let mut answers = Vec::new();
    for caller in callers {
        answers.extend(caller.await.unwrap());
    }
    tokio::task::block_in_place(|| server.start_again());
    daemon.until(200).await;

    let refused = answers.iter().filter(|(_, status, _)| *status == 503).count();
    assert!(refused > 0 && refused < answers.len(), "{refused} of {} were refused", answers.len());
    for (key, status, body) in &answers {
        let allowed = [201, 202, 409, 503].contains(status);
        assert!(allowed && (*status != 503 || body["code"] == "store_unavailable"), "{key}: {status} {body}");
        let id = settled(&around, &daemon.api, key).await;
        assert!(*status >= 400 || body["id"] == id.as_str(), "{key} keeps its id");
    }
    assert_eq!(around.envelopes().await, answers.len() + 1, "one envelope a key");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_postgres_that_turns_read_only_is_said_to_be_and_used_again() {
    let Some(url) = postgres::database() else { return };
    let around = TestDaemon::start().await;
    let folder = TempDir::new();
    let (_daemon, _) = crate::kills::start(&around.settings_for_a_process(&url), &folder.0, 0).await;
    let daemon = Asked::at(&folder.0.join("ready-0.json")).await;
    settled(&around, &daemon.api, "before").await;
    daemon.until(200).await;
    let name = url.rsplit('/').next().unwrap();
    let server = postgres::server().unwrap();
    let turn = |word: &str| {
        server.sql("postgres", &format!("ALTER DATABASE {name} SET default_transaction_read_only = {word}"));
        server.sql(
            "postgres",
            &format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"),
        );
    };
    turn("on");
    assert_eq!(daemon.refused("order-1").await, "store_unavailable");
    assert!(daemon.trouble().await.contains("point store.url at the primary"));
    // Connections that were made meanwhile stay read-only; they must not be used for ever.
    server.sql("postgres", &format!("ALTER DATABASE {name} SET default_transaction_read_only = off"));
    daemon.until(200).await;
    settled(&around, &daemon.api, "order-1").await;
    assert_eq!(around.envelopes().await, 2);
}

/// The database answers and can be written: what does not hold concerns one table.
#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_only_a_person_can_mend_is_told_at_readyz_for_a_minute() {
    let Some(url) = postgres::database() else { return };
    let daemon = TestDaemon::builder().store(&url).start().await;
    let store = &daemon.parts().store;
    let add = async |n| store.add_events(vec![samples::event(None, EventKind::BudgetLow, n)]).await;
    add(1).await.unwrap();
    let name = url.rsplit('/').next().unwrap();
    postgres::server().unwrap().sql(name, "ALTER TABLE events ALTER COLUMN pos RESTART");
    add(2).await.unwrap_err();
    // Leases are dates: the test's clock must show the server's for the store to be well otherwise.
    let look = || {
        let wanted = SystemClock.now() - SignedDuration::from_secs(2);
        daemon.clock.step(wanted.duration_since(daemon.clock.now()));
        daemon.clock.advance(Duration::from_secs(2));
    };
    told_for_a_minute(&daemon, "events_pkey", look).await;
}

/// The same of a file.
#[tokio::test]
async fn what_only_a_person_can_mend_in_a_file_is_told_at_readyz_for_a_minute() {
    let daemon = TestDaemon::start().await;
    let store = &daemon.parts().store;
    let event = samples::event(None, EventKind::BudgetLow, 1);
    store.add_events(vec![event.clone()]).await.unwrap();
    store.add_events(vec![event]).await.unwrap_err();
    told_for_a_minute(&daemon, "events.id", || daemon.clock.advance(Duration::from_secs(2))).await;
}

/// `look` lets the time pass after which the store is looked at again.
async fn told_for_a_minute(daemon: &TestDaemon, cause: &str, look: impl Fn()) {
    let is_told = async || {
        look();
        let ready = daemon.ops("/readyz").await;
        let is_told = ready.text.contains(cause);
        let (status, word) = (ready.status.as_u16(), &ready.body["status"]);
        assert!(!is_told || (status == 200 && word == "degraded"), "{}", ready.text);
        is_told
    };
    daemon.until("the cause", is_told).await;
    daemon.until("a minute without it", async || !is_told().await).await;
}
