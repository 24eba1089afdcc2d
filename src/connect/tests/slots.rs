//! Places for bodies, and the time that an answer may take: what holds them, and who goes without.

use std::{convert::Infallible, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::StreamExt as _;
use http_body::Frame;
use http_body_util::StreamBody;
use tokio::task::JoinHandle;

use super::*;

/// An inbox whose store somebody else holds, so that nothing is stored until they let go.
async fn held_up(limits: Limits) -> (Arc<Fixture>, rusqlite::Connection) {
    let path = std::env::temp_dir().join(format!("countersign-intake-{}.db", uuid::Uuid::new_v4()));
    let fixture = Arc::new(fixture_over(store_in(&path).await, limits));
    let holder = rusqlite::Connection::open(&path).unwrap();
    holder.execute_batch("BEGIN IMMEDIATE").unwrap();
    (fixture, holder)
}

/// A true delivery on its way in.
fn receiving(fixture: &Arc<Fixture>, second: u32) -> JoinHandle<Receipt> {
    let fixture = Arc::clone(fixture);
    tokio::spawn(async move { fixture.receive(&sim("envelope-sent", None, second)).await })
}

/// A body of which so much arrives, and then nothing any more.
fn stalled(
    bytes: usize,
) -> StreamBody<impl futures_util::Stream<Item = Result<Frame<Bytes>, Infallible>> + Send> {
    let begun = futures_util::stream::iter([Ok(Frame::data(Bytes::from(vec![b' '; bytes])))]);
    StreamBody::new(begun.chain(futures_util::stream::pending()))
}

#[tokio::test]
async fn s5_bodies_too_large_too_slow_or_broken_off_are_not_kept() {
    let limits = Limits { body_bytes: 1_000, ..Limits::default() };
    let fixture = Arc::new(fixture_over(store().await, limits));
    let large = Bytes::from(vec![b' '; 1_001]);
    assert_eq!(
        fixture.inbox.receive(&signed(&large), None, Full::new(large.clone())).await,
        Receipt::TooLarge
    );
    let pieces = futures_util::stream::iter(
        [&large[..600], &large[600..]]
            .map(|piece| Ok::<_, Infallible>(Frame::data(Bytes::copy_from_slice(piece)))),
    );
    let receipt = fixture.inbox.receive(&signed(&large), None, StreamBody::new(pieces)).await;
    assert_eq!((receipt, receipt.status()), (Receipt::TooLarge, 413), "also without a length");
    let broken = futures_util::stream::iter([Err::<Frame<Bytes>, _>(std::io::Error::other("reset"))]);
    assert_eq!(fixture.inbox.receive(&signed(b"x"), None, StreamBody::new(broken)).await, Receipt::Broken);
    let slow = tokio::spawn({
        let fixture = Arc::clone(&fixture);
        async move { fixture.inbox.receive(&signed(b"x"), None, stalled(10)).await }
    });
    settle().await;
    fixture.clock.advance(Duration::from_secs(10));
    assert_eq!(slow.await.unwrap(), Receipt::TooSlow);
    assert!(fixture.store.inbox(10).await.unwrap().is_empty());
}

#[tokio::test]
async fn s5_a_flood_of_slow_bodies_does_not_keep_a_true_delivery_out() {
    let limits = Limits { small_bytes: 1_000, small: 64, large: 2, ..Limits::default() };
    let fixture = Arc::new(fixture_over(store().await, limits));
    let flood = |count: usize, bytes: usize| -> Vec<_> {
        let one = |fixture: Arc<Fixture>| async move {
            fixture.inbox.receive(&signed(b"x"), None, stalled(bytes)).await
        };
        (0..count).map(|_| tokio::spawn(one(Arc::clone(&fixture)))).collect()
    };
    // Time stands still: nobody is waited for, neither with a small body nor with a large one.
    let slow = flood(64, 10);
    settle().await;
    assert_eq!(fixture.receive(&sim("envelope-sent", None, 1)).await, Receipt::Accepted);
    let large = flood(2, 1_500);
    settle().await;
    let mut message = sim("envelope-completed", None, 2);
    message["padding"] = json!(" ".repeat(2_000));
    assert_eq!(fixture.receive(&message).await, Receipt::Accepted);
    // Whoever had been there for longest made room, one of each size, and may come again.
    settle().await;
    let is_over = |all: &[tokio::task::JoinHandle<Receipt>]| -> Vec<bool> {
        all.iter().map(tokio::task::JoinHandle::is_finished).collect()
    };
    assert_eq!(is_over(&slow), [vec![true], vec![false; 63]].concat());
    assert_eq!(is_over(&large), [true, false]);
    let receipt = slow.into_iter().next().unwrap().await.unwrap();
    assert_eq!((receipt, receipt.status()), (Receipt::Crowded, 503));
    let counted = fixture.metrics.render();
    assert!(counted.contains("countersign_connect_deliveries_total{result=\"busy\"} 0"), "{counted}");
    assert!(counted.contains("countersign_connect_deliveries_total{result=\"malformed\"} 2"), "{counted}");
}

/// It is the store that keeps them there, and DocuSign may be among those who wait.
#[tokio::test]
async fn whoever_finds_all_slots_held_by_true_deliveries_is_counted_as_turned_away() {
    let (fixture, _holder) = held_up(Limits { small: 1, ..Limits::default() }).await;
    let receive = |second: u32| receiving(&fixture, second);
    let first = receive(1);
    settle().await;
    let second = receive(2);
    settle().await;
    fixture.clock.advance(Duration::from_millis(500));
    assert_eq!(second.await.unwrap(), Receipt::Busy);
    assert!(!first.is_finished() && fixture.counted("busy"), "{}", fixture.metrics.render());
}

#[tokio::test]
async fn f3_the_answer_leaves_in_time_whatever_it_has_to_wait_for() {
    let (fixture, _holder) = held_up(Limits { small: 1, ..Limits::default() }).await;
    let receive = |second: u32| receiving(&fixture, second);
    let pass = async |ms: u64| {
        fixture.clock.advance(Duration::from_millis(ms));
        settle().await;
    };
    let first = receive(1);
    settle().await;
    pass(19_600).await;
    // The one place is held by a body that has arrived; the wait for it is part of the second's time.
    let second = receive(2);
    settle().await;
    pass(399).await;
    assert!(!first.is_finished());
    pass(1).await;
    assert_eq!(first.await.unwrap(), Receipt::Busy);
    pass(19_599).await;
    assert!(!second.is_finished());
    pass(1).await;
    assert_eq!(second.await.unwrap(), Receipt::Busy);
    let counted = "countersign_connect_deliveries_total{result=\"busy\"} 2";
    assert!(fixture.metrics.render().contains(counted), "DocuSign comes back a day later");
}

/// As by a failover, or a disk that stalls.
#[tokio::test]
async fn a_store_that_is_held_up_for_seconds_costs_no_delivery() {
    let (fixture, holder) = held_up(Limits::default()).await;
    let receives = receiving(&fixture, 1);
    settle().await;
    fixture.clock.advance(Duration::from_secs(15));
    settle().await;
    assert!(!receives.is_finished(), "what DocuSign would wait for");
    holder.execute_batch("ROLLBACK").unwrap();
    assert_eq!(receives.await.unwrap(), Receipt::Accepted);
}
