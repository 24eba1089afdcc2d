//! `POST /v1/signings`: a create, and the dry run of one.
//!
//! Here is decided what is refused before anything is written down: all of it at once, by everyone who judges.
//! It must never spend a call on a request that is refused.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Bytes,
    extract::{Request, State},
    response::Response,
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use jiff::Timestamp;
use serde::Deserialize;

use crate::{
    api::{
        Problem,
        bodies::whole_body,
        caller::{Authenticated, CREATE_CALLS, Caller},
        exchange::{Asked, Parameter, Parameters, json},
        prefer::{preference, stated},
        router::Api,
        senders::with_consent_link,
    },
    clock::Deadline,
    digest::sha256,
    domain::{Draft, SigningId, TemplateNames},
    objects::{Invalids, preflight, preflight::SeenFile, read_create},
    signing::{Ask, Created, Error, Repeated, Turn},
    telemetry::metrics::IdempotencyResult,
};

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
    State(api): State<Arc<Api>>,
    Authenticated(caller): Authenticated,
    query: Result<Asked<CreateQuery>, Problem>,
    request: Request,
) -> Result<Response, Problem> {
    if api.closing.is_cancelled() {
        return Err(Problem::shutting_down());
    }
    // Before anything is read: a refusal must be cheap when there are many of them.
    let _turn = api.creates.try_acquire().map_err(|_| {
        Problem::new(
            "quota_exceeded",
            "the daemon already takes as many creates as it may at once (api.creates_at_once)",
        )
        .fix("Repeat the call after the time in Retry-After, or have the operator raise api.creates_at_once (a restart).")
        .retry_after(Duration::from_secs(1))
    })?;
    let Asked(query) = query?;
    let headers = request.headers();
    if query.dry_run {
        // It needs no key; a wrong one would be refused the next time, so it is now.
        if headers.contains_key("idempotency-key") {
            idempotency_key(headers)?;
        }
        return Box::pin(dry_run(&api, &caller, request)).await;
    }
    let key = scoped(&caller, idempotency_key(headers)?);
    let wait = preference(headers);
    let body = whole_body(request, &api).await?;
    let (request, read) =
        on_reader(&api, &body, |body, templates| (sha256(body), read_create(body, templates))).await?;
    let draft = match checked(&api, &caller, read).await {
        Ok(draft) => draft,
        // The settings may have changed since this very call was made: it is told what became of it.
        Err(refusal) => {
            let answered = api.signings.answered(&caller.name, key, request).await;
            let outcome = answered.transpose().ok_or(refusal)?;
            count(&api, &outcome);
            return Ok(answer(outcome?));
        }
    };
    let sender = draft.sender.clone();
    let ask = Ask { caller: caller.name.clone(), key, request, draft, body, wait };
    let outcome = if caller.has_counted_creates() {
        Box::pin(create_counted(&api, &caller, ask)).await?
    } else {
        api.signings.create(ask, None).await
    };
    count(&api, &outcome);
    Ok(answer(outcome.map_err(|error| with_consent_link(&api, &sender, error.into()))?))
}

/// Creates for a caller with limits. What was let past them as a repetition, and turns out to be none, has to pass them too.
async fn create_counted(api: &Api, caller: &Caller, mut ask: Ask) -> Result<Result<Created, Error>, Problem> {
    let until = Deadline::within(&*api.clock, ask.wait);
    loop {
        let admitted = admit(api, caller, &ask, until).await?;
        ask.wait = until.left(api.clock.uptime());
        match admitted {
            Admitted::New { turn, counted_at } => {
                let outcome = api.signings.create(ask, Some(turn)).await;
                // Another daemon was first with this very call.
                if is_of_another(&outcome) {
                    caller.return_share(CREATE_CALLS, counted_at, api.clock.now());
                }
                return Ok(outcome);
            }
            Admitted::Repetition => match api.signings.repeated(ask).await {
                Ok(Repeated::Anew(again)) => ask = *again,
                Ok(Repeated::Answered(created)) => return Ok(Ok(created)),
                Err(error) => return Ok(Err(error)),
            },
        }
    }
}

