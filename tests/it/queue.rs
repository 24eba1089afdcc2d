//! The line of creates that wait for an upstream that cannot be reached: who is sent first when it is back. And what
//! becomes of creates that were left under way, or whose daemon's clock is set.
//!
//! Rounds of recovery are made by the test, so that nothing depends on when a task happens to run.

use std::{
    collections::{BTreeMap, HashMap},
    future::{pending, ready},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use countersign::{
    api::Problem,
    clock::{Clock as _, ManualClock},
    domain::{SenderName, SigningId, SigningStatus, TemplateNames},
    emulator::InMemory,
    esign,
    http_client::{Carried, Carrier, Outcome},
    lifecycle::Spawner,
    objects::parse_create,
    signing::{self, Ask, Created, ReturnTarget, Signings},
    store::{self, Record, SharedStore, Synchronous},
};
use http::{Method, Request, StatusCode};
use jiff::SignedDuration;
use serde_json::{Value, json};
use tokio::{sync::Notify, task::JoinHandle};

use crate::{
    harness::{TempDir, TestDaemon},
    simulation::envelope::{ask_for, daemon, order, prepare},
    store::{Fixture, key, samples},
    visitors::{link_of, unopened},
    waiting::eventually,
};

/// Longer than any test: a caller who waits so long is never told "accepted".
const FOR_EVER: Duration = Duration::from_secs(100 * 86_400);
/// Longer than a daemon holds a create before others may take it up.
const LEASE_OVER: Duration = Duration::from_secs(91);

/// The way to an upstream that can be away, and what was created there, in order.
#[derive(Debug)]
struct Wire {
    emulator: InMemory,
    is_away: AtomicBool,
    created: Mutex<Vec<String>>,
    fate: Mutex<Fate>,
    let_go: Arc<Notify>,
}

/// What becomes of a create on its way.
#[derive(Debug, Clone, Copy, Default)]
enum Fate {
    #[default]
    Answered,
    /// It arrives when the test lets it go.
    Held,
    /// It never arrives, and nobody ever says so.
    Lost,
    /// It makes an envelope, and its answer never comes.
    Unanswered,
}

impl Carrier for Wire {
    fn carry(&self, request: Request<Bytes>, _: Duration) -> Carried {
        let path = request.uri().path();
        if path.starts_with("/restapi") && self.is_away.load(Ordering::SeqCst) {
            return Box::pin(ready(Err(Outcome::NotSent)));
        }
        if request.method() == Method::POST && path.ends_with("/envelopes") {
            let fate = *self.fate.lock().unwrap();
            let body: serde_json::Value = serde_json::from_slice(request.body()).unwrap();
            self.created.lock().unwrap().push(body["emailSubject"].as_str().unwrap().to_owned());
            let (emulator, let_go) = (self.emulator.clone(), Arc::clone(&self.let_go));
            return Box::pin(async move {
                match fate {
                    Fate::Answered => {}
                    Fate::Held => let_go.notified().await,
                    Fate::Lost => return pending().await,
                    Fate::Unanswered => {
                        emulator.vendor(request);
                        return pending().await;
                    }
                }
                Ok(emulator.vendor(request))
            });
        }
        Box::pin(ready(Ok(self.emulator.vendor(request))))
    }
}

/// A person who stands before a create that waits says so with the button of the page, in their language. Looking
/// says nothing: scanners look, too (rule L1).
#[tokio::test]
async fn l1_a_person_who_waits_says_so_with_a_button_and_looking_changes_nothing() {
    let daemon = TestDaemon::builder().public().start().await;
    daemon.fault(&json!({"fault": "status", "status": 503, "method": "POST", "path": "/envelopes"})).await;
    let mut made = Vec::new();
    for number in 0..8 {
        let body = unopened();
        let one = daemon.queue(&format!("order-{number}"), &body).await;
        made.push(one);
    }
    let (link, id) = (link_of(&made[7], 0), made[7].id().parse::<SigningId>().unwrap());
    let look = async |language: &'static str| {
        daemon.call(Method::GET, &link, None, &[("accept-language", language)], Vec::new()).await
    };
    // The first that failed have opened the breaker; the last one was never sent.
    daemon.until("the button", async || look("en").await.text.contains("I am waiting")).await;
    let before = daemon.record(id).await;
    for (language, button) in
        [("de", "Ich warte hier"), ("fr", "J’attends ici"), ("es", "Estoy esperando"), ("en", "I am waiting")]
    {
        let page = look(language).await;
        assert_eq!(page.status, StatusCode::ACCEPTED, "{}", page.text);
        assert!(page.text.contains("<form method=\"post\">"), "{}", page.text);
        assert!(
            page.text.contains(&format!("<button class=\"button\" type=\"submit\"><span>{button}</span>"))
        );
        // Nobody who has the page read to them gets to a button in three seconds.
        assert!(page.text.contains("http-equiv=\"refresh\" content=\"20\""), "{}", page.text);
    }
    let head = daemon.call(Method::HEAD, &link, None, &[], Vec::new()).await;
    assert_eq!(head.status, StatusCode::ACCEPTED);
    let after = daemon.record(id).await;
    assert_eq!((after.version, after.work), (before.version, before.work), "a look changes nothing");

    let elsewhere = [("sec-fetch-site", "cross-site")];
    let refused = daemon.call(Method::POST, &link, None, &elsewhere, Vec::new()).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN, "another site says nothing for a person");
    assert_eq!(daemon.record(id).await.work, before.work);
    let said = daemon.click(&link).await;
    assert_eq!(said.status, StatusCode::SEE_OTHER, "{}", said.text);
    assert_eq!(said.headers[http::header::LOCATION], "?", "a page that a browser can come back to");
    let said = daemon.look(&format!("{link}?")).await;
    assert_eq!(said.status, StatusCode::ACCEPTED, "{}", said.text);
    assert!(said.text.contains("front of the line") && !said.text.contains("<form"), "{}", said.text);
    let due_at = daemon.record(id).await.work.unwrap().due_at;
    for other in &made[..7] {
        let other = daemon.record(other.id().parse().unwrap()).await;
        assert!(due_at < other.work.unwrap().due_at, "before those that nobody stands before");
    }
    // Whoever looks again is told so, and is not asked again.
    let again = look("de").await;
    assert!(again.text.contains("vorn in der Reihe") && !again.text.contains("<form"), "{}", again.text);
    daemon.control(Method::DELETE, "faults", &Value::Null).await;
    let is_ready = async || look("en").await.status == StatusCode::OK;
    daemon.run_clock("the documents", is_ready).await;
    assert_eq!(daemon.click(&link).await.status, StatusCode::SEE_OTHER);
}

