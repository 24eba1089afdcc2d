//! What is done with the bytes of a file.
//!
//! Hostile files give an error, never a panic. What their pages inflate to is counted before it is read, over
//! all pages together, because a thousand pages may share one stream. What opening costs is not known before:
//! its objects are built, all of them, and are hundreds of times what describes them.

use lopdf::{Document, LoadOptions, Object, ObjectId};

use super::{Error, Seen};

/// The most pages that are read for anchors; a longer document is left to the upstream.
const MAX_PAGES: usize = 2_000;
/// Pages that are read in one go, unless they are large. Each go walks the whole tree of pages.
const PAGES_AT_ONCE: usize = 64;
/// What a font costs besides its tables.
const FONT_BYTES: usize = 4 * 1024;
/// Bytes that one page with its fonts may inflate to. Read, they take forty times as much.
const PAGE_BYTES: usize = 1024 * 1024;
/// Bytes that all pages together may inflate to.
const ALL_BYTES: usize = 64 * 1024 * 1024;
/// Bytes that one stream may inflate to when the file is opened.
const STREAM_BYTES: usize = 64 * 1024 * 1024;

/// Reads the document and looks for `texts` in it.
pub fn read(file: &[u8], texts: &[&str]) -> Result<Seen, Error> {
    // Readers look for the header within the first kilobyte (ISO 32000-1, annex H.3.4.1).
    let head = &file[..file.len().min(1_024)];
    if !head.windows(5).any(|window| window == b"%PDF-") {
        return Err(Error::NotAPdf);
    }
    let options = LoadOptions { max_decompressed_size: Some(STREAM_BYTES), ..LoadOptions::default() };
    let document = Document::load_mem_with_options(file, options).map_err(|_| Error::Unreadable)?;
    if document.is_encrypted() || document.was_encrypted() {
        return Err(Error::Encrypted);
    }
    let pages: Vec<ObjectId> = document.page_iter().collect();
    if pages.is_empty() {
        return Err(Error::NoPage);
    }
    let missing = missing_texts(&document, &pages, texts).unwrap_or_default();
    Ok(Seen { pages: pages.len(), missing: missing.into_iter().map(str::to_owned).collect() })
}

/// Those that are surely not there. `None`: it would take too much to say.
fn missing_texts<'t>(document: &Document, pages: &[ObjectId], texts: &[&'t str]) -> Option<Vec<&'t str>> {
    let mut missing = texts.to_vec();
    let (mut certain, mut left, mut read) = (true, ALL_BYTES, 0);
    while read < pages.len() && !missing.is_empty() {
        let (next, cost) = next_pages(document, &pages[read..], left.min(PAGE_BYTES))?;
        if read + next > MAX_PAGES {
            return None;
        }
        let text = read_pages(document, read..read + next);
        certain &= text.certain;
        missing.retain(|wanted| !text.text.contains(&squeezed(wanted)));
        (read, left) = (read + next, left - cost);
    }
    // Forms are drawn from inside a page; their text is not in what was read.
    certain &= !has_forms(document);
    Some(if certain { missing } else { Vec::new() })
}

/// How many pages can be read in one go, and what that costs; `None` if the first is over the limit.
fn next_pages(document: &Document, pages: &[ObjectId], most: usize) -> Option<(usize, usize)> {
    let (mut count, mut sum) = (0, 0);
    for page in pages.iter().take(PAGES_AT_ONCE) {
        match inflated(document, *page, most - sum) {
            Some(cost) => (count, sum) = (count + 1, sum + cost),
            None => break,
        }
    }
    (count > 0).then_some((count, sum))
}

/// What a page and the tables of its fonts inflate to, and its text may become; `None` if that is more than `most`.
fn inflated(document: &Document, page: ObjectId, most: usize) -> Option<usize> {
    let content = document.get_page_content_with_limit(page, most).ok()?.len();
    let (mut left, mut widest) = (most.checked_sub(content)?, 1);
    for font in document.get_page_fonts(page).ok()?.values() {
        left = left.checked_sub(FONT_BYTES)?;
        for name in [&b"Encoding"[..], b"ToUnicode"] {
            let Ok(stream) = font.get_deref(name, document).and_then(Object::as_stream) else { continue };
            let table = stream.decompressed_content_with_limit(left).ok()?;
            left = left.checked_sub(table.len())?;
            widest = widest.max(longest_string(&table));
        }
    }
    left = left.checked_sub(content.checked_mul(widest - 1)?)?;
    Some(most - left)
}

/// The characters of the longest hexadecimal string in a table: what one code of the page may stand for. A ligature
/// is three letters; a megabyte is somebody's attack.
fn longest_string(table: &[u8]) -> usize {
    let digits = |rest: &[u8]| {
        let end = rest.iter().position(|byte| *byte == b'>')?;
        let inside = rest.get(..end)?;
        let is_string = inside.iter().all(|byte| byte.is_ascii_hexdigit() || byte.is_ascii_whitespace());
        is_string.then(|| inside.iter().filter(|byte| byte.is_ascii_hexdigit()).count())
    };
    let strings = table.split(|byte| *byte == b'<').skip(1);
    strings.filter_map(digits).max().unwrap_or(0).div_ceil(4).max(1)
}

