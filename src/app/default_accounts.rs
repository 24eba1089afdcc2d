//! Looks whether the default account of a sender's user is another one by now, where the settings leave the account to
//! that: while the sender acts well, nothing else asks, and the next start would take the other.
//!
//! It must never keep a token in use that nobody needs, and never add to what the account server cannot take.

use std::time::Duration;

use crate::{
    app::Parts,
    auth::{Error, Kind},
};

/// How often each of those senders is looked at: as long as what is known of a user serves.
const LOOK_EVERY: Duration = Duration::from_secs(3_600);
/// Between two of them.
const LOOK_GAP: Duration = Duration::from_secs(1);

/// Looks until the stop.
pub(super) fn watch(parts: &Parts) {
    parts.repeat("default accounts", LOOK_EVERY, |parts| async move { look(&parts).await });
}

async fn look(parts: &Parts) {
    for name in parts.auth.in_default_accounts() {
        let looked = parts.auth.look_at_default(&name).await;
        if looked.is_err_and(|error| is_pressed(&error)) {
            return;
        }
        parts.clock.sleep(LOOK_GAP).await;
    }
}

/// Whether the account server is away or limits us, and so is left alone this time. A token that it refuses is one
/// sender's matter.
fn is_pressed(error: &Error) -> bool {
    error.kind() == Kind::Transient && !matches!(error, Error::TokenRefused { .. })
}
