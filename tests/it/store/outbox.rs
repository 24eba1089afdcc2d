//! Events out: their order, who gets them, and that nobody waits for a dead receiver.

use std::collections::HashMap;

use countersign::{
    domain::{CallerName, EndpointId, Event, EventKind},
    store::{
        Delivery, DeliveryState, DueDelivery, Endpoint, Error, EventFilter, Location, Retention, SharedStore,
    },
};

use crate::store::{Fixture, after, events, on_both, retention::KEEP_ALL, samples, signings::begin};

on_both!(
    events_are_read_in_order_from_any_place,
    a_reader_that_follows_misses_nothing,
    the_last_event_before_a_time_is_found,
    events_fan_out_to_those_who_want_them,
    an_endpoint_is_looked_at_when_it_has_something_due,
    dead_endpoints_hold_up_nobody,
    what_is_given_back_comes_when_it_is_due_and_leaves_its_place_at_once,
    deliveries_end_are_listed_and_replayed,
    what_a_clock_that_was_ahead_put_off_is_delivered,
    what_cannot_be_read_holds_up_nobody,
    endpoints_come_back_as_they_were,
    a_caller_who_adds_many_endpoints_at_once_gets_no_more_than_there_may_be,
    what_waits_for_an_endpoint_that_is_off_is_not_the_oldest,
    a_rotation_overwrites_nothing_that_it_has_not_seen,
    webhooks_of_the_settings_are_replaced_as_one,
    a_webhook_that_the_settings_dropped_waits_to_be_named_again,
    a_webhook_that_was_named_after_its_caller_is_remembered_as_theirs,
    a_dropped_webhook_that_is_named_for_another_caller_gets_nothing_of_before,
    a_webhook_that_is_given_to_another_caller_gets_nothing_of_before,
    what_is_pending_for_what_is_another_callers_by_now_fails,
    daemons_with_different_settings_leave_those_of_one,
    the_last_pulse_is_remembered,
);

async fn fan_out_all(store: &SharedStore) {
    while store.fan_out(after(10), 7).await.unwrap() > 0 {}
}

async fn claim(store: &SharedStore, now: i64, per_endpoint: u32) -> Vec<DueDelivery> {
    store.claim_deliveries(after(now), after(now + 60), per_endpoint, 100).await.unwrap()
}

async fn events_are_read_in_order_from_any_place(fixture: Fixture) {
    let store = fixture.open().await;
    let intent = samples::intent(1);
    let signing = intent.signing.clone();
    let version = begin(&store, intent).await;
    let written: Vec<_> =
        (1..=5).map(|n| samples::event(Some(&signing), EventKind::SignerReady, n)).collect();
    let mut change = samples::change(&signing, version);
    change.events = &written;
    store.save(change).await.unwrap();
    let mut other = samples::event(None, EventKind::BudgetLow, 0);
    other.caller = CallerName::new("shop");
    other.signer = None;
    store.add_events(vec![other.clone()]).await.unwrap();

    let (all, about) = (samples::events(10), Some(signing.id));
    assert_eq!(events(&store, all.clone(), 5).await, written);
    let of_another = EventFilter { caller: other.caller.clone(), ..all.clone() };
    assert_eq!(events(&store, of_another.clone(), 1).await, [other]);
    let rest = EventFilter { after: Some(written[1].id), limit: 2, ..all.clone() };
    assert_eq!(store.events(rest).await.unwrap(), written[2..4]);
    let of_signing = EventFilter { signing: about, after: Some(written[3].id), ..all };
    assert_eq!(store.events(of_signing).await.unwrap(), written[4..]);
    let not_theirs = EventFilter { signing: about, ..of_another };
    assert!(store.events(not_theirs).await.unwrap().is_empty());
}

async fn the_last_event_before_a_time_is_found(fixture: Fixture) {
    let store = fixture.open().await;
    let signing = samples::signing();
    let mut written = Vec::new();
    for (at, about, caller) in [
        (10, None, samples::caller()),
        (20, Some(&signing), samples::caller()),
        (30, None, samples::caller()),
        (40, None, CallerName::new("shop")),
    ] {
        let mut event = samples::event(about, EventKind::SignerReady, 1);
        (event.at, event.caller) = (after(at), caller);
        store.add_events(vec![event.clone()]).await.unwrap();
        written.push(event.id);
    }
    let mine = samples::events(10);
    let of_another = EventFilter { caller: CallerName::new("shop"), ..mine.clone() };
    events(&store, mine.clone(), 3).await;
    events(&store, of_another.clone(), 1).await;
    let of_signing = EventFilter { signing: Some(signing.id), ..mine.clone() };
    for (filter, at, expected) in [
        (&of_another, 100, Some(3)),
        (&mine, 100, Some(2)),
        (&mine, 30, Some(1)),
        (&of_signing, 100, Some(1)),
        (&of_signing, 20, None),
        (&mine, 10, None),
    ] {
        let found = store.event_before(filter.clone(), after(at)).await.unwrap();
        assert_eq!(found, expected.map(|index: usize| written[index]), "{filter:?} {at}");
    }
}

