//! Tests that need what a machine may not have. Used by the benchmarks as well.

use std::io::Write as _;

/// Says that a test is left out because something is not on this machine. In CI, where `tests/run` has installed all of
/// it, that is a fault; except what only the machine's owner can give, which `tests/run` looks for and names at its end.
#[expect(clippy::disallowed_methods, reason = "the one place beside proof_lengths")]
pub(crate) fn leave_out(why: &str) {
    let is_named = std::env::var("COUNTERSIGN_LEFT_OUT").is_ok_and(|named| why.contains(&named));
    assert!(is_named || std::env::var_os("CI").is_none(), "{why}; nothing is left out in CI");
    // Not captured, so that it shows beside a test that passes.
    let _ = writeln!(std::io::stderr(), "SKIPPED: {why} (tests/run insists on it)");
}
