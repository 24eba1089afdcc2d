//! The calls of one account in a clock hour.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::{
    Now,
    limits::{self, Reading},
};
use crate::clock::{earlier, start_of};

/// Two answers whose resets lie this close speak of the same hour.
const SAME_HOUR: SignedDuration = SignedDuration::from_secs(60);

/// Counts in three ways, and believes the highest: what we sent, what the upstream says was used plus
/// what it cannot have counted yet, and what the daemons that share the account have told the store.
#[derive(Debug)]
pub(super) struct Hour {
    pub(super) limit: u64,
    /// Which hour this is, counted from the first.
    number: u64,
    /// The uptime at which it ends.
    ends: Duration,
    /// What the upstream calls its end; tells answers of different hours apart.
    reset: Option<Timestamp>,
    /// When this hour began by the upstream's clock, if the hour before was known.
    began: Option<Timestamp>,
    /// Calls we sent in it.
    ours: u64,
    /// How many of `ours` the store knows.
    reported: u64,
    /// Calls of other daemons, as the store knows them.
    others: u64,
    /// Whether `others` is all that they spent in this hour: it was read, or the hour began while it was.
    knows_others: bool,
    /// The most that an answer said was used.
    heard: u64,
    /// Calls whose answers said nothing, ever, and how many of them `heard` includes.
    silent: u64,
    silent_heard: u64,
    /// Until then the upstream refuses us.
    refused_until: Duration,
    /// When the hour begins anew whose calls are gone then: by the word of the last refusal, else as we know it.
    refused_ends: Duration,
}

impl Hour {
    pub(super) fn new(limit: u64, now: Now) -> Self {
        Self {
            limit,
            number: 0,
            ends: now.uptime.saturating_add(limits::until_top_of_hour(now.date)),
            reset: None,
            began: None,
            ours: 0,
            reported: 0,
            others: 0,
            knows_others: false,
            heard: 0,
            silent: 0,
            silent_heard: 0,
            refused_until: Duration::ZERO,
            refused_ends: Duration::ZERO,
        }
    }

    /// Begins the next hour if this one is over.
    pub(super) fn roll(&mut self, now: Now) {
        if now.uptime >= self.ends {
            self.begin_next(now);
        }
    }

    fn begin_next(&mut self, now: Now) {
        let (refused_until, refused_ends) = (self.refused_until, self.refused_ends);
        let (number, began, knows_others) = (self.number + 1, self.reset, self.knows_others);
        let next = Self::new(self.limit, now);
        *self = Self { number, began, knows_others, refused_until, refused_ends, ..next };
    }

    /// What is used up, for sure or possibly. `flying` calls have no answer yet.
    pub(super) fn used(&self, flying: u64) -> u64 {
        let heard = self.heard + flying + self.silent.saturating_sub(self.silent_heard);
        heard.max(self.ours + self.others)
    }

    pub(super) fn left(&self, flying: u64) -> u64 {
        self.limit.saturating_sub(self.used(flying))
    }

    /// What is left as far as we know: nothing while the upstream refuses us, whatever we have counted, because others may
    /// use the account, too.
    pub(super) fn left_now(&self, flying: u64, now: Now) -> u64 {
        if self.refused_until(now).is_some() { 0 } else { self.left(flying) }
    }

    /// The uptime at which there are calls again, once those of this hour are gone.
    pub(super) fn anew_at(&self, now: Now) -> Duration {
        self.refused_until(now).map_or(self.ends, |until| until.max(self.refused_ends))
    }

    pub(super) const fn number(&self) -> u64 {
        self.number
    }

    pub(super) const fn ends(&self) -> Duration {
        self.ends
    }

    pub(super) fn refused_until(&self, now: Now) -> Option<Duration> {
        Some(self.refused_until).filter(|until| *until > now.uptime)
    }

    pub(super) const fn spend(&mut self) {
        self.ours += 1;
    }

    pub(super) const fn take_back(&mut self) {
        self.ours = self.ours.saturating_sub(1);
        self.reported = if self.reported > self.ours { self.ours } else { self.reported };
    }

    pub(super) const fn silent(&mut self) {
        self.silent += 1;
    }

    /// How many silent calls there were when a call began: its answer includes them.
    pub(super) const fn silent_so_far(&self) -> u64 {
        self.silent
    }

    /// The upstream refuses us until then; `reset` is when its hour begins anew, if it says so.
    pub(super) fn refuse(&mut self, until: Duration, reset: Option<Duration>) {
        self.refused_until = self.refused_until.max(until);
        // Not the wish to wait alone: a balancer's few seconds are no hour.
        self.refused_ends = reset.unwrap_or(self.ends);
    }

    /// Takes in what the answer to a call of this hour says. `silent_before`: of [`Hour::silent_so_far`]
    /// when the call began.
    pub(super) fn hear(&mut self, reading: &Reading, silent_before: u64, now: Now) {
        let Some(window) = reading.hour else { return self.silent() };
        if let (Some(reset), Some(known)) = (reading.reset, self.reset) {
            let apart = reset.duration_since(known);
            if apart > SAME_HOUR {
                // The upstream's next hour began before we thought it would.
                self.begin_next(now);
            } else if apart < -SAME_HOUR {
                return;
            }
        }
        self.limit = window.limit;
        self.heard = self.heard.max(window.used);
        self.silent_heard = self.silent_heard.max(silent_before.min(self.silent));
        self.reset = reading.reset.or(self.reset);
        if let Some(left) = reading.until_reset(now) {
            self.ends = now.uptime.saturating_add(left);
        }
    }

    /// What the store should be told next, and under which hour of the calendar. The upstream's own hour where
    /// it is known: by a clock that is behind, its first minutes would be added to the hour before.
    pub(super) fn unreported(&self, now: Now) -> (Timestamp, u64) {
        let last_second = self.reset.map(|reset| earlier(reset, Duration::from_secs(1)));
        let within = last_second.or(self.began).unwrap_or(now.date);
        (start_of(within, SignedDuration::from_hours(1)), self.ours - self.reported)
    }

    /// The store knows `reported` more of ours, and `total` of everybody. Answers what others have spent since
    /// the last time; nothing the first time, when it may be of long ago.
    pub(super) fn shared(&mut self, reported: u64, total: u64) -> u64 {
        self.reported = (self.reported + reported).min(self.ours);
        let others = total.saturating_sub(self.reported);
        let before = std::mem::replace(&mut self.others, others);
        if std::mem::replace(&mut self.knows_others, true) { others.saturating_sub(before) } else { 0 }
    }
}
