//! The rules of the cache, one by one, over a source that does as it is told.

mod refusals;

use super::{
    testing::{Bench, Plan, cause, down},
    *,
};
use crate::auth::{access_token::MintedToken, error::Said};

#[tokio::test]
async fn t1_the_refresh_comes_at_half_of_life_and_nobody_waits() {
    let bench = Bench::new([]);
    let first = bench.token().await.unwrap();
    bench.leap(1_600).await;
    assert_eq!(bench.source.mints(), 1);
    bench.source.plan([Plan::After(60, Box::new(Plan::Life(3_600)))]);
    bench.leap(400).await;
    assert_eq!(bench.source.mints(), 2, "at 27 to 33 minutes");
    let meanwhile = bench.token_now().await.expect("nobody waits");
    assert_eq!(meanwhile.generation(), first.generation());
    bench.leap(60).await;
    assert!(bench.cache.ready().unwrap().generation() > first.generation());
    // Two mints an hour, however many readers there are.
    for _ in 0..720 {
        bench.leap(60).await;
        assert!(bench.cache.ready().is_some());
    }
    assert!((24..=29).contains(&bench.source.mints()), "{}", bench.source.mints());
}

#[tokio::test]
async fn t4_a_check_that_failed_is_tried_again_while_the_token_is_young() {
    let bench = Bench::new([Plan::Life(3_600), down(), down()]);
    let first = bench.token().await.unwrap();
    bench.leap(60).await;
    bench.cache.wake();
    bench.settle().await;
    assert!(bench.cache.status().failure.is_some());
    let meanwhile = bench.token_now().await.expect("nobody waits");
    assert_eq!(meanwhile.generation(), first.generation(), "a failure takes nothing away");
    bench.pass(8).await;
    assert!(bench.cache.status().failure.is_none(), "it healed by itself, long before half of life");
    assert_eq!(bench.source.mints(), 4);
    bench.leap(600).await;
    assert_eq!(bench.source.mints(), 4, "and then the usual pace");
}

#[tokio::test]
async fn t1_refreshes_of_many_daemons_spread_over_ten_percent() {
    let mut jitter = Jitter::new(3);
    let life = Duration::from_secs(3_600);
    let at: Vec<u64> = (0..200)
        .map(|n| {
            let minted = MintedToken::new("x", Duration::ZERO, life).unwrap();
            AccessToken::publish(minted, n, jitter.symmetric()).schedule().refresh_at.as_secs()
        })
        .collect();
    assert!(at.iter().all(|at| (1_620..=1_980).contains(at)));
    assert!(at.iter().max().unwrap() - at.iter().min().unwrap() > 300);
}

#[tokio::test]
async fn t2_in_the_last_minutes_a_caller_waits_two_seconds() {
    let bench = Bench::new([Plan::Life(3_600), Plan::After(5_000, Box::new(Plan::Life(3_600)))]);
    let first = bench.token().await.unwrap();
    // The machine slept through the refresh, and the account server is slow now.
    bench.clock.advance(Duration::from_secs(3_100));
    let caller = bench.callers(1).pop().unwrap();
    bench.settle().await;
    assert!(!caller.is_finished());
    bench.pass(1).await;
    assert!(!caller.is_finished());
    bench.pass(1).await;
    assert_eq!(caller.await.unwrap().unwrap().generation(), first.generation());
    // Who comes later does not pay for the same slow flight again.
    bench.pass(1).await;
    assert_eq!(bench.token_now().await.unwrap().generation(), first.generation());
    assert_eq!(bench.cache.status().band, Band::LastMinutes);
}

#[tokio::test]
async fn t2_a_token_that_ends_while_its_refresh_is_waited_for_is_had_before() {
    let bench = Bench::new([Plan::Life(3_600), Plan::After(5_000, Box::new(Plan::Life(3_600)))]);
    let first = bench.token().await.unwrap();
    bench.clock.advance(Duration::from_secs(3_594));
    let caller = bench.callers(1).pop().unwrap();
    bench.settle().await;
    assert!(!caller.is_finished());
    bench.clock.advance(Duration::from_millis(950));
    bench.settle().await;
    assert!(caller.is_finished());
    assert_eq!(caller.await.unwrap().unwrap().generation(), first.generation());
}

