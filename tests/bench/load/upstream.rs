//! The stand-in upstream: canned answers as fast as hyper gives them, on one core, plain and over TLS.
//!
//! It checks nothing and is no emulator. It counts what it was asked, because the benchmark reports calls
//! and token exchanges a signing.

use std::{
    convert::Infallible,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;

/// The account that every sender acts in.
pub(crate) const ACCOUNT: &str = "3f1c9a52-6f0e-4a3b-8f57-1d2a90c4e001";
/// The user that everyone acts as.
pub(crate) const USER: &str = "b7d7a1c4-52e8-4d0f-9b6a-7e3f0c210001";
/// The one template.
pub(crate) const TEMPLATE: &str = "6a1d2c7e-3b4f-4e5a-9c8d-7f6e5d4c3b2a";

/// Where it listens, as it tells its parent on standard output.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Ready {
    pub(crate) http: String,
    pub(crate) https: String,
    pub(crate) ca_file: PathBuf,
}

/// What it was asked.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Counts {
    pub(crate) exchanges: u64,
    pub(crate) creates: u64,
    pub(crate) views: u64,
    pub(crate) others: u64,
}

#[derive(Debug, Default)]
struct State {
    exchanges: AtomicU64,
    creates: AtomicU64,
    views: AtomicU64,
    others: AtomicU64,
    delay_ms: u64,
}

/// Runs until its parent closes its standard input.
pub(crate) fn run(arguments: &[String]) {
    let folder = PathBuf::from(&arguments[0]);
    let delay_ms = arguments.get(1).and_then(|text| text.parse().ok()).unwrap_or(0);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let state = Arc::new(State { delay_ms, ..State::default() });
        let plain = super::contender::listen();
        let tls = super::contender::listen();
        let (acceptor, ca_file) = certificate(&folder);
        let ready = Ready {
            http: format!("http://{}", plain.local_addr().expect("bound")),
            https: format!("https://localhost:{}", tls.local_addr().expect("bound").port()),
            ca_file,
        };
        super::report::line(&serde_json::to_string(&ready).expect("plain data"));
        let secure = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((socket, _)) = tls.accept().await {
                let (acceptor, state) = (acceptor.clone(), Arc::clone(&secure));
                tokio::spawn(async move {
                    let _ = socket.set_nodelay(true);
                    if let Ok(stream) = acceptor.accept(socket).await {
                        serve(TokioIo::new(stream), state).await;
                    }
                });
            }
        });
        tokio::spawn(async move {
            while let Ok((socket, _)) = plain.accept().await {
                let _ = TcpStream::set_nodelay(&socket, true);
                tokio::spawn(serve(TokioIo::new(socket), Arc::clone(&state)));
            }
        });
        super::contender::until_parent_ends().await;
    });
}

async fn serve<I>(io: I, state: Arc<State>)
where
    I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let service = service_fn(move |request| answer(request, Arc::clone(&state)));
    let _ = auto::Builder::new(TokioExecutor::new()).http1_only().serve_connection(io, service).await;
}

async fn answer(request: Request<Incoming>, state: Arc<State>) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).map(str::to_owned);
    let is_post = request.method() == http::Method::POST;
    let mut body = request.into_body();
    while let Some(frame) = body.frame().await {
        if frame.is_err() {
            break;
        }
    }
    if state.delay_ms > 0 {
        tokio::time::sleep(std::time::Duration::from_millis(state.delay_ms)).await;
    }
    Ok(respond(&path, is_post, host.as_deref().unwrap_or("localhost"), &state))
}

fn respond(path: &str, is_post: bool, host: &str, state: &State) -> Response<Full<Bytes>> {
    let count = |counter: &AtomicU64| counter.fetch_add(1, Ordering::Relaxed);
    if is_post && path.ends_with("/views/recipient") {
        let number = count(&state.views);
        let url = format!("{{\"url\":\"http://{host}/Signing/MTRedeem/v1/{number:032x}?slt=bench\"}}");
        return json(StatusCode::CREATED, url);
    }
    if is_post && path.ends_with("/envelopes") {
        let number = count(&state.creates);
        let id = format!("3c5fc6a7-5172-4e0d-{:04x}-{:012x}", number >> 48, number & 0xffff_ffff_ffff);
        let body = format!(
            "{{\"envelopeId\":\"{id}\",\"uri\":\"/envelopes/{id}\",\
             \"statusDateTime\":\"2026-06-01T12:00:00.0000000Z\",\"status\":\"sent\"}}"
        );
        return json(StatusCode::CREATED, body);
    }
    if path == "/oauth/token" {
        count(&state.exchanges);
        let token = "eyJ0eXAiOiJNVCIsImFsZyI6IlJTMjU2In0.".repeat(16);
        return json(
            StatusCode::OK,
            format!("{{\"access_token\":\"{token}\",\"token_type\":\"Bearer\",\"expires_in\":3600}}"),
        );
    }
    if path == "/_counts" {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counts = Counts {
            exchanges: read(&state.exchanges),
            creates: read(&state.creates),
            views: read(&state.views),
            others: read(&state.others),
        };
        return json(StatusCode::OK, serde_json::to_string(&counts).expect("plain data"));
    }
    count(&state.others);
    rare(path, host)
}

/// What is asked once, when cold.
fn rare(path: &str, host: &str) -> Response<Full<Bytes>> {
    // A TLS listener is on the name, a plain one on the address.
    let scheme = if host.starts_with("localhost") { "https" } else { "http" };
    if path == "/oauth/userinfo" {
        let body = format!(
            "{{\"sub\":\"{USER}\",\"name\":\"Sales\",\"email\":\"sales@example.com\",\"accounts\":[{{\
             \"account_id\":\"{ACCOUNT}\",\"is_default\":true,\"account_name\":\"Example\",\
             \"base_uri\":\"{scheme}://{host}\"}}]}}"
        );
        return json(StatusCode::OK, body);
    }
    if path.contains("/templates/") {
        let body = format!(
            "{{\"templateId\":\"{TEMPLATE}\",\"name\":\"NDA\",\"emailSubject\":\"NDA\",\"recipients\":{{\
             \"signers\":[{{\"recipientId\":\"1\",\"roleName\":\"Client\",\"routingOrder\":\"1\"}}]}}}}"
        );
        return json(StatusCode::OK, body);
    }
    json(StatusCode::NOT_FOUND, "{\"errorCode\":\"RESOURCE_NOT_FOUND\",\"message\":\"?\"}".to_owned())
}

fn json(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
    // The vendor's own headers, with a budget that no run uses up.
    headers.insert("x-ratelimit-limit", HeaderValue::from_static("1000000000"));
    headers.insert("x-ratelimit-remaining", HeaderValue::from_static("999999999"));
    headers.insert("x-burstlimit-limit", HeaderValue::from_static("1000000000"));
    headers.insert("x-burstlimit-remaining", HeaderValue::from_static("999999999"));
    headers.insert("x-docusign-tracetoken", HeaderValue::from_static("9f0a1b2c-3d4e-4f50-8192-f1c2a3b47c5d"));
    response
}

/// A certificate for `localhost`, and the file with its CA.
fn certificate(folder: &std::path::Path) -> (tokio_rustls::TlsAcceptor, PathBuf) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let ca_file = folder.join("upstream-ca.pem");
    std::fs::write(&ca_file, made.cert.pem()).expect("the CA file");
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
    let config =
        rustls::ServerConfig::builder_with_provider(rustls::crypto::aws_lc_rs::default_provider().into())
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .expect("its own key");
    (tokio_rustls::TlsAcceptor::from(Arc::new(config)), ca_file)
}
