//! What a definition says of how an envelope and its documents are to be treated: checked, kept, and answered as it was
//! sent.
//!
//! Most of it would show in the ceremony, which plays none of it: `includeInDownload` and `envelopeIdStamping` shape
//! the files, `enforceSignerVisibility` hides some, the rest is only remembered. Nothing here may be answered that was
//! not sent, but for the defaults.
//!
//! Source: SPEC: envelope, document; lower case in answers: esign101/rules-and-limits/responses.

use serde_json::json;

use super::model::{Fields, Refusal, invalid, text};

const SWITCH: &[&str] = &["true", "false"];

/// A setting: its name, what it may be, and what is answered if it was not sent; empty: nothing.
type Setting = (&'static str, &'static [&'static str], &'static str);

const OF_AN_ENVELOPE: &[Setting] = &[
    ("allowComments", SWITCH, "true"),
    ("allowMarkup", SWITCH, "false"),
    ("allowReassign", SWITCH, "true"),
    ("allowViewHistory", SWITCH, ""),
    ("authoritativeCopy", SWITCH, ""),
    ("authoritativeCopyDefault", SWITCH, ""),
    ("autoNavigation", SWITCH, "true"),
    ("brandLock", SWITCH, ""),
    ("disableResponsiveDocument", SWITCH, ""),
    ("enableWetSign", SWITCH, "true"),
    ("enforceSignerVisibility", SWITCH, ""),
    ("envelopeIdStamping", SWITCH, "true"),
    ("messageLock", SWITCH, ""),
    ("recipientsLock", SWITCH, ""),
    ("signerCanSignOnMobile", SWITCH, "true"),
    ("signingLocation", &["online", "inperson"], "online"),
    ("useDisclosure", SWITCH, ""),
];

const OF_A_DOCUMENT: &[Setting] = &[
    ("authoritativeCopy", SWITCH, "false"),
    ("display", &["inline", "modal"], "inline"),
    ("includeInDownload", SWITCH, "true"),
    ("signerMustAcknowledge", &["no_interaction", "view", "accept", "view_accept"], "no_interaction"),
    ("templateLocked", SWITCH, ""),
    ("templateRequired", SWITCH, "false"),
];

/// The settings that a definition of an envelope sends.
pub(in crate::emulator) fn of_envelope(given: &Fields) -> Result<Fields, Refusal> {
    sent(OF_AN_ENVELOPE, given)
}

/// The settings that the definition of a document sends.
pub(super) fn of_document(given: &Fields) -> Result<Fields, Refusal> {
    sent(OF_A_DOCUMENT, given)
}

/// What is answered of an envelope for what was not sent.
pub(in crate::emulator) fn envelope_defaults() -> Fields {
    defaults(OF_AN_ENVELOPE)
}

/// What is answered of a document of this envelope or template for what was not sent of it.
pub(in crate::emulator) fn document_defaults(of_envelope: &Fields) -> Fields {
    let mut fields = defaults(OF_A_DOCUMENT);
    // SPEC: envelope.authoritativeCopyDefault.
    let copy =
        ["authoritativeCopyDefault", "authoritativeCopy"].into_iter().find_map(|name| of_envelope.get(name));
    fields.extend(copy.map(|copy| ("authoritativeCopy".to_owned(), copy.clone())));
    fields
}

/// Whether this setting is on.
pub(super) fn is_on(given: &Fields, name: &str) -> bool {
    text(given, name) == Some("true")
}

/// Whether this setting is off.
pub(super) fn is_off(given: &Fields, name: &str) -> bool {
    text(given, name) == Some("false")
}

fn sent(settings: &[Setting], given: &Fields) -> Result<Fields, Refusal> {
    let mut fields = Fields::new();
    for (name, values, _) in settings {
        let Some(value) = text(given, name) else { continue };
        let known = values.iter().find(|known| known.eq_ignore_ascii_case(value));
        let known = known.ok_or_else(|| invalid(&format!("{name} must be one of {}.", values.join(", "))))?;
        fields.insert((*name).to_owned(), json!(known));
    }
    Ok(fields)
}

fn defaults(settings: &[Setting]) -> Fields {
    let known = settings.iter().filter(|(_, _, default)| !default.is_empty());
    known.map(|(name, _, default)| ((*name).to_owned(), json!(default))).collect()
}
