//! `countersign emulate`: the emulator alone, until a signal ends it.

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;

use crate::{
    cli::{address, hangup, not_loopback, output, ready_file, unbound},
    clock::SystemClock,
    config::ConfigError,
    emulator::{self, Emulator, Options, Ready},
    lifecycle::Lifecycle,
};

/// Runs the emulated DocuSign alone, for any client of the real one, until it is stopped.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Address of the vendor's paths (loopback; port 0 takes a free one).
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8443", value_parser = address)]
    listen: SocketAddr,
    /// Address of the control interface (loopback).
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8444", value_parser = address)]
    control: SocketAddr,
    /// Speak TLS, with a CA made for this run. The official SDKs need it for OAuth.
    #[arg(long)]
    tls: bool,
    /// Seed of ids and faults.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// A plan of faults to arm from the start (TOML, `[[fault]]` or `[[faults]]` tables).
    #[arg(long, value_name = "FILE")]
    faults: Option<PathBuf>,
    /// Where to write the private keys and the CA (a temporary directory unless given). Each start
    /// makes new ones and forgets all envelopes.
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Write a JSON object with addresses and ids here once it listens.
    #[arg(long, value_name = "PATH")]
    ready_file: Option<PathBuf>,
}

pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let faults = match &args.faults {
        Some(path) => Some(read_faults(path)?),
        None => None,
    };
    if let Some(path) = &args.ready_file {
        check(path, args.state_dir.as_deref())?;
    }
    let life = Lifecycle::new();
    life.follow_signals().context("cannot follow signals")?;
    hangup::follow(&life).context("cannot follow signals")?;
    let options = Options {
        listen: args.listen,
        control: args.control,
        tls: args.tls,
        seed: args.seed,
        faults,
        state_dir: args.state_dir,
    };
    let has_state_dir = options.state_dir.is_some();
    let emulator = Emulator::start(options, Arc::new(SystemClock), &life)
        .await
        .map_err(|error| of_option(error, has_state_dir))?;
    if let Some(path) = &args.ready_file {
        ready_file::write(path, emulator.ready())?;
    }
    let told = output::line(introduction(emulator.ready()));
    if told.is_ok() {
        life.stopping().cancelled().await;
    }
    life.stop();
    life.drain(Duration::from_secs(10)).await;
    told?;
    Ok(if life.has_failed() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Refuses a ready file that cannot be written, before anything is begun.
fn check(ready_file: &Path, state_dir: Option<&Path>) -> Result<(), ConfigError> {
    if state_dir.is_some_and(|state_dir| absolute(state_dir) == absolute(ready_file)) {
        return Err(ready_file::refused(ready_file, &io::ErrorKind::IsADirectory.into()));
    }
    if makes_folder_of(ready_file, state_dir) { Ok(()) } else { ready_file::check(ready_file) }
}

/// Whether the folder of the ready file is made at the start, with that of the keys: then it cannot be tried before.
fn makes_folder_of(ready_file: &Path, state_dir: Option<&Path>) -> bool {
    let file = absolute(ready_file);
    let folder = file.parent().filter(|folder| !folder.exists());
    folder.zip(state_dir).is_some_and(|(folder, state_dir)| absolute(state_dir).starts_with(folder))
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

fn read_faults(path: &Path) -> Result<Vec<emulator::Fault>, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        let cause = format!("cannot read {}: {error}", path.display());
        ConfigError::new("--faults", cause, "name a file of [[fault]] or [[faults]] tables")
    })?;
    emulator::read_plan(&text).map_err(|problem| {
        let cause = format!("{}: {problem}", path.display());
        ConfigError::new("--faults", cause, "correct that place of the plan")
    })
}

/// Names the option that a start failed for, if it was one.
fn of_option(error: emulator::Error, has_state_dir: bool) -> anyhow::Error {
    match &error {
        emulator::Error::NotLoopback { option, address } => {
            not_loopback(&format!("--{option}"), *address).into()
        }
        emulator::Error::Bind { option, address, source } => {
            unbound(&format!("--{option}"), *address, source).into()
        }
        emulator::Error::File { path, source } if has_state_dir => {
            let cause = format!("cannot write {}: {source}", path.display());
            ConfigError::new("--state-dir", cause, "name a folder that is there or can be made").into()
        }
        emulator::Error::StateDirTaken { path } => {
            let cause = format!("another emulator uses {}", path.display());
            ConfigError::new("--state-dir", cause, "stop it, or name a folder of this one's own").into()
        }
        _ => error.into(),
    }
}

