//! Every parser that meets the outside, as a function of bytes: what the fuzz targets in `tests/fuzz` run,
//! and what the test below runs again over the inputs that they found worth keeping.
//!
//! Compiled for tests and under `--cfg fuzzing` alone, so that closed parsers stay closed: nothing of this
//! is in the library that others see. A function here may assert what must hold for every input; it never
//! asserts what is true of good input only. How to run the targets is on top of `tests/fuzz/Cargo.toml`.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use jiff::Timestamp;
use url::Url;

use crate::{
    api, auth, config, connect, demo,
    domain::{self, SignerStatus, SigningStatus, sample},
    emulator, esign, events, objects, oidc, pdf, secret_text,
    signing::NonceKey,
};

/// A parser by the name of its target and of its folder in `tests/fuzz/corpus`.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: &[Target] = &[
    ("bearer_token", bearer_token),
    ("connect_body", connect_body),
    ("connect_digest", connect_digest),
    ("create_signing", create_signing),
    ("docx", docx),
    ("link_token", link_token),
    ("multipart", multipart),
    ("passed_create", passed_create),
    ("pdf", pdf),
    ("pem", pem),
    ("settings", settings),
    ("token_answer", token_answer),
    ("vendor_error", vendor_error),
    ("webhook_headers", webhook_headers),
];

/// A caller's token in the first line, and after it what its issuer publishes as keys.
pub fn bearer_token(data: &[u8]) {
    let (token, set) = split_line(data);
    if let Ok(token) = std::str::from_utf8(token) {
        oidc::read_hostile(token, set);
    }
}

/// A settings file. A refusal is one line, whatever the file holds.
pub fn settings(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Err(error) = config::Config::from_toml(text) {
        assert!(!error.to_string().contains('\n'), "one line");
    }
    if let Err(problem) = emulator::read_plan(text) {
        assert!(!problem.is_empty());
    }
}

/// A private key as people paste it.
pub fn pem(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(key) = auth::signing_key::SigningKey::from_pem(text) {
        assert!(key.bits() >= 2_048, "shorter keys are refused");
    }
}

/// What the account server answers: to a grant, and to a question who a token is for.
pub fn token_answer(data: &[u8]) {
    let (status, headers, body) = answer(data);
    if let Ok(granted) = auth::grant::read(status, &headers, body) {
        assert!(!granted.life.is_zero() && granted.life.as_secs() <= 86_400, "rule T8");
    }
    let _ = auth::user_info::read(body);
}

/// What the eSignature API answers when it refuses. No word of it is repeated but its code.
pub fn vendor_error(data: &[u8]) {
    let (status, headers, body) = answer(data);
    let error = esign::read_refusal(status, &headers, Bytes::copy_from_slice(body));
    let said = error.to_string();
    assert!(said.chars().all(|c| !c.is_control()), "a message is one line");
}

/// A Connect message whose digest has matched. Whatever it says, an end never moves back (rule F1).
pub fn connect_body(data: &[u8]) {
    let Ok(message) = connect::Message::parse(data) else { return };
    assert_eq!(message.identity(data), message.identity(data));
    let now = Timestamp::from_second(1_700_000_100).expect("a time");
    for status in [SigningStatus::Open, SigningStatus::Completed, SigningStatus::Voided] {
        let mut record = sample::signing(status, SignerStatus::Ready);
        for fact in message.facts(&record.signers) {
            let _ = record.observe(&fact, now);
        }
        assert!(!status.is_terminal() || record.status == status, "an end never moves back");
    }
}

/// The headers of a delivery. Only the digest that the key makes is believed (rule F3).
pub fn connect_digest(data: &[u8]) {
    let keys = connect::Keys::new(["a key of Connect"]);
    let (_, headers, body) = answer(data);
    let body = Bytes::copy_from_slice(body);
    let ours = keys.sign(&body).expect("there is a key");
    let is_there = headers.values().any(|value| value.as_bytes().trim_ascii() == ours.as_bytes());
    let believed = connect::UnverifiedDelivery::new(&headers, body.clone()).verify(&keys).is_ok();
    assert!(!believed || is_there, "believed without the digest");
    let mut signed = HeaderMap::new();
    signed.insert("x-docusign-signature-1", HeaderValue::try_from(ours).expect("base64"));
    for (name, value) in &headers {
        let _ = signed.try_append(name, value.clone());
    }
    assert!(connect::UnverifiedDelivery::new(&signed, body).verify(&keys).is_ok(), "ours is among them");
}

