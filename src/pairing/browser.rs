//! A customer's browser: from the link to DocuSign, back with a code, and to the choice of an account.

use std::{collections::HashMap, sync::PoisonError};

use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret as _, SecretString};
use uuid::Uuid;

use super::{
    Connectable, Cookie, Error, Form, Pairings, Target, WAITING,
    kept::{self, Choice},
    tickets::{self, Of, PairingTickets},
};
use crate::{
    audit::{Act, Entry},
    auth::{
        self, CodeGrant,
        code_grant::Answered,
        consent::PkceVerifier,
        grant::{ClientProof, harmless},
        user_info::AccountChoice,
    },
    clock::later,
    domain::{AccountId, Private, SenderName},
    store::{SenderRecord, Version},
    telemetry::chain,
};

/// States of one sender that may come back with a code in the life of one. Whoever has its link and uses them up keeps
/// no other sender's customer from connecting.
const MAX_USED: usize = 100;

/// States that came back with a code, for as long as they would be taken, and whose they are.
#[derive(Debug, Default)]
pub(super) struct UsedStates(HashMap<String, (String, Timestamp)>);

/// An account that can be chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// Its id.
    pub id: Uuid,
    /// Its name, as its owner wrote it.
    pub name: String,
    /// Whether it is the user's default.
    pub is_default: bool,
}

/// What a ticket in an address leads to.
#[derive(Debug)]
pub enum Opened {
    /// The page with the button.
    Invitation {
        /// The sender.
        sender: SenderName,
        /// Whether it is connected, so that going on replaces that.
        is_paired: bool,
    },
    /// The page with the accounts.
    Choice {
        /// The sender.
        sender: SenderName,
        /// The accounts.
        offers: Vec<Offer>,
    },
}

/// What an answer or a choice led to.
#[derive(Debug)]
pub enum Outcome {
    /// The person has several accounts: this ticket leads to the choice.
    Choose {
        /// What follows `/connect/`.
        ticket: Private<String>,
    },
    /// It acts from now on.
    Paired {
        /// The sender.
        sender: SenderName,
        /// The account's name.
        account: String,
    },
}

