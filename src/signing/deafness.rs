//! Times in which this daemon was there and could not be told of events: a signed delivery was answered with 503, or the
//! whole process stood still, as it does while its machine is suspended.
//!
//! One delivery that fails marks the receiver as down at DocuSign, which then keeps all later events back, too, and tries
//! again about once a day (eSignature REST API, requiresAcknowledgement). So what happened meanwhile is asked for, as it is
//! after a start; and for a day quiet signings are asked about as often as where no events come at all.
//!
//! Must ask nobody: `reconcile` does.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;

use crate::{
    clock::{Now, earlier},
    signing::{Signings, reconcile::PULSE},
};

/// For so long after it could not tell something, DocuSign may keep events back.
const WARY_FOR: Duration = Duration::from_secs(24 * 3_600);
/// Between two looks back: deliveries may be refused again and again.
const LOOK_EVERY: Duration = Duration::from_secs(15 * 60);
/// Whoever sleeps for a pulse and is away for longer than this was not merely late.
const FROZEN: Duration = Duration::from_secs(2 * PULSE.as_secs());

/// When this daemon could not be told of events.
#[derive(Debug, Default)]
pub(super) struct Deafness(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Since when it was not looked back yet.
    missed: Option<Timestamp>,
    /// The uptime of the last look back.
    looked_at: Option<Duration>,
    /// Until this uptime the upstream may keep events back.
    wary_until: Duration,
}

impl Deafness {
    /// For the last so long, until now, nothing could be told.
    fn note(&self, lasted: Duration, now: Now) {
        let mut state = self.lock();
        let since = earlier(now.date, lasted);
        state.missed = Some(state.missed.map_or(since, |before| before.min(since)));
        state.wary_until = now.uptime.saturating_add(WARY_FOR);
    }

    /// Nothing is known of the time before this start.
    pub(super) fn began(&self, uptime: Duration) {
        self.lock().wary_until = uptime.saturating_add(WARY_FOR);
    }

    /// Whether there is a time that was not looked back at.
    pub(super) fn is_pending(&self) -> bool {
        self.lock().missed.is_some()
    }

    /// Whether there is one, and the last look back is long enough ago.
    pub(super) fn is_due(&self, uptime: Duration) -> bool {
        let state = self.lock();
        let is_early = state.looked_at.is_some_and(|at| at.saturating_add(LOOK_EVERY) > uptime);
        state.missed.is_some() && !is_early
    }

    /// Takes the time since when to look back, which is done now.
    pub(super) fn take(&self, uptime: Duration) -> Option<Timestamp> {
        let mut state = self.lock();
        let missed = state.missed.take()?;
        state.looked_at = Some(uptime);
        Some(missed)
    }

    /// Whether the upstream may keep events back.
    pub(super) fn is_wary(&self, uptime: Duration) -> bool {
        self.lock().wary_until > uptime
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Signings {
    /// A delivery that is surely DocuSign's could not be taken: it comes back with it, about a day later.
    pub fn event_refused(&self) {
        self.parts.deafness.note(Duration::ZERO, Now::read(&*self.parts.clock));
    }

    /// Notices when this process stood still. Deliveries that came meanwhile have found nobody.
    pub(super) async fn notice_freezes(&self) {
        let clock = &*self.parts.clock;
        loop {
            let before = clock.uptime();
            clock.sleep(PULSE).await;
            let lasted = clock.uptime().saturating_sub(before);
            // Where no events come there are none to miss.
            if lasted > FROZEN && self.parts.settings.events_to.is_some() {
                tracing::warn!(
                    seconds = lasted.as_secs(),
                    "this process stood still: what happened meanwhile is asked for"
                );
                self.parts.deafness.note(lasted, Now::read(clock));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Now {
        let date = Timestamp::from_second(seconds.try_into().unwrap()).unwrap();
        Now { date, uptime: Duration::from_secs(seconds) }
    }

    #[test]
    fn what_was_missed_is_looked_back_at_once_in_a_quarter_of_an_hour_and_none_of_it_is_left_out() {
        let deafness = Deafness::default();
        let stands = |seconds: u64| (deafness.is_due(at(seconds).uptime), deafness.is_pending());
        assert_eq!((stands(90), deafness.take(at(90).uptime)), ((false, false), None));
        deafness.note(Duration::ZERO, at(100));
        deafness.note(Duration::from_secs(40), at(110));
        assert_eq!(stands(115), (true, true));
        assert_eq!(deafness.take(at(115).uptime), Some(at(70).date));
        assert_eq!(stands(116), (false, false));
        deafness.note(Duration::ZERO, at(120));
        deafness.note(Duration::ZERO, at(1_000));
        assert_eq!((stands(1_014), stands(1_015)), ((false, true), (true, true)));
        assert_eq!(deafness.take(at(1_015).uptime), Some(at(120).date));
    }

    #[test]
    fn events_may_be_kept_back_for_a_day() {
        let (deafness, day) = (Deafness::default(), 24 * 3_600);
        assert!(!deafness.is_wary(at(0).uptime));
        deafness.note(Duration::ZERO, at(100));
        assert!(deafness.is_wary(at(99 + day).uptime) && !deafness.is_wary(at(100 + day).uptime));
        deafness.began(at(200).uptime);
        assert!(deafness.is_wary(at(199 + day).uptime));
    }
}
