//! One attempt at a create, and what its outcome means (rules E1, E2).

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;

use crate::{
    audit::Act,
    budget::Deadline,
    clock::later,
    domain::{
        AccountId, Draft, Event, Happened, LiveView, NewSigner, Private, Signer, SignerId, Signing,
        SigningId, signing::Happening,
    },
    esign::{self, Created as CreatedEnvelope, Doubt, EnvelopeSigner, NewEnvelope, RejectionKind, SmsCheck},
    objects::show::{self, ShownView},
    signing::{
        AT_LEISURE, Error, Save, Signings,
        create::{Created, Job, LEASE, Told, failure, is_outage},
        ending::{patient, upkeep},
        views::{Minting, VIEW_LIFE},
    },
    store::{self, Durability, KeptAnswer, Payload, Record, Version, Work},
    telemetry::chain,
};

/// How long after an ambiguous outcome the first look-up comes.
const FIRST_LOOK: Duration = Duration::from_secs(1);
/// The longest wait between attempts. An uncertain create must be decided within 20 s of the upstream
/// answering again, of which the look-ups take 12.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// The wait of a create that somebody stands before.
const IN_FRONT: Duration = Duration::from_secs(1);
/// What is left of a lease when nothing may be sent any more.
const MARGIN: Duration = Duration::from_secs(5);
/// How long an outcome is kept in memory while the store is away. The call took at most 60 s of the lease.
const KEEP_SAVING: Duration = Duration::from_secs(25);
const SAVE_AGAIN: Duration = Duration::from_millis(500);

/// What one attempt came to.
#[derive(Debug)]
pub(super) enum Outcome {
    /// Surely nothing was made, and the caller can be told why: consent, a limit.
    Impossible(esign::Error),
    /// Surely nothing was made, because the upstream was not reached. It may be later.
    NotReached(esign::Error),
    /// The envelope exists.
    Opened { account: AccountId, created: CreatedEnvelope, view: Option<MintedView> },
    /// The upstream refused the envelope for good.
    Refused(esign::Error),
    /// Nobody knows whether the envelope exists.
    Unknown(esign::Error),
    /// It was not sent: the lease on it is over or nearly, so that it may be in somebody else's hands.
    Lost,
}

/// That a create is finished whatever happens was promised, and is written down.
#[derive(Debug)]
pub(super) struct Promised {
    pub(super) signing: Signing,
    pub(super) version: Version,
    pub(super) lease: Timestamp,
}

/// A view that was minted right after the create.
#[derive(Debug)]
pub(super) struct MintedView {
    signer: SignerId,
    url: Private<String>,
    at: Timestamp,
    trace: Option<String>,
}

impl Signings {
    /// Posts the envelope and, if the draft wants one and time is left, mints the first view. The way back
    /// from it hangs on the job's links, which go into the same answer.
    pub(super) async fn attempt(&self, acting: &esign::Acting, job: &Job, until: Duration) -> Outcome {
        let (signing, draft) = (&job.signing, &job.draft);
        let workflow = match self.sms_workflow(acting, job).await {
            Ok(workflow) => workflow,
            Err(outcome) => return outcome,
        };
        if let Err(error) =
            self.announce(Act::EnvelopeCreate, signing, &signing.transaction_id.to_string()).await
        {
            return Outcome::NotReached(error);
        }
        let Some(deadline) = self.while_held(job) else {
            tracing::warn!(signing.id = %signing.id, "not sent: its lease is over, and somebody else has it");
            return Outcome::Lost;
        };
        let id = signing.id.to_string();
        let envelope = self.envelope(signing, draft, &id, workflow.as_deref());
        match self.parts.esign.create_envelope(acting, &envelope, deadline).await {
            Ok(created) => {
                self.parts.breaker.answered(1);
                let view = self.first_view(acting, job, &created, until).await;
                Outcome::Opened { account: acting.account.clone(), created, view }
            }
            Err(error) => self.came_to(error),
        }
    }

    /// What a call came to that was refused or not answered; what it says of the upstream is noted.
    fn came_to(&self, error: esign::Error) -> Outcome {
        let is_local = error.is_local();
        let outcome = Outcome::of(error);
        match outcome {
            _ if is_local => {}
            Outcome::NotReached(_) | Outcome::Unknown(_) => {
                self.parts.breaker.failed(self.parts.clock.uptime());
            }
            _ => self.parts.breaker.answered(1),
        }
        outcome
    }

