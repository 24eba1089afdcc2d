//! The clear half of a signing, as JSON, and the signing that it makes with the sealed half.
//!
//! Older and newer versions share a database: what is added here has a default, and what an older one reads keeps its form.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    domain::{
        AccountId, AuthenticatedBy, CallerName, Claim, Email, EnvelopeId, Failure, LastReturn, LiveView,
        Mode, Moment, MomentKind, Private, PurgeScope, SenderName, Signer, SignerId, SignerStatus, Signing,
        SigningId, SigningStatus, TransactionId, Upstream, ViewKind, draft::AUTHENTICATION_METHODS,
    },
    store::{
        Error,
        rows::{
            cow, hex, malformed, micros,
            signing::{
                SigningRow,
                personal::{Person, Personal},
            },
            timestamp, uuid,
        },
    },
};

/// The clear half of a signing.
#[derive(Serialize, Deserialize)]
pub(super) struct State<'a> {
    live: bool,
    #[serde(borrow)]
    sender: Cow<'a, str>,
    transaction: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    posted_at: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    missing_since: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    repeated_at: Option<i64>,
    #[serde(default, skip_serializing_if = "is_none_yet")]
    twins_sought: u8,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    account: Option<Cow<'a, str>>,
    signers: Vec<SignerState<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    locale: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    frame_ancestors: Cow<'a, [String]>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    failure: Option<FailureState<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_try: Option<FailureState<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    limited_until: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    live_view: Option<LiveViewState>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    checked_at: Option<i64>,
    sequence: u64,
    history: Vec<MomentState<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    completed_at: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_at: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    purge_requested_at: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    purge_scope: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    purged_at: Option<i64>,
}

#[derive(Serialize, Deserialize)]
struct SignerState<'a> {
    id: String,
    #[serde(borrow)]
    key: Cow<'a, str>,
    status: Cow<'a, str>,
    order: u32,
    recipient_id: Cow<'a, str>,
    client_user_id: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    role: Option<Cow<'a, str>>,
    sms_auth: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_return: Option<(Cow<'a, str>, i64)>,
    /// The view of the last return: beside it, because an earlier version reads a pair.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    returned_by: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    upstream_id: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    named_at: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    failed_at: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unlocked_at: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    denied_at: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    turn_at: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    is_checked: Option<bool>,
}

#[derive(Serialize, Deserialize)]
struct FailureState<'a> {
    #[serde(borrow)]
    code: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    provider_code: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    provider_status: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    provider_trace: Option<Cow<'a, str>>,
}

#[derive(Serialize, Deserialize)]
struct LiveViewState {
    /// Whether it is more than given: an earlier version knows no more than that, so `coming` stands beside it.
    clicked: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    coming: bool,
    /// Of one that is coming, whether a click has asked for it. Without it, as in an earlier version, the create may have.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    for_click: bool,
    signer: String,
    minted_at: i64,
    until: i64,
}

#[derive(Serialize, Deserialize)]
struct MomentState<'a> {
    at: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    happened_at: Option<i64>,
    #[serde(borrow)]
    what: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    signer: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    trace: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    note: Option<Cow<'a, str>>,
}

impl<'a> From<&'a Signing> for State<'a> {
    fn from(signing: &'a Signing) -> Self {
        Self {
            live: signing.mode == Mode::Live,
            sender: signing.sender.as_str().into(),
            transaction: hex(signing.transaction_id.as_uuid()).into(),
            posted_at: signing.posted_at.map(micros),
            missing_since: signing.missing_since.map(micros),
            repeated_at: signing.repeated_at.map(micros),
            twins_sought: signing.twins_sought,
            account: signing.account.as_ref().map(|account| account.as_str().into()),
            signers: signing.signers.iter().map(SignerState::from).collect(),
            locale: cow(signing.locale.as_ref()),
            frame_ancestors: signing.frame_ancestors.as_slice().into(),
            failure: signing.failure.as_ref().map(FailureState::from),
            last_try: signing.last_try.as_ref().map(FailureState::from),
            limited_until: signing.limited_until.map(micros),
            live_view: signing.live_view.as_ref().map(|view| LiveViewState {
                clicked: view.kind != ViewKind::Given,
                coming: matches!(view.kind, ViewKind::Clicked | ViewKind::Coming),
                for_click: view.kind == ViewKind::Clicked,
                signer: hex(view.signer.as_uuid()),
                minted_at: micros(view.minted_at),
                until: micros(view.until),
            }),
            checked_at: signing.checked_at.map(micros),
            sequence: signing.sequence,
            history: signing.history.iter().map(MomentState::from).collect(),
            completed_at: signing.completed_at.map(micros),
            expires_at: signing.expires_at.map(micros),
            purge_requested_at: signing.purge_requested_at.map(micros),
            purge_scope: signing.purge_scope.map(|scope| scope.as_str().into()),
            purged_at: signing.purged_at.map(micros),
        }
    }
}

