//! Reading envelopes: one, many, and the small parts.
//!
//! Source: Envelopes:listStatusChanges and Envelopes:listStatus in the vendor's reference.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{
    Outcome, body,
    model::{Envelope, Recipient, Refusal, invalid},
    render::{self, Include},
};
use crate::emulator::{
    faults,
    http::{Answer, Call, vendor_time},
    schema::Body,
    state::World,
};

/// A page of a list (listStatusChanges, `count`).
const MAX_PAGE: usize = 1_000;
/// A transaction id is remembered for so long (SPEC: envelopeDefinition.transactionId).
const TRANSACTION_LIFE: SignedDuration = SignedDuration::from_hours(7 * 24);

/// `GET /envelopes/{id}`.
pub(super) fn one(world: &World, call: &Call, id: &str) -> Answer {
    let include = Include::parse(call.query("include").unwrap_or_default());
    Answer::ok(render::envelope(world, &world.envelopes.envelopes[id], include))
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

fn comma_separated(list: &str) -> Vec<String> {
    list.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
}

/// What a list is narrowed to.
struct Filter {
    ids: Option<Vec<String>>,
    transactions: Option<Vec<String>>,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
    date: String,
    statuses: Vec<String>,
    custom_field: Option<(String, String)>,
    /// Envelopes created after this are not listed yet: the fault `list_lag`.
    listed_until: Timestamp,
}

impl Filter {
    fn admits(&self, envelope: &Envelope, now: Timestamp) -> bool {
        let is_remembered = now.duration_since(envelope.created) < TRANSACTION_LIFE;
        let matches_transaction = |wanted: &Vec<String>| {
            is_remembered && envelope.transaction.as_ref().is_some_and(|id| wanted.contains(id))
        };
        let date = match self.date.as_str() {
            "any" | "changed" => Some(envelope.changed),
            "created" => Some(envelope.created),
            other => envelope.reached.get(other).copied(),
        };
        let status = envelope.status.name();
        envelope.created <= self.listed_until
            && self.ids.as_ref().is_none_or(|ids| ids.iter().any(|id| id.eq_ignore_ascii_case(&envelope.id)))
            && self.transactions.as_ref().is_none_or(matches_transaction)
            && self.from.is_none_or(|from| date.is_some_and(|date| date >= from))
            && self.to.is_none_or(|to| date.is_some_and(|date| date <= to))
            && (self.statuses.is_empty() || self.statuses.iter().any(|one| one == "any" || one == status))
            && self.custom_field.as_ref().is_none_or(|(name, value)| has_custom_field(envelope, name, value))
    }
}

fn has_custom_field(envelope: &Envelope, name: &str, value: &str) -> bool {
    let fields = envelope.custom_fields.values().filter_map(Value::as_array).flatten();
    fields.into_iter().any(|field| {
        let is = |part: &str, wanted: &str| {
            field[part].as_str().is_some_and(|text| text.eq_ignore_ascii_case(wanted))
        };
        is("name", name) && is("value", value)
    })
}

fn found(
    world: &mut World,
    call: &Call,
    ids: Option<Vec<String>>,
    transactions: Option<Vec<String>>,
) -> Outcome {
    let filter = filter(world, call, ids, transactions)?;
    let order = call.query("order_by").unwrap_or("last_modified");
    let is_ascending = call.query("order").is_some_and(|order| order.eq_ignore_ascii_case("asc"));
    let all = &world.envelopes.envelopes;
    let mut hits: Vec<&Envelope> = world
        .envelopes
        .order
        .iter()
        .filter_map(|id| all.get(id))
        .filter(|envelope| {
            Some(&envelope.account) == call.account.as_ref() && filter.admits(envelope, call.now)
        })
        .collect();
    let key = |envelope: &Envelope| match order {
        "created" => envelope.created,
        "sent" | "completed" => envelope.reached.get(order).copied().unwrap_or(Timestamp::MIN),
        _ => envelope.modified,
    };
    hits.sort_by_key(|envelope| key(envelope));
    if !is_ascending {
        hits.reverse();
    }
    let total = hits.len();
    let start: usize = number(call, "start_position")?.unwrap_or(0);
    let count = number(call, "count")?.unwrap_or(MAX_PAGE).min(MAX_PAGE);
    let page: Vec<&Envelope> = hits.into_iter().skip(start).take(count).collect();
    let include = Include::parse(call.query("include").unwrap_or_default());
    let rendered: Vec<Value> =
        page.iter().map(|envelope| render::envelope(world, envelope, include)).collect();
    let end = (start + page.len()).saturating_sub(1);
    let mut answer = json!({
        "resultSetSize": page.len().to_string(),
        "totalSetSize": total.to_string(),
        "startPosition": start.to_string(),
        "endPosition": end.to_string(),
        "nextUri": "",
        "previousUri": "",
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

fn filter(
    world: &mut World,
    call: &Call,
    ids: Option<Vec<String>>,
    transactions: Option<Vec<String>>,
) -> Result<Filter, Refusal> {
    let from = date(call, "from_date")?;
    if from.is_none() && ids.is_none() && transactions.is_none() {
        return Err(invalid(
            "Query parameter 'from_date' must be set to a valid DateTime, or 'envelope_ids' or 'transaction_ids' must be specified.",
        ));
    }
    let custom_field = match call.query("custom_field") {
        None => None,
        Some(pair) => {
            let (name, value) = pair
                .split_once('=')
                .ok_or_else(|| invalid("Query parameter 'custom_field' is written name=value."))?;
            Some((name.to_owned(), value.to_owned()))
        }
    };
    let qualifier = call.query("from_to_status").unwrap_or("changed").to_ascii_lowercase();
    let lag = world
        .faults
        .fire(faults::Kind::ListLag, call.method.as_str(), &call.path)
        .and_then(|fault| fault.delay_ms);
    let lag = SignedDuration::from_millis(i64::try_from(lag.unwrap_or(0)).unwrap_or(i64::MAX));
    let listed_until =
        if lag.is_zero() { Timestamp::MAX } else { call.now.checked_sub(lag).unwrap_or(Timestamp::MIN) };
    Ok(Filter {
        ids,
        transactions,
        from,
        to: date(call, "to_date")?,
        date: qualifier,
        statuses: call
            .query("status")
            .map(comma_separated)
            .unwrap_or_default()
            .iter()
            .map(|s| s.to_ascii_lowercase())
            .collect(),
        custom_field,
        listed_until,
    })
}

/// A date in any of the forms that the vendor's samples use.
fn date(call: &Call, name: &str) -> Result<Option<Timestamp>, Refusal> {
    let Some(text) = call.query(name).filter(|text| !text.is_empty()) else { return Ok(None) };
    let wrong = || invalid(&format!("Query parameter '{name}' must be set to a valid DateTime."));
    let utc = |date: jiff::civil::DateTime| {
        date.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
    };
    // A plus sign in a query that was not escaped arrives as a blank.
    let text = text.replacen(' ', if text.contains('T') { "+" } else { "T" }, 1);
    let stamp = text.parse::<Timestamp>().ok();
    let civil = || text.parse::<jiff::civil::DateTime>().ok().and_then(utc);
    let day = || text.parse::<jiff::civil::Date>().ok().and_then(|day| utc(day.at(0, 0, 0, 0)));
    let american = || {
        let (day, _) = text.split_once('T').unwrap_or((&text, ""));
        jiff::civil::Date::strptime("%m/%d/%Y", day).ok().and_then(|day| utc(day.at(0, 0, 0, 0)))
    };
    stamp.or_else(civil).or_else(day).or_else(american).map(Some).ok_or_else(wrong)
}

fn number(call: &Call, name: &str) -> Result<Option<usize>, Refusal> {
    call.query(name)
        .filter(|text| !text.is_empty())
        .map(|text| text.parse().map_err(|_| invalid(&format!("Query parameter '{name}' must be a number."))))
        .transpose()
}

/// `GET …/recipients`.
pub(super) fn recipients(world: &World, call: &Call, id: &str) -> Answer {
    let is_on = |name: &str| call.query(name).is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let envelope = &world.envelopes.envelopes[id];
    let all: Vec<&Recipient> = envelope.recipients.iter().collect();
    let with_tabs = is_on("include_tabs") || is_on("include_anchor_tab_locations");
    Answer::ok(render::recipients(&all, envelope.current_order(), with_tabs))
}

/// `GET …/custom_fields`.
pub(super) fn custom_fields(world: &World, id: &str) -> Answer {
    Answer::ok(Value::Object(world.envelopes.envelopes[id].custom_fields.clone()))
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
        filled.map(|tab| json!({ "name": tab.label(), "value": tab.value })).collect()
    };
    let per_recipient: Vec<Value> = envelope
        .recipients
        .iter()
        .map(|one| {
            json!({
                "recipientId": one.id,
                "name": one.name,
                "email": one.email,
                "SignedTime": one.signed.map(vendor_time).unwrap_or_default(),
                "formData": data(one),
            })
        })
        .collect();
    let all: Vec<Value> = envelope.recipients.iter().flat_map(data).collect();
    Answer::ok(json!({
        "envelopeId": envelope.id,
        "emailSubject": envelope.subject,
        "status": envelope.status.name(),
        "sentDateTime": envelope.reached.get("sent").map(|at| vendor_time(*at)),
        "formData": all,
        "recipientFormData": per_recipient,
    }))
}
