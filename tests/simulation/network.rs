//! What lies between a daemon, its upstream and its store: delays, and everything that breaks.
//!
//! Every fault is drawn from the seed. A request that is on its way goes on when its sender has died.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use countersign::{
    clock::Clock as _,
    emulator::InMemory,
    http_client::{Carried, Carrier, Outcome},
    lifecycle::Spawner,
};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use tokio::sync::oneshot;

use super::WorldClock;

/// How long after a client has given up its request may still be acted on, and how far the upstream's list
/// may lag, together. The design looks for an envelope for 10 s before it posts again.
const LATEST: Duration = Duration::from_secs(8);
/// The same in a world where the upstream is slower than the design looks.
const TARDY: Duration = Duration::from_secs(50);

/// The dice, and how bad things are. Clones share it.
#[derive(Clone)]
pub(crate) struct Weather {
    pub(crate) clock: WorldClock,
    state: Arc<Mutex<State>>,
}

struct State {
    dice: fastrand::Rng,
    /// Chances in a thousand of each way in which a call can fail.
    odds: [u32; Fate::ALL.len()],
    store_breaks: u32,
    store_loses: u32,
    upstream_away: Vec<(Duration, Duration)>,
    store_away: Vec<(Duration, Duration)>,
    is_calm: bool,
    lag: Duration,
    is_tardy: bool,
    trace: Vec<String>,
    sum: u64,
    faults: u64,
}

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It is acted on, and the answer is lost.
    CommitThenDrop,
    /// It is acted on, and the answer is an error of some balancer.
    CommitThenError,
    /// An error, before anything was done.
    Error,
    /// HTML where JSON belongs.
    Html,
    /// It is acted on after the client has given up.
    Late,
    /// A limit.
    Limited,
    /// No connection.
    NotSent,
    /// Refused for good.
    Refused,
    /// The connection breaks before anything was done.
    ResetBefore,
    /// Nothing is done, and no answer comes.
    Stall,
}

impl Fate {
    const ALL: [Self; 10] = [
        Self::CommitThenDrop,
        Self::CommitThenError,
        Self::Error,
        Self::Html,
        Self::Late,
        Self::Limited,
        Self::NotSent,
        Self::Refused,
        Self::ResetBefore,
        Self::Stall,
    ];
}