impl<'a> From<&'a Signer> for SignerState<'a> {
    fn from(signer: &'a Signer) -> Self {
        Self {
            id: hex(signer.id.as_uuid()),
            key: signer.key.as_str().into(),
            status: signer.status.as_str().into(),
            order: signer.order,
            recipient_id: signer.recipient_id.as_str().into(),
            client_user_id: signer.client_user_id.as_str().into(),
            role: cow(signer.role.as_ref()),
            sms_auth: signer.sms_auth,
            last_return: signer.last_return.map(|last| (last.claim.as_str().into(), micros(last.at))),
            returned_by: signer.last_return.and_then(|last| last.view).map(micros),
            upstream_id: cow(signer.upstream.recipient_id.as_ref()),
            named_at: signer.upstream.named_at.map(micros),
            failed_at: signer.upstream.failed_at.map(micros),
            unlocked_at: signer.upstream.unlocked_at.map(micros),
            denied_at: signer.upstream.denied_at.map(micros),
            turn_at: signer.upstream.turn_at.map(micros),
            is_checked: signer.upstream.is_checked,
        }
    }
}

impl<'a> From<&'a Failure> for FailureState<'a> {
    fn from(failure: &'a Failure) -> Self {
        Self {
            code: failure.code.as_str().into(),
            provider_code: cow(failure.provider_code.as_ref()),
            provider_status: failure.provider_status,
            provider_trace: cow(failure.provider_trace.as_ref()),
        }
    }
}

impl<'a> From<&'a Moment> for MomentState<'a> {
    fn from(moment: &'a Moment) -> Self {
        Self {
            at: micros(moment.at),
            happened_at: moment.happened_at.map(micros),
            what: moment.what.as_str().into(),
            signer: cow(moment.signer.as_ref()),
            trace: cow(moment.trace.as_ref()),
            note: cow(moment.note.as_ref()),
        }
    }
}

impl State<'_> {
    pub(super) fn into_signing(self, row: SigningRow, personal: Personal<'_>) -> Result<Signing, Error> {
        let people = personal.signers.into_iter().map(Some).chain(std::iter::repeat_with(|| None));
        Ok(Signing {
            id: SigningId::from_uuid(Uuid::from_bytes(row.id)),
            caller: CallerName::new(row.caller),
            mode: if self.live { Mode::Live } else { Mode::Test },
            sender: SenderName::new(&*self.sender),
            reference: row.reference,
            status: SigningStatus::parse(&row.status).ok_or_else(|| malformed("status"))?,
            transaction_id: TransactionId::from_uuid(uuid(&self.transaction)?),
            posted_at: self.posted_at.map(timestamp).transpose()?,
            missing_since: self.missing_since.map(timestamp).transpose()?,
            repeated_at: self.repeated_at.map(timestamp).transpose()?,
            twins_sought: self.twins_sought,
            account: self.account.map(|account| AccountId::new(&*account)),
            envelope: row.envelope.map(EnvelopeId::new),
            signers: self
                .signers
                .into_iter()
                .zip(people)
                .map(|(signer, person)| signer.into_signer(person.unwrap_or_default()))
                .collect::<Result<_, _>>()?,
            metadata: Private::new(personal.metadata.into_owned()),
            locale: self.locale.map(Cow::into_owned),
            frame_ancestors: self.frame_ancestors.into_owned(),
            failure: self.failure.map(|failure| failure.into_failure(personal.failure)),
            last_try: self.last_try.map(|last| last.into_failure(personal.last_try)),
            limited_until: self.limited_until.map(timestamp).transpose()?,
            live_view: self.live_view.map(LiveViewState::into_view).transpose()?,
            checked_at: self.checked_at.map(timestamp).transpose()?,
            sequence: self.sequence,
            history: self.history.into_iter().map(MomentState::into_moment).collect::<Result<_, _>>()?,
            created_at: timestamp(row.created_at)?,
            completed_at: self.completed_at.map(timestamp).transpose()?,
            expires_at: self.expires_at.map(timestamp).transpose()?,
            purge_requested_at: self.purge_requested_at.map(timestamp).transpose()?,
            purge_scope: self.purge_scope.and_then(|word| PurgeScope::parse(&word)),
            purged_at: self.purged_at.map(timestamp).transpose()?,
        })
    }
}

