//! What a test may change of a daemon before it starts, and the settings that come of it.

use std::sync::{Arc, atomic::AtomicBool};

use countersign::{
    clock::{ManualClock, SharedClock},
    emulator::{self, Emulator},
    lifecycle::Lifecycle,
};

use crate::harness::{
    AT_EASE, CALLER_KEY, STRANGER_KEY, TempDir, TestDaemon, http_client, key_hash, own_store, start_daemon,
};

/// Writes senders, given an integration key and the file of a private key.
type WriteSenders = Box<dyn Fn(&str, &str) -> String>;

#[derive(Default)]
pub(crate) struct Builder {
    more: String,
    api: String,
    caller: String,
    sender: String,
    ops: String,
    upstream: String,
    is_public: bool,
    public: String,
    connect: String,
    passthrough: Option<&'static str>,
    connectable: Vec<(String, String, String)>,
    senders: Vec<WriteSenders>,
    store: Option<String>,
}

impl Builder {
    /// Adds settings; `@KEY@` in them stands for the file of the registered key.
    pub(crate) fn with(mut self, settings: &str) -> Self {
        self.more.push_str(settings);
        self
    }

    /// Adds settings of `[api]`.
    pub(crate) fn api(mut self, settings: &str) -> Self {
        self.api.push_str(settings);
        self
    }

    /// Adds settings of the first caller.
    pub(crate) fn caller(mut self, settings: &str) -> Self {
        self.caller.push_str(settings);
        self
    }

    /// Adds lines to the settings of the sender "system".
    pub(crate) fn sender(mut self, lines: &str) -> Self {
        self.sender.push_str(lines);
        self
    }

    /// Adds settings of `[ops]`.
    pub(crate) fn ops(mut self, settings: &str) -> Self {
        self.ops.push_str(settings);
        self
    }

    /// Adds settings to `[upstream]`.
    pub(crate) fn upstream(mut self, settings: &str) -> Self {
        self.upstream.push_str(settings);
        self
    }

    /// Switches the public listener on.
    pub(crate) fn public(mut self) -> Self {
        self.is_public = true;
        self
    }

    /// Adds settings of Connect.
    pub(crate) fn connect(mut self, settings: &str) -> Self {
        self.connect.push_str(settings);
        self
    }

    /// Switches the public listener on, with TLS of this certificate and key.
    pub(crate) fn public_tls(self, certificate: &std::path::Path, key: &std::path::Path) -> Self {
        let (cert, key) = (certificate.display(), key.display());
        self.public_with(&format!("tls = {{ cert_file = \"{cert}\", key_file = \"{key}\" }}"))
    }

    /// Switches the public listener on, with more settings.
    pub(crate) fn public_with(mut self, lines: &str) -> Self {
        self.public.push_str(lines);
        self.public()
    }

    /// Keeps its state there, and not in a file of its own.
    pub(crate) fn store(mut self, url: &str) -> Self {
        self.store = Some(url.to_owned());
        self
    }

    /// Sets the largest body that is passed through.
    pub(crate) fn passthrough_limit(mut self, size: &'static str) -> Self {
        self.passthrough = Some(size);
        self
    }

    /// Adds senders, given the emulator's integration key and the file of its private key.
    pub(crate) fn with_senders(mut self, write: impl Fn(&str, &str) -> String + 'static) -> Self {
        self.senders.push(Box::new(write));
        self
    }

    /// Adds a connectable sender with the emulator's integration key.
    pub(crate) fn connectable(mut self, name: &str, form: &str, more: &str) -> Self {
        self.connectable.push((name.to_owned(), form.to_owned(), more.to_owned()));
        self
    }

