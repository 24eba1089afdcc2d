//! Calling a signing off.
//!
//! Must claim no end that the upstream has not told: that it takes no void says that the envelope has ended, and not how.

use std::time::Duration;

use jiff::Timestamp;

use crate::{
    audit::Act,
    clock::Deadline,
    domain::{CallerName, EnvelopeFact, EnvelopeId, Fact, MomentKind, Signing, SigningId, SigningStatus},
    esign::RejectionKind,
    signing::{Error, Signings, follow::Asked, reconcile::is_for_good},
    telemetry::chain,
};

impl Signings {
    /// Calls a signing off, for a caller who waits so long. Repeating it is harmless, also while the first call is under way
    /// or after its answer was lost.
    pub async fn void(
        &self,
        caller: &CallerName,
        id: SigningId,
        reason: &str,
        wait: Duration,
    ) -> Result<Signing, Error> {
        let deadline = self.within(wait);
        let (this, caller, reason) = (self.clone(), caller.clone(), reason.to_owned());
        let void = async move { this.call_off(&caller, id, &reason, deadline).await };
        self.aside_within(wait, "a void", Box::pin(void)).await
    }

    async fn call_off(
        &self,
        caller: &CallerName,
        id: SigningId,
        reason: &str,
        deadline: Deadline,
    ) -> Result<Signing, Error> {
        let signing = self.get(caller, id).await?;
        match signing.status {
            SigningStatus::Voided => return Ok(signing),
            SigningStatus::Open => {}
            early @ (SigningStatus::Creating | SigningStatus::Uncertain) => {
                return Err(Error::NotOpen(early));
            }
            closed => return Err(Error::Closed(closed)),
        }
        let envelope = signing.envelope.as_ref().ok_or(Error::NotFound)?;
        let acting = self.acting_for(&signing).await?;
        self.announce(Act::EnvelopeVoid, &signing, &envelope.as_str()).await?;
        match self.parts.esign.void(&acting, envelope, reason, deadline).await {
            // The API's own answer is a fact (rule F1).
            Ok(trace) => {
                let facts = [Fact::Envelope(EnvelopeFact::Voided, None)];
                self.take_in(id, &facts, Some(Asked::End { what: MomentKind::VoidAsked, trace })).await
            }
            Err(error) if error.rejection() == Some(RejectionKind::EnvelopeClosed) => {
                match Box::pin(self.learn_end(&signing, envelope, deadline)).await? {
                    after if after.status == SigningStatus::Voided => Ok(after),
                    after if after.status.is_terminal() => Err(Error::Closed(after.status)),
                    _ => Err(error.into()),
                }
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The envelope has ended, and nobody has told how: another call has voided it at the same time, or an earlier one whose
    /// answer was lost, or its end is on its way here. A list tells, which may be asked for however lately the envelope was
    /// checked; where it does not, as lists lag, the check of the interval does, or that of somebody else which is under way.
    async fn learn_end(
        &self,
        signing: &Signing,
        envelope: &EnvelopeId,
        deadline: Deadline,
    ) -> Result<Signing, Error> {
        // An answer that told no end is none to this, and may be dated ahead of now by another daemon's clock.
        match self.ask_about_one(envelope, Timestamp::MAX).await {
            Err(error) if is_for_good(&error) => {
                tracing::warn!(signing.id = %signing.id, error = %chain(&error), "a list does not tell how a signing ended");
            }
            asked => asked?,
        }
        let listed = self.record(signing.id).await?.signing;
        if listed.status.is_terminal() {
            return Ok(listed);
        }
        let mut watcher = self.parts.hub.watch(signing.id);
        match self.check(&listed, envelope, deadline).await {
            Err(spent @ Error::PollingBudget { .. }) => {
                let answered = self.once_answered(signing.id, &mut watcher).await?;
                // It is known once the next check is made, or by the event: to be asked again, and not to be given up.
                if answered.status.is_terminal() { Ok(answered) } else { Err(spent) }
            }
            checked => checked,
        }
    }
}
