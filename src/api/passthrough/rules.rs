//! What may pass: methods and whole paths, and in words why something may not.
//!
//! Paths are compared as they came, whole and segment by segment, and no segment that passes can hold a
//! dot, an escape or a blank, so there is nothing in them to read in two ways.
//!
//! A stored signature is a person's; DocuSign lets that person's user alone read or change it, and no call of
//! its API signs a document with one. What comes near to signing for somebody is refused here by name, so
//! that nobody wonders whether another spelling would work: setting the signature image of a recipient who
//! has no account, and sessions in which a browser acts as the sender.

use std::fmt;

use http::Method;

use crate::{domain::AccountId, esign::Acting};

/// Longer than any id of the vendor.
const MAX_ID: usize = 64;
/// What looks like an id and is a list: `GET envelopes/status`, which reads the status of any envelopes.
const LIST: &str = "status";

/// What a segment of a path may be.
#[derive(Debug, Clone, Copy)]
enum Segment {
    /// This word.
    Word(&'static str),
    /// Any id.
    Id,
    /// The id of the user that the sender acts as: nobody else's signatures.
    OwnUser,
    /// An image of a signature.
    Image,
}

use Segment::{Id, Image, OwnUser, Word};

/// Methods and a whole path below the account.
#[derive(Debug)]
pub(super) struct Rule {
    methods: &'static [Method],
    segments: &'static [Segment],
}

const fn rule(methods: &'static [Method], segments: &'static [Segment]) -> Rule {
    Rule { methods, segments }
}

const READ: &[Method] = &[Method::GET];
const READ_OR_MAKE: &[Method] = &[Method::GET, Method::POST];
const CHANGE: &[Method] = &[Method::GET, Method::PUT, Method::DELETE];

/// All that may pass, by the path below the account. Nothing here changes an envelope once it is made, and
/// nothing acts for a person but the sender.
const RULES: &[Rule] = &[
    rule(READ_OR_MAKE, &[Word("envelopes")]),
    rule(READ, &[Word("envelopes"), Id]),
    rule(READ, &[Word("envelopes"), Id, Word("recipients")]),
    rule(&[Method::POST], &[Word("envelopes"), Id, Word("views"), Word("recipient")]),
    rule(READ, &[Word("envelopes"), Id, Word("documents")]),
    rule(READ, &[Word("envelopes"), Id, Word("documents"), Id]),
    rule(READ, &[Word("templates")]),
    rule(READ, &[Word("templates"), Id]),
    rule(READ, &[Word("templates"), Id, Word("recipients")]),
    rule(READ, &[Word("templates"), Id, Word("documents")]),
    rule(READ, &[Word("templates"), Id, Word("documents"), Id]),
    rule(&[Method::GET, Method::POST, Method::PUT], &[Word("users"), OwnUser, Word("signatures")]),
    rule(CHANGE, &[Word("users"), OwnUser, Word("signatures"), Id]),
    rule(CHANGE, &[Word("users"), OwnUser, Word("signatures"), Id, Image]),
];

impl fmt::Display for Rule {
    /// The path with its variable parts named, which is what the audit log holds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, segment) in self.segments.iter().enumerate() {
            let text = match segment {
                Word(word) => word,
                Id => "{id}",
                OwnUser => "{user}",
                Image => "{image}",
            };
            write!(f, "{}{text}", if at == 0 { "" } else { "/" })?;
        }
        Ok(())
    }
}

/// Why a call is not passed on.
#[derive(Debug)]
pub(super) enum Refused {
    /// The path names an account by its number.
    AccountNumber(AccountId),
    /// The path names another account.
    OtherAccount(AccountId),
    /// It would set somebody else's signature into a document.
    OthersSignature,
    /// It would open a session in which a browser acts as the sender.
    Session,
    /// Stored signatures of another user.
    OtherUser(String),
    /// It is not on the list.
    Unlisted,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AccountNumber(own) => write!(
                f,
                "the account in the path is a number, and could be any; this sender's account is {own} (API Account ID)"
            ),
            Self::OtherAccount(own) => write!(f, "the account in the path is not this sender's, which is {own}"),
            Self::OthersSignature => f.write_str(
                "this would put a signature into a document for a person: only the person signs, in a signing \
                 ceremony; make a recipient view instead",
            ),
            Self::Session => f.write_str(
                "this would open a session in which a browser acts as the sender, with all its rights; only \
                 recipient views are passed on",
            ),
            Self::OtherUser(own) => write!(
                f,
                "DocuSign lets stored signatures be read and changed by their own user alone, not even by an \
                 administrator; this sender's user is {own}"
            ),
            Self::Unlisted => f.write_str("this method and path are not passed on for this sender"),
        }
    }
}

