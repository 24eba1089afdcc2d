//! The one task that finishes what was begun: creates that wait for the upstream, creates whose outcome
//! nobody knows, and creates of a daemon that died (rules E2, E4, E5). It also runs at start, and hands
//! over what has come due for signings that exist ([`ending`](super::ending)).
//!
//! A create with `posted_at` set may exist. It is looked up by transaction id, and again after a while,
//! because the upstream's list may lag; then once more by the hidden custom field; only then is it posted
//! again. Work is claimed with a lease, so that several daemons share it and take over from the dead.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use futures_util::StreamExt as _;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::{
    domain::{Draft, EnvelopeId, SenderName, TransactionId},
    esign,
    objects::parse_create,
    signing::{
        Error, Save, Signings,
        create::{Job, LEASE, is_outage, later},
        ending::upkeep,
        is_settled,
        settle::backoff,
    },
    store::{Durability, Payload, Record, Version, Work},
};

/// How many signings one round claims; look-ups are batched by sender within it.
const BATCH: u32 = 64;
/// How long look-ups must have found nothing before the create is posted again.
const MISSING_FOR: Duration = Duration::from_secs(10);
/// How far before our own time of the create a list may start: clocks differ.
const LOOK_BACK: Duration = Duration::from_secs(24 * 3_600);
/// Last looks, one for each create, that go on beside each other.
const LAST_LOOKS: usize = 8;
/// The pause between look-ups of one create.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

