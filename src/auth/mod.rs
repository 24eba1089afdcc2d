//! How we come to act as an impersonated user: from an RSA key to an access token.
//!
//! Follows DocuSign's "JWT Grant" (read 2026-10), RFC 7523 and RFC 6749. The parts stack:
//!
//! ```text
//! Auth             senders by name, consent, accounts            this file
//!   TokenCache     remembers one token, one flight at a time     token_cache
//!     Retry        says when to ask again                        retry
//!       GrantSource   keys in order, one clock correction        impersonation
//!         grant       one POST                                   grant
//!           Assertion    one signature                           assertion, signer
//!             keys       here, in a process or in a device       key_ring, signer_process, device
//! ```
//!
//! It must never hand out a token beyond this process (rule S3), never put one into a log or an
//! error, and never decide anything from an HTTP status that the vendor's own words decide. It
//! reads no settings and writes no metrics: `app` gives it what it needs, and whoever wants to know
//! asks [`Auth::statuses`].
//!
//! What a caller gets and an operator sees when something goes wrong is on the crate's own page (`src/failures.md`).

mod accounts;
mod key_place;
mod key_watch;
mod registry;

pub mod access_token;
pub mod account_server_calls;
pub mod assertion;
pub mod clock_offset;
pub mod code_grant;
pub mod consent;
pub mod consent_state;
pub mod device;
pub mod error;
pub mod grant;
pub mod identity;
pub mod impersonation;
pub mod key_ring;
pub mod retry;
pub mod signer;
pub mod signer_process;
pub mod signing_key;
pub mod status;
pub mod token_cache;
pub mod token_source;
pub mod user_info;
pub mod witness;

pub use self::{
    access_token::AccessToken,
    accounts::ConsentOutcome,
    code_grant::CodeGrant,
    error::{Error, Kind},
    impersonation::Impersonation,
    registry::FreshKeys,
    status::{SenderStatus, Standing},
    token_cache::Retired,
    token_source::TokenSource,
};

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, AtomicU64},
    },
    time::Duration,
};

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio_util::sync::{CancellationToken, DropGuard};

use self::{
    account_server_calls::Asked,
    clock_offset::{ClockOffset, Offset},
    identity::AccountServer,
    key_ring::{KeyRing, KeyRings, KeyStatus},
    signer_process::SignerProcess,
    token_cache::{Miss, Record, Surroundings, TokenCache},
    user_info::AccountChoice,
    witness::{Witness, Witnesses},
};
pub use crate::lifecycle::Spawner;
use crate::{clock::SharedClock, http_client::HttpClient};

/// Far above any number of senders that one daemon uses at once.
const MAX_SENDERS: u64 = 100_000;
/// moka's own clock collects what ours forgot; it decides nothing.
const GARBAGE_AFTER: Duration = Duration::from_secs(7 * 86_400);
/// More senders than this are not each looked at: they are not all minted for at start, health speaks of
/// them together, and their refreshes are spread out.
const CROWD: usize = 20;
/// How long those who name no time of their own wait for a mint that is held back.
const PATIENCE: Duration = Duration::from_secs(10);

/// What [`Auth`] can be told.
#[derive(Debug, Clone)]
pub struct Options {
    /// After this long without a reader a sender's token is dropped and no more refreshed. A day:
    /// the refreshes of a used sender are also what notices a withdrawn consent before a visitor does.
    pub idle_after: Duration,
    /// Seed of all jitter.
    pub seed: u64,
    /// The SHA-256 over the public half of a key that is never used, because everybody has it, in hex (rule S4).
    pub barred: Option<&'static str>,
    /// What alone reads key files and signs assertions, if not this process itself.
    pub signer: Option<SignerProcess>,
}

impl Default for Options {
    fn default() -> Self {
        Self { idle_after: Duration::from_secs(86_400), seed: fastrand::u64(..), barred: None, signer: None }
    }
}

/// All senders of a daemon. Clones share them.
#[derive(Clone)]
pub struct Auth {
    inner: Arc<Inner>,
}

