//! Creates in a world where everything breaks: daemons that are killed between any two awaits and started
//! again, an upstream that acts and does not answer, a store whose connection is lost, callers who hang up
//! and ask again, and two daemons at once.
//!
//! Real are: the use cases, the client of the upstream, tokens and budget, the SQLite store, the emulator.
//! Simulated are: time, the network, the order in which tasks run, and the death of processes. All of that
//! comes from one seed. Not from the seed: the ids and secrets that a daemon makes (they are drawn from the
//! system, and nothing depends on their values) and how long the machine really takes.
//!
//! What must hold is in [`Book::check`].

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use countersign::{
    audit::Audit,
    auth::{
        self, Auth, Impersonation,
        identity::{AccountServer, Scopes},
        signing_key::KeySource,
        user_info::AccountChoice,
    },
    budget::{self, Budget},
    clock::{Clock as _, SharedClock},
    digest::sha256,
    domain::{CallerName, Mode, SigningId, SigningStatus, TemplateNames},
    emulator::{InMemory, Made},
    esign,
    events::Hub,
    http_client::{self, Carrier, HttpClient},
    lifecycle::{Lifecycle, Spawner},
    objects::parse_create,
    signing::{self, Ask, Created, NonceKey, Signings},
    spool::Spool,
    store::{self, Location, SealKeys, SharedStore, Synchronous},
    telemetry::metrics::Metrics,
};
use futures_util::FutureExt as _;
use http::Method;
use serde_json::{Value, json};
use tokio::{runtime::Runtime, sync::oneshot};
use tokio_util::sync::CancellationToken;

use super::{
    Group, World,
    network::{Network, Weather},
    slow_store::SlowStore,
};

/// How long things go wrong.
const STORM: Duration = Duration::from_secs(150);
/// After the storm everything must have come to its end within this. A lease is 90 s, a stalled call 60 s.
const AFTERMATH: Duration = Duration::from_secs(400);
/// When the world begins.
const START: Duration = Duration::from_secs(1_000);
const CALLER: &str = "website";
/// After that long, what was made twice has become one.
const HEALED: Duration = Duration::from_secs(20 * 60);

/// What a run did, for showing that it did something.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Keys that ended `open`.
    pub(crate) opened: u64,
    /// Keys that ended in a definite refusal.
    pub(crate) refused: u64,
    /// Creates and repeated creates.
    pub(crate) calls: u64,
    /// Calls and store operations that were made to fail.
    pub(crate) faults: u64,
    /// Daemons killed.
    pub(crate) deaths: u64,
    /// Virtual seconds.
    pub(crate) seconds: u64,
    /// Of everything that happened, in order.
    pub(crate) sum: u64,
}

impl Tally {
    /// Adds another run.
    pub(crate) fn add(&mut self, other: Self) {
        self.opened += other.opened;
        self.refused += other.refused;
        self.calls += other.calls;
        self.faults += other.faults;
        self.deaths += other.deaths;
        self.seconds += other.seconds;
        self.sum = self.sum.wrapping_add(other.sum);
    }
}

/// Runs one seed; answers what broke, with the story before it.
pub(crate) fn run(seed: u64) -> Result<Tally, String> {
    let mut simulation = Simulation::new(seed);
    let outcome = simulation.run();
    outcome.map_err(|broken| format!("seed {seed}: {broken}\n{}", simulation.stage.weather.story(400)))
}

/// Everything that happens in a seed, line by line.
pub(crate) fn story(seed: u64) -> String {
    let mut simulation = Simulation::new(seed);
    let end = format!("{:?}", simulation.run());
    simulation.stage.weather.story(usize::MAX) + "\n" + &end
}

/// What one key was promised and told.
#[derive(Debug, Default)]
struct Page {
    /// The id that an answer named.
    signing: Option<SigningId>,
    /// The whole body of the first 201.
    made: Option<Bytes>,
    /// Whether it was refused for good.
    failed: bool,
    /// Clients that still ask.
    asking: usize,
}

