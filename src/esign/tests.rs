use std::{collections::BTreeMap, sync::atomic::Ordering, time::Duration};

use bytes::Bytes;
use futures_util::StreamExt as _;
use http::{HeaderMap, Method};
use jiff::Timestamp;
use serde_json::json;

use super::{
    testing::{ACCOUNT, Reply, World},
    *,
};
use crate::{
    budget::{Deadline, Now, Operation, Outcome, Priority, Scope},
    clock::Clock as _,
    domain::{
        Anchors, Document, Email, EnvelopeFact, EnvelopeId, Fact, Phone, Private, PurgeScope, SenderName,
        Signer, SignerFact, SignerId, SignerStatus, TabKind, TransactionId,
        document::{Anchor, Content},
        fact::Person,
    },
};

const BASE64: &[u8] = b"JVBERi0xLjQK";

fn file(anchors: &[(TabKind, &str)]) -> Document {
    let anchors = anchors.iter().map(|(kind, text)| (*kind, Anchor::Everyone((*text).to_owned())));
    Document::File {
        name: "Contract \"A\".pdf".to_owned(),
        content: Content::new(Bytes::from_static(BASE64)),
        anchors: Anchors(anchors.collect()),
    }
}

fn template() -> Document {
    Document::Template { alias: "nda".to_owned(), id: "11111111-2222-3333-4444-555555555555".to_owned() }
}

struct Draft {
    documents: Vec<Document>,
    name: Private<String>,
    fields: BTreeMap<String, String>,
    phone: Option<Phone>,
}

impl Draft {
    fn of(documents: Vec<Document>) -> Self {
        let fields = BTreeMap::from([("company".to_owned(), "Analytical Ltd".to_owned())]);
        Self { documents, name: Private::new("Ada Lovelace".to_owned()), fields, phone: None }
    }

    fn with_sms(mut self) -> Self {
        self.phone = Some(Phone::parse("+4915112345678").unwrap());
        self
    }

    fn envelope(&self) -> NewEnvelope<'_> {
        let signer = EnvelopeSigner {
            key: "visitor",
            recipient_id: "1",
            client_user_id: "opaque-1",
            name: &self.name,
            email: "ada@example.com",
            order: 1,
            role: self.documents.iter().any(|d| matches!(d, Document::Template { .. })).then_some("Client"),
            fields: &self.fields,
            sms: self.phone.as_ref().map(|phone| SmsCheck { phone, workflow: "wf-1" }),
            access_code: Some("4711"),
        };
        NewEnvelope {
            subject: Some("Please sign"),
            message: None,
            documents: &self.documents,
            signers: vec![signer],
            transaction_id: TransactionId::from_uuid(uuid::Uuid::from_u128(7)),
            signing_id: "sig_1",
            expires_after_days: Some(21),
            events: Some("https://sign.example.com/in/docusign/1".into()),
            locale: Some("de-AT"),
        }
    }
}

fn created() -> Reply {
    Reply::json(201, &json!({"envelopeId": "env-1", "status": "sent", "uri": "/envelopes/env-1"}))
}

fn workflows() -> Reply {
    let input = json!([{"valueType": "PhoneNumberList", "optionName": "phone_number_list"}]);
    Reply::json(
        200,
        &json!({"identityVerification": [{"workflowId": "wf-1", "defaultName": "Phone Authentication", "inputOptions": input}]}),
    )
}

async fn create(world: &World, draft: &Draft) -> Result<Created, Error> {
    let acting = world.acting().await;
    if draft.phone.is_some() {
        let workflow = world.client.sms_workflow(&acting, world.deadline()).await?;
        assert_eq!(&*workflow, "wf-1");
    }
    world.client.create_envelope(&acting, &draft.envelope(), world.deadline()).await
}

