//! Bodies and queries are written three times: as a type, as a table that tells all that is wrong with one, and in
//! the document. Here the three are held against one another.

use axum::extract::Query;
use http::Method;
use serde::de::value::{Error as ValueError, MapDeserializer};

use super::*;
use crate::{
    api::{
        creates::CreateQuery,
        events::{EndpointBody, EndpointChange, EventsQuery},
        exchange::{Empty, PageQuery, Parameter, Parameters, Shape, takes_query},
        made_senders::{ChangeBody, NewBody},
        senders::ConsentQuery,
        signings::{self, AccessCodeBody, LinkBody, PhoneBody, PurgeBody, VoidBody, WaitQuery},
    },
    objects::{
        create_form::CREATE,
        explain::{Kind, from_object},
        testing::hold,
    },
};

/// The table of a body, which its type agrees with.
fn table<T: Shape>() -> Kind {
    hold(T::SHAPE, &|body: &Value| from_object::<T>(body.to_string().as_bytes()).map(drop));
    T::SHAPE
}

/// What a schema may be, each of its alternatives by itself.
pub(super) fn forms<'d>(document: &'d Value, schema: &'d Value) -> Vec<&'d Value> {
    if let Some(path) = schema["$ref"].as_str() {
        return forms(document, document.pointer(path.trim_start_matches('#')).unwrap());
    }
    match schema["oneOf"].as_array() {
        Some(all) => all.iter().flat_map(|one| forms(document, one)).collect(),
        None => vec![schema],
    }
}

/// Whether a form says that it is of a type, alone or among others.
pub(super) fn is_of(form: &Value, name: &str) -> bool {
    let among = |names: &Vec<Value>| names.iter().any(|one| one == name);
    form["type"] == name || form["type"].as_array().is_some_and(among)
}

fn requires(form: &Value, name: &str) -> bool {
    form["required"].as_array().unwrap().iter().any(|one| one == name)
}

fn may_be_null(document: &Value, schema: &Value) -> bool {
    forms(document, schema).iter().any(|form| is_of(form, "null"))
}

/// Holds a schema against a table: the same fields, of the same types, of which the same must be there.
fn agree(document: &Value, schema: &Value, kind: Kind, place: &str) {
    let forms: Vec<_> = forms(document, schema).into_iter().filter(|form| form["type"] != "null").collect();
    let of = match kind {
        Kind::Bool => "boolean",
        Kind::Count => "integer",
        Kind::List(_) => "array",
        Kind::Map(_) | Kind::Object(_) => "object",
        Kind::Text => "string",
        Kind::TextOrTexts => {
            let kinds: Vec<_> = forms.iter().map(|form| form["type"].clone()).collect();
            assert_eq!(kinds, ["string", "object"], "{place}");
            return;
        }
    };
    for form in &forms {
        assert!(is_of(form, of) || (of == "string" && form["enum"][0].is_string()), "{place}: {form}");
        match kind {
            Kind::List(item) => agree(document, &form["items"], *item, &format!("{place}/0")),
            Kind::Map(value) => {
                agree(document, &form["additionalProperties"], *value, &format!("{place}/*"));
            }
            _ => {}
        }
    }
    let Kind::Object(fields) = kind else { return };
    let described = forms.iter().flat_map(|form| form["properties"].as_object().unwrap().keys());
    let described: BTreeSet<_> = described.map(String::as_str).collect();
    let tabled: BTreeSet<_> = fields.iter().map(|(name, ..)| *name).collect();
    assert_eq!(described, tabled, "{place}");
    for (name, needed, kind) in fields {
        let here = format!("{place}/{name}");
        assert_eq!(forms.iter().all(|form| requires(form, name)), *needed, "{here}");
        for form in forms.iter().filter(|form| form["properties"][*name].is_object()) {
            let field = &form["properties"][*name];
            assert_eq!(may_be_null(document, field), !requires(form, name), "{here}");
            agree(document, field, *kind, &here);
        }
    }
}

