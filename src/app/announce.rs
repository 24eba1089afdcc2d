//! Our events that are about no signing: about a sender, or an account's budget.

use jiff::Timestamp;

use crate::{
    app::Parts,
    domain::{CallerName, Event, EventId, EventKind, SenderName},
    store,
};

/// Who is told of a sender: its maker, or everyone who may use one of the settings.
pub(super) fn callers_of(parts: &Parts, sender: &SenderName) -> Vec<CallerName> {
    match parts.pairings.made(sender) {
        Some(made) => vec![made.owner.clone()],
        None => parts.callers.of_sender(sender),
    }
}

/// Puts one into the outbox for each caller, and wakes who sends them on. `data` makes its object, with its
/// sequence: nothing counts such events, so the time orders them, also over restarts and between daemons.
pub(super) async fn announce(
    parts: &Parts,
    kind: EventKind,
    callers: Vec<CallerName>,
    data: impl FnOnce(u64) -> String,
) -> Result<(), store::Error> {
    let at: Timestamp = parts.clock.now();
    let sequence = at.as_millisecond().unsigned_abs();
    let data = data(sequence);
    let event = |caller| Event {
        id: EventId::generate(at),
        caller,
        kind,
        signing: None,
        signer: None,
        sequence,
        at,
        data: data.clone(),
    };
    parts.store.add_events(callers.into_iter().map(event).collect()).await?;
    parts.hub.published();
    Ok(())
}
