//! Who wants our events: endpoints from the settings, and those that callers make.
//!
//! An endpoint from the settings keeps its id over restarts, whoever else becomes a caller meanwhile; its secrets are the
//! operator's, and all that its caller can do with it is to switch it on again after a 410. When it is gone from the
//! settings it is *dropped*: nothing is sent there any more, and what is pending for it, with what happens meanwhile, is
//! kept for a day. Named again, it gets all of that: during a rolling update a daemon may start with the older settings.
//! Then it goes with what is pending. Named for another caller, it is another endpoint: what is one caller's must never
//! reach another's receiver. So one that was named after its caller is never that of whoever is left, unless the settings
//! say so.
//!
//! One made by a caller gets a secret from us, shown once, and can be given a new one: the old one goes on signing for a
//! day. A caller sees and changes only their own.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use url::Url;

use crate::{
    clock::SharedClock,
    domain::{CallerName, EndpointId, EventKind, Private},
    events::webhooks::{Forbidden, Targets, valid_secrets},
    store::{self, Endpoint, SharedStore},
};

/// The most endpoints that a caller may make.
const MAX_ENDPOINTS: u32 = 100;
/// The longest address.
const MAX_URL: usize = 2_048;
/// Bytes of a secret that we make; the specification asks for 24 to 64.
const SECRET_LENGTH: usize = 32;

/// An endpoint of the settings.
#[derive(Debug, Clone)]
pub struct FromSettings {
    /// Its name.
    pub name: String,
    /// Whose events it gets. None: if its name is a caller's, or was once, that caller's; else those of all callers.
    pub callers: Option<Vec<CallerName>>,
    /// Where its events go.
    pub url: String,
    /// Its secrets as bytes, newest first; all of them sign.
    pub secrets: Private<Vec<Vec<u8>>>,
    /// Which kinds; empty means all.
    pub events: Vec<EventKind>,
    /// Whether it may be at a private address.
    pub allow_private: bool,
}

/// An endpoint that a caller wants.
#[derive(Debug, Clone)]
pub struct NewEndpoint {
    /// Where its events go.
    pub url: String,
    /// Which kinds; empty means all.
    pub events: Vec<EventKind>,
    /// Whether it may be at a private address: with the emulator only, and there by itself on loopback.
    pub allow_private: Option<bool>,
}

/// An endpoint with its new secret, which is shown this once.
#[derive(Debug, Clone)]
pub struct WithSecret {
    /// The endpoint.
    pub endpoint: Endpoint,
    /// `whsec_…`.
    pub secret: Private<String>,
}

