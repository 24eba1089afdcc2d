//! How often clicks have a view made for one signer. Whoever holds a link could spend the account's calls of the hour
//! by it otherwise: a view that is closed at once makes room for the next, and so does one that is refused.
//!
//! Counted is what the upstream has answered, be it a refusal; what nobody answered costs nothing, and is tried again
//! by those in line. The caller's own calls are not counted: they have a rate of their own. Each daemon counts for
//! itself, and in memory.

use std::time::Duration;

use crate::{bucket::Buckets, domain::SignerId};

/// Views that a signer may have at once.
const BURST: f64 = 10.0;
/// How many a second come back: one a minute, which is two in a hundred of the calls of an account that has 3,000 an hour.
const REFILL: f64 = 1.0 / 60.0;
/// Signers who are remembered; the next ones are not counted, because an honest one must not stand back for others.
const MAX_SIGNERS: usize = 10_000;

/// The views of the last minutes, by signer. All times are uptime.
#[derive(Debug)]
pub(super) struct ClickLimit(Buckets<SignerId>);

impl Default for ClickLimit {
    fn default() -> Self {
        Self(Buckets::new(BURST, REFILL, MAX_SIGNERS))
    }
}

impl ClickLimit {
    /// How long until a signer may have a view; zero if they may now.
    pub(super) fn wait(&self, signer: SignerId, uptime: Duration) -> Duration {
        self.0.wait(&signer, uptime)
    }

    /// Counts a view. Where nothing is left, nothing more is taken.
    pub(super) fn count(&self, signer: SignerId, uptime: Duration) {
        let _ = self.0.take(signer, uptime);
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const NOW: Duration = Duration::from_secs(1_000);

    fn signer(number: u128) -> SignerId {
        SignerId::from_uuid(Uuid::from_u128(number))
    }

    #[test]
    fn ten_views_at_once_and_then_one_a_minute_and_others_do_not_notice() {
        let often = ClickLimit::default();
        for _ in 0..10 {
            assert!(often.wait(signer(1), NOW).is_zero());
            often.count(signer(1), NOW);
        }
        assert!(often.wait(signer(1), NOW) > Duration::from_secs(59));
        assert!(often.wait(signer(1), NOW) <= Duration::from_secs(60));
        assert!(often.wait(signer(2), NOW).is_zero());
        let later = NOW + Duration::from_secs(61);
        assert!(often.wait(signer(1), later).is_zero());
        often.count(signer(1), later);
        assert!(!often.wait(signer(1), later).is_zero());
    }

    #[test]
    fn memory_is_bounded_and_shuts_nobody_out() {
        let often = ClickLimit::default();
        for number in 0..MAX_SIGNERS as u128 + 5 {
            often.count(signer(number), NOW);
        }
        assert_eq!(often.0.len(), MAX_SIGNERS);
        let newcomer = signer(u128::MAX);
        assert!(often.wait(newcomer, NOW).is_zero());
        // Whose views have come back makes room.
        often.count(newcomer, NOW + Duration::from_secs(61));
        assert_eq!(often.0.len(), 1);
    }
}
