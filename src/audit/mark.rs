//! Finding a line that was noted elsewhere: what shows that the end of a chain is missing, or that all of it is new.

use super::chain::{Head, Unsound};

/// How far a chain has come, and which line of it was noted elsewhere: to find lines missing at the end.
#[derive(Debug, Clone)]
pub struct Mark {
    noted: Head,
    begin: Option<Head>,
    /// The line of the number that was noted.
    found: Option<Head>,
}

impl Mark {
    /// Of this head, which was noted when its line had been written.
    pub fn new(noted: Head) -> Self {
        Self { noted, begin: None, found: None }
    }

    /// As [`new`](Self::new), for a chain that goes on from `begin`.
    pub fn after(begin: &Head, noted: Head) -> Self {
        let mut mark = Self::new(noted);
        mark.pass(begin);
        mark
    }

    /// A line of the chain, or the one that it goes on from.
    pub(super) fn pass(&mut self, head: &Head) {
        self.begin.get_or_insert_with(|| head.clone());
        if head.seq == self.noted.seq {
            self.found = Some(head.clone());
        }
    }

    /// Whether a chain that ends so holds the noted line. What begins after it says nothing of it.
    pub fn check(&self, end: &Head) -> Result<(), Unsound> {
        if self.holds(end) || self.begins_later().is_some() {
            return Ok(());
        }
        Err(Unsound::Cut { end: end.clone(), noted: self.noted.clone() })
    }

    /// As [`check`](Self::check), of a line that must be there.
    pub fn require(&self, end: &Head) -> Result<(), Unsound> {
        if self.holds(end) {
            return Ok(());
        }
        let noted = self.noted.clone();
        Err(match (self.begins_later(), &self.found) {
            (Some(begin), _) => Unsound::BeginsLater { begin: begin.clone(), noted },
            (None, Some(found)) => Unsound::Other { found: found.clone(), noted },
            (None, None) => Unsound::Cut { end: end.clone(), noted },
        })
    }

    fn holds(&self, end: &Head) -> bool {
        self.found.as_ref() == Some(&self.noted) || *end == self.noted
    }

    fn begins_later(&self) -> Option<&Head> {
        self.begin.as_ref().filter(|begin| begin.seq > self.noted.seq)
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::audit::{
        Act, Entry,
        chain::{append, verify_past},
    };

    /// A chain of six lines, and its heads from before the first of them.
    fn chain() -> (Vec<Vec<u8>>, Vec<Head>) {
        let (mut all, mut heads) = (Vec::new(), vec![Head::genesis()]);
        for number in 0..6 {
            let mut line = Vec::new();
            let entry = Entry::new(Act::EnvelopeCreate, "system").signing(number);
            heads.push(append(&mut line, &heads[number], Timestamp::UNIX_EPOCH, &entry));
            all.push(line);
        }
        (all, heads)
    }

    fn require(bytes: &[u8], after: &Head, noted: &Head) -> Result<(), Unsound> {
        let mut mark = Mark::after(after, noted.clone());
        let end = verify_past(bytes, Some(after), [&mut mark]).unwrap();
        mark.require(&end)
    }

    #[test]
    fn s6_a_noted_line_is_found_wherever_the_chain_has_come_since() {
        let (all, heads) = chain();
        let bytes = all.concat();
        for noted in &heads {
            require(&bytes, &heads[0], noted).unwrap();
        }
        // After a rotation: the line before the first, and one of the files that were left out.
        let rest = all[3..].concat();
        for noted in &heads[3..] {
            require(&rest, &heads[3], noted).unwrap();
        }
        require(b"", &heads[3], &heads[3]).unwrap();
        let earlier = require(&rest, &heads[3], &heads[2]).unwrap_err();
        assert!(matches!(earlier, Unsound::BeginsLater { .. }), "{earlier}");
        for (text, noted) in [(all[..2].concat(), 3), (all[..5].concat(), 6), (Vec::new(), 1)] {
            let cut = require(&text, &heads[0], &heads[noted]).unwrap_err();
            assert!(matches!(cut, Unsound::Cut { .. }), "{cut}");
        }
        for seq in [1, 3, 6] {
            let forged = Head { seq, hash: "f".repeat(64) };
            let other = require(&bytes, &heads[0], &forged).unwrap_err();
            assert!(matches!(other, Unsound::Other { .. }), "{other}");
        }
        let forged = Head { seq: 3, hash: "f".repeat(64) };
        let other = require(&rest, &heads[3], &forged).unwrap_err();
        assert!(matches!(other, Unsound::Other { .. }), "{other}");
    }
}
