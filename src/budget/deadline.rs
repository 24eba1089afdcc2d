//! The caller's deadline, as it travels with the work (rule B4).

use std::time::Duration;

use crate::clock::Clock;

/// The uptime by which something must have ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(Duration);

impl Deadline {
    /// A deadline so long from now.
    pub fn within(clock: &dyn Clock, time: Duration) -> Self {
        Self(clock.uptime().saturating_add(time))
    }

    /// The uptime at which it is over.
    pub const fn at(self) -> Duration {
        self.0
    }

    /// What is left of it.
    pub const fn left(self, uptime: Duration) -> Duration {
        self.0.saturating_sub(uptime)
    }

    /// What is left, if something that takes `needed` can still end in time.
    pub fn leaves(self, needed: Duration, uptime: Duration) -> Option<Duration> {
        Some(self.left(uptime)).filter(|left| *left >= needed)
    }
}
