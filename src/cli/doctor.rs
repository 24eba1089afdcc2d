//! `countersign doctor`: what holds, what does not, and what to do about it.

use std::{path::PathBuf, process::ExitCode, sync::Arc};

use super::{output, progress::Progress};
use crate::{
    clock::SystemClock,
    config::{Config, ConfigError, Variables},
    doctor::{self, Reach, Report},
};

/// Walks the whole chain from the settings to DocuSign: one line a check, a fix for each failure.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The settings file.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Ask only this machine, not DocuSign.
    #[arg(long)]
    offline: bool,
    /// Look at this sender alone; left out: at all of them.
    #[arg(long, value_name = "NAME")]
    sender: Option<String>,
    /// Only `{ok, checks: [{name, sender, status, detail, fix}]}`, for programs.
    #[arg(long)]
    json: bool,
}

/// The settings with no sender but the one that is meant.
fn narrowed(mut config: Config, sender: Option<&str>) -> Result<Config, ConfigError> {
    let Some(wanted) = sender else { return Ok(config) };
    if !config.senders.contains_key(wanted) {
        let names: Vec<&str> = config.senders.keys().map(String::as_str).take(20).collect();
        let fix = format!("give --sender with one of: {}", names.join(", "));
        return Err(ConfigError::new("senders", format!("there is none named {wanted}"), fix));
    }
    config.senders.retain(|name, _| name == wanted);
    Ok(config)
}

/// Runs the command.
pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let loaded = Config::load(args.config.as_deref(), &Variables::of_process());
    let config = match loaded.and_then(|config| narrowed(config, args.sender.as_deref())) {
        Ok(config) => config,
        Err(error) => {
            if args.json {
                output::line(serde_json::to_string(&Report::of_bad_settings(&error))?);
            }
            return Err(error.into());
        }
    };
    let reach = if args.offline { Reach::Offline } else { Reach::Online };
    let progress = (!args.json).then(|| Progress::start("walking the chain"));
    let report = doctor::examine(&config, Arc::new(SystemClock), reach).await;
    drop(progress);
    if args.json {
        output::line(serde_json::to_string(&report)?);
    } else {
        output::line(&report);
    }
    Ok(if report.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
