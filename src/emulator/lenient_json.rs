//! JSON as the vendor's reader takes it, which is a little more than JSON.
//!
//! The vendor reads bodies with Newtonsoft.Json. Its official bash samples lean on that: a line feed within the base64
//! of a document, a comma after the last member (docusign/code-examples-bash). Both are taken here, and nothing else
//! that is not JSON: comments, single quotes, bare names and a second comma stay refused.

use serde_json::Value;

/// Reads a body. The error is that of the strict reader, whose line and column are those of the body.
pub(super) fn read(bytes: &[u8]) -> Result<Value, serde_json::Error> {
    serde_json::from_slice(bytes)
        .or_else(|error| serde_json::from_slice(&mended(bytes)).map_err(|_: serde_json::Error| error))
}

/// The first value of what may go on with something else, read the same way.
pub(super) fn first(bytes: &[u8]) -> Option<Value> {
    let strictly = |bytes: &[u8]| serde_json::Deserializer::from_slice(bytes).into_iter().next()?.ok();
    strictly(bytes).or_else(|| strictly(&mended(bytes)))
}

/// The same with control characters in strings escaped, and without a comma between a value and the end of its list or
/// object. What is JSON comes out byte for byte.
fn mended(bytes: &[u8]) -> Vec<u8> {
    let mut mended: Vec<u8> = Vec::with_capacity(bytes.len());
    let (mut is_text, mut is_escaped) = (false, false);
    // The last byte outside strings that is no blank, and where the comma behind a value is while nothing follows it.
    let mut last = b' ';
    let mut comma: Option<usize> = None;
    for &byte in bytes {
        if is_text {
            match byte {
                // A backslash before it would change what it means.
                0..0x20 if !is_escaped => mended.extend(format!("\\u{byte:04x}").into_bytes()),
                _ => mended.push(byte),
            }
            is_text = is_escaped || byte != b'"';
            is_escaped = !is_escaped && byte == b'\\';
            continue;
        }
        if !byte.is_ascii_whitespace() {
            if let (b'}' | b']', Some(at)) = (byte, comma) {
                mended[at] = b' ';
            }
            let follows_a_value = !matches!(last, b' ' | b',' | b':' | b'[' | b'{');
            comma = (byte == b',' && follows_a_value).then_some(mended.len());
            (last, is_text) = (byte, byte == b'"');
        }
        mended.push(byte);
    }
    mended
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_feed_in_a_string_and_a_comma_at_an_end_are_taken() {
        let body =
            b"{\"documents\": [{\"documentBase64\": \"JVBE\nRi0x\r\n\", \"documentId\": \"1\",}, \t],\n}";
        let value = read(body).unwrap();
        assert_eq!(
            value,
            json!({ "documents": [{ "documentBase64": "JVBE\nRi0x\r\n", "documentId": "1" }] })
        );
        assert_eq!(read(br#"[",}", ",]",]"#).unwrap(), json!([",}", ",]"]));
    }

    #[test]
    fn whatever_else_is_not_json_stays_refused() {
        let wrong: [&[u8]; 12] = [
            b"",
            b"[,]",
            b"{,}",
            b"[1,,]",
            b"{\"a\":,}",
            b"[1],",
            b"{'a': 1}",
            b"{a: 1}",
            b"[1 /* one */]",
            b"[\"a\\\n\"]",
            b"[\"a]",
            b"[1,",
        ];
        for body in wrong {
            assert!(read(body).is_err(), "{}", String::from_utf8_lossy(body));
        }
        // The place is that of the body which was sent.
        let error = read(b"{\"a\": \"x\ny\",\n\"b\": nope}").unwrap_err();
        assert_eq!(error.line(), 2, "{error}");
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[\u{0}-\u{7f}é]{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(5, 40, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec(("[,\"\\\\}\\]a]{0,3}", inner), 0..4)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_json_keeps_its_meaning(value in any_json()) {
            for text in [value.to_string(), serde_json::to_string_pretty(&value).unwrap()] {
                prop_assert_eq!(mended(text.as_bytes()), text.as_bytes());
                prop_assert_eq!(read(text.as_bytes()).unwrap(), value.clone());
            }
        }

        #[test]
        fn no_noise_panics_or_changes_its_meaning(
            noise in prop::collection::vec(
                prop::sample::select(vec!["{", "}", "[", "]", ",", ":", "\"", "\\", "\n", "\t", " ", "1", "a", "é"]),
                0..40,
            )
        ) {
            let text = noise.concat();
            if let Ok(strict) = serde_json::from_str::<Value>(&text) {
                prop_assert_eq!(serde_json::from_slice::<Value>(&mended(text.as_bytes())).unwrap(), strict);
            }
            let _ = read(text.as_bytes());
        }
    }
}
