//! One sender on the status page.

use std::error::Error as _;

use jiff::Timestamp;
use maud::{Markup, html};

use super::{check_form, minutes, part, time};
use crate::{
    auth::{
        Error,
        access_token::Band,
        consent::Consent,
        key_ring::{KeyState, KeyStatus},
    },
    ops::{
        Status,
        admin::{session::Session, view::SenderView},
    },
    theme::Icon,
};

/// Its card.
pub(super) fn card(session: &Session, sender: &SenderView, now: Timestamp) -> Markup {
    let status = &sender.status;
    let (tone, icon, word) = match sender.health {
        _ if sender.is_unconnected => ("warn", Icon::Clock, "Not connected"),
        Status::Ready if status.is_idle() => ("good", Icon::Check, "Idle"),
        Status::Ready => ("good", Icon::Check, "Ready"),
        Status::Degraded => ("warn", Icon::Warning, "Degraded"),
        Status::NotReady => ("bad", Icon::Cross, "Not ready"),
    };
    let content = html! {
        div.bar { h2 { (sender.name) } span class={ "pill " (tone) } { (icon.draw()) (word) } }
        dl {
            dt { "Token" } dd { (token(sender)) }
            dt { "Consent" } dd { (consent(sender)) }
            dt { "Acts as" }
            dd {
                @if let Some(user) = &sender.user { code { (user) } } @else { span.quiet { "nobody yet" } }
                @if let Some(account) = &sender.account { span.quiet { "in account " code { (account) } } }
            }
        }
        @if sender.is_unconnected {
            div.problem.warn { p { "It waits for a customer, who connects an account of theirs with its link." } }
        } @else if let Some((error, _)) = status.trouble() { (problem(sender, &error)) }
        (keys(sender, now))
        div.actions {
            (check_form(session, sender))
            a.button.plain.small id={ "consent-" (sender.name) } href={ "/admin/senders/" (sender.name) "/consent" } {
                @if sender.is_unconnected { "Connect link" } @else { "Consent link" }
                span.visually-hidden { " of " (sender.name) }
            }
        }
    };
    let say = format!("{} is {}.", sender.name, word.to_lowercase());
    part(&format!("sender-{}", sender.name), "card", &say, &content)
}

/// Whether consent is there: large, for who is just giving it.
pub(super) fn tick(sender: &SenderView) -> Markup {
    let name = &sender.name;
    let (tone, icon, text) = match (sender.status.consent, sender.status.consented_by_other) {
        _ if sender.is_unconnected => {
            ("warn", Icon::Clock, format!("{name} is not connected yet. Waiting for a customer."))
        }
        (Consent::Granted, _) if sender.status.trouble().is_none() => {
            ("good", Icon::Check, format!("Consent is granted: {name} can act."))
        }
        (Consent::Granted, _) => (
            "warn",
            Icon::Warning,
            format!(
                "Consent is granted, and {name} is not well for another reason: the status page says which."
            ),
        ),
        (Consent::Missing, Some(other)) => (
            "bad",
            Icon::Warning,
            format!(
                "User {other} has consented, which does not count for {name}. Log out of DocuSign, and open the link as the user below."
            ),
        ),
        (Consent::Missing, None) => {
            ("warn", Icon::Clock, format!("Consent for {name} is missing. Waiting for it."))
        }
        (Consent::Unknown, _) => {
            ("warn", Icon::Clock, format!("Not known yet whether consent for {name} is there."))
        }
    };
    let content = html! { p class={ "tick " (tone) } { (icon.draw()) span { (text) } } };
    part(&format!("tick-{name}"), "", &text, &content)
}

fn token(sender: &SenderView) -> Markup {
    let status = &sender.status;
    let said = match status.band {
        Band::Fresh => "valid",
        Band::Advisory => "valid, being renewed",
        Band::LastMinutes => "valid for its last minutes",
        Band::None if status.is_idle() => "none, because nobody needs one now",
        Band::None => "none",
    };
    html! {
        (said)
        @if status.is_refreshing { ", a new one is being asked for" }
        @if let Some(at) = status.expires_at.filter(|_| status.has_token()) {
            span.quiet { "until " (time(at)) "; DocuSign's account server may stay away for " (minutes(status.runway)) }
        }
    }
}

fn consent(sender: &SenderView) -> Markup {
    let status = &sender.status;
    html! {
        @match status.consent {
            Consent::Granted => { span.pill.good { (Icon::Check.draw()) "granted" } }
            Consent::Missing => { span.pill.bad { (Icon::Cross.draw()) "missing" } }
            Consent::Unknown => { span.pill { "not known" } }
        }
        @if let Some(other) = status.consented_by_other {
            span.quiet { "user " code { (other) } " has consented, who is not this sender's user" }
        }
    }
}

/// What is wrong, and what to do.
fn problem(sender: &SenderView, error: &Error) -> Markup {
    html! {
        div class={ "problem" @if sender.status.has_token() { " warn" } } {
            p {
                strong { (error) } " " code { (error.code()) }
                @if let Some(cause) = error.source() { span { ": " (cause) } }
            }
            p { (error.fix()) }
            @if let Some(failure) = &sender.status.failure {
                p.quiet { "Since " (time(failure.since)) ", next try at " (time(failure.next_try)) " or when asked." }
            }
        }
    }
}

fn keys(sender: &SenderView, now: Timestamp) -> Markup {
    let keys = &sender.status.keys;
    html! {
        @if !keys.is_empty() {
            details id={ "keys-" (sender.name) } open[keys.iter().any(needs_a_look)] {
                summary { @if keys.len() == 1 { "1 key" } @else { (keys.len()) " keys" } }
                p.quiet { "In the order in which they are tried" }
                ol.keys { @for key in keys { (row(key, now)) } }
            }
        }
    }
}

fn row(key: &KeyStatus, now: Timestamp) -> Markup {
    let tone = match key.state {
        KeyState::Active | KeyState::Standby => "good",
        KeyState::Unproven => "warn",
        KeyState::Broken | KeyState::Rejected => "bad",
    };
    html! {
        li {
            @match key.fingerprint {
                Some(print) => { code { (print) } }
                None => { "no key" }
            }
            p.quiet {
                span class={ "pill " (tone) } { (key.state.as_str()) }
                @if let Some(bits) = key.bits { " " (bits) " bits" }
                @if let Some(at) = key.loaded_at { ", read " (minutes(now.duration_since(at).unsigned_abs())) " ago" }
                ", last success "
                @match key.last_success { Some(at) => { (time(at)) } None => { "never" } }
            }
            @if let Some(defect) = &key.defect { p.problem { (defect) } }
        }
    }
}

fn needs_a_look(key: &KeyStatus) -> bool {
    key.defect.is_some() || matches!(key.state, KeyState::Broken | KeyState::Rejected)
}
