//! Voids that do not say why, and declined envelopes that do not say who has declined.

use std::{sync::Arc, time::Duration};

use serde_json::json;

use super::{bare, fixture, fixture_over, putting_off};
use crate::{
    connect::{
        Limits, Receipt,
        permutations::{ENVELOPE, sim},
    },
    domain::{EnvelopeId, EventKind, MomentKind, SignerStatus, SigningStatus},
    events::testing::eventually,
};

/// Two configurations tell of it at once, and only one says why; or none says why, and the upstream cannot be asked.
#[tokio::test]
async fn f1_a_void_without_a_reason_waits_a_moment_for_one_and_is_not_lost() {
    for (reason, status) in [
        (Some("Envelope has expired."), SigningStatus::Expired),
        (Some("Called off"), SigningStatus::Voided),
        (None, SigningStatus::Voided),
    ] {
        let mut full = sim("envelope-voided", None, 1);
        let fixture = putting_off(&full).await;
        if let Some(reason) = reason {
            full["data"]["envelopeSummary"]["voidedReason"] = json!(reason);
            assert_eq!(fixture.receive(&full).await, Receipt::Accepted, "it is no duplicate");
        }
        fixture.ends(status).await;
    }
}

#[tokio::test]
async fn f1_who_has_declined_is_told_before_the_end_if_a_message_says_so() {
    for is_listed in [true, false] {
        let mut listed = sim("envelope-declined", None, 1);
        listed["data"]["envelopeSummary"]["recipients"]["signers"][0]["status"] = json!("declined");
        let fixture = putting_off(&listed).await;
        if is_listed {
            assert_eq!(fixture.receive(&listed).await, Receipt::Accepted, "it is no duplicate");
        }
        fixture.ends(SigningStatus::Declined).await;
        let record = fixture.store.signing_by_envelope(&EnvelopeId::new(ENVELOPE)).await.unwrap().unwrap();
        let told: Vec<_> = record.signing.history.into_iter().map(|moment| moment.what).collect();
        let (by_whom, end) = (EventKind::SignerDeclined, EventKind::SigningDeclined);
        if is_listed {
            assert!(told.ends_with(&[MomentKind::Event(by_whom), MomentKind::Event(end)]), "{told:?}");
            assert_eq!(record.signing.signers[0].status, SignerStatus::Declined);
        } else {
            assert!(told.ends_with(&[MomentKind::Event(end)]), "{told:?}");
        }
    }
}

/// The signer's own message came first: nobody has to be asked for.
#[tokio::test]
async fn f1_a_declined_envelope_waits_for_nothing_once_it_is_known_who_has_declined_it() {
    let fixture = fixture().await;
    fixture.signing().await;
    fixture.run();
    assert_eq!(fixture.receive(&sim("recipient-declined", Some("1"), 1)).await, Receipt::Accepted);
    eventually(async || fixture.store.inbox(10).await.unwrap().is_empty()).await;
    assert_eq!(fixture.receive(&bare(&sim("envelope-declined", None, 2))).await, Receipt::Accepted);
    // Time stands still.
    eventually(async || fixture.status().await == Some(SigningStatus::Declined)).await;
}

/// The daemon is gone before it is known whether it is an expiry.
#[tokio::test]
async fn f3_a_void_without_a_reason_outlives_a_kill() {
    let before = putting_off(&sim("envelope-voided", None, 1)).await;
    before.life.abort();
    before.life.drain(Duration::from_secs(60)).await;
    assert_eq!(before.status().await, Some(SigningStatus::Open));
    let after = fixture_over(Arc::clone(&before.store), Limits::default());
    after.run();
    after.ends(SigningStatus::Voided).await;
}
