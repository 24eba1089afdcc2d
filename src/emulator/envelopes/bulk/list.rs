//! Lists of copies: who gets one, under which subject, with what filled in.

use std::collections::HashSet;

use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::emulator::{
    envelopes::{
        Outcome, body,
        model::{Fields, Refusal, invalid, objects, refuse, text},
        progress::is_email,
        reach::is_by_phone,
        recipients::MAX_RECIPIENTS,
    },
    http::{Answer, Call, vendor_time},
    schema::Body,
    state::World,
};

/// The vendor's own limit ("In almost all cases").
pub(super) const MAX_COPIES: usize = 1_000;

/// A list of copies.
#[derive(Debug, Clone)]
pub(super) struct List {
    /// `listId`.
    pub(super) id: String,
    account: String,
    /// The user who made it, and who alone sees it.
    owner: String,
    created: Timestamp,
    pub(super) name: String,
    /// The `bulkCopies`, as they were sent.
    pub(super) copies: Vec<Value>,
}

impl List {
    /// A list is its maker's alone.
    fn is_of(&self, call: &Call) -> bool {
        Some(&self.account) == call.account.as_ref() && Some(&self.owner) == call.user.as_ref()
    }
}

/// What a recipient of a copy is called: its role, else its id.
pub(super) fn called(one: &Fields) -> &str {
    text(one, "roleName").or_else(|| text(one, "recipientId")).unwrap_or_default()
}

/// The list of this id, if it is the caller's.
pub(super) fn find(world: &World, call: &Call, id: &str) -> Result<usize, Refusal> {
    let is_it = |list: &List| list.id.eq_ignore_ascii_case(id) && list.is_of(call);
    world.envelopes.bulk.lists.iter().position(is_it).ok_or_else(|| {
        refuse(
            "BULK_SEND_LIST_NOT_FOUND",
            format!("Bulk Sending list {id} does not exist or you do not have permission to access it."),
        )
    })
}

/// `GET …/bulk_send_lists`.
pub(super) fn all(world: &World, call: &Call) -> Answer {
    let mine = world.envelopes.bulk.lists.iter().filter(|list| list.is_of(call));
    let rows = mine.map(|list| {
        json!({
            "bulkSendListId": list.id,
            "createdByUser": list.owner,
            "createdDate": vendor_time(list.created),
            "name": list.name,
        })
    });
    Answer::ok(json!({ "bulkListSummaries": rows.collect::<Vec<_>>() }))
}

fn shown(list: &List) -> Value {
    json!({ "listId": list.id, "name": list.name, "bulkCopies": list.copies })
}

/// `GET …/bulk_send_lists/{id}`.
pub(super) fn one(world: &World, call: &Call, id: &str) -> Outcome {
    let place = find(world, call, id)?;
    Ok(Answer::ok(shown(&world.envelopes.bulk.lists[place])))
}

/// The name and the copies of a body, if there can be such a list.
fn read(call: &Call) -> Result<(String, Vec<Value>), Refusal> {
    let given = body(call, Body::BulkSendingList)?;
    let copies: Vec<Value> = objects(given.get("bulkCopies")).cloned().map(Value::Object).collect();
    check(&copies)?;
    Ok((given["name"].as_str().unwrap_or_default().to_owned(), copies))
}

/// `POST …/bulk_send_lists`.
pub(super) fn create(world: &mut World, call: &Call) -> Outcome {
    let (name, copies) = read(call)?;
    let list = List {
        id: world.guid(),
        account: call.account.clone().unwrap_or_default(),
        owner: call.user.clone().unwrap_or_default(),
        created: call.now,
        name,
        copies,
    };
    let answer = shown(&list);
    world.envelopes.bulk.lists.push(list);
    Ok(Answer::json(StatusCode::CREATED, answer))
}

/// `PUT …/bulk_send_lists/{id}`.
pub(super) fn replace(world: &mut World, call: &Call, id: &str) -> Outcome {
    let place = find(world, call, id)?;
    let (name, copies) = read(call)?;
    let list = &mut world.envelopes.bulk.lists[place];
    (list.name, list.copies) = (name, copies);
    Ok(Answer::ok(shown(list)))
}

/// `DELETE …/bulk_send_lists/{id}`: those that are left.
pub(super) fn delete(world: &mut World, call: &Call, id: &str) -> Outcome {
    let place = find(world, call, id)?;
    world.envelopes.bulk.lists.remove(place);
    Ok(all(world, call))
}

