//! What a delivery says: from the upstream's JSON to facts about one envelope.
//!
//! Single-message (SIM) events say what happened in `event`; the envelope in `data.envelopeSummary` is
//! as it was when the message left, so it names people, reasons and the times of ends, and is not believed on the status;
//! but, of an envelope that is declined, on who has declined it, and of one that is completed, on when each has signed.
//! Aggregate messages have no `event`: they are an envelope whose `status` is at the top.
//!
//! Only a handful of fields is read, all of them may be missing, of another type, or unknown words:
//! that is a message without facts, not an error. Nothing here is called before the digest has matched.
//!
//! Source: developers.docusign.com, platform/webhooks/connect/json-sim-event-model and event-triggers;
//! `connect.schema-v2.json` in docusign/OpenAPI-Specifications.

use jiff::Timestamp;

use crate::{
    connect::wire::{Body, Recipient, Summary, Text},
    domain::{
        EnvelopeFact, EnvelopeId, Fact, Private, Signer, SignerFact, SignerId, SignerStatus, fact, whom,
    },
    store::Digest,
};

/// One message, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The upstream's event name in lower case; `aggregate-STATUS` for an aggregate message.
    pub event: String,
    /// The envelope, if it names one.
    pub envelope: Option<EnvelopeId>,
    recipient: Option<String>,
    generated_at: Option<String>,
    /// When the envelope came to its end, if it says so.
    ended_at: Option<Timestamp>,
    said: Said,
    /// Whether it says why, or when, a void came, so that it is known to be an expiry or none. An account's own
    /// configuration may leave the whole envelope out.
    tells_why: bool,
    /// The signers that it lists, by name and address if it tells these. An account's own configuration may leave the
    /// recipients out.
    listed: Vec<(Person, Option<[Private<String>; 2]>)>,
    /// Those of them of whom it tells whether they passed a check by phone before they signed.
    checked: Vec<(Person, bool)>,
}

/// A body that is not JSON of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the body is not a JSON object that Connect sends")]
pub struct Unreadable;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Said {
    /// About the envelope.
    Envelope(EnvelopeFact),
    /// About everyone, in an aggregate message; or the end of an envelope, after those who have declined it, or have signed
    /// it at times of their own.
    Everyone(Option<EnvelopeFact>, Vec<(Person, SignerFact)>),
    /// One recipient has put it off, and left the signing page.
    Left(Person),
    /// A known event that changes nothing of ours.
    Nothing,
    /// About one recipient.
    Recipient(Person, SignerFact),
    /// An event we do not know.
    Unknown,
}

/// A recipient by all the names that the message has for them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Person {
    client_user_id: Option<String>,
    recipient_id: Option<String>,
    /// Whether the message lists the recipients. An account's own configuration may leave that out.
    is_listed: bool,
    /// When they signed or declined, if it says so.
    ended_at: Option<Timestamp>,
}

impl Message {
    /// Reads a body whose digest has matched.
    pub fn parse(body: &[u8]) -> Result<Self, Unreadable> {
        // An array would do for a struct of which every field may be missing.
        if body.trim_ascii_start().first() != Some(&b'{') {
            return Err(Unreadable);
        }
        let read: Body = serde_json::from_slice(body).map_err(|_| Unreadable)?;
        if read.event.0.is_some() {
            return Ok(Self::single(read));
        }
        // An aggregate message is an envelope itself.
        serde_json::from_slice(body).map(Self::aggregate).map_err(|_| Unreadable)
    }

    /// When the upstream generated it, by its own clock, if it says so in a form that we know.
    pub fn generated_at(&self) -> Option<Timestamp> {
        self.generated_at.as_deref().and_then(fact::time)
    }

    /// What makes this the same message again (rule F3): envelope, event, recipient and the time at
    /// which it was generated. Without such a time only the same bytes are the same message.
    pub fn identity(&self, body: &[u8]) -> Digest {
        let Some(generated_at) = &self.generated_at else { return sha256(&[body]) };
        let envelope = self.envelope.as_ref().map_or("", EnvelopeId::as_str);
        let recipient = self.recipient.as_deref().unwrap_or_default();
        // Where one configuration lists the recipients and another does not, the one that does says more. So it is
        // with the reason of a void.
        let bare = self.is_bare().then_some("unlisted");
        let parts = [envelope, &self.event, recipient, generated_at].into_iter().chain(bare);
        sha256(&parts.map(str::as_bytes).collect::<Vec<_>>())
    }

