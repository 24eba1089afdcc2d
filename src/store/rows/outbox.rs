//! Endpoints and deliveries as rows.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    domain::{CallerName, EndpointId, Event, EventKind, Private},
    store::{
        Delivery, DueDelivery, Endpoint, Error,
        rows::{bytes, endpoint_place, event_place, malformed, micros, timestamp},
        seal::SealKeys,
    },
};

/// The sealed half of an endpoint: where it is (a URL may carry a token), and what signs for it.
#[derive(Serialize, Deserialize)]
struct EndpointSecrets<'a> {
    url: Cow<'a, str>,
    secrets: Cow<'a, [Vec<u8>]>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rotated_at: Option<i64>,
}

/// A row of `endpoints`.
pub(in crate::store) struct EndpointRow {
    pub(in crate::store) id: [u8; 16],
    pub(in crate::store) caller: String,
    pub(in crate::store) sealed: Vec<u8>,
    pub(in crate::store) events: Vec<EventKind>,
    pub(in crate::store) allow_private: bool,
    pub(in crate::store) from_settings: bool,
    pub(in crate::store) created_at: i64,
    pub(in crate::store) disabled_at: Option<i64>,
    pub(in crate::store) dropped_at: Option<i64>,
}

impl EndpointRow {
    pub(in crate::store) fn into_endpoint(self, keys: &SealKeys) -> Result<Endpoint, Error> {
        let inner: EndpointSecrets<'_> = keys.open_json(endpoint_place(&self.id), self.sealed)?;
        Ok(Endpoint {
            id: EndpointId::from_uuid(Uuid::from_bytes(self.id)),
            caller: CallerName::new(self.caller),
            url: inner.url.into_owned(),
            secrets: Private::new(inner.secrets.into_owned()),
            rotated_at: inner.rotated_at.map(timestamp).transpose()?,
            events: self.events,
            allow_private: self.allow_private,
            from_settings: self.from_settings,
            created_at: timestamp(self.created_at)?,
            disabled_at: self.disabled_at.map(timestamp).transpose()?,
            dropped_at: self.dropped_at.map(timestamp).transpose()?,
        })
    }
}

/// How rows of `meta` begin that say of a webhook of the settings that it was named after the caller whose it was. They are
/// for good, while its own row goes a day after the settings have ceased to name it.
const OWN: &str = "own.";

/// The name of such a row for a webhook that this caller has, if it is named after them. It is the same if somebody else
/// has the plain id of that name, so that theirs is of both names.
pub(in crate::store) fn own_webhook(id: EndpointId, caller: &str) -> Option<String> {
    let plain = EndpointId::from_settings(caller);
    let is_own = id == plain || id == EndpointId::from_settings_for(caller, caller);
    is_own.then(|| format!("{OWN}{plain}"))
}

/// The webhook of such a row, by its plain id.
pub(in crate::store) fn webhook_of(name: &str) -> Option<EndpointId> {
    name.strip_prefix(OWN)?.parse().ok()
}

/// A row of `events`: what it is about is sealed, because it holds the caller's metadata and the upstream's words.
#[derive(Clone)]
pub(in crate::store) struct EventRow {
    /// The event, without what is sealed.
    pub(in crate::store) event: Event,
    /// Its data; none in a row of a version that did not seal it.
    pub(in crate::store) sealed: Option<Vec<u8>>,
}

impl EventRow {
    pub(in crate::store) fn seal(event: &Event, keys: &SealKeys) -> Self {
        let sealed = keys.seal(event_place(&bytes(event.id.as_uuid())), &[event.data.as_bytes()]);
        let event = Event { caller: event.caller.clone(), data: String::new(), ..*event };
        Self { event, sealed: Some(sealed) }
    }

    pub(in crate::store) fn seal_all(events: &[Event], keys: &SealKeys) -> Vec<Self> {
        events.iter().map(|event| Self::seal(event, keys)).collect()
    }

    pub(in crate::store) fn open(self, keys: &SealKeys) -> Result<Event, Error> {
        let Some(sealed) = self.sealed else { return Ok(self.event) };
        let data = keys.open(event_place(&bytes(self.event.id.as_uuid())), sealed)?;
        let data = String::from_utf8(data.into()).map_err(|_| malformed("event"))?;
        Ok(Event { data, ..self.event })
    }
}

/// A claimed delivery with its event, and its endpoint as a row.
pub(in crate::store) struct DueRow {
    pub(in crate::store) delivery: Delivery,
    pub(in crate::store) event: EventRow,
    pub(in crate::store) endpoint: EndpointRow,
}

impl DueRow {
    pub(in crate::store) fn open(self, keys: &SealKeys) -> Result<DueDelivery, Error> {
        let Self { delivery, event, endpoint } = self;
        Ok(DueDelivery { delivery, event: event.open(keys)?, endpoint: endpoint.into_endpoint(keys)? })
    }
}

pub(in crate::store) fn seal_endpoint(keys: &SealKeys, endpoint: &Endpoint) -> Vec<u8> {
    let id = bytes(endpoint.id.as_uuid());
    let inner = EndpointSecrets {
        url: endpoint.url.as_str().into(),
        secrets: endpoint.secrets.reveal().as_slice().into(),
        rotated_at: endpoint.rotated_at.map(micros),
    };
    keys.seal_json(endpoint_place(&id), &inner)
}

/// Endpoints, each with its sealed half. In the order of their ids: two who write several never wait for each other.
pub(in crate::store) fn seal_endpoints(
    keys: &SealKeys,
    mut endpoints: Vec<Endpoint>,
) -> Vec<(Endpoint, Vec<u8>)> {
    endpoints.sort_unstable_by_key(|endpoint| endpoint.id.as_uuid());
    let sealed = |endpoint: Endpoint| {
        let sealed = seal_endpoint(keys, &endpoint);
        (endpoint, sealed)
    };
    endpoints.into_iter().map(sealed).collect()
}

/// The words of an endpoint's event filter, in one column.
pub(in crate::store) fn event_words(kinds: &[EventKind]) -> String {
    kinds.iter().map(|kind| kind.as_str()).collect::<Vec<_>>().join(" ")
}

/// The filter of those words. A word that a later version wrote is left out.
pub(in crate::store) fn event_kinds(words: &str) -> Vec<EventKind> {
    words.split(' ').filter_map(EventKind::parse).collect()
}
