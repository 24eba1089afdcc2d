//! `countersign openapi`: our own OpenAPI document.

use std::process::ExitCode;

use super::output;
use crate::api::openapi;

/// Prints the OpenAPI 3.1 document of the API; the daemon serves the same at /openapi.json.
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

/// Runs the command.
#[expect(clippy::unused_async, reason = "every command has this shape")]
pub(super) async fn run(_: Args) -> anyhow::Result<ExitCode> {
    output::line(serde_json::to_string_pretty(&openapi::document())?)?;
    Ok(ExitCode::SUCCESS)
}
