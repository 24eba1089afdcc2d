//! What can be done with an order: the next step, and everything else that its state allows.

use maud::{Markup, html};

use super::{Shown, clock_time, words};
use crate::demo::orders::{Order, PARTNER, PARTNER_NAME, VISITOR};

/// Where the signing page stands with the visitor's identity when codes were wrong too often.
const LOCKED: &str = "auth_failed";

/// The next step.
pub(super) fn next(shown: &Shown<'_>) -> Markup {
    let status_of = |key| shown.signing.signer(key).map(|signer| signer.status.as_str());
    match (shown.signing.status.as_str(), status_of(VISITOR)) {
        ("completed", _) => documents(shown),
        ("open", Some(LOCKED)) => another_phone(shown),
        ("open", _) if shown.signing.is_half_signed() => partner(shown),
        ("open", _) if !shown.signing.awaits_confirmation() => go_on(shown.order),
        _ if shown.signing.is_final() => html! {
            section class="card" aria-labelledby="next" {
                h2 id="next" { "Changed your mind?" }
                div class="actions" { a class="button" href="/" { "Start a new order" } }
            }
        },
        _ => html! {},
    }
}

fn documents(shown: &Shown<'_>) -> Markup {
    let id = shown.order.id.as_str();
    html! {
        section class="card" aria-labelledby="papers" {
            h2 id="papers" { "Your documents" }
            @if shown.signing.purge_requested_at.is_some() {
                p { "They are being destroyed at DocuSign, as you asked. Whatever you have downloaded is yours." }
            } @else {
                p { "Please keep the signed document for your records." }
                div class="actions" {
                    a class="button" href={ "/orders/" (id) "/signed.pdf" } { "Download the signed PDF" }
                    a class="button second" href={ "/orders/" (id) "/certificate.pdf" } { "Certificate of completion" }
                }
            }
        }
    }
}

fn go_on(order: &Order) -> Markup {
    let id = order.id.as_str();
    html! {
        section class="card" aria-labelledby="next" {
            h2 id="next" { "Go on where you stopped" }
            p { "It is the same document; the old signing page no longer works, so you get a fresh one." }
            form class="actions" method="post" action={ "/orders/" (id) "/sign" } { button { "Continue to sign" } }
            @if let Some(link) = &order.link {
                p class="small after" { "Or later, from any device: " a href=(link.url) { "your own link" } " works for as long as the document can be signed. " a href={ "/orders/" (id) "/here" } { "Sign without leaving us" } }
            }
        }
    }
}

/// Whoever signs second is told when the daemon says that it is their turn, and not before.
fn partner(shown: &Shown<'_>) -> Markup {
    let partner = shown.signing.signer(PARTNER).map(|signer| signer.id.as_str());
    let is_their_turn = |kind: &str, signer: Option<&str>| kind == "signer.ready" && signer == partner;
    let turn = shown.told.iter().find(|told| is_their_turn(&told.kind, told.signer.as_deref()));
    html! {
        section class="card" aria-labelledby="next" {
            @match (turn, &shown.order.partner_link) {
                (Some(turn), Some(link)) => {
                    h2 id="next" { "Now " (PARTNER_NAME) " signs for us" }
                    p { "At " (clock_time(turn.at)) " a webhook told us: " code { (turn.kind) } ". A real website would send our partner an e-mail with this link now; here, you may press it for him." }
                    div class="actions" { a class="button" href=(link.url) { "Sign as " (PARTNER_NAME) } }
                }
                _ => {
                    h2 id="next" { "Then " (PARTNER_NAME) " signs for us" }
                    p { "Our partner gets his link when DocuSign says that it is his turn." }
                }
            }
        }
    }
}

fn another_phone(shown: &Shown<'_>) -> Markup {
    html! {
        section class="card" aria-labelledby="next" {
            h2 id="next" { "Another number for your code" }
            p { "The codes were wrong too often, so DocuSign let nobody in. With another number, or the same one again, the document can be signed after all." }
            (phone_form(shown, "button"))
        }
    }
}

