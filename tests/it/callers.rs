//! How callers show who they are, and what is refused: tokens, unix users, rights on trial, requests that came through
//! a proxy or by another name, and streams that outlive a key.

use std::{fs, path::Path, time::Duration};

use http::Method;
use rcgen::KeyPair;
use serde_json::{Value, json};

use crate::harness::{CALLER_KEY, STRANGER_KEY, THIRD_KEY, TempDir, TestDaemon, key_hash, order};

#[tokio::test]
async fn a_token_of_an_issuer_stands_for_its_caller() {
    let directory = TempDir::new();
    let key = KeyPair::generate().unwrap();
    let public = key.public_key_raw();
    let text = |bytes: &[u8]| {
        use base64::Engine as _;
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
    };
    let (x, y) = (text(&public[1..33]), text(&public[33..65]));
    let set = json!({ "keys": [{ "kty": "EC", "crv": "P-256", "kid": "k1", "use": "sig", "x": x, "y": y }] });
    fs::write(directory.0.join("jwks.json"), set.to_string()).unwrap();
    let token = |subject: &str, audience: &str| {
        let header = jsonwebtoken::Header {
            kid: Some("k1".to_owned()),
            ..jsonwebtoken::Header::new(jsonwebtoken::Algorithm::ES256)
        };
        let claims =
            json!({ "iss": "https://cluster", "sub": subject, "aud": audience, "exp": 4_000_000_000_u64 });
        let signing = jsonwebtoken::EncodingKey::from_ec_der(&key.serialize_der());
        jsonwebtoken::encode(&header, &claims, &signing).unwrap()
    };
    let issuer = format!(
        "[oidc.cluster]\nissuer = \"https://cluster\"\naudience = \"countersign\"\njwks_file = \"{}\"\n",
        directory.0.join("jwks.json").display()
    );
    let caller = "oidc = { cluster = [\"system:serviceaccount:shop:*\"] }";
    let daemon = TestDaemon::builder().caller(caller).with(&issuer).start().await;
    let url = format!("{}/v1/signings", daemon.api);
    let ask = async |token: String| daemon.call(Method::GET, &url, Some(&token), &[], Vec::new()).await;
    assert_eq!(ask(token("system:serviceaccount:shop:website", "countersign")).await.status, 200);
    for (subject, audience) in [
        ("system:serviceaccount:shopping:website", "countersign"),
        ("system:serviceaccount:shop:website", "vault"),
    ] {
        let reply = ask(token(subject, audience)).await;
        assert_eq!((reply.status.as_u16(), reply.code()), (401, "unauthenticated"), "{}", reply.text);
        assert!(!reply.text.contains(subject), "{}", reply.text);
    }
    // It is not said of a token that it is bad when nobody can know.
    fs::remove_file(directory.0.join("jwks.json")).unwrap();
    daemon.clock.advance(Duration::from_secs(8 * 86_400));
    let unknown = ask(token("system:serviceaccount:shop:website", "countersign")).await;
    assert_eq!((unknown.status.as_u16(), unknown.code()), (503, "issuer_unavailable"), "{}", unknown.text);
    assert!(unknown.headers.contains_key("retry-after"));
    // Keys go on to work beside tokens.
    assert_eq!(ask(CALLER_KEY.to_owned()).await.status, 200);
    let metrics = daemon.ops("/metrics").await.text;
    for line in [
        "countersign_caller_authentications_total{method=\"token\",result=\"good\"} 1",
        "countersign_caller_authentications_total{method=\"token\",result=\"refused\"} 3",
    ] {
        assert!(metrics.contains(line), "{line}");
    }
    daemon.stop().await;
}

#[tokio::test]
async fn a_user_of_this_machine_needs_no_key_on_the_unix_socket() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let directory = TempDir::new();
    let path = directory.0.join("api.sock");
    let own = rustix::process::getuid().as_raw();
    let ask = async |path: &Path, more: &str| {
        let mut socket = tokio::net::UnixStream::connect(path).await.unwrap();
        let request = format!("GET /v1/signings HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{more}\r\n");
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        answer.split(' ').nth(1).unwrap().to_owned()
    };
    for (uid, expected) in [(own, "200"), (own + 1, "401")] {
        let api = format!("unix_socket = \"{}\"", path.display());
        let caller = format!("unix_uids = [{uid}]");
        let daemon = TestDaemon::builder().api(&api).caller(&caller).start().await;
        // Whatever the umask is, other users can connect; who they are decides.
        let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o666);
        assert_eq!(ask(&path, "").await, expected);
        assert_eq!(ask(&path, &format!("Authorization: Bearer {STRANGER_KEY}\r\n")).await, "200");
        assert_eq!(ask(&path, "Authorization: Bearer cs_wrong\r\n").await, "401", "the user does not help");
        assert_eq!(ask(&path, "X-Forwarded-For: 10.0.0.1\r\n").await, "403");
        daemon.stop().await;
    }
}

