//! What events leave out, asked of the upstream: whose part has ended, or why an envelope is voided (rule F1). And what the
//! refusal of a void leaves out: how the envelope has ended that takes none.
//!
//! It is asked by a list, which answers for a hundred envelopes of a sender. The vendor limits no lists as it does the reads
//! of one envelope (rule B3), so that it may be asked however lately the envelope was checked. While a list of a sender is
//! under way, what else there is to ask about its envelopes gathers for the next one: a thousand ends at once cost a dozen
//! calls, and leave the budget to others.
//!
//! Must never ask for what an answer has told since the event, nor for an end that is known. Several daemons may ask for the
//! same: whoever comes later mostly finds it told.

use std::{
    collections::HashMap,
    iter, mem,
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

/// Envelopes of a sender about which somebody waits for an answer.
type Envelopes = HashMap<EnvelopeId, Question>;

/// A question about an envelope, by all who wait for its answer.
#[derive(Debug)]
struct Question {
    /// When the last event came that left something out.
    event_at: Timestamp,
    askers: usize,
    /// No list has taken it since somebody asked, or the one that had is not answered.
    is_open: bool,
}

impl Question {
    /// What a list asks for that takes it, if it is still to be asked.
    fn take(&mut self) -> Option<Timestamp> {
        mem::take(&mut self.is_open).then_some(self.event_at)
    }
}

/// What one list asks for. Unless it was answered, also where nobody waits for it any more, all of it is to be asked again.
#[derive(Debug)]
#[must_use]
struct Taken<'a> {
    questions: &'a Questions,
    sender: &'a SenderName,
    asked: Vec<(EnvelopeId, Timestamp)>,
    is_answered: bool,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        if !self.is_answered {
            self.questions.put_back(self.sender, &self.asked);
        }
    }
}

/// Somebody who waits for the answer to a question. When the last one is gone, the question is, too.
#[derive(Debug)]
#[must_use]
struct Asker<'a> {
    questions: &'a Questions,
    sender: &'a SenderName,
    envelope: &'a EnvelopeId,
}

impl Drop for Asker<'_> {
    fn drop(&mut self) {
        let mut waiting = self.questions.waiting();
        let Some(envelopes) = waiting.get_mut(self.sender) else { return };
        let Some(question) = envelopes.get_mut(self.envelope) else { return };
        question.askers = question.askers.saturating_sub(1);
        if question.askers == 0 {
            envelopes.remove(self.envelope);
        }
        if envelopes.is_empty() {
            waiting.remove(self.sender);
        }
    }
}

impl Default for Questions {
    fn default() -> Self {
        Self { turns: Places::new(SIDE_BY_SIDE, 1), waiting: Mutex::default() }
    }
}