#[tokio::test]
async fn t2_a_refresh_within_two_seconds_is_waited_for() {
    let bench = Bench::new([Plan::Life(3_600), Plan::After(1, Box::new(Plan::Life(3_600)))]);
    let first = bench.token().await.unwrap();
    bench.clock.advance(Duration::from_secs(3_100));
    let caller = bench.callers(1).pop().unwrap();
    bench.pass(1).await;
    assert!(caller.await.unwrap().unwrap().generation() > first.generation());
}

#[tokio::test]
async fn t3_an_outage_of_25_minutes_is_invisible() {
    let bench = Bench::new([]);
    bench.token().await.unwrap();
    bench.source.plan((0..60).map(|_| down()));
    bench.leap(1_500).await;
    let before = bench.source.mints();
    for _ in 0..1_500 {
        bench.pass(1).await;
        assert!(bench.token_now().await.is_some());
    }
    let tries = bench.source.mints() - before;
    assert!((20..=40).contains(&tries), "1 s doubling to 60 s: {tries}");
    let status = bench.cache.status();
    assert_eq!(status.failure.as_ref().unwrap().error.code(), "provider_unavailable");
    assert!(status.runway > Duration::from_secs(500));
    bench.source.plans.lock().unwrap().clear();
    bench.pass(80).await;
    assert_eq!((bench.cache.status().band, bench.cache.status().failure.is_none()), (Band::Fresh, true));
}

#[tokio::test]
async fn t4_a_panic_does_not_end_the_refresher() {
    let bench = Bench::new([Plan::Panic]);
    let miss = bench.token().await.unwrap_err();
    assert_eq!(cause(&miss), "internal");
    bench.pass(3).await;
    assert!(bench.cache.ready().is_some());
}

#[tokio::test]
async fn t4_permanent_errors_are_asked_again_for_as_long_as_it_takes() {
    let bench = Bench::new((0..500).map(|_| Plan::Fail(Error::UserUnknown(Said::default()))));
    bench.token().await.unwrap_err();
    for _ in 0..24 * 60 {
        bench.leap(60).await;
    }
    let mints = bench.source.mints();
    assert!((200..=400).contains(&mints), "every 4 to 6 minutes, still after a day: {mints}");
    bench.source.plans.lock().unwrap().clear();
    bench.leap(400).await;
    assert!(bench.cache.ready().is_some());
}

#[tokio::test]
async fn t5_a_thousand_cold_callers_cost_one_mint() {
    let bench = Bench::new([Plan::After(1, Box::new(Plan::Life(3_600)))]);
    let callers = bench.callers(1_000);
    bench.pass(1).await;
    for caller in callers {
        assert_eq!(caller.await.unwrap().unwrap().generation(), 1);
    }
    assert_eq!(bench.source.mints(), 1);
}

#[tokio::test]
async fn t5_a_thousand_cold_callers_share_one_failure() {
    let bench = Bench::new([Plan::After(1, Box::new(down()))]);
    let callers = bench.callers(1_000);
    bench.pass(1).await;
    let mut errors = Vec::new();
    for caller in callers {
        let Miss::Failed(error) = caller.await.unwrap().unwrap_err() else { panic!() };
        errors.push(error);
    }
    assert!(errors.iter().all(|error| Arc::ptr_eq(error, &errors[0])));
    // Remembered: who comes now is answered at once, and asks nobody.
    for caller in bench.callers(1_000) {
        assert_eq!(cause(&caller.await.unwrap().unwrap_err()), "unavailable");
    }
    assert_eq!(bench.source.mints(), 1);
}

#[tokio::test]
async fn t5_callers_who_hang_up_change_nothing() {
    let bench = Bench::new([Plan::After(3, Box::new(Plan::Life(3_600)))]);
    let leaders = bench.callers(10);
    bench.settle().await;
    let follower = bench.callers(1).pop().unwrap();
    bench.pass(1).await;
    leaders.iter().for_each(tokio::task::JoinHandle::abort);
    bench.pass(2).await;
    assert!(follower.await.unwrap().is_ok());
    assert_eq!(bench.source.mints(), 1);
}

