//! What time brings by itself: the end at the caller's own hour, a purge followed to its end, and the check that a return
//! is owed which could not be made at once, or came to nothing (rule F2).
//!
//! A signing that has something coming carries it as [`Work`] in the store, so that it is done by whichever
//! daemon is there at that time, once. What the upstream says is the fact; here is only asked for it.

use std::time::Duration;

use jiff::Timestamp;

use crate::{
    audit::Act,
    budget::checks::INTERVAL,
    clock::{Deadline, earlier, later},
    domain::{CallerName, EnvelopeFact, Fact, MomentKind, PurgeScope, Signing, SigningId, SigningStatus},
    signing::{
        Error, Signings,
        follow::{Asked, unanswered_return},
        is_past, is_settled,
        reconcile::is_for_good,
        settle::backoff,
        twins,
    },
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
/// How long after that it is asked whether its event was lost, and for how long once a day again. Days without an
/// answer are no reason to stop: it ends with an answer.
const PURGE_CHECK: Duration = Duration::from_secs(6 * 3_600);
const PURGE_FOLLOWED: Duration = Duration::from_secs(16 * DAY);
/// How long after a check the next one surely may be made: the upstream is asked a moment after it was noted (rule B3).
const CHECK_AGAIN: Duration = INTERVAL.saturating_add(Duration::from_secs(5));
/// How long a return is owed a check. Then the signing is quiet like others, of which `reconcile` asks many at once.
const RETURN_FOLLOWED: Duration = Duration::from_secs(DAY);
/// How long what fails for good is tried, as if a person could help: the sender may be gone.
const HOPELESS: Duration = Duration::from_secs(30 * DAY);
const DAY: u64 = 86_400;
/// The longest wait before something that failed is tried again.
const LONGEST_WAIT: Duration = Duration::from_secs(15 * 60);
/// The longest that an answer can have us wait: a longer wait is taken for one that a wrong clock wrote.
const LONGEST_HOLD: Duration = Duration::from_secs(2 * 3_600);

impl Signings {
    /// Whether the time that the caller gave a signing is over, by the upstream's clock.
    pub fn is_over(&self, signing: &Signing) -> bool {
        is_past(signing, self.corrected_now())
    }

    /// Refuses a view of a caller's signing whose time is over, where it is not made here. Of one that has ended the
    /// upstream tells how.
    pub async fn may_still_open(&self, caller: &CallerName, id: SigningId) -> Result<(), Error> {
        let signing = self.get(caller, id).await?;
        if !signing.status.is_terminal() && self.is_over(&signing) { Err(Error::TimeOver) } else { Ok(()) }
    }

    /// Has the documents of an ended signing destroyed at the upstream. It takes two weeks there; repeating
    /// it meanwhile is harmless, and with a wider scope begins the two weeks anew. The end is the event
    /// `signing.purged`; after it there is nothing left to widen. For a caller who waits so long.
    pub async fn purge(
        &self,
        caller: &CallerName,
        id: SigningId,
        scope: PurgeScope,
        wait: Duration,
    ) -> Result<Signing, Error> {
        let deadline = self.within(wait);
        let (this, caller) = (self.clone(), caller.clone());
        let purge = async move { this.ask_for_purge(&caller, id, scope, deadline).await };
        self.aside_within(wait, "a purge", Box::pin(purge)).await
    }

    async fn ask_for_purge(
        &self,
        caller: &CallerName,
        id: SigningId,
        scope: PurgeScope,
        deadline: Deadline,
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
        let acting = self.acting_for(&signing).await?;
        let said = format!("{envelope} {}", scope.as_str());
        self.announce(Act::EnvelopePurge, &signing, &said).await?;
        let trace = self.parts.esign.purge(&acting, envelope, scope, deadline).await?;
        self.change_with_work(id, Durability::Synced, |signing, _, now| {
            // Of two at once, the wider: which of them was the last at the upstream nobody knows.
            signing.purge_scope = signing.purge_scope.max(Some(scope));
            // By the same clock as what comes of it.
            signing.purge_requested_at = Some(self.corrected_now());
            signing.remember(now, MomentKind::PurgeAsked, None, trace.clone());
            signing.annotate(scope.as_str());
            Ok((Vec::new(), self.upkeep(signing)))
        })
        .await
    }

    /// Does what has come due for a signing whose create is settled: all of it, so that nothing waits behind what fails.
    pub(super) async fn tend(&self, record: Record) -> Result<(), Error> {
        let Record { signing, work, .. } = record;
        let mut tending = Tending::new(work);
        let lag = self.lag();
        for (due_at, chore) in chores(&signing, self.parts.clock.now()) {
            if chore.comes(due_at, lag) <= self.parts.clock.now() {
                self.tend_to(&signing, due_at, chore, &mut tending).await;
            }
        }
        let sought = signing.twins_sought.saturating_add(tending.has_looked.into());
        let told = self.change_with_work(signing.id, Durability::Synced, |signing, _, now| {
            // Whoever took this up when it took longer than its lease may have looked, too: that is one look.
            signing.twins_sought = signing.twins_sought.max(sought);
            Ok((Vec::new(), tending.next(signing, lag, now)))
        });
        told.await.map(|_| ())
    }

    /// What is still to come first for a signing whose create is settled.
    pub(super) fn upkeep(&self, signing: &Signing) -> Option<Work> {
        // Most have no chore at all, and need not know how far the clock is behind.
        let chores = chores(signing, self.parts.clock.now());
        chores.map(|(due_at, chore)| chore.comes(due_at, self.lag())).min().map(Work::at)
    }

    /// How far this machine's clock is behind the upstream's; nothing if it is ahead, when what comes too early waits.
    fn lag(&self) -> Duration {
        Duration::try_from(self.corrected_now().duration_since(self.parts.clock.now())).unwrap_or_default()
    }

    async fn tend_to(&self, signing: &Signing, due_at: Timestamp, chore: Chore, tending: &mut Tending) {
        tending.done.push((due_at, chore));
        let done = match chore {
            Chore::Expire => self.expire(signing, due_at).await,
            Chore::LookAfterReturn => self.look_after_return(signing.id, due_at).await,
            Chore::LookAtPurge => self.look_at_purge(signing, due_at).await,
            Chore::LookForTwins => self.look_for_twins(signing).await.map(|()| Done::Ended),
        };
        let now = self.parts.clock.now();
        match done {
            Ok(Done::Ended) => tending.has_looked |= chore == Chore::LookForTwins,
            Ok(Done::NotYet(wait)) => tending.fail(later(now, wait.min(LONGEST_WAIT))),
            Ok(Done::LookAgain) => tending.again.push(later(now, Duration::from_secs(DAY))),
            Err(error) if is_for_good(&error) && self.corrected_now() >= later(due_at, HOPELESS) => {
                tracing::error!(signing.id = %signing.id, ?chore, error = %chain(&error), "what came due a month ago can still not be done: given up");
            }
            Err(error) => {
                tracing::warn!(signing.id = %signing.id, error = %chain(&error), "what has come due could not be done: trying again");
                let wait = error.retry_after(now).unwrap_or_else(|| patient(tending.attempts));
                tending.fail(later(now, wait.min(LONGEST_HOLD)));
            }
        }
    }

    /// How long until then by the upstream's clock, if it is still to come.
    fn early(&self, due_at: Timestamp) -> Option<Duration> {
        let early = Duration::try_from(due_at.duration_since(self.corrected_now())).ok();
        early.filter(|early| !early.is_zero())
    }

    /// The caller's time is over: ends the envelope at the upstream, and learns what became of it if it
    /// had ended already.
    async fn expire(&self, signing: &Signing, due_at: Timestamp) -> Result<Done, Error> {
        let Some(envelope) = &signing.envelope else { return Ok(Done::Ended) };
        let acting = self.acting_for(signing).await?;
        // A void cannot be undone, and this machine's clock may be ahead. The upstream has told the time by now.
        if let Some(early) = self.early(due_at) {
            return Ok(Done::NotYet(early));
        }
        self.announce(Act::EnvelopeVoid, signing, &envelope.as_str()).await?;
        match self.parts.esign.void(&acting, envelope, REASON, self.at_leisure()).await {
            Ok(trace) => {
                let fact = Fact::Envelope(EnvelopeFact::Expired, None);
                let asked = Asked::End { what: MomentKind::ExpiryAsked, trace };
                self.take_in(signing.id, &[fact], Some(asked)).await?;
            }
            // It has ended in another way, and the event is on its way or lost.
            Err(error) if error.rejection().is_some() => {
                let after = self.check(signing, envelope, self.at_leisure()).await?;
                if !after.status.is_terminal() {
                    return Err(error.into());
                }
            }
            Err(error) => return Err(error.into()),
        }
        Ok(Done::Ended)
    }

    /// A return was owed its check then. Another chore of this round may have ended the signing since, or an event; and a
    /// check that comes at another time now has work of its own.
    async fn look_after_return(&self, id: SigningId, due_at: Timestamp) -> Result<Done, Error> {
        let signing = self.record(id).await?.signing;
        let is_owed = return_check(&signing, self.parts.clock.now()) == Some(due_at);
        if let Some(envelope) = signing.envelope.as_ref().filter(|_| is_owed) {
            self.check(&signing, envelope, self.at_leisure()).await?;
        }
        Ok(Done::Ended)
    }

    /// The event of a purge has not come in time: asks, once a day, for a while.
    async fn look_at_purge(&self, signing: &Signing, due_at: Timestamp) -> Result<Done, Error> {
        let Some(envelope) = &signing.envelope else { return Ok(Done::Ended) };
        if let Some(early) = self.early(due_at) {
            return Ok(Done::NotYet(early));
        }
        let after = self.check(signing, envelope, self.at_leisure()).await?;
        if after.purged_at.is_some() {
            return Ok(Done::Ended);
        }
        if self.corrected_now() >= later(due_at, PURGE_FOLLOWED) {
            tracing::warn!(signing.id = %signing.id, "a purge was asked for and has not happened: not followed any further");
            return Ok(Done::Ended);
        }
        Ok(Done::LookAgain)
    }
}

/// What became of a chore.
#[derive(Debug, Clone, Copy)]
enum Done {
    /// There is nothing more to do about it.
    Ended,
    /// It has to be looked at again in a day.
    LookAgain,
    /// By the upstream's clock its time comes only after so long.
    NotYet(Duration),
}

/// One round of chores of a signing.
#[derive(Debug)]
struct Tending {
    /// How often something failed in a row before this round.
    attempts: u32,
    /// What was done in this round, well or not.
    done: Vec<(Timestamp, Chore)>,
    /// When some of it is to be done again.
    again: Vec<Timestamp>,
    /// Whether some of it was not done.
    has_failed: bool,
    /// Whether a second envelope was looked for.
    has_looked: bool,
}

impl Tending {
    fn new(work: Option<Work>) -> Self {
        let attempts = work.map_or(0, |work| work.attempts);
        Self { attempts, done: Vec::new(), again: Vec::new(), has_failed: false, has_looked: false }
    }

    /// Something was not done, and is tried again then.
    fn fail(&mut self, again: Timestamp) {
        self.has_failed = true;
        self.again.push(again);
    }

    /// What is to come after this round. What was done in it comes only as it said itself; what has come up
    /// meanwhile, such as a purge that was asked for, or the next look for a second envelope, has a time of its own.
    fn next(&self, signing: &Signing, lag: Duration, now: Timestamp) -> Option<Work> {
        let others = chores(signing, now).filter(|chore| !self.done.contains(chore));
        let others = others.map(|(due_at, chore)| chore.comes(due_at, lag));
        let due_at = others.chain(self.again.iter().copied()).min()?;
        let attempts = if self.has_failed { self.attempts.saturating_add(1) } else { 0 };
        Some(Work { due_at, leased_until: None, attempts })
    }
}

/// Something that time brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Chore {
    Expire,
    LookAfterReturn,
    LookAtPurge,
    LookForTwins,
}

