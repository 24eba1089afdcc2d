//! The folders that the vendor makes by a search: what waits for whom, and what is complete.
//!
//! In the recycle bin lies nothing of them. What `expiring_soon` is, the vendor does not say in numbers: it is refused,
//! with the folders that are no searches and not here. Source: the words of `folder_ids` in
//! Envelopes:listStatusChanges; which envelopes each stands for is our reading.

use super::{
    access::{is_sender, is_user},
    folders::Folder,
    model::{Envelope, Status},
};
use crate::emulator::state::World;

/// One search.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Search {
    /// The user is to sign, or to read, now.
    AwaitingMySignature,
    /// All have signed.
    Completed,
    /// The user sent it, and it is under way.
    OutForSignature,
    /// It is under way, and somebody else has the turn.
    WaitingForOthers,
}

impl Search {
    /// The search that a word of the vendor's stands for.
    pub(super) fn named(word: &str) -> Option<Self> {
        Some(match word.to_ascii_lowercase().as_str() {
            "awaiting_my_signature" => Self::AwaitingMySignature,
            "completed" => Self::Completed,
            "out_for_signature" => Self::OutForSignature,
            "waiting_for_others" => Self::WaitingForOthers,
            _ => return None,
        })
    }

    /// Whether it finds this envelope for that user.
    pub(super) fn finds(self, world: &World, envelope: &Envelope, user: &str) -> bool {
        if Folder::of(world, envelope, user).is_none_or(Folder::is_bin) {
            return false;
        }
        let is_open = envelope.status.is_open();
        let is_awaited = || {
            let mut waiting = envelope.recipients.iter().filter(|one| one.status.is_in_turn());
            waiting.any(|one| one.must_act() && is_user(world, one, user))
        };
        match self {
            Self::AwaitingMySignature => is_open && is_awaited(),
            Self::Completed => envelope.status == Status::Completed,
            Self::OutForSignature => is_open && is_sender(envelope, user),
            Self::WaitingForOthers => is_open && !is_awaited(),
        }
    }
}
