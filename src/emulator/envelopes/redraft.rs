//! What `PUT /envelopes/{id}` changes of the content: the words, the documents, the recipients, the settings, the
//! workflow.
//!
//! A draft takes all of it, in the form of a definition. Of an envelope that was sent only the words, notification and
//! custom fields can be changed here (recipients are corrected at their own address); whatever else would change is
//! refused, and what is sent back as it is passes. Nothing that was sent may be dropped.
//!
//! Source: Envelopes:update in the vendor's reference ("Modify a draft envelope").

use serde_json::{Value, json};

use super::{
    change, correct, create, envelope_mut,
    files::{Binaries, file_from},
    lengths, literals,
    model::{Envelope, Fields, File, Recipient, Refusal, Status, refuse, text},
    progress, recipients,
    refused::{self, says_something},
    render, settings, subject, workflow,
};
use crate::emulator::{http::Call, state::World};

/// Takes over what is sent of the content.
pub(super) fn rewrite(world: &mut World, call: &Call, id: &str, fields: &Fields) -> Result<(), Refusal> {
    refused::in_envelope(fields)?;
    if let Some(given) = refused::said(fields, "notification") {
        change::notify(world, call, id, given)?;
    }
    custom_fields(world, call, id, fields)?;
    reword(world, call, id, fields)?;
    resettle(world, call, id, fields)?;
    if let Some(given) = refused::said(fields, "workflow") {
        workflow::change(world, call, id, given)?;
    }
    for (name, change) in
        [("documents", documents as fn(&mut World, &Call, &str, &Value) -> _), ("recipients", people)]
    {
        let Some(given) = refused::said(fields, name) else { continue };
        if is_read_back(&world.envelopes.envelopes[id], name, given) {
            continue;
        }
        only_of_a_draft(&world.envelopes.envelopes[id], name)?;
        change(world, call, id, given)?;
        envelope_mut(world, id).modified = call.now;
    }
    Ok(())
}

/// Whether a client only sends back what it read of the documents or the recipients.
fn is_read_back(envelope: &Envelope, name: &str, given: &Value) -> bool {
    if name == "documents" {
        let known = render::documents(envelope);
        let mut all = given.as_array().into_iter().flatten();
        return all.all(|one| {
            let same = known.iter().find(|known| known["documentId"] == one["documentId"]);
            same.is_some_and(|known| is_within(one, known))
        });
    }
    let all: Vec<&Recipient> = envelope.recipients.iter().collect();
    is_within(given, &render::recipients(&all, envelope.current_order(), true))
}

/// Whether everything that is said is there already, in the same words.
pub(in crate::emulator) fn is_within(given: &Value, there: &Value) -> bool {
    match (given, there) {
        (Value::Object(given), Value::Object(there)) => {
            given.iter().all(|(name, value)| is_within(value, there.get(name).unwrap_or(&Value::Null)))
        }
        (Value::Array(given), Value::Array(there)) => {
            given.len() == there.len() && given.iter().zip(there).all(|(one, other)| is_within(one, other))
        }
        _ => given == there || !says_something(given),
    }
}

/// Refuses what can be changed until the envelope has ended.
pub(super) fn until_the_end(envelope: &Envelope) -> Result<(), Refusal> {
    if envelope.status.is_final() {
        return Err(refuse("ENVELOPE_INVALID_STATUS", "The envelope status is not one that allows this."));
    }
    Ok(())
}

/// Refuses what can be changed in a draft only.
pub(super) fn only_of_a_draft(envelope: &Envelope, what: &str) -> Result<(), Refusal> {
    if envelope.status == Status::Created {
        return Ok(());
    }
    Err(refuse(
        "ENVELOPE_INVALID_STATUS",
        format!(
            "The envelope status is not one that allows this: here {what} can be changed in a draft only."
        ),
    ))
}

/// Subject and message; until the envelope has ended (SDK: the tests of the SDKs for C# and PHP, where Envelopes:update
/// speaks of drafts alone).
fn reword(world: &mut World, call: &Call, id: &str, fields: &Fields) -> Result<(), Refusal> {
    let envelope = envelope_mut(world, id);
    let subject = text(fields, "emailSubject").unwrap_or(&envelope.subject).to_owned();
    let blurb = text(fields, "emailBlurb").unwrap_or(&envelope.blurb).to_owned();
    let is_same = subject == envelope.subject;
    if is_same && blurb == envelope.blurb {
        return Ok(());
    }
    until_the_end(envelope)?;
    let is_draft = envelope.status == Status::Created;
    // What was sent has its merge fields filled in, and what a name brought along is none of them.
    let sent =
        if is_same && !is_draft { subject.clone() } else { subject::merged(&subject, &envelope.recipients) };
    lengths::of_words(&sent, &blurb)?;
    if !is_draft {
        progress::check_subject(&sent)?;
    }
    (envelope.subject, envelope.blurb) = (if is_draft { subject } else { sent }, blurb);
    envelope.modified = call.now;
    Ok(())
}

