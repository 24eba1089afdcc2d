//! Visitors who come back, leave too early, press twice, or sign under another name.

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::{
    harness::TestDaemon,
    visitors::{link_of, location, location_of, unopened},
};

/// An order without a code, so that opening the view opens the documents.
fn plain() -> Value {
    let mut order = unopened();
    order["signers"][0]["sms_auth"] = Value::Null;
    order
}

impl TestDaemon {
    /// No event comes for a day.
    async fn without_events(&self) {
        self.fault(&json!({"fault": "event_delay", "delay_ms": 86_400_000})).await;
    }

    async fn back_from(&self, action: &str, given: &Value) -> String {
        self.act(0, action, given).await["redirect_url"].as_str().unwrap().to_owned()
    }
}

#[tokio::test]
async fn l2_a_signer_at_work_is_not_thrown_out_however_long_it_takes() {
    let daemon = TestDaemon::builder().public().start().await;
    let made = daemon.create("order-1", &plain()).await;
    let link = link_of(&made, 0);
    let view = location(&daemon.click(&link).await);
    let session = location_of(&daemon, &view).await;
    assert_eq!(daemon.look(&session).await.status, StatusCode::OK);
    let ping = daemon.recipient(0).await["ping_url"].as_str().unwrap().to_owned();
    assert!(ping.starts_with(daemon.public.as_ref().unwrap()), "{ping}");
    // The page is open for half an hour, and says so; its reader turns a page now and then.
    for _ in 0..15 {
        daemon.clock.advance(Duration::from_secs(120));
        assert_eq!(daemon.look(&ping).await.status, StatusCode::NO_CONTENT);
        assert_eq!(daemon.look(&session).await.status, StatusCode::OK);
        let second = daemon.click(&link).await;
        assert!(
            second.status == StatusCode::CONFLICT && second.text.contains("Already open"),
            "{}",
            second.text
        );
    }
    // Opening the spent address again does not end the first session.
    let spent = location_of(&daemon, &view).await;
    assert!(spent.contains("event=ttl_expired"), "{spent}");
    daemon.look(&spent).await;
    assert_eq!(daemon.click(&link).await.status, StatusCode::CONFLICT);
    assert_eq!(daemon.look(&session).await.status, StatusCode::OK, "still at work");
    daemon.broke_no_rule().await;

    // The window is closed without a word: the link is free again after five minutes.
    daemon.clock.advance(Duration::from_secs(20 * 60));
    assert_eq!(daemon.click(&link).await.status, StatusCode::SEE_OTHER);
    // The page of the old view has no say any more, and looking (HEAD) changes nothing.
    let fresh = daemon.recipient(0).await["ping_url"].as_str().unwrap().to_owned();
    daemon.clock.advance(Duration::from_secs(200));
    daemon.look(&ping).await;
    daemon.call(Method::HEAD, &fresh, None, &[], Vec::new()).await;
    daemon.clock.advance(Duration::from_secs(101));
    assert_eq!(daemon.click(&link).await.status, StatusCode::SEE_OTHER);
    for wrong in [format!("{ping}x"), ping.replace("/r/", "/r/A")] {
        assert_eq!(daemon.look(&wrong).await.status, StatusCode::NOT_FOUND, "{wrong}");
    }
}

#[tokio::test]
async fn a_new_name_is_learnt_from_the_event_that_tells_it() {
    let daemon = TestDaemon::builder().public().start().await;
    let made = daemon.create("order-1", &unopened()).await;
    let link = link_of(&made, 0);
    for name in ["Augusta Ada King", "Ada Byron"] {
        assert_eq!(daemon.click(&link).await.status, StatusCode::SEE_OTHER);
        let back = daemon.back_from("finish_later", &json!({"name": name})).await;
        assert_eq!(daemon.look(&back).await.status, StatusCode::OK);
        daemon.run_clock("the name", async || daemon.look(&link).await.text.contains(name)).await;
        daemon.clock.advance(Duration::from_secs(11));
    }
    daemon.forget_requests().await;
    assert!(location(&daemon.click(&link).await).contains("/Signing/MTRedeem/"));
    assert_eq!(daemon.requests().await.len(), 1, "asked for under the name that fits");
    daemon.broke_no_rule().await;
}

#[tokio::test]
async fn a_new_name_that_no_event_tells_is_read_once_in_a_quarter_of_an_hour_and_not_chased() {
    let daemon = TestDaemon::builder().public().start().await;
    let made = daemon.create("order-1", &unopened()).await;
    let link = link_of(&made, 0);
    daemon.without_events().await;
    assert_eq!(daemon.click(&link).await.status, StatusCode::SEE_OTHER);
    let back = daemon.back_from("finish_later", &json!({"name": "Augusta Ada King"})).await;
    assert_eq!(daemon.look(&back).await.status, StatusCode::OK);
    daemon.forget_requests().await;
    assert!(location(&daemon.click(&link).await).contains("/Signing/MTRedeem/"));
    assert_eq!(daemon.requests().await.len(), 3, "refused, read once, minted");
    daemon.clock.advance(Duration::from_secs(60));
    let back = daemon.back_from("finish_later", &json!({"name": "Ada Byron"})).await;
    assert_eq!(daemon.look(&back).await.status, StatusCode::OK);

    daemon.forget_requests().await;
    let told = daemon.click(&link).await;
    assert_eq!(told.status, StatusCode::CONFLICT, "{}", told.text);
    assert!(told.text.contains("You changed your name") && told.text.contains("14 minutes"), "{}", told.text);
    let path = format!("/v1/signings/{}/signers/{}/views", made.id(), made.signer());
    let refused = daemon.post(&path, &json!({})).await;
    assert_eq!((refused.status, refused.code()), (StatusCode::CONFLICT, "polling_budget"));
    for _ in 0..30 {
        daemon.clock.advance(Duration::from_secs(2));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(daemon.requests().await.len(), 2, "the click and the call, and nobody tries again by itself");
    daemon.clock.advance(Duration::from_secs(13 * 60 + 1));
    assert!(location(&daemon.click(&link).await).contains("/Signing/MTRedeem/"));
    daemon.broke_no_rule().await;
}
