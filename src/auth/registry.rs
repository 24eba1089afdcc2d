//! Which senders there are: they come from the settings and from callers, and go while others are read.
//!
//! The table is replaced as a whole, so that a reader never waits for one who changes it.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use arc_swap::{ArcSwap, ArcSwapOption};

use super::{
    Auth, Error, Impersonation, KeyStatus, Sender, TokenSource,
    assertion::Claims,
    impersonation::GrantSource,
    key_ring::KeyRing,
    retry::Retry,
    seed_of, signing_key,
    signing_key::KeySource,
    user_info::{self, AccountChoice},
};

/// Keys that were read for senders which have others so far, to be taken up together.
pub struct FreshKeys(Vec<(Arc<Sender>, Arc<KeyRing>)>);

impl std::fmt::Debug for FreshKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(sender, _)| &sender.name)).finish()
    }
}

impl FreshKeys {
    /// The senders' names, and how their new keys stand.
    pub fn statuses(&self) -> impl Iterator<Item = (&str, Vec<KeyStatus>)> {
        self.0.iter().map(|(sender, ring)| (&*sender.name, ring.status()))
    }
}

impl Auth {
    /// Adds a sender, or replaces the one of that name. Reads its keys; sends nothing.
    ///
    /// Fails only if not one key can be read; other defects are in the status.
    pub async fn register(&self, name: &str, sender: Impersonation) -> Result<(), signing_key::Error> {
        let all = vec![(Arc::from(name), sender)];
        self.register_all(all).await.map_err(|(_, error)| error)
    }

    /// As [`register`](Self::register), for many at once: thousands of senders of one integration key share
    /// what is read of their keys. Fails with the name of the first sender that has none.
    pub async fn register_all(
        &self,
        new: Vec<(Arc<str>, Impersonation)>,
    ) -> Result<(), (Arc<str>, signing_key::Error)> {
        let (made, unusable) = self.with_keys(new).await;
        if let Some(first) = unusable.into_iter().next() {
            return Err(first);
        }
        self.insert(made);
        Ok(())
    }

    /// As [`register_all`](Self::register_all), but those that have a key are added whatever becomes of the others,
    /// which are answered.
    pub async fn register_each(
        &self,
        new: Vec<(Arc<str>, Impersonation)>,
    ) -> Vec<(Arc<str>, signing_key::Error)> {
        if new.is_empty() {
            return Vec::new();
        }
        let (made, unusable) = self.with_keys(new).await;
        self.insert(made);
        unusable
    }

    /// Reads the keys of new senders.
    async fn with_keys(
        &self,
        new: Vec<(Arc<str>, Impersonation)>,
    ) -> (Vec<Sender>, Vec<(Arc<str>, signing_key::Error)>) {
        let (mut made, mut unusable) = (Vec::with_capacity(new.len()), Vec::new());
        let mut is_watchable = false;
        {
            let mut rings = self.inner.rings.lock().await;
            for (name, sender) in new {
                match rings.ring(&sender, self.inner.options.signer.as_ref(), &self.inner.clock).await {
                    Ok(keys) => {
                        is_watchable |= keys.is_watchable();
                        made.push(self.impersonating(&name, sender, keys));
                    }
                    Err(error) => unusable.push((name, error)),
                }
            }
        }
        if is_watchable {
            self.watch_keys();
        }
        (made, unusable)
    }

    /// How the keys in these places stand, for somebody who is no sender yet. Fails if not one can be used; sends
    /// nothing.
    pub async fn examine_keys(&self, keys: Vec<KeySource>) -> Result<Vec<KeyStatus>, signing_key::Error> {
        let (process, clock) = (self.inner.options.signer.as_ref(), Arc::clone(&self.inner.clock));
        let ring = KeyRing::load(keys, process, clock, self.inner.options.barred).await?;
        Ok(ring.status())
    }

    /// Reads the keys of those of our senders whose keys are in other places than so far, and changes nothing.
    /// Fails with the name of the first of them that would have none.
    pub async fn read_keys(
        &self,
        wanted: Vec<(Arc<str>, Vec<KeySource>)>,
    ) -> Result<FreshKeys, (Arc<str>, signing_key::Error)> {
        let mut fresh = Vec::new();
        let senders = self.inner.senders.load_full();
        let mut rings = self.inner.rings.lock().await;
        for (name, keys) in wanted {
            let Some(sender) = senders.get(&name) else { continue };
            let (Some(impersonation), Some(before)) = (&sender.impersonation, sender.ring()) else {
                continue;
            };
            let with_them = Impersonation { keys, ..impersonation.clone() };
            let ring = rings.ring(&with_them, self.inner.options.signer.as_ref(), &self.inner.clock).await;
            let ring = ring.map_err(|error| (name, error))?;
            // The same places are the same ring.
            if !Arc::ptr_eq(&ring, &before) {
                fresh.push((Arc::clone(sender), ring));
            }
        }
        Ok(FreshKeys(fresh))
    }

    /// From the next mint on these keys are tried. The tokens that are held go on (rule T3), and the key that works
    /// serves until one of these has earned a token, whether or not it is among them (rule T10).
    pub fn take_up(&self, fresh: FreshKeys) {
        let is_watchable = fresh.0.iter().any(|(_, ring)| ring.is_watchable());
        for (sender, ring) in fresh.0 {
            if let Some(keys) = &sender.keys {
                ring.take_over_from(&keys.load());
                keys.store(ring);
            }
        }
        if is_watchable {
            self.watch_keys();
        }
    }

