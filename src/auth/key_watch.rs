//! Looks at key files, and has a key that is new or worth another try proven by a mint (rule T10).
//!
//! It must never keep a daemon alive, and never take a token away: the old one serves while a key is proven.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use super::{Auth, Error, key_ring::KeyRing, token_cache::TokenCache};

/// How often key files are looked at. A change is to be taken up within 10 s (rule T10).
const EVERY: Duration = Duration::from_secs(2);

impl Auth {
    /// Looks at all key files from now on, for as long as this lives.
    pub(super) fn watch_keys(&self) {
        if self.inner.watches_keys.swap(true, Ordering::Relaxed) {
            return;
        }
        let (inner, clock) = (Arc::downgrade(&self.inner), Arc::clone(&self.inner.clock));
        let closed = self.inner.closed.clone();
        self.inner.spawner.spawn(async move {
            loop {
                tokio::select! {
                    biased;
                    () = closed.cancelled() => return,
                    () = clock.sleep(EVERY) => {}
                }
                let Some(inner) = inner.upgrade() else { return };
                Self { inner }.look_at_keys().await;
            }
        });
    }

    /// Wakes those in use to whom it may make a difference that somebody has just mended something (rule T4): who
    /// cannot get the next token, and one for each ring that a mint may prove. Nobody else: DocuSign would have a good
    /// token kept.
    pub async fn wake_those_in_trouble(&self) {
        self.look_at_keys().await;
        let mut unproven = HashMap::new();
        for sender in self.inner.senders.load_full().values() {
            let Some(cache) = sender.live() else { continue };
            if cache.is_in_trouble() {
                cache.wake();
            } else if let Some(ring) = sender.ring().filter(|ring| ring.wants_proof()) {
                unproven.insert(Arc::as_ptr(&ring).addr(), ring);
            }
        }
        for ring in unproven.into_values() {
            self.have_proven(&ring);
        }
    }

    /// Looks at each ring once, whoever shares it.
    async fn look_at_keys(&self) {
        let senders = self.inner.senders.load_full();
        let rings: HashMap<usize, Arc<KeyRing>> = senders
            .values()
            .filter_map(|sender| sender.ring())
            .map(|ring| (Arc::as_ptr(&ring).addr(), ring))
            .collect();
        for ring in rings.into_values() {
            // Both are asked: one mint is an answer to both.
            if ring.look().await | ring.has_retry() {
                self.have_proven(&ring);
            }
            if ring.has_other() {
                self.wake_refused(&ring);
            }
        }
    }

    /// Has one sender mint for all that share the ring: one that has a token, so that it is the key that is
    /// tried and not the sender. With nobody in use it is the next mint that proves.
    fn have_proven(&self, ring: &Arc<KeyRing>) {
        let live = self.live_on(ring);
        if let Some(cache) = live.iter().find(|cache| cache.ready().is_some()).or_else(|| live.first()) {
            cache.wake();
        }
    }

    /// A key works, and it is not the one that worked before: whoever shares the ring and has none for want of a key
    /// need not wait for their next try, which is minutes away.
    fn wake_refused(&self, ring: &Arc<KeyRing>) {
        for cache in self.live_on(ring) {
            let failure = cache.status().failure.map(|failure| failure.error);
            if matches!(failure.as_deref(), Some(Error::KeyRejected(_) | Error::KeyUnusable(_))) {
                cache.wake();
            }
        }
    }

    /// The tokens in use of all who share the ring.
    fn live_on(&self, ring: &Arc<KeyRing>) -> Vec<Arc<TokenCache>> {
        let senders = self.inner.senders.load();
        let shares = |keys: Arc<KeyRing>| Arc::ptr_eq(&keys, ring);
        let sharing = senders.values().filter(|sender| sender.ring().is_some_and(shares));
        sharing.filter_map(|sender| sender.live()).collect()
    }
}
