//! What is told of, to whom, and in which words: one message an event for each configuration that wants it.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{Mishaps, Outgoing};
use crate::emulator::{
    envelopes::{
        documents::Papers,
        folders,
        model::Envelope,
        render::{self, Include},
    },
    http::{truthy, vendor_time},
    state::World,
};

/// Tells every configuration that wants to know of an envelope.
pub(in crate::emulator) fn emit(
    world: &mut World,
    id: &str,
    event: &str,
    recipient: Option<&str>,
    now: Timestamp,
) {
    let Some(envelope) = world.envelopes.envelopes.get(id) else { return };
    let mut wanting: Vec<(u64, Value)> =
        envelope.hooks.iter().filter(|(_, hook)| wants(hook, event)).cloned().collect();
    wanting.extend(of_account(world, &envelope.account, &envelope.sender, event));
    let mut papers = None;
    let messages = wanting.into_iter().map(|configuration| {
        let data = data(world, envelope, recipient, &configuration.1);
        let shows_documents = included(&configuration.1).is_some_and(|include| include.documents);
        let uri = format!("/restapi/v2.1/accounts/{}/envelopes/{}", envelope.account, envelope.id);
        let mut message = outgoing(world, configuration, event, &uri, &data, now);
        if shows_documents {
            let papers = papers.get_or_insert_with(|| Arc::new(Papers::of(world, envelope)));
            message.papers = Some(Arc::clone(papers));
        }
        message
    });
    let messages: Vec<Outgoing> = messages.collect();
    world.outgoing.extend(messages);
}

/// Tells the account's configurations of a template. The vendor publishes no such message: its `data` is our reading.
pub(in crate::emulator) fn emit_of_template(world: &mut World, id: &str, event: &str, now: Timestamp) {
    let Some(template) = world.envelopes.templates.get(id) else { return };
    let wanting = of_account(world, &template.account, &template.owner, event);
    let messages = wanting.into_iter().map(|configuration| {
        let data = json!({ "accountId": template.account, "userId": template.owner, "templateId": id });
        let uri = format!("/restapi/v2.1/accounts/{}/templates/{id}", template.account);
        outgoing(world, configuration, event, &uri, &data, now)
    });
    let messages: Vec<Outgoing> = messages.collect();
    world.outgoing.extend(messages);
}

/// The configurations of an account that want to know of what this user did. SPEC says nothing of `allUsersExcept`: that
/// its list names who is left out is our reading.
fn of_account(world: &World, account: &str, user: &str, event: &str) -> Vec<(u64, Value)> {
    let account = world.directory.accounts.get(account);
    let is_user = |listed: &str| listed.trim().eq_ignore_ascii_case(user);
    let all = account.into_iter().flat_map(|account| &account.connect.configurations);
    let wanting = all.filter(|(_, configuration)| {
        let users = configuration["userIds"].as_array().into_iter().flatten();
        let is_listed = users.filter_map(Value::as_str).any(is_user);
        let applies = if truthy(configuration.get("allUsersExcept")) {
            !is_listed
        } else {
            is_listed || truthy(configuration.get("allUsers"))
        };
        applies && truthy(configuration.get("allowEnvelopePublish")) && wants(configuration, event)
    });
    wanting.map(|(number, configuration)| (*number, configuration.clone())).collect()
}

/// One message for one configuration.
fn outgoing(
    world: &World,
    (number, configuration): (u64, Value),
    event: &str,
    uri: &str,
    data: &Value,
    now: Timestamp,
) -> Outgoing {
    let address = configuration["url"].as_str().or_else(|| configuration["urlToPublishTo"].as_str());
    let acknowledged =
        configuration.get("requireAcknowledgment").or_else(|| configuration.get("requiresAcknowledgement"));
    Outgoing {
        configuration: number,
        account: data["accountId"].as_str().unwrap_or_default().to_owned(),
        address: address.unwrap_or_default().to_owned(),
        body: json!({
            "event": event,
            "apiVersion": "v2.1",
            "uri": uri,
            "retryCount": 0,
            "configurationId": number,
            "generatedDateTime": vendor_time(now),
            "data": data,
        }),
        papers: None,
        includes_hmac: truthy(configuration.get("includeHMAC")),
        must_be_acknowledged: truthy(acknowledged),
        at: now,
        era: world.era.clone(),
        mishaps: Mishaps::default(),
    }
}

/// The events that can be asked for, also those that never happen here: `deploy/faults/EMULATED.md` names these (SPEC: eventNotification.events), and the one that only
/// platform/webhooks/connect/event-triggers has: `envelope-created`.
const EVENTS: &[&str] = &[
    "click-agreed",
    "click-declined",
    "envelope-completed",
    "envelope-corrected",
    "envelope-created",
    "envelope-declined",
    "envelope-deleted",
    "envelope-delivered",
    "envelope-discard",
    "envelope-purge",
    "envelope-resent",
    "envelope-sent",
    "envelope-voided",
    "recipient-authenticationfailed",
    "recipient-autoresponded",
    "recipient-completed",
    "recipient-declined",
    "recipient-delegate",
    "recipient-delivered",
    "recipient-finish-later",
    "recipient-reassign",
    "recipient-resent",
    "recipient-sent",
    "template-created",
    "template-deleted",
    "template-modified",
];

