//! The same key again (rule E3): the same answer, or the truth about what is still running.

use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;

use crate::{
    clock::Deadline,
    domain::{CallerName, Private, SignerId, Signing, SigningId, SigningStatus},
    esign,
    objects::show::{self, ShownLink},
    signing::{
        Error, LOOK_FOR_OTHERS, MAX_CONFLICTS, Save, Signings,
        create::{Ask, Created, GRACE, Job},
        first_view::view_to_tell,
        is_settled,
        leases::{Opener, live_view, view_in_use},
    },
    store::{Digest, Durability, KeptAnswer, Payload, Record, Version, Work},
    telemetry::chain,
};

/// How long a late answer waits for the view that another answer is having.
const PATIENCE_WITH_ANOTHER: Duration = Duration::from_secs(5);
/// How long a repeated call waits for the first one.
const PATIENCE: Duration = Duration::from_secs(10);
/// When a caller whose first call is still running should ask again.
const ASK_AGAIN: Duration = Duration::from_secs(2);

/// What a call came to whose key was known.
#[derive(Debug)]
pub enum Repeated {
    /// What the first call has made.
    Answered(Created),
    /// The first call has left no trace, so this is a first call.
    Anew(Box<Ask>),
}

impl Signings {
    /// Answers a repeated call.
    pub(super) async fn repeat(&self, record: Record, ask: Ask, until: Deadline) -> Result<Created, Error> {
        match self.after_the_first(record, ask, until).await? {
            Repeated::Answered(created) => Ok(created),
            Repeated::Anew(ask) => Box::pin(self.create_until(*ask, until, None)).await,
        }
    }

    /// Answers a call whose key is known, and makes nothing: whoever has not counted it must not have it made.
    pub async fn repeated(&self, ask: Ask) -> Result<Repeated, Error> {
        let until = Deadline::within(&*self.parts.clock, ask.wait);
        match self.in_time(until, self.parts.store.signing_by_key(&ask.caller, ask.key)).await? {
            Some(record) => Box::pin(self.after_the_first(record, ask, until)).await,
            None => Ok(Repeated::Anew(Box::new(ask))),
        }
    }

    async fn after_the_first(&self, record: Record, ask: Ask, until: Deadline) -> Result<Repeated, Error> {
        let id = record.signing.id;
        if record.request != ask.request {
            return Err(Error::KeyReused { signing: id });
        }
        let mut watcher = self.parts.hub.watch(id);
        let patience = until.left(self.parts.clock.uptime()).min(PATIENCE);
        let give_up = Deadline::within(&*self.parts.clock, patience);
        // Read again: the first call may have ended before this one began to watch.
        let Some(record) = self.parts.store.signing(id).await? else {
            return Ok(Repeated::Anew(Box::new(ask)));
        };
        let mut record = self.revive(record, &ask).await?;
        loop {
            if is_settled(record.signing.status) {
                let answered = self.answer_late(record, ask.draft.view, Vec::new(), true, until);
                return Box::pin(answered).await.map(Repeated::Answered);
            }
            let left = give_up.left(self.parts.clock.uptime());
            if left.is_zero() {
                return Err(Error::InProgress { signing: id, retry_after: ASK_AGAIN });
            }
            watcher.changed_within(&*self.parts.clock, left.min(Duration::from_millis(250))).await;
            record = match self.parts.store.signing(id).await? {
                Some(record) => record,
                None => return Ok(Repeated::Anew(Box::new(ask))),
            };
        }
    }

    /// What became of this very call, if it was made before: what may have an envelope is not refused as if it were new.
    pub async fn answered(
        &self,
        caller: &CallerName,
        key: Digest,
        request: Digest,
    ) -> Result<Option<Created>, Error> {
        let Some(record) = self.parts.store.signing_by_key(caller, key).await? else { return Ok(None) };
        let signing = record.signing.id;
        if record.request != request {
            return Err(Error::KeyReused { signing });
        }
        if let Some(answer) = record.answer {
            return Ok(Some(Created::Made { signing, body: answer.body.into_inner(), replayed: true }));
        }
        match &record.signing.failure {
            Some(failure) => Err(Error::Failed { failure: failure.clone(), signing, replayed: true }),
            None if is_settled(record.signing.status) => {
                let at_once = Deadline::within(&*self.parts.clock, Duration::ZERO);
                Box::pin(self.answer_late(record, false, Vec::new(), true, at_once)).await.map(Some)
            }
            None => Err(Error::InProgress { signing, retry_after: ASK_AGAIN }),
        }
    }

