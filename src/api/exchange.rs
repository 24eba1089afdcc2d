//! What all handlers read and write alike: bodies, queries, our JSON.

use std::time::Duration;

use axum::{
    body::{Body, Bytes},
    extract::{FromRequest as _, Request, rejection::BytesRejection},
    response::Response,
};
use http::{HeaderMap, HeaderValue, StatusCode, header};

use crate::{
    api::{Problem, router::Api},
    objects::Invalids,
};

/// An answer with a body of our JSON; views in it are secrets, so nobody keeps it.
pub(super) fn json(status: StatusCode, body: Bytes) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Whether the body is said to be JSON.
pub(super) fn is_json(headers: &HeaderMap) -> Result<(), Problem> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        Ok(())
    } else {
        Err(Problem::new("invalid_request", "the Content-Type must be application/json"))
    }
}

/// Time for a body to arrive: 50 MiB at 7 Mbit/s. Whoever is slower holds memory for nothing.
const BODY_TIME: Duration = Duration::from_secs(60);

/// The body, within the limits. One that is announced as too large is refused before it is read.
pub(super) async fn whole_body(request: Request, api: &Api) -> Result<Bytes, Problem> {
    let too_large =
        || Problem::new("payload_too_large", format!("the body is larger than {} bytes", api.body_limit));
    let announced = request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    if announced.and_then(|length| length.parse::<usize>().ok()).is_some_and(|length| length > api.body_limit)
    {
        return Err(too_large());
    }
    let read = tokio::select! {
        read = Bytes::from_request(request, api) => read,
        () = api.clock.sleep(BODY_TIME) => {
            let detail = format!("the body did not arrive within {} s", BODY_TIME.as_secs());
            return Err(Problem::new("invalid_request", detail));
        }
    };
    read.map_err(|rejection| match rejection {
        BytesRejection::FailedToBufferBody(error) if error.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            too_large()
        }
        _ => Problem::new("invalid_request", "the body did not arrive whole"),
    })
}

/// Repeats take `{}` or nothing.
pub(super) fn empty_object(body: &Bytes) -> Result<(), Problem> {
    if body.is_empty() {
        return Ok(());
    }
    let value: serde_json::Value =
        serde_json::from_slice(body).map_err(|_| Problem::new("invalid_request", "the body is not JSON"))?;
    let Some(fields) = value.as_object() else {
        return Err(Problem::new("invalid_request", "the body must be {}"));
    };
    let mut faults = Invalids::default();
    for name in fields.keys() {
        faults.add(
            format!("/{}", crate::objects::invalid::token(name)),
            "unknown_field",
            "there is no such field",
        );
    }
    if faults.is_empty() { Ok(()) } else { Err(faults.into()) }
}

/// A query that was not understood.
pub(super) fn bad_query() -> Problem {
    Problem::new(
        "invalid_request",
        "the query has a parameter that does not exist, twice, or of the wrong type",
    )
}

/// Whether the caller asks for a stream of events.
pub(super) fn wants_stream(headers: &HeaderMap) -> bool {
    let mut accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepted.any(|value| {
        let mut kinds = value.split(',').map(|kind| kind.split(';').next().unwrap_or_default().trim());
        kinds.any(|kind| kind.eq_ignore_ascii_case("text/event-stream"))
    })
}
