//! Connect: events pushed to whoever asked for them, signed, in order, and tried again.
//!
//! A step of an envelope becomes one message for each configuration that wants it (single-message
//! delivery, SIM: [`events`]). Messages wait in the world's `outgoing` until the call that caused them is over;
//! then [`Deliverer`] posts them, one queue a configuration, so that order is kept within it.
//!
//! A message that tells of documents has them in it, written anew for each attempt and forgotten after
//! it: what waits in a queue, for a slow receiver or for hours between retries, does not hold them.
//!
//! Gaps: JSON only, no XML; loopback receivers only, whatever was configured; no mutual TLS, no OAuth,
//! no delivery log. The retry schedule is ours, since the vendor's is not known: 5 s, doubling up to an
//! hour, ten retries, on the emulator's clock, and none at all without `requireAcknowledgment`, as
//! documented.
//!
//! Sources: developers.docusign.com, platform/webhooks/connect (JSON SIM event model, validation and
//! security), connect.schema-v2.json in docusign/OpenAPI-Specifications.

use std::{
    borrow::Cow,
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::lifecycle::Lifecycle;

mod events;

pub(super) use self::events::{emit, emit_of_template, unknown_event};
use super::{
    envelopes::documents::Papers,
    faults::{Faults, Kind},
    state::{SharedWorld, World},
    time::Time,
};

/// A receiver has so long to answer (SPEC: requiresAcknowledgement).
const RECEIVER_TIMEOUT: Duration = Duration::from_secs(100);
/// Retries, and the wait before the first one.
const MAX_RETRIES: u32 = 10;
const FIRST_RETRY: SignedDuration = SignedDuration::from_secs(5);
const LONGEST_WAIT: SignedDuration = SignedDuration::from_hours(1);
/// An overtaken event goes out after this, if nothing overtakes it.
const REORDER_WAIT: SignedDuration = SignedDuration::from_secs(2);

/// One event on its way to one receiver.
#[derive(Debug, Clone)]
pub(super) struct Outgoing {
    /// Which configuration: its queue.
    configuration: u64,
    account: String,
    address: String,
    /// The message without the files in it.
    body: Value,
    /// Whose files belong into it, where documents were asked for.
    papers: Option<Arc<Papers>>,
    includes_hmac: bool,
    must_be_acknowledged: bool,
    /// When it happened.
    at: Timestamp,
    /// Ends when the world is reset.
    era: CancellationToken,
    mishaps: Mishaps,
}

/// What the armed faults do to one event, drawn in the order of events, whatever the speed of receivers. Only whether a
/// retry is missigned is drawn when it is tried, by what is armed then: below a rate of 1 later draws depend on that.
#[derive(Debug, Clone, Copy, Default)]
struct Mishaps {
    delay: Option<SignedDuration>,
    is_doubled: bool,
    /// The first time that it is tried.
    is_missigned: bool,
    is_overtaken: bool,
}

impl Mishaps {
    fn draw(faults: &mut Faults, event: &Outgoing) -> Self {
        let path = event.path();
        let mut fire = |kind| faults.fire(kind, "POST", &path);
        let is_overtaken = fire(Kind::EventReorder).is_some();
        let delay = fire(Kind::EventDelay).and_then(|fault| fault.delay_ms);
        Self {
            delay: delay.map(|ms| SignedDuration::from_millis(i64::try_from(ms).unwrap_or(i64::MAX))),
            is_doubled: fire(Kind::EventDouble).is_some(),
            is_missigned: event.includes_hmac && fire(Kind::EventBadSignature).is_some(),
            is_overtaken,
        }
    }
}

impl Outgoing {
    /// By which faults are chosen.
    fn path(&self) -> String {
        url::Url::parse(&self.address).map(|url| url.path().to_owned()).unwrap_or_default()
    }

    /// The body of one attempt, with the files in it (CONNECT: envelopeDocuments, `PDFBytes`).
    fn message(&self, retry: u32) -> String {
        let mut body = self.body.clone();
        body["retryCount"] = json!(retry);
        if let Some(papers) = &self.papers {
            let rows = body.pointer_mut("/data/envelopeSummary/envelopeDocuments");
            for row in rows.and_then(Value::as_array_mut).into_iter().flatten() {
                if let Some(file) = row["documentId"].as_str().and_then(|id| papers.file(id)) {
                    row["PDFBytes"] = Value::String(STANDARD.encode(file));
                }
            }
        }
        body.to_string()
    }
}

/// What happened since the last time, with what the armed faults make of it. An event that a refused change took back
/// is not among it, and costs no draw.
pub(super) fn take(world: &mut World) -> Vec<Outgoing> {
    let World { outgoing, faults, .. } = world;
    let mut events = std::mem::take(outgoing);
    for event in &mut events {
        event.mishaps = Mishaps::draw(faults, event);
    }
    events
}

/// Whether this address is on this machine.
pub(super) fn is_loopback(address: &url::Url) -> bool {
    match address.host() {
        Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

/// The keys that prove a body, each by a header: base64 of HMAC-SHA256 over the exact bytes. Signing a large one takes a
/// while, so it is done without the world.
fn keys(world: &World, account: &str) -> Vec<hmac::Key> {
    let keys = world
        .directory
        .accounts
        .get(account)
        .map(|account| account.connect.hmac_keys.as_slice())
        .unwrap_or_default();
    keys.iter().map(|key| hmac::Key::new(hmac::HMAC_SHA256, key.secret.as_bytes())).collect()
}

/// What waits, by configuration. One that nothing waits for is not in it: envelopes have configurations of their
/// own.
type Queues = Arc<Mutex<HashMap<u64, mpsc::UnboundedSender<Outgoing>>>>;

/// Posts events: one task a configuration, for as long as there are any.
#[derive(Debug, Clone)]
pub(super) struct Deliverer {
    courier: Courier,
    life: Lifecycle,
    queues: Queues,
}

impl Deliverer {
    /// One that delivers for this world as long as this life.
    pub(super) fn start(world: SharedWorld, time: Time, life: &Lifecycle) -> Self {
        let courier = Courier { world, time, client: client(), stopping: life.stopping() };
        Self { courier, life: life.clone(), queues: Arc::default() }
    }

    /// Takes events over, in order.
    pub(super) fn enqueue(&self, events: Vec<Outgoing>) {
        for event in events {
            let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
            let queue = queues.entry(event.configuration).or_insert_with(|| {
                let (sender, receiver) = mpsc::unbounded_channel();
                let queues = Arc::clone(&self.queues);
                let run = self.courier.clone().run(event.configuration, receiver, queues);
                self.life.spawn("connect deliveries", run);
                sender
            });
            // A queue that has ended belongs to a life that is stopping.
            let _ = queue.send(event);
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the emulator shares nothing with the client side, nor http_client"
)]
fn client() -> reqwest::Client {
    reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(RECEIVER_TIMEOUT)
        // Only loopback is ever called, where certificates are made up for the occasion.
        .tls_danger_accept_invalid_certs(true)
        .build()
        .expect("a client without a proxy and without roots needs nothing from the machine")
}

#[derive(Debug, Clone)]
struct Courier {
    world: SharedWorld,
    time: Time,
    client: reqwest::Client,
    stopping: CancellationToken,
}

/// The next event of a configuration. Looked at under the lock that events come in by: none arrives between the
/// look and the end of the queue.
fn next(
    configuration: u64,
    queue: &mut mpsc::UnboundedReceiver<Outgoing>,
    queues: &Queues,
) -> Option<Outgoing> {
    let mut queues = queues.lock().unwrap_or_else(PoisonError::into_inner);
    let next = queue.try_recv().ok();
    if next.is_none() {
        queues.remove(&configuration);
    }
    next
}

impl Courier {
    async fn run(self, configuration: u64, mut queue: mpsc::UnboundedReceiver<Outgoing>, queues: Queues) {
        let mut following: Option<Outgoing> = None;
        while let Some(event) = following.take().or_else(|| next(configuration, &mut queue, &queues)) {
            if self.stopping.is_cancelled() {
                return;
            }
            if event.mishaps.is_overtaken {
                let until = after(event.at, REORDER_WAIT);
                // What waits already is looked at first, and by when it happened: a receiver that was slow before
                // lets nothing more overtake.
                following = tokio::select! {
                    biased;
                    () = self.stopping.cancelled() => return,
                    () = event.era.cancelled() => None,
                    next = queue.recv() => next,
                    () = self.time.sleep_until(until) => None,
                };
                if let Some(overtaking) = following.take_if(|next| next.at < until) {
                    self.deliver(&overtaking).await;
                }
            }
            self.deliver(&event).await;
        }
    }

    /// One event, until it is taken or given up, or its world was reset.
    async fn deliver(&self, event: &Outgoing) {
        let delivery = async {
            if let Some(delay) = event.mishaps.delay {
                self.wait(delay).await;
            }
            self.persist(event, event.mishaps.is_missigned).await;
            if event.mishaps.is_doubled {
                self.persist(event, self.missigns(event)).await;
            }
        };
        event.era.run_until_cancelled(delivery).await;
    }

    async fn persist(&self, event: &Outgoing, is_missigned: bool) {
        let mut pause = FIRST_RETRY;
        for retry in 0..=MAX_RETRIES {
            if event.era.is_cancelled() || self.stopping.is_cancelled() {
                return;
            }
            let is_missigned = if retry == 0 { is_missigned } else { self.missigns(event) };
            if self.post(event, retry, is_missigned).await {
                return;
            }
            if !event.must_be_acknowledged {
                return;
            }
            self.wait(pause).await;
            pause = pause.saturating_mul(2).min(LONGEST_WAIT);
        }
    }

    async fn wait(&self, pause: SignedDuration) {
        tokio::select! {
            () = self.stopping.cancelled() => {}
            () = self.time.sleep_until(after(self.time.now(), pause)) => {}
        }
    }

    /// Whether the armed faults missign it now.
    fn missigns(&self, event: &Outgoing) -> bool {
        event.includes_hmac
            && self.world.lock().faults.fire(Kind::EventBadSignature, "POST", &event.path()).is_some()
    }

    /// One attempt; whether the receiver took it.
    async fn post(&self, event: &Outgoing, retry: u32, is_missigned: bool) -> bool {
        let Some(address) = url::Url::parse(&event.address).ok().filter(is_loopback) else {
            tracing::warn!("a connect event was not delivered: the emulator calls loopback addresses only");
            return true;
        };
        let body = event.message(retry);
        let mut request = self
            .client
            .post(address)
            .header("content-type", "application/json; charset=utf-8")
            .header("x-docusign-accountid", &event.account);
        if event.includes_hmac {
            request = request.header("x-authorization-digest", "HMACSHA256");
            let signed: Cow<'_, str> =
                if is_missigned { Cow::Owned(format!("{body} ")) } else { Cow::Borrowed(&body) };
            let keys = keys(&self.world.lock(), &event.account);
            for (index, key) in keys.iter().enumerate() {
                let digest = STANDARD.encode(hmac::sign(key, signed.as_bytes()));
                request = request.header(format!("x-docusign-signature-{}", index + 1), digest);
            }
        }
        let answer = tokio::select! {
            () = self.stopping.cancelled() => return true,
            answer = request.body(body).send() => answer,
        };
        answer.is_ok_and(|answer| answer.status().is_success())
    }
}

fn after(now: Timestamp, pause: SignedDuration) -> Timestamp {
    now.saturating_add(pause).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_called() {
        let is = |text: &str| is_loopback(&url::Url::parse(text).unwrap());
        assert!(
            is("http://127.0.0.1:1/x")
                && is("http://[::1]/")
                && is("https://localhost/x")
                && is("http://127.9.9.9/")
        );
        assert!(
            !is("https://example.com/") && !is("http://localhost.example.com/") && !is("http://10.0.0.1/")
        );
    }
}
