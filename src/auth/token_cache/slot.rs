//! The place of the current token: who may put one there, who may take it away, who may look.
//!
//! Looking is one atomic load. Whatever changes the place is ordered by one small lock, so that a
//! flight that began before an invalidation can never publish after it (rule T6). The tests compile
//! this very file against loom and run every interleaving: it uses only what `sync` beside it gives.

use super::sync::{Arc, Mutex, Pointer, lock};

/// The place of one token.
pub(super) struct Slot<T> {
    current: Pointer<T>,
    /// Bumped by an invalidation.
    epoch: Mutex<u64>,
}

/// When a flight began, in the order of invalidations.
#[derive(Clone, Copy)]
pub(super) struct Epoch(u64);

impl<T> Slot<T> {
    /// An empty place.
    pub(super) fn new() -> Self {
        Self { current: Pointer::empty(), epoch: Mutex::new(0) }
    }

    /// Looks at what is there, without taking part in its ownership.
    pub(super) fn look<R>(&self, see: impl FnOnce(Option<&Arc<T>>) -> R) -> R {
        self.current.look(see)
    }

    /// What is there.
    pub(super) fn get(&self) -> Option<Arc<T>> {
        self.look(|current| Some(Arc::clone(current?)))
    }

    /// A flight begins.
    pub(super) fn begin(&self) -> Epoch {
        Epoch(*lock(&self.epoch))
    }

    /// Puts a token there, unless something was invalidated since its flight began. Answers whether
    /// it is there.
    pub(super) fn publish(&self, begun: Epoch, token: Arc<T>) -> bool {
        let epoch = lock(&self.epoch);
        let is_in_time = *epoch == begun.0;
        if is_in_time {
            self.current.set(Some(token));
        }
        is_in_time
    }

    /// Takes away what is there, if it is the one meant. Answers whether it was.
    pub(super) fn retire(&self, is_meant: impl FnOnce(&T) -> bool) -> bool {
        let mut epoch = lock(&self.epoch);
        let is_there = self.current.look(|current| current.is_some_and(|token| is_meant(token)));
        if is_there {
            *epoch += 1;
            self.current.set(None);
        }
        is_there
    }

    /// Takes away whatever is there.
    pub(super) fn clear(&self) {
        let mut epoch = lock(&self.epoch);
        *epoch += 1;
        self.current.set(None);
    }
}
