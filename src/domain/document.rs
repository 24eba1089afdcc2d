//! What is signed: files with anchors, or templates at the upstream.

use std::collections::BTreeMap;

use bytes::Bytes;

/// One document of a signing, in the order of the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Document {
    /// A template that the sender's account holds.
    Template {
        /// What the caller calls it: a name, or its id.
        alias: String,
        /// Its id at the upstream.
        id: String,
    },
    /// A PDF that the caller sent along.
    File {
        /// The name that people see.
        name: String,
        /// The PDF, in base64 as it came in: checked once, sent on as it is.
        content: Content,
        /// Where the tabs go.
        anchors: Anchors,
    },
}

/// The base64 text of a document. Shared, not copied; `Debug` shows its size only (rule S1).
#[derive(Clone, PartialEq, Eq)]
pub struct Content(Bytes);

impl Content {
    /// Wraps base64 text that has been checked.
    pub const fn new(base64: Bytes) -> Self {
        Self(base64)
    }

    /// The text.
    pub const fn base64(&self) -> &Bytes {
        &self.0
    }
}

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "[document, {} bytes in base64]", self.0.len())
    }
}

/// Text in a document that marks where a tab goes, by the kind of tab.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Anchors(pub BTreeMap<TabKind, Anchor>);

/// Whose tab an anchor places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Anchor {
    /// The same text for every signer.
    Everyone(String),
    /// One text for each signer named, by signer key.
    Each(BTreeMap<String, String>),
}

impl Anchor {
    /// The anchor text for this signer, if the document has one for them.
    pub fn of(&self, signer_key: &str) -> Option<&str> {
        match self {
            Self::Everyone(text) => Some(text),
            Self::Each(by_key) => by_key.get(signer_key).map(String::as_str),
        }
    }

    /// All texts that must be in the document.
    pub fn texts(&self) -> Vec<&str> {
        match self {
            Self::Everyone(text) => vec![text],
            Self::Each(by_key) => by_key.values().map(String::as_str).collect(),
        }
    }
}

/// The kinds of tab that an anchor can place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TabKind {
    /// A box to tick.
    Checkbox,
    /// The signer's company.
    Company,
    /// The date of signing.
    Date,
    /// The signer's e-mail address.
    Email,
    /// Initials.
    Initial,
    /// The signer's name.
    Name,
    /// The signature.
    Sign,
    /// Free text.
    Text,
}

impl TabKind {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Checkbox,
        Self::Company,
        Self::Date,
        Self::Email,
        Self::Initial,
        Self::Name,
        Self::Sign,
        Self::Text,
    ];

    /// The word in our API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Checkbox => "checkbox",
            Self::Company => "company",
            Self::Date => "date",
            Self::Email => "email",
            Self::Initial => "initial",
            Self::Name => "name",
            Self::Sign => "sign",
            Self::Text => "text",
        }
    }

    /// The kind of that word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}
