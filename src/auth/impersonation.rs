//! The bottom of the stack: mints by JWT Grant, as one impersonated user.
//!
//! It tries the keys in order and corrects the clock once; it does not wait, repeat or remember
//! beyond that. What `no_valid_keys_or_signatures` means is decided here, because only here both
//! halves are known: the assertion that was refused, and the time at which the account server
//! read it (rule T9).

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use jiff::{SignedDuration, Timestamp};

use super::{
    access_token::MintedToken,
    assertion::{Assertion, Claims},
    clock_offset::ClockOffset,
    error::Error,
    grant,
    identity::{AccountServer, IntegrationKey, Scopes, UserId},
    key_ring::KeyRing,
    signer::Signer,
    signing_key::{Defect, KeySource},
    token_source::{Minting, TokenSource},
    user_info::AccountChoice,
    witness::Witnesses,
};
use crate::{clock::SharedClock, http_client::HttpClient};

/// How late a `Date` may be: cut to the second, and kept for up to one more.
const DATE_LAG: Duration = Duration::from_secs(2);

/// A sender as the settings describe it.
#[derive(Debug, Clone)]
pub struct Impersonation {
    /// Our client identifier.
    pub integration_key: IntegrationKey,
    /// Whom we act as.
    pub user_id: UserId,
    /// What we ask for.
    pub scopes: Scopes,
    /// The keys, in order.
    pub keys: Vec<KeySource>,
    /// Which of the user's accounts is meant.
    pub account: AccountChoice,
}

/// Mints by JWT Grant.
pub(super) struct GrantSource {
    pub(super) client: HttpClient,
    pub(super) server: AccountServer,
    pub(super) claims: Claims,
    pub(super) keys: Arc<ArcSwap<KeyRing>>,
    pub(super) clock: SharedClock,
    pub(super) offset: Arc<ClockOffset>,
    /// The sender's, for the witness.
    pub(super) name: Arc<str>,
    pub(super) witnesses: Witnesses,
}

impl GrantSource {
    async fn try_keys(&self) -> Result<MintedToken, Error> {
        let (keys, mut refused) = (self.keys.load_full(), None);
        for signer in keys.in_order() {
            let key = signer.fingerprint();
            match self.exchange(&signer).await {
                Ok(minted) => {
                    keys.accepted(key);
                    return Ok(minted);
                }
                Err(error @ Error::KeyRejected(_)) => {
                    keys.rejected(key);
                    refused = Some(error);
                }
                Err(error @ Error::Signing(_)) => refused = Some(error),
                // Not the key's fault, so no other key would do better.
                Err(error) => return Err(error),
            }
        }
        Err(refused.unwrap_or_else(|| {
            let origin = Arc::from("settings");
            Error::KeyUnusable(super::signing_key::Error { origin, defect: Defect::Empty })
        }))
    }

    /// One key's exchange, with one corrected retry if the clock explains the refusal.
    async fn exchange(&self, signer: &Signer) -> Result<MintedToken, Error> {
        let mut is_retry = false;
        loop {
            self.witnesses.signs(&self.name, signer.fingerprint()).await.map_err(Error::Signing)?;
            let assertion = Assertion::sign(signer, &self.claims, self.offset.corrected_now()).await;
            let assertion = assertion.map_err(Error::Signing)?;
            let born = self.clock.uptime();
            let reply = grant::exchange(&self.client, &self.server, &assertion).await;
            self.offset.observe(born, reply.date);
            let error = match reply.result {
                Ok(granted) => return granted.minted(born),
                Err(error) => error,
            };
            let by_clock = matches!(error, Error::KeyRejected(_) | Error::ClockSkew { .. })
                && reply.date.is_some_and(|date| !could_be_valid(&assertion, date));
            if by_clock && !is_retry {
                is_retry = true;
                continue;
            }
            return Err(match error {
                Error::ClockSkew { .. } => self.clock_skew(),
                Error::KeyRejected(_) if by_clock => self.clock_skew(),
                other => other,
            });
        }
    }

    fn clock_skew(&self) -> Error {
        Error::ClockSkew { offset: self.offset.offset().map_or(SignedDuration::ZERO, |found| found.offset) }
    }
}

/// Whether a server that wrote this `Date` could have found the assertion neither early nor expired.
fn could_be_valid(assertion: &Assertion, date: Timestamp) -> bool {
    assertion.is_valid_at(date) || date.saturating_add(DATE_LAG).is_ok_and(|late| assertion.is_valid_at(late))
}

impl TokenSource for GrantSource {
    fn mint(&self) -> Minting<'_> {
        Box::pin(async { self.try_keys().await.map_err(Into::into) })
    }
}
