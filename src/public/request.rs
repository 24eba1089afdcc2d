//! What is read of a request: the visitor's language and address, whether a click is one of ours, and its
//! few fields. Everything here is bounded and unverified.

use std::{net::IpAddr, time::Duration};

use axum::body::Body;
use http::{HeaderMap, StatusCode, Uri, header, request::Parts};

use crate::{clock::SharedClock, domain::Language, listener::Peer, public::proxies::Proxies};

/// A click has two short fields.
const BODY_LIMIT: usize = 8 * 1024;
/// A form of that size arrives at once, or somebody means harm.
const BODY_PATIENCE: Duration = Duration::from_secs(10);

/// The fields of a click.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Form {
    /// The account that was chosen.
    pub(super) account: Option<String>,
    /// The name of the rendering that was clicked on.
    pub(super) click: Option<String>,
    /// A ticket of the direct form.
    pub(super) ticket: Option<String>,
}

/// The signing's language if our pages speak it, else the browser's.
pub(super) fn language(locale: Option<&str>, headers: &HeaderMap) -> Language {
    locale.and_then(Language::from_tag).unwrap_or_else(|| {
        let accept = headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok());
        Language::negotiate(accept.unwrap_or_default())
    })
}

/// Where the request came from: the visitor's address, also behind a proxy that is trusted.
pub(super) fn address(head: &Parts, proxies: &Proxies) -> Option<IpAddr> {
    let peer = head.extensions.get::<Peer>()?.address?.ip();
    Some(proxies.visitor(peer, &head.headers))
}

/// Where the page of a click in line is, and loads itself again.
pub(super) fn line(name: &str) -> String {
    format!("?line={name}")
}

/// The name of the click whose page asks whether it is its turn.
pub(super) fn in_line(uri: &Uri) -> Option<String> {
    let mut pairs = url::form_urlencoded::parse(uri.query()?.as_bytes());
    pairs.find(|(name, _)| name == "line").map(|(_, value)| value.into_owned())
}

/// Whether a browser loads this ahead, for a visitor who may never go there.
pub(super) fn is_ahead(headers: &HeaderMap) -> bool {
    ["sec-purpose", "purpose", "x-moz", "x-purpose"].iter().any(|name| {
        let value = headers.get(*name).map(http::HeaderValue::as_bytes).unwrap_or_default();
        let value = value.to_ascii_lowercase();
        [b"prefetch".as_slice(), b"prerender", b"preview"]
            .iter()
            .any(|word| value.windows(word.len()).any(|window| window == *word))
    })
}

/// Whether a POST comes from one of our pages, and not from another site's.
///
/// Browsers say so in `Sec-Fetch-Site` (Fetch Metadata). Older ones send `Origin`; because our pages forbid
/// referrers, it is `null` there even from our own (Fetch, "append a request Origin header"), so `null` is
/// let through. What is no browser sends neither, and needs no protection from itself: whoever knows the
/// token may click.
pub(super) fn is_from_our_page(headers: &HeaderMap, origin: &str) -> bool {
    if let Some(site) = headers.get("sec-fetch-site") {
        return matches!(site.as_bytes(), b"same-origin" | b"none");
    }
    let Some(given) = headers.get(header::ORIGIN) else { return true };
    let host = headers.get(header::HOST).map(http::HeaderValue::as_bytes).unwrap_or_default();
    let given = given.as_bytes();
    let authority = given.strip_prefix(b"https://").or_else(|| given.strip_prefix(b"http://"));
    given == b"null" || given == origin.as_bytes() || authority.is_some_and(|authority| authority == host)
}

/// Reads the form of a click.
pub(super) async fn form(body: Body, clock: &SharedClock) -> Result<Form, StatusCode> {
    let bytes = tokio::select! {
        read = axum::body::to_bytes(body, BODY_LIMIT) => read.map_err(|_| StatusCode::PAYLOAD_TOO_LARGE)?,
        () = clock.sleep(BODY_PATIENCE) => return Err(StatusCode::REQUEST_TIMEOUT),
    };
    let mut form = Form::default();
    for (name, value) in url::form_urlencoded::parse(&bytes) {
        match &*name {
            "account" => form.account = Some(value.into_owned()),
            "click" => form.click = Some(value.into_owned()),
            "ticket" => form.ticket = Some(value.into_owned()),
            _ => {}
        }
    }
    Ok(form)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn l1_only_a_click_on_our_own_page_counts() {
        let ours = "https://sign.example.com";
        for (pairs, expected) in [
            (&[][..], true),
            (&[("sec-fetch-site", "same-origin"), ("origin", "null")], true),
            (&[("sec-fetch-site", "none")], true),
            (&[("sec-fetch-site", "cross-site"), ("origin", "https://sign.example.com")], false),
            (&[("sec-fetch-site", "same-site")], false),
            (&[("origin", "https://sign.example.com")], true),
            (&[("origin", "null")], true),
            (&[("origin", "https://evil.example")], false),
            (&[("origin", "https://sign.example.com.evil.example"), ("host", "sign.example.com")], false),
            (&[("origin", "http://localhost:8081"), ("host", "localhost:8081")], true),
        ] {
            assert_eq!(is_from_our_page(&headers(pairs), ours), expected, "{pairs:?}");
        }
    }

    #[test]
    fn the_signings_language_goes_before_the_browsers() {
        let browser = headers(&[("accept-language", "fr")]);
        assert_eq!(language(Some("de-AT"), &browser), Language::De);
        assert_eq!(language(Some("nl"), &browser), Language::Fr);
        assert_eq!(language(None, &browser), Language::Fr);
        assert_eq!(language(None, &HeaderMap::new()), Language::En);
    }

    #[test]
    fn loading_ahead_is_known() {
        assert!(is_ahead(&headers(&[("sec-purpose", "prefetch;prerender")])));
        assert!(is_ahead(&headers(&[("purpose", "Prefetch")])));
        assert!(!is_ahead(&headers(&[("purpose", "navigate")])));
    }

    #[tokio::test]
    async fn a_large_or_slow_form_is_refused() {
        let clock = crate::clock::ManualClock::new(jiff::Timestamp::UNIX_EPOCH);
        let shared: SharedClock = std::sync::Arc::new(clock.clone());
        let large = Body::from(vec![b'a'; BODY_LIMIT + 1]);
        assert_eq!(form(large, &shared).await, Err(StatusCode::PAYLOAD_TOO_LARGE));
        let stalled =
            Body::from_stream(futures_util::stream::pending::<Result<bytes::Bytes, std::io::Error>>());
        let reading = tokio::spawn(async move { form(stalled, &shared).await });
        tokio::task::yield_now().await;
        clock.advance(BODY_PATIENCE);
        assert_eq!(reading.await.unwrap(), Err(StatusCode::REQUEST_TIMEOUT));
    }

    proptest! {
        #[test]
        fn no_form_or_header_panics(body: Vec<u8>, value: Vec<u8>) {
            let mut map = HeaderMap::new();
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                for name in ["origin", "host", "accept-language", "purpose"] {
                    map.insert(name, value.clone());
                }
            }
            let _ = (is_from_our_page(&map, "https://a.example"), is_ahead(&map), language(None, &map));
            let clock: SharedClock = std::sync::Arc::new(crate::clock::ManualClock::new(jiff::Timestamp::UNIX_EPOCH));
            let read = futures_util::FutureExt::now_or_never(form(Body::from(body), &clock));
            prop_assert!(read.is_some());
        }
    }
}
