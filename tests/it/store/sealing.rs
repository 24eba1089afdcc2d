//! Sealing: nothing planted lies in the database, a lost key is found at start, a key can be changed.

use std::time::Duration;

use bytes::Bytes;
use countersign::{
    domain::{AccountId, EventKind, Private, SenderName},
    store::{Daemons, Error, KeptAnswer, Location, SealKeys, Sealed, SenderRecord, SharedStore, Version},
};

use crate::store::{Fixture, after, events, key, on_both, samples, signings::begin};

on_both!(
    s2_nothing_personal_lies_in_the_database,
    a_lost_key_is_found_at_start,
    a_key_is_changed_and_the_old_one_dropped,
    a_key_stays_while_another_daemon_seals_with_it,
    nothing_is_said_of_a_key_that_never_sealed_anything,
    values_that_are_sealed_anew_one_at_a_time_are_all_reached,
    a_sealed_value_cannot_be_moved_to_another_row,
    a_damaged_row_that_was_in_hand_keeps_no_store_from_opening,
    sender_records_are_replaced_by_version,
);

const HOUR: Duration = Duration::from_secs(3_600);

pub(super) fn sender(version: u64) -> SenderRecord {
    SenderRecord {
        sender: SenderName::new("admin"),
        user_id: "2f1f4f0c-0000-4000-8000-000000000001".into(),
        account: AccountId::new("acc"),
        sealed: Some(Private::new("planted-refresh-token".into())),
        connected_at: after(3),
        version: Version(version),
    }
}

/// Writes something into every sealed column.
async fn write_everything(store: &SharedStore) -> countersign::domain::Signing {
    let mut intent = samples::intent(1);
    let signing = samples::full(intent.signing.clone());
    intent.links.push(samples::link(&signing, 4));
    let version = begin(store, intent).await;
    let event = samples::event(Some(&signing), EventKind::SigningOpened, 1);
    let mut change = samples::change(&signing, version);
    let body = Bytes::from_static(b"{\"view\":\"https://planted-view\"}");
    change.answer = Some(KeptAnswer { body: Private::new(body) });
    change.events = std::slice::from_ref(&event);
    store.save(change).await.unwrap();
    store.receive(samples::inbound(1, signing.envelope.as_ref())).await.unwrap();
    store.put_endpoint(samples::endpoint("hook")).await.unwrap();
    store.put_sender_record(sender(0)).await.unwrap();
    signing
}

/// Reads it all back.
async fn read_everything(store: &SharedStore, signing: &countersign::domain::Signing) {
    let record = store.signing(signing.id).await.unwrap().unwrap();
    assert_eq!(&record.signing, signing);
    assert!(record.answer.unwrap().body.reveal().ends_with(b"planted-view\"}"));
    assert!(store.payload(signing.id).await.unwrap().unwrap().reveal().starts_with(b"planted-payload"));
    let inbound = &store.inbox(1).await.unwrap()[0];
    assert_eq!(inbound.body, samples::inbound(1, None).body);
    assert_eq!(store.endpoints(None).await.unwrap(), [samples::endpoint("hook")]);
    let kept = store.sender_records().await.unwrap().pop().unwrap();
    assert_eq!(kept.sealed, sender(0).sealed);
    let told = events(store, samples::events(10), 1).await;
    assert!(told[0].data.contains("planted-note"));
}

/// Looks until the store is sure of what it says: at once, or where several daemons write with a second look an hour later.
async fn seal_anew(fixture: &Fixture, store: &SharedStore) -> Sealed {
    let sealed = store.reseal().await.unwrap();
    if store.daemons() == Daemons::One {
        return sealed;
    }
    assert!(sealed.unused.is_empty(), "another daemon may still seal with it");
    fixture.clock.advance(HOUR);
    store.reseal().await.unwrap()
}

fn contains(haystack: &[u8], needle: &str) -> bool {
    haystack.windows(needle.len()).any(|window| window.eq_ignore_ascii_case(needle.as_bytes()))
}

