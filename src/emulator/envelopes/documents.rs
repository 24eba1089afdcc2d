//! The documents of an envelope as files: one, all in one, the certificate, an archive.
//!
//! Signatures and values are written on the pages, with the envelope id above and a demo notice
//! below, as a developer account does. Source: EnvelopeDocuments:get in the vendor's reference.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde_json::json;

use super::{
    Outcome,
    model::{Envelope, File, Purge, RADIOS, Recipient, Status, Tab, missing, refuse, text},
    progress, relations, render, settings, visibility,
};
use crate::emulator::{
    http::{Answer, Call, vendor_time},
    pdf::{
        join::{self, Piece, Stamp},
        write::Sheet,
    },
    state::World,
};

/// The header by which a client asks for a file in base64 (SDK: Node's client and its own tests), and by which the answer
/// says that it is (ours).
const ENCODING: HeaderName = HeaderName::from_static("content-transfer-encoding");
const NOTICE: &str = "DEMONSTRATION DOCUMENT ONLY - made by an emulator, without any legal effect";

/// Whether there is anything to fetch.
pub(super) fn any(envelope: &Envelope) -> bool {
    !envelope.documents.is_empty()
}

/// `GET …/documents`.
pub(super) fn list(world: &World, call: &Call, id: &str) -> Outcome {
    let envelope = visibility::asked_for(world, call, &world.envelopes.envelopes[id])?;
    Ok(Answer::ok(json!({ "envelopeId": id, "envelopeDocuments": render::documents(&envelope) })))
}

/// `GET …/documents/{document}`.
pub(super) fn download(world: &World, call: &Call, id: &str, document: &str) -> Outcome {
    let seen = visibility::asked_for(world, call, &world.envelopes.envelopes[id])?;
    let envelope = &*seen;
    let certificate_is =
        |wanted: &str| call.query("certificate").is_some_and(|value| value.eq_ignore_ascii_case(wanted));
    let unknown = || missing("DOCUMENT_DOES_NOT_EXIST", "The document specified was not found.");
    // Of a draft nothing is certified, and its list has none.
    let has_certificate = envelope.status != Status::Created;
    if !progress::has_documents(envelope) && document != "certificate" {
        return Err(if matches!(envelope.purge, Purge::Purged { .. }) {
            refuse("ENVELOPE_INVALID_STATUS", "The documents of the envelope have been purged.")
        } else {
            unknown()
        });
    }
    let (name, kind, bytes) = match document {
        "combined" => (
            file_name("combined", "pdf"),
            "application/pdf",
            combined(world, envelope, has_certificate && certificate_is("true"))?,
        ),
        "certificate" if !has_certificate => return Err(unknown()),
        "certificate" => (file_name("Summary", "pdf"), "application/pdf", certificate(world, envelope)),
        "archive" => (
            file_name("archive", "zip"),
            "application/zip",
            archive(world, envelope, has_certificate && !certificate_is("false"))?,
        ),
        "portfolio" => {
            return Err(refuse(
                "PLAN_ITEM_NOT_ENABLED",
                "A feature in your plan is not enabled: PDF portfolios are not emulated.",
            ));
        }
        id => {
            let file = envelope
                .documents
                .iter()
                .find(|file| file.id == id || file.guid == id)
                .ok_or_else(unknown)?;
            (file_name(&file.name, "pdf"), "application/pdf", one(envelope, file)?)
        }
    };
    let disposition = format!("file; filename=\"{name}\"; documentid=\"{document}\"");
    let disposition = HeaderValue::from_str(&disposition).unwrap_or(HeaderValue::from_static("file"));
    let file = Answer::bytes(StatusCode::OK, kind, bytes).with(header::CONTENT_DISPOSITION, disposition);
    Ok(as_asked(call, file))
}

/// A file in the encoding that the request names.
pub(in crate::emulator) fn as_asked(call: &Call, mut file: Answer) -> Answer {
    let named = call.headers.get(ENCODING).map(|named| named.as_bytes().trim_ascii()).unwrap_or_default();
    if !named.eq_ignore_ascii_case(b"base64") {
        return file;
    }
    file.body = STANDARD.encode(&file.body).into();
    file.with(ENCODING, HeaderValue::from_static("base64"))
}

