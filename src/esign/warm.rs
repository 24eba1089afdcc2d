//! Connections kept open: a call does not wait for one to be made.
//!
//! Name, TCP and TLS take four round trips to DocuSign, more than a quarter of a second from another continent, and
//! balancers hang up on connections that rest (ours are let go after 50 s, `http_client`). So each host that a sender
//! acts at is asked for something small before the first call, and again when nothing was asked of it for a while:
//! `GET /restapi/service_information`, which needs no token and is no call of an account, so that it counts in no
//! limit (developers.docusign.com, eSignature REST API reference, "Services").
//!
//! The same question tells of an outage that no caller has met yet (rule H1): a host that did not answer, or left a call
//! unanswered, is asked every few seconds until it does.
//!
//! Must never stand in a call's way, nor make one fail: the next call finds out by itself.

use std::{
    collections::HashMap,
    sync::{
        PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::{StreamExt as _, stream};
use url::Url;

use super::Client;
use crate::http_client::Request;

/// How often to ask [`Client::keep_warm`].
pub const EVERY: Duration = Duration::from_secs(5);
/// A host that rested for so long is asked. With [`EVERY`] and the time it takes this stays under the 50 s after which
/// a resting connection is let go.
const RESTED: Duration = Duration::from_secs(40);
/// Hosts that are kept warm. DocuSign has some ten for all accounts of an environment.
const MAX_HOSTS: usize = 20;
/// How long a host may take to answer.
const TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub(super) struct Hosts(RwLock<HashMap<String, Host>>);

#[derive(Debug)]
struct Host {
    /// When it was last asked for anything, in milliseconds of uptime.
    asked: AtomicU64,
    /// Whether it gave no answer to that, or a call was left without one since.
    is_silent: AtomicBool,
}

impl Hosts {
    /// A call to this host begins.
    pub(super) fn called(&self, url: &Url, uptime: Duration) {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(host) = known.get(url.authority()) {
            host.asked.store(millis(uptime), Ordering::Relaxed);
        }
    }

    /// Whether this host answers.
    pub(super) fn answers(&self, url: &Url, does: bool) {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(host) = known.get(url.authority()) {
            host.is_silent.store(!does, Ordering::Relaxed);
        }
    }

    fn any_is_silent(&self) -> bool {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        known.values().any(|host| host.is_silent.load(Ordering::Relaxed))
    }

    /// Which of these have rested or are silent; they count as asked from now on.
    fn rested(&self, urls: Vec<Url>, uptime: Duration) -> Vec<Url> {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        // A host that no sender acts at any more is forgotten.
        known.retain(|authority, _| urls.iter().any(|url| url.authority() == authority));
        let now = millis(uptime);
        let mut is_due = |url: &Url| {
            if !known.contains_key(url.authority()) {
                if known.len() == MAX_HOSTS {
                    return false;
                }
                let host = Host { asked: AtomicU64::new(now), is_silent: AtomicBool::new(false) };
                known.insert(url.authority().to_owned(), host);
                return true;
            }
            let Host { asked, is_silent } = &known[url.authority()];
            let rested = now.saturating_sub(asked.load(Ordering::Relaxed));
            let is_due = rested >= millis(RESTED) || is_silent.load(Ordering::Relaxed);
            if is_due {
                asked.store(now, Ordering::Relaxed);
            }
            is_due
        };
        urls.into_iter().filter(|url| is_due(url)).collect()
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl Client {
    /// Has a connection open to each host that a sender acts at, of senders that were needed so far.
    pub async fn keep_warm(&self) {
        let Some(hosts) = &self.warm else { return };
        let urls = hosts.rested(self.hosts(), self.clock.uptime());
        stream::iter(urls)
            .for_each_concurrent(None, |url| async move {
                let answer = self.http.send(Request::get(url.clone()).timeout(TIMEOUT)).await;
                hosts.answers(&url, answer.is_ok_and(|answer| !answer.status.is_server_error()));
            })
            .await;
    }

    /// Whether a host that a sender acts at gave no answer when it was last asked.
    pub fn is_upstream_silent(&self) -> bool {
        self.warm.as_ref().is_some_and(Hosts::any_is_silent)
    }

    /// One address of each host.
    fn hosts(&self) -> Vec<Url> {
        let senders = self.senders.read().unwrap_or_else(PoisonError::into_inner);
        let mut urls: Vec<Url> = senders.values().map(|acting| acting.service_information()).collect();
        urls.sort();
        urls.dedup();
        urls
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(number: usize) -> Url {
        Url::parse(&format!("https://na{number}.docusign.net/restapi/service_information")).unwrap()
    }

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_host_is_asked_before_the_first_call_and_after_a_rest_and_not_while_it_is_busy() {
        let hosts = Hosts::default();
        assert_eq!(hosts.rested(vec![url(1), url(2)], at(0)), [url(1), url(2)]);
        assert_eq!(hosts.rested(vec![url(1), url(2)], at(39)), []);
        hosts.called(&url(1).join("/restapi/v2.1/accounts/x").unwrap(), at(39));
        assert_eq!(hosts.rested(vec![url(1), url(2)], at(40)), [url(2)]);
        assert_eq!(hosts.rested(vec![url(1), url(2)], at(79)), [url(1)]);
        assert_eq!(hosts.rested(vec![url(1)], at(80)), []);
        assert_eq!(hosts.rested(vec![url(1), url(2)], at(81)), [url(2)], "forgotten meanwhile");
    }

    #[test]
    fn a_host_that_left_a_call_unanswered_is_asked_until_it_answers() {
        let hosts = Hosts::default();
        assert_eq!(hosts.rested(vec![url(1), url(2)], at(0)), [url(1), url(2)]);
        assert!(!hosts.any_is_silent());
        hosts.answers(&url(2), false);
        for seconds in [5, 10] {
            assert!(hosts.any_is_silent());
            assert_eq!(hosts.rested(vec![url(1), url(2)], at(seconds)), [url(2)]);
        }
        hosts.answers(&url(2), true);
        assert!(!hosts.any_is_silent());
        assert_eq!(hosts.rested(vec![url(1), url(2)], at(15)), []);
        hosts.answers(&url(3), false);
        assert!(!hosts.any_is_silent(), "nobody acts there");
    }

    #[test]
    fn hosts_are_bounded() {
        let hosts = Hosts::default();
        assert_eq!(hosts.rested((0..100).map(url).collect(), at(0)).len(), MAX_HOSTS);
        assert_eq!(hosts.rested((0..100).map(url).collect(), at(50)).len(), MAX_HOSTS);
    }
}
