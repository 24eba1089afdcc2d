//! The inbox over a real store: what is believed, kept, and taken in.

mod completions;
mod ends;
mod slots;
mod strangers;

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body_util::Full;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{
    Bearers, Dependencies, Inbox, Keys, Limits, OwnKeys, Receipt,
    permutations::{ENVELOPE, bare, signing, sim},
};
use crate::{
    auth::{self, Auth, Spawner, identity::AccountServer},
    budget::{self, Budget},
    clock::{ManualClock, SharedClock},
    domain::{EnvelopeId, LiveView, Mode, SenderName, Signing, SigningStatus, ViewKind},
    esign,
    events::{
        Hub,
        testing::{eventually, now, store, store_in},
    },
    http_client::HttpClient,
    lifecycle::Lifecycle,
    signing::{self, NonceKey, Signings},
    store::{Change, Durability, Intent, Payload, SharedStore, Version, Work},
    telemetry::{
        logging::{Format, tests::Logged},
        metrics::Metrics,
    },
};

const KEY: &str = "DemoConnectKey";

struct Fixture {
    inbox: Inbox,
    store: SharedStore,
    clock: ManualClock,
    life: Lifecycle,
    metrics: Arc<Metrics>,
}

fn fixture_over(store: SharedStore, limits: Limits) -> Fixture {
    let (manual, life) = (ManualClock::new(now()), Lifecycle::new());
    let clock: SharedClock = Arc::new(manual.clone());
    let metrics = Arc::new(Metrics::new(&[]));
    let http = HttpClient::new(&crate::http_client::Options::default()).unwrap();
    let nobody = AccountServer::new(&"http://127.0.0.1:1".parse().unwrap()).unwrap();
    let auth =
        Auth::new(http.clone(), nobody, Arc::clone(&clock), Spawner::tokio(), auth::Options::default());
    let esign = esign::Client::new(esign::Deps {
        http,
        auth,
        budget: Budget::new(budget::Options::default(), Arc::clone(&clock)),
        clock: Arc::clone(&clock),
        observer: None,
        senders: Vec::new(),
        options: esign::Options::default(),
    });
    let settings = signing::Settings {
        audit: crate::audit::Audit::off(),
        mode: Mode::Test,
        public_origin: None,
        events_to: None,
        nonce_key: NonceKey::derive(b"secret", &[]),
        queue_limit: 10,
        spool: crate::spool::Spool::new(std::env::temp_dir(), 1 << 20),
        keep_documents: Duration::from_secs(60),
        pdf_program: None,
        metrics: Arc::new(Metrics::new(&[])),
        look_every: std::time::Duration::from_millis(500),
    };
    let signings = Signings::new(signing::Dependencies {
        store: Arc::clone(&store),
        esign,
        hub: Hub::new(),
        clock: Arc::clone(&clock),
        life: life.clone(),
        settings,
    });
    let given = Dependencies {
        store: Arc::clone(&store),
        signings,
        own_keys: OwnKeys::default(),
        clock,
        life: life.clone(),
        metrics: Arc::clone(&metrics),
    };
    let inbox = Inbox::new(given, limits);
    inbox.set_keys(Keys::new([KEY]));
    Fixture { inbox, store, clock: manual, life, metrics }
}

async fn fixture() -> Fixture {
    fixture_over(store().await, Limits::default())
}

fn signed(body: &[u8]) -> HeaderMap {
    let digest = Keys::new([KEY]).sign(body).unwrap();
    let name = HeaderName::from_static("x-docusign-signature-1");
    HeaderMap::from_iter([(name, HeaderValue::try_from(digest).unwrap())])
}

impl Fixture {
    async fn receive(&self, message: &Value) -> Receipt {
        let body = message.to_string().into_bytes();
        self.inbox.receive(&signed(&body), None, Full::new(Bytes::from(body))).await
    }

    fn run(&self) {
        self.life.spawn("inbox", self.inbox.clone().run());
    }

    /// Puts an open signing of two signers into the store.
    async fn signing(&self) -> Signing {
        let signing = signing(2);
        let from = self.begin(&signing, Work { due_at: now(), leased_until: None, attempts: 0 }).await;
        self.open(&signing, from).await;
        signing
    }

