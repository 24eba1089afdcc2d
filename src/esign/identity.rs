//! Identity verification workflows: how a signer gets a code by SMS.

use std::{sync::Arc, time::Duration};

use super::{Acting, Client, Error, call::Call, read_cache::ReadCache, wire};
use crate::{budget::Operation, clock::Deadline, domain::AccountId};

/// The stock workflow of every account that has phone authentication (how-to: phone authentication).
const STOCK_NAME: &str = "Phone Authentication";
/// What a workflow asks for if it calls or texts.
const PHONE_INPUT: &str = "PhoneNumberList";
/// The vendor says to keep the id and not to look it up each time.
const LIFE: Duration = Duration::from_secs(24 * 3_600);
/// An account that has none may be given one any minute, by a person who then tries again.
const LIFE_OF_NONE: Duration = Duration::from_secs(60);

/// Workflows of accounts, each with what the sender's settings wanted.
pub(super) type Workflows = ReadCache<(AccountId, Option<String>), Option<Arc<str>>>;

impl Client {
    /// The id of the workflow that this sender's SMS codes go through.
    pub async fn sms_workflow(&self, acting: &Acting, deadline: Deadline) -> Result<Arc<str>, Error> {
        let key = self.workflow_key(acting);
        // Those who miss at once each ask: the errors are not ones to share, and it happens once a day.
        if let Some(known) = self.workflows.get(&key, self.clock.uptime()) {
            return known.ok_or(Error::SmsAuthUnavailable);
        }
        let found = self.look_up_workflow(acting, key.1.as_deref(), deadline).await?;
        let life = if found.is_some() { LIFE } else { LIFE_OF_NONE };
        self.workflows.put(key, found.clone(), self.clock.uptime(), life);
        found.ok_or(Error::SmsAuthUnavailable)
    }

    fn workflow_key(&self, acting: &Acting) -> (AccountId, Option<String>) {
        let wanted = self.options_of.get(&acting.sender).and_then(|options| options.sms_workflow.clone());
        (acting.account.clone(), wanted)
    }

    /// The upstream does not know the workflow that it named: it is looked up anew.
    pub(super) fn forget_workflow(&self, acting: &Acting) {
        self.workflows.forget(&self.workflow_key(acting));
    }

    async fn look_up_workflow(
        &self,
        acting: &Acting,
        wanted: Option<&str>,
        deadline: Deadline,
    ) -> Result<Option<Arc<str>>, Error> {
        let url = acting.url(["identity_verification"]);
        let answer = self.call(acting, Call::get(Operation::IdentityWorkflows, url, deadline)).await?;
        let listed: wire::answers::Workflows = answer.decode()?;
        Ok(choose(&listed.identity_verification, wanted).map(Arc::from))
    }
}

fn choose<'a>(workflows: &'a [wire::answers::Workflow], wanted: Option<&str>) -> Option<&'a str> {
    let is_named = |workflow: &&wire::answers::Workflow, name: &str| {
        workflow.default_name.as_deref().is_some_and(|known| known.eq_ignore_ascii_case(name))
    };
    let asks_for_phone = |workflow: &&wire::answers::Workflow| {
        workflow.input_options.iter().any(|input| input.value_type.as_deref() == Some(PHONE_INPUT))
    };
    let found = match wanted {
        Some(wanted) => workflows.iter().find(|workflow| {
            workflow.workflow_id.as_deref().is_some_and(|id| id.eq_ignore_ascii_case(wanted))
                || is_named(workflow, wanted)
        }),
        None => workflows
            .iter()
            .find(|workflow| is_named(workflow, STOCK_NAME))
            .or_else(|| workflows.iter().find(asks_for_phone)),
    };
    found?.workflow_id.as_deref()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stock_workflow_is_preferred_and_settings_override_it() {
        let listed: wire::answers::Workflows = serde_json::from_str(
            r#"{"identityVerification":[
                {"workflowId":"id","defaultName":"DocuSign ID Verification","inputOptions":[]},
                {"workflowId":"sms","defaultName":"SMS for access & signatures","inputOptions":[{"valueType":"PhoneNumberList"}]},
                {"workflowId":"phone","defaultName":"Phone Authentication","inputOptions":[{"valueType":"PhoneNumberList"}]}]}"#,
        )
        .unwrap();
        let all = &listed.identity_verification;
        assert_eq!(choose(all, None), Some("phone"));
        assert_eq!(choose(&all[..2], None), Some("sms"));
        assert_eq!(choose(&all[..1], None), None);
        assert_eq!(choose(all, Some("sms for access & signatures")), Some("sms"));
        assert_eq!(choose(all, Some("ID")), Some("id"));
        assert_eq!(choose(all, Some("gone")), None);
    }
}
