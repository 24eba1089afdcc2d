//! Our own events: what we tell callers when a fact has changed something.

use jiff::Timestamp;

use crate::domain::{CallerName, EventId, SignerId, SigningId};

macro_rules! event_kinds {
    ($($(#[$doc:meta])* $name:ident = $word:literal,)*) => {
        /// The type of an event. The words are part of our API and never change.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum EventKind { $($(#[$doc])* $name,)* }

        impl EventKind {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The word in our API.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $word),* }
            }
        }
    };
}

event_kinds! {
    /// A budget of upstream calls is nearly spent.
    BudgetLow = "budget.low",
    /// The signed documents can be fetched.
    DocumentAvailable = "document.available",
    /// A sender's user has not consented, or has withdrawn it.
    SenderConsentMissing = "sender.consent_missing",
    /// A sender that could not act can again.
    SenderRecovered = "sender.recovered",
    /// An identity check of a signer failed for good.
    SignerAuthenticationFailed = "signer.authentication_failed",
    /// A signer refused to sign.
    SignerDeclined = "signer.declined",
    /// It is a signer's turn.
    SignerReady = "signer.ready",
    /// A signer's browser came back; what it said is a claim.
    SignerReturned = "signer.returned",
    /// A signer opened the documents.
    SignerSessionStarted = "signer.session_started",
    /// A signer signed.
    SignerSigned = "signer.signed",
    /// Everyone signed.
    SigningCompleted = "signing.completed",
    /// Somebody declined, and that ended it.
    SigningDeclined = "signing.declined",
    /// Nobody signed in time.
    SigningExpired = "signing.expired",
    /// The envelope will never exist; the signing's failure says why.
    SigningFailed = "signing.failed",
    /// The envelope exists, and can be signed.
    SigningOpened = "signing.opened",
    /// The documents were destroyed at the upstream.
    SigningPurged = "signing.purged",
    /// The answer to the create was lost; it is being looked up.
    SigningUncertain = "signing.uncertain",
    /// The sender called it off.
    SigningVoided = "signing.voided",
}

impl EventKind {
    /// The kind of that word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.as_str() == word)
    }
}

/// One event, as it lies in the outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its id: the same in every delivery of it.
    pub id: EventId,
    /// Whose event it is.
    pub caller: CallerName,
    /// What happened.
    pub kind: EventKind,
    /// The signing it is about; none for events about senders and budgets.
    pub signing: Option<SigningId>,
    /// The signer it is about, if one.
    pub signer: Option<SignerId>,
    /// Its place among the events of the signing: 1, 2, 3, …
    pub sequence: u64,
    /// When we learned of it.
    pub at: Timestamp,
    /// The object as it was then, in our API's JSON: without names, addresses, views and links, but with what the
    /// caller noted of it, so that it is kept sealed.
    pub data: String,
}
