//! The create: intent on disk, then one post, driven by a task of its own.
//!
//! The caller may hang up at any moment; what was begun goes on. The caller's deadline only decides
//! what they are told: the outcome, or `202` once everything that a later attempt needs is on disk.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use jiff::Timestamp;
use tokio::sync::oneshot;

use crate::{
    clock::{Deadline, later},
    domain::{
        AccountId, CallerName, Draft, Failure, MomentKind, Private, Signer, SignerId, SignerStatus, Signing,
        SigningId, SigningStatus, TransactionId, Upstream,
    },
    esign,
    objects::show::{self, ShownLink},
    signing::{Error, LOOK_FOR_OTHERS, Signings, Turn, breaker::Admitted, is_settled, settle::Promised},
    store::{self, Begun, Digest, Intent, Version, Work},
};

/// How long a daemon holds a create before others may take it over. Longer than any upstream call.
pub(super) const LEASE: Duration = Duration::from_secs(90);

/// How long after the caller's deadline a store that is away may keep them waiting for any answer at all, or an account
/// server for a refusal, and what a view of a late answer is given whatever is left of their time.
pub(super) const GRACE: Duration = Duration::from_secs(2);

/// A create as it is asked for.
#[derive(Debug)]
pub struct Ask {
    /// Who asks.
    pub caller: CallerName,
    /// What for.
    pub draft: Draft,
    /// The request as it came: what a later attempt reads again.
    pub body: Bytes,
    /// The digest of the idempotency key, scoped to the caller.
    pub key: Digest,
    /// The digest of the request.
    pub request: Digest,
    /// How long the caller waits for the outcome.
    pub wait: Duration,
}

/// What a create is answered with.
#[derive(Debug, Clone)]
pub enum Created {
    /// It is on disk, and will be finished; the outcome was not known in time.
    Accepted {
        /// The signing.
        signing: SigningId,
        /// Our JSON.
        body: Bytes,
    },
    /// The envelope exists.
    Made {
        /// The signing.
        signing: SigningId,
        /// Our JSON.
        body: Bytes,
        /// Whether an earlier call with the same key made it.
        replayed: bool,
    },
}

/// A create under way: what the driving task holds.
#[derive(Debug, Clone)]
pub(super) struct Job {
    pub(super) signing: Signing,
    pub(super) version: Version,
    pub(super) draft: Draft,
    pub(super) body: Bytes,
    pub(super) links: Vec<ShownLink>,
    /// Whether someone was promised that it will be finished; then the payload is on disk.
    pub(super) accepted: bool,
    pub(super) attempts: u32,
    /// The end of the lease that is written down: whoever takes it up writes another.
    pub(super) lease: Option<Timestamp>,
    /// The uptime at which the lease is over: nothing may be sent then, because others may take it up.
    pub(super) held_until: Duration,
    /// Its place in line, if somebody stands before it and it was put first.
    pub(super) front: Option<Timestamp>,
}

/// What the driving task tells the caller.
#[derive(Debug)]
pub(super) enum Told {
    /// The end of it.
    Ended(Result<Created, Error>),
    /// Nobody knows yet whether the envelope exists. The links are the job's, for whoever waits until it is known.
    Uncertain(Vec<ShownLink>),
}

/// Tells the caller, if they have not been told yet; they may have hung up.
pub(super) fn say(tell: Option<oneshot::Sender<Told>>, told: Told) {
    if let Some(tell) = tell {
        let _ = tell.send(told);
    }
}

impl Signings {
    /// Creates a signing, or tells what an earlier call with the same key has made (rules E1 to E4). Who has the turn at its
    /// key hands it over: that is over once it is written down what the key makes, or that it makes nothing.
    pub async fn create(&self, ask: Ask, turn: Option<Turn>) -> Result<Created, Error> {
        let until = Deadline::within(&*self.parts.clock, ask.wait);
        self.create_until(ask, until, turn).await
    }

