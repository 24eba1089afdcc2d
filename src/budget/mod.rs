//! The upstream's limits: what is left of them, who goes first, and what we would have broken.
//!
//! An account has so many calls in a clock hour and so many in 30 seconds, shared by everything that
//! uses it. Each of our calls asks here first ([`Budget::admit`]) and tells afterwards what the
//! answer's headers said ([`Permit::answered`]). New work is refused while there is still room for the
//! people who are already signing (rule B2); one envelope is asked about once in 15 minutes, whatever
//! happens (rule B3); what cannot finish by the caller's deadline is refused before it costs a call
//! (rule B4).
//!
//! It must never hold a lock across an await, and never let through more than it knows to be left:
//! where two readings disagree, the lower one counts. It knows nothing of HTTP but its headers.
//!
//! Source: developers.docusign.com, "Rules and limits" and "Resource limits" (read in mid 2026).

mod account;
mod burst;
pub mod checks;
mod hour;
pub mod ledger;
pub mod limits;
pub mod operation;
pub mod rules;
mod sharing;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use http::HeaderMap;
use jiff::{SignedDuration, Timestamp};

pub use checks::may_check;
pub use ledger::AccountServerCalls;
pub use operation::{Operation, Outcome, Priority};
pub use rules::Rule;

use crate::{
    budget::{account::Account, checks::Checks, ledger::Ledger, limits::Reading},
    clock::{Deadline, Now, SharedClock},
    domain::{AccountId, EnvelopeId},
    store::{self, SharedStore},
};

/// How the budget is cut. Percentages are of the limit of the window in question.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// What is assumed until an answer says what it is. The vendor's default for an account.
    pub hourly: u64,
    /// What is assumed until an answer says what it is. The vendor's figure for developer accounts.
    pub burst: u64,
    /// New work is refused when no more than this is left.
    pub reserve_from_new_work_percent: u64,
    /// Checks are refused when no more than this is left.
    pub reserve_from_checks_percent: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { hourly: 3_000, burst: 200, reserve_from_new_work_percent: 10, reserve_from_checks_percent: 5 }
    }
}

/// Which limit is in the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// The account's calls in 30 seconds.
    Burst,
    /// The downloads of one document.
    Document,
    /// The changes or reads of one envelope.
    Envelope,
    /// The account's calls in a clock hour.
    Hour,
    /// Status checks of one envelope (rule B3).
    Polling,
}

/// A call that was refused to spare a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the budget of upstream calls does not allow this call now")]
pub struct Shed {
    /// Which limit.
    pub scope: Scope,
    /// When it will be allowed, as far as is known.
    pub retry_at: Timestamp,
    /// When it will be allowed, as uptime.
    until: Duration,
    /// Whether nothing at all is left until then, so that the vendor wants us to stop.
    is_gone: bool,
}

impl Shed {
    /// How long to wait before the next attempt, if this is a burst that will be over before the deadline.
    pub(crate) fn wait_by(&self, deadline: Deadline, now: Now) -> Option<Duration> {
        let is_short = self.scope == Scope::Burst && deadline.at() > self.until;
        is_short.then(|| self.until.saturating_sub(now.uptime).max(Duration::from_millis(10)))
    }
}

/// Why a status check is not to be made.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Unclaimed {
    /// Whether one was made in the last 15 minutes cannot be found out.
    #[error("the store does not say whether a status check is allowed")]
    Store(#[source] store::Error),
    /// One was.
    #[error(transparent)]
    Shed(#[from] Shed),
}

/// What is left of one account's windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remaining {
    /// Calls in an hour.
    pub hour_limit: u64,
    /// Left of them, as far as we know; none while the upstream refuses calls because they are gone.
    pub hour: u64,
    /// When the hour begins anew.
    pub resets_at: Timestamp,
    /// Calls in 30 seconds.
    pub burst_limit: u64,
    /// Left of them, as of the hour's.
    pub burst: u64,
}

/// Whether the hour's budget will last at the present pace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forecast {
    /// Calls an hour, extrapolated from the last minutes of all daemons that share the budget.
    pub calls_per_hour: u64,
    /// Left in this hour, as [`Remaining::hour`].
    pub remaining: u64,
    /// When it will be gone, if that is before it begins anew; now, if it is gone.
    pub exhausted_at: Option<Timestamp>,
}

/// The budgets of all accounts.
#[derive(Debug)]
pub struct Budget {
    options: Options,
    clock: SharedClock,
    accounts: RwLock<HashMap<AccountId, Arc<Mutex<Account>>>>,
    checks: Checks,
    ledger: Arc<Ledger>,
    /// Where daemons claim what is one for all of them.
    store: Option<SharedStore>,
}

