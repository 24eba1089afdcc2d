//! The pass-through: what goes through to the upstream, and that nothing else does.

use std::{cell::Cell, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use countersign::clock::Clock as _;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::{CALLER_KEY, Reply, STRANGER_KEY, THIRD_KEY, TempDir, TestDaemon, order};

pub(crate) fn root(daemon: &TestDaemon) -> String {
    format!("/v1/senders/system/esign/restapi/v2.1/accounts/{}", daemon.emulator.ready().account_id)
}

pub(crate) fn envelope() -> Value {
    json!({
        "emailSubject": "From an SDK", "status": "sent",
        "documents": [{"documentId": "1", "name": "a.txt", "fileExtension": "txt", "documentBase64": "SGVsbG8="}],
        "recipients": {"signers": [{
            "recipientId": "1", "name": "Ada", "email": "ada@example.com", "clientUserId": "c-1",
            "tabs": {"signHereTabs": [{"documentId": "1", "pageNumber": "1", "xPosition": "10", "yPosition": "10"}]},
        }]},
    })
}

#[tokio::test]
async fn what_an_sdk_does_for_embedded_signing_goes_through() {
    let daemon = TestDaemon::start().await;
    let root = root(&daemon);
    let made = daemon.post(&format!("{root}/envelopes"), &envelope()).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    let id = made.body["envelopeId"].as_str().unwrap();
    let view = json!({
        "returnUrl": "https://www.example.com/done", "authenticationMethod": "none",
        "userName": "Ada", "email": "ada@example.com", "clientUserId": "c-1",
    });
    let view = daemon.post(&format!("{root}/envelopes/{id}/views/recipient"), &view).await;
    assert!(view.body["url"].as_str().unwrap().contains("/Signing/"), "{}", view.text);
    let user = &daemon.emulator.ready().user_id;
    for path in [
        format!("envelopes/{id}"),
        format!("envelopes/{id}/recipients"),
        format!("envelopes/{id}/documents"),
        "envelopes?from_date=2026-05-31T00:00:00Z".to_owned(),
        "templates".to_owned(),
        format!("templates/{}", daemon.emulator.ready().template_id),
        format!("users/{user}/signatures"),
    ] {
        let read = daemon.get(&format!("{root}/{path}")).await;
        assert_eq!(read.status, StatusCode::OK, "{path}: {}", read.text);
        assert!(!read.headers.contains_key("authorization") && !read.headers.contains_key("set-cookie"));
    }
    let without = root.replace("/restapi/", "/");
    let read = daemon.get(&format!("{without}/templates")).await;
    assert_eq!(read.status, StatusCode::OK, "an SDK with a base path of its own idea: {}", read.text);
}

#[tokio::test]
async fn a_document_comes_through_in_base64_if_it_is_asked_for_so() {
    let daemon = TestDaemon::start().await;
    let root = root(&daemon);
    let made = daemon.post(&format!("{root}/envelopes"), &envelope()).await;
    let id = made.body["envelopeId"].as_str().unwrap();
    let url = format!("{}{root}/envelopes/{id}/documents/combined", daemon.api);
    // As the vendor's client for Node asks for it.
    let headers = [("content-transfer-encoding", "base64")];
    let read = daemon.call(Method::GET, &url, Some(CALLER_KEY), &headers, Vec::new()).await;
    assert_eq!(read.status, StatusCode::OK, "{}", read.text);
    assert_eq!(read.headers["content-transfer-encoding"], "base64");
    assert!(STANDARD.decode(&read.text).unwrap().starts_with(b"%PDF"));
}

#[tokio::test]
async fn the_upstream_refuses_in_its_own_words() {
    let daemon = TestDaemon::start().await;
    let refused = daemon.post(&format!("{}/envelopes", root(&daemon)), &json!({"status": "sent"})).await;
    assert!(refused.status.is_client_error(), "{}", refused.text);
    assert!(refused.body["errorCode"].is_string() && refused.body["code"].is_null(), "{}", refused.text);
}

#[tokio::test]
async fn what_we_refuse_an_sdk_finds_where_it_looks_for_a_refusal() {
    let daemon = TestDaemon::start().await;
    let root = root(&daemon);
    let url = format!("{}{root}/templates", daemon.api);
    for one in [
        daemon.get(&format!("{root}/identity_verification")).await,
        daemon.get("/v1/senders/nobody/esign/restapi/v2.1/accounts/1/templates").await,
        daemon.call(Method::GET, &url, Some("cs_wrong"), &[], Vec::new()).await,
    ] {
        assert!(one.status.is_client_error() && !one.code().is_empty(), "{}", one.text);
        assert_eq!(one.headers["content-type"], "application/problem+json");
        assert_eq!(one.body["errorCode"], one.body["code"], "{}", one.text);
        assert_eq!(one.body["message"], one.body["detail"], "{}", one.text);
    }
    let elsewhere = daemon.get("/v1/senders/nobody").await;
    assert!(
        elsewhere.body["errorCode"].is_null() && elsewhere.body["code"].is_string(),
        "{}",
        elsewhere.text
    );
}

#[tokio::test]
async fn b3_a_second_status_read_within_15_minutes_is_refused_by_us() {
    let daemon = TestDaemon::start().await;
    let root = root(&daemon);
    let made = daemon.post(&format!("{root}/envelopes"), &envelope()).await;
    let path = format!("{root}/envelopes/{}", made.body["envelopeId"].as_str().unwrap());
    assert_eq!(daemon.get(&path).await.status, StatusCode::OK);
    daemon.forget_requests().await;
    let again = daemon.get(&path).await;
    assert_eq!((again.status, again.code()), (StatusCode::CONFLICT, "polling_budget"), "{}", again.text);
    assert!(again.headers.contains_key("retry-after"));
    assert!(daemon.requests().await.is_empty());
}

#[tokio::test]
async fn b3_a_list_by_ids_is_no_way_around_the_15_minutes() {
    let daemon = TestDaemon::start().await;
    let root = root(&daemon);
    let mut ids = Vec::new();
    for _ in 0..3 {
        let made = daemon.post(&format!("{root}/envelopes"), &envelope()).await;
        ids.push(made.body["envelopeId"].as_str().unwrap().to_owned());
    }
    let list = async |query: &str| daemon.get(&format!("{root}/envelopes?{query}")).await;
    let both = format!("envelope_ids={},{}", ids[0], ids[1]);
    let listed = list(&both).await;
    let seen = (listed.status, &listed.body["resultSetSize"]);
    assert_eq!(seen, (StatusCode::OK, &json!("2")), "{}", listed.text);
    daemon.forget_requests().await;
    let (one, plain) = (format!("count=1&envelope_ids={}", ids[1]), ids[0].replace('-', "").to_uppercase());
    for again in [&both, &one, &format!("Envelope_Ids={plain}")] {
        let refused = list(again).await;
        let seen = (refused.status, refused.code());
        assert_eq!(seen, (StatusCode::CONFLICT, "polling_budget"), "{again}: {}", refused.text);
        assert!(refused.headers.contains_key("retry-after"), "{again}");
    }
    // The same list under another name.
    let status = daemon.get(&format!("{root}/envelopes/status?{both}")).await;
    assert_eq!((status.status, status.code()), (StatusCode::FORBIDDEN, "forbidden"), "{}", status.text);
    assert_eq!(sent(&daemon).await, Vec::<String>::new());

    let with_another = list(&format!("{both},{}", ids[2])).await;
    assert_eq!(with_another.status, StatusCode::OK, "one of them was not asked about: {}", with_another.text);
    daemon.clock.advance(Duration::from_secs(900));
    let later = list(&both).await;
    assert_eq!(later.status, StatusCode::OK, "{}", later.text);
}

#[tokio::test]
async fn l6_a_passed_view_returns_to_the_callers_own_origins_only() {
    let settings = format!("[callers.nowhere]\nkey_hash = \"{}\"\n", crate::harness::key_hash(THIRD_KEY));
    let daemon = TestDaemon::builder().with(&settings).start().await;
    let root = root(&daemon);
    let made = daemon.post(&format!("{root}/envelopes"), &envelope()).await;
    let url = format!(
        "{}{root}/envelopes/{}/views/recipient",
        daemon.api,
        made.body["envelopeId"].as_str().unwrap()
    );
    let body = |url: &str| {
        let view = json!({"returnUrl": url, "authenticationMethod": "none",
            "userName": "Ada", "email": "ada@example.com", "clientUserId": "c-1"});
        view.to_string().into_bytes()
    };
    let json = "application/json";
    let send = |url: String, key: &'static str, kind: &'static str, body: Vec<u8>| {
        let daemon = &daemon;
        async move { daemon.call(Method::POST, &url, Some(key), &[("content-type", kind)], body).await }
    };
    let own = "https://www.example.com/done";
    daemon.forget_requests().await;
    for (key, foreign) in [
        (CALLER_KEY, "https://elsewhere.example/done"),
        (CALLER_KEY, "http://www.example.com/done"),
        (CALLER_KEY, "https://www.example.com:8443/done"),
        (CALLER_KEY, "https://www.example.com.elsewhere.example/"),
        (CALLER_KEY, "https://www.example.com@elsewhere.example/"),
        (CALLER_KEY, "//elsewhere.example/"),
        (CALLER_KEY, "javascript:alert(1)"),
        (THIRD_KEY, own),
    ] {
        let refused = send(url.clone(), key, json, body(foreign)).await;
        let seen = (refused.status, refused.code());
        assert_eq!(seen, (StatusCode::BAD_REQUEST, "return_url_refused"), "{foreign}: {}", refused.text);
        assert_eq!(refused.body["errors"][0]["pointer"], "/returnUrl", "{}", refused.text);
    }
    // What DocuSign might read in another way than we do.
    let twice = br#"{"returnUrl": "https://www.example.com/", "ReturnUrl": "https://elsewhere.example/"}"#;
    let xml =
        b"<recipientViewRequest><returnUrl>https://elsewhere.example</returnUrl></recipientViewRequest>";
    let mut large = body(own);
    large.resize(64 * 1024 + 1, b' ');
    let query = format!("{url}?returnUrl=https://elsewhere.example/");
    for (at, kind, bytes, expected) in [
        (&url, json, twice.to_vec(), "return_url_refused"),
        (&url, "application/xml", xml.to_vec(), "invalid_request"),
        (&url, "application/json; charset=utf-16", body(own), "invalid_request"),
        (&url, json, xml.to_vec(), "invalid_request"),
        (&url, json, large, "payload_too_large"),
        (&query, json, body(own), "invalid_request"),
    ] {
        let refused = send(at.clone(), CALLER_KEY, kind, bytes).await;
        assert_eq!(refused.code(), expected, "{kind}: {}", refused.text);
    }
    let packed = [("content-type", json), ("content-encoding", "gzip")];
    let refused = daemon.call(Method::POST, &url, Some(CALLER_KEY), &packed, body(own)).await;
    let seen = (refused.status.as_u16(), refused.code());
    assert_eq!(seen, (415, "content_encoding_unsupported"), "{}", refused.text);
    assert_eq!(sent(&daemon).await, Vec::<String>::new());
    let view = send(url.clone(), CALLER_KEY, "application/json; charset=utf-8", body(own)).await;
    assert!(view.body["url"].as_str().is_some_and(|url| url.contains("/Signing/")), "{}", view.text);
}

#[tokio::test]
async fn l6_a_passed_view_sends_the_browser_to_the_callers_own_origins_only_whatever_becomes_of_it() {
    let daemon = TestDaemon::start().await;
    let root = root(&daemon);
    let made = daemon.post(&format!("{root}/envelopes"), &envelope()).await;
    let path = format!("{root}/envelopes/{}/views/recipient", made.body["envelopeId"].as_str().unwrap());
    let (own, foreign) = ("https://www.example.com/done", "https://elsewhere.example/");
    let send = async |name: &str, value: Value| {
        let mut view = json!({"returnUrl": own, "authenticationMethod": "none",
            "userName": "Ada", "email": "ada@example.com", "clientUserId": "c-1"});
        view[name] = value;
        daemon.post(&path, &view).await
    };
    daemon.forget_requests().await;
    for (name, value, pointer) in [
        ("clientURLs", json!({"onSigningComplete": foreign}), "/clientURLs/onSigningComplete"),
        ("clientURLs", json!({"onCancel": own, "onDecline": foreign}), "/clientURLs/onDecline"),
        ("clientURLs", json!({"onCancel": {"onCancel": own}}), "/clientURLs/onCancel"),
        ("clientURLs", json!(own), "/clientURLs"),
        ("ClientUrls", json!({"onCancel": own}), "/clientURLs"),
        ("pingUrl", json!(foreign), "/pingUrl"),
    ] {
        let refused = send(name, value).await;
        assert_eq!(
            (refused.status.as_u16(), refused.code()),
            (400, "return_url_refused"),
            "{}",
            refused.text
        );
        assert_eq!(refused.body["errors"][0]["pointer"], pointer, "{}", refused.text);
    }
    assert_eq!(sent(&daemon).await, Vec::<String>::new());
    let view = send("clientURLs", json!({"onSigningComplete": own, "onCancel": null})).await;
    assert!(view.body["url"].as_str().is_some_and(|url| url.contains("/Signing/")), "{}", view.text);
}

#[tokio::test]
async fn an_envelope_is_made_as_no_copy_of_another_and_with_no_view() {
    let daemon = TestDaemon::builder().passthrough_limit("8MiB").start().await;
    let url = format!("{}{}/envelopes", daemon.api, root(&daemon));
    let theirs = daemon.create("order-1", &order()).await;
    let id = theirs.body["provider"]["envelope_id"].as_str().unwrap();
    let send = async |kind: &str, body: String| {
        daemon.call(Method::POST, &url, Some(CALLER_KEY), &[("content-type", kind)], body.into_bytes()).await
    };
    let (json, multipart) = ("application/json", "multipart/form-data; boundary=b");
    let blanks = " ".repeat(2 * 1024 * 1024);
    let part = |head: &str, body: &str| format!("--b\r\n{head}\r\n\r\n{body}\r\n--b--\r\n");
    daemon.forget_requests().await;
    for (kind, body) in [
        (json, json!({"status": "sent", "envelopeId": id}).to_string()),
        (json, format!(r#"{{"status": "sent", '\u0065nvelopeid' : "{id}"}}"#)),
        // Too large to be kept: it breaks off on its way.
        (json, format!(r#"{{"status": "sent",{blanks} "EnvelopeID": "{id}"}}"#)),
        (multipart, part("Content-Type: application/json", &format!(r#"{{"envelopeId": "{id}"}}"#))),
        (multipart, part("Content-Disposition: form-data", &format!("<d><envelopeId>{id}</envelopeId></d>"))),
    ] {
        let refused = send(kind, body).await;
        assert_eq!((refused.status.as_u16(), refused.code()), (403, "forbidden"), "{}", refused.text);
        let fix = refused.body["fix"].as_str().unwrap();
        assert!(fix.contains("from a template or documents"), "{}", refused.text);
    }
    let mut with_view = envelope();
    with_view["recipientViewRequest"] = json!({"returnUrl": "https://elsewhere.example"});
    let refused = send(json, with_view.to_string()).await;
    assert_eq!((refused.status.as_u16(), refused.code()), (403, "forbidden"), "{}", refused.text);
    let hidden = STANDARD.encode(format!(r#"{{"envelopeId": "{id}"}}"#));
    let head = "Content-Type: application/json\r\nContent-Transfer-Encoding: base64";
    // One byte of this blank is a `0`.
    let wide =
        format!("{{\"envelopeId\"\u{3000}: \"{id}\"}}").encode_utf16().flat_map(u16::to_le_bytes).collect();
    let wide = String::from_utf8(wide).unwrap();
    for (kind, body) in [
        ("application/xml", "<envelopeDefinition/>".to_owned()),
        ("application/json; charset=utf-16", "{}".to_owned()),
        (multipart, part(head, &hidden)),
        (multipart, part("Content-Type: text/xml", "<?xml encoding='utf-7'?>+ADw-envelopeId+AD4-")),
        (multipart, part("Content-Type: application/json", &wide)),
        (json, wide),
    ] {
        let refused = send(kind, body).await;
        assert_eq!((refused.status.as_u16(), refused.code()), (400, "invalid_request"), "{}", refused.text);
    }
    assert_eq!(sent(&daemon).await, Vec::<String>::new());
    assert_eq!(daemon.envelopes().await, 1);
}

#[tokio::test]
async fn l6_a_passed_create_sends_recipients_to_the_callers_own_origins_only() {
    let daemon = TestDaemon::builder().passthrough_limit("8MiB").start().await;
    let url = format!("{}{}/envelopes", daemon.api, root(&daemon));
    let send = async |kind: &str, body: String| {
        daemon.call(Method::POST, &url, Some(CALLER_KEY), &[("content-type", kind)], body.into_bytes()).await
    };
    let with = |field: &str, address: &str| {
        let mut body = envelope();
        body["recipients"]["signers"][0][field] = address.into();
        body.to_string()
    };
    let (json, multipart) = ("application/json", "multipart/form-data; boundary=b");
    let (start, after) = ("embeddedRecipientStartURL", "emailRecipientPostSigningURL");
    let (own, foreign) = ("https://www.example.com/sign?e=[[envelopeId]]", "https://elsewhere.example/");
    let blanks = " ".repeat(2 * 1024 * 1024);
    let role = json!({"templateId": daemon.emulator.ready().template_id, "status": "sent",
        "templateRoles": [{"roleName": "Client", "name": "Ada", "email": "ada@example.com", start: foreign}]});
    let part = |kind: &str, body: &str| format!("--b\r\nContent-Type: {kind}\r\n\r\n{body}\r\n--b--\r\n");
    daemon.forget_requests().await;
    for (kind, body) in [
        (json, with(start, foreign)),
        (json, with(start, "http://www.example.com/")),
        (json, with(start, "https://www.example.com@elsewhere.example/")),
        (json, with(after, foreign)),
        (json, role.to_string()),
        (json, format!(r#"{{"{start}": "{own}", "EMBEDDEDRECIPIENTSTARTURL": "{foreign}"}}"#)),
        // Too large to be kept: it breaks off on its way.
        (json, format!(r#"{{"status": "sent",{blanks} "{start}": "{foreign}"}}"#)),
        (multipart, part("application/json", &with(start, foreign))),
        // Of no type.
        (multipart, part("", &format!("<signer><{start}>{own}</{start}></signer>"))),
    ] {
        let refused = send(kind, body).await;
        let seen = (refused.status.as_u16(), refused.code());
        assert_eq!(seen, (400, "return_url_refused"), "{kind}: {}", refused.text);
        assert!(!refused.text.contains("elsewhere"), "{}", refused.text);
    }
    assert_eq!(sent(&daemon).await, Vec::<String>::new());
    assert_eq!(daemon.envelopes().await, 0);
    for address in [own, "SIGN_AT_DOCUSIGN", ""] {
        let made = send(json, with(start, address)).await;
        assert_eq!(made.status, StatusCode::CREATED, "{address}: {}", made.text);
    }
}

#[tokio::test]
async fn a_create_in_parts_goes_through_with_its_documents_as_they_are_or_encoded() {
    let daemon = TestDaemon::start().await;
    let url = format!("{}{}/envelopes", daemon.api, root(&daemon));
    let made = daemon.post(&format!("{}/envelopes", root(&daemon)), &envelope()).await;
    let document = format!("{url}/{}/documents/1", made.body["envelopeId"].as_str().unwrap());
    let (_, pdf) = daemon.bytes(Method::GET, &document, CALLER_KEY, &[]).await;
    assert!(pdf.starts_with(b"%PDF"));
    let mut described = envelope();
    described["documents"] = json!([{"documentId": "1", "name": "a.pdf", "fileExtension": "pdf"}]);
    for (encoding, bytes) in
        [("", pdf.clone()), ("Content-Transfer-Encoding: base64\r\n", STANDARD.encode(&pdf).into_bytes())]
    {
        let mut body = format!(
            "--b\r\nContent-Type: application/json\r\nContent-Disposition: form-data\r\n\r\n{described}\r\n--b\r\n\
             Content-Type: application/pdf\r\n{encoding}\
             Content-Disposition: file; filename=\"a.pdf\"; documentid=1\r\n\r\n"
        )
        .into_bytes();
        body.extend(bytes);
        body.extend(b"\r\n--b--\r\n");
        let kind = [("content-type", "multipart/form-data; boundary=b")];
        let made = daemon.call(Method::POST, &url, Some(CALLER_KEY), &kind, body).await;
        assert_eq!(made.status, StatusCode::CREATED, "{encoding}: {}", made.text);
    }
    assert_eq!(daemon.envelopes().await, 3);
}

/// A caller that shares the first one's sender.
pub(crate) fn colleague() -> String {
    format!(
        "[callers.colleague]\nkey_hash = \"{}\"\nsenders = [\"system\"]\n\
         return_origins = [\"https://www.example.com\"]\n",
        crate::harness::key_hash(THIRD_KEY)
    )
}

/// A caller asks for a view of the signer of an envelope.
async fn ask_for_a_view(daemon: &TestDaemon, envelope: &str, key: &str) -> Reply {
    let view = json!({
        "returnUrl": "https://www.example.com/done", "authenticationMethod": "none",
        "userName": "Ada", "email": "ada@example.com", "clientUserId": "c-1",
    });
    let url = format!("{}{}/envelopes/{envelope}/views/recipient", daemon.api, root(daemon));
    let headers = [("content-type", "application/json")];
    daemon.call(Method::POST, &url, Some(key), &headers, view.to_string().into_bytes()).await
}

/// The id of the envelope that the upstream made beside this one.
pub(crate) async fn made_beside(daemon: &TestDaemon, known: &str) -> String {
    let all = daemon.control(Method::GET, "signers", &Value::Null).await;
    let mut ids = all["signers"].as_array().unwrap().iter().map(|one| one["envelope_id"].as_str().unwrap());
    ids.find(|id| *id != known).unwrap().to_owned()
}

/// An envelope exists before it is written down whose it is. Until then it is nobody else's.
#[tokio::test]
async fn the_envelope_of_a_create_in_doubt_is_reached_by_no_other_caller() {
    let daemon = TestDaemon::builder().with(&colleague()).start().await;
    let passed = daemon.post(&format!("{}/envelopes", root(&daemon)), &envelope()).await;
    let free = passed.body["envelopeId"].as_str().unwrap();
    // It is made, its answer is lost, and nobody can look it up.
    daemon.fault(&json!({"fault": "status", "status": 503, "method": "GET", "path": "/envelopes"})).await;
    daemon.fault_create("commit_then_drop").await;
    let made = daemon.queue("order-1", &order()).await;
    daemon.run_clock("the envelope", async || daemon.envelopes().await == 2).await;
    let theirs = made_beside(&daemon, free).await;
    daemon.forget_requests().await;

    let answered = Cell::new(false);
    let asks = async {
        let reply = ask_for_a_view(&daemon, &theirs, THIRD_KEY).await;
        answered.set(true);
        reply
    };
    let (unknown, ()) = tokio::join!(asks, daemon.run_clock("an answer", async || answered.get()));
    assert_eq!((unknown.status.as_u16(), unknown.code()), (503, "provider_unavailable"), "{}", unknown.text);
    assert!(unknown.text.contains("not yet known whose"), "{}", unknown.text);
    assert!(unknown.headers.contains_key("retry-after") && unknown.body["retryable"] == true);
    let asked = sent(&daemon).await;
    assert!(asked.iter().all(|line| !line.contains(&theirs)), "{asked:?}");
    // The caller's own creates are no reason to wait.
    let own = ask_for_a_view(&daemon, free, CALLER_KEY).await;
    assert_eq!(own.status, StatusCode::CREATED, "{}", own.text);

    daemon.control(Method::DELETE, "faults", &Value::Null).await;
    let path = format!("/v1/signings/{}", made.id());
    daemon.run_clock("its outcome", async || daemon.get(&path).await.body["status"] == "open").await;
    let hidden = ask_for_a_view(&daemon, &theirs, THIRD_KEY).await;
    assert_eq!((hidden.status.as_u16(), hidden.code()), (404, "not_found"), "{}", hidden.text);
    let shared = ask_for_a_view(&daemon, free, THIRD_KEY).await;
    assert_eq!(shared.status, StatusCode::CREATED, "{}", shared.text);
}

#[tokio::test]
async fn who_asks_for_an_envelope_waits_until_the_creates_under_way_are_settled() {
    let daemon = TestDaemon::builder().with(&colleague()).start().await;
    let passed = daemon.post(&format!("{}/envelopes", root(&daemon)), &envelope()).await;
    let free = passed.body["envelopeId"].as_str().unwrap();
    daemon.fault_create("commit_then_drop").await;
    let made = daemon.queue("order-1", &order()).await;
    let path = format!("/v1/signings/{}", made.id());
    daemon.until("the doubt", async || daemon.get(&path).await.body["status"] == "uncertain").await;
    let theirs = made_beside(&daemon, free).await;
    // Whoever waits does so for ten seconds.
    let is_open = async || daemon.get(&path).await.body["status"] == "open";
    let settles = daemon.run_clock_slowly("its outcome", is_open);
    let both = async {
        tokio::join!(ask_for_a_view(&daemon, &theirs, THIRD_KEY), ask_for_a_view(&daemon, free, THIRD_KEY))
    };
    let ((hidden, shared), ()) = tokio::join!(both, settles);
    assert_eq!((hidden.status.as_u16(), hidden.code()), (404, "not_found"), "{}", hidden.text);
    assert_eq!(shared.status, StatusCode::CREATED, "{}", shared.text);
}

#[tokio::test]
async fn everything_else_is_refused_and_reaches_nobody() {
    let daemon = TestDaemon::start().await;
    let root = root(&daemon);
    let account = daemon.emulator.ready().account_id.clone();
    let other = "11111111-2222-3333-4444-555555555555";
    let base = "/v1/senders/system/esign";
    let paths = [
        format!("{root}/../{other}/envelopes"),
        format!("{root}/envelopes/.."),
        format!("{root}/envelopes/%2e%2e/templates"),
        format!("{root}/envelopes/%2E%2E%2Ftemplates"),
        format!("{root}/envelopes%2f1"),
        format!("{root}/envelopes/1%5c..%5c2"),
        format!("{root}/envelopes/1;x=/recipients"),
        format!("{root}//envelopes"),
        format!("{root}/envelopes/"),
        format!("{root}/connect"),
        format!("{root}/users"),
        format!("{root}/users/{other}/signatures"),
        format!("{root}/envelopes/1/views/sender"),
        root.clone(),
        format!("{base}/restapi/v2.1/accounts/{other}/envelopes"),
        format!("{base}/v2.1/accounts/{other}/envelopes"),
        format!("{base}/v2.1/accounts/{account}/../{other}/envelopes"),
        format!("{base}/v2.1/accounts/{account}/connect"),
        format!("{base}/restapi/v2/accounts/{account}/envelopes"),
        format!("{base}//restapi/v2.1/accounts/{account}/envelopes"),
        format!("{base}/oauth/userinfo"),
        format!("{base}/oauth/token"),
        format!("/v1/senders/../senders/system/esign/restapi/v2.1/accounts/{account}/envelopes"),
        format!("/v1/senders/nobody/esign/restapi/v2.1/accounts/{account}/envelopes"),
    ];
    daemon.forget_requests().await;
    for path in &paths {
        for method in ["GET", "POST"] {
            let status = daemon.raw(method, path, Some(CALLER_KEY), "Content-Length: 0\r\n").await;
            assert!(matches!(status, 403 | 404), "{method} {path}: {status}");
        }
    }
    for method in ["DELETE", "PUT", "PATCH", "OPTIONS", "HEAD"] {
        let status = daemon.raw(method, &format!("{root}/envelopes/1"), Some(CALLER_KEY), "").await;
        assert_eq!(status, 403, "{method}");
    }
    let path = format!("{root}/envelopes");
    for (key, expected) in [(None, 401), (Some("eyJhbGciOiJub25lIn0.e30."), 401), (Some(STRANGER_KEY), 404)] {
        assert_eq!(daemon.raw("GET", &path, key, "").await, expected);
    }
    assert_eq!(sent(&daemon).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_body_over_the_limit_and_a_smuggled_request_reach_nobody() {
    let daemon = TestDaemon::start().await;
    let path = format!("{}/envelopes", root(&daemon));
    daemon.forget_requests().await;
    let url = format!("{}{path}", daemon.api);
    let json = [("content-type", "application/json")];
    let large = vec![b' '; 2 * 1024 * 1024 + 1];
    let refused = daemon.call(Method::POST, &url, Some(CALLER_KEY), &json, large.clone()).await;
    assert_eq!((refused.status, refused.code()), (StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large"));
    for framing in [
        "Content-Length: 4\r\nContent-Length: 5\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Content-Length: +4\r\n",
        "Content-Length: 0x4\r\n",
    ] {
        let status = daemon.raw("POST", &path, Some(CALLER_KEY), framing).await;
        assert_eq!(status, 400, "{framing:?}");
    }
    assert_eq!(sent(&daemon).await, Vec::<String>::new());
}

#[tokio::test]
async fn what_hides_behind_a_chunked_body_is_not_read_as_a_request() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let daemon = TestDaemon::start().await;
    let root = root(&daemon);
    daemon.forget_requests().await;
    let host = daemon.api.strip_prefix("http://").unwrap();
    let hidden = format!(
        "GET {root}/templates HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {CALLER_KEY}\r\n\r\n"
    );
    // A reader in front of us who goes by the length takes all of it for one body.
    let body = format!("2\r\n{{}}\r\n0\r\n\r\n{hidden}");
    let request = format!(
        "POST {root}/envelopes HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {CALLER_KEY}\r\n\
         Content-Type: application/json\r\nTransfer-Encoding: chunked\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut socket = tokio::net::TcpStream::connect(host).await.unwrap();
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = socket.read_to_end(&mut answer).await;
    let answer = String::from_utf8_lossy(&answer);
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
    assert!(answer.to_ascii_lowercase().contains("connection: close"), "{answer}");
    assert_eq!(
        sent(&daemon).await,
        ["POST /restapi/v2.1/accounts/".to_owned() + &daemon.emulator.ready().account_id + "/envelopes"]
    );
}

#[tokio::test]
async fn the_short_path_is_the_senders_own_account() {
    let daemon = TestDaemon::start().await;
    let read = daemon.get("/v1/senders/system/esign/templates").await;
    assert_eq!(read.status, StatusCode::OK, "{}", read.text);
    let other = "11111111-2222-3333-4444-555555555555";
    let refused =
        daemon.get(&format!("/v1/senders/system/esign/restapi/v2.1/accounts/{other}/templates")).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    assert!(
        refused.text.contains(&daemon.emulator.ready().account_id),
        "it says which one: {}",
        refused.text
    );
}

#[tokio::test]
async fn another_account_than_the_settings_name_is_refused_before_anybody_is_asked() {
    let mut daemon = TestDaemon::start().await;
    let own = daemon.emulator.ready().account_id.clone();
    let named = format!("[senders.unconsented]\naccount = \"{own}\"\n");
    daemon.restart_with(|settings| settings.replace("[senders.unconsented]\n", &named)).await;
    // It has no token and gets none: whoever had to ask would be told so.
    let base = "/v1/senders/unconsented/esign/restapi/v2.1/accounts";
    let asked = daemon.get(&format!("{base}/{own}/templates")).await;
    assert_eq!(asked.code(), "consent_required", "{}", asked.text);
    for other in ["11111111-2222-3333-4444-555555555555", "4711"] {
        let refused = daemon.get(&format!("{base}/{other}/templates")).await;
        assert_eq!((refused.status.as_u16(), refused.code()), (403, "forbidden"), "{}", refused.text);
        assert!(refused.text.contains(&own), "{}", refused.text);
    }
}

/// Nothing looks a passed create up, so its caller must not be told to send it again.
#[tokio::test]
async fn e2_a_passed_create_whose_answer_is_lost_is_not_to_be_repeated() {
    let daemon = TestDaemon::start().await;
    let root = root(&daemon);
    daemon.fault_create("commit_then_drop").await;
    let lost = daemon.post(&format!("{root}/envelopes"), &envelope()).await;
    assert_eq!((lost.status, lost.code()), (StatusCode::BAD_GATEWAY, "outcome_unknown"), "{}", lost.text);
    assert_eq!(lost.body["retryable"], false, "{}", lost.text);
    assert_eq!(daemon.envelopes().await, 1);
    // What makes nothing can be sent again.
    daemon
        .fault(&json!({"fault": "reset_before_commit", "method": "GET", "path": "/templates", "count": 1}))
        .await;
    let read = daemon.get(&format!("{root}/templates")).await;
    assert_eq!(read.body["retryable"], true, "{}", read.text);
}

#[tokio::test]
async fn b4_a_passed_call_that_cannot_end_in_time_is_not_sent_and_one_that_was_is_not_in_doubt_for_it() {
    let daemon = TestDaemon::start().await;
    let root = root(&daemon);
    let ask = async |method: Method, path: &str, body: String, wait: &'static str| {
        let headers = [("content-type", "application/json"), ("prefer", wait)];
        let url = format!("{}{root}/{path}", daemon.api);
        daemon.call(method, &url, Some(CALLER_KEY), &headers, body.into()).await
    };
    daemon.forget_requests().await;
    let create = envelope().to_string();
    for (method, path, body) in
        [(Method::GET, "templates", String::new()), (Method::POST, "envelopes", create.clone())]
    {
        let refused = ask(method, path, body, "wait=0").await;
        assert_eq!(refused.code(), "provider_unavailable", "{path}: {}", refused.text);
    }
    let is_create = |line: &String| line.starts_with("POST ") && line.ends_with("/envelopes");
    let asked = daemon.requests().await;
    assert!(!asked.iter().any(|line| is_create(line) || line.ends_with("/templates")), "{asked:?}");
    // Its caller's time is over before the answer comes, and it is taken in all the same.
    let delay =
        json!({"fault": "delay", "delay_ms": 2_000, "method": "POST", "path": "/envelopes", "count": 1});
    daemon.fault(&delay).await;
    let time = async {
        daemon.until("the call", async || daemon.requests().await.iter().any(is_create)).await;
        daemon.clock.advance(Duration::from_secs(4));
    };
    let (made, ()) = tokio::join!(ask(Method::POST, "envelopes", create, "wait=1"), time);
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
}

#[tokio::test]
async fn s6_each_passed_call_is_a_line_of_the_audit_log() {
    let directory = TempDir::new();
    let path = directory.0.join("audit.jsonl");
    let settings = format!("[audit]\nfile = \"{}\"\n", path.display());
    let daemon = TestDaemon::builder().with(&settings).start().await;
    let root = root(&daemon);
    let made = daemon.post(&format!("{root}/envelopes"), &envelope()).await;
    let id = made.body["envelopeId"].as_str().unwrap();
    daemon.get(&format!("{root}/envelopes/{id}/recipients?include_tabs=true")).await;
    daemon.get(&format!("{root}/connect")).await;
    let signing = daemon.create("order-1", &order()).await;
    let own = signing.body["provider"]["envelope_id"].as_str().unwrap();
    daemon.get(&format!("{root}/envelopes/{}/documents", own.to_uppercase())).await;
    let text = std::fs::read_to_string(&path).unwrap();
    let mut lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    lines.retain(|line| line["event"] == "esign.forward");
    let seen: Vec<_> = lines.iter().map(|line| (line["detail"].as_str(), line["signing"].as_str())).collect();
    let (read, listed) =
        (format!("GET envelopes/{{id}}/recipients {id}"), format!("GET envelopes/{{id}}/documents {own}"));
    assert_eq!(
        seen,
        [
            (Some("POST envelopes"), None),
            (Some(read.as_str()), None),
            (Some(listed.as_str()), Some(signing.id())),
        ],
        "{text}"
    );
    assert!(lines.iter().all(|line| line["caller"] == "website" && line["sender"] == "system"));
}

#[tokio::test]
async fn t7_a_refused_token_is_renewed_and_what_was_kept_is_sent_again() {
    let daemon = TestDaemon::builder().passthrough_limit("8MiB").start().await;
    let url = format!("{}/envelopes", root(&daemon));
    let nobody = json!({});
    daemon.control(Method::POST, "tokens/revoke", &nobody).await;
    daemon.clock.advance(Duration::from_secs(5));
    daemon.forget_requests().await;
    let made = daemon.post(&url, &envelope()).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    assert_eq!(daemon.requests().await.iter().filter(|line| line.ends_with("/envelopes")).count(), 2);

    // Too large to be kept (blanks make it so, and cost nobody work): told to send it again, and then it
    // goes through.
    let mut large = envelope().to_string().into_bytes();
    large.resize(2 * 1024 * 1024, b' ');
    daemon.clock.advance(Duration::from_secs(400));
    daemon.control(Method::POST, "tokens/revoke", &nobody).await;
    let at = format!("{}{url}", daemon.api);
    let send = || {
        daemon.call(
            Method::POST,
            &at,
            Some(CALLER_KEY),
            &[("content-type", "application/json")],
            large.clone(),
        )
    };
    let again = send().await;
    assert_eq!((again.status.as_u16(), again.code()), (503, "provider_unavailable"), "{}", again.text);
    assert!(again.headers.contains_key("retry-after") && again.body["retryable"] == true);
    let made = send().await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
}

#[tokio::test]
async fn own_signatures_are_kept_and_nobody_is_signed_for() {
    let daemon = TestDaemon::start().await;
    let ready = daemon.emulator.ready();
    let (own, other) = (&ready.user_id, &ready.no_consent_user_id);
    let at = format!("{}/users/{own}/signatures", root(&daemon));
    let typed = json!({"userSignatures": [{"signatureName": "System Sender", "signatureFont": "7_DocuSign", "signatureInitials": "SS"}]});
    let made = daemon.post(&at, &typed).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);

    // Drawn: the definition and the image in one multipart body.
    let boundary = "a-boundary";
    let definition = r#"{"userSignatures":[{"signatureName":"Drawn","signatureInitials":"D","signatureImageUri":"drawn.png"}]}"#;
    let mut body = format!(
        "--{boundary}\r\nContent-Type: application/json\r\n\r\n{definition}\r\n--{boundary}\r\n\
         Content-Type: image/png\r\nContent-Disposition: file; filename=\"drawn.png\"\r\n\r\n"
    )
    .into_bytes();
    body.extend_from_slice(crate::esign::PNG);
    body.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    let kind = format!("multipart/form-data; boundary={boundary}");
    let url = format!("{}{at}", daemon.api);
    let drawn = daemon.call(Method::POST, &url, Some(CALLER_KEY), &[("content-type", &kind)], body).await;
    assert_eq!(drawn.status, StatusCode::CREATED, "{}", drawn.text);
    let id = drawn.body["userSignatures"][0]["signatureId"].as_str().unwrap().to_owned();
    let image = format!("{url}/{id}/signature_image");
    let replaced = daemon
        .call(
            Method::PUT,
            &image,
            Some(CALLER_KEY),
            &[("content-type", "image/png")],
            crate::esign::PNG.to_vec(),
        )
        .await;
    assert!(replaced.status.is_success(), "{}", replaced.text);
    let listed = daemon.get(&at).await;
    let signatures = listed.body["userSignatures"].as_array().unwrap().clone();
    assert_eq!(signatures.len(), 2, "{}", listed.text);
    let id = signatures.iter().find(|one| one["signatureName"] == "Drawn").unwrap()["signatureId"].clone();
    let url = format!("{url}/{}", id.as_str().unwrap());
    let deleted = daemon.call(Method::DELETE, &url, Some(CALLER_KEY), &[], Vec::new()).await;
    assert!(deleted.status.is_success(), "{}", deleted.text);

    // The vendor's own-user rule, explained before it bites.
    let refused = daemon.get(&format!("{}/users/{other}/signatures", root(&daemon))).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    assert!(
        refused.text.contains("own user alone") && refused.text.contains(own.as_str()),
        "{}",
        refused.text
    );
    let image = format!("{}/envelopes/1/recipients/1/signature_image", root(&daemon));
    let refused = daemon.post(&image, &json!({})).await;
    assert!(
        refused.status == StatusCode::FORBIDDEN && refused.text.contains("only the person signs"),
        "{}",
        refused.text
    );
    for header in ["X-DocuSign-Act-On-Behalf: a@b.example", "X-DocuSign-Act-As-User: 1"] {
        let status = daemon.raw("GET", &at, Some(CALLER_KEY), &format!("{header}\r\n")).await;
        assert_eq!(status, 403, "{header}");
    }
}

#[tokio::test]
async fn a_caller_that_is_held_to_templates_or_sms_makes_no_envelope_by_a_passed_call() {
    let held = |rights: &str| {
        let hash = crate::harness::key_hash(THIRD_KEY);
        format!("[callers.held]\nkey_hash = \"{hash}\"\n{rights}\n")
    };
    for (rights, may_read, may_make) in [
        ("templates = [\"nda\"]", true, false),
        ("sms_required = true", true, false),
        ("passthrough = false", false, false),
        ("sms_required = true\npassthrough = true", true, true),
    ] {
        let daemon = TestDaemon::builder().with(&held(rights)).start().await;
        let key = Some(THIRD_KEY);
        let call = async |method: Method, path: &str, body: &str| {
            let url = format!("{}{}/{path}", daemon.api, root(&daemon));
            let headers = [("content-type", "application/json")];
            daemon.call(method, &url, key, &headers, body.as_bytes().to_vec()).await
        };
        let read = call(Method::GET, "templates", "").await;
        assert_eq!(
            (read.status == StatusCode::OK, read.code() == "forbidden"),
            (may_read, !may_read),
            "{rights}"
        );
        let made = call(Method::POST, "envelopes", &envelope().to_string()).await;
        let told = (made.status == StatusCode::CREATED, made.code() == "forbidden");
        assert_eq!(told, (may_make, !may_make), "{rights}: {}", made.text);
        let fix = made.body["fix"].as_str().unwrap_or_default();
        assert!(may_make || fix.contains("POST /v1/signings"), "{rights}: {fix}");
        assert_eq!(daemon.envelopes().await, usize::from(may_make), "{rights}");
    }
}

/// The smallest body that streams.
const STREAMED: usize = 1024 * 1024 + 1;

/// How many passed calls are written down.
fn written_down(log: &std::path::Path) -> usize {
    std::fs::read_to_string(log).unwrap().lines().filter(|line| line.contains("esign.forward")).count()
}

/// A call whose body streams, and goes no further.
async fn dawdling(daemon: &TestDaemon) -> tokio::net::TcpStream {
    use tokio::io::AsyncWriteExt as _;
    let host = daemon.api.strip_prefix("http://").unwrap();
    let head = format!(
        "POST {}/envelopes HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {CALLER_KEY}\r\n\
         Content-Type: application/json\r\nContent-Length: 2000000\r\n\r\n",
        root(daemon)
    );
    let mut socket = tokio::net::TcpStream::connect(host).await.unwrap();
    socket.write_all(head.as_bytes()).await.unwrap();
    socket.write_all(&vec![b' '; STREAMED]).await.unwrap();
    socket
}

/// A daemon of whose four calls one may stream, and does.
async fn with_all_places_taken() -> (TestDaemon, tokio::net::TcpStream, TempDir) {
    let directory = TempDir::new();
    let log = directory.0.join("audit.jsonl");
    let audit = format!("[audit]\nfile = \"{}\"\n", log.display());
    let daemon = TestDaemon::builder().upstream("max_connections = 4\n").with(&audit).start().await;
    let upload = dawdling(&daemon).await;
    daemon.until("the upload", async || written_down(&log) == 1).await;
    (daemon, upload, directory)
}

/// Lets the clock run until a call is answered, while an upload dawdles on.
async fn answered(
    daemon: &TestDaemon,
    upload: &tokio::net::TcpStream,
    call: impl Future<Output = Reply>,
) -> Reply {
    let is_answered = Cell::new(false);
    let waits = async {
        let answer = call.await;
        is_answered.set(true);
        answer
    };
    let clock = daemon.run_clock_slowly("an answer", async || {
        let _ = upload.try_write(b" ");
        is_answered.get()
    });
    tokio::join!(waits, clock).0
}

#[tokio::test]
async fn uploads_that_dawdle_leave_creates_their_places() {
    let directory = TempDir::new();
    let log = directory.0.join("audit.jsonl");
    let audit = format!("[audit]\nfile = \"{}\"\n", log.display());
    let daemon = TestDaemon::builder().upstream("max_connections = 4\n").with(&audit).start().await;
    let mut sockets = Vec::new();
    for _ in 0..4 {
        sockets.push((dawdling(&daemon).await, String::new()));
    }
    // One of the four calls may stream. It is written down once it has its place; the others wait for one.
    daemon.until("one upload", async || written_down(&log) == 1).await;
    let mut are_told = async || {
        for (socket, said) in &mut sockets {
            // Not silent for so long that it is given up.
            let _ = socket.try_write(b" ");
            let mut piece = [0; 4_096];
            if let Ok(count) = socket.try_read(&mut piece) {
                said.push_str(&String::from_utf8_lossy(&piece[..count]));
            }
        }
        let refused = sockets.iter().filter(|(_, said)| said.starts_with("HTTP/1.1 429 "));
        (written_down(&log), refused.count())
    };
    assert_eq!(are_told().await, (1, 0));
    daemon.run_clock_slowly("three refusals", async || are_told().await == (1, 3)).await;
    let made = daemon.create("in-between", &crate::harness::order()).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
}

#[tokio::test]
async fn s5_no_caller_takes_the_places_of_all_large_bodies_from_the_others() {
    let directory = TempDir::new();
    let log = directory.0.join("audit.jsonl");
    let settings = format!(
        "[audit]\nfile = \"{}\"\n[callers.other]\nkey_hash = \"{}\"\n",
        log.display(),
        crate::harness::key_hash(THIRD_KEY)
    );
    // Two of eight calls may stream, and one of one caller.
    let daemon = TestDaemon::builder().upstream("max_connections = 8\n").with(&settings).start().await;
    let url = format!("{}{}/envelopes", daemon.api, root(&daemon));
    let mut large = envelope().to_string().into_bytes();
    large.resize(STREAMED, b' ');
    let pass = async |key: &str| {
        let headers = [("content-type", "application/json")];
        daemon.call(Method::POST, &url, Some(key), &headers, large.clone()).await
    };
    let upload = dawdling(&daemon).await;
    daemon.until("the upload", async || written_down(&log) == 1).await;
    let refused = answered(&daemon, &upload, pass(CALLER_KEY)).await;
    let seen = (refused.status.as_u16(), refused.code());
    assert_eq!(seen, (429, "quota_exceeded"), "{}", refused.text);
    assert!(refused.headers.contains_key("retry-after"), "{}", refused.text);
    assert!(refused.body["fix"].as_str().unwrap().contains("fewer large bodies"), "{}", refused.text);
    let of_another = pass(THIRD_KEY).await;
    assert_eq!(of_another.status, StatusCode::CREATED, "{}", of_another.text);

    drop(upload);
    daemon.until("a place", async || pass(CALLER_KEY).await.status == StatusCode::CREATED).await;
}

#[tokio::test]
async fn b4_a_large_body_waits_for_its_place_no_longer_than_its_caller() {
    let (daemon, upload, _directory) = with_all_places_taken().await;
    let began = daemon.clock.now();
    let url = format!("{}{}/envelopes", daemon.api, root(&daemon));
    let headers = [("content-type", "application/json"), ("prefer", "wait=2")];
    let call = daemon.call(Method::POST, &url, Some(CALLER_KEY), &headers, vec![b' '; STREAMED]);
    let refused = answered(&daemon, &upload, call).await;
    assert_eq!(refused.code(), "quota_exceeded", "{}", refused.text);
    let took = daemon.clock.now().duration_since(began).unsigned_abs();
    assert!((2..10).contains(&took.as_secs()), "{took:?}");
}

/// Nobody knows of it that it will stream before its first megabyte is there.
#[tokio::test]
async fn a_large_body_in_chunks_waits_for_its_place() {
    use tokio::io::AsyncWriteExt as _;
    let (daemon, upload, _directory) = with_all_places_taken().await;
    let host = daemon.api.strip_prefix("http://").unwrap();
    let mut request = format!(
        "POST {}/envelopes HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {CALLER_KEY}\r\n\
         Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n{STREAMED:x}\r\n",
        root(&daemon)
    )
    .into_bytes();
    let mut large = envelope().to_string().into_bytes();
    large.resize(STREAMED, b' ');
    request.extend_from_slice(&large);
    request.extend_from_slice(b"\r\n0\r\n\r\n");
    let mut socket = tokio::net::TcpStream::connect(host).await.unwrap();
    socket.write_all(&request).await.unwrap();
    let mut said = String::new();
    let mut hear = || {
        let mut piece = [0; 4_096];
        if let Ok(count) = socket.try_read(&mut piece) {
            said.push_str(&String::from_utf8_lossy(&piece[..count]));
        }
        said.clone()
    };
    daemon.pass(Duration::from_millis(50), 60).await;
    assert_eq!(hear(), "");
    drop(upload);
    daemon.until("a place", async || !hear().is_empty()).await;
    let answer = hear();
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
}

#[tokio::test]
async fn a_passed_call_that_lacks_consent_says_where_to_give_it() {
    let daemon = TestDaemon::builder().public().start().await;
    let refused = daemon.get("/v1/senders/unconsented/esign/templates").await;
    assert_eq!(refused.code(), "consent_required", "{}", refused.text);
    assert!(
        refused.body["links"]["consent"].as_str().is_some_and(|url| url.contains("/oauth/auth")),
        "{}",
        refused.text
    );
}

/// What reached the upstream; the sender without consent asks for tokens by itself.
pub(crate) async fn sent(daemon: &TestDaemon) -> Vec<String> {
    let all = daemon.requests().await;
    all.into_iter().filter(|line| line != "POST /oauth/token").collect()
}
