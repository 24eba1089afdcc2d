//! Retention: what has been kept long enough is destroyed, and nothing else; the file levels off.

use std::time::Duration;

use bytes::Bytes;
use countersign::{
    domain::{Event, EventId, EventKind, Private, SigningStatus},
    store::{
        Begun, Change, Counter, Delivery, DeliveryState, Destroyed, Endpoint, Error, KeptAnswer, Location,
        Payload, Retention, SharedStore,
    },
};
use jiff::Timestamp;

use crate::store::{Fixture, after, events, on_both, samples, signings::begin};

/// Destroys nothing.
pub(crate) const KEEP_ALL: Retention = Retention {
    keys_before: Timestamp::UNIX_EPOCH,
    checks_before: Timestamp::UNIX_EPOCH,
    windows_before: Timestamp::UNIX_EPOCH,
    dropped_before: Timestamp::UNIX_EPOCH,
    personal_before: Timestamp::UNIX_EPOCH,
    events_before: Timestamp::UNIX_EPOCH,
    signings_before: Timestamp::UNIX_EPOCH,
};

on_both!(
    keys_lapse,
    keys_of_creates_that_have_not_ended_stay,
    s2_personal_data_is_destroyed_and_stays_so,
    a_signing_ends_after_it_began_and_not_in_the_future,
    events_and_signings_go,
    what_is_still_to_be_told_or_taken_in_stays,
    what_waits_for_an_endpoint_that_is_off_goes,
    a_webhook_that_the_settings_dropped_goes_with_what_is_pending,
    events_that_are_dated_ahead_stand_before_none,
    a_signing_stays_as_long_as_its_key_or_its_work,
    windows_that_are_over_go_and_looking_at_one_makes_none,
    more_than_a_batch_goes
);

async fn keys_lapse(fixture: Fixture) {
    let store = fixture.open().await;
    let (old, mut young) = (samples::intent(1), samples::intent(2));
    young.signing.created_at = after(100);
    let (old_id, young_id) = (old.signing.id, young.signing.id);
    let mut signing = old.signing.clone();
    signing.status = SigningStatus::Open;
    let version = begin(&store, old).await;
    begin(&store, young).await;
    let mut change = samples::change(&signing, version);
    change.answer = Some(KeptAnswer { body: Private::new(Bytes::from_static(b"x")) });
    store.save(change).await.unwrap();

    let destroyed = store.destroy(Retention { keys_before: after(100), ..KEEP_ALL }).await.unwrap();
    assert_eq!(destroyed, Destroyed { keys: 1, ..Destroyed::default() });
    let record = store.signing(old_id).await.unwrap().unwrap();
    assert_eq!((record.key, record.answer, record.signing), (None, None, signing));
    assert!(store.signing(young_id).await.unwrap().unwrap().key.is_some());
    begin(&store, samples::intent(1)).await;
    assert!(matches!(store.begin(&samples::intent(2)).await.unwrap(), Begun::Known(_)));
}

/// Its date may be by a clock that was behind: until it is known what came of it, nobody may begin anew.
async fn keys_of_creates_that_have_not_ended_stay(fixture: Fixture) {
    let store = fixture.open().await;
    let (creating, doubtful) = (samples::intent(1), samples::intent(2));
    let mut uncertain = doubtful.signing.clone();
    uncertain.status = SigningStatus::Uncertain;
    begin(&store, creating).await;
    let version = begin(&store, doubtful).await;
    let version = store.save(samples::change(&uncertain, version)).await.unwrap();
    let lapsed = Retention { keys_before: after(1_000_000), ..KEEP_ALL };
    assert_eq!(store.destroy(lapsed).await.unwrap().keys, 0);
    for key in [1, 2] {
        assert!(matches!(store.begin(&samples::intent(key)).await.unwrap(), Begun::Known(_)), "{key}");
    }
    uncertain.status = SigningStatus::Failed;
    store.save(samples::change(&uncertain, version)).await.unwrap();
    assert_eq!(store.destroy(lapsed).await.unwrap().keys, 1);
}