/// Every key, and the first rule that broke.
#[derive(Debug, Default)]
struct Book {
    pages: BTreeMap<String, Page>,
    calls: u64,
    broken: Option<String>,
}

/// What all parts of a run share.
#[derive(Clone)]
struct Stage {
    weather: Weather,
    emulator: InMemory,
    book: Arc<Mutex<Book>>,
    /// The daemons that live, by their group.
    daemons: Arc<Mutex<BTreeMap<Group, (Signings, Spawner)>>>,
}

struct Simulation {
    world: World,
    stage: Stage,
    runtime: Arc<Runtime>,
    store: SharedStore,
    folder: PathBuf,
    /// Groups that start again, and when.
    rising: BTreeMap<Group, Duration>,
    next_doom: Duration,
    deaths: u64,
    calmed: bool,
    /// Whether a daemon is the only one on its store, and opens it again when it starts again.
    is_alone: bool,
}

impl Drop for Simulation {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let world = World::new(seed);
        let weather = Weather::new(seed, world.clock.clone());
        let clock: SharedClock = Arc::new(world.clock.clone());
        let emulator = InMemory::new(seed, Arc::clone(&clock));
        prepare(&emulator, weather.lag());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let runtime = Arc::new(runtime.expect("a runtime"));
        let folder = folder(seed);
        let store = open_store(&runtime, &folder, clock);
        let stage = Stage { weather, emulator, book: Arc::default(), daemons: Arc::default() };
        let mut simulation = Self {
            world,
            stage,
            runtime,
            store,
            folder,
            rising: BTreeMap::new(),
            next_doom: Duration::MAX,
            deaths: 0,
            calmed: false,
            is_alone: false,
        };
        let (daemons, deaths) = simulation.roll(|dice| (dice.u32(1..=2), dice.u8(0..4) > 0));
        simulation.is_alone = daemons == 1 && simulation.roll(fastrand::Rng::bool);
        for daemon in 1..=daemons {
            simulation.boot(daemon);
        }
        if deaths {
            simulation.next_doom = START + simulation.roll(|dice| Duration::from_millis(dice.u64(0..30_000)));
        }
        simulation.callers();
        simulation
    }

    fn roll<T>(&self, roll: impl FnOnce(&mut fastrand::Rng) -> T) -> T {
        self.stage.weather.roll(roll)
    }

    /// What a start does with the store: what the last process had in hand is free at once.
    fn open_again(&mut self) {
        self.runtime.block_on(self.store.close()).expect("the store closes");
        self.store = open_store(&self.runtime, &self.folder, Arc::new(self.world.clock.clone()));
    }

    /// Whether an envelope may come to light later than is looked for before a create is sent again. Then
    /// there may be two for a while, and in the end one.
    fn is_tardy(&self) -> bool {
        self.stage.weather.is_tardy() || (self.is_alone && self.deaths > 0)
    }

    /// Starts a daemon of real parts on the store.
    fn boot(&mut self, group: Group) {
        let spawner = self.world.spawner_of(group);
        let network = Network {
            weather: self.stage.weather.clone(),
            emulator: self.stage.emulator.clone(),
            spawner: self.world.spawner(),
            daemon: group,
        };
        let store = Arc::new(SlowStore {
            store: Arc::clone(&self.store),
            runtime: Arc::clone(&self.runtime),
            weather: self.stage.weather.clone(),
            daemon: group,
        });
        let seed = self.roll(|dice| dice.u64(..));
        let signings = daemon(Arc::new(network), store, &spawner, Arc::new(self.world.clock.clone()), seed);
        spawner.spawn(signings.clone().recover(Arc::default(), CancellationToken::new()));
        self.stage.daemons().insert(group, (signings, spawner));
        self.stage.weather.note(&format!("daemon {group} starts"));
    }

    /// Sends callers, some of them several for one key, each in their own time.
    fn callers(&mut self) {
        let keys = self.roll(|dice| dice.usize(2..9));
        for number in 0..keys {
            let key = format!("order-{number}");
            let clients = self.roll(|dice| [1, 1, 1, 2, 3][dice.usize(0..5)]);
            let page = Page { asking: clients, ..Page::default() };
            self.stage.book().pages.insert(key.clone(), page);
            let wants_view = self.roll(fastrand::Rng::bool);
            let body = Bytes::from(order(&key, wants_view).to_string());
            for _ in 0..clients {
                let delay = Duration::from_millis(self.roll(|dice| dice.u64(0..60_000)));
                let stage = self.stage.clone();
                let (key, body) = (key.clone(), body.clone());
                self.world.spawn(async move {
                    stage.weather.clock.sleep(delay).await;
                    stage.caller(&key, body).await;
                });
            }
        }
    }

    fn run(&mut self) -> Result<Tally, String> {
        self.world.settle();
        loop {
            let now = self.world.clock.uptime();
            self.bury_and_raise(now);
            if !self.calmed && now >= START + STORM {
                self.calm();
            }
            let book = self.stage.book();
            if let Some(broken) = &book.broken {
                return Err(broken.clone());
            }
            let waiting: Vec<_> =
                book.pages.iter().filter(|(_, page)| page.asking > 0).map(|(key, _)| key.clone()).collect();
            drop(book);
            if waiting.is_empty() {
                return self.check();
            }
            if now >= START + STORM + AFTERMATH {
                return Err(format!("E2: never settled: {waiting:?}"));
            }
            let next = self.rising.values().copied().chain([self.next_doom]).min().unwrap_or(Duration::MAX);
            let next = next.max(now).min(now + Duration::from_secs(5));
            self.world.advance(next);
        }
    }

    /// Plans deaths, takes away the dead, and starts again those whose time has come.
    fn bury_and_raise(&mut self, now: Duration) {
        for group in self.world.take_dead() {
            self.stage.daemons().remove(&group);
            self.stage.weather.note(&format!("daemon {group} is killed"));
            self.deaths += 1;
            let down = self.roll(|dice| Duration::from_millis(dice.u64(100..20_000)));
            self.rising.insert(group, now + down);
        }
        if now >= self.next_doom && !self.calmed {
            let living: Vec<Group> = self.stage.daemons().keys().copied().collect();
            if !living.is_empty() {
                let (which, steps) = self.roll(|dice| (dice.usize(0..living.len()), dice.u32(1..200)));
                if self.roll(|dice| dice.u8(0..5) == 0) {
                    let time = self.roll(|dice| Duration::from_secs(dice.u64(1..150)));
                    self.stage.weather.note(&format!("daemon {} stands still for {time:?}", living[which]));
                    self.world.pause(living[which], time);
                } else {
                    self.world.doom(living[which], steps);
                }
            }
            self.next_doom = now + self.roll(|dice| Duration::from_millis(dice.u64(500..60_000)));
        }
        if self.calmed {
            self.next_doom = Duration::MAX;
        }
        let risen: Vec<Group> =
            self.rising.iter().filter(|(_, at)| **at <= now).map(|(group, _)| *group).collect();
        for group in risen {
            self.rising.remove(&group);
            if self.is_alone {
                self.open_again();
            }
            self.boot(group);
            self.world.settle();
        }
    }

    /// Lets the daemons find what came to light late; the second look comes a quarter of an hour after.
    fn heal(&mut self) {
        self.calm();
        let until = self.world.clock.uptime() + HEALED;
        let is_twice = |made: &[Made]| {
            let mut seen = BTreeSet::new();
            made.iter().any(|one| !one.is_voided && !seen.insert(one.subject.clone()))
        };
        let late = Duration::from_secs(70);
        let begun = self.world.clock.uptime();
        while self.world.clock.uptime() < until {
            // What is on its way may still arrive.
            if self.world.clock.uptime() > begun + late && !is_twice(&self.stage.emulator.made()) {
                break;
            }
            let now = self.world.clock.uptime();
            self.bury_and_raise(now);
            self.world.advance(now + Duration::from_secs(5));
        }
    }

    /// Nothing breaks any more.
    fn calm(&mut self) {
        self.calmed = true;
        self.stage.weather.calm();
        self.stage.weather.note("the storm is over");
    }

    fn check(&mut self) -> Result<Tally, String> {
        let is_tardy = self.is_tardy();
        if is_tardy {
            self.heal();
        }
        let mut made = self.stage.emulator.made();
        made.retain(|one| !is_tardy || !one.is_voided);
        let book = self.stage.book();
        let mut tally = Tally { calls: book.calls, deaths: self.deaths, ..Tally::default() };
        for (key, page) in &book.pages {
            let envelopes: Vec<_> = made.iter().filter(|made| made.subject == *key).collect();
            if envelopes.len() > 1 {
                return Err(format!("E2: {} envelopes of {key}: {envelopes:?}", envelopes.len()));
            }
            match (&page.made, page.failed) {
                (Some(body), false) => {
                    let body: Value = serde_json::from_slice(body).map_err(|error| error.to_string())?;
                    let promised = body["provider"]["envelope_id"].as_str().unwrap_or_default();
                    let there = envelopes.first().map(|made| made.envelope_id.as_str());
                    if there != Some(promised) {
                        return Err(format!("E4: {key} was promised {promised}, and there is {there:?}"));
                    }
                    tally.opened += 1;
                }
                (None, true) => tally.refused += 1,
                both => return Err(format!("E3: {key} had two ends, or none: {both:?}")),
            }
            self.check_stored(key, page)?;
        }
        let unsettled = self.runtime.block_on(self.store.unsettled()).map_err(|error| error.to_string())?;
        if unsettled > 0 {
            return Err(format!("E2: {unsettled} creates are forgotten"));
        }
        (tally.sum, tally.faults) = self.stage.weather.sums();
        tally.seconds = self.world.clock.uptime().saturating_sub(START).as_secs();
        Ok(tally)
    }

    fn check_stored(&self, key: &str, page: &Page) -> Result<(), String> {
        let Some(id) = page.signing else { return Err(format!("E3: {key} has no id")) };
        let record = self.runtime.block_on(self.store.signing(id)).map_err(|error| error.to_string())?;
        let status = record.map(|record| record.signing.status);
        let wanted = if page.failed { SigningStatus::Failed } else { SigningStatus::Open };
        if status == Some(wanted) { Ok(()) } else { Err(format!("E4: {key} is stored as {status:?}")) }
    }
}

