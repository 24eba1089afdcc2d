//! The account server.
use super::{http::{Answer, Call}, state::World};
/// The bearer token of a request.
pub(super) fn bearer(call: &Call) -> Option<&str> {
    let (scheme, token) = call.header("authorization")?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}
/// Ends a token.
pub(super) fn kill(_world: &mut World, _token: &str) {}
/// Routes.
pub(super) fn route(_world: &mut World, _call: &Call) -> Option<Answer> { None }
