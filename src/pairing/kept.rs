//! What is kept sealed beside a pairing, as JSON under the seal: a refresh token with its lease, or what a
//! choice of an account is made of. The store knows neither.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use uuid::Uuid;

use super::Offer;
use crate::{clock::later, domain::Private, store::Daemons};

/// No lease ends later than this, by the clocks of two daemons that are as far apart as they may be: one that does
/// was taken before the clock was set back, and would keep everybody waiting for as long.
pub(super) const LEASE_MOST: Duration = Duration::from_secs(120);

/// A refresh token, and until when a daemon renews with it.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Kept {
    pub(super) refresh_token: String,
    leased_until: Option<Timestamp>,
    /// Which daemon has the lease, by an id that each start makes anew; none if nobody has, or took it before this was
    /// written down.
    #[serde(default)]
    leased_by: Option<Uuid>,
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
        Self { refresh_token, leased_until: None, leased_by: None, renewed_at: Some(now) }
    }

    /// The same token, with which that daemon renews until then.
    pub(super) fn leased(self, by: Uuid, until: Timestamp) -> Self {
        Self { leased_until: Some(until), leased_by: Some(by), ..self }
    }

    /// The same token, with which nobody renews.
    pub(super) fn free(self) -> Self {
        Self { leased_until: None, leased_by: None, ..self }
    }

    /// Until when somebody may be renewing with it; none if nobody is. Where a store has one daemon at a time, whoever has
    /// a lease that is not ours is dead.
    pub(super) fn held_until(&self, now: Timestamp, us: Uuid, daemons: Daemons) -> Option<Timestamp> {
        let may_live = daemons == Daemons::Several || self.leased_by == Some(us);
        self.leased_until.filter(|until| may_live && now < *until && *until <= later(now, LEASE_MOST))
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
        let (now, [us, other]) = (Timestamp::UNIX_EPOCH, [1, 2].map(Uuid::from_u128));
        let is_held = |until| {
            let leased = Kept::fresh("token".to_owned(), now).leased(other, until);
            leased.held_until(now, us, Daemons::Several) == Some(until)
        };
        let in_seconds = |seconds| later(now, Duration::from_secs(seconds));
        assert!(is_held(in_seconds(60)), "another daemon renews with it");
        assert!(is_held(in_seconds(80)), "its clock is ahead of ours");
        assert!(!is_held(now) && !is_held(in_seconds(3_600)));
    }

    #[test]
    fn a_lease_of_another_daemon_is_dead_where_one_at_a_time_has_the_store() {
        let (now, [us, other]) = (Timestamp::UNIX_EPOCH, [1, 2].map(Uuid::from_u128));
        let until = later(now, Duration::from_secs(60));
        let held =
            |by, daemons| Kept::fresh("token".to_owned(), now).leased(by, until).held_until(now, us, daemons);
        assert_eq!(held(other, Daemons::One), None);
        assert_eq!(held(other, Daemons::Several), Some(until));
        assert_eq!(held(us, Daemons::One), Some(until), "two renewals of one daemon wait for each other");
        // As it was written before a lease told whose it is.
        let older = r#"{"refresh_token":"token","leased_until":"1970-01-01T00:01:00Z"}"#;
        let older = Kept::open(&Private::new(older.to_owned())).unwrap();
        assert_eq!(older.held_until(now, us, Daemons::One), None);
        assert_eq!(older.held_until(now, us, Daemons::Several), Some(until));
    }
}
