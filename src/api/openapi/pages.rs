//! The documentation as pages: `/docs`, one page a code, and the document itself. They need no key, hold
//! no state and no script; what they show is compiled in.

use axum::{
    extract::Path,
    response::{IntoResponse as _, Response},
};
use http::{HeaderValue, header};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use serde_json::Value;

use super::document;
use crate::api::{
    Problem,
    problem::{CODES, Code},
};

const STYLE: &str = "body{font:1rem/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;\
    color:#1c2430;background:#fff}h1,h2,h3{line-height:1.2}code,pre{font-family:ui-monospace,monospace;\
    font-size:.9rem}pre{background:#f5f6f8;padding:1rem;overflow:auto}a{color:#1f4f8f}\
    table{border-collapse:collapse}th,td{text-align:left;vertical-align:top;padding:.3rem 1rem .3rem 0;\
    border-bottom:1px solid #d9dde3}section{margin-bottom:2.5rem}";

/// `GET /openapi.json`.
pub async fn json() -> Response {
    ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], document().to_string())
        .into_response()
}

/// `GET /docs`.
pub async fn docs() -> Response {
    page("countersign API", &overview(&document()))
}

/// `GET /docs/errors/{code}`.
pub async fn error(Path(name): Path<String>) -> Result<Response, Problem> {
    let code = CODES.iter().find(|code| code.code == name).ok_or_else(Problem::not_found)?;
    Ok(page(code.code, &about(code)))
}

pub(super) fn page(title: &str, content: &Markup) -> Response {
    let body = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body { main { (content) } }
        }
    };
    let policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'";
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy)),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    (headers, body.into_string()).into_response()
}

fn overview(document: &Value) -> Markup {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let paths = document["paths"].as_object().into_iter().flatten();
    let operations = paths.flat_map(|(path, item)| {
        item.as_object().into_iter().flatten().map(move |(method, operation)| (path, method, operation))
    });
    let operations: Vec<_> = operations.collect();
    html! {
        h1 { "countersign API" }
        p { (text(&document["info"]["description"])) }
        p { a href="/openapi.json" { "The same as OpenAPI 3.1" } }
        p { a href="/docs/results" { "The result of a return, and how to check it" } }
        p { a href="/docs/component" { "Signing inside your page" } }
        @for tag in document["tags"].as_array().into_iter().flatten() {
            section {
                h2 { (text(&tag["name"])) }
                p { (text(&tag["description"])) }
                @for (path, method, operation) in &operations {
                    @if operation["tags"][0] == tag["name"] { (one_operation(path, method, operation)) }
                }
            }
        }
        section {
            h2 { "Schemas" }
            @for (name, schema) in document["components"]["schemas"].as_object().into_iter().flatten() {
                h3 id=(format!("schema-{name}")) { (name) }
                pre { code { (serde_json::to_string_pretty(schema).unwrap_or_default()) } }
            }
        }
        section {
            h2 { "Codes" }
            table {
                thead { tr { th { "Code" } th { "Status" } th { "Meaning" } } }
                tbody {
                    @for code in CODES {
                        tr {
                            td { a href=(format!("/docs/errors/{}", code.code)) { code { (code.code) } } }
                            td { (code.status) }
                            td { (code.title) }
                        }
                    }
                }
            }
        }
    }
}

fn one_operation(path: &str, method: &str, operation: &Value) -> Markup {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    html! {
        h3 id=(text(&operation["operationId"])) { code { (method.to_uppercase()) " " (path) } }
        p { (text(&operation["summary"])) ". " (text(&operation["description"])) }
        @if let Some(parameters) = operation["parameters"].as_array() {
            table {
                thead { tr { th { "Parameter" } th { "In" } th { "Meaning" } } }
                tbody {
                    @for parameter in parameters {
                        tr {
                            td { code { (text(&parameter["name"])) } }
                            td { (text(&parameter["in"])) }
                            td { (text(&parameter["description"])) }
                        }
                    }
                }
            }
        }
        @let body = &operation["requestBody"]["content"]["application/json"];
        @if let Some(schema) = body["schema"]["$ref"].as_str().and_then(|path| path.rsplit('/').next()) {
            p { "Body: " a href=(format!("#schema-{schema}")) { (schema) } ", such as" }
            pre { code { (serde_json::to_string_pretty(&body["example"]).unwrap_or_default()) } }
        }
        table {
            thead { tr { th { "Status" } th { "Answer" } } }
            tbody {
                @for (status, answer) in operation["responses"].as_object().into_iter().flatten() {
                    tr { td { (status) } td { (text(&answer["description"])) } }
                }
            }
        }
    }
}

