//! How long a connection may take for a request's head, and how long it may rest between requests.
//!
//! The two are far apart. A head that comes byte by byte is an attack and is given seconds (slow loris); a
//! connection at rest belongs to a caller or a proxy that will use it again, and closing it first loses the
//! request that is just then on its way: proxies answer 502 for that. They let go of their own side after a
//! minute as a rule (AWS, nginx) and after ten at Google, so ours must last longer, as long as there is room.
//!
//! hyper has one time for both, so this watches the bytes that come in and the requests that go out of it.
//! It must never cut a request that is being served: how long that may take is for others to say. HTTP/2
//! connections carry many requests and are watched by pings from their first request on.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::body::Body;
use http_body::Body as _;
use tokio::time::Instant;

/// A body of known size up to here leaves with its head.
const AT_ONCE: u64 = 64 * 1024;

/// A request's head is awaited: the connection is new, or the head has begun to arrive.
const HEAD: u8 = 0;
/// Nothing has arrived since the last answer.
const REST: u8 = 1;
/// A request is being served.
const SERVING: u8 = 2;
/// It is HTTP/2.
const MULTIPLEXED: u8 = 3;

/// What one connection is doing, and since when.
#[derive(Debug)]
pub(super) struct Progress {
    began: Instant,
    state: AtomicU8,
    since_ms: AtomicU64,
}

impl Progress {
    #[expect(clippy::disallowed_methods, reason = "sockets take real time, whatever a test's clock says")]
    pub(super) fn new() -> Arc<Self> {
        let began = Instant::now();
        Arc::new(Self { began, state: AtomicU8::new(HEAD), since_ms: AtomicU64::new(0) })
    }

    /// A whole head is here.
    pub(super) fn request(&self, is_multiplexed: bool) {
        self.state.store(if is_multiplexed { MULTIPLEXED } else { SERVING }, Ordering::Relaxed);
    }

    /// The answer to it is made; it is being served until all of that is sent.
    pub(super) fn until_sent(self: Arc<Self>, body: Body) -> Body {
        let sent = Sent(self);
        if body.size_hint().exact().is_some_and(|bytes| bytes <= AT_ONCE) {
            return body;
        }
        Body::new(Tracked { body, _sent: sent })
    }

    fn sent(&self) {
        if self.state.load(Ordering::Relaxed) == SERVING {
            self.enter(REST);
        }
    }

    /// Bytes came in.
    pub(super) fn heard(&self) {
        if self.state.load(Ordering::Relaxed) == REST {
            self.enter(HEAD);
        }
    }

    fn enter(&self, state: u8) {
        self.since_ms.store(self.now_ms(), Ordering::Relaxed);
        self.state.store(state, Ordering::Relaxed);
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Ends when the connection has waited too long for a head, or rested for as long as `idle` says then.
    pub(super) async fn overdue(&self, head: Duration, idle: impl Fn() -> Duration) {
        loop {
            let limit = match self.state.load(Ordering::Relaxed) {
                HEAD => head,
                REST => idle(),
                _ => Duration::MAX,
            };
            let waited =
                Duration::from_millis(self.now_ms().saturating_sub(self.since_ms.load(Ordering::Relaxed)));
            let left = limit.saturating_sub(waited);
            if left.is_zero() {
                return;
            }
            // What it is doing changes meanwhile, and how much room there is.
            tokio::time::sleep(left.min(head)).await;
        }
    }
}

/// Says so when it is dropped, which hyper does with a body that is sent or given up.
#[derive(Debug)]
struct Sent(Arc<Progress>);

impl Drop for Sent {
    fn drop(&mut self) {
        self.0.sent();
    }
}

/// A body that tells its end.
#[derive(Debug)]
struct Tracked {
    body: Body,
    _sent: Sent,
}

impl http_body::Body for Tracked {
    type Data = bytes::Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use axum::{Router, routing::get};
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpStream,
    };
    use tokio_util::sync::{CancellationToken, DropGuard};

    use super::*;
    use crate::listener::{Bound, Limits};

    const HEADER: Duration = Duration::from_millis(100);
    const GET: &str = "GET /quick HTTP/1.1\r\nhost: x\r\n\r\n";

    /// A listener that is impatient with heads, and patient at rest.
    struct Served {
        address: std::net::SocketAddr,
        _stop: DropGuard,
    }

