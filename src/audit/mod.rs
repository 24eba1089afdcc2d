//! The audit log: each decision that used the key, and each act of an operator on the status page, is a line
//! in a hash chain (rule S6).
//!
//! Each signature of a private key is a line (`token.mint`, with the key's fingerprint), and each act under a
//! token that it earned, by whoever asked for it: what makes, changes, ends, hands out or passes on something.
//! Reads that the daemon does to know what it shows are none: the status of an envelope (`refresh`, and
//! reconciliation), a sender's user and account, templates, brands. They change nothing, give nobody a document
//! or a view, and are counted in `countersign_upstream_requests_total`; the token that they use has its line.
//!
//! JSON lines. Each line carries its number, the hash of the line before, and its own hash; a line is on
//! disk before the effect it announces, so the log may name something that then failed, and never misses
//! something that was done. If it cannot be written, nothing is done; nor is it while somebody else has cut the file
//! or added to it. A kill or a power cut in the middle of a write may leave half a line at the end, which nobody was
//! told of: the next start cuts it off and says so, if all that was noted stands before it. Anything else that is
//! wrong with the file is refused.
//!
//! It must never hold personal data, a token, a URL of a view or a document: only names from the settings,
//! our ids, and words of this code. It knows no other module but the clock and digests.
//!
//! What a chain can show: any line that was changed, taken out, added, moved or copied. What it cannot show
//! by itself: lines missing at the end, and a whole file written anew by somebody who also computes the
//! hashes. The first, an older copy too, shows against the head that is kept beside the file ([`noted`]); the
//! second only against one that was noted on another machine, so the daemon writes the head into its log at
//! start and at the end, and `countersign audit verify` prints it.

pub mod chain;
pub mod mark;
pub mod noted;
mod writer;

use std::{fmt, io, path::Path, sync::Arc};

use crate::clock::SharedClock;

pub use chain::{Broken, Head};
use writer::Writer;

macro_rules! acts {
    ($($(#[$doc:meta])* $name:ident = $word:literal,)*) => {
        /// What was decided. The words are part of the log's format and never change.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Act {
            $($(#[$doc])* $name,)*
        }

        impl Act {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The word in the log.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)*
                }
            }
        }
    };
}

acts! {
    /// A signer's access code is corrected.
    AccessCodeCorrect = "access_code.correct",
    /// An answer of the consent page is taken up, and its code exchanged.
    ConsentTaken = "consent.take",
    /// A signed document is downloaded.
    DocumentFetch = "document.fetch",
    /// One that was downloaded before is handed out again.
    DocumentHandOut = "document.hand_out",
    /// An envelope is created.
    EnvelopeCreate = "envelope.create",
    /// An envelope's documents are to be destroyed.
    EnvelopePurge = "envelope.purge",
    /// An envelope is voided.
    EnvelopeVoid = "envelope.void",
    /// The evidence of a signing is handed out, with the documents in it.
    EvidenceHandOut = "evidence.hand_out",
    /// A call is passed through.
    Forward = "esign.forward",
    /// An operator asks for a check of a sender.
    OperatorCheck = "operator.check",
    /// An operator is let in.
    OperatorLogin = "operator.login",
    /// An operator leaves.
    OperatorLogout = "operator.logout",
    /// An operator makes a sender for a caller.
    OperatorMakeSender = "operator.make_sender",
    /// A signer's phone number is corrected.
    PhoneCorrect = "phone.correct",
    /// A sender that a caller made gets another user, account or whatever else of it changes.
    SenderChange = "sender.change",
    /// A caller asks for a check of a sender.
    SenderCheck = "sender.check",
    /// What is stored of a sender's pairing is to be destroyed.
    SenderDisconnect = "sender.disconnect",
    /// A sender is made for a caller.
    SenderMake = "sender.make",
    /// A sender that a caller made is to be destroyed.
    SenderUnmake = "sender.unmake",
    /// A private key signs an assertion, for an access token.
    TokenMint = "token.mint",
    /// A recipient view is made.
    ViewCreate = "view.create",
}

/// One decision.
#[derive(Debug, Clone)]
pub struct Entry {
    act: Act,
    sender: String,
    caller: Option<String>,
    signing: Option<String>,
    detail: Option<String>,
}

impl Entry {
    /// A decision to act as a sender.
    pub fn new(act: Act, sender: impl fmt::Display) -> Self {
        Self { act, sender: sender.to_string(), caller: None, signing: None, detail: None }
    }

    /// An act that is no sender's.
    pub fn of_operator(act: Act) -> Self {
        Self::new(act, "")
    }

    /// For this caller.
    #[must_use]
    pub fn caller(mut self, name: impl fmt::Display) -> Self {
        self.caller = Some(name.to_string());
        self
    }

    /// About this signing.
    #[must_use]
    pub fn signing(mut self, id: impl fmt::Display) -> Self {
        self.signing = Some(id.to_string());
        self
    }

    /// An id or a word that says more. Never personal data.
    #[must_use]
    pub fn detail(mut self, text: impl fmt::Display) -> Self {
        self.detail = Some(text.to_string());
        self
    }
}

