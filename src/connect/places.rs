//! Places for bodies that are on their way: so many, and the slowest makes room.
//!
//! Anyone can open a delivery and let its body trickle in; until it is whole, nothing tells that from a
//! true one. So who comes when all places are taken does not wait behind them: the one that has been
//! arriving for longest is cut off. A true body arrives in a fraction of a second; to push it out, others
//! would have to take every place anew within that time, again and again.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_util::sync::CancellationToken;

/// The places.
#[derive(Debug)]
pub(super) struct Places {
    free: Semaphore,
    arriving: Mutex<Arriving>,
}

/// Bodies on their way, oldest first.
#[derive(Debug, Default)]
struct Arriving {
    last: u64,
    cut: BTreeMap<u64, CancellationToken>,
}

/// One of the places, until it is dropped.
#[derive(Debug)]
pub(super) struct Place<'a> {
    places: &'a Places,
    number: u64,
    cut: CancellationToken,
    _permit: SemaphorePermit<'a>,
}

impl Places {
    /// So many places.
    pub(super) fn new(count: usize) -> Self {
        Self { free: Semaphore::new(count), arriving: Mutex::default() }
    }

    /// Takes a place, if need be from the body that has been arriving for longest. Waits only while all
    /// are held by bodies that have arrived.
    pub(super) async fn take(&self) -> Place<'_> {
        let permit = if let Ok(permit) = self.free.try_acquire() {
            permit
        } else {
            self.cut_oldest();
            self.free.acquire().await.expect("the places are never closed")
        };
        let mut arriving = self.arriving();
        arriving.last += 1;
        let (number, cut) = (arriving.last, CancellationToken::new());
        arriving.cut.insert(number, cut.clone());
        drop(arriving);
        Place { places: self, number, cut, _permit: permit }
    }

    fn cut_oldest(&self) {
        if let Some((_, oldest)) = self.arriving().cut.pop_first() {
            oldest.cancel();
        }
    }

    fn arriving(&self) -> MutexGuard<'_, Arriving> {
        self.arriving.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place<'_> {
    /// Ends when another body takes this place.
    pub(super) async fn cut(&self) {
        self.cut.cancelled().await;
    }

    /// The body has arrived: from here on nobody takes the place.
    pub(super) fn arrived(&self) {
        self.places.arriving().cut.remove(&self.number);
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.arrived();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn the_oldest_that_is_still_arriving_makes_room() {
        let places = Places::new(3);
        let [first, second, third] = [(); 3].map(|()| places.take().now_or_never().unwrap());
        first.arrived();
        // All are taken, and the first is safe: the second goes, and its place is the newcomer's.
        let mut fourth = Box::pin(places.take());
        assert!(fourth.as_mut().now_or_never().is_none(), "until the second has left");
        assert!(second.cut().now_or_never().is_some());
        assert!(first.cut().now_or_never().is_none() && third.cut().now_or_never().is_none());
        drop(second);
        let fourth = fourth.now_or_never().unwrap();
        for place in [&third, &fourth] {
            place.arrived();
        }
        // Whoever has arrived is waited for, and nobody is cut off.
        let mut fifth = Box::pin(places.take());
        assert!(fifth.as_mut().now_or_never().is_none());
        assert!(fourth.cut().now_or_never().is_none());
        drop(first);
        assert!(fifth.now_or_never().is_some());
        assert!(places.arriving().cut.is_empty(), "nothing is left behind");
    }
}
