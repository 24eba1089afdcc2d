//! `GET /v1/signings/{id}/evidence`: all that proves a completed signing, as one file.
//!
//! A bundle is made in memory and stays there until the other side has read it, so it keeps its place until then
//! (rule S5). Who reads nothing is cut by the listener in time.

use std::{collections::VecDeque, convert::Infallible, sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes},
    extract::State,
    response::Response,
};
use futures_util::{TryStreamExt as _, stream};
use http::{HeaderMap, HeaderValue, header};
use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::{
    api::{
        Problem, caller::Authenticated, exchange::Path, prefer::patience, router::Api, senders::of_signing,
    },
    clock::{Deadline, SharedClock, earlier},
    domain::{CallerName, Signing, SigningId},
    esign::DocumentRef,
    evidence::{self, About},
    objects::{show, timeline},
    spool::{self, Spooled},
    store::Inbound,
};

/// Largest document that is put into a bundle, which is made in memory.
const DOCUMENT_LIMIT_BYTES: u64 = 64 * 1024 * 1024;

/// The most events that are put into one, and the most bytes of them. Of more the newest tell how it ended.
const MOST_EVENTS: usize = 1_000;
const MOST_EVENT_BYTES: usize = 64 * 1024 * 1024;

/// Bundles that are made, or lie in memory until they are read, at once.
pub const AT_ONCE: usize = 2;
/// A bundle is handed over in pieces of this size: more would lie in the connection of who does not read.
const PIECE: usize = 64 * 1024;
/// How long a bundle waits for its turn.
const TURN_WAIT: Duration = Duration::from_secs(10);
/// When to come again if it had none.
const TURN_RETRY: Duration = Duration::from_secs(5);

/// What of its documents is put into a bundle.
const DOCUMENTS: [(&str, DocumentRef); 2] =
    [("combined", DocumentRef::Combined), ("certificate", DocumentRef::Certificate)];

