//! What cannot be seen from outside: how long an attempt may still take.

use super::*;
use crate::{
    clock::ManualClock,
    domain::SigningId,
    events::{
        NewEndpoint, Targets,
        testing::{Receiver, caller, event, now, store},
    },
};

/// What is left of a lease is known only once an attempt has its place, however long that took.
#[tokio::test]
async fn what_has_waited_for_its_place_until_its_lease_is_nearly_over_is_given_back() {
    let (store, mut receiver) = (store().await, Receiver::start(&[]).await);
    let clock: SharedClock = Arc::new(ManualClock::new(now()));
    let targets = Targets { plain_loopback: true };
    let given = Dependencies {
        store: Arc::clone(&store),
        endpoints: Endpoints::new(Arc::clone(&store), Arc::clone(&clock), targets),
        webhooks: Webhooks::new(targets).unwrap(),
        hub: Hub::new(),
        clock: Arc::clone(&clock),
        life: Lifecycle::new(),
        metrics: Arc::new(Metrics::new(&[])),
    };
    let new = NewEndpoint { url: receiver.url.clone(), events: Vec::new(), allow_private: Some(true) };
    given.endpoints.create(&caller(), new).await.unwrap();
    store.add_events(vec![event(SigningId::generate(now()), 1, now())]).await.unwrap();
    store.fan_out(now(), 1).await.unwrap();
    let Dispatcher { shared, replies, .. } = Dispatcher::new(given, Limits::default());
    let claim = async || {
        let until = later(now(), shared.limits.lease);
        store.claim_deliveries(now(), until, 1, 1).await.unwrap().pop()
    };
    let attempt = async |due: &DueDelivery, left: Duration| {
        let reply = Reply { key: lanes::key(due), result: None, hold: None };
        let reply = ReplyOnDrop { reply, to: replies.0.clone() };
        let leased_until = clock.uptime().saturating_add(left);
        shared.queued.fetch_add(1, Ordering::Relaxed);
        tokio::spawn(shared.clone().attempt(due.clone(), leased_until, false, reply)).await.unwrap();
    };

    let due = claim().await.unwrap();
    attempt(&due, LEASE_MARGIN).await;
    assert!(receiver.is_idle());
    let due = claim().await.expect("nobody waits for the end of its lease");
    attempt(&due, Duration::ZERO).await;
    assert!(receiver.is_idle() && claim().await.is_none(), "it may be another's by now");
    attempt(&due, LEASE_MARGIN + Duration::from_secs(1)).await;
    assert_eq!(receiver.next_sequence().await, 1);
}
