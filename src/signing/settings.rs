//! What the use cases are built on, and how a daemon makes signings, as the composition root tells it: where browsers and
//! events come back to, what keys and limits there are. Must decide nothing but where events go, which
//! changes with senders and keys: all else stays as it is while the use cases run.

use std::{borrow::Cow, fmt, path::PathBuf, sync::Arc, time::Duration};

use crate::{
    audit::Audit,
    clock::SharedClock,
    domain::{Mode, SenderName},
    esign,
    events::Hub,
    lifecycle::Lifecycle,
    signing::NonceKey,
    spool::Spool,
    store::SharedStore,
    telemetry::metrics::Metrics,
};

/// What the use cases are built on.
#[derive(Debug)]
pub struct Dependencies {
    /// Where signings are kept.
    pub store: SharedStore,
    /// The upstream.
    pub esign: Arc<esign::Client>,
    /// What tells of changes.
    pub hub: Hub,
    /// The time.
    pub clock: SharedClock,
    /// What a stop waits for.
    pub life: Lifecycle,
    /// How signings are made.
    pub settings: Settings,
}

/// How this daemon makes signings.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Whether signatures bind.
    pub mode: Mode,
    /// The origin of the public listener, without a slash at the end; none if it is off.
    pub public_origin: Option<String>,
    /// Where the upstream is to push events; nowhere if there is no public listener.
    pub events_to: Option<EventsTo>,
    /// The key behind return URLs.
    pub nonce_key: NonceKey,
    /// Where signed documents lie while they are read.
    pub spool: Spool,
    /// For how long each of them lies there.
    pub keep_documents: Duration,
    /// The binary that reads PDFs in processes of its own; none: the daemon reads them itself.
    pub pdf_program: Option<PathBuf>,
    /// Creates that may wait for a dead upstream before new ones are refused.
    pub queue_limit: u64,
    /// How often recovery looks for due work by itself: another daemon's comes without a wake-up.
    pub look_every: Duration,
    /// Where each use of the key is written down first.
    pub audit: Audit,
    /// What is counted: statuses that were reached, views that were asked for.
    pub metrics: Arc<Metrics>,
}

/// Where events of envelopes go.
#[derive(Clone)]
pub struct EventsTo {
    /// The address for everybody's; none if nothing that comes to it could be believed.
    pub general: Option<String>,
    /// The address of a sender whose account has keys of its own: senders and keys come and go.
    pub own: Arc<FindAddress>,
}

/// By the sender of an envelope.
pub type FindAddress = dyn Fn(&SenderName) -> Option<String> + Send + Sync;

impl EventsTo {
    /// Where those of this sender's envelopes go: what could not be believed is not asked for.
    pub fn address(&self, sender: &SenderName) -> Option<Cow<'_, str>> {
        (self.own)(sender).map(Cow::Owned).or_else(|| self.general.as_deref().map(Cow::Borrowed))
    }
}

impl fmt::Debug for EventsTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventsTo").field("general", &self.general).finish_non_exhaustive()
    }
}
