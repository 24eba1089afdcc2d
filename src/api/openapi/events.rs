//! Events out: the log, the endpoints, the deliveries.

use serde_json::{Map, Value, json};

use super::{Operation, cursor_of, id_of, list_of, reference, section};
use crate::events::log::MAX_PAGE;

pub(super) fn paths() -> Map<String, Value> {
    section([
        ("/v1/events", json!({ "get": events() })),
        ("/v1/webhook_endpoints", json!({ "get": endpoints(), "post": create_endpoint() })),
        (
            "/v1/webhook_endpoints/{id}",
            json!({ "get": of_endpoint("get_webhook_endpoint", "Reads an endpoint")
            .answer(200, "The endpoint, without its secret", reference("WebhookEndpoint")).build(),
            "patch":
            of_endpoint("change_webhook_endpoint", "Switches an endpoint off, or on again")
            .about(
                "A receiver that answers 410 is switched off, too. What happens while it is off is only in the log. One of the \
                 settings can be switched on here, and not off.",
            )
            .body("WebhookEndpointChange", json!({ "disabled": false }))
            .codes(&["forbidden"])
            .answer(200, "The endpoint", reference("WebhookEndpoint")).build(),
            "delete":
            of_endpoint("delete_webhook_endpoint", "Takes an endpoint away; its waiting deliveries end")
            .answer_as(204, json!({ "description": "It is gone" })).build() }),
        ),
        (
            "/v1/webhook_endpoints/{id}/rotate",
            json!({ "post":
            of_endpoint("rotate_webhook_secret", "A new secret; the last one goes on signing for a day, and any before it ends at once")
            .optional_body("Empty", json!({}))
            .answer(200, "The endpoint with its new secret, shown this once", reference("WebhookEndpoint")).build() }),
        ),
        ("/v1/deliveries", json!({ "get": deliveries() })),
        (
            "/v1/deliveries/{id}/replay",
            json!({ "post":
            Operation::new("events", "replay_delivery", "Delivers again, with the same event id")
            .path("id", "`dlv_…`")
            .optional_body("Empty", json!({}))
            .codes(&["endpoint_disabled"])
            .answer(200, "It is queued", reference("Delivery")).build() }),
        ),
        ("/.well-known/jwks.json", json!({ "get": keys() })),
    ])
}

fn limit(operation: Operation) -> Operation {
    let schema = json!({ "type": "integer", "minimum": 1, "maximum": MAX_PAGE, "default": 20 });
    operation.query("limit", "Length of a page", schema).codes(&["invalid_request"])
}

fn of_endpoint(id: &'static str, summary: &'static str) -> Operation {
    Operation::new("events", id, summary).path("id", "`whk_…`")
}

fn events() -> Value {
    let both = json!({
        "description": "Events, oldest first",
        "content": {
            "application/json": { "schema": list_of("Event") },
            "text/event-stream": { "schema": { "type": "string" } },
        },
    });
    limit(Operation::new("events", "list_events", "The log of this caller's events"))
        .about(
            "With `Accept: text/event-stream` a stream that goes on with what happens. It ends after an hour, and when \
             the daemon reads its settings again or stops: open it again with the last `id` in `Last-Event-ID`, also \
             one that came without data. Browsers' `EventSource` does so by itself.",
        )
        .query("signing", "Only those of this signing", id_of("sig"))
        .query("after", "Only those after this event; `next_cursor` of a page serves. As in other lists it may be called `cursor`", cursor_of("evt"))
        .header("Last-Event-ID", "Streams: the last `id` that came", false, json!({ "type": "string" }))
        .answer_as(200, both)
        .build()
}

fn endpoints() -> Value {
    Operation::new("events", "list_webhook_endpoints", "Where this caller's events go")
        .answer(200, "Endpoints, without their secrets", list_of("WebhookEndpoint"))
        .build()
}

fn create_endpoint() -> Value {
    Operation::new("events", "create_webhook_endpoint", "Adds a receiver (Standard Webhooks)")
        .body(
            "CreateWebhookEndpoint",
            json!({ "url": "https://www.example.com/hooks/signing", "events": ["signing.completed"] }),
        )
        .answer(201, "The endpoint with its secret, shown this once", reference("WebhookEndpoint"))
        .link(201, "read", "get_webhook_endpoint", json!({ "id": "$response.body#/id" }))
        .link(201, "rotate", "rotate_webhook_secret", json!({ "id": "$response.body#/id" }))
        .link(201, "change", "change_webhook_endpoint", json!({ "id": "$response.body#/id" }))
        .link(201, "remove", "delete_webhook_endpoint", json!({ "id": "$response.body#/id" }))
        .build()
}

fn deliveries() -> Value {
    limit(Operation::new("events", "list_deliveries", "How deliveries went, newest first"))
        .query("cursor", "`next_cursor` of the page before", cursor_of("dlv"))
        .answer(200, "A page", list_of("Delivery"))
        .link(200, "replay", "replay_delivery", json!({ "id": "$response.body#/data/0/id" }))
        .build()
}

fn keys() -> Value {
    json!({
        "operationId": "result_keys", "tags": ["about"], "security": [],
        "summary": "The public keys that check `result` tokens",
        "responses": { "200": {
            "description": "A JSON Web Key Set (RFC 7517)",
            "content": { "application/jwk-set+json": { "schema": { "type": "object", "required": ["keys"],
                "properties": { "keys": { "type": "array", "items": { "type": "object" } } } } } },
        } },
    })
}
