//! What operators see, on a listener of its own: health, readiness, metrics (rule H1), and the status page.
//!
//! The open routes hold no secret and change nothing. They never ask the upstream, and only the ledger asks
//! the store: an outage there must not take the daemon's own health page with it. `/admin/` stands behind a
//! login.

pub mod admin;
pub mod health;
pub mod ledger;
mod router;

pub use self::{
    health::{Health, Reason, Report, Status},
    router::router,
};
