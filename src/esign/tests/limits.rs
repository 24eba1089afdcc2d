//! Calls that are held back: by a burst, by a limit of the upstream's, by the caller's time, by rule B3.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::{HeaderMap, Method};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::esign::{
    call::Call,
    testing::{Draft, MADE, Reply, World, create, created, envelope_reply, file, view, view_reply},
    *,
};
use crate::{
    budget::{Operation, Priority, Scope},
    clock::{Clock as _, Deadline, Now},
    domain::{EnvelopeFact, EnvelopeId, SignerFact},
};

#[tokio::test]
async fn b2_a_burst_is_waited_for_without_a_place() {
    let world = World::new().await;
    let acting = world.acting().await;
    let now = || Now::read(&world.clock);
    let spend =
        || world.client.budget().admit(&acting.account, Operation::CreateView, Priority::Signer, now());
    while spend().is_ok() {}
    // What is left of it is less than a call's time.
    world.clock.advance(Duration::from_secs(10));
    world.will(view_reply());
    let places = world.client.slots.available_permits();
    let mut waiting = Box::pin(view(&world, "https://a.example/"));
    assert!(futures_util::poll!(&mut waiting).is_pending(), "until the burst is over");
    assert!(world.arrived().is_empty());
    assert_eq!(world.client.slots.available_permits(), places, "nobody else waits for this account");
    world.clock.advance(Duration::from_secs(21));
    waiting.await.unwrap();
    assert_eq!(world.arrived().len(), 1);
}

#[tokio::test]
async fn b2_after_a_limit_answer_nothing_is_sent_until_it_is_over() {
    let world = World::new().await;
    let reset = world.clock.now().as_second() + 7;
    for status in [400, 429] {
        let limit = Reply::error(status, "HOURLY_APIINVOCATION_LIMIT_EXCEEDED");
        // The test's server has a clock of its own; without its `Date` ours would be taken.
        let date = std::time::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        world.will(limit.with("x-ratelimit-reset", &reset).with("date", &httpdate::fmt_http_date(date)));
        let error = create(&world, &Draft::of(vec![file(&[])])).await.unwrap_err();
        let now = world.clock.now();
        assert_eq!((error.code(), error.doubt()), ("provider_rate_limited", Doubt::No));
        assert_eq!(error.provider().unwrap().status, status);
        let wait = error.retry_after(now).unwrap();
        assert_eq!(wait, Duration::from_secs(7));
        assert_eq!(world.arrived().len(), 1);
        let error = view(&world, "https://a.example/").await.unwrap_err();
        assert!(matches!(error, Error::Limited { scope: Scope::Hour, provider: None, .. }), "{error}");
        assert!(world.arrived().is_empty());
        world.clock.advance(wait);
        world.will(view_reply());
        view(&world, "https://a.example/").await.unwrap();
        world.arrived();
        world.clock.step(jiff::SignedDuration::from_secs(-7));
    }
}

#[tokio::test]
async fn s6_a_call_is_announced_once_and_when_nothing_holds_it_back_any_more() {
    let world = World::new().await;
    let acting = world.acting().await;
    let draft = Draft::of(vec![file(&[])]);
    let told = Arc::new(AtomicUsize::new(0));
    // It takes its time, and comes to that.
    let announcing = |seconds, done: Result<(), Error>| -> Option<Announcement> {
        let (told, clock) = (Arc::clone(&told), world.clock.clone());
        Some(Box::pin(async move {
            told.fetch_add(1, Ordering::SeqCst);
            clock.advance(Duration::from_secs(seconds));
            done
        }))
    };
    let post = async |announcement: Option<Announcement>| {
        world.client.create_envelope(&acting, &draft.envelope(), world.deadline(), announcement).await
    };
    let seen = || (told.load(Ordering::SeqCst), world.arrived().len());
    let burst = || world.client.budget().remaining(&acting.account).burst;

    // What is repeated after a refused token is the same act. One that dies in its first minutes is replaced with hesitation.
    world.clock.advance(Duration::from_secs(1_500));
    world.will(Reply::error(401, "AUTHORIZATION_INVALID_TOKEN")).will(created());
    post(announcing(0, Ok(()))).await.unwrap();
    assert_eq!((seen(), burst()), ((1, 2), 198));
    // What cannot be announced is not sent, and costs nothing.
    let error = post(announcing(0, Err(Error::Unrecorded))).await.unwrap_err();
    assert!(matches!(error, Error::Unrecorded), "{error}");
    assert_eq!((seen(), burst()), ((2, 0), 198));
    // A slow disk has it counted when it is sent, and not sent if that is too late.
    world.will(created());
    post(announcing(20, Ok(()))).await.unwrap();
    assert_eq!((seen(), burst()), ((3, 1), 197));
    let error = post(announcing(26, Err(Error::Unrecorded))).await.unwrap_err();
    assert!(matches!(error, Error::Unrecorded), "{error}");
    let error = post(announcing(26, Ok(()))).await.unwrap_err();
    assert!(matches!(error, Error::Deadline), "{error}");
    assert_eq!((seen(), burst()), ((5, 0), 200));
    // What a limit holds back is not announced.
    world.will(Reply::error(429, "HOURLY_APIINVOCATION_LIMIT_EXCEEDED"));
    post(announcing(0, Ok(()))).await.unwrap_err();
    assert_eq!(seen(), (6, 1));
    let error = post(announcing(0, Ok(()))).await.unwrap_err();
    assert!(matches!(error, Error::Limited { scope: Scope::Hour, provider: None, .. }), "{error}");
    assert_eq!(seen(), (6, 0));
}

