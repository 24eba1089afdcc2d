//! The body of a passed call: small ones are kept for a second try after a refused token (rule T7), larger
//! ones stream through without being kept, within the limit, so that memory does not grow with them. What is
//! kept takes its room among all bodies that this daemon holds, and all of a body must come within the time of
//! its call (rule S5).

use std::{
    pin::Pin,
    sync::{Arc, OnceLock},
    time::Duration,
};

use axum::body::{Body, BodyDataStream};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};

use crate::{
    api::{
        Problem,
        bodies::{SMALL, held},
        router::Api,
    },
    budget::Deadline,
    clock::SharedClock,
    esign::ForwardBody,
    http_client::{self, BodyStream, Upload},
};

/// What is kept for a second try, or less if `api.body_limit` is less. Most creates from a template and all views
/// are far below it.
const KEPT: usize = 1024 * 1024;
/// The longest silence in the middle of a body.
const SILENCE: Duration = Duration::from_secs(30);
/// A body must be there so long before its call has to end: no answer comes sooner, and the caller is told of the
/// body then, and not that the upstream was slow.
const TIME_TO_ANSWER: Duration = Duration::from_secs(1);

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
    /// It was not there in time for its call.
    Late,
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
            Self::Late => Problem::new("invalid_request", "the body did not arrive in time"),
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
    end: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Reader {
    fn new(api: &Api, body: Body, limit: Limit, deadline: Deadline) -> Self {
        let time = deadline.left(api.clock.uptime()).saturating_sub(TIME_TO_ANSWER);
        let (clock, end) = (Arc::clone(&api.clock), api.clock.sleep(time));
        Self { stream: body.into_data_stream(), clock, left: limit.bytes, end }
    }

    /// The next piece that is not empty; none at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, Fault> {
        loop {
            let piece = tokio::select! {
                // The end first: it must not depend on a piece being late.
                biased;
                () = &mut self.end => return Err(Fault::Late),
                piece = self.stream.next() => piece,
                () = self.clock.sleep(SILENCE) => return Err(Fault::Silent),
            };
            let Some(piece) = piece else { return Ok(None) };
            let piece = piece.map_err(|_| Fault::Incomplete)?;
            self.left = self.left.checked_sub(piece.len()).ok_or(Fault::TooLarge)?;
            if !piece.is_empty() {
                return Ok(Some(piece));
            }
        }
    }
}

/// Takes the body in: whole if it is small, else as a stream with what already came at its head.
pub(super) async fn take(
    api: &Api,
    body: Body,
    limit: Limit,
    deadline: Deadline,
) -> Result<(ForwardBody, Source), Problem> {
    let refused = |fault: Fault| fault.problem(limit);
    let hint = http_body::Body::size_hint(&body);
    if hint.lower() > limit.bytes as u64 {
        return Err(refused(Fault::TooLarge));
    }
    let source = Source::default();
    let announced = hint.exact().and_then(|length| usize::try_from(length).ok());
    let mut reader = Reader::new(api, body, limit, deadline);
    let (mut pieces, mut size) = (Vec::new(), 0);
    while size <= SMALL && announced.is_none_or(|announced| announced <= SMALL) {
        let Some(piece) = reader.next().await.map_err(refused)? else {
            return Ok((ForwardBody::Whole(pieces), source));
        };
        size += piece.len();
        pieces.push(piece);
    }
    // There is room for the largest body of our own API, whatever the settings are, and maybe not for more.
    let most = KEPT.min(api.body_limit);
    let wanted = announced.map_or(most, |announced| announced.min(most));
    let room = api.room.take(wanted, &api.clock).await?;
    let mut kept = Vec::with_capacity(wanted.max(size));
    for piece in pieces {
        kept.extend_from_slice(&piece);
    }
    while let Some(piece) = reader.next().await.map_err(refused)? {
        if kept.len() + piece.len() > most {
            let head = [held(kept, room), piece];
            return Ok((streamed(head, reader, hint.exact(), &source), source));
        }
        kept.extend_from_slice(&piece);
    }
    Ok((ForwardBody::Whole(vec![held(kept, room)]), source))
}

/// What has come of a body, and then the rest as it comes.
fn streamed(head: [Bytes; 2], reader: Reader, length: Option<u64>, source: &Source) -> ForwardBody {
    let fault = Arc::clone(&source.0);
    let rest = stream::unfold(Some(reader), move |reader| {
        let fault = Arc::clone(&fault);
        async move {
            let mut reader = reader?;
            match reader.next().await {
                Ok(piece) => Some((Ok(piece?), Some(reader))),
                Err(found) => {
                    let _ = fault.set(found);
                    Some((Err(http_client::Error::SourceBroke), None))
                }
            }
        }
    });
    let head = head.into_iter().filter(|piece| !piece.is_empty());
    let whole: BodyStream = Box::pin(stream::iter(head).map(Ok).chain(rest));
    ForwardBody::Streamed(Upload::new(whole, length))
}
