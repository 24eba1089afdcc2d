//! Mints for a sender that is connected by the code grant: with a refresh token that dies with each use.
//!
//! Several daemons share the token, and two that use it at once would each kill the other's. So whoever renews
//! first takes a lease on the row, by its version: one wins, the others wait and then find the new token. The
//! new token is stored before anything is done with what it came with; if the store fails then, it is held
//! here and stored as soon as the store takes it, because the old one is dead. All of it is work that a stop waits
//! for: a token that only this process knows would be lost with it.
//!
//! A daemon that dies over a renewal leaves its lease. Where a store has one daemon at a time, the next one knows that
//! and goes on at once: if the dead one's exchange came through, waiting would not bring its token back. Where several
//! share a store, nobody can tell the dead from the slow, and the end of the lease is waited for.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::{
    Form, Pairings,
    kept::{Kept, LEASE_MOST},
};
use crate::{
    auth::{
        self, CodeGrant, TokenSource, access_token::MintedToken, code_grant::Renewed,
        identity::IntegrationKey, token_source::Minting,
    },
    clock::{SharedClock, later},
    domain::SenderName,
    lifecycle::Lifecycle,
    store::{self, SenderRecord, SharedStore},
    telemetry::chain,
};

/// How long a daemon may take to renew; longer than an exchange with the account server can.
const LEASE: Duration = Duration::from_secs(60);
// Or every lease would be taken for one from before the clock was set back, and two would exchange one token.
const _: () = assert!(LEASE.as_secs() + 20 <= LEASE_MOST.as_secs());
/// How often a lease of another daemon is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Looks before this try is given up; the next comes by itself.
const MAX_LOOKS: u32 = 40;

/// How soon a renewed token that the store did not take is saved again; each time twice as late, up to the most.
const SAVE_AGAIN: Duration = Duration::from_millis(250);
const SAVE_AGAIN_MOST: Duration = Duration::from_secs(10);

/// A refresh token of this age is renewed, whether or not somebody uses it: half of its life.
const IDLE_AFTER: SignedDuration = SignedDuration::from_hours(15 * 24);
/// Over how long those of one day are spread.
const SPREAD_S: i64 = 5 * 86_400;

/// Mints with a refresh token that the store keeps. Clones share what is not saved yet.
#[derive(Clone)]
pub struct Renewal {
    pub(super) sender: SenderName,
    pub(super) integration_key: IntegrationKey,
    pub(super) secret: Option<SecretString>,
    pub(super) grant: CodeGrant,
    pub(super) store: SharedStore,
    pub(super) clock: SharedClock,
    pub(super) life: Lifecycle,
    /// Which leases are ours.
    pub(super) daemon: Uuid,
    pub(super) unsaved: Arc<Mutex<Option<Unsaved>>>,
}

/// What the store did not take yet.
#[derive(Clone)]
pub(super) struct Unsaved {
    row: SenderRecord,
    /// The refresh token that was exchanged for the one of the row.
    old: SecretString,
}

/// A sender that nobody connected yet: it has no token, and says what to do.
#[derive(Debug)]
pub(super) struct Unpaired;

impl TokenSource for Unpaired {
    fn mint(&self) -> Minting<'_> {
        Box::pin(std::future::ready(Err(auth::Error::NotConnected.into())))
    }
}

impl TokenSource for Renewal {
    fn mint(&self) -> Minting<'_> {
        Box::pin(async { self.renew().await.map_err(Into::into) })
    }
}

impl std::fmt::Debug for Renewal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Renewal").field("sender", &self.sender).finish_non_exhaustive()
    }
}

impl Renewal {
    /// Renews, to the end and saved, whoever stops waiting for it: a stop waits, too.
    pub async fn renew(&self) -> Result<MintedToken, auth::Error> {
        let (reply, outcome) = oneshot::channel();
        let renewal = self.clone();
        self.life.spawn_work("renew a connection", async move {
            let outcome = renewal.renew_once().await;
            let is_renewed = outcome.is_ok();
            let _ = reply.send(outcome);
            if is_renewed {
                renewal.save_surely().await;
            }
        });
        // It was dropped: the stop has turned hard.
        outcome.await.unwrap_or(Err(auth::Error::Closed))
    }

