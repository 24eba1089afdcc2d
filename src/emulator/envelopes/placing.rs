//! Where tabs lie: at the anchors in the documents, or at a place on a page that exists.
//!
//! Source: SPEC, the schemas of the tabs; rules-and-limits of the vendor's guide. Nothing here changes what a tab says.

use std::collections::BTreeSet;

use serde_json::json;
use uuid::Uuid;

use super::{
    model::{Envelope, Fields, File, RADIOS, Recipient, Refusal, Tab, invalid, refuse, text},
    tabs::radios,
};
use crate::emulator::pdf::read::{Matching, Spot};

/// Limits of rules-and-limits.
const MAX_ANCHOR_INSTANCES: usize = 3_000;

/// Places every tab of every recipient of what is being sent: each has a page or an anchor.
pub(super) fn place_all(envelope: &mut Envelope) -> Result<(), Refusal> {
    let Envelope { documents, recipients, .. } = envelope;
    for recipient in recipients {
        recipient.tabs.iter().filter(|tab| !tab.is_placed).try_for_each(check_page)?;
        place(documents, recipient)?;
    }
    Ok(())
}

/// Places the tabs of one recipient that were not placed yet: an anchor makes one tab a hit. One without a page, that
/// comes when the envelope is under way, is kept and shown nowhere: the vendor takes it (SDK: C#'s own tests).
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

/// A tab without an anchor says on which page it is; groups of tabs lie nowhere, those of radios where these lie. What
/// the vendor makes of one without a document or a position is not known: such a tab is kept, and shown nowhere.
fn check_page(tab: &Tab) -> Result<(), Refusal> {
    let lies_elsewhere = tab.list == "tabGroups" || tab.list == RADIOS;
    if lies_elsewhere || ["pageNumber", "anchorString"].iter().any(|name| text(&tab.fields, name).is_some()) {
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
pub(super) fn check_radio(documents: &[File], document: Option<&str>, radio: &Fields) -> Result<(), Refusal> {
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
            check_fixed(documents, &copy.fields)?;
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

/// A tab must lie on a page that exists. The codes and their words were seen in the field; what is beyond the edge of a
/// page, and that offsets from an anchor lead no further than a place on the page, is our reading.
pub(super) fn check_fixed(documents: &[File], fields: &Fields) -> Result<(), Refusal> {
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
