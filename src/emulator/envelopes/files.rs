//! The files of a definition: decoded, converted if they are no PDF, and read.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;

use super::{
    docx, lengths, literals,
    model::{Fields, File, Refusal, invalid, refuse, text},
    refused, settings,
};
use crate::emulator::{
    multipart,
    pdf::{read, write},
};

/// Per file by API (rules-and-limits).
const MAX_FILE_BYTES: usize = 32 * 1024 * 1024;

/// How a PDF begins.
const PDF: &[u8] = b"%PDF-";

/// Bytes that came beside the JSON, by `documentid`: those that one part of a definition may use.
pub(super) type Binaries = HashMap<String, Bytes>;

/// All bytes that came beside the JSON.
#[derive(Debug, Default)]
pub(super) struct Uploads {
    /// By `compositeTemplateId`, empty for none, and `documentid`.
    by_key: HashMap<(String, String), Bytes>,
}

impl Uploads {
    /// Takes one; false if there is one with these ids.
    pub(super) fn add(&mut self, composite: &str, document: &str, bytes: Bytes) -> bool {
        self.by_key.insert((composite.to_owned(), document.to_owned()), bytes).is_none()
    }

    /// What a composite may use: its own, else what names a document only (SPEC: compositeTemplateId).
    pub(super) fn of(&self, composite: &str) -> Binaries {
        let of = |wanted: &str| {
            let own = self.by_key.iter().filter(move |((composite, _), _)| composite == wanted);
            own.map(|((_, document), bytes)| (document.clone(), bytes.clone())).collect::<Binaries>()
        };
        let mut all = of("");
        all.extend(of(composite));
        all
    }
}

/// A document from its description and bytes: converted if it is no PDF, and read.
pub(in crate::emulator) fn file_from(
    guid: String,
    fields: &Fields,
    binaries: &Binaries,
    scope: usize,
    index: usize,
) -> Result<File, Refusal> {
    let id = text(fields, "documentId").unwrap_or_default();
    if !id.parse::<u32>().is_ok_and(|id| (1..=2_147_483_647).contains(&id)) {
        return Err(invalid("A documentId is a positive whole number, and every document has one."));
    }
    if refused::said(fields, "tabs").is_some() {
        return Err(refused::lacking("the tabs of a document, prefillTabs among them,"));
    }
    lengths::of_document(fields)?;
    let name = text(fields, "name").unwrap_or("Document");
    let bytes = pdf_of(fields, id, name, binaries)?;
    let read = read::read(&bytes).map_err(|error| match error {
        read::Unreadable::Encrypted => refuse(
            "UNSUPPORTED_PDF_CONTENT",
            format!("The PDF document '{name}' contains content that is not supported: it is protected by a password."),
        ),
        read::Unreadable::Garbage => unable(name, "It is not a readable PDF."),
        read::Unreadable::TooLarge => unable(name, "It is too large when it is unpacked."),
    })?;
    let order =
        literals::number(fields, "order")?.unwrap_or_else(|| u32::try_from(index + 1).unwrap_or(u32::MAX));
    let given = settings::of_document(fields)?;
    Ok(File {
        id: id.to_owned(),
        guid,
        name: name.to_owned(),
        order,
        bytes,
        text: Arc::new(read),
        scope,
        given,
    })
}

/// The PDF of a document: what was sent, converted if need be, or what its `htmlDefinition` makes.
fn pdf_of(fields: &Fields, id: &str, name: &str, binaries: &Binaries) -> Result<Bytes, Refusal> {
    let bytes: Bytes = match (binaries.get(id), text(fields, "documentBase64")) {
        (Some(bytes), _) => bytes.clone(),
        (None, Some(encoded)) => multipart::from_base64(encoded.as_bytes()).ok_or_else(not_base64)?.into(),
        (None, None) => {
            let html = fields.get("htmlDefinition").and_then(|html| html["source"].as_str());
            let html = html.ok_or_else(|| unable(name, "It has no content."))?;
            return Ok(write::from_html(name, html).into());
        }
    };
    if bytes.len() > MAX_FILE_BYTES {
        return Err(unable(name, "It is larger than 32 MB."));
    }
    to_pdf(name, text(fields, "fileExtension"), bytes)
}

fn unable(name: &str, why: &str) -> Refusal {
    refuse("UNABLE_TO_LOAD_DOCUMENT", format!("Unable to load the document. Document: '{name}'. {why}"))
}

fn to_pdf(name: &str, extension: Option<&str>, bytes: Bytes) -> Result<Bytes, Refusal> {
    // Whatever it is called: the vendor's test of its SDK for PHP sends a PDF by the name of a DOCX.
    if bytes.starts_with(PDF) {
        return Ok(bytes);
    }
    // Of anything else the vendor wants to be told what it is (SPEC `document.fileExtension`).
    let by_name =
        name.rsplit_once('.').map(|(_, end)| end).filter(|end| ["txt", "htm", "html"].contains(end));
    let extension = extension.or(by_name).unwrap_or("pdf").trim_start_matches('.').to_ascii_lowercase();
    let words = || String::from_utf8_lossy(&bytes).into_owned();
    match extension.as_str() {
        "pdf" => Ok(bytes),
        "docx" => {
            let words = docx::text_of(&bytes).map_err(|why| unable(name, why))?;
            Ok(write::from_text(name, &words).into())
        }
        "txt" | "text" | "csv" | "md" => Ok(write::from_text(name, &words()).into()),
        "htm" | "html" => Ok(write::from_html(name, &words()).into()),
        _ => Err(unable(
            name,
            "The emulator converts docx, html and txt; the vendor would convert this one too.",
        )),
    }
}

/// Content that says it is base64.
pub(super) fn not_base64() -> Refusal {
    refuse("UNABLE_TO_LOAD_DOCUMENT", "Unable to load the document. The content is not base64.")
}
