//! Custom fields of an envelope, and tabs of a recipient, taken away.
//!
//! Sources: EnvelopeCustomFields:delete ("for draft and in-process envelopes"), EnvelopeRecipientTabs:delete ("in a
//! draft envelope"). That what was taken away is answered, and what is not there refused, is our reading.

use serde_json::{Value, json};

use super::{
    Outcome, body,
    model::{Fields, Status, invalid, refuse, text},
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
    let envelope = &world.envelopes.envelopes[id];
    if envelope.status.is_final() {
        return Err(refuse("ENVELOPE_INVALID_STATUS", "The envelope status is not one that allows this."));
    }
    let (mut left, mut gone) = (envelope.custom_fields.clone(), Fields::new());
    for list in ["textCustomFields", "listCustomFields"] {
        let mut taken = Vec::new();
        for named in given[list].as_array().into_iter().flatten().filter_map(Value::as_object) {
            let known = left.get_mut(list).and_then(Value::as_array_mut);
            let found = known.and_then(|known| {
                let place = known.iter().position(|field| {
                    text(named, "fieldId").is_some_and(|wanted| field["fieldId"].as_str() == Some(wanted))
                })?;
                Some(known.remove(place))
            });
            taken.push(found.ok_or_else(|| invalid("The envelope has no custom field of that 'fieldId'."))?);
        }
        gone.insert(list.to_owned(), json!(taken));
    }
    let envelope = world.envelopes.envelopes.get_mut(id).expect("the router looked it up");
    envelope.custom_fields = left;
    envelope.modified = call.now;
    Ok(Answer::ok(Value::Object(gone)))
}

/// `DELETE …/recipients/{recipient}/tabs`: those of the body, as a change names them; of a draft.
pub(super) fn tabs(world: &mut World, call: &Call, id: &str, recipient: &str) -> Outcome {
    let given = body(call, Body::Tabs)?;
    let envelope = world.envelopes.envelopes.get_mut(id).expect("the router looked it up");
    let is_draft = envelope.status == Status::Created;
    let one = envelope.recipients.iter_mut().find(|known| known.id == recipient || known.guid == recipient);
    let Some(one) = one else {
        return Err(refuse(
            "INVALID_RECIPIENT_ID",
            "Invalid recipient specified. The envelope has no such recipient.",
        ));
    };
    if !is_draft {
        return Err(refuse(
            "ENVELOPE_INVALID_STATUS",
            "The envelope status is not one that allows this: tabs are deleted from a draft.",
        ));
    }
    let (mut left, mut gone) = (one.clone(), one.clone());
    gone.tabs.clear();
    for draft in tabs::drafts(Some(&given), 0) {
        let place = left.tabs.iter().position(|tab| tabs::is_meant(tab, &draft));
        let Some(place) = place else {
            return Err(refuse("INVALID_TAB_ID", "The tab specified does not exist for this recipient."));
        };
        gone.tabs.push(left.tabs.remove(place));
    }
    *one = left;
    envelope.modified = call.now;
    Ok(Answer::ok(render::tabs(&gone)))
}
