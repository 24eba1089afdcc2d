//! How many signings a caller may create in a day. Counted in the store, so that all daemons count together,
//! and before the create: one that then fails has counted, which errs on the side of the cap. Its repeats have not,
//! though a create that was refused has left nothing but this count: a key counts once a day.

use jiff::SignedDuration;

use super::{Error, Signings, Turn};
use crate::{
    clock::{later, start_of},
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

    /// A turn at a key, once nobody has it who came before: calls that come with one key at once go one after another
    /// until it is known what the first of them has begun, so that one of them counts.
    pub async fn turn(&self, key: Digest) -> Turn {
        self.parts.keys.wait(key).await
    }

    /// Counts a create whose key has made no signing, unless the key was counted today.
    pub async fn count_create(&self, caller: &CallerName, key: Digest, cap: u64) -> Result<(), Error> {
        self.count_in_day(caller, Some(&Counter::Key(key)), cap).await
    }

    /// Counts an envelope that is made in another way, which nothing tells a repeat of.
    pub async fn count_envelope(&self, caller: &CallerName, cap: u64) -> Result<(), Error> {
        self.count_in_day(caller, None, cap).await
    }

    /// A key that the cap refused is none that was let in: both are counted, or neither.
    async fn count_in_day(&self, caller: &CallerName, key: Option<&Counter>, cap: u64) -> Result<(), Error> {
        let day = start_of(self.parts.clock.now(), DAY);
        let of_caller = Counter::Creates(caller.clone());
        if self.parts.store.count_within(&of_caller, key, day, cap).await? {
            return Ok(());
        }
        let until = later(day, DAY);
        Err(Error::DailyCap { cap, until })
    }
}
