//! Look-ups of names, a bounded number of them at once.
//!
//! The system's resolver holds a thread of the pool in which all blocking work of the process is done, and cannot be
//! called off: whoever gives up leaves it there until it has given up, too, which may take half a minute. Callers choose
//! the hosts of webhooks, and with them the name servers. Without a bound a hundred that are silent would hold every
//! thread, and creates, which read documents there, would wait behind them.
//!
//! So a place is held by the look-up itself, and not by who waits for it. A name has few of them, and all names that did
//! not answer the last time share a few: they keep each other waiting, and not those that answer.

use std::{
    fmt,
    net::{SocketAddr, ToSocketAddrs as _},
    sync::Arc,
    time::Duration,
};

use moka::sync::Cache;
use tokio::sync::Semaphore;

/// Look-ups at once, of names that are new or have answered.
const ANSWERING: usize = 32;
/// Look-ups at once, of all other names together.
const SILENT: usize = 16;
/// Look-ups at once of one name: a second one, because a packet that is lost costs the first five seconds.
const OF_A_NAME: usize = 2;
/// So long an answer is passed on to those who waited for their turn.
const PASSED_ON: Duration = Duration::from_secs(5);
/// So long it is remembered that a name did not answer. Then it may try with the others again.
const REMEMBERED: Duration = Duration::from_secs(10 * 60);
/// So long a name's own places are remembered.
const IN_USE: Duration = Duration::from_secs(60);
/// Names that anything is remembered of.
const MAX_NAMES: u64 = 16_384;

type Resolver = dyn Fn(&str) -> std::io::Result<Vec<SocketAddr>> + Send + Sync;

/// The system's resolver, or another one. Clones share their places.
#[derive(Clone)]
pub(super) struct LookUps {
    resolver: Arc<Resolver>,
    answering: Arc<Semaphore>,
    silent: Arc<Semaphore>,
    of_names: Cache<String, Arc<Semaphore>>,
    answers: Cache<String, Arc<[SocketAddr]>>,
    /// Names whose last look-up has not ended yet, or failed.
    unanswered: Cache<String, ()>,
}

impl fmt::Debug for LookUps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LookUps")
    }
}

impl LookUps {
    /// Asks the system.
    pub(super) fn of_system() -> Self {
        Self::with(|name| Ok((name, 0).to_socket_addrs()?.collect()))
    }

    fn with(resolver: impl Fn(&str) -> std::io::Result<Vec<SocketAddr>> + Send + Sync + 'static) -> Self {
        Self {
            resolver: Arc::new(resolver),
            answering: Arc::new(Semaphore::new(ANSWERING)),
            silent: Arc::new(Semaphore::new(SILENT)),
            of_names: Cache::builder().max_capacity(MAX_NAMES).time_to_idle(IN_USE).build(),
            answers: Cache::builder().max_capacity(MAX_NAMES).time_to_live(PASSED_ON).build(),
            unanswered: Cache::builder().max_capacity(MAX_NAMES).time_to_live(REMEMBERED).build(),
        }
    }

    /// The addresses of a name. Waits for a place as long as its caller likes.
    pub(super) async fn addresses(&self, name: &str) -> std::io::Result<Vec<SocketAddr>> {
        let turns = self.of_names.get_with_by_ref(name, || Arc::new(Semaphore::new(OF_A_NAME)));
        let turn = turns.acquire_owned().await.map_err(std::io::Error::other)?;
        if let Some(found) = self.answers.get(name) {
            return Ok(found.to_vec());
        }
        let places = if self.unanswered.contains_key(name) { &self.silent } else { &self.answering };
        let place = Arc::clone(places).acquire_owned().await.map_err(std::io::Error::other)?;
        let (this, name) = (self.clone(), name.to_owned());
        let look_up = move || {
            // Until the resolver comes back, whoever has gone meanwhile.
            let _held = (turn, place);
            this.look_up(&name)
        };
        tokio::task::spawn_blocking(look_up).await.map_err(std::io::Error::other)?
    }

    fn look_up(&self, name: &str) -> std::io::Result<Vec<SocketAddr>> {
        self.unanswered.insert(name.to_owned(), ());
        let found = (self.resolver)(name)?;
        self.answers.insert(name.to_owned(), found.as_slice().into());
        self.unanswered.invalidate(name);
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::HashMap,
        sync::{Condvar, Mutex},
    };

