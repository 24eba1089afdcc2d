//! What a cache says: why there is no token, what became of a retired one, and how it stands.

use std::{sync::Arc, time::Duration};

use crate::auth::{access_token::Band, error::Error};

/// Why a read found no token.
#[derive(Debug, Clone)]
pub enum Miss {
    /// The cache was closed, or dropped for idleness: make another one, if the sender still exists.
    Dropped,
    /// There is none, for this reason.
    Failed(Arc<Error>),
}

/// What became of a wish to retire a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retired {
    /// It is gone, and the next read waits for a new one.
    Now,
    /// Another one is already in its place, or none.
    Before,
}

/// How a cache stands at a moment.
#[derive(Debug, Clone)]
pub struct CacheStatus {
    /// How the token stands.
    pub band: Band,
    /// The generation of the token.
    pub generation: Option<u64>,
    /// Life left, until the upstream stops taking it.
    pub expires_in: Option<Duration>,
    /// How long the account server may stay away from now before a caller notices.
    pub runway: Duration,
    /// Whether a mint is on its way, or held back because tokens were refused one after the other.
    pub is_refreshing: bool,
    /// The last outcome, if it was a failure.
    pub failure: Option<CacheFailure>,
    /// Why there is no token although the last outcome was none: they were refused one after the other.
    pub refused: Option<CacheFailure>,
}

/// A failure, as operators see it.
#[derive(Debug, Clone)]
pub struct CacheFailure {
    /// Why.
    pub error: Arc<Error>,
    /// For how long mints have been failing, or tokens have been refused.
    pub failing_for: Duration,
    /// Until the next try.
    pub next_try_in: Duration,
}
