//! Whose an envelope is: for callers that share an account and reach envelopes by their ids, and for events that tell of
//! envelopes.

use std::{collections::HashMap, time::Duration};

use jiff::Timestamp;

use crate::{
    clock::{Deadline, later},
    domain::{AccountId, CallerName, EnvelopeId, SenderName, SigningId},
    events::hub::Watcher,
    signing::{Error, LOOK_FOR_OTHERS, Signings, follow::CLOCKS, is_settled},
    store::{self, Record},
};

/// The pause between looks for what another daemon may have written down, where an event waits for it.
const AGAIN: Duration = Duration::from_millis(100);
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

/// Whose an envelope is of which the upstream tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToldOf {
    /// Of no signing.
    Nobodys,
    /// Of a signing of this sender.
    Senders(SenderName),
    /// It is not known yet: a create that is under way or in doubt may have made it.
    Unknown,
}

impl Whose {
    /// Whose it is to a caller, by the record of the signing that owns it.
    fn of(record: Option<&Record>, caller: &CallerName) -> Self {
        match record {
            None => Self::Nobodys,
            Some(record) if record.signing.caller == *caller => Self::Theirs(record.signing.id),
            Some(_) => Self::Anothers,
        }
    }
}

impl Signings {
    /// Whose envelopes of this account are, in their order. One exists before we have read the answer to its create, and
    /// is written down after that: so if one is of no signing, and creates of other callers were under way or in doubt
    /// when this was asked, this waits until all are written down or each of those is settled, for ten seconds at most and
    /// no longer than the deadline. What begins later cannot have made an envelope that somebody names already.
    ///
    /// However many are named, the store is asked once for all of them, and again when a create is settled or half a second
    /// has passed: who names many must not keep it from everybody else.
    pub async fn whose(
        &self,
        caller: &CallerName,
        account: &AccountId,
        envelopes: &[EnvelopeId],
        deadline: Deadline,
    ) -> Result<Vec<Whose>, Error> {
        let clock = &*self.parts.clock;
        let found = self.recorded(caller, envelopes).await?;
        if !found.contains(&Whose::Nobodys) {
            return Ok(found);
        }
        // Of these one may be settled by now, so they are looked up again in any case.
        let others = self.parts.store.making_for_others(caller, account, clock.now(), MOST).await?;
        let are_all = others.len() < MOST as usize;
        let patience = deadline.left(clock.uptime()).min(PATIENCE);
        let (mut found, are_settled) = tokio::select! {
            biased;
            found = self.settled(caller, envelopes, others) => (found?, are_all),
            () = clock.sleep(patience) => (self.recorded(caller, envelopes).await?, false),
            () = self.parts.life.stopping().cancelled_owned() => (self.recorded(caller, envelopes).await?, false),
        };
        if !are_settled {
            for whose in found.iter_mut().filter(|whose| **whose == Whose::Nobodys) {
                *whose = Whose::Unknown;
            }
        }
        Ok(found)
    }

    /// Whose they are, as far as is written down.
    async fn recorded(&self, caller: &CallerName, envelopes: &[EnvelopeId]) -> Result<Vec<Whose>, Error> {
        let records = self.parts.store.signings_of_envelopes(envelopes).await?;
        // Of two that have one envelope the later one counts.
        let owners: HashMap<_, _> =
            records.iter().filter_map(|record| Some((record.signing.envelope.as_ref()?, record))).collect();
        Ok(envelopes.iter().map(|envelope| Whose::of(owners.get(envelope).copied(), caller)).collect())
    }

    /// Whose they are, once all are written down or none of these creates may have made one.
    async fn settled(
        &self,
        caller: &CallerName,
        envelopes: &[EnvelopeId],
        mut making: Vec<SigningId>,
    ) -> Result<Vec<Whose>, Error> {
        loop {
            // Before the look, so that none is settled between the two.
            let last = self.watch_last(&mut making).await?;
            let found = self.recorded(caller, envelopes).await?;
            let Some(mut last) = last.filter(|_| found.contains(&Whose::Nobodys)) else { return Ok(found) };
            last.changed_within(&*self.parts.clock, LOOK_FOR_OTHERS).await;
        }
    }

    /// Whose signings are kept, be it that the settings no longer name them.
    pub async fn callers(&self) -> Result<Vec<CallerName>, Error> {
        Ok(self.parts.store.callers().await?)
    }

    /// Whose an envelope is, of which the upstream told at `told_at` by its clock. The upstream tells of an envelope before
    /// we have read its answer to the create, so while creates of the senders that it may be of are under way this waits
    /// for one of them to be written down, for so long. A store that takes its time is waited for beyond that.
    ///
    /// It waits for those alone that had been sent when it was told of, and when this was asked: what is sent later made
    /// another envelope, and a busy sender always sends. One in doubt counts for a quarter of an hour after it was sent,
    /// in which it is mostly looked up: what is not acknowledged is told of again.
    pub async fn sender_of_envelope(
        &self,
        envelope: &EnvelopeId,
        senders: &[SenderName],
        told_at: Option<Timestamp>,
        wait: Duration,
    ) -> Result<ToldOf, store::Error> {
        if let Some(record) = self.parts.store.signing_by_envelope(envelope).await? {
            return Ok(ToldOf::Senders(record.signing.sender));
        }
        let sent_by = told_at.map_or(Timestamp::MAX, |at| self.surely_sent_by(at));
        let mut making = self.parts.store.making(senders, self.parts.clock.now(), sent_by).await?;
        let until = Deadline::within(&*self.parts.clock, wait);
        let mut told = self.parts.hub.outbox();
        loop {
            // Before the look, so that none is settled between the two.
            let last = self.watch_last(&mut making).await?;
            if let Some(record) = self.parts.store.signing_by_envelope(envelope).await? {
                return Ok(ToldOf::Senders(record.signing.sender));
            }
            let Some(mut last) = last else { return Ok(ToldOf::Nobodys) };
            if until.left(self.parts.clock.uptime()).is_zero() {
                return Ok(ToldOf::Unknown);
            }
            // Another daemon's comes without a wake-up.
            tokio::select! {
                biased;
                () = told.changed() => {}
                () = last.changed_within(&*self.parts.clock, AGAIN) => {}
            }
        }
    }

    /// By our clocks, when a create had surely been sent of whose envelope the upstream told at that time.
    fn surely_sent_by(&self, told_at: Timestamp) -> Timestamp {
        later(self.by_our_clock(told_at), CLOCKS)
    }

    /// Watches the last of these creates that may have made an envelope which is not written down, because it may be settled
    /// without an event. Those behind it are taken away.
    async fn watch_last(&self, making: &mut Vec<SigningId>) -> Result<Option<Watcher>, store::Error> {
        while let Some(id) = making.last().copied() {
            let watcher = self.parts.hub.watch(id);
            if self.may_be_making(id).await? {
                return Ok(Some(watcher));
            }
            making.pop();
        }
        Ok(None)
    }

    /// Whether a create may have made an envelope that is not written down.
    async fn may_be_making(&self, id: SigningId) -> Result<bool, store::Error> {
        let record = self.parts.store.signing(id).await?;
        Ok(record
            .is_some_and(|record| !is_settled(record.signing.status) && record.signing.posted_at.is_some()))
    }
}
