//! The settings of an account on which embedded signing depends.

use std::time::Duration;

use super::{Acting, Client, Error, call::Call, read_cache::ReadCache, wire};
use crate::{budget::Operation, clock::Deadline, domain::AccountId};

/// An administrator who changes a setting and tries again sees it taken up this soon.
const LIFE: Duration = Duration::from_secs(60);

/// Whether accounts ask their senders for a check, too.
pub(super) type SenderChecks = ReadCache<AccountId, bool>;

/// A setting that forbids every create with an embedded signer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forbidding {
    /// Its name (`accountSettingsInformation`, eSignature REST API).
    pub name: &'static str,
    /// What it has to be.
    pub must_be: &'static str,
}

impl Client {
    /// The settings of the account that forbid embedded signing, as they are now. One that the account does not tell
    /// forbids nothing, as far as is known.
    pub async fn forbidding_settings(
        &self,
        acting: &Acting,
        deadline: Deadline,
    ) -> Result<Vec<Forbidding>, Error> {
        let read = self.account_settings(acting, deadline).await?;
        let told = [
            ("inSessionEnabled", read.in_session_enabled, "true"),
            ("signerMustHaveAccount", read.signer_must_have_account, "false"),
            ("signerMustLoginToSign", read.signer_must_login_to_sign, "false"),
        ];
        let wrong = told
            .into_iter()
            .filter(|(_, is, must_be)| is.as_deref().is_some_and(|is| !is.eq_ignore_ascii_case(must_be)));
        Ok(wrong.map(|(name, _, must_be)| Forbidding { name, must_be }).collect())
    }

    /// Whether senders who sign are asked for the check that was ordered (`senderMustAuthenticateSigning`), as it was within
    /// the last minute. Whoever may not read the settings is told nothing of them, and they are as they come.
    pub async fn checks_senders(&self, acting: &Acting, deadline: Deadline) -> Result<bool, Error> {
        if let Some(known) = self.sender_checks.get(&acting.account, self.clock.uptime()) {
            return Ok(known);
        }
        let read = match self.account_settings(acting, deadline).await {
            Ok(read) => read,
            // Not remembered: another sender of the account may be let read them.
            Err(error) if error.rejection().is_some() => return Ok(false),
            Err(error) => return Err(error),
        };
        let checks = read.sender_must_authenticate_signing.is_some_and(|is| is.eq_ignore_ascii_case("true"));
        self.sender_checks.put(acting.account.clone(), checks, self.clock.uptime(), LIFE);
        Ok(checks)
    }

    async fn account_settings(
        &self,
        acting: &Acting,
        deadline: Deadline,
    ) -> Result<wire::answers::AccountSettings, Error> {
        let url = acting.url(["settings"]);
        self.call(acting, Call::get(Operation::AccountSettings, url, deadline)).await?.decode()
    }
}
