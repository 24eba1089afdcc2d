//! The settings of an account on which embedded signing depends.

use super::{Acting, Client, Error, call::Call, wire};
use crate::budget::{Deadline, Operation};

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
        let url = acting.url(["settings"]);
        let answer = self.call(acting, Call::get(Operation::AccountSettings, url, deadline)).await?;
        let read: wire::answers::AccountSettings = answer.decode()?;
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
}
