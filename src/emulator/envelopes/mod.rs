//! Envelopes and what happens to them.

use jiff::Timestamp;

use super::{
    http::{Answer, Call},
    state::World,
};

/// All envelopes and templates.
#[derive(Debug, Default)]
pub(super) struct Book;

/// Vendor paths below an account, and browser pages. None: not one of ours.
pub(super) fn route(_world: &mut World, _call: &Call) -> Option<Answer> {
    None
}

/// `/_test/signers/…` and `/_test/outbox`.
pub(super) fn control(_world: &mut World, _call: &Call) -> Option<Answer> {
    None
}

/// What time alone does: envelopes expire, sessions end.
pub(super) fn tick(_world: &mut World, _now: Timestamp) {}