/// Refuses a list that fits nothing, in the vendor's words (createBulkSendList).
fn check(copies: &[Value]) -> Result<(), Refusal> {
    if copies.len() > MAX_COPIES {
        return Err(refuse(
            "BULK_SEND_MAX_COPIES_EXCEEDED",
            format!("A bulk sending list cannot specify more than {MAX_COPIES} copies in the mailing list."),
        ));
    }
    // The vendor publishes no code for it: our reading.
    if copies.iter().any(|copy| objects(copy.get("recipients")).count() > MAX_RECIPIENTS) {
        return Err(invalid(&format!("A copy has at most {MAX_RECIPIENTS} recipients.")));
    }
    let people: Vec<&Fields> = copies.iter().flat_map(|copy| objects(copy.get("recipients"))).collect();
    if let Some(one) = people.iter().find(|one| has(one, "roleName") && has(one, "recipientId")) {
        return Err(refuse(
            "BULK_SEND_CANNOT_USE_BOTH_ROLE_AND_ID_ON_SAME_RECIPIENT",
            format!("Recipients cannot have both ID and Role; {} has both.", called(one)),
        ));
    }
    if ["roleName", "recipientId"].into_iter().all(|name| people.iter().any(|one| has(one, name))) {
        return Err(refuse(
            "BULK_SEND_CANNOT_USE_BOTH_ROLE_AND_ID_IN_SAME_LIST",
            "Cannot use both recipient role and ID in the same list.",
        ));
    }
    people.into_iter().try_for_each(check_person)?;
    copies.iter().try_for_each(check_copy)
}

fn has(one: &Fields, name: &str) -> bool {
    text(one, name).is_some()
}

/// The first name that was there before, in whatever case.
fn repeated<'a>(mut names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let mut seen = HashSet::new();
    names.find(|name| !seen.insert(name.to_lowercase()))
}

fn check_copy(copy: &Value) -> Result<(), Refusal> {
    let named =
        |list: &str, name: &'static str| objects(copy.get(list)).filter_map(move |one| text(one, name));
    if repeated(named("recipients", "recipientId")).is_some() {
        return Err(refuse(
            "BULK_SEND_RECIPIENT_IDS_MUST_BE_UNIQUE",
            "No two recipientIds can be same within a bulkCopy.",
        ));
    }
    if let Some(role) = repeated(named("recipients", "roleName")) {
        return Err(refuse(
            "BULK_SEND_ROLE_NAMES_MUST_BE_UNIQUE",
            format!("Recipient role names cannot be duplicated; role {role} appears multiple times."),
        ));
    }
    for field in objects(copy.get("customFields")) {
        let Some(name) = text(field, "name") else {
            return Err(refuse(
                "BULK_SEND_ENVELOPE_CUSTOM_FIELD_NAME_REQUIRED",
                "All custom fields must have names.",
            ));
        };
        if field.get("value").is_none_or(Value::is_null) {
            return Err(refuse(
                "BULK_SEND_ENVELOPE_CUSTOM_FIELD_VALUE_REQUIRED",
                format!("Custom field {name} has no value."),
            ));
        }
    }
    if let Some(name) = repeated(named("customFields", "name")) {
        return Err(refuse(
            "BULK_SEND_ENVELOPE_CUSTOM_FIELD_NAME_MUST_BE_UNIQUE",
            format!(
                "Custom fields must have distinct names. The field {name} appears more than once in a copy."
            ),
        ));
    }
    Ok(())
}

fn check_person(one: &Fields) -> Result<(), Refusal> {
    let who = called(one);
    if who.is_empty() {
        return Err(refuse(
            "BULK_SEND_RECIPIENT_ID_REQUIRED",
            "If no RoleName is present, recipientID is required in mailing list's bulkCopy.",
        ));
    }
    let either = |name: &str, other: &str| text(one, name).or_else(|| text(one, other)).map(str::to_owned);
    if either("name", "signerName").is_none() {
        return Err(refuse("BULK_SEND_RECIPIENT_NAME_REQUIRED", format!("Recipient {who} has no name.")));
    }
    let email = either("email", "hostEmail");
    if email.is_none() && !is_by_phone(one) {
        return Err(refuse(
            "BULK_SEND_EMAIL_ADDRESS_REQUIRED_FOR_EMAIL_RECIPIENT",
            format!("Recipient {who} is an email recipient with no email address."),
        ));
    }
    if let Some(email) = email.filter(|email| !is_email(email)) {
        return Err(refuse(
            "BULK_SEND_EMAIL_ADDRESS_NOT_VALID",
            format!("Recipient {who} specifies email address {email}, which is not a valid email address."),
        ));
    }
    check_tabs(one)
}

fn check_tabs(one: &Fields) -> Result<(), Refusal> {
    let tabs = || objects(one.get("tabs"));
    for tab in tabs() {
        if text(tab, "tabLabel").is_none() {
            return Err(refuse("BULK_SEND_TAB_LABEL_REQUIRED", "Tab label is required."));
        }
        if tab.get("initialValue").is_none_or(Value::is_null) {
            return Err(refuse("BULK_SEND_TAB_VALUE_REQUIRED", "Tab Label value is required."));
        }
    }
    match repeated(tabs().filter_map(|tab| text(tab, "tabLabel"))) {
        None => Ok(()),
        Some(label) => Err(refuse(
            "BULK_SEND_TAB_LABELS_MUST_BE_UNIQUE",
            format!("Tab label {label} is duplicated. Needs to be unique."),
        )),
    }
}
