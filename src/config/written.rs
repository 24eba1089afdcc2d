//! What was written of each setting, as a number: enough to name those that have changed, and nothing that could
//! be read back.
//!
//! Only of sections that are compared setting by setting: senders and callers may be thousands.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    hash::{DefaultHasher, Hash as _, Hasher as _},
};

use figment::{Figment, value::Value};

use super::sections::compared_by_setting;

/// Settings as they were written, to be compared with later ones.
#[derive(Clone, Default)]
pub struct Written(BTreeMap<String, u64>);

impl Written {
    pub(super) fn of(figment: &Figment) -> Self {
        let mut written = Self::default();
        for section in compared_by_setting() {
            if let Ok(value) = figment.find_value(section) {
                written.add(section.to_owned(), &value);
            }
        }
        written
    }

    fn add(&mut self, name: String, value: &Value) {
        if let Value::Dict(_, entries) = value {
            for (key, value) in entries {
                self.add(format!("{name}.{key}"), value);
            }
            return;
        }
        let mut hasher = DefaultHasher::new();
        serde_json::to_string(value).unwrap_or_default().hash(&mut hasher);
        self.0.insert(name, hasher.finish());
    }

    /// The names of those that are not as they were.
    pub fn changed_since(&self, before: &Self) -> Vec<String> {
        let names: BTreeSet<&String> = self.0.keys().chain(before.0.keys()).collect();
        names.into_iter().filter(|name| self.0.get(*name) != before.0.get(*name)).cloned().collect()
    }
}

// Names alone: they may be of secrets, and so are the numbers.
impl fmt::Debug for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Written").field(&self.0.len()).finish()
    }
}
