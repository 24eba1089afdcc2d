//! countersign: lets a company website have its visitors sign DocuSign documents, without an account.

pub mod auth;
pub mod budget;
pub mod cli;
pub mod clock;
pub mod domain;
pub mod emulator;
pub mod esign;
pub mod http_client;
pub mod lifecycle;
pub mod listener;
pub mod store;