/// Sixteen writers, and one reader who always goes on from the last id it has seen.
async fn a_reader_that_follows_misses_nothing(fixture: Fixture) {
    let store = fixture.open().await;
    let writers: Vec<_> = (0..16)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                for n in 0..10 {
                    store.add_events(vec![samples::event(None, EventKind::BudgetLow, n)]).await.unwrap();
                }
            })
        })
        .collect();
    let mut seen = Vec::new();
    while seen.len() < 160 {
        let filter = EventFilter { after: seen.last().copied(), ..samples::events(9) };
        seen.extend(events(&store, filter, 1).await.into_iter().map(|event| event.id));
    }
    for writer in writers {
        writer.await.unwrap();
    }
    let all: Vec<_> =
        events(&store, samples::events(1_000), 160).await.into_iter().map(|event| event.id).collect();
    assert_eq!(seen, all);
}

async fn events_fan_out_to_those_who_want_them(fixture: Fixture) {
    let store = fixture.open().await;
    let all = samples::endpoint("all");
    let mut some = samples::endpoint("some");
    some.events = vec![EventKind::SigningCompleted, EventKind::SignerSigned];
    let mut off = samples::endpoint("off");
    off.disabled_at = Some(after(1));
    let mut foreign = samples::endpoint("foreign");
    foreign.caller = CallerName::new("shop");
    for endpoint in [&all, &some, &off, &foreign] {
        store.put_endpoint(endpoint.clone()).await.unwrap();
    }
    let kinds = [EventKind::SigningOpened, EventKind::SignerSigned, EventKind::SigningCompleted];
    let written: Vec<_> = kinds.into_iter().map(|kind| samples::event(None, kind, 0)).collect();
    store.add_events(written.clone()).await.unwrap();
    assert_eq!(store.fan_out(after(10), 2).await.unwrap(), 2);
    assert_eq!(store.fan_out(after(10), 2).await.unwrap(), 1);
    assert_eq!(store.fan_out(after(10), 2).await.unwrap(), 0);

    let due = claim(&store, 10, 10).await;
    let to = |id: EndpointId| {
        let mut kinds: Vec<_> =
            due.iter().filter(|due| due.endpoint.id == id).map(|due| due.event.kind).collect();
        kinds.sort_unstable();
        kinds
    };
    let mut expected = kinds.to_vec();
    expected.sort_unstable();
    assert_eq!(to(all.id), expected);
    assert_eq!(to(some.id), [EventKind::SignerSigned, EventKind::SigningCompleted]);
    assert_eq!(due.len(), 5);
    let first = due.iter().find(|due| due.event.id == written[0].id).unwrap();
    assert_eq!((&first.event, &first.endpoint), (&written[0], &all));
    assert!(claim(&store, 20, 10).await.is_empty(), "leased");
    assert_eq!(claim(&store, 70, 10).await.len(), 5, "the lease ran out");
}

/// Half of the endpoints never answer: their leases stay, and the others get everything in order.
async fn dead_endpoints_hold_up_nobody(fixture: Fixture) {
    let store = fixture.open().await;
    let endpoints: Vec<_> = (0..6).map(|n| samples::endpoint(&format!("e{n}"))).collect();
    for endpoint in &endpoints {
        store.put_endpoint(endpoint.clone()).await.unwrap();
    }
    let is_dead = |id: EndpointId| endpoints[..3].iter().any(|endpoint| endpoint.id == id);
    let written = (0..20).map(|n| samples::event(None, EventKind::BudgetLow, n)).collect();
    store.add_events(written).await.unwrap();
    fan_out_all(&store).await;

    let mut delivered: HashMap<EndpointId, u32> = HashMap::new();
    let mut held = 0;
    for round in 0..20 {
        let due = store.claim_deliveries(after(11), after(10_000), 2, 7).await.unwrap();
        assert!(!due.is_empty() && due.len() <= 7, "round {round}");
        for mut due in due {
            if is_dead(due.endpoint.id) {
                held += 1;
                continue;
            }
            *delivered.entry(due.endpoint.id).or_default() += 1;
            due.delivery.state = DeliveryState::Delivered;
            store.delivery_attempted(due.delivery).await.unwrap();
        }
        if delivered.len() == 3 && delivered.values().all(|count| *count == 20) {
            break;
        }
    }
    assert_eq!(delivered.values().copied().collect::<Vec<_>>(), [20, 20, 20]);
    assert_eq!(held, 6, "two of each dead endpoint are out, and no more");
}

