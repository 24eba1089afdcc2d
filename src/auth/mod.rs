//! How we come to act as an impersonated user.

pub mod access_token;
pub mod assertion;
pub mod clock_offset;
pub mod consent;
pub mod error;
pub mod grant;
pub mod identity;
pub mod signer;
pub mod signing_key;
pub mod user_info;

pub use error::{Error, Kind};
