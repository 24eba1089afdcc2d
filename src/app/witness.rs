//! Each signature of a private key is a line of the audit log before it is made (rule S6).

use std::sync::Arc;

use crate::{
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
