//! What the tests of this module share: an upstream over HTTP that answers as it is told, and calls of it.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{
    Acting, Client, Created, Deps, EnvelopeSigner, Error, NewEnvelope, Options, SenderOptions, SmsCheck,
    View, ViewRequest, client,
};
use crate::{
    auth::{
        self, Auth, Spawner, TokenSource, access_token::MintedToken, identity::AccountServer,
        token_source::Minting, user_info::AccountChoice,
    },
    budget::{self, Budget, Operation, Outcome},
    clock::{Clock as _, Deadline, ManualClock},
    domain::{
        Anchors, Document, EnvelopeId, Phone, Private, SenderName, TabKind, TransactionId,
        document::{Anchor, Content},
    },
    http_client::{self, HttpClient},
    listener::{Bound, Limits},
};

pub(super) const ACCOUNT: &str = "fe0b61a3-3b9b-4b36-84cc-aa40c8d0ad61";
const USER: &str = "50d89ab1-dad5-4a0a-b410-92ee3110b970";

/// A request as it arrived.
#[derive(Debug, Clone)]
pub(super) struct Arrived {
    pub(super) line: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Arrived {
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(super) fn bearer(&self) -> &str {
        self.headers["authorization"].to_str().unwrap()
    }
}

/// What to answer.
#[derive(Debug, Clone)]
pub(super) enum Reply {
    /// Hang up without a word.
    HangUp,
    /// Say nothing, for ever.
    Stall,
    Text(u16, Vec<(&'static str, String)>, String),
}

impl Reply {
    pub(super) fn json(status: u16, body: &Value) -> Self {
        Self::Text(status, vec![("x-docusign-tracetoken", "trace-1".to_owned())], body.to_string())
    }

    pub(super) fn error(status: u16, code: &str) -> Self {
        Self::json(status, &json!({"errorCode": code, "message": "Something. About ada@example.com."}))
    }

    pub(super) fn with(self, name: &'static str, value: &dyn ToString) -> Self {
        match self {
            Self::Text(status, mut headers, body) => {
                headers.push((name, value.to_string()));
                Self::Text(status, headers, body)
            }
            other => other,
        }
    }
}

/// An upstream, a client of it, and the time of both.
pub(super) struct World {
    pub(super) client: Arc<Client>,
    pub(super) clock: ManualClock,
    pub(super) mints: Arc<AtomicU64>,
    pub(super) user_infos: Arc<AtomicU64>,
    /// Where the account is, by what the account server says.
    pub(super) base_uri: Arc<Mutex<String>>,
    /// How the calls ended.
    pub(super) ended: Arc<Ended>,
    arrived: Arc<Mutex<Vec<Arrived>>>,
    replies: Arc<Mutex<VecDeque<Reply>>>,
    _stop: tokio_util::sync::DropGuard,
}

#[derive(Debug, Default)]
pub(super) struct Ended(Mutex<Vec<(Operation, Outcome)>>);

impl Ended {
    /// How often a call ended so.
    pub(super) fn count(&self, operation: Operation, outcome: Outcome) -> usize {
        self.0.lock().unwrap().iter().filter(|one| **one == (operation, outcome)).count()
    }
}

impl client::Observer for Ended {
    fn observed(&self, operation: Operation, outcome: Outcome, _: Duration, _: &dyn Fn() -> Option<String>) {
        self.0.lock().unwrap().push((operation, outcome));
    }
}

#[derive(Debug)]
struct Mint {
    clock: ManualClock,
    mints: Arc<AtomicU64>,
}

impl TokenSource for Mint {
    fn mint(&self) -> Minting<'_> {
        Box::pin(async {
            let number = self.mints.fetch_add(1, Ordering::SeqCst) + 1;
            let token =
                MintedToken::new(&format!("token-{number}"), self.clock.uptime(), Duration::from_secs(3_600));
            Ok(token.unwrap())
        })
    }
}

impl World {
    pub(super) async fn new() -> Self {
        Self::with(SenderOptions::default()).await
    }

