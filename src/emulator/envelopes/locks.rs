//! `…/lock`: an envelope that one application keeps to itself while it works on it.
//!
//! While it lasts, whoever changes the envelope shows the token of the lock in `X-DocuSign-Edit`, which also makes it
//! last longer. Unlike SPEC, recipients are not held up, nor are views; the statuses of the refusals, that a longer
//! duration is cut to half an hour, and that only drafts are taken back to what they were, are our reading.
//!
//! Sources: EnvelopeLocks:get, :create, :update, :delete; the words of a refusal: :create, and DocuSign's blog, "Who's
//! locking my envelopes?".

use http::{HeaderName, HeaderValue, Method, StatusCode};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{
    Outcome, body,
    folders::Folder,
    model::{Envelope, Fields, Refusal, Status, invalid, refuse, text},
};
use crate::emulator::{
    http::{Answer, Call, vendor_time},
    schema::Body,
    state::World,
};

/// Seconds that a lock lasts if nothing is said, and at most (lockInformation).
const DURATION: i64 = 300;
const MAX_DURATION: i64 = 1_800;
const HEADER: &str = "x-docusign-edit";

/// A lock on an envelope.
#[derive(Debug)]
pub(super) struct Lock {
    token: String,
    /// Who holds it: a user's GUID.
    user: String,
    /// `lockedByApp`.
    app: String,
    /// `useScratchPad`, which changes nothing.
    scratch_pad: String,
    seconds: i64,
    until: Timestamp,
    /// The envelope as it was, and the folder that it was put into.
    before: (Envelope, Option<&'static Folder>),
}

impl Lock {
    /// Whether it has not run out.
    pub(super) fn is_live(&self, now: Timestamp) -> bool {
        now < self.until
    }

    /// Refuses a token that is not its own.
    fn check(&self, token: &str) -> Result<(), Refusal> {
        if self.token == token { Ok(()) } else { Err(not_owner()) }
    }

    /// Makes it last from now on, for as long as is said or as before.
    fn extend(&mut self, seconds: Option<i64>, now: Timestamp) {
        self.seconds = seconds.unwrap_or(self.seconds);
        self.until = now.saturating_add(SignedDuration::from_secs(self.seconds)).unwrap_or(Timestamp::MAX);
    }
}

/// The lock on an envelope, unless it has run out.
fn live<'w>(world: &'w mut World, id: &str, now: Timestamp) -> Option<&'w mut Lock> {
    world.envelopes.locks.get_mut(id).filter(|lock| lock.is_live(now))
}

/// `…/lock`.
pub(super) fn route(world: &mut World, call: &Call, id: &str) -> Option<Outcome> {
    Some(match call.method {
        Method::GET => get(world, call, id),
        Method::POST => create(world, call, id),
        Method::PUT => update(world, call, id),
        Method::DELETE => delete(world, call, id),
        _ => return None,
    })
}

/// Refuses a change by whoever does not show the token of a lock that lasts.
pub(super) fn guard(world: &mut World, call: &Call, id: &str, rest: &[&str]) -> Result<(), Refusal> {
    let is_reading = call.method == Method::GET || call.method == Method::HEAD;
    if is_reading || matches!(rest, ["lock"] | ["views", ..]) {
        return Ok(());
    }
    let Some(lock) = live(world, id, call.now) else { return Ok(()) };
    let edit = Edit::of(call)?;
    lock.check(&edit.token)?;
    lock.extend(edit.seconds, call.now);
    Ok(())
}

/// Refuses a token that is not that of the lock, if there is one.
pub(super) fn check(world: &mut World, id: &str, token: &str, now: Timestamp) -> Result<(), Refusal> {
    live(world, id, now).map_or(Ok(()), |lock| lock.check(token))
}

/// The vendor's words, which say template of an envelope, too (EnvelopeLocks:create).
fn not_owner() -> Refusal {
    refuse(
        "EDIT_LOCK_NOT_LOCK_OWNER",
        "The user is not the owner of the lock. The template is locked by another user or in another application",
    )
}

fn not_locked() -> Refusal {
    refuse("EDIT_LOCK_ENVELOPE_NOT_LOCKED", "The envelope is not locked.")
}

/// What `X-DocuSign-Edit` says, in JSON or XML.
#[derive(Debug, Default)]
struct Edit {
    token: String,
    seconds: Option<i64>,
}

impl Edit {
    fn of(call: &Call) -> Result<Self, Refusal> {
        let Some(header) = call.header(HEADER) else { return Ok(Self::default()) };
        let json: Fields = serde_json::from_str(header).unwrap_or_default();
        let in_json = |name: &str| {
            let found = json.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
        };
        let in_xml = |name: &str| {
            let after = header.split_once(&format!("<{name}>"))?.1;
            Some(after.split_once(&format!("</{name}>"))?.0.trim().to_owned())
        };
        let said = |name: &str| in_json(name).or_else(|| in_xml(name));
        let seconds = said("LockDurationInSeconds").map(|text| duration(&text)).transpose()?;
        Ok(Self { token: said("LockToken").unwrap_or_default(), seconds })
    }
}

