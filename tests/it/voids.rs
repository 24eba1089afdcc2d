//! Voids that DocuSign takes no more: repeated after a lost answer, sent at once, too late. None does harm, and what is
//! answered is what DocuSign says of the envelope.

use std::time::Duration;

use http::StatusCode;
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::harness::{Reply, TestDaemon, order};

/// A signing whose check of the quarter of an hour is spent, of which no event tells.
async fn checked() -> (TestDaemon, Reply) {
    let daemon = TestDaemon::start().await;
    let made = daemon.create("order-1", &order()).await;
    let checked = daemon.post(&format!("/v1/signings/{}/refresh", made.id()), &json!({})).await;
    assert_eq!(
        (checked.status, &checked.body["status"]),
        (StatusCode::OK, &json!("open")),
        "{}",
        checked.text
    );
    daemon.forget_requests().await;
    (daemon, made)
}

impl TestDaemon {
    async fn void(&self, made: &Reply) -> Reply {
        self.post(&format!("/v1/signings/{}/void", made.id()), &json!({"reason": "ordered twice"})).await
    }

    async fn shown_status(&self, made: &Reply) -> Value {
        self.get(&format!("/v1/signings/{}", made.id())).await.body["status"].clone()
    }

    /// The answer to the next void does not come.
    async fn lose_a_void(&self, made: &Reply) {
        let envelope = &made.body["provider"]["envelope_id"];
        self.fault(&json!({"fault": "commit_then_drop", "method": "PUT", "path": envelope, "count": 1}))
            .await;
        let lost = self.void(made).await;
        let told = (lost.status.as_u16(), lost.code(), &lost.body["retryable"]);
        assert_eq!(told, (503, "provider_unavailable", &json!(true)), "{}", lost.text);
        assert_eq!(self.shown_status(made).await, "open", "nobody knows");
    }

    /// The questions that DocuSign got.
    async fn questions(&self) -> Vec<String> {
        let requests = self.requests().await;
        requests.into_iter().filter(|line| line.starts_with("GET /restapi")).collect()
    }
}

fn is_voided(reply: &Reply) -> bool {
    reply.status == StatusCode::OK && reply.body["status"] == "voided"
}

#[tokio::test]
async fn a_void_whose_answer_was_lost_is_repeated_without_harm() {
    let (daemon, made) = checked().await;
    daemon.lose_a_void(&made).await;
    for _ in 0..2 {
        let again = daemon.void(&made).await;
        assert!(is_voided(&again), "{}", again.text);
    }
    assert_eq!(daemon.shown_status(&made).await, "voided");
    let asked = daemon.questions().await;
    assert!(asked.len() == 1 && asked[0].ends_with("/envelopes"), "by one list: {asked:?}");
    let timeline = daemon.get(&format!("/v1/signings/{}/timeline", made.id())).await;
    assert_eq!(timeline.text.matches("\"signing.voided\"").count(), 1, "{}", timeline.text);
    daemon.broke_no_rule().await;
}

#[tokio::test]
async fn of_many_voids_at_once_each_is_told_that_it_is_voided_though_the_check_is_spent() {
    let (daemon, made) = checked().await;
    // Whoever comes first is answered last.
    let envelope = &made.body["provider"]["envelope_id"];
    daemon
        .fault(&json!({"fault": "delay", "method": "PUT", "path": envelope, "delay_ms": 200, "count": 1}))
        .await;
    let all = futures_util::future::join_all((0..4).map(|_| daemon.void(&made))).await;
    for one in &all {
        assert!(is_voided(one), "{}", one.text);
    }
    let asked = daemon.questions().await;
    assert!(asked.iter().all(|line| line.ends_with("/envelopes")), "{asked:?}");
    daemon.broke_no_rule().await;
}

#[tokio::test]
async fn a_void_that_comes_too_late_tells_how_it_has_ended_though_the_check_is_spent() {
    let (daemon, made) = checked().await;
    daemon.sign_all().await;
    assert_eq!(daemon.shown_status(&made).await, "open", "nobody has told");
    let late = daemon.void(&made).await;
    assert_eq!((late.status.as_u16(), late.code()), (409, "signing_closed"), "{}", late.text);
    assert_eq!(daemon.shown_status(&made).await, "completed");
    daemon.broke_no_rule().await;
}