struct Inner {
    client: HttpClient,
    server: AccountServer,
    clock: SharedClock,
    offset: Arc<ClockOffset>,
    spawner: Spawner,
    options: Options,
    witnesses: Witnesses,
    generations: Arc<AtomicU64>,
    /// Counts the senders that ever were, and the changes of their accounts.
    numbers: AtomicU64,
    senders: ArcSwap<HashMap<Arc<str>, Arc<Sender>>>,
    /// Held while `senders` is replaced.
    registering: Mutex<()>,
    /// Whether the task that looks at key files runs.
    watches_keys: AtomicBool,
    /// Held while keys are read.
    rings: tokio::sync::Mutex<KeyRings>,
    /// By the sender's number: of those who find a sender without a live cache at once, one makes it. Readers take it
    /// from the sender, so one in constant use goes out of here in time, and stays in use.
    caches: moka::sync::Cache<u64, Arc<TokenCache>>,
    /// What is known of the users of senders in use, by the sender's number.
    users: moka::sync::Cache<u64, Arc<accounts::User>>,
    closed: CancellationToken,
    _close_on_drop: DropGuard,
}

struct Sender {
    name: Arc<str>,
    /// Of every sender another, also of one that takes another's name: it may act as someone else.
    number: u64,
    impersonation: Option<Impersonation>,
    /// The account that is meant. What a customer connected may later be meant to be another.
    account: ArcSwap<AccountChoice>,
    /// Its number, or another one since it is meant to act in another account.
    edition: AtomicU64,
    /// Where it first acted, if that is left to its user's default account.
    acts_in: OnceLock<uuid::Uuid>,
    /// Whether the user's default was another account than that when it was last looked at.
    default_is_other: AtomicBool,
    /// Why the user and the account do not belong together, if that is so, and the uptime since which it is.
    misplaced: ArcSwapOption<(Arc<Error>, Duration)>,
    /// Whether somebody is on their way to consent.
    awaited: Mutex<consent::Awaited>,
    /// Replaced as a whole when the settings name other keys.
    keys: Option<Arc<ArcSwap<KeyRing>>>,
    source: Arc<dyn TokenSource>,
    record: Arc<Record>,
    /// Its cache, if it is in use: a read does not go through moka.
    live: ArcSwapOption<TokenCache>,
    closed: CancellationToken,
}

impl Sender {
    /// Its keys; none if its tokens come from elsewhere.
    fn ring(&self) -> Option<Arc<KeyRing>> {
        self.keys.as_ref().map(|keys| keys.load_full())
    }

    /// Stays where the one acts that it replaces, if both leave that to the default account of the same user.
    fn stay_with(&self, before: &Self) {
        let who = |sender: &Self| sender.impersonation.as_ref().map(|who| (who.integration_key, who.user_id));
        let is_left_open =
            |sender: &Self| **sender.account.load() == AccountChoice::Default && who(sender).is_some();
        if is_left_open(self)
            && is_left_open(before)
            && who(self) == who(before)
            && let Some(account) = before.acts_in.get()
        {
            // Nobody knows this one yet: it acts nowhere.
            let _ = self.acts_in.set(*account);
        }
    }

    /// The cache, if its token is in use, or was asked for and is being tried for.
    fn live(&self) -> Option<Arc<TokenCache>> {
        self.live.load_full().filter(|cache| !cache.is_dropped())
    }
}

/// A cache of something of senders, by their numbers. Its own clock takes out what it was not asked for in long; what
/// a rule depends on is decided by ours. It is the synchronous one: it wakes no task to keep house.
fn kept<T: Clone + Send + Sync + 'static>() -> moka::sync::Cache<u64, T> {
    moka::sync::Cache::builder().max_capacity(MAX_SENDERS).time_to_idle(GARBAGE_AFTER).build()
}

/// Each sender has jitter of its own: with one seed for all, thousands of senders that were first used
/// together would refresh together for ever.
fn seed_of(seed: u64, name: &str) -> u64 {
    // FNV-1a: small, and the same in every run.
    name.bytes().fold(seed ^ 0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Auth").field("senders", &self.senders()).finish_non_exhaustive()
    }
}

impl Auth {
    /// No senders yet; sends nothing.
    pub fn new(
        client: HttpClient,
        server: AccountServer,
        clock: SharedClock,
        spawner: Spawner,
        options: Options,
    ) -> Self {
        let closed = CancellationToken::new();
        let inner = Inner {
            client,
            server,
            offset: Arc::new(ClockOffset::new(Arc::clone(&clock))),
            clock,
            spawner,
            witnesses: Witnesses::default(),
            generations: Arc::default(),
            numbers: AtomicU64::default(),
            senders: ArcSwap::default(),
            registering: Mutex::default(),
            watches_keys: AtomicBool::default(),
            rings: tokio::sync::Mutex::new(KeyRings::barring(options.barred)),
            options,
            caches: kept(),
            users: kept(),
            _close_on_drop: closed.clone().drop_guard(),
            closed,
        };
        Self { inner: Arc::new(inner) }
    }

