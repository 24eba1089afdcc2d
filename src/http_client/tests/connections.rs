//! Connections: shared, bounded, resumed, and no more than one call's trouble.

use std::{
    convert::Infallible,
    path::PathBuf,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use futures_util::future::join_all;
use http::Version;
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use rustls::HandshakeKind;
use tokio_rustls::TlsAcceptor;
use url::Url;

use crate::http_client::*;

/// A name that nobody resolves, and that its certificate is for, too: who knows where it is must be told.
pub(super) const FAR: &str = "upstream.invalid";

/// A server that counts connections, and never answers `/stalled`.
#[derive(Debug, Default)]
pub(super) struct Server {
    accepted: AtomicUsize,
    open: AtomicUsize,
    handshakes: Mutex<Vec<HandshakeKind>>,
    versions: Mutex<Vec<Version>>,
}

impl Server {
    /// Over TLS if it offers protocols; the second is the CA file then.
    pub(super) async fn start(protocols: &[&str]) -> (Arc<Self>, Url, Option<PathBuf>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let tls = (!protocols.is_empty()).then(|| certificate(port, protocols));
        let (acceptor, ca_file) = tls.unzip();
        let scheme = if acceptor.is_some() { "https" } else { "http" };
        let server = Arc::new(Self::default());
        tokio::spawn(Arc::clone(&server).accept(listener, acceptor));
        (server, Url::parse(&format!("{scheme}://localhost:{port}/")).unwrap(), ca_file)
    }

    async fn accept(self: Arc<Self>, listener: tokio::net::TcpListener, acceptor: Option<TlsAcceptor>) {
        while let Ok((socket, _)) = listener.accept().await {
            self.accepted.fetch_add(1, Ordering::SeqCst);
            self.open.fetch_add(1, Ordering::SeqCst);
            let (server, acceptor) = (Arc::clone(&self), acceptor.clone());
            tokio::spawn(async move {
                match acceptor {
                    None => Arc::clone(&server).serve(TokioIo::new(socket)).await,
                    Some(acceptor) => {
                        let Ok(stream) = acceptor.accept(socket).await else { return };
                        let kind = stream.get_ref().1.handshake_kind().unwrap();
                        server.handshakes.lock().unwrap().push(kind);
                        Arc::clone(&server).serve(TokioIo::new(stream)).await;
                    }
                }
                server.open.fetch_sub(1, Ordering::SeqCst);
            });
        }
    }

    async fn serve<I>(self: Arc<Self>, io: I)
    where
        I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    {
        let answer = service_fn(move |request: http::Request<hyper::body::Incoming>| {
            self.versions.lock().unwrap().push(request.version());
            async move {
                if request.uri().path() == "/stalled" {
                    std::future::pending::<()>().await;
                }
                Ok::<_, Infallible>(http::Response::new(Full::new(Bytes::from_static(b"here"))))
            }
        });
        let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(io, answer).await;
    }

    pub(super) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

fn certificate(port: u16, protocols: &[&str]) -> (TlsAcceptor, PathBuf) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned(), FAR.to_owned()]).unwrap();
    let ca_file = std::env::temp_dir().join(format!("countersign-ca-{}-{port}.pem", std::process::id()));
    std::fs::write(&ca_file, made.cert.pem()).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = rustls::crypto::aws_lc_rs::default_provider().into();
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    (TlsAcceptor::from(Arc::new(config)), ca_file)
}

fn client(ca_file: Option<PathBuf>, idle_per_host: usize) -> HttpClient {
    HttpClient::new(&Options { ca_file, idle_per_host, ..Options::default() }).unwrap()
}

async fn get(client: &HttpClient, url: &Url) {
    let answer = client.send(Request::get(url.clone())).await.unwrap();
    assert_eq!(&answer.body[..], b"here");
}

#[tokio::test]
async fn calls_one_after_the_other_share_a_connection() {
    let (server, url, _) = Server::start(&[]).await;
    let client = client(None, 16);
    for _ in 0..3 {
        get(&client, &url).await;
    }
    assert_eq!(server.accepted(), 1);
}

#[tokio::test]
async fn a_stalled_call_holds_no_other() {
    let (server, url, _) = Server::start(&[]).await;
    let client = client(None, 16);
    let stalled = tokio::spawn({
        let (client, url) = (client.clone(), url.join("stalled").unwrap());
        async move { client.send(Request::get(url)).await }
    });
    while server.versions.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    get(&client, &url).await;
    get(&client, &url).await;
    assert!(!stalled.is_finished());
    assert_eq!(server.accepted(), 2, "one for the stalled call, one for the others");
    stalled.abort();
}

#[tokio::test]
async fn what_a_peak_opened_is_closed_but_for_some() {
    let (server, url, _) = Server::start(&[]).await;
    let client = client(None, 2);
    join_all((0..10).map(|_| get(&client, &url))).await;
    assert!(server.accepted() > 2, "they were at once");
    // More than once: what a call stopped waiting for, since another came free, may still connect and close.
    let two_are_kept = async || {
        let kept = async {
            while server.open.load(Ordering::SeqCst) != 2 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), kept).await.expect("two are kept");
    };
    two_are_kept().await;
    get(&client, &url).await;
    two_are_kept().await;
}

#[tokio::test]
async fn a_new_connection_resumes_the_tls_session() {
    let (server, url, ca_file) = Server::start(&["http/1.1"]).await;
    // Nothing is kept, so each call connects.
    let client = client(ca_file.clone(), 0);
    for _ in 0..3 {
        get(&client, &url).await;
    }
    let handshakes = server.handshakes.lock().unwrap().clone();
    assert_eq!(handshakes.len(), 3);
    assert_ne!(handshakes[0], HandshakeKind::Resumed);
    assert_eq!(handshakes[1..], [HandshakeKind::Resumed; 2]);
    std::fs::remove_file(ca_file.unwrap()).unwrap();
}

#[tokio::test]
async fn http_2_is_spoken_where_the_far_side_does_and_one_connection_is_enough() {
    for (protocols, version) in
        [(&["h2", "http/1.1"][..], Version::HTTP_2), (&["http/1.1"], Version::HTTP_11)]
    {
        let (server, url, ca_file) = Server::start(protocols).await;
        let client = client(ca_file.clone(), 16);
        get(&client, &url).await;
        join_all((0..8).map(|_| get(&client, &url))).await;
        assert!(server.versions.lock().unwrap().iter().all(|seen| *seen == version), "{version:?}");
        let connections = server.accepted();
        assert!(if version == Version::HTTP_2 { connections == 1 } else { connections > 1 }, "{connections}");
        std::fs::remove_file(ca_file.unwrap()).unwrap();
    }
}
