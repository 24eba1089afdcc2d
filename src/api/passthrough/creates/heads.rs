//! The heads of the parts of a multipart body, read as the body passes: what stands in a part, and whether it stands there
//! as it is.

use http::{HeaderMap, header};

use super::Banned;

/// What is kept of a line of a part's head.
pub(super) const LINE_BYTES: usize = 1024;
/// How a part says that it stands there as it is.
const AS_IT_IS: [&str; 3] = ["7bit", "8bit", "binary"];
/// A parameter that is empty.
const EMPTY: &str = "\"\"";

/// Reads the heads of the parts of a multipart body. Every line that begins with its boundary, in any case and whatever
/// follows, may begin one, and none may stand within one: to a reader who saw no head begin before it, it begins the
/// first, and what we took for one head is two.
#[derive(Debug)]
pub(super) struct Heads {
    /// With the two dashes in front of it, in lower case.
    boundary: String,
    /// The line so far.
    line: Line,
    /// Within a head; none outside.
    head: Option<Head>,
    /// Behind the head of a document's part, up to the next head.
    in_document: bool,
}

/// A line as it comes.
#[derive(Debug, Default)]
struct Line {
    /// What is kept of it, in lower case and without carriage returns.
    kept: Vec<u8>,
    /// Whether there was more of it than is kept.
    is_cut: bool,
    /// Whether the last byte was a carriage return, which is no part of the line if that ends now.
    is_ending: bool,
    /// Whether a carriage return stands within it, where it ends the line for some readers.
    is_two: bool,
}

/// What a head has said.
#[derive(Debug, Default)]
struct Head {
    /// The part does not stand there as it is, or who knows.
    is_encoded: bool,
    /// Readers may differ about where it ends (with a line feed alone, for some) or what it says, or its part has parts.
    is_unclear: bool,
    /// What its types say, the strictest of them; none if it has none.
    kind: Option<Kind>,
    /// Whether it is a numbered document by all its dispositions, and by no type JSON; none if nothing says so.
    is_file: Option<bool>,
}

/// What the type of a part says, the strictest last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// Of another type than those in which an envelope may be described.
    Document,
    Json,
    /// XML says in itself how it is encoded, and spells its letters in many ways.
    Xml,
}

impl Heads {
    /// For a body of this type, if it is multipart and every reader sees the same boundary.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut all = headers.get_all(header::CONTENT_TYPE).iter();
        let (Some(only), None) = (all.next(), all.next()) else { return None };
        let text = only.to_str().ok()?.trim_start().to_ascii_lowercase();
        let (_, rest) = text.strip_prefix("multipart/")?.split_once("boundary")?;
        let value = rest.trim_start().strip_prefix('=')?.trim_start();
        let boundary = match value.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?.0,
            None => value.split([';', ' ', '\t']).next()?,
        };
        let is_plain = (1..=70).contains(&boundary.len()) && !boundary.contains(['\\', '"']);
        // A second one may be what another reader takes.
        let is_only = rest.matches("boundary").count() == boundary.matches("boundary").count();
        (is_plain && is_only).then(|| Self {
            boundary: format!("--{boundary}"),
            line: Line::default(),
            head: None,
            in_document: false,
        })
    }

    /// Whether an envelope may be described where the next byte stands: anywhere but in a document.
    pub(super) const fn may_describe(&self) -> bool {
        !self.in_document
    }

    pub(super) fn take(&mut self, byte: u8) -> Result<(), Banned> {
        if byte == b'\n' {
            let result = self.end_line();
            self.line.clear();
            return result;
        }
        self.line.take(byte);
        // The next line begins behind it, for some readers.
        if byte == b'\r' && self.head.is_none() && !self.at_boundary() {
            self.line.clear();
        }
        Ok(())
    }

    fn at_boundary(&self) -> bool {
        self.line.kept.starts_with(self.boundary.as_bytes())
    }

    fn end_line(&mut self) -> Result<(), Banned> {
        let at_boundary = self.at_boundary();
        match (&mut self.head, at_boundary) {
            (None, false) => {}
            (Some(_), true) => return Err(Banned::Hidden),
            _ if self.line.is_two => return Err(Banned::Hidden),
            (None, true) => {
                self.in_document = false;
                self.head = Some(Head { is_unclear: !self.line.is_ending, ..Head::default() });
            }
            (Some(head), false) => {
                head.is_unclear |= !self.line.is_ending;
                if !self.line.kept.is_empty() {
                    head.read(&String::from_utf8_lossy(&self.line.kept), self.line.is_cut);
                    return Ok(());
                }
                head.check()?;
                self.in_document = !head.may_describe();
                self.head = None;
            }
        }
        Ok(())
    }
}

