//! `/docs/results`: what the `result` in a return URL is, and how a site checks it, in four languages. The
//! listings are files of their own, so that a test can run them as they are shown.

use axum::response::Response;
use maud::{Markup, html};

use super::pages::{scrolled, straight_back, text_page};

/// The listings, each with the name of its language.
pub const LISTINGS: [(&str, &str); 4] = [
    ("Python", include_str!("verify.py")),
    ("Node", include_str!("verify.mjs")),
    ("PHP", include_str!("verify.php")),
    ("Go", include_str!("verify.go")),
];

const CLAIMS: [(&str, &str); 10] = [
    ("iss", "\"countersign\""),
    ("aud", "your caller's name in the settings: refuse any other"),
    ("sub", "the signing's id; the same as signing_id beside it"),
    ("iat, exp", "made at, believed until: five minutes"),
    ("jti", "an id of its own; keep it to take each result once"),
    (
        "status",
        "the one word to act on: the signing's status once it has ended, else the signer's. Facts only",
    ),
    ("signing_status, signer_status", "both of them, each for itself"),
    ("signer_id, signer_key", "who came back"),
    ("reference", "yours, if you gave one"),
    ("claim", "what the browser said. It proves nothing, and never decides status"),
];

/// `GET /docs/results`.
pub async fn results() -> Response {
    text_page("The result of a return", &about())
}

pub(super) fn about() -> Markup {
    html! {
        p { a href="/docs" { "countersign API" } }
        h1 { "The result of a return" }
        p {
            "A visitor who comes back from signing arrives at your " code { "return_url" } " with "
            code { "signing_id" } ", " code { "status" } " and " code { "result" } " in its query. Anyone can type "
            "the first two. The third is a JWT that only countersign can make (RFC 7515, with EdDSA over Ed25519, "
            "RFC 8037), so your page can believe it without a call. What happens later, a webhook or "
            code { "GET /v1/signings/{id}" } " tells."
        }
        p {
            code { "status" } ", in the query as in the result, is the signing's once it has ended, else the signer's."
        }
        p {
            "Whoever has not signed or declined, and comes back by " code { "cancel" } ", " code { "session_timeout" } ", "
            code { "ttl_expired" } " or " code { "exception" } ", first sees a page of ours, with a button to go on and "
            "a link to your " code { "return_url" } " with the same three."
        }
        p { (straight_back()) }
        (scrolled("Claims of the result", &html! { table {
            thead { tr { th scope="col" { "Claim" } th scope="col" { "Is" } } }
            tbody { @for (name, is) in CLAIMS { tr { td { code { (name) } } td { (is) } } } }
        } }))
        h2 { "How to check it" }
        p {
            "Fetch " a href="/.well-known/jwks.json" { "/.well-known/jwks.json" } " once from the API listener and "
            "keep it; fetch it again when a " code { "kid" } " is not in it. Then:"
        }
        @for (language, listing) in LISTINGS {
            h3 { (language) }
            pre tabindex="0" { code { (listing) } }
        }
    }
}
