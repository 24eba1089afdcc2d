//! Sealing: what is personal lies in the database only as AES-256-GCM ciphertext (rule S2).
//!
//! A sealed value is `key id (4) | nonce (12) | ciphertext | tag (16)`. The place it belongs to (table,
//! column, row) is authenticated with it, so that nobody who can write to the database can move one
//! person's data into another's row. Keys are named by a digest of themselves: the first of the ring
//! seals, all of them open, and nobody has to number them.
//!
//! Nonces are random. NIST SP 800-38D, 8.3 allows 2^32 of them under one key: at ten sealed values a
//! signing and a thousand signings an hour that is fifty years.

use std::{fmt, sync::Arc};

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey},
    digest,
};
use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

use crate::{digest::hex, store::Error};

/// Bytes of a seal key.
pub const KEY_LEN: usize = 32;

const ID_LEN: usize = 4;
const HEADER: usize = ID_LEN + NONCE_LEN;
const TAG_LEN: usize = 16;

/// The name of a seal key: the start of a digest of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SealKeyId([u8; ID_LEN]);

impl SealKeyId {
    pub(super) const fn to_bytes(self) -> [u8; ID_LEN] {
        self.0
    }
}

impl fmt::Display for SealKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for SealKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealKeyId({self})")
    }
}

/// The keys that sealed values are made with and opened by. Cheap to clone.
#[derive(Clone)]
pub struct SealKeys(Arc<[SealKey]>);

struct SealKey {
    id: SealKeyId,
    key: RandomizedNonceKey,
}

impl SealKeys {
    /// A ring: `current` seals, `older` ones still open what they sealed.
    pub fn new(current: &[u8; KEY_LEN], older: &[[u8; KEY_LEN]]) -> Self {
        Self(std::iter::once(current).chain(older).map(SealKey::new).collect())
    }

    /// The key that seals now.
    pub fn current(&self) -> SealKeyId {
        self.0[0].id
    }

    /// Every key of the ring, the current one first.
    pub fn ids(&self) -> impl Iterator<Item = SealKeyId> {
        self.0.iter().map(|key| key.id)
    }

    /// Seals bytes for their place.
    pub(super) fn seal(&self, place: Place<'_>, plain: &[&[u8]]) -> Vec<u8> {
        let length = plain.iter().map(|part| part.len()).sum::<usize>();
        let mut sealed = Vec::with_capacity(HEADER + length + TAG_LEN);
        sealed.resize(HEADER, 0);
        for part in plain {
            sealed.extend_from_slice(part);
        }
        self.0[0].finish(place, sealed)
    }

    /// Seals the JSON of a value for its place.
    pub(super) fn seal_json<T: Serialize>(&self, place: Place<'_>, value: &T) -> Vec<u8> {
        let mut sealed = Vec::with_capacity(512);
        sealed.resize(HEADER, 0);
        serde_json::to_writer(&mut sealed, value).expect("rows have string keys and write to memory");
        self.0[0].finish(place, sealed)
    }

    /// Opens a value of this place.
    pub(super) fn open(&self, place: Place<'_>, mut sealed: Vec<u8>) -> Result<Bytes, Error> {
        let damaged = || {
            Error::Unusable(format!(
                "a sealed value of {}.{} does not open: it was changed or moved; restore a backup",
                place.table, place.column
            ))
        };
        if sealed.len() < HEADER + TAG_LEN {
            return Err(damaged());
        }
        let id = key_of(&sealed).ok_or_else(damaged)?;
        let key = self.0.iter().find(|key| key.id == id).ok_or_else(|| missing(id))?;
        let nonce = Nonce::try_assume_unique_for_key(&sealed[ID_LEN..HEADER]).map_err(|_| damaged())?;
        let length =
            key.key.open_in_place(nonce, place.aad(), &mut sealed[HEADER..]).map_err(|_| damaged())?.len();
        Ok(Bytes::from(sealed).slice(HEADER..HEADER + length))
    }

    /// Opens the JSON of a value of this place.
    pub(super) fn open_json<T: DeserializeOwned>(
        &self,
        place: Place<'_>,
        sealed: Vec<u8>,
    ) -> Result<T, Error> {
        let plain = self.open(place, sealed)?;
        serde_json::from_slice(&plain).map_err(|_| {
            Error::Unusable(format!(
                "a value of {}.{} has a form this version does not know",
                place.table, place.column
            ))
        })
    }

    /// Seals anew, with the current key, what an older one sealed.
    pub(super) fn reseal(&self, place: Place<'_>, sealed: Vec<u8>) -> Result<Vec<u8>, Error> {
        let plain = self.open(place, sealed)?;
        Ok(self.seal(place, &[&plain]))
    }

    /// Checks the probes that a database holds, one for each key it is sealed with.
    ///
    /// A lost key is found here, at start, and not when somebody's agreement cannot be read.
    pub(super) fn check_probes(&self, probes: Vec<Vec<u8>>) -> Result<Vec<SealKeyId>, Error> {
        probes
            .into_iter()
            .map(|probe| {
                let id = key_of(&probe).unwrap_or(SealKeyId([0; ID_LEN]));
                self.open(PROBE, probe).map(|_| id)
            })
            .collect()
    }

