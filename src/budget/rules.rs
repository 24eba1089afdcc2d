//! The vendor's rules that our calls could break and that can be counted: what a rehearsal looks at before
//! an integration key goes live.
//!
//! A rule is here only if a page of the vendor says it. Not here is what no call of this daemon can break (sizes
//! of requests, numbers of Connect configurations and of integration keys), and what it cannot count truthfully
//! (uploads of one document that are under way at the same time, over all accounts).

use serde::Serialize;

use super::{Scope, Shed};

/// More changes than this of one envelope are more than the vendor advises: it speaks of five calls to create
/// and update one, and one of them created it.
pub(super) const ADVISED_CHANGES: u64 = 4;

/// What becomes of who breaks a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Weight {
    /// Nothing by itself: the vendor advises against it.
    Advice,
    /// The upstream refuses the call.
    Limit,
    /// The call passes, and the review before an integration key goes live may fail.
    Review,
}

macro_rules! rules {
    ($($(#[$doc:meta])* $name:ident = $word:literal, $weight:ident, $says:literal, $source:expr;)*) => {
        /// A rule of the vendor.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Rule { $($(#[$doc])* $name,)* }

        impl Rule {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The word for it, as in JSON.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $word),* }
            }

            /// What becomes of who breaks it.
            pub const fn weight(self) -> Weight {
                match self { $(Self::$name => Weight::$weight),* }
            }

            /// The rule in a sentence.
            pub const fn says(self) -> &'static str {
                match self { $(Self::$name => $says),* }
            }

            /// Where the vendor says so.
            pub const fn source(self) -> &'static str {
                match self { $(Self::$name => $source),* }
            }
        }
    };
}

/// Reference, sections 3.3, 7 and 11 (read in mid 2026).
const LIMITS: &str = "developers.docusign.com/docs/esign-rest-api/esign101/rules-and-limits";
/// Reference, section 1.7 (read in mid 2026).
const USER_INFO: &str = "developers.docusign.com/platform/auth/reference/user-info";
/// Reference, sections 1.3 and 7 (read in mid 2026).
const FAQ: &str = "DocuSign Developer FAQs, General Administration and Authentication";

rules! {
    /// Calls of the account server.
    AccountServerLimit = "account_server_limit", Limit,
        "the account server limits how often it is asked for tokens and users in an hour", USER_INFO;
    /// Calls of an account in 30 seconds.
    BurstLimit = "burst_limit", Limit,
        "an account has so many calls in 30 seconds, by all applications together", LIMITS;
    /// Downloads of one document.
    DocumentDownloads = "document_downloads", Limit,
        "a document of an envelope under way is downloaded a few times in an hour, and in six", LIMITS;
    /// Changes of one envelope.
    EnvelopeChanges = "envelope_changes", Advice,
        "at most five calls create and update one envelope", LIMITS;
    /// Calls about one envelope.
    EnvelopeLimit = "envelope_limit", Limit,
        "an envelope is read and changed only so often in a short time, and in an hour", LIMITS;
    /// Calls of an account in an hour.
    HourlyLimit = "hourly_limit", Limit,
        "an account has so many calls in a clock hour, by all applications together", LIMITS;
    /// Calls after the hour's were gone.
    Pause = "pause", Review, "when the calls of an hour are gone, stop until the next one begins", LIMITS;
    /// One status check an envelope in 15 minutes.
    Polling = "polling", Review,
        "the status of an envelope, and of each part of it, is read once in 15 minutes", LIMITS;
    /// A token that was not kept.
    TokenKept = "token_kept", Advice,
        "keep an access token until shortly before it expires, instead of asking for another", FAQ;
}

impl Rule {
    /// The rule behind a limit that the upstream named.
    pub(super) const fn of(scope: Scope) -> Self {
        match scope {
            Scope::Burst => Self::BurstLimit,
            Scope::Document => Self::DocumentDownloads,
            Scope::Envelope => Self::EnvelopeLimit,
            Scope::Hour => Self::HourlyLimit,
            Scope::Polling => Self::Polling,
        }
    }

    /// The rule that a call would have broken which we held back.
    pub(super) const fn spared_by(shed: &Shed) -> Self {
        if shed.is_gone { Self::Pause } else { Self::of(shed.scope) }
    }
}
