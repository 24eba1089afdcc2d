//! What a 401 costs, and what else is no reason for another token.

use std::{sync::atomic::Ordering, time::Duration};

use crate::esign::{
    testing::{ACCOUNT, Draft, Reply, World, create, created, file, view, view_reply},
    *,
};
use crate::{
    clock::{Clock as _, Deadline},
    domain::SenderName,
};

#[tokio::test]
async fn t7_a_401_is_answered_by_one_mint_and_one_replay() {
    let world = World::new().await;
    world.will(view_reply());
    view(&world, "https://a.example/").await.unwrap();
    world.arrived();
    // A token that dies in its first minutes would be replaced with more hesitation.
    let half_an_hour = Duration::from_secs(1_500);
    world.clock.advance(half_an_hour);
    world.will(Reply::error(401, "AUTHORIZATION_INVALID_TOKEN")).will(created());
    create(&world, &Draft::of(vec![file(&[])])).await.unwrap();
    let arrived = world.arrived();
    assert_eq!((arrived[0].bearer(), arrived[1].bearer()), ("Bearer token-1", "Bearer token-2"));
    assert_eq!(arrived[0].body, arrived[1].body);
    // Refused again: no loop.
    world.clock.advance(half_an_hour);
    world.will(Reply::error(401, "AUTHORIZATION_INVALID_TOKEN"));
    world.will(Reply::error(401, "AUTHORIZATION_INVALID_TOKEN"));
    let error = view(&world, "https://a.example/").await.unwrap_err();
    assert_eq!((error.code(), error.doubt()), ("provider_unavailable", Doubt::No));
    assert_eq!((world.arrived().len(), world.mints.load(Ordering::SeqCst)), (2, 3));
}

