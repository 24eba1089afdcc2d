//! Rule S1 over a whole run of the real binary at level trace: secrets are planted, everything is exercised,
//! and every sink is searched. A positive control proves that the search finds what is there.
//!
//! Assertions are made anew for each token, so they are read where they go: on the way to the account server.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
};

use axum::{body::Body, extract::Request, response::Response};
use countersign::listener::{Bound, Limits};
use http::Method;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::{
    harness::{TempDir, http_client},
    signings::{base64_of, contract},
    traces::collector,
    waiting::read_ready,
};

/// Goes into places that may be seen: found wherever it should be, or the search is blind.
const CONTROL: &str = "control-9f3c";
const NAME: &str = "Plantina Geheimrat";
const EMAIL: &str = "planted.person@example.com";
const PHONE: &str = "15112349876";
const CODE: &str = "planted-access-77";
const FIELD: &str = "Planted Field Ltd";
const OPERATOR: &str = "planted operator pass 31";
/// Stands in a document that is sent, and in what is downloaded of it.
const DOCUMENT: &str = "% planted-document-5d1f";
const HOOK_SECRET: &str = "whsec_cGxhbnRlZC13ZWJob29rLXNlY3JldC0wMDE=";

/// The secret of the emulator's first integration key.
const CLIENT_SECRET: &str = "emulator-secret-1";

struct Run {
    emulator: Child,
    daemon: Child,
    directory: TempDir,
    emulated: Value,
    serving: Value,
    key: String,
    /// What the account server was shown.
    assertions: Kept,
    /// What the collector of traces got.
    traces: Kept,
}

/// What came by, in order.
type Kept = Arc<Mutex<Vec<String>>>;

