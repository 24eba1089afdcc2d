//! What a tab takes from a signer or a sender: free text, a tick, or one of its choices.
//!
//! A group of radios and a list have one value, which also marks the chosen radio or item as `selected`. An amount may
//! come as `numericalValue` alone, as in the vendor's sample eg016.
//! Source: SPEC, the schemas of the tabs (radioGroup, radio, list, listItem, text); that an item outside a list is refused
//! is our reading, as no page of the vendor's would send one.

use serde_json::{Value, json};

use super::{
    model::{Fields, RADIOS, Tab, text},
    pattern,
};

/// The lists of tabs that a signer types, ticks or chooses in. Names, dates of signing and ids fill in by themselves.
pub(super) const FILLABLE: [&str; 14] = [
    "checkboxTabs",
    "companyTabs",
    "currencyTabs",
    "dateTabs",
    "emailTabs",
    "listTabs",
    "numberTabs",
    "numericalTabs",
    "phoneNumberTabs",
    RADIOS,
    "ssnTabs",
    "textTabs",
    "titleTabs",
    "zipTabs",
];

/// The lists of tabs that have a number beside their value, which may be written with separators or a currency.
const AMOUNTS: [&str; 2] = ["currencyTabs", "numericalTabs"];
pub(super) const NUMBER: &str = "numericalValue";

/// Lays a field over those of a tab. The number beside a value is that of the old one, unless it is laid over, too,
/// after it.
pub(super) fn lay_over(fields: &mut Fields, name: &str, value: Value) {
    if name == "value" {
        fields.remove(NUMBER);
    }
    fields.insert(name.to_owned(), value);
}

/// Whether a switch is on.
pub(super) fn is_true(fields: &Fields, name: &str) -> bool {
    text(fields, name).is_some_and(|value| value.eq_ignore_ascii_case("true"))
}

/// Digits, with a sign before them and separators among them: which of these a tab takes depends on its locale and
/// its `validationType`, which are not played.
fn is_number(value: &str) -> bool {
    let digits = value.strip_prefix(['-', '+']).unwrap_or(value);
    let is_of_one = |c: char| c.is_ascii_digit() || matches!(c, '.' | ',' | ' ' | '\'');
    digits.chars().any(|c| c.is_ascii_digit()) && digits.chars().all(is_of_one)
}

/// The items of a list, or the radios of a group.
fn options<'a>(list: &str, fields: &'a Fields) -> Vec<&'a Fields> {
    let name = if list == RADIOS { "radios" } else { "listItems" };
    fields.get(name).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_object).collect()
}

/// What choosing an option gives: its value, or an item's text if it has none.
fn value_of(option: &Fields) -> &str {
    text(option, "value").or_else(|| text(option, "text")).unwrap_or_default()
}

/// The value that the fields of a tab ask for, as a client writes them; none if they ask for nothing.
pub(super) fn asked_for(list: &str, fields: &Fields) -> Option<String> {
    let said = fields.get("value").and_then(Value::as_str).map(str::to_owned);
    let given = || text(fields, "value").map(str::to_owned);
    let chosen = || {
        let options = options(list, fields);
        options
            .into_iter()
            .find(|option| is_true(option, "selected"))
            .map(|option| value_of(option).to_owned())
    };
    match list {
        "checkboxTabs" if fields.contains_key("selected") => {
            Some(if is_true(fields, "selected") { "X" } else { "" }.to_owned())
        }
        RADIOS => chosen().or_else(given),
        "listTabs" => {
            let known = options(list, fields);
            let is_known =
                |value: &String| known.is_empty() || known.iter().any(|one| value_of(one) == value);
            given()
                .filter(is_known)
                .or_else(chosen)
                .or_else(|| text(fields, "listSelectedValue").map(str::to_owned).filter(is_known))
        }
        _ if AMOUNTS.contains(&list) => said.or_else(|| text(fields, NUMBER).map(str::to_owned)),
        _ => said,
    }
}

impl Tab {
    /// Whether it is of a kind in which the signer types, ticks or chooses something.
    pub(in crate::emulator) fn is_for_its_signer(&self) -> bool {
        FILLABLE.contains(&self.list.as_str())
    }

    /// Whether the signer types, ticks or chooses something.
    pub(in crate::emulator) fn is_fillable(&self) -> bool {
        let is_locked = if self.list == RADIOS {
            options(&self.list, &self.fields).iter().all(|radio| is_true(radio, "locked"))
        } else {
            is_true(&self.fields, "locked")
        };
        self.is_for_its_signer() && !is_locked
    }

    /// Whether signing without it is refused.
    pub(in crate::emulator) fn is_required(&self) -> bool {
        self.is_fillable()
            && match self.list.as_str() {
                "checkboxTabs" => false,
                RADIOS => {
                    is_true(&self.fields, "requireAll")
                        || options(&self.list, &self.fields).iter().any(|radio| is_true(radio, "required"))
                }
                _ => text(&self.fields, "required").is_none_or(|text| text.eq_ignore_ascii_case("true")),
            }
    }

