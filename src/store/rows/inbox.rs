//! Inbound messages as rows.

use crate::{
    domain::{EnvelopeId, Private},
    store::{
        Digest, Error, INBOUND_PAGE, Inbound, InboundPage,
        rows::{inbound_place, legible, micros, timestamp},
        seal::SealKeys,
    },
};

/// A row of `inbound`.
pub(in crate::store) struct InboundRow {
    pub(in crate::store) identity: Digest,
    pub(in crate::store) received_at: i64,
    pub(in crate::store) envelope: Option<String>,
    pub(in crate::store) event: String,
    pub(in crate::store) body: Vec<u8>,
}

impl InboundRow {
    pub(in crate::store) fn new(inbound: Inbound, keys: &SealKeys) -> Self {
        Self {
            identity: inbound.identity,
            received_at: micros(inbound.received_at),
            envelope: inbound.envelope.map(|envelope| envelope.as_str().to_owned()),
            event: inbound.event,
            body: keys.seal(inbound_place(&inbound.identity), &[inbound.body.reveal()]),
        }
    }

    pub(in crate::store) fn into_inbound(self, keys: &SealKeys) -> Result<Inbound, Error> {
        Ok(Inbound {
            identity: self.identity,
            received_at: timestamp(self.received_at)?,
            envelope: self.envelope.map(EnvelopeId::new),
            event: self.event,
            body: Private::new(keys.open(inbound_place(&self.identity), self.body)?),
        })
    }
}

/// Rows that may be read, or are passed over.
pub(in crate::store) fn inbound(rows: Vec<InboundRow>, keys: &SealKeys) -> Vec<Inbound> {
    legible(rows, "Connect delivery", |row| row.into_inbound(keys))
}

/// A page of rows, each with its position.
pub(in crate::store) fn inbound_page(rows: Vec<(i64, InboundRow)>, keys: &SealKeys) -> InboundPage {
    let is_full = u32::try_from(rows.len()).is_ok_and(|count| count >= INBOUND_PAGE);
    let next = rows.last().filter(|_| is_full).map(|(position, _)| position.unsigned_abs());
    InboundPage { messages: inbound(rows.into_iter().map(|(_, row)| row).collect(), keys), next }
}
