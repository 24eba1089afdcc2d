//! The one integration binary.

mod cli;
mod harness;
mod signings;
mod uncertain;
