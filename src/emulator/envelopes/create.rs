//! `POST /envelopes`: from a definition to an envelope.
//!
//! What the definition describes is put together in [`super::assembly`], its files are read in
//! [`super::files`]. Nothing is kept of a create that fails.
//!
//! Sources: Envelopes:create in the vendor's reference, how-to/send-binary, rules-and-limits.

use http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{
    Outcome,
    assembly::{Assembly, assemble},
    change,
    files::{Uploads, not_base64},
    lengths, literals, malformed,
    model::{Envelope, Fields, File, Purge, Refusal, Status, invalid, objects, refuse, text},
    progress,
    recipients::{self, Draft, MAX_RECIPIENTS},
    refused, settings, subject, workflow,
};
use crate::emulator::{
    connect,
    http::{Answer, Call, vendor_time},
    multipart,
    schema::{self, Body},
    state::World,
};

/// The longest transaction id; the vendor's own bound is not published.
const MAX_TRANSACTION: usize = 100;

/// Creates an envelope, and sends it if asked to.
pub(super) fn create(world: &mut World, call: &Call) -> Outcome {
    let (definition, uploads) = definition(call)?;
    let fields = definition.as_object().cloned().unwrap_or_default();
    if refused::said(&fields, "envelopeId").is_some() {
        return Err(refused::lacking("copies of envelopes (envelopeId)"));
    }
    let is_sent = match text(&fields, "status").unwrap_or("created").to_ascii_lowercase().as_str() {
        "created" => false,
        "sent" => true,
        _ => return Err(invalid("The status of a new envelope is 'created' or 'sent'.")),
    };
    let is_asynchronous =
        text(&fields, "asynchronous").is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let transaction = text(&fields, "transactionId").map(str::to_owned);
    if is_asynchronous && transaction.is_none() {
        return Err(invalid("An asynchronous envelope needs a transactionId."));
    }
    if transaction.as_ref().is_some_and(|id| id.chars().count() > MAX_TRANSACTION) {
        return Err(invalid("The transactionId is too long."));
    }
    let account = call.account.clone().unwrap_or_default();
    let assembly = assemble(world, &account, &fields, &uploads)?;
    let envelope = build(world, call, &fields, assembly)?;
    let id = enter(world, envelope, is_sent, call.now)?;
    let status = world.envelopes.envelopes[&id].status.name();
    let answer = if is_asynchronous {
        json!({ "status": "Processing", "statusDateTime": vendor_time(call.now) })
    } else {
        json!({
            "envelopeId": id,
            "uri": format!("/envelopes/{id}"),
            "statusDateTime": vendor_time(call.now),
            "status": status,
        })
    };
    Ok(Answer::json(StatusCode::CREATED, answer))
}

/// Takes in an envelope that was built, and sends it if it is to be: its id.
pub(super) fn enter(
    world: &mut World,
    envelope: Envelope,
    is_sent: bool,
    now: Timestamp,
) -> Result<String, Refusal> {
    let id = envelope.id.clone();
    world.envelopes.envelopes.insert(id.clone(), envelope);
    if is_sent && let Err(refusal) = progress::send(world, &id, now) {
        world.envelopes.envelopes.remove(&id);
        return Err(refusal);
    }
    // One that is scheduled is still a draft.
    if world.envelopes.envelopes[&id].status == Status::Created {
        connect::emit(world, &id, "envelope-created", None, now);
    }
    world.envelopes.enter(&id);
    Ok(id)
}

/// The definition, and the files that came with it.
fn definition(call: &Call) -> Result<(Value, Uploads), Refusal> {
    let content_type = call.header("content-type").unwrap_or_default();
    let Some(boundary) = multipart::boundary(content_type) else {
        return Ok((super::body(call, Body::EnvelopeDefinition)?, Uploads::default()));
    };
    let broken = |error: multipart::Malformed| malformed(&format!("Multipart: {error}."));
    let mut parts = multipart::parts(&call.body, &boundary.map_err(broken)?).map_err(broken)?.into_iter();
    let first =
        parts.next().filter(|part| part.media_type.is_empty() || part.media_type == "application/json");
    let first = first.ok_or_else(|| malformed("The first part must be the definition, application/json."))?;
    let definition = schema::parse(Body::EnvelopeDefinition, &call.body[first.content])
        .map_err(|detail| malformed(&detail))?;
    let mut uploads = Uploads::default();
    for part in parts {
        let Some(id) = part.parameters.get("documentid") else {
            return Err(malformed("A part after the first has no documentid in its Content-Disposition."));
        };
        let bytes = part.decoded(&call.body).ok_or_else(not_base64)?;
        let composite = part.parameters.get("compositetemplateid").map_or("", String::as_str);
        if !uploads.add(composite, id, bytes) {
            return Err(malformed(&format!("Two parts are for the document {id}.")));
        }
    }
    Ok((definition, uploads))
}

