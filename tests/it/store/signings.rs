//! Signings: what is written is read, a key makes one signing, a stale change is refused, work is leased.

use std::collections::HashSet;

use bytes::Bytes;
use countersign::{
    domain::{
        AccountId, CallerName, EnvelopeId, EventKind, Private, SenderName, Signing, SigningId, SigningStatus,
    },
    store::{
        Begun, Change, Counter, Error, EventFilter, Filter, INBOUND_PAGE, KeptAnswer, Payload, Received,
        SharedStore, Version, Work,
    },
};
use jiff::Timestamp;

use crate::store::{Fixture, after, events, on_both, samples};

on_both!(
    every_field_comes_back,
    who_owns_envelopes_is_found_of_many_at_once,
    each_caller_that_has_signings_is_named_once,
    a_key_makes_one_signing,
    sixty_four_tasks_with_one_key_make_one_signing,
    a_stale_change_is_refused_whole,
    sixty_four_changes_of_one_version_leave_one,
    forgetting_frees_the_key,
    work_is_leased_and_taken_over,
    what_is_only_looked_for_in_case_does_not_count_as_uncertain,
    what_may_make_an_envelope_for_its_sender_is_found,
    what_may_make_an_envelope_for_others_is_found,
    claims_of_two_daemons_never_overlap,
    what_waits_for_its_sender_is_hastened_when_that_acts_again,
    what_is_hastened_of_many_senders_comes_a_part_at_a_time_and_in_order,
    what_a_clock_wrote_that_was_ahead_is_mended,
    what_is_quiet_is_found_and_what_was_heard_of_is_not,
    a_nul_in_one_signing_keeps_no_other_from_being_found,
    lists_are_newest_first_and_filtered,
    links_are_found_revoked_and_unique,
    inbound_messages_come_once,
    inbound_messages_are_read_page_by_page,
    budgets_are_shared,
    of_many_who_count_the_same_one_does_and_nobody_beyond_the_most,
    it_is_all_there_after_a_restart,
);

/// Begins a signing that is new.
pub(crate) async fn begin(store: &SharedStore, intent: countersign::store::Intent) -> Version {
    match store.begin(&intent).await.unwrap() {
        Begun::New(version) => version,
        Begun::Known(_) => panic!("the key was used before"),
    }
}

async fn every_field_comes_back(fixture: Fixture) {
    let store = fixture.open().await;
    let mut intent = samples::intent(1);
    intent.work = Work { due_at: after(7), leased_until: Some(after(30)), attempts: 3 };
    let link = samples::link(&intent.signing, 5);
    intent.links.push(link.clone());
    let first = intent.clone();
    let version = begin(&store, intent).await;

    let read = store.signing(first.signing.id).await.unwrap().unwrap();
    assert_eq!(read.signing, first.signing);
    assert_eq!((read.version, read.key, read.request), (version, Some(first.key), first.request));
    assert_eq!((read.answer, read.work), (None, Some(first.work)));
    assert_eq!(store.payload(first.signing.id).await.unwrap(), first.payload);
    assert_eq!(store.link(link.id).await.unwrap(), Some(link));

    let full = samples::full(first.signing.clone());
    let answer = KeptAnswer { body: Private::new(Bytes::from_static(b"{\"url\":1}")) };
    let another = samples::link(&full, 6);
    let event = samples::event(Some(&full), EventKind::SigningOpened, 1);
    let mut change = samples::change(&full, version);
    change.answer = Some(answer.clone());
    change.payload = Payload::Drop;
    change.links.push(another.clone());
    change.events = std::slice::from_ref(&event);
    let version = store.save(change).await.unwrap();

    let envelope = full.envelope.clone().unwrap();
    for read in [
        store.signing(full.id).await.unwrap().unwrap(),
        store.signing_by_key(&full.caller, first.key).await.unwrap().unwrap(),
        store.signing_by_envelope(&envelope).await.unwrap().unwrap(),
    ] {
        assert_eq!(read.signing, full);
        assert_eq!((read.version, read.answer, read.work), (version, Some(answer.clone()), None));
    }
    assert_eq!(store.payload(full.id).await.unwrap(), None);
    assert_eq!(store.link_by_token(another.token).await.unwrap(), Some(another));
    let filter = EventFilter { signing: Some(full.id), ..samples::events(10) };
    assert_eq!(events(&store, filter, 1).await, [event]);

    // What the answer is stays when nothing is said about it; a payload may come back.
    let mut change = samples::change(&full, version);
    change.payload = Payload::Put(Private::new(Bytes::from_static(b"more")));
    change.durability = countersign::store::Durability::Flushed;
    store.save(change).await.unwrap();
    assert_eq!(store.signing(full.id).await.unwrap().unwrap().answer, Some(answer));
    assert_eq!(store.payload(full.id).await.unwrap(), Some(Private::new(Bytes::from_static(b"more"))));
    // Nobody else's, and nothing that is not.
    assert!(store.signing_by_key(&CallerName::new("shop"), first.key).await.unwrap().is_none());
    assert!(store.signing(samples::signing().id).await.unwrap().is_none());
    assert!(store.signing_by_envelope(&EnvelopeId::new("none")).await.unwrap().is_none());
    store.check().await.unwrap();
}

