//! The document against the router, itself, and what it promises in words.

mod limits;
mod requests;

use std::collections::BTreeSet;

use super::*;
use crate::{
    api::router::PATHS,
    auth::Error,
    signing::{MAX_WAITING, MAX_WAITING_OF_ONE},
};

fn operations(document: &Value) -> Vec<(String, String, Value)> {
    let mut all = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            all.push((path.clone(), method.clone(), operation.clone()));
        }
    }
    all
}

/// Every `$ref` in a document.
fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            if let Some(Value::String(target)) = members.get("$ref") {
                found.insert(target.clone());
            }
            members.values().for_each(|member| references(member, found));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

#[test]
fn the_document_and_the_router_have_the_same_paths() {
    let document = document();
    let described: BTreeSet<String> = document["paths"].as_object().unwrap().keys().cloned().collect();
    let served: BTreeSet<String> = PATHS.iter().map(|path| template(path)).collect();
    assert_eq!(described, served);
}

#[test]
fn l2_that_a_new_view_puts_out_the_signer_at_the_last_one_is_said_where_it_is_asked_for() {
    let document = document();
    let view = operations(&document).into_iter().find(|(_, _, it)| it["operationId"] == "create_view");
    let about = view.unwrap().2["description"].as_str().unwrap_or_default().to_owned();
    assert!(about.contains("puts out whoever is using the last one"), "{about}");
}

