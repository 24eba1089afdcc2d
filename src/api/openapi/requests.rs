//! Bodies of requests. All closed: what is not here is refused.

use serde_json::{Map, Value, json};

use super::{closed, reference, section};
use crate::{
    api::made_senders::{MAX_KEY, MAX_KEYS, MAX_TEMPLATES},
    config::EVENT_TYPES,
    domain::{
        Language, PurgeScope,
        draft::{
            AUTHENTICATION_METHODS, MAX_ACCESS_CODE, MAX_DOCUMENTS, MAX_ENTRIES, MAX_FRAME_ANCESTORS,
            MAX_MESSAGE, MAX_NAME, MAX_RETURN_URL, MAX_SIGNERS, MAX_SUBJECT, MAX_TEXT,
        },
        fact::MAX_REASON,
    },
};

/// What is surely within the longest life, 365 days, in whichever unit.
const LIFE: &str =
    "^([1-9][0-9]{0,6}s|[1-9][0-9]{0,4}m|[1-9][0-9]{0,2}h|([1-9][0-9]?|[12][0-9]{2}|3[0-5][0-9]|36[0-5])d)$";

pub(super) fn schemas() -> Map<String, Value> {
    section([
        ("Empty", closed(&[], json!({}))),
        (
            "NewLink",
            closed(
                &[],
                json!({ "expires_in": maybe(json!({ "type": "string", "pattern": LIFE, "examples": ["2d"] })) }),
            ),
        ),
        ("CreateSigning", create_signing()),
        ("NewDocument", new_document()),
        ("TemplateDocument", template_document()),
        ("FileDocument", file_document()),
        ("NewSigner", new_signer()),
        ("NewSender", new_sender()),
        ("SenderChange", sender_change()),
        ("VoidSigning", closed(&["reason"], json!({ "reason": text(1, MAX_REASON) }))),
        (
            "PurgeSigning",
            closed(
                &[],
                json!({ "scope": maybe(json!({
            "enum": PurgeScope::ALL.map(PurgeScope::as_str), "default": "documents",
            "description": "What is destroyed besides the documents: tabs and attachments' metadata; names and addresses" })) }),
            ),
        ),
        ("CorrectAccessCode", closed(&["access_code"], json!({ "access_code": access_code() }))),
        ("CorrectPhone", closed(&["phone"], json!({ "phone": reference("PhoneNumber") }))),
        (
            "CreateWebhookEndpoint",
            closed(
                &["url"],
                json!({
                    "url": { "type": "string", "format": "uri", "maxLength": 2048 },
                    "events": maybe(json!({
                        "type": "array", "minItems": 1, "uniqueItems": true, "description": "Left out: all",
                        "items": { "type": "string", "enum": EVENT_TYPES },
                    })),
                    "allow_private": maybe(json!({ "type": "boolean",
                        "description": "Whether it may be at a private address: with the emulator only" })),
                }),
            ),
        ),
        (
            "WebhookEndpointChange",
            closed(
                &["disabled"],
                json!({ "disabled": { "type": "boolean", "description": "Whether nothing is sent there" } }),
            ),
        ),
        (
            "PhoneNumber",
            json!({
                "type": "string", "format": "e164", "pattern": "^\\+[1-9][0-9]{7,14}$",
                "description": "E.164, with an assigned country code",
                "examples": ["+4915112345678"],
            }),
        ),
    ])
}

fn new_sender() -> Value {
    closed(
        &["name", "like"],
        json!({
            "name": { "type": "string", "pattern": "^[a-z0-9][a-z0-9_-]{0,63}$" },
            "like": { "type": "string", "description": "A sender of the settings, of sender_patterns" },
            "user_id": maybe(json!({ "type": "string", "format": "uuid",
                "description": "The user it acts as; none if it is like a connectable one" })),
            "account": account(),
            "hmac_keys": hmac_keys(),
            "templates": templates(),
            "brand": brand(),
        }),
    )
}

fn sender_change() -> Value {
    closed(
        &[],
        json!({
            "user_id": maybe(json!({ "type": "string", "format": "uuid" })),
            "account": account(),
            "hmac_keys": hmac_keys(),
            "templates": templates(),
            "brand": brand(),
        }),
    )
}

fn hmac_keys() -> Value {
    maybe(json!({ "type": "array", "maxItems": MAX_KEYS, "writeOnly": true,
        "items": { "type": "string", "minLength": 1, "maxLength": MAX_KEY, "pattern": "^[!-~]+$" },
        "description": "Connect keys of the sender's account, believed of its envelopes alone; [] removes them" }))
}

fn templates() -> Value {
    maybe(json!({ "type": "object", "maxProperties": MAX_TEMPLATES,
        "propertyNames": { "pattern": "^[a-z0-9][a-z0-9_-]{0,63}$" },
        "additionalProperties": { "type": "string", "format": "uuid" },
        "description": "Templates of the sender's account by names that mean these for it alone, and go before those \
                        of the settings; all of them: {} removes them. Where `templates` limits a caller, such a name \
                        counts as the GUID it stands for" }))
}

