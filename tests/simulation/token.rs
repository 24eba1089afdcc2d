//! Months in the life of a token cache, with everything going wrong that can, and every rule checked
//! after every step.
//!
//! The model knows what the account server does and when; the cache under test knows nothing of it.
//! A broken rule is reported with its name and the seed that repeats it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicU64},
    time::Duration,
};

use countersign::{
    auth::{
        AccessToken, Error, Kind, Retired, TokenSource,
        access_token::{Band, MintedToken},
        clock_offset::ClockOffset,
        consent::Consent,
        error::Said,
        retry::Retry,
        token_cache::{CacheStatus, Miss, Record, Surroundings, TokenCache},
        token_source::{Failure, Minting},
    },
    clock::{Clock as _, SharedClock},
};
use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

use super::{World, WorldClock};

/// What a run did, for showing that it did something.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Tally {
    /// Simulated time.
    pub(crate) simulated: Duration,
    /// Mints begun.
    pub(crate) mints: u64,
    /// Of which failed.
    pub(crate) failures: u64,
    /// Reads by callers.
    pub(crate) reads: u64,
    /// Tokens retired by a 401.
    pub(crate) retired: u64,
}

impl Tally {
    /// Adds another run.
    pub(crate) fn add(&mut self, other: Self) {
        self.simulated += other.simulated;
        self.mints += other.mints;
        self.failures += other.failures;
        self.reads += other.reads;
        self.retired += other.retired;
    }
}

/// Runs one seed; answers the rule that broke, if one did.
pub(crate) fn run(seed: u64) -> Result<Tally, String> {
    let mut simulation = Simulation::new(seed);
    let steps = simulation.dice.u32(40..200);
    // One run in thirty goes on for a season.
    let scale = if seed.is_multiple_of(30) { 30 } else { 1 };
    for _ in 0..steps {
        simulation.step(scale);
        simulation.check()?;
    }
    simulation.heal();
    simulation.check()?;
    Ok(simulation.tally())
}

/// What the model knows.
struct Model {
    dice: fastrand::Rng,
    /// Until when nothing is answered, answers are slow, consent is withdrawn, answers are nonsense.
    down_until: Duration,
    slow_until: Duration,
    no_consent_until: Duration,
    nonsense_until: Duration,
    flights: Vec<Flight>,
    in_flight: u32,
    /// Failures in a row of one kind, and when the last ended.
    streak: Option<(Kind, i32, Duration)>,
    /// A wake since the last flight began.
    is_woken: bool,
    last_error: Option<Arc<Error>>,
    last_retired_at: Duration,
    /// The last time anything happened that may cost a mint of its own.
    disturbed_at: Duration,
    retired: u64,
    caches: u64,
    reads: u64,
    /// Reads that wait, by number, with their arrival.
    waiting: BTreeMap<u64, Duration>,
    /// Flights ended.
    ended: u64,
    /// When the last one did.
    last_ended_at: Duration,
    /// The token there was when a flight failed: its generation, its end, how many were retired and
    /// caches replaced before.
    kept: Option<(u64, Duration, u64, u64)>,
    failures: u64,
    broken: Option<String>,
}

#[derive(Clone, Copy)]
struct Flight {
    begun: Duration,
    life: Duration,
    /// Whether the token was killed before its time.
    is_dead: bool,
    cache: u64,
}

#[derive(Clone)]
struct Shared {
    model: Arc<Mutex<Model>>,
    clock: WorldClock,
    offset: Arc<ClockOffset>,
    /// The cache of now; replaced when it was dropped for idleness, as the facade does.
    cache: Arc<Mutex<TokenCache>>,
    /// An empty one over the same source and record.
    renew: Arc<dyn Fn() -> TokenCache + Send + Sync>,
}

impl Shared {
    fn model(&self) -> MutexGuard<'_, Model> {
        self.model.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cache(&self) -> TokenCache {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn require(&self, holds: bool, rule: &str) {
        let at = self.clock.uptime();
        let mut model = self.model();
        if !holds && model.broken.is_none() {
            model.broken = Some(format!("{rule} (at {at:?})"));
        }
    }
}

/// The account server.
struct AccountServer {
    shared: Mutex<Option<Shared>>,
    clock: WorldClock,
}

impl AccountServer {
    fn shared(&self) -> Shared {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner).clone().expect("set before the first mint")
    }
}

