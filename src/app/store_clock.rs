//! This machine's clock beside the database's.
//!
//! Leases of work on a shared store are dates: each daemon compares them with its own clock. One that is ahead takes
//! over what another still has in hand; one that is behind leaves what nobody has. Neither shows in anything else,
//! so the two clocks are compared all the time, and a daemon whose clock is wrong says so and is not ready.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::{
    clock::{Clock, later},
    store::Store,
};

/// As far apart two clocks may be: a sixth of the shortest lease (60 s), so that of two daemons, one as much ahead
/// as the other is behind, neither takes anything from the other while a call of at most a minute is under way.
const MOST: SignedDuration = SignedDuration::from_secs(10);

/// How far apart two clocks were found to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Apart {
    /// How far ours is behind; negative: ahead.
    pub(super) behind: SignedDuration,
    /// By how much that may be wrong, either way: the answer was on its way for some of the time.
    error: SignedDuration,
}

impl Apart {
    /// Asks for the database's time; none if it has no clock but ours, or does not answer.
    pub(super) async fn measure(store: &dyn Store, clock: &dyn Clock) -> Option<Self> {
        let (asked_at, asked) = (clock.now(), clock.uptime());
        let theirs = store.clock().await.ok().flatten()?;
        Some(Self::of(asked_at, clock.uptime().saturating_sub(asked), theirs))
    }

    fn of(asked_at: Timestamp, took: Duration, theirs: Timestamp) -> Self {
        let half = SignedDuration::try_from(took / 2).unwrap_or(SignedDuration::MAX);
        let ours = later(asked_at, half);
        Self { behind: theirs.duration_since(ours), error: half }
    }

    /// Whether they are too far apart, for sure; as it was `before` where the measurement does not tell.
    pub(super) fn is_too_far(self, before: bool) -> bool {
        let apart = self.behind.abs();
        if apart > MOST.saturating_add(self.error) {
            return true;
        }
        before && apart.saturating_add(self.error) > MOST
    }

    /// What an operator is told.
    pub(super) fn detail(self) -> String {
        let way = if self.behind.is_negative() { "ahead of" } else { "behind" };
        format!(
            "this machine's clock is {:.1} s {way} the database's, and leases of work are dates: synchronise both \
             machines by NTP (chrony, systemd-timesyncd); more than {} s is too much",
            self.behind.abs().as_secs_f64(),
            MOST.as_secs()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apart(offset_ms: i64, took_ms: u64) -> Apart {
        let asked_at = Timestamp::from_second(1_800_000_000).unwrap();
        let theirs = asked_at + SignedDuration::from_millis(offset_ms);
        Apart::of(asked_at, Duration::from_millis(took_ms), theirs)
    }

    #[test]
    fn half_of_the_round_trip_is_taken_off_and_may_be_wrong() {
        let found = apart(1_050, 100);
        assert_eq!(found.behind, SignedDuration::from_secs(1));
        assert_eq!(found.error, SignedDuration::from_millis(50));
    }

    #[test]
    fn a_clock_is_wrong_only_for_sure_and_right_again_only_for_sure() {
        for (offset_ms, took_ms, at_first, afterwards) in [
            (9_900, 0, false, false),
            (10_100, 0, true, true),
            (-10_100, 0, true, true),
            // Two seconds either way: it may be right, and it may be wrong.
            (13_000, 4_000, false, true),
            (10_000, 4_000, false, false),
            (15_000, 4_000, true, true),
        ] {
            let found = apart(offset_ms, took_ms);
            assert_eq!(
                (found.is_too_far(false), found.is_too_far(true)),
                (at_first, afterwards),
                "{found:?}"
            );
        }
    }

    #[test]
    fn an_operator_is_told_which_way_and_what_to_do() {
        assert!(
            apart(-25_000, 0).detail().starts_with("this machine's clock is 25.0 s ahead of the database's")
        );
        let behind = apart(12_300, 0).detail();
        assert!(behind.contains("12.3 s behind") && behind.contains("NTP"), "{behind}");
    }
}
