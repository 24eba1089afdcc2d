//! Events as they happen, for those who keep a connection open.
//!
//! A stream reads the outbox from where its reader left off, is woken by the hub, and looks by itself
//! once a second for what other daemons wrote. Events are in the order of the outbox.
//!
//! It ends when the daemon stops, when whoever let the reader in does so no more, and after an hour, so that nobody
//! reads on for ever by credentials that have run out since. The reader comes back with the last id it was told: at
//! the end that is told of events, too, that were none of its own or too old.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use futures_util::stream::{BoxStream, StreamExt as _};
use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

use crate::{
    clock::{SharedClock, earlier},
    domain::{CallerName, Event, EventId, SigningId},
    events::{Hub, hub::OutboxWatcher},
    lifecycle::Lifecycle,
    places::{Place, Places},
    store::{Error, EventFilter, SharedStore},
};

/// The most streams that are open at once.
const MAX_STREAMS: usize = 1_000;
/// How many of them may be of one caller, so that one alone does not take them from all others.
const MAX_STREAMS_OF_ONE: usize = MAX_STREAMS / 4 * 3;
/// Events read at once.
const PAGE: u32 = 200;
/// How much older than an event another one may be that is behind it: clocks differ, and commits take a
/// while. Whoever wants what happens from now on begins so far before, and passes over what is too old.
const LATE: SignedDuration = SignedDuration::from_mins(1);
/// The wait for what other daemons wrote.
const TICK: Duration = Duration::from_secs(1);

/// The longest life of a stream.
const MAX_LIFE: Duration = Duration::from_secs(3_600);

/// Where a stream starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// After this event (`Last-Event-ID`).
    After(EventId),
    /// With the oldest event that is still kept.
    Beginning,
    /// After the event of the signing that has this `sequence`, as far as they are still kept.
    Behind(u64),
    /// With what happens from now on.
    Now,
}

/// What a stream brings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// How far the reader has come with it: whoever comes back goes on after this event.
    pub id: EventId,
    /// The event; none at the end of a stream that has passed over others since the last one.
    pub event: Option<Event>,
}

/// Opens streams. Clones share the limit.
#[derive(Debug, Clone)]
pub struct Streams {
    store: SharedStore,
    hub: Hub,
    clock: SharedClock,
    life: Lifecycle,
    places: Places<CallerName>,
}

/// Too many streams are open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{MAX_STREAMS_OF_ONE} streams of this caller are open, or {MAX_STREAMS} of all")]
pub struct TooMany;

impl Streams {
    /// Streams out of a store.
    pub fn new(store: SharedStore, hub: Hub, clock: SharedClock, life: Lifecycle) -> Self {
        Self { store, hub, clock, life, places: Places::new(MAX_STREAMS, MAX_STREAMS_OF_ONE) }
    }

    /// The events of a caller, of one signing if one is given. The stream ends when `outdated` fires, and after an hour
    /// at the latest.
    ///
    /// An error of the store is passed on and does not end the stream; the next item comes when it heals.
    pub fn open(
        &self,
        caller: CallerName,
        signing: Option<SigningId>,
        start: Start,
        outdated: CancellationToken,
    ) -> Result<BoxStream<'static, Result<Item, Error>>, TooMany> {
        let place = self.places.take(&caller).ok_or(TooMany)?;
        let reader = self.reader(caller, signing, start, outdated, place);
        Ok(futures_util::stream::unfold(reader, |mut reader| async {
            let next = reader.next().await?;
            Some((next, reader))
        })
        .boxed())
    }

    fn reader(
        &self,
        caller: CallerName,
        signing: Option<SigningId>,
        start: Start,
        outdated: CancellationToken,
        place: Place<CallerName>,
    ) -> Reader {
        let (after, behind) = match start {
            Start::After(id) => (Some(id), None),
            Start::Behind(sequence) => (None, Some(sequence)),
            Start::Beginning | Start::Now => (None, None),
        };
        Reader {
            store: Arc::clone(&self.store),
            clock: Arc::clone(&self.clock),
            watcher: self.hub.outbox(),
            stopping: self.life.stopping(),
            outdated,
            ends_at: self.clock.uptime().saturating_add(MAX_LIFE),
            told: after,
            filter: EventFilter { caller, signing, after, limit: PAGE },
            behind,
            not_before: (start == Start::Now).then(|| self.clock.now()),
            ready: VecDeque::new(),
            is_placed: start != Start::Now,
            is_at_end: false,
            _place: place,
        }
    }
}

