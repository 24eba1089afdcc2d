//! The nonce in the return URL that the upstream gets: it names a signer of a signing, and nobody can guess
//! or forge one, because it carries a MAC under a key of ours. Nothing is stored for it, so that minting a
//! view writes no row.

use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use uuid::Uuid;

use crate::domain::{SignerId, SigningId};

/// Length of the MAC in bytes: 128 bits, beyond any guessing.
const TAG: usize = 16;
/// Two ids and the MAC.
const LENGTH: usize = 32 + TAG;

/// The key behind nonces. `Debug` does not show it.
#[derive(Clone)]
pub struct NonceKey(hmac::Key);

/// What a nonce names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReturnTarget {
    /// The signing.
    pub signing: SigningId,
    /// The signer who comes back.
    pub signer: SignerId,
}

impl NonceKey {
    /// A key derived from a secret that lasts as long as the data does.
    pub fn derive(secret: &[u8]) -> Self {
        let root = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let derived = hmac::sign(&root, b"countersign return nonce v1");
        Self(hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref()))
    }

    /// The nonce for a signer.
    pub fn nonce(&self, target: ReturnTarget) -> String {
        let mut bytes = [0_u8; LENGTH];
        bytes[..16].copy_from_slice(target.signing.as_uuid().as_bytes());
        bytes[16..32].copy_from_slice(target.signer.as_uuid().as_bytes());
        let tag = hmac::sign(&self.0, &bytes[..32]);
        bytes[32..].copy_from_slice(&tag.as_ref()[..TAG]);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// What a nonce names, if it is one of ours. Compares in constant time.
    pub fn open(&self, nonce: &str) -> Option<ReturnTarget> {
        let bytes = URL_SAFE_NO_PAD.decode(nonce).ok().filter(|bytes| bytes.len() == LENGTH)?;
        let tag = hmac::sign(&self.0, &bytes[..32]);
        aws_lc_rs::constant_time::verify_slices_are_equal(&tag.as_ref()[..TAG], &bytes[32..]).ok()?;
        Some(ReturnTarget {
            signing: SigningId::from_uuid(Uuid::from_slice(&bytes[..16]).ok()?),
            signer: SignerId::from_uuid(Uuid::from_slice(&bytes[16..32]).ok()?),
        })
    }
}

impl std::fmt::Debug for NonceKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NonceKey")
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn a_nonce_opens_only_whole_and_under_its_key() {
        let key = NonceKey::derive(b"one");
        let now = Timestamp::UNIX_EPOCH;
        let target = ReturnTarget { signing: SigningId::generate(now), signer: SignerId::generate(now) };
        let nonce = key.nonce(target);
        assert_eq!(key.open(&nonce), Some(target));
        assert_eq!(NonceKey::derive(b"two").open(&nonce), None);
        for at in 0..nonce.len() {
            let mut forged = nonce.clone().into_bytes();
            forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
            assert_eq!(key.open(std::str::from_utf8(&forged).unwrap()), None, "byte {at}");
        }
        assert_eq!(key.open(&nonce[..nonce.len() - 1]), None);
        assert_eq!(key.open(""), None);
    }
}
