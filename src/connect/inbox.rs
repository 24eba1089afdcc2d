//! The inbox: deliveries in, facts out to the signings.
//!
//! ```text
//! receive   signed at all? ─ body within its limits ─ digest ─ token ─ on disk ─▶ answered
//! run       read from disk ─ facts ─ observed ─ marked as taken in        (again until it is done)
//! ```
//!
//! The two halves meet only in the store, so that a crash between them costs nothing. Several daemons
//! may take the same message in; the second one finds that it knows it.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use arc_swap::{ArcSwap, ArcSwapOption};
use futures_util::StreamExt as _;
use tokio::sync::{Notify, Semaphore};

use crate::{
    clock::{Deadline, SharedClock},
    connect::{
        Bearers, Clients, Keys, Limits, Message, OwnKeys, Tokens,
        body_slots::BodySlots,
        unknown_envelopes::{Look, UnknownEnvelopes},
        unnamed_signers::MAX_UNCLEAR,
    },
    lifecycle::Lifecycle,
    signing::Signings,
    store::{self, Digest, Inbound, SharedStore},
    telemetry::{
        chain,
        lasting_trouble::{LastingTrouble, Say},
        log_throttle::LogThrottle,
        metrics::Metrics,
    },
};

/// The wait for messages that another daemon has stored, or that could not be taken in.
const IDLE: Duration = Duration::from_secs(5);
/// Messages read from the store at once.
pub(super) const BATCH: u32 = 256;
/// Envelopes whose messages are taken in at the same time.
const SIDE_BY_SIDE: usize = 16;

/// What the inbox is built on.
#[derive(Debug)]
pub struct Dependencies {
    /// Where messages are.
    pub store: SharedStore,
    /// Who observes what they say.
    pub signings: Signings,
    /// The keys of accounts that are one sender's.
    pub own_keys: OwnKeys,
    /// The time.
    pub clock: SharedClock,
    /// When to stop, and who waits for what goes on.
    pub life: Lifecycle,
    /// What is counted.
    pub metrics: Arc<Metrics>,
}

/// Takes deliveries in. Clones share everything.
#[derive(Debug, Clone)]
pub struct Inbox {
    pub(super) parts: Arc<Parts>,
}

#[derive(Debug)]
pub(super) struct Parts {
    pub(super) store: SharedStore,
    pub(super) signings: Signings,
    pub(super) clock: SharedClock,
    pub(super) life: Lifecycle,
    pub(super) metrics: Arc<Metrics>,
    pub(super) limits: Limits,
    pub(super) keys: ArcSwap<Keys>,
    pub(super) own_keys: OwnKeys,
    pub(super) bearers: ArcSwap<Bearers>,
    pub(super) clients: ArcSwapOption<Clients>,
    pub(super) tokens: ArcSwapOption<Tokens>,
    /// For bodies on their way, small and large ones.
    pub(super) small: BodySlots,
    pub(super) large: BodySlots,
    /// Lines about deliveries that prove nothing, and about those that were cut short or cannot be read.
    pub(super) refusals: LogThrottle,
    pub(super) failures: LogThrottle,
    /// Lines about envelopes that nobody came to know.
    strangers: LogThrottle,
    /// Lines about looks at unknown envelopes that fail.
    look_trouble: LastingTrouble,
    /// Wakes the task that takes in.
    pub(super) stored: Notify,
    pub(super) unknown: Mutex<UnknownEnvelopes>,
    /// Places for news of which it is not known whom it is about.
    pub(super) unclear: Arc<Semaphore>,
    /// Ends that stay in the store until it is known what they leave out.
    pub(super) put_off: Mutex<HashSet<Digest>>,
}

