//! Following a signing to its end: facts come in, claims are noted, checks are spent sparingly.

use std::time::Duration;

use jiff::Timestamp;

use crate::{
    budget::{Rule, Scope, may_check},
    clock::{Deadline, Now, later},
    domain::{
        CallerName, Claim, EnvelopeId, EventKind, Fact, LastReturn, MomentKind, Signer, SignerId, Signing,
        SigningId, SigningStatus, ViewKind, signing::News,
    },
    esign,
    signing::{
        Error, ReturnTarget, Signings,
        ending::{still_needed, with_return_check},
        leases::{LONGEST_LEASE, VIEW_LIFE},
    },
    store::Durability,
    telemetry::chain,
};

/// Returns that are told since a view was last made for a signer (rule S5): whoever plays with the address must not fill
/// the outbox.
const MAX_TOLD: usize = 3;

/// How long a browser that came back waits for the check, whoever makes it.
pub(super) const RETURN_PATIENCE: Duration = Duration::from_secs(3);

/// A call to the upstream that was answered, for the timeline; with the upstream's trace id.
#[derive(Debug, Clone)]
pub(super) enum Asked {
    /// To end the signing, of which the event may be here before the answer.
    End { what: MomentKind, trace: Option<String> },
    /// How it stands, at that time: the answer may tell of nothing later.
    Status { at: Timestamp, trace: Option<String> },
}

/// What became of facts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// They changed the signing.
    Changed,
    /// They were known.
    Known,
    /// No signing of ours owns that envelope.
    Stranger,
}

/// A browser that came back.
#[derive(Debug, Clone)]
pub struct Returned {
    /// The signing, as the facts have it.
    pub signing: Signing,
    /// Who came back.
    pub signer: Signer,
    /// What the browser claimed.
    pub claim: Claim,
}

/// Whether somebody who comes back with this may have signed or declined: a page that failed or was opened before, and
/// words that we do not know, say nothing of that.
const fn may_have_done_something(claim: Claim) -> bool {
    !matches!(claim, Claim::Cancel | Claim::FaxPending | Claim::SessionTimeout)
}

/// When the last return was that is owed a check: it may have done something, no event has told of the end of their part,
/// and no check that was asked for since has been answered. What is in the future was noted by a clock that has been set back
/// since: such a return is owed none, for no answer would be later, and such an answer is none to what comes now.
pub(super) fn unanswered_return(signing: &Signing, now: Timestamp) -> Option<Timestamp> {
    let answered = answered_at(signing, now);
    let present = signing.signers.iter().filter(|signer| !signer.status.is_terminal());
    let returns = present.filter_map(|signer| signer.last_return);
    let returns = returns.filter(|last| may_have_done_something(last.claim) && has_been(last.at, now));
    let owed = returns.filter(|last| Some(last.at) > answered);
    owed.map(|last| last.at).max()
}

/// When that was asked for which the upstream last answered how the envelope stands.
pub(super) fn answered_at(signing: &Signing, now: Timestamp) -> Option<Timestamp> {
    let answers = signing.history.iter().filter(|moment| moment.what == MomentKind::Checked);
    answers.map(|moment| moment.at).filter(|at| has_been(*at, now)).max()
}

/// Whether a time is not in the future, as far as clocks differ.
fn has_been(at: Timestamp, now: Timestamp) -> bool {
    at <= later(now, CLOCKS)
}

/// Daemons' clocks and the upstream's, as far as it is known, differ by less.
pub(super) const CLOCKS: Duration = Duration::from_secs(60);

impl Signings {
    /// A time by the upstream's clock as ours has it, as far as its answers have told.
    pub(super) fn by_our_clock(&self, at: Timestamp) -> Timestamp {
        let ahead = self.parts.clock.now().duration_since(self.corrected_now());
        at.saturating_add(ahead).unwrap_or(Timestamp::MAX)
    }

    /// Takes in what a Connect event said.
    pub async fn observe(&self, envelope: &EnvelopeId, facts: &[Fact]) -> Result<Seen, Error> {
        let Some(record) = self.parts.store.signing_by_envelope(envelope).await? else {
            return Ok(Seen::Stranger);
        };
        let before = record.signing.sequence;
        let after = self.take_in(record.signing.id, facts, None).await?;
        Ok(if after.sequence == before { Seen::Known } else { Seen::Changed })
    }

