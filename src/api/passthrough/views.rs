//! Rule L6 for recipient views that are passed on: where the visitor goes afterwards is up to the caller's
//! `return_origins` here too, or the pass-through would be an open redirect. That is the return URL, the address of
//! each outcome that `clientURLs` names (DocuSign goes there before it looks at the return URL), and the one that the
//! page calls while it is open (`pingUrl`). Who may frame the page (`frameAncestors`) sends nobody anywhere.
//!
//! The one call whose body is read whole ([`creates`](super::creates) looks through that of a create as it passes), and
//! what is sent on are its very bytes, so the only way around the check is a body that DocuSign reads in another way
//! than we do. Whatever could be read in two ways is refused, therefore: another type (DocuSign takes XML too) or
//! character set, a name that stands there twice or in another spelling (readers of its kind ignore case and take the
//! last one), a query, an address that programs disagree about.

use std::{fmt, marker::PhantomData};

use http::{HeaderMap, header};
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::Value;

use crate::{
    api::{Problem, bodies::Limit, caller::Caller},
    esign::ForwardBody,
    objects::{Invalids, is_return_url},
};

/// The largest body. Its longest part is a list of origins that may frame the ceremony.
pub(super) const LIMIT: Limit = Limit { bytes: 64 * 1024, what: "enough for any recipient view" };
/// The vendor's name of the object that names one address for each outcome.
const OUTCOMES: &str = "clientURLs";
/// The vendor's names of all that sends the visitor's browser somewhere.
const FIELDS: [&str; 3] = ["returnUrl", OUTCOMES, "pingUrl"];

/// Refuses a recipient view after which the visitor would go where this caller may send nobody. Answers whose view it is,
/// as the call names them, if it does.
pub(super) fn check(
    caller: &Caller,
    headers: &HeaderMap,
    query: Option<&str>,
    body: &ForwardBody,
) -> Result<Option<String>, Problem> {
    if query.is_some() {
        return Err(invalid("a recipient view takes no query"));
    }
    if !is_json(headers) {
        return Err(invalid("a recipient view is passed on as application/json in UTF-8 only"));
    }
    // Never streamed: its limit is below what is kept.
    let ForwardBody::Whole(pieces) = body else { return Err(invalid("the body is too large")) };
    let all = members(&pieces.concat())?;
    for (pointer, url) in addresses(&all)? {
        if !(is_plain(&url) && caller.may_return_to(&url)) {
            let detail =
                "has an origin that is not among return_origins of this caller, or is no plain http(s) URL";
            return Err(refused(pointer, detail));
        }
    }
    Ok(client_user_id(&all))
}

/// Whose view it is: it is not refused for its spelling as an address is, so of several the one counts that DocuSign would
/// take. What has other letters than its own is another field, and names nobody.
fn client_user_id(all: &[(String, Shape)]) -> Option<String> {
    let (_, named) = all.iter().rfind(|(name, _)| name.eq_ignore_ascii_case("clientUserId"))?;
    match named {
        Shape::Other(Value::String(id)) => Some(id.clone()),
        Shape::Object(_) | Shape::Other(_) => None,
    }
}

/// Whether a body is JSON in UTF-8, which it also is without a word about it.
pub(super) fn is_json(headers: &HeaderMap) -> bool {
    headers.get_all(header::CONTENT_TYPE).iter().all(is_json_type)
}

fn is_json_type(value: &http::HeaderValue) -> bool {
    let Ok(text) = value.to_str() else { return false };
    let (kind, parameters) = text.split_once(';').unwrap_or((text, "charset=utf-8"));
    let parameter = parameters.trim().to_ascii_lowercase();
    kind.trim().eq_ignore_ascii_case("application/json")
        && matches!(parameter.as_str(), "charset=utf-8" | "charset=\"utf-8\"" | "charset=utf8")
}

/// Whether every reader sees the same address in it.
pub(super) fn is_plain(url: &str) -> bool {
    is_return_url(url) && !url.contains(char::is_whitespace)
}

/// What a body says.
fn members(body: &[u8]) -> Result<Vec<(String, Shape)>, Problem> {
    // A recipient view without a body says nothing; DocuSign has the word for it.
    if body.is_empty() {
        return Ok(Vec::new());
    }
    let text = std::str::from_utf8(body).map_err(|_| invalid("the body is not UTF-8"))?;
    let Members(all) = serde_json::from_str(text).map_err(|_| invalid("the body is not one JSON object"))?;
    Ok(all)
}

/// The addresses that a body sends the visitor's browser to, each with the pointer to it.
fn addresses(all: &[(String, Shape)]) -> Result<Vec<(String, String)>, Problem> {
    let mut found = Vec::new();
    for field in FIELDS {
        let pointer = format!("/{field}");
        let mut named = all.iter().filter(|(name, _)| is_like(name, field));
        let Some((name, shape)) = named.next() else { continue };
        if named.next().is_some() {
            return Err(refused(pointer, "stands there more than once"));
        }
        if name != field {
            return Err(refused(pointer, &format!("is spelt in another way; write {field}")));
        }
        match shape {
            Shape::Object(Members(outcomes)) if field == OUTCOMES => {
                for (outcome, value) in outcomes {
                    let outcome = outcome.replace('~', "~0").replace('/', "~1");
                    found.extend(address(format!("{pointer}/{outcome}"), value)?);
                }
            }
            Shape::Object(_) => return Err(refused(pointer, "must be a text")),
            Shape::Other(value) if field != OUTCOMES || value.is_null() => {
                found.extend(address(pointer, value)?);
            }
            Shape::Other(_) => return Err(refused(pointer, "must be an object of texts")),
        }
    }
    Ok(found)
}

