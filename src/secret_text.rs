//! Random text that nobody guesses, and keys that follow from a secret.

use std::sync::Arc;

use aws_lc_rs::{hmac, rand};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

/// So many random bytes as text that fits into a URL, a cookie or a header: base64url without padding.
pub fn random<const BYTES: usize>() -> String {
    let mut bytes = Zeroizing::new([0_u8; BYTES]);
    rand::fill(bytes.as_mut_slice()).expect("the system gives random bytes");
    URL_SAFE_NO_PAD.encode(bytes.as_slice())
}

/// Whether a text has the shape of what [`random`] makes of so many bytes. It may be anybody's all the same.
pub fn is_random<const BYTES: usize>(text: &str) -> bool {
    text.len() == (BYTES * 8).div_ceil(6)
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

/// What follows from a secret under a label: HMAC-SHA256 of the label. Who has it knows neither the secret nor
/// what follows under another label, so one secret does for many purposes.
pub fn derive(secret: &[u8], label: &str) -> [u8; 32] {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), label.as_bytes());
    tag.as_ref().try_into().expect("HMAC-SHA256 has 32 bytes")
}

/// Keys for HMAC-SHA256 that follow from secrets under one label. While a secret is changed, what is made is made under
/// that of the new one, and what was made under an older one is still taken.
#[derive(Clone)]
pub struct KeyRing {
    current: hmac::Key,
    older: Arc<[hmac::Key]>,
}

impl KeyRing {
    /// Of the secret in use, and of those before it.
    pub fn derive(secret: &[u8], older: &[Vec<u8>], label: &str) -> Self {
        let older = older.iter().map(|secret| derive_key(secret, label));
        Self { current: derive_key(secret, label), older: older.collect() }
    }

    /// The key that something new is made under.
    pub const fn current(&self) -> &hmac::Key {
        &self.current
    }

    /// The key that something was made under, if it was one of these.
    pub fn find(&self, made_it: impl Fn(&hmac::Key) -> bool) -> Option<&hmac::Key> {
        std::iter::once(&self.current).chain(self.older.iter()).find(|key| made_it(key))
    }
}

fn derive_key(secret: &[u8], label: &str) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, &derive(secret, label))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::hex;

    #[test]
    fn a_random_text_has_one_shape_and_is_never_the_same() {
        let text = random::<32>();
        assert_eq!(text.len(), 43);
        assert!(is_random::<32>(&text));
        assert_ne!(text, random::<32>());
        assert!(is_random::<16>(&random::<16>()) && is_random::<18>(&random::<18>()));
        for wrong in [
            "",
            "a",
            &text[1..],
            &format!("{text}A"),
            &text.replace(|_| true, "%"),
            &format!("é{}", &text[2..]),
        ] {
            assert!(!is_random::<32>(wrong), "{wrong}");
        }
    }

    #[test]
    fn what_follows_from_a_secret_stays_the_same() {
        // Computed with Python's hmac and hashlib.
        let expected = "0e7495fde43eed729a0c37e822e29860a471a6940bedf347366923b6ee7169e0";
        assert_eq!(hex(&derive(b"secret", "countersign pairing v1")), expected);
        assert_ne!(derive(b"secret", "another"), derive(b"secret", "countersign pairing v1"));
        assert_ne!(derive(b"other", "countersign pairing v1"), derive(b"secret", "countersign pairing v1"));
        let key = derive_key(b"secret", "countersign pairing v1");
        let by_hand = hmac::Key::new(hmac::HMAC_SHA256, &derive(b"secret", "countersign pairing v1"));
        assert_eq!(hmac::sign(&key, b"text").as_ref(), hmac::sign(&by_hand, b"text").as_ref());
    }

    #[test]
    fn a_ring_makes_under_its_first_secret_and_takes_what_any_of_them_made() {
        let made_by = |secret: &[u8]| hmac::sign(&derive_key(secret, "label"), b"text");
        let ring = KeyRing::derive(b"new", &[b"old".to_vec(), b"older".to_vec()], "label");
        assert_eq!(hmac::sign(ring.current(), b"text").as_ref(), made_by(b"new").as_ref());
        let takes = |secret: &[u8]| {
            let made = made_by(secret);
            ring.find(|key| hmac::verify(key, b"text", made.as_ref()).is_ok()).is_some()
        };
        assert!(takes(b"new") && takes(b"old") && takes(b"older"));
        assert!(!takes(b"another"));
    }
}
