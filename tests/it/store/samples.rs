//! Records to store, with every field filled.

use std::collections::BTreeMap;

use bytes::Bytes;
use countersign::{
    domain::{
        AccountId, AuthenticatedBy, CallerName, Claim, DeliveryId, Email, EndpointId, EnvelopeId, Event,
        EventId, EventKind, Failure, LastReturn, LinkId, LiveView, Mode, Moment, MomentKind, Private,
        PurgeScope, SenderName, Signer, SignerId, SignerStatus, Signing, SigningId, SigningStatus,
        TransactionId, Upstream, ViewKind,
    },
    store::{
        Change, Digest, Durability, Endpoint, EventFilter, Inbound, Intent, Link, Payload, Version, Work,
    },
};
use jiff::Timestamp;

use crate::store::after;

/// When every test begins; with microseconds, and far from a second's edge.
pub(crate) const START: Timestamp = Timestamp::constant(1_790_000_000, 123_456_000);

pub(crate) fn caller() -> CallerName {
    CallerName::new("website")
}

/// So many of the caller's events.
pub(crate) fn events(limit: u32) -> EventFilter {
    EventFilter { caller: caller(), signing: None, after: None, limit }
}

/// A digest that is different for each number.
pub(crate) fn digest(number: u64) -> Digest {
    let mut digest = [0xd1; 32];
    digest[..8].copy_from_slice(&number.to_be_bytes());
    digest
}

pub(crate) fn signer(key: &str) -> Signer {
    Signer {
        id: SignerId::generate(START),
        key: key.into(),
        status: SignerStatus::Waiting,
        order: 1,
        name: Private::new("Ada \"Planted\" Lovelace".into()),
        email: Email::parse("planted-email@example.com").unwrap(),
        recipient_id: "1".into(),
        client_user_id: "opaque-7".into(),
        role: Some("Client".into()),
        return_url: Some("https://www.example.com/planted-return".into()),
        authenticated_by: Some(AuthenticatedBy {
            method: "Password",
            at: Some(after(-60)),
            id: Some("planted-login".into()),
        }),
        sms_auth: true,
        last_return: None,
        upstream: Upstream::default(),
    }
}

/// As it is when the call has just come in.
pub(crate) fn signing() -> Signing {
    Signing {
        id: SigningId::generate(START),
        caller: caller(),
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
        signers: vec![signer("visitor"), signer("manager")],
        metadata: Private::new(BTreeMap::from([("planted-key".into(), "planted-value\u{1f512}".into())])),
        locale: Some("de-AT".into()),
        frame_ancestors: vec!["https://www.example.com".into()],
        failure: None,
        last_try: None,
        limited_until: None,
        live_view: None,
        checked_at: None,
        sequence: 0,
        history: vec![],
        created_at: START,
        completed_at: None,
        expires_at: Some(after(1_814_400)),
        purge_requested_at: None,
        purge_scope: None,
        purged_at: None,
    }
}

