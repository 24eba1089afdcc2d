//! Senders that callers made: like one of the settings, for a user or a customer of their own.
//!
//! An operator says which senders of the settings a caller may make others like
//! (`callers.NAME.sender_patterns`). What is made has the pattern's integration key, keys and scopes, and is
//! its maker's alone. It is stored beside the pairings, under a name that no sender can have, so that all
//! daemons know it and a restart forgets nothing.
//!
//! A name stays its maker's for good, also after the sender is gone: signings, links in mails and events name
//! senders, and what was one caller's must never come to mean another's. The maker may use it again; each time it
//! is born anew, and what was given out for the one before (a link, a choice) is worth nothing to the next.
//!
//! What is written here is used after it was taken up ([`taking_up`](super::taking_up)).

use std::{collections::HashMap, sync::Arc};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Connectable, Error, MAX_CONFLICTS, Pairings};
use crate::{
    audit::{Act, Entry},
    auth::{Impersonation, identity::UserId, user_info::AccountChoice},
    domain::{AccountId, CallerName, Private, SenderName, template_names::Ids},
    store::{self, SenderRecord, Version},
};

/// Ends the name of a row that defines a sender.
pub(super) const DEFINES: char = '@';
/// Names that one caller may have, those it gave up among them.
const MAX_MADE: usize = 20_000;

/// What senders can be made like.
pub(super) enum Pattern {
    /// For customers, who connect an account each.
    Connectable,
    /// For users that the maker names.
    Impersonating(Impersonation),
}

/// A sender that a caller wants.
#[derive(Debug, Clone)]
pub struct NewSender {
    /// Its name.
    pub name: SenderName,
    /// The sender of the settings that it is like.
    pub like: String,
    /// The user, unless it is like a connectable one.
    pub user_id: Option<UserId>,
    /// The account: an id or a name; none: the user's default.
    pub account: Option<String>,
    /// The Connect keys of its account, if that has some of its own.
    pub hmac_keys: Private<Vec<String>>,
    /// Templates of its account, by names that mean these for it alone.
    pub templates: Ids,
    /// The brand that its envelopes wear; none: the account's own.
    pub brand: Option<String>,
}

/// What is wanted in the place of what can be left to the account or its user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// Of the account: the user's default, or what a customer chooses. Of the brand: the account's.
    Default,
    /// The one of this id, or name.
    This(String),
}

impl Wish {
    /// What is wanted, if anything in particular is.
    pub fn named(self) -> Option<String> {
        match self {
            Self::Default => None,
            Self::This(name) => Some(name),
        }
    }
}

/// What is to change of a made sender; none leaves it as it is.
#[derive(Debug, Clone, Default)]
pub struct Change {
    /// The user.
    pub user_id: Option<UserId>,
    /// The account.
    pub account: Option<Wish>,
    /// The Connect keys.
    pub hmac_keys: Option<Private<Vec<String>>>,
    /// Its templates, all of them.
    pub templates: Option<Ids>,
    /// The brand.
    pub brand: Option<Wish>,
}

/// A sender that a caller made.
#[derive(Debug, Clone)]
pub struct Made {
    /// Who made it.
    pub owner: CallerName,
    /// What it is like.
    pub like: String,
    /// Of all that ever had its name another.
    pub(super) born: Uuid,
    pub(super) user_id: Option<UserId>,
    pub(super) account: Option<String>,
    hmac_keys: Private<Vec<String>>,
    templates: Ids,
    brand: Option<String>,
    pub(super) version: Version,
    /// Whether only the name is left of it.
    pub(super) is_gone: bool,
}

