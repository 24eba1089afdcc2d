//! One sender's access token: remembered, renewed, and never lost without need.
//!
//! Readers load one atomic pointer and a clock; no lock that a refresh can hold is in their way
//! (rule T1). Everything that changes the pointer happens under `control`, a mutex that is never
//! held across an await. All minting is done by one task, the *driver*, which belongs to nobody who
//! could hang up; so there is one flight at a time, whoever asks, and its outcome is everyone's
//! (rule T5). The driver ends only when the sender was idle for long, never on an error (rule T4).
//!
//! The cache neither knows how a token is minted nor for how long to back off: both come from the
//! [`TokenSource`] below it.

mod answers;
mod driver;
mod record;
mod slot;
mod sync;

pub use answers::{CacheFailure, CacheStatus, Miss, Retired};
pub use record::{Mints, Record};

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use self::slot::Slot;
use super::{
    access_token::{self, AccessToken, Band},
    account_server_calls::Asked,
    error::{Error, Kind},
    retry::{Jitter, backoff},
    token_source::TokenSource,
};
use crate::{clock::SharedClock, lifecycle::Spawner};

/// How long a caller waits for a refresh while the old token is still valid (rule T2).
const PATIENCE: Duration = Duration::from_secs(2);
/// So long before it is no longer handed out, an old token is given to those who still wait for a
/// refresh: afterwards they would have to wait for as long as the refresh takes.
const LAST_MOMENT: Duration = Duration::from_millis(100);
/// The shortest time between two mints, whoever asks for them.
const MINT_GAP: Duration = Duration::from_secs(1);
/// A token that is refused at this age or younger did not die of age: another one may fare no
/// better, so forced refreshes back off. Refusals that are further apart are not in a row.
const EARLY_DEATH: Duration = Duration::from_secs(300);

/// What a cache needs from outside.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// The time.
    pub clock: SharedClock,
    /// Runs the driver.
    pub spawner: Spawner,
    /// Numbers all tokens of the process in order.
    pub generations: Arc<AtomicU64>,
    /// Ends the driver and whoever waits.
    pub closed: CancellationToken,
    /// After this long without a reader the token is dropped and no more refreshed.
    pub idle_after: Duration,
    /// For jitter.
    pub seed: u64,
    /// Counts mints that no refresh asked for.
    pub asked: Asked,
    /// Whether this is one of very many: its first refresh then comes at any time in the first half of life,
    /// so that senders that were first used together do not refresh together.
    pub is_crowded: bool,
    /// What happens to a cache that was dropped for idleness.
    pub on_idle: Option<OnIdle>,
}

/// Something to do when a cache is dropped for idleness.
#[derive(Clone)]
pub struct OnIdle(pub Arc<dyn Fn() + Send + Sync>);

impl fmt::Debug for OnIdle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnIdle")
    }
}

/// The cache of one sender. Clones share it.
#[derive(Clone)]
pub struct TokenCache {
    shared: Arc<Shared>,
}

struct Shared {
    source: Arc<dyn TokenSource>,
    around: Surroundings,
    record: Arc<Record>,
    current: Slot<access_token::Inner>,
    /// Uptime of the last read in whole seconds, written once a second at most.
    used_at: AtomicU64,
    /// Set by the first reader that finds a refresh due; cleared when an attempt ends.
    nudged: AtomicBool,
    wake: Notify,
    /// Bumped when an attempt ends or the driver is gone.
    changed: watch::Sender<u64>,
    control: Mutex<Control>,
}

struct Control {
    driver: Driver,
    /// When the flight in progress began.
    flight: Option<Duration>,
    /// Flights begun and ended; the n-th to begin is the n-th to end.
    started: u64,
    ended: u64,
    /// The last outcome, if it was a failure.
    failed: Option<Failed>,
    last_started: Option<Duration>,
    /// Whether there was a token before.
    has_minted: bool,
    /// Someone asked for a mint whether or not one is due.
    forced: bool,
    /// Tokens in a row that were refused young, and when the last of them was.
    early_deaths: u32,
    died_at: Option<Duration>,
    /// When the first of them was.
    dying_since: Duration,
    /// No mint in place of a refused token begins sooner; zero once it has begun.
    held_until: Duration,
    jitter: Jitter,
}

