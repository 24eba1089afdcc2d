//! What leaves the process about itself: logs, metrics and traces, and how secrets stay out of both.
//!
//! A leaf: it imports nothing of ours, so that every part may use it. Nothing here is global but the
//! log subscriber, which the process has only one of.

mod chain;
pub mod logging;
pub mod metrics;
pub mod redact;
pub mod sparing;
pub mod traces;

pub use chain::{Chain, chain};
