//! Tabs: reading them, finding their anchors in the documents, and the tabs sub-resource.

use std::collections::BTreeSet;

use http::{Method, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    Outcome, body, envelope_mut,
    filling::{asked_for, is_true},
    lengths, malformed,
    model::{
        Envelope, Fields, File, RADIOS, Recipient, Refusal, Status, Tab, invalid, objects, refuse, text,
    },
    redraft::until_the_end,
    refused, removal, render,
};
use crate::emulator::{
    http::{Answer, Call},
    pdf::read::{Matching, Spot},
    schema::Body,
    state::World,
};

/// The member by which a template keeps a recipient or a tab as it is.
pub(super) const LOCKED: &str = "templateLocked";
/// The member by which a template keeps a recipient or a tab from being removed.
pub(super) const REQUIRED: &str = "templateRequired";

/// Limits of rules-and-limits.
const MAX_ANCHOR_INSTANCES: usize = 3_000;

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
        fields.remove("tabId");
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

/// Refuses what no tabs may ask for, wherever they come.
pub(super) fn check(tabs: &[DraftTab]) -> Result<(), Refusal> {
    refused::in_tabs(tabs)?;
    lengths::of_tabs(tabs)
}

/// Places every tab of every recipient.
pub(super) fn place_all(envelope: &mut Envelope) -> Result<(), Refusal> {
    let Envelope { documents, recipients, .. } = envelope;
    for recipient in recipients {
        place(documents, recipient)?;
    }
    Ok(())
}

/// Places the tabs of one recipient that were not placed yet: an anchor makes one tab a hit.
pub(super) fn place(documents: &[File], recipient: &mut Recipient) -> Result<(), Refusal> {
    let mut placed = Vec::new();
    let mut taken: BTreeSet<String> = recipient.tabs.iter().map(|tab| tab.id.clone()).collect();
    for tab in std::mem::take(&mut recipient.tabs) {
        if tab.is_placed {
            placed.push(tab);
        } else if tab.list == RADIOS {
            placed.push(place_radios(documents, tab)?);
        } else if let Some(anchor) = text(&tab.fields, "anchorString").map(str::to_owned) {
            anchored(documents, &tab, &anchor, &mut placed, &mut taken)?;
        } else {
            check_page(&tab)?;
            check_fixed(documents, &tab.fields)?;
            placed.push(Tab { is_placed: true, ..tab });
        }
        if placed.len() > MAX_ANCHOR_INSTANCES {
            return Err(invalid("An envelope has at most 3000 anchor instances."));
        }
    }
    // Of a draft nothing is placed, and who is done gets no more tabs: so these all wait for their signature.
    for tab in placed.iter_mut().filter(|tab| tab.is_signature()) {
        tab.fields.insert("status".to_owned(), json!("active"));
    }
    recipient.tabs = placed;
    Ok(())
}

/// A tab without an anchor says on which page it is; groups of tabs lie nowhere. What the vendor makes of one without a
/// document or a position is not known: such a tab is kept, and shown nowhere.
fn check_page(tab: &Tab) -> Result<(), Refusal> {
    if tab.list == "tabGroups" || text(&tab.fields, "pageNumber").is_some() {
        return Ok(());
    }
    Err(refuse(
        "TAB_PAGE_NUMBER_NOT_SPECIFIED",
        format!(
            "Page number not specified in tab element. Page Number or AnchorTabItem missing for tab {}.",
            tab.list.trim_end_matches("Tabs")
        ),
    ))
}

/// Each radio of a group has a place of its own; where it has an anchor, the first hit.
fn place_radios(documents: &[File], mut tab: Tab) -> Result<Tab, Refusal> {
    check_fixed(documents, &tab.fields)?;
    let document = text(&tab.fields, "documentId").map(str::to_owned);
    let scope = tab.scope;
    for radio in radios(&mut tab.fields) {
        if let Some(anchor) = text(radio, "anchorString").map(str::to_owned) {
            let (list, id, fields) = (RADIOS.to_owned(), String::new(), radio.clone());
            let alone = Tab { list, id, value: String::new(), fields, scope, is_placed: false };
            let mut hits = Vec::new();
            anchored(documents, &alone, &anchor, &mut hits, &mut BTreeSet::new())?;
            if let Some(hit) = hits.into_iter().next() {
                *radio = hit.fields;
            }
        } else {
            check_radio(documents, document.as_deref(), radio)?;
        }
    }
    Ok(Tab { is_placed: true, ..tab })
}

