//! Refusals: everything that is wrong at once, with its place, and a next step that leads somewhere.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::{CALLER_KEY, Reply, TestDaemon, order};

/// Places and codes of what is wrong.
type Places<'a> = &'a [(&'a str, &'a str)];

/// A change that makes an order wrong, and what is to be found.
type Case<'a> = (fn(&mut Value), Places<'a>);

/// A call with a body that is wrong, and what is to be found.
type Call<'a> = (Method, &'a str, Value, Places<'a>);

/// Place and code of everything that was found wrong.
fn errors(refused: &Reply) -> Vec<(&str, &str)> {
    let errors = refused.body["errors"].as_array().unwrap_or_else(|| panic!("no errors: {}", refused.text));
    errors.iter().map(|one| (one["pointer"].as_str().unwrap(), one["code"].as_str().unwrap())).collect()
}

fn fix(refused: &Reply) -> &str {
    refused.body["fix"].as_str().unwrap()
}

#[track_caller]
fn says(refused: &Reply, code: &str, retryable: bool, part_of_fix: &str) {
    assert_eq!((refused.code(), &refused.body["retryable"]), (code, &json!(retryable)), "{}", refused.text);
    assert!(fix(refused).contains(part_of_fix), "{}", refused.text);
}

#[tokio::test]
async fn a_refresh_refuses_fields_that_it_does_not_have_and_empty_filters_are_none() {
    let daemon = TestDaemon::start().await;
    let made = daemon.create("order-1", &order()).await;
    let refresh = format!("/v1/signings/{}/refresh", made.id());
    let refused = daemon.post(&refresh, &json!({"force": true})).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{}", refused.text);
    assert_eq!(errors(&refused), [("/force", "unknown_field")], "{}", refused.text);
    let url = format!("{}{refresh}", daemon.api);
    let without = daemon.call(Method::POST, &url, Some(CALLER_KEY), &[], Vec::new()).await;
    assert_eq!(without.status, StatusCode::OK, "{}", without.text);
    let listed = daemon.get("/v1/signings?reference=&status=&cursor=").await;
    assert_eq!(listed.body["data"][0]["id"], made.body["id"], "{}", listed.text);
}

#[tokio::test]
async fn a_cursor_is_refused_under_the_name_it_was_given_and_an_empty_one_is_none() {
    let daemon = TestDaemon::start().await;
    daemon.create("order-1", &order()).await;
    let bad: [(&str, &[&str]); 5] = [
        ("/v1/events?cursor=sig_1", &["/cursor"]),
        ("/v1/events?after=sig_1&limit=0", &["/after", "/limit"]),
        ("/v1/events?after=sig_1&cursor=sig_1", &["/cursor", "/after"]),
        ("/v1/deliveries?cursor=sig_1", &["/cursor"]),
        ("/v1/signings?cursor=evt_1", &["/cursor"]),
    ];
    for (path, places) in bad {
        let refused = daemon.get(path).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{path}: {}", refused.text);
        let found: Vec<_> = errors(&refused).into_iter().map(|(place, _)| place).collect();
        assert_eq!(found, places, "{path}: {}", refused.text);
    }
    let all = daemon.get("/v1/events").await;
    let last = all.body["data"].as_array().unwrap().last().unwrap();
    for path in ["/v1/events?after=&cursor=", "/v1/deliveries?cursor=", "/v1/senders?cursor="] {
        assert_eq!(daemon.get(path).await.status, StatusCode::OK, "{path}");
    }
    // What names one signing must not come to mean all of them.
    assert_eq!(daemon.get("/v1/events?signing=").await.status, StatusCode::NOT_FOUND);
    assert_eq!(daemon.get("/v1/events?cursor=").await.body, all.body);
    for name in ["after", "cursor"] {
        let rest = daemon.get(&format!("/v1/events?{name}={}", last["id"].as_str().unwrap())).await;
        assert_eq!(rest.body["data"], json!([]), "{}", rest.text);
    }
}

#[tokio::test]
async fn a_reference_with_control_characters_is_refused_with_all_else_that_is_wrong() {
    let daemon = TestDaemon::start().await;
    let refused = daemon.get("/v1/signings?reference=order%00&limit=0").await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{}", refused.text);
    let expected = [("/reference", "invalid_request"), ("/limit", "invalid_request")];
    assert_eq!(errors(&refused), expected, "{}", refused.text);
}