fn phone_form(shown: &Shown<'_>, class: &str) -> Markup {
    let errors = shown.refusal.map(|refusal| refusal.errors.as_slice()).unwrap_or_default();
    let error = errors.iter().find(|error| error.pointer == "/phone");
    html! {
        form method="post" action={ "/orders/" (shown.order.id.as_str()) "/phone" } {
            div class="field narrow" {
                label for="phone" { "Mobile phone" }
                input id="phone" name="phone" type="tel" autocomplete="tel" maxlength="30" required
                    aria-describedby=(if error.is_some() { "phone-error phone-hint" } else { "phone-hint" })
                    aria-invalid=[error.map(|_| "true")];
                @if let Some(error) = error { p class="error" id="phone-error" { "Mobile phone " (error.detail) } }
                p class="hint" id="phone-hint" { "With country code, as in +49 151 87654321." }
            }
            button class=(class) { "Use this number" }
        }
    }
}

/// Everything else that can be done now, each folded away behind its name: nobody presses by accident.
pub(super) fn more(shown: &Shown<'_>) -> Markup {
    let signing = shown.signing;
    let may_purge = signing.is_final() && signing.status != "failed" && signing.purge_requested_at.is_none();
    if signing.status != "open" && !may_purge {
        return html! {};
    }
    html! {
        section class="card" aria-labelledby="more" {
            h2 id="more" { "What else you can do" }
            div class="acts" {
                @if signing.status == "open" { (while_open(shown)) } @else { (purge(shown.order)) }
            }
        }
    }
}

fn while_open(shown: &Shown<'_>) -> Markup {
    let signer = shown.signing.signer(VISITOR).map(|signer| signer.status.as_str());
    let (id, order) = (shown.order.id.as_str(), shown.order);
    let has_signed = signer == Some("signed");
    html! {
        @if !has_signed && signer != Some(LOCKED) {
            details class="act" open[shown.refusal.is_some_and(|refusal| !refusal.errors.is_empty())] {
                summary { "Have the code sent to another phone" }
                (phone_form(shown, "second"))
            }
        }
        (act(id, "refresh", "Ask DocuSign now", "Ask now", "DocuSign tells us by itself what happens, so this is seldom needed. It allows one question in 15 minutes about a document; asked again before that, the daemon says when it may."))
        @if has_signed {
            // Their link has done its work.
        } @else if order.is_link_revoked {
            (act(id, "link", "Get a new link", "Make a new link", "The old one leads to a page that says it is no longer valid. The new one works for the same document."))
        } @else if order.link.is_some() {
            (act(id, "revoke", "Make your link worthless", "Revoke the link", "If it went to somebody who should not have it. You can get a new one; the document stays as it is."))
        }
        (act(id, "void", "Call the order off", "Call it off", "Nobody can sign after that. It cannot be undone."))
    }
}

fn purge(order: &Order) -> Markup {
    let text = "DocuSign keeps a copy of the document, and of what was entered in it. This has both destroyed there; it takes some days, and cannot be undone.";
    act(order.id.as_str(), "purge", "Have the document destroyed", "Destroy it", text)
}

/// One button, behind its name and with what it does.
fn act(order: &str, path: &str, name: &str, button: &str, text: &str) -> Markup {
    html! {
        details class="act" {
            summary { (name) }
            p { (text) }
            form method="post" action={ "/orders/" (order) "/" (path) } { button class="second" { (button) } }
        }
    }
}

/// What the title says on top of the page.
pub(super) fn headline(shown: &Shown<'_>) -> &'static str {
    let signer = shown.signing.signer(VISITOR).map(|signer| signer.status.as_str());
    match (shown.signing.status.as_str(), signer) {
        ("completed", _) => "Thank you: it is signed",
        ("declined", Some("declined")) => "You declined to sign",
        ("declined", _) => "It will not be signed",
        ("expired", _) => "The time to sign is over",
        ("failed", _) => "The document could not be prepared",
        ("voided", _) => "This order was called off",
        ("open", Some(LOCKED)) => "We could not tell that it is you",
        ("open", _) if shown.signing.awaits_confirmation() => "Almost there",
        ("open", _) if shown.signing.is_half_signed() => "Thank you: now we sign",
        ("open", _) => "Your document waits for you",
        _ => "Your document is being prepared",
    }
}

/// Who is meant, where there are two.
pub(super) fn who(shown: &Shown<'_>, key: &str) -> &'static str {
    if shown.signing.signers.len() > 1 { words::person(key) } else { "Signer" }
}
