//! What was read of the upstream lately, until it is too old by our own clock.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// More than a daemon has accounts or templates in use; what is beyond is read again.
const MAX_KEPT: usize = 1_000;

/// Values by their keys, each with the uptime at which it is too old.
pub(super) struct Lately<K, V>(Mutex<HashMap<K, (V, Duration)>>);

impl<K: Clone + Eq + Hash, V: Clone> Lately<K, V> {
    pub(super) fn new() -> Self {
        Self(Mutex::default())
    }

    /// What was read, if it is not too old.
    pub(super) fn get(&self, key: &K, now: Duration) -> Option<V> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get(key).filter(|(_, until)| now < *until).map(|(value, _)| value.clone())
    }

    /// Keeps what was read. Where there is no room, what is too old goes, or what will be soonest.
    pub(super) fn put(&self, key: K, value: V, now: Duration, life: Duration) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= MAX_KEPT && !kept.contains_key(&key) {
            kept.retain(|_, (_, until)| now < *until);
        }
        if kept.len() >= MAX_KEPT && !kept.contains_key(&key) {
            let soonest = kept.iter().min_by_key(|(_, (_, until))| *until).map(|(key, _)| key.clone());
            soonest.and_then(|soonest| kept.remove(&soonest));
        }
        kept.insert(key, (value, now.saturating_add(life)));
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
        let lately = Lately::new();
        lately.put(0, "first", at(0), at(10));
        assert_eq!((lately.get(&0, at(9)), lately.get(&0, at(10))), (Some("first"), None));
        for key in 1..=1_000 {
            lately.put(key, "later", at(5), at(10));
        }
        lately.put(1_001, "last", at(6), at(60));
        let kept = |key| lately.get(&key, at(6)).is_some();
        assert!(!kept(0), "it would have been too old first");
        assert_eq!((0..=1_001).filter(|key| kept(*key)).count(), 1_000);
        lately.put(1_002, "all others are too old", at(30), at(10));
        assert_eq!(lately.0.lock().unwrap().len(), 2);
    }
}
