//! Tabs: reading them, and the tabs sub-resource.

use std::collections::BTreeSet;

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{
    Outcome, body, envelope_mut,
    filling::{asked_for, is_true},
    lengths, literals, malformed,
    model::{
        Envelope, Fields, File, RADIOS, Recipient, Refusal, Status, Tab, invalid, objects, refuse, text,
    },
    placing,
    redraft::until_the_end,
    refused, removal, render,
};
use crate::emulator::{
    http::{Answer, Call},
    schema::Body,
    state::World,
};

/// The member by which a template keeps a recipient or a tab as it is.
pub(super) const LOCKED: &str = "templateLocked";
/// The member by which a template keeps a recipient or a tab from being removed.
pub(super) const REQUIRED: &str = "templateRequired";

/// What the vendor tells of a tab: passed over when it is sent.
const REPORTED: [&str; 2] = ["recipientIdGuid", "tabId"];

/// The switches of a field, or of a radio in a group, by which its signer is held.
const SWITCHES: [&str; 2] = ["locked", "required"];

/// Kinds of tabs that have no `tabLabel`. Any other without one is labelled by its type (SPEC: `tabLabel`).
const WITHOUT_LABEL: [&str; 4] = ["drawTabs", "notarizeTabs", RADIOS, "tabGroups"];

/// Kinds of tabs that have no `value` (SPEC: the definition of each).
const WITHOUT_VALUE: [&str; 12] = [
    "approveTabs",
    "commentThreadTabs",
    "declineTabs",
    "drawTabs",
    "envelopeIdTabs",
    "notarizeTabs",
    "notarySealTabs",
    "polyLineOverlayTabs",
    "signerAttachmentTabs",
    "smartSectionTabs",
    "tabGroups",
    "viewTabs",
];

/// Whether the tabs in a list have a `value`, signatures aside.
pub(super) fn has_value(list: &str) -> bool {
    !WITHOUT_VALUE.contains(&list)
}

/// The `tabType` of the tabs in a list.
pub(super) fn type_of(list: &str) -> String {
    let kind = if list == "tabGroups" { "tabGroup" } else { list.trim_end_matches("Tabs") };
    kind.to_ascii_lowercase()
}

/// A tab as a client or template describes it.
#[derive(Debug, Clone)]
pub(in crate::emulator) struct DraftTab {
    /// Its list, such as `signHereTabs`.
    pub list: String,
    /// Its fields.
    pub fields: Fields,
    /// Which part of the definition it came with; 0 if there are no parts, or it came later.
    pub scope: usize,
    /// Whether it was to fill a tab of a template by its label, and found none: it needs no place.
    pub is_stray: bool,
}

impl DraftTab {
    /// Makes it a tab.
    pub(super) fn build(self, id: String) -> Tab {
        let Self { list, mut fields, scope, is_stray } = self;
        fields.retain(|name, _| !REPORTED.contains(&name.as_str()));
        let value = asked_for(&list, &fields).unwrap_or_default();
        fields.remove("value");
        let is_unnamed = fields.get("tabLabel").is_none_or(Value::is_null);
        if is_unnamed && !WITHOUT_LABEL.contains(&list.as_str()) {
            fields.insert("tabLabel".to_owned(), json!(type_of(&list)));
        }
        // A group goes by its name and has no `tabId`; each button has one (SPEC: radioGroup, radio).
        let stem = id.get(..32).unwrap_or(&id);
        for (index, radio) in radios(&mut fields).enumerate() {
            radio.insert("tabId".to_owned(), json!(format!("{stem}{index:04x}")));
        }
        let mut tab = Tab { list, id, value: String::new(), fields, scope, is_placed: is_stray };
        if tab.choices().is_some() {
            tab.fill(&value);
        } else {
            // Beside it stays what was sent of its number.
            tab.value = value;
        }
        tab
    }
}

impl Tab {
    /// Itself, as it would be described for another recipient.
    pub(super) fn draft(&self) -> DraftTab {
        let mut fields = self.fields.clone();
        fields.insert("value".to_owned(), json!(self.value));
        DraftTab { list: self.list.clone(), fields, scope: self.scope, is_stray: self.is_placed }
    }
}

/// The radios of a group.
pub(super) fn radios(fields: &mut Fields) -> impl Iterator<Item = &mut Fields> {
    let radios = fields.get_mut("radios").and_then(Value::as_array_mut);
    radios.into_iter().flatten().filter_map(Value::as_object_mut)
}

