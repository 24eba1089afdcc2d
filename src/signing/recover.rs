//! The one task that finishes what was begun: creates that wait for the upstream, creates whose outcome
//! nobody knows, and creates of a daemon that died (rules E2, E4, E5). It also runs at start, and hands
//! over what has come due for signings that exist ([`ending`](super::ending)).
//!
//! A create with `posted_at` set may exist. It is looked up by transaction id, and again after a while,
//! because the upstream's list may lag; then once more by the hidden custom field; only then is it posted
//! again. How long the list may lag nobody has promised, so a create that was sent twice is looked for later
//! on, and what came to light twice is voided ([`twins`](super::twins)). One that its daemon has left behind,
//! with nobody promised anything, is not sent again unless its caller repeats it; it is looked for as late, and
//! then forgotten. Creates of a sender that cannot act wait together, and keep nobody else's waiting. Work is
//! claimed with a lease, so that several daemons share it and take over from the dead; nothing is sent when the
//! lease is nearly over.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use futures_util::StreamExt as _;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::{
    clock::{earlier, later},
    domain::{
        AccountId, Draft, EnvelopeId, Failure, Happened, SenderName, Signing, TemplateNames, TransactionId,
    },
    esign,
    objects::parse_create,
    signing::{
        Error, Save, Signings,
        breaker::Admitted,
        create::{Job, LEASE, is_outage},
        ending::upkeep,
        is_settled,
        settle::{backoff, note_queued, wait_in_line},
        twins,
        views::front,
    },
    store::{Durability, Payload, Record, Version, Work},
    telemetry::chain,
};

