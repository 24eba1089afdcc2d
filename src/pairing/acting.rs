//! From a pairing to a sender that acts: how it comes by its tokens, one or ten thousand of them in one step.

use std::sync::Arc;

use uuid::Uuid;

use super::{
    Connectable, Error, Form, Paired, Pairings, Renewal, Target,
    kept::{Choice, Kept},
    renewal::Unpaired,
};
use crate::{
    auth::{self, Impersonation, TokenSource, identity::UserId, user_info::AccountChoice},
    domain::{Private, SenderName},
};

/// Senders that are taken up in one step: what that takes is small, and used again for the next.
const AT_ONCE: usize = 1_000;

/// A connected sender that is to act.
pub(super) type ToAct = (Arc<Connectable>, SenderName, Paired);

/// A sender whose tokens come from elsewhere than a key, as `auth` takes it.
type FromElsewhere = (Arc<str>, Arc<dyn TokenSource>, AccountChoice);

impl Pairings {
    /// Proves that the sender can act as the person who chose, and answers what is to be kept for that, sealed.
    /// What fails here changes nothing.
    pub(super) async fn proven(
        &self,
        target: &Target,
        choice: &Choice,
        account: Uuid,
    ) -> Result<Option<Private<String>>, Error> {
        let user: UserId = choice.user_id.parse().map_err(|_| Error::NoAccount(None))?;
        match (target.connectable.form, &choice.refresh_token) {
            (Form::Impersonation, _) => {
                let who = impersonation(&target.connectable, user, account);
                match self.inner.given.auth.try_out(target.name.as_str(), who).await {
                    Ok(()) => Ok(None),
                    Err(error) if matches!(*error, auth::Error::ConsentRequired(_)) => {
                        Err(Error::NotAllowed(target.name.clone()))
                    }
                    Err(error) => Err(Error::Auth(error)),
                }
            }
            // Its code was exchanged a moment ago.
            (Form::Code, Some(token)) => Ok(Some(Kept::fresh(token.clone(), self.now()).sealed())),
            (Form::Code, None) => Err(auth::Error::ConnectionLost.into()),
        }
    }

    /// Makes senders act as their pairings say; answers those that cannot, and why.
    pub(super) async fn act_by(&self, all: Vec<ToAct>) -> Vec<(SenderName, Error)> {
        let mut failed = Vec::new();
        for some in all.chunks(AT_ONCE) {
            failed.extend(self.act_by_some(some).await);
        }
        failed
    }

    async fn act_by_some(&self, some: &[ToAct]) -> Vec<(SenderName, Error)> {
        let (mut by_key, mut from_elsewhere, mut failed) = (Vec::new(), Vec::new(), Vec::new());
        for (connectable, name, paired) in some {
            match self.by_pairing(connectable, name, paired) {
                Ok(By::Key(who)) => by_key.push((Arc::from(name.as_str()), who)),
                Ok(By::Elsewhere(sender)) => from_elsewhere.push(sender),
                Err(error) => failed.push((name.clone(), error)),
            }
        }
        let auth = &self.inner.given.auth;
        auth.register_sources(from_elsewhere);
        let unusable = auth.register_each(by_key).await.into_iter();
        failed.extend(
            unusable.map(|(name, error)| (SenderName::new(name), auth::Error::KeyUnusable(error).into())),
        );
        for (_, name, paired) in some {
            // One that cannot act is tried again at the next look.
            if failed.iter().all(|(failed, _)| failed != name) {
                self.live().insert(name.clone(), paired.clone());
                (self.inner.given.on_change)(name);
            }
        }
        failed
    }

    /// Has connected senders act only in the account that may be connected by now, by the tokens that they have: what is
    /// wrong with a connection stays known.
    pub(super) fn act_where_allowed(&self, names: &[SenderName]) {
        for name in names {
            let (Ok(connectable), Some(paired)) = (self.connectable(name.as_str()), self.paired(name)) else {
                continue;
            };
            // What acts has been read so before.
            if let Ok(account) = Uuid::try_parse(paired.account.as_str()) {
                self.inner.given.auth.act_in(name.as_str(), connected(&connectable, account));
            }
        }
    }

    fn by_pairing(&self, connectable: &Connectable, name: &SenderName, paired: &Paired) -> Result<By, Error> {
        let unusable = || Error::NoAccount(None);
        let account = Uuid::try_parse(paired.account.as_str()).map_err(|_| unusable())?;
        Ok(match connectable.form {
            Form::Impersonation => {
                let user: UserId = paired.user_id.parse().map_err(|_| unusable())?;
                By::Key(impersonation(connectable, user, account))
            }
            Form::Code => {
                let source = self.patient(self.renewal_of(connectable, name));
                By::Elsewhere((Arc::from(name.as_str()), source, connected(connectable, account)))
            }
        })
    }

    /// What fails for good is not asked every second.
    fn patient(&self, source: impl TokenSource + 'static) -> Arc<dyn TokenSource> {
        Arc::new(auth::retry::Retry::new(source, Arc::clone(&self.inner.given.clock), fastrand::u64(..)))
    }

    pub(super) fn renewal_of(&self, connectable: &Connectable, sender: &SenderName) -> Renewal {
        Renewal {
            sender: sender.clone(),
            integration_key: connectable.integration_key,
            secret: connectable.secret.clone(),
            grant: self.inner.grant.clone(),
            store: Arc::clone(&self.inner.given.store),
            clock: Arc::clone(&self.inner.given.clock),
            life: self.inner.given.life.clone(),
            daemon: self.inner.daemon,
            unsaved: Arc::default(),
        }
    }

    /// Senders that wait for a customer.
    pub(super) fn unpaired(&self, names: impl IntoIterator<Item = SenderName>) {
        let names: Vec<SenderName> = names.into_iter().collect();
        let sender = |name: &SenderName| -> FromElsewhere {
            let source = self.patient(Unpaired);
            (Arc::from(name.as_str()), source, AccountChoice::Default)
        };
        self.inner.given.auth.register_sources(names.iter().map(sender).collect());
        for name in &names {
            (self.inner.given.on_change)(name);
        }
    }
}

/// What a sender's tokens are made with.
enum By {
    Elsewhere(FromElsewhere),
    Key(Impersonation),
}

fn impersonation(connectable: &Connectable, user_id: UserId, account: Uuid) -> Impersonation {
    Impersonation {
        integration_key: connectable.integration_key,
        user_id,
        scopes: connectable.scopes.clone(),
        keys: connectable.keys.clone(),
        account: connected(connectable, account),
    }
}

/// The account that was connected, for as long as it is one that may be: the settings, or a made sender's maker, may name
/// another one later.
fn connected(connectable: &Connectable, id: Uuid) -> AccountChoice {
    AccountChoice::Connected { id, only: Box::new(connectable.account.clone()) }
}
