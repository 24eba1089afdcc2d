//! `POST …/views/sender`, `/edit`, `/correct` and `POST …/views/console`: addresses at which the sender's people work.
//!
//! The address is good for one opening within ten minutes. It leads to a plain page: a draft is sent there, what is
//! under way is sent again, and every way out goes to the return URL with `envelopeId` and `event`. The page changes
//! nothing of what an envelope says. Of `settings` and of the older parameters in the address it knows
//! `sendButtonAction`, `showBackButton` and `lockToken`.
//!
//! Sources: EnvelopeViews:createSender, :createEdit, :createCorrect, :createConsole (the ten minutes and the refusal of
//! what is no draft are in the newer text of the first). Our reading: what a spent address does, twenty minutes
//! without a click, the ways out of the console, and of any view without a return URL, and the event of a button that
//! only leads back.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{Method, StatusCode};
use jiff::{SignedDuration, Timestamp};
use maud::html;
use serde_json::{Value, json};

use super::{
    Outcome,
    access::{self, Part},
    body, change, correct, find, locks,
    model::{Envelope, Fields, Refusal, Status, refuse, text},
};
use crate::emulator::{
    ceremony::{IDLE, appended, pages},
    http::{Answer, Call},
    recipient_views,
    schema::Body,
    state::World,
};

/// An address can be opened for so long (createSender).
const LIFE: SignedDuration = SignedDuration::from_mins(10);
/// What the address may say of the page, as it was before there were `settings` (createSender, 2022).
const PARAMETERS: [&str; 3] = ["lockToken", "sendButtonAction", "showBackButton"];

/// What a view is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To look into the account.
    Console,
    /// To correct what is under way.
    Correct,
    /// To prepare and send a draft: the sender view, and the edit view: they "work exactly the same" (createEdit).
    Send,
}

/// How a visit can end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    Cancel,
    Save,
    Send,
    SessionEnd,
}

/// Where a view stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Not opened yet.
    Fresh,
    /// Opened: the visit stands under a code of its own.
    Spent,
    /// A visit.
    Open,
    /// A visit that has come to this.
    Over(Event),
}

/// A view, under the token in its address, or a visit, under its code.
#[derive(Debug, Clone)]
pub(super) struct SenderView {
    purpose: Purpose,
    /// The envelope; a console may be without.
    envelope: Option<String>,
    /// Whether who asked for it may send the envelope.
    may_send: bool,
    /// A console may be without, and the view of a draft.
    return_url: Option<String>,
    settings: Fields,
    /// When it was made, or last clicked.
    seen: Timestamp,
    stage: Stage,
}

impl SenderView {
    /// An old one is remembered for a day, so that its address still finds the way back.
    pub(super) fn is_worth_keeping(&self, now: Timestamp) -> bool {
        now.duration_since(self.seen) < SignedDuration::from_hours(24)
    }

    fn setting(&self, name: &str) -> &str {
        text(&self.settings, name).unwrap_or_default()
    }

    /// The vendor begins the word with a capital, and in the text on createCorrect with a small letter.
    fn word(&self, event: Event) -> &'static str {
        let is_correct = self.purpose == Purpose::Correct;
        match event {
            Event::Cancel if is_correct => "cancel",
            Event::Cancel => "Cancel",
            Event::Save if is_correct => "save",
            Event::Save => "Save",
            Event::Send if is_correct => "send",
            Event::Send => "Send",
            Event::SessionEnd if is_correct => "sessionEnd",
            Event::SessionEnd => "SessionEnd",
        }
    }

    fn way_back(&self, event: Event) -> Answer {
        let Some(return_url) = &self.return_url else {
            return pages::message(StatusCode::OK, "Closed", "This view is over. You can close this page.");
        };
        let envelope = self.envelope.as_ref().map(|id| format!("envelopeId={id}&")).unwrap_or_default();
        Answer::redirect(&appended(return_url, &format!("{envelope}event={}", self.word(event))))
    }

    fn envelope<'w>(&self, world: &'w World) -> Option<&'w Envelope> {
        world.envelopes.envelopes.get(self.envelope.as_ref()?)
    }

    /// Whether its page has a button to send.
    fn sends(&self, world: &World) -> bool {
        self.may_send
            && self.envelope(world).is_some_and(|envelope| match self.purpose {
                Purpose::Correct => envelope.status.is_open(),
                Purpose::Console | Purpose::Send => envelope.status == Status::Created,
            })
    }
}

