//! The users we act as.

use serde_json::{Map, Value, json};

use super::{Operation, UPSTREAM, list_of, reference, section};

pub(super) fn paths() -> Map<String, Value> {
    section([
        (
            "/v1/senders",
            json!({
                "get": Operation::new("senders", "list_senders", "The senders this caller may use, by name")
                    .query("cursor", "`next_cursor` of the page before", json!({ "type": "string" }))
                    .query("limit", "Length of a page", json!({ "type": "integer", "minimum": 1, "maximum": 100, "default": 20 }))
                    .answer(200, "A page", list_of("Sender")).codes(&["invalid_request"]).build(),
                "post": Operation::new("senders", "make_sender", "Makes a sender like one of the settings")
                    .about(
                        "It is this caller's alone, and so is its name, also after the sender is gone. \
                         `sender_patterns` says which ones it may be like. Its user may be anyone who has consented, \
                         but for those whom a sender acts as that is another caller's, or that this caller may not use.",
                    )
                    .body("NewSender", json!({ "name": "acme", "like": "customer" }))
                    .codes(&["forbidden"])
                    .answer(201, "The sender", reference("Sender")).build(),
            }),
        ),
        (
            "/v1/senders/{name}",
            json!({
                "get": of_sender("show_sender", "How it stands").answer(200, "The sender", reference("Sender")).build(),
                "patch": of_sender("change_sender", "Gives a sender that this caller made another user or account")
                    .body("SenderChange", json!({ "account": null }))
                    .codes(&["forbidden"])
                    .answer(200, "The sender", reference("Sender")).build(),
                "delete": of_sender("unmake_sender", "Destroys a sender that this caller made, and its pairing")
                    .codes(&["forbidden"])
                    .answer_as(204, json!({ "description": "It is gone; its signings stay" })).build(),
            }),
        ),
        (
            "/v1/senders/{name}/check",
            json!({ "post":
            of_sender("check_sender", "Walks the chain from the key to the account, and says what is wrong")
            .header(
                "Prefer",
                "`wait=N`: answer within N seconds (at most 60); without it a token alone is waited for for 15",
                false,
                json!({ "type": "string", "examples": ["wait=10"] }),
            )
            .optional_body("Empty", json!({}))
            // What is wrong with the sender is no refusal: it is what was asked for.
            .answer(200, "What was looked at, and what is wrong", reference("Check"))
            .codes(&["provider_unavailable"]).build() }),
        ),
        (
            "/v1/senders/{name}/consent",
            json!({ "get":
            of_sender("sender_consent", "Where to give consent, and whether it was given")
                .query(
                    "redirect_uri",
                    "The registered http(s) address, without fragment, that the browser goes back to; left out: our own, or without a public listener https://www.docusign.com",
                    json!({ "type": "string", "format": "uri", "maxLength": 2048 }),
                )
                .codes(&["invalid_request"])
            .answer(200, "The links", reference("Consent")).build() }),
        ),
        ("/v1/senders/{name}/connect", connection()),
        ("/v1/senders/{name}/esign/{path}", forward()),
    ])
}

fn of_sender(id: &'static str, summary: &'static str) -> Operation {
    Operation::new("senders", id, summary)
        .path("name", "The sender's name in the settings")
        .codes(&["sender_unknown"])
}

fn connection() -> Value {
    let show = of_sender("sender_connection", "How a customer connected it, and a link to do so")
        .about(
            "For senders with `connect` in the settings. Give the link to the customer's administrator or \
             user: whoever opens it logs in to DocuSign and connects an account of theirs. It works for seven \
             days; using it again switches the account.",
        )
        .codes(&["invalid_request", "not_found"])
        .answer(200, "The connection", reference("Connection"));
    let end = of_sender("disconnect_sender", "Disconnects it, and destroys what was stored")
        .about("Repeating it is harmless.")
        .codes(&["not_found"])
        .answer(200, "The connection that is no more", reference("Connection"));
    json!({ "get": show.build(), "delete": end.build() })
}

/// The same operation under every method that is let through.
fn forward() -> Value {
    let operation = |id| {
        of_sender(id, "Passes an allowed call through to the eSignature API as that sender")
            .about(
                "For official SDKs: give this as their base path, and a caller key as their access token. \
                 Envelopes, recipients, recipient views, documents, templates (read) and the sender's own \
                 signatures are allowed; the answer is DocuSign's. A refusal of our own is a problem with `errorCode` and \
                 `message` beside its `code` and `detail`, so that an SDK can read it. The origins of a recipient view's `returnUrl`, \
                 `clientURLs` and `pingUrl` must be among `return_origins` of the caller. An envelope is made from JSON in UTF-8, \
                 alone or in a multipart body, and is neither a copy of another (`envelopeId`) nor made with a view \
                 (`recipientViewRequest`): those are refused. Its `embeddedRecipientStartURL`, unless that is \
                 `SIGN_AT_DOCUSIGN`, and `emailRecipientPostSigningURL` are held to `return_origins`, too. A document in a part \
                 of its own has a `Content-Type`: a part without one is taken for a description, and is refused if it is \
                 encoded or holds a zero byte. A caller that \
                 `templates` or `sms_required` limit makes no envelope this way, unless its `passthrough` says so. The \
                 envelope of another caller's signing does not \
                 exist here for as long as the signing's record is kept, nor in `envelope_ids` of a list, and where signings are kept of \
                 another caller that has a right to the account, or that is gone, a list with `include`, `search_text`, \
                 `order_by=signer_list` or `continuation_token` is refused, unless it names envelopes alone that are the \
                 caller's own or of no signing; while it is not known whose a new envelope is, the answer is 503 `provider_unavailable`, and \
                 to be asked for again. Of bodies over 1 MiB few are on their way at once, and not all of one caller: \
                 the next waits for 10 s, or for as long as `Prefer` says if that is less, and is refused then (429 \
                 `quota_exceeded`), and to be sent again.",
            )
            .path(
                "path",
                "`restapi/v2.1/accounts/{accountId}/…`, as at DocuSign, also without `restapi`; or what is below the account",
            )
            .header(
                "Prefer",
                "`wait=N`: what cannot be answered within N seconds (at most 60) is not sent; what was sent is waited \
                 for all the same, for the 120 seconds that a call may take",
                false,
                json!({ "type": "string", "examples": ["wait=10"] }),
            )
            .answer_as(200, json!({ "description": "DocuSign's answer, of whatever status and type" }))
            .codes(&["invalid_request", "not_found", "outcome_unknown", "payload_too_large", "polling_budget"])
            .codes(&["content_encoding_unsupported", "quota_exceeded", "return_url_refused"])
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
