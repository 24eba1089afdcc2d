//! Returns from signing: a claim changes no status, and each counts once.

use http::{Method, StatusCode, header};
use jiff::Timestamp;
use url::Url;

use crate::domain::{LiveView, SignerStatus, SigningStatus, ViewKind};
use crate::public::testing::{Answer, World, change};

/// Where the browser is sent, as path and parameters.
fn location(answer: &Answer) -> Option<Url> {
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
    Url::parse(answer.headers[header::LOCATION].to_str().unwrap()).ok()
}

#[tokio::test]
async fn f1_a_forged_return_tells_the_site_the_facts() {
    let world = World::new().await;
    let answer = world.get(&format!("{}?event=signing_complete&status=signed", world.return_path())).await;
    let url = location(&answer).unwrap();
    let pairs: std::collections::HashMap<_, _> = url.query_pairs().into_owned().collect();
    assert_eq!(url.host_str(), Some("www.example.com"));
    assert_eq!(pairs["status"], "ready");
    assert_eq!(pairs["signing_id"], world.signing.id.to_string());
    assert_eq!(pairs["result"].split('.').count(), 3);
    let (signing, _) = world.stored().await;
    assert_eq!(signing.signers[0].status, SignerStatus::Ready, "a claim changes no status");
    assert_eq!(signing.signers[0].last_return.unwrap().claim.as_str(), "signing_complete");
}

#[tokio::test]
async fn a_replayed_return_is_one_return_and_looking_is_none() {
    let world = World::new().await;
    let path = format!("{}?event=cancel", world.return_path());
    assert_eq!(world.get(&path).await.status, StatusCode::OK);
    let once = world.stored().await;
    for _ in 0..5 {
        world.get(&path).await;
        world.get(&format!("{}?wait=2", world.return_path())).await;
        assert_eq!(world.send(Method::HEAD, &path, &[], "").await.status, StatusCode::OK);
        let ahead = world.send(Method::GET, &path, &[("sec-purpose", "prefetch")], "").await;
        assert_eq!(ahead.status, StatusCode::SERVICE_UNAVAILABLE);
    }
    assert_eq!(world.stored().await, once);
    assert_eq!(world.mints(), 0);
}

#[tokio::test]
async fn trying_again_on_a_page_after_a_return_is_no_second_return() {
    let world = World::new().await;
    let path = world.return_path();
    let signer = world.signing.signers[0].id;
    let minted_at = Timestamp::from_second(1_700_000_000).unwrap();
    let until = Timestamp::from_second(1_700_000_240).unwrap();
    let again = "class=\"button plain\" href=\"?wait=0\"";
    world.get(&format!("{path}?event=cancel")).await;
    change(&world, |signing| {
        signing.signers[0].status = SignerStatus::InSession;
        signing.live_view = Some(LiveView { kind: ViewKind::InUse, signer, minted_at, until });
    })
    .await;
    let before = world.stored().await;
    let elsewhere = world.post(&path, "").await;
    assert_eq!(elsewhere.status, StatusCode::CONFLICT);
    assert!(elsewhere.text.contains(again), "{}", elsewhere.text);
    let page = world.get(&format!("{path}?wait=0")).await;
    assert!(page.text.contains("<form method=\"post\">"), "what the browser said is known: {}", page.text);
    assert_eq!(world.stored().await, before);

    change(&world, |signing| signing.signers[0].return_url = None).await;
    let plain = world.get(&path).await;
    assert!(plain.text.contains(again), "{}", plain.text);
    let before = world.stored().await;
    assert_eq!(world.get(&format!("{path}?wait=0")).await.text, plain.text);
    assert_eq!(world.stored().await, before);
}

#[tokio::test]
async fn a_click_after_a_return_that_nobody_here_knows_is_asked_for_once_more() {
    let world = World::new().await;
    world.get(&format!("{}?event=cancel", world.return_path())).await;
    let before = world.stored().await;
    let lost = world.get(&format!("{}?line={}", world.return_path(), "A".repeat(22))).await;
    assert_eq!(lost.status, StatusCode::OK, "{}", lost.text);
    assert!(
        lost.text.contains("Your click is not waiting here any more. Please press the button once more.")
    );
    assert!(lost.text.contains("<form method=\"post\">"), "{}", lost.text);
    let other = world.get(&format!("{}?line=abc", world.return_path())).await;
    assert!(other.status == StatusCode::OK && !other.text.contains("Your click"), "{}", other.text);
    assert_eq!((world.stored().await, world.mints()), (before, 0), "no second return, and no view");
}

#[tokio::test]
async fn l3_a_pause_leads_back_to_signing_and_to_the_site() {
    let world = World::new().await;
    for event in ["cancel", "exception", "session_timeout", "ttl_expired"] {
        let page = world.get(&format!("{}?event={event}", world.return_path())).await;
        assert_eq!(page.status, StatusCode::OK, "{event}");
        assert!(page.text.contains("<form method=\"post\">"), "{event}");
        assert!(page.text.contains("href=\"https://www.example.com/done?signing_id=sig_"), "{event}");
    }
    let resumed = world.post(&world.return_path(), "").await;
    assert_eq!((resumed.status, world.mints()), (StatusCode::SERVICE_UNAVAILABLE, 1), "it was tried");
    let foreign = [("sec-fetch-site", "cross-site")];
    let refused = world.send(Method::POST, &world.return_path(), &foreign, "").await;
    assert_eq!((refused.status, world.mints()), (StatusCode::FORBIDDEN, 1));
}

#[tokio::test]
async fn without_a_site_the_last_page_is_ours_and_waits_for_the_facts() {
    let world = World::new().await;
    change(&world, |signing| signing.signers[0].return_url = None).await;
    let waiting = world.get(&format!("{}?event=signing_complete", world.return_path())).await;
    assert_eq!(waiting.status, StatusCode::OK);
    assert!(waiting.text.contains("content=\"2;url=?wait=1\"") && waiting.text.contains("confirmation"));
    change(&world, |signing| {
        signing.status = SigningStatus::Completed;
        signing.signers[0].status = SignerStatus::Signed;
    })
    .await;
    let done = world.get(&format!("{}?wait=1", world.return_path())).await;
    assert!(done.text.contains("Everyone has signed") && !done.text.contains("http-equiv=\"refresh\""));
}
