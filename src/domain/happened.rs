//! What a line of a signing's history is about.

use crate::domain::EventKind;

macro_rules! happened {
    ($($(#[$doc:meta])* $name:ident = $word:literal,)*) => {
        /// What happened, for the timeline. The words are part of our API and of stored rows, and never change.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Happened {
            $($(#[$doc])* $name,)*
            /// What the caller was told of as well.
            Event(EventKind),
            /// A word that we do not write. A row may hold one: of an earlier version, or of a later one that is rolled
            /// out beside this one. It is kept as it is, because a line that nobody knows must not cost the signing.
            Other(String),
        }

        impl Happened {
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

happened! {
    /// The signing was written down, before the upstream has heard of it.
    AskedFor = "asked_for",
    /// A signer's identity check was given anew.
    AuthenticationReset = "authentication_reset",
    /// The upstream was asked for the status.
    Checked = "checked",
    /// The create waits until it can be sent.
    CreateQueued = "create_queued",
    /// A document was fetched from the upstream.
    DocumentFetched = "document_fetched",
    /// The upstream was asked to end it, because the caller's time is over.
    ExpiryAsked = "expiry_asked",
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

impl From<EventKind> for Happened {
    fn from(kind: EventKind) -> Self {
        Self::Event(kind)
    }
}

impl Happened {
    /// Whether it can happen any number of times, and the latest tell enough.
    pub(super) const fn is_repetitive(&self) -> bool {
        matches!(
            self,
            Self::Checked
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
            ("asked_for", Happened::AskedFor),
            ("authentication_reset", Happened::AuthenticationReset),
            ("checked", Happened::Checked),
            ("create_queued", Happened::CreateQueued),
            ("document_fetched", Happened::DocumentFetched),
            ("expiry_asked", Happened::ExpiryAsked),
            ("found", Happened::Found),
            ("link_made", Happened::LinkMade),
            ("link_revoked", Happened::LinkRevoked),
            ("purge_asked", Happened::PurgeAsked),
            ("turn_denied", Happened::TurnDenied),
            ("view_minted", Happened::ViewMinted),
            ("void_asked", Happened::VoidAsked),
        ];
        let events = EventKind::ALL.iter().map(|kind| (kind.as_str(), Happened::Event(*kind)));
        for (word, happened) in ours.into_iter().chain(events) {
            assert_eq!(Happened::parse(word), happened);
            assert_eq!(happened.as_str(), word);
        }
    }

    #[test]
    fn a_word_that_nobody_knows_is_kept_as_it_is() {
        for word in ["", "Checked", "signing_opened", "of a later version"] {
            assert_eq!(Happened::parse(word), Happened::Other(word.to_owned()));
            assert_eq!(Happened::parse(word).as_str(), word);
        }
    }
}