#[tokio::test]
async fn t8_life_counts_from_before_the_request() {
    let slow = |seconds| Plan::After(seconds, Box::new(Plan::Life(60)));
    let bench = Bench::new([slow(50), slow(1_000)]);
    let caller = bench.callers(1).pop().unwrap();
    bench.pass(50).await;
    caller.await.unwrap().unwrap();
    assert_eq!(bench.cache.status().expires_in, Some(Duration::from_secs(10)));
}

#[tokio::test]
async fn t8_a_token_that_is_dead_on_arrival_is_a_failure() {
    let bench = Bench::new([Plan::After(50, Box::new(Plan::Life(50)))]);
    let caller = bench.callers(1).pop().unwrap();
    bench.pass(50).await;
    assert_eq!(cause(&caller.await.unwrap().unwrap_err()), "malformed");
}

#[tokio::test]
async fn t11_missing_consent_is_a_state_that_ends_with_a_wake() {
    let bench = Bench::new([
        Plan::Fail(Error::ConsentRequired(Said::default())),
        Plan::Fail(Error::ConsentRequired(Said::default())),
    ]);
    assert_eq!(bench.record.consent().as_str(), "unknown");
    assert_eq!(cause(&bench.token().await.unwrap_err()), "consent_required");
    assert_eq!(bench.record.consent().as_str(), "missing");
    let next_try = bench.cache.status().failure.unwrap().next_try_in;
    assert!((48..=72).contains(&next_try.as_secs()), "{next_try:?}");
    bench.pass(2).await;
    let cache = bench.cache.clone();
    let proof = tokio::spawn(async move { cache.prove().await });
    bench.settle().await;
    assert_eq!(cause(&proof.await.unwrap().unwrap_err()), "consent_required");
    // The grant: the callback wakes, and those who come meanwhile wait for what it brings.
    bench.cache.wake();
    let caller = bench.callers(1).pop().unwrap();
    bench.pass(1).await;
    assert!(caller.await.unwrap().is_ok());
    assert_eq!(bench.record.consent().as_str(), "granted");
}

#[tokio::test]
async fn wakes_in_a_row_keep_a_second_between_mints() {
    let bench = Bench::new([]);
    bench.token().await.unwrap();
    for _ in 0..1_000 {
        bench.cache.wake();
        bench.settle().await;
    }
    assert_eq!(bench.source.mints(), 1);
    bench.pass(1).await;
    assert_eq!(bench.source.mints(), 2);
    bench.pass(10).await;
    assert_eq!(bench.source.mints(), 2, "they were one");
}

#[tokio::test]
async fn a_forced_mint_that_fails_keeps_the_valid_token() {
    let bench = Bench::new([Plan::Life(3_600), Plan::Fail(Error::KeyRejected(Said::default()))]);
    let first = bench.token().await.unwrap();
    bench.pass(2).await;
    assert_eq!(cause(&bench.cache.prove().await.unwrap_err()), "key_rejected");
    assert_eq!(bench.token_now().await.unwrap().generation(), first.generation());
}

#[tokio::test]
async fn an_idle_cache_drops_its_token_and_ends_its_task() {
    let bench = Bench::new([]);
    bench.token().await.unwrap();
    for _ in 0..25 {
        bench.leap(3_600).await;
    }
    let mints = bench.source.mints();
    assert!(bench.cache.is_dropped() && bench.cache.ready().is_none());
    assert!(matches!(bench.token().await, Err(Miss::Dropped)));
    bench.leap(100_000).await;
    assert_eq!(bench.source.mints(), mints);
}

#[tokio::test]
async fn closing_tells_those_who_wait() {
    let bench = Bench::new([Plan::After(100, Box::new(Plan::Life(60)))]);
    let callers = bench.callers(3);
    bench.settle().await;
    bench.cache.shared.around.closed.cancel();
    for caller in callers {
        assert!(matches!(caller.await.unwrap(), Err(Miss::Dropped)));
    }
}
