//! How long a connection may take for a request's head, how long it may rest between requests, and how long it
//! may leave an answer unread.
//!
//! The first two are far apart. A head that comes byte by byte is an attack and is given seconds (slow loris); a
//! connection at rest belongs to a caller or a proxy that will use it again, and closing it first loses the
//! request that is just then on its way: proxies answer 502 for that. They let go of their own side after a
//! minute as a rule (AWS, nginx) and after ten at Google, so ours must last longer, as long as there is room.
//!
//! Whoever asks for much and reads none of it (slow read) would hold a place for good: a connection of which every
//! answer lies unread, and from which nothing was taken for a while, is cut. Answers that we are slow with do not
//! count, nor does a slow one beside others that are read: the connection is what holds a place.
//!
//! hyper has one time for both, so this watches the bytes that come in and the requests that go out of it.
//! It must never cut a request that is being served: how long that may take is for others to say. An HTTP/2
//! connection carries many requests; it is at rest when it has none, however well it answers pings.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::body::Body;
use http_body::Body as _;
use tokio::time::Instant;

use super::Limits;

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
    /// Requests that are served now.
    open: AtomicUsize,
    /// Answers of which a piece was handed over, and the next not asked for yet.
    unread: AtomicUsize,
    /// When the other side last took something.
    taken_ms: AtomicU64,
}

/// Why a connection has to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Overdue {
    /// It carries many requests and has none: it may be told to come anew.
    AtRest,
    /// It waits for a head, rests, or is not read from.
    Idle,
}

impl Progress {
    #[expect(clippy::disallowed_methods, reason = "sockets take real time, whatever a test's clock says")]
    pub(super) fn new() -> Arc<Self> {
        let zero = || AtomicU64::new(0);
        Arc::new(Self {
            began: Instant::now(),
            state: AtomicU8::new(HEAD),
            since_ms: zero(),
            open: AtomicUsize::new(0),
            unread: AtomicUsize::new(0),
            taken_ms: zero(),
        })
    }

    /// A whole head is here; it is served until what comes back is dropped.
    pub(super) fn request(self: &Arc<Self>, is_multiplexed: bool) -> Serving {
        self.open.fetch_add(1, Ordering::AcqRel);
        self.state.store(if is_multiplexed { MULTIPLEXED } else { SERVING }, Ordering::Release);
        Serving(Arc::clone(self))
    }

    /// Bytes came in.
    pub(super) fn heard(&self) {
        if self.state.load(Ordering::Relaxed) == REST {
            self.enter(HEAD);
        }
    }

    /// Bytes went out. With HTTP/2 that says nothing: pings do, too.
    pub(super) fn wrote(&self) {
        if self.unread.load(Ordering::Relaxed) > 0 && self.state.load(Ordering::Relaxed) == SERVING {
            self.taken_ms.store(self.now_ms(), Ordering::Relaxed);
        }
    }

    fn ended(&self) {
        // First, so that nobody sees an old time of a connection that just came to rest.
        self.since_ms.store(self.now_ms(), Ordering::Release);
        if self.open.fetch_sub(1, Ordering::AcqRel) == 1 && self.state.load(Ordering::Acquire) == SERVING {
            self.enter(REST);
        }
    }

    fn handed(&self) {
        self.taken_ms.store(self.now_ms(), Ordering::Release);
        self.unread.fetch_add(1, Ordering::AcqRel);
    }

    fn taken(&self) {
        self.unread.fetch_sub(1, Ordering::AcqRel);
    }

    fn enter(&self, state: u8) {
        self.since_ms.store(self.now_ms(), Ordering::Release);
        self.state.store(state, Ordering::Release);
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Ends when the connection has waited too long for a head, rested for as long as `idle` says then, or left
    /// everything unread for too long.
    pub(super) async fn overdue(&self, limits: &Limits, idle: impl Fn() -> Duration) -> Overdue {
        loop {
            let (state, open) = (self.state.load(Ordering::Acquire), self.open.load(Ordering::Acquire));
            let unread = self.unread.load(Ordering::Acquire);
            let (limit, since, why) = match state {
                HEAD => (limits.header, &self.since_ms, Overdue::Idle),
                REST => (idle(), &self.since_ms, Overdue::Idle),
                _ if open == 0 => (idle(), &self.since_ms, Overdue::AtRest),
                _ if unread >= open => (limits.unread, &self.taken_ms, Overdue::Idle),
                _ => (Duration::MAX, &self.since_ms, Overdue::Idle),
            };
            let waited = Duration::from_millis(self.now_ms().saturating_sub(since.load(Ordering::Acquire)));
            let left = limit.saturating_sub(waited);
            if left.is_zero() {
                return why;
            }
            // What it is doing changes meanwhile, and how much room there is.
            tokio::time::sleep(left.min(limits.header)).await;
        }
    }
}

/// A request that is being served, until it is dropped: with the body of its answer, or before, if it is given up.
#[derive(Debug)]
pub(super) struct Serving(Arc<Progress>);

impl Serving {
    /// The answer to it is made; it is being served until all of that is sent.
    pub(super) fn until_sent(self, body: Body) -> Body {
        if body.size_hint().exact().is_some_and(|bytes| bytes <= AT_ONCE) {
            return body;
        }
        Body::new(Tracked { body, serving: self, is_unread: false })
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.ended();
    }
}

/// A body that tells its end, and whether it is read. hyper asks for the next piece when there is room for it.
#[derive(Debug)]
struct Tracked {
    body: Body,
    serving: Serving,
    is_unread: bool,
}

impl Tracked {
    fn asked(&mut self) {
        if std::mem::take(&mut self.is_unread) {
            self.serving.0.taken();
        }
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        self.asked();
    }
}

impl http_body::Body for Tracked {
    type Data = bytes::Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Self::Data>, Self::Error>>> {
        self.asked();
        let piece = Pin::new(&mut self.body).poll_frame(context);
        if matches!(piece, Poll::Ready(Some(Ok(_)))) {
            self.is_unread = true;
            self.serving.0.handed();
        }
        piece
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
    use futures_util::StreamExt as _;
    use hyper_util::rt::{TokioExecutor, TokioIo};
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpStream,
    };
    use tokio_util::sync::{CancellationToken, DropGuard};

