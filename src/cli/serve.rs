//! `countersign serve`: the daemon.

use std::{path::PathBuf, process::ExitCode, sync::Arc};

use anyhow::Context as _;

use crate::{
    app::App,
    cli::ready_file,
    clock::SystemClock,
    config::{Config, LogFormat, Variables},
    lifecycle::Lifecycle,
    telemetry::logging::{self, Format},
};

/// Runs the daemon until SIGTERM or SIGINT.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The settings file.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Write a JSON object with the addresses here once the daemon listens.
    #[arg(long, value_name = "PATH")]
    ready_file: Option<PathBuf>,
}

pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let config = Config::load(args.config.as_deref(), &Variables::of_process())?;
    let format = match config.log.format {
        LogFormat::Human => Format::Human,
        LogFormat::Json => Format::Json,
    };
    let level = config.log.level;
    let life = Lifecycle::new();
    life.follow_signals().context("cannot follow signals")?;
    let app = App::build(config, Arc::new(SystemClock), life).await?;
    // Only now: a start-up fault is exactly one line, and none of them is a log line.
    let _log = logging::start(level, format).context("cannot start the log")?;
    let ready = app.ready();
    tracing::info!(api = ready.api_url, public = ready.public_url, ops = ready.ops_url, "listening");
    if let Some(path) = &args.ready_file {
        ready_file::write(path, &ready)?;
    }
    app.run().await?;
    Ok(ExitCode::SUCCESS)
}
