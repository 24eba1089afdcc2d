//! The same key again (rule E3): the same answer, or the truth about what is still running.

use std::time::Duration;

use bytes::Bytes;

use crate::{
    budget::Deadline,
    domain::{CallerName, Private, Signing, SigningId, SigningStatus},
    esign,
    objects::show::{self, ShownLink},
    signing::{
        Error, LOOK_FOR_OTHERS, MAX_CONFLICTS, Save, Signings,
        create::{Ask, Created, GRACE, Job},
        first_view::coming_view,
        is_settled,
        views::Opener,
    },
    store::{Digest, Durability, KeptAnswer, Payload, Record, Version, Work},
    telemetry::chain,
};

/// How long one of two late answers waits for the view that the other is having.
const PATIENCE_WITH_ANOTHER: Duration = Duration::from_secs(5);
/// How long a repeated call waits for the first one.
const PATIENCE: Duration = Duration::from_secs(10);
/// When a caller whose first call is still running should ask again.
const ASK_AGAIN: Duration = Duration::from_secs(2);

impl Signings {
    /// Answers a repeated call.
    pub(super) async fn repeat(&self, record: Record, ask: Ask, until: Deadline) -> Result<Created, Error> {
        let id = record.signing.id;
        if record.request != ask.request {
            return Err(Error::KeyReused { signing: id });
        }
        let mut watcher = self.parts.hub.watch(id);
        let patience = until.left(self.parts.clock.uptime()).min(PATIENCE);
        let give_up = Deadline::within(&*self.parts.clock, patience);
        // Read again: the first call may have ended before this one began to watch.
        let Some(record) = self.parts.store.signing(id).await? else {
            return Box::pin(self.create_until(ask, until)).await;
        };
        let mut record = self.revive(record, &ask).await?;
        loop {
            if is_settled(record.signing.status) {
                return Box::pin(self.answer_late(record, ask.draft.view, Vec::new(), true, until)).await;
            }
            let left = give_up.left(self.parts.clock.uptime());
            if left.is_zero() {
                return Err(Error::InProgress { signing: id, retry_after: ASK_AGAIN });
            }
            watcher.changed_within(&*self.parts.clock, left.min(Duration::from_millis(250))).await;
            record = match self.parts.store.signing(id).await? {
                Some(record) => record,
                // The first call was refused without a trace, so this is a first call.
                None => return Box::pin(self.create_until(ask, until)).await,
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
        self.parts.due.notify_one();
        saved
    }

    /// The answer to a create that was settled out of the caller's sight. It is kept, so that the next
    /// call with the key gets the same.
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
        // A caller who hangs up finds the answer kept, with the view that was minted for it.
        let answered = async move {
            let view =
                if view { Box::pin(this.late_view(&record.signing, &links, until)).await } else { None };
            this.keep_answer(id, view.as_slice(), links, replayed).await
        };
        self.aside("a late answer", Box::pin(answered)).await
    }

    /// A view for a late answer, if there is somebody to sign and nobody at it. The caller asks for one when they
    /// need it; waiting for it must not cost them the answer.
    async fn late_view(
        &self,
        signing: &Signing,
        links: &[ShownLink],
        until: Deadline,
    ) -> Option<show::ShownView> {
        let (id, signer) = (signing.id, signing.next_signer()?.id);
        let link = links.iter().find(|shown| shown.link.signer == signer).map(|shown| shown.link.id);
        let left = until.left(self.parts.clock.uptime()).max(GRACE);
        let within = Deadline::within(&*self.parts.clock, left);
        let (this, caller) = (self.clone(), signing.caller.clone());
        let opened = self.aside("a view for a late answer", async move {
            this.open_view(&caller, id, signer, Opener::Late, link, this.at_leisure()).await
        });
        let late = async {
            let opened = opened.await;
            if matches!(opened, Err(Error::ViewLive { .. })) {
                self.answered_meanwhile(id).await;
            }
            opened
        };
        // Rare and large: boxed, so that every create need not have room for it.
        let late = within.hold(&*self.parts.clock, Box::pin(late)).await;
        let late = late.unwrap_or_else(|| Err(esign::Error::Deadline.into()));
        late.inspect_err(
            |error| tracing::warn!(signing.id = %id, error = %chain(error), "no view for a late answer"),
        )
        .ok()
    }

    /// A view is out that was not opened. Another answer to the same create may be having it: then that answer is
    /// the one that is kept, and this waits for it a while.
    async fn answered_meanwhile(&self, id: SigningId) {
        let mut watcher = self.parts.hub.watch(id);
        let until = Deadline::within(&*self.parts.clock, PATIENCE_WITH_ANOTHER);
        while let Ok(record) = self.record(id).await {
            let is_coming = coming_view(&record.signing, self.parts.clock.now()).is_some();
            let is_opened = !is_coming && record.signing.live_view.is_none_or(|view| view.clicked);
            let is_over = until.left(self.parts.clock.uptime()).is_zero();
            if record.answer.is_some() || is_opened || is_over {
                return;
            }
            watcher.changed_within(&*self.parts.clock, LOOK_FOR_OTHERS).await;
        }
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
                answer: Some(KeptAnswer { status: 201, body: Private::new(body.clone()) }),
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
