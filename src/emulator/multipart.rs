//! DocuSign's multipart form of an envelope: one JSON part, then the bytes of each document.
//!
//! `Content-Type: multipart/form-data; boundary=…`; the first part is `application/json`, each
//! further one carries `Content-Disposition: file; filename="NDA.pdf"; documentid=1`, values quoted
//! or bare (how-to/send-binary, read 2026); a quote that never closes belongs to nothing, as in the vendor's C# sample
//! eg010. Input is hostile until parsed: parts and header sizes
//! are bounded, nothing is copied but the header lines, and what does not fit is an error, never
//! a guess.

use std::{collections::HashMap, ops::Range};

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use bytes::Bytes;

/// One part: its bytes stay in the request body, by range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::emulator) struct Part {
    /// The media type in lower case, without parameters; empty when there is none.
    pub media_type: String,
    /// The parameters of `Content-Disposition`, names in lower case.
    pub parameters: HashMap<String, String>,
    /// Whether the content is base64, by its `Content-Transfer-Encoding`, or a parameter of that kind.
    is_base64: bool,
    /// Where the content is in the body.
    pub content: Range<usize>,
}

impl Part {
    /// The content out of the body; none if it says that it is base64 and is not.
    pub(in crate::emulator) fn decoded(&self, body: &Bytes) -> Option<Bytes> {
        let bytes = body.slice(self.content.clone());
        if self.is_base64 { from_base64(&bytes).map(Bytes::from) } else { Some(bytes) }
    }
}

/// Why a body is not multipart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(in crate::emulator) enum Malformed {
    /// No boundary in the content type, or one that RFC 2046 forbids.
    #[error("the boundary is missing from the content type")]
    Boundary,
    /// The closing boundary never came.
    #[error("the closing boundary is missing")]
    Unterminated,
    /// A part without an empty line after its header, or with a header that is not text.
    #[error("a part has a malformed header")]
    Header,
    /// More parts than an envelope can have.
    #[error("there are too many parts")]
    TooMany,
}

/// An envelope has at most this many documents here; the vendor bounds bytes and pages instead.
const MAX_PARTS: usize = 200;
const MAX_HEADER_BYTES: usize = 8 * 1024;

/// The boundary of a `multipart/form-data` content type; none when it is another type.
pub(in crate::emulator) fn boundary(content_type: &str) -> Option<Result<String, Malformed>> {
    let (kind, rest) = content_type.split_once(';').unwrap_or((content_type, ""));
    if !kind.trim().to_ascii_lowercase().starts_with("multipart/") {
        return None;
    }
    let boundary = parameters(rest).remove("boundary").unwrap_or_default();
    let legal =
        (1..=70).contains(&boundary.len()) && boundary.bytes().all(|byte| (0x20..0x7f).contains(&byte));
    Some(if legal { Ok(boundary) } else { Err(Malformed::Boundary) })
}

/// Splits `body` at `boundary`.
pub(in crate::emulator) fn parts(body: &[u8], boundary: &str) -> Result<Vec<Part>, Malformed> {
    let delimiter = format!("--{boundary}");
    let mut found = Vec::new();
    let (mut start, mut is_last) = next_delimiter(body, 0, &delimiter)
        .map(|hit| (hit.after, hit.is_last))
        .ok_or(Malformed::Unterminated)?;
    while !is_last {
        if found.len() == MAX_PARTS {
            return Err(Malformed::TooMany);
        }
        let hit = next_delimiter(body, start, &delimiter).ok_or(Malformed::Unterminated)?;
        found.push(part(body, start..hit.before)?);
        (start, is_last) = (hit.after, hit.is_last);
    }
    Ok(found)
}

struct Hit {
    before: usize,
    after: usize,
    is_last: bool,
}

