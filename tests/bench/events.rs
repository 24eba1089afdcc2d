//! Events in and out, in numbers, with the real clock over real sockets:
//!
//! - a Connect event in, until whoever waits for the signing is answered (target: under 50 ms at the median);
//! - webhooks to 10,000 endpoints of which half never answer: how much longer the living wait than without
//!   the dead (target: at most 1 s).
//!
//! `cargo bench --bench events`. The second part takes its number of endpoints as an argument:
//! `cargo bench --bench events -- 1000`. Ends with a failure if a target is missed.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use countersign::{
    app::App,
    clock::{Clock as _, SharedClock, SystemClock},
    config::Config,
    connect::Keys,
    digest::{hex, sha256},
    domain::{CallerName, EndpointId, Event, EventId, EventKind, Private, SigningId},
    emulator::{self, Emulator},
    events::{Dependencies, Dispatcher, Endpoints, Hub, Limits, Targets, Webhooks},
    lifecycle::Lifecycle,
    store::{self, Endpoint, Location, SealKeys, Settings, SharedStore},
    telemetry::metrics::Metrics,
};
use serde_json::{Value, json};

const CALLER_KEY: &str = "cs_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
const WAITS: usize = 200;
const TARGETS: Targets = Targets { plain_loopback: true };

fn main() {
    let endpoints = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(10_000);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let is_good = runtime.block_on(async {
        let waited = Box::pin(waiters()).await;
        let median = show("event in to waiter answered", waited);
        let alone = webhooks(endpoints / 2, 0).await;
        let among = webhooks(endpoints / 2, endpoints / 2).await;
        let (first, steady) = (more(&alone.0, &among.0), more(&alone.1, &among.1));
        show("webhooks to all at once, living only", alone.0);
        show("webhooks to all at once, half of them dead", among.0);
        show("webhooks one by one, living only", alone.1);
        show("webhooks one by one, half of them dead", among.1);
        eprintln!("the slowest of the living waits {first:?} more at once, {steady:?} more one by one");
        median < Duration::from_millis(50)
            && first <= Duration::from_secs(1)
            && steady <= Duration::from_secs(1)
    });
    assert!(is_good, "a target was missed");
    std::process::exit(0);
}

/// Prints the distribution, and answers its median.
fn show(what: &str, mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100];
    eprintln!("{what}: n={} p50={:?} p99={:?} max={:?}", times.len(), at(50), at(99), at(100));
    at(50)
}

fn more(alone: &[Duration], among: &[Duration]) -> Duration {
    let slowest = |times: &[Duration]| times.iter().max().copied().unwrap_or_default();
    slowest(among).saturating_sub(slowest(alone))
}

#[expect(clippy::disallowed_methods, reason = "the benchmark is a client of its own")]
fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(60)).build().expect("a client")
}

fn directory() -> std::path::PathBuf {
    let path = std::env::temp_dir().join(format!("countersign-bench-{}", uuid::Uuid::new_v4().simple()));
    std::fs::create_dir_all(&path).expect("a directory");
    path
}

