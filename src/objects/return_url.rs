//! Addresses that visitors are sent back to: what one may look like, whoever names it.
//!
//! Whether a caller may send anybody there is the caller's rights to say (rule L6). What is taken is handed on as it is
//! written, so nothing is taken that only a forgiving reader makes a URL of.

use url::Url;

use crate::domain::draft::MAX_RETURN_URL;

/// Whether this is a whole http(s) URL without credentials, of a length and with characters that travel.
pub fn is_return_url(text: &str) -> bool {
    // `https:a.example`, `https:///a.example`, `https://@a.example`, backslashes and blanks around are mended by the parser.
    let host_follows = |start: &str| {
        let host = text.strip_prefix(start).and_then(|rest| rest.split(['/', '?', '#']).next());
        host.is_some_and(|host| !host.is_empty() && !host.contains('@'))
    };
    (host_follows("http://") || host_follows("https://"))
        && !text.contains('\\')
        && !text.ends_with(char::is_whitespace)
        && is_mendable(text)
}

/// Whether a forgiving reader makes such a URL of it. Once that was enough.
pub(super) fn is_mendable(text: &str) -> bool {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_parser_would_have_to_mend_is_refused() {
        for good in [
            "https://www.example.com",
            "http://127.0.0.1:8090/orders?id=1#end",
            "https://www.example.com/a b",
            "https://www.example.com/@ada?to=b@example.com#@",
        ] {
            assert!(is_return_url(good), "{good}");
        }
        for bad in [
            "https:www.example.com",
            "https:/www.example.com/",
            "https:///www.example.com/",
            "https:\\\\www.example.com/",
            "https://\\www.example.com/",
            "https://www.example.com\\@evil.example/x",
            "https://www.example.com/a\\b",
            "https://@www.example.com/x",
            "https://:@www.example.com/x",
            "https://?www.example.com/",
            " https://www.example.com/",
            "\u{a0}https://www.example.com/",
            "https://www.example.com/ ",
            "HTTPS://www.example.com/",
            "https://",
            "https://user@www.example.com/",
            "ftp://www.example.com/",
            "//www.example.com/",
        ] {
            assert!(!is_return_url(bad), "{bad}");
        }
    }
}