/// How many signings one round claims; look-ups are batched by sender within it.
const BATCH: u32 = 64;
/// How long look-ups must have found nothing before the create is posted again.
const MISSING_FOR: Duration = Duration::from_secs(10);
/// How far before our own time of the create a list may start: clocks differ.
pub(super) const LOOK_BACK: Duration = Duration::from_secs(24 * 3_600);
/// Last looks, one for each create, that go on beside each other.
const LAST_LOOKS: usize = 8;
/// The pause between look-ups of one create.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// The pause where only an operator can help.
const ELSEWHERE: Duration = Duration::from_secs(60);
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
        loop {
            self.parts.documents.let_go(self.parts.clock.uptime());
            match self.round(&templates).await {
                Ok(0) => {}
                Ok(_) => continue,
                Err(error) => tracing::warn!(error = %chain(&error), "recovery cannot read the store"),
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
        let claimed = self.parts.store.claim(now, later(now, LEASE), room).await?;
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
                let _ = this.tend(record).await;
                drop(turn);
            });
        }
    }

    async fn put_off(&self, record: Record) -> Result<(), Error> {
        let Record { mut signing, version, work, .. } = record;
        let due_at = later(self.parts.clock.now(), PUT_OFF.mul_f64(1.0 + fastrand::f64()));
        let attempts = work.map_or(0, |work| work.attempts);
        let work = Some(Work { due_at, leased_until: None, attempts });
        ignore_conflict(self.save(&mut signing, version, Vec::new(), work, Durability::Flushed).await)
    }

    /// Looks up what may exist: one call for all creates of a sender. Each sender's in a task of its own,
    /// because one call that the upstream leaves hanging must not keep all others waiting.
    fn look_up_all(&self, doubtful: Vec<Record>, admitted: &mut Admitted) {
        for (sender, records) in by_sender(doubtful) {
            let this = self.clone();
            let of_these = admitted.split(records.len());
            self.parts.life.spawn_work("look up creates", async move {
                this.look_up(&sender, records).await;
                drop(of_these);
            });
        }
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

    /// The same for creates of a sender that can act, each in a task of its own.
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
        tokio::select! {
            biased;
            able = able => able.unwrap_or(Err(esign::Error::Deadline)),
            () = self.parts.clock.sleep(TOKEN_WITHIN) => Err(esign::Error::Deadline),
        }
    }

    /// Creates of a sender that cannot act wait, the longer the more often it could not.
    async fn wait_for_sender(&self, sender: &SenderName, records: Vec<Record>, error: &esign::Error) {
        tracing::warn!(
            sender = %sender, creates = records.len(), code = error.code(), error = %chain(error),
            "creates stay queued: their sender cannot act"
        );
        for record in records {
            note(self.stay_queued(record, error).await);
        }
    }

    async fn stay_queued(&self, record: Record, error: &esign::Error) -> Result<(), Error> {
        let now = self.parts.clock.now();
        let place = place_in_line(&record);
        let Record { mut signing, version, work, .. } = record;
        if self.is_too_late(&signing) {
            return self.give_up(signing, version, too_late()).await;
        }
        note_queued(&mut signing, now, error);
        let attempts = work.map_or(0, |work| work.attempts);
        let round = next_round(&signing.sender, attempts, now);
        // Somebody stands before it.
        let until = if place.is_some() { round.min(later(now, LOOK_AGAIN)) } else { round };
        let work = Some(wait_in_line(place, until, attempts.saturating_add(1)));
        ignore_conflict(self.save(&mut signing, version, Vec::new(), work, Durability::Flushed).await)
    }

    async fn look_up(&self, sender: &SenderName, records: Vec<Record>) {
        match self.find(sender, &records).await {
            Ok((acting, found)) => {
                self.parts.breaker.answered(records.len());
                let each = futures_util::stream::iter(records).for_each_concurrent(LAST_LOOKS, |record| {
                    let (acting, found) = (&acting, &found);
                    async move { note(self.looked_up(acting, record, found).await) }
                });
                each.await;
            }
            Err(error) => {
                tracing::warn!(sender = %sender, code = error.code(), "cannot look up uncertain creates");
                let is_outage = is_outage(&error);
                if is_outage && !error.is_local() {
                    self.parts.breaker.failed(self.parts.clock.uptime());
                }
                // After an outage lists lag, so what was not found before it says little; one call that fails among
                // others that are answered is no outage, and must not put decisions off for ever.
                let is_away = self.parts.breaker.is_open();
                for record in records {
                    if !is_outage && is_lapsing(&record.signing, self.parts.clock.now()) {
                        note(self.give_up(record.signing, record.version, never_known()).await);
                        continue;
                    }
                    let missing_since = record.signing.missing_since.filter(|_| !is_away);
                    let attempts = record.work.map_or(0, |work| work.attempts);
                    // A proxy that says "in two hours" must not decide when doubts end; a limit must.
                    let told = error.retry_after(self.parts.clock.now()).filter(|_| !is_outage);
                    let usual = if is_outage { backoff(attempts) } else { ELSEWHERE };
                    let wait = told.unwrap_or(usual);
                    note(self.postpone(record, wait, missing_since).await);
                }
            }
        }
    }

    async fn find(
        &self,
        sender: &SenderName,
        records: &[Record],
    ) -> Result<(Arc<esign::Acting>, HashMap<TransactionId, Vec<EnvelopeId>>), esign::Error> {
        let acting = self.parts.esign.acting(sender).await?;
        let ids: Vec<_> = records.iter().map(|record| record.signing.transaction_id).collect();
        let mut found: HashMap<TransactionId, Vec<EnvelopeId>> = HashMap::new();
        for one in self.parts.esign.find(&acting, &ids, self.at_leisure()).await? {
            let made_by = |id: &&TransactionId| {
                one.transaction_id.as_deref().is_some_and(|text| text.eq_ignore_ascii_case(&id.to_string()))
            };
            if let Some(id) = ids.iter().find(made_by) {
                found.entry(*id).or_default().push(one.envelope);
            }
        }
        Ok((acting, found))
    }

    async fn looked_up(
        &self,
        acting: &esign::Acting,
        record: Record,
        found: &HashMap<TransactionId, Vec<EnvelopeId>>,
    ) -> Result<(), Error> {
        if record.signing.account.as_ref().is_some_and(|posted_to| *posted_to != acting.account) {
            return self.elsewhere(record, acting).await;
        }
        if let Some(envelopes) = found.get(&record.signing.transaction_id).filter(|found| !found.is_empty()) {
            return self.found(acting, record, envelopes.clone()).await;
        }
        let now = self.parts.clock.now();
        let missing_since = record.signing.missing_since.unwrap_or(now);
        let missing_for = Duration::try_from(now.duration_since(missing_since)).unwrap_or_default();
        if missing_for < MISSING_FOR {
            return self.postpone(record, LOOK_AGAIN, Some(missing_since)).await;
        }
        // The last look, by the other mark, right before the create may be sent again.
        let id = record.signing.id.to_string();
        let since = earlier(record.signing.created_at, LOOK_BACK);
        match self.parts.esign.find_by_signing(acting, &id, since, self.at_leisure()).await {
            Ok(found) if !found.is_empty() => {
                self.found(acting, record, found.into_iter().map(|one| one.envelope).collect()).await
            }
            Ok(_) => self.surely_missing(record).await,
            Err(error) => {
                tracing::warn!(signing.id = %record.signing.id, code = error.code(), "the last look-up failed");
                self.postpone(record, LOOK_AGAIN, Some(missing_since)).await
            }
        }
    }

    async fn found(
        &self,
        acting: &esign::Acting,
        record: Record,
        envelopes: Vec<EnvelopeId>,
    ) -> Result<(), Error> {
        let mut signing = record.signing;
        let mut envelopes = envelopes.into_iter();
        let Some(envelope) = envelopes.next() else { return Ok(()) };
        if envelopes.next().is_some() {
            tracing::error!(signing.id = %signing.id, "two envelopes of one create: the second is looked for, and voided");
            signing.repeated_at = Some(self.parts.clock.now());
            signing.twins_sought = 0;
        }
        signing.doubt();
        signing.remember(self.parts.clock.now(), Happened::Found, None, None);
        let happened = signing.open(acting.account.clone(), envelope);
        let plain = Save::plain(happened, upkeep(&signing), Durability::Synced);
        let save = Save { payload: Payload::Drop, ..plain };
        tracing::info!(signing.id = %signing.id, "an uncertain create was found");
        ignore_conflict(self.save_with(&mut signing, record.version, save).await)
    }

    /// The sender acts in another account by now. There, nothing of this create can be found, and it must not
    /// be sent a second time: only an operator can tell which account is meant.
    async fn elsewhere(&self, record: Record, acting: &esign::Acting) -> Result<(), Error> {
        if is_lapsing(&record.signing, self.parts.clock.now()) {
            return self.give_up(record.signing, record.version, never_known()).await;
        }
        let signing = &record.signing;
        tracing::error!(
            signing.id = %signing.id, sender = %signing.sender,
            posted_to = signing.account.as_ref().map(AccountId::as_str),
            acts_in = acting.account.as_str(),
            "the outcome of a create can only be found in the account it was sent to: set the sender back to that"
        );
        self.postpone(record, ELSEWHERE, None).await
    }

    /// It was looked up long enough: as far as can be seen it does not exist. Now it may be posted again.
    async fn surely_missing(&self, record: Record) -> Result<(), Error> {
        if self.parts.store.payload(record.signing.id).await?.is_none() {
            return self.look_later(record).await;
        }
        let now = self.parts.clock.now();
        let mut signing = record.signing;
        signing.posted_at = None;
        signing.missing_since = None;
        signing.repeated_at = Some(now);
        signing.twins_sought = 0;
        let work = Work::at(now);
        tracing::info!(signing.id = %signing.id, "an uncertain create does not exist: it is posted again");
        let saved = self.save(&mut signing, record.version, Vec::new(), Some(work), Durability::Synced).await;
        ignore_conflict(saved)
    }

    /// Its daemon died, and nobody was promised anything or has asked again. The upstream may still work on it, or list
    /// it late: then it is this signing's, also if the caller has repeated the call meanwhile, who has it finished at
    /// once (`revive`). When it was looked for often enough, the key is free.
    async fn look_later(&self, mut record: Record) -> Result<(), Error> {
        let missing_since = record.signing.missing_since;
        let posted_at = record.signing.posted_at.unwrap_or(Timestamp::MIN);
        if self.parts.clock.now() < later(posted_at, LEASE) {
            return self.postpone(record, LOOK_AGAIN, missing_since).await;
        }
        let Some(pause) = twins::pause_after(record.signing.twins_sought) else {
            tracing::info!(signing.id = %record.signing.id, "a create that nobody was promised does not exist: forgotten");
            let forgotten = self.parts.store.forget(record.signing.id, record.version).await;
            return ignore_conflict(forgotten.map_err(Error::from));
        };
        record.signing.twins_sought += 1;
        self.postpone(record, pause, missing_since).await
    }

    async fn postpone(
        &self,
        record: Record,
        wait: Duration,
        missing_since: Option<Timestamp>,
    ) -> Result<(), Error> {
        let mut signing = record.signing;
        let happened = signing.doubt();
        signing.missing_since = missing_since;
        let attempts = record.work.map_or(0, |work| work.attempts).saturating_add(1);
        let due_at = later(self.parts.clock.now(), wait);
        let work = Work { due_at, leased_until: None, attempts };
        let saved = self.save(&mut signing, record.version, happened, Some(work), Durability::Flushed).await;
        ignore_conflict(saved)
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
            return ignore_conflict(
                self.parts.store.forget(record.signing.id, record.version).await.map_err(Error::from),
            );
        };
        let now = self.parts.clock.now();
        let front = place_in_line(&record);
        let mut signing = record.signing;
        if self.is_too_late(&signing) {
            return self.give_up(signing, record.version, too_late()).await;
        }
        let body = payload.into_inner();
        let attempts = record.work.map_or(0, |work| work.attempts);
        let Ok(draft) = parse_create(&body, templates) else {
            if now >= later(signing.created_at, HEARD) {
                return self.give_up(signing, record.version, unreadable()).await;
            }
            // The daemon that took it may have been told the template's name a moment before, and we not yet.
            let work = Work { due_at: later(now, LOOK_AGAIN), leased_until: None, attempts };
            let durability = Durability::Flushed;
            let saved = self.save(&mut signing, record.version, Vec::new(), Some(work), durability);
            return ignore_conflict(saved.await);
        };
        signing.posted_at = Some(now);
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
        let outcome = self.attempt(acting, &job, Duration::MAX).await;
        let _ = self.settle(&mut job, outcome).await;
        Ok(())
    }

    /// Whether nobody can want it any more: the caller's own end has come, whatever this machine's clock says, or its
    /// key is about to lapse.
    fn is_too_late(&self, signing: &Signing) -> bool {
        is_lapsing(signing, self.parts.clock.now())
            || signing.expires_at.is_some_and(|end| end <= self.corrected_now())
    }

    /// It will never be sent.
    async fn give_up(&self, mut signing: Signing, from: Version, why: Failure) -> Result<(), Error> {
        let happened = signing.fail(why);
        let plain = Save::plain(happened, upkeep(&signing), Durability::Synced);
        let save = Save { payload: Payload::Drop, ..plain };
        ignore_conflict(self.save_with(&mut signing, from, save).await)
    }
}

