//! The bare proxy: takes the same call, makes the two upstream calls, answers the URL. What comes for the
//! upstream's own API (`/restapi/…`) it hands on with its token. It keeps nothing, checks nothing and signs
//! nothing: the floor of what any service in between must cost.
//!
//! It is as fast as hyper lets it be: one thread, and an upstream connection of its own for each caller.

use std::{convert::Infallible, sync::Arc};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, client::conn::http1 as client, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, sync::Mutex};

use super::upstream::{ACCOUNT, TEMPLATE};

type Sender = client::SendRequest<Full<Bytes>>;

struct Upstream {
    origin: Uri,
    tls: Option<tokio_rustls::TlsConnector>,
    token: HeaderValue,
}

/// Runs until its parent closes its standard input.
pub(crate) fn run(arguments: &[String]) {
    let origin: Uri = arguments[0].parse().expect("an origin");
    let tls = arguments.get(1).map(|ca_file| connector(ca_file));
    let token =
        HeaderValue::from_str(&format!("Bearer {}", "eyJ0eXAiOiJNVCIsImFsZyI6IlJTMjU2In0.".repeat(16)))
            .expect("visible");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let listener = super::contender::listen();
        super::report::line(&format!("http://{}", listener.local_addr().expect("bound")));
        let upstream = Arc::new(Upstream { origin, tls, token });
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let _ = socket.set_nodelay(true);
                let connection = Arc::new(Mutex::new(None));
                let upstream = Arc::clone(&upstream);
                let service = service_fn(move |request| {
                    let (upstream, connection) = (Arc::clone(&upstream), Arc::clone(&connection));
                    async move { Ok::<_, Infallible>(answer(request, &upstream, &connection).await) }
                });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(socket), service));
            }
        });
        super::contender::until_parent_ends().await;
    });
}

async fn answer(
    request: Request<Incoming>,
    upstream: &Upstream,
    connection: &Mutex<Option<Sender>>,
) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let mut connection = connection.lock().await;
    if connection.as_ref().is_none_or(Sender::is_closed) {
        *connection = Some(upstream.connect().await);
    }
    let sender = connection.as_mut().expect("connected");
    if head.uri.path().starts_with("/restapi/") {
        let answer = upstream.send(sender, head.method, head.uri.path().to_owned(), body).await;
        return answer.map(Full::new);
    }
    let made =
        upstream.post(sender, format!("/restapi/v2.1/accounts/{ACCOUNT}/envelopes"), definition(&body)).await;
    let id = text_of(&made, "\"envelopeId\":\"");
    let path = format!("/restapi/v2.1/accounts/{ACCOUNT}/envelopes/{id}/views/recipient");
    let view = Bytes::from_static(
        br#"{"returnUrl":"https://www.example.com/done","authenticationMethod":"None","userName":"Ada Lovelace","email":"ada@example.com","clientUserId":"visitor"}"#,
    );
    let view = upstream.post(sender, path, view).await;
    let mut response = Response::new(Full::new(view));
    *response.status_mut() = StatusCode::CREATED;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// The envelope: the template, or around the document's base64 text, which is found and not parsed.
fn definition(body: &Bytes) -> Bytes {
    const TABS: &str = "\"tabs\":{\"signHereTabs\":[{\"anchorString\":\"/sn1/\"}]}";
    let marker = b"\"content_base64\":\"";
    let person = "\"recipientId\":\"1\",\"name\":\"Ada Lovelace\",\"email\":\"ada@example.com\",\"clientUserId\":\"visitor\"";
    let Some(at) = body.windows(marker.len()).position(|window| window == marker) else {
        return format!(
            "{{\"status\":\"sent\",\"templateId\":\"{TEMPLATE}\",\"templateRoles\":[{{\"roleName\":\"Client\",{person}}}]}}"
        )
        .into();
    };
    let rest = &body[at + marker.len()..];
    let end = rest.iter().position(|byte| *byte == b'"').unwrap_or(rest.len());
    let mut text = Vec::with_capacity(end + 600);
    text.extend_from_slice(
        format!("{{\"status\":\"sent\",\"emailSubject\":\"Contract\",\"recipients\":{{\"signers\":[{{{person},{TABS}}}]}},\"documents\":[{{\"documentId\":\"1\",\"name\":\"Contract\",\"fileExtension\":\"pdf\",\"documentBase64\":\"").as_bytes(),
    );
    text.extend_from_slice(&rest[..end]);
    text.extend_from_slice(b"\"}]}");
    text.into()
}

fn text_of(body: &Bytes, marker: &str) -> String {
    let text = String::from_utf8_lossy(body);
    let after = text.split_once(marker).map_or("", |(_, after)| after);
    after.split('"').next().unwrap_or_default().to_owned()
}

impl Upstream {
    async fn connect(&self) -> Sender {
        let (host, port) = (self.origin.host().expect("a host"), self.origin.port_u16().expect("a port"));
        let address = if host == "localhost" { "127.0.0.1" } else { host };
        let socket = TcpStream::connect((address, port)).await.expect("the upstream listens");
        let _ = socket.set_nodelay(true);
        if let Some(tls) = &self.tls {
            let name = rustls::pki_types::ServerName::try_from("localhost").expect("a name");
            let stream = tls.connect(name, socket).await.expect("TLS");
            let (sender, connection) = client::handshake(TokioIo::new(stream)).await.expect("HTTP");
            tokio::spawn(connection);
            return sender;
        }
        let (sender, connection) = client::handshake(TokioIo::new(socket)).await.expect("HTTP");
        tokio::spawn(connection);
        sender
    }

    async fn post(&self, sender: &mut Sender, path: String, body: Bytes) -> Bytes {
        self.send(sender, Method::POST, path, body).await.into_body()
    }

    async fn send(&self, sender: &mut Sender, method: Method, path: String, body: Bytes) -> Response<Bytes> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, self.origin.authority().expect("an authority").as_str())
            .header(header::AUTHORIZATION, self.token.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .expect("a request");
        sender.ready().await.expect("the connection lives");
        let (head, body) = sender.send_request(request).await.expect("an answer").into_parts();
        Response::from_parts(head, body.collect().await.expect("a body").to_bytes())
    }
}

fn connector(ca_file: &str) -> tokio_rustls::TlsConnector {
    use rustls::pki_types::{CertificateDer, pem::PemObject as _};
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca_file).expect("the CA file") {
        roots.add(certificate.expect("a certificate")).expect("a CA");
    }
    let config =
        rustls::ClientConfig::builder_with_provider(rustls::crypto::aws_lc_rs::default_provider().into())
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
    tokio_rustls::TlsConnector::from(Arc::new(config))
}