    /// Whether it is of a kind that we know and names an envelope.
    pub fn is_known(&self) -> bool {
        self.said != Said::Unknown && self.envelope.is_some()
    }

    /// Whether it says that a signer's part has ended, and not whose: it does not list the recipients, and
    /// the number that it gives is no name that we know. Nothing follows from it but that there is news. So it is with
    /// the completion of an envelope, while one of several signers is not known to have signed: they may have been
    /// taken off it; with one that is declined, while nobody is known to have declined it; and with a void that may be an
    /// expiry.
    pub fn is_unclear(&self, signers: &[Signer]) -> bool {
        if let Some(end) = self.end() {
            let has_signed = |signer: &Signer| signer.status == SignerStatus::Signed;
            let has_declined = |signer: &Signer| signer.status == SignerStatus::Declined;
            let is_known = match end {
                EnvelopeFact::Completed => signers.len() <= 1 || signers.iter().all(has_signed),
                EnvelopeFact::Declined => signers.iter().any(has_declined),
                _ => false,
            };
            return self.is_bare() && !is_known;
        }
        let Said::Recipient(person, fact) = &self.said else { return false };
        let has_ended = !matches!(fact, SignerFact::Delivered | SignerFact::Resent | SignerFact::Sent);
        has_ended && !person.is_listed && person.find(signers).is_none()
    }

    /// Whether another message says what this one leaves out: the same news, with the recipients or the reason.
    pub fn clears(&self, unclear: &Self) -> bool {
        self.event == unclear.event && self.recipient == unclear.recipient && !self.is_bare()
    }

    /// Whether it says that the envelope has come to its end.
    pub fn ends(&self) -> bool {
        self.end().is_some()
    }

    /// The end of the envelope that it tells of.
    fn end(&self) -> Option<EnvelopeFact> {
        self.said.of_envelope().filter(|fact| fact.is_end())
    }

    /// Whether it leaves out what the same news may have in another message: the recipients, or why an envelope is voided.
    fn is_bare(&self) -> bool {
        match (&self.said, self.end()) {
            (Said::Left(person) | Said::Recipient(person, _), _) => !person.is_listed,
            (_, Some(EnvelopeFact::Completed | EnvelopeFact::Declined)) => self.listed.is_empty(),
            (_, Some(EnvelopeFact::Voided)) => !self.tells_why,
            _ => false,
        }
    }

    /// Who has put it off and left the signing page, and when by the upstream's clock. No fact follows from that: they
    /// stand where they stood.
    pub fn left(&self, signers: &[Signer]) -> Option<(SignerId, Timestamp)> {
        let Said::Left(person) = &self.said else { return None };
        Some((person.find(signers)?.id, self.generated_at()?))
    }

    /// The facts, with the recipient ids that we gave.
    pub fn facts(&self, signers: &[Signer]) -> Vec<Fact> {
        // It is generated when that happens, and delivered whenever it can be.
        let at = self.generated_at();
        let of = |person: &Person, fact: SignerFact| {
            let recipient_id = person.find(signers)?.recipient_id.clone();
            let ended_at = person.ended_at.filter(|_| fact.is_end());
            Some(Fact::Signer { recipient_id, fact, at: ended_at.or(at) })
        };
        let listed: Vec<_> =
            self.listed.iter().filter_map(|(person, _)| person.find(signers)).map(|it| it.id).collect();
        let is_listed = |signer: &Signer| self.listed.is_empty() || listed.contains(&signer.id);
        let ended_at = self.ended_at.or(at);
        let of_envelope = |fact: EnvelopeFact| Fact::of_envelope(fact, ended_at, signers, is_listed);
        let mut facts = match &self.said {
            Said::Envelope(fact) => vec![of_envelope(*fact)],
            Said::Everyone(fact, people) => {
                let of_people = people.iter().filter_map(|(person, fact)| of(person, *fact));
                of_people.chain(fact.map(of_envelope)).collect()
            }
            Said::Left(_) | Said::Nothing | Said::Unknown => Vec::new(),
            Said::Recipient(person, fact) => of(person, *fact).into_iter().collect(),
        };
        if self.said != Said::Unknown {
            let named = self.listed.iter().filter_map(|(person, names)| Some((person, names.as_ref()?)));
            facts.extend(named.filter_map(|(person, names)| person.named(names, at, signers)));
            facts.extend(self.checked.iter().filter_map(|(person, passed)| person.checked(*passed, signers)));
        }
        facts
    }