/// Stands before the emulator, and keeps each assertion that goes there.
async fn way_to(emulator: &str) -> (String, Kept) {
    let (kept, origin) = (Kept::default(), emulator.to_owned());
    let keep = Arc::clone(&kept);
    let pass = move |request: Request| {
        let (keep, origin) = (Arc::clone(&keep), origin.clone());
        async move {
            let (head, body) = request.into_parts();
            let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
            if head.uri.path() == "/oauth/token" {
                let form = url::form_urlencoded::parse(&body);
                let shown = form.filter(|(name, _)| name == "assertion").map(|(_, value)| value.into_owned());
                keep.lock().unwrap().extend(shown);
            }
            let url = format!("{origin}{}", head.uri.path_and_query().unwrap());
            let call = http_client().request(head.method, url).headers(head.headers).body(body);
            // A reply that the emulator breaks off is broken off here, too.
            let answer = call.send().await.map_err(|_| "broken off")?;
            let (status, mut headers) = (answer.status(), answer.headers().clone());
            headers.remove(http::header::TRANSFER_ENCODING);
            let mut response = Response::new(Body::from_stream(answer.bytes_stream()));
            *response.status_mut() = status;
            *response.headers_mut() = headers;
            Ok::<_, &str>(response)
        }
    };
    let bound = Bound::tcp("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let url = bound.origin();
    tokio::spawn(bound.serve_with(
        move |request| pass(request.map(Body::new)),
        Limits::default(),
        CancellationToken::new(),
    ));
    (url, kept)
}

impl Drop for Run {
    fn drop(&mut self) {
        for process in [&mut self.daemon, &mut self.emulator] {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

impl Run {
    /// A daemon that logs in this format.
    async fn start(format: &str) -> Self {
        let directory = TempDir::new();
        let at = |name: &str| directory.0.join(name);
        let emulator = binary()
            .args(["emulate", "--listen", "127.0.0.1:0", "--control", "127.0.0.1:0", "--ready-file"])
            .arg(at("emulator.json"))
            .arg("--state-dir")
            .arg(at("emulator"))
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let emulated = read_ready(&at("emulator.json")).await;
        let added = binary().args(["caller", "add", "website", "--json"]).output().unwrap();
        let caller: Value = serde_json::from_slice(&added.stdout).unwrap();
        let (way, assertions) = way_to(emulated["oauth_url"].as_str().unwrap()).await;
        let (collecting, traces) = collector().await;
        let more = format!(
            "format = \"{format}\"\n[audit]\nfile = \"{}\"\n[otel]\nendpoint = \"{collecting}\"\n",
            at("audit.jsonl").display()
        );
        let settings = settings(&emulated, &way, &caller, &directory.0) + &more;
        std::fs::write(at("settings.toml"), settings).unwrap();
        let daemon = binary()
            .args(["serve", "--config"])
            .arg(at("settings.toml"))
            .arg("--ready-file")
            .arg(at("serve.json"))
            .stdout(std::fs::File::create(at("stdout.log")).unwrap())
            .stderr(std::fs::File::create(at("stderr.log")).unwrap())
            .spawn()
            .unwrap();
        let serving = read_ready(&at("serve.json")).await;
        let key = caller["key"].as_str().unwrap().to_owned();
        Self { emulator, daemon, directory, emulated, serving, key, assertions, traces }
    }

    fn api(&self, path: &str) -> String {
        format!("{}{path}", self.serving["api_url"].as_str().unwrap())
    }

    async fn call(
        &self,
        method: Method,
        url: &str,
        key: &str,
        headers: &[(&str, &str)],
        body: String,
    ) -> String {
        let mut request =
            http_client().request(method, url).body(body).header("authorization", format!("Bearer {key}"));
        request = request.header("x-request-id", CONTROL).header("content-type", "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await.unwrap().text().await.unwrap_or_default()
    }
}

fn binary() -> Command {
    Command::new(env!("CARGO_BIN_EXE_countersign"))
}

fn settings(emulated: &Value, way: &str, caller: &Value, directory: &Path) -> String {
    let text = |value: &Value, name: &str| value[name].as_str().unwrap().to_owned();
    let port = crate::ports::free_port();
    format!(
        r#"
[upstream]
environment = "emulator"
oauth_url = "{way}"
[senders.system]
integration_key = "{}"
user_id = "{}"
keys = ["{}"]
[senders.customer]
integration_key = "{}"
connect = "code"
client_secret = "{CLIENT_SECRET}"
[api]
listen = "127.0.0.1:0"
[ops]
listen = "127.0.0.1:0"
operator_password_hash = "{}"
[public]
listen = "127.0.0.1:{port}"
base_url = "http://127.0.0.1:{port}"
[callers.website]
key_hash = "{}"
return_origins = ["https://www.example.com"]
[store]
url = "sqlite://{}"
seal_key = "OjuYkzzbqKkGyKTs1ZNpUfXwLRp9XRTZ9X6m8Y8aZf0="
[templates]
nda = "{}"
[connect]
hmac_keys = ["{}"]
[webhooks.website]
url = "http://127.0.0.1:9/hook"
secrets = ["{HOOK_SECRET}"]
allow_private = true
[stop]
grace = 0
[log]
level = "trace"
"#,
        text(emulated, "integration_key"),
        text(emulated, "user_id"),
        text(emulated, "private_key_file"),
        text(emulated, "integration_key"),
        operator_hash(),
        text(caller, "key_hash"),
        directory.join("store.db").display(),
        text(emulated, "template_id"),
        text(emulated, "connect_hmac_key"),
    )
}

/// What the settings hold of the operators' password.
fn operator_hash() -> String {
    use std::io::Write as _;
    let mut hashing = binary()
        .args(["operator", "password", "--stdin", "--json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    hashing.stdin.take().unwrap().write_all(OPERATOR.as_bytes()).unwrap();
    let made: Value = serde_json::from_slice(&hashing.wait_with_output().unwrap().stdout).unwrap();
    made["operator_password_hash"].as_str().unwrap().to_owned()
}

/// An operator logs in, wrongly and rightly, looks at every page and asks for a check. Answers the pages, and
/// the cookie that nobody else may ever see.
async fn operate(run: &Run) -> (String, String) {
    let ops = run.serving["ops_url"].as_str().unwrap();
    let client = http_client();
    let form = client.get(format!("{ops}/admin/login")).send().await.unwrap();
    let cookie = |answer: &reqwest::Response| {
        let cookie = answer.headers()["set-cookie"].to_str().unwrap();
        cookie.split(';').next().unwrap().to_owned()
    };
    let token = |page: &str| {
        page.split("name=\"token\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned()
    };
    let shown = cookie(&form);
    let form = form.text().await.unwrap();
    let mut session = String::new();
    for password in [CONTROL, OPERATOR] {
        let body = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs([("password", password), ("token", &token(&form))])
            .finish();
        let entered = client.post(format!("{ops}/admin/login")).header("cookie", &shown);
        let entered = entered.header("content-type", "application/x-www-form-urlencoded").body(body);
        session = cookie(&entered.send().await.unwrap());
    }
    let mut pages = form;
    for path in ["/admin/", "/admin/senders/system/consent"] {
        let page = client.get(format!("{ops}{path}")).header("cookie", &session);
        pages += &page.send().await.unwrap().text().await.unwrap();
    }
    let body = format!("token={}", token(&pages[pages.find("Log out").unwrap() - 400..]));
    let check = client.post(format!("{ops}/admin/senders/system/check")).header("cookie", &session);
    let check = check.header("content-type", "application/x-www-form-urlencoded").body(body);
    assert_eq!(check.send().await.unwrap().status().as_u16(), 303);
    (pages, session.split_once('=').unwrap().1.to_owned())
}

fn order() -> Value {
    json!({
        "reference": CONTROL, "sender": "system", "documents": [{"template": "nda"}],
        "signers": [{
            "key": "visitor", "name": NAME, "email": EMAIL, "role": "Client", "access_code": CODE,
            "sms_auth": {"phone": format!("+49{PHONE}")}, "fields": {"company": FIELD},
            "return_url": "https://www.example.com/done",
        }],
    })
}

#[tokio::test]
async fn s1_no_planted_secret_reaches_any_sink() {
    searched("human", " TRACE ").await;
}

#[tokio::test]
async fn s1_no_planted_secret_reaches_any_sink_beside_a_log_in_json() {
    searched("json", r#""level":"TRACE""#).await;
}

/// Exercises everything with a log in this format, whose lines at trace hold `trace`, and searches.
async fn searched(format: &str, trace: &str) {
    let mut run = Run::start(format).await;
    let key = [("idempotency-key", "order-1")];
    let made = run.call(Method::POST, &run.api("/v1/signings"), &run.key, &key, order().to_string()).await;
    let made: Value = serde_json::from_str(&made).unwrap();
    let view = made["signers"][0]["view"]["url"].as_str().unwrap_or_else(|| panic!("{made}")).to_owned();
    let link = made["signers"][0]["link"]["url"].as_str().unwrap().to_owned();
    let problems = exercise(&run, &made, &link).await;
    let sent = sign_a_document(&run).await;
    let (pages, session) = operate(&run).await;
    let pairing = connect_an_account(&run).await;
    let metrics = run
        .call(
            Method::GET,
            &format!("{}/metrics", run.serving["ops_url"].as_str().unwrap()),
            "x",
            &[],
            String::new(),
        )
        .await;
    let readyz = run
        .call(
            Method::GET,
            &format!("{}/readyz", run.serving["ops_url"].as_str().unwrap()),
            "x",
            &[],
            String::new(),
        )
        .await;
    crate::demo::terminate(&run.daemon);
    assert!(run.daemon.wait().unwrap().success());

    let pem = std::fs::read_to_string(run.emulated["private_key_file"].as_str().unwrap()).unwrap();
    let key_line = pem.lines().nth(2).unwrap().to_owned();
    let slt = view.split("slt=").nth(1).unwrap().to_owned();
    let token = link.rsplit('/').next().unwrap().to_owned();
    // What the emulator's tokens and codes begin with, whichever way their header is written.
    let tokens = ["eyJ0eXAiOiJNVCI", "eyJhbGciOiJSUzI1NiIsImtpZCI6"];
    let mut secrets = vec![NAME, EMAIL, PHONE, CODE, FIELD, HOOK_SECRET, CLIENT_SECRET, OPERATOR];
    secrets.extend([session.as_str(), &key_line, &slt, &token, &run.key]);
    secrets.extend(tokens);
    secrets.extend(pairing.iter().map(String::as_str));
    // Whole, and the signature alone.
    let assertions = run.assertions.lock().unwrap().clone();
    assert!(assertions.iter().any(|shown| shown.matches('.').count() == 2), "no assertion came by");
    secrets.extend(assertions.iter().flat_map(|shown| [shown.as_str(), shown.rsplit('.').next().unwrap()]));
    secrets.extend([DOCUMENT, &sent]);
    let log = read(&run.directory.0.join("stderr.log")) + &read(&run.directory.0.join("stdout.log"));
    let (audit, traces) = (read(&run.directory.0.join("audit.jsonl")), run.traces.lock().unwrap().concat());
    let sinks = [
        ("log", &log, CONTROL),
        ("audit log", &audit, "\"event\":\"document.fetch\""),
        ("traces", &traces, "POST /v1/signings"),
        ("metrics", &metrics, "countersign_build_info"),
        ("problems", &problems, "phone_invalid"),
        ("readyz", &readyz, "status"),
        ("status page", &pages, "Envelopes to be made"),
    ];
    for (sink, text, control) in sinks {
        assert!(text.contains(control), "the search is blind for {sink}");
        for secret in &secrets {
            assert!(!text.contains(secret), "{sink} holds {secret:?}");
        }
    }
    assert!(log.contains(trace), "the log was not at trace, or of another format");
    at_rest(&run.directory.0, &secrets);
}

/// At rest nothing personal and no token is in the clear (rules S2, L4).
fn at_rest(directory: &Path, secrets: &[&str]) {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("store.db")));
    let bytes: Vec<u8> = files.iter().flat_map(|path| std::fs::read(path).unwrap()).collect();
    let holds = |text: &str| bytes.windows(text.len()).any(|part| part == text.as_bytes());
    assert!(holds(CONTROL), "the search is blind for the store");
    for secret in secrets {
        assert!(!holds(secret), "the store holds {secret:?} in the clear");
    }
}

/// A document of our own is signed and downloaded; answers a piece of it as it was sent.
async fn sign_a_document(run: &Run) -> String {
    let mut pdf = contract();
    // Behind its end: readers take it for a remark.
    pdf.extend(format!("\n{DOCUMENT}\n{DOCUMENT}\n").bytes());
    let sent = base64_of(&pdf);
    let order = json!({
        "sender": "system", "documents": [{"name": "Contract.pdf", "content_base64": sent, "anchors": {"sign": "/sn1/"}}],
        "signers": [{"key": "visitor", "name": NAME, "email": EMAIL, "return_url": "https://www.example.com/done"}],
    });
    let headers = [("idempotency-key", "document")];
    let made = run.call(Method::POST, &run.api("/v1/signings"), &run.key, &headers, order.to_string()).await;
    let made: Value = serde_json::from_str(&made).unwrap();
    let id = made["id"].as_str().unwrap_or_else(|| panic!("{made}"));
    let control = run.emulated["control_url"].as_str().unwrap();
    let signers = run.call(Method::GET, &format!("{control}/_test/signers"), "x", &[], String::new()).await;
    let signers: Value = serde_json::from_str(&signers).unwrap();
    let envelope = made["provider"]["envelope_id"].as_str().unwrap();
    let all = signers["signers"].as_array().unwrap();
    let signer = all.iter().find(|one| one["envelope_id"] == envelope).unwrap_or_else(|| panic!("{signers}"));
    let sign = format!("{control}/_test/signers/{}/sign", signer["id"].as_str().unwrap());
    run.call(Method::POST, &sign, "x", &[], "{}".to_owned()).await;
    completed(run, made.clone()).await;
    let combined = run.api(&format!("/v1/signings/{id}/documents/combined"));
    let request = http_client().get(combined).bearer_auth(&run.key).send().await.unwrap();
    assert!(request.status().is_success(), "{}", request.text().await.unwrap());
    // Of a length that no digest or id has by chance.
    sent[sent.len() / 2..].chars().take(64).collect()
}

/// Waits from fact to fact, as they may come one by one: that the signer has signed, and that all is done.
async fn completed(run: &Run, mut signing: Value) {
    let id = signing["id"].as_str().unwrap().to_owned();
    while signing["status"] != "completed" {
        assert!(matches!(signing["status"].as_str(), Some("creating" | "open")), "{signing}");
        let url = run.api(&format!("/v1/signings/{id}/wait?timeout=25&sequence={}", signing["sequence"]));
        let waited = run.call(Method::GET, &url, &run.key, &[], String::new()).await;
        let waited: Value = serde_json::from_str(&waited).unwrap();
        assert_ne!(waited["sequence"], signing["sequence"], "nothing came: {waited}");
        signing = waited;
    }
}

/// Every kind of path, good and bad; answers the problems that came.
async fn exercise(run: &Run, made: &Value, link: &str) -> String {
    let (id, signer) = (made["id"].as_str().unwrap(), made["signers"][0]["id"].as_str().unwrap());
    let mut problems = String::new();
    let mut bad = order();
    bad["signers"][0]["sms_auth"]["phone"] = json!(format!("+0{PHONE}"));
    problems += &run
        .call(Method::POST, &run.api("/v1/signings"), &run.key, &[("idempotency-key", "b")], bad.to_string())
        .await;
    bad["signers"][0]["email"] = json!(format!("{EMAIL}@"));
    problems += &run
        .call(Method::POST, &run.api("/v1/signings"), &run.key, &[("idempotency-key", "c")], bad.to_string())
        .await;
    problems += &run
        .call(
            Method::POST,
            &run.api("/v1/signings"),
            &run.key,
            &[("idempotency-key", "order-1")],
            bad.to_string(),
        )
        .await;
    let views = run.api(&format!("/v1/signings/{id}/signers/{signer}/views"));
    run.call(Method::POST, &views, &run.key, &[], "{}".to_owned()).await;
    run.call(Method::GET, link, "x", &[], String::new()).await;
    let control = run.emulated["control_url"].as_str().unwrap();
    for fault in ["commit_then_drop", "html", "truncate"] {
        let fault = json!({"fault": fault, "method": "POST", "path": "/envelopes", "count": 1});
        run.call(Method::POST, &format!("{control}/_test/faults"), "x", &[], fault.to_string()).await;
        let headers = [("idempotency-key", fault["fault"].as_str().unwrap()), ("prefer", "wait=1")];
        run.call(Method::POST, &run.api("/v1/signings"), &run.key, &headers, order().to_string()).await;
    }
    run.call(Method::POST, &format!("{control}/_test/tokens/revoke"), "x", &[], "{}".to_owned()).await;
    run.call(Method::POST, &views, &run.key, &[], "{}".to_owned()).await;
    problems += &run
        .call(
            Method::GET,
            &run.api(&format!("/v1/signings/{id}/documents/combined")),
            &run.key,
            &[],
            String::new(),
        )
        .await;
    run.call(Method::GET, &run.api(&format!("/v1/signings/{id}/timeline")), &run.key, &[], String::new())
        .await;
    problems += &run.call(Method::GET, &run.api("/v1/signings"), "cs_wrong", &[], String::new()).await;
    let void = run.api(&format!("/v1/signings/{id}/void"));
    run.call(Method::POST, &void, &run.key, &[], json!({"reason": "not needed"}).to_string()).await;
    problems
}

/// A customer connects an account; answers what was secret on the way: link, cookie, state, code.
async fn connect_an_account(run: &Run) -> Vec<String> {
    const ELIAS: &str = "b7d7a1c4-52e8-4d0f-9b6a-7e3f0c210003";
    let shown =
        run.call(Method::GET, &run.api("/v1/senders/customer/connect"), &run.key, &[], String::new()).await;
    let shown: Value = serde_json::from_str(&shown).unwrap();
    let link = shown["url"].as_str().unwrap().to_owned();
    let header = |reply: &reqwest::Response, name: &str| reply.headers()[name].to_str().unwrap().to_owned();
    let begun = http_client().post(&link).send().await.unwrap();
    let cookie = header(&begun, "set-cookie").split(';').next().unwrap().to_owned();
    let page = url::Url::parse(&header(&begun, "location")).unwrap();
    let mut form: Vec<(String, String)> = page.query_pairs().into_owned().collect();
    form.push(("user".to_owned(), ELIAS.to_owned()));
    let at = format!("{}/oauth/auth", run.emulated["oauth_url"].as_str().unwrap());
    let accepted = http_client().post(at).form(&form).send().await.unwrap();
    let back = header(&accepted, "location");
    let done = http_client().get(&back).header("cookie", &cookie).send().await.unwrap();
    assert!(done.status().is_success(), "{:?}", done.text().await);
    let templates = run.api("/v1/senders/customer/esign/templates");
    let listed = run.call(Method::GET, &templates, &run.key, &[], String::new()).await;
    assert!(listed.contains("envelopeTemplates"), "{listed}");
    let back = url::Url::parse(&back).unwrap();
    let pairs = back.query_pairs().filter(|(name, _)| name == "code" || name == "state");
    let mut secrets: Vec<String> = pairs.map(|(_, value)| value.into_owned()).collect();
    secrets.push(link.rsplit('/').next().unwrap().to_owned());
    secrets.push(cookie.split('=').nth(1).unwrap().to_owned());
    assert!(secrets.len() == 4 && secrets.iter().all(|secret| secret.len() > 20), "four secrets");
    secrets
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}
