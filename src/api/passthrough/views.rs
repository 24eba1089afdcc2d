//! Rule L6 for recipient views that are passed on: where the visitor goes afterwards is up to the caller's
//! `return_origins` here too, or the pass-through would be an open redirect.
//!
//! The one call whose body is looked into. It is read whole, and what is sent on are its very bytes, so the
//! only way around the check is a body that DocuSign reads in another way than we do. Whatever could be read
//! in two ways is refused, therefore: another type (DocuSign takes XML too) or character set, a name that
//! stands there twice or in another spelling (readers of its kind ignore case and take the last one), a query,
//! an address that programs disagree about.

use std::fmt;

use http::{HeaderMap, header};
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};

use crate::{
    api::{Problem, bodies::Limit, caller::Caller},
    esign::ForwardBody,
    objects::{Invalids, is_return_url},
};

/// The largest body. Its longest part is a list of origins that may frame the ceremony.
pub(super) const LIMIT: Limit = Limit { bytes: 64 * 1024, what: "enough for any recipient view" };
/// The vendor's name of the address that the visitor goes back to.
const FIELD: &str = "returnUrl";

/// Refuses a recipient view after which the visitor would go where this caller may send nobody.
pub(super) fn check(
    caller: &Caller,
    headers: &HeaderMap,
    query: Option<&str>,
    body: &ForwardBody,
) -> Result<(), Problem> {
    if query.is_some() {
        return Err(invalid("a recipient view takes no query"));
    }
    if !headers.get_all(header::CONTENT_TYPE).iter().all(is_json) {
        return Err(invalid("a recipient view is passed on as application/json in UTF-8 only"));
    }
    // Never streamed: its limit is below what is kept.
    let ForwardBody::Whole(pieces) = body else { return Err(invalid("the body is too large")) };
    match return_url(&pieces.concat()) {
        Ok(Some(url)) if !(is_plain(&url) && caller.may_return_to(&url)) => Err(refused(
            "has an origin that is not among return_origins of this caller, or is no plain http(s) URL",
        )),
        // Without one DocuSign refuses.
        Ok(_) => Ok(()),
        Err(problem) => Err(problem),
    }
}

fn is_json(value: &http::HeaderValue) -> bool {
    let Ok(text) = value.to_str() else { return false };
    let (kind, parameters) = text.split_once(';').unwrap_or((text, "charset=utf-8"));
    let parameter = parameters.trim().to_ascii_lowercase();
    kind.trim().eq_ignore_ascii_case("application/json")
        && matches!(parameter.as_str(), "charset=utf-8" | "charset=\"utf-8\"" | "charset=utf8")
}

/// Whether every reader sees the same address in it.
fn is_plain(url: &str) -> bool {
    is_return_url(url) && !url.contains(|c: char| c == '\\' || c.is_whitespace())
}

/// The one return URL that a body names, if it names one.
fn return_url(body: &[u8]) -> Result<Option<String>, Problem> {
    // A recipient view without a body says nothing; DocuSign has the word for it.
    if body.is_empty() {
        return Ok(None);
    }
    let text = std::str::from_utf8(body).map_err(|_| invalid("the body is not UTF-8"))?;
    let Named(found) = serde_json::from_str(text).map_err(|_| invalid("the body is not one JSON object"))?;
    let mut found = found.into_iter();
    match (found.next(), found.next()) {
        (None, _) => Ok(None),
        (Some((name, value)), None) if name == FIELD => match value {
            serde_json::Value::Null => Ok(None),
            serde_json::Value::String(url) => Ok(Some(url)),
            _ => Err(refused("must be a text")),
        },
        (Some(_), None) => Err(refused("is spelt in another way; write returnUrl")),
        (Some(_), Some(_)) => Err(refused("stands there more than once")),
    }
}

/// Every name in an object that some reader could take for [`FIELD`], with its value.
struct Named(Vec<(String, serde_json::Value)>);

impl<'de> Deserialize<'de> for Named {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Named;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Named, M::Error> {
                let mut found = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    if is_like_the_field(&name) {
                        found.push((name, map.next_value()?));
                    } else {
                        map.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(Named(found))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

/// Case, separators and what cannot be seen are nothing to some readers.
fn is_like_the_field(name: &str) -> bool {
    let letters = name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase());
    letters.eq(FIELD.chars().map(|c| c.to_ascii_lowercase()))
}

fn invalid(detail: &str) -> Problem {
    Problem::new("invalid_request", detail)
}

fn refused(detail: &str) -> Problem {
    let mut faults = Invalids::default();
    faults.add(format!("/{FIELD}"), "return_url_refused", detail);
    faults.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l6_a_return_url_that_could_be_read_in_two_ways_is_refused() {
        let read = |body: &str| return_url(body.as_bytes()).map_err(|problem| problem.code());
        assert_eq!(
            read(r#"{"email": "a", "returnUrl": "https://a.example/"}"#),
            Ok(Some("https://a.example/".into()))
        );
        assert_eq!(
            read(r#"{"\u0072eturnUrl": "https:\/\/a.example"}"#),
            Ok(Some("https://a.example".into()))
        );
        for none in ["", "{}", r#"{"returnUrl": null}"#, r#"{"more": {"returnUrl": "x"}}"#] {
            assert_eq!(read(none), Ok(None), "{none}");
        }
        for twofold in [
            r#"{"returnUrl": "https://a.example", "returnUrl": "https://b.example"}"#,
            r#"{"returnUrl": "https://a.example", "ReturnURL": "https://b.example"}"#,
            r#"{"returnUrl": "https://a.example", "return_url": "https://b.example"}"#,
            r#"{"returnUrl": "https://a.example", "returnUrl\u0000": "https://b.example"}"#,
            r#"{"RETURNURL": "https://a.example"}"#,
            r#"{"returnUrl": ["https://a.example"]}"#,
            r#"{"returnUrl": {"a": "https://a.example"}}"#,
        ] {
            assert_eq!(read(twofold), Err("return_url_refused"), "{twofold}");
        }
        for other in [
            "[]",
            r#""https://a.example""#,
            r#"{"returnUrl": "https://a.example"} {}"#,
            r#"{"returnUrl": "https://a.example", /* */}"#,
            "{'returnUrl': 'https://b.example'}",
            "\u{feff}{}",
            "<recipientViewRequest/>",
        ] {
            assert_eq!(read(other), Err("invalid_request"), "{other}");
        }
        let wide: Vec<u8> = r#"{"returnUrl": "x"}"#.encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert!(return_url(&wide).is_err() && return_url(b"{\"returnUrl\": \"\xff\"}").is_err());
    }

    #[test]
    fn l6_only_json_in_utf_8_and_plain_addresses_are_read() {
        let is_read = |text: &'static str| is_json(&http::HeaderValue::from_static(text));
        assert!(is_read("application/json") && is_read("Application/JSON; charset=UTF-8"));
        for other in [
            "application/xml",
            "text/json",
            "application/json; charset=utf-16",
            "application/json; charset=utf-8; charset=utf-7",
            "multipart/form-data; boundary=x",
            "",
        ] {
            assert!(!is_read(other), "{other}");
        }
        assert!(is_plain("https://www.example.com/done?order=1#x"));
        for other in [
            "https://www.example.com\\@b.example/",
            "https://www.example.com@b.example/",
            " https://www.example.com/",
            "https://www.exa\tmple.com/",
            "//b.example",
            "javascript:alert(1)",
            "https:",
        ] {
            assert!(!is_plain(other), "{other}");
        }
    }
}