impl Weather {
    pub(crate) fn new(seed: u64, clock: WorldClock) -> Self {
        let mut dice = fastrand::Rng::with_seed(seed);
        // Half of the runs are mild, some are terrible.
        let worst = [5, 30, 80, 200][dice.usize(0..4)];
        let mut odds = Fate::ALL.map(|_| if dice.u8(0..3) == 0 { 0 } else { dice.u32(0..worst) });
        // A create that is refused for good ends its key, and so the story; it is rarer.
        odds[7] /= 2;
        let (store_breaks, store_loses) =
            if dice.bool() { (0, 0) } else { (dice.u32(0..30), dice.u32(0..30)) };
        let windows = |dice: &mut fastrand::Rng, most: usize, longest: u64| {
            (0..dice.usize(0..=most))
                .map(|_| {
                    let from = Duration::from_secs(1_000 + dice.u64(0..120));
                    (from, from + Duration::from_secs(dice.u64(1..longest)))
                })
                .collect()
        };
        let upstream_away = windows(&mut dice, 2, 90);
        let store_away = windows(&mut dice, 1, 40);
        let lag = if dice.bool() { Duration::ZERO } else { Duration::from_millis(dice.u64(0..8_000)) };
        let is_tardy = dice.u8(0..5) == 0;
        let lag = if is_tardy { lag * 5 } else { lag };
        let state = State {
            dice,
            odds,
            store_breaks,
            store_loses,
            upstream_away,
            store_away,
            is_calm: false,
            lag,
            is_tardy,
            trace: Vec::new(),
            sum: 0xcbf2_9ce4_8422_2325,
            faults: 0,
        };
        Self { clock, state: Arc::new(Mutex::new(state)) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Rolls the dice.
    pub(crate) fn roll<T>(&self, roll: impl FnOnce(&mut fastrand::Rng) -> T) -> T {
        roll(&mut self.lock().dice)
    }

    /// From now on nothing breaks.
    pub(crate) fn calm(&self) {
        self.lock().is_calm = true;
    }

    /// How far the upstream's list lags behind.
    pub(crate) fn lag(&self) -> Duration {
        self.lock().lag
    }

    /// Whether the upstream may be slower than the design looks.
    pub(crate) fn is_tardy(&self) -> bool {
        self.lock().is_tardy
    }

    /// Notes what happened: the last lines are told when a rule breaks, the sum of all shows whether a
    /// seed repeats.
    pub(crate) fn note(&self, what: &str) {
        let at = self.clock.uptime();
        let mut state = self.lock();
        let line = format!("{:.3} {what}", at.as_secs_f64() - 1_000.0);
        for byte in line.bytes() {
            state.sum = (state.sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        state.trace.push(line);
    }

    /// The sum of all that was noted, and how much went wrong.
    pub(crate) fn sums(&self) -> (u64, u64) {
        let state = self.lock();
        (state.sum, state.faults)
    }

    /// The last lines that were noted, at most so many.
    pub(crate) fn story(&self, lines: usize) -> String {
        let state = self.lock();
        let from = state.trace.len().saturating_sub(lines);
        state.trace[from..].join("\n")
    }

    pub(crate) fn store_delay(&self) -> Duration {
        Duration::from_micros(self.lock().dice.u64(0..4_000))
    }

    pub(crate) fn store_is_away(&self) -> bool {
        let now = self.clock.uptime();
        let mut state = self.lock();
        let breaks = state.dice.u32(0..1_000) < state.store_breaks;
        let is_away = !state.is_calm && (breaks || is_within(&state.store_away, now));
        state.faults += u64::from(is_away);
        is_away
    }

    pub(crate) fn store_loses_an_answer(&self) -> bool {
        let mut state = self.lock();
        let loses = state.dice.u32(0..1_000) < state.store_loses && !state.is_calm;
        state.faults += u64::from(loses);
        loses
    }

    fn fate(&self) -> Option<Fate> {
        let now = self.clock.uptime();
        let mut state = self.lock();
        let mut drawn = state.dice.u32(0..1_000);
        if state.is_calm {
            return None;
        }
        if is_within(&state.upstream_away, now) {
            state.faults += 1;
            let ways = [Fate::NotSent, Fate::Error, Fate::ResetBefore, Fate::Html];
            return Some(ways[state.dice.usize(0..ways.len())]);
        }
        for (fate, odds) in Fate::ALL.into_iter().zip(state.odds) {
            if drawn < odds {
                state.faults += 1;
                return Some(fate);
            }
            drawn -= odds;
        }
        None
    }
}

fn is_within(windows: &[(Duration, Duration)], now: Duration) -> bool {
    windows.iter().any(|(from, to)| (*from..*to).contains(&now))
}

/// The way from one daemon to the upstream.
#[derive(Clone)]
pub(crate) struct Network {
    pub(crate) weather: Weather,
    pub(crate) emulator: InMemory,
    /// Where packets live: not in the daemon that sent them.
    pub(crate) spawner: Spawner,
    pub(crate) daemon: u32,
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Network")
    }
}

impl Carrier for Network {
    fn carry(&self, request: Request<Bytes>, timeout: Duration) -> Carried {
        let (tell, told) = oneshot::channel();
        self.spawner.spawn(self.clone().deliver(request, timeout, tell));
        let clock = self.weather.clock.clone();
        Box::pin(async move {
            tokio::select! {
                biased;
                answer = told => answer.unwrap_or(Err(Outcome::Unknown)),
                () = clock.sleep(timeout) => Err(Outcome::Unknown),
            }
        })
    }
}

impl Network {
    async fn deliver(
        self,
        request: Request<Bytes>,
        timeout: Duration,
        tell: oneshot::Sender<Result<Response<Bytes>, Outcome>>,
    ) {
        let weather = &self.weather;
        let is_create = request.method() == Method::POST && request.uri().path().ends_with("/envelopes");
        let is_list = request.method() == Method::GET && request.uri().path().ends_with("/envelopes");
        let what = if is_create {
            "create"
        } else if is_list {
            "look-up"
        } else {
            "call"
        };
        let fate = weather.fate().filter(|fate| is_create || *fate != Fate::Refused);
        let (there, back) = weather.roll(|dice| (dice.u64(1..120), dice.u64(1..120)));
        weather.clock.sleep(Duration::from_millis(there)).await;
        weather.note(&format!("daemon {} {what} {fate:?}", self.daemon));
        let answer = match fate {
            None => Ok(self.emulator.vendor(request)),
            Some(Fate::CommitThenDrop) => {
                self.emulator.vendor(request);
                Err(Outcome::Unknown)
            }
            Some(Fate::CommitThenError) => {
                self.emulator.vendor(request);
                Ok(error(StatusCode::BAD_GATEWAY))
            }
            Some(Fate::Error) => Ok(error(StatusCode::SERVICE_UNAVAILABLE)),
            Some(Fate::Html) => Ok(html()),
            Some(Fate::Late) => {
                let latest = if weather.is_tardy() { TARDY } else { LATEST };
                let late = latest.saturating_sub(weather.lag());
                let late = weather.roll(|dice| dice.u64(0..=u64::try_from(late.as_millis()).unwrap_or(0)));
                weather.clock.sleep(timeout + Duration::from_millis(late)).await;
                self.emulator.vendor(request);
                Err(Outcome::Unknown)
            }
            Some(Fate::Limited) => Ok(limited(&self.weather)),
            Some(Fate::NotSent) => Err(Outcome::NotSent),
            Some(Fate::Refused) => Ok(refused()),
            Some(Fate::ResetBefore) => Err(Outcome::Unknown),
            Some(Fate::Stall) => {
                weather.clock.sleep(timeout * 2).await;
                Err(Outcome::Unknown)
            }
        };
        weather.clock.sleep(Duration::from_millis(back)).await;
        // Whoever died or gave up does not hear it.
        let _ = tell.send(answer);
    }
}

fn json(status: StatusCode, body: &'static str) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from_static(body.as_bytes()));
    *response.status_mut() = status;
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/json"));
    response
}

fn error(status: StatusCode) -> Response<Bytes> {
    json(status, r#"{"errorCode":"UNSPECIFIED_ERROR","message":"simulated"}"#)
}

fn refused() -> Response<Bytes> {
    json(StatusCode::BAD_REQUEST, r#"{"errorCode":"INVALID_REQUEST_PARAMETER","message":"simulated"}"#)
}

fn html() -> Response<Bytes> {
    let mut response = Response::new(Bytes::from_static(b"<!DOCTYPE html><html><body>Sorry</body></html>"));
    *response.status_mut() = StatusCode::BAD_GATEWAY;
    response.headers_mut().insert("content-type", HeaderValue::from_static("text/html"));
    response
}

fn limited(weather: &Weather) -> Response<Bytes> {
    let status = weather.roll(fastrand::Rng::bool);
    let status = if status { StatusCode::BAD_REQUEST } else { StatusCode::TOO_MANY_REQUESTS };
    let mut response =
        json(status, r#"{"errorCode":"BURST_APIINVOCATION_LIMIT_EXCEEDED","message":"simulated"}"#);
    response.headers_mut().insert("retry-after", HeaderValue::from_static("3"));
    response
}
