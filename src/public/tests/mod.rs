//! What the public listener does with all that anybody sends.

mod returns;

use http::{Method, StatusCode, header};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::testing::{ORIGIN, World, change};
use crate::{
    auth::consent_state::ConsentStates,
    domain::{CallerName, Private, Signer, SignerId, SignerStatus, SigningStatus, sample},
};

#[tokio::test]
async fn l1_a_day_of_scanners_changes_nothing_and_mints_nothing() {
    let world = World::new().await;
    let before = world.stored().await;
    for round in 0..50 {
        for (method, headers) in [
            (Method::GET, &[][..]),
            (Method::HEAD, &[("user-agent", "Mozilla/5.0 (compatible; SafeLinks)")][..]),
            (Method::GET, &[("sec-purpose", "prefetch;prerender")][..]),
            (Method::OPTIONS, &[][..]),
        ] {
            let answer = world.send(method.clone(), &world.path, headers, "").await;
            let expected =
                if method == Method::OPTIONS { StatusCode::METHOD_NOT_ALLOWED } else { StatusCode::OK };
            assert_eq!(answer.status, expected, "{round} {method}");
        }
    }
    assert_eq!(world.stored().await, before);
    assert_eq!(world.mints(), 0);
}

#[tokio::test]
async fn l1_only_a_click_of_ours_or_a_ticket_asks_for_a_view() {
    let world = World::new().await;
    let before = world.stored().await;
    let foreign = [("sec-fetch-site", "cross-site")];
    let refused = world.send(Method::POST, &world.path, &foreign, "").await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    assert!(refused.text.contains("<form method=\"post\">"), "the visitor still gets on");
    for ticket in ["", "abc", "%00"] {
        let refused = world.post(&world.path, &format!("ticket={ticket}")).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{ticket}");
    }
    assert_eq!(world.mints(), 0);
    assert_eq!(world.stored().await, before);

    let now = Timestamp::from_second(1_700_000_000).unwrap();
    let ticket = format!("ticket={}", world.tickets.issue(world.link, now).0.reveal());
    let taken = world.send(Method::POST, &world.path, &foreign, &ticket).await;
    assert_eq!(taken.status, StatusCode::SERVICE_UNAVAILABLE, "it was tried, and there is no upstream");
    assert_eq!(world.mints(), 1);
    let again = world.send(Method::POST, &world.path, &foreign, &ticket).await;
    assert_eq!(again.status, StatusCode::FORBIDDEN, "a ticket is used once");
    let clicked = world.send(Method::POST, &world.path, &[("sec-fetch-site", "same-origin")], "").await;
    assert_eq!((clicked.status, world.mints()), (StatusCode::SERVICE_UNAVAILABLE, 2));
    assert_eq!(world.stored().await.0.live_view, None, "a click that led nowhere holds no lease");
}

#[tokio::test]
async fn each_situation_has_its_page_and_status() {
    let mut signing = sample::signing(SigningStatus::Open, SignerStatus::Ready);
    // Somebody is before the one who has the link.
    let first = SignerId::from_uuid(uuid::Uuid::from_u128(4));
    signing.signers.push(Signer { id: first, ..sample::person(SignerStatus::Ready) });
    signing.signers[0].order = 2;
    let world = World::of(signing).await;
    for (status, signer, seen, clicked, words) in [
        (SigningStatus::Open, SignerStatus::Ready, 200, 503, "ready to sign"),
        (SigningStatus::Open, SignerStatus::Waiting, 200, 409, "not your turn"),
        (SigningStatus::Open, SignerStatus::AuthFailed, 403, 403, "confirm that it is you"),
        (SigningStatus::Open, SignerStatus::Signed, 200, 409, "You have signed"),
        (SigningStatus::Creating, SignerStatus::Waiting, 202, 409, "being prepared"),
        (SigningStatus::Uncertain, SignerStatus::Waiting, 202, 409, "being prepared"),
        (SigningStatus::Completed, SignerStatus::Signed, 200, 409, "Everyone has signed"),
        (SigningStatus::Declined, SignerStatus::Declined, 410, 410, "You declined"),
        (SigningStatus::Declined, SignerStatus::Ready, 410, 410, "Signing has ended"),
        (SigningStatus::Voided, SignerStatus::Ready, 410, 410, "withdrawn"),
        (SigningStatus::Expired, SignerStatus::Ready, 410, 410, "The time to sign has run out"),
        (SigningStatus::Failed, SignerStatus::Waiting, 410, 410, "cannot be signed"),
    ] {
        change(&world, |signing| {
            signing.status = status;
            signing.signers[0].status = signer;
        })
        .await;
        let page = world.get(&world.path).await;
        assert_eq!(page.status, seen, "{status:?} {signer:?}");
        assert!(page.text.contains(words), "{words}");
        assert_eq!(world.post(&world.path, "").await.status, clicked, "{status:?} {signer:?}");
    }
}