impl Line {
    fn take(&mut self, byte: u8) {
        self.is_two |= self.is_ending;
        self.is_ending = byte == b'\r';
        if self.is_ending {
            return;
        }
        if self.kept.len() < LINE_BYTES {
            self.kept.push(byte.to_ascii_lowercase());
        } else {
            self.is_cut = true;
        }
    }

    /// For the next one, with the room of this one.
    fn clear(&mut self) {
        self.kept.clear();
        (self.is_cut, self.is_ending, self.is_two) = (false, false, false);
    }
}

impl Head {
    /// Whether an envelope may be described in its part, or who knows.
    fn may_describe(&self) -> bool {
        match self.kind {
            Some(Kind::Document) => false,
            Some(Kind::Xml) => self.is_file != Some(true),
            // Without a type: a reader may take the first part for the description, whatever its disposition.
            Some(Kind::Json) | None => true,
        }
    }

    /// At its end: whether its part can be looked through.
    fn check(&self) -> Result<(), Banned> {
        if self.is_unclear || (self.is_encoded && self.may_describe()) {
            return Err(Banned::Hidden);
        }
        if self.kind == Some(Kind::Xml) && self.may_describe() { Err(Banned::Xml) } else { Ok(()) }
    }

    fn read(&mut self, line: &str, is_cut: bool) {
        // A parameter says it too.
        self.is_encoded |= is_cut || line.contains("base64");
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let (bare, value) = (name.trim(), value.trim());
        // It goes on from the line before, or is one of its own to some readers.
        if line.starts_with([' ', '\t']) {
            self.is_encoded = true;
            self.is_unclear |= bare.starts_with("content-");
            return;
        }
        // A blank is in front of its colon: it is no such line to some readers.
        let is_exact = name == bare;
        match bare {
            "content-transfer-encoding" => self.is_encoded |= !AS_IT_IS.contains(&value),
            "content-type" => self.read_type(value, is_exact),
            "content-disposition" => {
                let is_file = is_exact && !is_cut && is_file(value);
                self.is_file = Some(self.is_file != Some(false) && is_file);
            }
            _ => {}
        }
    }

    fn read_type(&mut self, value: &str, is_exact: bool) {
        let kind = value.split(';').next().unwrap_or_default();
        // In words, since a reader may take a type out of what is none (`application/json, text/plain`).
        let has = |word: &str| kind.split(|c: char| !c.is_ascii_alphanumeric()).any(|other| other == word);
        // What is in the parts of a part is not looked at.
        self.is_unclear |= has("multipart") || has("message");
        if has("json") {
            self.is_file = Some(false);
        }
        let kind = if has("xml") {
            Kind::Xml
        } else if has("json") {
            Kind::Json
        } else if kind.trim().is_empty() || !is_exact {
            return;
        } else {
            Kind::Document
        };
        if kind != Kind::Document {
            self.is_encoded |= !value.split("charset").skip(1).all(is_utf8);
        }
        self.kind = self.kind.max(Some(kind));
    }
}

/// Whether this disposition is that of a document with its number (`file; filename="a.html"; documentid=1`).
fn is_file(disposition: &str) -> bool {
    // What stands in quotes says nothing but whether it is empty, and a backslash or an odd quote makes it unclear where
    // they end.
    let quoted = |text: &str| if text.trim().is_empty() { EMPTY } else { "\"_\"" };
    let pieces = disposition.split('"').enumerate();
    let bare: String = pieces.map(|(at, text)| if at % 2 == 1 { quoted(text) } else { text }).collect();
    let is_unclear = disposition.contains('\\') || disposition.matches('"').count() % 2 == 1;
    let mut words = bare.split(';').map(str::trim);
    let is_number = |word: &str| word.strip_prefix("documentid=").is_some_and(|id| !matches!(id, "" | EMPTY));
    !is_unclear && words.next() == Some("file") && words.any(is_number)
}

/// Whether this is UTF-8, in what follows the word `charset`.
fn is_utf8(rest: &str) -> bool {
    let set: String = rest.chars().filter(|c| !matches!(c, '=' | '"' | ' ')).collect();
    ["utf-8", "utf8"].contains(&set.split(';').next().unwrap_or_default())
}
