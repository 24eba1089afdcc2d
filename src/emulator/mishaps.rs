//! What the faults do to one request: which of them hit it, and what becomes of its connection.

use std::time::Duration;

use super::{
    faults::{Fault, Kind},
    state::World,
};

/// What becomes of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// The whole answer is sent.
    Answers,
    /// The work is done and the connection cut.
    Drops,
    /// Nothing is done and the connection cut.
    Resets,
    /// Half the answer is sent.
    Truncates,
}

/// What the faults do to one request.
#[derive(Debug)]
pub(super) struct Plan {
    /// How late it is answered.
    pub(super) delay: Option<Duration>,
    /// Nothing is done, and nothing answered.
    pub(super) stall: Option<Fault>,
    /// What becomes of the connection then.
    pub(super) fate: Fate,
    /// Whether its bearer token stops working first.
    pub(super) token_dies: bool,
    /// `rate_limit`, `status` or `html`: answered instead of doing the work.
    pub(super) instead: Option<Fault>,
}

impl Plan {
    /// Draws each fault that may hit it.
    pub(super) fn draw(world: &mut World, method: &str, path: &str) -> Self {
        let faults = &mut world.faults;
        let mut fire = |kind| faults.fire(kind, method, path);
        let delay = fire(Kind::Delay).and_then(|fault| fault.delay_ms).map(Duration::from_millis);
        let fates = [
            (Kind::ResetBeforeCommit, Fate::Resets),
            (Kind::CommitThenDrop, Fate::Drops),
            (Kind::Truncate, Fate::Truncates),
        ];
        let fate = fates.into_iter().find_map(|(kind, fate)| fire(kind).map(|_| fate));
        Self {
            delay,
            stall: fire(Kind::Stall),
            fate: fate.unwrap_or(Fate::Answers),
            token_dies: fire(Kind::TokenDies).is_some(),
            instead: [Kind::RateLimit, Kind::Status, Kind::Html].into_iter().find_map(fire),
        }
    }

    /// Whether it comes to its handler.
    pub(super) fn is_handled(&self) -> bool {
        self.stall.is_none() && self.fate != Fate::Resets
    }
}
