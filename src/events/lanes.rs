//! The order of deliveries: one lane for each endpoint and signing.
//!
//! Within a lane one attempt is under way at a time, by `sequence`. When the first attempt at an event
//! fails, later events of the lane wait for its second one, a few seconds later; then they overtake it,
//! because a receiver that refuses one event for days must still hear of the others. So an order that
//! is broken by a hiccup of the receiver is kept, and one that is broken for long is told by `sequence`.
//! The event itself waits for nobody: somebody may have asked for it again.
//!
//! What waits for a second attempt goes back to the store, to be due right behind it: here it would take a place
//! of its endpoint from events of other signings, and a receiver that fails now and then would be as slow as its
//! second attempts.
//!
//! This is memory of one process about leases it holds: losing it costs order, never a delivery.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use jiff::Timestamp;

use crate::{
    clock::{Now, later},
    domain::{EndpointId, SigningId},
    store::{Delivery, DueDelivery},
};

/// What is left of a lease when an attempt begins: longer than an attempt takes.
pub(super) const LEASE_MARGIN: Duration = Duration::from_secs(20);

/// The deliveries that keep an order among themselves.
pub(super) type Key = (EndpointId, Option<SigningId>);

/// The lanes that have anything in them.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    by_key: HashMap<Key, Lane>,
    waiting: usize,
    /// What goes back to the store, to come again once an earlier event was tried again, or its endpoint is switched on.
    put_off: Vec<Delivery>,
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
    again: Timestamp,
}

impl Held {
    fn holds(&self, due: &DueDelivery) -> bool {
        due.delivery.attempts == 0 && due.event.sequence > self.by
    }

    /// When a later event comes again: right behind the second attempt, in the order of the lane, and so with it. One
    /// that did, and meets no second attempt because others make it, waits for the next second: it must not come again
    /// and again.
    fn next_look(&self, due: &DueDelivery, now: Timestamp) -> Timestamp {
        let place = Duration::from_micros(due.event.sequence.saturating_sub(self.by));
        let late = Duration::try_from(now.duration_since(self.again)).unwrap_or_default();
        let has_come = due.delivery.due_at > self.again;
        let seconds = if has_come { late.as_secs().saturating_add(1) } else { 0 };
        later(self.again, Duration::from_secs(seconds).saturating_add(place))
    }
}

