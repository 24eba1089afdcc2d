//! Whose an envelope is, for callers that share an account and reach envelopes by their ids.

use std::time::Duration;

use crate::{
    clock::Deadline,
    domain::{AccountId, CallerName, EnvelopeId, SigningId},
    signing::{Error, LOOK_FOR_OTHERS, Signings, is_settled},
};

/// The longest wait for other callers' creates.
const PATIENCE: Duration = Duration::from_secs(10);
/// Of so many at once, nobody waits to see all of them settled.
const MOST: u32 = 1_000;

/// Whose an envelope is, to a caller who asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// Theirs, as this signing.
    Theirs(SigningId),
    /// Another caller's.
    Anothers,
    /// Of no signing.
    Nobodys,
    /// It is not known yet: it may be what another caller's create has just made.
    Unknown,
}

impl Signings {
    /// Whose an envelope of this account is. It exists before we have read the answer to its create, and is written
    /// down after that: so if it is of no signing, and creates of other callers were under way or in doubt when this
    /// was asked, this waits until each of those is settled, for ten seconds at most and no longer than the deadline.
    /// What begins later cannot have made an envelope that somebody names already.
    pub async fn whose(
        &self,
        caller: &CallerName,
        account: &AccountId,
        envelope: &EnvelopeId,
        deadline: Deadline,
    ) -> Result<Whose, Error> {
        let clock = &*self.parts.clock;
        let found = self.recorded(caller, envelope).await?;
        if found != Whose::Nobodys {
            return Ok(found);
        }
        // Of these one may be settled by now, so it is looked up again in any case.
        let others = self.parts.store.making_for_others(caller, account, clock.now(), MOST).await?;
        let patience = deadline.left(clock.uptime()).min(PATIENCE);
        let are_settled = tokio::select! {
            biased;
            settled = self.settled(&others) => {
                settled?;
                others.len() < MOST as usize
            }
            () = clock.sleep(patience) => false,
            () = self.parts.life.stopping().cancelled_owned() => false,
        };
        match self.recorded(caller, envelope).await? {
            Whose::Nobodys if !are_settled => Ok(Whose::Unknown),
            found => Ok(found),
        }
    }

    /// Whose it is, as far as is written down.
    async fn recorded(&self, caller: &CallerName, envelope: &EnvelopeId) -> Result<Whose, Error> {
        Ok(match self.parts.store.signing_by_envelope(envelope).await? {
            None => Whose::Nobodys,
            Some(record) if record.signing.caller == *caller => Whose::Theirs(record.signing.id),
            Some(_) => Whose::Anothers,
        })
    }

    /// Waits until none of these creates may have made an envelope that is not written down.
    async fn settled(&self, creates: &[SigningId]) -> Result<(), Error> {
        for id in creates {
            let mut watcher = self.parts.hub.watch(*id);
            while let Some(record) = self.parts.store.signing(*id).await? {
                if is_settled(record.signing.status) || record.signing.posted_at.is_none() {
                    break;
                }
                watcher.changed_within(&*self.parts.clock, LOOK_FOR_OTHERS).await;
            }
        }
        Ok(())
    }
}
