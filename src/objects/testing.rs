//! For the tests of bodies: holds a table of a body's shape against what reads such a body.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::explain::Kind;

/// How a body is read.
type Read<'a> = &'a dyn Fn(&Value) -> Result<(), serde_json::Error>;

/// Whether what reads a body has the fields of the table and no others, takes in each what the table says, and needs
/// those that it says; what is not needed may be null.
pub(crate) fn hold(kind: Kind, read: Read<'_>) {
    let whole = sample(kind);
    assert!(read(&whole).is_ok(), "{whole}");
    hold_at("", kind, &whole, read);
}

fn hold_at(place: &str, kind: Kind, whole: &Value, read: Read<'_>) {
    let fields = match kind {
        Kind::List(item) => return hold_at(&format!("{place}/0"), *item, whole, read),
        Kind::Map(value) => return hold_at(&format!("{place}/a"), *value, whole, read),
        Kind::Object(fields) => fields,
        Kind::Bool | Kind::Count | Kind::Text | Kind::TextOrTexts => return,
    };
    let with = |name: &str, value: Option<Value>| {
        let mut body = whole.clone();
        let object = body.pointer_mut(place).and_then(Value::as_object_mut).unwrap();
        match value {
            Some(value) => object.insert(name.to_owned(), value),
            None => object.remove(name),
        };
        body
    };
    for (name, needed, kind) in fields {
        for body in [with(name, None), with(name, Some(Value::Null))] {
            assert_eq!(read(&body).is_err(), *needed, "{body}");
        }
        let misfit = with(name, Some(if matches!(kind, Kind::Bool) { json!("a") } else { json!(true) }));
        assert!(read(&misfit).is_err(), "{misfit}");
        hold_at(&format!("{place}/{name}"), *kind, whole, read);
    }
    // Of a field that there is not, serde says which there are.
    let said = read(&with("no such field", Some(Value::Null))).unwrap_err().to_string();
    let known: BTreeSet<_> = said.split('`').skip(3).step_by(2).collect();
    let table: BTreeSet<_> = fields.iter().map(|(name, ..)| *name).collect();
    assert_eq!(known, table, "{place}");
}

/// A value of that kind, with all that it may have.
fn sample(kind: Kind) -> Value {
    match kind {
        Kind::Bool => json!(true),
        Kind::Count => json!(1),
        Kind::List(item) => json!([sample(*item)]),
        Kind::Map(value) => json!({ "a": sample(*value) }),
        Kind::Object(fields) => {
            let fields = fields.iter().map(|(name, _, kind)| ((*name).to_owned(), sample(*kind)));
            Value::Object(fields.collect::<Map<_, _>>())
        }
        Kind::Text | Kind::TextOrTexts => json!("a"),
    }
}
