//! A sender as operators see it: what `/readyz`, the ops page, `doctor` and the metrics are made of.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;

use super::{
    Auth, Sender,
    access_token::Band,
    consent::Consent,
    error::Error,
    identity::UserId,
    key_ring::KeyStatus,
    token_cache::{CacheStatus, Mints, Record},
};
use crate::clock::{earlier, later};

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
    /// Why the last mint failed, if it did, or why the next one is held back.
    pub failure: Option<SenderFailure>,
    /// Why its user and its account do not belong together, if that is so: a token is of no use then.
    pub misplaced: Option<Misplaced>,
    /// How its mints ended so far.
    pub mints: Mints,
}

/// Why a sender's last mint failed, or why its next one is held back.
#[derive(Debug, Clone)]
pub struct SenderFailure {
    /// The error: its `code`, `cause` and `fix`.
    pub error: Arc<Error>,
    /// When the failures in a row began.
    pub since: Timestamp,
    /// When the next try comes, unless something wakes it before.
    pub next_try: Timestamp,
}

/// Why a sender's user and account do not belong together. Nobody looks again by themselves: the next call does.
#[derive(Debug, Clone)]
pub struct Misplaced {
    /// The error: its `code`, `cause` and `fix`.
    pub error: Arc<Error>,
    /// When it was first found so.
    pub since: Timestamp,
}

/// How a sender stands, in a word: the same for the API, its events and the pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It acts, and cannot get the next token.
    Degraded,
    /// It cannot act.
    NotReady,
    /// It acts, or would if it were asked.
    Ready,
}

impl Standing {
    /// As other programs read it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Degraded => "degraded",
            Self::NotReady => "not_ready",
            Self::Ready => "ready",
        }
    }
}

impl SenderStatus {
    pub(super) fn new(
        (name, user_id): (Arc<str>, Option<UserId>),
        cache: Option<&CacheStatus>,
        record: &Record,
        keys: Vec<KeyStatus>,
        now: Timestamp,
    ) -> Self {
        let later = |by: Duration| whole(later(now, by));
        let failure = cache.and_then(|cache| cache.failure.as_ref().or(cache.refused.as_ref()));
        let failure = failure.map(|failure| SenderFailure {
            error: Arc::clone(&failure.error),
            since: earlier(now, failure.failing_for),
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
            misplaced: None,
            mints: record.mints(),
        }
    }

    /// Whether there is no token only because nobody asked for one in a long while: the last mint, or the
    /// last probe of consent, went well, and the next reader gets one.
    pub fn is_idle(&self) -> bool {
        !self.has_token() && self.failure.is_none() && !self.is_refreshing && self.consent == Consent::Granted
    }

    /// How it stands: a token that is good for no account is of no use.
    pub fn standing(&self) -> Standing {
        let can_act = self.misplaced.is_none() && (self.has_token() || self.is_idle());
        match (can_act, self.failure.is_some()) {
            (true, false) => Standing::Ready,
            (true, true) => Standing::Degraded,
            (false, _) => Standing::NotReady,
        }
    }

    /// What is wrong, and since when: what keeps it from tokens, or else from its account.
    pub fn trouble(&self) -> Option<(Arc<Error>, Timestamp)> {
        let failed = self.failure.as_ref().map(|failure| (Arc::clone(&failure.error), failure.since));
        failed.or_else(|| self.misplaced.as_ref().map(|it| (Arc::clone(&it.error), it.since)))
    }

    /// Whether a caller who asks now gets a token.
    pub fn has_token(&self) -> bool {
        self.band != Band::None
    }
}

impl Auth {
    /// How a sender stands.
    pub fn status(&self, name: &str) -> Result<SenderStatus, Arc<Error>> {
        Ok(self.status_of(&*self.sender(name)?))
    }