/// As by another daemon's clock: what was answered before the end tells nothing of it, whatever its date.
#[tokio::test]
async fn a_void_that_is_taken_no_more_is_asked_about_though_the_last_answer_is_dated_ahead() {
    let (daemon, made) = checked().await;
    daemon.clock.step(SignedDuration::from_secs(-30));
    daemon.lose_a_void(&made).await;
    let again = daemon.void(&made).await;
    assert!(is_voided(&again), "{}", again.text);
    assert_eq!(daemon.shown_status(&made).await, "voided");
    daemon.broke_no_rule().await;
}

/// Neither a list nor a check tells it yet.
#[tokio::test]
async fn b3_a_void_of_which_nothing_can_be_told_yet_is_to_be_repeated_when_it_can_be() {
    let (daemon, made) = checked().await;
    daemon.fault(&json!({"fault": "list_lag", "delay_ms": 86_400_000})).await;
    daemon.lose_a_void(&made).await;
    let early = daemon.void(&made).await;
    let told = (early.status.as_u16(), early.code(), &early.body["retryable"]);
    assert_eq!(told, (409, "polling_budget", &json!(true)), "{}", early.text);
    assert_eq!(early.headers["retry-after"], "900", "{}", early.text);
    assert_eq!(daemon.shown_status(&made).await, "open", "that it was ours is not known");
    daemon.clock.advance(Duration::from_secs(901));
    let again = daemon.void(&made).await;
    assert!(is_voided(&again), "{}", again.text);
    daemon.broke_no_rule().await;
}

/// They share one list, as another of the sender is under way. Who asked by it is told what it came to, and the others ask
/// again.
#[tokio::test]
async fn of_many_voids_at_once_one_is_told_of_a_list_that_fails_and_the_others_that_it_is_voided() {
    let (daemon, made) = checked().await;
    let other = daemon.create("order-2", &order()).await;
    daemon.lose_a_void(&made).await;
    daemon.lose_a_void(&other).await;
    daemon.forget_requests().await;
    let slow = json!({"fault": "delay", "method": "GET", "path": "/envelopes", "delay_ms": 400, "count": 1});
    daemon.fault(&slow).await;
    let meanwhile = async {
        daemon.until("the other's list", async || daemon.questions().await.len() == 1).await;
        let down =
            json!({"fault": "status", "status": 503, "method": "GET", "path": "/envelopes", "count": 1});
        daemon.fault(&down).await;
        futures_util::future::join_all((0..4).map(|_| daemon.void(&made))).await
    };
    let (of_other, all) = tokio::join!(daemon.void(&other), meanwhile);
    assert!(is_voided(&of_other), "{}", of_other.text);
    let (away, told): (Vec<_>, Vec<_>) = all.iter().partition(|one| one.code() == "provider_unavailable");
    assert_eq!((away.len(), told.len()), (1, 3), "{all:?}");
    for one in told {
        assert!(is_voided(one), "{}", one.text);
    }
    let asked = daemon.questions().await;
    assert!(asked.iter().all(|line| line.ends_with("/envelopes")), "{asked:?}");
    daemon.broke_no_rule().await;
}

/// A list that cannot be had says nothing of the signing: the same call is to be repeated.
#[tokio::test]
async fn a_void_whose_end_cannot_be_asked_for_is_to_be_repeated() {
    let (daemon, made) = checked().await;
    daemon.lose_a_void(&made).await;
    let down = json!({"fault": "status", "status": 503, "method": "GET", "path": "/envelopes", "count": 1});
    daemon.fault(&down).await;
    let away = daemon.void(&made).await;
    let told = (away.status.as_u16(), away.code(), &away.body["retryable"]);
    assert_eq!(told, (503, "provider_unavailable", &json!(true)), "{}", away.text);
    let again = daemon.void(&made).await;
    assert!(is_voided(&again), "{}", again.text);
    daemon.broke_no_rule().await;
}
