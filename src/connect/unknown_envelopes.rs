//! Envelopes whose events came before we knew the envelope.
//!
//! The upstream pushes `envelope-sent` while the answer to our own create is still on its way, and when
//! that answer is lost, everything up to the end can come before the look-up finds the envelope. Such
//! events lie in the store; here is remembered for which envelopes to look again. Forgetting one (the
//! process died, or there were too many) costs time only: the look-up takes in how the envelope stands by
//! then, and reconciliation asks about quiet signings.

use std::{collections::VecDeque, time::Duration};

use crate::domain::EnvelopeId;

/// The most envelopes that are remembered; an account-level configuration sends those of other programs.
const MAX_REMEMBERED: usize = 1_000;
/// The wait before the first look.
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// Looks, each after twice the wait of the last: a little over an hour in all.
const LOOKS: u32 = 14;
/// The wait before a last look is taken again that could not be.
const LAST_AGAIN: Duration = Duration::from_secs(60);
/// How long nothing is looked at after a look could not be taken.
const PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct UnknownEnvelope {
    envelope: EnvelopeId,
    deliveries: u64,
    looks: u32,
    due: Duration,
}

/// A look at an envelope that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Look {
    /// The envelope.
    pub(super) envelope: EnvelopeId,
    /// How many of its deliveries were taken in without it.
    pub(super) deliveries: u64,
    /// Whether it is not remembered any more.
    pub(super) is_last: bool,
}

/// The envelopes to look at again.
#[derive(Debug, Default)]
pub(super) struct UnknownEnvelopes {
    strangers: VecDeque<UnknownEnvelope>,
    paused_until: Duration,
}

impl UnknownEnvelopes {
    /// Remembers an envelope, the oldest one going if there are too many.
    pub(super) fn remember(&mut self, envelope: EnvelopeId, now: Duration) {
        if let Some(stranger) = self.strangers.iter_mut().find(|stranger| stranger.envelope == envelope) {
            stranger.deliveries += 1;
            return;
        }
        self.push(UnknownEnvelope { envelope, deliveries: 1, looks: 0, due: now.saturating_add(FIRST_WAIT) });
    }

    /// A look came to nothing. Before the last one that costs time only; the last one is taken again. Whatever was in the
    /// way may be in the way of the others: they wait for a moment, and lose nothing.
    pub(super) fn put_back(&mut self, look: Look, now: Duration) {
        self.paused_until = now.saturating_add(PAUSE);
        if !look.is_last {
            return;
        }
        let Look { envelope, deliveries, .. } = look;
        // More may have come about it meanwhile.
        if let Some(stranger) = self.strangers.iter_mut().find(|stranger| stranger.envelope == envelope) {
            stranger.deliveries += deliveries;
            return;
        }
        self.push(UnknownEnvelope {
            envelope,
            deliveries,
            looks: LOOKS - 1,
            due: now.saturating_add(LAST_AGAIN),
        });
    }

    fn push(&mut self, stranger: UnknownEnvelope) {
        if self.strangers.len() >= MAX_REMEMBERED {
            self.strangers.pop_front();
        }
        self.strangers.push_back(stranger);
    }

    /// Forgets an envelope: its signing is known.
    pub(super) fn forget(&mut self, envelope: &EnvelopeId) {
        self.strangers.retain(|stranger| stranger.envelope != *envelope);
    }

    /// Takes the look that has been due for longest. Its envelope comes again later, until its looks are used up; the
    /// others keep their places.
    pub(super) fn take_due(&mut self, now: Duration) -> Option<Look> {
        if now < self.paused_until {
            return None;
        }
        let due = self.strangers.iter_mut().filter(|stranger| stranger.due <= now);
        let stranger = due.min_by_key(|stranger| stranger.due)?;
        stranger.looks += 1;
        stranger.due = now.saturating_add(FIRST_WAIT.saturating_mul(1 << stranger.looks));
        let is_last = stranger.looks >= LOOKS;
        let look = Look { envelope: stranger.envelope.clone(), deliveries: stranger.deliveries, is_last };
        if is_last {
            self.forget(&look.envelope);
        }
        Some(look)
    }

