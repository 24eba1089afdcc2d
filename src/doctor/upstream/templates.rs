//! Whether the templates that the settings name are in the sender's account.
//!
//! Nothing else notices a wrong id before the first create fails on it, and at going live every id is another.

use super::{PATIENCE, bench::Bench};
use crate::{
    budget::Deadline,
    doctor::Check,
    esign::{self, Acting, RejectionKind},
    telemetry::chain,
};

/// The name of the check.
const TEMPLATES: &str = "templates";
/// The most that are asked for: each is a call of the account's hour, and ids are seldom wrong one by one.
const MOST: usize = 20;

impl Bench<'_> {
    /// Asks for each template that this sender's signings may name, once.
    pub(super) async fn templates(&self, acting: &Acting) -> Check {
        let own = self.sender.templates.iter();
        let own = own.map(|(name, id)| (format!("senders.{}.templates.{name}", self.name.as_str()), id));
        let general =
            self.config.templates.iter().filter(|(name, _)| !self.sender.templates.contains_key(*name));
        let named: Vec<_> = own.chain(general.map(|(name, id)| (format!("templates.{name}"), id))).collect();
        let mut absent = Vec::new();
        for (setting, id) in named.iter().take(MOST) {
            let deadline = Deadline::within(&*self.clock, PATIENCE);
            match self.esign.template(acting, &id.to_string(), deadline).await {
                Ok(_) => {}
                Err(error) if error.rejection() == Some(RejectionKind::TemplateUnknown) => {
                    absent.push(setting.as_str());
                }
                // What is known to be absent says more than why the others are not known.
                Err(_) if !absent.is_empty() => break,
                Err(error) => return not_told(&error),
            }
        }
        if !absent.is_empty() {
            let detail = format!("not in this sender's account: {}", absent.join(", "));
            let fix = format!(
                "{} What this sender's account calls otherwise than the others' goes under senders.{}.templates.",
                RejectionKind::TemplateUnknown.fix(),
                self.name.as_str()
            );
            return Check::failed(TEMPLATES, "template_unknown", detail, fix);
        }
        Check::passed(TEMPLATES, found(named.len()))
    }
}

fn found(named: usize) -> String {
    match named {
        0 => "the settings name none".to_owned(),
        1 => "the one that the settings name is there".to_owned(),
        2..=MOST => format!("all {named} that the settings name are there"),
        more => format!(
            "the first {MOST} of {more} that the settings name are there; the others were not asked for"
        ),
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
        let said = found(MOST + 1);
        assert!(said.starts_with("the first 20 of 21") && said.ends_with("not asked for"), "{said}");
        assert!(found(MOST).starts_with("all 20"));
    }
}