#[tokio::test]
async fn a_revoked_or_expired_link_leads_nowhere() {
    let world = World::new().await;
    let caller = CallerName::new("website");
    world.signings.revoke_link(&caller, world.link).await.unwrap();
    for answer in [world.get(&world.path).await, world.post(&world.path, "").await] {
        assert_eq!(answer.status, StatusCode::GONE);
        assert!(answer.text.contains("no longer valid"));
        assert!(!answer.text.contains("Ada Lovelace"), "a link that is withdrawn names nobody");
    }
    let world = World::new().await;
    change(&world, |signing| signing.expires_at = Some(signing.created_at + SignedDuration::from_mins(1)))
        .await;
    let id = world.signing.signers[0].id;
    let shown = world.signings.add_link(&caller, world.signing.id, id, None).await.unwrap();
    let path = shown.url.reveal().strip_prefix(ORIGIN).unwrap().to_owned();
    world.clock.advance(std::time::Duration::from_secs(60));
    for answer in [world.get(&path).await, world.post(&path, "").await] {
        assert_eq!(answer.status, StatusCode::GONE);
        assert!(answer.text.contains("has expired"));
    }
    let resumed = world.post(&world.return_path(), "").await;
    assert_eq!(resumed.status, StatusCode::GONE, "nor does the way round by the return");
    assert_eq!(world.mints(), 0);
}

#[tokio::test]
async fn l3_the_page_says_until_when_its_link_leads_on() {
    let world = World::new().await;
    let open = world.get(&world.path).await.text;
    assert!(open.contains("You can come back to this link at any time."), "{open}");
    let (caller, signer) = (CallerName::new("website"), world.signing.signers[0].id);
    let until = async |life: Option<u64>, end: &str| {
        let life = life.map(std::time::Duration::from_secs);
        let shown = world.signings.add_link(&caller, world.signing.id, signer, life).await.unwrap();
        let page = world.get(shown.url.reveal().strip_prefix(ORIGIN).unwrap()).await.text;
        assert!(page.contains(&format!("You can come back to this link until {end} (UTC).")), "{page}");
        assert!(!page.contains("at any time"), "{page}");
    };
    until(Some(3_600), "14 November 2023, 23:13").await;
    change(&world, |signing| signing.expires_at = Some(signing.created_at + SignedDuration::from_hours(24)))
        .await;
    until(None, "15 November 2023, 22:13").await;
    let foreign = [("sec-fetch-site", "cross-site")];
    let back = world.send(Method::POST, &world.return_path(), &foreign, "").await.text;
    assert!(back.contains("ready to sign") && !back.contains("come back"), "no link's address: {back}");
}

#[tokio::test]
async fn a_click_that_nobody_here_knows_is_asked_for_once_more() {
    let world = World::new().await;
    let before = world.stored().await;
    // As of another daemon, to which the click went.
    let line = format!("{}?line={}", world.path, "A".repeat(22));
    let lost = world.get(&line).await;
    assert_eq!(lost.status, StatusCode::OK);
    assert!(
        lost.text.contains("Your click is not waiting here any more. Please press the button once more.")
    );
    assert!(lost.text.contains("<form method=\"post\">"), "{}", lost.text);
    for plain in [world.path.clone(), format!("{}?line=abc", world.path), format!("{}?line=", world.path)] {
        assert!(!world.get(&plain).await.text.contains("Your click"), "{plain}: no name of ours");
    }
    let ahead = world.send(Method::GET, &line, &[("sec-purpose", "prefetch")], "").await;
    assert!(!ahead.text.contains("Your click"), "nobody has clicked yet");
    change(&world, |signing| signing.signers[0].status = SignerStatus::Signed).await;
    let over = world.get(&line).await;
    assert!(over.status == StatusCode::OK && !over.text.contains("Your click"), "{}", over.text);
    let (signing, _) = world.stored().await;
    assert_eq!(signing.live_view, before.0.live_view);
    assert_eq!(world.mints(), 0);
}

