//! The definition of an envelope: `POST /envelopes`.
//!
//! Documents are not copied: the definition is written around their base64 text, in pieces.
//!
//! As soon as a template is involved everything becomes composite templates, since only an inline
//! recipient can give a template's role a `clientUserId` and an `identityVerification`; root
//! recipients and custom fields are ignored then (Envelopes: create).

use bytes::Bytes;
use serde::Serialize;

use super::{requests::IdentityVerification, tabs::Tabs};
use crate::{
    domain::{Document, document::Content, draft::MAX_SUBJECT},
    esign::{
        envelopes::{EnvelopeSigner, NewEnvelope, SmsCheck},
        languages,
    },
};

/// The hidden text custom field that holds our signing's id (rule E2).
pub(in crate::esign) const CUSTOM_FIELD: &str = "countersign_id";

/// Everything that can happen to an envelope and that we act on (Connect event triggers).
const EVENTS: [&str; 13] = [
    "envelope-sent",
    "envelope-delivered",
    "envelope-completed",
    "envelope-declined",
    "envelope-voided",
    "envelope-purge",
    "recipient-sent",
    "recipient-delivered",
    "recipient-completed",
    "recipient-declined",
    "recipient-authenticationfailed",
    "recipient-resent",
    "recipient-finish-later",
];

/// Writes the definition. `brand` is the id of the brand that the envelope wears.
pub(in crate::esign) fn definition(new: &NewEnvelope<'_>, brand: Option<&str>) -> Vec<Bytes> {
    let is_composite = new.documents.iter().any(|document| matches!(document, Document::Template { .. }));
    let root = Definition {
        status: "sent",
        email_subject: subject(new),
        email_blurb: new.message,
        transaction_id: new.transaction_id.to_string(),
        brand_id: brand,
        custom_fields: (!is_composite).then(|| custom_fields(new)),
        recipients: (!is_composite).then(|| Recipients {
            signers: new.signers.iter().map(|signer| signer_of(new, signer, None)).collect(),
        }),
        notification: new.expires_after_days.map(Notification::expiring),
        event_notification: new.events.as_deref().map(EventNotification::to),
    };
    // What is around the documents fits: one allocation holds it.
    let mut body = Pieces { text: Vec::with_capacity(2_048), ..Pieces::default() };
    body.open(&root);
    if is_composite {
        body.text(",\"compositeTemplates\":[");
        for index in 0..new.documents.len() {
            body.text(if index == 0 { "" } else { "," });
            composite(&mut body, new, index);
        }
    } else {
        body.text(",\"documents\":[");
        for (index, document) in new.documents.iter().enumerate() {
            if let Document::File { name, content, .. } = document {
                body.text(if index == 0 { "" } else { "," });
                file(&mut body, index, name, content);
            }
        }
    }
    body.text("]}");
    body.finish()
}

fn file(body: &mut Pieces, index: usize, name: &str, content: &Content) {
    body.open(&FileHead { document_id: (index + 1).to_string(), name, file_extension: "pdf" });
    body.text(",\"documentBase64\":\"");
    body.piece(content.base64().clone());
    body.text("\"}");
}

/// One document as a composite template, with the recipients who have a part in it.
fn composite(body: &mut Pieces, new: &NewEnvelope<'_>, index: usize) {
    let document = &new.documents[index];
    let signers = new.signers.iter().filter(|signer| {
        // Whoever has a part in no document would be lost; the first takes them.
        takes_part(document, signer)
            || (index == 0 && !new.documents.iter().any(|document| takes_part(document, signer)))
    });
    let inline = InlineTemplate {
        sequence: "2",
        recipients: Recipients {
            signers: signers.map(|signer| signer_of(new, signer, Some(document))).collect(),
        },
        custom_fields: (index == 0).then(|| custom_fields(new)),
    };
    match document {
        Document::Template { id, .. } => {
            let server_templates = [ServerTemplate { sequence: "1", template_id: id }];
            body.open(&Composite { server_templates: &server_templates, inline_templates: [inline] });
        }
        Document::File { name, content, .. } => {
            body.open(&Composite { server_templates: &[], inline_templates: [inline] });
            body.text(",\"document\":");
            file(body, index, name, content);
        }
    }
    body.text("}");
}

fn takes_part(document: &Document, signer: &EnvelopeSigner<'_>) -> bool {
    match document {
        Document::Template { .. } => signer.role.is_some(),
        Document::File { anchors, .. } => anchors.0.values().any(|anchor| anchor.of(signer.key).is_some()),
    }
}

/// A signer, with the tabs of one document of a composite, or of all documents.
fn signer_of<'a>(
    new: &NewEnvelope<'a>,
    signer: &'a EnvelopeSigner<'a>,
    document: Option<&'a Document>,
) -> Signer<'a> {
    let documents = match document {
        Some(document) => std::slice::from_ref(document),
        None => new.documents,
    };
    let language = new.locale.and_then(languages::supported);
    Signer {
        recipient_id: signer.recipient_id,
        routing_order: signer.order.to_string(),
        role_name: signer.role,
        name: signer.name.reveal(),
        email: signer.email,
        client_user_id: signer.client_user_id,
        access_code: signer.access_code,
        identity_verification: signer
            .sms
            .map(|SmsCheck { phone, workflow }| IdentityVerification::by_phone(workflow, phone)),
        email_notification: language.map(|supported_language| EmailNotification {
            supported_language,
            email_subject: new.subject,
            email_body: new.message,
        }),
        tabs: Tabs::of(signer, documents),
    }
}

