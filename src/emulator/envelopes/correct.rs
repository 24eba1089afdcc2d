//! Recipients changed after the create: correction, addition, removal, resending.
//!
//! Source: EnvelopeRecipients:update, :create and :delete in the vendor's reference.

use http::StatusCode;
use serde_json::{Value, json};

use super::{
    Outcome, body,
    change::whole,
    envelope_mut,
    filling::is_true,
    model::{
        Envelope, Fields, Kind, Recipient, RecipientStatus, Refusal, Status, invalid, no_such_recipient,
        refuse, text,
    },
    placing, progress, reach,
    recipients::{Draft, MAX_RECIPIENTS, build, drafts, is_open, leave_check},
    render, tabs,
};
use crate::emulator::{
    connect,
    http::{Answer, Call},
    schema::Body,
    state::World,
};

/// What corrects an identity check; any of these unlocks a locked recipient.
const CHECK_FIELDS: [&str; 5] = [
    "identityVerification",
    "idCheckConfigurationName",
    "smsAuthentication",
    "phoneAuthentication",
    "accessCode",
];

/// What can be changed of a recipient once its envelope is sent; anything else that is sent is passed over
/// (EnvelopeRecipients:update; passing over is our reading). The last six stand for the name, the address and the way of
/// delivery where these go by other members: our reading, too.
const CORRECTABLE: [&str; 24] = [
    "accessCode",
    "agentCanEditEmail",
    "agentCanEditName",
    "customFields",
    "deliveryMethod",
    "documentVisibility",
    "email",
    "emailNotification",
    "idCheckConfigurationName",
    "identityVerification",
    "name",
    "note",
    "phoneAuthentication",
    "requireIdLookup",
    "routingOrder",
    "signingGroupId",
    "smsAuthentication",
    "suppressEmails",
    "additionalNotifications",
    "hostEmail",
    "hostName",
    "phoneNumber",
    "signerEmail",
    "signerName",
];

/// The vendor's words, blanks and all (EnvelopeRecipients:update).
const NOT_CORRECTABLE: &str =
    "The recipient could not be updated.  Recipient not in state that allows correction.";
/// Of what a template locks the field has seen the code alone.
const KEPT_BY_ITS_TEMPLATE: &str = "The recipient could not be updated.  Its template keeps it as it is.";

/// `PUT …/recipients`: changes drafts, corrects what is under way, resends.
pub(super) fn correct(world: &mut World, call: &Call, id: &str) -> Outcome {
    let given = body(call, Body::Recipients)?;
    let envelope = &world.envelopes.envelopes[id];
    refuse_final(envelope.status)?;
    let (is_draft, sender, account) =
        (envelope.status == Status::Created, envelope.sender.clone(), envelope.account.clone());
    let resend = call.asks_for("resend_envelope");
    let mut results = Vec::new();
    let mut is_corrected = false;
    for draft in without_tabs(&given)? {
        let recipient = text(&draft.fields, "recipientId").unwrap_or_default().to_owned();
        let exists = world.envelopes.envelopes[id].recipients.iter().any(|known| known.id == recipient);
        let outcome = if exists {
            correct_one(world, id, &account, &sender, draft)
        } else if is_draft {
            insert(world, id, &account, &sender, draft)
        } else {
            Err(no_such_recipient())
        };
        is_corrected |= outcome.is_ok();
        results.push(result(&world.envelopes.envelopes[id], &recipient, outcome.err()));
    }
    if is_corrected {
        envelope_mut(world, id).modified = call.now;
    }
    if !is_draft {
        after_correction(world, call, id, is_corrected, resend);
    }
    Ok(Answer::ok(json!({ "recipientUpdateResults": results })))
}

/// The recipients of a body. Tabs are not added here, but at their own address (EnvelopeRecipients:update, :create).
fn without_tabs(given: &Value) -> Result<Vec<Draft>, Refusal> {
    let mut all = drafts(given, 0)?;
    for draft in &mut all {
        draft.tabs.clear();
    }
    Ok(all)
}

