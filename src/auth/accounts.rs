//! What follows from a token: whose it is, which account is meant, and whether consent came from
//! the right person. Looked up rarely, remembered, and never in the way of a token.

use std::{sync::Arc, time::Duration};

use secrecy::ExposeSecret as _;

use super::{
    Auth,
    access_token::MintedToken,
    consent::{self, ConsentBy, PkceVerifier},
    error::{Error, Kind},
    grant::{self, ClientProof},
    identity::UserId,
    user_info::{self, Account, AccountChoice, UserInfo},
};

/// Memberships rarely change; the vendor advises to cache them.
const USER_INFO_LIFE: Duration = Duration::from_secs(3_600);
/// How long an old answer serves when a new one cannot be had.
const USER_INFO_GRACE: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct KnownUser {
    info: UserInfo,
    /// The uptime from which it should be asked for again.
    stale_at: Duration,
}

/// Whether the person who went through the consent page was the right one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConsentOutcome {
    /// The impersonated user consented, and a token was minted since.
    Granted,
    /// The impersonated user consented, and minting still fails; see the sender's status.
    GrantedButFailing,
    /// Another person did: consent counts for that user id alone.
    OtherUser {
        /// Who it was.
        consented: UserId,
        /// Who is configured.
        configured: UserId,
    },
}

impl Auth {
    /// The user that the sender acts as, and the accounts; asked for once an hour at most.
    pub async fn user_info(&self, name: &str) -> Result<UserInfo, Arc<Error>> {
        let sender = self.sender(name)?;
        let now = self.inner.clock.uptime();
        let configured = sender.impersonation.as_ref().map(|sender| sender.user_id);
        // A sender that was replaced may act as someone else now.
        let is_ours = |known: &Arc<KnownUser>| configured.is_none_or(|id| id == known.info.user_id);
        let known = self.inner.users.get(&sender.name).await;
        let is_known = known.is_some();
        let old = known.filter(is_ours);
        if let Some(known) = old.as_ref().filter(|known| now < known.stale_at) {
            return Ok(known.info.clone());
        }
        if is_known {
            self.inner.users.invalidate(&sender.name).await;
        }
        // Those who ask at once share one call.
        let key = Arc::clone(&sender.name);
        let fetched = self.inner.users.try_get_with(key, self.fetch_user(name, old)).await;
        fetched.map(|known| known.info.clone()).map_err(|error| Arc::clone(&*error))
    }

    /// As [`user_info`](Self::user_info), asked for now: somebody wants to know how things are. A failure
    /// takes away nothing that was known.
    pub async fn look_up_user(&self, name: &str) -> Result<UserInfo, Arc<Error>> {
        let sender = self.sender(name)?;
        let known = self.fetch_user(name, None).await?;
        self.inner.users.insert(Arc::clone(&sender.name), Arc::clone(&known)).await;
        Ok(known.info.clone())
    }

    /// The account that the sender's settings mean.
    pub async fn account(&self, name: &str) -> Result<Account, Arc<Error>> {
        let sender = self.sender(name)?;
        let info = self.user_info(name).await?;
        let choice = sender.impersonation.as_ref().map(|sender| &sender.account);
        let chosen = info.choose(choice.unwrap_or(&AccountChoice::Default));
        chosen.cloned().map_err(|reason| Arc::new(Error::NotInAccount(reason)))
    }

    /// The page on which consent for this sender is given.
    pub fn consent_url(
        &self,
        name: &str,
        by: ConsentBy,
        redirect_uri: &str,
        state: Option<&str>,
        verifier: Option<&PkceVerifier>,
    ) -> Result<String, Arc<Error>> {
        let sender = self.sender(name)?;
        let who = sender.impersonation.as_ref().ok_or_else(|| Arc::new(Error::SenderUnknown))?;
        let server = &self.inner.server;
        Ok(consent::url(by, server, who.integration_key, &who.scopes, redirect_uri, state, verifier))
    }

    /// What the consent page sent back: exchanges the code at once, compares the person with the
    /// configured user, and wakes the sender. The person's token is dropped here.
    pub async fn complete_consent(
        &self,
        name: &str,
        code: &str,
        proof: ClientProof<'_>,
    ) -> Result<ConsentOutcome, Arc<Error>> {
        let sender = self.sender(name)?;
        let who = sender.impersonation.as_ref().ok_or_else(|| Arc::new(Error::SenderUnknown))?;
        let (client, server) = (&self.inner.client, &self.inner.server);
        let sent = self.inner.clock.uptime();
        let reply = grant::exchange_code(client, server, who.integration_key, code, proof).await;
        self.observe(sent, reply.date);
        // Consent is stored with the answer to the page, whatever becomes of the code.
        let granted = match reply.result {
            Ok(granted) => granted,
            Err(error) => {
                self.wake(name).await?;
                return Err(Arc::new(error));
            }
        };
        let bearer = granted.bearer.expose_secret();
        let person = MintedToken::new(bearer, sent, granted.life)
            .ok_or(Error::Malformed { status: 200, what: "no header can carry its token" })?;
        let reply = user_info::fetch(client, server, &person.header).await;
        self.observe(sent, reply.date);
        let consented = reply.result?.user_id;
        if consented != who.user_id {
            sender.record.consented(Some(consented));
            return Ok(ConsentOutcome::OtherUser { consented, configured: who.user_id });
        }
        sender.record.consented(None);
        Ok(match self.prove(name).await {
            Ok(()) => ConsentOutcome::Granted,
            Err(_) => ConsentOutcome::GrantedButFailing,
        })
    }

    async fn fetch_user(
        &self,
        name: &str,
        old: Option<Arc<KnownUser>>,
    ) -> Result<Arc<KnownUser>, Arc<Error>> {
        match self.ask_user(name).await {
            Ok(info) => {
                let stale_at = self.inner.clock.uptime() + USER_INFO_LIFE;
                Ok(Arc::new(KnownUser { info, stale_at }))
            }
            Err(error) => {
                // An outage does not take away what was known.
                let old = old.filter(|_| error.kind() == Kind::Transient).ok_or(error)?;
                let stale_at = self.inner.clock.uptime() + USER_INFO_GRACE;
                Ok(Arc::new(KnownUser { info: old.info.clone(), stale_at }))
            }
        }
    }

    /// One call, and after a 401 one forced refresh and one replay (rule T7).
    async fn ask_user(&self, name: &str) -> Result<UserInfo, Arc<Error>> {
        let mut is_replay = false;
        loop {
            let token = self.token(name).await?;
            let sent = self.inner.clock.uptime();
            let reply = user_info::fetch(&self.inner.client, &self.inner.server, token.header()).await;
            self.observe(sent, reply.date);
            match reply.result {
                Err(Error::TokenRefused) if !is_replay => {
                    is_replay = true;
                    self.retire(name, token.generation());
                }
                result => return result.map_err(Arc::new),
            }
        }
    }
}
