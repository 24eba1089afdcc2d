//! How many values a body holds, counted before anything is made of them (rule S5): the tree of a list of `{"":0}` is a
//! hundred times larger than the list, and such a list may be as long as a body.

use crate::domain::{
    TabKind,
    draft::{MAX_DOCUMENTS, MAX_ENTRIES, MAX_FRAME_ANCESTORS, MAX_SIGNERS},
};

/// More than any part of a create has fields that we name.
const FIELDS: usize = 32;

/// The most values of a create that is taken: with all that may be in it. Of this many a tree has less than 40 MiB, and
/// beside that the texts of the body.
pub(super) const MOST: usize = FIELDS
    + MAX_ENTRIES
    + MAX_FRAME_ANCESTORS
    + MAX_DOCUMENTS * (FIELDS + TabKind::ALL.len() * (1 + MAX_SIGNERS))
    + MAX_SIGNERS * (FIELDS + MAX_ENTRIES);

/// Whether JSON holds more values than `most`: members of objects and items of lists. What is no JSON may be told either.
pub(super) fn exceed(most: usize, body: &[u8]) -> bool {
    // Each begins with a byte of its own.
    if body.len() <= most {
        return false;
    }
    let (mut count, mut rest) = (0, body);
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'"' => rest = after_text(rest),
            b',' | b'[' | b'{' => count += 1,
            _ => {}
        }
        if count > most {
            return true;
        }
    }
    false
}

/// What follows a text, of which the first quote is gone.
fn after_text(mut rest: &[u8]) -> &[u8] {
    while let Some(at) = rest.iter().position(|byte| matches!(byte, b'"' | b'\\')) {
        let (ends, length) = if rest[at] == b'"' { (true, 1) } else { (false, 2) };
        rest = rest.get(at + length..).unwrap_or_default();
        if ends {
            return rest;
        }
    }
    &[]
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::{Map, Value, json};

    use super::*;
    use crate::{domain::TemplateNames, objects::parse_create};

    /// All that a create may hold.
    fn largest() -> Value {
        let named = |count: usize, value: &str| -> Map<String, Value> {
            (0..count).map(|at| (format!("n{at}"), value.into())).collect()
        };
        let each = Value::Object(named(MAX_SIGNERS, "/s/"));
        let anchors: Map<_, _> =
            TabKind::ALL.iter().map(|kind| (kind.as_str().to_owned(), each.clone())).collect();
        let document =
            json!({"template": null, "name": "b", "content_base64": "JVBERi0=", "anchors": anchors});
        let signer = |at: usize| {
            json!({"key": format!("n{at}"), "name": "A", "email": format!("a{at}@example.com"), "role": "r",
                "order": 1, "sms_auth": {"phone": "+4915112345678"}, "access_code": "c",
                "fields": named(MAX_ENTRIES, "f"), "return_url": "https://www.example.com",
                "authenticated_by": {"method": "password", "at": "2026-01-01T00:00:00Z", "id": "i"}})
        };
        json!({"reference": "r", "sender": "s", "subject": "s", "message": "m", "view": true, "locale": "de",
            "expires_in": "1d", "documents": vec![document; MAX_DOCUMENTS],
            "signers": (0..MAX_SIGNERS).map(signer).collect::<Vec<_>>(), "metadata": named(MAX_ENTRIES, "m"),
            "frame_ancestors": vec!["https://www.example.com"; MAX_FRAME_ANCESTORS]})
    }

    #[test]
    fn s5_the_largest_create_is_taken_and_what_holds_more_values_is_refused_unread() {
        let parse = |body: String| parse_create(&Bytes::from(body), &TemplateNames::default());
        let mut body = largest();
        assert!(parse(body.to_string()).is_ok());
        // Wrong in one place, it is still told where.
        body["view"] = json!("yes");
        assert_eq!(parse(body.to_string()).unwrap_err().0[0].pointer, "/view");
        let many = format!("[{}0]", r#"{"":0},"#.repeat(MOST));
        body["metadata"] = serde_json::from_str(&many).unwrap();
        for text in [body.to_string(), many] {
            let faults = parse(text).unwrap_err().0;
            let [fault] = faults.as_slice() else { panic!("{}", faults.len()) };
            assert_eq!((fault.pointer.as_str(), fault.code), ("", "invalid_request"));
            assert!(fault.detail.contains(&MOST.to_string()), "{}", fault.detail);
        }
    }

    #[test]
    fn values_are_counted_and_texts_passed_over() {
        for (body, count) in [
            (r#"{"a": 1, "b": [2, {"c": 3}]}"#, 5),
            (r#"{"a,[{\"": "\\", "b": ",,,\",,,"}"#, 2),
            (r#"{"a": "never ended,,,,,,,,,,"#, 1),
            (r#"{"a": "\"#, 1),
        ] {
            assert!(exceed(count - 1, body.as_bytes()), "{body}");
            assert!(!exceed(count, body.as_bytes()), "{body}");
        }
    }
}
