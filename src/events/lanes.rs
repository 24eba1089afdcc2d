//! The order of deliveries: one lane for each endpoint and signing.
//!
//! Within a lane one attempt is under way at a time, by `sequence`. When the first attempt at an event
//! fails, later events of the lane wait for its second one, a few seconds later; then they overtake it,
//! because a receiver that refuses one event for days must still hear of the others. So an order that
//! is broken by a hiccup of the receiver is kept, and one that is broken for long is told by `sequence`.
//! The event itself waits for nobody: somebody may have asked for it again.
//!
//! This is memory of one process about leases it holds: losing it costs order, never a delivery.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use crate::{
    domain::{EndpointId, SigningId},
    store::DueDelivery,
};

/// What is left of a lease when an attempt begins: longer than an attempt takes.
const LEASE_MARGIN: Duration = Duration::from_secs(20);

/// The deliveries that keep an order among themselves.
pub(super) type Key = (EndpointId, Option<SigningId>);

/// The lanes that have anything in them.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    lanes: HashMap<Key, Lane>,
    waiting: usize,
}

#[derive(Debug, Default)]
struct Lane {
    waiting: VecDeque<Waiting>,
    is_busy: bool,
    /// Until when first attempts at later events wait for an earlier one to be tried again.
    held: Option<Held>,
}

/// The wait of a lane for one of its events.
#[derive(Debug, Clone, Copy)]
struct Held {
    until: Duration,
    by: u64,
}

/// That later events of a lane wait for this one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hold {
    /// The sequence of the event.
    pub(super) by: u64,
    /// How long they wait.
    pub(super) lasts: Duration,
}

#[derive(Debug)]
struct Waiting {
    due: DueDelivery,
    leased_until: Duration,
}

/// The lane of a delivery.
pub(super) fn key(due: &DueDelivery) -> Key {
    (due.endpoint.id, due.event.signing)
}

impl Lanes {
    /// How many deliveries wait.
    pub(super) const fn waiting(&self) -> usize {
        self.waiting
    }

    /// Puts a claimed delivery into its lane.
    pub(super) fn push(&mut self, due: DueDelivery, leased_until: Duration) {
        let lane = self.lanes.entry(key(&due)).or_default();
        let place = lane.waiting.partition_point(|one| one.due.event.sequence <= due.event.sequence);
        lane.waiting.insert(place, Waiting { due, leased_until });
        self.waiting += 1;
    }

    /// The delivery of a lane that is to be attempted now; the lane is busy until [`Lanes::ended`].
    pub(super) fn next(&mut self, key: Key, now: Duration) -> Option<(DueDelivery, Duration)> {
        let lane = self.lanes.get_mut(&key)?;
        let held = lane.held.filter(|held| held.until > now);
        while let Some(first) = lane.waiting.front().filter(|_| !lane.is_busy) {
            let is_first_attempt = first.due.delivery.attempts == 0;
            if held.is_some_and(|held| is_first_attempt && first.due.event.sequence > held.by) {
                return None;
            }
            let first = lane.waiting.pop_front()?;
            self.waiting -= 1;
            // Whose lease is nearly over comes again by a new claim, here or elsewhere.
            if first.leased_until > now.saturating_add(LEASE_MARGIN) {
                lane.is_busy = true;
                return Some((first.due, first.leased_until));
            }
        }
        self.sweep(key, now);
        None
    }

    /// An attempt of a lane has ended; `hold` says for how long its later events wait.
    pub(super) fn ended(&mut self, key: Key, hold: Option<Hold>, now: Duration) {
        let lane = self.lanes.entry(key).or_default();
        lane.is_busy = false;
        lane.held = hold.map(|hold| Held { until: now.saturating_add(hold.lasts), by: hold.by });
        self.sweep(key, now);
    }

    /// The lanes whose hold is over.
    pub(super) fn released(&mut self, now: Duration) -> Vec<Key> {
        let mut released = Vec::new();
        self.lanes.retain(|key, lane| {
            if lane.held.is_some_and(|held| held.until <= now) {
                lane.held = None;
                released.push(*key);
            }
            lane.is_busy || lane.held.is_some() || !lane.waiting.is_empty()
        });
        released
    }

    /// Takes out what waits for one endpoint, or for all.
    pub(super) fn take(&mut self, endpoint: Option<EndpointId>) -> Vec<DueDelivery> {
        let mut taken = Vec::new();
        for (key, lane) in &mut self.lanes {
            if endpoint.is_none_or(|endpoint| endpoint == key.0) {
                taken.extend(lane.waiting.drain(..).map(|waiting| waiting.due));
            }
        }
        self.waiting -= taken.len();
        taken
    }

