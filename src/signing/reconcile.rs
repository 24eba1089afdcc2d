//! The backstop behind Connect: what happened while nobody could tell us (rules F1, F3).
//!
//! While a daemon is up it writes its pulse into the store. A start that finds an old one asks the upstream,
//! by one list call a sender and page, for what has changed since: Connect comes back to an address that was
//! down after a day, which is too late for people who wait. A daemon that was there and could not be told
//! ([`deafness`](crate::signing::deafness)) asks likewise. Besides, signings of which nothing was heard for a day are asked
//! about, a hundred in one call; while events may be kept back, those of which nothing was heard for an hour. All are spent as
//! checks: when the budget runs low they wait. A sender that cannot be asked holds up none of the others.
//!
//! A list that a caller passes through takes the same right to ask about an envelope (rule B3), and tells us nothing. So
//! one that names a quiet signing has us look in its place: else who lists often would keep us from ever knowing.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

use crate::{
    budget::{Rule, checks::INTERVAL},
    clock::{Now, earlier, later},
    domain::{EnvelopeId, SenderName, Signing, SigningStatus},
    esign::{self, Acting, MAX_LISTED, Since},
    signing::{Error, Signings, recover::by_sender},
    store::{Durability, Record},
    telemetry::chain,
};

/// How often the pulse is written.
pub(super) const PULSE: Duration = Duration::from_secs(15);
/// How far before the last pulse the look back begins: clocks differ, and lists lag.
const MARGIN: Duration = Duration::from_secs(5 * 60);
/// How far back it is looked when the last pulse tells nothing.
const UNKNOWN: Duration = Duration::from_secs(24 * 3_600);
/// How often dates are looked for that only a wrong clock can have written.
const MEND_EVERY: Duration = Duration::from_secs(60);
/// After so long without a word an open signing is asked about: where events come, and where none can or they may be kept
/// back.
const QUIET: Duration = Duration::from_secs(24 * 3_600);
const QUIET_WITHOUT_EVENTS: Duration = Duration::from_secs(3_600);
/// How often quiet signings are looked for.
const LOOK_EVERY: Duration = Duration::from_secs(15 * 60);
/// Calls for quiet signings in one round, so that a backlog is spread over the day.
const MAX_BATCHES: usize = 20;
/// Pages of one look back; what is beyond them is found as quiet.
const MAX_PAGES: usize = 100;
/// Senders that fail for now, after which it is an outage, and no use to go on with the others.
const MAX_FAILURES: usize = 10;
/// Open signings that are read to learn whose they are.
const MAX_OPEN: u32 = 1_000;

/// What is not known yet of a time in which nobody could tell us: since when, and of which senders.
struct Missed {
    since: Timestamp,
    senders: VecDeque<SenderName>,
}

impl Missed {
    /// Adds what was missed besides. Who is new comes first: the others have failed before.
    fn join(&mut self, more: Self) {
        self.since = self.since.min(more.since);
        for sender in more.senders {
            if !self.senders.contains(&sender) {
                self.senders.push_front(sender);
            }
        }
    }
}

/// One round of looking at quiet signings.
#[derive(Default)]
struct Round {
    /// Senders that could not be asked. Theirs stay quiet, and would stand before everybody else's.
    failed: Vec<SenderName>,
    /// How many of them only for now.
    failures: usize,
}

impl Signings {
    /// Runs until the stop, also in the middle of asking: what the upstream has not told is asked of it again, of what
    /// changed after the next start and of what is quiet a quarter of an hour later, and a stop waits for neither.
    /// `senders` are all that there are at the start, also those that were connected or made.
    pub async fn watch_over(self, senders: Vec<SenderName>, stopping: CancellationToken) {
        tokio::select! {
            biased;
            () = stopping.cancelled() => {}
            // Before the next pulse, which would hide it from the next start.
            () = self.notice_freezes() => {}
            () = self.listen(&senders) => {}
            () = self.mend() => {}
        }
    }

    /// Frees what a clock that was ahead has put off until a time that is far away now that it was set back. By the
    /// upstream's time, if it has told it, or by ours, if that is later: by a clock that is behind, what everybody
    /// else holds would be held for too long.
    async fn mend(&self) {
        loop {
            let Some(told) = self.parts.esign.told_now() else {
                self.parts.clock.sleep(MEND_EVERY).await;
                continue;
            };
            match self.parts.store.mend_dates(told.max(self.parts.clock.now())).await {
                Ok(0) => {}
                Ok(mended) => {
                    tracing::warn!(
                        mended,
                        "dates were written while a clock was ahead: what they put off is due now"
                    );
                    self.parts.due.notify_one();
                }
                Err(error) => tracing::warn!(error = %chain(&error), "dates cannot be looked through"),
            }
            self.parts.clock.sleep(MEND_EVERY).await;
        }
    }

