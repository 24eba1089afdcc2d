//! A circuit breaker in front of creates and clicks: while the upstream is dead, new ones are queued at
//! once instead of each waiting for its own time-out, and one probe at a time finds out when it is back.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// Failures in a row that open the circuit.
const TOLERATED: u32 = 5;
/// Time between probes while it is open. Short, because an uncertain create is to be decided within
/// seconds of the upstream answering again.
const PROBE_EVERY: Duration = Duration::from_secs(2);

/// Counts failures in a row. All times are uptime.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    failures: u32,
    next_probe: Duration,
}

impl Breaker {
    /// Whether a call may be tried now. While open, one caller in [`PROBE_EVERY`] may.
    pub(super) fn admits(&self, uptime: Duration) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.failures < TOLERATED {
            return true;
        }
        let probe = uptime >= state.next_probe;
        if probe {
            state.next_probe = uptime + PROBE_EVERY;
        }
        probe
    }

    /// The upstream answered, whatever it said.
    pub(super) fn answered(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).failures = 0;
    }

    /// The upstream did not answer.
    pub(super) fn failed(&self, uptime: Duration) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.failures = state.failures.saturating_add(1);
        if state.failures == TOLERATED {
            state.next_probe = uptime + PROBE_EVERY;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_after_failures_probes_and_closes_with_an_answer() {
        let breaker = Breaker::default();
        let at = Duration::from_secs;
        for _ in 0..TOLERATED {
            assert!(breaker.admits(at(1)));
            breaker.failed(at(1));
        }
        assert!(!breaker.admits(at(1)));
        assert!(breaker.admits(at(4)), "one probe");
        assert!(!breaker.admits(at(4)), "and only one");
        breaker.answered();
        assert!(breaker.admits(at(4)) && breaker.admits(at(4)));
    }
}