#[tokio::test]
async fn s6_calls_whose_announcement_hangs_take_nobody_elses_place() {
    let world = World::new().await;
    let acting = world.acting().await;
    let remaining = || world.client.budget().remaining(&acting.account);
    let (places, whole) = (world.client.slots.available_permits(), remaining());
    let (begun, disk) = (Arc::new(AtomicUsize::new(0)), CancellationToken::new());
    let mut hung = JoinSet::new();
    for _ in 0..places {
        let (begun, disk) = (Arc::clone(&begun), disk.clone());
        let announcement: Announcement = Box::pin(async move {
            begun.fetch_add(1, Ordering::SeqCst);
            disk.cancelled().await;
            Ok(())
        });
        let url = acting.url(["envelopes", "env-1", "views", "recipient"]);
        let call = Call::new(Operation::CreateView, Method::POST, url, world.deadline());
        let call = call.announced(Some(announcement));
        let (client, acting) = (Arc::clone(&world.client), Arc::clone(&acting));
        hung.spawn(async move { client.call(&acting, call).await.map(|answer| answer.status.as_u16()) });
    }
    while begun.load(Ordering::SeqCst) < places {
        tokio::task::yield_now().await;
    }
    assert_eq!(world.client.slots.available_permits(), 0);

    // None of them is done in time to leave on the place that it has.
    world.clock.advance(Duration::from_millis(500));
    world.will(envelope_reply("sent", "sent"));
    let envelope = EnvelopeId::new(MADE);
    let check = world.client.envelope(&acting, &envelope, world.deadline());
    tokio::time::timeout(Duration::from_secs(60), check).await.expect("there is a place for it").unwrap();
    assert_eq!(world.client.slots.available_permits(), places);
    let after_check = (whole.hour - 1, whole.burst - 1);
    assert_eq!((remaining().hour, remaining().burst), after_check, "what has not left costs nothing");
    assert_eq!(world.arrived().len(), 1);

    // Once the disk writes again, each leaves as if it had come now, and is not announced anew.
    for _ in 0..places {
        world.will(view_reply());
    }
    disk.cancel();
    let statuses: Vec<_> = hung.join_all().await.into_iter().map(Result::unwrap).collect();
    assert_eq!((statuses, world.arrived().len()), (vec![201; places], places));
    assert_eq!(begun.load(Ordering::SeqCst), places);
}

#[tokio::test]
async fn b4_what_cannot_end_in_time_is_not_begun() {
    let world = World::new().await;
    let acting = world.acting().await;
    let over = Deadline::within(&world.clock, Duration::from_millis(5));
    let draft = Draft::of(vec![file(&[])]);
    let error = world.client.create_envelope(&acting, &draft.envelope(), over, None).await.unwrap_err();
    assert!(matches!(error, Error::Deadline), "{error}");
    assert!(world.arrived().is_empty());
    assert_eq!(world.client.budget().remaining(&acting.account).hour, 3_000);
}

#[tokio::test]
async fn b3_a_second_check_within_15_minutes_is_not_sent() {
    let world = World::new().await;
    let (acting, envelope) = (world.acting().await, EnvelopeId::new("env-1"));
    world.will(envelope_reply("delivered", "completed"));
    let seen = world.client.envelope(&acting, &envelope, world.deadline()).await.unwrap();
    assert_eq!(seen.facts, [EnvelopeFact::Delivered]);
    let ada = seen.recipients.iter().find(|one| one.client_user_id.as_deref() == Some("opaque-1")).unwrap();
    assert_eq!(
        (ada.recipient_id.as_str(), ada.name.reveal().as_str(), ada.fact),
        ("77", "Ada L.", Some(SignerFact::Signed))
    );
    assert_eq!(world.arrived()[0].line, "GET envelopes/env-1?include=recipients");
    let error = world.client.envelope(&acting, &envelope, world.deadline()).await.unwrap_err();
    assert_eq!(error.code(), "polling_budget");
    assert_eq!(error.retry_after(world.clock.now()), Some(Duration::from_secs(900)));
    // Passing it through is no way around.
    let headers = HeaderMap::new();
    let request = ForwardRequest {
        method: Method::GET,
        path: "envelopes/env-1",
        query: None,
        headers: &headers,
        body: ForwardBody::Whole(vec![]),
    };
    let error = world.client.forward(&acting, request, world.deadline()).await.unwrap_err();
    assert_eq!(error.code(), "polling_budget");
    assert!(world.arrived().is_empty());
    world.clock.advance(Duration::from_secs(900));
    world.will(Reply::error(503, "X"));
    // It may have been counted: what is told is when the next may be made, and that is true.
    let error = world.client.envelope(&acting, &envelope, world.deadline()).await.unwrap_err();
    assert_eq!(error.code(), "provider_unavailable");
    assert_eq!(error.retry_after(world.clock.now()), Some(Duration::from_secs(900)));
    world.clock.advance(Duration::from_secs(899));
    let error = world.client.envelope(&acting, &envelope, world.deadline()).await.unwrap_err();
    assert_eq!(error.code(), "polling_budget");
    world.arrived();
    world.clock.advance(Duration::from_secs(1));
    world.will(envelope_reply("delivered", "completed"));
    world.client.envelope(&acting, &envelope, world.deadline()).await.unwrap();
}
