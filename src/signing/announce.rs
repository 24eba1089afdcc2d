//! What is about to be done for a signing, written into the audit log first (rule S6): if that fails, it is not done.
//!
//! It must never hold more than ids: the log keeps what retention destroys.

use std::fmt;

use crate::{
    audit::{Act, Entry},
    domain::{SignerId, Signing},
    esign,
    signing::Signings,
    telemetry::chain,
};

impl Signings {
    /// Writes down one act.
    pub(super) async fn announce(
        &self,
        act: Act,
        signing: &Signing,
        detail: &(dyn fmt::Display + Sync),
    ) -> Result<(), esign::Error> {
        if !self.audit().is_on() {
            return Ok(());
        }
        self.write_down(signing, vec![entry(act, signing, detail)]).await
    }

    /// Writes down a create, and with it the view that follows at once: nobody waits for the disk twice. If there is
    /// no envelope then, the log names a view that nobody got.
    pub(super) async fn announce_create(
        &self,
        signing: &Signing,
        viewer: Option<SignerId>,
    ) -> Result<(), esign::Error> {
        if !self.audit().is_on() {
            return Ok(());
        }
        let mut entries = vec![entry(Act::EnvelopeCreate, signing, &signing.transaction_id)];
        entries.extend(viewer.map(|signer| entry(Act::ViewCreate, signing, &signer)));
        self.write_down(signing, entries).await
    }

    async fn write_down(&self, signing: &Signing, entries: Vec<Entry>) -> Result<(), esign::Error> {
        self.audit().record_all(entries).await.map_err(|error| {
            tracing::error!(signing.id = %signing.id, error = %chain(&error), "not done: it cannot be written into the audit log");
            esign::Error::Unrecorded
        })
    }
}

fn entry(act: Act, signing: &Signing, detail: &dyn fmt::Display) -> Entry {
    Entry::new(act, &signing.sender).caller(&signing.caller).signing(signing.id).detail(detail)
}
