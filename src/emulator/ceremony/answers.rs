//! What a signer answers, tab by tab, and whether that is enough to sign.
//!
//! Nothing is signed here; what an answer shows or hides is told by [`relations`].

use std::collections::BTreeSet;

use crate::emulator::envelopes::{
    model::{RADIOS, Tab},
    progress, relations,
};

const MAX_VALUE: usize = 4_000;

/// Why a signer cannot finish.
#[derive(Debug, Clone)]
pub(super) enum Unfilled {
    /// Of a group of fields too few or too many are filled in.
    Group,
    /// A required field is empty.
    Missing,
    /// A field for an e-mail address got something else.
    NoAddress,
    /// A list or a group got what it does not offer.
    NoChoice,
    /// A field for a number got something else.
    NoNumber,
    /// A field got more characters than it takes.
    TooLong,
    /// A field is not of its form; what its sender has to say of that, if anything.
    Unmatched(String),
    /// These very answers have brought a field into sight.
    Unseen,
}

/// Fills tabs with their answers. An answer may show more of them, or hide some. One that was not on the page and has no
/// answer stays as it is, for its signer to see it first.
pub(super) fn fill(tabs: &mut [Tab], answer: impl Fn(&Tab) -> Option<String>) -> Result<(), Unfilled> {
    let on_page = relations::shown(tabs);
    let (mut outcome, mut asked, mut unseen) = (Ok(()), BTreeSet::new(), Vec::new());
    loop {
        let next = relations::next(tabs, &asked);
        if next.is_empty() {
            break;
        }
        for place in next {
            asked.insert(place);
            let typed = answer(&tabs[place]);
            let tab = &mut tabs[place];
            match typed {
                Some(typed) => outcome = take(tab, &typed).and(outcome),
                None if !on_page[place] => unseen.push(place),
                // A box that is not ticked is not sent.
                None if tab.list == "checkboxTabs" => tab.value.clear(),
                None => {}
            }
        }
    }
    outcome?;
    let now = relations::shown(tabs);
    if unseen.into_iter().any(|place| now[place]) {
        return Err(Unfilled::Unseen);
    }
    check(tabs)
}

/// Fills a tab with what its signer typed, if it takes that.
pub(super) fn take(tab: &mut Tab, typed: &str) -> Result<(), Unfilled> {
    let typed: String = typed.trim().chars().take(MAX_VALUE).collect();
    if let Some(unfilled) = wrong(tab, &typed) {
        return Err(unfilled);
    }
    tab.fill(&typed);
    Ok(())
}

/// Whether its signer comes upon it. One without a document or a position is kept, and shown nowhere; of a group of radios
/// the chosen one alone has a place.
pub(super) fn is_on_a_page(tab: &Tab) -> bool {
    tab.list == RADIOS || tab.place().is_some()
}

/// Why a field does not take what its signer typed.
fn wrong(tab: &Tab, typed: &str) -> Option<Unfilled> {
    if !tab.takes(typed) {
        return Some(if tab.is_numeric() { Unfilled::NoNumber } else { Unfilled::NoChoice });
    }
    if tab.max_length().is_some_and(|most| typed.chars().count() > most) {
        return Some(Unfilled::TooLong);
    }
    let is_no_address = tab.is_for_an_address() && !typed.is_empty() && !progress::is_email(typed);
    is_no_address.then_some(Unfilled::NoAddress)
}

/// Whether each required tab in sight is filled in, what is filled in is of its form, and each group has what it asks for.
pub(super) fn check(tabs: &[Tab]) -> Result<(), Unfilled> {
    if relations::in_sight(tabs).any(|tab| tab.is_required() && tab.value.is_empty() && is_on_a_page(tab)) {
        return Err(Unfilled::Missing);
    }
    let mut filled_in = relations::in_sight(tabs).filter(|tab| tab.is_fillable());
    if let Some(complaint) = filled_in.find_map(Tab::complaint) {
        return Err(Unfilled::Unmatched(complaint.to_owned()));
    }
    if relations::are_groups_met(tabs) { Ok(()) } else { Err(Unfilled::Group) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn text_tab(fields: &serde_json::Value) -> Tab {
        Tab {
            list: "textTabs".to_owned(),
            id: "t1".to_owned(),
            value: String::new(),
            fields: fields.as_object().unwrap().clone(),
            scope: 0,
            is_placed: true,
        }
    }

    #[test]
    fn what_is_shown_nowhere_is_asked_of_nobody() {
        let stray = text_tab(&json!({ "tabLabel": "Companny", "pageNumber": "1" }));
        let placed = text_tab(&json!({
            "tabLabel": "company", "documentId": "1", "pageNumber": "1", "xPosition": "50", "yPosition": "100",
        }));
        assert!(stray.is_required() && !is_on_a_page(&stray) && is_on_a_page(&placed));
        assert!(check(std::slice::from_ref(&stray)).is_ok());
        assert!(matches!(check(&[stray, placed]), Err(Unfilled::Missing)));
    }
}
