//! Recipient views: single use, five minutes, secret. Minted on a wish of the caller or a click on a link,
//! never on a GET.
//!
//! A second view ends the session of the first one, so a click takes a lease first (rule L2): of many
//! clicks at once, one gets a view and the others are told that it is open elsewhere. The lease lasts as long
//! as the view can be opened; once it is open, the signing page itself prolongs it (`pingFrequency`), for as
//! long as it stays open. It ends when the signer leaves: by the browser that comes back, or by the upstream's word.
//! Where the public listener is off, or the page cannot reach it, the lease is over after five minutes, and the next
//! click ends the session of a signer who is still at work. So it is with a view that a passed call has made: it is noted
//! with a lease, but its page says nothing to us.

use std::{sync::PoisonError, time::Duration};

use jiff::Timestamp;

use crate::{
    clock::{Deadline, later},
    domain::{
        CallerName, LinkId, LiveView, MomentKind, SignerId, SignerStatus, Signing, SigningId, SigningStatus,
        ViewKind, signing::News,
    },
    esign::{self, Reach},
    objects::show::ShownView,
    signing::{
        Error, LinkState, MAX_CONFLICTS, ReturnTarget, Signings,
        first_view::coming_lease,
        leases::{Opener, VIEW_LIFE, fresh, is_same, may_open},
        mint::Minting,
    },
    store::{Durability, Record},
    telemetry::{chain, metrics::ViewResult},
};

/// The pause between attempts to write down a view that was handed out.
const NOTE_AGAIN: Duration = Duration::from_secs(2);

/// Within so many microseconds a clock that stands or lags behind is made up for.
const NAMES: i64 = 1_000_000;

/// A view that is there, and is to be written down.
#[derive(Debug)]
struct Made {
    id: SigningId,
    view: LiveView,
    clicked: Option<&'static str>,
    trace: Option<String>,
}

impl Made {
    /// Puts it in the place of the lease that was taken for it, and answers what became known with it.
    fn note_in(&self, signing: &mut Signing, now: Timestamp) -> Vec<News> {
        signing.live_view = Some(self.view.clone());
        signing.remember(now, MomentKind::ViewMinted, Some(self.view.signer), self.trace.clone());
        if let Some(clicked) = self.clicked {
            signing.annotate(clicked);
        }
        signing.allow_turn(self.view.signer)
    }
}

impl Signings {
    /// A fresh view for a signer of a caller's signing, for a caller who waits so long.
    pub async fn view(
        &self,
        caller: &CallerName,
        id: SigningId,
        signer: SignerId,
        wait: Duration,
    ) -> Result<ShownView, Error> {
        let deadline = self.within(wait);
        let (this, caller) = (self.clone(), caller.clone());
        let view =
            Box::pin(
                async move { this.open_view(&caller, id, signer, Opener::Caller, None, deadline).await },
            );
        self.aside_within(wait, "a view for a caller", view).await
    }

    /// Writes down a view that a call which was passed on has made, as one that its caller was given: so that no click
    /// ends it (rule L2). Whose it is, that call has said; what names no signer of ours is a view of nobody here.
    pub async fn view_was_passed(&self, id: SigningId, client_user_id: &str, trace: Option<String>) {
        let signing = match self.record(id).await {
            Ok(record) => record.signing,
            Err(error) => {
                tracing::warn!(signing.id = %id, error = %chain(&error), "a view that was passed is not written down");
                return;
            }
        };
        let Some(signer) = signing.signers.iter().find(|one| one.client_user_id == client_user_id) else {
            return;
        };
        let view = fresh(signer.id, self.parts.clock.now(), Opener::Caller);
        self.note(Made { id, view, clicked: None, trace }, None).await;
    }

    pub(super) async fn open_view(
        &self,
        caller: &CallerName,
        id: SigningId,
        signer: SignerId,
        opener: Opener,
        link: Option<LinkId>,
        deadline: Deadline,
    ) -> Result<ShownView, Error> {
        let record = self.record_of(caller, id).await?;
        let shown = self.lease_and_mint(record, signer, opener, link, None, deadline).await;
        self.count_view(shown.as_ref().err());
        shown
    }

    /// A fresh view for a click, which names the signing itself: on a link, or on the page of somebody who
    /// came back. A link that has ended meanwhile opens nothing.
    pub async fn view_by_click(&self, target: ReturnTarget) -> Result<ShownView, Error> {
        let shown = self.click(target).await;
        self.count_view(shown.as_ref().err());
        shown
    }