fn after_correction(world: &mut World, call: &Call, id: &str, is_corrected: bool, resend: bool) {
    progress::take_back(envelope_mut(world, id));
    let envelope = &world.envelopes.envelopes[id];
    let sender = progress::sender_name(world, envelope);
    if is_corrected && let Some(envelope) = world.envelopes.envelopes.get_mut(id) {
        envelope.note(call.now, &sender, "Corrected", "The envelope was corrected.");
        connect::emit(world, id, "envelope-corrected", None, call.now);
    }
    if resend {
        self::resend(world, id, call.now);
    }
    progress::activate(world, id, call.now);
}

/// Sends the mails again, which also unlocks whoever failed the identity check.
pub(super) fn resend(world: &mut World, id: &str, now: jiff::Timestamp) {
    let Some(envelope) = world.envelopes.envelopes.get_mut(id) else { return };
    let mut resent = Vec::new();
    for recipient in envelope.recipients.iter_mut().filter(|recipient| recipient.status.is_in_turn()) {
        unlock(recipient);
        resent.push(recipient.guid.clone());
    }
    connect::emit(world, id, "envelope-resent", None, now);
    for guid in resent {
        connect::emit(world, id, "recipient-resent", Some(&guid), now);
    }
}

fn unlock(recipient: &mut Recipient) {
    recipient.access_code_failures = 0;
    if let Some(phone) = &mut recipient.phone {
        (phone.failures, phone.is_locked, phone.is_passed) = (0, false, false);
    }
}

/// What became of one. Only of who was refused there are details (SDK: the tests of the SDKs for Python and Java).
fn result(envelope: &Envelope, recipient: &str, refusal: Option<Refusal>) -> Value {
    let mut result = json!({ "recipientId": recipient });
    if let Some(known) = envelope.recipients.iter().find(|known| known.id == recipient) {
        result["recipientIdGuid"] = json!(known.guid);
    }
    if let Some(Refusal { code, message, .. }) = refusal {
        result["errorDetails"] = json!({ "errorCode": code, "message": message });
    }
    result
}

fn refuse_final(status: Status) -> Result<(), Refusal> {
    if status.is_final() {
        return Err(refuse(
            "ENVELOPE_INVALID_STATUS",
            "Invalid envelope status. Envelope status is not one of: Created, Sent, Delivered, Correct.",
        ));
    }
    Ok(())
}

