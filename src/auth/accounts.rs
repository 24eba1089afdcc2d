//! What follows from a token: whose it is, which account is meant, and whether consent came from
//! the right person. Looked up rarely, remembered, and never in the way of a token.

use std::{
    sync::{
        Arc, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use tokio::sync::Mutex;

use super::{
    AccessToken, Auth, Sender,
    consent::{self, Consent, ConsentBy, ConsentUrls},
    consent_state::ConsentState,
    error::{Error, Kind},
    grant::ClientProof,
    identity::{IntegrationKey, UserId},
    user_info::{self, Account, AccountChoice, NotInAccount, UserInfo},
};

/// Memberships rarely change; the vendor advises to cache them.
const USER_INFO_LIFE: Duration = Duration::from_secs(3_600);
/// How long an old answer serves when a new one cannot be had.
const USER_INFO_GRACE: Duration = Duration::from_secs(60);

/// An answer younger than this is not doubted: who is in no account stays so for a while.
const USER_INFO_FRESH: Duration = Duration::from_secs(60);

/// Between two mints that show whether an awaited consent is there.
const CONSENT_GAP: Duration = Duration::from_secs(5);

/// What is known of a sender's user.
#[derive(Default)]
pub(super) struct User {
    known: ArcSwapOption<KnownUser>,
    /// Calls that ended.
    asked: AtomicU64,
    /// Held by who asks; with the outcome of the last call, for those who waited for it.
    asking: Mutex<Option<Result<Arc<KnownUser>, Arc<Error>>>>,
}

struct KnownUser {
    info: UserInfo,
    /// The uptime at which it was asked for.
    asked_at: Duration,
    /// The uptime from which it should be asked for again.
    stale_at: Duration,
}

impl User {
    /// Whether one of the user's accounts has this id.
    pub(super) fn has_account(&self, id: uuid::Uuid) -> bool {
        let known = self.known.load();
        known.as_ref().is_some_and(|known| known.info.accounts.iter().any(|account| account.id == id))
    }
}

/// Whether the person who went through the consent page was the right one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConsentOutcome {
    /// The impersonated user consented, and a token was minted since.
    Granted,
    /// The impersonated user consented, and minting still fails; see the sender's status.
    GrantedButFailing,
    /// Another person did: consent counts for that user id alone.
    OtherUser {
        /// Who it was.
        consented: UserId,
        /// Who is configured.
        configured: UserId,
    },
}

impl Auth {
    /// The user that the sender acts as, and the accounts; asked for once an hour at most.
    pub async fn user_info(&self, name: &str) -> Result<UserInfo, Arc<Error>> {
        let sender = self.sender(name)?;
        let user = self.user_of(&sender);
        let known = user.known.load_full();
        if let Some(known) = known.as_ref().filter(|known| self.inner.clock.uptime() < known.stale_at) {
            return Ok(known.info.clone());
        }
        // Those who ask at once share one call.
        let asked = user.asked.load(Ordering::Acquire);
        let mut outcome = user.asking.lock().await;
        let shared = outcome.clone().filter(|_| user.asked.load(Ordering::Acquire) != asked);
        if let Some(shared) = shared {
            return shared.map(|known| known.info.clone());
        }
        let fetched = self.fetch_user(name, known).await;
        if let Ok(known) = &fetched {
            user.known.store(Some(Arc::clone(known)));
        }
        *outcome = Some(fetched.clone());
        user.asked.fetch_add(1, Ordering::Release);
        fetched.map(|known| known.info.clone())
    }

    /// As [`user_info`](Self::user_info), asked for now: somebody wants to know how things are. A failure
    /// takes away nothing that was known.
    pub async fn look_up_user(&self, name: &str) -> Result<UserInfo, Arc<Error>> {
        let sender = self.sender(name)?;
        let known = self.fetch_user(name, None).await?;
        self.user_of(&sender).known.store(Some(Arc::clone(&known)));
        Ok(known.info.clone())
    }

    /// The senders in use that act in the account which was their user's default when they first acted, sorted.
    pub fn in_default_accounts(&self) -> Vec<Arc<str>> {
        let senders = self.inner.senders.load();
        let act_so =
            senders.values().filter(|sender| sender.acts_in.get().is_some() && sender.live().is_some());
        let mut names: Vec<_> = act_so.map(|sender| Arc::clone(&sender.name)).collect();
        names.sort();
        names
    }

    /// Looks whether the account that the sender acts in still is its user's default, and warns if it is not. It asks
    /// with the token that is there, which is no use of it: a sender that nobody needs comes to rest all the same.
    pub async fn look_at_default(&self, name: &str) -> Result<(), Arc<Error>> {
        let sender = self.sender(name)?;
        let Some(token) = sender.live().and_then(|live| live.peek()) else { return Ok(()) };
        let known = self.learned(self.ask_with(&token).await.map_err(Arc::new)?);
        // Who left the account is refused at the next call, which tells it and looks again.
        let _ = self.place(&sender, &known.info);
        self.user_of(&sender).known.store(Some(known));
        Ok(())
    }

    /// The account that the sender's settings name by its id, or that was connected, if either is so. Asks nobody.
    pub fn named_account(&self, name: &str) -> Option<uuid::Uuid> {
        self.sender(name).ok()?.account.load().id()
    }

    /// Has a sender act in the account that is meant from now on, by the tokens that it has: what is known of those, and
    /// of its consent, stands. Asks nobody; what is known of its user tells whether it may, or else the next call.
    pub fn act_in(&self, name: &str, meant: AccountChoice) {
        let Ok(sender) = self.sender(name) else { return };
        let known = self.user_of(&sender).known.load_full();
        let wrong = match (meant.contradiction(), known) {
            (Some(reason), _) => Some(Arc::new(Error::NotInAccount(reason))),
            (None, Some(known)) => self.placed(known.info.choose(&meant)).err(),
            // A name alone tells nothing: what was wrong is so until somebody has asked.
            (None, None) if meant.is_by_name() => {
                sender.misplaced.load().as_ref().map(|it| Arc::clone(&it.0))
            }
            (None, None) => None,
        };
        sender.account.store(Arc::new(meant));
        // Who asked for its account before this sees that the answer counts no more.
        sender.edition.store(self.inner.numbers.fetch_add(1, Ordering::Relaxed), Ordering::Release);
        self.note(&sender, wrong);
    }

    /// The account that the sender acts in: the one that its settings mean. Where they leave that to the user's default,
    /// it is the one that was that when the sender first acted, for as long as this daemon runs.
    pub async fn account(&self, name: &str) -> Result<Account, Arc<Error>> {
        let sender = self.sender(name)?;
        let info = self.user_info(name).await?;
        let mut placed = self.place(&sender, &info);
        if placed.is_err() && self.doubt_user(name) {
            // Somebody may have mended it since.
            placed = self.place(&sender, &self.user_info(name).await?);
        }
        self.note(&sender, placed.as_ref().err().cloned());
        placed
    }

    /// What is wrong with the pairing is in the status until it is not, with the time at which that began.
    fn note(&self, sender: &Sender, wrong: Option<Arc<Error>>) {
        let began = || sender.misplaced.load().as_ref().map_or_else(|| self.inner.clock.uptime(), |it| it.1);
        sender.misplaced.store(wrong.map(|error| Arc::new((error, began()))));
    }

    /// What is known of the sender's user has led to a refusal: it is asked for again by whoever needs it next, once a
    /// minute at most. Answers whether it will be.
    pub fn doubt_user(&self, name: &str) -> bool {
        let Ok(sender) = self.sender(name) else { return false };
        let (user, now) = (self.user_of(&sender), self.inner.clock.uptime());
        let known = user.known.load_full().filter(|known| now >= known.asked_at + USER_INFO_FRESH);
        let Some(known) = known else { return false };
        let doubted = KnownUser { info: known.info.clone(), asked_at: known.asked_at, stale_at: now };
        user.known.store(Some(Arc::new(doubted)));
        true
    }

    /// The account that the sender acts in. A default is taken once: what was made there can be opened from no other.
    fn place(&self, sender: &Sender, info: &UserInfo) -> Result<Account, Arc<Error>> {
        let meant = sender.account.load_full();
        if *meant != AccountChoice::Default {
            return self.placed(info.choose(&meant));
        }
        let first = if let Some(first) = sender.acts_in.get() {
            *first
        } else {
            let first = self.placed(info.choose(&AccountChoice::Default))?.id;
            *sender.acts_in.get_or_init(|| first)
        };
        let account = self.placed(info.stay(first))?;
        let other = info.accounts.iter().find(|other| other.is_default && other.id != first);
        let was_other = sender.default_is_other.swap(other.is_some(), Ordering::Relaxed);
        if let Some(other) = other.filter(|_| !was_other) {
            tracing::warn!(
                sender = %sender.name,
                account.id = %first,
                default.id = %other.id,
                "the default account of the sender's user is another one by now: the sender stays in the one that it first \
                 acted in until the next start, and would take the other then; set its account to say which is meant"
            );
        }
        Ok(account)
    }

    /// The account that was chosen, if it is of this environment.
    pub(super) fn placed(&self, chosen: Result<&Account, NotInAccount>) -> Result<Account, Arc<Error>> {
        let placed = chosen.and_then(|account| {
            self.inner
                .server
                .fits(&account.base_uri)
                .map_err(|misfit| NotInAccount::misfit(account, misfit))?;
            Ok(account.clone())
        });
        placed.map_err(|reason| Arc::new(Error::NotInAccount(reason)))
    }

    /// The names of the senders that act as this user with this integration key by keys of their own.
    pub fn acting_as(&self, integration_key: IntegrationKey, user_id: UserId) -> Vec<Arc<str>> {
        let senders = self.inner.senders.load();
        let acting = senders.values().filter(|sender| {
            let who = sender.impersonation.as_ref();
            who.is_some_and(|who| (who.integration_key, who.user_id) == (integration_key, user_id))
        });
        acting.map(|sender| Arc::clone(&sender.name)).collect()
    }

    /// The page on which consent for this sender is given.
    pub fn consent_url(
        &self,
        name: &str,
        by: ConsentBy,
        redirect_uri: &str,
        asked: Option<&ConsentState>,
    ) -> Result<String, Arc<Error>> {
        let sender = self.sender(name)?;
        let who = sender.impersonation.as_ref().ok_or_else(|| Arc::new(Error::SenderUnknown))?;
        let server = &self.inner.server;
        let asked = asked.map(|asked| (asked.state.as_str(), &asked.verifier));
        Ok(consent::url(by, server, who.integration_key, &who.scopes, redirect_uri, asked))
    }

    /// The pages on which consent for this sender is given, by its user and by an administrator for many. Who comes back
    /// from the first is told by what was `asked`; an administrator is not the sender's user, so there is nobody to compare.
    pub fn consent_urls(
        &self,
        name: &str,
        redirect_uri: &str,
        asked: Option<&ConsentState>,
    ) -> Result<ConsentUrls, Arc<Error>> {
        Ok(ConsentUrls {
            individual: self.consent_url(name, ConsentBy::Individual, redirect_uri, asked)?,
            organisation: self.consent_url(name, ConsentBy::Organisation, redirect_uri, None)?,
        })
    }

    /// Somebody asks, or is told, where to consent for this sender: for some minutes it is looked for whenever it may
    /// be there.
    pub fn await_consent(&self, name: &str) {
        let Ok(sender) = self.sender(name) else { return };
        if sender.record.consent() == Consent::Missing {
            let now = self.inner.clock.uptime();
            sender.awaited.lock().unwrap_or_else(PoisonError::into_inner).asked(now);
            self.look_for_consent(name);
        }
    }

    /// A sender is looked at: if it lacks consent that is awaited, a mint shows whether it is there by now. A wake-up
    /// (rule T4), but seconds after the last try at the soonest, however many look; and no more some minutes after
    /// the consent turned out to be missing, or somebody was told where to give it.
    pub fn look_for_consent(&self, name: &str) {
        let Ok(sender) = self.sender(name) else { return };
        // One that a customer connects comes anew when they do.
        if sender.impersonation.is_none() {
            return;
        }
        let may_be_there = {
            let mut awaited = sender.awaited.lock().unwrap_or_else(PoisonError::into_inner);
            if sender.record.consent() == Consent::Missing {
                awaited.missing(self.inner.clock.uptime())
            } else {
                // Should it be withdrawn, that is news again.
                *awaited = consent::Awaited::default();
                false
            }
        };
        if !may_be_there {
            return;
        }
        if let Ok(cache) = self.enter(name) {
            cache.wake_after(CONSENT_GAP);
        }
    }

    /// What the consent page sent back: exchanges the code at once, compares the person with the
    /// configured user, and wakes the sender. The person's token is dropped here.
    pub async fn complete_consent(
        &self,
        name: &str,
        code: &str,
        proof: ClientProof<'_>,
    ) -> Result<ConsentOutcome, Arc<Error>> {
        let sender = self.sender(name)?;
        let who = sender.impersonation.as_ref().ok_or_else(|| Arc::new(Error::SenderUnknown))?;
        // Consent is stored with the answer to the page, whatever becomes of the code.
        let consented = match self.code_grant().answered(who.integration_key, code, proof).await {
            Ok(answered) => answered.user.user_id,
            // The page was loaded again: its code works once, and did.
            Err(Error::CodeRejected) if sender.record.consent() == Consent::Granted => {
                return Ok(ConsentOutcome::Granted);
            }
            Err(error) => {
                self.wake(name).await?;
                return Err(Arc::new(error));
            }
        };
        if consented != who.user_id {
            sender.record.consented(Some(consented));
            return Ok(ConsentOutcome::OtherUser { consented, configured: who.user_id });
        }
        sender.record.consented(None);
        Ok(match self.prove(name).await {
            Ok(()) => ConsentOutcome::Granted,
            Err(_) => ConsentOutcome::GrantedButFailing,
        })
    }

    async fn fetch_user(
        &self,
        name: &str,
        old: Option<Arc<KnownUser>>,
    ) -> Result<Arc<KnownUser>, Arc<Error>> {
        match self.ask_user(name).await {
            Ok(info) => Ok(self.learned(info)),
            Err(error) => {
                // An outage does not take away what was known.
                let old = old.filter(|_| error.kind() == Kind::Transient).ok_or(error)?;
                let asked_at = self.inner.clock.uptime();
                let (info, stale_at) = (old.info.clone(), asked_at + USER_INFO_GRACE);
                Ok(Arc::new(KnownUser { info, asked_at, stale_at }))
            }
        }
    }

    /// What was answered a moment ago.
    fn learned(&self, info: UserInfo) -> Arc<KnownUser> {
        let asked_at = self.inner.clock.uptime();
        Arc::new(KnownUser { info, asked_at, stale_at: asked_at + USER_INFO_LIFE })
    }

    /// One call, and after a 401 one forced refresh and one replay (rule T7).
    async fn ask_user(&self, name: &str) -> Result<UserInfo, Arc<Error>> {
        let mut is_replay = false;
        loop {
            let token = self.token(name).await?;
            let answer = self.ask_with(&token).await;
            if !matches!(answer, Err(Error::TokenRefused { .. })) {
                return answer.map_err(Arc::new);
            }
            // The second one as well: nobody is to try it again.
            self.retire(name, token.generation());
            if is_replay {
                return Err(Arc::new(Error::TokenRefused { retry_after: self.held_back(name) }));
            }
            is_replay = true;
        }
    }

    async fn ask_with(&self, token: &AccessToken) -> Result<UserInfo, Error> {
        let sent = self.inner.clock.uptime();
        let reply = user_info::fetch(&self.inner.client, &self.inner.server, token.header()).await;
        self.inner.offset.observe(sent, reply.date);
        reply.result
    }
}
