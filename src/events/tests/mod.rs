//! The dispatcher against real receivers on loopback, over a real store.

mod endpoints;

use std::{sync::Arc, time::Duration};

use serde_json::Value;

use super::{
    Dependencies, Dispatcher, Endpoints, FromSettings, Hub, Limits, Log, NewEndpoint, ReplayError, Targets,
    Webhooks,
    endpoints::Error,
    testing::{Receiver, caller, event, eventually, now, store},
    webhooks::sign,
};
use crate::{
    clock::{Clock as _, ManualClock, SharedClock, SystemClock},
    domain::{CallerName, EventId, Private, SigningId},
    lifecycle::Lifecycle,
    store::{Delivery, DeliveryState, SharedStore},
    telemetry::metrics::Metrics,
};

const TARGETS: Targets = Targets { plain_loopback: true };
const SECRET: &[u8] = b"0123456789abcdef01234567";

struct Fixture {
    store: SharedStore,
    hub: Hub,
    clock: ManualClock,
    life: Lifecycle,
    endpoints: Endpoints,
    log: Log,
    metrics: Arc<Metrics>,
}

fn dispatcher(
    store: &SharedStore,
    hub: &Hub,
    clock: &SharedClock,
    life: &Lifecycle,
    limits: Limits,
) -> Arc<Metrics> {
    let metrics = Arc::new(Metrics::new(&[]));
    let endpoints = Endpoints::new(Arc::clone(store), Arc::clone(clock), TARGETS);
    let given = Dependencies {
        store: Arc::clone(store),
        endpoints,
        webhooks: Webhooks::new(TARGETS).unwrap(),
        hub: hub.clone(),
        clock: Arc::clone(clock),
        life: life.clone(),
        metrics: Arc::clone(&metrics),
    };
    life.spawn("dispatcher", Dispatcher::new(given, limits).run());
    metrics
}

/// A dispatcher that runs, and what it works on.
async fn fixture() -> Fixture {
    let (store, hub, clock, life) = (store().await, Hub::new(), ManualClock::new(now()), Lifecycle::new());
    let shared: SharedClock = Arc::new(clock.clone());
    let metrics = dispatcher(&store, &hub, &shared, &life, Limits::default());
    let endpoints = Endpoints::new(Arc::clone(&store), Arc::clone(&shared), TARGETS);
    let log = Log::new(Arc::clone(&store), hub.clone(), shared);
    Fixture { store, hub, clock, life, endpoints, log, metrics }
}

impl Fixture {
    async fn endpoint(&self, url: &str, allow_private: bool) {
        let settings = from_settings("website", url, allow_private);
        self.endpoints.apply(&[settings], &[caller()]).await.unwrap();
    }

    async fn publish(&self, signing: SigningId, sequences: std::ops::RangeInclusive<u64>) -> Vec<EventId> {
        let events: Vec<_> = sequences.map(|sequence| event(signing, sequence, self.clock.now())).collect();
        let ids = events.iter().map(|event| event.id).collect();
        self.store.add_events(events).await.unwrap();
        self.hub.published();
        ids
    }

    async fn deliveries(&self) -> Vec<Delivery> {
        self.log.deliveries(&caller(), None, 100).await.unwrap()
    }

    /// Waits until the delivery of an event is so.
    async fn until(&self, event: EventId, is_so: impl Fn(&Delivery) -> bool) -> Delivery {
        let found = async || {
            let deliveries = self.deliveries().await;
            deliveries.into_iter().find(|delivery| delivery.event == event && is_so(delivery))
        };
        eventually(async || found().await.is_some()).await;
        found().await.expect("nobody changes it any more")
    }

    /// What goes on with the store after this one has stopped.
    fn next_dispatcher(&self) -> Lifecycle {
        let (life, clock) = (Lifecycle::new(), Arc::new(self.clock.clone()) as SharedClock);
        dispatcher(&self.store, &self.hub, &clock, &life, Limits::default());
        life
    }

    fn counted(&self, result: &str) -> bool {
        let line = format!("countersign_webhook_attempts_total{{result=\"{result}\"}} 1");
        self.metrics.render().contains(&line)
    }
}