#[tokio::test]
async fn what_comes_too_early_says_what_to_wait_for_and_what_never_comes_says_that() {
    let daemon = TestDaemon::builder().public().start().await;
    let made = daemon.create("order-1", &order()).await;
    let path = format!("/v1/signings/{}", made.id());
    for early in ["documents/combined", "documents/certificate", "evidence"] {
        says(&daemon.get(&format!("{path}/{early}")).await, "signer_not_ready", true, "document.available");
    }
    says(&daemon.post(&format!("{path}/purge"), &json!({})).await, "signer_not_ready", true, "/void");

    let view = format!("{path}/signers/{}/views", made.signer());
    daemon.act(0, "fail_otp", &json!({})).await;
    let failed = async || daemon.get(&path).await.body["signers"][0]["status"] == "auth_failed";
    daemon.run_clock("locked", failed).await;
    let locked = daemon.post(&view, &json!({})).await;
    says(&locked, "signer_not_ready", false, "/phone");
    assert!(fix(&locked).contains("/access_code"));

    daemon.post(&format!("{path}/void"), &json!({"reason": "a test"})).await;
    for never in ["documents/combined", "evidence"] {
        says(&daemon.get(&format!("{path}/{never}")).await, "signing_closed", false, "completed");
    }
    let phone = format!("{path}/signers/{}/phone", made.signer());
    says(&daemon.post(&phone, &json!({"phone": "+4915187654321"})).await, "signing_closed", false, "");
}

/// Whoever calls off what is not there yet is told of the signing, and not of a signer, of whom they have asked nothing.
#[tokio::test]
async fn a_void_before_there_is_an_envelope_is_told_where_the_signing_stands() {
    let daemon = TestDaemon::start().await;
    daemon.fault(&json!({"fault": "status", "status": 503, "method": "POST", "path": "/envelopes"})).await;
    let path = format!("/v1/signings/{}", daemon.queue("order-1", &order()).await.id());
    daemon.until("a doubt", async || daemon.get(&path).await.body["status"] == "uncertain").await;
    let early = daemon.post(&format!("{path}/void"), &json!({"reason": "a test"})).await;
    assert_eq!(early.status, StatusCode::CONFLICT, "{}", early.text);
    says(&early, "signer_not_ready", true, "signing.opened");
    assert_eq!(early.body["detail"], "the signing is uncertain", "{}", early.text);
}

#[tokio::test]
async fn everything_that_is_wrong_with_a_create_is_listed_at_once() {
    let daemon = TestDaemon::start().await;
    daemon.create("warm", &order()).await;
    let cases: [Case<'_>; 6] = [
        (
            |order| {
                order["signers"][0]["email"] = json!("nobody");
                order["signers"][0]["return_url"] = json!("https://evil.example/");
            },
            &[("/signers/0/email", "invalid_request"), ("/signers/0/return_url", "return_url_refused")],
        ),
        (
            |order| {
                order["wiev"] = json!(true);
                order["signers"][0]["return_url"] = json!("https://evil.example/");
            },
            &[("/wiev", "unknown_field"), ("/signers/0/return_url", "return_url_refused")],
        ),
        (
            |order| {
                order["signers"][0]["return_url"] = json!("https://evil.example/");
                order["signers"][0]["role"] = json!("Nobody");
            },
            &[("/signers/0/return_url", "return_url_refused"), ("/signers/0/role", "template_role_mismatch")],
        ),
        (
            |order| {
                order["signers"][0]["sms_auth"]["phone"] = json!("0151");
                order["documents"] = json!([{"name": "a.pdf",
                    "content_base64": crate::signings::base64_of(&crate::signings::contract()),
                    "anchors": {"sign": "/nowhere/"}}]);
            },
            &[
                ("/signers/0/sms_auth/phone", "phone_invalid"),
                ("/documents/0/anchors/sign", "anchor_not_found"),
            ],
        ),
        (
            |order| {
                order["sender"] = json!("nobody");
                order["signers"][0]["email"] = json!("nobody");
            },
            &[("/signers/0/email", "invalid_request"), ("/sender", "sender_unknown")],
        ),
        (
            |order| {
                order["signers"][0]["name"] = json!(7);
                order["signers"][0]["return_url"] = json!("https://evil.example/");
            },
            &[("/signers/0/name", "invalid_request"), ("/signers/0/return_url", "return_url_refused")],
        ),
    ];
    daemon.forget_requests().await;
    for (number, (change, expected)) in cases.iter().enumerate() {
        let mut body = order();
        change(&mut body);
        let refused = daemon.create(&format!("bad-{number}"), &body).await;
        // Another's sender does not exist, whatever else is wrong.
        let is_of_sender = expected.iter().any(|(_, code)| *code == "sender_unknown");
        let (status, code) = if is_of_sender {
            (StatusCode::NOT_FOUND, "sender_unknown")
        } else {
            (StatusCode::BAD_REQUEST, "invalid_request")
        };
        assert_eq!((refused.status, refused.code()), (status, code), "{}", refused.text);
        assert_eq!(errors(&refused), *expected, "{}", refused.text);
        let dry = daemon.post("/v1/signings?dry_run=true", &body).await;
        assert_eq!((dry.status, errors(&dry)), (StatusCode::BAD_REQUEST, expected.to_vec()), "{}", dry.text);
    }
    assert_eq!(daemon.requests().await, Vec::<String>::new(), "a refusal spends nothing");
}