/// The next line that is the delimiter; the line break before it belongs to it.
fn next_delimiter(body: &[u8], from: usize, delimiter: &str) -> Option<Hit> {
    let delimiter = delimiter.as_bytes();
    let mut at = from;
    while let Some(offset) = find(body.get(at..)?, delimiter) {
        let start = at + offset;
        let end = start + delimiter.len();
        let begins_line = start == from || body[..start].ends_with(b"\n");
        let rest = &body[end..];
        let is_last = rest.starts_with(b"--");
        let rest_of_line = rest.iter().position(|&byte| byte == b'\n');
        let is_plain = rest_of_line.is_some_and(|n| rest[..n].iter().all(u8::is_ascii_whitespace));
        if begins_line && (is_last || is_plain) {
            let before = line_break_before(body, from, start);
            let after = if is_last { body.len() } else { end + rest_of_line.unwrap_or(0) + 1 };
            return Some(Hit { before, after, is_last });
        }
        at = start + 1;
    }
    None
}

fn line_break_before(body: &[u8], from: usize, start: usize) -> usize {
    let head = &body[from..start];
    let head = head.strip_suffix(b"\n").map_or(head, |head| head.strip_suffix(b"\r").unwrap_or(head));
    from + head.len()
}

fn part(body: &[u8], range: Range<usize>) -> Result<Part, Malformed> {
    let bytes = &body[range.clone()];
    let window = &bytes[..bytes.len().min(MAX_HEADER_BYTES)];
    let (header, skip) = split_header(window).ok_or(Malformed::Header)?;
    let header = std::str::from_utf8(header).map_err(|_| Malformed::Header)?;
    let mut part = Part {
        media_type: String::new(),
        parameters: HashMap::new(),
        is_base64: false,
        content: range.start + skip..range.end,
    };
    for line in header.lines().filter(|line| !line.trim().is_empty()) {
        let (name, value) = line.split_once(':').ok_or(Malformed::Header)?;
        match name.trim().to_ascii_lowercase().as_str() {
            "content-type" => {
                let kind = value.split(';').next().unwrap_or_default();
                part.media_type = kind.trim().to_ascii_lowercase();
            }
            "content-disposition" => {
                part.parameters = parameters(value.split_once(';').map_or("", |(_, rest)| rest));
            }
            "content-transfer-encoding" => part.is_base64 = is_base64(value),
            _ => {}
        }
    }
    part.is_base64 |= part.parameters.get("transfer-encoding").is_some_and(|encoding| is_base64(encoding));
    Ok(part)
}

fn is_base64(encoding: &str) -> bool {
    encoding.trim().eq_ignore_ascii_case("base64")
}

/// Base64 with or without padding, line breaks ignored; none if it is something else.
pub(in crate::emulator) fn from_base64(encoded: &[u8]) -> Option<Vec<u8>> {
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let dense: Vec<u8> = encoded.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    GeneralPurpose::new(&alphabet::STANDARD, config).decode(dense).ok()
}

/// The header and how many bytes it takes with the empty line after it.
fn split_header(bytes: &[u8]) -> Option<(&[u8], usize)> {
    if let Some(skip) = [&b"\r\n"[..], b"\n"].iter().find(|empty| bytes.starts_with(empty)).map(|e| e.len()) {
        return Some((&[], skip));
    }
    let crlf = find(bytes, b"\r\n\r\n").map(|at| (at, at + 4));
    let lf = find(bytes, b"\n\n").map(|at| (at, at + 2));
    let (end, skip) = match (crlf, lf) {
        (Some(a), Some(b)) => a.min(b),
        (a, b) => a.or(b)?,
    };
    Some((&bytes[..end], skip))
}

/// `a=1; b="two; and more"`, as far as it can be understood.
fn parameters(text: &str) -> HashMap<String, String> {
    let mut found = HashMap::new();
    let mut rest = text;
    while let Some((name, value)) = rest.split_once('=') {
        let name = name.trim_matches([' ', ';', '\t']).to_ascii_lowercase();
        let value = value.trim_start();
        let (value, after) = value.strip_prefix('"').and_then(unquote).unwrap_or_else(|| {
            let (bare, after) = value.split_once(';').unwrap_or((value, ""));
            let bare = bare.trim();
            (bare.strip_prefix('"').unwrap_or(bare).to_owned(), after)
        });
        found.entry(name).or_insert(value);
        rest = after;
    }
    found
}

