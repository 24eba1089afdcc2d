//! What the body of a passed `POST envelopes` must not say:
//!
//! - `envelopeId`: the new envelope is a copy of that one, with its documents and its recipients. It may be another
//!   caller's signing, whose envelope nobody else reaches on any path.
//! - `recipientViewRequest`: the answer holds a recipient view, whose addresses nobody has looked at (rule L6).
//! - `embeddedRecipientStartURL` with an address to which the caller may send nobody (rule L6): the link in DocuSign's
//!   e-mail to an embedded recipient leads there, by way of DocuSign, and would be as open a redirect as a return URL.
//!   `SIGN_AT_DOCUSIGN` in its place is no address. The same of `emailRecipientPostSigningURL`, to which the recipient of an
//!   e-mail is sent after signing, as far as its name tells: the vendor's file (read in mid 2026) has no word about it. The
//!   words of an e-mail (`emailBlurb`) and what a template has of its own are not held to anything.
//!
//! Such a body has documents in it, and large ones stream: it is not parsed, but looked through as it passes, at any
//! split, in a state of a kilobyte or two and one address. What is looked for are the names, wherever they stand and
//! whatever else the body is: as names of JSON (with escapes, in any case, in either quotes or none, as the vendor's reader
//! takes them) and as tags of XML. So it finds more than a reader would, such as a document of plain text that holds
//! `"envelopeId":`, or any text with `, envelopeId:` in it, and nothing less. What would hide a name from it is refused:
//!
//! - another type than JSON in UTF-8 and multipart, and a part that is encoded and is not said to be a document;
//! - a part with parts of its own, and a head that is not the same to all readers: with a boundary in it, or a line that
//!   does not end in CRLF;
//! - a part of a type of XML that is no numbered document: it says in itself how it is encoded, and `&#101;` is a letter in
//!   it. Tags are looked for all the same, since a part without a type may be XML to some reader;
//! - a zero byte anywhere but in a document. UTF-16 and UTF-32, which some readers know by the byte order mark alone, have
//!   one beside each letter of a name, and blanks whose bytes look like letters (U+3000 holds a `0`); JSON in UTF-8 has none;
//! - an address that does not stand behind its name as a text of JSON ([`address`]): in other places it could be read
//!   in many ways.

mod address;
mod heads;

use std::{fmt, sync::Arc};

use http::HeaderMap;

use self::{
    address::{Read, Value},
    heads::Heads,
};
use super::views;
#[cfg(any(test, fuzzing))]
use crate::config::Origin;
use crate::{
    api::{Problem, caller::Caller},
    objects::Invalids,
};

/// The longest of [`NAMES`].
const LONGEST: usize = 28;
/// What must not be named, or not with every value, in lower case.
const NAMES: [(&[u8], Banned); 4] = [
    (b"envelopeid", Banned::Copy),
    (b"recipientviewrequest", Banned::View),
    (b"embeddedrecipientstarturl", Banned::Address("embeddedRecipientStartURL")),
    (b"emailrecipientpostsigningurl", Banned::Address("emailRecipientPostSigningURL")),
];

/// What a body must not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Banned {
    /// An address to which the caller may send nobody, by the vendor's name of what sends a recipient there.
    Address(&'static str),
    /// The envelope to copy.
    Copy,
    /// A recipient view.
    View,
    /// A part that cannot be looked through, or who knows where it begins.
    Hidden,
    /// A part of a type of XML that is no document.
    Xml,
    /// A zero byte where an envelope may be described: what is there is no UTF-8, or no JSON.
    Zero,
}

impl From<Banned> for Problem {
    fn from(found: Banned) -> Self {
        match found {
            Banned::Address(field) => {
                let detail = format!(
                    "{field} names an address with an origin that is not among return_origins of this caller, or that is \
                     no plain http(s) URL in a text of JSON (SIGN_AT_DOCUSIGN counts in capitals only; a document that only \
                     mentions the field, with a colon behind it or as a tag, is taken for it, too: send the document in \
                     base64)"
                );
                Invalids::of("", "return_url_refused", detail).into()
            }
            Banned::Copy => {
                let detail = "the body names an envelope to copy (envelopeId), which may be another caller's";
                let fix = "Make the envelope from a template or documents; an envelope is not copied on this way. (Text with \
                     \"envelopeId:\" behind a comma or a quote is taken for that name, too: write it in another way.)";
                Self::new("forbidden", detail).fix(fix)
            }
            Banned::View => {
                let detail = "the body asks for a recipient view with the envelope (recipientViewRequest)";
                let fix = "Make the envelope without it, and then the view (POST …/envelopes/{id}/views/recipient). (A document \
                     that only mentions the field, with a colon behind it or as a tag, is taken for it, too: send the \
                     document in base64.)";
                Self::new("forbidden", detail).fix(fix)
            }
            Banned::Hidden => Self::new(
                "invalid_request",
                "a part of the body is encoded and not of a document's type, or has parts of its own, or readers may differ \
                 about its head (a boundary within it, or a line that does not end in CRLF); send the description of the \
                 envelope as JSON in UTF-8, as it is, and each document with its Content-Type if it is a part of the body",
            ),
            Banned::Xml => Self::new(
                "invalid_request",
                "a part of the body is XML, and no document by its Content-Disposition (file, with a documentid); send the \
                 description of the envelope as JSON in UTF-8",
            ),
            Banned::Zero => Self::new(
                "invalid_request",
                "the body holds a zero byte outside of a document, as UTF-16 does; send the description of the envelope as \
                 JSON in UTF-8, and each document with its Content-Type if it is a part of the body",
            ),
        }
    }
}

