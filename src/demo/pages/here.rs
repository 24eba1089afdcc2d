//! The page where a visitor signs without leaving: the daemon's component, and what it reports, claim and
//! fact side by side.

use maud::{Markup, html};

use super::{Place, day, shell};
use crate::demo::{backend::Signing, orders::Order};

/// The page. `component` is the address of the daemon's script.
pub(crate) fn here(order: &Order, signing: &Signing, link: &str, component: &str) -> Markup {
    let id = order.id.as_str();
    shell(
        Place::Orders,
        "Sign here",
        None,
        &html! {
            script src=(component) defer {}
            script src="/here.js" defer {}
            p class="crumb" { a href={ "/orders/" (id) } { "Order " (id) } }
            h1 { "Sign without leaving us" }
            p class="quiet" { (order.paper.title()) " · " (day(order.placed_at)) }
            section class="card" aria-labelledby="sign" {
                h2 id="sign" { "Your document is ready" }
                p { "It opens in a window above this page; on a small screen, in a tab of its own. You can close it and go on later." }
                countersign-link href=(link) data-order=(id) { "Review and sign" }
                noscript { p { a class="button" href=(link) { "Review and sign" } } }
            }
            div class="truth" {
                section class="card claim" aria-labelledby="claim" {
                    h2 class="kind" id="claim" { "Claim: what the browser said" }
                    p class="said" id="claim-said" { "Nothing so far" }
                    p class="quiet small" { "Anyone can type that into an address bar, so it decides nothing." }
                }
                section class="card fact" aria-labelledby="fact" {
                    h2 class="kind" id="fact" { "Fact: what DocuSign confirmed" }
                    p class="said" id="fact-said" role="status" {
                        @if signing.status == "open" { "Not signed yet" } @else { (signing.status) }
                    }
                    p class="quiet small" { "The component asks for it; only DocuSign's word changes it." }
                }
            }
            section class="card" aria-labelledby="log-title" {
                h2 id="log-title" { "What the component reported" }
                ol class="timeline" id="log" {}
                div class="actions" { a class="button second" href={ "/orders/" (id) } { "To the order" } }
            }
        },
    )
}
