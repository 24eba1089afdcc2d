//! Why a use case was refused, by what the caller does next.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;

use crate::{
    domain::{Failure, SignerStatus, SigningId, SigningStatus},
    esign::{self, RejectionKind},
    objects::Invalids,
    signing::DownloadError,
    store,
};

/// A refusal.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What was under way broke off. What had been accepted is finished.
    #[error("the work broke off")]
    BrokenOff {
        /// Because the daemon is stopping, and not through a mistake of its own.
        is_stopping: bool,
    },
    /// Too many creates wait for the upstream already.
    #[error("too many creates wait for the upstream")]
    Busy {
        /// When to try again.
        retry_after: Duration,
    },
    /// The signing has ended, and cannot do this any more.
    #[error("the signing is {}", .0.as_str())]
    Closed(SigningStatus),
    /// A document could not be had; all who waited for it are told so.
    #[error("the document could not be had")]
    Download(#[source] Arc<DownloadError>),
    /// The caller has created its signings of the day.
    #[error("the caller has reached its limit of {cap} signings a day")]
    DailyCap {
        /// How many it may create.
        cap: u64,
        /// When the next day begins.
        until: Timestamp,
    },
    /// The upstream refused the envelope for good.
    #[error("the upstream refused the envelope")]
    Failed {
        /// Why.
        failure: Failure,
        /// The signing that records it.
        signing: SigningId,
        /// Whether this is the answer to an earlier call with the same key.
        replayed: bool,
    },
    /// Something in the request does not fit what the upstream holds.
    #[error("the request does not fit")]
    Invalid(Invalids),
    /// The first call with this key is still running.
    #[error("a call with the same key is still running")]
    InProgress {
        /// The signing it makes.
        signing: SigningId,
        /// When to ask again.
        retry_after: Duration,
    },
    /// The key was used for another request.
    #[error("the key was used for another request")]
    KeyReused {
        /// The signing that the other request made.
        signing: SigningId,
    },
    /// The link was revoked, or its time is over.
    #[error("the link leads nowhere any more")]
    LinkOver,
    /// No such thing, or not this caller's.
    #[error("no such signing, signer or link")]
    NotFound,
    /// The signer has no check of the kind that was to be given anew.
    #[error("the signer has no such check")]
    NoCheck,
    /// Only a completed signing has signed documents.
    #[error("the signing is {}, and not completed", .0.as_str())]
    NotCompleted(SigningStatus),
    /// Only what has ended can be purged.
    #[error("the signing is {}, and has not ended", .0.as_str())]
    NotEnded(SigningStatus),
    /// The envelope does not exist yet, as far as is known, so that it cannot be called off.
    #[error("the signing is {}", .0.as_str())]
    NotOpen(SigningStatus),
    /// It is not this signer's turn, or the envelope does not exist yet.
    #[error("the signer is {}", .status.as_str())]
    NotReady {
        /// Where the signer stands.
        status: SignerStatus,
        /// Where the signing stands.
        signing: SigningStatus,
    },
    /// There is nothing for a link to lead to.
    #[error("the public listener is off")]
    NoPublicListener,
    /// The upstream needs a URL to send the browser back to.
    #[error("the signer has no return URL, and the public listener is off")]
    NoReturnUrl,
    /// The envelope was checked less than the upstream's polling interval ago.
    #[error("the envelope was checked too recently")]
    PollingBudget {
        /// When it may be checked again.
        retry_at: Timestamp,
    },
    /// The documents were destroyed at the upstream.
    #[error("the documents were destroyed")]
    Purged,
    /// The store could not do it.
    #[error("the store failed")]
    Store(#[from] store::Error),
    /// The time that the caller gave the signing is over; the upstream has yet to say that it has ended.
    #[error("the time of the signing is over")]
    TimeOver,
    /// As many wait for news of signings as may at once, of this caller or of all.
    #[error("too many wait for news of signings already")]
    TooManyWaiting {
        /// When to try again.
        retry_after: Duration,
    },
    /// Clicks had views made for this signer too often in a short time.
    #[error("views were made for this signer too often")]
    TooOften {
        /// When to try again.
        retry_after: Duration,
    },
    /// The upstream, or the way to act there, failed.
    #[error("the upstream failed")]
    Upstream(#[from] esign::Error),
    /// Another view of this envelope may be open.
    #[error("another view of this envelope may be open")]
    ViewLive {
        /// When it surely is not any more.
        until: Timestamp,
    },
}

impl Error {
    /// Somebody else changed the record first, so that nothing was written.
    pub(super) const fn conflict() -> Self {
        Self::Store(store::Error::Conflict)
    }

    /// Whether it is [`Error::conflict`].
    pub(super) const fn is_conflict(&self) -> bool {
        matches!(self, Self::Store(store::Error::Conflict))
    }

    /// Whether the upstream says that it is not yet this signer's turn. That may be news: a template may bring
    /// recipients of its own, who sign before ours.
    pub fn is_out_of_turn(&self) -> bool {
        matches!(self, Self::Upstream(error) if error.rejection() == Some(RejectionKind::NotInSequence))
    }

    /// Whether the upstream says that it has no such envelope (any more).
    pub fn is_of_unknown_envelope(&self) -> bool {
        matches!(self, Self::Upstream(error) if error.rejection() == Some(RejectionKind::EnvelopeUnknown))
    }

    /// When that may be read again which a check was spent on that came to nothing (rule B3).
    pub fn check_spent_until(&self) -> Option<Timestamp> {
        match self {
            Self::Upstream(esign::Error::CheckSpent { until, .. }) => Some(*until),
            _ => None,
        }
    }

    /// Whether the upstream may still be at what was asked for.
    pub(super) fn is_unanswered(&self) -> bool {
        matches!(self, Self::Upstream(error) if error.is_unanswered())
    }

    /// The upstream's trace id of the call that failed.
    pub(super) fn trace(&self) -> Option<&str> {
        if let Self::Upstream(error) = self { error.trace() } else { None }
    }

    /// How long to wait before the same thing is tried again, if that is known.
    pub(super) fn retry_after(&self, now: Timestamp) -> Option<Duration> {
        match self {
            Self::Busy { retry_after }
            | Self::InProgress { retry_after, .. }
            | Self::TooManyWaiting { retry_after }
            | Self::TooOften { retry_after } => Some(*retry_after),
            Self::PollingBudget { retry_at } => Duration::try_from(retry_at.duration_since(now)).ok(),
            Self::Upstream(error) => error.retry_after(now),
            _ => None,
        }
    }
}
