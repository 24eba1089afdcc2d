//! A second envelope of one create: looked for after the create was sent twice, and voided.
//!
//! A create is sent again when look-ups have found nothing for a while (rule E2). How soon the upstream lists
//! an envelope, how long it may work on a request whose sender has hung up, and what a repeated transaction id
//! does, is documented nowhere ("eSignature REST API", envelopeDefinition.transactionId). So the design relies
//! on none of it: if the first create comes to light later after all, nobody was given a way to sign what it
//! made, and it is voided. Only an envelope that carries this signing's id in the hidden custom field is
//! touched; it must never void the one that the signing owns.
//!
//! A create that nobody was promised, and that look-ups do not find, is looked for on the same timetable.

use std::time::Duration;

use jiff::Timestamp;

use crate::{
    audit::Act,
    clock::{earlier, later},
    domain::{EnvelopeFact, EnvelopeId, MomentKind, Signing},
    esign::{self, Found},
    signing::{Error, Signings, look_ups::LOOK_BACK},
    store::Durability,
};

/// When it is looked for, after the decision to send again.
const LOOKS: [Duration; 3] =
    [Duration::from_secs(60), Duration::from_secs(15 * 60), Duration::from_secs(24 * 3_600)];
/// What the void says.
const REASON: &str = "Created twice by mistake";

/// How long a create that nobody was promised, and that so many looks did not find since it was seen to be missing, is
/// left alone until the next; none if that was the last one.
pub(super) fn pause_after(looks: u8) -> Option<Duration> {
    LOOKS.get(usize::from(looks)).copied()
}

/// When a second envelope is to be looked for next, if it is. Of a create that was refused in the end, any
/// envelope is one too many.
pub(super) fn next_look(signing: &Signing) -> Option<Timestamp> {
    let since = signing.repeated_at?;
    LOOKS.get(usize::from(signing.twins_sought)).map(|after| later(since, *after))
}

impl Signings {
    /// Looks once for second envelopes of a signing, and voids them. While its sender acts in another account nobody can look,
    /// and that is no look.
    pub(super) async fn look_for_twins(&self, signing: &Signing) -> Result<(), Error> {
        if signing.account.is_none() {
            return Ok(());
        }
        let acting = self.acting_for(signing).await?;
        let since = earlier(signing.created_at, LOOK_BACK);
        let id = signing.id.to_string();
        let found = self.parts.esign.find_by_signing(&acting, &id, since, self.at_leisure()).await?;
        let is_ours = |one: &Found| signing.envelope.as_ref() == Some(&one.seen.envelope);
        for twin in found.iter().filter(|one| !is_ours(one)) {
            let envelope = &twin.seen.envelope;
            if twin.can_be_voided {
                self.void_twin(&acting, signing, envelope).await?;
            } else if twin.seen.facts.contains(&EnvelopeFact::Voided) {
                // The answer to our void was lost, or it could not be told of; or somebody has voided it by hand.
                self.tell_of_twin(signing, envelope, None).await?;
            }
        }
        Ok(())
    }

    async fn void_twin(
        &self,
        acting: &esign::Acting,
        signing: &Signing,
        envelope: &EnvelopeId,
    ) -> Result<(), Error> {
        tracing::error!(signing.id = %signing.id, envelope.id = %envelope, "a create that was sent twice has made an envelope too many: it is voided");
        self.announce(Act::EnvelopeVoid, signing, &envelope.as_str()).await?;
        match self.parts.esign.void(acting, envelope, REASON, self.at_leisure()).await {
            Ok(trace) => self.tell_of_twin(signing, envelope, trace).await,
            Err(error) if error.rejection().is_some() => {
                tracing::error!(signing.id = %signing.id, envelope.id = %envelope, code = error.code(),
                    "the envelope too many was not voided: void it at DocuSign by hand");
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Writes a line of history about an envelope too many that is voided, once.
    async fn tell_of_twin(
        &self,
        signing: &Signing,
        envelope: &EnvelopeId,
        trace: Option<String>,
    ) -> Result<(), Error> {
        let told = self.change(signing.id, Durability::Flushed, |signing, now| {
            let mut lines = signing.history.iter().filter(|one| one.what == MomentKind::ExtraEnvelopeVoided);
            if !lines.any(|line| line.note.as_deref() == Some(envelope.as_str())) {
                signing.remember(now, MomentKind::ExtraEnvelopeVoided, None, trace.clone());
                signing.annotate(envelope.as_str());
            }
            Ok(Vec::new())
        });
        told.await.map(|_| ())
    }
}