    async fn listen(&self, senders: &[SenderName]) {
        let mut missed = None;
        let mut next_look = Duration::ZERO;
        let mut is_first = true;
        loop {
            let wait = match self.pulse(&mut missed, is_first, senders).await {
                Ok(()) => {
                    is_first = false;
                    PULSE
                }
                Err(error) => {
                    tracing::warn!(error = %chain(&error), "what changed while we were away is not known yet: asking again");
                    error.retry_after(self.parts.clock.now()).unwrap_or(PULSE).clamp(PULSE, LOOK_EVERY)
                }
            };
            // Also while a sender cannot be asked what changed: that is no reason to forget the others.
            if self.parts.clock.uptime() >= next_look {
                next_look = self.parts.clock.uptime().saturating_add(LOOK_EVERY);
                self.ask_about_quiet().await;
            }
            self.parts.clock.sleep(wait).await;
        }
    }

    /// Catches up with what was missed, and only then says that we are here.
    async fn pulse(
        &self,
        missed: &mut Option<Missed>,
        is_first: bool,
        senders: &[SenderName],
    ) -> Result<(), Error> {
        if is_first && missed.is_none() {
            let now = self.parts.clock.now();
            // A clock that was ahead wrote it: for how long nobody was there is not known.
            let is_ahead = |last: Timestamp| last > later(now, MARGIN);
            let real = |last: Timestamp| if is_ahead(last) { earlier(now, UNKNOWN) } else { last };
            let since = |last: Timestamp| earlier(real(last), MARGIN);
            let last = self.parts.store.last_pulse().await?;
            *missed =
                last.map(|last| Missed { since: since(last), senders: senders.iter().cloned().collect() });
            if missed.is_some() {
                self.parts.deafness.began(self.parts.clock.uptime());
            }
        }
        // Also while some are still to be asked of an earlier time: they hold up none of the others.
        if self.parts.deafness.is_due(self.parts.clock.uptime())
            && let Some(more) = self.missed_since(senders).await?
        {
            match missed.as_mut() {
                Some(known) => known.join(more),
                None => *missed = Some(more),
            }
        }
        if let Some(missed) = missed {
            self.catch_up(missed).await?;
        }
        *missed = None;
        // What is not asked about yet would be asked about after a crash, too: unless another daemon on the store says that
        // it is here, and then it is found as quiet.
        if self.parts.deafness.is_pending() {
            return Ok(());
        }
        Ok(self.parts.store.pulse(self.parts.clock.now()).await?)
    }

    /// What events could not tell this daemon. Of all senders: there may be more of them than at the start. Other daemons on
    /// the store may ask the same; that one of them has asked tells neither since when, nor whether it was answered.
    async fn missed_since(&self, senders: &[SenderName]) -> Result<Option<Missed>, Error> {
        let open = self.parts.store.quiet(Timestamp::MAX, &[], MAX_OPEN).await?;
        let known = senders.iter().cloned();
        let all: BTreeSet<_> = known.chain(open.into_iter().map(|record| record.signing.sender)).collect();
        let deaf = self.parts.deafness.take(self.parts.clock.uptime());
        Ok(deaf.map(|since| Missed { since: earlier(since, MARGIN), senders: all.into_iter().collect() }))
    }

    /// Asks for every envelope that has changed since then, of the senders that have any open. Whoever has
    /// been asked is taken from the list, and whoever failed for now comes last the next time.
    async fn catch_up(&self, missed: &mut Missed) -> Result<(), Error> {
        // All of them, whenever they were heard of, and by whatever clock.
        let open = self.parts.store.quiet(Timestamp::MAX, &[], MAX_OPEN).await?;
        let is_all = u32::try_from(open.len()).is_ok_and(|count| count < MAX_OPEN);
        missed.senders.retain(|sender| !is_all || open.iter().any(|record| record.signing.sender == *sender));
        let mut failed = Vec::new();
        while let Some(sender) = missed.senders.pop_front() {
            match self.changes_of(&sender, missed.since).await {
                Ok(changed) => {
                    tracing::info!(sender = %sender, changed, "caught up with what happened since {}", missed.since);
                }
                Err(error) if is_for_good(&error) => {
                    tracing::warn!(sender = %sender, error = %chain(&error), "cannot be asked what changed; found as quiet later");
                }
                Err(error) => failed.push((sender, error)),
            }
            if failed.len() >= MAX_FAILURES {
                break;
            }
        }
        let mut last = Ok(());
        for (sender, error) in failed {
            missed.senders.push_back(sender);
            last = Err(error);
        }
        last
    }

