//! The one task that finishes what was begun: creates that wait for the upstream, creates whose outcome
//! nobody knows, and creates of a daemon that died (rules E2, E4, E5). It also runs at start.
//!
//! What may exist it hands over to be looked up ([`look_ups`](super::look_ups)), and what has come due for signings
//! that exist to be tended ([`ending`](super::ending)); what surely does not exist it sends. Creates of a sender that
//! cannot act wait together, and keep nobody else's waiting. Work is claimed with a lease, so that several daemons
//! share it and take over from the dead.
//!
//! It must never send a create that was claimed with `posted_at` set, nor anything when the lease is nearly over, and never end one
//! because its time is over by this machine's clock alone.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::{
    clock::{Deadline, earlier, later},
    domain::{Draft, Failure, SenderName, Signing, TemplateNames, signing::News},
    esign,
    objects::{Invalids, parse_accepted},
    signing::{
        Error, Save, Signings,
        breaker::Admitted,
        create::{Job, LEASE},
        in_line::front,
        is_settled,
        settle::{note_queued, too_late, wait_in_line},
    },
    store::{Durability, Payload, Record, Version, Work},
    telemetry::{
        chain,
        lasting_trouble::{LastingTrouble, Say},
    },
};

/// How many signings one round claims; look-ups are batched by sender within it.
const BATCH: u32 = 64;
/// The pause between look-ups of one create, and before another try of one that others hold up.
pub(super) const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// How long creates wait for a sender that has no token at hand: meanwhile they take up room of others.
const TOKEN_WITHIN: Duration = Duration::from_secs(3);
/// The longest wait for a sender that cannot act is 2 to this power of seconds: one that can act again is to be noticed
/// within a minute or so, and its token is asked for by nobody more often than that.
const LONGEST_ROUND: u32 = 6;
/// How long an accepted create is tried. Idempotency keys live a day longer (rule E3).
const LONGEST_TRY: Duration = Duration::from_secs(6 * 24 * 3_600);

/// Signings that are tended at once.
pub(super) const TENDED: usize = 8;
/// How long others of them are put off, and up to twice as long, so that they do not all come back together.
const PUT_OFF: Duration = Duration::from_secs(10);
/// By then every daemon has heard what a caller called a template of a sender that it made.
const HEARD: Duration = Duration::from_secs(60);

impl Signings {
    /// Runs until the stop. `templates` are what templates are called, to read payloads with.
    pub async fn recover(self, templates: Arc<TemplateNames>, stopping: CancellationToken) {
        let trouble = LastingTrouble::default();
        // However much is due: what is not claimed is there for the next start.
        while !stopping.is_cancelled() {
            self.parts.documents.let_go(self.parts.clock.uptime());
            let done = self.round(&templates).await;
            match trouble.note(&done, self.parts.clock.uptime()) {
                Some(Say::Fails(error)) => {
                    tracing::warn!(error = %chain(error), "recovery cannot read the store: trying again");
                }
                Some(Say::Over(lasted)) => {
                    tracing::info!(seconds = lasted.as_secs(), "recovery reads the store again");
                }
                None => {}
            }
            if done.is_ok_and(|count| count > 0) {
                continue;
            }
            tokio::select! {
                biased;
                () = stopping.cancelled() => return,
                () = self.parts.due.notified() => {}
                () = self.parts.clock.sleep(self.parts.settings.look_every) => {}
            }
        }
    }

