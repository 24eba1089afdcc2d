//! One status check an envelope in 15 minutes (rule B3).
//!
//! Source: "Rules and limits", polling: one GET of the same resource in 15 minutes; breaking it does
//! not fail the call, but it can fail the review before going live.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};

use super::{Now, Scope, Shed};
use crate::{domain::EnvelopeId, store::Taking};

/// Between two checks of one resource of one envelope.
pub const INTERVAL: Duration = Duration::from_secs(15 * 60);
/// The name under which an envelope is asked about by a list. No path has a slash at its beginning.
pub(super) const LISTING: &str = "/list";
/// So many envelopes are remembered before those whose time is over are forgotten.
const SWEEP_AT: usize = 16_384;

/// Whether an envelope that was last asked about then may be asked about now; if not, when.
pub fn may_check(last_checked: Option<Timestamp>, now: Timestamp) -> Result<(), Timestamp> {
    let Some(last) = last_checked else { return Ok(()) };
    let interval = SignedDuration::try_from(INTERVAL).unwrap_or(SignedDuration::MAX);
    // A check "in the future" means that the clock was set back: it must not block for longer than one interval.
    let last = last.min(now);
    match last.saturating_add(interval) {
        Ok(retry_at) if retry_at > now => Err(retry_at),
        _ => Ok(()),
    }
}

/// What makes a check free in the store, where it is told by dates.
pub(super) fn taking(now: Now) -> Taking {
    let interval = SignedDuration::try_from(INTERVAL).unwrap_or(SignedDuration::MAX);
    Taking {
        now: now.date,
        free_since: now.date.saturating_sub(interval).unwrap_or(Timestamp::MIN),
        absurd_after: now.date.saturating_add(interval).unwrap_or(Timestamp::MAX),
    }
}

/// The checks that this process made, whoever asked for them.
#[derive(Debug, Default)]
pub(super) struct Checks {
    made: Mutex<HashMap<(EnvelopeId, String), Duration>>,
}

impl Checks {
    pub(super) fn claim(&self, envelope: &EnvelopeId, resource: &str, now: Now) -> Result<(), Shed> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if made.len() >= SWEEP_AT {
            made.retain(|_, at| at.saturating_add(INTERVAL) > now.uptime);
        }
        let last = made.entry((envelope.clone(), resource.to_owned()));
        match last {
            std::collections::hash_map::Entry::Occupied(mut last) => {
                let until = last.get().saturating_add(INTERVAL);
                if until > now.uptime {
                    return Err(shed(until, now));
                }
                last.insert(now.uptime);
            }
            std::collections::hash_map::Entry::Vacant(none) => {
                none.insert(now.uptime);
            }
        }
        Ok(())
    }

    /// A claim of ours was refused, because one was made then by somebody else: so it counts here, too.
    pub(super) fn made_elsewhere(
        &self,
        envelope: &EnvelopeId,
        resource: &str,
        made_at: Duration,
        now: Now,
    ) -> Shed {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        made.insert((envelope.clone(), resource.to_owned()), made_at);
        shed(made_at.saturating_add(INTERVAL), now)
    }

    pub(super) fn give_back(&self, envelope: &EnvelopeId, resource: &str) {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        made.remove(&(envelope.clone(), resource.to_owned()));
    }
}

fn shed(until: Duration, now: Now) -> Shed {
    Shed { scope: Scope::Polling, retry_at: now.date_of(until), until, is_gone: false }
}