#[tokio::test]
async fn a_file_is_written_into_the_definition_as_it_is() {
    let world = World::new().await;
    world.will(workflows()).will(created());
    let anchors = [(TabKind::Sign, "/sn1/"), (TabKind::Company, "/co1/"), (TabKind::Date, "/dt1/")];
    // The same anchor in two documents is one tab: the upstream looks in both.
    let draft = Draft::of(vec![file(&anchors), file(&anchors[..1])]).with_sms();
    let made = create(&world, &draft).await.unwrap();
    assert_eq!((made.envelope.as_str(), made.trace.as_deref()), ("env-1", Some("trace-1")));
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

fn view_reply() -> Reply {
    Reply::json(201, &json!({"url": "https://demo.docusign.net/Signing/MTRedeem/v1/1?slt=s3cret%2B"}))
}

async fn view(world: &World, return_url: &str) -> Result<View, Error> {
    let name = Private::new("Ada Lovelace".to_owned());
    let request = ViewRequest {
        name: &name,
        email: "ada@example.com",
        client_user_id: "opaque-1",
        recipient_id: Some("1"),
        return_url,
        ping: None,
        authentication_method: Some("Password"),
        authentication_instant: Some(Timestamp::from_second(1_700_000_000).unwrap()),
        assertion_id: Some("login-77f1"),
        frame_ancestors: &["https://www.example.com".to_owned()],
        locale: Some("fr-CA"),
    };
    let envelope = EnvelopeId::new("env-1");
    world.client.recipient_view(&*world.acting().await, &envelope, &request, world.deadline()).await
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
async fn t7_a_401_is_answered_by_one_mint_and_one_replay() {
    let world = World::new().await;
    world.will(view_reply());
    view(&world, "https://a.example/").await.unwrap();
    world.arrived();
    // A token that dies in its first minutes would be replaced with more hesitation.
    let half_an_hour = Duration::from_secs(1_500);
    world.clock.advance(half_an_hour);
    world.will(Reply::error(401, "AUTHORIZATION_INVALID_TOKEN")).will(created());
    create(&world, &Draft::of(vec![file(&[])])).await.unwrap();
    let arrived = world.arrived();
    assert_eq!((arrived[0].bearer(), arrived[1].bearer()), ("Bearer token-1", "Bearer token-2"));
    assert_eq!(arrived[0].body, arrived[1].body);
    // Refused again: no loop.
    world.clock.advance(half_an_hour);
    world.will(Reply::error(401, "AUTHORIZATION_INVALID_TOKEN"));
    world.will(Reply::error(401, "AUTHORIZATION_INVALID_TOKEN"));
    let error = view(&world, "https://a.example/").await.unwrap_err();
    assert_eq!((error.code(), error.doubt()), ("provider_unavailable", Doubt::No));
    assert_eq!((world.arrived().len(), world.mints.load(Ordering::SeqCst)), (2, 3));
}

/// Waits for something; time goes on only while there is no token.
async fn meanwhile<T>(world: &World, work: impl Future<Output = T>) -> T {
    let time = async {
        for _ in 0..5_000 {
            if world.client.auth.ready("system").is_none() {
                world.clock.advance(Duration::from_millis(100));
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::select! {
        done = work => done,
        () = time => panic!("it never ended"),
    }
}

#[tokio::test]
async fn t7_a_token_that_was_refused_is_never_sent_again_and_a_lasting_401_has_a_time() {
    let world = World::new().await;
    let acting = world.acting().await;
    let refused = || Reply::error(401, "AUTHORIZATION_INVALID_TOKEN");
    let bearers = || world.arrived().iter().map(|one| one.bearer().to_owned()).collect::<Vec<_>>();
    let draft = Draft::of(vec![file(&[])]);
    // Two early deaths, one soon after the other.
    for [dead, fresh] in [["Bearer token-1", "Bearer token-2"], ["Bearer token-2", "Bearer token-3"]] {
        world.will(refused()).will(created());
        meanwhile(&world, create(&world, &draft)).await.unwrap();
        assert_eq!(bearers(), [dead, fresh]);
    }
    // And then every token is refused.
    world.will(refused()).will(refused());
    let error = meanwhile(&world, create(&world, &draft)).await.unwrap_err();
    assert_eq!(bearers(), ["Bearer token-3", "Bearer token-4"]);
    assert_eq!((error.code(), error.doubt(), error.retryable()), ("provider_unavailable", Doubt::No, true));
    let wait = error.retry_after(world.clock.now()).expect("it says for how long");
    assert!((Duration::from_secs(1)..=Duration::from_secs(4)).contains(&wait), "{wait:?}");
    // Who has less time is told so without a call; who has more gets the token that comes then.
    let hurried = Deadline::within(&world.clock, Duration::from_millis(500));
    let error = world.client.create_envelope(&acting, &draft.envelope(), hurried).await.unwrap_err();
    assert!(matches!(&error, Error::Auth(cause) if cause.cause() == "token_refused"), "{error:?}");
    assert!(error.retry_after(world.clock.now()).is_some());
    assert_eq!((bearers().len(), world.mints.load(Ordering::SeqCst)), (0, 4));
    world.will(created());
    meanwhile(&world, create(&world, &draft)).await.unwrap();
    assert_eq!(bearers(), ["Bearer token-5"]);
}

#[tokio::test]
async fn t7_nothing_but_a_401_refreshes() {
    let world = World::new().await;
    for reply in [
        Reply::error(403, "USER_LACKS_PERMISSIONS"),
        Reply::error(400, "USER_AUTHENTICATION_FAILED"),
        Reply::error(401, "PARTNER_AUTHENTICATION_FAILED"),
        Reply::error(500, "UNSPECIFIED_ERROR"),
        Reply::error(429, "BURST_APIINVOCATION_LIMIT_EXCEEDED"),
    ] {
        world.will(reply);
        assert!(create(&world, &Draft::of(vec![file(&[])])).await.is_err());
        assert_eq!((world.arrived().len(), world.mints.load(Ordering::SeqCst)), (1, 1));
    }
}

#[tokio::test]
async fn a_wrong_pairing_is_looked_up_anew() {
    let world = World::new().await;
    world.will(Reply::error(400, "INVALID_USERID")).will(created());
    let before = world.acting().await;
    let error = create(&world, &Draft::of(vec![file(&[])])).await.unwrap_err();
    assert_eq!(error.code(), "wrong_base_uri");
    create(&world, &Draft::of(vec![file(&[])])).await.unwrap();
    let after = world.acting().await;
    assert!(!std::sync::Arc::ptr_eq(&before, &after));
    assert_eq!((after.account.as_str(), &*before), (ACCOUNT, &*after));
}

#[tokio::test]
async fn an_unknown_sender_has_a_name_for_it() {
    let world = World::new().await;
    let error = world.client.acting(&SenderName::new("nobody")).await.unwrap_err();
    assert_eq!((error.code(), error.retryable()), ("sender_unknown", false));
}

#[tokio::test]
async fn b2_a_burst_is_waited_for_without_a_place() {
    let world = World::new().await;
    let acting = world.acting().await;
    let now = || Now::read(&world.clock);
    let spend =
        || world.client.budget().admit(&acting.account, Operation::CreateView, Priority::Signer, now());
    while spend().is_ok() {}
    // What is left of it is less than a call's time.
    world.clock.advance(Duration::from_secs(10));
    world.will(view_reply());
    let places = world.client.slots.available_permits();
    let mut waiting = Box::pin(view(&world, "https://a.example/"));
    assert!(futures_util::poll!(&mut waiting).is_pending(), "until the burst is over");
    assert!(world.arrived().is_empty());
    assert_eq!(world.client.slots.available_permits(), places, "nobody else waits for this account");
    world.clock.advance(Duration::from_secs(21));
    waiting.await.unwrap();
    assert_eq!(world.arrived().len(), 1);
}

#[tokio::test]
async fn b2_after_a_limit_answer_nothing_is_sent_until_it_is_over() {
    let world = World::new().await;
    let reset = world.clock.now().as_second() + 7;
    for status in [400, 429] {
        let limit = Reply::error(status, "HOURLY_APIINVOCATION_LIMIT_EXCEEDED");
        // The test's server has a clock of its own; without its `Date` ours would be taken.
        let date = std::time::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        world.will(limit.with("x-ratelimit-reset", &reset).with("date", &httpdate::fmt_http_date(date)));
        let error = create(&world, &Draft::of(vec![file(&[])])).await.unwrap_err();
        let now = world.clock.now();
        assert_eq!((error.code(), error.doubt()), ("provider_rate_limited", Doubt::No));
        assert_eq!(error.provider().unwrap().status, status);
        let wait = error.retry_after(now).unwrap();
        assert_eq!(wait, Duration::from_secs(7));
        assert_eq!(world.arrived().len(), 1);
        let error = view(&world, "https://a.example/").await.unwrap_err();
        assert!(matches!(error, Error::Limited { scope: Scope::Hour, provider: None, .. }), "{error}");
        assert!(world.arrived().is_empty());
        world.clock.advance(wait);
        world.will(view_reply());
        view(&world, "https://a.example/").await.unwrap();
        world.arrived();
        world.clock.step(jiff::SignedDuration::from_secs(-7));
    }
}

#[tokio::test]
async fn e2_what_is_in_doubt_and_what_is_not() {
    let world = World::new().await;
    let html = "<html><body>Service Unavailable, ada@example.com</body></html>".to_owned();
    let cut = || Reply::Text(201, vec![], "{\"envelopeId\": \"env".to_owned());
    for (reply, code, doubt) in [
        (Reply::HangUp, "provider_unavailable", Doubt::Yes),
        (Reply::Text(503, vec![], html.clone()), "provider_unavailable", Doubt::Yes),
        (Reply::Text(503, vec![], String::new()), "provider_unavailable", Doubt::Yes),
        (Reply::Text(200, vec![], html.clone()), "provider_unavailable", Doubt::Yes),
        (Reply::Text(201, vec![], String::new()), "provider_unavailable", Doubt::Yes),
        (cut(), "provider_unavailable", Doubt::Yes),
        (Reply::json(201, &json!({"status": "Processing"})), "provider_unavailable", Doubt::Yes),
        (Reply::Text(400, vec![], html), "provider_unavailable", Doubt::Yes),
        (Reply::error(400, "ANCHOR_TAB_STRING_NOT_FOUND"), "anchor_not_found", Doubt::No),
        (Reply::error(400, "TEMPLATE_ID_INVALID"), "provider_rejected", Doubt::No),
        (Reply::Text(400, vec![], String::new()), "provider_rejected", Doubt::No),
    ] {
        let shown = format!("{reply:?}");
        world.will(reply);
        let error = create(&world, &Draft::of(vec![file(&[])])).await.unwrap_err();
        assert_eq!((error.code(), error.doubt()), (code, doubt), "{shown}");
        // Creates are never sent twice.
        assert_eq!(world.arrived().len(), 1, "{shown}");
        let mut words = format!("{error} {error:?}");
        words.push_str(error.fix());
        assert!(!words.contains("ada@"), "{words}");
    }
}

#[tokio::test]
async fn e2_a_stalled_create_is_in_doubt_and_an_unreachable_host_is_not() {
    let world = World::new().await;
    world.will(Reply::Stall);
    let soon = Deadline::within(&world.clock, Duration::from_millis(150));
    let draft = Draft::of(vec![file(&[])]);
    let acting = world.acting().await;
    let error = world.client.create_envelope(&acting, &draft.envelope(), soon).await.unwrap_err();
    assert!(matches!(error, Error::Unknown(_)), "{error}");
    let nowhere = Acting::new(
        acting.sender.clone(),
        uuid::Uuid::from_u128(1),
        acting.user_id,
        &"http://127.0.0.1:1".parse().unwrap(),
    );
    let error =
        world.client.create_envelope(&nowhere, &draft.envelope(), world.deadline()).await.unwrap_err();
    assert!(matches!(error, Error::NotSent(_)), "{error}");
    assert_eq!(world.client.budget().count(Operation::CreateEnvelope, Outcome::NotSent), 1);
    assert_eq!(world.client.budget().remaining(&nowhere.account).hour, 3_000);
}

#[tokio::test]
async fn b4_what_cannot_end_in_time_is_not_begun() {
    let world = World::new().await;
    let acting = world.acting().await;
    let over = Deadline::within(&world.clock, Duration::from_millis(5));
    let draft = Draft::of(vec![file(&[])]);
    let error = world.client.create_envelope(&acting, &draft.envelope(), over).await.unwrap_err();
    assert!(matches!(error, Error::Deadline), "{error}");
    assert!(world.arrived().is_empty());
    assert_eq!(world.client.budget().remaining(&acting.account).hour, 3_000);
}

fn envelope_reply(status: &str, recipient: &str) -> Reply {
    // The template has put its own recipient id in the place of ours.
    Reply::json(
        200,
        &json!({"envelopeId": "env-1", "status": status, "transactionId": "t", "purgeState": "unpurged",
            "recipients": {"signers": [{"recipientId": "77", "recipientIdGuid": "g", "clientUserId": "opaque-1",
                "name": "Ada L.", "email": "ada@example.com", "status": recipient, "routingOrder": 1}],
                "recipientCount": "1"}}),
    )
}

#[tokio::test]
async fn b3_a_second_check_within_15_minutes_is_not_sent() {
    let world = World::new().await;
    let (acting, envelope) = (world.acting().await, EnvelopeId::new("env-1"));
    world.will(envelope_reply("delivered", "completed"));
    let seen = world.client.envelope(&acting, &envelope, world.deadline()).await.unwrap();
    assert_eq!(seen.facts, [EnvelopeFact::Delivered]);
    let ada = seen.recipient("opaque-1").unwrap();
    assert_eq!(
        (ada.recipient_id.as_str(), ada.name.reveal().as_str(), ada.fact),
        ("77", "Ada L.", Some(SignerFact::Signed))
    );
    assert_eq!(world.arrived()[0].line, "GET envelopes/env-1?include=recipients");
    let error = world.client.envelope(&acting, &envelope, world.deadline()).await.unwrap_err();
    assert_eq!(error.code(), "polling_budget");
    assert_eq!(error.retry_after(world.clock.now()), Some(Duration::from_secs(900)));
    // Passing it through is no way around.
    let headers = HeaderMap::new();
    let request = ForwardRequest {
        method: Method::GET,
        path: "envelopes/env-1",
        query: None,
        headers: &headers,
        body: ForwardBody::Whole(vec![]),
    };
    let error = world.client.forward(&acting, request, world.deadline()).await.unwrap_err();
    assert_eq!(error.code(), "polling_budget");
    assert!(world.arrived().is_empty());
    world.clock.advance(Duration::from_secs(900));
    world.will(Reply::error(503, "X"));
    assert!(world.client.envelope(&acting, &envelope, world.deadline()).await.is_err());
}

#[tokio::test]
async fn facts_carry_the_recipient_ids_that_we_gave() {
    let world = World::new().await;
    let (acting, envelope) = (world.acting().await, EnvelopeId::new("env-1"));
    world.will(envelope_reply("completed", "completed"));
    let seen = world.client.envelope(&acting, &envelope, world.deadline()).await.unwrap();
    let signer = |recipient_id: &str, client_user_id: &str| Signer {
        id: SignerId::generate(world.clock.now()),
        key: "visitor".to_owned(),
        status: SignerStatus::Ready,
        order: 1,
        name: Private::new("Ada Lovelace".to_owned()),
        email: Email::trusted("ada@example.com".to_owned()),
        recipient_id: recipient_id.to_owned(),
        client_user_id: client_user_id.to_owned(),
        role: None,
        return_url: None,
        authenticated_by: None,
        sms_auth: false,
        last_return: None,
        upstream: crate::domain::Upstream::default(),
    };
    // The second has the id that the template gave to the first, and is someone else.
    let facts = seen.facts(&[signer("1", "opaque-1"), signer("77", "opaque-2")]);
    let recipient_id = || "1".to_owned();
    let ada = Fact::Signer { recipient_id: recipient_id(), fact: SignerFact::Signed, at: None };
    let person = Person {
        recipient_id: Some("77".to_owned()),
        name: Private::new("Ada L.".to_owned()),
        email: Private::new("ada@example.com".to_owned()),
        at: None,
    };
    let renamed = Fact::Person { recipient_id: recipient_id(), person };
    assert_eq!(facts, [ada.clone(), renamed, Fact::Envelope(EnvelopeFact::Completed)]);
    // Without a client user id the number tells, but not of those who fill a role: it is the template's.
    let mut remote = seen;
    remote.recipients[0].client_user_id = None;
    remote.recipients[0].recipient_id = "1".to_owned();
    assert_eq!(remote.facts(&[signer("1", "opaque-1")]), [ada, Fact::Envelope(EnvelopeFact::Completed)]);
    let in_role = Signer { role: Some("Manager".to_owned()), ..signer("1", "opaque-1") };
    assert_eq!(remote.facts(&[in_role]), [Fact::Envelope(EnvelopeFact::Completed)], "rule F1");
}

#[tokio::test]
async fn f1_statuses_become_facts() {
    let world = World::new().await;
    let acting = world.acting().await;
    for (index, (status, extra, expected)) in [
        ("sent", json!({}), vec![EnvelopeFact::Sent]),
        ("Completed", json!({}), vec![EnvelopeFact::Completed]),
        ("declined", json!({}), vec![EnvelopeFact::Declined]),
        ("voided", json!({"voidedReason": "mistake"}), vec![EnvelopeFact::Voided]),
        ("voided", json!({"voidedReason": "Envelope has expired."}), vec![EnvelopeFact::Expired]),
        (
            "voided",
            json!({"expireDateTime": "2026-01-02T00:00:00.0000000Z", "voidedDateTime": "2026-01-02T00:05:00.0000000Z"}),
            vec![EnvelopeFact::Expired],
        ),
        (
            "completed",
            json!({"purgeState": "documents_and_metadata_purged"}),
            vec![EnvelopeFact::Completed, EnvelopeFact::Purged],
        ),
        (
            "completed",
            json!({"purgeState": "Documents_And_Metadata_And_Redact_Purged"}),
            vec![EnvelopeFact::Completed, EnvelopeFact::Purged],
        ),
        ("completed", json!({"purgeState": "documents_queued"}), vec![EnvelopeFact::Completed]),
        ("completed", json!({"purgeState": "documents_dequeued"}), vec![EnvelopeFact::Completed]),
        ("completed", json!({"purgeState": "Unpurged"}), vec![EnvelopeFact::Completed]),
        ("processing", json!({}), vec![]),
    ]
    .into_iter()
    .enumerate()
    {
        let mut body = json!({"envelopeId": "e", "status": status});
        body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        world.will(Reply::json(200, &body));
        let envelope = EnvelopeId::new(format!("e{index}"));
        let seen = world.client.envelope(&acting, &envelope, world.deadline()).await.unwrap();
        assert_eq!(seen.facts, expected, "{status}");
    }
}

#[tokio::test]
async fn e2_look_ups_take_only_what_is_ours() {
    let world = World::new().await;
    let acting = world.acting().await;
    let (ours, other) = (TransactionId::generate(), TransactionId::generate());
    world.will(Reply::json(
        200,
        &json!({"resultSetSize": "2", "envelopes": [{"envelopeId": "e1", "status": "sent", "transactionId": ours.to_string()},
            {"envelopeId": "e2", "status": "sent", "transactionId": TransactionId::generate().to_string()}],
            "envelopeTransactionStatuses": [{"envelopeId": "e1", "status": "sent", "transactionId": ours.to_string()}]}),
    ));
    let found = world.client.find(&acting, &[ours, other], world.deadline()).await.unwrap();
    assert_eq!(found.iter().map(|found| found.envelope.as_str()).collect::<Vec<_>>(), ["e1"]);
    assert_eq!(world.arrived()[0].line, format!("GET envelopes?transaction_ids={ours}%2C{other}"));
    let field = |value| json!({"textCustomFields": [{"name": "countersign_id", "value": value}]});
    world.will(Reply::json(
        200,
        &json!({"envelopes": [{"envelopeId": "e1", "status": "sent", "customFields": field("sig_2")},
            {"envelopeId": "e2", "status": "sent"}, {"envelopeId": "e3", "status": "sent", "customFields": field("sig_1")}]}),
    ));
    let since = Timestamp::from_second(1_700_000_000).unwrap();
    let found = world.client.find_by_signing(&acting, "sig_1", since, world.deadline()).await.unwrap();
    assert_eq!(found.iter().map(|found| found.envelope.as_str()).collect::<Vec<_>>(), ["e3"]);
    world.will(Reply::json(200, &json!({"resultSetSize": "0"})));
    assert!(world.client.find(&acting, &[ours], world.deadline()).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_list_goes_on_until_its_end() {
    let world = World::new().await;
    let acting = world.acting().await;
    let page =
        |id: &str| json!({"totalSetSize": "2", "envelopes": [{"envelopeId": id, "status": "completed"}]});
    world.will(Reply::json(200, &page("e1"))).will(Reply::json(200, &page("e2")));
    let ids = [EnvelopeId::new("e1"), EnvelopeId::new("e2")];
    let first = world.client.list_changes(&acting, Since::Ids(&ids), 0, world.deadline()).await.unwrap();
    assert_eq!((first.next, first.seen[0].envelope.as_str()), (Some(1), "e1"));
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
    world.will(Reply::json(200, &result("SUCCESS")));
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
        assert_eq!((template.roles[0].name.as_str(), template.roles[0].order), ("Client", Some(2)));
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
    assert_eq!(world.client.budget().count(Operation::Forward, Outcome::Rejected), 1);
    let outside = ForwardRequest { path: "../2/envelopes", ..request() };
    assert!(matches!(world.client.forward(&acting, outside, world.deadline()).await, Err(Error::Invalid(_))));
    world.will(Reply::error(429, "HOURLY_APIINVOCATION_LIMIT_EXCEEDED"));
    assert!(matches!(
        world.client.forward(&acting, request(), world.deadline()).await,
        Err(Error::Limited { .. })
    ));
}
