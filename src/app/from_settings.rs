//! From the settings to the parts that call, record and keep: `auth`, `esign`, the audit log, `signing`.
//!
//! Each is made here once, and a fault of the settings that shows only now is named as one.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;

use crate::{
    app::{Dependencies, events, senders},
    audit::Audit,
    auth::{self, Auth, Spawner, identity::AccountServer, signer_process::SignerProcess},
    budget::{Budget, Options as BudgetOptions},
    clock::SharedClock,
    config::{self, Config, ConfigError},
    connect::OwnKeys,
    domain::{Mode, SenderName},
    esign,
    http_client::{self, HttpClient},
    own_process,
    signing::{self, NonceKey},
    spool::Spool,
};

/// How often recovery looks for due work by itself.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The next step where no certificates of authorities can be read.
pub(super) const WRITE_CERTIFICATES: &str =
    "write a file with PEM certificates, or install the system's (ca-certificates)";

/// The way out to the upstream.
pub(super) fn http_client(config: &Config, timeout: Duration) -> Result<HttpClient, ConfigError> {
    let upstream = &config.upstream;
    let options = http_client::Options {
        ca_file: upstream.ca_file.clone(),
        connect_timeout: upstream.connect_timeout,
        timeout,
        read_timeout: timeout,
        idle_per_host: upstream.max_connections as usize,
        proxy: upstream.proxy.clone(),
        ..http_client::Options::default()
    };
    HttpClient::new(&options).map_err(|error| {
        let cause = format!("cannot be used: {error}");
        ConfigError::new("upstream.ca_file", cause, WRITE_CERTIFICATES)
    })
}

/// The senders of the settings by themselves, for commands that only ask for tokens. Sends nothing.
pub async fn auth_of(config: &Config, clock: &SharedClock) -> anyhow::Result<Auth> {
    let auth = auth(config, clock).await?;
    senders::register(&auth, config).await?;
    Ok(auth)
}

async fn auth(config: &Config, clock: &SharedClock) -> anyhow::Result<Auth> {
    let origin = url::Url::parse(&config.upstream.oauth_base()).context("the account server's origin")?;
    let server = AccountServer::new(&origin).context("the account server's origin")?;
    let client = http_client(config, config.upstream.token_timeout)?;
    // Untracked: refreshers run as long as anyone needs tokens, which is through the drain; `close` ends them.
    let (clock, spawner) = (Arc::clone(clock), Spawner::tokio());
    let mut options = auth::Options { barred: config.barred_key(), ..auth::Options::default() };
    if config.signer.isolate {
        let signer = SignerProcess::start(own_process::program(), Arc::clone(&clock), &spawner).await;
        options.signer = Some(signer.map_err(|error| {
            let fix = "see deploy/rotation.md for what it needs; false holds the keys in the daemon itself";
            ConfigError::new("signer.isolate", error.to_string(), fix)
        })?);
    }
    Ok(Auth::new(client, server, clock, spawner, options))
}

pub(super) fn esign(
    config: &Config,
    auth: &Auth,
    given: &Dependencies,
    observer: Arc<dyn esign::Observer>,
) -> anyhow::Result<Arc<esign::Client>> {
    let clock = &given.clock;
    let reserve = u64::from(config.budget.reserve_percent);
    let options = BudgetOptions {
        hourly: config.budget.hourly_limit.into(),
        burst: config.budget.burst_limit.into(),
        reserve_from_new_work_percent: reserve,
        reserve_from_checks_percent: reserve / 2,
    };
    let senders = config.senders.iter().map(|(name, sender)| {
        let options = esign::SenderOptions {
            sms_workflow: sender.sms_workflow.map(|id| id.to_string()),
            brand: sender.brand.map(|id| id.to_string()),
        };
        (SenderName::new(name.as_str()), options)
    });
    let senders = senders.filter(|(_, options)| *options != esign::SenderOptions::default());
    Ok(esign::Client::new(esign::Deps {
        http: http_client(config, config.upstream.request_timeout)?,
        auth: auth.clone(),
        budget: Budget::on(Arc::clone(&given.store), options, Arc::clone(clock)),
        clock: Arc::clone(clock),
        observer: Some(observer),
        senders: senders.collect(),
        options: esign::Options {
            calls_at_once: config.upstream.max_connections as usize,
            request_timeout: config.upstream.request_timeout,
            keep_warm: config.upstream.keep_warm,
            apps_origin: config.upstream.apps_origin(),
        },
    }))
}

pub(super) fn audit(config: &Config, clock: &SharedClock) -> Result<Audit, ConfigError> {
    let Some(path) = &config.audit.file else { return Ok(Audit::off()) };
    Audit::open(path, config.audit.sync, Arc::clone(clock))
        .map_err(|error| ConfigError::new("audit.file", format!("{}: {error}", path.display()), error.fix()))
}

pub(super) fn signing_settings(
    config: &Config,
    given: &Dependencies,
    own_keys: &OwnKeys,
) -> signing::Settings {
    let public_origin = config.public.base_url.as_ref().map(|origin| origin.as_str().to_owned());
    let (secret, older) = config.store.secrets();
    signing::Settings {
        mode: match config.upstream.mode() {
            config::Mode::Live => Mode::Live,
            config::Mode::Test => Mode::Test,
        },
        events_to: public_origin.as_ref().map(|origin| events::events_to(config, origin, own_keys)),
        spool: Spool::new(config.documents.spool_dir.clone(), config.documents.spool_limit.bytes() as u64),
        keep_documents: config.documents.keep,
        pdf_program: config.documents.isolate.then(own_process::program),
        public_origin,
        nonce_key: NonceKey::derive(&secret, &older),
        queue_limit: config.upstream.queue_limit.into(),
        look_every: LOOK_EVERY,
        audit: given.audit.clone(),
        metrics: Arc::clone(&given.metrics),
    }
}