    /// Renews: one of all who try at once, and the others after it.
    async fn renew_once(&self) -> Result<MintedToken, auth::Error> {
        self.save_what_was_not().await?;
        let (row, kept) = self.lease().await?;
        let token = SecretString::from(kept.refresh_token.clone());
        match self.grant.renew(self.integration_key, &token, self.secret.as_ref()).await {
            Ok(renewed) => self.took(row, &token, renewed).await,
            Err(error) => {
                let is_dead = is_dead(&error);
                self.release(row, kept, is_dead).await;
                Err(if is_dead { auth::Error::ConnectionLost } else { error })
            }
        }
    }

    /// Takes the lease, or waits for whoever has it.
    async fn lease(&self) -> Result<(SenderRecord, Kept), auth::Error> {
        let mut until = self.clock.now();
        for _ in 0..MAX_LOOKS {
            let row = self.store.sender_record(&self.sender).await.map_err(|error| unkept(&error))?;
            let row = row.ok_or(auth::Error::NotConnected)?;
            let kept = kept_of(&row).ok_or(auth::Error::ConnectionLost)?;
            let now = self.clock.now();
            if let Some(held_until) = kept.held_until(now, self.daemon, self.store.daemons()) {
                until = held_until;
            } else {
                let leased = kept.clone().leased(self.daemon, later(now, LEASE));
                let taken = SenderRecord { sealed: Some(leased.sealed()), ..row };
                match self.store.put_sender_record(taken.clone()).await {
                    Ok(version) => return Ok((SenderRecord { version, ..taken }, kept)),
                    // Somebody was faster.
                    Err(store::Error::Conflict) => {}
                    Err(error) => return Err(unkept(&error)),
                }
            }
            self.clock.sleep(LOOK_EVERY).await;
        }
        Err(auth::Error::ConnectionBusy { until })
    }

    async fn took(
        &self,
        row: SenderRecord,
        old: &SecretString,
        renewed: Renewed,
    ) -> Result<MintedToken, auth::Error> {
        // RFC 6749, section 6: without a new one, the old one goes on.
        let token = renewed.refresh_token.unwrap_or_else(|| old.clone());
        let kept = Kept::fresh(token.expose_secret().to_owned(), self.clock.now());
        let row = SenderRecord { sealed: Some(kept.sealed()), ..row };
        let unsaved = Unsaved { row, old: old.clone() };
        match self.put_renewed(unsaved.clone()).await {
            Ok(true) => {}
            Ok(false) => return Err(auth::Error::ConnectionChanged),
            Err(error) => {
                tracing::error!(sender = %self.sender, error = %chain(&error), "a renewed refresh token is not stored yet");
                *self.unsaved() = Some(unsaved);
            }
        }
        Ok(renewed.minted)
    }

    /// Writes a renewed token in the place of the one that it was got for. Whose lease ran out meanwhile finds the
    /// row at another version, and the dead token in it still. False: it was connected anew, or disconnected;
    /// what is there now counts.
    async fn put_renewed(&self, Unsaved { mut row, old }: Unsaved) -> Result<bool, store::Error> {
        for _ in 0..MAX_LOOKS {
            match self.store.put_sender_record(row.clone()).await {
                Ok(_) => return Ok(true),
                Err(store::Error::Conflict) => {}
                Err(error) => return Err(error),
            }
            let there = self.store.sender_record(&self.sender).await?;
            let Some(there) = there.filter(|there| there.connected_at == row.connected_at) else {
                return Ok(false);
            };
            let held = token_of(&there);
            // The answer to this write may have been lost after its commit.
            if held.is_some() && held == token_of(&row) {
                return Ok(true);
            }
            if held.as_deref() != Some(old.expose_secret()) {
                return Ok(false);
            }
            row.version = there.version;
        }
        Err(store::Error::Conflict)
    }

    /// Saves what the store did not take, for as long as that takes: nobody may mint for hours, and until it is
    /// saved a restart or another daemon would go on with the dead one.
    async fn save_surely(&self) {
        let mut pause = SAVE_AGAIN;
        while self.is_unsaved() {
            self.clock.sleep(pause).await;
            pause = (pause * 2).min(SAVE_AGAIN_MOST);
            // Each failure is logged.
            let _ = self.save_what_was_not().await;
        }
    }

    fn unsaved(&self) -> MutexGuard<'_, Option<Unsaved>> {
        self.unsaved.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_unsaved(&self) -> bool {
        self.unsaved().is_some()
    }