    /// A browser came back with a nonce: notes its claim, and spends one check if no fact has come yet and
    /// the polling interval allows (rules F1, F2).
    pub async fn returned(&self, target: ReturnTarget, claim: Claim) -> Result<Returned, Error> {
        let signing = self
            .change(target.signing, Durability::Flushed, |signing, now| {
                let status = signing.signer(target.signer).ok_or(Error::NotFound)?.status;
                let news = take_claim(signing, target, claim, now);
                if claim.ends_session(status) {
                    // An old page that is loaded again does not end a later view, with the signer in it.
                    signing.live_view.take_if(|view| {
                        view.signer == target.signer && target.view.is_none_or(|at| at == view.minted_at)
                    });
                }
                Ok(news.into_iter().collect())
            })
            .await?;
        let needs_check = signing.status == SigningStatus::Open
            && may_have_done_something(claim)
            && signing.signer(target.signer).is_some_and(|signer| !signer.status.is_terminal());
        let signing = if needs_check { self.check_aside(signing).await } else { signing };
        let signer = signing.signer(target.signer).cloned().ok_or(Error::NotFound)?;
        Ok(Returned { signing, signer, claim })
    }

    /// The page that a view leads to is open, and says so from time to time: the lease lives on with it
    /// (rule L2). `minted_at`: which view; one that was replaced has no say.
    pub async fn still_open(&self, target: ReturnTarget, minted_at: Timestamp) -> Result<(), Error> {
        let noted = self.change(target.signing, Durability::Flushed, |signing, now| {
            let live = signing.live_view.as_mut();
            let live = live.filter(|view| view.signer == target.signer && view.minted_at == minted_at);
            if let Some(view) = live {
                view.kind = ViewKind::InUse;
                // A later end than any was written by a clock that has been set back since.
                if !(later(now, VIEW_LIFE)..=later(now, LONGEST_LEASE)).contains(&view.until) {
                    view.until = later(now, VIEW_LIFE);
                }
            }
            Ok(Vec::new())
        });
        noted.await.map(|_| ())
    }

    /// By the upstream's word a signer put it off and left the signing page, `at` that time by its clock: the view that
    /// they had then is not open any more (rule L2). It comes late at times, and ends none that was made since.
    pub async fn left(&self, signing: SigningId, signer: SignerId, at: Timestamp) -> Result<(), Error> {
        let at = self.by_our_clock(at);
        let noted = self.change(signing, Durability::Flushed, |signing, _| {
            signing.live_view.take_if(|view| view.signer == signer && view.minted_at <= at);
            Ok(Vec::new())
        });
        noted.await.map(|_| ())
    }

    /// Opens a nonce.
    pub fn return_target(&self, nonce: &str) -> Option<ReturnTarget> {
        self.parts.settings.nonce_key.open(nonce)
    }

    /// One status check, because the caller asks for it (rule B3), and waits so long. After the end there is nothing to ask
    /// but whether somebody was checked by phone, unless that is known to have been passed: it is welcome, and no more.
    pub async fn refresh(
        &self,
        caller: &CallerName,
        id: SigningId,
        wait: Duration,
    ) -> Result<Signing, Error> {
        let deadline = self.within(wait);
        let signing = self.get(caller, id).await?;
        let is_over = signing.status.is_terminal();
        if is_over && !signing.awaits_word_of_check() {
            return Ok(signing);
        }
        let Some(envelope) = signing.envelope.clone() else { return Ok(signing) };
        let (this, asked) = (self.clone(), envelope.clone());
        let check = async move {
            if is_over {
                return Ok(this.check_once(signing, deadline).await);
            }
            this.check(&signing, &envelope, deadline).await
        };
        match self.aside_within(wait, "a check for a caller", Box::pin(check)).await {
            Err(Error::Upstream(esign::Error::Deadline)) if !is_over => Err(self.out_of_time(&asked)),
            checked => checked,
        }
    }

