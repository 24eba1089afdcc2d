//! Batches: what became of a list that was sent.

use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    fit,
    list::{self, MAX_COPIES},
};
use crate::emulator::{
    envelopes::{
        Outcome, access, body,
        filter::{comma_separated, date},
        list as envelope_list,
        model::{Refusal, Status, invalid, objects, text},
    },
    http::{Answer, Call, vendor_time},
    paging,
    schema::Body,
    state::World,
};

/// A page of the list of batches (SPEC: `count`).
const MAX_PAGE: usize = 100;

/// A list that was sent.
#[derive(Debug)]
pub(super) struct Batch {
    id: String,
    account: String,
    sender: String,
    name: String,
    /// `envelopeOrTemplateId`.
    source: String,
    list: String,
    list_name: String,
    submitted: Timestamp,
    envelopes: Vec<String>,
    /// A `bulkSendErrorStatus` for each copy that came to nothing.
    errors: Vec<Value>,
}

impl Batch {
    fn size(&self) -> usize {
        self.envelopes.len() + self.errors.len()
    }

    /// What its row in a list and its status both say.
    fn head(&self) -> Value {
        json!({
            "batchId": self.id,
            "batchName": self.name,
            "batchSize": self.size().to_string(),
            "failed": self.errors.len().to_string(),
            "queued": "0",
            "sent": self.envelopes.len().to_string(),
            "submittedDate": vendor_time(self.submitted),
        })
    }

    fn summary(&self) -> Value {
        let mut row = self.head();
        row["batchUri"] = json!(format!("/bulk_send_batch/{}", self.id));
        row
    }

    fn status(&self, world: &World) -> Value {
        let all: Vec<Status> = self
            .envelopes
            .iter()
            .filter_map(|id| world.envelopes.envelopes.get(id).map(|envelope| envelope.status))
            .collect();
        let count = |status: Status| all.iter().filter(|own| **own == status).count().to_string();
        let counts = json!({
            "created": count(Status::Created),
            "sent": count(Status::Sent),
            "delivered": count(Status::Delivered),
            "completed": count(Status::Completed),
            "declined": count(Status::Declined),
            "voided": count(Status::Voided),
        });
        let mut status = self.head();
        for (name, value) in [
            ("bulkErrors", json!(self.errors)),
            ("envelopeIdOrTemplateId", json!(self.source)),
            ("envelopesInfo", counts),
            ("envelopesUri", json!(format!("/bulk_send_batch/{}/envelopes", self.id))),
            ("mailingListId", json!(self.list)),
            ("mailingListName", json!(self.list_name)),
            ("ownerUserId", json!(self.sender)),
            ("senderUserId", json!(self.sender)),
        ] {
            status[name] = value;
        }
        status
    }

    /// Whether the caller sent it, or administers the account that did.
    fn is_visible(&self, world: &World, call: &Call) -> bool {
        let user = call.user.as_deref().unwrap_or_default();
        Some(&self.account) == call.account.as_ref()
            && (self.sender == user || access::is_admin(world, user, &self.account))
    }
}

/// The list and the source of a request to send or to test.
fn asked(world: &World, call: &Call, id: &str) -> Result<(list::List, String, Option<String>), Refusal> {
    let given = body(call, Body::BulkSendRequest)?;
    let list = world.envelopes.bulk.lists[list::find(world, call, id)?].clone();
    let of = |name: &str| given[name].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let name = of("batchName").unwrap_or_else(|| list.name.clone());
    Ok((list, name, of("envelopeOrTemplateId")))
}

/// `POST …/bulk_send_lists/{id}/test`.
pub(super) fn test(world: &mut World, call: &Call, id: &str) -> Outcome {
    let (list, _, source) = asked(world, call, id)?;
    let reasons = match fit::source(world, call, source.as_deref()) {
        Ok(source) => {
            let mut reasons = fit::misfits(&source, &list);
            reasons.extend(fit::refusals(world, call, &source, &list));
            reasons
        }
        Err(reason) => vec![reason],
    };
    let answer = json!({
        "canBeSent": reasons.is_empty(),
        "validationErrors": reasons.iter().map(|reason| reason.code).collect::<Vec<_>>(),
        "validationErrorDetails": reasons.iter().map(|reason| reason.message.as_str()).collect::<Vec<_>>(),
    });
    Ok(Answer::json(StatusCode::CREATED, answer))
}

