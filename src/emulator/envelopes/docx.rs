//! The words of a Word document: what is laid out in place of the vendor's conversion.
//!
//! A DOCX is a zip; its text is `word/document.xml`: paragraphs (`w:p`) of runs (`w:r`) of texts (`w:t`), those of
//! tables among them in order. Word cuts the words of a paragraph into runs as it likes, so an anchor stands whole only
//! in the joined runs. Gaps: layout, pictures, headers, footers and notes are left out, and so pages end elsewhere than
//! at the vendor.
//!
//! Input is hostile until parsed: what it unpacks to is bounded, nothing recurses, and what is no XML is refused.
//!
//! Source: ECMA-376-1, 17 (WordprocessingML) and ECMA-376-2 (the package).

use std::io::{Cursor, Read as _};

/// What `word/document.xml` may be when it is unpacked.
const MAX_XML_BYTES: u64 = 16 * 1024 * 1024;

const UNREADABLE: &str = "It is not a readable DOCX.";

/// The text, a paragraph a line. The error says why there is none, as a sentence.
pub(super) fn text_of(bytes: &[u8]) -> Result<String, &'static str> {
    let mut archive = zip::ZipArchive::new(Cursor::new(bytes)).map_err(|_| UNREADABLE)?;
    let part = archive.by_name("word/document.xml").map_err(|_| UNREADABLE)?;
    let mut xml = Vec::new();
    part.take(MAX_XML_BYTES + 1).read_to_end(&mut xml).map_err(|_| UNREADABLE)?;
    if xml.len() as u64 > MAX_XML_BYTES {
        return Err("It is too large when it is unpacked.");
    }
    std::str::from_utf8(&xml).ok().and_then(paragraphs).ok_or(UNREADABLE)
}

/// Reads bytes as a DOCX and as what lies in one, for the fuzzers: behind a checksum they would hardly get that far.
#[cfg(any(test, fuzzing))]
pub(in crate::emulator) fn read_hostile(bytes: &[u8]) {
    let _ = text_of(bytes);
    let Ok(xml) = std::str::from_utf8(bytes) else { return };
    assert!(paragraphs(xml).is_none_or(|text| text.len() <= xml.len()), "no text is made up");
}

/// The text of the XML; none if it is not well-formed, as far as that matters here, or no document.
fn paragraphs(xml: &str) -> Option<String> {
    let mut reader = Reader::default();
    let mut rest = xml;
    while let Some((before, after)) = rest.split_once('<') {
        reader.characters(before)?;
        rest = if let Some(comment) = after.strip_prefix("!--") {
            comment.split_once("-->")?.1
        } else if let Some(data) = after.strip_prefix("![CDATA[") {
            let (data, rest) = data.split_once("]]>")?;
            reader.data(data);
            rest
        } else if let Some(instruction) = after.strip_prefix('?') {
            instruction.split_once("?>")?.1
        } else {
            let (tag, rest) = split_tag(after)?;
            reader.element(tag);
            rest
        };
    }
    (reader.has_body && reader.open.is_empty()).then_some(reader.text)
}

/// A tag up to its `>`, which may stand in the values of its attributes, too.
fn split_tag(text: &str) -> Option<(&str, &str)> {
    let mut quote = None;
    for (at, byte) in text.bytes().enumerate() {
        match (quote, byte) {
            (None, b'>') => return Some((&text[..at], &text[at + 1..])),
            (None, b'"' | b'\'') => quote = Some(byte),
            (Some(open), _) if open == byte => quote = None,
            _ => {}
        }
    }
    None
}

#[derive(Debug, Default)]
struct Reader {
    /// The paragraphs that have ended.
    text: String,
    /// Those that have not: one, and in it those of a text box.
    open: Vec<String>,
    /// How deep in `w:pPr`, where a `w:tab` is a tab stop and not a blank.
    properties: usize,
    /// How deep in `mc:Fallback`, which says again what stands beside it.
    fallbacks: usize,
    is_text: bool,
    has_body: bool,
}

impl Reader {
    fn element(&mut self, tag: &str) {
        let (tag, is_end) = tag.strip_prefix('/').map_or((tag, false), |tag| (tag, true));
        let is_empty = tag.ends_with('/');
        let nest = |depth: &mut usize| match (is_end, is_empty) {
            (true, _) => *depth = depth.saturating_sub(1),
            (false, true) => {}
            (false, false) => *depth += 1,
        };
        let name = tag.split([' ', '\t', '\r', '\n', '/']).next().unwrap_or_default();
        match name {
            "mc:Fallback" => nest(&mut self.fallbacks),
            _ if self.fallbacks > 0 => {}
            "w:body" => self.has_body = true,
            "w:pPr" => nest(&mut self.properties),
            "w:t" => self.is_text = !is_end && !is_empty,
            "w:p" => {
                if !is_end {
                    self.open.push(String::new());
                }
                if is_end || is_empty {
                    self.end_paragraph();
                }
            }
            "w:tab" if !is_end && self.properties == 0 => self.write(" "),
            "w:br" | "w:cr" if !is_end => self.write("\n"),
            "w:noBreakHyphen" if !is_end => self.write("-"),
            _ => {}
        }
    }

    fn end_paragraph(&mut self) {
        if let Some(paragraph) = self.open.pop() {
            self.text.push_str(&paragraph);
            self.text.push('\n');
        }
    }

