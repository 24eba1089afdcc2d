//! A request as the handlers see it, and the answers they give.
//!
//! Handlers are plain functions of the world and a [`Call`]: no async, no sockets, no clock of their
//! own. Whatever the transport does to an answer (faults, headers of the vendor) happens in
//! [`super::server`].
//!
//! Source of the error shape: developers.docusign.com, eSignature REST API, "Error codes".

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::lenient_json;

/// One request to a vendor path or to the control interface.
#[derive(Debug)]
pub(super) struct Call {
    /// Its number in the request log; the judge names requests by it.
    pub(super) number: u64,
    /// The method.
    pub(super) method: Method,
    /// The path as it was sent.
    pub(super) path: String,
    /// The path, split at `/` and percent-decoded: `/restapi/v2.1/accounts/{a}` has four.
    pub(super) segments: Vec<String>,
    /// The query, decoded, in order.
    pub(super) query: Vec<(String, String)>,
    /// The headers.
    pub(super) headers: HeaderMap,
    /// The whole body.
    pub(super) body: Bytes,
    /// The account that the path names, once it was checked: its GUID.
    pub(super) account: Option<String>,
    /// The user whom the bearer token stands for: a GUID.
    pub(super) user: Option<String>,
    /// The emulator's time.
    pub(super) now: Timestamp,
    /// The origin that the request came to, from its `Host`: `http://127.0.0.1:8443`.
    pub(super) origin: String,
}

impl Call {
    /// The first value of a query parameter.
    pub(super) fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Whether a query parameter is `true`.
    pub(super) fn asks_for(&self, name: &str) -> bool {
        self.query(name).is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    /// A header as text.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The segments as string slices, to match on.
    pub(super) fn route(&self) -> Vec<&str> {
        self.segments.iter().map(String::as_str).collect()
    }

    /// What follows `/restapi/v2.1/accounts/{a}`; empty for any other path.
    pub(super) fn below_account(&self) -> Vec<&str> {
        match self.route().as_slice() {
            ["restapi", _, "accounts", _, rest @ ..] => rest.to_vec(),
            _ => Vec::new(),
        }
    }

    /// The media type, lower case, without parameters.
    pub(super) fn media_type(&self) -> String {
        let value = self.header("content-type").unwrap_or_default();
        value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
    }

    /// The body as JSON. The vendor takes an absent content type for JSON, and refuses a wrong one.
    pub(super) fn json(&self) -> Result<Value, Answer> {
        let media_type = self.media_type();
        if !(media_type.is_empty() || media_type == "application/json" || media_type.ends_with("+json")) {
            return Err(Answer::error(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "UNSUPPORTED_MEDIA_TYPE",
                "The content type of the request is not supported. The emulator reads application/json.",
            ));
        }
        lenient_json::read(&self.body).map_err(|error| {
            Answer::error(
                StatusCode::BAD_REQUEST,
                "INVALID_REQUEST_BODY",
                &format!(
                    "The request body is missing or improperly formatted. JSON: line {}, column {}.",
                    error.line(),
                    error.column()
                ),
            )
        })
    }

    /// The body as an HTML form.
    pub(super) fn form(&self) -> Vec<(String, String)> {
        url::form_urlencoded::parse(&self.body).into_owned().collect()
    }

    /// A cookie's value.
    pub(super) fn cookie(&self, name: &str) -> Option<String> {
        self.headers
            .get_all(header::COOKIE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value.to_owned())
    }
}

/// What a handler answers.
#[derive(Debug)]
pub(super) struct Answer {
    /// The status.
    pub(super) status: StatusCode,
    /// The headers; the server adds the vendor's usual ones.
    pub(super) headers: Box<HeaderMap>,
    /// The body.
    pub(super) body: Bytes,
}

impl Answer {
    /// An empty body.
    pub(super) fn empty(status: StatusCode) -> Self {
        Self { status, headers: Box::default(), body: Bytes::new() }
    }

    /// Bytes of some type.
    pub(super) fn bytes(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        Self { status, headers: Box::default(), body: body.into() }
            .with(header::CONTENT_TYPE, HeaderValue::from_static(content_type))
    }

    /// A JSON body, spelled as the vendor spells the type.
    #[expect(clippy::needless_pass_by_value, reason = "callers write json!(…) in place")]
    pub(super) fn json(status: StatusCode, body: Value) -> Self {
        Self::bytes(status, "application/json; charset=utf-8", body.to_string())
    }

    /// A 200 with JSON.
    pub(super) fn ok(body: Value) -> Self {
        Self::json(StatusCode::OK, body)
    }

    /// The vendor's error body: `{"errorCode", "message"}`.
    pub(super) fn error(status: StatusCode, code: &str, message: &str) -> Self {
        Self::json(status, json!({ "errorCode": code, "message": message }))
    }

    /// An HTML page under a policy that allows no script and no foreign content.
    pub(super) fn html(status: StatusCode, page: String) -> Self {
        Self::bytes(status, "text/html; charset=utf-8", page)
            .with(
                header::CONTENT_SECURITY_POLICY,
                HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'; img-src 'self' data:; frame-src 'self'; object-src 'self'; base-uri 'none'"),
            )
            .with(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))
            .with(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"))
    }

    /// Sends the browser elsewhere with a GET.
    pub(super) fn redirect(to: &str) -> Self {
        let answer =
            Self::empty(StatusCode::FOUND).with(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        match HeaderValue::from_str(to) {
            Ok(to) => answer.with(header::LOCATION, to),
            Err(_) => Self::error(StatusCode::BAD_REQUEST, "INVALID_REQUEST_PARAMETER", "Not an address."),
        }
    }

    /// The same with one more header.
    #[must_use]
    pub(super) fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.append(name, value);
        self
    }

    /// A refusal by the control interface, which is not the vendor's and explains itself.
    pub(super) fn control_error(status: StatusCode, detail: &str) -> Self {
        Self::json(status, json!({ "error": detail }))
    }
}

/// A boolean as the vendor takes it: `true`, `"true"`, `"True"`, `"1"`.
pub(super) fn truthy(value: Option<&Value>) -> bool {
    match value {
        Some(Value::Bool(value)) => *value,
        Some(Value::String(value)) => value.eq_ignore_ascii_case("true") || value == "1",
        Some(Value::Number(value)) => value.as_i64() == Some(1),
        _ => false,
    }
}

/// Text as the vendor takes it: a string, or a number or boolean written bare.
pub(super) fn text(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::String(value) => Some(value.clone()),
        Value::Number(value) => Some(value.to_string()),
        Value::Bool(value) => Some(value.to_string()),
        _ => None,
    }
}

/// A date as the vendor writes it: UTC with seven fractional digits.
pub(super) fn vendor_time(at: Timestamp) -> String {
    format!("{}", at.strftime("%Y-%m-%dT%H:%M:%S.%7fZ"))
}
