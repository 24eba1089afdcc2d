//! Large bodies: how many are held at once, and 100 MB up and down through the pass-through of the real binary.
//! The emulator keeps the vendor's 34 MiB, so an upstream of the test's own stands before it: it hands the
//! account server's calls on and lets large bodies run through its fingers.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use axum::{Router, body::Body, extract::Request, response::Response, routing::any};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use serde_json::json;

use crate::{
    harness::{CALLER_KEY, TempDir, TestDaemon, http_client, order},
    kills::start,
    process::{peak_kib, resident_kib},
};

const SIZE: usize = 100 * 1024 * 1024;
/// What the daemon may hold more at its peak than before: buffers of sockets, and what is kept of a body.
const ROOM_KIB: u64 = 12 * 1024;

/// Of two large bodies' room two are held, also after their callers were told to come back; a third waits and is
/// refused, a small one never waits, and what is held is given back.
#[tokio::test]
async fn s5_large_bodies_share_an_amount_of_memory_and_small_ones_never_wait() {
    let limits = "bodies_at_once = \"2MiB\"\n";
    let daemon = Arc::new(TestDaemon::builder().api(limits).start().await);
    let delayed =
        json!({"fault": "delay", "method": "POST", "path": "/envelopes", "count": 2, "delay_ms": 60_000});
    daemon.fault(&delayed).await;
    let create = |key: &'static str, announced: bool| {
        let daemon = Arc::clone(&daemon);
        tokio::spawn(async move {
            // Spaces are JSON as good as documents.
            let body = format!("{}{}", order(), " ".repeat(900 * 1024));
            let body = if announced {
                reqwest::Body::from(body)
            } else {
                reqwest::Body::wrap_stream(stream::iter([Ok::<_, std::io::Error>(Bytes::from(body))]))
            };
            let request = http_client()
                .post(format!("{}/v1/signings", daemon.api))
                .bearer_auth(CALLER_KEY)
                .header("content-type", "application/json")
                .header("idempotency-key", key)
                .header("prefer", "wait=1")
                .body(body);
            let answer = request.send().await.unwrap();
            let again = answer.headers().contains_key("retry-after");
            (answer.status().as_u16(), again, answer.text().await.unwrap())
        })
    };
    for key in ["one", "two"] {
        let held = create(key, key == "one");
        daemon.run_clock("the answer", async || held.is_finished()).await;
        assert_eq!(held.await.unwrap().0, 202, "{key}");
    }
    let third = create("three", true);
    let small = daemon.create("small", &order()).await;
    assert_eq!(small.status.as_u16(), 201, "{}", small.text);
    daemon.run_clock("the refusal", async || third.is_finished()).await;
    let (status, again, text) = third.await.unwrap();
    assert!(status == 429 && again && text.contains("api.bodies_at_once"), "{status} {text}");

    daemon.control(http::Method::DELETE, "faults", &serde_json::Value::Null).await;
    let made = async || {
        let fourth = create("three", true);
        daemon.run_clock("an answer", async || fourth.is_finished()).await;
        fourth.await.unwrap().0 == 201
    };
    daemon.until("room", made).await;
}

#[tokio::test]
async fn a_hundred_megabytes_run_through_in_constant_memory() {
    let around = TestDaemon::start().await;
    let (upstream, arrived) = upstream(&around.emulator.ready().oauth_url).await;
    let folder = TempDir::new();
    let store = format!("sqlite://{}", folder.0.join("large.db").display());
    let settings = around
        .settings_for_a_process(&store)
        .replace(&around.emulator.ready().oauth_url, &upstream)
        .replace("passthrough_limit = \"2MiB\"", "passthrough_limit = \"128MiB\"");
    let (daemon, api) = start(&settings, &folder.0, 0).await;
    let pid = daemon.id();
    let url = |path: &str| format!("{api}/v1/senders/system/esign/{path}");
    let client = http_client();

    // Whatever is allocated once is there before anything is measured.
    let warm = client.get(url("templates")).bearer_auth(CALLER_KEY).send().await.unwrap();
    assert!(warm.status().is_success(), "{:?}", warm.text().await);
    let before = resident_kib(pid);

    let body = reqwest::Body::wrap_stream(pieces().map(Ok::<_, std::io::Error>));
    let up = client
        .post(url("envelopes"))
        .bearer_auth(CALLER_KEY)
        .header("content-type", "application/json")
        .header("content-length", SIZE)
        .body(body)
        .send()
        .await
        .unwrap();
    assert_eq!(up.status(), 201, "{:?}", up.text().await);
    assert_eq!(arrived.load(Ordering::SeqCst), SIZE);

    let down =
        client.get(url("envelopes/1/documents/combined")).bearer_auth(CALLER_KEY).send().await.unwrap();
    assert_eq!(down.headers()["content-length"], SIZE.to_string().as_str());
    let mut size = 0;
    let mut stream = down.bytes_stream();
    while let Some(piece) = stream.next().await {
        size += piece.unwrap().len();
    }
    assert_eq!(size, SIZE);

    let peak = peak_kib(pid);
    eprintln!("resident before {before} KiB, at the peak {peak} KiB");
    assert!(peak < before + ROOM_KIB, "{peak} KiB at the peak, {before} KiB before");
}

fn pieces() -> impl futures_util::Stream<Item = Bytes> + Send + 'static {
    let piece = Bytes::from(vec![b' '; 64 * 1024]);
    stream::iter(std::iter::repeat_n(piece, SIZE / (64 * 1024)))
}

/// The test's own upstream: its origin, and how many bytes of envelopes arrived.
async fn upstream(emulator: &str) -> (String, Arc<AtomicUsize>) {
    let arrived = Arc::new(AtomicUsize::new(0));
    let (counter, emulator) = (Arc::clone(&arrived), emulator.to_owned());
    let answer = move |request: Request| {
        let (counter, emulator) = (Arc::clone(&counter), emulator.clone());
        async move {
            let path = request.uri().path().to_owned();
            if path.ends_with("/envelopes") {
                let mut body = request.into_body().into_data_stream();
                while let Some(piece) = body.next().await {
                    counter.fetch_add(piece.unwrap().len(), Ordering::SeqCst);
                }
                return Response::builder().status(201).body(Body::from("{}")).unwrap();
            }
            if path.ends_with("/documents/combined") {
                let body = Body::from_stream(pieces().map(Ok::<_, std::io::Error>));
                return Response::builder().header("content-length", SIZE).body(body).unwrap();
            }
            handed_on(&emulator, request).await
        }
    };
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", socket.local_addr().unwrap());
    tokio::spawn(serve(socket, Router::new().fallback(any(answer))));
    (origin, arrived)
}

async fn serve(socket: tokio::net::TcpListener, router: Router) {
    let closing = tokio_util::sync::CancellationToken::new();
    let bound = countersign::listener::Bound::inherited(socket.into_std().unwrap()).unwrap();
    bound.serve(router, countersign::listener::Limits::default(), closing).await;
}

async fn handed_on(emulator: &str, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1024 * 1024).await.unwrap();
    let url = format!("{emulator}{}", head.uri.path_and_query().map_or("/", |path| path.as_str()));
    let mut on = http_client().request(head.method, url).body(body);
    for (name, value) in &head.headers {
        on = on.header(name, value);
    }
    let answer = on.send().await.unwrap();
    let mut back = Response::builder().status(answer.status());
    for (name, value) in answer.headers() {
        back = back.header(name, value);
    }
    back.body(Body::from(answer.bytes().await.unwrap())).unwrap()
}