#[tokio::test]
async fn a_unix_socket_takes_the_place_of_a_dead_one_and_of_nothing_else() {
    use countersign::listener::Bound;
    let directory = TempDir::new();
    let at = |name: &str| directory.0.join(name);
    fs::write(at("precious"), "precious").unwrap();
    assert!(Bound::unix(&at("precious")).is_err());
    assert_eq!(fs::read_to_string(at("precious")).unwrap(), "precious");
    let living = std::os::unix::net::UnixListener::bind(at("living")).unwrap();
    assert!(Bound::unix(&at("living")).is_err());
    drop(living);
    assert!(Bound::unix(&at("living")).is_ok(), "its process is gone");
}

#[tokio::test]
async fn rights_on_trial_are_logged_and_counted_and_nothing_is_refused() {
    let lacking = "senders = []\ntemplates = []\nsms_required = true\nrate = \"2/h\"\ndaily_signings = 1\n";
    let missing = ["rate", "return_origin", "sender", "sms", "template"];
    let mut asked = order();
    asked["signers"][0]["return_url"] = json!("https://elsewhere.example/done");
    asked["signers"][0].as_object_mut().unwrap().remove("sms_auth");
    for (enforcement, decision) in [("audit", "audited"), ("on", "refused")] {
        let caller = format!("{lacking}enforcement = \"{enforcement}\"");
        let daemon = TestDaemon::builder().caller(&caller).start().await;
        let first = daemon.create("one", &asked).await;
        let mut own = asked.clone();
        if enforcement == "on" {
            assert_eq!((first.status.as_u16(), first.code()), (404, "sender_unknown"), "{}", first.text);
            let at = |fault: &Value| fault["pointer"].as_str().unwrap().to_owned();
            let places: Vec<_> = first.body["errors"].as_array().unwrap().iter().map(at).collect();
            let all = ["/documents/0/template", "/signers/0/return_url", "/signers/0/sms_auth", "/sender"];
            assert_eq!(places, all, "each right that it lacks: {}", first.text);
        } else {
            assert_eq!(first.status, 201, "{}", first.text);
            own["sender"] = json!("system");
        }
        daemon.create("two", &own).await;
        let third = daemon.create("three", &own).await;
        assert_eq!(third.status, if enforcement == "on" { 429 } else { 201 }, "{}", third.text);
        let metrics = daemon.ops("/metrics").await.text;
        let counted = |right: &&str| {
            let line =
                format!("countersign_caller_rights_total{{right=\"{right}\",decision=\"{decision}\"}}");
            let other =
                format!("countersign_caller_rights_total{{decision=\"{decision}\",right=\"{right}\"}}");
            metrics.contains(&line) || metrics.contains(&other)
        };
        assert!(missing.iter().all(counted), "{metrics}");
        let shown = daemon.get("/v1/senders").await;
        if enforcement == "audit" {
            assert_eq!(
                shown.body["data"],
                json!([]),
                "what it may not use it is not told of: {}",
                shown.text
            );
        }
        daemon.stop().await;
    }
}

