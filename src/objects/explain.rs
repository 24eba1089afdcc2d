//! Tells everything that is wrong with a JSON body, after serde has told the first thing.

use crate::objects::{Invalids, entries::TWICE, invalid::token};

/// What is expected at a place of a body.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
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

/// Names up to here, in bytes, are told: each fault below one would repeat it. It is longer than any that is taken.
const MAX_TOLD: usize = 1_024;

/// Reads a body again as a tree and lists each place where it is not of `kind`. Answers also what is left
/// of the body without those places, so that what is wrong with the rest can be told at the same time. Of what is no
/// object at all nothing is left: whatever were told of its fields would be invented.
///
/// The tree may be a hundred times as large as the body: who calls bounds the size of the body, or the values in it.
pub(crate) fn explain(body: &[u8], error: &serde_json::Error, kind: Kind) -> (Invalids, Vec<u8>) {
    let mut faults = Invalids::default();
    let mut rest = Vec::new();
    match serde_json::from_slice::<serde_json::Value>(body) {
        Ok(mut value) => {
            walk(&value, kind, &mut String::new(), &mut faults);
            if value.is_object() {
                fill(&mut value, kind);
                rest = value.to_string().into_bytes();
            }
        }
        Err(_) => faults
            .wrong("", format!("the body is not JSON (line {}, column {})", error.line(), error.column())),
    }
    if faults.is_empty() {
        faults.wrong("", beyond(error));
    }
    (faults, rest)
}

/// What serde saw and the table does not: a field that is there twice, or a number that does not fit.
fn beyond(error: &serde_json::Error) -> String {
    let place = format!("line {}, column {}", error.line(), error.column());
    let words = error.to_string();
    if words.starts_with(TWICE) {
        return format!("{TWICE} in one object (the second ends at {place})");
    }
    // The name is one of ours: a field that does not exist is none that could be repeated.
    match words.strip_prefix("duplicate field `").and_then(|rest| rest.split_once('`')) {
        Some((field, _)) => format!("the field {field} is there twice (the second ends at {place})"),
        None => format!("the body does not fit the schema at {place}: a number is out of range"),
    }
}

/// Makes a value one of its kind, with blanks for what is not. Items of lists stay, so that the places of the
/// others do not move.
fn fill(value: &mut serde_json::Value, kind: Kind) {
    use serde_json::{Map, Value};
    match (kind, &mut *value) {
        (Kind::List(item), Value::Array(items)) => items.iter_mut().for_each(|value| fill(value, *item)),
        (Kind::Map(item), Value::Object(entries)) => {
            entries.values_mut().for_each(|value| fill(value, *item));
        }
        (Kind::TextOrTexts, Value::Object(_)) => fill(value, Kind::Map(&Kind::Text)),
        (Kind::Object(fields), Value::Object(entries)) => {
            entries.retain(|name, _| fields.iter().any(|(field, ..)| field == name));
            for (name, needed, kind) in fields {
                if *needed {
                    fill(entries.entry(*name).or_insert(Value::Null), *kind);
                } else if let Some(value) = entries.get_mut(*name).filter(|value| !value.is_null()) {
                    fill(value, *kind);
                }
            }
        }
        (Kind::Object(_), _) => {
            *value = Value::Object(Map::new());
            fill(value, kind);
        }
        (kind, value) if !kind.fits(value) => {
            *value = match kind {
                Kind::Bool => Value::Bool(false),
                Kind::Count => Value::from(1),
                Kind::List(_) => Value::Array(Vec::new()),
                Kind::Map(_) | Kind::Object(_) => Value::Object(Map::new()),
                Kind::Text | Kind::TextOrTexts => Value::from(""),
            };
        }
        _ => {}
    }
}

/// Reads an object. By itself a struct would also be read from a list of its fields in their order.
pub(crate) fn from_object<'a, T: serde::Deserialize<'a>>(body: &'a [u8]) -> Result<T, serde_json::Error> {
    if body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[') {
        return Err(serde::de::Error::custom("it is a list"));
    }
    serde_json::from_slice(body)
}