    /// Text between tags, entities undone; none if it has one that XML does not know.
    fn characters(&mut self, text: &str) -> Option<()> {
        if !self.is_text {
            return Some(());
        }
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('&') {
            let (name, after) = after.split_once(';')?;
            self.write(before);
            self.write(entity(name)?.encode_utf8(&mut [0; 4]));
            rest = after;
        }
        self.write(rest);
        Some(())
    }

    fn data(&mut self, text: &str) {
        if self.is_text {
            self.write(text);
        }
    }

    fn write(&mut self, text: &str) {
        if let Some(paragraph) = self.open.last_mut() {
            paragraph.push_str(text);
        }
    }
}

fn entity(name: &str) -> Option<char> {
    Some(match name {
        "amp" => '&',
        "apos" => '\'',
        "gt" => '>',
        "lt" => '<',
        "quot" => '"',
        _ => {
            let number = name.strip_prefix('#')?;
            let code = match number.strip_prefix('x') {
                Some(number) => u32::from_str_radix(number, 16),
                None => number.parse(),
            };
            char::from_u32(code.ok()?)?
        }
    })
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Write as _;

    use proptest::prelude::*;

    use super::*;

    /// A DOCX whose body is this, deflated as Word writes it.
    pub(in crate::emulator::envelopes) fn docx(body: &str) -> Vec<u8> {
        let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
        let deflated =
            zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Deflated);
        let xml = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"yes\"?>\n<w:document xmlns:w=\"http://schemas.openxmlformats.org/wordprocessingml/2006/main\"><w:body>{body}</w:body></w:document>"
        );
        for (name, text) in [("[Content_Types].xml", "<Types/>"), ("word/document.xml", xml.as_str())] {
            zip.start_file(name, deflated).unwrap();
            zip.write_all(text.as_bytes()).unwrap();
        }
        zip.finish().unwrap().into_inner()
    }

    #[test]
    fn a_paragraph_is_a_line_of_its_joined_runs() {
        let body = r#"<w:p w:rsidR="1>0"><w:pPr><w:tabs><w:tab w:val="left"/></w:tabs></w:pPr>
            <w:r><w:t xml:space="preserve">Sign: </w:t></w:r><w:r><w:rPr><w:b/></w:rPr><w:t>/s</w:t></w:r><w:r><w:t>n1/</w:t></w:r></w:p>
            <w:p/><w:tbl><w:tr><w:tc><w:p><w:r><w:t>One &amp; &#x41;&#66;</w:t></w:r></w:p></w:tc><w:tc><w:p><w:r><w:t>Two</w:t><w:tab/><w:t>&lt;3&gt;</w:t></w:r></w:p></w:tc></w:tr></w:tbl>
            <w:p><w:r><w:t>a</w:t><w:br/><w:t><![CDATA[b & c]]></w:t><!-- <w:t>no</w:t> --><w:delText>gone</w:delText></w:r></w:p>"#;
        assert_eq!(text_of(&docx(body)).unwrap(), "Sign: /sn1/\n\nOne & AB\nTwo <3>\na\nb & c\n");
    }

    #[test]
    fn a_text_box_does_not_cut_the_paragraph_around_it() {
        let boxed = "<w:txbxContent><w:p><w:r><w:t>boxed</w:t></w:r></w:p></w:txbxContent>";
        let body = format!(
            "<w:p><w:r><w:t>/s</w:t></w:r><w:r><mc:AlternateContent><mc:Choice>{boxed}</mc:Choice><mc:Fallback>{boxed}</mc:Fallback></mc:AlternateContent></w:r><w:r><w:t>n1/</w:t></w:r></w:p>"
        );
        assert_eq!(text_of(&docx(&body)).unwrap(), "boxed\n/sn1/\n");
    }

    #[test]
    fn what_is_no_docx_is_refused() {
        let whole = docx("<w:p><w:r><w:t>x</w:t></w:r></w:p>");
        for cut in (0..whole.len()).step_by(7) {
            assert_eq!(text_of(&whole[..cut]), Err(UNREADABLE), "{cut}");
        }
        let mut spoiled = whole.clone();
        let at = whole.windows(17).rposition(|name| name == b"word/document.xml").unwrap();
        spoiled[at] = b'W';
        assert_eq!(text_of(&spoiled), Err(UNREADABLE));
        for xml in
            ["", "<w:body>", "<w:body/><w:p>", "<w:body/><w:p", "<w:body/><!-- ", "<w:body/><w:p><w:t>&x;"]
        {
            let is_body = xml == "<w:body>";
            assert_eq!(paragraphs(xml), is_body.then(String::new), "{xml}");
        }
    }

    #[test]
    fn what_swells_beyond_measure_is_refused() {
        let size = usize::try_from(MAX_XML_BYTES).unwrap();
        assert_eq!(text_of(&docx(&" ".repeat(size))), Err("It is too large when it is unpacked."));
    }

    proptest! {
        #[test]
        fn no_xml_panics(noise in prop::collection::vec(prop::sample::select(vec!["<w:p>", "</w:p>", "<w:p/>", "<w:t>", "</w:t>", "<w:body>", "<w:pPr>", "</w:pPr>", "<mc:Fallback>", "</mc:Fallback>", "<", ">", "&", "&#x;", "&amp;", ";", "\"", "'", "/", "<!--", "<![CDATA[", "]]>", "<?", "é", "a"]), 0..40)) {
            let xml = noise.concat();
            if let Some(text) = paragraphs(&xml) {
                prop_assert!(text.len() <= xml.len());
            }
        }
    }
}
