//! The access token as it is held and handed around inside the daemon (never outside, rule S3).
//!
//! A token carries everything its readers need, precomputed: the header to send, its generation,
//! and the moments at which its treatment changes. All of them are uptimes, so that setting the
//! date neither kills a token nor revives one (rules T8, T9).

use std::{fmt, sync::Arc, time::Duration};

use http::HeaderValue;

/// At this much before the end, callers begin to wait (shortly) for a refresh (rule T2). The vendor
/// advises to renew with about ten minutes left.
const LAST_MINUTES: Duration = Duration::from_secs(600);
/// A token is not used in its very last seconds: the request has to arrive before it dies.
const SAFETY: Duration = Duration::from_secs(5);

/// What an exchange yields: a token without a place in our order yet.
#[derive(Clone)]
pub struct MintedToken {
    /// The whole `Authorization` value, marked sensitive.
    pub header: HeaderValue,
    /// The uptime just before the request was sent: life is counted from there (rule T8).
    pub born: Duration,
    /// What the upstream promised.
    pub life: Duration,
}

impl MintedToken {
    /// Takes the bearer text; none if it could not be sent in a header.
    pub fn new(bearer: &str, born: Duration, life: Duration) -> Option<Self> {
        if bearer.is_empty() || !bearer.bytes().all(|byte| byte.is_ascii_graphic()) {
            return None;
        }
        let mut header = HeaderValue::try_from(format!("Bearer {bearer}")).ok()?;
        header.set_sensitive(true);
        Some(Self { header, born, life })
    }
}

impl fmt::Debug for MintedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MintedToken")
            .field("born", &self.born)
            .field("life", &self.life)
            .finish_non_exhaustive()
    }
}

/// A published access token. Cheap to clone.
#[derive(Clone)]
pub struct AccessToken(Arc<Inner>);

/// What the cache's atomic pointer points to.
pub(super) struct Inner {
    header: HeaderValue,
    pub(super) generation: u64,
    pub(super) schedule: Schedule,
}

impl From<Arc<Inner>> for AccessToken {
    fn from(inner: Arc<Inner>) -> Self {
        Self(inner)
    }
}

impl From<AccessToken> for Arc<Inner> {
    fn from(token: AccessToken) -> Self {
        token.0
    }
}

impl AccessToken {
    /// Gives a minted token its generation; `jitter` in -1 ..= 1 moves its refresh by up to 10 %.
    pub(super) fn publish(minted: MintedToken, generation: u64, jitter: f64) -> Self {
        let schedule = Schedule::new(minted.born, minted.life, jitter);
        Self(Arc::new(Inner { header: minted.header, generation, schedule }))
    }

    /// As [`publish`](Self::publish), for the first token of one of very many senders: its refresh comes at any
    /// time from its birth to when it were due; `spread` in -1 ..= 1 says where. The jitter counts as well:
    /// this round then fades out just as the next one fades in, and no minute has much of both.
    pub(super) fn publish_in_crowd(minted: MintedToken, generation: u64, jitter: f64, spread: f64) -> Self {
        let mut schedule = Schedule::new(minted.born, minted.life, jitter);
        let earlier = minted.life.mul_f64(0.95 * 0.25 * (spread + 1.0));
        let soonest = minted.born.saturating_add(minted.life / 100);
        schedule.refresh_at = schedule.refresh_at.saturating_sub(earlier).max(soonest);
        Self(Arc::new(Inner { header: minted.header, generation, schedule }))
    }

    /// The value of the `Authorization` header, "Bearer …", marked sensitive.
    pub fn header(&self) -> &HeaderValue {
        &self.0.header
    }

    /// Its place in the order of all tokens of this process; what a 401 retires (rule T6).
    pub fn generation(&self) -> u64 {
        self.0.generation
    }

    /// When its treatment changes.
    pub fn schedule(&self) -> &Schedule {
        &self.0.schedule
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessToken").field("generation", &self.0.generation).finish_non_exhaustive()
    }
}

