//! The pages: pure functions from what there is to see to HTML.
//!
//! A part that may change stands in an element with `data-part`, `data-version` (a digest of it, so that the
//! script need not compare) and `data-say` (what a screen reader is told when it changes).

use jiff::Timestamp;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{
    Admin,
    aim::Aim,
    session::Session,
    sheet,
    view::{Links, SenderView, View},
};
use crate::{
    auth::consent::Consent,
    digest::{hex, sha256},
    ops::{Report, Status, health::sender_of},
    theme::Icon,
};

mod making;
mod sender;

pub(super) use making::{Field, form as new_sender};

/// What is said where the page is off.
pub(super) const OFF: &str = "The status page is off: ops.operator_password_hash is not set. \
    `countersign operator password` makes a password and prints the line for the settings.\n";
/// What is said where an act could not be written down.
pub(super) const UNRECORDED: &str =
    "Not done: it cannot be written into the audit log. See the log for why.\n";
/// What is said where a sender could not be written down.
pub(super) const NOT_MADE: &str =
    "Not made: it could not be written down, so nothing was changed. Try again.\n";
/// What is said to a form that is not ours.
pub(super) const FOREIGN: &str = "This form was not sent from the status page; open it again.\n";
/// How often the page loads itself again where no script runs, while something is wrong and otherwise.
const REFRESH_S: [u32; 2] = [5, 30];

/// Why nobody was let in.
#[derive(Debug, Clone, Copy)]
pub(super) enum Refusal {
    /// The form was not shown to this browser, or lay there too long.
    Foreign,
    /// The form could not be read, for this reason.
    Unread(&'static str),
    /// Too many were wrong; so many seconds.
    Wait(u64),
    /// The password is wrong.
    Wrong,
}

/// How a check ended that was asked for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Notice {
    /// Well.
    Good,
    /// It did not.
    Bad,
    /// Not yet.
    Waiting,
}

impl Notice {
    /// From the word in the page's address; anything else is nothing.
    pub(super) fn of(word: &str) -> Option<Self> {
        match word {
            "good" => Some(Self::Good),
            "bad" => Some(Self::Bad),
            "waiting" => Some(Self::Waiting),
            _ => None,
        }
    }

    fn draw(self) -> Markup {
        let (tone, icon, text) = match self {
            Self::Good => ("good", Icon::Check, "Checked: DocuSign gave a token, and the account is there."),
            Self::Bad => ("bad", Icon::Warning, "Checked: it did not work. What was wrong is below."),
            Self::Waiting => ("warn", Icon::Clock, "The check is not done yet. What it finds appears below."),
        };
        html! { p class={ "tick " (tone) } role="status" { (icon.draw()) span { (text) } } }
    }
}

/// The form to log in.
pub(super) fn login(admin: &Admin, token: &str, aim: &Aim, refusal: Option<Refusal>) -> Markup {
    let error = refusal.map(|refusal| match refusal {
        Refusal::Foreign => {
            "This form is too old or was not sent from this page. Please try again.".to_owned()
        }
        Refusal::Unread(why) => why.to_owned(),
        Refusal::Wait(seconds) => format!("Too many wrong passwords. Try again in {seconds} s."),
        Refusal::Wrong => "This is not the operators' password.".to_owned(),
    });
    let content = html! {
        main.narrow id="main" {
            div.card {
                div.icon { (Icon::Lock.draw()) }
                h1 { "Operators" }
                p { "How the senders stand, where consent is given, and what to do next." }
                form method="post" action=(aim.login()) {
                    input type="hidden" name="token" value=(token);
                    label for="password" { "Password" }
                    input id="password" name="password" type="password" autocomplete="current-password" required
                        autofocus aria-invalid=[error.as_ref().map(|_| "true")]
                        aria-describedby=[error.as_ref().map(|_| "error")];
                    @if let Some(error) = &error {
                        p.problem id="error" role="alert" { (error) }
                    }
                    button.button type="submit" { span { "Log in" } (Icon::Arrow.draw()) }
                }
                p.quiet { "The daemon's settings hold only a hash of it; a login lasts an hour." }
            }
        }
    };
    frame(admin, "Log in", None, None, &content)
}

/// The page.
pub(super) fn overview(admin: &Admin, session: &Session, view: &View, notice: Option<Notice>) -> Markup {
    let content = html! {
        main id="main" data-from=(view.from) {
            @if let Some(notice) = notice { (notice.draw()) }
            (whole(&view.report))
            (pages(view))
            (making::way())
            div.senders { @for sender in &view.senders { (sender::card(session, sender, view.now)) } }
            (budget(view))
            (queue(view))
        }
    };
    let is_well = view.report.status == Status::Ready;
    frame(admin, "Status", Some(session), Some(REFRESH_S[usize::from(is_well)]), &content)
}

