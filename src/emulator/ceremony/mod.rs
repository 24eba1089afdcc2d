//! The signing ceremony: what a signer sees between opening a recipient view and coming back.
//!
//! `GET /Signing/MTRedeem/v1/{view}` spends the view and starts a session; its pages live at
//! `/Signing/StartInSession?code=…`, without cookies and without script. First come the access code
//! and the SMS code, if the sender asked for them, then the document; every way out sends the
//! browser to the return URL with one of the ten `event` values.
//!
//! Our reading where the vendor publishes nothing: three attempts for either code; an identity check
//! is asked for in each session; whoever is put out by a newer view sees a page that says so.
//!
//! Sources: EnvelopeViews:createRecipient (events, single use), signer authentication guide.

mod answers;
pub(super) mod pages;
pub(super) mod scripted;
mod session;
mod words;

use http::{HeaderValue, Method, StatusCode, header};
use jiff::Timestamp;
use serde_json::json;

pub(super) use self::session::{Ending, IDLE, Session, appended};
use self::{
    answers::Unfilled,
    session::{Event, way_back},
    words::{Words, words},
};
use super::{
    envelopes::{
        model::{Envelope, Fields, Kind, Recipient, RecipientStatus, Tab, text},
        progress, visibility,
    },
    http::{Answer, Call, vendor_time},
    state::{Sms, World},
};

/// Wrong access codes, and wrong SMS codes, before it is over.
const ATTEMPTS: u32 = 3;
const MAX_NAME: usize = 100;
const MAX_REASON: usize = 500;

/// `/Signing/…`.
pub(super) fn route(world: &mut World, call: &Call) -> Option<Answer> {
    let is_read = call.method == Method::GET || call.method == Method::HEAD;
    match call.route().as_slice() {
        ["Signing", "MTRedeem", "v1", guid] if is_read || call.method == Method::DELETE => {
            Some(redeem(world, call, guid))
        }
        ["Signing", "StartInSession"] if is_read || call.method == Method::POST => {
            Some(in_session(world, call))
        }
        ["Signing", "Document", code, id] if is_read => Some(document(world, call, code, id)),
        _ => None,
    }
}

/// Spends a view, or with DELETE revokes it (SPEC: EnvelopeViews:createRecipient, "Revoking the URL").
fn redeem(world: &mut World, call: &Call, guid: &str) -> Answer {
    let token = call.query("slt").unwrap_or_default();
    let found = world.envelopes.views.get(guid).filter(|view| view.token == token);
    let locale = call.query("locale").unwrap_or("en").to_owned();
    let Some(view) = found else {
        return pages::message(
            StatusCode::NOT_FOUND,
            words(&locale).unknown_title,
            words(&locale).unknown_text,
        );
    };
    if call.method == Method::DELETE {
        world.envelopes.views.remove(guid);
        return Answer::empty(StatusCode::OK);
    }
    if call.method == Method::HEAD {
        return Answer::empty(StatusCode::OK);
    }
    let is_fresh = view.is_fresh(call.now);
    let view_now = view.clone();
    if !is_fresh || !world.envelopes.envelopes.contains_key(&view_now.envelope) {
        return Answer::redirect(&way_back(&view_now.return_url, &view_now.client_urls, Event::TtlExpired));
    }
    if let Some(view) = world.envelopes.views.get_mut(guid) {
        view.is_used = true;
    }
    let code = world.guid().replace('-', "");
    world.envelopes.sessions.insert(code.clone(), Session::new(&view_now, &locale, call.now));
    Answer::redirect(&format!("/Signing/StartInSession?code={code}"))
}

/// The stages of a ceremony.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    AccessCode,
    Document,
    Phone,
    /// Nothing to sign: finished, or only to be read.
    Reading,
}

fn stage(envelope: &Envelope, recipient: &Recipient, session: &Session) -> Stage {
    if recipient.access_code.is_some() && !session.has_access {
        Stage::AccessCode
    } else if recipient.phone.is_some() && !session.has_phone {
        Stage::Phone
    } else if !envelope.status.is_open() || recipient.is_done() || recipient.kind == Kind::CertifiedDelivery {
        Stage::Reading
    } else {
        Stage::Document
    }
}

/// What a locked recipient meets, whatever it does.
fn lock_of(recipient: &Recipient) -> Option<Event> {
    if recipient.access_code_failures >= ATTEMPTS {
        return Some(Event::AccessCodeFailed);
    }
    recipient.phone.as_ref().is_some_and(|phone| phone.is_locked).then_some(Event::IdCheckFailed)
}

