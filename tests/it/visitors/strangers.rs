//! What strangers send, and what whoever holds a link tries with it.

use std::time::Duration;

use http::{Method, StatusCode, header};
use serde_json::json;

use crate::{
    harness::TestDaemon,
    visitors::{link_of, location, unopened},
};

#[tokio::test]
async fn behind_a_trusted_proxy_each_visitor_has_their_own_allowance() {
    let daemon = TestDaemon::builder().public_with("trusted_proxies = [\"127.0.0.0/8\"]").start().await;
    let wrong = format!("{}/s/{}", daemon.public.as_ref().unwrap(), "A".repeat(43));
    let guess = async |from: &str| {
        let headers = [("x-forwarded-for", from)];
        daemon.call(Method::GET, &wrong, None, &headers, Vec::new()).await.status
    };
    for _ in 0..60 {
        assert_eq!(guess("203.0.113.9").await, StatusCode::NOT_FOUND);
    }
    assert_eq!(guess("203.0.113.9").await, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(guess("198.51.100.1, 203.0.113.9").await, StatusCode::TOO_MANY_REQUESTS, "their own word");
    assert_eq!(guess("203.0.113.10").await, StatusCode::NOT_FOUND, "a neighbour");

    let alone = TestDaemon::builder().public().start().await;
    let wrong = format!("{}/s/{}", alone.public.as_ref().unwrap(), "A".repeat(43));
    let mut last = StatusCode::OK;
    for number in 0..61 {
        let from = format!("203.0.113.{number}");
        let headers = [("x-forwarded-for", from.as_str()), ("forwarded", "for=192.0.2.60")];
        last = alone.call(Method::GET, &wrong, None, &headers, Vec::new()).await.status;
    }
    assert_eq!(last, StatusCode::TOO_MANY_REQUESTS, "a header from a stranger buys nothing");
}

#[tokio::test]
async fn s5_whoever_holds_a_link_cannot_spend_the_calls_of_the_account_by_it() {
    let daemon = TestDaemon::builder().public().start().await;
    let made = daemon.create("order-1", &unopened()).await;
    let link = link_of(&made, 0);
    let minted = async || {
        let asked = daemon.requests().await;
        asked.iter().filter(|line| line.contains("/views/recipient")).count()
    };
    // Each view is opened and left at once, which makes room for the next one.
    let mut back = String::new();
    for _ in 0..10 {
        assert_eq!(daemon.click(&link).await.status, StatusCode::SEE_OTHER);
        let left = daemon.act(0, "finish_later", &json!({})).await;
        left["redirect_url"].as_str().unwrap().clone_into(&mut back);
        assert!(daemon.look(&back).await.text.contains("<form method=\"post\">"));
    }
    assert_eq!(minted().await, 10);
    let nonce = back.split('?').next().unwrap();
    for refused in [daemon.click(&link).await, daemon.click(nonce).await] {
        assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS, "{}", refused.text);
        assert!(refused.text.contains("Please wait a minute"), "{}", refused.text);
        assert_eq!(refused.headers[header::RETRY_AFTER], "60");
    }
    assert_eq!(minted().await, 10, "no call was spent");
    // What the caller asks for is the caller's to limit.
    let views = format!("/v1/signings/{}/signers/{}/views", made.id(), made.signer());
    assert_eq!(daemon.post(&views, &json!({})).await.status, StatusCode::CREATED);
    daemon.clock.advance(Duration::from_secs(301));
    assert_eq!(daemon.click(&link).await.status, StatusCode::SEE_OTHER, "the link stays valid");
}

