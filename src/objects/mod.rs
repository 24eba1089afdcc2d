//! Our JSON: what callers send and what they see, in one place, for answers, events and streams alike.
//!
//! Shapes are converted by hand from and to `domain`, which knows no format. What a request may hold at all
//! is judged here, where it is read, by the limits that `domain` names; whether this caller may have it is
//! the API's and the use cases' to say. Nothing here shows a name, an e-mail address, a phone number or a
//! client user id: answers speak of signers by id and by the caller's own key.
//!
//! Field names follow the API's rules: snake_case, RFC 3339 in UTC, `object` on every object, lists as
//! `{object: "list", data, has_more, next_cursor}`; changes only add.

pub mod create;
pub(crate) mod create_form;
pub mod duration;
pub(crate) mod entries;
pub mod event;
pub(crate) mod explain;
pub mod invalid;
pub mod preflight;
pub mod return_url;
pub mod show;
mod strictness;
#[cfg(test)]
pub(crate) mod testing;
mod text;
pub mod timeline;
mod values;

pub use create::{parse_accepted, parse_access_code, parse_create, read_create};
pub use invalid::{Invalid, Invalids};
pub use return_url::is_return_url;
pub use text::check_line;
