//! The one accept loop under every listener: TCP, TLS or a unix socket, HTTP/1.1 or HTTP/2.
//!
//! It bounds what a peer can hold: time to send its header, and its size, time to rest and to leave answers unread,
//! number of connections, streams, and time to finish after the stop. It knows nothing of what is served. `axum::serve` has
//! none of these limits, which is why this exists. A request that does not name its host once never gets to what is served.
//!
//! A client certificate is looked at in the handshake, and its dates again with each request: once it has run out it
//! names nobody any more, and its connection is closed.

mod connection;
mod host;
mod timeouts;
mod tls;

use std::{
    convert::Infallible,
    net::SocketAddr,
    os::{
        fd::AsFd,
        unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _},
    },
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use axum::{Router, body::Body};
use http::{Request, Response};
use hyper::body::Incoming;
use tokio::{
    net::{TcpListener, TcpStream, UnixListener},
    sync::Semaphore,
};
use tokio_util::sync::CancellationToken;
use tower::Service;

use self::connection::Room;
pub use self::tls::Tls;
use crate::tls::Name;

/// Connections that may wait in the kernel to be accepted; it takes fewer where `net.core.somaxconn` is smaller. The
/// usual 128 are too few for a website that opens a thousand at once: whoever finds no place there tries again a second
/// later, or is cut off in the middle of what it sends.
const BACKLOG: i32 = 4_096;

/// What one listener lets its peers hold. Every limit is a number (rule S5).
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Open connections; the next one waits in the kernel's queue.
    pub connections: usize,
    /// Time for a request's header to arrive, and for a TLS handshake.
    pub header: Duration,
    /// Time that a connection may rest between requests, while there is room for others.
    pub idle: Duration,
    /// Time that a connection may leave every answer on it unread.
    pub unread: Duration,
    /// Bytes of an HTTP/1 request's head. As much is read ahead of a body, and as much of an answer waits to be read,
    /// beside the piece that it is made of; 8 KiB at least.
    pub head_bytes: usize,
    /// Requests at once on one HTTP/2 connection.
    pub streams: u32,
    /// Time for open requests to finish once the listener closes.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 4_096,
            header: Duration::from_secs(10),
            // Longer than proxies keep theirs: the longest default of the large ones is 600 s (Google Cloud).
            idle: Duration::from_secs(620),
            unread: Duration::from_secs(60),
            // Four times the longest token. hyper's own 408 KiB would be 1.6 GiB on all connections.
            head_bytes: 64 * 1024,
            streams: 128,
            drain: Duration::from_secs(30),
        }
    }
}

/// Who is on the other side of a connection; an extension of every request.
#[derive(Debug, Clone, Default)]
pub struct Peer {
    /// The remote address; none on a unix socket.
    pub address: Option<SocketAddr>,
    /// The effective user id of the process at the other end of a unix socket.
    pub unix_uid: Option<u32>,
    /// The names in the client certificate that passed verification; none without mutual TLS, and none once it has
    /// run out.
    pub certificate: Option<Arc<[Name]>>,
    /// Whether the listener is bound to loopback, so that whoever calls is on this machine.
    pub loopback: bool,
}

/// A bound socket, not served yet: so that port 0 can be asked for and the address read back.
#[derive(Debug)]
pub struct Bound {
    socket: Socket,
    tls: Option<Tls>,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener, PathBuf, Owner),
}

/// Of the file of a unix socket: connecting takes the right to write. Who may call is decided by the user id of
/// the process at the other end, or by a key, so the file lets everybody knock; whoever wants to let in fewer
/// narrows the folder around it.
const SOCKET_MODE: u32 = 0o666;

/// Who made the file of a unix socket, and so removes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    Other,
    /// We did, and it is this one.
    Us(FileId),
}

/// A file, whatever its name: its device, and its number there.
type FileId = (u64, u64);

fn file_id(path: &Path) -> std::io::Result<FileId> {
    std::fs::symlink_metadata(path).map(|found| (found.dev(), found.ino()))
}

impl Bound {
    /// Binds a TCP address; port 0 takes a free one.
    pub async fn tcp(address: SocketAddr) -> std::io::Result<Self> {
        let socket = TcpListener::bind(address).await?;
        lengthen_queue(&socket)?;
        Ok(Self { socket: Socket::Tcp(socket), tls: None })
    }

