//! How the tabs of one recipient bear on each other: a condition shows a tab only while another one says something, and
//! a group asks for so many of its tabs.
//!
//! What is hidden is neither filled in nor required, signed or drawn, and counts in no group. One that waits for a label
//! that nobody has stays hidden (our reading).
//!
//! Source: SPEC: text, `conditionalParentLabel` and `conditionalParentValue`, and tabGroup; the vendor's blog,
//! "Conditional field values": the parent is another tab of the same recipient, and may be conditional, too;
//! esign101/concepts/tabs/conditional-fields: `##ANY##` for any text.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::model::{RADIOS, Tab, text};

/// The label of the tab on which the sight of this one depends.
fn parent_of(tab: &Tab) -> Option<&str> {
    text(&tab.fields, "conditionalParentLabel")
}

/// Whether the sight of it depends on another tab.
pub(in crate::emulator) fn is_conditional(tab: &Tab) -> bool {
    parent_of(tab).is_some()
}

/// What a tab waits for if any text in its parent shows it.
const ANY: &str = "##ANY##";

/// Whether it says what a tab waits for: this value, any at all, or `on` of what is ticked, chosen or signed (which the
/// ceremony does with every place to sign).
fn says(parent: &Tab, wanted: &str) -> bool {
    let is_on = match parent.list.as_str() {
        "checkboxTabs" | RADIOS => !parent.value.is_empty(),
        _ => parent.is_signature(),
    };
    let is_any = wanted == ANY && !parent.value.is_empty();
    parent.value == wanted || is_any || (is_on && wanted.eq_ignore_ascii_case("on"))
}

/// For each tab whether its recipient has it in sight: it has no condition, or its parent is in sight and says what it
/// waits for.
pub(in crate::emulator) fn shown(tabs: &[Tab]) -> Vec<bool> {
    let mut waiting: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (place, tab) in tabs.iter().enumerate() {
        if let Some(parent) = parent_of(tab) {
            waiting.entry(parent).or_default().push(place);
        }
    }
    let mut shown: Vec<bool> = tabs.iter().map(|tab| !is_conditional(tab)).collect();
    let mut fresh: Vec<&Tab> = tabs.iter().filter(|tab| !is_conditional(tab)).collect();
    while let Some(parent) = fresh.pop() {
        for place in waiting.get(parent.label()).into_iter().flatten().copied() {
            let tab = &tabs[place];
            let wanted = text(&tab.fields, "conditionalParentValue").unwrap_or_default();
            if !shown[place] && says(parent, wanted) {
                shown[place] = true;
                fresh.push(tab);
            }
        }
    }
    shown
}

/// The tabs that their recipient has in sight.
pub(in crate::emulator) fn in_sight(tabs: &[Tab]) -> impl Iterator<Item = &Tab> {
    tabs.iter().zip(shown(tabs)).filter_map(|(tab, is_shown)| is_shown.then_some(tab))
}

/// Of the tabs to fill in those that are next, by their place: in sight, not asked for yet, and without a parent among
/// these, whose answer may hide them.
pub(in crate::emulator) fn next(tabs: &[Tab], asked: &BTreeSet<usize>) -> Vec<usize> {
    let shown = shown(tabs);
    let is_open = |place: &usize| shown[*place] && tabs[*place].is_fillable() && !asked.contains(place);
    let open: Vec<usize> = (0..tabs.len()).filter(is_open).collect();
    let labels: BTreeSet<&str> = open.iter().map(|place| tabs[*place].label()).collect();
    let waits = |place: &usize| parent_of(&tabs[*place]).is_some_and(|parent| labels.contains(parent));
    let first: Vec<usize> = open.iter().copied().filter(|place| !waits(place)).collect();
    // Where all wait for each other none is first.
    if first.is_empty() { open } else { first }
}

/// The tabs of a group that their recipient has in sight, by their place, and how many of them it asks for.
struct Group {
    members: Vec<usize>,
    least: usize,
    most: usize,
}

/// The groups in sight.
fn groups(tabs: &[Tab]) -> Vec<Group> {
    let shown = shown(tabs);
    let all = tabs.iter().zip(&shown).filter(|(tab, is_shown)| **is_shown && tab.list == "tabGroups");
    let of_it = |group: &Tab| {
        let label = text(&group.fields, "groupLabel")?;
        let is_member = |place: &usize| {
            let tab = &tabs[*place];
            let labels = tab.fields.get("tabGroupLabels").and_then(Value::as_array);
            let mut labels = labels.into_iter().flatten();
            shown[*place] && (tab.is_fillable() || is_given(tab)) && labels.any(|one| one == label)
        };
        let members: Vec<usize> = (0..tabs.len()).filter(is_member).collect();
        let (least, most) = asks_for(group);
        // Neither what cannot be given nor what cannot be left out keeps anybody.
        let least = least.min(members.len());
        let bound = members.iter().filter(|place| is_bound(&tabs[**place])).count();
        Some(Group { least, most: most.max(least).max(bound), members })
    };
    all.filter_map(|(group, _)| of_it(group)).collect()
}

/// How many of its tabs a group asks for, at least and at most: which of its two numbers count is up to its rule.
fn asks_for(group: &Tab) -> (usize, usize) {
    let number =
        |name: &str| text(&group.fields, name).and_then(|number| number.trim().parse::<usize>().ok());
    let least = number("minimumRequired");
    let most = number("maximumAllowed").filter(|most| *most > 0);
    let rule = text(&group.fields, "groupRule").unwrap_or_default().to_ascii_lowercase();
    let (least, most) = match rule.as_str() {
        "selectatleast" => (least, None),
        "selectatmost" => (None, most),
        "selectexactly" => (least.or(most), most.or(least)),
        _ => (least, most),
    };
    (least.unwrap_or(0), most.unwrap_or(usize::MAX))
}

/// Whether a tab is ticked, filled in or a place to sign, all of which the ceremony signs.
fn is_given(tab: &Tab) -> bool {
    !tab.value.is_empty() || tab.is_signature()
}

/// Whether the signer cannot leave this tab of a group out: it is required, a place to sign, or locked with its value.
fn is_bound(tab: &Tab) -> bool {
    tab.is_required() || !tab.is_fillable()
}

/// Whether each group has as many of its tabs as it asks for.
pub(in crate::emulator) fn are_groups_met(tabs: &[Tab]) -> bool {
    groups(tabs).into_iter().all(|group| {
        let given = group.members.iter().filter(|place| is_given(&tabs[**place])).count();
        (group.least..=group.most).contains(&given)
    })
}

/// The tabs to fill in so that each group has what it lacks, by their place.
pub(in crate::emulator) fn wanting(tabs: &[Tab]) -> Vec<usize> {
    let mut wanting = Vec::new();
    for Group { members, least, .. } in groups(tabs) {
        let (given, empty): (Vec<usize>, Vec<usize>) =
            members.into_iter().partition(|place| is_given(&tabs[*place]));
        wanting.extend(empty.into_iter().take(least.saturating_sub(given.len())));
    }
    wanting
}