async fn s2_nothing_personal_lies_in_the_database(fixture: Fixture) {
    let store = fixture.open().await;
    write_everything(&store).await;
    let dump = fixture.dump();
    // The control: what is clear can be seen.
    for clear in ["order-8812", "opaque-7", "recipient-completed", "signing.opened"] {
        assert!(contains(&dump, clear), "{clear} should lie there");
    }
    for personal in ["planted", "lovelace", "4915112345678", "example.com/"] {
        assert!(!contains(&dump, personal), "{personal} lies there");
    }
}

async fn a_lost_key_is_found_at_start(fixture: Fixture) {
    let signing = write_everything(&fixture.open().await).await;
    let Err(Error::Unusable(line)) = fixture.try_open(key(2)).await else { panic!("opened without its key") };
    assert!(line.contains(&key(1).current().to_string()) && line.contains("store.seal_key"), "{line}");
    assert_eq!(line.lines().count(), 1);
    // Nothing was touched.
    read_everything(&fixture.open().await, &signing).await;
}

async fn a_key_is_changed_and_the_old_one_dropped(fixture: Fixture) {
    let signing = write_everything(&fixture.open().await).await;
    let both = SealKeys::new(&[2; 32], &[[1; 32]]);
    {
        let store = fixture.try_open(both.clone()).await.unwrap();
        read_everything(&store, &signing).await;
    }
    // The old one must not go before its data has been sealed anew.
    assert!(matches!(fixture.try_open(key(2)).await, Err(Error::Unusable(_))));
    {
        let store = fixture.try_open(both).await.unwrap();
        let sealed = seal_anew(&fixture, &store).await;
        assert_eq!((sealed.current, sealed.unused), (key(2).current(), vec![key(1).current()]));
        assert_eq!(store.reseal().await.unwrap().unused, [key(1).current()], "it stays so");
    }
    let store = fixture.try_open(key(2)).await.unwrap();
    read_everything(&store, &signing).await;
}

/// On Postgres a daemon that is not restarted yet still seals with the old key. A file has one daemon.
async fn a_key_stays_while_another_daemon_seals_with_it(fixture: Fixture) {
    if matches!(fixture.location, Location::Sqlite { .. }) {
        return;
    }
    let signing = write_everything(&fixture.open().await).await;
    let late = fixture.try_open(SealKeys::new(&[1; 32], &[[2; 32]])).await.unwrap();
    let store = fixture.try_open(SealKeys::new(&[2; 32], &[[1; 32]])).await.unwrap();
    assert!(store.reseal().await.unwrap().unused.is_empty(), "all is sealed anew, but not for long");
    assert!(matches!(fixture.try_open(key(2)).await, Err(Error::Unusable(_))), "its probe stays");
    let written = samples::intent(2);
    let second = written.signing.clone();
    begin(&late, written).await;
    drop(late);
    fixture.clock.advance(HOUR);
    assert!(store.reseal().await.unwrap().unused.is_empty(), "it was used since the first look");
    assert!(matches!(fixture.try_open(key(2)).await, Err(Error::Unusable(_))), "its probe stays");
    fixture.clock.advance(HOUR / 2);
    assert!(store.reseal().await.unwrap().unused.is_empty(), "the second clean look came too early");
    fixture.clock.advance(HOUR / 2);
    assert_eq!(store.reseal().await.unwrap().unused, [key(1).current()]);
    let store = fixture.try_open(key(2)).await.unwrap();
    read_everything(&store, &signing).await;
    assert_eq!(store.signing(second.id).await.unwrap().unwrap().signing, second);
}

/// Such as the new one, while it is only known.
async fn nothing_is_said_of_a_key_that_never_sealed_anything(fixture: Fixture) {
    write_everything(&fixture.open().await).await;
    let store = fixture.try_open(SealKeys::new(&[1; 32], &[[2; 32]])).await.unwrap();
    for look in 0..3 {
        assert!(store.reseal().await.unwrap().unused.is_empty(), "look {look}");
        fixture.clock.advance(HOUR);
    }
}

