//! Header injection through everything that is echoed: ids of requests, paths, queries, return URLs, names of
//! files. A line break that gets into an answer's head would be a header of the attacker's.

use http::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::harness::{CALLER_KEY, TestDaemon, order};

/// Sends bytes as they are; answers the head of what comes back.
async fn head(origin: &str, request: &[u8]) -> String {
    let mut socket = tokio::net::TcpStream::connect(origin.strip_prefix("http://").unwrap()).await.unwrap();
    socket.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    let _ = socket.read_to_end(&mut answer).await;
    let text = String::from_utf8_lossy(&answer).into_owned();
    text.split("\r\n\r\n").next().unwrap_or_default().to_owned()
}

fn assert_clean(head: &str, what: &str) {
    let injected = head.lines().any(|line| line.to_ascii_lowercase().starts_with("x-injected"));
    assert!(!injected, "{what}: {head}");
    assert!(head.starts_with("HTTP/1.1 "), "{what}: {head}");
}

#[tokio::test]
async fn nothing_that_is_echoed_carries_a_header() {
    let daemon = TestDaemon::builder().public().start().await;
    let public = daemon.public.clone().unwrap();
    let breaks =
        ["%0d%0aX-Injected:%201", "%0aX-Injected:%201", "%E5%98%8A%E5%98%8DX-Injected:%201", "%00X-Injected"];
    let api_paths =
        ["/v1/signings/", "/v1/links/", "/docs/errors/", "/v1/signings?cursor=", "/v1/senders/", "/nothing/"];
    let public_paths = [
        "/s/",
        "/r/",
        "/consent/callback?state=",
        "/consent/callback?code=x&state=",
        "/r/x?event=",
        "/in/docusign/",
    ];
    for at in breaks {
        for path in api_paths {
            let request = format!(
                "GET {path}{at} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {CALLER_KEY}\r\n\r\n"
            );
            assert_clean(&head(&daemon.api, request.as_bytes()).await, path);
        }
        for path in public_paths {
            let request = format!("GET {path}{at} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
            assert_clean(&head(&public, request.as_bytes()).await, path);
        }
    }
    // An id of a request is echoed only if it is a plain one.
    for id in ["a\tb", "a b", "<b>", "\u{fe}\u{ff}", "a\rX-Injected: 1", &"x".repeat(129), "a;b", "a\"b"] {
        let mut request =
            b"GET /openapi.json HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Request-Id: ".to_vec();
        request.extend(id.chars().map(|c| u8::try_from(u32::from(c)).unwrap()));
        request.extend_from_slice(b"\r\n\r\n");
        let head = head(&daemon.api, &request).await;
        assert_clean(&head, id);
        assert!(!head.contains(id), "{id}: {head}");
    }
    let plain =
        b"GET /openapi.json HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Request-Id: order-8812\r\n\r\n";
    assert!(head(&daemon.api, plain).await.contains("x-request-id: order-8812"), "the positive control");
}

#[tokio::test]
async fn a_return_url_is_a_url_and_no_more() {
    let daemon = TestDaemon::builder().public().start().await;
    let urls = [
        "https://www.example.com/done\r\nX-Injected: 1",
        "https://www.example.com/done\nX-Injected: 1",
        "https://www.example.com\\@evil.example/",
        "https://www.example.com@evil.example/",
        "javascript:alert(1)//https://www.example.com",
        "//evil.example/",
    ];
    for (at, url) in urls.iter().enumerate() {
        let mut body = order();
        body["signers"][0]["return_url"] = json!(url);
        let made = daemon.create(&format!("injected-{at}"), &body).await;
        if made.status == 201 {
            // Taken as a URL without its line breaks; then it must lead where it may, and nowhere else.
            let signers = daemon.control(Method::GET, "signers", &serde_json::Value::Null).await;
            let envelope = &made.body["provider"]["envelope_id"];
            let mut all = signers["signers"].as_array().unwrap().iter();
            let signer = all.find(|signer| signer["envelope_id"] == *envelope).unwrap();
            let guid =
                signer.get("recipient_id_guid").or_else(|| signer.get("id")).unwrap().as_str().unwrap();
            let done = daemon.control(Method::POST, &format!("signers/{guid}/sign"), &json!({})).await;
            let back = done["redirect_url"].as_str().unwrap();
            let returned = daemon.call(Method::GET, back, None, &[], Vec::new()).await;
            assert!(!returned.headers.contains_key("x-injected"), "{url}");
            let to = returned.headers.get("location").map(|to| to.to_str().unwrap().to_owned());
            assert!(to.is_none_or(|to| to.starts_with("https://www.example.com/")), "{url}");
        } else {
            assert_eq!(
                (made.status.as_u16(), made.code()),
                (400, "return_url_refused"),
                "{url}: {}",
                made.text
            );
        }
    }
}

#[tokio::test]
async fn an_origin_that_would_change_the_policy_of_a_page_is_refused() {
    let daemon = TestDaemon::builder().public().start().await;
    let mut body = order();
    // A URL's host may have these; a policy would end, or allow everybody.
    for (at, origin) in [
        "https://a;script-src",
        "https://*.example.com",
        "https://a,b",
        "https://a'unsafe-inline'",
        "https://www.example.com;",
        "https://www.example.com\r\nX-Injected: 1",
    ]
    .into_iter()
    .enumerate()
    {
        body["frame_ancestors"] = json!([origin]);
        let refused = daemon.create(&format!("framed-{at}"), &body).await;
        assert_eq!(refused.status, 400, "{origin}: {}", refused.text);
        assert!(refused.text.contains("/frame_ancestors/0"), "{origin}: {}", refused.text);
    }
    for (at, origin) in ["https://www.example.com", "https://[::1]:8443", "http://xn--bcher-kva.example:81"]
        .into_iter()
        .enumerate()
    {
        body["frame_ancestors"] = json!([origin]);
        let made = daemon.create(&format!("framed-well-{at}"), &body).await;
        assert_eq!(made.status, 201, "{origin}: {}", made.text);
    }
}
