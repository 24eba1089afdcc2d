//! Pushes Connect events to their receivers.

use crate::lifecycle::Lifecycle;

use super::{state::SharedWorld, time::Time};

/// One event on its way to one receiver.
#[derive(Debug)]
pub(super) struct Outgoing;

/// The task that delivers.
#[derive(Debug, Clone)]
pub(super) struct Deliverer;

impl Deliverer {
    /// Starts it.
    pub(super) fn start(_world: SharedWorld, _time: Time, _life: &Lifecycle) -> Self {
        Self
    }

    /// Takes events over, in order.
    pub(super) fn enqueue(&self, _events: Vec<Outgoing>) {}
}
