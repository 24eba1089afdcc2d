//! What [`slot`](super::slot) is built from. The interleaving test puts loom's versions in its place.

pub(super) use std::sync::{Arc, Mutex};
use std::sync::{MutexGuard, PoisonError};

use arc_swap::ArcSwapOption;

/// An atomic pointer that is read without waiting.
pub(super) struct Pointer<T>(ArcSwapOption<T>);

impl<T> Pointer<T> {
    pub(super) fn empty() -> Self {
        Self(ArcSwapOption::empty())
    }

    pub(super) fn look<R>(&self, see: impl FnOnce(Option<&Arc<T>>) -> R) -> R {
        see(self.0.load().as_ref())
    }

    pub(super) fn set(&self, value: Option<Arc<T>>) {
        self.0.store(value);
    }
}

/// A panic elsewhere does not make the number behind the lock wrong.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
