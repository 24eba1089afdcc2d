//! Our own events, from the outbox to those who want them.
//!
//! An event is written in the same transaction as the change that caused it; everything here only reads
//! the outbox afterwards. It must never decide what happened, and never lose an event that is written:
//! wake-ups may be lost, the outbox is what counts.

pub mod hub;

pub use hub::Hub;
