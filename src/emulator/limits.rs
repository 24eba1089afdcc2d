//! The budgets of calls: an hour's, a burst's, and how often one envelope may be asked about.
//!
//! Sources: developers.docusign.com, "Resource limits" (3,000 an hour counted from the top of the
//! clock hour, 200 in 30 s for developer accounts) and the blog post "Service protection: new API
//! errors" (limits an envelope; their thresholds are secret, ours are generous guesses, and those of
//! its bursts are not played). The errors are answered as 400, which the vendor does today; it has
//! announced 429, so that can be switched.

use std::collections::{BTreeMap, VecDeque};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use jiff::{SignedDuration, Timestamp};

use super::http::Answer;

const BURST_WINDOW: SignedDuration = SignedDuration::from_secs(30);
const HOUR_S: i64 = 3_600;

/// The limits in force, and what was used.
#[derive(Debug)]
pub(super) struct Limits {
    /// Calls an account has in a clock hour.
    pub(super) hourly: u64,
    /// Calls an account has in 30 s.
    pub(super) burst: u64,
    /// GETs below one envelope in a clock hour; the vendor's number is secret.
    pub(super) envelope_reads: u64,
    /// PUTs below one envelope in a clock hour; the vendor's number is secret.
    pub(super) envelope_writes: u64,
    /// The HTTP status of a limit error.
    pub(super) status: StatusCode,
    accounts: BTreeMap<String, Usage>,
    envelopes: BTreeMap<(String, bool), Hour>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Hour {
    number: i64,
    used: u64,
}

#[derive(Debug, Default, Clone)]
struct Usage {
    hour: Hour,
    burst: VecDeque<Timestamp>,
}

/// What the budget says about one call.
#[derive(Debug)]
pub(super) struct Verdict {
    /// The vendor's budget headers.
    pub(super) headers: HeaderMap,
    /// The refusal, if the budget is gone, and until when calling again is pointless.
    pub(super) refusal: Option<(Answer, Timestamp)>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            hourly: 3_000,
            burst: 200,
            envelope_reads: 600,
            envelope_writes: 300,
            status: StatusCode::BAD_REQUEST,
            accounts: BTreeMap::new(),
            envelopes: BTreeMap::new(),
        }
    }
}

impl Limits {
    /// Counts one call of an account, unless the budget is gone. Refused calls cost nothing.
    pub(super) fn spend(&mut self, account: &str, now: Timestamp) -> Verdict {
        let (hourly, burst, status) = (self.hourly, self.burst, self.status);
        let usage = self.accounts.entry(account.to_owned()).or_default();
        usage.roll(now);
        let refusal = if usage.hour.used >= hourly {
            Some((Window::Hour.refuse(status), top_of_next_hour(now)))
        } else if usage.burst.len() as u64 >= burst {
            let until = usage.burst.front().and_then(|first| first.checked_add(BURST_WINDOW).ok());
            Some((Window::Burst.refuse(status), until.unwrap_or(now)))
        } else {
            usage.hour.used += 1;
            usage.burst.push_back(now);
            None
        };
        Verdict { headers: self.left(account, now), refusal }
    }

    /// What an account has left, for an answer that costs nothing.
    pub(super) fn left(&self, account: &str, now: Timestamp) -> HeaderMap {
        let mut usage = self.accounts.get(account).cloned().unwrap_or_default();
        usage.roll(now);
        let left = self.hourly.saturating_sub(usage.hour.used);
        let burst_left = self.burst.saturating_sub(usage.burst.len() as u64);
        headers((self.hourly, left), (self.burst, burst_left), top_of_next_hour(now))
    }

    /// Counts one call about one envelope, unless it was asked about too often this hour: then the refusal, and until
    /// when calling again is pointless.
    pub(super) fn spend_on_envelope(
        &mut self,
        envelope: &str,
        writes: bool,
        now: Timestamp,
    ) -> Option<(Answer, Timestamp)> {
        let limit = if writes { self.envelope_writes } else { self.envelope_reads };
        let hour = self.envelopes.entry((envelope.to_owned(), writes)).or_default();
        hour.roll(now);
        if hour.used >= limit {
            let window = if writes { Window::EnvelopeWrites } else { Window::EnvelopeReads };
            return Some((window.refuse(self.status), top_of_next_hour(now)));
        }
        hour.used += 1;
        None
    }

