//! What a create is read to, and every fault that is told of one.

use super::*;

fn parse(body: &str) -> Result<Draft, Invalids> {
    let of_all = BTreeMap::from([("nda".to_owned(), "11111111-2222-4333-8444-555555555555".to_owned())]);
    let templates = TemplateNames::new(of_all, HashMap::new());
    parse_create(&Bytes::copy_from_slice(body.as_bytes()), &templates)
}

fn faults(body: &str) -> Vec<(String, &'static str)> {
    parse(body).unwrap_err().0.into_iter().map(|fault| (fault.pointer, fault.code)).collect()
}

/// The places and codes of all faults, in this order.
#[track_caller]
fn finds(body: &str, expected: &[(&str, &str)]) {
    let found = faults(body);
    let found: Vec<_> = found.iter().map(|(place, code)| (place.as_str(), *code)).collect();
    assert_eq!(found, expected);
}

#[test]
fn a_whole_request_is_read() {
    let draft = parse(
        r#"{"reference": "order-8812", "sender": "system",
            "documents": [{"template": "nda"},
                {"name": "Contract.pdf", "content_base64": "JVBERi0=",
                 "anchors": {"sign": {"visitor": "/sn1/"}, "date": "/dt1/"}}],
            "signers": [{"key": "visitor", "name": "Ada Lovelace", "email": "ada@example.com", "role": "Client",
                "order": 1, "sms_auth": {"phone": "+4915112345678"}, "access_code": null,
                "fields": {"company": "Analytical Ltd"},
                "authenticated_by": {"method": "password", "at": "2026-01-01T00:00:00Z", "id": "login-77f1"},
                "return_url": "https://www.example.com/done"}],
            "view": true, "locale": "de", "expires_in": "21d", "frame_ancestors": [], "metadata": {"a": "b"}}"#,
    )
    .unwrap();
    assert_eq!(draft.documents.len(), 2);
    assert_eq!(draft.signers[0].sms.as_ref().unwrap().country_code(), "49");
    assert_eq!(draft.signers[0].authenticated_by.as_ref().unwrap().method, "Password");
    assert_eq!(draft.expires_in, Some(std::time::Duration::from_secs(21 * 86_400)));
}

#[test]
fn a_document_is_a_slice_of_the_body() {
    let body = Bytes::from_static(
        br#"{"sender":"s","documents":[{"name":"a","content_base64":"JVBERi0xLjc="}],
            "signers":[{"name":"A","email":"a@example.com"}]}"#,
    );
    let draft = parse_create(&body, &TemplateNames::default()).unwrap();
    let Document::File { content, .. } = &draft.documents[0] else { panic!("not a file") };
    assert!(body.as_ptr_range().contains(&content.base64().as_ptr()));
}

#[test]
fn every_fault_is_listed_at_once() {
    finds(
        r#"{"sender": "system", "documents": [{"template": "none"}, {}], "locale": "?",
            "signers": [{"name": "A", "email": "nobody", "sms_auth": {"phone": "0151"}, "return_url": "javascript:x"},
                        {"key": "signer1", "name": " B", "email": "b@example.com", "role": "x"}]}"#,
        &[
            ("/documents/0/template", "invalid_request"),
            ("/documents/1", "invalid_request"),
            ("/signers/0/email", "invalid_request"),
            ("/signers/0/sms_auth/phone", "phone_invalid"),
            ("/signers/0/return_url", "return_url_refused"),
            ("/signers/1/name", "invalid_request"),
            ("/signers/1/key", "invalid_request"),
            ("/signers/0/role", "template_role_mismatch"),
            ("/locale", "invalid_request"),
        ],
    );
}

