//! What a create may hold now, and what creates could hold that are accepted already.
//!
//! What was accepted is read again when it is sent, days later and maybe by a later version, and it must not be lost
//! because the reader has become stricter meanwhile (rule E4). So whoever makes it stricter leaves here what was taken
//! before; but for a name that is there twice, of which [`parse_accepted`](super::parse_accepted) takes the last value.

use std::time::Duration;

use url::Url;

use crate::objects::{
    duration,
    return_url::{is_mendable, is_return_url},
};

/// Rules of the reader of creates that were others once.
pub(super) struct Strictness {
    /// Reads how long a signing may live.
    pub(super) life: fn(&str) -> Option<Duration>,
    /// Whether it is an origin that pages may be framed by.
    pub(super) is_frame_ancestor: fn(&str) -> bool,
    /// Whether visitors can be sent back there.
    pub(super) is_return_url: fn(&str) -> bool,
    /// Whether two signers may take one role of a template.
    pub(super) lets_share_roles: bool,
}

impl Strictness {
    /// Of what comes in.
    pub(super) const NOW: Self =
        Self { life: duration::life, is_frame_ancestor, is_return_url, lets_share_roles: false };
    /// Of what any version took.
    pub(super) const EVER: Self = Self {
        life: life_within_blanks,
        is_frame_ancestor: is_origin,
        is_return_url: is_mendable,
        lets_share_roles: true,
    };
}

fn life_within_blanks(text: &str) -> Option<Duration> {
    duration::life(text.trim())
}

fn is_frame_ancestor(text: &str) -> bool {
    // A URL's host may have marks in it that mean something in the policy where it will stand.
    is_origin(text) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b":/.-_[]".contains(&byte))
}

/// Whether it is a bare origin of the web. Once that was enough: our pages leave out what their policy cannot hold.
fn is_origin(text: &str) -> bool {
    Url::parse(text).is_ok_and(|url| {
        matches!(url.scheme(), "http" | "https") && url.origin().ascii_serialization() == text
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::json;

    use crate::{
        domain::{Draft, TemplateNames},
        objects::{Invalids, parse_accepted, parse_create},
    };

    fn order() -> String {
        let template = "11111111-2222-4333-8444-555555555555";
        json!({
            "sender": "a", "expires_in": "21d", "metadata": {"a": "1"},
            "frame_ancestors": ["https://shop.example.com"],
            "documents": [{"template": template},
                {"name": "b", "content_base64": "JVBERi0=", "anchors": {"sign": {"one": "/s/"}}}],
            "signers": [
                {"key": "one", "name": "A", "email": "a@example.com", "role": "Client", "fields": {"a": "1"},
                 "return_url": "https://www.example.com/done"},
                {"key": "two", "name": "B", "email": "b@example.com", "role": "Witness"}],
        })
        .to_string()
    }

    fn accepted(body: &str) -> Result<Draft, Invalids> {
        parse_accepted(&Bytes::copy_from_slice(body.as_bytes()), &TemplateNames::default())
    }

    #[test]
    fn what_was_accepted_once_is_taken_though_it_is_refused_now() {
        let now = order();
        for (place, was) in [
            (r#""21d""#, r#"" 21d""#),
            (r#""21d""#, r#""21d\t""#),
            ("https://www", "HTTPS://www"),
            ("https://www", " https:www"),
            ("https://www", "https://@www"),
            ("https://www", r"https:\\\\www"),
            ("https://shop", "https://*.shop"),
            ("https://shop", "https://a;shop"),
            (r#""Witness""#, r#""client""#),
            (r#""metadata":{"#, r#""metadata":{"a":"0","#),
            (r#""fields":{"#, r#""fields":{"a":"0","#),
            (r#""anchors":{"#, r#""anchors":{"sign":"/t/","#),
            (r#"{"one":"#, r#"{"one":"/t/","one":"#),
        ] {
            assert_eq!(now.matches(place).count(), 1, "{place}");
            let then = now.replace(place, was);
            let refused = parse_create(&Bytes::copy_from_slice(then.as_bytes()), &TemplateNames::default());
            assert!(refused.is_err(), "{then}");
            let draft = accepted(&then).unwrap_or_else(|faults| panic!("{then}: {faults:?}"));
            assert_eq!(draft.expires_in.unwrap().as_secs(), 21 * 86_400, "{then}");
            assert!(
                draft.signers[0].return_url.as_ref().unwrap().ends_with("www.example.com/done"),
                "{then}"
            );
            let (metadata, fields) = (draft.metadata.reveal(), draft.signers[0].fields.reveal());
            assert_eq!([&metadata["a"], &fields["a"]], ["1", "1"], "{then}");
        }
    }

    #[test]
    fn what_no_version_took_is_refused_of_what_was_accepted_too() {
        let good = order();
        assert!(accepted(&good).is_ok());
        for (place, bad, pointer) in [
            (r#""21d""#, r#""2 1d""#, "/expires_in"),
            ("https://www", "ftp://www", "/signers/0/return_url"),
            ("https://shop", "https://user@shop", "/frame_ancestors/0"),
            (r#""11111111-2222-4333-8444-555555555555""#, r#""gone""#, "/documents/0/template"),
        ] {
            let Invalids(faults) = accepted(&good.replace(place, bad)).unwrap_err();
            assert_eq!(faults[0].pointer, pointer, "{faults:?}");
        }
    }
}
