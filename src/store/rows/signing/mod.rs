//! A signing as a row: a few columns to find it by, one clear JSON (`state`), and one sealed JSON with
//! everything personal in it: names, addresses, return URLs, how people were authenticated, the caller's
//! metadata, and what the upstream said in free text.
//!
//! Once retention has destroyed the sealed half, the signing still reads, with those fields empty.

mod personal;
mod state;

use crate::{
    domain::{Private, Signing},
    store::{
        Digest, Error, KeptAnswer, Record, Work,
        rows::{
            ANSWER_PREFIX, answer_place, malformed, sealed_place,
            signing::{personal::Personal, state::State},
            timestamp, version,
        },
        seal::SealKeys,
    },
};

/// The columns of a [`SigningRow`], in its order.
macro_rules! signing_columns {
    () => {
        "id, caller, key, request, reference, status, envelope, version, created_at, due_at, leased_until, \
         attempts, state, sealed, answer"
    };
}
pub(in crate::store) use signing_columns;

/// A row of `signings` as a database hands it out.
pub(in crate::store) struct SigningRow {
    pub(in crate::store) id: [u8; 16],
    pub(in crate::store) caller: String,
    pub(in crate::store) key: Option<Digest>,
    pub(in crate::store) request: Digest,
    pub(in crate::store) reference: Option<String>,
    pub(in crate::store) status: String,
    pub(in crate::store) envelope: Option<String>,
    pub(in crate::store) version: i64,
    pub(in crate::store) created_at: i64,
    pub(in crate::store) due_at: Option<i64>,
    pub(in crate::store) leased_until: Option<i64>,
    pub(in crate::store) attempts: i64,
    pub(in crate::store) state: String,
    pub(in crate::store) sealed: Option<Vec<u8>>,
    pub(in crate::store) answer: Option<Vec<u8>>,
}

impl SigningRow {
    pub(in crate::store) fn into_record(mut self, keys: &SealKeys) -> Result<Record, Error> {
        let (key, request, version) = (self.key, self.request, version(self.version));
        let answer = self.answer.take().map(|sealed| open_answer(keys, &self.id, sealed)).transpose()?;
        let work = match self.due_at {
            None => None,
            Some(due_at) => Some(Work {
                due_at: timestamp(due_at)?,
                leased_until: self.leased_until.map(timestamp).transpose()?,
                attempts: u32::try_from(self.attempts).unwrap_or(u32::MAX),
            }),
        };
        Ok(Record { signing: self.into_signing(keys)?, version, key, request, answer, work })
    }

    pub(in crate::store) fn into_signing(mut self, keys: &SealKeys) -> Result<Signing, Error> {
        let personal = match self.sealed.take() {
            None => Personal::default(),
            Some(sealed) => keys.open_json(sealed_place(&self.id), sealed)?,
        };
        let text = std::mem::take(&mut self.state);
        let state: State<'_> = serde_json::from_str(&text).map_err(|_| malformed("state"))?;
        state.into_signing(self, personal)
    }
}

pub(super) fn open_answer(keys: &SealKeys, signing: &[u8; 16], sealed: Vec<u8>) -> Result<KeptAnswer, Error> {
    let mut plain = keys.open(answer_place(signing), sealed)?;
    if plain.len() < ANSWER_PREFIX.len() {
        return Err(malformed("answer"));
    }
    Ok(KeptAnswer { body: Private::new(plain.split_off(ANSWER_PREFIX.len())) })
}

/// The clear half of a signing, as text.
pub(super) fn state_of(signing: &Signing) -> String {
    // A signing of one signer fits: one allocation holds it.
    let mut json = Vec::with_capacity(1_024);
    serde_json::to_writer(&mut json, &State::from(signing))
        .expect("rows have string keys and write to memory");
    without_nul(String::from_utf8(json).expect("JSON is UTF-8"))
}

/// JSON whose texts have no NUL. Postgres cannot look into one that has, and fails every query that passes such a row,
/// whoever it was for.
fn without_nul(json: String) -> String {
    const NUL: &str = r"\u0000";
    if !json.contains(NUL) {
        return json;
    }
    // A backslash that is itself escaped begins nothing.
    let parts: Vec<_> = json.split(r"\\").map(|part| part.replace(NUL, "\u{fffd}")).collect();
    parts.join(r"\\")
}

/// The personal half of a signing, sealed.
pub(super) fn seal_personal(signing: &Signing, id: &[u8; 16], keys: &SealKeys) -> Vec<u8> {
    keys.seal_json(sealed_place(id), &Personal::from(signing))
}
