//! What may happen to an envelope, and nothing else: scheduled, sent, opened, signed, declined, voided, expired.
//!
//! Statuses only move forward: created, sent, delivered, then completed, declined or voided.
//! Every step writes history and tells Connect; nothing outside this file sets a status.
//!
//! Source: developers.docusign.com, concepts/envelopes/status-codes and concepts/recipients/status-codes.

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::{
    create, documents, envelope_mut, lengths,
    model::{Envelope, Extent, Kind, Purge, Recipient, RecipientStatus, Refusal, Status, refuse},
    placing, reach, relations, render, subject,
    workflow::Workflow,
};
use crate::emulator::{connect, http::vendor_time, state::World};

/// The member of a field that tells its value as it was sent to the recipient (SPEC: the tabs).
pub(super) const ORIGINAL: &str = "originalValue";

/// The vendor's words for an envelope that is past its date.
const EXPIRED: &str = "Envelope has expired.";

fn set(envelope: &mut Envelope, status: Status, now: Timestamp) {
    envelope.status = status;
    envelope.changed = now;
    envelope.modified = now;
    envelope.reached.insert(status.name(), now);
}

/// Sends a draft: checks that it is whole, places its tabs, and starts the routing, unless its workflow puts that off.
pub(in crate::emulator) fn send(world: &mut World, id: &str, now: Timestamp) -> Result<(), Refusal> {
    let mut envelope = ready(&world.envelopes.envelopes[id])?;
    // The plan may have changed since the draft was made.
    if let Some(account) = world.directory.accounts.get(&envelope.account) {
        for one in &envelope.recipients {
            reach::check_plan(account, &render::fields_of(one))?;
        }
    }
    let is_kept_back = envelope.workflow.as_mut().is_some_and(Workflow::keeps_back);
    let workflow = envelope.workflow.as_mut().filter(|_| !is_kept_back);
    let at = workflow.and_then(|workflow| workflow.put_off(now));
    if !is_kept_back && at.is_none() {
        begin(world, envelope, now);
        return Ok(());
    }
    let sender = sender_name(world, &envelope);
    let draft = envelope_mut(world, id);
    draft.workflow = envelope.workflow;
    if let Some(at) = at {
        draft.note(now, &sender, "Scheduled", "The envelope was scheduled to be sent.");
        world.envelopes.wake(id, at);
    } else {
        draft.note(now, &sender, "Paused", "The envelope is sent when its workflow goes on.");
    }
    Ok(())
}

/// A draft as it is sent, if it can be.
fn ready(draft: &Envelope) -> Result<Envelope, Refusal> {
    check_whole(draft)?;
    let mut envelope = draft.clone();
    envelope.subject = subject::merged(&envelope.subject, &envelope.recipients);
    lengths::of_words(&envelope.subject, &envelope.blurb)?;
    placing::place_all(&mut envelope)?;
    Ok(envelope)
}

fn begin(world: &mut World, mut envelope: Envelope, now: Timestamp) {
    let id = envelope.id.clone();
    let sender = sender_name(world, &envelope);
    set(&mut envelope, Status::Sent, now);
    envelope.expires = create::expiry(&envelope.notification, now);
    envelope.note(now, &sender, "Sent Invitations", "The envelope was sent.");
    if let Some(at) = envelope.expires {
        world.envelopes.wake(&id, at);
    }
    world.envelopes.envelopes.insert(id.clone(), envelope);
    // The message shows whom it was sent to, as whoever reads the envelope then sees it.
    let first = give_turn(world, &id, now);
    connect::emit(world, &id, "envelope-sent", None, now);
    go_round(world, &id, first, now);
}

/// Refuses what would leave an envelope that cannot be sent.
pub(super) fn incomplete(what: &str) -> Refusal {
    refuse(
        "ENVELOPE_IS_INCOMPLETE",
        format!(
            "The Envelope is not Complete. A Complete Envelope Requires Documents, Recipients, Tabs, and a Subject Line. {what}"
        ),
    )
}

fn check_whole(envelope: &Envelope) -> Result<(), Refusal> {
    if envelope.documents.is_empty() {
        return Err(incomplete("It has no documents."));
    }
    if envelope.recipients.is_empty() {
        return Err(incomplete("It has no recipients."));
    }
    check_subject(&envelope.subject)?;
    envelope.recipients.iter().try_for_each(reach::check_person)
}

