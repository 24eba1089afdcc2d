//! Envelopes and what happens to them, from the definition a client sends to the purge.
//!
//! Goals: every documented call on an envelope that an integration with embedded signing makes,
//! with the vendor's errors, its limits, and only legal changes of status.
//! Gaps: recipients who neither sign, get a copy nor must open it are refused, and so are conditional recipients,
//! views made with the envelope, signing groups and payments ([`refused`]); settings are kept and play no part in the
//! ceremony but for `enforceSignerVisibility`; folders of one's own and chunked uploads are absent; of office documents
//! DOCX alone is converted, to its bare text. Statuses and messages that DocuSign does not publish are our reading, and
//! say so where they are made.
//!
//! Sources: developers.docusign.com, eSignature REST API v2.1, "Envelopes" and "EnvelopeRecipients"
//! (read 2026), and DocuSign's OpenAPI file.

mod access;
mod assembly;
mod bulk;
mod change;
mod correct;
mod create;
mod dates;
mod delays;
pub(in crate::emulator) mod documents;
pub(in crate::emulator) mod docx;
mod files;
mod filling;
mod filter;
pub(in crate::emulator) mod folders;
pub(in crate::emulator) mod lengths;
mod list;
pub(in crate::emulator) mod literals;
mod locks;
pub(in crate::emulator) mod model;
mod overlay;
mod pattern;
mod placing;
pub(in crate::emulator) mod progress;
mod reach;
mod recipients;
mod redraft;
pub(in crate::emulator) mod refused;
pub(in crate::emulator) mod relations;
mod removal;
pub(in crate::emulator) mod render;
mod searches;
mod sender_views;
mod settings;
mod subject;
mod tabs;
#[cfg(test)]
mod tests;
pub(in crate::emulator) mod visibility;
mod workflow;

use std::collections::{BTreeMap, BTreeSet};

use http::{Method, StatusCode};
use jiff::Timestamp;

pub(in crate::emulator) use self::{
    access::{Part, only_the_sender},
    change::merge_custom_fields,
    create::{brand, check_ids, notification, notification_over},
    documents::{as_asked, cannot_be_joined, initials},
    files::file_from,
    filter::date,
    recipients::{Draft, check_draft, drafts},
    redraft::{custom_fields_over, is_within},
    settings::{document_defaults, envelope_defaults, of_envelope as settings_of},
};
use self::{
    folders::Folder,
    locks::Lock,
    model::{Envelope, Refusal, invalid, missing, refuse},
    sender_views::{Purpose, SenderView},
};
use super::{
    by_recipient::ByRecipient,
    ceremony::{self, Session},
    http::{Answer, Call},
    recipient_views::{self, View},
    schema::{self, Body},
    state::World,
    templates::{self, Template},
};

/// All envelopes and templates, and the views and ceremonies of their recipients.
#[derive(Debug)]
pub(super) struct Book {
    /// The envelopes, by `envelopeId`.
    pub(super) envelopes: BTreeMap<String, Envelope>,
    /// The `envelopeId`s in the order they were made.
    pub(super) order: Vec<String>,
    /// Where in that order those of a `transactionId` are.
    by_transaction: BTreeMap<String, Vec<usize>>,
    /// The templates, by `templateId`.
    pub(super) templates: BTreeMap<String, Template>,
    /// Recipient views, by the id in their address.
    pub(super) views: ByRecipient<View>,
    /// Signing sessions, by their code.
    pub(super) sessions: ByRecipient<Session>,
    /// Views for senders and the visits they led to, by token and by code.
    sender_views: BTreeMap<String, SenderView>,
    /// Locks, by `envelopeId`; also those that ran out a short time ago.
    locks: BTreeMap<String, Lock>,
    /// Bulk send lists and batches.
    bulk: bulk::Ledger,
    /// The folders of envelopes that were moved, by `envelopeId`.
    filed: BTreeMap<String, &'static Folder>,
    /// The next configuration id of an envelope's own event notification.
    pub(super) next_hook: u64,
    /// When to look at which envelope again, because time alone does something to it then.
    alarms: BTreeSet<(Timestamp, String)>,
    /// When what is too old was last forgotten.
    tidied: Timestamp,
}

impl Default for Book {
    fn default() -> Self {
        Self {
            envelopes: BTreeMap::new(),
            order: Vec::new(),
            by_transaction: BTreeMap::new(),
            templates: templates::stock(),
            views: ByRecipient::default(),
            sessions: ByRecipient::default(),
            sender_views: BTreeMap::new(),
            locks: BTreeMap::new(),
            bulk: bulk::Ledger::default(),
            filed: BTreeMap::new(),
            next_hook: 10_000_000,
            alarms: BTreeSet::new(),
            tidied: Timestamp::UNIX_EPOCH,
        }
    }
}

