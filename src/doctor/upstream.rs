//! What only the upstream can say: whether it takes our key, whose token that is, and what the account
//! can do.

use std::{sync::Arc, time::Duration};

use url::Url;

use super::{
    Check, Reach,
    here::{chain, source},
};
use crate::{
    auth::{
        self, Auth, Impersonation, Spawner,
        consent::ConsentBy,
        identity::{AccountServer, Scopes},
        user_info::AccountChoice,
    },
    budget::{self, Budget, Deadline},
    clock::SharedClock,
    config::{Config, Environment, Sender},
    domain::SenderName,
    esign,
    http_client::{self, HttpClient},
};

/// All that is asked of the upstream, in the order of the chain; one group a sender.
const CHAIN: [&str; 8] =
    ["clock", "token", "consent", "user", "account", "base URI", "SMS workflow", "budget"];
/// For one question.
const PATIENCE: Duration = Duration::from_secs(20);
/// A clock this far off still works, because the daemon corrects for it; it should be set all the same.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(30);

/// All checks at the upstream.
pub(super) async fn all(config: &Config, clock: SharedClock, reach: Reach) -> Vec<Check> {
    let mut checks = Vec::new();
    for (name, sender) in &config.senders {
        let found = match reach {
            Reach::Offline => skip(0, "not asked: --offline"),
            Reach::Online => match Bench::build(config, name, sender, &clock).await {
                Ok(bench) => bench.walk().await,
                Err(why) => skip(0, &why),
            },
        };
        checks.extend(found.into_iter().map(|check| check.of(name)));
    }
    checks
}

/// The rest of the chain, from a link on.
fn skip(from: usize, why: &str) -> Vec<Check> {
    CHAIN[from..].iter().map(|name| Check::skipped(name, why)).collect()
}

/// One sender and what it is asked with.
struct Bench<'a> {
    config: &'a Config,
    name: SenderName,
    auth: Auth,
    esign: Arc<esign::Client>,
    clock: SharedClock,
}

