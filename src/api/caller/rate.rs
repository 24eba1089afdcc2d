//! How often a caller may call: a token bucket, `count` at once, refilled evenly over `per`.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use crate::config::Rate;

#[derive(Debug)]
pub(super) struct Bucket {
    count: f64,
    per_second: f64,
    state: Mutex<(f64, Duration)>,
}

impl Bucket {
    pub(super) fn new(rate: Rate) -> Self {
        let count = f64::from(rate.count);
        Self { count, per_second: count / rate.per.as_secs_f64(), state: Mutex::new((count, Duration::ZERO)) }
    }

    /// Takes one; the error is the time until there is one.
    pub(super) fn take(&self, uptime: Duration) -> Result<(), Duration> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (left, last) = *state;
        let passed = uptime.saturating_sub(last).as_secs_f64();
        let left = passed.mul_add(self.per_second, left).min(self.count);
        if left < 1.0 {
            *state = (left, uptime);
            return Err(Duration::from_secs_f64((1.0 - left) / self.per_second));
        }
        *state = (left - 1.0, uptime);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_its_count_and_refills_evenly() {
        let bucket = Bucket::new(Rate { count: 2, per: Duration::from_secs(10) });
        let at = Duration::from_secs;
        assert!(bucket.take(at(100)).is_ok() && bucket.take(at(100)).is_ok());
        assert_eq!(bucket.take(at(100)), Err(at(5)));
        assert!(bucket.take(at(105)).is_ok());
        assert!(bucket.take(at(106)).is_err());
    }
}
