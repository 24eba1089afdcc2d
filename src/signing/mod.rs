//! The use cases: create a signing, open a recipient view, follow it to the end, find out what is uncertain.
//!
//! Everything that touches one envelope goes through here, and the rules E1 to E5, L2, L3, F1, F2 and B3
//! are kept here. It knows no vendor format, and nothing of HTTP: `api` and `public` translate to it, `esign` from
//! it. It must never create an envelope before the intent is on disk, never create again before looking up, and never
//! change a status on a browser's word.
//!
//! # Life of a create
//!
//! ```text
//! begin ── intent on disk ──▶ post ──▶ opened ─────────────────────▶ open
//!                              │├──▶ refused for good ─────────────▶ failed
//!                              │├──▶ surely not sent ──▶ queued ───▶ post again, later
//!                              │└──▶ nobody knows ─────▶ uncertain ▶ look up, wait, look up, only then post
//!                              └─── (crash: recovery finds `posted_at` set, and looks up)
//!
//! opened ──▶ first view, within a second ──▶ open, with the view
//!        └─▶ it takes longer ─────────────▶ open; the view is added when it comes
//!
//! posted again ──▶ look for a second envelope after 1 min, 15 min, a day ──▶ void it
//! nobody promised, and nothing found ──▶ look again after 1 min, 15 min, a day ──▶ forget it
//! ```

mod announce;
mod attempt;
mod breaker;
mod caps;
mod click_limit;
mod create;
mod deafness;
mod documents;
mod ending;
mod error;
mod first_view;
mod follow;
mod in_line;
mod leases;
mod links;
mod look_ups;
mod mint;
mod nonce;
mod owners;
mod preflight;
mod questions;
mod reconcile;
mod recover;
mod repeat;
pub mod result;
mod settings;
mod settle;
mod tickets;
mod turns;
mod twins;
mod under_way;
mod unlock;
mod views;
mod void;
mod waiting;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use jiff::Timestamp;
use tokio::sync::{Notify, Semaphore};

use crate::{
    audit::Audit,
    clock::{Deadline, SharedClock},
    domain::{
        CallerName, Event, EventId, EventKind, MomentKind, Now, SignerId, Signing, SigningId, SigningStatus,
        signing::News,
    },
    esign,
    events::Hub,
    lifecycle::Lifecycle,
    objects::show,
    pdf,
    places::Places,
    store::{Change, Durability, Filter, KeptAnswer, Link, Payload, Record, SharedStore, Version, Work},
    telemetry::{chain, metrics},
};

pub use breaker::HeldUp;
pub use create::{Ask, Created, detail};
pub use documents::{Document, DownloadError};
pub use error::Error;
pub use follow::{Returned, Seen};
pub use in_line::Queued;
pub use leases::{Opener, view_in_use};
pub use links::{LinkState, OpenedLink};
pub use nonce::{NonceKey, ReturnTarget};
pub use owners::{ToldOf, Whose};
pub use repeat::Repeated;
pub use result::ResultKey;
pub use settings::{Dependencies, EventsTo, FindAddress, Settings};
pub use tickets::{TICKET_LIFE, Tickets};
pub use turns::Turn;
pub use waiting::{MAX_WAITING, MAX_WAITING_OF_ONE};

/// How often a change is computed anew because somebody else was faster.
const MAX_CONFLICTS: usize = 16;

/// How often somebody who waits looks for what another daemon has written.
const LOOK_FOR_OTHERS: Duration = Duration::from_millis(500);

/// How much longer than its caller waits a call may take: to say that nothing was sent, or to write down what was answered
/// at the last moment. An upstream that has not answered by then is not waited for.
const MOMENT: Duration = Duration::from_millis(250);

/// The longest that one call to the upstream may take, waiting for its turn included.
const AT_LEISURE: Duration = Duration::from_secs(60);

/// The use cases. Clones share everything.
#[derive(Debug, Clone)]
pub struct Signings {
    parts: Arc<Parts>,
}

#[derive(Debug)]
struct Parts {
    store: SharedStore,
    esign: Arc<esign::Client>,
    hub: Hub,
    clock: SharedClock,
    life: Lifecycle,
    settings: Settings,
    breaker: Arc<breaker::Breaker>,
    documents: documents::Documents,
    /// Turns at what time brings to signings that have their envelope.
    tending: Arc<Semaphore>,
    /// Turns at decoding what is large.
    readers: Arc<Semaphore>,
    /// Who reads the PDFs of drafts.
    pdfs: pdf::Readers,
    /// Wakes the recovery task.
    due: Notify,
    /// The name of the last view that was begun, in microseconds.
    last_view: Mutex<i64>,
    /// How often clicks had views made.
    clicks: click_limit::ClickLimit,
    /// Turns at keys, for creates that are counted.
    keys: turns::Turns,
    /// Places for those who wait for news.
    waiting: Places<CallerName>,
    /// What is to be asked because events left it out.
    questions: questions::Questions,
    /// When events could not be told.
    deafness: deafness::Deafness,
    /// Checks that nobody waits for any more.
    failed_checks: under_way::FailedChecks,
}

