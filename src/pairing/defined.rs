//! Senders that callers made: like one of the settings, for a user or a customer of their own.
//!
//! An operator says which senders of the settings a caller may make others like
//! (`callers.NAME.sender_patterns`). What is made has the pattern's integration key, keys and scopes, and is
//! its maker's alone. It is stored beside the pairings, under a name that no sender can have, so that all
//! daemons know it and a restart forgets nothing.

use std::{collections::HashMap, sync::Arc};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Connectable, Error, Pairings, impersonation_of};
use crate::{
    auth::{
        identity::{IntegrationKey, Scopes, UserId},
        signing_key::KeySource,
        user_info::AccountChoice,
    },
    domain::{AccountId, CallerName, Private, SenderName},
    store::{self, ConnectedSender, Version},
};

/// Ends the name of a row that defines a sender.
pub(super) const DEFINES: char = '@';
/// Senders that one caller may make.
const MAX_MADE: usize = 20_000;

/// What senders can be made like.
#[derive(Debug, Clone)]
pub enum Pattern {
    /// For customers, who connect an account each.
    Connectable(Arc<Connectable>),
    /// For users that the maker names.
    Impersonating {
        /// Our client identifier.
        integration_key: IntegrationKey,
        /// What is asked for.
        scopes: Scopes,
        /// The keys.
        keys: Vec<KeySource>,
    },
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
}

/// Which account a made sender is to act in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccountWish {
    /// The user's default, or what a customer chooses.
    Default,
    /// The one of this id or name.
    This(String),
}

/// A sender that a caller made.
#[derive(Debug, Clone)]
pub struct Made {
    /// Who made it.
    pub owner: CallerName,
    /// What it is like.
    pub like: String,
    user_id: Option<UserId>,
    account: Option<String>,
    version: Version,
}

/// Why a sender was not made or changed.
#[derive(Debug, thiserror::Error)]
pub enum NotMade {
    /// The key, the store, or the audit log.
    #[error("it could not be made")]
    Failed(#[from] Error),
    /// There is a sender of that name already.
    #[error("there is a sender of that name")]
    NameTaken,
    /// The caller has made as many as it may.
    #[error("this caller has made {MAX_MADE} senders")]
    TooMany,
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
}

/// The senders that callers made, by name.
pub(super) type AllMade = HashMap<SenderName, Arc<Made>>;

impl Pairings {
    /// A sender that a caller made, if it is one.
    pub fn made(&self, name: &SenderName) -> Option<Arc<Made>> {
        self.inner.made.load().get(name).cloned()
    }

