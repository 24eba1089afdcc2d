//! The templates of a fresh start.

/// The template that the ready file names.
pub(super) const TEMPLATE: &str = "c1a55e00-7e3d-4b1a-9f00-5e1f7e3a0001";
/// Its one role.
pub(super) const TEMPLATE_ROLE: &str = "Client";
