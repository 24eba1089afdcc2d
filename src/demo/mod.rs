//! The small company website of `countersign demo`: what a customer of the daemon would write.
//!
//! It shows how a website uses the daemon, so it does what a website can: it talks to the daemon over
//! the public HTTP API alone, with a caller key, and keeps what it was told in a list of orders. The
//! one thing that no website has is the outbox page, which reads the emulator's control interface and
//! stands for the visitor's phone; it says so.
//!
//! It never takes the browser's word for a signature: what the return URL says is shown as a claim,
//! beside the fact that the daemon knows and beside what the daemon's signed webhooks told. Loopback only, memory only, no script but the daemon's own
//! component on the one page that shows it, and no type of the daemon: what it reads are its own views of
//! the API's JSON.

mod actions;
mod backend;
mod contract;
mod orders;
mod outbox;
mod pages;
mod placing;
mod returned;
mod site;
mod walk;
mod webhooks;

#[cfg(any(test, fuzzing))]
pub(crate) use self::webhooks::is_believed;
pub use self::{
    site::{CALLER, HOOK_PATH, Options, Site, StartError},
    walk::{Step, Walk, WalkError},
};
