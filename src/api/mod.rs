//! What callers see: our HTTP API.
//!
//! Handlers translate: a request to a use case, its outcome to JSON or to a problem. They hold no rules of
//! the field. Every refusal is a problem document (RFC 9457) with a code, the next step, and a request id;
//! see [`problem`] for the codes.
//!
//! # Adding an endpoint
//!
//! 1. One line in the table of [`router`](mod@router): the path and who answers it. The metrics and the documentation
//!    take the paths from there.
//! 2. A handler in the file named after the resource: take [`Authenticated`](caller::Authenticated) first, so that
//!    nobody without a key gets further. If it calls the upstream, say how often in `caller::cost` (rule B1). If it
//!    reads a query, name it in `exchange::takes_query`: nobody else gets one.
//! 3. What it answers goes into `objects`, and into the OpenAPI document ([`openapi`]); tests compare its paths with
//!    the table, and its bodies and queries with what the handlers read. An error of another module becomes a problem
//!    in `causes`.

pub mod bodies;
pub mod caller;
mod causes;
mod creates;
mod documents;
mod events;
mod evidence;
mod exchange;
mod made_senders;
pub mod middleware;
pub mod openapi;
mod pairing;
mod passthrough;
mod prefer;
pub mod problem;
pub mod router;
mod senders;
mod signings;
mod streams;

#[cfg(any(test, fuzzing))]
pub(crate) use passthrough::lets_pass;

pub use caller::Callers;
pub use evidence::AT_ONCE as BUNDLES_AT_ONCE;
pub use problem::Problem;
pub use router::{Api, router};
