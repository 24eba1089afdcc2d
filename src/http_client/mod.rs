//! The one way out over HTTP: every call to the upstream and every webhook of ours leaves here.
//!
//! It bounds what a peer can do to us (time to connect, time to answer, size of the answer), follows
//! no redirect, uses no proxy it was not told of, and none on the way to this machine, sends no referrer, and
//! speaks plain HTTP to loopback addresses only. It decides one question where the error is born, because
//! nobody later can: was the request surely not sent, or is its outcome unknown (rule E2)?
//! [`Error::outcome`] tells.
//!
//! It must never put a URL's query, a header or a body into an error, a log line or `Debug` output:
//! they carry tokens and recipient-view URLs. It knows nothing of who is called, retries nothing
//! itself (except what HTTP/2 says was not processed), and no other module builds a client.

mod answer;
mod error;
mod look_ups;
mod names;
mod reach;
mod request;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::HeaderMap;
use url::Url;

pub use answer::{BodyStream, Response, StreamedResponse, date, retry_after};
pub use error::{BuildError, Error, Outcome};
pub use reach::{Reach, is_callable, is_loopback, is_public};
pub use request::{Request, Upload};

use answer::read_all;
use names::Remembering;
use reach::{PublicResolver, check_url};
use request::Segments;

/// What is sent as `User-Agent`.
pub const USER_AGENT: &str = concat!("countersign/", env!("CARGO_PKG_VERSION"));

/// How a client is built. Every limit is a number (rule S5).
#[derive(Debug, Clone)]
pub struct Options {
    /// PEM file whose certificates alone are trusted; none: the operating system's roots.
    pub ca_file: Option<PathBuf>,
    /// Time for name lookup, TCP and TLS together. Shorter than `timeout`, so that a host that is
    /// away is known as "not sent" and not as "outcome unknown".
    pub connect_timeout: Duration,
    /// Time for a whole exchange, unless the request sets its own. A streamed body is not counted.
    pub timeout: Duration,
    /// Longest silence in the middle of an answer, also of a streamed one.
    pub read_timeout: Duration,
    /// Largest answer that is read into memory, unless the request sets its own.
    pub response_limit_bytes: usize,
    /// How long an unused connection is kept. Under the 60 s at which balancers commonly hang up.
    pub idle_timeout: Duration,
    /// Unused connections kept for one host.
    pub idle_per_host: usize,
    /// Which addresses may be connected to.
    pub reach: Reach,
    /// A proxy that is asked for a tunnel (CONNECT) to every host but this machine. It resolves their names, so it does
    /// not go with [`Reach::PublicOnly`].
    pub proxy: Option<Url>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            ca_file: None,
            connect_timeout: Duration::from_secs(5),
            timeout: Duration::from_secs(30),
            read_timeout: Duration::from_secs(20),
            response_limit_bytes: 4 * 1024 * 1024,
            idle_timeout: Duration::from_secs(50),
            idle_per_host: 16,
            reach: Reach::Anywhere,
            proxy: None,
        }
    }
}

/// The client. Clones share one pool of connections.
#[derive(Clone)]
pub struct HttpClient {
    way: Way,
    timeout: Duration,
    response_limit_bytes: usize,
    reach: Reach,
    proxy: Option<Url>,
}

/// How requests travel.
#[derive(Clone)]
enum Way {
    Carrier(Arc<dyn Carrier>),
    Network(reqwest::Client),
}

/// Carries requests in place of the network: for a simulation, in which time and faults come from a seed.
///
/// It sees what would be on the wire, and nothing of ours.
pub trait Carrier: fmt::Debug + Send + Sync + 'static {
    /// Carries one request, and gives up after `timeout`. Without an answer it says what is known.
    fn carry(&self, request: http::Request<Bytes>, timeout: Duration) -> Carried;
}

/// A request on its way through a [`Carrier`].
pub type Carried = Pin<Box<dyn Future<Output = Result<http::Response<Bytes>, Outcome>> + Send>>;

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpClient")
            .field("timeout", &self.timeout)
            .field("reach", &self.reach)
            .finish_non_exhaustive()
    }
}

impl HttpClient {
    /// Builds a client; reads the CA file, if one is named, or the system's roots.
    pub fn new(options: &Options) -> Result<Self, BuildError> {
        #[expect(clippy::disallowed_methods, reason = "the one place that builds a client")]
        let mut builder = reqwest::Client::builder()
            .user_agent(USER_AGENT)
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .no_proxy()
            .connect_timeout(options.connect_timeout)
            .read_timeout(options.read_timeout)
            .pool_idle_timeout(options.idle_timeout)
            .pool_max_idle_per_host(options.idle_per_host)
            .tcp_nodelay(true)
            .tcp_keepalive(Duration::from_secs(15))
            .http2_keep_alive_interval(Duration::from_secs(30))
            .http2_keep_alive_timeout(Duration::from_secs(10));
        if let Some(path) = &options.ca_file {
            builder = builder.tls_certs_only(certificates(path)?);
        }
        if let Some(proxy) = options.proxy.clone() {
            let way = move |url: &Url| (!is_loopback(url)).then(|| proxy.clone());
            builder = builder.proxy(reqwest::Proxy::custom(way));
        }
        builder = match options.reach {
            Reach::PublicOnly => builder.dns_resolver(Arc::new(PublicResolver::new())),
            Reach::Anywhere => builder.dns_resolver(Arc::new(Remembering::new())),
        };
        Ok(Self {
            way: Way::Network(builder.build().map_err(BuildError::Tls)?),
            timeout: options.timeout,
            response_limit_bytes: options.response_limit_bytes,
            reach: options.reach,
            proxy: options.proxy.clone(),
        })
    }