fn in_session(world: &mut World, call: &Call) -> Answer {
    let code = call.query("code").unwrap_or_default().to_owned();
    let Some(session) = world.envelopes.sessions.get(&code).cloned() else {
        let words = words("en");
        return pages::message(StatusCode::NOT_FOUND, words.unknown_title, words.unknown_text);
    };
    let words = words(&session.locale);
    match session.ending {
        Some(Ending::ThrownOut) => {
            return pages::message(StatusCode::CONFLICT, words.thrown_title, words.thrown_text);
        }
        Some(Ending::Event(event)) => {
            return Answer::redirect(&way_back(&session.return_url, &session.client_urls, event));
        }
        None => {}
    }
    if !session.is_live(call.now) {
        return finish(world, &code, Event::SessionTimeout);
    }
    if let Some(session) = world.envelopes.sessions.get_mut(&code) {
        session.last_seen = call.now;
    }
    let Some((envelope, recipient)) = people(world, &session) else {
        return finish(world, &code, Event::Exception);
    };
    if let Some(event) = lock_of(recipient) {
        return finish(world, &code, event);
    }
    // A correction took the turn back since the view was made.
    if recipient.status == RecipientStatus::Created && envelope.status.is_open() {
        return finish(world, &code, Event::TtlExpired);
    }
    let stage = stage(envelope, recipient, &session);
    if call.method == Method::POST {
        return act(world, call, &code, stage);
    }
    if call.method == Method::GET {
        opened(world, &code, stage, call.now);
    }
    show(world, &code, stage, None)
}

fn people<'a>(world: &'a World, session: &Session) -> Option<(&'a Envelope, &'a Recipient)> {
    let envelope = world.envelopes.envelopes.get(&session.envelope)?;
    Some((envelope, envelope.recipient(&session.recipient)?))
}

/// Past all checks the envelope counts as opened.
fn opened(world: &mut World, code: &str, stage: Stage, now: Timestamp) {
    let Some(session) = world.envelopes.sessions.get_mut(code) else { return };
    if session.has_opened || matches!(stage, Stage::AccessCode | Stage::Phone) {
        return;
    }
    session.has_opened = true;
    let (envelope, recipient) = (session.envelope.clone(), session.recipient.clone());
    let is_open = world.envelopes.envelopes.get(&envelope).is_some_and(|envelope| {
        envelope.status.is_open() && envelope.recipient(&recipient).is_some_and(|one| one.status.is_in_turn())
    });
    if is_open {
        progress::open(world, &envelope, &recipient, now);
    }
}

fn show(world: &World, code: &str, stage: Stage, problem: Option<&str>) -> Answer {
    let Some(session) = world.envelopes.sessions.get(code) else {
        return pages::message(StatusCode::NOT_FOUND, "", "");
    };
    let Some((envelope, recipient)) = people(world, session) else {
        return pages::message(StatusCode::NOT_FOUND, "", "");
    };
    let words = words(&session.locale);
    let sender = progress::sender_name(world, envelope);
    let brand = progress::brand_name(world, envelope);
    let page = pages::Page { words, code, brand, sender: &sender, envelope, recipient, problem };
    let html = match stage {
        Stage::AccessCode => page.access_code(),
        Stage::Phone => page.phone(session.code.is_some()),
        Stage::Document => page.document(),
        Stage::Reading => page.reading(),
    };
    let status = if problem.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    framed(Answer::html(status, html), &session.ancestors)
}

/// Only the origins that the app named may show the ceremony in a frame.
fn framed(answer: Answer, ancestors: &[String]) -> Answer {
    let list = if ancestors.is_empty() { "'none'".to_owned() } else { ancestors.join(" ") };
    let policy = format!("frame-ancestors {list}");
    let policy = HeaderValue::from_str(&policy).unwrap_or(HeaderValue::from_static("frame-ancestors 'none'"));
    answer.with(header::CONTENT_SECURITY_POLICY, policy)
}

fn finish(world: &mut World, code: &str, event: Event) -> Answer {
    let Some(session) = world.envelopes.sessions.get_mut(code) else {
        return pages::message(StatusCode::NOT_FOUND, "", "");
    };
    session.end(Ending::Event(event));
    Answer::redirect(&way_back(&session.return_url, &session.client_urls, event))
}

/// What the signer typed.
struct Form(Vec<(String, String)>);

impl Form {
    fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value.trim())
    }
}

/// Shows the page again after a step, by a GET, so that reloading it repeats nothing.
fn again(code: &str) -> Answer {
    Answer::redirect(&format!("/Signing/StartInSession?code={code}"))
}