/// From the first byte of a Connect event to the last byte of the answer to who waits.
async fn waiters() -> Vec<Duration> {
    let (clock, life): (SharedClock, _) = (Arc::new(SystemClock), Lifecycle::new());
    let emulator =
        Emulator::start(emulator::Options::default(), Arc::clone(&clock), &life).await.expect("an emulator");
    let directory = directory();
    let config = Config::from_toml(&settings(&emulator, &directory)).expect("settings");
    let app = App::build(config, clock, life.clone()).await.expect("a daemon");
    let ready = app.ready();
    tokio::spawn(app.run());
    let http = client();
    let public = ready.public_url.expect("the public listener is on");
    let keys = Keys::new([emulator.ready().connect_hmac_key.as_str()]);
    let limits = json!({"hourly": 1_000_000, "burst": 1_000_000});
    let control = format!("{}/_test/limits", emulator.ready().control_url);
    http.post(control).json(&limits).send().await.expect("the emulator answers");
    let mut times = Vec::new();
    for number in 0..WAITS {
        let made = create(&http, &ready.api_url, number).await;
        let (id, sequence) = (made["id"].as_str().expect("an id"), &made["sequence"]);
        let wait = http
            .get(format!("{}/v1/signings/{id}/wait?sequence={sequence}", ready.api_url))
            .bearer_auth(CALLER_KEY);
        let waiting = tokio::spawn(async move {
            let told = wait.send().await.expect("an answer").text().await.expect("a body");
            (SystemClock.uptime(), told)
        });
        tokio::time::sleep(Duration::from_millis(20)).await;
        let body = json!({"event": "recipient-delivered", "generatedDateTime": number.to_string(), "data": {
            "envelopeId": made["provider"]["envelope_id"], "recipientId": "1"}})
        .to_string();
        let began = SystemClock.uptime();
        let told = http
            .post(format!("{public}/in/docusign/events"))
            .header("x-docusign-signature-1", keys.sign(body.as_bytes()).expect("a key"))
            .body(body);
        assert!(told.send().await.expect("an answer").status().is_success());
        let (at, told) = waiting.await.expect("the waiter ends");
        assert!(told.contains("in_session"), "{told}");
        times.push(at.saturating_sub(began));
    }
    life.stop();
    let _ = std::fs::remove_dir_all(directory);
    times
}