    /// The answer of the fault `rate_limit`: the hour's error, with the headers that go with it.
    pub(super) fn pretend(&self, status: Option<StatusCode>, reset: Timestamp) -> Answer {
        let mut answer = Window::Hour.refuse(status.unwrap_or(self.status));
        answer.headers.extend(headers((self.hourly, 0), (self.burst, self.burst), reset));
        answer
    }

    /// Forgets what was used.
    pub(super) fn refill(&mut self) {
        self.accounts.clear();
        self.envelopes.clear();
    }
}

impl Hour {
    fn roll(&mut self, now: Timestamp) {
        let number = now.as_second().div_euclid(HOUR_S);
        if number != self.number {
            *self = Self { number, used: 0 };
        }
    }
}

impl Usage {
    fn roll(&mut self, now: Timestamp) {
        self.hour.roll(now);
        while self.burst.front().is_some_and(|first| {
            // A clock that was set back leaves calls in the future; they count no more.
            *first > now || now.duration_since(*first) >= BURST_WINDOW
        }) {
            self.burst.pop_front();
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Window {
    Burst,
    EnvelopeReads,
    EnvelopeWrites,
    Hour,
}

impl Window {
    fn refuse(self, status: StatusCode) -> Answer {
        let (code, message) = match self {
            Self::Burst => (
                "BURST_APIINVOCATION_LIMIT_EXCEEDED",
                "The maximum number of burst API invocations has been exceeded.",
            ),
            Self::EnvelopeReads => (
                "Hourly_Envelope_Polling_Limit_Exceeded",
                "The maximum number of hourly polling requests for this envelope has been exceeded.",
            ),
            Self::EnvelopeWrites => (
                "Hourly_APIInvocation_Envelope_Limit_Exceeded",
                "The maximum number of hourly API invocations for this envelope has been exceeded.",
            ),
            Self::Hour => (
                "HOURLY_APIINVOCATION_LIMIT_EXCEEDED",
                "The maximum number of hourly API invocations has been exceeded.",
            ),
        };
        Answer::error(status, code, message)
    }
}

/// When the hour's budget is full again.
fn top_of_next_hour(now: Timestamp) -> Timestamp {
    let second = (now.as_second().div_euclid(HOUR_S) + 1) * HOUR_S;
    Timestamp::from_second(second).unwrap_or(Timestamp::MAX)
}

fn headers(hour: (u64, u64), burst: (u64, u64), reset: Timestamp) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let reset = u64::try_from(reset.as_second()).unwrap_or_default();
    for (name, value) in [
        ("x-ratelimit-limit", hour.0),
        ("x-ratelimit-remaining", hour.1),
        ("x-ratelimit-reset", reset),
        ("x-burstlimit-limit", burst.0),
        ("x-burstlimit-remaining", burst.1),
    ] {
        headers.insert(HeaderName::from_static(name), HeaderValue::from(value));
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn is_refused(limits: &mut Limits, second: i64) -> bool {
        limits.spend("a", at(second)).refusal.is_some()
    }

    #[test]
    fn the_hours_budget_is_full_again_at_the_top_of_the_clock_hour() {
        let mut limits = Limits { hourly: 2, burst: 100, ..Limits::default() };
        assert!(!is_refused(&mut limits, 7_190));
        assert!(!is_refused(&mut limits, 7_191));
        assert!(is_refused(&mut limits, 7_199));
        let verdict = limits.spend("a", at(7_199));
        assert_eq!(verdict.headers["x-ratelimit-reset"], "7200");
        assert_eq!(verdict.headers["x-ratelimit-remaining"], "0");
        assert_eq!(verdict.refusal.unwrap().1, at(7_200));
        assert!(!is_refused(&mut limits, 7_200));
        assert!(limits.spend("b", at(7_200)).refusal.is_none());
    }

    #[test]
    fn a_burst_is_counted_over_the_last_30_seconds() {
        let mut limits = Limits { hourly: 100, burst: 2, ..Limits::default() };
        assert!(!is_refused(&mut limits, 100));
        assert!(!is_refused(&mut limits, 120));
        assert!(is_refused(&mut limits, 129));
        assert!(!is_refused(&mut limits, 130));
        assert!(is_refused(&mut limits, 149));
        assert_eq!(limits.spend("a", at(149)).refusal.unwrap().1, at(150));
    }
}
