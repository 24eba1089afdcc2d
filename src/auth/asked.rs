//! How often the account server was asked, and for what: for whoever minds the vendor's rules. It only counts.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use super::error::Error;
use crate::http_client::{self, Response};

/// The counts of one account server. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Asked(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    tokens: AtomicU64,
    early: AtomicU64,
    user_info: AtomicU64,
    limited: AtomicU64,
}

/// The counts at a moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AskedSoFar {
    /// Requests for a token.
    pub tokens: u64,
    /// Mints that began before the refresh of a token was due that nobody had refused.
    pub early: u64,
    /// Questions who a token is for.
    pub user_info: u64,
    /// Answers that refused for a limit.
    pub limited: u64,
}

impl Asked {
    /// A token was asked for, if the request left.
    pub(super) fn token(&self, sent: &Result<Response, http_client::Error>) {
        count(&self.0.tokens, sent);
    }

    pub(super) fn early(&self) {
        self.0.early.fetch_add(1, Ordering::Relaxed);
    }

    /// It was asked who a token is for, if the request left.
    pub(super) fn user_info(&self, sent: &Result<Response, http_client::Error>) {
        count(&self.0.user_info, sent);
    }

    /// An answer failed so, if it did.
    pub(super) fn answered(&self, failure: Option<&Error>) {
        if matches!(failure, Some(Error::RateLimited { .. })) {
            self.0.limited.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The counts by now.
    pub fn so_far(&self) -> AskedSoFar {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let Counts { tokens, early, user_info, limited } = &*self.0;
        AskedSoFar {
            tokens: read(tokens),
            early: read(early),
            user_info: read(user_info),
            limited: read(limited),
        }
    }
}

fn count(questions: &AtomicU64, sent: &Result<Response, http_client::Error>) {
    if !sent.as_ref().is_err_and(|error| error.outcome() == http_client::Outcome::NotSent) {
        questions.fetch_add(1, Ordering::Relaxed);
    }
}

impl AskedSoFar {
    /// What was counted since an earlier reading.
    #[must_use]
    pub const fn since(&self, before: &Self) -> Self {
        Self {
            tokens: self.tokens - before.tokens,
            early: self.early - before.early,
            user_info: self.user_info - before.user_info,
            limited: self.limited - before.limited,
        }
    }
}
