//! Why a call did not do what it was to do, and what follows from that: whether something may have happened all
//! the same, whether it is worth another try, and what a person does. What a refusal is about is told in
//! [`refusal`](super::refusal).

use std::{sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};

use super::refusal::{Rejection, RejectionKind as K};
use crate::{
    auth,
    budget::{Outcome, Scope, Shed, Unclaimed},
    domain::AccountId,
    http_client,
};

/// What a call can end with, other than well. A variant exists where a caller acts differently on it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no token, or no account to use it on.
    #[error("the sender cannot act at the upstream")]
    Auth(#[source] Arc<auth::Error>),
    /// The upstream answered, and the answer makes no sense.
    #[error("the upstream's answer cannot be used (HTTP {status}): {what}")]
    BadAnswer {
        /// The HTTP status.
        status: u16,
        /// What is wrong with it.
        what: &'static str,
        /// The upstream's trace id.
        trace: Option<String>,
    },
    /// A status check came to nothing, and is spent all the same: a repeat is refused until the next may be made (rule B3).
    #[error("the one check in 15 minutes was spent on it, and the next may be made at {until}")]
    CheckSpent {
        /// When it may be.
        until: Timestamp,
        /// What became of this one.
        #[source]
        error: Box<Error>,
    },
    /// It could not have ended in time, so it was not begun.
    #[error("the time left is too short for this call")]
    Deadline,
    /// What was to be sent is larger than the upstream takes, or cannot be sent at all.
    #[error("this cannot be sent: {0}")]
    Invalid(&'static str),
    /// A limit is in the way, ours or the upstream's.
    #[error("{} until {until}", not_allowed(*.scope))]
    Limited {
        /// When they are.
        until: Timestamp,
        /// Which limit.
        scope: Scope,
        /// What the upstream said, if it was asked.
        provider: Option<Provider>,
    },
    /// It was surely not sent.
    #[error("the upstream cannot be reached")]
    NotSent(#[source] http_client::Error),
    /// The envelope is in another account than the one that its sender acts in by now, so nothing was asked there.
    #[error("the signing is in account {of}, and its sender acts in account {acts_in} now")]
    OtherAccount {
        /// Where the envelope is.
        of: AccountId,
        /// Where the sender acts.
        acts_in: AccountId,
    },
    /// The upstream refused it; sending it again changes nothing.
    #[error("the upstream refused: {0}")]
    Rejected(Rejection),
    /// The token was refused while a body streamed past that nobody kept. The upstream did nothing, and
    /// there is a fresh token now.
    #[error("the access token had died, and the body was too large to be kept for a second try")]
    SendAgain,
    /// The sender has no usable way to send a code by SMS.
    #[error("the account has no identity verification workflow for phones")]
    SmsAuthUnavailable,
    /// A signer who is to get a code by SMS has the address of the sender's own user, whom the upstream asks for none: it
    /// would make the envelope, and leave the check out without a word.
    #[error(
        "a signer with sms_auth has the e-mail address of the sender's own user, and DocuSign may ask a sender who signs for \
         no code"
    )]
    SmsToSender,
    /// The upstream is there and cannot answer.
    #[error("the upstream is unavailable (HTTP {})", provider.status)]
    Unavailable {
        /// What it said.
        provider: Provider,
        /// How long it asks us to wait.
        retry_after: Option<Duration>,
    },
    /// Whether the upstream may be asked could not be found out, so it was not asked (rule B3).
    #[error("the store does not say whether a status check is allowed")]
    Uncounted,
    /// It could not be written into the audit log first, so it was not sent (rule S6).
    #[error("this cannot be written into the audit log")]
    Unrecorded,
    /// No answer came; the upstream may have acted on it (rule E2).
    #[error("no answer came from the upstream")]
    Unknown(#[source] http_client::Error),
}

/// What the upstream said of an error, without its words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provider {
    /// The HTTP status.
    pub status: u16,
    /// Its `errorCode`, reduced to letters, digits and underscores.
    pub code: Option<String>,
    /// Its trace id.
    pub trace: Option<String>,
}

/// How far a call came that did not end well: what it says of the upstream, and of what may have happened there. Whatever
/// else is asked of an error about that follows from this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// The upstream answered, and did nothing.
    Answered,
    /// Nobody was asked: it is about us, a sender's token, what was read before, or a limit that we keep to. It says nothing
    /// of how the eSignature API is.
    NotAsked,
    /// It surely did not get there.
    NotSent,
    /// The upstream may have acted on it.
    Unknown,
}

/// Whether something may have happened at the upstream although the call failed (rule E2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doubt {
    /// Nothing happened.
    No,
    /// It may have.
    Yes,
}