    /// What sends the codes, if somebody signs after one. Whatever goes wrong with it, no envelope was asked for yet.
    async fn sms_workflow(&self, acting: &esign::Acting, job: &Job) -> Result<Option<Arc<str>>, Outcome> {
        if job.draft.signers.iter().all(|signer| signer.sms.is_none()) {
            return Ok(None);
        }
        let deadline = self.while_held(job).ok_or(Outcome::Lost)?;
        let found = Box::pin(self.parts.esign.sms_workflow(acting, deadline)).await;
        found.map(Some).map_err(|error| match self.came_to(error) {
            Outcome::Unknown(error) => Outcome::NotReached(error),
            outcome => outcome,
        })
    }

    /// How long a create may be under way: it must have ended when others may take it up. None: it is too
    /// late to begin.
    fn while_held(&self, job: &Job) -> Option<Deadline> {
        let left = job.held_until.saturating_sub(self.parts.clock.uptime()).saturating_sub(MARGIN);
        (!left.is_zero()).then(|| Deadline::within(&*self.parts.clock, left.min(AT_LEISURE)))
    }

    /// A view that cannot be had is no failure of the create: the caller gets one later.
    async fn first_view(
        &self,
        acting: &esign::Acting,
        job: &Job,
        created: &CreatedEnvelope,
        until: Duration,
    ) -> Option<MintedView> {
        let Job { signing, draft, links, .. } = job;
        let signer = signing.signers.iter().min_by_key(|signer| signer.order).filter(|_| draft.view)?;
        let left = until.saturating_sub(self.parts.clock.uptime());
        if left.is_zero() {
            return None;
        }
        // With too little time left for what a view usually takes, none is asked for.
        let (at, deadline) = (self.parts.clock.now(), self.within(left));
        let link = links.iter().find(|shown| shown.link.signer == signer.id).map(|shown| shown.link.id);
        let minted =
            self.mint(acting, signing, &created.envelope, signer, Minting { link, at, deadline }).await;
        self.count_view(minted.as_ref().err());
        match minted {
            Ok(view) => Some(MintedView { signer: signer.id, url: view.url, at, trace: view.trace }),
            Err(error) => {
                tracing::warn!(signing.id = %signing.id, error = %chain(&error), "no view after the create");
                None
            }
        }
    }

    /// Writes the outcome down, and says what to tell.
    pub(super) async fn settle(&self, job: &mut Job, outcome: Outcome) -> Told {
        let told = match outcome {
            Outcome::Opened { account, created, view } => self.opened(job, account, created, view).await,
            Outcome::Refused(error) => self.refused(job, &error).await,
            Outcome::Impossible(error) => self.impossible(job, error).await,
            Outcome::NotReached(error) => self.queued(job, &error).await,
            Outcome::Unknown(error) => match self.doubted(job, &error).await {
                Ok(()) => return Told::Uncertain,
                Err(error) => Err(error),
            },
            Outcome::Lost => Err(Error::conflict()),
        };
        match told {
            // Somebody else took it up meanwhile, and writes the end of it.
            Err(error) if error.is_conflict() => match self.hand_over(job).await {
                Ok(()) => Told::Uncertain,
                Err(error) => Told::Ended(Err(error)),
            },
            told => Told::Ended(told),
        }
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
            match self.save_with(&mut signing, from, save.clone()).await {
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
        view: Option<MintedView>,
    ) -> Result<Created, Error> {
        let now = self.parts.clock.now();
        let signing = &mut job.signing;
        let happened = signing.open(account, created.envelope);
        let told = signing.history.len();
        let events = self.narrate(signing, &happened);
        if let Some(opened) = signing.history.get_mut(told) {
            opened.trace = created.trace;
        }
        let view = view.map(|view| note_view(signing, view, now));
        let body = show::signing(signing, view.as_slice(), &job.links);
        // Whoever was told "accepted" has seen no view, and neither has who asked for one that could not be had: the
        // next call that finds it open gets one, and that answer is the one to keep.
        let is_whole = !job.accepted && (view.is_some() || !job.draft.view);
        let answer = is_whole.then(|| KeptAnswer { status: 201, body: Private::new(body.clone()) });
        let save = Save {
            // What nobody was promised is not kept with its intent, so there is nothing to look for.
            payload: if job.accepted { Payload::Drop } else { Payload::Keep },
            answer,
            // Losing this to a power cut costs a look-up, not an envelope: the intent is synced.
            ..Save::plain(happened, upkeep(signing), Durability::Flushed)
        };
        job.version = Box::pin(self.save_surely(signing, (job.version, job.lease), events, save)).await?;
        tracing::info!(signing.id = %signing.id, "signing opened at {now}");
        Ok(Created::Made { signing: signing.id, body, replayed: false })
    }

    async fn refused(&self, job: &mut Job, error: &esign::Error) -> Result<Created, Error> {
        let failure = failure(error);
        let happened = job.signing.fail(failure.clone());
        let work = upkeep(&job.signing);
        self.end(job, happened, work, Payload::Drop).await?;
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
            match self.parts.store.forget(id, job.version).await {
                Err(store::Error::Conflict) => {
                    let written = self.under_way(id).await?;
                    if !is_held(&written, job.version, job.lease) {
                        return Err(Error::conflict());
                    }
                    job.version = written.version;
                }
                forgotten => break forgotten?,
            }
        }
        self.parts.hub.changed(id);
        Err(Error::Upstream(error))
    }

