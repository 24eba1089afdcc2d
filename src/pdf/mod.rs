//! Reads a PDF just far enough to say which texts are not in it.
//!
//! An anchor that is missing would cost a call and an envelope that is refused, so it is looked for
//! before. The answer errs on the side of the document: what cannot be read for certain (text inside
//! nested forms, fonts without a known encoding, more than is done for one file) is left for the upstream
//! to judge.
//!
//! A few bytes can describe a million objects, and a library that builds them all takes the memory for that:
//! so files are read in a process of their own ([`Readers`]), whose memory and time have an end
//! ([`child`]). What it cannot stand is its end, and not the daemon's.
//!
//! Format: ISO 32000-1, 7 (syntax) and 9 (text).

pub mod child;
mod read;
mod readers;
mod wire;

use serde::{Deserialize, Serialize};

pub use self::{read::read, readers::Readers};

/// The hidden command of the binary that runs [`child::run`].
pub const COMMAND: &str = "pdf-process";

/// Why nothing is said of a file, or why it cannot be a document of an envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum Error {
    /// It cannot be opened without a password.
    #[error("is encrypted: send a PDF without a password")]
    Encrypted,
    /// It has no page.
    #[error("has no page")]
    NoPage,
    /// It does not begin like a PDF.
    #[error("is not a PDF")]
    NotAPdf,
    /// Reading it takes more than is done for one file; it may be good.
    #[error("takes too much to read")]
    TooMuch,
    /// It begins like one, and cannot be read.
    #[error("is a damaged PDF: export it again")]
    Unreadable,
}

/// What was seen of a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// How many pages it has; never 0.
    pub pages: usize,
    /// Texts that are surely not in it.
    pub missing: Vec<String>,
}
