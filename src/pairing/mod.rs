//! Pairing: a customer connects an account of their own, and a sender acts in it from then on.
//!
//! A *connectable* sender (`senders.NAME.connect`) has no user in the settings. Whoever opens its link signs in
//! at DocuSign, the code is exchanged at once, and where the user has several accounts the person chooses.
//! Then the pairing (user and account) is stored, and the sender acts by JWT Grant with nothing of the
//! customer's stored; or, where impersonation is not allowed, by a refresh token that is kept sealed.
//!
//! ```text
//! link ──▶ page ──POST──▶ DocuSign ──▶ callback ──▶ paired
//!                cookie     consent      code    └─▶ choice ──POST──▶ paired
//! ```
//!
//! It must never store half a pairing: what waits for a choice is kept apart from what senders act by, and a
//! sender is paired only after a token proved that it can act. It must never show or log a code, a token, a
//! link or a person's name. Follows RFC 6749, RFC 7636, RFC 9700 (state bound to the browser, PKCE, one use).
//!
//! | Limit | Value |
//! |---|---|
//! | life of a link | 7 days |
//! | from the button to the callback | 15 min, one use, the same browser |
//! | time to choose an account | 15 min, the same browser |
//! | a refresh token under renewal is another daemon's for | 60 s |
//! | what other daemons paired is taken up within | 10 s |

mod defined;
mod kept;
mod renewal;
mod tickets;

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;
use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret as _, SecretString};
use uuid::Uuid;

pub use self::{
    defined::{AccountWish, Made, NewSender, NotMade, Pattern, is_account},
    renewal::{Renewal, Unpaired},
    tickets::{BadTicket, Cookie, Tickets},
};
use self::{
    defined::{AllMade, DEFINES},
    kept::{Choice, Kept},
};
use crate::{
    audit::{Act, Audit, Entry},
    auth::{
        self, Auth, CodeGrant, Impersonation,
        code_grant::Answered,
        grant::ClientProof,
        identity::{IntegrationKey, Scopes, UserId},
        signing_key::KeySource,
        user_info::AccountChoice,
    },
    clock::SharedClock,
    domain::{AccountId, Private, SenderName},
    store::{self, ConnectedSender, SharedStore, Version},
};

/// How long a person may think about which account they mean.
const CHOICE_LIFE: SignedDuration = SignedDuration::from_mins(15);
/// How often what other daemons paired is looked for.
pub const SYNC_EVERY: Duration = Duration::from_secs(10);
/// Answers that were used, kept for as long as their state would be taken.
const MAX_USED: usize = 10_000;
/// Stands between a sender's name and the browser's in the name of what waits for a choice. No name in the
/// settings can hold it.
const WAITING: char = '#';

/// How a connectable sender comes by its tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// The authorization code grant: a refresh token is kept, sealed.
    Code,
    /// JWT Grant: nothing is kept but whom and where.
    Impersonation,
}

impl Form {
    /// The word in the settings.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Code => "code",
            Self::Impersonation => "impersonation",
        }
    }
}

/// A connectable sender, as the settings describe it.
#[derive(Debug, Clone)]
pub struct Connectable {
    /// How it comes by its tokens.
    pub form: Form,
    /// Our client identifier.
    pub integration_key: IntegrationKey,
    /// The app's secret; none for a public client.
    pub secret: Option<SecretString>,
    /// What is asked for.
    pub scopes: Scopes,
    /// The keys, for [`Form::Impersonation`].
    pub keys: Vec<KeySource>,
    /// The only account that may be connected, if the settings name one.
    pub account: AccountChoice,
}

/// A sender's link, for a customer's browser.
#[derive(Debug, Clone)]
pub struct Link {
    /// What follows `/connect/` in its address: a secret for as long as it lives.
    pub ticket: Private<String>,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// How a connectable sender stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paired {
    /// The user it acts as.
    pub user_id: String,
    /// The account it acts in.
    pub account: AccountId,
    /// Since when.
    pub since: Timestamp,
}

/// An account that can be chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// Its id.
    pub id: Uuid,
    /// Its name, as its owner wrote it.
    pub name: String,
    /// Whether it is the user's default.
    pub is_default: bool,
}

/// What a ticket in an address leads to.
#[derive(Debug)]
pub enum Opened {
    /// The page with the button.
    Invitation {
        /// The sender.
        sender: SenderName,
        /// Whether it is connected, so that going on replaces that.
        is_paired: bool,
    },
    /// The page with the accounts.
    Choice {
        /// The sender.
        sender: SenderName,
        /// The accounts.
        offers: Vec<Offer>,
    },
}