/// What one call came to, as a client sees it.
enum Heard {
    /// The connection broke, or the client hung up.
    Nothing,
    /// An answer.
    Answer(Result<Created, signing::Error>),
}

impl Stage {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn daemons(&self) -> MutexGuard<'_, BTreeMap<Group, (Signings, Spawner)>> {
        self.daemons.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks until the end is told, and sometimes once more.
    async fn caller(&self, key: &str, body: Bytes) {
        let mut again = self.weather.roll(|dice| dice.u8(0..3));
        loop {
            let is_end = match self.ask(key, &body).await {
                Heard::Nothing => false,
                Heard::Answer(answer) => self.take(key, answer),
            };
            if is_end && again == 0 {
                break;
            }
            again -= u8::from(is_end);
            let pause = self.weather.roll(|dice| dice.u64(100..6_000));
            self.weather.clock.sleep(Duration::from_millis(pause)).await;
        }
        if let Some(page) = self.book().pages.get_mut(key) {
            page.asking -= 1;
        }
    }

    /// One call at some daemon that lives, by a client who may hang up.
    async fn ask(&self, key: &str, body: &Bytes) -> Heard {
        let living: Vec<Group> = self.daemons().keys().copied().collect();
        if living.is_empty() {
            return Heard::Nothing;
        }
        let group = living[self.weather.roll(|dice| dice.usize(0..living.len()))];
        let Some((signings, spawner)) = self.daemons().get(&group).cloned() else { return Heard::Nothing };
        let (wait, patience) = self.weather.roll(|dice| {
            let wait = [0, 0, 800, 5_000, 25_000][dice.usize(0..5)];
            (wait, if dice.u8(0..4) == 0 { dice.u64(0..20_000) } else { 90_000 })
        });
        self.book().calls += 1;
        self.weather.note(&format!("{key} is asked for at daemon {group}, wait {wait}"));
        let ask = ask_for(key, body.clone(), Duration::from_millis(wait));
        let (tell, told) = oneshot::channel();
        let (stay, gone) = oneshot::channel::<()>();
        spawner.spawn(async move {
            // What a server does with a request whose connection is closed: it drops the handler.
            tokio::select! {
                biased;
                answer = signings.create(ask, None) => { let _ = tell.send(answer); }
                _ = gone => {}
            }
        });
        let heard = tokio::select! {
            biased;
            answer = told => answer.map_or(Heard::Nothing, Heard::Answer),
            () = self.weather.clock.sleep(Duration::from_millis(patience)) => Heard::Nothing,
        };
        drop(stay);
        heard
    }