/// A template brings its own subject; files need one, and the document's name is the best there is.
fn subject(new: &NewEnvelope<'_>) -> Option<String> {
    let named = new.documents.iter().find_map(|document| match document {
        Document::File { name, .. } => Some(name.as_str()),
        Document::Template { .. } => None,
    });
    let has_template = new.documents.iter().any(|document| matches!(document, Document::Template { .. }));
    let text = new.subject.or(if has_template { None } else { named })?;
    // "An error, not truncated" (Envelopes: create).
    Some(text.chars().take(MAX_SUBJECT).collect())
}

fn custom_fields<'a>(new: &NewEnvelope<'a>) -> CustomFields<'a> {
    let ours =
        TextCustomField { name: CUSTOM_FIELD, value: new.signing_id, show: "false", required: "false" };
    CustomFields { text_custom_fields: [ours] }
}

/// JSON in pieces: what we write, and what is inserted as it is.
#[derive(Default)]
struct Pieces {
    done: Vec<Bytes>,
    text: Vec<u8>,
}

impl Pieces {
    fn text(&mut self, text: &str) {
        self.text.extend_from_slice(text.as_bytes());
    }

    /// Writes an object and leaves it open for more members. It must have one already.
    fn open(&mut self, object: &impl Serialize) {
        serde_json::to_writer(&mut self.text, object)
            .expect("our own types have string keys and no failing parts");
        debug_assert!(self.text.ends_with(b"}") && !self.text.ends_with(b"{}"));
        self.text.pop();
    }

    fn piece(&mut self, piece: Bytes) {
        self.done.push(std::mem::take(&mut self.text).into());
        self.done.push(piece);
    }

    fn finish(mut self) -> Vec<Bytes> {
        self.done.push(self.text.into());
        self.done
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Definition<'a> {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    email_subject: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    email_blurb: Option<&'a str>,
    transaction_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    brand_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    custom_fields: Option<CustomFields<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recipients: Option<Recipients<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    notification: Option<Notification>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_notification: Option<EventNotification<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FileHead<'a> {
    document_id: String,
    name: &'a str,
    file_extension: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Composite<'a> {
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    server_templates: &'a [ServerTemplate<'a>],
    inline_templates: [InlineTemplate<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ServerTemplate<'a> {
    sequence: &'static str,
    template_id: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct InlineTemplate<'a> {
    sequence: &'static str,
    recipients: Recipients<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    custom_fields: Option<CustomFields<'a>>,
}

#[derive(Serialize)]
struct Recipients<'a> {
    signers: Vec<Signer<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Signer<'a> {
    recipient_id: &'a str,
    routing_order: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    role_name: Option<&'a str>,
    name: &'a str,
    email: &'a str,
    client_user_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    access_code: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    identity_verification: Option<IdentityVerification<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    email_notification: Option<EmailNotification<'a>>,
    #[serde(skip_serializing_if = "Tabs::is_empty")]
    tabs: Tabs<'a>,
}

/// The language of the signing pages hangs on the e-mail that an embedded signer never gets. With it
/// come the words of that e-mail, or the sender's would be lost.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EmailNotification<'a> {
    supported_language: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    email_subject: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    email_body: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CustomFields<'a> {
    text_custom_fields: [TextCustomField<'a>; 1],
}

#[derive(Serialize)]
struct TextCustomField<'a> {
    name: &'a str,
    value: &'a str,
    show: &'static str,
    required: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Notification {
    use_account_defaults: &'static str,
    expirations: Expirations,
    reminders: Reminders,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Expirations {
    expire_enabled: &'static str,
    expire_after: String,
    expire_warn: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Reminders {
    reminder_enabled: &'static str,
}

impl Notification {
    fn expiring(days: u32) -> Self {
        Self {
            use_account_defaults: "false",
            expirations: Expirations {
                expire_enabled: "true",
                expire_after: days.to_string(),
                expire_warn: "0",
            },
            reminders: Reminders { reminder_enabled: "false" },
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EventNotification<'a> {
    url: &'a str,
    delivery_mode: &'static str,
    events: &'static [&'static str],
    event_data: EventData,
    require_acknowledgment: &'static str,
    logging_enabled: &'static str,
    include_envelope_void_reason: &'static str,
    #[serde(rename = "includeHMAC")]
    include_hmac: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EventData {
    version: &'static str,
    format: &'static str,
    include_data: [&'static str; 2],
}

impl<'a> EventNotification<'a> {
    fn to(url: &'a str) -> Self {
        Self {
            url,
            delivery_mode: "SIM",
            events: &EVENTS,
            event_data: EventData {
                version: "restv2.1",
                format: "json",
                include_data: ["custom_fields", "recipients"],
            },
            require_acknowledgment: "true",
            logging_enabled: "true",
            include_envelope_void_reason: "true",
            include_hmac: "true",
        }
    }
}
