//! Keys as text: the block that is looked for, what it is if it is not ours, and the bytes in it.
//!
//! It knows nothing of numbers. The text and the bytes of a key are wiped here, too.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use zeroize::Zeroizing;

use super::Defect;

/// Which of the two PEM forms was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Label {
    /// `RSA PRIVATE KEY`, as DocuSign generates.
    Pkcs1,
    /// `PRIVATE KEY`.
    Pkcs8,
}

impl Label {
    /// The words of the PEM frame.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pkcs1 => "RSA PRIVATE KEY",
            Self::Pkcs8 => "PRIVATE KEY",
        }
    }
}

/// Finds the PEM block, says what it is if it is not ours, and decodes it.
pub(super) fn decode(text: &str) -> Result<(Label, Zeroizing<Vec<u8>>), Defect> {
    let text = with_line_ends(text);
    if text.trim().is_empty() {
        return Err(Defect::Empty);
    }
    if text.trim_start().starts_with("ssh-") {
        return Err(Defect::PublicKey);
    }
    // An EC key may come with its parameters in a block of their own before it.
    let begin = text.find("-----BEGIN ").ok_or(Defect::NoPem)?;
    let (words, rest) = text[begin + 11..].split_once("-----").ok_or(Defect::Truncated)?;
    let label = match words.trim() {
        "RSA PRIVATE KEY" => Label::Pkcs1,
        "PRIVATE KEY" => Label::Pkcs8,
        "ENCRYPTED PRIVATE KEY" => return Err(Defect::Encrypted),
        "PUBLIC KEY" | "RSA PUBLIC KEY" | "SSH2 PUBLIC KEY" => return Err(Defect::PublicKey),
        "CERTIFICATE" | "TRUSTED CERTIFICATE" | "X509 CERTIFICATE" => return Err(Defect::Certificate),
        "EC PRIVATE KEY" | "EC PARAMETERS" | "DSA PRIVATE KEY" => return Err(Defect::NotRsa),
        "OPENSSH PRIVATE KEY" => return Err(Defect::OpenSsh),
        _ => return Err(Defect::OtherLabel),
    };
    let (body, _) = rest.split_once(&format!("-----END {}-----", label.as_str())).ok_or(Defect::Truncated)?;
    if body.contains("ENCRYPTED") {
        return Err(Defect::Encrypted);
    }
    let mut base64 = Zeroizing::new(String::with_capacity(body.len()));
    base64.extend(body.chars().filter(|c| !c.is_whitespace()));
    let mut der = Zeroizing::new(vec![0; base64.len()]);
    let length = STANDARD.decode_slice(base64.as_bytes(), &mut der).map_err(|_| Defect::Truncated)?;
    der.truncate(length);
    if der_length(&der) == Some(der.len()) { Ok((label, der)) } else { Err(Defect::Truncated) }
}

/// The text with line ends where they are typed as two characters. Reserved whole, and made in one step: neither a
/// buffer that grew nor a text in between is left for nobody to wipe.
fn with_line_ends(text: &str) -> Zeroizing<String> {
    let mut whole = Zeroizing::new(String::with_capacity(text.len()));
    for (number, line) in text.split("\\n").enumerate() {
        if number > 0 {
            whole.push('\n');
        }
        whole.extend(line.split("\\r"));
    }
    whole
}

/// How long the outermost DER sequence says it is, header included.
fn der_length(der: &[u8]) -> Option<usize> {
    let (&[0x30, first], rest) = der.split_first_chunk()? else { return None };
    if first < 0x80 {
        return Some(2 + usize::from(first));
    }
    let count = usize::from(first & 0x7f);
    let bytes = rest.get(..count).filter(|_| (1..=3).contains(&count))?;
    Some(2 + count + bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)))
}

/// DER as PEM under this label.
pub(super) fn encode(label: &str, der: &[u8]) -> Zeroizing<String> {
    let body = Zeroizing::new(STANDARD.encode(der));
    let mut text = Zeroizing::new(String::with_capacity(body.len() + body.len() / 64 + 80));
    text.extend(["-----BEGIN ", label, "-----\n"]);
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, more) = rest.split_at(rest.len().min(64));
        text.push_str(line);
        text.push('\n');
        rest = more;
    }
    text.extend(["-----END ", label, "-----\n"]);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_ends_are_put_into_a_text_that_never_grows() {
        for (typed, read) in [
            ("", ""),
            ("a\nb", "a\nb"),
            ("a\\nb\\n", "a\nb\n"),
            ("a\\r\\nb", "a\nb"),
            ("\\n\\nin the end", "\n\nin the end"),
        ] {
            let text = with_line_ends(typed);
            assert_eq!((text.as_str(), text.capacity()), (read, typed.len()));
        }
    }
}
