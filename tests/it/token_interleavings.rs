//! Every interleaving of publish, invalidate and read, by loom, over the very file that ships.

/// loom's versions of what the slot is built from. A pointer that loom can follow is a lock around
/// it; like the atomic one it stands for, it is read and set in one step.
mod sync {
    use loom::sync::MutexGuard;
    pub(super) use loom::sync::{Arc, Mutex};

    pub(super) struct Pointer<T>(Mutex<Option<Arc<T>>>);

    impl<T> Pointer<T> {
        pub(super) fn empty() -> Self {
            Self(Mutex::new(None))
        }

        pub(super) fn look<R>(&self, see: impl FnOnce(Option<&Arc<T>>) -> R) -> R {
            see(lock(&self.0).as_ref())
        }

        pub(super) fn set(&self, value: Option<Arc<T>>) {
            *lock(&self.0) = value;
        }
    }

    pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex.lock().expect("loom panics elsewhere first")
    }
}

#[path = "../../src/auth/token_cache/slot.rs"]
mod slot;

use loom::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};
use slot::Slot;

#[test]
fn t6_what_began_before_an_invalidation_is_never_read_after_it() {
    loom::model(|| {
        let slot = Arc::new(Slot::new());
        slot.publish(slot.begin(), Arc::new(1));
        // The refresh that is to become generation 2 has begun when the 401 for 1 arrives.
        let begun = slot.begin();
        let is_retired = Arc::new(AtomicBool::new(false));
        let refresher = {
            let slot = Arc::clone(&slot);
            thread::spawn(move || slot.publish(begun, Arc::new(2)))
        };
        let invalidator = {
            let (slot, is_retired) = (Arc::clone(&slot), Arc::clone(&is_retired));
            thread::spawn(move || {
                let was_there = slot.retire(|generation| *generation == 1);
                is_retired.store(was_there, Ordering::Release);
                was_there
            })
        };
        let was_retired = is_retired.load(Ordering::Acquire);
        let seen = slot.get().map(|generation| *generation);
        assert!(!was_retired || seen.is_none(), "{seen:?} was read after the invalidation");
        let (is_published, is_gone) = (refresher.join().unwrap(), invalidator.join().unwrap());
        // Exactly one of them was first; the other had no effect.
        assert_ne!(is_published, is_gone);
        assert_eq!(slot.get().map(|generation| *generation), is_published.then_some(2));
        slot.clear();
    });
}

#[test]
fn t6_two_late_401s_take_away_one_token_and_never_its_successor() {
    loom::model(|| {
        let slot = Arc::new(Slot::new());
        slot.publish(slot.begin(), Arc::new(1));
        let retire = |slot: &Arc<Slot<u64>>| {
            let slot = Arc::clone(slot);
            thread::spawn(move || slot.retire(|generation| *generation == 1))
        };
        let (first, second) = (retire(&slot), retire(&slot));
        // The driver mints again as soon as it sees the place empty.
        let refilled = slot.get().is_none() && slot.publish(slot.begin(), Arc::new(2));
        let count = u8::from(first.join().unwrap()) + u8::from(second.join().unwrap());
        assert_eq!(count, 1, "one of them took it");
        assert_eq!(slot.get().map(|generation| *generation), refilled.then_some(2));
        slot.clear();
    });
}

#[test]
fn t1_readers_see_a_token_at_every_moment_of_a_refresh() {
    loom::model(|| {
        let slot = Arc::new(Slot::new());
        slot.publish(slot.begin(), Arc::new(1));
        let refresher = {
            let slot = Arc::clone(&slot);
            thread::spawn(move || slot.publish(slot.begin(), Arc::new(2)))
        };
        let first = slot.get().map(|generation| *generation).expect("never empty");
        let second = slot.get().map(|generation| *generation).expect("never empty");
        assert!(first <= second, "generations only go up");
        assert!(refresher.join().unwrap());
        slot.clear();
    });
}