    /// A client whose requests go through `carrier` and nowhere else. Time-outs are the carrier's to keep.
    pub fn carried_by(carrier: Arc<dyn Carrier>, options: &Options) -> Self {
        Self {
            way: Way::Carrier(carrier),
            timeout: options.timeout,
            response_limit_bytes: options.response_limit_bytes,
            reach: options.reach,
            proxy: None,
        }
    }

    /// Sends a request and reads the whole answer, whatever its status.
    pub async fn send(&self, request: Request) -> Result<Response, Error> {
        let timeout = request.timeout.unwrap_or(self.timeout);
        let limit = request.response_limit_bytes.unwrap_or(self.response_limit_bytes);
        let exchange = async {
            let mut response = self.start(request, None, timeout).await?;
            let (status, headers) = (response.status(), std::mem::take(response.headers_mut()));
            let body = read_all(&mut response, limit).await?;
            Ok(Response { status, headers, body })
        };
        self.within(timeout, exchange).await
    }

    /// Sends a request and hands back the answer as soon as its header is here, the body as a stream.
    ///
    /// The time-out covers the way to the header; after that only silence ends the stream early.
    pub async fn open(&self, request: Request) -> Result<StreamedResponse, Error> {
        self.begin(request, None).await
    }

    /// As [`open`](Self::open), with a body that is sent as it arrives, once. The time-out covers its way, too.
    pub async fn open_upload(&self, request: Request, upload: Upload) -> Result<StreamedResponse, Error> {
        self.begin(request, Some(upload)).await
    }

    async fn begin(&self, request: Request, upload: Option<Upload>) -> Result<StreamedResponse, Error> {
        let timeout = request.timeout.unwrap_or(self.timeout);
        let limit = request.response_limit_bytes.unwrap_or(usize::MAX);
        let mut response = self.within(timeout, self.start(request, upload, timeout)).await?;
        let (status, headers) = (response.status(), std::mem::take(response.headers_mut()));
        Ok(StreamedResponse { status, headers, response, limit })
    }

    async fn within<T>(
        &self,
        timeout: Duration,
        exchange: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        match &self.way {
            Way::Carrier(_) => exchange.await,
            Way::Network(_) => tokio::time::timeout(timeout, exchange).await.unwrap_or(Err(Error::TimedOut)),
        }
    }

    async fn start(
        &self,
        mut request: Request,
        upload: Option<Upload>,
        timeout: Duration,
    ) -> Result<reqwest::Response, Error> {
        check_url(&request.url, self.reach)?;
        let method = request.method.clone();
        let host = tracing::enabled!(tracing::Level::DEBUG)
            .then(|| request.url.host_str().unwrap_or_default().to_owned());
        let sent = match &self.way {
            Way::Carrier(carrier) => {
                if let Some(upload) = upload {
                    let whole = http_body_util::BodyExt::collect(upload).await?.to_bytes();
                    request.body = Segments::from(vec![whole]);
                }
                Box::pin(carry(&**carrier, request, timeout)).await
            }
            Way::Network(client) => {
                let body = upload.map_or_else(|| request.body.into_body(), reqwest::Body::wrap);
                let outgoing = client.request(request.method, request.url).body(body).build();
                let sent = outgoing.map(|mut outgoing| {
                    set_headers(outgoing.headers_mut(), request.headers);
                    client.execute(outgoing)
                });
                match sent {
                    Ok(sent) => sent.await.map_err(|error| Error::from_send(error, self.proxy.as_ref())),
                    Err(error) => Err(Error::from_send(error, None)),
                }
            }
        };
        match &sent {
            Ok(response) => {
                tracing::debug!(%method, host, status = response.status().as_u16(), "answer from outside");
            }
            Err(error) => tracing::debug!(%method, host, %error, "no answer from outside"),
        }
        sent
    }
}

/// Puts headers beside what a URL's own credentials have become, which is rare, or in the place of nothing.
fn set_headers(there: &mut HeaderMap, headers: HeaderMap) {
    if there.is_empty() {
        *there = headers;
    } else {
        there.extend(headers);
    }
}

async fn carry(
    carrier: &dyn Carrier,
    request: Request,
    timeout: Duration,
) -> Result<reqwest::Response, Error> {
    let body = Vec::from(request.body.pieces).concat();
    let mut wire = http::Request::new(Bytes::from(body));
    *wire.method_mut() = request.method;
    *wire.headers_mut() = request.headers;
    // A URL that was checked has a host, and so is an absolute URI.
    *wire.uri_mut() = request.url.as_str().parse().map_err(|_| Error::Refused("it is no URI"))?;
    match carrier.carry(wire, timeout).await {
        Ok(response) => Ok(reqwest::Response::from(response)),
        Err(Outcome::NotSent) => Err(Error::Refused("nobody is there")),
        Err(Outcome::Unknown) => Err(Error::TimedOut),
    }
}

fn certificates(path: &Path) -> Result<Vec<reqwest::Certificate>, BuildError> {
    let pem = std::fs::read(path).map_err(|source| BuildError::CaFile { path: path.to_owned(), source })?;
    match reqwest::Certificate::from_pem_bundle(&pem) {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(BuildError::CaFileEmpty { path: path.to_owned() }),
    }
}
