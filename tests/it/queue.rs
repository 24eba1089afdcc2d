//! The line of creates that wait for an upstream that cannot be reached: who is sent first when it is back.
//!
//! Rounds of recovery are made by the test, so that nothing depends on when a task happens to run.

use std::{
    collections::{BTreeMap, HashMap},
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
    domain::{SigningId, SigningStatus, TemplateNames},
    emulator::InMemory,
    http_client::{Carried, Carrier, Outcome},
    lifecycle::Spawner,
    signing::{Created, ReturnTarget, Signings},
    store::{self, SharedStore},
};
use http::{Method, Request, StatusCode};
use serde_json::{Value, json};

use crate::{
    harness::TestDaemon,
    simulation::envelope::{ask_for, daemon, order, prepare},
    store::{Fixture, key},
    visitors::{link_of, unopened},
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

/// A person who stands before a create that waits says so with the button of the page, in their language. Looking
/// says nothing: scanners look, too (rule L1).
#[tokio::test]
async fn l1_a_person_who_waits_says_so_with_a_button_and_looking_changes_nothing() {
    let daemon = TestDaemon::builder().public().start().await;
    daemon.fault(&json!({"fault": "status", "status": 503, "method": "POST", "path": "/envelopes"})).await;
    let mut made = Vec::new();
    for number in 0..8 {
        let body = unopened();
        let one = daemon.create_with(&format!("order-{number}"), &body, &[("prefer", "respond-async")]).await;
        assert_eq!(one.status, StatusCode::ACCEPTED, "{}", one.text);
        made.push(one);
    }
    let (link, id) = (link_of(&made[7], 0), made[7].id().parse::<SigningId>().unwrap());
    let look = async |language: &'static str| {
        daemon.call(Method::GET, &link, None, &[("accept-language", language)], Vec::new()).await
    };
    // The first that failed have opened the breaker; the last one was never sent.
    daemon.until("the button", async || look("en").await.text.contains("I am waiting")).await;
    let record = async || daemon.parts().store.signing(id).await.unwrap().unwrap();
    let before = record().await;
    for (language, button) in
        [("de", "Ich warte hier"), ("fr", "J’attends ici"), ("es", "Estoy esperando"), ("en", "I am waiting")]
    {
        let page = look(language).await;
        assert_eq!(page.status, StatusCode::ACCEPTED, "{}", page.text);
        assert!(page.text.contains("<form method=\"post\">"), "{}", page.text);
        assert!(
            page.text.contains(&format!("<button class=\"button\" type=\"submit\"><span>{button}</span>"))
        );
        // Nobody who has the page read to them gets to a button in three seconds.
        assert!(page.text.contains("http-equiv=\"refresh\" content=\"20\""), "{}", page.text);
    }
    let head = daemon.call(Method::HEAD, &link, None, &[], Vec::new()).await;
    assert_eq!(head.status, StatusCode::ACCEPTED);
    let after = record().await;
    assert_eq!((after.version, after.work), (before.version, before.work), "a look changes nothing");

    let elsewhere = [("sec-fetch-site", "cross-site")];
    let refused = daemon.call(Method::POST, &link, None, &elsewhere, Vec::new()).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN, "another site says nothing for a person");
    assert_eq!(record().await.work, before.work);
    let said = daemon.click(&link).await;
    assert_eq!(said.status, StatusCode::ACCEPTED, "{}", said.text);
    assert!(said.text.contains("front of the line") && !said.text.contains("<form"), "{}", said.text);
    let due_at = record().await.work.unwrap().due_at;
    for other in &made[..7] {
        let other = daemon.parts().store.signing(other.id().parse().unwrap()).await.unwrap().unwrap();
        assert!(due_at < other.work.unwrap().due_at, "before those that nobody stands before");
    }
    // Whoever looks again is told so, and is not asked again.
    let again = look("de").await;
    assert!(again.text.contains("vorn in der Reihe") && !again.text.contains("<form"), "{}", again.text);
    daemon.control(Method::DELETE, "faults", &Value::Null).await;
    let is_ready = async || look("en").await.status == StatusCode::OK;
    daemon.run_clock("the documents", is_ready).await;
    assert_eq!(daemon.click(&link).await.status, StatusCode::SEE_OTHER);
}

struct Line {
    wire: Arc<Wire>,
    clock: ManualClock,
    store: SharedStore,
    signings: Signings,
    templates: Arc<TemplateNames>,
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

#[tokio::test]
async fn a_template_whose_name_has_not_come_here_yet_is_waited_for() {
    let mut line = Line::new().await;
    // The daemon that took it knew the name.
    let mut order = order("early", false);
    let mut ask = ask_for("early", Bytes::from(order.to_string()), Duration::ZERO);
    order["documents"][0]["template"] = serde_json::json!("theirs");
    ask.body = Bytes::from(order.to_string());
    let Created::Accepted { signing, .. } = line.signings.create(ask).await.unwrap() else {
        panic!("nobody waited")
    };
    line.is_back();
    for _ in 0..10 {
        line.second().await;
    }
    let status = line.store.signing(signing).await.unwrap().unwrap().signing.status;
    assert_eq!(status, SigningStatus::Creating);
    let theirs = BTreeMap::from([("theirs".to_owned(), InMemory::TEMPLATE.to_owned())]);
    line.templates = Arc::new(TemplateNames::new(theirs, HashMap::new()));
    line.until_open(&[signing]).await;
}