/// As on a logical replica, which has the rows and not where their numbers had come to.
#[tokio::test(flavor = "multi_thread")]
async fn a_sequence_that_is_behind_is_nobody_elses_change_and_is_named() {
    let Some(fixture) = Fixture::postgres() else { return };
    let store = fixture.open().await;
    let add = async |n| store.add_events(vec![samples::event(None, EventKind::BudgetLow, n)]).await;
    add(1).await.unwrap();
    fixture.sql("ALTER TABLE events ALTER COLUMN pos RESTART");
    let failed = add(2).await.unwrap_err();
    assert!(matches!(&failed, Error::Unusable(why) if why.contains("events_pkey, 23505")), "{failed:?}");
    add(3).await.unwrap();
}

/// What it had in hand waits for its leases to end, and nothing else does.
#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_died_keeps_no_other_one_from_an_endpoint() {
    let Some(fixture) = Fixture::postgres() else { return };
    let dies = fixture.open().await;
    let lives = fixture.neighbour(&dies).await;
    dies.put_endpoint(samples::endpoint("hook")).await.unwrap();
    for n in 0..5 {
        dies.add_events(vec![samples::event(None, EventKind::SignerSigned, n)]).await.unwrap();
    }
    fan_out_all(&dies).await;
    let lost = claim(&dies, 10, 2).await;
    assert_eq!((lost.len(), claim(&dies, 16, 2).await.len()), (2, 0), "its own places are taken");
    let taken = claim(&lives, 21, 2).await;
    assert_eq!(taken.len(), 2);
    assert!(claim(&lives, 26, 2).await.is_empty(), "and so are those of the other one");
    let ids = |due: &[DueDelivery]| due.iter().map(|due| due.delivery.id).collect::<Vec<_>>();
    for due in taken {
        assert!(!ids(&lost).contains(&due.delivery.id));
        let done =
            Delivery { state: DeliveryState::Delivered, attempted_at: Some(after(27)), ..due.delivery };
        lives.delivery_attempted(done).await.unwrap();
    }
    assert_eq!(claim(&lives, 27, 2).await.len(), 1);
    let mut again = ids(&claim(&lives, 70, 3).await);
    let mut lost = ids(&lost);
    again.sort_unstable();
    lost.sort_unstable();
    assert_eq!(again, lost, "their leases are over");
}

/// Whose lease has lapsed may come upon another daemon that is at it.
#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_gives_back_only_what_is_still_its_own() {
    let Some(fixture) = Fixture::postgres() else { return };
    let late = fixture.open().await;
    let other = fixture.neighbour(&late).await;
    late.put_endpoint(samples::endpoint("hook")).await.unwrap();
    late.add_events(vec![samples::event(None, EventKind::SignerSigned, 0)]).await.unwrap();
    fan_out_all(&late).await;
    let lapsed = claim(&late, 10, 2).await.pop().unwrap().delivery;
    let taken = claim(&other, 70, 2).await.pop().unwrap().delivery;
    assert_eq!(lapsed, taken);
    late.return_deliveries(vec![lapsed], after(71)).await.unwrap();
    assert!(claim(&late, 72, 2).await.is_empty(), "the other one is at it");
    other.return_deliveries(vec![taken], after(73)).await.unwrap();
    assert_eq!(claim(&late, 74, 2).await.len(), 1);
}

async fn what_is_given_back_comes_when_it_is_due_and_leaves_its_place_at_once(fixture: Fixture) {
    let store = fixture.open().await;
    store.put_endpoint(samples::endpoint("hook")).await.unwrap();
    for n in 0..3 {
        store.add_events(vec![samples::event(None, EventKind::SignerSigned, n)]).await.unwrap();
    }
    fan_out_all(&store).await;
    let first = claim(&store, 10, 2).await;
    assert_eq!((first.len(), claim(&store, 11, 2).await.len()), (2, 0), "the places are taken");
    let back = |due: &DueDelivery, at| Delivery { due_at: after(at), ..due.delivery.clone() };
    let (one, two) = (back(&first[0], 40), back(&first[1], 41));
    store.return_deliveries(vec![two.clone(), one.clone()], after(12)).await.unwrap();
    let third = claim(&store, 12, 2).await;
    assert_eq!(third.len(), 1, "nobody waits for what is put off");
    assert!(third[0].delivery.id != one.id && third[0].delivery.id != two.id);
    assert!(claim(&store, 39, 1).await.is_empty());
    assert_eq!(claim(&store, 40, 2).await.pop().unwrap().delivery, one, "with all its attempts");
    // Its lease has lapsed, and somebody else has attempted it.
    let attempted = Delivery { attempts: 1, attempted_at: Some(after(41)), due_at: after(50), ..one.clone() };
    store.delivery_attempted(attempted.clone()).await.unwrap();
    store.return_deliveries(vec![Delivery { due_at: after(45), ..one }], after(42)).await.unwrap();
    let kept = store.deliveries(&samples::caller(), None, 10).await.unwrap();
    assert!(kept.contains(&attempted) && kept.contains(&two), "{kept:?}");
}

