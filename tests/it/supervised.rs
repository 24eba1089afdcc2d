//! The daemon under a service manager: sockets that stay open, what it is told, the watchdog; and behind a
//! load balancer that watches readiness, restarted again and again (rule H2).

use std::{
    net::TcpListener,
    os::unix::net::UnixDatagram,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::Method;
use serde_json::{Value, json};

use crate::{
    demo::terminate,
    harness::{CALLER_KEY, TempDir, TestDaemon, http_client, order},
    postgres,
    process::limit,
    proof_lengths,
    waiting::{eventually, found, read_ready},
};

struct Served {
    process: Child,
    ready: PathBuf,
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Served {
    fn start(mut command: Command, ready: PathBuf) -> Self {
        let _ = std::fs::remove_file(&ready);
        let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the binary starts");
        Self { process, ready }
    }

    async fn urls(&self) -> Value {
        read_ready(&self.ready).await
    }

    /// Ends it as a service manager would; it must end in order.
    async fn stop(&mut self) {
        terminate(&self.process);
        let status = found("the end of the daemon", async || self.process.try_wait().unwrap()).await;
        assert!(status.success(), "{status}");
    }
}

fn write_settings(folder: &TempDir, name: &str, settings: &str) -> PathBuf {
    let path = folder.0.join(name);
    std::fs::write(&path, settings).unwrap();
    path
}

/// Reads what the daemon tells its service manager, as it comes.
fn listen_to(socket: UnixDatagram) -> Arc<Mutex<Vec<String>>> {
    let all = Arc::new(Mutex::new(Vec::new()));
    let keep = Arc::clone(&all);
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(length) = socket.recv(&mut buffer) {
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            keep.lock().unwrap().extend(text.lines().map(str::to_owned));
        }
    });
    all
}

/// Settings for a process of its own whose every sender can act, so that it turns ready.
fn settings_for(around: &TestDaemon, store: &str) -> String {
    let text = around.settings_for_a_process(store);
    let (before, rest) = text.split_once("[senders.unconsented]").unwrap();
    format!("{before}[api]{}", rest.split_once("[api]").unwrap().1)
}

