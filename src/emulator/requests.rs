//! The log of what arrived on the vendor's listener, oldest first, without a cap.
//!
//! A request is listed from the moment it arrived; its status is filled in when its answer was made, also if that
//! is late and its client does not wait for it, and stays empty when the connection was cut instead. Secrets in
//! queries are kept: a test wants to see exactly what its client sent.

use jiff::Timestamp;
use serde::Serialize;

/// One request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Entry {
    /// Its number in the log; given on arrival.
    #[serde(skip)]
    pub(super) number: u64,
    /// When it arrived, by the emulator's clock.
    pub(super) at: Timestamp,
    /// The method.
    pub(super) method: String,
    /// The path.
    pub(super) path: String,
    /// The raw query, empty without one.
    pub(super) query: String,
    /// The status answered; null while there is none, and when nothing was answered.
    pub(super) status: Option<u16>,
    /// The size of its body.
    pub(super) bytes: u64,
}

/// All requests since the start, the last reset, or the last time they were forgotten.
#[derive(Debug, Default)]
pub(super) struct RequestLog {
    entries: Vec<Entry>,
    forgotten: u64,
}

impl RequestLog {
    /// Notes an arrival; answers its number, which is never used again.
    pub(super) fn arrived(&mut self, entry: Entry) -> u64 {
        let number = self.forgotten + self.entries.len() as u64 + 1;
        self.entries.push(Entry { number, ..entry });
        number
    }

    /// Notes what is answered.
    pub(super) fn answered(&mut self, number: u64, status: u16) {
        if let Some(entry) = self.entry_mut(number) {
            entry.status = Some(status);
        }
    }

    /// One entry by number.
    pub(super) fn entry(&self, number: u64) -> Option<&Entry> {
        let index = usize::try_from(number.checked_sub(self.forgotten + 1)?).ok()?;
        self.entries.get(index)
    }

    fn entry_mut(&mut self, number: u64) -> Option<&mut Entry> {
        let index = usize::try_from(number.checked_sub(self.forgotten + 1)?).ok()?;
        self.entries.get_mut(index)
    }

    /// All of them, oldest first.
    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Forgets them; numbers go on.
    pub(super) fn forget(&mut self) {
        self.forgotten += self.entries.len() as u64;
        self.entries.clear();
    }
}
