//! A sender as operators see it: what `/readyz`, the ops page, `doctor` and the metrics are made of.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;

use super::{
    access_token::Band,
    consent::Consent,
    error::Error,
    identity::UserId,
    key_ring::KeyStatus,
    token_cache::{CacheStatus, Record},
};

/// How a sender stands at one moment. Times are the upstream's, as far as we know them (rule T9).
#[derive(Debug, Clone)]
pub struct SenderStatus {
    /// The sender's name.
    pub name: Arc<str>,
    /// Whom it acts as; none for a sender whose tokens come from elsewhere.
    pub user_id: Option<UserId>,
    /// How its token stands.
    pub band: Band,
    /// The token's generation.
    pub generation: Option<u64>,
    /// When the upstream stops taking the token.
    pub expires_at: Option<Timestamp>,
    /// How long the account server may stay away from now before a caller notices.
    pub runway: Duration,
    /// Whether a mint is on its way.
    pub is_refreshing: bool,
    /// What is known of consent.
    pub consent: Consent,
    /// Who went through the consent page last, if it was another user than the configured one: consent
    /// counts for that user alone.
    pub consented_by_other: Option<UserId>,
    /// The keys, in order, candidates before what they are to replace.
    pub keys: Vec<KeyStatus>,
    /// Why the last mint failed, if it did.
    pub failure: Option<SenderFailure>,
    /// How many mints ended with each result: `ok`, or [`Error::cause`].
    pub mints: Vec<(&'static str, u64)>,
}

/// Why a sender's last mint failed.
#[derive(Debug, Clone)]
pub struct SenderFailure {
    /// The error: its `code`, `cause` and `fix`.
    pub error: Arc<Error>,
    /// When the failures in a row began.
    pub since: Timestamp,
    /// When the next try comes, unless something wakes it before.
    pub next_try: Timestamp,
}

impl SenderStatus {
    pub(super) fn new(
        (name, user_id): (Arc<str>, Option<UserId>),
        cache: Option<&CacheStatus>,
        record: &Record,
        keys: Vec<KeyStatus>,
        now: Timestamp,
    ) -> Self {
        let later = |by: Duration| now.saturating_add(by).unwrap_or(Timestamp::MAX);
        let earlier = |by: Duration| now.saturating_sub(by).unwrap_or(Timestamp::MIN);
        let failure = cache.and_then(|cache| cache.failure.as_ref()).map(|failure| SenderFailure {
            error: Arc::clone(&failure.error),
            since: earlier(failure.failing_for),
            next_try: later(failure.next_try_in),
        });
        Self {
            name,
            user_id,
            band: cache.map_or(Band::None, |cache| cache.band),
            generation: cache.and_then(|cache| cache.generation),
            expires_at: cache.and_then(|cache| cache.expires_in).map(later),
            runway: cache.map_or(Duration::ZERO, |cache| cache.runway),
            is_refreshing: cache.is_some_and(|cache| cache.is_refreshing),
            consent: record.consent(),
            consented_by_other: record.stranger(),
            keys,
            failure,
            mints: record.mints().collect(),
        }
    }

    /// Whether there is no token only because nobody asked for one in a long while: the last mint, or the
    /// last probe of consent, went well, and the next reader gets one.
    pub fn is_idle(&self) -> bool {
        !self.has_token() && self.failure.is_none() && !self.is_refreshing && self.consent == Consent::Granted
    }

    /// Whether a caller who asks now gets a token.
    pub fn has_token(&self) -> bool {
        self.band != Band::None
    }
}
