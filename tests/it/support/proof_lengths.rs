//! How long the long proofs run: the one place where the tests read the environment, but for `left_out`.
//!
//! The defaults suit a test run of minutes; the long runs are made by hand:
//!
//! ```text
//! COUNTERSIGN_TOKEN_SEEDS=10000 cargo test --test it token_simulation
//! COUNTERSIGN_RESTARTS=100 cargo test --test it h2_restarts
//! COUNTERSIGN_SEEDS=10000 cargo test --test it envelope_simulation
//! COUNTERSIGN_KILLS=200 cargo test --test it e4_
//! COUNTERSIGN_STORM=10000 cargo test --test it storm
//! COUNTERSIGN_SENDERS=10000 cargo test --test it many_senders::
//! COUNTERSIGN_WEEK=1000 cargo test --test it store::week -- --nocapture
//! ```

#[expect(clippy::disallowed_methods, reason = "the one place")]
fn count(name: &str, usual: u64) -> u64 {
    let Some(text) = std::env::var_os(name) else { return usual };
    let number = text.to_str().and_then(|text| text.parse().ok());
    // A long run that was asked for must not be a short one without a word.
    number.unwrap_or_else(|| panic!("{name} is not a number: {}", text.display()))
}

/// Seeds of the token simulation; `tests/bench/token_simulation.rs` runs far more.
pub(crate) fn token_seeds() -> u64 {
    count("COUNTERSIGN_TOKEN_SEEDS", 300)
}

/// Restarts of a daemon behind a load balancer under load; 100 by hand.
pub(crate) fn restarts() -> u64 {
    count("COUNTERSIGN_RESTARTS", 4)
}

/// Seeds of the envelope simulation; `tests/bench/envelope_simulation.rs` runs far more.
pub(crate) fn envelope_seeds() -> u64 {
    count("COUNTERSIGN_SEEDS", 300)
}

/// Kills of a real daemon, for each store.
pub(crate) fn kills() -> u64 {
    count("COUNTERSIGN_KILLS", 8)
}

/// Signings that are created at once while the upstream fails.
pub(crate) fn storm() -> u64 {
    count("COUNTERSIGN_STORM", 300)
}

/// Senders configured in one daemon.
pub(crate) fn senders() -> usize {
    usize::try_from(count("COUNTERSIGN_SENDERS", 300)).unwrap()
}

/// Signings in each hour of a virtual week.
pub(crate) fn week() -> u64 {
    count("COUNTERSIGN_WEEK", 2)
}