#[tokio::test]
async fn l6_no_query_and_no_header_leads_a_browser_elsewhere() {
    let daemon = TestDaemon::builder().public().start().await;
    let mut order = unopened();
    for wrong in [
        "https://evil.example/done",
        "https://www.example.com.evil.example/",
        "https://www.example.com@evil.example/",
        "https://www.example.com\\@evil.example/",
        "https://@www.example.com/done",
        "//www.example.com/done",
        "https:www.example.com/done",
        "https:/www.example.com/done",
        " https://www.example.com/done",
        "http://www.example.com/done",
        "https://www.example.com:8443/done",
        "javascript:alert(1)//https://www.example.com",
        "data:text/html,<script>alert(1)</script>",
    ] {
        order["signers"][0]["return_url"] = json!(wrong);
        let refused = daemon.create("order-1", &order).await;
        assert!(refused.status.is_client_error(), "{wrong}: {}", refused.text);
    }
    // Earlier versions took this. A browser reads it as a path of the site, and so do we.
    let made = daemon.create("order-2", &unopened()).await;
    let id = made.id().parse().unwrap();
    let work = daemon.record(id).await.work;
    let taken_once = Some("https://www.example.com\\@evil.example/".to_owned());
    daemon.rewrite(id, work, |signing| signing.signers[0].return_url = taken_once).await;
    daemon.click(&link_of(&made, 0)).await;
    let back = daemon.act(0, "decline", &json!({})).await["redirect_url"].as_str().unwrap().to_owned();
    assert!(location(&daemon.look(&back).await).starts_with("https://www.example.com/"));

    let made = daemon.create("order-1", &unopened()).await;
    let link = link_of(&made, 0);
    let evil = [("host", "evil.example"), ("x-forwarded-host", "evil.example"), ("origin", "null")];
    let clicked = daemon
        .call(
            Method::POST,
            &format!("{link}?next=//evil.example&url=https://evil.example"),
            None,
            &evil,
            Vec::new(),
        )
        .await;
    assert!(location(&clicked).starts_with(&daemon.emulator.ready().base_url));
    let later = daemon.act(1, "finish_later", &json!({})).await;
    let nonce = later["redirect_url"].as_str().unwrap().split('?').next().unwrap().to_owned();
    for query in [
        "event=signing_complete&return_url=https://evil.example",
        "event=decline&signing_id=sig_evil&status=completed&result=a.b.c",
        "event=viewing_complete&event=cancel&next=//evil.example",
        "event=signing_complete%0d%0aLocation:%20https://evil.example",
        "event=%00%ff",
    ] {
        let back = daemon.call(Method::GET, &format!("{nonce}?{query}"), None, &evil, Vec::new()).await;
        let to = back.headers.get(header::LOCATION).map(|to| to.to_str().unwrap().to_owned());
        let to = to.unwrap_or_else(|| "https://www.example.com/done?".to_owned());
        assert!(to.starts_with("https://www.example.com/done?"), "{query}: {to}");
        assert!(!to.contains("evil") && !to.contains("completed"), "{query}: {to}");
        assert!(!back.text.contains("evil.example"), "{query}");
    }
    assert_eq!(daemon.get(&format!("/v1/signings/{}", made.id())).await.body["status"], "open");
}

#[tokio::test]
async fn l5_script_in_every_field_that_reaches_a_page_stays_text() {
    const SCRIPT: &str = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>";
    let brand = format!("[public.brand]\nname = '''{SCRIPT}'''\n");
    let daemon = TestDaemon::builder().public().with(&brand).start().await;
    let mut order = unopened();
    for (pointer, value) in [
        ("/reference", SCRIPT.to_owned()),
        ("/subject", SCRIPT.to_owned()),
        ("/signers/0/name", SCRIPT.to_owned()),
        ("/signers/0/key", "visitor".to_owned()),
        ("/signers/0/return_url", format!("https://www.example.com/done?x={SCRIPT}#{SCRIPT}")),
    ] {
        let (place, name) = pointer.rsplit_once('/').unwrap();
        order.pointer_mut(place).unwrap()[name] = json!(value);
    }
    let made = daemon.create("order-1", &order).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    let link = link_of(&made, 0);
    let mut pages = vec![daemon.look(&link).await, daemon.look(&format!("{link}?line={SCRIPT}")).await];
    pages.push(daemon.look(&format!("{link}/facts")).await);
    assert_eq!(daemon.click(&link).await.status, StatusCode::SEE_OTHER);
    pages.push(daemon.look(&link).await);
    let back = daemon.act(0, "finish_later", &json!({})).await["redirect_url"].as_str().unwrap().to_owned();
    for event in ["cancel", "exception", "session_timeout", "ttl_expired", SCRIPT] {
        pages.push(daemon.look(&back.replace("event=cancel", &format!("event={event}"))).await);
    }
    pages.push(daemon.look(&format!("{}/s/{SCRIPT}", daemon.public.as_ref().unwrap())).await);
    pages.push(
        daemon
            .look(&format!(
                "{}/consent/callback?state={SCRIPT}&code={SCRIPT}",
                daemon.public.as_ref().unwrap()
            ))
            .await,
    );
    for page in &pages {
        if let Some(to) = page.headers.get(header::LOCATION) {
            assert!(!to.to_str().unwrap().contains(['<', '"']), "{to:?}");
            continue;
        }
        if page.headers[header::CONTENT_TYPE] == "application/json" {
            assert!(!page.text.contains("<script"), "{}", page.text);
            continue;
        }
        assert!(!page.text.contains("<script") && !page.text.contains("<img src=x"), "{}", page.text);
        let policy = page.headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(policy.contains("default-src 'none'") && !policy.contains("script-src"), "{policy}");
    }
    assert!(pages[0].text.contains("&lt;script&gt;alert(1)"), "shown as what it is: {}", pages[0].text);
}

