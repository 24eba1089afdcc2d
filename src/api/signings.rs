//! `/v1/signings`: read, list, wait, timeline; new phone numbers and access codes, views and links of signers; void,
//! refresh, purge. And `/v1/links`: their tickets and revocation. Signings are made in [`creates`](super::creates).

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;

use crate::{
    api::{
        Problem,
        caller::{Authenticated, Caller},
        exchange::{
            Asked, Both, Empty, Parameter, Parameters, Path, Shape, filled, json, optional, page, typed,
            wants_stream,
        },
        prefer::{DEFAULT_WAIT, MAX_WAIT, patience},
        router::Api,
        senders::of_signing,
        streams,
    },
    domain::{
        LinkId, Phone, PurgeScope, SignerId, Signing, SigningId, SigningStatus,
        fact::{MAX_REASON, tells_of_expiry},
    },
    esign::NewCheck,
    events::Start,
    objects::{Invalids, check_line, duration, explain::Kind, parse_access_code, show, timeline},
    signing,
    store::Filter,
};

/// `GET /v1/signings/{id}`.
pub(super) async fn show(
    State(api): State<Arc<Api>>,
    Authenticated(caller): Authenticated,
    Path(id): Path<SigningId>,
) -> Result<Response, Problem> {
    let signing = api.signings.get(&caller.name, id).await?;
    Ok(shown(StatusCode::OK, &signing))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    reference: Option<String>,
    status: Option<String>,
    cursor: Option<String>,
    limit: Option<u32>,
}

impl Parameters for ListQuery {
    const PARAMETERS: &[(&str, Parameter)] = &[
        ("reference", Parameter::Text),
        ("status", Parameter::Text),
        ("cursor", Parameter::Text),
        ("limit", Parameter::Count),
    ];
}

