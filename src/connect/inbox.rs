//! The inbox: deliveries in, facts out to the signings.
//!
//! ```text
//! receive   signed at all? ─ body within its limits ─ digest ─ on disk ─▶ answered
//! run       read from disk ─ facts ─ observed ─ marked as taken in        (again until it is done)
//! ```
//!
//! The two halves meet only in the store, so that a crash between them costs nothing. Several daemons
//! may take the same message in; the second one finds that it knows it.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use arc_swap::{ArcSwap, ArcSwapOption};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use bytes::Bytes;
use futures_util::StreamExt as _;
use http::{HeaderMap, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use tokio::sync::{Notify, Semaphore};

use crate::{
    clock::SharedClock,
    connect::{
        Clients, Keys, Message, Tokens, UnverifiedDelivery, VerifiedDelivery, digest::is_signed,
        payload::identity_of_bytes, strangers::Strangers,
    },
    domain::{EnvelopeId, Private, SenderName},
    lifecycle::Lifecycle,
    signing::{Seen, Signings},
    store::{self, Inbound, Received, SharedStore},
    telemetry::metrics::{ConnectResult, Metrics},
    tls::Name,
};

/// The wait for messages that another daemon has stored, or that could not be taken in.
const IDLE: Duration = Duration::from_secs(5);
/// Messages read from the store at once.
const BATCH: u32 = 256;
/// Envelopes whose messages are taken in at the same time.
const SIDE_BY_SIDE: usize = 16;

/// What a delivery may cost (rule S5).
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The largest body.
    pub body_bytes: usize,
    /// How long a body may take to arrive.
    pub body_time: Duration,
    /// Deliveries in memory at once.
    pub concurrent: usize,
    /// How long a delivery waits for its turn to be read.
    pub turn_time: Duration,
    /// How long the store may take.
    pub store_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 2 * 1024 * 1024,
            body_time: Duration::from_secs(10),
            concurrent: 64,
            turn_time: Duration::from_millis(500),
            store_time: Duration::from_millis(800),
        }
    }
}

/// Values of which the `Authorization` header must carry one (OAuth for Connect). Empty: not asked for.
#[derive(Clone, Default)]
pub struct Bearers(Vec<Private<String>>);

/// What became of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Receipt {
    /// It is stored.
    Accepted,
    /// No key makes its digest, or it does not show what else is asked for.
    BadDigest,
    /// Its body broke off.
    Broken,
    /// Too many at once, or the store does not answer: the upstream will come again.
    Busy,
    /// It had been received before.
    Duplicate,
    /// The account of a customer tells of an envelope that is none of ours.
    Foreign,
    /// Its body is over the limit.
    TooLarge,
    /// Its body did not arrive in time.
    TooSlow,
    /// It is stored, though we do not know its event, or cannot read it.
    Unknown,
}

impl Receipt {
    /// The HTTP status to answer with, and an empty body: whoever sent a wrong digest learns no more.
    pub const fn status(self) -> u16 {
        match self {
            Self::Accepted | Self::Duplicate | Self::Foreign | Self::Unknown => 200,
            Self::BadDigest => 401,
            Self::Broken => 400,
            Self::Busy => 503,
            Self::TooLarge => 413,
            Self::TooSlow => 408,
        }
    }

    /// How it is counted; what the upstream will send again is not.
    const fn counted(self) -> Option<ConnectResult> {
        match self {
            Self::Accepted => Some(ConnectResult::Accepted),
            Self::BadDigest => Some(ConnectResult::BadDigest),
            Self::Broken | Self::TooLarge | Self::TooSlow => Some(ConnectResult::Malformed),
            Self::Busy => None,
            Self::Duplicate => Some(ConnectResult::Duplicate),
            Self::Foreign | Self::Unknown => Some(ConnectResult::Unknown),
        }
    }
}

impl Bearers {
    /// The values, of which any will do.
    pub fn new(values: impl IntoIterator<Item = String>) -> Self {
        Self(values.into_iter().filter(|value| !value.is_empty()).map(Private::new).collect())
    }

    fn admit(&self, headers: &HeaderMap) -> bool {
        if self.0.is_empty() {
            return true;
        }
        let value = headers.get(header::AUTHORIZATION).map_or(&b""[..], |value| value.as_bytes());
        let Some((scheme, value)) = value.split_at_checked(7) else { return false };
        let is_one = |one: &Private<String>| verify_slices_are_equal(one.reveal().as_bytes(), value).is_ok();
        // Not `any`: which of them matched must not show in the time.
        let matching = self.0.iter().filter(|one| is_one(one)).count();
        scheme.eq_ignore_ascii_case(b"bearer ") && matching > 0
    }
}

