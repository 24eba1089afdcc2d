//! The emulator's own time: the machine's, moved by whatever a test asked for.
//!
//! Tests of token expiry, of the hour's budget or of an envelope's end must not wait for them.
//! Every handler and every background task reads only this.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;

use crate::clock::SharedClock;

/// A clock that can be moved; clones share it.
#[derive(Debug, Clone)]
pub(super) struct Time {
    base: SharedClock,
    offset: Arc<Mutex<SignedDuration>>,
    moved: watch::Sender<u64>,
}

impl Time {
    /// The given clock, not moved yet.
    pub(super) fn new(base: SharedClock) -> Self {
        Self { base, offset: Arc::new(Mutex::new(SignedDuration::ZERO)), moved: watch::Sender::new(0) }
    }

    /// What the emulator believes the time to be.
    pub(super) fn now(&self) -> Timestamp {
        let offset = *self.offset.lock().unwrap_or_else(PoisonError::into_inner);
        self.base.now().saturating_add(offset).unwrap_or(Timestamp::MAX)
    }

    /// Moves it by so much, back or forth.
    pub(super) fn advance(&self, by: SignedDuration) {
        {
            let mut offset = self.offset.lock().unwrap_or_else(PoisonError::into_inner);
            *offset = offset.saturating_add(by);
        }
        self.moved.send_modify(|moves| *moves += 1);
    }

    /// Moves it to an instant.
    pub(super) fn set(&self, to: Timestamp) {
        self.advance(to.duration_since(self.now()));
    }

    /// Back to the given clock.
    pub(super) fn restore(&self) {
        *self.offset.lock().unwrap_or_else(PoisonError::into_inner) = SignedDuration::ZERO;
        self.moved.send_modify(|moves| *moves += 1);
    }

    /// Waits until the emulator's time has come to `at`, also when a test moves it there.
    pub(super) async fn sleep_until(&self, at: Timestamp) {
        let mut moved = self.moved.subscribe();
        loop {
            let left = at.duration_since(self.now());
            let Ok(left) = Duration::try_from(left) else { return };
            if left.is_zero() {
                return;
            }
            tokio::select! {
                () = self.base.sleep(left) => {}
                _ = moved.changed() => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    #[tokio::test]
    async fn moving_the_time_wakes_who_waits_for_it() {
        let time = Time::new(Arc::new(ManualClock::new(Timestamp::UNIX_EPOCH)));
        let at = Timestamp::from_second(3_600).unwrap();
        let waiting = tokio::spawn({
            let time = time.clone();
            async move { time.sleep_until(at).await }
        });
        time.set(at);
        waiting.await.unwrap();
        assert_eq!(time.now(), at);
        time.restore();
        assert_eq!(time.now(), Timestamp::UNIX_EPOCH);
    }
}
