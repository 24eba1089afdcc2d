//! What every request and every answer of the status page have in common.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{Form, FromRequest, Request},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use maud::Markup;
use serde::de::DeserializeOwned;
use url::Url;

use super::{Admin, sheet};
use crate::theme::{self, Theme};

/// A form of that size arrives at once, or somebody means harm.
const FORM_PATIENCE: Duration = Duration::from_secs(10);

/// A form that came whole, and in time.
#[derive(Debug)]
pub(super) struct InTime<T>(pub(super) T);

/// Why a form was not read: a line of text, where no page says it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Unread {
    /// The status of the answer.
    pub(super) status: StatusCode,
    /// What is said to whoever sent it.
    pub(super) says: &'static str,
}

impl IntoResponse for Unread {
    fn into_response(self) -> Response {
        answer(self.status, "text/plain; charset=utf-8", format!("{}\n", self.says))
    }
}

impl<T: DeserializeOwned + Send> FromRequest<Arc<Admin>> for InTime<T> {
    type Rejection = Unread;

    async fn from_request(request: Request, admin: &Arc<Admin>) -> Result<Self, Unread> {
        tokio::select! {
            biased;
            read = Form::<T>::from_request(request, admin) => {
                read.map(|Form(form)| Self(form)).map_err(|why| Unread {
                    status: why.status(),
                    says: "This form is none of the status page's, or too large; open the page again.",
                })
            }
            () = admin.clock.sleep(FORM_PATIENCE) => Err(Unread {
                status: StatusCode::REQUEST_TIMEOUT,
                says: "The form did not arrive in time; send it again.",
            }),
        }
    }
}

/// Whether a form was sent from our own page, by what browsers say and scripts cannot forge (Fetch Metadata,
/// RFC 6454). Browsers that say neither are told apart by the form's token alone.
pub(super) fn is_ours(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("unreadable"));
    if let Some(site) = text("sec-fetch-site") {
        return site == "same-origin";
    }
    let Some(origin) = text("origin") else { return true };
    let Some(host) = text("host") else { return false };
    Url::parse(origin).is_ok_and(|origin| {
        let port = origin.port().map(|port| format!(":{port}")).unwrap_or_default();
        origin.host_str().is_some_and(|name| format!("{name}{port}").eq_ignore_ascii_case(host))
    })
}

impl Admin {
    /// A cookie for `/admin/` alone, that no script and no other site can use, and that leaves over TLS alone
    /// if the browser came over it: by our own listener, or by the word of a proxy in front. That word only
    /// ever adds a restriction, so it may be believed from anybody.
    pub(super) fn cookie(&self, headers: &HeaderMap, name: &str, value: &str, seconds: u64) -> HeaderValue {
        let proxy = headers.get("x-forwarded-proto");
        let is_https =
            self.is_tls || proxy.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"https"));
        let secure = if is_https { "; Secure" } else { "" };
        let text =
            format!("{name}={value}; Path=/admin/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}");
        HeaderValue::try_from(text).expect("base64url is a header value")
    }
}

/// A page.
pub(super) fn page(theme: &Theme, status: StatusCode, html: &Markup) -> Response {
    let mut response = answer(status, "text/html; charset=utf-8", html.0.clone());
    let policy = format!(
        "default-src 'none'; style-src {}; script-src {}; connect-src 'self'; img-src data:; form-action 'self'; \
         base-uri 'none'; frame-ancestors 'none'",
        theme.style_source(),
        theme::source(sheet::SCRIPT),
    );
    let policy = HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("default-src 'none'"));
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    response
}

/// A line of text.
pub(super) fn text(status: StatusCode, text: &'static str) -> Response {
    answer(status, "text/plain; charset=utf-8", text.to_owned())
}

/// On to another of our pages.
pub(super) fn see_other(path: &str) -> Response {
    let mut response = answer(StatusCode::SEE_OTHER, "text/plain; charset=utf-8", String::new());
    if let Ok(location) = HeaderValue::from_str(path) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

fn answer(status: StatusCode, kind: &'static str, body: String) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (HeaderName::from_static("x-robots-tag"), "noindex, nofollow"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_from_elsewhere_is_told_by_what_the_browser_says() {
        let table: [(&[(&str, &str)], bool); 9] = [
            (&[("sec-fetch-site", "same-origin")], true),
            (&[("sec-fetch-site", "cross-site")], false),
            (&[("sec-fetch-site", "same-site"), ("origin", "http://ops:9464"), ("host", "ops:9464")], false),
            (&[("origin", "http://ops:9464"), ("host", "ops:9464")], true),
            (&[("origin", "https://ops.example.com"), ("host", "ops.example.com")], true),
            (&[("origin", "https://evil.example"), ("host", "ops:9464")], false),
            (&[("origin", "null"), ("host", "ops:9464")], false),
            (&[("origin", "http://ops:9464")], false),
            (&[("host", "ops:9464")], true),
        ];
        for (sent, wanted) in table {
            let mut headers = HeaderMap::new();
            for (name, value) in sent {
                headers.insert(*name, HeaderValue::from_static(value));
            }
            assert_eq!(is_ours(&headers), wanted, "{sent:?}");
        }
    }
}
