//! What was sent and what can be read again: the lists of events and of deliveries, and the replay.

use uuid::Uuid;

use crate::{
    clock::SharedClock,
    domain::{CallerName, DeliveryId, Event, EventId, SigningId},
    events::Hub,
    store::{Delivery, Endpoint, Error, EventFilter, SharedStore},
};

/// The longest page.
pub const MAX_PAGE: u32 = 100;

/// Why a delivery is not made again.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// Its endpoint is switched off.
    #[error("its endpoint is switched off")]
    EndpointDisabled,
    /// Its endpoint is gone.
    #[error("its endpoint is gone")]
    EndpointGone,
    /// No such delivery, or not this caller's.
    #[error("no such delivery")]
    NotFound,
    /// The store did not do it.
    #[error("the store did not do it")]
    Store(#[from] Error),
}

/// The log of events and deliveries. Clones share it.
#[derive(Debug, Clone)]
pub struct Log {
    store: SharedStore,
    hub: Hub,
    clock: SharedClock,
}

impl Log {
    /// The log in a store.
    pub fn new(store: SharedStore, hub: Hub, clock: SharedClock) -> Self {
        Self { store, hub, clock }
    }

    /// A caller's events after one, oldest first: one more than `limit`, which tells whether there are
    /// more.
    pub async fn events(
        &self,
        caller: &CallerName,
        signing: Option<SigningId>,
        after: Option<EventId>,
        limit: u32,
    ) -> Result<Vec<Event>, Error> {
        let limit = limit.clamp(1, MAX_PAGE) + 1;
        self.store.events(EventFilter { caller: caller.clone(), signing, after, limit }).await
    }

    /// A caller's deliveries before one, newest first: one more than `limit`.
    pub async fn deliveries(
        &self,
        caller: &CallerName,
        before: Option<DeliveryId>,
        limit: u32,
    ) -> Result<Vec<Delivery>, Error> {
        self.store.deliveries(caller, before, limit.clamp(1, MAX_PAGE) + 1).await
    }

    /// One delivery of a caller.
    pub async fn delivery(&self, caller: &CallerName, id: DeliveryId) -> Result<Option<Delivery>, Error> {
        let next = Uuid::from_u128(id.as_uuid().as_u128().saturating_add(1));
        let found = self.store.deliveries(caller, Some(DeliveryId::from_uuid(next)), 1).await?;
        Ok(found.into_iter().find(|delivery| delivery.id == id))
    }

    /// Makes a delivery pending again, with all its attempts.
    pub async fn replay(&self, caller: &CallerName, id: DeliveryId) -> Result<Delivery, ReplayError> {
        let delivery = self.delivery(caller, id).await?.ok_or(ReplayError::NotFound)?;
        let endpoints = self.store.endpoints(Some(caller)).await?;
        let is_its = |endpoint: &&Endpoint| endpoint.id == delivery.endpoint && endpoint.dropped_at.is_none();
        let endpoint = endpoints.iter().find(is_its);
        match endpoint.ok_or(ReplayError::EndpointGone)?.disabled_at {
            // It would wait until somebody thinks of the endpoint.
            Some(_) => return Err(ReplayError::EndpointDisabled),
            None => self.store.replay(id, self.clock.now()).await?,
        }
        self.hub.published();
        self.delivery(caller, id).await?.ok_or(ReplayError::NotFound)
    }
}
