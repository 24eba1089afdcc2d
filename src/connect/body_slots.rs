//! Slots for bodies that are on their way: so many, and the slowest makes room.
//!
//! Anyone can open a delivery and let its body trickle in; until it is whole, nothing tells that from a
//! true one. So who comes when all slots are taken does not wait behind them: the one that has been
//! arriving for longest is cut off. A true body arrives in a fraction of a second; to push it out, others
//! would have to take every slot anew within that time, again and again.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_util::sync::CancellationToken;

/// The slots.
#[derive(Debug)]
pub(super) struct BodySlots {
    count: usize,
    free: Semaphore,
    arriving: Mutex<Arriving>,
}

/// Bodies on their way, oldest first.
#[derive(Debug, Default)]
struct Arriving {
    last: u64,
    cut: BTreeMap<u64, CancellationToken>,
    /// Slots of deliveries that a key of ours has signed.
    proven: usize,
}

/// One of the slots, until it is dropped.
#[derive(Debug)]
pub(super) struct BodySlot<'a> {
    slots: &'a BodySlots,
    number: u64,
    cut: CancellationToken,
    is_proven: bool,
    _permit: SemaphorePermit<'a>,
}

impl BodySlots {
    /// So many slots.
    pub(super) fn new(count: usize) -> Self {
        Self { count, free: Semaphore::new(count), arriving: Mutex::default() }
    }

    /// Takes a slot, if need be from the body that has been arriving for longest. Waits only while all
    /// are held by bodies that have arrived.
    pub(super) async fn take(&self) -> BodySlot<'_> {
        let permit = if let Ok(permit) = self.free.try_acquire() {
            permit
        } else {
            self.cut_oldest();
            self.free.acquire().await.expect("the slots are never closed")
        };
        let mut arriving = self.arriving();
        arriving.last += 1;
        let (number, cut) = (arriving.last, CancellationToken::new());
        arriving.cut.insert(number, cut.clone());
        drop(arriving);
        BodySlot { slots: self, number, cut, is_proven: false, _permit: permit }
    }

    /// Whether no stranger holds any of them.
    pub(super) fn are_all_proven(&self) -> bool {
        self.arriving().proven >= self.count
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

impl BodySlot<'_> {
    /// Ends when another body takes this slot.
    pub(super) async fn cut(&self) {
        self.cut.cancelled().await;
    }

    /// The body has arrived: from here on nobody takes the slot.
    pub(super) fn arrived(&self) {
        self.slots.arriving().cut.remove(&self.number);
    }

    /// A key of ours has signed what has arrived.
    pub(super) fn proven(&mut self) {
        self.slots.arriving().proven += usize::from(!self.is_proven);
        self.is_proven = true;
    }
}

impl Drop for BodySlot<'_> {
    fn drop(&mut self) {
        self.arrived();
        self.slots.arriving().proven -= usize::from(self.is_proven);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn the_oldest_that_is_still_arriving_makes_room() {
        let slots = BodySlots::new(3);
        let [first, second, third] = [(); 3].map(|()| slots.take().now_or_never().unwrap());
        first.arrived();
        // All are taken, and the first is safe: the second goes, and its slot is the newcomer's.
        let mut fourth = Box::pin(slots.take());
        assert!(fourth.as_mut().now_or_never().is_none(), "until the second has left");
        assert!(second.cut().now_or_never().is_some());
        assert!(first.cut().now_or_never().is_none() && third.cut().now_or_never().is_none());
        drop(second);
        let fourth = fourth.now_or_never().unwrap();
        for slot in [&third, &fourth] {
            slot.arrived();
        }
        // Whoever has arrived is waited for, and nobody is cut off.
        let mut fifth = Box::pin(slots.take());
        assert!(fifth.as_mut().now_or_never().is_none());
        assert!(fourth.cut().now_or_never().is_none());
        drop(first);
        assert!(fifth.now_or_never().is_some());
        assert!(slots.arriving().cut.is_empty(), "nothing is left behind");
    }

    #[test]
    fn all_are_proven_once_each_is_and_until_one_is_let_go() {
        let slots = BodySlots::new(2);
        let mut first = slots.take().now_or_never().unwrap();
        first.arrived();
        first.proven();
        first.proven();
        assert!(!slots.are_all_proven(), "one is free");
        let mut second = slots.take().now_or_never().unwrap();
        assert!(!slots.are_all_proven(), "one is anybody's");
        second.arrived();
        second.proven();
        assert!(slots.are_all_proven());
        drop(first);
        assert!(!slots.are_all_proven());
    }
}
