//! Signings, signers and links.

use serde_json::{Map, Value, json};

use super::{Operation, UPSTREAM, cursor_of, list_of, reference, section};
use crate::{
    domain::SigningStatus,
    signing::{MAX_WAITING, MAX_WAITING_OF_ONE},
};

pub(super) fn paths() -> Map<String, Value> {
    section([
        ("/v1/signings", json!({ "post": create(), "get": list() })),
        (
            "/v1/signings/{id}",
            json!({ "get": of_signing("get_signing", "Reads a signing; never calls upstream")
            .answer(200, "The signing", reference("Signing")).build() }),
        ),
        ("/v1/signings/{id}/wait", json!({ "get": wait() })),
        ("/v1/signings/{id}/signers/{signer}/views", json!({ "post": view() })),
        ("/v1/signings/{id}/signers/{signer}/links", json!({ "post": link() })),
        ("/v1/signings/{id}/signers/{signer}/phone", json!({ "post": phone() })),
        ("/v1/signings/{id}/signers/{signer}/access_code", json!({ "post": access_code() })),
        (
            "/v1/links/{id}",
            json!({ "delete": Operation::new("signings", "revoke_link", "Revokes a link")
            .about(
                "Repeating it is harmless. It ends what hangs on the link: its page, tickets for it, clicks that \
                 wait in line, and the way back to signing from a view that it opened. Signing pages that are \
                 open at DocuSign stay open; voiding the signing ends them.",
            )
            .path("id", "`lnk_…`")
            .answer_as(204, json!({ "description": "It leads nowhere any more" })).build() }),
        ),
        ("/v1/links/{id}/tickets", json!({ "post": ticket() })),
        ("/v1/signings/{id}/void", json!({ "post": void() })),
        (
            "/v1/signings/{id}/refresh",
            json!({ "post":
            of_signing("refresh_signing", "Asks DocuSign for the status, once in 15 minutes at most")
            .waiting().optional_body("Empty", json!({})).answer(200, "The signing as it is now", reference("Signing"))
            .codes(&["polling_budget"]).codes(&UPSTREAM).build() }),
        ),
        ("/v1/signings/{id}/purge", json!({ "post": purge() })),
        ("/v1/signings/{id}/documents/{part}", json!({ "get": document() })),
        ("/v1/signings/{id}/evidence", json!({ "get": evidence() })),
        (
            "/v1/signings/{id}/timeline",
            json!({ "get":
            of_signing("signing_timeline", "All that happened, in plain words")
            .answer(200, "Moments, oldest first", list_of("Moment")).build() }),
        ),
    ])
}

fn of_signing(id: &'static str, summary: &'static str) -> Operation {
    Operation::new("signings", id, summary).path("id", "`sig_…`")
}

fn of_signer(id: &'static str, summary: &'static str) -> Operation {
    of_signing(id, summary).path("signer", "`sgr_…`")
}

fn create() -> Value {
    Operation::new("signings", "create_signing", "Creates an envelope, and answers with the signing URL")
        .about(
            "One envelope a key, whatever fails: repeat the same call with the same key until it is answered. \
             `202` means that it is written down and will be finished; the link works as soon as the envelope \
             exists.",
        )
        .header(
            "Idempotency-Key",
            "1 to 255 visible characters, quoted or bare; kept for 7 days, with the bytes of the body: repeat the call with the same",
            true,
            json!({ "type": "string", "pattern": "^(\"[!-~]{1,255}\"|[!#-~][!-~]{0,254})$",
                "examples": ["order-8812"] }),
        )
        .header(
            "Prefer",
            "`wait=N`: answer within N seconds (25 unless set, at most 60; a dry run takes its time unless set). \
             `respond-async`: answer 202 at once",
            false,
            json!({ "type": "string", "examples": ["wait=10"] }),
        )
        .query(
            "dry_run",
            "`true`: checks everything that can be checked without making anything; no key is needed",
            json!({ "type": "boolean", "default": false }),
        )
        .body("CreateSigning", example())
        .answer(200, "A dry run: it would be taken", reference("Preflight"))
        .answer_as(201, json!({
            "description": "The envelope exists",
            "headers": { "Idempotency-Replayed": {
                "description": "`true` where the key was answered before: this is that answer, as it was then. Its view may be \
                                over by now (`expires_at`), and its status another",
                "schema": { "type": "string", "const": "true" },
            } },
            "content": { "application/json": { "schema": reference("Signing") } },
        }))
        .answer(202, "It is written down, and will be finished", reference("Signing"))
        .codes(&[
            "anchor_not_found", "idempotency_in_progress", "idempotency_key_missing",
            "idempotency_key_reused", "outcome_unknown", "phone_invalid", "return_url_refused",
            "sender_unknown", "sms_auth_unavailable", "template_role_mismatch",
        ])
        .codes(&UPSTREAM)
        .linked(201)
        .linked(202)
        .build()
}

impl Operation {
    /// The header in which a caller says how long it can wait.
    fn waiting(self) -> Self {
        let schema = json!({ "type": "string", "examples": ["wait=10"] });
        let about = "`wait=N`: answer within N seconds (25 unless set, at most 60)";
        self.header("Prefer", about, false, schema)
    }