fn introduction(ready: &Ready) -> String {
    let ca = ready.ca_file.as_ref().map(|path| path.display().to_string());
    let shown = ca.as_deref().unwrap_or("none (plain HTTP; the official SDKs need --tls for OAuth)");
    format!(
        "\
DocuSign emulator
  account server    {oauth_url}   (OAuth base path, and `aud`: {oauth_host})
  REST base path    {base_url}/restapi
  control           {control_url}   (its calls are below /_test)
  CA certificate    {shown}
  integration key   {integration_key}
  user              {user_id}   (has consented)
  user              {no_consent}   (has not)
  account           {account_id}
  private key       {key}
  template          {template_id}   (role {template_role})
  brand             {brand_id}
  Connect HMAC key  {hmac}   (the same at each start: worth nothing)

Official SDKs
{sdks}",
        oauth_url = ready.oauth_url,
        oauth_host = ready.oauth_host,
        base_url = ready.base_url,
        control_url = ready.control_url,
        integration_key = ready.integration_key,
        user_id = ready.user_id,
        no_consent = ready.no_consent_user_id,
        account_id = ready.account_id,
        key = ready.private_key_file.display(),
        template_id = ready.template_id,
        template_role = ready.template_role,
        brand_id = ready.brand_id,
        hmac = ready.connect_hmac_key,
        sdks = sdks(ready, ca.as_deref()),
    )
}

/// Lines to paste. Without TLS there is no certificate to trust, and so no line that speaks of one.
fn sdks(ready: &Ready, ca: Option<&str>) -> String {
    let (base_url, oauth_host) = (&ready.base_url, &ready.oauth_host);
    let python =
        ca.map(|ca| format!("Configuration().ssl_ca_cert = \"{ca}\" before ApiClient();\n          "));
    let node = ca.map(|ca| format!("NODE_EXTRA_CA_CERTS={ca}; "));
    format!(
        "  Python  {python}ApiClient(host=\"{base_url}/restapi\", oauth_host_name=\"{oauth_host}\")\n  \
         Node    {node}setBasePath(\"{base_url}/restapi\"), then setOAuthBasePath(\"{oauth_host}\")\n",
        python = python.unwrap_or_default(),
        node = node.unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_folder_that_the_start_makes_may_be_missing() {
        let folder = std::env::temp_dir().join(format!("countersign-none-{}", std::process::id()));
        let (file, state) = (folder.join("ready.json"), folder.join("state"));
        assert!(makes_folder_of(&file, Some(&folder)) && makes_folder_of(&file, Some(&state)));
        assert!(!makes_folder_of(&file, None) && !makes_folder_of(&file, Some(&std::env::temp_dir())));
        assert!(!makes_folder_of(&state.join("ready.json"), Some(&folder)), "nothing makes this one");
        assert!(!makes_folder_of(&std::env::temp_dir().join("ready.json"), Some(&folder)), "it is there");
        assert!(!makes_folder_of(Path::new("ready.json"), Some(Path::new("state"))), "so is this one");
        let (file, state) = (Path::new("./no-such-folder/ready.json"), Path::new("no-such-folder"));
        assert!(makes_folder_of(file, Some(state)), "one folder, written in two ways");
        let refused = check(Path::new("./no-such-folder"), Some(state)).unwrap_err().to_string();
        assert!(refused.contains("cannot write ./no-such-folder: is a directory"), "{refused}");
    }

    #[test]
    fn without_tls_no_line_to_paste_speaks_of_a_certificate() {
        let ready = |ca_file: Option<PathBuf>| Ready {
            pid: 1,
            oauth_host: "127.0.0.1:8443".into(),
            oauth_url: "http://127.0.0.1:8443".into(),
            base_url: "http://127.0.0.1:8443".into(),
            control_url: "http://127.0.0.1:8444".into(),
            ca_file,
            integration_key: String::new(),
            user_id: String::new(),
            no_consent_user_id: String::new(),
            account_id: String::new(),
            private_key_file: PathBuf::new(),
            template_id: String::new(),
            template_role: String::new(),
            brand_id: String::new(),
            connect_hmac_key: String::new(),
        };
        let plain = introduction(&ready(None));
        let (_, to_paste) = plain.split_once("Official SDKs").unwrap();
        assert!(to_paste.contains("setBasePath(") && to_paste.contains("ApiClient(host="), "{to_paste}");
        assert!(!to_paste.contains("none") && !to_paste.contains("CA_CERTS"), "{to_paste}");
        let with_tls = introduction(&ready(Some("/x/ca.pem".into())));
        assert!(
            with_tls.contains("ssl_ca_cert = \"/x/ca.pem\"")
                && with_tls.contains("NODE_EXTRA_CA_CERTS=/x/ca.pem;")
        );
    }
}
