//! Finding out whether a create that may exist does (rule E2).
//!
//! A create with `posted_at` set may exist. It is looked up by transaction id, and again after a while,
//! because the upstream's list may lag; then once more by the hidden custom field; only then may it be sent
//! again, which [`recover`](super::recover) does. How long the list may lag nobody has promised, so a create that was
//! sent twice is looked for later on, and what came to light twice is voided ([`twins`](super::twins)). One that its
//! daemon has left behind, with nobody promised anything, is not sent again unless its caller repeats it; it is looked
//! for as late, and then forgotten.
//!
//! It must never send, and never take an upstream that does not answer, lists nothing yet or is asked about another
//! account for one that has no envelope.

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures_util::StreamExt as _;
use jiff::Timestamp;

use crate::{
    clock::{earlier, later},
    domain::{AccountId, Failure, MomentKind, SenderName, TransactionId},
    esign::{self, Found, Reach},
    signing::{
        Error, Signings,
        breaker::Admitted,
        create::{LEASE, is_outage},
        recover::{LOOK_AGAIN, by_sender, ignore_conflict, note},
        settle::backoff,
        twins,
    },
    store::{Durability, Record, Work},
};

/// How long look-ups must have found nothing before the create is posted again.
const MISSING_FOR: Duration = Duration::from_secs(10);
/// How far before the date of a create a list may start: it is this machine's if the upstream had told none.
pub(super) const LOOK_BACK: Duration = Duration::from_secs(24 * 3_600);
/// Last looks, one for each create, that go on beside each other.
const LAST_LOOKS: usize = 8;
/// The pause where only an operator can help.
const ELSEWHERE: Duration = Duration::from_secs(60);

impl Signings {
    /// Looks up what may exist: one call for all creates of a sender. Each sender's in a task of its own,
    /// because one call that the upstream leaves hanging must not keep all others waiting.
    pub(super) fn look_up_all(&self, doubtful: Vec<Record>, admitted: &mut Admitted) {
        for (sender, records) in by_sender(doubtful) {
            let this = self.clone();
            let of_these = admitted.split(records.len());
            self.parts.life.spawn_work("look up creates", async move {
                this.look_up(&sender, records).await;
                drop(of_these);
            });
        }
    }

    async fn look_up(&self, sender: &SenderName, records: Vec<Record>) {
        match self.find(sender, &records).await {
            Ok((acting, found)) => {
                self.parts.breaker.note(Reach::Answered, records.len(), self.parts.clock.uptime());
                let each = futures_util::stream::iter(records).for_each_concurrent(LAST_LOOKS, |record| {
                    let (acting, found) = (&acting, &found);
                    async move { note(self.looked_up(acting, record, found).await) }
                });
                each.await;
            }
            Err(error) => {
                tracing::warn!(sender = %sender, code = error.code(), "cannot look up uncertain creates");
                let is_outage = is_outage(&error);
                // After an outage lists lag, so what was not found before it says little, also where a refusal is what
                // ends it; one call that fails among others that are answered is no outage, and must not put decisions
                // off for ever.
                let was_away = self.parts.breaker.is_open();
                self.note_try(&error);
                let is_away = was_away || self.parts.breaker.is_open();
                for record in records {
                    if !is_outage && self.is_lapsing(&record.signing) {
                        note(self.give_up(record.signing, record.version, never_known()).await);
                        continue;
                    }
                    let missing_since = record.signing.missing_since.filter(|_| !is_away);
                    let attempts = record.work.map_or(0, |work| work.attempts);
                    // A proxy that says "in two hours" must not decide when doubts end; a limit must.
                    let told = error.retry_after(self.parts.clock.now()).filter(|_| !is_outage);
                    let usual = if is_outage { backoff(attempts) } else { ELSEWHERE };
                    let wait = told.unwrap_or(usual);
                    note(self.postpone(record, wait, missing_since).await);
                }
            }
        }
    }

    async fn find(
        &self,
        sender: &SenderName,
        records: &[Record],
    ) -> Result<(Arc<esign::Acting>, HashMap<TransactionId, Vec<Found>>), esign::Error> {
        let acting = self.parts.esign.acting(sender).await?;
        let ids: Vec<_> = records.iter().map(|record| record.signing.transaction_id).collect();
        let found = self.parts.esign.find(&acting, &ids, self.at_leisure()).await?;
        Ok((acting, found))
    }

    async fn looked_up(
        &self,
        acting: &esign::Acting,
        record: Record,
        found: &HashMap<TransactionId, Vec<Found>>,
    ) -> Result<(), Error> {
        if record.signing.account.as_ref().is_some_and(|posted_to| *posted_to != acting.account) {
            return self.elsewhere(record, acting).await;
        }
        if let Some(found) = found.get(&record.signing.transaction_id) {
            return self.found(acting, record, found).await;
        }
        let now = self.parts.clock.now();
        let missing_since = record.signing.missing_since.unwrap_or(now);
        let missing_for = Duration::try_from(now.duration_since(missing_since)).unwrap_or_default();
        if missing_for < MISSING_FOR {
            return self.postpone(record, LOOK_AGAIN, Some(missing_since)).await;
        }
        // The last look, by the other mark, right before the create may be sent again.
        let id = record.signing.id.to_string();
        let since = earlier(record.signing.created_at, LOOK_BACK);
        match self.parts.esign.find_by_signing(acting, &id, since, self.at_leisure()).await {
            Ok(found) if !found.is_empty() => self.found(acting, record, &found).await,
            Ok(_) => self.surely_missing(record).await,
            Err(error) => self.unseen(record, missing_since, missing_for, &error).await,
        }
    }