/// Looks through a body as it passes.
pub(super) struct Guard {
    names: Names,
    /// Of a multipart body.
    heads: Option<Heads>,
    /// What follows a name that sends a recipient somewhere.
    value: Option<Value>,
    /// Whether its caller may send visitors to an address.
    may_send: Box<dyn Fn(&str) -> bool + Send + Sync>,
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").field("names", &self.names).finish_non_exhaustive()
    }
}

impl Guard {
    /// For a body of this caller's with these headers, if it can be looked through.
    pub(super) fn of(caller: &Arc<Caller>, headers: &HeaderMap) -> Result<Self, Problem> {
        let caller = Arc::clone(caller);
        Self::new(headers, move |url| caller.may_return_to(url))
    }

    fn new(
        headers: &HeaderMap,
        may_send: impl Fn(&str) -> bool + Send + Sync + 'static,
    ) -> Result<Self, Problem> {
        let heads = Heads::of(headers);
        if heads.is_none() && !views::is_json(headers) {
            let detail = "POST envelopes is passed on as application/json in UTF-8 or as multipart with one boundary \
                          of 1 to 70 characters only";
            return Err(Problem::new("invalid_request", detail));
        }
        Ok(Self { names: Names::default(), heads, value: None, may_send: Box::new(may_send) })
    }

    /// Takes the next piece, or says what is in it that must not be. Nothing of that piece may go on then.
    pub(super) fn pass(&mut self, piece: &[u8]) -> Result<(), Banned> {
        for &byte in piece {
            if byte == 0 && self.heads.as_ref().is_none_or(Heads::may_describe) {
                return Err(Banned::Zero);
            }
            self.read(byte)?;
            match self.names.take(byte) {
                // A name of JSON, and not within a value that is being read: its own follows.
                Some(Banned::Address(field)) if byte == b':' && self.value.is_none() => {
                    self.value = Some(Value::of(field));
                }
                Some(found) => return Err(found),
                None => {}
            }
            if let Some(heads) = &mut self.heads {
                heads.take(byte)?;
            }
        }
        Ok(())
    }

    /// Takes the next byte of a value that sends a recipient somewhere, if it stands in one.
    fn read(&mut self, byte: u8) -> Result<(), Banned> {
        let Some(value) = &mut self.value else { return Ok(()) };
        let field = value.field;
        let is_refused = match value.take(byte) {
            Read::Begun => return Ok(()),
            Read::Nowhere => false,
            Read::To(url) => !(views::is_plain(&url) && (self.may_send)(&url)),
            Read::Unclear => true,
        };
        self.value = None;
        if is_refused { Err(Banned::Address(field)) } else { Ok(()) }
    }
}

/// Whether a body with these headers passes, for the fuzzers, of a caller that may send visitors to this origin and no
/// other; none if it is refused unseen.
#[cfg(any(test, fuzzing))]
pub(crate) fn lets_pass<'a>(
    headers: &HeaderMap,
    origin: &Origin,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> Option<bool> {
    let origin = origin.clone();
    let may_send = move |url: &str| {
        // As of a caller's own.
        origin.begins(url) || url::Url::parse(url).is_ok_and(|url| Origin::of(&url) == origin)
    };
    let mut guard = Guard::new(headers, may_send).ok()?;
    Some(pieces.into_iter().all(|piece| guard.pass(piece).is_ok()))
}

/// The letters and digits of a name so far, in lower case.
#[derive(Debug, Clone, Copy, Default)]
struct Letters {
    seen: [u8; LONGEST],
    /// One more than there is room for, if it is longer than all names.
    count: usize,
}

impl Letters {
    /// Case, separators and what cannot be seen are nothing to some readers.
    fn take(&mut self, byte: u8) {
        if byte.is_ascii_alphanumeric() {
            if let Some(place) = self.seen.get_mut(self.count) {
                *place = byte.to_ascii_lowercase();
            }
            self.count = (self.count + 1).min(LONGEST + 1);
        }
    }