fn from_settings(name: &str, url: &str, allow_private: bool) -> FromSettings {
    FromSettings {
        name: name.to_owned(),
        callers: None,
        url: url.to_owned(),
        secrets: Private::new(vec![SECRET.to_vec()]),
        events: Vec::new(),
        allow_private,
    }
}

fn signing() -> SigningId {
    SigningId::generate(now())
}

#[tokio::test]
async fn an_event_arrives_signed_whole_and_once() {
    let (fixture, mut receiver) = (fixture().await, Receiver::start(&[]).await);
    fixture.endpoint(&receiver.url, true).await;
    let ids = fixture.publish(signing(), 1..=1).await;
    let taken = receiver.next().await;
    let id = ids[0].to_string();
    assert_eq!(taken.header("webhook-id"), id);
    assert_eq!(taken.header("webhook-timestamp"), now().as_second().to_string());
    assert_eq!(taken.header("webhook-signature"), sign(SECRET, &id, now().as_second(), &taken.body));
    assert_eq!(taken.header("content-type"), "application/json");
    let body: Value = serde_json::from_slice(&taken.body).unwrap();
    assert_eq!((&body["type"], &body["data"]["sequence"]), (&"signer.ready".into(), &1.into()));
    let delivery = fixture.until(ids[0], |delivery| delivery.state == DeliveryState::Delivered).await;
    assert_eq!((delivery.attempts, delivery.response_status), (1, Some(200)));
    assert!(receiver.is_idle() && fixture.counted("delivered"));
}

#[tokio::test]
async fn a_failed_attempt_is_repeated_with_the_same_id_before_later_events_of_the_signing() {
    let (fixture, mut receiver) = (fixture().await, Receiver::start(&[500]).await);
    fixture.endpoint(&receiver.url, true).await;
    let signing = signing();
    let mut ids = fixture.publish(signing, 1..=1).await;
    receiver.next().await;
    let delivery = fixture.until(ids[0], |delivery| delivery.attempts == 1).await;
    assert_eq!((delivery.state, delivery.response_status), (DeliveryState::Pending, Some(500)));
    let wait = delivery.due_at.duration_since(now());
    assert!((4_500..=5_500).contains(&wait.as_millis()), "5 s, ±10 %: {wait}");
    ids.extend(fixture.publish(signing, 2..=3).await);
    // Another signing's event does not wait.
    let other = fixture.publish(self::signing(), 1..=1).await;
    assert_eq!(receiver.next().await.header("webhook-id"), other[0].to_string());
    eventually(async || fixture.deliveries().await.len() == 4).await;
    assert!(receiver.is_idle());
    fixture.clock.advance(Duration::from_secs(6));
    for id in ids {
        assert_eq!(receiver.next().await.header("webhook-id"), id.to_string());
    }
    assert!(receiver.is_done());
}

#[tokio::test]
async fn how_long_the_oldest_event_has_been_waiting_is_told_soon_and_goes_on_from_scrape_to_scrape() {
    let (fixture, mut receiver) = (fixture().await, Receiver::silent(&[]).await);
    fixture.endpoint(&receiver.url, true).await;
    let age = || {
        let text = fixture.metrics.render();
        let line =
            text.lines().find_map(|line| line.strip_prefix("countersign_webhook_oldest_pending_seconds "));
        line.unwrap().to_owned()
    };
    assert_eq!(age(), "0");
    let ids = fixture.publish(signing(), 1..=1).await;
    receiver.next().await;
    fixture.clock.advance(Duration::from_secs(5));
    eventually(async || age() == "5").await;
    fixture.clock.advance(Duration::from_secs(2));
    assert_eq!(age(), "7", "by the time of the scrape, not of the last look");
    receiver.speak();
    fixture.until(ids[0], |delivery| delivery.state == DeliveryState::Delivered).await;
    fixture.clock.advance(Duration::from_secs(5));
    eventually(async || age() == "0").await;
}

