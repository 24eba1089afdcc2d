//! What a delivery says: from the upstream's JSON to facts about one envelope.
//!
//! Single-message (SIM) events say what happened in `event`; the envelope in `data.envelopeSummary` is
//! as it was when the message left, so it names people and reasons and is not believed on the status; but, of an
//! envelope that is declined, on who has declined it.
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
    /// About everyone, in an aggregate message; or the end of an envelope, after those who have declined it.
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
        use EnvelopeFact::{Completed, Declined, Expired, Voided};
        let (Said::Envelope(fact) | Said::Everyone(Some(fact), _)) = &self.said else { return None };
        matches!(fact, Completed | Declined | Expired | Voided).then_some(*fact)
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
        let at = self.generated_at();
        let of = |person: &Person, fact: SignerFact| {
            let recipient_id = person.find(signers)?.recipient_id.clone();
            Some(Fact::Signer { recipient_id, fact, at })
        };
        let listed: Vec<_> =
            self.listed.iter().filter_map(|(person, _)| person.find(signers)).map(|it| it.id).collect();
        let is_listed = |signer: &Signer| self.listed.is_empty() || listed.contains(&signer.id);
        let of_envelope = |fact: EnvelopeFact| Fact::of_envelope(fact, signers, is_listed);
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
        Self {
            event,
            tells_why: tells_why(&summary),
            listed: summary.signers().map(Recipient::listed).collect(),
            checked: summary.signers().filter_map(Recipient::checked).collect(),
            envelope: data.envelope_id.0.or(summary.envelope_id.0).map(EnvelopeId::new),
            recipient: data.recipient_id.0,
            generated_at: read.generated_date_time.0,
            said,
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
        let event = format!("aggregate-{status}");
        Self {
            event,
            tells_why: tells_why(&summary),
            listed: summary.signers().map(Recipient::listed).collect(),
            checked: summary.signers().filter_map(Recipient::checked).collect(),
            envelope: summary.envelope_id.0.map(EnvelopeId::new),
            recipient: None,
            generated_at: None,
            said,
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
        "completed" => EnvelopeFact::Completed,
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
    let unlisted = || Person { client_user_id: None, recipient_id: Some(named.to_owned()), is_listed };
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
        Person {
            client_user_id: self.client_user_id.0.clone(),
            recipient_id: self.id.0.clone(),
            is_listed: true,
        }
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
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::connect::permutations::{ENVELOPE, GUIDS, signing, sim};

    fn parse(value: &Value) -> Message {
        Message::parse(value.to_string().as_bytes()).unwrap()
    }

    fn facts(value: &Value) -> Vec<Fact> {
        parse(value).facts(&signing(2).signers)
    }

    fn of_signer(id: &str, fact: SignerFact) -> Vec<Fact> {
        vec![Fact::Signer {
            recipient_id: id.to_owned(),
            fact,
            at: "2026-02-25T06:13:01.1234567Z".parse().ok(),
        }]
    }

    #[test]
    fn every_event_name_has_its_fact_or_none() {
        let envelope = |fact| vec![Fact::Envelope(fact)];
        for (event, expected) in [
            ("envelope-completed", envelope(EnvelopeFact::Completed)),
            ("envelope-declined", envelope(EnvelopeFact::Declined)),
            ("envelope-delivered", envelope(EnvelopeFact::Delivered)),
            ("envelope-purge", envelope(EnvelopeFact::Purged)),
            ("envelope-sent", envelope(EnvelopeFact::Sent)),
            ("envelope-voided", envelope(EnvelopeFact::Voided)),
            ("recipient-authenticationfailed", of_signer("1", SignerFact::AuthenticationFailed)),
            ("recipient-completed", of_signer("1", SignerFact::Signed)),
            ("recipient-declined", of_signer("1", SignerFact::Declined)),
            ("recipient-delivered", of_signer("1", SignerFact::Delivered)),
            ("recipient-resent", of_signer("1", SignerFact::Resent)),
            ("recipient-sent", of_signer("1", SignerFact::Sent)),
            ("recipient-finish-later", Vec::new()),
            ("envelope-corrected", Vec::new()),
        ] {
            let message = parse(&sim(event, Some("1"), 1));
            assert_eq!(message.facts(&signing(2).signers), expected, "{event}");
            assert!(message.is_known(), "{event}");
        }
        for event in ["click-agreed", "envelope-beamed-up", "recipient-", "", "completed"] {
            let message = parse(&sim(event, Some("1"), 1));
            assert!(!message.is_known() && message.facts(&signing(2).signers).is_empty(), "{event}");
        }
    }

    #[test]
    fn whether_a_check_by_phone_was_passed_follows_only_from_its_result() {
        let mut signers = signing(2).signers;
        let mut message = sim("recipient-completed", Some("1"), 1);
        let fact = |is_passed| Fact::Checked { recipient_id: "1".to_owned(), is_passed };
        for (status, told) in [
            (json!(null), None),
            (json!("Passed"), None),
            (json!([[{}]]), None),
            (json!({"identityVerificationResult": "Passed", "smsAuthResult": null}), None),
            (json!({"accessCodeResult": {"status": "Passed"}}), None),
            (json!({"identityVerificationResult": {"status": "Waived"}}), None),
            (
                json!({"identityVerificationResult": {"status": "Waived"}, "smsAuthResult": {"status": "Fail"}}),
                Some(fact(false)),
            ),
            (json!({"identityVerificationResult": {"status": "Failed"}}), Some(fact(false))),
            (json!({"identityVerificationResult": {"status": "Passed"}}), Some(fact(true))),
            (
                json!({"identityVerificationResult": {"status": "Failed"}, "smsAuthResult": {"status": "Pass"}}),
                Some(fact(true)),
            ),
        ] {
            let listed = &mut message["data"]["envelopeSummary"]["recipients"]["signers"][0];
            listed["status"] = json!("completed");
            listed["recipientAuthenticationStatus"] = status.clone();
            let checks = |signers: &[Signer]| {
                let facts = parse(&message).facts(signers).into_iter();
                facts.filter(|fact| matches!(fact, Fact::Checked { .. })).collect::<Vec<_>>()
            };
            signers[0].sms_auth = false;
            assert_eq!(checks(&signers), [], "{status}: nobody has asked for one");
            signers[0].sms_auth = true;
            assert_eq!(checks(&signers), Vec::from_iter(told), "{status}");
            signers[0].upstream.is_checked = Some(true);
            assert_eq!(checks(&signers), [], "{status}: it is known");
            signers[0].upstream.is_checked = None;
        }
    }

    #[test]
    fn a_late_list_from_before_somebody_signed_says_of_no_check_that_it_is_missing() {
        let mut signing = signing(1);
        signing.signers[0].sms_auth = true;
        let mut bare = sim("envelope-completed", None, 9);
        bare["data"].as_object_mut().unwrap().remove("envelopeSummary");
        let observe = |signing: &mut crate::domain::Signing, message: &Value| {
            for fact in parse(message).facts(&signing.signers) {
                signing.observe(&fact, "2026-02-25T06:13:10Z".parse().unwrap());
            }
            (signing.signers[0].upstream.is_checked, signing.awaits_word_of_check())
        };
        assert_eq!(observe(&mut signing, &bare), (None, true));
        let mut late = sim("recipient-authenticationfailed", Some("1"), 1);
        for (status, result, told) in [
            ("delivered", "Failed", (None, true)),
            ("completed", "Failed", (Some(false), true)),
            ("delivered", "Passed", (Some(true), false)),
            ("Completed", "Failed", (Some(true), false)),
        ] {
            let listed = &mut late["data"]["envelopeSummary"]["recipients"]["signers"][0];
            listed["status"] = json!(status);
            listed["recipientAuthenticationStatus"] =
                json!({"identityVerificationResult": {"status": result}});
            assert_eq!(observe(&mut signing, &late), told, "{status} {result}");
        }
    }

    #[test]
    fn l3_a_message_says_who_has_left_the_page_and_when() {
        let signers = signing(2).signers;
        let mut message = sim("recipient-finish-later", Some(GUIDS[1]), 1);
        let at = "2026-02-25T06:13:01.1234567Z".parse().unwrap();
        assert_eq!(parse(&message).left(&signers), Some((signers[1].id, at)));
        assert!(parse(&message).is_known() && !parse(&message).is_unclear(&signers));
        for other in ["recipient-delivered", "recipient-completed", "recipient-reassign"] {
            assert_eq!(parse(&sim(other, Some(GUIDS[1]), 1)).left(&signers), None, "{other}");
        }
        // Whoever it is that is not named, or whenever it was, no view is known to be over.
        message["data"]["recipientId"] = json!("3");
        assert_eq!(parse(&message).left(&signers), None);
        message["data"]["recipientId"] = json!("2");
        message["generatedDateTime"] = json!("lately");
        assert_eq!(parse(&message).left(&signers), None);
    }

    #[test]
    fn a_recipient_is_found_by_short_id_by_guid_and_by_client_user_id() {
        let second = of_signer("2", SignerFact::Signed);
        assert_eq!(facts(&sim("recipient-completed", Some("2"), 1)), second);
        assert_eq!(facts(&sim("recipient-completed", Some(&GUIDS[1].to_uppercase()), 1)), second);
        // A template has put its own recipient ids in the place of ours.
        let mut replaced = sim("recipient-completed", Some("71"), 1);
        replaced["data"]["envelopeSummary"]["recipients"]["signers"][1]["recipientId"] = json!("71");
        assert_eq!(facts(&replaced), second);
        // A recipient of the template's own, who has the number of one of ours.
        let mut foreign = sim("recipient-completed", Some("2"), 1);
        foreign["data"]["envelopeSummary"]["recipients"]["signers"][1]["clientUserId"] = json!("theirs");
        assert_eq!(facts(&foreign), Vec::new());
        // Without a list only the short id can be ours.
        let mut bare = sim("recipient-completed", Some("2"), 1);
        bare["data"].as_object_mut().unwrap().remove("envelopeSummary");
        assert_eq!(facts(&bare), second);
        bare["data"]["recipientId"] = json!(2);
        assert_eq!(facts(&bare), second);
        bare["data"]["recipientId"] = json!(GUIDS[1]);
        assert_eq!(facts(&bare), Vec::new());
    }

    #[test]
    fn f1_a_number_is_nobody_who_fills_a_role() {
        // Their numbers are the template's: here the first of ours is the template's second.
        let mut signers = signing(2).signers;
        signers[0].role = Some("Manager".to_owned());
        signers[1].role = Some("Client".to_owned());
        let mut bare = sim("recipient-completed", Some("1"), 1);
        bare["data"].as_object_mut().unwrap().remove("envelopeSummary");
        let unclear = parse(&bare);
        assert_eq!(unclear.facts(&signers), Vec::new());
        assert!(unclear.is_unclear(&signers) && !unclear.is_unclear(&signing(2).signers));
        // Beside it the same news comes with the recipients: that is another message, and says who.
        let mut listed = sim("recipient-completed", Some("1"), 1);
        let people = &mut listed["data"]["envelopeSummary"]["recipients"]["signers"];
        people[0]["clientUserId"] = json!("client-2");
        people[1]["clientUserId"] = json!("client-1");
        let clear = parse(&listed);
        assert_eq!(clear.facts(&signers), of_signer("2", SignerFact::Signed));
        assert!(clear.clears(&unclear) && !unclear.clears(&unclear) && !clear.is_unclear(&signers));
        assert_ne!(clear.identity(b""), unclear.identity(b""));
        // Whoever is listed without a client user id is none of ours.
        let people = &mut listed["data"]["envelopeSummary"]["recipients"]["signers"];
        people[0].as_object_mut().unwrap().remove("clientUserId");
        let remote = parse(&listed);
        assert!(remote.facts(&signers).is_empty() && !remote.is_unclear(&signers));
        let aggregate = json!({"status": "sent", "envelopeId": ENVELOPE,
            "recipients": {"signers": [{"recipientId": "1", "status": "completed"}]}});
        assert_eq!(parse(&aggregate).facts(&signers), [Fact::Envelope(EnvelopeFact::Sent)]);
        // What ends nobody's part is not worth asking about.
        bare["event"] = json!("recipient-delivered");
        assert!(!parse(&bare).is_unclear(&signers));
    }

    #[test]
    fn a_message_tells_the_name_that_a_signer_has_now_and_shows_it_to_nobody() {
        let mut message = sim("recipient-finish-later", Some("1"), 1);
        let listed = &mut message["data"]["envelopeSummary"]["recipients"]["signers"][0];
        (listed["name"], listed["email"]) = (json!("Ada Lovelace"), json!("ada@example.com"));
        assert_eq!(facts(&message), [], "the one that we know");
        message["data"]["envelopeSummary"]["recipients"]["signers"][0]["name"] = json!("Augusta King");
        let mut named = signing(2);
        for fact in parse(&message).facts(&named.signers) {
            assert_eq!(named.observe(&fact, named.created_at), []);
        }
        assert_eq!(named.signers[0].name.reveal(), "Augusta King");
        // What was said before comes late.
        let mut late = sim("recipient-delivered", Some("1"), 0);
        late["data"]["envelopeSummary"]["recipients"]["signers"][0]["name"] = json!("Ada Lovelace");
        late["data"]["envelopeSummary"]["recipients"]["signers"][0]["email"] = json!("ada@example.com");
        for fact in parse(&late).facts(&named.signers) {
            named.observe(&fact, named.created_at);
        }
        assert_eq!(named.signers[0].name.reveal(), "Augusta King");
        assert!(!format!("{:?}", parse(&message)).contains("Augusta"));
    }

    #[test]
    fn an_envelope_that_ran_out_of_time_has_expired() {
        let mut voided = sim("envelope-voided", None, 1);
        voided["data"]["envelopeSummary"]["voidedReason"] = json!("Envelope has expired.");
        assert_eq!(facts(&voided), [Fact::Envelope(EnvelopeFact::Expired)]);
        voided["data"]["envelopeSummary"]["voidedReason"] = json!("Called off");
        assert_eq!(facts(&voided), [Fact::Envelope(EnvelopeFact::Voided)]);
        voided["data"]["envelopeSummary"]["expireDateTime"] = json!("2026-03-01T00:00:00.0000000Z");
        voided["data"]["envelopeSummary"]["voidedDateTime"] = json!("2026-03-01T00:00:05.0000000Z");
        assert_eq!(facts(&voided), [Fact::Envelope(EnvelopeFact::Expired)]);
    }

    #[test]
    fn the_event_is_believed_and_not_the_summary() {
        let mut early = sim("recipient-delivered", Some("1"), 1);
        early["data"]["envelopeSummary"]["status"] = json!("completed");
        assert_eq!(facts(&early), of_signer("1", SignerFact::Delivered));
    }

    #[test]
    fn an_aggregate_message_says_all_at_once() {
        let message = json!({
            "status": "completed", "envelopeId": ENVELOPE,
            "recipients": {"signers": [{"recipientId": "1", "status": "completed"}, {"recipientId": "2", "status": "autoresponded"}]},
        });
        let signed = Fact::Signer { recipient_id: "1".to_owned(), fact: SignerFact::Signed, at: None };
        assert_eq!(facts(&message), [signed, Fact::Envelope(EnvelopeFact::Completed)]);
        assert_eq!(parse(&message).envelope, Some(EnvelopeId::new(ENVELOPE)));
    }

    #[test]
    fn f1_a_completion_says_whom_the_envelope_does_not_have_any_more() {
        let mut message = sim("envelope-completed", None, 1);
        message["data"]["envelopeSummary"]["recipients"]["signers"].as_array_mut().unwrap().pop();
        let without = Fact::CompletedWithout(vec!["2".to_owned()]);
        assert_eq!(facts(&message), std::slice::from_ref(&without));
        let aggregate = json!({"status": "completed", "envelopeId": ENVELOPE,
            "recipients": {"signers": [{"recipientId": "1", "status": "completed"}]}});
        let signed = Fact::Signer { recipient_id: "1".to_owned(), fact: SignerFact::Signed, at: None };
        assert_eq!(facts(&aggregate), [signed, without]);
        // A configuration that leaves the recipients out says that of nobody.
        message["data"]["envelopeSummary"]["recipients"]["signers"] = json!([]);
        assert_eq!(facts(&message), [Fact::Envelope(EnvelopeFact::Completed)]);
    }

    #[test]
    fn f1_a_completion_without_a_list_is_unclear_while_one_of_several_may_be_gone() {
        let mut signers = signing(2).signers;
        let listed = sim("envelope-completed", None, 1);
        let mut bare = listed.clone();
        bare["data"].as_object_mut().unwrap().remove("envelopeSummary");
        let (clear, unclear) = (parse(&listed), parse(&bare));
        assert!(unclear.is_unclear(&signers) && !clear.is_unclear(&signers));
        assert!(clear.clears(&unclear) && !unclear.clears(&unclear));
        assert_ne!(clear.identity(b""), unclear.identity(b""), "as one message, the list would be lost");
        assert!(parse(&json!({"status": "completed", "envelopeId": ENVELOPE})).is_unclear(&signers));
        assert!(!unclear.is_unclear(&signers[..1]), "nobody else can have completed it");
        for signer in &mut signers {
            signer.status = SignerStatus::Signed;
        }
        assert!(!unclear.is_unclear(&signers), "it is known");
    }

    #[test]
    fn f1_a_void_that_does_not_say_why_is_unclear_for_it_may_be_an_expiry() {
        let signers = signing(1).signers;
        let full = sim("envelope-voided", None, 1);
        let mut bare = full.clone();
        bare["data"].as_object_mut().unwrap().remove("envelopeSummary");
        let (clear, unclear) = (parse(&full), parse(&bare));
        assert!(unclear.is_unclear(&signers) && !clear.is_unclear(&signers));
        assert!(clear.clears(&unclear) && !unclear.clears(&unclear));
        assert_ne!(clear.identity(b""), unclear.identity(b""), "as one message, the reason would be lost");
        assert!(parse(&json!({"status": "voided", "envelopeId": ENVELOPE})).is_unclear(&signers));
        let (expires, voided) = ("2026-03-01T00:00:00.0000000Z", "2026-03-01T00:00:05.0000000Z");
        for (summary, is_unclear) in [
            (json!({"voidedReason": " "}), true),
            (json!({"voidedDateTime": voided}), true),
            (json!({"voidedDateTime": "lately", "expireDateTime": expires}), true),
            (json!({"voidedDateTime": voided, "expireDateTime": expires}), false),
            (json!({"voidedReason": "Called off"}), false),
        ] {
            bare["data"]["envelopeSummary"] = summary;
            assert_eq!(parse(&bare).is_unclear(&signers), is_unclear, "{bare}");
        }
    }

    #[test]
    fn f1_a_declined_envelope_tells_who_has_declined_it_or_is_unclear() {
        let mut signers = signing(2).signers;
        let mut listed = sim("envelope-declined", None, 1);
        let end = Fact::Envelope(EnvelopeFact::Declined);
        assert_eq!(facts(&listed), std::slice::from_ref(&end), "somebody who is none of our signers");
        listed["data"]["envelopeSummary"]["recipients"]["signers"][0]["status"] = json!("completed");
        listed["data"]["envelopeSummary"]["recipients"]["signers"][1]["status"] = json!("declined");
        let told = [of_signer("2", SignerFact::Declined), vec![end]].concat();
        assert_eq!(facts(&listed), told, "and of nobody else anything");
        let mut bare = listed.clone();
        bare["data"].as_object_mut().unwrap().remove("envelopeSummary");
        let (clear, unclear) = (parse(&listed), parse(&bare));
        assert!(unclear.is_unclear(&signers) && !clear.is_unclear(&signers));
        assert!(unclear.is_unclear(&signers[..1]));
        assert!(clear.clears(&unclear) && !unclear.clears(&unclear));
        assert_ne!(clear.identity(b""), unclear.identity(b""), "as one message, the list would be lost");
        assert!(parse(&json!({"status": "declined", "envelopeId": ENVELOPE})).is_unclear(&signers));
        signers[0].status = SignerStatus::Declined;
        assert!(!unclear.is_unclear(&signers), "it is known");
    }

    #[test]
    fn the_same_message_has_one_identity_whatever_its_retry_count() {
        let identity = |value: &Value| parse(value).identity(value.to_string().as_bytes());
        let first = sim("recipient-completed", Some("1"), 1);
        let mut again = first.clone();
        again["retryCount"] = json!(3);
        assert_eq!(identity(&first), identity(&again));
        for other in [
            sim("recipient-completed", Some("2"), 1),
            sim("recipient-completed", Some("1"), 2),
            sim("recipient-delivered", Some("1"), 1),
        ] {
            assert_ne!(identity(&first), identity(&other));
        }
    }

    #[test]
    fn what_is_read_of_a_message_has_no_nul() {
        let mut message = sim("recipient-\0completed", Some("1\0"), 1);
        message["data"]["envelopeId"] = json!(format!("\0{ENVELOPE}"));
        message["data"]["envelopeSummary"]["recipients"]["signers"][0]["recipientId"] = json!("\u{0}1");
        assert_eq!(parse(&message), parse(&sim("recipient-completed", Some("1"), 1)));
    }

    #[test]
    fn the_vendor_s_sample_is_read_and_what_is_no_object_is_unreadable() {
        // The shape of connect.schema-v2.json, empty event included.
        let sample = json!({"event": "", "uri": "", "retryCount": 0, "configurationId": 12345, "apiVersion": "v2.1",
            "generatedDateTime": "", "data": {"accountId": "sample string", "userId": "sample string",
            "recipientId": "", "envelopeId": "sample string", "envelopeSummary": {"status": "sample string 2"}}});
        assert!(!parse(&sample).is_known());
        for body in
            ["", "null", "[1]", "\"x\"", "{\"event\":", "<DocuSignEnvelopeInformation/>", "{\"data\": 7}"]
        {
            assert_eq!(Message::parse(body.as_bytes()), Err(Unreadable), "{body}");
        }
        let deep = format!("{{\"event\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(!Message::parse(deep.as_bytes()).unwrap().is_known(), "what is passed over may be deep");
        let deep = deep.replace("event", "data");
        assert!(!Message::parse(deep.as_bytes()).unwrap().is_known());
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let word = prop_oneof![
            Just("event"),
            Just("data"),
            Just("status"),
            Just("envelopeId"),
            Just("recipientId"),
            Just("envelopeSummary"),
            Just("recipients"),
            Just("signers"),
            Just("generatedDateTime"),
            Just("voidedReason"),
            Just("voidedDateTime"),
            Just("recipient-completed"),
            Just("envelope-voided"),
        ];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".{0,12}".prop_map(Value::from),
            word.clone().prop_map(Value::from),
        ];
        leaf.prop_recursive(5, 64, 6, move |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::vec((word.clone(), inner), 0..6).prop_map(|entries| entries
                    .into_iter()
                    .map(|(k, v)| (k.to_owned(), v))
                    .collect::<serde_json::Map<_, _>>()
                    .into()),
            ]
        })
    }

    proptest! {
        #[test]
        fn hostile_json_never_panics(value in any_json(), cut in any::<proptest::sample::Index>()) {
            let text = value.to_string();
            for body in [text.as_bytes(), &text.as_bytes()[..cut.index(text.len() + 1)]] {
                if let Ok(message) = Message::parse(body) {
                    let _ = (message.identity(body), message.facts(&signing(2).signers));
                }
            }
        }

        #[test]
        fn hostile_bytes_never_panic(body in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = Message::parse(&body);
        }
    }
}
