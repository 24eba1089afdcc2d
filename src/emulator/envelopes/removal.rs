//! Custom fields of an envelope, and tabs of a recipient, taken away.
//!
//! Sources: EnvelopeCustomFields:delete ("for draft and in-process envelopes"), EnvelopeRecipientTabs:delete ("in a
//! draft envelope", which EnvelopeRecipientTabs:update explains as one that is not yet complete). That what was taken
//! away is answered, and what is not there refused, is our reading.

use serde_json::{Value, json};

use super::{
    Outcome, body, change, envelope_mut,
    filling::is_true,
    model::{Fields, objects, refuse, text},
    redraft::until_the_end,
    render, tabs,
};
use crate::emulator::{
    http::{Answer, Call},
    schema::Body,
    state::World,
};

/// `DELETE …/custom_fields`: those of the body, by `fieldId`.
pub(super) fn custom_fields(world: &mut World, call: &Call, id: &str) -> Outcome {
    let given = body(call, Body::CustomFields)?;
    let envelope = envelope_mut(world, id);
    until_the_end(envelope)?;
    let (mut left, mut gone) = (envelope.custom_fields.clone(), Fields::new());
    for list in ["textCustomFields", "listCustomFields"] {
        let mut taken = Vec::new();
        for named in objects(given.get(list)) {
            let known = left.get_mut(list).and_then(Value::as_array_mut);
            let found = known.and_then(|known| {
                let place = known.iter().position(|field| {
                    text(named, "fieldId").is_some_and(|wanted| field["fieldId"].as_str() == Some(wanted))
                })?;
                Some(known.remove(place))
            });
            taken.push(found.ok_or_else(change::no_such_field)?);
        }
        gone.insert(list.to_owned(), json!(taken));
    }
    envelope.custom_fields = left;
    envelope.modified = call.now;
    Ok(Answer::ok(Value::Object(gone)))
}

/// `DELETE …/recipients/{recipient}/tabs`: those of the body, as a change names them; until the end, as they are changed.
/// "It is an error to delete a tab that has the `templateLocked` property set to true", and with `templateRequired` "the
/// tab cannot be removed by the sender" (EnvelopeRecipientTabs).
pub(super) fn tabs(world: &mut World, call: &Call, id: &str, index: usize) -> Outcome {
    let given = body(call, Body::Tabs)?;
    let envelope = envelope_mut(world, id);
    tabs::check_owner(envelope, &envelope.recipients[index])?;
    let mut left = envelope.recipients[index].clone();
    let mut gone = left.clone();
    gone.tabs.clear();
    for draft in tabs::drafts(Some(&given), 0) {
        let place = left.tabs.iter().position(|tab| tabs::is_meant(tab, &draft));
        let Some(place) = place else {
            return Err(refuse("INVALID_TAB_ID", "The tab specified does not exist for this recipient."));
        };
        let tab = left.tabs.remove(place);
        if [tabs::LOCKED, tabs::REQUIRED].iter().any(|kept| is_true(&tab.fields, kept)) {
            return Err(tabs::kept_by_its_template());
        }
        gone.tabs.push(tab);
    }
    envelope.recipients[index] = left;
    envelope.modified = call.now;
    Ok(Answer::ok(render::tabs(&gone)))
}
