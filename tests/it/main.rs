//! The one integration binary.
#![expect(clippy::unwrap_used, reason = "helpers fail as tests do: by panicking")]

mod browser;
mod cli;
mod demo;
mod harness;
mod readme;
mod signings;
mod uncertain;
