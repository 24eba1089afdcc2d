//! What an envelope is: its documents, recipients, tabs and states.
//!
//! Plain data and the questions one can ask of it. What may happen to it is in [`super::progress`].

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value};

use super::{progress::ORIGINAL, workflow::Workflow};
use crate::emulator::{http::Answer, pdf::read::Text};

/// A refusal in the vendor's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::emulator) struct Refusal {
    /// The HTTP status.
    pub status: StatusCode,
    /// The vendor's `errorCode`.
    pub code: &'static str,
    /// The vendor's `message`.
    pub message: String,
}

/// Refuses with 400, as the vendor does nearly always.
pub(in crate::emulator) fn refuse(code: &'static str, message: impl Into<String>) -> Refusal {
    Refusal { status: StatusCode::BAD_REQUEST, code, message: message.into() }
}

/// Refuses a value, with the vendor's first sentence and ours.
pub(in crate::emulator) fn invalid(detail: &str) -> Refusal {
    refuse(
        "INVALID_REQUEST_PARAMETER",
        format!("The request contained at least one invalid parameter. {detail}"),
    )
}

/// Refuses what does not exist.
pub(in crate::emulator) fn missing(code: &'static str, message: &str) -> Refusal {
    Refusal { status: StatusCode::NOT_FOUND, code, message: message.to_owned() }
}

/// Refuses an id that no recipient of the envelope has.
pub(in crate::emulator) fn no_such_recipient() -> Refusal {
    refuse("INVALID_RECIPIENT_ID", "Invalid recipient specified. The envelope has no such recipient.")
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Self {
        Self::error(refusal.status, refusal.code, &refusal.message)
    }
}

/// A JSON object.
pub(in crate::emulator) type Fields = Map<String, Value>;

/// A text field; none when it is absent, null or empty.
pub(in crate::emulator) fn text<'a>(fields: &'a Fields, name: &str) -> Option<&'a str> {
    fields.get(name).and_then(Value::as_str).filter(|text| !text.is_empty())
}

/// The objects in a list; none when it is absent, and whatever else is in it is passed over.
pub(in crate::emulator) fn objects(list: Option<&Value>) -> impl Iterator<Item = &Fields> {
    list.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_object)
}

/// Where an envelope stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::emulator) enum Status {
    /// A draft.
    Created,
    /// Sent to somebody.
    Sent,
    /// Everyone whose turn it is has opened it.
    Delivered,
    /// Everyone has signed.
    Completed,
    /// Somebody declined.
    Declined,
    /// The sender, or its expiry, ended it.
    Voided,
}

impl Status {
    /// The vendor's word.
    pub(in crate::emulator) fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Sent => "sent",
            Self::Delivered => "delivered",
            Self::Completed => "completed",
            Self::Declined => "declined",
            Self::Voided => "voided",
        }
    }

    /// Whether people can act on it.
    pub(in crate::emulator) fn is_open(self) -> bool {
        matches!(self, Self::Sent | Self::Delivered)
    }

    /// Whether nothing can happen to it any more.
    pub(in crate::emulator) fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Declined | Self::Voided)
    }
}

/// Where a recipient stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::emulator) enum RecipientStatus {
    /// Not yet in turn.
    Created,
    /// In turn.
    Sent,
    /// Has opened the envelope.
    Delivered,
    /// Is done.
    Completed,
    /// Has declined.
    Declined,
    /// Waits for a fax.
    FaxPending,
}

impl RecipientStatus {
    /// The vendor's word.
    pub(in crate::emulator) fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Sent => "sent",
            Self::Delivered => "delivered",
            Self::Completed => "completed",
            Self::Declined => "declined",
            Self::FaxPending => "faxpending",
        }
    }

    /// Whether it is this recipient's turn.
    pub(in crate::emulator) fn is_in_turn(self) -> bool {
        matches!(self, Self::Sent | Self::Delivered | Self::FaxPending)
    }
}

