//! Checks request bodies against the vendor's own description of them.
//!
//! The types come from DocuSign's OpenAPI file, boiled down to `schema.json` (its source, commit and
//! licence are in that file). As at the vendor, unknown fields are ignored at every depth and null is as good as
//! absent, a text field takes a number or a boolean, and a boolean or number field takes its text form; anything
//! else is refused with the path of the property. Names of fields are told apart without case, as the
//! vendor's reader (Newtonsoft.Json) does: its Node sample eg019 writes `DocumentBase64`. Accepted values
//! are brought to the declared type, names to the declared spelling, and what is ignored is taken away, so that
//! the rest of the emulator reads one form and answers with nothing but the vendor's own members.
//!
//! This module knows shapes only. What a value means is checked where it is used.

use std::{collections::HashMap, fmt::Write as _, sync::LazyLock};

use serde::Deserialize;
use serde_json::{Map, Value};

use super::lenient_json;

/// The bodies that can be checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::emulator) enum Body {
    /// `PUT …/settings`.
    AccountSettings,
    /// `POST …/brands`.
    Brand,
    /// `DELETE …/brands`.
    Brands,
    /// `PUT …/bulk_send_batch/{id}`.
    BulkSendBatchRequest,
    /// `POST …/bulk_send_lists/{id}/send` and `…/test`.
    BulkSendRequest,
    /// `POST …/bulk_send_lists` and `PUT …/bulk_send_lists/{id}`.
    BulkSendingList,
    /// `POST …/views/console`.
    ConsoleViewRequest,
    /// `POST …/views/correct`.
    CorrectViewRequest,
    /// `PUT`, `POST` and `DELETE …/custom_fields`.
    CustomFields,
    /// `POST …/connect`.
    ConnectConfiguration,
    /// `PUT /envelopes/{id}`.
    Envelope,
    /// `POST /envelopes`.
    EnvelopeDefinition,
    /// `PUT /envelopes/status`.
    EnvelopeIds,
    /// `POST /templates` and `PUT /templates/{id}`.
    EnvelopeTemplate,
    /// `PUT …/folders/{id}`.
    FoldersRequest,
    /// `POST` and `PUT …/lock`.
    LockRequest,
    /// `PUT …/notification`.
    Notification,
    /// `PUT`, `POST` and `DELETE …/recipients`.
    Recipients,
    /// `POST …/views/recipient`.
    RecipientViewRequest,
    /// `POST …/views/sender` and `…/views/edit`.
    ReturnUrlRequest,
    /// `PUT …/workflow/scheduledSending`.
    ScheduledSending,
    /// `POST`, `PUT` and `DELETE …/recipients/{id}/tabs`.
    Tabs,
    /// `PUT …/signatures/{id}`.
    UserSignatureDefinition,
    /// `POST …/users/{id}/signatures`.
    UserSignaturesInformation,
    /// `PUT …/workflow`.
    Workflow,
}

impl Body {
    fn definition(self) -> &'static str {
        match self {
            Self::AccountSettings => "accountSettingsInformation",
            Self::Brand => "brand",
            Self::Brands => "brandsRequest",
            Self::BulkSendBatchRequest => "bulkSendBatchRequest",
            Self::BulkSendRequest => "bulkSendRequest",
            Self::BulkSendingList => "bulkSendingList",
            Self::ConsoleViewRequest => "consoleViewRequest",
            Self::CorrectViewRequest => "correctViewRequest",
            Self::CustomFields => "customFields",
            Self::ConnectConfiguration => "connectCustomConfiguration",
            Self::Envelope => "envelope",
            Self::EnvelopeDefinition => "envelopeDefinition",
            Self::EnvelopeIds => "envelopeIdsRequest",
            Self::EnvelopeTemplate => "envelopeTemplate",
            Self::FoldersRequest => "foldersRequest",
            Self::LockRequest => "lockRequest",
            Self::Notification => "notification",
            Self::Recipients => "recipients",
            Self::RecipientViewRequest => "recipientViewRequest",
            Self::ReturnUrlRequest => "returnUrlRequest",
            Self::ScheduledSending => "scheduledSending",
            Self::Tabs => "tabs",
            Self::UserSignatureDefinition => "userSignatureDefinition",
            Self::UserSignaturesInformation => "userSignaturesInformation",
            Self::Workflow => "workflow",
        }
    }
}

/// A property has a type that the vendor does not take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the property '{path}' must be {expected}, not {found}")]
pub(in crate::emulator) struct Mismatch {
    path: String,
    expected: &'static str,
    found: &'static str,
}

