//! countersign: lets a company website have its visitors sign DocuSign documents, without an account.

pub mod auth;
pub mod clock;
pub mod domain;
pub mod http_client;
pub mod lifecycle;
pub mod listener;
pub mod objects;
pub mod store;