/// A name that is safe in a header, with its ending.
fn file_name(name: &str, ending: &str) -> String {
    let base = name
        .rsplit_once('.')
        .filter(|(_, end)| end.len() <= 5 && !end.contains(' '))
        .map_or(name, |(base, _)| base);
    let safe =
        base.chars().map(|c| if c.is_ascii_graphic() && !"\"\\/;".contains(c) || c == ' ' { c } else { '_' });
    format!("{}.{ending}", safe.collect::<String>())
}

/// The files of an envelope as it is at one time, to be written when they are needed: what waits shares the documents
/// that were uploaded, and holds nothing that is written.
#[derive(Debug)]
pub(in crate::emulator) struct Papers {
    envelope: Envelope,
    originator: String,
}

impl Papers {
    /// Those of an envelope as it is now.
    pub(in crate::emulator) fn of(world: &World, envelope: &Envelope) -> Self {
        Self { envelope: envelope.clone(), originator: progress::sender_name(world, envelope) }
    }

    /// What `GET …/documents/{document}` answered then, of a document or the certificate; none where it refused.
    pub(in crate::emulator) fn file(&self, document: &str) -> Option<Vec<u8>> {
        let Self { envelope, originator } = self;
        if document == "certificate" {
            return (envelope.status != Status::Created).then(|| certified(envelope, originator));
        }
        let file = envelope.documents.iter().find(|file| file.id == document)?;
        if progress::has_documents(envelope) { one(envelope, file).ok() } else { None }
    }
}

fn one(envelope: &Envelope, file: &File) -> Result<Vec<u8>, super::Refusal> {
    join::combine(&[piece(envelope, file)]).map_err(|_| cannot_be_joined())
}

/// Refuses to write what cannot be read as a PDF.
pub(in crate::emulator) fn cannot_be_joined() -> super::Refusal {
    refuse("UNSUPPORTED_PDF_CONTENT", "The document could not be written: its PDF cannot be joined.")
}

fn combined(world: &World, envelope: &Envelope, with_certificate: bool) -> Result<Vec<u8>, super::Refusal> {
    let is_part = |file: &&File| !settings::is_off(&file.given, "includeInDownload");
    let mut files: Vec<&File> = envelope.documents.iter().filter(is_part).collect();
    files.sort_by_key(|file| file.order);
    let mut pieces: Vec<Piece<'_>> = files.into_iter().map(|file| piece(envelope, file)).collect();
    let summary = certificate(world, envelope);
    if with_certificate {
        pieces.push(Piece { bytes: &summary, stamps: Vec::new() });
    }
    join::combine(&pieces).map_err(|_| cannot_be_joined())
}

fn archive(world: &World, envelope: &Envelope, with_certificate: bool) -> Result<Vec<u8>, super::Refusal> {
    let mut files = Vec::new();
    for file in &envelope.documents {
        files.push((format!("{} {}", file.id, file_name(&file.name, "pdf")), one(envelope, file)?));
    }
    if with_certificate {
        files.push(("Summary.pdf".to_owned(), certificate(world, envelope)));
    }
    Ok(join::archive(&files))
}

fn piece<'a>(envelope: &Envelope, file: &'a File) -> Piece<'a> {
    let line = |y: f32, text: String| Stamp { page: None, x: 20.0, y, size: 7.0, text, is_signature: false };
    let height = file.text.pages.first().map_or(842.0, |page| page.size.1);
    let mut stamps = vec![line(height - 10.0, NOTICE.to_owned())];
    if !settings::is_off(&envelope.given, "envelopeIdStamping") {
        stamps.push(line(14.0, format!("DocuSign Envelope ID: {}", envelope.id.to_uppercase())));
    }
    for recipient in envelope.recipients.iter().filter(|recipient| recipient.signed.is_some()) {
        let tabs = relations::in_sight(&recipient.tabs);
        stamps.extend(tabs.filter_map(|tab| stamp(envelope, file, recipient, tab)));
    }
    Piece { bytes: &file.bytes, stamps }
}

