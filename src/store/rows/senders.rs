//! Records of senders as rows.

use crate::{
    domain::{AccountId, Private, SenderName},
    store::{
        Error, SenderRecord,
        rows::{malformed, micros, sender_place, signed, timestamp, version},
        seal::SealKeys,
    },
};

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
    pub(in crate::store) fn new(record: &SenderRecord, keys: &SealKeys) -> Self {
        let name = record.sender.as_str();
        let seal = |text: &Private<String>| keys.seal(sender_place(name), &[text.reveal().as_bytes()]);
        Self {
            name: name.to_owned(),
            user_id: record.user_id.clone(),
            account: record.account.as_str().to_owned(),
            sealed: record.sealed.as_ref().map(seal),
            connected_at: micros(record.connected_at),
            version: signed(record.version.0),
        }
    }

    pub(in crate::store) fn into_record(self, keys: &SealKeys) -> Result<SenderRecord, Error> {
        let sealed = match self.sealed {
            None => None,
            Some(sealed) => {
                let text = keys.open(sender_place(&self.name), sealed)?;
                let text = String::from_utf8(text.to_vec()).map_err(|_| malformed("sender record"))?;
                Some(Private::new(text))
            }
        };
        Ok(SenderRecord {
            sender: SenderName::new(self.name),
            user_id: self.user_id,
            account: AccountId::new(self.account),
            sealed,
            connected_at: timestamp(self.connected_at)?,
            version: version(self.version),
        })
    }
}
