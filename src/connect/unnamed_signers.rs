//! News that somebody's part has ended, and not whose (rule F1).
//!
//! An account's own configuration may leave the recipients out of its messages, and of those who fill the
//! role of a template the number that is left says nothing. Mostly a second message brings the same news
//! with the recipients, a moment before or after. If none does, the upstream is asked, within what it allows
//! (rule B3). Forgetting this (the process died, or there was too much of it) costs time only: the end of
//! the envelope tells of everyone, and reconciliation asks about quiet signings.
//!
//! The completion of an envelope does so, too, if nobody was taken off it: it says that all have signed who were left.
//! Of several signers one who is not known to have signed may be gone, so that the same is done first. But the end is
//! the news that is waited for: where the upstream cannot be asked now, it is taken in as it was told.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;

use crate::{
    connect::{Inbox, Message},
    domain::EnvelopeId,
    signing::Error,
    telemetry::chain,
};

/// The wait for another message that says more.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest wait for the next check: an interval of the upstream's (rule B3), and a little.
const MAX_WAIT: Duration = Duration::from_secs(16 * 60);
/// News that is seen to at once.
pub(super) const MAX_UNCLEAR: usize = 1_000;

impl Inbox {
    /// Sees to it that we learn whose part has ended. Answers whether it does: not if there is too much of it.
    pub(super) fn find_out(&self, envelope: &EnvelopeId, unclear: Message) -> bool {
        let Ok(place) = Arc::clone(&self.parts.unclear).try_acquire_owned() else { return false };
        let (inbox, envelope, at) = (self.clone(), envelope.clone(), self.parts.clock.now());
        self.parts.life.spawn_work("unclear event", async move {
            let _place = place;
            let is_cleared = inbox.ask(&envelope, &unclear, at).await.unwrap_or_else(|error| {
                tracing::warn!(envelope.id = %envelope, error = %chain(&error), "whose part has ended is not known yet");
                false
            });
            if unclear.completes() && !is_cleared {
                inbox.end(&envelope, &unclear).await;
            }
        });
        true
    }

    /// Takes a completion in as it was told: nothing comes of it if it is known by now, with who has signed.
    async fn end(&self, envelope: &EnvelopeId, completion: &Message) {
        loop {
            let error = match self.take_as_told(envelope, completion).await {
                Ok(()) => return,
                Err(error) => error,
            };
            tracing::warn!(envelope.id = %envelope, error = %chain(&error), "a completion could not be taken in");
            if !matches!(error, Error::Store(_)) {
                return;
            }
            tokio::select! {
                () = self.parts.life.stopping().cancelled_owned() => return,
                () = self.parts.clock.sleep(PATIENCE) => {}
            }
        }
    }

    async fn take_as_told(&self, envelope: &EnvelopeId, message: &Message) -> Result<(), Error> {
        let Some(record) = self.parts.store.signing_by_envelope(envelope).await? else { return Ok(()) };
        self.parts.signings.observe(envelope, &message.facts(&record.signing.signers)).await.map(|_| ())
    }

    /// Whether another message says whose part has ended.
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

    /// Waits for another message that says more, and asks the upstream if there is none. Answers whether one has come.
    async fn ask(&self, envelope: &EnvelopeId, unclear: &Message, at: Timestamp) -> Result<bool, Error> {
        let mut wait = PATIENCE;
        loop {
            tokio::select! {
                () = self.parts.life.stopping().cancelled_owned() => return Ok(false),
                () = self.parts.clock.sleep(wait) => {}
            }
            if self.is_cleared(envelope, unclear).await? {
                return Ok(true);
            }
            let Some(later) = self.parts.signings.ask_about_one(envelope, at).await? else {
                return Ok(false);
            };
            if unclear.completes() {
                return Ok(false);
            }
            wait = Duration::try_from(later.duration_since(self.parts.clock.now())).unwrap_or_default();
            wait = wait.clamp(PATIENCE, MAX_WAIT);
        }
    }
}
