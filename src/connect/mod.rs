//! Connect: the events that the upstream pushes to us.
//!
//! A delivery is believed when its digest matches over the raw bytes, and only then is it read; it is
//! stored before it is acknowledged, and what it says is taken in afterwards, by a task that goes on
//! until it is done (rule F3). Deliveries come twice, in any order and days late: all of that is for
//! [`Signing::observe`](crate::domain::Signing::observe) to sort out, never for this module.
//!
//! It must never parse before the digest has matched, never acknowledge before the delivery is stored,
//! never turn what it does not know into an error (the upstream would repeat it for days), and never
//! let a browser's word in: only what is signed with one of the keys becomes a [`Fact`].
//!
//! # Who may deliver
//!
//! | Check | When | Where |
//! |---|---|---|
//! | HMAC over the body | always; without a key in the settings nothing is believed | [`digest`], [`own_keys`] |
//! | a bearer value | if any is set (`connect.bearer_tokens`) | [`receive`](Inbox::receive) |
//! | an access token of the operator's authorization server (OAuth for Connect) | if `connect.oidc` is set | [`proofs`] |
//! | a client certificate (mutual TLS) | if `connect.client_ca` is set; where a proxy ends TLS, it is the proxy's to ask | [`proofs`] |
//!
//! # Limits
//!
//! | What | Limit |
//! |---|---|
//! | body | 2 MiB ([`Limits::body_bytes`]) |
//! | time for a body to arrive | 10 s ([`Limits::body_time`]) |
//! | time from the whole body to the answer, for all that must be asked and stored | 20 s ([`Limits::answer_time`]); the upstream waits 100 s, and takes one that fails for a receiver that is down |
//! | the part of it in which a customer's delivery waits for creates that may have made its envelope | 3 s ([`Limits::owner_time`]), then 503 |
//! | bodies in memory at once | 512 up to 64 KiB, 48 above ([`Limits::small`], [`Limits::large`]); the next one cuts off that which has been arriving for longest (503), or waits 500 ms if all have arrived. What has proven nothing by then is no delivery that was missed |
//! | keys a delivery is held against | at a sender's own address its own; at the general one the shared ones, and those of all senders while they are at most 100 |
//! | lines in the log about deliveries that prove nothing, about those that were cut short, and about envelopes that are nobody's | one a second each, with the count of the others |
//! | digest headers looked at | 100, the upstream's own maximum |
//! | messages kept about one envelope | all that were accepted, until they are taken in and `store.retention` is over |
//! | messages about one envelope in memory at once | 32 ([`INBOUND_PAGE`](crate::store::INBOUND_PAGE)) |
//! | envelopes remembered whose signing we do not know yet | 1,000, for about an hour; then their deliveries are counted as unknown |
//! | news of a signer without saying of whom, and of an end that does not say who or why, while we find out | 1,000, for 5 s and one list, and for up to a minute more while a check is under way |
//!
//! Source: developers.docusign.com, platform/webhooks/connect (JSON SIM event model, event triggers,
//! validation and security), and `connect.schema-v2.json` of docusign/OpenAPI-Specifications.
//!
//! [`Fact`]: crate::domain::Fact

mod body_slots;
pub mod digest;
mod inbox;
pub mod own_keys;
mod payload;
#[cfg(test)]
mod permutations;
mod proofs;
mod receive;
#[cfg(test)]
mod tests;
mod unknown_envelopes;
mod unnamed_signers;
mod wire;

pub use digest::{BadDigest, Keys, UnverifiedDelivery, VerifiedDelivery};
pub use inbox::{Dependencies, Inbox};
pub use own_keys::OwnKeys;
pub use payload::{Message, Unreadable};
pub use proofs::{Clients, Tokens};
pub use receive::{Bearers, Limits, Receipt};
