//! The line of the creates that wait for the upstream: who is where in it. A person who stands before one puts it first.

use std::time::Duration;

use jiff::Timestamp;

use crate::{
    clock::{earlier, later},
    domain::{SenderName, Signing, SigningStatus, draft::MAX_LIFE},
    esign::{self, Reach},
    signing::{HeldUp, Signings, create::detail, settle::tells_why},
    store::{Durability, Record, Work},
    telemetry::chain,
};

/// How far before the others a create is put that a person waits for; more than any create can be old.
const FRONT: Duration = MAX_LIFE;

/// Creates that are hastened in one go: others write between.
const HASTENED: u32 = 2_000;

/// When the work on a create that a person stands before counts as due.
pub(super) fn front(signing: &Signing) -> Timestamp {
    earlier(signing.created_at, FRONT)
}

/// The place in line of a create that waits, and that nobody is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Queued {
    /// In the order of creation.
    Behind,
    /// Before those, because a person stands before it and has said so.
    First,
}

/// Whether a create waits in line: only such a one can be put before others.
pub(super) fn queued(record: &Record) -> Option<Queued> {
    let work = record.work.filter(|work| work.leased_until.is_none())?;
    let signing = &record.signing;
    if signing.status != SigningStatus::Creating || signing.posted_at.is_some() {
        return None;
    }
    Some(if work.due_at == front(signing) { Queued::First } else { Queued::Behind })
}

impl Signings {
    /// A try at a create, or at finding out about creates, has failed: what it says of the upstream counts for the line, and
    /// where nobody was asked, why.
    pub(super) fn note_try(&self, error: &esign::Error) {
        let reach = error.reach();
        self.parts.breaker.note(reach, 1, self.parts.clock.uptime());
        if reach == Reach::NotAsked && tells_why(error) {
            let now = self.parts.clock.now();
            let until = error.retry_after(now).map(|wait| later(now, wait));
            self.parts.breaker.held_up_by(HeldUp { code: error.code(), why: detail(error), until });
        }
    }

    /// These senders begin to act: what waits for them is due at once, so that newer calls do not overtake it. What waits for
    /// the end of a limit comes then, and what a visitor stands before in its own time; what waits for a person of the company,
    /// who may have acted by now, has one try more. If the store fails, they come in their own time, which is within a minute
    /// or so.
    pub async fn hasten(&self, senders: &[SenderName]) {
        // One time for all: what is due by then is not taken again, and so this ends.
        let now = self.parts.clock.now();
        let mut creates = 0;
        loop {
            let hastened = match self.parts.store.hasten(senders, now, HASTENED).await {
                Ok(hastened) => hastened,
                Err(error) => {
                    tracing::warn!(error = %chain(&error), "creates come in their own time");
                    break;
                }
            };
            creates += hastened;
            if hastened > 0 {
                self.parts.due.notify_one();
            }
            if hastened < u64::from(HASTENED) {
                break;
            }
        }
        if creates > 0 {
            let senders = senders.len();
            tracing::info!(creates, senders, "creates that wait for their sender are due at once");
        }
    }

    /// A person stands before a create that waits for the upstream: it goes before those whom nobody has
    /// asked for yet, the oldest first. Failing to say so costs a place in the queue and nothing else.
    pub(super) async fn hurry(&self, record: &Record) {
        let (Some(work), Some(Queued::Behind)) = (record.work, queued(record)) else { return };
        let mut signing = record.signing.clone();
        let work = Work { due_at: front(&signing), ..work };
        let saved =
            self.save(&mut signing, record.version, Vec::new(), Some(work), Durability::Flushed).await;
        match saved {
            Ok(_) => self.parts.due.notify_one(),
            Err(error) => tracing::debug!(signing.id = %signing.id, error = %chain(&error), "not put first"),
        }
    }
}