/// A radio lies on a page of its group's document.
fn check_radio(documents: &[File], document: Option<&str>, radio: &Fields) -> Result<(), Refusal> {
    let mut place = radio.clone();
    if let Some(document) = document {
        place.entry("documentId").or_insert_with(|| json!(document));
    }
    check_fixed(documents, &place)
}

fn anchored(
    documents: &[File],
    tab: &Tab,
    anchor: &str,
    placed: &mut Vec<Tab>,
    taken: &mut BTreeSet<String>,
) -> Result<(), Refusal> {
    let switch = |name: &str| text(&tab.fields, name).map(|value| value.eq_ignore_ascii_case("true"));
    let is_on = |name: &str| switch(name).unwrap_or(false);
    let matching = Matching {
        case_sensitive: is_on("anchorCaseSensitive"),
        whole_word: is_on("anchorMatchWholeWord"),
        // The one of these that is on by default.
        extra_blanks: switch("anchorAllowWhiteSpaceInCharacters").unwrap_or(true),
    };
    let (dx, dy) = offsets(&tab.fields)?;
    let mut is_found = false;
    for file in documents.iter().filter(|file| tab.scope == 0 || file.scope == tab.scope) {
        for spot in file.text.find(anchor, matching) {
            let id = if is_found { sibling(&tab.id, placed.len(), taken) } else { tab.id.clone() };
            is_found = true;
            let mut copy = Tab { id, is_placed: true, ..tab.clone() };
            put(&mut copy.fields, &file.id, &Spot { x: spot.x + dx, y: spot.y + dy, ..spot });
            placed.push(copy);
        }
    }
    if is_found || is_on("anchorIgnoreIfNotPresent") {
        return Ok(());
    }
    Err(refuse(
        "ANCHOR_TAB_STRING_NOT_FOUND",
        format!("At least one anchor tab string was not found in the document. Anchor string: '{anchor}'."),
    ))
}

/// The id of a further hit of a tab, from that of the first and a number: the next one that makes it an id of its own,
/// as hits of an earlier anchor may have theirs from the same tab.
fn sibling(id: &str, number: usize, taken: &mut BTreeSet<String>) -> String {
    let first = Uuid::parse_str(id).unwrap_or_default().as_u128();
    let mut number = u128::try_from(number).unwrap_or_default();
    loop {
        let id = Uuid::from_u128(first ^ number).to_string();
        if taken.insert(id.clone()) {
            return id;
        }
        number += 1;
    }
}

fn put(fields: &mut Fields, document: &str, spot: &Spot) {
    fields.insert("documentId".to_owned(), json!(document));
    fields.insert("pageNumber".to_owned(), json!(spot.page.to_string()));
    fields.insert("xPosition".to_owned(), json!(format!("{:.0}", spot.x.max(0.0))));
    fields.insert("yPosition".to_owned(), json!(format!("{:.0}", spot.y.max(0.0))));
}

/// The offsets in points; a pixel of the vendor is one at 72 dpi.
fn offsets(fields: &Fields) -> Result<(f32, f32), Refusal> {
    let unit = text(fields, "anchorUnits").unwrap_or("pixels").to_ascii_lowercase();
    let factor = match unit.as_str() {
        "pixels" => 1.0,
        "inches" => 72.0,
        "mms" => 72.0 / 25.4,
        "cms" => 72.0 / 2.54,
        _ => return Err(invalid("anchorUnits must be one of pixels, inches, mms, cms.")),
    };
    let offset = |name: &str| match text(fields, name) {
        None => Ok(0.0),
        Some(value) => value
            .trim()
            .parse::<f32>()
            .ok()
            .filter(|value| value.is_finite())
            .map(|value| value * factor)
            .ok_or_else(|| invalid(&format!("{name} must be a number."))),
    };
    Ok((offset("anchorXOffset")?, offset("anchorYOffset")?))
}