/// The older lists of events: the member, the member of its items that has the word, and the words (SPEC: envelopeEvent,
/// recipientEvent). Clients in the field ask for `Signed`, too: a status (concepts/envelopes/status-codes), but one that
/// lasts no time here and so has no event.
const OLDER: [(&str, &str, &[&str]); 2] = [
    (
        "envelopeEvents",
        "envelopeEventStatusCode",
        &["Draft", "Sent", "Delivered", "Signed", "Completed", "Declined", "Voided"],
    ),
    (
        "recipientEvents",
        "recipientEventStatusCode",
        &["Sent", "Delivered", "Signed", "Completed", "Declined", "AuthenticationFailed", "AutoResponded"],
    ),
];

/// The first event that a configuration asks for and that does not exist.
pub(in crate::emulator) fn unknown_event(configuration: &Map<String, Value>) -> Option<&str> {
    let is_known = |known: &[&str], event: &str| known.iter().any(|one| one.eq_ignore_ascii_case(event));
    let events = configuration.get("events").and_then(Value::as_array).into_iter().flatten();
    let unknown = events.filter_map(Value::as_str).find(|event| !is_known(EVENTS, event));
    unknown.or_else(|| {
        OLDER.into_iter().find_map(|(list, field, known)| {
            older_words(configuration.get(list), field).find(|event| !is_known(known, event))
        })
    })
}

/// The words of an older list: of a configuration bare, of an envelope's notification in objects.
fn older_words<'v>(list: Option<&'v Value>, field: &str) -> impl Iterator<Item = &'v str> {
    let items = list.and_then(Value::as_array).into_iter().flatten();
    items.filter_map(move |item| item.as_str().or_else(|| item[field].as_str()))
}

/// Whether a configuration lists this event, in the modern or the legacy way.
fn wants(configuration: &Value, event: &str) -> bool {
    let modern = configuration["events"].as_array().filter(|events| !events.is_empty());
    if let Some(events) = modern {
        return events.iter().filter_map(Value::as_str).any(|wanted| wanted.eq_ignore_ascii_case(event));
    }
    let [envelope, recipient] = OLDER;
    let ((list, field, _), status) = match event.split_once('-') {
        Some(("envelope", status)) => (envelope, status),
        Some(("recipient", status)) => (recipient, status),
        _ => return false,
    };
    older_words(configuration.get(list), field).any(|name| {
        // The older word for an envelope that is made and not sent (SPEC: envelopeEventStatusCode).
        let is_draft = name.eq_ignore_ascii_case("draft") && event == "envelope-created";
        is_draft || name.eq_ignore_ascii_case(status)
    })
}

/// The envelope in a message, with what the configuration wants to see of it.
fn data(world: &World, envelope: &Envelope, recipient: Option<&str>, configuration: &Value) -> Value {
    let mut data = json!({
        "accountId": envelope.account,
        "userId": envelope.sender,
        "envelopeId": envelope.id,
    });
    if let Some(recipient) = recipient.and_then(|guid| envelope.recipient(guid)) {
        data["recipientId"] = json!(recipient.id);
    }
    if let Some(include) = included(configuration) {
        let mut summary = render::envelope(world, envelope, include);
        if include.folders {
            // The sender's, whose envelope it is told of: CONNECT shows one list, and nobody reads it by a call.
            summary["folders"] = Value::Array(folders::holding(world, &envelope.sender, envelope));
        }
        if hides_the_reason(configuration)
            && let Some(fields) = summary.as_object_mut()
        {
            fields.remove("voidedReason");
        }
        data["envelopeSummary"] = summary;
    }
    data
}

/// What a configuration wants to see of an envelope; none if it wants to see nothing.
fn included(configuration: &Value) -> Option<Include> {
    let wanted = configuration["eventData"]["includeData"].as_array().filter(|wanted| !wanted.is_empty())?;
    let names: Vec<&str> = wanted.iter().filter_map(Value::as_str).collect();
    Some(Include::parse(&names.join(",")))
}

/// Whether the reason of a void is kept back: SPEC says what is told with the switch on, and not what with none.
fn hides_the_reason(configuration: &Value) -> bool {
    configuration["includeEnvelopeVoidReason"].as_str().is_some_and(|said| said.eq_ignore_ascii_case("false"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_chosen_by_either_kind_of_list() {
        let modern = json!({ "events": ["envelope-completed", "recipient-sent"] });
        assert!(wants(&modern, "envelope-completed") && !wants(&modern, "envelope-sent"));
        let legacy = json!({
            "envelopeEvents": [{ "envelopeEventStatusCode": "Completed" }],
            "recipientEvents": [{ "recipientEventStatusCode": "AuthenticationFailed" }],
        });
        assert!(wants(&legacy, "envelope-completed") && wants(&legacy, "recipient-authenticationfailed"));
        assert!(!wants(&legacy, "recipient-completed"));
        assert!(wants(&json!({ "envelopeEvents": ["Voided"] }), "envelope-voided"));
        let momentary = json!({ "envelopeEvents": ["signed"], "recipientEvents": ["Signed"] });
        assert!(unknown_event(momentary.as_object().unwrap()).is_none());
        assert!(!wants(&momentary, "envelope-completed") && !wants(&momentary, "recipient-completed"));
        assert!(!wants(&json!({}), "envelope-voided"));
    }
}