impl Signings {
    /// Puts the use cases together.
    pub fn new(given: Dependencies) -> Self {
        let Dependencies { store, esign, hub, clock, life, settings } = given;
        let pdfs = pdf::Readers::new(settings.pdf_program.clone(), Arc::clone(&clock));
        let parts = Parts {
            store,
            esign,
            hub,
            clock,
            life,
            breaker: Arc::default(),
            documents: documents::Documents::new(settings.spool.clone(), settings.keep_documents),
            tending: Arc::new(Semaphore::new(recover::TENDED)),
            readers: Arc::new(Semaphore::new(preflight::READERS)),
            pdfs,
            due: Notify::new(),
            last_view: Mutex::default(),
            clicks: click_limit::ClickLimit::default(),
            keys: turns::Turns::default(),
            waiting: Places::new(MAX_WAITING, MAX_WAITING_OF_ONE),
            questions: questions::Questions::default(),
            deafness: deafness::Deafness::default(),
            failed_checks: under_way::FailedChecks::default(),
            settings,
        };
        Self { parts: Arc::new(parts) }
    }

    /// How signings are made here.
    pub fn settings(&self) -> &Settings {
        &self.parts.settings
    }

    /// One signing of a caller.
    pub async fn get(&self, caller: &CallerName, id: SigningId) -> Result<Signing, Error> {
        Ok(self.record_of(caller, id).await?.signing)
    }

    /// A caller's signings, newest first.
    pub async fn list(&self, caller: &CallerName, filter: Filter) -> Result<Vec<Signing>, Error> {
        Ok(self.parts.store.signings(caller, filter).await?)
    }

    /// How many creates are not settled.
    pub async fn unsettled(&self) -> Result<u64, Error> {
        Ok(self.parts.store.unsettled().await?)
    }

    /// Creates of which nobody knows whether the envelope exists.
    pub async fn uncertain(&self) -> Result<u64, Error> {
        Ok(self.parts.store.uncertain().await?)
    }

    /// Whether creates have gone unanswered in a row: the upstream is away, and what is asked for is queued.
    pub fn is_upstream_away(&self) -> bool {
        self.parts.breaker.is_open()
    }

    /// Why the last try since then did not ask it whether it is back: a sender that cannot act, a limit of ours. None if
    /// it was asked, and left that unanswered, too.
    pub fn held_up(&self) -> Option<HeldUp> {
        self.parts.breaker.held_up()
    }

    /// Where each use of the key is written down first (rule S6), for those who use it beside us.
    pub fn audit(&self) -> &Audit {
        &self.parts.settings.audit
    }

    /// The sender of a signing, in the account that its envelope is in. It may have been set to another since: there the
    /// envelope does not exist, and what was asked about it would be answered wrongly, so that nothing is asked.
    async fn acting_for(&self, signing: &Signing) -> Result<Arc<esign::Acting>, esign::Error> {
        let acting = self.parts.esign.acting(&signing.sender).await?;
        match &signing.account {
            Some(account) if *account != acting.account => {
                Err(esign::Error::OtherAccount { of: account.clone(), acts_in: acting.account.clone() })
            }
            _ => Ok(acting),
        }
    }

    /// The date by the upstream's clock, as far as its answers have told: what cannot be undone does not go by this
    /// machine's, which may be wrong.
    pub fn corrected_now(&self) -> Timestamp {
        self.parts.esign.corrected_now()
    }

    /// The time by which facts are judged that are taken in now.
    fn time_of_facts(&self) -> Now {
        self.parts.esign.told_now().map_or_else(|| Now::untold(self.parts.clock.now()), Now::from)
    }

    /// Whether a moment has come by the upstream's clock. Before it has told the time, nothing has: what ends for good
    /// must not end by this machine's clock alone.
    fn has_surely_come(&self, moment: Timestamp) -> bool {
        self.parts.esign.told_now().is_some_and(|told| moment <= told)
    }

