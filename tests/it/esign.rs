//! The client against the emulator: two readings of the vendor's documentation that share no types.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use countersign::{
    auth::{
        Auth, Impersonation, Options as AuthOptions, Spawner,
        identity::{AccountServer, Scopes},
        signing_key::KeySource,
        user_info::AccountChoice,
    },
    budget::{self, Budget},
    clock::{Clock as _, Deadline, SystemClock},
    domain::{
        Anchors, Document, EnvelopeFact, EnvelopeId, Phone, Private, SenderName, SignerFact, TabKind,
        TransactionId,
        document::{Anchor, Content},
    },
    emulator::{self, Emulator},
    esign::{
        Acting, Client, Deps, DocumentRef, EnvelopeSigner, Error, ForwardBody, ForwardRequest, NewCheck,
        NewEnvelope, Options, RejectionKind, SenderOptions, Since, SmsCheck, ViewRequest,
    },
    http_client::{self, HttpClient, Request},
    lifecycle::Lifecycle,
};
use futures_util::TryStreamExt as _;
use http::{HeaderMap, Method};
use serde_json::Value;

struct World {
    emulator: Emulator,
    client: Arc<Client>,
    http: HttpClient,
    acting: Arc<Acting>,
    life: Lifecycle,
}

impl World {
    async fn new() -> Self {
        let life = Lifecycle::new();
        let emulator =
            Emulator::start(emulator::Options::default(), Arc::new(SystemClock), &life).await.unwrap();
        let ready = emulator.ready();
        let clock: countersign::clock::SharedClock = Arc::new(SystemClock);
        let http = HttpClient::new(&http_client::Options::default()).unwrap();
        let server = AccountServer::new(&ready.oauth_url.parse().unwrap()).unwrap();
        let auth = Auth::new(http.clone(), server, clock.clone(), Spawner::tokio(), AuthOptions::default());
        let sender = Impersonation {
            integration_key: ready.integration_key.parse().unwrap(),
            user_id: ready.user_id.parse().unwrap(),
            scopes: Scopes::default(),
            keys: vec![KeySource::File(ready.private_key_file.clone())],
            account: AccountChoice::Default,
        };
        auth.register("system", sender).await.unwrap();
        let budget = Budget::new(budget::Options::default(), clock.clone());
        let client = Client::new(Deps {
            http: http.clone(),
            auth,
            budget,
            clock,
            observer: None,
            senders: vec![(SenderName::new("system"), SenderOptions::default())],
            options: Options::default(),
        });
        let acting = client.acting(&SenderName::new("system")).await.unwrap();
        assert_eq!(acting.account.as_str(), ready.account_id);
        Self { emulator, client, http, acting, life }
    }

    async fn control(&self, method: Method, path: &str) -> Value {
        let url = format!("{}{path}", self.emulator.ready().control_url).parse().unwrap();
        let answer = self.http.send(Request::new(method, url)).await.unwrap();
        assert!(answer.status.is_success(), "{path}: {}", String::from_utf8_lossy(&answer.body));
        serde_json::from_slice(&answer.body).unwrap_or_default()
    }

    /// What the emulator's judge saw: calls that go wrong for no one, but fail the vendor's review.
    async fn broke_no_rule(&self) {
        let rules = self.control(Method::GET, "/_test/rules").await;
        assert_eq!(rules["rules"], serde_json::json!([]));
    }

    /// Has a scripted signer act.
    async fn signer(&self, client_user_id: &str, action: &str) {
        let all = self.control(Method::GET, "/_test/signers").await;
        let is_meant = |signer: &&Value| signer["client_user_id"] == client_user_id;
        let signer = all["signers"].as_array().unwrap().iter().find(is_meant).unwrap();
        let id = signer["id"].as_str().unwrap();
        self.control(Method::POST, &format!("/_test/signers/{id}/{action}")).await;
    }

    async fn create(&self, envelope: &NewEnvelope<'_>) -> Result<EnvelopeId, Error> {
        Ok(self.client.create_envelope(&self.acting, envelope, soon(), None).await?.envelope)
    }

