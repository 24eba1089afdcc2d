//! What is written of a signing: sealed and turned into JSON in the caller's task, before a connection is
//! taken.

use bytes::Bytes;
use jiff::Timestamp;

use crate::{
    domain::{CallerName, EnvelopeId, Private, Signing},
    store::{
        Change, Digest, Intent, KeptAnswer, Link, Payload, Work,
        rows::{ANSWER_PREFIX, EventRow, answer_place, bytes, micros, payload_place, signed, signing},
        seal::SealKeys,
    },
};

/// The cells of a signing that change with it.
pub(in crate::store) struct SigningCells {
    pub(in crate::store) id: [u8; 16],
    pub(in crate::store) status: &'static str,
    pub(in crate::store) terminal: bool,
    pub(in crate::store) envelope: Option<EnvelopeId>,
    pub(in crate::store) heard_at: i64,
    pub(in crate::store) state: String,
    pub(in crate::store) sealed: Vec<u8>,
}

/// The cells of a signing's work.
#[derive(Clone, Copy, Default)]
pub(in crate::store) struct WorkCells {
    pub(in crate::store) due_at: Option<i64>,
    pub(in crate::store) leased_until: Option<i64>,
    /// When it may be claimed: due, and no lease lives.
    pub(in crate::store) free_at: Option<i64>,
    pub(in crate::store) attempts: i64,
}

impl WorkCells {
    pub(in crate::store) fn new(work: Option<Work>) -> Self {
        work.map_or_else(Self::default, |work| {
            let due_at = micros(work.due_at);
            let leased_until = work.leased_until.map(micros);
            Self {
                due_at: Some(due_at),
                leased_until,
                free_at: Some(leased_until.map_or(due_at, |until| until.max(due_at))),
                attempts: i64::from(work.attempts),
            }
        })
    }
}

impl SigningCells {
    pub(in crate::store) fn new(signing: &Signing, keys: &SealKeys) -> Self {
        let id = bytes(signing.id.as_uuid());
        Self {
            id,
            status: signing.status.as_str(),
            terminal: signing.status.is_terminal(),
            envelope: signing.envelope.clone(),
            heard_at: micros(signing.checked_at.unwrap_or_else(|| begun_at(signing))),
            state: signing::state_of(signing),
            sealed: signing::seal_personal(signing, &id, keys),
        }
    }
}

/// When it was asked for, by our clock: `created_at` is by the upstream's.
fn begun_at(signing: &Signing) -> Timestamp {
    signing.history.first().map_or(signing.created_at, |moment| moment.at)
}

/// A new signing, ready to be written.
pub(in crate::store) struct NewRow {
    pub(in crate::store) cells: SigningCells,
    pub(in crate::store) caller: CallerName,
    pub(in crate::store) key: Digest,
    pub(in crate::store) request: Digest,
    pub(in crate::store) reference: Option<String>,
    pub(in crate::store) created_at: i64,
    pub(in crate::store) work: WorkCells,
    pub(in crate::store) links: Vec<Link>,
    pub(in crate::store) payload: Option<Vec<u8>>,
}

/// A change of a signing, ready to be written.
pub(in crate::store) struct ChangedRow {
    pub(in crate::store) cells: SigningCells,
    pub(in crate::store) from: i64,
    pub(in crate::store) now: i64,
    pub(in crate::store) work: WorkCells,
    pub(in crate::store) answer: Option<Vec<u8>>,
    pub(in crate::store) payload: NewPayload,
    pub(in crate::store) events: Vec<EventRow>,
    pub(in crate::store) links: Vec<Link>,
}

/// What happens to the payload; sealed already.
pub(in crate::store) enum NewPayload {
    Drop,
    Keep,
    Put(Vec<u8>),
}

impl NewRow {
    pub(in crate::store) fn new(intent: &Intent, keys: &SealKeys) -> Self {
        let cells = SigningCells::new(&intent.signing, keys);
        let seal = |payload: &Private<Bytes>| keys.seal(payload_place(&cells.id), &[payload.reveal()]);
        let payload = intent.payload.as_ref().map(seal);
        Self {
            cells,
            caller: intent.signing.caller.clone(),
            key: intent.key,
            request: intent.request,
            reference: intent.signing.reference.clone(),
            created_at: micros(intent.signing.created_at),
            work: WorkCells::new(Some(intent.work)),
            links: intent.links.clone(),
            payload,
        }
    }
}

impl ChangedRow {
    pub(in crate::store) fn new(change: Change<'_>, keys: &SealKeys, now: Timestamp) -> Self {
        let cells = SigningCells::new(change.signing, keys);
        let answer = change.answer.map(|answer| seal_answer(keys, &cells.id, &answer));
        let payload = match change.payload {
            Payload::Drop => NewPayload::Drop,
            Payload::Keep => NewPayload::Keep,
            Payload::Put(payload) => {
                NewPayload::Put(keys.seal(payload_place(&cells.id), &[payload.reveal()]))
            }
        };
        Self {
            cells,
            from: signed(change.from.0),
            now: micros(now),
            work: WorkCells::new(change.work),
            answer,
            payload,
            events: EventRow::seal_all(change.events, keys),
            links: change.links,
        }
    }
}

fn seal_answer(keys: &SealKeys, signing: &[u8; 16], answer: &KeptAnswer) -> Vec<u8> {
    keys.seal(answer_place(signing), &[&ANSWER_PREFIX, answer.body.reveal()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::rows::signing::open_answer;

    #[test]
    fn an_answer_is_kept_as_older_daemons_keep_it() {
        let (keys, id) = (SealKeys::new(&[1; 32], &[]), [7; 16]);
        let answer = KeptAnswer { body: Private::new(Bytes::from_static(b"{}")) };
        let sealed = seal_answer(&keys, &id, &answer);
        assert_eq!(keys.open(answer_place(&id), sealed.clone()).unwrap(), b"\x00\xc9{}".as_slice());
        assert_eq!(open_answer(&keys, &id, sealed).unwrap(), answer);
        assert!(open_answer(&keys, &id, keys.seal(answer_place(&id), &[b"?"])).is_err(), "it is cut short");
    }
}