#[tokio::test]
async fn h2_a_service_manager_holds_the_socket_is_told_and_no_connection_is_refused_meanwhile() {
    let around = TestDaemon::start().await;
    let folder = TempDir::new();
    let store = format!("sqlite://{}", folder.0.join("store.db").display());
    let settings = write_settings(&folder, "settings.toml", &settings_for(&around, &store));
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = held.local_addr().unwrap();
    let notify = folder.0.join("notify.sock");
    let told = listen_to(UnixDatagram::bind(&notify).unwrap());
    let ready = folder.0.join("ready.json");
    let start = || {
        // As systemd does it: descriptor 3, and variables that name this very process.
        let script = "LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=api WATCHDOG_PID=$$ exec \"$0\" \"$@\" 3<&0 0</dev/null";
        let mut command = Command::new("sh");
        command.args(["-c", script, env!("CARGO_BIN_EXE_countersign"), "serve", "--config"]);
        command.arg(&settings).arg("--ready-file").arg(&ready);
        command.env("NOTIFY_SOCKET", &notify).env("WATCHDOG_USEC", "400000");
        command.stdin(std::os::fd::OwnedFd::from(held.try_clone().unwrap()));
        Served::start(command, ready.clone())
    };
    let url = format!("http://{address}/v1/signings");
    let mut daemon = start();
    let urls = daemon.urls().await;
    assert_eq!(urls["api_url"], format!("http://{address}"));
    let client = http_client();
    let list = async || client.get(&url).bearer_auth(CALLER_KEY).send().await.map(|answer| answer.status());
    assert_eq!(list().await.unwrap(), 200);
    let times = |word: &str| told.lock().unwrap().iter().filter(|said| *said == word).count();
    around.until("the word that it is up", async || times("READY=1") == 1).await;
    rustix::process::kill_process(pid(&daemon.process), rustix::process::Signal::HUP).unwrap();
    around.until("the end of the reload", async || times("READY=1") == 2).await;
    around.until("the watchdog's third word", async || times("WATCHDOG=1") >= 3).await;
    // The socket is open while nobody serves it: who calls in between is answered by the next daemon.
    daemon.stop().await;
    let waiting = tokio::spawn({
        let (client, url) = (client.clone(), url.clone());
        async move { client.get(&url).bearer_auth(CALLER_KEY).send().await.map(|answer| answer.status()) }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    let mut daemon = start();
    assert_eq!(waiting.await.unwrap().expect("an answer"), 200);
    daemon.stop().await;

    let told = told.lock().unwrap().clone();
    let order = |word: &str| told.iter().position(|said| said.starts_with(word));
    assert!(order("READY=1") < order("RELOADING=1") && order("READY=1").is_some(), "{told:?}");
    assert!(order("RELOADING=1") < order("STOPPING=1") && order("RELOADING=1").is_some(), "{told:?}");
    assert_eq!(
        told.iter().filter(|said| *said == "READY=1").count(),
        3,
        "twice started, once reloaded: {told:?}"
    );
}

fn pid(process: &Child) -> rustix::process::Pid {
    i32::try_from(process.id()).ok().and_then(rustix::process::Pid::from_raw).unwrap()
}

/// A load balancer: sends each request to the next backend that said it is ready.
#[derive(Default)]
struct Balancer {
    backends: Mutex<Vec<Option<String>>>,
    next: AtomicUsize,
}

impl Balancer {
    fn pick(&self) -> Option<String> {
        let backends = self.backends.lock().unwrap();
        let ready: Vec<&String> = backends.iter().flatten().collect();
        let next = self.next.fetch_add(1, Ordering::Relaxed);
        (!ready.is_empty()).then(|| ready[next % ready.len()].clone())
    }

    /// Asks one backend how it is, every 20 ms, as long as it is up.
    async fn watch(&self, slot: usize, urls: &Value, gone: &AtomicBool) {
        let client = http_client();
        let (api, ops) = (urls["api_url"].as_str().unwrap(), urls["ops_url"].as_str().unwrap());
        while !gone.load(Ordering::Relaxed) {
            let answer = client.get(format!("{ops}/readyz")).send().await;
            let is_ready = answer.is_ok_and(|answer| answer.status() == 200);
            self.backends.lock().unwrap()[slot] = is_ready.then(|| api.to_owned());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.backends.lock().unwrap()[slot] = None;
    }

    async fn until_ready(&self, slot: usize) {
        let is_ready = async || self.backends.lock().unwrap()[slot].is_some();
        eventually(&format!("backend {slot}"), is_ready).await;
    }
}

/// What came back of the load.
#[derive(Default)]
struct Load {
    good: AtomicU64,
    failed: Mutex<Vec<String>>,
    over: AtomicBool,
}

/// One of those who call: creates and lists, one after the other, no request repeated.
async fn call_on(number: usize, balancer: Arc<Balancer>, load: Arc<Load>) {
    let client = http_client();
    let mut round = 0_u32;
    while !load.over.load(Ordering::Relaxed) {
        round += 1;
        let Some(api) = balancer.pick() else {
            load.failed.lock().unwrap().push("no backend is ready".to_owned());
            return;
        };
        let request = if round.is_multiple_of(4) {
            client.get(format!("{api}/v1/signings"))
        } else {
            let mut body = order();
            body["view"] = json!(false);
            client
                .request(Method::POST, format!("{api}/v1/signings"))
                .header("idempotency-key", format!("load-{number}-{round}"))
                .header("content-type", "application/json")
                .body(body.to_string())
        };
        match request.bearer_auth(CALLER_KEY).send().await {
            Ok(answer) if answer.status().is_success() => {
                load.good.fetch_add(1, Ordering::Relaxed);
            }
            Ok(answer) => {
                let text = format!("{}: {}", answer.status(), answer.text().await.unwrap_or_default());
                load.failed.lock().unwrap().push(text);
            }
            Err(error) => load.failed.lock().unwrap().push(format!("{error:?}")),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h2_restarts_behind_a_balancer_under_load_fail_no_request() {
    let around = TestDaemon::start().await;
    around.control(Method::POST, "limits", &json!({ "hourly": 10_000_000, "burst": 10_000_000 })).await;
    let folder = TempDir::new();
    let shared = postgres::database();
    let settings_of = |slot: usize| {
        let own = format!("sqlite://{}", folder.0.join(format!("store-{slot}.db")).display());
        let text = settings_for(&around, shared.as_deref().unwrap_or(&own));
        write_settings(
            &folder,
            &format!("settings-{slot}.toml"),
            &text.replace("grace = 0", "grace = \"400ms\""),
        )
    };
    let start = |slot: usize| {
        let ready = folder.0.join(format!("ready-{slot}.json"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
        command.args(["serve", "--config"]).arg(settings_of(slot)).arg("--ready-file").arg(&ready);
        Served::start(command, ready)
    };
    let balancer = Arc::new(Balancer { backends: Mutex::new(vec![None, None]), ..Balancer::default() });
    let watch = async |slot: usize, daemon: &Served| {
        let (urls, gone, watcher) =
            (daemon.urls().await, Arc::new(AtomicBool::new(false)), Arc::clone(&balancer));
        let flag = Arc::clone(&gone);
        tokio::spawn(async move { watcher.watch(slot, &urls, &flag).await });
        balancer.until_ready(slot).await;
        gone
    };
    let mut daemons = [start(0), start(1)];
    let mut watchers = [watch(0, &daemons[0]).await, watch(1, &daemons[1]).await];
    let load = Arc::new(Load::default());
    let callers: Vec<_> = (0..4)
        .map(|number| tokio::spawn(call_on(number, Arc::clone(&balancer), Arc::clone(&load))))
        .collect();
    let restarts = proof_lengths::restarts();
    for round in 0..restarts {
        let slot = usize::from(round % 2 == 1);
        daemons[slot].stop().await;
        watchers[slot].store(true, Ordering::Relaxed);
        daemons[slot] = start(slot);
        watchers[slot] = watch(slot, &daemons[slot]).await;
    }
    load.over.store(true, Ordering::Relaxed);
    for caller in callers {
        caller.await.unwrap();
    }
    let (good, failed) = (load.good.load(Ordering::Relaxed), load.failed.lock().unwrap().clone());
    println!("{restarts} restarts, {good} requests answered, {} failed", failed.len());
    assert!(failed.is_empty(), "{failed:?}");
    assert!(good > restarts * 10, "the load was real: {good}");
    for daemon in &mut daemons {
        daemon.stop().await;
    }
}

#[tokio::test]
async fn two_daemons_with_different_settings_on_one_store_say_so_and_what_it_is() {
    let Some(database) = postgres::database() else { return };
    let around = TestDaemon::start().await;
    let folder = TempDir::new();
    let text = settings_for(&around, &database);
    let start = |name: &str, text: &str| {
        let settings = write_settings(&folder, &format!("{name}.toml"), text);
        let ready = folder.0.join(format!("{name}.json"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
        command.args(["serve", "--config"]).arg(settings).arg("--ready-file").arg(&ready);
        Served::start(command, ready)
    };
    let (one, alike) = (start("one", &text), start("alike", &text));
    let (first, second) = (one.urls().await, alike.urls().await);
    let said = async |urls: &Value| {
        let url = format!("{}/readyz", urls["ops_url"].as_str().unwrap());
        let answer = http_client().get(url).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    // The note of who started last is read at once by itself; `alike` must have nothing to say.
    around.until("both ready", async || said(&first).await.0 == 200 && said(&second).await.0 == 200).await;
    assert!(!said(&second).await.1.contains("other settings"));
    let other = start(
        "other",
        &text.replace("return_origins = [\"https://www.example.com\"]", "return_origins = []"),
    );
    let third = other.urls().await;
    let differs = "another daemon on this store has other settings: callers.website";
    // Degraded, and serving: a rolling change of settings takes no daemon out.
    around
        .until("the difference", async || matches!(said(&third).await, (200, text) if text.contains(differs)))
        .await;
}

#[tokio::test]
async fn s5_serve_may_open_as_many_files_as_the_system_lets_it() {
    let around = TestDaemon::start().await;
    let folder = TempDir::new();
    let settings =
        around.settings_for_a_process(&format!("sqlite://{}", folder.0.join("store.db").display()));
    let mut shell = Command::new("sh");
    let limited = "ulimit -Sn 512; ulimit -Hn 4096; exec \"$0\" \"$@\"";
    shell.args(["-c", limited, env!("CARGO_BIN_EXE_countersign")]);
    let (daemon, _) = crate::kills::start_by(shell, &settings, &folder.0, 0).await;
    assert_eq!(limit(daemon.id(), "Max open files"), ["4096", "4096"]);
}
