//! The pages that visitors see: pure functions from a situation to HTML.
//!
//! They work without script, on a phone, with a keyboard and a screen reader (rule L5), and hold nothing
//! that came from outside except as escaped text. A page never carries a token, a nonce or a view URL:
//! its form posts to the address that it was opened at.

mod page;
mod texts;

use jiff::Timestamp;
use maud::{DOCTYPE, Markup, html};

use crate::{
    domain::Language,
    theme::{Icon, Theme},
};
use page::{Action, Content, Tone};
use texts::Texts;

pub use page::{Account, ConsentPage, Invitation, Page, PairingPage, Pause, Preparing};

/// What a page shows besides its situation. All of it may come from outside.
#[derive(Debug, Clone, Copy, Default)]
pub struct Details<'a> {
    /// Where the link back to the site leads.
    pub back: Option<&'a str>,
    /// Names this rendering of the page, so that a double click is known as one.
    pub click: Option<&'a str>,
    /// How long the link lives that the page stands at; none if it stands elsewhere.
    pub link: Option<LinkLife>,
    /// Whether it is shown to a click of which nothing is known (any more): whoever waits for it must press the button again.
    pub lost: bool,
    /// The name of the person it is for.
    pub person: Option<&'a str>,
    /// The caller's own name for the signing.
    pub reference: Option<&'a str>,
    /// Where the page goes when it loads itself again, or is asked to: a relative reference; none for itself.
    pub refresh_to: Option<&'a str>,
    /// Whether signatures do not bind.
    pub test: bool,
}

/// How long a link leads on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkLife {
    /// Until then, by the caller's wish.
    Until(Timestamp),
    /// For as long as the envelope is open.
    WhileOpen,
}

/// Draws a page.
pub fn draw(theme: &Theme, language: Language, page: &Page, details: &Details<'_>) -> Markup {
    let texts = Texts::of(language);
    let content = page.content(texts);
    html! {
        (DOCTYPE)
        html lang=(language.tag()) {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="robots" content="noindex, nofollow";
                meta name="referrer" content="no-referrer";
                @if let Some(seconds) = page.refresh_s() {
                    meta http-equiv="refresh" content=(refresh(seconds, details.refresh_to));
                }
                title { (content.title) " · " (theme.name()) }
                style { (maud::PreEscaped(theme.style())) }
            }
            body {
                header { (brand(theme)) }
                main { (card(texts, page, &content, details)) }
                footer {
                    @if details.test { p { span.test { (texts.test_mode) } } }
                    @if offers_signing(page) { p { (texts.docusign_note) } }
                }
            }
        }
    }
}

fn brand(theme: &Theme) -> Markup {
    html! {
        @if let Some(logo) = theme.logo() {
            img src=(logo) alt="";
        } @else {
            span.mark { (Icon::Pen.draw()) }
        }
        span { (theme.name()) }
    }
}

fn card(texts: &'static Texts, page: &Page, content: &Content, details: &Details<'_>) -> Markup {
    let invitation = if let Page::Ready(invitation) = page { Some(invitation) } else { None };
    let life = invitation.and(details.link);
    html! {
        div class={ "card " (tone(content.tone)) } {
            div.icon { (content.icon.draw()) }
            h1 { (content.title) }
            p { (content.body) }
            @if invitation.is_some_and(|invitation| invitation.refused) {
                p role="status" { strong { (texts.press_again) } }
            }
            @if details.lost && page.has_button() { p role="status" { strong { (texts.line_lost) } } }
            @if offers_signing(page) { (facts(texts, details)) }
            @if invitation.is_some_and(|invitation| invitation.sms) {
                div.note { (Icon::Phone.draw()) span { (texts.sms_note) } }
            }
            (action(content.action, details))
            @if let Page::Pairing(PairingPage::Choice { accounts, .. }) = page { (choice(texts, accounts)) }
            @if let Page::Pairing(PairingPage::NotAllowed { organisation_url: Some(url) }) = page {
                a.button.plain href=(url) rel="noreferrer" { (texts.connect_not_allowed_button) }
            }
            @if let Some(url) = details.back {
                a.button.plain href=(url) { span { (filled(texts.back, &[("host", host(url).as_str())])) } }
            }
            @if let Some(life) = life { p.quiet { (come_back(texts, life)) } }
            @if page.refresh_s().is_some() { p.quiet { (texts.refreshes) } }
        }
    }
}