    /// What a caller is told whose time was over before there was an answer. A check that has left is spent, and its answer
    /// is taken in without them; what has not left by now is given back, and leaves no more. The signing has noted it either
    /// way, a moment before it was claimed: by that time the next one would come too early.
    fn out_of_time(&self, envelope: &EnvelopeId) -> Error {
        let next = self.parts.esign.budget().next_check(envelope, "", Now::read(&*self.parts.clock));
        Error::Upstream(next.map_or(esign::Error::Deadline, esign::Error::of_late_check))
    }

    /// A check that is welcome but not necessary: what goes wrong leaves the signing as it is. If somebody else's is under
    /// way, that one's answer will do.
    async fn check_once(&self, signing: Signing, deadline: Deadline) -> Signing {
        let Some(envelope) = signing.envelope.clone() else { return signing };
        let mut watcher = self.parts.hub.watch(signing.id);
        let checked = match self.check(&signing, &envelope, deadline).await {
            Err(Error::PollingBudget { .. }) => self.once_answered(signing.id, &mut watcher).await,
            checked => checked,
        };
        checked.unwrap_or_else(|error| {
            tracing::warn!(signing.id = %signing.id, error = %chain(&error), "a check failed, and leaves the signing as it was");
            signing
        })
    }

    /// The check after a return, in a task of its own: a browser that leaves must not take the answer with it,
    /// which is the only one in a quarter of an hour; and one that stays is not kept for long.
    async fn check_aside(&self, signing: Signing) -> Signing {
        let (this, known, deadline) = (self.clone(), signing.clone(), self.at_leisure());
        let checked = self
            .parts
            .life
            .outcome_of("the check after a return", async move { this.check_once(known, deadline).await });
        tokio::select! {
            biased;
            checked = checked => checked.unwrap_or(signing),
            () = self.parts.clock.sleep(RETURN_PATIENCE) => signing,
        }
    }

    /// Spends the one check of a polling interval. It is reserved first: of many at once, one gets it; and
    /// given back if the upstream was not asked after all, so that a return need not wait for the next interval.
    pub(super) async fn check(
        &self,
        signing: &Signing,
        envelope: &EnvelopeId,
        deadline: Deadline,
    ) -> Result<Signing, Error> {
        let (at, before) = self.reserve_check(signing.id).await?;
        match self.ask(signing, envelope, deadline).await {
            Ok(seen) => {
                let asked = Asked::Status { at, trace: seen.trace.clone() };
                self.take_in(signing.id, &seen.facts(&signing.signers), Some(asked)).await
            }
            Err(error) => {
                if error.never_left() {
                    self.change_with_work(signing.id, Durability::Flushed, |signing, work, now| {
                        signing.checked_at = before;
                        Ok((Vec::new(), with_return_check(signing, work, now)))
                    })
                    .await?;
                } else {
                    self.check_failed(signing.id, at);
                }
                Err(polling(error))
            }
        }
    }

    async fn ask(
        &self,
        signing: &Signing,
        envelope: &EnvelopeId,
        deadline: Deadline,
    ) -> Result<esign::Seen, esign::Error> {
        let acting = self.acting_for(signing).await?;
        self.parts.esign.envelope(&acting, envelope, deadline).await
    }

    /// Takes the check, and answers when, and when the one before was.
    async fn reserve_check(&self, id: SigningId) -> Result<(Timestamp, Option<Timestamp>), Error> {
        let (mut before, mut taken) = (None, Ok(Timestamp::MIN));
        let reserved = self.change_with_work(id, Durability::Flushed, |signing, work, now| {
            before = signing.checked_at;
            taken = take_check(signing, now).map(|()| now);
            // It may not be made now, or come to nothing, and whoever waits for it here may be gone by then.
            Ok((Vec::new(), with_return_check(signing, work, now)))
        });
        reserved.await?;
        let at = taken.map_err(|retry_at| {
            self.parts.esign.budget().held_back(Rule::Polling);
            Error::PollingBudget { retry_at }
        })?;
        Ok((at, before))
    }