#[test]
fn what_is_wrong_in_two_ways_is_one_fault() {
    let long = "a".repeat(101);
    for name in ["", " ", "A\n", &format!("{long} ")] {
        let signer = serde_json::json!({"name": name, "email": "a@example.com", "role": "Client"});
        let body =
            format!(r#"{{"sender": "a", "documents": [{{"template": "nda"}}], "signers": [{signer}]}}"#);
        finds(&body, &[("/signers/0/name", "invalid_request")]);
    }
    let code = format!("<{long}");
    let twins = [0, 1].map(|_| {
        let signer = serde_json::json!({
            "key": "", "name": "A", "email": "a@example.com", "role": "", "access_code": code,
        });
        signer.to_string()
    });
    let twins = twins.join(",");
    finds(
        &format!(r#"{{"sender": "a", "documents": [{{"template": "nda"}}], "signers": [{twins}]}}"#),
        &[
            ("/signers/0/key", "invalid_request"),
            ("/signers/0/role", "invalid_request"),
            ("/signers/0/access_code", "invalid_request"),
            ("/signers/1/key", "invalid_request"),
            ("/signers/1/role", "invalid_request"),
            ("/signers/1/access_code", "invalid_request"),
        ],
    );
}

#[test]
fn a_role_of_a_template_is_for_one_signer() {
    let with = |documents: &str, second: &str| {
        let people = ["Client", second, "Witness"]
            .map(|role| serde_json::json!({"name": "A", "email": "a@example.com", "role": role}).to_string());
        format!(r#"{{"sender": "a", "documents": [{documents}], "signers": [{}]}}"#, people.join(","))
    };
    let (template, file) = (r#"{"template": "nda"}"#, r#"{"name": "b", "content_base64": "JVBERi0="}"#);
    let both = format!("{template},{file}");
    for same in ["Client", "client", "CLIENT"] {
        let expected = [("/signers/1/role".to_owned(), "template_role_mismatch")];
        assert_eq!(faults(&with(template, same)), expected, "{same}");
        assert_eq!(faults(&with(&both, same)), expected, "{same}");
    }
    // Without a template a role is nothing, and one signer takes it in all templates.
    assert!(parse(&with(file, "Client")).is_ok());
    assert!(parse(&with(&format!("{template},{template}"), "Manager")).is_ok());
}

#[test]
fn wrong_types_and_unknown_fields_are_listed_at_once() {
    finds(
        r#"{"sender": 1, "documents": {}, "signers": [{"nmae": "A", "email": null, "order": -1}], "wiev": true}"#,
        &[
            ("/documents", "invalid_request"),
            ("/sender", "invalid_request"),
            ("/signers/0/email", "invalid_request"),
            ("/signers/0/nmae", "unknown_field"),
            ("/signers/0/order", "invalid_request"),
            ("/signers/0/name", "invalid_request"),
            ("/wiev", "unknown_field"),
        ],
    );
}

#[test]
fn a_misspelt_field_does_not_hide_the_other_faults() {
    finds(
        r#"{"sender": "a", "documents": [{"template": "nda"}], "view": "yes", "wiev": 1,
            "signers": [{"name": "A", "email": "nobody", "role": "Client", "x/y": 1}]}"#,
        &[
            ("/signers/0/x~1y", "unknown_field"),
            ("/view", "invalid_request"),
            ("/wiev", "unknown_field"),
            ("/signers/0/email", "invalid_request"),
        ],
    );
}

#[test]
fn what_is_misshapen_hides_nothing_that_stands_beside_it() {
    finds(
        r#"{"sender": "a", "documents": [{"template": "nda"}], "signers": [{"name": 1, "order": 0,
            "role": "Client", "sms_auth": {"phone": "0151"}, "return_url": "javascript:x"}, 7], "locale": "?"}"#,
        &[
            ("/signers/0/name", "invalid_request"),
            ("/signers/0/email", "invalid_request"),
            ("/signers/1", "invalid_request"),
            ("/signers/0/sms_auth/phone", "phone_invalid"),
            ("/signers/0/order", "invalid_request"),
            ("/signers/0/return_url", "return_url_refused"),
            ("/locale", "invalid_request"),
        ],
    );
}