    /// How all senders stand, by name.
    pub fn statuses(&self) -> Vec<SenderStatus> {
        let senders = self.inner.senders.load_full();
        let mut all: Vec<_> = senders.values().map(|sender| self.status_of(sender)).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// How those senders stand whose token is in use, or is being tried for, by name. With thousands of
    /// senders, most of which rest, this is what tells something.
    pub fn statuses_in_use(&self) -> Vec<SenderStatus> {
        let senders = self.inner.senders.load_full();
        let in_use = senders.values().filter(|sender| sender.live().is_some());
        let mut all: Vec<_> = in_use.map(|sender| self.status_of(sender)).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// The names of those senders whose token nobody uses, and nobody tries for, sorted.
    pub fn senders_at_rest(&self) -> Vec<Arc<str>> {
        let senders = self.inner.senders.load();
        let at_rest = senders.values().filter(|sender| sender.live().is_none());
        let mut names: Vec<_> = at_rest.map(|sender| Arc::clone(&sender.name)).collect();
        names.sort();
        names
    }

    /// Whether one of those would act if it were asked, as far as its last mint told.
    pub fn has_one_at_rest_that_can_act(&self) -> bool {
        let can_act = |sender: &Sender| {
            sender.record.consent() == Consent::Granted && sender.misplaced.load().is_none()
        };
        self.inner.senders.load().values().any(|sender| sender.live().is_none() && can_act(sender))
    }

    /// How all senders stand, or, of very many, those in use: with those that rest nothing happens.
    pub fn statuses_that_tell(&self) -> Vec<SenderStatus> {
        if self.is_crowded() { self.statuses_in_use() } else { self.statuses() }
    }

    fn status_of(&self, sender: &Sender) -> SenderStatus {
        let cache = sender.live().map(|cache| cache.status());
        let now = self.inner.offset.corrected_now();
        let keys = sender.ring().map(|keys| keys.status()).unwrap_or_default();
        let user_id = sender.impersonation.as_ref().map(|who| who.user_id);
        let who = (Arc::clone(&sender.name), user_id);
        let status = SenderStatus::new(who, cache.as_ref(), &sender.record, keys, now);
        let failure = status.failure.map(|failure| {
            let error = self.explained(&sender.name, failure.error);
            SenderFailure { error, ..failure }
        });
        let misplaced = sender.misplaced.load_full().map(|it| {
            let (error, since) = &*it;
            let ago = self.inner.clock.uptime().saturating_sub(*since);
            let since = whole(earlier(now, ago));
            Misplaced { error: Arc::clone(error), since }
        });
        SenderStatus { failure, misplaced, ..status }
    }

    /// What the account server cannot know of a failure, and we do: that the user id is an account's, or that
    /// somebody else consented.
    pub(super) fn explained(&self, name: &str, error: Arc<Error>) -> Arc<Error> {
        let senders = self.inner.senders.load();
        let Some(sender) = senders.get(name) else { return error };
        match (&*error, &sender.impersonation) {
            (Error::ConsentRequired(_), Some(who)) => {
                let by_other = |consented| Error::ConsentByOther { consented, configured: who.user_id };
                sender.record.stranger().map(by_other).map_or(error, Arc::new)
            }
            (Error::UserUnknown(_), Some(who)) => {
                let id = uuid::Uuid::from(who.user_id);
                let is_known = self.inner.users.iter().any(|(_, user)| user.has_account(id));
                let is_meant = senders.values().any(|other| other.account.load().id() == Some(id));
                if is_known || is_meant { Arc::new(Error::UserIsAccount) } else { error }
            }
            _ => error,
        }
    }
}

/// Told from time that runs evenly, so to the nanosecond it would be another date at each look.
fn whole(at: Timestamp) -> Timestamp {
    at.round(jiff::Unit::Second).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::user_info::NotInAccount;

    #[test]
    fn a_sender_that_is_good_for_no_account_is_not_ready_and_says_why() {
        let record = Record::default();
        record.proven();
        let who = (Arc::from("system"), None);
        let idle = SenderStatus::new(who, None, &record, Vec::new(), Timestamp::UNIX_EPOCH);
        assert_eq!((idle.standing(), idle.trouble().is_none()), (Standing::Ready, true));
        let error = Arc::new(Error::NotInAccount(NotInAccount::NoAccounts));
        let since = Timestamp::constant(60, 0);
        let misplaced = SenderStatus { misplaced: Some(Misplaced { error, since }), ..idle.clone() };
        assert_eq!((misplaced.standing(), misplaced.trouble().unwrap().1), (Standing::NotReady, since));
        assert_eq!(
            misplaced.trouble().unwrap().0.in_full(),
            "no usable account: the user is a member of no account"
        );
        let failure = SenderFailure {
            error: Arc::new(Error::NotConnected),
            since: Timestamp::UNIX_EPOCH,
            next_try: Timestamp::UNIX_EPOCH,
        };
        let (band, failure) = (Band::Fresh, Some(failure));
        let failing = SenderStatus { band, failure, ..idle };
        assert_eq!(failing.standing(), Standing::Degraded);
        let both = SenderStatus { misplaced: misplaced.misplaced, ..failing };
        assert_eq!(
            (both.standing(), both.trouble().unwrap().0.cause()),
            (Standing::NotReady, "not_connected")
        );
    }
}