/// Parses `bytes` and checks them as `body`. The error is the second sentence of the vendor's message.
pub(in crate::emulator) fn parse(body: Body, bytes: &[u8]) -> Result<Value, String> {
    let mut value = lenient_json::read(bytes).map_err(|error| format!("The body is not JSON: {error}."))?;
    check(body, &mut value).map_err(|mismatch| {
        let text = mismatch.to_string();
        // The vendor's sentences begin with a capital and end with a full stop.
        format!("T{}.", &text[1..])
    })?;
    Ok(value)
}

/// Checks `value` as `body`, brings its known fields to their declared types, and takes away the others and nulls.
pub(in crate::emulator) fn check(body: Body, value: &mut Value) -> Result<(), Mismatch> {
    let path = &mut String::new();
    if value.is_object() {
        return check_object(definition(body.definition()), value, path);
    }
    Err(mismatch("(root)", "an object", value))
}

/// Takes away what an item of this list of a body does not have.
pub(in crate::emulator) fn fit(body: Body, list: &str, item: &mut Map<String, Value>) {
    if let Some(Field::List(of)) = definition(body.definition()).fields.get(list)
        && let Field::Object(name) = &**of
    {
        let fields = &definition(name).fields;
        item.retain(|member, _| fields.contains_key(member));
    }
}

fn check_object(definition: &Definition, value: &mut Value, path: &mut String) -> Result<(), Mismatch> {
    let found = kind(value);
    let Value::Object(fields) = value else {
        return match value {
            Value::Null => Ok(()),
            _ => Err(Mismatch { path: path.clone(), expected: "an object", found }),
        };
    };
    fields.retain(|_, field| !field.is_null());
    respell(definition, fields);
    fields.retain(|name, _| definition.fields.contains_key(name));
    for (name, field) in fields {
        let Some(expected) = definition.fields.get(name) else { continue };
        let length = path.len();
        if !path.is_empty() {
            path.push('.');
        }
        path.push_str(name);
        check_field(expected, field, path)?;
        path.truncate(length);
    }
    Ok(())
}

/// Gives fields that differ from a known one by case alone its name. One that is spelled as it should be stays, and the
/// other beside it is not known.
fn respell(definition: &Definition, fields: &mut Map<String, Value>) {
    let unknown = fields.keys().filter(|name| !definition.fields.contains_key(*name));
    let misspelt: Vec<(String, &String)> = unknown
        .filter_map(|name| Some((name.clone(), definition.spellings.get(&name.to_ascii_lowercase())?)))
        .collect();
    for (name, known) in misspelt {
        if !fields.contains_key(known)
            && let Some(value) = fields.remove(&name)
        {
            fields.insert(known.clone(), value);
        }
    }
}

fn check_field(expected: &Field, value: &mut Value, path: &mut String) -> Result<(), Mismatch> {
    match expected {
        _ if value.is_null() => Ok(()),
        Field::Text => check_text(value, path),
        Field::Boolean => check_boolean(value, path),
        Field::Number => check_number(value, path),
        Field::Anything => {
            strip(value);
            Ok(())
        }
        Field::Object(name) => check_object(definition(name), value, path),
        Field::List(of) => {
            let Value::Array(items) = value else { return Err(mismatch(path, "an array", value)) };
            items.retain(|item| !item.is_null());
            for (index, item) in items.iter_mut().enumerate() {
                let length = path.len();
                let _ = write!(path, "[{index}]");
                check_field(of, item, path)?;
                path.truncate(length);
            }
            Ok(())
        }
    }
}

/// Takes nulls away at every depth.
fn strip(value: &mut Value) {
    match value {
        Value::Array(items) => {
            items.retain(|item| !item.is_null());
            items.iter_mut().for_each(strip);
        }
        Value::Object(fields) => {
            fields.retain(|_, field| !field.is_null());
            fields.values_mut().for_each(strip);
        }
        _ => {}
    }
}

fn check_text(value: &mut Value, path: &str) -> Result<(), Mismatch> {
    let text = match &*value {
        Value::String(_) => return Ok(()),
        Value::Number(number) => number.to_string(),
        Value::Bool(truth) => truth.to_string(),
        _ => return Err(mismatch(path, "a string", value)),
    };
    *value = Value::String(text);
    Ok(())
}

