//! `countersign audit`: checking the audit log (rule S6), and the evidence that was taken out of it.

use std::{
    fs::File,
    io::{BufRead as _, BufReader, Read as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context as _;

use super::{output, progress::Reading};
use crate::{
    audit::{Head, chain, mark::Mark, noted},
    evidence::{self, About, Verified},
};

/// Checks the log of what the key was used for.
#[derive(Debug, clap::Args)]
#[command(arg_required_else_help = true)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Checks the chain, and prints how many lines it has and its head; or checks a bundle of evidence.
    ///
    /// Finds every line that was changed, taken out, added, moved or repeated. Missing lines at the end (or an older
    /// copy) are found by comparison with FILE.head, which the daemon keeps beside the log, so copy both. A file made
    /// anew is found only against a head noted on another machine: the daemon writes it into its log at start and at
    /// the end, this command prints it, and `--head` compares, however far the log has come since.
    ///
    /// A file that is a bundle of evidence (`GET /v1/signings/{id}/evidence`) is checked as one: that nothing in it
    /// was changed, who signed it, and that its lines of the audit log are whole; with log files beside it also
    /// that the log holds these very lines.
    Verify(Verify),
}

#[derive(Debug, clap::Args)]
struct Verify {
    /// The log; after a rotation several, the oldest first. Or bundles of evidence, with or without the log.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The head that the chain before these files ended with (SEQ:HASH); left out: they begin with line 1.
    #[arg(long, value_name = "HEAD")]
    after: Option<Head>,
    /// A head noted earlier, which the chain must go through or end with (SEQ:HASH). Of a rotated log name the
    /// files from the one that holds that line.
    #[arg(long, value_name = "HEAD")]
    head: Option<Head>,
    /// The JWK set that bundles must be signed with: /.well-known/jwks.json, noted when it was known to be
    /// right. Left out: the key in the bundle, whose thumbprint is printed.
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
}

/// Runs the command.
#[expect(clippy::unused_async, reason = "every command has this shape")]
pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Command::Verify(verify) = args.command;
    let (mut bundles, mut logs) = (Vec::new(), Vec::new());
    for path in &verify.files {
        if is_zip(path)? { bundles.push(path) } else { logs.push(path) }
    }
    let keys = verify
        .keys
        .as_ref()
        .map(|path| std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display())));
    let keys = keys.transpose()?;
    let mut verified = Vec::new();
    for path in bundles {
        match check_bundle(path, keys.as_deref())? {
            Some(good) => verified.push((path, good)),
            None => return Ok(ExitCode::FAILURE),
        }
    }
    if !logs.is_empty() && !check_log(&logs, verify.after, verify.head.as_ref())? {
        return Ok(ExitCode::FAILURE);
    }
    for (path, good) in verified {
        if !logs.is_empty() && !is_in(&good, &logs)? {
            output::note(format_args!("{}: the log does not hold all of its lines", path.display()));
            return Ok(ExitCode::FAILURE);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Checks the chain through these files; says what is wrong with it.
fn check_log(files: &[&PathBuf], after: Option<Head>, wanted: Option<&Head>) -> anyhow::Result<bool> {
    let begin = after.unwrap_or_else(Head::genesis);
    let mut head = begin.clone();
    // Read first: the log of a running daemon is never behind it.
    let known = files.last().map(|last| noted::read(last)).transpose().context("the noted head")?.flatten();
    let mut mark = known.map(Mark::new);
    let mut wanted_mark = wanted.map(|wanted| Mark::after(&begin, wanted.clone()));
    let reading = Reading::start("checking the chain", length(files)?);
    for path in files {
        let marks = mark.iter_mut().chain(&mut wanted_mark);
        head = match chain::verify_past(BufReader::new(reading.of(open(path)?)), Some(&head), marks) {
            Ok(head) => head,
            Err(broken) => {
                drop(reading);
                let is_first = begin == Head::genesis() && head == begin && broken.line == 1;
                if is_first && matches!(broken.why, chain::Unsound::Link) {
                    output::note(format_args!(
                        "{}: it begins in the middle of a chain, as the file of a rotated log does: name the files before \
                         it first, oldest first, or give --after with the number and hash of the last line before it",
                        path.display()
                    ));
                } else {
                    output::note(format_args!("{}: broken at {broken}", path.display()));
                }
                return Ok(false);
            }
        };
    }
    drop(reading);
    if let Some(Err(unsound)) = wanted_mark.map(|mark| mark.require(&head)) {
        output::note(unsound);
        return Ok(false);
    }
    match mark.map(|mark| mark.check(&head)) {
        Some(Err(unsound)) => {
            output::note(unsound);
            return Ok(false);
        }
        None if wanted.is_none_or(|wanted| *wanted != head) => {
            output::note(
                "no FILE.head beside it, nor a --head that it ends with: missing lines at its end do not show",
            );
        }
        Some(Ok(())) | None => {}
    }
    output::line(format_args!("good: {} line(s), head {head}", head.seq - begin.seq))?;
    Ok(true)
}

/// Checks a bundle of evidence; says what is wrong with it.
fn check_bundle(path: &Path, keys: Option<&str>) -> anyhow::Result<Option<Verified>> {
    let mut bytes = Vec::new();
    open(path)?.read_to_end(&mut bytes).with_context(|| format!("cannot read {}", path.display()))?;
    match evidence::verify(&bytes, keys) {
        Ok(good) => {
            output::line(format_args!(
                "good: evidence of {} ({}), made {}, {} file(s), {} line(s) of the audit log, signed with key {}{}",
                good.about.signing,
                good.about.status,
                good.about.made_at,
                good.files,
                good.audit.len(),
                good.key,
                if keys.is_some() { "" } else { " (compare it with /.well-known/jwks.json, or give --keys)" },
            ))?;
            note_what_is_missing(&good.about);
            Ok(Some(good))
        }
        Err(unproven) => {
            output::note(format_args!("{}: {unproven}", path.display()));
            Ok(None)
        }
    }
}

/// Says what there was and is not in a bundle.
fn note_what_is_missing(about: &About) {
    if about.events_left_out > 0 {
        output::note(format_args!(
            "{} older event(s) are not in it: it had no room for them",
            about.events_left_out
        ));
    }
    if about.personal_data_destroyed {
        output::note(
            "personal data and the events that DocuSign had sent were destroyed before it was made, as store.retention \
             says: how many events those were is not known",
        );
    } else if let Some(since) = about.events_since {
        output::note(format_args!(
            "older events were destroyed before it was made, as store.retention says: those that came before {since}; \
             how many, if any, is not known"
        ));
    }
}

/// Whether a log holds every line of a bundle, byte for byte.
fn is_in(bundle: &Verified, logs: &[&PathBuf]) -> anyhow::Result<bool> {
    let mut missing = bundle.audit.clone();
    for path in logs {
        for line in BufReader::new(open(path)?).split(b'\n') {
            let line = line.with_context(|| format!("cannot read {}", path.display()))?;
            missing.retain(|_, wanted| *wanted != line);
        }
    }
    Ok(missing.is_empty())
}

/// Of all these files together, in bytes.
fn length(files: &[&PathBuf]) -> anyhow::Result<u64> {
    files.iter().try_fold(0, |before, path| {
        let metadata = path.metadata().with_context(|| format!("cannot open {}", path.display()))?;
        Ok(before + metadata.len())
    })
}

fn open(path: &Path) -> anyhow::Result<File> {
    File::open(path).with_context(|| format!("cannot open {}", path.display()))
}

fn is_zip(path: &Path) -> anyhow::Result<bool> {
    let mut begin = Vec::new();
    open(path)?.take(4).read_to_end(&mut begin).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(begin == b"PK\x03\x04")
}
