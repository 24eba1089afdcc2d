//! What the outcome of an attempt at a create means, written down (rules E1, E2). The attempt itself is in
//! [`attempt`](super::attempt).
//!
//! It must never tell a caller what is not written down, and never write over the record of whoever has taken the create up
//! meanwhile: a conflict hands it over.

use std::time::Duration;

use jiff::Timestamp;

use crate::{
    clock::{Deadline, later},
    domain::{
        AccountId, Event, Failure, MomentKind, Private, SignerStatus, Signing, SigningId, signing::News,
    },
    esign::{self, Created as CreatedEnvelope},
    objects::show::{self, ShownView},
    signing::{
        Error, Save, Signings,
        attempt::Outcome,
        create::{Created, Job, LEASE, Told, failure, is_outage},
        ending::patient,
        first_view::{FirstView, MintedView},
        leases::{Opener, VIEW_LIFE, fresh},
    },
    store::{self, Durability, KeptAnswer, Payload, Record, Version, Work},
    telemetry::{chain, metrics},
};

/// How long after an ambiguous outcome the first look-up comes.
const FIRST_LOOK: Duration = Duration::from_secs(1);
/// The longest wait between attempts. An uncertain create must be decided within 20 s of the upstream
/// answering again, of which the look-ups take 12.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// The wait of a create that somebody stands before.
const IN_FRONT: Duration = Duration::from_secs(1);
/// How long an outcome is kept in memory while the store is away. The call took at most 60 s of the lease.
const KEEP_SAVING: Duration = Duration::from_secs(25);
const SAVE_AGAIN: Duration = Duration::from_millis(500);

/// That a create is finished whatever happens was promised, and is written down.
#[derive(Debug)]
pub(super) struct Promised {
    pub(super) signing: Signing,
    pub(super) version: Version,
    pub(super) lease: Timestamp,
}

impl Signings {
    /// Writes the outcome down, and says what to tell.
    pub(super) async fn settle(&self, job: &mut Job, outcome: Outcome) -> Told {
        let told = match outcome {
            Outcome::Opened { account, created, view } => self.opened(job, account, created, view).await,
            Outcome::Refused(error) => self.refused(job, &error).await,
            Outcome::Impossible(error) => self.impossible(job, error).await,
            Outcome::NotReached(error) => self.queued(job, &error).await,
            Outcome::Unknown(error) => match self.doubted(job, &error).await {
                Ok(()) => return Told::Uncertain(std::mem::take(&mut job.links)),
                Err(error) => Err(error),
            },
            Outcome::Lost => Err(Error::conflict()),
        };
        let told = match told {
            // Somebody else took it up meanwhile, and writes the end of it.
            Err(error) if error.is_conflict() => match self.hand_over(job).await {
                Ok(()) => return Told::Uncertain(std::mem::take(&mut job.links)),
                Err(error) => Err(error),
            },
            told => told,
        };
        if let Err(error @ Error::Store(_)) = &told {
            tracing::warn!(
                signing.id = %job.signing.id, error = %chain(error),
                "what became of a create cannot be written down: it is looked up when its lease ends"
            );
        }
        Told::Ended(told)
    }

    /// Puts on disk what a later attempt needs, so that the caller can be told "accepted".
    pub(super) async fn accept(&self, job: &Job) -> Result<Promised, Error> {
        let (mut signing, mut from) = (job.signing.clone(), job.version);
        let lease = later(self.parts.clock.now(), LEASE);
        let work = Work { due_at: lease, leased_until: Some(lease), attempts: job.attempts };
        let save = Save {
            payload: Payload::Put(Private::new(job.body.clone())),
            ..Save::plain(Vec::new(), Some(work), Durability::Synced)
        };
        loop {
            match self.write(&signing, from, &[], &save).await {
                Ok(version) => return Ok(Promised { signing, version, lease }),
                Err(error) if error.is_conflict() => {}
                Err(error) => return Err(error),
            }
            let written = self.under_way(signing.id).await?;
            // The answer to this very write may have been lost after its commit.
            if is_held(&written, from, Some(lease)) {
                return Ok(Promised { signing: written.signing, version: written.version, lease });
            }
            if !is_held(&written, from, job.lease) {
                return Err(Error::conflict());
            }
            signing.join_history(written.signing.history);
            from = written.version;
        }
    }

