//! Bodies that are none of the vendor's, or look like none.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

#[test]
fn what_is_read_of_a_message_has_no_nul() {
    let mut message = sim("recipient-\0completed", Some("1\0"), 1);
    message["data"]["envelopeId"] = json!(format!("\0{ENVELOPE}"));
    message["data"]["envelopeSummary"]["recipients"]["signers"][0]["recipientId"] = json!("\u{0}1");
    assert_eq!(parse(&message), parse(&sim("recipient-completed", Some("1"), 1)));
}

#[test]
fn the_vendor_s_sample_is_read_and_what_is_no_object_is_unreadable() {
    // The shape of connect.schema-v2.json, empty event included.
    let sample = json!({"event": "", "uri": "", "retryCount": 0, "configurationId": 12345, "apiVersion": "v2.1",
        "generatedDateTime": "", "data": {"accountId": "sample string", "userId": "sample string",
        "recipientId": "", "envelopeId": "sample string", "envelopeSummary": {"status": "sample string 2"}}});
    assert!(!parse(&sample).is_known());
    for body in ["", "null", "[1]", "\"x\"", "{\"event\":", "<DocuSignEnvelopeInformation/>", "{\"data\": 7}"]
    {
        assert_eq!(Message::parse(body.as_bytes()), Err(Unreadable), "{body}");
    }
    let deep = format!("{{\"event\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(!Message::parse(deep.as_bytes()).unwrap().is_known(), "what is passed over may be deep");
    let deep = deep.replace("event", "data");
    assert!(!Message::parse(deep.as_bytes()).unwrap().is_known());
}

fn any_json() -> impl Strategy<Value = Value> {
    let word = prop_oneof![
        Just("event"),
        Just("data"),
        Just("status"),
        Just("envelopeId"),
        Just("recipientId"),
        Just("envelopeSummary"),
        Just("recipients"),
        Just("signers"),
        Just("generatedDateTime"),
        Just("voidedReason"),
        Just("voidedDateTime"),
        Just("recipient-completed"),
        Just("envelope-voided"),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        word.clone().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 64, 6, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::vec((word.clone(), inner), 0..6).prop_map(|entries| entries
                .into_iter()
                .map(|(k, v)| (k.to_owned(), v))
                .collect::<serde_json::Map<_, _>>()
                .into()),
        ]
    })
}

proptest! {
    #[test]
    fn hostile_json_never_panics(value in any_json(), cut in any::<proptest::sample::Index>()) {
        let text = value.to_string();
        for body in [text.as_bytes(), &text.as_bytes()[..cut.index(text.len() + 1)]] {
            if let Ok(message) = Message::parse(body) {
                let _ = (message.identity(body), message.facts(&signing(2).signers));
            }
        }
    }

    #[test]
    fn hostile_bytes_never_panic(body in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = Message::parse(&body);
    }
}