    /// One round: claims what is due, as far as the breaker gives room, and works on it. Answers how much
    /// that was.
    pub async fn round(&self, templates: &Arc<TemplateNames>) -> Result<usize, Error> {
        let (now, uptime) = (self.parts.clock.now(), self.parts.clock.uptime());
        let room = self.parts.breaker.room(uptime).min(BATCH);
        if room == 0 {
            return Ok(0);
        }
        let claimed = self.parts.store.claim(self.claimed_up_to(now), later(now, LEASE), room).await?;
        let count = claimed.len();
        let (settled, unsettled): (Vec<_>, Vec<_>) =
            claimed.into_iter().partition(|record| is_settled(record.signing.status));
        // Creates of a sender that cannot act are no line that others have to stand in.
        let can_go = |record: &Record| self.parts.esign.ready(&record.signing.sender).is_some();
        self.parts.breaker.fell_behind(unsettled.len() == room as usize && unsettled.iter().any(can_go));
        self.tend_all(settled).await;
        // Upkeep of what has its envelope is no try of a create, and must not use up the one after an outage.
        if !unsettled.is_empty() {
            let mut admitted = self.parts.breaker.take_up(uptime, unsettled.len());
            let (doubtful, queued): (Vec<_>, Vec<_>) =
                unsettled.into_iter().partition(|record| record.signing.posted_at.is_some());
            self.look_up_all(doubtful, &mut admitted);
            self.post_all(queued, &mut admitted, uptime, templates);
        }
        Ok(count)
    }

    /// Until when work must have come due. A daemon whose audit log cannot be written can make nothing of it, and would be
    /// the first at it again and again: its own pause is a multiple of the time between two looks. So it leaves what
    /// comes due to one beside it that can, for two looks of that one. One that is alone loses that much.
    fn claimed_up_to(&self, now: Timestamp) -> Timestamp {
        match self.audit().trouble() {
            Some(_) => earlier(now, self.parts.settings.look_every * 2),
            None => now,
        }
    }

    /// Tends what has its envelope, a few at once: after a long stop thousands may have come due, and none of them
    /// has anybody waiting. The others are put off, so that creates behind them have their turn.
    async fn tend_all(&self, settled: Vec<Record>) {
        for record in settled {
            let Ok(turn) = Arc::clone(&self.parts.tending).try_acquire_owned() else {
                note(self.put_off(record).await);
                continue;
            };
            let this = self.clone();
            self.parts.life.spawn_work("tend a signing", async move {
                // Whatever was not done comes again when the lease ends.
                note(ignore_conflict(this.tend(record).await));
                drop(turn);
            });
        }
    }

    async fn put_off(&self, record: Record) -> Result<(), Error> {
        let Record { signing, version, work, .. } = record;
        let due_at = later(self.parts.clock.now(), PUT_OFF.mul_f64(1.0 + fastrand::f64()));
        let attempts = work.map_or(0, |work| work.attempts);
        let work = Work { due_at, leased_until: None, attempts };
        self.put_back(signing, version, Vec::new(), work).await
    }

    /// Sends what surely does not exist, and was claimed at `since`, if its sender can act. That is found out once for
    /// all creates of a sender, before any of them is read or written down.
    fn post_all(
        &self,
        queued: Vec<Record>,
        admitted: &mut Admitted,
        since: Duration,
        templates: &Arc<TemplateNames>,
    ) {
        for (sender, records) in by_sender(queued) {
            if let Some(acting) = self.parts.esign.ready(&sender) {
                self.post_each(&acting, records, admitted, since, templates);
                continue;
            }
            let (this, templates) = (self.clone(), Arc::clone(templates));
            let mut of_these = admitted.split(records.len());
            self.parts.life.spawn_work("create again", async move {
                match this.with_token(&sender).await {
                    Ok(acting) => this.post_each(&acting, records, &mut of_these, since, &templates),
                    Err(error) => this.wait_for_sender(&sender, records, &error).await,
                }
            });
        }
    }

    /// Sends creates of a sender that can act, each in a task of its own.
    fn post_each(
        &self,
        acting: &Arc<esign::Acting>,
        records: Vec<Record>,
        admitted: &mut Admitted,
        since: Duration,
        templates: &Arc<TemplateNames>,
    ) {
        for record in records {
            let (this, acting, templates) = (self.clone(), Arc::clone(acting), Arc::clone(templates));
            let of_this = admitted.split(1);
            self.parts.life.spawn_work("create again", async move {
                note(this.post_again(record, &acting, &templates, since).await);
                drop(of_this);
            });
        }
    }