struct Reader {
    store: SharedStore,
    clock: SharedClock,
    watcher: OutboxWatcher,
    stopping: CancellationToken,
    outdated: CancellationToken,
    /// The uptime at which it has lived for long enough.
    ends_at: Duration,
    /// The last id that the reader was told, or came with.
    told: Option<EventId>,
    filter: EventFilter,
    /// What the reader knows of the signing.
    behind: Option<u64>,
    not_before: Option<Timestamp>,
    ready: VecDeque<Event>,
    /// Whether it is known where to read on.
    is_placed: bool,
    is_at_end: bool,
    _place: Place<CallerName>,
}

impl Reader {
    async fn next(&mut self) -> Option<Result<Item, Error>> {
        loop {
            if self.outdated.is_cancelled() || self.clock.uptime() >= self.ends_at {
                return self.last_word().map(Ok);
            }
            if let Some(event) = self.ready.pop_front() {
                self.told = Some(event.id);
                return Some(Ok(Item { id: event.id, event: Some(event) }));
            }
            if self.is_at_end {
                tokio::select! {
                    () = self.stopping.cancelled() => return self.last_word().map(Ok),
                    () = self.outdated.cancelled() => return self.last_word().map(Ok),
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

    /// How far the reader has come, if no event has said so: one that has seen none yet would miss what happens until
    /// it is back.
    fn last_word(&mut self) -> Option<Item> {
        // Before the first event of all: an id of nothing is before everything that is left.
        let begin = self.not_before.filter(|_| self.is_placed && self.told.is_none()).map(EventId::generate);
        let after = self.filter.after.or(begin);
        let id = after.filter(|id| self.ready.is_empty() && self.told != Some(*id))?;
        self.told = Some(id);
        Some(Item { id, event: None })
    }

    /// Reads one page. The store holds back what another transaction might still put something before,
    /// so the last id of a page is a place to go on from.
    async fn read(&mut self) -> Result<(), Error> {
        if let Some(start) = self.not_before.filter(|_| !self.is_placed) {
            let before = earlier(start, LATE);
            self.filter.after = self.store.event_before(self.filter.clone(), before).await?;
            self.is_placed = true;
        }
        let page = self.store.events(self.filter.clone()).await?;
        self.is_at_end = page.len() < PAGE as usize;
        if let Some(last) = page.last() {
            self.filter.after = Some(last.id);
        }
        let (start, behind) = (self.not_before, self.behind);
        let is_news = |event: &Event| {
            start.is_none_or(|start| event.at >= start) && behind.is_none_or(|known| event.sequence > known)
        };
        self.ready.extend(page.into_iter().filter(is_news));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;
    use crate::{
        clock::{Clock as _, ManualClock},
        domain::SigningId,
        events::testing::{caller, event, now, store},
    };

    struct Fixture {
        store: SharedStore,
        hub: Hub,
        clock: ManualClock,
        life: Lifecycle,
        streams: Streams,
    }

    async fn fixture() -> Fixture {
        let (store, hub, clock, life) =
            (store().await, Hub::new(), ManualClock::new(now()), Lifecycle::new());
        let streams = Streams::new(store.clone(), hub.clone(), Arc::new(clock.clone()), life.clone());
        Fixture { store, hub, clock, life, streams }
    }

    impl Fixture {
        async fn publish(&self, count: u64, signing: SigningId) -> Vec<EventId> {
            let at = self.clock.now();
            let events: Vec<_> = (1..=count).map(|sequence| event(signing, sequence, at)).collect();
            let ids = events.iter().map(|event| event.id).collect();
            self.store.add_events(events).await.unwrap();
            ids
        }

        fn open(&self, start: Start) -> BoxStream<'static, Result<Item, Error>> {
            self.open_for(caller(), None, start, &CancellationToken::new()).unwrap()
        }

        fn open_for(
            &self,
            caller: CallerName,
            signing: Option<SigningId>,
            start: Start,
            outdated: &CancellationToken,
        ) -> Result<BoxStream<'static, Result<Item, Error>>, TooMany> {
            self.streams.open(caller, signing, start, outdated.clone())
        }
    }

    async fn take(stream: &mut BoxStream<'static, Result<Item, Error>>, count: usize) -> Vec<EventId> {
        let id = |item: Result<Item, Error>| item.unwrap().event.expect("an event").id;
        let taken = stream.by_ref().take(count).map(id).collect();
        tokio::time::timeout(Duration::from_secs(10), taken).await.expect("the events come")
    }

    #[tokio::test]
    async fn a_stream_catches_up_goes_on_live_and_resumes_where_it_broke_off() {
        let fixture = fixture().await;
        let signing = SigningId::generate(now());
        let old = fixture.publish(450, signing).await;
        let mut stream = fixture.open(Start::Beginning);
        assert_eq!(take(&mut stream, 450).await, old, "several pages, in order");
        assert!(stream.next().now_or_never().is_none());
        let new = fixture.publish(2, signing).await;
        fixture.hub.published();
        assert_eq!(take(&mut stream, 2).await, new);
        let mut resumed = fixture.open(Start::After(old[449]));
        assert_eq!(take(&mut resumed, 2).await, new);
    }

    #[tokio::test]
    async fn events_of_other_daemons_come_without_a_wake_up() {
        let fixture = fixture().await;
        let mut stream = fixture.open(Start::Beginning);
        assert!(stream.next().now_or_never().is_none());
        let waiting = tokio::spawn(async move { take(&mut stream, 1).await });
        let ids = fixture.publish(1, SigningId::generate(now())).await;
        while !waiting.is_finished() {
            fixture.clock.advance(TICK);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(waiting.await.unwrap(), ids);
    }

    #[tokio::test]
    async fn a_stream_from_now_skips_the_past_and_one_of_a_signing_all_others() {
        let fixture = fixture().await;
        let (one, other) = (SigningId::generate(now()), SigningId::generate(now()));
        fixture.publish(300, other).await;
        fixture.clock.advance(Duration::from_secs(1));
        let mut from_now = fixture.open(Start::Now);
        let never = CancellationToken::new();
        let mut of_one = fixture.open_for(caller(), Some(one), Start::Beginning, &never).unwrap();
        let mut of_nobody =
            fixture.open_for(CallerName::new("shop"), None, Start::Beginning, &never).unwrap();
        let ids = fixture.publish(1, one).await;
        assert_eq!(take(&mut from_now, 1).await, ids);
        assert_eq!(take(&mut of_one, 1).await, ids);
        fixture.life.stop();
        assert!(of_nobody.next().await.is_none(), "another caller's, and the stop ends it");
    }

    #[tokio::test]
    async fn a_stream_of_a_signing_begins_behind_what_its_reader_knows() {
        let (fixture, never) = (fixture().await, CancellationToken::new());
        let signing = SigningId::generate(now());
        let old = fixture.publish(250, signing).await;
        let open = |known| fixture.open_for(caller(), Some(signing), Start::Behind(known), &never).unwrap();
        let (mut some, mut all) = (open(248), open(250));
        assert_eq!(take(&mut some, 2).await, old[248..]);
        assert!(all.next().now_or_never().is_none());
        let late = event(signing, 251, fixture.clock.now());
        let new = [late.id];
        fixture.store.add_events(vec![late]).await.unwrap();
        fixture.hub.published();
        assert_eq!((take(&mut some, 1).await, take(&mut all, 1).await), (new.to_vec(), new.to_vec()));
    }

    #[tokio::test]
    async fn a_stream_from_now_does_not_read_the_past() {
        let fixture = fixture().await;
        let signing = SigningId::generate(now());
        fixture.publish(1_000, signing).await;
        fixture.clock.advance(Duration::from_secs(3_600));
        // Of a clock that is a little behind: in order, but no news.
        let mut late = event(signing, 1_001, fixture.clock.now());
        late.at -= SignedDuration::from_secs(20);
        fixture.store.add_events(vec![late]).await.unwrap();
        let place = fixture.streams.places.take(&caller()).unwrap();
        let never = CancellationToken::new();
        let mut reader = fixture.streams.reader(caller(), None, Start::Now, never, place);
        let new = fixture.publish(1, signing).await;
        reader.read().await.unwrap();
        assert!(reader.is_at_end, "one page, though there are six of the past");
        assert_eq!(reader.ready.iter().map(|event| event.id).collect::<Vec<_>>(), new);
    }

    async fn next(stream: &mut BoxStream<'static, Result<Item, Error>>) -> Option<Item> {
        let next = tokio::time::timeout(Duration::from_secs(10), stream.next()).await;
        next.expect("it goes on or ends").map(Result::unwrap)
    }

    #[tokio::test]
    async fn a_stream_ends_at_once_when_whoever_let_its_reader_in_does_so_no_more() {
        let fixture = fixture().await;
        let ids = fixture.publish(2, SigningId::generate(now())).await;
        let outdated = CancellationToken::new();
        let open = || fixture.open_for(caller(), None, Start::Beginning, &outdated).unwrap();
        let (mut in_the_midst, mut at_the_end) = (open(), open());
        assert_eq!(take(&mut in_the_midst, 1).await, ids[..1]);
        assert_eq!(take(&mut at_the_end, 2).await, ids);
        let waiting = tokio::spawn(async move { next(&mut at_the_end).await });
        tokio::task::yield_now().await;
        outdated.cancel();
        assert_eq!(next(&mut in_the_midst).await, None, "not one more");
        assert_eq!(waiting.await.unwrap(), None);
        assert_eq!(next(&mut open()).await, None, "nor is one opened");
    }

    #[tokio::test]
    async fn a_stream_ends_after_an_hour_and_says_how_far_it_has_come_where_no_event_did() {
        let fixture = fixture().await;
        let signing = SigningId::generate(now());
        let ids = fixture.publish(2, signing).await;
        let mut told = fixture.open(Start::Beginning);
        assert_eq!(take(&mut told, 2).await, ids);
        // Both are of before it began, and as young as what a clock that is behind may bring yet.
        fixture.clock.advance(Duration::from_secs(1));
        let mut quiet = fixture.open(Start::Now);
        assert!(quiet.next().now_or_never().is_none());
        fixture.clock.advance(MAX_LIFE);
        assert_eq!(next(&mut told).await, None);
        assert_eq!(next(&mut quiet).await, Some(Item { id: ids[1], event: None }));
        assert_eq!(next(&mut quiet).await, None);
        let missed = fixture.publish(1, signing).await;
        let mut resumed = fixture.open(Start::After(ids[1]));
        assert_eq!(take(&mut resumed, 1).await, missed);
    }

    #[tokio::test]
    async fn a_stream_that_ends_before_the_first_event_of_all_says_where_to_go_on_too() {
        let fixture = fixture().await;
        let mut quiet = fixture.open(Start::Now);
        assert!(quiet.next().now_or_never().is_none());
        fixture.clock.advance(MAX_LIFE);
        let Some(Item { id, event: None }) = next(&mut quiet).await else { panic!("it says nothing") };
        assert_eq!(next(&mut quiet).await, None);
        let missed = fixture.publish(2, SigningId::generate(now())).await;
        let mut resumed = fixture.open(Start::After(id));
        assert_eq!(take(&mut resumed, 2).await, missed);
    }

    #[tokio::test]
    async fn s5_there_are_so_many_places_no_caller_has_all_and_a_closed_stream_gives_its_own_back() {
        let (fixture, never) = (fixture().await, CancellationToken::new());
        let shop = CallerName::new("shop");
        let open = |who: &CallerName| fixture.open_for(who.clone(), None, Start::Now, &never);
        let mut all: Vec<_> = (0..MAX_STREAMS_OF_ONE).map(|_| open(&caller()).unwrap()).collect();
        assert_eq!(open(&caller()).err(), Some(TooMany));
        all.extend((MAX_STREAMS_OF_ONE..MAX_STREAMS).map(|_| open(&shop).unwrap()));
        assert_eq!(open(&shop).err(), Some(TooMany));
        all.pop();
        drop(open(&shop).unwrap());
    }
}
