//! Signers for tests: they open the ceremony, pass every check, and act, in one call.
//!
//! They take the same steps through the same state as the pages do; what a page would refuse (not
//! this signer's turn, a closed envelope, a locked recipient, an answer that a field does not take) is refused here with
//! a reason, and then nothing has happened.

use std::collections::{BTreeMap, BTreeSet};

use http::StatusCode;
use serde::Deserialize;
use serde_json::json;

use super::{
    ATTEMPTS, Ending, Event, Session, adopt,
    answers::{Unfilled, check, fill, take},
    lock_of, note_authentication, pass_phone, people, recipient_mut, send_code, way_back,
};
use crate::emulator::{
    control,
    envelopes::{
        model::{Kind, Tab},
        progress, relations,
    },
    http::{Answer, Call},
    state::World,
};

/// `GET /_test/signers`: everyone who has a part in an envelope.
pub(in crate::emulator) fn list(world: &World) -> Answer {
    let mut signers = Vec::new();
    for envelope in world.envelopes.order.iter().filter_map(|id| world.envelopes.envelopes.get(id)) {
        for recipient in &envelope.recipients {
            let view = world.envelopes.views.of(&recipient.guid).next_back();
            signers.push(json!({
                "id": recipient.guid,
                "recipient_id": recipient.id,
                "envelope_id": envelope.id,
                "envelope_status": envelope.status.name(),
                "status": recipient.status.name(),
                "client_user_id": recipient.client_user_id,
                "is_in_turn": recipient.status.is_in_turn() && envelope.status.is_open(),
                "has_phone_check": recipient.phone.is_some(),
                "has_access_code": recipient.access_code.is_some(),
                "is_locked": lock_of(recipient).is_some(),
                "ping_url": view.and_then(|view| view.ping_url.as_ref()),
            }));
        }
    }
    Answer::ok(json!({ "signers": signers }))
}

/// What a scripted signer is given, all of it optional.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Given {
    /// The name that it adopts.
    name: Option<String>,
    /// Why it declines.
    reason: Option<String>,
    /// What it answers, by the labels of the tabs.
    fields: Option<BTreeMap<String, String>>,
}

/// `POST /_test/signers/{recipientIdGuid}/{action}` with `{name, reason, fields}`.
pub(in crate::emulator) fn act(world: &mut World, call: &Call, id: &str, action: &str) -> Answer {
    let given: Given = match control::read(call) {
        Ok(given) => given,
        Err(detail) => return Answer::control_error(StatusCode::BAD_REQUEST, &detail),
    };
    if !["open", "sign", "decline", "finish_later", "fail_otp"].contains(&action) {
        return Answer::control_error(
            StatusCode::NOT_FOUND,
            "the actions are open, sign, decline, finish_later, fail_otp",
        );
    }
    let part = match prepare(world, id, action, &given) {
        Ok(part) => part,
        Err(refusal) => return refusal,
    };
    let session = seat(world, call, &part);
    let event = perform(world, call, &session, action, &given, part.answered);
    let Some((envelope, recipient)) = people(world, &session) else {
        return Answer::control_error(StatusCode::NOT_FOUND, "the envelope is gone");
    };
    let back = event
        .filter(|_| !session.return_url.is_empty())
        .map(|event| way_back(&session.return_url, &session.client_urls, event));
    Answer::ok(json!({
        "event": event.map(Event::name),
        "redirect_url": back,
        "envelope_id": envelope.id,
        "envelope_status": envelope.status.name(),
        "recipient_id": recipient.guid,
        "recipient_status": recipient.status.name(),
    }))
}

/// What a scripted signer acts on.
struct Part {
    envelope: String,
    recipient: String,
    /// Its tabs with its answers, if it signs.
    answered: Option<Vec<Tab>>,
}

