//! The nonce in the return URL that the upstream gets: it names a signer of a signing, and nobody can guess
//! or forge one, because it carries a MAC under a key of ours. Nothing is stored for it, so that minting a
//! view writes no row. It also names the link that the view came from, so that whoever revokes the link
//! closes the way back, too, and the view itself, so that a page which is loaded again ends no later one, and is not
//! taken for another return.

use aws_lc_rs::{constant_time::verify_slices_are_equal, hmac};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use uuid::Uuid;

use crate::{
    domain::{LinkId, SignerId, SigningId},
    secret_text::KeyRing,
};

/// Length of the MAC in bytes: 128 bits, beyond any guessing.
const TAG: usize = 16;
/// The ids of signing and signer, perhaps that of a link, perhaps the time of a view, and the MAC. The MAC is over all
/// of it, and each form has a length of its own, so that none is taken for another.
const LENGTHS: [usize; 4] = [32 + TAG, 32 + TIME + TAG, 48 + TAG, 48 + TIME + TAG];
/// Length of a time in bytes: microseconds since 1970.
const TIME: usize = 8;

/// The keys behind nonces. `Debug` does not show them.
#[derive(Clone)]
pub struct NonceKey(KeyRing);

/// What a nonce names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReturnTarget {
    /// The signing.
    pub signing: SigningId,
    /// The signer who comes back.
    pub signer: SignerId,
    /// The link that the view hung on; none if the caller asked for it by itself.
    pub link: Option<LinkId>,
    /// When the view was minted that leads back here, in whole microseconds. None: whichever is live.
    pub view: Option<Timestamp>,
}

impl NonceKey {
    /// Derived from the secret in use, and from those before it: visitors are on their way while it is changed.
    pub fn derive(secret: &[u8], older: &[Vec<u8>]) -> Self {
        Self(KeyRing::derive(secret, older, "countersign return nonce v1"))
    }

    /// The nonce for a signer.
    pub fn nonce(&self, target: ReturnTarget) -> String {
        let mut bytes = Vec::with_capacity(LENGTHS[3]);
        bytes.extend_from_slice(target.signing.as_uuid().as_bytes());
        bytes.extend_from_slice(target.signer.as_uuid().as_bytes());
        if let Some(link) = target.link {
            bytes.extend_from_slice(link.as_uuid().as_bytes());
        }
        if let Some(view) = target.view {
            bytes.extend_from_slice(&view.as_microsecond().to_be_bytes());
        }
        let tag = hmac::sign(self.0.current(), &bytes);
        bytes.extend_from_slice(&tag.as_ref()[..TAG]);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// What a nonce names, if it is one of ours. Compares in constant time.
    pub fn open(&self, nonce: &str) -> Option<ReturnTarget> {
        let bytes = URL_SAFE_NO_PAD.decode(nonce).ok().filter(|bytes| LENGTHS.contains(&bytes.len()))?;
        let (named, given) = bytes.split_at(bytes.len() - TAG);
        self.0.find(|key| {
            let tag = hmac::sign(key, named);
            verify_slices_are_equal(&tag.as_ref()[..TAG], given).is_ok()
        })?;
        let (ids, time) = named.as_chunks::<16>();
        let mut ids = ids.iter().map(|id| Uuid::from_bytes(*id));
        let view = <[u8; TIME]>::try_from(time).ok().map(i64::from_be_bytes);
        Some(ReturnTarget {
            signing: SigningId::from_uuid(ids.next()?),
            signer: SignerId::from_uuid(ids.next()?),
            link: ids.next().map(LinkId::from_uuid),
            view: view.and_then(|micros| Timestamp::from_microsecond(micros).ok()),
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
    use super::*;

    #[test]
    fn a_nonce_opens_only_whole_and_under_its_key() {
        let key = NonceKey::derive(b"one", &[]);
        let now = Timestamp::UNIX_EPOCH;
        let (signing, signer) = (SigningId::generate(now), SignerId::generate(now));
        let forms =
            [None, Some(LinkId::generate(now))].map(|link| [None, Some(now)].map(|view| (link, view)));
        for (link, view) in forms.into_iter().flatten() {
            let target = ReturnTarget { signing, signer, link, view };
            let nonce = key.nonce(target);
            assert_eq!(key.open(&nonce), Some(target));
            assert_eq!(NonceKey::derive(b"two", &[]).open(&nonce), None);
            for at in 0..nonce.len() {
                let mut forged = nonce.clone().into_bytes();
                forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
                assert_eq!(key.open(std::str::from_utf8(&forged).unwrap()), None, "byte {at}");
                assert_eq!(key.open(&nonce[..at]), None, "cut at {at}");
            }
            assert_eq!(key.open(&format!("{nonce}AAAA")), None);
        }
    }

    #[test]
    fn a_nonce_opens_while_the_secret_it_was_made_under_is_among_the_older_ones() {
        let now = Timestamp::UNIX_EPOCH;
        let (signing, signer) = (SigningId::generate(now), SignerId::generate(now));
        let target = ReturnTarget { signing, signer, link: None, view: None };
        let nonce = NonceKey::derive(b"one", &[]).nonce(target);
        let both = NonceKey::derive(b"two", &[b"one".to_vec()]);
        assert_eq!(both.open(&nonce), Some(target));
        assert_eq!(NonceKey::derive(b"two", &[]).open(&both.nonce(target)), Some(target));
    }

    #[test]
    fn a_nonce_keeps_its_link_whoever_cuts_it() {
        let key = NonceKey::derive(b"one", &[]);
        let now = Timestamp::UNIX_EPOCH;
        let (signing, signer) = (SigningId::generate(now), SignerId::generate(now));
        let bare = key.nonce(ReturnTarget { signing, signer, link: None, view: None });
        let linked =
            key.nonce(ReturnTarget { signing, signer, link: Some(LinkId::generate(now)), view: None });
        let [bare, linked] = [bare, linked].map(|nonce| URL_SAFE_NO_PAD.decode(nonce).unwrap());
        let tag = &linked[48..];
        assert_eq!(
            key.open(&URL_SAFE_NO_PAD.encode([&linked[..32], tag].concat())),
            None,
            "the link cut out"
        );
        let moved = [&bare[..32], &linked[32..48], &bare[32..]].concat();
        assert_eq!(key.open(&URL_SAFE_NO_PAD.encode(moved)), None, "a link put in");
    }
}
