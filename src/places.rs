//! Places that some share: so many in all, and of one of them no more than so many, so that nobody takes all of them
//! from the others.
//!
//! Whoever finds no place is refused (rule S5), and who asked says when to come again; or waits for one, for as long as
//! who asked lets it.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

/// The places, as far as they are taken. Clones share them.
#[derive(Debug, Clone)]
pub struct Places<K>(Arc<Shared<K>>);

#[derive(Debug)]
struct Shared<K> {
    all: usize,
    of_one: usize,
    taken: Mutex<HashMap<K, usize>>,
    given_back: Notify,
}

/// A place, which is given back when it is dropped.
#[derive(Debug)]
pub struct Place<K: Clone + Eq + Hash> {
    places: Places<K>,
    of: K,
}

impl<K: Clone + Eq + Hash> Places<K> {
    /// So many, of which one may have so many.
    pub fn new(all: usize, of_one: usize) -> Self {
        Self(Arc::new(Shared { all, of_one, taken: Mutex::default(), given_back: Notify::new() }))
    }

    /// A place for one of them, if there is one.
    pub fn take(&self, of: &K) -> Option<Place<K>> {
        let mut taken = self.lock();
        let own = taken.get(of).copied().unwrap_or(0);
        if own >= self.0.of_one || taken.values().sum::<usize>() >= self.0.all {
            return None;
        }
        taken.insert(of.clone(), own + 1);
        Some(Place { places: self.clone(), of: of.clone() })
    }

    /// A place for one of them, once there is one. Those who wait are not in a line.
    pub async fn wait(&self, of: &K) -> Place<K> {
        loop {
            // From before the look, so that none that comes back meanwhile is missed.
            let given_back = self.0.given_back.notified();
            if let Some(place) = self.take(of) {
                return place;
            }
            given_back.await;
        }
    }

    /// How many are taken.
    pub fn taken(&self) -> usize {
        self.lock().values().sum()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, usize>> {
        self.0.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Clone + Eq + Hash> Drop for Place<K> {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        let left = taken.get(&self.of).map_or(0, |own| own.saturating_sub(1));
        // Who has none is not remembered.
        if left == 0 {
            taken.remove(&self.of);
        } else {
            taken.insert(self.of.clone(), left);
        }
        drop(taken);
        self.places.0.given_back.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s5_nobody_has_all_places_and_each_comes_back() {
        let (all, of_one) = (8, 6);
        let places = Places::new(all, of_one);
        let mut taken: Vec<_> = (0..of_one).map(|_| places.take(&"one").unwrap()).collect();
        assert!(places.take(&"one").is_none());
        taken.extend((of_one..all).map(|_| places.take(&"other").unwrap()));
        assert!(places.take(&"other").is_none() && places.take(&"third").is_none(), "all are taken");
        drop(taken.pop());
        assert!(places.take(&"one").is_none(), "still as many as one may have");
        taken.push(places.take(&"third").unwrap());
        assert!(places.take(&"third").is_none());
        drop(taken);
        assert!(places.lock().is_empty(), "who has none any more is not remembered");
        assert!(places.take(&"one").is_some());
    }

    #[tokio::test]
    async fn who_waits_has_the_place_that_comes_back() {
        let places = Places::new(2, 1);
        let first = places.take(&"one").unwrap();
        let waiting = places.clone();
        let second = tokio::spawn(async move { waiting.wait(&"one").await });
        let of_another = places.wait(&"other").await;
        assert!(!second.is_finished());
        drop(of_another);
        tokio::task::yield_now().await;
        assert!(!second.is_finished(), "one has as many as one may have");
        drop(first);
        let _second = second.await.unwrap();
        assert!(places.take(&"one").is_none() && places.take(&"other").is_some());
        assert_eq!(places.taken(), 1, "the other's is given back again");
    }
}
