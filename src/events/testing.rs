//! What the tests of this folder share: a store in a file of its own, events, and receivers.

use std::{
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Router, body::Bytes, extract::State};
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use tokio::sync::{Semaphore, mpsc};

use crate::{
    clock::SystemClock,
    domain::{CallerName, Event, EventId, EventKind, SigningId},
    store::{self, SealKeys, SharedStore},
};

/// A moment to begin at.
pub(crate) fn now() -> Timestamp {
    Timestamp::from_second(1_772_000_000).unwrap()
}

/// An empty store in a file that no other test uses.
pub(crate) async fn store() -> SharedStore {
    store_in(&std::env::temp_dir().join(format!("countersign-events-{}.db", uuid::Uuid::new_v4()))).await
}

/// A store in this file.
pub(crate) async fn store_in(path: &Path) -> SharedStore {
    let settings = store::Settings {
        synchronous: store::Synchronous::Off,
        ..store::Settings::new(store::Location::Sqlite { path: path.to_owned() })
    };
    store::open(&settings, SealKeys::new(&[7; 32], &[]), Arc::new(SystemClock)).await.unwrap()
}

pub(crate) fn caller() -> CallerName {
    CallerName::new("website")
}

/// An event of the caller about a signing.
pub(crate) fn event(signing: SigningId, sequence: u64, at: Timestamp) -> Event {
    Event {
        id: EventId::generate(at),
        caller: caller(),
        kind: EventKind::SignerReady,
        signing: Some(signing),
        signer: None,
        sequence,
        at,
        data: format!(r#"{{"object":"signing","sequence":{sequence}}}"#),
    }
}

/// What a receiver got.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Taken {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }
}

/// A receiver on loopback that answers with a status, or first with those of a script.
#[derive(Debug)]
pub(crate) struct Receiver {
    pub(crate) url: String,
    taken: mpsc::UnboundedReceiver<Taken>,
    script: Arc<Mutex<Vec<u16>>>,
    /// A permit for each answer that it may be at.
    gate: Arc<Semaphore>,
}

#[derive(Debug, Clone)]
struct Script {
    statuses: Arc<Mutex<Vec<u16>>>,
    taken: mpsc::UnboundedSender<Taken>,
    gate: Arc<Semaphore>,
}

impl Receiver {
    /// Answers these statuses in turn, then 200.
    pub(crate) async fn start(statuses: &[u16]) -> Self {
        let receiver = Self::silent(statuses).await;
        receiver.speak();
        receiver
    }

    /// The same, but takes what comes and does not answer before it is told to.
    pub(crate) async fn silent(statuses: &[u16]) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let (sender, taken) = mpsc::unbounded_channel();
        let script = Arc::new(Mutex::new(statuses.iter().rev().copied().collect()));
        let gate = Arc::new(Semaphore::new(0));
        let state = Script { statuses: Arc::clone(&script), taken: sender, gate: Arc::clone(&gate) };
        let answer = |State(script): State<Script>, headers: HeaderMap, body: Bytes| async move {
            let status = script.statuses.lock().unwrap().pop().unwrap_or(200);
            let _ = script.taken.send(Taken { headers, body });
            let _place = script.gate.acquire().await;
            let elsewhere = [("location", "http://127.0.0.1:1/"), ("retry-after", "0")];
            (StatusCode::from_u16(status).unwrap(), elsewhere, "x".repeat(10_000))
        };
        let router = Router::new().fallback(answer).with_state(state);
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, taken, script, gate }
    }

    /// Answers from now on.
    pub(crate) fn speak(&self) {
        self.gate.add_permits(1_000);
    }

    /// The next thing that it gets.
    pub(crate) async fn next(&mut self) -> Taken {
        let next = tokio::time::timeout(Duration::from_secs(10), self.taken.recv()).await;
        next.expect("something comes").unwrap()
    }

    /// The sequence of the next event that it gets.
    pub(crate) async fn next_sequence(&mut self) -> u64 {
        let body: serde_json::Value = serde_json::from_slice(&self.next().await.body).unwrap();
        body["data"]["sequence"].as_u64().unwrap()
    }

    /// Whether it has got nothing more.
    pub(crate) fn is_idle(&mut self) -> bool {
        self.taken.try_recv().is_err()
    }

    /// Whether its script was used up.
    pub(crate) fn is_done(&self) -> bool {
        self.script.lock().unwrap().is_empty()
    }
}

/// Waits for what other tasks bring about.
pub(crate) async fn eventually<F: Future<Output = bool>>(mut is_so: impl FnMut() -> F) {
    for _ in 0..2_000 {
        if is_so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("it never came to be");
}