#[test]
fn each_operation_is_one_of_openapi_3_1() {
    let document = document();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let mut ids = BTreeSet::new();
    for (path, method, operation) in operations(&document) {
        assert!(["get", "post", "put", "patch", "delete"].contains(&method.as_str()), "{method} {path}");
        assert!(ids.insert(operation["operationId"].as_str().unwrap().to_owned()), "twice: {operation}");
        let responses = operation["responses"].as_object().unwrap();
        assert!(responses.keys().any(|status| status.starts_with('2')), "{method} {path}");
        assert!(responses.values().all(|answer| answer["description"].is_string()), "{method} {path}");
        let named: BTreeSet<String> = path
            .split('/')
            .filter_map(|part| Some(part.strip_prefix('{')?.strip_suffix('}')?.to_owned()))
            .collect();
        let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
        let given: BTreeSet<String> = parameters
            .iter()
            .filter(|parameter| parameter["in"] == "path")
            .map(|parameter| parameter["name"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(given, named, "{method} {path}");
    }
}

#[test]
fn every_reference_leads_somewhere() {
    let document = document();
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    let schemas: BTreeSet<String> = document["components"]["schemas"]
        .as_object()
        .unwrap()
        .keys()
        .map(|name| format!("#/components/schemas/{name}"))
        .collect();
    assert_eq!(found.difference(&schemas).next(), None);
}

#[test]
fn requests_are_closed_and_their_examples_have_only_fields_that_exist() {
    let document = document();
    for (path, method, operation) in operations(&document) {
        let body = &operation["requestBody"]["content"]["application/json"];
        let Some(name) = body["schema"]["$ref"].as_str().and_then(|path| path.rsplit('/').next()) else {
            continue;
        };
        let schema = &document["components"]["schemas"][name];
        assert_eq!(schema["additionalProperties"], false, "{method} {path}");
        for field in body["example"].as_object().unwrap().keys() {
            assert!(schema["properties"][field].is_object(), "{name} has no {field}");
        }
    }
}

#[test]
fn the_example_of_a_create_is_taken_as_it_stands() {
    let document = document();
    let example =
        &document["paths"]["/v1/signings"]["post"]["requestBody"]["content"]["application/json"]["example"];
    let of_all = BTreeMap::from([("nda".to_owned(), "3f1c9a52-6f0e-4a3b-8f57-1d2a90c4e001".to_owned())]);
    let templates = crate::domain::TemplateNames::new(of_all, std::collections::HashMap::new());
    let body = bytes::Bytes::from(example.to_string());
    assert!(crate::objects::parse_create(&body, &templates).is_ok());
}

#[test]
fn s2_what_is_kept_in_the_clear_says_that_it_is_no_place_for_personal_data() {
    let document = document();
    for (name, field) in [("CreateSigning", "reference"), ("NewSigner", "key")] {
        let about = &document["components"]["schemas"][name]["properties"][field]["description"];
        assert!(about.as_str().unwrap().ends_with("no personal data"), "{name}.{field}: {about}");
    }
}

#[test]
fn what_no_name_explains_is_described() {
    let document = document();
    let schemas = &document["components"]["schemas"];
    for (name, fields) in [
        ("CreateSigning", vec!["subject", "message", "locale", "expires_in"]),
        ("FileDocument", vec!["content_base64", "anchors"]),
        ("NewSigner", vec!["sms_auth", "access_code", "fields"]),
        ("NewLink", vec!["expires_in"]),
    ] {
        for field in fields {
            assert!(schemas[name]["properties"][field]["description"].is_string(), "{name}.{field}");
        }
    }
}

#[test]
fn every_code_of_a_refusal_is_in_the_schema() {
    let document = document();
    let codes =
        document["components"]["schemas"]["Problem"]["properties"]["code"]["enum"].as_array().unwrap();
    assert_eq!(codes.len(), CODES.len());
    for (path, method, operation) in operations(&document) {
        for answer in operation["responses"].as_object().unwrap().values() {
            if !answer["content"]["application/problem+json"].is_object() {
                continue;
            }
            for code in answer["description"].as_str().unwrap().split(", ") {
                assert!(codes.iter().any(|known| known == code), "{method} {path}: {code}");
            }
        }
    }
}

#[test]
fn every_way_to_say_who_calls_is_a_scheme_and_any_one_is_enough() {
    let document = document();
    let schemes = document["components"]["securitySchemes"].as_object().unwrap();
    let kinds: Vec<_> = schemes.values().map(|scheme| scheme["type"].as_str().unwrap()).collect();
    assert!(kinds.contains(&"mutualTLS") && kinds.contains(&"http"), "{kinds:?}");
    let asked = document["security"].as_array().unwrap();
    assert_eq!(asked.len(), schemes.len());
    for one in asked {
        let one = one.as_object().unwrap();
        assert!(one.len() == 1 && one.keys().all(|name| schemes.contains_key(name)), "{one:?}");
    }
    // A call that carries nothing is in words: an empty requirement would say that nobody need be anybody.
    assert!(document["info"]["description"].as_str().unwrap().contains("unix_uids"));
}

/// The codes of an operation's refusals.
fn refusals(operation: &Value) -> BTreeSet<&str> {
    let answers = operation["responses"].as_object().unwrap().values();
    let problems = answers.filter(|answer| answer["content"]["application/problem+json"].is_object());
    problems.flat_map(|problem| problem["description"].as_str().unwrap().split(", ")).collect()
}

/// That each of them reads a body is tried where there is a daemon.
#[test]
fn every_call_that_reads_a_body_says_which_and_how_it_is_refused() {
    let document = document();
    for (path, method, operation) in operations(&document) {
        // What is passed on is DocuSign's to read.
        if !["patch", "post"].contains(&method.as_str()) || path.contains("/esign/") {
            continue;
        }
        assert!(operation["requestBody"].is_object(), "{method} {path}");
        let refusals = refusals(&operation);
        for code in ["content_encoding_unsupported", "invalid_request", "payload_too_large", "unknown_field"]
        {
            assert!(refusals.contains(code), "{method} {path}: {code}");
        }
    }
}

#[test]
fn a_call_that_is_passed_on_is_refused_for_whatever_any_call_upstream_is() {
    let document = document();
    let passed = operations(&document).into_iter().filter(|(path, ..)| path.contains("/esign/"));
    let passed: Vec<_> = passed.collect();
    assert_eq!(passed.len(), 4);
    for (_, method, operation) in passed {
        let refusals = refusals(&operation);
        for code in [Error::Closed.code(), Error::UserIsAccount.code()].into_iter().chain(UPSTREAM) {
            assert!(refusals.contains(code), "{method}: {code}");
        }
    }
}

#[test]
fn how_many_calls_may_wait_is_said_where_they_do() {
    let document = document();
    let said = document["paths"]["/v1/signings/{id}/wait"]["get"]["description"].as_str().unwrap();
    for limit in [MAX_WAITING, MAX_WAITING_OF_ONE] {
        assert!(said.split(' ').any(|word| word == limit.to_string()), "{limit}: {said}");
    }
}

#[test]
fn a_body_may_be_left_out_where_nothing_in_it_must_be_said() {
    let document = document();
    for (path, method, operation) in operations(&document) {
        let Some(body) = operation["requestBody"].as_object() else { continue };
        // A change that changes nothing is written as one.
        let is_change = method == "patch";
        let reference = body["content"]["application/json"]["schema"]["$ref"].as_str().unwrap();
        let schema = document.pointer(reference.trim_start_matches('#')).unwrap();
        let needs_something = !schema["required"].as_array().unwrap().is_empty();
        assert_eq!(body["required"], needs_something || is_change, "{method} {path}");
    }
}
