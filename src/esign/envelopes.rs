//! Envelopes: create, read, look up, change.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
};

use bytes::Bytes;
use http::Method;
use jiff::Timestamp;

use super::{
    Acting, Client, Error, Recipient, RejectionKind, Seen,
    call::{Announcement, Answer, Call},
    refusal::{Refusal, plain_code},
    seen::{envelope_id, recipient, seen},
    wire,
};
use crate::{
    budget::{Operation, checks},
    clock::{Deadline, Now},
    domain::{Document, EnvelopeId, Phone, Private, PurgeScope, TransactionId, fact::MAX_REASON},
    http_client,
};

/// Envelopes in one page of a list; also the most ids that one list takes.
pub const MAX_LISTED: usize = 100;
/// A page of envelopes with their recipients.
const LIST_BYTES: usize = 16 * 1024 * 1024;

/// An envelope as it is to be made. It is sent at once.
#[derive(Debug, Clone)]
pub struct NewEnvelope<'a> {
    /// The subject; a template has its own, and a file's is its name.
    pub subject: Option<&'a str>,
    /// A message to the signers.
    pub message: Option<&'a str>,
    /// What is signed.
    pub documents: &'a [Document],
    /// Who signs.
    pub signers: Vec<EnvelopeSigner<'a>>,
    /// Our id of the create.
    pub transaction_id: TransactionId,
    /// Our signing's id; goes into a hidden custom field.
    pub signing_id: &'a str,
    /// After how many days it expires; the account's default otherwise.
    pub expires_after_days: Option<u32>,
    /// Where its events go.
    pub events: Option<Cow<'a, str>>,
    /// The language of the signing pages, as a tag; one that the upstream lacks is left out.
    pub locale: Option<&'a str>,
}

/// A signer of a [`NewEnvelope`].
#[derive(Debug, Clone, Copy)]
pub struct EnvelopeSigner<'a> {
    /// The caller's name for them: what anchors are keyed by.
    pub key: &'a str,
    /// Unique within the envelope.
    pub recipient_id: &'a str,
    /// What makes them embedded.
    pub client_user_id: &'a str,
    /// Their name.
    pub name: &'a Private<String>,
    /// Their address.
    pub email: &'a str,
    /// Their turn.
    pub order: u32,
    /// Their role in the templates.
    pub role: Option<&'a str>,
    /// What is filled in for them.
    pub fields: &'a BTreeMap<String, String>,
    /// The code by SMS before they sign.
    pub sms: Option<SmsCheck<'a>>,
    /// A code they were told.
    pub access_code: Option<&'a str>,
}

/// A code by SMS: where it goes, and what sends it.
#[derive(Debug, Clone, Copy)]
pub struct SmsCheck<'a> {
    /// The number.
    pub phone: &'a Phone,
    /// The account's workflow for it, by [`Client::sms_workflow`].
    pub workflow: &'a str,
}

/// What a create made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    /// The envelope.
    pub envelope: EnvelopeId,
    /// The upstream's trace id.
    pub trace: Option<String>,
}

/// An envelope that a look-up found.
#[derive(Debug, Clone)]
pub struct Found {
    /// The envelope as it was then.
    pub seen: Seen,
    /// Whether it has not ended yet.
    pub can_be_voided: bool,
}

impl Found {
    /// Reads one of a list; none if it has no id.
    fn read(one: wire::answers::Envelope, answer: &Answer) -> Option<Self> {
        let can_be_voided = one.can_be_voided();
        Some(Self { seen: seen(one, answer.trace())?, can_be_voided })
    }
}

/// Which envelopes to list.
#[derive(Debug, Clone, Copy)]
pub enum Since<'a> {
    /// Those that changed since then.
    Changed(Timestamp),
    /// These; at most [`MAX_LISTED`].
    Ids(&'a [EnvelopeId]),
}