fn stamp(envelope: &Envelope, file: &File, recipient: &Recipient, tab: &Tab) -> Option<Stamp> {
    let (document, page, x, y) = tab.place()?;
    let name = recipient.adopted_name.as_deref().unwrap_or(&recipient.name);
    let (text_of_tab, is_signature, size) = match tab.list.as_str() {
        "signHereTabs" => (name.to_owned(), true, 18.0),
        "initialHereTabs" => (initials(name), true, 15.0),
        "envelopeIdTabs" => (envelope.id.clone(), false, 9.0),
        // Its place is that of the radio that is chosen.
        RADIOS => ("X".to_owned(), false, 10.0),
        _ => (tab.value.clone(), false, 10.0),
    };
    // A fixed tab names its upper left corner, an anchor the base line of its text.
    let y = if text(&tab.fields, "anchorString").is_some() { y - 3.0 } else { y + size };
    let is_here = document == file.id && !text_of_tab.is_empty();
    is_here.then_some(Stamp { page: Some(page), x, y, size, text: text_of_tab, is_signature })
}

/// The first letters of a name.
pub(in crate::emulator) fn initials(name: &str) -> String {
    name.split_whitespace().filter_map(|word| word.chars().next()).collect()
}

/// The certificate of completion, as far as things have come.
fn certificate(world: &World, envelope: &Envelope) -> Vec<u8> {
    certified(envelope, &progress::sender_name(world, envelope))
}

fn certified(envelope: &Envelope, originator: &str) -> Vec<u8> {
    let mut sheet = Sheet::new("Certificate Of Completion", NOTICE);
    sheet.title("Certificate Of Completion", &format!("Envelope Id: {}", envelope.id.to_uppercase()));
    sheet.row("Subject", &envelope.subject);
    sheet.row("Status", envelope.status.name());
    sheet.row("Envelope Originator", originator);
    sheet.row(
        "Documents",
        &envelope.documents.iter().map(|file| file.name.as_str()).collect::<Vec<_>>().join(", "),
    );
    for (status, at) in &envelope.reached {
        sheet.row(&format!("{}{}", status[..1].to_uppercase(), &status[1..]), &vendor_time(*at));
    }
    if let Some(reason) = &envelope.voided_reason {
        sheet.row("Voided Reason", reason);
    }
    for recipient in &envelope.recipients {
        sheet.heading(&format!("Signer Events: {}", recipient.name));
        signer_rows(&mut sheet, recipient);
        if let Some(name) = recipient.adopted_name.as_deref().filter(|_| recipient.signed.is_some()) {
            sheet.signature(name);
        }
    }
    sheet.heading("Record Tracking");
    for line in &envelope.audit {
        sheet.row(
            &line.at.strftime("%Y-%m-%d %H:%M:%S").to_string(),
            &format!("{}: {}", line.action, line.message),
        );
    }
    sheet.finish()
}

fn signer_rows(sheet: &mut Sheet, recipient: &Recipient) {
    sheet.row("Email", &recipient.email);
    sheet.row("Role", recipient.kind.name());
    sheet.row("Status", recipient.status.name());
    for (name, at) in
        [("Sent", recipient.sent), ("Viewed", recipient.delivered), ("Signed", recipient.signed)]
    {
        if let Some(at) = at {
            sheet.row(name, &vendor_time(at));
        }
    }
    if let Some((at, reason)) = &recipient.declined {
        sheet.row("Declined", &format!("{} {reason}", vendor_time(*at)));
    }
    sheet.row("Security Level", recipient.app_authentication.as_deref().unwrap_or("None"));
    for (check, result) in &recipient.authentication {
        let detail = format!(
            "{} {}",
            result["status"].as_str().unwrap_or_default(),
            result["eventTimestamp"].as_str().unwrap_or_default()
        );
        sheet.row("Authentication", &format!("{check}: {detail}"));
    }
    if let Some(address) = recipient.client_user_id.as_ref().map(|_| "embedded in the sender's application") {
        sheet.row("Signing Method", address);
    }
}
