//! The heads of the parts of a multipart body, read as the body passes: what stands in a part, and whether it stands there
//! as it is.

use http::{HeaderMap, header};

use super::Banned;

/// What is kept of a line of a part's head.
pub(super) const LINE_BYTES: usize = 256;
/// How a part says that it stands there as it is.
const AS_IT_IS: [&str; 3] = ["7bit", "8bit", "binary"];
/// Types in which an envelope may be described.
const JSON: [&str; 2] = ["application/json", "text/json"];
const XML: [&str; 2] = ["application/xml", "text/xml"];

/// Reads the heads of the parts of a multipart body. Every line that begins with its boundary, in any case, may begin
/// one.
#[derive(Debug)]
pub(super) struct Heads {
    /// With the two dashes in front of it, in lower case.
    boundary: String,
    /// The line so far, in lower case.
    line: Vec<u8>,
    /// Whether there was more of it than is kept.
    is_cut: bool,
    /// Within a head; none outside.
    head: Option<Head>,
    /// Behind the head of a document's part, up to the next head.
    in_document: bool,
}

/// What a head has said.
#[derive(Debug, Default)]
struct Head {
    /// The part does not stand there as it is, or who knows.
    is_encoded: bool,
    /// What its types say, the strictest of them; none if it has none.
    kind: Option<Kind>,
    /// Whether it is a numbered document by all its dispositions; none if it has none.
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
            line: Vec::new(),
            is_cut: false,
            head: None,
            in_document: false,
        })
    }

    /// Whether an envelope may be described where the next byte stands: anywhere but in a document.
    pub(super) const fn may_describe(&self) -> bool {
        !self.in_document
    }

    pub(super) fn take(&mut self, byte: u8) -> Result<(), Banned> {
        if byte != b'\n' {
            if self.line.len() < LINE_BYTES {
                self.line.push(byte.to_ascii_lowercase());
            } else {
                self.is_cut = true;
            }
            return Ok(());
        }
        let result = self.end_line();
        self.line.clear();
        self.is_cut = false;
        result
    }

    fn end_line(&mut self) -> Result<(), Banned> {
        let line = self.line.strip_suffix(b"\r").unwrap_or(&self.line);
        let Some(head) = &mut self.head else {
            if line.starts_with(self.boundary.as_bytes()) {
                self.head = Some(Head::default());
                self.in_document = false;
            }
            return Ok(());
        };
        if !line.is_empty() {
            head.read(&String::from_utf8_lossy(line), self.is_cut);
            return Ok(());
        }
        let result = head.check();
        self.in_document = !head.may_describe();
        self.head = None;
        result
    }
}

impl Head {
    /// Whether an envelope may be described in its part, or who knows.
    fn may_describe(&self) -> bool {
        self.kind != Some(Kind::Document)
    }

    /// At its end: whether its part can be looked through.
    fn check(&self) -> Result<(), Banned> {
        if self.is_encoded && self.may_describe() {
            return Err(Banned::Hidden);
        }
        if self.kind == Some(Kind::Xml) && self.is_file != Some(true) { Err(Banned::Xml) } else { Ok(()) }
    }

    fn read(&mut self, line: &str, is_cut: bool) {
        // It goes on from the line before, or is two lines to some readers.
        if line.starts_with([' ', '\t']) || line.contains('\r') {
            self.is_encoded = true;
            return;
        }
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.trim();
        match name.trim() {
            "content-transfer-encoding" => self.is_encoded |= !AS_IT_IS.contains(&value),
            "content-type" => {
                let kind = match value.split(';').next().unwrap_or_default().trim() {
                    "" => return,
                    xml if XML.contains(&xml) || xml.ends_with("+xml") => Kind::Xml,
                    json if JSON.contains(&json) || json.ends_with("+json") => Kind::Json,
                    // It is no such line to some readers: a blank is in front of its colon.
                    _ if name != name.trim() => return,
                    _ => Kind::Document,
                };
                if kind != Kind::Document {
                    self.is_encoded |= is_cut || !value.split("charset").skip(1).all(is_utf8);
                }
                self.kind = self.kind.max(Some(kind));
            }
            "content-disposition" => {
                let is_file = name == name.trim() && is_file(value);
                self.is_file = Some(self.is_file != Some(false) && is_file);
                self.is_encoded |= value.contains("base64");
            }
            // A parameter says it too.
            _ => self.is_encoded |= value.contains("base64"),
        }
    }
}

/// Whether this disposition is that of a document with its number (`file; filename="a.html"; documentid=1`).
fn is_file(disposition: &str) -> bool {
    // What stands in quotes says nothing, and a backslash makes it unclear where they end.
    let bare: String = disposition.split('"').step_by(2).collect();
    let mut words = bare.split(';').map(str::trim);
    let is_number = |word: &str| word.strip_prefix("documentid=").is_some_and(|id| !id.is_empty());
    !disposition.contains('\\') && words.next() == Some("file") && words.any(is_number)
}

/// Whether this is UTF-8, in what follows the word `charset`.
fn is_utf8(rest: &str) -> bool {
    let set: String = rest.chars().filter(|c| !matches!(c, '=' | '"' | ' ')).collect();
    ["utf-8", "utf8"].contains(&set.split(';').next().unwrap_or_default())
}