impl<'a> Bench<'a> {
    async fn build(
        config: &'a Config,
        name: &str,
        sender: &Sender,
        clock: &SharedClock,
    ) -> Result<Self, String> {
        let options = http_client::Options {
            ca_file: config.upstream.ca_file.clone(),
            connect_timeout: config.upstream.connect_timeout,
            timeout: config.upstream.request_timeout,
            ..http_client::Options::default()
        };
        let http = HttpClient::new(&options).map_err(|error| chain(&error))?;
        let origin = Url::parse(&config.upstream.oauth_base()).map_err(|error| error.to_string())?;
        let server = AccountServer::new(&origin).map_err(|error| error.to_string())?;
        let auth =
            Auth::new(http.clone(), server, Arc::clone(clock), Spawner::tokio(), auth::Options::default());
        auth.register(name, impersonation(sender)?)
            .await
            .map_err(|_| "not asked: there is no usable key".to_owned())?;
        let esign = esign::Client::new(esign::Deps {
            http,
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
        Ok(Self { config, name: SenderName::new(name), auth, esign, clock: Arc::clone(clock) })
    }

    async fn walk(&self) -> Vec<Check> {
        let minted = self.auth.prove(self.name.as_str()).await;
        let mut checks = vec![self.clock(), token(&minted), self.consent(&minted)];
        if minted.is_err() {
            checks.extend(skip(3, "not asked: there is no token"));
            return checks;
        }
        let user = self.auth.user_info(self.name.as_str()).await;
        checks.push(match &user {
            Ok(info) => Check::passed(
                "user",
                format!("{}, a member of {} account(s)", info.user_id, info.accounts.len()),
            ),
            Err(error) => refused("user", error),
        });
        let account = match self.auth.account(self.name.as_str()).await {
            Ok(account) => account,
            Err(error) => {
                checks.push(refused("account", &error));
                checks.extend(skip(5, "not asked: there is no account"));
                return checks;
            }
        };
        let is_default = if account.is_default { ", the user's default" } else { "" };
        checks.push(Check::passed("account", format!("{} “{}”{is_default}", account.id, account.name)));
        checks.push(base_uri(self.config, &account.base_uri));
        checks.extend(self.capabilities().await);
        checks
    }

    /// Known once the upstream has answered anything.
    fn clock(&self) -> Check {
        let Some(offset) = self.auth.clock_offset() else {
            return Check::skipped("clock", "the upstream has not answered");
        };
        let off = offset.offset.unsigned_abs();
        if off <= CLOCK_TOLERANCE {
            return Check::passed("clock", format!("within {} s of the upstream's", off.as_secs().max(1)));
        }
        let detail = format!("{} s away from the upstream's", off.as_secs());
        Check::failed(
            "clock",
            detail,
            "Set this machine's clock (NTP); the daemon corrects for it meanwhile.",
        )
    }

    fn consent(&self, minted: &Result<(), Arc<auth::Error>>) -> Check {
        match minted {
            Ok(()) => Check::passed("consent", "granted"),
            Err(error) if error.code() == "consent_required" => {
                let redirect = self.config.public.base_url.as_ref().map_or_else(
                    || "https://www.docusign.com".to_owned(),
                    |origin| format!("{}/consent/callback", origin.as_str()),
                );
                let name = self.name.as_str();
                let url = self.auth.consent_url(name, ConsentBy::Individual, &redirect, None, None);
                let fix = match url {
                    Ok(url) => format!(
                        "Open this as the impersonated user, and accept ({redirect} must be a redirect URI of the app): {url}"
                    ),
                    Err(_) => error.fix().to_owned(),
                };
                Check::failed("consent", "not granted by this user to this integration key", fix)
            }
            Err(_) => {
                Check::skipped("consent", "not known: no token was asked for, or it was refused before")
            }
        }
    }

    async fn capabilities(&self) -> Vec<Check> {
        let acting = match self.esign.acting(&self.name).await {
            Ok(acting) => acting,
            Err(error) => return skip(6, &chain(&error)),
        };
        let deadline = Deadline::within(&*self.clock, PATIENCE);
        let workflow = match self.esign.sms_workflow(&acting, deadline).await {
            Ok(id) => Check::passed("SMS workflow", id),
            Err(esign::Error::SmsAuthUnavailable) => Check::failed(
                "SMS workflow",
                "the account has no identity verification by phone",
                "Have phone authentication switched on for the DocuSign account, or do without sms_auth.",
            ),
            Err(error) => {
                Check::failed("SMS workflow", chain(&error), "See the checks above; try again in a minute.")
            }
        };
        let left = self.esign.budget().remaining(&acting.account);
        let detail = format!(
            "{} of {} calls left this hour, {} of {} in 30 s",
            left.hour, left.hour_limit, left.burst, left.burst_limit
        );
        let budget = if left.hour * 10 < left.hour_limit {
            let fix = "Find what else spends this account's calls, or ask DocuSign for a higher limit.";
            Check::failed("budget", detail, fix)
        } else {
            Check::passed("budget", detail)
        };
        vec![workflow, budget]
    }
}

fn impersonation(sender: &Sender) -> Result<Impersonation, String> {
    Ok(Impersonation {
        integration_key: sender.integration_key.into(),
        user_id: sender.user_id.ok_or("its user comes with the account that a customer connects")?.into(),
        scopes: Scopes::new(&sender.scopes).map_err(|error| error.to_string())?,
        keys: sender.keys.iter().filter_map(source).collect(),
        account: AccountChoice::parse(sender.account.as_deref()),
    })
}

/// Missing consent has a check of its own: the key was taken, and a person has to act.
fn token(minted: &Result<(), Arc<auth::Error>>) -> Check {
    match minted {
        Ok(()) => Check::passed("token", "minted with this key"),
        Err(error) if error.code() == "consent_required" => {
            Check::skipped("token", "the account server wants consent first")
        }
        Err(error) => refused("token", error),
    }
}

fn refused(name: &'static str, error: &auth::Error) -> Check {
    Check::failed(name, chain(error), error.fix())
}

/// An account of the other environment answers with confusing codes; its host tells at once.
fn base_uri(config: &Config, base: &Url) -> Check {
    let host = base.host_str().unwrap_or_default();
    let is_demo = host == "demo.docusign.net";
    let is_right = match config.upstream.environment() {
        Environment::Demo => is_demo,
        Environment::Emulator => true,
        Environment::Production => host.ends_with(".docusign.net") && !is_demo,
    };
    if is_right {
        return Check::passed("base URI", base.origin().ascii_serialization());
    }
    let fix =
        "Use an account, a user and an integration key of the same environment as upstream.environment.";
    Check::failed("base URI", format!("{host} does not belong to this environment"), fix)
}
