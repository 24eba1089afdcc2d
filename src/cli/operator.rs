//! `countersign operator`: the password of the status page.
//!
//! Like an API key it is shown once, when it is made; the settings hold only its hash. Unlike one it may be
//! chosen by people, so the hash is argon2id, which makes guessing dear (OWASP, "Password Storage", read
//! 2026-10: 19 MiB, 2 passes).

use std::{
    io::{BufRead as _, IsTerminal as _},
    process::ExitCode,
};

use anyhow::{Context as _, anyhow, bail};
use argon2::{Argon2, PasswordHasher as _, password_hash::SaltString};
use aws_lc_rs::rand;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;

use super::output;
use crate::secret_text::random;

/// Shorter ones are guessed.
const MIN_LENGTH: usize = 12;

/// Makes the password of the operators' status page.
#[derive(Debug, clap::Args)]
#[command(arg_required_else_help = true)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Makes a password, shows it once, and prints the line for the settings.
    Password(Password),
}

#[derive(Debug, clap::Args)]
struct Password {
    /// Hash a password of your own instead: its first line on standard input.
    #[arg(long)]
    stdin: bool,
    /// Only `{password, operator_password_hash}`, for programs; no password with --stdin.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Made<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    password: Option<&'a str>,
    operator_password_hash: String,
}

/// Runs the command.
pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Command::Password(asked) = args.command;
    // 144 random bits, which nobody guesses and a person can still copy.
    let password = if asked.stdin { given()? } else { random::<18>().into() };
    let hashed = password.clone();
    let hash = tokio::task::spawn_blocking(move || hash(&hashed)).await??;
    let shown = (!asked.stdin).then(|| password.expose_secret());
    if asked.json {
        let made = Made { password: shown, operator_password_hash: hash };
        output::line(serde_json::to_string(&made)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(password) = shown {
        output::line(format_args!("The operators' password, shown this once:\n\n    {password}\n"))?;
    }
    output::line(format_args!(
        "Under [ops] in the settings; then the status page is at /admin/ of the ops listener:\n\n\
         operator_password_hash = \"{hash}\""
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// The first line on standard input.
fn given() -> anyhow::Result<SecretString> {
    if std::io::stdin().is_terminal() {
        output::note("The password, then Enter (it is shown as you type):");
    }
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).context("cannot read the password")?;
    let password = line.trim_end_matches(['\r', '\n']);
    if password.chars().count() < MIN_LENGTH {
        bail!(
            "the password is shorter than {MIN_LENGTH} characters; take a longer one, or leave --stdin out"
        );
    }
    Ok(password.into())
}

fn hash(password: &SecretString) -> anyhow::Result<String> {
    let mut salt = [0; 16];
    rand::fill(&mut salt).map_err(|_| anyhow!("the system gives no random bytes"))?;
    let salt = SaltString::encode_b64(&salt).map_err(|error| anyhow!("no salt: {error}"))?;
    let hash = Argon2::default().hash_password(password.expose_secret().as_bytes(), &salt);
    Ok(hash.map_err(|error| anyhow!("cannot hash: {error}"))?.to_string())
}