impl Chore {
    /// When it is due by this machine's clock, which is so far behind the upstream's: the end of a signing and its purge
    /// are dated by that one, all else by ours.
    fn comes(self, due_at: Timestamp, lag: Duration) -> Timestamp {
        match self {
            Self::Expire | Self::LookAtPurge => earlier(due_at, lag),
            Self::LookAfterReturn | Self::LookForTwins => due_at,
        }
    }
}

/// All that is still to come, each once.
fn chores(signing: &Signing, now: Timestamp) -> impl Iterator<Item = (Timestamp, Chore)> + use<> {
    let twins = twins::next_look(signing).map(|at| (at, Chore::LookForTwins));
    let own = if signing.status == SigningStatus::Open {
        signing.expires_at.map(|end| (end_of(signing, end), Chore::Expire))
    } else {
        let asked_at = signing.purge_requested_at.filter(|_| signing.purged_at.is_none());
        asked_at.map(|at| (purge_check(at), Chore::LookAtPurge))
    };
    let returned = return_check(signing, now).map(|at| (at, Chore::LookAfterReturn));
    twins.into_iter().chain(own).chain(returned)
}

/// The work on a signing with the check that a return is owed. What somebody has in hand stays with them: they see what
/// is to come when they are done.
pub(super) fn with_return_check(signing: &Signing, work: Option<Work>, now: Timestamp) -> Option<Work> {
    let Some(due_at) = return_check(signing, now) else { return work };
    match work {
        None => Some(Work::at(due_at)),
        Some(work) if work.leased_until.is_none() && due_at < work.due_at => Some(Work { due_at, ..work }),
        held_or_sooner => held_or_sooner,
    }
}

