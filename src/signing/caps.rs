//! How many signings a caller may create in a day. Counted in the store, so that all daemons count together,
//! and before the create: one that then fails has counted, which errs on the side of the cap. Its repeats have not,
//! though a create that was refused has left nothing but this count: a key counts once a day.

use jiff::{SignedDuration, Timestamp};

use super::{Error, Signings};
use crate::{
    clock::start_of,
    domain::CallerName,
    store::{Counter, Digest},
};

/// By UTC.
const DAY: SignedDuration = SignedDuration::from_hours(24);

impl Signings {
    /// Whether a key has made a signing: the same call is no new create.
    pub async fn is_key_known(&self, caller: &CallerName, key: Digest) -> Result<bool, Error> {
        Ok(self.parts.store.signing_by_key(caller, key).await?.is_some())
    }

    /// Counts a create whose key has made no signing, unless the key was counted today.
    pub async fn count_create(&self, caller: &CallerName, key: Digest, cap: u64) -> Result<(), Error> {
        let store = &self.parts.store;
        let (day, counted) = (start_of(self.parts.clock.now(), DAY), Counter::Key(key));
        if store.spend(&counted, day, 0).await? > 0 {
            return Ok(());
        }
        self.count_envelope(caller, cap).await?;
        // Only now: a key that the cap refused is none that was let in.
        store.spend(&counted, day, 1).await?;
        Ok(())
    }

    /// Counts an envelope that is made in another way, which nothing tells a repeat of.
    pub async fn count_envelope(&self, caller: &CallerName, cap: u64) -> Result<(), Error> {
        let day = start_of(self.parts.clock.now(), DAY);
        let counted = self.parts.store.spend(&Counter::Creates(caller.clone()), day, 1).await?;
        if counted <= cap {
            return Ok(());
        }
        let until = day.saturating_add(DAY).unwrap_or(Timestamp::MAX);
        Err(Error::DailyCap { cap, until })
    }
}