/// Refuses what the sender would fill in before sending: it belongs to no recipient.
pub(super) fn refuse_prefilled(tabs: Option<&Value>) -> Result<(), Refusal> {
    if tabs.and_then(|tabs| tabs.get("prefillTabs")).is_some_and(refused::says_something) {
        return Err(refused::lacking("fields that the sender fills in before sending (prefillTabs)"));
    }
    Ok(())
}

/// Reads a `tabs` object.
pub(in crate::emulator) fn drafts(tabs: Option<&Value>, scope: usize) -> Vec<DraftTab> {
    let mut drafts = Vec::new();
    let lists = tabs.and_then(Value::as_object).into_iter().flatten();
    for (list, items) in lists {
        for item in objects(Some(items)) {
            drafts.push(DraftTab { list: list.clone(), fields: item.clone(), scope, is_stray: false });
        }
    }
    drafts
}

/// Refuses what no new tabs may ask for, wherever they come.
pub(super) fn check(tabs: &[DraftTab]) -> Result<(), Refusal> {
    tabs.iter().try_for_each(check_new)
}

/// Refuses what a new tab may not ask for. Whether it is one, the `tabId` that it names does not tell.
fn check_new(tab: &DraftTab) -> Result<(), Refusal> {
    refused::in_new_tab(tab)?;
    check_said(tab)
}

/// Refuses what neither a new tab nor the change of one may say.
fn check_said(tab: &DraftTab) -> Result<(), Refusal> {
    refused::in_tab(tab)?;
    literals::switches(&tab.fields, &SWITCHES)?;
    literals::numbers(&tab.fields, &["maxLength"])?;
    objects(tab.fields.get("radios")).try_for_each(|radio| literals::switches(radio, &SWITCHES))?;
    lengths::of_tab(tab)
}

/// `…/recipients/{id}/tabs`: read, add, change values, delete.
pub(super) fn route(world: &mut World, call: &Call, id: &str, recipient: &str) -> Option<Outcome> {
    let index = match world.envelopes.envelopes[id].place_of(recipient) {
        Ok(index) => index,
        Err(refusal) => return Some(Err(refusal)),
    };
    Some(match call.method {
        Method::GET => Ok(Answer::ok(render::tabs(&world.envelopes.envelopes[id].recipients[index]))),
        Method::POST | Method::PUT => write(world, call, id, index, recipient),
        Method::DELETE => removal::tabs(world, call, id, index),
        _ => return None,
    })
}

/// A tab is named by its id within its list; a group of radios has none, but a name (SPEC: radioGroup).
pub(super) fn is_meant(tab: &Tab, draft: &DraftTab) -> bool {
    let named = || tab.list == RADIOS && Some(tab.label()) == text(&draft.fields, "groupName");
    tab.list == draft.list && text(&draft.fields, "tabId").map_or_else(named, |id| id == tab.id)
}

/// Refuses to change the tabs of who has finished, has none, or is of an envelope that has ended: "a draft envelope is one
/// that is not yet complete" (EnvelopeRecipientTabs:update).
pub(super) fn check_owner(envelope: &Envelope, recipient: &Recipient) -> Result<(), Refusal> {
    until_the_end(envelope)?;
    if recipient.is_done() {
        return Err(not_for_it("Recipient not in state that allows correction."));
    }
    if !recipient.kind.has_tabs() {
        return Err(not_for_it("A certified delivery has no tabs."));
    }
    Ok(())
}

/// Refuses to change what a template locks, and to remove that or what it requires.
pub(super) fn kept_by_its_template() -> Refusal {
    not_for_it("Its template keeps it.")
}

/// Refuses what the vendor takes of no tab like this. The code was seen in the field; which when is our reading.
fn not_for_it(why: &str) -> Refusal {
    refuse(
        "INVALID_TAB_OPERATION",
        format!("The Tab specified is not valid for the requested operation. {why}"),
    )
}

/// Changes a tab, unless its template locks it: "it is an error to update a tab that has the `templateLocked` property
/// set to true" (EnvelopeRecipientTabs:update). To send back what was read updates nothing.
fn change(tab: &mut Tab, fields: Fields, documents: &[File]) -> Result<(), Refusal> {
    let before = render::tab(tab, "");
    lay_fields_over(tab, fields, documents)?;
    if is_true(&before, LOCKED) && render::tab(tab, "") != before {
        return Err(kept_by_its_template());
    }
    Ok(())
}

