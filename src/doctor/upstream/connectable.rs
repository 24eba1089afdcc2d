//! A sender that a customer connects: what can be seen of it without the customer.
//!
//! Before that it has no user, no account and no token, and that is nobody's fault: it is said to wait, with the
//! next step. The link itself is not printed: whoever has it connects an account of theirs, and what doctor says
//! ends up in logs and tickets.

use std::sync::Arc;

use url::Url;

use super::{CHAIN, listed};
use crate::{
    auth::{
        self, Auth, Spawner,
        consent::{self, ConsentBy},
        identity::{AccountServer, Scopes},
    },
    clock::SharedClock,
    config::{Config, Sender},
    doctor::{
        Check,
        reach::{Daemon, unreachable},
    },
    http_client::Request,
};

/// What there is to see of it, and the rest of the chain as the customer's.
pub(super) async fn walk(
    config: &Config,
    name: &str,
    sender: &Sender,
    clock: &SharedClock,
    daemon: &Daemon,
) -> Vec<Check> {
    let mut checks = match way(config, sender, clock).await {
        Ok(checks) => checks,
        Err(why) => vec![Check::skipped("account server", why)],
    };
    checks.push(connection(config, name, daemon));
    let shown: Vec<_> = checks.iter().map(|check| check.name).collect();
    let rest = CHAIN.iter().filter(|link| !shown.contains(link));
    let why = match daemon.is_connected(name) {
        Some(true) => "not asked: only the daemon can, with what the customer gave it",
        _ => "not asked: it comes with the account that a customer connects",
    };
    checks.extend(rest.map(|link| Check::skipped(link, why)));
    checks
}

/// Whether it is connected, as far as anybody here can know.
fn connection(config: &Config, name: &str, daemon: &Daemon) -> Check {
    if config.public.base_url.is_none() {
        let fix = "Set public.base_url to the https address at which browsers reach the public listener.";
        return Check::advised("connection", "nobody can connect it: public.base_url is not set", fix);
    }
    let fix = format!(
        "Give the customer the link of GET /v1/senders/{name}/connect, or of the status page (/admin/senders/{name}/consent): \
         whoever opens it logs in to DocuSign and connects an account of theirs."
    );
    match daemon.is_connected(name) {
        Some(true) => match daemon.fault(name) {
            None => Check::passed("connection", "a customer has connected it"),
            Some(fault) => {
                let detail = format!("a customer has connected it; {fault}");
                Check::failed(
                    "connection",
                    "connection_fails",
                    detail,
                    "Do what it says; only the daemon can try it.",
                )
            }
        },
        Some(false) => Check::advised("connection", "not connected yet: it waits for a customer", fix),
        None => {
            let detail = "whether a customer has connected it is known to a running daemon alone";
            Check::advised("connection", detail, format!("If nobody has: start the daemon. {fix}"))
        }
    }
}

/// The way of a customer's browser: to the account server, and back to us. It is asked as a browser asks, which
/// shows the sign-in page and changes nothing.
async fn way(config: &Config, sender: &Sender, clock: &SharedClock) -> Result<Vec<Check>, String> {
    let http = super::bench::client(config)?;
    let origin = Url::parse(&config.upstream.oauth_base()).map_err(|error| error.to_string())?;
    let host = origin.host_str().unwrap_or_default().to_owned();
    let server = AccountServer::new(&origin).map_err(|error| error.to_string())?;
    let (clock, options) =
        (Arc::clone(clock), auth::Options { barred: config.barred_key(), ..auth::Options::default() });
    let grant = Auth::new(http.clone(), server, clock, Spawner::tokio(), options).code_grant();
    let scopes = Scopes::new(sender.asked_scopes()).map_err(|error| error.to_string())?;
    let ours = config.public.origin();
    let (by, key) = (ConsentBy::Individual, sender.integration_key.into());
    let page = grant.consent_page(by, key, &scopes, &consent::redirect_uri(ours));
    let page = Url::parse(&page).map_err(|error| error.to_string())?;
    Ok(match (http.send(Request::get(page)).await, ours) {
        (Err(error), _) => {
            vec![unreachable("account server", &host, config.upstream.is_emulator(), &error)]
        }
        (Ok(answer), Some(ours)) => {
            vec![
                Check::passed("account server", format!("{host} answers")),
                listed(&consent::callback(ours), answer.status),
            ]
        }
        (Ok(_), None) => vec![Check::passed("account server", format!("{host} answers"))],
    })
}
