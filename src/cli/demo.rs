//! `countersign demo`: emulator, daemon and website in one process, on loopback, with fresh keys and
//! state that is gone at the end.
//!
//! The three meet only over HTTP, as they would on three machines. The daemon gets settings as `serve`
//! would read them from a file.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, anyhow};
use aws_lc_rs::rand;
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde::Serialize;

use super::{address, caller::Added, hangup, not_loopback, output, ready_file, unbound};
use crate::{
    app::{self, App},
    clock::{SharedClock, SystemClock},
    config::Config,
    demo::{CALLER, HOOK_PATH, Site, Step, Walk},
    emulator::{self, Emulator},
    events::endpoints::new_secret,
    http_client::{self, HttpClient},
    lifecycle::Lifecycle,
    listener::Bound,
};

/// Where the website is, unless something else is there already.
const SITE_PORT: u16 = 8090;
/// Nothing in a demo is worth a longer wait.
const DRAIN_DEADLINE: Duration = Duration::from_secs(5);

/// Shows the whole journey on this machine: emulated DocuSign, the daemon, and a small website.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Address of the website (loopback) [default: 127.0.0.1:8090, or a free port if that is taken].
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    site: Option<SocketAddr>,
    /// Write a JSON object with addresses, ids and the caller key here once everything listens.
    #[arg(long, value_name = "PATH")]
    ready_file: Option<PathBuf>,
    /// Instead of waiting for you: drive one whole journey, print each step and its time, and exit.
    #[arg(long)]
    walk: bool,
}

/// The content of the ready file: the emulator's, the daemon's, and the website's.
#[derive(Serialize)]
struct Ready<'a> {
    #[serde(flatten)]
    emulator: &'a emulator::Ready,
    api_url: &'a str,
    public_url: Option<&'a str>,
    ops_url: &'a str,
    site_url: &'a str,
    caller_key: &'a str,
}

/// Runs the command.
pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    if let Some(path) = &args.ready_file {
        ready_file::check(path)?;
    }
    let clock: SharedClock = Arc::new(SystemClock);
    let started = clock.uptime();
    let life = Lifecycle::new();
    life.follow_signals().context("cannot follow signals")?;
    hangup::follow(&life).context("cannot follow signals")?;
    let state = State::new()?;
    // The daemon stops first, and the others only then: they answer its last calls.
    let around = Lifecycle::new();
    let demo = Demo::start(&args, &state, &clock, &life, &around).await?;
    if let Some(path) = &args.ready_file {
        ready_file::write(path, &demo.shown.ready())?;
    }
    let Demo { app, shown } = demo;
    let daemon = tokio::spawn(app.run());
    let outcome = if args.walk {
        shown.walk(&clock, started).await
    } else {
        let told = output::line(shown.introduction());
        if told.is_ok() {
            life.stopping().cancelled().await;
        }
        told
    };
    life.stop();
    let daemon = daemon.await.context("the daemon ended abnormally")?;
    around.stop();
    around.drain(DRAIN_DEADLINE).await;
    outcome.and(daemon)?;
    Ok(if around.has_failed() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// All three parts, listening; the daemon not serving yet.
struct Demo {
    app: App,
    shown: Shown,
}

/// Where the parts are, and what to call them with.
struct Shown {
    emulator: Emulator,
    api: app::Ready,
    site: Site,
    key: Added,
}

impl Demo {
    async fn start(
        args: &Args,
        state: &State,
        clock: &SharedClock,
        life: &Lifecycle,
        around: &Lifecycle,
    ) -> anyhow::Result<Self> {
        let listen = site_listener(args.site).await?;
        let options = emulator::Options {
            state_dir: Some(state.path().join("emulator")),
            ..emulator::Options::default()
        };
        let emulator = Emulator::start(options, Arc::clone(clock), around).await?;
        let key = Added::new(CALLER.to_owned());
        let public = free_address()?;
        let (_, webhook_secret) = new_secret();
        let site = Website { origin: &listen.origin(), webhook_secret: webhook_secret.reveal() };
        let settings = settings(emulator.ready(), &key, &site, public, state.path())?;
        let config = Config::from_toml(&settings).context("the demo's own settings")?;
        let app = App::build(config, Arc::clone(clock), life.clone()).await?;
        let api = app.ready();
        let client = HttpClient::new(&http_client::Options::default())?;
        let mut signing_origins = vec![emulator.ready().base_url.clone()];
        signing_origins.extend(api.public_url.clone());
        let options = crate::demo::Options {
            listen,
            api: api.api_url.parse().context("the daemon's address")?,
            caller_key: key.key.clone(),
            webhook_secret: webhook_secret.into_inner(),
            control: emulator.ready().control_url.parse().context("the emulator's address")?,
            signing_origins,
            public: api.public_url.clone(),
        };
        let site = Site::start(options, client, Arc::clone(clock), around)?;
        Ok(Self { app, shown: Shown { emulator, api, site, key } })
    }
}

impl Shown {
    fn ready(&self) -> Ready<'_> {
        Ready {
            emulator: self.emulator.ready(),
            api_url: &self.api.api_url,
            public_url: self.api.public_url.as_deref(),
            ops_url: &self.api.ops_url,
            site_url: self.site.url(),
            caller_key: &self.key.key,
        }
    }

    async fn walk(&self, clock: &SharedClock, started: Duration) -> anyhow::Result<()> {
        let took = |since: Duration| clock.uptime().saturating_sub(since).as_millis();
        output::line(format_args!(
            "{:<9} {:>5} ms  emulator, daemon and website listen",
            "start",
            took(started)
        ))?;
        let client = HttpClient::new(&http_client::Options::default())?;
        let control = &self.emulator.ready().control_url;
        let (site, api, key) = (self.site.url(), &self.api.api_url, &self.key.key);
        let mut walk = Walk::new(client, Arc::clone(clock), site, api, key, control)
            .ok_or_else(|| anyhow!("the demo's own addresses cannot be read"))?;
        for step in Step::ALL {
            let since = clock.uptime();
            let seen = walk.step(step).await?;
            output::line(format_args!("{:<9} {:>5} ms  {seen}", step.name(), took(since)))?;
        }
        output::line(format_args!("{:<9} {:>5} ms  the whole journey", "done", took(started)))
    }

    fn introduction(&self) -> String {
        let (site, api, ops, key) = (self.site.url(), &self.api.api_url, &self.api.ops_url, &self.key.key);
        format!(
            "\
countersign demo: DocuSign is emulated, and nothing leaves this machine.

  website      {site}
  SMS outbox   {site}/outbox
  operators    {ops}/readyz
  API          {api}/docs
  control      {control}

Or ask the daemon for a signing URL yourself:

curl -sS {api}/v1/signings \\
  -H 'Authorization: Bearer {key}' \\
  -H 'Idempotency-Key: order-1' \\
  -H 'Content-Type: application/json' \\
  -d '{{\"sender\": \"system\", \"documents\": [{{\"template\": \"nda\"}}],
       \"signers\": [{{\"name\": \"Ada Lovelace\", \"email\": \"ada@example.com\", \"role\": \"{role}\",
                    \"sms_auth\": {{\"phone\": \"+4915112345678\"}}, \"return_url\": \"{site}/orders\"}}]}}'

And see events as they happen, and cause one of the newest signing, in a terminal each:

countersign listen --url {api} --key {key}
countersign trigger signing.completed --control {control}

Ctrl-C ends it.",
            control = self.emulator.ready().control_url,
            role = self.emulator.ready().template_role,
        )
    }
}

