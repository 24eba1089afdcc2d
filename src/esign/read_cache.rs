//! What was read of the upstream lately, until it is too old by our own clock.

use std::{hash::Hash, time::Duration};

use moka::{Equivalent, sync::Cache};

/// More than a daemon has accounts or templates in use; what is beyond is read again.
const MAX_KEPT: u64 = 1_000;

/// Values by their keys, each with the uptime at which it is too old. moka bounds them, and gives up what is
/// asked for least.
pub(super) struct ReadCache<K, V>(Cache<K, (V, Duration)>);

impl<K, V> ReadCache<K, V>
where
    K: Eq + Hash + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    pub(super) fn new() -> Self {
        Self(Cache::new(MAX_KEPT))
    }

    /// What was read, if it is not too old.
    pub(super) fn get<Q>(&self, key: &Q, now: Duration) -> Option<V>
    where
        Q: Equivalent<K> + Hash + ?Sized,
    {
        self.0.get(key).filter(|(_, until)| now < *until).map(|(value, _)| value)
    }

    /// Keeps what was read.
    pub(super) fn put(&self, key: K, value: V, now: Duration, life: Duration) {
        self.0.insert(key, (value, now.saturating_add(life)));
    }

    /// Forgets what was read: it no longer holds.
    pub(super) fn forget<Q>(&self, key: &Q)
    where
        Q: Equivalent<K> + Hash + ?Sized,
    {
        self.0.invalidate(key);
    }

    /// Forgets all whose key is such.
    pub(super) fn forget_all(&self, is_such: impl Fn(&K) -> bool) {
        for (key, _) in self.0.iter().filter(|(key, _)| is_such(key)) {
            self.0.invalidate(&*key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn what_is_too_old_is_not_there_and_there_is_a_bound() {
        let lately = ReadCache::new();
        lately.put(0, "first", at(0), at(10));
        assert_eq!((lately.get(&0, at(9)), lately.get(&0, at(10))), (Some("first"), None));
        lately.put(0, "again", at(10), at(10));
        assert_eq!(lately.get(&0, at(19)), Some("again"));
        for key in 1..=4 {
            lately.put(key, "kept", at(10), at(10));
        }
        lately.forget(&1);
        lately.forget_all(|key| *key > 2);
        assert_eq!(
            [0, 1, 2, 3, 4].map(|key| lately.get(&key, at(11)).is_some()),
            [true, false, true, false, false]
        );
        for key in 0..3_000 {
            lately.put(key, "later", at(5), at(10));
        }
        lately.0.run_pending_tasks();
        assert!(lately.0.entry_count() <= MAX_KEPT);
    }
}