/// Waits for something; time goes on only while there is no token.
async fn meanwhile<T>(world: &World, work: impl Future<Output = T>) -> T {
    let time = async {
        for _ in 0..5_000 {
            if world.client.auth.ready("system").is_none() {
                world.clock.advance(Duration::from_millis(100));
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::select! {
        done = work => done,
        () = time => panic!("it never ended"),
    }
}

#[tokio::test]
async fn t7_a_token_that_was_refused_is_never_sent_again_and_a_lasting_401_has_a_time() {
    let world = World::new().await;
    let acting = world.acting().await;
    let refused = || Reply::error(401, "AUTHORIZATION_INVALID_TOKEN");
    let bearers = || world.arrived().iter().map(|one| one.bearer().to_owned()).collect::<Vec<_>>();
    let draft = Draft::of(vec![file(&[])]);
    // Two early deaths, one soon after the other.
    for [dead, fresh] in [["Bearer token-1", "Bearer token-2"], ["Bearer token-2", "Bearer token-3"]] {
        world.will(refused()).will(created());
        meanwhile(&world, create(&world, &draft)).await.unwrap();
        assert_eq!(bearers(), [dead, fresh]);
    }
    // And then every token is refused.
    world.will(refused()).will(refused());
    let error = meanwhile(&world, create(&world, &draft)).await.unwrap_err();
    assert_eq!(bearers(), ["Bearer token-3", "Bearer token-4"]);
    assert_eq!((error.code(), error.doubt(), error.retryable()), ("provider_unavailable", Doubt::No, true));
    let wait = error.retry_after(world.clock.now()).expect("it says for how long");
    assert!((Duration::from_secs(1)..=Duration::from_secs(4)).contains(&wait), "{wait:?}");
    // Who has less time is told so without a call; who has more gets the token that comes then.
    let hurried = Deadline::within(&world.clock, Duration::from_millis(500));
    let error = world.client.create_envelope(&acting, &draft.envelope(), hurried, None).await.unwrap_err();
    assert!(matches!(&error, Error::Auth(cause) if cause.cause() == "token_refused"), "{error:?}");
    assert!(error.retry_after(world.clock.now()).is_some());
    assert_eq!((bearers().len(), world.mints.load(Ordering::SeqCst)), (0, 4));
    world.will(created());
    meanwhile(&world, create(&world, &draft)).await.unwrap();
    assert_eq!(bearers(), ["Bearer token-5"]);
}

#[tokio::test]
async fn t7_nothing_but_a_401_refreshes() {
    let world = World::new().await;
    for reply in [
        Reply::error(403, "USER_LACKS_PERMISSIONS"),
        Reply::error(400, "USER_AUTHENTICATION_FAILED"),
        Reply::error(401, "PARTNER_AUTHENTICATION_FAILED"),
        Reply::error(500, "UNSPECIFIED_ERROR"),
        Reply::error(429, "BURST_APIINVOCATION_LIMIT_EXCEEDED"),
    ] {
        world.will(reply);
        assert!(create(&world, &Draft::of(vec![file(&[])])).await.is_err());
        assert_eq!((world.arrived().len(), world.mints.load(Ordering::SeqCst)), (1, 1));
    }
}

#[tokio::test]
async fn a_wrong_pairing_is_looked_up_anew() {
    let world = World::new().await;
    world.will(Reply::error(400, "INVALID_USERID")).will(created());
    let before = world.acting().await;
    let error = create(&world, &Draft::of(vec![file(&[])])).await.unwrap_err();
    assert_eq!(error.code(), "wrong_base_uri");
    create(&world, &Draft::of(vec![file(&[])])).await.unwrap();
    let after = world.acting().await;
    assert!(!std::sync::Arc::ptr_eq(&before, &after));
    assert_eq!((after.account.as_str(), &*before), (ACCOUNT, &*after));
}

#[tokio::test]
async fn a_user_that_a_passed_call_names_in_vain_is_no_word_on_the_sender() {
    let world = World::new().await;
    let (acting, headers) = (world.acting().await, http::HeaderMap::new());
    for (code, is_kept) in
        [("USER_NOT_FOUND", true), ("USER_DOES_NOT_EXIST_IN_SYSTEM", true), ("INVALID_USERID", false)]
    {
        let request = ForwardRequest {
            method: http::Method::GET,
            path: "envelopes",
            query: None,
            headers: &headers,
            body: ForwardBody::Whole(Vec::new()),
        };
        world.will(Reply::error(400, code));
        world.client.forward(&acting, request, world.deadline()).await.unwrap();
        assert_eq!(world.client.known(&acting.sender).is_some(), is_kept, "{code}");
    }
    // Of a call of ours it is the sender.
    world.acting().await;
    world.will(Reply::error(400, "USER_NOT_FOUND"));
    create(&world, &Draft::of(vec![file(&[])])).await.unwrap_err();
    assert!(world.client.known(&acting.sender).is_none());
}

#[tokio::test]
async fn e2_a_create_follows_its_account_to_another_host_and_is_made_once() {
    let world = World::new().await;
    world.acting().await;
    let old = world.base_uri.lock().unwrap().clone();
    let new = old.replace("127.0.0.1", "localhost");
    world.clock.advance(Duration::from_secs(61));
    // Refused, and the account is where it was: no more than asked for.
    world.will(Reply::error(400, "INVALID_USERID"));
    let error = create(&world, &Draft::of(vec![file(&[])])).await.unwrap_err();
    assert_eq!((error.code(), world.arrived().len()), ("wrong_base_uri", 1));
    assert_eq!(world.user_infos.load(Ordering::SeqCst), 2);

    world.clock.advance(Duration::from_secs(61));
    world.base_uri.lock().unwrap().clone_from(&new);
    world.will(Reply::error(400, "INVALID_USERID")).will(created()).will(view_reply());
    create(&world, &Draft::of(vec![file(&[])])).await.unwrap();
    view(&world, "https://www.example.com/done").await.unwrap();
    let arrived = world.arrived();
    let hosts: Vec<_> =
        arrived.iter().map(|call| format!("http://{}", call.headers["host"].to_str().unwrap())).collect();
    assert_eq!(hosts, [old, new.clone(), new]);
    assert_eq!((&arrived[0].line, &arrived[0].body), (&arrived[1].line, &arrived[1].body));
    assert_eq!(world.user_infos.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn an_unknown_sender_has_a_name_for_it() {
    let world = World::new().await;
    let error = world.client.acting(&SenderName::new("nobody")).await.unwrap_err();
    assert_eq!((error.code(), error.retryable()), ("sender_unknown", false));
}
