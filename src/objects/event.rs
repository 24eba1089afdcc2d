//! The objects of events that are about no signing.

use jiff::Timestamp;
use serde::Serialize;

use super::show::to_text;
use crate::domain::Mode;

/// The object of an event about a sender: how it stands, and no more.
pub fn sender(name: &str, mode: Mode, state: &str, consent: &str, sequence: u64) -> String {
    #[derive(Serialize)]
    struct Shown<'a> {
        object: &'static str,
        id: &'a str,
        name: &'a str,
        mode: &'static str,
        state: &'a str,
        consent: &'a str,
        sequence: u64,
    }
    let mode = mode.as_str();
    to_text(&Shown { object: "sender", id: name, name, mode, state, consent, sequence })
}

/// The object of an event about an account's budget of upstream calls.
#[derive(Debug, Serialize)]
#[serde(tag = "object", rename = "budget")]
pub struct BudgetEvent<'a> {
    /// The account's id.
    pub id: &'a str,
    /// Calls that the account has in an hour.
    pub hour_limit: u64,
    /// Left of them.
    pub hour_remaining: u64,
    /// When the hour begins anew.
    pub resets_at: Timestamp,
    /// When nothing will be left at the present pace, if that comes first; now, if nothing is.
    pub exhausted_at: Option<Timestamp>,
    /// Of two events, the later one has the higher number.
    pub sequence: u64,
}

impl BudgetEvent<'_> {
    /// As the event's `data`.
    pub fn data(&self) -> String {
        to_text(self)
    }
}