#[test]
fn an_anchor_is_named_where_it_stands_and_a_misshapen_one_once() {
    let with = |anchors: &str| {
        format!(
            r#"{{"sender": "a", "documents": [{{"name": "b", "content_base64": "JVBERi0=", "anchors": {anchors}}}],
                "signers": [{{"key": "a", "name": "A", "email": "a@example.com"}},
                            {{"key": "b/c", "name": "B", "email": "b@example.com"}}]}}"#
        )
    };
    for (anchors, places) in [
        (r#"{"sign": " ", "date": "/d/"}"#, "sign"),
        (r#"{"sign": {"a": "/s/", "b/c": ""}}"#, "sign/b~1c"),
        (r#"{"sign": {"a": "", "b/c": ""}, "date": {"a": "/d/"}}"#, "sign/a sign/b~1c"),
        (r#"{"sign": 7}"#, "sign"),
        (r#"{"sign": {"a": 7, "b/c": "/s/"}}"#, "sign/a"),
        (r#"{"sign": {"a": 7, "b/c": ""}}"#, "sign/a sign/b~1c"),
    ] {
        let place = |place: &str| (format!("/documents/0/anchors/{place}"), "invalid_request");
        assert_eq!(faults(&with(anchors)), places.split(' ').map(place).collect::<Vec<_>>(), "{anchors}");
    }
}

#[test]
fn a_draft_with_faults_keeps_everything_in_its_place() {
    let body = br#"{"sender": "a", "documents": [{}, {"name": "b", "content_base64": "JVBERi0="}], "wiev": 1,
        "signers": [{"name": "A", "email": "nobody"}, {"name": "B", "email": "b@example.com", "key": "b"}]}"#;
    let (draft, faults) = read_create(&Bytes::from_static(body), &TemplateNames::default());
    let draft = draft.unwrap();
    assert!(!faults.is_empty());
    assert!(matches!(&draft.documents[1], Document::File { name, .. } if name == "b"));
    assert_eq!(draft.signers[1].key, "b");
}

#[test]
fn names_are_of_one_line_that_can_be_seen_and_a_message_may_have_several() {
    let with = |field: &str, text: &str| {
        let mut body = serde_json::json!({"sender": "a", "documents": [{"template": "nda"}],
            "signers": [{"name": "A", "email": "a@example.com", "role": "Client"}]});
        *match field {
            "name" => &mut body["signers"][0]["name"],
            other => &mut body[other],
        } = text.into();
        parse(&body.to_string()).is_ok()
    };
    for bad in [
        "A\nB",
        "A\rB",
        "A\u{0}",
        "\u{7f}",
        "A\u{202e}B",
        "A\u{2066}B",
        "A\u{200f}",
        "\u{200b}",
        "\u{200b}\u{feff}",
    ] {
        assert!(!with("name", bad) && !with("subject", bad) && !with("reference", bad), "{bad:?}");
    }
    for good in ["Zoë", "\u{633}\u{627}\u{200c}\u{631}\u{627}", "\u{928}\u{94d}\u{200d}\u{926}"] {
        assert!(with("name", good) && with("subject", good), "{good:?}");
    }
    assert!(with("message", "Dear Ada,\nplease sign.") && !with("message", "\u{0}"));
}

#[test]
fn what_is_not_json_is_said_so() {
    for body in ["", "{", "[]", "null", r#"{"sender": "a", "sender": "b"}"#, "\u{1}"] {
        assert!(!faults(body).is_empty(), "{body}");
    }
}

#[test]
fn of_what_is_no_object_nothing_is_said_but_that() {
    for body in ["[]", "null", "\"x\"", "5", "true", "[{\"sender\": \"a\"}]"] {
        assert_eq!(faults(body), [(String::new(), "invalid_request")], "{body}");
        let (draft, _) = read_create(&Bytes::from_static(body.as_bytes()), &TemplateNames::default());
        assert!(draft.is_none(), "{body}");
    }
}

#[test]
fn a_name_that_is_there_twice_is_refused_where_callers_choose_the_names_too() {
    let of = |anchors: &str, fields: &str, metadata: &str| {
        format!(
            r#"{{"sender": "a", "metadata": {metadata},
                "documents": [{{"name": "b", "content_base64": "JVBERi0=", "anchors": {anchors}}}],
                "signers": [{{"key": "a", "name": "A", "email": "a@example.com", "fields": {fields}}}]}}"#
        )
    };
    let (once, twice) = (r#"{"a": "1", "b": "1"}"#, r#"{"a": "1", "b": "1", "a": "2"}"#);
    let (kinds, keys) = (r#"{"sign": "/s/", "date": {"a": "/d/"}}"#, r#"{"sign": {"a": "/s/", "a": "/t/"}}"#);
    assert!(parse(&of(kinds, once, once)).is_ok());
    let again = r#"{"sign": "/s/", "sign": "/t/"}"#;
    for body in [of(kinds, once, twice), of(kinds, twice, once), of(again, once, once), of(keys, once, once)]
    {
        let Invalids(faults) = parse(&body).unwrap_err();
        let [fault] = faults.as_slice() else { panic!("{faults:?}") };
        assert_eq!((fault.pointer.as_str(), fault.code), ("", "invalid_request"));
        assert!(fault.detail.starts_with("a name is there twice in one object (the second"), "{fault:?}");
    }
}

proptest::proptest! {
    #[test]
    fn no_body_makes_the_reader_panic(body in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
        let _ = parse_create(&Bytes::from(body), &TemplateNames::default());
    }
}