async fn deliveries_end_are_listed_and_replayed(fixture: Fixture) {
    let store = fixture.open().await;
    let endpoint = samples::endpoint("hook");
    store.put_endpoint(endpoint.clone()).await.unwrap();
    store.add_events(vec![samples::event(None, EventKind::BudgetLow, 0)]).await.unwrap();
    assert_eq!(store.oldest_pending_delivery().await.unwrap(), None);
    fan_out_all(&store).await;
    assert_eq!(store.oldest_pending_delivery().await.unwrap(), Some(after(10)));

    let mut due = claim(&store, 10, 1).await.pop().unwrap().delivery;
    assert_eq!((due.state, due.attempts, due.created_at), (DeliveryState::Pending, 0, after(10)));
    due.attempts = 1;
    due.due_at = after(40);
    due.attempted_at = Some(after(12));
    due.response_status = Some(503);
    due.error = Some("answered 503".into());
    store.delivery_attempted(due.clone()).await.unwrap();
    assert_eq!(store.deliveries(&samples::caller(), None, 10).await.unwrap(), [due.clone()]);
    assert!(claim(&store, 39, 1).await.is_empty());
    assert_eq!(claim(&store, 40, 1).await.len(), 1);

    for attempts in 2..10 {
        store.delivery_attempted(Delivery { attempts, ..due.clone() }).await.unwrap();
    }
    let failed = Delivery { state: DeliveryState::Failed, attempts: 10, ..due.clone() };
    store.delivery_attempted(failed.clone()).await.unwrap();
    assert_eq!(store.oldest_pending_delivery().await.unwrap(), None);
    assert!(claim(&store, 1_000, 1).await.is_empty());
    store.replay(due.id, after(1_000)).await.unwrap();
    store.replay(samples::no_delivery(), after(1_000)).await.unwrap();
    let again = claim(&store, 1_000, 1).await.pop().unwrap().delivery;
    assert_eq!((again.id, again.state, again.attempts), (due.id, DeliveryState::Pending, 0));
    // The outcome of an attempt that began before does not end it.
    store.delivery_attempted(failed).await.unwrap();
    assert_eq!(store.deliveries(&samples::caller(), None, 10).await.unwrap()[0].attempts, 0);
    assert!(store.deliveries(&CallerName::new("shop"), None, 10).await.unwrap().is_empty());
    assert!(store.deliveries(&samples::caller(), Some(due.id), 10).await.unwrap().is_empty());

    store.remove_endpoint(endpoint.id).await.unwrap();
    assert!(store.deliveries(&samples::caller(), None, 10).await.unwrap().is_empty());
    assert!(claim(&store, 9_000, 1).await.is_empty());
}

/// Leased and put off by a clock that was days ahead, and has been set back since.
async fn what_a_clock_that_was_ahead_put_off_is_delivered(fixture: Fixture) {
    const HOUR: i64 = 3_600;
    let store = fixture.open().await;
    let (hook, other) = (samples::endpoint("hook"), samples::endpoint("other"));
    store.put_endpoint(hook.clone()).await.unwrap();
    store.put_endpoint(other.clone()).await.unwrap();
    for n in 0..2 {
        store.add_events(vec![samples::event(None, EventKind::BudgetLow, n)]).await.unwrap();
    }
    fan_out_all(&store).await;
    // Of one endpoint both are leased, of the other one is to wait for a day, and one has waited long enough.
    for due in store.claim_deliveries(after(72 * HOUR), after(73 * HOUR), 2, 100).await.unwrap() {
        if due.endpoint.id == other.id {
            let due_at = if due.event.sequence == 0 { after(26 * HOUR) } else { after(96 * HOUR) };
            let attempted_at = Some(after(72 * HOUR));
            let failed = Delivery { attempts: 1, due_at, attempted_at, ..due.delivery };
            store.delivery_attempted(failed).await.unwrap();
        }
    }
    // A look by the clock that is ahead: it says when the next one is worth it.
    assert!(store.claim_deliveries(after(26 * HOUR - 1), after(26 * HOUR), 2, 100).await.unwrap().is_empty());
    assert!(claim(&store, 20, 2).await.is_empty());

    assert_eq!(store.mend_dates(after(20)).await.unwrap(), 3);
    assert_eq!(store.mend_dates(after(20)).await.unwrap(), 0);
    let due = claim(&store, 20, 2).await;
    let to = |id: EndpointId| due.iter().filter(|due| due.endpoint.id == id).count();
    assert_eq!((to(hook.id), to(other.id)), (2, 1), "a wait of a day may be meant");
    // Those leases are such as are given.
    assert_eq!(store.mend_dates(after(20)).await.unwrap(), 0);
}

