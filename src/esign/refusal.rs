//! What the vendor refuses a call for, in our words.
//!
//! The vendor asks to go by `errorCode`, not by status: limits come as 400 today and as 429 tomorrow.
//! Each code that means something to us is in one table, with the words that we say instead of the
//! vendor's, which may hold what was sent.

use std::borrow::Cow;

use http::StatusCode;

use super::{Error, error::Provider};
use crate::budget::Scope;

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Rejection {
    /// What it is about.
    pub kind: RejectionKind,
    /// What the upstream said.
    pub provider: Provider,
    /// The vendor's fixed first sentence for the code, or ours. Never what came in.
    pub message: Cow<'static, str>,
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $fix:literal;)*) => {
        /// What a refusal is about.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum RejectionKind { $($(#[$doc])* $name,)* }

        impl RejectionKind {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// How our API names it.
            pub const fn code(self) -> &'static str {
                match self { $(Self::$name => $code),* }
            }

            /// The next step for a person.
            pub const fn fix(self) -> &'static str {
                match self { $(Self::$name => $fix),* }
            }
        }
    };
}

kinds! {
    /// The access code breaks the account's rules.
    AccessCode = "provider_rejected", "Choose an access code that the account's rules allow.";
    /// The account's settings forbid it, or it lacks a feature: DocuSign does not say which.
    AccountForbids = "provider_rejected",
        "Run `countersign doctor`, and have the DocuSign account's administrator set inSessionEnabled to true, and \
         signerMustHaveAccount and signerMustLoginToSign to false, or enable the feature that the account lacks.";
    /// The account is not where it is asked for.
    AccountUnknown = "wrong_base_uri",
        "Run `countersign doctor`: it says whether the sender, its account and upstream.environment belong together.";
    /// The plan's envelopes are used up.
    AllowanceExceeded = "quota_exceeded", "Buy envelopes for the DocuSign account, or wait for its next period.";
    /// An anchor is not in the document.
    AnchorNotFound = "anchor_not_found",
        "Check that the anchor is real text in the PDF: scans, tiny text and other hyphens do not match.";
    /// The envelope has no such document.
    DocumentUnknown = "not_found",
        "Ask for `combined`, `certificate`, or the number of one of the signing's documents, from 1.";
    /// A document cannot be used.
    DocumentUnusable = "provider_rejected", "Send a PDF that opens without a password and is not damaged.";
    /// The envelope has ended, or is being corrected.
    EnvelopeClosed = "signing_closed", "Read the signing's status; a closed one cannot be changed or signed.";
    /// There is no such envelope, or not for this sender.
    EnvelopeUnknown = "not_found", "Check that the sender's account is the one the envelope was made in. An emulator that was started anew has none of \
         before: make a new signing.";
    /// The plan or the account's settings do not include this.
    FeatureMissing = "provider_rejected", "Ask the DocuSign account's administrator to enable the feature.";
    /// Something is missing in what was sent.
    Incomplete = "provider_rejected", "Give every role of the template a signer, and every signer a place to sign.";
    /// An e-mail address is refused.
    InvalidEmail = "provider_rejected", "Correct the signer's e-mail address.";
    /// The signer's turn has not come.
    NotInSequence = "signer_not_ready", "Wait until those who sign before have signed.";
    /// The impersonated user is not in the account.
    NotInAccount = "sender_not_in_account", "Set the sender's account to one that its user belongs to.";
    /// Anything else.
    Other = "provider_rejected", "Look the provider's code up in DocuSign's documentation, or quote the trace id to its support.";
    /// The user may not do this.
    PermissionMissing = "provider_rejected", "Give the sender's user the permission in DocuSign's administration.";
    /// The phone number is refused.
    PhoneInvalid = "phone_invalid", "Correct the signer's phone number.";
    /// The recipient is not one of the envelope's, or has changed.
    RecipientMismatch = "provider_rejected", "Open a new view; if that fails again, void the signing and make a new one.";
    /// SMS authentication is not usable.
    SmsUnavailable = "sms_auth_unavailable",
        "Have phone authentication enabled for the DocuSign account, or name another workflow in the sender's settings.";
    /// There is no such template in this account.
    TemplateUnknown = "provider_rejected", "Check the template's id in [templates]; ids differ between demo and production.";
    /// Larger than the upstream takes.
    TooLarge = "payload_too_large", "Send smaller documents, or keep them in a template.";
    /// The token is refused, a fresh one too.
    Unauthorized = "provider_rejected", "Run `countersign doctor`: the upstream refuses tokens that it has just issued.";
    /// It is taking in as many uploads of the same bytes as it may at once, as far as can be told: it gives no reason.
    UploadsAlike = "provider_rate_limited",
        "Repeat the call after the time in Retry-After; keep a document that many sign in a template, because DocuSign takes 70 \
         uploads of the same bytes at once. If it goes on without such, check that the PDF opens without a password.";
    /// The user is not known, of the sender that it must be.
    UserUnknown = "sender_unknown_user",
        "Run `countersign doctor`: it says whether the sender's user_id is a user of this environment and of its account.";
    /// Token, host and account do not belong to one environment.
    WrongEnvironment = "wrong_base_uri", "Check that upstream.environment, integration key and account belong together.";
}

