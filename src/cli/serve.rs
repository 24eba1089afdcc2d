//! `countersign serve`: the daemon.

use std::{path::PathBuf, process::ExitCode, sync::Arc};

use anyhow::Context as _;
use tokio::{
    runtime::Handle,
    signal::unix::{Signal, SignalKind, signal},
    sync::oneshot,
};

use crate::{
    app::{App, Inherited, Parts},
    cli::{open_files, private, ready_file, systemd::Manager},
    clock::{SharedClock, SystemClock},
    config::{Config, LogFormat, Variables},
    lifecycle::Lifecycle,
    telemetry::logging::{self, Format, LogControl},
};

/// Runs the daemon until SIGTERM or SIGINT; SIGHUP reads the settings again.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The settings file; left out: the defaults and the variables `COUNTERSIGN__…` alone.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Write a JSON object with the addresses here once the daemon listens.
    #[arg(long, value_name = "PATH")]
    ready_file: Option<PathBuf>,
}

pub(super) async fn run(args: Args, inherited: Inherited) -> anyhow::Result<ExitCode> {
    private::keep_memory().context("cannot keep this process out of cores")?;
    let (files_before, files) = open_files::raise();
    let config = Config::load(args.config.as_deref(), &Variables::of_process())?;
    if let Some(path) = &args.ready_file {
        ready_file::check(path)?;
    }
    let format = match config.log.format {
        LogFormat::Human => Format::Human,
        LogFormat::Json => Format::Json,
    };
    let level = config.log.level;
    let exposed = exposed(&config).to_vec();
    let is_deaf = config.public.base_url.is_some() && !config.has_hmac_keys();
    let life = Lifecycle::new();
    life.follow_signals().context("cannot follow signals")?;
    // From here on a SIGHUP is a wish and does not end the process.
    let hangups = signal(SignalKind::hangup()).context("cannot follow signals")?;
    let clock: SharedClock = Arc::new(SystemClock);
    let app = apart(App::build_on(inherited, config, Arc::clone(&clock), life.clone())).await?;
    // Only now: a start-up fault is exactly one line, and none of them is a log line.
    let log = logging::start(level, format).context("cannot start the log")?;
    private::keep_panics();
    tracing::debug!(files, files_before, "so many files may be open");
    let manager = Manager::of(&Variables::of_process());
    let ready = app.ready();
    tracing::info!(api = ready.api_url, public = ready.public_url, ops = ready.ops_url, "listening");
    if is_deaf {
        tracing::warn!(
            "public.base_url is set and there is no Connect key: no event of DocuSign's is believed, and what has become \
             of a signing is known when DocuSign is asked, once an hour; set connect.hmac_keys"
        );
    }
    warn_of(&exposed);
    let stopping = life.stopping();
    let reloads = Reloads {
        path: args.config.clone(),
        parts: app.parts(),
        log,
        manager: manager.clone(),
        api_url: ready.api_url.clone(),
    };
    life.spawn("reload", async move {
        tokio::select! {
            () = stopping.cancelled() => {}
            () = reloads.follow(hangups) => {}
        }
    });
    if let Some(path) = &args.ready_file {
        ready_file::write(path, &ready)?;
    }
    manager.ready(&ready.api_url);
    // Not tracked: it lives until the process ends.
    tokio::spawn(manager.follow(life.clone(), clock));
    app.run().await?;
    Ok(ExitCode::SUCCESS)
}

/// Files with secrets that others can read or write; those of an emulator are worth nothing.
fn exposed(config: &Config) -> &[PathBuf] {
    if config.upstream.is_emulator() { &[] } else { &config.exposed }
}

fn warn_of(exposed: &[PathBuf]) {
    for file in exposed {
        let file = file.display();
        tracing::warn!(
            "others can read or write {file}, which holds secrets: run chmod 600 {file}, as the user that the daemon runs as"
        );
    }
}

/// Does this on a thread that begins now. The allocator gives it the memory that the last one left, which read
/// the settings: with thousands of senders that is as much as all that is made from them, and stays empty else.
async fn apart<T: Send + 'static>(
    work: impl Future<Output = anyhow::Result<T>> + Send + 'static,
) -> anyhow::Result<T> {
    let (done, result) = oneshot::channel();
    let runtime = Handle::current();
    std::thread::Builder::new().name("start".to_owned()).spawn(move || {
        // Nobody waits any more only if the process ends.
        drop(done.send(runtime.block_on(work)));
    })?;
    result.await.context("the start panicked")?
}

/// Reads the settings again at each SIGHUP (rule H3).
struct Reloads {
    path: Option<PathBuf>,
    parts: Parts,
    log: LogControl,
    manager: Manager,
    api_url: String,
}

impl Reloads {
    async fn follow(self, mut hangups: Signal) {
        while hangups.recv().await.is_some() {
            self.manager.reloading();
            self.reload().await;
            self.manager.ready(&self.api_url);
        }
    }

    /// Bad settings change nothing and are one line in the log.
    async fn reload(&self) {
        let config = match Config::load(self.path.as_deref(), &Variables::of_process()) {
            Ok(config) => config,
            Err(error) => return tracing::error!(%error, "the settings were not reloaded; the old ones stay"),
        };
        match self.parts.reload(&config).await {
            Ok(()) => {
                self.log.set_level(config.log.level);
                tracing::info!(
                    "settings reloaded: callers, webhooks, Connect keys, certificates, senders' keys, operator \
                     password, log level"
                );
                warn_of(exposed(&config));
            }
            Err(error) => tracing::error!("the settings were not reloaded; the old ones stay: {error:#}"),
        }
    }
}