    use super::*;
    use crate::listener::Bound;

    const HEADER: Duration = Duration::from_millis(100);
    const GET: &str = "GET /quick HTTP/1.1\r\nhost: x\r\n\r\n";

    /// A listener that is impatient with heads, and patient at rest.
    struct Served {
        address: std::net::SocketAddr,
        _stop: DropGuard,
    }

    impl Served {
        async fn start(connections: usize) -> Self {
            Self::with(Limits { connections, ..Self::limits() }).await
        }

        fn limits() -> Limits {
            Limits { header: HEADER, unread: HEADER, idle: Duration::from_secs(3_600), ..Limits::default() }
        }

        async fn with(limits: Limits) -> Self {
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
            let endless = || async {
                let piece = bytes::Bytes::from(vec![b'x'; 32 * 1024]);
                let pieces = futures_util::stream::repeat(piece).map(Ok::<_, std::convert::Infallible>);
                Body::from_stream(pieces)
            };
            let router = Router::new()
                .route("/endless", get(endless))
                .route("/quick", get(|| async { "soon" }))
                .route("/slow", get(slow))
                .route("/streamed", get(streamed));
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
    async fn s5_an_answer_that_nobody_reads_ends() {
        let served = Served::start(1).await;
        let mut lazy = served.connect().await;
        lazy.write_all(b"GET /endless HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let mut next = served.connect().await;
        let asked = ask(&mut next, GET, "soon");
        tokio::time::timeout(Duration::from_secs(20), asked).await.expect("its place is free");
        drop(lazy);
    }

    #[tokio::test]
    async fn s5_a_large_answer_that_is_read_goes_on() {
        // So long that a busy machine comes to read in between.
        let unread = 15 * HEADER;
        let served = Served::with(Limits { connections: 1, unread, ..Served::limits() }).await;
        let mut reader = served.connect().await;
        reader.write_all(b"GET /endless HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let mut piece = vec![0; 16 * 1024];
        let read = async { while reader.read(&mut piece).await.is_ok_and(|count| count > 0) {} };
        assert!(tokio::time::timeout(2 * unread, read).await.is_err(), "it was cut while it was read");
    }

    type Multiplexed = hyper::client::conn::http2::SendRequest<Body>;

    /// An HTTP/2 connection to it, whose client answers pings whatever it reads.
    async fn multiplexed(served: &Served) -> Multiplexed {
        let socket = TokioIo::new(served.connect().await);
        let (sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), socket).await.unwrap();
        tokio::spawn(connection);
        sender
    }

    async fn send(sender: &mut Multiplexed, path: &str) -> http::Response<hyper::body::Incoming> {
        let request = http::Request::get(format!("http://x{path}")).body(Body::empty()).unwrap();
        sender.send_request(request).await.unwrap()
    }

    #[tokio::test]
    async fn s5_an_http_2_connection_with_no_request_makes_room_when_there_is_none() {
        let served = Served::start(4).await;
        let mut resting = Vec::new();
        for _ in 0..4 {
            let mut sender = multiplexed(&served).await;
            assert!(send(&mut sender, "/quick").await.status().is_success());
            resting.push(sender);
        }
        let mut next = served.connect().await;
        let asked = ask(&mut next, GET, "soon");
        tokio::time::timeout(Duration::from_secs(20), asked).await.expect("one makes room");
    }

    #[tokio::test]
    async fn s5_an_http_2_request_that_is_served_keeps_its_connection() {
        let served = Served::start(1).await;
        let mut sender = multiplexed(&served).await;
        for path in ["/slow", "/streamed"] {
            let body = Body::new(send(&mut sender, path).await.into_body());
            let said = axum::body::to_bytes(body, 100).await.expect("it was not cut");
            assert!(said == "late" || said == "abc", "{path}: {said:?}");
        }
    }

    #[tokio::test]
    async fn s5_an_http_2_answer_that_nobody_reads_ends() {
        let served = Served::start(1).await;
        let mut sender = multiplexed(&served).await;
        // Its window is never opened again, while pings are answered.
        let unread = send(&mut sender, "/endless").await;
        let mut next = served.connect().await;
        let asked = ask(&mut next, GET, "soon");
        tokio::time::timeout(Duration::from_secs(20), asked).await.expect("its place is free");
        drop(unread);
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
