//! What a bad setting says: one line with the setting, where it came from, the cause and the fix.
//!
//! A refused value is never echoed: it may be a secret in the wrong place.

use std::fmt::Write as _;

use figment::error::{Actual, Kind};

use super::sections::is_section;

/// What is wrong with the settings. It always is one line, and the process ends with exit code 64.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", one_line(self))]
pub struct ConfigError {
    /// The setting, such as `senders.system.user_id`, or the file that cannot be used.
    pub setting: String,
    /// Where the value came from, if it came from somewhere: a file, an environment variable.
    pub source_name: Option<String>,
    /// What is wrong with it.
    pub cause: String,
    /// What to do.
    pub fix: String,
    /// One word of a closed set for programs: what `doctor --json` shows.
    pub code: &'static str,
}

impl ConfigError {
    /// What is wrong with `setting`.
    pub fn new(setting: impl Into<String>, cause: impl Into<String>, fix: impl Into<String>) -> Self {
        let (setting, cause, fix) = (setting.into(), cause.into(), fix.into());
        Self { setting, source_name: None, cause, fix, code: "settings_invalid" }
    }

    /// Gives the error a code of its own: people make it often enough for a name.
    #[must_use]
    pub(super) fn coded(mut self, code: &'static str) -> Self {
        self.code = code;
        self
    }

    /// Adds the file or variable that the value came from.
    #[must_use]
    pub fn found_in(mut self, source_name: Option<String>) -> Self {
        self.source_name = self.source_name.or(source_name);
        self
    }

    pub(super) fn from_figment(error: figment::Error) -> Self {
        let source_name = error.metadata.as_ref().map(|layer| layer.name.to_string());
        let mut path = error.path;
        let (cause, fix) = match error.kind {
            Kind::UnknownField(_, known) => {
                let parent = path.split_last().map_or(&[][..], |(_, parent)| parent).to_vec();
                let misspelt = path.last().cloned().unwrap_or_default();
                return Self::new(path.join("."), "unknown setting", suggestion(&parent, &misspelt, known))
                    .found_in(source_name);
            }
            Kind::UnknownVariant(_, known) => ("unknown value".to_owned(), choice(known)),
            Kind::MissingField(field) => {
                path.push(field.into_owned());
                let fix = format!("set it in the settings file or as {}", variable(&path));
                // What is missing came from nowhere.
                return Self::new(path.join("."), "missing", fix);
            }
            Kind::InvalidType(actual, expected) | Kind::InvalidValue(actual, expected) => {
                (format!("found {}", describe(&actual)), demand(&actual, &expected, &path))
            }
            // What serde makes of a list in the place of a table.
            Kind::InvalidLength(_, expected) => {
                ("found a list".to_owned(), demand(&Actual::Seq, &expected, &path))
            }
            // Ours: "cause; fix", from a value that did not parse.
            Kind::Message(message) => match message.split_once("; ") {
                Some((cause, fix)) => (cause.to_owned(), fix.to_owned()),
                None => (message, "see config/default.toml".to_owned()),
            },
            _ => ("not usable here".to_owned(), "see config/default.toml".to_owned()),
        };
        Self::new(path.join("."), cause, fix).found_in(source_name)
    }
}

/// The environment variable that sets what `path` names.
pub(super) fn variable(path: &[String]) -> String {
    let mut name = String::from("COUNTERSIGN");
    for part in path {
        let _ = write!(name, "__{}", part.to_uppercase());
    }
    name
}

/// The sentence that offers the known name nearest to a misspelt one.
fn suggestion(parent: &[String], misspelt: &str, known: &[&str]) -> String {
    // In TOML what follows a table's head belongs to it, up to the next head.
    if !parent.is_empty() && is_section(misspelt) {
        let table = match name_for(misspelt) {
            Some(name) => format!("[{misspelt}.{name}]"),
            None => format!("[{misspelt}]"),
        };
        return format!("{misspelt} is a section: write it as {table}, or put the key above the first table");
    }
    let Some(nearest) = nearest(misspelt, known) else {
        return "remove it".to_owned();
    };
    let mut full = parent.to_vec();
    full.push(nearest.to_owned());
    let full = full.join(".");
    // Far from everything: then it is no slip of the keys, and the whole list helps more.
    if strsim::jaro_winkler(misspelt, nearest) < 0.7 {
        return format!("the nearest known one is {full} (known here: {})", known.join(", "));
    }
    format!("did you mean {full}?")
}