/// The upstream opens no view without an address to come back to, and without the public listener ours is none.
#[tokio::test]
async fn a_signer_whom_nothing_leads_back_is_refused_before_there_is_an_envelope_nobody_can_open() {
    let mut body = order();
    body["signers"][0].as_object_mut().unwrap().remove("return_url");
    let daemon = TestDaemon::start().await;
    for (key, view) in [("with", true), ("without", false)] {
        body["view"] = json!(view);
        let refused = daemon.create(key, &body).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{}", refused.text);
        assert_eq!(errors(&refused), [("/signers/0/return_url", "invalid_request")], "{}", refused.text);
        let dry = daemon.post("/v1/signings?dry_run=true", &body).await;
        assert_eq!(errors(&dry), [("/signers/0/return_url", "invalid_request")], "{}", dry.text);
    }
    // The upstream cuts what is longer, and the browser would come back to somewhere else.
    let long = format!("https://www.example.com/{}", "x".repeat(447));
    body["signers"][0]["return_url"] = json!(long);
    let refused = daemon.create("long", &body).await;
    assert_eq!(errors(&refused), [("/signers/0/return_url", "invalid_request")], "{}", refused.text);
    let requests = daemon.requests().await;
    assert!(!requests.iter().any(|line| line.ends_with("/envelopes")), "no envelope: {requests:?}");
    body["signers"][0]["return_url"] = json!(long[..470]);
    assert_eq!(daemon.create("longest", &body).await.status, StatusCode::CREATED);
    body["signers"][0]["return_url"] = json!(long);
    let daemon = TestDaemon::builder().public().start().await;
    assert_eq!(daemon.create("public-long", &body).await.status, StatusCode::CREATED, "it goes nowhere");
    body["signers"][0].as_object_mut().unwrap().remove("return_url");
    assert_eq!(daemon.create("public", &body).await.status, StatusCode::CREATED, "a page of ours ends it");
}

/// It names no sender who could be unknown.
#[tokio::test]
async fn a_create_that_is_no_object_is_refused_as_a_whole() {
    let daemon = TestDaemon::start().await;
    let headers = [("content-type", "application/json"), ("idempotency-key", "order-1")];
    for query in ["", "?dry_run=true"] {
        let url = format!("{}/v1/signings{query}", daemon.api);
        for body in ["[]", "null", "\"x\"", "5", "true", "[{\"sender\": \"system\"}]"] {
            let refused =
                daemon.call(Method::POST, &url, Some(CALLER_KEY), &headers, body.as_bytes().to_vec()).await;
            assert_eq!(
                (refused.status, errors(&refused)),
                (StatusCode::BAD_REQUEST, vec![("", "invalid_request")]),
                "{body}: {}",
                refused.text
            );
        }
    }
}

