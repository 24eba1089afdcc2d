//! A signing as it lies in a row: a clear part that the daemon works with, and a personal part that is
//! sealed. Converted by hand, because `domain` knows no format.

use std::{borrow::Cow, collections::BTreeMap};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    domain::{
        AccountId, AuthenticatedBy, CallerName, Claim, Email, EnvelopeId, Failure, LastReturn, LiveView,
        Mode, Moment, Private, SenderName, Signer, SignerId, SignerStatus, Signing, SigningId, SigningStatus,
        TransactionId, draft::AUTHENTICATION_METHODS,
    },
    store::Error,
};

/// The clear part. Nothing in it says who anybody is.
#[derive(Serialize, Deserialize)]
struct State<'a> {
    #[serde(borrow)]
    mode: Cow<'a, str>,
    transaction: Uuid,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    posted_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    missing_since: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    account: Option<Cow<'a, str>>,
    signers: Vec<SignerState<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    locale: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    frame_ancestors: Cow<'a, [String]>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    failure: Option<(Cow<'a, str>, Cow<'a, str>, Option<Cow<'a, str>>)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    live_view: Option<(bool, Uuid, Timestamp, Timestamp)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    checked_at: Option<Timestamp>,
    sequence: u64,
    history: Vec<MomentState<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    completed_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    purged_at: Option<Timestamp>,
}

#[derive(Serialize, Deserialize)]
struct SignerState<'a> {
    id: Uuid,
    #[serde(borrow)]
    key: Cow<'a, str>,
    status: Cow<'a, str>,
    order: u32,
    recipient_id: Cow<'a, str>,
    client_user_id: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    role: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    sms_auth: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_return: Option<(Cow<'a, str>, Timestamp)>,
}

#[derive(Serialize, Deserialize)]
struct MomentState<'a>(
    Timestamp,
    #[serde(borrow)] Cow<'a, str>,
    Option<Cow<'a, str>>,
    Option<Cow<'a, str>>,
    Option<Cow<'a, str>>,
);

/// The personal part.
#[derive(Serialize, Deserialize)]
struct Personal<'a> {
    #[serde(borrow)]
    signers: Vec<PersonalSigner<'a>>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    metadata: Cow<'a, BTreeMap<String, String>>,
}

#[derive(Serialize, Deserialize, Default)]
struct PersonalSigner<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    email: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    return_url: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    authenticated_by: Option<(Cow<'a, str>, Option<Timestamp>, Option<Cow<'a, str>>)>,
}

/// The columns that stand beside the two parts.
#[derive(Debug)]
pub(super) struct Columns {
    pub(super) id: SigningId,
    pub(super) caller: String,
    pub(super) sender: String,
    pub(super) reference: Option<String>,
    pub(super) status: String,
    pub(super) envelope: Option<String>,
    pub(super) created_at: Timestamp,
}

/// The clear part of a signing as JSON.
pub(super) fn state(signing: &Signing) -> Vec<u8> {
    let state = State {
        mode: Cow::Borrowed(match signing.mode {
            Mode::Live => "live",
            Mode::Test => "test",
        }),
        transaction: signing.transaction_id.as_uuid(),
        posted_at: signing.posted_at,
        missing_since: signing.missing_since,
        account: signing.account.as_ref().map(|account| Cow::Borrowed(account.as_str())),
        signers: signing.signers.iter().map(signer_state).collect(),
        locale: signing.locale.as_deref().map(Cow::Borrowed),
        frame_ancestors: Cow::Borrowed(&signing.frame_ancestors),
        failure: signing.failure.as_ref().map(|failure| {
            let provider = failure.provider_code.as_deref().map(Cow::Borrowed);
            (Cow::Borrowed(failure.code.as_str()), Cow::Borrowed(failure.detail.as_str()), provider)
        }),
        live_view: signing
            .live_view
            .as_ref()
            .map(|view| (view.clicked, view.signer.as_uuid(), view.minted_at, view.until)),
        checked_at: signing.checked_at,
        sequence: signing.sequence,
        history: signing.history.iter().map(moment_state).collect(),
        completed_at: signing.completed_at,
        expires_at: signing.expires_at,
        purged_at: signing.purged_at,
    };
    to_json(&state)
}

/// The personal part of a signing as JSON, to be sealed.
pub(super) fn personal(signing: &Signing) -> Vec<u8> {
    let personal = Personal {
        signers: signing
            .signers
            .iter()
            .map(|signer| PersonalSigner {
                name: Cow::Borrowed(signer.name.reveal()),
                email: Cow::Borrowed(signer.email.reveal()),
                return_url: signer.return_url.as_deref().map(Cow::Borrowed),
                authenticated_by: signer
                    .authenticated_by
                    .as_ref()
                    .map(|by| (Cow::Borrowed(by.method), by.at, by.id.as_deref().map(Cow::Borrowed))),
            })
            .collect(),
        metadata: Cow::Borrowed(signing.metadata.reveal()),
    };
    to_json(&personal)
}