    async fn changes_of(&self, sender: &SenderName, since: Timestamp) -> Result<usize, Error> {
        let acting = self.parts.esign.acting(sender).await?;
        let (mut start, mut changed) = (0, 0);
        for _ in 0..MAX_PAGES {
            let since = Since::Changed(since);
            let page = self.parts.esign.list_changes(&acting, since, start, self.at_leisure()).await?;
            for seen in &page.seen {
                let Some(record) = self.parts.store.signing_by_envelope(&seen.envelope).await? else {
                    continue;
                };
                changed += usize::from(self.heard(&record.signing, seen).await?);
            }
            let Some(next) = page.next else { break };
            start = next;
        }
        Ok(changed)
    }

    /// Looks at the signings of these envelopes, which their caller is about to list, if one of them is quiet. Then that
    /// was their one list in 15 minutes (rule B3): the caller's own is [`Error::PollingBudget`], and what it would have told
    /// is in the signings. It goes on if the caller, who waits so long, hangs up: a look that is broken off has been had.
    pub async fn look_before(&self, listed: &[EnvelopeId], wait: Duration) -> Result<(), Error> {
        let now = self.parts.clock.now();
        let mut open = self.parts.store.signings_of_envelopes(listed).await?;
        open.retain(|record| record.signing.status == SigningStatus::Open);
        // Those that are not quiet yet are asked about with them, or each would have another of the caller's lists refused.
        open.sort_by_key(|record| last_asked_at(&record.signing, now));
        open.truncate(MAX_LISTED);
        let quiet_since = earlier(now, self.quiet_after());
        if open.first().is_none_or(|record| last_asked_at(&record.signing, now) >= quiet_since) {
            return Ok(());
        }
        let this = self.clone();
        let look = Box::pin(async move { this.look_at_all(open, quiet_since).await });
        if self.aside_within(wait, "a look before a caller's list", look).await? == 0 {
            return Ok(());
        }
        self.parts.esign.budget().held_back(Rule::Polling);
        Err(Error::PollingBudget { retry_at: later(self.parts.clock.now(), INTERVAL) })
    }

