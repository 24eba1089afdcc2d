//! The callers: a closed loop of HTTP/1.1 connections, each sending its next call when the last is answered.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// What is sent.
#[derive(Debug, Clone)]
pub(crate) struct Load {
    /// `http://address:port` of the contender.
    pub(crate) origin: String,
    /// How it is called.
    pub(crate) method: Method,
    /// The path of the call.
    pub(crate) path: String,
    /// The caller's key.
    pub(crate) key: &'static str,
    /// The bodies, one after the other.
    pub(crate) bodies: Arc<[Bytes]>,
    /// The status of a good answer; any other is a failure.
    pub(crate) good: StatusCode,
}

/// What came of it. Latencies are in microseconds, sorted.
#[derive(Debug, Default)]
pub(crate) struct Measured {
    pub(crate) latencies_us: Vec<u32>,
    pub(crate) failed: u64,
    pub(crate) took: Duration,
}

impl Measured {
    /// The latency that this share of all calls stayed under, in milliseconds.
    pub(crate) fn quantile_ms(&self, share: f64) -> f64 {
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "an index below the length"
        )]
        let at = ((self.latencies_us.len() as f64 * share) as usize)
            .min(self.latencies_us.len().saturating_sub(1));
        self.latencies_us.get(at).map_or(f64::NAN, |us| f64::from(*us) / 1_000.0)
    }

    /// Answered calls a second.
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    pub(crate) fn per_second(&self) -> f64 {
        self.latencies_us.len() as f64 / self.took.as_secs_f64()
    }
}

/// Numbers keys over all runs, so that no two calls share one.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// Sends the load for so long at this concurrency. With `Duration::ZERO` each caller sends one call.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
pub(crate) async fn run(load: &Load, concurrency: usize, length: Duration) -> Measured {
    let load = Arc::new(load.clone());
    let began = Instant::now();
    let callers: Vec<_> =
        (0..concurrency).map(|_| tokio::spawn(caller(Arc::clone(&load), began, length))).collect();
    let mut all = Measured::default();
    for caller in callers {
        let one = caller.await.expect("a caller does not panic");
        all.latencies_us.extend(one.latencies_us);
        all.failed += one.failed;
    }
    all.took = began.elapsed();
    all.latencies_us.sort_unstable();
    all
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
async fn caller(load: Arc<Load>, began: Instant, length: Duration) -> Measured {
    let mut measured = Measured::default();
    let mut sender = connect(&load.origin).await;
    loop {
        let sent = Instant::now();
        let answer = call(&load, &mut sender).await;
        if answer.is_some_and(|answer| answer.status == load.good) {
            measured.latencies_us.push(u32::try_from(sent.elapsed().as_micros()).unwrap_or(u32::MAX));
        } else {
            measured.failed += 1;
            if sender.is_closed() {
                sender = connect(&load.origin).await;
            }
        }
        if began.elapsed() >= length {
            return measured;
        }
    }
}

/// What is looked at of an answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    /// Whether it says when to come again.
    pub(crate) says_when: bool,
}

/// A connection to the contender.
pub(crate) type Sender = http1::SendRequest<Full<Bytes>>;

/// Sends one call; nothing is what the connection did not bring.
pub(crate) async fn call(load: &Load, sender: &mut Sender) -> Option<Answer> {
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let body = usize::try_from(number).map_or(0, |number| number % load.bodies.len());
    let request = Request::builder()
        .method(load.method.clone())
        .uri(load.path.as_str())
        .header(header::HOST, "127.0.0.1")
        .header(header::AUTHORIZATION, load.key)
        .header(header::CONTENT_TYPE, "application/json")
        .header("idempotency-key", format!("bench-{}-{number}", std::process::id()))
        .body(Full::new(load.bodies[body].clone()))
        .expect("a request");
    sender.ready().await.ok()?;
    let response = sender.send_request(request).await.ok()?;
    let says_when = response.headers().contains_key(header::RETRY_AFTER);
    let answer = Answer { status: response.status(), says_when };
    response.into_body().collect().await.ok()?;
    Some(answer)
}

pub(crate) async fn connect(origin: &str) -> Sender {
    try_connect(origin).await.expect("the contender listens")
}

/// Nothing, if there is no connection to be had.
pub(crate) async fn try_connect(origin: &str) -> Option<Sender> {
    let address = origin.strip_prefix("http://").expect("a plain origin");
    let socket = TcpStream::connect(address).await.ok()?;
    let _ = socket.set_nodelay(true);
    let (sender, connection) = http1::handshake(TokioIo::new(socket)).await.ok()?;
    tokio::spawn(connection);
    Some(sender)
}