/// `POST …/bulk_send_lists/{id}/send`: all copies that can be sent, if the list fits.
pub(super) fn send(world: &mut World, call: &Call, id: &str) -> Outcome {
    let (list, name, source_id) = asked(world, call, id)?;
    let source = fit::source(world, call, source_id.as_deref())?;
    if let Some(reason) = fit::misfits(&source, &list).into_iter().next() {
        return Err(reason);
    }
    let mut batch = Batch {
        id: world.guid(),
        account: call.account.clone().unwrap_or_default(),
        sender: call.user.clone().unwrap_or_default(),
        name,
        source: source_id.unwrap_or_default(),
        list: list.id,
        list_name: list.name,
        submitted: call.now,
        envelopes: Vec::new(),
        errors: Vec::new(),
    };
    for copy in &list.copies {
        match fit::make(world, call, &source, copy, &batch.id) {
            Ok(envelope) => batch.envelopes.push(envelope),
            Err(refusal) => batch.errors.push(json!({
                "created": vendor_time(call.now),
                "errorMessage": format!("{}: {}", refusal.code, refusal.message),
                "recipientEmails":
                    objects(copy.get("recipients")).filter_map(|one| text(one, "email")).collect::<Vec<_>>(),
            })),
        }
    }
    let answer = json!({
        "batchId": batch.id,
        "batchName": batch.name,
        "batchSize": batch.size().to_string(),
        "envelopeOrTemplateId": batch.source,
        "totalQueued": batch.size().to_string(),
    });
    world.envelopes.bulk.batches.push(batch);
    Ok(Answer::json(StatusCode::CREATED, answer))
}

/// The place of the batch of this id. The vendor publishes no code for another one: our reading.
fn find(world: &World, call: &Call, id: &str) -> Result<usize, Refusal> {
    let is_it = |batch: &Batch| batch.id.eq_ignore_ascii_case(id) && batch.is_visible(world, call);
    let place = world.envelopes.bulk.batches.iter().position(is_it);
    place.ok_or_else(|| invalid("The bulk send batch specified does not exist or you have no rights to it."))
}

/// `GET …/bulk_send_batch`, the last one first.
pub(super) fn all(world: &World, call: &Call) -> Outcome {
    let given = |name: &str| call.query(name).filter(|value| !value.is_empty());
    let ids = given("batch_ids").map(comma_separated);
    let (from, to) = (date(call, "from_date")?, date(call, "to_date")?);
    let words = given("search_text").map(str::to_lowercase);
    let status = given("status").unwrap_or("all").to_ascii_lowercase();
    if !["all", "failed", "queued", "sent"].contains(&status.as_str()) {
        return Err(invalid("Query parameter 'status' is one of all, failed, sent, queued."));
    }
    let is_wanted = |batch: &&Batch| {
        batch.is_visible(world, call)
            && ids.as_ref().is_none_or(|ids| ids.iter().any(|id| id.eq_ignore_ascii_case(&batch.id)))
            && from.is_none_or(|from| batch.submitted >= from)
            && to.is_none_or(|to| batch.submitted <= to)
            && words.as_ref().is_none_or(|words| batch.name.to_lowercase().contains(words))
            && given("user_id").is_none_or(|user| user.eq_ignore_ascii_case(&batch.sender))
            && match status.as_str() {
                "failed" => !batch.errors.is_empty(),
                "sent" => !batch.envelopes.is_empty(),
                "queued" => false,
                _ => true,
            }
    };
    let rows = world.envelopes.bulk.batches.iter().rev().filter(is_wanted).map(Batch::summary).collect();
    let mut answer = paging::page(call, "/bulk_send_batch", "bulkBatchSummaries", rows, MAX_PAGE)?;
    answer["batchSizeLimit"] = json!(MAX_COPIES.to_string());
    answer["totalQueued"] = json!("0");
    Ok(Answer::ok(answer))
}

/// `GET …/bulk_send_batch/{id}`.
pub(super) fn one(world: &World, call: &Call, id: &str) -> Outcome {
    let place = find(world, call, id)?;
    Ok(Answer::ok(world.envelopes.bulk.batches[place].status(world)))
}

/// `PUT …/bulk_send_batch/{id}`.
pub(super) fn rename(world: &mut World, call: &Call, id: &str) -> Outcome {
    let place = find(world, call, id)?;
    let given = body(call, Body::BulkSendBatchRequest)?;
    if let Some(name) = given["batchName"].as_str() {
        name.clone_into(&mut world.envelopes.bulk.batches[place].name);
    }
    one(world, call, id)
}

/// `GET …/bulk_send_batch/{id}/envelopes`; the last one that was made first (getBulkSendBatchEnvelopes, `order_by`).
pub(super) fn envelopes(world: &mut World, call: &Call, id: &str) -> Outcome {
    let place = find(world, call, id)?;
    let ids = world.envelopes.bulk.batches[place].envelopes.clone();
    envelope_list::found(world, call, Some(ids), None, "created")
}
