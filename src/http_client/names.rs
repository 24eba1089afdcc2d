//! Names, remembered: a connection waits for no name server that has just answered, and goes on without one that is
//! away.
//!
//! Must never send anything where no name server has said that the host is: what is remembered is what one said, for
//! a while. The system's resolver does not tell how long an answer holds, so it is a short time; what is older is used
//! when no server answers in time (RFC 8767, "Serving Stale Data to Improve DNS Resiliency"). That resolver does not
//! tell a name that is gone from a server that is: TLS does, because who has its address now has no certificate for it.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use moka::sync::Cache;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::look_ups::LookUps;

/// So long an answer is taken without asking again.
const FRESH: Duration = Duration::from_secs(30);
/// So long it is better than none.
const STALE: Duration = Duration::from_secs(3_600);
/// So long a server is waited for where there is an older answer: that RFC's "client response timer".
const PATIENCE: Duration = Duration::from_millis(1_800);
/// Names that are remembered; a client has a handful of hosts.
const MAX_NAMES: u64 = 256;

type Addresses = Arc<[SocketAddr]>;

/// The system's resolver with a memory. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Remembering {
    fresh: Cache<String, Addresses>,
    stale: Cache<String, Addresses>,
    look_ups: LookUps,
    patience: Duration,
}

impl Remembering {
    pub(super) fn new() -> Self {
        let kept = |life| Cache::builder().max_capacity(MAX_NAMES).time_to_live(life).build();
        Self { fresh: kept(FRESH), stale: kept(STALE), look_ups: LookUps::of_system(), patience: PATIENCE }
    }

    /// The addresses of a name; `look_up` asks for them.
    async fn addresses<F>(&self, name: &str, look_up: impl FnOnce() -> F) -> std::io::Result<Addresses>
    where
        F: Future<Output = std::io::Result<Vec<SocketAddr>>>,
    {
        if let Some(known) = self.fresh.get(name) {
            return Ok(known);
        }
        let found = match self.stale.get(name) {
            None => look_up().await?,
            Some(known) => match tokio::time::timeout(self.patience, look_up()).await {
                Ok(Ok(found)) => found,
                _ => return Ok(known),
            },
        };
        let found: Addresses = found.into();
        self.fresh.insert(name.to_owned(), Arc::clone(&found));
        self.stale.insert(name.to_owned(), Arc::clone(&found));
        Ok(found)
    }
}

impl Resolve for Remembering {
    fn resolve(&self, name: Name) -> Resolving {
        let this = self.clone();
        Box::pin(async move {
            let look_up = || this.look_ups.addresses(name.as_str());
            let found = this.addresses(name.as_str(), look_up).await?;
            let found: Vec<SocketAddr> = found.to_vec();
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> SocketAddr {
        SocketAddr::from(([203, 0, 113, last], 0))
    }

    #[tokio::test]
    async fn an_answer_is_asked_for_once_and_outlives_its_server() {
        let names = Remembering::new();
        let answered = |last| async move { Ok(vec![address(last)]) };
        let away = || async { Err(std::io::Error::other("no server answers")) };
        assert!(names.addresses("na4.example", away).await.is_err(), "never heard of");
        let first = names.addresses("na4.example", || answered(1)).await.unwrap();
        assert_eq!(*first, [address(1)]);
        assert_eq!(*names.addresses("na4.example", || answered(2)).await.unwrap(), [address(1)], "fresh");
        names.fresh.invalidate_all();
        assert_eq!(*names.addresses("na4.example", || answered(2)).await.unwrap(), [address(2)]);
        names.fresh.invalidate_all();
        assert_eq!(*names.addresses("na4.example", away).await.unwrap(), [address(2)], "better than none");
        assert!(names.addresses("eu.example", away).await.is_err(), "each name by itself");
    }

    #[tokio::test]
    async fn a_silent_server_is_not_waited_for_where_there_is_an_answer() {
        let names = Remembering { patience: Duration::from_millis(10), ..Remembering::new() };
        names.addresses("na4.example", || async { Ok(vec![address(1)]) }).await.unwrap();
        names.fresh.invalidate_all();
        let silent = names.addresses("na4.example", std::future::pending);
        assert_eq!(*silent.await.unwrap(), [address(1)]);
    }

    #[tokio::test]
    async fn it_asks_the_system() {
        let names = Remembering::new();
        let found = names.resolve("localhost".parse().unwrap()).await.unwrap();
        assert!(found.into_iter().all(|address| address.ip().is_loopback()));
        assert!(names.fresh.get("localhost").is_some());
    }
}
