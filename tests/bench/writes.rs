//! What a create writes to the store: the intent before it, and after it the end with two events and the answer
//! that is kept for its key. For the benchmark of the store, and for the floor that stands on it.

use std::collections::BTreeMap;

use bytes::Bytes;
use countersign::{
    domain::{
        AccountId, CallerName, Email, EnvelopeId, Event, EventId, EventKind, Mode, Private, SenderName,
        Signer, SignerId, SignerStatus, Signing, SigningId, SigningStatus, TransactionId, Upstream,
    },
    store::{self, Begun, Change, Durability, Intent, KeptAnswer, Link, Payload, SharedStore, Work},
};
use jiff::Timestamp;

/// A new signing by one visitor.
pub(crate) fn signing(now: Timestamp) -> Signing {
    Signing {
        id: SigningId::generate(now),
        caller: CallerName::new("website"),
        mode: Mode::Test,
        sender: SenderName::new("system"),
        reference: Some("order-8812".into()),
        status: SigningStatus::Creating,
        transaction_id: TransactionId::generate(),
        posted_at: None,
        missing_since: None,
        repeated_at: None,
        twins_sought: 0,
        account: None,
        envelope: None,
        signers: vec![Signer {
            id: SignerId::generate(now),
            key: "visitor".into(),
            status: SignerStatus::Waiting,
            order: 1,
            name: Private::new("Ada Lovelace".into()),
            email: Email::trusted("ada@example.com".into()),
            recipient_id: "1".into(),
            client_user_id: "0192f1c2a3b47c5d8e9f0a1b2c3d4e5f".into(),
            role: Some("Client".into()),
            return_url: Some("https://www.example.com/done".into()),
            authenticated_by: None,
            sms_auth: true,
            last_return: None,
            upstream: Upstream::default(),
        }],
        metadata: Private::new(BTreeMap::new()),
        locale: Some("de".into()),
        frame_ancestors: vec![],
        failure: None,
        last_try: None,
        limited_until: None,
        live_view: None,
        checked_at: None,
        sequence: 0,
        history: vec![],
        created_at: now,
        completed_at: None,
        expires_at: None,
        purge_requested_at: None,
        purge_scope: None,
        purged_at: None,
    }
}

/// A digest that no other one is.
pub(crate) fn digest() -> store::Digest {
    let mut digest = [0; 32];
    digest[..16].copy_from_slice(TransactionId::generate().as_uuid().as_bytes());
    digest
}

/// Writes the intent; answers the version that its end must come from.
pub(crate) async fn begin(store: &SharedStore, signing: &Signing, links: Vec<Link>) -> store::Version {
    let now = signing.created_at;
    let intent = Intent {
        signing: signing.clone(),
        key: digest(),
        request: digest(),
        links,
        // Only what waits in the queue keeps its body.
        payload: None,
        work: Work { due_at: now, leased_until: Some(now), attempts: 0 },
    };
    let Ok(Begun::New(from)) = store.begin(&intent).await else { panic!("the intent was not new") };
    from
}

/// Writes what became of it.
pub(crate) async fn end(
    store: &SharedStore,
    signing: &mut Signing,
    from: store::Version,
    envelope: EnvelopeId,
    answer: Bytes,
) {
    let happened = signing.open(AccountId::new("a"), envelope);
    signing.sequence = 2;
    let events: Vec<_> = (1..)
        .zip(happened)
        .map(|(sequence, happening)| Event {
            id: EventId::generate(signing.created_at),
            caller: signing.caller.clone(),
            kind: EventKind::SigningOpened,
            signing: Some(signing.id),
            signer: happening.signer,
            sequence,
            at: signing.created_at,
            data: "{\"object\":\"signing\"}".repeat(20),
        })
        .collect();
    let change = Change {
        signing,
        from,
        events: &events,
        links: vec![],
        answer: Some(KeptAnswer { body: Private::new(answer) }),
        payload: Payload::Keep,
        work: None,
        durability: Durability::Flushed,
    };
    store.save(change).await.expect("nobody else changes it");
}
