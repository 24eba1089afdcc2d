//! Reading envelopes: one, many, and the small parts.
//!
//! Source: Envelopes:listStatusChanges and Envelopes:listStatus in the vendor's reference.

use jiff::Timestamp;
use serde_json::{Value, json};
use url::form_urlencoded::Serializer;

use super::{
    Outcome, body,
    filling::NUMBER,
    filter::{self, comma_separated},
    folders,
    model::{Envelope, Recipient, Refusal, Tab, invalid, text},
    progress::{self, ORIGINAL},
    render::{self, Include},
    visibility,
};
use crate::emulator::{
    http::{Answer, Call, vendor_time},
    paging,
    schema::Body,
    state::World,
};

/// A page of a list (listStatusChanges, `count`).
const MAX_PAGE: usize = 1_000;
/// What a list is sorted by unless the query says otherwise (listStatusChanges, `order_by`).
const ORDER: &str = "last_modified";

/// `GET /envelopes/{id}`.
pub(super) fn one(world: &World, call: &Call, id: &str) -> Answer {
    let include = Include::parse(call.query("include").unwrap_or_default());
    Answer::ok(row(world, call, &world.envelopes.envelopes[id], include))
}

/// An envelope as its reader sees it.
fn row(world: &World, call: &Call, envelope: &Envelope, include: Include) -> Value {
    let mut row = render::envelope(world, &visibility::to_caller(world, call, envelope), include);
    if include.folders {
        let user = call.user.as_deref().unwrap_or_default();
        row["folders"] = Value::Array(folders::holding(world, user, envelope));
    }
    row
}

/// `GET /envelopes`.
pub(super) fn list(world: &mut World, call: &Call) -> Outcome {
    let ids = said(call, "envelope_ids").map(comma_separated);
    let transactions = said(call, "transaction_ids").map(comma_separated);
    found(world, call, ids, transactions, ORDER)
}

/// A parameter that says something: an empty one narrows nothing.
fn said<'a>(call: &'a Call, name: &str) -> Option<&'a str> {
    call.query(name).filter(|value| !value.is_empty())
}

/// `PUT /envelopes/status`: the same with the ids in the body.
pub(super) fn by_body(world: &mut World, call: &Call) -> Outcome {
    let given = body(call, Body::EnvelopeIds)?;
    let given_ids = |name: &str| -> Option<Vec<String>> {
        let list = given[name].as_array()?;
        Some(list.iter().filter_map(Value::as_str).map(str::to_owned).collect())
    };
    let choose = |parameter: &str, field: &str| match said(call, parameter) {
        Some("request_body") => given_ids(field),
        Some(list) => Some(comma_separated(list)),
        None => None,
    };
    let ids = choose("envelope_ids", "envelopeIds");
    found(world, call, ids, choose("transaction_ids", "transactionIds"), ORDER)
}