/// What a create is to the limits of its caller.
enum Admitted {
    /// A new one, counted: the turn at its key goes along with it; and when it was counted in the share of the hour, if it was.
    New { turn: Turn, counted_at: Option<Timestamp> },
    /// What its key has made, or makes right now, is its answer: that counts nowhere.
    Repetition,
}

/// Lets a create pass, or what answers it without one. Calls that come with one key at once take turns, so that one of them
/// is counted, and the others find what it has begun; each waits no longer than its caller does.
async fn admit(api: &Api, caller: &Caller, ask: &Ask, until: Deadline) -> Result<Admitted, Problem> {
    let turn = until.hold(&*api.clock, api.signings.turn(ask.key)).await;
    if api.signings.is_key_known(&ask.caller, ask.key).await? {
        return Ok(Admitted::Repetition);
    }
    let Some(turn) = turn else {
        api.metrics.idempotency(IdempotencyResult::InProgress);
        let detail = "the first call with this key has no outcome yet";
        return Err(Problem::new("idempotency_in_progress", detail).retry_after(Duration::from_secs(2)));
    };
    let refusal = match count_new(api, caller, ask).await {
        Ok(counted_at) => return Ok(Admitted::New { turn, counted_at }),
        Err(refusal) => refusal,
    };
    // Another daemon may have begun this very call meanwhile.
    if api.signings.is_key_known(&ask.caller, ask.key).await? {
        return Ok(Admitted::Repetition);
    }
    Err(refusal)
}

/// Counts a new create in its caller's hour and day, and answers when in the hour. What its key has made is answered from
/// the store: that counts in neither, and is there also when both are used up (rule E3). One that either refuses counts in
/// neither as well.
async fn count_new(api: &Api, caller: &Caller, ask: &Ask) -> Result<Option<Timestamp>, Problem> {
    // Counted only once the day has let it in: other daemons are told of what is counted, and that is not taken back.
    let held = caller.hold_share(|| CREATE_CALLS, api.hourly_limit, api.clock.now())?;
    if let Some(cap) = caller.daily_signings() {
        caller.capped(api.signings.count_create(&ask.caller, ask.key, cap.into()).await)?;
    }
    Ok(held.map(|held| held.keep(api.clock.now())))
}

/// `POST /v1/signings?dry_run=true`: all that a create would be refused for, at once. It needs no key,
/// because nothing is stored and nothing but reads that are remembered is spent.
async fn dry_run(api: &Api, caller: &Caller, request: Request) -> Result<Response, Problem> {
    let wait = stated(request.headers());
    let body = whole_body(request, api).await?;
    let read = on_reader(api, &body, read_create).await?;
    let Judged { draft, files, refusal, may_ask } = judge(api, caller, read).await?;
    let mut found: Vec<_> =
        ["schema", "rights", "documents", "return_url", "sender"].map(|check| (check, Ok(()))).into();
    if let Some(problem) = refusal {
        found.push(("request", Err(problem)));
    }
    if may_ask {
        // What a stranger's sender may do is none of this caller's business.
        let of_upstream = api.signings.dry_run(&draft, wait).await.into_iter();
        found.extend(of_upstream.map(|(check, result)| {
            (check, result.map_err(|error| with_consent_link(api, &draft.sender, error.into())))
        }));
    }
    let checks: Vec<_> = found.iter().map(|(check, _)| *check).collect();
    match Problem::join(found.into_iter().filter_map(|(_, result)| result.err())) {
        Some(problem) => Err(problem),
        None => Ok(json(StatusCode::OK, preflight::found(&checks, &files))),
    }
}

/// What a body was read as, and what is wrong with it.
type Read = (Option<Draft>, Invalids);

/// Reads a body. A large one holds up nobody else's call meanwhile.
async fn on_reader<T: Send + 'static>(
    api: &Api,
    body: &Bytes,
    read: impl FnOnce(&Bytes, &TemplateNames) -> T + Send + 'static,
) -> Result<T, Problem> {
    let (body, templates) = (body.clone(), Arc::clone(&api.templates));
    let done = api.signings.on_reader(body.len(), move || read(&body, &templates)).await;
    done.ok_or_else(Problem::broken_off)
}