struct Line {
    wire: Arc<Wire>,
    clock: ManualClock,
    /// The upstream has a clock of its own: the daemon's may be set.
    upstream: ManualClock,
    store: SharedStore,
    signings: Signings,
    templates: Arc<TemplateNames>,
    /// Keeps the store's file.
    _fixture: Fixture,
}

impl Line {
    async fn new() -> Self {
        let fixture = Fixture::sqlite();
        let clock = fixture.clock.clone();
        let shared: countersign::clock::SharedClock = Arc::new(clock.clone());
        let settings = store::Settings {
            synchronous: Synchronous::Off,
            ..store::Settings::new(fixture.location.clone())
        };
        let store = store::open(&settings, key(1), Arc::clone(&shared)).await.unwrap();
        let upstream = ManualClock::new(clock.now());
        let emulator = InMemory::new(1, Arc::new(upstream.clone()));
        prepare(&emulator, Duration::ZERO);
        let wire = Wire {
            emulator,
            is_away: AtomicBool::new(true),
            created: Mutex::default(),
            fate: Mutex::default(),
            let_go: Arc::default(),
        };
        let wire = Arc::new(wire);
        let way: Arc<dyn Carrier> = Arc::clone(&wire) as _;
        let signings = daemon(way, Arc::clone(&store), &Spawner::tokio(), shared, 1);
        Self { wire, clock, upstream, store, signings, templates: Arc::default(), _fixture: fixture }
    }

    /// One whose upstream is there, and whose sender has a token.
    async fn warm() -> Self {
        let line = Self::new().await;
        line.is_back();
        let first = line.queue("warm").await;
        line.until_open(&[first]).await;
        line
    }

    fn advance(&self, time: Duration) {
        self.clock.advance(time);
        self.upstream.advance(time);
    }

    /// A create whose caller does not wait.
    async fn queue(&self, name: &str) -> SigningId {
        self.queue_as(name, &order(name, false)).await
    }

    async fn queue_as(&self, name: &str, order: &Value) -> SigningId {
        self.accepted(ask_for(name, Bytes::from(order.to_string()), Duration::ZERO)).await
    }

