//! The one way out over HTTP: every call to the upstream and every webhook of ours leaves here.
//!
//! It bounds what a peer can do to us (time to connect, time to answer, size of the answer), follows
//! no redirect, uses no proxy it was not told of, sends no referrer, and speaks plain HTTP to loopback
//! addresses only. It decides one question where the error is born, because nobody later can: was
//! the request surely not sent, or is its outcome unknown (rule E2)? [`Error::outcome`] tells.
//!
//! It must never put a URL's query, a header or a body into an error, a log line or `Debug` output:
//! they carry tokens and recipient-view URLs. It knows nothing of who is called, retries nothing
//! itself (except what HTTP/2 says was not processed), and no other module builds a client.

use std::{
    collections::VecDeque,
    fmt,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use jiff::Timestamp;
use url::{Host, Url};

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
        }
    }
}

/// Which addresses a client may connect to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Any address.
    Anywhere,
    /// Only addresses of the public internet (rule F4). Checked on what a name resolves to, so a
    /// name that points inside does not help, nor one that changes after a first look.
    PublicOnly,
}

/// The client. Clones share one pool of connections.
#[derive(Clone)]
pub struct HttpClient {
    way: Way,
    timeout: Duration,
    response_limit_bytes: usize,
    reach: Reach,
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
        if options.reach == Reach::PublicOnly {
            builder = builder.dns_resolver(Arc::new(PublicResolver));
        }
        Ok(Self {
            way: Way::Network(builder.build().map_err(BuildError::Tls)?),
            timeout: options.timeout,
            response_limit_bytes: options.response_limit_bytes,
            reach: options.reach,
        })
    }

    /// A client whose requests go through `carrier` and nowhere else. Time-outs are the carrier's to keep.
    pub fn carried_by(carrier: Arc<dyn Carrier>, options: &Options) -> Self {
        Self {
            way: Way::Carrier(carrier),
            timeout: options.timeout,
            response_limit_bytes: options.response_limit_bytes,
            reach: options.reach,
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
        let (method, host) = (request.method.clone(), request.url.host_str().unwrap_or_default().to_owned());
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
                let sent = client.request(request.method, request.url).headers(request.headers).body(body);
                sent.send().await.map_err(Error::from_send)
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

/// One request. Built with a method's name, sent with [`HttpClient::send`] or [`HttpClient::open`].
#[derive(Clone)]
pub struct Request {
    method: Method,
    url: Url,
    headers: HeaderMap,
    body: Segments,
    timeout: Option<Duration>,
    response_limit_bytes: Option<usize>,
}

impl Request {
    /// A request without headers or body.
    pub fn new(method: Method, url: Url) -> Self {
        let (headers, body) = (HeaderMap::new(), Segments::default());
        Self { method, url, headers, body, timeout: None, response_limit_bytes: None }
    }

    /// A `GET`.
    pub fn get(url: Url) -> Self {
        Self::new(Method::GET, url)
    }

    /// A `POST`, still without a body.
    pub fn post(url: Url) -> Self {
        Self::new(Method::POST, url)
    }

    /// A `PUT`, still without a body.
    pub fn put(url: Url) -> Self {
        Self::new(Method::PUT, url)
    }

    /// Sets a header, replacing one of that name.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// Sets the `Authorization` header, marked so that nothing below prints or indexes it.
    #[must_use]
    pub fn authorization(self, mut value: HeaderValue) -> Self {
        value.set_sensitive(true);
        self.header(header::AUTHORIZATION, value)
    }

    /// Sets the body and its type.
    #[must_use]
    pub fn body(mut self, content_type: HeaderValue, body: impl Into<Bytes>) -> Self {
        self.body = Segments::from(vec![body.into()]);
        self.header(header::CONTENT_TYPE, content_type)
    }

    /// Sets a body that is written one segment after another, so that large ones need not be joined.
    #[must_use]
    pub fn segments(mut self, content_type: HeaderValue, segments: Vec<Bytes>) -> Self {
        self.body = Segments::from(segments);
        self.header(header::CONTENT_TYPE, content_type)
    }

    /// Sets a JSON body that is already written.
    #[must_use]
    pub fn json(self, body: impl Into<Bytes>) -> Self {
        self.body(HeaderValue::from_static("application/json"), body)
    }

    /// Sets a form body from its fields, in their order.
    #[must_use]
    pub fn form<'a>(self, fields: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        self.body(HeaderValue::from_static("application/x-www-form-urlencoded"), body)
    }

    /// Gives this exchange its own time-out.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Gives this exchange its own limit on the answer's body.
    #[must_use]
    pub fn response_limit_bytes(mut self, limit: usize) -> Self {
        self.response_limit_bytes = Some(limit);
        self
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("host", &self.url.host_str())
            .field("body_bytes", &self.body.left)
            .finish_non_exhaustive()
    }
}

/// A body in pieces, of a length that is known.
#[derive(Clone, Default)]
struct Segments {
    pieces: VecDeque<Bytes>,
    left: u64,
}

impl From<Vec<Bytes>> for Segments {
    fn from(pieces: Vec<Bytes>) -> Self {
        let pieces: VecDeque<Bytes> = pieces.into_iter().filter(|piece| !piece.is_empty()).collect();
        let left = pieces.iter().map(|piece| piece.len() as u64).sum();
        Self { pieces, left }
    }
}

impl Segments {
    fn into_body(mut self) -> reqwest::Body {
        match self.pieces.len() {
            // A body of one piece is one that the connection may send again if HTTP/2 says so.
            0 | 1 => self.pieces.pop_front().unwrap_or_default().into(),
            _ => reqwest::Body::wrap(self),
        }
    }
}

impl http_body::Body for Segments {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
        let piece = self.pieces.pop_front();
        self.left = self.left.saturating_sub(piece.as_ref().map_or(0, |piece| piece.len() as u64));
        Poll::Ready(piece.map(|piece| Ok(http_body::Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_empty()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        http_body::SizeHint::with_exact(self.left)
    }
}

/// A body that is sent as it arrives, without being kept: it can be sent once.
pub struct Upload {
    /// Behind a lock only because the client wants it shareable; nobody waits for it.
    pieces: Mutex<BodyStream>,
    left: Option<u64>,
}

impl Upload {
    /// The pieces, and how many bytes they are together, if that is known. An error among them ends the
    /// request before its end.
    pub fn new(pieces: BodyStream, length: Option<u64>) -> Self {
        Self { pieces: Mutex::new(pieces), left: length }
    }
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upload").field("left", &self.left).finish_non_exhaustive()
    }
}

impl http_body::Body for Upload {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Error>>> {
        let pieces = self.pieces.get_mut().unwrap_or_else(PoisonError::into_inner);
        let piece = std::task::ready!(pieces.as_mut().poll_next(context));
        if let (Some(Ok(piece)), Some(left)) = (&piece, &mut self.left) {
            *left = left.saturating_sub(piece.len() as u64);
        }
        Poll::Ready(piece.map(|piece| piece.map(http_body::Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.left == Some(0)
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.left.map_or_else(http_body::SizeHint::default, http_body::SizeHint::with_exact)
    }
}

/// An answer, read whole. Its body may be secret, so `Debug` shows only its size.
pub struct Response {
    /// The status, of any class.
    pub status: StatusCode,
    /// All headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Response {
    /// What the peer's clock showed when it answered, to the second ([`date`]).
    pub fn date(&self) -> Option<Timestamp> {
        date(&self.headers)
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response")
            .field("status", &self.status)
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// An answer whose body is still on its way.
pub struct StreamedResponse {
    /// The status, of any class.
    pub status: StatusCode,
    /// All headers.
    pub headers: HeaderMap,
    response: reqwest::Response,
    limit: usize,
}

/// The pieces of a body as they arrive.
pub type BodyStream = Pin<Box<dyn Stream<Item = Result<Bytes, Error>> + Send>>;

impl StreamedResponse {
    /// What the peer's clock showed when it answered ([`date`]).
    pub fn date(&self) -> Option<Timestamp> {
        date(&self.headers)
    }

    /// The rest of the body, read into memory up to a limit: for an answer that turns out to be an error.
    pub async fn read(mut self, limit: usize) -> Result<Response, Error> {
        let body = read_all(&mut self.response, limit.min(self.limit)).await?;
        Ok(Response { status: self.status, headers: self.headers, body })
    }

    /// The body as a stream. It ends with an error if the peer stops early or sends more than the limit.
    pub fn into_stream(self) -> BodyStream {
        let state = Some((self.response, self.limit));
        Box::pin(futures_util::stream::unfold(state, |state| async {
            let (mut response, left) = state?;
            match response.chunk().await {
                Ok(None) => None,
                Ok(Some(chunk)) => match left.checked_sub(chunk.len()) {
                    Some(left) => Some((Ok(chunk), Some((response, left)))),
                    None => Some((Err(Error::TooLarge), None)),
                },
                Err(error) => Some((Err(Error::from_body(error)), None)),
            }
        }))
    }
}

impl fmt::Debug for StreamedResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamedResponse").field("status", &self.status).finish_non_exhaustive()
    }
}

/// The `Date` header as a time: the only reading of the peer's clock that there is (rule T9).
pub fn date(headers: &HeaderMap) -> Option<Timestamp> {
    let text = headers.get(header::DATE)?.to_str().ok()?;
    Timestamp::try_from(httpdate::parse_http_date(text).ok()?).ok()
}

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
    #[error("cannot connect")]
    Connect(#[source] reqwest::Error),
    /// The host's name could not be resolved.
    #[error("cannot resolve the host's name")]
    Dns(#[source] reqwest::Error),
    /// The URL is one that this client does not call.
    #[error("this address is not called: {0}")]
    Refused(&'static str),
    /// No TLS session could be agreed on: a certificate that is not trusted, most likely.
    #[error("TLS failed")]
    Tls(#[source] reqwest::Error),
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
            Self::Connect(_) | Self::Dns(_) | Self::Refused(_) | Self::Tls(_) => Outcome::NotSent,
            Self::Broken(_) | Self::SourceBroke | Self::TimedOut | Self::TooLarge | Self::Truncated(_) => {
                Outcome::Unknown
            }
        }
    }

    fn from_send(error: reqwest::Error) -> Self {
        // The URL goes first: it may be a secret.
        let error = error.without_url();
        if error.is_dns() {
            return Self::Dns(error);
        }
        if error.is_connect() {
            return if is_tls(&error) { Self::Tls(error) } else { Self::Connect(error) };
        }
        if error.is_timeout() { Self::TimedOut } else { Self::Broken(error) }
    }

    fn from_body(error: reqwest::Error) -> Self {
        if error.is_timeout() { Self::TimedOut } else { Self::Truncated(error.without_url()) }
    }
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

async fn read_all(response: &mut reqwest::Response, limit: usize) -> Result<Bytes, Error> {
    // What the peer announces is believed only for refusing, never for reserving memory.
    if response.content_length().is_some_and(|length| length > limit as u64) {
        return Err(Error::TooLarge);
    }
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(Error::from_body)? {
        if chunk.len() > limit - body.len() {
            return Err(Error::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

fn certificates(path: &Path) -> Result<Vec<reqwest::Certificate>, BuildError> {
    let pem = std::fs::read(path).map_err(|source| BuildError::CaFile { path: path.to_owned(), source })?;
    match reqwest::Certificate::from_pem_bundle(&pem) {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(BuildError::CaFileEmpty { path: path.to_owned() }),
    }
}

/// Whether a URL is one that a client of any [`Reach`] would call.
pub fn is_callable(url: &Url) -> bool {
    check_url(url, Reach::Anywhere).is_ok()
}

/// Plain HTTP is for loopback alone: a token must not cross a wire in the clear because of a typo.
fn check_url(url: &Url, reach: Reach) -> Result<(), Error> {
    let address = match url.host() {
        Some(Host::Ipv4(address)) => Some(IpAddr::V4(address)),
        Some(Host::Ipv6(address)) => Some(IpAddr::V6(address)),
        Some(Host::Domain(_)) => None,
        None => return Err(Error::Refused("it has no host")),
    };
    let loopback = address.is_some_and(|address| address.is_loopback())
        || matches!(url.host(), Some(Host::Domain("localhost")));
    match (url.scheme(), loopback) {
        ("https", _) | ("http", true) => {}
        ("http", false) => return Err(Error::Refused("plain HTTP is for loopback only")),
        _ => return Err(Error::Refused("it is not HTTP")),
    }
    if reach == Reach::PublicOnly && (loopback || address.is_some_and(|address| !is_public(address))) {
        return Err(Error::Refused("it is not on the public internet"));
    }
    Ok(())
}

/// Whether an address belongs to the public internet, by the IANA special-purpose registries.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, _] = address.octets();
            !(a == 0
                || a == 10
                || a == 127
                || a >= 224
                || (a == 100 && (64..128).contains(&b))
                || (a == 169 && b == 254)
                || (a == 172 && (16..32).contains(&b))
                || (a == 192 && b == 168)
                || (a == 192 && b == 0 && (c == 0 || c == 2))
                || (a == 198 && (18..20).contains(&b))
                || (a == 198 && b == 51 && c == 100)
                || (a == 203 && b == 0 && c == 113))
        }
        IpAddr::V6(address) => {
            if let Some(inside) = address.to_ipv4_mapped() {
                return is_public(IpAddr::V4(inside));
            }
            let [first, second, ..] = address.segments();
            // Only 2000::/3 is handed out. 6to4, Teredo and documentation lie inside it; the first
            // two wrap an IPv4 address that a gateway would unwrap.
            (first & 0xe000) == 0x2000
                && first != 0x2002
                && !(first == 0x2001 && (second < 0x0200 || second == 0x0db8))
        }
    }
}

/// Resolves as the system does, and drops what is not public.
struct PublicResolver;

impl reqwest::dns::Resolve for PublicResolver {
    fn resolve(&self, name: reqwest::dns::Name) -> reqwest::dns::Resolving {
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0))
                .await?
                .filter(|address| is_public(address.ip()))
                .collect();
            if found.is_empty() {
                return Err("the name leads to no public address".into());
            }
            Ok(Box::new(found.into_iter()) as reqwest::dns::Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::StreamExt as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// Answers every connection with the same bytes and hangs up.
    async fn serve(answer: &'static [u8]) -> (Url, Arc<AtomicUsize>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("http://{}/x?secret=1", listener.local_addr().unwrap())).unwrap();
        let seen = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                counter.fetch_add(1, Ordering::SeqCst);
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream.write_all(answer).await;
                let _ = stream.shutdown().await;
            }
        });
        (url, seen)
    }

    fn client(change: impl FnOnce(&mut Options)) -> HttpClient {
        let mut options = Options::default();
        change(&mut options);
        HttpClient::new(&options).unwrap()
    }

    fn text(error: &Error) -> String {
        format!("{error} {error:?}")
    }

    #[tokio::test]
    async fn an_answer_is_read_whole_with_its_date() {
        let (url, _) =
            serve(b"HTTP/1.1 418 x\r\nDate: Thu, 01 Jan 1970 00:00:09 GMT\r\nContent-Length: 2\r\n\r\nhi")
                .await;
        let answer = client(|_| ()).send(Request::get(url)).await.unwrap();
        assert_eq!((answer.status.as_u16(), &answer.body[..]), (418, &b"hi"[..]));
        assert_eq!(answer.date(), Some(Timestamp::from_second(9).unwrap()));
    }

    #[tokio::test]
    async fn redirects_are_answers() {
        let (url, seen) =
            serve(b"HTTP/1.1 302 x\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n").await;
        let answer = client(|_| ()).send(Request::get(url)).await.unwrap();
        assert_eq!(answer.status.as_u16(), 302);
        assert_eq!(seen.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn what_was_surely_not_sent_is_told_from_what_is_unknown() {
        let closed = {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            Url::parse(&format!("http://{}/?secret=1", listener.local_addr().unwrap())).unwrap()
        };
        let error = client(|_| ()).send(Request::post(closed)).await.unwrap_err();
        assert!(matches!(error, Error::Connect(_)) && error.outcome() == Outcome::NotSent, "{error:?}");
        assert!(!text(&error).contains("secret"));

        let unknown_name = Url::parse("https://no-such-host.invalid/?secret=1").unwrap();
        let error = client(|_| ()).send(Request::post(unknown_name)).await.unwrap_err();
        assert!(matches!(error, Error::Dns(_)) && error.outcome() == Outcome::NotSent, "{error:?}");
        assert!(!text(&error).contains("secret"));

        let (mut url, _) = serve(b"no TLS here").await;
        url.set_scheme("https").unwrap();
        let error = client(|_| ()).send(Request::post(url)).await.unwrap_err();
        assert!(matches!(error, Error::Tls(_)) && error.outcome() == Outcome::NotSent, "{error:?}");

        let (url, _) = serve(b"").await;
        let error = client(|_| ()).send(Request::post(url)).await.unwrap_err();
        assert!(matches!(error, Error::Broken(_)) && error.outcome() == Outcome::Unknown, "{error:?}");
        assert!(!text(&error).contains("secret"));

        let (url, _) = serve(b"HTTP/1.1 200 x\r\nContent-Length: 9\r\n\r\nhalf").await;
        let error = client(|_| ()).send(Request::post(url)).await.unwrap_err();
        assert!(matches!(error, Error::Truncated(_)) && error.outcome() == Outcome::Unknown, "{error:?}");
    }

    #[tokio::test]
    async fn a_silent_peer_costs_no_more_than_the_timeout() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
        let request = Request::post(url).timeout(Duration::from_millis(30));
        let error = client(|_| ()).send(request).await.unwrap_err();
        assert!(matches!(error, Error::TimedOut) && error.outcome() == Outcome::Unknown);
    }

    #[tokio::test]
    async fn an_endless_answer_is_cut_at_the_limit() {
        let (url, _) = serve(b"HTTP/1.1 200 x\r\nContent-Length: 1000000000\r\n\r\n").await;
        let error = client(|_| ()).send(Request::get(url)).await.unwrap_err();
        assert!(matches!(error, Error::TooLarge));
        let (url, _) = serve(b"HTTP/1.1 200 x\r\nConnection: close\r\n\r\n0123456789").await;
        let request = Request::get(url).response_limit_bytes(9);
        let error = client(|_| ()).send(request.clone()).await.unwrap_err();
        assert!(matches!(error, Error::TooLarge));
        let body = client(|_| ()).open(request).await.unwrap().into_stream().collect::<Vec<_>>().await;
        assert!(matches!(body.last(), Some(Err(Error::TooLarge))));
    }

    #[tokio::test]
    async fn a_stream_that_ends_early_ends_with_an_error() {
        let (url, _) = serve(b"HTTP/1.1 200 x\r\nContent-Length: 9\r\n\r\nhalf").await;
        let answer = client(|_| ()).open(Request::get(url)).await.unwrap();
        let pieces: Vec<_> = answer.into_stream().collect().await;
        assert!(matches!(pieces.last(), Some(Err(Error::Truncated(_)))), "{pieces:?}");
    }

    #[tokio::test]
    async fn plain_http_and_inner_addresses_are_refused() {
        let refused = async |reach: Reach, url: &str| {
            let request = Request::get(Url::parse(url).unwrap()).timeout(Duration::from_secs(2));
            matches!(client(|o| o.reach = reach).send(request).await, Err(Error::Refused(_)))
        };
        assert!(refused(Reach::Anywhere, "http://example.com/").await);
        assert!(refused(Reach::Anywhere, "ftp://127.0.0.1/").await);
        for url in ["https://127.0.0.1/", "https://10.0.0.1/", "https://[::1]/", "https://169.254.169.254/"] {
            assert!(refused(Reach::PublicOnly, url).await, "{url}");
        }
        // A name that leads inside is caught after it was resolved.
        let request = Request::get(Url::parse("https://ip6-localhost./").unwrap());
        assert!(client(|o| o.reach = Reach::PublicOnly).send(request).await.is_err());
    }

    #[test]
    fn public_addresses_are_told_from_special_ones() {
        for inner in ["0.0.0.0", "100.64.0.1", "172.31.0.1", "192.168.1.1", "198.18.0.1", "255.255.255.255"]
            .into_iter()
            .chain([
                "::",
                "::ffff:10.0.0.1",
                "fe80::1",
                "fc00::1",
                "2001:db8::1",
                "2002:a00:1::",
                "64:ff9b::a00:1",
            ])
        {
            assert!(!is_public(inner.parse().unwrap()), "{inner}");
        }
        for outer in ["1.1.1.1", "100.63.0.1", "172.32.0.1", "2606:4700::1111", "2001:4860:4860::8888"] {
            assert!(is_public(outer.parse().unwrap()), "{outer}");
        }
    }

    #[test]
    fn a_ca_file_that_is_not_one_is_named() {
        let build = |path: &str| {
            HttpClient::new(&Options { ca_file: Some(path.into()), ..Options::default() })
                .unwrap_err()
                .to_string()
        };
        assert!(build("/nonexistent/ca.pem").contains("/nonexistent/ca.pem"));
        assert!(build("Cargo.toml").contains("no certificate"));
    }

    #[test]
    fn debug_shows_no_query_header_or_body() {
        let request = Request::post(Url::parse("https://example.com/a?secret").unwrap())
            .authorization(HeaderValue::from_static("Bearer secret"))
            .form([("assertion", "secret")]);
        assert!(!format!("{request:?}").contains("secret"));
    }
}