/// Lays the sent fields over the ones that are there, and checks the whole again. The list that it is sent in says what
/// kind it is from now on: "you must also change the recipient object to match the recipient type" (SPEC).
pub(super) fn correct_one(
    world: &mut World,
    id: &str,
    account: &str,
    sender: &str,
    draft: Draft,
) -> Result<(), Refusal> {
    let recipient = text(&draft.fields, "recipientId").unwrap_or_default().to_owned();
    let envelope = &world.envelopes.envelopes[id];
    let is_draft = envelope.status == Status::Created;
    let old = envelope.recipients.iter().find(|known| known.id == recipient).cloned();
    let Some(old) = old.filter(|old| !old.is_done()) else {
        return Err(refuse("RECIPIENT_UPDATE_FAILED", NOT_CORRECTABLE));
    };
    let is_moved = old.kind != draft.kind;
    if is_moved && old.status == RecipientStatus::FaxPending {
        return Err(refuse("RECIPIENT_UPDATE_FAILED", NOT_CORRECTABLE));
    }
    check_lock(&old, &draft)?;
    // A tab that is named by its id is changed, any other is a new one.
    let mut kept = old.tabs.clone();
    let fresh = tabs::lay_over(&mut kept, draft.tabs, &envelope.documents)?;
    let touches_check = CHECK_FIELDS.iter().any(|field| draft.fields.contains_key(*field));
    let mut fields = if is_moved { fields_as(&old, draft.kind) } else { render::fields_of(&old) };
    let said = draft.fields.into_iter().filter(|(name, value)| !reach::is_default_again(&old, name, value));
    let said: Fields = said.filter(|(name, _)| is_draft || CORRECTABLE.contains(&name.as_str())).collect();
    leave_check(&mut fields, &said);
    fields.extend(said);
    let new = build(world, account, sender, Draft { kind: draft.kind, fields, tabs: fresh })?;
    let is_same_person = old.email.eq_ignore_ascii_case(&new.email);
    let is_renamed = old.name != new.name;
    let mut merged = Recipient {
        guid: old.guid,
        user_id: if is_same_person { old.user_id } else { new.user_id.clone() },
        status: old.status,
        sent: old.sent,
        delivered: old.delivered,
        authentication: old.authentication,
        tabs: kept,
        adopted_name: if is_renamed { None } else { old.adopted_name },
        app_authentication: old.app_authentication,
        access_code_failures: old.access_code_failures,
        phone: if touches_check { new.phone.clone() } else { old.phone },
        ..new.clone()
    };
    merged.tabs.extend(new.tabs);
    if is_moved {
        begin_anew(&mut merged);
    }
    if touches_check {
        unlock(&mut merged);
    }
    let envelope = envelope_mut(world, id);
    if !is_draft {
        reach::check_person(&merged)?;
        placing::place(&envelope.documents, &mut merged)?;
    }
    if let Some(place) = envelope.recipient_mut(&merged.guid.clone()) {
        *place = merged;
    }
    Ok(())
}

/// Refuses to change of a recipient what its template locks; what is sent back as it was read changes nothing.
fn check_lock(old: &Recipient, draft: &Draft) -> Result<(), Refusal> {
    if !is_true(&old.given, tabs::LOCKED) {
        return Ok(());
    }
    let shown = render::recipient(old, false);
    let mut said = draft.fields.iter().filter(|(name, _)| !is_open(&old.given, name));
    if old.kind != draft.kind || said.any(|(name, value)| shown.get(name) != Some(value)) {
        return Err(refuse("RECIPIENT_UPDATE_FAILED", KEPT_BY_ITS_TEMPLATE));
    }
    Ok(())
}

/// What is said of a recipient, for another kind of it: a guest keeps the name and leaves the host behind, as a guest's
/// host is nobody that was there before.
fn fields_as(old: &Recipient, kind: Kind) -> Fields {
    let mut fields = render::fields_of(old);
    for name in ["email", "hostEmail", "hostName", "name", "signerName"] {
        fields.remove(name);
    }
    fields
        .insert(if kind == Kind::InPersonSigner { "signerName" } else { "name" }.to_owned(), json!(old.name));
    if old.kind != Kind::InPersonSigner && kind != Kind::InPersonSigner {
        fields.insert("email".to_owned(), json!(old.email));
    }
    fields
}

/// As another kind of recipient it has not had its turn: that comes with the next look at the routing, which may end
/// the envelope, too. Who signs nothing has no fields.
fn begin_anew(moved: &mut Recipient) {
    (moved.status, moved.sent, moved.delivered) = (RecipientStatus::Created, None, None);
    if !moved.kind.signs() {
        moved.tabs.clear();
    }
}

pub(super) fn insert(
    world: &mut World,
    id: &str,
    account: &str,
    sender: &str,
    draft: Draft,
) -> Result<(), Refusal> {
    let envelope = &world.envelopes.envelopes[id];
    if envelope.recipients.len() >= MAX_RECIPIENTS {
        return Err(invalid("An envelope has at most 100 recipients."));
    }
    let status = envelope.status;
    let mut recipient = build(world, account, sender, draft)?;
    let envelope = envelope_mut(world, id);
    if envelope.recipients.iter().any(|known| known.id == recipient.id) {
        return Err(refuse("INVALID_RECIPIENT_ID", "Invalid recipient specified. The recipientId is taken."));
    }
    if status != Status::Created {
        reach::check_person(&recipient)?;
        placing::place(&envelope.documents, &mut recipient)?;
    }
    envelope.recipients.push(recipient);
    Ok(())
}