impl Signings {
    /// Runs until the stop. `templates` are the names in the settings, to read payloads with.
    pub async fn recover(self, templates: BTreeMap<String, String>, stopping: CancellationToken) {
        loop {
            match self.round(&templates).await {
                Ok(0) => {}
                Ok(_) => continue,
                Err(error) => tracing::warn!(%error, "recovery cannot read the store"),
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
    pub async fn round(&self, templates: &BTreeMap<String, String>) -> Result<usize, Error> {
        let (now, uptime) = (self.parts.clock.now(), self.parts.clock.uptime());
        let room = self.parts.breaker.room(uptime).min(BATCH);
        if room == 0 {
            return Ok(0);
        }
        let claimed = self.parts.store.claim(now, later(now, LEASE), room).await?;
        let count = claimed.len();
        let (settled, unsettled): (Vec<_>, Vec<_>) =
            claimed.into_iter().partition(|record| is_settled(record.signing.status));
        // Upkeep of what has its envelope is no try of a create, and must not use up the one after an outage.
        if !unsettled.is_empty() {
            self.parts.breaker.take_up(uptime);
        }
        for record in settled {
            let this = self.clone();
            self.parts.life.spawn_work("tend a signing", async move {
                // Whatever was not done comes again when the lease ends.
                let _ = this.tend(record).await;
            });
        }
        let (doubtful, queued): (Vec<_>, Vec<_>) =
            unsettled.into_iter().partition(|record| record.signing.posted_at.is_some());
        self.look_up_all(doubtful);
        let posts = queued.into_iter().map(|record| self.post_again(record, templates));
        futures_util::future::join_all(posts).await.into_iter().for_each(note);
        Ok(count)
    }

    /// Looks up what may exist: one call for all creates of a sender. Each sender's in a task of its own,
    /// because one call that the upstream leaves hanging must not keep all others waiting.
    fn look_up_all(&self, doubtful: Vec<Record>) {
        let mut by_sender: BTreeMap<SenderName, Vec<Record>> = BTreeMap::new();
        for record in doubtful {
            by_sender.entry(record.signing.sender.clone()).or_default().push(record);
        }
        for (sender, records) in by_sender {
            let this = self.clone();
            self.parts.life.spawn_work("look up creates", async move {
                let _in_hand = this.parts.breaker.in_hand();
                this.look_up(&sender, records).await;
            });
        }
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
                if is_outage(&error) {
                    self.parts.breaker.failed(self.parts.clock.uptime());
                }
                for record in records {
                    let attempts = record.work.map_or(0, |work| work.attempts);
                    let wait = error.retry_after(self.parts.clock.now()).unwrap_or_else(|| backoff(attempts));
                    note(self.postpone(record, wait, None).await);
                }
            }
        }
    }

    async fn find(
        &self,
        sender: &SenderName,
        records: &[Record],
    ) -> Result<(std::sync::Arc<esign::Acting>, HashMap<TransactionId, Vec<EnvelopeId>>), esign::Error> {
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
        for extra in envelopes {
            // Only a create that the upstream ran twice by itself can come to this; it must not be signed.
            tracing::error!(signing.id = %signing.id, "two envelopes of one create: the later one is voided");
            if let Err(error) =
                self.parts.esign.void(acting, &extra, "Created twice by mistake", self.at_leisure()).await
            {
                tracing::error!(signing.id = %signing.id, code = error.code(), "the second envelope was not voided");
            }
        }
        signing.doubt();
        signing.remember(self.parts.clock.now(), "found", None, None);
        let happened = signing.open(acting.account.clone(), envelope);
        let save = Save {
            happened,
            work: upkeep(&signing),
            durability: Durability::Synced,
            payload: Payload::Drop,
            answer: None,
            links: Vec::new(),
        };
        tracing::info!(signing.id = %signing.id, "an uncertain create was found");
        ignore_conflict(self.save_with(&mut signing, record.version, save).await)
    }

    /// It was looked up long enough: it does not exist. Now it may be posted again.
    async fn surely_missing(&self, record: Record) -> Result<(), Error> {
        let mut signing = record.signing;
        signing.posted_at = None;
        signing.missing_since = None;
        let work = Work { due_at: self.parts.clock.now(), leased_until: None, attempts: 0 };
        tracing::info!(signing.id = %signing.id, "an uncertain create does not exist: it is posted again");
        let saved = self.save(&mut signing, record.version, Vec::new(), Some(work), Durability::Synced).await;
        ignore_conflict(saved)
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

    /// Posts a create that surely does not exist.
    async fn post_again(&self, record: Record, templates: &BTreeMap<String, String>) -> Result<(), Error> {
        let Some(payload) = self.parts.store.payload(record.signing.id).await? else {
            // Nobody was promised anything, and nothing exists: the key is free for the repeated call.
            return ignore_conflict(
                self.parts.store.forget(record.signing.id, record.version).await.map_err(Error::from),
            );
        };
        let body = payload.into_inner();
        let attempts = record.work.map_or(0, |work| work.attempts);
        let mut signing = record.signing;
        let Ok(draft) = parse_create(&body, templates) else {
            return self.unreadable(signing, record.version).await;
        };
        signing.posted_at = Some(self.parts.clock.now());
        let leased_until = later(self.parts.clock.now(), LEASE);
        let work = Work { due_at: leased_until, leased_until: Some(leased_until), attempts };
        let version =
            match self.save(&mut signing, record.version, Vec::new(), Some(work), Durability::Synced).await {
                Ok(version) => version,
                Err(error) => return ignore_conflict::<()>(Err(error)),
            };
        let mut job = Job { signing, version, draft, body, links: Vec::new(), accepted: true, attempts };
        let this = self.clone();
        self.parts.life.spawn_work("create again", async move {
            let _in_hand = this.parts.breaker.in_hand();
            let outcome = this.attempt(&job.signing, &without_view(&job.draft), &[], Duration::MAX).await;
            let _ = this.settle(&mut job, outcome).await;
        });
        Ok(())
    }

    /// The settings have lost what the request needs, such as a template.
    async fn unreadable(&self, mut signing: crate::domain::Signing, from: Version) -> Result<(), Error> {
        let happened = signing.fail(crate::domain::Failure {
            code: "invalid_request".to_owned(),
            detail: "the request no longer fits the settings; a template it names may be gone".to_owned(),
            provider_code: None,
        });
        let save = Save {
            happened,
            work: None,
            durability: Durability::Synced,
            payload: Payload::Drop,
            answer: None,
            links: Vec::new(),
        };
        ignore_conflict(self.save_with(&mut signing, from, save).await)
    }
}

/// One record that cannot be saved must not keep the others of its round waiting for their leases to end.
fn note(done: Result<(), Error>) {
    if let Err(error) = done {
        tracing::warn!(%error, "recovery cannot save; it tries again when the lease ends");
    }
}

pub(super) fn earlier(at: Timestamp, by: Duration) -> Timestamp {
    let by = jiff::SignedDuration::try_from(by).unwrap_or_default();
    at.saturating_sub(by).unwrap_or(Timestamp::MIN)
}

/// Nobody waits for a view of a create that is finished out of sight; one is minted when it is asked for.
fn without_view(draft: &Draft) -> Draft {
    Draft { view: false, ..draft.clone() }
}

/// Somebody else has the newer record, and with it the work.
fn ignore_conflict<T>(result: Result<T, Error>) -> Result<(), Error> {
    match result {
        Ok(_) | Err(Error::Store(crate::store::Error::Conflict)) => Ok(()),
        Err(error) => Err(error),
    }
}