/// Counts a flight as ended even if it is dropped.
struct InFlight(Shared);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.model().in_flight -= 1;
    }
}

impl TokenSource for AccountServer {
    fn mint(&self) -> Minting<'_> {
        let shared = self.shared();
        let begun = self.clock.uptime();
        shared.begin_flight(begun);
        Box::pin(async move {
            let _in_flight = InFlight(shared.clone());
            let latency = shared.model().latency(begun);
            shared.clock.sleep(latency / 2).await;
            let date = shared.clock.truth();
            let outcome = shared.model().answer(shared.clock.uptime());
            shared.clock.sleep(latency / 2).await;
            let now = shared.clock.uptime();
            if !matches!(outcome, Err(Error::Unreachable(_))) {
                let date = Timestamp::from_second(date.as_second()).unwrap_or(date);
                shared.offset.observe(begun, Some(date));
            }
            shared.end_flight(begun, now, outcome)
        })
    }
}

impl Model {
    fn latency(&mut self, now: Duration) -> Duration {
        if now < self.slow_until {
            Duration::from_millis(self.dice.u64(1_000..40_000))
        } else {
            Duration::from_millis(self.dice.u64(20..900))
        }
    }

    fn answer(&mut self, now: Duration) -> Result<Duration, Error> {
        if now < self.down_until {
            return Err(match self.dice.u8(0..3) {
                0 => Error::Unavailable { status: 503, retry_after: None },
                1 => Error::RateLimited { retry_after: Some(Duration::from_secs(self.dice.u64(0..7_200))) },
                _ => Error::Unreachable(countersign::http_client::Error::TimedOut),
            });
        }
        if now < self.no_consent_until {
            return Err(Error::ConsentRequired(Said::default()));
        }
        if now < self.nonsense_until {
            return Err(Error::Malformed { status: 200, what: "nonsense" });
        }
        Ok(Duration::from_secs(match self.dice.u8(0..40) {
            0 => self.dice.u64(1..30),
            1 => self.dice.u64(30..3_600),
            2 => 28_800,
            _ => 3_600,
        }))
    }
}

impl Shared {
    /// What must hold whenever a mint begins.
    fn begin_flight(&self, begun: Duration) {
        self.check_kept();
        let mut model = self.model();
        model.in_flight += 1;
        let (in_flight, is_woken, caches) = (model.in_flight, model.is_woken, model.caches);
        let (last, streak) = (model.flights.last().copied(), model.streak);
        let (retired_at, ended_at) = (model.last_retired_at, model.last_ended_at);
        model.is_woken = false;
        model.flights.push(Flight { begun, life: Duration::ZERO, is_dead: false, cache: caches });
        drop(model);
        self.require(in_flight == 1, "T5: two flights at once");
        let Some(last) = last.filter(|last| last.cache == caches) else { return };
        let since_last = begun.saturating_sub(last.begun);
        self.require(since_last >= Duration::from_secs(1), "S5: two mints within a second");
        self.check_steady_state(begun);
        match streak {
            Some((kind, count, ended)) if !is_woken => {
                let first = if kind == Kind::Transient { (1.0, 60.0) } else { (60.0, 300.0) };
                let shortest = 0.79 * f64::min(first.0 * f64::from(2).powi(count - 1), first.1);
                let waited = begun.saturating_sub(ended).as_secs_f64();
                self.require(waited >= shortest, "T5: asked again before the back-off was over");
            }
            None if !is_woken && retired_at < last.begun && last.life >= Duration::from_secs(60) => {
                let age = since_last.as_secs_f64() / last.life.as_secs_f64();
                // A slow answer may bring a token that is past half of its life: no time is lost then.
                let is_late = age >= 0.551 && begun == ended_at;
                let is_half = (0.449..0.551).contains(&age);
                self.require(is_half || is_late, "T1: a refresh not at half of life ±10 %");
            }
            _ => {}
        }
    }