    async fn view(&self, envelope: &EnvelopeId, person: &Person, name: &str) -> Result<String, Error> {
        let name = Private::new(name.to_owned());
        let request = ViewRequest {
            name: &name,
            email: "ada@example.com",
            client_user_id: &person.client_user_id,
            recipient_id: None,
            return_url: "https://sign.example.com/r/abc",
            ping: Some(("https://sign.example.com/r/abc/open/1", 120)),
            authentication_method: Some("Password"),
            authentication_instant: Some(SystemClock.now()),
            assertion_id: Some("login-77f1"),
            frame_ancestors: &["https://www.example.com".to_owned()],
            locale: Some("de"),
        };
        let view = self.client.recipient_view(&self.acting, envelope, &request, soon(), None).await?;
        Ok(view.url.into_inner())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.life.stop();
    }
}

fn soon() -> Deadline {
    Deadline::within(&SystemClock, Duration::from_secs(20))
}

struct Person {
    client_user_id: String,
    name: Private<String>,
    phone: Phone,
    workflow: Arc<str>,
    fields: BTreeMap<String, String>,
}

impl Person {
    async fn new(world: &World) -> Self {
        Self {
            workflow: world.client.sms_workflow(&world.acting, soon()).await.unwrap(),
            client_user_id: uuid::Uuid::new_v4().to_string(),
            name: Private::new("Ada Lovelace".to_owned()),
            phone: Phone::parse("+4915112345678").unwrap(),
            fields: BTreeMap::from([("company".to_owned(), "Analytical Ltd".to_owned())]),
        }
    }

    fn signer<'a>(&'a self, recipient_id: &'a str, role: Option<&'a str>) -> EnvelopeSigner<'a> {
        EnvelopeSigner {
            key: "visitor",
            recipient_id,
            client_user_id: &self.client_user_id,
            name: &self.name,
            email: "ada@example.com",
            order: 1,
            role,
            fields: &self.fields,
            sms: Some(SmsCheck { phone: &self.phone, workflow: &self.workflow }),
            access_code: None,
        }
    }
}

/// A page that says where to sign.
pub(crate) fn pdf() -> Bytes {
    use pdf_writer::{Content, Finish as _, Name, Pdf, Rect, Ref, Str};
    let [catalog, pages, page, font, content] = [1, 2, 3, 4, 5].map(Ref::new);
    let mut pdf = Pdf::new();
    pdf.catalog(catalog).pages(pages);
    pdf.pages(pages).kids([page]).count(1);
    let mut one = pdf.page(page);
    one.media_box(Rect::new(0.0, 0.0, 595.0, 842.0)).parent(pages).contents(content);
    one.resources().fonts().pair(Name(b"F1"), font);
    one.finish();
    pdf.type1_font(font).base_font(Name(b"Helvetica"));
    let mut text = Content::new();
    text.begin_text().set_font(Name(b"F1"), 14.0).next_line(72.0, 700.0);
    text.show(Str(b"Sign here: /sn1/  Company: /co1/  Date: /dt1/")).end_text();
    pdf.stream(content, &text.finish());
    STANDARD.encode(pdf.finish()).into()
}

fn file(anchors: &[(TabKind, &str)]) -> Document {
    let anchors = anchors.iter().map(|(kind, text)| (*kind, Anchor::Everyone((*text).to_owned())));
    let anchors = Anchors(anchors.collect());
    Document::File { name: "Contract.pdf".to_owned(), content: Content::new(pdf()), anchors }
}

const ANCHORS: [(TabKind, &str); 3] =
    [(TabKind::Sign, "/sn1/"), (TabKind::Company, "/co1/"), (TabKind::Date, "/dt1/")];

fn envelope<'a>(documents: &'a [Document], signer: EnvelopeSigner<'a>) -> NewEnvelope<'a> {
    NewEnvelope {
        subject: Some("Please sign"),
        message: Some("Hello"),
        documents,
        signers: vec![signer],
        transaction_id: TransactionId::generate(),
        signing_id: "sig_0123",
        expires_after_days: Some(21),
        events: None,
        locale: Some("de-AT"),
    }
}

