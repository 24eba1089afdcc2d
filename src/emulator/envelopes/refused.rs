//! What a definition may ask for and the emulator does not play: refused in words, never swallowed.
//!
//! The code is the vendor's for a feature that a plan does not have, which is what a client meets in an account without
//! it. Kinds of recipients that are not played are refused in [`super::recipients`], conditional recipients in
//! [`super::workflow`].
//!
//! Source: SPEC: envelope, signer, formulaTab, draw, signerAttachment, view, by the members named here; `extensionData` by
//! the SDKs (Text, Radio).

use serde_json::Value;

use super::{
    filling::is_true,
    model::{Fields, Refusal, objects, refuse, text},
    tabs::DraftTab,
};

/// Refuses what a template asks for.
pub(in crate::emulator) fn in_template(fields: &Fields) -> Result<(), Refusal> {
    if said(fields, "workflow").is_some() {
        return Err(lacking("workflows of templates"));
    }
    in_envelope(fields)
}

/// Refuses what an envelope or a template asks for.
pub(super) fn in_envelope(fields: &Fields) -> Result<(), Refusal> {
    none_of(
        fields,
        &[
            ("attachments", "files beside the documents (attachments)"),
            ("emailSettings", "settings of the e-mails (emailSettings)"),
            ("recipientViewRequest", "recipient views made with the envelope (recipientViewRequest)"),
        ],
    )
}

/// Refuses members that say something, in these words.
fn none_of(fields: &Fields, members: &[(&str, &str)]) -> Result<(), Refusal> {
    match members.iter().find(|(name, _)| said(fields, name).is_some()) {
        Some((_, what)) => Err(lacking(what)),
        None => Ok(()),
    }
}

/// Refuses what a recipient asks for.
pub(super) fn in_recipient(fields: &Fields) -> Result<(), Refusal> {
    if ["signingGroupId", "signingGroupName"].iter().any(|name| text(fields, name).is_some()) {
        return Err(lacking("signing groups"));
    }
    none_of(
        fields,
        &[
            ("idCheckInformationInput", "questions about a person's past (idCheckInformationInput)"),
            ("recipientSignatureProviders", "signatures with a certificate (recipientSignatureProviders)"),
            ("socialAuthentications", "checks by social accounts (socialAuthentications)"),
        ],
    )
}

/// Refuses what a tab that is to be a new one asks for. A file is to be attached at it unless it says otherwise.
pub(super) fn in_new_tab(tab: &DraftTab) -> Result<(), Refusal> {
    if tab.list == "signerAttachmentTabs" && !is_true(&tab.fields, "optional") {
        return Err(lacking(ATTACHMENT));
    }
    in_tab(tab)
}

/// Refuses what a tab, and the radios in it, ask for; of a change only what it says.
pub(super) fn in_tab(tab: &DraftTab) -> Result<(), Refusal> {
    let members = [
        ("extensionData", "fields that extension apps fill in or check (extensionData)"),
        ("paymentDetails", "payments, and gateways for them,"),
    ];
    not_owed(tab)?;
    none_of(&tab.fields, &members)?;
    objects(tab.fields.get("radios")).try_for_each(|radio| none_of(radio, &members))
}

/// What a signer has to do at a tab of its list that is not `optional`.
const ATTACHMENT: &str = "files that a signer must attach (signerAttachmentTabs that are not optional)";

/// Refuses a tab at which its signer has to do what the ceremony does not play: it would let that signer pass.
fn not_owed(tab: &DraftTab) -> Result<(), Refusal> {
    let is_on = |name: &str| is_true(&tab.fields, name);
    let says_optional = text(&tab.fields, "optional").is_some();
    let what = match tab.list.as_str() {
        "drawTabs" if is_on("required") => "drawings that a signer must make (required drawTabs)",
        "signerAttachmentTabs" if says_optional && !is_on("optional") => ATTACHMENT,
        "viewTabs" if is_on("required") || is_on("requiredRead") => {
            "documents that a signer must view (required viewTabs)"
        }
        _ => return Ok(()),
    };
    Err(lacking(what))
}

/// Refuses this as an account without it would.
pub(in crate::emulator) fn lacking(what: &str) -> Refusal {
    refuse(
        "PLAN_ITEM_NOT_ENABLED",
        format!("A feature in your plan is not enabled: {what} are not emulated."),
    )
}

/// A member, if anything is in it.
pub(in crate::emulator) fn said<'a>(fields: &'a Fields, name: &str) -> Option<&'a Value> {
    fields.get(name).filter(|value| says_something(value))
}

/// Whether anything is in it: SDKs send whole objects of nulls.
pub(super) fn says_something(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => items.iter().any(says_something),
        Value::Object(fields) => fields.values().any(says_something),
        Value::Bool(_) | Value::Number(_) => true,
    }
}
