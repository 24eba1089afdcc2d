//! Bodies of requests. All closed: what is not here is refused. What is here is taken, as far as a schema can say it:
//! patterns are as strict as what reads the text, or a little stricter.

use serde_json::{Map, Value, json};

use super::{closed, reference, section};
use crate::{
    api::made_senders::{MAX_KEY, MAX_KEYS, MAX_TEMPLATES},
    config::EVENT_TYPES,
    domain::{
        Language, PurgeScope, TabKind,
        draft::{
            AUTHENTICATION_METHODS, MAX_ACCESS_CODE, MAX_AUTHENTICATION_ID, MAX_DOCUMENTS, MAX_ENTRIES,
            MAX_FRAME_ANCESTORS, MAX_LOCALE, MAX_MESSAGE, MAX_NAME, MAX_ORDER, MAX_REFERENCE, MAX_RETURN_URL,
            MAX_SIGNERS, MAX_SUBJECT, MAX_TEXT, MIN_LOCALE,
        },
        email,
        fact::MAX_REASON,
    },
    pairing::MAX_ACCOUNT,
};

/// A life (`objects::duration`) up to the longest, 365 days, in each unit: 31536000 s, 525600 m, 8760 h.
const LIFE: &str = concat!(
    "^0*(",
    "([1-9][0-9]{0,6}|[12][0-9]{7}|30[0-9]{6}|31[0-4][0-9]{5}|315[0-2][0-9]{4}|3153[0-5][0-9]{3}|31536000)s?",
    "|([1-9][0-9]{0,4}|[1-4][0-9]{5}|5[01][0-9]{4}|52[0-4][0-9]{3}|525[0-5][0-9]{2}|525600)m",
    "|([1-9][0-9]{0,2}|[1-7][0-9]{3}|8[0-6][0-9]{2}|87[0-5][0-9]|8760)h",
    "|([1-9][0-9]?|[12][0-9]{2}|3[0-5][0-9]|36[0-5])d",
    ")$",
);

/// A name as the settings take it (`config::check_name`), but for its length.
const NAME: &str = "^[a-z0-9](_?[a-z0-9-])*_?$";
/// The longest such name.
const MAX_SENDER_NAME: usize = 64;

/// A language tag, but for its length.
const LOCALE: &str = "^[A-Za-z][A-Za-z0-9_-]*$";

/// A bare origin as browsers write it, of a name or an IPv4 address. The port that the scheme has anyway, and an
/// internationalised name that is none, are too much for a pattern.
const ORIGIN: &str = concat!(
    "^https?://",
    "(([a-z0-9_-]+[.])*[a-z][a-z0-9_-]*",
    "|((25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])[.]){3}(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9]))",
    "(:([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]))?$",
);

// Sets of characters, as they stand in the brackets of a pattern. What `objects::text` refuses in a line: those that
// control it or turn the direction of writing; and what alone would not be seen in it.
const CONTROLS: &str = "\\u0000-\\u001f\\u007f-\\u009f\\u061c\\u200e\\u200f\\u202a-\\u202e\\u2066-\\u2069";
const BLANKS: &str =
    "\\u0009-\\u000d \\u0085\\u00a0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000";
const UNSEEN: &str = "\\u00ad\\u034f\\u180e\\u200b-\\u200d\\u2060-\\u2064\\ufeff";

pub(super) fn schemas() -> Map<String, Value> {
    section([
        ("Empty", closed(&[], json!({}))),
        (
            "NewLink",
            closed(
                &[],
                json!({ "expires_in": maybe(json!({ "type": "string", "pattern": LIFE, "examples": ["2d"],
                    "description": "How long it leads on; left out: as long as the envelope can be signed" })) }),
            ),
        ),
        ("CreateSigning", create_signing()),
        ("NewDocument", new_document()),
        ("TemplateDocument", template_document()),
        ("FileDocument", file_document()),
        ("NewSigner", new_signer()),
        ("NewSender", new_sender()),
        ("SenderChange", sender_change()),
        ("VoidSigning", closed(&["reason"], json!({ "reason": reason() }))),
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
                        "type": "array", "minItems": 1, "uniqueItems": true, "description": "Left out: all, and those of later versions",
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
            "name": { "type": "string", "pattern": NAME, "maxLength": MAX_SENDER_NAME },
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
        "description": "Connect keys of the sender's account, believed of its envelopes alone; [] removes them. Quotes around \
                        one are taken off; unless the upstream is the emulator, one has at least 16 characters and is not \
                        the emulator's" }))
}

