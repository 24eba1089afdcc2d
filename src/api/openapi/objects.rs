//! Objects of answers. All open: fields may be added.

use serde_json::{Map, Value, json};

use super::{code_schema, id_of, object, reference, section};
use crate::{
    config::EVENT_TYPES,
    domain::{Claim, SignerStatus, SigningStatus},
    store::DeliveryState,
};

pub(super) fn schemas() -> Map<String, Value> {
    let mut all = section([
        ("Signing", signing()),
        ("Signer", signer()),
        ("View", view()),
        ("Link", link()),
        ("Ticket", ticket()),
        ("Moment", moment()),
        ("Problem", problem()),
        ("Fault", fault()),
    ]);
    all.extend(section([
        (
            "Preflight",
            object(
                &["object", "ok", "checks"],
                json!({
            "object": { "const": "preflight" }, "ok": { "type": "boolean" },
            "checks": { "type": "array", "items": { "type": "object", "properties": {
                "check": text(), "ok": { "type": "boolean" } } } },
            "documents": { "type": "array", "description": "The files of the request, as they were read; templates are not listed",
                "items": { "type": "object", "properties": {
                "name": text(), "bytes": { "type": "integer", "minimum": 0 }, "pages": { "type": ["integer", "null"], "minimum": 1, "description": "null: reading it takes too much, and it is left to DocuSign to judge" } } } } }),
            ),
        ),
        ("Sender", sender()),
        ("Check", check()),
        ("Consent", consent()),
        ("Connection", connection()),
        ("Event", event()),
        ("WebhookEndpoint", endpoint()),
        ("WebhookMessage", message()),
        ("Delivery", delivery()),
    ]));
    all
}

fn time() -> Value {
    json!({ "type": "string", "format": "date-time" })
}

fn maybe_time() -> Value {
    json!({ "type": ["string", "null"], "format": "date-time" })
}

fn text() -> Value {
    json!({ "type": "string" })
}

fn maybe_text() -> Value {
    json!({ "type": ["string", "null"] })
}

fn or_null(schema: &str) -> Value {
    json!({ "oneOf": [reference(schema), { "type": "null" }] })
}

fn signing() -> Value {
    let required = ["object", "id", "mode", "status", "sender", "signers", "sequence", "created_at"];
    object(
        &required,
        json!({
            "object": { "const": "signing" },
            "id": id_of("sig"),
            "mode": { "enum": ["test", "live"], "description": "Whether signatures bind" },
            "status": { "enum": SigningStatus::ALL.map(SigningStatus::as_str),
                "description": "Set only by DocuSign's word; an end never moves back" },
            "reference": maybe_text(),
            "sender": text(),
            "signers": { "type": "array", "items": reference("Signer") },
            "provider": { "type": ["object", "null"], "properties": {
                "name": { "const": "docusign" }, "account_id": text(), "envelope_id": text() } },
            "metadata": { "type": "object", "additionalProperties": { "type": "string" } },
            "failure": { "type": ["object", "null"], "properties": {
                "code": code_schema(), "detail": text(), "provider_code": maybe_text() } },
            "sequence": { "type": "integer", "description": "Counts this signing's events" },
            "created_at": time(), "expires_at": maybe_time(),
            "completed_at": { "type": ["string", "null"], "format": "date-time",
                "description": "When everyone had signed, by DocuSign's word and clock, however much later countersign \
                                heard of it. Where DocuSign gives no time, or one that cannot be (before `created_at`, \
                                or in the future), when countersign heard of it" },
            "purge_requested_at": maybe_time(), "purged_at": maybe_time(),
        }),
    )
}

fn signer() -> Value {
    let claims: Vec<&str> = Claim::ALL.iter().map(|claim| claim.as_str()).collect();
    object(
        &["object", "id", "key", "status", "order"],
        json!({
            "object": { "const": "signer" },
            "id": id_of("sgr"),
            "key": text(),
            "status": { "enum": SignerStatus::ALL.map(SignerStatus::as_str) },
            "order": { "type": "integer" },
            "view": { "type": ["object", "null"], "description": "Only in the answer that makes it",
                "properties": { "url": { "type": "string", "format": "uri" }, "expires_at": time() } },
            "link": or_null("Link"),
            "last_return": { "type": ["object", "null"], "description": "What the browser said: a claim, not a fact",
                "properties": { "claim": { "enum": claims }, "at": time() } },
            "sms_check": { "type": "string", "examples": ["passed", "missing"],
                "description": "Of who has signed and was to type in a code by SMS: whether DocuSign says that they did. \
                                `missing`: it tells of none. Left out while it has not told. Unless it is `passed`, \
                                refresh_signing asks" },
        }),
    )
}

