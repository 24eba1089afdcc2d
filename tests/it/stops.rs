//! How a daemon ends that does not end by itself: at its deadline, or told to more than once (rule H2).

use std::time::Duration;

use http::StatusCode;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tokio::net::TcpStream;

use crate::{
    harness::{TempDir, TestDaemon, order},
    kills::{create, start},
    waiting::found,
};

#[tokio::test]
async fn h2_a_second_signal_ends_a_stop_that_would_wait_for_a_minute() {
    let around = TestDaemon::start().await;
    let folder = TempDir::new();
    let store = format!("sqlite://{}", folder.0.join("store.db").display());
    let (known, patient) = ("grace = 0\ndeadline = 5", "grace = 0\ndeadline = 60");
    let settings = around.settings_for_a_process(&store);
    assert!(settings.contains(known), "{settings}");
    let (mut daemon, api) = start(&settings.replace(known, patient), &folder.0, 0).await;
    // What is under way is never answered.
    around.fault(&json!({"fault": "stall", "method": "POST", "path": "/envelopes"})).await;
    let host = api.strip_prefix("http://").unwrap().to_owned();
    let waiting = tokio::spawn(async move { create(&api, "order-1").await });
    let is_sent = async || {
        around.requests().await.iter().any(|line| line.starts_with("POST ") && line.ends_with("/envelopes"))
    };
    around.until("the create", is_sent).await;

    let pid = Pid::from_raw(daemon.id().try_into().unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    // The first one is taken: nobody is let in any more.
    around.until("the stop", async || TcpStream::connect(&host).await.is_err()).await;
    assert!(daemon.ended().is_none(), "it waits for the create");
    kill_process(pid, Signal::TERM).unwrap();
    let ended = found("the end", async || daemon.ended());
    let ended = tokio::time::timeout(Duration::from_secs(15), ended).await.expect("long before the deadline");
    assert!(ended.success(), "{ended}");
    assert!(!matches!(waiting.await.unwrap(), Some((201 | 202, _))), "nothing was promised");
}

/// The store has nothing to do with it.
#[tokio::test]
async fn h2_a_create_that_the_deadline_cuts_off_is_told_that_the_daemon_stops() {
    let mut daemon = TestDaemon::start().await;
    daemon.restart_with(|settings| settings.replace("deadline = 5", "deadline = 1")).await;
    daemon.forget_requests().await;
    // What is under way is never answered.
    daemon.fault(&json!({"fault": "stall", "method": "POST", "path": "/envelopes"})).await;
    let body = order();
    let is_sent = async || {
        daemon.requests().await.iter().any(|line| line.starts_with("POST ") && line.ends_with("/envelopes"))
    };
    let stop = async {
        daemon.until("the create", is_sent).await;
        daemon.begin_stop();
    };
    let (told, ()) = tokio::join!(daemon.create("order-1", &body), stop);
    assert_eq!(
        (told.status, told.code()),
        (StatusCode::SERVICE_UNAVAILABLE, "shutting_down"),
        "{}",
        told.text
    );
    assert!(told.headers.contains_key("retry-after"));
    daemon.stop().await;
}
