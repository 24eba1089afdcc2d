//! What is told of, to whom, and in which words: one message an event for each configuration that wants it.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Mishaps, Outgoing};
use crate::emulator::{
    envelopes::{
        model::Envelope,
        render::{self, Include},
    },
    http::{truthy, vendor_time},
    state::World,
};

/// Tells every configuration that wants to know.
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
    let account = world.directory.accounts.get(&envelope.account);
    let is_sender = |user: &str| user.trim().eq_ignore_ascii_case(&envelope.sender);
    for (number, configuration) in account.into_iter().flat_map(|account| &account.connect.configurations) {
        let applies = truthy(configuration.get("allUsers"))
            || configuration["userIds"]
                .as_array()
                .is_some_and(|users| users.iter().filter_map(Value::as_str).any(is_sender));
        if applies && truthy(configuration.get("allowEnvelopePublish")) && wants(configuration, event) {
            wanting.push((*number, configuration.clone()));
        }
    }
    let messages: Vec<Outgoing> = wanting
        .into_iter()
        .map(|(number, configuration)| {
            let address = configuration["url"].as_str().or_else(|| configuration["urlToPublishTo"].as_str());
            let acknowledged = configuration
                .get("requireAcknowledgment")
                .or_else(|| configuration.get("requiresAcknowledgement"));
            Outgoing {
                configuration: number,
                account: envelope.account.clone(),
                address: address.unwrap_or_default().to_owned(),
                body: message(world, envelope, event, recipient, (number, &configuration), now),
                includes_hmac: truthy(configuration.get("includeHMAC")),
                must_be_acknowledged: truthy(acknowledged),
                at: now,
                era: world.era.clone(),
                mishaps: Mishaps::default(),
            }
        })
        .collect();
    world.outgoing.extend(messages);
}

/// The events that can be asked for (SPEC: eventNotification.events), and the one that only
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

/// The first event of a list that does not exist.
pub(in crate::emulator) fn unknown_event(events: &Value) -> Option<&str> {
    let asked = events.as_array().into_iter().flatten().filter_map(Value::as_str);
    asked.into_iter().find(|event| !EVENTS.iter().any(|known| known.eq_ignore_ascii_case(event)))
}

/// Whether a configuration lists this event, in the modern or the legacy way.
fn wants(configuration: &Value, event: &str) -> bool {
    let modern = configuration["events"].as_array().filter(|events| !events.is_empty());
    if let Some(events) = modern {
        return events.iter().filter_map(Value::as_str).any(|wanted| wanted.eq_ignore_ascii_case(event));
    }
    let (list, field, status) = match event.split_once('-') {
        Some(("envelope", status)) => ("envelopeEvents", "envelopeEventStatusCode", status),
        Some(("recipient", status)) => ("recipientEvents", "recipientEventStatusCode", status),
        _ => return false,
    };
    let names = configuration[list].as_array().into_iter().flatten();
    names.filter_map(|item| item.as_str().or_else(|| item[field].as_str())).any(|name| {
        // The older word for an envelope that is made and not sent (SPEC: envelopeEventStatusCode).
        let is_draft = name.eq_ignore_ascii_case("draft") && event == "envelope-created";
        is_draft || name.eq_ignore_ascii_case(status)
    })
}

fn message(
    world: &World,
    envelope: &Envelope,
    event: &str,
    recipient: Option<&str>,
    (number, configuration): (u64, &Value),
    now: Timestamp,
) -> Value {
    let mut data = json!({
        "accountId": envelope.account,
        "userId": envelope.sender,
        "envelopeId": envelope.id,
    });
    if let Some(recipient) = recipient.and_then(|guid| envelope.recipient(guid)) {
        data["recipientId"] = json!(recipient.id);
    }
    let wanted = configuration["eventData"]["includeData"].as_array().filter(|wanted| !wanted.is_empty());
    if let Some(wanted) = wanted {
        let names: Vec<&str> = wanted.iter().filter_map(Value::as_str).collect();
        data["envelopeSummary"] = render::envelope(world, envelope, Include::parse(&names.join(",")));
    }
    json!({
        "event": event,
        "apiVersion": "v2.1",
        "uri": format!("/restapi/v2.1/accounts/{}/envelopes/{}", envelope.account, envelope.id),
        "retryCount": 0,
        "configurationId": number,
        "generatedDateTime": vendor_time(now),
        "data": data,
    })
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
        assert!(!wants(&json!({}), "envelope-voided"));
    }
}
