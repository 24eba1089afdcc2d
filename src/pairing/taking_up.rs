//! From a row that defines a sender to one that is known and can act: those of this daemon's callers, and those that
//! other daemons have written.
//!
//! Whose a sender is must be known before anybody can use it, and what it acts by is forgotten first. It must never
//! put a made sender in the place of one of the settings, nor let anything of one that had a name go on under that name
//! for the next. It writes nothing into the store.

use std::{collections::HashSet, sync::Arc};

use super::{
    Pairings,
    defined::{AllMade, DEFINES, Made, Pattern, row_name},
};
use crate::{
    auth::{Impersonation, user_info::AccountChoice},
    domain::SenderName,
    store::SenderRecord,
};

impl Pairings {
    /// Whether this pairing is what is left of a sender that was destroyed, because that was cut short.
    pub(super) fn is_left_over(&self, pairing: &SenderRecord, definitions: &[SenderRecord]) -> bool {
        if self.inner.given.connectable.contains_key(pairing.sender.as_str()) {
            return false;
        }
        let definition = row_name(&pairing.sender);
        let is_gone = |row: &SenderRecord| Made::read(row).is_some_and(|made| made.is_gone);
        // By the row, which tells at once when the name was made anew. The settings of another daemon may have it by
        // now: what was connected since is theirs.
        definitions
            .iter()
            .any(|row| row.sender == definition && is_gone(row) && pairing.connected_at <= row.connected_at)
    }

    /// Takes up the rows that define senders, and forgets senders that have none any more. Answers the names of
    /// those that rest: what is stored of them is nobody else's.
    pub(super) async fn take_up_definitions(&self, rows: &[SenderRecord]) -> HashSet<SenderName> {
        let known = self.inner.made.load_full();
        let (mut named, mut new) = (HashSet::new(), Vec::new());
        for row in rows {
            let Some(name) = row.sender.as_str().strip_suffix(DEFINES).map(SenderName::new) else { continue };
            let Some(made) = Made::read(row) else { continue };
            let is_known =
                known.get(&name).is_some_and(|old| (old.version, old.born) == (made.version, made.born));
            if !is_known {
                new.push((name.clone(), made));
            }
            named.insert(name);
        }
        let gone: Vec<_> = known.keys().filter(|name| !named.contains(*name)).cloned().collect();
        self.forget_made(&gone);
        self.take_up_made(new).await;
        let now = self.inner.made.load();
        named.retain(|name| !now.contains_key(name));
        named
    }

    /// Takes up definitions that are new here: what they say of a sender is so when this returns.
    pub(super) async fn take_up_made(&self, new: Vec<(SenderName, Made)>) {
        let known = self.inner.made.load_full();
        let is_another = |(name, made): &&(SenderName, Made)| {
            known.get(name).is_some_and(|old| made.is_gone || old.born != made.born)
        };
        // Nothing of the one before goes on under its name.
        let others: Vec<_> = new.iter().filter(is_another).map(|(name, _)| name.clone()).collect();
        self.stop_made(&others);
        let (mut by_key, mut unpaired, mut repinned, mut resting) = (Vec::new(), Vec::new(), Vec::new(), 0);
        let mut taken = AllMade::new();
        for (name, made) in new {
            // A sender of the settings goes before one that was made when the settings did not have it.
            if !made.is_gone && self.made(&name).is_none() && self.inner.given.auth.has(name.as_str()) {
                tracing::warn!(sender = %name, "a made sender rests: the settings have one of its name; rename that one");
                continue;
            }
            match (self.pattern(&made.like), made.user_id) {
                _ if made.is_gone => {}
                (Some(Pattern::Impersonating(like)), Some(user)) => {
                    let account = AccountChoice::parse(made.account.as_deref());
                    let who = Impersonation { user_id: user, account, ..like };
                    by_key.push((Arc::from(name.as_str()), who));
                }
                // What is connected goes on as it is, in the account that may be connected.
                (Some(Pattern::Connectable), _) if self.paired(&name).is_some() => {
                    if known.get(&name).is_some_and(|old| old.account != made.account) {
                        repinned.push(name.clone());
                    }
                }
                (Some(Pattern::Connectable), _) => unpaired.push(name.clone()),
                // The operator took the pattern out of the settings: it rests until that comes back.
                _ => {
                    resting += 1;
                    continue;
                }
            }
            taken.insert(name, Arc::new(made));
        }
        if resting > 0 {
            tracing::warn!(resting, "made senders have no pattern any more, and rest");
        }
        self.insert_made(&taken);
        self.unpaired(unpaired);
        self.act_where_allowed(&repinned);
        let unusable = self.inner.given.auth.register_each(by_key).await;
        for (name, error) in &unusable {
            tracing::error!(sender = %name, %error, "a made sender has no usable key");
        }
        let unusable: Vec<_> = unusable.into_iter().map(|(name, _)| SenderName::new(name)).collect();
        self.forget_made(&unusable);
        for name in taken.keys() {
            (self.inner.given.on_change)(name);
        }
    }

    /// Whose a sender is must be known before it can be used.
    fn insert_made(&self, taken: &AllMade) {
        if taken.is_empty() {
            return;
        }
        for (name, made) in taken {
            (self.inner.given.on_brand)(name, made.brand());
        }
        self.inner.made.rcu(|all| {
            let mut all = AllMade::clone(all);
            all.extend(taken.iter().map(|(name, made)| (name.clone(), Arc::clone(made))));
            all
        });
    }

    /// Forgets senders: first what they act by, so that nobody uses one whose it is not known.
    fn forget_made(&self, names: &[SenderName]) {
        if names.is_empty() {
            return;
        }
        self.stop_made(names);
        for name in names {
            (self.inner.given.on_brand)(name, None);
        }
        self.inner.made.rcu(|all| {
            let mut all = AllMade::clone(all);
            for name in names {
                all.remove(name);
            }
            all
        });
    }

    /// Forgets what senders act by.
    fn stop_made(&self, names: &[SenderName]) {
        // A name that was given up may be one of the settings by now.
        let acting: Vec<&SenderName> = names.iter().filter(|name| self.made(name).is_some()).collect();
        self.inner.given.auth.unregister_all(acting.iter().map(|name| name.as_str()));
        for name in acting {
            self.live().remove(name);
            (self.inner.given.on_change)(name);
        }
    }
}