/// Refuses what cannot be done, before anything is: then the view stays unspent, and whoever is at work is left alone.
fn prepare(world: &World, id: &str, action: &str, given: &Given) -> Result<Part, Answer> {
    let found = world.envelopes.envelopes.values().find_map(|envelope| {
        let recipient = envelope.recipients.iter().find(|one| one.guid.eq_ignore_ascii_case(id))?;
        Some((envelope, recipient))
    });
    let Some((envelope, recipient)) = found else {
        return Err(Answer::control_error(StatusCode::NOT_FOUND, "no recipient has this recipientIdGuid"));
    };
    let conflict = |detail: &str| Answer::control_error(StatusCode::CONFLICT, detail);
    if !envelope.status.is_open() {
        return Err(conflict(&format!("the envelope is {}", envelope.status.name())));
    }
    if !recipient.status.is_in_turn() {
        let status = recipient.status.name();
        return Err(conflict(&format!("it is not this signer's turn: the recipient is {status}")));
    }
    if let Some(event) = lock_of(recipient) {
        let event = event.name();
        return Err(conflict(&format!("the recipient is locked ({event}) until the sender corrects it")));
    }
    if action == "fail_otp" && recipient.phone.is_none() {
        return Err(conflict("this signer has no phone check to fail"));
    }
    let mut answered = None;
    if action == "sign" {
        let mut tabs = recipient.tabs.clone();
        if let Some(detail) = unanswerable(&tabs, given) {
            return Err(conflict(&detail));
        }
        fill_in(&mut tabs, given).map_err(conflict)?;
        answered = Some(tabs);
    }
    Ok(Part { envelope: envelope.id.clone(), recipient: recipient.guid.clone(), answered })
}

/// Opens the ceremony as with a valid view: the newest one that was made, which is then spent.
fn seat(world: &mut World, call: &Call, part: &Part) -> Session {
    let id = part.recipient.as_str();
    world.envelopes.sessions.change(id, |session| session.end(Ending::ThrownOut));
    let last = world.envelopes.views.of(id).next_back().map(|view| view.guid.clone());
    let session = last.and_then(|guid| world.envelopes.views.get_mut(&guid)).map(|view| {
        view.is_used = true;
        Session::new(view, "en", call.now)
    });
    session.unwrap_or_else(|| Session::without_view(&part.envelope, id, call.number, "en", call.now))
}

/// Does it; answers what the browser would come back with, if it leaves.
fn perform(
    world: &mut World,
    call: &Call,
    session: &Session,
    action: &str,
    given: &Given,
    answered: Option<Vec<Tab>>,
) -> Option<Event> {
    let now = call.now;
    let (envelope, recipient) = (session.envelope.as_str(), session.recipient.as_str());
    let (_, person) = people(world, session)?;
    let (name, kind, has_phone) = (person.name.clone(), person.kind, person.phone.is_some());
    let is_read_only = kind == Kind::CertifiedDelivery;
    if person.access_code.is_some()
        && let Some(recipient) = recipient_mut(world, session)
    {
        note_authentication(recipient, "accessCodeResult", true, now);
    }
    if has_phone {
        send_code(world, "", session, 0, now);
    }
    if action == "fail_otp" {
        for _ in 0..ATTEMPTS {
            pass_phone(world, session, false, now);
        }
        return Some(Event::IdCheckFailed);
    }
    pass_phone(world, session, true, now);
    progress::open(world, envelope, recipient, now);
    let adopted = given.name.clone().unwrap_or_else(|| name.clone());
    match action {
        "open" => None,
        "decline" => {
            let reason = given.reason.as_deref().unwrap_or("declined by a scripted signer");
            progress::decline(world, envelope, recipient, reason, now);
            Some(Event::Decline)
        }
        "finish_later" => {
            if adopted != name {
                adopt(world, session, &adopted, now);
            }
            progress::finish_later(world, envelope, recipient, now);
            Some(Event::Cancel)
        }
        _ => {
            if let (Some(tabs), Some(recipient)) = (answered, recipient_mut(world, session)) {
                recipient.tabs = tabs;
            }
            progress::sign(world, envelope, recipient, &adopted, now);
            Some(if is_read_only { Event::ViewingComplete } else { Event::SigningComplete })
        }
    }
}