#[tokio::test]
async fn floods_and_guesses_are_refused_and_counted_and_change_nothing() {
    let daemon = TestDaemon::builder().public().start().await;
    let made = daemon.create("order-1", &unopened()).await;
    let link = link_of(&made, 0);
    let before = daemon.get(&format!("/v1/signings/{}", made.id())).await.text;
    daemon.forget_requests().await;
    let public = daemon.public.clone().unwrap();
    let host = public.strip_prefix("http://").unwrap();
    let path = link.strip_prefix(&public).unwrap();
    let many = (0..500).fold(String::new(), |all, number| format!("{all}X-H{number}: 1\r\n"));
    let large = format!("X-Large: {}\r\n", "a".repeat(2 * 1024 * 1024));
    for flood in [many, large, "Content-Length: 99999999999\r\n".to_owned()] {
        let status =
            raw(host, &format!("POST {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{flood}\r\n"))
                .await;
        assert!((400..500).contains(&status) || status == 0, "{status}");
    }
    for garbage in
        ["GET\r\n\r\n", "\u{16}\u{3}\u{1}", "GET /s/\u{0} HTTP/1.1\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nXX"]
    {
        let status = raw(host, garbage).await;
        assert!((400..500).contains(&status) || status == 0, "{status}");
    }
    let token = path.strip_prefix("/s/").unwrap();
    let nonce_of_another_daemon = "A".repeat(64);
    let guesses = [
        format!("{public}/s/{}", &token[..42]),
        format!("{public}/s/{}{}", &token[1..], &token[..1]),
        format!("{public}/s/{token}%00"),
        format!("{public}/s/{}", "A".repeat(100_000 / 16)),
        format!("{public}/r/{nonce_of_another_daemon}"),
        format!("{public}/r/{token}"),
        format!("{public}/s/..%2f..%2fetc%2fpasswd"),
    ];
    for guess in &guesses {
        for method in [Method::GET, Method::HEAD, Method::POST] {
            let refused = daemon.call(method, guess, None, &[], Vec::new()).await;
            assert!(refused.status.is_client_error(), "{guess}: {}", refused.status);
        }
    }
    assert_eq!(daemon.requests().await.len(), 0);
    assert_eq!(daemon.get(&format!("/v1/signings/{}", made.id())).await.text, before);
    let counted = daemon.metric("countersign_link_opens_total", &["kind=\"unknown\""]).await;
    assert!(counted >= 10.0, "{counted}");
    let metrics = daemon.ops("/metrics").await.text;
    assert!(metrics.contains("listener=\"public\",route=\"/r/{nonce}\",status=\"404\""), "{metrics}");
    assert_eq!(daemon.look(&link).await.status, StatusCode::OK, "the good link goes on");
}

/// Bytes as they are; the status that came back, or 0 if the connection was closed without one.
async fn raw(host: &str, request: &str) -> u16 {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut socket = tokio::net::TcpStream::connect(host).await.unwrap();
    // A server that refuses may reset before all was sent.
    let _ = socket.write_all(request.as_bytes()).await;
    let _ = socket.shutdown().await;
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(20), socket.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
}
