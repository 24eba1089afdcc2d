//! countersign: lets a company website have its visitors sign DocuSign documents, without an account.

pub mod clock;
pub mod domain;
pub mod lifecycle;
pub mod listener;
pub mod objects;
pub mod store;