fn act(world: &mut World, call: &Call, code: &str, stage: Stage) -> Answer {
    let form = Form(call.form());
    let Some(session) = world.envelopes.sessions.get(code).cloned() else { return again(code) };
    match (stage, form.get("action")) {
        (_, "exception") => finish(world, code, Event::Exception),
        (Stage::AccessCode, "access_code") => check_access_code(world, code, &session, &form),
        (Stage::Phone, "send_code") => {
            let choice = form.get("number").parse().unwrap_or(0);
            send_code(world, code, &session, choice, call.now);
            again(code)
        }
        (Stage::Phone, "check_code") => check_phone_code(world, code, &session, &form, call.now),
        (Stage::Document, "adopt" | "sign") => sign(world, code, &session, &form, call.now),
        (Stage::Document, "decline") => {
            let reason: String = form.get("reason").chars().take(MAX_REASON).collect();
            if reason.is_empty() {
                return show(world, code, stage, Some(words(&session.locale).reason_missing));
            }
            progress::decline(world, &session.envelope, &session.recipient, &reason, call.now);
            finish(world, code, Event::Decline)
        }
        (Stage::Document, "fax") => {
            if let Some(recipient) = recipient_mut(world, &session) {
                recipient.status = RecipientStatus::FaxPending;
            }
            finish(world, code, Event::FaxPending)
        }
        (Stage::Reading, "close") => {
            close(world, &session, call.now);
            finish(world, code, Event::ViewingComplete)
        }
        (_, "finish_later") => {
            progress::finish_later(world, &session.envelope, &session.recipient, call.now);
            finish(world, code, Event::Cancel)
        }
        _ => again(code),
    }
}

fn recipient_mut<'a>(world: &'a mut World, session: &Session) -> Option<&'a mut Recipient> {
    world.envelopes.envelopes.get_mut(&session.envelope)?.recipient_mut(&session.recipient)
}

/// Who only had to read is done with that.
fn close(world: &mut World, session: &Session, now: Timestamp) {
    let waits = people(world, session).filter(|(envelope, recipient)| {
        envelope.status.is_open()
            && recipient.kind == Kind::CertifiedDelivery
            && recipient.status.is_in_turn()
    });
    if let Some(name) = waits.map(|(_, recipient)| recipient.name.clone()) {
        progress::sign(world, &session.envelope, &session.recipient, &name, now);
    }
}

fn note_authentication(recipient: &mut Recipient, field: &str, is_passed: bool, now: Timestamp) {
    let result = json!({
        "status": if is_passed { "Passed" } else { "Failed" },
        "eventTimestamp": vendor_time(now),
        "failureDescription": if is_passed { "" } else { "the attempts are used up" },
        "vendorFailureStatusCode": "",
    });
    recipient.authentication.insert(field.to_owned(), result);
}

/// Access codes are not case-sensitive (signer authentication guide).
fn check_access_code(world: &mut World, code: &str, session: &Session, form: &Form) -> Answer {
    let given = form.get("access_code").to_lowercase();
    let now = session.last_seen;
    let Some(recipient) = recipient_mut(world, session) else { return again(code) };
    let is_right = recipient.access_code.as_ref().is_some_and(|wanted| wanted.to_lowercase() == given);
    if is_right {
        recipient.access_code_failures = 0;
        note_authentication(recipient, "accessCodeResult", true, now);
        if let Some(session) = world.envelopes.sessions.get_mut(code) {
            session.has_access = true;
        }
        return again(code);
    }
    recipient.access_code_failures += 1;
    if recipient.access_code_failures < ATTEMPTS {
        return show(world, code, Stage::AccessCode, Some(words(&session.locale).access_code_wrong));
    }
    note_authentication(recipient, "accessCodeResult", false, now);
    progress::fail_authentication(world, &session.envelope, &session.recipient, now);
    finish(world, code, Event::AccessCodeFailed)
}

/// Writes a message to the outbox.
fn send_code(world: &mut World, code: &str, session: &Session, choice: usize, now: Timestamp) {
    let digits = format!("{:06}", world.number(0..1_000_000));
    let Some(recipient) = recipient_mut(world, session) else { return };
    let numbers = recipient.phone.as_ref().map(|phone| phone.numbers.clone()).unwrap_or_default();
    let Some(to) = numbers.get(choice).or(numbers.first()).cloned() else { return };
    world.outbox.push(Sms {
        to,
        text: format!("Your DocuSign access code is {digits}. (Sent by an emulator.)"),
        code: digits.clone(),
        at: now,
        envelope_id: session.envelope.clone(),
        recipient_id: session.recipient.clone(),
    });
    if let Some(session) = world.envelopes.sessions.get_mut(code) {
        session.code = Some(digits);
    }
}

