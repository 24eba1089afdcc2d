//! Slows down whoever tries addresses: wrong tokens and nonces are counted by network.
//!
//! A token has 256 bits, so guessing one is hopeless; what this prevents is the noise. Only wrong addresses
//! cost anything, and only wrong ones are refused: behind one address there may be a whole company, or a
//! reverse proxy that the settings do not name, with all visitors behind it, whose good links must go on
//! working. Codes of consent pages are counted in the same way, right ones too: whether one is right shows only
//! after the exchange that it costs.

use std::{
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};

use crate::bucket::Buckets;

/// Wrong addresses that a network may open at once.
const BURST: f64 = 60.0;
/// How many a second it gets back.
const REFILL: f64 = 1.0;
/// Networks that are kept apart; beyond, all new ones share one bucket.
const MAX_NETWORKS: usize = 10_000;

/// Counts wrong addresses by network. All times are uptime.
#[derive(Debug)]
pub(super) struct GuessLimit {
    networks: Buckets<IpAddr>,
    /// Of all that come when there are too many.
    crowd: Buckets<()>,
}

impl Default for GuessLimit {
    fn default() -> Self {
        Self { networks: Buckets::new(BURST, REFILL, MAX_NETWORKS), crowd: Buckets::new(BURST, REFILL, 1) }
    }
}

impl GuessLimit {
    /// Counts a wrong address, and says whether the network still has any left.
    pub(super) fn allows(&self, address: Option<IpAddr>, uptime: Duration) -> bool {
        let taken = self.networks.take(network(address), uptime).or_else(|| self.crowd.take((), uptime));
        taken.is_some_and(|taken| taken.is_ok())
    }
}

/// Whoever has one IPv6 address has the 2^64 beside it.
fn network(address: Option<IpAddr>) -> IpAddr {
    match address.map(|address| address.to_canonical()) {
        Some(IpAddr::V6(address)) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
        Some(v4) => v4,
        None => Ipv6Addr::UNSPECIFIED.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1_000);

    fn spend(guesses: &GuessLimit, address: &str) -> usize {
        let address = Some(address.parse().unwrap());
        (0..1_000).take_while(|_| guesses.allows(address, NOW)).count()
    }

    #[test]
    fn a_network_runs_dry_and_recovers_and_others_do_not_notice() {
        let guesses = GuessLimit::default();
        assert_eq!(spend(&guesses, "192.0.2.1"), 60);
        assert_eq!(spend(&guesses, "192.0.2.2"), 60);
        let address = Some("192.0.2.1".parse().unwrap());
        assert!(guesses.allows(address, NOW + Duration::from_secs(1)));
        assert!(!guesses.allows(address, NOW + Duration::from_secs(1)));
    }

    #[test]
    fn neighbours_in_ipv6_are_one() {
        let guesses = GuessLimit::default();
        assert_eq!(spend(&guesses, "2001:db8::1"), 60);
        assert_eq!(spend(&guesses, "2001:db8::ffff:2"), 0);
        assert_eq!(spend(&guesses, "2001:db8:0:1::1"), 60);
        assert_eq!(spend(&guesses, "::ffff:192.0.2.1"), 60);
        assert_eq!(spend(&guesses, "192.0.2.1"), 0, "the same host");
    }

    #[test]
    fn memory_is_bounded() {
        let guesses = GuessLimit::default();
        for number in 0..30_000_u32 {
            guesses.allows(Some(IpAddr::V4(number.into())), NOW);
        }
        assert!(guesses.networks.len() <= MAX_NETWORKS);
        // When the old ones have recovered, newcomers get a bucket of their own again.
        let later = NOW + Duration::from_secs(600);
        assert!(guesses.allows(Some("203.0.113.9".parse().unwrap()), later));
        assert!(guesses.networks.len() < 10);
    }
}