/// What is sent has a subject.
pub(super) fn check_subject(subject: &str) -> Result<(), Refusal> {
    if subject.trim().is_empty() {
        return Err(incomplete("It has no subject line."));
    }
    Ok(())
}

/// Whether this looks like an e-mail address to the vendor.
pub(in crate::emulator) fn is_email(text: &str) -> bool {
    let Some((local, domain)) = text.split_once('@') else { return false };
    let sane = |part: &str| {
        let is_odd = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '@' | ',' | '<' | '>');
        !part.is_empty() && !part.chars().any(is_odd)
    };
    sane(local) && domain.contains('.') && domain.split('.').all(sane)
}

/// Gives the turn to the lowest routing order that waits, unless the workflow holds it; ends the envelope when nobody
/// waits.
pub(in crate::emulator) fn activate(world: &mut World, id: &str, now: Timestamp) {
    let turn = give_turn(world, id, now);
    go_round(world, id, turn, now);
}

/// A routing order whose turn it is, and who just got it: by `recipientIdGuid`.
struct Turn {
    order: u32,
    reached: Vec<(String, Kind)>,
}

/// Gives the turn, and tells nobody yet; none if nobody can have it.
fn give_turn(world: &mut World, id: &str, now: Timestamp) -> Option<Turn> {
    let envelope = world.envelopes.envelopes.get_mut(id).filter(|envelope| envelope.status.is_open())?;
    let order = waiting_order(envelope);
    let is_left = !envelope.recipients.iter().all(Recipient::is_done);
    let waits = envelope.workflow.as_mut().filter(|_| is_left).and_then(|own| own.hold(order, now));
    if let Some(alarms) = waits {
        for at in alarms {
            world.envelopes.wake(id, at);
        }
        return None;
    }
    let mut reached = Vec::new();
    for recipient in &mut envelope.recipients {
        if recipient.order == order && recipient.status == RecipientStatus::Created {
            recipient.status = RecipientStatus::Sent;
            recipient.sent = Some(now);
            for tab in recipient.tabs.iter_mut().filter(|tab| tab.is_fillable()) {
                tab.fields.insert(ORIGINAL.to_owned(), json!(tab.value));
            }
            reached.push((recipient.guid.clone(), recipient.kind));
        }
    }
    Some(Turn { order, reached })
}

/// Tells of a turn, and gives the next one where nobody of this one has anything to do.
fn go_round(world: &mut World, id: &str, mut turn: Option<Turn>, now: Timestamp) {
    while let Some(Turn { order, reached }) = turn {
        for (guid, kind) in &reached {
            connect::emit(world, id, "recipient-sent", Some(guid), now);
            if *kind == Kind::CarbonCopy {
                finish_recipient(world, id, guid, now);
            }
        }
        let Some(envelope) = world.envelopes.envelopes.get(id) else { return };
        // Where nobody is left, nobody has signed: it waits for who may be added.
        if !envelope.recipients.is_empty() && envelope.recipients.iter().all(Recipient::is_done) {
            return complete(world, id, now);
        }
        if reached.is_empty() || waiting_order(envelope) == order {
            return;
        }
        turn = give_turn(world, id, now);
    }
}

/// Takes the turn back from who has not opened the envelope and now comes after somebody who waits: our reading, as a
/// correction can bring that about and the vendor publishes nothing of it.
pub(super) fn take_back(envelope: &mut Envelope) {
    let order = waiting_order(envelope);
    for recipient in &mut envelope.recipients {
        if recipient.order > order && recipient.status == RecipientStatus::Sent {
            (recipient.status, recipient.sent) = (RecipientStatus::Created, None);
        }
    }
}

/// The lowest routing order that still waits; when none does, the last.
fn waiting_order(envelope: &Envelope) -> u32 {
    let all = || envelope.recipients.iter();
    let waiting = all().filter(|recipient| !recipient.is_done()).map(|recipient| recipient.order);
    waiting.min().or_else(|| all().map(|recipient| recipient.order).max()).unwrap_or(1)
}