#[tokio::test]
async fn strange_members_of_small_bodies_and_queries_are_named() {
    let daemon = TestDaemon::builder().public().start().await;
    let made = daemon.create("order-1", &order()).await;
    let path = format!("/v1/signings/{}", made.id());
    let links = format!("{path}/signers/{}/links", made.signer());
    let endpoint =
        daemon.post("/v1/webhook_endpoints", &json!({"url": "https://hooks.example.com/in"})).await;
    let endpoint = format!("/v1/webhook_endpoints/{}", endpoint.body["id"].as_str().unwrap());
    let bodies: [Call<'_>; 7] = [
        (
            Method::POST,
            &format!("{path}/void"),
            json!({"raeson": "x"}),
            &[("/raeson", "unknown_field"), ("/reason", "invalid_request")],
        ),
        (Method::POST, &format!("{path}/void"), json!({"reason": 7}), &[("/reason", "invalid_request")]),
        (Method::POST, &links, json!({"expires": "2d"}), &[("/expires", "unknown_field")]),
        (Method::POST, &links, json!({"expires_in": 2}), &[("/expires_in", "invalid_request")]),
        (Method::POST, &format!("{path}/purge"), json!({"scop": "documents"}), &[("/scop", "unknown_field")]),
        (
            Method::POST,
            "/v1/webhook_endpoints",
            json!({"uri": "x", "events": 1}),
            &[("/events", "invalid_request"), ("/uri", "unknown_field"), ("/url", "invalid_request")],
        ),
        (
            Method::PATCH,
            &endpoint,
            json!({"disabled": "yes", "x": 1}),
            &[("/disabled", "invalid_request"), ("/x", "unknown_field")],
        ),
    ];
    let json_type = [("content-type", "application/json")];
    for (method, path, body, expected) in bodies {
        let url = format!("{}{path}", daemon.api);
        let refused =
            daemon.call(method, &url, Some(CALLER_KEY), &json_type, body.to_string().into_bytes()).await;
        assert_eq!(
            (refused.status, errors(&refused)),
            (StatusCode::BAD_REQUEST, expected.to_vec()),
            "{}",
            refused.text
        );
    }
    let queries: [(&str, Places<'_>); 7] = [
        (
            "/v1/signings?statos=open&limit=many",
            &[("/statos", "unknown_field"), ("/limit", "invalid_request")],
        ),
        ("/v1/signings?limit=1&limit=2", &[("/limit", "invalid_request")]),
        ("/v1/events?before=x", &[("/before", "unknown_field")]),
        ("/v1/deliveries?limit=-1", &[("/limit", "invalid_request")]),
        ("/v1/senders?page=2", &[("/page", "unknown_field")]),
        (
            &format!("{path}/wait?timeout=soon&x=1"),
            &[("/timeout", "invalid_request"), ("/x", "unknown_field")],
        ),
        // Over the limit is refused as a page that is too long is (rule S5), and not cut.
        (&format!("{path}/wait?timeout=61"), &[("/timeout", "invalid_request")]),
    ];
    for (path, expected) in queries {
        let refused = daemon.get(path).await;
        assert_eq!(
            (refused.status, errors(&refused)),
            (StatusCode::BAD_REQUEST, expected.to_vec()),
            "{}",
            refused.text
        );
    }
    assert_eq!(daemon.get(&path).await.body["status"], "open");
}

/// A daemon with something of each kind, and every call of ours that its document lists, about that.
async fn every_call() -> (TestDaemon, Vec<(Method, String)>) {
    let daemon = TestDaemon::builder().public().caller("sender_patterns = [\"system\"]\n").start().await;
    let sender = json!({"name": "acme", "like": "system", "user_id": daemon.emulator.ready().user_id});
    assert_eq!(daemon.post("/v1/senders", &sender).await.status, StatusCode::CREATED);
    let made = daemon.create("order-1", &order()).await;
    let links = format!("/v1/signings/{}/signers/{}/links", made.id(), made.signer());
    let link = daemon.post(&links, &json!({})).await;
    let endpoint =
        daemon.post("/v1/webhook_endpoints", &json!({"url": "https://hooks.example.com/in"})).await;
    let document = daemon.get("/openapi.json").await.body;
    let mut calls: Vec<(Method, String)> = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        // What is passed on is DocuSign's to read.
        if !path.starts_with("/v1/") || path.contains("/esign/") {
            continue;
        }
        let id = match path.split('/').nth(2) {
            Some("signings") => made.id(),
            Some("links") => link.id(),
            // There is none; its id looks as one does.
            Some("deliveries") => &endpoint.id().replace("whk_", "dlv_"),
            _ => endpoint.id(),
        };
        let names = [("{id}", id), ("{signer}", made.signer()), ("{part}", "combined"), ("{name}", "acme")];
        let path = names.into_iter().fold(path.clone(), |path, (name, value)| path.replace(name, value));
        assert!(!path.contains('{'), "{path}");
        let methods = item.as_object().unwrap().keys();
        calls.extend(methods.map(|method| (method.to_uppercase().parse().unwrap(), path.clone())));
    }
    (daemon, calls)
}

#[tokio::test]
async fn a_query_that_a_call_does_not_take_is_named_and_nothing_is_done() {
    let (daemon, calls) = every_call().await;
    daemon.forget_requests().await;
    let json_type = [("content-type", "application/json"), ("idempotency-key", "stray")];
    for (method, path) in calls {
        let url = format!("{}{path}?stray=1", daemon.api);
        let body = if method == Method::GET { Vec::new() } else { b"{\"reason\": \"a test\"}".to_vec() };
        let refused = daemon.call(method.clone(), &url, Some(CALLER_KEY), &json_type, body).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{method} {path}: {}", refused.text);
        assert_eq!(errors(&refused), [("/stray", "unknown_field")], "{method} {path}: {}", refused.text);
    }
    let made = daemon.get("/v1/signings").await.body["data"][0].clone();
    assert_eq!(made["status"], "open");
    let path = format!("/v1/signings/{}", made["id"].as_str().unwrap());
    let trial = daemon.post(&format!("{path}/void?dry_run=true"), &json!({"reason": "a test"})).await;
    assert_eq!(
        (trial.status, errors(&trial)),
        (StatusCode::BAD_REQUEST, vec![("/dry_run", "unknown_field")])
    );
    assert_eq!(daemon.get(&format!("{path}?")).await.body["status"], "open", "an empty query is none");
    let stranger = daemon.call(Method::GET, &format!("{}{path}?x", daemon.api), None, &[], Vec::new()).await;
    assert_eq!(stranger.code(), "unauthenticated", "before anything else is looked at");
    assert!(!daemon.requests().await.iter().any(|line| line.contains("/envelopes")), "nothing was sent");
}