    /// The values and the texts that can be chosen; none for a field that takes any text.
    pub(in crate::emulator) fn choices(&self) -> Option<Vec<(&str, &str)>> {
        if self.list != RADIOS && self.list != "listTabs" {
            return None;
        }
        let all = options(&self.list, &self.fields);
        let pairs: Vec<_> =
            all.into_iter().map(|one| (value_of(one), text(one, "text").unwrap_or(value_of(one)))).collect();
        (self.list == RADIOS || !pairs.is_empty()).then_some(pairs)
    }

    /// Whether this can be its value.
    pub(in crate::emulator) fn takes(&self, value: &str) -> bool {
        let is_offered = || self.choices().is_none_or(|all| all.iter().any(|(known, _)| *known == value));
        value.is_empty() || (is_offered() && (!self.is_numeric() || is_number(value)))
    }

    /// Whether it is for numbers.
    pub(in crate::emulator) fn is_numeric(&self) -> bool {
        matches!(self.list.as_str(), "numberTabs" | "numericalTabs")
    }

    /// Whether it is for an e-mail address.
    pub(in crate::emulator) fn is_for_an_address(&self) -> bool {
        self.list == "emailTabs"
    }

    /// The most characters that its signer may write.
    pub(in crate::emulator) fn max_length(&self) -> Option<usize> {
        text(&self.fields, "maxLength")?.trim().parse::<usize>().ok().filter(|most| *most > 0)
    }

    /// The form that its value has: what its sender asks for, or else what its kind does, with or without dashes (SPEC:
    /// ssn, zip). A date may be written in any (SPEC: date).
    fn form(&self) -> Option<&str> {
        text(&self.fields, "validationPattern").or(match self.list.as_str() {
            "ssnTabs" => Some(r"^\d{3}-?\d{2}-?\d{4}$"),
            "zipTabs" => Some(r"^\d{5}(-?\d{4})?$"),
            _ => None,
        })
    }

    /// What its sender has its signer told of a value that is not of its form, which may be nothing; none of one that is,
    /// or is empty.
    pub(in crate::emulator) fn complaint(&self) -> Option<&str> {
        let form = self.form().filter(|_| !self.value.is_empty())?;
        let is_allowed = pattern::allows(form, &self.value);
        (!is_allowed).then(|| text(&self.fields, "validationMessage").unwrap_or_default())
    }

    /// Takes a value, and marks what it chooses.
    pub(in crate::emulator) fn fill(&mut self, value: &str) {
        if AMOUNTS.contains(&self.list.as_str()) && value != self.value {
            // One with separators is not read: which they are is up to a locale, and none is played.
            match value.parse::<f64>() {
                Ok(number) if number.is_finite() => self.fields.insert(NUMBER.to_owned(), json!(value)),
                _ => self.fields.remove(NUMBER),
            };
        }
        value.clone_into(&mut self.value);
        let name = if self.list == RADIOS { "radios" } else { "listItems" };
        let options = self.fields.get_mut(name).and_then(Value::as_array_mut).into_iter().flatten();
        for option in options.filter_map(Value::as_object_mut) {
            let is_chosen = !value.is_empty() && value_of(option) == value;
            option.insert("selected".to_owned(), json!(is_chosen.to_string()));
        }
    }

    /// A value for signers who are not told one: one that it takes, unless its sender has a pattern for it or leaves too
    /// little room.
    pub(in crate::emulator) fn sample(&self) -> String {
        let choices = self.choices().unwrap_or_default();
        let said = choices.iter().find(|(value, _)| !value.is_empty()).or(choices.first());
        if let Some((value, _)) = said {
            return (*value).to_owned();
        }
        let samples: &[&str] = match self.list.as_str() {
            "checkboxTabs" => &["X"],
            "currencyTabs" | "numberTabs" | "numericalTabs" => &["1"],
            "dateTabs" => &["01/31/2026"],
            "emailTabs" => &["sample@example.com", "a@b.c"],
            "phoneNumberTabs" => &["+1 206 555 0100"],
            // Of those that are given to nobody.
            "ssnTabs" => &["987-65-4321", "987654321"],
            "zipTabs" => &["98101"],
            _ => &["Sample"],
        };
        let most = self.max_length().unwrap_or(usize::MAX);
        let sample = samples.iter().find(|sample| sample.len() <= most).unwrap_or(&samples[0]);
        sample.chars().take(most).collect()
    }

    /// The radio that is chosen.
    pub(super) fn selected_radio(&self) -> Option<&Fields> {
        options(RADIOS, &self.fields).into_iter().find(|radio| is_true(radio, "selected"))
    }
}