fn finish_recipient(world: &mut World, id: &str, guid: &str, now: Timestamp) {
    if let Some(recipient) =
        world.envelopes.envelopes.get_mut(id).and_then(|envelope| envelope.recipient_mut(guid))
    {
        recipient.status = RecipientStatus::Completed;
        recipient.delivered.get_or_insert(now);
        recipient.signed = Some(now);
    }
    connect::emit(world, id, "recipient-completed", Some(guid), now);
}

fn complete(world: &mut World, id: &str, now: Timestamp) {
    let Some(envelope) = world.envelopes.envelopes.get_mut(id) else { return };
    set(envelope, Status::Completed, now);
    envelope.note(now, "DocuSign", "Completed", "The envelope has been completed by all recipients.");
    connect::emit(world, id, "envelope-completed", None, now);
}

/// A recipient whose turn it is opens the envelope.
pub(in crate::emulator) fn open(world: &mut World, id: &str, guid: &str, now: Timestamp) {
    let Some(envelope) = world.envelopes.envelopes.get_mut(id) else { return };
    let Some(recipient) = envelope.recipient_mut(guid) else { return };
    let name = recipient.name.clone();
    let is_first = recipient.status == RecipientStatus::Sent;
    if is_first {
        recipient.status = RecipientStatus::Delivered;
        recipient.delivered = Some(now);
    }
    envelope.note(now, &name, "Viewed", format!("{name} opened the envelope."));
    let all_opened = envelope
        .recipients
        .iter()
        .filter(|recipient| recipient.must_act())
        .all(|recipient| recipient.status != RecipientStatus::Sent);
    let becomes_delivered = envelope.status == Status::Sent && all_opened;
    if becomes_delivered {
        set(envelope, Status::Delivered, now);
    }
    if is_first {
        connect::emit(world, id, "recipient-delivered", Some(guid), now);
    }
    if becomes_delivered {
        connect::emit(world, id, "envelope-delivered", None, now);
    }
}

/// A recipient signs, under the name it adopts, or has viewed what it had to.
pub(in crate::emulator) fn sign(world: &mut World, id: &str, guid: &str, name: &str, now: Timestamp) {
    let Some(envelope) = world.envelopes.envelopes.get_mut(id) else { return };
    let Some(recipient) = envelope.recipient_mut(guid) else { return };
    let action = if recipient.kind == Kind::CertifiedDelivery { "Viewed" } else { "Signed" };
    recipient.adopted_name = Some(name.to_owned());
    adopt_name(envelope, guid, name);
    let Some(recipient) = envelope.recipient_mut(guid) else { return };
    let (person, email) = (recipient.name.clone(), recipient.email.clone());
    let shown = relations::shown(&recipient.tabs);
    for (tab, is_shown) in recipient.tabs.iter_mut().zip(shown) {
        match tab.list.as_str() {
            "dateSignedTabs" => tab.value = now.strftime("%Y-%m-%d").to_string(),
            "fullNameTabs" => person.clone_into(&mut tab.value),
            // SPEC: firstName, lastName: the sections of the name between its blanks.
            "firstNameTabs" => {
                person.split_whitespace().next().unwrap_or_default().clone_into(&mut tab.value);
            }
            "lastNameTabs" => person.split_whitespace().last().unwrap_or_default().clone_into(&mut tab.value),
            "envelopeIdTabs" => id.clone_into(&mut tab.value),
            "emailAddressTabs" => email.clone_into(&mut tab.value),
            _ if is_shown && tab.is_signature() => {
                tab.fields.insert("status".to_owned(), json!("signed"));
            }
            _ => {}
        }
    }
    envelope.note(now, &person, action, format!("{person} finished the envelope."));
    finish_recipient(world, id, guid, now);
    activate(world, id, now);
}

/// The signer's adopted name replaces the one that the sender gave: from now on a recipient view
/// needs the new one (the name-change trap, docusign-esign-csharp-client issue 446).
pub(in crate::emulator) fn adopt_name(envelope: &mut Envelope, guid: &str, name: &str) {
    if let Some(recipient) = envelope.recipient_mut(guid)
        && recipient.kind != Kind::CertifiedDelivery
    {
        name.clone_into(&mut recipient.name);
    }
}