use RejectionKind as K;

/// The vendor's codes that mean something to us, sorted (developers.docusign.com, esign-rest-api: error codes,
/// rules and limits, recipient authentication).
const CODES: &[(&str, RejectionKind, &str)] = &[
    ("ACCOUNT_LACKS_PERMISSIONS", K::AccountForbids, "The account lacks sufficient permissions."),
    (
        "ACCOUNT_NOT_AUTHORIZED_FOR_ENVELOPE",
        K::EnvelopeUnknown,
        "This account is not authorized for the envelope.",
    ),
    ("ANCHOR_TAB_STRING_NOT_FOUND", K::AnchorNotFound, "At least one anchor was not found in the document."),
    ("AUTHORIZATION_INVALID_TOKEN", K::Unauthorized, "The access token is expired, revoked or malformed."),
    ("DOCUMENT_DOES_NOT_EXIST", K::DocumentUnknown, "The envelope has no such document."),
    ("DOCUMENT_UPLOAD_NOT_ALLOWED", K::DocumentUnusable, "Uploading documents is not allowed here."),
    (
        "ENVELOPE_ALLOWANCE_EXCEEDED",
        K::AllowanceExceeded,
        "The envelope allowance of the account is used up.",
    ),
    (
        "ENVELOPE_CANNOT_VOID_INVALID_STATE",
        K::EnvelopeClosed,
        "Only envelopes in the 'Sent' or 'Delivered' states may be voided.",
    ),
    ("ENVELOPE_DOES_NOT_EXIST", K::EnvelopeUnknown, "The envelope does not exist."),
    ("ENVELOPE_INVALID_STATUS", K::EnvelopeClosed, "The envelope's status does not allow this."),
    ("ENVELOPE_IS_INCOMPLETE", K::Incomplete, "The envelope is not complete."),
    ("IDENTITY_WORKFLOW_INVALID_ID", K::SmsUnavailable, "The identity workflow is not valid."),
    ("INVALID_ACCESS_CODE", K::AccessCode, "The access code is not valid."),
    (
        "INVALID_EMAIL_ADDRESS_FOR_RECIPIENT",
        K::InvalidEmail,
        "The e-mail address of a recipient is not valid.",
    ),
    ("INVALID_PHONE_NUMBER", K::PhoneInvalid, "A phone number is not valid."),
    ("INVALID_USERID", K::WrongEnvironment, "The token's user does not exist on this host."),
    (
        "PARTNER_AUTHENTICATION_FAILED",
        K::WrongEnvironment,
        "The integration key is not known or not enabled here.",
    ),
    ("PLAN_ITEM_NOT_ENABLED", K::FeatureMissing, "The plan of the account does not include this."),
    (
        "RECIPIENT_NOT_IN_SEQUENCE",
        K::NotInSequence,
        "The token for an out of sequence recipient cannot be generated.",
    ),
    ("REQUEST_ENTITY_TOO_LARGE", K::TooLarge, "The request is too large."),
    ("RESOURCE_NOT_FOUND", K::EnvelopeUnknown, "The resource does not exist."),
    ("TAB_OUT_OF_BOUNDS", K::DocumentUnusable, "A tab lies outside of its page."),
    ("TEMPLATE_ID_INVALID", K::TemplateUnknown, "The template does not exist in this account."),
    ("TEMPLATE_NOT_FOUND", K::TemplateUnknown, "The template does not exist in this account."),
    ("UNABLE_TO_LOAD_DOCUMENT", K::DocumentUnusable, "A document could not be loaded."),
    (
        "UNKNOWN_ENVELOPE_RECIPIENT",
        K::RecipientMismatch,
        "The recipient you have identified is not a valid recipient of the specified envelope.",
    ),
    ("UNSUPPORTED_PDF_CONTENT", K::DocumentUnusable, "A document holds PDF content that is not supported."),
    ("USER_AUTHENTICATION_FAILED", K::Unauthorized, "The access token is not valid."),
    (
        "USER_DOES_NOT_BELONG_TO_SPECIFIED_ACCOUNT",
        K::NotInAccount,
        "The specified user is not a member of the specified account.",
    ),
    ("USER_DOES_NOT_EXIST_IN_SYSTEM", K::UserUnknown, "The user does not exist."),
    ("USER_LACKS_MEMBERSHIP", K::NotInAccount, "The user does not have a valid membership in this account."),
    ("USER_LACKS_PERMISSIONS", K::PermissionMissing, "The user lacks the permission for this."),
    ("USER_NOT_ACCOUNT_ADMIN", K::PermissionMissing, "The user is not an administrator of the account."),
    (
        "USER_NOT_ENVELOPE_SENDER_OR_RECIPIENT",
        K::EnvelopeUnknown,
        "The user is neither the sender nor a recipient of the envelope.",
    ),
    ("USER_NOT_FOUND", K::UserUnknown, "The user does not exist."),
];