/// The kinds of recipients that are played here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::emulator) enum Kind {
    /// Gets a copy when its turn comes.
    CarbonCopy,
    /// Must open the envelope, and has nothing to sign.
    CertifiedDelivery,
    /// Signs on somebody else's device.
    InPersonSigner,
    /// Signs.
    Signer,
}

impl Kind {
    /// All of them, in the order of the vendor's lists.
    pub(in crate::emulator) const ALL: [Self; 4] =
        [Self::Signer, Self::InPersonSigner, Self::CarbonCopy, Self::CertifiedDelivery];

    /// The name of its list in a `recipients` object.
    pub(in crate::emulator) fn list(self) -> &'static str {
        match self {
            Self::CarbonCopy => "carbonCopies",
            Self::CertifiedDelivery => "certifiedDeliveries",
            Self::InPersonSigner => "inPersonSigners",
            Self::Signer => "signers",
        }
    }

    /// The vendor's `recipientType`.
    pub(in crate::emulator) fn name(self) -> &'static str {
        match self {
            Self::CarbonCopy => "carboncopy",
            Self::CertifiedDelivery => "certifieddelivery",
            Self::InPersonSigner => "inpersonsigner",
            Self::Signer => "signer",
        }
    }

    /// Whether it can have tabs (SPEC: certifiedDelivery has none).
    pub(in crate::emulator) fn has_tabs(self) -> bool {
        self != Self::CertifiedDelivery
    }

    /// Whether it signs, and does not only read or get a copy.
    pub(in crate::emulator) fn signs(self) -> bool {
        matches!(self, Self::InPersonSigner | Self::Signer)
    }
}

/// One document of an envelope or template.
#[derive(Debug, Clone)]
pub(in crate::emulator) struct File {
    /// `documentId`.
    pub id: String,
    /// `documentIdGuid`.
    pub guid: String,
    /// Its name, as the client gave it.
    pub name: String,
    /// Its place among the documents.
    pub order: u32,
    /// The PDF.
    pub bytes: Bytes,
    /// Its text.
    pub text: Arc<Text>,
    /// Which part of the definition it came with: the anchors of that part look only there.
    pub scope: usize,
    /// What was sent of how it is to be shown and handed out.
    pub given: Fields,
}

/// The list of groups of radios, which hold several places and one value.
pub(in crate::emulator) const RADIOS: &str = "radioGroupTabs";

/// A field on a document for one recipient.
#[derive(Debug, Clone)]
pub(in crate::emulator) struct Tab {
    /// The list it belongs to, such as `signHereTabs`.
    pub list: String,
    /// `tabId`.
    pub id: String,
    /// What was filled in.
    pub value: String,
    /// Everything else, as it was sent and placed.
    pub fields: Fields,
    /// Which part of the definition it came with; 0 if there are no parts, or it came later: then it looks everywhere.
    pub scope: usize,
    /// Whether its anchor was looked up, or it needs none.
    pub is_placed: bool,
}

impl Tab {
    /// `tabLabel`; a group of radios has a `groupName` instead (SPEC: radioGroup).
    pub(in crate::emulator) fn label(&self) -> &str {
        let name = if self.list == RADIOS { "groupName" } else { "tabLabel" };
        text(&self.fields, name).unwrap_or_default()
    }

    /// Whether it is signed rather than filled in, and so has a `status`.
    pub(in crate::emulator) fn is_signature(&self) -> bool {
        matches!(self.list.as_str(), "signHereTabs" | "initialHereTabs")
    }

    /// Where it is: document, page, and points from the top left.
    pub(in crate::emulator) fn place(&self) -> Option<(&str, usize, f32, f32)> {
        let spot = if self.list == RADIOS { self.selected_radio()? } else { &self.fields };
        let number = |name| text(spot, name).and_then(|text| text.parse::<f32>().ok());
        let page = text(spot, "pageNumber")?.parse().ok()?;
        Some((text(&self.fields, "documentId")?, page, number("xPosition")?, number("yPosition")?))
    }
}

