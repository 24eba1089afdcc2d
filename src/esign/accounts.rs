//! Which account a sender acts in, and where that account lives.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, PoisonError},
};

use url::Url;

use super::{Client, Error, RejectionKind, call::Call};
use crate::{
    auth::{
        identity::UserId,
        user_info::{Address, UserInfo},
    },
    budget::{Operation, Remaining},
    clock::Now,
    domain::{AccountId, SenderName},
};

/// What the settings say of a sender, beyond what [`Auth`](crate::auth::Auth) knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SenderOptions {
    /// The workflow that sends codes by SMS, by id or name, where the account's own is not wanted.
    pub sms_workflow: Option<String>,
    /// The brand that envelopes wear, by its id.
    pub brand: Option<String>,
}

/// What is left of an account, and who spends it.
#[derive(Debug, Clone)]
pub struct AccountBudget {
    /// The account.
    pub account: AccountId,
    /// The senders that acted in it so far, by name; at least one.
    pub senders: Vec<SenderName>,
    /// What is left.
    pub remaining: Remaining,
}

/// A sender in its account: whom calls are made as, and where to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acting {
    /// The sender.
    pub sender: SenderName,
    /// The account.
    pub account: AccountId,
    /// The user that the sender acts as.
    pub user_id: UserId,
    /// That user's e-mail address, if it was told.
    address: Option<Address>,
    /// Where the account's resources are: `{base}/restapi/v2.1/accounts/{id}`.
    base: Url,
}

impl Acting {
    pub(super) fn new(sender: SenderName, account: uuid::Uuid, user: &UserInfo, base_uri: &Url) -> Self {
        let account = AccountId::new(account.hyphenated().to_string());
        let mut base = base_uri.clone();
        base.set_query(None);
        base.set_fragment(None);
        base.set_path(&format!("/restapi/v2.1/accounts/{account}"));
        Self { sender, account, user_id: user.user_id, address: user.address, base }
    }

    /// Whether a person with this address is the user that the sender acts as.
    pub fn is_user(&self, email: &str) -> bool {
        self.address.is_some_and(|own| own == Address::of(email))
    }

    /// A resource of the account; every segment is escaped.
    pub(super) fn url<'s>(&self, segments: impl IntoIterator<Item = &'s str>) -> Url {
        let mut url = self.base.clone();
        // An http(s) URL always has segments.
        if let Ok(mut path) = url.path_segments_mut() {
            path.extend(segments);
        }
        url
    }

    /// Where a resource is that was elsewhere before; none unless the same account moved.
    fn in_place_of(&self, before: &Self, url: &Url) -> Option<Url> {
        if (&self.account, self.user_id) != (&before.account, before.user_id) || self.base == before.base {
            return None;
        }
        let mut there = self.base.clone();
        there.set_path(url.path());
        there.set_query(url.query());
        Some(there)
    }

    /// What its host answers to anybody.
    pub(super) fn service_information(&self) -> Url {
        let mut url = self.base.clone();
        url.set_path("/restapi/service_information");
        url
    }
}

/// Senders by name, each once it was needed.
pub(super) type Senders = std::sync::RwLock<HashMap<SenderName, Arc<Acting>>>;

impl Client {
    /// The sender in its account. Warm, it asks nobody; cold, it asks the account server once.
    pub async fn acting(&self, sender: &SenderName) -> Result<Arc<Acting>, Error> {
        match self.known(sender) {
            Some(known) => Ok(known),
            // Rare and large: boxed, so that every create need not have room for it.
            None => Box::pin(self.learn(sender)).await,
        }
    }

    /// The sender as it is now, of whom what was known has led to a refusal: the account server is asked for it once a
    /// minute at most.
    pub async fn looked_at_again(&self, sender: &SenderName) -> Result<Arc<Acting>, Error> {
        if self.auth.doubt_user(sender.as_str()) {
            self.forget(sender);
        }
        self.acting(sender).await
    }

    async fn learn(&self, sender: &SenderName) -> Result<Arc<Acting>, Error> {
        loop {
            let edition = self.auth.edition(sender.as_str());
            // `user_info` coalesces those who ask at once, and remembers; the second call is a look-up.
            let account = self.auth.account(sender.as_str()).await?;
            let user = self.auth.user_info(sender.as_str()).await?;
            let acting = Arc::new(Acting::new(sender.clone(), account.id, &user, &account.base_uri));
            let mut senders = self.senders.write().unwrap_or_else(PoisonError::into_inner);
            // It may act as somebody else or elsewhere since we asked: who changes that has us forget it, before or after this.
            if self.auth.edition(sender.as_str()) == edition {
                senders.insert(sender.clone(), Arc::clone(&acting));
                return Ok(acting);
            }
        }
    }

    /// The sender in its account, if it was needed before. Asks nobody.
    pub fn known(&self, sender: &SenderName) -> Option<Arc<Acting>> {
        self.senders.read().unwrap_or_else(PoisonError::into_inner).get(sender).cloned()
    }