/// A receiver that fails now and then takes what else there is as fast as ever.
#[tokio::test]
async fn what_waits_for_a_second_attempt_takes_no_place_of_its_endpoint() {
    const FAILING: usize = 20;
    assert!(FAILING > usize::try_from(Limits::default().per_endpoint).unwrap());
    let (fixture, mut receiver) = (fixture().await, Receiver::start(&[500; FAILING]).await);
    fixture.endpoint(&receiver.url, true).await;
    let signings: Vec<_> = std::iter::repeat_with(signing).take(FAILING).collect();
    let publish = async |sequence| {
        let events: Vec<_> = signings.iter().map(|signing| event(*signing, sequence, now())).collect();
        let ids: Vec<_> = events.iter().map(|event| event.id.to_string()).collect();
        fixture.store.add_events(events).await.unwrap();
        fixture.hub.published();
        ids
    };
    let firsts = publish(1).await;
    for _ in 0..FAILING {
        receiver.next().await;
    }
    eventually(async || fixture.deliveries().await.iter().all(|delivery| delivery.attempts == 1)).await;
    let seconds = publish(2).await;
    // The clock stands still, so that all of those wait.
    let other = fixture.publish(self::signing(), 1..=1).await;
    assert_eq!(receiver.next().await.header("webhook-id"), other[0].to_string());
    let is_put_off = |delivery: &Delivery| delivery.due_at > now() || delivery.event == other[0];
    eventually(async || fixture.deliveries().await.iter().all(is_put_off)).await;
    assert!(receiver.is_idle());

    fixture.clock.advance(Duration::from_secs(6));
    let mut arrived = Vec::new();
    for _ in 0..2 * FAILING {
        arrived.push(receiver.next().await.header("webhook-id").to_owned());
    }
    let place = |id: &String| arrived.iter().position(|arrived| arrived == id).unwrap();
    for (first, second) in firsts.iter().zip(&seconds) {
        assert!(place(first) < place(second), "each signing's events in their order: {arrived:?}");
    }
}

#[tokio::test]
async fn more_events_of_a_signing_than_its_endpoint_has_places_keep_their_order() {
    let (fixture, mut receiver) = (fixture().await, Receiver::start(&[500]).await);
    fixture.endpoint(&receiver.url, true).await;
    let signing = signing();
    let mut ids = fixture.publish(signing, 1..=1).await;
    receiver.next().await;
    ids.extend(fixture.publish(signing, 2..=30).await);
    let are_put_off = async || {
        let deliveries = fixture.deliveries().await;
        deliveries.len() == ids.len() && deliveries.iter().all(|delivery| delivery.due_at > now())
    };
    eventually(are_put_off).await;
    fixture.clock.advance(Duration::from_secs(6));
    for id in ids {
        assert_eq!(receiver.next().await.header("webhook-id"), id.to_string());
    }
}

#[tokio::test]
async fn an_event_that_fails_twice_holds_nobody_up_any_more() {
    let (fixture, mut receiver) = (fixture().await, Receiver::start(&[500, 500, 200]).await);
    fixture.endpoint(&receiver.url, true).await;
    let signing = signing();
    let ids = fixture.publish(signing, 1..=2).await;
    receiver.next().await;
    eventually(async || fixture.deliveries().await.iter().any(|delivery| delivery.attempts == 1)).await;
    fixture.clock.advance(Duration::from_secs(6));
    assert_eq!(receiver.next().await.header("webhook-id"), ids[0].to_string());
    assert_eq!(receiver.next().await.header("webhook-id"), ids[1].to_string(), "the second one overtakes");
}

#[tokio::test]
async fn a_receiver_that_is_gone_is_left_alone_until_the_settings_are_read_again() {
    let (fixture, mut receiver) = (fixture().await, Receiver::start(&[410]).await);
    fixture.endpoint(&receiver.url, true).await;
    let ids = fixture.publish(signing(), 1..=1).await;
    receiver.next().await;
    let delivery = fixture.until(ids[0], |delivery| delivery.state == DeliveryState::Failed).await;
    assert!(fixture.counted("gone"));
    let disabled = async || fixture.endpoints.list(&caller()).await.unwrap()[0].disabled_at.is_some();
    eventually(disabled).await;
    fixture.publish(signing(), 1..=1).await;
    // Whoever fans out, it has been done after this: nothing is kept for who wants nothing.
    fixture.store.fan_out(fixture.clock.now(), 100).await.unwrap();
    fixture.endpoint(&receiver.url, true).await;
    assert!(!disabled().await);
    // Replayed by hand, it comes with all its attempts.
    let foreign = fixture.log.replay(&CallerName::new("shop"), delivery.id).await;
    assert!(matches!(foreign, Err(ReplayError::NotFound)));
    fixture.log.replay(&caller(), delivery.id).await.unwrap();
    assert_eq!(receiver.next().await.header("webhook-id"), delivery.event.to_string());
}

