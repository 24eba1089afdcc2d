//! The calls of one account in 30 seconds.
//!
//! Where the upstream's 30 seconds begin is not known, so ours slide: whatever half minute it counts,
//! we have not sent more in it.
//!
//! What other daemons send comes from two sides, and the larger number counts: the headers of an answer,
//! and the store, through which daemons tell each other their calls by slots of the calendar.

use std::{collections::VecDeque, time::Duration};

use jiff::Timestamp;

use super::{Now, limits::Window};
use crate::clock::later;

/// "Resource limits": calls per 30 s.
pub(super) const LENGTH: Duration = Duration::from_secs(30);
/// Calls are counted by the second; one second more covers the edges.
const SECONDS: u64 = LENGTH.as_secs() + 1;
/// The slots in which daemons tell each other their calls. Short against 30 s, because a slot counts whole
/// until its last call is 30 s old.
const SLOT_S: i64 = 5;

/// Where a call was counted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spent {
    /// The second of uptime.
    pub(super) second: u64,
    /// The slot of the calendar.
    slot: i64,
}

/// One slot of the calendar.
#[derive(Debug, Clone, Copy)]
struct Slot {
    number: i64,
    /// Our calls, and how many of them the store knows.
    ours: u64,
    reported: u64,
    /// Calls of other daemons, as the store knows them.
    others: u64,
}

#[derive(Debug)]
pub(super) struct Burst {
    pub(super) limit: u64,
    /// Our calls, by the second of uptime.
    ours: VecDeque<(u64, u64)>,
    sum: u64,
    /// Calls of others that an answer showed, and until when they count.
    others: u64,
    others_until: Duration,
    refused_until: Duration,
    /// The slots of the last half minute, oldest first.
    slots: VecDeque<Slot>,
}

impl Burst {
    pub(super) const fn new(limit: u64) -> Self {
        Self {
            limit,
            ours: VecDeque::new(),
            sum: 0,
            others: 0,
            others_until: Duration::ZERO,
            refused_until: Duration::ZERO,
            slots: VecDeque::new(),
        }
    }

    pub(super) fn roll(&mut self, now: Now) {
        let second = now.uptime.as_secs();
        while let Some((_, calls)) = self.ours.pop_front_if(|(at, _)| *at + SECONDS <= second) {
            self.sum -= calls;
        }
        if now.uptime >= self.others_until {
            self.others = 0;
        }
        while self.slots.pop_front_if(|slot| slot_over(slot.number) <= now.date).is_some() {}
        // Of slots that have not come yet a clock told that has been set back since. The next one may have, by clocks
        // that differ a little.
        let next = slot_of(now.date) + 1;
        while self.slots.pop_back_if(|slot| slot.number > next).is_some() {}
    }

    pub(super) fn left(&self) -> u64 {
        self.limit.saturating_sub(self.sum + self.others.max(self.told()))
    }

    /// What is left as far as we know: nothing while the upstream refuses us, whatever we have counted.
    pub(super) fn left_now(&self, now: Now) -> u64 {
        if self.refused_until(now).is_some() { 0 } else { self.left() }
    }

    /// Calls of others that the store knows of.
    fn told(&self) -> u64 {
        self.slots.iter().map(|slot| slot.others).sum()
    }

    /// What the store should be told, by the beginning of each slot: those that changed, and the one that
    /// runs, to learn of the others' calls.
    pub(super) fn unreported(&self, now: Now) -> Vec<(Timestamp, u64)> {
        let running = slot_of(now.date);
        let mut told: Vec<_> = self
            .slots
            .iter()
            .filter(|slot| slot.ours > slot.reported || slot.number >= running - 1)
            .map(|slot| (slot_start(slot.number), slot.ours - slot.reported))
            .collect();
        if self.sum > 0 && self.slots.back().is_none_or(|slot| slot.number < running) {
            told.push((slot_start(running), 0));
        }
        told
    }

    /// The store knows `reported` more of ours in this slot, and `total` of everybody.
    pub(super) fn shared(&mut self, slot: Timestamp, reported: u64, total: u64) {
        let slot = self.slot(slot_of(slot));
        slot.reported = (slot.reported + reported).min(slot.ours);
        slot.others = total.saturating_sub(slot.reported);
    }

    fn slot(&mut self, number: i64) -> &mut Slot {
        let at = self.slots.iter().position(|slot| slot.number >= number).unwrap_or(self.slots.len());
        if self.slots.get(at).is_none_or(|slot| slot.number != number) {
            self.slots.insert(at, Slot { number, ours: 0, reported: 0, others: 0 });
        }
        &mut self.slots[at]
    }

    /// When more than `reserve` will be left, if nothing else is called.
    pub(super) fn frees_at(&self, reserve: u64, now: Now) -> Duration {
        let mut left = self.left();
        let mut events: Vec<(Duration, u64)> =
            self.ours.iter().map(|(at, calls)| (Duration::from_secs(at + SECONDS), *calls)).collect();
        if self.told() > self.others {
            events.extend(self.slots.iter().map(|slot| {
                let left = Duration::try_from(slot_over(slot.number).duration_since(now.date));
                (now.uptime.saturating_add(left.unwrap_or_default()), slot.others)
            }));
        } else {
            events.push((self.others_until, self.others));
        }
        events.sort_unstable();
        for (at, calls) in events {
            // `left` is saturated at zero, so this may be early by what is over the limit; the next
            // attempt then waits again.
            left += calls;
            if left > reserve {
                return at.max(now.uptime);
            }
        }
        now.uptime.saturating_add(LENGTH)
    }

    pub(super) fn refused_until(&self, now: Now) -> Option<Duration> {
        Some(self.refused_until).filter(|until| *until > now.uptime)
    }

    pub(super) fn refuse(&mut self, until: Duration) {
        self.refused_until = self.refused_until.max(until);
    }

    /// Counts a call, and answers where.
    pub(super) fn spend(&mut self, now: Now) -> Spent {
        let second = now.uptime.as_secs();
        match self.ours.back_mut() {
            Some((at, calls)) if *at == second => *calls += 1,
            _ => self.ours.push_back((second, 1)),
        }
        self.sum += 1;
        let slot = slot_of(now.date);
        self.slot(slot).ours += 1;
        Spent { second, slot }
    }

    /// Undoes a call that was not sent. Other daemons may know of it already, and count it for half a minute.
    pub(super) fn take_back(&mut self, spent: Spent) {
        if let Some((_, calls)) = self.ours.iter_mut().find(|(at, calls)| *at == spent.second && *calls > 0) {
            *calls -= 1;
            self.sum -= 1;
        }
        let untold = |slot: &&mut Slot| slot.number == spent.slot && slot.ours > slot.reported;
        if let Some(slot) = self.slots.iter_mut().find(untold) {
            slot.ours -= 1;
        }
    }

    pub(super) fn hear(&mut self, window: Window, now: Now) {
        self.limit = window.limit;
        self.others = window.used.saturating_sub(self.sum);
        self.others_until = now.uptime.saturating_add(LENGTH);
    }
}

fn slot_of(date: Timestamp) -> i64 {
    date.as_second().div_euclid(SLOT_S)
}

fn slot_start(number: i64) -> Timestamp {
    Timestamp::from_second(number.saturating_mul(SLOT_S)).unwrap_or(Timestamp::MAX)
}

/// When the last call of a slot is 30 s old.
fn slot_over(number: i64) -> Timestamp {
    later(slot_start(number + 1), LENGTH)
}