    /// The time that one call of ours may take, with no caller to wait for it.
    fn at_leisure(&self) -> Deadline {
        Deadline::within(&*self.parts.clock, AT_LEISURE)
    }

    /// The time that one call may take for a caller who waits so long: what cannot end by then is not sent (rule B4),
    /// and the answer to what was sent is taken in all the same.
    fn within(&self, wait: Duration) -> Deadline {
        let clock = &*self.parts.clock;
        Deadline::within(clock, wait.min(AT_LEISURE)).answered_within(clock, AT_LEISURE)
    }

    /// Does something upstream in a task of its own, and waits for it: a caller who hangs up must not take the
    /// answer along before it is written down. The work is boxed, so that who waits for it need not have room for it.
    async fn aside<T: Send + 'static>(
        &self,
        name: &'static str,
        work: impl Future<Output = Result<T, Error>> + Send + Unpin + 'static,
    ) -> Result<T, Error> {
        let outcome = self.parts.life.outcome_of_boxed(name, work).await;
        outcome.unwrap_or_else(|| Err(self.broken_off()))
    }

    /// Of work that was dropped by the stop, or panicked.
    fn broken_off(&self) -> Error {
        Error::BrokenOff { is_stopping: self.parts.life.stopping().is_cancelled() }
    }

    /// Does something upstream as [`aside`](Self::aside) does, for a caller who waits so long, and a moment longer at most.
    async fn aside_within<T: Send + 'static>(
        &self,
        wait: Duration,
        name: &'static str,
        work: impl Future<Output = Result<T, Error>> + Send + Unpin + 'static,
    ) -> Result<T, Error> {
        let until = Deadline::within(&*self.parts.clock, wait).plus(MOMENT);
        let done = until.hold(&*self.parts.clock, self.aside(name, work)).await;
        done.unwrap_or_else(|| Err(esign::Error::Deadline.into()))
    }

    async fn record(&self, id: SigningId) -> Result<Record, Error> {
        self.parts.store.signing(id).await?.ok_or(Error::NotFound)
    }

    /// A record, if it is this caller's; another's does not exist for them.
    async fn record_of(&self, caller: &CallerName, id: SigningId) -> Result<Record, Error> {
        let record = self.record(id).await?;
        if record.signing.caller == *caller { Ok(record) } else { Err(Error::NotFound) }
    }

    /// Computes a change from the newest record and saves it, again if somebody else was faster. The work that is
    /// still to be done stays as it is.
    async fn change<F>(&self, id: SigningId, durability: Durability, mut rule: F) -> Result<Signing, Error>
    where
        F: FnMut(&mut Signing, Timestamp) -> Result<Vec<News>, Error> + Send,
    {
        self.change_with_work(id, durability, |signing, work, now| Ok((rule(signing, now)?, work))).await
    }

    /// Changes a signing together with the work that is still to be done about it, which the rule is given and
    /// answers. Nothing is written when the rule changes neither and has no news.
    async fn change_with_work<F>(
        &self,
        id: SigningId,
        durability: Durability,
        mut rule: F,
    ) -> Result<Signing, Error>
    where
        F: FnMut(&mut Signing, Option<Work>, Timestamp) -> Result<(Vec<News>, Option<Work>), Error> + Send,
    {
        for _ in 0..MAX_CONFLICTS {
            let record = self.record(id).await?;
            let mut signing = record.signing.clone();
            let (news, work) = rule(&mut signing, record.work, self.parts.clock.now())?;
            if news.is_empty() && signing == record.signing && work == record.work {
                return Ok(signing);
            }
            match self.save(&mut signing, record.version, news, work, durability).await {
                Err(error) if error.is_conflict() => {}
                Err(error) => return Err(error),
                Ok(_) => return Ok(signing),
            }
        }
        Err(Error::conflict())
    }

    /// Writes a line of history about what is done already: failing to costs the line and nothing else.
    async fn jot(&self, id: SigningId, what: MomentKind, signer: Option<SignerId>, trace: Option<String>) {
        let noted = self.change(id, Durability::Flushed, |signing, now| {
            signing.remember(now, what.clone(), signer, trace.clone());
            Ok(Vec::new())
        });
        if let Err(error) = noted.await {
            tracing::warn!(signing.id = %id, what = what.as_str(), error = %chain(&error), "not in the timeline");
        }
    }

    /// Saves a plain change: no answer, no links, the payload as it is.
    async fn save(
        &self,
        signing: &mut Signing,
        from: Version,
        news: Vec<News>,
        work: Option<Work>,
        durability: Durability,
    ) -> Result<Version, Error> {
        self.save_with(signing, from, Save::plain(news, work, durability)).await
    }

    async fn save_with(&self, signing: &mut Signing, from: Version, save: Save) -> Result<Version, Error> {
        let events = self.narrate(signing, &save.news);
        self.write(signing, from, &events, &save).await
    }

    /// Writes a signing that tells of its events already.
    async fn write(
        &self,
        signing: &Signing,
        from: Version,
        events: &[Event],
        save: &Save,
    ) -> Result<Version, Error> {
        let change = Change {
            signing,
            from,
            events,
            links: save.links.clone(),
            answer: save.answer.clone(),
            payload: save.payload.clone(),
            work: save.work,
            durability: save.durability,
        };
        let version = self.parts.store.save(change).await?;
        for status in save.news.iter().filter_map(|one| reached(one.kind)) {
            self.parts.settings.metrics.signing_reached(status);
        }
        self.parts.hub.changed(signing.id);
        if !events.is_empty() {
            self.parts.hub.published();
        }
        Ok(version)
    }

    /// Destroys a create that nobody was promised: its key is free, and whoever waits for it is told.
    async fn forget(&self, id: SigningId, from: Version) -> Result<(), Error> {
        self.parts.store.forget(id, from).await?;
        self.parts.hub.changed(id);
        Ok(())
    }

    /// Turns news into events and history, counting the signing's sequence. The events are of now, when they are told: whoever
    /// follows them from now on must not miss one because what it tells of is older.
    fn narrate(&self, signing: &mut Signing, news: &[News]) -> Vec<Event> {
        let now = self.parts.clock.now();
        for one in news {
            signing.sequence += 1;
            signing.remember(now, one.kind.into(), one.signer, None);
            signing.date(one.at);
            if one.kind == EventKind::SignerReturned {
                note_claim(signing, one.signer);
            }
        }
        for signer in signing.tell_missing_checks(now) {
            tracing::warn!(
                signing.id = %signing.id, signer.id = %signer,
                "DocuSign says that a signer has signed, and tells of no code by SMS, which was asked for: the signer may have \
                 the sender's own address, or the account spares people the check"
            );
        }
        if news.is_empty() {
            return Vec::new();
        }
        let data = show::EventData::of(signing);
        let first = signing.sequence + 1 - news.len() as u64;
        (first..)
            .zip(news)
            .map(|(sequence, one)| Event {
                id: EventId::generate(now),
                caller: signing.caller.clone(),
                kind: one.kind,
                signing: Some(signing.id),
                signer: one.signer,
                sequence,
                at: now,
                data: data.with(sequence, one.signer),
            })
            .collect()
    }
}

