//! The floor: the same call on the libraries that countersign stands on (axum, reqwest, serde); in its second
//! form with the least that an answer worth keeping must write: a row with the caller's key before the create, and
//! that row again after it, in SQLite as the store opens it, with writes that wait sharing a sync; in its third
//! form with what our own store keeps ([`writes`]).
//!
//! The second checks no caller, knows no token's end, seals nothing, tells no event, and cannot say after a crash
//! what became of an envelope. The third has all for these last three in its store, though nothing that would read
//! it. What countersign costs above it is the price of the rest.

use std::{
    path::PathBuf,
    sync::{Arc, mpsc},
};

use axum::{Json, Router, extract::State, http::StatusCode, routing::post};
use bytes::Bytes;
use countersign::{
    clock::{Clock as _, SystemClock},
    domain::{EnvelopeId, Signing},
    store::{self, Location, SealKeys, Settings, SharedStore, Version},
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::{
    upstream::{ACCOUNT, TEMPLATE},
    writes,
};

#[derive(Clone)]
struct Service {
    origin: Arc<str>,
    client: reqwest::Client,
    token: Arc<str>,
    kept: Kept,
}

/// What is kept of a call.
#[derive(Clone)]
enum Kept {
    Nothing,
    Row(mpsc::Sender<(Write, oneshot::Sender<i64>)>),
    Ours(SharedStore),
}

enum Write {
    /// The order, with the key that makes it one.
    Begin { key: String, order: Bytes },
    /// What became of it.
    End { row: i64, envelope: String, answer: String },
}

#[derive(Deserialize)]
struct Order {
    signers: Vec<Signer>,
}

#[derive(Deserialize)]
struct Signer {
    key: String,
    name: String,
    email: String,
    return_url: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Created {
    envelope_id: String,
}

#[derive(Deserialize)]
struct View {
    url: String,
}

/// Runs until its parent closes its standard input. Arguments: the upstream's origin; then nothing, or what is kept
/// (`row` or `ours`) and a database file.
pub(crate) fn run(arguments: &[String]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    #[expect(clippy::disallowed_methods, reason = "what is measured is the library, and not our use of it")]
    let service = Service {
        origin: arguments[0].as_str().into(),
        client: reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .expect("a client"),
        token: format!("Bearer {}", "eyJ0eXAiOiJNVCIsImFsZyI6IlJTMjU2In0.".repeat(16)).into(),
        kept: runtime.block_on(Kept::open(&arguments[1..])),
    };
    runtime.block_on(async {
        let listener = super::contender::listen();
        super::report::line(&format!("http://{}", listener.local_addr().expect("bound")));
        let router = Router::new().route("/v1/signings", post(create)).with_state(service);
        tokio::spawn(async move { axum::serve(listener, router).await });
        super::contender::until_parent_ends().await;
    });
}

async fn create(
    State(service): State<Service>,
    headers: axum::http::HeaderMap,
    body: Bytes,
) -> (StatusCode, Json<Value>) {
    let order: Order = serde_json::from_slice(&body).expect("the benchmark's own order");
    let signer = &order.signers[0];
    let key = headers["idempotency-key"].to_str().expect("the benchmark's own key").to_owned();
    let begun = service.kept.begin(key, &body).await;
    let person =
        json!({"roleName": "Client", "name": signer.name, "email": signer.email, "clientUserId": signer.key});
    let definition = json!({"status": "sent", "templateId": TEMPLATE, "templateRoles": [person]});
    let path = format!("/restapi/v2.1/accounts/{ACCOUNT}/envelopes");
    let Created { envelope_id } = service.post(&path, &definition).await;
    let view = json!({"returnUrl": signer.return_url, "authenticationMethod": "None", "userName": signer.name,
        "email": signer.email, "clientUserId": signer.key});
    let View { url } = service.post(&format!("{path}/{envelope_id}/views/recipient"), &view).await;
    let answer = json!({"status": "open", "envelope": envelope_id, "view": {"url": url}});
    service.kept.end(begun, envelope_id, &answer).await;
    (StatusCode::CREATED, Json(answer))
}

impl Service {
    async fn post<T: for<'de> Deserialize<'de>>(&self, path: &str, body: &Value) -> T {
        let request =
            self.client.post(format!("{}{path}", self.origin)).header("authorization", &*self.token);
        let answer = request.json(body).send().await.expect("the upstream answers");
        answer.json().await.expect("what the stand-in answers")
    }
}

/// What a call has kept before its create.
enum Begun {
    Nothing,
    Row(i64),
    Ours(Box<Signing>, Version),
}

impl Kept {
    async fn open(arguments: &[String]) -> Self {
        let [what, file] = arguments else { return Self::Nothing };
        if what == "row" {
            return Self::Row(open(file.into()));
        }
        let settings = Settings::new(Location::Sqlite { path: file.into() });
        let opened = store::open(&settings, SealKeys::new(&[1; 32], &[]), Arc::new(SystemClock)).await;
        Self::Ours(opened.expect("the store opens"))
    }

    async fn begin(&self, key: String, order: &Bytes) -> Begun {
        match self {
            Self::Nothing => Begun::Nothing,
            Self::Row(rows) => Begun::Row(write(rows, Write::Begin { key, order: order.clone() }).await),
            Self::Ours(store) => {
                let signing = writes::signing(SystemClock.now());
                let from = writes::begin(store, &signing, vec![]).await;
                Begun::Ours(Box::new(signing), from)
            }
        }
    }

    async fn end(&self, begun: Begun, envelope: String, answer: &Value) {
        match (self, begun) {
            (Self::Row(rows), Begun::Row(row)) => {
                write(rows, Write::End { row, envelope, answer: answer.to_string() }).await;
            }
            (Self::Ours(store), Begun::Ours(mut signing, from)) => {
                let answer = answer.to_string().into();
                writes::end(store, &mut signing, from, EnvelopeId::new(envelope), answer).await;
            }
            _ => {}
        }
    }
}

/// Writes, and waits until it is on disk; answers the row.
async fn write(rows: &mpsc::Sender<(Write, oneshot::Sender<i64>)>, write: Write) -> i64 {
    let (done, is_done) = oneshot::channel();
    rows.send((write, done)).expect("the writer lives");
    is_done.await.expect("it is on disk")
}

fn open(file: PathBuf) -> mpsc::Sender<(Write, oneshot::Sender<i64>)> {
    let database = rusqlite::Connection::open(file).expect("a database");
    database
        .execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -8192;
             CREATE TABLE orders (id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, body BLOB NOT NULL,
                                  envelope TEXT, answer TEXT) STRICT;",
        )
        .expect("a table");
    let (writes, waiting) = mpsc::channel::<(Write, oneshot::Sender<i64>)>();
    std::thread::spawn(move || {
        while let Ok(first) = waiting.recv() {
            // As our writer does: who is about to write may come along.
            std::thread::yield_now();
            let batch: Vec<_> = std::iter::once(first).chain(waiting.try_iter()).collect();
            database.execute_batch("BEGIN IMMEDIATE").expect("it begins");
            let rows: Vec<_> = batch.iter().map(|(write, _)| apply(&database, write)).collect();
            database.execute_batch("COMMIT").expect("it is on disk");
            for ((_, done), row) in batch.into_iter().zip(rows) {
                let _ = done.send(row);
            }
        }
    });
    writes
}

fn apply(database: &rusqlite::Connection, write: &Write) -> i64 {
    match write {
        Write::Begin { key, order } => {
            let text = "INSERT INTO orders (key, body) VALUES (?1, ?2)";
            let mut insert = database.prepare_cached(text).expect("an insert");
            insert.insert((key, &order[..])).expect("a new key")
        }
        Write::End { row, envelope, answer } => {
            let text = "UPDATE orders SET envelope = ?2, answer = ?3 WHERE id = ?1";
            let mut update = database.prepare_cached(text).expect("an update");
            update.execute((row, envelope, answer)).expect("the row is there");
            *row
        }
    }
}