    pub(crate) async fn start(self) -> TestDaemon {
        let clock = ManualClock::new("2026-06-01T12:00:00Z".parse().unwrap());
        let (life, emulator_life) = (Lifecycle::new(), Lifecycle::new());
        let shared: SharedClock = Arc::new(clock.clone());
        let options = emulator::Options::default();
        let emulator = Emulator::start(options, Arc::clone(&shared), &emulator_life).await.unwrap();
        let directory = TempDir::new();
        let settings = settings(&self, &emulator, &directory);
        let (parts, ready, running) = start_daemon(&settings, shared, life.clone()).await;
        let daemon = TestDaemon {
            clock,
            emulator,
            api: ready.api_url,
            ops: ready.ops_url,
            public: ready.public_url,
            parts: Some(parts),
            life,
            emulator_life,
            http: http_client(),
            running: Some(running),
            directory,
            settings,
            faults_may_wait: AtomicBool::new(false),
            rules_may_break: AtomicBool::new(false),
        };
        daemon.until_ready().await;
        daemon
    }
}

fn settings(builder: &Builder, emulator: &Emulator, directory: &TempDir) -> String {
    let ready = emulator.ready();
    let public = public_listener(builder);
    // What keeps a connection open is no call that a test counts.
    let warm = if builder.upstream.contains("keep_warm") { "" } else { "keep_warm = false\n" };
    format!(
        r#"
[upstream]
environment = "emulator"
oauth_url = "{oauth}"
{upstream}
{warm}[senders.system]
integration_key = "{key}"
user_id = "{user}"
keys = ["{pem}"]
{sender}
[senders.unconsented]
integration_key = "{key}"
user_id = "{no_consent}"
keys = ["{pem}"]
[api]
listen = "127.0.0.1:0"
body_limit = "1MiB"
passthrough_limit = "{passthrough}"
{api}
[ops]
listen = "127.0.0.1:0"
{ops}
{public}
[callers.website]
key_hash = "{caller}"
return_origins = ["https://www.example.com"]
{caller_more}
[callers.stranger]
key_hash = "{stranger}"
senders = []
[store]
url = "{store}"
{AT_EASE}
seal_key = "OjuYkzzbqKkGyKTs1ZNpUfXwLRp9XRTZ9X6m8Y8aZf0="
[templates]
nda = "{template}"
[connect]
hmac_keys = ["{hmac}"]
{connect}
[stop]
grace = 0
deadline = 5
{more}
"#,
        oauth = ready.oauth_url,
        passthrough = builder.passthrough.unwrap_or("2MiB"),
        key = ready.integration_key,
        user = ready.user_id,
        no_consent = ready.no_consent_user_id,
        pem = ready.private_key_file.display(),
        sender = builder.sender,
        caller = key_hash(CALLER_KEY),
        stranger = key_hash(STRANGER_KEY),
        store = builder.store.clone().unwrap_or_else(|| own_store(directory)),
        template = ready.template_id,
        hmac = ready.connect_hmac_key,
        api = builder.api,
        caller_more = builder.caller,
        connect = builder.connect,
        ops = builder.ops,
        upstream = builder.upstream,
        more = connectable(builder, ready)
            + &senders(builder, ready)
            + &builder.more.replace("@KEY@", &ready.private_key_file.display().to_string()),
    )
}

fn public_listener(builder: &Builder) -> String {
    if !builder.is_public {
        return String::new();
    }
    // The port must be known before it is bound, because links carry it.
    let port = crate::ports::free_port();
    let scheme = if builder.public.contains("tls = ") { "https" } else { "http" };
    format!(
        "[public]\nlisten = \"127.0.0.1:{port}\"\nbase_url = \"{scheme}://127.0.0.1:{port}\"\n{}\n",
        builder.public
    )
}

fn senders(builder: &Builder, ready: &emulator::Ready) -> String {
    let pem = ready.private_key_file.display().to_string();
    builder.senders.iter().map(|write| write(&ready.integration_key, &pem)).collect()
}

fn connectable(builder: &Builder, ready: &emulator::Ready) -> String {
    let one = |(name, form, more): &(String, String, String)| {
        let keys = match form.as_str() {
            "impersonation" => format!("keys = [\"{}\"]\n", ready.private_key_file.display()),
            _ => String::new(),
        };
        let key = &ready.integration_key;
        format!("[senders.{name}]\nintegration_key = \"{key}\"\nconnect = \"{form}\"\n{keys}{more}\n")
    };
    builder.connectable.iter().map(one).collect()
}