impl Control {
    /// A token of this age was refused. If those before it were, too, it is not the token that is wrong: the next
    /// mint then comes later and later after the last one, so that a lasting refusal does not cost a mint a call.
    fn died(&mut self, age: Duration, now: Duration) {
        let is_first = self.died_at.is_none_or(|at| now.saturating_sub(at) >= EARLY_DEATH);
        if age >= EARLY_DEATH || is_first {
            (self.early_deaths, self.dying_since) = (0, now);
        }
        self.died_at = (age < EARLY_DEATH).then_some(now);
        if age >= EARLY_DEATH {
            return;
        }
        if let Some(before) = self.early_deaths.checked_sub(1) {
            let last = self.last_started.unwrap_or(now);
            self.held_until = last.saturating_add(backoff(Kind::Transient, before));
        }
        self.early_deaths = self.early_deaths.saturating_add(1);
    }

    /// Why there is no token, if it is for that. The first one that is refused is replaced at once.
    fn refused(&self, now: Duration) -> Option<CacheFailure> {
        let is_in_a_row = self.died_at.is_some_and(|at| now.saturating_sub(at) < EARLY_DEATH);
        if !is_in_a_row || self.early_deaths < 2 {
            return None;
        }
        let next_try_in = self.held_until.saturating_sub(now);
        let retry_after = (!next_try_in.is_zero()).then_some(next_try_in);
        Some(CacheFailure {
            error: Arc::new(Error::TokenRefused { retry_after }),
            failing_for: now.saturating_sub(self.dying_since),
            next_try_in,
        })
    }
}

#[derive(Debug, Clone)]
struct Failed {
    error: Arc<Error>,
    not_before: Duration,
    /// Which flight failed, counted from 1.
    flight: u64,
    /// When the failures in a row began.
    since: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Driver {
    NotStarted,
    Running,
    /// The sender was idle: this cache is never used again.
    Dropped,
    /// Its task was taken away from outside, because the process ends.
    Gone,
}

impl TokenCache {
    /// A cache over `source`, still without a token. `record` outlives it.
    pub fn new(source: Arc<dyn TokenSource>, record: Arc<Record>, around: Surroundings) -> Self {
        let control = Control {
            driver: Driver::NotStarted,
            flight: None,
            started: 0,
            ended: 0,
            failed: None,
            last_started: None,
            has_minted: false,
            forced: false,
            early_deaths: 0,
            died_at: None,
            dying_since: Duration::ZERO,
            held_until: Duration::ZERO,
            jitter: Jitter::new(around.seed),
        };
        let shared = Shared {
            source,
            record,
            current: Slot::new(),
            used_at: AtomicU64::new(around.clock.uptime().as_secs()),
            nudged: AtomicBool::new(false),
            wake: Notify::new(),
            changed: watch::Sender::new(0),
            control: Mutex::new(control),
            around,
        };
        Self { shared: Arc::new(shared) }
    }

    /// The token, if a reader may have it without waiting: one atomic pointer and a clock.
    pub fn ready(&self) -> Option<AccessToken> {
        self.shared.ready(self.shared.around.clock.uptime())
    }

    /// The token that is there, if it can be used yet, for whoever only looks: it keeps nothing from becoming idle.
    pub fn peek(&self) -> Option<AccessToken> {
        let now = self.shared.around.clock.uptime();
        let current = self.shared.current.get().filter(|token| now < token.schedule.usable_until);
        current.map(AccessToken::from)
    }

    /// The token, for a caller with so much time. Waits only if there is none, or shortly in its last minutes: a mint
    /// that is held back for longer, because tokens were refused one after the other, is not waited for.
    pub async fn token_within(&self, time: Duration) -> Result<AccessToken, Miss> {
        let now = self.shared.around.clock.uptime();
        match self.shared.ready(now) {
            Some(token) => Ok(token),
            None => self.wait(now, now.saturating_add(time)).await,
        }
    }