/// Makes a view of one envelope.
pub(super) fn create(world: &mut World, call: &Call, id: &str, purpose: Purpose) -> Outcome {
    let shape = if purpose == Purpose::Correct { Body::CorrectViewRequest } else { Body::ReturnUrlRequest };
    // The view of a draft needs no body (SPEC) and, although SPEC calls it required, no return URL (SDK: C#'s own tests).
    let is_bare = purpose == Purpose::Send && call.body.is_empty();
    let given = if is_bare { json!({}) } else { body(call, shape)? };
    let status = world.envelopes.envelopes[id].status;
    let only = |is_so: bool, view: &str, so: &str| {
        let message = format!(
            "Invalid envelope status. {view} view cannot be created for an envelope that is not {so}."
        );
        if is_so { Ok(()) } else { Err(refuse("ENVELOPE_INVALID_STATUS", message)) }
    };
    match purpose {
        Purpose::Console => {}
        Purpose::Correct => only(status.is_open(), "Correct", "under way")?,
        Purpose::Send => {
            let is_edit = call.segments.last().is_some_and(|last| last == "edit");
            only(status == Status::Created, if is_edit { "Edit" } else { "Sender" }, "in a draft state")?;
        }
    }
    mint(world, call, &given, purpose, Some((id.to_owned(), true)))
}

/// `POST …/views/console`, of an envelope or of none; without a body as well (SPEC), as the vendor's own PHP suite asks.
pub(super) fn console(world: &mut World, call: &Call) -> Outcome {
    let given = if call.body.is_empty() { json!({}) } else { body(call, Body::ConsoleViewRequest)? };
    let asked = given["envelopeId"].as_str().filter(|id| !id.is_empty());
    let envelope = match asked {
        None => None,
        Some(id) => {
            let id = find(world, call, id)?;
            let part = Part::of(world, call, &world.envelopes.envelopes[&id]);
            if part == Part::None {
                return Err(access::no_part());
            }
            Some((id, part == Part::Sender))
        }
    };
    mint(world, call, &given, Purpose::Console, envelope)
}

fn mint(
    world: &mut World,
    call: &Call,
    given: &Value,
    purpose: Purpose,
    envelope: Option<(String, bool)>,
) -> Outcome {
    let fields = given.as_object().cloned().unwrap_or_default();
    let has_way_back = purpose == Purpose::Correct || text(&fields, "returnUrl").is_some();
    let return_url = has_way_back.then(|| recipient_views::return_url(&fields)).transpose()?;
    let settings = fields.get("settings").and_then(Value::as_object).cloned().unwrap_or_default();
    let (envelope, may_send) = envelope.map_or((None, false), |(id, may_send)| (Some(id), may_send));
    let place = envelope.as_ref().map(|id| format!("&DocuEnvelope={id}&send=1")).unwrap_or_default();
    let view =
        SenderView { purpose, envelope, may_send, return_url, settings, seen: call.now, stage: Stage::Fresh };
    let token = URL_SAFE_NO_PAD.encode(World::secret::<32>());
    let url = format!("{}/Member/StartInSession.aspx?StartConsole=1&t={token}{place}", call.origin);
    world.envelopes.sender_views.insert(token, view);
    Ok(Answer::json(StatusCode::CREATED, json!({ "url": url })))
}

/// `/Member/…`: the address of a view, and the page of a visit.
pub(super) fn pages_of(world: &mut World, call: &Call) -> Option<Answer> {
    let is_read = call.method == Method::GET || call.method == Method::HEAD;
    match call.route().as_slice() {
        ["Member", "StartInSession.aspx"] if is_read || call.method == Method::DELETE => {
            Some(redeem(world, call))
        }
        ["Member", "Session", code] if is_read || call.method == Method::POST => {
            Some(visit(world, call, code))
        }
        _ => None,
    }
}

fn unknown() -> Answer {
    pages::message(StatusCode::NOT_FOUND, "Unknown address", "This address leads nowhere, or was revoked.")
}

/// Spends a view, or with DELETE revokes it.
fn redeem(world: &mut World, call: &Call) -> Answer {
    let token = call.query("t").unwrap_or_default();
    let views = &mut world.envelopes.sender_views;
    let known = views.get_mut(token).filter(|view| matches!(view.stage, Stage::Fresh | Stage::Spent));
    let Some(view) = known else { return unknown() };
    if call.method == Method::DELETE {
        views.remove(token);
        return Answer::empty(StatusCode::OK);
    }
    if call.method == Method::HEAD {
        return Answer::empty(StatusCode::OK);
    }
    if view.stage == Stage::Spent || call.now.duration_since(view.seen) >= LIFE {
        return view.way_back(Event::SessionEnd);
    }
    view.stage = Stage::Spent;
    let mut visit = SenderView { stage: Stage::Open, seen: call.now, ..view.clone() };
    for name in PARAMETERS {
        if let Some(value) = call.query(name) {
            visit.settings.insert(name.to_owned(), json!(value));
        }
    }
    let code = URL_SAFE_NO_PAD.encode(World::secret::<32>());
    let page = format!("/Member/Session/{code}");
    views.insert(code, visit);
    Answer::redirect(&page)
}