/// Why a sender was not made or changed.
#[derive(Debug, thiserror::Error)]
pub enum NotMade {
    /// The key, the store, or the audit log.
    #[error("it could not be made")]
    Failed(#[from] Error),
    /// There is a sender of that name already, or was one of another caller's.
    #[error("that sender name is taken, or was another caller's")]
    NameTaken,
    /// What it is to be like is in the settings of callers, and not among the senders that this daemon started with.
    #[error("the sender that it is to be like is not known before the next start of the daemon")]
    NoPattern,
    /// The caller has made as many as it may.
    #[error("this caller has {MAX_MADE} names of senders, with those it gave up")]
    TooMany,
    /// Somebody else's sender acts as that user with the same integration key: a caller's, or one of the settings that
    /// this caller may not use.
    #[error("this caller may not act as that user: another sender does, which is not this caller's")]
    UserTaken,
    /// A user is wanted.
    #[error("a user_id is wanted: the pattern is not connectable")]
    UserMissing,
    /// A user is not wanted.
    #[error("a user_id is not wanted: the pattern is connectable, and its user is who connects it")]
    UserUnwanted,
}

impl From<store::Error> for NotMade {
    fn from(error: store::Error) -> Self {
        Self::Failed(error.into())
    }
}

/// What is sealed in its row.
#[derive(Serialize, Deserialize)]
struct Definition {
    owner: String,
    like: String,
    user_id: Option<String>,
    account: Option<String>,
    #[serde(default)]
    hmac_keys: Vec<String>,
    #[serde(default)]
    templates: Ids,
    #[serde(default)]
    brand: Option<String>,
    #[serde(default)]
    born: Uuid,
    #[serde(default)]
    is_gone: bool,
}

/// The senders that callers made, by name, and the names that they gave up.
pub(super) type AllMade = HashMap<SenderName, Arc<Made>>;

impl Pairings {
    /// A sender that a caller made, if it is one.
    pub fn made(&self, name: &SenderName) -> Option<Arc<Made>> {
        self.inner.made.load().get(name).filter(|made| !made.is_gone).cloned()
    }

    /// Which of those that ever had this name the sender is; nil for one of the settings.
    pub(super) fn born(&self, name: &str) -> Uuid {
        self.made(&SenderName::new(name)).map_or(Uuid::nil(), |made| made.born)
    }

    /// Makes a sender. It is on disk, and can be used or connected, when this returns.
    pub async fn make(&self, owner: &CallerName, new: NewSender) -> Result<(), NotMade> {
        let (pairings, owner) = (self.clone(), owner.clone());
        self.surely("make a sender", async move { pairings.make_it(&owner, new).await }).await
    }