struct Text {
    text: String,
    certain: bool,
}

fn read_pages(document: &Document, pages: std::ops::Range<usize>) -> Text {
    let mut read = Text { text: String::new(), certain: true };
    let numbers: Vec<u32> = pages.filter_map(|page| u32::try_from(page + 1).ok()).collect();
    for chunk in document.extract_text_chunks_with_limit(&numbers, PAGE_BYTES) {
        match chunk {
            Ok(text) => read.text.push_str(&squeezed(&text)),
            Err(_) => read.certain = false,
        }
    }
    read
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

    /// One page with this text, in a font of a known encoding or with a table of what its codes mean.
    fn document(text: &[u8], table: Option<&str>) -> Vec<u8> {
        let mut pdf = Pdf::new();
        let [catalog, tree, page, font, content, map] = [1, 2, 3, 4, 5, 6].map(Ref::new);
        pdf.catalog(catalog).pages(tree);
        pdf.pages(tree).kids([page]).count(1);
        let mut writer = pdf.page(page);
        writer.media_box(Rect::new(0.0, 0.0, 595.0, 842.0)).parent(tree).contents(content);
        writer.resources().fonts().pair(Name(b"F1"), font);
        writer.finish();
        let mut helvetica = pdf.type1_font(font);
        helvetica.base_font(Name(b"Helvetica"));
        match table {
            None => helvetica.encoding_predefined(Name(b"WinAnsiEncoding")),
            Some(_) => helvetica.to_unicode(map),
        };
        helvetica.finish();
        let mut stream = Content::new();
        stream.begin_text().set_font(Name(b"F1"), 12.0).next_line(72.0, 700.0).show(Str(text)).end_text();
        pdf.stream(content, &stream.finish());
        if let Some(table) = table {
            pdf.stream(map, table.as_bytes());
        }
        pdf.finish()
    }

    #[test]
    fn a_text_is_found_whatever_its_case_and_blanks() {
        let file = document(b"Sign here: /SN1/ and /d t 1/", None);
        assert_eq!(
            read(&file, &["/sn1/", "/dt1/", "/nowhere/"]),
            Ok(Seen { pages: 1, missing: vec!["/nowhere/".to_owned()] })
        );
    }

    /// Many pages that share one stream, which inflates to `bytes`.
    fn bomb(pages: i32, bytes: usize) -> Vec<u8> {
        let mut pdf = Pdf::new();
        let [catalog, tree, content] = [1, 2, 3].map(Ref::new);
        let kids: Vec<Ref> = (0..pages).map(|page| Ref::new(10 + page)).collect();
        pdf.catalog(catalog).pages(tree);
        pdf.pages(tree).kids(kids.iter().copied()).count(pages);
        for kid in kids {
            pdf.page(kid).media_box(Rect::new(0.0, 0.0, 595.0, 842.0)).parent(tree).contents(content);
        }
        let mut stream = lopdf::Stream::new(lopdf::Dictionary::new(), b"q Q\n".repeat(bytes / 4));
        stream.compress().unwrap();
        pdf.stream(content, &stream.content).filter(pdf_writer::Filter::FlateDecode);
        pdf.finish()
    }

    #[test]
    fn a_stream_that_many_pages_share_counts_for_each_of_them() {
        let shared = bomb(300, 8 * 1024);
        assert!(shared.len() < 64 * 1024, "{}", shared.len());
        assert_eq!(read(&shared, &["/sn1/"]), Ok(Seen { pages: 300, missing: vec!["/sn1/".to_owned()] }));
        let large = bomb(1, 8 * 1024 * 1024);
        let left = read(&large, &["/sn1/"]);
        assert_eq!(left, Ok(Seen { pages: 1, missing: vec![] }), "left to the upstream to judge");
        assert_eq!(read(&large, &[]), Ok(Seen { pages: 1, missing: vec![] }), "not looked into");
    }

    #[test]
    fn a_code_that_stands_for_a_book_is_not_read_out() {
        let one = |text: &str| {
            let map = format!("beginbfchar <01> <{text}> endbfchar");
            longest_string(map.as_bytes())
        };
        assert_eq!((one("0041"), one("0066 0066 0069"), one(&"0041".repeat(5_000))), (1, 3, 5_000));
        let dictionary = b"<< /Registry (Adobe) /Supplement 0 >> def <0000> <FFFF> endcodespacerange";
        assert_eq!(longest_string(dictionary), 1);

        let table = format!("beginbfchar <01> <{}> endbfchar", "0041".repeat(5_000));
        let file = document(&[1; 10_000], Some(&table));
        let left = read(&file, &["/sn1/"]);
        assert_eq!(left, Ok(Seen { pages: 1, missing: vec![] }), "50 MB of text");
    }

    #[test]
    fn pages_in_several_goes_are_all_read() {
        let file = bomb(200, 64);
        assert_eq!(read(&file, &["/sn1/"]), Ok(Seen { pages: 200, missing: vec!["/sn1/".to_owned()] }));
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
            let mut file = document(b"/sn1/", None);
            let at = at.min(file.len());
            file.splice(at..(at + bytes.len()).min(file.len()), bytes);
            let _ = read(&file, &["/sn1/"]);
        }
    }
}