/// Why there is no audit log, or no further line in it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What is there is not a whole chain.
    #[error("the audit log is broken: {0}")]
    Broken(Broken),
    /// What is there is a chain, and not all of it.
    #[error(transparent)]
    Cut(chain::Unsound),
    /// Another process writes to it.
    #[error("another process writes to it")]
    InUse,
    /// The file cannot be opened, read or written.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The writer has ended.
    #[error("the audit log is closed")]
    Closed,
}

impl Error {
    /// The next step for whoever wrote the settings.
    pub fn fix(&self) -> &'static str {
        match self {
            Self::Io(error) => match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
                    "make its folder, or write another path"
                }
                io::ErrorKind::PermissionDenied => {
                    "let this user write to it and to its folder, or write another path"
                }
                _ => "see that it is a file in a folder that this user can write to",
            },
            Self::InUse => "stop the other one, or write another path: a log has one writer",
            Self::Broken(_) | Self::Closed | Self::Cut(_) => {
                "see what with `countersign audit verify`; keep file and .head as evidence, and name a new one"
            }
        }
    }
}

/// The audit log, or none if it is off. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Audit {
    writer: Option<Arc<Writer>>,
    path: Option<Arc<Path>>,
}

/// What [`Audit::open`] would go on with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// The number of the last line of the chain.
    pub seq: u64,
    /// The bytes of a line that has no end, which it would cut off; 0 if there is none.
    pub torn_bytes: u64,
}

/// Looks whether [`Audit::open`] would go on with the log at this path, and changes nothing. Answers what it would
/// go on with; none if there is no file.
pub fn examine(path: &Path) -> Result<Option<Found>, Error> {
    writer::examine(path)
}

impl Audit {
    /// No log: what is recorded goes nowhere.
    pub const fn off() -> Self {
        Self { writer: None, path: None }
    }

    /// Opens or makes the file and goes on with the chain in it; refuses a chain that is broken. Half a line at its
    /// end is cut off, if it was never noted as a whole one.
    ///
    /// With `sync` a line survives a power cut before its effect begins; without, a crash of the process.
    pub fn open(path: &Path, sync: bool, clock: SharedClock) -> Result<Self, Error> {
        let writer = Writer::start(path, sync, clock)?;
        Ok(Self { writer: Some(Arc::new(writer)), path: Some(path.into()) })
    }

    /// Says in the program's log what had to be cut off. Apart from [`Self::open`], which comes before there is one.
    pub fn tell_what_was_cut_off(&self) {
        let Some((writer, path)) = self.writer.as_ref().zip(self.path.as_ref()) else { return };
        if writer.torn_bytes > 0 {
            tracing::warn!(
                file = %path.display(),
                bytes = writer.torn_bytes,
                "the last line of the audit log had no end, as a kill or a power cut leaves it: it was cut off"
            );
        }
    }

    /// Whether there is a log.
    pub const fn is_on(&self) -> bool {
        self.writer.is_some()
    }

    /// Writes a decision down. Act only if this succeeds.
    pub async fn record(&self, entry: Entry) -> Result<(), Error> {
        self.record_all(vec![entry]).await
    }

    /// The same for decisions that follow each other at once: one wait for the disk, and all lines or none.
    pub async fn record_all(&self, entries: Vec<Entry>) -> Result<(), Error> {
        match &self.writer {
            None => Ok(()),
            Some(writer) => writer.record(entries).await,
        }
    }

    /// Writes what waits, and lets go of the file. What comes later is refused.
    pub async fn close(&self) {
        if let Some(writer) = &self.writer {
            writer.close().await;
        }
    }

    /// The lines about one signing, as they stand in the file that is written now; none if the log is off.
    /// What was rotated away is with whoever keeps the old files.
    pub async fn slice(&self, signing: &str) -> io::Result<Option<Vec<u8>>> {
        let Some(path) = self.path.clone() else { return Ok(None) };
        let wanted = format!("\"signing\":\"{signing}\"");
        let read = move || {
            let mut found = Vec::new();
            for line in io::BufRead::split(io::BufReader::new(std::fs::File::open(path)?), b'\n') {
                let line = line?;
                if line.windows(wanted.len()).any(|part| part == wanted.as_bytes()) {
                    found.extend_from_slice(&line);
                    found.push(b'\n');
                }
            }
            Ok(Some(found))
        };
        tokio::task::spawn_blocking(read)
            .await
            .unwrap_or_else(|_| Err(io::Error::other("the reader stopped")))
    }

    /// Why nothing can be written now, and so nothing is done; none if all is well, or the log is off.
    pub fn trouble(&self) -> Option<String> {
        self.writer.as_ref()?.trouble()
    }

    /// The end of the chain as it is now; none if the log is off.
    pub fn head(&self) -> Option<Head> {
        self.writer.as_ref().map(|writer| writer.head())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s6_the_page_lists_each_act_and_no_other() {
        let page = include_str!("../../deploy/audit.md");
        let rows = page.lines().filter(|line| line.starts_with("| `") && !line.starts_with("| `event` |"));
        let first = |row: &'static str| row.split(" | ").next().unwrap_or_default();
        let listed: Vec<&str> = rows.flat_map(|row| first(row).split('`').skip(1).step_by(2)).collect();
        let words: Vec<&str> = Act::ALL.iter().map(|act| act.as_str()).collect();
        assert_eq!(listed, words);
    }
}