    /// The last look has failed. Where an answer came, though none of use, it may be the same for ever.
    async fn unseen(
        &self,
        record: Record,
        missing_since: Timestamp,
        missing_for: Duration,
        error: &esign::Error,
    ) -> Result<(), Error> {
        tracing::warn!(signing.id = %record.signing.id, code = error.code(), "the last look-up failed");
        let is_outage = is_outage(error);
        let is_answered = !is_outage || matches!(error, esign::Error::BadAnswer { .. });
        if is_answered && self.is_lapsing(&record.signing) {
            return self.give_up(record.signing, record.version, never_known()).await;
        }
        let told = error.retry_after(self.parts.clock.now()).filter(|_| !is_outage);
        self.postpone(record, told.unwrap_or(look_pause(missing_for)), Some(missing_since)).await
    }

    /// It exists, and stands as it was listed: what has happened since the create was told of while nobody knew whose
    /// envelope that is, or while nobody was there to hear it.
    async fn found(&self, acting: &esign::Acting, record: Record, found: &[Found]) -> Result<(), Error> {
        let mut signing = record.signing;
        let Some(Found { seen, .. }) = found.first() else { return Ok(()) };
        if found.len() > 1 {
            tracing::error!(signing.id = %signing.id, "two envelopes of one create: the second is looked for, and voided");
            signing.repeated_at = Some(self.parts.clock.now());
            signing.twins_sought = 0;
        }
        signing.doubt();
        let now = self.parts.clock.now();
        signing.remember(now, MomentKind::Found, None, None);
        let facts = seen.facts(&signing.signers);
        let (account, envelope) = (acting.account.clone(), seen.envelope.clone());
        let news = signing.open_as_found(account, envelope, &facts, self.time_of_facts());
        tracing::info!(signing.id = %signing.id, "an uncertain create was found");
        self.end_here(signing, record.version, news).await
    }

    /// The sender acts in another account by now. There, nothing of this create can be found, and it must not
    /// be sent a second time: only an operator can tell which account is meant.
    async fn elsewhere(&self, record: Record, acting: &esign::Acting) -> Result<(), Error> {
        if self.is_lapsing(&record.signing) {
            return self.give_up(record.signing, record.version, never_known()).await;
        }
        let signing = &record.signing;
        tracing::error!(
            signing.id = %signing.id, sender = %signing.sender,
            posted_to = signing.account.as_ref().map(AccountId::as_str),
            acts_in = acting.account.as_str(),
            "the outcome of a create can only be found in the account it was sent to: set the sender back to that"
        );
        self.postpone(record, ELSEWHERE, None).await
    }

    /// It was looked up long enough: as far as can be seen it does not exist. Now it may be posted again.
    async fn surely_missing(&self, record: Record) -> Result<(), Error> {
        if self.parts.store.payload(record.signing.id).await?.is_none() {
            return self.look_later(record).await;
        }
        let now = self.parts.clock.now();
        let mut signing = record.signing;
        signing.posted_at = None;
        signing.missing_since = None;
        signing.repeated_at = Some(now);
        signing.twins_sought = 0;
        signing.remember(now, MomentKind::CreateRepeated, None, None);
        let work = Work::at(now);
        tracing::info!(signing.id = %signing.id, "an uncertain create does not exist: it is posted again");
        let saved = self.save(&mut signing, record.version, Vec::new(), Some(work), Durability::Synced).await;
        ignore_conflict(saved)
    }

    /// Its daemon died, and nobody was promised anything or has asked again. The upstream may still work on it, or list
    /// it late: then it is this signing's, also if the caller has repeated the call meanwhile, who has it finished at
    /// once (`revive`). When it was looked for often enough, the key is free.
    async fn look_later(&self, mut record: Record) -> Result<(), Error> {
        let missing_since = record.signing.missing_since;
        let posted_at = record.signing.posted_at.unwrap_or(Timestamp::MIN);
        if self.parts.clock.now() < later(posted_at, LEASE) {
            return self.postpone(record, LOOK_AGAIN, missing_since).await;
        }
        let Some(pause) = twins::pause_after(record.signing.twins_sought) else {
            tracing::info!(signing.id = %record.signing.id, "a create that nobody was promised does not exist: forgotten");
            return ignore_conflict(self.forget(record.signing.id, record.version).await);
        };
        record.signing.twins_sought += 1;
        self.postpone(record, pause, missing_since).await
    }

    async fn postpone(
        &self,
        record: Record,
        wait: Duration,
        missing_since: Option<Timestamp>,
    ) -> Result<(), Error> {
        let mut signing = record.signing;
        let news = signing.doubt();
        signing.missing_since = missing_since;
        let attempts = record.work.map_or(0, |work| work.attempts).saturating_add(1);
        let due_at = later(self.parts.clock.now(), wait);
        let work = Work { due_at, leased_until: None, attempts };
        self.put_back(signing, record.version, news, work).await
    }
}

/// The pause after a last look that failed: the longer it is to have been taken, the longer. Not by the attempts, of which
/// an outage makes many: what it kept in doubt is to be decided soon after it.
fn look_pause(missing_for: Duration) -> Duration {
    (missing_for / 4).clamp(LOOK_AGAIN, ELSEWHERE)
}

/// Whether the envelope exists can be learned no more.
fn never_known() -> Failure {
    Failure::ours(
        "outcome_unknown",
        "look-ups have not shown for days whether DocuSign made the envelope, and are over: look for it there before you \
         make another",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_last_look_that_keeps_failing_is_taken_ever_more_seldom() {
        let pauses =
            [10, 20, 60, 240, 86_400].map(|seconds| look_pause(Duration::from_secs(seconds)).as_secs());
        assert_eq!(pauses, [5, 5, 15, 60, 60]);
    }
}
