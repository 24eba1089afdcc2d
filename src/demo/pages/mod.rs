//! The pages of the website: HTML and one style sheet, readable on a phone and by a screen reader. No
//! script, except where the daemon's component stands.

mod here;
mod home;
mod next;
mod order;
mod outbox;
mod words;

pub(super) use self::{
    here::here,
    home::{Filled, LANGUAGES, LIVES, Notice, home},
    order::{Shown, order, orders},
    outbox::outbox,
};

use jiff::{Timestamp, tz::TimeZone};
use maud::{DOCTYPE, Markup, html};

use super::backend::Refusal;

/// The style sheet of all pages.
pub(super) const STYLE: &str = include_str!("style.css");

/// What the page with the component does with its events.
pub(super) const HERE_SCRIPT: &str = include_str!("here.js");

/// The company's mark, also the icon of the pages.
pub(super) const ICON: &str = r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="8" fill="#0f4c40"/><path d="M16 4.5c3.6 4.4 5.6 8.5 5.6 12.2L17.400 22h-2.8l-4.2-5.3C10.4 13 12.4 8.9 16 4.5z" fill="#fbf9f4"/><path d="M16 8v9" stroke="#0f4c40" stroke-width="1.4"/><circle cx="16" cy="18" r="1.5" fill="#0f4c40"/><path d="M9 26.5h14" stroke="#f2c766" stroke-width="2" stroke-linecap="round"/></svg>"##;

/// A place in the site, for the navigation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Elsewhere,
    Home,
    Orders,
}

const NAVIGATION: [(Place, &str, &str); 2] =
    [(Place::Home, "/", "Sign"), (Place::Orders, "/orders", "Orders")];

/// A page around its content; with `refresh_s` it is loaded again after so many seconds.
fn shell(place: Place, title: &str, refresh_s: Option<u32>, content: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="robots" content="noindex";
                @if let Some(seconds) = refresh_s { meta http-equiv="refresh" content=(seconds); }
                title { (title) " · Alder & Quill" }
                link rel="icon" href="/icon.svg" type="image/svg+xml";
                link rel="stylesheet" href="/style.css";
            }
            body {
                a class="skip" href="#content" { "Skip to the content" }
                aside class="demo-note" aria-label="About this demo" {
                    div class="wrap" {
                        span { "Demo: a fictional company, an emulated DocuSign." }
                        a href="/outbox" target="_blank" rel="noopener" { "SMS outbox (opens in a new tab)" }
                    }
                }
                header class="top" {
                    div class="wrap" {
                        a class="brand" href="/" { (mark()) "Alder & Quill" }
                        nav aria-label="Main" {
                            @for (target, path, name) in NAVIGATION {
                                a href=(path) aria-current=[(target == place).then_some("page")] { (name) }
                            }
                        }
                    }
                }
                main id="content" class="wrap" { (content) }
                footer {
                    div class="wrap" { "Alder & Quill does not exist. This website is part of countersign, and talks to it over its public API only." }
                }
            }
        }
    }
}

/// A page that only says something.
pub(super) fn message(title: &str, text: &str) -> Markup {
    shell(
        Place::Elsewhere,
        title,
        None,
        &html! {
            div class="card" {
                h1 { (title) }
                p { (text) }
                div class="actions" { a class="button" href="/" { "To the start" } }
            }
        },
    )
}

/// Why nothing was done; a field that is wrong says so itself.
fn refused(refusal: &Refusal) -> Markup {
    html! {
        div class="notice bad" role="alert" {
            @if refusal.errors.is_empty() {
                p { strong { "That did not work: " } (refusal.detail) " " code { (refusal.code) } }
                p { (refusal.fix) }
            } @else {
                p { strong { "Not yet. " } "Please correct what is marked below." }
            }
        }
    }
}

fn mark() -> Markup {
    html! {
        svg viewBox="0 0 32 32" aria-hidden="true" {
            rect width="32" height="32" rx="8" fill="#0f4c40" {}
            path d="M16 4.5c3.6 4.4 5.6 8.5 5.6 12.2L17.4 22h-2.8l-4.2-5.3C10.4 13 12.4 8.9 16 4.5z" fill="#fbf9f4" {}
            path d="M16 8v9" stroke="#0f4c40" stroke-width="1.4" {}
            circle cx="16" cy="18" r="1.5" fill="#0f4c40" {}
            path d="M9 26.5h14" stroke="#f2c766" stroke-width="2" stroke-linecap="round" {}
        }
    }
}

/// A moment as people read it.
fn clock_time(at: Timestamp) -> String {
    at.to_zoned(TimeZone::UTC).strftime("%H:%M:%S UTC").to_string()
}

/// A day as people read it.
pub(super) fn day(at: Timestamp) -> String {
    at.to_zoned(TimeZone::UTC).strftime("%-d %B %Y").to_string()
}