/// What came back from DocuSign's page.
#[derive(Debug, Clone, Copy)]
pub enum Answer<'a> {
    /// A code.
    Code(&'a str),
    /// Neither a code nor a word.
    Nothing,
    /// A word for why there is no code (RFC 6749, 4.1.2.1).
    Refused(&'a str),
}

impl Pairings {
    /// What a ticket in an address leads to. Changes nothing.
    pub async fn open(&self, ticket: &str, cookie: Option<&Cookie>) -> Result<Opened, Error> {
        let tickets = &self.inner.given.tickets;
        if let Ok(sender) = tickets.open_link(ticket, self.now(), &self.births()) {
            let sender = self.target(&sender)?.name;
            let is_paired = self.paired(&sender).is_some();
            return Ok(Opened::Invitation { sender, is_paired });
        }
        let cookie = cookie.ok_or(Error::Stale)?;
        let sender = tickets.open_choice(ticket, cookie, self.now(), &self.births())?;
        let (_, choice) = self.waiting(&sender, cookie).await?;
        Ok(Opened::Choice { sender: SenderName::new(sender), offers: choice.offers() })
    }

    /// The button: where the browser goes, and the cookie that its answer must come back with.
    pub fn begin(&self, ticket: &str, redirect_uri: &str) -> Result<(String, Cookie), Error> {
        let tickets = &self.inner.given.tickets;
        let sender = tickets.open_link(ticket, self.now(), &self.births())?;
        let Target { born, connectable, .. } = self.target(&sender)?;
        let cookie = Cookie::generate();
        let (state, verifier) = tickets.state(Of { sender: &sender, born }, &cookie, self.now());
        let (key, scopes) = (connectable.integration_key, &connectable.scopes);
        Ok((self.inner.grant.page(key, scopes, redirect_uri, &state, &verifier), cookie))
    }

    /// Whether a state that came back is one of ours, so that nobody else need look at it.
    pub fn is_ours(&self, state: &str) -> bool {
        PairingTickets::is_state(state)
    }

    /// The browser is back: exchanges the code at once, and pairs or offers a choice.
    pub async fn answered(
        &self,
        state: &str,
        cookie: Option<&Cookie>,
        answer: Answer<'_>,
    ) -> Result<Outcome, Error> {
        let cookie = cookie.ok_or(Error::Stale)?;
        let tickets = &self.inner.given.tickets;
        let (sender, verifier) = tickets.open_state(state, cookie, self.now(), &self.births())?;
        let target = self.target(&sender)?;
        let outcome = match answer {
            // Only a code uses it up: an answer without one has cost nothing.
            Answer::Code(_) if !self.use_once(state, &sender) => return Err(Error::Stale),
            Answer::Code(code) => match self.exchanged_surely(target, verifier, cookie, code).await {
                // The code works once: another daemon was asked with this very answer before.
                Err(Error::Auth(error))
                    if matches!(*error, auth::Error::CodeRejected)
                        && self.came_through(state, &sender, cookie).await =>
                {
                    return Err(Error::Stale);
                }
                other => other,
            },
            Answer::Refused(word) if word != "access_denied" => Err(Error::Answered(harmless(word))),
            Answer::Nothing | Answer::Refused(_) => Err(Error::Denied),
        };
        outcome.inspect_err(|error| log(&sender, error))
    }

    /// Exchanges a code and keeps what it is worth, also if the browser hangs up meanwhile or a stop begins: the
    /// code works once.
    async fn exchanged_surely(
        &self,
        target: Target,
        verifier: PkceVerifier,
        cookie: &Cookie,
        code: &str,
    ) -> Result<Outcome, Error> {
        let (pairings, cookie) = (self.clone(), cookie.clone());
        let code = SecretString::from(code);
        let outcome = self.inner.given.life.outcome_of("exchange a code", async move {
            pairings.exchanged(&target, &verifier, &cookie, code.expose_secret()).await
        });
        outcome.await.unwrap_or_else(|| Err(auth::Error::Closed.into()))
    }

    async fn exchanged(
        &self,
        target: &Target,
        verifier: &PkceVerifier,
        cookie: &Cookie,
        code: &str,
    ) -> Result<Outcome, Error> {
        let (tickets, connectable) = (&self.inner.given.tickets, &target.connectable);
        let sender = target.name.as_str();
        let entry = Entry::new(Act::ConsentTaken, sender).detail("connect: code");
        self.announce(&target.name, entry).await?;
        let proof = match &connectable.secret {
            Some(secret) => ClientProof::Secret(secret, Some(verifier)),
            None => ClientProof::Public(Some(verifier)),
        };
        let answered = self.inner.grant.answered(connectable.integration_key, code, proof).await?;
        let choice = offers(connectable, answered, &self.inner.grant)?;
        if let [only] = choice.accounts.as_slice() {
            let only = only.id;
            return self.pair(target, &choice, only).await;
        }
        self.put_aside(sender, cookie, choice).await?;
        let ticket = tickets.choice(Of { sender, born: target.born }, cookie, self.now());
        Ok(Outcome::Choose { ticket: Private::new(ticket) })
    }

    /// The person has chosen; who chose none that was offered is asked again.
    pub async fn choose(
        &self,
        ticket: &str,
        cookie: Option<&Cookie>,
        account: Option<&str>,
    ) -> Result<Outcome, Error> {
        let cookie = cookie.ok_or(Error::Stale)?;
        let sender = self.inner.given.tickets.open_choice(ticket, cookie, self.now(), &self.births())?;
        let target = self.target(&sender)?;
        let (name, choice) = self.waiting(&sender, cookie).await?;
        let account = account.and_then(|text| Uuid::try_parse(text).ok());
        let is_offered = |id: &Uuid| choice.accounts.iter().any(|offer| offer.id == *id);
        let Some(account) = account.filter(is_offered) else {
            return Ok(Outcome::Choose { ticket: Private::new(ticket.to_owned()) });
        };
        let pairings = self.clone();
        let outcome = self.inner.given.life.outcome_of("connect an account", async move {
            pairings.chosen(&target, &name, &choice, account).await
        });
        let outcome = outcome.await.unwrap_or_else(|| Err(auth::Error::Closed.into()));
        outcome.inspect_err(|error| log(&sender, error))
    }

    /// Pairs by a choice and destroys what it was made of, to the end: what stayed could be chosen from again, and
    /// would put a refresh token that was used by then over its successor.
    async fn chosen(
        &self,
        target: &Target,
        waiting: &SenderName,
        choice: &Choice,
        account: Uuid,
    ) -> Result<Outcome, Error> {
        let outcome = self.pair(target, choice, account).await?;
        if let Err(error) = self.inner.given.store.remove_sender_record(waiting).await {
            // It is paired; what waited is too late in a quarter of an hour, and destroyed then.
            tracing::warn!(sender = %target.name, error = %chain(&error), "what a choice was made of is not destroyed yet");
        }
        Ok(outcome)
    }

    /// Keeps what a choice is made of, sealed and apart from what senders act by.
    async fn put_aside(&self, sender: &str, cookie: &Cookie, choice: Choice) -> Result<(), Error> {
        let name = waiting_name(sender, cookie);
        let row = SenderRecord {
            user_id: choice.user_id.clone(),
            account: AccountId::new(String::new()),
            sealed: Some(choice.sealed()),
            connected_at: self.now(),
            version: Version(0),
            sender: name,
        };
        // The same state may have come back with another code, to another daemon or before a restart.
        self.put_over(&row).await
    }

    /// Destroys the choices of a sender's account that wait for a person: from one it would be connected again.
    pub(super) async fn drop_choices(&self, sender: &SenderName) -> Result<(), Error> {
        let store = &self.inner.given.store;
        let of_it = format!("{sender}{WAITING}");
        for row in store.sender_records().await? {
            if row.sender.as_str().starts_with(&of_it) {
                store.remove_sender_record(&row.sender).await?;
            }
        }
        Ok(())
    }

    async fn waiting(&self, sender: &str, cookie: &Cookie) -> Result<(SenderName, Choice), Error> {
        let name = waiting_name(sender, cookie);
        let row = self.inner.given.store.sender_record(&name).await?.ok_or(Error::Stale)?;
        if self.is_too_late(row.connected_at) {
            return Err(Error::Stale);
        }
        let choice = row.sealed.and_then(|kept| Choice::open(&kept)).ok_or(Error::Stale)?;
        Ok((name, choice))
    }

    /// Whether somebody was connected, or stands before a choice, since this state was made.
    async fn came_through(&self, state: &str, sender: &str, cookie: &Cookie) -> bool {
        let Some(made_at) = PairingTickets::made_at(state) else { return false };
        for name in [SenderName::new(sender), waiting_name(sender, cookie)] {
            let row = self.inner.given.store.sender_record(&name).await.ok().flatten();
            if row.is_some_and(|row| row.connected_at.duration_since(made_at) > SignedDuration::from_secs(1))
            {
                return true;
            }
        }
        false
    }

    /// Whether this state comes back for the first time here. Across daemons it is the code that works once.
    fn use_once(&self, state: &str, sender: &str) -> bool {
        let now = self.now();
        self.inner.used.lock().unwrap_or_else(PoisonError::into_inner).take(state, sender, now)
    }

    fn births(&self) -> impl Fn(&str) -> Uuid {
        |sender| self.born(sender)
    }
}

impl UsedStates {
    /// Notes that a state is used now; says whether it may be.
    fn take(&mut self, state: &str, sender: &str, now: Timestamp) -> bool {
        self.0.retain(|_, (_, until)| now < *until);
        let of_sender = self.0.values().filter(|(of, _)| of == sender).count();
        let is_first = of_sender < MAX_USED && !self.0.contains_key(state);
        if is_first {
            let until = later(now, tickets::STATE_LIFE);
            self.0.insert(state.to_owned(), (sender.to_owned(), until));
        }
        is_first
    }
}

/// Why nobody was connected, for those who run the sender: the person is told less.
fn log(sender: &str, error: &Error) {
    let Some(code) = error.code() else { return };
    tracing::warn!(sender, code, error = %chain(error), fix = error.fix(), "an account was not connected");
}

fn waiting_name(sender: &str, cookie: &Cookie) -> SenderName {
    SenderName::new(format!("{sender}{WAITING}{}", cookie.digest()))
}

/// The accounts that the person may choose from: all that can be called, or the one of the settings. If there is
/// none, the reason is that of the first.
fn offers(connectable: &Connectable, answered: Answered, grant: &CodeGrant) -> Result<Choice, Error> {
    let user = answered.user;
    let wanted: Vec<_> = match &connectable.account {
        AccountChoice::Default => user.accounts.iter().collect(),
        wanted => vec![user.choose(wanted).map_err(|reason| Error::NoAccount(Some(reason)))?],
    };
    let (mut accounts, mut misfit) = (Vec::new(), None);
    for account in wanted {
        match grant.takes(account) {
            Ok(()) => accounts.push(kept::KeptAccount {
                id: account.id,
                name: account.name.clone(),
                is_default: account.is_default,
            }),
            Err(reason) => misfit = misfit.or(Some(reason)),
        }
    }
    if accounts.is_empty() {
        return Err(Error::NoAccount(misfit));
    }
    // What is not needed is not kept, not even for a quarter of an hour.
    let token = answered.refresh_token.filter(|_| connectable.form == Form::Code);
    let refresh_token = token.map(|token| token.expose_secret().to_owned());
    Ok(Choice { user_id: user.user_id.to_string(), accounts, refresh_token })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_used_once_and_who_uses_many_is_in_the_way_of_no_other_sender() {
        let (mut used, now) = (UsedStates::default(), Timestamp::UNIX_EPOCH);
        assert!(used.take("first", "a", now) && !used.take("first", "a", now));
        let taken = (0..1_000).filter(|number| used.take(&number.to_string(), "a", now)).count();
        assert_eq!(taken, MAX_USED - 1);
        assert!(used.take("another", "b", now) && !used.take("another", "b", now));
        let later = now + tickets::STATE_LIFE;
        assert!(used.take("later", "a", later));
        assert_eq!(used.0.len(), 1, "what would not be taken any more is not kept");
    }
}