fn walk(value: &serde_json::Value, kind: Kind, place: &mut String, faults: &mut Invalids) {
    use serde_json::Value;
    match (kind, value) {
        (kind, value) if kind.fits(value) => {}
        (Kind::List(item), Value::Array(items)) => {
            for (at, value) in items.iter().enumerate() {
                step(place, &at.to_string(), |place| walk(value, *item, place, faults));
            }
        }
        (Kind::Map(item), Value::Object(entries)) => {
            for (name, value) in entries {
                if is_told(name, place, faults) {
                    step(place, &token(name), |place| walk(value, *item, place, faults));
                }
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
            // Looking for what was meant takes time.
            if faults.is_full() || !is_told(name, place, faults) {
                continue;
            }
            let hint =
                meant(name, fields).map_or_else(String::new, |field| format!("; did you mean {field}?"));
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

/// Whether a name can be part of a place; if not, it is wrong itself.
fn is_told(name: &str, place: &str, faults: &mut Invalids) -> bool {
    let is_told = name.len() <= MAX_TOLD;
    if !is_told {
        faults.wrong(place, format!("holds a name of more than {MAX_TOLD} bytes"));
    }
    is_told
}

/// Which field was meant: one of that name that has its place in a part, or one that is spelt nearly so. What is far from
/// all of them is no slip of the keys, and gets no hint that leads astray.
fn meant(name: &str, fields: &[(&str, bool, Kind)]) -> Option<String> {
    let inner = fields.iter().find_map(|(field, _, kind)| match kind {
        Kind::Object(parts) if parts.iter().any(|(part, ..)| *part == name) => {
            Some(format!("{field}.{name}"))
        }
        _ => None,
    });
    inner.or_else(|| {
        let distance = |field: &str| {
            // A word left out ("content" for "content_base64") is nearer than its length says.
            let is_part = name.len() >= 4 && field.contains(name);
            let distance = strsim::damerau_levenshtein(field, name);
            if is_part { distance.min(3) } else { distance }
        };
        let nearest = fields.iter().map(|(field, ..)| *field).min_by_key(|field| distance(field))?;
        let is_near = distance(nearest) <= 3 && strsim::jaro_winkler(nearest, name) >= 0.7;
        is_near.then(|| nearest.to_owned())
    })
}

fn step(place: &mut String, name: &str, inner: impl FnOnce(&mut String)) {
    let length = place.len();
    place.push('/');
    place.push_str(name);
    inner(place);
    place.truncate(length);
}

impl Kind {
    /// Whether a value that has no parts is of this kind.
    fn fits(self, value: &serde_json::Value) -> bool {
        match self {
            Self::Bool => value.is_boolean(),
            Self::Count => value.as_u64().is_some_and(|n| u32::try_from(n).is_ok()),
            Self::Text | Self::TextOrTexts => value.is_string(),
            Self::List(_) | Self::Map(_) | Self::Object(_) => false,
        }
    }

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::create_form::CREATE;

    #[test]
    fn a_hint_names_what_is_spelt_nearly_so_or_has_its_place_in_a_part_and_nothing_else() {
        let table = [
            (r#"{"signers": [{"emial": ""}]}"#, "; did you mean email?"),
            (r#"{"signers": [{"returnurl": ""}]}"#, "; did you mean return_url?"),
            (r#"{"signers": [{"phone": ""}]}"#, "; did you mean sms_auth.phone?"),
            (r#"{"documents": [{"file": ""}]}"#, "there is no such field"),
            (r#"{"documents": [{"content": ""}]}"#, "; did you mean content_base64?"),
        ];
        for (body, end) in table {
            let mut faults = Invalids::default();
            walk(&serde_json::from_str(body).unwrap(), CREATE, &mut String::new(), &mut faults);
            let unknown = faults.0.iter().find(|fault| fault.code == "unknown_field").unwrap();
            assert!(unknown.detail.ends_with(end), "{body}: {}", unknown.detail);
        }
    }

    /// A hundred faults below a name of megabytes would be an answer of hundreds of them.
    #[test]
    fn s5_a_name_that_is_too_long_is_told_once_and_not_repeated() {
        let (long, longest) = ("n".repeat(MAX_TOLD + 1), "n".repeat(MAX_TOLD));
        let below =
            format!("{{{}}}", (0..150).map(|at| format!("\"k{at}\": 0")).collect::<Vec<_>>().join(","));
        for (body, places) in [
            (
                format!(r#"{{"documents": [{{"anchors": {{"{long}": {below}}}}}]}}"#),
                vec!["/documents/0/anchors"],
            ),
            (format!(r#"{{"metadata": {{"{long}": 0}}, "{long}": 0}}"#), vec!["/metadata", ""]),
            (format!(r#"{{"metadata": {{"{longest}": 0}}}}"#), vec!["/metadata/"]),
        ] {
            let mut faults = Invalids::default();
            walk(&serde_json::from_str(&body).unwrap(), CREATE, &mut String::new(), &mut faults);
            let told = faults.0.iter().filter(|fault| fault.detail != "is missing");
            let told: Vec<_> = told.map(|fault| fault.pointer.trim_end_matches('n')).collect();
            assert_eq!(told, places);
        }
        let many = (0..150).map(|at| format!(r#""unknown_{at}": 0"#)).collect::<Vec<_>>().join(",");
        let mut faults = Invalids::default();
        walk(&serde_json::from_str(&format!("{{{many}}}")).unwrap(), CREATE, &mut String::new(), &mut faults);
        assert!(faults.is_full() && faults.0.len() == 100);
    }
}