/// The moments of a token's life, as uptimes in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    /// Before the request for it was sent.
    pub born: Duration,
    /// A background refresh begins: half of life, ±10 % (rule T1).
    pub refresh_at: Duration,
    /// Callers begin to wait for that refresh, 2 s at most (rule T2).
    pub last_minutes_at: Duration,
    /// It is no longer handed out.
    pub usable_until: Duration,
    /// The upstream stops taking it.
    pub expires_at: Duration,
}

/// How a token stands at a moment (rule T2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Band {
    /// Nothing to do.
    Fresh,
    /// Served as it is, while one refresher is at work.
    Advisory,
    /// A caller gives the refresh 2 s, then is served the old one.
    LastMinutes,
    /// There is none that could be handed out.
    None,
}

impl Band {
    /// The band's name in status answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Advisory => "advisory",
            Self::LastMinutes => "last_minutes",
            Self::None => "none",
        }
    }
}

impl Schedule {
    /// Lays out a life. Every margin is clamped to it, so that a token of a minute gets a refresh
    /// at half a minute and last "minutes" of ten seconds.
    fn new(born: Duration, life: Duration, jitter: f64) -> Self {
        let end = born.saturating_add(life);
        Self {
            born,
            refresh_at: born.saturating_add(life.mul_f64(0.5 + 0.05 * jitter.clamp(-1.0, 1.0))),
            last_minutes_at: end.saturating_sub(LAST_MINUTES.min(life / 6)),
            usable_until: end.saturating_sub(SAFETY.min(life / 60)),
            expires_at: end,
        }
    }

    /// The band at `now`.
    pub fn band(&self, now: Duration) -> Band {
        if now < self.refresh_at {
            Band::Fresh
        } else if now < self.last_minutes_at {
            Band::Advisory
        } else if now < self.usable_until {
            Band::LastMinutes
        } else {
            Band::None
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn t1_t2_an_hour_is_refreshed_at_half_and_has_ten_last_minutes() {
        let schedule = Schedule::new(secs(100), secs(3_600), 0.0);
        assert_eq!(schedule.refresh_at, secs(100 + 1_800));
        assert_eq!(schedule.last_minutes_at, secs(100 + 3_000));
        assert_eq!(schedule.usable_until, secs(100 + 3_595));
        assert_eq!(Schedule::new(secs(0), secs(3_600), 1.0).refresh_at, secs(1_980));
        assert_eq!(Schedule::new(secs(0), secs(3_600), -1.0).refresh_at, secs(1_620));
    }

    proptest! {
        #[test]
        fn t8_margins_are_clamped_to_any_life(born in 0_u64..1 << 40, life in 1_u64..=86_400, jitter in -1.0_f64..=1.0) {
            let s = Schedule::new(secs(born), secs(life), jitter);
            prop_assert!(s.born < s.refresh_at && s.refresh_at < s.last_minutes_at);
            prop_assert!(s.last_minutes_at < s.usable_until && s.usable_until <= s.expires_at);
            prop_assert_eq!(s.expires_at, secs(born + life));
        }
    }

    #[test]
    fn nothing_of_the_token_is_printed() {
        let minted = MintedToken::new("c2VjcmV0", secs(0), secs(60)).unwrap();
        let token = AccessToken::publish(minted.clone(), 7, 0.0);
        let printed = format!("{minted:?} {token:?} {:?}", token.header());
        assert!(!printed.contains("c2VjcmV0"), "{printed}");
        assert_eq!(token.header(), "Bearer c2VjcmV0");
    }

    #[test]
    fn a_bearer_that_no_header_can_carry_is_refused() {
        for text in ["", "a b", "a\nb", "é", "a\0"] {
            assert!(MintedToken::new(text, secs(0), secs(60)).is_none(), "{text:?}");
        }
    }
}