    /// Asks about signings, each sender's by its own list, if one of them is quiet; answers about how many. A sender that
    /// cannot be asked is passed over, and so are signings that are quiet in an account that theirs has left: nothing is
    /// learnt of those, and the caller's list, by a sender that can, is no worse for it.
    async fn look_at_all(&self, records: Vec<Record>, quiet_since: Timestamp) -> Result<usize, Error> {
        let now = self.parts.clock.now();
        let is_quiet =
            |signings: &[Signing]| signings.iter().any(|signing| last_asked_at(signing, now) < quiet_since);
        let mut looks = self.looks(records).await;
        looks.sort_by_key(|(_, signings)| !is_quiet(signings));
        let mut asked = 0;
        for (acting, signings) in &looks {
            // For those that are not quiet alone the caller's list is not refused.
            if asked == 0 && !is_quiet(signings) {
                break;
            }
            match self.ask_about(acting, signings).await {
                Ok(count) => asked += count,
                Err(Error::Upstream(error)) => {
                    tracing::warn!(sender = %acting.sender, error = %chain(&error), "cannot look before a caller's list");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(asked)
    }

    /// By which senders these signings can be asked about, each with its own: those in the account that it acts in.
    async fn looks(&self, records: Vec<Record>) -> Vec<(Arc<Acting>, Vec<Signing>)> {
        let mut looks = Vec::new();
        for (sender, records) in by_sender(records) {
            let acting = match self.parts.esign.acting(&sender).await {
                Ok(acting) => acting,
                Err(error) => {
                    tracing::warn!(%sender, error = %chain(&error), "cannot look before a caller's list");
                    continue;
                }
            };
            let is_there =
                |signing: &Signing| signing.account.as_ref().is_none_or(|account| *account == acting.account);
            let signings: Vec<_> =
                records.into_iter().map(|record| record.signing).filter(is_there).collect();
            looks.push((acting, signings));
        }
        looks
    }

    /// After how long without a word an open signing is asked about here.
    fn quiet_after(&self) -> Duration {
        let has_events = self.parts.settings.events_to.as_ref().is_some_and(|to| to.general.is_some());
        let is_told = has_events && !self.parts.deafness.is_wary(self.parts.clock.uptime());
        if is_told { QUIET } else { QUIET_WITHOUT_EVENTS }
    }

    async fn ask_about_quiet(&self) {
        let quiet = self.quiet_after();
        let mut round = Round::default();
        for _ in 0..MAX_BATCHES {
            match self.reconcile(quiet, &mut round).await {
                Ok(0) => return,
                Ok(_) if round.failures >= MAX_FAILURES => return,
                Ok(_) => {}
                Err(error) => {
                    return tracing::warn!(error = %chain(&error), "quiet signings could not be asked about");
                }
            }
        }
    }

    /// Asks about open signings that were neither checked nor heard of for `quiet`, one list call for many.
    /// Answers how many it found; none if another daemon is asking about all of them. A sender that fails is passed
    /// over for the rest of the round.
    async fn reconcile(&self, quiet: Duration, round: &mut Round) -> Result<usize, Error> {
        let quiet = SignedDuration::try_from(quiet).unwrap_or_default();
        let before = self.parts.clock.now().saturating_sub(quiet).unwrap_or(Timestamp::MIN);
        let limit = u32::try_from(MAX_LISTED).unwrap_or(u32::MAX);
        let records = self.parts.store.quiet(before, &round.failed, limit).await?;
        let found = records.len();
        let mut is_all_others = true;
        for (sender, records) in by_sender(records) {
            let signings: Vec<_> = records.into_iter().map(|record| record.signing).collect();
            let asked = match self.parts.esign.acting(&sender).await {
                Ok(acting) => self.ask_about(&acting, &signings).await,
                Err(error) => Err(error.into()),
            };
            match asked {
                Ok(asked) => is_all_others &= asked == 0,
                Err(error) => {
                    tracing::warn!(sender = %sender, error = %chain(&error), "cannot ask about quiet signings");
                    is_all_others = false;
                    round.failures += usize::from(!is_for_good(&error));
                    round.failed.push(sender);
                }
            }
        }
        Ok(if is_all_others { 0 } else { found })
    }

    /// Asks about a sender's signings by one list; answers about how many.
    async fn ask_about(&self, acting: &Acting, signings: &[Signing]) -> Result<usize, Error> {
        let mut envelopes: Vec<_> = signings.iter().filter_map(|signing| signing.envelope.clone()).collect();
        // Another daemon looks at the same signings: what it is just asking about is not asked about twice.
        let claimed = Now::read(&*self.parts.clock);
        let others = self.parts.esign.budget().claim_listing(&envelopes, claimed).await?;
        envelopes.retain(|envelope| !others.contains(envelope));
        if envelopes.is_empty() {
            return Ok(0);
        }
        let since = Since::Ids(&envelopes);
        let page = match self.parts.esign.list_changes(acting, since, 0, self.at_leisure()).await {
            Ok(page) => page,
            Err(error) => {
                // The vendor limits no lists: whoever looks next may ask again.
                self.parts.esign.budget().return_listing(&envelopes, claimed).await?;
                return Err(error.into());
            }
        };
        let is_others = |signing: &&Signing| signing.envelope.as_ref().is_some_and(|it| others.contains(it));
        for signing in signings.iter().filter(|signing| !is_others(signing)) {
            // First: a stop may come between the two.
            if let Some(seen) = page.of(signing.envelope.as_ref()) {
                self.heard(signing, seen).await?;
            }
            // Also one that the list does not have: it must not stand before the others for ever.
            self.change(signing.id, Durability::Flushed, |signing, now| {
                signing.checked_at = Some(now);
                Ok(Vec::new())
            })
            .await?;
        }
        Ok(envelopes.len())
    }

    /// Takes in what a list says of a signing; answers whether that changed it.
    async fn heard(&self, signing: &Signing, seen: &esign::Seen) -> Result<bool, Error> {
        let after = self.take_in(signing.id, &seen.facts(&signing.signers), None).await?;
        Ok(after.sequence != signing.sequence)
    }
}

/// When the upstream was last asked about a signing by itself, or that was asked for. What is in the future was noted by a
/// clock that has been set back since, and tells nothing.
fn last_asked_at(signing: &Signing, now: Timestamp) -> Timestamp {
    // `created_at` is by the upstream's clock.
    let begun_at = signing.history.first().map_or(signing.created_at, |moment| moment.at);
    let at = signing.checked_at.unwrap_or(begun_at);
    if at > later(now, MARGIN) { Timestamp::MIN } else { at }
}

/// Whether a sender lacks something that no second try gives it.
pub(super) fn is_for_good(error: &Error) -> bool {
    matches!(error, Error::Upstream(error) if !error.retryable())
}