/// Whom and what it is about, so that a link in the wrong hands is noticed.
fn facts(texts: &'static Texts, details: &Details<'_>) -> Markup {
    html! {
        @if details.person.is_some() || details.reference.is_some() {
            dl {
                @if let Some(person) = details.person { dt { (texts.for_label) } dd { (person) } }
                @if let Some(reference) = details.reference { dt { (texts.reference_label) } dd { (reference) } }
            }
        }
    }
}

fn action(action: Action, details: &Details<'_>) -> Markup {
    html! {
        @match action {
            Action::Again(label) => { a.button.plain href=(details.refresh_to.unwrap_or("?")) { (label) } }
            Action::Mint(label) => {
                form method="post" {
                    @if let Some(click) = details.click { input type="hidden" name="click" value=(click); }
                    button.button type="submit" { span { (label) } (Icon::Arrow.draw()) }
                }
            }
            Action::None => {}
        }
    }
}

/// The accounts as a group of radio buttons with a legend, the default one chosen.
fn choice(texts: &'static Texts, accounts: &[Account]) -> Markup {
    let first = accounts.iter().position(|account| account.is_default).unwrap_or(0);
    html! {
        form method="post" {
            fieldset {
                legend { (texts.connect_choose_legend) }
                @for (at, account) in accounts.iter().enumerate() {
                    label.pick {
                        input type="radio" name="account" value=(account.id) checked[at == first] required;
                        span {
                            strong { (account.name) }
                            @if account.is_default { " " span.quiet { (texts.connect_choose_default) } }
                            br;
                            span.quiet { (account.id) }
                        }
                    }
                }
            }
            button.button type="submit" { span { (texts.connect_choose_button) } (Icon::Arrow.draw()) }
        }
    }
}

fn come_back(texts: &Texts, life: LinkLife) -> String {
    match life {
        LinkLife::Until(end) => texts.link_lives_until.replace("{moment}", &texts.moment(end)),
        LinkLife::WhileOpen => texts.link_lives.to_owned(),
    }
}

const fn offers_signing(page: &Page) -> bool {
    matches!(page, Page::Ready(_) | Page::Resume(_))
}

const fn tone(tone: Tone) -> &'static str {
    match tone {
        Tone::Bad => "bad",
        Tone::Good => "good",
        Tone::Plain => "",
        Tone::Wait => "wait",
        Tone::Warn => "warn",
    }
}

/// A text with names in its holes. They are set apart, because a hyphen that is put into a name would be read as part of it.
fn filled(text: &str, names: &[(&str, &str)]) -> Markup {
    let name_of = |hole: &str| names.iter().find(|(known, _)| *known == hole).map_or("", |(_, name)| *name);
    html! {
        @for (at, piece) in text.split(['{', '}']).enumerate() {
            @if at % 2 == 1 { span.name { (name_of(piece)) } } @else { (piece) }
        }
    }
}

/// The site's host, as a person would say it.
fn host(url: &str) -> String {
    let host = url::Url::parse(url).ok().and_then(|url| url.host_str().map(str::to_owned));
    host.map(|host| host.strip_prefix("www.").map(str::to_owned).unwrap_or(host)).unwrap_or_default()
}

fn refresh(seconds: u32, to: Option<&str>) -> String {
    to.map_or_else(|| seconds.to_string(), |to| format!("{seconds};url={to}"))
}

#[cfg(test)]
mod tests;
