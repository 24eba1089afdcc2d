//! The calls of one account in 30 seconds.
//!
//! Where the upstream's 30 seconds begin is not known, so ours slide: whatever half minute it counts,
//! we have not sent more in it.

use std::{collections::VecDeque, time::Duration};

use super::{Now, limits::Window};

/// "Resource limits": calls per 30 s.
pub(super) const LENGTH: Duration = Duration::from_secs(30);
/// Calls are counted by the second; one second more covers the edges.
const SECONDS: u64 = LENGTH.as_secs() + 1;

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
    }

    pub(super) const fn left(&self) -> u64 {
        self.limit.saturating_sub(self.sum + self.others)
    }

    /// When more than `reserve` will be left, if nothing else is called.
    pub(super) fn frees_at(&self, reserve: u64, now: Now) -> Duration {
        let mut left = self.left();
        let mut events: Vec<(Duration, u64)> =
            self.ours.iter().map(|(at, calls)| (Duration::from_secs(at + SECONDS), *calls)).collect();
        events.push((self.others_until, self.others));
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

    /// Counts a call, and answers under which second.
    pub(super) fn spend(&mut self, now: Now) -> u64 {
        let second = now.uptime.as_secs();
        match self.ours.back_mut() {
            Some((at, calls)) if *at == second => *calls += 1,
            _ => self.ours.push_back((second, 1)),
        }
        self.sum += 1;
        second
    }

    pub(super) fn take_back(&mut self, second: u64) {
        if let Some((_, calls)) = self.ours.iter_mut().find(|(at, calls)| *at == second && *calls > 0) {
            *calls -= 1;
            self.sum -= 1;
        }
    }

    pub(super) fn hear(&mut self, window: Window, now: Now) {
        self.limit = window.limit;
        self.others = window.used.saturating_sub(self.sum);
        self.others_until = now.uptime.saturating_add(LENGTH);
    }
}
