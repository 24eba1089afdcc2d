//! Reading envelopes: one, many, and the small parts.
//!
//! Source: Envelopes:listStatusChanges and Envelopes:listStatus in the vendor's reference.

use jiff::Timestamp;
use serde_json::{Value, json};
use url::form_urlencoded::Serializer;

use super::{
    Outcome, body,
    filter::{self, comma_separated},
    model::{Envelope, Recipient, Refusal, Tab, invalid, text},
    progress::{self, ORIGINAL},
    render::{self, Include},
    visibility,
};
use crate::emulator::{
    http::{Answer, Call, vendor_time},
    schema::Body,
    state::World,
};

/// A page of a list (listStatusChanges, `count`).
const MAX_PAGE: usize = 1_000;

/// `GET /envelopes/{id}`.
pub(super) fn one(world: &World, call: &Call, id: &str) -> Answer {
    let include = Include::parse(call.query("include").unwrap_or_default());
    let envelope = visibility::to_caller(world, call, &world.envelopes.envelopes[id]);
    Answer::ok(render::envelope(world, &envelope, include))
}

/// `GET /envelopes`.
pub(super) fn list(world: &mut World, call: &Call) -> Outcome {
    let ids = call.query("envelope_ids").map(comma_separated);
    let transactions = call.query("transaction_ids").map(comma_separated);
    found(world, call, ids, transactions)
}

/// `PUT /envelopes/status`: the same with the ids in the body.
pub(super) fn by_body(world: &mut World, call: &Call) -> Outcome {
    let given = body(call, Body::EnvelopeIds)?;
    let ids = |name: &str| -> Option<Vec<String>> {
        let list = given[name].as_array()?;
        Some(list.iter().filter_map(Value::as_str).map(str::to_owned).collect())
    };
    let choose = |parameter: &str, field: &str| match call.query(parameter) {
        Some("request_body") => ids(field),
        Some(list) => Some(comma_separated(list)),
        None => None,
    };
    found(world, call, choose("envelope_ids", "envelopeIds"), choose("transaction_ids", "transactionIds"))
}

/// A page of the envelopes that the query asks for, among these.
pub(super) fn found(
    world: &mut World,
    call: &Call,
    ids: Option<Vec<String>>,
    transactions: Option<Vec<String>>,
) -> Outcome {
    let filter = filter::read(world, call, ids, transactions)?;
    let order = call.query("order_by").filter(|order| !order.is_empty()).unwrap_or("last_modified");
    let is_ascending = call.query("order").is_some_and(|order| order.eq_ignore_ascii_case("asc"));
    let mut hits = world.envelopes.made(filter.transactions.as_deref());
    hits.retain(|envelope| {
        Some(&envelope.account) == call.account.as_ref() && filter.admits(world, envelope, call.now)
    });
    let keys: Vec<Key> = hits.iter().map(|envelope| key(world, envelope, order)).collect::<Result<_, _>>()?;
    let mut hits: Vec<(Key, &Envelope)> = keys.into_iter().zip(hits).collect();
    hits.sort_by(|(one, _), (other, _)| one.cmp(other));
    if !is_ascending {
        hits.reverse();
    }
    let total = hits.len();
    let start: usize = number(call, "start_position")?.unwrap_or(0);
    let count = number(call, "count")?.unwrap_or(MAX_PAGE).min(MAX_PAGE);
    let page: Vec<&Envelope> =
        hits.into_iter().map(|(_, envelope)| envelope).skip(start).take(count).collect();
    let include = Include::parse(call.query("include").unwrap_or_default());
    let rendered: Vec<Value> = page
        .iter()
        .map(|envelope| render::envelope(world, &visibility::to_caller(world, call, envelope), include))
        .collect();
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
type Key = (Timestamp, String);

/// The key of one envelope. The vendor lists more words (SPEC: `order_by`); those are refused.
fn key(world: &World, envelope: &Envelope, order: &str) -> Result<Key, Refusal> {
    let at = |at: Timestamp| Ok((at, String::new()));
    let text = |text: &str| Ok((Timestamp::MIN, text.to_lowercase()));
    match order {
        "created" => at(envelope.created),
        "sent" | "completed" => at(envelope.reached.get(order).copied().unwrap_or(Timestamp::MIN)),
        "last_modified" => at(envelope.modified),
        "status_changed" => at(envelope.changed),
        "expire" => at(envelope.expires.unwrap_or(Timestamp::MIN)),
        "status" => text(envelope.status.name()),
        "subject" | "envelope_name" => text(&envelope.subject),
        "user_name" => text(&progress::sender_name(world, envelope)),
        _ => Err(invalid(&format!("The emulator does not sort by '{order}'."))),
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

fn number(call: &Call, name: &str) -> Result<Option<usize>, Refusal> {
    call.query(name)
        .filter(|text| !text.is_empty())
        .map(|text| text.parse().map_err(|_| invalid(&format!("Query parameter '{name}' must be a number."))))
        .transpose()
}

/// `GET …/recipients`.
pub(super) fn recipients(world: &World, call: &Call, id: &str) -> Answer {
    let envelope = &world.envelopes.envelopes[id];
    let all: Vec<&Recipient> = envelope.recipients.iter().collect();
    let with_tabs = call.asks_for("include_tabs") || call.asks_for("include_anchor_tab_locations");
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
    let mut answer = json!({
        "envelopeId": envelope.id,
        "emailSubject": envelope.subject,
        "status": envelope.status.name(),
        "formData": all,
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
    if let Some(number) = text(&tab.fields, "numericalValue") {
        item["numericalValue"] = json!(number);
    }
    if tab.list == "listTabs" && !tab.value.is_empty() {
        item["listSelectedValue"] = json!(tab.value);
    }
    item
}