impl Book {
    /// Enters one that is there as the last that was made.
    fn enter(&mut self, id: &str) {
        if let Some(transaction) = self.envelopes.get(id).and_then(|envelope| envelope.transaction.clone()) {
            self.by_transaction.entry(transaction).or_default().push(self.order.len());
        }
        self.order.push(id.to_owned());
    }

    /// In the order they were made: all, or those of these transactions.
    fn made(&self, transactions: Option<&[String]>) -> Vec<&Envelope> {
        let Some(transactions) = transactions else {
            return self.order.iter().filter_map(|id| self.envelopes.get(id)).collect();
        };
        let places = transactions.iter().filter_map(|id| self.by_transaction.get(id)).flatten();
        let places: BTreeSet<usize> = places.copied().collect();
        places.into_iter().filter_map(|place| self.envelopes.get(&self.order[place])).collect()
    }

    /// Has an envelope looked at again then, also if something else is true by that time.
    pub(super) fn wake(&mut self, id: &str, at: Timestamp) {
        self.alarms.insert((at, id.to_owned()));
    }

    /// One that is to be looked at by now.
    pub(super) fn woken(&mut self, now: Timestamp) -> Option<String> {
        let first = self.alarms.first().filter(|(at, _)| *at <= now)?.clone();
        self.alarms.remove(&first);
        Some(first.1)
    }
}

/// What a handler comes to.
pub(super) type Outcome = Result<Answer, Refusal>;

/// Vendor paths below an account, and browser pages. None: not one of ours.
pub(super) fn route(world: &mut World, call: &Call) -> Option<Answer> {
    if call.segments.first().is_some_and(|first| first == "Signing") {
        return ceremony::route(world, call);
    }
    if call.segments.first().is_some_and(|first| first == "Member") {
        return sender_views::pages_of(world, call);
    }
    let outcome = match call.below_account().as_slice() {
        ["envelopes"] => match call.method {
            Method::GET => list::list(world, call),
            Method::POST => create::create(world, call),
            _ => return Some(not_allowed()),
        },
        ["envelopes", "status"] => match call.method {
            Method::PUT => list::by_body(world, call),
            _ => return Some(not_allowed()),
        },
        // Words that are no ids: what they name is not here.
        ["envelopes", "shared" | "transfer_rules", ..] => return None,
        ["envelopes", id, rest @ ..] => envelope(world, call, id, rest)?,
        ["bulk_send_batch" | "bulk_send_lists", ..] => bulk::route(world, call)?,
        ["folders", rest @ ..] => folders::route(world, call, rest)?,
        ["views", "console"] if call.method == Method::POST => sender_views::console(world, call),
        ["templates", rest @ ..] => templates::route(world, call, rest)?,
        _ => return None,
    };
    Some(outcome.unwrap_or_else(Into::into))
}

fn envelope(world: &mut World, call: &Call, id: &str, rest: &[&str]) -> Option<Outcome> {
    let id = match find(world, call, id) {
        Ok(id) => id,
        Err(refusal) => return Some(Err(refusal)),
    };
    if let Err(refusal) = access::check(world, call, &id, rest) {
        return Some(Err(refusal));
    }
    if let Err(refusal) = locks::guard(world, call, &id, rest) {
        return Some(Err(refusal));
    }
    let (get, put, post, delete) = (Method::GET, Method::PUT, Method::POST, Method::DELETE);
    let is = |method: &Method| call.method == *method;
    Some(match rest {
        [] if is(&get) => Ok(list::one(world, call, &id)),
        [] if is(&put) => change::update(world, call, &id),
        ["audit_events"] if is(&get) => Ok(list::audit_events(world, &id)),
        ["custom_fields"] if is(&get) => Ok(list::custom_fields(world, &id)),
        ["custom_fields"] if is(&put) || is(&post) => change::custom_fields(world, call, &id),
        ["custom_fields"] if is(&delete) => removal::custom_fields(world, call, &id),
        ["documents"] if is(&get) => documents::list(world, call, &id),
        ["documents", document] if is(&get) => documents::download(world, call, &id, document),
        ["form_data"] if is(&get) => Ok(list::form_data(world, &id)),
        ["lock"] => locks::route(world, call, &id)?,
        ["notification"] if is(&get) => Ok(list::notification(world, &id)),
        ["notification"] if is(&put) => change::notification(world, call, &id),
        ["recipients"] if is(&get) => Ok(list::recipients(world, call, &id)),
        ["recipients"] if is(&put) => correct::correct(world, call, &id),
        ["recipients"] if is(&post) => correct::add(world, call, &id),
        ["recipients"] if is(&delete) => correct::delete(world, call, &id, None),
        ["recipients", recipient] if is(&delete) => correct::delete(world, call, &id, Some(recipient)),
        ["recipients", recipient, "tabs"] => tabs::route(world, call, &id, recipient)?,
        ["views", "correct"] if is(&post) => sender_views::create(world, call, &id, Purpose::Correct),
        // "Obsolete … acts as a null operation" (EnvelopeViews:deleteEnvelopeCorrectView).
        ["views", "correct"] if is(&delete) => Ok(Answer::empty(StatusCode::OK)),
        ["views", "edit" | "sender"] if is(&post) => sender_views::create(world, call, &id, Purpose::Send),
        ["views", "recipient"] if is(&post) => recipient_views::create(world, call, &id),
        ["workflow", rest @ ..] => workflow::route(world, call, &id, rest)?,
        _ => return None,
    })
}