    /// Creates a signing as [`create`](Self::create) does, with what is left of the caller's time.
    pub(super) async fn create_until(
        &self,
        ask: Ask,
        until: Deadline,
        turn: Option<Turn>,
    ) -> Result<Created, Error> {
        let acting = match self.may_go_at_once(&ask) {
            Some(admitted) => self.can_act(&ask, until).await.map(|acting| acting.map(|it| (it, admitted))),
            None => self.check_before_line(&ask.draft, until).await.map(|()| None),
        };
        let acting = match acting {
            Ok(acting) => acting,
            // A refusal that has nothing to do with the key must not hide what the key has made.
            Err(refusal) => {
                drop(turn);
                return Box::pin(self.known_or(ask, until, refusal)).await;
            }
        };
        if acting.is_none()
            && let Err(refusal) = self.admit_to_queue().await
        {
            drop(turn);
            return Box::pin(self.known_or(ask, until, refusal)).await;
        }
        let now = self.parts.clock.now();
        let held_until = self.parts.clock.uptime().saturating_add(LEASE);
        let (signing, links) = self.intend(&ask, now, acting.as_ref().map(|(acting, _)| &acting.account));
        let leased_until = acting.is_some().then(|| later(now, LEASE));
        let intent = Intent {
            signing,
            key: ask.key,
            request: ask.request,
            links: links.iter().map(|shown| shown.link.clone()).collect(),
            payload: acting.is_none().then(|| Private::new(ask.body.clone())),
            work: Work { leased_until, ..Work::at(leased_until.unwrap_or(now)) },
        };
        let begun = self.in_time(until, self.parts.store.begin(&intent)).await;
        drop(turn);
        let version = match begun? {
            Begun::Known(record) => return Box::pin(self.repeat(*record, ask, until)).await,
            Begun::New(version) => version,
        };
        let signing = intent.signing;
        let Some((acting, admitted)) = acting else {
            self.note_kept();
            return Box::pin(self.queued_at_once(signing, links, ask, until)).await;
        };
        let job = Job {
            signing,
            version,
            draft: ask.draft,
            body: ask.body,
            links,
            accepted: false,
            attempts: 0,
            lease: leased_until,
            held_until,
            front: None,
        };
        Box::pin(self.drive(job, acting, admitted, until)).await
    }

    /// Whether a create is sent by whoever asks for it, and not by recovery in its turn.
    fn may_go_at_once(&self, ask: &Ask) -> Option<Admitted> {
        if ask.wait.is_zero() {
            return None;
        }
        self.parts.breaker.admit_new(self.parts.clock.uptime())
    }

    /// It stands in line, behind those who came before. While the line moves, the caller waits for their turn.
    async fn queued_at_once(
        &self,
        signing: Signing,
        links: Vec<ShownLink>,
        ask: Ask,
        until: Deadline,
    ) -> Result<Created, Error> {
        self.parts.due.notify_one();
        if !ask.wait.is_zero() && self.parts.breaker.is_behind() {
            return Box::pin(self.until_settled(signing.id, ask.draft.view, links, until)).await;
        }
        let body = show::signing(&signing, &[], &links);
        Ok(Created::Accepted { signing: signing.id, body })
    }

    /// A store that hangs must not hold the caller for longer than they want to wait. What it was asked to
    /// write may be written all the same, as after a crash, and recovery treats it so.
    pub(super) async fn in_time<T>(
        &self,
        until: Deadline,
        work: impl Future<Output = Result<T, store::Error>>,
    ) -> Result<T, Error> {
        let done = until.plus(GRACE).hold(&*self.parts.clock, work).await;
        Ok(done.unwrap_or_else(|| {
            Err(store::Error::Unavailable("it did not answer in the caller's time".into()))
        })?)
    }