    /// The same with an order that this daemon would refuse, accepted by another one.
    async fn queue_from_elsewhere(&self, name: &str, order: &str) -> SigningId {
        let ask = ask(name, Duration::ZERO);
        self.accepted(Ask { body: Bytes::copy_from_slice(order.as_bytes()), ..ask }).await
    }

    async fn accepted(&self, ask: Ask) -> SigningId {
        match self.signings.create(ask, None).await.unwrap() {
            Created::Accepted { signing, .. } => signing,
            Created::Made { .. } => panic!("nobody waited"),
        }
    }

    /// Somebody presses the button of the link of a create that is still in line.
    async fn click(&self, signing: SigningId) {
        let mut record = self.store.signing(signing).await.unwrap().unwrap();
        // Whoever tries it just now has it in hand.
        let mut looks = 0;
        while record.work.is_some_and(|work| work.leased_until.is_some()) {
            assert!(looks < 4_000, "nobody lets go of {signing}");
            looks += 1;
            tokio::time::sleep(Duration::from_millis(5)).await;
            record = self.store.signing(signing).await.unwrap().unwrap();
        }
        let target = ReturnTarget { signing, signer: record.signing.signers[0].id, link: None, view: None };
        self.signings.view_by_click(target).await.expect_err("there is nothing to show yet");
    }

    /// A second of recovery's rounds, each followed by what it began.
    async fn second(&self) {
        loop {
            let taken = self.signings.round(&self.templates).await.unwrap();
            // The store has threads of its own.
            tokio::time::sleep(Duration::from_millis(5)).await;
            if taken == 0 {
                return self.advance(Duration::from_secs(1));
            }
        }
    }

    async fn until_open(&self, ids: &[SigningId]) {
        for _ in 0..4_000 {
            self.second().await;
            let mut open = 0;
            for id in ids {
                let record = self.store.signing(*id).await.unwrap().unwrap();
                open += usize::from(record.signing.status == SigningStatus::Open);
            }
            if open == ids.len() {
                return;
            }
        }
        panic!("the line does not end: {:?}", self.wire.created.lock().unwrap());
    }

    /// Begins a create, and answers its signing as soon as it is on its way to that fate.
    async fn begin(&self, name: &str, fate: Fate) -> (Record, JoinHandle<Result<Created, signing::Error>>) {
        *self.wire.fate.lock().unwrap() = fate;
        let ask = ask(name, FOR_EVER);
        let (caller, key, signings) = (ask.caller.clone(), ask.key, self.signings.clone());
        let call = tokio::spawn(async move { signings.create(ask, None).await });
        let is_sent = async || self.wire.created.lock().unwrap().iter().any(|sent| sent == name);
        eventually(name, is_sent).await;
        *self.wire.fate.lock().unwrap() = Fate::Answered;
        (self.store.signing_by_key(&caller, key).await.unwrap().unwrap(), call)
    }

    /// Begins a create whose daemon says nothing of it any more, and whose caller has hung up.
    async fn leave(&self, name: &str, fate: Fate) -> SigningId {
        let (record, call) = self.begin(name, fate).await;
        call.abort();
        self.advance(LEASE_OVER);
        record.signing.id
    }