async fn create(http: &reqwest::Client, api: &str, number: usize) -> Value {
    let order = json!({"sender": "system", "documents": [{"template": "nda"}], "view": false, "signers": [{
        "key": "visitor", "name": "Ada Lovelace", "email": "ada@example.com", "role": "Client"}]});
    for _ in 0..200 {
        let made = http
            .post(format!("{api}/v1/signings"))
            .bearer_auth(CALLER_KEY)
            .header("idempotency-key", number.to_string())
            .json(&order)
            .send()
            .await
            .expect("an answer");
        if made.status() == 201 {
            return made.json().await.expect("a signing");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("no signing is made");
}

fn settings(emulator: &Emulator, directory: &std::path::Path) -> String {
    let ready = emulator.ready();
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|socket| socket.local_addr())
        .expect("a port")
        .port();
    let hash = hex(&sha256(CALLER_KEY.as_bytes()));
    format!(
        "[upstream]\nenvironment = \"emulator\"\noauth_url = \"{}\"\n\
         [senders.system]\nintegration_key = \"{}\"\nuser_id = \"{}\"\nkeys = [\"{}\"]\n\
         [api]\nlisten = \"127.0.0.1:0\"\n[ops]\nlisten = \"127.0.0.1:0\"\n\
         [public]\nlisten = \"127.0.0.1:{port}\"\nbase_url = \"http://127.0.0.1:{port}\"\n\
         [callers.website]\nkey_hash = \"sha256:{hash}\"\n\
         [store]\nurl = \"sqlite://{}\"\nseal_key = \"OjuYkzzbqKkGyKTs1ZNpUfXwLRp9XRTZ9X6m8Y8aZf0=\"\n\
         [templates]\nnda = \"{}\"\n[connect]\nhmac_keys = [\"{}\"]\n[budget]\nhourly_limit = 1000000\nburst_limit = 1000000\n[log]\nlevel = \"error\"\n",
        ready.oauth_url,
        ready.integration_key,
        ready.user_id,
        ready.private_key_file.display(),
        directory.join("store.db").display(),
        ready.template_id,
        ready.connect_hmac_key,
    )
}

/// Sends one event to every endpoint at once, then one by one to some of the living while the dead are
/// tried again: how long each of the living waited, in both.
async fn webhooks(living: usize, dead: usize) -> (Vec<Duration>, Vec<Duration>) {
    let (clock, life): (SharedClock, _) = (Arc::new(SystemClock), Lifecycle::new());
    let directory = directory();
    let settings = Settings::new(Location::Sqlite { path: directory.join("store.db") });
    let store =
        store::open(&settings, SealKeys::new(&[7; 32], &[]), Arc::clone(&clock)).await.expect("a store");
    let arrived = Arc::new(Mutex::new(vec![None; living]));
    let (alive, silent) = (receiver(Arc::clone(&arrived)).await, silence().await);
    for number in 0..living + dead {
        let url = if number < living { format!("{alive}{number}") } else { silent.clone() };
        store.put_endpoint(endpoint(number, url, &clock)).await.expect("an endpoint");
    }
    let hub = Hub::new();
    let given = Dependencies {
        store: Arc::clone(&store),
        endpoints: Endpoints::new(Arc::clone(&store), Arc::clone(&clock), TARGETS),
        webhooks: Webhooks::new(TARGETS).expect("a client"),
        hub: hub.clone(),
        clock: Arc::clone(&clock),
        life: life.clone(),
        metrics: Arc::new(Metrics::new(&[])),
    };
    life.spawn("dispatcher", Dispatcher::new(given, Limits::for_open_files(20_000)).run());
    let began = SystemClock.uptime();
    publish(&store, &hub, &clock, 0..living + dead).await;
    until_arrived(&arrived, 0..living).await;
    let at_once = arrived
        .lock()
        .expect("no panic")
        .iter()
        .flatten()
        .map(|at: &Duration| at.saturating_sub(began))
        .collect();
    let mut one_by_one = Vec::new();
    for number in 0..living.min(200) {
        arrived.lock().expect("no panic")[number] = None;
        let began = SystemClock.uptime();
        publish(&store, &hub, &clock, number..number + 1).await;
        // The dead go on getting events that they do not take.
        publish(&store, &hub, &clock, living + number.min(dead)..living + (number + 5).min(dead)).await;
        until_arrived(&arrived, number..number + 1).await;
        one_by_one.push(arrived.lock().expect("no panic")[number].expect("it arrived").saturating_sub(began));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    life.abort();
    let _ = std::fs::remove_dir_all(directory);
    (at_once, one_by_one)
}

fn endpoint(number: usize, url: String, clock: &SharedClock) -> Endpoint {
    Endpoint {
        id: EndpointId::from_settings(&number.to_string()),
        caller: CallerName::new(number.to_string()),
        url,
        secrets: Private::new(vec![vec![1; 32]]),
        rotated_at: None,
        events: Vec::new(),
        allow_private: true,
        from_settings: true,
        created_at: clock.now(),
        disabled_at: None,
        dropped_at: None,
    }
}

async fn publish(store: &SharedStore, hub: &Hub, clock: &SharedClock, to: std::ops::Range<usize>) {
    let at = clock.now();
    let events = to.map(|number| Event {
        id: EventId::generate(at),
        caller: CallerName::new(number.to_string()),
        kind: EventKind::SigningCompleted,
        signing: Some(SigningId::generate(at)),
        signer: None,
        sequence: 1,
        at,
        data: "{}".to_owned(),
    });
    store.add_events(events.collect()).await.expect("events are stored");
    hub.published();
}

async fn until_arrived(arrived: &Mutex<Vec<Option<Duration>>>, which: std::ops::Range<usize>) {
    for _ in 0..120_000 {
        if arrived.lock().expect("no panic")[which.clone()].iter().all(Option::is_some) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("a webhook did not arrive");
}

/// Takes webhooks, and notes when each came.
async fn receiver(arrived: Arc<Mutex<Vec<Option<Duration>>>>) -> String {
    let note = move |axum::extract::Path(number): axum::extract::Path<usize>| {
        let arrived = Arc::clone(&arrived);
        async move {
            arrived.lock().expect("no panic")[number].get_or_insert_with(|| SystemClock.uptime());
        }
    };
    let router = axum::Router::new().route("/{number}", axum::routing::post(note));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}/")
}

/// Takes connections, and never answers.
async fn silence() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            held.push(stream);
        }
    });
    format!("http://{address}/")
}