async fn who_owns_envelopes_is_found_of_many_at_once(fixture: Fixture) {
    let store = fixture.open().await;
    let mut made = Vec::new();
    for number in 0..3_u32 {
        let mut intent = samples::intent(number.into());
        intent.signing.created_at = after(number.into());
        let signing = samples::full(intent.signing.clone());
        let version = begin(&store, intent).await;
        store.save(samples::change(&signing, version)).await.unwrap();
        made.push(signing);
    }
    let envelope = |at: usize| made[at].envelope.clone().unwrap();
    let found = store.signings_of_envelopes(&[envelope(2), EnvelopeId::new("none"), envelope(0)]).await;
    let found: Vec<_> = found.unwrap().into_iter().map(|record| record.signing).collect();
    assert_eq!(found, [made[0].clone(), made[2].clone()]);
    assert!(store.signings_of_envelopes(&[]).await.unwrap().is_empty());
}

async fn each_caller_that_has_signings_is_named_once(fixture: Fixture) {
    let store = fixture.open().await;
    assert!(store.callers().await.unwrap().is_empty());
    for (number, caller) in (1..).zip(["website", "shop", "website", "a", "shop"]) {
        let mut intent = samples::intent(number);
        intent.signing.caller = CallerName::new(caller);
        begin(&store, intent).await;
    }
    assert_eq!(store.callers().await.unwrap(), ["a", "shop", "website"].map(CallerName::new));
}

async fn a_key_makes_one_signing(fixture: Fixture) {
    let store = fixture.open().await;
    let first = samples::intent(1);
    begin(&store, first.clone()).await;
    let mut repeated = samples::intent(1);
    repeated.request = samples::digest(99);
    let (id, link) = (repeated.signing.id, samples::link(&repeated.signing, 9));
    repeated.links.push(link.clone());
    let Begun::Known(known) = store.begin(&repeated).await.unwrap() else { panic!("it was made twice") };
    assert_eq!((known.signing, known.request), (first.signing, first.request));
    assert!(store.signing(id).await.unwrap().is_none());
    assert!(store.link(link.id).await.unwrap().is_none(), "nothing of the second is left");
    assert!(store.payload(id).await.unwrap().is_none());
}

async fn sixty_four_tasks_with_one_key_make_one_signing(fixture: Fixture) {
    let store = fixture.open().await;
    let other = fixture.neighbour(&store).await;
    let tasks: Vec<_> = (0..64)
        .map(|n| {
            let store = if n % 2 == 0 { store.clone() } else { other.clone() };
            tokio::spawn(async move { store.begin(&samples::intent(1)).await.unwrap() })
        })
        .collect();
    let (mut new, mut ids) = (0, HashSet::new());
    for task in tasks {
        match task.await.unwrap() {
            Begun::New(_) => new += 1,
            Begun::Known(record) => {
                ids.insert(record.signing.id);
            }
        }
    }
    assert_eq!((new, ids.len()), (1, 1));
}

async fn a_stale_change_is_refused_whole(fixture: Fixture) {
    let store = fixture.open().await;
    let intent = samples::intent(1);
    let signing = intent.signing.clone();
    let version = begin(&store, intent).await;
    store.save(samples::change(&signing, version)).await.unwrap();

    let full = samples::full(signing.clone());
    let link = samples::link(&full, 3);
    let event = samples::event(Some(&full), EventKind::SigningOpened, 1);
    let mut stale = samples::change(&full, version);
    stale.events = std::slice::from_ref(&event);
    stale.links.push(link.clone());
    stale.payload = Payload::Drop;
    assert!(matches!(store.save(stale).await, Err(Error::Conflict)));
    assert_eq!(store.signing(signing.id).await.unwrap().unwrap().signing, signing);
    assert!(store.payload(signing.id).await.unwrap().is_some());
    assert!(store.link(link.id).await.unwrap().is_none());
    let filter = EventFilter { signing: Some(signing.id), ..samples::events(10) };
    assert!(store.events(filter).await.unwrap().is_empty());
    assert!(matches!(store.forget(signing.id, version).await, Err(Error::Conflict)));
}

async fn sixty_four_changes_of_one_version_leave_one(fixture: Fixture) {
    let store = fixture.open().await;
    let other = fixture.neighbour(&store).await;
    let intent = samples::intent(1);
    let signing = intent.signing.clone();
    let version = begin(&store, intent).await;
    let tasks: Vec<_> = (0..64)
        .map(|n| {
            let store = if n % 2 == 0 { store.clone() } else { other.clone() };
            let mut signing = signing.clone();
            signing.sequence = n;
            tokio::spawn(async move { store.save(samples::change(&signing, version)).await.is_ok() })
        })
        .collect();
    let mut saved = 0;
    for task in tasks {
        saved += u32::from(task.await.unwrap());
    }
    assert_eq!(saved, 1);
    assert_eq!(store.signing(signing.id).await.unwrap().unwrap().version, Version(version.0 + 1));
}

