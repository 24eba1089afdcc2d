//! The calls, one by one: what is sent, how many it takes, and what is made of the answer.

mod doubt;
mod facts;
mod limits;
mod tokens;

use std::{sync::atomic::Ordering, time::Duration};

use bytes::Bytes;
use futures_util::StreamExt as _;
use http::{HeaderMap, Method};
use serde_json::json;

use super::{
    testing::{
        ALSO_MADE, Draft, MADE, Reply, World, create, created, file, template, view, view_reply, workflows,
    },
    *,
};
use crate::{
    budget::{Operation, Outcome, Scope},
    domain::{EnvelopeId, Phone, Private, PurgeScope, TabKind},
};

#[tokio::test]
async fn a_file_is_written_into_the_definition_as_it_is() {
    let world = World::new().await;
    world.will(workflows()).will(created());
    let anchors = [(TabKind::Sign, "/sn1/"), (TabKind::Company, "/co1/"), (TabKind::Date, "/dt1/")];
    // The same anchor in two documents is one tab: the upstream looks in both.
    let draft = Draft::of(vec![file(&anchors), file(&anchors[..1])]).with_sms();
    let made = create(&world, &draft).await.unwrap();
    assert_eq!((made.envelope.as_str(), made.trace.as_deref()), (MADE, Some("trace-1")));
    let arrived = world.arrived();
    assert_eq!(arrived[0].line, "GET identity_verification");
    assert_eq!(arrived[1].line, "POST envelopes");
    assert_eq!(arrived[1].headers["content-length"], arrived[1].body.len().to_string().as_str());
    assert_eq!(arrived[1].headers["content-type"], "application/json");
    insta::assert_json_snapshot!("create_from_files", arrived[1].json());
}

#[tokio::test]
async fn a_template_becomes_composite_templates_with_files_beside_it() {
    let world = World::new().await;
    world.will(workflows()).will(created());
    let draft = Draft::of(vec![template(), file(&[(TabKind::Sign, "/sn1/")])]).with_sms();
    create(&world, &draft).await.unwrap();
    insta::assert_json_snapshot!("create_from_template_and_file", world.arrived()[1].json());
}

#[tokio::test]
async fn b1_a_warm_create_and_view_are_two_calls() {
    let world = World::new().await;
    world.will(workflows()).will(created());
    let draft = Draft::of(vec![file(&[])]).with_sms();
    create(&world, &draft).await.unwrap();
    world.arrived();
    world.will(created()).will(view_reply());
    create(&world, &draft).await.unwrap();
    view(&world, "https://sign.example.com/r/abc").await.unwrap();
    assert_eq!(world.arrived().len(), 2);
    assert_eq!((world.mints.load(Ordering::SeqCst), world.user_infos.load(Ordering::SeqCst)), (1, 1));
}

#[tokio::test]
async fn an_account_without_phones_is_named_and_asked_about_rarely() {
    let world = World::new().await;
    world.will(Reply::json(200, &json!({"identityVerification": []})));
    let draft = Draft::of(vec![file(&[])]).with_sms();
    for _ in 0..2 {
        let error = create(&world, &draft).await.unwrap_err();
        assert_eq!(
            (error.code(), error.doubt(), error.retryable()),
            ("sms_auth_unavailable", Doubt::No, false)
        );
    }
    assert_eq!(world.arrived().len(), 1);
}

#[tokio::test]
async fn a_view_carries_its_language_and_shows_its_url_to_nobody() {
    let world = World::new().await;
    world.will(view_reply());
    let view = view(&world, "https://sign.example.com/r/abc").await.unwrap();
    let url = "https://demo.docusign.net/Signing/MTRedeem/v1/1?slt=s3cret%2B&locale=fr_CA";
    assert_eq!(view.url.reveal(), url);
    assert!(!format!("{view:?}").contains("s3cret"));
    let arrived = world.arrived();
    assert_eq!(arrived[0].line, "POST envelopes/env-1/views/recipient");
    insta::assert_json_snapshot!("recipient_view", arrived[0].json());
}

#[tokio::test]
async fn a_view_that_no_browser_should_open_is_refused() {
    let world = World::new().await;
    for url in ["javascript:alert(1)", "http://demo.docusign.net/x", "/x", ""] {
        world.will(Reply::json(201, &json!({ "url": url })));
        assert!(matches!(view(&world, "https://a.example/").await, Err(Error::BadAnswer { .. })), "{url}");
    }
    let long = format!("https://a.example/{}", "x".repeat(470));
    assert!(matches!(view(&world, &long).await, Err(Error::Invalid(_))));
}

