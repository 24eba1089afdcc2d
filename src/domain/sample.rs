//! A signing with fixed ids, for tests of what is shown of it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use uuid::Uuid;

use crate::domain::{
    CallerName, Email, Mode, Private, SenderName, Signer, SignerId, SignerStatus, Signing, SigningId,
    SigningStatus, TransactionId, Upstream,
};

/// One signer, in these states.
pub(crate) fn signing(status: SigningStatus, signer: SignerStatus) -> Signing {
    let now = Timestamp::from_second(1_700_000_000).expect("a time");
    Signing {
        id: SigningId::from_uuid(Uuid::from_u128(1)),
        caller: CallerName::new("website"),
        mode: Mode::Test,
        sender: SenderName::new("system"),
        reference: Some("order-8812".to_owned()),
        status,
        transaction_id: TransactionId::from_uuid(Uuid::from_u128(2)),
        posted_at: None,
        missing_since: None,
        repeated_at: None,
        twins_sought: 0,
        account: None,
        envelope: None,
        signers: vec![person(signer)],
        metadata: Private::new(BTreeMap::new()),
        locale: None,
        frame_ancestors: Vec::new(),
        failure: None,
        last_try: None,
        limited_until: None,
        live_view: None,
        checked_at: None,
        sequence: 3,
        history: Vec::new(),
        created_at: now,
        completed_at: None,
        expires_at: None,
        purge_requested_at: None,
        purge_scope: None,
        purged_at: None,
    }
}

/// A signer in that state.
pub(crate) fn person(status: SignerStatus) -> Signer {
    Signer {
        id: SignerId::from_uuid(Uuid::from_u128(3)),
        key: "visitor".to_owned(),
        status,
        order: 1,
        name: Private::new("Ada Lovelace".to_owned()),
        email: Email::trusted("ada@example.com".to_owned()),
        recipient_id: "1".to_owned(),
        client_user_id: "sgr_3".to_owned(),
        role: None,
        return_url: Some("https://www.example.com/done".to_owned()),
        authenticated_by: None,
        sms_auth: false,
        last_return: None,
        upstream: Upstream::default(),
    }
}