/// `/_test/signers/…`, `/_test/envelopes/…` and `/_test/outbox`.
pub(super) fn control(world: &mut World, call: &Call) -> Option<Answer> {
    match call.route().as_slice() {
        ["_test", "outbox"] if call.method == Method::GET => {
            Some(Answer::ok(serde_json::json!({ "messages": world.outbox })))
        }
        ["_test", "signers", id, action] if call.method == Method::POST => {
            Some(ceremony::scripted::act(world, call, id, action))
        }
        ["_test", "signers"] if call.method == Method::GET => Some(ceremony::scripted::list(world)),
        ["_test", "envelopes", id, action @ ("void" | "expire")] if call.method == Method::POST => {
            Some(ended(world, call, &id.to_ascii_lowercase(), action))
        }
        _ => None,
    }
}

/// An envelope that ends without its signers or this client: its sender voids it in DocuSign's own pages, or its
/// date comes.
fn ended(world: &mut World, call: &Call, id: &str, action: &str) -> Answer {
    if !world.envelopes.envelopes.contains_key(id) {
        return Answer::control_error(StatusCode::NOT_FOUND, "no envelope has this envelopeId");
    }
    let done = match action {
        "expire" => progress::expire(world, id, call.now),
        _ => progress::void(world, id, "voided by its sender", call.now),
    };
    match done {
        Ok(()) => Answer::ok(serde_json::json!({
            "envelope_id": id,
            "envelope_status": world.envelopes.envelopes[id].status.name(),
        })),
        Err(refusal) => Answer::control_error(StatusCode::CONFLICT, &refusal.message),
    }
}

/// What time alone does: envelopes expire, purges fall due, delays pass.
pub(super) fn tick(world: &mut World, now: Timestamp) {
    progress::tick(world, now);
}

/// The stored id of an envelope that this caller's account may see.
fn find(world: &World, call: &Call, id: &str) -> Result<String, Refusal> {
    let Ok(guid) = uuid::Uuid::parse_str(id) else {
        return Err(invalid("Invalid value specified for envelopeId."));
    };
    let envelope = world.envelopes.envelopes.get(&guid.to_string()).ok_or_else(|| {
        missing(
            "ENVELOPE_DOES_NOT_EXIST",
            "The envelope specified either does not exist or you have no rights to it.",
        )
    })?;
    if Some(&envelope.account) != call.account.as_ref() {
        return Err(refuse(
            "ACCOUNT_NOT_AUTHORIZED_FOR_ENVELOPE",
            "This Account is not authorized to access the requested envelope.",
        ));
    }
    Ok(envelope.id.clone())
}

/// An envelope to be changed.
fn envelope_mut<'w>(world: &'w mut World, id: &str) -> &'w mut Envelope {
    world.envelopes.envelopes.get_mut(id).expect("the caller looked it up")
}

/// Parses a JSON body and checks its shape.
pub(super) fn body(call: &Call, shape: Body) -> Result<serde_json::Value, Refusal> {
    let media_type = call.media_type();
    if !(media_type.is_empty() || media_type == "application/json" || media_type.ends_with("+json")) {
        return Err(Refusal {
            status: StatusCode::UNSUPPORTED_MEDIA_TYPE,
            code: "UNSUPPORTED_MEDIA_TYPE",
            message: "The content type of the request is not supported. The emulator reads application/json."
                .to_owned(),
        });
    }
    schema::parse(shape, &call.body).map_err(|detail| malformed(&detail))
}

/// Refuses a body whose shape is wrong.
pub(super) fn malformed(detail: &str) -> Refusal {
    refuse("INVALID_REQUEST_BODY", format!("The request body is missing or improperly formatted. {detail}"))
}

fn not_allowed() -> Answer {
    Answer::error(
        StatusCode::METHOD_NOT_ALLOWED,
        "HTTP_METHOD_NOT_SUPPORTED",
        "The resource does not take this method.",
    )
}