    /// A failed flight took nothing away (rule T3).
    fn check_kept(&self) {
        let model = self.model();
        let Some((generation, until, retired, caches)) = model.kept else { return };
        let is_over = retired != model.retired || caches != model.caches || self.clock.uptime() >= until;
        drop(model);
        let cache = self.cache();
        let there = cache.status().generation;
        let is_kept = there.is_some_and(|there| there >= generation);
        self.require(
            is_over || is_kept || cache.is_dropped(),
            "T3: a failed refresh took a valid token away",
        );
    }

    fn check_steady_state(&self, now: Duration) {
        const HOUR: Duration = Duration::from_secs(3_600);
        let model = self.model();
        let of_the_hour = model.flights.iter().rev().take_while(|flight| flight.begun + HOUR > now);
        // The flight that begins now has no life yet.
        let (count, shortest) = of_the_hour
            .skip(1)
            .fold((1, HOUR), |(count, shortest), flight| (count + 1, shortest.min(flight.life)));
        let is_steady = model.disturbed_at + HOUR < now && shortest == HOUR;
        drop(model);
        self.require(!is_steady || count <= 3, "more than three mints in an hour without trouble");
    }

    fn end_flight(
        &self,
        begun: Duration,
        now: Duration,
        outcome: Result<Duration, Error>,
    ) -> Result<MintedToken, Failure> {
        let status = self.cache().status();
        let mut model = self.model();
        model.ended += 1;
        model.last_ended_at = now;
        let held = status.generation.filter(|_| status.runway > Duration::ZERO && outcome.is_err());
        model.kept = held.map(|generation| (generation, now + status.runway, model.retired, model.caches));
        match outcome {
            Ok(life) => {
                let number = model.flights.len() - 1;
                model.flights[number].life = life;
                let usable = life.saturating_sub(Duration::from_secs(5).min(life / 60));
                // What is dead on arrival is a failure of the cache's own, and of no kind in a row.
                model.streak = None;
                model.is_woken |= begun + usable <= now;
                Ok(MintedToken::new(&format!("t{number}"), begun, life).expect("visible ASCII"))
            }
            Err(error) => {
                let kind = error.kind();
                let count = model.streak.filter(|(last, ..)| *last == kind).map_or(0, |(_, count, _)| count);
                model.streak = Some((kind, count + 1, now));
                model.disturbed_at = now;
                model.failures += 1;
                let failure = Failure::from(error);
                model.last_error = Some(Arc::clone(&failure.error));
                Err(failure)
            }
        }
    }

    /// Someone who needs a token, uses it, and after a 401 tries once more (rule T7).
    async fn call(self) {
        for is_replay in [false, true] {
            let Some(token) = self.read().await else { return };
            // Some requests are slow, so that their 401 comes late.
            let slow = self.model().dice.u8(0..4) == 0;
            if slow {
                let seconds = self.model().dice.u64(0..90);
                self.clock.sleep(Duration::from_secs(seconds)).await;
            }
            if self.is_accepted(&token) || is_replay {
                return;
            }
            self.retire(token.generation());
        }
    }

    fn retire(&self, generation: u64) {
        let (cache, now) = (self.cache(), self.clock.uptime());
        let before = cache.status().generation;
        let verdict = cache.retire(generation);
        let after = cache.status().generation;
        if verdict == Retired::Now {
            let mut model = self.model();
            (model.last_retired_at, model.disturbed_at) = (now, now);
            model.retired += 1;
            drop(model);
            let is_that_one = before == Some(generation) && after.is_none();
            self.require(is_that_one, "T6: a 401 retired another generation than its own");
        } else {
            self.require(before == after, "T6: a 401 that retires nothing changed something");
        }
    }

