//! The documentation as pages: the reference, one page a code, the way over from the vendor's SDKs, and
//! the document itself. They need no key, hold no state and no script; what they show is compiled in.

mod errors;
mod migrating;
mod reference;

use axum::response::{IntoResponse as _, Response};
use http::{HeaderValue, header};
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::document;
use crate::api::{Problem, exchange::Path, problem::CODES};

const STYLE: &str = include_str!("style.css");

/// `GET /openapi.json`.
pub async fn json() -> Response {
    ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], document().to_string())
        .into_response()
}

/// `GET /docs`.
pub async fn docs() -> Response {
    page("countersign API", &reference::page(&document()))
}

/// `GET /docs/errors`: what lies above the `type` of each problem.
pub async fn errors() -> Response {
    text_page("Codes", &errors::list())
}

/// `GET /docs/errors/{code}`.
pub(in crate::api) async fn error(Path(name): Path<String>) -> Result<Response, Problem> {
    let code = CODES.iter().find(|code| code.code == name).ok_or_else(Problem::not_found)?;
    Ok(page(&format!("{} – countersign API", code.code), &errors::page(code)))
}

/// A problem, for the document.
pub(super) fn example_problem() -> serde_json::Value {
    CODES.iter().find(|code| code.code == "consent_required").map(errors::example).unwrap_or_default()
}

/// `GET /docs/migrating`.
pub async fn migrate() -> Response {
    page("Coming from DocuSign's SDKs – countersign API", &migrating::page())
}

/// A page that is one text, from its heading on.
pub(super) fn text_page(title: &str, content: &Markup) -> Response {
    page(&format!("{title} – countersign API"), &html! { main.alone #content { (content) } })
}

fn page(title: &str, content: &Markup) -> Response {
    let body = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                a.skip href="#content" { "To the content" }
                (content)
            }
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

/// Text with `code` in backticks, as descriptions are written.
fn prose(text: &str) -> Markup {
    html! {
        @for (at, piece) in text.split('`').enumerate() {
            @if at % 2 == 1 { code { (piece) } } @else { (piece) }
        }
    }
}

/// How a browser comes back where there are no links: for each page that says how it does where there are.
pub(super) fn straight_back() -> Markup {
    prose(
        "Without `public.base_url` in the settings the browser comes straight from DocuSign, with `event=…` alone: put your \
         order into `return_url`, and call `POST /v1/signings/{id}/refresh` when the visitor is back.",
    )
}

/// A table, scrolled sideways where the window is narrow: also by keyboard, and under a name for those who only hear it.
/// A group, for a region is a landmark, and the reference has a hundred of these.
pub(super) fn scrolled(name: &str, table: &Markup) -> Markup {
    html! { div.scroll role="group" aria-label=(name) tabindex="0" { (table) } }
}

fn block(json: &serde_json::Value) -> Markup {
    html! { pre tabindex="0" { code { (serde_json::to_string_pretty(json).unwrap_or_default()) } } }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn how_a_visitor_comes_back_without_links_is_said_beside_how_with_them() {
        let said =
            "Without <code>public.base_url</code> in the settings the browser comes straight from DocuSign";
        for page in [reference::page(&document()), super::super::results::about()] {
            assert!(page.into_string().contains(said));
        }
    }

    #[test]
    fn every_table_is_scrolled_by_keyboard_and_has_a_name_of_its_own() {
        for page in [
            reference::page(&document()),
            migrating::page(),
            super::super::component::about(),
            super::super::results::about(),
        ] {
            let page = page.into_string();
            let rest = page.split("<div class=\"scroll\"").skip(1);
            let heads: Vec<&str> = rest.filter_map(|rest| rest.split('>').next()).collect();
            assert_eq!(page.matches("<table").count(), heads.len());
            for head in &heads {
                assert!(
                    head.contains(" role=\"group\" aria-label=\"") && head.contains(" tabindex=\"0\""),
                    "{head}"
                );
            }
            assert_eq!(heads.iter().collect::<BTreeSet<_>>().len(), heads.len(), "{heads:?}");
        }
    }
}
