//! A token bucket: so many at once, refilled evenly. All times are uptime.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// Tokens that are taken one by one and come back with time. Whoever shares one locks it.
#[derive(Debug)]
pub struct Bucket {
    count: f64,
    per_second: f64,
    left: f64,
    at: Duration,
}

impl Bucket {
    /// A full one, of at most `count`, that gets `per_second` back.
    pub const fn new(count: f64, per_second: f64) -> Self {
        Self { count, per_second, left: count, at: Duration::ZERO }
    }

    /// Takes one; the error is the time until there is one.
    pub fn take(&mut self, uptime: Duration) -> Result<(), Duration> {
        let wait = self.wait(uptime);
        self.left = self.left_at(uptime);
        self.at = uptime;
        if self.left < 1.0 {
            return Err(wait);
        }
        self.left -= 1.0;
        Ok(())
    }

    /// The time until there is one; zero if there is.
    pub fn wait(&self, uptime: Duration) -> Duration {
        let missing = (1.0 - self.left_at(uptime)).max(0.0);
        Duration::from_secs_f64(missing / self.per_second)
    }

    /// Gives back all that was taken.
    pub const fn fill(&mut self) {
        self.left = self.count;
    }

    /// Whether all that was taken has come back, so that a new one would do as well.
    pub fn is_full(&self, uptime: Duration) -> bool {
        self.left_at(uptime) >= self.count
    }

    fn left_at(&self, uptime: Duration) -> f64 {
        let passed = uptime.saturating_sub(self.at).as_secs_f64();
        passed.mul_add(self.per_second, self.left).min(self.count)
    }
}

/// Buckets of one size, one for each key that comes; the number of keys is bounded.
#[derive(Debug)]
pub struct Buckets<K> {
    count: f64,
    per_second: f64,
    most: usize,
    by_key: Mutex<HashMap<K, Bucket>>,
}

impl<K: Eq + Hash> Buckets<K> {
    /// Buckets of at most `count`, that get `per_second` back, for at most `most` keys.
    pub fn new(count: f64, per_second: f64, most: usize) -> Self {
        Self { count, per_second, most, by_key: Mutex::default() }
    }

    /// The time until a key may take one; zero if it may.
    pub fn wait(&self, key: &K, uptime: Duration) -> Duration {
        self.lock().get(key).map_or(Duration::ZERO, |bucket| bucket.wait(uptime))
    }

    /// Takes one; the error is the time until there is one. None: there are too many keys, though all whose bucket is
    /// full again have made room.
    pub fn take(&self, key: K, uptime: Duration) -> Option<Result<(), Duration>> {
        let mut buckets = self.lock();
        if buckets.len() >= self.most && !buckets.contains_key(&key) {
            buckets.retain(|_, bucket| !bucket.is_full(uptime));
            if buckets.len() >= self.most {
                return None;
            }
        }
        let bucket = buckets.entry(key).or_insert_with(|| Bucket::new(self.count, self.per_second));
        Some(bucket.take(uptime))
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, Bucket>> {
        self.by_key.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: fn(u64) -> Duration = Duration::from_secs;

    #[test]
    fn a_bucket_gives_its_count_and_refills_evenly() {
        let mut bucket = Bucket::new(2.0, 0.2);
        assert!(bucket.take(AT(100)).is_ok() && bucket.take(AT(100)).is_ok());
        assert_eq!(bucket.take(AT(100)), Err(AT(5)));
        assert_eq!((bucket.wait(AT(100)), bucket.wait(AT(105))), (AT(5), AT(0)), "and looking takes nothing");
        assert!(bucket.take(AT(105)).is_ok());
        assert!(bucket.take(AT(106)).is_err());
    }

    #[test]
    fn a_bucket_is_full_again_with_time_or_when_all_is_given_back() {
        let mut bucket = Bucket::new(2.0, 0.5);
        assert!(bucket.is_full(AT(0)));
        assert!(bucket.take(AT(10)).is_ok());
        assert!(!bucket.is_full(AT(11)));
        assert!(bucket.is_full(AT(12)));
        assert!(bucket.take(AT(12)).is_ok() && bucket.take(AT(12)).is_ok());
        bucket.fill();
        assert!(bucket.is_full(AT(12)));
        assert!(bucket.take(AT(1_000)).is_ok() && bucket.take(AT(1_000)).is_ok());
        assert!(bucket.take(AT(1_000)).is_err(), "never more than its count");
    }
}
