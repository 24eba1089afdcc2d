//! A bounded queue between async callers and the threads that own SQLite connections.
//!
//! Callers never wait for room: a full queue is refused at once (rule S5). Threads wait, and may take
//! several items at a time, which is what makes one commit serve many.

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

#[derive(Debug)]
pub(super) struct Queue<T> {
    inner: Mutex<Inner<T>>,
    filled: Condvar,
    capacity: usize,
}

#[derive(Debug)]
struct Inner<T> {
    items: VecDeque<T>,
    open: bool,
    /// Threads that sleep until something is pushed.
    asleep: usize,
}

/// Why an item was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    Closed,
    Full,
}

impl<T> Queue<T> {
    pub(super) fn new(capacity: usize) -> Self {
        let inner = Inner { items: VecDeque::new(), open: true, asleep: 0 };
        Self { inner: Mutex::new(inner), filled: Condvar::new(), capacity }
    }

    pub(super) fn push(&self, item: T) -> Result<(), Refused> {
        let mut inner = self.lock();
        if !inner.open {
            return Err(Refused::Closed);
        }
        if inner.items.len() >= self.capacity {
            return Err(Refused::Full);
        }
        inner.items.push_back(item);
        let wake = inner.asleep > 0;
        drop(inner);
        // A call of the kernel, whether anybody sleeps or not; a busy writer finds the item by itself.
        if wake {
            self.filled.notify_one();
        }
        Ok(())
    }

    /// Waits for items and takes up to `most` of them; none are left only once the queue is closed.
    pub(super) fn take(&self, most: usize) -> Vec<T> {
        let mut inner = self.wait();
        let count = inner.items.len().min(most);
        inner.items.drain(..count).collect()
    }

    /// Takes items as [`take`](Self::take) does, and lets those go first who are about to add more: what they add
    /// shares one commit. Where nobody waits for the core, that costs nothing.
    pub(super) fn gather(&self, most: usize) -> Vec<T> {
        drop(self.wait());
        std::thread::yield_now();
        self.take(most)
    }

    fn wait(&self) -> MutexGuard<'_, Inner<T>> {
        let mut inner = self.lock();
        while inner.items.is_empty() && inner.open {
            inner.asleep += 1;
            inner = self.filled.wait(inner).unwrap_or_else(PoisonError::into_inner);
            inner.asleep -= 1;
        }
        inner
    }

    /// Takes no more items; those taken are still handed out.
    pub(super) fn close(&self) {
        self.lock().open = false;
        self.filled.notify_all();
    }

    /// Closes, and drops what nobody will handle: whoever waits for an answer learns it.
    pub(super) fn abandon(&self) {
        self.close();
        self.lock().items.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Inner<T>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_refuses_and_a_closed_one_is_emptied_first() {
        let queue = Queue::new(2);
        assert_eq!((queue.push(1), queue.push(2)), (Ok(()), Ok(())));
        assert_eq!(queue.push(3), Err(Refused::Full));
        queue.close();
        assert_eq!(queue.push(4), Err(Refused::Closed));
        assert_eq!(queue.take(1), [1]);
        assert_eq!(queue.take(10), [2]);
        assert!(queue.take(10).is_empty());
    }
}