#[tokio::test]
async fn a_list_goes_on_until_its_end() {
    let world = World::new().await;
    let acting = world.acting().await;
    let page =
        |id: &str| json!({"totalSetSize": "2", "envelopes": [{"envelopeId": id, "status": "completed"}]});
    world.will(Reply::json(200, &page(MADE))).will(Reply::json(200, &page(ALSO_MADE)));
    let ids = [EnvelopeId::new("e1"), EnvelopeId::new("e2")];
    let first = world.client.list_changes(&acting, Since::Ids(&ids), 0, world.deadline()).await.unwrap();
    assert_eq!((first.next, first.seen[0].envelope.as_str()), (Some(1), MADE));
    let last = world.client.list_changes(&acting, Since::Ids(&ids), 1, world.deadline()).await.unwrap();
    assert_eq!(last.next, None);
    let line = "GET envelopes?envelope_ids=e1%2Ce2&include=recipients&count=100&start_position=1";
    assert_eq!(world.arrived()[1].line, line);
}

#[tokio::test]
async fn changes_are_sent_and_their_inner_errors_found() {
    let world = World::new().await;
    let (acting, envelope) = (world.acting().await, EnvelopeId::new("env-1"));
    world.will(Reply::json(200, &json!({"envelopeId": "env-1"})));
    let trace = world.client.void(&acting, &envelope, "wrong price", world.deadline()).await.unwrap();
    assert_eq!(trace.as_deref(), Some("trace-1"));
    assert_eq!(world.arrived()[0].json(), json!({"status": "voided", "voidedReason": "wrong price"}));
    world.will(Reply::error(400, "ENVELOPE_CANNOT_VOID_INVALID_STATE"));
    let error = world.client.void(&acting, &envelope, "x", world.deadline()).await.unwrap_err();
    assert_eq!(error.code(), "signing_closed");
    world.will(Reply::json(200, &json!({})));
    world.client.purge(&acting, &envelope, PurgeScope::Documents, world.deadline()).await.unwrap();
    assert_eq!(world.arrived()[1].json(), json!({"purgeState": "documents_queued"}));
    let result = |code| json!({"recipientUpdateResults": [{"recipientId": "77", "errorDetails": {"errorCode": code}}]});
    world
        .will(workflows())
        .will(Reply::json(200, &result("SUCCESS")))
        .will(Reply::json(200, &result("RECIPIENT_UPDATE_FAILED")));
    let phone = Phone::parse("+447700900123").unwrap();
    let correct = async |check: NewCheck| {
        world.client.correct(&acting, &envelope, "77", &check, world.deadline()).await
    };
    correct(NewCheck::Phone(phone.clone())).await.unwrap();
    let error = correct(NewCheck::Phone(phone.clone())).await.unwrap_err();
    assert_eq!(error.rejection(), Some(RejectionKind::EnvelopeClosed));
    insta::assert_json_snapshot!("correct_phone", world.arrived()[1].json());
    // A code that is known tells what it is about, and a workflow that is not valid is looked up anew.
    world
        .will(Reply::json(200, &result("identity_workflow_invalid_id")))
        .will(workflows())
        .will(Reply::json(200, &result("INVALID_PHONE_NUMBER")));
    for (code, kind) in [
        ("sms_auth_unavailable", RejectionKind::SmsUnavailable),
        ("phone_invalid", RejectionKind::PhoneInvalid),
    ] {
        let error = correct(NewCheck::Phone(phone.clone())).await.unwrap_err();
        assert_eq!((error.code(), error.rejection()), (code, Some(kind)), "{error}");
    }
    let lines: Vec<_> = world.arrived().into_iter().map(|one| one.line).collect();
    let correction = "PUT envelopes/env-1/recipients?resend_envelope=true";
    assert_eq!(lines, [correction, "GET identity_verification", correction]);
    // Either form is success: the vendor's API 2.1 tells of refusals alone.
    let changed = json!({"recipientUpdateResults": [{"recipientId": "77", "recipientIdGuid": "g-77"}]});
    world.will(Reply::json(200, &changed));
    correct(NewCheck::AccessCode(Private::new("Turing-1936".to_owned()))).await.unwrap();
    let sent = world.arrived().last().unwrap().json();
    assert_eq!(sent, json!({"signers": [{"recipientId": "77", "accessCode": "Turing-1936"}]}));
}