async fn forgetting_frees_the_key(fixture: Fixture) {
    let store = fixture.open().await;
    let mut intent = samples::intent(1);
    let link = samples::link(&intent.signing, 3);
    intent.links.push(link.clone());
    let id = intent.signing.id;
    let version = begin(&store, intent).await;
    store.forget(id, version).await.unwrap();
    assert!(store.signing(id).await.unwrap().is_none());
    assert!(store.link(link.id).await.unwrap().is_none());
    assert!(store.payload(id).await.unwrap().is_none());
    begin(&store, samples::intent(1)).await;
}

async fn work_is_leased_and_taken_over(fixture: Fixture) {
    let store = fixture.open().await;
    let other = fixture.neighbour(&store).await;
    let mut mine = samples::intent(1);
    mine.work = Work { due_at: after(0), leased_until: Some(after(30)), attempts: 2 };
    let mut later = samples::intent(2);
    later.work = Work { due_at: after(5), leased_until: None, attempts: 0 };
    let (mine_id, later_id) = (mine.signing.id, later.signing.id);
    let version = begin(&store, mine.clone()).await;
    begin(&store, later).await;
    assert_eq!(store.unsettled().await.unwrap(), 2);

    assert!(other.claim(after(4), after(60), 10).await.unwrap().is_empty(), "leased, and not due");
    let claimed = other.claim(after(5), after(60), 10).await.unwrap();
    assert_eq!(claimed.iter().map(|record| record.signing.id).collect::<Vec<_>>(), [later_id]);
    assert!(store.claim(after(29), after(60), 10).await.unwrap().is_empty());
    // The lease runs out: somebody else has it now, and the first holder cannot write any more.
    let claimed = other.claim(after(30), after(90), 10).await.unwrap();
    assert_eq!(claimed.iter().map(|record| record.signing.id).collect::<Vec<_>>(), [mine_id]);
    assert_eq!(claimed[0].work, Some(Work { due_at: after(0), leased_until: Some(after(90)), attempts: 2 }));
    assert_eq!(claimed[0].signing, mine.signing);
    assert!(matches!(store.save(samples::change(&mine.signing, version)).await, Err(Error::Conflict)));
    // The new holder ends it; then only the other one comes back, oldest first no more.
    let mut open = mine.signing.clone();
    open.status = SigningStatus::Open;
    other.save(samples::change(&open, claimed[0].version)).await.unwrap();
    assert_eq!(store.unsettled().await.unwrap(), 1);
    let claimed = store.claim(after(1_000), after(1_060), 10).await.unwrap();
    assert_eq!(claimed.iter().map(|record| record.signing.id).collect::<Vec<_>>(), [later_id]);
}

async fn what_is_only_looked_for_in_case_does_not_count_as_uncertain(fixture: Fixture) {
    let store = fixture.open().await;
    let intent = samples::intent(1);
    let mut signing = intent.signing.clone();
    let version = begin(&store, intent).await;
    assert_eq!(store.uncertain().await.unwrap(), 0, "it is creating");
    signing.status = SigningStatus::Uncertain;
    let version = store.save(samples::change(&signing, version)).await.unwrap();
    assert_eq!(store.uncertain().await.unwrap(), 1);
    signing.twins_sought = 1;
    store.save(samples::change(&signing, version)).await.unwrap();
    assert_eq!((store.uncertain().await.unwrap(), store.unsettled().await.unwrap()), (0, 1));
}

async fn what_may_make_an_envelope_for_its_sender_is_found(fixture: Fixture) {
    let store = fixture.open().await;
    let (ours, other) = (SenderName::new("ours"), SenderName::new("other"));
    let mut number = 0;
    let mut add = async |change: &dyn Fn(&mut Signing), leased_until: Option<Timestamp>| {
        number += 1;
        let mut intent = samples::intent(number);
        intent.work.leased_until = leased_until;
        intent.signing.sender = ours.clone();
        intent.signing.posted_at = Some(after(10));
        change(&mut intent.signing);
        let id = intent.signing.id;
        begin(&store, intent).await;
        id
    };
    let sent = add(&|_| {}, Some(after(60))).await;
    let later = add(&|signing| signing.posted_at = Some(after(20)), Some(after(60))).await;
    let in_doubt = add(&|signing| signing.status = SigningStatus::Uncertain, None).await;
    // Left behind, not sent, settled, and another's.
    add(&|_| {}, None).await;
    add(&|signing| signing.posted_at = None, Some(after(60))).await;
    add(&|signing| signing.status = SigningStatus::Open, Some(after(60))).await;
    add(&|signing| signing.sender = other.clone(), Some(after(60))).await;

    let senders = [ours.clone()];
    let making = async |at: i64, sent_by: Timestamp| -> HashSet<SigningId> {
        store.making(&senders, after(at), sent_by).await.unwrap().into_iter().collect()
    };
    assert_eq!(making(30, Timestamp::MAX).await, HashSet::from([sent, later, in_doubt]));
    assert_eq!(making(30, after(19)).await, HashSet::from([sent, in_doubt]));
    assert!(making(30, after(9)).await.is_empty());
    assert_eq!(making(70, Timestamp::MAX).await, HashSet::from([in_doubt]));
    assert!(making(911, Timestamp::MAX).await.is_empty(), "a quarter of an hour is over");
    assert!(store.making(&[], after(30), Timestamp::MAX).await.unwrap().is_empty());
}

