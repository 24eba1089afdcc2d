//! Why there is no answer, and whether the request was surely not sent (rule E2).

use std::path::PathBuf;

use url::Url;

use super::is_loopback;

/// Why a client could not be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The CA file could not be read.
    #[error("cannot read the CA file {}", path.display())]
    CaFile {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The CA file holds no usable certificate.
    #[error("the CA file {} holds no certificate in PEM form", path.display())]
    CaFileEmpty {
        /// The file.
        path: PathBuf,
    },
    /// TLS could not be set up; commonly an image without a CA bundle.
    #[error("cannot set up TLS: install the system's CA certificates or name a CA file")]
    Tls(#[source] reqwest::Error),
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The connection broke before an answer was here.
    #[error("the connection broke before the answer was here")]
    Broken(#[source] reqwest::Error),
    /// No connection could be made.
    #[error("cannot connect to {host}")]
    Connect {
        /// Where to: the host, and its port if it is not the usual one.
        host: String,
        /// The cause.
        source: reqwest::Error,
    },
    /// The host's name could not be resolved.
    #[error("cannot resolve the name {host}")]
    Dns {
        /// The host.
        host: String,
        /// The cause.
        source: reqwest::Error,
    },
    /// The proxy on the way is away, or refuses: the request has not left.
    #[error("cannot connect to {host} through the proxy {proxy}")]
    Proxy {
        /// Where to.
        host: String,
        /// The proxy, with its port.
        proxy: String,
        /// The cause.
        source: reqwest::Error,
    },
    /// The URL is one that this client does not call.
    #[error("this address is not called: {0}")]
    Refused(&'static str),
    /// No TLS session could be agreed on: a certificate that is not trusted, most likely.
    #[error("no TLS session with {host}")]
    Tls {
        /// The host.
        host: String,
        /// The cause.
        source: reqwest::Error,
    },
    /// The time was up.
    #[error("no answer in time")]
    TimedOut,
    /// The body that was to be sent broke off.
    #[error("the body that was being sent broke off")]
    SourceBroke,
    /// The answer is larger than its limit.
    #[error("the answer is larger than its limit")]
    TooLarge,
    /// The answer began and did not end.
    #[error("the answer was cut off")]
    Truncated(#[source] reqwest::Error),
}

/// What is known of a request that got no answer (rule E2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// No byte of it reached the peer: sending it again is safe.
    NotSent,
    /// The peer may have acted on it.
    Unknown,
}

impl Error {
    /// Whether the request was surely not sent.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Connect { .. }
            | Self::Dns { .. }
            | Self::Proxy { .. }
            | Self::Refused(_)
            | Self::Tls { .. } => Outcome::NotSent,
            Self::Broken(_) | Self::SourceBroke | Self::TimedOut | Self::TooLarge | Self::Truncated(_) => {
                Outcome::Unknown
            }
        }
    }

    pub(super) fn from_send(error: reqwest::Error, proxy: Option<&Url>) -> Self {
        let host = error.url().map(host_of).unwrap_or_default();
        let proxy = proxy.filter(|_| error.url().is_some_and(|url| !is_loopback(url))).map(host_of);
        // The URL goes: its path and query may be secrets.
        let source = error.without_url();
        // All of connecting is the proxy's, from its own name on; a certificate may be either's.
        if let Some(proxy) = proxy.filter(|_| source.is_connect()) {
            if is_tls(&source) {
                return Self::Tls { host: format!("{host} through the proxy {proxy}"), source };
            }
            return Self::Proxy { host, proxy, source };
        }
        if source.is_dns() {
            return Self::Dns { host, source };
        }
        if source.is_connect() {
            return if is_tls(&source) { Self::Tls { host, source } } else { Self::Connect { host, source } };
        }
        if source.is_timeout() { Self::TimedOut } else { Self::Broken(source) }
    }

    pub(super) fn from_body(error: reqwest::Error) -> Self {
        if error.is_timeout() { Self::TimedOut } else { Self::Truncated(error.without_url()) }
    }
}

/// The host of a URL, with its port if that is not the usual one.
fn host_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// Looks for rustls below the layers of reqwest, hyper and io.
fn is_tls(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.is::<rustls::Error>() {
            return true;
        }
        // An io::Error hides what it carries from `source`.
        let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        next = match inner {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    false
}