    /// The sender in its account, if it can act without waiting for anything. Asks nobody.
    pub fn ready(&self, sender: &SenderName) -> Option<Arc<Acting>> {
        self.known(sender).filter(|_| self.auth.ready(sender.as_str()).is_some())
    }

    /// What is left of each account that was needed so far.
    pub fn budgets(&self) -> Vec<AccountBudget> {
        let senders = self.senders.read().unwrap_or_else(PoisonError::into_inner);
        let mut by_account: BTreeMap<&AccountId, Vec<SenderName>> = BTreeMap::new();
        for acting in senders.values() {
            by_account.entry(&acting.account).or_default().push(acting.sender.clone());
        }
        let of = |(account, mut senders): (&AccountId, Vec<SenderName>)| {
            senders.sort();
            AccountBudget { account: account.clone(), senders, remaining: self.budget.remaining(account) }
        };
        by_account.into_iter().map(of).collect()
    }

    /// Whether the sender has a token or can get one; warm, it asks nobody.
    pub async fn can_act(&self, acting: &Acting) -> Result<(), Error> {
        Ok(self.auth.token(acting.sender.as_str()).await.map(|_| ())?)
    }

    /// Whether the budget would let a create through now. Spends nothing.
    pub fn has_room(&self, acting: &Acting) -> Result<(), Error> {
        let operation = Operation::CreateEnvelope;
        Ok(self.budget.peek(&acting.account, operation.priority(), Now::read(&*self.clock))?)
    }

    /// Has the envelopes of a sender that is not in the settings wear a brand from now on; none: the account's own.
    pub fn wear(&self, sender: &SenderName, brand: Option<String>) {
        let mut worn = self.worn.write().unwrap_or_else(PoisonError::into_inner);
        match brand {
            Some(brand) => worn.insert(sender.clone(), brand),
            None => worn.remove(sender),
        };
    }

    /// The brand that a sender's envelopes wear, if it is not left to the account.
    pub fn brand(&self, sender: &SenderName) -> Option<String> {
        let of_settings = self.options_of.get(sender).and_then(|options| options.brand.clone());
        of_settings.or_else(|| self.worn.read().unwrap_or_else(PoisonError::into_inner).get(sender).cloned())
    }

    /// What was concluded about a sender no longer holds, if a refusal means that.
    pub(super) fn doubt(&self, acting: &Acting, kind: RejectionKind) {
        let is_of_sender = matches!(
            kind,
            RejectionKind::AccountUnknown
                | RejectionKind::NotInAccount
                | RejectionKind::UserUnknown
                | RejectionKind::WrongEnvironment
        );
        if is_of_sender {
            self.auth.doubt_user(acting.sender.as_str());
            self.forget(&acting.sender);
        }
    }

    /// The same after a call that was passed on: the user whom the upstream does not know may be anybody that it names, a
    /// recipient, say.
    pub(super) fn doubt_passed_on(&self, acting: &Acting, kind: RejectionKind) {
        if kind != RejectionKind::UserUnknown {
            self.doubt(acting, kind);
        }
    }

    /// After a refusal of this kind: the sender where its account is now, and the call's address there. None if the
    /// refusal is not about that, or if the account server, which is asked once a minute at most, names the same place.
    pub(super) async fn moved(
        &self,
        before: &Acting,
        call: &Call,
        kind: RejectionKind,
    ) -> Option<(Arc<Acting>, Url)> {
        self.doubt(before, kind);
        if kind != RejectionKind::WrongEnvironment {
            return None;
        }
        let now = call.deadline.hold(&*self.clock, self.acting(&before.sender)).await?.ok()?;
        let url = now.in_place_of(before, &call.url)?;
        tracing::info!(
            account.id = now.account.as_str(),
            host = url.host_str(),
            "the account lives at another host now"
        );
        Some((now, url))
    }

    /// Forgets where a sender acts, and what was read there: its settings changed, or the upstream says that they belong
    /// together no more, or somebody wants to know how things are.
    pub fn forget(&self, sender: &SenderName) {
        let known = self.senders.write().unwrap_or_else(PoisonError::into_inner).remove(sender);
        if let Some(acting) = known {
            self.forget_account(&acting.account);
        }
    }

    /// Forgets the same of a sender that was just checked, and takes up where it acts now. What was read there is forgotten
    /// also if it was not known where that is: others may have read it.
    pub async fn take_up(&self, sender: &SenderName) -> Result<Arc<Acting>, Error> {
        self.forget(sender);
        let acting = self.acting(sender).await?;
        self.forget_account(&acting.account);
        Ok(acting)
    }

    fn forget_account(&self, account: &AccountId) {
        self.workflows.forget_all(|(of, _)| of == account);
        self.templates.forget_all(|(of, _)| of == account);
        self.sender_checks.forget(account);
    }

    /// Forgets what was read of all accounts: the next call that needs it reads it anew.
    pub fn forget_reads(&self) {
        self.workflows.forget_all(|_| true);
        self.templates.forget_all(|_| true);
        self.sender_checks.forget_all(|_| true);
    }
}
