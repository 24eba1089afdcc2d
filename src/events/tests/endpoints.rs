//! Whose endpoints there are: those that callers make, and those of the settings, which come and go with them.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::{fixture, from_settings, signing};
use crate::{
    clock::Clock as _,
    domain::{CallerName, Event, EventKind},
    events::{
        FromSettings, NewEndpoint, ReplayError,
        endpoints::{Error, secret_bytes},
        testing::{Receiver, caller, event, eventually, now},
        webhooks::sign,
    },
    store::{DeliveryState, Retention},
};

#[tokio::test]
async fn callers_make_see_rotate_and_remove_only_their_own_endpoints() {
    let (fixture, mut receiver) = (fixture().await, Receiver::start(&[]).await);
    let (own, other) = (caller(), CallerName::new("shop"));
    let new = |url: &str| NewEndpoint {
        url: url.to_owned(),
        events: vec![EventKind::SignerReady],
        allow_private: None,
    };
    for wrong in
        ["", "/hook", "ftp://example.com/", "http://example.com/", "https://10.0.0.1/", "https://[::1]/x"]
    {
        let refused = fixture.endpoints.create(&own, new(wrong)).await;
        // With the emulator, loopback is where a developer's receiver is.
        assert!(matches!(refused, Err(Error::Forbidden(_))) || wrong.contains("::1"), "{wrong}");
    }
    let made = fixture.endpoints.create(&own, new(&receiver.url)).await.unwrap();
    let id = made.endpoint.id;
    assert!(matches!(fixture.endpoints.get(&other, id).await, Err(Error::NotFound)));
    assert!(matches!(fixture.endpoints.rotate(&other, id).await, Err(Error::NotFound)));
    assert!(matches!(fixture.endpoints.remove(&other, id).await, Err(Error::NotFound)));
    let rotated = fixture.endpoints.rotate(&own, id).await.unwrap();
    assert_ne!(made.secret.reveal(), rotated.secret.reveal());
    let secrets: Vec<_> = [&rotated, &made].map(|one| secret_bytes(one.secret.reveal()).unwrap()).into();
    let verify = async |receiver: &mut Receiver, secrets: &[Vec<u8>], at: Timestamp| {
        let ids = fixture.publish(signing(), 1..=1).await;
        let taken = receiver.next().await;
        let each =
            secrets.iter().map(|secret| sign(secret, &ids[0].to_string(), at.as_second(), &taken.body));
        assert_eq!(taken.header("webhook-signature"), each.collect::<Vec<_>>().join(" "));
    };
    verify(&mut receiver, &secrets, now()).await;
    fixture.clock.advance(Duration::from_secs(24 * 3_600));
    verify(&mut receiver, &secrets[..1], now() + SignedDuration::from_hours(24)).await;
    fixture.endpoints.remove(&own, id).await.unwrap();
    assert!(matches!(fixture.endpoints.get(&own, id).await, Err(Error::NotFound)));
}

#[tokio::test]
async fn s5_a_caller_makes_a_hundred_endpoints_and_no_more_however_many_at_once() {
    let fixture = fixture().await;
    let own = caller();
    let new = || NewEndpoint {
        url: "https://www.example.com/hook".to_owned(),
        events: Vec::new(),
        allow_private: None,
    };
    let made = futures_util::future::join_all((0..129).map(|_| fixture.endpoints.create(&own, new()))).await;
    let refused = made.iter().filter(|made| matches!(made, Err(Error::TooMany))).count();
    assert_eq!((refused, fixture.endpoints.list(&own).await.unwrap().len()), (29, 100));
}

/// Whoever was given a secret finds events signed with it, whoever else asked at the same time.
#[tokio::test]
async fn both_of_two_who_rotate_at_once_are_given_secrets_that_sign() {
    let (fixture, mut receiver) = (fixture().await, Receiver::start(&[]).await);
    let new = NewEndpoint { url: receiver.url.clone(), events: Vec::new(), allow_private: None };
    let id = fixture.endpoints.create(&caller(), new).await.unwrap().endpoint.id;
    let rotate = async || fixture.endpoints.rotate(&caller(), id).await.unwrap();
    let (one, two) = tokio::join!(rotate(), rotate());
    let ids = fixture.publish(signing(), 1..=1).await;
    let taken = receiver.next().await;
    let signatures = taken.header("webhook-signature");
    for given in [one, two] {
        let secret = secret_bytes(given.secret.reveal()).unwrap();
        let expected = sign(&secret, &ids[0].to_string(), now().as_second(), &taken.body);
        assert!(signatures.split(' ').any(|signature| signature == expected), "{signatures}");
    }
}