/// Settings, brand and the sender's own id.
fn resettle(world: &mut World, call: &Call, id: &str, fields: &Fields) -> Result<(), Refusal> {
    let account = world.envelopes.envelopes[id].account.clone();
    let mut new = settings::of_envelope(fields)?;
    new.extend(create::brand(world, &account, fields)?.map(|id| ("brandId".to_owned(), json!(id))));
    new.extend(create::external_id(fields));
    let envelope = envelope_mut(world, id);
    let mut now = settings::envelope_defaults();
    now.extend(envelope.given.clone());
    if new.iter().all(|(name, value)| now.get(name) == Some(value)) {
        return Ok(());
    }
    only_of_a_draft(envelope, "settings")?;
    envelope.given.extend(new);
    envelope.modified = call.now;
    Ok(())
}

/// Custom fields; until the envelope has ended.
fn custom_fields(world: &mut World, call: &Call, id: &str, fields: &Fields) -> Result<(), Refusal> {
    let Some(given) = refused::said(fields, "customFields") else {
        return Ok(());
    };
    let known = world.envelopes.envelopes[id].custom_fields.clone();
    let new = custom_fields_over(world, &known, given)?;
    let envelope = envelope_mut(world, id);
    if envelope.custom_fields == new {
        return Ok(());
    }
    until_the_end(envelope)?;
    (envelope.custom_fields, envelope.modified) = (new, call.now);
    Ok(())
}

/// Custom fields with others laid over them: by their `fieldId`, else by their name.
pub(in crate::emulator) fn custom_fields_over(
    world: &mut World,
    known: &Fields,
    given: &Value,
) -> Result<Fields, Refusal> {
    let mut new = known.clone();
    change::replace_by_id(&mut new, given);
    let is_known = |field: &Value| {
        let mut all = known.values().filter_map(Value::as_array).flatten();
        all.any(|known| !field["fieldId"].is_null() && known["fieldId"] == field["fieldId"])
    };
    let rest = |list: &str| -> Vec<Value> {
        let all = given[list].as_array().into_iter().flatten();
        all.filter(|field| !is_known(field)).cloned().collect()
    };
    let added = json!({
        "textCustomFields": rest("textCustomFields"),
        "listCustomFields": rest("listCustomFields"),
    });
    if says_something(&added) {
        change::merge_custom_fields(world, &mut new, &added)?;
    }
    change::check_custom_fields(&new)?;
    Ok(new)
}

/// A document with a known `documentId` is changed, or replaced if it comes with content; any other is added.
fn documents(world: &mut World, _: &Call, id: &str, given: &Value) -> Result<(), Refusal> {
    for fields in given.as_array().into_iter().flatten().filter_map(Value::as_object) {
        let guid = world.guid();
        let envelope = envelope_mut(world, id);
        let wanted = text(fields, "documentId").unwrap_or_default();
        let known = envelope.documents.iter().position(|file| file.id == wanted);
        let has_content = ["documentBase64", "htmlDefinition"]
            .iter()
            .any(|name| fields.get(*name).is_some_and(says_something));
        match known {
            Some(index) if !has_content => describe(&mut envelope.documents[index], fields)?,
            Some(index) => {
                let File { order, scope, .. } = envelope.documents[index];
                let new = file_from(guid, fields, &Binaries::new(), scope, 0)?;
                let order = if text(fields, "order").is_some() { new.order } else { order };
                envelope.documents[index] = File { order, ..new };
            }
            None => {
                let index = envelope.documents.len();
                envelope.documents.push(file_from(guid, fields, &Binaries::new(), 0, index)?);
            }
        }
    }
    Ok(())
}

fn describe(file: &mut File, fields: &Fields) -> Result<(), Refusal> {
    if let Some(name) = text(fields, "name") {
        name.clone_into(&mut file.name);
    }
    file.order = literals::number(fields, "order")?.unwrap_or(file.order);
    file.given.extend(settings::of_document(fields)?);
    Ok(())
}

fn people(world: &mut World, _: &Call, id: &str, given: &Value) -> Result<(), Refusal> {
    let envelope = &world.envelopes.envelopes[id];
    let (account, sender) = (envelope.account.clone(), envelope.sender.clone());
    for draft in recipients::drafts(given, 0)? {
        let wanted = text(&draft.fields, "recipientId");
        let known = &world.envelopes.envelopes[id].recipients;
        if known.iter().any(|known| Some(known.id.as_str()) == wanted) {
            correct::correct_one(world, id, &account, &sender, draft)?;
        } else {
            correct::insert(world, id, &account, &sender, draft)?;
        }
    }
    Ok(())
}