async fn what_may_make_an_envelope_for_others_is_found(fixture: Fixture) {
    let store = fixture.open().await;
    let (own, account) = (AccountId::new("account-1"), AccountId::new("account-2"));
    let asks = CallerName::new("asks");
    let mut number = 0;
    let mut add = async |change: &dyn Fn(&mut Signing), leased_until: Option<Timestamp>| {
        number += 1;
        let mut intent = samples::intent(number);
        intent.work.leased_until = leased_until;
        intent.signing.account = Some(own.clone());
        intent.signing.posted_at = Some(after(0));
        change(&mut intent.signing);
        let id = intent.signing.id;
        begin(&store, intent).await;
        id
    };
    let sent = add(&|_| {}, Some(after(60))).await;
    let left_behind = add(&|_| {}, None).await;
    let in_doubt = add(&|signing| signing.status = SigningStatus::Uncertain, None).await;
    let missing = |signing: &mut Signing| signing.missing_since = Some(after(10));
    let not_found = add(&missing, None).await;
    let looked_for = add(&missing, Some(after(2_000))).await;
    // Not sent, settled, the asker's own, and elsewhere.
    add(&|signing| signing.posted_at = None, Some(after(60))).await;
    add(&|signing| signing.status = SigningStatus::Open, None).await;
    add(&|signing| signing.caller = asks.clone(), Some(after(60))).await;
    add(&|signing| signing.account = Some(account.clone()), Some(after(60))).await;

    let making = async |at: i64, limit: u32| -> HashSet<SigningId> {
        store.making_for_others(&asks, &own, after(at), limit).await.unwrap().into_iter().collect()
    };
    assert_eq!(making(30, 10).await, HashSet::from([sent, left_behind, in_doubt, not_found, looked_for]));
    assert_eq!(making(30, 2).await.len(), 2);
    assert_eq!(making(901, 10).await, HashSet::from([sent, left_behind, in_doubt, looked_for]));
    assert_eq!(making(2_001, 10).await, HashSet::from([sent, left_behind, in_doubt]));
    let others = store.making_for_others(&samples::caller(), &own, after(30), 10).await.unwrap();
    assert_eq!(others.len(), 1, "the one of the other caller");
}

async fn claims_of_two_daemons_never_overlap(fixture: Fixture) {
    let store = fixture.open().await;
    let other = fixture.neighbour(&store).await;
    for number in 0..60 {
        begin(&store, samples::intent(number)).await;
    }
    let tasks: Vec<_> = (0..12)
        .map(|n| {
            let store = if n % 2 == 0 { store.clone() } else { other.clone() };
            tokio::spawn(async move { store.claim(after(1), after(60), 7).await.unwrap() })
        })
        .collect();
    let mut seen = HashSet::new();
    for task in tasks {
        for record in task.await.unwrap() {
            assert!(seen.insert(record.signing.id), "claimed twice");
        }
    }
    while let [first, ..] = &store.claim(after(1), after(60), 1).await.unwrap()[..] {
        assert!(seen.insert(first.signing.id), "claimed twice");
    }
    assert_eq!(seen.len(), 60);
}

async fn what_waits_for_its_sender_is_hastened_when_that_acts_again(fixture: Fixture) {
    let store = fixture.open().await;
    let (ours, other) = (SenderName::new("ours"), SenderName::new("other"));
    let waits = Work { due_at: after(64), leased_until: None, attempts: 6 };
    let mut number = 0;
    let mut add = async |work: Work, change: &dyn Fn(&mut Signing)| {
        number += 1;
        let mut intent = samples::intent(number);
        intent.work = work;
        intent.signing.sender = ours.clone();
        change(&mut intent.signing);
        let id = intent.signing.id;
        begin(&store, intent).await;
        id
    };
    let queued = add(waits, &|_| {}).await;
    let in_doubt = add(waits, &|signing| signing.status = SigningStatus::Uncertain).await;
    let was_limited = add(waits, &|signing| signing.limited_until = Some(after(10))).await;
    let due = Work { due_at: after(5), ..waits };
    let others = [
        (add(due, &|_| {}).await, due),
        (
            add(Work { leased_until: Some(after(90)), ..waits }, &|_| {}).await,
            Work { leased_until: Some(after(90)), ..waits },
        ),
        (add(waits, &|signing| signing.sender = other.clone()).await, waits),
        (add(waits, &|signing| signing.status = SigningStatus::Open).await, waits),
        (add(waits, &|signing| signing.twins_sought = 1).await, waits),
        (add(waits, &|signing| signing.limited_until = Some(after(64))).await, waits),
    ];
    let before = store.signing(queued).await.unwrap().unwrap();
    let again = [ours.clone(), SenderName::new("nobody's")];
    assert_eq!(store.hasten(&[], after(10), 10).await.unwrap(), 0);
    assert_eq!(store.hasten(&again, after(10), 10).await.unwrap(), 3);
    assert_eq!(store.hasten(&again, after(10), 10).await.unwrap(), 0);
    for id in [queued, in_doubt, was_limited] {
        let work = store.signing(id).await.unwrap().unwrap().work;
        assert_eq!(work, Some(Work { due_at: after(10), ..waits }));
    }
    for (id, was) in others {
        assert_eq!(store.signing(id).await.unwrap().unwrap().work, Some(was));
    }
    let stale = store.save(samples::change(&before.signing, before.version)).await;
    assert!(
        matches!(stale, Err(Error::Conflict)),
        "whoever read it before does not put it off again: {stale:?}"
    );
    let claimed = store.claim(after(10), after(100), 10).await.unwrap();
    assert_eq!(claimed.len(), 4, "and what was due before");
}