    fn single(read: Body) -> Self {
        let event = read.event.0.unwrap_or_default().trim().to_ascii_lowercase();
        let data = read.data.unwrap_or_default();
        let summary = data.envelope_summary.unwrap_or_default();
        let said = match event.split_once('-') {
            Some(("envelope", what)) => envelope_event(what, &summary),
            Some(("recipient", what)) => recipient_event(what, data.recipient_id.0.as_deref(), &summary),
            _ => Said::Unknown,
        };
        let about = Self::about(summary, event, said);
        Self {
            envelope: data.envelope_id.0.map(EnvelopeId::new).or(about.envelope),
            recipient: data.recipient_id.0,
            generated_at: read.generated_date_time.0,
            ..about
        }
    }

    fn aggregate(summary: Summary) -> Self {
        let status = summary.status.0.as_deref().unwrap_or_default().to_ascii_lowercase();
        let fact = EnvelopeFact::of_status(&status, has_expired(&summary));
        let people: Vec<_> = summary.signers().filter_map(Recipient::standing).collect();
        let said = if fact.is_none() && people.is_empty() && status != "created" && status != "correct" {
            Said::Unknown
        } else {
            Said::Everyone(fact, people)
        };
        Self::about(summary, format!("aggregate-{status}"), said)
    }

    /// What an envelope tells of itself, whatever else the message says.
    fn about(summary: Summary, event: String, said: Said) -> Self {
        Self {
            event,
            tells_why: tells_why(&summary),
            ended_at: said.of_envelope().and_then(|fact| ended_at(fact, &summary)),
            listed: summary.signers().map(Recipient::listed).collect(),
            checked: summary.signers().filter_map(Recipient::checked).collect(),
            envelope: summary.envelope_id.0.map(EnvelopeId::new),
            recipient: None,
            generated_at: None,
            said,
        }
    }
}

impl Said {
    /// What is said of the envelope as a whole.
    const fn of_envelope(&self) -> Option<EnvelopeFact> {
        match self {
            Self::Envelope(fact) | Self::Everyone(Some(fact), _) => Some(*fact),
            Self::Everyone(None, _) | Self::Left(_) | Self::Nothing | Self::Recipient(..) | Self::Unknown => {
                None
            }
        }
    }
}

impl Person {
    fn find<'a>(&self, signers: &'a [Signer]) -> Option<&'a Signer> {
        whom(signers, self.client_user_id.as_deref(), self.recipient_id.as_deref())
    }

    /// The fact of whether this signer passed the check by phone that was asked for, if it is not known that they did.
    fn checked(&self, is_passed: bool, signers: &[Signer]) -> Option<Fact> {
        let signer = self.find(signers)?;
        let is_open = signer.sms_auth && signer.upstream.is_checked != Some(true);
        is_open.then(|| Fact::Checked { recipient_id: signer.recipient_id.clone(), is_passed })
    }

    /// The fact of who this embedded signer is now, where we need it: the name is another, or they are locked.
    fn named(
        &self,
        [name, email]: &[Private<String>; 2],
        at: Option<Timestamp>,
        signers: &[Signer],
    ) -> Option<Fact> {
        let signer = self.client_user_id.as_ref().and_then(|_| self.find(signers))?;
        let person = fact::Person {
            recipient_id: self.recipient_id.clone(),
            name: name.clone(),
            email: email.clone(),
            at,
        };
        person
            .tells_more_of(signer)
            .then(|| Fact::Person { recipient_id: signer.recipient_id.clone(), person })
    }
}

fn envelope_event(what: &str, summary: &Summary) -> Said {
    Said::Envelope(match what {
        "completed" => return Said::Everyone(Some(EnvelopeFact::Completed), signatories(summary)),
        "declined" => return Said::Everyone(Some(EnvelopeFact::Declined), decliners(summary)),
        "delivered" => EnvelopeFact::Delivered,
        "purge" => EnvelopeFact::Purged,
        "sent" => EnvelopeFact::Sent,
        "voided" if has_expired(summary) => EnvelopeFact::Expired,
        "voided" => EnvelopeFact::Voided,
        "corrected" | "created" | "deleted" | "discard" | "resent" => return Said::Nothing,
        _ => return Said::Unknown,
    })
}

/// Nobody takes that back, so that the list is believed on it: who has declined is to be told before the end.
fn decliners(summary: &Summary) -> Vec<(Person, SignerFact)> {
    let standings = summary.signers().filter_map(Recipient::standing);
    standings.filter(|(_, fact)| *fact == SignerFact::Declined).collect()
}

