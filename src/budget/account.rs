//! The windows of one account together, and who is let through.

use std::{collections::VecDeque, time::Duration};

use super::{
    Forecast, Now, Options, Priority, Remaining, Scope, Shed,
    burst::{Burst, Spent},
    hour::Hour,
    limits::Reading,
};

/// The pace is taken from so many minutes.
const PACE_MINUTES: u64 = 5;

/// Calls that were under way when the hour was found to be gone are no calls after it.
const UNDER_WAY_S: u64 = 1;

/// A call that was let through and has not ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ticket {
    hour: u64,
    silent_before: u64,
    spent: Spent,
}

/// How long an account must not have been called to be shared no more often than this.
const REST: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Account {
    options: Options,
    pub(super) hour: Hour,
    pub(super) burst: Burst,
    /// Calls without an answer yet.
    flying: u64,
    /// When we last called, or began to look.
    called_at: Duration,
    /// When we last heard what others have spent.
    heard_at: Option<Duration>,
    /// The second of uptime since which the upstream refuses calls because those of the hour are gone, and the uptime at
    /// which that is over by its own word.
    gone: Option<(u64, Duration)>,
    /// Calls by the minute of uptime, of all daemons as far as they are known.
    pace: VecDeque<(u64, u64)>,
}

impl Account {
    pub(super) fn new(options: Options, now: Now) -> Self {
        Self {
            options,
            hour: Hour::new(options.hourly, now),
            burst: Burst::new(options.burst),
            flying: 0,
            called_at: now.uptime,
            heard_at: None,
            gone: None,
            pace: VecDeque::new(),
        }
    }

    pub(super) fn roll(&mut self, now: Now) {
        self.hour.roll(now);
        self.burst.roll(now);
    }

    pub(super) fn admit(&mut self, priority: Priority, now: Now) -> Result<Ticket, Shed> {
        self.peek(priority, now)?;
        self.hour.spend();
        self.flying += 1;
        self.called_at = now.uptime;
        self.count(1, now);
        Ok(Ticket {
            hour: self.hour.number(),
            silent_before: self.hour.silent_so_far(),
            spent: self.burst.spend(now),
        })
    }

    /// Whether a call of this priority would be let through.
    pub(super) fn peek(&mut self, priority: Priority, now: Now) -> Result<(), Shed> {
        self.roll(now);
        let shed = |scope, until, is_gone| Err(Shed { scope, retry_at: now.date_of(until), until, is_gone });
        if let Some(until) = self.hour.refused_until(now) {
            return shed(Scope::Hour, until, true);
        }
        if let Some(until) = self.burst.refused_until(now) {
            return shed(Scope::Burst, until, false);
        }
        let left = self.hour.left(self.flying);
        if left <= self.reserve(priority, self.hour.limit) {
            return shed(Scope::Hour, self.hour.ends(), left == 0);
        }
        let reserve = self.reserve(priority, self.burst.limit);
        if self.burst.left() <= reserve {
            return shed(Scope::Burst, self.burst.frees_at(reserve, now), false);
        }
        Ok(())
    }

    /// What a call of this priority must leave untouched.
    const fn reserve(&self, priority: Priority, limit: u64) -> u64 {
        let percent = match priority {
            Priority::NewWork => self.options.reserve_from_new_work_percent,
            Priority::Check => self.options.reserve_from_checks_percent,
            Priority::Signer => 0,
        };
        limit * percent / 100
    }

    pub(super) fn answered(&mut self, ticket: Ticket, reading: &Reading, now: Now) {
        self.roll(now);
        self.flying -= 1;
        if ticket.hour == self.hour.number() {
            self.hour.hear(reading, ticket.silent_before, now);
        } else {
            // It may speak of either hour, and the upstream may have counted it in either.
            self.hour.silent();
        }
        if let Some(window) = reading.burst {
            self.burst.hear(window, now);
        }
    }

    /// The upstream refused a call for a limit, until then; `reset` is when its hour begins anew, if it says so. Answers
    /// whether the call was sent although the hour's were known to be gone.
    pub(super) fn limited(
        &mut self,
        ticket: Ticket,
        scope: Scope,
        until: Duration,
        reset: Option<Duration>,
        now: Now,
    ) -> bool {
        self.flying -= 1;
        match scope {
            Scope::Burst => self.burst.refuse(until),
            Scope::Hour => {
                self.hour.refuse(until, reset);
                return self.went_on(ticket, reset.map_or(until, |reset| reset.max(until)), now);
            }
            // These say nothing of the account.
            Scope::Document | Scope::Envelope | Scope::Polling => self.hour.silent(),
        }
        false
    }

    /// The calls of the hour are gone until then. Answers whether this one was sent although that was known; what was sent
    /// after the end of an earlier refusal was not.
    fn went_on(&mut self, ticket: Ticket, until: Duration, now: Now) -> bool {
        let is_within = |(since, over): (u64, Duration)| {
            ticket.spent.second > since + UNDER_WAY_S && ticket.spent.second < over.as_secs()
        };
        let (before, second) = (self.gone, now.uptime.as_secs());
        self.gone = match before {
            Some((since, over)) if second < over.as_secs() => Some((since, over.max(until))),
            _ => Some((second, until)),
        };
        before.is_some_and(is_within)
    }

    pub(super) fn not_sent(&mut self, ticket: Ticket) {
        self.flying -= 1;
        if ticket.hour == self.hour.number() {
            self.hour.take_back();
        }
        self.burst.take_back(ticket.spent);
        let minute = minute(ticket.spent.second);
        if let Some((_, calls)) = self.pace.iter_mut().find(|(at, _)| *at == minute) {
            *calls = calls.saturating_sub(1);
        }
    }