    async fn queued(&self, job: &mut Job, error: &esign::Error) -> Result<Created, Error> {
        let now = self.parts.clock.now();
        job.signing.posted_at = None;
        job.signing.missing_since = None;
        note_queued(&mut job.signing, now, error);
        // What the upstream has refused costs a call each time, and waits for a person.
        let usual = if error.rejection().is_some() { patient } else { backoff };
        let wait = error.retry_after(now).unwrap_or_else(|| usual(job.attempts));
        job.attempts += 1;
        let attempts = job.attempts;
        let is_next = job.front.is_some() && is_outage(error);
        let wait = if is_next { wait.min(IN_FRONT) } else { wait };
        let work = wait_in_line(job.front, later(now, wait), attempts);
        self.end(job, Vec::new(), Some(work), payload(job)).await?;
        job.accepted = true;
        self.parts.due.notify_one();
        tracing::warn!(signing.id = %job.signing.id, code = error.code(), error = %chain(error), "create queued: it cannot be sent now");
        Ok(Created::Accepted { signing: job.signing.id, body: show::signing(&job.signing, &[], &job.links) })
    }

    async fn doubted(&self, job: &mut Job, error: &esign::Error) -> Result<(), Error> {
        let now = self.parts.clock.now();
        let happened = job.signing.doubt();
        job.signing.missing_since = None;
        job.attempts += 1;
        let wait = FIRST_LOOK.max(backoff(job.attempts.saturating_sub(1)));
        let work = Work { due_at: later(now, wait), leased_until: None, attempts: job.attempts };
        tracing::warn!(signing.id = %job.signing.id, code = error.code(), "the outcome of a create is unknown");
        // If that fails, the intent is on disk all the same, and recovery takes it up when the lease ends.
        self.end(job, happened, Some(work), payload(job)).await?;
        job.accepted = true;
        self.parts.due.notify_one();
        Ok(())
    }