/// A signing from its parts. `personal` is none once retention has destroyed it.
pub(super) fn signing(columns: Columns, state: &[u8], personal: Option<&[u8]>) -> Result<Signing, Error> {
    let unusable = || Error::Unusable("a signing's row cannot be read".to_owned());
    let state: State<'_> = serde_json::from_slice(state).map_err(|_| unusable())?;
    let personal: Option<Personal<'_>> =
        personal.map(serde_json::from_slice).transpose().map_err(|_| unusable())?;
    let (mut people, metadata) = match personal {
        Some(personal) => (personal.signers, personal.metadata.into_owned()),
        None => (Vec::new(), BTreeMap::new()),
    };
    people.resize_with(state.signers.len(), PersonalSigner::default);
    let signers = state.signers.into_iter().zip(people).map(|(signer, person)| whole_signer(signer, person));
    Ok(Signing {
        id: columns.id,
        caller: CallerName::new(columns.caller),
        mode: if state.mode == "live" { Mode::Live } else { Mode::Test },
        sender: SenderName::new(columns.sender),
        reference: columns.reference,
        status: SigningStatus::parse(&columns.status).ok_or_else(unusable)?,
        transaction_id: TransactionId::from_uuid(state.transaction),
        posted_at: state.posted_at,
        missing_since: state.missing_since,
        account: state.account.map(|account| AccountId::new(account.as_ref())),
        envelope: columns.envelope.map(EnvelopeId::new),
        signers: signers.collect::<Option<_>>().ok_or_else(unusable)?,
        metadata: Private::new(metadata),
        locale: state.locale.map(Cow::into_owned),
        frame_ancestors: state.frame_ancestors.into_owned(),
        failure: state.failure.map(|(code, detail, provider_code)| Failure {
            code: code.into_owned(),
            detail: detail.into_owned(),
            provider_code: provider_code.map(Cow::into_owned),
        }),
        live_view: state.live_view.map(|(clicked, signer, minted_at, until)| LiveView {
            clicked,
            signer: SignerId::from_uuid(signer),
            minted_at,
            until,
        }),
        checked_at: state.checked_at,
        sequence: state.sequence,
        history: state.history.into_iter().map(whole_moment).collect(),
        created_at: columns.created_at,
        completed_at: state.completed_at,
        expires_at: state.expires_at,
        purged_at: state.purged_at,
    })
}

fn signer_state(signer: &Signer) -> SignerState<'_> {
    SignerState {
        id: signer.id.as_uuid(),
        key: Cow::Borrowed(&signer.key),
        status: Cow::Borrowed(signer.status.as_str()),
        order: signer.order,
        recipient_id: Cow::Borrowed(&signer.recipient_id),
        client_user_id: Cow::Borrowed(&signer.client_user_id),
        role: signer.role.as_deref().map(Cow::Borrowed),
        sms_auth: signer.sms_auth,
        last_return: signer.last_return.map(|last| (Cow::Borrowed(last.claim.as_str()), last.at)),
    }
}

fn whole_signer(state: SignerState<'_>, person: PersonalSigner<'_>) -> Option<Signer> {
    let authenticated_by = person.authenticated_by.and_then(|(method, at, id)| {
        // The method is one of the upstream's words, of which there is a static list.
        let method =
            AUTHENTICATION_METHODS.iter().map(|(_, theirs)| *theirs).find(|theirs| *theirs == method)?;
        Some(AuthenticatedBy { method, at, id: id.map(Cow::into_owned) })
    });
    Some(Signer {
        id: SignerId::from_uuid(state.id),
        key: state.key.into_owned(),
        status: SignerStatus::parse(&state.status)?,
        order: state.order,
        name: Private::new(person.name.into_owned()),
        email: Email::trusted(person.email.into_owned()),
        recipient_id: state.recipient_id.into_owned(),
        client_user_id: state.client_user_id.into_owned(),
        role: state.role.map(Cow::into_owned),
        return_url: person.return_url.map(Cow::into_owned),
        authenticated_by,
        sms_auth: state.sms_auth,
        last_return: state.last_return.map(|(claim, at)| LastReturn { claim: Claim::parse(&claim), at }),
    })
}

fn moment_state(moment: &Moment) -> MomentState<'_> {
    let text = |text: &'_ Option<String>| text.clone().map(Cow::Owned);
    MomentState(
        moment.at,
        Cow::Borrowed(&moment.what),
        moment.signer.as_deref().map(Cow::Borrowed),
        moment.trace.as_deref().map(Cow::Borrowed),
        text(&moment.note),
    )
}

fn whole_moment(MomentState(at, what, signer, trace, note): MomentState<'_>) -> Moment {
    let owned = |text: Option<Cow<'_, str>>| text.map(Cow::into_owned);
    Moment { at, what: what.into_owned(), signer: owned(signer), trace: owned(trace), note: owned(note) }
}

fn to_json<T: Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(512);
    serde_json::to_writer(&mut bytes, value).expect("rows serialise: maps have string keys");
    bytes
}
