//! Whom a request is for: said once, or the request is none (RFC 9112, section 3.2). Two that read it differently, a proxy
//! in front of a listener and who is behind it, would else take it for requests to two hosts.

use axum::body::Body;
use http::{HeaderValue, Request, Response, StatusCode, Version, header};

/// Whether a request names its host once. HTTP/1.0 had no such field, and HTTP/2 has one of its own (`:authority`).
pub(super) fn is_named_once<B>(request: &Request<B>) -> bool {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) => request.version() != Version::HTTP_11,
        (Some(_), second) => second.is_none(),
    }
}

/// The answer to one that does not. What comes behind it on the connection may be for somebody else.
pub(super) fn refusal() -> Response<Body> {
    let mut response = Response::new(Body::from("a request has one header Host (RFC 9112, section 3.2)\n"));
    *response.status_mut() = StatusCode::BAD_REQUEST;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::{Router, routing::any};
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpStream,
    };
    use tokio_util::sync::CancellationToken;

    use crate::listener::{Bound, Limits};

    #[tokio::test]
    async fn a_request_names_its_host_once_or_is_refused() {
        let bound = Bound::tcp("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = bound.address().unwrap();
        let router = Router::new().route("/", any(async || "served"));
        tokio::spawn(bound.serve(router, Limits::default(), CancellationToken::new()));
        let said = async |request: &str| {
            let mut socket = TcpStream::connect(address).await.unwrap();
            // What stands behind the first request is another, which tells whether the connection is still open.
            let request = format!("{request}\r\nGET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
            socket.write_all(request.as_bytes()).await.unwrap();
            let mut said = String::new();
            // It may be closed before the second is read.
            let read = tokio::time::timeout(Duration::from_secs(20), socket.read_to_string(&mut said));
            let _ = read.await.expect("it is closed");
            said
        };
        for named in [
            "GET / HTTP/1.1\r\nHost: x\r\n",
            "GET / HTTP/1.1\r\nHost:\r\n",
            "GET http://x/ HTTP/1.1\r\nHost: x\r\n",
            "GET / HTTP/1.0\r\nConnection: keep-alive\r\n",
        ] {
            assert_eq!(said(named).await.matches("served").count(), 2, "{named:?}");
        }
        for nameless in [
            "GET / HTTP/1.1\r\n",
            "GET / HTTP/1.1\r\nX-Host: x\r\n",
            "GET http://x/ HTTP/1.1\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\nhost: y\r\n",
            "GET / HTTP/1.0\r\nConnection: keep-alive\r\nHost: x\r\nHost: y\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 0\r\n",
        ] {
            let answer = said(nameless).await;
            assert!(answer.starts_with("HTTP/1.1 400") || answer.starts_with("HTTP/1.0 400"), "{nameless:?}");
            assert!(!answer.contains("served"), "{nameless:?}: {answer}");
        }
    }
}