async fn what_is_hastened_of_many_senders_comes_a_part_at_a_time_and_in_order(fixture: Fixture) {
    let store = fixture.open().await;
    let senders = ["one", "two", "three"].map(SenderName::new);
    let mut ids = Vec::new();
    // The first that comes would have come last.
    for (number, wait) in (0..7).zip((64..71).rev()) {
        let mut intent = samples::intent(number);
        intent.work = Work { due_at: after(wait), leased_until: None, attempts: 1 };
        intent.signing.sender = senders[ids.len() % 3].clone();
        ids.push(intent.signing.id);
        begin(&store, intent).await;
    }
    let mut left = ids.clone();
    let (now, again) = (after(10), &senders[..2]);
    for expected in [2, 2, 1, 0] {
        assert_eq!(store.hasten(again, now, 2).await.unwrap(), expected);
        for _ in 0..expected {
            // Of the two: the last that is left, and is not the third's.
            let next = (0..ids.len()).rev().find(|at| at % 3 != 2 && left.contains(&ids[*at])).unwrap();
            left.retain(|id| *id != ids[next]);
        }
        for id in &ids {
            let is_due = store.signing(*id).await.unwrap().unwrap().work.unwrap().due_at == now;
            assert_eq!(is_due, !left.contains(id));
        }
    }
    assert_eq!(left, [ids[2], ids[5]], "all of the two, and nothing of the third");
}

/// Nobody leases for a day or has a failure wait so long: the clock that wrote that was ahead.
async fn what_a_clock_wrote_that_was_ahead_is_mended(fixture: Fixture) {
    const HOUR: i64 = 3_600;
    let store = fixture.open().await;
    let work = |due: i64, lease: Option<i64>, attempts| Work {
        due_at: after(due * HOUR),
        leased_until: lease.map(|until| after(until * HOUR)),
        attempts,
    };
    let unsettled = [
        // Leased, and put off, as it may be.
        (work(0, Some(2), 1), true, false),
        (work(2, None, 1), true, false),
        // A look-up of what nobody was promised may wait for a day.
        (work(24, None, 1), false, false),
        (work(24, None, 1), true, true),
        (work(0, Some(4), 0), true, true),
        (work(4, Some(4), 0), false, true),
        (work(27, None, 1), false, true),
    ];
    let mut ids = Vec::new();
    for (number, (work, has_payload, _)) in (0..).zip(unsettled) {
        let mut intent = samples::intent(number);
        intent.work = work;
        intent.payload = intent.payload.filter(|_| has_payload);
        ids.push(intent.signing.id);
        begin(&store, intent).await;
    }
    // An end in a month is one that is meant; a retry after a failure is not.
    let settled = [(work(30 * 24, None, 0), false), (work(2, None, 3), false), (work(4, None, 3), true)];
    for (number, (work, _)) in (100..).zip(settled) {
        let intent = samples::intent(number);
        let mut signing = intent.signing.clone();
        signing.status = SigningStatus::Open;
        ids.push(signing.id);
        let version = begin(&store, intent).await;
        store.save(Change { work: Some(work), ..samples::change(&signing, version) }).await.unwrap();
    }
    assert_eq!(store.mend_dates(after(0)).await.unwrap(), 5);
    assert_eq!(store.mend_dates(after(0)).await.unwrap(), 0);
    let expected = unsettled.map(|(work, _, is_mended)| (work, is_mended)).into_iter().chain(settled);
    for (id, (was, is_mended)) in ids.iter().zip(expected) {
        let work = store.signing(*id).await.unwrap().unwrap().work.unwrap();
        let due = Work { due_at: after(0), leased_until: None, ..was };
        assert_eq!(work, if is_mended { due } else { was });
    }
    let claimed = store.claim(after(0), after(60), 20).await.unwrap();
    assert_eq!(claimed.len(), 5, "what was mended can be claimed");

    // Whoever was heard of "in the future" is asked about as if it had been now.
    let open = *ids.last().unwrap();
    let record = store.signing(open).await.unwrap().unwrap();
    let mut signing = record.signing;
    signing.envelope = Some(EnvelopeId::new("e-1"));
    store.save(samples::change(&signing, record.version)).await.unwrap();
    let mut heard = samples::inbound(1, signing.envelope.as_ref());
    heard.received_at = after(48 * HOUR);
    store.receive(heard).await.unwrap();
    let is_quiet = async || {
        let quiet = store.quiet(after(61), &[], 10).await.unwrap();
        quiet.iter().any(|record| record.signing.id == open)
    };
    assert!(!is_quiet().await);
    assert_eq!(store.mend_dates(after(60)).await.unwrap(), 1);
    assert!(is_quiet().await);
}

