//! Arguments -> config -> app -> exit code.

use std::process::ExitCode;

use clap::Parser as _;
use countersign::cli;

#[tokio::main]
async fn main() -> ExitCode {
    match cli::run(cli::Arguments::parse()).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("countersign: {error:#}");
            ExitCode::FAILURE
        }
    }
}