fn about(code: &Code) -> Markup {
    html! {
        h1 { code { (code.code) } }
        p { strong { (code.title) } ". It comes with HTTP status " (code.status) "." }
        h2 { "Why" }
        p { (why(code.code)) }
        h2 { "What to do" }
        p { (code.fix) }
        h2 { "Repeating the call" }
        p {
            @if code.retryable {
                "The same call may succeed later without anybody doing anything. Wait for the time in Retry-After \
                 where there is one, and keep the same Idempotency-Key."
            } @else {
                "The same call will be refused again until something is changed."
            }
        }
        p { a href="/docs" { "All codes and operations" } }
    }
}

/// What leads to a code, in a sentence or two.
fn why(code: &str) -> &'static str {
    WHY.iter().find(|(name, _)| *name == code).map_or("", |(_, why)| why)
}

const WHY: &[(&str, &str)] = &[
    (
        "anchor_not_found",
        "The text that an anchor names was looked for in the PDF's own text and is not there. DocuSign would place no field and the signer could not sign, so nothing was sent.",
    ),
    (
        "clock_skew",
        "DocuSign refuses what a machine with a wrong clock signs. Small errors are corrected for; this one could not be.",
    ),
    (
        "consent_required",
        "A sender acts only after the impersonated user, or an administrator, has consented once to the integration key and its scopes; that has not happened yet, or it was withdrawn.",
    ),
    ("forbidden", "The key is valid, and the settings do not let this caller use what the request names."),
    (
        "idempotency_in_progress",
        "An earlier call with the same key has begun and has no outcome yet. Two at once would risk two envelopes.",
    ),
    (
        "idempotency_key_missing",
        "A create without a key could not be repeated safely after a lost answer, so it is not begun.",
    ),
    (
        "idempotency_key_reused",
        "The key already belongs to a request with another body. One key stands for one order.",
    ),
    (
        "invalid_request",
        "The request is not of the form that the operation takes. Every fault is listed in errors with a JSON pointer.",
    ),
    (
        "key_rejected",
        "DocuSign accepts no signature of the sender's private keys: the public half is not registered for this integration key, or in another environment.",
    ),
    ("link_revoked", "The link was taken back and leads nowhere any more."),
    (
        "not_found",
        "There is no such path, method or object, or it belongs to another caller, which looks the same on purpose.",
    ),
    ("payload_too_large", "The body is larger than api.body_limit, or larger than what DocuSign takes."),
    ("phone_invalid", "The number could not receive a code as it is written, so nothing was sent."),
    (
        "polling_budget",
        "DocuSign blocks applications that ask for one envelope's status more than once in 15 minutes; countersign keeps to that whatever callers do.",
    ),
    (
        "provider_rate_limited",
        "The account's calls of this hour or these 30 seconds are spent, or kept for people who are already signing.",
    ),
    ("provider_rejected", "DocuSign understood the request and refuses it. Its code is in provider.code."),
    (
        "provider_unavailable",
        "DocuSign did not answer, or could not; or a part of this daemon that the call needs (store, audit log) did not. What was written down is finished later.",
    ),
    ("quota_exceeded", "The caller's rate in the settings is used up."),
    (
        "range_not_satisfiable",
        "The Range begins behind the end of the document. A download that is resumed belongs to one version: send its ETag as If-Range.",
    ),
    (
        "return_url_refused",
        "Visitors are sent only to origins that the settings list, so that nobody can use this service as an open redirect.",
    ),
    (
        "sender_not_in_account",
        "The impersonated user is not an active member of the account that the settings name.",
    ),
    ("sender_unknown", "The settings have no sender of this name, or this caller may not use it."),
    ("sender_unknown_user", "The user id of the sender does not exist in this DocuSign environment."),
    ("shutting_down", "The daemon was told to stop, and finishes only what it has accepted."),
    (
        "signer_not_ready",
        "The envelope does not exist yet, others sign first, the signer is done, or another view may be open.",
    ),
    (
        "signing_closed",
        "The signing is completed, declined, voided, expired or failed, and an end never moves back.",
    ),
    ("sms_auth_unavailable", "The DocuSign account has no identity verification workflow for phones."),
    (
        "template_role_mismatch",
        "A signer's role is not among the roles of the template, so DocuSign would add a signer without fields.",
    ),
    ("unauthenticated", "There is no API key in the request, or none that a caller in the settings has."),
    (
        "unknown_field",
        "A field of the request does not exist. A misspelt field that is silently ignored is worse than a refusal.",
    ),
    ("wrong_base_uri", "The account is served by another DocuSign host than the one asked."),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_page_that_says_why() {
        for code in CODES {
            assert!(!why(code.code).is_empty(), "{} says why", code.code);
            let page = about(code).into_string();
            assert!(page.contains(code.code) && page.contains("What to do"), "{}", code.code);
        }
    }

    #[test]
    fn the_overview_lists_every_operation_without_script() {
        let document = document();
        let page = overview(&document).into_string();
        for (path, item) in document["paths"].as_object().unwrap() {
            for method in item.as_object().unwrap().keys() {
                assert!(page.contains(&format!("{} {path}", method.to_uppercase())), "{method} {path}");
            }
        }
        assert!(!page.contains("<script"));
    }
}
