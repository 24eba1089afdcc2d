//! Connect: events pushed to whoever asked for them, signed, in order, and tried again.
//!
//! A step of an envelope becomes one message for each configuration that wants it (single-message
//! delivery, SIM). Messages wait in the world's `outgoing` until the call that caused them is over;
//! then [`Deliverer`] posts them, one queue a configuration, so that order is kept within it.
//!
//! Gaps: JSON only, no XML and no documents in messages; loopback receivers only, whatever was
//! configured; no mutual TLS, no OAuth, no delivery log. The retry schedule is ours, since the
//! vendor's is not known: 5 s, doubling up to an hour, ten retries, on the emulator's clock, and
//! none at all without `requireAcknowledgment`, as documented.
//!
//! Sources: developers.docusign.com, platform/webhooks/connect (JSON SIM event model, validation and
//! security), connect.schema-v2.json in docusign/OpenAPI-Specifications.

use std::{
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

use super::{
    envelopes::{
        model::Envelope,
        render::{self, Include},
    },
    faults::{Faults, Kind},
    http::{truthy, vendor_time},
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
    body: Value,
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

/// Tells every configuration that wants to know.
pub(super) fn emit(world: &mut World, id: &str, event: &str, recipient: Option<&str>, now: Timestamp) {
    let Some(envelope) = world.envelopes.envelopes.get(id) else { return };
    let mut wanting: Vec<(u64, Value)> =
        envelope.hooks.iter().filter(|(_, hook)| wants(hook, event)).cloned().collect();
    let account = world.directory.accounts.get(&envelope.account);
    let is_sender = |user: &str| user.trim().eq_ignore_ascii_case(&envelope.sender);
    for (number, configuration) in account.into_iter().flat_map(|account| &account.connect.configurations) {
        let applies = truthy(configuration.get("allUsers"))
            || configuration["userIds"]
                .as_array()
                .is_some_and(|users| users.iter().filter_map(Value::as_str).any(is_sender));
        if applies && truthy(configuration.get("allowEnvelopePublish")) && wants(configuration, event) {
            wanting.push((*number, configuration.clone()));
        }
    }
    let messages: Vec<Outgoing> = wanting
        .into_iter()
        .map(|(number, configuration)| {
            let address = configuration["url"].as_str().or_else(|| configuration["urlToPublishTo"].as_str());
            let acknowledged = configuration
                .get("requireAcknowledgment")
                .or_else(|| configuration.get("requiresAcknowledgement"));
            Outgoing {
                configuration: number,
                account: envelope.account.clone(),
                address: address.unwrap_or_default().to_owned(),
                body: message(world, envelope, event, recipient, (number, &configuration), now),
                includes_hmac: truthy(configuration.get("includeHMAC")),
                must_be_acknowledged: truthy(acknowledged),
                at: now,
                era: world.era.clone(),
                mishaps: Mishaps::default(),
            }
        })
        .collect();
    world.outgoing.extend(messages);
}

/// Whether a configuration lists this event, in the modern or the legacy way.
/// The events that can be asked for (SPEC: eventNotification.events), and the one that only
/// platform/webhooks/connect/event-triggers has: `envelope-created`.
const EVENTS: &[&str] = &[
    "click-agreed",
    "click-declined",
    "envelope-completed",
    "envelope-corrected",
    "envelope-created",
    "envelope-declined",
    "envelope-deleted",
    "envelope-delivered",
    "envelope-discard",
    "envelope-purge",
    "envelope-resent",
    "envelope-sent",
    "envelope-voided",
    "recipient-authenticationfailed",
    "recipient-autoresponded",
    "recipient-completed",
    "recipient-declined",
    "recipient-delegate",
    "recipient-delivered",
    "recipient-finish-later",
    "recipient-reassign",
    "recipient-resent",
    "recipient-sent",
    "template-created",
    "template-deleted",
    "template-modified",
];

/// The first event of a list that does not exist.
pub(super) fn unknown_event(events: &Value) -> Option<&str> {
    let asked = events.as_array().into_iter().flatten().filter_map(Value::as_str);
    asked.into_iter().find(|event| !EVENTS.iter().any(|known| known.eq_ignore_ascii_case(event)))
}

fn wants(configuration: &Value, event: &str) -> bool {
    let modern = configuration["events"].as_array().filter(|events| !events.is_empty());
    if let Some(events) = modern {
        return events.iter().filter_map(Value::as_str).any(|wanted| wanted.eq_ignore_ascii_case(event));
    }
    let (list, field, status) = match event.split_once('-') {
        Some(("envelope", status)) => ("envelopeEvents", "envelopeEventStatusCode", status),
        Some(("recipient", status)) => ("recipientEvents", "recipientEventStatusCode", status),
        _ => return false,
    };
    let names = configuration[list].as_array().into_iter().flatten();
    names.filter_map(|item| item.as_str().or_else(|| item[field].as_str())).any(|name| {
        // The older word for an envelope that is made and not sent (SPEC: envelopeEventStatusCode).
        let is_draft = name.eq_ignore_ascii_case("draft") && event == "envelope-created";
        is_draft || name.eq_ignore_ascii_case(status)
    })
}

fn message(
    world: &World,
    envelope: &Envelope,
    event: &str,
    recipient: Option<&str>,
    (number, configuration): (u64, &Value),
    now: Timestamp,
) -> Value {
    let mut data = json!({
        "accountId": envelope.account,
        "userId": envelope.sender,
        "envelopeId": envelope.id,
    });
    if let Some(recipient) = recipient.and_then(|guid| envelope.recipient(guid)) {
        data["recipientId"] = json!(recipient.id);
    }
    let wanted = configuration["eventData"]["includeData"].as_array().filter(|wanted| !wanted.is_empty());
    if let Some(wanted) = wanted {
        let names: Vec<&str> = wanted.iter().filter_map(Value::as_str).collect();
        data["envelopeSummary"] = render::envelope(world, envelope, Include::parse(&names.join(",")));
    }
    json!({
        "event": event,
        "apiVersion": "v2.1",
        "uri": format!("/restapi/v2.1/accounts/{}/envelopes/{}", envelope.account, envelope.id),
        "retryCount": 0,
        "configurationId": number,
        "generatedDateTime": vendor_time(now),
        "data": data,
    })
}

/// The headers that prove a body, one a key: base64 of HMAC-SHA256 over the exact bytes.
fn digests(world: &World, account: &str, body: &[u8]) -> Vec<String> {
    let keys = world
        .directory
        .accounts
        .get(account)
        .map(|account| account.connect.hmac_keys.as_slice())
        .unwrap_or_default();
    keys.iter()
        .map(|key| {
            let key = hmac::Key::new(hmac::HMAC_SHA256, key.secret.as_bytes());
            STANDARD.encode(hmac::sign(&key, body))
        })
        .collect()
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
        let mut body = event.body.clone();
        body["retryCount"] = json!(retry);
        let body = body.to_string();
        let mut request = self
            .client
            .post(address)
            .header("content-type", "application/json; charset=utf-8")
            .header("x-docusign-accountid", &event.account);
        if event.includes_hmac {
            request = request.header("x-authorization-digest", "HMACSHA256");
            let signed = if is_missigned { format!("{body} ") } else { body.clone() };
            let digests = digests(&self.world.lock(), &event.account, signed.as_bytes());
            for (index, digest) in digests.iter().enumerate() {
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
    fn events_are_chosen_by_either_kind_of_list() {
        let modern = json!({ "events": ["envelope-completed", "recipient-sent"] });
        assert!(wants(&modern, "envelope-completed") && !wants(&modern, "envelope-sent"));
        let legacy = json!({
            "envelopeEvents": [{ "envelopeEventStatusCode": "Completed" }],
            "recipientEvents": [{ "recipientEventStatusCode": "AuthenticationFailed" }],
        });
        assert!(wants(&legacy, "envelope-completed") && wants(&legacy, "recipient-authenticationfailed"));
        assert!(!wants(&legacy, "recipient-completed"));
        assert!(wants(&json!({ "envelopeEvents": ["Voided"] }), "envelope-voided"));
        assert!(!wants(&json!({}), "envelope-voided"));
    }

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
