//! Several daemons on one account tell each other, through the store, what they have spent; and the ledger
//! is written down there, so that it outlives the process.
//!
//! Each counts its own calls at once and learns of the others' with a delay of a second (burst) or a few
//! (hour; a minute for an account that it does not call); the headers of the next answer correct what is missed
//! in between.
//!
//! That the upstream refuses calls is not shared: the store has sums of calls by the hour of the calendar, and no place for
//! when a refusal ends. Told as calls, it would hold the others back to the end of that hour, whatever the upstream said, and
//! each would need the right limit to see that it is gone. So each learns it with a call of its own.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio_util::sync::CancellationToken;

use super::{Budget, Now, account::Account, ledger::named, lock};
use crate::{
    domain::AccountId,
    store::{self, Counter, Store},
};

/// How often daemons tell each other of bursts: small against 30 seconds.
const BURST_EVERY: Duration = Duration::from_secs(1);
/// And of the hour, in as many rounds.
const HOUR_EVERY_ROUNDS: u32 = 5;

impl Budget {
    /// Tells the store what was spent since the last time, and learns what others spent.
    pub async fn share(&self, store: &dyn Store) -> Result<(), store::Error> {
        for (id, account) in self.known() {
            let now = Now::read(&*self.clock);
            let (number, (hour, calls), may_rest) = {
                let mut account = lock(&account);
                account.roll(now);
                (account.hour.number(), account.hour.unreported(now), account.may_rest(now))
            };
            if calls == 0 && may_rest {
                continue;
            }
            let spent = store.spend(&Counter::Account(id), hour, calls).await?;
            let (mut account, now) = (lock(&account), Now::read(&*self.clock));
            account.roll(now);
            // What was spent in an hour that ended meanwhile says nothing about this one.
            if account.hour.number() == number {
                account.shared(calls, spent, now);
            }
        }
        self.share_bursts(store).await
    }

    /// Tells the store what was spent in the last half minute, of accounts that were called in it, and learns what
    /// others spent.
    pub async fn share_bursts(&self, store: &dyn Store) -> Result<(), store::Error> {
        for (id, account) in self.known() {
            self.share_burst(store, id, &account).await?;
        }
        Ok(())
    }

    async fn share_burst(
        &self,
        store: &dyn Store,
        id: AccountId,
        account: &Arc<Mutex<Account>>,
    ) -> Result<(), store::Error> {
        let counter = Counter::Burst(id);
        let slots = {
            let now = Now::read(&*self.clock);
            let mut account = lock(account);
            account.roll(now);
            account.burst.unreported(now)
        };
        for (slot, calls) in slots {
            let spent = store.spend(&counter, slot, calls).await?;
            lock(account).burst.shared(slot, calls, spent);
        }
        Ok(())
    }

    /// Writes down what the ledger has counted since the last time.
    pub async fn save_ledger(&self, store: &dyn Store) -> Result<(), store::Error> {
        let mut failed = Ok(());
        for (hour, counts) in self.ledger.take_unsaved() {
            // After one failure the rest is kept for the next time, without trying.
            if failed.is_ok() {
                failed = store.note_calls(hour, named(&counts)).await;
            }
            if failed.is_err() {
                self.ledger.put_back(hour, counts);
            }
        }
        failed
    }

    /// Shares until it is told to stop, and once more then.
    pub async fn keep_sharing(&self, store: &dyn Store, stop: CancellationToken) {
        for round in 1_u32.. {
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.clock.sleep(BURST_EVERY) => {}
            }
            let is_last = stop.is_cancelled();
            let shared = if is_last || round.is_multiple_of(HOUR_EVERY_ROUNDS) {
                match self.share(store).await {
                    Ok(()) => self.save_ledger(store).await,
                    failed => failed,
                }
            } else {
                self.share_bursts(store).await
            };
            if let Err(error) = shared {
                tracing::debug!(%error, "cannot share the budget of calls");
            }
            if is_last {
                return;
            }
        }
    }
}