#[tokio::test]
async fn endpoints_of_the_settings_follow_the_settings() {
    let fixture = fixture().await;
    let (website, shop) = (caller(), CallerName::new("shop"));
    let callers = [website.clone(), shop.clone()];
    let settings = |names: &[&str]| {
        names.iter().map(|name| from_settings(name, "https://example.com/", false)).collect::<Vec<_>>()
    };
    fixture.endpoints.apply(&settings(&["website", "crm"]), &callers).await.unwrap();
    let of = async |caller: &CallerName| fixture.endpoints.list(caller).await.unwrap().len();
    assert_eq!((of(&website).await, of(&shop).await), (2, 1), "one for its caller, one for all");
    let id = fixture.endpoints.list(&website).await.unwrap()[0].id;
    assert!(matches!(fixture.endpoints.rotate(&website, id).await, Err(Error::InSettings)));
    fixture.endpoints.apply(&settings(&["crm"]), &callers).await.unwrap();
    assert_eq!((of(&website).await, of(&shop).await), (1, 1));
    let named = |name: &str, callers: &[&CallerName]| FromSettings {
        callers: Some(callers.iter().map(|caller| (*caller).clone()).collect()),
        ..from_settings(name, "https://example.com/", false)
    };
    let several = [named("one", &[&shop]), named("two", &[&shop]), named("website", &[&shop, &website])];
    fixture.endpoints.apply(&several, &callers).await.unwrap();
    assert_eq!((of(&website).await, of(&shop).await), (1, 3), "each gets those of its callers alone");
    fixture.endpoints.apply(&[], &callers).await.unwrap();
    assert_eq!((of(&website).await, of(&shop).await), (0, 0));
}

/// A receiver that nobody touched in the settings gets what waits for it, whoever else became a caller meanwhile.
#[tokio::test]
async fn what_is_pending_outlives_callers_that_come_and_go() {
    let (fixture, mut receiver) = (fixture().await, Receiver::start(&[500, 500, 200]).await);
    let (settings, shop) = ([from_settings("crm", &receiver.url, true)], CallerName::new("shop"));
    fixture.endpoints.apply(&settings, &[caller()]).await.unwrap();
    let endpoint = async || fixture.endpoints.list(&caller()).await.unwrap()[0].id;
    let id = endpoint().await;
    let event = fixture.publish(signing(), 1..=1).await[0];
    for (attempt, callers) in [(1, vec![caller(), shop.clone()]), (2, vec![caller()])] {
        receiver.next().await;
        fixture.until(event, |delivery| delivery.attempts == attempt).await;
        fixture.endpoints.apply(&settings, &callers).await.unwrap();
        assert_eq!(endpoint().await, id);
        fixture.clock.advance(Duration::from_mins(6));
    }
    assert_eq!(receiver.next().await.header("webhook-id"), event.to_string());
    // Who began as one of two stays what it was when the other goes.
    fixture.endpoints.apply(&[], &[caller()]).await.unwrap();
    fixture.endpoints.apply(&settings, &[caller(), shop]).await.unwrap();
    let id = endpoint().await;
    fixture.endpoints.apply(&settings, &[caller()]).await.unwrap();
    assert_eq!(endpoint().await, id);
}

/// A tenant leaves and its table stays: who is left does not send their events there.
#[tokio::test]
async fn a_webhook_whose_caller_is_gone_is_nobodys() {
    let (fixture, shop) = (fixture().await, CallerName::new("shop"));
    let own = [from_settings(caller().as_str(), "https://example.com/", false)];
    let of = async |caller: &CallerName| fixture.endpoints.list(caller).await.unwrap().len();
    for (callers, theirs) in [(vec![caller(), shop.clone()], 1), (vec![shop.clone()], 0), (vec![caller()], 1)]
    {
        fixture.endpoints.apply(&own, &callers).await.unwrap();
        assert_eq!((of(&caller()).await, of(&shop).await), (theirs, 0), "{callers:?}");
    }
    // One that was here before its caller came: they get another id, and it is no less theirs.
    let shops = [from_settings("shop", "https://example.com/", false)];
    for (callers, theirs) in
        [(vec![caller()], (1, 0)), (vec![caller(), shop.clone()], (0, 1)), (vec![caller()], (0, 0))]
    {
        fixture.endpoints.apply(&shops, &callers).await.unwrap();
        assert_eq!((of(&caller()).await, of(&shop).await), theirs, "{callers:?}");
    }
    let retention = SignedDuration::from_hours(24 * 90);
    let later = fixture.clock.now() + SignedDuration::from_hours(25);
    fixture.store.destroy(Retention::at(later, retention)).await.unwrap();
    assert!(fixture.store.endpoints(None).await.unwrap().is_empty());
    fixture.endpoints.apply(&shops, &[caller()]).await.unwrap();
    assert_eq!(of(&caller()).await, 0, "however long ago they left");
}