/// Checks what a definition and its assembly say, and makes it an envelope that is not entered yet.
pub(super) fn build(
    world: &mut World,
    call: &Call,
    fields: &Fields,
    assembly: Assembly,
) -> Result<Envelope, Refusal> {
    let account = call.account.clone().unwrap_or_default();
    let sender = call.user.clone().unwrap_or_default();
    refused::in_envelope(fields)?;
    check_ids(&assembly.recipients, &assembly.documents)?;
    let subject = text(fields, "emailSubject").map(str::to_owned).or(assembly.subject).unwrap_or_default();
    let blurb = text(fields, "emailBlurb").map(str::to_owned).or(assembly.blurb).unwrap_or_default();
    let mut custom_fields = Fields::new();
    for lists in assembly.custom_fields {
        change::merge_custom_fields(world, &mut custom_fields, &lists)?;
    }
    let own = refused::said(fields, "notification");
    let notification = match (own, assembly.notification) {
        (None, Some(of_template)) => of_template,
        (own, _) => notification(own)?,
    };
    let hooks = hooks(world, fields)?;
    let mut built = Vec::new();
    for draft in assembly.recipients {
        built.push(recipients::build(world, &account, &sender, draft)?);
    }
    lengths::of_words(&subject::merged(&subject, &built), &blurb)?;
    let mut given = assembly.settings;
    given.extend(settings::of_envelope(fields)?);
    given.extend(brand(world, &account, fields)?.map(|id| ("brandId".to_owned(), json!(id))));
    given.extend(external_id(fields));
    let workflow = workflow::of(world, fields, call.now)?;
    let mut envelope = Envelope {
        id: world.guid(),
        account,
        sender,
        status: Status::Created,
        changed: call.now,
        modified: call.now,
        created: call.now,
        reached: std::collections::BTreeMap::new(),
        expires: None,
        voided_reason: None,
        subject,
        blurb,
        transaction: text(fields, "transactionId").map(str::to_owned),
        custom_fields,
        notification,
        documents: assembly.documents,
        recipients: built,
        workflow,
        hooks,
        purge: Purge::Unpurged,
        audit: Vec::new(),
        given,
    };
    let name = progress::sender_name(world, &envelope);
    envelope.note(call.now, &name, "Registered", "The envelope was created.");
    Ok(envelope)
}

/// The brand must be one of the account's. The vendor publishes no code for another one: our reading.
pub(in crate::emulator) fn brand(
    world: &World,
    account: &str,
    fields: &Fields,
) -> Result<Option<String>, Refusal> {
    let Some(id) = text(fields, "brandId") else { return Ok(None) };
    match world.directory.accounts.get(account).and_then(|account| account.brand_id(id)) {
        Some(known) => Ok(Some(known.to_owned())),
        None => Err(invalid("The brand given in 'brandId' does not exist in this account.")),
    }
}

/// The sender's own id of the envelope, which means nothing here: kept and answered.
pub(super) fn external_id(fields: &Fields) -> Option<(String, Value)> {
    let name = "externalEnvelopeId";
    text(fields, name).map(|id| (name.to_owned(), json!(id)))
}

/// Refuses recipients of which there are too many, and those and documents that are not told apart.
pub(in crate::emulator) fn check_ids(recipients: &[Draft], documents: &[File]) -> Result<(), Refusal> {
    if recipients.len() > MAX_RECIPIENTS {
        return Err(invalid("An envelope has at most 100 recipients."));
    }
    let mut seen = std::collections::HashSet::new();
    if !recipients.iter().all(|draft| seen.insert(text(&draft.fields, "recipientId").unwrap_or_default())) {
        // Code and words as seen in the field.
        return Err(refuse(
            "ENVELOPE_HAS_DUPLICATE_RECIPIENTS",
            "The specified envelope has duplicate recipients.",
        ));
    }
    let mut seen = std::collections::HashSet::new();
    if !documents.iter().all(|file| seen.insert(file.id.as_str())) {
        return Err(invalid("Every document of an envelope needs a documentId of its own."));
    }
    Ok(())
}

/// The `notification` with the account's defaults for what was not sent.
pub(in crate::emulator) fn notification(given: Option<&Value>) -> Result<Fields, Refusal> {
    notification_over(&Fields::new(), given)
}

