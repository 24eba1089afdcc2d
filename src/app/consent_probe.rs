//! Asks the senders that nobody uses whether their consent still stands, so that a withdrawn one is known before a
//! visitor meets it (rule T11).
//!
//! It must never flood the account server: a round has a bounded number of mints, far apart.

use std::{sync::Arc, time::Duration};

use crate::app::{Parts, sender_health::is_unpaired};

/// How often a sender that nobody uses is asked. A used one is asked by its refreshes, every half hour.
const PROBE_EVERY: Duration = Duration::from_secs(6 * 3_600);
/// Probes of one round. Of more senders each comes in its turn: whatever their number, the account server hears no
/// more of it than this.
const PROBES: usize = 500;
/// Between two of them: a whole round is over before the next one.
const PROBE_GAP: Duration = Duration::from_secs(40);

/// Probes until the stop.
pub(super) fn watch(parts: &Parts) {
    let (probing, stopping) = (parts.clone(), parts.life.stopping());
    let task = async move {
        tokio::select! {
            biased;
            () = stopping.cancelled() => {}
            () = probe_by_turns(&probing) => {}
        }
    };
    parts.life.spawn("consent probe", task);
}

/// Asks those senders that nobody uses, round after round, whether their consent still stands.
async fn probe_by_turns(parts: &Parts) {
    let (mut last, mut began): (Option<Arc<str>>, _) = (None, parts.clock.uptime());
    loop {
        let passed = parts.clock.uptime().saturating_sub(began);
        parts.clock.sleep(PROBE_EVERY.saturating_sub(passed)).await;
        began = parts.clock.uptime();
        let mut idle = parts.auth.senders_at_rest();
        idle.retain(|name| !is_unpaired(parts, name));
        for name in whose_turn(idle, last.as_deref()) {
            // What it finds is in the sender's status.
            let _ = parts.auth.probe(&name).await;
            last = Some(name);
            parts.clock.sleep(PROBE_GAP).await;
        }
    }
}

/// Who is asked in this round: those after the last one of the round before, and then those up to it.
fn whose_turn(mut names: Vec<Arc<str>>, last: Option<&str>) -> Vec<Arc<str>> {
    let first = names.partition_point(|name| last.is_some_and(|last| &**name <= last));
    names.rotate_left(first);
    names.truncate(PROBES);
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_more_senders_than_a_round_takes_each_is_asked_in_its_turn() {
        let all: Vec<Arc<str>> =
            (0..2 * PROBES + 3).map(|number| Arc::from(format!("sender-{number:05}"))).collect();
        let (mut asked, mut last) = (Vec::new(), None::<Arc<str>>);
        for _ in 0..3 {
            let turn = whose_turn(all.clone(), last.as_deref());
            assert_eq!(turn.len(), PROBES);
            last = turn.last().cloned();
            asked.extend(turn);
        }
        assert_eq!(asked[..all.len()], all[..], "nobody twice before everybody once");
        assert_eq!(asked[all.len()..], all[..PROBES - 3]);
        assert_eq!(whose_turn(all[..3].to_vec(), Some("sender-00001")).first(), Some(&all[2]));
        assert_eq!(whose_turn(Vec::new(), Some("one that is gone")), Vec::<Arc<str>>::new());
    }
}
