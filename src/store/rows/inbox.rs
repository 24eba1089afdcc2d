//! Inbound messages and connected senders as rows.

use crate::{
    domain::{AccountId, EnvelopeId, Private, SenderName},
    store::{
        ConnectedSender, Digest, Error, Inbound,
        rows::{inbound_place, malformed, micros, sender_place, signed, timestamp, version},
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

/// A row of `senders`.
pub(in crate::store) struct SenderRow {
    pub(in crate::store) name: String,
    pub(in crate::store) user_id: String,
    pub(in crate::store) account: String,
    pub(in crate::store) sealed: Option<Vec<u8>>,
    pub(in crate::store) connected_at: i64,
    pub(in crate::store) version: i64,
}

impl SenderRow {
    pub(in crate::store) fn new(sender: &ConnectedSender, keys: &SealKeys) -> Self {
        let name = sender.sender.as_str();
        let seal = |token: &Private<String>| keys.seal(sender_place(name), &[token.reveal().as_bytes()]);
        Self {
            name: name.to_owned(),
            user_id: sender.user_id.clone(),
            account: sender.account.as_str().to_owned(),
            sealed: sender.refresh_token.as_ref().map(seal),
            connected_at: micros(sender.connected_at),
            version: signed(sender.version.0),
        }
    }

    pub(in crate::store) fn into_sender(self, keys: &SealKeys) -> Result<ConnectedSender, Error> {
        let refresh_token = match self.sealed {
            None => None,
            Some(sealed) => {
                let token = keys.open(sender_place(&self.name), sealed)?;
                let token = String::from_utf8(token.to_vec()).map_err(|_| malformed("sender"))?;
                Some(Private::new(token))
            }
        };
        Ok(ConnectedSender {
            sender: SenderName::new(self.name),
            user_id: self.user_id,
            account: AccountId::new(self.account),
            refresh_token,
            connected_at: timestamp(self.connected_at)?,
            version: version(self.version),
        })
    }
}
