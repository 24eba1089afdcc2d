//! Refresh tokens that nobody acts by: a sender that leaves the settings leaves its connection in the store.
//!
//! They are told of, and never destroyed here. The settings may be another daemon's, or mistaken, and then the customer
//! would have to come once more.

use std::{collections::HashMap, fmt};

use super::{
    Pairings, WAITING,
    defined::{DEFINES, Made},
};
use crate::{
    domain::SenderName,
    store::{self, SenderRecord},
};

/// Names that are said; of the others, how many.
const MAX_SAID: usize = 10;

/// Senders whose refresh tokens are kept, and that these settings do not let act by them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unused(Vec<SenderName>);

impl Unused {
    /// What to do about them.
    pub const FIX: &str = "Unless another daemon on this store has that sender: put its section back with connect (of one \
                           that a caller made, that of its pattern), let a caller use it (callers.CALLER.senders; one that \
                           a caller made answers that caller alone), restart, call DELETE /v1/senders/NAME/connect with \
                           the key of that caller, and take out again what you put back.";

    /// Those among all that is kept of senders, where the settings have connectable ones of these names; none if there
    /// are none.
    pub fn of(kept: &[SenderRecord], is_connectable: impl Fn(&str) -> bool) -> Option<Self> {
        let definitions: HashMap<&str, &SenderRecord> =
            kept.iter().filter_map(|row| Some((row.sender.as_str().strip_suffix(DEFINES)?, row))).collect();
        let acts = |pairing: &SenderRecord| {
            let name = pairing.sender.as_str();
            is_connectable(name)
                || definitions.get(name).is_some_and(|row| match Made::read(row) {
                    // What is left of one that was destroyed goes at the next look.
                    Some(made) if made.is_gone => pairing.connected_at <= row.connected_at,
                    Some(made) => is_connectable(&made.like),
                    None => false,
                })
        };
        let holds_token = |row: &&SenderRecord| {
            let name = row.sender.as_str();
            row.sealed.is_some() && !name.ends_with(DEFINES) && !name.contains(WAITING)
        };
        let unused = kept.iter().filter(holds_token).filter(|row| !acts(row));
        let names: Vec<_> = unused.map(|row| row.sender.clone()).collect();
        (!names.is_empty()).then_some(Self(names))
    }
}

impl fmt::Display for Unused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, name) in self.0.iter().take(MAX_SAID).enumerate() {
            let comma = if index > 0 { ", " } else { "" };
            write!(f, "{comma}{name}")?;
        }
        match self.0.len().saturating_sub(MAX_SAID) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

impl Pairings {
    /// The senders whose refresh tokens are kept, and that these settings do not let act by them.
    pub async fn unused(&self) -> Result<Option<Unused>, store::Error> {
        let kept = self.inner.given.store.sender_records().await?;
        Ok(Unused::of(&kept, |name| self.inner.given.connectable.contains_key(name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_names_are_told_by_their_number() {
        let names = |count: usize| Unused((1..=count).map(|at| SenderName::new(format!("s{at}"))).collect());
        assert_eq!(names(1).to_string(), "s1");
        assert_eq!(names(10).to_string(), "s1, s2, s3, s4, s5, s6, s7, s8, s9, s10");
        assert_eq!(names(12).to_string(), "s1, s2, s3, s4, s5, s6, s7, s8, s9, s10 and 2 more");
    }
}