    async fn make_it(&self, owner: &CallerName, new: NewSender) -> Result<(), NotMade> {
        match (self.pattern(&new.like).ok_or(NotMade::NoPattern)?, new.user_id) {
            (Pattern::Connectable, Some(_)) => return Err(NotMade::UserUnwanted),
            (Pattern::Impersonating(_), None) => return Err(NotMade::UserMissing),
            _ => {}
        }
        if self.inner.given.auth.has(new.name.as_str()) {
            return Err(NotMade::NameTaken);
        }
        self.announce(&new.name, Entry::new(Act::SenderMake, &new.name).caller(owner)).await?;
        let _changing = self.inner.changing.lock().await;
        let version = self.free(owner, &new.name).await?;
        // Whoever asked has judged the senders of the settings. Another caller may have made one meanwhile.
        self.may_act_as(owner, &new.like, new.user_id, |_| true)?;
        let made = Made {
            owner: owner.clone(),
            like: new.like,
            born: Uuid::new_v4(),
            user_id: new.user_id,
            account: new.account,
            hmac_keys: new.hmac_keys,
            templates: new.templates,
            brand: new.brand,
            version,
            is_gone: false,
        };
        // Nothing that was connected to the one before.
        self.inner.given.store.remove_sender_record(&new.name).await?;
        match self.put_made(&new.name, made).await {
            Ok(made) => self.take_up_made(vec![(new.name, made)]).await,
            Err(store::Error::Conflict) => return Err(NotMade::NameTaken),
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// A pattern lets its maker act as any user who consented, except those whom senders act as that are not its own:
    /// another caller's, or one of the settings that it may not use, which `may_use` knows.
    pub fn may_act_as(
        &self,
        owner: &CallerName,
        like: &str,
        user: Option<UserId>,
        may_use: impl Fn(&SenderName) -> bool,
    ) -> Result<(), NotMade> {
        let acting = user.map(|user| self.acting_as(like, user)).unwrap_or_default();
        let is_own = |sender: &SenderName| match self.made(sender) {
            Some(made) => made.owner == *owner,
            None => may_use(sender),
        };
        if acting.iter().all(is_own) { Ok(()) } else { Err(NotMade::UserTaken) }
    }

    /// The senders that act as this user already, with the integration key of a sender of the settings: by keys, or
    /// because the user connected them.
    fn acting_as(&self, like: &str, user: UserId) -> Vec<SenderName> {
        let Some(Pattern::Impersonating(pattern)) = self.pattern(like) else { return Vec::new() };
        let key = pattern.integration_key;
        let mut acting: Vec<_> =
            self.inner.given.auth.acting_as(key, user).into_iter().map(SenderName::new).collect();
        let connected = self.live();
        let by_code = connected.iter().filter(|(name, paired)| {
            paired.user_id.parse::<UserId>() == Ok(user)
                && self.connectable(name.as_str()).is_ok_and(|one| one.integration_key == key)
        });
        acting.extend(by_code.map(|(name, _)| name.clone()));
        acting
    }

    /// The version at which a name may be taken: nobody's, or one that this caller gave up.
    async fn free(&self, owner: &CallerName, name: &SenderName) -> Result<Version, NotMade> {
        if let Some(row) = self.inner.given.store.sender_record(&row_name(name)).await? {
            let before = Made::read(&row).filter(|before| before.is_gone && before.owner == *owner);
            return before.map(|before| before.version).ok_or(NotMade::NameTaken);
        }
        if self.inner.made.load().values().filter(|made| made.owner == *owner).count() >= MAX_MADE {
            return Err(NotMade::TooMany);
        }
        Ok(Version(0))
    }

    /// Gives a made sender another user, account or whatever else of it is to change. What is connected stays connected,
    /// and acts no more while that is another account than the one that is wanted.
    pub async fn change(&self, name: &SenderName, by: &CallerName, change: Change) -> Result<(), NotMade> {
        let (pairings, name, by) = (self.clone(), name.clone(), by.clone());
        self.surely("change a sender", async move { pairings.change_it(&name, &by, change).await }).await
    }

    async fn change_it(&self, name: &SenderName, by: &CallerName, change: Change) -> Result<(), NotMade> {
        let old = self.made(name).ok_or(Error::Stale)?;
        if change.user_id.is_some() && matches!(self.pattern(&old.like), Some(Pattern::Connectable)) {
            return Err(NotMade::UserUnwanted);
        }
        self.announce(name, Entry::new(Act::SenderChange, name).caller(by)).await?;
        let changed = |old: Made| Made {
            user_id: change.user_id.or(old.user_id),
            account: change.account.clone().map_or(old.account, Wish::named),
            hmac_keys: change.hmac_keys.clone().unwrap_or(old.hmac_keys),
            templates: change.templates.clone().unwrap_or(old.templates),
            brand: change.brand.clone().map_or(old.brand, Wish::named),
            ..old
        };
        let _changing = self.inner.changing.lock().await;
        self.may_act_as(&old.owner, &old.like, change.user_id, |_| true)?;
        let made = self.rewrite(name, old.born, changed).await?;
        self.take_up_made(vec![(name.clone(), made)]).await;
        Ok(())
    }

    /// Destroys a made sender, and its pairing with it. Its signings stay, and its name stays its maker's.
    pub async fn unmake(&self, name: &SenderName, by: &CallerName) -> Result<(), NotMade> {
        let (pairings, name, by) = (self.clone(), name.clone(), by.clone());
        self.surely("destroy a sender", async move { pairings.unmake_it(&name, &by).await }).await
    }

    async fn unmake_it(&self, name: &SenderName, by: &CallerName) -> Result<(), NotMade> {
        let old = self.made(name).ok_or(Error::Stale)?;
        self.announce(name, Entry::new(Act::SenderUnmake, name).caller(by)).await?;
        let _changing = self.inner.changing.lock().await;
        let gone = |old: Made| Made {
            user_id: None,
            account: None,
            hmac_keys: Private::new(Vec::new()),
            templates: Ids::new(),
            brand: None,
            is_gone: true,
            ..old
        };
        let gone = self.rewrite(name, old.born, gone).await?;
        // Last, so that one that is paired meanwhile is found here or finds that the sender is gone.
        self.drop_choices(name).await?;
        self.inner.given.store.remove_sender_record(name).await?;
        self.take_up_made(vec![(name.clone(), gone)]).await;
        Ok(())
    }

    /// Changes what the store holds of a made sender, if it still is that one.
    async fn rewrite(
        &self,
        name: &SenderName,
        born: Uuid,
        change: impl Fn(Made) -> Made,
    ) -> Result<Made, Error> {
        for _ in 0..MAX_CONFLICTS {
            let row = self.inner.given.store.sender_record(&row_name(name)).await?;
            let old = row.as_ref().and_then(Made::read).filter(|old| old.born == born && !old.is_gone);
            match self.put_made(name, change(old.ok_or(Error::Stale)?)).await {
                Err(store::Error::Conflict) => {}
                put => return Ok(put?),
            }
        }
        Err(store::Error::Conflict.into())
    }

    async fn put_made(&self, name: &SenderName, made: Made) -> Result<Made, store::Error> {
        let row = made.row(name, self.now());
        let version = self.inner.given.store.put_sender_record(row).await?;
        Ok(Made { version, ..made })
    }

    /// Whether the store still holds the sender that was born so. Those of the settings always stand.
    pub(super) async fn still_stands(&self, name: &SenderName, born: Uuid) -> Result<bool, Error> {
        if born.is_nil() && self.made(name).is_none() {
            return Ok(true);
        }
        let row = self.inner.given.store.sender_record(&row_name(name)).await?;
        Ok(row.as_ref().and_then(Made::read).is_some_and(|made| made.born == born && !made.is_gone))
    }

    /// A sender of the settings, as something to be like.
    pub(super) fn pattern(&self, like: &str) -> Option<Pattern> {
        if self.inner.given.connectable.contains_key(like) {
            return Some(Pattern::Connectable);
        }
        let is_made = self.made(&SenderName::new(like)).is_some();
        self.inner.given.auth.impersonation(like).filter(|_| !is_made).map(Pattern::Impersonating)
    }

    /// The pattern of a made connectable sender, narrowed to its account.
    pub(super) fn made_connectable(&self, name: &str) -> Option<Arc<Connectable>> {
        let made = self.made(&SenderName::new(name))?;
        let pattern = self.inner.given.connectable.get(&made.like)?;
        match &made.account {
            None => Some(Arc::clone(pattern)),
            Some(account) => {
                let account = AccountChoice::parse(Some(account));
                Some(Arc::new(Connectable { account, ..Connectable::clone(pattern) }))
            }
        }
    }
}

impl Made {
    /// The Connect keys of its account alone.
    pub fn hmac_keys(&self) -> &[String] {
        self.hmac_keys.reveal()
    }

    /// Templates by its own names.
    pub fn templates(&self) -> &Ids {
        &self.templates
    }

    /// The brand that its envelopes wear.
    pub fn brand(&self) -> Option<&str> {
        self.brand.as_deref()
    }

    /// As a row holds it; none if that cannot be read.
    pub(super) fn read(row: &SenderRecord) -> Option<Self> {
        let definition: Definition = serde_json::from_str(row.sealed.as_ref()?.reveal()).ok()?;
        Some(Self {
            owner: CallerName::new(definition.owner),
            like: definition.like,
            born: definition.born,
            user_id: definition.user_id.and_then(|id| id.parse().ok()),
            account: definition.account,
            hmac_keys: Private::new(definition.hmac_keys),
            templates: definition.templates,
            brand: definition.brand,
            version: row.version,
            is_gone: definition.is_gone,
        })
    }

    fn row(&self, name: &SenderName, now: Timestamp) -> SenderRecord {
        let definition = Definition {
            owner: self.owner.to_string(),
            like: self.like.clone(),
            user_id: self.user_id.map(|id| id.to_string()),
            account: self.account.clone(),
            hmac_keys: self.hmac_keys.reveal().clone(),
            templates: self.templates.clone(),
            brand: self.brand.clone(),
            born: self.born,
            is_gone: self.is_gone,
        };
        let sealed = serde_json::to_string(&definition).unwrap_or_default();
        SenderRecord {
            sender: row_name(name),
            user_id: self.user_id.map(|id| id.to_string()).unwrap_or_default(),
            account: AccountId::new(String::new()),
            sealed: Some(Private::new(sealed)),
            connected_at: now,
            version: self.version,
        }
    }
}

/// The name of the row that defines a sender.
pub(super) fn row_name(name: &SenderName) -> SenderName {
    SenderName::new(format!("{name}{DEFINES}"))
}

/// The longest name of an account, in characters.
pub const MAX_ACCOUNT: usize = 100;

/// Whether a text could be an account: a GUID, or a name of bounded length.
pub fn is_account(text: &str) -> bool {
    Uuid::try_parse(text).is_ok() || (1..=MAX_ACCOUNT).contains(&text.trim().chars().count())
}
