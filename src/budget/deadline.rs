//! The caller's deadline, as it travels with the work (rule B4).

use std::time::Duration;

use crate::clock::Clock;

/// The uptime by which something must have ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline {
    at: Duration,
    /// How long the answer to what has left by then is waited for.
    answered_by: Duration,
}

impl Deadline {
    /// A deadline so long from now.
    pub fn within(clock: &dyn Clock, time: Duration) -> Self {
        let at = clock.uptime().saturating_add(time);
        Self { at, answered_by: at }
    }

    /// Waits so long from now for the answer to what has left in time: it is of use to whoever asks next, when nobody
    /// waits for it any more.
    #[must_use]
    pub fn answered_within(self, clock: &dyn Clock, time: Duration) -> Self {
        Self { answered_by: clock.uptime().saturating_add(time).max(self.at), ..self }
    }

    /// The uptime at which it is over.
    pub const fn at(self) -> Duration {
        self.at
    }

    /// What is left of it.
    pub const fn left(self, uptime: Duration) -> Duration {
        self.at.saturating_sub(uptime)
    }

    /// Takes a step for as long as there is time. What is there already is taken, whatever is left. None: the time was
    /// over first.
    pub async fn hold<T>(self, clock: &dyn Clock, step: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            done = step => Some(done),
            () = clock.sleep(self.left(clock.uptime())) => None,
        }
    }

    /// How long an answer is waited for, if something that takes `needed` can still end in time.
    pub fn leaves(self, needed: Duration, uptime: Duration) -> Option<Duration> {
        (self.left(uptime) >= needed).then(|| self.answered_by.saturating_sub(uptime))
    }
}
