//! Control.
use http::StatusCode;
use super::{envelopes, http::{Answer, Call}, state::World, time::Time};
/// Routes.
pub(super) fn route(world: &mut World, _time: &Time, call: &Call) -> Answer {
    envelopes::control(world, call).unwrap_or_else(|| Answer::control_error(StatusCode::NOT_FOUND, "no such control call"))
}
