//! What a listener speaks TLS with, which can be replaced while it runs.
//!
//! It must never keep a connection that was made with what was replaced: a client certificate may have been revoked.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;

use super::Peer;
use crate::tls::Refusal;

/// Told of each handshake that came to nothing: with whom, and why.
type OnRefused = Arc<dyn Fn(&Peer, Refusal) + Send + Sync>;

/// What a listener speaks TLS with; can be replaced while it runs. Clones share it.
#[derive(Clone)]
pub struct Tls {
    pub(super) current: Arc<ArcSwap<Generation>>,
    pub(super) on_refused: OnRefused,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Tls").field(&self.current).finish()
    }
}

#[derive(Debug)]
pub(super) struct Generation {
    pub(super) config: Arc<rustls::ServerConfig>,
    /// Fires when another one took its place.
    pub(super) retired: CancellationToken,
}

impl Tls {
    /// Speaks with these certificates, and tells of handshakes that came to nothing.
    pub fn new(
        config: Arc<rustls::ServerConfig>,
        on_refused: impl Fn(&Peer, Refusal) + Send + Sync + 'static,
    ) -> Self {
        let first = Generation { config, retired: CancellationToken::new() };
        Self { current: Arc::new(ArcSwap::from_pointee(first)), on_refused: Arc::new(on_refused) }
    }

    /// Takes up other certificates. Connections made with the old ones finish what they are at and close,
    /// so that a client certificate that was revoked meanwhile does not live on in an open connection.
    pub fn replace(&self, config: Arc<rustls::ServerConfig>) {
        let next = Generation { config, retired: CancellationToken::new() };
        self.current.swap(Arc::new(next)).retired.cancel();
    }
}