    impl Served {
        async fn start(connections: usize) -> Self {
            let bound = Bound::tcp("127.0.0.1:0".parse().unwrap()).await.unwrap();
            let (address, stop) = (bound.address().unwrap(), CancellationToken::new());
            let slow = || async {
                tokio::time::sleep(5 * HEADER).await;
                "late"
            };
            let streamed = || async {
                let pieces = futures_util::stream::unfold(0, |number| async move {
                    tokio::time::sleep(2 * HEADER).await;
                    (number < 3)
                        .then(|| (Ok::<_, std::convert::Infallible>(["a", "b", "c"][number]), number + 1))
                });
                Body::from_stream(pieces)
            };
            let router = Router::new()
                .route("/quick", get(|| async { "soon" }))
                .route("/slow", get(slow))
                .route("/streamed", get(streamed));
            let limits =
                Limits { connections, header: HEADER, idle: Duration::from_secs(3_600), ..Limits::default() };
            tokio::spawn(bound.serve(router, limits, stop.clone()));
            Self { address, _stop: stop.drop_guard() }
        }

        async fn connect(&self) -> TcpStream {
            TcpStream::connect(self.address).await.unwrap()
        }
    }

    async fn ask(socket: &mut TcpStream, request: &str, answer: &str) {
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut said = String::new();
        while !said.ends_with(answer) {
            let mut piece = [0; 1_024];
            let count = socket.read(&mut piece).await.unwrap();
            assert_ne!(count, 0, "it was closed after {said:?}");
            said.push_str(std::str::from_utf8(&piece[..count]).unwrap());
        }
    }

    async fn until_closed(mut socket: TcpStream) {
        let closed = async { while socket.read(&mut [0; 1_024]).await.is_ok_and(|count| count > 0) {} };
        tokio::time::timeout(Duration::from_secs(20), closed).await.expect("it is closed");
    }

    #[tokio::test]
    async fn s5_a_connection_at_rest_outlives_the_time_for_a_head() {
        let served = Served::start(100).await;
        let mut socket = served.connect().await;
        for _ in 0..2 {
            ask(&mut socket, GET, "soon").await;
            tokio::time::sleep(5 * HEADER).await;
        }
        ask(&mut socket, GET, "soon").await;
    }

    #[tokio::test]
    async fn s5_a_request_that_is_served_is_not_cut() {
        let served = Served::start(100).await;
        let mut socket = served.connect().await;
        ask(&mut socket, "GET /slow HTTP/1.1\r\nhost: x\r\n\r\n", "late").await;
        ask(&mut socket, GET, "soon").await;
    }

    #[tokio::test]
    async fn s5_a_head_that_does_not_come_to_its_end_is_given_up() {
        let served = Served::start(100).await;
        let silent = served.connect().await;
        let mut slow = served.connect().await;
        slow.write_all(b"GET /quick HTTP/1.1\r\nx-slow: ").await.unwrap();
        let mut second = served.connect().await;
        ask(&mut second, GET, "soon").await;
        second.write_all(b"GET /quick HTTP/1.1\r\nx-slow: ").await.unwrap();
        for socket in [silent, slow, second] {
            until_closed(socket).await;
        }
    }

    #[tokio::test]
    async fn s5_an_answer_that_streams_is_not_cut_for_want_of_room() {
        let served = Served::start(4).await;
        let streams = (0..4).map(|_| async {
            let mut socket = served.connect().await;
            ask(&mut socket, "GET /streamed HTTP/1.1\r\nhost: x\r\n\r\n", "c\r\n0\r\n\r\n").await;
            socket
        });
        let _all_at_rest = futures_util::future::join_all(streams).await;
        let mut next = served.connect().await;
        let asked = ask(&mut next, GET, "soon");
        tokio::time::timeout(Duration::from_secs(20), asked).await.expect("one makes room");
    }

    #[tokio::test]
    async fn s5_connections_at_rest_make_room_when_there_is_none() {
        let served = Served::start(4).await;
        let mut resting = Vec::new();
        for _ in 0..4 {
            let mut socket = served.connect().await;
            ask(&mut socket, GET, "soon").await;
            resting.push(socket);
        }
        let mut next = served.connect().await;
        let asked = ask(&mut next, GET, "soon");
        tokio::time::timeout(Duration::from_secs(20), asked).await.expect("one makes room");
    }
}
