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
//! | codes for one sender within the life of a state | 100 |
//! | time to choose an account | 15 min, the same browser |
//! | a refresh token that nobody uses is renewed after | 15 to 20 days |
//! | a refresh token under renewal is another daemon's for | 60 s; on SQLite only while that daemon lives |
//! | a lease is from before the clock was set back if it has | over 120 s left |
//! | what other daemons paired is taken up within | 10 s |
//! | names that one caller has, with those it gave up | 20,000 |

mod acting;
mod browser;
mod defined;
mod kept;
mod renewal;
mod sync;
mod taking_up;
mod tickets;
mod unused;

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;
use jiff::{SignedDuration, Timestamp};
use secrecy::SecretString;
use uuid::Uuid;

pub use self::{
    browser::{Answer, Offer, Opened, Outcome},
    defined::{Change, MAX_ACCOUNT, Made, NewSender, NotMade, Wish, is_account},
    renewal::Renewal,
    tickets::{Cookie, PairingTickets},
    unused::Unused,
};
use self::{
    defined::AllMade,
    kept::Choice,
    tickets::{BadTicket, Of},
};
use crate::{
    audit::{Act, Audit, Entry},
    auth::{
        self, Auth, CodeGrant, SenderStatus,
        consent::ConsentBy,
        identity::{IntegrationKey, Scopes},
        signing_key::KeySource,
        user_info::{AccountChoice, NotInAccount},
    },
    clock::SharedClock,
    domain::{AccountId, CallerName, Private, SenderName},
    lifecycle::Lifecycle,
    store::{self, SenderRecord, SharedStore, Version},
};

/// How long a person may think about which account they mean.
const CHOICE_LIFE: SignedDuration = SignedDuration::from_mins(15);
/// How often refresh tokens that nobody uses are looked at.
pub const RENEW_EVERY: Duration = Duration::from_secs(3_600);
/// How often what other daemons paired is looked for.
pub const SYNC_EVERY: Duration = Duration::from_secs(10);
/// Stands between a sender's name and the browser's in the name of what waits for a choice. No name in the
/// settings can hold it.
const WAITING: char = '#';
/// How often a row that changes meanwhile is read again: renewals and other daemons write, too, and each in its
/// own time.
const MAX_CONFLICTS: u32 = 5;

/// How a connectable sender comes by its tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// The authorization code grant: a refresh token is kept, sealed.
    Code,
    /// JWT Grant: nothing is kept but whom and where.
    Impersonation,
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
pub struct ConnectLink {
    /// What follows `/connect/` in its address: a secret for as long as it lives.
    pub ticket: Private<String>,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// Where a ticket is opened, at the public listener of this origin: a secret like the ticket.
pub fn connect_url(origin: &str, ticket: &Private<String>) -> String {
    format!("{origin}/connect/{}", ticket.reveal())
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

/// Why nothing was paired. Nothing was stored, either.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The account server, or what followed from its answer.
    #[error("the account server did not let us act")]
    Auth(#[source] Arc<auth::Error>),
    /// DocuSign's page answered with this word instead of a code, and not because the person refused.
    #[error("DocuSign's page answered {0}")]
    Answered(String),
    /// The person refused.
    #[error("the person refused")]
    Denied,
    /// The person has no account that could be used, or not the one that the settings want.
    #[error("the person has no account that this sender may act in")]
    NoAccount(#[source] Option<NotInAccount>),
    /// The account server does not let this sender act for the person, who signed in: their organisation has to
    /// allow it.
    #[error("the account server does not let this sender act for the person")]
    NotAllowed(SenderName),
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

impl Error {
    /// How our API names it; none if it is nobody's fault but the browser's, or was the person's wish.
    pub fn code(&self) -> Option<&'static str> {
        match self {
            Self::Answered(_) => Some("provider_rejected"),
            Self::Auth(cause) => Some(cause.code()),
            Self::NoAccount(reason) => {
                Some(reason.as_ref().map_or("sender_not_in_account", NotInAccount::code))
            }
            Self::NotAllowed(_) => Some("consent_required"),
            Self::Store(_) | Self::Unrecorded => Some("store_unavailable"),
            Self::Denied | Self::Stale => None,
        }
    }

    /// The next step for those who run the sender, where there is one.
    pub fn fix(&self) -> Option<&'static str> {
        match self {
            Self::Auth(cause) => Some(cause.fix()),
            Self::NoAccount(reason) => reason.as_ref().map(NotInAccount::fix),
            Self::NotAllowed(_) => {
                Some("Have an administrator of their organisation open the organisation's link.")
            }
            _ => None,
        }
    }
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
    pub tickets: PairingTickets,
    /// What a stop waits for: codes and refresh tokens that are being exchanged.
    pub life: Lifecycle,
    /// Where each use of a code is written down.
    pub audit: Audit,
    /// The connectable senders of the settings, by name.
    pub connectable: BTreeMap<String, Arc<Connectable>>,
    /// Told of each sender that acts as somebody else from now on, or as nobody.
    pub on_change: Box<dyn Fn(&SenderName) + Send + Sync>,
    /// Told of the brand that the envelopes of a made sender wear from now on; none: the account's own.
    pub on_brand: OnBrand,
}

/// Takes a sender and the id of a brand.
pub type OnBrand = Box<dyn Fn(&SenderName, Option<&str>) + Send + Sync>;

/// The pairings of a daemon. Clones share them.
#[derive(Clone)]
pub struct Pairings {
    inner: Arc<Inner>,
}

struct Inner {
    given: Dependencies,
    grant: CodeGrant,
    /// What each connectable sender acts by now.
    live: Mutex<HashMap<SenderName, Paired>>,
    /// Which leases are ours, and not those of another daemon, or of ours before a crash.
    daemon: Uuid,
    /// What callers made.
    made: ArcSwap<AllMade>,
    /// States that came back with a code, until they are too old anyway.
    used: Mutex<browser::UsedStates>,
    /// Held over a change of the store and of what follows from it here, so that nobody takes up what was read
    /// before the change.
    changing: tokio::sync::Mutex<()>,
}

impl fmt::Debug for Pairings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pairings").finish_non_exhaustive()
    }
}