/// However long ago they left: what was pending for it is gone with its row.
#[tokio::test]
async fn a_webhook_whose_caller_is_long_gone_is_nobodys() {
    let (fixture, shop) = (fixture().await, CallerName::new("shop"));
    let own = [from_settings(caller().as_str(), "https://example.com/", false)];
    let left = [shop.clone()];
    fixture.endpoints.apply(&own, &[caller(), shop.clone()]).await.unwrap();
    fixture.endpoints.apply(&own, &left).await.unwrap();
    let retention = SignedDuration::from_hours(24 * 90);
    let later = fixture.clock.now() + SignedDuration::from_hours(25);
    fixture.store.destroy(Retention::at(later, retention)).await.unwrap();
    assert!(fixture.store.endpoints(None).await.unwrap().is_empty());
    fixture.endpoints.apply(&own, &left).await.unwrap();
    assert!(fixture.endpoints.list(&shop).await.unwrap().is_empty());
    // A name that never was a caller's is of the only one there is, and so is whatever the settings say is theirs.
    let said = FromSettings { callers: Some(left.to_vec()), ..own[0].clone() };
    for theirs in [from_settings("crm", "https://example.com/", false), said] {
        fixture.endpoints.apply(&[theirs], &left).await.unwrap();
        assert_eq!(fixture.endpoints.list(&shop).await.unwrap().len(), 1);
    }
}

/// What is one caller's reaches no receiver of another's, also if the settings call both the same; and waits for its own.
#[tokio::test]
async fn a_webhook_that_is_named_for_another_caller_gets_nothing_of_before() {
    let (fixture, mut first) = (fixture().await, Receiver::start(&[500]).await);
    let (mut second, shop) = (Receiver::start(&[]).await, CallerName::new("shop"));
    let name = async |url: &str, caller: &CallerName| {
        let settings = [from_settings("crm", url, true)];
        fixture.endpoints.apply(&settings, std::slice::from_ref(caller)).await.unwrap();
        fixture.endpoints.list(caller).await.unwrap()[0].id
    };
    let id = name(&first.url, &caller()).await;
    let before = fixture.publish(signing(), 1..=1).await[0];
    first.next().await;
    fixture.until(before, |delivery| delivery.attempts == 1).await;

    assert_ne!(name(&second.url, &shop).await, id, "what is pending is for the id");
    let shops = Event { caller: shop.clone(), ..event(signing(), 1, fixture.clock.now()) };
    fixture.store.add_events(vec![shops.clone()]).await.unwrap();
    fixture.hub.published();
    assert_eq!(second.next().await.header("webhook-id"), shops.id.to_string());
    let is_done = async || {
        let deliveries = fixture.log.deliveries(&shop, None, 100).await.unwrap();
        deliveries.iter().all(|delivery| delivery.state == DeliveryState::Delivered)
    };
    eventually(is_done).await;

    // With a reload between that names it for nobody.
    fixture.endpoints.apply(&[], &[]).await.unwrap();
    assert_eq!(name(&first.url, &caller()).await, id);
    eventually(async || {
        fixture.clock.advance(Duration::from_secs(1));
        fixture.deliveries().await.iter().all(|delivery| delivery.state == DeliveryState::Delivered)
    })
    .await;
    assert_eq!(first.next().await.header("webhook-id"), before.to_string());
    assert!(first.is_idle() && second.is_idle());
}

/// A daemon of a rolling update that starts with the older settings costs a webhook of the newer ones no event.
#[tokio::test]
async fn what_is_pending_outlives_settings_that_do_not_name_the_webhook() {
    let (fixture, mut receiver) = (fixture().await, Receiver::start(&[500]).await);
    let (newer, callers) = ([from_settings("crm", &receiver.url, true)], [caller()]);
    fixture.endpoints.apply(&newer, &callers).await.unwrap();
    let before = fixture.publish(signing(), 1..=1).await[0];
    receiver.next().await;
    fixture.until(before, |delivery| delivery.attempts == 1).await;

    fixture.endpoints.apply(&[], &callers).await.unwrap();
    assert!(fixture.endpoints.list(&caller()).await.unwrap().is_empty());
    let meanwhile = fixture.publish(signing(), 1..=1).await[0];
    let waits = fixture.until(meanwhile, |delivery| delivery.state == DeliveryState::Pending).await;
    fixture.clock.advance(Duration::from_mins(6));
    assert_eq!(fixture.store.oldest_pending_delivery().await.unwrap(), None, "nobody is to send it");
    let replayed = fixture.log.replay(&caller(), waits.id).await;
    assert!(matches!(replayed, Err(ReplayError::EndpointGone)));
    assert!(receiver.is_idle());

    fixture.endpoints.apply(&newer, &callers).await.unwrap();
    // A second at a time: a claim does not outlive minutes, and the next one waits for a tick.
    eventually(async || {
        fixture.clock.advance(Duration::from_secs(1));
        fixture.deliveries().await.iter().all(|delivery| delivery.state == DeliveryState::Delivered)
    })
    .await;
    let mut arrived = Vec::new();
    for _ in 0..2 {
        arrived.push(receiver.next().await.header("webhook-id").to_owned());
    }
    arrived.sort_unstable();
    let mut expected = [before.to_string(), meanwhile.to_string()];
    expected.sort_unstable();
    assert_eq!(arrived, expected);
}