    async fn read(&self) -> Option<AccessToken> {
        loop {
            let cache = self.cache();
            self.check_kept();
            let before = Before::new(self, cache.status());
            let outcome = {
                let _waiting = Waiting::new(self.clone(), before.arrived);
                cache.token_within(Duration::MAX).await
            };
            self.check_wait(&before);
            match outcome {
                Ok(token) => {
                    self.check_token(&token);
                    return Some(token);
                }
                Err(Miss::Failed(error)) => {
                    let is_shared =
                        self.model().last_error.as_ref().is_some_and(|last| Arc::ptr_eq(last, &error));
                    let is_own = matches!(*error, Error::Malformed { .. });
                    self.require(is_shared || is_own, "T5: a failure that is not the last flight's");
                    self.require(cache.status().band == Band::None, "T3: a failure while a token is valid");
                    return None;
                }
                Err(Miss::Dropped) => self.replace_cache(),
            }
        }
    }

    fn check_wait(&self, before: &Before) {
        let waited = self.clock.uptime().saturating_sub(before.arrived);
        let (retired, ended) = {
            let model = self.model();
            (model.retired, model.ended)
        };
        if retired != before.retired {
            return;
        }
        let longest = match before.status.band {
            Band::Fresh | Band::Advisory => Duration::ZERO,
            Band::LastMinutes => Duration::from_secs(2),
            Band::None => {
                let failure = before.status.failure.as_ref();
                let is_remembered = failure.is_some_and(|failure| failure.next_try_in > Duration::ZERO);
                self.require(!is_remembered || waited.is_zero(), "T5: a remembered failure was waited for");
                self.require(
                    ended <= before.may_have_ended,
                    "T5: a failure was not shared by all who waited",
                );
                Duration::MAX
            }
        };
        self.require(waited <= longest, "T1, T2: a caller waited for a refresh");
    }

    fn flight_of(&self, token: &AccessToken) -> Flight {
        let text = token.header().to_str().expect("visible ASCII");
        let number: usize = text.trim_start_matches("Bearer t").parse().expect("a token of ours");
        self.model().flights[number]
    }

    fn check_token(&self, token: &AccessToken) {
        let flight = self.flight_of(token);
        let age = self.clock.uptime().saturating_sub(flight.begun);
        self.require(age < flight.life, "T8: a token was handed out after its life");
        let retired_at = self.model().last_retired_at;
        self.require(flight.begun >= retired_at, "T6: a flight published that began before an invalidation");
    }

    fn is_accepted(&self, token: &AccessToken) -> bool {
        !self.flight_of(token).is_dead
    }

    fn replace_cache(&self) {
        let mut slot = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if slot.is_dropped() {
            *slot = (self.renew)();
            drop(slot);
            let mut model = self.model();
            (model.caches, model.disturbed_at) = (model.caches + 1, self.clock.uptime());
        }
    }
}

/// How things were when a caller arrived.
struct Before {
    arrived: Duration,
    status: CacheStatus,
    retired: u64,
    /// How many flights may have ended when the answer is here: one, and one more if the flight under
    /// way began before an invalidation, so that its success is nobody's.
    may_have_ended: u64,
}

impl Before {
    fn new(shared: &Shared, status: CacheStatus) -> Self {
        let model = shared.model();
        let under_way = model.flights.last().filter(|_| model.in_flight > 0);
        let is_overtaken = under_way.is_some_and(|flight| flight.begun <= model.last_retired_at);
        let may_have_ended = model.ended + 1 + u64::from(is_overtaken);
        Self { arrived: shared.clock.uptime(), status, retired: model.retired, may_have_ended }
    }
}

/// A caller that waits, until it is answered or gone.
struct Waiting(Shared, u64);

impl Waiting {
    fn new(shared: Shared, arrived: Duration) -> Self {
        let number = {
            let mut model = shared.model();
            model.reads += 1;
            let number = model.reads;
            model.waiting.insert(number, arrived);
            number
        };
        Self(shared, number)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.model().waiting.remove(&self.1);
    }
}

struct Simulation {
    world: World,
    dice: fastrand::Rng,
    shared: Shared,
    server: Arc<AccountServer>,
    record: Arc<Record>,
    callers: Vec<u64>,
    started: Duration,
    last_generation: u64,
    has_begun: bool,
}

