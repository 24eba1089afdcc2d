//! News that somebody's part has ended, and not whose (rule F1).
//!
//! An account's own configuration may leave the recipients out of its messages, and of those who fill the
//! role of a template the number that is left says nothing. Mostly a second message brings the same news
//! with the recipients, a moment before or after. If none does, the upstream is asked, by a list: the check of
//! an interval (rule B3) may be spent. Forgetting this (the process died, or there was too much of it) costs time
//! only: the end of the envelope tells of everyone, and reconciliation asks about quiet signings.
//!
//! The completion of an envelope does so, too, if nobody was taken off it: it says that all have signed who were left.
//! Of several signers one who is not known to have signed may be gone, so that the same is done first. So it is with the
//! end of an envelope that somebody has declined, while it is not known who; and with a void that does not say why, for it
//! may be an expiry. But the end is the news that is waited for: where the upstream cannot be asked now, it is taken in as
//! it was told. And nothing tells of it again: it stays in the inbox until then, so that what a stop or the store prevents
//! is done by the next round, of this daemon or another (rule F3). Who has declined is asked about after that end, too, if
//! their own message comes then.

use std::{
    collections::HashSet,
    sync::{Arc, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;

use crate::{
    connect::{Inbox, Message},
    domain::EnvelopeId,
    signing::Error,
    store::{self, Digest},
    telemetry::chain,
};

/// The wait for another message that says more.
const PATIENCE: Duration = Duration::from_secs(5);
/// News that is seen to at once.
pub(super) const MAX_UNCLEAR: usize = 1_000;

/// What was heard of an unclear message.
enum Heard {
    /// Another message says what this one left out.
    Another,
    /// No other has come, and the upstream has been asked, if it could be.
    NoOther,
    /// The daemon stops before it is known.
    Stopped,
}

/// An end that stays in the inbox while it is found out what it leaves out. Rounds pass over it.
struct PutOff {
    inbox: Inbox,
    identity: Digest,
}

impl PutOff {
    /// None if it is put off already.
    fn new(inbox: &Inbox, identity: Digest) -> Option<Self> {
        let is_new = inbox.put_off().insert(identity);
        is_new.then(|| Self { inbox: inbox.clone(), identity })
    }
}

impl Drop for PutOff {
    fn drop(&mut self) {
        self.inbox.put_off().remove(&self.identity);
    }
}

impl Inbox {
    /// Sees to it that we learn whose part has ended, or why. Answers whether it does: not if there is too much of it.
    pub(super) fn find_out(&self, envelope: &EnvelopeId, unclear: Message, identity: Digest) -> bool {
        let Ok(place) = Arc::clone(&self.parts.unclear).try_acquire_owned() else { return false };
        let (inbox, envelope, at) = (self.clone(), envelope.clone(), self.parts.clock.now());
        if unclear.ends() {
            let Some(put_off) = PutOff::new(self, identity) else { return true };
            self.parts.life.spawn_work("unclear end", async move {
                let _held = (place, put_off);
                if let Err(error) = inbox.end(&envelope, &unclear, identity, at).await {
                    tracing::warn!(envelope.id = %envelope, error = %chain(&error), "the end of an envelope could not be taken in: trying again");
                }
            });
        } else {
            self.parts.life.spawn_work("unclear event", async move {
                let _place = place;
                if let Err(error) = inbox.ask(&envelope, &unclear, at).await {
                    not_known(&envelope, &error);
                }
            });
        }
        true
    }

    /// The ends that are put off.
    pub(super) fn put_off(&self) -> MutexGuard<'_, HashSet<Digest>> {
        self.parts.put_off.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Finds out what an end leaves out, and then takes it in: as it was told, of which nothing comes if it is known by
    /// then.
    async fn end(
        &self,
        envelope: &EnvelopeId,
        told: &Message,
        identity: Digest,
        at: Timestamp,
    ) -> Result<(), store::Error> {
        match self.ask(envelope, told, at).await {
            Ok(Heard::Stopped) => return Ok(()),
            Ok(Heard::Another) => {}
            Ok(Heard::NoOther) => self.take_as_told(envelope, told).await?,
            Err(Error::Store(error)) => return Err(error),
            Err(error) => {
                not_known(envelope, &error);
                self.take_as_told(envelope, told).await?;
            }
        }
        self.parts.store.taken_in(identity, self.parts.clock.now()).await
    }

    async fn take_as_told(&self, envelope: &EnvelopeId, message: &Message) -> Result<(), store::Error> {
        let Some(record) = self.parts.store.signing_by_envelope(envelope).await? else { return Ok(()) };
        match self.parts.signings.observe(envelope, &message.facts(&record.signing.signers)).await {
            Ok(_) => Ok(()),
            Err(Error::Store(error)) => Err(error),
            // Whatever else it is, it will be the same next time.
            Err(error) => {
                tracing::error!(envelope.id = %envelope, error = %chain(&error), "the end of an envelope led to nothing");
                Ok(())
            }
        }
    }

    /// Whether another message says what this one leaves out.
    async fn is_cleared(&self, envelope: &EnvelopeId, unclear: &Message) -> Result<bool, Error> {
        let mut after = None;
        loop {
            let page = self.parts.store.inbound_of(envelope, after).await?;
            let mut messages = page.messages.iter().filter_map(|one| Message::parse(one.body.reveal()).ok());
            if messages.any(|other| other.clears(unclear)) {
                return Ok(true);
            }
            after = page.next;
            if after.is_none() {
                return Ok(false);
            }
        }
    }

    /// Waits for another message that says more, and asks the upstream if there is none.
    async fn ask(&self, envelope: &EnvelopeId, unclear: &Message, at: Timestamp) -> Result<Heard, Error> {
        loop {
            tokio::select! {
                () = self.parts.life.stopping().cancelled_owned() => return Ok(Heard::Stopped),
                () = self.parts.clock.sleep(PATIENCE) => {}
            }
            if self.is_cleared(envelope, unclear).await? {
                return Ok(Heard::Another);
            }
            // A return's check, say: what is left out may be in its answer.
            if !self.parts.signings.is_being_checked(envelope).await? {
                self.parts.signings.ask_about_one(envelope, at).await?;
                return Ok(Heard::NoOther);
            }
        }
    }
}

fn not_known(envelope: &EnvelopeId, error: &Error) {
    tracing::warn!(envelope.id = %envelope, error = %chain(error), "whose part has ended, or why, is not known yet");
}