impl RejectionKind {
    /// What an answer refused a call for of which only the status and the code were kept; none if it was no refusal.
    pub fn of_kept(status: u16, code: Option<&str>) -> Option<Self> {
        let (status, code) = (StatusCode::from_u16(status).ok()?, code.map(str::to_owned));
        match classify(&Refusal { status, code, is_foreign: false, trace: None }) {
            Verdict::Rejected(kind) => Some(kind),
            Verdict::Limited(_) | Verdict::Unauthorized | Verdict::Unavailable => None,
        }
    }
}

/// What is known of an answer that is no success, for [`classify`].
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    /// Of the body's `errorCode`, if it was JSON.
    pub(super) code: Option<String>,
    /// Whether the body is something else than JSON, such as a balancer's page.
    pub(super) is_foreign: bool,
    pub(super) trace: Option<String>,
}

/// What such an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The token was refused.
    Unauthorized,
    /// A limit.
    Limited(LimitKind),
    /// A refusal.
    Rejected(RejectionKind),
    /// An outage.
    Unavailable,
}

/// A limit of the upstream, and how long it lasts where the answer does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LimitKind {
    pub(super) scope: Scope,
    pub(super) is_hourly: bool,
}

/// Sorts an answer that is no success: by its code first, whatever the status (rule B2).
pub(super) fn classify(refusal: &Refusal) -> Verdict {
    let code = refusal.code.as_deref().unwrap_or_default().to_ascii_uppercase();
    if let Some(kind) = limit(&code) {
        return Verdict::Limited(kind);
    }
    let status = refusal.status;
    let is_token_code = matches!(code.as_str(), "AUTHORIZATION_INVALID_TOKEN" | "USER_AUTHENTICATION_FAILED");
    // One without a code may be a proxy's. A fresh token and another try cost little, and are no verdict on the request.
    if status == StatusCode::UNAUTHORIZED && (code.is_empty() || is_token_code) {
        return Verdict::Unauthorized;
    }
    if status == StatusCode::TOO_MANY_REQUESTS {
        return Verdict::Limited(LimitKind { scope: Scope::Burst, is_hourly: false });
    }
    // 444: the vendor's traffic management dropped it. 408: the request did not arrive in time.
    let is_outage = status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 444);
    if is_outage || !(status.is_client_error()) {
        return Verdict::Unavailable;
    }
    if let Some(kind) = refusal.known() {
        return Verdict::Rejected(kind);
    }
    match status {
        // Whoever says it, the same body will not pass.
        StatusCode::PAYLOAD_TOO_LARGE => Verdict::Rejected(K::TooLarge),
        // The API speaks JSON: a page comes from a proxy or balancer in between, which may think better of it.
        _ if refusal.is_foreign => Verdict::Unavailable,
        StatusCode::NOT_FOUND => Verdict::Rejected(K::EnvelopeUnknown),
        StatusCode::UNAUTHORIZED => Verdict::Rejected(K::Unauthorized),
        _ => Verdict::Rejected(K::Other),
    }
}

