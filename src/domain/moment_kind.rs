//! What a line of a signing's history is about.

use crate::domain::EventKind;

macro_rules! moment_kinds {
    ($($(#[$doc:meta])* $name:ident = $word:literal,)*) => {
        /// What happened, for the timeline. The words are part of our API and of stored rows, and never change.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum MomentKind {
            $($(#[$doc])* $name,)*
            /// What the caller was told of as well.
            Event(EventKind),
            /// A word that we do not write. A row may hold one: of an earlier version, or of a later one that is rolled
            /// out beside this one. It is kept as it is, because a line that nobody knows must not cost the signing.
            Other(String),
        }

        impl MomentKind {
            /// The word in our API and in stored rows.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$name => $word,)*
                    Self::Event(kind) => kind.as_str(),
                    Self::Other(word) => word,
                }
            }

            /// What that word stands for.
            pub fn parse(word: &str) -> Self {
                match word {
                    $($word => Self::$name,)*
                    _ => EventKind::parse(word).map_or_else(|| Self::Other(word.to_owned()), Self::Event),
                }
            }
        }
    };
}

moment_kinds! {
    /// The signing was written down, before the upstream has heard of it.
    AskedFor = "asked_for",
    /// A signer's identity check was given anew.
    AuthenticationReset = "authentication_reset",
    /// A signer has signed without the identity check that was asked for, by the upstream's word.
    CheckMissing = "check_missing",
    /// The upstream was asked for the status.
    Checked = "checked",
    /// The create waits until it can be sent.
    CreateQueued = "create_queued",
    /// Look-ups have found nothing of the create, and it is sent again.
    CreateRepeated = "create_repeated",
    /// A document was fetched from the upstream.
    DocumentFetched = "document_fetched",
    /// The upstream was asked to end it, because the caller's time is over.
    ExpiryAsked = "expiry_asked",
    /// A create that was sent twice had made an envelope too many, which is voided. The note names it.
    ExtraEnvelopeVoided = "extra_envelope_voided",
    /// A lost create was looked up, and has made an envelope.
    Found = "found",
    /// A link was made for a signer.
    LinkMade = "link_made",
    /// A link of a signer was revoked.
    LinkRevoked = "link_revoked",
    /// The upstream was asked to destroy the documents.
    PurgeAsked = "purge_asked",
    /// The upstream made no view for a signer: others sign first.
    TurnDenied = "turn_denied",
    /// A recipient view was made for a signer.
    ViewMinted = "view_minted",
    /// The upstream was asked to call it off.
    VoidAsked = "void_asked",
}

impl From<EventKind> for MomentKind {
    fn from(kind: EventKind) -> Self {
        Self::Event(kind)
    }
}

impl MomentKind {
    /// Whether it can happen any number of times, and the latest tell enough.
    pub(super) const fn is_repetitive(&self) -> bool {
        matches!(
            self,
            Self::Checked
                | Self::CreateRepeated
                | Self::DocumentFetched
                | Self::Event(EventKind::SignerReturned)
                | Self::LinkMade
                | Self::LinkRevoked
                | Self::TurnDenied
                | Self::ViewMinted
        )
    }

    /// Whether it is an end that the upstream brings about when it is asked to.
    pub(super) const fn is_asked_end(&self) -> bool {
        matches!(self, Self::Event(EventKind::SigningExpired | EventKind::SigningVoided))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_those_of_rows_that_earlier_versions_wrote() {
        let ours = [
            ("asked_for", MomentKind::AskedFor),
            ("authentication_reset", MomentKind::AuthenticationReset),
            ("check_missing", MomentKind::CheckMissing),
            ("checked", MomentKind::Checked),
            ("create_queued", MomentKind::CreateQueued),
            ("create_repeated", MomentKind::CreateRepeated),
            ("document_fetched", MomentKind::DocumentFetched),
            ("expiry_asked", MomentKind::ExpiryAsked),
            ("extra_envelope_voided", MomentKind::ExtraEnvelopeVoided),
            ("found", MomentKind::Found),
            ("link_made", MomentKind::LinkMade),
            ("link_revoked", MomentKind::LinkRevoked),
            ("purge_asked", MomentKind::PurgeAsked),
            ("turn_denied", MomentKind::TurnDenied),
            ("view_minted", MomentKind::ViewMinted),
            ("void_asked", MomentKind::VoidAsked),
        ];
        let events = EventKind::ALL.iter().map(|kind| (kind.as_str(), MomentKind::Event(*kind)));
        for (word, kind) in ours.into_iter().chain(events) {
            assert_eq!(MomentKind::parse(word), kind);
            assert_eq!(kind.as_str(), word);
        }
    }

    #[test]
    fn a_word_that_nobody_knows_is_kept_as_it_is() {
        for word in ["", "Checked", "signing_opened", "of a later version"] {
            assert_eq!(MomentKind::parse(word), MomentKind::Other(word.to_owned()));
            assert_eq!(MomentKind::parse(word).as_str(), word);
        }
    }
}