    async fn save_what_was_not(&self) -> Result<(), auth::Error> {
        let unsaved = self.unsaved().clone();
        let Some(unsaved) = unsaved else { return Ok(()) };
        let token = token_of(&unsaved.row);
        match self.put_renewed(unsaved).await {
            Ok(_) => {
                // A later one may wait here by now.
                let mut unsaved = self.unsaved();
                let _ = unsaved.take_if(|it| token_of(&it.row) == token);
                Ok(())
            }
            Err(error) => Err(unkept(&error)),
        }
    }

    /// Gives the lease back. A token that is dead stays, so that the next try says the same.
    async fn release(&self, row: SenderRecord, kept: Kept, is_dead: bool) {
        if is_dead {
            tracing::warn!(sender = %self.sender, "its refresh token is revoked or used up: it must be connected again");
        }
        let row = SenderRecord { sealed: Some(kept.free().sealed()), ..row };
        if let Err(error) = self.store.put_sender_record(row).await {
            // It runs out by itself.
            tracing::debug!(sender = %self.sender, error = %chain(&error), "a lease was not given back");
        }
    }
}

impl Pairings {
    /// Renews the refresh tokens that nobody has used for long, one after the other, by what the senders mint
    /// with anyway, which holds a token that the store did not take: DocuSign lets one die about 30 days after it
    /// was got (platform/auth/confidential-authcode-get-token), and of very many senders an idle one is asked for
    /// nothing else in that time. Each is due at a time of its own within some days, so that those that were connected
    /// together are not renewed together.
    pub async fn renew_idle(&self) -> Result<(), store::Error> {
        let given = &self.inner.given;
        for row in given.store.sender_records().await? {
            let connectable = self.connectable(row.sender.as_str());
            if !connectable.is_ok_and(|connectable| connectable.form == Form::Code) {
                continue;
            }
            if !kept_of(&row).is_some_and(|kept| is_due(&row, &kept, given.clock.now())) {
                continue;
            }
            // Whoever needs the sender next is told the same, and it is tried again at the next look.
            if let Err(error) = given.auth.probe(row.sender.as_str()).await {
                tracing::warn!(sender = %row.sender, error = %chain(&error), "an idle connection was not renewed");
            }
        }
        Ok(())
    }
}

fn kept_of(row: &SenderRecord) -> Option<Kept> {
    row.sealed.as_ref().and_then(Kept::open)
}

fn token_of(row: &SenderRecord) -> Option<String> {
    kept_of(row).map(|kept| kept.refresh_token)
}

/// Whether a refresh token is so old that it is renewed though nobody uses it.
fn is_due(row: &SenderRecord, kept: &Kept, now: Timestamp) -> bool {
    let spread = row.sender.as_str().bytes().fold(0_i64, |sum, byte| (sum * 31 + i64::from(byte)) % SPREAD_S);
    let age = now.duration_since(kept.renewed_at.unwrap_or(row.connected_at));
    age >= IDLE_AFTER + SignedDuration::from_secs(spread)
}

/// Whether the refresh token will never work again: revoked, expired, or rotated by somebody who is not us.
fn is_dead(error: &auth::Error) -> bool {
    match error {
        auth::Error::CodeRejected | auth::Error::ConsentRequired(_) => true,
        auth::Error::Refused { status: 400, error } => error == "invalid_grant",
        _ => false,
    }
}

fn unkept(error: &store::Error) -> auth::Error {
    tracing::warn!(error = %chain(error), "the store does not answer: no token can be renewed");
    auth::Error::Unkept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_is_away_is_not_called_an_account_server_that_is() {
        let error = unkept(&store::Error::Unavailable("it is stopped".into()));
        assert_eq!((error.code(), error.kind()), ("store_unavailable", auth::Kind::Transient));
        assert!(!error.to_string().contains("account server") && error.said().is_none());
    }

    #[test]
    fn a_wrong_secret_of_ours_is_no_lost_connection() {
        let refused = |word: &str| auth::Error::Refused { status: 400, error: word.to_owned() };
        assert!(is_dead(&refused("invalid_grant")) && is_dead(&auth::Error::CodeRejected));
        assert!(!is_dead(&refused("unauthorized_client")) && !is_dead(&refused("invalid_client")));
    }
}