/// A page of a list.
#[derive(Debug, Clone)]
pub struct Page {
    /// The envelopes.
    pub seen: Vec<Seen>,
    /// Where the next page starts, if there is one.
    pub next: Option<u64>,
}

impl Page {
    /// An envelope of the page, if it is on it.
    pub fn of(&self, envelope: Option<&EnvelopeId>) -> Option<&Seen> {
        self.seen.iter().find(|seen| envelope == Some(&seen.envelope))
    }
}

/// The check that a signer gets in the place of the one they failed.
#[derive(Debug, Clone)]
pub enum NewCheck {
    /// A code they are told, by the caller.
    AccessCode(Private<String>),
    /// A code that goes to this phone: another number, or the same again.
    Phone(Phone),
}

/// A signer was corrected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Corrected {
    /// When, by the upstream's clock, which gives whole seconds: not before.
    pub at: Option<Timestamp>,
    /// The upstream's trace id.
    pub trace: Option<String>,
}

impl Client {
    /// Makes and sends an envelope. Repeated on a 401 only, which did nothing; whether anything else
    /// may have made one, [`Error::doubt`] tells (rule E2). It is announced when nothing holds it back any more.
    pub async fn create_envelope(
        &self,
        acting: &Acting,
        new: &NewEnvelope<'_>,
        deadline: Deadline,
        announcement: Option<Announcement>,
    ) -> Result<Created, Error> {
        let brand = self.brand(&acting.sender);
        let body: Vec<Bytes> = wire::definition(new, brand.as_deref());
        let url = acting.url(["envelopes"]);
        let call = Call::new(Operation::CreateEnvelope, Method::POST, url, deadline).segments(body);
        let answer = self.call(acting, call.announced(announcement)).await.map_err(of_create);
        let answer = answer.inspect_err(|error| self.doubt_reads(acting, new, error))?;
        let created: wire::answers::Envelope = answer.decode()?;
        let envelope = envelope_id(created.envelope_id).ok_or_else(|| answer.bad("it names no envelope"))?;
        Ok(Created { envelope, trace: answer.trace() })
    }

    /// What was read of the account no longer holds, if a create is refused for that.
    fn doubt_reads(&self, acting: &Acting, new: &NewEnvelope<'_>, error: &Error) {
        match error.rejection() {
            Some(kind @ RejectionKind::AccountUnknown) => self.doubt(acting, kind),
            Some(RejectionKind::SmsUnavailable) => self.forget_workflow(acting),
            Some(RejectionKind::TemplateUnknown) => {
                for document in new.documents {
                    if let Document::Template { id, .. } = document {
                        self.forget_template(acting, id);
                    }
                }
            }
            _ => {}
        }
    }

    /// Reads an envelope with its recipients: the one check in 15 minutes (rule B3).
    pub async fn envelope(
        &self,
        acting: &Acting,
        envelope: &EnvelopeId,
        deadline: Deadline,
    ) -> Result<Seen, Error> {
        let mut url = acting.url(["envelopes", envelope.as_str()]);
        url.set_query(Some("include=recipients"));
        let call = Call::get(Operation::Envelope, url, deadline);
        let read = |answer: Answer| {
            let read: wire::answers::Envelope = answer.decode()?;
            seen(read, answer.trace()).ok_or_else(|| answer.bad("it names no envelope"))
        };
        let mut seen = self.checked(acting, envelope, "", call, read).await?;
        for recipient in &mut seen.recipients {
            // One envelope is told of whole: of whom no result of a check is told, there is none. A list may tell less.
            if !recipient.has_phone_check {
                recipient.is_checked = Some(false);
            }
        }
        Ok(seen)
    }