fn check_phone_code(world: &mut World, code: &str, session: &Session, form: &Form, now: Timestamp) -> Answer {
    let is_right = session.code.as_deref().is_some_and(|wanted| wanted == form.get("sms_code"));
    if pass_phone(world, session, is_right, now) {
        if let Some(session) = world.envelopes.sessions.get_mut(code) {
            session.has_phone = true;
        }
        return again(code);
    }
    match people(world, session).and_then(|(_, recipient)| lock_of(recipient)) {
        Some(event) => finish(world, code, event),
        None => show(world, code, Stage::Phone, Some(words(&session.locale).sms_code_wrong)),
    }
}

/// Notes one attempt; whether it was passed. The third wrong one locks the recipient.
fn pass_phone(world: &mut World, session: &Session, is_right: bool, now: Timestamp) -> bool {
    let Some(recipient) = recipient_mut(world, session) else { return false };
    let Some(phone) = &mut recipient.phone else { return true };
    let field = phone.result;
    if is_right {
        (phone.failures, phone.is_passed) = (0, true);
    } else {
        phone.failures += 1;
        phone.is_locked = phone.failures >= ATTEMPTS;
    }
    let is_locked = phone.is_locked;
    if is_right || is_locked {
        note_authentication(recipient, field, is_right, now);
    }
    if is_locked {
        progress::fail_authentication(world, &session.envelope, &session.recipient, now);
    }
    is_right
}

fn sign(world: &mut World, code: &str, session: &Session, form: &Form, now: Timestamp) -> Answer {
    let words = words(&session.locale);
    let name = form.get("name").to_owned();
    if name.is_empty() || name.chars().count() > MAX_NAME {
        return show(world, code, Stage::Document, Some(words.name_missing));
    }
    let typed = |tab: &Tab| {
        let mut all = form.0.iter();
        all.find(|(key, _)| key.strip_prefix("tab-") == Some(tab.id.as_str())).map(|(_, value)| value.clone())
    };
    let filled =
        recipient_mut(world, session).map_or(Ok(()), |recipient| answers::fill(&mut recipient.tabs, typed));
    if form.get("action") == "adopt" {
        adopt(world, session, &name, now);
        return again(code);
    }
    if let Err(unfilled) = filled {
        let problem = match &unfilled {
            Unfilled::Group => words.group_wrong,
            Unfilled::Missing => words.field_missing,
            Unfilled::NoAddress => words.address_wrong,
            Unfilled::NoChoice => words.choice_wrong,
            Unfilled::NoNumber => words.number_wrong,
            Unfilled::TooLong => words.too_long,
            Unfilled::Unmatched(complaint) if complaint.is_empty() => words.unmatched,
            Unfilled::Unmatched(complaint) => complaint.as_str(),
            Unfilled::Unseen => words.more_fields,
        };
        return show(world, code, Stage::Document, Some(problem));
    }
    progress::sign(world, &session.envelope, &session.recipient, &name, now);
    finish(world, code, Event::SigningComplete)
}

/// Takes the adopted name over, before anything is signed.
fn adopt(world: &mut World, session: &Session, name: &str, now: Timestamp) {
    if let Some(envelope) = world.envelopes.envelopes.get_mut(&session.envelope) {
        progress::adopt_name(envelope, &session.recipient, name);
        if let Some(recipient) = envelope.recipient_mut(&session.recipient) {
            recipient.adopted_name = Some(name.to_owned());
        }
        envelope.note(now, name, "Adopted Signature", format!("{name} adopted a signature."));
    }
}

/// A document of the envelope, for a signer who has passed all checks.
fn document(world: &mut World, call: &Call, code: &str, document: &str) -> Answer {
    let unknown = || Answer::empty(StatusCode::NOT_FOUND);
    let Some(session) = world.envelopes.sessions.get(code).filter(|session| session.is_live(call.now)) else {
        return unknown();
    };
    let Some((envelope, recipient)) = people(world, session) else { return unknown() };
    if matches!(stage(envelope, recipient, session), Stage::AccessCode | Stage::Phone) {
        return unknown();
    }
    let found = visibility::seen(envelope, recipient).find(|file| file.id == document);
    let Some(file) = found else { return unknown() };
    Answer::bytes(StatusCode::OK, "application/pdf", file.bytes.clone())
        .with(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))
        .with(header::CONTENT_DISPOSITION, HeaderValue::from_static("inline"))
}

/// The placeholder's text of a tab: its name, its label, or the name of its group.
fn caption(fields: &Fields) -> &str {
    ["name", "tabLabel", "groupName"].into_iter().find_map(|name| text(fields, name)).unwrap_or("Field")
}