    /// A probe made with this key of the ring.
    pub(super) fn probe(&self, id: SealKeyId) -> Vec<u8> {
        let key = self.0.iter().find(|key| key.id == id).unwrap_or(&self.0[0]);
        let mut sealed = vec![0; HEADER];
        sealed.extend_from_slice(b"countersign");
        key.finish(PROBE, sealed)
    }
}

impl fmt::Debug for SealKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.ids()).finish()
    }
}

impl SealKey {
    fn new(bytes: &[u8; KEY_LEN]) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(b"countersign seal key id\0");
        context.update(bytes);
        let mut id = [0; ID_LEN];
        id.copy_from_slice(&context.finish().as_ref()[..ID_LEN]);
        let key = RandomizedNonceKey::new(&AES_256_GCM, bytes).expect("the length is in the type");
        Self { id: SealKeyId(id), key }
    }

    /// Encrypts what follows the header in place, so that large payloads are not copied again.
    fn finish(&self, place: Place<'_>, mut sealed: Vec<u8>) -> Vec<u8> {
        let Self { id, key } = self;
        let (nonce, tag) = key
            .seal_in_place_separate_tag(place.aad(), &mut sealed[HEADER..])
            .expect("AES-GCM fails only over 64 GiB");
        sealed[..ID_LEN].copy_from_slice(&id.0);
        sealed[ID_LEN..HEADER].copy_from_slice(nonce.as_ref());
        sealed.extend_from_slice(tag.as_ref());
        sealed
    }
}

fn missing(id: SealKeyId) -> Error {
    Error::Unusable(format!(
        "it holds data sealed with key {id}, which is not among the seal keys of the settings \
         (store.seal_key): put that key back"
    ))
}

fn key_of(sealed: &[u8]) -> Option<SealKeyId> {
    sealed.first_chunk().copied().map(SealKeyId)
}

/// Where a sealed value belongs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) table: &'static str,
    pub(super) column: &'static str,
    pub(super) row: &'a [u8],
}

impl Place<'_> {
    fn aad(&self) -> Aad<Vec<u8>> {
        Aad::from([self.table.as_bytes(), self.column.as_bytes(), self.row].join(&0))
    }
}

const PROBE: Place<'static> = Place { table: "meta", column: "value", row: b"seal probe" };

/// Every sealed column as (table, id column, sealed column): what re-sealing walks through.
pub(super) const SEALED_COLUMNS: [(&str, &str, &str); 7] = [
    ("signings", "id", "sealed"),
    ("signings", "id", "answer"),
    ("payloads", "signing", "body"),
    ("inbound", "identity", "body"),
    ("events", "id", "sealed"),
    ("endpoints", "id", "sealed"),
    ("senders", "name", "sealed"),
];

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Place<'static> = Place { table: "signings", column: "sealed", row: b"1" };

    #[test]
    fn what_was_sealed_opens_in_its_place_only() {
        let keys = SealKeys::new(&[1; 32], &[]);
        let sealed = keys.seal(HERE, &[b"Ada ", b"Lovelace"]);
        assert!(!sealed.windows(8).any(|w| w == b"Lovelace"));
        assert_eq!(keys.open(HERE, sealed.clone()).unwrap(), "Ada Lovelace");
        for place in [
            Place { row: b"2", ..HERE },
            Place { column: "answer", ..HERE },
            Place { table: "payloads", ..HERE },
        ] {
            assert!(matches!(keys.open(place, sealed.clone()), Err(Error::Unusable(_))));
        }
    }

    #[test]
    fn one_flipped_bit_and_any_cut_is_found() {
        let keys = SealKeys::new(&[1; 32], &[]);
        let sealed = keys.seal(HERE, &[b"x"]);
        for bit in 0..sealed.len() * 8 {
            let mut changed = sealed.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(keys.open(HERE, changed).is_err(), "bit {bit}");
        }
        for length in 0..sealed.len() {
            assert!(keys.open(HERE, sealed[..length].to_vec()).is_err(), "length {length}");
        }
    }

    #[test]
    fn older_keys_open_and_the_first_seals() {
        let before = SealKeys::new(&[1; 32], &[]);
        let after = SealKeys::new(&[2; 32], &[[1; 32]]);
        let sealed = before.seal(HERE, &[b"x"]);
        let again = after.reseal(HERE, sealed.clone()).unwrap();
        assert_eq!(after.open(HERE, sealed).unwrap(), "x");
        assert_eq!(key_of(&again), Some(after.current()));
        let Err(Error::Unusable(line)) = before.open(HERE, again) else { panic!("opened without the key") };
        assert!(line.contains(&after.current().to_string()), "{line}");
    }

    #[test]
    fn debug_shows_names_of_keys_only() {
        let shown = format!("{:?}", SealKeys::new(&[7; 32], &[]));
        assert!(!shown.contains("7, 7") && shown.len() < 40, "{shown}");
    }
}
