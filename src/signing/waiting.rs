//! Waiting for news of a signing. Those who wait have places, of which no caller gets all; whoever finds none is told so
//! and when to come again (rule S5), because whoever is answered at once and without a time asks again at once.

use std::time::Duration;

use crate::{
    clock::Deadline,
    domain::{CallerName, Signing, SigningId},
    signing::{Error, Signings},
};

/// Who wait at once. Each reads the store once a second, and most keep a connection: with half of those that a listener
/// has, others still find one.
pub const MAX_WAITING: usize = 2_000;

/// How many of them may be of one caller, so that one alone does not take them from all others. More than half, because
/// most daemons have one caller alone.
pub const MAX_WAITING_OF_ONE: usize = MAX_WAITING / 4 * 3;

/// When to come again if there was no place.
const COME_AGAIN: Duration = Duration::from_secs(10);

impl Signings {
    /// How many wait for news at this moment. Tests need it, which must not tell the news before somebody waits.
    pub fn waiting(&self) -> usize {
        self.parts.waiting.taken()
    }

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
