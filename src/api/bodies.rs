//! Bodies of requests: within a size, within time, and within what this daemon holds of them at once (rule S5).
//!
//! A document stays in memory for as long as its create needs it, so the number of creates says nothing of the
//! memory they take: large bodies share an amount of bytes. Who comes when it is taken waits for a moment with
//! the body unread, and is then asked to come again; small ones never wait. Bodies that are passed on share it
//! for what is kept of them, and have a number of their own: they must not take the places of creates.

use std::{sync::Arc, time::Duration};

use axum::{
    body::{Body, BodyDataStream, Bytes},
    extract::Request,
};
use futures_util::StreamExt as _;
use http::{HeaderMap, HeaderValue, header};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    api::{Problem, router::Api},
    clock::{Deadline, SharedClock},
    domain::CallerName,
    places::{Place, Places},
};

/// The time of a body of our own API. It keeps all the room that it needs while it pauses, and others wait for that:
/// so its pauses are shorter than those of a body that is passed on, of which little is kept. The whole is 50 MiB
/// at 3 Mbit/s.
const PATIENCE: Patience = Patience { pause: Duration::from_secs(15), whole: Duration::from_secs(150) };

/// Bodies up to here are not counted: templates, and everything but documents.
pub(super) const SMALL: usize = 64 * 1024;
/// Bodies up to here are copied out of the buffer that their connection reads into: half of its size at first (hyper).
const COPIED: usize = 4 * 1024;
/// How long a body waits for room.
const ROOM_WAIT: Duration = Duration::from_secs(10);
/// When to come again if there was none.
const ROOM_RETRY: Duration = Duration::from_secs(2);
/// What room is counted in.
const UNIT: usize = 1024;
/// Bodies that are passed on at once: four for each of the 64 calls that go upstream at once by default. More
/// would wait for their turn until their time is over.
const PASSED_AT_ONCE: usize = 256;
/// Of one caller, so that none takes all of them.
const PASSED_OF_ONE: usize = PASSED_AT_ONCE / 4 * 3;

/// What of callers' bodies may be held at once: the bytes of large ones, and the number of those that are passed
/// on. Clones share it.
#[derive(Debug, Clone)]
pub struct Room {
    bytes: Arc<Semaphore>,
    passed: Places<CallerName>,
}

impl Room {
    /// For so many bytes, which must be at least as many as one body may have.
    pub fn new(bytes: usize) -> Self {
        let units = bytes.div_ceil(UNIT).min(Semaphore::MAX_PERMITS);
        Self { bytes: Arc::new(Semaphore::new(units)), passed: Places::new(PASSED_AT_ONCE, PASSED_OF_ONE) }
    }

    /// A place for a body that is passed on, which is given back when it is dropped.
    pub(super) fn pass(&self, caller: &CallerName) -> Result<Place<CallerName>, Problem> {
        self.passed.take(caller).ok_or_else(|| {
            let detail = "the daemon already passes on as many bodies as it may at once, of this caller or of all";
            Problem::new("quota_exceeded", detail)
                .fix("Repeat the call after the time in Retry-After, or make fewer at once; no setting raises this limit.")
                .retry_after(ROOM_RETRY)
        })
    }

    /// Room for a body of this size, which is given back when the body is dropped.
    pub(super) async fn take(
        &self,
        bytes: usize,
        clock: &SharedClock,
    ) -> Result<OwnedSemaphorePermit, Problem> {
        let units = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.bytes).acquire_many_owned(units);
        let permit = Deadline::within(&**clock, ROOM_WAIT).hold(&**clock, room).await;
        permit.and_then(Result::ok).ok_or_else(|| {
            let detail = "the daemon already holds as many bytes of documents as it may (api.bodies_at_once)";
            Problem::new("quota_exceeded", detail)
                .fix("Repeat the call after the time in Retry-After, or have the operator raise api.bodies_at_once (a restart).")
                .retry_after(ROOM_RETRY)
        })
    }
}

/// A large body that holds its room until the last part of it is dropped.
pub(super) fn held(bytes: Vec<u8>, room: OwnedSemaphorePermit) -> Bytes {
    Bytes::from_owner(Held { bytes, _room: room })
}