    /// What can be done next with a signing.
    fn linked(self, status: u16) -> Self {
        let id = || json!({ "id": "$response.body#/id" });
        let signer = || json!({ "id": "$response.body#/id", "signer": "$response.body#/signers/0/id" });
        self.link(status, "read", "get_signing", id())
            .link(status, "wait", "wait_for_signing", id())
            .link(status, "view", "create_view", signer())
            .link(status, "link", "create_link", signer())
            .link(status, "phone", "correct_phone", signer())
            .link(status, "access_code", "correct_access_code", signer())
            .link(status, "timeline", "signing_timeline", id())
            .link(
                status,
                "document",
                "get_document",
                json!({ "id": "$response.body#/id", "part": "combined" }),
            )
            .link(status, "refresh", "refresh_signing", id())
            .link(status, "void", "void_signing", id())
            .link(status, "events", "list_events", json!({ "signing": "$response.body#/id" }))
    }
}

fn list() -> Value {
    // What is left empty, as a form leaves it, is not there.
    let statuses: Vec<_> = SigningStatus::ALL.map(SigningStatus::as_str).into_iter().chain([""]).collect();
    let reference = json!({ "type": "string", "pattern": "^[^\\u0000-\\u001f\\u007f-\\u009f]*$" });
    Operation::new("signings", "list_signings", "Lists this caller's signings, newest first")
        .query("reference", "Only those with this reference", reference)
        .query("status", "Only those that stand so", json!({ "type": "string", "enum": statuses }))
        .query("cursor", "`next_cursor` of the page before", cursor_of("sig"))
        .query(
            "limit",
            "Length of a page",
            json!({ "type": "integer", "minimum": 1, "maximum": 100, "default": 20 }),
        )
        .answer(200, "A page", list_of("Signing"))
        .codes(&["invalid_request"])
        .build()
}

fn wait() -> Value {
    let both = json!({
        "description": "The signing at its next fact, or as it is when the time is up",
        "content": {
            "application/json": { "schema": reference("Signing") },
            "text/event-stream": { "schema": { "type": "string" } },
        },
    });
    of_signing("wait_for_signing", "Waits for the next fact; with `Accept: text/event-stream`, a stream")
        .about(format!(
            "The stream brings what `list_events` would of this signing, and is opened again as that is; it ends as that \
             does, or when the time of a `timeout` that is given is up. \
             Where {MAX_WAITING_OF_ONE} calls of one caller wait, or {MAX_WAITING} of all, the next one is refused \
             (`quota_exceeded`): with very many signings at once, one stream of `list_events` tells of all of them.",
        ))
        .query(
            "timeout",
            "Seconds to wait; if given, a stream lasts as long",
            json!({ "type": "integer", "minimum": 0, "maximum": 60, "default": 25 }),
        )
        .query(
            "sequence",
            "Waits only if nothing newer than this is known, also when the signing has ended (for `signing.purged`); \
             without it, a signing that has ended is answered at once. A stream begins behind it, unless the header \
             `Last-Event-ID` says where; without it, with what comes",
            json!({ "type": "integer", "minimum": 0 }),
        )
        .answer_as(200, both)
        .codes(&["invalid_request"])
        .build()
}

fn view() -> Value {
    of_signer("create_view", "A fresh recipient view: single use, five minutes, a secret")
        .about(
            "An envelope has one live view. A new one puts out whoever is using the last one, in the middle of signing, \
             too, and whichever signer it was. So ask for one when the signer is there and wants to sign, not ahead of \
             time and not at each load of a page; or send them to the link, which puts nobody out.",
        )
        .waiting()
        .optional_body("Empty", json!({}))
        .answer(201, "The view", reference("View"))
        .codes(&["signer_not_ready", "signing_closed"])
        .codes(&UPSTREAM)
        .build()
}

fn ticket() -> Value {
    Operation::new("signings", "create_ticket", "A one-use ticket for a form of your own that leads to the link")
        .about(
            "For a visitor who has pressed a button of yours: post the field `ticket` to the link's URL within \
             60 seconds, from the visitor's browser, and they are spared the page with our button. Late or used \
             up, the page with the button is shown.",
        )
        .path("id", "`lnk_…`")
        .optional_body("Empty", json!({}))
        .answer(201, "The ticket: a secret", reference("Ticket"))
        .codes(&["link_revoked"])
        .build()
}

fn link() -> Value {
    of_signer("create_link", "A new durable link to the documents")
        .about("It ends with the signing, or after `expires_in`, if that is sooner.")
        .optional_body("NewLink", json!({ "expires_in": "2d" }))
        .answer(201, "The link; its URL is shown this once", reference("Link"))
        .link(201, "revoke", "revoke_link", json!({ "id": "$response.body#/id" }))
        .codes(&["signing_closed"])
        .build()
}

fn phone() -> Value {
    of_signer("correct_phone", "Gives a signer another number for the SMS code, and unlocks the check")
        .waiting()
        .body("CorrectPhone", json!({ "phone": "+4915112345678" }))
        .answer(200, "The signing", reference("Signing"))
        .codes(&[
            "phone_invalid",
            "polling_budget",
            "signer_not_ready",
            "signing_closed",
            "sms_auth_unavailable",
        ])
        .codes(&UPSTREAM)
        .build()
}