/// An event of a later version and an endpoint that does not open keep nobody else from being told.
async fn what_cannot_be_read_holds_up_nobody(fixture: Fixture) {
    let store = fixture.open().await;
    let (hook, broken) = (samples::endpoint("hook"), samples::endpoint("broken"));
    store.put_endpoint(hook.clone()).await.unwrap();
    store.put_endpoint(broken).await.unwrap();
    let kinds = [EventKind::SignerReady, EventKind::SignerSigned];
    store.add_events(kinds.map(|kind| samples::event(None, kind, 0)).into()).await.unwrap();
    fan_out_all(&store).await;
    fixture.sql("UPDATE events SET kind = 'from.later' WHERE kind = 'signer.ready'");
    fixture.sql("UPDATE endpoints SET sealed = (SELECT sealed FROM endpoints WHERE created_at >= 0 LIMIT 1)");
    // One of the two endpoints has the other's secrets now, which do not open for it.
    let claimed = claim(&store, 20, 4).await;
    assert_eq!(claimed.len(), 1);
    assert_eq!(claimed[0].event.kind, EventKind::SignerSigned);
    assert!(claim(&store, 21, 4).await.is_empty(), "what cannot be read is not looked at all the time");
    assert_eq!(store.endpoints(None).await.unwrap().len(), 1);
}

async fn endpoints_come_back_as_they_were(fixture: Fixture) {
    let store = fixture.open().await;
    let mut hook = samples::endpoint("hook");
    store.put_endpoint(hook.clone()).await.unwrap();
    hook.events = vec![EventKind::SignerSigned];
    hook.secrets = countersign::domain::Private::new(vec![b"newer".to_vec()]);
    // It may have been switched on or off since whoever replaces it has read it.
    let stale = Endpoint { disabled_at: Some(after(3)), ..hook.clone() };
    store.put_endpoint(stale).await.unwrap();
    let mut foreign = samples::endpoint("foreign");
    foreign.caller = CallerName::new("shop");
    foreign.created_at = after(1);
    store.put_endpoint(foreign.clone()).await.unwrap();
    assert_eq!(store.endpoints(None).await.unwrap(), [hook.clone(), foreign.clone()]);
    assert_eq!(store.endpoints(Some(&foreign.caller)).await.unwrap(), [foreign.clone()]);
    store.remove_endpoint(hook.id).await.unwrap();
    assert_eq!(store.endpoints(None).await.unwrap(), [foreign]);
}

async fn a_caller_who_adds_many_endpoints_at_once_gets_no_more_than_there_may_be(fixture: Fixture) {
    let store = fixture.open().await;
    let dropped = Endpoint { from_settings: true, ..samples::endpoint("dropped") };
    store.replace_webhooks(vec![dropped], after(1)).await.unwrap();
    store.replace_webhooks(Vec::new(), after(2)).await.unwrap();
    let foreign = Endpoint { caller: CallerName::new("shop"), ..samples::endpoint("foreign") };
    assert!(store.add_endpoint(foreign, 1).await.unwrap());
    let one = samples::endpoint("one");
    assert!(store.add_endpoint(one.clone(), 1).await.unwrap());
    assert!(store.add_endpoint(one, 1).await.unwrap(), "the same one again, whose answer was lost");
    let adds = (0..12).map(|number| store.add_endpoint(samples::endpoint(&format!("at-once-{number}")), 5));
    let added = futures_util::future::join_all(adds).await;
    assert_eq!(added.into_iter().filter(|added| *added.as_ref().unwrap()).count(), 4);
    let of_caller = store.endpoints(Some(&samples::caller())).await.unwrap();
    assert_eq!(of_caller.iter().filter(|endpoint| endpoint.dropped_at.is_none()).count(), 5);
}

async fn what_waits_for_an_endpoint_that_is_off_is_not_the_oldest(fixture: Fixture) {
    let store = fixture.open().await;
    let (hook, off) = (samples::endpoint("hook"), samples::endpoint("off"));
    store.put_endpoint(off.clone()).await.unwrap();
    store.add_events(vec![samples::event(None, EventKind::BudgetLow, 0)]).await.unwrap();
    store.fan_out(after(10), 7).await.unwrap();
    store.put_endpoint(hook.clone()).await.unwrap();
    store.add_events(vec![samples::event(None, EventKind::BudgetLow, 0)]).await.unwrap();
    store.fan_out(after(20), 7).await.unwrap();
    assert_eq!(store.oldest_pending_delivery().await.unwrap(), Some(after(10)));
    store.switch_endpoint(off.id, Some(after(30))).await.unwrap();
    assert_eq!(store.oldest_pending_delivery().await.unwrap(), Some(after(20)));
    store.switch_endpoint(hook.id, Some(after(30))).await.unwrap();
    assert_eq!(store.oldest_pending_delivery().await.unwrap(), None);
}

