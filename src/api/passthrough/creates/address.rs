//! The value of a name that sends a recipient's browser somewhere, read as the body passes.
//!
//! Only what every reader takes alike is read: a text of JSON, or `null`. All else is no address that anybody may be sent to.

use crate::domain::draft::MAX_RETURN_URL;

/// The most that an address takes in JSON, with its quotes: all of it may be escapes (`\u0068`).
const LONGEST: usize = 6 * MAX_RETURN_URL + 2;
/// With this in the place of a URL, DocuSign's e-mail leads into the signing at DocuSign itself (signer in the vendor's file).
const AT_DOCUSIGN: &str = "SIGN_AT_DOCUSIGN";
/// A value that says nothing.
const NOTHING: &[u8] = b"null";

/// The value so far, from behind the colon on.
#[derive(Debug)]
pub(super) struct Value {
    /// Whose value it is.
    pub(super) field: &'static str,
    /// As it stands there, with its quotes.
    text: Vec<u8>,
    is_escaped: bool,
}

/// What a byte has made of a value.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// More is to come.
    Begun,
    /// It has ended, and sends nobody to another place than DocuSign.
    Nowhere,
    /// It has ended, and sends the recipient to this address.
    To(String),
    /// Readers may disagree about where it sends the recipient.
    Unclear,
}

impl Value {
    pub(super) const fn of(field: &'static str) -> Self {
        Self { field, text: Vec::new(), is_escaped: false }
    }

    /// Takes its next byte. None comes behind its end.
    pub(super) fn take(&mut self, byte: u8) -> Read {
        let Some(first) = self.text.first().copied() else { return self.begin(byte) };
        if self.text.len() == LONGEST {
            return Read::Unclear;
        }
        self.text.push(byte);
        if first != b'"' {
            return match NOTHING.strip_prefix(self.text.as_slice()) {
                Some([]) => Read::Nowhere,
                Some(_) => Read::Begun,
                None => Read::Unclear,
            };
        }
        match byte {
            _ if self.is_escaped => self.is_escaped = false,
            b'\\' => self.is_escaped = true,
            b'"' => return self.end(),
            _ => {}
        }
        Read::Begun
    }

    fn begin(&mut self, byte: u8) -> Read {
        match byte {
            b' ' | b'\t' | b'\n' | b'\r' => Read::Begun,
            b'"' | b'n' => {
                self.text.push(byte);
                Read::Begun
            }
            _ => Read::Unclear,
        }
    }

    fn end(&self) -> Read {
        match serde_json::from_slice::<String>(&self.text) {
            Ok(text) if text.is_empty() || text == AT_DOCUSIGN => Read::Nowhere,
            Ok(text) => Read::To(text),
            Err(_) => Read::Unclear,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What becomes of a value, and how much of the text it is.
    fn read(text: &str) -> (Read, usize) {
        let mut value = Value::of("x");
        let mut all = text.bytes().map(|byte| value.take(byte)).enumerate();
        let end = all.find(|(_, read)| *read != Read::Begun);
        end.map_or((Read::Begun, text.len()), |(at, read)| (read, at + 1))
    }

    #[test]
    fn l6_a_value_is_read_to_its_end_or_is_unclear() {
        let to = |url: &str| Read::To(url.to_owned());
        for (text, expected, rest) in [
            (r#" "https://a.example/", "b""#, to("https://a.example/"), r#", "b""#),
            ("\r\n\t\"https:\\/\\/a.example\"}", to("https://a.example"), "}"),
            (r#""\u0068ttps://a.example/\"\\""#, to("https://a.example/\"\\"), ""),
            (r#""SIGN_AT_DOCUSIGN"}"#, Read::Nowhere, "}"),
            (r#""sign_at_docusign"}"#, to("sign_at_docusign"), "}"),
            (r#""","#, Read::Nowhere, ","),
            ("null,", Read::Nowhere, ","),
        ] {
            assert_eq!(read(text), (expected, text.len() - rest.len()), "{text}");
        }
        for unclear in [
            "'https://a.example'",
            "https://a.example",
            "/* */ \"https://a.example\"",
            "\u{a0}\"https://a.example\"",
            "\0\"\0h",
            "[\"https://a.example\"]",
            "nil",
            "\"https://a.example\n\"",
            "\"https://a.example\\'\"",
            "\"\\ud800\"",
        ] {
            assert_eq!(read(unclear).0, Read::Unclear, "{unclear}");
        }
        assert_eq!(read(r#"  "https://a.example\""#).0, Read::Begun);
        let url = "\\u0061".repeat(MAX_RETURN_URL);
        assert_eq!(read(&format!("\"{url}\"")).0, to(&"a".repeat(MAX_RETURN_URL)));
        assert_eq!(read(&format!("\"{url}a\"")).0, Read::Unclear);
    }
}