/// The limit that a code names (rules-and-limits; "Service protection: new API errors").
fn limit(code: &str) -> Option<LimitKind> {
    let is_hourly = code.starts_with("HOURLY_");
    let scope = match code {
        "HOURLY_APIINVOCATION_LIMIT_EXCEEDED" => Scope::Hour,
        "BURST_APIINVOCATION_LIMIT_EXCEEDED" => Scope::Burst,
        "HOURLY_ENVELOPE_POLLING_LIMIT_EXCEEDED" | "BURST_ENVELOPE_POLLING_LIMIT_EXCEEDED" => Scope::Polling,
        "HOURLY_APIINVOCATION_ENVELOPE_LIMIT_EXCEEDED" | "BURST_APIINVOCATION_ENVELOPE_LIMIT_EXCEEDED" => {
            Scope::Envelope
        }
        "API_REQUEST_IS_THROTTLED" => return Some(LimitKind { scope: Scope::Document, is_hourly: true }),
        // The vendor is about to change these names; their ends have been stable.
        _ if code.ends_with("_LIMIT_EXCEEDED") && is_hourly => Scope::Hour,
        _ if code.ends_with("_LIMIT_EXCEEDED") && code.starts_with("BURST_") => Scope::Burst,
        _ => return None,
    };
    Some(LimitKind { scope, is_hourly })
}

impl Refusal {
    pub(super) fn provider(self) -> Provider {
        Provider { status: self.status.as_u16(), code: self.code, trace: self.trace }
    }

    /// What its code says that it is about, if it is one that we know.
    pub(super) fn known(&self) -> Option<RejectionKind> {
        self.entry().map(|(_, kind, _)| *kind)
    }

    fn entry(&self) -> Option<&'static (&'static str, RejectionKind, &'static str)> {
        let code = self.code.as_deref()?.to_ascii_uppercase();
        let index = CODES.binary_search_by_key(&code.as_str(), |(known, ..)| known).ok()?;
        Some(&CODES[index])
    }

    pub(super) fn rejected(self, kind: RejectionKind) -> Error {
        let code = self.code.as_deref().unwrap_or_default().to_ascii_uppercase();
        let message = match self.entry() {
            Some((.., words)) => Cow::Borrowed(*words),
            None if code.is_empty() => Cow::Owned(format!("It answered HTTP {}.", self.status.as_u16())),
            None => Cow::Owned(format!("It answered HTTP {} with {code}.", self.status.as_u16())),
        };
        Error::Rejected(Rejection { kind, provider: self.provider(), message })
    }
}