impl Refused {
    /// What to do instead. No setting allows any of it.
    pub(super) const fn fix(&self) -> &'static str {
        match self {
            Self::AccountNumber(_) | Self::OtherAccount(_) => {
                "Use this sender's own account in the path (or leave restapi/v2.1/accounts/{id} out), or the sender of the other account."
            }
            Self::OthersSignature | Self::Session => {
                "Make a recipient view (POST …/envelopes/{id}/views/recipient) for the person who signs."
            }
            Self::OtherUser(_) => "Use the sender whose user the signatures belong to.",
            Self::Unlisted => {
                "Use a call that is passed on (/docs lists them), or the calls of /v1/signings; no setting widens the list."
            }
        }
    }
}

/// The rule that takes the whole path; without an account, any user could be the own one.
pub(super) fn check(method: &Method, path: &str, acting: Option<&Acting>) -> Result<&'static Rule, Refused> {
    let found = RULES.iter().find(|rule| rule.methods.contains(method) && rule.takes(path, acting));
    found.ok_or_else(|| why_not(path, acting))
}

/// The id of the envelope that an allowed path is about, as it is spelt there, if it is about one.
pub(super) fn envelope(path: &str) -> Option<&str> {
    path.strip_prefix("envelopes/")?.split('/').next()
}

/// Whether an allowed path is that of recipient views.
pub(super) fn is_recipient_view(path: &str) -> bool {
    path.starts_with("envelopes/") && path.ends_with("/views/recipient")
}

/// Whether an allowed call makes an envelope.
pub(super) fn makes_envelope(method: &Method, path: &str) -> bool {
    method == Method::POST && path == "envelopes"
}

/// Whether an allowed call lists envelopes.
pub(super) fn lists_envelopes(method: &Method, path: &str) -> bool {
    method == Method::GET && path == "envelopes"
}

impl Rule {
    fn takes(&self, path: &str, acting: Option<&Acting>) -> bool {
        let fits = |(segment, text): (&Segment, &str)| match segment {
            Word(word) => *word == text,
            Id => is_id(text),
            Image => matches!(text, "signature_image" | "initials_image"),
            OwnUser => {
                is_id(text)
                    && acting.is_none_or(|acting| text.eq_ignore_ascii_case(&acting.user_id.to_string()))
            }
        };
        path.split('/').count() == self.segments.len() && self.segments.iter().zip(path.split('/')).all(fits)
    }
}

fn is_id(text: &str) -> bool {
    (1..=MAX_ID).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && !text.eq_ignore_ascii_case(LIST)
}

fn why_not(path: &str, acting: Option<&Acting>) -> Refused {
    let segments: Vec<&str> = path.split('/').collect();
    match segments.as_slice() {
        ["envelopes", _, "recipients", _, "signature" | "signature_image" | "initials_image", ..] => {
            Refused::OthersSignature
        }
        ["envelopes", _, "views", ..] | ["views", ..] => Refused::Session,
        ["users", user, "signatures", ..] => {
            // Without an account every user is the own one, and the path itself is what is not listed.
            let own = acting.map(|acting| acting.user_id.to_string());
            let other = own.filter(|own| !user.eq_ignore_ascii_case(own));
            other.map_or(Refused::Unlisted, Refused::OtherUser)
        }
        _ => Refused::Unlisted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_paths_of_the_list_pass() {
        let get = |path| check(&Method::GET, path, None).is_ok();
        assert!(get("envelopes") && get("envelopes/1f-2/documents/combined") && get("users/1/signatures/2"));
        for path in [
            "",
            "envelopes/",
            "envelopes//recipients",
            "envelopes/..",
            "envelopes/%2e%2e",
            "envelopes/1/../2",
            "envelopes/1%2f2",
            "envelopes/1/views/sender",
            "envelopes/status",
            "envelopes/Status",
            "Envelopes",
            "users",
            "users/1",
            "users/1/signatures/2/stamp_image",
            "identity_verification",
            "connect",
        ] {
            assert!(!get(path), "{path}");
        }
        for (method, path) in [
            (Method::DELETE, "envelopes/1"),
            (Method::PUT, "envelopes/1"),
            (Method::GET, "envelopes/1/views/recipient"),
            (Method::HEAD, "envelopes/1"),
        ] {
            assert!(check(&method, path, None).is_err(), "{method} {path}");
        }
    }

    #[test]
    fn a_refusal_says_what_it_protects() {
        let why = |path| check(&Method::PUT, path, None).unwrap_err();
        assert!(matches!(why("envelopes/1/recipients/2/signature_image"), Refused::OthersSignature));
        assert!(matches!(why("envelopes/1/views/sender"), Refused::Session));
        assert!(matches!(why("users/1/signatures/2/stamp_image"), Refused::Unlisted));
        assert!(matches!(why("folders"), Refused::Unlisted));
    }

    #[test]
    fn a_rule_is_shown_without_ids() {
        let shown = check(&Method::GET, "users/1/signatures/2/signature_image", None).unwrap().to_string();
        assert_eq!(shown, "users/{user}/signatures/{id}/{image}");
    }
}