    /// A create whose daemon died before anything was promised has no payload; the repeated call brings
    /// one, so that recovery can finish it whatever the look-up says, and at once, however late its next look was to be.
    async fn revive(&self, record: Record, ask: &Ask) -> Result<Record, Error> {
        let id = record.signing.id;
        let now = self.parts.clock.now();
        let abandoned = record.work.is_none_or(|work| work.leased_until.is_none_or(|until| until <= now));
        if is_settled(record.signing.status) || !abandoned || self.parts.store.payload(id).await?.is_some() {
            return Ok(record);
        }
        match self.promise(record.signing, record.version, &ask.body).await {
            Err(error) if !error.is_conflict() => return Err(error),
            _ => {}
        }
        self.record(id).await
    }

    /// Recovery has taken up a create that is still under way here, because the clock was set, and writes the end of
    /// it. If nobody was promised anything, it has nothing to send, and might look again only after a day; the caller
    /// is told now that it will be finished. What was sent from here may not be listed yet, so it is looked for anew.
    pub(super) async fn hand_over(&self, job: &Job) -> Result<(), Error> {
        let id = job.signing.id;
        for _ in 0..MAX_CONFLICTS {
            let Some(record) = self.parts.store.signing(id).await? else {
                if let Some(envelope) = &job.signing.envelope {
                    tracing::error!(signing.id = %id, envelope.id = %envelope, "the record of a create is gone from the store, its envelope is open: void it at DocuSign by hand");
                }
                return Ok(());
            };
            if is_settled(record.signing.status) || self.parts.store.payload(id).await?.is_some() {
                return Ok(());
            }
            let mut signing = record.signing;
            signing.missing_since = None;
            match self.promise(signing, record.version, &job.body).await {
                Err(error) if error.is_conflict() => {}
                done => return done.map(|_| ()),
            }
        }
        Err(Error::conflict())
    }

    /// Writes down what recovery needs to finish a create that nobody was promised so far. Whoever looks for it right
    /// now cannot have sent it without that.
    async fn promise(&self, mut signing: Signing, from: Version, body: &Bytes) -> Result<Version, Error> {
        signing.twins_sought = 0;
        let work = Some(Work::at(self.parts.clock.now()));
        let payload = Payload::Put(Private::new(body.clone()));
        let save = Save { payload, ..Save::plain(Vec::new(), work, Durability::Synced) };
        let saved = self.save_with(&mut signing, from, save).await;
        if saved.is_ok() {
            self.note_kept();
        }
        self.parts.due.notify_one();
        saved
    }

    /// The answer to a create that was settled out of the caller's sight. It is kept, so that the next
    /// call with the key gets the same; but not without a view while one may be on its way, which would be lost.
    pub(super) async fn answer_late(
        &self,
        record: Record,
        view: bool,
        links: Vec<ShownLink>,
        replayed: bool,
        until: Deadline,
    ) -> Result<Created, Error> {
        let id = record.signing.id;
        if let Some(answer) = record.answer {
            return Ok(Created::Made { signing: id, body: answer.body.into_inner(), replayed });
        }
        if let (SigningStatus::Failed, Some(failure)) =
            (record.signing.status, record.signing.failure.clone())
        {
            return Err(Error::Failed { failure, signing: id, replayed });
        }
        let this = self.clone();
        // A caller who hangs up finds the answer kept.
        let answered = async move {
            let signing = record.signing;
            match signing.next_signer().filter(|_| view).map(|signer| signer.id) {
                Some(signer) => Box::pin(this.with_late_view(&signing, signer, links, replayed, until)).await,
                None if view_to_tell(&signing, this.parts.clock.now()).is_some() => {
                    Err(Error::InProgress { signing: id, retry_after: ASK_AGAIN })
                }
                None => this.keep_answer(id, &[], links, replayed).await,
            }
        };
        self.aside("a late answer", Box::pin(answered)).await
    }

    /// A late answer with a view for a signer, if nobody is at one. The caller asks for one when they
    /// need it; waiting for it must not cost them the answer.
    async fn with_late_view(
        &self,
        signing: &Signing,
        signer: SignerId,
        links: Vec<ShownLink>,
        replayed: bool,
        until: Deadline,
    ) -> Result<Created, Error> {
        let id = signing.id;
        let left = until.left(self.parts.clock.uptime()).max(GRACE);
        let within = Deadline::within(&*self.parts.clock, left);
        let late = async {
            let answered = self.late_view(signing, signer, &links, replayed).await;
            if matches!(answered, Err(Error::ViewLive { .. })) && self.came_to_nothing(id).await {
                return self.late_view(signing, signer, &links, replayed).await;
            }
            answered
        };
        // Rare and large: boxed, so that every create need not have room for it.
        let late = within.hold(&*self.parts.clock, Box::pin(late)).await;
        let error = match late.unwrap_or_else(|| Err(esign::Error::Deadline.into())) {
            Ok(made) => return Ok(made),
            Err(error) => error,
        };
        tracing::warn!(signing.id = %id, error = %chain(&error), "no view for a late answer");
        match error {
            // There may be one that is not written down.
            Error::BrokenOff { .. } | Error::Store(_) => Err(error),
            Error::ViewLive { .. } => self.answer_for_now(id, links, replayed).await,
            // It says nothing of the view that the same call, made again, may have.
            Error::Upstream(error) if error.retryable() && error.rejection().is_none() => {
                self.answer_for_now(id, links, replayed).await
            }
            _ => self.keep_answer(id, &[], links, replayed).await,
        }
    }

