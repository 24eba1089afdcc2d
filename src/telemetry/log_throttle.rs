//! Lines that strangers can cause: one a second at most, so that somebody who guesses cannot fill a disk. How many
//! there were is counted elsewhere; a line says of how many nothing was said before it.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// How long after a line the next one may come.
const PAUSE: Duration = Duration::from_secs(1);

/// Whether it is time for a line of one kind.
#[derive(Debug, Default)]
pub struct LogThrottle(Mutex<Said>);

#[derive(Debug, Default)]
struct Said {
    next: Duration,
    unsaid: u64,
}

impl LogThrottle {
    /// How many were passed over since the last line, if it is time for one.
    pub fn due(&self, uptime: Duration) -> Option<u64> {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if uptime < said.next {
            said.unsaid += 1;
            return None;
        }
        said.next = uptime + PAUSE;
        Some(std::mem::take(&mut said.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_a_line_a_second_that_counts_the_rest() {
        let sparing = LogThrottle::default();
        let at = |ms| sparing.due(Duration::from_millis(ms));
        assert_eq!(at(0), Some(0));
        assert_eq!((at(1), at(500), at(999)), (None, None, None));
        assert_eq!((at(1_000), at(9_000)), (Some(3), Some(0)));
    }
}
