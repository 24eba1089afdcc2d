//! The body of a passed call: small ones are kept for a second try after a refused token (rule T7), larger
//! ones stream through without being kept, within the limit, so that memory does not grow with them.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use axum::body::{Body, BodyDataStream};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{HeaderMap, header};

use crate::{
    api::{Problem, router::Api},
    clock::SharedClock,
    esign::ForwardBody,
    http_client::{self, BodyStream, Upload},
};

/// What is kept for a second try. Most creates from a template and all views are far below it.
const KEPT: usize = 1024 * 1024;
/// The longest silence in the middle of a body.
const SILENCE: Duration = Duration::from_secs(30);

/// The largest body of a call.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limit {
    pub(super) bytes: usize,
    /// Whose limit it is, in words.
    pub(super) what: &'static str,
}

impl Limit {
    /// That of the settings.
    pub(super) fn of(api: &Api) -> Self {
        Self { bytes: api.passthrough_limit, what: "api.passthrough_limit; DocuSign takes 34 MiB" }
    }
}

/// What became of a caller's body while it was passed on.
#[derive(Debug, Clone, Default)]
pub(super) struct Source(Arc<OnceLock<Fault>>);

impl Source {
    /// What broke it off, if something did.
    pub(super) fn fault(&self) -> Option<Fault> {
        self.0.get().copied()
    }
}

/// Why a body broke off.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fault {
    /// It did not arrive whole.
    Incomplete,
    /// Nothing came for [`SILENCE`].
    Silent,
    /// It is over the limit.
    TooLarge,
}

impl Fault {
    /// What the caller is told.
    pub(super) fn problem(self, limit: Limit) -> Problem {
        match self {
            Self::Incomplete => Problem::new("invalid_request", "the body did not arrive whole"),
            Self::Silent => Problem::new(
                "invalid_request",
                format!("no byte of the body came for {} s", SILENCE.as_secs()),
            ),
            Self::TooLarge => Problem::new(
                "payload_too_large",
                format!("the body is larger than {} bytes ({})", limit.bytes, limit.what),
            ),
        }
    }
}

struct Reader {
    stream: BodyDataStream,
    clock: SharedClock,
    left: usize,
}

impl Reader {
    async fn next(&mut self) -> Option<Result<Bytes, Fault>> {
        let piece = tokio::select! {
            biased;
            piece = self.stream.next() => piece?,
            () = self.clock.sleep(SILENCE) => return Some(Err(Fault::Silent)),
        };
        let Ok(piece) = piece else { return Some(Err(Fault::Incomplete)) };
        match self.left.checked_sub(piece.len()) {
            Some(left) => self.left = left,
            None => return Some(Err(Fault::TooLarge)),
        }
        Some(Ok(piece))
    }
}

/// Takes the body in: whole if it is small, else as a stream with what already came at its head.
pub(super) async fn take(
    api: &Api,
    headers: &HeaderMap,
    body: Body,
    limit: Limit,
) -> Result<(ForwardBody, Source), Problem> {
    let source = Source::default();
    let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    if length.is_some_and(|length: u64| length > limit.bytes as u64) {
        return Err(Fault::TooLarge.problem(limit));
    }
    let clock = Arc::clone(&api.clock);
    let mut reader = Reader { stream: body.into_data_stream(), clock, left: limit.bytes };
    let (mut pieces, mut size) = (Vec::new(), 0);
    while size <= KEPT {
        match reader.next().await {
            None => return Ok((ForwardBody::Whole(pieces), source)),
            Some(Err(fault)) => return Err(fault.problem(limit)),
            Some(Ok(piece)) if piece.is_empty() => {}
            Some(Ok(piece)) => {
                size += piece.len();
                pieces.push(piece);
            }
        }
    }
    let fault = Arc::clone(&source.0);
    let rest = stream::unfold(Some(reader), move |reader| {
        let fault = Arc::clone(&fault);
        async move {
            let mut reader = reader?;
            match reader.next().await? {
                Ok(piece) => Some((Ok(piece), Some(reader))),
                Err(found) => {
                    let _ = fault.set(found);
                    Some((Err(http_client::Error::SourceBroke), None))
                }
            }
        }
    });
    let whole: BodyStream = Box::pin(stream::iter(pieces).map(Ok).chain(rest));
    Ok((ForwardBody::Streamed(Upload::new(whole, length)), source))
}