struct Held {
    bytes: Vec<u8>,
    _room: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// The body of a call that takes documents, within the limits: JSON, or nothing.
pub(super) async fn whole_body(request: Request, api: &Api) -> Result<Bytes, Problem> {
    body_within(request, api, own_limit(api)).await
}

/// As [`whole_body`], of a call that takes none. What is read of it may be a hundred times as large as the body if
/// somebody wants it to be, and is read at once, among other callers' work: so it is one of those that need not be counted.
pub(super) async fn small_body(request: Request, api: &Api) -> Result<Bytes, Problem> {
    let (own, small) =
        (own_limit(api), Limit { bytes: SMALL, what: "enough for any call without documents" });
    body_within(request, api, if own.bytes < small.bytes { own } else { small }).await
}

fn own_limit(api: &Api) -> Limit {
    Limit { bytes: api.body_limit, what: "api.body_limit" }
}

async fn body_within(request: Request, api: &Api, limit: Limit) -> Result<Bytes, Problem> {
    let (head, body) = request.into_parts();
    let mut reader = Reader::new(body, limit, PATIENCE, &api.clock)?;
    // One that says how long it is is refused unread; of another the first byte shows that it is there.
    if reader.announced.is_some_and(|announced| announced > 0) {
        is_json(&head.headers)?;
    }
    let (mut pieces, mut length) = (Vec::new(), 0);
    while length <= SMALL && reader.announced.is_none_or(|announced| announced <= SMALL) {
        let Some(piece) = reader.next().await? else { return Ok(joined(&pieces)) };
        if length == 0 && reader.announced.is_none() {
            is_json(&head.headers)?;
        }
        length += piece.len();
        pieces.push(piece);
    }
    let room = api.room.take(reader.announced.unwrap_or(limit.bytes), &api.clock).await?;
    let mut bytes = Vec::with_capacity(reader.announced.unwrap_or(length));
    for piece in pieces {
        bytes.extend_from_slice(&piece);
    }
    while let Some(piece) = reader.next().await? {
        bytes.extend_from_slice(&piece);
    }
    Ok(held(bytes, room))
}

/// What stands for a coding and is none. The last is a charset, which no body is coded by: a common slip of clients.
const NO_CODINGS: [&[u8]; 3] = [b"", b"identity", b"utf-8"];

/// Whether a body is said to be as it is: nothing is unpacked here (RFC 9110, section 8.4).
pub(super) fn is_unpacked(headers: &HeaderMap) -> Result<(), Problem> {
    let is_none =
        |coding: &HeaderValue| NO_CODINGS.iter().any(|none| coding.as_bytes().eq_ignore_ascii_case(none));
    if headers.get_all(header::CONTENT_ENCODING).iter().all(is_none) {
        return Ok(());
    }
    let detail = "the body has a Content-Encoding, and is taken without one alone";
    Err(Problem::new("content_encoding_unsupported", detail))
}

/// Whether a body is said to be JSON, as it is.
fn is_json(headers: &HeaderMap) -> Result<(), Problem> {
    is_unpacked(headers)?;
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        Ok(())
    } else {
        Err(Problem::new("invalid_request", "the Content-Type must be application/json")
            .fix("Send the body as JSON, with the header Content-Type: application/json."))
    }
}

/// All pieces in one. A piece is a part of the buffer that its connection reads into, which is used for what comes next
/// only once nothing of it is kept: so a small one is copied.
fn joined(pieces: &[Bytes]) -> Bytes {
    match pieces {
        [] => Bytes::new(),
        [only] if only.len() > COPIED => only.clone(),
        pieces => pieces.concat().into(),
    }
}

/// The largest body of a call.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limit {
    pub(super) bytes: usize,
    /// Whose limit it is, in words.
    pub(super) what: &'static str,
}

/// The time of a body.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// The longest silence in the middle of it.
    pub(super) pause: Duration,
    /// When all of it must be there.
    pub(super) whole: Duration,
}

/// Why a body broke off.
#[derive(Debug, Clone, Copy)]
pub(super) enum Broken {
    /// It did not arrive whole.
    Incomplete,
    /// It was not there in time.
    Late,
    /// Nothing of it came for so long.
    Silent(Duration),
    /// It is over the limit.
    TooLarge(Limit),
}

impl From<Broken> for Problem {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Incomplete => Self::new("invalid_request", "the body did not arrive whole"),
            Broken::Late => Self::new("invalid_request", "the body did not arrive in time"),
            Broken::Silent(pause) => {
                let detail = format!("no byte of the body came for {} s", pause.as_secs());
                Self::new("invalid_request", detail)
            }
            Broken::TooLarge(Limit { bytes, what }) => {
                Self::new("payload_too_large", format!("the body is larger than {bytes} bytes ({what})"))
            }
        }
    }
}

/// Reads a body. A peer that announces more, sends more, pauses for too long or never ends is refused.
pub(super) struct Reader {
    stream: BodyDataStream,
    /// How long the peer says it is, if it does.
    pub(super) announced: Option<usize>,
    limit: Limit,
    left: usize,
    pause: Duration,
    clock: SharedClock,
    end: Deadline,
}

