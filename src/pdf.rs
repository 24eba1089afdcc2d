//! Reads a PDF just far enough to say which texts are not in it.
//!
//! An anchor that is missing would cost a call and an envelope that is refused, so it is looked for
//! before. The answer errs on the side of the document: what cannot be read for certain (text inside
//! nested forms, fonts without a known encoding) is left for the upstream to judge. Hostile files cost
//! bounded memory and give an error, never a panic.
//!
//! Format: ISO 32000-1, 7 (syntax) and 9 (text).

use lopdf::{Document, LoadOptions};

/// The most that one stream may inflate to.
const MAX_INFLATED: usize = 64 * 1024 * 1024;
/// The most pages that are read for anchors; a longer document is left to the upstream.
const MAX_PAGES: usize = 2_000;

/// Why a file cannot be a document of an envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It cannot be opened without a password.
    #[error("is encrypted: send a PDF without a password")]
    Encrypted,
    /// It has no page.
    #[error("has no page")]
    NoPage,
    /// It does not begin like a PDF.
    #[error("is not a PDF")]
    NotAPdf,
    /// It begins like one, and cannot be read.
    #[error("is a damaged PDF: export it again")]
    Unreadable,
}

/// What was seen of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen<'t> {
    /// How many pages it has; never 0.
    pub pages: usize,
    /// Texts that are surely not in it.
    pub missing: Vec<&'t str>,
}

/// Reads the document and looks for `texts` in it.
pub fn read<'t>(file: &[u8], texts: &[&'t str]) -> Result<Seen<'t>, Error> {
    // Readers look for the header within the first kilobyte (ISO 32000-1, annex H.3.4.1).
    let head = &file[..file.len().min(1_024)];
    if !head.windows(5).any(|window| window == b"%PDF-") {
        return Err(Error::NotAPdf);
    }
    let options = LoadOptions { max_decompressed_size: Some(MAX_INFLATED), ..LoadOptions::default() };
    let document = Document::load_mem_with_options(file, options).map_err(|_| Error::Unreadable)?;
    if document.is_encrypted() || document.was_encrypted() {
        return Err(Error::Encrypted);
    }
    let pages = document.get_pages();
    if pages.is_empty() {
        return Err(Error::NoPage);
    }
    let missing =
        if pages.len() > MAX_PAGES { Vec::new() } else { missing_texts(&document, pages.keys(), texts) };
    Ok(Seen { pages: pages.len(), missing })
}

fn missing_texts<'p, 't>(
    document: &Document,
    pages: impl Iterator<Item = &'p u32>,
    texts: &[&'t str],
) -> Vec<&'t str> {
    let mut missing = texts.to_vec();
    let mut certain = true;
    for number in pages {
        if missing.is_empty() {
            return missing;
        }
        let page = read_page(document, *number);
        certain &= page.certain;
        missing.retain(|text| !page.text.contains(&squeezed(text)));
    }
    // Forms are drawn from inside a page; their text is not in what was read.
    certain &= !has_forms(document);
    if certain { missing } else { Vec::new() }
}

struct Page {
    text: String,
    certain: bool,
}

fn read_page(document: &Document, number: u32) -> Page {
    let mut page = Page { text: String::new(), certain: true };
    for chunk in document.extract_text_chunks_with_limit(&[number], MAX_INFLATED) {
        match chunk {
            Ok(text) => page.text.push_str(&squeezed(&text)),
            Err(_) => page.certain = false,
        }
    }
    page
}

/// Text without blanks and in one case: kerning shows up as blanks, and the upstream ignores case.
fn squeezed(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace()).flat_map(char::to_lowercase).collect()
}

fn has_forms(document: &Document) -> bool {
    document.objects.values().any(|object| {
        let stream = object.as_stream().ok();
        stream.is_some_and(|stream| {
            stream.dict.get(b"Subtype").and_then(lopdf::Object::as_name).is_ok_and(|name| name == b"Form")
        })
    })
}

#[cfg(test)]
mod tests {
    use pdf_writer::{Content, Finish as _, Name, Pdf, Rect, Ref, Str};

    use super::*;

    fn document(text: &[u8]) -> Vec<u8> {
        let mut pdf = Pdf::new();
        let [catalog, tree, page, font, content] = [1, 2, 3, 4, 5].map(Ref::new);
        pdf.catalog(catalog).pages(tree);
        pdf.pages(tree).kids([page]).count(1);
        let mut writer = pdf.page(page);
        writer.media_box(Rect::new(0.0, 0.0, 595.0, 842.0)).parent(tree).contents(content);
        writer.resources().fonts().pair(Name(b"F1"), font);
        writer.finish();
        pdf.type1_font(font).base_font(Name(b"Helvetica")).encoding_predefined(Name(b"WinAnsiEncoding"));
        let mut stream = Content::new();
        stream.begin_text().set_font(Name(b"F1"), 12.0).next_line(72.0, 700.0).show(Str(text)).end_text();
        pdf.stream(content, &stream.finish());
        pdf.finish()
    }

    #[test]
    fn a_text_is_found_whatever_its_case_and_blanks() {
        let file = document(b"Sign here: /SN1/ and /d t 1/");
        assert_eq!(
            read(&file, &["/sn1/", "/dt1/", "/nowhere/"]),
            Ok(Seen { pages: 1, missing: vec!["/nowhere/"] })
        );
    }

    #[test]
    fn what_is_no_document_is_said_so() {
        assert_eq!(read(b"", &[]), Err(Error::NotAPdf));
        assert_eq!(read(b"PK\x03\x04 a zip", &[]), Err(Error::NotAPdf));
        assert_eq!(read(b"%PDF-1.7\nnothing more", &[]), Err(Error::Unreadable));
    }

    proptest::proptest! {
        #[test]
        fn no_file_makes_the_reader_panic(
            at in 0_usize..700,
            bytes in proptest::collection::vec(proptest::num::u8::ANY, 1..40),
        ) {
            let mut file = document(b"/sn1/");
            let at = at.min(file.len());
            file.splice(at..(at + bytes.len()).min(file.len()), bytes);
            let _ = read(&file, &["/sn1/"]);
        }
    }
}
