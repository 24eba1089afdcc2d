//! The digest of a delivery: HMAC-SHA256 over the raw bytes, in base64, one header for each key.
//!
//! The upstream sends `X-DocuSign-Signature-1`, `-2`, … for the keys of the account; numbers move when
//! a key is removed, so every header is held against each of our keys. The body is hashed as it came,
//! before anything has read it. Which pair matched, or how nearly, must not show in the time it takes.
//!
//! Source: developers.docusign.com, platform/webhooks/connect/validation-and-security.

use std::fmt;

use aws_lc_rs::{constant_time::verify_slices_are_equal, hmac};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::HeaderMap;

use crate::{config::bare_connect_key, domain::SenderName};

/// What the headers begin with; a number from 1 to [`MAX_DIGESTS`] follows.
const HEADER: &str = "x-docusign-signature-";
/// The upstream's maximum of keys, and so of headers.
const MAX_DIGESTS: usize = 100;
/// Bytes of an HMAC-SHA256.
const LENGTH: usize = 32;

/// The keys that a delivery may be signed with; several during rotation.
#[derive(Clone, Default)]
pub struct Keys(Vec<Key>);

#[derive(Clone)]
struct Key {
    hmac: hmac::Key,
    /// Whose envelopes it speaks for; none: everybody's.
    of: Option<SenderName>,
}

impl Keys {
    /// The keys as text, as the upstream's administration page shows them. Quotes and blanks around
    /// one came with copying and are taken off; an empty one is none.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a str>) -> Self {
        let mut keys = Self::default();
        keys.add(secrets, None);
        keys
    }

    /// Adds the keys of one sender's account. Whoever administers that account knows them, so they are
    /// believed of that sender's envelopes and of nobody else's.
    pub fn add_of<'a>(&mut self, sender: &SenderName, secrets: impl IntoIterator<Item = &'a str>) {
        self.add(secrets, Some(sender));
    }

    fn add<'a>(&mut self, secrets: impl IntoIterator<Item = &'a str>, of: Option<&SenderName>) {
        let keys = secrets.into_iter().map(bare_connect_key).filter(|secret| !secret.is_empty());
        self.0.extend(keys.map(|secret| {
            let hmac = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
            Key { hmac, of: of.cloned() }
        }));
    }

    /// Whether there is none, so that nothing can be believed.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The digest that the first key makes, as the upstream would send it.
    pub fn sign(&self, body: &[u8]) -> Option<String> {
        self.0.first().map(|key| STANDARD.encode(hmac::sign(&key.hmac, body)))
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys({})", self.0.len())
    }
}

/// A delivery that nobody has vouched for yet: it can be verified or dropped, and not read.
pub struct UnverifiedDelivery {
    digests: Vec<[u8; LENGTH]>,
    body: Bytes,
}

/// A delivery that was signed with one of our keys.
#[derive(Clone)]
pub struct VerifiedDelivery {
    body: Bytes,
    of: Option<Vec<SenderName>>,
}

/// No key makes any of the digests that came with the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no digest matches")]
pub struct BadDigest;

impl UnverifiedDelivery {
    /// Puts the raw body together with the digests of its headers. What is no digest is left out.
    pub fn new(headers: &HeaderMap, body: Bytes) -> Self {
        let digests = headers
            .iter()
            .filter(|(name, _)| is_digest_header(name.as_str()))
            .take(MAX_DIGESTS)
            .filter_map(|(_, value)| STANDARD.decode(value.as_bytes().trim_ascii()).ok()?.try_into().ok())
            .collect();
        Self { digests, body }
    }

    /// Holds every digest against every key, always all of them.
    pub fn verify(self, keys: &Keys) -> Result<VerifiedDelivery, BadDigest> {
        let is_signed_with = |key: &Key| {
            let ours = hmac::sign(&key.hmac, &self.body);
            let is_same = |theirs: &&[u8; LENGTH]| verify_slices_are_equal(ours.as_ref(), *theirs).is_ok();
            self.digests.iter().filter(is_same).count() > 0
        };
        let matched: Vec<bool> = keys.0.iter().map(is_signed_with).collect();
        let matching = || keys.0.iter().zip(&matched).filter(|(_, matched)| **matched).map(|(key, _)| key);
        if matching().next().is_none() {
            return Err(BadDigest);
        }
        // One key that speaks for all is enough.
        let of = matching().map(|key| key.of.clone()).collect();
        Ok(VerifiedDelivery { body: self.body, of })
    }
}

impl VerifiedDelivery {
    /// Whose envelopes it may speak of; none: everybody's.
    pub fn of(&self) -> Option<&[SenderName]> {
        self.of.as_deref()
    }

    /// The body, as it came.
    pub const fn body(&self) -> &Bytes {
        &self.body
    }
}

// A body names people.
impl fmt::Debug for UnverifiedDelivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnverifiedDelivery").field("body_bytes", &self.body.len()).finish_non_exhaustive()
    }
}

impl fmt::Debug for VerifiedDelivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifiedDelivery").field("body_bytes", &self.body.len()).finish_non_exhaustive()
    }
}