/// What an answer or a choice led to.
#[derive(Debug)]
pub enum Outcome {
    /// The person has several accounts: this ticket leads to the choice.
    Choose {
        /// What follows `/connect/`.
        ticket: Private<String>,
    },
    /// It acts from now on.
    Paired {
        /// The sender.
        sender: SenderName,
        /// The account's name.
        account: String,
    },
}

/// Why nothing was paired. Nothing was stored, either.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The account server, or what followed from its answer.
    #[error("the account server did not let us act")]
    Auth(#[source] Arc<auth::Error>),
    /// The person refused.
    #[error("the person refused")]
    Denied,
    /// The person has no account that could be used, or not the one that the settings want.
    #[error("the person has no account that this sender may act in")]
    NoAccount,
    /// It could not be written into the audit log first.
    #[error("this cannot be written into the audit log")]
    Unrecorded,
    /// The link, the answer or the choice is old, used, foreign, or of another browser.
    #[error("this is old, used before, or of another browser")]
    Stale,
    /// Another daemon or browser changed it meanwhile, or the store does not answer.
    #[error("the store did not take it")]
    Store(#[source] store::Error),
}

impl From<auth::Error> for Error {
    fn from(error: auth::Error) -> Self {
        Self::Auth(Arc::new(error))
    }
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        Self::Store(error)
    }
}

impl From<BadTicket> for Error {
    fn from(_: BadTicket) -> Self {
        Self::Stale
    }
}

/// What pairings are made with.
pub struct Dependencies {
    /// The senders.
    pub auth: Auth,
    /// Where pairings are kept.
    pub store: SharedStore,
    /// The time.
    pub clock: SharedClock,
    /// Makes links, states and choices.
    pub tickets: Tickets,
    /// Where each use of a code is written down.
    pub audit: Audit,
    /// The connectable senders of the settings, by name.
    pub connectable: BTreeMap<String, Arc<Connectable>>,
    /// What callers may make senders like, by the name of a sender of the settings.
    pub patterns: BTreeMap<String, Pattern>,
    /// Told of each sender that acts as somebody else from now on, or as nobody.
    pub on_change: Box<dyn Fn(&SenderName) + Send + Sync>,
}

/// The pairings of a daemon. Clones share them.
#[derive(Clone)]
pub struct Pairings {
    inner: Arc<Inner>,
}

struct Inner {
    given: Dependencies,
    grant: CodeGrant,
    /// What each connectable sender acts by now.
    live: Mutex<HashMap<SenderName, (Version, Paired)>>,
    /// What callers made.
    made: ArcSwap<AllMade>,
    /// States that came back, until they are too old anyway.
    used: Mutex<HashMap<String, Timestamp>>,
}

impl fmt::Debug for Pairings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pairings").finish_non_exhaustive()
    }
}

impl Pairings {
    /// Puts them together; every connectable sender is known and unpaired until [`sync`](Self::sync).
    pub fn new(given: Dependencies) -> Self {
        let grant = given.auth.code_grant();
        let pairings = Self {
            inner: Arc::new(Inner {
                given,
                grant,
                live: Mutex::default(),
                made: ArcSwap::default(),
                used: Mutex::default(),
            }),
        };
        for name in pairings.inner.given.connectable.keys() {
            pairings.unpaired(name);
        }
        pairings
    }

    /// Whether a sender is connectable.
    pub fn is_connectable(&self, sender: &str) -> bool {
        self.connectable(sender).is_ok()
    }

    /// How a connectable sender is paired.
    pub fn paired(&self, sender: &SenderName) -> Option<Paired> {
        self.live().get(sender).map(|(_, paired)| paired.clone())
    }

    /// A link for a connectable sender; none for another.
    pub fn link(&self, sender: &str) -> Option<Link> {
        self.connectable(sender).ok()?;
        let (ticket, expires_at) = self.inner.given.tickets.link(sender, self.now());
        Some(Link { ticket: Private::new(ticket), expires_at })
    }

    /// What a ticket in an address leads to. Changes nothing.
    pub async fn open(&self, ticket: &str, cookie: Option<&Cookie>) -> Result<Opened, Error> {
        if let Ok(sender) = self.inner.given.tickets.open_link(ticket, self.now()) {
            self.connectable(&sender)?;
            let sender = SenderName::new(sender);
            let is_paired = self.paired(&sender).is_some();
            return Ok(Opened::Invitation { sender, is_paired });
        }
        let cookie = cookie.ok_or(Error::Stale)?;
        let sender = self.inner.given.tickets.open_choice(ticket, cookie, self.now())?;
        let (_, choice) = self.waiting(&sender, cookie).await?;
        Ok(Opened::Choice { sender: SenderName::new(sender), offers: choice.offers() })
    }