    async fn begin(&self, signing: &Signing, work: Work) -> Version {
        let (key, request) = ([1; 32], [2; 32]);
        let intent =
            Intent { signing: signing.clone(), key, request, links: Vec::new(), payload: None, work };
        let crate::store::Begun::New(version) = self.store.begin(&intent).await.unwrap() else {
            panic!("new")
        };
        version
    }

    /// Writes it down as it is, with nothing left to be done.
    async fn open(&self, signing: &Signing, from: Version) {
        let change = Change {
            signing,
            from,
            events: &[],
            links: Vec::new(),
            answer: None,
            payload: Payload::Drop,
            work: None,
            durability: Durability::Synced,
        };
        self.store.save(change).await.unwrap();
    }

    async fn status(&self) -> Option<SigningStatus> {
        let record = self.store.signing_by_envelope(&EnvelopeId::new(ENVELOPE)).await.unwrap();
        record.map(|record| record.signing.status)
    }

    fn counted(&self, result: &str) -> bool {
        let line = format!("countersign_connect_deliveries_total{{result=\"{result}\"}} 1");
        self.metrics.render().contains(&line)
    }

    /// Lets time go on until the signing stands so, and nothing is left to be taken in.
    async fn ends(&self, status: SigningStatus) {
        eventually(async || {
            self.clock.advance(Duration::from_secs(1));
            self.status().await.is_some_and(SigningStatus::is_terminal)
        })
        .await;
        assert_eq!(self.status().await, Some(status));
        eventually(async || {
            self.clock.advance(Duration::from_secs(1));
            self.store.inbox(10).await.unwrap().is_empty()
        })
        .await;
        eventually(async || self.inbox.put_off().is_empty()).await;
    }
}

/// Lets every task go on as far as it can: there is one thread, and time stands still.
async fn settle() {
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
}

/// A fixture with an open signing, and a message about it that leaves the envelope out and is put off.
async fn putting_off(full: &Value) -> Fixture {
    let fixture = fixture().await;
    fixture.signing().await;
    fixture.run();
    assert_eq!(fixture.receive(&bare(full)).await, Receipt::Accepted);
    eventually(async || !fixture.inbox.put_off().is_empty()).await;
    assert_eq!(fixture.status().await, Some(SigningStatus::Open));
    fixture
}

#[tokio::test]
async fn a_delivery_is_stored_answered_and_taken_in() {
    let fixture = fixture().await;
    fixture.signing().await;
    let message = sim("envelope-completed", None, 1);
    assert_eq!(fixture.receive(&message).await, Receipt::Accepted);
    assert_eq!(fixture.store.inbox(10).await.unwrap().len(), 1, "stored before anything else");
    assert_eq!(fixture.status().await, Some(SigningStatus::Open));
    fixture.run();
    eventually(async || fixture.status().await == Some(SigningStatus::Completed)).await;
    eventually(async || fixture.store.inbox(10).await.unwrap().is_empty()).await;
    let mut again = message;
    again["retryCount"] = json!(1);
    assert_eq!(fixture.receive(&again).await, Receipt::Duplicate);
    assert!(fixture.counted("accepted") && fixture.counted("duplicate"));
}

#[tokio::test]
async fn what_a_crash_left_in_the_inbox_is_taken_in_at_the_next_start() {
    let before = fixture().await;
    before.signing().await;
    assert_eq!(before.receive(&sim("envelope-voided", None, 1)).await, Receipt::Accepted);
    let after = fixture_over(Arc::clone(&before.store), Limits::default());
    after.run();
    eventually(async || after.status().await == Some(SigningStatus::Voided)).await;
}

#[tokio::test]
async fn events_that_come_before_their_signing_is_known_are_not_lost() {
    let fixture = fixture().await;
    fixture.run();
    assert_eq!(fixture.receive(&sim("recipient-completed", Some("1"), 1)).await, Receipt::Accepted);
    assert_eq!(fixture.receive(&sim("envelope-declined", None, 2)).await, Receipt::Accepted);
    eventually(async || fixture.store.inbox(10).await.unwrap().is_empty()).await;
    fixture.signing().await;
    eventually(async || {
        fixture.clock.advance(Duration::from_secs(1));
        fixture.status().await == Some(SigningStatus::Declined)
    })
    .await;
}