    /// The sender, if it can act right now. `Ok(None)`: not now, but by itself later.
    async fn can_act(&self, ask: &Ask, until: Deadline) -> Result<Option<Arc<esign::Acting>>, Error> {
        let able = async {
            self.check_roles(&ask.draft, None).await?;
            let acting = self.parts.esign.acting(&ask.draft.sender).await?;
            Ok(self.check_addresses(acting, &ask.draft, until).await?)
        };
        // An account server that stalls must not hold the caller for longer than they want to wait.
        match until.hold(&*self.parts.clock, able).await {
            Some(Ok(acting)) => Ok(Some(acting)),
            Some(Err(Error::Upstream(error))) if is_outage(&error) => Ok(None),
            Some(Err(error)) => Err(error),
            None => Ok(None),
        }
    }

    async fn known_or(&self, ask: Ask, until: Deadline, refusal: Error) -> Result<Created, Error> {
        match self.in_time(until, self.parts.store.signing_by_key(&ask.caller, ask.key)).await? {
            Some(record) => Box::pin(self.repeat(record, ask, until)).await,
            None => Err(refusal),
        }
    }

    /// Refuses what would make the queue of a dead upstream too long.
    async fn admit_to_queue(&self) -> Result<(), Error> {
        if self.parts.store.unsettled().await? >= self.parts.settings.queue_limit {
            return Err(Error::Busy { retry_after: Duration::from_secs(30) });
        }
        Ok(())
    }

    /// The signing as it is written down before the upstream hears of it.
    fn intend(&self, ask: &Ask, now: Timestamp, posted_to: Option<&AccountId>) -> (Signing, Vec<ShownLink>) {
        let draft = &ask.draft;
        // What is judged by the upstream's time begins by it, lest a clock that is mended ends it early.
        let dated = self.corrected_now();
        let mut signing = Signing {
            id: SigningId::generate(now),
            caller: ask.caller.clone(),
            mode: self.parts.settings.mode,
            sender: draft.sender.clone(),
            reference: draft.reference.clone(),
            status: SigningStatus::Creating,
            transaction_id: TransactionId::generate(),
            posted_at: posted_to.map(|_| now),
            missing_since: None,
            repeated_at: None,
            twins_sought: 0,
            account: posted_to.cloned(),
            envelope: None,
            signers: signers(draft, now),
            metadata: draft.metadata.clone(),
            locale: draft.locale.clone(),
            frame_ancestors: draft.frame_ancestors.clone(),
            failure: None,
            last_try: None,
            limited_until: None,
            live_view: None,
            checked_at: None,
            sequence: 0,
            history: Vec::new(),
            created_at: dated,
            completed_at: None,
            expires_at: draft.expires_in.map(|life| later(dated, life)),
            purge_requested_at: None,
            purge_scope: None,
            purged_at: None,
        };
        signing.remember(now, MomentKind::AskedFor, None, None);
        if posted_to.is_none() {
            signing.remember(now, MomentKind::CreateQueued, None, None);
        }
        let links = self.new_links(&signing, dated);
        (signing, links)
    }

    /// Hands a begun create to a task of its own, and waits for what it tells.
    async fn drive(
        &self,
        job: Job,
        acting: Arc<esign::Acting>,
        admitted: Admitted,
        until: Deadline,
    ) -> Result<Created, Error> {
        let id = job.signing.id;
        let view = job.draft.view;
        let (tell, told) = oneshot::channel();
        // Boxed where it begins: it is large, and would be copied from hand to hand on its way to the runtime.
        let work = Box::pin(self.clone().run(job, acting, admitted, until, tell));
        self.parts.life.spawn_boxed("create", work);
        match until.plus(GRACE).hold(&*self.parts.clock, told).await {
            Some(Ok(Told::Ended(result))) => result,
            Some(Ok(Told::Uncertain(links))) => Box::pin(self.until_settled(id, view, links, until)).await,
            // Either way the intent is on disk, and is finished.
            Some(Err(_)) => Err(self.broken_off()),
            None => {
                Err(Error::Store(store::Error::Unavailable("the outcome is not written down yet".into())))
            }
        }
    }

