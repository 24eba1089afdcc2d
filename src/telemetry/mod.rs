//! What leaves the process about itself: logs, metrics and traces. A secret must never be in any of them: its type
//! does not print itself.
//!
//! A leaf: it imports nothing of ours, so that every part may use it. Nothing here is global but the
//! log subscriber, which the process has only one of.

mod chain;
pub mod lasting_trouble;
pub mod log_throttle;
pub mod logging;
pub mod metrics;
pub mod traces;

pub use chain::{Chain, chain};