async fn a_rotation_overwrites_nothing_that_it_has_not_seen(fixture: Fixture) {
    let store = fixture.open().await;
    let hook = samples::endpoint("hook");
    let with = |secret: &str| Endpoint {
        secrets: countersign::domain::Private::new(vec![secret.as_bytes().to_vec()]),
        rotated_at: Some(after(1)),
        ..hook.clone()
    };
    assert!(!store.rotate_endpoint(hook.clone(), with("of none")).await.unwrap());
    assert!(store.endpoints(None).await.unwrap().is_empty(), "what is gone does not come back");
    store.put_endpoint(hook.clone()).await.unwrap();
    assert!(store.rotate_endpoint(hook.clone(), with("first")).await.unwrap());
    assert!(
        !store.rotate_endpoint(hook.clone(), with("second")).await.unwrap(),
        "it was read before the first"
    );
    assert_eq!(store.endpoints(None).await.unwrap(), [with("first")]);
    assert!(store.rotate_endpoint(with("first"), with("second")).await.unwrap());
    assert_eq!(store.endpoints(None).await.unwrap(), [with("second")]);
}

fn of_settings(name: &str) -> Endpoint {
    Endpoint { from_settings: true, ..samples::endpoint(name) }
}

/// Those that the settings name, by their ids.
async fn named(store: &SharedStore) -> Vec<Endpoint> {
    let mut all = store.endpoints(None).await.unwrap();
    all.retain(|endpoint| endpoint.from_settings && endpoint.dropped_at.is_none());
    all.sort_unstable_by_key(|endpoint| endpoint.id.as_uuid());
    all
}

/// A reload that fails in the middle has changed nothing.
async fn webhooks_of_the_settings_are_replaced_as_one(fixture: Fixture) {
    let store = fixture.open().await;
    // In the order of their ids.
    let (shop, crm) = (of_settings("shop"), of_settings("crm"));
    store.put_endpoint(samples::endpoint("made")).await.unwrap();
    let dropped = store.replace_webhooks(vec![crm.clone(), shop.clone()], after(1)).await.unwrap();
    assert!(dropped.is_empty(), "what a caller made is not the settings'");
    assert_eq!(named(&store).await, [shop.clone(), crm.clone()]);
    store.switch_endpoint(crm.id, Some(after(2))).await.unwrap();
    store.replace_webhooks(vec![crm.clone(), shop.clone()], after(3)).await.unwrap();
    assert_eq!(named(&store).await, [shop.clone(), crm.clone()], "it is on again");

    fixture.sql(match fixture.location {
        Location::Postgres { .. } => {
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION $$no$$; END'; \
             CREATE TRIGGER refuse BEFORE INSERT ON endpoints FOR EACH ROW WHEN (NEW.caller = 'refused') \
             EXECUTE FUNCTION refuse()"
        }
        Location::Sqlite { .. } => {
            "CREATE TRIGGER refuse BEFORE INSERT ON endpoints WHEN NEW.caller = 'refused' \
             BEGIN SELECT RAISE(ABORT, 'no'); END"
        }
    });
    let newer = Endpoint { url: "https://newer.example.com/".into(), ..shop.clone() };
    let refused = Endpoint { caller: CallerName::new("refused"), ..of_settings("made too") };
    assert!(newer.id.as_uuid() < refused.id.as_uuid());
    store.replace_webhooks(vec![newer, refused], after(4)).await.unwrap_err();
    assert_eq!(named(&store).await, [shop, crm]);
}

/// Nothing is sent to it, and nothing that is for it is lost.
async fn a_webhook_that_the_settings_dropped_waits_to_be_named_again(fixture: Fixture) {
    let store = fixture.open().await;
    let (crm, shop) = (of_settings("crm"), of_settings("shop"));
    let both = vec![crm.clone(), shop.clone()];
    store.replace_webhooks(both.clone(), after(1)).await.unwrap();
    store.add_events(vec![samples::event(None, EventKind::BudgetLow, 0)]).await.unwrap();
    fan_out_all(&store).await;
    for at in [2, 3] {
        let dropped = store.replace_webhooks(vec![shop.clone()], after(at)).await.unwrap();
        assert_eq!(dropped.is_empty(), at == 3, "it is dropped once");
    }
    let found = store.endpoints(None).await.unwrap().into_iter().find(|endpoint| endpoint.id == crm.id);
    assert_eq!(found, Some(Endpoint { dropped_at: Some(after(2)), ..crm.clone() }));
    store.add_events(vec![samples::event(None, EventKind::BudgetLow, 1)]).await.unwrap();
    fan_out_all(&store).await;
    let due = claim(&store, 20, 10).await;
    assert_eq!(due.len(), 2);
    for due in due {
        assert_eq!(due.endpoint.id, shop.id);
        let done = Delivery { state: DeliveryState::Delivered, attempts: 1, ..due.delivery };
        store.delivery_attempted(done).await.unwrap();
    }
    assert_eq!(store.oldest_pending_delivery().await.unwrap(), None);

    store.replace_webhooks(both, after(30)).await.unwrap();
    assert_eq!(named(&store).await, [shop, crm.clone()]);
    let due = claim(&store, 31, 10).await;
    assert_eq!(due.iter().map(|due| due.endpoint.id).collect::<Vec<_>>(), [crm.id, crm.id]);
}

