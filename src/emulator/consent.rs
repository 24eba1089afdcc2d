//! Consent.
use super::{http::{Answer, Call}, state::World};
/// Routes.
pub(super) fn route(_world: &mut World, _call: &Call) -> Option<Answer> { None }
