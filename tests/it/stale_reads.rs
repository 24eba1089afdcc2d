//! What is read of an account once and remembered, and does not hold any more.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use countersign::config::Config;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use crate::harness::{TestDaemon, order};

/// The workflow that the emulator's accounts have, and one of the same length that they do not.
const WORKFLOW: &str = "c368e411-1592-4001-a3df-dca94ac539ae";
const GONE: &str = "00000000-0000-4000-8000-00000000dead";

#[tokio::test]
async fn what_was_read_of_an_account_is_read_anew_after_a_refusal_a_check_and_a_reload() {
    let daemon = TestDaemon::start().await;
    let dry = async || daemon.post("/v1/signings?dry_run=true", &order()).await.status;
    let switch = async |is_on: bool| {
        daemon.control(Method::POST, "features", &json!({"identity_verification": is_on})).await;
    };
    assert_eq!(dry().await, StatusCode::OK);
    switch(false).await;
    assert_eq!(dry().await, StatusCode::OK, "it is remembered");
    let refused = daemon.create("refused", &order()).await;
    assert_eq!(refused.code(), "sms_auth_unavailable", "{}", refused.text);
    assert_eq!(dry().await, StatusCode::UNPROCESSABLE_ENTITY, "and forgotten once it was refused");

    let check = async || {
        let checked = daemon.post("/v1/senders/system/check", &json!({})).await;
        assert_eq!(checked.body["ok"], true, "{}", checked.text);
    };
    switch(true).await;
    check().await;
    assert_eq!(dry().await, StatusCode::OK);
    switch(false).await;
    check().await;
    assert_eq!(dry().await, StatusCode::UNPROCESSABLE_ENTITY);

    switch(true).await;
    daemon.parts().reload(&Config::from_toml(daemon.settings()).unwrap()).await.unwrap();
    assert_eq!(dry().await, StatusCode::OK);
    let made = daemon.create("refused", &order()).await;
    assert_eq!(made.status, StatusCode::CREATED, "its key is free: {}", made.text);
}

#[tokio::test]
async fn a_workflow_that_docusign_does_not_know_any_more_is_looked_up_and_the_create_sent_once_more() {
    let mut daemon = TestDaemon::start().await;
    let emulator = daemon.emulator.ready().oauth_url.clone();
    let is_old = Arc::new(AtomicBool::new(true));
    let relay = relay(emulator.strip_prefix("http://").unwrap(), Arc::clone(&is_old)).await;
    daemon.restart_with(|settings| settings.replace(&emulator, &relay)).await;
    let dry = daemon.post("/v1/signings?dry_run=true", &order()).await;
    assert_eq!(dry.status, StatusCode::OK, "{}", dry.text);
    // As long as its account has no other, a create is refused, once each.
    let creates = async || {
        let all = daemon.requests().await;
        all.iter().filter(|line| line.starts_with("POST ") && line.ends_with("/envelopes")).count()
    };
    let refused = daemon.create("order-1", &order()).await;
    assert_eq!(refused.code(), "sms_auth_unavailable", "{}", refused.text);
    assert_eq!(refused.body["provider"]["code"], "IDENTITY_WORKFLOW_INVALID_ID", "{}", refused.text);
    assert_eq!(creates().await, 1);

    is_old.store(false, Ordering::Relaxed);
    daemon.control(Method::DELETE, "requests", &Value::Null).await;
    let made = daemon.create("order-1", &order()).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    assert_eq!((creates().await, daemon.envelopes().await), (2, 1));
    daemon.create("order-2", &order()).await;
    assert_eq!(creates().await, 3, "the new one is remembered");
}

/// A way to the emulator that has another id in the place of its workflow, as long as that is so.
async fn relay(to: &str, is_old: Arc<AtomicBool>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, to) = (listener.local_addr().unwrap(), to.to_owned());
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let far = TcpStream::connect(&to).await.unwrap();
            tokio::spawn(carry(near, far, Arc::clone(&is_old)));
        }
    });
    format!("http://{address}")
}

async fn carry(near: TcpStream, far: TcpStream, is_old: Arc<AtomicBool>) {
    let ((mut asked, mut told), (mut said, mut passed)) = (near.into_split(), far.into_split());
    let there = async {
        let _ = tokio::io::copy(&mut asked, &mut passed).await;
        let _ = passed.shutdown().await;
    };
    let back = async {
        let mut piece = vec![0; 64 * 1024];
        while let Ok(count @ 1..) = said.read(&mut piece).await {
            let piece = &mut piece[..count];
            let found = piece.windows(WORKFLOW.len()).position(|window| window == WORKFLOW.as_bytes());
            if let Some(at) = found.filter(|_| is_old.load(Ordering::Relaxed)) {
                piece[at..at + GONE.len()].copy_from_slice(GONE.as_bytes());
            }
            if told.write_all(piece).await.is_err() {
                return;
            }
        }
        let _ = told.shutdown().await;
    };
    tokio::join!(there, back);
}