    fn sweep(&mut self, key: Key, now: Duration) {
        let is_over = |lane: &Lane| {
            let is_held = lane.held.is_some_and(|held| held.until > now);
            !lane.is_busy && !is_held && lane.waiting.is_empty()
        };
        if self.lanes.get(&key).is_some_and(is_over) {
            self.lanes.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::{
        domain::{CallerName, DeliveryId, Event, EventId, EventKind, Private},
        store::{Delivery, DeliveryState, Endpoint},
    };

    const LEASE: Duration = Duration::from_secs(120);

    fn due(sequence: u64, attempts: u32) -> DueDelivery {
        let (now, caller) = (Timestamp::UNIX_EPOCH, CallerName::new("website"));
        let endpoint = EndpointId::from_settings("website");
        let event = Event {
            id: EventId::generate(now),
            caller: caller.clone(),
            kind: EventKind::SignerReady,
            signing: Some(SigningId::from_uuid(uuid::Uuid::nil())),
            signer: None,
            sequence,
            at: now,
            data: "{}".to_owned(),
        };
        let delivery = Delivery {
            id: DeliveryId::generate(now),
            event: event.id,
            endpoint,
            caller: caller.clone(),
            state: DeliveryState::Pending,
            attempts,
            created_at: now,
            due_at: now,
            attempted_at: None,
            response_status: None,
            error: None,
        };
        let endpoint = Endpoint {
            id: endpoint,
            caller,
            url: "https://example.com/".to_owned(),
            secrets: Private::new(Vec::new()),
            rotated_at: None,
            events: Vec::new(),
            allow_private: false,
            from_settings: true,
            created_at: now,
            disabled_at: None,
            dropped_at: None,
        };
        DueDelivery { delivery, event, endpoint }
    }

    fn next(lanes: &mut Lanes, now: Duration) -> Option<u64> {
        lanes.next(key(&due(0, 0)), now).map(|(due, _)| due.event.sequence)
    }

    #[test]
    fn events_of_a_signing_go_one_by_one_in_their_order() {
        let (mut lanes, now) = (Lanes::default(), Duration::ZERO);
        for sequence in [3, 1, 2] {
            lanes.push(due(sequence, 0), LEASE);
        }
        assert_eq!(next(&mut lanes, now), Some(1));
        assert_eq!(next(&mut lanes, now), None, "one is under way");
        lanes.ended(key(&due(0, 0)), None, now);
        assert_eq!(next(&mut lanes, now), Some(2));
        lanes.ended(key(&due(0, 0)), None, now);
        assert_eq!(next(&mut lanes, now), Some(3));
        lanes.ended(key(&due(0, 0)), None, now);
        assert!(lanes.lanes.is_empty() && lanes.waiting() == 0);
    }

    fn hold(by: u64) -> Hold {
        Hold { by, lasts: Duration::from_secs(15) }
    }

    /// An operator who asks for an event again does not wait for the very attempt that was to be repeated.
    #[test]
    fn an_event_that_is_asked_for_again_does_not_wait_for_itself() {
        let (mut lanes, now) = (Lanes::default(), Duration::ZERO);
        let lane = key(&due(0, 0));
        lanes.push(due(2, 0), LEASE);
        assert_eq!(next(&mut lanes, now), Some(2));
        lanes.push(due(3, 0), LEASE);
        lanes.ended(lane, Some(hold(2)), now);
        lanes.push(due(2, 0), LEASE);
        assert_eq!(next(&mut lanes, now), Some(2), "the replay");
        lanes.ended(lane, Some(hold(2)), now);
        assert_eq!(next(&mut lanes, now), None, "the later one is held");
    }

    #[test]
    fn later_events_wait_for_the_second_attempt_of_an_earlier_one_and_no_longer() {
        let (mut lanes, mut now) = (Lanes::default(), Duration::ZERO);
        let lane = key(&due(0, 0));
        lanes.push(due(1, 0), LEASE);
        lanes.push(due(2, 0), LEASE);
        assert_eq!(next(&mut lanes, now), Some(1));
        lanes.ended(lane, Some(hold(1)), now);
        assert_eq!(next(&mut lanes, now), None, "held");
        now += Duration::from_secs(5);
        lanes.push(due(1, 1), LEASE);
        assert_eq!(next(&mut lanes, now), Some(1), "the second attempt");
        lanes.ended(lane, None, now);
        assert_eq!(next(&mut lanes, now), Some(2));
        // If the second attempt is made elsewhere, the hold ends by itself.
        lanes.push(due(3, 0), LEASE);
        lanes.ended(lane, Some(hold(2)), now);
        assert!(lanes.released(now).is_empty());
        now += Duration::from_secs(15);
        assert_eq!(lanes.released(now), [lane]);
        assert_eq!(next(&mut lanes, now), Some(3));
    }

    #[test]
    fn what_has_waited_for_most_of_its_lease_is_let_go() {
        let mut lanes = Lanes::default();
        lanes.push(due(1, 0), LEASE);
        lanes.push(due(2, 0), LEASE * 2);
        assert_eq!(next(&mut lanes, LEASE.saturating_sub(Duration::from_secs(20))), Some(2));
        lanes.push(due(3, 0), LEASE);
        assert_eq!(lanes.take(Some(EndpointId::from_settings("another"))).len(), 0);
        assert_eq!(lanes.take(None).len(), 1);
        assert_eq!(lanes.waiting(), 0);
    }
}
