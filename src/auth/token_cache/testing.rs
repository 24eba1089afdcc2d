//! What the tests of the cache share: a source that does as it is told, and a clock that a test moves.

use std::collections::VecDeque;

use jiff::Timestamp;

use super::*;
use crate::{
    auth::{
        access_token::MintedToken,
        retry::Retry,
        token_source::{Failure, Minting},
    },
    clock::{Clock as _, ManualClock},
};

/// What the next mint does.
pub(super) enum Plan {
    /// Yields a token of so many seconds.
    Life(u64),
    Fail(Error),
    Panic,
    /// Takes so long, then does the rest.
    After(u64, Box<Plan>),
}

pub(super) struct Scripted {
    clock: ManualClock,
    pub(super) plans: Mutex<VecDeque<Plan>>,
    mints: AtomicU64,
}

impl Scripted {
    pub(super) fn mints(&self) -> u64 {
        self.mints.load(Ordering::SeqCst)
    }

    pub(super) fn plan(&self, plans: impl IntoIterator<Item = Plan>) {
        self.plans.lock().unwrap().extend(plans);
    }
}

impl TokenSource for Scripted {
    fn mint(&self) -> Minting<'_> {
        let count = self.mints.fetch_add(1, Ordering::SeqCst);
        let mut plan = self.plans.lock().unwrap().pop_front().unwrap_or(Plan::Life(3_600));
        let born = self.clock.uptime();
        Box::pin(async move {
            loop {
                match plan {
                    Plan::Life(life) => {
                        let life = Duration::from_secs(life);
                        return Ok(MintedToken::new(&format!("token-{count}"), born, life).unwrap());
                    }
                    Plan::Fail(error) => return Err(Failure::from(error)),
                    Plan::Panic => panic!("on purpose"),
                    Plan::After(seconds, rest) => {
                        self.clock.sleep(Duration::from_secs(seconds)).await;
                        plan = *rest;
                    }
                }
            }
        })
    }
}

pub(super) fn down() -> Plan {
    Plan::Fail(Error::Unavailable { status: 503, retry_after: None })
}

pub(super) struct Bench {
    pub(super) clock: ManualClock,
    pub(super) source: Arc<Scripted>,
    pub(super) cache: TokenCache,
    pub(super) record: Arc<Record>,
}

impl Bench {
    pub(super) fn new(plans: impl IntoIterator<Item = Plan>) -> Self {
        let clock = ManualClock::new(Timestamp::UNIX_EPOCH);
        let source =
            Arc::new(Scripted { clock: clock.clone(), plans: Mutex::default(), mints: AtomicU64::new(0) });
        source.plan(plans);
        let shared_clock: SharedClock = Arc::new(clock.clone());
        let retry = Retry::new(Arc::clone(&source), Arc::clone(&shared_clock), 1);
        let around = Surroundings {
            clock: shared_clock,
            spawner: Spawner::tokio(),
            generations: Arc::default(),
            closed: CancellationToken::new(),
            idle_after: Duration::from_secs(86_400),
            seed: 1,
            asked: Asked::default(),
            is_crowded: false,
            on_idle: None,
        };
        let record = Arc::new(Record::default());
        let cache = TokenCache::new(Arc::new(retry), Arc::clone(&record), around);
        Self { clock, source, cache, record }
    }

    /// What a caller gets who has all the time there is.
    pub(super) async fn token(&self) -> Result<AccessToken, Miss> {
        self.cache.token_within(Duration::MAX).await
    }

    /// Lets every task go as far as it can.
    pub(super) async fn settle(&self) {
        for _ in 0..64 {
            tokio::task::yield_now().await;
        }
    }

    pub(super) async fn pass(&self, seconds: u64) {
        self.settle().await;
        // In steps, so that timers set on the way fire in time.
        for _ in 0..seconds {
            self.clock.advance(Duration::from_secs(1));
            self.settle().await;
        }
    }

    pub(super) async fn leap(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
        self.settle().await;
    }

    /// What a caller gets without any time passing.
    pub(super) async fn token_now(&self) -> Option<AccessToken> {
        let cache = self.cache.clone();
        let task = tokio::spawn(async move { cache.token_within(Duration::MAX).await });
        self.settle().await;
        if task.is_finished() { task.await.unwrap().ok() } else { None }
    }

    pub(super) fn callers(&self, count: usize) -> Vec<tokio::task::JoinHandle<Result<AccessToken, Miss>>> {
        (0..count)
            .map(|_| {
                let cache = self.cache.clone();
                tokio::spawn(async move { cache.token_within(Duration::MAX).await })
            })
            .collect()
    }
}

pub(super) fn cause(miss: &Miss) -> &'static str {
    match miss {
        Miss::Dropped => "dropped",
        Miss::Failed(error) => error.cause(),
    }
}
