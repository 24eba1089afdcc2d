//! The line of creates that wait for an upstream that cannot be reached: who is sent first when it is back.
//!
//! Rounds of recovery are made by the test, so that nothing depends on when a task happens to run.

use std::{
    collections::BTreeMap,
    future::ready,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use countersign::{
    clock::ManualClock,
    domain::{SigningId, SigningStatus},
    emulator::InMemory,
    http_client::{Carried, Carrier, Outcome},
    lifecycle::Spawner,
    signing::{Created, ReturnTarget, Signings},
    store::{self, SharedStore},
};
use http::{Method, Request};

use crate::{
    simulation::envelope::{ask_for, daemon, order, prepare},
    store::{Fixture, key},
};

/// The way to an upstream that can be away, and what was created there, in order.
#[derive(Debug)]
struct Wire {
    emulator: InMemory,
    is_away: AtomicBool,
    created: Mutex<Vec<String>>,
}

impl Carrier for Wire {
    fn carry(&self, request: Request<Bytes>, _: Duration) -> Carried {
        let path = request.uri().path();
        if path.starts_with("/restapi") && self.is_away.load(Ordering::SeqCst) {
            return Box::pin(ready(Err(Outcome::NotSent)));
        }
        if request.method() == Method::POST && path.ends_with("/envelopes") {
            let body: serde_json::Value = serde_json::from_slice(request.body()).unwrap();
            self.created.lock().unwrap().push(body["emailSubject"].as_str().unwrap().to_owned());
        }
        Box::pin(ready(Ok(self.emulator.vendor(request))))
    }
}

struct Line {
    wire: Arc<Wire>,
    clock: ManualClock,
    store: SharedStore,
    signings: Signings,
    templates: Arc<BTreeMap<String, String>>,
    /// Keeps the store's file.
    _fixture: Fixture,
}

impl Line {
    async fn new() -> Self {
        let fixture = Fixture::sqlite();
        let clock = fixture.clock.clone();
        let shared: countersign::clock::SharedClock = Arc::new(clock.clone());
        let settings = store::Settings::new(fixture.location.clone());
        let store = store::open(&settings, key(1), Arc::clone(&shared)).await.unwrap();
        let emulator = InMemory::new(1, Arc::clone(&shared));
        prepare(&emulator, Duration::ZERO);
        let wire = Arc::new(Wire { emulator, is_away: AtomicBool::new(true), created: Mutex::default() });
        let way: Arc<dyn Carrier> = Arc::clone(&wire) as _;
        let signings = daemon(way, Arc::clone(&store), &Spawner::tokio(), shared, 1);
        Self { wire, clock, store, signings, templates: Arc::default(), _fixture: fixture }
    }

    /// A create whose caller does not wait.
    async fn queue(&self, name: &str) -> SigningId {
        let body = Bytes::from(order(name, false).to_string());
        match self.signings.create(ask_for(name, body, Duration::ZERO)).await.unwrap() {
            Created::Accepted { signing, .. } => signing,
            Created::Made { .. } => panic!("nobody waited"),
        }
    }

    /// Somebody presses the button of the link of a create that is still in line.
    async fn click(&self, signing: SigningId) {
        let record = self.store.signing(signing).await.unwrap().unwrap();
        let target = ReturnTarget { signing, signer: record.signing.signers[0].id, link: None };
        self.signings.view_by_click(target).await.expect_err("there is nothing to show yet");
    }

    /// A second of recovery's rounds, each followed by what it began.
    async fn second(&self) {
        loop {
            let taken = self.signings.round(&self.templates).await.unwrap();
            // The store has threads of its own.
            tokio::time::sleep(Duration::from_millis(5)).await;
            if taken == 0 {
                return self.clock.advance(Duration::from_secs(1));
            }
        }
    }

    async fn until_open(&self, ids: &[SigningId]) {
        for _ in 0..200 {
            self.second().await;
            let mut open = 0;
            for id in ids {
                let record = self.store.signing(*id).await.unwrap().unwrap();
                open += usize::from(record.signing.status == SigningStatus::Open);
            }
            if open == ids.len() {
                return;
            }
        }
        panic!("the line does not end: {:?}", self.wire.created.lock().unwrap());
    }

    fn is_back(&self) {
        self.wire.is_away.store(false, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn whoever_a_person_stands_before_is_sent_first_when_the_upstream_is_back() {
    let line = Line::new().await;
    let mut ids = Vec::new();
    for number in 0..12 {
        ids.push(line.queue(&format!("order-{number}")).await);
        line.clock.advance(Duration::from_millis(10));
    }
    for _ in 0..20 {
        line.second().await;
    }
    line.click(ids[8]).await;
    for _ in 0..7 {
        line.second().await;
    }
    line.is_back();
    line.until_open(&ids).await;
    let created = line.wire.created.lock().unwrap().clone();
    assert_eq!(created[0], "order-8", "{created:?}");
    assert_eq!(created.len(), 12, "{created:?}");
}

#[tokio::test]
async fn a_new_create_goes_behind_the_line_and_its_caller_waits_for_its_turn() {
    let line = Line::new().await;
    let mut ids = Vec::new();
    for number in 0..30 {
        ids.push(line.queue(&format!("order-{number}")).await);
    }
    for _ in 0..12 {
        line.second().await;
    }
    line.is_back();
    // The first one finds out that the upstream is back; the others are still in line.
    for _ in 0..200 {
        if !line.wire.created.lock().unwrap().is_empty() {
            break;
        }
        line.clock.advance(Duration::from_secs(1));
        line.signings.round(&line.templates).await.unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    line.signings.round(&line.templates).await.unwrap();
    let body = Bytes::from(order("late", false).to_string());
    let late = ask_for("late", body, Duration::from_secs(60));
    let (made, ()) = tokio::join!(line.signings.create(late), line.until_open(&ids));
    assert!(matches!(made.unwrap(), Created::Made { .. }), "it was worth waiting");
    let created = line.wire.created.lock().unwrap().clone();
    let place = created.iter().position(|name| name == "late").unwrap();
    assert!(place >= 20, "not past those who came before: {created:?}");
}
