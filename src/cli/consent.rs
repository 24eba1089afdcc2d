//! `countersign consent`: where to consent, and whether it took (rule T11).

use std::{path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use anyhow::Context as _;

use super::{NoSuchSender, output, progress::Progress};
use crate::{
    app,
    auth::{Auth, Error, Kind, consent, consent_state::ConsentStates},
    clock::{SharedClock, SystemClock},
    config::{Config, Variables},
};

/// How often a grant is tried. The account server answers a missing consent at once.
const TRY_EVERY: Duration = Duration::from_secs(3);

/// How often while something else stands in the way that a person has to mend, at DocuSign or here.
const TRY_EVERY_SLOWLY: Duration = Duration::from_secs(10);

/// Prints the exact consent URLs of a sender.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The settings file; left out: the defaults and the variables `COUNTERSIGN__…` alone.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The sender; needed if there are several.
    #[arg(long, value_name = "NAME")]
    sender: Option<String>,
    /// Try a real grant until it works.
    #[arg(long)]
    wait: bool,
    /// Give up waiting after this many seconds; left out: never.
    #[arg(long, value_name = "SECONDS", requires = "wait")]
    timeout: Option<u64>,
}

/// Runs the command.
pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let config = Config::load(args.config.as_deref(), &Variables::of_process())?;
    let clock: SharedClock = Arc::new(SystemClock);
    let name = sender(&config, args.sender.as_deref())?;
    let user = config.senders[name].user_id.with_context(|| {
        format!("a customer connects this sender: give them the link of GET /v1/senders/{name}/connect")
    })?;
    let auth = app::auth_of(&config, &clock).await?;
    let redirect = consent::redirect_uri(config.public.origin());
    // With our state, the daemon that the browser comes back to can tell whether the right user consented.
    let (secret, older) = config.store.secrets();
    let states = ConsentStates::derive(&secret, &older);
    let asked = config.public.base_url.as_ref().map(|_| states.issue(name, clock.now()));
    let urls = auth.consent_urls(name, &redirect, asked.as_ref()).context("no consent URL can be made")?;
    output::line(format_args!(
        "As the impersonated user ({user}):\n\n    {}\n\n\
         As an administrator of a customer's organisation, for all users of its claimed domains:\n\n    {}\n\n\
         (Your own organisation: DocuSign Admin > Connected Apps.)\n\n\
         {redirect} must be a redirect URI of the app in Apps and Keys.",
        urls.individual, urls.organisation,
    ))?;
    if !args.wait {
        return Ok(ExitCode::SUCCESS);
    }
    let worked = wait(&auth, name, &clock, args.timeout.map(Duration::from_secs)).await;
    auth.close();
    Ok(if worked { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The sender that is meant.
fn sender<'a>(config: &'a Config, wanted: Option<&str>) -> Result<&'a str, NoSuchSender> {
    let names: Vec<&str> = config.senders.keys().map(String::as_str).collect();
    let found = match (wanted, names.as_slice()) {
        (Some(wanted), _) => names.iter().find(|name| **name == wanted).copied(),
        (None, [only]) => Some(*only),
        (None, _) => None,
    };
    found.ok_or_else(|| NoSuchSender::of(wanted, config))
}

/// Tries grants until one works or the time is up, whatever stands in the way: who waits may be mending it.
async fn wait(auth: &Auth, name: &str, clock: &SharedClock, patience: Option<Duration>) -> bool {
    let until = patience.map(|patience| clock.uptime().saturating_add(patience));
    let progress = Progress::start("waiting for consent");
    let mut said = None;
    loop {
        let Err(error) = auth.prove(name).await else {
            progress.done("consent works: the sender acts with a token");
            return true;
        };
        let left = until.map(|until| until.saturating_sub(clock.uptime()));
        if left.is_some_and(|left| left.is_zero()) {
            progress.done(&format!("no grant in time: {error} ({}). {}", error.code(), error.fix()));
            return false;
        }
        let is_consent = matches!(*error, Error::ConsentRequired(_));
        if said.replace(error.code()) != Some(error.code()) {
            // What to do about a missing consent was said with the links.
            let fix = if is_consent { String::new() } else { format!(": {error}. {}", error.fix()) };
            progress.step(&format!("waiting for consent: {}{fix}", error.code()));
        }
        let is_near = is_consent || error.kind() == Kind::Transient;
        let pause = if is_near { TRY_EVERY } else { TRY_EVERY_SLOWLY };
        tokio::select! {
            () = clock.sleep(left.map_or(pause, |left| left.min(pause))) => {}
            _ = tokio::signal::ctrl_c() => {
                progress.done("stopped before consent worked");
                return false;
            }
        }
    }
}
