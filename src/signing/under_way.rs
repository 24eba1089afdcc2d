//! A check that is under way, for those who do not make it themselves (rule F2).
//!
//! An envelope is checked once in a quarter of an hour (rule B3). So of several who come back at once, as a browser that
//! loads the address again does, all but one find the check spent, and what it tells is a moment away. Who is sent on before
//! that is told what was known before.
//!
//! Must spend no call, and keep nobody for long: whether another daemon's check has failed nobody here knows.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;

use crate::{
    domain::{Moment, MomentKind, Signing, SigningId},
    events::hub::Watcher,
    signing::{Error, LOOK_FOR_OTHERS, Signings, follow::RETURN_PATIENCE},
};

/// Checks that this daemon has made lately, and that came to nothing: nobody waits for their answer.
#[derive(Debug, Default)]
pub(super) struct FailedChecks(Mutex<HashMap<SigningId, Timestamp>>);

impl FailedChecks {
    fn note(&self, id: SigningId, began: Timestamp, now: Timestamp) {
        let mut failed = self.lock();
        failed.retain(|_, began| age(*began, now) < RETURN_PATIENCE);
        failed.insert(id, began);
    }

    fn has(&self, id: SigningId, began: Timestamp) -> bool {
        self.lock().get(&id) == Some(&began)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SigningId, Timestamp>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// When the last check of an open envelope began, by whomever, unless its answer is here.
pub(super) fn unanswered_check(signing: &Signing) -> Option<Timestamp> {
    let began = signing.checked_at.filter(|_| !signing.status.is_terminal())?;
    let answers = |moment: &Moment| moment.what == MomentKind::Checked && moment.at >= began;
    (!signing.history.iter().any(answers)).then_some(began)
}

/// How long ago a check began. Also one that began "in the future": clocks of daemons differ, and ours may have been set
/// back.
pub(super) fn age(began: Timestamp, now: Timestamp) -> Duration {
    now.duration_since(began).unsigned_abs()
}

impl Signings {
    /// A check that began then came to nothing: whoever waits for its answer goes on without.
    pub(super) fn check_failed(&self, id: SigningId, began: Timestamp) {
        self.parts.failed_checks.note(id, began, self.parts.clock.now());
        self.parts.hub.changed(id);
    }

    /// A signing as it is known once the check that is under way is answered, or has been for too long; at once, if none is.
    /// The watcher is from before the check was found to be spent, so that no answer falls between.
    pub(super) async fn once_answered(&self, id: SigningId, watcher: &mut Watcher) -> Result<Signing, Error> {
        loop {
            let signing = self.record(id).await?.signing;
            let began = unanswered_check(&signing);
            let began = began.filter(|began| !self.parts.failed_checks.has(id, *began));
            let left = |began| RETURN_PATIENCE.saturating_sub(age(began, self.parts.clock.now()));
            let left = began.map_or(Duration::ZERO, left);
            if left.is_zero() {
                return Ok(signing);
            }
            watcher.changed_within(&*self.parts.clock, left.min(LOOK_FOR_OTHERS)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{SignerStatus, SigningStatus, sample};

    const fn at(second: i64) -> Timestamp {
        Timestamp::constant(1_700_000_000 + second, 123_456_700)
    }

    #[test]
    fn f2_a_check_is_under_way_until_it_is_answered_or_the_signing_has_ended() {
        let mut signing = sample::signing(SigningStatus::Open, SignerStatus::Ready);
        assert_eq!(unanswered_check(&signing), None, "there was none");
        signing.checked_at = Some(at(60));
        signing.remember_begun(at(59), MomentKind::Checked, None);
        assert_eq!(unanswered_check(&signing), Some(at(60)), "that was the answer to another");
        signing.remember_begun(at(60), MomentKind::Checked, None);
        assert_eq!(unanswered_check(&signing), None);
        signing.checked_at = Some(at(960));
        assert_eq!(unanswered_check(&signing), Some(at(960)));
        signing.status = SigningStatus::Completed;
        assert_eq!(unanswered_check(&signing), None);
    }

    #[test]
    fn f2_a_check_that_failed_is_remembered_while_somebody_may_wait_for_it() {
        let failed = FailedChecks::default();
        let [one, other] = [1, 2].map(|second| SigningId::generate(at(second)));
        failed.note(one, at(0), at(1));
        assert!(failed.has(one, at(0)) && !failed.has(one, at(900)) && !failed.has(other, at(0)));
        failed.note(other, at(2), at(2));
        assert!(failed.has(one, at(0)) && failed.has(other, at(2)));
        failed.note(other, at(3), at(3));
        assert!(!failed.has(one, at(0)), "nobody waits for it any more");
        assert!(failed.has(other, at(3)) && !failed.has(other, at(2)));
    }
}
