//! One attempt at a create: what is sent, and what came of it (rules E1, E2). What follows from that is in
//! [`settle`](super::settle).
//!
//! It must never send without the line in the audit log, nor when its lease is nearly over: somebody else may have the
//! create then. It writes nothing into the store.

use std::{sync::Arc, time::Duration};

use crate::{
    clock::Deadline,
    domain::{AccountId, Draft, NewSigner, Signer, Signing},
    esign::{
        self, Announcement, Created as CreatedEnvelope, Doubt, EnvelopeSigner, NewEnvelope, Reach,
        RejectionKind, SmsCheck,
    },
    signing::{
        AT_LEISURE, Signings,
        create::{Job, is_outage},
        first_view::{FirstView, viewer},
    },
};

/// What is left of a lease when nothing may be sent any more.
const MARGIN: Duration = Duration::from_secs(5);

/// What one attempt came to.
#[derive(Debug)]
pub(super) enum Outcome {
    /// Surely nothing was made, and the caller can be told why: consent, a limit.
    Impossible(esign::Error),
    /// Surely nothing was made, because the upstream was not reached. It may be later.
    NotReached(esign::Error),
    /// The envelope exists.
    Opened { account: AccountId, created: CreatedEnvelope, view: FirstView },
    /// The upstream refused the envelope for good.
    Refused(esign::Error),
    /// Nobody knows whether the envelope exists.
    Unknown(esign::Error),
    /// It was not sent: the lease on it is over or nearly, so that it may be in somebody else's hands.
    Lost,
}

impl Signings {
    /// Posts the envelope. Its first view comes after that ([`with_view`](Self::with_view)), for a caller who waits for it
    /// until then.
    pub(super) async fn attempt(
        &self,
        acting: &esign::Acting,
        job: &Job,
        view_until: Option<Deadline>,
    ) -> Outcome {
        let signing = &job.signing;
        let workflow = match self.sms_workflow(acting, job).await {
            Ok(workflow) => workflow,
            Err(outcome) => return outcome,
        };
        let view = viewer(job).map(|signer| signer.id).zip(view_until);
        let announcement = self.announcing_create(signing, view);
        let outcome = self.post(acting, job, workflow.as_deref(), announcement).await;
        let Some(refused) = workflow.filter(|_| outcome.refuses_workflow()) else { return outcome };
        // It is one of yesterday, and is forgotten now. The refused create made nothing, so it may be sent with another: it
        // is the same act.
        match Box::pin(self.sms_workflow(acting, job)).await {
            Ok(Some(found)) if found != refused => {
                Box::pin(self.post(acting, job, Some(&*found), None)).await
            }
            _ => outcome,
        }
    }

    /// Sends it, with codes by this workflow, if the lease on it lasts long enough.
    async fn post(
        &self,
        acting: &esign::Acting,
        job: &Job,
        workflow: Option<&str>,
        announcement: Option<Announcement>,
    ) -> Outcome {
        let (signing, draft) = (&job.signing, &job.draft);
        let Some(deadline) = self.while_held(job) else {
            tracing::warn!(signing.id = %signing.id, "not sent: its lease is over, and somebody else has it");
            return Outcome::Lost;
        };
        let id = signing.id.to_string();
        let envelope = self.envelope(signing, draft, &id, workflow);
        match self.parts.esign.create_envelope(acting, &envelope, deadline, announcement).await {
            Ok(created) => {
                self.parts.breaker.note(Reach::Answered, 1, self.parts.clock.uptime());
                Outcome::Opened { account: acting.account.clone(), created, view: FirstView::None }
            }
            Err(error) => self.came_to(error),
        }
    }

    /// What a call came to that was refused or not answered; what it says of the upstream is noted.
    fn came_to(&self, error: esign::Error) -> Outcome {
        self.note_try(&error);
        Outcome::of(error)
    }

    /// What sends the codes, if somebody signs after one. Whatever goes wrong with it, no envelope was asked for yet.
    async fn sms_workflow(&self, acting: &esign::Acting, job: &Job) -> Result<Option<Arc<str>>, Outcome> {
        if job.draft.signers.iter().all(|signer| signer.sms.is_none()) {
            return Ok(None);
        }
        let deadline = self.while_held(job).ok_or(Outcome::Lost)?;
        let came_to = |error| match self.came_to(error) {
            Outcome::Unknown(error) => Outcome::NotReached(error),
            outcome => outcome,
        };
        // One that was put into line before its sender was known.
        match self.check_known_addresses(&job.draft, deadline).await {
            Ok(()) => {}
            // What is in the way can be mended at the sender or its account, and then the same call with the same key should
            // succeed.
            Err(error @ esign::Error::SmsToSender) => return Err(Outcome::Impossible(error)),
            // Whether anybody would be asked for a code is not known, and so it is not sent.
            Err(error) => return Err(came_to(error)),
        }
        let found = Box::pin(self.parts.esign.sms_workflow(acting, deadline)).await;
        found.map(Some).map_err(came_to)
    }

    /// How long a create may be under way: it must have ended when others may take it up. None: it is too
    /// late to begin.
    fn while_held(&self, job: &Job) -> Option<Deadline> {
        let left = job.held_until.saturating_sub(self.parts.clock.uptime()).saturating_sub(MARGIN);
        (!left.is_zero()).then(|| Deadline::within(&*self.parts.clock, left.min(AT_LEISURE)))
    }

