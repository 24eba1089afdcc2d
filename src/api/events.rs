//! `/v1/webhook_endpoints`, `/v1/events`, `/v1/deliveries`: where events go, what they were, how they fared.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    response::{IntoResponse as _, Response},
};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;

use crate::{
    api::{
        Problem,
        caller::Authenticated,
        exchange::{
            Asked, Empty, PageQuery, Parameter, Parameters, Path, Shape, filled, json, named, optional, page,
            typed, wants_stream,
        },
        router::Api,
        streams,
    },
    config::instead_of_event,
    domain::{DeliveryId, EndpointId, EventId, EventKind, SigningId},
    events::{NewEndpoint, Start},
    objects::{Invalids, explain::Kind, show},
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EndpointBody {
    url: String,
    events: Option<Vec<String>>,
    allow_private: Option<bool>,
}

impl Shape for EndpointBody {
    const SHAPE: Kind = Kind::Object(&[
        ("url", true, Kind::Text),
        ("events", false, Kind::List(&Kind::Text)),
        ("allow_private", false, Kind::Bool),
    ]);
}

/// `POST /v1/webhook_endpoints`.
pub(super) async fn create_endpoint(
    State(api): State<Arc<Api>>,
    Authenticated(caller): Authenticated,
    request: Request,
) -> Result<Response, Problem> {
    let body: EndpointBody = typed(request, &api).await?;
    let mut faults = Invalids::default();
    let mut kinds = Vec::new();
    if body.events.as_ref().is_some_and(Vec::is_empty) {
        // An empty list means none elsewhere, so nobody could tell what is meant by one here.
        faults.wrong("/events", "must name at least one type of event; leave it out for all");
    }
    for (at, word) in body.events.iter().flatten().enumerate() {
        match EventKind::parse(word) {
            Some(kind) if kinds.contains(&kind) => faults.wrong(format!("/events/{at}"), "is listed twice"),
            Some(kind) => kinds.push(kind),
            None => {
                let detail = format!("there is no such type of event; {}", instead_of_event(word));
                faults.wrong(format!("/events/{at}"), detail);
            }
        }
    }
    faults.into_result()?;
    let new = NewEndpoint { url: body.url, events: kinds, allow_private: body.allow_private };
    let made = api.endpoints.create(&caller.name, new).await?;
    Ok(json(StatusCode::CREATED, show::endpoint(&made.endpoint, Some(&made.secret))))
}

/// `GET /v1/webhook_endpoints`.
pub(super) async fn list_endpoints(
    State(api): State<Arc<Api>>,
    Authenticated(caller): Authenticated,
) -> Result<Response, Problem> {
    Ok(json(StatusCode::OK, show::endpoints(&api.endpoints.list(&caller.name).await?)))
}

/// `GET /v1/webhook_endpoints/{id}`.
pub(super) async fn show_endpoint(
    State(api): State<Arc<Api>>,
    Authenticated(caller): Authenticated,
    Path(id): Path<EndpointId>,
) -> Result<Response, Problem> {
    let endpoint = api.endpoints.get(&caller.name, id).await?;
    Ok(json(StatusCode::OK, show::endpoint(&endpoint, None)))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EndpointChange {
    disabled: bool,
}

impl Shape for EndpointChange {
    const SHAPE: Kind = Kind::Object(&[("disabled", true, Kind::Bool)]);
}

/// `PATCH /v1/webhook_endpoints/{id}`: switches it off, or on again.
pub(super) async fn change_endpoint(
    State(api): State<Arc<Api>>,
    Authenticated(caller): Authenticated,
    Path(id): Path<EndpointId>,
    request: Request,
) -> Result<Response, Problem> {
    let change: EndpointChange = typed(request, &api).await?;
    let endpoint = if change.disabled {
        api.endpoints.pause(&caller.name, id).await?
    } else {
        api.endpoints.enable(&caller.name, id).await?
    };
    Ok(json(StatusCode::OK, show::endpoint(&endpoint, None)))
}

/// `DELETE /v1/webhook_endpoints/{id}`.
pub(super) async fn remove_endpoint(
    State(api): State<Arc<Api>>,
    Authenticated(caller): Authenticated,
    Path(id): Path<EndpointId>,
) -> Result<Response, Problem> {
    api.endpoints.remove(&caller.name, id).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `POST /v1/webhook_endpoints/{id}/rotate`.
pub(super) async fn rotate_endpoint(
    State(api): State<Arc<Api>>,
    Authenticated(caller): Authenticated,
    Path(id): Path<EndpointId>,
    request: Request,
) -> Result<Response, Problem> {
    let Empty {} = optional(request, &api).await?;
    let made = api.endpoints.rotate(&caller.name, id).await?;
    Ok(json(StatusCode::OK, show::endpoint(&made.endpoint, Some(&made.secret))))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EventsQuery {
    after: Option<String>,
    /// What `after` is called in the other lists.
    cursor: Option<String>,
    signing: Option<String>,
    limit: Option<u32>,
}

impl Parameters for EventsQuery {
    const PARAMETERS: &[(&str, Parameter)] = &[
        ("after", Parameter::Text),
        ("cursor", Parameter::Text),
        ("signing", Parameter::Text),
        ("limit", Parameter::Count),
    ];
}

/// `GET /v1/events`: a page, oldest first, or with `Accept: text/event-stream` all as they happen.
pub(super) async fn list_events(
    State(api): State<Arc<Api>>,
    Authenticated(caller): Authenticated,
    headers: HeaderMap,
    Asked(query): Asked<EventsQuery>,
) -> Result<Response, Problem> {
    let mut faults = Invalids::default();
    let (after, cursor) = (filled(query.after), filled(query.cursor));
    if after.is_some() && cursor.is_some() {
        faults.wrong("/cursor", "means the same as `after`: send one of them");
    }
    let given = after.map(|id| ("/after", id)).or(cursor.map(|id| ("/cursor", id)));
    let after = given.map(|(place, id)| id.parse::<EventId>().map_err(|_| place));
    if let Some(Err(place)) = after {
        faults.wrong(place, "must be the id of an event");
    }
    let limit = page(query.limit, &mut faults);
    faults.into_result()?;
    let after = after.and_then(Result::ok);
    let signing: Option<SigningId> = query.signing.as_deref().map(named).transpose()?;
    if let Some(id) = signing {
        api.signings.get(&caller.name, id).await?;
    }
    if wants_stream(&headers) {
        let start = after.map_or(Start::Now, Start::After);
        return streams::open(&api, &caller, signing, start, None, &headers);
    }
    let events = api.log.events(&caller.name, signing, after, limit).await?;
    Ok(json(StatusCode::OK, show::events(&events, limit as usize)))
}

/// `GET /v1/deliveries`: newest first.
pub(super) async fn list_deliveries(
    State(api): State<Arc<Api>>,
    Authenticated(caller): Authenticated,
    Asked(query): Asked<PageQuery>,
) -> Result<Response, Problem> {
    let mut faults = Invalids::default();
    let before = filled(query.cursor).map(|id| id.parse::<DeliveryId>());
    if matches!(before, Some(Err(_))) {
        faults.wrong("/cursor", "must be the next_cursor of a page before");
    }
    let limit = page(query.limit, &mut faults);
    faults.into_result()?;
    let deliveries = api.log.deliveries(&caller.name, before.and_then(Result::ok), limit).await?;
    Ok(json(StatusCode::OK, show::deliveries(&deliveries, limit as usize)))
}

/// `POST /v1/deliveries/{id}/replay`.
pub(super) async fn replay(
    State(api): State<Arc<Api>>,
    Authenticated(caller): Authenticated,
    Path(id): Path<DeliveryId>,
    request: Request,
) -> Result<Response, Problem> {
    let Empty {} = optional(request, &api).await?;
    let replayed = api.log.replay(&caller.name, id).await?;
    Ok(json(StatusCode::OK, show::delivery(&replayed)))
}
