//! What the parts of the token path have in common, so that they stack: exchange, retry, cache.

use std::{pin::Pin, sync::Arc, time::Duration};

use super::{access_token::MintedToken, error::Error};

/// A mint on its way.
pub type Minting<'a> = Pin<Box<dyn Future<Output = Result<MintedToken, Failure>> + Send + 'a>>;

/// Something that mints tokens for one sender.
pub trait TokenSource: Send + Sync + 'static {
    /// Mints one token. Whoever drops the future gives it up.
    fn mint(&self) -> Minting<'_>;

    /// Something changed outside (a key, consent, an operator's wish): what was concluded from
    /// earlier failures no longer holds.
    fn wake(&self) {}
}

impl<S: TokenSource + ?Sized> TokenSource for Arc<S> {
    fn mint(&self) -> Minting<'_> {
        (**self).mint()
    }
    fn wake(&self) {
        (**self).wake();
    }
}

/// A mint that failed, and from when asking again makes sense. Cheap to clone, for all who wait.
#[derive(Debug, Clone)]
pub struct Failure {
    /// Why.
    pub error: Arc<Error>,
    /// The uptime before which nobody should ask again; the exchange leaves it to the retry policy.
    pub not_before: Option<Duration>,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { error: Arc::new(error), not_before: None }
    }
}