/// The body of a create, as it comes in and as it is read again. A refusal names at least one place.
pub fn create_signing(data: &[u8]) {
    let of_all = BTreeMap::from([("nda".to_owned(), "3f1c9a52-6f0e-4a3b-8f57-1d2a90c4e001".to_owned())]);
    let templates = domain::TemplateNames::new(of_all, std::collections::HashMap::new());
    let body = Bytes::copy_from_slice(data);
    let again = objects::parse_accepted(&body, &templates);
    match objects::parse_create(&body, &templates) {
        Ok(draft) => {
            assert!(!draft.signers.is_empty() && !draft.documents.is_empty());
            assert!(again.is_ok(), "what is accepted can be read again");
        }
        Err(faults) => assert!(!faults.is_empty(), "a refusal says what is wrong"),
    }
}

/// A document, for both readers: ours and the emulator's.
pub fn pdf(data: &[u8]) {
    let _ = pdf::read(data, &["/sn1/", "\u{df}"]);
    emulator::read_pdf(data);
}

/// A Word document, and the XML that lies in one.
pub fn docx(data: &[u8]) {
    emulator::read_docx(data);
}

/// The only origin to which a passed create may send a recipient.
const HOME: &str = "https://www.example.com";

/// The body of a create that is passed through, behind the headers that it came with. No cut hides what it must not name,
/// and a reader of JSON finds nothing of that in a body that passes, nor an address of another origin than the caller's.
pub fn passed_create(data: &[u8]) {
    let (_, headers, body) = answer(data);
    let home = config::Origin::of(&Url::parse(HOME).expect("an address"));
    let Some(passes) = api::lets_pass(&headers, &home, [body]) else { return };
    assert_eq!(api::lets_pass(&headers, &home, body.chunks(3)), Some(passes), "a cut changes nothing");
    let names = serde_json::from_slice(body).is_ok_and(|value: serde_json::Value| is_named(&value));
    assert!(!(names && passes), "it names what it must not");
}

/// Whether an envelope to copy, a view or an address for a recipient that is not at home is named anywhere in it.
fn is_named(value: &serde_json::Value) -> bool {
    match value {
        serde_json::Value::Array(values) => values.iter().any(is_named),
        serde_json::Value::Object(members) => members.iter().any(|(name, value)| {
            let is = |it: &&str| it.eq_ignore_ascii_case(name);
            let sends = ["embeddedRecipientStartURL", "emailRecipientPostSigningURL"].iter().any(is)
                && !(value.is_null() || value.as_str().is_some_and(is_at_home));
            sends || ["envelopeId", "recipientViewRequest"].iter().any(is) || is_named(value)
        }),
        _ => false,
    }
}

/// Whether this, in the place of an address, sends a recipient home or nowhere.
fn is_at_home(address: &str) -> bool {
    let is_home = |url: Url| url.origin().ascii_serialization() == HOME;
    matches!(address, "" | "SIGN_AT_DOCUSIGN") || Url::parse(address).is_ok_and(is_home)
}

/// The vendor's multipart form: a content type in the first line, the body after it.
pub fn multipart(data: &[u8]) {
    let (first, body) = split_line(data);
    emulator::read_multipart(&String::from_utf8_lossy(first), body);
}

/// What comes in addresses of the public listener, and with a click: tokens, nonces, ids, a form.
pub fn link_token(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    assert!(!secret_text::is_random::<32>(&text) || text.is_ascii(), "tokens are plain");
    let key = NonceKey::derive(b"a key of nonces", &[]);
    if let Some(target) = key.open(&text) {
        assert_eq!(key.nonce(target), text, "a nonce has one spelling");
    }
    if let Ok(id) = text.parse::<domain::LinkId>() {
        assert_eq!(id.to_string(), text, "an id has one spelling");
    }
    if let Ok(phone) = domain::Phone::parse(&text) {
        let whole = format!("+{}{}", phone.country_code(), phone.number());
        assert_eq!(whole, text, "a number has one spelling");
    }
    let _ = domain::Language::negotiate(&text);
    let _ = objects::duration::parse(&text);
}

