//! Calling a signing off.
//!
//! Must claim no end that the upstream has not told: that it takes no void says that the envelope has ended, and not how.

use std::time::Duration;

use crate::{
    audit::Act,
    clock::Deadline,
    domain::{CallerName, EnvelopeFact, Fact, MomentKind, Signing, SigningId, SigningStatus},
    esign::RejectionKind,
    signing::{Error, Signings, follow::Asked},
};

impl Signings {
    /// Calls a signing off, for a caller who waits so long. Repeating it is harmless.
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
            // Another call may have voided it at the same time, or its end is on its way here.
            Err(error) if error.rejection() == Some(RejectionKind::EnvelopeClosed) => {
                let signing = self.get(caller, id).await?;
                let ended = signing.status.is_terminal();
                let signing = if ended { signing } else { self.check_once(signing, deadline).await };
                match signing.status {
                    SigningStatus::Voided => Ok(signing),
                    closed if closed.is_terminal() => Err(Error::Closed(closed)),
                    _ => Err(error.into()),
                }
            }
            Err(error) => Err(error.into()),
        }
    }
}