    /// Reads an envelope's recipients as they are now: a signer may have changed the name (the next
    /// view must match it). Counts as a check of its own.
    pub async fn recipients(
        &self,
        acting: &Acting,
        envelope: &EnvelopeId,
        deadline: Deadline,
    ) -> Result<Vec<Recipient>, Error> {
        let url = acting.url(["envelopes", envelope.as_str(), "recipients"]);
        let call = Call::get(Operation::Recipients, url, deadline);
        let read = |answer: Answer| -> Result<Vec<Recipient>, Error> {
            let read: wire::answers::Recipients = answer.decode()?;
            Ok(read.signers.into_iter().filter_map(recipient).collect())
        };
        self.checked(acting, envelope, "recipients", call, read).await
    }

    /// Makes a call that counts as the check of a resource of an envelope (rule B3), and reads its answer. What comes to
    /// nothing after it may have left is spent all the same, and the error says until when ([`Error::CheckSpent`]).
    pub(super) async fn checked<T>(
        &self,
        acting: &Acting,
        envelope: &EnvelopeId,
        resource: &str,
        call: Call,
        read: impl FnOnce(Answer) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let claimed = Now::read(&*self.clock);
        self.budget.claim_check(envelope, resource, claimed).await?;
        let error = match self.call(acting, call).await.and_then(read) {
            Ok(read) => return Ok(read),
            Err(error) => error,
        };
        // What never left cost nothing.
        if error.never_left() {
            self.budget.return_check(envelope, resource, claimed).await;
            return Err(error);
        }
        Err(error.of_spent_check(checks::next_after(claimed)))
    }

    /// Looks up what creates have made, by our own ids of them, and how it stands (rule E2). What has made nothing, as far
    /// as is listed, is not among them.
    pub async fn find(
        &self,
        acting: &Acting,
        transactions: &[TransactionId],
        deadline: Deadline,
    ) -> Result<HashMap<TransactionId, Vec<Found>>, Error> {
        let ids: Vec<String> = transactions.iter().take(MAX_LISTED).map(ToString::to_string).collect();
        let mut url = acting.url(["envelopes"]);
        url.query_pairs_mut()
            .append_pair("transaction_ids", &ids.join(","))
            .append_pair("include", "recipients");
        let answer = self.list(acting, Operation::Find, url, deadline).await?;
        let listed: wire::answers::Envelopes = answer.decode()?;
        // They tell less, and nothing of an envelope that is among the others.
        let statuses = listed.envelope_transaction_statuses.into_iter().map(|one| wire::answers::Envelope {
            envelope_id: one.envelope_id,
            status: one.status,
            transaction_id: one.transaction_id,
            ..Default::default()
        });
        let mut found: HashMap<TransactionId, Vec<Found>> = HashMap::new();
        for one in listed.envelopes.into_iter().chain(statuses) {
            // Without a name it may be anybody's: a filter that was not understood lists them all.
            let Some(ours) = one.transaction().filter(|id| transactions.contains(id)) else { continue };
            let Some(one) = Found::read(one, &answer) else { continue };
            let made = found.entry(ours).or_default();
            if !made.iter().any(|known| known.seen.envelope == one.seen.envelope) {
                made.push(one);
            }
        }
        Ok(found)
    }

    /// The same of one create, by the hidden custom field with our signing's id.
    pub async fn find_by_signing(
        &self,
        acting: &Acting,
        signing_id: &str,
        since: Timestamp,
        deadline: Deadline,
    ) -> Result<Vec<Found>, Error> {
        let mut url = acting.url(["envelopes"]);
        url.query_pairs_mut()
            .append_pair("from_date", &since.to_string())
            .append_pair("custom_field", &format!("{}={signing_id}", wire::CUSTOM_FIELD))
            .append_pair("include", "custom_fields,recipients")
            .append_pair("count", &MAX_LISTED.to_string());
        let answer = self.list(acting, Operation::Find, url, deadline).await?;
        let listed: wire::answers::Envelopes = answer.decode()?;
        // A filter that was not understood must not hand us someone else's envelope.
        let is_ours = |one: &wire::answers::Envelope| {
            one.custom_fields.as_ref().is_some_and(|fields| fields.holds(wire::CUSTOM_FIELD, signing_id))
        };
        // One of ours that has no id exists all the same: it must not be taken for a create that has made nothing.
        let read = |one| Found::read(one, &answer).ok_or_else(|| answer.bad("it names no envelope"));
        listed.envelopes.into_iter().filter(is_ours).map(read).collect()
    }