    async fn opened(
        &self,
        job: &mut Job,
        account: AccountId,
        created: CreatedEnvelope,
        view: FirstView,
    ) -> Result<Created, Error> {
        let now = self.parts.clock.now();
        let signing = &mut job.signing;
        // Before it is open, so that nobody is told that it is their turn.
        if let FirstView::Denied { signer, asked_at, .. } = &view {
            signing.deny_turn(*signer, SignerStatus::Waiting, *asked_at);
        }
        let news = signing.open(account, created.envelope);
        let told = signing.history.len();
        let events = self.narrate(signing, &news);
        if let Some(opened) = signing.history.get_mut(told) {
            opened.trace = created.trace;
        }
        let view = match view {
            FirstView::Coming(lease) => {
                signing.live_view = Some(lease);
                None
            }
            FirstView::Denied { signer, trace, .. } => {
                signing.remember(now, MomentKind::TurnDenied, Some(signer), trace);
                None
            }
            FirstView::Minted(view) => Some(note_view(signing, view, now)),
            FirstView::None => None,
        };
        let body = show::signing(signing, view.as_slice(), &job.links);
        // Whoever was told "accepted" has seen no view, and neither has who asked for one that could not be had: the
        // next call that finds it open gets one, and that answer is the one to keep. Or it is still to come.
        let is_whole = !job.accepted && (view.is_some() || !job.draft.view);
        let answer = is_whole.then(|| KeptAnswer { body: Private::new(body.clone()) });
        let save = Save {
            // What nobody was promised is not kept with its intent, so there is nothing to look for.
            payload: if job.accepted { Payload::Drop } else { Payload::Keep },
            answer,
            // Losing this to a power cut costs a look-up, not an envelope: the intent is synced.
            ..Save::plain(news, self.upkeep(signing), Durability::Flushed)
        };
        job.version = Box::pin(self.save_surely(signing, (job.version, job.lease), events, save)).await?;
        if !job.accepted {
            self.note_kept();
        }
        tracing::info!(signing.id = %signing.id, "signing opened at {now}");
        Ok(Created::Made { signing: signing.id, body, replayed: false })
    }

    async fn refused(&self, job: &mut Job, error: &esign::Error) -> Result<Created, Error> {
        let failure = failure(error);
        let news = job.signing.fail(failure.clone());
        let work = self.upkeep(&job.signing);
        self.end(job, news, work, Payload::Drop).await?;
        tracing::info!(signing.id = %job.signing.id, code = failure.code, "the upstream refused the envelope");
        Err(Error::Failed { failure, signing: job.signing.id, replayed: false })
    }

    /// Surely not made, and not the caller's fault for good: the key stays free, unless someone was
    /// promised the end of it.
    async fn impossible(&self, job: &mut Job, error: esign::Error) -> Result<Created, Error> {
        if job.accepted {
            return self.queued(job, &error).await;
        }
        let id = job.signing.id;
        loop {
            match self.forget(id, job.version).await {
                Err(error) if error.is_conflict() => {
                    let written = self.under_way(id).await?;
                    if !is_held(&written, job.version, job.lease) {
                        return Err(Error::conflict());
                    }
                    job.version = written.version;
                }
                forgotten => break forgotten?,
            }
        }
        Err(Error::Upstream(error))
    }

