//! When a call may leave: a turn, a place in the budget, and time for it.
//!
//! What is to be announced (rule S6) is announced last, so that what is held back is nothing that was begun. It must never
//! be sent without that, nor on a place in the budget of long before.

use std::time::Duration;

use tokio::sync::SemaphorePermit;

use super::{Acting, Client, Error, call::Call};
use crate::{
    budget::{Permit, Priority},
    clock::{Deadline, Now},
};

/// How long after it was let through a call may leave that had to be announced meanwhile: limits are of when it is sent.
const PROMPT: Duration = Duration::from_millis(500);

/// The places that a call has while it is under way.
pub(super) type Turn<'a> = [Option<SemaphorePermit<'a>>; 3];

impl Client {
    /// Waits until nothing holds a call back any more, has it announced then, and answers what is left of the time.
    ///
    /// It keeps its turn and its place in the budget meanwhile, which is a moment. Where that takes longer (a slow disk),
    /// both are given back before the rest of it is waited for, and it waits for others then: the turns are everybody's,
    /// also of those who announce nothing.
    pub(super) async fn leave_announced(
        &self,
        acting: &Acting,
        call: &Call,
        expected: Duration,
    ) -> Result<(Turn<'_>, Permit, Duration), Error> {
        let (turn, permit, left) = self.leave(acting, call, expected).await?;
        let Some(mut announcement) = call.take_announcement() else { return Ok((turn, permit, left)) };
        let admitted = self.clock.uptime();
        let prompt = Deadline::within(&*self.clock, PROMPT.min(call.deadline.left(admitted)));
        let announced = prompt.hold(&*self.clock, &mut announcement).await;
        let now = self.clock.uptime();
        if matches!(announced, Some(Ok(())))
            && now.saturating_sub(admitted) <= PROMPT
            && let Some(left) = call.deadline.leaves(expected, now)
        {
            return Ok((turn, permit, left));
        }
        permit.not_sent();
        drop(turn);
        match announced {
            Some(announced) => announced?,
            None => call.deadline.hold(&*self.clock, announcement).await.unwrap_or(Err(Error::Deadline))?,
        }
        self.leave(acting, call, expected).await
    }

    /// Waits for its turn and for the budget, and answers what is left of the time.
    ///
    /// The budget is asked last, because it counts a call when it allows it, and that must be when it is sent.
    /// No turn is held while a burst is waited for: it may be one account's, and the turns are everybody's.
    async fn leave(
        &self,
        acting: &Acting,
        call: &Call,
        expected: Duration,
    ) -> Result<(Turn<'_>, Permit, Duration), Error> {
        loop {
            // Looked at twice: waiting takes time, and an expired call should cost no place in the budget.
            call.deadline.leaves(expected, self.clock.uptime()).ok_or(Error::Deadline)?;
            let turn = self.turn(call).await?;
            let now = Now::read(&*self.clock);
            let left = call.deadline.leaves(expected, now.uptime).ok_or(Error::Deadline)?;
            let shed = match self.budget.admit(&acting.account, call.operation, call.priority, now) {
                Ok(permit) => return Ok((turn, permit, left)),
                Err(shed) => shed,
            };
            drop(turn);
            let wait = shed.wait_by(call.deadline, now).ok_or(shed)?;
            self.clock.sleep(wait).await;
        }
    }

    /// Waits for its turn; new work may not take all places, and a share is for signers alone.
    async fn turn(&self, call: &Call) -> Result<Turn<'_>, Error> {
        let turn = async {
            let of_kind = match call.priority {
                // Those are few: each has come with a place of its own.
                _ if call.is_upload() => None,
                Priority::NewWork => self.slots_of_new_work.acquire().await.ok(),
                Priority::Check | Priority::Signer => None,
            };
            let of_others = match call.priority {
                Priority::NewWork | Priority::Check => self.slots_of_others.acquire().await.ok(),
                Priority::Signer => None,
            };
            [of_kind, of_others, self.slots.acquire().await.ok()]
        };
        call.deadline.hold(&*self.clock, turn).await.ok_or(Error::Deadline)
    }
}
