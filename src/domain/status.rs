//! Where a signing and its signers stand, in the words of our API.
//!
//! What leads from one to the next is in [`signing`](super::signing) and in `observe`.

/// Where a signing stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SigningStatus {
    /// Everyone signed. Whom the sender took off the envelope at the upstream has not, and keeps their own status.
    Completed,
    /// Accepted; the envelope does not exist yet.
    Creating,
    /// Somebody declined.
    Declined,
    /// Nobody signed in time.
    Expired,
    /// The envelope was refused, and will never exist.
    Failed,
    /// It can be signed.
    Open,
    /// The answer to the create was lost; it is being looked up.
    Uncertain,
    /// The sender called it off.
    Voided,
}

impl SigningStatus {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Completed,
        Self::Creating,
        Self::Declined,
        Self::Expired,
        Self::Failed,
        Self::Open,
        Self::Uncertain,
        Self::Voided,
    ];

    /// The word in our API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Creating => "creating",
            Self::Declined => "declined",
            Self::Expired => "expired",
            Self::Failed => "failed",
            Self::Open => "open",
            Self::Uncertain => "uncertain",
            Self::Voided => "voided",
        }
    }

    /// The status of that word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == word)
    }

    /// Whether nothing can change it any more.
    pub const fn is_terminal(self) -> bool {
        !matches!(self, Self::Creating | Self::Open | Self::Uncertain)
    }
}

/// Where a signer stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SignerStatus {
    /// An identity check failed for good.
    AuthFailed,
    /// They declined.
    Declined,
    /// They have opened the documents.
    InSession,
    /// It is their turn.
    Ready,
    /// They signed.
    Signed,
    /// Others sign first, or the envelope does not exist yet.
    Waiting,
}

impl SignerStatus {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::AuthFailed, Self::Declined, Self::InSession, Self::Ready, Self::Signed, Self::Waiting];

    /// The word in our API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AuthFailed => "auth_failed",
            Self::Declined => "declined",
            Self::InSession => "in_session",
            Self::Ready => "ready",
            Self::Signed => "signed",
            Self::Waiting => "waiting",
        }
    }

    /// The status of that word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == word)
    }

    /// Whether nothing the upstream says can change it any more.
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::AuthFailed | Self::Declined | Self::Signed)
    }

    /// How far along it is; facts only ever raise it.
    pub(super) const fn rank(self) -> u8 {
        match self {
            Self::Waiting => 0,
            Self::Ready => 1,
            Self::InSession => 2,
            Self::AuthFailed | Self::Declined | Self::Signed => 3,
        }
    }
}
