//! Tells everything that is wrong with a JSON body, after serde has told the first thing.

use crate::objects::{Invalids, invalid::token};

/// What is expected at a place of a body.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    /// `true` or `false`.
    Bool,
    /// A whole number from 0.
    Count,
    /// A list of one kind.
    List(&'static Kind),
    /// An object with any names and values of one kind.
    Map(&'static Kind),
    /// An object with these fields: name, whether it must be there, kind.
    Object(&'static [(&'static str, bool, Kind)]),
    /// A string.
    Text,
    /// A string, or an object of strings.
    TextOrTexts,
}

/// Reads a body again as a tree and lists each place where it is not of `kind`. Answers also what is left
/// of the body without those places, so that what is wrong with the rest can be told at the same time.
pub(super) fn explain(body: &[u8], error: &serde_json::Error, kind: Kind) -> (Invalids, Vec<u8>) {
    let mut faults = Invalids::default();
    let mut rest = Vec::new();
    match serde_json::from_slice::<serde_json::Value>(body) {
        Ok(mut value) => {
            walk(&value, kind, &mut String::new(), &mut faults);
            for fault in &faults.0 {
                remove(&mut value, &fault.pointer);
            }
            rest = value.to_string().into_bytes();
        }
        Err(_) => faults
            .wrong("", format!("the body is not JSON (line {}, column {})", error.line(), error.column())),
    }
    if faults.is_empty() {
        // serde saw more than the table does: a repeated field, or a number that does not fit.
        let place = format!("line {}, column {}", error.line(), error.column());
        faults.wrong(
            "",
            format!("the body does not fit the schema at {place}: a field is repeated or out of range"),
        );
    }
    (faults, rest)
}

/// Takes a field out of an object. Items of lists stay, so that the places of the others do not move.
fn remove(value: &mut serde_json::Value, pointer: &str) {
    let Some((parent, name)) = pointer.rsplit_once('/') else { return };
    if let Some(fields) = value.pointer_mut(parent).and_then(serde_json::Value::as_object_mut) {
        fields.remove(&name.replace("~1", "/").replace("~0", "~"));
    }
}

fn walk(value: &serde_json::Value, kind: Kind, place: &mut String, faults: &mut Invalids) {
    use serde_json::Value;
    match (kind, value) {
        (Kind::Bool, Value::Bool(_)) | (Kind::Text | Kind::TextOrTexts, Value::String(_)) => {}
        (Kind::Count, Value::Number(number)) if number.as_u64().is_some_and(|n| u32::try_from(n).is_ok()) => {
        }
        (Kind::List(item), Value::Array(items)) => {
            for (at, value) in items.iter().enumerate() {
                step(place, &at.to_string(), |place| walk(value, *item, place, faults));
            }
        }
        (Kind::Map(item), Value::Object(entries)) => {
            for (name, value) in entries {
                step(place, &token(name), |place| walk(value, *item, place, faults));
            }
        }
        (Kind::TextOrTexts, Value::Object(_)) => walk(value, Kind::Map(&Kind::Text), place, faults),
        (Kind::Object(fields), Value::Object(entries)) => object(entries, fields, place, faults),
        (kind, _) => faults.wrong(place.clone(), format!("must be {}", kind.words())),
    }
}

fn object(
    entries: &serde_json::Map<String, serde_json::Value>,
    fields: &[(&str, bool, Kind)],
    place: &mut String,
    faults: &mut Invalids,
) {
    for (name, value) in entries {
        let Some((_, needed, kind)) = fields.iter().find(|(field, ..)| field == name) else {
            let nearest = fields
                .iter()
                .map(|(field, ..)| *field)
                .min_by_key(|field| strsim::damerau_levenshtein(field, name))
                .filter(|field| strsim::damerau_levenshtein(field, name) <= 3);
            let hint = nearest.map_or_else(String::new, |field| format!("; did you mean {field}?"));
            faults.add(
                format!("{place}/{}", token(name)),
                "unknown_field",
                format!("there is no such field{hint}"),
            );
            continue;
        };
        if value.is_null() && !needed {
            continue;
        }
        step(place, name, |place| walk(value, *kind, place, faults));
    }
    for (name, ..) in fields.iter().filter(|(name, needed, _)| *needed && !entries.contains_key(*name)) {
        faults.wrong(format!("{place}/{name}"), "is missing");
    }
}

fn step(place: &mut String, name: &str, inner: impl FnOnce(&mut String)) {
    let length = place.len();
    place.push('/');
    place.push_str(name);
    inner(place);
    place.truncate(length);
}

impl Kind {
    const fn words(self) -> &'static str {
        match self {
            Self::Bool => "true or false",
            Self::Count => "a whole number from 0",
            Self::List(_) => "a list",
            Self::Map(_) | Self::Object(_) => "an object",
            Self::Text => "a string",
            Self::TextOrTexts => "a string, or an object of strings by signer key",
        }
    }
}