/// Reduces a vendor's code to what may be shown: it is an answer's text, whatever it is meant to be.
pub(super) fn plain_code(code: &str) -> Option<String> {
    let plain: String = code.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').take(64).collect();
    Some(plain).filter(|plain| !plain.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(status: u16, code: &str, is_foreign: bool) -> Verdict {
        let code = plain_code(code);
        classify(&Refusal { status: StatusCode::from_u16(status).unwrap(), code, is_foreign, trace: None })
    }

    #[test]
    fn the_table_is_sorted_and_upper_case() {
        assert!(CODES.is_sorted_by_key(|(code, ..)| code));
        assert!(CODES.iter().all(|(code, ..)| code.to_ascii_uppercase() == *code));
    }

    #[test]
    fn b2_limits_are_told_by_their_code_whatever_the_status() {
        let limited = |scope, is_hourly| Verdict::Limited(LimitKind { scope, is_hourly });
        for status in [400, 401, 403, 429, 500] {
            for (code, expected) in [
                ("HOURLY_APIINVOCATION_LIMIT_EXCEEDED", limited(Scope::Hour, true)),
                ("hourly_apiinvocation_limit_exceeded", limited(Scope::Hour, true)),
                ("BURST_APIINVOCATION_LIMIT_EXCEEDED", limited(Scope::Burst, false)),
                ("Hourly_Envelope_Polling_Limit_Exceeded", limited(Scope::Polling, true)),
                ("Burst_APIInvocation_Envelope_Limit_Exceeded", limited(Scope::Envelope, false)),
                ("API_REQUEST_IS_THROTTLED", limited(Scope::Document, true)),
                ("HOURLY_SOMETHING_NEW_LIMIT_EXCEEDED", limited(Scope::Hour, true)),
            ] {
                assert_eq!(verdict(status, code, false), expected, "{status} {code}");
            }
        }
        assert_eq!(verdict(429, "", true), limited(Scope::Burst, false));
    }

    #[test]
    fn answers_are_sorted() {
        use Verdict::{Rejected, Unauthorized, Unavailable};
        for (status, code, is_foreign, expected) in [
            (401, "AUTHORIZATION_INVALID_TOKEN", false, Unauthorized),
            (401, "USER_AUTHENTICATION_FAILED", false, Unauthorized),
            (401, "", false, Unauthorized),
            (401, "", true, Unauthorized),
            (401, "PARTNER_AUTHENTICATION_FAILED", false, Rejected(K::WrongEnvironment)),
            (401, "SOMETHING", false, Rejected(K::Unauthorized)),
            // Only a 401 is about the token.
            (400, "AUTHORIZATION_INVALID_TOKEN", false, Rejected(K::Unauthorized)),
            (403, "", true, Unavailable),
            (403, "USER_LACKS_PERMISSIONS", false, Rejected(K::PermissionMissing)),
            (400, "ANCHOR_TAB_STRING_NOT_FOUND", false, Rejected(K::AnchorNotFound)),
            (400, "UNKNOWN_ENVELOPE_RECIPIENT", false, Rejected(K::RecipientMismatch)),
            (400, "RECIPIENT_NOT_IN_SEQUENCE", false, Rejected(K::NotInSequence)),
            (400, "ENVELOPE_INVALID_STATUS", false, Rejected(K::EnvelopeClosed)),
            (400, "WHO_KNOWS", false, Rejected(K::Other)),
            (400, "", false, Rejected(K::Other)),
            (400, "", true, Unavailable),
            (404, "", false, Rejected(K::EnvelopeUnknown)),
            (404, "", true, Unavailable),
            (404, "USER_NOT_FOUND", false, Rejected(K::UserUnknown)),
            (400, "USER_DOES_NOT_EXIST_IN_SYSTEM", false, Rejected(K::UserUnknown)),
            (413, "", false, Rejected(K::TooLarge)),
            (413, "", true, Rejected(K::TooLarge)),
            (408, "", false, Unavailable),
            (444, "", false, Unavailable),
            (500, "UNSPECIFIED_ERROR", false, Unavailable),
            (502, "", true, Unavailable),
            (503, "", false, Unavailable),
            (302, "", true, Unavailable),
        ] {
            assert_eq!(verdict(status, code, is_foreign), expected, "{status} {code} {is_foreign}");
        }
    }

    #[test]
    fn s1_the_upstreams_words_are_not_repeated() {
        let code = plain_code("NAME Ada <ada@example.com>\r\nBcc: x");
        assert!(!code.clone().unwrap().contains(['@', '<', ' ', '\r']));
        let refusal = Refusal { status: StatusCode::BAD_REQUEST, code, is_foreign: false, trace: None };
        assert!(!refusal.rejected(K::Other).to_string().contains("ada@"));
    }
}