#[tokio::test]
async fn what_came_through_a_proxy_is_refused_on_loopback_unless_it_is_meant() {
    let headers = [
        "Forwarded: for=10.0.0.1\r\n",
        "X-Forwarded-For: 10.0.0.1\r\n",
        "x-forwarded-proto: https\r\n",
        "X-Real-IP: 1.2.3.4\r\n",
    ];
    let daemon = TestDaemon::start().await;
    let paths = ["/v1/signings", "/openapi.json", "/.well-known/jwks.json", "/nothing"];
    for path in paths {
        for header in headers {
            assert_eq!(daemon.raw("GET", path, Some(CALLER_KEY), header).await, 403, "{path} {header}");
        }
    }
    let url = format!("{}/v1/signings", daemon.api);
    let reply = daemon.call(Method::GET, &url, Some(CALLER_KEY), &[("forwarded", "for=x")], Vec::new()).await;
    assert_eq!(reply.code(), "forbidden");
    assert!(reply.body["detail"].as_str().unwrap().contains("allow_forwarded"), "{}", reply.text);
    let ops = format!("{}/readyz", daemon.ops);
    let forwarded = [("x-forwarded-for", "10.0.0.1")];
    let refused = daemon.call(Method::GET, &ops, None, &forwarded, Vec::new()).await;
    assert_eq!((refused.status.as_u16(), refused.code()), (403, "forbidden"));
    assert!(refused.body["detail"].as_str().unwrap().contains("allow_forwarded"), "{}", refused.text);
    assert_eq!(refused.headers["x-request-id"], refused.body["request_id"].as_str().unwrap());
    let metrics = daemon.ops("/metrics").await.text;
    let counted = "countersign_http_requests_total{listener=\"ops\",route=\"other\",status=\"403\"} 1";
    assert!(metrics.contains(counted), "{metrics}");
    daemon.stop().await;

    let meant = TestDaemon::builder().api("allow_forwarded = true").start().await;
    assert_eq!(meant.raw("GET", "/v1/signings", Some(CALLER_KEY), headers[0]).await, 200);
    meant.stop().await;
}

#[tokio::test]
async fn more_creates_at_once_than_are_taken_are_refused_at_once_and_those_under_way_are_not() {
    let daemon = TestDaemon::builder().api("creates_at_once = 2").start().await;
    daemon.fault(&json!({ "fault": "delay", "method": "POST", "path": "/envelopes", "delay_ms": 500 })).await;
    let order = order();
    let all = (0..8).map(|number| {
        let (daemon, order) = (&daemon, &order);
        async move { daemon.create(&format!("crowd-{number}"), order).await }
    });
    let all = futures_util::future::join_all(all).await;
    let made = all.iter().filter(|reply| reply.status == 201).count();
    let refused: Vec<_> = all.iter().filter(|reply| reply.status == 429).collect();
    assert_eq!((made, refused.len()), (2, 6), "{all:?}");
    assert!(
        refused
            .iter()
            .all(|reply| reply.code() == "quota_exceeded" && reply.headers.contains_key("retry-after"))
    );
    assert_eq!(daemon.create("crowd-7", &order).await.status, 201, "the key is free");
}

#[tokio::test]
async fn a_name_that_is_not_this_machines_is_refused_by_the_operators_listener_on_loopback() {
    let ask = async |daemon: &TestDaemon, host: &str| {
        let url = format!("{}/readyz", daemon.ops);
        daemon.call(Method::GET, &url, None, &[("host", host)], Vec::new()).await
    };
    let daemon = TestDaemon::start().await;
    for host in [
        "evil.example",
        "evil.example:9464",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "EVIL.example.",
    ] {
        let refused = ask(&daemon, host).await;
        assert_eq!((refused.status.as_u16(), refused.code()), (403, "forbidden"), "{host}: {}", refused.text);
        assert!(refused.body["detail"].as_str().unwrap().contains("allow_forwarded"), "{}", refused.text);
        assert!(!refused.text.contains("evil"), "{}", refused.text);
    }
    // An address means what it says, and nobody elsewhere can have a name without a dot mean this machine.
    for host in ["localhost", "LOCALHOST:80", "a.localhost", "127.0.0.1:1", "192.0.2.1", "[::1]:9464", "ops"]
    {
        assert_ne!(ask(&daemon, host).await.status.as_u16(), 403, "{host}");
    }
    daemon.stop().await;

    let meant = TestDaemon::builder().ops("allow_forwarded = true\n").start().await;
    assert_ne!(ask(&meant, "ops.example").await.status.as_u16(), 403);
    meant.stop().await;
}

#[tokio::test]
async fn a_reload_ends_streams_so_that_nobody_reads_on_with_a_key_that_is_gone() {
    let daemon = TestDaemon::start().await;
    let mut stream = daemon.stream("/v1/events", &[]).await;
    assert_eq!(stream.status().as_u16(), 200);
    let rotated = daemon.settings().replace(&key_hash(CALLER_KEY), &key_hash(THIRD_KEY));
    let config = countersign::config::Config::from_toml(&rotated).unwrap();
    daemon.parts().reload(&config).await.unwrap();
    let ends = async { while stream.chunk().await.unwrap().is_some() {} };
    tokio::time::timeout(Duration::from_secs(10), ends).await.expect("the stream ends");
    assert_eq!(daemon.stream("/v1/events", &[]).await.status().as_u16(), 401);
    daemon.stop().await;
}
