//! The vendor's JSON, and nothing but it. Booleans and numbers are strings there; what we send follows
//! the vendor's samples, what we read takes either. Unknown fields are ignored, missing ones are none,
//! and nothing that the upstream could send makes us panic.

#![expect(clippy::struct_field_names, reason = "the vendor's names")]

pub(super) mod answers;
mod create;
pub(super) mod requests;
mod tabs;

pub(super) use create::{CUSTOM_FIELD, definition};

/// The `errorCode` of an error's body: none if there is none, an error if it is not JSON.
pub(super) fn error_code(body: &[u8]) -> Result<Option<String>, serde_json::Error> {
    let error: answers::Problem = serde_json::from_slice(body)?;
    Ok(error.error_code.as_deref().and_then(super::refusal::plain_code))
}

/// Writes a body.
pub(super) fn json(body: &impl serde::Serialize) -> Vec<u8> {
    let mut json = Vec::with_capacity(512);
    serde_json::to_writer(&mut json, body).expect("our own types have string keys and no failing parts");
    json
}
