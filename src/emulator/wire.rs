//! What comes over the wire as a call, and an answer as what goes back: whole, or cut off in the middle.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures_util::StreamExt as _;
use http::{HeaderValue, Response, header, request};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Incoming;

use super::{
    http::{Answer, Call},
    time::Time,
};

/// The connection is cut instead of answering: a fault, a reset, or a client that went away.
#[derive(Debug, thiserror::Error)]
#[error("the emulator cut the connection")]
pub(super) struct Cut;

/// Reads a body; `None` when it is over the limit.
pub(super) async fn read(body: Incoming, limit: usize) -> Result<Option<Bytes>, Cut> {
    match Limited::new(body, limit).collect().await {
        Ok(body) => Ok(Some(body.to_bytes())),
        Err(error) if error.is::<LengthLimitError>() => Ok(None),
        Err(_) => Err(Cut),
    }
}

pub(super) fn call(parts: &request::Parts, body: Bytes, number: u64, time: &Time, origin: String) -> Call {
    let path = parts.uri.path().to_owned();
    let segments = path.split('/').skip(1).map(decode).collect::<Vec<_>>();
    // A trailing slash names the same thing.
    let kept =
        if segments.last().is_some_and(String::is_empty) { segments.len() - 1 } else { segments.len() };
    Call {
        number,
        method: parts.method.clone(),
        segments: segments.into_iter().take(kept).collect(),
        query: url::form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes())
            .into_owned()
            .collect(),
        path,
        headers: parts.headers.clone(),
        body,
        account: None,
        user: None,
        now: time.now(),
        origin,
    }
}

/// Percent-decodes one path segment; a plus stays a plus.
fn decode(segment: &str) -> String {
    let plain = segment.replace('+', "%2B");
    url::form_urlencoded::parse(format!("={plain}").as_bytes())
        .next()
        .map_or_else(String::new, |(_, value)| value.into_owned())
}

pub(super) fn whole(answer: Answer) -> Response<Body> {
    let mut response = Response::new(Body::from(answer.body));
    *response.status_mut() = answer.status;
    *response.headers_mut() = *answer.headers;
    response
}

/// Promises the whole body, sends half, and cuts the connection.
pub(super) fn truncated(answer: Answer) -> Response<Body> {
    let length = answer.body.len();
    let half = answer.body.slice(..length / 2);
    let cut = async {
        // The half is only flushed once the body has nothing more to give.
        tokio::time::sleep(Duration::from_millis(10)).await;
        Err(std::io::Error::other(Cut))
    };
    let frames = futures_util::stream::iter([Ok(half)]).chain(futures_util::stream::once(cut));
    let mut response = Response::new(Body::from_stream(frames));
    *response.status_mut() = answer.status;
    *response.headers_mut() = *answer.headers;
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    response
}