#[tokio::test]
async fn a_body_that_is_not_said_to_be_json_is_refused_by_every_call_that_reads_one() {
    let (daemon, calls) = every_call().await;
    daemon.forget_requests().await;
    let mut tried = 0;
    for (method, path) in calls.iter().filter(|(method, _)| matches!(method.as_str(), "PATCH" | "POST")) {
        let url = format!("{}{path}", daemon.api);
        let (key, plain) = (("idempotency-key", "plain"), ("content-type", "text/plain"));
        let both: [&[(&str, &str)]; 2] = [&[key], &[key, plain]];
        for headers in both {
            let refused = daemon.call(method.clone(), &url, Some(CALLER_KEY), headers, b"{}".to_vec()).await;
            assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{method} {path}: {}", refused.text);
            says(&refused, "invalid_request", false, "Content-Type: application/json");
        }
        tried += 1;
    }
    assert!(tried > 12, "{calls:?}");
    assert_eq!(daemon.get("/v1/signings").await.body["data"][0]["status"], "open");
    assert!(!daemon.requests().await.iter().any(|line| line.contains("/envelopes")), "nothing was sent");
}

/// A client that sends nothing says no type of it, also where it cannot say the length before.
#[tokio::test]
async fn a_body_that_is_not_there_needs_no_content_type() {
    let (daemon, calls) = every_call().await;
    let path = |end: &str| calls.iter().find(|(_, path)| path.ends_with(end)).map(|(_, path)| path).unwrap();
    for (end, status) in [("/links", 201), ("/tickets", 201), ("/rotate", 200)] {
        let url = format!("{}{}", daemon.api, path(end));
        let answer = daemon.call(Method::POST, &url, Some(CALLER_KEY), &[], Vec::new()).await;
        assert_eq!(answer.status, status, "{end}: {}", answer.text);
    }
    let chunked = "Transfer-Encoding: chunked\r\n\r\n";
    let nothing = format!("{chunked}0\r\n");
    assert_eq!(daemon.raw("POST", path("/links"), Some(CALLER_KEY), &nothing).await, 201);
    let something = format!("{chunked}2\r\n{{}}\r\n0\r\n");
    assert_eq!(daemon.raw("POST", path("/links"), Some(CALLER_KEY), &something).await, 400);
}

#[tokio::test]
async fn a_field_that_is_missing_or_there_twice_is_named_and_a_path_that_is_no_text_names_nothing() {
    let daemon = TestDaemon::start().await;
    let mut nobodys = order();
    nobodys.as_object_mut().unwrap().remove("sender");
    let refused = daemon.create("no-sender", &nobodys).await;
    assert_eq!((refused.status, refused.code()), (StatusCode::BAD_REQUEST, "invalid_request"));
    assert_eq!(errors(&refused), [("/sender", "invalid_request")], "{}", refused.text);
    let json_type = [("content-type", "application/json")];
    let twice = br#"{"url": "https://a.example/", "url": "https://b.example/"}"#.to_vec();
    let url = format!("{}/v1/webhook_endpoints", daemon.api);
    let refused = daemon.call(Method::POST, &url, Some(CALLER_KEY), &json_type, twice).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    assert!(refused.text.contains("the field url is there twice"), "{}", refused.text);
    for path in ["/v1/signings/%ff", "/v1/signings/%ff/void", "/v1/senders/%ff", "/docs/errors/%ff"] {
        let method = if path.ends_with("void") { Method::POST } else { Method::GET };
        let url = format!("{}{path}", daemon.api);
        let refused = daemon.call(method, &url, Some(CALLER_KEY), &json_type, b"{}".to_vec()).await;
        assert_eq!(
            (refused.status, refused.code()),
            (StatusCode::NOT_FOUND, "not_found"),
            "{}",
            refused.text
        );
        assert_eq!(refused.headers["content-type"], "application/problem+json", "{path}");
    }
}

