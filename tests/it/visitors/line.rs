//! The line in which a click stands while DocuSign makes no views.

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::{
    harness::{Reply, TestDaemon},
    visitors::{link_of, location, unopened},
};

/// A click while DocuSign makes no views. It answers with where the line's page is: one that a browser can come back to,
/// and load again.
async fn stand_in_line(daemon: &TestDaemon, url: &str) -> String {
    daemon
        .fault(&json!({"fault": "status", "status": 503, "method": "POST", "path": "/views/recipient"}))
        .await;
    let to = location(&daemon.click(url).await);
    assert!(to.starts_with("?line="), "{to}");
    to
}

/// What the line's page answers once it has somewhere to lead to.
async fn out_of_line(daemon: &TestDaemon, page: &str) -> Reply {
    let mut last = daemon.look(page).await;
    daemon
        .run_clock("the view", async || {
            last = daemon.look(page).await;
            last.status != StatusCode::SERVICE_UNAVAILABLE
        })
        .await;
    last
}

#[tokio::test]
async fn a_click_stands_in_line_while_docusign_is_down_and_goes_on_by_itself() {
    let daemon = TestDaemon::builder().public().start().await;
    let made = daemon.create("order-1", &unopened()).await;
    let link = link_of(&made, 0);
    let to = stand_in_line(&daemon, &link).await;
    let page = format!("{link}{to}");
    let first = daemon.look(&page).await;
    assert!(first.text.contains(&format!("content=\"12;url={to}\"")), "{}", first.text);
    for _ in 0..5 {
        daemon.clock.advance(Duration::from_secs(12));
        let waiting = daemon.look(&page).await;
        assert_eq!(waiting.status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(waiting.text.contains("Your place is kept"));
        let head = daemon.call(Method::HEAD, &page, None, &[], Vec::new()).await;
        assert_eq!((head.status, &*head.text), (StatusCode::SERVICE_UNAVAILABLE, ""), "as GET");
    }
    // Whoever else holds the link sees its page, and gets nothing of that line.
    let other = daemon.look(&format!("{link}?line={}", "A".repeat(22))).await;
    assert!(other.status == StatusCode::OK && !other.text.contains("Your place is kept"), "{}", other.text);
    daemon.control(Method::DELETE, "faults", &Value::Null).await;
    daemon.forget_requests().await;
    let last = out_of_line(&daemon, &page).await;
    assert!(location(&last).contains("/Signing/MTRedeem/"));
    assert_eq!(location(&daemon.look(&page).await), location(&last), "looking twice is one view");
    let head = daemon.call(Method::HEAD, &page, None, &[], Vec::new()).await;
    assert_eq!(location(&head), location(&last), "as GET");
    let views = daemon.requests().await.iter().filter(|line| line.contains("/views/recipient")).count();
    assert_eq!(views, 1);
    daemon.broke_no_rule().await;
}

#[tokio::test]
async fn whoever_goes_on_after_a_return_stands_in_line_at_a_page_to_come_back_to() {
    let daemon = TestDaemon::builder().public().start().await;
    let made = daemon.create("order-1", &unopened()).await;
    assert_eq!(daemon.click(&link_of(&made, 0)).await.status, StatusCode::SEE_OTHER);
    let later = daemon.act(0, "finish_later", &json!({})).await;
    let back = later["redirect_url"].as_str().unwrap().to_owned();
    assert!(daemon.look(&back).await.text.contains("<form method=\"post\">"));
    let to = stand_in_line(&daemon, &back).await;
    let page = format!("{}{to}", back.split('?').next().unwrap());
    for _ in 0..2 {
        let waiting = daemon.look(&page).await;
        assert_eq!(waiting.status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(waiting.text.contains("Your place is kept"), "{}", waiting.text);
    }
    daemon.control(Method::DELETE, "faults", &Value::Null).await;
    let last = out_of_line(&daemon, &page).await;
    assert!(location(&last).contains("/Signing/MTRedeem/"));
}

#[tokio::test]
async fn nobody_mints_for_a_visitor_who_has_left_the_line() {
    let daemon = TestDaemon::builder().public().start().await;
    let made = daemon.create("order-1", &unopened()).await;
    let link = link_of(&made, 0);
    stand_in_line(&daemon, &link).await;
    daemon.pass(Duration::from_secs(2), 45).await;
    daemon.control(Method::DELETE, "faults", &Value::Null).await;
    daemon.forget_requests().await;
    daemon.pass(Duration::from_secs(2), 30).await;
    assert!(!daemon.requests().await.iter().any(|line| line.contains("/views/")));
    assert_eq!(daemon.click(&link).await.status, StatusCode::SEE_OTHER, "and the link is free");
}
