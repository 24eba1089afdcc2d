//! Views and ceremonies: each has a name in its address and belongs to a recipient, and is found by either
//! without looking through all. Applications under load make hundreds of thousands of them.

use std::collections::BTreeMap;

use super::{ceremony::Session, recipient_views::View};

/// What belongs to a recipient.
pub(super) trait OfRecipient {
    /// Its `recipientIdGuid`.
    fn recipient(&self) -> &str;
}

impl OfRecipient for View {
    fn recipient(&self) -> &str {
        &self.recipient
    }
}

impl OfRecipient for Session {
    fn recipient(&self) -> &str {
        &self.recipient
    }
}

/// All of a kind.
#[derive(Debug)]
pub(super) struct ByRecipient<T> {
    all: BTreeMap<String, T>,
    /// The names of each recipient's, oldest first.
    names: BTreeMap<String, Vec<String>>,
}

impl<T> Default for ByRecipient<T> {
    fn default() -> Self {
        Self { all: BTreeMap::new(), names: BTreeMap::new() }
    }
}

impl<T: OfRecipient> ByRecipient<T> {
    /// Adds one under a name that no other has.
    pub(super) fn insert(&mut self, name: String, one: T) {
        self.names.entry(one.recipient().to_owned()).or_default().push(name.clone());
        self.all.insert(name, one);
    }

    /// The one of that name.
    pub(super) fn get(&self, name: &str) -> Option<&T> {
        self.all.get(name)
    }

    /// The one of that name, to change it.
    pub(super) fn get_mut(&mut self, name: &str) -> Option<&mut T> {
        self.all.get_mut(name)
    }

    /// A recipient's, oldest first.
    pub(super) fn of(&self, recipient: &str) -> impl DoubleEndedIterator<Item = &T> {
        let names = self.names.get(recipient).map(Vec::as_slice).unwrap_or_default();
        names.iter().filter_map(|name| self.all.get(name))
    }

    /// Does something to each of a recipient's, oldest first.
    pub(super) fn change(&mut self, recipient: &str, mut change: impl FnMut(&mut T)) {
        for name in self.names.get(recipient).into_iter().flatten() {
            self.all.get_mut(name).into_iter().for_each(&mut change);
        }
    }

    /// Forgets the one of that name.
    pub(super) fn remove(&mut self, name: &str) {
        if let Some(one) = self.all.remove(name)
            && let Some(names) = self.names.get_mut(one.recipient())
        {
            names.retain(|kept| kept != name);
        }
    }

    /// Forgets what is not worth keeping.
    pub(super) fn retain(&mut self, is_kept: impl Fn(&T) -> bool) {
        let before = self.all.len();
        self.all.retain(|_, one| is_kept(one));
        if self.all.len() < before {
            let all = &self.all;
            self.names.retain(|_, names| {
                names.retain(|name| all.contains_key(name));
                !names.is_empty()
            });
        }
    }
}
