//! Our own OpenAPI 3.1 document (<https://spec.openapis.org/oas/v3.1.1>). Statuses, events, codes and limits are those
//! of the tables and constants that the handlers use. What else is written here is written twice, and tests hold it
//! against the other: paths, the fields of bodies, queries, and the patterns of a create against what its reader takes.
//!
//! Requests are closed (`additionalProperties: false`), because unknown fields are refused; answers are
//! open, because fields may be added.

pub mod component;
mod events;
mod examples;
mod objects;
pub mod pages;
mod requests;
pub mod results;
mod security;
mod senders;
mod signings;
mod webhooks;

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::api::{
    problem::{self, CODES},
    router::PATHS,
};

/// Codes that any call with a key may be answered with.
const EVERYWHERE: [&str; 9] = [
    "unauthenticated",
    "forbidden",
    "not_found",
    "quota_exceeded",
    "issuer_unavailable",
    "store_unavailable",
    "transfer_encoding_unsupported",
    "unknown_field",
    "internal",
];

/// What may stand in the way of any call that goes upstream: the sender, its key, the upstream, its limits.
const UPSTREAM: [&str; 14] = [
    "clock_skew",
    "consent_required",
    "key_rejected",
    "provider_rate_limited",
    "provider_rejected",
    "provider_unavailable",
    "sender_busy",
    "sender_not_connected",
    "sender_not_in_account",
    "sender_unknown_user",
    "sender_user_is_account",
    "shutting_down",
    "wrong_base_uri",
    "wrong_environment",
];

/// The document.
pub fn document() -> Value {
    let mut paths = Map::new();
    for section in [signings::paths(), senders::paths(), events::paths(), about()] {
        paths.extend(section);
    }
    // What is described ahead of its route is not promised.
    let served: Vec<String> = PATHS.iter().map(|path| template(path)).collect();
    paths.retain(|path, _| served.contains(path));
    let mut schemas = requests::schemas();
    schemas.extend(objects::schemas());
    for (name, schema) in &mut schemas {
        if let Some(example) = examples::of(name) {
            schema["examples"] = json!([example]);
        }
    }
    json!({
        "openapi": "3.1.1",
        "info": {
            "title": "countersign",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "Embedded DocuSign signing for a company website, without accounts for its visitors",
            "description": "JSON, snake_case, times in RFC 3339 UTC. Unknown fields and parameters of a request are \
                refused by name; answers may gain fields. Every refusal is a problem document (RFC 9457) with a code, the \
                next step, and whether repeating the same call can help. `X-Request-Id` is taken and given back. \
                A caller is known by a key, by a token of an issuer in the settings, or by a client certificate; two \
                that belong to different callers are refused. On a unix socket the user id of the calling process may \
                stand in for them (`unix_uids`): such a call carries nothing, which no scheme of this document can say.",
            "license": { "name": "MIT OR Apache-2.0" },
        },
        "servers": [{ "url": "/", "description": "The API listener" }],
        // Any one of them is enough.
        "security": security::SCHEMES.map(|name| json!({ name: [] })),
        "tags": [
            { "name": "signings", "description": "Envelopes for visitors, and what becomes of them" },
            { "name": "senders", "description": "The users we act as" },
            { "name": "events", "description": "What happened, pushed and pulled" },
            { "name": "about", "description": "This documentation, and keys to check with" },
        ],
        "paths": paths,
        "webhooks": webhooks::all(),
        "components": {
            "schemas": schemas,
            "securitySchemes": security::schemes(),
        },
    })
}

/// What needs no key.
fn about() -> Map<String, Value> {
    let open = |id: &str, summary: &str, media: &str| {
        let mut answer = json!({ "description": summary, "content": {} });
        answer["content"][media] = json!({});
        json!({ "get": {
            "operationId": id, "tags": ["about"], "summary": summary, "security": [],
            "responses": { "200": answer },
        } })
    };
    let mut page = open("error_page", "What a code means, why it comes, and what to do", "text/html");
    page["get"]["parameters"] = json!([path_parameter("code", "A code of a problem")]);
    page["get"]["parameters"][0]["example"] = "consent_required".into();
    page["get"]["responses"]["404"] = json!({ "description": "There is no such code" });
    section([
        ("/openapi.json", open("openapi", "This document", "application/json")),
        ("/docs", open("docs", "The operations and schemas as a page", "text/html")),
        ("/docs/component", open("component_page", "How a site shows a link in its own page", "text/html")),
        ("/docs/results", open("results_page", "How a site checks the `result` of a return", "text/html")),
        ("/docs/migrating", open("migrating", "For people who come from the official SDKs", "text/html")),
        ("/docs/errors", open("errors_page", "Every code of a problem, each with its page", "text/html")),
        ("/docs/errors/{code}", page),
    ])
}

fn section<const N: usize>(paths: [(&str, Value); N]) -> Map<String, Value> {
    paths.into_iter().map(|(path, item)| (path.to_owned(), item)).collect()
}

/// A path of the router as OpenAPI writes it, which knows no rest of a path.
fn template(path: &str) -> String {
    path.replace("{*", "{")
}

/// One operation under construction.
struct Operation {
    id: &'static str,
    tag: &'static str,
    summary: &'static str,
    description: Option<String>,
    parameters: Vec<Value>,
    body: Option<Value>,
    answers: Map<String, Value>,
    codes: Vec<&'static str>,
}