/// `GET /v1/signings`.
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    Authenticated(caller): Authenticated,
    Asked(query): Asked<ListQuery>,
) -> Result<Response, Problem> {
    let mut faults = Invalids::default();
    let reference = filled(query.reference);
    // No signing has such a one, and Postgres would refuse a NUL as if the store were away.
    if reference.as_deref().is_some_and(|text| text.contains(char::is_control)) {
        faults.wrong("/reference", "may not hold control characters");
    }
    let status = filled(query.status).as_deref().map(SigningStatus::parse);
    if status == Some(None) {
        let words = SigningStatus::ALL.map(SigningStatus::as_str).join(", ");
        faults.wrong("/status", format!("must be one of {words}"));
    }
    let before = filled(query.cursor).as_deref().map(str::parse::<SigningId>);
    if matches!(before, Some(Err(_))) {
        faults.wrong("/cursor", "must be the next_cursor of a page before");
    }
    let limit = page(query.limit, &mut faults);
    faults.into_result()?;
    let filter =
        Filter { reference, status: status.flatten(), before: before.and_then(Result::ok), limit: limit + 1 };
    let page = api.signings.list(&caller.name, filter).await?;
    Ok(json(StatusCode::OK, show::signings(&page, limit as usize)))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WaitQuery {
    timeout: Option<u64>,
    sequence: Option<u64>,
}

impl Parameters for WaitQuery {
    const PARAMETERS: &[(&str, Parameter)] = &[("timeout", Parameter::Count), ("sequence", Parameter::Count)];
}

/// `GET /v1/signings/{id}/wait`: until the next fact, or with `Accept: text/event-stream` one by one.
pub(super) async fn wait(
    State(api): State<Arc<Api>>,
    Authenticated(caller): Authenticated,
    Path(id): Path<SigningId>,
    headers: HeaderMap,
    Asked(query): Asked<WaitQuery>,
) -> Result<Response, Problem> {
    let patience = query.timeout.map_or(DEFAULT_WAIT, Duration::from_secs);
    if patience > MAX_WAIT {
        let detail = format!("must be 0 to {} seconds", MAX_WAIT.as_secs());
        return Err(Invalids::one("/timeout", detail).into());
    }
    if wants_stream(&headers) {
        api.signings.get(&caller.name, id).await?;
        let timeout = query.timeout.map(|_| patience);
        let start = query.sequence.map_or(Start::Now, Start::Behind);
        return streams::open(&api, &caller, Some(id), start, timeout, &headers);
    }
    let signing = api.signings.wait(&caller.name, id, query.sequence, patience).await?;
    Ok(shown(StatusCode::OK, &signing))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PhoneBody {
    phone: String,
}

impl Shape for PhoneBody {
    const SHAPE: Kind = Kind::Object(&[("phone", true, Kind::Text)]);
}

/// `POST /v1/signings/{id}/signers/{sid}/phone`: another number for a signer whose SMS check is locked.
pub(super) async fn phone(
    State(api): State<Arc<Api>>,
    Authenticated(caller): Authenticated,
    Both(id, signer): Both<SigningId, SignerId>,
    request: Request,
) -> Result<Response, Problem> {
    let wait = patience(request.headers());
    let body: PhoneBody = typed(request, &api).await?;
    let phone = Phone::parse(&body.phone)
        .map_err(|error| Invalids::of("/phone", "phone_invalid", error.to_string()))?;
    let check = NewCheck::Phone(phone);
    let reset = api.signings.reset_check(&caller.name, id, signer, check, wait).await;
    after(&api, &caller, id, StatusCode::OK, reset).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AccessCodeBody {
    access_code: String,
}

impl Shape for AccessCodeBody {
    const SHAPE: Kind = Kind::Object(&[("access_code", true, Kind::Text)]);
}

/// `POST /v1/signings/{id}/signers/{sid}/access_code`: another code for a signer who is locked by theirs.
pub(super) async fn access_code(
    State(api): State<Arc<Api>>,
    Authenticated(caller): Authenticated,
    Both(id, signer): Both<SigningId, SignerId>,
    request: Request,
) -> Result<Response, Problem> {
    let wait = patience(request.headers());
    let body: AccessCodeBody = typed(request, &api).await?;
    let code = parse_access_code(&body.access_code)?;
    let check = NewCheck::AccessCode(code);
    let reset = api.signings.reset_check(&caller.name, id, signer, check, wait).await;
    after(&api, &caller, id, StatusCode::OK, reset).await
}

/// The signing as it is after a call about it.
async fn after(
    api: &Api,
    caller: &Caller,
    id: SigningId,
    status: StatusCode,
    done: Result<Signing, signing::Error>,
) -> Result<Response, Problem> {
    Ok(shown(status, &of_signing(api, &caller.name, id, done).await?))
}

fn shown(status: StatusCode, signing: &Signing) -> Response {
    json(status, show::signing(signing, &[], &[]))
}

/// `POST /v1/signings/{id}/signers/{sid}/views`.
pub(super) async fn view(
    State(api): State<Arc<Api>>,
    Authenticated(caller): Authenticated,
    Both(id, signer): Both<SigningId, SignerId>,
    request: Request,
) -> Result<Response, Problem> {
    let wait = patience(request.headers());
    let Empty {} = optional(request, &api).await?;
    let minted = api.signings.view(&caller.name, id, signer, wait).await;
    let minted = of_signing(&api, &caller.name, id, minted).await?;
    Ok(json(StatusCode::CREATED, show::view(&minted)))
}

/// `POST /v1/signings/{id}/signers/{sid}/links`.
pub(super) async fn link(
    State(api): State<Arc<Api>>,
    Authenticated(caller): Authenticated,
    Both(id, signer): Both<SigningId, SignerId>,
    request: Request,
) -> Result<Response, Problem> {
    let LinkBody { expires_in } = optional(request, &api).await?;
    let life = match expires_in.as_deref() {
        // As long as the signing.
        None => None,
        Some(text) => Some(duration::life(text).ok_or_else(|| Invalids::one("/expires_in", duration::LIFE))?),
    };
    let shown = api.signings.add_link(&caller.name, id, signer, life).await?;
    Ok(json(StatusCode::CREATED, show::link(&shown)))
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LinkBody {
    #[serde(default)]
    expires_in: Option<String>,
}

impl Shape for LinkBody {
    const SHAPE: Kind = Kind::Object(&[("expires_in", false, Kind::Text)]);
}

/// `POST /v1/links/{id}/tickets`: for a form of the site's own that posts to the link, so that a visitor
/// who has pressed a button already need not press ours.
pub(super) async fn ticket(
    State(api): State<Arc<Api>>,
    Authenticated(caller): Authenticated,
    Path(id): Path<LinkId>,
    request: Request,
) -> Result<Response, Problem> {
    let Empty {} = optional(request, &api).await?;
    let link = api.signings.live_link(&caller.name, id).await?;
    let (ticket, until) = api.tickets.issue(link.id, api.clock.now());
    Ok(json(StatusCode::CREATED, show::ticket(link.id, &ticket, until)))
}

/// `DELETE /v1/links/{id}`.
pub(super) async fn revoke_link(
    State(api): State<Arc<Api>>,
    Authenticated(caller): Authenticated,
    Path(id): Path<LinkId>,
) -> Result<Response, Problem> {
    api.signings.revoke_link(&caller.name, id).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct VoidBody {
    reason: String,
}

impl Shape for VoidBody {
    const SHAPE: Kind = Kind::Object(&[("reason", true, Kind::Text)]);
}

/// `POST /v1/signings/{id}/void`.
pub(super) async fn void(
    State(api): State<Arc<Api>>,
    Authenticated(caller): Authenticated,
    Path(id): Path<SigningId>,
    request: Request,
) -> Result<Response, Problem> {
    let wait = patience(request.headers());
    let void: VoidBody = typed(request, &api).await?;
    let reason = void.reason.trim();
    check_line("/reason", reason, 1, MAX_REASON)?;
    if tells_of_expiry(reason) {
        let detail = "must not begin with \"Envelope has expired\": by that DocuSign tells an expiry from a void, \
                      so the signing could end as expired";
        return Err(Invalids::one("/reason", detail).into());
    }
    let voided = api.signings.void(&caller.name, id, reason, wait).await;
    after(&api, &caller, id, StatusCode::OK, voided).await
}

/// `POST /v1/signings/{id}/refresh`.
pub(super) async fn refresh(
    State(api): State<Arc<Api>>,
    Authenticated(caller): Authenticated,
    Path(id): Path<SigningId>,
    request: Request,
) -> Result<Response, Problem> {
    let wait = patience(request.headers());
    let Empty {} = optional(request, &api).await?;
    let refreshed = api.signings.refresh(&caller.name, id, wait).await;
    after(&api, &caller, id, StatusCode::OK, refreshed).await
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PurgeBody {
    #[serde(default)]
    scope: Option<String>,
}

impl Shape for PurgeBody {
    const SHAPE: Kind = Kind::Object(&[("scope", false, Kind::Text)]);
}

/// `POST /v1/signings/{id}/purge`: accepted; `signing.purged` tells the end.
pub(super) async fn purge(
    State(api): State<Arc<Api>>,
    Authenticated(caller): Authenticated,
    Path(id): Path<SigningId>,
    request: Request,
) -> Result<Response, Problem> {
    let wait = patience(request.headers());
    let body: PurgeBody = optional(request, &api).await?;
    let scope = match body.scope.as_deref() {
        None => PurgeScope::Documents,
        Some(word) => PurgeScope::parse(word).ok_or_else(|| {
            let words = PurgeScope::ALL.map(PurgeScope::as_str).join(", ");
            Invalids::one("/scope", format!("must be one of {words}"))
        })?,
    };
    let asked = api.signings.purge(&caller.name, id, scope, wait).await;
    after(&api, &caller, id, StatusCode::ACCEPTED, asked).await
}

/// `GET /v1/signings/{id}/timeline`.
pub(super) async fn timeline(
    State(api): State<Arc<Api>>,
    Authenticated(caller): Authenticated,
    Path(id): Path<SigningId>,
) -> Result<Response, Problem> {
    let signing = api.signings.get(&caller.name, id).await?;
    Ok(json(StatusCode::OK, timeline::of(&signing)))
}