async fn s2_personal_data_is_destroyed_and_stays_so(fixture: Fixture) {
    let store = fixture.open().await;
    let intent = samples::intent(1);
    let ended = samples::full(intent.signing.clone());
    let version = begin(&store, intent).await;
    let version = store.save(samples::change(&ended, version)).await.unwrap();
    store.receive(samples::inbound(1, ended.envelope.as_ref())).await.unwrap();
    store.taken_in(samples::digest(1), after(1)).await.unwrap();
    let open = samples::intent(2);
    let open_signing = open.signing.clone();
    begin(&store, open).await;

    let retention = Retention { personal_before: after(60), ..KEEP_ALL };
    assert_eq!(store.destroy(Retention { personal_before: after(0), ..KEEP_ALL }).await.unwrap().personal, 0);
    assert_eq!(store.destroy(retention).await.unwrap().personal, 1);
    assert_eq!(store.destroy(retention).await.unwrap().personal, 0);
    let record = store.signing(ended.id).await.unwrap().unwrap();
    let signer = &record.signing.signers[0];
    assert_eq!((signer.name.reveal().as_str(), signer.email.reveal()), ("", ""));
    assert_eq!((&signer.return_url, &signer.authenticated_by), (&None, &None));
    assert!(record.signing.metadata.reveal().is_empty());
    assert_eq!(record.signing.failure.as_ref().unwrap().detail, "");
    // What is not personal stays: the proof that it was signed, and when.
    assert_eq!(record.signing.status, SigningStatus::Completed);
    assert_eq!(record.signing.completed_at, ended.completed_at);
    assert_eq!((&signer.key, signer.status), (&ended.signers[0].key, ended.signers[0].status));
    assert!(store.payload(ended.id).await.unwrap().is_none());
    assert!(store.inbound_of(ended.envelope.as_ref().unwrap(), None).await.unwrap().messages.is_empty());
    // Whoever had read it before cannot bring it back.
    assert!(matches!(store.save(samples::change(&ended, version)).await, Err(Error::Conflict)));
    store.save(samples::change(&ended, record.version)).await.unwrap();
    let again = store.signing(ended.id).await.unwrap().unwrap();
    assert_eq!(again.signing.signers[0].name.reveal(), "");
    // And who is not done keeps everything.
    assert_eq!(store.signing(open_signing.id).await.unwrap().unwrap().signing, open_signing);
}

/// What begins is dated by the upstream, what ends by this machine, whose clock may be behind, or have been ahead when
/// the upstream had not told the time yet.
async fn a_signing_ends_after_it_began_and_not_in_the_future(fixture: Fixture) {
    let store = fixture.open().await;
    for (number, began) in [(1, 1_000), (2, 1_000_000)] {
        let mut intent = samples::intent(number);
        intent.signing.created_at = after(began);
        let ended = samples::full(intent.signing.clone());
        let version = begin(&store, intent).await;
        store.save(samples::change(&ended, version)).await.unwrap();
    }
    let destroyed = async |before: i64| {
        let retention = Retention { personal_before: after(before), ..KEEP_ALL };
        store.destroy(retention).await.unwrap().personal
    };
    assert_eq!(destroyed(1_000).await, 0);
    assert_eq!(destroyed(1_001).await, 1);
    assert_eq!(store.mend_dates(after(2_000)).await.unwrap(), 1);
    assert_eq!(store.mend_dates(after(2_000)).await.unwrap(), 0);
    assert_eq!(destroyed(2_000).await, 0);
    assert_eq!(destroyed(2_001).await, 1);
}

async fn events_and_signings_go(fixture: Fixture) {
    let store = fixture.open().await;
    store.put_endpoint(samples::endpoint("hook")).await.unwrap();
    let intent = samples::intent(1);
    let ended = samples::full(intent.signing.clone());
    let version = begin(&store, intent).await;
    let link = samples::link(&ended, 1);
    let event = samples::event(Some(&ended), EventKind::SigningCompleted, 1);
    let mut change = samples::change(&ended, version);
    change.events = std::slice::from_ref(&event);
    change.links.push(link.clone());
    store.save(change).await.unwrap();
    assert_eq!(store.fan_out(after(10), 10).await.unwrap(), 1);
    deliver_all(&store).await;
    store.receive(samples::inbound(1, None)).await.unwrap();
    store.taken_in(samples::digest(1), after(10)).await.unwrap();

    let all = samples::events(10);
    let before = Retention { events_before: after(5), ..KEEP_ALL };
    assert_eq!(store.destroy(before).await.unwrap(), Destroyed::default());
    let later = Retention { events_before: after(11), ..KEEP_ALL };
    assert_eq!(store.destroy(later).await.unwrap().events, 3);
    assert!(store.events(all.clone()).await.unwrap().is_empty());
    assert!(store.deliveries(&samples::caller(), None, 10).await.unwrap().is_empty());
    assert!(store.inbox(10).await.unwrap().is_empty());

    fixture.clock.advance(Duration::from_secs(1));
    let gone = Retention { keys_before: after(1), signings_before: after(1), ..KEEP_ALL };
    assert_eq!(store.destroy(gone).await.unwrap().signings, 1);
    assert!(store.signing(ended.id).await.unwrap().is_none());
    assert!(store.link(link.id).await.unwrap().is_none());

    // An outbox that was emptied goes on: the next event still finds its way.
    let next = samples::event(None, EventKind::BudgetLow, 0);
    store.add_events(vec![next.clone()]).await.unwrap();
    assert_eq!(store.fan_out(after(20), 10).await.unwrap(), 1);
    assert_eq!(events(&store, all, 1).await, [next]);
}