/// As it is with nothing left out.
pub(crate) fn full(mut signing: Signing) -> Signing {
    let signer = signing.signers[0].id;
    signing.mode = Mode::Live;
    signing.status = SigningStatus::Completed;
    signing.posted_at = Some(after(1));
    signing.missing_since = Some(after(2));
    signing.repeated_at = Some(after(3));
    signing.twins_sought = 2;
    signing.account = Some(AccountId::new("7f09961a-a22e-4ea2-8395-000000000000"));
    signing.envelope = Some(EnvelopeId::new(format!("envelope-of-{}", signing.id)));
    signing.failure = Some(Failure {
        code: "provider_rejected".into(),
        detail: "planted-email@example.com is not valid".into(),
        provider_code: Some("INVALID_EMAIL".into()),
        provider_status: Some(400),
        provider_trace: Some("0f2d5a4e-3a0c-4f0e-9a5e-0c7a1b2c3d4e".into()),
    });
    signing.last_try = Some(Failure {
        code: "quota_exceeded".into(),
        detail: "planted-value was one too many".into(),
        provider_code: Some("ENVELOPE_ALLOWANCE_EXCEEDED".into()),
        provider_status: Some(400),
        provider_trace: Some("1f2d5a4e-3a0c-4f0e-9a5e-0c7a1b2c3d4e".into()),
    });
    signing.limited_until = Some(after(5));
    signing.live_view =
        Some(LiveView { kind: ViewKind::Coming, signer, minted_at: after(2), until: after(302) });
    signing.checked_at = Some(after(900));
    signing.sequence = 7;
    let seen = Moment {
        at: after(3),
        happened_at: None,
        what: MomentKind::ViewMinted,
        signer: Some("visitor".into()),
        trace: Some("trace-1".into()),
        note: Some("by a link".into()),
    };
    let happened_at = Some(after(2));
    let told = Moment { happened_at, what: EventKind::SigningCompleted.into(), ..seen.clone() };
    // A row may hold a word of another version.
    let unknown = Moment { what: MomentKind::parse("of_a_later_version"), ..seen.clone() };
    signing.history = vec![seen, told, unknown];
    signing.completed_at = Some(after(1_000));
    signing.purge_requested_at = Some(after(1_900));
    signing.purge_scope = Some(PurgeScope::DocumentsAndMetadata);
    signing.signers[0].upstream = Upstream {
        recipient_id: Some("71".into()),
        named_at: Some(after(4)),
        failed_at: Some(after(5)),
        unlocked_at: Some(after(6)),
        denied_at: Some(after(7)),
        turn_at: Some(after(8)),
        is_checked: Some(true),
    };
    signing.purged_at = Some(after(2_000));
    signing.signers[0].status = SignerStatus::Signed;
    signing.signers[0].last_return =
        Some(LastReturn { claim: Claim::SigningComplete, at: after(999), view: Some(after(998)) });
    signing.signers[1].authenticated_by = None;
    signing.signers[1].return_url = None;
    signing.signers[1].role = None;
    signing
}

pub(crate) fn link(signing: &Signing, number: u64) -> Link {
    Link {
        id: LinkId::generate(START),
        signing: signing.id,
        signer: signing.signers[0].id,
        token: digest(number),
        created_at: START,
        expires_at: Some(after(600)),
        revoked_at: None,
    }
}

/// Work that may be claimed at once.
pub(crate) const DUE: Work = Work { due_at: START, leased_until: None, attempts: 0 };

pub(crate) fn intent(key: u64) -> Intent {
    let signing = signing();
    Intent {
        links: vec![],
        key: digest(key),
        request: digest(1_000_000 + key),
        payload: Some(Private::new(Bytes::from_static(b"planted-payload +4915112345678"))),
        work: DUE,
        signing,
    }
}

pub(crate) fn change(signing: &Signing, from: Version) -> Change<'_> {
    Change {
        signing,
        from,
        events: &[],
        links: vec![],
        answer: None,
        payload: Payload::Keep,
        work: None,
        durability: Durability::Synced,
    }
}

pub(crate) fn event(signing: Option<&Signing>, kind: EventKind, sequence: u64) -> Event {
    Event {
        id: EventId::generate(START),
        caller: caller(),
        kind,
        signing: signing.map(|signing| signing.id),
        signer: signing.map(|signing| signing.signers[0].id),
        sequence,
        at: after(5),
        data: "{\"object\":\"signing\",\"metadata\":{\"note\":\"planted-note\"}}".into(),
    }
}

pub(crate) fn endpoint(name: &str) -> Endpoint {
    Endpoint {
        id: EndpointId::from_settings(name),
        caller: caller(),
        url: format!("https://{name}.example.com/planted-hook"),
        secrets: Private::new(vec![b"planted-secret".to_vec(), vec![0, 255]]),
        events: vec![],
        allow_private: true,
        from_settings: false,
        created_at: START,
        rotated_at: Some(after(3)),
        disabled_at: None,
        dropped_at: None,
    }
}

pub(crate) fn inbound(number: u64, envelope: Option<&EnvelopeId>) -> Inbound {
    Inbound {
        identity: digest(number),
        received_at: after(10),
        envelope: envelope.cloned(),
        event: "recipient-completed".into(),
        body: Private::new(Bytes::from_static(b"{\"name\":\"planted-body\"}")),
    }
}

/// An id of a delivery that does not exist.
pub(crate) fn no_delivery() -> DeliveryId {
    DeliveryId::generate(START)
}