/// The work on a signing, unless nothing is to come any more, and nobody has it in hand.
pub(super) fn still_needed(signing: &Signing, work: Option<Work>, now: Timestamp) -> Option<Work> {
    let is_over = is_settled(signing.status) && chores(signing, now).next().is_none();
    work.filter(|work| !is_over || work.leased_until.is_some())
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

/// When a return is to have the check that it is owed: as soon as the envelope may be asked about again, and at once if it
/// was not asked about; and for a day, whether the question ever leaves or not.
fn return_check(signing: &Signing, now: Timestamp) -> Option<Timestamp> {
    let returned_at = unanswered_return(signing, now).filter(|_| signing.status == SigningStatus::Open)?;
    let due_at = signing.checked_at.map_or(returned_at, |at| later(at, CHECK_AGAIN).max(returned_at));
    (due_at.max(now) <= later(returned_at, RETURN_FOLLOWED)).then_some(due_at)
}

/// 1, 2, 4, 5 s, then a quarter of an hour: nobody waits.
pub(super) fn patient(attempts: u32) -> Duration {
    if attempts < 8 { backoff(attempts) } else { LONGEST_WAIT }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::{Claim, LastReturn, SignerStatus, sample},
        signing::{create::LEASE, twins::pause_after},
        store::{CLOCKS, LONGEST_LOOK, LONGEST_RETRY},
    };

    #[test]
    fn f2_the_check_that_a_return_is_owed_comes_when_it_may_be_made_and_for_a_day() {
        let at = |second: i64| Timestamp::constant(1_700_000_000 + second, 123_456_700);
        let now = at(60);
        let mut signing = sample::signing(SigningStatus::Open, SignerStatus::Ready);
        let other = Some(Work { attempts: 3, ..Work::at(at(600)) });
        assert_eq!(with_return_check(&signing, other, now), other);
        assert_eq!(still_needed(&signing, other, now), None, "nothing is to come");
        signing.checked_at = Some(at(0));
        signing.signers[0].last_return =
            Some(LastReturn { claim: Claim::SigningComplete, at: at(60), view: None });
        assert_eq!(chores(&signing, now).collect::<Vec<_>>(), [(at(905), Chore::LookAfterReturn)]);
        assert_eq!(with_return_check(&signing, None, now), Some(Work::at(at(905))));
        assert_eq!(with_return_check(&signing, other, now), other, "what comes sooner");
        let late = Work { attempts: 3, ..Work::at(at(7_200)) };
        let sooner = Work { due_at: at(905), ..late };
        assert_eq!(with_return_check(&signing, Some(late), now), Some(sooner));
        let held = Some(Work { leased_until: Some(at(7_300)), ..late });
        assert_eq!(with_return_check(&signing, held, now), held);
        assert_eq!(still_needed(&signing, other, now), other);

        // Nobody has answered since.
        signing.checked_at = Some(at(60 + 86_400 - 905));
        assert_eq!(return_check(&signing, now), Some(at(60 + 86_400)));
        signing.checked_at = Some(at(60 + 86_400));
        assert_eq!(return_check(&signing, now), None);
        // Nobody was asked, or long before.
        for long_before in [None, Some(at(-900))] {
            signing.checked_at = long_before;
            assert_eq!(return_check(&signing, now), Some(at(60)));
            assert_eq!(with_return_check(&signing, Some(late), now), Some(Work { due_at: at(60), ..late }));
            assert_eq!(return_check(&signing, at(60 + 86_400)), Some(at(60)));
            assert_eq!(return_check(&signing, at(60 + 86_401)), None, "the question never leaves");
        }
        signing.status = SigningStatus::Completed;
        assert_eq!((chores(&signing, now).next(), still_needed(&signing, other, now)), (None, None));
        assert_eq!(still_needed(&signing, held, now), held);
        signing.status = SigningStatus::Uncertain;
        assert_eq!(still_needed(&signing, other, now), other, "it is to be looked up");
    }

    /// What is put off for longer than the store's bounds counts as written by a wrong clock, and is taken up at once.
    #[test]
    fn nothing_is_put_off_beyond_the_bounds_of_the_store() {
        let waits = (0..20).flat_map(|attempts| [backoff(attempts), patient(attempts)]);
        for wait in waits.chain([LEASE, LONGEST_HOLD]) {
            assert!(wait + CLOCKS < LONGEST_RETRY, "{wait:?}");
        }
        let looks = (0..=u8::MAX).map_while(pause_after).max().unwrap();
        assert!(looks + CLOCKS < LONGEST_LOOK, "{looks:?}");
    }
}