/// The content up to the closing quote, escapes undone, and what comes after it; none if it never closes.
fn unquote(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            _ => value.push(character),
        }
    }
    None
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BODY: &str = "preamble\r\n--b0\r\nContent-Type: application/json\r\nContent-Disposition: form-data\r\n\r\n{\"a\":1}\r\n--b0\r\nContent-Type: application/pdf\r\nContent-Disposition: file; filename=\"a;\\\"b.pdf\"; documentid=7\r\n\r\n%PDF --b0x\r\n\r\n--b0--\r\n";

    #[test]
    fn the_vendors_form_is_understood() {
        let parts = parts(BODY.as_bytes(), "b0").unwrap();
        assert_eq!(parts.len(), 2);
        assert_eq!(parts[0].media_type, "application/json");
        assert_eq!(&BODY[parts[0].content.clone()], "{\"a\":1}");
        assert_eq!(parts[1].parameters["documentid"], "7");
        assert_eq!(parts[1].parameters["filename"], "a;\"b.pdf");
        assert_eq!(&BODY[parts[1].content.clone()], "%PDF --b0x\r\n");
    }

    #[test]
    fn a_part_that_says_it_is_base64_is_decoded() {
        let body = "--b\nContent-Transfer-Encoding: BASE64\n\neA\r\n==\n--b\n\
                    Content-Disposition: file; documentid=1; transfer-encoding=base64\n\neA\n--b\n\
                    Content-Transfer-Encoding: binary\n\neA==\n--b\nContent-Transfer-Encoding: base64\n\n?\n--b--";
        let body = Bytes::from(body);
        let decoded = parts(&body, "b").unwrap().iter().map(|part| part.decoded(&body)).collect::<Vec<_>>();
        let expected = [Some("x"), Some("x"), Some("eA=="), None];
        assert_eq!(decoded, expected.map(|content| content.map(Bytes::from)));
    }

    #[test]
    fn a_quote_that_never_closes_is_passed_over() {
        // As the vendor's C# sample eg010 sends it.
        let body = "--b\n\n{}\n--b\nContent-Disposition: file; filename=\"Order acknowledgement;documentid=1\n\nx\n--b--";
        let parameters = parts(body.as_bytes(), "b").unwrap()[1].parameters.clone();
        assert_eq!(parameters["filename"], "Order acknowledgement");
        assert_eq!(parameters["documentid"], "1");
    }

    #[test]
    fn the_boundary_may_be_quoted_and_must_be_there() {
        assert_eq!(boundary("multipart/form-data; boundary=\"a b\""), Some(Ok("a b".to_owned())));
        assert_eq!(boundary("Multipart/Form-Data;boundary=x; charset=utf-8"), Some(Ok("x".to_owned())));
        assert_eq!(boundary("multipart/form-data"), Some(Err(Malformed::Boundary)));
        assert_eq!(boundary("application/json"), None);
    }

    #[test]
    fn what_is_cut_off_is_refused() {
        assert_eq!(parts(&BODY.as_bytes()[..60], "b0"), Err(Malformed::Unterminated));
        assert_eq!(parts(b"--b0\r\nno header end\r\n--b0--", "b0"), Err(Malformed::Header));
        assert_eq!(parts(b"", "b0"), Err(Malformed::Unterminated));
    }

    #[test]
    fn parts_are_bounded() {
        let many = "--b\n\nx\n".repeat(MAX_PARTS + 2) + "--b--";
        assert_eq!(parts(many.as_bytes(), "b"), Err(Malformed::TooMany));
    }

    proptest! {
        #[test]
        fn no_body_panics(noise in prop::collection::vec(prop::sample::select(vec!["--b", "--", "\r\n", "\n", ":", ";", "\"", "\\", "=", "x", "Content-Disposition: file; documentid=1", "é"]), 0..40)) {
            let body = noise.concat();
            if let Ok(parts) = parts(body.as_bytes(), "b") {
                for part in parts {
                    prop_assert!(part.content.start <= part.content.end && part.content.end <= body.len());
                }
            }
        }
    }
}
