//! What was read of an envelope, and the facts that follow (rule F1).

use jiff::Timestamp;

use super::wire;
use crate::domain::{
    EnvelopeFact, EnvelopeId, Fact, Private, Signer, SignerFact,
    fact::{Person, ended_at, has_expired, has_passed, time},
    whom,
};

/// An envelope as it was read.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Which.
    pub envelope: EnvelopeId,
    /// What follows about the envelope.
    pub facts: Vec<EnvelopeFact>,
    /// When it came to its end, if it has.
    pub ended_at: Option<Timestamp>,
    /// Its signers.
    pub recipients: Vec<Recipient>,
    /// The upstream's trace id.
    pub trace: Option<String>,
}

/// A signer as the upstream has them now.
#[derive(Debug, Clone)]
pub struct Recipient {
    /// The id within the envelope. A template may have put its own in the place of ours.
    pub recipient_id: String,
    /// What makes them embedded: ours, unchanged.
    pub client_user_id: Option<String>,
    /// Their name; signers may change it while they sign.
    pub name: Private<String>,
    /// Their address.
    pub email: Private<String>,
    /// What follows about them.
    pub fact: Option<SignerFact>,
    /// When that came about, if it is a failed check or the end of their part.
    pub fact_at: Option<Timestamp>,
    /// Whether a check by phone was passed, if the answer tells.
    pub is_checked: Option<bool>,
    /// Whether the answer has a result of a check by phone, whatever it says.
    pub has_phone_check: bool,
}

impl Seen {
    /// The facts about an envelope's signers and itself, with the recipient ids that we gave.
    pub fn facts(&self, signers: &[Signer]) -> Vec<Fact> {
        let find = |recipient: &Recipient| {
            whom(signers, recipient.client_user_id.as_deref(), Some(&recipient.recipient_id))
        };
        let of_signers = self.recipients.iter().filter_map(|recipient| {
            let recipient_id = find(recipient)?.recipient_id.clone();
            Some(Fact::Signer { recipient_id, fact: recipient.fact?, at: recipient.fact_at })
        });
        let checks = self.recipients.iter().filter_map(|recipient| {
            let signer = find(recipient).filter(|signer| signer.sms_auth)?;
            let is_passed = recipient.is_checked.filter(|_| recipient.fact == Some(SignerFact::Signed))?;
            Some(Fact::Checked { recipient_id: signer.recipient_id.clone(), is_passed })
        });
        let listed: Vec<_> = self.recipients.iter().filter_map(find).map(|signer| signer.id).collect();
        let is_listed = |signer: &Signer| self.recipients.is_empty() || listed.contains(&signer.id);
        of_signers
            .chain(people(&self.recipients, signers))
            .chain(self.facts.iter().map(|fact| Fact::of_envelope(*fact, self.ended_at, signers, is_listed)))
            .chain(checks)
            .collect()
    }
}

/// Who the embedded signers are now, as far as that is not known.
pub fn people(recipients: &[Recipient], signers: &[Signer]) -> Vec<Fact> {
    let person = |recipient: &Recipient| {
        let ours = |signer: &&Signer| recipient.client_user_id.as_deref() == Some(&signer.client_user_id);
        let signer = signers.iter().find(ours)?;
        let person = Person {
            recipient_id: Some(recipient.recipient_id.clone()),
            name: recipient.name.clone(),
            email: recipient.email.clone(),
            at: None,
        };
        person
            .tells_more_of(signer)
            .then(|| Fact::Person { recipient_id: signer.recipient_id.clone(), person })
    };
    recipients.iter().filter_map(person).collect()
}

/// The envelope that an answer names, as it is written there; none if that is no id. Taken for one, it would name the
/// envelope in every call from then on, in vain.
pub(super) fn envelope_id(told: Option<String>) -> Option<EnvelopeId> {
    told.filter(|id| id.len() == 36 && uuid::Uuid::try_parse(id).is_ok()).map(EnvelopeId::new)
}

/// Reads an envelope; none if it has no id.
pub(super) fn seen(read: wire::answers::Envelope, trace: Option<String>) -> Option<Seen> {
    let facts = envelope_facts(&read);
    let ends = [&read.completed_date_time, &read.declined_date_time, &read.voided_date_time];
    let ended_at = facts.iter().find_map(|fact| ended_at(*fact, ends.map(Option::as_deref)));
    let signers = read.recipients.map(|recipients| recipients.signers).unwrap_or_default();
    Some(Seen {
        envelope: envelope_id(read.envelope_id)?,
        facts,
        ended_at,
        recipients: signers.into_iter().filter_map(recipient).collect(),
        trace,
    })
}

fn envelope_facts(read: &wire::answers::Envelope) -> Vec<EnvelopeFact> {
    let [reason, voided_at, expires_at] =
        [&read.voided_reason, &read.voided_date_time, &read.expire_date_time].map(Option::as_deref);
    let has_expired = has_expired(reason, voided_at, expires_at);
    let status = read.status.as_deref().unwrap_or_default();
    let mut facts: Vec<_> = EnvelopeFact::of_status(status, has_expired).into_iter().collect();
    // `documents_purged` and its longer forms. `unpurged` ends alike, but says the opposite.
    if read.purge_state.as_deref().is_some_and(|state| state.to_ascii_lowercase().ends_with("_purged")) {
        facts.push(EnvelopeFact::Purged);
    }
    facts
}

/// Reads a signer; none if it has no id.
pub(super) fn recipient(read: wire::answers::Recipient) -> Option<Recipient> {
    let checks = read.recipient_authentication_status.unwrap_or_default();
    let is_checked = has_passed(checks.by_phone());
    let has_phone_check = checks.by_phone().next().is_some();
    let failure = checks.failure();
    let fact = SignerFact::of_status(read.status.as_deref().unwrap_or_default());
    // A failed check is told beside a status that says nothing of it.
    let is_locked = failure.is_some() && matches!(fact, Some(SignerFact::Delivered | SignerFact::Sent));
    let fact = if is_locked { Some(SignerFact::AuthenticationFailed) } else { fact };
    let fact_at = match fact {
        Some(SignerFact::AuthenticationFailed) => failure.and_then(wire::answers::CheckResult::at),
        Some(SignerFact::Declined) => read.declined_date_time.as_deref().and_then(time),
        Some(SignerFact::Signed) => read.signed_date_time.as_deref().and_then(time),
        Some(SignerFact::Delivered | SignerFact::Resent | SignerFact::Sent) | None => None,
    };
    Some(Recipient {
        recipient_id: read.recipient_id?,
        client_user_id: read.client_user_id,
        name: Private::new(read.name.unwrap_or_default()),
        email: Private::new(read.email.unwrap_or_default()),
        fact,
        fact_at,
        is_checked,
        has_phone_check,
    })
}