    /// Takes over a TCP socket that someone else bound (systemd socket activation).
    pub fn inherited(socket: std::net::TcpListener) -> std::io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self { socket: Socket::Tcp(TcpListener::from_std(socket)?), tls: None })
    }

    /// Binds a unix socket, replacing one that a dead process left behind, and nothing else that is there.
    pub fn unix(path: &Path) -> std::io::Result<Self> {
        let is_socket = std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
        let refused = || std::os::unix::net::UnixStream::connect(path).err().map(|error| error.kind());
        if is_socket && refused() == Some(std::io::ErrorKind::ConnectionRefused) {
            std::fs::remove_file(path)?;
        }
        let socket = UnixListener::bind(path)?;
        lengthen_queue(&socket)?;
        // A daemon's umask leaves it to its own user, as systemd's UMask=0077 does.
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(SOCKET_MODE))?;
        let owner = Owner::Us(file_id(path)?);
        Ok(Self { socket: Socket::Unix(socket, path.to_owned(), owner), tls: None })
    }

    /// Takes over a unix socket that someone else bound; its file stays when we go.
    pub fn inherited_unix(socket: std::os::unix::net::UnixListener) -> std::io::Result<Self> {
        socket.set_nonblocking(true)?;
        let path = socket.local_addr()?.as_pathname().map(Path::to_owned).unwrap_or_default();
        Ok(Self { socket: Socket::Unix(UnixListener::from_std(socket)?, path, Owner::Other), tls: None })
    }

    /// Speaks TLS on it.
    #[must_use]
    pub fn with_tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// The TCP address in use; none for a unix socket.
    pub fn address(&self) -> Option<SocketAddr> {
        match &self.socket {
            Socket::Tcp(listener) => listener.local_addr().ok(),
            Socket::Unix(..) => None,
        }
    }

    /// The origin under which this listener is reached, such as `http://127.0.0.1:8080`.
    pub fn origin(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        match &self.socket {
            Socket::Tcp(listener) => listener
                .local_addr()
                .map_or_else(|_| format!("{scheme}://127.0.0.1"), |address| format!("{scheme}://{address}")),
            Socket::Unix(_, path, _) => format!("unix:{}", path.display()),
        }
    }

    /// Serves an axum router until `closing` fires, then lets open requests finish within the drain limit.
    pub async fn serve(self, router: Router, limits: Limits, closing: CancellationToken) {
        let answer = move |request: Request<Incoming>| {
            let mut router = router.clone();
            async move { router.call(request.map(Body::new)).await }
        };
        self.serve_with::<_, _, Infallible>(answer, limits, closing).await;
    }

    /// Serves with a function that may refuse to answer at all: an `Err` closes the connection.
    pub async fn serve_with<H, F, E>(self, handler: H, limits: Limits, closing: CancellationToken)
    where
        H: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Result<Response<Body>, E>> + Send + 'static,
        E: Into<Box<dyn std::error::Error + Send + Sync>> + Send + 'static,
    {
        let slots = Arc::new(Semaphore::new(limits.connections));
        let loopback = self.address().is_none_or(|address| address.ip().is_loopback());
        let open = tokio_util::task::TaskTracker::new();
        loop {
            let slot = tokio::select! {
                () = closing.cancelled() => break,
                slot = Arc::clone(&slots).acquire_owned() => slot,
            };
            let accepted = tokio::select! {
                () = closing.cancelled() => break,
                accepted = self.socket.accept() => accepted,
            };
            let (stream, peer) = match accepted {
                Ok((stream, peer)) => (stream, Peer { loopback, ..peer }),
                Err(error) => {
                    // Out of descriptors, most likely: waiting lets others close.
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            let (handler, tls, closing) = (handler.clone(), self.tls.clone(), closing.clone());
            let room = Room { slots: Arc::clone(&slots), limits };
            open.spawn(async move {
                let _slot = slot;
                connection::serve(stream, peer, tls, handler, room, closing).await;
            });
        }
        open.close();
        // What lies there by now may be the socket of who comes after us.
        if let Socket::Unix(_, path, Owner::Us(ours)) = &self.socket
            && file_id(path).is_ok_and(|there| there == *ours)
        {
            let _ = std::fs::remove_file(path);
        }
        drop(self.socket);
        if tokio::time::timeout(limits.drain, open.wait()).await.is_err() {
            tracing::warn!("connections were cut: they outlived the drain deadline");
        }
    }
}

/// A socket that is listened to again has only its queue changed (Linux, `inet_listen` and `unix_listen`).
fn lengthen_queue(socket: impl AsFd) -> std::io::Result<()> {
    Ok(rustix::net::listen(socket, BACKLOG)?)
}

enum Accepted {
    Tcp(TcpStream),
    Unix(tokio::net::UnixStream),
}

impl Socket {
    async fn accept(&self) -> std::io::Result<(Accepted, Peer)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                // Small answers leave at once.
                stream.set_nodelay(true)?;
                Ok((Accepted::Tcp(stream), Peer { address: Some(address), ..Peer::default() }))
            }
            Self::Unix(listener, ..) => {
                let (stream, _) = listener.accept().await?;
                let unix_uid = stream.peer_cred().ok().map(|cred| cred.uid());
                Ok((Accepted::Unix(stream), Peer { unix_uid, ..Peer::default() }))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::{connection::Stream, *};

    /// Nobody accepts them: what the kernel holds is what a moment of other work costs nobody.
    #[tokio::test]
    async fn a_burst_of_connections_has_room_before_any_is_accepted() {
        let most = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap();
        let wanted = most.trim().parse().unwrap_or(usize::MAX).min(300);
        let bound = Bound::tcp("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let path = std::env::temp_dir().join(format!("countersign-burst-{}", std::process::id()));
        let unix = Bound::unix(&path).unwrap();
        let mut waiting: Vec<Box<dyn Stream>> = Vec::new();
        let all = async {
            for _ in 0..wanted {
                waiting.push(Box::new(TcpStream::connect(bound.address().unwrap()).await.unwrap()));
                waiting.push(Box::new(tokio::net::UnixStream::connect(&path).await.unwrap()));
            }
        };
        let came = tokio::time::timeout(Duration::from_secs(20), all).await;
        assert!(came.is_ok(), "{} of {} found a place", waiting.len(), 2 * wanted);
        drop(unix);
        std::fs::remove_file(path).unwrap();
    }

    #[tokio::test]
    async fn a_socket_that_another_one_put_in_the_place_of_ours_stays_when_we_go() {
        let path = std::env::temp_dir().join(format!("countersign-place-{}", std::process::id()));
        for is_ours in [true, false] {
            let (bound, closing) = (Bound::unix(&path).unwrap(), CancellationToken::new());
            let serving = bound.serve(Router::new(), Limits::default(), closing.clone());
            let other = (!is_ours).then(|| {
                std::fs::remove_file(&path).unwrap();
                std::os::unix::net::UnixListener::bind(&path).unwrap()
            });
            closing.cancel();
            serving.await;
            assert_eq!(path.exists(), other.is_some());
        }
        std::fs::remove_file(path).unwrap();
    }

    #[tokio::test]
    async fn s5_a_head_that_is_too_large_is_refused_long_before_its_time_is_over() {
        let bound = Bound::tcp("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = bound.address().unwrap();
        let router = Router::new().route("/", get(async || "soon"));
        let limits = Limits { header: Duration::from_secs(3_600), ..Limits::default() };
        tokio::spawn(bound.serve(router, limits, CancellationToken::new()));
        let said = async |size: usize, end: &str| {
            let mut socket = TcpStream::connect(address).await.unwrap();
            let long = "a".repeat(size);
            let head = format!("GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx: {long}{end}");
            // It may be refused, and the connection go, before all of it is sent.
            let _ = socket.write_all(head.as_bytes()).await;
            let mut said = Vec::new();
            let read = tokio::time::timeout(Duration::from_secs(20), socket.read_to_end(&mut said));
            let _ = read.await.expect("it is closed");
            String::from_utf8(said).unwrap()
        };
        let large = said(60_000, "\r\n\r\n").await;
        assert!(large.starts_with("HTTP/1.1 200"), "{large}");
        let unfinished = said(100_000, "").await;
        assert!(unfinished.is_empty() || unfinished.starts_with("HTTP/1.1 431"), "{unfinished}");
    }
}