    /// What the upstream is to make.
    fn envelope<'a>(
        &'a self,
        signing: &'a Signing,
        draft: &'a Draft,
        id: &'a str,
        workflow: Option<&'a str>,
    ) -> NewEnvelope<'a> {
        let events = self.parts.settings.events_to.as_ref().and_then(|to| to.address(&signing.sender));
        NewEnvelope {
            subject: draft.subject.as_deref(),
            message: draft.message.as_deref(),
            documents: &draft.documents,
            signers: signing
                .signers
                .iter()
                .zip(&draft.signers)
                .map(|(signer, new)| recipient(signer, new, workflow))
                .collect(),
            transaction_id: signing.transaction_id,
            signing_id: id,
            expires_after_days: draft.expires_in.map(days),
            events,
            locale: draft.locale.as_deref(),
        }
    }
}

impl Outcome {
    /// Whether the upstream made nothing because it does not know the workflow that was to send the codes.
    fn refuses_workflow(&self) -> bool {
        matches!(self, Self::Impossible(error) if error.rejection() == Some(RejectionKind::SmsUnavailable))
    }

    /// What an error says about whether the envelope exists.
    fn of(error: esign::Error) -> Self {
        match error.doubt() {
            Doubt::Yes => Self::Unknown(error),
            Doubt::No if is_definite(&error) => Self::Refused(error),
            Doubt::No if is_outage(&error) => Self::NotReached(error),
            Doubt::No => Self::Impossible(error),
        }
    }
}

/// Whether the request itself was refused, so that repeating it can never succeed.
fn is_definite(error: &esign::Error) -> bool {
    matches!(error, esign::Error::Invalid(_)) || error.rejection().is_some_and(is_of_the_request)
}

/// Whether a refusal is of the request itself. What is wrong with the account or the sender can be mended, and then
/// the same call with the same key should succeed; what an envelope is refused for that is not there yet says
/// nothing of the request.
fn is_of_the_request(kind: RejectionKind) -> bool {
    use RejectionKind as Kind;
    !matches!(
        kind,
        Kind::AccountForbids
            | Kind::AccountUnknown
            | Kind::AllowanceExceeded
            | Kind::DocumentUnknown
            | Kind::EnvelopeClosed
            | Kind::EnvelopeUnknown
            | Kind::FeatureMissing
            | Kind::NotInAccount
            | Kind::NotInSequence
            | Kind::PermissionMissing
            | Kind::SmsUnavailable
            | Kind::Unauthorized
            | Kind::UploadsAlike
            | Kind::UserUnknown
            | Kind::WrongEnvironment
    )
}

/// The upstream counts whole days; the caller's own, shorter end is kept by the link.
fn days(life: Duration) -> u32 {
    u32::try_from(life.as_secs().div_ceil(86_400)).unwrap_or(u32::MAX)
}

fn recipient<'a>(signer: &'a Signer, new: &'a NewSigner, workflow: Option<&'a str>) -> EnvelopeSigner<'a> {
    EnvelopeSigner {
        key: &signer.key,
        recipient_id: &signer.recipient_id,
        client_user_id: &signer.client_user_id,
        name: &signer.name,
        email: signer.email.reveal(),
        role: signer.role.as_deref(),
        order: signer.order,
        sms: new.sms.as_ref().zip(workflow).map(|(phone, workflow)| SmsCheck { phone, workflow }),
        access_code: new.access_code.as_ref().map(|code| code.reveal().as_str()),
        fields: new.fields.reveal(),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderMap, StatusCode};

    use super::*;

    /// An accepted create that can never be sent must end, and not be tried until its key lapses.
    #[test]
    fn what_can_never_be_sent_is_refused_for_good() {
        let too_large = esign::Error::Invalid("it is larger than the upstream takes");
        assert!(matches!(Outcome::of(too_large), Outcome::Refused(_)));
        assert!(matches!(Outcome::of(esign::Error::Deadline), Outcome::NotReached(_)));
    }

    /// A refusal that time heals is still an answer: it must open no circuit.
    #[test]
    fn what_comes_too_early_is_refused_and_no_outage() {
        let body = Bytes::from_static(br#"{"errorCode": "RECIPIENT_NOT_IN_SEQUENCE", "message": "no"}"#);
        let early = esign::read_refusal(StatusCode::BAD_REQUEST, &HeaderMap::new(), body);
        assert_eq!(early.rejection(), Some(RejectionKind::NotInSequence));
        assert!(early.retryable() && !is_outage(&early));
        assert!(is_outage(&esign::Error::Deadline), "the positive control");
    }

    #[test]
    fn e3_no_answer_of_a_key_is_a_409_a_429_or_a_5xx() {
        let kept: Vec<_> =
            RejectionKind::ALL.iter().copied().filter(|kind| is_of_the_request(*kind)).collect();
        for kind in &kept {
            let status = crate::api::problem::code(kind.code()).status;
            assert!(status < 500 && status != 409 && status != 429, "{kind:?} is told with {status}");
        }
        assert!(kept.contains(&RejectionKind::AnchorNotFound), "the positive control");
    }
}
