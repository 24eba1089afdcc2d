//! `/v1/signings`: create, read, wait, views, links, void, refresh, documents, timeline.

use std::time::Duration;

use axum::{
    body::Bytes,
    extract::{Path, Request, State},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Deserialize;

use crate::{
    api::{
        Problem,
        caller::{Authenticated, Caller},
        exchange::{
            Asked, Parameter, Parameters, Shape, empty_object, is_json, json, page, read, typed,
            wants_stream, whole_body,
        },
        router::Api,
        senders::with_consent_link,
        streams,
    },
    domain::{Draft, LinkId, Phone, PurgeScope, SignerId, SigningId, SigningStatus, draft::MAX_LIFE},
    esign::NewCheck,
    objects::{
        Invalids, duration, explain::Kind, parse_access_code, preflight, preflight::SeenFile, read_create,
        show,
    },
    signing::{Ask, Created, digest},
    store::Filter,
    telemetry::metrics::IdempotencyResult,
};

/// How long a create waits for its outcome unless the caller says otherwise.
const DEFAULT_WAIT: Duration = Duration::from_secs(25);
/// The longest wait that can be asked for.
const MAX_WAIT: Duration = Duration::from_secs(60);
/// The longest reason for a void (the upstream's `voidedReason`).
const MAX_REASON: usize = 200;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CreateQuery {
    #[serde(default)]
    dry_run: bool,
}

impl Parameters for CreateQuery {
    const PARAMETERS: &[(&str, Parameter)] = &[("dry_run", Parameter::Bool)];
}

/// `POST /v1/signings`.
pub(super) async fn create(
    State(api): State<Api>,
    Authenticated(caller): Authenticated,
    query: Result<Asked<CreateQuery>, Problem>,
    request: Request,
) -> Result<Response, Problem> {
    if api.closing.is_cancelled() {
        return Err(Problem::new("shutting_down", "the daemon has stopped taking work")
            .retry_after(Duration::from_secs(2)));
    }
    // Before anything is read: a refusal must be cheap when there are many of them.
    let _turn = api.creates.try_acquire().map_err(|_| {
        Problem::new(
            "quota_exceeded",
            "as many creates as this daemon takes at once (api.creates_at_once) are under way",
        )
        .retry_after(Duration::from_secs(1))
    })?;
    let Asked(query) = query?;
    let headers = request.headers();
    is_json(headers)?;
    if query.dry_run {
        // It needs no key; a wrong one would be refused the next time, so it is now.
        if headers.contains_key("idempotency-key") {
            idempotency_key(headers)?;
        }
        return Box::pin(dry_run(&api, &caller, request)).await;
    }
    let key = idempotency_key(headers)?;
    let wait = preference(headers);
    let body = whole_body(request, &api).await?;
    let (key, request) = (scoped(&caller, &key), digest(&body));
    let draft = match checked(&api, &caller, &body).await {
        Ok(draft) => draft,
        // The settings may have changed since this very call was answered: it gets the same answer.
        Err(refusal) => match api.signings.answered(&caller.name, key, request).await {
            Ok(Some(made)) => return Ok(answer(made)),
            Ok(None) => return Err(refusal),
            Err(error) => return Err(Problem::from(error).as_of(api.clock.now())),
        },
    };
    let sender = draft.sender.clone();
    let ask = Ask { caller: caller.name.clone(), key, request, draft, body, wait };
    if let Some(cap) = caller.daily_signings() {
        let counted = caller.capped(api.signings.count_create(&ask.caller, ask.key, cap.into()).await);
        counted.map_err(|error| Problem::from(error).as_of(api.clock.now()))?;
    }
    let outcome = api.signings.create(ask).await;
    api.metrics.idempotency(counted(&outcome));
    let refused = |error| with_consent_link(&api, &sender, Problem::from(error).as_of(api.clock.now()));
    Ok(answer(outcome.map_err(refused)?))
}

/// `POST /v1/signings?dry_run=true`: all that a create would be refused for, at once. It needs no key,
/// because nothing is stored and nothing but reads that are remembered is spent.
async fn dry_run(api: &Api, caller: &Caller, request: Request) -> Result<Response, Problem> {
    let body = whole_body(request, api).await?;
    let Judged { draft, files, refusal, may_ask } = judge(api, caller, &body).await?;
    let mut found = vec![("schema", Ok(())), ("rights", Ok(())), ("documents", Ok(())), ("sender", Ok(()))];
    if let Some(problem) = refusal {
        found.push(("request", Err(problem)));
    }
    if may_ask {
        // What a stranger's sender may do is none of this caller's business.
        let of_upstream = api.signings.dry_run(&draft).await.into_iter();
        let now = api.clock.now();
        found.extend(of_upstream.map(|(check, result)| {
            (
                check,
                result
                    .map_err(|error| with_consent_link(api, &draft.sender, Problem::from(error).as_of(now))),
            )
        }));
    }
    let checks: Vec<_> = found.iter().map(|(check, _)| *check).collect();
    match Problem::join(found.into_iter().filter_map(|(_, result)| result.err())) {
        Some(problem) => Err(problem),
        None => Ok(json(StatusCode::OK, preflight::found(&checks, &files))),
    }
}

/// A draft that this caller may send, with documents that hold their anchors.
async fn checked(api: &Api, caller: &Caller, body: &Bytes) -> Result<Draft, Problem> {
    let judged = judge(api, caller, body).await?;
    judged.refusal.map_or(Ok(judged.draft), Err)
}

/// What can be said of a create without asking upstream.
struct Judged {
    /// What was read of it; with a refusal it may have blanks.
    draft: Draft,
    files: Vec<SeenFile>,
    /// Everything that is wrong with it.
    refusal: Option<Problem>,
    /// Whether it is of the form it must have and its sender is this caller's, so that the upstream can be asked
    /// about it.
    may_ask: bool,
}

/// Judges a create by its form, the caller's rights, its documents and its sender: by all of them, whatever one
/// of them says, so that whoever is refused learns everything at once. The error is of what is no JSON at all.
async fn judge(api: &Api, caller: &Caller, body: &Bytes) -> Result<Judged, Problem> {
    let (draft, mut faults) = read_create(body, &api.templates);
    let Some(draft) = draft else { return Err(faults.into()) };
    let has_form = faults.is_empty();
    let sender = api.sender_of(caller, draft.sender.as_str());
    let may_ask = has_form && sender.is_ok();
    faults.add_elsewhere(caller.check(&draft));
    let (draft, files, more) = api.signings.preflight(draft).await;
    faults.add_elsewhere(more);
    let is_forbidden = faults.0.iter().any(|fault| fault.code == "forbidden");
    if sender.is_ok() && !faults.is_empty() && !is_forbidden {
        faults.add_elsewhere(api.signings.known_roles(&draft));
    }
    let refusal = match sender {
        Ok(_) if faults.is_empty() => None,
        Ok(_) => Some(faults.into()),
        Err(problem) if faults.is_empty() => Some(problem),
        Err(problem) => {
            let mut of_sender = Invalids::default();
            of_sender.add("/sender", problem.code(), problem.detail());
            faults.add_elsewhere(of_sender);
            Some(faults.into())
        }
    };
    Ok(Judged { draft, files, refusal, may_ask })
}

/// `GET /v1/signings/{id}`.
pub(super) async fn show(
    State(api): State<Api>,
    Authenticated(caller): Authenticated,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let signing = api.signings.get(&caller.name, signing_id(&id)?).await?;
    Ok(json(StatusCode::OK, show::signing(&signing, &[], &[])))
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
    State(api): State<Api>,
    Authenticated(caller): Authenticated,
    Asked(query): Asked<ListQuery>,
) -> Result<Response, Problem> {
    let mut faults = Invalids::default();
    let status = query.status.as_deref().map(SigningStatus::parse);
    if status == Some(None) {
        let words = SigningStatus::ALL.map(SigningStatus::as_str).join(", ");
        faults.wrong("/status", format!("must be one of {words}"));
    }
    let before = query.cursor.as_deref().map(str::parse::<SigningId>);
    if matches!(before, Some(Err(_))) {
        faults.wrong("/cursor", "must be the next_cursor of a page before");
    }
    let limit = page(query.limit, &mut faults);
    if !faults.is_empty() {
        return Err(faults.into());
    }
    let filter = Filter {
        reference: query.reference,
        status: status.flatten(),
        before: before.and_then(Result::ok),
        limit: limit + 1,
    };
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
    State(api): State<Api>,
    Authenticated(caller): Authenticated,
    Path(id): Path<String>,
    headers: HeaderMap,
    Asked(query): Asked<WaitQuery>,
) -> Result<Response, Problem> {
    let id = signing_id(&id)?;
    let patience = query.timeout.map_or(DEFAULT_WAIT, Duration::from_secs);
    if patience > MAX_WAIT {
        let mut faults = Invalids::default();
        faults.wrong("/timeout", format!("must be 0 to {} seconds", MAX_WAIT.as_secs()));
        return Err(faults.into());
    }
    if wants_stream(&headers) {
        api.signings.get(&caller.name, id).await?;
        return streams::open(&api, &caller, Some(id), None, &headers);
    }
    let signing = api.signings.wait(&caller.name, id, query.sequence, patience).await?;
    Ok(json(StatusCode::OK, show::signing(&signing, &[], &[])))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PhoneBody {
    phone: String,
}

impl Shape for PhoneBody {
    const SHAPE: Kind = Kind::Object(&[("phone", true, Kind::Text)]);
}

/// `POST /v1/signings/{id}/signers/{sid}/phone`: another number for a signer whose SMS check is locked.
pub(super) async fn phone(
    State(api): State<Api>,
    Authenticated(caller): Authenticated,
    Path((id, signer)): Path<(String, String)>,
    request: Request,
) -> Result<Response, Problem> {
    let body: PhoneBody = typed(request, &api).await?;
    let phone = Phone::parse(&body.phone).map_err(|error| {
        let mut faults = Invalids::default();
        faults.add("/phone", "phone_invalid", error.to_string());
        faults
    })?;
    reset(&api, &caller, (&id, &signer), NewCheck::Phone(&phone)).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AccessCodeBody {
    access_code: String,
}

impl Shape for AccessCodeBody {
    const SHAPE: Kind = Kind::Object(&[("access_code", true, Kind::Text)]);
}

/// `POST /v1/signings/{id}/signers/{sid}/access_code`: another code for a signer who is locked by theirs.
pub(super) async fn access_code(
    State(api): State<Api>,
    Authenticated(caller): Authenticated,
    Path((id, signer)): Path<(String, String)>,
    request: Request,
) -> Result<Response, Problem> {
    let body: AccessCodeBody = typed(request, &api).await?;
    let code = parse_access_code(&body.access_code)?;
    reset(&api, &caller, (&id, &signer), NewCheck::AccessCode(code.reveal())).await
}

async fn reset(
    api: &Api,
    caller: &Caller,
    (id, signer): (&str, &str),
    check: NewCheck<'_>,
) -> Result<Response, Problem> {
    let reset = api.signings.reset_check(&caller.name, signing_id(id)?, signer_id(signer)?, check).await;
    let signing = reset.map_err(|error| Problem::from(error).as_of(api.clock.now()))?;
    Ok(json(StatusCode::OK, show::signing(&signing, &[], &[])))
}

/// `POST /v1/signings/{id}/signers/{sid}/views`.
pub(super) async fn view(
    State(api): State<Api>,
    Authenticated(caller): Authenticated,
    Path((id, signer)): Path<(String, String)>,
    request: Request,
) -> Result<Response, Problem> {
    empty_object(&whole_body(request, &api).await?)?;
    let minted = api.signings.view(&caller.name, signing_id(&id)?, signer_id(&signer)?).await;
    let minted = minted.map_err(|error| Problem::from(error).as_of(api.clock.now()))?;
    Ok(json(StatusCode::CREATED, show::view(&minted)))
}

/// `POST /v1/signings/{id}/signers/{sid}/links`.
pub(super) async fn link(
    State(api): State<Api>,
    Authenticated(caller): Authenticated,
    Path((id, signer)): Path<(String, String)>,
    request: Request,
) -> Result<Response, Problem> {
    let life = link_life(&whole_body(request, &api).await?)?;
    let shown = api.signings.add_link(&caller.name, signing_id(&id)?, signer_id(&signer)?, life).await?;
    Ok(json(StatusCode::CREATED, show::link(&shown)))
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct LinkBody {
    #[serde(default)]
    expires_in: Option<String>,
}

impl Shape for LinkBody {
    const SHAPE: Kind = Kind::Object(&[("expires_in", false, Kind::Text)]);
}

/// `{}` or nothing: as long as the signing; or `{"expires_in": "2d"}`.
fn link_life(body: &Bytes) -> Result<Option<Duration>, Problem> {
    let body = if body.is_empty() { LinkBody::default() } else { read(body)? };
    let Some(text) = body.expires_in else { return Ok(None) };
    let life = duration::parse(&text).filter(|life| *life <= MAX_LIFE);
    life.map(Some).ok_or_else(|| {
        let mut faults = Invalids::default();
        faults.wrong("/expires_in", "must be a duration such as 12h or 21d, at most 365d");
        faults.into()
    })
}

/// `POST /v1/links/{id}/tickets`: for a form of the site's own that posts to the link, so that a visitor
/// who has pressed a button already need not press ours.
pub(super) async fn ticket(
    State(api): State<Api>,
    Authenticated(caller): Authenticated,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    empty_object(&whole_body(request, &api).await?)?;
    let id: LinkId = id.parse().map_err(|_| Problem::not_found())?;
    let link = api.signings.live_link(&caller.name, id).await?;
    let (ticket, until) = api.tickets.issue(link.id, api.clock.now());
    Ok(json(StatusCode::CREATED, show::ticket(link.id, &ticket, until)))
}

/// `DELETE /v1/links/{id}`.
pub(super) async fn revoke_link(
    State(api): State<Api>,
    Authenticated(caller): Authenticated,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let id: LinkId = id.parse().map_err(|_| Problem::not_found())?;
    api.signings.revoke_link(&caller.name, id).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct VoidBody {
    reason: String,
}

impl Shape for VoidBody {
    const SHAPE: Kind = Kind::Object(&[("reason", true, Kind::Text)]);
}

/// `POST /v1/signings/{id}/void`.
pub(super) async fn void(
    State(api): State<Api>,
    Authenticated(caller): Authenticated,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let void: VoidBody = typed(request, &api).await?;
    let reason = void.reason.trim();
    if reason.is_empty() || reason.chars().count() > MAX_REASON {
        let mut faults = Invalids::default();
        faults.wrong("/reason", format!("must have 1 to {MAX_REASON} characters"));
        return Err(faults.into());
    }
    let signing = api.signings.void(&caller.name, signing_id(&id)?, reason).await?;
    Ok(json(StatusCode::OK, show::signing(&signing, &[], &[])))
}

/// `POST /v1/signings/{id}/refresh`.
pub(super) async fn refresh(
    State(api): State<Api>,
    Authenticated(caller): Authenticated,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let refreshed = api.signings.refresh(&caller.name, signing_id(&id)?).await;
    let signing = refreshed.map_err(|error| Problem::from(error).as_of(api.clock.now()))?;
    Ok(json(StatusCode::OK, show::signing(&signing, &[], &[])))
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct PurgeBody {
    #[serde(default)]
    scope: Option<String>,
}

impl Shape for PurgeBody {
    const SHAPE: Kind = Kind::Object(&[("scope", false, Kind::Text)]);
}

/// `POST /v1/signings/{id}/purge`: accepted; `signing.purged` tells the end.
pub(super) async fn purge(
    State(api): State<Api>,
    Authenticated(caller): Authenticated,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let body = whole_body(request, &api).await?;
    let body = if body.is_empty() { PurgeBody::default() } else { read(&body)? };
    let scope = match body.scope.as_deref() {
        None => PurgeScope::Documents,
        Some(word) => PurgeScope::parse(word).ok_or_else(|| {
            let mut faults = Invalids::default();
            let words = PurgeScope::ALL.map(PurgeScope::as_str).join(", ");
            faults.wrong("/scope", format!("must be one of {words}"));
            Problem::from(faults)
        })?,
    };
    let purged = api.signings.purge(&caller.name, signing_id(&id)?, scope).await;
    let signing = purged.map_err(|error| Problem::from(error).as_of(api.clock.now()))?;
    Ok(json(StatusCode::ACCEPTED, show::signing(&signing, &[], &[])))
}

/// `GET /v1/signings/{id}/timeline`.
pub(super) async fn timeline(
    State(api): State<Api>,
    Authenticated(caller): Authenticated,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let signing = api.signings.get(&caller.name, signing_id(&id)?).await?;
    Ok(json(StatusCode::OK, show::timeline(&signing)))
}

fn answer(created: Created) -> Response {
    match created {
        Created::Accepted { signing, body } => {
            let mut response = json(StatusCode::ACCEPTED, body);
            response.headers_mut().insert(header::LOCATION, location(signing));
            response
        }
        Created::Made { signing, body, replayed } => {
            let mut response = json(StatusCode::CREATED, body);
            response.headers_mut().insert(header::LOCATION, location(signing));
            if replayed {
                response.headers_mut().insert("idempotency-replayed", HeaderValue::from_static("true"));
            }
            response
        }
    }
}

fn counted(outcome: &Result<Created, crate::signing::Error>) -> IdempotencyResult {
    use crate::signing::Error;
    match outcome {
        Ok(Created::Made { replayed: true, .. }) | Err(Error::Failed { replayed: true, .. }) => {
            IdempotencyResult::Replayed
        }
        Err(Error::InProgress { .. }) => IdempotencyResult::InProgress,
        Err(Error::KeyReused { .. }) => IdempotencyResult::Conflict,
        _ => IdempotencyResult::New,
    }
}

fn location(signing: SigningId) -> HeaderValue {
    HeaderValue::try_from(format!("/v1/signings/{signing}")).expect("an id is a header value")
}

/// The key of a create, as the caller wrote it without its quotes (draft-ietf-httpapi-idempotency-key:
/// a structured-field string; bare words are taken too).
fn idempotency_key(headers: &HeaderMap) -> Result<String, Problem> {
    let mut values = headers.get_all("idempotency-key").iter();
    let Some(value) = values.next() else {
        return Err(Problem::new("idempotency_key_missing", "there is no header Idempotency-Key"));
    };
    let wrong = || {
        Problem::new("idempotency_key_missing", "the Idempotency-Key must have 1 to 255 visible characters")
    };
    if values.next().is_some() {
        return Err(Problem::new("idempotency_key_missing", "there are several headers Idempotency-Key"));
    }
    let text = value.to_str().map_err(|_| wrong())?.trim();
    let key = match text.strip_prefix('"') {
        Some(rest) => rest.strip_suffix('"').ok_or_else(wrong)?,
        None => text,
    };
    let visible = (1..=255).contains(&key.len()) && key.bytes().all(|byte| (0x21..=0x7e).contains(&byte));
    if visible { Ok(key.to_owned()) } else { Err(wrong()) }
}

/// The digest of a key within its caller.
fn scoped(caller: &Caller, key: &str) -> [u8; 32] {
    digest(format!("{}\0{key}", caller.name).as_bytes())
}

/// The caller's deadline (RFC 7240): `Prefer: wait=N`, or `respond-async` for none at all.
fn preference(headers: &HeaderMap) -> Duration {
    let mut wait = DEFAULT_WAIT;
    for value in headers.get_all("prefer") {
        let Ok(text) = value.to_str() else { continue };
        for preference in text.split([',', ';']) {
            let preference = preference.trim();
            if preference.eq_ignore_ascii_case("respond-async") {
                return Duration::ZERO;
            }
            let Some((name, seconds)) = preference.split_once('=') else { continue };
            let seconds = seconds.trim().trim_matches('"').parse().ok();
            if let Some(seconds) = seconds.filter(|_| name.trim().eq_ignore_ascii_case("wait")) {
                wait = Duration::from_secs(seconds);
            }
        }
    }
    wait.min(MAX_WAIT)
}

fn signing_id(text: &str) -> Result<SigningId, Problem> {
    text.parse().map_err(|_| Problem::not_found())
}

fn signer_id(text: &str) -> Result<SignerId, Problem> {
    text.parse().map_err(|_| Problem::not_found())
}
