//! `/docs`: how to begin, every operation, every event, every schema, every code.

use maud::{Markup, html};
use serde_json::Value;

use super::{block, prose, scrolled, straight_back};
use crate::api::{problem::CODES, router::PATHS};

const METHODS: [&str; 5] = ["post", "get", "put", "patch", "delete"];

struct Operation<'a> {
    path: String,
    method: &'static str,
    about: &'a Value,
}

/// The page of a document.
pub(super) fn page(document: &Value) -> Markup {
    let operations = operations(document);
    html! {
        div.page {
            (contents(document, &operations))
            main #content {
                h1 { "countersign API " span.quiet { (text(&document["info"]["version"])) } }
                p { (prose(text(&document["info"]["description"]))) }
                p {
                    a href="/openapi.json" { "OpenAPI 3.1" } ", for client generators. Coming from DocuSign's SDKs? "
                    a href="/docs/migrating" { "What becomes what" } ". Signing inside your page: "
                    a href="/docs/component" { "the component" } ". Back on your site: "
                    a href="/docs/results" { "the result, and how to check it" } "."
                }
                (beginning())
                @for tag in document["tags"].as_array().into_iter().flatten() {
                    section {
                        h2 id=(format!("tag-{}", text(&tag["name"]))) { (heading(text(&tag["name"]))) }
                        p { (prose(text(&tag["description"]))) }
                        @for operation in operations.iter().filter(|one| one.about["tags"][0] == tag["name"]) {
                            (one_operation(document, operation))
                        }
                    }
                }
                (events(document))
                (schemas(document))
                (codes())
            }
        }
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn heading(tag: &str) -> String {
    tag.chars().take(1).flat_map(char::to_uppercase).chain(tag.chars().skip(1)).collect()
}

/// In the order of the router, not of the alphabet: what is used first comes first.
fn operations(document: &Value) -> Vec<Operation<'_>> {
    let mut all = Vec::new();
    for path in PATHS.iter().map(|path| super::super::template(path)) {
        for method in METHODS {
            if let Some(about) = document["paths"][&path].get(method) {
                all.push(Operation { path: path.clone(), method, about });
            }
        }
    }
    all
}

fn contents(document: &Value, operations: &[Operation<'_>]) -> Markup {
    html! {
        nav aria-label="Contents" {
            strong { "countersign API" }
            ul { li { a href="#begin" { "Begin" } } li { a href="/docs/migrating" { "Coming from an SDK" } } }
            @for tag in document["tags"].as_array().into_iter().flatten() {
                h2 { (heading(text(&tag["name"]))) }
                ul {
                    @for (at, one) in operations.iter().enumerate().filter(|(_, one)| one.about["tags"][0] == tag["name"]) {
                        // One operation under several methods is one line.
                        @if at == 0 || operations[at - 1].about["summary"] != one.about["summary"] {
                            li { a href=(format!("#{}", text(&one.about["operationId"]))) { (prose(text(&one.about["summary"]))) } }
                        }
                    }
                }
            }
            h2 { "More" }
            ul {
                li { a href="#webhooks" { "Webhooks" } }
                li { a href="#schemas" { "Schemas" } }
                li { a href="#codes" { "Codes" } }
            }
        }
    }
}

fn beginning() -> Markup {
    let call = "curl -sS \"$COUNTERSIGN_URL/v1/signings\" \\\n  -H \"Authorization: Bearer $COUNTERSIGN_KEY\" \\\n  \
                -H \"Idempotency-Key: order-8812\" \\\n  -H \"Content-Type: application/json\" \\\n  \
                -d '{\"sender\": \"system\", \"documents\": [{\"template\": \"nda\"}],\n       \"signers\": \
                [{\"key\": \"visitor\", \"name\": \"Ada Lovelace\", \"email\": \"ada@example.com\",\n                    \
                \"role\": \"Client\", \"return_url\": \"https://www.example.com/done\"}]}'";
    html! {
        section #begin {
            h2 { "Begin" }
            ol {
                li { "Create. The key is your order: send the same call again, its body byte for byte, and you get the same envelope." }
            }
            pre tabindex="0" { code { (call) } }
            ol start="2" {
                li { "Send the visitor to " code { "signers[0].view.url" } " now, or to " code { "signers[0].link.url" }
                     " whenever: the link makes a fresh view each time, for as long as the envelope lives." }
                li { "The visitor comes back to your " code { "return_url" } " with " code { "signing_id" } ", "
                     code { "status" } " and a signed " code { "result" } ". " (straight_back()) }
                li { "Believe " code { "status" } " of " a href="#get_signing" { code { "GET /v1/signings/{id}" } }
                     " or a " a href="#webhooks" { "webhook" } ": it is DocuSign's word. What the browser said is "
                     code { "last_return.claim" } ", and only a claim." }
            }
        }
    }
}