/// Whether headers hold anything that could be a digest: a cheap look before a body is read.
pub fn is_signed(headers: &HeaderMap) -> bool {
    headers.keys().any(|name| is_digest_header(name.as_str()))
}

fn is_digest_header(name: &str) -> bool {
    let number = name.strip_prefix(HEADER).filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()));
    number.and_then(|digits| digits.parse::<usize>().ok()).is_some_and(|n| (1..=MAX_DIGESTS).contains(&n))
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};
    use proptest::prelude::*;

    use super::*;

    const BODY: &[u8] = br#"{"event":"envelope-completed","data":{"envelopeId":"1"}}"#;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&str, &str)| {
            (name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap())
        };
        pairs.iter().map(pair).collect()
    }

    fn verifies(headers: &HeaderMap, body: &[u8], keys: &Keys) -> bool {
        UnverifiedDelivery::new(headers, Bytes::copy_from_slice(body)).verify(keys).is_ok()
    }

    fn signed(secret: &str, body: &[u8]) -> String {
        Keys::new([secret]).sign(body).unwrap()
    }

    #[test]
    fn the_digest_is_that_of_rfc_4231_and_of_openssl() {
        // RFC 4231, test case 2, in base64.
        let digest = signed("Jefe", b"what do ya want for nothing?");
        assert_eq!(digest, "W9zBRr9gdU5qBCQmCJV1x1oAPwidJzmDnexYuWTsOEM=");
        // printf '{"event":"envelope-completed"}' | openssl dgst -sha256 -hmac DemoConnectKey -binary | base64
        let digest = signed("DemoConnectKey", br#"{"event":"envelope-completed"}"#);
        assert_eq!(digest, "4Io9/j898lucWfIMgmzY5hsJKiajwE/gnsSsTwIhF5s=");
    }

    #[test]
    fn any_header_of_any_number_may_match_any_key() {
        let keys = Keys::new(["old", "new"]);
        let (good, bad) = (signed("new", BODY), signed("other", BODY));
        for name in ["X-DocuSign-Signature-1", "x-docusign-signature-7", "X-DOCUSIGN-SIGNATURE-100"] {
            assert!(verifies(&headers(&[("x-docusign-signature-3", &bad), (name, &good)]), BODY, &keys));
            assert!(verifies(&headers(&[(name, &bad), (name, &good)]), BODY, &keys), "twice the same number");
        }
        for name in ["x-docusign-signature", "x-docusign-signature-0", "x-docusign-signature-101", "x-sig-1"]
        {
            assert!(!verifies(&headers(&[(name, &good)]), BODY, &keys), "{name}");
        }
    }

    #[test]
    fn quotes_around_a_key_are_taken_off_and_an_empty_key_is_none() {
        let digest = signed("secret", BODY);
        let headers_ = headers(&[("x-docusign-signature-1", &digest)]);
        for quoted in ["\"secret\"", "'secret'", " secret\n"] {
            assert!(verifies(&headers_, BODY, &Keys::new([quoted])), "{quoted}");
        }
        assert!(Keys::new(["", "\"\"", "  "]).is_empty());
        let of_empty = STANDARD.encode(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, b""), BODY));
        assert!(!verifies(&headers(&[("x-docusign-signature-1", &of_empty)]), BODY, &Keys::new([""])));
    }

    #[test]
    fn what_is_not_the_digest_of_these_bytes_fails() {
        let keys = Keys::new(["secret"]);
        let digest = signed("secret", BODY);
        let value: serde_json::Value = serde_json::from_slice(BODY).unwrap();
        let rewritten = serde_json::to_string_pretty(&value).unwrap();
        assert!(!verifies(&headers(&[("x-docusign-signature-1", &digest)]), rewritten.as_bytes(), &keys));
        assert!(!verifies(&HeaderMap::new(), BODY, &keys), "none at all");
        let raw = STANDARD.decode(&digest).unwrap();
        let hex = format!("{:064x}", raw.iter().fold(0_u128, |all, byte| all << 8 | u128::from(*byte)));
        for wrong in [
            &hex,
            "",
            "=",
            &digest[..20],
            &digest[1..],
            &format!("{digest}{digest}"),
            &STANDARD.encode(&raw[..31]),
        ] {
            assert!(!verifies(&headers(&[("x-docusign-signature-1", wrong)]), BODY, &keys), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn one_flipped_bit_fails(body in proptest::collection::vec(any::<u8>(), 1..200), at in any::<usize>(), bit in 0_u8..8) {
            let keys = Keys::new(["secret"]);
            let headers = headers(&[("x-docusign-signature-2", &signed("secret", &body))]);
            prop_assert!(verifies(&headers, &body, &keys));
            let mut flipped = body.clone();
            let at = at % flipped.len();
            flipped[at] ^= 1 << bit;
            prop_assert!(!verifies(&headers, &flipped, &keys));
        }

        #[test]
        fn hostile_headers_never_panic(value in "[ -~]{0,90}", name in "x-docusign-signature-[0-9]{0,25}") {
            let headers = headers(&[(name.as_str(), value.as_str())]);
            prop_assert!(!verifies(&headers, BODY, &Keys::new(["secret"])));
        }
    }
}