    async fn click(&self, target: ReturnTarget) -> Result<ShownView, Error> {
        if self.link_state(target.link).await? != LinkState::Live {
            return Err(Error::LinkOver);
        }
        let record = self.record(target.signing).await?;
        self.hurry(&record).await;
        // While the upstream is dead, one click at a time finds out when it is back; the others wait in line.
        // A click on what does not exist yet calls nobody, and so finds out nothing.
        let is_open = record.signing.status == SigningStatus::Open;
        let admitted = is_open.then(|| self.parts.breaker.admit(self.parts.clock.uptime()));
        if matches!(admitted, Some(None)) {
            return Err(Error::Busy { retry_after: Duration::from_secs(2) });
        }
        let deadline = self.at_leisure();
        let (signer, link, clicked) = (target.signer, target.link, Some(clicked_on(target)));
        let minted = self.lease_and_mint(record, signer, Opener::Click, link, clicked, deadline).await;
        let reach = match &minted {
            Ok(_) => Some(Reach::Answered),
            Err(Error::Upstream(error)) => Some(error.reach()),
            Err(_) => None,
        };
        if let Some(reach) = reach {
            self.parts.breaker.note(reach, 1, self.parts.clock.uptime());
        }
        drop(admitted);
        minted
    }

    /// Somebody asked for a view, and got it or this error.
    pub(super) fn count_view(&self, error: Option<&Error>) {
        self.parts.settings.metrics.view_minted(match error {
            None => ViewResult::Good,
            Some(Error::ViewLive { .. }) => ViewResult::Leased,
            Some(Error::Upstream(upstream)) if upstream.rejection().is_some() || !upstream.retryable() => {
                ViewResult::Rejected
            }
            Some(
                Error::Closed(_)
                | Error::LinkOver
                | Error::NotFound
                | Error::NotReady { .. }
                | Error::PollingBudget { .. }
                | Error::TimeOver
                | Error::TooOften { .. },
            ) => ViewResult::Rejected,
            Some(_) => ViewResult::Unavailable,
        });
    }

    async fn lease_and_mint(
        &self,
        record: Record,
        signer: SignerId,
        opener: Opener,
        link: Option<LinkId>,
        clicked: Option<&'static str>,
        deadline: Deadline,
    ) -> Result<ShownView, Error> {
        let signing = self.lease(record, signer, opener).await?;
        // A caller took no lease, and must not end somebody else's.
        let lease = signing.live_view.clone().filter(|_| opener != Opener::Caller);
        // The lease has the view's name, by which its page says that it is open.
        let (at, id) =
            (lease.as_ref().map_or_else(|| self.parts.clock.now(), |lease| lease.minted_at), signing.id);
        let asked_at = self.corrected_now();
        let known = signing.signer(signer).filter(|person| !signing.waits_in_order(person));
        let known = known.map(|person| person.status);
        let minting = Minting { link, clicked, at, deadline };
        let minted = self.mint_with_current_name(&signing, signer, minting).await;
        if opener == Opener::Click && is_answered(&minted) {
            self.parts.clicks.count(signer, self.parts.clock.uptime());
        }
        match minted {
            Ok(view) => {
                let made = Made { id, view: fresh(signer, at, opener), clicked, trace: view.trace.clone() };
                self.note(made, lease).await;
                Ok(ShownView { signer, url: view.url, expires_at: later(asked_at, VIEW_LIFE) })
            }
            Err(error) => {
                if let Some(known) = known.filter(|_| error.is_out_of_turn()) {
                    let trace = error.trace().map(str::to_owned);
                    self.deny_turn((id, signer), known, asked_at, trace).await;
                }
                // A late answer's view that may still be made would end another: its lease ends by itself.
                let may_come = opener == Opener::Late && error.is_unanswered();
                if let Some(lease) = lease.as_ref().filter(|_| !may_come) {
                    self.release(id, lease).await;
                }
                Err(error)
            }
        }
    }

    /// Writes down that the upstream has denied a signer their turn, who stood there as `known` when it was asked: what
    /// fails is found out by the next who asks.
    pub(super) async fn deny_turn(
        &self,
        (id, signer): (SigningId, SignerId),
        known: SignerStatus,
        asked_at: Timestamp,
        trace: Option<String>,
    ) {
        let denied = self.change(id, Durability::Flushed, |signing, now| {
            if signing.deny_turn(signer, known, asked_at) {
                signing.remember(now, MomentKind::TurnDenied, Some(signer), trace.clone());
            }
            Ok(Vec::new())
        });
        if let Err(error) = denied.await {
            tracing::warn!(signing.id = %id, error = %chain(&error), "that others sign first is not written down");
        }
    }

