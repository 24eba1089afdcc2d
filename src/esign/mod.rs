//! Client of the upstream eSignature REST API, v2.1.
//!
//! One function a call, and one shape for all of them: build, authorise, spend budget, send, read the
//! headers, turn the vendor's error into ours, decode, convert. The vendor's JSON stops in `wire`:
//! what leaves this module are values of our own.
//!
//! It must never refresh a token for anything but a 401, and then once (rule T7); never send a create
//! twice unless the first surely did nothing (rule E2); never put names, addresses, phone numbers,
//! view URLs or bodies into an error or a log line (rule S1); never wait without a limit.
//!
//! | Limit | Value | Why |
//! |---|---|---|
//! | answer read into memory | 4 MiB; lists 16 MiB | an envelope with 100 recipients is some 200 KB |
//! | request body | 35,651,584 bytes; of a passed call, what the API lets through | the vendor's limit a request |
//! | calls at once | [`Options::calls_at_once`] | new work leaves a quarter of it to others, and all leave an eighth to signers |
//! | bodies at once that are sent as they arrive | 8, or a quarter of the calls; of one caller three quarters of that | they last as long as their callers like |
//! | time a call | 15 to 60 s, by operation, and `upstream.request_timeout` at most (120 s for what is passed through); never past the caller's deadline | |
//!
//! Source: developers.docusign.com, eSignature REST API reference and concepts, read in mid 2026.

mod account_settings;
mod accounts;
mod call;
mod client;
mod documents;
mod envelopes;
mod error;
mod forward;
mod identity;
mod languages;
mod leaving;
mod read_cache;
mod recipient_views;
mod refusal;
mod seen;
mod templates;
mod warm;
mod wire;

#[cfg(any(test, fuzzing))]
pub(crate) use client::read_refusal;

pub use self::{
    account_settings::Forbidding,
    accounts::{AccountBudget, Acting, SenderOptions},
    call::Announcement,
    client::{Client, Deps, Observer, Options, trace},
    documents::{DocumentRef, Download},
    envelopes::{
        Corrected, Created, EnvelopeSigner, Found, MAX_LISTED, NewCheck, NewEnvelope, Page, Since, SmsCheck,
    },
    error::{Doubt, Error, Reach},
    forward::{ForwardBody, ForwardRequest, Forwarded, UploadPlace, named_in_list},
    recipient_views::{View, ViewRequest},
    refusal::{Rejection, RejectionKind},
    seen::{Recipient, Seen, people},
    templates::{Role, Template},
    warm::EVERY as WARM_EVERY,
};

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
