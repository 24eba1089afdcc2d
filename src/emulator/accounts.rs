//! Accounts.
use super::{http::{Answer, Call}, state::World};
/// Routes.
pub(super) fn route(_world: &mut World, _call: &Call) -> Option<Answer> { None }
/// Probes.
pub(super) fn unauthenticated(_call: &Call) -> Option<Answer> { None }
/// Checks token and account.
pub(super) fn authorise(_world: &World, _call: &mut Call) -> Result<(), Answer> { Ok(()) }