/// Fills the fields that were given by label, and what else is required, also by groups, with a sample. What was not
/// given stays as it is, as it does on the page: also a box that the sender ticked.
fn fill_in(tabs: &mut [Tab], given: &Given) -> Result<(), &'static str> {
    match fill(tabs, |tab| answer(given, tab).or_else(|| ticked(tab)).map(str::to_owned)) {
        Err(Unfilled::Group | Unfilled::Missing | Unfilled::Unseen) | Ok(()) => {}
        Err(unfilled) => return Err(reason(&unfilled)),
    }
    complete(tabs, given).and_then(|()| check(tabs)).map_err(|unfilled| reason(&unfilled))
}

/// Why answers that were given cannot be, as this signer has no such field, or may not change it. One that a condition
/// hides may be given: another answer may show it.
fn unanswerable(tabs: &[Tab], given: &Given) -> Option<String> {
    let unknown = given_beside(tabs, given, Tab::is_for_its_signer);
    if !unknown.is_empty() {
        return Some(format!("this signer has no field to fill in with the label {unknown}"));
    }
    let locked = given_beside(tabs, given, Tab::is_fillable);
    (!locked.is_empty()).then(|| format!("this signer may not change what is locked: {locked}"))
}

/// The labels that were given and that no such field has.
fn given_beside(tabs: &[Tab], given: &Given, is_such: fn(&Tab) -> bool) -> String {
    let labels = given.fields.iter().flat_map(BTreeMap::keys);
    let has_none = |label: &&String| !tabs.iter().any(|tab| tab.label() == label.as_str() && is_such(tab));
    let named: Vec<String> = labels.filter(has_none).map(|label| format!("`{label}`")).collect();
    named.join(", ")
}

fn answer<'a>(given: &'a Given, tab: &Tab) -> Option<&'a str> {
    given.fields.as_ref()?.get(tab.label()).map(String::as_str)
}

/// What the page sends of a box that nobody touches.
fn ticked(tab: &Tab) -> Option<&str> {
    (tab.list == "checkboxTabs").then_some(tab.value.as_str())
}

fn reason(unfilled: &Unfilled) -> &'static str {
    match unfilled {
        Unfilled::Group => "a group of fields was given too many answers",
        Unfilled::Missing | Unfilled::Unseen => "a required field has no answer",
        Unfilled::NoAddress => {
            "a field for an e-mail address was given something else, or has no room for one"
        }
        Unfilled::NoChoice => "a field was given a value that it does not offer",
        Unfilled::NoNumber => "a field for a number was given something else",
        Unfilled::TooLong => "a field was given more than it takes",
        Unfilled::Unmatched(_) => {
            "a field does not match its validationPattern, or the form of its kind: give it a value that does, \
             as no sample is made for a pattern"
        }
    }
}

/// Fills what is required and empty. What is filled for a group may bring more into sight.
fn complete(tabs: &mut [Tab], given: &Given) -> Result<(), Unfilled> {
    let (mut asked, mut wanted) = (BTreeSet::new(), BTreeSet::new());
    loop {
        fill_required(tabs, given, &mut asked)?;
        // Each but once, as a sample can be empty.
        let mut wanting = relations::wanting(tabs);
        wanting.retain(|place| wanted.insert(*place));
        if wanting.is_empty() {
            return Ok(());
        }
        for place in wanting {
            take_sample(&mut tabs[place])?;
        }
    }
}

/// Fills what has come into sight: as it was given, or if that is nothing and it is required, with a sample.
fn fill_required(tabs: &mut [Tab], given: &Given, asked: &mut BTreeSet<usize>) -> Result<(), Unfilled> {
    loop {
        let next = relations::next(tabs, asked);
        if next.is_empty() {
            return Ok(());
        }
        for place in next {
            asked.insert(place);
            let tab = &mut tabs[place];
            if let Some(typed) = answer(given, tab) {
                take(tab, typed)?;
            }
            if tab.is_required() && tab.value.is_empty() {
                take_sample(tab)?;
            }
        }
    }
}

/// Fills a field with a sample, if it takes that.
fn take_sample(tab: &mut Tab) -> Result<(), Unfilled> {
    let sample = tab.sample();
    take(tab, &sample)
}