    /// Mints now, whether or not one is due, and waits for that mint's outcome.
    pub async fn prove(&self) -> Result<(), Miss> {
        let target = self.wake();
        let mut changed = self.shared.changed.subscribe();
        loop {
            changed.borrow_and_update();
            {
                let control = self.shared.lock();
                if control.ended >= target {
                    let failed = control.failed.as_ref().filter(|failed| failed.flight >= target);
                    return failed.map_or(Ok(()), |failed| Err(Miss::Failed(Arc::clone(&failed.error))));
                }
                self.shared.check_driver(control.driver)?;
            }
            tokio::select! {
                biased;
                () = self.shared.around.closed.cancelled() => return Err(Miss::Dropped),
                _ = changed.changed() => {}
            }
        }
    }

    /// A wake-up (rule T4): forgets the back-off and mints at once, but keeps the gap between mints.
    ///
    /// Answers the number of the flight that will show the effect.
    pub fn wake(&self) -> u64 {
        self.shared.source.wake();
        self.shared.touch(self.shared.around.clock.uptime());
        let target = {
            let mut control = self.shared.lock();
            control.forced = true;
            if let Some(failed) = &mut control.failed {
                // Callers wait for what comes now instead of being told what was.
                failed.not_before = Duration::ZERO;
            }
            control.started + 1
        };
        self.ensure_driver();
        self.shared.wake.notify_one();
        target
    }

    /// Like [`wake`](Self::wake), for whoever only looks: unless a mint is on its way, began less than `gap` ago, or
    /// failed by something that heals by itself. That has a pace of its own, which the upstream may have told.
    pub fn wake_after(&self, gap: Duration) {
        let now = self.shared.around.clock.uptime();
        let is_not_due = {
            let control = self.shared.lock();
            let is_young = |last| now.saturating_sub(last) < gap;
            let heals = |failed: &Failed| failed.error.kind() == Kind::Transient;
            control.flight.is_some()
                || control.last_started.is_some_and(is_young)
                || control.failed.as_ref().is_some_and(heals)
        };
        if !is_not_due {
            self.wake();
        }
    }

    /// Takes the token of this generation out of use, and no other (rule T6). It is never handed out again, however
    /// soon it was refused; only the mint of the next one may be held back (rule T7).
    pub fn retire(&self, generation: u64) -> Retired {
        let now = self.shared.around.clock.uptime();
        {
            let mut control = self.shared.lock();
            let Some(current) = self.shared.current.get().filter(|token| token.generation == generation)
            else {
                return Retired::Before;
            };
            self.shared.current.retire(|token| token.generation == generation);
            control.died(now.saturating_sub(current.schedule.born), now);
        }
        self.ensure_driver();
        self.shared.wake.notify_one();
        Retired::Now
    }

    /// For how long the next mint is held back because tokens were refused one after the other; none if it is not.
    pub fn held_back(&self) -> Option<Duration> {
        let held = self.shared.lock().held_until.saturating_sub(self.shared.around.clock.uptime());
        (!held.is_zero()).then_some(held)
    }

    /// Whether the last mint failed, or the next one is held back.
    pub fn is_in_trouble(&self) -> bool {
        let now = self.shared.around.clock.uptime();
        let control = self.shared.lock();
        control.failed.is_some() || now < control.held_until
    }

    /// Whether it was closed, or dropped for idleness.
    pub fn is_dropped(&self) -> bool {
        self.shared.around.closed.is_cancelled() || self.shared.lock().driver == Driver::Dropped
    }

    /// How it stands.
    pub fn status(&self) -> CacheStatus {
        let now = self.shared.around.clock.uptime();
        let (failed, refused, is_refreshing) = {
            let control = self.shared.lock();
            let is_refreshing = control.flight.is_some() || now < control.held_until;
            (control.failed.clone(), control.refused(now), is_refreshing)
        };
        let current = self.shared.current.get();
        let schedule = current.as_ref().map(|token| token.schedule);
        let band = schedule.map_or(Band::None, |schedule| schedule.band(now));
        CacheStatus {
            band,
            refused: refused.filter(|_| band == Band::None && failed.is_none()),
            generation: current.map(|token| token.generation),
            expires_in: schedule.map(|schedule| schedule.expires_at.saturating_sub(now)),
            runway: schedule.map_or(Duration::ZERO, |schedule| schedule.usable_until.saturating_sub(now)),
            is_refreshing,
            failure: failed.map(|failed| CacheFailure {
                error: failed.error,
                failing_for: now.saturating_sub(failed.since),
                next_try_in: failed.not_before.saturating_sub(now),
            }),
        }
    }

