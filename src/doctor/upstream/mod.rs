//! What only the upstream can say: whether it takes our key, whose token that is, and what the account
//! can do.

mod bench;
mod connectable;
mod embedded;
mod templates;
mod token;

use std::sync::Arc;

use url::Url;
use uuid::Uuid;

use self::{bench::Bench, templates::Answers};
use super::{
    Check, Reach,
    here::account_as_user,
    looked_at,
    reach::{Daemon, unreachable},
};
use crate::{
    auth::{
        self,
        consent::{self, ConsentBy},
        consent_state::ConsentStates,
        device::Module,
        user_info::{Account, NotInAccount},
    },
    clock::{Deadline, SharedClock},
    config::Config,
    esign,
    http_client::Request,
    telemetry::chain,
};

/// All that is asked of the upstream, in the order of the chain; one group a sender.
const CHAIN: [&str; 13] = [
    "account server",
    "clock",
    "token",
    "consent",
    "redirect URI",
    "user",
    "account",
    "base URI",
    "API",
    "SMS workflow",
    embedded::EMBEDDED,
    "budget",
    "templates",
];
/// For one question.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(20);
/// A clock this far off still works, because the daemon corrects for it; it should be set all the same.
const CLOCK_TOLERANCE: std::time::Duration = std::time::Duration::from_secs(30);

/// All checks at the upstream.
pub(super) async fn all(
    config: &Config,
    only: Option<&str>,
    clock: SharedClock,
    reach: Reach,
    daemon: &Daemon,
    module: Option<&Arc<Module>>,
) -> Vec<Check> {
    let (mut checks, mut accounts, mut answers) = (Vec::new(), Vec::new(), Answers::default());
    for (name, sender) in looked_at(config, only) {
        let found = match reach {
            Reach::Offline => skip("account server", "not asked: --offline"),
            // Its user, account and token are the customer's: nothing is wrong while there are none.
            Reach::Online if sender.connect.is_some() => {
                connectable::walk(config, name, sender, &clock, daemon).await
            }
            Reach::Online => match Bench::build(config, (name, sender), &clock, module).await {
                Ok(bench) => {
                    let (found, account) = bench.walk(daemon, &mut answers).await;
                    accounts.extend(account);
                    found
                }
                Err(why) => skip("account server", &why),
            },
        };
        checks.extend(found.into_iter().map(|check| check.of(name)));
    }
    account_ids(config, &accounts, &mut checks);
    templates::judge(config, &answers, &mut checks);
    checks
}

/// The rest of the chain, from a link on.
fn skip(from: &str, why: &str) -> Vec<Check> {
    let rest = CHAIN.iter().skip_while(|name| **name != from);
    rest.map(|name| Check::skipped(name, why)).collect()
}

/// A user id that nobody knows is the account's if another sender was found in that account.
fn account_ids(config: &Config, accounts: &[Uuid], checks: &mut [Check]) {
    for check in checks.iter_mut().filter(|check| check.code == Some("sender_unknown_user")) {
        let user_id = check.sender.as_ref().and_then(|name| config.senders.get(name)?.user_id);
        if user_id.is_some_and(|user_id| accounts.contains(&user_id)) {
            *check = Check { name: check.name, sender: check.sender.clone(), ..account_as_user() };
        }
    }
}

