//! `countersign demo` as scripts and people meet it: the real binary, its ready file and its pages.

use std::{
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use countersign::http_client::{HttpClient, Options, Request};
use serde_json::Value;
use url::Url;

use crate::{
    harness::TempDir,
    waiting::{eventually, read_ready},
};

/// A demo that runs until this is dropped.
pub(crate) struct Demo {
    process: Child,
    directory: PathBuf,
    ready: Value,
}

impl Demo {
    pub(crate) async fn start(name: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("countersign-demo-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let ready_file = directory.join("ready.json");
        let process = Command::new(env!("CARGO_BIN_EXE_countersign"))
            .args(["demo", "--site", "127.0.0.1:0", "--ready-file"])
            .arg(&ready_file)
            .stdout(Stdio::null())
            .spawn()
            .expect("the binary starts");
        let mut demo = Self { process, directory, ready: Value::Null };
        let is_ready = async || {
            assert_eq!(demo.process.try_wait().unwrap(), None, "the demo ended before it was ready");
            ready_file.exists()
        };
        eventually("the demo", is_ready).await;
        demo.ready = read_ready(&ready_file).await;
        demo
    }

    /// An entry of the ready file.
    pub(crate) fn entry(&self, name: &str) -> &str {
        self.ready[name].as_str().unwrap_or_else(|| panic!("{name} is in the ready file: {}", self.ready))
    }

    /// The process.
    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Sends SIGTERM and waits for the end.
    pub(crate) fn stop(mut self) -> std::process::ExitStatus {
        terminate(&self.process);
        self.process.wait().unwrap()
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

pub(crate) fn terminate(process: &Child) {
    signal(process, rustix::process::Signal::TERM);
}

fn signal(process: &Child, signal: rustix::process::Signal) {
    let pid = i32::try_from(process.id()).ok().and_then(rustix::process::Pid::from_raw).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

#[test]
fn a_walk_prints_every_step_with_its_time_and_leaves_nothing_behind() {
    // A temporary directory of its own, so that what is left in it is this run's.
    let directory = std::env::temp_dir().join(format!("countersign-walk-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_countersign"))
        .args(["demo", "--walk", "--site", "127.0.0.1:0"])
        .env("TMPDIR", &directory)
        .output()
        .expect("the binary starts");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    let steps: Vec<&str> = text.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(steps, ["start", "create", "SMS", "sign", "return", "event", "download", "done"]);
    for line in text.lines() {
        let mut words = line.split_whitespace().skip(1);
        assert!(words.next().unwrap().parse::<u64>().is_ok() && words.next() == Some("ms"), "{line}");
    }
    assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 0, "the temporary state is gone");
    std::fs::remove_dir_all(&directory).unwrap();
}

#[tokio::test]
async fn the_end_of_the_terminal_ends_what_lives_in_one_and_leaves_nothing_behind() {
    let emulate = ["emulate", "--listen", "127.0.0.1:0", "--control", "127.0.0.1:0"];
    for command in [&["demo", "--site", "127.0.0.1:0"][..], &emulate] {
        let directory = TempDir::new();
        let (ready, temporary) = (directory.0.join("ready.json"), directory.0.join("tmp"));
        std::fs::create_dir(&temporary).unwrap();
        // The tests themselves may run under nohup.
        let mut process = Command::new("env")
            .args(["--default-signal=HUP", env!("CARGO_BIN_EXE_countersign")])
            .args(command)
            .arg("--ready-file")
            .arg(&ready)
            .env("TMPDIR", &temporary)
            .stdout(Stdio::null())
            .spawn()
            .expect("the binary starts");
        read_ready(&ready).await;
        let has_state = std::fs::read_dir(&temporary).unwrap().count() > 0;
        signal(&process, rustix::process::Signal::HUP);
        assert!(process.wait().unwrap().success() && has_state, "{command:?}");
        assert_eq!(std::fs::read_dir(&temporary).unwrap().count(), 0, "{command:?}");
    }
}

#[test]
fn a_site_that_others_could_reach_is_refused() {
    let output = Command::new(env!("CARGO_BIN_EXE_countersign"))
        .args(["demo", "--site", "0.0.0.0:0"])
        .output()
        .expect("the binary starts");
    assert_eq!(output.status.code(), Some(64));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--site: 0.0.0.0:0 is no loopback address"));
}

#[tokio::test]
async fn the_ready_file_has_everything_and_sigterm_ends_it_with_0() {
    let demo = Demo::start("ready").await;
    for name in [
        "oauth_host",
        "oauth_url",
        "base_url",
        "control_url",
        "integration_key",
        "user_id",
        "account_id",
        "private_key_file",
        "template_id",
        "template_role",
        "connect_hmac_key",
        "api_url",
        "public_url",
        "ops_url",
        "site_url",
        "caller_key",
    ] {
        assert!(!demo.entry(name).is_empty(), "{name}");
    }
    let state = PathBuf::from(demo.entry("private_key_file"));
    assert!(state.exists());
    assert!(demo.stop().success());
    assert!(!state.exists(), "the temporary state is gone");
}

#[tokio::test]
async fn the_website_refuses_foreign_forms_and_says_what_is_wrong_with_a_field() {
    let demo = Demo::start("forms").await;
    let client = HttpClient::new(&Options::default()).unwrap();
    let orders = Url::parse(&format!("{}/orders", demo.entry("site_url"))).unwrap();
    let fields = |phone: &'static str| {
        [
            ("order", "AQ-0123ABCD"),
            ("paper", "letter"),
            ("name", "Ada"),
            ("email", "ada@example.com"),
            ("phone", phone),
        ]
    };
    let foreign = Request::post(orders.clone())
        .form(fields("+4915112345678"))
        .header(http::header::ORIGIN, http::HeaderValue::from_static("https://evil.example"));
    assert_eq!(client.send(foreign).await.unwrap().status, 403);

    let wrong = client.send(Request::post(orders.clone()).form(fields("12"))).await.unwrap();
    let page = String::from_utf8(wrong.body.to_vec()).unwrap();
    assert_eq!(wrong.status, 422, "{page}");
    assert!(page.contains("aria-invalid=\"true\"") && page.contains("phone-error"), "{page}");
    let policy = wrong.headers[http::header::CONTENT_SECURITY_POLICY].to_str().unwrap();
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    assert!(!page.contains("<script") && !page.contains("style=\""));

    let right = client.send(Request::post(orders.clone()).form(fields("+49 151 1234-5678"))).await.unwrap();
    assert_eq!(right.status, 303);
    // Pressed again after "back": the same order, no second envelope.
    let again = client.send(Request::post(orders).form(fields("+49 151 1234-5678"))).await.unwrap();
    assert_eq!(again.headers[http::header::LOCATION], "/orders/AQ-0123ABCD");
    let mut listed = Url::parse(demo.entry("control_url")).unwrap();
    listed.set_path("/_test/signers");
    let signers: Value =
        serde_json::from_slice(&client.send(Request::get(listed)).await.unwrap().body).unwrap();
    assert_eq!(signers["signers"].as_array().unwrap().len(), 1, "{signers}");
}
