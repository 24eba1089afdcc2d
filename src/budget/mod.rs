//! The upstream's limits: what is left of them, who goes first, and what we would have broken.
//!
//! An account has so many calls in a clock hour and so many in 30 seconds, shared by everything that
//! uses it. Every call of ours asks here first ([`Budget::admit`]) and tells afterwards what the
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
pub mod deadline;
mod hour;
pub mod ledger;
pub mod limits;
pub mod operation;
mod sharing;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use http::HeaderMap;
use jiff::{SignedDuration, Timestamp};

pub use checks::may_check;
pub use deadline::Deadline;
pub use ledger::{Report, Rule};
pub use operation::{Operation, Outcome, Priority};

use crate::{
    budget::{account::Account, checks::Checks, ledger::Ledger, limits::Reading},
    clock::{Clock, SharedClock},
    domain::{AccountId, EnvelopeId},
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

/// One moment, read from both hands of the clock: the uptime decides, the date is what people are told.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// The date.
    pub date: Timestamp,
    /// The uptime.
    pub uptime: Duration,
}

impl Now {
    /// Reads the clock.
    pub fn read(clock: &dyn Clock) -> Self {
        Self { date: clock.now(), uptime: clock.uptime() }
    }

    /// The date at which the uptime will be `at`.
    pub fn date_of(&self, at: Duration) -> Timestamp {
        let left = SignedDuration::try_from(at.saturating_sub(self.uptime)).unwrap_or(SignedDuration::ZERO);
        self.date.saturating_add(left).unwrap_or(Timestamp::MAX)
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
    /// The same as uptime.
    until: Duration,
}

/// What is left of one account's windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remaining {
    /// Calls in an hour.
    pub hour_limit: u64,
    /// Left of them.
    pub hour: u64,
    /// When the hour begins anew.
    pub resets_at: Timestamp,
    /// Calls in 30 seconds.
    pub burst_limit: u64,
    /// Left of them.
    pub burst: u64,
}

/// Whether the hour's budget will last at the present pace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forecast {
    /// Calls an hour, extrapolated from the last minutes of this daemon.
    pub calls_per_hour: u64,
    /// Left in this hour.
    pub remaining: u64,
    /// When it will be gone, if that is before it begins anew.
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
}

impl Budget {
    /// Starts with nothing spent.
    pub fn new(options: Options, clock: SharedClock) -> Arc<Self> {
        let now = Now::read(&*clock);
        Arc::new(Self {
            options,
            clock,
            accounts: RwLock::default(),
            checks: Checks::default(),
            ledger: Arc::new(Ledger::new(now)),
        })
    }

    /// Allows one call and counts it, or says when it will be allowed.
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
                self.ledger.called(operation, now);
                Ok(Permit { account: shared, ledger: Arc::clone(&self.ledger), ticket: Some(ticket) })
            }
            Err(shed) => {
                self.ledger.avoided(Rule::of(shed.scope), now);
                Err(shed)
            }
        }
    }

    /// Whether a call would be allowed now. Counts nothing.
    pub fn peek(&self, account: &AccountId, priority: Priority, now: Now) -> Result<(), Shed> {
        let shared = self.account(account, now);
        lock(&shared).peek(priority, now)
    }

    /// As [`Budget::admit`], but waits for a burst to be over if that comes before the deadline.
    ///
    /// The hour is not waited for: nobody holds a connection open that long.
    pub async fn admit_by(
        &self,
        account: &AccountId,
        operation: Operation,
        priority: Priority,
        deadline: Deadline,
    ) -> Result<Permit, Shed> {
        loop {
            let now = Now::read(&*self.clock);
            match self.admit(account, operation, priority, now) {
                Err(shed) if shed.scope == Scope::Burst && deadline.at() > shed.until => {
                    let wait = shed.until.saturating_sub(now.uptime).max(Duration::from_millis(10));
                    self.clock.sleep(wait).await;
                }
                decided => return decided,
            }
        }
    }

    /// Claims the one status check that an envelope has in 15 minutes (rule B3). `resource` is the
    /// path below the envelope; each has its own count, as it has at the vendor.
    pub fn claim_check(&self, envelope: &EnvelopeId, resource: &str, now: Now) -> Result<(), Shed> {
        self.checks.claim(envelope, resource, now).inspect_err(|_| self.ledger.avoided(Rule::Polling, now))
    }

    /// Gives back a check that was claimed and surely not sent.
    pub fn return_check(&self, envelope: &EnvelopeId, resource: &str) {
        self.checks.give_back(envelope, resource);
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

    /// Counts an exchange that ended.
    pub fn ended(&self, operation: Operation, outcome: Outcome) {
        self.ledger.ended(operation, outcome);
    }

    /// How often an operation ended so since the start.
    pub fn count(&self, operation: Operation, outcome: Outcome) -> u64 {
        self.ledger.count(operation, outcome)
    }

    /// What was called in the last hour, and which of the vendor's rules it would have broken.
    pub fn report(&self) -> Report {
        let now = Now::read(&*self.clock);
        let accounts = self.known().into_iter().map(|(id, account)| (id, lock(&account).forecast(now)));
        self.ledger.report(now, accounts.collect())
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
    ticket: Option<account::Ticket>,
}

impl Permit {
    /// The upstream answered: takes in what the headers say.
    pub fn answered(mut self, headers: &HeaderMap, now: Now) {
        if let Some(ticket) = self.ticket.take() {
            lock(&self.account).answered(ticket, &Reading::of(headers), now);
        }
    }

    /// The upstream refused the call for a limit, until then.
    pub fn limited(mut self, scope: Scope, until: Duration, now: Now) {
        if self.ticket.take().is_some() {
            lock(&self.account).limited(scope, until);
        }
        self.ledger.broken(Rule::of(scope), now);
    }

    /// The call was surely not sent: it costs nothing.
    pub fn not_sent(mut self) {
        if let Some(ticket) = self.ticket.take() {
            lock(&self.account).not_sent(ticket);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.ticket.take().is_some() {
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