#[tokio::test]
async fn a_callers_endpoint_that_was_gone_is_switched_on_by_its_caller() {
    let (fixture, mut receiver) = (fixture().await, Receiver::start(&[410, 200]).await);
    let new = NewEndpoint { url: receiver.url.clone(), events: Vec::new(), allow_private: Some(true) };
    let made = fixture.endpoints.create(&caller(), new).await.unwrap().endpoint;
    let ids = fixture.publish(signing(), 1..=1).await;
    receiver.next().await;
    let delivery = fixture.until(ids[0], |delivery| delivery.state == DeliveryState::Failed).await;
    let read = async || fixture.endpoints.get(&caller(), made.id).await.unwrap();
    eventually(async || read().await.disabled_at.is_some()).await;
    // A new secret is no wish for events, and is not lost when a late 410 switches the endpoint off again.
    let rotated = fixture.endpoints.rotate(&caller(), made.id).await.unwrap().endpoint;
    fixture.endpoints.disable(made.id).await.unwrap();
    assert_eq!((read().await.secrets, read().await.disabled_at.is_some()), (rotated.secrets, true));
    let refused = fixture.log.replay(&caller(), delivery.id).await;
    assert!(matches!(refused, Err(ReplayError::EndpointDisabled)), "it would wait for ever");
    let foreign = fixture.endpoints.enable(&CallerName::new("shop"), made.id).await;
    assert!(matches!(foreign, Err(Error::NotFound)));
    fixture.endpoints.enable(&caller(), made.id).await.unwrap();
    fixture.log.replay(&caller(), delivery.id).await.unwrap();
    assert_eq!(receiver.next().await.header("webhook-id"), ids[0].to_string());
    fixture.until(ids[0], |delivery| delivery.state == DeliveryState::Delivered).await;
}

#[tokio::test]
async fn what_waited_behind_a_410_goes_out_when_the_endpoint_is_switched_on_and_not_a_lease_later() {
    let (fixture, mut receiver) = (fixture().await, Receiver::silent(&[410]).await);
    let new = NewEndpoint { url: receiver.url.clone(), events: Vec::new(), allow_private: Some(true) };
    let made = fixture.endpoints.create(&caller(), new).await.unwrap().endpoint;
    fixture.publish(signing(), 1..=3).await;
    // The others wait for the end of this attempt.
    assert_eq!(receiver.next_sequence().await, 1);
    receiver.speak();
    let read = async || fixture.endpoints.get(&caller(), made.id).await.unwrap();
    eventually(async || read().await.disabled_at.is_some()).await;
    fixture.endpoints.enable(&caller(), made.id).await.unwrap();
    fixture.clock.advance(Duration::from_secs(1));
    for sequence in [2, 3] {
        assert_eq!(receiver.next_sequence().await, sequence);
    }
}

#[tokio::test]
async fn an_endpoint_of_the_settings_that_was_gone_is_switched_on_by_its_caller_as_it_was() {
    let (fixture, mut receiver) = (fixture().await, Receiver::start(&[410, 200]).await);
    fixture.endpoint(&receiver.url, true).await;
    let before = fixture.endpoints.list(&caller()).await.unwrap().pop().unwrap();
    let ids = fixture.publish(signing(), 1..=1).await;
    receiver.next().await;
    let delivery = fixture.until(ids[0], |delivery| delivery.state == DeliveryState::Failed).await;
    let read = async || fixture.endpoints.get(&caller(), before.id).await.unwrap();
    eventually(async || read().await.disabled_at.is_some()).await;
    let foreign = fixture.endpoints.enable(&CallerName::new("shop"), before.id).await;
    assert!(matches!(foreign, Err(Error::NotFound)));
    assert_eq!(fixture.endpoints.enable(&caller(), before.id).await.unwrap(), before);
    fixture.log.replay(&caller(), delivery.id).await.unwrap();
    assert_eq!(receiver.next().await.header("webhook-id"), ids[0].to_string());
    assert!(matches!(fixture.endpoints.pause(&caller(), before.id).await, Err(Error::InSettings)));
}