    pub(super) async fn with(options: SenderOptions) -> Self {
        let clock = ManualClock::new(Timestamp::from_second(1_700_000_000).unwrap());
        let bound = Bound::tcp("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let origin = format!("http://{}", bound.address().unwrap());
        let arrived: Arc<Mutex<Vec<Arrived>>> = Arc::default();
        let replies: Arc<Mutex<VecDeque<Reply>>> = Arc::default();
        let (mints, user_infos): (Arc<AtomicU64>, Arc<AtomicU64>) = Default::default();
        let base_uri = Arc::new(Mutex::new(origin.clone()));
        let stop = CancellationToken::new();
        let answer = {
            let (arrived, replies, user_infos) = (arrived.clone(), replies.clone(), user_infos.clone());
            let base_uri = base_uri.clone();
            move |request: Request<Incoming>| {
                let (arrived, replies, user_infos) = (arrived.clone(), replies.clone(), user_infos.clone());
                let base_uri = base_uri.clone();
                async move {
                    if request.uri().path() == "/oauth/userinfo" {
                        user_infos.fetch_add(1, Ordering::SeqCst);
                        let told = user_info(&base_uri.lock().unwrap());
                        return Ok(Response::new(told.to_string().into()));
                    }
                    let line = format!("{} {}", request.method(), request.uri());
                    let line = line.replace(&format!("/restapi/v2.1/accounts/{ACCOUNT}/"), "");
                    let headers = request.headers().clone();
                    let body = request.into_body().collect().await.unwrap().to_bytes();
                    arrived.lock().unwrap().push(Arrived { line, headers, body });
                    let reply = replies.lock().unwrap().pop_front();
                    give(reply.unwrap_or_else(|| Reply::error(500, "NOT_SCRIPTED"))).await
                }
            }
        };
        tokio::spawn(bound.serve_with(answer, Limits::default(), stop.clone()));
        let http = HttpClient::new(&http_client::Options::default()).unwrap();
        let server = AccountServer::new(&origin.parse().unwrap()).unwrap();
        let shared: crate::clock::SharedClock = Arc::new(clock.clone());
        let auth =
            Auth::new(http.clone(), server, shared.clone(), Spawner::tokio(), auth::Options::default());
        let mint: Arc<dyn TokenSource> = Arc::new(Mint { clock: clock.clone(), mints: mints.clone() });
        auth.register_sources(vec![(Arc::from("system"), mint, AccountChoice::Default)]);
        let budget = Budget::new(budget::Options::default(), shared.clone());
        let ended: Arc<Ended> = Arc::default();
        let client = Client::new(Deps {
            http,
            auth,
            budget,
            clock: shared,
            observer: Some(ended.clone()),
            senders: vec![(SenderName::new("system"), options)],
            options: Options::default(),
        });
        Self { client, clock, mints, user_infos, base_uri, ended, arrived, replies, _stop: stop.drop_guard() }
    }

    pub(super) fn will(&self, reply: Reply) -> &Self {
        self.replies.lock().unwrap().push_back(reply);
        self
    }

    /// What arrived since the last time.
    pub(super) fn arrived(&self) -> Vec<Arrived> {
        std::mem::take(&mut *self.arrived.lock().unwrap())
    }

    pub(super) async fn acting(&self) -> Arc<Acting> {
        self.client.acting(&SenderName::new("system")).await.unwrap()
    }

    pub(super) fn deadline(&self) -> Deadline {
        Deadline::within(&self.clock, Duration::from_secs(25))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert!(self.replies.lock().unwrap().is_empty(), "a reply was never asked for");
        }
    }
}

fn user_info(origin: &str) -> Value {
    json!({"sub": USER, "name": "Ada", "email": "ada@example.com", "accounts": [
        {"account_id": ACCOUNT, "is_default": true, "account_name": "NewCo", "base_uri": origin}]})
}

async fn give(reply: Reply) -> Result<Response<axum::body::Body>, std::io::Error> {
    match reply {
        Reply::HangUp => Err(std::io::Error::other("hung up")),
        Reply::Stall => std::future::pending().await,
        Reply::Text(status, headers, body) => {
            let mut response = Response::builder().status(status);
            for (name, value) in headers {
                response = response.header(name, value);
            }
            Ok(response.body(body.into()).unwrap())
        }
    }
}

const BASE64: &[u8] = b"JVBERi0xLjQK";

pub(super) fn file(anchors: &[(TabKind, &str)]) -> Document {
    let anchors = anchors.iter().map(|(kind, text)| (*kind, Anchor::Everyone((*text).to_owned())));
    Document::File {
        name: "Contract \"A\".pdf".to_owned(),
        content: Content::new(Bytes::from_static(BASE64)),
        anchors: Anchors(anchors.collect()),
    }
}

pub(super) fn template() -> Document {
    Document::Template { alias: "nda".to_owned(), id: "11111111-2222-3333-4444-555555555555".to_owned() }
}

/// What an envelope is made of: one signer, with an SMS check if there is a phone.
pub(super) struct Draft {
    documents: Vec<Document>,
    name: Private<String>,
    fields: BTreeMap<String, String>,
    phone: Option<Phone>,
}

impl Draft {
    pub(super) fn of(documents: Vec<Document>) -> Self {
        let fields = BTreeMap::from([("company".to_owned(), "Analytical Ltd".to_owned())]);
        Self { documents, name: Private::new("Ada Lovelace".to_owned()), fields, phone: None }
    }

