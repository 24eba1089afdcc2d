//! `/docs/component`: how a site shows a link in its own page.

use axum::response::Response;
use maud::{Markup, html};

use super::pages::{scrolled, text_page};

const EXAMPLE: &str = "\
<script src=\"https://sign.example.com/countersign.js\" defer></script>

<countersign-link href=\"https://sign.example.com/s/…\">Sign the contract</countersign-link>

<script type=\"module\">
  const element = document.querySelector(\"countersign-link\");
  // Optional: your backend asks POST /v1/links/{id}/tickets, and the visitor is spared a second button.
  element.ticket = () => fetch(\"/my-ticket\", { method: \"POST\" }).then((answer) => answer.ok ? answer.text() : \"\");
  element.addEventListener(\"countersign-fact\", ({ detail }) => {
    if (detail.status === \"completed\") location.assign(\"/thanks?result=\" + detail.result);
  });
</script>";

const POLICY: &str = "\
script-src  https://sign.example.com;
connect-src https://sign.example.com;
frame-src   'self' https://sign.example.com https://*.docusign.net https://*.docusign.com;
form-action https://sign.example.com https://*.docusign.net https://*.docusign.com;   (with tickets)";

const STYLE: &str = "\
countersign-link::part(button) { padding: .7rem 1.5rem; border-radius: .5rem; background: #0f4c40; color: #fff }
countersign-link::part(button):focus-visible { outline: 3px solid #d98a00; outline-offset: 3px }";

const ATTRIBUTES: [(&str, &str); 4] = [
    ("href", "the link, as the API gave it; without it the button says so on the console, and opens nothing"),
    ("mode", "frame or tab; left out, a frame where there is room, else a tab"),
    ("lang", "en, de, fr or es; left out, the page's own"),
    ("status", "set by the component: the last fact, for your style sheet"),
];

const EVENTS: [(&str, &str); 3] = [
    (
        "countersign-fact",
        "Where the signing stands, whenever that changes. detail: status, signing_status, signer_status, claim and \
         result, the same signed statement that a return URL carries. Only DocuSign's word changes status",
    ),
    (
        "countersign-return",
        "The browser is back on your site, within the frame. detail: url. It is a claim and proves nothing",
    ),
    (
        "countersign-close",
        "The visitor closed the frame, and with it what was open in it. The same button opens the documents again; if they were \
         open, the link may say for up to five minutes that they are open somewhere else",
    ),
];

/// `GET /docs/component`.
pub async fn component() -> Response {
    text_page("Signing inside your page", &about())
}

pub(super) fn about() -> Markup {
    html! {
        p { a href="/docs" { "countersign API" } }
        h1 { "Signing inside your page" }
        p {
            "Create the signing with " code { "\"view\": false" } " and your site's origin in "
            code { "frame_ancestors" } ", and give the link to the component. It is one file of under 5 KB on the "
            "public listener, without a framework."
        }
        pre tabindex="0" { code { (EXAMPLE) } }
        h2 { "Attributes" }
        (scrolled("Attributes", &table(&ATTRIBUTES)))
        h2 { "Events" }
        (scrolled("Events", &table(&EVENTS)))
        h2 { "How its button looks" }
        p {
            "The button is a part, so your style sheet reaches it: for who comes by keyboard give it a ring that is seen, "
            "for a browser's own is thin."
        }
        pre tabindex="0" { code { (STYLE) } }
        h2 { "If your site has a content security policy" }
        pre tabindex="0" { code { (POLICY) } }
        p {
            "Your return page is shown in the frame for a moment before the component closes it, so it must let "
            "itself be framed by its own origin (" code { "frame-ancestors 'self'" } ")."
        }
        h2 { "What a frame cannot do" }
        p {
            "DocuSign advises against frames on phones, and some of its identity checks refuse to be framed: that "
            "is why small screens get a tab, and why the frame has a link that opens one. For focused view, take "
            code { "view.url" } " and DocuSign's own script instead: with " code { "frame_ancestors" } " set, views "
            "name " code { "https://apps-d.docusign.com" } " (in production " code { "https://apps.docusign.com" }
            ") as frame ancestor and message origin. In focused view the browser does not come back through "
            "countersign, so there is no claim; facts come as ever."
        }
    }
}

fn table(rows: &[(&str, &str)]) -> Markup {
    html! {
        table { tbody { @for (name, about) in rows { tr { td { code { (name) } } td { (about) } } } } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ring_that_the_page_asks_for_is_the_one_of_the_demo() {
        let ring = "countersign-link::part(button):focus-visible { outline: 3px solid ";
        assert!(STYLE.contains(ring) && about().into_string().contains(ring));
        assert!(include_str!("../../demo/pages/style.css").contains(ring));
    }
}