impl Bench<'_> {
    /// Its checks, and the account that it was found in.
    async fn walk(&self, daemon: &Daemon, answers: &mut Answers) -> (Vec<Check>, Option<Uuid>) {
        let minted = self.auth.prove(self.name.as_str()).await;
        let mut checks = vec![self.account_server(&minted), self.clock()];
        checks.push(self.token(&minted).await);
        checks.extend(self.refused_keys(&minted).await);
        checks.push(self.consent(&minted, daemon));
        checks.push(self.redirect_uri(&minted).await);
        if minted.is_err() {
            checks.extend(skip("user", "not asked: there is no token"));
            return (checks, None);
        }
        let user = self.auth.user_info(self.name.as_str()).await;
        checks.push(match &user {
            Ok(info) => Check::passed(
                "user",
                format!("{}, a member of {} account(s)", info.user_id, info.accounts.len()),
            ),
            Err(error) => Check::failed("user", error.cause(), chain(&**error).to_string(), error.fix()),
        });
        let account = match self.auth.account(self.name.as_str()).await {
            Ok(account) => account,
            Err(error) => {
                checks.extend(self.without_account(&error).await);
                return (checks, None);
            }
        };
        let count = user.map_or(0, |user| user.accounts.len());
        checks.push(self.account(&account, count));
        checks.push(Check::passed("base URI", account.base_uri.origin().ascii_serialization()));
        let api = self.api(&account.base_uri).await;
        let is_there = api.status == super::Status::Passed;
        checks.push(api);
        if is_there {
            checks.extend(self.capabilities(answers).await);
        } else {
            // A token goes to no host that is not the account's.
            checks.extend(skip("SMS workflow", "not asked: the account's API is not where it should be"));
        }
        (checks, Some(account.id))
    }

    /// The account that was found. Of several the default may become another, and with it where the sender acts after
    /// the next start.
    fn account(&self, account: &Account, count: usize) -> Check {
        let is_default = if account.is_default { ", the user's default" } else { "" };
        let found = Check::passed("account", format!("{} “{}”{is_default}", account.id, account.name));
        if self.sender.account.is_some() || count < 2 {
            return found;
        }
        let fix = format!(
            "Set senders.{}.account = \"{}\": the user has {count} accounts, and whichever is the default at a start is taken.",
            self.name, account.id
        );
        Check { fix: Some(fix), ..found }
    }

    /// The rest of the chain where there is no account that can be used: none at all, or one that lives where this
    /// environment has none. That of the other environment answers with confusing codes; its host tells at once.
    async fn without_account(&self, error: &auth::Error) -> Vec<Check> {
        let failed = |name| Check::failed(name, error.code(), chain(error).to_string(), error.fix());
        let Some(account) = misplaced(error) else {
            let rest = skip("base URI", "not asked: there is no account");
            return std::iter::once(failed("account")).chain(rest).collect();
        };
        let mut checks = vec![Check::passed("account", account.to_string()), failed("base URI")];
        let api = self.elsewhere(error).await;
        let from = if api.is_some() { "SMS workflow" } else { "API" };
        checks.extend(api);
        checks.extend(skip(from, "not asked: the account's API is not where it should be"));
        checks
    }

    /// Where the account is said to live, if that is elsewhere: a name that does not exist says more.
    async fn elsewhere(&self, error: &auth::Error) -> Option<Check> {
        let auth::Error::NotInAccount(NotInAccount::ForeignHost { host, .. }) = error else { return None };
        let base_uri = url::Url::parse(&format!("https://{host}")).ok()?;
        Some(self.api(&base_uri).await)
    }

    /// Whether it answers at all, and as DocuSign does.
    fn account_server(&self, minted: &Result<(), Arc<auth::Error>>) -> Check {
        let name = "account server";
        let base = self.config.upstream.oauth_base();
        let host = base.split_once("://").map_or(base.as_str(), |(_, host)| host);
        match minted.as_ref().map_err(|error| &**error) {
            Err(auth::Error::Unreachable(error)) => {
                unreachable(name, host, self.config.upstream.is_emulator(), error)
            }
            Err(error @ auth::Error::Malformed { .. }) => {
                Check::failed(name, "answer_unusable", chain(error).to_string(), error.fix())
            }
            Err(error @ (auth::Error::Unavailable { .. } | auth::Error::RateLimited { .. })) => {
                Check::failed(name, "upstream_unavailable", chain(error).to_string(), error.fix())
            }
            _ => Check::passed(name, format!("{host} answers")),
        }
    }

    /// Known once the upstream has answered anything.
    fn clock(&self) -> Check {
        let Some(offset) = self.auth.clock_offset() else {
            return Check::skipped("clock", "not known: the upstream has not answered");
        };
        let off = offset.offset.unsigned_abs();
        if off <= CLOCK_TOLERANCE {
            return Check::passed("clock", format!("within {} s of the upstream's", off.as_secs().max(1)));
        }
        let way = if offset.offset.is_negative() { "ahead of" } else { "behind" };
        let detail = format!("{} s {way} the upstream's", off.as_secs());
        let fix = "Set this machine's clock (NTP: timedatectl set-ntp true); the daemon corrects for it meanwhile, up to a day.";
        Check::failed("clock", "clock_off", detail, fix)
    }

    fn consent(&self, minted: &Result<(), Arc<auth::Error>>, daemon: &Daemon) -> Check {
        match minted {
            Ok(()) => Check::passed("consent", "granted"),
            Err(error) if error.code() == "consent_required" => {
                let name = self.name.as_str();
                let open = self.consent_page();
                if let Some(detail) = daemon.says(name, "consent_by_another_user") {
                    let fix = format!(
                        "Log out of DocuSign, then open this as the impersonated user, and accept: {open}"
                    );
                    return Check::failed("consent", "consent_by_another_user", detail, fix);
                }
                let scopes = self.sender.scopes.join(" and ");
                let detail = format!("not granted by this user to this integration key for {scopes}");
                let fix = format!(
                    "Open this as the impersonated user, and accept ({} must be a redirect URI of the app): {open} . \
                     Or have an administrator allow it for all users in the organisation's claimed domains: your own \
                     organisation's in DocuSign Admin under Connected Apps, a customer's here: {}",
                    self.redirect(),
                    self.organisation_page()
                );
                Check::failed("consent", "consent_missing", detail, fix)
            }
            Err(_) => {
                Check::skipped("consent", "not known: no token was asked for, or it was refused before")
            }
        }
    }

    /// Where the browser comes back to.
    fn redirect(&self) -> String {
        consent::redirect_uri(self.config.public.origin())
    }

    /// The page on which this sender's user consents, with the state that lets the daemon tell who did.
    fn consent_page(&self) -> String {
        let name = self.name.as_str();
        let (secret, older) = self.config.store.secrets();
        let states = ConsentStates::derive(&secret, &older);
        let asked = self.config.public.base_url.as_ref().map(|_| states.issue(name, self.clock.now()));
        let url = self.auth.consent_url(name, ConsentBy::Individual, &self.redirect(), asked.as_ref());
        url.unwrap_or_else(|error| error.to_string())
    }

    /// The page on which a customer's administrator consents. Nobody is compared, so it has no state.
    fn organisation_page(&self) -> String {
        let (name, by) = (self.name.as_str(), ConsentBy::Organisation);
        let url = self.auth.consent_url(name, by, &self.redirect(), None);
        url.unwrap_or_else(|error| error.to_string())
    }

    /// Whether the account server would send a browser back to us. Asked as a browser asks, which shows the
    /// sign-in page and changes nothing; for an address that is not listed it shows an error page instead.
    /// The vendor publishes no status for that page: a client error is taken for one (inferred).
    async fn redirect_uri(&self, minted: &Result<(), Arc<auth::Error>>) -> Check {
        let name = "redirect URI";
        if self.config.public.base_url.is_none() {
            return Check::skipped(name, "public.base_url is not set: nobody comes back to us");
        }
        // Whoever has only to consent is known there.
        if let Some(error) = minted.as_ref().err().filter(|error| error.code() != "consent_required") {
            return Check::skipped(name, format!("not asked: {error}"));
        }
        let redirect = self.redirect();
        let Ok(url) = Url::parse(&self.consent_page()) else {
            return Check::skipped(name, "no consent link can be made");
        };
        match self.http.send(Request::get(url)).await {
            Ok(answer) => listed(&redirect, answer.status),
            Err(error) => Check::skipped(name, chain(&error).to_string()),
        }
    }

    /// Whether the account's own host can be reached; asked without a token.
    async fn api(&self, base: &Url) -> Check {
        let mut url = base.clone();
        url.set_path("/restapi/service_information");
        let host = base.host_str().unwrap_or_default().to_owned();
        match self.http.send(Request::get(url)).await {
            Ok(answer) if answer.status.is_success() => Check::passed("API", format!("{host} answers")),
            Ok(answer) => {
                let detail = format!("{host} answers HTTP {}", answer.status.as_u16());
                let fix = "See DocuSign's status page, and whether a proxy answers in its place; try again in a minute.";
                Check::failed("API", "upstream_unavailable", detail, fix)
            }
            Err(error) => unreachable("API", &host, self.config.upstream.is_emulator(), &error),
        }
    }

    async fn capabilities(&self, answers: &mut Answers) -> Vec<Check> {
        let acting = match self.esign.acting(&self.name).await {
            Ok(acting) => acting,
            Err(error) => return skip("SMS workflow", &chain(&error).to_string()),
        };
        let deadline = Deadline::within(&*self.clock, PATIENCE);
        let workflow = match self.esign.sms_workflow(&acting, deadline).await {
            Ok(id) => Check::passed("SMS workflow", id),
            Err(error @ esign::Error::SmsAuthUnavailable) => {
                Check::failed("SMS workflow", "sms_workflow_absent", chain(&error).to_string(), error.fix())
            }
            Err(error @ esign::Error::Limited { .. }) => {
                Check::skipped("SMS workflow", format!("not asked: {}", chain(&error)))
            }
            Err(error) => {
                let fix = "See the checks above; try again in a minute.";
                Check::failed("SMS workflow", "upstream_unavailable", chain(&error).to_string(), fix)
            }
        };
        let embedded = self.embedded_signing(&acting).await;
        let left = self.esign.budget().remaining(&acting.account);
        let detail = format!(
            "{} of {} calls left this hour (until {}), {} of {} in 30 s",
            left.hour,
            left.hour_limit,
            left.resets_at.round(jiff::Unit::Minute).unwrap_or(left.resets_at),
            left.burst,
            left.burst_limit
        );
        let budget = if left.hour * 10 < left.hour_limit {
            let fix = "Find what else spends this account's calls (API Dashboard in DocuSign Admin), or ask DocuSign for a higher limit.";
            Check::failed("budget", "budget_low", detail, fix)
        } else {
            Check::passed("budget", detail)
        };
        // Last, because it takes the most calls.
        let templates = self.templates(&acting, answers).await;
        vec![workflow, embedded, budget, templates]
    }
}