    async fn queued(&self, job: &mut Job, error: &esign::Error) -> Result<Created, Error> {
        let now = self.parts.clock.now();
        job.signing.posted_at = None;
        job.signing.missing_since = None;
        note_queued(&mut job.signing, now, error);
        // What the upstream has refused, or cannot check, costs a call at times, and waits for a person.
        let waits_for_a_person = error.rejection().is_some()
            || matches!(error, esign::Error::SmsAuthUnavailable | esign::Error::SmsToSender);
        let usual = if waits_for_a_person { patient } else { backoff };
        let wait = error.retry_after(now).unwrap_or_else(|| usual(job.attempts));
        job.attempts += 1;
        let most = if job.front.is_some() && is_outage(error) { IN_FRONT } else { Duration::MAX };
        let due_at = later(now, wait.min(most));
        // Whoever starts next has forgotten the limit, and all at once would go against it.
        job.signing.limited_until = matches!(error, esign::Error::Limited { .. }).then_some(due_at);
        let work = wait_in_line(job.front, due_at, job.attempts);
        self.end(job, Vec::new(), Some(work), payload(job)).await?;
        job.accepted = true;
        self.parts.due.notify_one();
        tracing::warn!(signing.id = %job.signing.id, code = error.code(), error = %chain(error), "create queued: it cannot be sent now");
        Ok(Created::Accepted { signing: job.signing.id, body: show::signing(&job.signing, &[], &job.links) })
    }

    async fn doubted(&self, job: &mut Job, error: &esign::Error) -> Result<(), Error> {
        let now = self.parts.clock.now();
        let news = job.signing.doubt();
        job.signing.missing_since = None;
        job.attempts += 1;
        let wait = FIRST_LOOK.max(backoff(job.attempts.saturating_sub(1)));
        let work = Work { due_at: later(now, wait), leased_until: None, attempts: job.attempts };
        tracing::warn!(signing.id = %job.signing.id, code = error.code(), "the outcome of a create is unknown");
        // If that fails, the intent is on disk all the same, and recovery takes it up when the lease ends.
        self.end(job, news, Some(work), payload(job)).await?;
        job.accepted = true;
        self.parts.due.notify_one();
        Ok(())
    }

    async fn end(
        &self,
        job: &mut Job,
        news: Vec<News>,
        work: Option<Work>,
        payload: Payload,
    ) -> Result<(), Error> {
        let save = Save { payload, ..Save::plain(news, work, Durability::Synced) };
        let events = self.narrate(&mut job.signing, &save.news);
        let held = (job.version, job.lease);
        job.version = Box::pin(self.save_surely(&mut job.signing, held, events, save)).await?;
        if !job.accepted {
            self.note_kept();
        }
        Ok(())
    }

    /// A create is kept from now on, whatever comes of it, so it has reached its first status: said once, by whoever promises
    /// it or writes its end down first. An intent alone may be withdrawn. One that recovery finds and nobody was promised is not
    /// counted here.
    pub(super) fn note_kept(&self) {
        self.parts.settings.metrics.signing_reached(metrics::SigningStatus::Creating);
    }