/// The known name nearest to a misspelt one.
pub(super) fn nearest<'a>(misspelt: &str, known: &[&'a str]) -> Option<&'a str> {
    let misspelt = misspelt.to_lowercase().replace('-', "_");
    known.iter().copied().min_by_key(|name| {
        // A word left out ("key" for "integration_key") is nearer than its length says.
        let contained = name.contains(&misspelt) || misspelt.contains(name);
        let distance = strsim::damerau_levenshtein(&misspelt, name);
        if contained { distance.min(3) } else { distance }
    })
}

/// The known name that a misspelt one was meant to be: the only one that holds it, or one that is off by a third of its letters
/// at most. What is far from all of them, or a part of many, is no slip of the keys, and a hint would lead astray.
pub(super) fn near<'a>(misspelt: &str, known: &[&'a str]) -> Option<&'a str> {
    let misspelt = misspelt.to_lowercase().replace('-', "_");
    let mut holding = known.iter().copied().filter(|name| misspelt.len() >= 4 && name.contains(&misspelt));
    if let (Some(only), None) = (holding.next(), holding.next()) {
        return Some(only);
    }
    let nearest = nearest(&misspelt, known)?;
    (strsim::damerau_levenshtein(&misspelt, nearest) * 3 <= nearest.len()).then_some(nearest)
}

pub(super) fn choice(known: &[&str]) -> String {
    let quoted: Vec<String> = known.iter().map(|name| format!("\"{name}\"")).collect();
    format!("write {}", quoted.join(" or "))
}

fn describe(actual: &Actual) -> &'static str {
    match actual {
        Actual::Bool(_) => "true or false",
        Actual::Unsigned(_) | Actual::Signed(_) | Actual::Float(_) => "a number",
        Actual::Char(_) | Actual::Str(_) | Actual::Bytes(_) => "text",
        Actual::Seq => "a list",
        Actual::Map => "a table",
        _ => "something else",
    }
}

/// What to write in the place of something else.
fn demand(actual: &Actual, expected: &str, path: &[String]) -> String {
    if expected.starts_with("struct ") || expected == "a map" {
        if let [section, key] = path
            && let Some(name) = name_for(section).filter(|name| name != key)
        {
            return format!("give the table a name, such as [{section}.{name}], and put {key} into it");
        }
        return format!("write a table: [{}]", path.join("."));
    }
    if expected.starts_with("enum ") {
        return "write one of its words in quotes, as the documentation of the setting lists them".to_owned();
    }
    if matches!(actual, Actual::Map) && has_forms(path) {
        let setting = path.last().map(String::as_str).unwrap_or_default();
        return format!("write {setting}_file = \"…\" or {setting}_credential = \"…\"");
    }
    format!("write {expected}")
}

/// Whether it has settings of its own for a file and a credential, where an entry of a list would be a table.
fn has_forms(path: &[String]) -> bool {
    let (first, last) = (path.first().map(String::as_str), path.last().map(String::as_str));
    FORMS.iter().any(|(section, setting)| (first, last) == (Some(*section), Some(*setting)))
}

/// Secrets that have settings of their own for a file and a credential, with their sections.
const FORMS: [(&str, &str); 5] = [
    ("ops", "operator_password_hash"),
    ("senders", "client_secret"),
    ("signer", "pkcs11_pin"),
    ("store", "seal_key"),
    ("store", "url"),
];

/// What a table could be called, in a section whose tables have names.
fn name_for(section: &str) -> Option<&'static str> {
    match section {
        "callers" | "webhooks" => Some("website"),
        "oidc" => Some("cluster"),
        "senders" => Some("system"),
        _ => None,
    }
}

fn one_line(error: &ConfigError) -> String {
    let mut line = error.setting.clone();
    if let Some(source) = &error.source_name {
        let _ = write!(line, " (in {source})");
    }
    let _ = write!(line, ": {}; {}", error.cause, error.fix);
    // A quoted key may hold anything; a line is a line.
    line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