/// A draft that this caller may send, with documents that hold their anchors.
async fn checked(api: &Api, caller: &Caller, read: Read) -> Result<Draft, Problem> {
    let judged = judge(api, caller, read).await?;
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
/// of them says, so that whoever is refused learns everything at once. The error is of what is no JSON, or no object.
async fn judge(api: &Api, caller: &Caller, (draft, mut faults): Read) -> Result<Judged, Problem> {
    let Some(draft) = draft else { return Err(faults.into()) };
    let has_form = faults.is_empty();
    let sender = api.sender_of(caller, draft.sender.as_str());
    let may_ask = has_form && sender.is_ok();
    faults.add_elsewhere(caller.check(&draft, &api.templates));
    let (draft, files, more) = api.signings.preflight(draft).await;
    faults.add_elsewhere(more);
    let is_forbidden = faults.0.iter().any(|fault| fault.code == "forbidden");
    if sender.is_ok() && !faults.is_empty() && !is_forbidden {
        faults.add_elsewhere(api.signings.known_roles(&draft));
    }
    // Where there is no name, nobody of that name was asked for.
    let is_named = !faults.0.iter().any(|fault| fault.pointer == "/sender");
    let refusal = match sender {
        Ok(_) if faults.is_empty() => None,
        Ok(_) => Some(faults.into()),
        Err(_) if !is_named => Some(faults.into()),
        Err(problem) if faults.is_empty() => Some(problem),
        Err(problem) => {
            faults.add_elsewhere(Invalids::of("/sender", problem.code(), problem.detail()));
            // What is another's does not exist, whatever else is wrong.
            Some(problem.besides(faults))
        }
    };
    Ok(Judged { draft, files, refusal, may_ask })
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

fn count(api: &Api, outcome: &Result<Created, Error>) {
    if let Some(result) = counted(outcome) {
        api.metrics.idempotency(result);
    }
}

/// Whether it is the answer to another call with the same key.
fn is_of_another(outcome: &Result<Created, Error>) -> bool {
    use IdempotencyResult::{Conflict, InProgress, Replayed};
    matches!(counted(outcome), Some(Conflict | InProgress | Replayed))
}

/// What the key led to. None: the call was refused before that was decided, and the key is as it was.
fn counted(outcome: &Result<Created, Error>) -> Option<IdempotencyResult> {
    let result = match outcome {
        Ok(Created::Made { replayed: true, .. }) | Err(Error::Failed { replayed: true, .. }) => {
            IdempotencyResult::Replayed
        }
        Err(Error::InProgress { .. }) => IdempotencyResult::InProgress,
        Err(Error::KeyReused { .. }) => IdempotencyResult::Conflict,
        Ok(_) | Err(Error::Failed { .. }) => IdempotencyResult::New,
        Err(_) => return None,
    };
    Some(result)
}

fn location(signing: SigningId) -> HeaderValue {
    HeaderValue::try_from(format!("/v1/signings/{signing}")).expect("an id is a header value")
}

/// The key of a create, as the caller wrote it without its quotes (draft-ietf-httpapi-idempotency-key:
/// a structured-field string; bare words are taken too).
fn idempotency_key(headers: &HeaderMap) -> Result<&str, Problem> {
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
    if visible { Ok(key) } else { Err(wrong()) }
}

/// The digest of a key within its caller.
fn scoped(caller: &Caller, key: &str) -> [u8; 32] {
    sha256(&[caller.name.as_str(), key].join("\0").into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store;

    #[test]
    fn a_key_of_which_nothing_was_decided_is_not_counted() {
        let signing = SigningId::generate(jiff::Timestamp::from_second(1_700_000_000).unwrap());
        let retry_after = Duration::from_secs(1);
        let made = |replayed| Ok(Created::Made { signing, body: Bytes::new(), replayed });
        for (outcome, counts) in [
            (made(true), Some(IdempotencyResult::Replayed)),
            (made(false), Some(IdempotencyResult::New)),
            (Ok(Created::Accepted { signing, body: Bytes::new() }), Some(IdempotencyResult::New)),
            (Err(Error::InProgress { signing, retry_after }), Some(IdempotencyResult::InProgress)),
            (Err(Error::KeyReused { signing }), Some(IdempotencyResult::Conflict)),
            (Err(Error::Busy { retry_after }), None),
            (Err(Error::Store(store::Error::Unavailable("it is away".into()))), None),
        ] {
            assert_eq!(counted(&outcome), counts);
        }
    }
}