/// Delivers what is due.
async fn deliver_all(store: &SharedStore) {
    for due in store.claim_deliveries(after(10), after(60), 10, 10).await.unwrap() {
        let delivered = Delivery { state: DeliveryState::Delivered, attempts: 1, ..due.delivery };
        store.delivery_attempted(delivered).await.unwrap();
    }
}

async fn what_is_still_to_be_told_or_taken_in_stays(fixture: Fixture) {
    let store = fixture.open().await;
    store.put_endpoint(samples::endpoint("hook")).await.unwrap();
    let event = samples::event(None, EventKind::BudgetLow, 0);
    store.add_events(vec![event.clone()]).await.unwrap();
    store.receive(samples::inbound(1, None)).await.unwrap();
    let old = Retention { events_before: after(1_000_000), ..KEEP_ALL };
    assert_eq!(store.destroy(old).await.unwrap(), Destroyed::default(), "nobody was told of it yet");
    assert_eq!(store.fan_out(after(10), 10).await.unwrap(), 1);
    assert_eq!(store.destroy(old).await.unwrap(), Destroyed::default(), "its delivery is pending");
    let due = store.claim_deliveries(after(10), after(60), 10, 10).await.unwrap();
    assert_eq!((due.len(), &due[0].event), (1, &event));
    store.delivery_attempted(due[0].delivery.clone()).await.unwrap();
    assert_eq!(store.inbox(10).await.unwrap().len(), 1);

    deliver_all(&store).await;
    assert_eq!(store.destroy(old).await.unwrap().events, 2);
    store.taken_in(samples::digest(1), after(20)).await.unwrap();
    assert_eq!(store.destroy(old).await.unwrap().events, 1);
}

async fn what_waits_for_an_endpoint_that_is_off_goes(fixture: Fixture) {
    let store = fixture.open().await;
    let hook = samples::endpoint("hook");
    store.put_endpoint(hook.clone()).await.unwrap();
    store.add_events(vec![samples::event(None, EventKind::BudgetLow, 0)]).await.unwrap();
    assert_eq!(store.fan_out(after(10), 10).await.unwrap(), 1);
    store.switch_endpoint(hook.id, Some(after(11))).await.unwrap();
    let old = Retention { events_before: after(1_000), ..KEEP_ALL };
    assert_eq!(store.destroy(old).await.unwrap().events, 2);
    assert!(store.deliveries(&samples::caller(), None, 10).await.unwrap().is_empty());
}

async fn a_webhook_that_the_settings_dropped_goes_with_what_is_pending(fixture: Fixture) {
    let store = fixture.open().await;
    let hook = |name| Endpoint { from_settings: true, ..samples::endpoint(name) };
    store.replace_webhooks(vec![hook("hook"), hook("stays")], after(1)).await.unwrap();
    store.add_events(vec![samples::event(None, EventKind::BudgetLow, 0)]).await.unwrap();
    assert_eq!(store.fan_out(after(10), 10).await.unwrap(), 1);
    store.replace_webhooks(vec![hook("stays")], after(11)).await.unwrap();
    let kept = Retention { dropped_before: after(11), ..KEEP_ALL };
    assert_eq!(store.destroy(kept).await.unwrap(), Destroyed::default());
    let lapsed = Retention { dropped_before: after(12), ..KEEP_ALL };
    assert_eq!(store.destroy(lapsed).await.unwrap().events, 1);
    assert_eq!(store.endpoints(None).await.unwrap(), [hook("stays")]);
    let left = store.deliveries(&samples::caller(), None, 10).await.unwrap();
    assert_eq!(left.iter().map(|delivery| delivery.endpoint).collect::<Vec<_>>(), [hook("stays").id]);
}

