//! Waiting for news of a signing. Those who wait have places, of which no caller gets all; whoever finds none is told so
//! and when to come again (rule S5), because whoever is answered at once and without a time asks again at once.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::{
    budget::Deadline,
    domain::{CallerName, Signing, SigningId},
    signing::{Error, Signings},
};

/// Who wait at once. Each reads the store once a second, and most keep a connection: with half of those that a listener
/// has, others still find one.
const MAX_WAITING: usize = 2_000;

/// How many of them may be of one caller, so that one alone does not take them from all others. More than half, because
/// most daemons have one caller alone.
pub const MAX_WAITING_OF_ONE: usize = MAX_WAITING / 4 * 3;

/// When to come again if there was no place.
const COME_AGAIN: Duration = Duration::from_secs(10);

/// The places of those who wait, as far as they are taken.
#[derive(Debug, Default)]
pub(super) struct Places(Mutex<HashMap<CallerName, usize>>);

/// A place, which is given back when it is dropped.
#[derive(Debug)]
struct Place<'a> {
    places: &'a Places,
    caller: &'a CallerName,
}

impl Places {
    /// A place for a caller, if there is one.
    fn take<'a>(&'a self, caller: &'a CallerName) -> Option<Place<'a>> {
        let mut taken = self.lock();
        let own = taken.get(caller).copied().unwrap_or(0);
        if own >= MAX_WAITING_OF_ONE || taken.values().sum::<usize>() >= MAX_WAITING {
            return None;
        }
        taken.insert(caller.clone(), own + 1);
        Some(Place { places: self, caller })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<CallerName, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        let left = taken.get(self.caller).map_or(0, |own| own.saturating_sub(1));
        // Who does not wait is not remembered.
        if left == 0 {
            taken.remove(self.caller);
        } else {
            taken.insert(self.caller.clone(), left);
        }
    }
}

impl Signings {
    /// Waits until a signing has an event after `seen`, or the time is up; answers it as it is then. Who names no event
    /// waits for the next one, and not at all for one that has ended.
    pub async fn wait(
        &self,
        caller: &CallerName,
        id: SigningId,
        seen: Option<u64>,
        patience: Duration,
    ) -> Result<Signing, Error> {
        let mut watcher = self.parts.hub.watch(id);
        let first = self.get(caller, id).await?;
        // News may come after the end, too: a purge. Who says what they know waits for it, and would ask again and
        // again if they were answered at once.
        let is_answered = seen.map_or(first.status.is_terminal(), |seen| first.sequence > seen);
        if is_answered || patience.is_zero() {
            return Ok(first);
        }
        let _place =
            self.parts.waiting.take(caller).ok_or(Error::TooManyWaiting { retry_after: COME_AGAIN })?;
        let seen = seen.unwrap_or(first.sequence);
        let until = Deadline::within(&*self.parts.clock, patience);
        loop {
            let left = until.left(self.parts.clock.uptime());
            if left.is_zero() {
                return self.get(caller, id).await;
            }
            tokio::select! {
                biased;
                () = watcher.changed_within(&*self.parts.clock, left.min(Duration::from_secs(1))) => {}
                () = self.parts.life.stopping().cancelled_owned() => return self.get(caller, id).await,
            }
            let signing = self.get(caller, id).await?;
            if signing.sequence > seen {
                return Ok(signing);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s5_no_caller_has_all_places_and_each_comes_back() {
        let places = Places::default();
        let [one, other, third] = ["one", "other", "third"].map(CallerName::new);
        let mut taken: Vec<_> = (0..MAX_WAITING_OF_ONE).map(|_| places.take(&one).unwrap()).collect();
        assert!(places.take(&one).is_none());
        taken.extend((MAX_WAITING_OF_ONE..MAX_WAITING).map(|_| places.take(&other).unwrap()));
        assert!(places.take(&other).is_none() && places.take(&third).is_none(), "all are taken");
        drop(taken.pop());
        assert!(places.take(&one).is_none(), "still as many as one may have");
        taken.push(places.take(&third).unwrap());
        assert!(places.take(&third).is_none());
        drop(taken);
        assert!(places.lock().is_empty(), "whoever waits no more is not remembered");
        assert!(places.take(&one).is_some());
    }
}
