//! Turns at idempotency keys: of those who come with one key at once, one after another has it, in the order in which
//! they came. Whoever waits at one key costs those at other keys nothing.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{Mutex as Line, OwnedMutexGuard};

use crate::store::Digest;

/// The keys at which somebody has the turn, or waits for it. Clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct Turns(Arc<Mutex<HashMap<Digest, Arc<Line<()>>>>>);

/// A turn at a key. It is over when it is dropped.
#[derive(Debug)]
pub struct Turn {
    turns: Turns,
    key: Digest,
    /// None while it is waited for.
    held: Option<OwnedMutexGuard<()>>,
}

impl Turns {
    /// The turn at a key, once nobody has it who came before.
    pub(super) async fn wait(&self, key: Digest) -> Turn {
        let line = Arc::clone(self.lock().entry(key).or_default());
        // From here on, so that who goes away while they wait leaves no key behind.
        let mut turn = Turn { turns: self.clone(), key, held: None };
        turn.held = Some(line.lock_owned().await);
        turn
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Digest, Arc<Line<()>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        // It holds its line, so it goes first: whoever is the last to look then sees that nobody has it any more.
        self.held = None;
        let mut lines = self.turns.lock();
        if lines.get(&self.key).is_some_and(|line| Arc::strong_count(line) == 1) {
            lines.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    const KEY: Digest = [1; 32];
    const OTHER: Digest = [2; 32];

    #[tokio::test]
    async fn whoever_came_first_has_the_turn_first_and_keys_that_nobody_is_at_are_forgotten() {
        let turns = Turns::default();
        let first = turns.wait(KEY).await;
        let mut waiting: Vec<_> = (0..4).map(|_| Box::pin(turns.wait(KEY))).collect();
        for one in &mut waiting {
            assert!(one.now_or_never().is_none(), "somebody has it");
        }
        let of_another = turns.wait(OTHER).now_or_never().expect("a turn of its own");
        assert_eq!(turns.lock().len(), 2);
        drop(of_another);
        assert_eq!(turns.lock().len(), 1, "nobody is at that key any more");

        // One who does not wait any longer holds up nobody behind them.
        drop(waiting.remove(1));
        let mut had = first;
        while !waiting.is_empty() {
            for one in &mut waiting {
                assert!(one.now_or_never().is_none(), "somebody has it");
            }
            drop(had);
            for late in waiting.iter_mut().skip(1).rev() {
                assert!(late.now_or_never().is_none(), "others came before");
            }
            had = waiting.remove(0).now_or_never().expect("the next in line");
        }
        assert_eq!(turns.lock().len(), 1);
        drop(had);
        assert!(turns.lock().is_empty(), "no key is remembered that nobody is at");
    }

    #[tokio::test]
    async fn who_goes_away_while_they_wait_leaves_no_key_behind() {
        let turns = Turns::default();
        let had = turns.wait(KEY).await;
        let mut waiting = Box::pin(turns.wait(KEY));
        assert!(waiting.as_mut().now_or_never().is_none());
        drop(had);
        assert_eq!(turns.lock().len(), 1, "it is theirs by now");
        drop(waiting);
        assert!(turns.lock().is_empty());
        assert!(turns.wait(KEY).now_or_never().is_some());
    }
}
