//! SIGHUP as an operator meets it (rule H3): a real daemon, whose settings file changes under it. Other
//! tests of a real daemon start it from here, too.

use std::{
    fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use countersign::{
    auth::signing_key,
    clock::{SharedClock, SystemClock},
    config::Config,
    emulator::{self, Emulator},
    http_client::{HttpClient, Options, Request},
    lifecycle::Lifecycle,
};
use http::{HeaderValue, Method};
use serde_json::{Value, json};
use url::Url;

use crate::harness::{CALLER_KEY, THIRD_KEY, TempDir, TestDaemon, key_hash, order};

pub(crate) const OLD_KEY: &str = CALLER_KEY;
const NEW_KEY: &str = THIRD_KEY;

/// A daemon in a process of its own, and its emulator in this one, both on the real clock.
pub(crate) struct Daemon {
    pub(crate) process: Child,
    pub(crate) directory: TempDir,
    pub(crate) emulator: Emulator,
    life: Lifecycle,
    pub(crate) api: Url,
    pub(crate) ops: Url,
    client: HttpClient,
}

impl Daemon {
    async fn start() -> Self {
        Self::start_with("").await
    }

    /// One with more settings at the end.
    pub(crate) async fn start_with(more: &str) -> Self {
        Self::launch(|text| text + more, &[]).await
    }

    /// One with other settings and these variables.
    pub(crate) async fn launch(
        edit: impl FnOnce(String) -> String,
        variables: &[(&str, std::path::PathBuf)],
    ) -> Self {
        Self::launch_program(env!("CARGO_BIN_EXE_countersign").as_ref(), edit, variables).await
    }

    /// One of another build.
    pub(crate) async fn launch_program(
        program: &std::path::Path,
        edit: impl FnOnce(String) -> String,
        variables: &[(&str, std::path::PathBuf)],
    ) -> Self {
        let (life, clock): (_, SharedClock) = (Lifecycle::new(), std::sync::Arc::new(SystemClock));
        let emulator = Emulator::start(emulator::Options::default(), clock, &life).await.unwrap();
        let directory = TempDir::new();
        let (config, ready) = (directory.0.join("settings.toml"), directory.0.join("ready.json"));
        let text = edit(settings(&emulator, &directory, OLD_KEY, "info"));
        fs::write(&config, text).unwrap();
        let log = fs::File::create(directory.0.join("log")).unwrap();
        let process = Command::new(program)
            .arg("serve")
            .arg("--config")
            .arg(&config)
            .arg("--ready-file")
            .arg(&ready)
            .envs(variables.iter().cloned())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the binary starts");
        let client = HttpClient::new(&Options::default()).unwrap();
        let api = Url::parse("http://127.0.0.1").unwrap();
        let ops = api.clone();
        let mut daemon = Self { process, directory, emulator, life, api, ops, client };
        daemon.until("the ready file", async |_| ready.exists()).await;
        let ready: serde_json::Value = serde_json::from_slice(&fs::read(&ready).unwrap()).unwrap();
        daemon.api = Url::parse(ready["api_url"].as_str().unwrap()).unwrap().join("/v1/signings").unwrap();
        daemon.ops = Url::parse(ready["ops_url"].as_str().unwrap()).unwrap();
        daemon
    }

    /// Waits for something that comes by itself; fails after a time that no machine needs.
    pub(crate) async fn until(&self, what: &str, is_so: impl AsyncFn(&Self) -> bool) {
        for _ in 0..3_000 {
            if is_so(self).await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{what} did not come; the log: {}", self.log());
    }

    /// What a GET of an operator or of the caller finds: the status and the text.
    pub(crate) async fn get(&self, url: Url) -> (u16, String) {
        let bearer = HeaderValue::try_from(format!("Bearer {OLD_KEY}")).unwrap();
        let answer = self.client.send(Request::get(url).authorization(bearer)).await.unwrap();
        (answer.status.as_u16(), String::from_utf8_lossy(&answer.body).into_owned())
    }

    async fn status(&self, key: &str) -> u16 {
        let bearer = HeaderValue::try_from(format!("Bearer {key}")).unwrap();
        let request = Request::get(self.api.clone()).authorization(bearer);
        self.client.send(request).await.unwrap().status.as_u16()
    }

    fn write(&self, text: &str) {
        fs::write(self.directory.0.join("settings.toml"), text).unwrap();
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.directory.0.join("log")).unwrap_or_default()
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = i32::try_from(self.process.id()).ok().and_then(rustix::process::Pid::from_raw).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        self.life.abort();
    }
}

pub(crate) fn settings(emulator: &Emulator, directory: &TempDir, key: &str, level: &str) -> String {
    let ready = emulator.ready();
    let hash = key_hash(key);
    format!(
        r#"
[upstream]
environment = "emulator"
oauth_url = "{oauth}"
[senders.system]
integration_key = "{app}"
user_id = "{user}"
keys = ["{pem}"]
[api]
listen = "127.0.0.1:0"
[ops]
listen = "127.0.0.1:0"
[callers.website]
key_hash = "{hash}"
return_origins = ["https://www.example.com"]
[store]
url = "sqlite://{db}"
seal_key = "OjuYkzzbqKkGyKTs1ZNpUfXwLRp9XRTZ9X6m8Y8aZf0="
[audit]
file = "{audit}"
[stop]
grace = 0
deadline = 5
[log]
level = "{level}"
"#,
        oauth = ready.oauth_url,
        app = ready.integration_key,
        user = ready.user_id,
        pem = ready.private_key_file.display(),
        db = directory.0.join("store.db").display(),
        audit = directory.0.join("audit.jsonl").display(),
    )
}

#[tokio::test]
async fn h3_sighup_takes_up_callers_and_log_level_and_a_bad_file_changes_nothing() {
    let daemon = Daemon::start().await;
    assert_eq!((daemon.status(OLD_KEY).await, daemon.status(NEW_KEY).await), (200, 401));

    daemon.write(&settings(&daemon.emulator, &daemon.directory, NEW_KEY, "trace"));
    daemon.signal(rustix::process::Signal::HUP);
    daemon.until("the new caller", async |daemon| daemon.status(NEW_KEY).await == 200).await;
    assert_eq!(daemon.status(OLD_KEY).await, 401);
    daemon.until("the new level", async |daemon| daemon.log().contains("level trace")).await;

    let more = "[budget]\nhourly_limit = 9\n[documents]\nkeep = \"3m\"\n";
    daemon.write(&(settings(&daemon.emulator, &daemon.directory, NEW_KEY, "trace") + more));
    daemon.signal(rustix::process::Signal::HUP);
    let waits = "wait for a restart";
    daemon.until("what waits", async |daemon| daemon.log().contains(waits)).await;
    assert!(
        daemon.log().lines().any(|line| line.contains(waits)
            && line.contains("budget")
            && line.contains("documents.keep")
            && !line.contains("log.")),
        "{}",
        daemon.log()
    );

    daemon.write("[callers.website]\nnonsense = 1\n");
    daemon.signal(rustix::process::Signal::HUP);
    let refused = "the settings were not reloaded";
    daemon.until("the refusal", async |daemon| daemon.log().contains(refused)).await;
    assert_eq!(daemon.log().matches(refused).count(), 1, "{}", daemon.log());
    assert_eq!((daemon.status(OLD_KEY).await, daemon.status(NEW_KEY).await), (401, 200));
}

#[tokio::test]
async fn s3_a_callers_key_is_changed_without_an_hour_in_which_neither_works() {
    let daemon = Daemon::start().await;
    let with = |keys: &[&str]| {
        let hashes: Vec<_> = keys.iter().map(|key| key_hash(key)).collect();
        let one = format!("key_hash = {:?}", key_hash(OLD_KEY));
        settings(&daemon.emulator, &daemon.directory, OLD_KEY, "info")
            .replace(&one, &format!("key_hashes = {hashes:?}"))
    };
    daemon.write(&with(&[OLD_KEY, NEW_KEY]));
    daemon.signal(rustix::process::Signal::HUP);
    daemon.until("the second key", async |daemon| daemon.status(NEW_KEY).await == 200).await;
    assert_eq!(daemon.status(OLD_KEY).await, 200);
    daemon.write(&with(&[NEW_KEY]));
    daemon.signal(rustix::process::Signal::HUP);
    daemon.until("the end of the first key", async |daemon| daemon.status(OLD_KEY).await == 401).await;
    assert_eq!(daemon.status(NEW_KEY).await, 200);
}

#[tokio::test]
async fn what_is_allowed_and_seldom_meant_is_said_at_start_and_who_was_refused_with_the_reason() {
    let hash = "operator_password_hash = \"$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$QUJDREVGR0hJSktMTU5PUA\"";
    let webhook = format!(
        "[webhooks.ours]\nurl = \"https://hooks.example.com/\"\nsecrets = [\"whsec_{}\"]\n",
        "eHh4".repeat(8)
    );
    let edit = |text: String| {
        text.replace("[ops]\nlisten = \"127.0.0.1:0\"", &format!("[ops]\nlisten = \"0.0.0.0:0\"\n{hash}"))
            .replace("return_origins", "unix_uids = [1]\nreturn_origins")
            .replace("grace = 0", "grace = 9")
            + &webhook
    };
    let daemon = Daemon::launch(edit, &[]).await;
    let said = async |word: &str| daemon.until(word, async |daemon| daemon.log().contains(word)).await;
    said("unix_uids").await;
    said("without TLS").await;
    said("stop.grace is no shorter").await;
    said("a webhook is named after no caller").await;
    assert_eq!(daemon.status(NEW_KEY).await, 401);
    said("no caller has this API key").await;
}

/// Those of an emulator are worth nothing. So this is DocuSign, behind a proxy that is not there.
#[tokio::test]
async fn s2_a_file_with_a_secret_that_others_can_use_is_said_at_start_and_at_each_reload() {
    let folder = TempDir::new();
    let key = folder.0.join("seal_key");
    let make = |mode: u32| {
        fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    };
    fs::write(&key, "OjuYkzzbqKkGyKTs1ZNpUfXwLRp9XRTZ9X6m8Y8aZf0=").unwrap();
    make(0o644);
    let edit = |text: String| {
        let lines = text.lines().map(|line| match line.split(" = ").next() {
            Some("environment") => "environment = \"demo\"".to_owned(),
            Some("oauth_url") => "proxy = \"http://127.0.0.1:1\"".to_owned(),
            Some("seal_key") => format!("seal_key_file = \"{}\"", key.display()),
            _ => line.to_owned(),
        });
        lines.collect::<Vec<_>>().join("\n")
    };
    let daemon = Daemon::launch(edit, &[]).await;
    let said = format!("run chmod 600 {}", key.display());
    let times = async |count: usize| {
        daemon.until("the warning", async |daemon| daemon.log().matches(&said).count() == count).await;
    };
    times(1).await;
    make(0o602);
    daemon.signal(rustix::process::Signal::HUP);
    times(2).await;
    make(0o600);
    daemon.signal(rustix::process::Signal::HUP);
    let reloads = |log: &str| log.matches("settings reloaded").count();
    daemon.until("the second reload", async |daemon| reloads(&daemon.log()) == 2).await;
    times(2).await;
}

#[tokio::test]
async fn h3_a_changed_list_of_keys_is_taken_up_without_losing_the_token_and_a_bad_one_changes_nothing() {
    let daemon = TestDaemon::start().await;
    // Whether the new key is tried before the account server is back is nobody's promise.
    daemon.faults_may_wait();
    let ready = daemon.emulator.ready().clone();
    let (pair, folder) = (signing_key::generate().unwrap(), TempDir::new());
    let new = folder.0.join("new.pem");
    let reload = async |list: &str| {
        // The other sender of the settings keeps the list that both had.
        let old = format!("keys = [\"{}\"]", ready.private_key_file.display());
        let config = Config::from_toml(&daemon.settings().replacen(&old, list, 1)).unwrap();
        daemon.parts().reload(&config).await
    };
    let both = format!("keys = [\"{}\", \"{}\"]", new.display(), ready.private_key_file.display());
    let keys = || daemon.parts().auth.status("system").unwrap().keys;

    fs::write(&new, "no key").unwrap();
    fs::set_permissions(&new, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    assert!(reload(&format!("keys = [\"{}\"]", new.display())).await.is_err(), "it would leave none");
    assert_eq!(keys().len(), 1);

    // Nobody can mint now: the token that is held must go on.
    daemon.fault(&json!({"fault": "status", "status": 503, "path": "/oauth/token"})).await;
    fs::write(&new, pair.private_pem.as_bytes()).unwrap();
    let registered = json!({
        "integration_key": ready.integration_key, "public_key_pem": pair.public_pem, "active": true,
    });
    daemon.control(Method::POST, "keys", &registered).await;
    reload(&both).await.unwrap();
    assert_eq!((keys().len(), keys()[0].fingerprint), (2, Some(pair.fingerprint)));
    let created = daemon.create("meanwhile", &order()).await;
    assert_eq!(created.status, 201, "{}", created.text);

    daemon.control(Method::DELETE, "faults", &Value::Null).await;
    daemon.run_clock("a mint with the new key", async || keys()[0].last_success.is_some()).await;
    let others = daemon.parts().auth.status("unconsented").unwrap().keys;
    assert_eq!(others.len(), 1, "who has another list keeps it");
}

/// A key in a file of its own, which nobody has registered.
fn new_key(folder: &TempDir) -> (signing_key::Generated, PathBuf) {
    let (pair, path) = (signing_key::generate().unwrap(), folder.0.join("new.pem"));
    fs::write(&path, pair.private_pem.as_bytes()).unwrap();
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    (pair, path)
}

#[tokio::test]
async fn h3_a_list_of_other_keys_leaves_the_old_one_serving_until_a_new_one_has_earned_a_token() {
    let daemon = TestDaemon::start().await;
    let ready = daemon.emulator.ready().clone();
    let folder = TempDir::new();
    let (pair, new) = new_key(&folder);
    let old = format!("keys = [\"{}\"]", ready.private_key_file.display());
    let list = format!("keys = [\"{}\"]", new.display());
    let config = Config::from_toml(&daemon.settings().replacen(&old, &list, 1)).unwrap();
    daemon.parts().reload(&config).await.unwrap();
    // Past the end of the token that was held, which the new key could not have followed.
    let status = || daemon.parts().auth.status("system").unwrap();
    let held = status().generation;
    daemon.clock.advance(Duration::from_secs(3_600));
    daemon.run_clock("another token", async || status().has_token() && status().generation != held).await;
    let refused = format!("DocuSign refuses the key {}", pair.fingerprint);
    daemon.run_clock("the refusal", async || daemon.ops("/readyz").await.text.contains(&refused)).await;
    assert_eq!(daemon.create("meanwhile", &order()).await.status, 201);

    let registered = json!({
        "integration_key": ready.integration_key, "public_key_pem": pair.public_pem, "active": true,
    });
    daemon.control(Method::POST, "keys", &registered).await;
    let is_alone = || status().keys.len() == 1 && status().keys[0].last_success.is_some();
    daemon.run_clock("the new key", async || is_alone()).await;
}

#[tokio::test]
async fn a_key_that_docusign_refuses_leaves_the_sender_acting_and_is_told() {
    let daemon = TestDaemon::start().await;
    let ready = daemon.emulator.ready().clone();
    let folder = TempDir::new();
    let (pair, new) = new_key(&folder);
    let old = format!("keys = [\"{}\"]", ready.private_key_file.display());
    let both = format!("keys = [\"{}\", \"{}\"]", new.display(), ready.private_key_file.display());
    let config = Config::from_toml(&daemon.settings().replacen(&old, &both, 1)).unwrap();
    daemon.parts().reload(&config).await.unwrap();
    let refused = format!("DocuSign refuses the key {}", pair.fingerprint);
    daemon.run_clock("the refusal", async || daemon.ops("/readyz").await.text.contains(&refused)).await;
    let shown = daemon.ops("/readyz").await;
    assert_eq!((shown.status.as_u16(), &shown.body["status"]), (200, &json!("degraded")), "{}", shown.text);
    assert_eq!(daemon.create("meanwhile", &order()).await.status, 201);
}

#[tokio::test]
async fn t10_a_key_that_cannot_be_read_is_taken_beside_a_good_one_and_is_no_key_that_docusign_refuses() {
    let daemon = TestDaemon::start().await;
    let (file, folder) = (daemon.emulator.ready().private_key_file.clone(), TempDir::new());
    let missing = folder.0.join("missing.pem");
    let old = format!("keys = [\"{}\"]", file.display());
    let both = format!("keys = [\"{}\", \"{}\"]", file.display(), missing.display());
    let config = Config::from_toml(&daemon.settings().replacen(&old, &both, 1)).unwrap();
    daemon.parts().reload(&config).await.unwrap();
    let keys = daemon.parts().auth.status("system").unwrap().keys;
    let numbers: Vec<_> = keys.iter().map(|key| (key.number, key.fingerprint.is_some())).collect();
    assert_eq!(numbers, [(Some(0), true), (Some(1), false)]);
    let is_told = async || daemon.ops("/readyz").await.text.contains("\"key_unreadable\"");
    daemon.run_clock("the bad key", is_told).await;
    let shown = daemon.ops("/readyz").await;
    assert_eq!((shown.status.as_u16(), &shown.body["status"]), (200, &json!("degraded")), "{}", shown.text);
    assert!(!shown.text.contains("key_rejected"), "{}", shown.text);
    assert_eq!(daemon.create("meanwhile", &order()).await.status, 201);
}

#[tokio::test]
async fn what_is_logged_of_a_request_names_its_trace_whatever_the_level_is() {
    let edit = |text: String| {
        let rights = "return_origins = []\nenforcement = \"audit\"";
        let text = text.replace("return_origins = [\"https://www.example.com\"]", rights);
        let template = "[templates]\nnda = \"00000000-0000-4000-8000-000000000001\"\n";
        text.replace("level = \"info\"", "level = \"warn\"") + template
    };
    let daemon = Daemon::launch(edit, &[]).await;
    let asked = order();
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let bearer = HeaderValue::try_from(format!("Bearer {OLD_KEY}")).unwrap();
    let parent = HeaderValue::try_from(format!("00-{trace}-00f067aa0ba902b7-01")).unwrap();
    let mut url = daemon.api.clone();
    url.set_query(Some("dry_run=true"));
    let request = Request::post(url).authorization(bearer).json(asked.to_string());
    let request = request.header(http::HeaderName::from_static("traceparent"), parent);
    daemon.client.send(request).await.unwrap();
    let is_said = async |daemon: &Daemon| daemon.log().contains("lacks a right");
    daemon.until("the warning", is_said).await;
    let log = daemon.log();
    let line = log.lines().find(|line| line.contains("lacks a right")).unwrap();
    assert!(line.contains(trace), "{log}");
}
