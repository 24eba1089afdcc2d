//! Large bodies: how many are held at once and for how long, and 100 MB up and down through the pass-through of the
//! real binary. The emulator keeps the vendor's 34 MiB, so an upstream of the test's own stands before it: it hands
//! the account server's calls on and lets large bodies run through its fingers.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{Router, body::Body, extract::Request, response::Response, routing::any};
use bytes::Bytes;
use countersign::clock::Clock as _;
use futures_util::{StreamExt as _, stream};
use http::Method;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::{
    harness::{CALLER_KEY, TempDir, TestDaemon, http_client, order},
    kills::start,
    process::{peak_kib, resident_kib},
    signings::{base64_of, padded_contract},
};

const SIZE: usize = 100 * 1024 * 1024;
/// What the daemon may hold more at its peak than before: buffers of sockets, and what is kept of a body.
const ROOM_KIB: u64 = 12 * 1024;
/// Where calls are passed on.
const PASSED: &str = "/v1/senders/system/esign/envelopes";

/// What is made of a body to tell what is wrong with it is far larger than the body: a call without documents has a
/// limit of its own, and a create a number of values.
#[tokio::test]
async fn s5_a_wrong_body_costs_no_more_than_its_call_needs() {
    let daemon = TestDaemon::start().await;
    let call = async |method: Method, path: &str, body: String| {
        let url = format!("{}{path}", daemon.api);
        let headers = [("content-type", "application/json"), ("idempotency-key", "one")];
        daemon.call(method, &url, Some(CALLER_KEY), &headers, body.into_bytes()).await
    };
    let filled = |length: usize| {
        let (head, tail) = (r#"{"metadata":["#, "0]}");
        let one = r#"{"":0},"#;
        let room = length - head.len() - tail.len();
        format!("{head}{}{}{tail}", one.repeat(room / one.len()), " ".repeat(room % one.len()))
    };
    for (method, path) in [
        (Method::POST, "/v1/webhook_endpoints"),
        (Method::POST, "/v1/senders"),
        (Method::POST, "/v1/senders/system/check"),
    ] {
        let taken = call(method.clone(), path, filled(64 * 1024)).await;
        assert_eq!(
            (taken.status.as_u16(), &taken.body["errors"][0]["pointer"]),
            (400, &json!("/metadata")),
            "{path}"
        );
        let refused = call(method, path, filled(64 * 1024 + 1)).await;
        assert_eq!((refused.status.as_u16(), refused.code()), (413, "payload_too_large"), "{path}");
        assert!(refused.text.contains("65536 bytes"), "{}", refused.text);
    }
    for path in ["/v1/signings", "/v1/signings?dry_run=true"] {
        let refused = call(Method::POST, path, filled(1024 * 1024)).await;
        assert_eq!((refused.status.as_u16(), refused.code()), (400, "invalid_request"), "{path}");
        assert_eq!(refused.body["errors"].as_array().unwrap().len(), 1, "{path}: {}", refused.text);
        assert_eq!(refused.body["errors"][0]["pointer"], "", "{path}");
    }
}

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
    let is_sent = async || daemon.requests().await.iter().any(|line| line.ends_with("/envelopes"));
    for key in ["one", "two"] {
        daemon.forget_requests().await;
        let held = create(key, key == "one");
        // Before their time is over: what is not sent then is stored, and holds no memory.
        daemon.until("the create at the upstream", is_sent).await;
        daemon.clock.advance(Duration::from_secs(1));
        daemon.until("the answer", async || held.is_finished()).await;
        let (status, _, text) = held.await.unwrap();
        assert_eq!(status, 202, "{key}: {text}");
    }
    let third = create("three", true);
    let small = daemon.create("small", &order()).await;
    assert_eq!(small.status.as_u16(), 201, "{}", small.text);
    daemon.run_clock_slowly("the refusal", async || third.is_finished()).await;
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

/// What is kept of a body that is passed on, for a second try, is held like any other body.
#[tokio::test]
async fn s5_what_is_large_is_read_beside_the_threads_that_serve_and_what_is_small_on_them() {
    let daemon = TestDaemon::start().await;
    let signings = &daemon.parts().signings;
    let reader = async |bytes| signings.on_reader(bytes, || std::thread::current().id()).await.unwrap();
    let here = std::thread::current().id();
    assert_eq!(reader(64 * 1024).await, here);
    assert_ne!(reader(1024 * 1024).await, here);
    let broken = signings.on_reader(1024 * 1024, || -> u8 { panic!("as a reader of hostile bytes may") });
    assert_eq!(broken.await, None);
    let mut large = order();
    let contract = base64_of(&padded_contract(400 * 1024));
    large["documents"] = json!([{"name": "a.pdf", "content_base64": contract, "anchors": {"sign": "/sn1/"}}]);
    large["signers"][0].as_object_mut().unwrap().remove("role");
    for _ in 0..2 {
        let made = daemon.create("large", &large).await;
        assert_eq!(made.status, 201, "its digest is that of the whole body: {}", made.text);
    }
    large["reference"] = json!("another");
    assert_eq!(daemon.create("large", &large).await.code(), "idempotency_key_reused");
}

#[tokio::test]
async fn s5_what_is_kept_of_passed_bodies_shares_the_memory_of_all_bodies() {
    let daemon = Arc::new(TestDaemon::builder().api("bodies_at_once = \"1MiB\"\n").start().await);
    let delayed =
        json!({"fault": "delay", "method": "POST", "path": "/envelopes", "count": 1, "delay_ms": 60_000});
    daemon.fault(&delayed).await;
    daemon.forget_requests().await;
    let pass = || {
        let daemon = Arc::clone(&daemon);
        tokio::spawn(async move {
            let (url, json) = (format!("{}{PASSED}", daemon.api), [("content-type", "application/json")]);
            let body = format!("{}{}", draft(), " ".repeat(900 * 1024));
            daemon.call(Method::POST, &url, Some(CALLER_KEY), &json, body.into_bytes()).await
        })
    };
    let first = pass();
    let is_sent = async || daemon.requests().await.iter().any(|line| line.ends_with("/envelopes"));
    daemon.until("the first at the upstream", is_sent).await;
    let second = pass();
    let small = daemon.post(PASSED, &draft()).await;
    assert_eq!(small.status.as_u16(), 201, "a small one never waits: {}", small.text);
    daemon.run_clock("the refusal", async || second.is_finished()).await;
    let refused = second.await.unwrap();
    let seen = (refused.status.as_u16(), refused.code());
    assert_eq!(seen, (429, "quota_exceeded"), "{}", refused.text);
    let is_told = refused.text.contains("api.bodies_at_once") && refused.headers.contains_key("retry-after");
    assert!(is_told, "{}", refused.text);

    first.abort();
    let made = async || {
        let again = pass();
        daemon.run_clock("an answer", async || again.is_finished()).await;
        again.await.unwrap().status.as_u16() == 201
    };
    daemon.until("room", made).await;
}

/// The next after the 192 that one caller may have is refused at once; what brings no body goes on, and a place is given back.
#[tokio::test]
async fn s5_bodies_that_are_passed_on_at_once_have_a_number() {
    let daemon = TestDaemon::start().await;
    // Refused by us when it is there: none of these calls goes any further.
    let path = format!("{PASSED}/{}/views/recipient", uuid::Uuid::new_v4());
    let released = CancellationToken::new();
    let (mut senders, mut waiting) = (Vec::new(), Vec::new());
    for streams in [128, 64, 1] {
        let mut sender = multiplexed(&daemon, 64 * 1024).await;
        for _ in 0..streams {
            let body = half_a_view(released.clone());
            waiting.push(tokio::spawn(sender.send_request(request(&daemon, Method::POST, &path, body))));
        }
        senders.push(sender);
    }
    let is_refused = async || waiting.iter().any(tokio::task::JoinHandle::is_finished);
    daemon.until("a refusal", is_refused).await;
    let view = json!({"returnUrl": "https://elsewhere.example/"});
    let refused = daemon.post(&path, &view).await;
    assert_eq!(refused.code(), "quota_exceeded", "{}", refused.text);
    assert!(refused.headers.contains_key("retry-after"), "{}", refused.text);
    assert!(refused.body["fix"].as_str().unwrap().contains("no setting"), "{}", refused.text);
    let read = daemon.get("/v1/senders/system/esign/templates").await;
    assert_eq!(read.status.as_u16(), 200, "{}", read.text);

    released.cancel();
    let answers = futures_util::future::join_all(waiting).await;
    let statuses = answers.into_iter().map(|answer| answer.unwrap().unwrap().status().as_u16());
    let (had, refused): (Vec<_>, Vec<_>) = statuses.partition(|status| *status == 400);
    assert_eq!((had.len(), refused), (192, vec![429]));
    assert_eq!(daemon.post(&path, &view).await.code(), "return_url_refused", "there is a place again");
}

#[tokio::test]
async fn s5_a_passed_body_that_trickles_in_ends_with_the_time_of_its_call() {
    use tokio::io::AsyncWriteExt as _;
    let daemon = TestDaemon::start().await;
    let host = daemon.api.strip_prefix("http://").unwrap();
    let mut socket = TcpStream::connect(host).await.unwrap();
    let head = format!(
        "POST {PASSED} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {CALLER_KEY}\r\n\
         Content-Type: application/json\r\nContent-Length: 100000\r\n\r\n"
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    let (begun, mut said) = (daemon.clock.uptime(), String::new());
    let is_refused = async || {
        let mut piece = [0; 4_096];
        match socket.try_read(&mut piece) {
            Ok(count) => said.push_str(&String::from_utf8_lossy(&piece[..count])),
            // Never silent for long.
            Err(_) => socket.write_all(b" ").await.unwrap(),
        }
        said.contains("the body did not arrive in time")
    };
    daemon.run_clock("the refusal", is_refused).await;
    assert!(said.starts_with("HTTP/1.1 400 "), "{said}");
    let took = daemon.clock.uptime().saturating_sub(begun);
    assert!((Duration::from_secs(118)..Duration::from_secs(122)).contains(&took), "{took:?}");
}

#[tokio::test]
async fn s5_evidence_that_nobody_reads_keeps_its_place_and_who_finds_none_is_told_to_come_again() {
    let daemon = Arc::new(TestDaemon::builder().public().start().await);
    let mut large = order();
    large["documents"] = json!([{"name": "a.pdf", "content_base64": base64_of(&padded_contract(PADDING)), "anchors": {"sign": "/sn1/"}}]);
    large["signers"][0].as_object_mut().unwrap().remove("role");
    let made = daemon.create("order-1", &large).await;
    assert_eq!(made.status.as_u16(), 201, "{}", made.text);
    daemon.sign_all().await;
    let path = format!("/v1/signings/{}", made.id());
    daemon.until("completed", async || daemon.get(&path).await.body["status"] == "completed").await;

    let path = format!("{path}/evidence");
    let mut unread = Vec::new();
    for _ in 0..2 {
        let mut sender = multiplexed(&daemon, 1_024).await;
        let answer = sender.send_request(request(&daemon, Method::GET, &path, Body::empty())).await.unwrap();
        assert_eq!(answer.status(), 200);
        unread.push((sender, answer));
    }
    let ask = || {
        let (daemon, path) = (Arc::clone(&daemon), path.clone());
        tokio::spawn(async move {
            daemon.bytes(Method::GET, &format!("{}{path}", daemon.api), CALLER_KEY, &[]).await
        })
    };
    let third = ask();
    daemon.run_clock("the refusal", async || third.is_finished()).await;
    let (refused, _) = third.await.unwrap();
    let seen = (refused.status.as_u16(), refused.code());
    assert_eq!(seen, (429, "quota_exceeded"), "{}", refused.text);
    assert!(refused.headers.contains_key("retry-after"), "{}", refused.text);

    drop(unread);
    let (whole, bundle) = ask().await.unwrap();
    assert_eq!(whole.status.as_u16(), 200, "{}", whole.text);
    assert_eq!(whole.headers["content-length"], bundle.len().to_string());
    assert!(bundle.starts_with(b"PK") && bundle.len() > PADDING, "{} bytes", bundle.len());
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

    let document = format!("envelopes/{}/documents/combined", uuid::Uuid::new_v4());
    let down = client.get(url(&document)).bearer_auth(CALLER_KEY).send().await.unwrap();
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

/// An envelope that is not sent.
fn draft() -> Value {
    let document =
        json!({"documentId": "1", "name": "a.txt", "fileExtension": "txt", "documentBase64": "SGVsbG8="});
    json!({"emailSubject": "x", "status": "created", "documents": [document]})
}

/// How much larger a document is than what a connection holds.
const PADDING: usize = 400 * 1024;

type Multiplexed = hyper::client::conn::http2::SendRequest<Body>;

/// An HTTP/2 connection to the daemon; of an answer that is not read no more than `window` bytes leave it.
async fn multiplexed(daemon: &TestDaemon, window: u32) -> Multiplexed {
    let socket = TcpStream::connect(daemon.api.strip_prefix("http://").unwrap()).await.unwrap();
    let mut builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    builder.initial_stream_window_size(window);
    let (sender, connection) = builder.handshake(TokioIo::new(socket)).await.unwrap();
    tokio::spawn(connection);
    sender
}

fn request(daemon: &TestDaemon, method: Method, path: &str, body: Body) -> Request {
    let request = http::Request::builder().method(method).uri(format!("{}{path}", daemon.api));
    let request = request.header("authorization", format!("Bearer {CALLER_KEY}"));
    request.header("content-type", "application/json").body(body).unwrap()
}

/// A recipient view that leads elsewhere, and whose second half comes when it is released.
fn half_a_view(released: CancellationToken) -> Body {
    let rest = stream::once(async move {
        released.cancelled_owned().await;
        Ok(Bytes::from_static(b"\"https://elsewhere.example/\"}"))
    });
    let first = Ok::<_, Infallible>(Bytes::from_static(b"{\"returnUrl\": "));
    Body::from_stream(stream::iter([first]).chain(rest))
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
    let closing = CancellationToken::new();
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