impl fmt::Debug for Bearers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bearers({})", self.0.len())
    }
}

/// Takes deliveries in. Clones share everything.
#[derive(Debug, Clone)]
pub struct Inbox {
    parts: Arc<Parts>,
}

#[derive(Debug)]
struct Parts {
    store: SharedStore,
    signings: Signings,
    clock: SharedClock,
    life: Lifecycle,
    metrics: Arc<Metrics>,
    limits: Limits,
    keys: ArcSwap<Keys>,
    bearers: ArcSwap<Bearers>,
    clients: ArcSwapOption<Clients>,
    tokens: ArcSwapOption<Tokens>,
    turns: Semaphore,
    /// Wakes the task that takes in.
    stored: Notify,
    strangers: Mutex<Strangers>,
}

impl Inbox {
    /// An inbox that believes what is signed with one of the keys. [`Inbox::run`] must be spawned.
    pub fn new(
        store: SharedStore,
        signings: Signings,
        clock: SharedClock,
        life: Lifecycle,
        metrics: Arc<Metrics>,
        keys: Keys,
        limits: Limits,
    ) -> Self {
        let parts = Parts {
            store,
            signings,
            clock,
            life,
            metrics,
            limits,
            keys: ArcSwap::from_pointee(keys),
            bearers: ArcSwap::default(),
            clients: ArcSwapOption::empty(),
            tokens: ArcSwapOption::empty(),
            turns: Semaphore::new(limits.concurrent),
            stored: Notify::new(),
            strangers: Mutex::default(),
        };
        Self { parts: Arc::new(parts) }
    }

    /// Takes other keys from now on (rule H3).
    pub fn set_keys(&self, keys: Keys) {
        self.parts.keys.store(Arc::new(keys));
    }

    /// Asks for a bearer value, too, from now on.
    pub fn set_bearers(&self, bearers: Bearers) {
        self.parts.bearers.store(Arc::new(bearers));
    }

    /// Asks for a client certificate, too, from now on; or for none.
    pub fn set_clients(&self, clients: Option<Clients>) {
        self.parts.clients.store(clients.map(Arc::new));
    }

    /// Asks for an access token, too, from now on; or for none.
    pub fn set_tokens(&self, tokens: Option<Tokens>) {
        self.parts.tokens.store(tokens.map(Arc::new));
    }

