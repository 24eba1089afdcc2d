//! How long what is sent may be.
//!
//! One table a kind of object, by the members whose description in the vendor's OpenAPI file has a maximum length
//! (SPEC: signer, inPersonSigner, templateRole, signHere, formulaTab, list, textCustomField, listCustomField, document,
//! envelopeDefinition); a member that has one in some kinds of recipients has it in all. That such a text is an invalid
//! parameter is our reading: the vendor publishes no code for it. What the vendor cuts instead (`voidedReason`,
//! `returnUrl`) is not here, nor is `accessCode`, of which more is asked.

use serde_json::Value;

use super::{
    model::{Fields, Refusal, invalid, objects, text},
    tabs::DraftTab,
};

/// A member, of one text or of several, and the characters that each may have.
type Limit = (&'static str, usize);

const OF_AN_ENVELOPE: [Limit; 2] = [("emailSubject", 100), ("emailBlurb", 10_000)];

const OF_A_RECIPIENT: [Limit; 10] = [
    ("clientUserId", 100),
    ("customFields", 100),
    ("email", 100),
    ("firstName", 50),
    ("hostEmail", 100),
    ("hostName", 100),
    ("name", 100),
    ("note", 1_000),
    ("signerEmail", 100),
    ("signerName", 100),
];

const OF_A_TAB: [Limit; 2] = [("formula", 2_000), ("tabLabel", 500)];

const OF_A_CUSTOM_FIELD: [Limit; 3] = [("listItems", MAX_ITEM), ("name", 100), ("value", 100)];

const OF_A_DOCUMENT_FIELD: [Limit; 2] = [("name", 50), ("value", 200)];

/// One item of a list to choose from.
const MAX_ITEM: usize = 100;
/// All of them, with what stands between two.
const MAX_ITEMS: usize = 2_048;

/// Subject and message, as they are sent.
pub(in crate::emulator) fn of_words(subject: &str, blurb: &str) -> Result<(), Refusal> {
    for ((member, most), text) in OF_AN_ENVELOPE.into_iter().zip([subject, blurb]) {
        if is_longer(text, most) {
            return Err(invalid(&format!("The {member} is longer than {most} characters.")));
        }
    }
    Ok(())
}

/// A recipient.
pub(super) fn of_recipient(fields: &Fields) -> Result<(), Refusal> {
    let id = text(fields, "recipientId").unwrap_or_default();
    check(&OF_A_RECIPIENT, fields, &format!("recipient {id}"))
}

/// A tab.
pub(super) fn of_tab(tab: &DraftTab) -> Result<(), Refusal> {
    check(&OF_A_TAB, &tab.fields, "a tab")?;
    let items: Vec<&str> =
        objects(tab.fields.get("listItems")).filter_map(|item| text(item, "text")).collect();
    if items.iter().any(|item| is_longer(item, MAX_ITEM)) {
        return Err(too_long("text", "an item of a list", MAX_ITEM));
    }
    of_items(&items)
}

/// A custom field of an envelope.
pub(super) fn of_custom_field(field: &Fields) -> Result<(), Refusal> {
    check(&OF_A_CUSTOM_FIELD, field, "a custom field")?;
    of_items(&texts(field, "listItems").collect::<Vec<_>>())
}

/// A document.
pub(super) fn of_document(document: &Fields) -> Result<(), Refusal> {
    let mut fields = objects(document.get("documentFields"));
    fields.try_for_each(|field| check(&OF_A_DOCUMENT_FIELD, field, "a document field"))
}

fn check(limits: &[Limit], fields: &Fields, of: &str) -> Result<(), Refusal> {
    let broken =
        limits.iter().find(|(member, most)| texts(fields, member).any(|text| is_longer(text, *most)));
    match broken {
        Some((member, most)) => Err(too_long(member, of, *most)),
        None => Ok(()),
    }
}

fn of_items(items: &[&str]) -> Result<(), Refusal> {
    let all: usize = items.iter().map(|item| item.chars().count() + 1).sum();
    if all > MAX_ITEMS + 1 {
        return Err(too_long("listItems", "a list", MAX_ITEMS));
    }
    Ok(())
}

/// The one text of a member, or those of its list.
fn texts<'a>(fields: &'a Fields, member: &str) -> impl Iterator<Item = &'a str> + use<'a> {
    let one = fields.get(member);
    let several = one.and_then(Value::as_array).into_iter().flatten();
    one.into_iter().chain(several).filter_map(Value::as_str)
}

fn is_longer(text: &str, most: usize) -> bool {
    text.chars().count() > most
}

fn too_long(member: &str, of: &str, most: usize) -> Refusal {
    invalid(&format!("The {member} of {of} is longer than {most} characters."))
}