#[tokio::test]
async fn what_is_no_id_of_its_kind_is_the_id_of_nothing() {
    let daemon = TestDaemon::start().await;
    let made = daemon.create("order-1", &order()).await;
    let (signing, signer) = (made.id(), made.signer());
    for (method, path, body) in [
        (Method::GET, format!("/v1/signings/{signer}"), ""),
        (Method::GET, format!("/v1/signings/{signer}/wait"), ""),
        (Method::GET, format!("/v1/signings/{signer}/timeline"), ""),
        (Method::GET, format!("/v1/signings/{signer}/evidence"), ""),
        (Method::GET, format!("/v1/signings/{signer}/documents/combined"), ""),
        (Method::GET, format!("/v1/events?signing={signer}"), ""),
        (Method::POST, format!("/v1/signings/{signer}/void"), r#"{"reason": "ordered twice"}"#),
        (Method::POST, format!("/v1/signings/{signer}/refresh"), "{}"),
        (Method::POST, format!("/v1/signings/{signer}/purge"), "{}"),
        (Method::POST, format!("/v1/signings/{signer}/signers/{signer}/views"), "{}"),
        (Method::POST, format!("/v1/signings/{signing}/signers/{signing}/views"), "{}"),
        (Method::POST, format!("/v1/signings/{signing}/signers/{signing}/links"), "{}"),
        (Method::DELETE, format!("/v1/links/{signing}"), ""),
        (Method::POST, format!("/v1/links/{signing}/tickets"), "{}"),
        (Method::GET, format!("/v1/webhook_endpoints/{signing}"), ""),
        (Method::POST, format!("/v1/deliveries/{signing}/replay"), "{}"),
    ] {
        let url = format!("{}{path}", daemon.api);
        let headers = [("content-type", "application/json")];
        let refused = daemon.call(method, &url, Some(CALLER_KEY), &headers, body.into()).await;
        assert_eq!((refused.status.as_u16(), refused.code()), (404, "not_found"), "{path}: {}", refused.text);
    }
}

#[tokio::test]
async fn no_fix_speaks_of_a_list_that_is_not_there() {
    let daemon = TestDaemon::builder().public().start().await;
    let made = daemon.create("order-1", &order()).await;
    let url = format!("{}/v1/signings/{}/void", daemon.api, made.id());
    let plain = [("content-type", "text/plain")];
    let refused = daemon.call(Method::POST, &url, Some(CALLER_KEY), &plain, b"{}".to_vec()).await;
    says(&refused, "invalid_request", false, "Content-Type");
    let url = format!("{}/v1/events", daemon.api);
    let stream = [("accept", "text/event-stream"), ("last-event-id", "yesterday")];
    let of_stream = daemon.call(Method::GET, &url, Some(CALLER_KEY), &stream, Vec::new()).await;
    says(&of_stream, "invalid_request", false, "evt_");
    for refused in [refused, of_stream] {
        let has_none = refused.body["errors"].as_array().is_none_or(Vec::is_empty);
        assert!(has_none && !fix(&refused).contains("errors"), "{}", refused.text);
    }
}

#[tokio::test]
async fn a_refusal_of_docusigns_is_told_with_its_status_and_trace_and_a_repetition_too() {
    let daemon = TestDaemon::start().await;
    daemon.create("warm", &order()).await;
    daemon
        .fault(&json!({"fault": "status", "status": 400, "method": "POST", "path": "/envelopes", "count": 1}))
        .await;
    let first = daemon.create("refused", &order()).await;
    assert_eq!(first.code(), "provider_rejected", "{}", first.text);
    let provider = first.body["provider"].clone();
    assert_eq!(provider["http_status"], 400, "{}", first.text);
    assert!(provider["trace"].as_str().is_some_and(|trace| trace.len() > 10), "{}", first.text);
    let again = daemon.create("refused", &order()).await;
    assert_eq!(again.headers["idempotency-replayed"], "true");
    assert_eq!(again.body["provider"], provider, "the answer that is kept is the same");

    let mut unconsented = order();
    unconsented["sender"] = json!("unconsented");
    let refused = daemon.create("unconsented", &unconsented).await;
    assert_eq!(refused.code(), "consent_required", "{}", refused.text);
    let provider = &refused.body["provider"];
    assert_eq!((&provider["http_status"], &provider["code"]), (&json!(400), &json!("consent_required")));
    // Only the REST API gives its answers trace ids.
    assert!(provider["trace"].is_null(), "{}", refused.text);
}

#[tokio::test]
async fn what_is_forbidden_says_what_to_do_for_its_own_cause() {
    let daemon = TestDaemon::start().await;
    let proxied = [("x-forwarded-for", "192.0.2.1")];
    let url = format!("{}/v1/signings", daemon.api);
    let refused = daemon.call(Method::GET, &url, Some(CALLER_KEY), &proxied, Vec::new()).await;
    says(&refused, "forbidden", false, "allow_forwarded");
    let base = "/v1/senders/system/esign";
    let someone = "00000000-0000-4000-8000-000000000000";
    for (path, part) in [
        ("folders".to_owned(), "no setting"),
        (format!("users/{someone}/signatures"), "whose user"),
        (format!("restapi/v2.1/accounts/{someone}/templates"), "own account"),
    ] {
        says(&daemon.get(&format!("{base}/{path}")).await, "forbidden", false, part);
    }
}

#[tokio::test]
async fn a_new_key_is_asked_for_only_where_the_old_one_is_used_up() {
    let daemon = TestDaemon::start().await;
    let made = daemon.create("order-1", &order()).await;
    let view = format!("/v1/signings/{}/signers/{}/views", made.id(), made.signer());
    daemon.fault(&json!({"fault": "status", "status": 403, "path": "/views/recipient", "count": 1})).await;
    let refused = daemon.post(&view, &json!({})).await;
    says(&refused, "provider_rejected", false, "permission");
    assert!(!fix(&refused).contains("Idempotency-Key"), "{}", refused.text);
    daemon.fault(&json!({"fault": "status", "status": 403, "path": "/envelopes", "count": 1})).await;
    let refused = daemon.create("order-2", &order()).await;
    says(&refused, "provider_rejected", false, "permission");
    assert!(!fix(&refused).contains("Idempotency-Key"), "{}", refused.text);
    assert_eq!(daemon.create("order-2", &order()).await.status, StatusCode::CREATED, "the key is free");
}

/// The address of the user that the sender "system" acts as.
const OWN_ADDRESS: &str = "System@Countersign.example";

#[tokio::test]
async fn a_check_by_sms_that_docusign_would_leave_out_is_refused_before_anything_is_made() {
    let daemon = TestDaemon::start().await;
    daemon.create("warm", &order()).await;
    daemon.forget_requests().await;
    let mut body = order();
    body["signers"][0]["email"] = json!(OWN_ADDRESS);
    let dry = daemon.post("/v1/signings?dry_run=true", &body).await;
    let at_once = daemon.create("own", &body).await;
    let later = daemon.create_with("own-later", &body, &[("prefer", "respond-async")]).await;
    for refused in [&dry, &at_once, &later] {
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", refused.text);
        says(refused, "sms_auth_unavailable", false, "mailbox that no signer has");
        assert!(!refused.text.to_lowercase().contains("countersign.example"), "{}", refused.text);
    }
    let asked = daemon.requests().await;
    assert!(!asked.iter().any(|line| line.ends_with("/envelopes")), "{asked:?}");
    assert_eq!(daemon.envelopes().await, 1, "the first");
    // Neither key is spent, and who asks for no code is asked for none.
    for key in ["own", "own-later"] {
        body["signers"][0]["sms_auth"] = Value::Null;
        let made = daemon.create(key, &body).await;
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    }
}

#[tokio::test]
async fn an_account_that_asks_senders_for_the_code_too_takes_a_check_of_its_sender() {
    let daemon = TestDaemon::start().await;
    let mut body = order();
    body["signers"][0]["email"] = json!(OWN_ADDRESS);
    let dry = async || daemon.post("/v1/signings?dry_run=true", &body).await;
    let set = async |value: &str| {
        let settings = json!({"settings": {"senderMustAuthenticateSigning": value}});
        daemon.control(Method::POST, "features", &settings).await;
    };
    says(&dry().await, "sms_auth_unavailable", false, "senderMustAuthenticateSigning to true");
    set("true").await;
    daemon.clock.advance(std::time::Duration::from_secs(61));
    assert_eq!(dry().await.status, StatusCode::OK);
    daemon.forget_requests().await;
    let made = daemon.create("at-once", &body).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    let asked = daemon.requests().await;
    assert!(!asked.iter().any(|line| line.ends_with("/settings")), "it is remembered: {asked:?}");
    let later = daemon.queue("later", &body).await;
    daemon.settle(later.id(), "open").await;
    daemon.sign_all().await;
    let read = daemon.post(&format!("/v1/signings/{}/refresh", made.id()), &json!({})).await;
    assert_eq!(read.body["signers"][0]["sms_check"], "passed", "{}", read.text);

    // A check of the sender has the settings read anew.
    set("false").await;
    let checked = daemon.post("/v1/senders/system/check", &json!({})).await;
    assert_eq!(checked.body["ok"], true, "{}", checked.text);
    says(&dry().await, "sms_auth_unavailable", false, "mailbox that no signer has");

    // A setting that cannot be read now is no refusal for good.
    set("true").await;
    daemon.clock.advance(std::time::Duration::from_secs(61));
    daemon.fault(&json!({"fault": "status", "status": 503, "method": "GET", "path": "/settings"})).await;
    let unread = dry().await;
    assert_eq!(unread.code(), "provider_unavailable", "{}", unread.text);
    daemon.control(Method::DELETE, "faults", &Value::Null).await;
    assert_eq!(dry().await.status, StatusCode::OK);
}

/// Whether the address is still the sender's would have to be asked, and is found out when the create is sent: it waits
/// then until that is mended.
#[tokio::test]
async fn b4_an_account_server_that_stalls_holds_nobody_who_does_not_wait() {
    let daemon = TestDaemon::start().await;
    let mut body = order();
    body["signers"][0]["email"] = json!(OWN_ADDRESS);
    daemon.clock.advance(std::time::Duration::from_secs(61));
    daemon.forget_requests().await;
    daemon.fault(&json!({"fault": "stall", "path": "/oauth/userinfo", "count": 1})).await;
    let held = async {
        let is_asked = async || daemon.requests().await.iter().any(|line| line.ends_with("/oauth/userinfo"));
        daemon.until("the question", is_asked).await;
        // What is left of the grace is the store's.
        daemon.clock.advance(std::time::Duration::from_secs(1));
        // Less than the account server is given.
        tokio::time::sleep(std::time::Duration::from_secs(8)).await;
    };
    let queued = tokio::select! {
        queued = daemon.create_with("own", &body, &[("prefer", "respond-async")]) => queued,
        () = held => panic!("it waits for the account server"),
    };
    assert_eq!(queued.status, StatusCode::ACCEPTED, "{}", queued.text);

    let id = queued.id().parse().unwrap();
    let is_tried = async || {
        let last = daemon.record(id).await.signing.last_try;
        last.is_some_and(|why| why.code == "sms_auth_unavailable")
    };
    daemon.run_clock_slowly("a try", is_tried).await;
    let read = daemon.get(&format!("/v1/signings/{}", queued.id())).await;
    assert_eq!(read.body["status"], "creating", "{}", read.text);
    assert_eq!(daemon.envelopes().await, 0);
    let settings = json!({"settings": {"senderMustAuthenticateSigning": "true"}});
    daemon.control(Method::POST, "features", &settings).await;
    daemon.settle(queued.id(), "open").await;
    let again = daemon.create("own", &body).await;
    assert_eq!(again.id(), queued.id(), "{}", again.text);
}

/// The emulator leaves a check out for who has the sender's address, which a create with `sms_auth` is refused for: so this
/// is one without, which is made to look as if it had been asked for.
#[tokio::test]
async fn a_check_by_sms_that_docusign_left_out_is_told() {
    let daemon = TestDaemon::start().await;
    for (key, was_sent, told) in [("sent", true, "passed"), ("left-out", false, "missing")] {
        let mut body = order();
        if !was_sent {
            body["signers"][0]["sms_auth"] = Value::Null;
        }
        let made = daemon.create(key, &body).await;
        let id = made.id().parse().unwrap();
        daemon.rewrite(id, None, |signing| signing.signers[0].sms_auth = true).await;
        daemon.sign_all().await;
        let path = format!("/v1/signings/{}", made.id());
        let refresh = async || {
            let asked = daemon.post(&format!("{path}/refresh"), &json!({})).await;
            assert_eq!(asked.status, StatusCode::OK, "{}", asked.text);
            asked.body
        };
        assert!(daemon.get(&path).await.body["signers"][0]["sms_check"].is_null(), "nobody has asked");
        // The check that tells of the end tells of this, too.
        let read = refresh().await;
        assert_eq!((&read["status"], &read["signers"][0]["sms_check"]), (&json!("completed"), &json!(told)));

        // As if an event had told of the end, and left the results out: who wants to know asks once.
        daemon.rewrite(id, None, |signing| signing.signers[0].upstream.is_checked = None).await;
        daemon.clock.advance(std::time::Duration::from_secs(15 * 60 + 1));
        daemon.forget_requests().await;
        for _ in 0..2 {
            assert_eq!(refresh().await["signers"][0]["sms_check"], told);
        }
        let envelope = made.body["provider"]["envelope_id"].as_str().unwrap();
        let asked = daemon.requests().await;
        assert_eq!(asked.iter().filter(|line| line.ends_with(envelope)).count(), 1, "{asked:?}");
        let timeline = daemon.get(&format!("{path}/timeline")).await.text;
        assert_eq!(timeline.matches("check_missing").count(), usize::from(!was_sent), "{timeline}");
    }
}

#[tokio::test]
async fn a_create_for_which_docusign_finds_nothing_blames_the_sender_and_leaves_the_key_free() {
    let daemon = TestDaemon::start().await;
    daemon.create("warm", &order()).await;
    let nothing =
        json!({"fault": "status", "status": 404, "method": "POST", "path": "/envelopes", "count": 1});
    daemon.fault(&nothing).await;
    let refused = daemon.create("order-1", &order()).await;
    assert_eq!(refused.status, StatusCode::BAD_GATEWAY, "{}", refused.text);
    says(&refused, "wrong_base_uri", false, "countersign doctor");
    assert_eq!(refused.body["detail"], "The account does not exist at this host.", "{}", refused.text);
    assert_eq!(refused.body["provider"]["http_status"], 404, "{}", refused.text);
    let made = daemon.create("order-1", &order()).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
}

#[tokio::test]
async fn a_setting_of_the_account_that_forbids_every_signing_is_named_and_leaves_the_key_free() {
    let daemon = TestDaemon::start().await;
    let set = async |value: &str| {
        let settings = json!({"settings": {"signerMustLoginToSign": value}});
        daemon.control(Method::POST, "features", &settings).await;
    };
    set("true").await;
    let refused = daemon.create("order-1", &order()).await;
    says(&refused, "provider_rejected", false, "signerMustLoginToSign to false");
    assert_eq!(refused.body["provider"]["code"], "ACCOUNT_LACKS_PERMISSIONS", "{}", refused.text);
    set("false").await;
    let made = daemon.create("order-1", &order()).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
}
