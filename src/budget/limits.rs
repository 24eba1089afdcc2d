//! The limits as the headers of an answer tell them.
//!
//! `X-RateLimit-Limit`, `-Remaining` (calls of the clock hour), `-Reset` (Unix seconds);
//! `X-BurstLimit-Limit`, `-Remaining` (calls of 30 seconds). Source: "Rules and limits", read in mid 2026.

use std::time::Duration;

use http::{HeaderMap, HeaderName};
use jiff::{SignedDuration, Timestamp};

use super::Now;
use crate::http_client;

// Names that are read once, and not at each answer.
static HOUR_LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
static HOUR_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
static HOUR_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");
static BURST_LIMIT: HeaderName = HeaderName::from_static("x-burstlimit-limit");
static BURST_REMAINING: HeaderName = HeaderName::from_static("x-burstlimit-remaining");

/// No limit is believed to be larger: a hostile number must not overflow anything.
const LARGEST: u64 = 1 << 40;
/// The longest wait that is believed.
const LONGEST: Duration = Duration::from_secs(2 * 3_600);

/// One window as an answer describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Calls in it.
    pub limit: u64,
    /// Calls made in it, by everybody.
    pub used: u64,
}

/// What the headers of one answer say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reading {
    /// The hour.
    pub hour: Option<Window>,
    /// The 30 seconds.
    pub burst: Option<Window>,
    /// When the hour begins anew, in the upstream's time.
    pub reset: Option<Timestamp>,
    /// The upstream's clock.
    pub date: Option<Timestamp>,
    /// How long the answer itself asks us to wait. The vendor documents no such header; balancers send it.
    pub retry_after: Option<Duration>,
}

impl Reading {
    /// Reads the headers; what is missing or nonsense is none.
    pub fn of(headers: &HeaderMap) -> Self {
        let number =
            |name: &HeaderName| -> Option<u64> { headers.get(name)?.to_str().ok()?.trim().parse().ok() };
        let window = |limit: &HeaderName, remaining: &HeaderName| {
            let limit = number(limit).filter(|limit| (1..=LARGEST).contains(limit))?;
            let used = limit.saturating_sub(number(remaining)?);
            Some(Window { limit, used })
        };
        let reset = number(&HOUR_RESET).and_then(|second| i64::try_from(second).ok());
        Self {
            hour: window(&HOUR_LIMIT, &HOUR_REMAINING),
            burst: window(&BURST_LIMIT, &BURST_REMAINING),
            reset: reset.and_then(|second| Timestamp::from_second(second).ok()),
            date: http_client::date(headers),
            retry_after: http_client::retry_after(headers, None).map(clamp),
        }
    }

    /// How long until the hour begins anew. Measured on the upstream's own clock where it shows one,
    /// so that ours may be wrong (rule T9). That clock is cut to whole seconds, so this is never too early.
    pub fn until_reset(&self, now: Now) -> Option<Duration> {
        let left = self.reset?.duration_since(self.date.unwrap_or(now.date));
        let left = Duration::try_from(left.max(SignedDuration::ZERO)).ok()?;
        Some(clamp(left))
    }
}

fn clamp(wait: Duration) -> Duration {
    wait.min(LONGEST)
}

/// How long until the top of the next clock hour, by our own clock.
pub fn until_top_of_hour(date: Timestamp) -> Duration {
    let into = date.as_second().rem_euclid(3_600);
    Duration::from_secs(u64::try_from(3_600 - into).unwrap_or(3_600))
}
