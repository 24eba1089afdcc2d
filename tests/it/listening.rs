//! `countersign listen` and `countersign trigger` as a developer uses them: the real binary, beside a demo.

use std::{
    io::{BufRead as _, BufReader},
    process::{Command, Output, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use aws_lc_rs::hmac;
use axum::{Router, body::Bytes, extract::State, routing::post};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use countersign::http_client::{HttpClient, Options, Request};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde_json::{Value, json};
use url::Url;

use crate::demo::Demo;

const PATIENCE: Duration = Duration::from_secs(20);
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// The daemon of a demo, as its caller reaches it.
struct Caller<'a> {
    demo: &'a Demo,
    client: HttpClient,
}

impl<'a> Caller<'a> {
    fn of(demo: &'a Demo) -> Self {
        Self { demo, client: HttpClient::new(&Options::default()).unwrap() }
    }

    fn authorized(&self, request: Request) -> Request {
        let mut bearer = HeaderValue::try_from(format!("Bearer {}", self.demo.entry("caller_key"))).unwrap();
        bearer.set_sensitive(true);
        request.authorization(bearer)
    }

    async fn send(&self, request: Request) -> Value {
        let answer = self.client.send(self.authorized(request)).await.unwrap();
        let body = serde_json::from_slice(&answer.body).unwrap();
        assert!(answer.status.is_success(), "{body}");
        body
    }

    fn url(&self, path: &str) -> Url {
        Url::parse(&format!("{}{path}", self.demo.entry("api_url"))).unwrap()
    }

    /// Creates a signing of two, one after the other; answers its id.
    async fn create(&self, key: &'static str) -> String {
        self.send(self.new_signing(key)).await["id"].as_str().unwrap().to_owned()
    }

    fn new_signing(&self, key: &'static str) -> Request {
        let signer = |key: &str, order: u8| {
            json!({ "key": key, "name": "Ada Lovelace", "email": format!("{key}@example.com"), "order": order,
                "sms_auth": { "phone": "+4915112345678" },
                "return_url": format!("{}/orders", self.demo.entry("site_url")) })
        };
        let body = json!({
            "sender": "system",
            "documents": [{ "name": "Contract.pdf",
                "content_base64": std::str::from_utf8(&crate::esign::pdf()).unwrap(),
                "anchors": { "sign": { "first": "/sn1/", "second": "/co1/" } } }],
            "signers": [signer("first", 1), signer("second", 2)],
        });
        Request::post(self.url("/v1/signings"))
            .header(HeaderName::from_static("idempotency-key"), HeaderValue::from_static(key))
            .json(body.to_string())
    }

    /// Waits until an event of this type is logged for a signing, so many times.
    async fn happens(&self, signing: &str, kind: &str, times: usize) {
        self.is_logged(&format!("/v1/events?limit=100&signing={signing}"), kind, times).await;
    }

    async fn is_logged(&self, path: &str, kind: &str, times: usize) {
        let is_there = async {
            loop {
                let listed = self.send(Request::get(self.url(path))).await;
                let of_kind = listed["data"].as_array().unwrap().iter().filter(|event| event["type"] == kind);
                if of_kind.count() == times {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let in_time = tokio::time::timeout(PATIENCE, is_there).await;
        assert!(in_time.is_ok(), "{times} times {kind}");
    }

    /// Runs `trigger` with the demo's emulator.
    async fn trigger(&self, arguments: &[&str]) -> Output {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_countersign"));
        command.arg("trigger").args(arguments).args(["--control", self.demo.entry("control_url")]);
        command.output().await.expect("the binary starts")
    }
}

/// A receiver that keeps what it gets, and answers as told.
struct Receiver {
    url: String,
    got: Arc<Mutex<Vec<(HeaderMap, Bytes)>>>,
}

impl Receiver {
    async fn start(answer: StatusCode) -> Self {
        let got: Arc<Mutex<Vec<(HeaderMap, Bytes)>>> = Arc::default();
        let take = async move |State(got): State<Arc<Mutex<Vec<_>>>>, headers: HeaderMap, body: Bytes| {
            got.lock().unwrap().push((headers, body));
            answer
        };
        let router = Router::new().route("/in", post(take)).with_state(Arc::clone(&got));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/in", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, got }
    }
}

/// Starts `listen` and returns once it listens; the process ends by itself after `count` events.
async fn listen(demo: &Demo, count: &str, more: &[&str]) -> tokio::task::JoinHandle<(Output, String)> {
    let mut process = Command::new(env!("CARGO_BIN_EXE_countersign"))
        .args(["listen", "--url", demo.entry("api_url"), "--count", count])
        .args(more)
        .env("COUNTERSIGN_KEY", demo.entry("caller_key"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut notes = BufReader::new(process.stderr.take().unwrap());
    let opening = tokio::task::spawn_blocking(move || {
        let mut text = String::new();
        while !text.contains("listening at") {
            assert_ne!(notes.read_line(&mut text).unwrap(), 0, "it listens: {text}");
        }
        (notes, text)
    });
    let (mut notes, mut text) = opening.await.unwrap();
    tokio::task::spawn_blocking(move || {
        std::io::Read::read_to_string(&mut notes, &mut text).unwrap();
        (process.wait_with_output().unwrap(), text)
    })
}

#[tokio::test]
async fn f4_listen_prints_real_events_and_forwards_each_as_a_signed_webhook() {
    let demo = Demo::start("listen").await;
    let receiver = Receiver::start(StatusCode::NO_CONTENT).await;
    let listening = listen(&demo, "2", &["--forward-to", &receiver.url, "--secret", SECRET]).await;
    let signing = Caller::of(&demo).create("order-1").await;
    let (output, notes) = tokio::time::timeout(PATIENCE, listening).await.expect("it ends").unwrap();
    assert!(output.status.success(), "{notes}");
    assert!(!notes.contains(SECRET) && notes.contains("204"), "{notes}");
    let printed: Vec<Value> = output
        .stdout
        .split(|byte| *byte == b'\n')
        .filter_map(|line| serde_json::from_slice(line).ok())
        .collect();
    let kinds: Vec<_> = printed.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["signing.opened", "signer.ready"]);

    let got = receiver.got.lock().unwrap();
    assert_eq!(got.len(), 2);
    for ((headers, body), printed) in got.iter().zip(&printed) {
        let header = |name: &str| headers[name].to_str().unwrap();
        let (id, at) = (header("webhook-id"), header("webhook-timestamp"));
        assert_eq!(id, printed["id"]);
        assert!(at.parse::<i64>().unwrap() > 1_700_000_000, "{at}");
        // Checked as the Standard Webhooks specification says, with none of our code.
        let key = STANDARD.decode(SECRET.strip_prefix("whsec_").unwrap()).unwrap();
        let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
        let signature = STANDARD.decode(header("webhook-signature").strip_prefix("v1,").unwrap()).unwrap();
        let signed = [format!("{id}.{at}.").as_bytes(), body].concat();
        hmac::verify(&key, &signed, &signature).expect("the signature is valid");
        let body: Value = serde_json::from_slice(body).unwrap();
        let fields: Vec<_> = body.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(fields, ["data", "timestamp", "type"]);
        assert_eq!((&body["type"], &body["data"]), (&printed["type"], &printed["data"]));
        assert_eq!(body["data"]["id"], signing.as_str());
    }
}

#[tokio::test]
async fn listen_goes_on_when_its_receiver_refuses_and_shows_the_secret_that_it_made() {
    let demo = Demo::start("listen-refused").await;
    let receiver = Receiver::start(StatusCode::INTERNAL_SERVER_ERROR).await;
    let listening = listen(&demo, "2", &["--forward-to", &receiver.url]).await;
    Caller::of(&demo).create("order-1").await;
    let (output, notes) = tokio::time::timeout(PATIENCE, listening).await.expect("it ends").unwrap();
    assert!(output.status.success(), "{notes}");
    assert!(notes.contains("whsec_") && notes.contains("500"), "{notes}");
    assert_eq!(receiver.got.lock().unwrap().len(), 2, "each once");
}

#[test]
fn listen_refuses_a_receiver_that_others_could_read() {
    let refused = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
        command.args(["listen", "--key", "cs_x", "--url", "http://127.0.0.1:1"]).args(more);
        let output = command.output().expect("the binary starts");
        assert_eq!(output.status.code(), Some(1), "{more:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(refused(&["--forward-to", "http://example.com/in"]).contains("https"));
    let secret = refused(&["--forward-to", "http://127.0.0.1:1/", "--secret", "short"]);
    assert!(secret.contains("whsec_") && !secret.contains("short"), "{secret}");
}

#[tokio::test]
async fn a_key_that_is_none_ends_listen_with_the_reason() {
    let demo = Demo::start("listen-key").await;
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_countersign"));
    command.args(["listen", "--key", "cs_wrong", "--url", demo.entry("api_url")]);
    let output = tokio::time::timeout(PATIENCE, command.output()).await.expect("it ends").unwrap();
    assert_eq!(output.status.code(), Some(1));
    let notes = String::from_utf8(output.stderr).unwrap();
    assert!(notes.contains("401") && !notes.contains("cs_wrong"), "{notes}");
    assert!(notes.contains("countersign caller add"), "it says what to do: {notes}");
}

#[tokio::test]
async fn trigger_causes_every_event_that_its_help_names() {
    let demo = Demo::start("trigger").await;
    let caller = Caller::of(&demo);
    let help = Command::new(env!("CARGO_BIN_EXE_countersign")).args(["trigger", "--help"]).output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let nobody = caller.trigger(&["signer.signed"]).await;
    assert_eq!(nobody.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&nobody.stderr).contains("no signer has their turn"));

    // Each on a signing of its own, the newest: that is whom `trigger` takes.
    for (key, event, kind, times) in [
        ("returned", "signer.returned", "signer.returned", 1),
        ("locked", "signer.authentication_failed", "signer.authentication_failed", 1),
        ("opened", "signer.session_started", "signer.session_started", 1),
        ("signed", "signer.signed", "signer.signed", 1),
        ("voided", "signing.voided", "signing.voided", 1),
        ("expired", "signing.expired", "signing.expired", 1),
        ("declined", "signing.declined", "signing.declined", 1),
        ("alias", "signer.declined", "signer.declined", 1),
        ("completed", "signing.completed", "signer.signed", 2),
    ] {
        let signing = caller.create(key).await;
        let done = caller.trigger(&[event]).await;
        assert!(done.status.success(), "{event}: {}", String::from_utf8_lossy(&done.stderr));
        assert!(help.contains(event) || key == "alias", "{event}: {help}");
        caller.happens(&signing, kind, times).await;
        if key == "completed" {
            caller.happens(&signing, "signing.completed", 1).await;
        }
    }
    let done = caller.trigger(&["signing.uncertain"]).await;
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let lost = caller.create("lost").await;
    caller.happens(&lost, "signing.uncertain", 1).await;
    for event in ["sender.consent_missing", "sender.recovered"] {
        assert!(help.contains(event), "{event}: {help}");
        let done = caller.trigger(&[event]).await;
        assert!(done.status.success(), "{event}: {}", String::from_utf8_lossy(&done.stderr));
        if event == "sender.consent_missing" {
            // Whoever needs a token next finds out; that consent is there again is looked for.
            let refused = caller.client.send(caller.authorized(caller.new_signing("refused"))).await.unwrap();
            assert_eq!(refused.status, StatusCode::CONFLICT);
        }
        caller.is_logged("/v1/events?limit=100", event, 1).await;
    }
    caller.create("recovered").await;
    let unreachable = Command::new(env!("CARGO_BIN_EXE_countersign"))
        .args(["trigger", "signer.signed", "--control", "http://127.0.0.1:1"])
        .output()
        .unwrap();
    assert_eq!(unreachable.status.code(), Some(1));
    let why = String::from_utf8_lossy(&unreachable.stderr);
    assert!(why.contains("no emulator answers") && why.contains("countersign emulate"), "{why}");
    for other in ["api_url", "oauth_url"] {
        let elsewhere = Command::new(env!("CARGO_BIN_EXE_countersign"))
            .args(["trigger", "signer.signed", "--control", demo.entry(other)])
            .output()
            .unwrap();
        let why = String::from_utf8_lossy(&elsewhere.stderr);
        assert!(why.contains("is not the control interface") && !why.contains('{'), "{why}");
    }
}