    /// Takes facts in; with what was asked of the upstream to learn them, or to bring them about.
    pub(super) async fn take_in(
        &self,
        id: SigningId,
        facts: &[Fact],
        asked: Option<Asked>,
    ) -> Result<Signing, Error> {
        self.change_with_work(id, Durability::Synced, |signing, work, now| {
            match asked.clone() {
                Some(Asked::End { what, trace }) => signing.remember_before_end(now, what, trace),
                Some(Asked::Status { at, trace }) => signing.remember_begun(at, MomentKind::Checked, trace),
                None => {}
            }
            let news = signing.observe_all(facts, self.time_of_facts());
            Ok((news, still_needed(signing, work, now)))
        })
        .await
    }
}

/// The check of an interval may be spent by whoever reads the envelope through us.
pub(super) fn polling(error: esign::Error) -> Error {
    match error {
        esign::Error::Limited { scope: Scope::Polling, until, .. } => {
            Error::PollingBudget { retry_at: until }
        }
        error => error.into(),
    }
}

/// Notes what a browser claims, and answers what is to be told. A view leads back once: the same claim by it is a page that
/// is loaded again, and so is any claim by a view before the last one that led back.
fn take_claim(signing: &mut Signing, target: ReturnTarget, claim: Claim, now: Timestamp) -> Option<News> {
    let ReturnTarget { signer: id, view, .. } = target;
    // The one that is live is the newest, whatever daemons' clocks say.
    let live = signing.live_view.as_ref().filter(|live| live.signer == id).map(|live| live.minted_at);
    let is_live = live.is_some() && live == view;
    let told = returns_told(signing, id);
    let signer = signing.signer_mut(id)?;
    if let Some(last) = signer.last_return {
        let is_same = (last.claim, last.view) == (claim, view);
        let is_older = !is_live && is_before(view, last.view, now);
        if is_same || is_older {
            return None;
        }
    }
    signer.last_return = Some(LastReturn { claim, at: now, view });
    (told < MAX_TOLD).then_some(News { kind: EventKind::SignerReturned, signer: Some(id), at: None })
}

/// Whether a view was minted before the last one that led back, as far as is known. One that is further ahead than daemons'
/// clocks may be is of a clock that has been set back since.
fn is_before(view: Option<Timestamp>, last: Option<Timestamp>, now: Timestamp) -> bool {
    view.zip(last).is_some_and(|(view, last)| view < last && last <= later(now, CLOCKS))
}

/// How many returns of a signer were told since a view was last made for them.
fn returns_told(signing: &Signing, signer: SignerId) -> usize {
    let key = signing.signer(signer).map(|signer| signer.key.as_str());
    let theirs = signing.history.iter().rev().filter(|moment| moment.signer.as_deref() == key);
    let since = theirs.take_while(|moment| moment.what != MomentKind::ViewMinted);
    since.filter(|moment| moment.what == MomentKind::Event(EventKind::SignerReturned)).count()
}