    /// Receives one delivery, of one who has shown a certificate with these names: verified, and on disk when this answers [`Receipt::Accepted`].
    pub async fn receive<B>(&self, headers: &HeaderMap, certificate: Option<&[Name]>, body: B) -> Receipt
    where
        B: http_body::Body<Data = Bytes> + Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let receipt = match self.verify(headers, certificate, body).await {
            Ok(delivery) => self.keep(&delivery).await,
            Err(refused) => refused,
        };
        if let Some(result) = receipt.counted() {
            self.parts.metrics.connect_delivered(result);
        }
        if !matches!(receipt, Receipt::Accepted | Receipt::Duplicate | Receipt::Foreign) {
            tracing::warn!(?receipt, "a Connect delivery was not simply accepted");
        }
        receipt
    }

    async fn verify<B>(
        &self,
        headers: &HeaderMap,
        certificate: Option<&[Name]>,
        body: B,
    ) -> Result<VerifiedDelivery, Receipt>
    where
        B: http_body::Body<Data = Bytes> + Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (limits, keys) = (&self.parts.limits, self.parts.keys.load_full());
        // Nobody's body is read who shows nothing that could prove it.
        if keys.is_empty() || !is_signed(headers) || !self.parts.bearers.load().admit(headers) {
            return Err(Receipt::BadDigest);
        }
        if self.parts.clients.load().as_ref().is_some_and(|clients| !clients.admit(certificate)) {
            return Err(Receipt::BadDigest);
        }
        if let Some(tokens) = self.parts.tokens.load_full() {
            match self.within(limits.turn_time, tokens.admit(headers)).await {
                Some(Ok(true)) => {}
                Some(Ok(false)) => return Err(Receipt::BadDigest),
                Some(Err(_)) | None => return Err(Receipt::Busy),
            }
        }
        let most = u64::try_from(limits.body_bytes).unwrap_or(u64::MAX);
        if body.size_hint().lower() > most {
            return Err(Receipt::TooLarge);
        }
        let turn = self.within(limits.turn_time, self.parts.turns.acquire()).await;
        let _turn = turn.and_then(Result::ok).ok_or(Receipt::Busy)?;
        let limited = Limited::new(body, limits.body_bytes);
        let read =
            self.within(limits.body_time, Box::pin(limited.collect())).await.ok_or(Receipt::TooSlow)?;
        let broken = |error: Box<dyn std::error::Error + Send + Sync>| {
            if error.is::<LengthLimitError>() { Receipt::TooLarge } else { Receipt::Broken }
        };
        let body = read.map_err(broken)?;
        UnverifiedDelivery::new(headers, body.to_bytes()).verify(&keys).map_err(|_| Receipt::BadDigest)
    }

    async fn keep(&self, delivery: &VerifiedDelivery) -> Receipt {
        let body = delivery.body();
        let message = Message::parse(body).ok();
        if let Some(senders) = delivery.of() {
            let envelope = message.as_ref().and_then(|message| message.envelope.as_ref());
            let allowed = self.within(self.parts.limits.store_time, self.speaks_for(senders, envelope)).await;
            if let Err(refused) = allowed.unwrap_or(Err(Receipt::Busy)) {
                return refused;
            }
        }
        let inbound = Inbound {
            identity: message
                .as_ref()
                .map_or_else(|| identity_of_bytes(body), |message| message.identity(body)),
            received_at: self.parts.clock.now(),
            envelope: message.as_ref().and_then(|message| message.envelope.clone()),
            event: message.as_ref().map(|message| message.event.clone()).unwrap_or_default(),
            body: Private::new(body.clone()),
        };
        match self.within(self.parts.limits.store_time, self.parts.store.receive(inbound)).await {
            Some(Ok(Received::New)) => {
                self.parts.stored.notify_one();
                if message.is_some_and(|message| message.is_known()) {
                    Receipt::Accepted
                } else {
                    Receipt::Unknown
                }
            }
            Some(Ok(Received::Again)) => Receipt::Duplicate,
            Some(Err(error)) => {
                tracing::error!(%error, "a Connect delivery could not be stored: DocuSign will send it again");
                Receipt::Busy
            }
            None => Receipt::Busy,
        }
    }

    /// Whether those whose keys signed may speak of the envelope. Anything else about a customer's account is
    /// none of ours, and is not kept.
    async fn speaks_for(&self, senders: &[SenderName], envelope: Option<&EnvelopeId>) -> Result<(), Receipt> {
        let busy = |error: store::Error| {
            tracing::error!(%error, "whose an envelope is cannot be read: DocuSign will send it again");
            Receipt::Busy
        };
        let Some(envelope) = envelope else { return Err(Receipt::Foreign) };
        match self.parts.store.signing_by_envelope(envelope).await.map_err(busy)? {
            Some(record) if senders.contains(&record.signing.sender) => Ok(()),
            Some(_) => Err(Receipt::BadDigest),
            // The answer to its create may not be written down yet.
            None if self.parts.store.unsettled().await.map_err(busy)? > 0 => Err(Receipt::Busy),
            None => Err(Receipt::Foreign),
        }
    }

    /// Takes stored messages in, at start those that were left, until the daemon stops.
    pub async fn run(self) {
        let stopping = self.parts.life.stopping();
        let mut stuck = 0;
        loop {
            let wait = match self.take_in(stuck).await {
                // There may be more behind a full batch of which something was done.
                Ok(round) if round.is_full && round.left == 0 => Duration::ZERO,
                Ok(round) => {
                    stuck = round.left;
                    self.until_strangers().unwrap_or(IDLE).min(IDLE)
                }
                Err(error) => {
                    tracing::warn!(%error, "the inbox cannot be read: trying again");
                    Duration::from_secs(1)
                }
            };
            tokio::select! {
                () = stopping.cancelled() => return,
                () = self.parts.stored.notified() => {}
                () = self.parts.clock.sleep(wait) => {}
            }
        }
    }

    /// One round: everything stored, then the envelopes that were unknown. `stuck` messages of the last
    /// round lie at the front, and must not hide what is behind them.
    async fn take_in(&self, stuck: u32) -> Result<Round, store::Error> {
        let limit = BATCH.saturating_add(stuck);
        let messages = self.parts.store.inbox(limit).await?;
        let is_full = u32::try_from(messages.len()).unwrap_or(u32::MAX) >= limit;
        let mut left = 0;
        let mut work = futures_util::stream::iter(by_envelope(messages))
            .map(|messages| self.take_in_order(messages))
            .buffer_unordered(SIDE_BY_SIDE);
        while let Some(undone) = work.next().await {
            left += undone;
        }
        let due = self.strangers(Strangers::due);
        for envelope in due {
            self.look_again(&envelope).await?;
        }
        Ok(Round { left, is_full })
    }

    /// Takes in the messages about one envelope, as they came; answers how many could not be.
    async fn take_in_order(&self, messages: Vec<Inbound>) -> u32 {
        let mut undone = 0;
        for inbound in messages {
            let done = match self.observe(&inbound).await {
                Ok(_) => self.parts.store.taken_in(inbound.identity, self.parts.clock.now()).await,
                Err(error) => Err(error),
            };
            if let Err(error) = done {
                undone += 1;
                tracing::warn!(
                    event = inbound.event, envelope.id = ?inbound.envelope, %error,
                    "a Connect event could not be taken in: trying again"
                );
            }
        }
        undone
    }

    async fn observe(&self, inbound: &Inbound) -> Result<Seen, store::Error> {
        let Some(envelope) = &inbound.envelope else { return Ok(Seen::Stranger) };
        let Ok(message) = Message::parse(inbound.body.reveal()) else { return Ok(Seen::Stranger) };
        let Some(record) = self.parts.store.signing_by_envelope(envelope).await? else {
            tracing::debug!(event = inbound.event, envelope.id = %envelope, "an event of an unknown envelope");
            self.strangers(|strangers, now| strangers.remember(envelope.clone(), now));
            return Ok(Seen::Stranger);
        };
        let facts = message.facts(&record.signing.signers);
        if facts.is_empty() {
            return Ok(Seen::Known);
        }
        match self.parts.signings.observe(envelope, &facts).await {
            Ok(seen) => Ok(seen),
            Err(crate::signing::Error::Store(error)) => Err(error),
            // Whatever else it is, it will be the same next time.
            Err(error) => {
                tracing::error!(event = inbound.event, signing.id = %record.signing.id, %error, "an event led to nothing");
                Ok(Seen::Known)
            }
        }
    }

    /// An envelope of which events came too early: takes all of them in once its signing is known.
    async fn look_again(&self, envelope: &EnvelopeId) -> Result<(), store::Error> {
        if self.parts.store.signing_by_envelope(envelope).await?.is_none() {
            return Ok(());
        }
        for inbound in self.parts.store.inbound_of(envelope).await? {
            self.observe(&inbound).await?;
        }
        self.strangers(|strangers, _| strangers.forget(envelope));
        Ok(())
    }

    fn until_strangers(&self) -> Option<Duration> {
        self.strangers(|strangers, now| strangers.wait(now))
    }

    fn strangers<T>(&self, ask: impl FnOnce(&mut Strangers, Duration) -> T) -> T {
        let now = self.parts.clock.uptime();
        ask(&mut self.parts.strangers.lock().unwrap_or_else(PoisonError::into_inner), now)
    }

    async fn within<T>(&self, time: Duration, work: impl Future<Output = T> + Send) -> Option<T> {
        tokio::select! {
            biased;
            done = work => Some(done),
            () = self.parts.clock.sleep(time) => None,
        }
    }
}

/// How a round of taking in went.
#[derive(Debug, Clone, Copy)]
struct Round {
    /// Messages that could not be taken in.
    left: u32,
    /// Whether there may be more.
    is_full: bool,
}

/// Groups messages by envelope, in the order in which they came, so that those of one do not compete.
fn by_envelope(messages: Vec<Inbound>) -> Vec<Vec<Inbound>> {
    let mut groups: Vec<Vec<Inbound>> = Vec::new();
    let mut places = std::collections::HashMap::new();
    for inbound in messages {
        match inbound.envelope.clone() {
            None => groups.push(vec![inbound]),
            Some(envelope) => {
                let place = *places.entry(envelope).or_insert(groups.len());
                if place == groups.len() {
                    groups.push(Vec::new());
                }
                groups[place].push(inbound);
            }
        }
    }
    groups
}
