//! The one integration binary.

mod postgres;
#[expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod store;
