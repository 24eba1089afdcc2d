//! How recipients and their tabs are laid over those of a template, or of another template.
//!
//! Sources: SPEC: signer.roleName, templateRole; field: docusign-esign-node-client issue 64, for labels with `\*`.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{
    filling,
    model::{Fields, text},
    reach,
    recipients::{self, Draft},
    tabs::{self, DraftTab},
};

/// Lays recipients over those of the templates before them. Whoever fits nobody there is added, under another id if the
/// own one is taken: nobody takes the place, or the tabs, of somebody else by an id that happens to be the same.
pub(super) fn overlay(base: &mut Vec<Draft>, over: Vec<Draft>) {
    let places = places(base, &over);
    let taken: BTreeSet<String> = base.iter().filter_map(id_of).collect();
    let mut ids: BTreeSet<String> = base.iter().chain(&over).filter_map(id_of).collect();
    for (mut draft, place) in over.into_iter().zip(places) {
        if let Some(index) = place {
            lay_over(&mut base[index], draft);
            continue;
        }
        if id_of(&draft).is_some_and(|id| taken.contains(&id)) {
            let free = first_free(|id| ids.contains(id));
            ids.insert(free.clone());
            draft.fields.insert("recipientId".to_owned(), json!(free));
        }
        base.push(draft);
    }
}

/// Whom each of these lies over: the one of its role; or, of who has no role, the one of its kind and id that nobody else
/// lies over. A role is required "when you are working with template recipients" (SPEC: signer.roleName), so that one
/// which the templates lack fits nobody; that an id alone does is our reading.
fn places(base: &[Draft], over: &[Draft]) -> Vec<Option<usize>> {
    let mut places: Vec<Option<usize>> = over.iter().map(|draft| same_role(base, draft)).collect();
    for (index, draft) in over.iter().enumerate() {
        let Some(id) = text(&draft.fields, "recipientId") else { continue };
        if text(&draft.fields, "roleName").is_none() {
            let is_meant =
                |known: &Draft| known.kind == draft.kind && text(&known.fields, "recipientId") == Some(id);
            let place = base.iter().position(is_meant).filter(|place| !places.contains(&Some(*place)));
            places[index] = place;
        }
    }
    places
}

/// The `recipientId` of a draft.
pub(super) fn id_of(draft: &Draft) -> Option<String> {
    text(&draft.fields, "recipientId").map(str::to_owned)
}

/// Whether a recipient has this role, whatever the case of its letters.
pub(super) fn has_role(draft: &Draft, role: &str) -> bool {
    text(&draft.fields, "roleName").is_some_and(|own| own.to_lowercase() == role.to_lowercase())
}

/// The recipient of the same role.
pub(super) fn same_role(base: &[Draft], draft: &Draft) -> Option<usize> {
    let role = text(&draft.fields, "roleName")?;
    base.iter().position(|known| has_role(known, role))
}

/// Lays one over the other, but for what a template locks: that is passed over (our reading).
pub(super) fn lay_over(base: &mut Draft, mut over: Draft) {
    let template_id = base.fields.get("recipientId").cloned();
    let is_locked = |fields: &Fields| filling::is_true(fields, tabs::LOCKED);
    let takes_tabs = !is_locked(&base.fields);
    // Whoever is named takes the place of who was there; embedded recipients are reached by their address all the same.
    let is_remote = [&base.fields, &over.fields].iter().all(|one| text(one, EMBEDDING).is_none());
    over.fields.retain(|name, _| recipients::is_open(&base.fields, name));
    recipients::leave_check(&mut base.fields, &over.fields);
    if is_remote && text(&over.fields, "name").is_some() {
        reach::leave_address(&mut base.fields, &over.fields);
    }
    base.fields.extend(over.fields);
    // Template tabs belong to the template's recipient id, which therefore stays.
    if let Some(id) = template_id {
        base.fields.insert("recipientId".to_owned(), id);
    }
    for tab in over.tabs {
        let is_stray = !["anchorString", "pageNumber"].iter().any(|name| text(&tab.fields, name).is_some());
        if let Some(part) = wildcard(&tab).filter(|_| is_stray) {
            let has_part = |known: &&mut DraftTab| {
                known.list == tab.list && name_of(known).is_some_and(|label| label.contains(part))
            };
            for known in base.tabs.iter_mut().filter(has_part).filter(|known| !is_locked(&known.fields)) {
                let mut fields = tab.fields.clone();
                fields.remove(LABEL);
                lay_tab_over(&mut known.fields, fields);
            }
            continue;
        }
        let is_same = |known: &&mut DraftTab| {
            known.list == tab.list && name_of(&tab).is_some() && name_of(known) == name_of(&tab)
        };
        if let Some(known) = base.tabs.iter_mut().find(is_same) {
            if !is_locked(&known.fields) {
                lay_tab_over(&mut known.fields, tab.fields);
            }
        } else if takes_tabs {
            base.tabs.push(DraftTab { is_stray, ..tab });
        }
    }
}

/// The label of a tab.
const LABEL: &str = "tabLabel";

/// What must be in the labels of the tabs that this one fills, if it is to fill more than one: what stands behind `\*`,
/// which matches "either as a full string or a sub-string" (the vendor's staff, docusign-esign-node-client issue 64).
fn wildcard(tab: &DraftTab) -> Option<&str> {
    text(&tab.fields, LABEL)?.strip_prefix("\\*")
}

/// What a tab is known by: its label, or for radio buttons the name of their group, which has no label.
pub(super) fn name_of(tab: &DraftTab) -> Option<&str> {
    text(&tab.fields, if tab.list == "radioGroupTabs" { "groupName" } else { LABEL })
}

fn lay_tab_over(base: &mut Fields, mut over: Fields) {
    // Whatever the order, a number that is laid over is that of the value beside it.
    let number = over.remove(filling::NUMBER).filter(|number| !number.is_null());
    for (name, value) in over.into_iter().filter(|(_, value)| !value.is_null()) {
        match (base.get_mut(&name), value) {
            (Some(Value::Array(known)), Value::Array(radios)) if name == "radios" => choose(known, radios),
            (_, value) => filling::lay_over(base, &name, value),
        }
    }
    if let Some(number) = number {
        filling::lay_over(base, filling::NUMBER, number);
    }
}

/// The buttons of a group are told apart by their value, and at most one is chosen.
fn choose(known: &mut Vec<Value>, over: Vec<Value>) {
    let is_chosen = |radio: &&Value| {
        radio["selected"].as_str().is_some_and(|selected| selected.eq_ignore_ascii_case("true"))
    };
    let chosen = over.iter().find(is_chosen).map(|radio| radio["value"].clone());
    for radio in over {
        let same = known.iter_mut().find(|known| known["value"] == radio["value"]);
        match (same.and_then(Value::as_object_mut), radio) {
            (Some(same), Value::Object(radio)) => {
                same.extend(radio.into_iter().filter(|(_, value)| !value.is_null()));
            }
            (_, radio) => known.push(radio),
        }
    }
    let Some(chosen) = chosen else { return };
    for radio in known.iter_mut().filter_map(Value::as_object_mut) {
        let is_it = radio.get("value") == Some(&chosen);
        radio.insert("selected".to_owned(), json!(is_it.to_string()));
    }
}

/// The first number that is not taken; definitions are far smaller than the range.
pub(super) fn first_free(is_taken: impl Fn(&str) -> bool) -> String {
    (1..u32::MAX).map(|n| n.to_string()).find(|id| !is_taken(id)).unwrap_or_default()
}

/// The member that makes a recipient an embedded one.
pub(super) const EMBEDDING: &str = "clientUserId";
