//! Who in an account may do what with an envelope: its sender and the account's administrators everything, a
//! recipient read it and sign, any other member nothing.
//!
//! Whether the account is the envelope's own was checked before. Source: the code
//! `USER_NOT_ENVELOPE_SENDER_OR_RECIPIENT` of the vendor's troubleshooting list; its words, and the code for a
//! recipient who wants more, are our reading.

use http::{Method, StatusCode};

use super::model::{Envelope, Recipient, Refusal, refuse};
use crate::emulator::{http::Call, state::World};

/// What the caller is to an envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::emulator) enum Part {
    /// It is another member's.
    None,
    /// It came to the caller.
    Recipient,
    /// The caller sent it, or administers its account.
    Sender,
}

impl Part {
    /// What this caller is to that envelope.
    pub(in crate::emulator) fn of(world: &World, call: &Call, envelope: &Envelope) -> Self {
        let user = call.user.as_deref().unwrap_or_default();
        if is_sender(envelope, user) || is_admin(world, user, &envelope.account) {
            Self::Sender
        } else if is_recipient(world, envelope, user) {
            Self::Recipient
        } else {
            Self::None
        }
    }
}

/// Whether the user sent it.
pub(super) fn is_sender(envelope: &Envelope, user: &str) -> bool {
    envelope.sender.eq_ignore_ascii_case(user)
}

/// Whether the user is one of those it was sent to: by id, or by e-mail address.
pub(super) fn is_recipient(world: &World, envelope: &Envelope, user: &str) -> bool {
    envelope.recipients.iter().any(|one| is_user(world, one, user))
}

/// Whether this recipient is that user.
pub(super) fn is_user(world: &World, one: &Recipient, user: &str) -> bool {
    let email = world.directory.users.get(user).map(|user| user.email.as_str());
    one.user_id.eq_ignore_ascii_case(user) || email.is_some_and(|email| one.email.eq_ignore_ascii_case(email))
}

/// Whether the user administers the account.
pub(super) fn is_admin(world: &World, user: &str, account: &str) -> bool {
    world.directory.membership(user, account).is_some_and(|place| place.is_admin)
}

/// Refuses who has no part in the envelope, and a recipient who wants to change it.
pub(super) fn check(world: &World, call: &Call, id: &str, rest: &[&str]) -> Result<(), Refusal> {
    let is_reading = call.method == Method::GET || call.method == Method::HEAD;
    match Part::of(world, call, &world.envelopes.envelopes[id]) {
        Part::Sender => Ok(()),
        // For whom a recipient may have a view is up to the view.
        Part::Recipient if is_reading || rest == ["views", "recipient"] => Ok(()),
        Part::Recipient => Err(only_the_sender()),
        Part::None => Err(no_part()),
    }
}

/// Refuses who has no part in the envelope.
pub(super) fn no_part() -> Refusal {
    refuse(
        "USER_NOT_ENVELOPE_SENDER_OR_RECIPIENT",
        "This User is not the sender or a recipient of the requested envelope.",
    )
}

/// Refuses a recipient what only the sender may do.
pub(in crate::emulator) fn only_the_sender() -> Refusal {
    Refusal {
        status: StatusCode::FORBIDDEN,
        code: "USER_LACKS_PERMISSIONS",
        message: "This user lacks sufficient permissions to access this resource. Only the sender of an envelope may do this."
            .to_owned(),
    }
}
