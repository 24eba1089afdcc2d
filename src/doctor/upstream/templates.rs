//! Whether the templates that the settings name are in the senders' accounts.
//!
//! Nothing else notices a wrong id before the first create fails on it, and at going live every id is another. Each
//! question is a call of an account that a running daemon lives on, too: no account is asked twice about a template,
//! and none is asked while less than half of its calls is left.
//!
//! What a sender calls its own has to be in its account. A general name has to be in one sender's account: where there
//! are several accounts it can be in one of them only, and which senders' signings name it nobody has written down.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::{PATIENCE, bench::Bench};
use crate::{
    clock::Deadline,
    config::{Config, Sender},
    doctor::{Check, Status},
    domain::AccountId,
    esign::{self, Acting, RejectionKind},
    telemetry::chain,
};

/// The name of the check.
const TEMPLATES: &str = "templates";
/// The most that an account is asked for: each is a call of its hour, and ids are seldom wrong one by one.
const MOST: usize = 20;

/// What the accounts have answered, over all senders.
#[derive(Debug, Default)]
pub(super) struct Answers {
    /// The account that a sender acts in, by the sender's name.
    accounts: BTreeMap<String, AccountId>,
    /// Whether a template is in an account.
    are_there: BTreeMap<(AccountId, Uuid), bool>,
}

/// A template that a sender's signings may name.
struct Named<'a> {
    name: &'a str,
    id: Uuid,
    /// Whether the name is this sender's own, and not a general one.
    is_own: bool,
}

impl Answers {
    /// Whether a template is in this sender's account; none if that is not known.
    fn is_there(&self, sender: &str, id: Uuid) -> Option<bool> {
        let account = self.accounts.get(sender)?;
        self.are_there.get(&(account.clone(), id)).copied()
    }

    /// How many templates an account was asked for.
    fn asked(&self, account: &AccountId) -> usize {
        self.are_there.keys().filter(|(asked, _)| asked == account).count()
    }

    /// Whether a general name is in no account of those whose signings may name it. Accounts that customers connect
    /// come later, with names of their own; and a sender that is not looked at may have it.
    fn is_nowhere(&self, config: &Config, general: &Named<'_>) -> bool {
        let senders = config.senders.iter().filter(|(_, sender)| sender.connect.is_none());
        let mut users = senders.filter(|(_, sender)| !sender.templates.contains_key(general.name));
        users.all(|(name, _)| self.is_there(name, general.id) == Some(false))
    }
}

impl Named<'_> {
    fn setting(&self, sender: &str) -> String {
        let of_sender = if self.is_own { format!("senders.{sender}.") } else { String::new() };
        format!("{of_sender}templates.{}", self.name)
    }
}

/// A sender's own name goes before the general one.
fn named<'a>(config: &'a Config, sender: &'a Sender) -> impl Iterator<Item = Named<'a>> {
    let own = sender.templates.iter().map(|(name, id)| Named { name: name.as_str(), id: *id, is_own: true });
    let general = config.templates.iter().filter(move |(name, _)| !sender.templates.contains_key(*name));
    own.chain(general.map(|(name, id)| Named { name: name.as_str(), id: *id, is_own: false }))
}

