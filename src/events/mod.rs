//! Our own events, from the outbox to those who want them.
//!
//! An event is written in the same transaction as the change that caused it; everything here only reads
//! the outbox afterwards. It must never decide what happened, and never lose an event that is written:
//! wake-ups may be lost, the outbox is what counts.
//!
//! Two ways lead out: webhooks ([`dispatcher`], after Standard Webhooks) and streams ([`stream`]). Both
//! deliver at least once and mostly in order; `sequence` in the data tells the true order within a
//! signing, the event's id what is the same event again.
//!
//! # What a webhook may cost
//!
//! | What | Limit |
//! |---|---|
//! | attempts | 10 within 75 h 35 min, ±10 % ([`webhooks::SCHEDULE`]) |
//! | one attempt | 15 s; 4 KiB of the answer are read, none is kept; redirects are not followed |
//! | `Retry-After` | honoured up to 24 h, never to come earlier |
//! | under way at once, of each daemon | 512 quick, 8,192 slow ([`Limits`]); 16 for one endpoint |
//! | endpoints of a caller | 100 |
//! | streams open at once | 1,000, of one caller 750 |
//! | life of a stream | 1 h |
//!
//! Source: the Standard Webhooks specification (standard-webhooks/standard-webhooks, spec).

pub mod dispatcher;
pub mod endpoints;
pub mod hub;
mod lanes;
pub mod log;
mod oldest_pending;
pub mod stream;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
pub mod webhooks;

pub use dispatcher::{Dependencies, Dispatcher, Limits};
pub use endpoints::{Endpoints, FromSettings, NewEndpoint};
pub use hub::Hub;
pub use log::{Log, ReplayError};
pub use stream::{Start, Streams};
pub use webhooks::{Targets, Webhooks};
