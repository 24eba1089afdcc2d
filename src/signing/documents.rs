//! The signed documents: fetched from the upstream once, and served from a sealed file for a while.
//!
//! The `ETag` is the SHA-256 of a document, and is known only when all of it has been seen; the upstream
//! serves no ranges, allows few downloads (3 of `combined` an hour), and may write the file anew each time.
//! So a download goes into a file first ([`Spool`]), and is answered from there: with the digest in the
//! header, with ranges that belong together, at the reader's own pace, and never cut off in the middle
//! because the upstream was. What that costs is the time until the first byte: that of the whole download.
//!
//! A download is owned by a task of its own: readers who come meanwhile wait for the same one, and one who
//! hangs up changes nothing. Nothing of a document is ever held in memory but the piece that is moving.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::StreamExt as _;
use http::HeaderValue;
use tokio::sync::watch;

use crate::{
    audit::Act,
    clock::Deadline,
    domain::{CallerName, EnvelopeId, MomentKind, Signing, SigningId, SigningStatus},
    esign::{self, DocumentRef},
    signing::{Error, MOMENT, Signings},
    spool::{self, Spool, Spooled, Writer},
    store::InboundPage,
};

/// Room on the disk that is set aside before a document is asked for: most are no larger.
const ROOM_BYTES: u64 = 1 << 20;
/// Documents of which it is remembered how much room they lacked.
const MAX_LACKING: usize = 1_000;
/// The longest that a download may take from its first to its last byte.
const MAX_DOWNLOAD: Duration = Duration::from_secs(10 * 60);

/// A document as it lies here.
#[derive(Debug, Clone)]
pub struct Document {
    /// Its bytes, their number and their digest.
    pub content: Arc<Spooled>,
    /// What it is, as the upstream says.
    pub content_type: Option<HeaderValue>,
}

