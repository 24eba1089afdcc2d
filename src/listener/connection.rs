//! One connection, from the handshake to its end.

use std::{sync::Arc, time::Duration};

use axum::body::Body;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{Notify, Semaphore},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{
    io::{InspectReader, InspectWriter},
    sync::CancellationToken,
};

use super::{
    Accepted, Limits, Peer, Tls, host,
    timeouts::{Overdue, Progress},
};
use crate::tls::{Name, Refusal, Validity};

/// hyper takes no smaller number for [`Limits::head_bytes`].
const MIN_HEAD_BYTES: usize = 8 * 1024;

/// A byte stream of any kind. Behind a pointer, so that hyper is compiled once, and one copy of it serves them all.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}
type AnyStream = Box<dyn Stream>;

/// What a connection may take, and how much room there is for others.
pub(super) struct Room {
    pub(super) slots: Arc<Semaphore>,
    pub(super) limits: Limits,
}

impl Room {
    /// How long a connection may rest now: when few are left, no longer than for a header.
    fn idle(&self) -> Duration {
        let Limits { connections, header, idle, .. } = self.limits;
        if self.slots.available_permits() < connections / 4 { header } else { idle }
    }
}

/// Serves what was accepted, within TLS if the listener speaks it.
pub(super) async fn serve<H, F, E>(
    stream: Accepted,
    peer: Peer,
    tls: Option<Tls>,
    handler: H,
    room: Room,
    closing: CancellationToken,
) where
    H: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Result<Response<Body>, E>> + Send + 'static,
    E: Into<Box<dyn std::error::Error + Send + Sync>> + Send + 'static,
{
    match (stream, tls) {
        (Accepted::Tcp(stream), None) => {
            http(Box::new(stream), peer, handler, room, Ends::new(closing)).await;
        }
        (Accepted::Unix(stream), _) => {
            http(Box::new(stream), peer, handler, room, Ends::new(closing)).await;
        }
        (Accepted::Tcp(stream), Some(tls)) => {
            let generation = tls.current.load_full();
            let shake = TlsAcceptor::from(Arc::clone(&generation.config)).accept(stream);
            let stream = match tokio::time::timeout(room.limits.header, shake).await {
                Ok(Ok(stream)) => stream,
                Ok(Err(error)) => {
                    tracing::debug!(%error, "TLS handshake failed");
                    return (tls.on_refused)(&peer, Refusal::of(&error));
                }
                Err(_) => return (tls.on_refused)(&peer, Refusal::TimedOut),
            };
            let chain = stream.get_ref().1.peer_certificates();
            let leaf = chain.and_then(|chain| chain.first());
            let certificate = leaf.map(|leaf| Name::of_certificate(leaf).into());
            let ends = Ends {
                retired: Some(generation.retired.clone()),
                certificate: leaf.and_then(|leaf| Validity::of(leaf, &generation.config)),
                ..Ends::new(closing)
            };
            http(Box::new(stream), Peer { certificate, ..peer }, handler, room, ends).await;
        }
    }
}

/// What ends a connection that its peer would keep.
struct Ends {
    /// The listener closes.
    closing: CancellationToken,
    /// What it was made with was replaced; without TLS there is no such thing.
    retired: Option<CancellationToken>,
    /// How long the client certificate is good that was shown on it.
    certificate: Option<Validity>,
    /// A request came after that.
    found_over: Notify,
}

impl Ends {
    /// Those of every connection.
    fn new(closing: CancellationToken) -> Self {
        Self { closing, retired: None, certificate: None, found_over: Notify::new() }
    }

    /// Ends with the first of them.
    async fn first(&self, look_every: Duration) {
        tokio::select! {
            () = self.closing.cancelled() => {}
            () = self.retired() => {}
            () = self.certificate_over(look_every) => {}
        }
    }

    async fn retired(&self) {
        let Some(retired) = &self.retired else { return std::future::pending().await };
        retired.cancelled().await;
    }

    /// A certificate runs out by the daemon's clock, which is not waited for but looked at, and by each request.
    async fn certificate_over(&self, look_every: Duration) {
        let Some(certificate) = &self.certificate else { return std::future::pending().await };
        while !certificate.is_over() {
            let _ = tokio::time::timeout(look_every, self.found_over.notified()).await;
        }
    }

    /// Who sends a request now.
    fn sender(&self, peer: &Peer) -> Peer {
        if !self.certificate.as_ref().is_some_and(Validity::is_over) {
            return peer.clone();
        }
        self.found_over.notify_one();
        Peer { certificate: None, ..peer.clone() }
    }
}

/// HTTP of both versions, within the limits.
fn protocols(limits: &Limits) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .max_headers(100)
        .max_buf_size(limits.head_bytes.max(MIN_HEAD_BYTES));
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(32 * 1024)
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(limits.header);
    builder
}

/// Serves one connection to its end. Once one of `ends` comes it finishes what it is at, and closes.
async fn http<H, F, E>(stream: AnyStream, peer: Peer, handler: H, room: Room, ends: Ends)
where
    H: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Result<Response<Body>, E>> + Send + 'static,
    E: Into<Box<dyn std::error::Error + Send + Sync>> + Send + 'static,
{
    let (limits, progress, ends) = (room.limits, Progress::new(), Arc::new(ends));
    let (seen, known) = (Arc::clone(&progress), Arc::clone(&ends));
    let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
        let serving = seen.request(request.version() == http::Version::HTTP_2);
        request.extensions_mut().insert(known.sender(&peer));
        let answer = host::is_named_once(&request).then(|| handler(request));
        async move {
            let answered = match answer {
                Some(answer) => answer.await,
                None => Ok(host::refusal()),
            };
            answered.map(|response| response.map(|body| serving.until_sent(body)))
        }
    });
    let (heard, wrote) = (Arc::clone(&progress), Arc::clone(&progress));
    let stream = InspectReader::new(stream, move |bytes: &[u8]| {
        if !bytes.is_empty() {
            heard.heard();
        }
    });
    let stream = InspectWriter::new(stream, move |bytes: &[u8]| {
        if !bytes.is_empty() {
            wrote.wrote();
        }
    });
    let builder = protocols(&limits);
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    let mut is_ending = false;
    // One that is to end is watched as before, so that nobody holds a place with half a head.
    let ended = loop {
        tokio::select! {
            ended = connection.as_mut() => break ended,
            why = progress.overdue(&limits, || room.idle()) => {
                if why == Overdue::AtRest {
                    // Whoever is about to ask is told to do so on another connection.
                    connection.as_mut().graceful_shutdown();
                    let _ = tokio::time::timeout(limits.header, connection).await;
                }
                return;
            }
            () = ends.first(limits.header), if !is_ending => {
                connection.as_mut().graceful_shutdown();
                is_ending = true;
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error, "connection ended early");
    }
}
