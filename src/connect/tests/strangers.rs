//! Envelopes that no signing comes to have.

use std::time::Duration;

use super::{Limits, Receipt, fixture_over, sim, store_in};

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
    let unknown = |count: u64| {
        let line = format!("countersign_connect_deliveries_total{{result=\"unknown\"}} {count}\n");
        fixture.metrics.render().contains(&line)
    };
    look(13).await;
    let table = |change: &str| rusqlite::Connection::open(&path).unwrap().execute_batch(change).unwrap();
    table("ALTER TABLE signings RENAME TO away");
    look(3).await;
    assert!(unknown(0), "whether it is a signing's is not known");
    table("ALTER TABLE away RENAME TO signings");
    look(1).await;
    assert!(unknown(3), "{}", fixture.metrics.render());
}
