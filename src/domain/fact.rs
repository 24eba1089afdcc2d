//! Facts: what the upstream said of an envelope, by a Connect event whose digest matched or by its API.
//!
//! Only facts change a status (rule F1). They may come late, twice and in any order; see
//! [`Signing::observe`](crate::domain::Signing::observe).

use crate::domain::Signer;

/// One thing that the upstream said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    /// About the envelope as a whole.
    Envelope(EnvelopeFact),
    /// About one recipient, by the recipient id that we gave.
    Signer {
        /// The recipient id within the envelope.
        recipient_id: String,
        /// What happened to them.
        fact: SignerFact,
    },
}

/// What happened to an envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EnvelopeFact {
    /// Everyone signed.
    Completed,
    /// A recipient declined.
    Declined,
    /// Everyone whose turn it was has opened it.
    Delivered,
    /// It ran out of time.
    Expired,
    /// Its documents were destroyed.
    Purged,
    /// It was sent.
    Sent,
    /// The sender called it off.
    Voided,
}

/// What happened to one recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SignerFact {
    /// All tries of an identity check were used up.
    AuthenticationFailed,
    /// They declined.
    Declined,
    /// They opened the documents.
    Delivered,
    /// It became their turn.
    Sent,
    /// They signed.
    Signed,
}

/// Whom of an envelope's signers the upstream means by the names that it has for a recipient.
///
/// The client user id is ours, and no template replaces it: whoever has another was added by a template.
/// Without one the recipient id tells, but not of those who fill a role: their number is the template's own,
/// and may be the one that we gave to somebody else.
pub fn whom<'a>(
    signers: &'a [Signer],
    client_user_id: Option<&str>,
    recipient_id: Option<&str>,
) -> Option<&'a Signer> {
    if let Some(id) = client_user_id.filter(|id| !id.is_empty()) {
        return signers.iter().find(|signer| signer.client_user_id == id);
    }
    let id = recipient_id?;
    signers.iter().find(|signer| signer.role.is_none() && signer.recipient_id == id)
}