/// A page of the envelopes that the query asks for, among these; sorted by that word of `order_by` unless it has one.
pub(super) fn found(
    world: &mut World,
    call: &Call,
    ids: Option<Vec<String>>,
    transactions: Option<Vec<String>>,
    by: &str,
) -> Outcome {
    let filter = filter::read(world, call, ids, transactions)?;
    let by = By::read(said(call, "order_by").unwrap_or(by))?;
    let is_ascending = match said(call, "order").unwrap_or("desc").to_ascii_lowercase().as_str() {
        "asc" => true,
        "desc" => false,
        _ => return Err(invalid("Query parameter 'order' is asc or desc.")),
    };
    let (start, count) = paging::asked(call, usize::MAX)?;
    let count = count.unwrap_or(MAX_PAGE).min(MAX_PAGE);
    let mut hits = world.envelopes.made(filter.transactions.as_deref());
    hits.retain(|envelope| {
        Some(&envelope.account) == call.account.as_ref() && filter.admits(world, envelope, call.now)
    });
    let mut hits: Vec<(Key, &Envelope)> =
        hits.into_iter().map(|envelope| (by.key(world, envelope), envelope)).collect();
    hits.sort_by(|(one, _), (other, _)| one.cmp(other));
    if !is_ascending {
        hits.reverse();
    }
    let total = hits.len();
    let page: Vec<&Envelope> =
        hits.into_iter().map(|(_, envelope)| envelope).skip(start).take(count).collect();
    let include = Include::parse(call.query("include").unwrap_or_default());
    let rendered: Vec<Value> = page.iter().map(|envelope| row(world, call, envelope, include)).collect();
    let end = (start + page.len()).saturating_sub(1);
    let mut answer = json!({
        "resultSetSize": page.len().to_string(),
        "totalSetSize": total.to_string(),
        "startPosition": start.to_string(),
        "endPosition": end.to_string(),
        "nextUri": if start + page.len() < total { uri(call, start + page.len(), count) } else { String::new() },
        "previousUri": if start > 0 { uri(call, start.saturating_sub(count), count) } else { String::new() },
        "lastQueriedDateTime": vendor_time(call.now),
        "continuationToken": "",
        "envelopes": rendered,
    });
    if filter.transactions.is_some() {
        answer["envelopeTransactionStatuses"] = page
            .iter()
            .map(|envelope| {
                json!({
                    "envelopeId": envelope.id,
                    "status": envelope.status.name(),
                    "transactionId": envelope.transaction,
                })
            })
            .collect();
    }
    Ok(Answer::ok(answer))
}

/// What a list is sorted by.
#[derive(Debug, Clone, Copy)]
enum By {
    Changed,
    Created,
    Expiry,
    Modified,
    /// When it reached this status.
    Reached(&'static str),
    Sender,
    Status,
    Subject,
}

/// The place of one envelope in such an order.
type Key = (Timestamp, String);

impl By {
    /// The vendor lists more words (SPEC: `order_by`): `action_required`, `signer_list`; those are refused.
    fn read(word: &str) -> Result<Self, Refusal> {
        Ok(match word {
            "created" => Self::Created,
            "sent" => Self::Reached("sent"),
            "completed" => Self::Reached("completed"),
            "last_modified" => Self::Modified,
            "status_changed" => Self::Changed,
            "expire" => Self::Expiry,
            "status" => Self::Status,
            "subject" | "envelope_name" => Self::Subject,
            "user_name" => Self::Sender,
            _ => return Err(invalid(&format!("The emulator does not sort by '{word}'."))),
        })
    }

