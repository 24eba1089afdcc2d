//! How often the account server was asked, for what, and how that ended: for whoever minds the vendor's rules, and for the
//! metrics. It only counts.

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
    ends: [[AtomicU64; End::ALL.len()]; Question::ALL.len()],
}

/// What the account server is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Question {
    /// A token, by whichever grant.
    Token,
    /// Who a token is for.
    UserInfo,
}

impl Question {
    const ALL: [Self; 2] = [Self::Token, Self::UserInfo];
}

/// How a question ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum End {
    /// As asked.
    Good,
    /// Refused because of a limit.
    Limited,
    /// Refused.
    Refused,
    /// No usable answer.
    Unavailable,
}

impl End {
    const ALL: [Self; 4] = [Self::Good, Self::Limited, Self::Refused, Self::Unavailable];

    fn of(failure: Option<&Error>) -> Self {
        match failure {
            None => Self::Good,
            Some(Error::RateLimited { .. }) => Self::Limited,
            Some(Error::Malformed { .. } | Error::Unavailable { .. } | Error::Unreachable(_)) => {
                Self::Unavailable
            }
            Some(_) => Self::Refused,
        }
    }
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

    /// A question ended, with this failure if any.
    pub(super) fn ended(&self, question: Question, failure: Option<&Error>) {
        self.count_of(question, End::of(failure)).fetch_add(1, Ordering::Relaxed);
    }

    fn count_of(&self, question: Question, end: End) -> &AtomicU64 {
        &self.0.ends[question as usize][end as usize]
    }

    /// How often each question has ended in each way by now.
    pub fn ends(&self) -> Vec<(Question, End, u64)> {
        let all = Question::ALL.into_iter().flat_map(|question| End::ALL.map(|end| (question, end)));
        all.map(|(question, end)| (question, end, self.count_of(question, end).load(Ordering::Relaxed)))
            .collect()
    }

    /// The counts by now.
    pub fn so_far(&self) -> AskedSoFar {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let Counts { tokens, early, user_info, .. } = &*self.0;
        let limited = Question::ALL.map(|question| read(self.count_of(question, End::Limited)));
        AskedSoFar {
            tokens: read(tokens),
            early: read(early),
            user_info: read(user_info),
            limited: limited.iter().sum(),
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
