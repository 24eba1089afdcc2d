//! Texts that stand for a switch or a number.
//!
//! The vendor's types say text of nearly every member; which of them are more is in their descriptions. An empty text says
//! nothing, as SDKs send it. The vendor publishes no code for another word: that it is an invalid parameter is our
//! reading, as it is of the settings of an envelope.

use super::model::{Fields, Refusal, invalid, text};

/// Refuses a word that is neither true nor false, in whatever case.
pub(in crate::emulator) fn switches(fields: &Fields, names: &[&str]) -> Result<(), Refusal> {
    let is_switch = |word: &str| ["true", "false"].iter().any(|known| known.eq_ignore_ascii_case(word));
    match names.iter().find(|name| text(fields, name).is_some_and(|word| !is_switch(word))) {
        Some(name) => Err(invalid(&format!("{name} must be one of true, false."))),
        None => Ok(()),
    }
}

/// Refuses words that are no whole numbers from 0 on.
pub(super) fn numbers(fields: &Fields, names: &[&str]) -> Result<(), Refusal> {
    names.iter().try_for_each(|name| number(fields, name).map(drop))
}

/// The whole number from 0 on that a member says; none if it says nothing.
pub(super) fn number(fields: &Fields, name: &str) -> Result<Option<u32>, Refusal> {
    let number = text(fields, name).map(|word| word.trim().parse());
    number.transpose().map_err(|_| invalid(&format!("{name} must be a whole number.")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_switch_is_true_or_false_and_a_number_whole() {
        let says = |word: &str| json!({ "a": word }).as_object().unwrap().clone();
        for (word, is_switch, is_number) in [
            ("true", true, false),
            ("FALSE", true, false),
            ("", true, true),
            ("0", false, true),
            (" 12 ", false, true),
            ("-1", false, false),
            ("1.5", false, false),
            ("banana", false, false),
        ] {
            assert_eq!(switches(&says(word), &["a"]).is_ok(), is_switch, "{word}");
            assert_eq!(numbers(&says(word), &["a"]).is_ok(), is_number, "{word}");
        }
        assert!(switches(&says("banana"), &["b"]).is_ok());
    }
}