#[tokio::test]
async fn one_signing_from_create_to_download() {
    let world = World::new().await;
    let person = Person::new(&world).await;
    let documents = [file(&ANCHORS)];
    let new = envelope(&documents, person.signer("1", None));
    let made = world.create(&new).await.unwrap();
    let url = world.view(&made, &person, "Ada Lovelace").await.unwrap();
    assert!(url.contains("/Signing/MTRedeem/v1/") && url.ends_with("&locale=de"), "{url}");
    let found = world.client.find(&world.acting, &[new.transaction_id], soon()).await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[&new.transaction_id][0].seen.envelope, made);
    let since = SystemClock.now() - jiff::SignedDuration::from_hours(1);
    let found = world.client.find_by_signing(&world.acting, "sig_0123", since, soon()).await.unwrap();
    assert_eq!(found[0].seen.envelope, made);
    assert!(world.client.find_by_signing(&world.acting, "sig_9", since, soon()).await.unwrap().is_empty());
    world.signer(&person.client_user_id, "sign").await;
    let seen = world.client.envelope(&world.acting, &made, soon()).await.unwrap();
    assert_eq!(seen.facts, [EnvelopeFact::Completed]);
    let signer = &seen.recipients[0];
    assert_eq!(signer.client_user_id.as_deref(), Some(&*person.client_user_id));
    assert_eq!(signer.fact, Some(SignerFact::Signed));
    let listed = world.client.list_changes(&world.acting, Since::Changed(since), 0, soon()).await.unwrap();
    assert_eq!((listed.seen.len(), listed.next), (1, None));
    assert_eq!(listed.seen[0].facts, [EnvelopeFact::Completed]);
    for document in [DocumentRef::Combined, DocumentRef::Certificate, DocumentRef::Number(1)] {
        let download = world.client.document(&world.acting, &made, document, soon()).await.unwrap();
        let bytes: Vec<Bytes> = download.body.try_collect().await.unwrap();
        assert!(bytes.concat().starts_with(b"%PDF-"), "{document:?}");
    }
    let error = world.client.void(&world.acting, &made, "too late", soon()).await.unwrap_err();
    assert_eq!(error.code(), "signing_closed");
    world.broke_no_rule().await;
}

#[tokio::test]
async fn a_template_with_sms_becomes_an_envelope_that_can_be_viewed_signed_and_corrected() {
    let world = World::new().await;
    let ready = world.emulator.ready();
    let template = world.client.template(&world.acting, &ready.template_id, soon()).await.unwrap();
    assert!(template.roles.iter().any(|role| role.name == ready.template_role));
    let person = Person::new(&world).await;
    let documents =
        [Document::Template { alias: "nda".to_owned(), id: ready.template_id.clone() }, file(&ANCHORS)];
    let new = envelope(&documents, person.signer("41", Some(&ready.template_role)));
    let made = world.create(&new).await.unwrap();
    world.view(&made, &person, "Ada Lovelace").await.unwrap();
    let error = world.view(&made, &person, "Ada L.").await.unwrap_err();
    assert_eq!(error.rejection(), Some(RejectionKind::RecipientMismatch));
    world.signer(&person.client_user_id, "fail_otp").await;
    let recipients = world.client.recipients(&world.acting, &made, soon()).await.unwrap();
    assert_eq!(recipients.len(), 1, "the parts of one person are one recipient");
    assert_eq!(recipients[0].client_user_id.as_ref(), Some(&person.client_user_id));
    assert_eq!(recipients[0].fact, Some(SignerFact::AuthenticationFailed));
    let phone = Phone::parse("+447700900123").unwrap();
    let id = &recipients[0].recipient_id;
    world.client.correct(&world.acting, &made, id, &NewCheck::Phone(phone), soon()).await.unwrap();
    world.signer(&person.client_user_id, "sign").await;
    let seen = world.client.envelope(&world.acting, &made, soon()).await.unwrap();
    assert_eq!(seen.facts, [EnvelopeFact::Completed]);
    let custom = world.client.find_by_signing(
        &world.acting,
        "sig_0123",
        SystemClock.now() - jiff::SignedDuration::from_hours(1),
        soon(),
    );
    assert_eq!(custom.await.unwrap().len(), 1, "the inline template's custom field is the envelope's");
    world.broke_no_rule().await;
}

