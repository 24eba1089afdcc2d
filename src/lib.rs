//! countersign: lets a company website have its visitors sign DocuSign documents, without an account.

pub mod cli;
pub mod clock;
pub mod emulator;
pub mod lifecycle;
pub mod listener;