fn duration(text: &str) -> Result<i64, Refusal> {
    match text.trim().parse::<i64>() {
        Ok(seconds) if seconds > 0 => Ok(seconds.min(MAX_DURATION)),
        _ => Err(invalid("'lockDurationInSeconds' must be a number greater than 0.")),
    }
}

/// What a body says: the duration, if it says one.
fn asked(given: &Value) -> Result<(Fields, Option<i64>), Refusal> {
    let fields = given.as_object().cloned().unwrap_or_default();
    if text(&fields, "lockType").is_some_and(|kind| !kind.eq_ignore_ascii_case("edit")) {
        return Err(invalid("'lockType' must be edit."));
    }
    let seconds = text(&fields, "lockDurationInSeconds").map(duration).transpose()?;
    Ok((fields, seconds))
}

fn create(world: &mut World, call: &Call, id: &str) -> Outcome {
    let (fields, seconds) = asked(&body(call, Body::LockRequest)?)?;
    if live(world, id, call.now).is_some() {
        return Err(refuse("EDIT_LOCK_ENVELOPE_ALREADY_LOCKED", "The envelope is already locked."));
    }
    let said = |name: &str| text(&fields, name).unwrap_or_default().to_owned();
    let mut lock = Lock {
        token: world.guid(),
        user: call.user.clone().unwrap_or_default(),
        app: said("lockedByApp"),
        scratch_pad: said("useScratchPad"),
        seconds: seconds.unwrap_or(DURATION),
        until: call.now,
        before: (world.envelopes.envelopes[id].clone(), world.envelopes.filed.get(id).copied()),
    };
    lock.extend(None, call.now);
    let answer = information(world, &lock);
    world.envelopes.locks.insert(id.to_owned(), lock);
    Ok(Answer::json(StatusCode::CREATED, answer))
}

/// For whoever made it, with the token: also for an application that has lost it.
fn get(world: &mut World, call: &Call, id: &str) -> Outcome {
    let Some(lock) = live(world, id, call.now) else { return Err(not_locked()) };
    if call.user.as_deref() != Some(lock.user.as_str()) {
        return Err(not_owner());
    }
    let edit = json!({ "LockToken": lock.token, "LockDurationInSeconds": lock.seconds.to_string() });
    let edit = HeaderValue::from_str(&edit.to_string()).expect("a GUID and a number are a header value");
    let answer = Answer::ok(information(world, &world.envelopes.locks[id]));
    Ok(answer.with(HeaderName::from_static(HEADER), edit))
}

/// The lock, for its holder who shows the token.
fn own<'w>(world: &'w mut World, call: &Call, id: &str) -> Result<&'w mut Lock, Refusal> {
    let edit = Edit::of(call)?;
    let lock = live(world, id, call.now).ok_or_else(not_locked)?;
    if call.user.as_deref() != Some(lock.user.as_str()) {
        return Err(not_owner());
    }
    lock.check(&edit.token)?;
    Ok(lock)
}

fn update(world: &mut World, call: &Call, id: &str) -> Outcome {
    let (fields, seconds) = asked(&body(call, Body::LockRequest)?)?;
    let lock = own(world, call, id)?;
    if let Some(app) = text(&fields, "lockedByApp") {
        app.clone_into(&mut lock.app);
    }
    lock.extend(seconds, call.now);
    Ok(Answer::ok(information(world, &world.envelopes.locks[id])))
}

fn delete(world: &mut World, call: &Call, id: &str) -> Outcome {
    own(world, call, id)?;
    let lock = world.envelopes.locks.remove(id).expect("it is the caller's own");
    let is_discarded = call.query("save_changes").is_some_and(|value| value.eq_ignore_ascii_case("false"));
    let answer = information(world, &lock);
    if is_discarded && world.envelopes.envelopes[id].status == Status::Created {
        let (envelope, folder) = lock.before;
        world.envelopes.envelopes.insert(id.to_owned(), envelope);
        world.envelopes.filed.remove(id);
        world.envelopes.filed.extend(folder.map(|folder| (id.to_owned(), folder)));
        // Its schedule may have come due while it was not this one.
        world.envelopes.wake(id, call.now);
    }
    Ok(Answer::ok(answer))
}

/// `lockInformation`.
fn information(world: &World, lock: &Lock) -> Value {
    let user = world.directory.users.get(&lock.user);
    json!({
        "lockedByUser": {
            "userName": user.map(|user| user.name.clone()).unwrap_or_default(),
            "email": user.map(|user| user.email.clone()).unwrap_or_default(),
            "userId": lock.user,
            "userType": "CompanyUser",
            "userStatus": "Active",
            "uri": format!("/users/{}", lock.user),
        },
        "lockedByApp": lock.app,
        "lockedUntilDateTime": vendor_time(lock.until),
        "lockDurationInSeconds": lock.seconds.to_string(),
        "lockType": "edit",
        "useScratchPad": if lock.scratch_pad.eq_ignore_ascii_case("true") { "true" } else { "false" },
        "lockToken": lock.token,
    })
}
