//! The values that labels can have.
//!
//! Closed sets: a value that came from outside can never become a label.

/// Enums whose variants are label values.
macro_rules! label_values {
    ($( $(#[$meta:meta])* pub enum $Name:ident { $( $(#[$doc:meta])* $Variant:ident = $text:literal, )+ } )+) => {
        $(
            $(#[$meta])*
            #[derive(Debug, Clone, Copy, PartialEq, Eq)]
            pub enum $Name { $( $(#[$doc])* $Variant, )+ }

            impl $Name {
                /// Every value.
                pub const ALL: &[Self] = &[$(Self::$Variant),+];

                /// Every label.
                pub const LABELS: &[&str] = &[$($text),+];

                /// The label.
                pub const fn as_str(self) -> &'static str {
                    match self { $( Self::$Variant => $text, )+ }
                }
            }
        )+
    };
}

label_values! {
    /// How an exchange with the account server ended.
    pub enum MintResult {
        /// A token came.
        Good = "good",
        /// Refused: consent, key, user or clock.
        Refused = "refused",
        /// No usable answer: down, slow, limited, malformed.
        Unavailable = "unavailable",
    }

    /// How a private key stands: the words of `GET /v1/senders`.
    pub enum KeyState {
        /// It signs, and was not refused since.
        Active = "active",
        /// It cannot be read.
        Broken = "broken",
        /// It was refused.
        Rejected = "rejected",
        /// It worked, and another one signs.
        Standby = "standby",
        /// New, and not yet proven by a mint.
        Unproven = "unproven",
    }

    /// How an upstream call ended.
    pub enum Outcome {
        /// As asked.
        Good = "good",
        /// Refused by the upstream.
        Rejected = "rejected",
        /// Refused because of a limit.
        Limited = "limited",
        /// Not sent: the limit must last for what matters more, or its caller's time was over.
        Shed = "shed",
        /// No usable answer.
        Unavailable = "unavailable",
    }

    /// A window of the account's limit.
    pub enum Window {
        /// 30 seconds.
        Burst = "burst",
        /// An hour.
        Hour = "hour",
    }

    /// A status of a signing.
    pub enum SigningStatus {
        /// Signed by all.
        Completed = "completed",
        /// Being created.
        Creating = "creating",
        /// Declined by a signer.
        Declined = "declined",
        /// Ended by time.
        Expired = "expired",
        /// Could not be created.
        Failed = "failed",
        /// Waiting for signers.
        Open = "open",
        /// The create's outcome is unknown.
        Uncertain = "uncertain",
        /// Ended by us.
        Voided = "voided",
    }

    /// How asking for a recipient view ended.
    pub enum ViewResult {
        /// A view came.
        Good = "good",
        /// Another view of the envelope is live (rule L2).
        Leased = "leased",
        /// Refused by the upstream.
        Rejected = "rejected",
        /// No usable answer.
        Unavailable = "unavailable",
    }

    /// What opening a link was.
    pub enum LinkKind {
        /// The button: a view is asked for.
        Button = "button",
        /// With a one-use ticket from the site.
        Direct = "direct",
        /// The page only.
        Page = "page",
        /// A token that is no link's.
        Unknown = "unknown",
    }

    /// What the browser said when a signer came back.
    pub enum ReturnClaim {
        /// A failed or expired check of who they are.
        AuthFailed = "auth_failed",
        /// Left without an end: cancel, finish later.
        Cancel = "cancel",
        /// Declined.
        Decline = "decline",
        /// Anything else, nothing included.
        Other = "other",
        /// Signed.
        SigningComplete = "signing_complete",
        /// The session or the view ran out.
        Timeout = "timeout",
    }

    /// What turned out to be so when a signer came back.
    pub enum Fact {
        /// As claimed.
        Confirmed = "confirmed",
        /// Otherwise.
        Contradicted = "contradicted",
        /// Not known yet.
        Pending = "pending",
    }

    /// What became of a Connect delivery.
    pub enum ConnectResult {
        /// Kept, to be taken up.
        Accepted = "accepted",
        /// No key makes its digest.
        BadDigest = "bad_digest",
        /// Signed, and answered with 503, to be sent again: the store did not answer in time, nor an issuer of access
        /// tokens, or it was not known yet whose it is.
        Busy = "busy",
        /// Had been received before.
        Duplicate = "duplicate",
        /// Not readable, too large, or cut short, be it for too many at once. What was signed all the same is kept.
        Malformed = "malformed",
        /// Kept, though its event is not known; or of an envelope that is nobody's, which is counted when we have looked
        /// for it for an hour, beside `accepted` when it came, or at once at a sender's own address.
        Unknown = "unknown",
    }

    /// How an attempt to deliver one of our events ended.
    pub enum AttemptResult {
        /// Taken.
        Delivered = "delivered",
        /// Not taken, to be tried again.
        Failed = "failed",
        /// The receiver wants no more (410).
        Gone = "gone",
        /// The last attempt failed, or the address is forbidden.
        GivenUp = "given_up",
    }

    /// A file of a listener that runs out.
    pub enum ExpiryKind {
        /// Its own certificate.
        Certificate = "certificate",
        /// The CAs of client certificates.
        ClientCa = "client_ca",
        /// Their revocation lists.
        ClientCrl = "client_crl",
    }

    /// Why a TLS handshake came to nothing.
    pub enum HandshakeRefusal {
        /// The client certificate is not taken: its dates, its CA, revoked. The log says which.
        Certificate = "certificate",
        /// The revocation list has run out, so no certificate is taken.
        ListExpired = "crl_expired",
        /// No client certificate was shown.
        NoCertificate = "no_certificate",
        /// Anything else: no TLS at all, no common version, not in time.
        Other = "other",
    }

    /// How a caller showed who it is.
    pub enum AuthMethod {
        /// A client certificate.
        Certificate = "certificate",
        /// An API key.
        Key = "key",
        /// Not at all, or in a form that is none of these.
        None = "none",
        /// A token of an issuer.
        Token = "token",
        /// The user id of its process.
        Unix = "unix",
    }

    /// What became of it.
    pub enum AuthResult {
        /// A caller of the settings.
        Good = "good",
        /// Nobody.
        Refused = "refused",
    }

    /// A right that a caller may lack.
    pub enum Right {
        /// More calls.
        Rate = "rate",
        /// A return URL of that origin.
        ReturnOrigin = "return_origin",
        /// To act as that sender.
        Sender = "sender",
        /// A signer without an SMS check.
        Sms = "sms",
        /// That template.
        Template = "template",
    }

    /// What was done about a missing right.
    pub enum Decision {
        /// Allowed, because rights are not enforced yet.
        Audited = "audited",
        /// Refused.
        Refused = "refused",
    }

    /// What became of a span.
    pub enum SpanResult {
        /// There was no room for it.
        Dropped = "dropped",
        /// The collector did not take it.
        Failed = "failed",
        /// The collector has it.
        Sent = "sent",
    }

    /// What an idempotency key led to.
    pub enum IdempotencyResult {
        /// Seen before with another body.
        Conflict = "conflict",
        /// Its first request is still running.
        InProgress = "in_progress",
        /// Not seen before.
        New = "new",
        /// The earlier answer was given.
        Replayed = "replayed",
    }
}