    /// From now on nothing is signed that this one has not written down (rule S6).
    pub fn be_witnessed_by(&self, witness: Arc<dyn Witness>) {
        self.inner.witnesses.set(witness);
    }

    /// The authorization code grant, for users who are no senders yet.
    pub fn code_grant(&self) -> CodeGrant {
        CodeGrant {
            client: self.inner.client.clone(),
            server: self.inner.server.clone(),
            clock: Arc::clone(&self.inner.clock),
            offset: Arc::clone(&self.inner.offset),
        }
    }

    /// Where an organisation's administrator finds the app: no link grants consent for one's own organisation.
    /// None for an emulator, which has no such page.
    pub fn admin_url(&self) -> Option<&'static str> {
        self.inner.server.admin_url()
    }

    /// Whether there is a sender of that name.
    pub fn has(&self, name: &str) -> bool {
        self.inner.senders.load().contains_key(name)
    }

    /// The names of all senders, sorted.
    pub fn senders(&self) -> Vec<Arc<str>> {
        self.senders_from("")
    }

    /// The names of senders from this one on, sorted.
    pub fn senders_from(&self, first: &str) -> Vec<Arc<str>> {
        let senders = self.inner.senders.load();
        let mut names: Vec<_> = senders.keys().filter(|name| &***name >= first).cloned().collect();
        names.sort();
        names
    }

    /// How many senders there are.
    pub fn count(&self) -> usize {
        self.inner.senders.load().len()
    }

    /// A sender's token. Warm, it is a read of atomic pointers; cold, it waits for one mint.
    pub async fn token(&self, name: &str) -> Result<AccessToken, Arc<Error>> {
        self.token_within(name, PATIENCE).await
    }

    /// Like [`token`](Self::token), for a caller with so much time: who would have to wait for longer only until the
    /// next mint may begin is told so at once (rule T7).
    pub async fn token_within(&self, name: &str, time: Duration) -> Result<AccessToken, Arc<Error>> {
        if let Some(token) = self.ready(name) {
            return Ok(token);
        }
        loop {
            match self.enter(name)?.token_within(time).await {
                Ok(token) => return Ok(token),
                Err(Miss::Failed(error)) => return Err(self.explained(name, error)),
                Err(Miss::Dropped) => {}
            }
        }
    }

    /// A sender's token if it can be had without waiting.
    pub fn ready(&self, name: &str) -> Option<AccessToken> {
        let senders = self.inner.senders.load();
        let live = senders.get(name)?.live.load();
        live.as_ref()?.ready()
    }

    /// Takes the token of this generation out of use after a 401, and no other (rule T6).
    pub fn retire(&self, name: &str, generation: u64) -> Retired {
        let live = self.inner.senders.load().get(name).and_then(|sender| sender.live());
        live.map_or(Retired::Before, |cache| cache.retire(generation))
    }

    /// For how long the sender's next mint is held back because its tokens were refused one after the other.
    pub fn held_back(&self, name: &str) -> Option<Duration> {
        self.inner.senders.load().get(name)?.live()?.held_back()
    }

    /// Mints now and waits for the outcome: after a wake-up event, or because an operator asks (rule T4).
    pub async fn prove(&self, name: &str) -> Result<(), Arc<Error>> {
        if let Some(keys) = self.sender(name)?.ring() {
            keys.look().await;
        }
        loop {
            match self.enter(name)?.prove().await {
                Ok(()) => return Ok(()),
                Err(Miss::Failed(error)) => return Err(self.explained(name, error)),
                Err(Miss::Dropped) => {}
            }
        }
    }

    /// Like [`prove`](Self::prove), without waiting for the outcome.
    pub async fn wake(&self, name: &str) -> Result<(), Arc<Error>> {
        if let Some(keys) = self.sender(name)?.ring() {
            keys.look().await;
        }
        self.enter(name)?.wake();
        Ok(())
    }

    /// Whether a token could be had, asked for a sender that nobody uses: one mint, whose token is dropped.
    ///
    /// A used sender is asked by its refreshes, which are at most half an hour apart; an idle one would say
    /// nothing of a withdrawn consent until a visitor meets it. Does nothing while a cache is at work, and leaves one
    /// at work where a person has to act: it sees that they have, and says until then when it looks next (rule T4).
    pub async fn probe(&self, name: &str) -> Result<(), Arc<Error>> {
        let sender = self.sender(name)?;
        if sender.live().is_some() || self.inner.closed.is_cancelled() {
            return Ok(());
        }
        match sender.source.mint().await {
            Ok(_) => {
                sender.record.minted();
                Ok(())
            }
            Err(failure) => {
                sender.record.failed(&failure.error);
                // One that no customer has connected waits for no mint: it comes anew when they do.
                let is_unconnected = matches!(*failure.error, Error::NotConnected);
                if failure.error.kind() == Kind::Permanent && !is_unconnected {
                    self.enter(name)?.wake();
                }
                Err(failure.error)
            }
        }
    }

    /// It was proven in another way, a moment ago, that the sender can act.
    pub fn proven(&self, name: &str) {
        if let Ok(sender) = self.sender(name) {
            sender.record.proven();
        }
    }

    /// How wrong this machine's clock is, once an upstream has answered (rule T9).
    pub fn clock_offset(&self) -> Option<Offset> {
        self.inner.offset.offset()
    }

    /// The date by the account server's clock, as far as its answers have told; this machine's before the
    /// first one, and where they do not say that it is wrong.
    pub fn corrected_now(&self) -> jiff::Timestamp {
        self.inner.offset.corrected_now()
    }

    /// What the account server was asked for since the start.
    pub fn asked(&self) -> &Asked {
        self.inner.server.asked()
    }

    /// How the signer process does, if keys are held by one.
    pub fn signer_process(&self) -> Option<signer_process::Status> {
        self.inner.options.signer.as_ref().map(SignerProcess::status)
    }

    /// Whether there are so many senders that each one by itself tells little.
    pub fn is_crowded(&self) -> bool {
        self.inner.senders.load().len() > CROWD
    }

    /// Ends all refreshing; who waits is told that the daemon stops. Call it when nobody needs
    /// tokens any more. Dropping the last clone does the same.
    pub fn close(&self) {
        self.inner.closed.cancel();
    }

    fn sender(&self, name: &str) -> Result<Arc<Sender>, Arc<Error>> {
        let senders = self.inner.senders.load();
        senders.get(name).cloned().ok_or_else(|| Arc::new(Error::SenderUnknown))
    }

    /// The sender's live cache, made if there is none.
    fn enter(&self, name: &str) -> Result<Arc<TokenCache>, Arc<Error>> {
        if self.inner.closed.is_cancelled() {
            return Err(Arc::new(Error::Closed));
        }
        let sender = self.sender(name)?;
        if let Some(live) = sender.live() {
            return Ok(live);
        }
        let make = || {
            let around = Surroundings {
                clock: Arc::clone(&self.inner.clock),
                spawner: self.inner.spawner.clone(),
                generations: Arc::clone(&self.inner.generations),
                closed: sender.closed.clone(),
                idle_after: self.inner.options.idle_after,
                seed: seed_of(self.inner.options.seed, &sender.name),
                asked: self.inner.server.asked().clone(),
                is_crowded: self.is_crowded(),
                on_idle: Some(self.leave(&sender)),
            };
            Arc::new(TokenCache::new(Arc::clone(&sender.source), Arc::clone(&sender.record), around))
        };
        // One that was dropped for idleness makes room for the next.
        let entry = self.inner.caches.entry(sender.number);
        let live = entry.or_insert_with_if(make, |there| there.is_dropped()).into_value();
        sender.live.store(Some(Arc::clone(&live)));
        Ok(live)
    }

    /// What takes an idle cache out of moka. It holds nothing that would keep us alive.
    fn leave(&self, sender: &Arc<Sender>) -> token_cache::OnIdle {
        let (inner, sender) = (Arc::downgrade(&self.inner), Arc::downgrade(sender));
        token_cache::OnIdle(Arc::new(move || {
            let (Some(inner), Some(sender)) = (inner.upgrade(), sender.upgrade()) else { return };
            let entry = inner.caches.entry(sender.number);
            entry.and_compute_with(|found| match found {
                Some(found) if found.value().is_dropped() => moka::ops::compute::Op::Remove,
                _ => moka::ops::compute::Op::Nop,
            });
            sender.live.rcu(|live| live.clone().filter(|cache| !cache.is_dropped()));
        }))
    }

    /// What is known of the sender's user.
    fn user_of(&self, sender: &Sender) -> Arc<accounts::User> {
        self.inner.users.get_with(sender.number, Arc::default)
    }
}

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
