//! What time brings by itself: the end at the caller's own hour, and a purge followed to its end.
//!
//! A signing that has something coming carries it as [`Work`] in the store, so that it is done by whichever
//! daemon is there at that time, once. What the upstream says is the fact; here is only asked for it.

use std::time::Duration;

use jiff::Timestamp;

use crate::{
    audit::Act,
    clock::later,
    domain::{CallerName, EnvelopeFact, Fact, PurgeScope, Signing, SigningId, SigningStatus},
    signing::{Error, Signings, follow::Asked, settle::backoff, twins},
    store::{Durability, Record, Work},
    telemetry::chain,
};

/// Why an envelope is voided when the caller's time is over. Begins as the upstream's own reason does, by
/// which its events tell an expiry from a void.
const REASON: &str = "Envelope has expired: the time that its sender gave is over";
/// The upstream ends envelopes by whole days and by itself; it is given so long to say so.
const GRACE: Duration = Duration::from_secs(15 * 60);
/// A purge lies in the upstream's queue for 14 days (eSignature REST API, "Purging documents").
const PURGE_QUEUE: Duration = Duration::from_secs(14 * DAY);
/// How long after that it is asked whether its event was lost, how often, and at most until when.
const PURGE_CHECK: Duration = Duration::from_secs(6 * 3_600);
const PURGE_CHECKS: u32 = 16;
const DAY: u64 = 86_400;
/// The longest wait before something that failed is tried again.
const LONGEST_WAIT: Duration = Duration::from_secs(15 * 60);

impl Signings {
    /// Has the documents of an ended signing destroyed at the upstream. It takes two weeks there; repeating
    /// it meanwhile is harmless, and with a wider scope begins the two weeks anew. The end is the event
    /// `signing.purged`; after it there is nothing left to widen.
    pub async fn purge(
        &self,
        caller: &CallerName,
        id: SigningId,
        scope: PurgeScope,
    ) -> Result<Signing, Error> {
        let (this, caller) = (self.clone(), caller.clone());
        self.aside("a purge", async move { this.ask_for_purge(&caller, id, scope).await }).await
    }

    async fn ask_for_purge(
        &self,
        caller: &CallerName,
        id: SigningId,
        scope: PurgeScope,
    ) -> Result<Signing, Error> {
        let signing = self.get(caller, id).await?;
        // Before scopes were kept, most asked for the least.
        let asked = signing.purged_at.or(signing.purge_requested_at);
        let asked = asked.map(|_| signing.purge_scope.unwrap_or(PurgeScope::Documents));
        if asked.is_some_and(|asked| scope <= asked) {
            return Ok(signing);
        }
        if signing.purged_at.is_some() {
            return Err(Error::Purged);
        }
        match signing.status {
            SigningStatus::Failed => return Err(Error::Closed(signing.status)),
            status if status.is_terminal() => {}
            status => return Err(Error::NotEnded(status)),
        }
        let envelope = signing.envelope.as_ref().ok_or(Error::NotFound)?;
        let acting = self.parts.esign.acting(&signing.sender).await?;
        self.announce(Act::EnvelopePurge, &signing, envelope.as_str()).await?;
        let trace = self.parts.esign.purge(&acting, envelope, scope, self.at_leisure()).await?;
        self.change_with_work(id, Durability::Synced, |signing, _, now| {
            // Of two at once, the wider: which of them was the last at the upstream nobody knows.
            signing.purge_scope = signing.purge_scope.max(Some(scope));
            signing.purge_requested_at = Some(now);
            signing.remember(now, "purge_asked", None, trace.clone());
            Ok((Vec::new(), upkeep(signing)))
        })
        .await
    }

