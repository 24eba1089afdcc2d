//! What the document promises of a body, its reader takes: at each limit, and whatever a pattern allows; and of a life
//! nothing else.

use bytes::Bytes;
use proptest::string::string_regex;

use super::{
    requests::{forms, is_of},
    *,
};
use crate::{
    config::check_name,
    domain::{TemplateNames, draft::MAX_LIFE},
    objects::{duration, parse_create},
    pairing::is_account,
};

/// Texts of a create whose length is limited.
const TEXTS: [&str; 14] = [
    "/documents/1/anchors/date/manager",
    "/documents/1/anchors/sign",
    "/documents/1/name",
    "/locale",
    "/message",
    "/metadata/order",
    "/reference",
    "/signers/0/access_code",
    "/signers/0/authenticated_by/id",
    "/signers/0/fields/company",
    "/signers/0/key",
    "/signers/0/name",
    "/signers/0/role",
    "/subject",
];

/// Texts of a create of which not every one is taken.
const PATTERNS: [&str; 13] = [
    "/documents/1/anchors/date/manager",
    "/documents/1/anchors/sign",
    "/documents/1/name",
    "/expires_in",
    "/frame_ancestors/0",
    "/locale",
    "/message",
    "/reference",
    "/signers/0/access_code",
    "/signers/0/authenticated_by/id",
    "/signers/0/key",
    "/signers/0/name",
    "/signers/0/role",
];

/// Whether a create is taken with this in that place.
fn is_taken(place: &str, value: Value) -> bool {
    let mut body = json!({
        "reference": "order-8812", "sender": "system", "subject": "Contract", "message": "Please sign.",
        "documents": [{ "template": "nda" }, {
            "name": "Contract.pdf", "content_base64": "JVBERi0=",
            "anchors": { "sign": "/sn1/", "date": { "manager": "/dt1/" } },
        }],
        "signers": [{
            "key": "visitor", "name": "Ada Lovelace", "email": "ada@example.com", "role": "Client", "order": 1,
            "access_code": "Turing-1936", "fields": { "company": "Analytical Ltd" },
            "authenticated_by": { "method": "password", "at": "2026-06-01T12:00:00Z", "id": "login-77f1" },
        }, { "key": "manager", "name": "Grace Hopper", "email": "grace@example.com", "role": "Manager" }],
        "locale": "de", "expires_in": "21d", "frame_ancestors": ["https://www.example.com"],
        "metadata": { "order": "8812" },
    });
    *body.pointer_mut(place).unwrap() = value;
    let of_all = BTreeMap::from([("nda".to_owned(), "3f1c9a52-6f0e-4a3b-8f57-1d2a90c4e001".to_owned())]);
    let templates = TemplateNames::new(of_all, std::collections::HashMap::new());
    parse_create(&Bytes::from(body.to_string()), &templates).is_ok()
}

/// What the document says of a place of a create, where it is of that type.
fn said_of<'d>(document: &'d Value, place: &str, of: &str) -> &'d Value {
    let mut schemas = vec![&document["components"]["schemas"]["CreateSigning"]];
    for name in place.split('/').skip(1) {
        let forms = schemas.into_iter().flat_map(|schema| forms(document, schema));
        let members =
            forms.flat_map(|form| [&form["properties"][name], &form["items"], &form["additionalProperties"]]);
        schemas = members.filter(|member| member.is_object()).collect();
    }
    let mut forms = schemas.into_iter().flat_map(|schema| forms(document, schema));
    forms.find(|form| is_of(form, of)).unwrap_or_else(|| panic!("{place} is no {of}"))
}

fn limit(schema: &Value, name: &str) -> Option<usize> {
    schema[name].as_u64().map(|limit| usize::try_from(limit).unwrap())
}

/// The lengths that a schema allows.
fn lengths(schema: &Value) -> std::ops::RangeInclusive<usize> {
    limit(schema, "minLength").unwrap_or(0)..=limit(schema, "maxLength").unwrap_or(usize::MAX)
}

/// What lies at both ends of what is allowed, and just outside of it.
fn edges(allowed: &std::ops::RangeInclusive<usize>) -> Vec<usize> {
    let (least, most) = (*allowed.start(), *allowed.end());
    least.checked_sub(1).into_iter().chain([least, most, most + 1]).collect()
}

