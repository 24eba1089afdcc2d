//! An order: what the browser claims and what is known, side by side; and the list of all orders.

use maud::{Markup, html};

use super::{Place, clock_time, day, shell};
use crate::demo::{
    backend::{Moment, Refusal, Signing},
    orders::Order,
    returned::Proof,
};

/// While a claim waits for its fact, the page looks again this often.
const REFRESH_S: u32 = 2;

/// All that the page of an order is made from.
#[derive(Debug)]
pub(crate) struct Shown<'a> {
    pub(crate) order: &'a Order,
    pub(crate) signing: &'a Signing,
    pub(crate) timeline: &'a [Moment],
    /// What the return URL carried, if the visitor comes from there.
    pub(crate) proof: Option<Proof>,
    /// Why the last press of a button did nothing.
    pub(crate) refusal: Option<&'a Refusal>,
}

/// How a state is painted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tone {
    Bad,
    Good,
    Wait,
}

impl Tone {
    const fn class(self) -> &'static str {
        match self {
            Self::Bad => "badge bad",
            Self::Good => "badge good",
            Self::Wait => "badge wait",
        }
    }
}

/// The page of an order.
pub(crate) fn order(shown: &Shown<'_>) -> Markup {
    let Shown { order, signing, .. } = shown;
    let (badge, tone) = state(&signing.status);
    let is_waiting = !signing.is_final() && claim_of(signing) == Some("signing_complete");
    let refresh =
        (is_waiting || matches!(signing.status.as_str(), "creating" | "uncertain")).then_some(REFRESH_S);
    shell(
        Place::Orders,
        &format!("Order {}", order.id.as_str()),
        refresh,
        &html! {
            p class="crumb" { a href="/orders" { "All orders" } }
            div class="headline" { h1 { (headline(signing)) } span class=(tone.class()) { (badge) } }
            p class="quiet" { (order.paper.title()) " · order " span class="num" { (order.id.as_str()) } " · " (day(order.placed_at)) }
            @if let Some(refusal) = shown.refusal {
                div class="notice bad" role="alert" { p { strong { "That did not work: " } (refusal.detail) } p { (refusal.fix) } }
            }
            @if is_waiting {
                div class="notice wait" role="status" { p { "Your browser says that you have signed. We believe it once DocuSign has confirmed it; this page looks again every " (REFRESH_S) " seconds." } }
            }
            div class="truth" { (claim(signing, shown.proof)) (fact(signing, tone)) }
            (next(order, signing))
            section class="card" aria-labelledby="timeline" {
                h2 id="timeline" { "What happened" }
                ol class="timeline" {
                    @for moment in shown.timeline { li { time datetime=(moment.at) { (clock_time(moment.at)) } (moment.text) } }
                }
            }
        },
    )
}

fn claim_of(signing: &Signing) -> Option<&str> {
    signing.signer()?.last_return.as_ref().map(|last| last.claim.as_str())
}

fn headline(signing: &Signing) -> &'static str {
    match (signing.status.as_str(), claim_of(signing)) {
        ("completed", _) => "Thank you: it is signed",
        ("declined", _) => "You declined to sign",
        ("expired", _) => "The time to sign is over",
        ("failed", _) => "The document could not be prepared",
        ("voided", _) => "This order was called off",
        ("open", Some("signing_complete")) => "Almost there",
        ("open", _) => "Your document waits for you",
        _ => "Your document is being prepared",
    }
}

fn state(status: &str) -> (&'static str, Tone) {
    match status {
        "completed" => ("Completed", Tone::Good),
        "declined" => ("Declined", Tone::Bad),
        "expired" => ("Expired", Tone::Bad),
        "failed" => ("Failed", Tone::Bad),
        "open" => ("Not signed yet", Tone::Wait),
        "voided" => ("Called off", Tone::Bad),
        _ => ("In preparation", Tone::Wait),
    }
}

/// The left side: what came with the browser, which anyone can type.
fn claim(signing: &Signing, proof: Option<Proof>) -> Markup {
    let last = signing.signer().and_then(|signer| signer.last_return.as_ref());
    html! {
        section class="card claim" aria-labelledby="claim" {
            h2 class="kind" id="claim" { "Claim: what the browser said" }
            @match last {
                Some(last) => {
                    p class="said" { "“" (claim_words(&last.claim)) "”" }
                    p class="quiet small" { "It came back at " (clock_time(last.at)) " with " code { (last.claim) } ". Anyone can type that into an address bar, so it decides nothing." }
                }
                None => {
                    p class="said" { "Nothing so far" }
                    p class="quiet small" { "Your browser has not come back from the signing page." }
                }
            }
            @if let Some(proof) = proof {
                p class="small" { strong { "Result token: " } (proof.words()) }
            }
        }
    }
}