    /// Holds an answer against what was told before. Answers whether it is the end.
    fn take(&self, key: &str, answer: Result<Created, signing::Error>) -> bool {
        self.weather.note(&format!("{key}: {}", word(&answer)));
        let mut book = self.book();
        let Some(page) = book.pages.get_mut(key) else { return true };
        let (id, is_end) = match &answer {
            Ok(Created::Accepted { signing, .. }) => (*signing, false),
            Ok(Created::Made { signing, .. }) | Err(signing::Error::Failed { signing, .. }) => {
                (*signing, true)
            }
            Err(signing::Error::KeyReused { .. }) => {
                book.broken = Some(format!("E3: {key} counts as reused"));
                return true;
            }
            // A store that is away, a limit, a first call that still runs: ask again.
            Err(_) => return false,
        };
        let known = *page.signing.get_or_insert(id);
        let mut broken = None;
        if known != id {
            broken = Some(format!("E4: {key} was {known} and is {id}"));
        }
        match answer {
            Ok(Created::Made { body, .. }) => {
                let first = page.made.get_or_insert_with(|| body.clone());
                let of = |body: &Bytes| serde_json::from_slice::<Value>(body).unwrap_or_default();
                if of(first)["provider"] != of(&body)["provider"] {
                    broken = Some(format!("E4: {key} has two envelopes to show"));
                }
            }
            Err(signing::Error::Failed { .. }) => page.failed = true,
            // Promised an end that has not come: it was settled before, and must stay so.
            Ok(Created::Accepted { .. }) if page.made.is_some() => {
                broken = Some(format!("E3: {key} was made and is said to be under way"));
            }
            _ => {}
        }
        book.broken = book.broken.take().or(broken);
        is_end
    }
}