    fn key(self, world: &World, envelope: &Envelope) -> Key {
        let at = |at: Option<Timestamp>| (at.unwrap_or(Timestamp::MIN), String::new());
        let text = |text: &str| (Timestamp::MIN, text.to_lowercase());
        match self {
            Self::Changed => at(Some(envelope.changed)),
            Self::Created => at(Some(envelope.created)),
            Self::Expiry => at(envelope.expires),
            Self::Modified => at(Some(envelope.modified)),
            Self::Reached(status) => at(envelope.reached.get(status).copied()),
            Self::Sender => text(&progress::sender_name(world, envelope)),
            Self::Status => text(envelope.status.name()),
            Self::Subject => text(&envelope.subject),
        }
    }
}

/// The relative address of another page of the same list.
fn uri(call: &Call, start: usize, count: usize) -> String {
    let mut query = Serializer::new(String::new());
    for (name, value) in call.query.iter().filter(|(name, _)| name != "start_position" && name != "count") {
        query.append_pair(name, value);
    }
    query.append_pair("start_position", &start.to_string()).append_pair("count", &count.to_string());
    format!("/{}?{}", call.below_account().join("/"), query.finish())
}

/// `GET …/recipients`.
pub(super) fn recipients(world: &World, call: &Call, id: &str) -> Answer {
    let envelope = &world.envelopes.envelopes[id];
    let all: Vec<&Recipient> = envelope.recipients.iter().collect();
    // `include_anchor_tab_locations` counts only beside it (SPEC), and every tab that is shown says where it lies.
    let with_tabs = call.asks_for("include_tabs");
    Answer::ok(render::recipients(&all, envelope.current_order(), with_tabs))
}

/// `GET …/custom_fields`.
pub(super) fn custom_fields(world: &World, id: &str) -> Answer {
    Answer::ok(render::custom_fields(&world.envelopes.envelopes[id].custom_fields))
}

/// `GET …/notification`.
pub(super) fn notification(world: &World, id: &str) -> Answer {
    Answer::ok(Value::Object(world.envelopes.envelopes[id].notification.clone()))
}

/// `GET …/audit_events`.
pub(super) fn audit_events(world: &World, id: &str) -> Answer {
    let field = |name: &str, value: &str| json!({ "name": name, "value": value });
    let events: Vec<Value> = world.envelopes.envelopes[id]
        .audit
        .iter()
        .map(|line| {
            json!({ "eventFields": [
                field("logTime", &vendor_time(line.at)),
                field("Source", "API"),
                field("UserName", &line.who),
                field("Action", line.action),
                field("Message", &line.message),
                field("EnvelopeStatus", line.status.name()),
                field("ClientIPAddress", "127.0.0.1"),
                field("Information", ""),
                field("InformationLocalized", ""),
                field("GeoLocation", ""),
                field("Language", "en"),
            ] })
        })
        .collect();
    Answer::ok(json!({ "auditEvents": events }))
}

/// `GET …/form_data`.
pub(super) fn form_data(world: &World, id: &str) -> Answer {
    let envelope = &world.envelopes.envelopes[id];
    let data = |recipient: &Recipient| -> Vec<Value> {
        let filled = recipient.tabs.iter().filter(|tab| !tab.label().is_empty());
        filled.map(form_data_item).collect()
    };
    let per_recipient: Vec<Value> = envelope
        .recipients
        .iter()
        .map(|one| {
            let mut row = json!({
                "recipientId": one.id,
                "name": one.name,
                "email": one.email,
                "formData": data(one),
            });
            for (name, at) in [
                ("SentTime", one.sent),
                ("DeliveredTime", one.delivered),
                ("SignedTime", one.signed),
                ("DeclinedTime", one.declined.as_ref().map(|(at, _)| *at)),
            ] {
                if let Some(at) = at {
                    row[name] = json!(vendor_time(at));
                }
            }
            row
        })
        .collect();
    let all: Vec<Value> = envelope.recipients.iter().flat_map(data).collect();
    let sender = render::sender(world, envelope);
    let mut answer = json!({
        "envelopeId": envelope.id,
        "emailSubject": envelope.subject,
        "status": envelope.status.name(),
        "formData": all,
        // Its list is of prefill tabs, which no envelope has here.
        "prefillFormData": {
            "formData": [],
            "senderEmail": sender["email"],
            "senderName": sender["userName"],
            "senderUserId": sender["userId"],
        },
        "recipientFormData": per_recipient,
    });
    if let Some(sent) = envelope.reached.get("sent") {
        answer["sentDateTime"] = json!(vendor_time(*sent));
    }
    Answer::ok(answer)
}

/// A field and its value (SPEC: formDataItem).
fn form_data_item(tab: &Tab) -> Value {
    let mut item = json!({ "name": tab.label(), "value": tab.value });
    if let Some(original) = tab.fields.get(ORIGINAL).and_then(Value::as_str) {
        item[ORIGINAL] = json!(original);
    }
    if let Some(number) = text(&tab.fields, NUMBER) {
        item[NUMBER] = json!(number);
    }
    if tab.list == "listTabs" && !tab.value.is_empty() {
        item["listSelectedValue"] = json!(tab.value);
    }
    item
}