/// That later events of a lane wait for this one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hold {
    /// The sequence of the event.
    pub(super) by: u64,
    /// When it is tried again.
    pub(super) again: Timestamp,
    /// How long they wait at most.
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
        let lane = self.by_key.entry(key(&due)).or_default();
        let place = lane.waiting.partition_point(|one| one.due.event.sequence <= due.event.sequence);
        lane.waiting.insert(place, Waiting { due, leased_until });
        self.waiting += 1;
    }

    /// The delivery of a lane that is to be attempted now; the lane is busy until [`Lanes::ended`]. What is held in it
    /// is [put off](Lanes::put_off), as long as it is leased.
    pub(super) fn next(&mut self, key: Key, now: Now) -> Option<(DueDelivery, Duration)> {
        let lane = self.by_key.get_mut(&key)?;
        if lane.is_busy {
            return None;
        }
        let held = lane.held.filter(|held| held.until > now.uptime);
        while let Some(first) = lane.waiting.pop_front() {
            self.waiting -= 1;
            let left = first.leased_until.saturating_sub(now.uptime);
            if let Some(held) = held.filter(|held| !left.is_zero() && held.holds(&first.due)) {
                let due_at = held.next_look(&first.due, now.date);
                self.put_off.push(Delivery { due_at, ..first.due.delivery });
            } else if left > LEASE_MARGIN {
                lane.is_busy = true;
                return Some((first.due, first.leased_until));
            }
            // Else its lease is over or nearly so: it comes again by a new claim, here or elsewhere.
        }
        self.sweep(key, now.uptime);
        None
    }

    /// Whether anything was put off that was not taken yet.
    pub(super) fn has_put_off(&self) -> bool {
        !self.put_off.is_empty()
    }

    /// Takes what was put off, with when it is due: until then its places are for others.
    pub(super) fn put_off(&mut self) -> Vec<Delivery> {
        std::mem::take(&mut self.put_off)
    }

    /// An attempt of a lane has ended; `hold` says for how long its later events wait.
    pub(super) fn ended(&mut self, key: Key, hold: Option<Hold>, now: Duration) {
        let lane = self.by_key.entry(key).or_default();
        lane.is_busy = false;
        lane.held =
            hold.map(|Hold { by, again, lasts }| Held { until: now.saturating_add(lasts), by, again });
        self.sweep(key, now);
    }

    /// The lanes whose hold is over.
    pub(super) fn released(&mut self, now: Duration) -> Vec<Key> {
        let mut released = Vec::new();
        self.by_key.retain(|key, lane| {
            if lane.held.is_some_and(|held| held.until <= now) {
                lane.held = None;
                released.push(*key);
            }
            lane.is_busy || lane.held.is_some() || !lane.waiting.is_empty()
        });
        released
    }

    /// [Puts off](Lanes::put_off) what waits for an endpoint, as it is and as far as it is leased.
    pub(super) fn leave(&mut self, endpoint: EndpointId, now: Duration) {
        let left = self.take(Some(endpoint), now);
        self.put_off.extend(left.into_iter().map(|due| due.delivery));
    }

    /// Takes out what waits for one endpoint, or for all; answers what of it is still leased.
    pub(super) fn take(&mut self, endpoint: Option<EndpointId>, now: Duration) -> Vec<DueDelivery> {
        let mut taken = Vec::new();
        for (key, lane) in &mut self.by_key {
            if endpoint.is_none_or(|endpoint| endpoint == key.0) {
                self.waiting -= lane.waiting.len();
                let leased = lane.waiting.drain(..).filter(|waiting| waiting.leased_until > now);
                taken.extend(leased.map(|waiting| waiting.due));
            }
        }
        taken
    }

    fn sweep(&mut self, key: Key, now: Duration) {
        let is_over = |lane: &Lane| {
            let is_held = lane.held.is_some_and(|held| held.until > now);
            !lane.is_busy && !is_held && lane.waiting.is_empty()
        };
        if self.by_key.get(&key).is_some_and(is_over) {
            self.by_key.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::{CallerName, DeliveryId, Event, EventId, EventKind, Private},
        store::{DeliveryState, Endpoint},
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
        let now = Now { date: later(Timestamp::UNIX_EPOCH, now), uptime: now };
        lanes.next(key(&due(0, 0)), now).map(|(due, _)| due.event.sequence)
    }

    /// When what was put off is due, in microseconds.
    fn put_off(lanes: &mut Lanes) -> Vec<i64> {
        lanes.put_off().iter().map(|delivery| delivery.due_at.as_microsecond()).collect()
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
        assert!(lanes.by_key.is_empty() && lanes.waiting() == 0);
    }

    /// With a second attempt in the fifth second.
    fn hold(by: u64) -> Hold {
        Hold { by, again: Timestamp::from_second(5).unwrap(), lasts: Duration::from_secs(15) }
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
        assert_eq!((put_off(&mut lanes), lanes.waiting()), (vec![5_000_001], 0), "it comes right behind");
        now += Duration::from_secs(5);
        lanes.push(due(2, 0), LEASE);
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
    fn what_is_put_off_keeps_its_order_and_waits_a_second_where_others_make_the_second_attempt() {
        let (mut lanes, mut now) = (Lanes::default(), Duration::ZERO);
        let lane = key(&due(0, 0));
        lanes.push(due(1, 0), LEASE);
        assert_eq!(next(&mut lanes, now), Some(1));
        for sequence in [4, 2, 3] {
            lanes.push(due(sequence, 0), LEASE);
        }
        assert_eq!(next(&mut lanes, now), None, "one is under way");
        assert!(!lanes.has_put_off(), "what waits for an attempt that is under way stays");
        lanes.ended(lane, Some(hold(1)), now);
        lanes.push(due(6, 2), LEASE);
        assert_eq!(next(&mut lanes, now), Some(6), "only first attempts are held");
        assert!(lanes.has_put_off());
        assert_eq!(put_off(&mut lanes), [5_000_001, 5_000_002, 5_000_003]);
        assert!(!lanes.has_put_off());

        // However late it is, they come with the second attempt first.
        lanes.ended(lane, Some(hold(1)), now);
        now = Duration::from_millis(7_200);
        lanes.push(due(3, 0), LEASE);
        assert_eq!((next(&mut lanes, now), put_off(&mut lanes)), (None, vec![5_000_002]));
        let mut came = due(3, 0);
        came.delivery.due_at = Timestamp::from_microsecond(5_000_002).unwrap();
        lanes.push(came, LEASE);
        assert_eq!((next(&mut lanes, now), put_off(&mut lanes)), (None, vec![8_000_002]));
    }

    #[test]
    fn what_has_waited_for_most_of_its_lease_is_let_go() {
        let mut lanes = Lanes::default();
        lanes.push(due(1, 0), LEASE);
        lanes.push(due(2, 0), LEASE * 2);
        assert_eq!(next(&mut lanes, LEASE.saturating_sub(Duration::from_secs(20))), Some(2));
        lanes.push(due(3, 0), LEASE);
        assert_eq!(lanes.take(Some(EndpointId::from_settings("another")), Duration::ZERO).len(), 0);
        assert_eq!(lanes.take(None, Duration::ZERO).len(), 1);
        assert_eq!(lanes.waiting(), 0);
    }

    /// Another daemon may be at it.
    #[test]
    fn what_has_outlived_its_lease_is_neither_put_off_nor_given_back() {
        let mut lanes = Lanes::default();
        let lane = key(&due(0, 0));
        lanes.push(due(1, 0), LEASE);
        assert_eq!(next(&mut lanes, Duration::ZERO), Some(1));
        lanes.push(due(2, 0), LEASE);
        lanes.push(due(3, 0), LEASE * 2);
        lanes.ended(lane, Some(hold(1)), LEASE);
        assert_eq!(next(&mut lanes, LEASE), None, "held");
        assert_eq!((put_off(&mut lanes).len(), lanes.waiting()), (1, 0), "the third event alone");
        lanes.push(due(2, 0), LEASE);
        lanes.push(due(3, 0), LEASE * 2);
        let taken = lanes.take(None, LEASE);
        let sequences: Vec<_> = taken.iter().map(|due| due.event.sequence).collect();
        assert_eq!((sequences, lanes.waiting()), (vec![3], 0));
    }
}