    /// The button: where the browser goes, and the cookie that its answer must come back with.
    pub fn begin(&self, ticket: &str, redirect_uri: &str) -> Result<(String, Cookie), Error> {
        let sender = self.inner.given.tickets.open_link(ticket, self.now())?;
        let connectable = self.connectable(&sender)?;
        let cookie = Cookie::generate();
        let state = self.inner.given.tickets.state(&sender, &cookie, self.now());
        let verifier = self.inner.given.tickets.verifier(&state, &cookie);
        let (key, scopes) = (connectable.integration_key, &connectable.scopes);
        Ok((self.inner.grant.page(key, scopes, redirect_uri, &state, &verifier), cookie))
    }

    /// Whether a state that came back is one of ours, so that nobody else need look at it.
    pub fn is_ours(&self, state: &str) -> bool {
        Tickets::is_state(state)
    }

    /// The browser is back: exchanges the code at once, and pairs or offers a choice.
    pub async fn answered(
        &self,
        state: &str,
        cookie: Option<&Cookie>,
        code: Option<&str>,
    ) -> Result<Outcome, Error> {
        let cookie = cookie.ok_or(Error::Stale)?;
        let sender = self.inner.given.tickets.open_state(state, cookie, self.now())?;
        let connectable = self.connectable(&sender)?;
        if !self.use_once(state) {
            return Err(Error::Stale);
        }
        let code = code.ok_or(Error::Denied)?;
        self.announce(&sender, "code").await?;
        let verifier = self.inner.given.tickets.verifier(state, cookie);
        let proof = match &connectable.secret {
            Some(secret) => ClientProof::Secret(secret, Some(&verifier)),
            None => ClientProof::Public(Some(&verifier)),
        };
        let answered = self.inner.grant.answered(connectable.integration_key, code, proof).await?;
        let choice = offers(&connectable, answered, &self.inner.grant)?;
        if let [only] = choice.accounts.as_slice() {
            let only = only.id;
            return self.pair(&sender, &choice, only).await;
        }
        self.put_aside(&sender, cookie, choice).await?;
        let ticket = self.inner.given.tickets.choice(&sender, cookie, self.now());
        Ok(Outcome::Choose { ticket: Private::new(ticket) })
    }

    /// The person has chosen.
    pub async fn choose(
        &self,
        ticket: &str,
        cookie: Option<&Cookie>,
        account: Option<&str>,
    ) -> Result<Outcome, Error> {
        let cookie = cookie.ok_or(Error::Stale)?;
        let sender = self.inner.given.tickets.open_choice(ticket, cookie, self.now())?;
        let (name, choice) = self.waiting(&sender, cookie).await?;
        let account = account.and_then(|text| Uuid::try_parse(text).ok()).ok_or(Error::NoAccount)?;
        let outcome = self.pair(&sender, &choice, account).await?;
        self.inner.given.store.remove_connected_sender(&name).await?;
        Ok(outcome)
    }

    /// Destroys what is stored of a sender's pairing; its token is forgotten.
    pub async fn disconnect(&self, sender: &SenderName) -> Result<(), Error> {
        self.announce(sender.as_str(), "disconnect").await?;
        self.inner.given.store.remove_connected_sender(sender).await?;
        self.live().remove(sender);
        self.unpaired(sender.as_str());
        Ok(())
    }

    /// Takes up what the store holds: at start, and what other daemons changed. Choices that nobody made in
    /// time are destroyed.
    pub async fn sync(&self) -> Result<(), store::Error> {
        let mut known: Vec<SenderName> = self.live().keys().cloned().collect();
        let mut made: Vec<SenderName> = self.inner.made.load().keys().cloned().collect();
        let rows = self.inner.given.store.connected_senders().await?;
        // What senders are comes before whom they act for.
        for row in &rows {
            if let Some(name) = self.take_up_definition(row).await {
                made.retain(|known| *known != name);
            }
        }
        for gone in &made {
            self.forget_made(gone);
        }
        for row in rows {
            if row.sender.as_str().ends_with(DEFINES) {
                continue;
            }
            if row.sender.as_str().contains(WAITING) {
                if self.is_too_late(row.connected_at) {
                    self.inner.given.store.remove_connected_sender(&row.sender).await?;
                }
                continue;
            }
            known.retain(|name| *name != row.sender);
            self.take_up(row).await;
        }
        for gone in known {
            self.live().remove(&gone);
            if self.is_connectable(gone.as_str()) {
                self.unpaired(gone.as_str());
            }
        }
        Ok(())
    }

