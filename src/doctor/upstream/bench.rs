//! One sender, and what it is asked with: the daemon's own parts, built anew.

use std::sync::Arc;

use url::Url;

use crate::{
    app,
    auth::{
        self, Auth, Impersonation, Spawner,
        device::Module,
        identity::{AccountServer, Scopes},
        user_info::AccountChoice,
    },
    budget::{self, Budget},
    clock::SharedClock,
    config::{Config, Sender},
    domain::SenderName,
    esign,
    http_client::{self, HttpClient},
    telemetry::chain,
};

/// One sender and what it is asked with.
pub(super) struct Bench<'a> {
    pub(super) config: &'a Config,
    pub(super) sender: &'a Sender,
    pub(super) name: SenderName,
    /// Whom it acts as, and with what.
    pub(super) who: Impersonation,
    pub(super) auth: Auth,
    pub(super) esign: Arc<esign::Client>,
    pub(super) http: HttpClient,
    pub(super) clock: SharedClock,
    /// The same sender at the other environment.
    pub(super) other: Option<Auth>,
}

/// The way out that the settings describe.
pub(super) fn client(config: &Config) -> Result<HttpClient, String> {
    let options = http_client::Options {
        ca_file: config.upstream.ca_file.clone(),
        connect_timeout: config.upstream.connect_timeout,
        timeout: config.upstream.request_timeout,
        proxy: config.upstream.proxy.clone(),
        ..http_client::Options::default()
    };
    HttpClient::new(&options).map_err(|error| chain(&error).to_string())
}

impl<'a> Bench<'a> {
    pub(super) async fn build(
        config: &'a Config,
        (name, sender): (&str, &'a Sender),
        clock: &SharedClock,
        module: Option<&Arc<Module>>,
    ) -> Result<Self, String> {
        let (http, who) = (client(config)?, impersonation(name, sender, module)?);
        let at = async |origin: &str| -> Result<Auth, String> {
            let origin = Url::parse(origin).map_err(|error| error.to_string())?;
            let server = AccountServer::new(&origin).map_err(|error| error.to_string())?;
            let options = auth::Options { barred: config.barred_key(), ..auth::Options::default() };
            let auth = Auth::new(http.clone(), server, Arc::clone(clock), Spawner::tokio(), options);
            let registered = auth.register(name, who.clone()).await;
            registered.map_err(|_| "not asked: there is no usable key".to_owned())?;
            Ok(auth)
        };
        let auth = at(&config.upstream.oauth_base()).await?;
        let other = match config.upstream.other_oauth_base() {
            Some(origin) => Some(at(&origin).await?),
            None => None,
        };
        let esign = esign::Client::new(esign::Deps {
            http: http.clone(),
            auth: auth.clone(),
            budget: Budget::new(budget::Options::default(), Arc::clone(clock)),
            clock: Arc::clone(clock),
            observer: None,
            senders: vec![(
                SenderName::new(name),
                esign::SenderOptions {
                    sms_workflow: sender.sms_workflow.map(|id| id.to_string()),
                    brand: sender.brand.map(|id| id.to_string()),
                },
            )],
            options: esign::Options::default(),
        });
        let (name, clock) = (SenderName::new(name), Arc::clone(clock));
        Ok(Self { config, sender, name, who, auth, esign, http, clock, other })
    }
}

fn impersonation(name: &str, sender: &Sender, module: Option<&Arc<Module>>) -> Result<Impersonation, String> {
    Ok(Impersonation {
        integration_key: sender.integration_key.into(),
        user_id: sender.user_id.ok_or("its user comes with the account that a customer connects")?.into(),
        scopes: Scopes::new(&sender.scopes).map_err(|error| error.to_string())?,
        keys: app::key_sources(name, sender, module)
            .map_err(|error| format!("not asked: {}", error.cause))?,
        account: AccountChoice::parse(sender.account.as_deref()),
    })
}