    /// Has recovery work until it is so of a signing. Time passes by such steps, and only while nobody is at it.
    async fn until(
        &self,
        what: &str,
        id: SigningId,
        step: Duration,
        is_so: impl Fn(Option<&Record>) -> bool,
    ) {
        for _ in 0..4_000 {
            let taken = self.signings.round(&self.templates).await.unwrap();
            let record = self.store.signing(id).await.unwrap();
            if is_so(record.as_ref()) {
                return;
            }
            let lease = record.and_then(|record| record.work).and_then(|work| work.leased_until);
            if taken == 0 && lease.is_none_or(|until| until <= self.clock.now()) {
                self.advance(step);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("{what} did not come: {:?}", self.store.signing(id).await);
    }

    /// Until a create that was left has been looked for in vain so often since it was seen to be missing.
    async fn until_sought(&self, id: SigningId, looks: u8) {
        let step = Duration::from_secs(2);
        let is_so = |record: Option<&Record>| record.unwrap().signing.twins_sought == looks;
        self.until("a look", id, step, is_so).await;
    }

    fn is_back(&self) {
        self.wire.is_away.store(false, Ordering::SeqCst);
    }
}

/// A create whose caller waits so long.
fn ask(name: &str, wait: Duration) -> Ask {
    ask_for(name, Bytes::from(order(name, false).to_string()), wait)
}

fn is_open(record: Option<&Record>) -> bool {
    record.is_some_and(|record| record.signing.status == SigningStatus::Open)
}

#[tokio::test]
async fn whoever_a_person_stands_before_is_sent_first_when_the_upstream_is_back() {
    let line = Line::new().await;
    let mut ids = Vec::new();
    for number in 0..12 {
        ids.push(line.queue(&format!("order-{number}")).await);
        line.advance(Duration::from_millis(10));
    }
    for _ in 0..20 {
        line.second().await;
    }
    line.click(ids[8]).await;
    for _ in 0..7 {
        line.second().await;
    }
    line.is_back();
    line.until_open(&ids).await;
    let created = line.wire.created.lock().unwrap().clone();
    assert_eq!(created[0], "order-8", "{created:?}");
    assert_eq!(created.len(), 12, "{created:?}");
}

/// Whoever asks for what can never be sent while DocuSign is away may be the one who finds out how it is: they find out
/// nothing, and those behind them still wait in line.
#[tokio::test]
async fn a_create_that_is_refused_without_asking_docusign_ends_no_outage() {
    let line = Line::warm().await;
    let without = json!({"identity_verification": false});
    let answer = line.wire.emulator.control(Method::POST, "features", &without);
    assert!(answer.status().is_success(), "{:?}", answer.body());
    let coded = async |name: &str| {
        let mut order = order(name, false);
        order["signers"][0]["sms_auth"] = json!({"phone": "+4915112345678"});
        line.signings.create(ask_for(name, Bytes::from(order.to_string()), FOR_EVER), None).await
    };
    let is_refused = |created: &Result<Created, signing::Error>| {
        matches!(created, Err(signing::Error::Upstream(esign::Error::SmsAuthUnavailable)))
    };
    let first = coded("coded-1").await;
    assert!(is_refused(&first), "{first:?}: the account has no workflow, which is remembered");

    line.wire.is_away.store(true, Ordering::SeqCst);
    for number in 0..5 {
        let queued = line.signings.create(ask(&format!("order-{number}"), FOR_EVER), None).await.unwrap();
        assert!(matches!(queued, Created::Accepted { .. }), "{queued:?}");
    }
    assert!(line.signings.is_upstream_away());
    line.advance(Duration::from_secs(2));
    let second = coded("coded-2").await;
    assert!(is_refused(&second), "{second:?}: it was the one to try");
    assert!(line.signings.is_upstream_away(), "nobody has answered");
}

#[tokio::test]
async fn a_new_create_goes_behind_the_line_and_its_caller_waits_for_its_turn() {
    let line = Line::new().await;
    let mut ids = Vec::new();
    for number in 0..30 {
        ids.push(line.queue(&format!("order-{number}")).await);
    }
    for _ in 0..12 {
        line.second().await;
    }
    line.is_back();
    // The first one finds out that the upstream is back; the others are still in line.
    for _ in 0..200 {
        if !line.wire.created.lock().unwrap().is_empty() {
            break;
        }
        line.advance(Duration::from_secs(1));
        line.signings.round(&line.templates).await.unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    line.signings.round(&line.templates).await.unwrap();
    let body = Bytes::from(order("late", false).to_string());
    let late = ask_for("late", body, Duration::from_secs(60));
    let (made, ()) = tokio::join!(line.signings.create(late, None), line.until_open(&ids));
    assert!(matches!(made.unwrap(), Created::Made { .. }), "it was worth waiting");
    let created = line.wire.created.lock().unwrap().clone();
    let place = created.iter().position(|name| name == "late").unwrap();
    assert!(place >= 20, "not past those who came before: {created:?}");
}

#[tokio::test]
async fn a_template_whose_name_has_not_come_here_yet_is_waited_for() {
    let mut line = Line::new().await;
    // The daemon that took it knew the name.
    let mut order = order("early", false);
    order["documents"][0]["template"] = json!("theirs");
    let signing = line.queue_from_elsewhere("early", &order.to_string()).await;
    line.is_back();
    for _ in 0..10 {
        line.second().await;
    }
    let status = line.store.signing(signing).await.unwrap().unwrap().signing.status;
    assert_eq!(status, SigningStatus::Creating);
    let theirs = BTreeMap::from([("theirs".to_owned(), InMemory::TEMPLATE.to_owned())]);
    line.templates = Arc::new(TemplateNames::new(theirs, HashMap::new()));
    line.until_open(&[signing]).await;
}

#[tokio::test]
async fn e4_what_an_earlier_version_accepted_is_sent_though_it_would_be_refused_today() {
    let line = Line::new().await;
    let mut ids = Vec::new();
    for (name, now, then) in [
        ("life", r#""21d""#, r#"" 21d""#),
        ("return", "https://www", "HTTPS://www"),
        ("twice", r#""metadata":{"#, r#""metadata":{"a":"0","#),
    ] {
        let mut order = order(name, false);
        order["expires_in"] = json!("21d");
        order["metadata"] = json!({"a": "1"});
        let then = order.to_string().replace(now, then);
        assert!(parse_create(&Bytes::from(then.clone()), &line.templates).is_err(), "{then}");
        ids.push(line.queue_from_elsewhere(name, &then).await);
    }
    line.is_back();
    line.until_open(&ids).await;
    assert_eq!(line.wire.emulator.made().len(), 3);
}

#[tokio::test]
async fn an_accepted_create_that_nobody_can_read_any_more_says_what_is_wrong_with_it() {
    let line = Line::new().await;
    let mut order = order("late", false);
    order["documents"][0]["template"] = json!("gone");
    let id = line.queue_from_elsewhere("late", &order.to_string()).await;
    line.is_back();
    let is_failed =
        |record: Option<&Record>| record.is_some_and(|record| record.signing.status == SigningStatus::Failed);
    line.until("the end", id, Duration::from_secs(10), is_failed).await;
    let failure = line.store.signing(id).await.unwrap().unwrap().signing.failure.unwrap();
    assert!(
        failure.detail.contains("/documents/0/template is neither a name under [templates]"),
        "{failure:?}"
    );
}

/// How long the upstream's list lags nobody knows: a create that was left, and that its caller has repeated since, is
/// one signing's, whose second envelope is voided.
#[tokio::test]
async fn e4_a_create_that_was_left_is_finished_by_the_repeated_call_and_voided_when_it_is_listed_late() {
    let line = Line::warm().await;
    let lag = json!({"fault": "list_lag", "delay_ms": 86_400_000});
    assert!(line.wire.emulator.control(Method::POST, "faults", &lag).status().is_success());
    let id = line.leave("order-1", Fate::Unanswered).await;
    line.until_sought(id, 1).await;
    let shown = line.store.signing(id).await.unwrap().unwrap().signing.status;
    assert_eq!(shown, SigningStatus::Uncertain);
    assert_eq!(
        line.store.uncertain().await.unwrap(),
        0,
        "nobody was promised it, so nobody is to be woken up"
    );
    // The next look by itself would come in a minute; whoever repeats the call waits for none.
    let again = line.signings.create(ask("order-1", Duration::ZERO), None).await;
    assert!(matches!(again, Err(signing::Error::InProgress { signing, .. }) if signing == id), "{again:?}");
    line.until("the envelope", id, Duration::ZERO, is_open).await;
    let made = || -> Vec<_> {
        let all = line.wire.emulator.made();
        all.into_iter().filter(|one| one.subject == "order-1").collect()
    };
    assert_eq!(made().len(), 2, "the first one was not to be seen");
    assert!(line.wire.emulator.control(Method::DELETE, "faults", &Value::Null).status().is_success());
    let is_voided = |_: Option<&Record>| made().iter().any(|one| one.is_voided);
    line.until("a void", id, Duration::from_secs(2), is_voided).await;
    let envelope = line.store.signing(id).await.unwrap().unwrap().signing.envelope.unwrap();
    for one in made() {
        assert_eq!(one.is_voided, one.envelope_id != envelope.as_str(), "{one:?}");
    }
}

#[tokio::test]
async fn e2_a_create_that_was_left_and_is_listed_late_opens_its_signing() {
    let line = Line::warm().await;
    let lag = json!({"fault": "list_lag", "delay_ms": 86_400_000});
    assert!(line.wire.emulator.control(Method::POST, "faults", &lag).status().is_success());
    let id = line.leave("order-1", Fate::Unanswered).await;
    line.until_sought(id, 2).await;
    assert!(line.wire.emulator.control(Method::DELETE, "faults", &Value::Null).status().is_success());
    line.until("the envelope", id, Duration::from_secs(10), is_open).await;
    let made = line.wire.emulator.made();
    assert!(made.len() == 2 && made.iter().all(|one| !one.is_voided), "{made:?}");
}

#[tokio::test]
async fn e3_a_create_that_was_left_and_is_never_found_is_forgotten_after_the_last_look() {
    let line = Line::warm().await;
    let id = line.leave("order-1", Fate::Lost).await;
    line.until_sought(id, 3).await;
    let asked = line.clock.now();
    line.until("the end", id, Duration::from_secs(600), |record| record.is_none()).await;
    assert!(
        line.clock.now().duration_since(asked) >= SignedDuration::from_hours(23),
        "looked for a day later"
    );
    assert_eq!(line.store.unsettled().await.unwrap(), 0);
    let made = line.signings.create(ask("order-1", FOR_EVER), None).await.unwrap();
    assert!(matches!(made, Created::Made { signing, .. } if signing != id), "the key is free");
}

/// Recovery takes a create up by the date on its lease, and a date can be set while the create is under way.
#[tokio::test]
async fn e4_a_create_that_is_taken_up_because_the_clock_was_set_makes_one_envelope_for_its_caller() {
    let line = Line::warm().await;
    let (record, call) = line.begin("order-1", Fate::Held).await;
    let id = record.signing.id;
    line.clock.step(SignedDuration::from_secs(120));
    line.until_sought(id, 1).await;
    line.wire.let_go.notify_one();
    line.until("the envelope", id, Duration::ZERO, is_open).await;
    let made = call.await.unwrap();
    assert!(matches!(made, Ok(Created::Made { signing, .. }) if signing == id), "{made:?}");
    assert_eq!(line.wire.emulator.made().len(), 2, "it, and the one before");
}

#[tokio::test]
async fn e3_a_create_whose_record_is_gone_is_to_be_repeated_and_not_unheard_of() {
    let line = Line::warm().await;
    let (record, call) = line.begin("order-1", Fate::Held).await;
    line.store.forget(record.signing.id, record.version).await.unwrap();
    line.wire.let_go.notify_one();
    let told = call.await.unwrap();
    let why = told.expect_err("nobody was promised anything");
    assert!(matches!(why, signing::Error::Store(store::Error::Conflict)), "{why:?}");
    let shown = Problem::from(why);
    assert_eq!(shown.status(), StatusCode::SERVICE_UNAVAILABLE);
    let document: Value = serde_json::from_slice(&shown.document("req_1")).unwrap();
    assert_eq!(document["retryable"], true, "{document}");
    assert_eq!(document["links"]["signing"], Value::Null, "there is nothing to read: {document}");
    let again = line.signings.create(ask("order-1", FOR_EVER), None).await;
    assert!(matches!(again, Ok(Created::Made { signing, .. }) if signing != record.signing.id), "{again:?}");
}

#[tokio::test]
async fn a_clock_that_is_set_ahead_ends_no_create_before_its_time() {
    // Past its own end, and past the life of its key; of a daemon that the upstream has told the time, and of one that
    // has just begun.
    for (days, is_warm) in [(1, true), (7, true), (1, false), (7, false)] {
        let line = if is_warm { Line::warm().await } else { Line::new().await };
        line.wire.is_away.store(true, Ordering::SeqCst);
        let mut order = order("order-1", false);
        order["expires_in"] = json!("1h");
        let id = line.queue_as("order-1", &order).await;
        let was_tried = |record: Option<&Record>| record.unwrap().work.unwrap().attempts > 0;
        line.until("a try", id, Duration::from_secs(1), was_tried).await;
        line.clock.step(SignedDuration::from_hours(24 * days));
        let tried = line.store.signing(id).await.unwrap().unwrap().work.unwrap().attempts;
        let was_tried_again =
            |record: Option<&Record>| record.unwrap().work.is_none_or(|work| work.attempts > tried);
        line.until("another try", id, Duration::from_secs(1), was_tried_again).await;
        line.is_back();
        let is_settled = |record: Option<&Record>| {
            matches!(record.unwrap().signing.status, SigningStatus::Open | SigningStatus::Failed)
        };
        line.until("its end", id, Duration::from_secs(1), is_settled).await;
        let status = line.store.signing(id).await.unwrap().unwrap().signing.status;
        assert_eq!(status, SigningStatus::Open, "{days} days, {is_warm}");
    }
}

#[tokio::test]
async fn creates_of_a_sender_that_cannot_act_put_nobody_elses_into_the_line() {
    let line = Line::warm().await;
    for number in 0..80 {
        let name = format!("gone-{number}");
        let mut order = order(&name, false);
        order["sender"] = json!("gone");
        line.queue_as(&name, &order).await;
    }
    assert_eq!(
        line.signings.round(&line.templates).await.unwrap(),
        64,
        "more are due than one round takes up"
    );
    let made = line.signings.create(ask("order-1", Duration::from_secs(60)), None);
    let made = tokio::time::timeout(Duration::from_secs(30), made).await.expect("it does not stand in line");
    assert!(matches!(made, Ok(Created::Made { .. })), "{made:?}");
}

#[tokio::test]
async fn creates_whose_sender_has_no_token_cost_little_and_are_sent_when_it_has_one() {
    let directory = TempDir::new();
    let log = directory.0.join("audit.jsonl");
    let daemon =
        TestDaemon::builder().with(&format!("[audit]\nfile = \"{}\"\n", log.display())).start().await;
    daemon.fault(&json!({"fault": "status", "status": 503, "method": "POST", "path": "/oauth/token"})).await;
    daemon.clock.advance(Duration::from_secs(2 * 3_600));
    daemon.until("the end of the token", async || daemon.parts().auth.ready("system").is_none()).await;
    let mut ids = Vec::new();
    for number in 0..10 {
        let key = format!("order-{number}");
        let one = daemon.queue(&key, &unopened()).await;
        ids.push(one.id().parse::<SigningId>().unwrap());
    }
    let mints = async || daemon.metric("countersign_token_mints_total", &["sender=\"system\""]).await;
    let (begun, before) = (daemon.clock.uptime(), mints().await);
    let is_over = async || daemon.clock.uptime() >= begun + Duration::from_secs(300);
    daemon.run_clock("five minutes", is_over).await;
    let mints = mints().await - before;
    assert!((1.0..=15.0).contains(&mints), "one a minute in the end, and not one a create: {mints}");
    let written = std::fs::read_to_string(&log).unwrap();
    assert_eq!(written.matches("\"envelope.create\"").count(), 0, "nothing was about to be sent: {written}");
    for id in &ids {
        let attempts = daemon.record(*id).await.work.unwrap().attempts;
        assert!((1..=15).contains(&attempts), "ever more seldom: {attempts}");
    }
    daemon.control(Method::DELETE, "faults", &Value::Null).await;
    for id in &ids {
        let is_open = async || daemon.record(*id).await.signing.status == SigningStatus::Open;
        daemon.run_clock("the envelope", is_open).await;
    }
    assert_eq!(daemon.envelopes().await, 10);
}

/// Takes the sender's token away, and the next one; and queues a create, for longer than any round, so that none comes by
/// chance.
async fn queue_without_a_token(daemon: &TestDaemon) -> SigningId {
    daemon.fault(&json!({"fault": "status", "status": 503, "method": "POST", "path": "/oauth/token"})).await;
    daemon.clock.advance(Duration::from_secs(2 * 3_600));
    daemon.until("the end of the token", async || daemon.parts().auth.ready("system").is_none()).await;
    let cannot_act = async || {
        let report = daemon.ops("/readyz").await.body;
        let reasons = report["reasons"].as_array().cloned().unwrap_or_default();
        reasons.iter().any(|it| it["part"] == "sender.system" && it["code"] == "provider_unavailable")
    };
    daemon.run_clock("a sender that cannot act", cannot_act).await;
    let id = daemon.queue("order-1", &unopened()).await.id().parse::<SigningId>().unwrap();
    let work = async || daemon.record(id).await.work.unwrap();
    // Nobody takes it up while the clock stands still.
    let rests = async || {
        let work = work().await;
        work.leased_until.is_none() && work.due_at > daemon.clock.now() + Duration::from_secs(5)
    };
    daemon.run_clock("a longer round", rests).await;
    let due_at = daemon.clock.now() + Duration::from_secs(3_600);
    daemon.rewrite(id, Some(store::Work { due_at, ..work().await }), |_| {}).await;
    id
}

/// They would be tried again in rounds of a minute, and calls that come after the key is mended would overtake them.
#[tokio::test]
async fn creates_that_wait_for_their_sender_are_sent_as_soon_as_it_acts_again() {
    let daemon = TestDaemon::start().await;
    let id = queue_without_a_token(&daemon).await;
    let begun = daemon.clock.uptime();

    daemon.control(Method::DELETE, "faults", &Value::Null).await;
    let is_open = async || daemon.record(id).await.signing.status == SigningStatus::Open;
    daemon.run_clock("the envelope", is_open).await;
    let waited = daemon.clock.uptime().saturating_sub(begun);
    assert!(waited < Duration::from_secs(600), "as soon as there is a token: {waited:?}");
}

/// As with another key in the settings: the daemon that starts has never known that its sender could not act.
#[tokio::test]
async fn creates_that_wait_for_their_sender_are_sent_as_soon_as_a_start_lets_it_act() {
    let mut daemon = TestDaemon::start().await;
    let id = queue_without_a_token(&daemon).await;
    let begun = daemon.clock.uptime();

    daemon
        .restart_after(async |daemon| drop(daemon.control(Method::DELETE, "faults", &Value::Null).await))
        .await;
    let is_open = async || daemon.record(id).await.signing.status == SigningStatus::Open;
    daemon.run_clock("the envelope", is_open).await;
    let waited = daemon.clock.uptime().saturating_sub(begun);
    assert!(waited < Duration::from_secs(600), "as soon as there is a token: {waited:?}");
}

/// The daemon that starts has forgotten the limit, and would send as many at once as one round takes up.
#[tokio::test]
async fn b2_a_start_sends_nothing_that_waits_for_the_end_of_a_limit() {
    let mut daemon = TestDaemon::start().await;
    // What waits for nothing but its sender is sent in the middle of the pause that DocuSign asks for.
    daemon.rules_may_break();
    daemon.fault(&json!({"fault": "rate_limit", "status": 429, "method": "POST", "path": "/envelopes", "count": 1, "reset_s": 3_600})).await;
    let mut ids = Vec::new();
    for number in 0..3 {
        let one = daemon.queue(&format!("order-{number}"), &unopened()).await;
        let id = one.id().parse::<SigningId>().unwrap();
        daemon.until("a limit", async || daemon.record(id).await.signing.limited_until.is_some()).await;
        ids.push(id);
    }
    let limited = daemon.record(ids[0]).await;
    let waits = limited.work.unwrap();
    assert_eq!((limited.signing.limited_until, waits.leased_until), (Some(waits.due_at), None));
    assert!(waits.due_at > daemon.clock.now() + Duration::from_secs(3_000), "{waits:?}");
    // A person stands before one, and one waits for its sender.
    let until = daemon.record(ids[1]).await.signing.limited_until;
    let first = limited.signing.created_at - SignedDuration::from_hours(24 * 365);
    let stood_before = store::Work { due_at: first, leased_until: until, attempts: 1 };
    daemon.rewrite(ids[1], Some(stood_before), |_| {}).await;
    daemon.rewrite(ids[2], Some(waits), |signing| signing.limited_until = None).await;

    daemon.restart().await;
    let is_open = async |id: SigningId| daemon.record(id).await.signing.status == SigningStatus::Open;
    daemon.run_clock_slowly("what waits for its sender", async || is_open(ids[2]).await).await;
    for (id, work) in [(ids[0], waits), (ids[1], stood_before)] {
        assert_eq!(daemon.record(id).await.work, Some(work), "nobody has touched it");
    }
    assert_eq!(daemon.envelopes().await, 1);
    daemon.clock.advance(Duration::from_secs(3_600));
    for id in [ids[0], ids[1]] {
        daemon.run_clock("the end of the limit", async || is_open(id).await).await;
    }
    assert_eq!(daemon.envelopes().await, 3);
}

/// More than one statement takes: the writer and the log of the store are others', too.
#[tokio::test]
async fn however_many_creates_wait_for_their_senders_all_are_due_when_those_act_again() {
    const MANY: u32 = 4_001;
    let line = Line::new().await;
    let now = line.clock.now();
    let senders = ["one", "another"].map(SenderName::new);
    let due_at = now + Duration::from_secs(64);
    for number in 0..MANY {
        let mut intent = samples::intent(u64::from(number));
        intent.work = store::Work { due_at, leased_until: None, attempts: 6 };
        intent.signing.sender = senders[usize::from(number % 2 == 0)].clone();
        assert!(matches!(line.store.begin(&intent).await.unwrap(), store::Begun::New(_)));
    }
    line.signings.hasten(&senders).await;
    let due = line.store.claim(now, due_at, MANY + 1).await.unwrap();
    assert_eq!(due.len(), 4_001);
}