#[test]
fn texts_and_turns_of_a_create_are_taken_to_their_limits_and_no_further() {
    let document = document();
    for place in TEXTS {
        let allowed = lengths(said_of(&document, place, "string"));
        assert_ne!(*allowed.end(), usize::MAX, "{place} has no limit");
        for length in edges(&allowed) {
            let taken = is_taken(place, "a".repeat(length).into());
            assert_eq!(taken, allowed.contains(&length), "{place}: {length} characters");
        }
    }
    for place in ["/metadata", "/signers/0/fields"] {
        let allowed = lengths(&said_of(&document, place, "object")["propertyNames"]);
        for length in edges(&allowed) {
            let taken = is_taken(place, json!({ ("a".repeat(length)): "b" }));
            assert_eq!(taken, allowed.contains(&length), "{place}: a name of {length} characters");
        }
    }
    let order = said_of(&document, "/signers/0/order", "integer");
    let turns = limit(order, "minimum").unwrap()..=limit(order, "maximum").unwrap();
    for turn in edges(&turns) {
        assert_eq!(is_taken("/signers/0/order", turn.into()), turns.contains(&turn), "turn {turn}");
    }
}

#[test]
fn an_account_is_taken_to_its_limits_and_no_further_however_many_bytes_a_character_has() {
    let document = document();
    for body in ["NewSender", "SenderChange"] {
        let allowed = lengths(&document["components"]["schemas"][body]["properties"]["account"]);
        assert_ne!(*allowed.end(), usize::MAX, "{body}");
        for length in edges(&allowed) {
            for character in ["a", "\u{fc}", "\u{6f22}"] {
                let taken = is_account(&character.repeat(length));
                assert_eq!(taken, allowed.contains(&length), "{body}: {length} times {character}");
            }
        }
    }
}

#[test]
fn whatever_the_patterns_of_a_create_allow_is_taken() {
    let document = document();
    for place in PATTERNS {
        let schema = said_of(&document, place, "string");
        let pattern = schema["pattern"].as_str().unwrap_or_else(|| panic!("{place} has no pattern"));
        let bare = pattern.trim_start_matches('^').trim_end_matches('$');
        let (allowed, texts) = (lengths(schema), string_regex(bare).unwrap());
        proptest::proptest!(|(text in texts)| {
            // Said beside the pattern of an origin.
            let is_beyond = place.starts_with("/frame_ancestors")
                && (text.ends_with(":80") || text.ends_with(":443") || text.contains("xn--"));
            if allowed.contains(&text.chars().count()) && !is_beyond {
                proptest::prop_assert!(is_taken(place, text.as_str().into()), "{place}: {text:?}");
            }
        });
    }
}

#[test]
fn a_life_is_taken_just_where_its_pattern_allows_it() {
    let document = document();
    let said = said_of(&document, "/expires_in", "string")["pattern"].as_str().unwrap();
    let pattern = regex::Regex::new(said).unwrap();
    let agree = |text: &str| {
        assert_eq!(duration::life(text).is_some(), pattern.is_match(text), "{text:?}");
    };
    for (unit, seconds) in [("", 1), ("s", 1), ("m", 60), ("h", 3_600), ("d", 86_400)] {
        let most = usize::try_from(MAX_LIFE.as_secs()).unwrap() / seconds;
        let numbers = (0..=3 * most).step_by(most / 5_000 + 1);
        for number in numbers.chain(edges(&(1..=most))).chain([most - 1, 10 * most]) {
            agree(&format!("{number}{unit}"));
            agree(&format!("0{number}{unit}"));
        }
    }
    proptest::proptest!(|(text in "[ +]?[0-9]{0,9}[smhdw]?[ ]?")| {
        agree(&text);
    });
}

#[test]
fn whatever_the_pattern_of_a_senders_name_allows_may_be_one() {
    let document = document();
    let schema = &document["components"]["schemas"]["NewSender"]["properties"]["name"];
    let allowed = lengths(schema);
    for length in edges(&allowed).into_iter().filter(|length| *length > 0) {
        let taken = check_name(&"a".repeat(length)).is_ok();
        assert_eq!(taken, allowed.contains(&length), "{length} characters");
    }
    let pattern = schema["pattern"].as_str().unwrap();
    let names = string_regex(pattern.trim_start_matches('^').trim_end_matches('$')).unwrap();
    proptest::proptest!(|(name in names)| {
        if allowed.contains(&name.len()) {
            proptest::prop_assert!(check_name(&name).is_ok(), "{name:?}");
        }
    });
}