impl SignerState<'_> {
    fn into_signer(self, person: Person<'_>) -> Result<Signer, Error> {
        let authenticated_by = match person.authenticated_by {
            None => None,
            Some((word, at, id)) => Some(AuthenticatedBy {
                method: AUTHENTICATION_METHODS
                    .iter()
                    .find_map(|(_, theirs)| (*theirs == word).then_some(*theirs))
                    .ok_or_else(|| malformed("authenticated_by"))?,
                at: at.map(timestamp).transpose()?,
                id: id.map(Cow::into_owned),
            }),
        };
        let last_return = match self.last_return {
            None => None,
            Some((claim, at)) => Some(LastReturn {
                claim: Claim::parse(&claim),
                at: timestamp(at)?,
                view: self.returned_by.map(timestamp).transpose()?,
            }),
        };
        Ok(Signer {
            id: SignerId::from_uuid(uuid(&self.id)?),
            key: self.key.into_owned(),
            status: SignerStatus::parse(&self.status).ok_or_else(|| malformed("signer.status"))?,
            order: self.order,
            name: Private::new(person.name.into_owned()),
            email: Email::trusted(person.email.into_owned()),
            recipient_id: self.recipient_id.into_owned(),
            client_user_id: self.client_user_id.into_owned(),
            role: self.role.map(Cow::into_owned),
            return_url: person.return_url.map(Cow::into_owned),
            authenticated_by,
            sms_auth: self.sms_auth,
            last_return,
            upstream: Upstream {
                recipient_id: self.upstream_id.map(Cow::into_owned),
                named_at: self.named_at.map(timestamp).transpose()?,
                failed_at: self.failed_at.map(timestamp).transpose()?,
                unlocked_at: self.unlocked_at.map(timestamp).transpose()?,
                denied_at: self.denied_at.map(timestamp).transpose()?,
                turn_at: self.turn_at.map(timestamp).transpose()?,
                is_checked: self.is_checked,
            },
        })
    }
}

impl FailureState<'_> {
    fn into_failure(self, detail: Option<Cow<'_, str>>) -> Failure {
        Failure {
            code: self.code.into_owned(),
            detail: detail.unwrap_or_default().into_owned(),
            provider_code: self.provider_code.map(Cow::into_owned),
            provider_status: self.provider_status,
            provider_trace: self.provider_trace.map(Cow::into_owned),
        }
    }
}

/// The lease of a view on its way, as older daemons write it.
const OLD_COMING_US: i64 = 60_000_000;

impl LiveViewState {
    fn into_view(self) -> Result<LiveView, Error> {
        // Before `coming` was written, such a view was told by its lease, which no other had.
        let was_coming = self.clicked && self.until.saturating_sub(self.minted_at) == OLD_COMING_US;
        let kind = match (self.coming, self.clicked) {
            (true, _) if self.for_click => ViewKind::Clicked,
            (true, _) => ViewKind::Coming,
            (false, true) if was_coming => ViewKind::Coming,
            (false, true) => ViewKind::InUse,
            (false, false) => ViewKind::Given,
        };
        Ok(LiveView {
            kind,
            signer: SignerId::from_uuid(uuid(&self.signer)?),
            minted_at: timestamp(self.minted_at)?,
            until: timestamp(self.until)?,
        })
    }
}

impl MomentState<'_> {
    fn into_moment(self) -> Result<Moment, Error> {
        Ok(Moment {
            at: timestamp(self.at)?,
            happened_at: self.happened_at.map(timestamp).transpose()?,
            what: MomentKind::parse(&self.what),
            signer: self.signer.map(Cow::into_owned),
            trace: self.trace.map(Cow::into_owned),
            note: self.note.map(Cow::into_owned),
        })
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands references")]
const fn is_none_yet(count: &u8) -> bool {
    *count == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_of_an_earlier_version_is_at_least_in_use_if_it_was_clicked() {
        for (clicked, until, kind) in [
            (true, 300_000_000, ViewKind::InUse),
            (true, 60_000_000, ViewKind::Coming),
            (false, 60_000_000, ViewKind::Given),
        ] {
            let signer = "0".repeat(32);
            let row = format!(r#"{{"clicked":{clicked},"signer":"{signer}","minted_at":0,"until":{until}}}"#);
            let read: LiveViewState = serde_json::from_str(&row).unwrap();
            assert_eq!(serde_json::to_string(&read).unwrap(), row, "nor does it see anything new");
            assert_eq!(read.into_view().unwrap().kind, kind);
        }
    }

    #[test]
    fn a_view_on_its_way_of_an_earlier_version_may_be_the_creates() {
        for (more, kind) in [("", ViewKind::Coming), (r#","for_click":true"#, ViewKind::Clicked)] {
            let signer = "0".repeat(32);
            let row = format!(
                r#"{{"clicked":true,"coming":true{more},"signer":"{signer}","minted_at":0,"until":1}}"#
            );
            let read: LiveViewState = serde_json::from_str(&row).unwrap();
            assert_eq!(serde_json::to_string(&read).unwrap(), row, "it keeps a second view out");
            assert_eq!(read.into_view().unwrap().kind, kind);
        }
    }
}