async fn events_that_are_dated_ahead_stand_before_none(fixture: Fixture) {
    let store = fixture.open().await;
    let dated = |at: i64| {
        move |number| {
            let event = samples::event(None, EventKind::BudgetLow, number);
            Event { id: EventId::generate(after(at)), at: after(at), ..event }
        }
    };
    store.add_events((0..600).map(dated(1_000_000)).collect()).await.unwrap();
    store.add_events((0..3).map(dated(5)).collect()).await.unwrap();
    let old = Retention { events_before: after(100), ..KEEP_ALL };
    assert_eq!(store.destroy(old).await.unwrap().events, 3);
    // Where the last ones went, the next one still finds its way.
    store.put_endpoint(samples::endpoint("hook")).await.unwrap();
    store.add_events(vec![samples::event(None, EventKind::SignerReady, 7)]).await.unwrap();
    while store.fan_out(after(10), 500).await.unwrap() > 0 {}
    let due = store.claim_deliveries(after(10), after(60), 1_000, 1_000).await.unwrap();
    assert!(due.iter().any(|due| due.event.kind == EventKind::SignerReady));
}

async fn a_signing_stays_as_long_as_its_key_or_its_work(fixture: Fixture) {
    let store = fixture.open().await;
    let [open, done, busy] = [1, 2, 3].map(samples::intent);
    let ended = [samples::full(done.signing.clone()), samples::full(busy.signing.clone())];
    let open_id = open.signing.id;
    begin(&store, open).await;
    for (intent, signing, work) in [(done, &ended[0], None), (busy, &ended[1], Some(samples::DUE))] {
        let version = begin(&store, intent).await;
        store.save(Change { work, ..samples::change(signing, version) }).await.unwrap();
    }
    fixture.clock.advance(Duration::from_secs(10));
    let late = Retention { signings_before: after(10), ..KEEP_ALL };
    assert_eq!(store.destroy(late).await.unwrap(), Destroyed::default());
    assert!(matches!(store.begin(&samples::intent(2)).await.unwrap(), Begun::Known(_)), "the key is known");

    let lapsed = Retention { keys_before: after(10), ..late };
    assert_eq!(
        store.destroy(lapsed).await.unwrap(),
        Destroyed { keys: 2, signings: 1, ..Destroyed::default() },
        "the third is being created"
    );
    assert!(store.signing(ended[0].id).await.unwrap().is_none());
    assert!(store.payload(ended[0].id).await.unwrap().is_none());
    assert_eq!(store.signing(open_id).await.unwrap().unwrap().signing.status, SigningStatus::Creating);

    // What was to be done is done: now nothing keeps it.
    let record = store.signing(ended[1].id).await.unwrap().unwrap();
    store.save(samples::change(&ended[1], record.version)).await.unwrap();
    assert_eq!(store.destroy(lapsed).await.unwrap().signings, 1);
    assert!(store.signing(open_id).await.unwrap().is_some());
}

async fn windows_that_are_over_go_and_looking_at_one_makes_none(fixture: Fixture) {
    let store = fixture.open().await;
    let key = Counter::Key([7; 32]);
    let windows = || match &fixture.location {
        Location::Postgres { .. } => {
            fixture.sql("SELECT count(*) FROM budgets").trim().parse::<i64>().unwrap()
        }
        Location::Sqlite { .. } => {
            let db = rusqlite::Connection::open(fixture.path()).unwrap();
            db.query_row("SELECT count(*) FROM budgets", [], |row| row.get(0)).unwrap()
        }
    };
    assert_eq!(store.spend(&key, after(0), 0).await.unwrap(), 0);
    assert_eq!(windows(), 0);
    assert_eq!(store.spend(&key, after(0), 1).await.unwrap(), 1);
    assert_eq!(store.spend(&key, after(0), 0).await.unwrap(), 1);
    store.destroy(Retention { windows_before: after(0), ..KEEP_ALL }).await.unwrap();
    assert_eq!(windows(), 1);
    store.destroy(Retention { windows_before: after(1), ..KEEP_ALL }).await.unwrap();
    assert_eq!(windows(), 0);
}

async fn more_than_a_batch_goes(fixture: Fixture) {
    let store = fixture.open().await;
    let batch = (0..1_203).map(|n| samples::event(None, EventKind::BudgetLow, n)).collect();
    store.add_events(batch).await.unwrap();
    let retention = Retention { events_before: after(1_000), ..KEEP_ALL };
    assert_eq!(store.destroy(retention).await.unwrap().events, 1_203);

    let ended = (0..501).map(|number| {
        let store = &store;
        async move {
            let intent = samples::intent(number);
            let signing = samples::full(intent.signing.clone());
            let version = begin(store, intent).await;
            store.save(samples::change(&signing, version)).await.unwrap();
        }
    });
    futures_util::future::join_all(ended).await;
    let retention = Retention { keys_before: after(1), signings_before: after(1), ..KEEP_ALL };
    assert_eq!(store.destroy(retention).await.unwrap().signings, 501);
}