    /// Lists envelopes with their recipients, a page at a time: one call for up to [`MAX_LISTED`].
    pub async fn list_changes(
        &self,
        acting: &Acting,
        since: Since<'_>,
        start: u64,
        deadline: Deadline,
    ) -> Result<Page, Error> {
        let mut url = acting.url(["envelopes"]);
        {
            let mut query = url.query_pairs_mut();
            match since {
                Since::Changed(since) => query
                    .append_pair("from_date", &since.to_string())
                    .append_pair("from_to_status", "changed"),
                Since::Ids(ids) => {
                    let ids: Vec<&str> = ids.iter().take(MAX_LISTED).map(EnvelopeId::as_str).collect();
                    query.append_pair("envelope_ids", &ids.join(","))
                }
            };
            query
                .append_pair("include", "recipients")
                .append_pair("count", &MAX_LISTED.to_string())
                .append_pair("start_position", &start.to_string());
        }
        let answer = self.list(acting, Operation::ListChanges, url, deadline).await?;
        let listed: wire::answers::Envelopes = answer.decode()?;
        let number = |text: Option<String>| text.and_then(|text| text.parse::<u64>().ok());
        let (total, on_page) = (number(listed.total_set_size), listed.envelopes.len() as u64);
        let next = start + on_page;
        let has_more = on_page > 0 && total.is_some_and(|total| next < total);
        let trace = answer.trace();
        let seen = listed.envelopes.into_iter().filter_map(|one| seen(one, trace.clone()));
        Ok(Page { seen: seen.collect(), next: has_more.then_some(next) })
    }

    async fn list(
        &self,
        acting: &Acting,
        operation: Operation,
        url: url::Url,
        deadline: Deadline,
    ) -> Result<Answer, Error> {
        let mut call = Call::get(operation, url, deadline);
        call.limit_bytes = LIST_BYTES;
        self.call(acting, call).await
    }

    /// Voids an envelope; answers with the trace id.
    pub async fn void(
        &self,
        acting: &Acting,
        envelope: &EnvelopeId,
        reason: &str,
        deadline: Deadline,
    ) -> Result<Option<String>, Error> {
        let reason: String = reason.chars().take(MAX_REASON).collect();
        let change = wire::requests::EnvelopeChange {
            status: Some("voided"),
            voided_reason: Some(&reason),
            ..Default::default()
        };
        self.change(acting, Operation::Void, envelope, &change, deadline).await
    }

    /// Has an ended envelope's documents destroyed; the upstream takes two weeks. Answers with the trace id.
    pub async fn purge(
        &self,
        acting: &Acting,
        envelope: &EnvelopeId,
        scope: PurgeScope,
        deadline: Deadline,
    ) -> Result<Option<String>, Error> {
        let purge_state = match scope {
            PurgeScope::Documents => "documents_queued",
            PurgeScope::DocumentsAndMetadata => "documents_and_metadata_queued",
            PurgeScope::DocumentsMetadataAndRedact => "documents_and_metadata_and_redact_queued",
        };
        let change = wire::requests::EnvelopeChange { purge_state: Some(purge_state), ..Default::default() };
        self.change(acting, Operation::Purge, envelope, &change, deadline).await
    }

    async fn change(
        &self,
        acting: &Acting,
        operation: Operation,
        envelope: &EnvelopeId,
        change: &wire::requests::EnvelopeChange<'_>,
        deadline: Deadline,
    ) -> Result<Option<String>, Error> {
        let url = acting.url(["envelopes", envelope.as_str()]);
        let call = Call::new(operation, Method::PUT, url, deadline).json(wire::json(change));
        Ok(self.changing(acting, envelope, call).await?.trace())
    }