async fn a_webhook_that_was_named_after_its_caller_is_remembered_as_theirs(fixture: Fixture) {
    let store = fixture.open().await;
    let own = Endpoint { caller: CallerName::new("shop"), ..of_settings("shop") };
    store.put_endpoint(samples::endpoint(samples::caller().as_str())).await.unwrap();
    assert!(store.own_webhooks().await.unwrap().is_empty());
    for wanted in [vec![own.clone(), of_settings("crm")], vec![own.clone()], vec![]] {
        store.replace_webhooks(wanted, after(1)).await.unwrap();
        assert_eq!(store.own_webhooks().await.unwrap(), [own.id], "what a caller made is not the settings'");
    }
    store.destroy(Retention { dropped_before: after(2), ..KEEP_ALL }).await.unwrap();
    assert_eq!(store.endpoints(None).await.unwrap().len(), 1);
    assert_eq!(store.own_webhooks().await.unwrap(), [own.id]);
    // The id of both names: somebody else has the plain one.
    let cafe = Endpoint {
        id: EndpointId::from_settings_for("cafe", "cafe"),
        caller: CallerName::new("cafe"),
        ..of_settings("cafe")
    };
    let others = Endpoint {
        id: EndpointId::from_settings_for("cafe", "shop"),
        caller: own.caller,
        ..of_settings("cafe")
    };
    store.replace_webhooks(vec![cafe, others], after(3)).await.unwrap();
    let found = store.own_webhooks().await.unwrap();
    assert_eq!(found.len(), 2);
    assert!(found.contains(&own.id) && found.contains(&EndpointId::from_settings("cafe")), "{found:?}");
}

async fn a_dropped_webhook_that_is_named_for_another_caller_gets_nothing_of_before(fixture: Fixture) {
    let store = fixture.open().await;
    let [hook, stays] = named_and_pending(&store).await;
    store.replace_webhooks(vec![stays.clone()], after(2)).await.unwrap();
    store.add_events(vec![samples::event(None, EventKind::BudgetLow, 1)]).await.unwrap();
    fan_out_all(&store).await;
    gives_away_nothing(&store, hook, stays).await;
}

async fn a_webhook_that_is_given_to_another_caller_gets_nothing_of_before(fixture: Fixture) {
    let store = fixture.open().await;
    let [hook, stays] = named_and_pending(&store).await;
    gives_away_nothing(&store, hook, stays).await;
}

/// Two webhooks of one caller, each with an event that is pending for it.
async fn named_and_pending(store: &SharedStore) -> [Endpoint; 2] {
    let webhooks = ["hook", "stays"].map(of_settings);
    store.replace_webhooks(webhooks.to_vec(), after(1)).await.unwrap();
    store.add_events(vec![samples::event(None, EventKind::BudgetLow, 0)]).await.unwrap();
    fan_out_all(store).await;
    webhooks
}

/// Names `hook` for another caller, and sees what is sent then.
async fn gives_away_nothing(store: &SharedStore, hook: Endpoint, stays: Endpoint) {
    let shop = CallerName::new("shop");
    let shops = Endpoint { caller: shop.clone(), url: "https://shop.example.com/".into(), ..hook };
    let theirs = store.deliveries(&samples::caller(), None, 10).await.unwrap();
    let stay: Vec<_> = theirs.into_iter().filter(|delivery| delivery.endpoint == stays.id).collect();
    store.replace_webhooks(vec![shops.clone(), stays], after(12)).await.unwrap();
    let left = store.deliveries(&samples::caller(), None, 10).await.unwrap();
    assert_eq!(left, stay, "what was pending for it is gone, and nothing else");
    let event = Event { caller: shop, ..samples::event(None, EventKind::BudgetLow, 2) };
    store.add_events(vec![event.clone()]).await.unwrap();
    fan_out_all(store).await;
    let due = claim(store, 20, 10).await;
    let sent: Vec<_> = due.iter().filter(|due| due.endpoint.id == shops.id).collect();
    assert_eq!(sent.iter().map(|due| (&due.event, &due.endpoint)).collect::<Vec<_>>(), [(&event, &shops)]);
    assert_eq!(due.len(), stay.len() + 1);
}

/// Whoever fans out may have read whose an endpoint is just before it became another's.
async fn what_is_pending_for_what_is_another_callers_by_now_fails(fixture: Fixture) {
    let store = fixture.open().await;
    store.put_endpoint(samples::endpoint("hook")).await.unwrap();
    store.add_events(vec![samples::event(None, EventKind::BudgetLow, 0)]).await.unwrap();
    store.fan_out(after(9), 7).await.unwrap();
    fixture.sql("UPDATE endpoints SET caller = 'shop'");
    let event = Event { caller: CallerName::new("shop"), ..samples::event(None, EventKind::BudgetLow, 1) };
    store.add_events(vec![event.clone()]).await.unwrap();
    fan_out_all(&store).await;
    assert!(claim(&store, 20, 1).await.is_empty());
    let due = claim(&store, 20, 1).await;
    assert_eq!(
        due.iter().map(|due| &due.event).collect::<Vec<_>>(),
        [&event],
        "it leaves its place to the next"
    );
    let failed = store.deliveries(&samples::caller(), None, 10).await.unwrap();
    assert_eq!(failed.iter().map(|failed| failed.state).collect::<Vec<_>>(), [DeliveryState::Failed]);
}