/// A connectable sender as a link means it: whoever takes its name later is another.
struct Target {
    name: SenderName,
    born: Uuid,
    connectable: Arc<Connectable>,
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
                daemon: Uuid::new_v4(),
                made: ArcSwap::default(),
                used: Mutex::default(),
                changing: tokio::sync::Mutex::default(),
            }),
        };
        pairings.unpaired(pairings.inner.given.connectable.keys().map(|name| SenderName::new(name.as_str())));
        pairings
    }

    /// Whether a sender is connectable.
    pub fn is_connectable(&self, sender: &str) -> bool {
        self.connectable(sender).is_ok()
    }

    /// Whether the settings have any connectable sender, which made ones are like.
    pub fn has_connectable(&self) -> bool {
        !self.inner.given.connectable.is_empty()
    }

    /// How a connectable sender is paired.
    pub fn paired(&self, sender: &SenderName) -> Option<Paired> {
        self.live().get(sender).cloned()
    }

    /// Whom a sender acts as: the user of the settings, or the one who connected it.
    pub fn user_of(&self, status: &SenderStatus) -> Option<String> {
        let paired = || self.paired(&SenderName::new(Arc::clone(&status.name))).map(|paired| paired.user_id);
        status.user_id.map(|user| user.to_string()).or_else(paired)
    }

    /// A link for a connectable sender; none for another.
    pub fn link(&self, sender: &str) -> Option<ConnectLink> {
        self.connectable(sender).ok()?;
        let of = Of { sender, born: self.born(sender) };
        let (ticket, expires_at) = self.inner.given.tickets.link(of, self.now());
        Some(ConnectLink { ticket: Private::new(ticket), expires_at })
    }

    /// Where consent for a connectable sender is given before anybody connects it: by an administrator for a whole
    /// organisation, whose users are then asked no more, or by one user. None for another sender.
    pub fn consent_page(&self, sender: &str, by: ConsentBy, redirect_uri: &str) -> Option<String> {
        let connectable = self.connectable(sender).ok()?;
        let (key, scopes) = (connectable.integration_key, &connectable.scopes);
        Some(self.inner.grant.consent_page(by, key, scopes, redirect_uri))
    }

    /// Destroys what is stored of a sender's pairing, choices that wait for a person included; its token is
    /// forgotten. [`Error::Stale`]: there is no such connectable sender, or no longer.
    pub async fn disconnect(&self, sender: &SenderName, by: &CallerName) -> Result<(), Error> {
        let target = self.target(sender.as_str())?;
        let (pairings, by) = (self.clone(), by.clone());
        self.surely("disconnect a sender", async move { pairings.disconnect_it(&target, &by).await }).await
    }

    /// Does this to the end, also if the caller hangs up meanwhile or a stop begins: half of it would leave a
    /// customer's token in the store, or a sender that is known and cannot act.
    async fn surely<E: From<Error> + Send + 'static>(
        &self,
        what: &'static str,
        work: impl Future<Output = Result<(), E>> + Send + 'static,
    ) -> Result<(), E> {
        let outcome = self.inner.given.life.outcome_of(what, work).await;
        outcome.unwrap_or_else(|| Err(E::from(Error::from(auth::Error::Closed))))
    }

    async fn disconnect_it(&self, target: &Target, by: &CallerName) -> Result<(), Error> {
        let sender = &target.name;
        self.announce(sender, Entry::new(Act::SenderDisconnect, sender).caller(by)).await?;
        let _changing = self.inner.changing.lock().await;
        // It may be gone by now, or another's; one that is gone must not come to wait for a customer.
        self.target_if(sender.as_str(), target.born)?;
        self.drop_choices(sender).await?;
        self.inner.given.store.remove_sender_record(sender).await?;
        self.live().remove(sender);
        self.unpaired([sender.clone()]);
        Ok(())
    }

    /// Stores a pairing after a token has proven it.
    async fn pair(&self, target: &Target, choice: &Choice, account: Uuid) -> Result<Outcome, Error> {
        let offer = choice.accounts.iter().find(|offer| offer.id == account).ok_or(Error::NoAccount(None))?;
        let sealed = self.proven(target, choice, account).await?;
        let _changing = self.inner.changing.lock().await;
        // It may be gone by now, or another's.
        let connectable = self.target_if(target.name.as_str(), target.born)?.connectable;
        let row = SenderRecord {
            sender: target.name.clone(),
            user_id: choice.user_id.clone(),
            account: AccountId::new(account.to_string()),
            sealed,
            connected_at: self.now(),
            version: Version(0),
        };
        self.put_over(&row).await?;
        if !self.still_stands(&target.name, target.born).await? {
            // Another daemon destroyed the sender meanwhile, and may have found no pairing to destroy.
            self.inner.given.store.remove_sender_record(&target.name).await?;
            return Err(Error::Stale);
        }
        let paired = Paired { user_id: row.user_id, account: row.account, since: row.connected_at };
        let name = target.name.clone();
        let failed = self.act_by(vec![(connectable, name.clone(), paired)]).await;
        if let Some((_, error)) = failed.into_iter().next() {
            return Err(error);
        }
        // It need not wait for somebody to ask before it counts as one that can act.
        self.inner.given.auth.proven(name.as_str());
        tracing::info!(sender = %name, account.id = %account, "a sender was connected");
        Ok(Outcome::Paired { sender: name, account: offer.name.clone() })
    }

    /// Writes a pairing in the place of whatever is there. A renewal moves its version on at any time.
    async fn put_over(&self, row: &SenderRecord) -> Result<(), Error> {
        let store = &self.inner.given.store;
        for _ in 0..MAX_CONFLICTS {
            let before = store.sender_record(&row.sender).await?;
            let version = before.map_or(Version(0), |before| before.version);
            match store.put_sender_record(SenderRecord { version, ..row.clone() }).await {
                Err(store::Error::Conflict) => {}
                put => return put.map(drop).map_err(Into::into),
            }
        }
        Err(store::Error::Conflict.into())
    }

    /// What renews a sender's token, apart from its cache; none unless it is of [`Form::Code`].
    pub fn renewal(&self, sender: &SenderName) -> Option<Renewal> {
        let connectable = self.connectable(sender.as_str()).ok()?;
        (connectable.form == Form::Code).then(|| self.renewal_of(&connectable, sender))
    }

    /// Writes down what is about to be done with a sender (rule S6): if that fails, it is not done.
    async fn announce(&self, sender: &SenderName, entry: Entry) -> Result<(), Error> {
        self.inner.given.audit.record(entry).await.map_err(|error| {
            tracing::error!(%sender, %error, "not done: it cannot be written into the audit log");
            Error::Unrecorded
        })
    }

    fn is_too_late(&self, since: Timestamp) -> bool {
        self.now().duration_since(since) > CHOICE_LIFE
    }

    fn connectable(&self, sender: &str) -> Result<Arc<Connectable>, Error> {
        let of_settings = self.inner.given.connectable.get(sender).cloned();
        of_settings.or_else(|| self.made_connectable(sender)).ok_or(Error::Stale)
    }

    fn target(&self, sender: &str) -> Result<Target, Error> {
        let (name, born) = (SenderName::new(sender), self.born(sender));
        Ok(Target { name, born, connectable: self.connectable(sender)? })
    }

    /// The sender of this name, if it is still the one that was born so.
    fn target_if(&self, sender: &str, born: Uuid) -> Result<Target, Error> {
        self.target(sender).and_then(|now| if now.born == born { Ok(now) } else { Err(Error::Stale) })
    }

    fn live(&self) -> MutexGuard<'_, HashMap<SenderName, Paired>> {
        self.inner.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Timestamp {
        self.inner.given.clock.now()
    }
}
