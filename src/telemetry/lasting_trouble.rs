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

/// A line that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Say<'a, E> {
    /// It fails, for the first time or for another minute.
    Fails(&'a E),
    /// It works again, after it had not for so long.
    Over(Duration),
}

impl LastingTrouble {
    /// How a try ended. Answers what there is to say of it.
    pub fn note<'a, T, E>(&self, ended: &'a Result<T, E>, uptime: Duration) -> Option<Say<'a, E>> {
        match ended {
            Ok(_) => self.works(uptime).map(Say::Over),
            Err(error) => self.fails(uptime).then_some(Say::Fails(error)),
        }
    }

    /// It has failed. Answers whether it is time for a line.
    fn fails(&self, uptime: Duration) -> bool {
        let mut since = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let since = since.get_or_insert(Since { began: uptime, next: uptime });
        let is_due = uptime >= since.next;
        if is_due {
            since.next = uptime + PAUSE;
        }
        is_due
    }

    /// It has worked. Answers for how long it had not, if it had failed the last time.
    fn works(&self, uptime: Duration) -> Option<Duration> {
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

    #[test]
    fn a_try_says_its_error_when_a_line_is_due_and_once_that_it_is_over() {
        let (trouble, worked, failed) = (LastingTrouble::default(), Ok::<_, &str>(7), Err::<u8, _>("away"));
        let note = |ended, second| trouble.note(ended, Duration::from_secs(second));
        assert_eq!(note(&worked, 0), None);
        assert_eq!(note(&failed, 1), Some(Say::Fails(&"away")));
        assert_eq!(note(&failed, 2), None, "that was said");
        assert_eq!(note(&worked, 4), Some(Say::Over(Duration::from_secs(3))));
        assert_eq!(note(&worked, 5), None);
    }
}