    use super::*;

    /// A resolver that answers at once about names that begin with `living`, refuses those with `refusing` the first
    /// time, and is silent about all others until it is let go.
    #[derive(Default)]
    struct Servers {
        asked: Mutex<HashMap<String, usize>>,
        is_over: Mutex<bool>,
        over: Condvar,
    }

    impl Servers {
        fn look_ups(self: &Arc<Self>) -> LookUps {
            let servers = Arc::clone(self);
            LookUps::with(move |name| servers.answer(name))
        }

        fn answer(&self, name: &str) -> std::io::Result<Vec<SocketAddr>> {
            let times = {
                let mut asked = self.asked.lock().unwrap();
                let times = asked.entry(name.to_owned()).or_default();
                *times += 1;
                *times
            };
            if name.starts_with("refusing") && times == 1 {
                return Err(std::io::Error::other("no such name"));
            }
            if !name.starts_with("living") {
                let is_over = self.is_over.lock().unwrap();
                drop(self.over.wait_while(is_over, |is_over| !*is_over).unwrap());
            }
            Ok(vec![SocketAddr::from(([203, 0, 113, 7], 0))])
        }

        fn asked(&self) -> usize {
            self.asked.lock().unwrap().values().sum()
        }

        fn end(&self) {
            *self.is_over.lock().unwrap() = true;
            self.over.notify_all();
        }
    }

    /// A pool with room for all the look-ups that there may be at once, and one thing more.
    fn within_a_small_pool(test: impl Future<Output = ()>) {
        let pool = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .max_blocking_threads(ANSWERING + SILENT + 1)
            .build()
            .unwrap();
        // Never dropped: when a test fails, that would wait for threads that wait for ever.
        Box::leak(Box::new(pool)).block_on(async {
            tokio::time::timeout(Duration::from_secs(60), test).await.expect("nothing waits for ever");
        });
    }

    async fn until(is_so: impl Fn() -> bool) {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Looks up, and gives up soon, as a connection does.
    async fn try_each(look_ups: &LookUps, names: impl Iterator<Item = String>) {
        let tries = names.map(|name| async move {
            let _ = tokio::time::timeout(Duration::from_millis(50), look_ups.addresses(&name)).await;
        });
        futures_util::future::join_all(tries).await;
    }

    #[test]
    fn silent_name_servers_do_not_hold_every_thread() {
        within_a_small_pool(async {
            let servers = Arc::new(Servers::default());
            let look_ups = servers.look_ups();
            for _ in 0..3 {
                try_each(&look_ups, (0..200).map(|number| format!("silent-{number}"))).await;
            }
            assert!(servers.asked() <= ANSWERING + SILENT, "{} are asked at once", servers.asked());
            assert_eq!(tokio::task::spawn_blocking(|| 7).await.unwrap(), 7, "other work goes on");
            servers.end();
            assert_eq!(look_ups.addresses("silent-199").await.unwrap().len(), 1, "places are given back");
        });
    }

    #[test]
    fn names_that_did_not_answer_keep_no_other_waiting() {
        within_a_small_pool(async {
            let servers = Arc::new(Servers::default());
            let look_ups = servers.look_ups();
            let names = || (0..100).map(|number| format!("refusing-{number}"));
            for name in names() {
                assert!(look_ups.addresses(&name).await.is_err());
            }
            try_each(&look_ups, names()).await;
            until(|| servers.asked() == 100 + SILENT).await;
            assert_eq!(look_ups.addresses("living").await.unwrap().len(), 1);
            servers.end();
        });
    }

    #[test]
    fn who_waits_for_the_same_name_shares_its_look_up() {
        within_a_small_pool(async {
            let servers = Arc::new(Servers::default());
            let look_ups = servers.look_ups();
            let all = futures_util::future::join_all((0..50).map(|_| look_ups.addresses("silent")));
            let asked = async {
                until(|| servers.asked() == OF_A_NAME).await;
                servers.end();
            };
            let (found, ()) = tokio::join!(all, asked);
            assert!(found.into_iter().all(|found| found.is_ok_and(|found| found.len() == 1)));
            assert_eq!(servers.asked(), OF_A_NAME);
        });
    }
}