fn templates() -> Value {
    maybe(json!({ "type": "object", "maxProperties": MAX_TEMPLATES,
        "propertyNames": { "pattern": NAME, "maxLength": MAX_SENDER_NAME },
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
    maybe(json!({ "type": "string", "minLength": 1, "maxLength": MAX_ACCOUNT, "pattern": something(),
        "description": "Id or name, better the id: a name fits no more once the account is renamed; null: the user's default, or \
                        what a customer chooses. A sender that is connected to another account than this one acts no more \
                        until its connect link is opened again" }))
}

/// A line that DocuSign takes for one: without what its pages could take for markup.
fn access_code() -> Value {
    json!({ "type": "string", "minLength": 1, "maxLength": MAX_ACCESS_CODE, "pattern": seen_line("<>&#") })
}

fn reason() -> Value {
    json!({ "type": "string", "minLength": 1, "maxLength": MAX_REASON, "pattern": seen_line(""),
        "description": "It must not begin as DocuSign's word for an expiry does: `Envelope has expired`" })
}

/// Text of one line in which something can be seen.
fn line(most: usize) -> Value {
    json!({ "type": "string", "minLength": 1, "maxLength": most, "pattern": seen_line("") })
}

/// The pattern of such a line, without these characters either.
fn seen_line(without: &str) -> String {
    let any = format!("[^{CONTROLS}{without}]*");
    format!("^{any}[^{CONTROLS}{BLANKS}{UNSEEN}{without}]{any}$")
}

/// The pattern of text that is more than blanks.
fn something() -> String {
    format!("[^{BLANKS}]")
}

/// The name of a person: a line that neither begins nor ends with what is not seen.
fn person() -> Value {
    let seen = format!("[^{CONTROLS}{BLANKS}{UNSEEN}]");
    let pattern = format!("^{seen}([^{CONTROLS}]*{seen})?$");
    json!({ "type": "string", "minLength": 1, "maxLength": MAX_NAME, "pattern": pattern })
}

/// Text that is looked for in a document.
fn anchor() -> Value {
    json!({ "type": "string", "minLength": 1, "maxLength": MAX_NAME, "pattern": something() })
}

/// Fields that may be left out may also be null.
fn maybe(mut schema: Value) -> Value {
    if let Some(kind) = schema.get("type").cloned() {
        schema["type"] = json!([kind, "null"]);
        return schema;
    }
    json!({ "oneOf": [schema, { "type": "null" }] })
}

fn about(mut schema: Value, text: &str) -> Value {
    schema["description"] = text.into();
    schema
}

fn entries(about: &str) -> Value {
    maybe(json!({
        "type": "object", "maxProperties": MAX_ENTRIES, "description": about,
        "propertyNames": { "minLength": 1, "maxLength": MAX_NAME },
        "additionalProperties": { "type": "string", "maxLength": MAX_TEXT },
    }))
}

fn create_signing() -> Value {
    closed(
        &["sender", "documents", "signers"],
        json!({
            "reference": maybe(about(line(MAX_REFERENCE),
                "Yours; GET /v1/signings?reference= finds it. Kept in the clear, for twice store.retention: no personal data")),
            "sender": { "type": "string", "description": "A name of the settings" },
            "subject": maybe(about(line(MAX_SUBJECT),
                "Of e-mails, and the envelope's name at DocuSign; left out: the template's own, or the name of the first file")),
            "message": maybe(json!({ "type": "string", "maxLength": MAX_MESSAGE,
                "pattern": "^[^\\u0000-\\u0009\\u000b-\\u001f\\u007f-\\u009f]*$",
                "description": "To the signers, in the e-mails that DocuSign sends for the envelope" })),
            "documents": { "type": "array", "minItems": 1, "maxItems": MAX_DOCUMENTS, "items": reference("NewDocument") },
            "signers": { "type": "array", "minItems": 1, "maxItems": MAX_SIGNERS, "items": reference("NewSigner") },
            "view": maybe(json!({ "type": "boolean",
                "description": "Whether the answer holds a view for the first signer; true if left out" })),
            "locale": maybe(json!({ "type": "string", "minLength": MIN_LOCALE, "maxLength": MAX_LOCALE,
                "pattern": LOCALE,
                "description": "A language of the signing pages. One that DocuSign has not is left out of the view's URL; one that our own \
                                pages have not is there what the browser asks for, or English",
                "examples": Language::ALL.map(Language::tag) })),
            "expires_in": maybe(json!({ "type": "string", "pattern": LIFE, "examples": ["21d"],
                "description": "How long it may be signed: a number with s, m, h or d, 365 days at most; left out: as long as the DocuSign \
                                account says" })),
            "frame_ancestors": maybe(json!({ "type": "array", "maxItems": MAX_FRAME_ANCESTORS,
                "items": { "type": "string", "pattern": ORIGIN },
                "description": "Origins that may show the signing pages in a frame, as browsers write them: without a \
                                path, a wildcard, or the port that the scheme has anyway" })),
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
    closed(
        &["name", "content_base64"],
        json!({
            "name": line(MAX_NAME),
            "content_base64": { "type": "string", "minLength": 1,
                "contentEncoding": "base64", "contentMediaType": "application/pdf",
                "description": "The PDF in base64 (RFC 4648, with padding, no line breaks): `base64 -w0 Contract.pdf`; 32 MB at most" },
            "anchors": maybe(json!({
                "type": "object", "propertyNames": { "enum": TabKind::ALL.map(TabKind::as_str) },
                "description": "Text in the document where a field goes: for every signer, or by signer key. It must be real text of the \
                                PDF (else `anchor_not_found`). Whoever has no field in any document is given none: DocuSign lets \
                                them place their signature where they like, or refuses the envelope if the account allows no \
                                such signing",
                "additionalProperties": { "oneOf": [
                    anchor(),
                    { "type": "object", "additionalProperties": anchor() },
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
            "key": maybe(about(line(MAX_NAME),
                "Your name for this signer, which no other signer has. Kept in the clear, for twice store.retention: no personal data")),
            "name": person(),
            "email": { "type": "string", "format": "email", "maxLength": email::MAX_LENGTH },
            "role": maybe(about(line(MAX_NAME), "Their role in the template, which no other signer takes")),
            "order": maybe(json!({ "type": "integer", "minimum": 1, "maximum": MAX_ORDER,
                "description": "When it is their turn; 1 if left out" })),
            "sms_auth": maybe(about(closed(&["phone"], json!({ "phone": reference("PhoneNumber") })),
                "Before they see the documents DocuSign sends a code to this phone, which they type in. Left out: no such check")),
            "access_code": maybe(about(access_code(),
                "A code that you tell them by a way of your own, and that they type in before they see the documents")),
            "fields": entries("Values of the template's fields, by label. A label that the template has not is no fault to DocuSign: its \
                               value is shown to nobody, so spell it as the template does"),
            "authenticated_by": maybe(closed(&["method"], json!({
                "method": { "type": "string", "enum": methods },
                "at": maybe(json!({ "type": "string", "format": "date-time" })),
                "id": maybe(line(MAX_AUTHENTICATION_ID)),
            }))),
            "return_url": maybe(json!({
                "type": "string", "format": "uri", "maxLength": MAX_RETURN_URL,
                "pattern": "^https?://[^/?#@\\\\]+([/?#][^\\\\]*)?$",
                "description": "Without credentials; its origin must be among return_origins of the caller" })),
        }),
    )
}