    /// Adds senders whose tokens come from elsewhere, or replaces those of their names.
    pub fn register_sources(&self, new: Vec<(Arc<str>, Arc<dyn TokenSource>, AccountChoice)>) {
        let made = new.into_iter().map(|(name, source, account)| self.sender_with(&name, source, account));
        self.insert(made.collect());
    }

    /// Removes senders. Who waits for their tokens is told that there are none.
    pub fn unregister_all<'a>(&self, names: impl IntoIterator<Item = &'a str>) {
        let mut names = names.into_iter().peekable();
        if names.peek().is_none() {
            return;
        }
        let _guard = self.inner.registering.lock().unwrap_or_else(PoisonError::into_inner);
        let mut senders = HashMap::clone(&self.inner.senders.load());
        let gone: Vec<_> = names.filter_map(|name| senders.remove(name)).collect();
        self.inner.senders.store(Arc::new(senders));
        for old in &gone {
            self.forget(old);
        }
    }

    /// Whom a sender acts as, and with what; none if its tokens come from elsewhere.
    pub fn impersonation(&self, name: &str) -> Option<Impersonation> {
        let sender = self.inner.senders.load().get(name)?.clone();
        let keys = sender.ring()?.sources().to_vec();
        let account = AccountChoice::clone(&sender.account.load());
        Some(Impersonation { keys, account, ..sender.impersonation.clone()? })
    }

    /// Which sender it is, and in which account: another of the same name has another, and so has the same one once it
    /// is meant to act in another account.
    pub fn edition(&self, name: &str) -> Option<u64> {
        self.inner.senders.load().get(name).map(|sender| sender.edition.load(Ordering::Acquire))
    }

    /// Mints once as somebody who is no sender yet, and looks whether they are in the account: what comes of it
    /// is dropped, and nobody else sees anything of it but the witness, under the name given.
    pub async fn try_out(&self, name: &str, who: Impersonation) -> Result<(), Arc<Error>> {
        let keys = {
            let mut rings = self.inner.rings.lock().await;
            let keys = rings.ring(&who, self.inner.options.signer.as_ref(), &self.inner.clock).await;
            keys.map_err(|error| Arc::new(Error::KeyUnusable(error)))?
        };
        let keys = Arc::new(ArcSwap::new(keys));
        let minted = self.exchange(name, &who, keys).mint().await.map_err(|failure| failure.error)?;
        let sent = self.inner.clock.uptime();
        let reply = user_info::fetch(&self.inner.client, &self.inner.server, &minted.header).await;
        self.inner.offset.observe(sent, reply.date);
        let info = reply.result.map_err(Arc::new)?;
        self.placed(info.choose(&who.account)).map(drop)
    }

    fn sender_with(&self, name: &str, source: Arc<dyn TokenSource>, account: AccountChoice) -> Sender {
        let now = self.inner.clock.uptime();
        let number = self.inner.numbers.fetch_add(1, Ordering::Relaxed);
        let wrong =
            account.contradiction().map(|reason| Arc::new((Arc::new(Error::NotInAccount(reason)), now)));
        Sender {
            name: Arc::from(name),
            number,
            impersonation: None,
            account: ArcSwap::from_pointee(account),
            edition: AtomicU64::new(number),
            acts_in: OnceLock::new(),
            default_is_other: AtomicBool::new(false),
            misplaced: ArcSwapOption::new(wrong),
            awaited: Mutex::default(),
            keys: None,
            source,
            record: Arc::default(),
            live: ArcSwapOption::empty(),
            closed: self.inner.closed.child_token(),
        }
    }

    /// Adds senders in one step, or replaces those of their names.
    fn insert(&self, made: Vec<Sender>) {
        if made.is_empty() {
            return;
        }
        let mut replaced = Vec::new();
        let _guard = self.inner.registering.lock().unwrap_or_else(PoisonError::into_inner);
        let mut senders = HashMap::clone(&self.inner.senders.load());
        for sender in made {
            if let Some(before) = senders.get(&sender.name) {
                sender.stay_with(before);
            }
            replaced.extend(senders.insert(Arc::clone(&sender.name), Arc::new(sender)));
        }
        self.inner.senders.store(Arc::new(senders));
        for old in &replaced {
            self.forget(old);
        }
    }

    /// A sender that mints by JWT Grant.
    fn impersonating(&self, name: &str, sender: Impersonation, keys: Arc<KeyRing>) -> Sender {
        let keys = Arc::new(ArcSwap::new(keys));
        let exchange = self.exchange(name, &sender, Arc::clone(&keys));
        let seed = seed_of(self.inner.options.seed, name);
        let retry = Retry::new(exchange, Arc::clone(&self.inner.clock), seed);
        let made = self.sender_with(name, Arc::new(retry), sender.account.clone());
        // The ring names the keys; many senders share one.
        let sender = Impersonation { keys: Vec::new(), ..sender };
        Sender { impersonation: Some(sender), keys: Some(keys), ..made }
    }

    fn exchange(&self, name: &str, sender: &Impersonation, keys: Arc<ArcSwap<KeyRing>>) -> GrantSource {
        let inner = &self.inner;
        GrantSource {
            client: inner.client.clone(),
            server: inner.server.clone(),
            claims: Claims {
                integration_key: sender.integration_key,
                user_id: sender.user_id,
                audience: Arc::clone(inner.server.audience()),
                scopes: sender.scopes.clone(),
            },
            keys,
            clock: Arc::clone(&inner.clock),
            offset: Arc::clone(&inner.offset),
            name: Arc::from(name),
            witnesses: inner.witnesses.clone(),
        }
    }

    /// A sender is gone, or another has its name.
    fn forget(&self, old: &Sender) {
        old.closed.cancel();
        self.inner.caches.invalidate(&old.number);
        self.inner.users.invalidate(&old.number);
    }
}