/// Each sender's.
fn by_sender(records: Vec<Record>) -> BTreeMap<SenderName, Vec<Record>> {
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

/// The settings have lost what the request needs, such as a template.
fn unreadable() -> Failure {
    Failure::ours(
        "invalid_request",
        "the request no longer fits the settings; a template it names may be gone",
    )
}

/// Whether the envelope exists can be learned no more.
fn never_known() -> Failure {
    Failure::ours(
        "outcome_unknown",
        "the sender has lost its way to the account for days, so nobody knows whether DocuSign made the envelope: \
         look for it there before you make another",
    )
}

fn too_late() -> Failure {
    Failure::ours(
        "invalid_request",
        "DocuSign could not be reached before the time of this signing was over; make a new one",
    )
}

/// Whether its key is about to lapse, and the same call would make another.
fn is_lapsing(signing: &Signing, now: Timestamp) -> bool {
    later(signing.created_at, LONGEST_TRY) <= now
}

/// One record that cannot be saved must not keep the others of its round waiting for their leases to end.
fn note(done: Result<(), Error>) {
    if let Err(error) = done {
        tracing::warn!(error = %chain(&error), "recovery cannot save; it tries again when the lease ends");
    }
}

/// Nobody waits for a view of a create that is finished out of sight; one is minted when it is asked for.
fn without_view(draft: Draft) -> Draft {
    Draft { view: false, ..draft }
}

/// Somebody else has the newer record, and with it the work.
fn ignore_conflict<T>(result: Result<T, Error>) -> Result<(), Error> {
    match result {
        Err(error) if !error.is_conflict() => Err(error),
        _ => Ok(()),
    }
}