/// How a recipient proves to hold a phone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::emulator) struct PhoneCheck {
    /// `+` and digits.
    pub numbers: Vec<String>,
    /// The member of `recipientAuthenticationStatus` that tells the result.
    pub result: &'static str,
    /// Wrong codes so far.
    pub failures: u32,
    /// Whether the attempts are used up; the sender must correct the recipient.
    pub is_locked: bool,
    /// Whether it was passed.
    pub is_passed: bool,
}

/// One recipient.
#[derive(Debug, Clone)]
pub(in crate::emulator) struct Recipient {
    /// What kind.
    pub kind: Kind,
    /// `recipientId`.
    pub id: String,
    /// `recipientIdGuid`.
    pub guid: String,
    /// `userId`: DocuSign's own id of this person.
    pub user_id: String,
    /// The name; the adopted one, once that differs.
    pub name: String,
    /// The e-mail address.
    pub email: String,
    /// `clientUserId`: with it the recipient is embedded.
    pub client_user_id: Option<String>,
    /// `routingOrder`.
    pub order: u32,
    /// `roleName`.
    pub role: Option<String>,
    /// Where it stands.
    pub status: RecipientStatus,
    /// When its turn came.
    pub sent: Option<Timestamp>,
    /// When it opened the envelope.
    pub delivered: Option<Timestamp>,
    /// When it signed, or finished viewing.
    pub signed: Option<Timestamp>,
    /// When and why it declined.
    pub declined: Option<(Timestamp, String)>,
    /// The access code asked for first.
    pub access_code: Option<String>,
    /// Wrong access codes so far.
    pub access_code_failures: u32,
    /// The phone check.
    pub phone: Option<PhoneCheck>,
    /// `recipientAuthenticationStatus`.
    pub authentication: Fields,
    /// Its tabs.
    pub tabs: Vec<Tab>,
    /// The name written as the signature.
    pub adopted_name: Option<String>,
    /// How the app said it authenticated the person: for the certificate.
    pub app_authentication: Option<String>,
    /// Everything else that was sent.
    pub given: Fields,
}

impl Recipient {
    /// Whether the envelope waits for this recipient.
    pub(in crate::emulator) fn must_act(&self) -> bool {
        self.kind != Kind::CarbonCopy
    }

    /// Whether it has nothing to do any more.
    pub(in crate::emulator) fn is_done(&self) -> bool {
        matches!(self.status, RecipientStatus::Completed | RecipientStatus::Declined)
    }
}

/// A line of the envelope's history.
#[derive(Debug, Clone)]
pub(in crate::emulator) struct Audit {
    /// When.
    pub at: Timestamp,
    /// Who.
    pub who: String,
    /// What, in one or two words.
    pub action: &'static str,
    /// What, in a sentence.
    pub message: String,
    /// The envelope's status then.
    pub status: Status,
}

/// What becomes of the documents after the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::emulator) enum Purge {
    /// Nothing.
    Unpurged,
    /// In the queue.
    Queued {
        /// Since when.
        since: Timestamp,
        /// How much will go.
        extent: Extent,
    },
    /// Gone.
    Purged {
        /// How much went.
        extent: Extent,
    },
}

/// How much a purge takes away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::emulator) enum Extent {
    /// The documents.
    Documents,
    /// Names and e-mail addresses, too.
    Metadata,
    /// The same, asked for with `redact`: what more goes at the vendor is not played.
    Redacted,
}

impl Purge {
    /// When the queue ends; none if it is in none.
    pub(in crate::emulator) fn due(self) -> Option<Timestamp> {
        match self {
            Self::Queued { since, .. } => since.saturating_add(PURGE_QUEUE).ok(),
            Self::Unpurged | Self::Purged { .. } => None,
        }
    }