    async fn end(
        &self,
        job: &mut Job,
        happened: Vec<Happening>,
        work: Option<Work>,
        payload: Payload,
    ) -> Result<(), Error> {
        let save = Save { payload, ..Save::plain(happened, work, Durability::Synced) };
        let events = self.narrate(&mut job.signing, &save.happened);
        let held = (job.version, job.lease);
        job.version = Box::pin(self.save_surely(&mut job.signing, held, events, save)).await?;
        Ok(())
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
        let give_up = self.parts.clock.uptime().saturating_add(KEEP_SAVING);
        let mut is_repeated = false;
        loop {
            match self.write(signing, from, events.clone(), save.clone()).await {
                Ok(version) => return Ok(version),
                Err(Error::Store(store::Error::Unavailable(_))) if self.parts.clock.uptime() < give_up => {
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

    /// What the upstream is to make.
    fn envelope<'a>(
        &'a self,
        signing: &'a Signing,
        draft: &'a Draft,
        id: &'a str,
        workflow: Option<&'a str>,
    ) -> NewEnvelope<'a> {
        let events = self.parts.settings.events_to.as_ref().and_then(|to| to.address(&signing.sender));
        NewEnvelope {
            subject: draft.subject.as_deref(),
            message: draft.message.as_deref(),
            documents: &draft.documents,
            signers: signing
                .signers
                .iter()
                .zip(&draft.signers)
                .map(|(signer, new)| recipient(signer, new, workflow))
                .collect(),
            transaction_id: signing.transaction_id,
            signing_id: id,
            expires_after_days: draft.expires_in.map(days),
            events,
            locale: draft.locale.as_deref(),
        }
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

/// Says in the timeline that a create waits, the first time that it does.
pub(super) fn note_queued(signing: &mut Signing, now: Timestamp, error: &esign::Error) {
    if !signing.history.iter().any(|moment| moment.what == Happened::CreateQueued) {
        signing.remember(now, Happened::CreateQueued, None, error.trace().map(str::to_owned));
    }
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

impl Outcome {
    /// What an error says about whether the envelope exists.
    fn of(error: esign::Error) -> Self {
        match error.doubt() {
            Doubt::Yes => Self::Unknown(error),
            Doubt::No if is_definite(&error) => Self::Refused(error),
            Doubt::No if is_outage(&error) => Self::NotReached(error),
            Doubt::No => Self::Impossible(error),
        }
    }
}

/// Whether the request itself was refused, so that repeating it can never succeed. What is wrong with the
/// account or the sender can be mended, and then the same call with the same key should succeed.
fn is_definite(error: &esign::Error) -> bool {
    use RejectionKind as Kind;
    if matches!(error, esign::Error::Invalid(_)) {
        return true;
    }
    error.rejection().is_some_and(|kind| {
        !matches!(
            kind,
            Kind::AllowanceExceeded
                | Kind::FeatureMissing
                | Kind::NotInAccount
                | Kind::PermissionMissing
                | Kind::SmsUnavailable
                | Kind::Unauthorized
                | Kind::WrongEnvironment
        )
    })
}

/// The upstream counts whole days; the caller's own, shorter end is kept by the link.
fn days(life: Duration) -> u32 {
    u32::try_from(life.as_secs().div_ceil(86_400)).unwrap_or(u32::MAX)
}

fn recipient<'a>(signer: &'a Signer, new: &'a NewSigner, workflow: Option<&'a str>) -> EnvelopeSigner<'a> {
    EnvelopeSigner {
        key: &signer.key,
        recipient_id: &signer.recipient_id,
        client_user_id: &signer.client_user_id,
        name: &signer.name,
        email: signer.email.reveal(),
        role: signer.role.as_deref(),
        order: signer.order,
        sms: new.sms.as_ref().zip(workflow).map(|(phone, workflow)| SmsCheck { phone, workflow }),
        access_code: new.access_code.as_ref().map(|code| code.reveal().as_str()),
        fields: new.fields.reveal(),
    }
}

/// Notes a view in a signing that is being written down now, which is when its timeline says that it opened.
fn note_view(signing: &mut Signing, view: MintedView, now: Timestamp) -> ShownView {
    let until = later(view.at, VIEW_LIFE);
    signing.live_view = Some(LiveView { clicked: false, signer: view.signer, minted_at: view.at, until });
    signing.remember(now, Happened::ViewMinted, Some(view.signer), view.trace);
    ShownView { signer: view.signer, url: view.url, expires_at: until }
}

/// 1, 2, 4, then 5 seconds.
pub(super) fn backoff(attempts: u32) -> Duration {
    Duration::from_secs(1 << attempts.min(3)).min(LONGEST_WAIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An accepted create that can never be sent must end, and not be tried until its key lapses.
    #[test]
    fn what_can_never_be_sent_is_refused_for_good() {
        let too_large = esign::Error::Invalid("it is larger than the upstream takes");
        assert!(matches!(Outcome::of(too_large), Outcome::Refused(_)));
        assert!(matches!(Outcome::of(esign::Error::Deadline), Outcome::NotReached(_)));
    }
}