/// The kind of an answer, without what is random in it.
fn word(answer: &Result<Created, signing::Error>) -> String {
    match answer {
        Ok(Created::Accepted { .. }) => "accepted".to_owned(),
        Ok(Created::Made { replayed, .. }) => format!("made, replayed: {replayed}"),
        Err(signing::Error::Failed { .. }) => "refused for good".to_owned(),
        Err(signing::Error::InProgress { .. }) => "in progress".to_owned(),
        Err(error) => error.to_string(),
    }
}

/// A create as the API hands it on.
pub(crate) fn ask_for(key: &str, body: Bytes, wait: Duration) -> Ask {
    let draft = parse_create(&body, &TemplateNames::default()).expect("the order is in order");
    Ask {
        caller: CallerName::new(CALLER),
        draft,
        key: sha256(format!("{CALLER} {key}").as_bytes()),
        request: sha256(&body),
        body,
        wait,
    }
}

/// What is to be signed.
pub(crate) fn order(key: &str, view: bool) -> Value {
    json!({
        "sender": "system", "subject": key, "view": view, "documents": [{"template": InMemory::TEMPLATE}],
        "signers": [{
            "key": "visitor", "name": "Ada Lovelace", "email": "ada@example.com", "role": "Client",
            "return_url": "https://www.example.com/done",
        }],
    })
}

