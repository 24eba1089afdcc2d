//! Why there is no access token.
//!
//! Each error answers three questions where it is born, so that nobody sorts errors again further
//! up: is it worth asking again soon ([`Error::kind`]), how does our API name it ([`Error::code`]),
//! and what should a person do ([`Error::fix`])? Nothing in here holds an assertion, a token, or a
//! text of the upstream that was not reduced to a short word first.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::{identity::UserId, signer::SignError, signing_key, user_info::NotInAccount};
use crate::http_client;

/// Why there is no access token, or nothing to use it on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The machine's clock is wrong, and the upstream refuses our assertions for it.
    #[error("the machine's clock is off by {} s, and the account server refuses what it signs", offset.as_secs())]
    ClockSkew {
        /// What would have to be added to our clock.
        offset: SignedDuration,
    },
    /// The token machinery was closed because the process ends.
    #[error("the daemon is stopping")]
    Closed,
    /// The authorization code or refresh token is used up, stale or not ours.
    #[error("the account server refuses this authorization code or refresh token")]
    CodeRejected,
    /// Another renewal has the refresh token of a connected sender, or had it and left it so.
    #[error(
        "another renewal of the sender's refresh token is under way, or broke off; it is over by {until} at the latest"
    )]
    ConnectionBusy {
        /// When it is over at the latest. It is looked at until then all the same, because most are over long before.
        until: Timestamp,
    },
    /// What a token was being renewed for is not there any more, or is another's by now.
    #[error("the sender was connected anew or disconnected while its token was being renewed")]
    ConnectionChanged,
    /// Somebody consented, and it was another user than the sender's.
    #[error("user {consented} has consented, and the sender acts as {configured}")]
    ConsentByOther {
        /// Who did.
        consented: UserId,
        /// Who is configured.
        configured: UserId,
    },
    /// What let a connected sender act is gone: revoked, expired, or used by somebody who is not us. A wrong secret
    /// of the app is answered in the same words.
    #[error("the connection of this sender is lost: its refresh token is not taken any more")]
    ConnectionLost,
    /// The user has not consented to every scope that we ask for, or has withdrawn that.
    #[error("the impersonated user has not consented to this integration key and these scopes")]
    ConsentRequired(Said),
    /// One of our own parts panicked. The refresher survives it.
    #[error("minting failed inside the daemon")]
    Internal,
    /// The integration key does not exist in this environment.
    #[error("the account server does not know this integration key")]
    IssuerUnknown(Said),
    /// None of the keys' signatures is accepted.
    #[error("the account server accepts no signature of this key")]
    KeyRejected(Said),
    /// No key could be read.
    #[error("no usable private key")]
    KeyUnusable(#[source] signing_key::Error),
    /// The answer is not what the account server is documented to say.
    #[error("the account server's answer cannot be used (HTTP {status}): {what}")]
    Malformed {
        /// The status.
        status: u16,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A connectable sender that nobody has connected yet.
    #[error("this sender is not connected to an account")]
    NotConnected,
    /// The account that the settings name is not one that can be used.
    #[error("no usable account")]
    NotInAccount(#[source] NotInAccount),
    /// The upstream's limits are used up.
    #[error("the account server limits our calls")]
    RateLimited {
        /// How long it asks us to wait.
        retry_after: Option<Duration>,
    },
    /// Refused for a reason that has no variant of its own.
    #[error("the account server refuses (HTTP {status}, {error})")]
    Refused {
        /// The status.
        status: u16,
        /// Its word for the reason, reduced to `[a-zA-Z0-9_.-]`.
        error: String,
    },
    /// There is no sender of that name.
    #[error("no sender of this name is configured")]
    SenderUnknown,
    /// The key is there but does not sign.
    #[error("signing failed")]
    Signing(#[source] SignError),
    /// The bearer was refused (401): retire its generation, mint once, try once more.
    #[error("the upstream refuses the access token")]
    TokenRefused {
        /// Until the next one is minted, if that is held back because tokens were refused one after the other.
        retry_after: Option<Duration>,
    },
    /// The account server is there and cannot answer now.
    #[error("the account server is unavailable (HTTP {status})")]
    Unavailable {
        /// The status.
        status: u16,
        /// How long it asks us to wait.
        retry_after: Option<Duration>,
    },
    /// Our own store is away, and with it the refresh token of a connected sender.
    #[error("the sender's refresh token cannot be read or kept: the store does not answer")]
    Unkept,
    /// No answer at all.
    #[error("the account server cannot be reached")]
    Unreachable(#[source] http_client::Error),
    /// The user id is the id of an account.
    #[error("user_id is the id of an account, and not of a user")]
    UserIsAccount,
    /// The user does not exist, or is closed, in this environment.
    #[error("the account server does not know this user id")]
    UserUnknown(Said),
}

/// What the account server said when it refused, for callers and support cases.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Said {
    /// The HTTP status.
    pub status: u16,
    /// Its word for the reason, reduced to `[a-zA-Z0-9_.-]`.
    pub word: String,
    /// Its trace id.
    pub trace: Option<String>,
}

/// Whether asking again soon can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It heals by itself: back off from 1 s to 60 s.
    Transient,
    /// A person has to act: ask every 1 to 5 minutes, and at once when woken (rule T4).
    Permanent,
}

impl Error {
    /// Whether asking again soon can help.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Closed
            | Self::ConnectionBusy { .. }
            | Self::ConnectionChanged
            | Self::Internal
            | Self::Malformed { .. }
            | Self::RateLimited { .. }
            | Self::Signing(_)
            | Self::TokenRefused { .. }
            | Self::Unavailable { .. }
            | Self::Unkept
            | Self::Unreachable(_) => Kind::Transient,
            Self::ClockSkew { .. }
            | Self::CodeRejected
            | Self::ConnectionLost
            | Self::ConsentRequired(_)
            | Self::IssuerUnknown(_)
            | Self::KeyRejected(_)
            | Self::KeyUnusable(_)
            | Self::NotConnected
            | Self::NotInAccount(_)
            | Self::Refused { .. }
            | Self::SenderUnknown
            | Self::ConsentByOther { .. }
            | Self::UserIsAccount
            | Self::UserUnknown(_) => Kind::Permanent,
        }
    }

    /// How our API names it: a code of its closed set.
    pub fn code(&self) -> &'static str {
        match self {
            Self::ClockSkew { .. } => "clock_skew",
            Self::Closed => "shutting_down",
            Self::ConnectionBusy { .. } | Self::ConnectionChanged => "sender_busy",
            Self::ConnectionLost | Self::NotConnected => "sender_not_connected",
            Self::ConsentByOther { .. } | Self::ConsentRequired(_) => "consent_required",
            Self::IssuerUnknown(_)
            | Self::KeyRejected(_)
            | Self::KeyUnusable(_)
            | Self::Signing(SignError::Failed | SignError::Refused) => "key_rejected",
            Self::NotInAccount(reason) => reason.code(),
            Self::RateLimited { .. } => "provider_rate_limited",
            Self::CodeRejected | Self::Refused { .. } => "provider_rejected",
            Self::SenderUnknown => "sender_unknown",
            Self::Internal
            | Self::Malformed { .. }
            | Self::Signing(SignError::Away | SignError::NotHeld | SignError::Unrecorded)
            | Self::TokenRefused { .. }
            | Self::Unavailable { .. }
            | Self::Unreachable(_) => "provider_unavailable",
            Self::Unkept => "store_unavailable",
            Self::UserIsAccount => "sender_user_is_account",
            Self::UserUnknown(_) => "sender_unknown_user",
        }
    }

    /// The cause as one word of a closed set: what `doctor` tells apart where one code has several fixes.
    pub fn cause(&self) -> &'static str {
        match self {
            Self::ClockSkew { .. } => "clock_skew",
            Self::Closed => "closed",
            Self::CodeRejected => "code_rejected",
            Self::ConnectionBusy { .. } => "connection_busy",
            Self::ConnectionChanged => "connection_changed",
            Self::ConnectionLost => "connection_lost",
            Self::ConsentRequired(_) => "consent_required",
            Self::Internal => "internal",
            Self::IssuerUnknown(_) => "issuer_unknown",
            Self::KeyRejected(_) => "key_rejected",
            Self::KeyUnusable(_) => "key_unusable",
            Self::Malformed { .. } => "malformed",
            Self::NotConnected => "not_connected",
            Self::NotInAccount(_) => "not_in_account",
            Self::RateLimited { .. } => "rate_limited",
            Self::Refused { .. } => "refused",
            Self::SenderUnknown => "sender_unknown",
            Self::Signing(_) => "signing",
            Self::TokenRefused { .. } => "token_refused",
            Self::Unavailable { .. } => "unavailable",
            Self::Unkept => "unkept",
            Self::Unreachable(_) => "unreachable",
            Self::ConsentByOther { .. } => "consent_by_another_user",
            Self::UserIsAccount => "user_is_account",
            Self::UserUnknown(_) => "user_unknown",
        }
    }

    /// The next step for a person, in one sentence.
    pub fn fix(&self) -> &'static str {
        match self {
            Self::ClockSkew { .. } => "Set this machine's clock (NTP); the daemon corrects for it meanwhile.",
            Self::Closed => "Send the request again: another instance or the restarted one will answer.",
            Self::CodeRejected => {
                "Open the link again: a code works once, for a few minutes. If it happens each time, the app's secret is \
                 wrong (client_secret of the sender, Apps and Keys)."
            }
            Self::ConnectionBusy { .. } => {
                "Wait: the daemon takes the new token once it is there, and renews by itself if that time passes without one."
            }
            Self::ConnectionChanged => "Nothing to do: the next try is for whoever is connected by then.",
            Self::ConnectionLost => {
                "If several senders of one integration key say so at once, its secret is wrong or was changed: set \
                 client_secret, restart, and nothing is lost. If it is this one alone, have the customer open its connect \
                 link again (GET /v1/senders/NAME/connect)."
            }
            Self::ConsentRequired(_) => {
                "Open the sender's consent link as the impersonated user and accept; every one of its `scopes` must \
                 be on it, signature and impersonation among them. For a whole organisation its administrator grants it: one's \
                 own in DocuSign Admin (Connected Apps), a customer's by the organisation link; either counts for users of claimed \
                 domains only. \"Consent link\" on the status page and GET /v1/senders/NAME/consent have all three."
            }
            Self::Internal => "Report this with the log: it is a fault of the daemon.",
            Self::IssuerUnknown(_) => {
                "Use the integration key of this environment: a demo key is not known in production until it is \
                 promoted, and the other way round."
            }
            Self::KeyRejected(_) => {
                "Upload the public half of this key to the integration key's app (Apps and Keys), in this \
                 environment; keys are not copied when an app goes live."
            }
            Self::KeyUnusable(_) => {
                "Put a readable RSA private key (PEM, mode 0600) where the setting points."
            }
            Self::Malformed { .. } => {
                "Check that upstream.environment and any proxy lead to DocuSign; the daemon keeps trying."
            }
            Self::NotConnected => {
                "Give the customer the sender's connect link (GET /v1/senders/NAME/connect); it works once they have accepted."
            }
            Self::NotInAccount(reason) => reason.fix(),
            Self::RateLimited { .. } => "Wait; the daemon asks again when the limit resets.",
            Self::Refused { .. } => {
                "Check the app's settings at DocuSign against the sender's settings here."
            }
            Self::SenderUnknown => "Use the name of a [senders.…] section of the settings.",
            Self::Signing(SignError::Unrecorded) => "Make room for the audit log; the daemon keeps trying.",
            Self::Signing(_) => "Check the device or process that holds the key.",
            Self::TokenRefused { .. } => {
                "Nothing to do: a fresh token is being minted. If it goes on, look at DocuSign whether the sender's user \
                 or its account was suspended."
            }
            Self::Unavailable { .. } => "Wait; the daemon asks again by itself. See DocuSign's status page.",
            Self::Unkept => "See the part `store` of /readyz: once it answers, the daemon goes on by itself.",
            Self::Unreachable(_) => {
                "See that this machine reaches the account server (account.docusign.com, account-d.docusign.com for demo, or \
                 upstream.oauth_url) on its port: DNS, the way out, the trusted certificates. An emulator has to be started."
            }
            Self::ConsentByOther { .. } => {
                "Log out of DocuSign and open the consent link as the sender's own user: one e-mail address can have a \
                 user id in each account, and consent counts for one of them; or set user_id to the user who consented."
            }
            Self::UserIsAccount => {
                "Set user_id to the User ID on top of the Apps and Keys page; the API Account ID below it is another thing."
            }
            Self::UserUnknown(_) => {
                "Set user_id to the API user id (a GUID, not an e-mail address or account id) of an active user in this \
                 environment; where a customer connected, have the connect link opened again (GET /v1/senders/NAME/connect)."
            }
        }
    }

    /// What is wrong, with what is behind it.
    pub fn in_full(&self) -> String {
        let behind = std::error::Error::source(self).map(|source| format!(": {source}"));
        format!("{self}{}", behind.unwrap_or_default())
    }

    /// What the account server said, if it answered.
    pub fn said(&self) -> Option<Said> {
        match self {
            Self::ConsentRequired(said)
            | Self::IssuerUnknown(said)
            | Self::KeyRejected(said)
            | Self::UserUnknown(said) => Some(said.clone()),
            Self::Malformed { status, .. } | Self::Unavailable { status, .. } => {
                Some(Said { status: *status, ..Said::default() })
            }
            Self::Refused { status, error } => {
                Some(Said { status: *status, word: error.clone(), trace: None })
            }
            _ => None,
        }
        // Where there was no answer, the status is none, too.
        .filter(|said| said.status > 0)
    }

    /// How long the upstream asked us to wait, where it did, or how long we hold the next mint back.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { retry_after }
            | Self::TokenRefused { retry_after }
            | Self::Unavailable { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}