/// A recipient declines, which ends the envelope for all.
pub(in crate::emulator) fn decline(world: &mut World, id: &str, guid: &str, reason: &str, now: Timestamp) {
    let Some(envelope) = world.envelopes.envelopes.get_mut(id) else { return };
    let Some(recipient) = envelope.recipient_mut(guid) else { return };
    recipient.status = RecipientStatus::Declined;
    recipient.declined = Some((now, reason.to_owned()));
    for tab in recipient.tabs.iter_mut().filter(|tab| tab.is_signature()) {
        tab.fields.insert("status".to_owned(), json!("declined"));
    }
    let person = recipient.name.clone();
    set(envelope, Status::Declined, now);
    envelope.note(now, &person, "Declined", format!("{person} declined the envelope."));
    connect::emit(world, id, "recipient-declined", Some(guid), now);
    connect::emit(world, id, "envelope-declined", None, now);
}

/// A recipient puts it off.
pub(in crate::emulator) fn finish_later(world: &mut World, id: &str, guid: &str, now: Timestamp) {
    if let Some(envelope) = world.envelopes.envelopes.get_mut(id) {
        let person = envelope.recipient(guid).map(|recipient| recipient.name.clone()).unwrap_or_default();
        envelope.note(now, &person, "Finish Later", format!("{person} will finish later."));
    }
    connect::emit(world, id, "recipient-finish-later", Some(guid), now);
}

/// A recipient has used up the attempts of the phone check.
pub(in crate::emulator) fn fail_authentication(world: &mut World, id: &str, guid: &str, now: Timestamp) {
    if let Some(envelope) = world.envelopes.envelopes.get_mut(id) {
        let person = envelope.recipient(guid).map(|recipient| recipient.name.clone()).unwrap_or_default();
        envelope.note(now, &person, "Authentication Failed", format!("{person} failed the identity check."));
    }
    connect::emit(world, id, "recipient-authenticationfailed", Some(guid), now);
}

/// The sender ends it.
pub(in crate::emulator) fn void(
    world: &mut World,
    id: &str,
    reason: &str,
    now: Timestamp,
) -> Result<(), Refusal> {
    let envelope = world.envelopes.envelopes.get(id).filter(|envelope| envelope.status.is_open());
    let Some(envelope) = envelope else {
        return Err(refuse(
            "ENVELOPE_CANNOT_VOID_INVALID_STATE",
            "Only envelopes in the 'Sent' or 'Delivered' states may be voided.",
        ));
    };
    let sender = sender_name(world, envelope);
    end(world, id, &sender, reason, now);
    Ok(())
}

/// Its date comes now.
pub(super) fn expire(world: &mut World, id: &str, now: Timestamp) -> Result<(), Refusal> {
    let envelope = world.envelopes.envelopes.get_mut(id).filter(|envelope| envelope.status.is_open());
    let envelope = envelope.ok_or_else(|| {
        refuse("ENVELOPE_INVALID_STATUS", "Only envelopes in the 'Sent' or 'Delivered' states can expire.")
    })?;
    envelope.expires = Some(now);
    end(world, id, "DocuSign", EXPIRED, now);
    Ok(())
}

/// It goes to the deleted ones: what is under way is voided, what is scheduled stays a draft.
pub(super) fn delete(world: &mut World, id: &str, reason: &str, now: Timestamp) {
    let envelope = envelope_mut(world, id);
    envelope.workflow.iter_mut().for_each(Workflow::unschedule);
    if envelope.status.is_open() {
        let sender = sender_name(world, &world.envelopes.envelopes[id]);
        end(world, id, &sender, reason, now);
    }
}

fn end(world: &mut World, id: &str, who: &str, reason: &str, now: Timestamp) {
    let Some(envelope) = world.envelopes.envelopes.get_mut(id) else { return };
    envelope.voided_reason = Some(reason.to_owned());
    set(envelope, Status::Voided, now);
    envelope.note(now, who, "Voided", format!("The envelope was voided: {reason}"));
    // Views die with it (SPEC: `ttl_expired`); one that is made afterwards shows what there is.
    let recipients: Vec<_> = envelope.recipients.iter().map(|recipient| recipient.guid.clone()).collect();
    for recipient in recipients {
        world.envelopes.views.change(&recipient, |view| view.is_used = true);
    }
    connect::emit(world, id, "envelope-voided", None, now);
}