/// Each of them is more than is looked at in one go; between them lie some that are small, or not there.
async fn values_that_are_sealed_anew_one_at_a_time_are_all_reached(fixture: Fixture) {
    let mut payloads = Vec::new();
    {
        let store = fixture.open().await;
        for number in 0..6_u8 {
            let mut intent = samples::intent(number.into());
            let length = if number % 2 == 0 { 5 << 20 } else { 100 };
            let payload = (number != 3).then(|| Bytes::from(vec![number; length]));
            intent.payload = payload.clone().map(Private::new);
            payloads.push((intent.signing.id, payload));
            begin(&store, intent).await;
        }
    }
    let both = SealKeys::new(&[2; 32], &[[1; 32]]);
    let store = fixture.try_open(both).await.unwrap();
    seal_anew(&fixture, &store).await;
    drop(store);
    let store = fixture.try_open(key(2)).await.unwrap();
    for (signing, payload) in payloads {
        let kept = store.payload(signing).await.unwrap();
        assert!(kept.as_ref().map(Private::reveal) == payload.as_ref());
    }
}

async fn a_sealed_value_cannot_be_moved_to_another_row(fixture: Fixture) {
    let store = fixture.open().await;
    let (one, two) = (samples::intent(1), samples::intent(2));
    let (first, second) = (one.signing.id, two.signing.id);
    begin(&store, one).await;
    begin(&store, two).await;
    fixture.sql("UPDATE signings SET sealed = (SELECT sealed FROM signings LIMIT 1)");
    let (first, second) = (store.signing(first).await, store.signing(second).await);
    assert_eq!(u8::from(first.is_ok()) + u8::from(second.is_ok()), 1);
    assert!([first, second].into_iter().any(|read| matches!(read, Err(Error::Unusable(_)))));
}

async fn a_damaged_row_that_was_in_hand_keeps_no_store_from_opening(fixture: Fixture) {
    let store = fixture.open().await;
    let (one, mut two) = (samples::intent(1), samples::intent(2));
    let (first, second) = (one.signing.id, two.signing.id);
    two.work.leased_until = Some(after(5));
    two.signing.reference = Some("damaged".to_owned());
    begin(&store, one).await;
    begin(&store, two).await;
    store.close().await.unwrap();
    fixture.sql("UPDATE signings SET state = '{' WHERE reference = 'damaged'");
    let store = fixture.open().await;
    assert!(store.signing(first).await.unwrap().is_some());
    assert!(matches!(store.signing(second).await, Err(Error::Unusable(_))));
}

async fn sender_records_are_replaced_by_version(fixture: Fixture) {
    let store = fixture.open().await;
    assert_eq!(store.put_sender_record(sender(0)).await.unwrap(), Version(1));
    assert!(matches!(store.put_sender_record(sender(0)).await, Err(Error::Conflict)));
    let newer = SenderRecord { sealed: None, user_id: "u2".into(), ..sender(1) };
    assert_eq!(store.put_sender_record(newer).await.unwrap(), Version(2));
    assert!(matches!(store.put_sender_record(sender(1)).await, Err(Error::Conflict)));
    let name = SenderName::new("admin");
    let read = store.sender_record(&name).await.unwrap().unwrap();
    assert_eq!((read.user_id.as_str(), read.sealed, read.version), ("u2", None, Version(2)));
    assert_eq!((read.account, read.connected_at), (AccountId::new("acc"), after(3)));
    store.remove_sender_record(&name).await.unwrap();
    assert!(store.sender_record(&name).await.unwrap().is_none());
}

#[tokio::test]
async fn what_an_older_key_has_sealed_has_left_the_file_and_its_log_when_that_is_said() {
    let fixture = Fixture::sqlite();
    write_everything(&fixture.open().await).await;
    let store = fixture.try_open(SealKeys::new(&[2; 32], &[[1; 32]])).await.unwrap();
    let sealed: Vec<u8> = {
        let db = rusqlite::Connection::open(fixture.path()).unwrap();
        db.query_row("SELECT sealed FROM signings", [], |row| row.get(0)).unwrap()
    };
    let lies_there = || {
        let dump = fixture.dump();
        let mut pieces = (16..sealed.len() - 32).step_by(64).map(|at| &sealed[at..at + 32]);
        pieces.any(|piece| dump.windows(piece.len()).any(|bytes| bytes == piece))
    };
    assert!(lies_there(), "it is looked for in the right way");
    assert_eq!(store.reseal().await.unwrap().unused, [key(1).current()]);
    assert!(!lies_there());
}
