//! The body of a passed call: small ones are kept for a second try after a refused token (rule T7), larger
//! ones stream through without being kept, within the limit, so that memory does not grow with them. What is
//! kept takes its room among all bodies that this daemon holds; what streams takes one of a few places, of which
//! no caller gets all; and all of a body must come within the time of its call (rule S5). One that makes an
//! envelope is looked through as it comes ([`creates`](super::creates)): what must not be in it ends it there, so
//! that nothing whole reaches the upstream.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use axum::body::Body;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};

use super::creates::{Banned, Guard};
use crate::{
    api::{
        Problem,
        bodies::{Broken, Limit, Patience, Reader, SMALL, held},
        router::Api,
    },
    clock::Deadline,
    domain::CallerName,
    esign::{ForwardBody, UploadPlace},
    http_client::{self, BodyStream, Upload},
};

/// What is kept for a second try, or less if `api.body_limit` is less. Most creates from a template and all views
/// are far below it.
const KEPT: usize = 1024 * 1024;
/// The longest silence in the middle of a body. Longer than our own API allows: a body that only runs through keeps no
/// room that others wait for, but for [`KEPT`], and what makes it may be slow.
const PAUSE: Duration = Duration::from_secs(30);
/// A body must be there so long before its call has to end: no answer comes sooner, and the caller is told of the
/// body then, and not that the upstream was slow.
const TIME_TO_ANSWER: Duration = Duration::from_secs(1);
/// The longest wait of a body that streams for its place.
const PLACE_WAIT: Duration = Duration::from_secs(10);
/// When to come again if there was no place for a body that streams.
const PLACE_RETRY: Duration = Duration::from_secs(10);

/// The largest body, as the settings have it.
pub(super) fn limit(api: &Api) -> Limit {
    Limit { bytes: api.passthrough_limit, what: "api.passthrough_limit; DocuSign takes 34 MiB" }
}

/// Why a body was not passed on to its end.
#[derive(Debug, Clone, Copy)]
pub(super) enum Stopped {
    /// The rest of it did not come.
    Broken(Broken),
    /// It holds what must not be in it.
    Refused(Banned),
}

impl From<Stopped> for Problem {
    fn from(stopped: Stopped) -> Self {
        match stopped {
            Stopped::Broken(broken) => broken.into(),
            Stopped::Refused(found) => found.into(),
        }
    }
}

/// What became of a caller's body while it was passed on.
#[derive(Debug, Clone, Default)]
pub(super) struct Source(Arc<OnceLock<Stopped>>);

impl Source {
    /// What stopped it, if something did.
    pub(super) fn stopped(&self) -> Option<Stopped> {
        self.0.get().copied()
    }
}

/// A body as it comes, looked through by its guard if it has one.
struct Guarded {
    reader: Reader,
    guard: Option<Guard>,
}

impl Guarded {
    /// The next piece that is not empty; none at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, Stopped> {
        let piece = self.reader.next().await.map_err(Stopped::Broken)?;
        if let (Some(guard), Some(piece)) = (&mut self.guard, &piece) {
            guard.pass(piece).map_err(Stopped::Refused)?;
        }
        Ok(piece)
    }
}

/// Until when what a call needs may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ends {
    /// All of it, its body included.
    pub(super) whole: Deadline,
    /// What its caller waits for (rule B4): its body, which the caller sends, is not.
    pub(super) caller: Deadline,
}

/// Takes the body in: whole if it is small, else as a stream with what already came at its head.
pub(super) async fn take(
    api: &Api,
    caller: &CallerName,
    body: Body,
    guard: Option<Guard>,
    limit: Limit,
    ends: Ends,
) -> Result<(ForwardBody, Source), Problem> {
    let source = Source::default();
    let patience = Patience { pause: PAUSE, whole: time(api, ends.whole) };
    let reader = Reader::new(body, limit, patience, &api.clock)?;
    let announced = reader.announced;
    let mut body = Guarded { reader, guard };
    let (mut pieces, mut size) = (Vec::new(), 0);
    while size <= SMALL && announced.is_none_or(|announced| announced <= SMALL) {
        let Some(piece) = body.next().await? else { return Ok((ForwardBody::Whole(pieces), source)) };
        size += piece.len();
        pieces.push(piece);
    }
    // There is room for the largest body of our own API, whatever the settings are, and maybe not for more.
    let most = KEPT.min(api.body_limit);
    // Who says that it will stream waits here, before anything of it takes room; others once they are found to stream.
    let place = match announced {
        Some(announced) if announced > most => Some(waited(api, caller, ends).await?),
        _ => None,
    };
    let wanted = announced.map_or(most, |announced| announced.min(most));
    let room = api.room.take(wanted, &api.clock).await?;
    let mut kept = Vec::with_capacity(wanted.max(size));
    for piece in pieces {
        kept.extend_from_slice(&piece);
    }
    while let Some(piece) = body.next().await? {
        if kept.len() + piece.len() > most {
            let place = match place {
                Some(place) => place,
                None => waited(api, caller, ends).await?,
            };
            let head = [held(kept, room), piece];
            return Ok((ForwardBody::Streamed(streamed(head, body, &source), place), source));
        }
        kept.extend_from_slice(&piece);
    }
    Ok((ForwardBody::Whole(vec![held(kept, room)]), source))
}

/// How long a body may still take.
fn time(api: &Api, whole: Deadline) -> Duration {
    whole.left(api.clock.uptime()).saturating_sub(TIME_TO_ANSWER)
}

/// A place for a body that streams, as soon as there is one.
async fn waited(api: &Api, caller: &CallerName, ends: Ends) -> Result<UploadPlace, Problem> {
    let time = time(api, ends.whole).min(ends.caller.left(api.clock.uptime()));
    let patience = Deadline::within(&*api.clock, PLACE_WAIT.min(time));
    patience.hold(&*api.clock, api.esign.uploads().wait(caller)).await.ok_or_else(no_place)
}

fn no_place() -> Problem {
    let detail = "too many large bodies, of this caller or of all, are on their way to DocuSign already";
    Problem::new("quota_exceeded", detail)
        .fix("Repeat the call after the time in Retry-After, and send fewer large bodies at once.")
        .retry_after(PLACE_RETRY)
}

/// What has come of a body, and then the rest as it comes.
fn streamed(head: [Bytes; 2], body: Guarded, source: &Source) -> Upload {
    let length = body.reader.announced.map(|length| length as u64);
    let stopped = Arc::clone(&source.0);
    let rest = stream::unfold(Some(body), move |body| {
        let stopped = Arc::clone(&stopped);
        async move {
            let mut body = body?;
            match body.next().await {
                Ok(piece) => Some((Ok(piece?), Some(body))),
                Err(why) => {
                    let _ = stopped.set(why);
                    Some((Err(http_client::Error::SourceBroke), None))
                }
            }
        }
    });
    let head = head.into_iter().filter(|piece| !piece.is_empty());
    let whole: BodyStream = Box::pin(stream::iter(head).map(Ok).chain(rest));
    Upload::new(whole, length)
}
