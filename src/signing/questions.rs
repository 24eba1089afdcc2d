//! What events leave out, asked of the upstream: whose part has ended, or why an envelope is voided (rule F1).
//!
//! It is asked by a list, which answers for a hundred envelopes of a sender. The vendor limits no lists as it does the reads
//! of one envelope (rule B3), so that it may be asked however lately the envelope was checked. While a list of a sender is
//! under way, what else there is to ask about its envelopes gathers for the next one: a thousand ends at once cost a dozen
//! calls, and leave the budget to others.
//!
//! Must never ask for what an answer has told since the event. Several daemons may ask for the same: whoever comes later
//! mostly finds it told.

use std::{
    collections::HashMap,
    iter,
    sync::{Mutex, MutexGuard, PoisonError},
};

use jiff::Timestamp;

use crate::{
    domain::{EnvelopeId, SenderName, Signing},
    esign::{MAX_LISTED, Since},
    places::Places,
    signing::{
        AT_LEISURE, Error, Signings,
        follow::{Asked, answered_at},
        under_way::{age, unanswered_check},
    },
};

/// Senders of which a list is asked for at the same time.
const SIDE_BY_SIDE: usize = 16;

/// What is to be asked.
#[derive(Debug)]
pub(super) struct Questions {
    /// One list of a sender at a time.
    turns: Places<SenderName>,
    waiting: Mutex<HashMap<SenderName, Envelopes>>,
}

/// Envelopes of a sender, each with when the last event came that left something out.
type Envelopes = HashMap<EnvelopeId, Timestamp>;

impl Default for Questions {
    fn default() -> Self {
        Self { turns: Places::new(SIDE_BY_SIDE, 1), waiting: Mutex::default() }
    }
}

impl Questions {
    fn add(&self, sender: &SenderName, asked: impl IntoIterator<Item = (EnvelopeId, Timestamp)>) {
        let mut waiting = self.waiting();
        let envelopes = waiting.entry(sender.clone()).or_default();
        for (envelope, event_at) in asked {
            let last = envelopes.entry(envelope).or_insert(event_at);
            *last = event_at.max(*last);
        }
    }

    /// Takes what one list asks for: this envelope, and as many others of its sender. Nothing if another list has asked
    /// for it along with others.
    fn take(&self, sender: &SenderName, envelope: &EnvelopeId) -> Vec<(EnvelopeId, Timestamp)> {
        let mut waiting = self.waiting();
        let Some(envelopes) = waiting.get_mut(sender) else { return Vec::new() };
        let Some(own) = envelopes.remove_entry(envelope) else { return Vec::new() };
        let others = envelopes.extract_if(|_, _| true).take(MAX_LISTED - 1);
        let taken = iter::once(own).chain(others).collect();
        if envelopes.is_empty() {
            waiting.remove(sender);
        }
        taken
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<SenderName, Envelopes>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Signings {
    /// Asks how an envelope stands, because an event at that time left out whose part has ended, or why. What the answer
    /// says is taken in; there is none if another list that asked for it was not answered.
    pub async fn ask_about_one(&self, envelope: &EnvelopeId, event_at: Timestamp) -> Result<(), Error> {
        let Some(signing) = self.untold(envelope, event_at).await? else { return Ok(()) };
        let (questions, sender) = (&self.parts.questions, &signing.sender);
        questions.add(sender, [(envelope.clone(), event_at)]);
        let _turn = questions.turns.wait(sender).await;
        let asked = questions.take(sender, envelope);
        let done = self.ask_about_all(sender, &asked).await;
        if done.is_err() {
            // The others' answer is lost, too: each of them asks again.
            questions.add(sender, asked.into_iter().filter(|(other, _)| other != envelope));
        }
        done
    }

    /// Whether a check of an open envelope, by whomever, may be under way: its answer is still to be taken in.
    pub async fn is_being_checked(&self, envelope: &EnvelopeId) -> Result<bool, Error> {
        let record = self.parts.store.signing_by_envelope(envelope).await?;
        let began = record.and_then(|record| unanswered_check(&record.signing));
        Ok(began.is_some_and(|began| age(began, self.parts.clock.now()) < AT_LEISURE))
    }

    /// Asks about envelopes of a sender by one list, those of which nothing was told since their events.
    async fn ask_about_all(
        &self,
        sender: &SenderName,
        asked: &[(EnvelopeId, Timestamp)],
    ) -> Result<(), Error> {
        let mut signings = Vec::new();
        for (envelope, event_at) in asked {
            signings.extend(self.untold(envelope, *event_at).await?);
        }
        if signings.is_empty() {
            return Ok(());
        }
        let acting = self.parts.esign.acting(sender).await?;
        // In another account the envelope does not exist.
        signings.retain(|signing| signing.account.as_ref().is_none_or(|account| *account == acting.account));
        let envelopes: Vec<_> = signings.iter().filter_map(|signing| signing.envelope.clone()).collect();
        if envelopes.is_empty() {
            return Ok(());
        }
        let began = self.parts.clock.now();
        let since = Since::Ids(&envelopes);
        let page = self.parts.esign.list_changes(&acting, since, 0, self.at_leisure()).await?;
        for signing in &signings {
            if let Some(seen) = page.of(signing.envelope.as_ref()) {
                // The check of a quarter of an hour is left to those who come back.
                let asked = Asked::Status { at: began, trace: seen.trace.clone() };
                self.take_in(signing.id, &seen.facts(&signing.signers), Some(asked)).await?;
            }
        }
        Ok(())
    }

    /// The signing of an envelope of which no answer has told since the event, unless its end is known.
    async fn untold(&self, envelope: &EnvelopeId, event_at: Timestamp) -> Result<Option<Signing>, Error> {
        let record = self.parts.store.signing_by_envelope(envelope).await?;
        let now = self.parts.clock.now();
        let is_untold = |signing: &Signing| {
            !signing.tells_its_end() && answered_at(signing, now).is_none_or(|asked| asked <= event_at)
        };
        Ok(record.map(|record| record.signing).filter(is_untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_list_asks_for_a_hundred_envelopes_of_one_sender() {
        let at = Timestamp::UNIX_EPOCH;
        let [ours, theirs] = ["ours", "theirs"].map(SenderName::new);
        let envelope = |number: usize| EnvelopeId::new(number.to_string());
        let questions = Questions::default();
        questions.add(&ours, (0..MAX_LISTED + 50).map(|number| (envelope(number), at)));
        // Asked for twice: it is the same question.
        questions.add(&ours, [(envelope(7), at)]);
        questions.add(&theirs, [(envelope(1_000), at)]);
        let first = questions.take(&ours, &envelope(7));
        assert_eq!((first.len(), &first[0]), (MAX_LISTED, &(envelope(7), at)));
        assert!(questions.take(&ours, &envelope(7)).is_empty(), "it was taken");
        let left = (0..MAX_LISTED + 50).map(envelope).find(|one| first.iter().all(|(other, _)| other != one));
        assert_eq!(questions.take(&ours, &left.unwrap()).len(), 50);
        assert_eq!(questions.take(&theirs, &envelope(1_000)), [(envelope(1_000), at)]);
        assert!(questions.waiting().is_empty(), "nothing is kept of what was asked");
    }
}