fn access_code() -> Value {
    of_signer("correct_access_code", "Gives a signer another access code, and unlocks the check")
        .about("The signer has to be told the new code by a way of your own. What was typed wrong before is forgotten.")
        .waiting()
        .body("CorrectAccessCode", json!({ "access_code": "Turing-1936" }))
        .answer(200, "The signing", reference("Signing"))
        .codes(&["polling_budget", "signer_not_ready", "signing_closed"])
        .codes(&UPSTREAM)
        .build()
}

fn void() -> Value {
    of_signing("void_signing", "Calls a signing off; repeating it is harmless")
        .about(
            "Also while another such call is under way, and after one whose answer was lost. Where DocuSign says that the \
             envelope has ended, it is asked how: a signing that is voided is answered with 200, one that has ended otherwise \
             with `signing_closed`. If that cannot be told yet, `polling_budget` says when to ask again.",
        )
        .waiting()
        .body("VoidSigning", json!({ "reason": "ordered twice" }))
        .answer(200, "The signing", reference("Signing"))
        .codes(&["polling_budget", "signer_not_ready", "signing_closed"])
        .codes(&UPSTREAM)
        .build()
}

fn purge() -> Value {
    of_signing("purge_signing", "Has the documents of an ended signing destroyed at DocuSign")
        .about(
            "DocuSign keeps them in a queue for 14 days first. `purge_requested_at` is set at once, `purged_at` \
             when it has happened, with the event `signing.purged`. Repeating it meanwhile is harmless; with a wider `scope` it \
             is asked for anew, and its 14 days begin again.",
        )
        .waiting()
        .optional_body("PurgeSigning", json!({ "scope": "documents" }))
        .answer(202, "It is in the queue", reference("Signing"))
        .codes(&["signer_not_ready", "signing_closed"])
        .codes(&UPSTREAM)
        .build()
}

fn document() -> Value {
    let media = json!({ "application/pdf": { "schema": { "type": "string", "contentMediaType": "application/pdf" } } });
    let headers = json!({
        "ETag": { "description": "The SHA-256 of the whole document, in hex, quoted", "schema": { "type": "string" } },
        "Accept-Ranges": { "schema": { "const": "bytes" } },
    });
    let pdf = json!({ "description": "The document, streamed", "headers": headers, "content": media });
    let part = json!({ "description": "The bytes of `Range`", "headers": headers, "content": media });
    let same = json!({ "description": "The caller has it already (`If-None-Match`)", "headers": headers });
    of_signing("get_document", "The signed documents, once the signing is completed")
        .path("part", "`combined`, `certificate`, or a document's number from 1")
        .about(
            "Fetched whole from DocuSign before the first byte is answered, because `ETag` is the digest of all \
             of it; then ranges and repeated reads cost no call for a while. DocuSign may write a file anew at \
             each download, and then the tag is another one. What comes later than you wait is there when you ask again.",
        )
        .waiting()
        .header("Range", "One range of bytes (RFC 9110); several are answered with the whole", false, json!({ "type": "string" }))
        .header("If-Range", "The `ETag` that the range belongs to", false, json!({ "type": "string" }))
        .header("If-Match", "`ETag`s of which the document must have one; else 412", false, json!({ "type": "string" }))
        .header("If-None-Match", "`ETag`s that the caller has", false, json!({ "type": "string" }))
        .answer_as(200, pdf)
        .answer_as(206, part)
        .answer_as(304, same)
        .codes(&["precondition_failed", "range_not_satisfiable", "signer_not_ready", "signing_closed"])
        .codes(&UPSTREAM)
        .build()
}

fn evidence() -> Value {
    let zip = json!({
        "description": "A zip of the signed PDF, its certificate, the events as received, our record of it and its lines of \
                        the audit log, with a signed manifest; `countersign audit verify FILE` checks it offline. What \
                        store.retention has destroyed before is not in it: the manifest says so (`events_since`, \
                        `personal_data_destroyed`)",
        "content": { "application/zip": { "schema": { "type": "string", "contentMediaType": "application/zip" } } },
    });
    of_signing("get_evidence", "All that proves a completed signing, as one file")
        .waiting()
        .answer_as(200, zip)
        .codes(&["payload_too_large", "signer_not_ready", "signing_closed"])
        .codes(&UPSTREAM)
        .build()
}

fn example() -> Value {
    json!({
        "reference": "order-8812", "sender": "system",
        "documents": [{ "template": "nda" }],
        "signers": [{
            "key": "visitor", "name": "Ada Lovelace", "email": "ada@example.com", "role": "Client",
            "sms_auth": { "phone": "+4915112345678" },
            "fields": { "company": "Analytical Ltd" },
            "authenticated_by": { "method": "password", "at": "2026-06-01T12:00:00Z", "id": "login-77f1" },
            "return_url": "https://www.example.com/done",
        }],
        "view": true, "locale": "de", "expires_in": "21d", "metadata": {},
    })
}