    fn found(&self) -> Option<Banned> {
        let seen = self.seen.get(..self.count)?;
        NAMES.iter().find(|(name, _)| *name == seen).map(|(_, found)| *found)
    }
}

/// Where an escape of JSON stands.
#[derive(Debug, Clone, Copy, Default)]
enum Escape {
    /// There is none.
    #[default]
    Outside,
    /// Behind the backslash.
    Begun,
    /// Within the four digits of `\uXXXX`.
    Hex { left: u8, value: u16 },
}

/// Looks for names. It does not know whether it stands in a text or outside of one, so that nothing in front of a name
/// can mislead it: every quote may end a name, and may begin one.
#[derive(Debug, Default)]
struct Names {
    escape: Escape,
    /// Since the last quote of each kind.
    quoted: [Letters; 2],
    /// A name without quotes.
    bare: Letters,
    /// Whether a name without quotes may begin here.
    may_begin: bool,
    /// The tag that began.
    tag: Option<Letters>,
    /// The name that ended, and is one if a colon follows.
    ended: Option<Banned>,
}

impl Names {
    fn take(&mut self, byte: u8) -> Option<Banned> {
        match self.escape {
            Escape::Outside if byte == b'\\' => {
                self.escape = Escape::Begun;
                self.end_bare(false);
                self.tag = None;
                None
            }
            Escape::Outside => self.plain(byte),
            Escape::Begun => {
                self.escape = Escape::Outside;
                match byte {
                    b'u' => {
                        self.escape = Escape::Hex { left: 4, value: 0 };
                        None
                    }
                    b'"' | b'\'' | b'\\' | b'b' | b'f' | b'n' | b'r' | b't' => None,
                    // No escape: outside of JSON a backslash is one.
                    _ => self.plain(byte),
                }
            }
            Escape::Hex { left, value } => {
                let Some(digit) = char::from(byte).to_digit(16).and_then(|digit| u16::try_from(digit).ok())
                else {
                    self.escape = Escape::Outside;
                    return self.plain(byte);
                };
                let value = (value << 4) | digit;
                if left > 1 {
                    self.escape = Escape::Hex { left: left - 1, value };
                } else {
                    self.escape = Escape::Outside;
                    if let Ok(letter) = u8::try_from(value) {
                        self.within_quotes(letter);
                    }
                }
                None
            }
        }
    }

    fn within_quotes(&mut self, byte: u8) {
        for quoted in &mut self.quoted {
            quoted.take(byte);
        }
    }

    fn plain(&mut self, byte: u8) -> Option<Banned> {
        if let Some(found) = self.in_tag(byte) {
            return Some(found);
        }
        match byte {
            b'"' | b'\'' => {
                self.end_bare(false);
                let quoted = &mut self.quoted[usize::from(byte == b'\'')];
                self.ended = std::mem::take(quoted).found();
            }
            // Parts of what is no ASCII: nothing in a name, and maybe a blank behind one.
            0x80..=0xff => {}
            b'\n' | b'\r' => self.blank(true),
            0..=b' ' | 0x7f => self.blank(false),
            b':' => {
                let bare = self.bare.found().filter(|_| self.may_begin);
                let found = bare.or(self.ended);
                self.end_bare(false);
                return found;
            }
            // `/`: behind a comment.
            b'{' | b',' | b'/' => self.end_bare(true),
            _ if byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$') => {
                self.within_quotes(byte);
                self.ended = None;
                self.bare.take(byte);
            }
            _ => self.end_bare(false),
        }
        None
    }

    /// The tag that ends with this byte, if it is one of the names.
    fn in_tag(&mut self, byte: u8) -> Option<Banned> {
        if byte == b'<' {
            self.tag = Some(Letters::default());
            return None;
        }
        let tag = self.tag.as_mut()?;
        match byte {
            // What was in front of it is a prefix.
            b':' => *tag = Letters::default(),
            _ if byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | 0x80..=0xff) => {
                tag.take(byte);
            }
            _ => return self.tag.take()?.found(),
        }
        None
    }

    /// A blank ends a name without quotes, and is nothing between a name and its colon.
    fn blank(&mut self, is_line: bool) {
        if self.bare.count > 0 {
            let ended = self.bare.found().filter(|_| self.may_begin);
            self.end_bare(is_line);
            self.ended = ended;
        } else {
            // Behind a comment.
            self.may_begin |= is_line;
        }
    }

    /// Something stands here that ends every name, and behind which a name without quotes may begin or may not.
    fn end_bare(&mut self, may_begin: bool) {
        self.bare = Letters::default();
        self.may_begin = may_begin;
        self.ended = None;
    }
}

#[cfg(test)]
mod tests;