    /// The sender, with a token at hand. An account server that stalls is not waited for.
    async fn with_token(&self, sender: &SenderName) -> Result<Arc<esign::Acting>, esign::Error> {
        let (this, sender) = (self.clone(), sender.clone());
        // To the end: the next round would begin it anew, and never come further than this one.
        let able = self.parts.life.outcome_of("make a sender ready", async move {
            let acting = this.parts.esign.acting(&sender).await?;
            this.parts.esign.can_act(&acting).await?;
            Ok(acting)
        });
        let within = Deadline::within(&*self.parts.clock, TOKEN_WITHIN);
        within.hold(&*self.parts.clock, able).await.flatten().unwrap_or(Err(esign::Error::Deadline))
    }

    /// Creates of a sender that cannot act wait, the longer the more often it could not.
    async fn wait_for_sender(&self, sender: &SenderName, records: Vec<Record>, error: &esign::Error) {
        tracing::warn!(
            sender = %sender, creates = records.len(), code = error.code(), error = %chain(error),
            "creates stay queued: their sender cannot act"
        );
        self.note_try(error);
        for record in records {
            note(self.stay_queued(record, error).await);
        }
    }

    async fn stay_queued(&self, record: Record, error: &esign::Error) -> Result<(), Error> {
        let now = self.parts.clock.now();
        let place = place_in_line(&record);
        let Record { mut signing, version, work, .. } = record;
        if self.is_too_late(&signing) {
            let why = too_late(&signing, Some(error));
            return self.give_up(signing, version, why).await;
        }
        note_queued(&mut signing, now, error);
        signing.limited_until = signing.limited_until.filter(|until| *until > now);
        let attempts = work.map_or(0, |work| work.attempts);
        let round = next_round(&signing.sender, attempts, now);
        // Somebody stands before it.
        let until = if place.is_some() { round.min(later(now, LOOK_AGAIN)) } else { round };
        let work = wait_in_line(place, until, attempts.saturating_add(1));
        self.put_back(signing, version, Vec::new(), work).await
    }

    /// Posts a create that surely does not exist; it was claimed at `since`.
    async fn post_again(
        &self,
        record: Record,
        acting: &esign::Acting,
        templates: &TemplateNames,
        since: Duration,
    ) -> Result<(), Error> {
        let Some(payload) = self.parts.store.payload(record.signing.id).await? else {
            // Nobody was promised anything, and nothing exists: the key is free for the repeated call.
            return ignore_conflict(self.forget(record.signing.id, record.version).await);
        };
        let now = self.parts.clock.now();
        let front = place_in_line(&record);
        let mut signing = record.signing;
        if self.is_too_late(&signing) {
            let why = too_late(&signing, None);
            return self.give_up(signing, record.version, why).await;
        }
        let body = payload.into_inner();
        let attempts = record.work.map_or(0, |work| work.attempts);
        let draft = match parse_accepted(&body, templates) {
            Ok(draft) => draft,
            Err(faults) if self.has_surely_come(later(signing.created_at, HEARD)) => {
                return self.give_up(signing, record.version, unreadable(&faults)).await;
            }
            // The daemon that took it may have been told the template's name a moment before, and we not yet.
            Err(_) => {
                let work = Work { due_at: later(now, LOOK_AGAIN), leased_until: None, attempts };
                return self.put_back(signing, record.version, Vec::new(), work).await;
            }
        };
        signing.posted_at = Some(now);
        signing.limited_until = None;
        signing.account = Some(acting.account.clone());
        let until = later(now, LEASE);
        let work = Work { due_at: until, leased_until: Some(until), attempts };
        let saved = self.save(&mut signing, record.version, Vec::new(), Some(work), Durability::Synced).await;
        let version = match saved {
            Ok(version) => version,
            Err(error) => return ignore_conflict::<()>(Err(error)),
        };
        let mut job = Job {
            signing,
            version,
            draft: without_view(draft),
            body,
            links: Vec::new(),
            accepted: true,
            attempts,
            lease: Some(until),
            held_until: since.saturating_add(LEASE),
            front,
        };
        let outcome = self.attempt(acting, &job, None).await;
        // What DocuSign said is written down; or that it cannot be is said there.
        let _ = self.settle(&mut job, outcome).await;
        Ok(())
    }