/// A daemon of real parts, on a store and a way to its upstream.
pub(crate) fn daemon(
    network: Arc<dyn Carrier>,
    store: SharedStore,
    spawner: &Spawner,
    clock: SharedClock,
    seed: u64,
) -> Signings {
    let http = HttpClient::carried_by(network, &http_client::Options::default());
    let origin = url::Url::parse(InMemory::ORIGIN).expect("an origin");
    let server = AccountServer::new(&origin).expect("an origin");
    let options = auth::Options { seed, ..auth::Options::default() };
    let auth = Auth::new(http.clone(), server, Arc::clone(&clock), spawner.clone(), options);
    let system = Impersonation {
        integration_key: InMemory::INTEGRATION_KEY.parse().expect("a GUID"),
        user_id: InMemory::USER.parse().expect("a GUID"),
        scopes: Scopes::new(["signature", "impersonation"]).expect("scopes"),
        keys: vec![KeySource::Inline(private_key().into())],
        account: AccountChoice::Default,
    };
    let registered = auth.register("system", system).now_or_never();
    registered.expect("an inline key is read at once").expect("the key is good");
    let plenty = budget::Options { hourly: 1_000_000, burst: 1_000_000, ..budget::Options::default() };
    let esign = esign::Client::new(esign::Deps {
        http,
        auth,
        budget: Budget::new(plenty, Arc::clone(&clock)),
        clock: Arc::clone(&clock),
        observer: None,
        senders: Vec::new(),
        options: esign::Options::default(),
    });
    let settings = signing::Settings {
        mode: Mode::Test,
        public_origin: Some("https://sign.example.com".to_owned()),
        events_to: None,
        nonce_key: NonceKey::derive(b"simulation", &[]),
        queue_limit: 100,
        metrics: Arc::new(Metrics::new(&[])),
        // Rarer than a daemon does it, so that a quiet minute costs little.
        look_every: Duration::from_secs(2),
        spool: Spool::new(std::env::temp_dir(), 1 << 20),
        keep_documents: Duration::from_secs(60),
        pdf_program: None,
        audit: Audit::off(),
    };
    let life = Lifecycle::spawned_by(spawner.clone());
    Signings::new(signing::Dependencies { store, esign, hub: Hub::new(), clock, life, settings })
}

/// Gives the emulator the daemon's key, and limits that nobody meets.
pub(crate) fn prepare(emulator: &InMemory, lag: Duration) {
    let key =
        json!({"integration_key": InMemory::INTEGRATION_KEY, "public_key_pem": public_key(), "active": true});
    let limits = json!({"hourly": 1_000_000, "burst": 1_000_000});
    let lag = u64::try_from(lag.as_millis()).unwrap_or(0);
    let mut calls = vec![("keys", key), ("limits", limits)];
    if lag > 0 {
        calls.push(("faults", json!({"fault": "list_lag", "delay_ms": lag})));
    }
    for (path, body) in calls {
        let answer = emulator.control(Method::POST, path, &body);
        assert!(answer.status().is_success(), "{path}: {:?}", answer.body());
    }
}

fn private_key() -> String {
    static PEM: OnceLock<String> = OnceLock::new();
    PEM.get_or_init(|| read("keys.example/private_key.pem")).clone()
}

fn public_key() -> String {
    static PEM: OnceLock<String> = OnceLock::new();
    PEM.get_or_init(|| read("keys.example/public_key.pem")).clone()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).expect("a file of the project")
}

/// In memory where the system has such a place: what is simulated is not the disk.
fn folder(seed: u64) -> PathBuf {
    let memory = Path::new("/dev/shm");
    let base = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    let folder =
        base.join(format!("countersign-simulation-{}-{seed}-{}", std::process::id(), fastrand::u32(..)));
    std::fs::create_dir_all(&folder).expect("a folder");
    folder
}

fn open_store(runtime: &Runtime, folder: &Path, clock: SharedClock) -> SharedStore {
    let location = Location::Sqlite { path: folder.join("store.db") };
    let settings =
        store::Settings { synchronous: Synchronous::Off, connections: 1, ..store::Settings::new(location) };
    let opened = runtime.block_on(store::open(&settings, SealKeys::new(&[7; 32], &[]), clock));
    opened.expect("the store opens")
}
