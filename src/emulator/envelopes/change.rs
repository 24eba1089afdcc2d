//! Changes to an envelope: sending a draft, voiding, resending, purging, custom fields, expiry.

use std::collections::BTreeSet;

use http::{Method, StatusCode};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    Outcome, body, correct, create, envelope_mut, folders, lengths,
    model::{Extent, Fields, Purge, Refusal, Status, invalid, objects, refuse, text},
    progress,
    redraft::{self, until_the_end},
    workflow,
};
use crate::emulator::{
    http::{Answer, Call},
    schema::Body,
    state::World,
};

/// The vendor cuts a longer reason (SPEC: envelope.voidedReason).
const MAX_REASON: usize = 200;

/// `PUT /envelopes/{id}`.
pub(super) fn update(world: &mut World, call: &Call, id: &str) -> Outcome {
    whole(world, id, |world| apply(world, call, id))
}

/// Changes an envelope. Keeps nothing of a change that fails.
pub(super) fn whole<T>(
    world: &mut World,
    id: &str,
    change: impl FnOnce(&mut World) -> Result<T, Refusal>,
) -> Result<T, Refusal> {
    let (before, told) = (world.envelopes.envelopes[id].clone(), world.outgoing.len());
    let outcome = change(world);
    if outcome.is_err() {
        world.envelopes.envelopes.insert(id.to_owned(), before);
        world.outgoing.truncate(told);
    }
    outcome
}

fn apply(world: &mut World, call: &Call, id: &str) -> Outcome {
    let resend = call.asks_for("resend_envelope");
    let given = if call.body.is_empty() && resend {
        json!({})
    } else {
        body(call, Body::Envelope)?;
        // A draft takes what a definition takes, of which the vendor's type for this body lacks a part.
        body(call, Body::EnvelopeDefinition)?
    };
    let fields = given.as_object().cloned().unwrap_or_default();
    redraft::rewrite(world, call, id, &fields)?;
    let (now, purge) = (world.envelopes.envelopes[id].status.name(), world.envelopes.envelopes[id].purge);
    let asked = text(&fields, "purgeState").filter(|state| !is_reported(state, purge));
    let asked = asked.map(|state| purge_of(state, call.now).map(|purge| (state, purge))).transpose()?;
    // Who changes one field of what it read sends the status back, too; a change alone has no `envelopeId`.
    let is_read_back = text(&fields, "envelopeId").is_some_and(|given| given.eq_ignore_ascii_case(id));
    match text(&fields, "status").map(str::to_ascii_lowercase).as_deref() {
        None => {}
        // Whoever says of a draft that it stays one says nothing new.
        Some("created") if now == "created" => {}
        Some(status) if is_read_back && status == now => {}
        Some("sent") => send_draft(world, call, id)?,
        // A void ends views, which no refusal after it brings back: what stands beside it is refused before.
        Some("voided") if resend => return Err(not_under_way()),
        Some("voided") => {
            let reason = text(&fields, "voidedReason").map(str::trim).filter(|reason| !reason.is_empty());
            let Some(reason) = reason else {
                return Err(invalid("A voidedReason is required to void an envelope."));
            };
            let reason: String = reason.chars().take(MAX_REASON).collect();
            progress::void(world, id, &reason, call.now)?;
        }
        Some(_) => return Err(invalid("The status of an envelope can be set to 'sent' or 'voided'.")),
    }
    let mut answer = json!({ "envelopeId": id });
    if let Some((state, purge)) = asked {
        set_purge(world, call, id, purge)?;
        answer["purgeState"] = json!(state);
    }
    // To let a workflow go on asks for `resend_envelope` too, of which a draft that it keeps back has nothing.
    let is_kept_back = workflow::is_kept_back(&world.envelopes.envelopes[id]);
    if resend && !(is_kept_back && fields.contains_key("workflow")) {
        if !world.envelopes.envelopes[id].status.is_open() {
            return Err(not_under_way());
        }
        correct::resend(world, id, call.now);
    }
    if let Some(given) = fields.get("workflow") {
        workflow::go_on(world, call, id, given)?;
    }
    let is_voided = text(&fields, "status").is_some_and(|status| status.eq_ignore_ascii_case("voided"));
    if is_voided && call.asks_for("recycle_on_void") {
        folders::discard(world, id, call.now);
    }
    Ok(Answer::ok(answer))
}