    /// The vendor's `purgeState`.
    pub(in crate::emulator) fn name(self) -> &'static str {
        match self {
            Self::Unpurged => "unpurged",
            Self::Queued { extent: Extent::Documents, .. } => "documents_queued",
            Self::Queued { extent: Extent::Metadata, .. } => "documents_and_metadata_queued",
            Self::Queued { extent: Extent::Redacted, .. } => "documents_and_metadata_and_redact_queued",
            Self::Purged { extent: Extent::Documents } => "documents_purged",
            Self::Purged { extent: Extent::Metadata } => "documents_and_metadata_purged",
            Self::Purged { extent: Extent::Redacted } => "documents_and_metadata_and_redact_purged",
        }
    }
}

/// Documents stay in the purge queue for so long (concepts/documents/purging).
const PURGE_QUEUE: SignedDuration = SignedDuration::from_hours(14 * 24);

/// One envelope.
#[derive(Debug, Clone)]
pub(in crate::emulator) struct Envelope {
    /// `envelopeId`.
    pub id: String,
    /// The account it belongs to.
    pub account: String,
    /// The user who sent it.
    pub sender: String,
    /// Where it stands.
    pub status: Status,
    /// When the status last changed.
    pub changed: Timestamp,
    /// When anything last changed.
    pub modified: Timestamp,
    /// When it was created.
    pub created: Timestamp,
    /// When it reached each further status.
    pub reached: BTreeMap<&'static str, Timestamp>,
    /// When it ends by itself.
    pub expires: Option<Timestamp>,
    /// Why it was voided.
    pub voided_reason: Option<String>,
    /// `emailSubject`.
    pub subject: String,
    /// `emailBlurb`.
    pub blurb: String,
    /// The sender's own id for the create.
    pub transaction: Option<String>,
    /// `customFields`.
    pub custom_fields: Fields,
    /// `notification`.
    pub notification: Fields,
    /// Its documents.
    pub documents: Vec<File>,
    /// Its recipients.
    pub recipients: Vec<Recipient>,
    /// When it is sent, and where its routing waits.
    pub workflow: Option<Workflow>,
    /// The `eventNotification` and `eventNotifications` it was created with, by configuration id.
    pub hooks: Vec<(u64, Value)>,
    /// What becomes of the documents.
    pub purge: Purge,
    /// Its history.
    pub audit: Vec<Audit>,
    /// Other fields of the definition that are only echoed.
    pub given: Fields,
}

impl Envelope {
    /// The recipient with this `recipientIdGuid`.
    pub(in crate::emulator) fn recipient(&self, guid: &str) -> Option<&Recipient> {
        self.recipients.iter().find(|recipient| recipient.guid == guid)
    }

    /// The same, to be changed.
    pub(in crate::emulator) fn recipient_mut(&mut self, guid: &str) -> Option<&mut Recipient> {
        self.recipients.iter_mut().find(|recipient| recipient.guid == guid)
    }

    /// The place of the recipient with this `recipientId` or `recipientIdGuid`.
    pub(super) fn place_of(&self, id: &str) -> Result<usize, Refusal> {
        let place = self.recipients.iter().position(|known| known.id == id || known.guid == id);
        place.ok_or_else(no_such_recipient)
    }

    /// Whether a field is no longer what it was when its recipient got the turn.
    pub(super) fn has_form_data_changed(&self) -> bool {
        let reached = self.recipients.iter().filter(|recipient| recipient.sent.is_some());
        reached.flat_map(|recipient| &recipient.tabs).filter(|tab| tab.is_fillable()).any(|tab| {
            let original = tab.fields.get(ORIGINAL).and_then(Value::as_str);
            original.is_some_and(|original| original != tab.value)
        })
    }

    /// Writes a line of history.
    pub(in crate::emulator) fn note(
        &mut self,
        at: Timestamp,
        who: &str,
        action: &'static str,
        message: impl Into<String>,
    ) {
        let (message, status) = (message.into(), self.status);
        self.audit.push(Audit { at, who: who.to_owned(), action, message, status });
        self.modified = at;
    }
}
