//! A whole daemon against a whole emulator, in one process, over real sockets, on a clock that a test moves.
//!
//! `TestDaemon::start().await` gives one that is ready; `TestDaemon::builder()` changes the settings first.
//! Time stands still unless a test moves it, so nothing happens by chance; a test that needs background
//! work to go on lets the clock run with [`TestDaemon::run_clock`].
//!
//! A test that ends is asked what it leaves behind: a fault that was armed and never fired (its path was renamed, and the
//! test shows nothing any more), and a rule of DocuSign's that was broken. Who means either says so.

mod builder;
mod upstream;

use std::{
    path::PathBuf,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use countersign::{
    app::{App, Parts},
    clock::{Clock as _, ManualClock, SharedClock},
    config::Config,
    digest::{hex, sha256},
    domain::{Signing, SigningId},
    emulator::Emulator,
    lifecycle::Lifecycle,
    store::{Change, Record, Work},
};
use http::{HeaderMap, Method, StatusCode};
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::{harness::builder::Builder, store::samples, waiting::eventually};

/// The key that the test caller has.
pub(crate) const CALLER_KEY: &str = "cs_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
/// How the store of a daemon in this process writes: there is no power cut in a test, and a disk that others use takes
/// as long for a sync as the clock of a test for seconds. Processes, which are killed, sync as by default.
const AT_EASE: &str = "synchronous = \"normal\"";
/// A key of another caller, who shares nothing with the first.
pub(crate) const STRANGER_KEY: &str = "cs_BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB";
/// A key of no caller, unless a test adds one who has it.
pub(crate) const THIRD_KEY: &str = "cs_CCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCC";

pub(crate) struct TestDaemon {
    pub(crate) clock: ManualClock,
    pub(crate) emulator: Emulator,
    pub(crate) api: String,
    pub(crate) ops: String,
    pub(crate) public: Option<String>,
    parts: Option<Parts>,
    life: Lifecycle,
    emulator_life: Lifecycle,
    http: reqwest::Client,
    running: Option<tokio::task::JoinHandle<anyhow::Result<()>>>,
    directory: TempDir,
    settings: String,
    /// What was armed need not have fired.
    faults_may_wait: AtomicBool,
    /// What DocuSign forbids may have been done.
    rules_may_break: AtomicBool,
}

/// A second daemon beside a [`TestDaemon`].
pub(crate) struct Beside {
    pub(crate) api: String,
    pub(crate) parts: Parts,
    life: Lifecycle,
    running: Option<tokio::task::JoinHandle<anyhow::Result<()>>>,
}

impl Beside {
    /// Stops it, and fails if it does not end in order.
    pub(crate) async fn stop(mut self) {
        self.life.stop();
        if let Some(running) = self.running.take() {
            running.await.unwrap().unwrap();
        }
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        self.life.abort();
    }
}

/// A directory that goes with its test.
pub(crate) struct TempDir(pub PathBuf);

impl TempDir {
    pub(crate) fn new() -> Self {
        let path = std::env::temp_dir().join(format!("countersign-it-{}", uuid::Uuid::new_v4().simple()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// An answer of the daemon or of the emulator's control interface.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
    pub(crate) text: String,
}

impl Reply {
    /// The code of a problem.
    pub(crate) fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }

    /// The id of the first signer.
    pub(crate) fn signer(&self) -> &str {
        self.body["signers"][0]["id"].as_str().unwrap_or_default()
    }

    /// The id.
    pub(crate) fn id(&self) -> &str {
        self.body["id"].as_str().unwrap_or_default()
    }
}

fn own_store(directory: &TempDir) -> String {
    format!("sqlite://{}", directory.0.join("store.db").display())
}

pub(crate) fn key_hash(key: &str) -> String {
    format!("sha256:{}", hex(&sha256(key.as_bytes())))
}

type Started = (Parts, countersign::app::Ready, tokio::task::JoinHandle<anyhow::Result<()>>);

async fn start_daemon(settings: &str, clock: SharedClock, life: Lifecycle) -> Started {
    let mut config = Config::from_toml(settings).unwrap_or_else(|error| panic!("{error}"));
    // This is no daemon's binary, to be started again as a reader; `pdf_readers.rs` has one that is.
    config.documents.isolate = false;
    let app = Box::pin(App::build(config, clock, life)).await.unwrap_or_else(|error| panic!("{error:#}"));
    let (parts, ready) = (app.parts(), app.ready());
    (parts, ready, tokio::spawn(app.run()))
}

#[expect(clippy::disallowed_methods, reason = "the tests are a client of their own")]
pub(crate) fn http_client() -> reqwest::Client {
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(Duration::from_mins(1))
        .no_proxy()
        .build()
        .unwrap()
}

impl TestDaemon {
    pub(crate) fn builder() -> Builder {
        Builder::default()
    }

    /// A daemon with the public listener off.
    pub(crate) async fn start() -> Self {
        Self::builder().start().await
    }

    /// Settings for a daemon in a process of its own, on another store, against the same emulator.
    pub(crate) fn settings_for_a_process(&self, store: &str) -> String {
        self.settings.replace(&own_store(&self.directory), store).replace(AT_EASE, "synchronous = \"full\"")
    }

    /// Another daemon of the same settings, on the same store and by the same clock: for a store that is shared.
    pub(crate) async fn beside(&self) -> Beside {
        let life = Lifecycle::new();
        let clock: SharedClock = Arc::new(self.clock.clone());
        let (parts, ready, running) = start_daemon(&self.settings, clock, life.clone()).await;
        let beside = Beside { api: ready.api_url, parts, life, running: Some(running) };
        let system = countersign::domain::SenderName::new("system");
        let is_ready =
            || beside.parts.auth.ready("system").is_some() && beside.parts.esign.known(&system).is_some();
        self.until("a token and the account of the other", async || is_ready()).await;
        beside
    }

    /// Stops the daemon and starts it again on the same store.
    pub(crate) async fn restart(&mut self) {
        self.restart_after(async |_| {}).await;
    }

    /// Ends the daemon as a kill does, as far as that goes within a process: what is under way is dropped where it stands,
    /// and gives nothing back. Starts it again on the same store.
    pub(crate) async fn crash(&mut self) {
        self.life.abort();
        self.restart().await;
    }

    /// Stops the daemon, changes its settings, and starts it again on the same store.
    pub(crate) async fn restart_with(&mut self, change: impl FnOnce(&str) -> String) {
        self.settings = change(&self.settings);
        self.restart().await;
    }

    /// Stops the daemon, lets something happen, and starts it again on the same store.
    pub(crate) async fn restart_after(&mut self, meanwhile: impl AsyncFnOnce(&Self)) {
        self.stop_daemon().await;
        meanwhile(self).await;
        // The old daemon's locks go with its parts.
        self.parts = None;
        let shared: SharedClock = Arc::new(self.clock.clone());
        self.life = Lifecycle::new();
        let (parts, ready, running) = start_daemon(&self.settings, shared, self.life.clone()).await;
        (self.api, self.ops, self.public) = (ready.api_url, ready.ops_url, ready.public_url);
        self.parts = Some(parts);
        self.running = Some(running);
        self.until_ready().await;
    }

    /// The file of its store.
    pub(crate) fn store_file(&self) -> PathBuf {
        self.directory.0.join("store.db")
    }

    async fn stop_daemon(&mut self) {
        self.life.stop();
        if let Some(running) = self.running.take() {
            running.await.unwrap().unwrap();
        }
    }

    /// The settings it runs with.
    pub(crate) fn settings(&self) -> &str {
        &self.settings
    }

    /// The daemon's running parts.
    pub(crate) fn parts(&self) -> &Parts {
        self.parts.as_ref().expect("the daemon runs")
    }

    /// Begins the stop, as a first signal does, and does not wait for its end.
    pub(crate) fn begin_stop(&self) {
        self.life.stop();
    }

    /// Stops everything, and fails if it does not end in order.
    pub(crate) async fn stop(mut self) {
        self.stop_daemon().await;
    }

    /// Waits until the sender has a token and its account is known. Nothing but sockets stands between, so polling is enough.
    async fn until_ready(&self) {
        let system = countersign::domain::SenderName::new("system");
        let is_ready =
            || self.parts().auth.ready("system").is_some() && self.parts().esign.known(&system).is_some();
        self.until("a token and the account", async || is_ready()).await;
    }

    /// Waits for something that comes by itself; fails after a time that no machine needs, however slow its disk.
    pub(crate) async fn until(&self, what: &str, is_so: impl AsyncFnMut() -> bool) {
        eventually(what, is_so).await;
    }

    /// Lets the test's clock run, a hundred times as fast as the real one, while `until` is not so.
    pub(crate) async fn run_clock(&self, what: &str, is_so: impl AsyncFnMut() -> bool) {
        self.run_clock_by(Duration::from_millis(500), what, is_so).await;
    }

    /// The same, ten times as fast as the real one: where what takes a moment more on a busy machine must not run into
    /// another time.
    pub(crate) async fn run_clock_slowly(&self, what: &str, is_so: impl AsyncFnMut() -> bool) {
        self.run_clock_by(Duration::from_millis(50), what, is_so).await;
    }

    async fn run_clock_by(&self, step: Duration, what: &str, mut is_so: impl AsyncFnMut() -> bool) {
        let moved_on = async || {
            let is_so = is_so().await;
            if !is_so {
                self.clock.advance(step);
            }
            is_so
        };
        eventually(what, moved_on).await;
    }

    /// Lets time go on in steps, with a moment for what each sets off.
    pub(crate) async fn pass(&self, step: Duration, steps: u32) {
        for _ in 0..steps {
            self.clock.advance(step);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Lets so much time go on for a daemon that lives through all of it, and has its pulse: one that it is taken from at
    /// once, as by [`ManualClock::advance`], has stood still.
    pub(crate) async fn live_through(&self, time: Duration) {
        let until = self.clock.uptime().saturating_add(time);
        while self.clock.uptime() < until {
            self.clock.advance(Duration::from_secs(5).min(until.saturating_sub(self.clock.uptime())));
            let lately = self.clock.now() - SignedDuration::from_secs(15);
            // Not while it catches up: then it has something else to do.
            for _ in 0..40 {
                let last = self.parts().store.last_pulse().await.unwrap();
                if last.is_some_and(|last| last > lately) {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }

    /// Lets time go on until the signing stands so.
    pub(crate) async fn settle(&self, id: &str, status: &str) {
        let path = format!("/v1/signings/{id}");
        self.run_clock(&format!("{id} {status}"), async || self.get(&path).await.body["status"] == status)
            .await;
    }

    pub(crate) async fn call(
        &self,
        method: Method,
        url: &str,
        key: Option<&str>,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Reply {
        let mut request = self.http.request(method, url).body(body);
        if let Some(key) = key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let text = response.text().await.unwrap_or_default();
        Reply { status, headers, body: serde_json::from_str(&text).unwrap_or(Value::Null), text }
    }

    /// A call whose answer is bytes. Of a problem the reply holds the text, too.
    pub(crate) async fn bytes(
        &self,
        method: Method,
        url: &str,
        key: &str,
        headers: &[(&str, &str)],
    ) -> (Reply, Vec<u8>) {
        let mut request = self.http.request(method, url).bearer_auth(key);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let bytes = response.bytes().await.unwrap().to_vec();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        (Reply { status, headers, body, text }, bytes)
    }

    /// Has everyone sign whose turn it is or comes.
    pub(crate) async fn sign_all(&self) {
        loop {
            let signers = self.control(Method::GET, "signers", &Value::Null).await;
            let next = signers["signers"].as_array().unwrap().iter().find(|one| one["is_in_turn"] == true);
            let Some(next) = next else { return };
            let id = next["id"].as_str().unwrap();
            self.control(Method::POST, &format!("signers/{id}/sign"), &json!({})).await;
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.call(Method::GET, &format!("{}{path}", self.api), Some(CALLER_KEY), &[], Vec::new()).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Reply {
        let headers = [("content-type", "application/json")];
        let body = serde_json::to_vec(body).unwrap();
        self.call(Method::POST, &format!("{}{path}", self.api), Some(CALLER_KEY), &headers, body).await
    }

    /// `POST /v1/signings`.
    pub(crate) async fn create(&self, key: &str, body: &Value) -> Reply {
        self.create_with(key, body, &[]).await
    }

    pub(crate) async fn create_with(&self, key: &str, body: &Value, more: &[(&str, &str)]) -> Reply {
        let mut headers = vec![("content-type", "application/json"), ("idempotency-key", key)];
        headers.extend_from_slice(more);
        let body = serde_json::to_vec(body).unwrap();
        self.call(Method::POST, &format!("{}/v1/signings", self.api), Some(CALLER_KEY), &headers, body).await
    }

    /// A create whose caller does not wait.
    pub(crate) async fn queue(&self, key: &str, body: &Value) -> Reply {
        let accepted = self.create_with(key, body, &[("prefer", "respond-async")]).await;
        assert_eq!(accepted.status, StatusCode::ACCEPTED, "{}", accepted.text);
        accepted
    }

    /// A signing as it is in the store.
    pub(crate) async fn record(&self, id: SigningId) -> Record {
        self.parts().store.signing(id).await.unwrap().unwrap()
    }

    /// Writes something into the record of a signing, and when it is to be looked at next.
    pub(crate) async fn rewrite(&self, id: SigningId, work: Option<Work>, write: impl FnOnce(&mut Signing)) {
        let Record { mut signing, version, .. } = self.record(id).await;
        write(&mut signing);
        let change = Change { work, ..samples::change(&signing, version) };
        self.parts().store.save(change).await.unwrap();
    }

    /// What a metric stands at: the sum of its series with all these labels, such as `sender="system"`.
    pub(crate) async fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let all = self.ops("/metrics").await.text;
        let of_name = all.lines().filter_map(|line| line.strip_prefix(name)?.rsplit_once(' '));
        let values: Vec<f64> = of_name
            .filter(|(series, _)| series.is_empty() || series.starts_with('{'))
            .filter(|(series, _)| labels.iter().all(|label| series.contains(label)))
            .map(|(_, value)| value.parse().unwrap())
            .collect();
        assert!(!values.is_empty(), "there is no {name} of {labels:?}");
        values.iter().sum()
    }

    pub(crate) async fn ops(&self, path: &str) -> Reply {
        self.call(Method::GET, &format!("{}{path}", self.ops), None, &[], Vec::new()).await
    }

    /// A call as written, whose path no client has tidied up; answers the status.
    pub(crate) async fn raw(&self, method: &str, path: &str, key: Option<&str>, more: &str) -> u16 {
        let answer = self.raw_answer(method, path, key, more).await;
        answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
    }

    /// The same; answers all that came back.
    pub(crate) async fn raw_answer(&self, method: &str, path: &str, key: Option<&str>, more: &str) -> String {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let host = self.api.strip_prefix("http://").unwrap();
        let mut socket = tokio::net::TcpStream::connect(host).await.unwrap();
        let key = key.map(|key| format!("Authorization: Bearer {key}\r\n")).unwrap_or_default();
        let request =
            format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{key}{more}\r\n");
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // A server that refuses may reset what it did not read; what it said before counts.
        let _ = socket.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// A stream of events, opened with the caller's key.
    pub(crate) async fn stream(&self, path: &str, more: &[(&str, &str)]) -> reqwest::Response {
        let mut request = self.http.get(format!("{}{path}", self.api)).bearer_auth(CALLER_KEY);
        for (name, value) in [("accept", "text/event-stream")].iter().chain(more) {
            request = request.header(*name, *value);
        }
        request.send().await.unwrap()
    }

    /// A call with the key of somebody else.
    pub(crate) async fn as_stranger(&self, method: Method, path: &str, body: &Value) -> Reply {
        let headers = [("content-type", "application/json")];
        let body = if body.is_null() { Vec::new() } else { serde_json::to_vec(body).unwrap() };
        self.call(method, &format!("{}{path}", self.api), Some(STRANGER_KEY), &headers, body).await
    }
}

impl Drop for TestDaemon {
    fn drop(&mut self) {
        self.life.abort();
        self.emulator_life.abort();
        if !std::thread::panicking() {
            self.fired_every_fault();
            self.kept_every_rule();
        }
    }
}

/// A create from the template, with an SMS code.
pub(crate) fn order() -> Value {
    json!({
        "reference": "order-8812", "sender": "system", "documents": [{"template": "nda"}],
        "signers": [{
            "key": "visitor", "name": "Ada Lovelace", "email": "ada@example.com", "role": "Client",
            "sms_auth": {"phone": "+4915112345678"}, "return_url": "https://www.example.com/done",
        }],
    })
}