fn not_under_way() -> Refusal {
    refuse(
        "ENVELOPE_INVALID_STATUS",
        "The envelope status is not one that allows this: only an envelope under way is resent.",
    )
}

/// Sends what is a draft.
pub(super) fn send_draft(world: &mut World, call: &Call, id: &str) -> Result<(), Refusal> {
    if world.envelopes.envelopes[id].status != Status::Created {
        return Err(refuse(
            "ENVELOPE_INVALID_STATUS",
            "The envelope status is not one that allows this: only a draft can be sent.",
        ));
    }
    progress::send(world, id, call.now)
}

/// Whether this only says how far the purge is, as a client does that sends back what it read.
fn is_reported(state: &str, now: Purge) -> bool {
    let state = state.to_ascii_lowercase();
    state == now.name() || state == "unpurged" || state.ends_with("_purged")
}

/// The purge that such a word asks for.
fn purge_of(state: &str, now: Timestamp) -> Result<Purge, Refusal> {
    let queued = |extent| Ok(Purge::Queued { since: now, extent });
    match state.to_ascii_lowercase().as_str() {
        "documents_queued" => queued(Extent::Documents),
        "documents_and_metadata_queued" => queued(Extent::Metadata),
        "documents_and_metadata_and_redact_queued" => queued(Extent::Redacted),
        "documents_dequeued" => Ok(Purge::Unpurged),
        _ => Err(invalid("The purgeState is not one that can be set.")),
    }
}

fn set_purge(world: &mut World, call: &Call, id: &str, purge: Purge) -> Result<(), Refusal> {
    let envelope = envelope_mut(world, id);
    if !envelope.status.is_final() {
        return Err(refuse(
            "ENVELOPE_INVALID_STATUS",
            "The envelope status is not one that allows this: only completed, declined or voided envelopes can be purged.",
        ));
    }
    if matches!(envelope.purge, Purge::Purged { .. }) {
        return Err(refuse(
            "ENVELOPE_INVALID_STATUS",
            "The envelope status is not one that allows this: it is purged.",
        ));
    }
    envelope.purge = purge;
    envelope.note(call.now, "Sender", "Purge", "The purge state was changed.");
    if let Some(at) = envelope.purge.due() {
        world.envelopes.wake(id, at);
    }
    Ok(())
}

/// `PUT` and `POST …/custom_fields`. That all of them are answered is our reading: SPEC says of what type the answer is,
/// and no more.
pub(super) fn custom_fields(world: &mut World, call: &Call, id: &str) -> Outcome {
    let given = body(call, Body::CustomFields)?;
    let envelope = &world.envelopes.envelopes[id];
    until_the_end(envelope)?;
    let mut fields = envelope.custom_fields.clone();
    if call.method == Method::PUT {
        known_by_id(&fields, &given)?;
        replace_by_id(&mut fields, &given);
    } else {
        merge_custom_fields(world, &mut fields, &given)?;
    }
    check_custom_fields(&fields)?;
    let envelope = envelope_mut(world, id);
    envelope.custom_fields.clone_from(&fields);
    envelope.modified = call.now;
    let status = if call.method == Method::POST { StatusCode::CREATED } else { StatusCode::OK };
    Ok(Answer::json(status, Value::Object(fields)))
}

/// Refuses the `fieldId` of a custom field that is not there. The vendor publishes no code for it: our reading.
pub(super) fn no_such_field() -> Refusal {
    invalid("The envelope has no custom field of that 'fieldId'.")
}

