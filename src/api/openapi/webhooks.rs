//! Events out, as OpenAPI's `webhooks` (3.1, section 4.8.1.1): one for each type of event.

use serde_json::{Map, Value, json};

use super::{examples, reference};
use crate::config::EVENT_TYPES;

/// What a receiver must know, for the document and for the page.
pub(super) const ABOUT: &str = "Events are posted to your endpoints as Standard Webhooks say. Verify first: `webhook-signature` holds, after \
     `v1,`, the base64 HMAC-SHA256 of `{webhook-id}.{webhook-timestamp}.{body}` under your secret (the part after \
     `whsec_`, decoded from base64); during a rotation it holds several, separated by blanks. Refuse a timestamp \
     more than five minutes away. `webhook-id` stays the same over all attempts, so keep it to recognise \
     repetitions. Answer with any 2xx within 15 seconds; anything else but 410 is repeated, 10 attempts over 75 hours. \
     410 switches the endpoint off at once, until `PATCH /v1/webhook_endpoints/{id}` with `{\"disabled\": false}` \
     switches it on; one of the settings comes on again with SIGHUP or a restart, too. Events may overtake one \
     another: `data.sequence` counts those of one signing. While you build the receiver, `countersign \
     listen --forward-to URL` posts them to it, signed, from any machine that reaches the API.";

const WHEN: &[(&str, &str)] = &[
    ("budget.low", "The calls of an account are nearly spent for this hour"),
    ("document.available", "The signed documents can be fetched"),
    ("sender.consent_missing", "A sender may not act until somebody consents"),
    ("sender.recovered", "A sender can act again"),
    ("signer.authentication_failed", "A signer failed the SMS code or the access code"),
    ("signer.declined", "A signer refused to sign"),
    ("signer.ready", "It is a signer's turn"),
    ("signer.returned", "A browser came back; a claim, not a fact"),
    ("signer.session_started", "A signer has opened the documents"),
    ("signer.signed", "A signer has signed"),
    ("signing.completed", "Everybody has signed"),
    ("signing.declined", "The signing ended because a signer refused"),
    ("signing.expired", "The signing ran out of time"),
    ("signing.failed", "The signing failed; its `failure` says why"),
    ("signing.opened", "The envelope exists"),
    ("signing.purged", "DocuSign has destroyed the documents"),
    ("signing.uncertain", "The answer to the create was lost; it is being looked up"),
    ("signing.voided", "The signing was called off"),
];

/// One entry for each type of event.
pub(super) fn all() -> Map<String, Value> {
    EVENT_TYPES.iter().map(|kind| ((*kind).to_owned(), json!({ "post": delivery(kind) }))).collect()
}

fn delivery(kind: &str) -> Value {
    let when = WHEN.iter().find(|(name, _)| *name == kind).map_or("", |(_, when)| when);
    let header = |name: &str, about: &str| json!({ "name": name, "in": "header", "required": true, "description": about, "schema": { "type": "string" } });
    json!({
        "operationId": format!("on_{}", kind.replace('.', "_")),
        "tags": ["events"],
        "summary": when,
        "description": ABOUT,
        "security": [],
        "parameters": [
            header("webhook-id", "The event's id, `evt_…`"),
            header("webhook-timestamp", "Seconds since 1970, of this attempt"),
            header("webhook-signature", "`v1,` and base64; several during a rotation, separated by blanks"),
        ],
        "requestBody": { "required": true, "content": { "application/json": {
            "schema": reference("WebhookMessage"),
        } } },
        "responses": {
            "2XX": { "description": "Taken" },
            "410": { "description": "No more of these: the endpoint is switched off" },
        },
    })
}

/// A message as it is posted.
pub(super) fn example() -> Value {
    let mut data = examples::signing();
    data["status"] = "completed".into();
    data["signers"][0]["status"] = "signed".into();
    data["sequence"] = 5.into();
    data["completed_at"] = "2026-06-01T12:07:41Z".into();
    json!({ "type": "signing.completed", "timestamp": "2026-06-01T12:07:41Z", "data": data })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_says_when_it_comes() {
        let named: Vec<&str> = WHEN.iter().map(|(kind, _)| *kind).collect();
        assert_eq!(named, EVENT_TYPES);
    }
}