    pub(super) fn lost(&mut self) {
        self.flying -= 1;
        self.hour.silent();
    }

    pub(super) fn remaining(&mut self, now: Now) -> Remaining {
        self.roll(now);
        Remaining {
            hour_limit: self.hour.limit,
            hour: self.hour.left_now(self.flying, now),
            resets_at: now.date_of(self.hour.anew_at(now)),
            burst_limit: self.burst.limit,
            burst: self.burst.left_now(now),
        }
    }

    pub(super) fn forecast(&mut self, now: Now) -> Forecast {
        self.roll(now);
        let minute = minute(now.uptime.as_secs());
        let recent: u64 =
            self.pace.iter().filter(|(at, _)| *at + PACE_MINUTES > minute).map(|(_, calls)| calls).sum();
        let calls_per_hour = recent * 60 / PACE_MINUTES;
        let remaining = self.hour.left_now(self.flying, now);
        let lasts_s = match remaining {
            // Gone, also while nobody calls any more.
            0 => Some(0),
            left => left.saturating_mul(3_600).checked_div(calls_per_hour),
        };
        let gone = lasts_s.map(|seconds| now.uptime.saturating_add(Duration::from_secs(seconds)));
        let exhausted_at = gone.filter(|at| *at < self.hour.anew_at(now)).map(|at| now.date_of(at));
        Forecast { calls_per_hour, remaining, exhausted_at }
    }

    /// The store knows `reported` more of our calls of this hour, and `total` of everybody: what other daemons
    /// spend is part of the pace.
    pub(super) fn shared(&mut self, reported: u64, total: u64, now: Now) {
        let others = self.hour.shared(reported, total);
        self.heard_at = Some(now.uptime);
        self.count(others, now);
    }

    /// Whether there is nothing to ask the others about yet: there may be thousands of accounts that nobody calls,
    /// and each question is a write.
    pub(super) fn may_rest(&self, now: Now) -> bool {
        let is_lately = |at: Duration| now.uptime.saturating_sub(at) < REST;
        !is_lately(self.called_at) && self.heard_at.is_some_and(is_lately)
    }

    fn count(&mut self, more: u64, now: Now) {
        let minute = minute(now.uptime.as_secs());
        match self.pace.back_mut() {
            Some((at, calls)) if *at == minute => *calls += more,
            _ => self.pace.push_back((minute, more)),
        }
        while self.pace.pop_front_if(|(at, _)| *at + PACE_MINUTES <= minute).is_some() {}
    }
}

/// The minute that a second is in.
const fn minute(second: u64) -> u64 {
    second / 60
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    /// Seconds after ten minutes before a full hour.
    fn at(seconds: u64) -> Now {
        let date = Timestamp::from_second(3_000 + i64::try_from(seconds).unwrap()).unwrap();
        Now { date, uptime: Duration::from_secs(seconds) }
    }

    /// An account whose first call was refused, until then.
    fn refused(scope: Scope, until: u64, reset: Option<u64>) -> Account {
        let mut account = Account::new(Options::default(), at(0));
        let ticket = account.admit(Priority::Signer, at(0)).unwrap();
        account.limited(ticket, scope, Duration::from_secs(until), reset.map(Duration::from_secs), at(0));
        account
    }

    #[test]
    fn b2_nothing_is_left_of_an_hour_while_the_upstream_says_that_it_is_gone() {
        for (until, reset, anew) in [
            (600, Some(600), 600),
            (300, Some(300), 300),
            (10, Some(30), 30),
            (5, None, 600),
            // Our own next hour begins meanwhile.
            (900, Some(900), 900),
            (700, None, 700),
        ] {
            let mut account = refused(Scope::Hour, until, reset);
            for second in [1, until - 1] {
                let (now, case) = (at(second), format!("{until} {reset:?}, after {second} s"));
                let left = account.remaining(now);
                assert_eq!((left.hour, left.hour_limit), (0, 3_000), "{case}");
                assert_eq!(left.resets_at, at(anew).date, "{case}");
                assert!(left.burst >= 199, "{case}: {left:?}");
                let forecast = account.forecast(now);
                assert_eq!((forecast.remaining, forecast.exhausted_at), (0, Some(now.date)), "{case}");
            }
            assert!(account.remaining(at(until)).hour >= 2_999, "then our own count is all that is known");
            assert_eq!(account.forecast(at(until)).exhausted_at, None);
        }
    }

    #[test]
    fn b2_a_burst_that_is_refused_is_no_hour_that_is_gone() {
        for (scope, burst) in [(Scope::Burst, 0), (Scope::Document, 199), (Scope::Envelope, 199)] {
            let mut account = refused(scope, 30, None);
            let left = account.remaining(at(29));
            assert_eq!((left.hour, left.burst, left.resets_at), (2_999, burst, at(600).date), "{scope:?}");
            assert_eq!(account.forecast(at(29)).exhausted_at, None, "{scope:?}");
            assert_eq!(account.remaining(at(30)).burst, 199, "{scope:?}");
        }
    }

    #[test]
    fn an_hour_that_is_used_up_stays_so_while_nobody_calls() {
        let mut account = Account::new(Options { hourly: 10, ..Options::default() }, at(0));
        while account.admit(Priority::Signer, at(0)).is_ok() {
            account.lost();
        }
        let forecast = account.forecast(at(599));
        assert_eq!((forecast.calls_per_hour, forecast.remaining), (0, 0));
        assert_eq!(forecast.exhausted_at, Some(at(599).date), "and does not look as if it would last");
        assert_eq!(account.forecast(at(600)).exhausted_at, None);
    }
}
