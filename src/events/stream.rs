//! Events as they happen, for those who keep a connection open.
//!
//! A stream reads the outbox from where its reader left off, is woken by the hub, and looks by itself
//! once a second for what other daemons wrote. It ends when the daemon stops; the reader comes back with
//! the last id it saw. Events are in the order of the outbox.

use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use futures_util::stream::{BoxStream, StreamExt as _};
use jiff::Timestamp;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::{
    clock::SharedClock,
    domain::{CallerName, Event, EventId, SigningId},
    events::{Hub, hub::OutboxWatcher},
    lifecycle::Lifecycle,
    store::{Error, EventFilter, SharedStore},
};

/// The most streams that are open at once.
const MAX_STREAMS: usize = 1_000;
/// Events read at once.
const PAGE: u32 = 200;
/// The wait for what other daemons wrote.
const TICK: Duration = Duration::from_secs(1);
/// How long the outbox is read again from before the last event: another daemon's transaction may have
/// taken its place in the order earlier than it was committed.
const OVERLAP: Duration = Duration::from_secs(5);

/// Where a stream starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// After this event (`Last-Event-ID`).
    After(EventId),
    /// With the oldest event that is still kept.
    Beginning,
    /// With what happens from now on.
    Now,
}

/// Opens streams. Clones share the limit.
#[derive(Debug, Clone)]
pub struct Streams {
    store: SharedStore,
    hub: Hub,
    clock: SharedClock,
    life: Lifecycle,
    places: Arc<Semaphore>,
}

/// Too many streams are open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{MAX_STREAMS} streams are open")]
pub struct TooMany;

impl Streams {
    /// Streams out of a store.
    pub fn new(store: SharedStore, hub: Hub, clock: SharedClock, life: Lifecycle) -> Self {
        Self { store, hub, clock, life, places: Arc::new(Semaphore::new(MAX_STREAMS)) }
    }

    /// The events of a caller (of all, for operators only), of one signing if one is given.
    ///
    /// An error of the store is passed on and does not end the stream; the next item comes when it heals.
    pub fn open(
        &self,
        caller: Option<CallerName>,
        signing: Option<SigningId>,
        start: Start,
    ) -> Result<BoxStream<'static, Result<Event, Error>>, TooMany> {
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| TooMany)?;
        let after = match start {
            Start::After(id) => Some(id),
            Start::Beginning | Start::Now => None,
        };
        let reader = Reader {
            store: Arc::clone(&self.store),
            clock: Arc::clone(&self.clock),
            watcher: self.hub.outbox(),
            stopping: self.life.stopping(),
            filter: EventFilter { caller, signing, after, limit: PAGE },
            not_before: (start == Start::Now).then(|| self.clock.now()),
            ready: VecDeque::new(),
            passed: VecDeque::new(),
            known: HashSet::new(),
            is_at_end: false,
            _place: place,
        };
        Ok(futures_util::stream::unfold(reader, |mut reader| async {
            let next = reader.next().await?;
            Some((next, reader))
        })
        .boxed())
    }
}

struct Reader {
    store: SharedStore,
    clock: SharedClock,
    watcher: OutboxWatcher,
    stopping: CancellationToken,
    /// `after` lags behind what was passed on, by the overlap.
    filter: EventFilter,
    not_before: Option<Timestamp>,
    ready: VecDeque<Event>,
    /// What was read and is still within the overlap, in the order of the outbox; the same as a set.
    passed: VecDeque<(EventId, Timestamp)>,
    known: HashSet<EventId>,
    is_at_end: bool,
    _place: OwnedSemaphorePermit,
}

impl Reader {
    async fn next(&mut self) -> Option<Result<Event, Error>> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(Ok(event));
            }
            if self.is_at_end {
                tokio::select! {
                    () = self.stopping.cancelled() => return None,
                    () = self.watcher.changed() => {}
                    () = self.clock.sleep(TICK) => {}
                }
            }
            if let Err(error) = self.read().await {
                self.is_at_end = true;
                return Some(Err(error));
            }
        }
    }

    /// Reads one page, and keeps of it what is new.
    async fn read(&mut self) -> Result<(), Error> {
        let horizon = self.clock.now().saturating_sub(OVERLAP).unwrap_or(Timestamp::MIN);
        while let Some((id, _)) = self.passed.front().filter(|(_, at)| *at <= horizon) {
            self.known.remove(id);
            self.filter.after = Some(*id);
            self.passed.pop_front();
        }
        // What lies within the overlap comes again, and takes room in the page.
        let limit = PAGE.saturating_add(u32::try_from(self.passed.len()).unwrap_or(u32::MAX));
        let page = self.store.events(EventFilter { limit, ..self.filter.clone() }).await?;
        self.is_at_end = page.len() < usize::try_from(limit).unwrap_or(usize::MAX);
        for event in page {
            if self.known.contains(&event.id) {
                continue;
            }
            if self.passed.is_empty() && event.at <= horizon {
                self.filter.after = Some(event.id);
            } else {
                self.known.insert(event.id);
                self.passed.push_back((event.id, event.at));
            }
            if self.not_before.is_none_or(|start| event.at >= start) {
                self.ready.push_back(event);
            }
        }
        Ok(())
    }
}