/// Why a document could not be had. Shared by all who waited for it.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    /// It could not be kept here.
    #[error("the document cannot be kept here")]
    Spool(#[from] spool::Error),
    /// The upstream did not give it, or not all of it.
    #[error("the upstream did not give the document")]
    Upstream(#[from] esign::Error),
}

type Key = (SigningId, DocumentRef);
type Told = Result<Document, Arc<DownloadError>>;

/// Whether it was the caller's time that was over, and nothing is known of the document.
const fn is_out_of_time(error: &DownloadError) -> bool {
    matches!(error, DownloadError::Upstream(esign::Error::Deadline))
}

/// The documents that are here or on their way.
#[derive(Debug)]
pub(super) struct Documents {
    spool: Spool,
    keep: Duration,
    places: Mutex<HashMap<Key, Place>>,
    /// How large those are for which there was no room when they came: they are asked for again once there is.
    lacking: Mutex<HashMap<Key, u64>>,
}

#[derive(Debug)]
enum Place {
    /// A task is at it.
    Coming(watch::Receiver<Option<Told>>),
    /// It is here, until this uptime.
    Here(Document, Duration),
}

enum Found {
    Coming(watch::Receiver<Option<Told>>),
    Here(Document),
    /// Nobody is at it: the one who asked is now to tell the others.
    Missing(watch::Sender<Option<Told>>, watch::Receiver<Option<Told>>),
}

impl Documents {
    pub(super) fn new(spool: Spool, keep: Duration) -> Self {
        Self { spool, keep, places: Mutex::default(), lacking: Mutex::default() }
    }

    fn find(&self, key: Key, now: Duration) -> Found {
        self.let_go(now);
        let mut places = self.places();
        match places.get(&key) {
            Some(Place::Here(document, _)) => return Found::Here(document.clone()),
            // Whoever was at it may have died.
            Some(Place::Coming(told)) if told.has_changed().is_ok() => return Found::Coming(told.clone()),
            Some(Place::Coming(_)) | None => {}
        }
        let (tell, told) = watch::channel(None);
        places.insert(key, Place::Coming(told.clone()));
        Found::Missing(tell, told)
    }

    fn end(&self, key: Key, told: &Told, now: Duration) {
        let mut places = self.places();
        match told {
            Ok(document) => {
                places.insert(key, Place::Here(document.clone(), now.saturating_add(self.keep)));
            }
            Err(_) => {
                places.remove(&key);
            }
        }
    }

    /// Lets go of what was kept long enough. Somebody has to say so: after the last request nobody asks any more.
    pub(super) fn let_go(&self, now: Duration) {
        self.places().retain(|_, place| !matches!(place, Place::Here(_, until) if *until <= now));
    }

    /// Lets go of what belongs to a signing.
    fn forget(&self, signing: SigningId) {
        self.places().retain(|key, _| key.0 != signing);
    }

    /// Lets go of the document that has been here longest; answers whether there was one.
    fn make_room(&self) -> bool {
        let mut places = self.places();
        let until = |place: &Place| match place {
            Place::Coming(_) => None,
            Place::Here(_, until) => Some(*until),
        };
        let oldest = places.iter().filter_map(|(key, place)| Some((until(place)?, *key)));
        let oldest = oldest.min_by_key(|(until, _)| *until).map(|(_, key)| key);
        oldest.is_some_and(|key| places.remove(&key).is_some())
    }

    /// A file for a document that is not asked for yet: if there is no room for it, no download is spent.
    async fn begin(&self, key: Key) -> Result<Writer, spool::Error> {
        // Where the limit is lower than what is set aside for any, a smaller one still has its place.
        let least = ROOM_BYTES.min(self.spool.limit_bytes());
        let room = self.lacking().get(&key).map_or(least, |length| least.max(*length));
        self.can_fit(room)?;
        loop {
            match self.spool.create(room).await {
                Err(error) if wants_room(&error) && self.make_room() => {}
                done => return done,
            }
        }
    }

    /// Makes the room for a document that is said to be so long.
    async fn set_aside(&self, writer: &mut Writer, length: u64) -> Result<(), spool::Error> {
        self.can_fit(length)?;
        loop {
            match writer.set_aside(length).await {
                Err(error) if wants_room(&error) && self.make_room() => {}
                done => return done,
            }
        }
    }

    /// For what would never fit, nothing else has to go.
    fn can_fit(&self, length: u64) -> Result<(), spool::Error> {
        if length > self.spool.limit_bytes() { Err(spool::Error::Full) } else { Ok(()) }
    }

    /// Remembers how large a document is for which there was no room, as far as is known.
    fn note_room(&self, key: Key, fetched: &Result<Document, DownloadError>, length: u64) {
        let is_lacking = matches!(fetched, Err(DownloadError::Spool(_)));
        let mut lacking = self.lacking();
        if lacking.len() >= MAX_LACKING {
            lacking.clear();
        }
        if is_lacking {
            lacking.insert(key, length);
        } else {
            lacking.remove(&key);
        }
    }

    async fn keep(&self, writer: &mut Writer, piece: &[u8]) -> Result<(), spool::Error> {
        loop {
            match writer.write(piece).await {
                Err(spool::Error::Full) if self.make_room() => {}
                done => return done,
            }
        }
    }

    fn places(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Place>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lacking(&self) -> std::sync::MutexGuard<'_, HashMap<Key, u64>> {
        self.lacking.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Signings {
    /// What the upstream pushed to us about a signing, as it came, oldest first: a page, from the beginning or behind the
    /// `next` of the page before.
    pub async fn received(
        &self,
        caller: &CallerName,
        id: SigningId,
        after: Option<u64>,
    ) -> Result<InboundPage, Error> {
        let signing = self.get(caller, id).await?;
        let Some(envelope) = &signing.envelope else {
            return Ok(InboundPage { messages: Vec::new(), next: None });
        };
        Ok(self.parts.store.inbound_of(envelope, after).await?)
    }

    /// A document of a completed signing, whole, for a caller who waits so long. One that comes later lies here for
    /// whoever asks again.
    pub async fn document(
        &self,
        caller: &CallerName,
        id: SigningId,
        part: DocumentRef,
        wait: Duration,
    ) -> Result<Document, Error> {
        let deadline = self.within(wait);
        let until = Deadline::within(&*self.parts.clock, wait);
        let signing = self.get(caller, id).await?;
        if signing.purged_at.is_some() {
            self.parts.documents.forget(id);
            return Err(Error::Purged);
        }
        let (SigningStatus::Completed, Some(envelope)) = (signing.status, signing.envelope.clone()) else {
            return Err(Error::NotCompleted(signing.status));
        };
        let mut is_joined = false;
        let mut told = match self.parts.documents.find((id, part), self.parts.clock.uptime()) {
            Found::Here(document) => {
                self.announce(Act::DocumentHandOut, &signing, &format!("{envelope} {part}")).await?;
                return Ok(document);
            }
            Found::Coming(told) => {
                self.announce(Act::DocumentHandOut, &signing, &format!("{envelope} {part}")).await?;
                is_joined = true;
                told
            }
            Found::Missing(tell, told) => {
                let this = self.clone();
                self.parts.life.spawn_work("download a document", async move {
                    let fetched = this.fetch(&signing, &envelope, part, deadline).await.map_err(Arc::new);
                    this.parts.documents.end((id, part), &fetched, this.parts.clock.uptime());
                    // If nobody waits any more it lies here for who comes next.
                    let _ = tell.send(Some(fetched));
                });
                told
            }
        };
        let whole = async { told.wait_for(Option::is_some).await.map(|told| told.clone()) };
        let told = until.plus(MOMENT).hold(&*self.parts.clock, whole).await.ok_or(esign::Error::Deadline)?;
        match told {
            Ok(Some(Ok(document))) => Ok(document),
            // Whoever began it had less time than who joined.
            Ok(Some(Err(error))) if is_joined && is_out_of_time(&error) => {
                let left = until.left(self.parts.clock.uptime());
                Box::pin(self.document(caller, id, part, left)).await
            }
            Ok(Some(Err(error))) => Err(Error::Download(error)),
            Ok(None) | Err(_) => Err(self.broken_off()),
        }
    }

    /// Writes down that the evidence of a completed signing is handed out, before it is.
    pub async fn announce_evidence(&self, signing: &Signing) -> Result<(), Error> {
        let envelope = signing.envelope.as_ref().ok_or(Error::NotFound)?;
        Ok(self.announce(Act::EvidenceHandOut, signing, envelope).await?)
    }

    /// How many of these documents of a signing would have to be fetched: they are neither here nor on their way.
    pub fn to_fetch(&self, id: SigningId, parts: &[DocumentRef]) -> u64 {
        let documents = &self.parts.documents;
        documents.let_go(self.parts.clock.uptime());
        let places = documents.places();
        parts.iter().map(|part| u64::from(!places.contains_key(&(id, *part)))).sum()
    }

    async fn fetch(
        &self,
        signing: &Signing,
        envelope: &EnvelopeId,
        part: DocumentRef,
        deadline: Deadline,
    ) -> Result<Document, DownloadError> {
        let (key, documents) = ((signing.id, part), &self.parts.documents);
        let writer = documents.begin(key).await?;
        let acting = self.acting_for(signing).await?;
        self.announce(Act::DocumentFetch, signing, &format!("{envelope} {part}")).await?;
        let download = self.parts.esign.document(&acting, envelope, part, deadline).await?;
        let (said, mut came) = (download.length, 0);
        let fetched = self.take_down(signing, download, writer, &mut came).await;
        // One that does not say how long it is is longer than what came of it.
        documents.note_room(key, &fetched, said.unwrap_or(ROOM_BYTES).max(came));
        fetched
    }

    /// Takes a document from the upstream into its file.
    async fn take_down(
        &self,
        signing: &Signing,
        mut download: esign::Download,
        mut writer: Writer,
        came: &mut u64,
    ) -> Result<Document, DownloadError> {
        if let Some(length) = download.length.filter(|length| *length > ROOM_BYTES) {
            self.parts.documents.set_aside(&mut writer, length).await?;
        }
        let out_of_time = self.parts.clock.sleep(MAX_DOWNLOAD);
        tokio::pin!(out_of_time);
        loop {
            let piece = tokio::select! {
                piece = download.body.next() => piece,
                () = &mut out_of_time => return Err(esign::Error::Deadline.into()),
            };
            match piece {
                Some(Ok(piece)) => {
                    *came += piece.len() as u64;
                    self.parts.documents.keep(&mut writer, &piece).await?;
                }
                Some(Err(error)) => return Err(esign::Error::Unknown(error).into()),
                None => break,
            }
        }
        let content = writer.finish().await?;
        if download.length.is_some_and(|length| length != content.length()) {
            let what = "it is not as long as was said";
            return Err(esign::Error::BadAnswer { status: 200, what, trace: download.trace }.into());
        }
        self.jot(signing.id, MomentKind::DocumentFetched, None, download.trace).await;
        Ok(Document { content: Arc::new(content), content_type: download.content_type })
    }
}

/// Whether it helps if documents that are merely kept go.
fn wants_room(error: &spool::Error) -> bool {
    use std::io::ErrorKind::{QuotaExceeded, StorageFull};
    match error {
        spool::Error::Full => true,
        spool::Error::Io(error) => matches!(error.kind(), QuotaExceeded | StorageFull),
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const MIB: u64 = 1 << 20;

    fn key(number: u128) -> Key {
        (SigningId::from_uuid(Uuid::from_u128(number)), DocumentRef::Combined)
    }

    fn documents(limit_bytes: u64) -> Documents {
        Documents::new(Spool::new(std::env::temp_dir(), limit_bytes), Duration::from_secs(60))
    }

    /// Downloads of which the upstream has said how large they are, and sent nothing yet.
    #[tokio::test]
    async fn what_is_under_way_has_its_share_of_the_limit_and_what_is_kept_makes_room_for_it() {
        let documents = documents(4 * MIB);
        let mut kept = documents.begin(key(1)).await.unwrap();
        documents.keep(&mut kept, &vec![7; 1 << 20]).await.unwrap();
        let content = Arc::new(kept.finish().await.unwrap());
        documents.end(key(1), &Ok(Document { content, content_type: None }), Duration::ZERO);
        let mut first = documents.begin(key(2)).await.unwrap();
        assert!(matches!(documents.set_aside(&mut first, 4 * MIB + 1).await, Err(spool::Error::Full)));
        assert_eq!(documents.places().len(), 1, "it would never fit: nothing makes room");
        documents.set_aside(&mut first, 3 * MIB + 1).await.unwrap();
        assert_eq!(documents.places().len(), 0);
        assert!(matches!(documents.begin(key(3)).await, Err(spool::Error::Full)), "the others wait for it");
        drop(first);
        assert!(documents.begin(key(3)).await.is_ok());
    }

    #[tokio::test]
    async fn a_document_for_which_there_was_no_room_is_asked_for_once_there_is() {
        let documents = documents(4 * MIB);
        let other = documents.begin(key(1)).await.unwrap();
        let lacked = Err(DownloadError::Spool(spool::Error::Full));
        documents.note_room(key(2), &lacked, 4 * MIB);
        assert!(matches!(documents.begin(key(2)).await, Err(spool::Error::Full)), "no download is spent");
        drop(other);
        assert!(documents.begin(key(2)).await.is_ok());
    }

    /// A limit that is lower than what is set aside for any.
    #[tokio::test]
    async fn a_small_limit_takes_what_is_smaller() {
        let documents = documents(1_000);
        let mut writer = documents.begin(key(1)).await.unwrap();
        documents.keep(&mut writer, &[7; 1_000]).await.unwrap();
        assert!(matches!(documents.keep(&mut writer, b"!").await, Err(spool::Error::Full)));
    }
}