#[tokio::test]
async fn guesses_are_refused_and_slowed_down_and_good_links_go_on() {
    let world = World::new().await;
    let before = world.stored().await;
    let wrong = [
        "/s/a".to_owned(),
        format!("/s/{}", "A".repeat(43)),
        format!("{}A", world.path),
        world.path[..world.path.len() - 1].to_owned(),
        world.path.to_uppercase().replace("/S/", "/s/"),
        format!("/r/{}", "A".repeat(64)),
        format!("{}x", world.return_path()),
        "/s/%ff%fe".to_owned(),
    ];
    for path in &wrong {
        for method in [Method::GET, Method::POST] {
            assert_eq!(world.send(method, path, &[], "").await.status, StatusCode::NOT_FOUND, "{path}");
        }
    }
    let mut last = world.get(&wrong[1]).await;
    for _ in 0..60 {
        last = world.get(&wrong[1]).await;
    }
    assert_eq!(last.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(last.headers[header::RETRY_AFTER], "60");
    assert_eq!(world.get(&world.path).await.status, StatusCode::OK);
    assert_eq!((world.stored().await, world.mints()), (before, 0));
    world.clock.advance(std::time::Duration::from_secs(60));
    assert_eq!(world.get(&wrong[1]).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn paths_of_other_listeners_are_unknown() {
    let world = World::new().await;
    for path in ["/", "/v1/signings", "/metrics", "/livez", "/_test/requests", "/oauth/token", "/s", "/s/"] {
        let answer = world.get(path).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
        assert!(answer.text.starts_with("<!DOCTYPE html>"));
    }
    let answer = world.send(Method::DELETE, &world.path, &[], "").await;
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn l5_every_answer_is_kept_private_and_holds_no_token() {
    let world = World::new().await;
    let token = world.path.strip_prefix("/s/").unwrap().to_owned();
    let nonce = world.return_path().strip_prefix("/r/").unwrap().to_owned();
    for (method, path) in [
        (Method::GET, world.path.clone()),
        (Method::POST, world.path.clone()),
        (Method::GET, "/s/x".to_owned()),
        (Method::GET, world.return_path() + "?event=cancel"),
        (Method::GET, world.return_path() + "?event=signing_complete"),
        (Method::POST, world.return_path()),
        (Method::GET, "/consent/callback?code=c".to_owned()),
    ] {
        let answer = world.send(method.clone(), &path, &[], "").await;
        for name in ["cache-control", "referrer-policy", "x-robots-tag", "x-content-type-options"] {
            assert!(answer.headers.contains_key(name), "{name}: {method} {path}");
        }
        assert_eq!(answer.headers[header::CACHE_CONTROL], "no-store");
        assert!(!answer.text.contains(&token) && !answer.text.contains(&nonce), "{method} {path}");
        if !answer.status.is_redirection() {
            assert!(answer.headers.contains_key(header::CONTENT_SECURITY_POLICY));
        }
    }
}

#[tokio::test]
async fn the_page_speaks_the_signings_language_and_lets_its_frames_in() {
    let mut signing = sample::signing(SigningStatus::Open, SignerStatus::Ready);
    signing.reference = Some("<script>alert(1)</script>".to_owned());
    let world = World::of(signing).await;
    let french = world.send(Method::GET, &world.path, &[("accept-language", "fr-CH")], "").await;
    assert!(french.text.contains("<html lang=\"fr\">"));
    change(&world, |signing| {
        signing.locale = Some("de".to_owned());
        signing.frame_ancestors = vec!["https://www.example.com".to_owned()];
        signing.signers[0].name = Private::new("<img src=x>".to_owned());
    })
    .await;
    let german = world.send(Method::GET, &world.path, &[("accept-language", "fr")], "").await;
    assert!(german.text.contains("<html lang=\"de\">"));
    assert!(german.text.contains("&lt;script&gt;") && !german.text.contains("<script"));
    assert!(german.text.contains("&lt;img") && !german.text.contains("<img"));
    let policy = german.headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
    assert!(policy.ends_with("frame-ancestors https://www.example.com"));
    assert!(!german.headers.contains_key(header::X_FRAME_OPTIONS));
}

#[tokio::test]
async fn t11_a_consent_answer_without_our_state_exchanges_nothing() {
    let world = World::new().await;
    for (query, status, words) in [
        ("", 400, "We have your answer"),
        // An organisation's link has no state.
        ("?code=abc", 200, "for your organisation"),
        ("?code=abc&state=forged", 400, "the link was old or not made by us"),
        ("?error=access_denied", 200, "Consent was not given"),
        ("?error=access_denied", 200, "by an administrator for the whole organisation"),
        ("?error=consent_required", 200, "Consent was not given"),
        ("?error=server_error", 502, "a problem of its own"),
        ("?error=temporarily_unavailable", 502, "open the consent link again"),
        ("?error=invalid_scope", 502, "<span class=\"name\">invalid_scope</span>"),
        ("?error=Call+0800+1234+%3Cb%3E", 502, "<span class=\"name\">unknown</span>"),
    ] {
        let answer = world.get(&format!("/consent/callback{query}")).await;
        assert_eq!(answer.status.as_u16(), status, "{query}");
        assert!(answer.text.contains(words), "{query}: {}", answer.text);
        assert!(!answer.text.contains("0800"), "nobody puts words of their own on our page: {}", answer.text);
    }
    let now = Timestamp::from_second(1_700_000_000).unwrap();
    let state = ConsentStates::derive(b"secret", &[]).issue("system", now).state;
    let denied = world.get(&format!("/consent/callback?error=access_denied&state={state}")).await;
    assert_eq!(denied.status, StatusCode::OK);
    assert!(denied.text.contains("Consent was not given"));
    let unknown = world.get(&format!("/consent/callback?code=abc&state={state}")).await;
    assert_eq!(unknown.status, StatusCode::BAD_GATEWAY, "no such sender here");
}

#[tokio::test]
async fn t11_of_many_codes_with_one_state_few_are_exchanged() {
    let world = World::new().await;
    let now = Timestamp::from_second(1_700_000_000).unwrap();
    let state = ConsentStates::derive(b"secret", &[]).issue("system", now).state;
    let answer = format!("/consent/callback?code=abc&state={state}");
    for number in 0..60 {
        assert_eq!(world.get(&answer).await.status, StatusCode::BAD_GATEWAY, "{number}: no such sender here");
    }
    assert_eq!(world.get(&answer).await.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(world.get("/s/a").await.status, StatusCode::NOT_FOUND, "wrong addresses are counted apart");
    world.clock.advance(std::time::Duration::from_secs(1));
    assert_eq!(world.get(&answer).await.status, StatusCode::BAD_GATEWAY);
    assert_eq!(world.get(&answer).await.status, StatusCode::TOO_MANY_REQUESTS);
}

#[test]
fn arbitrary_addresses_never_panic_and_never_mint() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let world = runtime.block_on(World::new());
    let before = runtime.block_on(world.stored());
    let text = proptest::string::string_regex("[!-~&&[^#?/%\"<>\\\\^`{|}]]{1,80}").unwrap();
    proptest!(ProptestConfig::with_cases(200), |(token in text, place in "[sr]", event in "[a-z_&=]{0,20}")| {
        let path = format!("/{place}/{token}?event={event}");
        for method in [Method::GET, Method::HEAD, Method::POST] {
            let answer = runtime.block_on(world.send(method, &path, &[], "click=x&ticket=y"));
            let refused = [StatusCode::NOT_FOUND, StatusCode::TOO_MANY_REQUESTS].contains(&answer.status);
            prop_assert!(refused, "{} {}", answer.status, path);
        }
    });
    assert_eq!(runtime.block_on(world.stored()), before);
    assert_eq!(world.mints(), 0);
}