#[tokio::test]
async fn nothing_is_sent_to_a_private_address_and_no_redirect_is_followed() {
    let (fixture, mut receiver) = (fixture().await, Receiver::start(&[302]).await);
    fixture.endpoint(&receiver.url, false).await;
    let ids = fixture.publish(signing(), 1..=1).await;
    let delivery = fixture.until(ids[0], |delivery| delivery.state == DeliveryState::Failed).await;
    assert!(delivery.error.unwrap().contains("allow_private"));
    assert!(receiver.is_idle() && fixture.counted("given_up"));
    fixture.endpoint(&receiver.url, true).await;
    let ids = fixture.publish(signing(), 1..=1).await;
    receiver.next().await;
    let delivery = fixture.until(ids[0], |delivery| delivery.attempts == 1).await;
    assert_eq!((delivery.state, delivery.response_status), (DeliveryState::Pending, Some(302)));
}

#[tokio::test]
async fn dead_receivers_do_not_delay_the_living() {
    const EACH: usize = 150;
    let (store, hub, life) = (store().await, Hub::new(), Lifecycle::new());
    let clock: SharedClock = Arc::new(SystemClock);
    let endpoints = Endpoints::new(Arc::clone(&store), Arc::clone(&clock), TARGETS);
    let mut living = Receiver::start(&[]).await;
    // Takes connections and never answers.
    let dead = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dead_url = format!("http://{}/", dead.local_addr().unwrap());
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = dead.accept().await {
            held.push(stream);
        }
    });
    let settings: Vec<_> = (0..EACH)
        .flat_map(|n| {
            [
                from_settings(&format!("a{n}"), &dead_url, true),
                from_settings(&format!("b{n}"), &living.url, true),
            ]
        })
        .collect();
    endpoints.apply(&settings, &[caller()]).await.unwrap();
    store.add_events(vec![event(signing(), 1, clock.now())]).await.unwrap();
    let limits =
        Limits { quick: 16, slow: 2 * EACH, patience: Duration::from_millis(20), ..Limits::default() };
    let began = clock.uptime();
    dispatcher(&store, &hub, &clock, &life, limits);
    for _ in 0..EACH {
        living.next().await;
    }
    // Without the slow places, the dead would hold each of the quick ones for 15 s.
    let took = clock.uptime().saturating_sub(began);
    assert!(took < Duration::from_secs(8), "{took:?}");
    life.abort();
}

#[tokio::test]
async fn what_waits_when_the_daemon_stops_is_free_for_the_next() {
    let (fixture, mut receiver) = (fixture().await, Receiver::silent(&[]).await);
    fixture.endpoint(&receiver.url, true).await;
    fixture.publish(signing(), 1..=3).await;
    // The others wait for the end of this attempt.
    receiver.next().await;
    fixture.life.stop();
    receiver.speak();
    assert!(fixture.life.drain(Duration::from_secs(10)).await);
    let next_life = fixture.next_dispatcher();
    // The leases are over, so the second and third come at once, in their order.
    for sequence in [2, 3] {
        assert_eq!(receiver.next_sequence().await, sequence);
    }
    next_life.abort();
}

#[tokio::test]
async fn what_is_held_when_the_daemon_stops_comes_in_its_order_from_the_next() {
    let (fixture, mut receiver) = (fixture().await, Receiver::start(&[500]).await);
    fixture.endpoint(&receiver.url, true).await;
    let ids = fixture.publish(signing(), 1..=3).await;
    receiver.next().await;
    fixture.until(ids[2], |delivery| delivery.due_at > now()).await;
    fixture.life.stop();
    assert!(fixture.life.drain(Duration::from_secs(10)).await);
    let next_life = fixture.next_dispatcher();
    fixture.clock.advance(Duration::from_secs(6));
    for sequence in [1, 2, 3] {
        assert_eq!(receiver.next_sequence().await, sequence);
    }
    next_life.abort();
}
