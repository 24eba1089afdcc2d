//! Tokens that the upstream refuses: retired once each, and not replaced without end.

use crate::auth::token_cache::{
    testing::{Bench, Plan},
    *,
};

#[tokio::test]
async fn t6_a_401_retires_its_own_generation_only() {
    let bench = Bench::new([]);
    let first = bench.token().await.unwrap();
    bench.pass(5).await;
    assert_eq!(bench.cache.retire(first.generation()), Retired::Now);
    let second = bench.token().await.unwrap();
    assert!(second.generation() > first.generation());
    // The late 401 of a slow request.
    assert_eq!(bench.cache.retire(first.generation()), Retired::Before);
    assert_eq!(bench.token().await.unwrap().generation(), second.generation());
    assert_eq!(bench.source.mints(), 2);
}

#[tokio::test]
async fn t6_a_refresh_that_began_before_an_invalidation_does_not_publish() {
    let bench = Bench::new([Plan::Life(3_600), Plan::After(10, Box::new(Plan::Life(3_600)))]);
    let first = bench.token().await.unwrap();
    bench.leap(2_000).await;
    assert_eq!(bench.source.mints(), 2, "the refresh is on its way");
    assert_eq!(bench.cache.retire(first.generation()), Retired::Now);
    let caller = bench.callers(1).pop().unwrap();
    bench.pass(10).await;
    let token = caller.await.unwrap().unwrap();
    assert_eq!(bench.source.mints(), 3);
    assert_eq!(token.header(), "Bearer token-2", "not the one whose mint began before");
}

#[tokio::test]
async fn t6_a_thousand_401s_together_cost_one_mint() {
    let bench = Bench::new([]);
    let first = bench.token().await.unwrap();
    bench.pass(60).await;
    let retired: Vec<_> = (0..1_000).map(|_| bench.cache.retire(first.generation())).collect();
    assert_eq!(retired.iter().filter(|retired| **retired == Retired::Now).count(), 1);
    for caller in bench.callers(1_000) {
        assert!(caller.await.unwrap().is_ok());
    }
    assert_eq!(bench.source.mints(), 2);
}

#[tokio::test]
async fn t7_refusals_in_a_row_do_not_become_a_mint_each() {
    let bench = Bench::new([]);
    let mut last = 0;
    // The account is suspended: every call is refused, whatever the token.
    for _ in 0..600 {
        if let Some(token) = bench.token_now().await {
            assert!(token.generation() > last, "a token that was refused is not sent again");
            last = token.generation();
            assert_eq!(bench.cache.retire(last), Retired::Now);
        }
        bench.pass(1).await;
    }
    assert!(bench.source.mints() <= 17, "{}", bench.source.mints());
    assert!(bench.cache.ready().is_none() && bench.cache.status().is_refreshing);
    // It ends: the next token comes by itself.
    bench.pass(60).await;
    assert!(bench.token_now().await.is_some());
}

#[tokio::test]
async fn t7_a_second_early_401_retires_at_once_and_only_the_mint_waits() {
    let bench = Bench::new([]);
    let first = bench.token().await.unwrap();
    bench.pass(5).await;
    assert_eq!(bench.cache.retire(first.generation()), Retired::Now);
    let second = bench.token_now().await.expect("the first is replaced at once");
    assert_eq!(bench.cache.retire(second.generation()), Retired::Now);
    assert!(bench.token_now().await.is_none(), "never again what was refused");
    bench.pass(1).await;
    let third = bench.token_now().await.expect("a second after the last mint");
    assert_eq!(bench.cache.retire(third.generation()), Retired::Now);
    assert_eq!(bench.cache.held_back(), Some(Duration::from_secs(2)));
    // Who has no time for that is told until when; the others wait.
    let miss = bench.cache.token_within(Duration::from_secs(1)).await.unwrap_err();
    let Miss::Failed(error) = miss else { panic!("{miss:?}") };
    assert_eq!((error.cause(), error.retry_after()), ("token_refused", Some(Duration::from_secs(2))));
    let patient = bench.cache.clone();
    let patient = tokio::spawn(async move { patient.token_within(Duration::from_secs(3)).await });
    bench.pass(2).await;
    assert!(patient.await.unwrap().unwrap().generation() > third.generation());
    assert_eq!(bench.source.mints(), 4);
    // Refusals that are far apart are not in a row.
    bench.pass(301).await;
    let fourth = bench.token_now().await.unwrap();
    assert_eq!(bench.cache.retire(fourth.generation()), Retired::Now);
    assert!(bench.token_now().await.is_some());
    assert_eq!(bench.cache.held_back(), None);
}

#[tokio::test]
async fn t7_an_operator_need_not_wait_for_a_mint_that_is_held_back() {
    let bench = Bench::new([]);
    for _ in 0..6 {
        if let Some(token) = bench.token_now().await {
            bench.cache.retire(token.generation());
        }
        bench.pass(1).await;
    }
    assert!(bench.cache.held_back().is_some() && bench.token_now().await.is_none());
    bench.cache.wake();
    bench.settle().await;
    assert!(bench.token_now().await.is_some());
    assert_eq!(bench.cache.held_back(), None);
}
