//! The authorization code grant, for a user who is no sender yet: the page, the exchange of its code, and
//! renewal with a refresh token.
//!
//! It holds no sender and stores nothing; `pairing` decides what becomes of what comes back. Follows RFC 6749,
//! section 4.1 and 6, RFC 7636, and DocuSign's "Authorization Code Grant" (read 2026-10).

use std::{fmt, sync::Arc};

use secrecy::SecretString;

use super::{
    access_token::MintedToken,
    clock_offset::ClockOffset,
    consent::{self, ConsentBy, PkceVerifier},
    error::Error,
    grant::{self, ClientProof},
    identity::{AccountServer, IntegrationKey, Scopes},
    user_info::{self, Account, NotInAccount, UserInfo},
};
use crate::{clock::SharedClock, http_client::HttpClient};

/// Makes the grant's calls. Clones share a pool of connections; it keeps no sender alive.
#[derive(Clone)]
pub struct CodeGrant {
    pub(super) client: HttpClient,
    pub(super) server: AccountServer,
    pub(super) clock: SharedClock,
    pub(super) offset: Arc<ClockOffset>,
}

impl fmt::Debug for CodeGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CodeGrant").field("server", &self.server).finish_non_exhaustive()
    }
}

/// Who went through the page, and what renews their token.
#[derive(Debug)]
pub struct Answered {
    /// The user and their accounts.
    pub user: UserInfo,
    /// For renewing without a person; none for a public client whose server gives none.
    pub refresh_token: Option<SecretString>,
}

/// A renewed token.
#[derive(Debug)]
pub struct Renewed {
    /// The access token.
    pub minted: MintedToken,
    /// What takes the place of the refresh token that was used; none if that one goes on.
    pub refresh_token: Option<SecretString>,
}

impl CodeGrant {
    /// The page on which a person signs in and allows it.
    pub fn page(
        &self,
        integration_key: IntegrationKey,
        scopes: &Scopes,
        redirect_uri: &str,
        state: &str,
        verifier: &PkceVerifier,
    ) -> String {
        let (by, asked) = (ConsentBy::Individual, Some((state, verifier)));
        consent::url(by, &self.server, integration_key, scopes, redirect_uri, asked)
    }

    /// The page on which a person consents, for themselves or for an organisation, and nothing is exchanged after.
    pub fn consent_page(
        &self,
        by: ConsentBy,
        integration_key: IntegrationKey,
        scopes: &Scopes,
        redirect_uri: &str,
    ) -> String {
        consent::url(by, &self.server, integration_key, scopes, redirect_uri, None)
    }

    /// Exchanges a code at once, and asks who it was. The person's access token is dropped here.
    pub async fn answered(
        &self,
        integration_key: IntegrationKey,
        code: &str,
        proof: ClientProof<'_>,
    ) -> Result<Answered, Error> {
        let sent = self.clock.uptime();
        let reply = grant::exchange_code(&self.client, &self.server, integration_key, code, proof).await;
        self.offset.observe(sent, reply.date);
        let granted = reply.result?;
        let person = granted.minted(sent)?;
        let asked = self.clock.uptime();
        let reply = user_info::fetch(&self.client, &self.server, &person.header).await;
        self.offset.observe(asked, reply.date);
        Ok(Answered { user: reply.result?, refresh_token: granted.refresh_token })
    }

    /// Whether an account is of the environment of this account server, and can be called.
    pub fn takes(&self, account: &Account) -> Result<(), NotInAccount> {
        self.server.fits(&account.base_uri).map_err(|misfit| NotInAccount::misfit(account, misfit))
    }

    /// Renews with a refresh token, which may be dead from then on.
    pub async fn renew(
        &self,
        integration_key: IntegrationKey,
        refresh_token: &SecretString,
        secret: Option<&SecretString>,
    ) -> Result<Renewed, Error> {
        let sent = self.clock.uptime();
        let proof = secret.map_or(ClientProof::Public(None), |secret| ClientProof::Secret(secret, None));
        let reply = grant::refresh(&self.client, &self.server, integration_key, refresh_token, proof).await;
        self.offset.observe(sent, reply.date);
        let granted = reply.result?;
        Ok(Renewed { minted: granted.minted(sent)?, refresh_token: granted.refresh_token })
    }
}
