//! An order: what the browser claims and what is known, side by side; and the list of all orders.

use jiff::Timestamp;
use maud::{Markup, html};

use super::{
    Place, clock_time, day,
    next::{headline, more, next, who},
    refused, shell, words,
};
use crate::demo::{
    backend::{Moment, Refusal, Signing},
    orders::Order,
    returned::Proof,
    webhooks::Told,
};

/// While a claim waits for its fact, the page looks again this often.
const REFRESH_S: u32 = 2;

/// All that the page of an order is made from.
#[derive(Debug)]
pub(crate) struct Shown<'a> {
    pub(crate) order: &'a Order,
    pub(crate) signing: &'a Signing,
    pub(crate) timeline: &'a [Moment],
    /// What the daemon's webhooks told.
    pub(crate) told: &'a [Told],
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
    let (badge, tone) = state(signing);
    let is_waiting = signing.awaits_confirmation();
    let refresh =
        (is_waiting || matches!(signing.status.as_str(), "creating" | "uncertain")).then_some(REFRESH_S);
    shell(
        Place::Orders,
        &format!("Order {}", order.id.as_str()),
        refresh,
        &html! {
            p class="crumb" { a href="/orders" { "All orders" } }
            div class="headline" { h1 { (headline(shown)) } span class=(tone.class()) { (badge) } }
            p class="quiet" { (order.paper.title()) " · order " span class="num" { (order.id.as_str()) } " · " (day(order.placed_at)) }
            @if let Some(refusal) = shown.refusal { (refused(refusal)) }
            @if is_waiting {
                div class="notice wait" role="status" { p { "Your browser says that you have signed. We believe it once DocuSign has confirmed it; this page looks again every " (REFRESH_S) " seconds." } }
            }
            div class="truth" { (claim(shown)) (fact(shown, tone)) }
            (next(shown))
            (accounts(shown))
            (more(shown))
        },
    )
}

fn state(signing: &Signing) -> (&'static str, Tone) {
    match signing.status.as_str() {
        "completed" => ("Completed", Tone::Good),
        "declined" => ("Declined", Tone::Bad),
        "expired" => ("Expired", Tone::Bad),
        "failed" => ("Failed", Tone::Bad),
        "open" if signing.is_half_signed() => ("Signed in part", Tone::Wait),
        "open" => ("Not signed yet", Tone::Wait),
        "voided" => ("Called off", Tone::Bad),
        _ => ("In preparation", Tone::Wait),
    }
}

/// The left side: what came with the browser, which anyone can type.
fn claim(shown: &Shown<'_>) -> Markup {
    let returns =
        shown.signing.signers.iter().filter_map(|signer| Some((signer, signer.last_return.as_ref()?)));
    let returns: Vec<_> = returns.collect();
    html! {
        section class="card claim" aria-labelledby="claim" {
            h2 class="kind" id="claim" { "Claim: what the browser said" }
            @for (signer, last) in &returns {
                @if shown.signing.signers.len() > 1 { p class="small by" { (words::person(&signer.key)) } }
                p class="said" { "“" (words::claim(&last.claim)) "”" }
                p class="quiet small" { "It came back at " (clock_time(last.at)) " with " code { (last.claim) } ". Anyone can type that into an address bar, so it decides nothing." }
            }
            @if returns.is_empty() {
                p class="said" { "Nothing so far" }
                p class="quiet small" { "Your browser has not come back from the signing page." }
            }
            @if let Some(proof) = shown.proof {
                p class="small" { strong { "Result token: " } (proof.words()) }
            }
        }
    }
}

/// The right side: what the daemon knows from DocuSign itself.
fn fact(shown: &Shown<'_>, tone: Tone) -> Markup {
    let signing = shown.signing;
    let envelope = signing.provider.as_ref().and_then(|provider| provider.envelope_id.as_deref());
    let until = signing.expires_at.filter(|_| signing.status == "open");
    html! {
        section class="card fact" aria-labelledby="fact" {
            h2 class="kind" id="fact" { "Fact: what DocuSign confirmed" }
            p class="said" { (words::fact(signing)) }
            p class="quiet small" {
                @if tone == Tone::Good { "DocuSign said so itself: in an event whose digest was checked, or when it was asked. Only this side decides what happens next." }
                @else { "This side changes only when DocuSign itself says so: in an event whose digest is checked, or when it is asked." }
            }
            dl class="facts" {
                @for signer in &signing.signers { dt { (who(shown, &signer.key)) } dd { (words::signer(&signer.status, signing.is_final())) } }
                @if let Some(at) = until { dt { "Sign until" } dd class="num" { (moment(at)) } }
                @if let Some(at) = signing.completed_at { dt { "Completed" } dd class="num" { (moment(at)) } }
                @if let Some(at) = signing.purged_at { dt { "Destroyed" } dd class="num" { (moment(at)) } }
                @else if let Some(at) = signing.purge_requested_at { dt { "To be destroyed" } dd class="num" { "asked for " (moment(at)) } }
                @if let Some(envelope) = envelope { dt { "Envelope" } dd { code { (envelope) } } }
            }
        }
    }
}

/// A day and a time.
fn moment(at: Timestamp) -> String {
    format!("{}, {}", day(at), clock_time(at))
}

/// What happened, twice: as the daemon answers when it is asked, and as it told us unasked.
fn accounts(shown: &Shown<'_>) -> Markup {
    html! {
        div class="truth" {
            section class="card" aria-labelledby="timeline" {
                h2 id="timeline" { "What happened" }
                p class="quiet small" { "The daemon’s own account, asked for when this page was made." }
                ol class="timeline" {
                    @for moment in shown.timeline { li { time datetime=(moment.at) { (clock_time(moment.at)) } (moment.text) } }
                }
            }
            section class="card" aria-labelledby="told" {
                h2 id="told" { "What we were told" }
                p class="quiet small" { "Webhooks that came by themselves. The signature of each was checked before it was believed." }
                @if shown.told.is_empty() { p class="small" { "None so far; they come within a second." } }
                ol class="timeline" {
                    @for told in shown.told {
                        li { time datetime=(told.at) { (clock_time(told.at)) } (words::event(told, shown.signing)) " " code class="small" { (told.kind) } }
                    }
                }
            }
        }
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
                div class="card empty" { p { "Nothing has been ordered on this website yet. What a call of your own has made is not its order: ask GET /v1/signings for that." } a class="button" href="/" { "Sign the first document" } }
            } @else {
                ul class="orders" {
                    @for (order, signing) in list {
                        @let (badge, tone) = signing.as_ref().map_or(("Unknown", Tone::Wait), state);
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
