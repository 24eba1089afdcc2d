//! What is about to be done for a signing, written into the audit log first (rule S6): if that fails, it is not done. What
//! makes an envelope or a view is written down when nothing holds it back any more: of what a limit stops there is no line.
//!
//! It must never hold more than ids: the log keeps what retention destroys.

use std::fmt;

use crate::{
    audit::{Act, Audit, Entry},
    clock::Deadline,
    domain::{SignerId, Signing, SigningId},
    esign::{self, Announcement},
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
        write_down(self.audit(), signing.id, vec![entry(act, signing, detail)]).await
    }

    /// What writes down a view, when it is about to be asked for.
    pub(super) fn announcing_view(
        &self,
        signing: &Signing,
        detail: &dyn fmt::Display,
    ) -> Option<Announcement> {
        if !self.audit().is_on() {
            return None;
        }
        let (audit, id, entries) =
            (self.audit().clone(), signing.id, vec![entry(Act::ViewCreate, signing, detail)]);
        Some(Box::pin(async move { write_down(&audit, id, entries).await }))
    }

    /// What writes down a create, when it is about to be sent, and with it the view that follows at once, if the caller who
    /// waits until then for it is still there: nobody waits for the disk twice. If there is no envelope then, or the view is
    /// held back, the log names a view that nobody got.
    pub(super) fn announcing_create(
        &self,
        signing: &Signing,
        view: Option<(SignerId, Deadline)>,
    ) -> Option<Announcement> {
        if !self.audit().is_on() {
            return None;
        }
        let (this, id) = (self.clone(), signing.id);
        let create = entry(Act::EnvelopeCreate, signing, &signing.transaction_id);
        let view = view.map(|(signer, until)| (entry(Act::ViewCreate, signing, &signer), until));
        Some(Box::pin(async move {
            // A limit may have held the create back for longer than its caller waits. That alone is asked: whether the life
            // of the signing is over may be judged otherwise later, by a clock that was corrected meanwhile.
            let uptime = this.parts.clock.uptime();
            let view = view.filter(|(_, until)| !until.left(uptime).is_zero()).map(|(view, _)| view);
            write_down(this.audit(), id, [create].into_iter().chain(view).collect()).await
        }))
    }
}

async fn write_down(audit: &Audit, signing: SigningId, entries: Vec<Entry>) -> Result<(), esign::Error> {
    audit.record_all(entries).await.map_err(|error| {
        tracing::error!(signing.id = %signing, error = %chain(&error), "not done: it cannot be written into the audit log");
        esign::Error::Unrecorded
    })
}

fn entry(act: Act, signing: &Signing, detail: &dyn fmt::Display) -> Entry {
    Entry::new(act, &signing.sender).caller(&signing.caller).signing(signing.id).detail(detail)
}