impl Inbox {
    /// An inbox that believes what comes to a sender's own address and is signed with one of that sender's keys, and
    /// nothing else until [`Inbox::set_keys`]. [`Inbox::run`] must be spawned.
    pub fn new(given: Dependencies, limits: Limits) -> Self {
        let Dependencies { store, signings, own_keys, clock, life, metrics } = given;
        let parts = Parts {
            store,
            signings,
            clock,
            life,
            metrics,
            limits,
            keys: ArcSwap::default(),
            own_keys,
            bearers: ArcSwap::default(),
            clients: ArcSwapOption::empty(),
            tokens: ArcSwapOption::empty(),
            small: BodySlots::new(limits.small),
            large: BodySlots::new(limits.large),
            refusals: LogThrottle::default(),
            failures: LogThrottle::default(),
            strangers: LogThrottle::default(),
            look_trouble: LastingTrouble::default(),
            stored: Notify::new(),
            unknown: Mutex::default(),
            unclear: Arc::new(Semaphore::new(MAX_UNCLEAR)),
            put_off: Mutex::default(),
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

    /// Takes stored messages in, at start those that were left, until the daemon stops.
    pub async fn run(self) {
        let stopping = self.parts.life.stopping();
        let (mut stuck, trouble) = (0, LastingTrouble::default());
        loop {
            let round = self.take_in(stuck).await;
            match trouble.note(&round, self.parts.clock.uptime()) {
                Some(Say::Fails(error)) => {
                    tracing::warn!(error = %chain(error), "the inbox cannot be read: trying again");
                }
                Some(Say::Over(lasted)) => {
                    tracing::info!(seconds = lasted.as_secs(), "the inbox can be read again");
                }
                None => {}
            }
            let wait = match round {
                // There may be more behind a full batch of which something was done.
                Ok(round) if round.is_full && round.left == 0 => Duration::ZERO,
                Ok(round) => {
                    stuck = round.left;
                    self.until_unknown().unwrap_or(IDLE).min(IDLE)
                }
                Err(_) => Duration::from_secs(1),
            };
            tokio::select! {
                () = stopping.cancelled() => return,
                () = self.parts.stored.notified() => {}
                () = self.parts.clock.sleep(wait) => {}
            }
        }
    }

    /// One round: everything stored, then the envelopes that were unknown. `stuck` messages of the last
    /// round lie at the front, and those that are put off: they must not hide what is behind them.
    pub(super) async fn take_in(&self, stuck: u32) -> Result<Round, store::Error> {
        let put_off = u32::try_from(self.put_off().len()).unwrap_or(u32::MAX);
        let limit = BATCH.saturating_add(stuck).saturating_add(put_off);
        let messages = self.parts.store.inbox(limit).await?;
        let is_full = u32::try_from(messages.len()).unwrap_or(u32::MAX) >= limit;
        let mut left = 0;
        let mut work = futures_util::stream::iter(by_envelope(messages))
            .map(|messages| self.take_in_order(messages))
            .buffer_unordered(SIDE_BY_SIDE);
        while let Some(undone) = work.next().await {
            left += undone;
        }
        self.look_at_unknown().await;
        Ok(Round { left, is_full })
    }

    /// Looks at the envelopes whose time has come, and says so when the store does not answer, and when it does again.
    async fn look_at_unknown(&self) {
        let now = self.parts.clock.uptime();
        // Where none was due, the store was not asked.
        let Some(looked) = self.look_at_due(now).await else { return };
        match self.parts.look_trouble.note(&looked, now) {
            Some(Say::Fails(error)) => {
                tracing::warn!(
                    error = %chain(error),
                    "unknown envelopes could not be looked up: looking again later"
                );
            }
            Some(Say::Over(lasted)) => {
                tracing::info!(seconds = lasted.as_secs(), "unknown envelopes can be looked up again");
            }
            None => {}
        }
    }

    /// Until the store does not answer: each further question may take as long as that one, and new messages would have
    /// to wait for all of them. None if there was nothing to look at.
    async fn look_at_due(&self, now: Duration) -> Option<Result<(), store::Error>> {
        let mut looked = None;
        while let Some(look) = self.unknown(|unknown, _| unknown.take_due(now)) {
            if let Err(error) = self.look_again(&look).await {
                self.unknown(|unknown, now| unknown.put_back(look, now));
                return Some(Err(error));
            }
            looked = Some(Ok(()));
        }
        looked
    }

    /// Takes in the messages about one envelope, as they came; answers how many could not be.
    async fn take_in_order(&self, messages: Vec<Inbound>) -> u32 {
        let mut undone = 0;
        for inbound in messages {
            if self.put_off().contains(&inbound.identity) {
                continue;
            }
            let done = match self.observe(&inbound).await {
                Ok(Fate::Taken) => self.parts.store.taken_in(inbound.identity, self.parts.clock.now()).await,
                Ok(Fate::PutOff) => Ok(()),
                Err(error) => Err(error),
            };
            if let Err(error) = done {
                undone += 1;
                tracing::warn!(
                    event = inbound.event, envelope.id = ?inbound.envelope, error = %chain(&error),
                    "a Connect event could not be taken in: trying again"
                );
            }
        }
        undone
    }

    async fn observe(&self, inbound: &Inbound) -> Result<Fate, store::Error> {
        let Some(envelope) = &inbound.envelope else { return Ok(Fate::Taken) };
        let Ok(message) = Message::parse(inbound.body.reveal()) else { return Ok(Fate::Taken) };
        let Some(record) = self.parts.store.signing_by_envelope(envelope).await? else {
            tracing::debug!(event = inbound.event, envelope.id = %envelope, "an event of an unknown envelope");
            self.unknown(|unknown, now| unknown.remember(envelope.clone(), now));
            return Ok(Fate::Taken);
        };
        let (is_over, signers) = (record.signing.tells_its_end(), &record.signing.signers);
        let (facts, left) = (message.facts(signers), message.left(signers));
        let (is_unclear, ends) = (!is_over && message.is_unclear(signers), message.ends());
        if is_unclear && self.find_out(envelope, message, inbound.identity) {
            return Ok(if ends { Fate::PutOff } else { Fate::Taken });
        }
        if facts.is_empty() && left.is_none() {
            return Ok(Fate::Taken);
        }
        let taken_in = async {
            if let Some((signer, at)) = left {
                self.parts.signings.left(record.signing.id, signer, at).await?;
            }
            self.parts.signings.observe(envelope, &facts).await
        };
        match taken_in.await {
            Ok(_) => Ok(Fate::Taken),
            Err(crate::signing::Error::Store(error)) => Err(error),
            // Whatever else it is, it will be the same next time.
            Err(error) => {
                tracing::error!(event = inbound.event, signing.id = %record.signing.id, error = %chain(&error), "an event led to nothing");
                Ok(Fate::Taken)
            }
        }
    }

    /// An envelope of which events came too early: takes all of them in once its signing is known.
    async fn look_again(&self, look: &Look) -> Result<(), store::Error> {
        let envelope = &look.envelope;
        if self.parts.store.signing_by_envelope(envelope).await?.is_none() {
            if look.is_last {
                self.give_up(look);
            }
            return Ok(());
        }
        let mut after = None;
        loop {
            let page = self.parts.store.inbound_of(envelope, after).await?;
            for inbound in &page.messages {
                self.observe(inbound).await?;
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        self.unknown(|unknown, _| unknown.forget(envelope));
        Ok(())
    }

    /// What was received about an envelope is no signing's: another program's, one that was made by passed calls, or one
    /// that an older backup does not know.
    fn give_up(&self, look: &Look) {
        self.parts.metrics.connect_unknown(look.deliveries);
        if let Some(others) = self.parts.strangers.due(self.parts.clock.uptime()) {
            tracing::info!(
                envelope.id = %look.envelope, deliveries = look.deliveries, others,
                "Connect events are of no signing of ours: none has come to have their envelope in an hour"
            );
        }
    }

    fn until_unknown(&self) -> Option<Duration> {
        self.unknown(|unknown, now| unknown.wait(now))
    }

    fn unknown<T>(&self, ask: impl FnOnce(&mut UnknownEnvelopes, Duration) -> T) -> T {
        let now = self.parts.clock.uptime();
        ask(&mut self.parts.unknown.lock().unwrap_or_else(PoisonError::into_inner), now)
    }

    pub(super) async fn within<T>(&self, time: Duration, work: impl Future<Output = T> + Send) -> Option<T> {
        let clock = &*self.parts.clock;
        Deadline::within(clock, time).hold(clock, work).await
    }
}

/// What became of a message.
#[derive(Debug, Clone, Copy)]
enum Fate {
    /// It stays where it is, until it is known what it says.
    PutOff,
    /// Whatever can come of it has come.
    Taken,
}

/// How a round of taking in went.
#[derive(Debug, Clone, Copy)]
pub(super) struct Round {
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