    /// The way of those who find no token that they may simply take.
    async fn wait(&self, arrived: Duration, deadline: Duration) -> Result<AccessToken, Miss> {
        let shared = &self.shared;
        shared.touch(arrived);
        let seen = shared.lock().ended;
        let mut changed = shared.changed.subscribe();
        loop {
            // Marked before looking, so that nothing is missed in between.
            changed.borrow_and_update();
            let now = shared.around.clock.uptime();
            let until = match shared.look(now, (arrived, deadline), seen)? {
                Look::Take(token) => return Ok(token),
                Look::Wait(until) => until,
            };
            self.ensure_driver();
            shared.nudge();
            let patience = async {
                match until {
                    Some(until) => shared.around.clock.sleep(until.saturating_sub(now)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = shared.around.closed.cancelled() => return Err(Miss::Dropped),
                _ = changed.changed() => {}
                () = patience => {}
            }
        }
    }

    fn ensure_driver(&self) {
        {
            let mut control = self.shared.lock();
            if control.driver != Driver::NotStarted {
                return;
            }
            control.driver = Driver::Running;
        }
        self.shared.around.spawner.spawn(driver::drive(Arc::clone(&self.shared)));
    }
}

enum Look {
    Take(AccessToken),
    /// Until an attempt ends, or until then.
    Wait(Option<Duration>),
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Control> {
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ready(&self, now: Duration) -> Option<AccessToken> {
        let token = self
            .current
            .look(|current| current.filter(|token| now < token.schedule.last_minutes_at).map(Arc::clone))?;
        self.touch(now);
        if now >= token.schedule.refresh_at {
            self.nudge();
        }
        Some(AccessToken::from(token))
    }

    fn touch(&self, now: Duration) {
        // Only when it changes: a line of memory that every reader writes would be the bottleneck.
        if self.used_at.load(Ordering::Relaxed) != now.as_secs() {
            self.used_at.store(now.as_secs(), Ordering::Relaxed);
        }
    }

    /// Tells the driver that something is due, in case its timer slept (a suspended machine).
    fn nudge(&self) {
        if !self.nudged.swap(true, Ordering::AcqRel) {
            self.wake.notify_one();
        }
    }

    /// What a waiting caller does next; `seen` flights had ended when it arrived.
    fn look(
        &self,
        now: Duration,
        (arrived, deadline): (Duration, Duration),
        seen: u64,
    ) -> Result<Look, Miss> {
        let control = self.lock();
        let failed = control.failed.as_ref();
        let is_remembered = failed.is_some_and(|failed| now < failed.not_before);
        if let Some(token) = self.current.get().filter(|token| now < token.schedule.usable_until) {
            let fresh = now < token.schedule.last_minutes_at;
            let last_moment = token.schedule.usable_until.saturating_sub(LAST_MOMENT);
            let until = (control.flight.unwrap_or(arrived).min(arrived) + PATIENCE).min(last_moment);
            // A flight that is slow delays those who come in its first two seconds, and nobody after.
            let nothing_comes = control.flight.is_none() && is_remembered;
            let was_tried = control.ended > seen;
            if fresh || nothing_comes || was_tried || now >= until {
                return Ok(Look::Take(token.into()));
            }
            self.check_driver(control.driver)?;
            return Ok(Look::Wait(Some(until)));
        }
        self.check_driver(control.driver)?;
        match failed {
            Some(failed) if is_remembered || failed.flight > seen => {
                Err(Miss::Failed(Arc::clone(&failed.error)))
            }
            _ if now < control.held_until && deadline < control.held_until => {
                let retry_after = Some(control.held_until.saturating_sub(now));
                Err(Miss::Failed(Arc::new(Error::TokenRefused { retry_after })))
            }
            _ => Ok(Look::Wait(None)),
        }
    }

    /// Whether waiting makes sense at all.
    fn check_driver(&self, driver: Driver) -> Result<(), Miss> {
        match driver {
            _ if self.around.closed.is_cancelled() => Err(Miss::Dropped),
            Driver::NotStarted | Driver::Running => Ok(()),
            Driver::Dropped => Err(Miss::Dropped),
            Driver::Gone => Err(Miss::Failed(Arc::new(Error::Closed))),
        }
    }
}

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