    /// Takes the lease, if nobody holds it. One of many at once wins, by the version of the record.
    async fn lease(&self, mut record: Record, signer: SignerId, opener: Opener) -> Result<Signing, Error> {
        for _ in 0..MAX_CONFLICTS {
            may_open(&record.signing, signer, opener, (self.parts.clock.now(), self.corrected_now()))?;
            if opener == Opener::Caller {
                return Ok(record.signing);
            }
            let retry_after = self.parts.clicks.wait(signer, self.parts.clock.uptime());
            if opener == Opener::Click && !retry_after.is_zero() {
                return Err(Error::TooOften { retry_after });
            }
            let mut signing = record.signing;
            let name = self.name_of_view();
            // Until the view is there, and noted: if we die before, nobody is at it.
            let lease = coming_lease(signer, name, opener);
            signing.live_view = Some(lease.clone());
            match self.save(&mut signing, record.version, Vec::new(), record.work, Durability::Flushed).await
            {
                Ok(_) => return Ok(signing),
                Err(error) if error.is_conflict() => record = self.record(signing.id).await?,
                Err(error) => {
                    // It may have been written all the same. A store that hangs would have the visitor wait twice.
                    let (this, id) = (self.clone(), signing.id);
                    self.parts
                        .life
                        .spawn_work("release a lease", async move { this.release(id, &lease).await });
                    return Err(error);
                }
            }
            // The answer to this very write may have been lost after its commit.
            if record.signing.live_view.as_ref() == Some(&lease) {
                return Ok(record.signing);
            }
        }
        Err(Error::conflict())
    }

    /// The time now, by which a view is known: no two of this daemon's have the same, however much is clicked at once.
    fn name_of_view(&self) -> Timestamp {
        let now = self.parts.clock.now();
        let mut last = self.parts.last_view.lock().unwrap_or_else(PoisonError::into_inner);
        let begun = now.as_microsecond();
        // Whoever sets the clock back gets names of the new time.
        *last = if (begun..begun + NAMES).contains(&*last) { *last + 1 } else { begun };
        Timestamp::from_microsecond(*last).unwrap_or(now)
    }

    /// A view that could not be minted must not lock the signer out. If that cannot be written down, the lease
    /// ends by itself; why there is no view is what the visitor must hear.
    pub(super) async fn release(&self, id: SigningId, lease: &LiveView) {
        let freed = self.change(id, Durability::Flushed, |signing, _| {
            signing.live_view = signing.live_view.take().filter(|view| !is_same(view, lease));
            Ok(Vec::new())
        });
        if let Err(error) = freed.await {
            tracing::warn!(signing.id = %id, error = %chain(&error), "the lease of a view that was not had stays");
        }
    }

    /// Writes down a view that there is: failing to does not cost the view. Without it the lease would end while the signer
    /// is at work, long before their page first says that it is open, so it is tried again for as long as the view can be
    /// opened, and nobody waits for that. A caller took no lease: there it costs the line.
    async fn note(&self, made: Made, lease: Option<LiveView>) {
        let noted = self.change(made.id, Durability::Flushed, |signing, now| Ok(made.note_in(signing, now)));
        let Err(error) = noted.await else { return };
        tracing::warn!(signing.id = %made.id, error = %chain(&error), "a view that was handed out is not written down");
        // The URL of a late answer's view may be lost, and then its lease must not go on.
        if let Some(lease) = lease.filter(|lease| lease.kind == ViewKind::Clicked) {
            let this = self.clone();
            self.parts.life.spawn_work("note a view", async move { this.note_later(made, &lease).await });
        }
    }

    /// Tries again until it is written down, and one last time when the daemon stops.
    async fn note_later(&self, made: Made, lease: &LiveView) {
        let until = Deadline::within(&*self.parts.clock, VIEW_LIFE);
        let mut is_last = false;
        while !is_last {
            tokio::select! {
                biased;
                () = self.parts.life.stopping().cancelled_owned() => is_last = true,
                () = self.parts.clock.sleep(NOTE_AGAIN) => is_last = until.left(self.parts.clock.uptime()).is_zero(),
            }
            let noted = self.change(made.id, Durability::Flushed, |signing, now| {
                // It may have been written all the same; or its page has said that it is open, or another is there by now.
                let is_due = signing.live_view.as_ref() == Some(lease);
                Ok(if is_due { made.note_in(signing, now) } else { Vec::new() })
            });
            match noted.await {
                Ok(_) => return,
                Err(error) => {
                    tracing::debug!(signing.id = %made.id, error = %chain(&error), "a view is still not written down");
                }
            }
        }
    }
}

/// The word by which the audit log and the timeline tell what a visitor clicked on: a link, or the page after a return.
fn clicked_on(target: ReturnTarget) -> &'static str {
    // The way back from a view may hang on a link, too; but it names its view, and a link names none.
    if target.link.is_some() && target.view.is_none() { "link" } else { "return" }
}

/// Whether the upstream has answered, be it with a refusal: what is asked again in vain costs as much.
fn is_answered(minted: &Result<esign::View, Error>) -> bool {
    match minted {
        Ok(_) | Err(Error::PollingBudget { .. }) => true,
        Err(Error::Upstream(error)) => error.rejection().is_some(),
        Err(_) => false,
    }
}