    pub(super) fn with_sms(mut self) -> Self {
        self.phone = Some(Phone::parse("+4915112345678").unwrap());
        self
    }

    pub(super) fn envelope(&self) -> NewEnvelope<'_> {
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

/// The envelope that [`created`] tells of.
pub(super) const MADE: &str = "93be49ab-0000-4000-8000-000000000001";
/// Another one.
pub(super) const ALSO_MADE: &str = "93be49ab-0000-4000-8000-000000000002";

pub(super) fn created() -> Reply {
    Reply::json(201, &json!({"envelopeId": MADE, "status": "sent", "uri": format!("/envelopes/{MADE}")}))
}

pub(super) fn workflows() -> Reply {
    let input = json!([{"valueType": "PhoneNumberList", "optionName": "phone_number_list"}]);
    Reply::json(
        200,
        &json!({"identityVerification": [{"workflowId": "wf-1", "defaultName": "Phone Authentication", "inputOptions": input}]}),
    )
}

pub(super) async fn create(world: &World, draft: &Draft) -> Result<Created, Error> {
    let acting = world.acting().await;
    if draft.phone.is_some() {
        let workflow = world.client.sms_workflow(&acting, world.deadline()).await?;
        assert_eq!(&*workflow, "wf-1");
    }
    world.client.create_envelope(&acting, &draft.envelope(), world.deadline(), None).await
}

pub(super) fn view_reply() -> Reply {
    Reply::json(201, &json!({"url": "https://demo.docusign.net/Signing/MTRedeem/v1/1?slt=s3cret%2B"}))
}

pub(super) async fn view(world: &World, return_url: &str) -> Result<View, Error> {
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
    world.client.recipient_view(&*world.acting().await, &envelope, &request, world.deadline(), None).await
}

pub(super) fn envelope_reply(status: &str, recipient: &str) -> Reply {
    // The template has put its own recipient id in the place of ours.
    Reply::json(
        200,
        &json!({"envelopeId": MADE, "status": status, "transactionId": "t", "purgeState": "unpurged",
            "recipients": {"signers": [{"recipientId": "77", "recipientIdGuid": "g", "clientUserId": "opaque-1",
                "name": "Ada L.", "email": "ada@example.com", "status": recipient, "routingOrder": 1}],
                "recipientCount": "1"}}),
    )
}