impl Bench<'_> {
    /// Asks for each template that this sender's signings may name, unless its account has answered already. What is
    /// absent is said by [`judge`], once all senders' accounts were asked.
    pub(super) async fn templates(&self, acting: &Acting, answers: &mut Answers) -> Check {
        answers.accounts.insert(self.name.as_str().to_owned(), acting.account.clone());
        let named: Vec<_> = named(self.config, self.sender).collect();
        for Named { id, .. } in &named {
            let asked = (acting.account.clone(), *id);
            if answers.are_there.contains_key(&asked) {
                continue;
            }
            if answers.asked(&acting.account) == MOST {
                break;
            }
            if !self.has_plenty_left(&acting.account) {
                let detail = "not asked: less than half of the account's calls is left";
                return Check::skipped(TEMPLATES, detail);
            }
            let deadline = Deadline::within(&*self.clock, PATIENCE);
            let is_there = match self.esign.template(acting, &id.to_string(), deadline).await {
                Ok(_) => true,
                Err(error) if error.rejection() == Some(RejectionKind::TemplateUnknown) => false,
                Err(error) => return not_told(&error),
            };
            answers.are_there.insert(asked, is_there);
        }
        let known = named.iter().filter(|named| answers.is_there(self.name.as_str(), named.id).is_some());
        found(known.count(), named.len())
    }

    /// Whether so much is left of the account's hour and burst that a daemon does not miss what is asked here.
    fn has_plenty_left(&self, account: &AccountId) -> bool {
        let left = self.esign.budget().remaining(account);
        left.hour.saturating_mul(2) >= left.hour_limit && left.burst.saturating_mul(2) >= left.burst_limit
    }
}

/// Says of each sender which templates are not in its account.
pub(super) fn judge(config: &Config, answers: &Answers, checks: &mut [Check]) {
    for check in checks.iter_mut().filter(|check| check.name == TEMPLATES) {
        let Some((name, sender)) = check.sender.as_ref().and_then(|name| config.senders.get_key_value(name))
        else {
            continue;
        };
        let absent = named(config, sender).filter(|named| answers.is_there(name, named.id) == Some(false));
        let (missing, elsewhere): (Vec<_>, Vec<_>) =
            absent.partition(|named| named.is_own || answers.is_nowhere(config, named));
        // What is known to be missing says more than why the others are not known, and that more than a hint.
        if !missing.is_empty() {
            let fix = format!(
                "{} What this sender's account calls otherwise than the others' goes under senders.{name}.templates.",
                RejectionKind::TemplateUnknown.fix(),
            );
            *check = Check::failed(TEMPLATES, "template_unknown", not_here(&missing, name), fix).of(name);
        } else if !elsewhere.is_empty() && check.status != Status::Failed {
            let fix = format!(
                "Leave it so if only other senders' signings name them; else put this account's own under \
                 senders.{name}.templates."
            );
            *check = Check::advised(TEMPLATES, not_here(&elsewhere, name), fix).of(name);
        }
    }
}

fn not_here(absent: &[Named<'_>], sender: &str) -> String {
    let settings: Vec<_> = absent.iter().map(|named| named.setting(sender)).collect();
    format!("not in this sender's account: {}", settings.join(", "))
}

/// Of so many that the settings name, so many are known to be there.
fn found(known: usize, named: usize) -> Check {
    match (known, named) {
        (_, 0) => Check::passed(TEMPLATES, "the settings name none"),
        (0, _) => Check::skipped(TEMPLATES, format!("not asked: the account was asked for {MOST} others")),
        (1, 1) => Check::passed(TEMPLATES, "the one that the settings name is there"),
        _ if known == named => {
            Check::passed(TEMPLATES, format!("all {named} that the settings name are there"))
        }
        _ => {
            let detail = format!(
                "the first {known} of {named} that the settings name are there; the others were not asked for"
            );
            Check::passed(TEMPLATES, detail)
        }
    }
}

/// Whether they are there is not known.
fn not_told(error: &esign::Error) -> Check {
    let detail = chain(error).to_string();
    match error {
        esign::Error::Limited { .. } => Check::skipped(TEMPLATES, format!("not asked: {detail}")),
        esign::Error::Rejected(rejection) => {
            Check::failed(TEMPLATES, "refused", detail, rejection.kind.fix())
        }
        _ => {
            let fix = "See the checks above; try again in a minute.";
            Check::failed(TEMPLATES, "upstream_unavailable", detail, fix)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_asked_for_is_not_said_to_be_there() {
        let said = found(MOST, MOST + 1).detail;
        assert!(said.starts_with("the first 20 of 21") && said.ends_with("not asked for"), "{said}");
        assert!(found(MOST, MOST).detail.starts_with("all 20"));
        assert_eq!(found(0, 1).status, Status::Skipped);
    }
}