fn check_boolean(value: &mut Value, path: &str) -> Result<(), Mismatch> {
    let truth = match &*value {
        Value::Bool(_) => return Ok(()),
        Value::String(text) if text.eq_ignore_ascii_case("true") => true,
        Value::String(text) if text.eq_ignore_ascii_case("false") || text.is_empty() => false,
        _ => return Err(mismatch(path, "a boolean", value)),
    };
    *value = Value::Bool(truth);
    Ok(())
}

fn check_number(value: &mut Value, path: &str) -> Result<(), Mismatch> {
    let number = match &*value {
        Value::Number(_) => return Ok(()),
        Value::String(text) => text.trim().parse::<i64>().ok(),
        _ => None,
    };
    *value = number.map(Value::from).ok_or_else(|| mismatch(path, "a number", value))?;
    Ok(())
}

fn mismatch(path: &str, expected: &'static str, value: &Value) -> Mismatch {
    Mismatch { path: path.to_owned(), expected, found: kind(value) }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Array(_) => "an array",
        Value::Bool(_) => "a boolean",
        Value::Null => "null",
        Value::Number(_) => "a number",
        Value::Object(_) => "an object",
        Value::String(_) => "a string",
    }
}

fn definition(name: &str) -> &'static Definition {
    static NONE: LazyLock<Definition> = LazyLock::new(Definition::default);
    DEFINITIONS.get(name).unwrap_or(&NONE)
}

#[derive(Debug, Clone, Default)]
struct Definition {
    fields: HashMap<String, Field>,
    /// The names of the fields by the same in lower case.
    spellings: HashMap<String, String>,
}

#[derive(Debug, Clone)]
enum Field {
    Anything,
    Boolean,
    List(Box<Field>),
    Number,
    Object(String),
    Text,
}

