//! Templates changed and deleted.
//!
//! A change is of what a template says of itself and of how its envelopes are treated. Its documents and its recipients
//! stay as they were made: at the vendor they have addresses of their own for that, which are not here. Envelopes that
//! were made of a template before keep what they have.
//!
//! Source: Templates:update, Folders:moveEnvelopes. That every member may do it, that what is left out stays as it is,
//! what a change answers, and that what is deleted is gone at once are our reading.

use serde_json::{Value, json};

use super::{Template, documents_in_full, full, known, notification, recipients};
use crate::emulator::{
    connect,
    envelopes::{
        self, Outcome, lengths,
        model::{Fields, Refusal, text},
        refused,
    },
    http::{Answer, Call},
    schema::Body,
    state::World,
};

/// `PUT /templates/{id}`: what was read and is sent back as it was changes nothing.
pub(super) fn update(world: &mut World, call: &Call, id: &str) -> Outcome {
    let given = envelopes::body(call, Body::EnvelopeTemplate)?;
    let fields = given.as_object().cloned().unwrap_or_default();
    let mut new = known(world, call, id)?.clone();
    refused::in_template(&fields)?;
    keeps_its_parts(&new, &fields)?;
    reword(&mut new, &fields)?;
    if let Some(given) = refused::said(&fields, "notification") {
        let now = notification(&new)?;
        let changed = envelopes::notification_over(&now, Some(given))?;
        if changed != now {
            new.notification = Some(changed);
        }
    }
    if let Some(given) = refused::said(&fields, "customFields") {
        new.custom_fields = envelopes::custom_fields_over(world, &new.custom_fields, given)?;
    }
    resettle(&mut new, &fields)?;
    new.brand = envelopes::brand(world, &new.account, &fields)?.or(new.brand);
    let id = new.id.clone();
    // All that can be changed is shown.
    if full(world, call, &new)? != full(world, call, known(world, call, &id)?)? {
        new.modified = call.now;
        world.envelopes.templates.insert(id.clone(), new);
        connect::emit_of_template(world, &id, "template-modified", call.now);
    }
    Ok(Answer::ok(json!({ "envelopeId": id })))
}

/// Refuses other documents and recipients than there are.
fn keeps_its_parts(template: &Template, fields: &Fields) -> Result<(), Refusal> {
    for (name, there) in
        [("documents", Value::Array(documents_in_full(template))), ("recipients", recipients(template, true))]
    {
        if refused::said(fields, name).is_some_and(|given| !envelopes::is_within(given, &there)) {
            return Err(refused::lacking(&format!("changes of the {name} of a template")));
        }
    }
    Ok(())
}

/// Its own words, and those of its envelopes.
fn reword(template: &mut Template, fields: &Fields) -> Result<(), Refusal> {
    if let Some(name) = text(fields, "name") {
        name.clone_into(&mut template.name);
    }
    for (name, target) in [
        ("description", &mut template.description),
        ("emailBlurb", &mut template.blurb),
        ("emailSubject", &mut template.subject),
    ] {
        if let Some(said) = fields.get(name).and_then(Value::as_str) {
            said.clone_into(target);
        }
    }
    if let Some(shared) = text(fields, "shared") {
        template.shared = shared.eq_ignore_ascii_case("true");
    }
    lengths::of_words(&template.subject, &template.blurb)
}

/// The settings that are others than before. A default that was read and comes back is not said by that: it would go
/// before what another template of a composite says.
fn resettle(template: &mut Template, fields: &Fields) -> Result<(), Refusal> {
    let mut now = envelopes::envelope_defaults();
    now.extend(template.given.clone());
    let said = envelopes::settings_of(fields)?;
    template.given.extend(said.into_iter().filter(|(name, value)| now.get(name) != Some(value)));
    Ok(())
}

/// Deletes one that is there.
pub(in crate::emulator) fn delete(world: &mut World, call: &Call, id: &str) {
    let id = id.to_ascii_lowercase();
    connect::emit_of_template(world, &id, "template-deleted", call.now);
    world.envelopes.templates.remove(&id);
}
