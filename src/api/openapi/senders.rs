//! The users we act as.

use serde_json::{Map, Value, json};

use super::{Operation, list_of, reference, section};

const UPSTREAM: [&str; 7] = [
    "clock_skew",
    "consent_required",
    "key_rejected",
    "provider_rate_limited",
    "provider_unavailable",
    "sender_not_in_account",
    "sender_unknown_user",
];

pub(super) fn paths() -> Map<String, Value> {
    section([
        (
            "/v1/senders",
            json!({ "get": Operation::new("senders", "list_senders", "The senders this caller may use")
            .answer(200, "All of them", list_of("Sender")).build() }),
        ),
        (
            "/v1/senders/{name}/check",
            json!({ "post":
            of_sender("check_sender", "Walks the chain from the key to the account, and says what is wrong")
            .answer(200, "What was looked at, and what is wrong", reference("Check"))
            .codes(&UPSTREAM).build() }),
        ),
        (
            "/v1/senders/{name}/consent",
            json!({ "get":
            of_sender("sender_consent", "Where to give consent, and whether it was given")
                .query(
                    "redirect_uri",
                    "Without a public listener: the registered address that the browser goes back to",
                    json!({ "type": "string", "format": "uri", "pattern": "^https?://", "maxLength": 2048 }),
                )
                .codes(&["invalid_request"])
            .answer(200, "The links", reference("Consent")).build() }),
        ),
        ("/v1/senders/{name}/esign/{path}", forward()),
    ])
}

fn of_sender(id: &'static str, summary: &'static str) -> Operation {
    Operation::new("senders", id, summary)
        .path("name", "The sender's name in the settings")
        .codes(&["sender_unknown"])
}

/// The same operation under every method that is let through.
fn forward() -> Value {
    let operation = |id| {
        of_sender(id, "Passes an allowed call through to the eSignature API as that sender")
            .about(
                "For official SDKs: give this as their base path, and a caller key as their access token. \
                 Envelopes, recipients, recipient views, documents, templates (read) and the sender's own \
                 signatures are allowed; the answer is DocuSign's.",
            )
            .path("path", "`restapi/v2.1/accounts/{accountId}/…`, as at DocuSign")
            .answer_as(200, json!({ "description": "DocuSign's answer, of whatever status and type" }))
            .codes(&["payload_too_large", "polling_budget"])
            .codes(&UPSTREAM)
            .build()
    };
    json!({
        "get": operation("forward_get"),
        "post": operation("forward_post"),
        "put": operation("forward_put"),
        "delete": operation("forward_delete"),
    })
}