/// `schema.json` as it is written: names of one type share a line, relatives share a list.
#[derive(Deserialize)]
struct File {
    definitions: HashMap<String, Written>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Written {
    like: Option<String>,
    string: String,
    boolean: String,
    number: String,
    nested: HashMap<String, String>,
}

static DEFINITIONS: LazyLock<HashMap<String, Definition>> = LazyLock::new(|| {
    let file: File =
        serde_json::from_str(include_str!("schema.json")).expect("schema.json is part of the source");
    let expand = |written: &Written| {
        let parent = written.like.as_ref().and_then(|name| file.definitions.get(name));
        let mut fields: HashMap<String, Field> = HashMap::new();
        for part in parent.into_iter().chain([written]) {
            fields.extend(part.string.split_whitespace().map(|name| (name.to_owned(), Field::Text)));
            fields.extend(part.boolean.split_whitespace().map(|name| (name.to_owned(), Field::Boolean)));
            fields.extend(part.number.split_whitespace().map(|name| (name.to_owned(), Field::Number)));
            fields.extend(part.nested.iter().map(|(name, of)| (name.clone(), nested(of))));
        }
        let spellings = fields.keys().map(|name| (name.to_ascii_lowercase(), name.clone())).collect();
        Definition { fields, spellings }
    };
    file.definitions.iter().map(|(name, written)| (name.clone(), expand(written))).collect()
});

/// `[name]` is a list of that definition, `[]string` a list of texts, `*` anything.
fn nested(of: &str) -> Field {
    if let Some(item) = of.strip_prefix("[]") {
        let item = if item == "string" { Field::Text } else { Field::Anything };
        return Field::List(Box::new(item));
    }
    if let Some(name) = of.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return Field::List(Box::new(Field::Object(name.to_owned())));
    }
    if of == "*" { Field::Anything } else { Field::Object(of.to_owned()) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn refusal(body: Body, value: &Value) -> String {
        parse(body, value.to_string().as_bytes()).unwrap_err()
    }

    #[test]
    fn a_wrong_type_is_refused_with_its_path() {
        let deep = json!({"recipients": {"signers": [{"name": "a"}, {"tabs": {"signHereTabs": [{"anchorString": {}}]}}]}});
        assert_eq!(
            refusal(Body::EnvelopeDefinition, &deep),
            "The property 'recipients.signers[1].tabs.signHereTabs[0].anchorString' must be a string, not an object."
        );
        let list = json!({"recipients": {"signers": {"name": "a"}}});
        assert_eq!(
            refusal(Body::EnvelopeDefinition, &list),
            "The property 'recipients.signers' must be an array, not an object."
        );
        assert!(refusal(Body::RecipientViewRequest, &json!({"returnUrl": ["x"]})).contains("'returnUrl'"));
        assert!(refusal(Body::Envelope, &json!([])).contains("(root)"));
    }

    #[test]
    fn texts_take_numbers_and_booleans_and_what_is_unknown_or_null_is_taken_away() {
        let body = json!({
            "recipients": { "signers": [null, {
                "recipientId": 1, "addAccessCodeToEmail": false, "nobody": { "knows": [] }, "note": null, "NAME": null,
                "tabs": { "textTabs": [{ "value": "a", "hint": 1 }], "ghostTabs": [] },
            }] },
            "future": 1, "": 2,
        });
        let value = parse(Body::EnvelopeDefinition, body.to_string().as_bytes()).unwrap();
        let signer = json!({
            "recipientId": "1", "addAccessCodeToEmail": "false", "tabs": { "textTabs": [{ "value": "a" }] },
        });
        assert_eq!(value, json!({ "recipients": { "signers": [signer] } }));
        let view =
            json!({ "returnUrl": "a:", "settings": { "any": [null, { "b": null, "c": 1 }], "d": null } });
        let value = parse(Body::ReturnUrlRequest, view.to_string().as_bytes()).unwrap();
        assert_eq!(value["settings"], json!({ "any": [{ "c": 1 }] }));
    }

    #[test]
    fn names_are_told_apart_without_case_and_kept_as_they_are_declared() {
        // As the vendor's samples send them: Node eg019, bash eg041 and eg016.
        let body = json!({
            "Status": "sent", "Documents": [{ "DocumentId": 1 }],
            "recipients": { "Signers": [{
                "RecipientId": "1", "name": "Ada", "Name": "Eve",
                "identityVerification": { "inputOptions": [{ "phoneNumberList": [{ "Number": "1", "CountryCode": 49 }] }] },
                "Tabs": { "SignHeretabs": [{ "documentID": "1", "XPosition": 10 }] },
            }] },
        });
        let value = parse(Body::EnvelopeDefinition, body.to_string().as_bytes()).unwrap();
        let expected = json!({
            "status": "sent", "documents": [{ "documentId": "1" }],
            "recipients": { "signers": [{
                "recipientId": "1", "name": "Ada",
                "identityVerification": { "inputOptions": [{ "phoneNumberList": [{ "number": "1", "countryCode": "49" }] }] },
                "tabs": { "signHereTabs": [{ "documentId": "1", "xPosition": "10" }] },
            }] },
        });
        assert_eq!(value, expected);
        assert_eq!(
            refusal(Body::EnvelopeDefinition, &json!({ "DOCUMENTS": {} })),
            "The property 'documents' must be an array, not an object."
        );
    }

    #[test]
    fn an_item_keeps_what_its_list_knows() {
        let mut item =
            json!({ "recipientId": "1", "isBulkRecipient": "false", "hostName": "Sofia", "tabs": {} });
        let fields = item.as_object_mut().unwrap();
        fit(Body::Recipients, "inPersonSigners", fields);
        assert_eq!(json!(fields), json!({ "recipientId": "1", "hostName": "Sofia", "tabs": {} }));
        fit(Body::Recipients, "certifiedDeliveries", fields);
        assert_eq!(json!(fields), json!({ "recipientId": "1" }));
    }

    #[test]
    fn no_two_fields_differ_by_case_alone() {
        for (name, definition) in DEFINITIONS.iter() {
            assert_eq!(definition.spellings.len(), definition.fields.len(), "{name}");
        }
    }

    #[test]
    fn every_definition_that_is_named_exists() {
        for (name, definition) in DEFINITIONS.iter() {
            for (field, kind) in &definition.fields {
                let of = match kind {
                    Field::Object(of) => of,
                    Field::List(item) => match &**item {
                        Field::Object(of) => of,
                        _ => continue,
                    },
                    _ => continue,
                };
                // Read-only metadata is left out of the file on purpose.
                assert!(DEFINITIONS.contains_key(of), "{name}.{field} names {of}");
            }
        }
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let names = prop::sample::select(vec![
            "recipients",
            "signers",
            "documents",
            "tabs",
            "signHereTabs",
            "status",
            "Status",
            "customFields",
            "CUSTOMFIELDS",
            "x",
        ]);
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".{0,8}".prop_map(Value::from)
        ];
        leaf.prop_recursive(6, 48, 4, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec((names.clone(), inner), 0..4).prop_map(|fields| {
                    Value::Object(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
                })
            ]
        })
    }

    proptest! {
        #[test]
        fn no_body_panics_and_an_accepted_one_stays_accepted(mut value in any_json()) {
            if check(Body::EnvelopeDefinition, &mut value).is_ok() {
                prop_assert!(check(Body::EnvelopeDefinition, &mut value).is_ok());
            }
        }
    }
}
