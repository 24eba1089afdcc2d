//! Connections kept open: a call does not wait for one to be made.
//!
//! Name, TCP and TLS take four round trips to DocuSign, more than a quarter of a second from another continent, and
//! balancers hang up on connections that rest (ours are let go after 50 s, `http_client`). So each host that a sender
//! acts at is asked for something small before the first call, and again when nothing was asked of it for a while:
//! `GET /restapi/service_information`, which needs no token and is no call of an account, so that it counts in no
//! limit (developers.docusign.com, eSignature REST API reference, "Services").
//!
//! The same question tells of an outage that no caller has met yet (rule H1): a host that did not answer, or left a call
//! unanswered, is asked every few seconds until it does. A call that is given up after others were answered tells
//! nothing of the host: it is the call that was lost.
//!
//! Must never stand in a call's way, nor make one fail: the next call finds out by itself.

use std::{
    collections::HashMap,
    sync::{
        PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::{StreamExt as _, stream};
use url::Url;

use super::{Client, call::Answer};
use crate::http_client::{self, Request};

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
    /// How often it has answered.
    answers: AtomicU64,
    /// How many answers there would have been if it had given one to what it left unanswered; zero if it left nothing.
    awaited: AtomicU64,
}

impl Host {
    fn new(asked: u64) -> Self {
        Self { asked: AtomicU64::new(asked), answers: AtomicU64::new(0), awaited: AtomicU64::new(0) }
    }

    /// Whether it left something unanswered, and has answered nothing since that was sent.
    fn is_silent(&self) -> bool {
        self.awaited.load(Ordering::Relaxed) > self.answers.load(Ordering::Relaxed)
    }
}

impl Hosts {
    /// A call to this host begins. Answers how often it has answered so far.
    fn called(&self, url: &Url, uptime: Duration) -> u64 {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let Some(host) = known.get(url.authority()) else { return 0 };
        host.asked.store(millis(uptime), Ordering::Relaxed);
        host.answers.load(Ordering::Relaxed)
    }

    /// This host has answered.
    fn answered(&self, url: &Url) {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(host) = known.get(url.authority()) {
            host.answers.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// This host left unanswered what began when it had answered so often.
    fn unanswered(&self, url: &Url, before: u64) {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        // One that was forgotten meanwhile counts from zero again.
        let host = known.get(url.authority()).filter(|host| before <= host.answers.load(Ordering::Relaxed));
        if let Some(host) = host {
            host.awaited.fetch_max(before + 1, Ordering::Relaxed);
        }
    }

    fn any_is_silent(&self) -> bool {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        known.values().any(Host::is_silent)
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
                known.insert(url.authority().to_owned(), Host::new(now));
                return true;
            }
            let host = &known[url.authority()];
            let rested = now.saturating_sub(host.asked.load(Ordering::Relaxed));
            let is_due = rested >= millis(RESTED) || host.is_silent();
            if is_due {
                host.asked.store(now, Ordering::Relaxed);
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
                let before = hosts.called(&url, self.clock.uptime());
                let answer = self.http.send(Request::get(url.clone()).timeout(TIMEOUT)).await;
                if answer.is_ok_and(|answer| !answer.status.is_server_error()) {
                    hosts.answered(&url);
                } else {
                    hosts.unanswered(&url, before);
                }
            })
            .await;
    }

    /// A call begins. Answers what [`call_ended`](Self::call_ended) wants to know.
    pub(super) fn call_begins(&self, url: &Url, uptime: Duration) -> u64 {
        self.warm.as_ref().map_or(0, |hosts| hosts.called(url, uptime))
    }

    /// A call ended so, which began when its host had answered so often.
    pub(super) fn call_ended(&self, url: &Url, before: u64, sent: &Result<Answer, http_client::Error>) {
        let Some(hosts) = &self.warm else { return };
        match sent {
            // Whatever stands before the host may have said that, and the host nothing.
            Ok(answer) if answer.status.is_server_error() => {}
            // One that is too large is an answer.
            Ok(_) | Err(http_client::Error::TooLarge) => hosts.answered(url),
            Err(_) => hosts.unanswered(url, before),
        }
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
        hosts.unanswered(&url(2), hosts.called(&url(2), at(0)));
        for seconds in [5, 10] {
            assert!(hosts.any_is_silent());
            assert_eq!(hosts.rested(vec![url(1), url(2)], at(seconds)), [url(2)]);
        }
        hosts.answered(&url(2));
        assert!(!hosts.any_is_silent());
        assert_eq!(hosts.rested(vec![url(1), url(2)], at(15)), []);
        hosts.unanswered(&url(3), hosts.called(&url(3), at(15)));
        assert!(!hosts.any_is_silent(), "nobody acts there");
    }

    #[test]
    fn h1_a_call_that_is_given_up_after_others_were_answered_tells_nothing_of_its_host() {
        let hosts = Hosts::default();
        assert_eq!(hosts.rested(vec![url(1)], at(0)), [url(1)]);
        let first = hosts.called(&url(1), at(1));
        hosts.called(&url(1), at(1));
        hosts.answered(&url(1));
        hosts.unanswered(&url(1), first);
        assert!(!hosts.any_is_silent(), "it has answered since");
        let second = hosts.called(&url(1), at(1));
        hosts.unanswered(&url(1), second);
        assert!(hosts.any_is_silent());
        hosts.answered(&url(1));
        assert!(!hosts.any_is_silent(), "any answer ends it");
        // Forgotten, and known anew: what an older call says is of no use.
        assert_eq!(hosts.rested(Vec::new(), at(2)), []);
        assert_eq!(hosts.rested(vec![url(1)], at(2)), [url(1)]);
        hosts.unanswered(&url(1), second);
        assert!(!hosts.any_is_silent());
    }

    #[test]
    fn hosts_are_bounded() {
        let hosts = Hosts::default();
        assert_eq!(hosts.rested((0..100).map(url).collect(), at(0)).len(), MAX_HOSTS);
        assert_eq!(hosts.rested((0..100).map(url).collect(), at(50)).len(), MAX_HOSTS);
    }
}
