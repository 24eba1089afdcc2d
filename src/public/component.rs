//! `/countersign.js`: the component with which a site shows a link in its own page. No framework; what it
//! reports are the facts of [`facts`](super::facts), never what the browser believes.
//!
//! The file is served as it stands, without its comments and indentation, and stays under 5,000 bytes.

use std::sync::LazyLock;

use axum::{
    body::Body,
    extract::Request,
    response::{IntoResponse as _, Response},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderName, HeaderValue, StatusCode, header};

use crate::digest::sha256;

/// How long a browser keeps it; after that it asks whether it has changed.
const CACHE: &str = "public, max-age=3600";

/// The script, and its entity tag.
static SCRIPT: LazyLock<(String, HeaderValue)> = LazyLock::new(|| {
    let script = squeeze(include_str!("countersign.js"));
    let tag = format!("\"{}\"", URL_SAFE_NO_PAD.encode(&sha256(script.as_bytes())[..16]));
    (script, HeaderValue::try_from(tag).expect("base64 is a header value"))
});

/// GET: the script, for any site.
pub(super) async fn script(request: Request) -> Response {
    let (script, tag) = &*SCRIPT;
    let known = request.headers().get_all(header::IF_NONE_MATCH).iter().any(|given| given == tag);
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/javascript; charset=utf-8")),
        (header::CACHE_CONTROL, HeaderValue::from_static(CACHE)),
        (header::ETAG, tag.clone()),
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*")),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("cross-origin")),
    ];
    if known {
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    (headers, Body::from(script.as_str())).into_response()
}

/// Without comments, which have lines of their own, and without indentation.
fn squeeze(script: &str) -> String {
    let mut squeezed = String::with_capacity(script.len());
    for line in script.lines().map(str::trim) {
        let is_comment = ["//", "/*", "*"].iter().any(|start| line.starts_with(start));
        if !is_comment && !line.is_empty() {
            squeezed.push_str(line);
            squeezed.push('\n');
        }
    }
    squeezed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_component_is_small_and_whole() {
        let (script, _) = &*SCRIPT;
        assert!(script.len() < 5_000, "{} bytes", script.len());
        assert!(script.starts_with("(() => {\n\"use strict\";") && script.ends_with("})();\n"));
        assert!(!script.contains("eval") && !script.contains("innerHTML"), "nothing becomes markup or code");
        for (open, close) in [('{', '}'), ('(', ')'), ('[', ']')] {
            assert_eq!(script.matches(open).count(), script.matches(close).count(), "{open}");
        }
    }
}