/// The same of what has one: what was not sent stays as it is, unless the account's defaults are asked for.
pub(in crate::emulator) fn notification_over(own: &Fields, given: Option<&Value>) -> Result<Fields, Refusal> {
    let mut expirations = json!({ "expireEnabled": "true", "expireAfter": "120", "expireWarn": "0" });
    let mut reminders = json!({ "reminderEnabled": "false", "reminderDelay": "0", "reminderFrequency": "0" });
    let given = given.and_then(Value::as_object);
    given.map_or(Ok(()), check_words)?;
    let uses_defaults = given
        .and_then(|given| text(given, "useAccountDefaults"))
        .is_some_and(|v| v.eq_ignore_ascii_case("true"));
    for said in [Some(own), given].into_iter().flatten().filter(|_| !uses_defaults) {
        for (name, target) in [("expirations", &mut expirations), ("reminders", &mut reminders)] {
            for (field, value) in said.get(name).and_then(Value::as_object).into_iter().flatten() {
                target[field.as_str()] = value.clone();
            }
        }
    }
    let warning = given.and_then(|given| given.get("expirations")?.get("expireWarn"));
    settle_expiry(&mut expirations, warning)?;
    let mut fields = Fields::new();
    fields.insert("useAccountDefaults".to_owned(), json!(uses_defaults.to_string()));
    fields.insert("expirations".to_owned(), expirations);
    fields.insert("reminders".to_owned(), reminders);
    Ok(fields)
}

/// Refuses other words where a notification has switches and numbers.
fn check_words(given: &Fields) -> Result<(), Refusal> {
    literals::switches(given, &["useAccountDefaults"])?;
    for part in ["expirations", "reminders"].into_iter().filter_map(|name| given.get(name)?.as_object()) {
        literals::switches(part, &["expireEnabled", "reminderEnabled"])?;
        literals::numbers(part, &["expireAfter", "expireWarn"])?;
        literals::numbers(part, &["maximumReminderCount", "reminderDelay", "reminderFrequency"])?;
    }
    Ok(())
}

/// Refuses what cannot be. A warning that this request does not say was set before, and comes down to a shorter life.
fn settle_expiry(expirations: &mut Value, said_warning: Option<&Value>) -> Result<(), Refusal> {
    if !expirations["expireEnabled"].as_str().is_some_and(|v| v.eq_ignore_ascii_case("true")) {
        return Ok(());
    }
    let number = |name: &str| expirations[name].as_str().and_then(|days| days.trim().parse::<u32>().ok());
    let (days, warning) = (number("expireAfter"), number("expireWarn"));
    if !days.is_some_and(|days| (1..=999).contains(&days)) {
        return Err(invalid("expireAfter must be a number of days from 1 to 999."));
    }
    if warning > days {
        if said_warning.is_some() {
            return Err(invalid("expireWarn must be at most the days of expireAfter."));
        }
        expirations["expireWarn"] = expirations["expireAfter"].clone();
    }
    Ok(())
}

/// When an envelope that is sent at `sent` ends by itself.
pub(super) fn expiry(notification: &Fields, sent: Timestamp) -> Option<Timestamp> {
    let expirations = notification.get("expirations")?;
    if !expirations["expireEnabled"].as_str()?.eq_ignore_ascii_case("true") {
        return None;
    }
    let days: i64 = expirations["expireAfter"].as_str()?.trim().parse().ok()?;
    sent.checked_add(SignedDuration::from_hours(24 * days)).ok()
}

/// As many notifications as an account may have configurations of Connect: each event is written for each of them.
const MAX_HOOKS: usize = 20;

/// The notifications that a definition asks for: the one, and those of the list (SDK: `EnvelopeDefinition`). One without
/// a member asks for nothing.
fn hooks(world: &mut World, fields: &Fields) -> Result<Vec<(u64, Value)>, Refusal> {
    let one = fields.get("eventNotification").and_then(Value::as_object);
    let given = one.into_iter().chain(objects(fields.get("eventNotifications")));
    let given: Vec<&Fields> = given.filter(|hook| !hook.is_empty()).collect();
    if given.len() > MAX_HOOKS {
        return Err(invalid(&format!("An envelope has at most {MAX_HOOKS} event notifications.")));
    }
    let mut hooks = Vec::new();
    for hook in given {
        check_hook(hook)?;
        world.envelopes.next_hook += 1;
        hooks.push((world.envelopes.next_hook, Value::Object(hook.clone())));
    }
    Ok(hooks)
}

fn check_hook(hook: &Fields) -> Result<(), Refusal> {
    let is_sane = url::Url::parse(text(hook, "url").unwrap_or_default())
        .is_ok_and(|url| url.scheme() == "https" || (url.scheme() == "http" && connect::is_loopback(&url)));
    if !is_sane {
        return Err(invalid(
            "The url of eventNotification must be an https address (plain http only on loopback, at this emulator).",
        ));
    }
    match connect::unknown_event(hook) {
        Some(event) => Err(invalid(&format!("The events of eventNotification have no '{event}'."))),
        None => Ok(()),
    }
}
