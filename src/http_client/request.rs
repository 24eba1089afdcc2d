//! What is sent: one request, with a body that need not be joined, or that is sent as it arrives.

use std::{
    collections::VecDeque,
    fmt,
    pin::Pin,
    sync::{Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use url::Url;

use super::{BodyStream, Error};

/// One request. Built with a method's name, sent with [`HttpClient::send`] or [`HttpClient::open`].
#[derive(Clone)]
pub struct Request {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: Segments,
    pub(super) timeout: Option<Duration>,
    pub(super) response_limit_bytes: Option<usize>,
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
pub(super) struct Segments {
    pub(super) pieces: VecDeque<Bytes>,
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
    pub(super) fn into_body(mut self) -> reqwest::Body {
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