/// The name of the brand that the envelope wears, if it wears one.
pub(in crate::emulator) fn brand_name<'w>(world: &'w World, envelope: &Envelope) -> Option<&'w str> {
    let id = envelope.given.get("brandId").and_then(|id| id.as_str())?;
    world.directory.accounts.get(&envelope.account)?.brands.get(id).map(|brand| brand.name.as_str())
}

/// The name of the user who sent it.
pub(in crate::emulator) fn sender_name(world: &World, envelope: &Envelope) -> String {
    world.directory.users.get(&envelope.sender).map(|user| user.name.clone()).unwrap_or_default()
}

/// How often what is too old is looked for, among all that there is.
const TIDY_EVERY: SignedDuration = SignedDuration::from_hours(1);

/// What time alone does. It is asked on every call, and looks at what an alarm is set for, not at all that there is.
pub(in crate::emulator) fn tick(world: &mut World, now: Timestamp) {
    while let Some(id) = world.envelopes.woken(now) {
        let Some(envelope) = world.envelopes.envelopes.get(&id) else { continue };
        if envelope.status.is_open() && envelope.expires.is_some_and(|at| at <= now) {
            end(world, &id, "DocuSign", EXPIRED, now);
        } else if envelope.purge.due().is_some_and(|at| at <= now) {
            purge(world, &id, now);
        } else {
            pass_delay(world, &id, now);
        }
    }
    if now.duration_since(world.envelopes.tidied).abs() >= TIDY_EVERY {
        world.envelopes.tidied = now;
        world.envelopes.views.retain(|view| view.is_worth_keeping(now));
        world.envelopes.sessions.retain(|session| session.is_worth_keeping(now));
        world.envelopes.sender_views.retain(|_, view| view.is_worth_keeping(now));
        world.envelopes.locks.retain(|_, lock| lock.is_live(now));
    }
}

/// A delay of the workflow may be over. What cannot be sent by then stays a draft.
fn pass_delay(world: &mut World, id: &str, now: Timestamp) {
    let envelope = envelope_mut(world, id);
    let Some(workflow) = envelope.workflow.as_mut() else { return };
    if envelope.status != Status::Created {
        return activate(world, id, now);
    }
    if !workflow.is_due(now) {
        return;
    }
    match ready(envelope) {
        Ok(mut envelope) => {
            envelope.workflow.iter_mut().for_each(Workflow::sent);
            begin(world, envelope, now);
        }
        Err(_) => envelope.workflow.iter_mut().for_each(Workflow::unschedule),
    }
}

fn purge(world: &mut World, id: &str, now: Timestamp) {
    let Some(envelope) = world.envelopes.envelopes.get_mut(id) else { return };
    let Purge::Queued { extent, .. } = envelope.purge else { return };
    envelope.purge = Purge::Purged { extent };
    envelope.given.insert("purgeCompletedDate".to_owned(), json!(vendor_time(now)));
    envelope.documents.clear();
    if extent != Extent::Documents {
        for recipient in &mut envelope.recipients {
            (recipient.name, recipient.email) = ("Purged".to_owned(), "purged@purged.invalid".to_owned());
            recipient.given.clear();
            recipient.tabs.clear();
        }
    }
    envelope.note(now, "DocuSign", "Purged", "The documents were purged.");
    connect::emit(world, id, "envelope-purge", None, now);
}

/// Tells whether documents can still be fetched.
pub(in crate::emulator) fn has_documents(envelope: &Envelope) -> bool {
    !matches!(envelope.purge, Purge::Purged { .. }) && documents::any(envelope)
}

#[cfg(test)]
mod tests {
    use super::is_email;

    #[test]
    fn an_address_has_one_at_sign_and_labels_between_its_dots() {
        for good in ["a@b.com", "a.b+c@d-e.co.uk", "ä@bücher.example"] {
            assert!(is_email(good), "{good}");
        }
        for bad in [
            "",
            "a",
            "a@b",
            "@b.com",
            "a@.com",
            "a@b.",
            "a@c..com",
            "<a@b.com>",
            "a@b.com,c@d.com",
            "a b@c.com",
            "a@b@c.com",
        ] {
            assert!(!is_email(bad), "{bad}");
        }
    }
}
