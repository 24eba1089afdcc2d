//! When to ask again: the layer between the exchange and the cache.
//!
//! It decides once, from [`Error::kind`]: what heals by itself is asked for again after 1 s, doubling
//! to 60 s; what needs a person after 60 s, doubling to 5 min (rules T4, T5). Jitter spreads that, and what needs a
//! person stays within those bounds. No error means never.
//! It does not wait and does not repeat anything itself: it only says `not_before`, and whoever
//! drives the mints keeps to it.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use super::{
    error::{Error, Kind},
    token_source::{Failure, Minting, TokenSource},
};
use crate::clock::SharedClock;

/// First and longest wait for what heals by itself.
const TRANSIENT: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// First and longest wait for what needs a person; also the longest that the upstream may ask for,
/// since no answer of it may put the refresher to sleep.
const PERMANENT: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(300));

/// The wait after the `failures`-th failure in a row (counted from 0), before jitter.
pub(super) fn backoff(kind: Kind, failures: u32) -> Duration {
    let (first, longest) = match kind {
        Kind::Transient => TRANSIENT,
        Kind::Permanent => PERMANENT,
    };
    first.saturating_mul(1 << failures.min(16)).min(longest)
}

/// Spreads what many daemons would otherwise do in step. Seeded, so that tests repeat.
#[derive(Debug)]
pub(super) struct Jitter(fastrand::Rng);

impl Jitter {
    pub(super) fn new(seed: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed))
    }

    /// Between -1 and 1.
    pub(super) fn symmetric(&mut self) -> f64 {
        self.0.f64() * 2.0 - 1.0
    }

    /// `duration` ±20 %.
    pub(super) fn spread(&mut self, duration: Duration) -> Duration {
        duration.mul_f64(1.0 + 0.2 * self.symmetric())
    }
}

/// A source that says, with each failure, when to ask again.
#[derive(Debug)]
pub struct Retry<S> {
    inner: S,
    clock: SharedClock,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Failures in a row of one kind.
    streak: Option<(Kind, u32)>,
    jitter: Jitter,
}

impl<S: TokenSource> Retry<S> {
    /// Wraps a source.
    pub fn new(inner: S, clock: SharedClock, seed: u64) -> Self {
        Self { inner, clock, state: Mutex::new(State { streak: None, jitter: Jitter::new(seed) }) }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn not_before(&self, error: &Error) -> Duration {
        let kind = error.kind();
        let mut state = self.lock();
        let failures = match state.streak {
            Some((last, count)) if last == kind => count,
            _ => 0,
        };
        state.streak = Some((kind, failures.saturating_add(1)));
        let wait = state.jitter.spread(backoff(kind, failures));
        let wait = match kind {
            Kind::Transient => wait,
            Kind::Permanent => wait.clamp(PERMANENT.0, PERMANENT.1),
        };
        let asked = error.retry_after().unwrap_or_default().min(PERMANENT.1);
        self.clock.uptime().saturating_add(wait.max(asked))
    }
}

impl<S: TokenSource> TokenSource for Retry<S> {
    fn mint(&self) -> Minting<'_> {
        Box::pin(async {
            match self.inner.mint().await {
                Ok(minted) => {
                    self.lock().streak = None;
                    Ok(minted)
                }
                Err(failure) => {
                    let not_before =
                        self.not_before(&failure.error).max(failure.not_before.unwrap_or_default());
                    Err(Failure { not_before: Some(not_before), ..failure })
                }
            }
        })
    }

    fn wake(&self) {
        self.lock().streak = None;
        self.inner.wake();
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::VecDeque, sync::Arc};

    use jiff::Timestamp;

    use super::*;
    use crate::{
        auth::{access_token::MintedToken, error::Said},
        clock::ManualClock,
    };

    struct Script(Mutex<VecDeque<Option<Error>>>);

    impl TokenSource for Script {
        fn mint(&self) -> Minting<'_> {
            let next = self.0.lock().unwrap().pop_front().unwrap();
            Box::pin(async {
                match next {
                    Some(error) => Err(error.into()),
                    None => Ok(MintedToken::new("x", Duration::ZERO, Duration::from_secs(60)).unwrap()),
                }
            })
        }
    }

    async fn waits(script: Vec<Option<Error>>) -> Vec<f64> {
        waits_of(script, 7).await
    }

    async fn waits_of(script: Vec<Option<Error>>, seed: u64) -> Vec<f64> {
        let clock: SharedClock = Arc::new(ManualClock::new(Timestamp::UNIX_EPOCH));
        let count = script.len();
        let retry = Retry::new(Script(Mutex::new(script.into())), Arc::clone(&clock), seed);
        let mut waits = Vec::new();
        for _ in 0..count {
            match retry.mint().await {
                Ok(_) => waits.push(0.0),
                Err(failure) => {
                    let wait = failure.not_before.unwrap().saturating_sub(clock.uptime());
                    waits.push(wait.as_secs_f64());
                }
            }
        }
        waits
    }

    const DOWN: Option<Error> = Some(Error::Unavailable { status: 503, retry_after: None });

    fn assert_near(waits: &[f64], expected: &[f64]) {
        assert_eq!(waits.len(), expected.len());
        for (wait, expected) in waits.iter().zip(expected) {
            assert!((wait - expected).abs() <= expected * 0.2 + 1e-6, "{waits:?}");
        }
        assert!(waits.iter().zip(expected).any(|(a, b)| (a - b).abs() > 1e-3), "no jitter: {waits:?}");
    }

    #[tokio::test]
    async fn t5_transient_failures_double_from_one_second_to_a_minute() {
        let waits = waits((0..9).map(|_| DOWN).collect()).await;
        assert_near(&waits, &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]);
    }

    #[tokio::test]
    async fn t4_permanent_failures_are_slow_and_never_the_end() {
        let waits = waits((0..5).map(|_| Some(Error::ConsentRequired(Said::default()))).collect()).await;
        assert_near(&waits, &[60.0, 120.0, 240.0, 300.0, 300.0]);
    }

    #[tokio::test]
    async fn t4_jitter_leaves_the_bounds_of_permanent_failures() {
        for seed in 0..50 {
            let lost = || Some(Error::ConsentRequired(Said::default()));
            let waits = waits_of((0..6).map(|_| lost()).collect(), seed).await;
            assert!(waits.iter().all(|wait| (60.0..=300.0).contains(wait)), "{seed}: {waits:?}");
        }
    }

    #[tokio::test]
    async fn a_success_or_another_kind_of_failure_starts_over() {
        let waits =
            waits(vec![DOWN, DOWN, None, DOWN, Some(Error::KeyRejected(Said::default())), DOWN]).await;
        assert_near(&waits, &[1.0, 2.0, 0.0, 1.0, 60.0, 1.0]);
    }

    #[tokio::test]
    async fn the_upstreams_wish_is_kept_up_to_five_minutes() {
        let limited = |seconds| Some(Error::RateLimited { retry_after: Some(Duration::from_secs(seconds)) });
        let waits = waits(vec![limited(30), limited(3_600)]).await;
        assert_eq!(waits, [30.0, 300.0]);
    }

    #[test]
    fn no_count_of_failures_overflows() {
        assert_eq!(backoff(Kind::Transient, u32::MAX), Duration::from_secs(60));
        assert_eq!(backoff(Kind::Permanent, u32::MAX), Duration::from_secs(300));
    }
}
