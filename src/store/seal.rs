//! Sealing at rest (rule S2): AES-256-GCM with keys from the settings.
//!
//! A sealed value is `key id (4 bytes) ‖ nonce (12) ‖ ciphertext and tag`. The associated data names the
//! table, the column and the row, so that a value moved to another place does not open there. The first
//! key seals; all of them open, so a new key is put in front and the old one kept until retention has
//! destroyed what it sealed.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use bytes::Bytes;

use crate::store::Error;

const ID: usize = 4;
const NONCE: usize = 12;
const TAG: usize = 16;

/// The keys, the one that seals first.
#[derive(Debug)]
pub struct SealKeys {
    keys: Vec<SealKey>,
}

/// One key. `Debug` shows its id only.
pub struct SealKey {
    id: [u8; ID],
    key: LessSafeKey,
}

impl SealKey {
    /// A key from 32 bytes. Its id follows from it, so that ids cannot be mixed up.
    pub fn new(bytes: &[u8; 32]) -> Self {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
        let id = digest.as_ref().first_chunk().copied().expect("a digest has 32 bytes");
        let key = UnboundKey::new(&AES_256_GCM, bytes).expect("32 bytes are an AES-256 key");
        Self { id, key: LessSafeKey::new(key) }
    }
}

impl std::fmt::Debug for SealKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SealKey({:08x})", u32::from_be_bytes(self.id))
    }
}

/// Where a sealed value stands; it opens nowhere else.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    /// Table and column, such as `signings.personal`.
    pub(super) column: &'static str,
    /// The row.
    pub(super) row: &'a [u8],
}

impl Place<'_> {
    fn aad(self) -> Aad<Vec<u8>> {
        let mut bytes = Vec::with_capacity(self.column.len() + 1 + self.row.len());
        bytes.extend_from_slice(self.column.as_bytes());
        bytes.push(0);
        bytes.extend_from_slice(self.row);
        Aad::from(bytes)
    }
}

impl SealKeys {
    /// Takes keys, the one that seals first.
    ///
    /// # Panics
    /// If there is none: the settings require one.
    pub fn new(keys: Vec<SealKey>) -> Self {
        assert!(!keys.is_empty(), "the settings require a seal key");
        Self { keys }
    }

    /// Seals a value for its place.
    pub(super) fn seal(&self, place: Place<'_>, plain: &[u8]) -> Vec<u8> {
        let SealKey { id, key } = &self.keys[0];
        let mut nonce = [0_u8; NONCE];
        aws_lc_rs::rand::fill(&mut nonce).expect("the system gives random bytes");
        let mut sealed = Vec::with_capacity(ID + NONCE + plain.len() + TAG);
        sealed.extend_from_slice(id);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(plain);
        let tag = key
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                place.aad(),
                &mut sealed[ID + NONCE..],
            )
            .expect("a value is far shorter than AES-GCM's limit");
        sealed.extend_from_slice(tag.as_ref());
        sealed
    }

    /// Opens a sealed value at its place.
    pub(super) fn open(&self, place: Place<'_>, sealed: Vec<u8>) -> Result<Bytes, Error> {
        let damaged =
            || Error::Unusable(format!("a sealed value in {} does not open: it was changed", place.column));
        let (id, rest) = sealed.split_first_chunk::<ID>().ok_or_else(damaged)?;
        let (nonce, _) = rest.split_first_chunk::<NONCE>().ok_or_else(damaged)?;
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let key = self.keys.iter().find(|key| key.id == *id).ok_or_else(|| {
            let id = u32::from_be_bytes(*id);
            Error::Unusable(format!(
                "values are sealed with key {id:08x}, which is not among store.seal_keys"
            ))
        })?;
        let mut sealed = sealed;
        let length = key
            .key
            .open_in_place(nonce, place.aad(), &mut sealed[ID + NONCE..])
            .map_err(|_| damaged())?
            .len();
        Ok(Bytes::from(sealed).slice(ID + NONCE..ID + NONCE + length))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s2_a_value_opens_only_in_its_place_under_its_key_and_unchanged() {
        let keys = SealKeys::new(vec![SealKey::new(&[7; 32])]);
        let place = Place { column: "signings.personal", row: b"one" };
        let sealed = keys.seal(place, b"ada@example.com");
        assert!(!sealed.windows(3).any(|part| part == b"ada"));
        assert_eq!(keys.open(place, sealed.clone()).unwrap(), "ada@example.com");
        let other_row = Place { row: b"two", ..place };
        let other_column = Place { column: "signings.answer", ..place };
        assert!(keys.open(other_row, sealed.clone()).is_err());
        assert!(keys.open(other_column, sealed.clone()).is_err());
        let stranger = SealKeys::new(vec![SealKey::new(&[8; 32])]);
        assert!(
            matches!(stranger.open(place, sealed.clone()), Err(Error::Unusable(text)) if text.contains("seal_keys"))
        );
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(keys.open(place, changed).is_err(), "byte {at}");
        }
        assert!(keys.open(place, Vec::new()).is_err());
    }

    #[test]
    fn a_new_key_seals_and_the_old_one_still_opens() {
        let place = Place { column: "t.c", row: b"r" };
        let old = SealKeys::new(vec![SealKey::new(&[1; 32])]);
        let sealed = old.seal(place, b"x");
        let both = SealKeys::new(vec![SealKey::new(&[2; 32]), SealKey::new(&[1; 32])]);
        assert_eq!(both.open(place, sealed).unwrap(), "x");
        assert!(old.open(place, both.seal(place, b"y")).is_err());
    }
}
