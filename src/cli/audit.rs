//! `countersign audit`: checking the audit log (rule S6).

use std::{fs::File, io::BufReader, path::PathBuf, process::ExitCode};

use anyhow::Context as _;

use super::output;
use crate::audit::{Head, chain};

/// Checks the log of what the key was used for.
#[derive(Debug, clap::Args)]
#[command(arg_required_else_help = true)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Checks the chain, and prints how many lines it has and its head.
    Verify(Verify),
}

/// Finds every line that was changed, taken out, added, moved or repeated. Lines missing at the very end,
/// and a whole file made anew, show only against a head noted elsewhere: the daemon writes it into its log
/// at start and at the end, and `--head` compares.
#[derive(Debug, clap::Args)]
struct Verify {
    /// The file; after a rotation several, the oldest first.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The head that the chain before these files ended with (SEQ:HASH); left out: they begin with line 1.
    #[arg(long, value_name = "HEAD")]
    after: Option<Head>,
    /// The head that the chain must end with (SEQ:HASH).
    #[arg(long, value_name = "HEAD")]
    head: Option<Head>,
}

/// Runs the command.
#[expect(clippy::unused_async, reason = "every command has this shape")]
pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Command::Verify(verify) = args.command;
    let begin = verify.after.unwrap_or_else(Head::genesis);
    let mut head = begin.clone();
    for path in &verify.files {
        let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
        head = match chain::verify(BufReader::new(file), Some(&head)) {
            Ok(head) => head,
            Err(broken) => {
                output::note(format_args!("{}: broken at {broken}", path.display()));
                return Ok(ExitCode::FAILURE);
            }
        };
    }
    if let Some(wanted) = verify.head.filter(|wanted| *wanted != head) {
        output::note(format_args!("the chain ends with {head}, not with {wanted}: it was cut, or made anew"));
        return Ok(ExitCode::FAILURE);
    }
    output::line(format_args!("good: {} line(s), head {head}", head.seq - begin.seq));
    Ok(ExitCode::SUCCESS)
}