/// The way to senders that are on another page.
fn pages(view: &View) -> Markup {
    html! {
        @if view.next.is_some() || !view.from.is_empty() {
            nav.card aria-label="Senders" {
                p {
                    (view.count) " senders"
                    @if let (Some(first), Some(last)) = (view.senders.first(), view.senders.last()) {
                        ", here from " strong { (first.name) } " to " strong { (last.name) }
                    }
                    "."
                }
                form method="get" action="/admin/" {
                    label for="from" { "From this name on" }
                    input id="from" name="from" value=(view.from) autocomplete="off" spellcheck="false";
                    button.button.plain.small type="submit" { "Show" }
                }
                @if !view.from.is_empty() { p { a href="/admin/" { "To the first" } } }
                @if let Some(next) = &view.next { p { a href={ "/admin/?from=" (next) } { "The next" } } }
            }
        }
    }
}

/// Where a sender's consent is given, and the tick when it was.
pub(super) fn consent(admin: &Admin, session: &Session, sender: &SenderView, links: &Links) -> Markup {
    let name = &sender.name;
    let user = sender.status.user_id.map(|id| id.to_string()).unwrap_or_default();
    let content = html! {
        main.narrow id="main" data-from=(name) {
            p { a href="/admin/" { "Back to all senders" } }
            div.card {
                h1 { @if links.is_for_customer { "Connect " (name) } @else { "Consent for " (name) } }
                (sender::tick(sender))
                @if links.is_for_customer && !sender.is_unconnected {
                    p { "It is connected. Whoever opens the link switches it to an account of theirs." }
                }
                h2 { @if links.is_for_customer { "As the customer" } @else { "As the impersonated user" } }
                ol.steps {
                    li { "Open the link in a browser in which nobody else is logged in to DocuSign." }
                    @if links.is_for_customer {
                        li { "Log in as the user to act as, accept, and choose the account." }
                    } @else {
                        li { "Log in as the user " code { (user) } ", and accept." }
                    }
                    li {
                        @if links.comes_back { "You come back to a page of ours that says whether it took; the tick appears here, too." }
                        @else { "The tick appears here within seconds for the first ten minutes, later within five minutes, or at once after Check now." }
                    }
                }
                a.button id="open" href=(links.individual) target="_blank" rel="noopener noreferrer" {
                    span { "Open DocuSign's consent page" } (Icon::Arrow.draw())
                }
                details id="copy" {
                    summary { "Send the link to somebody else" }
                    label for="individual" {
                        @if links.is_for_customer { "Good for a week: whoever opens it connects an account of theirs" }
                        @else { "Good for a week, for that user only" }
                    }
                    textarea id="individual" readonly { (links.individual) }
                }
                details id="organisation" {
                    summary { "As an administrator of a customer's organisation, for all its users" }
                    p.quiet { "Counts for every user of that organisation's claimed domains; only its administrator can accept. Your own organisation: DocuSign Admin > Connected Apps." }
                    label for="organisation-link" { "The administrator's link" }
                    textarea id="organisation-link" readonly { (links.organisation) }
                    p { a href=(links.organisation) target="_blank" rel="noopener noreferrer" { "Open it" } }
                }
                p.quiet { code { (links.redirect_uri) } " must be a redirect URI of the app in Apps and Keys, to the letter." }
                (check_form(session, sender))
            }
        }
    };
    let refresh = REFRESH_S[usize::from(sender.status.consent == Consent::Granted)];
    frame(admin, &format!("Consent for {name}"), Some(session), Some(refresh), &content)
}

/// What is shown where no sender has the name.
pub(super) fn no_sender(admin: &Admin, session: &Session) -> Markup {
    let content = html! {
        main.narrow id="main" {
            p { a href="/admin/" { "Back to all senders" } }
            div.card {
                h1 { "No such sender" }
                p { "There is no sender of this name. It may have been removed, or the address may be incomplete." }
            }
        }
    };
    frame(admin, "No such sender", Some(session), None, &content)
}

/// Everything that may change, for the stream: of both pages, since it does not know which one is open.
pub(super) fn parts(session: &Session, view: &View) -> Markup {
    html! {
        (whole(&view.report))
        @for sender in &view.senders { (sender::card(session, sender, view.now)) (sender::tick(sender)) }
        (budget(view))
        (queue(view))
    }
}

fn frame(
    admin: &Admin,
    title: &str,
    session: Option<&Session>,
    refresh_s: Option<u32>,
    content: &Markup,
) -> Markup {
    let theme = &admin.theme;
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="robots" content="noindex, nofollow";
                meta name="referrer" content="no-referrer";
                @if let Some(seconds) = refresh_s {
                    noscript { meta http-equiv="refresh" content=(seconds); }
                }
                title { (title) " · countersign" }
                style { (PreEscaped(theme.style())) }
            }
            body {
                a.skip href="#main" { "To the content" }
                header {
                    span.mark { (Icon::Pen.draw()) }
                    span { "countersign" }
                    span.pill { (admin.environment) }
                    @if let Some(session) = session {
                        form method="post" action="/admin/logout" {
                            input type="hidden" name="token" value=(session.token);
                            button.button.plain.small type="submit" { "Log out" }
                        }
                    }
                }
                (content)
                footer { @if session.is_some() { p.quiet id="news" role="status" aria-live="polite" {} } }
                @if session.is_some() { script { (PreEscaped(sheet::SCRIPT)) } }
            }
        }
    }
}