/// The address that stands there, if one does.
fn address(pointer: String, value: &Value) -> Result<Option<(String, String)>, Problem> {
    match value {
        // Without one DocuSign refuses, or goes to the return URL.
        Value::Null => Ok(None),
        Value::String(url) => Ok(Some((pointer, url.clone()))),
        _ => Err(refused(pointer, "must be a text")),
    }
}

/// A value that may have members.
#[derive(Deserialize)]
#[serde(untagged)]
enum Shape {
    Object(Members<Value>),
    Other(Value),
}

/// All members of an object, in their order, also those of one name.
struct Members<V>(Vec<(String, V)>);

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Members<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All<V>(PhantomData<V>);
        impl<'de, V: Deserialize<'de>> Visitor<'de> for All<V> {
            type Value = Members<V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Members<V>, M::Error> {
                let mut all = Vec::new();
                while let Some(member) = map.next_entry()? {
                    all.push(member);
                }
                Ok(Members(all))
            }
        }
        deserializer.deserialize_map(All(PhantomData))
    }
}

/// Case, separators and what cannot be seen are nothing to some readers.
fn is_like(name: &str, field: &str) -> bool {
    let letters = name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase());
    letters.eq(field.chars().map(|c| c.to_ascii_lowercase()))
}

fn invalid(detail: &str) -> Problem {
    Problem::new("invalid_request", detail)
}

fn refused(pointer: String, detail: &str) -> Problem {
    Invalids::of(pointer, "return_url_refused", detail).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses_of(body: &[u8]) -> Result<Vec<(String, String)>, Problem> {
        addresses(&members(body)?)
    }

    #[test]
    fn a_view_is_of_whom_docusign_would_take_it_to_be() {
        for (body, user) in [
            (r#"{"clientUserId": "c-1", "returnUrl": "x"}"#, Some("c-1")),
            (r#"{"ClientUserID": "c-1"}"#, Some("c-1")),
            (r#"{"clientUserId": "c-1", "CLIENTUSERID": "c-2"}"#, Some("c-2")),
            (r#"{"clientUserId": "c-1", "client_user_id": "c-2", "clientUserId\u0000": "c-3"}"#, Some("c-1")),
            (r#"{"client_user_id": "c-1"}"#, None),
            (r#"{"clientUserId": {"clientUserId": "c-1"}}"#, None),
            (r#"{"clientUserId": null}"#, None),
            (r#"{"more": {"clientUserId": "c-1"}}"#, None),
            ("", None),
        ] {
            assert_eq!(client_user_id(&members(body.as_bytes()).unwrap()).as_deref(), user, "{body}");
        }
    }

    #[test]
    fn l6_a_return_url_that_could_be_read_in_two_ways_is_refused() {
        let read = |body: &str| addresses_of(body.as_bytes()).map_err(|problem| problem.code());
        let one = |url: &str| Ok(vec![("/returnUrl".to_owned(), url.to_owned())]);
        assert_eq!(read(r#"{"email": "a", "returnUrl": "https://a.example/"}"#), one("https://a.example/"));
        assert_eq!(read(r#"{"\u0072eturnUrl": "https:\/\/a.example"}"#), one("https://a.example"));
        for none in ["", "{}", r#"{"returnUrl": null}"#, r#"{"more": {"returnUrl": "x"}}"#] {
            assert_eq!(read(none), Ok(Vec::new()), "{none}");
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
        assert!(addresses_of(&wide).is_err() && addresses_of(b"{\"returnUrl\": \"\xff\"}").is_err());
    }

    #[test]
    fn l6_each_address_that_the_browser_is_sent_to_is_found() {
        let read = |body: &str| addresses_of(body.as_bytes()).map_err(|problem| problem.code());
        let body = r#"{"clientURLs": {"onCancel": "b", "On/Cancel": "c", "onCancel": "d", "onDecline": null},
                       "pingUrl": "e", "returnUrl": "a", "frameAncestors": ["f"], "messageOrigins": ["f"]}"#;
        let found = [
            ("/returnUrl", "a"),
            ("/clientURLs/onCancel", "b"),
            ("/clientURLs/On~1Cancel", "c"),
            ("/clientURLs/onCancel", "d"),
            ("/pingUrl", "e"),
        ];
        assert_eq!(read(body), Ok(found.map(|(at, url)| (at.to_owned(), url.to_owned())).into()));
        for none in [r#"{"clientURLs": null}"#, r#"{"clientURLs": {}}"#, r#"{"pingUrl": null}"#] {
            assert_eq!(read(none), Ok(Vec::new()), "{none}");
        }
        for twofold in [
            r#"{"clientURLs": {}, "clientURLs": {"onCancel": "b"}}"#,
            r#"{"clientURLs": {}, "ClientUrls": {"onCancel": "b"}}"#,
            r#"{"client_urls": {"onCancel": "b"}}"#,
            r#"{"clientURLs": "b"}"#,
            r#"{"clientURLs": ["b"]}"#,
            r#"{"clientURLs": {"onCancel": {"onCancel": "b"}}}"#,
            r#"{"clientURLs": {"onCancel": ["b"]}}"#,
            r#"{"pingUrl": "e", "PingUrl": "f"}"#,
            r#"{"PINGURL": "e"}"#,
            r#"{"pingUrl": {"a": "e"}}"#,
        ] {
            assert_eq!(read(twofold), Err("return_url_refused"), "{twofold}");
        }
    }

    #[test]
    fn l6_only_json_in_utf_8_and_plain_addresses_are_read() {
        let is_read = |text: &'static str| is_json_type(&http::HeaderValue::from_static(text));
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