    /// Saves what the upstream has said, through a store that is away for a while: what is known now would
    /// have to be looked up again otherwise. It gives up in time for recovery to take over. What others wrote
    /// into the history meanwhile, who did not take it up, is kept.
    async fn save_surely(
        &self,
        signing: &mut Signing,
        (mut from, lease): (Version, Option<Timestamp>),
        events: Vec<Event>,
        save: Save,
    ) -> Result<Version, Error> {
        let give_up = Deadline::within(&*self.parts.clock, KEEP_SAVING);
        let mut is_repeated = false;
        loop {
            match self.write(signing, from, &events, &save).await {
                Ok(version) => return Ok(version),
                Err(Error::Store(store::Error::Unavailable(_)))
                    if !give_up.left(self.parts.clock.uptime()).is_zero() =>
                {
                    is_repeated = true;
                    self.parts.clock.sleep(SAVE_AGAIN).await;
                }
                Err(error) if error.is_conflict() => {
                    let record = self.under_way(signing.id).await?;
                    // The answer to an earlier attempt may have been lost after its commit.
                    if is_repeated && is_same_end(&record.signing, signing) {
                        *signing = record.signing;
                        return Ok(record.version);
                    }
                    if !is_held(&record, from, lease) {
                        return Err(Error::conflict());
                    }
                    signing.join_history(record.signing.history);
                    from = record.version;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The record of a create that is under way here. If it is gone, somebody else took it up and gave it up.
    async fn under_way(&self, id: SigningId) -> Result<Record, Error> {
        self.parts.store.signing(id).await?.ok_or_else(Error::conflict)
    }
}

/// Whether others have only changed a record since that version, and nobody has taken it up: the lease on it is
/// still this one.
fn is_held(written: &Record, from: Version, lease: Option<Timestamp>) -> bool {
    let is_ours = lease.is_some() && written.work.and_then(|work| work.leased_until) == lease;
    is_ours && written.version != from
}

/// Whether what is stored is what was to be saved, and nobody else's later change.
fn is_same_end(stored: &Signing, saved: &Signing) -> bool {
    let end = |signing: &Signing| {
        (
            signing.status,
            signing.sequence,
            signing.posted_at,
            signing.envelope.clone(),
            signing.failure.clone(),
        )
    };
    end(stored) == end(saved)
}

/// Says in the timeline that a create waits, the first time that it does; and keeps why it waits now, each time. If its
/// time runs out, that is what a caller has to know.
pub(super) fn note_queued(signing: &mut Signing, now: Timestamp, error: &esign::Error) {
    if !signing.history.iter().any(|moment| moment.what == MomentKind::CreateQueued) {
        signing.remember(now, MomentKind::CreateQueued, None, error.trace().map(str::to_owned));
    }
    if tells_why(error) {
        signing.last_try = Some(failure(error));
    }
}

/// Whether an error says what is in the way. That our own time for a try was too short says nothing of it.
pub(super) const fn tells_why(error: &esign::Error) -> bool {
    !matches!(error, esign::Error::Deadline)
}

/// The failure of a create that was never sent with success, and may not be sent any more: with what was in the way
/// at the last try, which is the one that ended with `last` or the one that was kept before.
pub(super) fn too_late(signing: &Signing, last: Option<&esign::Error>) -> Failure {
    const OVER: &str = "no envelope could be made before the time of this signing was over";
    let why = last.filter(|error| tells_why(error)).map(failure).or_else(|| signing.last_try.clone());
    if let Some(why) = why {
        return Failure { detail: format!("{OVER}; at the last try: {}", why.detail), ..why };
    }
    match noted_by_an_earlier_version(signing) {
        Some((code, provider_code)) => {
            let detail = format!("{OVER}; the last try ended with {code}");
            Failure { provider_code: provider_code.map(str::to_owned), ..Failure::ours(code, &detail) }
        }
        None => Failure::ours("invalid_request", &format!("{OVER}; make a new one")),
    }
}

/// What an earlier version kept of a last try: our code, and the upstream's, as a note in the timeline.
fn noted_by_an_earlier_version(signing: &Signing) -> Option<(&str, Option<&str>)> {
    let queued = signing.history.iter().find(|moment| moment.what == MomentKind::CreateQueued);
    let note = queued?.note.as_deref()?;
    Some(note.split_once(' ').map_or((note, None), |(code, of)| (code, Some(of))))
}

/// The work on a create that waits until then. Whoever stands before it keeps their place (`front`): it is the next
/// to find out that it can be sent again.
pub(super) fn wait_in_line(front: Option<Timestamp>, until: Timestamp, attempts: u32) -> Work {
    match front {
        Some(due_at) => Work { due_at, leased_until: Some(until), attempts },
        None => Work { due_at: until, leased_until: None, attempts },
    }
}

/// The payload goes to disk once, at the first promise.
fn payload(job: &Job) -> Payload {
    if job.accepted { Payload::Keep } else { Payload::Put(Private::new(job.body.clone())) }
}

/// Notes a view in a signing that is being written down now, which is when its timeline says that it opened.
fn note_view(signing: &mut Signing, view: MintedView, now: Timestamp) -> ShownView {
    signing.live_view = Some(fresh(view.signer, view.at, Opener::Caller));
    signing.remember(now, MomentKind::ViewMinted, Some(view.signer), view.trace);
    ShownView { signer: view.signer, url: view.url, expires_at: later(view.asked_at, VIEW_LIFE) }
}

/// 1, 2, 4, then 5 seconds.
pub(super) fn backoff(attempts: u32) -> Duration {
    Duration::from_secs(1 << attempts.min(3)).min(LONGEST_WAIT)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderMap, StatusCode};

    use super::*;
    use crate::domain::{SigningStatus, sample};

    #[test]
    fn a_create_whose_time_is_over_tells_what_was_in_the_way_at_the_last_try() {
        let mut signing = sample::signing(SigningStatus::Creating, SignerStatus::Waiting);
        let now = signing.created_at;
        assert_eq!(too_late(&signing, None).code, "invalid_request", "nobody knows");
        let unrecorded = too_late(&signing, Some(&esign::Error::Unrecorded));
        assert_eq!(unrecorded.code, "store_unavailable");
        note_queued(&mut signing, now, &esign::Error::Unrecorded);
        let before = signing.history.clone();
        note_queued(&mut signing, later(now, FIRST_LOOK), &esign::Error::SmsAuthUnavailable);
        note_queued(&mut signing, later(now, FIRST_LOOK), &esign::Error::Deadline);
        for last in [None, Some(&esign::Error::Deadline)] {
            let told = too_late(&signing, last);
            assert_eq!((told.code.as_str(), told.provider_code), ("sms_auth_unavailable", None));
            assert!(told.detail.contains("the time of this signing was over"), "{}", told.detail);
        }
        signing.join_history(before);
        assert_eq!(signing.history.len(), 1, "what was noted before is no other line");
        assert_eq!(too_late(&signing, None).code, "sms_auth_unavailable");
    }

    #[test]
    fn what_docusign_said_at_the_last_try_is_kept_with_it_whatever_the_timeline_says() {
        let mut signing = sample::signing(SigningStatus::Creating, SignerStatus::Waiting);
        let now = signing.created_at;
        let body = Bytes::from_static(br#"{"errorCode": "ENVELOPE_ALLOWANCE_EXCEEDED", "message": "no"}"#);
        let refused = esign::read_refusal(StatusCode::BAD_REQUEST, &HeaderMap::new(), body);
        note_queued(&mut signing, now, &refused);
        signing.history[0].note = Some("in other words".to_owned());
        let told = too_late(&signing, None);
        assert_eq!((told.code.as_str(), told.provider_status), ("quota_exceeded", Some(400)));
        assert_eq!(told.provider_code.as_deref(), Some("ENVELOPE_ALLOWANCE_EXCEEDED"));
        assert_eq!(told, too_late(&signing, Some(&refused)), "it is told as if it had just been tried");
        signing.fail(told);
        assert_eq!(signing.last_try, None, "it waits no more");
    }

    #[test]
    fn what_an_earlier_version_noted_of_the_last_try_is_read() {
        let mut signing = sample::signing(SigningStatus::Creating, SignerStatus::Waiting);
        let now = signing.created_at;
        signing.remember(now, MomentKind::CreateQueued, None, None);
        signing.history[0].note = Some("quota_exceeded ENVELOPE_ALLOWANCE_EXCEEDED".to_owned());
        let told = too_late(&signing, None);
        assert_eq!(told.code, "quota_exceeded");
        assert_eq!(told.provider_code.as_deref(), Some("ENVELOPE_ALLOWANCE_EXCEEDED"));
    }
}
