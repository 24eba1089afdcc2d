//! Answers: a page or a redirect, with the headers that keep both private.

use axum::{body::Body, response::Response};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use crate::{
    domain::Language,
    public::{
        Public,
        pages::{Details, Page, draw},
    },
    theme::Theme,
};

/// After this long a network that guessed too much may try again, and a signer for whom views were made too often.
const AFTER_TOO_MANY_S: u32 = 60;

impl Public {
    /// A page with its own status. `frames`: the origins that may frame it.
    pub(super) fn page(
        &self,
        language: Language,
        page: &Page,
        details: &Details<'_>,
        frames: &[String],
    ) -> Response {
        self.page_as(page.status(), language, page, details, frames)
    }

    /// A page with another status.
    pub(super) fn page_as(
        &self,
        status: StatusCode,
        language: Language,
        page: &Page,
        details: &Details<'_>,
        frames: &[String],
    ) -> Response {
        let settings = &self.settings;
        let html = draw(&settings.theme, language, page, details).into_string();
        let mut response = Response::new(Body::from(html));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        headers.insert(header::CONTENT_LANGUAGE, HeaderValue::from_static(language.tag()));
        headers.insert(header::CONTENT_SECURITY_POLICY, policy(&settings.theme, settings.loopback, frames));
        if frames.is_empty() {
            // For browsers that do not know frame-ancestors.
            headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
        }
        if let Some(seconds) = retry_after(status, page) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        keep_private(headers);
        response
    }
}

/// Sends the browser on with a GET. An address that is no header value leads nowhere.
pub(super) fn see_other(url: &str) -> Option<Response> {
    let location = HeaderValue::from_str(url).ok()?;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SEE_OTHER;
    response.headers_mut().insert(header::LOCATION, location);
    keep_private(response.headers_mut());
    Some(response)
}

/// An answer without a body that nobody should see.
pub(super) fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    keep_private(response.headers_mut());
    response
}

/// The address of these answers is a secret (rule L4): no cache, index or referrer may keep it.
pub(super) fn keep_private(headers: &mut HeaderMap) {
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (HeaderName::from_static("x-robots-tag"), "noindex, nofollow, noarchive"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

fn retry_after(status: StatusCode, page: &Page) -> Option<u32> {
    match status {
        StatusCode::TOO_MANY_REQUESTS => Some(AFTER_TOO_MANY_S),
        StatusCode::ACCEPTED | StatusCode::SERVICE_UNAVAILABLE => page.refresh_s(),
        _ => None,
    }
}

/// What a page may load and where its form may lead (CSP Level 3): nothing but its own style and logo, and
/// our own address, from which the answer sends the browser on to the upstream. Chromium checks `form-action`
/// on that redirect, too, and the upstream's host of a view is not known before it is minted: so any `https`.
fn policy(theme: &Theme, loopback: bool, frames: &[String]) -> HeaderValue {
    let plain = if loopback { " http://127.0.0.1:* http://localhost:*" } else { "" };
    let frames: Vec<&str> = frames.iter().map(String::as_str).filter(|origin| is_plain(origin)).collect();
    let frames = if frames.is_empty() { "'none'".to_owned() } else { frames.join(" ") };
    let text = format!(
        "default-src 'none'; style-src {}; img-src data:; form-action 'self' https:{plain}; base-uri 'none'; \
         frame-ancestors {frames}",
        theme.style_source()
    );
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("default-src 'none'"))
}

/// Whether an origin can stand in a policy without changing the rest of it. It was checked when it was
/// taken in; this is the second lock.
fn is_plain(origin: &str) -> bool {
    origin.starts_with("http")
        && origin.bytes().all(|byte| byte.is_ascii_graphic() && !b";,'\"*".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l5_the_policy_lets_nothing_in() {
        let theme = Theme::default();
        let policy_of = |frames: &[String]| policy(&theme, false, frames).to_str().unwrap().to_owned();
        let strict = policy_of(&[]);
        for part in ["default-src 'none'", "style-src 'sha256-", "base-uri 'none'", "frame-ancestors 'none'"]
        {
            assert!(strict.contains(part), "{part} in {strict}");
        }
        for part in ["unsafe", "script-src", "http:", "*"] {
            assert!(!strict.contains(part), "{part} in {strict}");
        }
        let framed = policy_of(&["https://www.example.com".to_owned()]);
        assert!(framed.ends_with("frame-ancestors https://www.example.com"));
        let evil = policy_of(&["https://a.example; script-src *".to_owned(), "*".to_owned()]);
        assert_eq!(evil, strict, "an origin cannot add to the policy");
    }

    #[test]
    fn l5_the_style_is_the_one_the_policy_names() {
        use base64::{Engine as _, engine::general_purpose::STANDARD};
        let theme = Theme::default();
        let html = draw(&theme, Language::En, &Page::Unknown, &Details::default()).into_string();
        let style = html.split_once("<style>").and_then(|(_, rest)| rest.split_once("</style>")).unwrap().0;
        let source =
            format!("style-src 'sha256-{}'", STANDARD.encode(crate::digest::sha256(style.as_bytes())));
        assert!(policy(&theme, false, &[]).to_str().unwrap().contains(&source));
    }

    #[test]
    fn l5_a_redirect_is_kept_private_too() {
        let response = see_other("https://demo.docusign.net/Signing/?slt=secret").unwrap();
        assert_eq!(response.status(), StatusCode::SEE_OTHER);
        for name in ["cache-control", "referrer-policy", "x-robots-tag", "x-content-type-options"] {
            assert!(response.headers().contains_key(name), "{name}");
        }
        assert!(see_other("https://a.example/\r\nset-cookie: a=b").is_none());
    }
}
