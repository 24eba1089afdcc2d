//! The view that is asked for right after the create. One that comes soon is written down together with its envelope, in
//! one answer. One that takes its time must not hide the envelope, which exists: that is written down first, so that its
//! events are sent, its links lead to it and it can be called off, and the view is added when it comes.
//!
//! DocuSign makes it at a moment that we do not know, and then ends the session of whoever is at another one. So until it is
//! there, or surely will not be, nobody has another made: not by a click, nor by a call of the caller (rule L2).
//!
//! A view that cannot be had is no failure of the create. It must never take the place of one that was made meanwhile.

use std::{pin::Pin, time::Duration};

use jiff::Timestamp;
use tokio::sync::oneshot;

use crate::{
    clock::{Deadline, later},
    domain::{
        AccountId, EnvelopeId, LiveView, MomentKind, Private, Signer, SignerId, SignerStatus, Signing,
        SigningStatus, ViewKind,
    },
    esign::{self, Created as CreatedEnvelope},
    objects::show::ShownView,
    signing::{
        AT_LEISURE, Error, Signings,
        attempt::Outcome,
        create::{Created, Job, Told, say},
        leases::{Opener, VIEW_LIFE, fresh, is_same, live_view},
        mint::Minting,
    },
    store::Durability,
    telemetry::chain,
};

/// How long an envelope that exists waits to be written down together with its view.
const SOON: Duration = Duration::from_secs(1);

/// What came of the view that is asked for right after the create.
#[derive(Debug)]
pub(super) enum FirstView {
    /// It is not here yet, or was given up and may be made all the same. With this lease nobody has another made meanwhile.
    Coming(LiveView),
    /// The upstream made none, asked at that time by its clock: others sign before this signer.
    Denied { signer: SignerId, asked_at: Timestamp, trace: Option<String> },
    /// Here it is.
    Minted(MintedView),
    /// None was asked for, or none could be had.
    None,
}

/// A view that was minted right after the create.
#[derive(Debug)]
pub(super) struct MintedView {
    pub(super) signer: SignerId,
    pub(super) url: Private<String>,
    pub(super) at: Timestamp,
    /// The same moment by the upstream's clock.
    pub(super) asked_at: Timestamp,
    pub(super) trace: Option<String>,
}

impl Signings {
    /// Mints the first view of an envelope that was just made, if the draft wants one and time is left. The way back
    /// from it hangs on the job's links, which go into the same answer. None: it took its time, and all is written down
    /// and told.
    pub(super) async fn with_view(
        &self,
        acting: &esign::Acting,
        job: &Job,
        outcome: Outcome,
        until: Deadline,
        tell: &mut Option<oneshot::Sender<Told>>,
    ) -> Option<Outcome> {
        let (account, created) = match outcome {
            Outcome::Opened { account, created, .. } => (account, created),
            other => return Some(other),
        };
        let clock = &*self.parts.clock;
        let left = until.left(clock.uptime());
        // A life of seconds may be over by now, and then nobody has a view.
        let may_open = !left.is_zero() && !self.is_over(&job.signing);
        let Some(signer) = viewer(job).filter(|_| may_open) else {
            return Some(Outcome::Opened { account, created, view: FirstView::None });
        };
        let link = job.links.iter().find(|shown| shown.link.signer == signer.id).map(|shown| shown.link.id);
        // With too little time left for what a view usually takes, none is asked for.
        let minting = Minting { link, clicked: None, at: clock.now(), deadline: self.within(left) };
        let view = {
            let coming = self.first_view(acting, &job.signing, &created.envelope, signer, minting);
            tokio::pin!(coming);
            let soon = Deadline::within(clock, left.min(SOON));
            let view = soon.hold(clock, coming.as_mut()).await;
            let Some(view) = view else {
                let made = (account, created.clone());
                let lease = coming_lease(signer.id, minting.at, Opener::Caller);
                // Rare and large: boxed, so that every create need not have room for it.
                Box::pin(self.add_later(job.clone(), made, lease, coming, until, tell.take())).await;
                return None;
            };
            view
        };
        Some(Outcome::Opened { account, created, view })
    }

    async fn first_view(
        &self,
        acting: &esign::Acting,
        signing: &Signing,
        envelope: &EnvelopeId,
        signer: &Signer,
        minting: Minting,
    ) -> FirstView {
        let asked_at = self.corrected_now();
        let minted = self.mint_announced(acting, signing, envelope, signer, (minting, None)).await;
        self.count_view(minted.as_ref().err());
        match minted {
            Ok(view) => {
                let (signer, at, esign::View { url, trace }) = (signer.id, minting.at, view);
                FirstView::Minted(MintedView { signer, url, at, asked_at, trace })
            }
            Err(error) => {
                tracing::warn!(signing.id = %signing.id, error = %chain(&error), "no view after the create");
                if error.is_unanswered() {
                    return FirstView::Coming(coming_lease(signer.id, minting.at, Opener::Caller));
                }
                if !error.is_out_of_turn() {
                    return FirstView::None;
                }
                let trace = error.trace().map(str::to_owned);
                FirstView::Denied { signer: signer.id, asked_at, trace }
            }
        }
    }

