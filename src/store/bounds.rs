//! How far ahead a date can be. What is beyond was written by a clock that was ahead and has been set back since, and is
//! mended ([`Store::mend_dates`](crate::store::Store::mend_dates)).
//!
//! The schedules that these follow from belong to others (`signing`, `events`), whose tests hold them against these:
//! whatever can be put off for longer would be taken up too soon. Each bound has room for the clocks.

use std::time::Duration;

const HOUR: u64 = 3_600;

/// Daemons' clocks differ by less.
pub const CLOCKS: Duration = Duration::from_secs(5 * 60);
/// No lease on a signing is longer, nor is the wait of anything about it that failed.
pub const LONGEST_RETRY: Duration = Duration::from_secs(3 * HOUR);
/// Nor is the wait of a create that cannot be sent again, because nobody was promised anything.
pub const LONGEST_LOOK: Duration = Duration::from_secs(26 * HOUR);
/// No delivery waits longer.
pub const LONGEST_DELIVERY: Duration = Duration::from_secs(28 * HOUR);
/// Nor is one leased for longer.
pub const LONGEST_DELIVERY_LEASE: Duration = Duration::from_secs(10 * 60);