#[tokio::test]
async fn refusals_have_their_names() {
    let world = World::new().await;
    let person = Person::new(&world).await;
    let documents = [file(&[(TabKind::Sign, "/nowhere/")])];
    let error = world.create(&envelope(&documents, person.signer("1", None))).await.unwrap_err();
    assert_eq!(error.code(), "anchor_not_found");
    let documents = [Document::Template { alias: "x".to_owned(), id: uuid::Uuid::from_u128(1).to_string() }];
    let error = world.create(&envelope(&documents, person.signer("1", Some("Client")))).await.unwrap_err();
    assert_eq!(error.rejection(), Some(RejectionKind::TemplateUnknown));
    let documents = [file(&ANCHORS)];
    let made = world.create(&envelope(&documents, person.signer("1", None))).await.unwrap();
    let trace = world.client.void(&world.acting, &made, "wrong price", soon()).await.unwrap();
    assert!(trace.is_some(), "the upstream names every call");
    let error = world.client.void(&world.acting, &made, "wrong price", soon()).await.unwrap_err();
    assert_eq!(error.code(), "signing_closed");
    // What has ended can still be looked at: the vendor's `viewing_complete`.
    world.view(&made, &person, "Ada Lovelace").await.unwrap();
    let seen = world.client.envelope(&world.acting, &made, soon()).await.unwrap();
    assert_eq!(seen.facts, [EnvelopeFact::Voided]);
    let gone = EnvelopeId::new(uuid::Uuid::from_u128(2).to_string());
    let error = world.client.envelope(&world.acting, &gone, soon()).await.unwrap_err();
    assert_eq!(error.rejection(), Some(RejectionKind::EnvelopeUnknown));
    world.broke_no_rule().await;
}

#[tokio::test]
async fn a_passed_call_is_answered_and_counted() {
    let world = World::new().await;
    let headers = HeaderMap::new();
    let request = ForwardRequest {
        method: Method::GET,
        path: "templates",
        query: None,
        headers: &headers,
        body: ForwardBody::Whole(vec![]),
    };
    let answer = world.client.forward(&world.acting, request, soon()).await.unwrap();
    assert_eq!(answer.status, 200);
    assert!(answer.headers.contains_key("x-ratelimit-remaining"));
    let body: Vec<Bytes> = answer.body.try_collect().await.unwrap();
    assert!(serde_json::from_slice::<Value>(&body.concat()).unwrap()["envelopeTemplates"].is_array());
    let left = world.client.budget().remaining(&world.acting.account);
    assert_eq!(left.hour_limit, 3_000);
    assert!(left.hour < 3_000 && left.hour > 2_900, "{left:?}");
}

/// One transparent pixel.
pub(crate) const PNG: &[u8] = &[
    0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a, 0x00, 0x00, 0x00, 0x0d, 0x49, 0x48, 0x44, 0x52, 0x00,
    0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x01, 0x08, 0x06, 0x00, 0x00, 0x00, 0x1f, 0x15, 0xc4, 0x89, 0x00,
    0x00, 0x00, 0x0d, 0x49, 0x44, 0x41, 0x54, 0x78, 0x9c, 0x63, 0x00, 0x01, 0x00, 0x00, 0x05, 0x00, 0x01,
    0x0d, 0x0a, 0x2d, 0xb4, 0x00, 0x00, 0x00, 0x00, 0x49, 0x45, 0x4e, 0x44, 0xae, 0x42, 0x60, 0x82,
];