fn one_operation(document: &Value, operation: &Operation<'_>) -> Markup {
    let about = operation.about;
    let body = &about["requestBody"]["content"]["application/json"];
    let name = format!("{} {}", operation.method.to_uppercase(), operation.path);
    html! {
        h3 id=(text(&about["operationId"])) {
            span class=(format!("method {}", operation.method)) { (operation.method.to_uppercase()) } " "
            code { (operation.path) }
        }
        p { (prose(text(&about["summary"]))) ". " (prose(text(&about["description"]))) }
        @if let Some(parameters) = about["parameters"].as_array() {
            (scrolled(&format!("{name}: parameters"), &html! { table {
                thead { tr { th scope="col" { "Parameter" } th scope="col" { "In" } th scope="col" { "Meaning" } } }
                tbody {
                    @for parameter in parameters {
                        tr {
                            td { code { (text(&parameter["name"])) } }
                            td { (text(&parameter["in"])) @if parameter["required"] == true { ", needed" } }
                            td { (prose(text(&parameter["description"]))) (limits(&parameter["schema"])) }
                        }
                    }
                }
            } }))
        }
        @if let Some(schema) = name_of(&body["schema"]) {
            p { "Body: " (schema_link(schema)) ", such as" }
            (block(&body["example"]))
            @if let Some(other) = document["components"]["schemas"][schema]["examples"].get(0) {
                p { "or" }
                (block(other))
            }
        }
        (scrolled(&format!("{name}: answers"), &answers(about)))
    }
}

/// What a parameter may be, where its schema says more than a type.
fn limits(schema: &Value) -> Markup {
    let said = [("minimum", "at least "), ("maximum", "at most "), ("default", "left out: ")];
    html! {
        @for (at, word) in schema["enum"].as_array().into_iter().flatten().enumerate() {
            @if at == 0 { ": " } @else { ", " }
            code { (text(word)) }
        }
        @for (limit, words) in said {
            @if let Some(value) = schema.get(limit) { "; " (words) code { (value.as_str().map_or_else(|| value.to_string(), str::to_owned)) } }
        }
    }
}

fn answers(about: &Value) -> Markup {
    html! {
        table {
            thead { tr { th scope="col" { "Status" } th scope="col" { "Answer" } } }
            tbody {
                @for (status, answer) in about["responses"].as_object().into_iter().flatten() {
                    tr {
                        td { (status) }
                        td {
                            @if answer["content"].get("application/problem+json").is_some() {
                                @for (at, code) in text(&answer["description"]).split(", ").enumerate() {
                                    @if at > 0 { ", " }
                                    a href=(format!("/docs/errors/{code}")) { code { (code) } }
                                }
                            } @else {
                                (prose(text(&answer["description"])))
                                @if let Some(schema) = name_of(&answer["content"]["application/json"]["schema"]) {
                                    ": " (schema_link(schema))
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn events(document: &Value) -> Markup {
    html! {
        section #webhooks {
            h2 { "Webhooks" }
            p { (prose(super::super::webhooks::ABOUT)) }
            (scrolled("Types of events", &html! { table {
                thead { tr { th scope="col" { "Type" } th scope="col" { "When" } } }
                tbody {
                    @for (kind, item) in document["webhooks"].as_object().into_iter().flatten() {
                        tr { td { code { (kind) } } td { (prose(text(&item["post"]["summary"]))) } }
                    }
                }
            } }))
            p { "Such as" }
            (block(&super::super::webhooks::example()))
        }
    }
}

fn schemas(document: &Value) -> Markup {
    html! {
        section #schemas {
            h2 { "Schemas" }
            @for (name, schema) in document["components"]["schemas"].as_object().into_iter().flatten() {
                h3 id=(format!("schema-{name}")) { (name) }
                @if let Some(example) = schema["examples"].get(0).filter(|example| example.is_object()) {
                    (block(example))
                }
                details { summary { "Schema of " (name) } (block(schema)) }
            }
        }
    }
}

fn codes() -> Markup {
    html! {
        section #codes {
            h2 { "Codes" }
            (scrolled("Codes", &html! { table {
                thead { tr { th scope="col" { "Code" } th scope="col" { "Status" } th scope="col" { "Meaning" } } }
                tbody {
                    @for code in CODES {
                        tr {
                            td { a href=(format!("/docs/errors/{}", code.code)) { code { (code.code) } } }
                            td { (code.status) }
                            td { (code.title) }
                        }
                    }
                }
            } }))
        }
    }
}

/// The name of the schema that a reference names, itself or as the items of a list.
fn name_of(schema: &Value) -> Option<&str> {
    let one = schema["$ref"].as_str().or_else(|| schema["properties"]["data"]["items"]["$ref"].as_str())?;
    one.rsplit('/').next()
}

fn schema_link(name: &str) -> Markup {
    html! { a href=(format!("#schema-{name}")) { (name) } }
}

#[cfg(test)]
mod tests {
    use super::{super::document, *};

    #[test]
    fn the_reference_lists_every_operation_and_event_without_script() {
        let document = document();
        let page = page(&document).into_string();
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                let id = operation["operationId"].as_str().unwrap();
                assert!(page.contains(&format!("id=\"{id}\"")), "{method} {path}");
            }
        }
        for kind in crate::config::EVENT_TYPES {
            assert!(page.contains(kind), "{kind}");
        }
        assert!(!page.contains("<script"));
    }

    #[test]
    fn a_create_is_shown_with_a_template_and_with_a_file() {
        let page = page(&document()).into_string();
        let create = page.split("id=\"create_signing\"").nth(1).unwrap().split("<h3").next().unwrap();
        for part in ["template", "content_base64", "/sn1/"] {
            assert!(create.contains(part), "{part}: {create}");
        }
    }

    #[test]
    fn every_link_of_the_page_leads_somewhere() {
        let page = page(&document()).into_string();
        for target in page.split("href=\"#").skip(1).map(|rest| rest.split('"').next().unwrap()) {
            assert!(page.contains(&format!("id=\"{target}\"")), "#{target}");
        }
    }
}
