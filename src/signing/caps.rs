//! How many signings a caller may create in a day. Counted in the store, so that all daemons count together,
//! and before the create: one that then fails has counted, which errs on the side of the cap.

use jiff::{SignedDuration, Timestamp};

use super::{Error, Signings};
use crate::{
    domain::{AccountId, CallerName},
    store::Digest,
};

const DAY_S: i64 = 86_400;

impl Signings {
    /// Counts a create, unless its key made one before: a repeat is the same signing.
    pub async fn count_create(&self, caller: &CallerName, key: Digest, cap: u64) -> Result<(), Error> {
        if self.parts.store.signing_by_key(caller, key).await?.is_some() {
            return Ok(());
        }
        self.count_envelope(caller, cap).await
    }

    /// Counts an envelope that is made in another way, which nothing tells a repeat of.
    pub async fn count_envelope(&self, caller: &CallerName, cap: u64) -> Result<(), Error> {
        let day = day_of(self.parts.clock.now());
        // No account of the upstream has a colon in its id.
        let counter = AccountId::new(format!("caller:{caller}"));
        let spent = self.parts.store.spend(&counter, day, 1).await?;
        if spent <= cap {
            return Ok(());
        }
        let until = day.saturating_add(SignedDuration::from_secs(DAY_S)).unwrap_or(Timestamp::MAX);
        Err(Error::DailyCap { cap, until })
    }
}

/// The first moment of the day (UTC).
fn day_of(now: Timestamp) -> Timestamp {
    Timestamp::from_second(now.as_second().div_euclid(DAY_S) * DAY_S).unwrap_or(now)
}