fn view() -> Value {
    object(
        &["object", "signer", "url", "expires_at"],
        json!({
            "object": { "const": "view" }, "signer": id_of("sgr"),
            "url": { "type": "string", "format": "uri" }, "expires_at": time(),
        }),
    )
}

fn link() -> Value {
    object(
        &["object", "id", "url"],
        json!({
            "object": { "const": "link" }, "id": id_of("lnk"),
            "url": { "type": "string", "format": "uri" }, "expires_at": maybe_time(),
        }),
    )
}

fn ticket() -> Value {
    object(
        &["object", "link", "ticket", "expires_at"],
        json!({ "object": { "const": "ticket" }, "link": id_of("lnk"), "ticket": text(), "expires_at": time() }),
    )
}

fn moment() -> Value {
    object(
        &["object", "at", "what", "text"],
        json!({
            "object": { "const": "moment" },
            "at": { "type": "string", "format": "date-time",
                "description": "When countersign did it or heard of it, by its machine's clock" },
            "happened_at": { "type": ["string", "null"], "format": "date-time",
                "description": "When it happened, by DocuSign's word and clock, if DocuSign said so" },
            "what": text(), "text": text(),
            "signer": maybe_text(),
            "trace": { "type": ["string", "null"], "description": "DocuSign's trace token, for a support case" },
        }),
    )
}

/// As `problem` writes it (RFC 9457).
fn problem() -> Value {
    let required =
        ["type", "title", "status", "code", "detail", "fix", "retryable", "links", "provider", "request_id"];
    object(
        &required,
        json!({
            "type": { "type": "string", "format": "uri-reference", "description": "A page about the code" },
            "title": text(),
            "status": { "type": "integer" },
            "code": code_schema(),
            "detail": text(),
            "errorCode": { "type": "string", "description": "The `code` again, of calls that are passed through alone: where the official SDKs look for it" },
            "message": { "type": "string", "description": "The `detail` again, of the same calls" },
            "fix": { "type": "string", "description": "The next step" },
            "retryable": { "type": "boolean", "description": "Whether repeating the same call can help" },
            "retry_at": time(),
            "errors": { "type": "array", "items": reference("Fault") },
            "links": { "type": "object", "additionalProperties": { "type": "string" } },
            "provider": { "type": ["object", "null"], "properties": {
                "http_status": { "type": ["integer", "null"] }, "code": maybe_text(), "trace": maybe_text() } },
            "request_id": text(),
        }),
    )
}

fn fault() -> Value {
    object(
        &["pointer", "code", "detail"],
        json!({
            "pointer": { "type": "string", "format": "json-pointer", "examples": ["/signers/0/email"] },
            "code": text(), "detail": text(),
        }),
    )
}

fn sender() -> Value {
    object(
        &["object", "name", "mode", "state", "consent"],
        json!({
            "object": { "const": "sender" }, "name": text(), "mode": { "enum": ["test", "live"] },
            "state": { "enum": ["ready", "degraded", "not_ready"] },
            "consent": { "enum": ["granted", "missing", "unknown"] },
            "like": { "type": ["string", "null"],
                "description": "The sender of the settings that it was made like; null if it is one itself" },
            "connected": { "type": ["boolean", "null"],
                "description": "Whether a customer connected it; null if its user is in the settings. Where that \
                                connection is lost by now, `last_error` says so, and `consent` is missing" },
            "user_id": { "type": ["string", "null"],
                "description": "The DocuSign user that it acts as; null while nobody connected it" },
            "account_id": maybe_text(), "expires_at": maybe_time(),
            "templates": { "type": "object", "additionalProperties": text(),
                "description": "GUIDs of templates by the names that mean these for it alone" },
            "brand": { "type": ["string", "null"],
                "description": "The DocuSign brand that its envelopes wear; null: the account's own" },
            "hmac_key_count": { "type": ["integer", "null"],
                "description": "Connect keys of its own; null if it is in the settings" },
            "runway_seconds": { "type": "integer",
                "description": "How long the account server may stay away before a caller notices" },
            "keys": { "type": "array", "items": { "type": "object", "properties": {
                "fingerprint": maybe_text(), "state": text(), "last_success": maybe_time() } } },
            "last_error": sender_error("What is wrong with it; null: nothing that is known"),
            "next_try": { "type": ["string", "null"], "format": "date-time",
                "description": "When it is tried again by itself; null: nothing is wrong, or the next call looks again" },
        }),
    )
}

fn sender_error(description: &str) -> Value {
    json!({ "type": ["object", "null"], "description": description, "properties": {
        "code": text(), "cause": text(), "detail": text(), "fix": text(), "since": time() } })
}

