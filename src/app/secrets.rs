//! From the seal keys of the settings to what is derived from them.

use std::sync::Arc;

use crate::{
    auth::consent_state::ConsentStates,
    config::Config,
    pairing::PairingTickets,
    signing::{ResultKey, Tickets},
};

/// What is made of the seal key in use, and takes what was made of the others.
#[derive(Debug, Clone)]
pub struct Secrets {
    /// Signs results.
    pub results: Arc<ResultKey>,
    /// Makes the tickets of the direct form.
    pub tickets: Tickets,
    /// Makes the `state` of consent links.
    pub consents: ConsentStates,
    /// Makes the links of connectable senders.
    pub pairings: PairingTickets,
}

impl Secrets {
    /// Derives them.
    pub(super) fn derive(config: &Config) -> Self {
        let (secret, older) = config.store.secrets();
        Self {
            results: Arc::new(ResultKey::derive(&secret, &older)),
            tickets: Tickets::derive(&secret, &older),
            consents: ConsentStates::derive(&secret, &older),
            pairings: PairingTickets::derive(&secret, &older),
        }
    }
}