/// The server holds the cache, and the cache the server: one of a million worlds must not outlive its seed.
impl Drop for Simulation {
    fn drop(&mut self) {
        self.server.shared.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let mut dice = fastrand::Rng::with_seed(seed);
        let world = World::new(seed);
        let clock = world.clock.clone();
        let shared_clock: SharedClock = Arc::new(clock.clone());
        let offset = Arc::new(ClockOffset::new(Arc::clone(&shared_clock)));
        let server = Arc::new(AccountServer { shared: Mutex::new(None), clock: clock.clone() });
        let retry = Retry::new(Arc::clone(&server), Arc::clone(&shared_clock), seed);
        let retry: Arc<dyn TokenSource> = Arc::new(retry);
        let around = Surroundings {
            clock: shared_clock,
            spawner: world.spawner(),
            generations: Arc::new(AtomicU64::new(0)),
            closed: CancellationToken::new(),
            idle_after: Duration::from_secs(dice.u64(3_600..200_000)),
            seed,
            asked: countersign::auth::account_server_calls::Asked::default(),
            is_crowded: false,
            on_idle: None,
        };
        let record = Arc::new(Record::default());
        let kept = Arc::clone(&record);
        let renew = move || TokenCache::new(Arc::clone(&retry), Arc::clone(&kept), around.clone());
        let model = Model {
            dice: dice.fork(),
            down_until: Duration::ZERO,
            slow_until: Duration::ZERO,
            no_consent_until: Duration::ZERO,
            nonsense_until: Duration::ZERO,
            flights: Vec::new(),
            in_flight: 0,
            streak: None,
            is_woken: false,
            last_error: None,
            last_retired_at: Duration::ZERO,
            disturbed_at: Duration::ZERO,
            retired: 0,
            caches: 0,
            reads: 0,
            waiting: BTreeMap::new(),
            ended: 0,
            last_ended_at: Duration::ZERO,
            kept: None,
            failures: 0,
            broken: None,
        };
        let shared = Shared {
            model: Arc::new(Mutex::new(model)),
            clock: clock.clone(),
            offset,
            cache: Arc::new(Mutex::new(renew())),
            renew: Arc::new(renew),
        };
        *server.shared.lock().unwrap_or_else(PoisonError::into_inner) = Some(shared.clone());
        let started = clock.uptime();
        Self {
            world,
            dice,
            shared,
            server,
            record,
            callers: Vec::new(),
            started,
            last_generation: 0,
            has_begun: false,
        }
    }

    /// One thing happens, and then time passes.
    fn step(&mut self, scale: u64) {
        let now = self.world.clock.uptime();
        let long = Duration::from_secs(self.dice.u64(1..5_000));
        match self.dice.u8(0..20) {
            0..8 => self.add_callers(),
            8 => self.shared.model().down_until = now + long,
            9 => self.shared.model().slow_until = now + long,
            10 => self.shared.model().no_consent_until = now + long * 4,
            11 => self.shared.model().nonsense_until = now + long / 4,
            12 | 13 => self.shared.model().flights.iter_mut().for_each(|flight| flight.is_dead = true),
            14 => {
                let seconds = self.dice.i64(-90_000..90_000);
                self.world.clock.set_wrong(SignedDuration::from_secs(seconds));
            }
            15 => {
                {
                    let mut model = self.shared.model();
                    (model.is_woken, model.streak, model.disturbed_at) = (true, None, now);
                }
                let cache = self.shared.cache();
                cache.wake();
                self.has_begun = true;
            }
            16 => self.hang_up(),
            // Slow and failing for so long that the last minutes come.
            17 => {
                let mut model = self.shared.model();
                let until = now + Duration::from_secs(3_500);
                (model.down_until, model.slow_until) = (until, until);
            }
            _ => {}
        }
        self.world.settle();
        let is_tense = self.shared.cache().status().band == Band::LastMinutes && self.dice.u8(0..10) < 9;
        if is_tense {
            self.add_callers();
        }
        let pause = match self.dice.u8(0..10) {
            _ if is_tense => Duration::from_millis(self.dice.u64(0..2_000)),
            0..4 => Duration::from_millis(self.dice.u64(0..3_000)),
            4..7 => Duration::from_secs(self.dice.u64(0..120)),
            7 | 8 => Duration::from_secs(self.dice.u64(0..3_600)),
            _ => Duration::from_secs(self.dice.u64(0..20_000) * scale),
        };
        let until = self.world.clock.uptime() + pause;
        while !self.world.advance(until) {}
    }