    /// Has a view made and keeps the answer with it, in a task of its own: when the time of whoever asked for it is over,
    /// it is there for the same call, made again.
    async fn late_view(
        &self,
        signing: &Signing,
        signer: SignerId,
        links: &[ShownLink],
        replayed: bool,
    ) -> Result<Created, Error> {
        let (this, id, caller, links) = (self.clone(), signing.id, signing.caller.clone(), links.to_vec());
        let link = links.iter().find(|shown| shown.link.signer == signer).map(|shown| shown.link.id);
        let had = async move {
            let view = this.open_view(&caller, id, signer, Opener::Late, link, this.at_leisure()).await?;
            this.keep_answer(id, &[view], links, replayed).await
        };
        self.aside("a view for a late answer", Box::pin(had)).await
    }

    /// A view is on its way, or out and not opened. The first call, or another answer to the same create, may be having it:
    /// then that answer is the one that is kept, and this waits for it a while. Answers whether there is none after all, so
    /// that one can be made.
    async fn came_to_nothing(&self, id: SigningId) -> bool {
        let mut watcher = self.parts.hub.watch(id);
        let until = Deadline::within(&*self.parts.clock, PATIENCE_WITH_ANOTHER);
        while let Ok(record) = self.record(id).await {
            let now = self.parts.clock.now();
            if record.answer.is_some() || is_taken(&record.signing, now) {
                return false;
            }
            if live_view(&record.signing, now).is_none() {
                return true;
            }
            if until.left(self.parts.clock.uptime()).is_zero() {
                return false;
            }
            watcher.changed_within(&*self.parts.clock, LOOK_FOR_OTHERS).await;
        }
        false
    }

    /// What can be told while a view may still be added to the answer, which is not kept so: the same call, made again, is
    /// told what became of it. Where the view is on its way, that call is still running.
    async fn answer_for_now(
        &self,
        id: SigningId,
        links: Vec<ShownLink>,
        replayed: bool,
    ) -> Result<Created, Error> {
        let Record { signing, answer, .. } = self.record(id).await?;
        if let Some(answer) = answer {
            return Ok(Created::Made { signing: id, body: answer.body.into_inner(), replayed });
        }
        let now = self.parts.clock.now();
        if is_taken(&signing, now) {
            return self.keep_answer(id, &[], links, replayed).await;
        }
        if replayed && view_to_tell(&signing, now).is_some() {
            return Err(Error::InProgress { signing: id, retry_after: ASK_AGAIN });
        }
        let fresh = if links.is_empty() { self.new_links(&signing, now) } else { Vec::new() };
        for shown in &fresh {
            self.parts.store.add_link(shown.link.clone()).await?;
        }
        let shown = if links.is_empty() { &fresh } else { &links };
        let body = show::signing(&signing, &[], shown);
        Ok(Created::Made { signing: id, body, replayed })
    }

    /// Keeps the answer of a create, with what it hands out, unless another was kept before.
    pub(super) async fn keep_answer(
        &self,
        id: SigningId,
        views: &[show::ShownView],
        links: Vec<ShownLink>,
        replayed: bool,
    ) -> Result<Created, Error> {
        for _ in 0..MAX_CONFLICTS {
            let record = self.record(id).await?;
            // Another repeated call was faster: its answer is the one that is kept.
            if let Some(answer) = record.answer {
                return Ok(Created::Made { signing: id, body: answer.body.into_inner(), replayed });
            }
            let mut signing = record.signing;
            // The tokens of the first links are not kept, so an answer without them shows new ones.
            let fresh: Vec<_> =
                if links.is_empty() { self.new_links(&signing, self.parts.clock.now()) } else { Vec::new() };
            let shown = if links.is_empty() { &fresh } else { &links };
            let body = show::signing(&signing, views, shown);
            let save = Save {
                answer: Some(KeptAnswer { body: Private::new(body.clone()) }),
                links: fresh.into_iter().map(|shown| shown.link).collect(),
                ..Save::plain(Vec::new(), record.work, Durability::Flushed)
            };
            match self.save_with(&mut signing, record.version, save).await {
                Ok(_) => return Ok(Created::Made { signing: id, body, replayed }),
                // An event was taken in meanwhile, or somebody else answered.
                Err(error) if error.is_conflict() => {}
                Err(error) => return Err(error),
            }
        }
        Err(Error::conflict())
    }
}

/// Whether somebody is at a view, or may be: then no answer waits for it.
fn is_taken(signing: &Signing, now: Timestamp) -> bool {
    view_in_use(signing, now).is_some() && view_to_tell(signing, now).is_none()
}