fn check() -> Value {
    object(
        &["object", "sender", "ok", "checks"],
        json!({
            "object": text(), "sender": text(), "ok": { "type": "boolean" },
            "checks": { "type": "array", "items": { "type": "object", "properties": {
                "check": text(), "ok": { "type": "boolean" }, "code": maybe_text(), "detail": text(),
                "fix": maybe_text() } } },
        }),
    )
}

fn connection() -> Value {
    object(
        &["object", "sender", "state"],
        json!({
            "object": { "const": "connection" }, "sender": text(),
            "state": { "enum": ["connected", "not_connected"] },
            "user_id": maybe_text(), "account_id": maybe_text(), "connected_at": maybe_time(),
            "last_error": sender_error("Why the sender cannot act though it is connected, such as a connection that was \
                                        lost or withdrawn, or an account that is not allowed any more; null: nothing \
                                        that is known, or not connected"),
            "url": { "type": ["string", "null"], "format": "uri",
                "description": "A secret for as long as it lives: whoever opens it connects an account" },
            "expires_at": maybe_time(),
            "organisation_url": { "type": ["string", "null"], "format": "uri",
                "description": "Where an administrator allows it for all users of the customer's organisation" },
        }),
    )
}

fn consent() -> Value {
    let url = || json!({ "type": "string", "format": "uri" });
    object(
        &["object", "sender", "state", "individual_url", "organisation_url", "redirect_uri"],
        json!({
            "object": text(), "sender": text(), "state": { "enum": ["granted", "missing", "unknown"] },
            "individual_url": url(), "organisation_url": url(), "redirect_uri": url(),
            "own_organisation_url": { "type": ["string", "null"], "format": "uri" },
            "forms": { "type": "array", "description": "Which address is for whom, and why it may not be enough",
                "items": { "type": "object", "properties": { "form": text(), "url_field": text(), "who": text(),
                    "counts_for": text(), "fails_when": text() } } },
        }),
    )
}

/// When an event was told.
fn told_at() -> Value {
    json!({ "type": "string", "format": "date-time",
        "description": "When countersign told of it, by its machine's clock: of what it could not hear at once, as while it \
                        was stopped, later than it happened. When everyone had signed is `completed_at`; when anything \
                        happened, `happened_at` in the timeline" })
}

fn event() -> Value {
    object(
        &["object", "id", "type", "timestamp", "data"],
        json!({
            "object": { "const": "event" }, "id": id_of("evt"),
            "type": { "enum": EVENT_TYPES }, "timestamp": told_at(),
            "data": { "type": ["object", "null"], "additionalProperties": true, "description": "The object it is about, as it was then; with `signer_id` (`sgr_…`), of which signer a `signer.…` tells" },
        }),
    )
}

/// As `show::webhook` writes it (Standard Webhooks).
fn message() -> Value {
    object(
        &["type", "timestamp", "data"],
        json!({
            "type": { "enum": EVENT_TYPES }, "timestamp": told_at(),
            "data": { "type": ["object", "null"], "additionalProperties": true,
                "description": "The object it is about, as it was then, with its `id` and `sequence`, and with `signer_id` \
                                (`sgr_…`), of which signer a `signer.…` tells" },
        }),
    )
}

fn endpoint() -> Value {
    object(
        &["object", "id", "url"],
        json!({
            "object": { "const": "webhook_endpoint" },
            "id": { "type": "string", "pattern": "^whk_[0-9a-f]{32}$",
                "description": "Of one that the settings name it is made of that name, the same at every start: a UUIDv8, \
                                and not the UUIDv7 of all other ids, so that it tells no time" },
            "url": { "type": "string", "format": "uri" },
            "events": { "type": "array", "minItems": 1, "items": { "enum": EVENT_TYPES },
                "description": "What it gets; every type there is, if none was named, and those of later versions, too" },
            "secret": { "type": "string", "pattern": "^whsec_", "description": "Only in the answer that makes it" },
            "allow_private": { "type": "boolean" }, "from_settings": { "type": "boolean" },
            "created_at": time(), "rotated_at": maybe_time(), "disabled_at": maybe_time(),
        }),
    )
}

fn delivery() -> Value {
    object(
        &["object", "id"],
        json!({
            "object": { "const": "delivery" }, "id": id_of("dlv"), "event": id_of("evt"), "endpoint": id_of("whk"),
            "status": { "enum": DeliveryState::ALL.map(DeliveryState::as_str) }, "attempts": { "type": "integer" },
            "created_at": time(), "next_attempt_at": maybe_time(), "attempted_at": maybe_time(),
            "response_status": { "type": ["integer", "null"] }, "error": maybe_text(),
        }),
    )
}