async fn what_is_quiet_is_found_and_what_was_heard_of_is_not(fixture: Fixture) {
    let store = fixture.open().await;
    let mut open = Vec::new();
    for (number, checked) in [(1, Some(after(40))), (2, Some(after(20))), (3, None), (4, Some(after(10)))] {
        let intent = samples::intent(number);
        let mut signing = samples::full(intent.signing.clone());
        let version = begin(&store, intent).await;
        signing.status = SigningStatus::Open;
        signing.checked_at = checked;
        store.save(samples::change(&signing, version)).await.unwrap();
        open.push(signing);
    }
    // Number 4 is heard of.
    let mut heard = samples::inbound(1, open[3].envelope.as_ref());
    heard.received_at = after(35);
    store.receive(heard).await.unwrap();
    let quiet = store.quiet(after(30), &[], 10).await.unwrap();
    let ids: Vec<_> = quiet.iter().map(|record| record.signing.id).collect();
    assert_eq!(ids, [open[2].id, open[1].id]);
    assert_eq!(store.quiet(after(30), &[], 1).await.unwrap().len(), 1);
    let sender = open[3].sender.clone();
    let other = SenderName::new("other");
    let except = [other.clone()];
    assert_eq!(store.quiet(after(30), &except, 10).await.unwrap().len(), 2, "all are of another sender");
    assert!(store.quiet(after(30), &[other, sender], 10).await.unwrap().is_empty());
}

async fn a_nul_in_one_signing_keeps_no_other_from_being_found(fixture: Fixture) {
    let store = fixture.open().await;
    let mut open = Vec::new();
    for (number, id) in [(1, "7\u{0}1"), (2, "72")] {
        let intent = samples::intent(number);
        let mut signing = samples::full(intent.signing.clone());
        let version = begin(&store, intent).await;
        signing.status = SigningStatus::Open;
        signing.checked_at = Some(after(i64::try_from(number).unwrap()));
        signing.signers[0].upstream.recipient_id = Some(id.to_owned());
        // Looks like a NUL in JSON, and is none.
        signing.signers[0].role = Some(r"\u0000 \\u0000".to_owned());
        store.save(samples::change(&signing, version)).await.unwrap();
        open.push(signing);
    }
    let quiet = store.quiet(after(30), &[SenderName::new("other")], 10).await.unwrap();
    let found: Vec<_> = quiet.into_iter().map(|record| record.signing).collect();
    open[0].signers[0].upstream.recipient_id = Some("7\u{fffd}1".to_owned());
    assert_eq!(found, open);
}

async fn lists_are_newest_first_and_filtered(fixture: Fixture) {
    let store = fixture.open().await;
    let mut ids = Vec::new();
    for number in 0..6_i64 {
        let mut intent = samples::intent(number.unsigned_abs());
        intent.signing.id = countersign::domain::SigningId::generate(after(number));
        if number == 5 {
            intent.signing.caller = CallerName::new("shop");
        }
        if number % 2 == 0 {
            intent.signing.reference = None;
        }
        if number == 3 {
            intent.signing.status = SigningStatus::Failed;
        }
        ids.push(intent.signing.id);
        begin(&store, intent).await;
    }
    let list = async |filter: Filter| {
        let found = store.signings(&samples::caller(), filter).await.unwrap();
        found.into_iter().map(|signing| signing.id).collect::<Vec<_>>()
    };
    let all = Filter { limit: 10, ..Filter::default() };
    assert_eq!(list(all.clone()).await, [ids[4], ids[3], ids[2], ids[1], ids[0]]);
    assert_eq!(list(Filter { limit: 2, before: Some(ids[3]), ..all.clone() }).await, [ids[2], ids[1]]);
    let reference = Some("order-8812".to_owned());
    assert_eq!(list(Filter { reference: reference.clone(), ..all.clone() }).await, [ids[3], ids[1]]);
    let failed = Some(SigningStatus::Failed);
    assert_eq!(list(Filter { status: failed, ..all.clone() }).await, [ids[3]]);
    assert_eq!(list(Filter { reference, status: failed, before: Some(ids[3]), ..all }).await, []);
}