async fn daemons_with_different_settings_leave_those_of_one(fixture: Fixture) {
    let store = fixture.open().await;
    let other = fixture.neighbour(&store).await;
    let older: Vec<_> = ["a", "b", "c", "d"].map(of_settings).into();
    let newer: Vec<_> = ["c", "d", "e", "f"].map(of_settings).into();
    for round in 0..20 {
        let (one, two) = tokio::join!(
            store.replace_webhooks(older.clone(), after(round)),
            other.replace_webhooks(newer.clone(), after(round)),
        );
        one.unwrap();
        two.unwrap();
        let found = named(&store).await;
        let is_whole = [&older, &newer]
            .iter()
            .any(|list| list.len() == found.len() && list.iter().all(|endpoint| found.contains(endpoint)));
        assert!(is_whole, "round {round}: {found:?}");
    }
}

/// Nothing that makes a delivery due goes unseen by the next claim, whatever came before.
async fn an_endpoint_is_looked_at_when_it_has_something_due(fixture: Fixture) {
    let store = fixture.open().await;
    let mut hook = samples::endpoint("hook");
    store.put_endpoint(hook.clone()).await.unwrap();
    assert!(claim(&store, 1, 1).await.is_empty());
    for n in 0..3 {
        store.add_events(vec![samples::event(None, EventKind::SignerSigned, n)]).await.unwrap();
    }
    store.fan_out(after(10), 10).await.unwrap();
    // One at a time: the place of one that has ended is given to the next at once.
    let mut first = claim(&store, 10, 1).await.pop().unwrap().delivery;
    assert!(claim(&store, 11, 1).await.is_empty(), "its place is taken");
    first.attempts = 1;
    first.attempted_at = Some(after(12));
    first.due_at = after(500);
    store.delivery_attempted(first.clone()).await.unwrap();
    let mut second = claim(&store, 12, 1).await.pop().unwrap().delivery;
    assert_ne!(second.id, first.id);
    second.state = DeliveryState::Delivered;
    second.attempted_at = Some(after(13));
    store.delivery_attempted(second).await.unwrap();
    let third = claim(&store, 13, 1).await.pop().unwrap().delivery;
    // Its daemon dies: the lease lapses, and it comes again. Then the first one is due again.
    assert!(claim(&store, 72, 1).await.is_empty());
    assert_eq!(claim(&store, 73, 1).await.pop().unwrap().delivery.id, third.id);
    assert_eq!(claim(&store, 200, 1).await.pop().unwrap().delivery.id, third.id);
    let done = Delivery { state: DeliveryState::Delivered, attempted_at: Some(after(201)), ..third };
    store.delivery_attempted(done).await.unwrap();
    assert!(claim(&store, 499, 1).await.is_empty());
    // While it is off nothing is claimed; once it is on again, what has waited is.
    store.switch_endpoint(hook.id, Some(after(499))).await.unwrap();
    hook.disabled_at = Some(after(499));
    assert_eq!(store.endpoints(None).await.unwrap(), [hook.clone()], "and nothing else changes");
    assert!(claim(&store, 600, 1).await.is_empty());
    store.switch_endpoint(hook.id, None).await.unwrap();
    store.switch_endpoint(samples::endpoint("none").id, None).await.unwrap();
    let again = claim(&store, 600, 1).await.pop().unwrap().delivery;
    assert_eq!(again.id, first.id);
    // Given back without an attempt, it is there for the next.
    store.delivery_attempted(again).await.unwrap();
    let last = claim(&store, 601, 1).await.pop().unwrap().delivery;
    let failed = Delivery { state: DeliveryState::Failed, attempted_at: Some(after(602)), ..last };
    store.delivery_attempted(failed.clone()).await.unwrap();
    assert!(claim(&store, 10_000, 1).await.is_empty());
    store.replay(failed.id, after(10_000)).await.unwrap();
    assert_eq!(claim(&store, 10_000, 1).await.pop().unwrap().delivery.id, failed.id);
}

/// The pulse is remembered, the last one that was written: a clock that was ahead must not hide an outage.
async fn the_last_pulse_is_remembered(fixture: Fixture) {
    let store = fixture.open().await;
    assert_eq!(store.last_pulse().await.unwrap(), None);
    for at in [10, 20, 5] {
        store.pulse(after(at)).await.unwrap();
        assert_eq!(store.last_pulse().await.unwrap(), Some(after(at)));
    }
}
