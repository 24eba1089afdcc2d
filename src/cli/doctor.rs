//! `countersign doctor`: what holds, what does not, and what to do about it.

use std::{path::PathBuf, process::ExitCode, sync::Arc};

use super::{NoSuchSender, output, progress::Progress};
use crate::{
    clock::SystemClock,
    config::{Config, Variables},
    doctor::{self, Reach, Report},
};

/// Walks the whole chain from the settings to DocuSign: one line a check, a fix for each failure.
///
/// It ends with 0 where no check failed, with 1 where one did, and with 64 where the settings themselves cannot be used: that
/// is the only check then.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The settings file; left out: the defaults and the variables `COUNTERSIGN__…` alone.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Ask only this machine, not DocuSign.
    #[arg(long)]
    offline: bool,
    /// Look at this sender alone; left out: at all of them.
    #[arg(long, value_name = "NAME")]
    sender: Option<String>,
    /// Only `{ok, checks: [{name, sender, status, code, detail, fix}]}`, for programs.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let loaded = Config::load(args.config.as_deref(), &Variables::of_process());
    let config = match loaded {
        Ok(config) => config,
        Err(error) => {
            print(&Report::of_bad_settings(&error), args.json)?;
            return Err(error.into());
        }
    };
    let only = args.sender.as_deref();
    if only.is_some_and(|name| !config.senders.contains_key(name)) {
        return Err(NoSuchSender::of(only, &config).into());
    }
    let reach = if args.offline { Reach::Offline } else { Reach::Online };
    let progress = (!args.json).then(|| Progress::start("walking the chain"));
    let report = doctor::examine(&config, only, Arc::new(SystemClock), reach).await;
    drop(progress);
    print(&report, args.json)?;
    Ok(if report.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print(report: &Report, json: bool) -> anyhow::Result<()> {
    if json { output::line(serde_json::to_string(report)?) } else { output::line(report) }
}