    fn add_callers(&mut self) {
        self.has_begun = true;
        for _ in 0..self.dice.u32(1..12) {
            let id = self.world.spawn(self.shared.clone().call());
            self.callers.push(id);
        }
    }

    /// Callers go away in the middle of whatever they wait for.
    fn hang_up(&mut self) {
        for id in std::mem::take(&mut self.callers) {
            if self.dice.bool() {
                self.world.cancel(id);
            }
        }
    }

    /// What must hold between any two events.
    fn check(&mut self) -> Result<(), String> {
        let now = self.world.clock.uptime();
        let cache = self.shared.cache();
        let status = cache.status();
        let shared = &self.shared;
        shared.check_kept();
        let (first, retired_at) = {
            let model = shared.model();
            let first = model.waiting.first_key_value().map_or(now, |(_, arrived)| *arrived);
            (first, model.last_retired_at)
        };
        // Two flights of 40 s, should the first be overtaken by an invalidation, and the gap between. A token
        // that is retired by whoever takes it first is not there for the others, and the count begins anew.
        let longest = now.saturating_sub(first.max(retired_at));
        shared.require(longest < Duration::from_secs(120), "T5: a caller was stranded");
        if let Some(generation) = status.generation {
            shared.require(generation >= self.last_generation, "T6: an older token came back");
            self.last_generation = generation;
        }
        let usable = status.runway > Duration::ZERO;
        shared.require(usable == (status.band != Band::None), "status: runway and band disagree");
        let ready = cache.ready().is_some();
        let is_before = matches!(status.band, Band::Fresh | Band::Advisory);
        shared.require(
            ready == is_before,
            "T1: a token that is not in its last minutes is there for the taking",
        );
        let last = shared.model().flights.last().copied();
        if let Some(last) =
            last.filter(|_| self.has_begun && !cache.is_dropped() && status.band != Band::Fresh)
        {
            // The last flight took 40 s at most; then 5 min ±20 % at most, or until half of life.
            let at_latest = last.begun + Duration::from_secs(40 + 360 + 5) + last.life.mul_f64(0.55);
            shared.require(now <= at_latest, "T4: the refresher has gone to sleep for good");
        }
        if status.failure.as_ref().is_some_and(|failure| matches!(*failure.error, Error::ConsentRequired(_)))
        {
            shared.require(self.record.consent() == Consent::Missing, "T11: missing consent is not said");
        }
        if let Some(found) = shared.offset.offset() {
            let really = shared.clock.truth().duration_since(shared.clock.now());
            let error = (found.offset - really).unsigned_abs();
            shared.require(error <= found.error_bound, "T9: the clock offset is outside its bound");
        }
        shared.model().broken.take().map_or(Ok(()), Err)
    }

    /// All faults end: within minutes, all must be well.
    fn heal(&mut self) {
        let now = self.world.clock.uptime();
        {
            let mut model = self.shared.model();
            (model.down_until, model.slow_until) = (now, now);
            (model.no_consent_until, model.nonsense_until) = (now, now);
        }
        self.add_callers();
        self.world.settle();
        while !self.world.advance(now + Duration::from_secs(600)) {}
        self.add_callers();
        self.world.settle();
        while !self.world.advance(now + Duration::from_secs(700)) {}
        let band = self.shared.cache().status().band;
        self.shared.require(band != Band::None, "T4: it does not heal when all faults are over");
    }

    fn tally(&self) -> Tally {
        let model = self.shared.model();
        Tally {
            simulated: self.world.clock.uptime().saturating_sub(self.started),
            mints: model.flights.len() as u64,
            failures: model.failures,
            reads: model.reads,
            retired: model.retired,
        }
    }
}