    /// The driving task: one attempt, an acceptance if the caller's time runs out first, and the first view.
    async fn run(
        self,
        mut job: Job,
        acting: Arc<esign::Acting>,
        admitted: Admitted,
        until: Deadline,
        tell: oneshot::Sender<Told>,
    ) {
        let mut tell = Some(tell);
        let mut accepted = None;
        let outcome = {
            let attempt = self.attempt(&acting, &job, Some(until));
            tokio::pin!(attempt);
            let in_time = until.hold(&*self.parts.clock, attempt.as_mut()).await;
            if let Some(outcome) = in_time {
                outcome
            } else {
                let told = self.accept(&job).await.map(|promised| {
                    self.note_kept();
                    accepted = Some(promised);
                    let body = show::signing(&job.signing, &[], &job.links);
                    Created::Accepted { signing: job.signing.id, body }
                });
                say(tell.take(), Told::Ended(told));
                attempt.await
            }
        };
        if let Some(Promised { signing, version, lease }) = accepted {
            (job.signing, job.version, job.lease, job.accepted) = (signing, version, Some(lease), true);
        }
        if let Some(outcome) = self.with_view(&acting, &job, outcome, until, &mut tell).await {
            let told = self.settle(&mut job, outcome).await;
            say(tell, told);
        }
        drop(admitted);
    }

    /// Waits for a create that is not in this task's hands, until it is settled or the time is up.
    pub(super) async fn until_settled(
        &self,
        id: SigningId,
        view: bool,
        links: Vec<ShownLink>,
        until: Deadline,
    ) -> Result<Created, Error> {
        let mut watcher = self.parts.hub.watch(id);
        loop {
            let Some(record) = self.parts.store.signing(id).await? else {
                // Whoever took it up has given it up: to this caller nothing was promised, and the same call begins anew.
                return Err(Error::conflict());
            };
            if is_settled(record.signing.status) {
                return Box::pin(self.answer_late(record, view, links, false, until)).await;
            }
            let left = until.left(self.parts.clock.uptime());
            if left.is_zero() {
                let body = show::signing(&record.signing, &[], &links);
                return Ok(Created::Accepted { signing: id, body });
            }
            watcher.changed_within(&*self.parts.clock, left.min(LOOK_FOR_OTHERS)).await;
        }
    }
}

/// The signers of a draft, with what makes them embedded recipients.
fn signers(draft: &Draft, now: Timestamp) -> Vec<Signer> {
    (1_u32..)
        .zip(&draft.signers)
        .map(|(number, new)| {
            let id = SignerId::generate(now);
            Signer {
                id,
                key: new.key.clone(),
                status: SignerStatus::Waiting,
                order: new.order,
                name: new.name.clone(),
                email: new.email.clone(),
                recipient_id: number.to_string(),
                client_user_id: id.to_string(),
                role: new.role.clone(),
                return_url: new.return_url.clone(),
                authenticated_by: new.authenticated_by.clone(),
                sms_auth: new.sms.is_some(),
                last_return: None,
                upstream: Upstream::default(),
            }
        })
        .collect()
}

/// What a refusal of the upstream is to the caller, as it is kept with the signing.
pub(super) fn failure(error: &esign::Error) -> Failure {
    let said = error.said();
    Failure {
        code: error.code().to_owned(),
        detail: detail(error),
        provider_code: said.as_ref().and_then(|said| said.code.clone()),
        provider_status: said.as_ref().map(|said| said.status),
        provider_trace: said.and_then(|said| said.trace),
    }
}

/// What an error says to a caller: its own layer, and below the refusal's words, which are ours.
pub fn detail(error: &esign::Error) -> String {
    match error {
        esign::Error::Auth(cause) => cause.in_full(),
        esign::Error::CheckSpent { error: cause, .. } => format!("{}; {error}", detail(cause)),
        esign::Error::Rejected(rejection) => rejection.to_string(),
        other => other.to_string(),
    }
}

/// Whether it heals by itself and has nothing to do with a limit, so that a create may wait for it. A refusal is an
/// answer, also one that heals: that it is not yet somebody's turn says that the upstream is well.
pub(super) fn is_outage(error: &esign::Error) -> bool {
    error.retryable() && !matches!(error, esign::Error::Limited { .. } | esign::Error::Rejected(_))
}