/// Whether the app lists an address, by what the consent page answered that names it.
fn listed(redirect: &str, status: http::StatusCode) -> Check {
    let name = "redirect URI";
    if status.is_client_error() {
        let fix = format!(
            "Add {redirect}, to the letter, under Apps and Keys > your app > Additional settings > Redirect URIs."
        );
        return Check::failed(
            name,
            "redirect_uri_unregistered",
            format!("the app does not list {redirect}"),
            fix,
        );
    }
    if status.is_server_error() {
        return Check::skipped(name, format!("the consent page answers HTTP {}", status.as_u16()));
    }
    Check::passed(name, redirect)
}

/// The account that the user is in, and that no token of this environment is for.
fn misplaced(error: &auth::Error) -> Option<Uuid> {
    let auth::Error::NotInAccount(why) = error else { return None };
    match why {
        NotInAccount::BadBaseUri { id }
        | NotInAccount::ForeignHost { id, .. }
        | NotInAccount::OtherEnvironment { id, .. } => Some(*id),
        NotInAccount::Left { .. }
        | NotInAccount::NameTwice { .. }
        | NotInAccount::NoAccounts
        | NotInAccount::NoDefault { .. }
        | NotInAccount::NotAllowed { .. }
        | NotInAccount::NotThere { .. } => None,
    }
}
