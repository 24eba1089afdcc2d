//! The Connect keys of accounts that are one sender's: a customer's, who administers it.
//!
//! Deliveries from such an account come to an address of the sender's own, `/in/docusign/of.NAME` (no sender has a
//! dot in its name), and are held against that sender's keys alone. So one costs as many digests as a sender may
//! have keys, however many senders there are, and whoever writes to the address of another is not believed.

use std::{collections::HashMap, fmt, sync::Arc};

use arc_swap::ArcSwap;

use super::Keys;
use crate::domain::SenderName;

/// First in what follows `/in/docusign/` in a sender's own address.
const OF: &str = "of.";

/// Finds the keys of a sender that is not in the settings; none if it has none.
pub type Lookup = Box<dyn Fn(&SenderName) -> Keys + Send + Sync>;

/// Whose keys are whose. Clones share them.
#[derive(Clone)]
pub struct OwnKeys {
    of_settings: Arc<ArcSwap<HashMap<SenderName, Keys>>>,
    of_others: Arc<Lookup>,
}

impl OwnKeys {
    /// Those that `lookup` finds, until the settings' are [set](Self::set).
    pub fn new(lookup: Lookup) -> Self {
        Self { of_settings: Arc::default(), of_others: Arc::new(lookup) }
    }

    /// Takes these for the senders of the settings from now on.
    pub fn set(&self, keys: HashMap<SenderName, Keys>) {
        self.of_settings.store(Arc::new(keys));
    }

    /// A sender's keys; empty if it has none of its own.
    pub fn of(&self, sender: &SenderName) -> Keys {
        match self.of_settings.load().get(sender) {
            Some(keys) => keys.clone(),
            None => (self.of_others)(sender),
        }
    }

    /// Whether a sender has keys of its own.
    pub fn has(&self, sender: &SenderName) -> bool {
        match self.of_settings.load().get(sender) {
            Some(keys) => !keys.is_empty(),
            None => !(self.of_others)(sender).is_empty(),
        }
    }
}

impl Default for OwnKeys {
    /// Nobody has any.
    fn default() -> Self {
        Self::new(Box::new(|_| Keys::default()))
    }
}

impl fmt::Debug for OwnKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OwnKeys({})", self.of_settings.load().len())
    }
}

/// What follows `/in/docusign/` in a sender's own address.
pub fn path_of(sender: &SenderName) -> String {
    format!("{OF}{sender}")
}

/// The sender that an address is of; none if it is everybody's.
pub fn sender_at(path: &str) -> Option<SenderName> {
    path.strip_prefix(OF).map(SenderName::new)
}