async fn links_are_found_revoked_and_unique(fixture: Fixture) {
    let store = fixture.open().await;
    let intent = samples::intent(1);
    let signing = intent.signing.clone();
    begin(&store, intent).await;
    let link = samples::link(&signing, 1);
    store.add_link(link.clone()).await.unwrap();
    assert_eq!(store.link_by_token(link.token).await.unwrap(), Some(link.clone()));
    assert!(matches!(store.add_link(samples::link(&signing, 1)).await, Err(Error::Conflict)), "same token");
    let orphan = samples::link(&samples::signing(), 2);
    assert!(matches!(store.add_link(orphan).await, Err(Error::Conflict)), "no such signing");
    store.revoke_link(link.id, after(1)).await.unwrap();
    store.revoke_link(link.id, after(2)).await.unwrap();
    assert_eq!(store.link(link.id).await.unwrap().unwrap().revoked_at, Some(after(1)));
    assert!(store.link_by_token(samples::digest(7)).await.unwrap().is_none());
}

async fn inbound_messages_come_once(fixture: Fixture) {
    let store = fixture.open().await;
    let envelope = EnvelopeId::new("e-1");
    let tasks: Vec<_> = (0..32)
        .map(|_| {
            let (store, envelope) = (store.clone(), envelope.clone());
            tokio::spawn(async move { store.receive(samples::inbound(1, Some(&envelope))).await.unwrap() })
        })
        .collect();
    let mut new = 0;
    for task in tasks {
        new += u32::from(task.await.unwrap() == Received::New);
    }
    assert_eq!(new, 1);
    assert_eq!(store.receive(samples::inbound(2, None)).await.unwrap(), Received::New);
    let waiting = store.inbox(10).await.unwrap();
    assert_eq!(waiting.len(), 2);
    let (sent, came) = (samples::inbound(1, Some(&envelope)), &waiting[0]);
    assert_eq!(
        (came.identity, came.received_at, &came.envelope),
        (sent.identity, sent.received_at, &sent.envelope)
    );
    assert_eq!((&came.event, &came.body), (&sent.event, &sent.body));
    store.taken_in(sent.identity, after(11)).await.unwrap();
    assert_eq!(store.inbox(10).await.unwrap().len(), 1);
    let page = store.inbound_of(&envelope, None).await.unwrap();
    assert_eq!((page.messages.len(), page.next), (1, None));
    assert_eq!(store.receive(sent).await.unwrap(), Received::Again, "also once it was taken in");
}

async fn inbound_messages_are_read_page_by_page(fixture: Fixture) {
    let store = fixture.open().await;
    let (envelope, other) = (EnvelopeId::new("e-1"), EnvelopeId::new("e-2"));
    let count = u64::from(INBOUND_PAGE) * 2;
    for number in 0..count {
        store.receive(samples::inbound(number, Some(&envelope))).await.unwrap();
        store.receive(samples::inbound(count + number, Some(&other))).await.unwrap();
    }
    let (mut read, mut pages, mut after) = (Vec::new(), Vec::new(), None);
    loop {
        let page = store.inbound_of(&envelope, after).await.unwrap();
        pages.push(page.messages.len());
        read.extend(page.messages.into_iter().map(|inbound| inbound.identity));
        let Some(next) = page.next else { break };
        after = Some(next);
    }
    assert_eq!(pages, [INBOUND_PAGE as usize, INBOUND_PAGE as usize, 0]);
    let sent: Vec<_> = (0..count).map(|number| samples::inbound(number, Some(&envelope)).identity).collect();
    assert_eq!(read, sent, "each once, in the order in which they came, and nobody else's");
}

async fn budgets_are_shared(fixture: Fixture) {
    let store = fixture.open().await;
    let other = fixture.neighbour(&store).await;
    let counter = |account: &str| Counter::Account(AccountId::new(account));
    let tasks: Vec<_> = (0..40)
        .map(|n| {
            let store = if n % 2 == 0 { store.clone() } else { other.clone() };
            let counter = counter("a");
            tokio::spawn(async move { store.spend(&counter, after(0), 3).await.unwrap() })
        })
        .collect();
    let mut sums = Vec::new();
    for task in tasks {
        sums.push(task.await.unwrap());
    }
    sums.sort_unstable();
    assert_eq!(sums, (1..=40).map(|n| n * 3).collect::<Vec<_>>(), "each sees what came before it");
    assert_eq!(store.spend(&counter("a"), after(3_600), 0).await.unwrap(), 0);
    assert_eq!(store.spend(&counter("b"), after(0), 1).await.unwrap(), 1);
}