    /// Whether nobody can want it any more: the caller's own end has come, whatever this machine's clock says, or its
    /// key is about to lapse.
    fn is_too_late(&self, signing: &Signing) -> bool {
        let lapses = later(signing.created_at, LONGEST_TRY);
        self.has_surely_come(signing.expires_at.map_or(lapses, |end| end.min(lapses)))
    }

    /// Whether its key is about to lapse, and the same call would make another.
    pub(super) fn is_lapsing(&self, signing: &Signing) -> bool {
        self.has_surely_come(later(signing.created_at, LONGEST_TRY))
    }

    /// It will never be sent.
    pub(super) async fn give_up(
        &self,
        mut signing: Signing,
        from: Version,
        why: Failure,
    ) -> Result<(), Error> {
        let news = signing.fail(why);
        self.end_here(signing, from, news).await
    }

    /// Writes down that a create has come to its end: its request is kept no longer, and what is still to come for
    /// the signing has its time.
    pub(super) async fn end_here(
        &self,
        mut signing: Signing,
        from: Version,
        news: Vec<News>,
    ) -> Result<(), Error> {
        let plain = Save::plain(news, self.upkeep(&signing), Durability::Synced);
        let save = Save { payload: Payload::Drop, ..plain };
        ignore_conflict(self.save_with(&mut signing, from, save).await)
    }

    /// Puts work that was claimed back until its time.
    pub(super) async fn put_back(
        &self,
        mut signing: Signing,
        from: Version,
        news: Vec<News>,
        work: Work,
    ) -> Result<(), Error> {
        ignore_conflict(self.save(&mut signing, from, news, Some(work), Durability::Flushed).await)
    }
}

/// Each sender's.
pub(super) fn by_sender(records: Vec<Record>) -> BTreeMap<SenderName, Vec<Record>> {
    let mut by_sender: BTreeMap<SenderName, Vec<Record>> = BTreeMap::new();
    for record in records {
        by_sender.entry(record.signing.sender.clone()).or_default().push(record);
    }
    by_sender
}

/// The place in line of a create that somebody stands before.
fn place_in_line(record: &Record) -> Option<Timestamp> {
    record.work.map(|work| work.due_at).filter(|due_at| *due_at == front(&record.signing))
}

/// When a create whose sender cannot act is tried again: at the next whole 1, 2, 4, … 64 seconds of the sender's own
/// count. So all of a sender come back together, however long each has waited, and not with those of other senders.
fn next_round(sender: &SenderName, attempts: u32, now: Timestamp) -> Timestamp {
    let period = 1_000 << attempts.min(LONGEST_ROUND);
    let zero = sender.as_str().bytes().fold(0, |all, byte| (all * 31 + i64::from(byte)) % period);
    let passed = (now.as_millisecond() - zero).rem_euclid(period);
    later(now, Duration::from_millis((period - passed).unsigned_abs()))
}

/// What was accepted needs what is there no more, such as a template in the settings.
fn unreadable(faults: &Invalids) -> Failure {
    let first = faults.0.first();
    let why = first.map(|fault| format!(": {} {}", fault.pointer, fault.detail)).unwrap_or_default();
    Failure::ours("invalid_request", &format!("the request was accepted, and can no longer be read{why}"))
}

/// One record that cannot be saved must not keep the others of its round waiting for their leases to end.
pub(super) fn note(done: Result<(), Error>) {
    if let Err(error) = done {
        tracing::warn!(error = %chain(&error), "recovery cannot save; it tries again when the lease ends");
    }
}

/// Nobody waits for a view of a create that is finished out of sight; one is minted when it is asked for.
fn without_view(draft: Draft) -> Draft {
    Draft { view: false, ..draft }
}

/// Somebody else has the newer record, and with it the work.
pub(super) fn ignore_conflict<T>(result: Result<T, Error>) -> Result<(), Error> {
    match result {
        Err(error) if !error.is_conflict() => Err(error),
        _ => Ok(()),
    }
}
