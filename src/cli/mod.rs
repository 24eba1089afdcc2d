//! The command line: one file a subcommand, each with `Args` and `run`.
//!
//! The only place that writes to the terminal: results on standard output, everything else on
//! standard error, so that with `--json` nothing else is on standard output. Exit codes: 0 good,
//! 1 failed, 2 wrong arguments, 64 bad settings.

mod audit;
mod caller;
mod consent;
mod demo;
mod doctor;
mod emulate;
mod forward;
mod hangup;
mod keygen;
mod listen;
mod open_files;
mod openapi;
mod operator;
mod output;
mod private;
pub mod progress;
pub mod ready_file;
mod serve;
mod systemd;
mod trigger;

use std::{ffi::OsString, io, net::SocketAddr, process::ExitCode, time::Duration};

use clap::{Parser, Subcommand};
use url::Url;

use crate::{
    app::Inherited,
    auth::signer_process,
    config::{Config, ConfigError},
    pdf,
};

/// Something was tried and did not work.
const FAILED: u8 = 1;

/// The arguments name what there is not; clap ends with the same.
const BAD_ARGUMENTS: u8 = 2;

/// The settings cannot be used; `EX_USAGE` of sysexits.h, as Postfix and others use it.
const BAD_SETTINGS: u8 = 64;

/// Embedded DocuSign signing for a company website, without accounts for its visitors.
#[derive(Debug, Parser)]
#[command(name = "countersign", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Audit(audit::Args),
    Caller(caller::Args),
    Consent(consent::Args),
    Demo(demo::Args),
    Doctor(doctor::Args),
    Emulate(emulate::Args),
    Keygen(keygen::Args),
    Listen(listen::Args),
    Openapi(openapi::Args),
    Operator(operator::Args),
    Serve(serve::Args),
    /// Reads PDFs for the daemon, which starts it itself.
    #[command(name = pdf::COMMAND, hide = true)]
    PdfProcess,
    /// Holds private keys for the daemon, which starts it itself.
    #[command(name = signer_process::COMMAND, hide = true)]
    SignerProcess,
    Trigger(trigger::Args),
}

/// Does what the arguments say; the first of them is the program's name.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(refusal) => {
            // Nobody is left to tell if the terminal is gone.
            let _ = refusal.print();
            return u8::try_from(refusal.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from);
        }
    };
    // One thread, and no runtime: these have nothing to wait for but their daemon.
    let served = match cli.command {
        Command::PdfProcess => Some(pdf::child::run()),
        Command::SignerProcess => Some(signer_process::child::run()),
        _ => None,
    };
    if let Some(served) = served {
        return match served {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => complain(&anyhow::Error::new(error)),
        };
    }
    let inherited = match systemd::sockets() {
        Ok(inherited) => inherited,
        Err(error) => return complain(&error),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return complain(&anyhow::Error::new(error).context("cannot start threads")),
    };
    let ended = runtime.block_on(dispatch(cli.command, inherited)).unwrap_or_else(|error| complain(&error));
    // A disk that hangs must not keep what has ended.
    runtime.shutdown_timeout(Duration::from_secs(1));
    ended
}

async fn dispatch(command: Command, inherited: Inherited) -> anyhow::Result<ExitCode> {
    match command {
        Command::Audit(args) => audit::run(args).await,
        Command::Caller(args) => caller::run(args).await,
        Command::Consent(args) => consent::run(args).await,
        // It holds a daemon, an emulator and a website: too much for the stack.
        Command::Demo(args) => Box::pin(demo::run(args)).await,
        Command::Doctor(args) => doctor::run(args).await,
        Command::Emulate(args) => emulate::run(args).await,
        Command::Keygen(args) => keygen::run(args).await,
        Command::Listen(args) => listen::run(args).await,
        Command::Openapi(args) => openapi::run(args).await,
        Command::Operator(args) => operator::run(args).await,
        Command::Serve(args) => Box::pin(serve::run(args, inherited)).await,
        Command::PdfProcess | Command::SignerProcess => Ok(ExitCode::SUCCESS),
        Command::Trigger(args) => trigger::run(args).await,
    }
}

/// An argument that can be judged only by the settings: which sender is meant.
#[derive(Debug, thiserror::Error)]
#[error("{cause}: one of {names}")]
struct NoSuchSender {
    cause: String,
    names: String,
}

impl NoSuchSender {
    /// None of that name, or none named where there are several.
    fn of(wanted: Option<&str>, config: &Config) -> Self {
        let names: Vec<&str> = config.senders.keys().map(String::as_str).take(20).collect();
        let cause = match wanted {
            Some(wanted) => format!("--sender {wanted} is not configured, name another"),
            None => "--sender is needed where several senders are configured".to_owned(),
        };
        Self { cause, names: names.join(", ") }
    }
}

/// An address to listen at, of an option.
fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "write an IP address and a port, such as 127.0.0.1:8443".to_owned())
}

/// An address to ask, of an option; any other would be tried for ever. A setting `listen` has none of `http://`: copied
/// from there, it is no URL at all, or one whose scheme is the name of the host.
fn web_url(text: &str) -> Result<Url, String> {
    match Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Ok(url),
        Ok(url) if url.scheme() == "unix" => {
            Err("unix sockets are not supported here; forward a TCP port to it (socat \
                 TCP-LISTEN:8080,bind=127.0.0.1,fork UNIX-CONNECT:/path) and give that http:// address"
                .to_owned())
        }
        _ => Err("write an http:// or https:// address".to_owned()),
    }
}

/// An address of an option that others than this machine could reach.
fn not_loopback(option: &str, address: SocketAddr) -> ConfigError {
    let cause = format!("{address} is no loopback address, and this is for this machine alone");
    ConfigError::new(option, cause, "give an address such as 127.0.0.1:0")
}

/// An address of an option that cannot be listened on.
fn unbound(option: &str, address: SocketAddr, error: &io::Error) -> ConfigError {
    let fix = "stop what listens there, or give another address (port 0: a free one)";
    ConfigError::new(option, format!("cannot listen on {address}: {error}"), fix)
}

/// Prints a failure as one line and chooses the exit code.
fn complain(error: &anyhow::Error) -> ExitCode {
    let text: String = format!("{error:#}").chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    output::note(format_args!("countersign: {text}"));
    let is_settings = error.chain().any(<dyn std::error::Error>::is::<ConfigError>);
    let is_argument = error.is::<NoSuchSender>();
    ExitCode::from(if is_settings {
        BAD_SETTINGS
    } else if is_argument {
        BAD_ARGUMENTS
    } else {
        FAILED
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_that_can_be_asked_are_taken() {
        assert!(web_url("http://127.0.0.1:8080").is_ok() && web_url("https://api.example.com").is_ok());
        assert!(web_url("unix:/run/countersign.sock").unwrap_err().contains("UNIX-CONNECT"));
        for bad in ["ftp://a", "127.0.0.1:8080", "localhost:8444", "[::1]:8080", "/run/x", "http:", ""] {
            assert_eq!(web_url(bad).unwrap_err(), "write an http:// or https:// address", "{bad}");
        }
    }
}
