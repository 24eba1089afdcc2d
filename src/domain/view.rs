//! Views that may be open, and what browsers say when they come back from one.

use jiff::Timestamp;

use crate::domain::{SignerId, SignerStatus};

/// How far a view is, as far as we know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ViewKind {
    /// As [`Coming`](Self::Coming), for a click: the answer to the create never has it, and waits for no such view.
    Clicked,
    /// It was asked for and is not here yet: another must not be made before it, which it would end.
    Coming,
    /// The caller was given it, and may never have used it.
    Given,
    /// Somebody is at it: a click on a link opened it, or its page has said that it is open.
    InUse,
}

/// A recipient view that may be open: the lease that keeps a second click from ending it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveView {
    /// How far it is.
    pub kind: ViewKind,
    /// Whose view.
    pub signer: SignerId,
    /// When it was minted.
    pub minted_at: Timestamp,
    /// Until when no other is minted for this envelope.
    pub until: Timestamp,
}

/// What a browser said when it came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastReturn {
    /// The claim.
    pub claim: Claim,
    /// When.
    pub at: Timestamp,
    /// When the view was minted that led back. None: an earlier version noted it, or made the nonce.
    pub view: Option<Timestamp>,
}

macro_rules! claims {
    ($($(#[$doc:meta])* $name:ident = $word:literal,)*) => {
        /// The `event` of a return URL (eSignature REST API, EnvelopeViews: createRecipient). Anyone can
        /// type it into a browser, so it decides which page comes next and nothing else.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Claim { $($(#[$doc])* $name,)* /** Missing, or a word we do not know. */ Unknown, }

        impl Claim {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)* Self::Unknown];

            /// The upstream's word.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $word,)* Self::Unknown => "unknown" }
            }

            /// The claim of that word.
            pub fn parse(word: &str) -> Self {
                match word { $($word => Self::$name,)* _ => Self::Unknown }
            }
        }
    };
}

claims! {
    /// The access code was wrong too often.
    AccessCodeFailed = "access_code_failed",
    /// "Finish later".
    Cancel = "cancel",
    /// Declined.
    Decline = "decline",
    /// The signing page failed.
    Exception = "exception",
    /// Waiting for a fax.
    FaxPending = "fax_pending",
    /// The identity check failed.
    IdCheckFailed = "id_check_failed",
    /// Idle for too long.
    SessionTimeout = "session_timeout",
    /// Finished.
    SigningComplete = "signing_complete",
    /// The view was used already, or too late.
    TtlExpired = "ttl_expired",
    /// Had only to look.
    ViewingComplete = "viewing_complete",
}

impl Claim {
    /// Whether the page that the view led to is surely closed. A view that was opened a second time ends
    /// nothing: the first opening may be at work (rule L2).
    pub const fn ends_session(self, status: SignerStatus) -> bool {
        match self {
            Self::Unknown => false,
            Self::TtlExpired => !matches!(status, SignerStatus::InSession),
            _ => true,
        }
    }
}