/// The right side: what the daemon knows from DocuSign itself.
fn fact(signing: &Signing, tone: Tone) -> Markup {
    let envelope = signing.provider.as_ref().and_then(|provider| provider.envelope_id.as_deref());
    html! {
        section class="card fact" aria-labelledby="fact" {
            h2 class="kind" id="fact" { "Fact: what DocuSign confirmed" }
            p class="said" { (fact_words(&signing.status)) }
            p class="quiet small" {
                @if tone == Tone::Good { "DocuSign said so itself: in an event whose digest was checked, or when it was asked. Only this side decides what happens next." }
                @else { "This side changes only when DocuSign itself says so: in an event whose digest is checked, or when it is asked." }
            }
            dl class="facts" {
                dt { "Signer" } dd { (signing.signer().map_or("unknown", |signer| signer_words(&signer.status))) }
                @if let Some(at) = signing.completed_at { dt { "Completed" } dd class="num" { (day(at)) ", " (clock_time(at)) } }
                @if let Some(envelope) = envelope { dt { "Envelope" } dd { code { (envelope) } } }
            }
        }
    }
}

fn next(order: &Order, signing: &Signing) -> Markup {
    let id = order.id.as_str();
    html! {
        @if signing.status == "completed" {
            section class="card" aria-labelledby="papers" {
                h2 id="papers" { "Your documents" }
                p { "Please keep the signed document for your records." }
                div class="actions" {
                    a class="button" href={ "/orders/" (id) "/signed.pdf" } { "Download the signed PDF" }
                    a class="button second" href={ "/orders/" (id) "/certificate.pdf" } { "Certificate of completion" }
                }
            }
        } @else if signing.status == "open" && claim_of(signing) != Some("signing_complete") {
            section class="card" aria-labelledby="next" {
                h2 id="next" { "Go on where you stopped" }
                p { "It is the same document; the old signing page no longer works, so you get a fresh one." }
                form class="actions" method="post" action={ "/orders/" (id) "/sign" } { button { "Continue to sign" } }
                @if let Some(link) = &order.link {
                    p class="small" { "Or later, from any device: " a href=(link.url) { "your own link" } " works for as long as the document can be signed. " a href={ "/orders/" (id) "/here" } { "Sign without leaving us" } }
                }
            }
        } @else if signing.is_final() {
            section class="card" aria-labelledby="next" {
                h2 id="next" { "Changed your mind?" }
                div class="actions" { a class="button" href="/" { "Start a new order" } }
            }
        }
    }
}

fn claim_words(claim: &str) -> &'static str {
    match claim {
        "access_code_failed" => "The access code was wrong",
        "cancel" => "I will finish later",
        "decline" => "I decline",
        "exception" => "The signing page failed",
        "id_check_failed" => "The SMS code was wrong too often",
        "session_timeout" => "I was away too long",
        "signing_complete" => "I have signed",
        "ttl_expired" => "The page had expired",
        "viewing_complete" => "I have read it",
        _ => "I am back",
    }
}

fn fact_words(status: &str) -> &'static str {
    match status {
        "completed" => "Signed by everyone",
        "creating" => "Not created yet",
        "declined" => "Declined",
        "expired" => "Expired unsigned",
        "failed" => "Never created",
        "open" => "Not signed yet",
        "uncertain" => "Being looked up",
        "voided" => "Called off",
        _ => "Unknown",
    }
}

fn signer_words(status: &str) -> &'static str {
    match status {
        "auth_failed" => "identity check failed",
        "declined" => "declined",
        "in_session" => "has the document open",
        "ready" => "can sign now",
        "signed" => "signed",
        _ => "waits for their turn",
    }
}

/// The list of all orders, each with its state; `None`: the daemon did not say.
pub(crate) fn orders(list: &[(Order, Option<Signing>)]) -> Markup {
    shell(
        Place::Orders,
        "Orders",
        None,
        &html! {
            h1 { "Orders" }
            p class="quiet" { "On a real website you would see your own after signing in. Each state is asked of the daemon, not remembered." }
            @if list.is_empty() {
                div class="card empty" { p { "Nothing has been ordered yet." } a class="button" href="/" { "Sign the first document" } }
            } @else {
                ul class="orders" {
                    @for (order, signing) in list {
                        @let (badge, tone) = signing.as_ref().map_or(("Unknown", Tone::Wait), |signing| state(&signing.status));
                        li {
                            a href={ "/orders/" (order.id.as_str()) } {
                                b { (order.paper.title()) }
                                span class=(tone.class()) { (badge) }
                                span class="quiet small num" { (order.id.as_str()) " · " (clock_time(order.placed_at)) }
                            }
                        }
                    }
                }
            }
        },
    )
}
