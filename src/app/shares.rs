//! Callers' shares of the hour's calls: what each daemon counted is told to the others through the store.

use std::{sync::Arc, time::Duration};

use crate::{
    app::Parts,
    store::{self, Counter},
    telemetry::{
        chain,
        lasting_trouble::{LastingTrouble, Say},
    },
};

/// As often as daemons tell each other of the account's own hour.
const TELL_EVERY: Duration = Duration::from_secs(5);
/// Callers in a row that cannot be told of, after which it is the store, and no use to go on with the others.
const MAX_FAILURES: usize = 3;

/// Starts the telling.
pub(super) fn start(parts: &Parts) {
    let trouble = Arc::new(LastingTrouble::default());
    parts.repeat("callers' shares", TELL_EVERY, move |parts| {
        let trouble = Arc::clone(&trouble);
        async move { tell(&parts, &trouble).await }
    });
}

/// Tells for the last time what was counted.
pub(super) async fn finish(parts: &Parts) {
    tell(parts, &LastingTrouble::default()).await;
}

/// Tells what was counted, and learns what the others did. Without the store each daemon goes on by itself.
async fn tell(parts: &Parts, trouble: &LastingTrouble) {
    let told = tell_all(parts).await;
    match trouble.note(&told, parts.clock.uptime()) {
        Some(Say::Fails(error)) => {
            tracing::warn!(
                error = %chain(error),
                "cannot tell other daemons of callers' shares: each caller may spend its share on each of them"
            );
        }
        Some(Say::Over(lasted)) => {
            tracing::info!(seconds = lasted.as_secs(), "daemons tell each other of callers' shares again");
        }
        None => {}
    }
}

/// The error is the last one: what fails for one caller holds up none of the others.
async fn tell_all(parts: &Parts) -> Result<(), store::Error> {
    let (mut last, mut in_a_row) = (Ok(()), 0);
    for (name, share) in parts.callers.shares() {
        let Some((hour, calls)) = share.untold(parts.clock.now()) else { continue };
        match parts.store.spend(&Counter::Share(name), hour, calls).await {
            Ok(spent) => {
                share.learned(hour, calls, spent, parts.clock.now());
                in_a_row = 0;
            }
            Err(error) => {
                last = Err(error);
                in_a_row += 1;
            }
        }
        if in_a_row >= MAX_FAILURES {
            break;
        }
    }
    last
}