/// Lays fields over those of a tab. What it says then must be among its choices; where it lies then must be there.
fn lay_fields_over(tab: &mut Tab, mut fields: Fields, documents: &[File]) -> Result<(), Refusal> {
    let value = fields.get("value").and_then(Value::as_str).map(str::to_owned);
    let value = match tab.list.as_str() {
        "listTabs" => value,
        _ => asked_for(&tab.list, &fields),
    };
    let before = tab.fields.clone();
    let own = if tab.list == RADIOS { fields.remove("radios") } else { None };
    fields.retain(|name, _| name != "value" && !REPORTED.contains(&name.as_str()));
    tab.fields.extend(fields);
    for change in objects(own.as_ref()) {
        let is_it = |radio: &Fields| {
            let name = if text(change, "tabId").is_some() { "tabId" } else { "value" };
            text(radio, name).is_some() && text(radio, name) == text(change, name)
        };
        let radio = radios(&mut tab.fields).find(|radio| is_it(radio));
        let unknown = || refuse("INVALID_TAB_ID", "The tab specified does not exist for this recipient.");
        let said = change.iter().filter(|(_, value)| !value.is_null());
        radio.ok_or_else(unknown)?.extend(said.map(|(name, value)| (name.clone(), value.clone())));
    }
    if let Some(value) = value {
        if !tab.takes(&value) {
            return Err(invalid(
                "The value of a tab must be one of its choices, or a number where it is for numbers.",
            ));
        }
        tab.fill(&value);
    }
    if !tab.is_placed {
        return Ok(());
    }
    let moves = |name: &str| tab.fields.get(name) != before.get(name);
    if moves("anchorString") {
        tab.is_placed = false;
    } else if ["documentId", "pageNumber", "xPosition", "yPosition"].into_iter().any(moves) {
        placing::check_fixed(documents, &tab.fields)?;
    }
    if moves("radios") || (tab.list == RADIOS && moves("documentId")) {
        let document = text(&tab.fields, "documentId").map(str::to_owned);
        let all: Vec<Fields> = radios(&mut tab.fields).map(|radio| radio.clone()).collect();
        all.iter().try_for_each(|radio| placing::check_radio(documents, document.as_deref(), radio))?;
    }
    Ok(())
}

/// Lays drafts over the tabs that they name, and gives back those that name none.
pub(super) fn lay_over(
    tabs: &mut [Tab],
    drafts: Vec<DraftTab>,
    documents: &[File],
) -> Result<Vec<DraftTab>, Refusal> {
    let mut fresh = Vec::new();
    for draft in drafts {
        if let Some(tab) = tabs.iter_mut().find(|tab| is_meant(tab, &draft)) {
            check_said(&draft)?;
            change(tab, draft.fields, documents)?;
        } else {
            check_new(&draft)?;
            fresh.push(draft);
        }
    }
    Ok(fresh)
}

/// Adds or changes tabs, and answers these alone, of an anchor every hit, with their recipient as the path names it. A
/// change that names no tab adds one (SDK: the tests of the SDK for Node, of all three).
fn write(world: &mut World, call: &Call, id: &str, index: usize, named: &str) -> Outcome {
    let given = body(call, Body::Tabs)?;
    refuse_prefilled(Some(&given))?;
    let drafts = drafts(Some(&given), 0);
    if drafts.is_empty() {
        return Err(malformed("No tabs specified."));
    }
    let envelope = &world.envelopes.envelopes[id];
    check_owner(envelope, &envelope.recipients[index])?;
    let is_new = call.method == Method::POST;
    let mut recipient = envelope.recipients[index].clone();
    let before: BTreeSet<String> = recipient.tabs.iter().map(|tab| tab.id.clone()).collect();
    let mut changed = BTreeSet::new();
    for draft in drafts {
        let known = recipient.tabs.iter_mut().filter(|_| !is_new).find(|tab| is_meant(tab, &draft));
        if let Some(tab) = known {
            check_said(&draft)?;
            changed.insert(tab.id.clone());
            change(tab, draft.fields, &world.envelopes.envelopes[id].documents)?;
        } else if is_new || text(&draft.fields, "tabId").is_none() {
            check_new(&draft)?;
            recipient.tabs.push(draft.build(world.guid()));
        } else {
            return Err(refuse("INVALID_TAB_ID", "The tab specified does not exist for this recipient."));
        }
    }
    let envelope = envelope_mut(world, id);
    if envelope.status != Status::Created {
        placing::place(&envelope.documents, &mut recipient)?;
    }
    let mut answered = recipient.clone();
    named.clone_into(&mut answered.id);
    answered.tabs.retain(|tab| changed.contains(&tab.id) || !before.contains(&tab.id));
    envelope.recipients[index] = recipient;
    envelope.modified = call.now;
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok(Answer::json(status, render::tabs(&answered)))
}
