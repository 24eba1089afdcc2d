//! Lifting the lock of a signer whose identity check failed for good: with another phone, or another code.

use std::time::Duration;

use crate::{
    audit::Act,
    clock::{Deadline, later},
    domain::{CallerName, EnvelopeId, MomentKind, Signer, SignerId, Signing, SigningId, SigningStatus},
    esign::{self, NewCheck},
    signing::{Error, Signings, follow::polling},
    store::Durability,
};

impl Signings {
    /// Gives a signer whose check is locked a check anew, and unlocks it, for a caller who waits so long.
    pub async fn reset_check(
        &self,
        caller: &CallerName,
        id: SigningId,
        signer: SignerId,
        check: NewCheck,
        wait: Duration,
    ) -> Result<Signing, Error> {
        let deadline = self.within(wait);
        let (this, caller) = (self.clone(), caller.clone());
        let reset = async move { this.check_anew(&caller, id, signer, &check, deadline).await };
        self.aside_within(wait, "a check anew", Box::pin(reset)).await
    }

    async fn check_anew(
        &self,
        caller: &CallerName,
        id: SigningId,
        signer: SignerId,
        check: &NewCheck,
        deadline: Deadline,
    ) -> Result<Signing, Error> {
        let signing = self.get(caller, id).await?;
        let person = signing.signer(signer).ok_or(Error::NotFound)?;
        // An access code can be set for anybody; a workflow for phones is part of the envelope, or is not.
        let (act, is_possible) = match check {
            NewCheck::AccessCode(_) => (Act::AccessCodeCorrect, true),
            NewCheck::Phone(_) => (Act::PhoneCorrect, person.sms_auth),
        };
        if !is_possible {
            return Err(Error::NoCheck);
        }
        if signing.status.is_terminal() {
            return Err(Error::Closed(signing.status));
        }
        if signing.status != SigningStatus::Open || person.is_done() {
            return Err(Error::NotReady { status: person.status, signing: signing.status });
        }
        let envelope = signing.envelope.as_ref().ok_or(Error::NotFound)?;
        let acting = self.acting_for(&signing).await?;
        let recipient_id = self.upstream_id(&acting, &signing, envelope, person, deadline).await?;
        self.announce(act, &signing, &signer).await?;
        let corrected = self.parts.esign.correct(&acting, envelope, &recipient_id, check, deadline).await?;
        // The upstream gives whole seconds: what failed in the same one failed before.
        let at = corrected.at.map_or_else(|| self.parts.clock.now(), |at| later(at, SECOND));
        self.change(id, Durability::Synced, |signing, now| {
            signing.remember(now, MomentKind::AuthenticationReset, Some(signer), corrected.trace.clone());
            Ok(signing.reset_authentication(signer, at))
        })
        .await
    }

    /// The recipient id that the upstream knows a signer by. Only a template puts its own in the place of
    /// ours; then it was told with the failure, or those of all signers are read.
    async fn upstream_id(
        &self,
        acting: &esign::Acting,
        signing: &Signing,
        envelope: &EnvelopeId,
        signer: &Signer,
        deadline: Deadline,
    ) -> Result<String, Error> {
        if signer.role.is_none() {
            return Ok(signer.recipient_id.clone());
        }
        if let Some(known) = &signer.upstream.recipient_id {
            return Ok(known.clone());
        }
        let recipients = self.recipients(acting, envelope, deadline).await?;
        let of_templates = signing.signers.iter().filter(|signer| signer.role.is_some());
        let ids: Vec<_> = of_templates
            .filter_map(|signer| {
                let theirs = Some(signer.client_user_id.as_str());
                let found =
                    recipients.iter().find(|recipient| recipient.client_user_id.as_deref() == theirs)?;
                Some((signer.id, found.recipient_id.clone()))
            })
            .collect();
        // All are kept, with the names that they have now, and at once, whatever becomes of the change: they may not be read
        // again for a while.
        let people = esign::people(&recipients, &signing.signers);
        self.change(signing.id, Durability::Flushed, |signing, _| {
            let news = signing.observe_all(&people, self.time_of_facts());
            for (person, id) in &ids {
                if let Some(signer) = signing.signer_mut(*person) {
                    signer.upstream.recipient_id = Some(id.clone());
                }
            }
            Ok(news)
        })
        .await?;
        let Some((_, found)) = ids.into_iter().find(|(person, _)| *person == signer.id) else {
            tracing::warn!(signing.id = %signing.id, "a signer is not among the envelope's recipients");
            return Err(Error::NotFound);
        };
        Ok(found)
    }

    /// Reads an envelope's recipients, if that is allowed again (rule B3).
    pub(super) async fn recipients(
        &self,
        acting: &esign::Acting,
        envelope: &EnvelopeId,
        deadline: Deadline,
    ) -> Result<Vec<esign::Recipient>, Error> {
        self.parts.esign.recipients(acting, envelope, deadline).await.map_err(polling)
    }
}

const SECOND: Duration = Duration::from_secs(1);