impl Operation {
    fn new(tag: &'static str, id: &'static str, summary: &'static str) -> Self {
        Self {
            id,
            tag,
            summary,
            description: None,
            parameters: Vec::new(),
            body: None,
            answers: Map::new(),
            codes: EVERYWHERE.to_vec(),
        }
    }

    fn about(mut self, text: impl Into<String>) -> Self {
        self.description = Some(text.into());
        self
    }

    /// A member of the path.
    fn path(mut self, name: &str, about: &str) -> Self {
        self.parameters.push(path_parameter(name, about));
        self
    }

    fn query(mut self, name: &str, about: &str, schema: Value) -> Self {
        let mut parameter = json!({ "name": name, "in": "query", "description": about });
        parameter["schema"] = schema;
        self.parameters.push(parameter);
        self
    }

    fn header(mut self, name: &str, about: &str, required: bool, schema: Value) -> Self {
        let mut parameter =
            json!({ "name": name, "in": "header", "description": about, "required": required });
        parameter["schema"] = schema;
        self.parameters.push(parameter);
        self
    }

    /// What of an answer leads to which other operation: names, operations and their parameters.
    fn link(mut self, status: u16, name: &str, operation: &str, parameters: Value) -> Self {
        if let Some(answer) = self.answers.get_mut(&status.to_string()) {
            answer["links"][name] = json!({ "operationId": operation });
            answer["links"][name]["parameters"] = parameters;
        }
        self
    }

    /// The request's body: a schema by name, and an example.
    fn body(self, schema: &str, example: Value) -> Self {
        self.body_as(schema, example, true)
    }

    /// A body that says nothing that must be said: none at all is the same as `{}`.
    fn optional_body(self, schema: &str, example: Value) -> Self {
        self.body_as(schema, example, false)
    }

    fn body_as(mut self, schema: &str, example: Value, is_required: bool) -> Self {
        let mut content = json!({ "schema": reference(schema) });
        content["example"] = example;
        self.body = Some(json!({ "required": is_required, "content": { "application/json": content } }));
        self.codes.extend([
            "invalid_request",
            "unknown_field",
            "payload_too_large",
            "content_encoding_unsupported",
        ]);
        self
    }

    /// An answer in JSON.
    fn answer(self, status: u16, about: &str, schema: Value) -> Self {
        let mut answer = json!({ "description": about });
        answer["content"]["application/json"]["schema"] = schema;
        self.answer_as(status, answer)
    }

    fn answer_as(mut self, status: u16, answer: Value) -> Self {
        self.answers.insert(status.to_string(), answer);
        self
    }

    fn codes(mut self, codes: &[&'static str]) -> Self {
        self.codes.extend(codes);
        self
    }

    fn build(self) -> Value {
        let mut responses = self.answers;
        let mut by_status = BTreeMap::<u16, Vec<&str>>::new();
        for name in self.codes {
            let codes = by_status.entry(problem::code(name).status).or_default();
            if !codes.contains(&name) {
                codes.push(name);
            }
        }
        for (status, codes) in by_status {
            let mut answer = json!({
                "description": codes.join(", "),
                "content": { "application/problem+json": { "schema": reference("Problem") } },
            });
            if matches!(status, 409 | 429 | 503) {
                answer["headers"]["Retry-After"] = json!({
                    "description": "Whole seconds until the same call can succeed, where waiting helps",
                    "schema": { "type": "string", "pattern": "^[0-9]+$" },
                });
            }
            responses.insert(status.to_string(), answer);
        }
        let mut operation = json!({
            "operationId": self.id, "tags": [self.tag], "summary": self.summary, "responses": responses,
        });
        if let Some(description) = self.description {
            operation["description"] = description.into();
        }
        if !self.parameters.is_empty() {
            operation["parameters"] = self.parameters.into();
        }
        if let Some(body) = self.body {
            operation["requestBody"] = body;
        }
        operation
    }
}

fn path_parameter(name: &str, about: &str) -> Value {
    json!({ "name": name, "in": "path", "required": true, "description": about, "schema": { "type": "string" } })
}

fn reference(schema: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{schema}") })
}

/// An id of ours, which has one spelling.
fn id_of(prefix: &str) -> Value {
    json!({ "type": "string", "pattern": format!("^{prefix}_[0-9a-f]{{32}}$") })
}

/// Where a page of a list begins: the id that the one before ends with, or nothing, as a form leaves it.
fn cursor_of(prefix: &str) -> Value {
    json!({ "type": "string", "pattern": format!("^({prefix}_[0-9a-f]{{32}})?$") })
}

/// A page of a list.
fn list_of(schema: &str) -> Value {
    json!({
        "type": "object",
        "required": ["object", "data", "has_more", "next_cursor"],
        "properties": {
            "object": { "const": "list" },
            "data": { "type": "array", "items": reference(schema) },
            "has_more": { "type": "boolean" },
            "next_cursor": { "type": ["string", "null"] },
        },
    })
}

/// An object: those of its members that are always there, and all of them.
fn object(required: &[&str], properties: Value) -> Value {
    let mut schema = json!({ "type": "object", "required": required });
    schema["properties"] = properties;
    schema
}

/// An object of a request: what is not listed is refused.
fn closed(required: &[&str], properties: Value) -> Value {
    let mut schema = object(required, properties);
    schema["additionalProperties"] = false.into();
    schema
}

/// The code of a problem as a schema.
fn code_schema() -> Value {
    json!({ "type": "string", "enum": CODES.iter().map(|code| code.code).collect::<Vec<_>>() })
}

#[cfg(test)]
mod tests;