/// `POST …/recipients`: adds some.
pub(super) fn add(world: &mut World, call: &Call, id: &str) -> Outcome {
    let given = body(call, Body::Recipients)?;
    let envelope = &world.envelopes.envelopes[id];
    refuse_final(envelope.status)?;
    let (sender, account) = (envelope.sender.clone(), envelope.account.clone());
    let new = without_tabs(&given)?;
    let ids: Vec<String> =
        new.iter().filter_map(|draft| text(&draft.fields, "recipientId").map(str::to_owned)).collect();
    whole(world, id, |world| {
        new.into_iter().try_for_each(|draft| insert(world, id, &account, &sender, draft))
    })?;
    envelope_mut(world, id).modified = call.now;
    let resend = call.asks_for("resend_envelope");
    if world.envelopes.envelopes[id].status.is_open() {
        after_correction(world, call, id, true, resend);
    }
    let envelope = &world.envelopes.envelopes[id];
    let added = envelope.recipients.iter().filter(|recipient| ids.contains(&recipient.id));
    Ok(Answer::json(StatusCode::CREATED, shown(envelope, &added.collect::<Vec<_>>())))
}

/// Some recipients, as a call answers that is about them: these are shown, and what is told of the envelope is about all
/// that it has (SPEC: recipients).
fn shown(envelope: &Envelope, some: &[&Recipient]) -> Value {
    let mut answer = render::recipients(some, envelope.current_order(), false);
    answer["recipientCount"] = json!(envelope.recipients.len().to_string());
    answer
}

/// `DELETE …/recipients` with a body, or of one by id. Who was deleted is answered, with a status of its own (SDK: the
/// tests of the SDK for Node). The last one may go, too, and then the envelope waits for somebody to be added (SDK: the
/// tests of the SDK for PHP; the waiting is our reading).
pub(super) fn delete(world: &mut World, call: &Call, id: &str, one: Option<&str>) -> Outcome {
    let envelope = &world.envelopes.envelopes[id];
    refuse_final(envelope.status)?;
    let named: Vec<Option<String>> = if let Some(one) = one {
        vec![Some(one.to_owned())]
    } else {
        let given = drafts(&body(call, Body::Recipients)?, 0)?;
        given.iter().map(|draft| text(&draft.fields, "recipientId").map(str::to_owned)).collect()
    };
    let mut guids = Vec::new();
    for named in named {
        let known = &envelope.recipients[envelope.place_of(&named.ok_or_else(no_such_recipient)?)?];
        if known.is_done() {
            return Err(refuse("RECIPIENT_UPDATE_FAILED", NOT_CORRECTABLE));
        }
        // "The sender may not remove the recipient" (SPEC: signer.templateRequired).
        if is_true(&known.given, tabs::REQUIRED) {
            return Err(refuse("RECIPIENT_UPDATE_FAILED", KEPT_BY_ITS_TEMPLATE));
        }
        guids.push(known.guid.clone());
    }
    let envelope = envelope_mut(world, id);
    let all = std::mem::take(&mut envelope.recipients);
    let (gone, left): (Vec<_>, Vec<_>) = all.into_iter().partition(|known| guids.contains(&known.guid));
    envelope.recipients = left;
    envelope.modified = call.now;
    if envelope.status.is_open() {
        after_correction(world, call, id, !gone.is_empty(), false);
    }
    let mut answer = shown(&world.envelopes.envelopes[id], &gone.iter().collect::<Vec<_>>());
    for kind in Kind::ALL {
        for one in answer[kind.list()].as_array_mut().into_iter().flatten() {
            one["status"] = json!("deleted");
        }
    }
    Ok(Answer::ok(answer))
}
