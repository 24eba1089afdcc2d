//! Wakes those who wait for a signing to change, and those who follow the outbox.
//!
//! A wake-up only says "look again". Other daemons' changes come without one, so whoever waits also
//! looks by itself from time to time ([`Watcher::changed_within`]).

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::watch;

use crate::{clock::Clock, domain::SigningId};

/// The most signings that may be waited for at once; beyond, waiters only look by themselves.
const MAX_WATCHED: usize = 100_000;

/// Passes wake-ups on. Clones share it.
#[derive(Debug, Clone)]
pub struct Hub {
    watched: Arc<Mutex<HashMap<SigningId, watch::Sender<u64>>>>,
    outbox: watch::Sender<u64>,
}

impl Default for Hub {
    fn default() -> Self {
        Self { watched: Arc::default(), outbox: watch::Sender::new(0) }
    }
}

/// Waits for new events in the outbox.
#[derive(Debug)]
pub struct OutboxWatcher {
    seen: watch::Receiver<u64>,
}

/// Waits for one signing; dropping it stops waiting.
#[derive(Debug)]
pub struct Watcher {
    hub: Hub,
    signing: SigningId,
    changes: Option<watch::Receiver<u64>>,
}

impl Hub {
    /// A hub nobody waits at.
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts waiting for a signing. Take it before reading the signing, so that no change falls between.
    pub fn watch(&self, signing: SigningId) -> Watcher {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        let changes = if watched.len() < MAX_WATCHED || watched.contains_key(&signing) {
            Some(watched.entry(signing).or_insert_with(|| watch::Sender::new(0)).subscribe())
        } else {
            None
        };
        Watcher { hub: self.clone(), signing, changes }
    }

    /// Says that a signing has changed.
    pub fn changed(&self, signing: SigningId) {
        let watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = watched.get(&signing) {
            sender.send_modify(|count| *count += 1);
        }
    }

    /// Says that there are new events in the outbox.
    pub fn published(&self) {
        self.outbox.send_modify(|count| *count += 1);
    }

    /// Starts waiting for new events. Take it before reading the outbox, so that none falls between.
    pub fn outbox(&self) -> OutboxWatcher {
        OutboxWatcher { seen: self.outbox.subscribe() }
    }
}

impl OutboxWatcher {
    /// Waits for the next events since the last call (or since the watch began).
    pub async fn changed(&mut self) {
        if self.seen.changed().await.is_err() {
            // Nobody is left who could publish.
            std::future::pending::<()>().await;
        }
    }
}

impl Watcher {
    /// Waits for the next change since the last call (or since the watch began).
    pub async fn changed(&mut self) {
        match &mut self.changes {
            // The sender stays in the map as long as this receiver lives, so it cannot be closed.
            Some(changes) => {
                let _ = changes.changed().await;
            }
            None => std::future::pending().await,
        }
    }

    /// Waits for the next change, and no longer than `most`: then another daemon may have made one.
    pub async fn changed_within(&mut self, clock: &dyn Clock, most: Duration) {
        tokio::select! {
            biased;
            () = self.changed() => {}
            () = clock.sleep(most) => {}
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        drop(self.changes.take());
        let mut watched = self.hub.watched.lock().unwrap_or_else(PoisonError::into_inner);
        if watched.get(&self.signing).is_some_and(|sender| sender.receiver_count() == 0) {
            watched.remove(&self.signing);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use jiff::Timestamp;

    use super::*;
    use crate::clock::ManualClock;

    #[tokio::test]
    async fn everyone_who_follows_the_outbox_is_woken_also_by_what_came_just_before() {
        let hub = Hub::new();
        let (mut first, mut second) = (hub.outbox(), hub.outbox());
        hub.published();
        first.changed().await;
        second.changed().await;
        assert!(first.changed().now_or_never().is_none());
    }

    #[tokio::test]
    async fn a_change_wakes_every_watcher_of_that_signing_and_leaves_nothing_behind() {
        let hub = Hub::new();
        let (one, two) =
            (SigningId::generate(Timestamp::UNIX_EPOCH), SigningId::generate(Timestamp::UNIX_EPOCH));
        let (mut first, mut second, mut other) = (hub.watch(one), hub.watch(one), hub.watch(two));
        hub.changed(one);
        first.changed().await;
        second.changed().await;
        assert!(other.changed().now_or_never().is_none());
        drop((first, second, other));
        assert!(hub.watched.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn whoever_is_not_woken_looks_again_after_a_while() {
        let (hub, clock) = (Hub::new(), ManualClock::new(Timestamp::UNIX_EPOCH));
        let signing = SigningId::generate(Timestamp::UNIX_EPOCH);
        let (mut watcher, most) = (hub.watch(signing), Duration::from_secs(1));
        {
            let mut waiting = std::pin::pin!(watcher.changed_within(&clock, most));
            assert!(waiting.as_mut().now_or_never().is_none());
            clock.advance(most);
            waiting.await;
        }
        hub.changed(signing);
        // The clock stands still.
        watcher.changed_within(&clock, most).await;
    }
}
