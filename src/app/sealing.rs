//! Seals anew what older seal keys have sealed: at the start, and once an hour, because another daemon on the store may
//! still seal with one. It needs no clock but to wait, and nobody waits for it: the store does it in batches.
//!
//! It must never say that a key is not needed before the store says so, which is not sure of it at once where several
//! daemons write.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use crate::{
    app::Parts,
    store::{SealKeyId, Sealed},
};

const EVERY: Duration = Duration::from_secs(3_600);

/// Starts the task.
pub(super) fn start(parts: &Parts) {
    let told = Arc::new(Mutex::new(Vec::new()));
    parts.repeat("sealing", EVERY, move |parts| {
        let told = Arc::clone(&told);
        async move {
            match parts.store.reseal().await {
                Ok(sealed) => tell(&sealed, &mut told.lock().unwrap_or_else(PoisonError::into_inner)),
                Err(error) => {
                    tracing::warn!(%error, "what older seal keys have sealed could not be sealed anew");
                }
            }
        }
    });
}

/// Says once of each older key that it is not needed any more: an operator waits for that (deploy/rotation.md). Again, if it
/// was needed since.
fn tell(sealed: &Sealed, told: &mut Vec<SealKeyId>) {
    let current = sealed.current;
    told.retain(|key| sealed.unused.contains(key));
    for unused in &sealed.unused {
        if !told.contains(unused) {
            tracing::info!(
                "everything in the store is sealed with key {current}; for the store, key {unused} may be taken out of \
                 the settings"
            );
            told.push(*unused);
        }
    }
}
