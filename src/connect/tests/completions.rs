//! Completions that do not say who has signed.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};

use super::{bare, fixture, fixture_over, putting_off};
use crate::{
    connect::{
        Limits, Receipt, inbox,
        permutations::{ENVELOPE, sim},
    },
    domain::{EnvelopeId, SignerStatus, SigningStatus},
    events::testing::eventually,
};

fn completed() -> Value {
    sim("envelope-completed", None, 1)
}

/// Two configurations tell of it, and only one lists the recipients; or nobody lists them, and the upstream cannot be
/// asked.
#[tokio::test]
async fn f1_a_completion_without_a_list_waits_a_moment_for_one_and_is_not_lost() {
    for is_listed in [true, false] {
        let mut listed = completed();
        let fixture = putting_off(&listed).await;
        if is_listed {
            // The second was taken off.
            listed["data"]["envelopeSummary"]["recipients"]["signers"].as_array_mut().unwrap().pop();
            assert_eq!(fixture.receive(&listed).await, Receipt::Accepted);
        }
        fixture.ends(SigningStatus::Completed).await;
        let record = fixture.store.signing_by_envelope(&EnvelopeId::new(ENVELOPE)).await.unwrap().unwrap();
        let stands: Vec<_> = record.signing.signers.iter().map(|signer| signer.status).collect();
        let second = if is_listed { SignerStatus::Waiting } else { SignerStatus::Signed };
        assert_eq!(stands, [SignerStatus::Signed, second]);
    }
}

/// The daemon is gone before it is known who has signed, with and without a word.
#[tokio::test]
async fn f3_a_completion_without_a_list_outlives_a_stop_and_a_kill() {
    for is_killed in [false, true] {
        let before = putting_off(&completed()).await;
        if is_killed {
            before.life.abort();
        } else {
            before.life.stop();
        }
        before.life.drain(Duration::from_secs(60)).await;
        assert_eq!(before.status().await, Some(SigningStatus::Open));
        assert_eq!(before.store.inbox(10).await.unwrap().len(), 1);
        let after = fixture_over(Arc::clone(&before.store), Limits::default());
        after.run();
        after.ends(SigningStatus::Completed).await;
    }
}

/// As many are put off as one round reads, and what came behind them is taken in all the same.
#[tokio::test]
async fn f3_what_is_put_off_hides_nothing() {
    let fixture = fixture().await;
    fixture.signing().await;
    for second in 0..inbox::BATCH {
        let mut bare = bare(&completed());
        bare["generatedDateTime"] = json!(format!("2026-02-25T06:13:01.{second:07}Z"));
        assert_eq!(fixture.receive(&bare).await, Receipt::Accepted);
    }
    assert_eq!(fixture.receive(&sim("envelope-voided", None, 1)).await, Receipt::Accepted);
    fixture.run();
    eventually(async || fixture.status().await == Some(SigningStatus::Voided)).await;
}