/// A tab without an anchor must lie on a page that exists. The codes and their words were seen in the field; what is
/// beyond the edge of a page is our reading.
fn check_fixed(documents: &[File], fields: &Fields) -> Result<(), Refusal> {
    let Some(document) = text(fields, "documentId") else { return Ok(()) };
    let Some(file) = documents.iter().find(|file| file.id == document) else {
        return Err(refuse(
            "TAB_REFERS_TO_MISSING_DOCUMENT",
            format!(
                "The DocumentId specified in the tab element does not refer to a document in this envelope. Tab refers to DocumentId {document} which is not present."
            ),
        ));
    };
    let number = |name: &str| text(fields, name).map(|value| value.trim().parse::<f32>());
    let page = text(fields, "pageNumber").unwrap_or("1").parse::<usize>();
    let (Ok(page), x, y) = (page, number("xPosition"), number("yPosition")) else {
        return Err(invalid("The pageNumber of a tab must be a number."));
    };
    let found = page.checked_sub(1).and_then(|index| file.text.pages.get(index));
    let Some(found) = found else {
        return Err(refuse(
            "TAB_PAGENUMBER_IS_NOT_IN_DOCUMENT",
            format!(
                "The pagenumber specified in the tab element is not in the document that the tab refers to. Tab on Page {page} of Document {document}"
            ),
        ));
    };
    for (name, value, limit) in [("xPosition", x, found.size.0), ("yPosition", y, found.size.1)] {
        match value {
            None => {}
            Some(Ok(value)) if (0.0..=limit).contains(&value) => {}
            Some(Ok(value)) if value < 0.0 => {
                return Err(invalid(&format!(
                    "Invalid value for {name}, must be greater than or equal to 0."
                )));
            }
            Some(Ok(_)) => {
                return Err(refuse(
                    "TAB_OUT_OF_BOUNDS",
                    "A tab position is not within the bounds of its page.",
                ));
            }
            Some(Err(_)) => return Err(invalid("xPosition and yPosition of a tab must be numbers.")),
        }
    }
    Ok(())
}

/// `…/recipients/{id}/tabs`: read, add, change values, delete.
pub(super) fn route(world: &mut World, call: &Call, id: &str, recipient: &str) -> Option<Outcome> {
    let index = match world.envelopes.envelopes[id].place_of(recipient) {
        Ok(index) => index,
        Err(refusal) => return Some(Err(refusal)),
    };
    Some(match call.method {
        Method::GET => Ok(Answer::ok(render::tabs(&world.envelopes.envelopes[id].recipients[index]))),
        Method::POST | Method::PUT => write(world, call, id, index),
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
    tab.fields.extend(fields.into_iter().filter(|(name, _)| name != "value" && name != "tabId"));
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
        check_fixed(documents, &tab.fields)?;
    }
    if moves("radios") || (tab.list == RADIOS && moves("documentId")) {
        let document = text(&tab.fields, "documentId").map(str::to_owned);
        let all: Vec<Fields> = radios(&mut tab.fields).map(|radio| radio.clone()).collect();
        all.iter().try_for_each(|radio| check_radio(documents, document.as_deref(), radio))?;
    }
    Ok(())
}

/// Lays drafts over the tabs that they name, and gives back those that name none.
pub(super) fn lay_over(
    tabs: &mut [Tab],
    drafts: Vec<DraftTab>,
    documents: &[File],
) -> Result<Vec<DraftTab>, Refusal> {
    check(&drafts)?;
    let mut fresh = Vec::new();
    for draft in drafts {
        match tabs.iter_mut().find(|tab| is_meant(tab, &draft)) {
            Some(tab) => change(tab, draft.fields, documents)?,
            None => fresh.push(draft),
        }
    }
    Ok(fresh)
}

fn write(world: &mut World, call: &Call, id: &str, index: usize) -> Outcome {
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
    check(&drafts)?;
    for draft in drafts {
        if is_new {
            recipient.tabs.push(draft.build(world.guid()));
            continue;
        }
        let Some(tab) = recipient.tabs.iter_mut().find(|tab| is_meant(tab, &draft)) else {
            return Err(refuse("INVALID_TAB_ID", "The tab specified does not exist for this recipient."));
        };
        change(tab, draft.fields, &world.envelopes.envelopes[id].documents)?;
    }
    let envelope = envelope_mut(world, id);
    if envelope.status != Status::Created {
        place(&envelope.documents, &mut recipient)?;
    }
    let answer = render::tabs(&recipient);
    envelope.recipients[index] = recipient;
    envelope.modified = call.now;
    Ok(Answer::json(if is_new { StatusCode::CREATED } else { StatusCode::OK }, answer))
}
