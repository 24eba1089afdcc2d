//! What comes back: an answer read whole, or one whose body is still on its way.

use std::{fmt, pin::Pin, time::Duration};

use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use http::{HeaderMap, StatusCode, header};
use jiff::Timestamp;

use super::Error;

/// An answer, read whole. Its body may be secret, so `Debug` shows only its size.
pub struct Response {
    /// The status, of any class.
    pub status: StatusCode,
    /// All headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response")
            .field("status", &self.status)
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// An answer whose body is still on its way.
pub struct StreamedResponse {
    /// The status, of any class.
    pub status: StatusCode,
    /// All headers.
    pub headers: HeaderMap,
    pub(super) response: reqwest::Response,
    pub(super) limit: usize,
}

/// The pieces of a body as they arrive.
pub type BodyStream = Pin<Box<dyn Stream<Item = Result<Bytes, Error>> + Send>>;

impl StreamedResponse {
    /// The rest of the body, read into memory up to a limit: for an answer that turns out to be an error.
    pub async fn read(mut self, limit: usize) -> Result<Response, Error> {
        let body = read_all(&mut self.response, limit.min(self.limit)).await?;
        Ok(Response { status: self.status, headers: self.headers, body })
    }

    /// The body as a stream. It ends with an error if the peer stops early or sends more than the limit.
    pub fn into_stream(self) -> BodyStream {
        let state = Some((self.response, self.limit));
        Box::pin(futures_util::stream::unfold(state, |state| async {
            let (mut response, left) = state?;
            match response.chunk().await {
                Ok(None) => None,
                Ok(Some(chunk)) => match left.checked_sub(chunk.len()) {
                    Some(left) => Some((Ok(chunk), Some((response, left)))),
                    None => Some((Err(Error::TooLarge), None)),
                },
                Err(error) => Some((Err(Error::from_body(error)), None)),
            }
        }))
    }
}

impl fmt::Debug for StreamedResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamedResponse").field("status", &self.status).finish_non_exhaustive()
    }
}

/// The `Date` header as a time: the only reading of the peer's clock that there is (rule T9).
pub fn date(headers: &HeaderMap) -> Option<Timestamp> {
    time(headers.get(header::DATE)?.to_str().ok()?)
}

/// How long an answer asks to be left alone: `Retry-After` in seconds or as a date (RFC 9110, section 10.2.3). A date is
/// held against the answer's own, so that no clock need be right, and without one against `ours`. Nothing bounds it.
pub fn retry_after(headers: &HeaderMap, ours: Option<Timestamp>) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let (until, now) = (time(text)?, date(headers).or(ours)?);
    Some(Duration::try_from(until.duration_since(now)).unwrap_or_default())
}

fn time(text: &str) -> Option<Timestamp> {
    Timestamp::try_from(httpdate::parse_http_date(text).ok()?).ok()
}

pub(super) async fn read_all(response: &mut reqwest::Response, limit: usize) -> Result<Bytes, Error> {
    // What the peer announces is believed only for refusing, never for reserving memory.
    if response.content_length().is_some_and(|length| length > limit as u64) {
        return Err(Error::TooLarge);
    }
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(Error::from_body)? {
        if chunk.len() > limit - body.len() {
            return Err(Error::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}
