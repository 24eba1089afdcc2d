//! `countersign caller`: API keys.
//!
//! A key is shown once, when it is made; the settings hold only its hash. It is 32 random bytes, so a
//! plain SHA-256 protects it: there is nothing to guess.

use std::process::ExitCode;

use serde::Serialize;

use super::output;
use crate::{
    config::check_name,
    digest::{hex, sha256},
    secret_text::random,
};

/// Makes keys for callers of the API.
#[derive(Debug, clap::Args)]
#[command(arg_required_else_help = true)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Makes an API key, shows it once, and prints the lines for the settings.
    Add(Add),
}

#[derive(Debug, clap::Args)]
struct Add {
    /// The caller's name in the settings.
    #[arg(value_parser = name)]
    name: String,
    /// Only `{name, key, key_hash}`, for programs.
    #[arg(long)]
    json: bool,
}

/// A new key and what the settings get of it.
#[derive(Serialize)]
pub(super) struct Added {
    pub(super) name: String,
    pub(super) key: String,
    pub(super) key_hash: String,
}

/// Runs the command.
#[expect(clippy::unused_async, reason = "every command has this shape")]
pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Command::Add(add) = args.command;
    let added = Added::new(add.name);
    if add.json {
        output::line(serde_json::to_string(&added)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    output::line(format_args!(
        "API key of {name}, shown this once; the caller sends it as \"Authorization: Bearer …\":\n\n    {key}\n\n\
         For the settings, in place of a table [callers.{name}] that stands there (keep its senders and rate):\n\n\
         [callers.{name}]\nkey_hash = \"{hash}\"\n\
         return_origins = [\"https://www.example.com\"]   # where visitors may be sent back to",
        name = added.name,
        key = added.key,
        hash = added.key_hash,
    ))?;
    Ok(ExitCode::SUCCESS)
}

impl Added {
    /// Makes a key for the caller `name`.
    pub(super) fn new(name: String) -> Self {
        let key = format!("cs_{}", random::<32>());
        let key_hash = format!("sha256:{}", hex(&sha256(key.as_bytes())));
        Self { name, key, key_hash }
    }
}

fn name(text: &str) -> Result<String, &'static str> {
    check_name(text).map(|()| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_key_fits_into_the_settings_and_is_never_the_same() {
        let (one, two) = (Added::new("website".into()), Added::new("website".into()));
        assert_ne!(one.key, two.key);
        assert_eq!(one.key.len(), 3 + 43);
        let config = crate::config::Config::from_toml(&format!(
            "[senders.system]\nintegration_key = \"5e0b1c8d-9a47-4c7e-8d21-6f3a2b900001\"\n\
             user_id = \"b7d7a1c4-52e8-4d0f-9b6a-7e3f0c210001\"\nkeys = [\"key.pem\"]\n\
             [store]\nseal_key = \"QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWY=\"\n\
             [callers.{}]\nkey_hash = \"{}\"\n",
            one.name, one.key_hash
        ))
        .unwrap();
        assert_eq!(config.callers["website"].key_hashes[0].as_bytes(), &sha256(one.key.as_bytes()));
    }
}