    /// Writes an envelope down without its view, and adds that when it comes. The caller waits for it until their time
    /// is over; then it is there for the same call, made again.
    async fn add_later(
        &self,
        mut job: Job,
        (account, created): (AccountId, CreatedEnvelope),
        lease: LiveView,
        mut coming: Pin<&mut (impl Future<Output = FirstView> + Send)>,
        until: Deadline,
        tell: Option<oneshot::Sender<Told>>,
    ) {
        let opened = Outcome::Opened { account, created, view: FirstView::Coming(lease.clone()) };
        let made = match self.settle(&mut job, opened).await {
            Told::Ended(Ok(made)) => made,
            // It is in doubt or somebody else's, and so nobody's view.
            other => return say(tell, other),
        };
        if let Some(view) = until.hold(&*self.parts.clock, coming.as_mut()).await {
            let told = self.added(&job, view, &lease).await.unwrap_or(made);
            return say(tell, Told::Ended(Ok(told)));
        }
        say(tell, Told::Ended(Ok(made)));
        let view = coming.await;
        self.added(&job, view, &lease).await;
    }

    /// Adds what came of the view to a signing that is written down, and answers what it is told with. None: it is told as
    /// it was. A view that cannot be written down is had again by whoever asks next.
    async fn added(&self, job: &Job, view: FirstView, lease: &LiveView) -> Option<Created> {
        let id = job.signing.id;
        match self.add(job, view, lease).await {
            Ok(told) => told,
            Err(error) => {
                tracing::warn!(signing.id = %id, error = %chain(&error), "a first view that took its time is not kept");
                self.release(id, lease).await;
                None
            }
        }
    }

    /// Adds it to the timeline, and to the answer that is kept. One that another has replaced by now opens nothing, and is
    /// told to nobody.
    async fn add(&self, job: &Job, view: FirstView, lease: &LiveView) -> Result<Option<Created>, Error> {
        let id = job.signing.id;
        let view = match view {
            FirstView::Minted(view) => view,
            FirstView::Denied { signer, asked_at, trace } => {
                self.deny_turn((id, signer), SignerStatus::Ready, asked_at, trace).await;
                self.release(id, lease).await;
                return Ok(None);
            }
            // It may still be made: its lease ends by itself.
            FirstView::Coming(_) => return Ok(None),
            FirstView::None => {
                self.release(id, lease).await;
                return Ok(None);
            }
        };
        let mut is_last = false;
        self.change(id, Durability::Flushed, |signing, now| {
            let live = signing.live_view.as_ref().filter(|_| signing.status == SigningStatus::Open);
            is_last = live.is_some_and(|live| is_same(live, lease));
            if is_last {
                signing.live_view = Some(fresh(view.signer, view.at, Opener::Caller));
            }
            signing.remember(now, MomentKind::ViewMinted, Some(view.signer), view.trace.clone());
            Ok(Vec::new())
        })
        .await?;
        if !is_last {
            return Ok(None);
        }
        let expires_at = later(view.asked_at, VIEW_LIFE);
        let shown = ShownView { signer: view.signer, url: view.url, expires_at };
        self.keep_answer(id, &[shown], job.links.clone(), false).await.map(Some)
    }
}

/// The signer for whom a view is asked for right after the create, if the draft wants one.
pub(super) fn viewer(job: &Job) -> Option<&Signer> {
    job.signing.signers.iter().min_by_key(|signer| signer.order).filter(|_| job.draft.view)
}

/// The lease of a view that is asked for and not here yet, from its first moment on: no call for it takes longer.
pub(super) fn coming_lease(signer: SignerId, asked_at: Timestamp, opener: Opener) -> LiveView {
    let kind = if opener == Opener::Click { ViewKind::Clicked } else { ViewKind::Coming };
    LiveView { kind, signer, minted_at: asked_at, until: later(asked_at, AT_LEISURE) }
}

/// The view of a signing that is asked for and not here yet.
pub(super) fn coming_view(signing: &Signing, now: Timestamp) -> Option<&LiveView> {
    let is_coming = |view: &&LiveView| matches!(view.kind, ViewKind::Clicked | ViewKind::Coming);
    live_view(signing, now).filter(is_coming)
}

/// The same, if it may yet be told in the answer to the create: a click's never is.
pub(super) fn view_to_tell(signing: &Signing, now: Timestamp) -> Option<&LiveView> {
    live_view(signing, now).filter(|view| view.kind == ViewKind::Coming)
}
