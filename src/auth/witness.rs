//! Who is told before a private key signs (rule S6). It knows nothing of what writes it down.

use std::{
    pin::Pin,
    sync::{Arc, OnceLock},
};

use super::{signer::SignError, signing_key::Fingerprint};

/// The witness's answer: whether it is written down.
pub type Witnessed<'a> = Pin<Box<dyn Future<Output = bool> + Send + 'a>>;

/// Told before each signature. What it did not write down is not signed.
pub trait Witness: Send + Sync {
    /// This key is about to sign an assertion for this sender.
    fn signs<'a>(&'a self, sender: &'a str, key: Fingerprint) -> Witnessed<'a>;
}

/// The witness of all senders, once there is one. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Witnesses(Arc<OnceLock<Arc<dyn Witness>>>);

impl Witnesses {
    /// From now on this one is told; the first stays.
    pub(super) fn set(&self, witness: Arc<dyn Witness>) {
        let _ = self.0.set(witness);
    }

    pub(super) async fn signs(&self, sender: &str, key: Fingerprint) -> Result<(), SignError> {
        match self.0.get() {
            Some(witness) if !witness.signs(sender, key).await => Err(SignError::Unrecorded),
            _ => Ok(()),
        }
    }
}