impl From<Shed> for Error {
    fn from(shed: Shed) -> Self {
        Self::Limited { until: shed.retry_at, scope: shed.scope, provider: None }
    }
}

impl From<Unclaimed> for Error {
    fn from(unclaimed: Unclaimed) -> Self {
        match unclaimed {
            Unclaimed::Shed(shed) => shed.into(),
            Unclaimed::Store(error) => {
                tracing::warn!(%error, "a status check is not made: nobody knows whether it is allowed");
                Self::Uncounted
            }
        }
    }
}

impl From<Arc<auth::Error>> for Error {
    fn from(error: Arc<auth::Error>) -> Self {
        Self::Auth(error)
    }
}

/// What a limit holds back.
fn not_allowed(scope: Scope) -> &'static str {
    match scope {
        Scope::Polling => "this has been asked for within the last 15 minutes, and may not be asked again",
        Scope::Burst | Scope::Document | Scope::Envelope | Scope::Hour => "no further calls are allowed",
    }
}

impl Error {
    /// The same of a check that has left, or may have, so that none may be made before `next`. What a repeat may mend is
    /// told with that time; a refusal stays what it is.
    #[must_use]
    pub fn of_spent_check(self, next: Timestamp) -> Self {
        match self {
            Self::Limited { until, scope: Scope::Polling, provider } => {
                Self::Limited { until: until.max(next), scope: Scope::Polling, provider }
            }
            Self::Limited { until, .. } => Self::CheckSpent { until: until.max(next), error: Box::new(self) },
            error if error.retryable() && error.rejection().is_none() => {
                Self::CheckSpent { until: next, error: Box::new(error) }
            }
            error => error,
        }
    }

    /// Of a check that has left, for a caller whose time was over before it was answered: none may be made before `next`.
    pub fn of_late_check(next: Timestamp) -> Self {
        Self::Unknown(http_client::Error::TimedOut).of_spent_check(next)
    }