    /// Makes a call that changes an envelope, and counts it for that envelope.
    async fn changing(&self, acting: &Acting, envelope: &EnvelopeId, call: Call) -> Result<Answer, Error> {
        let result = self.call(acting, call).await;
        if !result.as_ref().is_err_and(Error::never_left) {
            self.budget.envelope_changed(envelope).await;
        }
        result
    }

    /// Gives a signer a check anew, which unlocks one whose tries are used up. `recipient_id` is the
    /// upstream's ([`Recipient::recipient_id`]).
    pub async fn correct(
        &self,
        acting: &Acting,
        envelope: &EnvelopeId,
        recipient_id: &str,
        check: &NewCheck,
        deadline: Deadline,
    ) -> Result<Corrected, Error> {
        let (access_code, workflow) = match check {
            NewCheck::AccessCode(code) => (Some(code.reveal().as_str()), None),
            NewCheck::Phone(phone) => (None, Some((self.sms_workflow(acting, deadline).await?, phone))),
        };
        let signer = wire::requests::CorrectedSigner {
            recipient_id,
            access_code,
            identity_verification: workflow
                .as_ref()
                .map(|(workflow, phone)| wire::requests::IdentityVerification::by_phone(workflow, phone)),
        };
        let body = wire::json(&wire::requests::Correction { signers: [signer] });
        let mut url = acting.url(["envelopes", envelope.as_str(), "recipients"]);
        // Unlocks; an embedded signer gets no mail by it.
        url.set_query(Some("resend_envelope=true"));
        let call = Call::new(Operation::Correct, Method::PUT, url, deadline).json(body);
        let result = self.changing(acting, envelope, call).await.and_then(|answer| corrected(&answer));
        result.inspect_err(|error| {
            if error.rejection() == Some(RejectionKind::SmsUnavailable) {
                self.forget_workflow(acting);
            }
        })
    }
}

/// What became of the signer who was to be corrected: an answer of success may tell of a refusal, too.
fn corrected(answer: &Answer) -> Result<Corrected, Error> {
    let updated: wire::answers::Updated = answer.decode()?;
    let mut codes =
        updated.recipient_update_results.into_iter().filter_map(|one| one.error_details?.error_code);
    let trace = answer.trace();
    let Some(code) = codes.find(|code| !code.eq_ignore_ascii_case("SUCCESS")) else {
        return Ok(Corrected { at: http_client::date(&answer.headers), trace });
    };
    let refusal = Refusal { status: answer.status, code: plain_code(&code), is_foreign: false, trace };
    // Of the codes that we do not know most are that the envelope's state does not allow it.
    let kind = refusal.known().unwrap_or(RejectionKind::EnvelopeClosed);
    Err(refusal.rejected(kind))
}

/// What a refusal means of a create.
fn of_create(error: Error) -> Error {
    let mut rejection = match error {
        Error::Rejected(rejection) => rejection,
        other => return other,
    };
    let code = rejection.provider.code.as_deref().unwrap_or_default();
    rejection.kind = match rejection.kind {
        // There is no envelope yet that could be unknown: what does not exist is the account, at this host.
        RejectionKind::EnvelopeUnknown => {
            rejection.message = "The account does not exist at this host.".into();
            RejectionKind::AccountUnknown
        }
        // With "PDF validation failed" it answers more than 70 uploads of the same bytes at once, over all accounts ("Rules
        // and limits", read 2026-08). It is no word on the document, so the same may be taken a moment later.
        RejectionKind::Other if code.eq_ignore_ascii_case("UNSPECIFIED_ERROR") => RejectionKind::UploadsAlike,
        other => other,
    };
    Error::Rejected(rejection)
}