/// Those of whom it tells when they signed: to be told before the end, which has another time. Of whom it does not tell
/// that, the completion itself says that they have.
fn signatories(summary: &Summary) -> Vec<(Person, SignerFact)> {
    let dated = summary.signers().filter(|one| one.signed_at().is_some());
    dated.map(|one| (one.person(), SignerFact::Signed)).collect()
}

fn recipient_event(what: &str, named: Option<&str>, summary: &Summary) -> Said {
    let fact = match what {
        "authenticationfailed" | "authentication-failed" => Some(SignerFact::AuthenticationFailed),
        "completed" => Some(SignerFact::Signed),
        "declined" => Some(SignerFact::Declined),
        "delivered" => Some(SignerFact::Delivered),
        "finish-later" => None,
        "resent" => Some(SignerFact::Resent),
        "sent" => Some(SignerFact::Sent),
        "autoresponded" | "delegate" | "reassign" => return Said::Nothing,
        _ => return Said::Unknown,
    };
    let Some(named) = named else { return Said::Nothing };
    // `recipientId` is the short id or the GUID, depending on who describes it: the list knows both.
    let listed = summary.signers().find(|one| one.is(named)).map(Recipient::person);
    let is_listed = summary.signers().next().is_some();
    let unlisted = || Person { recipient_id: Some(named.to_owned()), is_listed, ..Person::default() };
    let person = listed.unwrap_or_else(unlisted);
    match fact {
        Some(fact) => Said::Recipient(person, fact),
        None => Said::Left(person),
    }
}

fn has_expired(summary: &Summary) -> bool {
    let [reason, voided_at, expires_at] =
        [&summary.voided_reason, &summary.voided_date_time, &summary.expire_date_time];
    fact::has_expired(reason.0.as_deref(), voided_at.0.as_deref(), expires_at.0.as_deref())
}

fn ended_at(end: EnvelopeFact, summary: &Summary) -> Option<Timestamp> {
    let said = [&summary.completed_date_time, &summary.declined_date_time, &summary.voided_date_time];
    fact::ended_at(end, said.map(|text| text.0.as_deref()))
}

/// Whether it can be told from this if a void is an expiry. The upstream voids nothing without a reason.
fn tells_why(summary: &Summary) -> bool {
    let is_given = |text: &Text| text.0.as_deref().is_some_and(|text| !text.trim().is_empty());
    let is_time = |text: &Text| text.0.as_deref().and_then(fact::time).is_some();
    is_given(&summary.voided_reason)
        || (is_time(&summary.voided_date_time) && is_time(&summary.expire_date_time))
}

impl Recipient {
    fn listed(&self) -> (Person, Option<[Private<String>; 2]>) {
        let names = self.name.0.clone().zip(self.email.0.clone());
        (self.person(), names.map(|(name, email)| [name, email].map(Private::new)))
    }

    /// Whether they passed a check by phone. A list may be from before they signed, when one may have failed that they
    /// passed later; so only of who had signed by then it says that the check is missing.
    fn checked(&self) -> Option<(Person, bool)> {
        let is_passed = self.checks.0?;
        let had_signed = || self.standing().is_some_and(|(_, fact)| fact == SignerFact::Signed);
        (is_passed || had_signed()).then(|| (self.person(), is_passed))
    }

    fn person(&self) -> Person {
        // Nobody does both.
        let declined_at = || fact::time(self.declined_date_time.0.as_deref()?);
        Person {
            client_user_id: self.client_user_id.0.clone(),
            recipient_id: self.id.0.clone(),
            is_listed: true,
            ended_at: self.signed_at().or_else(declined_at),
        }
    }

    fn signed_at(&self) -> Option<Timestamp> {
        fact::time(self.signed_date_time.0.as_deref()?)
    }

    fn standing(&self) -> Option<(Person, SignerFact)> {
        Some((self.person(), SignerFact::of_status(self.status.0.as_deref()?)?))
    }
}

/// SHA-256 over parts that cannot run into one another.
fn sha256(parts: &[&[u8]]) -> Digest {
    let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    context.finish().as_ref().try_into().expect("SHA-256 has 32 bytes")
}

/// What identifies a body that could not be read.
pub(super) fn identity_of_bytes(body: &[u8]) -> Digest {
    sha256(&[body])
}

#[cfg(test)]
mod tests;