    /// How our API names it.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Auth(error) => error.code(),
            Self::CheckSpent { error, .. } => error.code(),
            Self::BadAnswer { .. }
            | Self::Deadline
            | Self::NotSent(_)
            | Self::SendAgain
            | Self::Unavailable { .. }
            | Self::Unknown(_) => "provider_unavailable",
            Self::Uncounted | Self::Unrecorded => "store_unavailable",
            Self::Invalid(_) => "payload_too_large",
            Self::Limited { scope: Scope::Polling, .. } => "polling_budget",
            Self::Limited { .. } => "provider_rate_limited",
            Self::OtherAccount { .. } => "sender_not_in_account",
            Self::Rejected(rejection) => rejection.kind.code(),
            Self::SmsAuthUnavailable | Self::SmsToSender => "sms_auth_unavailable",
        }
    }

    /// The next step for a person, in one sentence.
    pub fn fix(&self) -> &'static str {
        match self {
            Self::Auth(error) => error.fix(),
            Self::BadAnswer { .. } => "Try again; if it persists, quote the trace id to DocuSign's support.",
            Self::CheckSpent { .. } => {
                "Wait for the event, which needs no polling, or repeat the call after Retry-After: one status check is \
                 allowed in 15 minutes."
            }
            Self::Deadline => {
                "Try again with more time (Prefer: wait); a create may be answered at once (Prefer: respond-async)."
            }
            Self::Invalid(_) => K::TooLarge.fix(),
            Self::Limited { scope: Scope::Polling, .. } => {
                "Wait for the event, which needs no polling; one status check is allowed in 15 minutes."
            }
            Self::Limited { .. } => "Repeat the call after Retry-After.",
            Self::NotSent(_) => {
                "Try again; check DNS, the way out, and DocuSign's status page if it persists."
            }
            Self::OtherAccount { .. } => {
                "Set the sender's account back to the one that the signing is in (a connected sender is connected to it \
                 again), and repeat the call."
            }
            Self::Rejected(rejection) => rejection.kind.fix(),
            Self::SendAgain => "Send the same call again: nothing was done, and a fresh token is there.",
            Self::SmsAuthUnavailable => K::SmsUnavailable.fix(),
            Self::SmsToSender => {
                "Give the sender's DocuSign user a mailbox that no signer has (README, the first step to DocuSign), or the \
                 signer another e-mail address, or have the account's administrator set senderMustAuthenticateSigning to \
                 true: it is read where the sender's user may read the account's settings."
            }
            Self::Unavailable { .. } => "Try again; see DocuSign's status page if it persists.",
            Self::Uncounted => {
                "Try again once the store answers; /readyz on the ops listener says how it does."
            }
            Self::Unknown(_) => {
                "Repeat the call with the same key: it is looked up before anything is sent again."
            }
            Self::Unrecorded => {
                "Make room on the audit log's disk; the daemon's log says what is wrong with it."
            }
        }
    }

    /// Whether the same call can succeed later.
    pub fn retryable(&self) -> bool {
        match self {
            Self::Auth(error) => error.kind() == auth::Kind::Transient,
            Self::CheckSpent { error, .. } => error.retryable(),
            Self::BadAnswer { .. }
            | Self::Deadline
            | Self::Limited { .. }
            | Self::NotSent(_)
            | Self::SendAgain
            | Self::Unavailable { .. }
            | Self::Uncounted
            | Self::Unknown(_)
            | Self::Unrecorded => true,
            Self::Rejected(rejection) => matches!(rejection.kind, K::NotInSequence | K::UploadsAlike),
            Self::Invalid(_) | Self::OtherAccount { .. } | Self::SmsAuthUnavailable | Self::SmsToSender => {
                false
            }
        }
    }

    /// How far the call came.
    pub fn reach(&self) -> Reach {
        match self {
            Self::CheckSpent { error, .. } if error.reach() == Reach::Answered => Reach::Answered,
            Self::Limited { provider: Some(_), .. } | Self::Rejected(_) | Self::SendAgain => Reach::Answered,
            Self::Auth(_)
            | Self::Deadline
            | Self::Invalid(_)
            | Self::Limited { provider: None, .. }
            | Self::OtherAccount { .. }
            | Self::SmsAuthUnavailable
            | Self::SmsToSender
            | Self::Uncounted
            | Self::Unrecorded => Reach::NotAsked,
            Self::NotSent(_) => Reach::NotSent,
            // A check that is spent has left, or may have, whoever still waited for it.
            Self::BadAnswer { .. }
            | Self::CheckSpent { .. }
            | Self::Unavailable { .. }
            | Self::Unknown(_) => Reach::Unknown,
        }
    }

    /// Whether something may have happened at the upstream nevertheless (rule E2).
    pub fn doubt(&self) -> Doubt {
        if self.reach() == Reach::Unknown { Doubt::Yes } else { Doubt::No }
    }

    /// What the upstream said, if it answered.
    pub fn provider(&self) -> Option<&Provider> {
        match self {
            Self::CheckSpent { error, .. } => error.provider(),
            Self::Limited { provider, .. } => provider.as_ref(),
            Self::Rejected(rejection) => Some(&rejection.provider),
            Self::Unavailable { provider, .. } => Some(provider),
            _ => None,
        }
    }

    /// All that the upstream said, whichever part of it answered.
    pub fn said(&self) -> Option<Provider> {
        match self {
            Self::Auth(error) => error.said().map(|said| Provider {
                status: said.status,
                code: Some(said.word).filter(|word| !word.is_empty()),
                trace: said.trace,
            }),
            Self::BadAnswer { status, trace, .. } => {
                Some(Provider { status: *status, code: None, trace: trace.clone() })
            }
            Self::CheckSpent { error, .. } => error.said(),
            _ => self.provider().cloned(),
        }
    }

    /// The upstream's trace id, for support cases.
    pub fn trace(&self) -> Option<&str> {
        match self {
            Self::BadAnswer { trace, .. } => trace.as_deref(),
            Self::CheckSpent { error, .. } => error.trace(),
            _ => self.provider()?.trace.as_deref(),
        }
    }

    /// The refusal's kind, if it is one.
    pub fn rejection(&self) -> Option<K> {
        match self {
            Self::Rejected(rejection) => Some(rejection.kind),
            _ => None,
        }
    }

    /// How long to wait before trying again, where that is known.
    pub fn retry_after(&self, now: Timestamp) -> Option<Duration> {
        match self {
            Self::Auth(error) => error.retry_after(),
            Self::CheckSpent { until, .. } | Self::Limited { until, .. } => {
                Duration::try_from(until.duration_since(now).max(SignedDuration::ZERO)).ok()
            }
            Self::Unavailable { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// Whether no answer came in time, so that the upstream may still be at it.
    pub fn is_unanswered(&self) -> bool {
        match self {
            Self::CheckSpent { error, .. } => error.is_unanswered(),
            _ => matches!(self, Self::Unknown(http_client::Error::TimedOut)),
        }
    }

    /// Whether the upstream surely was not asked, so that nothing was spent there.
    pub fn never_left(&self) -> bool {
        matches!(self.reach(), Reach::NotAsked | Reach::NotSent)
    }

    /// The label in metrics.
    pub(super) fn outcome(&self) -> Outcome {
        match (self, self.reach()) {
            (Self::CheckSpent { error, .. }, _) => error.outcome(),
            (
                Self::Auth(_) | Self::Rejected(Rejection { kind: K::Unauthorized, .. }) | Self::SendAgain,
                _,
            ) => Outcome::Unauthorized,
            (Self::BadAnswer { .. }, _) => Outcome::BadAnswer,
            (Self::Limited { .. }, Reach::Answered) => Outcome::Limited,
            (Self::Unavailable { .. }, _) => Outcome::Unavailable,
            (_, Reach::Answered) => Outcome::Rejected,
            (_, Reach::NotAsked) => Outcome::Shed,
            (_, Reach::NotSent) => Outcome::NotSent,
            (_, Reach::Unknown) => Outcome::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;
    use crate::esign::refusal::Refusal;

    #[test]
    fn e2_only_surely_dead_calls_leave_no_doubt() {
        let provider = || Provider { status: 500, code: None, trace: None };
        let unknown = Error::Unknown(http_client::Error::TimedOut);
        let unavailable = Error::Unavailable { provider: provider(), retry_after: None };
        let bad = Error::BadAnswer { status: 201, what: "x", trace: None };
        for error in [unknown, unavailable, bad] {
            assert_eq!((error.doubt(), error.retryable()), (Doubt::Yes, true), "{error}");
        }
        let refusal = Refusal { status: StatusCode::BAD_REQUEST, code: None, is_foreign: false, trace: None };
        for error in [Error::Deadline, refusal.rejected(K::Other), Error::SmsAuthUnavailable] {
            assert_eq!(error.doubt(), Doubt::No, "{error}");
        }
    }

    #[test]
    fn b3_what_becomes_of_a_check_that_is_spent_says_when_the_next_may_be_made() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let provider = |status| Provider { status, code: None, trace: Some("t".to_owned()) };
        let limited =
            |scope, until| Error::Limited { until: at(until), scope, provider: Some(provider(429)) };
        let down = Error::Unavailable { provider: provider(503), retry_after: None };
        let wait = |error: &Error| error.retry_after(at(0)).map(|wait| wait.as_secs());
        for (error, seconds) in [
            (down, 900),
            (Error::Unknown(http_client::Error::TimedOut), 900),
            (limited(Scope::Hour, 30), 900),
            (limited(Scope::Hour, 1_800), 1_800),
            (limited(Scope::Polling, 30), 900),
        ] {
            let was = (error.code(), error.reach(), error.outcome(), error.said(), error.is_unanswered());
            let spent = error.of_spent_check(at(900));
            let is = (spent.code(), spent.reach(), spent.outcome(), spent.said(), spent.is_unanswered());
            assert_eq!((is, wait(&spent)), (was, Some(seconds)), "{spent}");
            assert!(spent.retryable() && !spent.never_left(), "{spent}");
        }
        // The next check would be refused in the same way.
        let refusal = Refusal { status: StatusCode::NOT_FOUND, code: None, is_foreign: false, trace: None };
        let refused = refusal.rejected(K::EnvelopeUnknown).of_spent_check(at(900));
        assert_eq!((refused.rejection(), wait(&refused)), (Some(K::EnvelopeUnknown), None));
    }

    /// What was never asked costs no check, and says nothing of how the upstream is: it neither ends an outage nor counts
    /// into one.
    #[test]
    fn what_nobody_was_asked_for_says_nothing_of_the_upstream() {
        let limited =
            |provider| Error::Limited { until: Timestamp::UNIX_EPOCH, scope: Scope::Burst, provider };
        let ours = [
            Error::Deadline,
            Error::Invalid("it is larger than the upstream takes"),
            limited(None),
            Error::SmsAuthUnavailable,
            Error::SmsToSender,
            Error::Uncounted,
            Error::Unrecorded,
        ];
        for error in ours {
            assert_eq!((error.reach(), error.outcome()), (Reach::NotAsked, Outcome::Shed), "{error}");
            assert!(error.never_left(), "{error}");
        }
        let told = limited(Some(Provider { status: 429, code: None, trace: None }));
        let refusal = Refusal { status: StatusCode::BAD_REQUEST, code: None, is_foreign: false, trace: None };
        let answered = [(told, Outcome::Limited), (refusal.rejected(K::Other), Outcome::Rejected)];
        for (error, outcome) in answered {
            assert_eq!((error.reach(), error.outcome()), (Reach::Answered, outcome), "{error}");
            assert!(!error.never_left(), "{error}");
        }
    }
}
