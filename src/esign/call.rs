//! One call and its answer, as values: what is asked, how long it may take, what came.
//!
//! Must send nothing, and hold no token: that is put on when it is sent.

use std::{
    pin::Pin,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use url::Url;

use super::{Error, client::trace};
use crate::{
    auth::AccessToken,
    budget::{Operation, Priority},
    clock::Deadline,
    http_client::{Request, StreamedResponse, Upload},
};

/// The longest that a call may take which is passed through: it may carry a large body both ways.
const FORWARD_TIMEOUT: Duration = Duration::from_secs(120);

/// What has to be done before a call leaves, once nothing holds it back any more: if it fails, the call is not sent.
pub type Announcement = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

/// One call, ready to be sent any number of times.
pub(super) struct Call {
    pub(super) operation: Operation,
    pub(super) priority: Priority,
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: Option<(HeaderValue, Vec<Bytes>)>,
    /// A body that is sent as it arrives, in place of `body`; gone once it was sent.
    pub(super) upload: Mutex<Option<Upload>>,
    /// Gone once it was made: what is sent again is the same act.
    pub(super) announcement: Mutex<Option<Announcement>>,
    pub(super) deadline: Deadline,
    pub(super) limit_bytes: usize,
    pub(super) is_streamed: bool,
    /// Whether a refusal is handed on as the upstream words it, because a foreign client reads it.
    pub(super) is_passed_on: bool,
}

impl Call {
    pub(super) fn new(operation: Operation, method: Method, url: Url, deadline: Deadline) -> Self {
        Self {
            operation,
            priority: operation.priority(),
            method,
            url,
            headers: HeaderMap::new(),
            body: None,
            upload: Mutex::new(None),
            announcement: Mutex::new(None),
            deadline,
            limit_bytes: 4 * 1024 * 1024,
            is_streamed: false,
            is_passed_on: false,
        }
    }

    pub(super) fn get(operation: Operation, url: Url, deadline: Deadline) -> Self {
        Self::new(operation, Method::GET, url, deadline)
    }

    /// Sets a JSON body.
    pub(super) fn json(self, body: Vec<u8>) -> Self {
        self.segments(vec![body.into()])
    }

    /// Sets a JSON body in pieces.
    pub(super) fn segments(mut self, pieces: Vec<Bytes>) -> Self {
        self.body = Some((HeaderValue::from_static("application/json"), pieces));
        self
    }

    /// Has it announced before it leaves.
    pub(super) fn announced(mut self, announcement: Option<Announcement>) -> Self {
        self.announcement = Mutex::new(announcement);
        self
    }

    /// What is still to be done before it leaves; the next who asks has nothing to do.
    pub(super) fn take_announcement(&self) -> Option<Announcement> {
        self.announcement.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Asks for the body as a stream.
    pub(super) fn streamed(mut self) -> Self {
        self.is_streamed = true;
        self
    }

    pub(super) fn is_upload(&self) -> bool {
        self.upload.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    pub(super) fn request(&self, token: &AccessToken, timeout: Duration) -> Request {
        let mut request = Request::new(self.method.clone(), self.url.clone())
            .timeout(timeout)
            .response_limit_bytes(self.limit_bytes)
            .header(header::ACCEPT, HeaderValue::from_static("application/json"));
        for (name, value) in &self.headers {
            request = request.header(name.clone(), value.clone());
        }
        if let Some((content_type, pieces)) = &self.body {
            request = request.segments(content_type.clone(), pieces.clone());
        }
        request.authorization(token.header().clone())
    }
}

/// The longest that a call may take by itself, where the settings let one take so long. Creates convert and search
/// documents; what is passed through goes at its own caller's pace, and has a time of its own.
pub(super) fn longest(operation: Operation, request_timeout: Duration) -> Duration {
    let seconds = match operation {
        Operation::Forward => return FORWARD_TIMEOUT,
        Operation::CreateEnvelope | Operation::Document => 60,
        Operation::Find | Operation::ListChanges => 30,
        Operation::CreateView | Operation::Envelope | Operation::Recipients => 20,
        _ => 15,
    };
    Duration::from_secs(seconds).min(request_timeout)
}

/// An answer: a success, or what is passed on.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Body,
}

/// An answer's body.
pub(super) enum Body {
    Streamed(Box<StreamedResponse>),
    Whole(Bytes),
}

impl Answer {
    /// The vendor's trace id.
    pub(super) fn trace(&self) -> Option<String> {
        trace(&self.headers)
    }

    /// Decodes the JSON of a whole answer.
    pub(super) fn decode<T: serde::de::DeserializeOwned>(&self) -> Result<T, Error> {
        let Body::Whole(body) = &self.body else { return Err(self.bad("it was not read")) };
        serde_json::from_slice(body).map_err(|_| self.bad("it is not the JSON that was expected"))
    }

    /// An error about what the answer lacks.
    pub(super) fn bad(&self, what: &'static str) -> Error {
        Error::BadAnswer { status: self.status.as_u16(), what, trace: self.trace() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s5_no_call_of_ours_takes_longer_than_the_settings_let_it() {
        let short = Duration::from_secs(3);
        for &operation in Operation::ALL {
            let expected = if operation == Operation::Forward { FORWARD_TIMEOUT } else { short };
            assert_eq!(longest(operation, short), expected, "{operation:?}");
        }
        let long = Duration::from_secs(3_600);
        assert_eq!(longest(Operation::CreateEnvelope, long), Duration::from_secs(60));
        assert_eq!(longest(Operation::CreateView, long), Duration::from_secs(20));
    }
}