/// Standard Webhooks headers, from both sides: what a receiver answers, and what a receiver verifies.
pub fn webhook_headers(data: &[u8]) {
    let (_, headers, body) = answer(data);
    let now = Timestamp::from_second(1_700_000_000).expect("a time");
    if let Some(wait) = events::webhooks::retry_after(&headers, now) {
        assert!(wait.as_secs() <= 86_400, "no receiver puts us off for longer than a day");
    }
    // "a secret" in base64. What lies behind the signature is reached with one that is right.
    let (secret, at) = ("whsec_YSBzZWNyZXQ=", now.as_second());
    assert!(!demo::is_believed(secret, &headers, body, now), "nobody can sign without the secret");
    let signature = events::webhooks::sign(b"a secret", "evt_1", at, body);
    let genuine = [("id", "evt_1"), ("timestamp", &at.to_string()), ("signature", &signature)];
    let genuine = genuine.map(|(name, value)| {
        let name = HeaderName::try_from(format!("webhook-{name}")).expect("a name");
        (name, HeaderValue::try_from(value).expect("what is sent is a header"))
    });
    assert!(demo::is_believed(secret, &HeaderMap::from_iter(genuine), body, now));
}

/// Bytes as an answer: a status in two bytes, header lines up to an empty one, a body.
fn answer(data: &[u8]) -> (StatusCode, HeaderMap, &[u8]) {
    let (first, mut rest) = split_line(data);
    let status = std::str::from_utf8(first).ok().and_then(|text| text.trim().parse().ok());
    let status = status.unwrap_or(StatusCode::OK);
    let mut headers = HeaderMap::new();
    loop {
        let (line, after) = split_line(rest);
        rest = after;
        let line = line.trim_ascii();
        if line.is_empty() {
            return (status, headers, rest);
        }
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let name = HeaderName::from_bytes(line[..colon].trim_ascii());
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (name, value) {
            let _ = headers.try_append(name, value);
        }
    }
}

fn split_line(data: &[u8]) -> (&[u8], &[u8]) {
    match data.iter().position(|byte| *byte == b'\n') {
        Some(end) => (&data[..end], &data[end + 1..]),
        None => (data, &[]),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// What the fuzzers kept, again: each input took a way through a parser that no other takes, or once
    /// broke it.
    #[test]
    fn the_corpus_breaks_nothing() {
        let corpus = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fuzz/corpus"));
        for (name, run) in TARGETS {
            let folder = corpus.join(name);
            let inputs: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap()).collect();
            assert!(inputs.len() >= 3, "{name} has a corpus");
            for input in inputs {
                run(&std::fs::read(input.path()).unwrap());
            }
        }
    }

    /// The target holds what passes with an address in it, and something does.
    #[test]
    fn a_passed_create_sends_recipients_home_and_nowhere_else() {
        let headers = HeaderMap::new();
        let home = config::Origin::of(&Url::parse(HOME).unwrap());
        for (address, is_let) in [
            (r"https:\/\/www.example.com\/sign", true),
            ("https://www.example.com:443/", true),
            ("SIGN_AT_DOCUSIGN", true),
            ("https://elsewhere.example/", false),
            ("https://www.example.com@elsewhere.example/", false),
            ("https://www.example.com.elsewhere.example/", false),
        ] {
            let body = format!(r#"{{"signers": [{{"embeddedRecipientStartURL": "{address}"}}]}}"#);
            assert_eq!(api::lets_pass(&headers, &home, [body.as_bytes()]), Some(is_let), "{address}");
            assert_eq!(is_named(&serde_json::from_str(&body).unwrap()), !is_let, "{address}");
        }
    }

    /// A target without its file would never be fuzzed, and a file without its target never replayed.
    #[test]
    fn every_target_has_its_program() {
        let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fuzz/fuzz_targets"));
        let mut programs: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
            .collect();
        programs.sort();
        let names: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
        assert_eq!(programs, names);
    }
}