    /// Makes a sender. It is on disk, and can be used or connected, when this returns.
    pub async fn make(&self, owner: &CallerName, new: NewSender) -> Result<(), NotMade> {
        let pattern = self.inner.given.patterns.get(&new.like).ok_or(Error::Stale)?;
        match (pattern, new.user_id) {
            (Pattern::Connectable(_), Some(_)) => return Err(NotMade::UserUnwanted),
            (Pattern::Impersonating { .. }, None) => return Err(NotMade::UserMissing),
            _ => {}
        }
        if self.inner.given.auth.has(new.name.as_str()) {
            return Err(NotMade::NameTaken);
        }
        if self.inner.made.load().values().filter(|made| made.owner == *owner).count() >= MAX_MADE {
            return Err(NotMade::TooMany);
        }
        self.announce(new.name.as_str(), "make").await?;
        let made = Made {
            owner: owner.clone(),
            like: new.like,
            user_id: new.user_id,
            account: new.account,
            version: Version(0),
        };
        match self.inner.given.store.put_connected_sender(self.row_of(&new.name, &made)).await {
            Ok(version) => self.take_up_made(&new.name, Made { version, ..made }).await,
            Err(store::Error::Conflict) => return Err(NotMade::NameTaken),
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Gives a made sender another user or account. What is connected stays connected.
    pub async fn change(
        &self,
        name: &SenderName,
        user_id: Option<UserId>,
        account: Option<AccountWish>,
    ) -> Result<(), NotMade> {
        let old = self.made(name).ok_or(Error::Stale)?;
        let pattern = self.inner.given.patterns.get(&old.like);
        if user_id.is_some() && matches!(pattern, Some(Pattern::Connectable(_))) {
            return Err(NotMade::UserUnwanted);
        }
        self.announce(name.as_str(), "change").await?;
        let made = Made {
            user_id: user_id.or(old.user_id),
            account: match account {
                None => old.account.clone(),
                Some(AccountWish::Default) => None,
                Some(AccountWish::This(account)) => Some(account),
            },
            ..Made::clone(&old)
        };
        let version = self.inner.given.store.put_connected_sender(self.row_of(name, &made)).await?;
        self.take_up_made(name, Made { version, ..made }).await;
        Ok(())
    }

    /// Destroys a made sender, and its pairing with it. Its signings stay.
    pub async fn unmake(&self, name: &SenderName) -> Result<(), NotMade> {
        self.announce(name.as_str(), "unmake").await?;
        self.inner.given.store.remove_connected_sender(name).await?;
        self.inner.given.store.remove_connected_sender(&row_name(name)).await?;
        self.forget_made(name);
        Ok(())
    }

    pub(super) fn forget_made(&self, name: &SenderName) {
        self.inner.made.rcu(|all| {
            let mut all = AllMade::clone(all);
            all.remove(name);
            all
        });
        self.live().remove(name);
        self.inner.given.auth.unregister(name.as_str());
        (self.inner.given.on_change)(name);
    }

    /// Takes up a row that defines a sender; answers its name.
    pub(super) async fn take_up_definition(&self, row: &ConnectedSender) -> Option<SenderName> {
        let name = SenderName::new(row.sender.as_str().strip_suffix(DEFINES)?);
        if self.made(&name).is_some_and(|made| made.version == row.version) {
            return Some(name);
        }
        let definition: Definition = serde_json::from_str(row.refresh_token.as_ref()?.reveal()).ok()?;
        let made = Made {
            owner: CallerName::new(definition.owner),
            like: definition.like,
            user_id: definition.user_id.and_then(|id| id.parse().ok()),
            account: definition.account,
            version: row.version,
        };
        self.take_up_made(&name, made).await;
        Some(name)
    }

    async fn take_up_made(&self, name: &SenderName, made: Made) {
        let pattern = self.inner.given.patterns.get(&made.like);
        let account = AccountChoice::parse(made.account.as_deref());
        let registered = match (pattern, made.user_id) {
            (Some(Pattern::Impersonating { integration_key, scopes, keys }), Some(user)) => {
                let sender = impersonation_of(*integration_key, user, (scopes, keys), account);
                self.inner.given.auth.register(name.as_str(), sender).await
            }
            (Some(Pattern::Connectable(_)), _) => {
                // What is connected goes on as it is.
                if self.paired(name).is_none() {
                    self.unpaired(name.as_str());
                }
                Ok(())
            }
            // The operator took the pattern out of the settings: it rests until that comes back.
            _ => {
                return tracing::warn!(sender = %name, like = made.like, "a made sender has no pattern any more");
            }
        };
        if let Err(error) = registered {
            tracing::error!(sender = %name, %error, "a made sender has no usable key");
            return;
        }
        let made = Arc::new(made);
        self.inner.made.rcu(|all| {
            let mut all = AllMade::clone(all);
            all.insert(name.clone(), Arc::clone(&made));
            all
        });
        (self.inner.given.on_change)(name);
    }

    /// The pattern of a made connectable sender, narrowed to its account.
    pub(super) fn made_connectable(&self, name: &str) -> Option<Arc<Connectable>> {
        let made = self.made(&SenderName::new(name))?;
        let Pattern::Connectable(pattern) = self.inner.given.patterns.get(&made.like)? else { return None };
        match &made.account {
            None => Some(Arc::clone(pattern)),
            Some(account) => {
                let account = AccountChoice::parse(Some(account));
                Some(Arc::new(Connectable { account, ..Connectable::clone(pattern) }))
            }
        }
    }

    fn row_of(&self, name: &SenderName, made: &Made) -> ConnectedSender {
        let definition = Definition {
            owner: made.owner.to_string(),
            like: made.like.clone(),
            user_id: made.user_id.map(|id| id.to_string()),
            account: made.account.clone(),
        };
        let sealed = serde_json::to_string(&definition).unwrap_or_default();
        ConnectedSender {
            sender: row_name(name),
            user_id: made.user_id.map(|id| id.to_string()).unwrap_or_default(),
            account: AccountId::new(String::new()),
            refresh_token: Some(Private::new(sealed)),
            connected_at: self.now(),
            version: made.version,
        }
    }
}

fn row_name(name: &SenderName) -> SenderName {
    SenderName::new(format!("{name}{DEFINES}"))
}

/// Whether a text could be an account: a GUID, or a name of bounded length.
pub fn is_account(text: &str) -> bool {
    Uuid::try_parse(text).is_ok() || (1..=100).contains(&text.trim().len())
}