impl Questions {
    /// Asks about an envelope, along with all who do by now.
    fn ask<'a>(&'a self, sender: &'a SenderName, envelope: &'a EnvelopeId, event_at: Timestamp) -> Asker<'a> {
        let mut waiting = self.waiting();
        let envelopes = waiting.entry(sender.clone()).or_default();
        let new = Question { event_at, askers: 0, is_open: true };
        let question = envelopes.entry(envelope.clone()).or_insert(new);
        question.event_at = event_at.max(question.event_at);
        question.askers = question.askers.saturating_add(1);
        question.is_open = true;
        Asker { questions: self, sender, envelope }
    }

    /// Takes what one list asks for: this envelope, and as many others of its sender. Nothing if another list has asked
    /// for it along with others.
    fn take<'a>(&'a self, sender: &'a SenderName, envelope: &EnvelopeId) -> Taken<'a> {
        let asked = self.take_open(sender, envelope);
        Taken { questions: self, sender, asked, is_answered: false }
    }

    fn take_open(&self, sender: &SenderName, envelope: &EnvelopeId) -> Vec<(EnvelopeId, Timestamp)> {
        let mut waiting = self.waiting();
        let Some(envelopes) = waiting.get_mut(sender) else { return Vec::new() };
        let Some(event_at) = envelopes.get_mut(envelope).and_then(Question::take) else { return Vec::new() };
        let others = envelopes.iter_mut().filter_map(|(other, asked)| {
            let event_at = asked.take()?;
            Some((other.clone(), event_at))
        });
        iter::once((envelope.clone(), event_at)).chain(others.take(MAX_LISTED - 1)).collect()
    }

    /// Has asked again what a list has taken that was not answered: about each envelope, if anybody still waits for that.
    fn put_back(&self, sender: &SenderName, asked: &[(EnvelopeId, Timestamp)]) {
        let mut waiting = self.waiting();
        let Some(envelopes) = waiting.get_mut(sender) else { return };
        for (envelope, _) in asked {
            if let Some(question) = envelopes.get_mut(envelope) {
                question.is_open = true;
            }
        }
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<SenderName, Envelopes>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Signings {
    /// Asks how an envelope stands, because an event at that time left out whose part has ended, or why; or a refusal, how: that
    /// nothing tells but its end, whenever it was asked, and so the time is the last there is.
    /// What the answer says is taken in. Others may wait for the same one: if it does not come, each of them asks again, and is
    /// told of their own failure.
    pub async fn ask_about_one(&self, envelope: &EnvelopeId, event_at: Timestamp) -> Result<(), Error> {
        let Some(signing) = self.untold(envelope, event_at).await? else { return Ok(()) };
        let (questions, sender) = (&self.parts.questions, &signing.sender);
        let asker = questions.ask(sender, envelope, event_at);
        let _turn = questions.turns.wait(sender).await;
        let mut taken = questions.take(sender, envelope);
        let done = self.ask_about_all(sender, &taken.asked).await;
        taken.is_answered = done.is_ok();
        // Before the next one has its turn: the others ask again if there is no answer, and for this one nobody does.
        drop((taken, asker));
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
        let all: Vec<_> = (0..MAX_LISTED + 50).map(envelope).collect();
        let another = envelope(1_000);
        let questions = Questions::default();
        let mut askers: Vec<_> = all.iter().map(|one| questions.ask(&ours, one, at)).collect();
        // Asked for twice: it is the same question.
        askers.push(questions.ask(&ours, &all[7], at));
        askers.push(questions.ask(&theirs, &another, at));
        let first = questions.take(&ours, &envelope(7));
        assert_eq!((first.asked.len(), &first.asked[0]), (MAX_LISTED, &(envelope(7), at)));
        assert!(questions.take(&ours, &envelope(7)).asked.is_empty(), "it was taken");
        let left = all.iter().find(|one| first.asked.iter().all(|(other, _)| other != *one));
        assert_eq!(questions.take(&ours, left.unwrap()).asked.len(), 50);
        assert_eq!(questions.take(&theirs, &another).asked, [(another.clone(), at)]);
        drop((first, askers));
        assert!(questions.waiting().is_empty(), "nothing is kept of what was asked");
    }

    #[test]
    fn what_a_list_did_not_answer_is_asked_again_by_whoever_still_waits_for_it() {
        let at = Timestamp::UNIX_EPOCH;
        let sender = SenderName::new("ours");
        let [shared, own, left] = ["shared", "own", "left"].map(EnvelopeId::new);
        let questions = Questions::default();
        let first = questions.ask(&sender, &shared, at);
        let second = questions.ask(&sender, &shared, at);
        let (alone, gone) = (questions.ask(&sender, &own, at), questions.ask(&sender, &left, at));
        let taken = questions.take(&sender, &shared);
        assert_eq!(taken.asked.len(), 3);
        assert!(questions.take(&sender, &shared).asked.is_empty(), "a list has it");
        drop(gone);
        // It was not answered, or nobody waits for that answer.
        drop((taken, first));
        let mut again = questions.take(&sender, &shared);
        assert_eq!((again.asked.len(), &again.asked[0]), (2, &(shared.clone(), at)), "{again:?}");
        assert!(again.asked.contains(&(own.clone(), at)), "{again:?}");
        again.is_answered = true;
        drop(again);
        assert!(questions.take(&sender, &shared).asked.is_empty(), "it was answered");
        drop((second, alone));
        assert!(questions.waiting().is_empty(), "nobody waits for it");
    }
}