    async fn take_up(&self, row: ConnectedSender) {
        let Ok(connectable) = self.connectable(row.sender.as_str()) else { return };
        let paired =
            Paired { user_id: row.user_id.clone(), account: row.account.clone(), since: row.connected_at };
        // A renewal moves the version on and changes nobody.
        let before = self.live().insert(row.sender.clone(), (row.version, paired.clone()));
        if before.is_some_and(|(_, before)| before == paired) {
            return;
        }
        if let Err(error) = self.act_by(&connectable, &row.sender, &paired).await {
            tracing::error!(sender = %row.sender, %error, "a connected sender cannot be taken up");
        }
    }

    /// Stores a pairing after a token has proven it.
    async fn pair(&self, sender: &str, choice: &Choice, account: Uuid) -> Result<Outcome, Error> {
        let connectable = self.connectable(sender)?;
        let offer = choice.accounts.iter().find(|offer| offer.id == account).ok_or(Error::NoAccount)?;
        let user: UserId = choice.user_id.parse().map_err(|_| Error::NoAccount)?;
        if connectable.form == Form::Impersonation {
            self.prove(&connectable, sender, user, account).await?;
        }
        let name = SenderName::new(sender);
        let refresh_token = match (connectable.form, &choice.refresh_token) {
            (Form::Impersonation, _) => None,
            (Form::Code, Some(token)) => Some(Kept::fresh(token.clone()).sealed()),
            (Form::Code, None) => return Err(auth::Error::ConnectionLost.into()),
        };
        let before = self.inner.given.store.connected_sender(&name).await?;
        let row = ConnectedSender {
            sender: name.clone(),
            user_id: user.to_string(),
            account: AccountId::new(account.to_string()),
            refresh_token,
            connected_at: self.now(),
            version: before.map_or(Version(0), |row| row.version),
        };
        let version = self.inner.given.store.put_connected_sender(row.clone()).await?;
        let paired = Paired { user_id: row.user_id, account: row.account, since: row.connected_at };
        self.live().insert(name.clone(), (version, paired.clone()));
        self.act_by(&connectable, &name, &paired).await?;
        tracing::info!(sender, account.id = %account, "a sender was connected");
        Ok(Outcome::Paired { sender: name, account: offer.name.clone() })
    }

    /// One mint as that user, under a name that no caller can use: what fails here changes nothing.
    async fn prove(
        &self,
        connectable: &Connectable,
        sender: &str,
        user_id: UserId,
        account: Uuid,
    ) -> Result<(), Error> {
        let auth = &self.inner.given.auth;
        let name = format!("{sender}{WAITING}{user_id}");
        let registered = auth.register(&name, impersonation(connectable, user_id, account)).await;
        registered.map_err(auth::Error::KeyUnusable)?;
        let proven = auth.prove(&name).await;
        auth.unregister(&name);
        proven.map_err(Error::Auth)
    }

    /// Makes the sender act as the pairing says.
    async fn act_by(
        &self,
        connectable: &Connectable,
        name: &SenderName,
        paired: &Paired,
    ) -> Result<(), Error> {
        let account = Uuid::try_parse(paired.account.as_str()).map_err(|_| Error::NoAccount)?;
        let auth = &self.inner.given.auth;
        match connectable.form {
            Form::Impersonation => {
                let user: UserId = paired.user_id.parse().map_err(|_| Error::NoAccount)?;
                let sender = impersonation(connectable, user, account);
                auth.register(name.as_str(), sender).await.map_err(auth::Error::KeyUnusable)?;
            }
            Form::Code => {
                let renewal = self.renewal_of(connectable, name);
                let source =
                    auth::retry::Retry::new(renewal, Arc::clone(&self.inner.given.clock), fastrand::u64(..));
                auth.register_source(name.as_str(), Arc::new(source), AccountChoice::Id(account));
            }
        }
        (self.inner.given.on_change)(name);
        Ok(())
    }

    /// What renews a sender's token, apart from its cache; none unless it is of [`Form::Code`].
    pub fn renewal(&self, sender: &SenderName) -> Option<Renewal> {
        let connectable = self.connectable(sender.as_str()).ok()?;
        (connectable.form == Form::Code).then(|| self.renewal_of(&connectable, sender))
    }

    fn renewal_of(&self, connectable: &Connectable, sender: &SenderName) -> Renewal {
        Renewal {
            sender: sender.clone(),
            integration_key: connectable.integration_key,
            secret: connectable.secret.clone(),
            grant: self.inner.grant.clone(),
            store: Arc::clone(&self.inner.given.store),
            clock: Arc::clone(&self.inner.given.clock),
            unsaved: Mutex::default(),
        }
    }