#[tokio::test]
async fn a_document_is_streamed() {
    let world = World::new().await;
    let (acting, envelope) = (world.acting().await, EnvelopeId::new("env-1"));
    world.will(Reply::Text(200, vec![("content-type", "application/pdf".to_owned())], "%PDF-1.4".to_owned()));
    let mut download =
        world.client.document(&acting, &envelope, DocumentRef::Combined, world.deadline()).await.unwrap();
    assert_eq!(
        (download.length, download.body.next().await.unwrap().unwrap().as_ref()),
        (Some(8), &b"%PDF-1.4"[..])
    );
    world.will(Reply::error(400, "API_REQUEST_IS_THROTTLED"));
    let error = world
        .client
        .document(&acting, &envelope, DocumentRef::Number(1), world.deadline())
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Limited { scope: Scope::Document, .. }), "{error}");
    assert_eq!(world.arrived()[1].line, "GET envelopes/env-1/documents/1");
    // The account itself is not limited by that.
    world.will(view_reply());
    view(&world, "https://a.example/").await.unwrap();
}

#[tokio::test]
async fn a_templates_roles_are_read_once() {
    let world = World::new().await;
    let acting = world.acting().await;
    world.will(Reply::json(
        200,
        &json!({"templateId": "t", "name": "NDA", "emailSubject": "Sign the NDA",
            "recipients": {"signers": [{"roleName": "Client", "recipientId": "1", "routingOrder": "2"}]}}),
    ));
    for _ in 0..2 {
        let template = world.client.template(&acting, "t", world.deadline()).await.unwrap();
        assert_eq!(template.roles[0].name, "Client");
    }
    world.will(Reply::error(404, "RESOURCE_NOT_FOUND"));
    let error = world.client.template(&acting, "u", world.deadline()).await.unwrap_err();
    assert_eq!(error.rejection(), Some(RejectionKind::TemplateUnknown));
}

#[tokio::test]
async fn a_passed_call_comes_back_as_the_upstream_words_it() {
    let world = World::new().await;
    let acting = world.acting().await;
    world.clock.advance(Duration::from_secs(1_500));
    let mut headers = HeaderMap::new();
    headers.insert("authorization", "Bearer cs_callers-key".parse().unwrap());
    headers.insert("cookie", "a=b".parse().unwrap());
    headers.insert("content-type", "application/json; charset=utf-8".parse().unwrap());
    let request = || ForwardRequest {
        method: Method::POST,
        path: "envelopes",
        query: Some("merge_roles_on_draft=true"),
        headers: &headers,
        body: ForwardBody::Whole(vec![Bytes::from_static(b"{\"a\":"), Bytes::from_static(b"1}")]),
    };
    world.will(Reply::error(401, "AUTHORIZATION_INVALID_TOKEN"));
    world.will(
        Reply::error(400, "ENVELOPE_IS_INCOMPLETE")
            .with("set-cookie", &"x=y")
            .with("x-ratelimit-limit", &"3000"),
    );
    let answer = world.client.forward(&acting, request(), world.deadline()).await.unwrap();
    assert_eq!(answer.status, 400);
    assert!(answer.headers.contains_key("x-ratelimit-limit") && !answer.headers.contains_key("set-cookie"));
    let body: Vec<Bytes> = answer.body.map(Result::unwrap).collect().await;
    assert!(String::from_utf8(body.concat()).unwrap().contains("ENVELOPE_IS_INCOMPLETE"));
    let arrived = world.arrived();
    assert_eq!(arrived[1].line, "POST envelopes?merge_roles_on_draft=true");
    assert_eq!((arrived[1].bearer(), &arrived[1].body[..]), ("Bearer token-2", &b"{\"a\":1}"[..]));
    assert!(!arrived[1].headers.contains_key("cookie"));
    assert_eq!(world.ended.count(Operation::Forward, Outcome::Rejected), 1);
    let outside = ForwardRequest { path: "../2/envelopes", ..request() };
    assert!(matches!(world.client.forward(&acting, outside, world.deadline()).await, Err(Error::Invalid(_))));
    world.will(Reply::error(429, "HOURLY_APIINVOCATION_LIMIT_EXCEEDED"));
    assert!(matches!(
        world.client.forward(&acting, request(), world.deadline()).await,
        Err(Error::Limited { .. })
    ));
}

#[tokio::test]
async fn h1_a_host_that_answered_a_call_is_not_called_silent_for_one_before() {
    let world = World::new().await;
    world.acting().await;
    world.will(Reply::json(200, &json!({"service": "DocuSign"})));
    world.client.keep_warm().await;
    assert!(!world.client.is_upstream_silent());
    let draft = Draft::of(vec![file(&[])]);
    world.will(Reply::HangUp);
    create(&world, &draft).await.unwrap_err();
    assert!(world.client.is_upstream_silent());
    world.will(created());
    create(&world, &draft).await.unwrap();
    assert!(!world.client.is_upstream_silent(), "nobody has to ask it again for that");
}
