//! The command line: one file a command.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod emulate;

/// Lets a company website have its visitors sign DocuSign documents, without an account.
#[derive(Debug, Parser)]
#[command(name = "countersign", version)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the DocuSign emulator alone, for any DocuSign client.
    Emulate(emulate::Args),
}

/// Runs the command; what it answers is the exit code.
pub async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    match arguments.command {
        Command::Emulate(args) => emulate::run(args).await,
    }
}