async fn of_many_who_count_the_same_one_does_and_nobody_beyond_the_most(fixture: Fixture) {
    let store = fixture.open().await;
    let other = fixture.neighbour(&store).await;
    let of_caller = || Counter::Creates(samples::caller());
    let count = async |key: u8, most: u64| {
        let tasks = (0..20).map(|n| {
            let store = if n % 2 == 0 { store.clone() } else { other.clone() };
            let counter = of_caller();
            let key = Counter::Key([key; 32]);
            tokio::spawn(
                async move { store.count_within(&counter, Some(&key), after(0), most).await.unwrap() },
            )
        });
        let mut told = Vec::new();
        for task in tasks.collect::<Vec<_>>() {
            told.push(task.await.unwrap());
        }
        told
    };
    assert_eq!(count(1, 2).await, vec![true; 20]);
    assert_eq!(store.spend(&of_caller(), after(0), 0).await.unwrap(), 1, "twenty at once were one");
    assert_eq!(count(2, 2).await, vec![true; 20]);
    assert_eq!(count(3, 2).await, vec![false; 20], "whoever comes with it is one too many");
    assert_eq!(store.spend(&Counter::Key([3; 32]), after(0), 0).await.unwrap(), 0, "and it was never let in");
    assert_eq!(count(1, 2).await, vec![true; 20], "what was let in still is");
    assert_eq!(store.spend(&of_caller(), after(0), 0).await.unwrap(), 2);
    // Once more is let in, that goes too; and what is nobody's repetition counts each time.
    assert_eq!(count(3, 3).await, vec![true; 20]);
    for is_counted in [true, false] {
        let counted = store.count_within(&of_caller(), None, after(0), 4).await.unwrap();
        assert_eq!(counted, is_counted);
    }
    assert!(store.count_within(&of_caller(), None, after(86_400), 1).await.unwrap(), "another window");
    // Where nothing more is let in, what was let in before still is, and nothing is counted.
    let new = Counter::Key([4; 32]);
    for (key, is_counted) in [(Some(&Counter::Key([1; 32])), true), (Some(&new), false), (None, false)] {
        assert_eq!(store.count_within(&of_caller(), key, after(0), 0).await.unwrap(), is_counted);
    }
    assert!(!store.count_within(&of_caller(), None, after(2 * 86_400), 0).await.unwrap());
    assert_eq!(store.spend(&new, after(0), 0).await.unwrap(), 0, "it was never let in");
    assert_eq!(store.spend(&of_caller(), after(0), 0).await.unwrap(), 4);
}

async fn it_is_all_there_after_a_restart(fixture: Fixture) {
    let store = fixture.open().await;
    let intent = samples::intent(1);
    let signing = samples::full(intent.signing.clone());
    let version = begin(&store, intent).await;
    let version = store.save(samples::change(&signing, version)).await.unwrap();
    store.close().await.unwrap();
    assert!(matches!(store.signing(signing.id).await, Err(Error::Unavailable(_))), "closed");
    drop(store);
    let read = fixture.open().await.signing(signing.id).await.unwrap().unwrap();
    assert_eq!((read.signing, read.version), (signing, version));
}

/// With 10,000 creates in line a claim reads what it takes, and passes over what is in hand.
#[tokio::test]
async fn a_claim_reads_what_it_takes_however_much_is_due() {
    let Some(fixture) = Fixture::postgres() else { return };
    let store = fixture.open().await;
    let mut intent = samples::intent(1);
    intent.work = Work::at(after(0));
    begin(&store, intent).await;
    fixture.sql(
        "INSERT INTO signings (id, caller, request, reference, status, envelope, version, created_at, heard_at, \
         due_at, free_at, attempts, state) \
         SELECT decode(md5(n::text), 'hex'), caller, request, reference, status, envelope, version, created_at, \
         heard_at, due_at + n, due_at + n, attempts, state FROM signings, generate_series(1, 10000) AS n",
    );
    fixture.sql("ANALYZE signings");
    // Servers tell what they have read when a connection ends.
    let read = || {
        let sql = "SELECT (SELECT idx_scan FROM pg_stat_user_indexes WHERE indexrelname = 'signings_pkey'), \
             (SELECT sum(idx_tup_read) FROM pg_stat_user_indexes WHERE relname = 'signings') \
             + (SELECT seq_tup_read FROM pg_stat_user_tables WHERE relname = 'signings')";
        let numbers = fixture.sql(sql);
        let (claims, rows) = numbers.split_once('|').unwrap();
        (claims.parse::<i64>().unwrap(), rows.parse::<i64>().unwrap())
    };
    let before = read();
    let mut last = None;
    for _ in 0..20 {
        let claimed = store.claim(after(60), after(150), 10).await.unwrap();
        let due: Vec<_> = claimed.iter().map(|record| record.work.unwrap().due_at).collect();
        assert_eq!(due.len(), 10);
        assert!(due.is_sorted() && last < due.first().copied(), "who is due longest comes first");
        last = due.last().copied();
    }
    store.close().await.unwrap();
    let mut now = read();
    for _ in 0..200 {
        if now.0 >= before.0 + 20 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        now = read();
    }
    assert!(now.0 >= before.0 + 20, "the server tells nothing: {now:?}");
    assert!(now.1 - before.1 < 10_000, "{} rows were read for 20 claims of 10", now.1 - before.1);
}
