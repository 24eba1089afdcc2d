//! The form that makes a sender.

use std::collections::BTreeMap;

use maud::{Markup, html};

use super::frame;
use crate::{
    domain::CallerName,
    ops::admin::{
        Admin,
        making::{Invalids, Wanted, choice},
        session::Session,
    },
    theme::Icon,
};

/// A field of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::ops::admin) enum Field {
    /// Its owner, and its model sender.
    Of,
    /// Its name.
    Name,
    /// Its user.
    UserId,
    /// Its account.
    Account,
}

impl Field {
    const fn id(self) -> &'static str {
        match self {
            Self::Of => "of",
            Self::Name => "name",
            Self::UserId => "user_id",
            Self::Account => "account",
        }
    }
}

/// The way to it.
pub(super) fn way() -> Markup {
    html! {
        div.actions { a.button.plain.small id="new-sender" href="/admin/new-sender" { "Create a sender" } }
    }
}

/// The form, with what was filled in and what is wrong with it.
pub(in crate::ops::admin) fn form(
    admin: &Admin,
    session: &Session,
    makers: &BTreeMap<CallerName, Vec<String>>,
    wanted: &Wanted,
    invalids: &Invalids,
) -> Markup {
    let content = html! {
        main.narrow id="main" {
            p { a href="/admin/" { "Back to all senders" } }
            div.card {
                h1 { "Create a sender" }
                @if makers.is_empty() {
                    p {
                        "No caller may create senders: list the senders that it may create others like under "
                        code { "callers.NAME.sender_patterns" } "."
                    }
                } @else { (fields(session, makers, wanted, invalids)) }
            }
        }
    };
    frame(admin, "Create a sender", Some(session), None, &content)
}

fn fields(
    session: &Session,
    makers: &BTreeMap<CallerName, Vec<String>>,
    wanted: &Wanted,
    invalids: &Invalids,
) -> Markup {
    html! {
        p.quiet {
            "It has the integration key, keys and scopes of its model sender, and belongs to its owner, a caller, alone. \
             What the settings let a caller create itself can be created here."
        }
        form method="post" action="/admin/new-sender" {
            input type="hidden" name="token" value=(session.token);
            label for="of" { "Owner and model sender" }
            select id="of" name="of" required aria-invalid=[wrong(invalids, Field::Of)]
                aria-describedby=[described(invalids, Field::Of)] {
                @for (caller, all) in makers { @for like in all {
                    option value=(choice(caller, like)) selected[choice(caller, like) == wanted.of] {
                        (caller) ", like " (like)
                    }
                } }
            }
            (invalid(invalids, Field::Of))
            (text(Field::Name, "Name", &wanted.name, true, invalids))
            (text(Field::UserId, "User ID (a GUID); empty if a customer connects it", &wanted.user_id, false, invalids))
            (text(Field::Account, "Account, by id or name; empty: the default, or the customer's choice", &wanted.account, false, invalids))
            button.button id="make" type="submit" { span { "Create" } (Icon::Arrow.draw()) }
        }
        p.quiet { "Next you get the link to connect it, or to give consent." }
    }
}

fn text(field: Field, label: &str, value: &str, is_required: bool, invalids: &Invalids) -> Markup {
    let id = field.id();
    html! {
        label for=(id) { (label) }
        input id=(id) name=(id) type="text" value=(value) required[is_required] autocomplete="off" spellcheck="false"
            autocapitalize="none" maxlength="100" aria-invalid=[wrong(invalids, field)]
            aria-describedby=[described(invalids, field)];
        (invalid(invalids, field))
    }
}

fn invalid(invalids: &Invalids, field: Field) -> Markup {
    let found = invalids.iter().find(|(of, _)| *of == field);
    html! {
        @if let Some((_, text)) = found { p.problem id={ (field.id()) "-fault" } role="alert" { (text) } }
    }
}

fn wrong(invalids: &Invalids, field: Field) -> Option<&'static str> {
    invalids.iter().any(|(of, _)| *of == field).then_some("true")
}

fn described(invalids: &Invalids, field: Field) -> Option<String> {
    wrong(invalids, field).map(|_| format!("{}-fault", field.id()))
}