#[test]
fn a_body_is_the_same_as_a_type_as_a_table_and_in_the_document() {
    let document = document();
    let tables = [
        ("CorrectAccessCode", table::<AccessCodeBody>()),
        ("CorrectPhone", table::<PhoneBody>()),
        // Its types are held against it where they are.
        ("CreateSigning", CREATE),
        ("CreateWebhookEndpoint", table::<EndpointBody>()),
        ("Empty", table::<Empty>()),
        ("NewLink", table::<LinkBody>()),
        ("NewSender", table::<NewBody>()),
        ("PurgeSigning", table::<PurgeBody>()),
        ("SenderChange", table::<ChangeBody>()),
        ("VoidSigning", table::<VoidBody>()),
        ("WebhookEndpointChange", table::<EndpointChange>()),
    ];
    for (schema, kind) in tables {
        agree(&document, &reference(schema), kind, schema);
    }
    for (path, method, operation) in operations(&document) {
        let body = &operation["requestBody"]["content"]["application/json"]["schema"]["$ref"];
        let Some(name) = body.as_str().and_then(|path| path.rsplit('/').next()) else { continue };
        assert!(tables.iter().any(|(schema, _)| *schema == name), "{method} {path}: {name}");
    }
}

/// The names in the table of a query, which its type agrees with.
fn names<T: Parameters>() -> BTreeSet<&'static str> {
    let is_read = |query: String| Query::<T>::try_from_uri(&format!("/?{query}").parse().unwrap()).is_ok();
    for (name, kind) in T::PARAMETERS {
        let (good, bad) = match kind {
            Parameter::Bool => ("true", Some("1")),
            Parameter::Count => ("1", Some("a")),
            Parameter::Text => ("a", None),
        };
        assert!(is_read(format!("{name}={good}")), "{name}");
        assert!(bad.is_none_or(|bad| !is_read(format!("{name}={bad}"))), "{name}");
    }
    let names: BTreeSet<_> = T::PARAMETERS.iter().map(|(name, _)| *name).collect();
    // Of a parameter that there is not, serde says which there are.
    let unknown = MapDeserializer::<_, ValueError>::new(std::iter::once(("no such parameter", "")));
    let said = <T as serde::Deserialize<'_>>::deserialize(unknown).err().unwrap().to_string();
    let known: BTreeSet<_> = said.split('`').skip(3).step_by(2).collect();
    assert!(!known.is_empty() && known.is_subset(&names), "{said}");
    names
}

#[test]
fn a_query_is_the_same_as_a_type_as_a_table_and_in_the_document_and_nothing_else_takes_one() {
    let document = document();
    let mut tables = BTreeMap::from([
        ("create_signing", names::<CreateQuery>()),
        ("list_deliveries", names::<PageQuery>()),
        ("list_events", names::<EventsQuery>()),
        ("list_senders", names::<PageQuery>()),
        ("list_signings", names::<signings::ListQuery>()),
        ("sender_consent", names::<ConsentQuery>()),
        ("wait_for_signing", names::<WaitQuery>()),
    ]);
    // The name that `after` has at the other lists: both at once would be refused, which no schema can say.
    assert!(tables.get_mut("list_events").unwrap().remove("cursor"));
    for (path, method, operation) in operations(&document) {
        let parameters = operation["parameters"].as_array().into_iter().flatten();
        let of_query = parameters.filter(|parameter| parameter["in"] == "query");
        let described: BTreeSet<_> = of_query.map(|parameter| parameter["name"].as_str().unwrap()).collect();
        let taken = tables.remove(operation["operationId"].as_str().unwrap()).unwrap_or_default();
        assert_eq!(described, taken, "{method} {path}");
        let route = PATHS.iter().find(|route| template(route) == path).unwrap();
        let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
        // What is passed on has whatever query DocuSign takes.
        let hands_on = route.contains("/esign/");
        assert_eq!(takes_query(&method, route), !taken.is_empty() || hands_on, "{method} {path}");
    }
    assert!(tables.is_empty(), "calls that are not in the document: {tables:?}");
}
