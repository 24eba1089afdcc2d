//! Envelopes that no signing comes to have.

use std::{path::Path, time::Duration};

use super::{Fixture, Format, Limits, Logged, Receipt, fixture_over, sim, store_in};
use crate::domain::EnvelopeId;

/// Envelopes that nobody has, by number.
fn remember(fixture: &Fixture, count: u32) {
    let mut unknown = fixture.inbox.parts.unknown.lock().unwrap();
    for number in 0..count {
        unknown.remember(EnvelopeId::new(number.to_string()), Duration::ZERO);
    }
}

/// Changes what the store looks envelopes up in.
fn table(path: &Path, change: &str) {
    rusqlite::Connection::open(path).unwrap().execute_batch(change).unwrap();
}

fn is_unknown(fixture: &Fixture, count: u64) -> bool {
    let line = format!("countersign_connect_deliveries_total{{result=\"unknown\"}} {count}\n");
    fixture.metrics.render().contains(&line)
}

/// What is not known because the store did not answer is not given up, and counted once it is known.
#[tokio::test]
async fn an_envelope_whose_last_look_the_store_fails_is_looked_up_again() {
    let path = std::env::temp_dir().join(format!("countersign-strangers-{}.db", uuid::Uuid::new_v4()));
    let fixture = fixture_over(store_in(&path).await, Limits::default());
    for second in 1..=3 {
        assert_eq!(fixture.receive(&sim("recipient-delivered", Some("1"), second)).await, Receipt::Accepted);
    }
    fixture.inbox.take_in(0).await.unwrap();
    // Longer than any wait between two looks.
    let look = async |times: u32| {
        for _ in 0..times {
            fixture.clock.advance(Duration::from_secs(2 * 3_600));
            fixture.inbox.take_in(0).await.unwrap();
        }
    };
    look(13).await;
    table(&path, "ALTER TABLE signings RENAME TO away");
    look(3).await;
    assert!(is_unknown(&fixture, 0), "whether it is a signing's is not known");
    table(&path, "ALTER TABLE away RENAME TO signings");
    look(1).await;
    assert!(is_unknown(&fixture, 3), "{}", fixture.metrics.render());
}

/// Each question may take as long as the store has, and what comes in waits for the round.
#[tokio::test]
async fn after_a_look_that_fails_the_round_asks_nothing_more_and_the_others_lose_no_look() {
    let path = std::env::temp_dir().join(format!("countersign-strangers-{}.db", uuid::Uuid::new_v4()));
    let fixture = fixture_over(store_in(&path).await, Limits::default());
    remember(&fixture, 3);
    let look = async |wait: Duration| {
        fixture.clock.advance(wait);
        fixture.inbox.take_in(0).await.unwrap();
    };
    for _ in 0..13 {
        look(Duration::from_secs(2 * 3_600)).await;
    }
    table(&path, "ALTER TABLE signings RENAME TO away");
    look(Duration::from_secs(2 * 3_600)).await;
    table(&path, "ALTER TABLE away RENAME TO signings");
    look(Duration::from_secs(1)).await;
    assert!(is_unknown(&fixture, 2), "the other two were not asked for: {}", fixture.metrics.render());
    look(Duration::from_secs(60)).await;
    assert!(is_unknown(&fixture, 3), "{}", fixture.metrics.render());
}

#[tokio::test]
async fn looks_that_fail_for_long_are_a_line_at_the_begin_and_one_a_minute() {
    let path = std::env::temp_dir().join(format!("countersign-strangers-{}.db", uuid::Uuid::new_v4()));
    let fixture = fixture_over(store_in(&path).await, Limits::default());
    remember(&fixture, 150);
    table(&path, "ALTER TABLE signings RENAME TO away");
    let logged = Logged::start(tracing::level_filters::LevelFilter::WARN, Format::Json);
    let lines = async |seconds: u32| {
        for _ in 0..seconds {
            fixture.clock.advance(Duration::from_secs(1));
            fixture.inbox.take_in(0).await.unwrap();
        }
        logged.take().lines().filter(|line| line.contains("unknown envelopes could not be")).count()
    };
    assert_eq!(lines(59).await, 1);
    assert_eq!(lines(60).await, 1);
}