impl Reader {
    /// Its time begins now.
    pub(super) fn new(
        body: Body,
        limit: Limit,
        patience: Patience,
        clock: &SharedClock,
    ) -> Result<Self, Broken> {
        let hint = http_body::Body::size_hint(&body);
        if hint.lower() > u64::try_from(limit.bytes).unwrap_or(u64::MAX) {
            return Err(Broken::TooLarge(limit));
        }
        Ok(Self {
            stream: body.into_data_stream(),
            announced: hint.exact().and_then(|length| usize::try_from(length).ok()),
            limit,
            left: limit.bytes,
            pause: patience.pause,
            clock: Arc::clone(clock),
            end: Deadline::within(&**clock, patience.whole),
        })
    }

    /// What is left of its time.
    fn time_left(&self) -> Result<Duration, Broken> {
        let left = self.end.left(self.clock.uptime());
        if left.is_zero() { Err(Broken::Late) } else { Ok(left) }
    }

    /// The next piece that is not empty; none at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Broken> {
        loop {
            // The end first: it must not depend on a piece being late.
            let left = self.time_left()?;
            let pause = Deadline::within(&*self.clock, left.min(self.pause));
            let Some(piece) = pause.hold(&*self.clock, self.stream.next()).await else {
                self.time_left()?;
                return Err(Broken::Silent(self.pause));
            };
            let Some(piece) = piece else { return Ok(None) };
            let piece = piece.map_err(|_| Broken::Incomplete)?;
            self.left = self.left.checked_sub(piece.len()).ok_or(Broken::TooLarge(self.limit))?;
            if !piece.is_empty() {
                return Ok(Some(piece));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    #[tokio::test]
    async fn the_largest_body_has_room_whatever_its_size_and_gives_it_back() {
        let clock: SharedClock = Arc::new(ManualClock::new(jiff::Timestamp::UNIX_EPOCH));
        for bytes in [1, UNIT, UNIT + 1, 100_001] {
            let room = Room::new(bytes);
            for _ in 0..2 {
                assert!(room.take(bytes, &clock).await.is_ok(), "{bytes}");
            }
        }
    }

    #[tokio::test]
    async fn what_is_held_keeps_its_room_until_its_last_part_is_gone() {
        let clock: SharedClock = Arc::new(ManualClock::new(jiff::Timestamp::UNIX_EPOCH));
        let room = Room::new(UNIT);
        let whole = held(vec![0; UNIT], room.take(UNIT, &clock).await.unwrap());
        let part = whole.slice(UNIT - 1..);
        drop(whole);
        assert_eq!(room.bytes.available_permits(), 0);
        drop(part);
        assert_eq!(room.bytes.available_permits(), 1);
    }

    #[tokio::test]
    async fn s5_a_body_that_is_too_large_pauses_or_never_ends_breaks_off() {
        use futures_util::stream;
        type Piece = Result<Bytes, std::io::Error>;
        let clock = ManualClock::new(jiff::Timestamp::UNIX_EPOCH);
        let shared: SharedClock = Arc::new(clock.clone());
        let limit = Limit { bytes: 2, what: "api.body_limit" };
        let reader = |body| Reader::new(body, limit, PATIENCE, &shared);
        let endless = || Body::from_stream(stream::repeat_with(|| Piece::Ok(Bytes::from_static(b"a"))));

        assert!(matches!(reader(Body::from("abc")), Err(Broken::TooLarge(_))), "by what it announces");
        let mut larger = reader(endless()).unwrap();
        for _ in 0..limit.bytes {
            assert!(matches!(larger.next().await, Ok(Some(_))));
        }
        assert!(matches!(larger.next().await, Err(Broken::TooLarge(_))), "by what it sends");

        let mut late = reader(endless()).unwrap();
        clock.advance(PATIENCE.whole);
        assert!(matches!(late.next().await, Err(Broken::Late)), "also if the next piece is here");

        let mut silent = reader(Body::from_stream(stream::pending::<Piece>())).unwrap();
        let waiting = tokio::spawn(async move { silent.next().await });
        tokio::task::yield_now().await;
        clock.advance(PATIENCE.pause);
        assert!(matches!(waiting.await.unwrap(), Err(Broken::Silent(_))));
    }

    #[test]
    fn s5_bodies_that_are_passed_on_have_a_number_and_give_their_places_back() {
        let room = Room::new(UNIT);
        let [busy, other] = ["busy", "other"].map(CallerName::new);
        let mut places: Vec<_> = (0..PASSED_OF_ONE).map(|_| room.clone().pass(&busy).unwrap()).collect();
        let is_refused = |caller| room.pass(caller).is_err_and(|problem| problem.code() == "quota_exceeded");
        assert!(is_refused(&busy), "it has as many as one may have");
        places.extend((PASSED_OF_ONE..PASSED_AT_ONCE).map(|_| room.pass(&other).unwrap()));
        assert!(is_refused(&other), "all are taken");
        drop(places.pop());
        assert!(is_refused(&busy) && room.pass(&other).is_ok());
    }
}
