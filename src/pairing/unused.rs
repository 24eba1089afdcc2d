//! Refresh tokens that nobody acts by: a sender that leaves the settings leaves its connection in the store, and so does
//! one that acts by its key from now on.
//!
//! They are told of, and never destroyed here. The settings may be another daemon's, or mistaken, and then the customer
//! would have to come once more.

use std::{collections::HashMap, fmt};

use super::{
    Form, Pairings, WAITING,
    defined::{DEFINES, Made},
};
use crate::{
    domain::SenderName,
    store::{self, SenderRecord},
};

/// Names that are said; of the others, how many.
const MAX_SAID: usize = 10;

/// Senders whose refresh tokens are kept, and that these settings do not let act by them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unused(Vec<SenderName>);

impl Unused {
    /// What to do about them.
    pub const FIX: &str = "Unless another daemon on this store has that sender: put its section back with connect (of one \
                           that a caller made, that of its pattern), let a caller use it (callers.CALLER.senders; one that \
                           a caller made answers that caller alone), restart, call DELETE /v1/senders/NAME/connect with \
                           the key of that caller, and take out again what you put back. Where that section is there with \
                           connect = \"impersonation\", have the link of the sender opened again, or call that DELETE. \
                           Where it has taken the name of one that a caller made, take it out before.";

    /// Those among all that is kept of senders, by whether the settings have one of a name, and how it comes by its
    /// tokens if it is connectable there; none if there are none.
    pub fn of(
        kept: &[SenderRecord],
        has: impl Fn(&str) -> bool,
        form: impl Fn(&str) -> Option<Form>,
    ) -> Option<Self> {
        let definitions: HashMap<&str, &SenderRecord> =
            kept.iter().filter_map(|row| Some((row.sender.as_str().strip_suffix(DEFINES)?, row))).collect();
        let acts = |pairing: &SenderRecord| {
            let name = pairing.sender.as_str();
            let definition = definitions.get(name).and_then(|row| Some((row.connected_at, Made::read(row)?)));
            match (form(name), definition) {
                (Some(form), _) => form == Form::Code,
                // What is left of one that was destroyed goes at the next look.
                (None, Some((gone_at, made))) if made.is_gone => pairing.connected_at <= gone_at,
                // It rests while the settings have another one of its name.
                (None, Some((_, made))) => !has(name) && form(&made.like) == Some(Form::Code),
                (None, None) => false,
            }
        };
        let holds_token = |row: &&SenderRecord| {
            let name = row.sender.as_str();
            row.sealed.is_some() && !name.ends_with(DEFINES) && !name.contains(WAITING)
        };
        let unused = kept.iter().filter(holds_token).filter(|row| !acts(row));
        let names: Vec<_> = unused.map(|row| row.sender.clone()).collect();
        (!names.is_empty()).then_some(Self(names))
    }
}

impl fmt::Display for Unused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, name) in self.0.iter().take(MAX_SAID).enumerate() {
            let comma = if index > 0 { ", " } else { "" };
            write!(f, "{comma}{name}")?;
        }
        match self.0.len().saturating_sub(MAX_SAID) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

impl Pairings {
    /// The senders whose refresh tokens are kept, and that these settings do not let act by them.
    pub async fn unused(&self) -> Result<Option<Unused>, store::Error> {
        let given = &self.inner.given;
        let kept = given.store.sender_records().await?;
        let has = |name: &str| given.auth.has(name) && self.made(&SenderName::new(name)).is_none();
        Ok(Unused::of(&kept, has, |name| given.connectable.get(name).map(|one| one.form)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::{AccountId, Private},
        store::Version,
    };

    #[test]
    fn what_the_settings_have_of_a_name_goes_before_who_made_a_sender_of_it() {
        let row = |name: &str, sealed: &str, connected_at: &str| SenderRecord {
            sender: SenderName::new(name),
            user_id: String::new(),
            account: AccountId::new(String::new()),
            sealed: Some(Private::new(sealed.to_owned())),
            connected_at: connected_at.parse().unwrap(),
            version: Version(1),
        };
        let (before, then, after) = ("2026-06-01T11:00:00Z", "2026-06-01T12:00:00Z", "2026-06-01T13:00:00Z");
        let like = |pattern: &str| format!("{{\"owner\": \"vendor\", \"like\": \"{pattern}\"}}");
        let gone = "{\"owner\": \"vendor\", \"like\": \"by-token\", \"is_gone\": true}";
        // The settings have these three, and nothing else.
        let form = |name: &str| match name {
            "by-token" => Some(Form::Code),
            "by-key" => Some(Form::Impersonation),
            _ => None,
        };
        let has = |name: &str| name == "of-a-user" || form(name).is_some();
        let table = [
            ("by-token", None, None),
            ("by-key", None, Some("by-key")),
            ("of-a-user", None, Some("of-a-user")),
            ("acme", None, Some("acme")),
            ("acme", Some((like("by-token"), then)), None),
            ("acme", Some((like("by-key"), then)), Some("acme")),
            ("acme", Some((like("of-a-user"), then)), Some("acme")),
            ("acme", Some((like("nothing"), then)), Some("acme")),
            ("of-a-user", Some((like("by-token"), then)), Some("of-a-user")),
            ("acme", Some((gone.to_owned(), after)), None),
            ("acme", Some((gone.to_owned(), before)), Some("acme")),
            ("by-token", Some((gone.to_owned(), after)), None),
            ("by-key", Some((gone.to_owned(), after)), Some("by-key")),
        ];
        for (name, definition, told) in table {
            let case = format!("{name} {definition:?}");
            let definition = definition.map(|(text, at)| row(&format!("{name}{DEFINES}"), &text, at));
            let kept: Vec<_> = definition.into_iter().chain([row(name, "a refresh token", then)]).collect();
            let unused = Unused::of(&kept, has, form).map(|unused| unused.to_string());
            assert_eq!(unused.as_deref(), told, "{case}");
        }
    }

    #[test]
    fn many_names_are_told_by_their_number() {
        let names = |count: usize| Unused((1..=count).map(|at| SenderName::new(format!("s{at}"))).collect());
        assert_eq!(names(1).to_string(), "s1");
        assert_eq!(names(10).to_string(), "s1, s2, s3, s4, s5, s6, s7, s8, s9, s10");
        assert_eq!(names(12).to_string(), "s1, s2, s3, s4, s5, s6, s7, s8, s9, s10 and 2 more");
    }
}
