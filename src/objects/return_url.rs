//! Addresses that visitors are sent back to: what one may look like, whoever names it.
//!
//! Whether a caller may send anybody there is the caller's rights to say (rule L6).

use url::Url;

use crate::domain::draft::MAX_RETURN_URL;

/// Whether this is a whole http(s) URL without credentials, of a length and with characters that travel.
pub fn is_return_url(text: &str) -> bool {
    let is_web = |url: &Url| {
        matches!(url.scheme(), "http" | "https")
            && url.has_host()
            && url.username().is_empty()
            && url.password().is_none()
    };
    text.len() <= MAX_RETURN_URL
        && !text.contains(char::is_control)
        && Url::parse(text).is_ok_and(|url| is_web(&url))
}