/// Takes the check, or answers when the next one may be taken (rule B3). A check "in the future" means that
/// the clock was set back: it counts as one of now, and blocks for one interval.
fn take_check(signing: &mut Signing, now: Timestamp) -> Result<(), Timestamp> {
    signing.checked_at = signing.checked_at.map(|at| at.min(now));
    may_check(signing.checked_at, now)?;
    signing.checked_at = Some(now);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::{SignerStatus, sample},
        signing::leases::{Opener, fresh},
    };

    const fn at(second: i64) -> Timestamp {
        Timestamp::constant(1_700_000_000 + second, 123_456_700)
    }

    #[test]
    fn a_view_before_the_last_that_led_back_has_no_say_unless_the_clock_was_set_back() {
        let mut signing = sample::signing(SigningStatus::Open, SignerStatus::Ready);
        let (id, signer) = (signing.id, signing.signers[0].id);
        let mut says = |view: i64, claim, now: i64, live: Option<i64>| {
            signing.live_view = live.map(|minted| fresh(signer, at(minted), Opener::Click));
            let target = ReturnTarget { signing: id, signer, link: None, view: Some(at(view)) };
            let is_told = take_claim(&mut signing, target, claim, at(now)).is_some();
            (is_told, signing.signers[0].last_return.unwrap().claim)
        };
        assert_eq!(says(0, Claim::Cancel, 1, Some(0)), (true, Claim::Cancel));
        assert_eq!(says(10, Claim::SigningComplete, 11, Some(10)), (true, Claim::SigningComplete));
        assert_eq!(says(0, Claim::Cancel, 70, None), (false, Claim::SigningComplete));
        // Another daemon's clock is behind: its view is the newest, for it is live.
        assert_eq!(says(9, Claim::Cancel, 70, Some(9)), (true, Claim::Cancel));
        assert_eq!(says(-3_600, Claim::Exception, -3_590, None), (true, Claim::Exception));
    }

    #[test]
    fn f2_a_return_is_owed_a_check_until_one_is_answered() {
        let returned = LastReturn { claim: Claim::SigningComplete, at: at(60), view: None };
        let mut signing = sample::signing(SigningStatus::Open, SignerStatus::Ready);
        assert_eq!(unanswered_return(&signing, at(62)), None, "nobody has come back");
        signing.signers[0].last_return = Some(returned);
        assert_eq!(unanswered_return(&signing, at(62)), Some(at(60)));
        signing.checked_at = Some(at(60));
        assert_eq!(unanswered_return(&signing, at(62)), Some(at(60)), "it was asked, and not answered");
        signing.remember_begun(at(59), MomentKind::Checked, None);
        assert_eq!(unanswered_return(&signing, at(62)), Some(at(60)), "it was asked before they came back");
        signing.checked_at = Some(at(964));
        assert_eq!(unanswered_return(&signing, at(964)), Some(at(60)), "nor was the next one answered");
        signing.remember_begun(at(60), MomentKind::Checked, None);
        assert_eq!(unanswered_return(&signing, at(62)), None);
        signing.signers[0].last_return = Some(LastReturn { at: at(62), ..returned });
        assert_eq!(unanswered_return(&signing, at(62)), Some(at(62)), "they came back again");
        signing.signers[0].last_return = Some(LastReturn { claim: Claim::Cancel, at: at(62), view: None });
        assert_eq!(unanswered_return(&signing, at(62)), None, "they have done nothing");
        signing.signers[0].last_return = Some(LastReturn { at: at(62), ..returned });
        signing.signers[0].status = SignerStatus::Signed;
        assert_eq!(unanswered_return(&signing, at(62)), None, "it is known");
    }

    #[test]
    fn f2_a_return_that_a_clock_noted_that_was_ahead_is_owed_no_check_and_such_an_answer_is_none() {
        let mut signing = sample::signing(SigningStatus::Open, SignerStatus::Ready);
        let ahead = LastReturn { claim: Claim::SigningComplete, at: at(3_600), view: None };
        signing.signers[0].last_return = Some(ahead);
        assert_eq!(unanswered_return(&signing, at(0)), None);
        assert_eq!(unanswered_return(&signing, at(3_540)), Some(at(3_600)), "clocks differ by as much");
        signing.signers.push(Signer {
            last_return: Some(LastReturn { at: at(0), ..ahead }),
            ..sample::person(SignerStatus::Ready)
        });
        assert_eq!(unanswered_return(&signing, at(0)), Some(at(0)), "another's is owed one all the same");
        signing.remember_begun(at(3_600), MomentKind::Checked, None);
        assert_eq!(unanswered_return(&signing, at(0)), Some(at(0)));
        assert_eq!(unanswered_return(&signing, at(3_600)), None);
    }

    #[test]
    fn b3_a_clock_that_was_set_back_blocks_checks_for_one_interval() {
        let mut signing = sample::signing(SigningStatus::Open, SignerStatus::Ready);
        signing.checked_at = Some(at(86_400));
        assert_eq!(take_check(&mut signing, at(0)), Err(at(900)));
        assert_eq!(take_check(&mut signing, at(899)), Err(at(900)));
        assert_eq!(take_check(&mut signing, at(900)), Ok(()));
        assert_eq!(take_check(&mut signing, at(901)), Err(at(1_800)));
    }
}