/// A part: its version is a digest of what it shows.
fn part(name: &str, class: &str, say: &str, content: &Markup) -> Markup {
    let version = version(&content.0);
    html! {
        section id=(name) class=(class) data-part=(name) data-version=(version) data-say=(say) { (content) }
    }
}

fn version(text: &str) -> String {
    hex(&sha256(text.as_bytes())[..6])
}

/// How the whole does.
fn whole(report: &Report) -> Markup {
    let (tone, icon, word) = match report.status {
        Status::Ready => ("good", Icon::Check, "Ready"),
        Status::Degraded => ("warn", Icon::Warning, "Degraded"),
        Status::NotReady => ("bad", Icon::Cross, "Not ready"),
    };
    let meaning = match report.status {
        Status::Ready => "All is well.",
        Status::Degraded => "Visitors are served, but something needs attention or will run out.",
        Status::NotReady => "Visitors cannot be served.",
    };
    let content = html! {
        div.bar { h1 { "Status" } span class={ "pill " (tone) } { (icon.draw()) (word) } }
        p { (meaning) " Since " (time(report.since)) "." }
        @for reason in report.reasons.iter().filter(|reason| sender_of(&reason.part).is_none()) {
            div class={ "problem" @if reason.status == Status::Degraded { " warn" } } {
                p { strong { (reason.part) } ": " (reason.detail) }
            }
        }
    };
    part("whole", "card", &format!("The daemon is {}.", word.to_lowercase()), &content)
}

fn check_form(session: &Session, sender: &SenderView) -> Markup {
    html! {
        form method="post" action={ "/admin/senders/" (sender.name) "/check" } {
            input type="hidden" name="token" value=(session.token);
            button.button.plain.small id={ "check-" (sender.name) } type="submit" {
                "Check now" span.visually-hidden { ": " (sender.name) }
            }
        }
    }
}

/// What is left of the accounts' calls.
fn budget(view: &View) -> Markup {
    let content = html! {
        h2 { "Calls left" }
        @if view.budgets.is_empty() { p.quiet { "No call was made yet." } }
        @else {
            p.quiet { "By account; DocuSign counts an hour from its top." }
            // The roles are those that the elements have anyway, and lose where the rows are stacked.
            table.stack role="table" aria-label="Calls left, by account" {
                thead role="rowgroup" {
                    tr role="row" {
                        @for head in ["Account", "This hour", "In 30 s", "At this pace"] {
                            th scope="col" role="columnheader" { (head) }
                        }
                    }
                }
                tbody role="rowgroup" {
                    @for (account, left, forecast) in &view.budgets {
                        tr role="row" {
                            th scope="row" role="rowheader" { code { (account) } }
                            td role="cell" data-head="This hour" {
                                meter min="0" max=(left.hour_limit) low=(left.hour_limit / 10) optimum=(left.hour_limit) value=(left.hour)
                                    aria-label={ "Calls left this hour: " (left.hour) " of " (left.hour_limit) } {}
                                " " (left.hour) " of " (left.hour_limit)
                                span.quiet { ", full again at " (time(left.resets_at)) }
                            }
                            td role="cell" data-head="In 30 s" { (left.burst) " of " (left.burst_limit) }
                            td role="cell" data-head="At this pace" {
                                @match forecast.exhausted_at {
                                    Some(at) => { strong { "used up at " (time(at)) } }
                                    None => { "enough" }
                                }
                            }
                        }
                    }
                }
            }
        }
    };
    part("budget", "card", "", &content)
}

/// What waits, and the clock.
fn queue(view: &View) -> Markup {
    let content = html! {
        h2 { "What waits" }
        dl {
            dt { "Envelopes to be made" }
            dd { @match view.queue.unsettled { Some(count) => { (count) } None => { "the store does not say" } } }
            dt { "Oldest event for a webhook" }
            dd {
                @match view.queue.oldest_delivery {
                    Some(age) => { (minutes(age)) }
                    None => { "none waits" }
                }
            }
            dt { "This machine's clock" }
            dd {
                @match view.clock_offset {
                    Some(offset) if offset.unsigned_abs().as_secs() > 30 => {
                        strong { (offset.unsigned_abs().as_secs()) " s " @if offset.is_negative() { "ahead" } @else { "behind" } }
                        span.quiet { "corrected for; set it (NTP)" }
                    }
                    Some(_) => { "agrees with DocuSign's" }
                    None => { "not compared yet" }
                }
            }
        }
    };
    part("queue", "card", "", &content)
}

/// A moment, to the minute: what is shown must not change every second.
fn time(at: Timestamp) -> Markup {
    let shown = at.strftime("%Y-%m-%d %H:%M").to_string();
    html! { time datetime=(at.strftime("%Y-%m-%dT%H:%MZ")) { (shown) " UTC" } }
}

fn minutes(duration: std::time::Duration) -> String {
    match duration.as_secs() / 60 {
        0 => "under a minute".to_owned(),
        1 => "1 minute".to_owned(),
        minutes @ 2..=120 => format!("{minutes} minutes"),
        minutes @ 121..=2_880 => format!("{} hours", minutes / 60),
        minutes => format!("{} days", minutes / 1_440),
    }
}