/// Why it was not done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is none that events go to.
    #[error("the address is refused")]
    Forbidden(#[source] Forbidden),
    /// It is in the settings, and changes only there.
    #[error("the endpoint is in the settings")]
    InSettings,
    /// No such endpoint, or not this caller's.
    #[error("no such endpoint")]
    NotFound,
    /// The store did not do it.
    #[error("the store did not do it")]
    Store(#[from] store::Error),
    /// The caller has made as many as there may be.
    #[error("there are {MAX_ENDPOINTS} endpoints already")]
    TooMany,
}

/// The endpoints. Clones share them.
#[derive(Debug, Clone)]
pub struct Endpoints {
    store: SharedStore,
    clock: SharedClock,
    targets: Targets,
}

impl Endpoints {
    /// The endpoints in a store.
    pub fn new(store: SharedStore, clock: SharedClock, targets: Targets) -> Self {
        Self { store, clock, targets }
    }

    /// Makes the stored endpoints those of the settings, or none of them if the store fails: at start, and when they
    /// are read again. One that was switched off by a 410 is switched on again: the operator still wants it.
    pub async fn apply(&self, wanted: &[FromSettings], callers: &[CallerName]) -> Result<(), store::Error> {
        let (known, own) = (self.store.endpoints(None).await?, self.store.own_webhooks().await?);
        let now = self.clock.now();
        let mut endpoints = Vec::new();
        for settings in wanted {
            for (id, caller) in recipients(settings, callers, &known, &own) {
                let old = known.iter().find(|endpoint| endpoint.id == id);
                endpoints.push(Endpoint {
                    id,
                    caller,
                    url: settings.url.clone(),
                    secrets: settings.secrets.clone(),
                    rotated_at: None,
                    events: settings.events.clone(),
                    allow_private: settings.allow_private,
                    from_settings: true,
                    created_at: old.map_or(now, |old| old.created_at),
                    disabled_at: None,
                    dropped_at: None,
                });
            }
        }
        for endpoint in self.store.replace_webhooks(endpoints, now).await? {
            tracing::info!(
                %endpoint,
                "the settings no longer name a webhook: nothing is sent to it, and in a day it goes with what is pending"
            );
        }
        Ok(())
    }

    /// Makes an endpoint for a caller.
    pub async fn create(&self, caller: &CallerName, new: NewEndpoint) -> Result<WithSecret, Error> {
        let allow_private = self.check(&new).map_err(Error::Forbidden)?;
        let (bytes, secret) = new_secret();
        let now = self.clock.now();
        let endpoint = Endpoint {
            id: EndpointId::generate(now),
            caller: caller.clone(),
            url: new.url,
            secrets: Private::new(vec![bytes]),
            rotated_at: None,
            events: new.events,
            allow_private,
            from_settings: false,
            created_at: now,
            disabled_at: None,
            dropped_at: None,
        };
        if self.store.add_endpoint(endpoint.clone(), MAX_ENDPOINTS).await? {
            Ok(WithSecret { endpoint, secret })
        } else {
            Err(Error::TooMany)
        }
    }

    /// A caller's endpoints, those of the settings included.
    pub async fn list(&self, caller: &CallerName) -> Result<Vec<Endpoint>, Error> {
        let mut endpoints = self.store.endpoints(Some(caller)).await?;
        endpoints.retain(|endpoint| endpoint.dropped_at.is_none());
        Ok(endpoints)
    }

    /// One endpoint of a caller.
    pub async fn get(&self, caller: &CallerName, id: EndpointId) -> Result<Endpoint, Error> {
        self.list(caller).await?.into_iter().find(|endpoint| endpoint.id == id).ok_or(Error::NotFound)
    }

    /// Removes an endpoint with its pending deliveries.
    pub async fn remove(&self, caller: &CallerName, id: EndpointId) -> Result<(), Error> {
        let endpoint = self.changeable(caller, id).await?;
        Ok(self.store.remove_endpoint(endpoint.id).await?)
    }

    /// Gives an endpoint a new secret; the one before goes on signing for a day, older ones end.
    pub async fn rotate(&self, caller: &CallerName, id: EndpointId) -> Result<WithSecret, Error> {
        let (bytes, secret) = new_secret();
        loop {
            let read = self.changeable(caller, id).await?;
            // The answer to the write may have been lost after its commit.
            if read.secrets.reveal().first() == Some(&bytes) {
                return Ok(WithSecret { endpoint: read, secret });
            }
            let previous = valid_secrets(&read, self.clock.now()).first();
            let secrets = [&bytes].into_iter().chain(previous).cloned().collect();
            let rotated_at = Some(self.clock.now());
            let endpoint = Endpoint { secrets: Private::new(secrets), rotated_at, ..read.clone() };
            // Whoever changed it meanwhile was told so: their secret becomes the one before, and an endpoint
            // that they removed does not come back.
            if self.store.rotate_endpoint(read, endpoint.clone()).await? {
                return Ok(WithSecret { endpoint, secret });
            }
        }
    }

    /// Switches an endpoint off until it is enabled; what happens meanwhile is only in the log.
    pub async fn pause(&self, caller: &CallerName, id: EndpointId) -> Result<Endpoint, Error> {
        let endpoint = self.changeable(caller, id).await?;
        if endpoint.disabled_at.is_none() {
            self.disable(endpoint.id).await?;
        }
        self.get(caller, id).await
    }

    /// Switches an endpoint on again, also after a 410. What waited for it goes out. That is what the settings say of
    /// theirs, so that it may be one of them.
    pub async fn enable(&self, caller: &CallerName, id: EndpointId) -> Result<Endpoint, Error> {
        let endpoint = self.get(caller, id).await?;
        self.store.switch_endpoint(endpoint.id, None).await?;
        self.get(caller, id).await
    }

    /// Stops sending to an endpoint: it answered that it wants no more (410), or its caller says so. Nothing
    /// else of it is written, so that a secret which changes at the same time stays changed.
    pub(super) async fn disable(&self, id: EndpointId) -> Result<(), store::Error> {
        self.store.switch_endpoint(id, Some(self.clock.now())).await
    }

    async fn changeable(&self, caller: &CallerName, id: EndpointId) -> Result<Endpoint, Error> {
        let endpoint = self.get(caller, id).await?;
        if endpoint.from_settings { Err(Error::InSettings) } else { Ok(endpoint) }
    }

    /// Answers whether the endpoint may be private.
    fn check(&self, new: &NewEndpoint) -> Result<bool, Forbidden> {
        if new.url.len() > MAX_URL {
            return Err(Forbidden("it is longer than 2,048 characters"));
        }
        let url = Url::parse(&new.url).map_err(|_| Forbidden("it is not an address"))?;
        if new.allow_private == Some(true) && !self.targets.plain_loopback {
            return Err(Forbidden("private addresses are allowed in the settings only ([webhooks.NAME])"));
        }
        self.targets.may_be_private(&url, new.allow_private)
    }
}

/// Whose events an endpoint of the settings gets: one stored endpoint for each caller.
fn recipients(
    settings: &FromSettings,
    callers: &[CallerName],
    known: &[Endpoint],
    own: &[EndpointId],
) -> Vec<(EndpointId, CallerName)> {
    let name = settings.name.as_str();
    let holder = |id| known.iter().find(|old| old.id == id && old.from_settings).map(|old| &old.caller);
    let plain = EndpointId::from_settings(name);
    let of_both = |caller: &str| EndpointId::from_settings_for(name, caller);
    // It is a caller's who is there, or was once: then it stays theirs, and does not become that of whoever is left.
    let mut claimants = callers.iter().chain(holder(plain)).chain(holder(of_both(name)));
    let is_own = own.contains(&plain) || claimants.any(|caller| caller.as_str() == name);
    let gets = |caller: &&CallerName| match &settings.callers {
        Some(only) => only.contains(caller),
        None => !is_own || caller.as_str() == name,
    };
    // Who has the plain id keeps it when others come, and gets no other one when they go: what is pending is for the id.
    // So nobody else gets it as long as it is there, dropped or not.
    let kept = holder(plain);
    let id = |caller: &CallerName| {
        let of_both = of_both(caller.as_str());
        let is_plain = match kept {
            Some(holder) => holder == caller,
            None => holder(of_both).is_none() && (callers.len() == 1 || caller.as_str() == name),
        };
        if is_plain { plain } else { of_both }
    };
    callers.iter().filter(gets).map(|caller| (id(caller), caller.clone())).collect()
}

/// A new secret: its bytes, and as text.
pub fn new_secret() -> (Vec<u8>, Private<String>) {
    let mut bytes = vec![0; SECRET_LENGTH];
    aws_lc_rs::rand::fill(&mut bytes).expect("the system gives random bytes");
    let text = format!("whsec_{}", STANDARD.encode(&bytes));
    (bytes, Private::new(text))
}

/// The bytes behind `whsec_…`.
pub fn secret_bytes(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text.strip_prefix("whsec_")?).ok()
}