#[tokio::test]
async fn l2_word_that_a_signer_left_ends_the_view_that_they_had_and_no_other() {
    let at = |text: &str| text.parse::<Timestamp>().unwrap();
    for (minted_at, of, is_over) in [
        (at("2026-02-25T06:12:41Z"), 0, true),
        (at("2026-02-25T06:12:41Z"), 1, false),
        (at("2026-02-25T06:13:02Z"), 0, false),
    ] {
        let fixture = fixture().await;
        let mut made = signing(2);
        let until = minted_at + SignedDuration::from_mins(5);
        let view = LiveView { kind: ViewKind::InUse, signer: made.signers[of].id, minted_at, until };
        made.live_view = Some(view.clone());
        let from = fixture.begin(&made, Work { due_at: now(), leased_until: None, attempts: 0 }).await;
        fixture.open(&made, from).await;
        fixture.run();
        let left = sim("recipient-finish-later", Some("1"), 1);
        assert_eq!(fixture.receive(&left).await, Receipt::Accepted);
        eventually(async || fixture.store.inbox(10).await.unwrap().is_empty()).await;
        let record = fixture.store.signing_by_envelope(&EnvelopeId::new(ENVELOPE)).await.unwrap().unwrap();
        made.live_view = (!is_over).then_some(view);
        assert_eq!(record.signing, made, "and nothing else changes: {minted_at} {of}");
    }
}

#[tokio::test]
async fn what_we_do_not_know_is_kept_and_counted_and_no_error() {
    let fixture = fixture().await;
    assert_eq!(fixture.receive(&sim("envelope-beamed-up", None, 1)).await, Receipt::Unknown);
    let body = b"<DocuSignEnvelopeInformation/>";
    let receipt = fixture.inbox.receive(&signed(body), None, Full::new(Bytes::from_static(body))).await;
    assert_eq!((receipt, receipt.status()), (Receipt::Unreadable, 200));
    assert_eq!(fixture.store.inbox(10).await.unwrap().len(), 2);
    fixture.run();
    eventually(async || fixture.store.inbox(10).await.unwrap().is_empty()).await;
    assert!(fixture.counted("unknown") && fixture.counted("malformed"), "{}", fixture.metrics.render());
}

/// As after an older backup was put back: DocuSign tells of what the store has never heard of.
#[tokio::test]
async fn events_of_an_envelope_that_nobody_has_are_counted_as_unknown_once_it_was_looked_for() {
    let fixture = fixture().await;
    for second in 1..=3 {
        assert_eq!(fixture.receive(&sim("recipient-delivered", Some("1"), second)).await, Receipt::Accepted);
    }
    let unknown = |count: u64| {
        let line = format!("countersign_connect_deliveries_total{{result=\"unknown\"}} {count}\n");
        fixture.metrics.render().contains(&line)
    };
    fixture.run();
    eventually(async || fixture.store.inbox(10).await.unwrap().is_empty()).await;
    fixture.clock.advance(Duration::from_secs(60));
    assert!(unknown(0), "its create may still be under way");
    // Each look comes after twice the time of the one before.
    eventually(async || {
        fixture.clock.advance(Duration::from_secs(600));
        unknown(3)
    })
    .await;
}

#[tokio::test]
async fn nothing_unsigned_wrong_or_rewritten_is_stored() {
    let fixture = fixture().await;
    let body = Bytes::from(sim("envelope-completed", None, 1).to_string());
    let other = signed(b"another body");
    for headers in [HeaderMap::new(), other] {
        let receipt = fixture.inbox.receive(&headers, None, Full::new(body.clone())).await;
        assert_eq!((receipt, receipt.status()), (Receipt::BadDigest, 401));
    }
    let rewritten = serde_json::to_vec_pretty(&sim("envelope-completed", None, 1)).unwrap();
    let receipt = fixture.inbox.receive(&signed(&body), None, Full::new(Bytes::from(rewritten))).await;
    assert_eq!(receipt, Receipt::BadDigest);
    // Keys change while we run: the old one is believed no more, and without any nobody is.
    for keys in [Keys::new(["another"]), Keys::default()] {
        fixture.inbox.set_keys(keys);
        assert_eq!(
            fixture.inbox.receive(&signed(&body), None, Full::new(body.clone())).await,
            Receipt::BadDigest
        );
    }
    assert!(fixture.store.inbox(10).await.unwrap().is_empty());
}