/// Answers the bundle. It costs two calls upstream, but for what lies here.
pub(super) async fn bundle(
    State(api): State<Arc<Api>>,
    Authenticated(caller): Authenticated,
    Path(id): Path<SigningId>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let until = Deadline::within(&*api.clock, patience(&headers));
    let parts = DOCUMENTS.map(|(_, part)| part);
    caller.spend_share(|| api.signings.to_fetch(id, &parts), api.hourly_limit, api.clock.now())?;
    let signing = api.signings.get(&caller.name, id).await?;
    let mut documents = Vec::new();
    for (name, part) in DOCUMENTS {
        let left = until.left(api.clock.uptime());
        documents.push((name, fetch(&api, &caller.name, id, part, left).await?));
    }
    // Only now: a slow download must not keep those waiting whose documents are here.
    let turn = turn(&api.bundles, &api.closing, &api.clock).await?;
    let mut files = Vec::new();
    for (name, content) in &documents {
        files.push((format!("documents/{name}.pdf"), read(content).await?));
    }
    files.push(("signing.json".to_owned(), show::signing(&signing, &[], &[]).to_vec()));
    files.push(("timeline.json".to_owned(), timeline::of(&signing).to_vec()));
    let kept = received(&api, &caller.name, id).await?;
    // Read anew: the documents may have taken long, and what was there before them may be destroyed since.
    let personal_data_destroyed = api.signings.get(&caller.name, id).await?.is_without_persons();
    let events_left_out = kept.left_out;
    files.extend(kept.files());
    // Before the lines are read, so that the bundle holds this one, too.
    api.signings.announce_evidence(&signing).await?;
    let audit = api.signings.audit();
    let lines = audit.slice(&id.to_string()).await.map_err(|error| {
        tracing::error!(%error, "the audit log cannot be read");
        Problem::new("store_unavailable", "the daemon's own audit log cannot be read")
            .fix("Repeat the same call after the time in Retry-After; the operator looks at the disk of audit.file: the daemon's log says what is wrong with it.")
            .retry_after(Duration::from_secs(30))
    })?;
    if let Some(lines) = lines {
        files.push(("audit.jsonl".to_owned(), lines));
    }
    let about = About { events_left_out, personal_data_destroyed, ..about(&signing, &api) };
    let bytes =
        evidence::pack(about, files, &api.results.jwks(), |manifest| api.results.sign_bytes(manifest));
    let length = bytes.len();
    let made = Made { bytes, handed: 0, _turn: turn };
    let mut response = Response::new(Body::from_stream(stream::iter(made)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/zip"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
    let name = HeaderValue::try_from(format!("attachment; filename=\"{id}.evidence.zip\""));
    headers.insert(header::CONTENT_DISPOSITION, name.expect("an id is a header value"));
    Ok(response)
}

/// A bundle that is being handed over, and its turn, which is over with it. Pieces are copies: the last one, in the
/// buffer of a connection, must not keep the whole.
struct Made {
    bytes: Vec<u8>,
    handed: usize,
    _turn: OwnedSemaphorePermit,
}

impl Iterator for Made {
    type Item = Result<Bytes, Infallible>;

    fn next(&mut self) -> Option<Self::Item> {
        let piece = self.bytes[self.handed..].chunks(PIECE).next()?;
        self.handed += piece.len();
        Some(Ok(Bytes::copy_from_slice(piece)))
    }
}

/// What is known of it without what has come about it.
fn about(signing: &Signing, api: &Api) -> About {
    // As retention judges: by either clock it must be old enough.
    let ours = api.clock.now();
    let now = api.esign.told_now().map_or(ours, |told| told.min(ours));
    About {
        signing: signing.id.to_string(),
        envelope: signing.envelope.as_ref().map(|envelope| envelope.as_str().to_owned()),
        status: signing.status.as_str().to_owned(),
        made_at: api.clock.now(),
        audit_head: api.signings.audit().head().map(|head| head.to_string()),
        events_left_out: 0,
        events_since: kept_since(signing.created_at, now, api.retention),
        personal_data_destroyed: false,
    }
}

/// From when on all events of a signing are kept, if it was asked for before.
fn kept_since(created_at: Timestamp, now: Timestamp, keep: Duration) -> Option<Timestamp> {
    Some(earlier(now, keep)).filter(|since| *since > created_at)
}

/// Waits for leave to make a bundle, which is given back when it is dropped.
async fn turn(
    bundles: &Arc<Semaphore>,
    closing: &CancellationToken,
    clock: &SharedClock,
) -> Result<OwnedSemaphorePermit, Problem> {
    tokio::select! {
        biased;
        permit = Arc::clone(bundles).acquire_owned() => permit.map_err(|_| Problem::shutting_down()),
        () = closing.cancelled() => Err(Problem::shutting_down()),
        () = clock.sleep(TURN_WAIT) => {
            let detail = "the daemon already makes or hands out as many bundles of evidence as it may at once";
            Err(Problem::new("quota_exceeded", detail)
                .fix("Repeat the call after the time in Retry-After.")
                .retry_after(TURN_RETRY))
        }
    }
}

/// A document, whole and on our disk.
async fn fetch(
    api: &Api,
    caller: &CallerName,
    id: SigningId,
    part: DocumentRef,
    wait: Duration,
) -> Result<Arc<Spooled>, Problem> {
    let document = api.signings.document(caller, id, part, wait).await;
    let content = of_signing(api, caller, id, document).await?.content;
    if content.length() > DOCUMENT_LIMIT_BYTES {
        let detail = "a document is larger than 64 MiB; fetch the documents one by one";
        return Err(Problem::new("payload_too_large", detail));
    }
    Ok(content)
}

async fn read(content: &Arc<Spooled>) -> Result<Vec<u8>, Problem> {
    let mut bytes = Vec::new();
    let mut pieces = std::pin::pin!(content.read(0, content.length()));
    let lost = |error| Problem::from(&spool::Error::Io(error));
    while let Some(piece) = pieces.try_next().await.map_err(lost)? {
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

/// What was received about a signing, as far as a bundle has room for it.
async fn received(api: &Api, caller: &CallerName, id: SigningId) -> Result<Kept, Problem> {
    let (mut kept, mut after) = (Kept::default(), None);
    loop {
        let page = api.signings.received(caller, id, after).await?;
        for inbound in page.messages {
            kept.take(inbound);
        }
        after = page.next;
        if after.is_none() {
            return Ok(kept);
        }
    }
}

/// The newest events of all that were taken.
#[derive(Default)]
struct Kept {
    events: VecDeque<Inbound>,
    bytes: usize,
    left_out: u64,
}

impl Kept {
    fn take(&mut self, inbound: Inbound) {
        self.bytes += inbound.body.reveal().len();
        self.events.push_back(inbound);
        while self.events.len() > MOST_EVENTS || self.bytes > MOST_EVENT_BYTES {
            let Some(oldest) = self.events.pop_front() else { return };
            self.bytes -= oldest.body.reveal().len();
            self.left_out += 1;
        }
    }

    /// The events as they came, and when; numbered from the first that there was.
    fn files(self) -> Vec<(String, Vec<u8>)> {
        #[derive(Serialize)]
        struct Entry {
            file: String,
            received_at: Timestamp,
            event: String,
        }
        let mut index = Vec::new();
        let mut files = Vec::new();
        for (number, inbound) in (self.left_out + 1..).zip(self.events) {
            let file = format!("events/{number:04}.json");
            index.push(Entry { file: file.clone(), received_at: inbound.received_at, event: inbound.event });
            files.push((file, inbound.body.reveal().to_vec()));
        }
        files.push(("events/index.json".to_owned(), show::to_bytes(&index).to_vec()));
        files
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;
    use crate::{clock::ManualClock, domain::Private};

    #[test]
    fn s5_of_too_many_events_the_newest_are_in_and_the_others_counted() {
        let event = |number: usize, size: usize| Inbound {
            identity: [0; 32],
            received_at: Timestamp::UNIX_EPOCH,
            envelope: None,
            event: format!("event-{number}"),
            body: Private::new(Bytes::from(vec![b' '; size])),
        };
        let mut kept = Kept::default();
        for number in 0..MOST_EVENTS + 7 {
            kept.take(event(number, 1));
        }
        assert_eq!(kept.left_out, 7);
        let files = kept.files();
        assert_eq!((files.len(), files[0].0.as_str()), (MOST_EVENTS + 1, "events/0008.json"));
        let index = String::from_utf8(files[MOST_EVENTS].1.clone()).unwrap();
        assert!(index.contains("event-1006") && !index.contains("event-6\""), "{index}");
        // Large ones take more room.
        let mut large = Kept::default();
        for number in 0..5 {
            large.take(event(number, MOST_EVENT_BYTES / 4));
        }
        assert_eq!((large.left_out, large.events.len()), (1, 4));
    }

    #[test]
    fn of_a_signing_that_is_older_than_events_are_kept_it_is_said_from_when_on_there_are_any() {
        let (created_at, day) = (Timestamp::constant(1_800_000_000, 0), Duration::from_secs(24 * 3_600));
        let after = |days: i64| created_at + SignedDuration::from_hours(24 * days);
        assert_eq!(kept_since(created_at, after(90), 90 * day), None);
        assert_eq!(kept_since(created_at, after(97), 90 * day), Some(after(7)));
        assert_eq!(kept_since(created_at, after(97), Duration::MAX), None);
    }

    #[tokio::test]
    async fn a_bundle_waits_for_its_turn_for_a_while_and_is_then_asked_to_come_again() {
        let clock = ManualClock::new(Timestamp::UNIX_EPOCH);
        let shared: SharedClock = Arc::new(clock.clone());
        let (bundles, closing) = (Arc::new(Semaphore::new(1)), CancellationToken::new());
        let wait = || {
            let (bundles, closing, clock) = (Arc::clone(&bundles), closing.clone(), Arc::clone(&shared));
            let waiting = async move { turn(&bundles, &closing, &clock).await.map(drop) };
            tokio::spawn(waiting)
        };
        let first = turn(&bundles, &closing, &shared).await.unwrap();
        let (second, third) = (wait(), wait());
        tokio::task::yield_now().await;
        clock.advance(TURN_WAIT / 2);
        drop(first);
        assert!(second.await.unwrap().is_ok(), "there was a turn in time");
        assert!(third.await.unwrap().is_ok(), "and it was given back");

        let _held = turn(&bundles, &closing, &shared).await.unwrap();
        let late = wait();
        tokio::task::yield_now().await;
        clock.advance(TURN_WAIT);
        assert_eq!(late.await.unwrap().unwrap_err().code(), "quota_exceeded");
        let stopped = wait();
        closing.cancel();
        assert_eq!(stopped.await.unwrap().unwrap_err().code(), "shutting_down");
    }

    #[tokio::test]
    async fn s5_a_bundle_keeps_its_turn_until_all_of_it_is_handed_over_or_given_up() {
        let bundles = Arc::new(Semaphore::new(AT_ONCE));
        let bytes: Vec<u8> = (0..=255).cycle().take(3 * PIECE + 1).collect();
        let body = || {
            let turn = Arc::clone(&bundles).try_acquire_owned().unwrap();
            let made = Made { bytes: bytes.clone(), handed: 0, _turn: turn };
            Body::from_stream(stream::iter(made)).into_data_stream()
        };
        let (mut unread, read) = (body(), body());
        let first = unread.try_next().await.unwrap().unwrap();
        assert!(first == bytes[..PIECE] && bundles.available_permits() == 0);
        let pieces: Vec<Bytes> = read.try_collect().await.unwrap();
        assert!(pieces.concat() == bytes, "as it was");
        assert_eq!(bundles.available_permits(), 1, "whatever the connection still holds of it");
        drop(unread);
        assert_eq!(bundles.available_permits(), 2);
    }
}