/// Refuses to change what is not there: who adds one posts it.
fn known_by_id(fields: &Fields, given: &Value) -> Result<(), Refusal> {
    for list in ["textCustomFields", "listCustomFields"] {
        for change in objects(given.get(list)) {
            let id = text(change, "fieldId");
            let is_known =
                objects(fields.get(list)).any(|field| id.is_some() && text(field, "fieldId") == id);
            if !is_known {
                return Err(no_such_field());
            }
        }
    }
    Ok(())
}

pub(super) fn replace_by_id(fields: &mut Fields, given: &Value) {
    for list in ["textCustomFields", "listCustomFields"] {
        for change in objects(given.get(list)) {
            let known = fields.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten();
            for field in known.filter_map(Value::as_object_mut) {
                if text(field, "fieldId") == text(change, "fieldId") {
                    field.extend(change.clone());
                }
            }
        }
    }
}

/// Adds custom fields, each with a `fieldId`; one of the same name that is there is replaced.
pub(in crate::emulator) fn merge_custom_fields(
    world: &mut World,
    into: &mut Fields,
    given: &Value,
) -> Result<(), Refusal> {
    for list in ["textCustomFields", "listCustomFields"] {
        refuse_repeated(given.get(list))?;
        let mut all = into.get(list).and_then(Value::as_array).cloned().unwrap_or_default();
        for field in objects(given.get(list)) {
            let mut field = field.clone();
            let id = 10_000_000_000 + u64::from(world.number(0..u32::MAX));
            field.insert("fieldId".to_owned(), json!(id.to_string()));
            for (name, default) in [("show", "false"), ("required", "false"), ("value", "")] {
                field.entry(name).or_insert_with(|| json!(default));
            }
            all.retain(|known| known["name"] != field.get("name").cloned().unwrap_or_default());
            all.push(Value::Object(field));
        }
        into.insert(list.to_owned(), Value::Array(all));
    }
    check_custom_fields(into)
}

/// "Each custom field used in an envelope must have a unique name" (SPEC: EnvelopeCustomFields:update); in its list, as
/// an add replaces the one of the same name there.
pub(super) fn check_custom_fields(fields: &Fields) -> Result<(), Refusal> {
    for list in fields.values() {
        refuse_repeated(Some(list))?;
        for field in objects(Some(list)) {
            if text(field, "name").is_none() {
                return Err(invalid("Every custom field needs a name."));
            }
            lengths::of_custom_field(field)?;
        }
    }
    Ok(())
}

/// Refuses two custom fields of one name in a list.
fn refuse_repeated(list: Option<&Value>) -> Result<(), Refusal> {
    let mut names = BTreeSet::new();
    if objects(list).filter_map(|field| text(field, "name")).all(|name| names.insert(name)) {
        return Ok(());
    }
    Err(invalid("Every custom field of an envelope needs a name of its own."))
}

/// `PUT …/notification`.
pub(super) fn notification(world: &mut World, call: &Call, id: &str) -> Outcome {
    let given = body(call, Body::Notification)?;
    notify(world, call, id, &given)?;
    Ok(Answer::ok(Value::Object(world.envelopes.envelopes[id].notification.clone())))
}

/// Sets when the envelope ends by itself, and when it reminds; until it has ended. What is not said stays as it is.
pub(super) fn notify(world: &mut World, call: &Call, id: &str, given: &Value) -> Result<(), Refusal> {
    let envelope = envelope_mut(world, id);
    let new = create::notification_over(&envelope.notification, Some(given))?;
    if envelope.notification == new {
        return Ok(());
    }
    until_the_end(envelope)?;
    if let Some(sent) = envelope.reached.get("sent") {
        envelope.expires = create::expiry(&new, *sent);
    }
    envelope.notification = new;
    envelope.modified = call.now;
    if let Some(at) = envelope.expires {
        world.envelopes.wake(id, at);
    }
    Ok(())
}