impl Budget {
    /// Starts with nothing spent, alone.
    pub fn new(options: Options, clock: SharedClock) -> Arc<Self> {
        Self::build(options, clock, None)
    }

    /// Starts with nothing spent here; what is claimed is claimed for all daemons on the store.
    pub fn on(store: SharedStore, options: Options, clock: SharedClock) -> Arc<Self> {
        Self::build(options, clock, Some(store))
    }

    fn build(options: Options, clock: SharedClock, store: Option<SharedStore>) -> Arc<Self> {
        Arc::new(Self {
            options,
            clock,
            accounts: RwLock::default(),
            checks: Checks::default(),
            ledger: Arc::new(Ledger::default()),
            store,
        })
    }

    /// Allows one call and counts it, or says when it will be allowed. The ledger has it once it has been sent, or may have
    /// been.
    pub fn admit(
        &self,
        account: &AccountId,
        operation: Operation,
        priority: Priority,
        now: Now,
    ) -> Result<Permit, Shed> {
        let shared = self.account(account, now);
        let spent = lock(&shared).admit(priority, now);
        match spent {
            Ok(ticket) => {
                let ledger = Arc::clone(&self.ledger);
                Ok(Permit { account: shared, ledger, operation, admitted: now, ticket: Some(ticket) })
            }
            Err(shed) => {
                self.ledger.avoided(Rule::spared_by(&shed), now);
                Err(shed)
            }
        }
    }

    /// Whether a call would be allowed now. Counts nothing.
    pub fn peek(&self, account: &AccountId, priority: Priority, now: Now) -> Result<(), Shed> {
        let shared = self.account(account, now);
        lock(&shared).peek(priority, now)
    }

    /// Claims the one status check that an envelope has in 15 minutes (rule B3), of all daemons on the store.
    /// `resource` is the path below the envelope; each has its own count, as it has at the vendor.
    pub async fn claim_check(
        &self,
        envelope: &EnvelopeId,
        resource: &str,
        now: Now,
    ) -> Result<(), Unclaimed> {
        let claimed = self.try_check(envelope, resource, now).await;
        if matches!(claimed, Err(Unclaimed::Shed(_))) {
            self.ledger.avoided(Rule::Polling, now);
        }
        claimed
    }

    async fn try_check(&self, envelope: &EnvelopeId, resource: &str, now: Now) -> Result<(), Unclaimed> {
        self.checks.claim(envelope, resource, now)?;
        let Some(store) = &self.store else { return Ok(()) };
        let refused = store.take_checks(std::slice::from_ref(envelope), resource, checks::taking(now)).await;
        let made_at = match refused {
            Ok(refused) => refused.first().map(|(_, made_at)| *made_at),
            Err(error) => {
                self.checks.give_back(envelope, resource);
                return Err(Unclaimed::Store(error));
            }
        };
        let Some(made_at) = made_at else { return Ok(()) };
        // Another daemon's, or one from before our start.
        let made_ago = now.date.duration_since(made_at).max(SignedDuration::ZERO);
        let made_at = now.uptime.saturating_sub(Duration::try_from(made_ago).unwrap_or_default());
        Err(self.checks.made_elsewhere(envelope, resource, made_at, now).into())
    }

    /// When the next check may be made after the last one that this daemon has claimed and not given back: it was sent, or
    /// is about to be. None: it knows of no such check.
    pub fn next_check(&self, envelope: &EnvelopeId, resource: &str, now: Now) -> Option<Timestamp> {
        self.checks.next(envelope, resource, now)
    }

    /// Gives back a check that was claimed at that time and surely not sent.
    pub async fn return_check(&self, envelope: &EnvelopeId, resource: &str, claimed: Now) {
        self.checks.give_back(envelope, resource);
        if let Some(store) = &self.store
            && let Err(error) =
                store.return_checks(std::slice::from_ref(envelope), resource, claimed.date).await
        {
            tracing::debug!(envelope.id = envelope.as_str(), %error, "a check that was not made counts as made");
        }
    }

    /// Claims the right to ask about envelopes by a list, of those that no daemon on the store has asked about
    /// so in the last 15 minutes; answers the others.
    pub async fn claim_listing(
        &self,
        envelopes: &[EnvelopeId],
        now: Now,
    ) -> Result<Vec<EnvelopeId>, store::Error> {
        let Some(store) = &self.store else { return Ok(Vec::new()) };
        let refused = store.take_checks(envelopes, checks::LISTING, checks::taking(now)).await?;
        Ok(refused.into_iter().map(|(envelope, _)| envelope).collect())
    }

    /// Gives back what was claimed for a list at that time that was not had.
    pub async fn return_listing(&self, envelopes: &[EnvelopeId], claimed: Now) -> Result<(), store::Error> {
        let Some(store) = &self.store else { return Ok(()) };
        store.return_checks(envelopes, checks::LISTING, claimed.date).await
    }