#[tokio::test]
async fn s5_strangers_cause_a_line_a_second_however_much_they_send() {
    let limits = Limits { body_bytes: 10, ..Limits::default() };
    let fixture = fixture_over(store().await, limits);
    let logged = Logged::start(tracing::level_filters::LevelFilter::WARN, Format::Json);
    let receive = async |headers: HeaderMap, body: &'static [u8]| {
        fixture.inbox.receive(&headers, None, Full::new(Bytes::from_static(body))).await
    };
    let flood = async || {
        for _ in 0..50 {
            assert_eq!(receive(HeaderMap::new(), b"x").await, Receipt::BadDigest);
            assert_eq!(receive(signed(b"another"), b"x").await, Receipt::BadDigest);
            assert_eq!(receive(signed(b"another"), b"larger than it may be").await, Receipt::TooLarge);
        }
        let said = logged.take();
        let lines = said.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let is_ours = |line: &Value| line["message"].as_str().unwrap_or_default().starts_with("a Connect");
        lines.filter(is_ours).map(|line| line["others"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(flood().await, [0, 0], "a line of each kind");
    fixture.clock.advance(Duration::from_secs(1));
    assert_eq!(flood().await, [99, 49], "and how many were passed over");
    assert!(fixture.metrics.render().contains("{result=\"bad_digest\"} 200"), "all of them count");
}

/// As where a customer's configuration is set to XML: nothing of it is kept, and only the log can say why.
#[tokio::test]
async fn what_is_no_json_is_said_at_every_address_and_once_a_second() {
    let fixture = fixture().await;
    let logged = Logged::start(tracing::level_filters::LevelFilter::WARN, Format::Json);
    let (xml, acme) = (b"<DocuSignEnvelopeInformation/>", SenderName::new("acme"));
    let mut keys = Keys::default();
    keys.add_of(&acme, [KEY]);
    fixture.inbox.parts.own_keys.set(HashMap::from([(acme.clone(), keys)]));
    for own in [Some(&acme), None] {
        for _ in 0..3 {
            let body = Full::new(Bytes::from_static(xml));
            let receipt = fixture.inbox.receive_at(own, &signed(xml), None, body).await;
            assert_eq!(receipt.status(), 200, "{own:?}");
        }
        fixture.clock.advance(Duration::from_secs(1));
    }
    let said = logged.take();
    let lines = said.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let told = lines.filter(|line| line["fix"].as_str().is_some_and(|fix| fix.contains("JSON (REST v2.1)")));
    assert_eq!(told.map(|line| line["others"].as_u64().unwrap()).collect::<Vec<_>>(), [0, 2], "{said}");
}

#[tokio::test]
async fn a_customers_key_is_believed_of_that_customers_envelopes_alone() {
    let fixture = fixture().await;
    let body = Bytes::from(sim("envelope-completed", None, 1).to_string());
    let receive = async || fixture.inbox.receive(&signed(&body), None, Full::new(body.clone())).await;
    let believe = |sender: &str, shared: &[&str]| {
        let mut keys = Keys::new(shared.iter().copied());
        keys.add_of(&SenderName::new(sender), [KEY]);
        fixture.inbox.set_keys(keys);
    };
    // An account tells of all its envelopes, also of those that are none of ours.
    believe("system", &["another"]);
    assert_eq!((receive().await, Receipt::Foreign.status()), (Receipt::Foreign, 200));
    fixture.signing().await;
    believe("acme", &["another"]);
    assert_eq!(receive().await, Receipt::BadDigest, "the signing is not acme's");
    assert!(fixture.store.inbox(10).await.unwrap().is_empty());
    believe("system", &["another"]);
    assert_eq!(receive().await, Receipt::Accepted);
    believe("acme", &[KEY]);
    assert_eq!(receive().await, Receipt::Duplicate, "a key of all is believed of all");
}

/// A create of the sender is under way: a delivery about an envelope that it may have made waits for it, and one about
/// an envelope that it cannot have made waits for nobody, although the sender is busy for as long as it likes.
#[tokio::test]
async fn a_delivery_waits_for_creates_that_may_have_made_its_envelope_and_for_no_other() {
    let body = Bytes::from(sim("envelope-completed", None, 1).to_string());
    let told_at: Timestamp = "2026-02-25T06:13:01Z".parse().unwrap();
    let before = |seconds| told_at - SignedDuration::from_secs(seconds);
    for (posted_at, may_have) in [(Some(before(2)), true), (None, false), (Some(before(-600)), false)] {
        let fixture = Arc::new(fixture().await);
        let mut keys = Keys::default();
        keys.add_of(&SenderName::new("system"), [KEY]);
        fixture.inbox.set_keys(keys);
        let mut making = signing(2);
        (making.status, making.envelope, making.posted_at) = (SigningStatus::Creating, None, posted_at);
        let leased_until = Some(now() + SignedDuration::from_hours(1));
        let work = Work { due_at: now(), leased_until, attempts: 0 };
        let from = fixture.begin(&making, work).await;
        let mut receipt = tokio::spawn({
            let (fixture, body) = (Arc::clone(&fixture), body.clone());
            async move { fixture.inbox.receive(&signed(&body), None, Full::new(body.clone())).await }
        });
        if may_have {
            let early = tokio::time::timeout(Duration::from_millis(50), &mut receipt).await;
            assert!(early.is_err(), "it waits: {early:?}");
            fixture.open(&signing(2), from).await;
            for _ in 0..8 {
                fixture.clock.advance(Duration::from_millis(100));
                settle().await;
            }
        }
        let receipt = tokio::time::timeout(Duration::from_secs(60), receipt).await;
        let expected = if may_have { Receipt::Accepted } else { Receipt::Foreign };
        assert_eq!(receipt.expect("nobody waits for ever").unwrap(), expected, "{posted_at:?}");
    }
}

/// A create stays in doubt for minutes. What else its account tells of holds its slot for a moment, and is told of again.
#[tokio::test]
async fn a_delivery_waits_for_a_create_in_doubt_for_a_moment_and_not_for_as_long_as_for_the_store() {
    let body = Bytes::from(sim("envelope-completed", None, 1).to_string());
    let fixture = Arc::new(fixture().await);
    let mut keys = Keys::default();
    keys.add_of(&SenderName::new("system"), [KEY]);
    fixture.inbox.set_keys(keys);
    let mut doubted = signing(2);
    (doubted.status, doubted.envelope) = (SigningStatus::Uncertain, None);
    doubted.posted_at = Some("2026-02-25T06:12:59Z".parse().unwrap());
    let leased_until = Some(now() + SignedDuration::from_hours(1));
    fixture.begin(&doubted, Work { due_at: now(), leased_until, attempts: 0 }).await;
    let mut receipt = tokio::spawn({
        let fixture = Arc::clone(&fixture);
        async move { fixture.inbox.receive(&signed(&body), None, Full::new(body.clone())).await }
    });
    let mut passed = Duration::ZERO;
    let receipt = loop {
        match tokio::time::timeout(Duration::from_millis(20), &mut receipt).await {
            Ok(receipt) => break receipt.unwrap(),
            Err(_) => fixture.clock.advance(Duration::from_millis(250)),
        }
        passed += Duration::from_millis(250);
    };
    assert_eq!(receipt, Receipt::Busy);
    assert!((Duration::from_secs(1)..Duration::from_secs(10)).contains(&passed), "{passed:?}");
}

#[tokio::test]
async fn a_bearer_value_is_asked_for_if_one_is_set() {
    let fixture = fixture().await;
    fixture.inbox.set_bearers(Bearers::new(["first".to_owned(), "second".to_owned()]));
    let body = Bytes::from(sim("envelope-completed", None, 1).to_string());
    let receive = async |value: Option<&'static str>| {
        let mut headers = signed(&body);
        headers.extend(value.map(|value| (http::header::AUTHORIZATION, HeaderValue::from_static(value))));
        fixture.inbox.receive(&headers, None, Full::new(body.clone())).await
    };
    for wrong in [None, Some("Bearer "), Some("Bearer firs"), Some("Basic second"), Some("second"), Some("x")]
    {
        assert_eq!(receive(wrong).await, Receipt::BadDigest, "{wrong:?}");
    }
    assert_eq!(receive(Some("bearer second")).await, Receipt::Accepted);
}