    /// Does what has come due for a signing whose create is settled.
    pub(super) async fn tend(&self, record: Record) -> Result<(), Error> {
        let now = self.parts.clock.now();
        let Record { signing, work, .. } = record;
        let attempts = work.map_or(0, |work| work.attempts);
        let chore = next_chore(&signing);
        let done = match chore {
            None => Ok(None),
            Some((due_at, _)) if due_at > now && attempts == 0 => Ok(Some(Work::at(due_at))),
            Some((_, Chore::Expire)) => self.expire(&signing).await,
            Some((_, Chore::LookAtPurge)) => self.look_at_purge(&signing, attempts).await,
            Some((_, Chore::LookForTwins)) => self.look_for_twins(&signing).await.map(|()| None),
        };
        let has_looked =
            done.is_ok() && matches!(chore, Some((due_at, Chore::LookForTwins)) if due_at <= now);
        let next = match done {
            Ok(next) => next,
            Err(error) => {
                tracing::warn!(signing.id = %signing.id, error = %chain(&error), "what has come due could not be done: trying again");
                let wait = error.retry_after(now).unwrap_or_else(|| patient(attempts));
                Some(Work { due_at: later(now, wait), leased_until: None, attempts: attempts + 1 })
            }
        };
        let told = self.change_with_work(signing.id, Durability::Synced, |signing, _, now| {
            signing.twins_sought = signing.twins_sought.saturating_add(has_looked.into());
            // A purge may have been asked for meanwhile; what is past is not begun again.
            Ok((Vec::new(), next.or_else(|| upkeep(signing).filter(|work| work.due_at > now))))
        });
        told.await.map(|_| ())
    }

    /// The caller's time is over: ends the envelope at the upstream, and learns what became of it if it
    /// had ended already.
    async fn expire(&self, signing: &Signing) -> Result<Option<Work>, Error> {
        let Some(envelope) = &signing.envelope else { return Ok(None) };
        let acting = self.parts.esign.acting(&signing.sender).await?;
        self.announce(Act::EnvelopeVoid, signing, envelope.as_str()).await?;
        match self.parts.esign.void(&acting, envelope, REASON, self.at_leisure()).await {
            Ok(trace) => {
                let fact = Fact::Envelope(EnvelopeFact::Expired);
                let asked = Asked { what: "expiry_asked", ends: true, trace };
                self.take_in(signing.id, &[fact], Some(asked)).await?;
            }
            // It has ended in another way, and the event is on its way or lost.
            Err(error) if error.rejection().is_some() => {
                let after = self.check(signing, envelope).await?;
                if !after.status.is_terminal() {
                    return Err(error.into());
                }
            }
            Err(error) => return Err(error.into()),
        }
        Ok(None)
    }

    /// The event of a purge has not come in time: asks, a few times.
    async fn look_at_purge(&self, signing: &Signing, attempts: u32) -> Result<Option<Work>, Error> {
        let Some(envelope) = &signing.envelope else { return Ok(None) };
        let after = self.check(signing, envelope).await?;
        if after.purged_at.is_some() {
            return Ok(None);
        }
        if attempts >= PURGE_CHECKS {
            tracing::warn!(signing.id = %signing.id, "a purge was asked for and has not happened: not followed any further");
            return Ok(None);
        }
        let due_at = later(self.parts.clock.now(), Duration::from_secs(DAY));
        Ok(Some(Work { due_at, leased_until: None, attempts: attempts + 1 }))
    }
}

/// Something that time brings.
#[derive(Debug, Clone, Copy)]
enum Chore {
    Expire,
    LookAtPurge,
    LookForTwins,
}

/// What is still to come for a signing whose create is settled.
pub(super) fn upkeep(signing: &Signing) -> Option<Work> {
    next_chore(signing).map(|(due_at, _)| Work::at(due_at))
}

fn next_chore(signing: &Signing) -> Option<(Timestamp, Chore)> {
    let twins = twins::next_look(signing).map(|at| (at, Chore::LookForTwins));
    let own = if signing.status == SigningStatus::Open {
        signing.expires_at.map(|end| (end_of(signing, end), Chore::Expire))
    } else {
        let asked_at = signing.purge_requested_at.filter(|_| signing.purged_at.is_none());
        asked_at.map(|at| (purge_check(at), Chore::LookAtPurge))
    };
    twins.into_iter().chain(own).min_by_key(|(due_at, _)| *due_at)
}

/// When the caller's time is over: whole days are the upstream's to end.
fn end_of(signing: &Signing, expires_at: Timestamp) -> Timestamp {
    let life = Duration::try_from(expires_at.duration_since(signing.created_at)).unwrap_or_default();
    let is_whole_days = life.as_secs().is_multiple_of(DAY);
    if is_whole_days { later(expires_at, GRACE) } else { expires_at }
}

fn purge_check(asked_at: Timestamp) -> Timestamp {
    later(asked_at, PURGE_QUEUE + PURGE_CHECK)
}

/// 1, 2, 4, 5 s, then a quarter of an hour: nobody waits.
pub(super) fn patient(attempts: u32) -> Duration {
    if attempts < 8 { backoff(attempts) } else { LONGEST_WAIT }
}
