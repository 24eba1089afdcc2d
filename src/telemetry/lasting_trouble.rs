//! Trouble of what is tried again and again, such as a store that does not answer: a line when it begins, one a minute
//! while it lasts, and one when it is over.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// How long after a line about lasting trouble the next one may come.
const PAUSE: Duration = Duration::from_secs(60);

/// Whether something fails, and when that was said.
#[derive(Debug, Default)]
pub struct LastingTrouble(Mutex<Option<Since>>);

#[derive(Debug, Clone, Copy)]
struct Since {
    began: Duration,
    next: Duration,
}

impl LastingTrouble {
    /// It has failed. Answers whether it is time for a line.
    pub fn fails(&self, uptime: Duration) -> bool {
        let mut since = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let since = since.get_or_insert(Since { began: uptime, next: uptime });
        let is_due = uptime >= since.next;
        if is_due {
            since.next = uptime + PAUSE;
        }
        is_due
    }

    /// It has worked. Answers for how long it had not, if it had failed the last time.
    pub fn works(&self, uptime: Duration) -> Option<Duration> {
        let since = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        since.map(|since| uptime.saturating_sub(since.began))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_for_long_is_a_line_at_its_begin_one_a_minute_and_one_at_its_end() {
        let trouble = LastingTrouble::default();
        let fails = |ms| trouble.fails(Duration::from_millis(ms));
        assert_eq!(trouble.works(Duration::ZERO), None, "nothing was wrong");
        assert!(fails(500));
        assert!((2..=120).all(|half| !fails(half * 500)), "twice a second");
        assert!(fails(60_500));
        assert!(!fails(61_000));
        assert_eq!(trouble.works(Duration::from_secs(90)), Some(Duration::from_millis(89_500)));
        assert_eq!(trouble.works(Duration::from_secs(91)), None);
        assert!(fails(91_500), "it begins anew");
    }
}