    /// A call was held back before it came here, to keep this rule.
    pub fn held_back(&self, rule: Rule) {
        self.ledger.avoided(rule, Now::read(&*self.clock));
    }

    /// An envelope was changed, or a change of it was refused: the vendor counts both.
    pub async fn envelope_changed(&self, envelope: &EnvelopeId) {
        let Some(store) = &self.store else { return };
        let now = Now::read(&*self.clock);
        match store.count_change(envelope, now.date).await {
            Ok(calls) if calls > rules::ADVISED_CHANGES => {
                self.ledger.broken(Rule::EnvelopeChanges, 1, now);
            }
            Ok(_) => {}
            Err(error) => {
                tracing::debug!(envelope.id = envelope.as_str(), %error, "a change is not counted");
            }
        }
    }

    /// What the account server was asked for since the last time.
    pub fn account_server_asked(&self, asked: AccountServerCalls) {
        self.ledger.account_server(asked, Now::read(&*self.clock));
    }

    /// What is left of an account's windows.
    pub fn remaining(&self, account: &AccountId) -> Remaining {
        let now = Now::read(&*self.clock);
        lock(&self.account(account, now)).remaining(now)
    }

    /// What is left, for every account that was ever used.
    pub fn all_remaining(&self) -> Vec<(AccountId, Remaining)> {
        let now = Now::read(&*self.clock);
        self.known().into_iter().map(|(id, account)| (id, lock(&account).remaining(now))).collect()
    }

    /// Whether so little of the hour is left that somebody should know: twice what is kept from new work, and
    /// a tenth where nothing is kept.
    pub fn is_low(&self, left: &Remaining) -> bool {
        let percent = (2 * self.options.reserve_from_new_work_percent).max(10);
        left.hour.saturating_mul(100) <= left.hour_limit.saturating_mul(percent)
    }

    /// Whether the hour will last.
    pub fn forecast(&self, account: &AccountId) -> Forecast {
        let now = Now::read(&*self.clock);
        lock(&self.account(account, now)).forecast(now)
    }

    fn account(&self, id: &AccountId, now: Now) -> Arc<Mutex<Account>> {
        if let Some(known) = self.accounts.read().unwrap_or_else(PoisonError::into_inner).get(id) {
            return Arc::clone(known);
        }
        let mut accounts = self.accounts.write().unwrap_or_else(PoisonError::into_inner);
        let fresh = || Arc::new(Mutex::new(Account::new(self.options, now)));
        Arc::clone(accounts.entry(id.clone()).or_insert_with(fresh))
    }

    fn known(&self) -> Vec<(AccountId, Arc<Mutex<Account>>)> {
        let accounts = self.accounts.read().unwrap_or_else(PoisonError::into_inner);
        accounts.iter().map(|(id, account)| (id.clone(), Arc::clone(account))).collect()
    }
}

/// Leave for one call. Dropped without a word, the call counts as made with its answer lost.
#[derive(Debug)]
#[must_use]
pub struct Permit {
    account: Arc<Mutex<Account>>,
    ledger: Arc<Ledger>,
    operation: Operation,
    admitted: Now,
    ticket: Option<account::Ticket>,
}

impl Permit {
    /// The upstream answered: takes in what the headers say.
    pub fn answered(mut self, headers: &HeaderMap, now: Now) {
        if let Some(ticket) = self.sent() {
            lock(&self.account).answered(ticket, &Reading::of(headers), now);
        }
    }

    /// The upstream refused the call for a limit, until then; `reset` is the uptime at which its hour begins anew, if it
    /// says so. Until that has come the rule is to stop, whatever else it asks us to wait for.
    pub fn limited(mut self, scope: Scope, until: Duration, reset: Option<Duration>, now: Now) {
        let went_on = match self.sent() {
            Some(ticket) => lock(&self.account).limited(ticket, scope, until, reset, now),
            None => false,
        };
        self.ledger.broken(Rule::of(scope), 1, now);
        self.ledger.broken(Rule::Pause, went_on.into(), now);
    }

    /// The call was surely not sent: it costs nothing.
    pub fn not_sent(mut self) {
        if let Some(ticket) = self.ticket.take() {
            lock(&self.account).not_sent(ticket);
        }
    }

    /// The call was sent, as far as is known, when it was allowed. It is so once.
    fn sent(&mut self) -> Option<account::Ticket> {
        let ticket = self.ticket.take()?;
        self.ledger.called(self.operation, self.admitted);
        Some(ticket)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.sent().is_some() {
            lock(&self.account).lost();
        }
    }
}

/// A panic elsewhere leaves counts, and counts stay usable.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