    /// How long until the next look.
    pub(super) fn wait(&self, now: Duration) -> Option<Duration> {
        let due = self.strangers.iter().map(|stranger| stranger.due).min()?;
        Some(due.max(self.paused_until).saturating_sub(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(unknown: &mut UnknownEnvelopes, now: Duration) -> Vec<Look> {
        std::iter::from_fn(|| unknown.take_due(now)).collect()
    }

    #[test]
    fn a_stranger_is_looked_at_ever_more_seldom_and_then_forgotten() {
        let (mut unknown, mut now, mut waited) = (UnknownEnvelopes::default(), Duration::ZERO, Vec::new());
        unknown.remember(EnvelopeId::new("a"), now);
        unknown.remember(EnvelopeId::new("a"), now);
        let look = |is_last| Look { envelope: EnvelopeId::new("a"), deliveries: 2, is_last };
        while let Some(wait) = unknown.wait(now) {
            assert!(due(&mut unknown, now).is_empty());
            now += wait;
            waited.push(wait);
            assert_eq!(due(&mut unknown, now), [look(waited.len() == 14)]);
        }
        assert_eq!(waited.len(), 14);
        assert!(waited.windows(2).all(|pair| pair[1] >= pair[0]));
        assert!((3_600..7_200).contains(&now.as_secs()), "{now:?}");
    }

    #[test]
    fn a_last_look_that_came_to_nothing_is_taken_again_with_all_that_came() {
        let (mut unknown, mut now) = (UnknownEnvelopes::default(), Duration::ZERO);
        unknown.remember(EnvelopeId::new("a"), now);
        let next = |unknown: &mut UnknownEnvelopes, now: &mut Duration| {
            let wait = unknown.wait(*now).unwrap();
            *now += wait;
            due(unknown, *now).remove(0)
        };
        for _ in 1..LOOKS {
            let look = next(&mut unknown, &mut now);
            assert!(!look.is_last);
            unknown.put_back(look, now);
            assert_eq!(unknown.strangers.len(), 1, "it is remembered anyway");
        }
        for deliveries in 1..=2 {
            let look = next(&mut unknown, &mut now);
            assert_eq!((look.is_last, look.deliveries), (true, deliveries));
            unknown.put_back(look, now);
            assert_eq!(unknown.wait(now), Some(LAST_AGAIN));
            unknown.remember(EnvelopeId::new("a"), now);
        }
        let look = next(&mut unknown, &mut now);
        unknown.remember(EnvelopeId::new("a"), now);
        unknown.put_back(look, now);
        assert_eq!(next(&mut unknown, &mut now).deliveries, 4, "those that came while it was looked at, too");
    }

    #[test]
    fn a_look_that_came_to_nothing_makes_the_others_wait_and_takes_none_from_them() {
        let mut unknown = UnknownEnvelopes::default();
        for name in ["a", "b", "c"] {
            unknown.remember(EnvelopeId::new(name), Duration::ZERO);
        }
        let mut now = Duration::from_secs(1);
        let failed = unknown.take_due(now).unwrap();
        assert_eq!(failed.envelope, EnvelopeId::new("a"));
        unknown.put_back(failed, now);
        assert!(due(&mut unknown, now).is_empty());
        assert_eq!(unknown.wait(now), Some(PAUSE));
        now += PAUSE;
        // What has waited for longest is first, and not what has just failed.
        let looks = due(&mut unknown, now);
        assert_eq!(looks.iter().map(|look| look.envelope.as_str()).collect::<Vec<_>>(), ["b", "c", "a"]);
        let looks: Vec<_> = unknown.strangers.iter().map(|stranger| stranger.looks).collect();
        assert_eq!(looks, [2, 1, 1]);
    }

    #[test]
    fn there_is_room_for_so_many_and_the_oldest_goes() {
        let mut unknown = UnknownEnvelopes::default();
        for number in 0..=MAX_REMEMBERED {
            unknown.remember(EnvelopeId::new(number.to_string()), Duration::ZERO);
        }
        unknown.forget(&EnvelopeId::new("7"));
        let due = due(&mut unknown, Duration::from_secs(1));
        assert_eq!(due.len(), MAX_REMEMBERED - 1);
        assert_eq!(due[0].envelope, EnvelopeId::new("1"));
    }
}