fn visit(world: &mut World, call: &Call, code: &str) -> Answer {
    let Some(visit) = world.envelopes.sender_views.get(code).cloned() else { return unknown() };
    match visit.stage {
        Stage::Fresh | Stage::Spent => return unknown(),
        Stage::Over(event) => return visit.way_back(event),
        Stage::Open => {}
    }
    if call.now.duration_since(visit.seen) >= IDLE {
        return end(world, code, Event::SessionEnd);
    }
    if let Some(visit) = world.envelopes.sender_views.get_mut(code) {
        visit.seen = call.now;
    }
    if call.method == Method::POST {
        return act(world, call, code, &visit);
    }
    Answer::html(StatusCode::OK, page(world, code, &visit, None))
}

fn end(world: &mut World, code: &str, event: Event) -> Answer {
    let Some(visit) = world.envelopes.sender_views.get_mut(code) else { return unknown() };
    visit.stage = Stage::Over(event);
    visit.way_back(event)
}

fn act(world: &mut World, call: &Call, code: &str, visit: &SenderView) -> Answer {
    let form = call.form();
    let action = form.iter().find(|(name, _)| name == "action").map_or("", |(_, value)| value.as_str());
    match action {
        "send" if visit.sends(world) && visit.setting("sendButtonAction") == "redirect" => {
            end(world, code, Event::Save)
        }
        "send" if visit.sends(world) => match send(world, call, visit) {
            Ok(()) => end(world, code, Event::Send),
            Err(refusal) => {
                let page = page(world, code, visit, Some(&refusal.message));
                Answer::html(StatusCode::UNPROCESSABLE_ENTITY, page)
            }
        },
        "save" if visit.sends(world) => end(world, code, Event::Save),
        "cancel" => end(world, code, Event::Cancel),
        "close" => end(world, code, Event::SessionEnd),
        // The page is out of date, such as after a void: it is shown anew.
        _ => Answer::redirect(&format!("/Member/Session/{code}")),
    }
}

fn send(world: &mut World, call: &Call, visit: &SenderView) -> Result<(), Refusal> {
    let Some(id) = &visit.envelope else { return Ok(()) };
    locks::check(world, id, visit.setting("lockToken"), call.now)?;
    if visit.purpose == Purpose::Correct {
        correct::resend(world, id, call.now);
        return Ok(());
    }
    change::send_draft(world, call, id)
}

fn page(world: &World, code: &str, visit: &SenderView, problem: Option<&str>) -> String {
    let (envelope, sends) = (visit.envelope(world), visit.sends(world));
    let title = envelope.map_or("Your account", |envelope| envelope.subject.as_str());
    let send = match (visit.setting("sendButtonAction"), visit.purpose) {
        ("redirect", _) => "Continue",
        (_, Purpose::Correct) => "Send again",
        (_, Purpose::Console | Purpose::Send) => "Send",
    };
    let has_back = visit.purpose != Purpose::Console && visit.setting("showBackButton") != "false";
    let button = |class: &str, action: &str, label: &str| {
        html! { button class=(class) name="action" value=(action) { (label) } }
    };
    let main = html! {
        main {
            h1 { (title) }
            @if let Some(problem) = problem { p class="alert" role="alert" { (problem) } }
            @if let Some(envelope) = envelope {
                p class="quiet" { "Status: " (envelope.status.name()) }
                section class="card" aria-labelledby="documents" {
                    h2 id="documents" { "Documents" }
                    ul { @for file in &envelope.documents { li { (file.name) } } }
                }
                section class="card" aria-labelledby="recipients" {
                    h2 id="recipients" { "Recipients" }
                    ul { @for one in &envelope.recipients { li { (one.name) " " (one.email) ", " (one.kind.name()) } } }
                }
            }
            form method="post" action={ "/Member/Session/" (code) } {
                @if sends { (button("main", "send", send)) (button("plain", "save", "Save and close")) }
                @if has_back { (button("plain", "cancel", "Back")) }
                @if visit.purpose == Purpose::Console || !sends { (button("plain", "close", "Close")) }
            }
        }
    };
    pages::shell("en", title, None, "Emulated: nothing here is DocuSign's.", &main)
}