/// The status that an event says was reached.
fn reached(kind: EventKind) -> Option<metrics::SigningStatus> {
    Some(match kind {
        EventKind::SigningCompleted => metrics::SigningStatus::Completed,
        EventKind::SigningDeclined => metrics::SigningStatus::Declined,
        EventKind::SigningExpired => metrics::SigningStatus::Expired,
        EventKind::SigningFailed => metrics::SigningStatus::Failed,
        EventKind::SigningOpened => metrics::SigningStatus::Open,
        EventKind::SigningUncertain => metrics::SigningStatus::Uncertain,
        EventKind::SigningVoided => metrics::SigningStatus::Voided,
        _ => return None,
    })
}

/// What is saved besides the signing itself.
#[derive(Debug)]
struct Save {
    news: Vec<News>,
    work: Option<Work>,
    durability: Durability,
    payload: Payload,
    answer: Option<KeptAnswer>,
    links: Vec<Link>,
}

impl Save {
    /// No answer, no links, the payload as it is.
    const fn plain(news: Vec<News>, work: Option<Work>, durability: Durability) -> Self {
        Self { news, work, durability, payload: Payload::Keep, answer: None, links: Vec::new() }
    }
}

/// Adds what the browser claimed to the moment that was just written down.
fn note_claim(signing: &mut Signing, signer: Option<SignerId>) {
    let last = signer.and_then(|id| signing.signer(id)).and_then(|signer| signer.last_return);
    if let Some(last) = last {
        signing.annotate(last.claim.as_str());
    }
}

/// Whether the time that the caller gave a signing is over, at this moment by the upstream's clock.
fn is_past(signing: &Signing, upstreams_now: Timestamp) -> bool {
    signing.expires_at.is_some_and(|end| end <= upstreams_now)
}

/// Whether the create of a signing has ended, well or badly.
const fn is_settled(status: SigningStatus) -> bool {
    !matches!(status, SigningStatus::Creating | SigningStatus::Uncertain)
}
