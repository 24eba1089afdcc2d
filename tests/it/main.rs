//! The one integration binary.

#![expect(
    clippy::unwrap_used,
    reason = "the whole binary is tests; clippy sees only the functions marked so"
)]

mod audit;
mod browser;
mod cli;
mod demo;
mod esign;
mod harness;
mod postgres;
mod readme;
mod reload;
mod signings;
mod store;
mod token_interleavings;
mod token_simulation;
mod uncertain;