/// Sealed or not: what was destroyed is not in the file any more.
#[tokio::test]
async fn what_is_destroyed_leaves_the_file() {
    let fixture = Fixture::sqlite();
    let store = fixture.open().await;
    let mut intent = samples::intent(1);
    intent.payload = Some(Private::new(Bytes::from(vec![b'd'; 60_000])));
    let signing = intent.signing.clone();
    let version = begin(&store, intent).await;
    let sealed: Vec<u8> = {
        let db = rusqlite::Connection::open(fixture.path()).unwrap();
        db.query_row("SELECT body FROM payloads", [], |row| row.get(0)).unwrap()
    };
    let holds = |piece: &[u8]| fixture.dump().windows(piece.len()).any(|bytes| bytes == piece);
    assert!(holds(&sealed[20_000..20_064]), "it is looked for in the right way");
    let change = Change { payload: Payload::Drop, ..samples::change(&signing, version) };
    store.save(change).await.unwrap();
    store.close().await.unwrap();
    for at in (1_000..60_000).step_by(1_000) {
        assert!(!holds(&sealed[at..at + 64]), "at {at}");
    }
}

/// Whether any piece of a sealed value lies in any file.
fn lies_there(fixture: &Fixture, sealed: &[u8]) -> bool {
    let dump = fixture.dump();
    let mut pieces = (16..sealed.len() - 32).step_by(64).map(|at| &sealed[at..at + 32]);
    pieces.any(|piece| dump.windows(piece.len()).any(|bytes| bytes == piece))
}

/// Writes a signing that has ended, and answers the personal half of its row as it lies there: in the log and, as after a
/// day, in the file, too.
async fn ended_and_sealed(fixture: &Fixture, store: &SharedStore, number: u64) -> Vec<u8> {
    let intent = samples::intent(number);
    let ended = samples::full(intent.signing.clone());
    let version = begin(store, intent).await;
    store.save(samples::change(&ended, version)).await.unwrap();
    let db = rusqlite::Connection::open(fixture.path()).unwrap();
    db.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())).unwrap();
    let envelope = ended.envelope.as_ref().unwrap().as_str();
    db.query_row("SELECT sealed FROM signings WHERE envelope = ?1", [envelope], |row| row.get(0)).unwrap()
}

/// Nothing more is written, and nobody closes it; whether there is little in the log or much.
#[tokio::test]
async fn what_is_destroyed_has_left_the_file_and_its_log_when_that_is_said() {
    for beside in [1, 2_000_000] {
        let fixture = Fixture::sqlite();
        let store = fixture.open().await;
        let sealed = ended_and_sealed(&fixture, &store, 1).await;
        let mut open = samples::intent(2);
        open.payload = Some(Private::new(Bytes::from(vec![b'd'; beside])));
        begin(&store, open).await;
        assert!(lies_there(&fixture, &sealed), "it is looked for in the right way");
        let retention = Retention { personal_before: after(60), ..KEEP_ALL };
        assert_eq!(store.destroy(retention).await.unwrap().personal, 1);
        assert!(!lies_there(&fixture, &sealed), "beside {beside} bytes");
    }
}

#[tokio::test]
async fn what_somebody_still_reads_is_not_said_to_be_destroyed() {
    let fixture = Fixture::sqlite();
    let store = fixture.open().await;
    let sealed = ended_and_sealed(&fixture, &store, 1).await;
    // So that there is something in the log that the reader needs.
    store.check().await.unwrap();
    let reader = rusqlite::Connection::open(fixture.path()).unwrap();
    reader.execute_batch("BEGIN; SELECT count(*) FROM signings;").unwrap();
    let retention = Retention { personal_before: after(60), ..KEEP_ALL };
    let refused = store.destroy(retention).await;
    let is_said = matches!(&refused, Err(Error::Unavailable(why)) if why.contains("another program"));
    assert!(is_said, "{refused:?}");
    store.check().await.unwrap();
    reader.execute_batch("COMMIT").unwrap();
    assert_eq!(store.destroy(retention).await.unwrap().personal, 0);
    assert!(!lies_there(&fixture, &sealed));
}