/// The address that was asked for; else the usual one; else a free one.
async fn site_listener(asked: Option<SocketAddr>) -> anyhow::Result<Bound> {
    if let Some(address) = asked {
        if !address.ip().is_loopback() {
            return Err(not_loopback("--site", address).into());
        }
        return Bound::tcp(address).await.map_err(|error| unbound("--site", address, &error).into());
    }
    match Bound::tcp((Ipv4Addr::LOCALHOST, SITE_PORT).into()).await {
        Ok(bound) => Ok(bound),
        Err(_) => Bound::tcp((Ipv4Addr::LOCALHOST, 0).into()).await.context("no free port for the website"),
    }
}

/// An address for the public listener. Its origin must be in the settings before it listens, so it is
/// chosen by binding and letting go; the kernel does not hand the same port out again at once.
fn free_address() -> anyhow::Result<SocketAddr> {
    let probe = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port")?;
    Ok(probe.local_addr()?)
}

/// Base64 of 32 random bytes.
fn random_key() -> anyhow::Result<String> {
    let mut key = [0; 32];
    rand::fill(&mut key).map_err(|_| anyhow!("the system gives no random bytes"))?;
    Ok(BASE64.encode(key))
}

/// What the daemon is told of the website.
struct Website<'a> {
    origin: &'a str,
    webhook_secret: &'a str,
}

/// The daemon's settings, as they would be in a file.
fn settings(
    emulator: &emulator::Ready,
    key: &Added,
    site: &Website<'_>,
    public: SocketAddr,
    state: &Path,
) -> anyhow::Result<String> {
    // A path may hold a quote; JSON's escapes are TOML's, too.
    let quoted = |path: &Path| serde_json::to_string(&path.display().to_string());
    Ok(format!(
        "\
[upstream]
environment = \"emulator\"
oauth_url = \"{oauth_url}\"
[senders.system]
integration_key = \"{integration_key}\"
user_id = \"{user_id}\"
keys = [{private_key}]
[api]
listen = \"127.0.0.1:0\"
[public]
listen = \"{public}\"
base_url = \"http://{public}\"
[public.brand]
name = \"Alder & Quill\"
color = \"#0f4c40\"
background = \"#fbf9f4\"
[ops]
listen = \"127.0.0.1:0\"
[callers.{CALLER}]
key_hash = \"{key_hash}\"
return_origins = [\"{site}\"]
[webhooks.{CALLER}]
url = \"{site}{HOOK_PATH}\"
secrets = [\"{webhook_secret}\"]
allow_private = true
[templates]
nda = \"{template_id}\"
[store]
url = {store}
seal_key = \"{seal_key}\"
synchronous = \"normal\"
[connect]
hmac_keys = [\"{hmac_key}\"]
[stop]
grace = \"0s\"
deadline = \"5s\"
[log]
level = \"warn\"
",
        oauth_url = emulator.oauth_url,
        integration_key = emulator.integration_key,
        user_id = emulator.user_id,
        private_key = quoted(&emulator.private_key_file)?,
        key_hash = key.key_hash,
        template_id = emulator.template_id,
        store = serde_json::to_string(&format!("sqlite://{}", state.join("demo.db").display()))?,
        site = site.origin,
        webhook_secret = site.webhook_secret,
        seal_key = random_key()?,
        hmac_key = emulator.connect_hmac_key,
    ))
}

/// A directory of this run, removed at its end.
struct State(PathBuf);

impl State {
    fn new() -> anyhow::Result<Self> {
        use std::os::unix::fs::DirBuilderExt as _;
        let path = std::env::temp_dir().join(format!("countersign-demo-{}", uuid::Uuid::new_v4().simple()));
        // Keys will be in it.
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self(path))
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for State {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