    fn unpaired(&self, name: &str) {
        self.inner.given.auth.register_source(name, Arc::new(Unpaired), AccountChoice::Default);
        (self.inner.given.on_change)(&SenderName::new(name));
    }

    /// Keeps what a choice is made of, sealed and apart from what senders act by.
    async fn put_aside(&self, sender: &str, cookie: &Cookie, choice: Choice) -> Result<(), Error> {
        let name = waiting_name(sender, cookie);
        let row = ConnectedSender {
            user_id: choice.user_id.clone(),
            account: AccountId::new(String::new()),
            refresh_token: Some(choice.sealed()),
            connected_at: self.now(),
            version: Version(0),
            sender: name,
        };
        Ok(self.inner.given.store.put_connected_sender(row).await.map(drop)?)
    }

    async fn waiting(&self, sender: &str, cookie: &Cookie) -> Result<(SenderName, Choice), Error> {
        let name = waiting_name(sender, cookie);
        let row = self.inner.given.store.connected_sender(&name).await?.ok_or(Error::Stale)?;
        if self.is_too_late(row.connected_at) {
            return Err(Error::Stale);
        }
        let choice = row.refresh_token.and_then(|kept| Choice::open(&kept)).ok_or(Error::Stale)?;
        Ok((name, choice))
    }

    async fn announce(&self, sender: &str, what: &str) -> Result<(), Error> {
        let entry = Entry::new(Act::ConsentTaken, sender).detail(format!("connect: {what}"));
        self.inner.given.audit.record(entry).await.map_err(|error| {
            tracing::error!(sender, %error, "not connected: the audit log cannot be written");
            Error::Unrecorded
        })
    }

    /// Whether this state comes back for the first time here. Across daemons it is the code that works once.
    fn use_once(&self, state: &str) -> bool {
        let now = self.now();
        let mut used = self.inner.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.retain(|_, until| now < *until);
        let is_first = used.len() < MAX_USED && !used.contains_key(state);
        if is_first {
            let until = now.saturating_add(tickets::STATE_LIFE).unwrap_or(Timestamp::MAX);
            used.insert(state.to_owned(), until);
        }
        is_first
    }

    fn is_too_late(&self, since: Timestamp) -> bool {
        self.now().duration_since(since) > CHOICE_LIFE
    }

    fn connectable(&self, sender: &str) -> Result<Arc<Connectable>, Error> {
        let of_settings = self.inner.given.connectable.get(sender).cloned();
        of_settings.or_else(|| self.made_connectable(sender)).ok_or(Error::Stale)
    }

    fn live(&self) -> MutexGuard<'_, HashMap<SenderName, (Version, Paired)>> {
        self.inner.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Timestamp {
        self.inner.given.clock.now()
    }
}

fn waiting_name(sender: &str, cookie: &Cookie) -> SenderName {
    SenderName::new(format!("{sender}{WAITING}{}", cookie.digest()))
}

fn impersonation(connectable: &Connectable, user_id: UserId, account: Uuid) -> Impersonation {
    let Connectable { integration_key, scopes, keys, .. } = connectable;
    impersonation_of(*integration_key, user_id, (scopes, keys), AccountChoice::Id(account))
}

fn impersonation_of(
    integration_key: IntegrationKey,
    user_id: UserId,
    (scopes, keys): (&Scopes, &[KeySource]),
    account: AccountChoice,
) -> Impersonation {
    Impersonation { integration_key, user_id, scopes: scopes.clone(), keys: keys.to_vec(), account }
}

/// The accounts that the person may choose from: all that can be called, or the one of the settings.
fn offers(connectable: &Connectable, answered: Answered, grant: &CodeGrant) -> Result<Choice, Error> {
    let user = answered.user;
    let mut accounts: Vec<_> = match &connectable.account {
        AccountChoice::Default => user.accounts.iter().collect(),
        wanted => user.choose(wanted).into_iter().collect(),
    };
    accounts.retain(|account| grant.takes(account));
    if accounts.is_empty() {
        return Err(Error::NoAccount);
    }
    let accounts = accounts.into_iter().map(|account| kept::KeptAccount {
        id: account.id,
        name: account.name.clone(),
        is_default: account.is_default,
    });
    let accounts = accounts.collect();
    // What is not needed is not kept, not even for a quarter of an hour.
    let token = answered.refresh_token.filter(|_| connectable.form == Form::Code);
    let refresh_token = token.map(|token| token.expose_secret().to_owned());
    Ok(Choice { user_id: user.user_id.to_string(), accounts, refresh_token })
}
