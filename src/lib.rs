//! countersign: lets a company website have its visitors sign DocuSign documents, without an account.
//!
//! A daemon that alone holds the RSA key of a DocuSign integration. It impersonates a *sender* by JWT
//! Grant, creates each envelope exactly once, hands out recipient views and durable links to them, and
//! tells the truth about what happened. Its upstream in miniature, the emulator, is in the same binary.
//!
//! # Layout, in reading order
//!
//! | Module | Is |
//! |---|---|
//! | [`domain`] | the vocabulary: a signing, its signers, the facts that move it; pure |
//! | [`signing`] | the use cases: create, open a view, follow to the end, recover what is uncertain |
//! | [`auth`] | how we come to act as an impersonated user: keys, assertions, grants, the token cache |
//! | [`esign`] | client of the eSignature REST API; the vendor's JSON stops in it |
//! | [`budget`] | the upstream's limits: what is left, who goes first |
//! | [`store`] | durable state behind one trait: SQLite, Postgres |
//! | [`pairing`] | a customer connects an account of their own |
//! | [`connect`] | events that the upstream pushes to us |
//! | [`events`] | our own events out: outbox, webhooks, streams |
//! | [`objects`] | our JSON: what callers send and see |
//! | [`api`] | the API listener: routes, callers, problems |
//! | [`oidc`] | bearer tokens that somebody else issued, such as a Kubernetes cluster |
//! | [`public`] | the public listener: links, returns, pages |
//! | [`audit`] | what the key was used for: written first, each line chained to the last |
//! | [`evidence`] | all that proves one signing, as one file, and how it is checked |
//! | [`ops`] | the ops listener: health, metrics, and the operators' status page |
//! | [`doctor`] | walks the whole chain and names what is wrong |
//! | [`app`] | the composition root: builds each part once and wires them; what the daemon does by itself, by the clock |
//! | [`cli`] | one file a subcommand |
//! | [`demo`] | the small company website of `countersign demo` |
//! | [`emulator`] | DocuSign in miniature: strict, stateful, unkind |
//! | [`config`], [`telemetry`], [`clock`], [`lifecycle`], [`listener`], [`http_client`], [`theme`], [`pdf`], [`spool`], [`tls`], [`bucket`], [`places`], [`digest`], [`secret_text`], [`own_process`] | what the others stand on |
//!
//! Who may depend on whom is a table with a reason a row, and a test: `tests/it/architecture.rs`.
//!
//! # Invariants: what is deliberately absent
//!
//! - No second create without a look-up: `esign` never repeats a create, only `signing` decides to.
//! - No status from a browser: what comes with a return URL is a *claim*; only a *fact* moves a signing.
//! - No type shared between `emulator` and the client side: they meet over HTTP, or one misreading of the
//!   vendor's format would cancel itself out.
//! - No access token leaves the process, and no view URL, link token or name reaches a log or a metric.
//! - No clock, environment or HTTP client outside `clock`, `config` and `http_client`; the lints say so.
//! - No global that changes: no static cache, registry or shutdown flag, so that tests run many daemons in one process.
//! - No GET mints a view or changes anything at DocuSign. These call it: documents and evidence; a return before
//!   its event, with one check; a sender whose consent is awaited, with a mint; and what is passed through.
//!
#![doc = include_str!("rules.md")]
//! # What is cached, and for how long
//!
//! | What | Where | Life |
//! |---|---|---|
//! | access token | `auth::token_cache` | refreshed at half of its life; dropped when unused for a day |
//! | user and accounts of a sender | `auth::accounts` | an hour |
//! | account and base URI of a sender | `esign::accounts` | the process, or until the upstream disagrees |
//! | SMS workflow of an account | `esign::identity` | hours |
//! | roles of a template | `esign::templates` | minutes |
//! | whether an account asks its senders for a check, too | `esign::account_settings` | a minute |
//! | a signed document, with its digest | `signing::documents`, on disk | `documents.keep`, 15 minutes |
//! | who is connected | `pairing` | 10 s behind the store |
//! | keys of an issuer of tokens | `oidc::keys` | `oidc.refresh`, 10 minutes; `oidc.max_age`, 24 hours, while they cannot be read |
//! | a host's addresses | `http_client::names` | 30 s; an hour while no name server answers |
//!
//! # What a call costs upstream (rule B1)
//!
//! | Call | Warm |
//! |---|---|
//! | `POST /v1/signings` with a view | 2: create, view |
//! | `POST …/views`, or a click on a link | 1; 3 for a signer whose new name no event has told, at most once in 15 minutes |
//! | `POST …/phone`, `POST …/access_code` | 1; 2 for a template's signer whose recipient id no event has told |
//! | `GET /v1/signings…`, `…/wait`, `…/timeline` | 0 |
//! | `POST …/void` | 1 |
//! | `POST …/refresh`, or a return before its event | 1, at most once in 15 minutes; a return's is made up for by then |
//! | `POST …/purge` | 1, and one check if its event does not come |
//! | events that do not say whose part has ended, or why, if no others do | 1 for all of a sender at a time, up to 100 |
//! | `GET …/documents/…` | 1, then none for `documents.keep` |
//! | `GET …/evidence` | 2, less what is kept |
//! | `ANY …/esign/…` (passed through) | 1; 2 if the token had died |
//!
//! Cold, a sender costs one token exchange and one userinfo more, a template one read of its roles, and
//! SMS one list of workflows; each once. A sender in use whose account is left to its user's default costs one
//! userinfo an hour.
//!
#![doc = include_str!("failures.md")]

pub mod api;
pub mod app;
pub mod audit;
pub mod auth;
pub mod bucket;
pub mod budget;
pub mod cli;
pub mod clock;
pub mod config;
pub mod connect;
pub mod demo;
pub mod digest;
pub mod doctor;
pub mod domain;
pub mod emulator;
pub mod esign;
pub mod events;
pub mod evidence;
#[cfg(any(test, fuzzing))]
pub mod hostile;
pub mod http_client;
pub mod lifecycle;
pub mod listener;
pub mod objects;
pub mod oidc;
pub mod ops;
pub mod own_process;
pub mod pairing;
pub mod pdf;
pub mod places;
pub mod public;
pub mod secret_text;
pub mod signing;
pub mod spool;
pub mod store;
pub mod telemetry;
pub mod theme;
pub mod tls;
