//! Templates: read for preflight, to tell a wrong role before anything is sent.

use std::{sync::Arc, time::Duration};

use moka::Equivalent;

use super::{Acting, Client, Error, call::Call, read_cache::ReadCache, wire};
use crate::{budget::Operation, clock::Deadline, domain::AccountId};

/// A person who corrects a template sees it taken up this soon.
const LIFE: Duration = Duration::from_secs(300);

/// A template, as far as a create depends on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// Its signers.
    pub roles: Vec<Role>,
}

/// A place for a signer in a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    /// The role's name.
    pub name: String,
}

/// Templates that were read lately.
pub(super) type Templates = ReadCache<(AccountId, String), Arc<Template>>;

/// Their key, as it is looked for: with the same hash.
#[derive(Hash)]
struct Wanted<'a>(&'a AccountId, &'a str);

impl Equivalent<(AccountId, String)> for Wanted<'_> {
    fn equivalent(&self, (account, id): &(AccountId, String)) -> bool {
        self.0 == account && self.1 == id
    }
}

impl Client {
    /// A template, if it was read lately.
    pub fn known_template(&self, acting: &Acting, id: &str) -> Option<Arc<Template>> {
        self.templates.get(&Wanted(&acting.account, id), self.clock.uptime())
    }

    /// The upstream does not know the template any more.
    pub(super) fn forget_template(&self, acting: &Acting, id: &str) {
        self.templates.forget(&Wanted(&acting.account, id));
    }

    /// A template of the account, as it was within the last five minutes.
    pub async fn template(
        &self,
        acting: &Acting,
        id: &str,
        deadline: Deadline,
    ) -> Result<Arc<Template>, Error> {
        if let Some(known) = self.known_template(acting, id) {
            return Ok(known);
        }
        let url = acting.url(["templates", id]);
        let answer = self.call(acting, Call::get(Operation::Template, url, deadline)).await;
        let answer = answer.map_err(unknown_template)?;
        let read: wire::answers::Template = answer.decode()?;
        let signers = read.recipients.map(|recipients| recipients.signers).unwrap_or_default();
        let roles = signers.into_iter().filter_map(|signer| Some(Role { name: signer.role_name? }));
        let template = Arc::new(Template { roles: roles.collect() });
        let key = (acting.account.clone(), id.to_owned());
        self.templates.put(key, Arc::clone(&template), self.clock.uptime(), LIFE);
        Ok(template)
    }
}

/// Here "does not exist" can only be about the template.
fn unknown_template(error: Error) -> Error {
    match error {
        Error::Rejected(mut rejection) if rejection.kind == super::RejectionKind::EnvelopeUnknown => {
            rejection.kind = super::RejectionKind::TemplateUnknown;
            rejection.message = "The template does not exist in this account.".into();
            Error::Rejected(rejection)
        }
        other => other,
    }
}
