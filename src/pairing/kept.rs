//! What is kept sealed beside a pairing, as JSON under the seal: a refresh token with its lease, or what a
//! choice of an account is made of. The store knows neither.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use uuid::Uuid;

use super::Offer;
use crate::{clock::later, domain::Private};

/// No lease ends later than this, by the clocks of two daemons that are as far apart as they may be: one that does
/// was taken before the clock was set back, and would keep everybody waiting for as long.
pub(super) const LEASE_MOST: Duration = Duration::from_secs(120);

/// A refresh token, and until when a daemon renews with it.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Kept {
    pub(super) refresh_token: String,
    pub(super) leased_until: Option<Timestamp>,
    /// When it was got; none if that was before this was written down.
    #[serde(default)]
    pub(super) renewed_at: Option<Timestamp>,
}

/// What waits for a person's choice.
#[derive(Serialize, Deserialize)]
pub(super) struct Choice {
    pub(super) user_id: String,
    pub(super) accounts: Vec<KeptAccount>,
    pub(super) refresh_token: Option<String>,
}

/// An account that can be chosen.
#[derive(Serialize, Deserialize)]
pub(super) struct KeptAccount {
    pub(super) id: Uuid,
    pub(super) name: String,
    pub(super) is_default: bool,
}

impl Kept {
    /// A token that nobody renews with.
    pub(super) fn fresh(refresh_token: String, now: Timestamp) -> Self {
        Self { refresh_token, leased_until: None, renewed_at: Some(now) }
    }

    /// Whether no daemon renews with it.
    pub(super) fn is_free(&self, now: Timestamp) -> bool {
        self.leased_until.is_none_or(|until| until <= now || until > later(now, LEASE_MOST))
    }

    pub(super) fn sealed(&self) -> Private<String> {
        write(self)
    }

    pub(super) fn open(text: &Private<String>) -> Option<Self> {
        read(text)
    }
}

impl Choice {
    pub(super) fn sealed(&self) -> Private<String> {
        write(self)
    }

    pub(super) fn open(text: &Private<String>) -> Option<Self> {
        read(text)
    }

    pub(super) fn offers(&self) -> Vec<Offer> {
        let offer = |account: &KeptAccount| Offer {
            id: account.id,
            name: account.name.clone(),
            is_default: account.is_default,
        };
        self.accounts.iter().map(offer).collect()
    }
}

fn write<T: Serialize>(value: &T) -> Private<String> {
    Private::new(serde_json::to_string(value).unwrap_or_default())
}

fn read<T: DeserializeOwned>(text: &Private<String>) -> Option<T> {
    serde_json::from_str(text.reveal()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_from_before_the_clock_was_set_back_holds_nobody() {
        let now = Timestamp::UNIX_EPOCH;
        let leased = |until| Kept { leased_until: Some(until), ..Kept::fresh("token".to_owned(), now) };
        let in_seconds = |seconds| later(now, Duration::from_secs(seconds));
        assert!(!leased(in_seconds(60)).is_free(now), "another daemon renews with it");
        assert!(!leased(in_seconds(80)).is_free(now), "its clock is ahead of ours");
        assert!(leased(now).is_free(now) && leased(in_seconds(3_600)).is_free(now));
    }
}