fn brand() -> Value {
    maybe(json!({ "type": "string", "format": "uuid",
        "description": "The DocuSign brand that its envelopes wear; null: the account's own" }))
}

fn account() -> Value {
    maybe(json!({ "type": "string", "minLength": 1, "maxLength": 100,
        "description": "Id or name; null: the user's default, or what a customer chooses" }))
}

/// What DocuSign takes for one: no control characters, and nothing that its pages could take for markup.
fn access_code() -> Value {
    json!({
        "type": "string", "minLength": 1, "maxLength": MAX_ACCESS_CODE,
        "pattern": "^[^\\u0000-\\u001f\\u007f-\\u009f<>&#]+$",
    })
}

fn text(least: usize, most: usize) -> Value {
    json!({ "type": "string", "minLength": least, "maxLength": most })
}

/// Fields that may be left out may also be null.
fn maybe(mut schema: Value) -> Value {
    if let Some(kind) = schema.get("type").cloned() {
        schema["type"] = json!([kind, "null"]);
        return schema;
    }
    json!({ "oneOf": [schema, { "type": "null" }] })
}

fn entries(about: &str) -> Value {
    maybe(json!({
        "type": "object", "maxProperties": MAX_ENTRIES, "description": about,
        "additionalProperties": { "type": "string", "maxLength": MAX_TEXT },
    }))
}

fn create_signing() -> Value {
    closed(
        &["sender", "documents", "signers"],
        json!({
            "reference": maybe(json!({ "type": "string", "minLength": 1, "maxLength": 255,
                "description": "Yours; GET /v1/signings?reference= finds it" })),
            "sender": { "type": "string", "description": "A name of the settings" },
            "subject": maybe(text(1, MAX_SUBJECT)),
            "message": maybe(text(0, MAX_MESSAGE)),
            "documents": { "type": "array", "minItems": 1, "maxItems": MAX_DOCUMENTS, "items": reference("NewDocument") },
            "signers": { "type": "array", "minItems": 1, "maxItems": MAX_SIGNERS, "items": reference("NewSigner") },
            "view": maybe(json!({ "type": "boolean",
                "description": "Whether the answer holds a view for the first signer; true if left out" })),
            "locale": maybe(json!({ "type": "string", "description": "A language of the signing pages",
                "examples": Language::ALL.map(Language::tag) })),
            "expires_in": maybe(json!({ "type": "string", "pattern": "^[0-9]+[smhd]$", "examples": ["21d"] })),
            "frame_ancestors": maybe(json!({ "type": "array", "maxItems": MAX_FRAME_ANCESTORS,
                "items": { "type": "string", "format": "uri" },
                "description": "Origins that may show the signing pages in a frame, without a path or a wildcard" })),
            "metadata": entries("Kept with the signing and given back"),
        }),
    )
}

/// One of two forms, each closed, so that generated clients have a type for each.
fn new_document() -> Value {
    json!({ "oneOf": [reference("TemplateDocument"), reference("FileDocument")] })
}

fn template_document() -> Value {
    closed(
        &["template"],
        json!({ "template": { "type": "string", "description": "A name of the settings, or a template's GUID" } }),
    )
}

fn file_document() -> Value {
    let kinds = ["sign", "initial", "date", "name", "email", "company", "text", "checkbox"];
    closed(
        &["name", "content_base64"],
        json!({
            "name": text(1, MAX_NAME),
            "content_base64": { "type": "string", "contentEncoding": "base64", "contentMediaType": "application/pdf" },
            "anchors": maybe(json!({
                "type": "object", "propertyNames": { "enum": kinds },
                "description": "Text in the document where a field goes: for every signer, or by signer key",
                "additionalProperties": { "oneOf": [
                    { "type": "string" },
                    { "type": "object", "additionalProperties": { "type": "string" } },
                ] },
                "examples": [{ "sign": "/sn1/", "date": { "visitor": "/dt1/", "manager": "/dt2/" } }],
            })),
        }),
    )
}

fn new_signer() -> Value {
    let methods: Vec<&str> = AUTHENTICATION_METHODS.iter().map(|(ours, _)| *ours).collect();
    closed(
        &["name", "email"],
        json!({
            "key": maybe(json!({ "type": "string", "description": "Your name for this signer" })),
            "name": text(1, MAX_NAME),
            "email": { "type": "string", "format": "email" },
            "role": maybe(json!({ "type": "string", "description": "Their role in the template" })),
            "order": maybe(json!({ "type": "integer", "minimum": 1, "description": "When it is their turn; 1 if left out" })),
            "sms_auth": maybe(closed(&["phone"], json!({ "phone": reference("PhoneNumber") }))),
            "access_code": maybe(access_code()),
            "fields": entries("Values of the template's fields, by label"),
            "authenticated_by": maybe(closed(&["method"], json!({
                "method": { "type": "string", "enum": methods },
                "at": maybe(json!({ "type": "string", "format": "date-time" })),
                "id": maybe(json!({ "type": "string" })),
            }))),
            "return_url": maybe(json!({ "type": "string", "format": "uri", "maxLength": MAX_RETURN_URL,
                "description": "Its origin must be among return_origins of the caller" })),
        }),
    )
}
