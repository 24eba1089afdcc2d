//! Each signature of a private key is a line of the audit log before it is made (rule S6); and how far that log has
//! come is said in ours.

use std::sync::Arc;

use crate::{
    app::Parts,
    audit::{Act, Audit, Entry},
    auth::{
        Auth,
        signing_key::Fingerprint,
        witness::{Witness, Witnessed},
    },
};

struct Log(Audit);

impl Witness for Log {
    fn signs<'a>(&'a self, sender: &'a str, key: Fingerprint) -> Witnessed<'a> {
        Box::pin(async move {
            let written = self.0.record(Entry::new(Act::TokenMint, sender).detail(key)).await;
            if let Err(error) = &written {
                tracing::error!(sender, %error, "no token is minted: it cannot be written into the audit log");
            }
            written.is_ok()
        })
    }
}

/// Has every mint written down; without a log there is nothing to write.
pub(super) fn watch(auth: &Auth, audit: &Audit) {
    if audit.is_on() {
        auth.be_witnessed_by(Arc::new(Log(audit.clone())));
    }
}

/// Says in the log how far the audit log has come: against this, missing lines at its end show.
pub(super) fn note_head(parts: &Parts, what: &str) {
    if let Some(head) = parts.signings.audit().head() {
        tracing::info!(%head, "the audit log {what}");
    }
}

/// Says at a start, which may be the first, how far the audit log has come.
pub(super) fn note_first_head(parts: &Parts) {
    let is_new = parts.signings.audit().head().is_some_and(|head| head.seq == 0);
    note_head(parts, if is_new { "begins" } else { "goes on" });
}
