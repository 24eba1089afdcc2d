//! `/v1/senders`: how the senders stand, what a check finds now, and where consent is given.
//!
//! A caller sees the senders it may use, and never a token, a key, or where a key lies.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{Path, Query, Request, State, rejection::QueryRejection},
    response::Response,
};
use http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    api::{
        Problem,
        caller::Authenticated,
        exchange::{bad_query, empty_object, json, whole_body},
        router::Api,
    },
    auth::{self, SenderStatus, consent::ConsentBy},
    domain::{Mode, SenderName},
    objects::{Invalids, show},
};

/// The longest address that a consent goes back to.
const MAX_ADDRESS: usize = 2_048;
/// A key that earned a token so recently has proven itself: checks do not cost a token each.
const PROVEN: SignedDuration = SignedDuration::from_secs(10);

/// The longest wait for a mint that was asked for.
const PATIENCE: Duration = Duration::from_secs(15);

#[derive(Serialize)]
struct SenderObject {
    object: &'static str,
    name: Arc<str>,
    mode: &'static str,
    state: &'static str,
    consent: &'static str,
    account_id: Option<String>,
    expires_at: Option<Timestamp>,
    runway_seconds: u64,
    keys: Vec<KeyObject>,
    last_error: Option<ErrorObject>,
    next_try: Option<Timestamp>,
}

#[derive(Serialize)]
struct KeyObject {
    fingerprint: Option<String>,
    state: &'static str,
    last_success: Option<Timestamp>,
}

#[derive(Serialize)]
struct ErrorObject {
    code: &'static str,
    cause: &'static str,
    detail: String,
    fix: &'static str,
    since: Timestamp,
}

/// `GET /v1/senders`.
pub(super) async fn list(
    State(api): State<Api>,
    Authenticated(caller): Authenticated,
) -> Result<Response, Problem> {
    let names = api.senders.iter().filter(|name| caller.sees_sender(name));
    let shown = names.filter_map(|name| Some(object(&api, name, api.auth.status(name.as_str()).ok()?)));
    Ok(json(StatusCode::OK, show::list(shown.collect(), None)))
}

fn object(api: &Api, name: &SenderName, status: SenderStatus) -> SenderObject {
    let next_try = status.failure.as_ref().map(|failure| failure.next_try);
    SenderObject {
        object: "sender",
        mode: match api.mode {
            Mode::Live => "live",
            Mode::Test => "test",
        },
        state: match (status.has_token() || status.is_idle(), status.failure.is_some()) {
            (true, false) => "ready",
            (true, true) => "degraded",
            (false, _) => "not_ready",
        },
        consent: status.consent.as_str(),
        account_id: api.esign.known(name).map(|acting| acting.account.to_string()),
        expires_at: status.expires_at,
        runway_seconds: status.runway.as_secs(),
        keys: status
            .keys
            .iter()
            .map(|key| KeyObject {
                fingerprint: key.fingerprint.map(|print| print.to_string()),
                state: key.state.as_str(),
                last_success: key.last_success,
            })
            .collect(),
        last_error: status.failure.map(|failure| ErrorObject {
            code: failure.error.code(),
            cause: failure.error.cause(),
            detail: failure.error.to_string(),
            fix: failure.error.fix(),
            since: failure.since,
        }),
        next_try,
        name: status.name,
    }
}

#[derive(Serialize)]
struct CheckObject {
    object: &'static str,
    sender: String,
    ok: bool,
    checks: Vec<Finding>,
}

/// One thing that was looked at. What could not be looked at for the failure before it is not listed.
#[derive(Serialize)]
struct Finding {
    check: &'static str,
    ok: bool,
    code: Option<&'static str>,
    detail: String,
    fix: Option<&'static str>,
}

impl Finding {
    fn of<T>(check: &'static str, result: &Result<T, Arc<auth::Error>>, good: String) -> Self {
        match result {
            Ok(_) => Self { check, ok: true, code: None, detail: good, fix: None },
            Err(error) => {
                let cause = std::error::Error::source(&**error).map(|cause| format!(": {cause}"));
                let detail = format!("{error}{}", cause.unwrap_or_default());
                Self { check, ok: false, code: Some(error.code()), detail, fix: Some(error.fix()) }
            }
        }
    }
}

/// `POST /v1/senders/{name}/check`: a token, the user and the account, asked for now.
pub(super) async fn check(
    State(api): State<Api>,
    Authenticated(caller): Authenticated,
    Path(name): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let sender = api.sender_of(&caller, &name)?;
    empty_object(&whole_body(request, &api).await?)?;
    let checks = findings(&api, &name).await;
    let ok = checks.iter().all(|check| check.ok);
    if ok {
        // Where the account lives may have changed; the next call looks again.
        api.esign.forget(&sender);
    }
    let found = CheckObject { object: "sender_check", sender: name, ok, checks };
    Ok(json(StatusCode::OK, show::to_bytes(&found)))
}

async fn findings(api: &Api, name: &str) -> Vec<Finding> {
    let minted = if is_proven(api, name) { Ok(()) } else { minted(api, name).await };
    let mut checks = vec![Finding::of("token", &minted, "the account server gives us tokens".to_owned())];
    if minted.is_err() {
        return checks;
    }
    let user = api.auth.look_up_user(name).await;
    let count = user.as_ref().map_or(0, |user| user.accounts.len());
    checks.push(Finding::of("user", &user, format!("the user is a member of {count} account(s)")));
    if user.is_ok() {
        let account = api.auth.account(name).await;
        let good =
            account.as_ref().map(|account| format!("the account is {} ({})", account.name, account.id));
        checks.push(Finding::of("account", &account, good.unwrap_or_default()));
    }
    checks
}

/// Mints. Mints keep a distance to one another; who checks again and again is told what the last one said.
async fn minted(api: &Api, name: &str) -> Result<(), Arc<auth::Error>> {
    tokio::select! {
        minted = api.auth.prove(name) => minted,
        () = api.clock.sleep(PATIENCE) => match api.auth.status(name)?.failure {
            Some(failure) => Err(failure.error),
            None => api.auth.token(name).await.map(|_| ()),
        },
    }
}

fn is_proven(api: &Api, name: &str) -> bool {
    let Ok(status) = api.auth.status(name) else { return false };
    let now = api.clock.now();
    status.has_token()
        && status.failure.is_none()
        && status.keys.iter().filter_map(|key| key.last_success).any(|at| now.duration_since(at) < PROVEN)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ConsentQuery {
    redirect_uri: Option<String>,
}

#[derive(Serialize)]
struct ConsentObject {
    object: &'static str,
    sender: String,
    state: &'static str,
    individual_url: String,
    organisation_url: String,
    redirect_uri: String,
}

/// `GET /v1/senders/{name}/consent`: where a person gives consent. Without a public listener the caller
/// says which registered address the browser goes back to.
pub(super) async fn consent(
    State(api): State<Api>,
    Authenticated(caller): Authenticated,
    Path(name): Path<String>,
    query: Result<Query<ConsentQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(query) = query.map_err(|_| bad_query())?;
    api.sender_of(&caller, &name)?;
    let ours = api.public_origin.as_ref().map(|origin| format!("{origin}/consent/callback"));
    let is_ours = ours.is_some() && query.redirect_uri.is_none();
    let redirect_uri = query.redirect_uri.or(ours).ok_or_else(|| {
        let mut faults = Invalids::default();
        faults.wrong("/redirect_uri", "is needed in the query: public.base_url is not set");
        faults
    })?;
    check_address(&redirect_uri)?;
    let state = api.auth.status(&name).map_err(|error| gone(&error))?.consent.as_str();
    let url = |by, state: Option<&auth::consent_state::ConsentState>| {
        let (text, verifier) = (state.map(|state| state.state.as_str()), state.map(|state| &state.verifier));
        api.auth.consent_url(&name, by, &redirect_uri, text, verifier).map_err(|error| gone(&error))
    };
    let asked = is_ours.then(|| api.consents.issue(&name, api.clock.now()));
    // An administrator is not the sender's user, so there is nobody to compare: no state.
    let (individual_url, organisation_url) =
        (url(ConsentBy::Individual, asked.as_ref())?, url(ConsentBy::Organisation, None)?);
    let object = "consent";
    let shown = ConsentObject { object, sender: name, state, individual_url, organisation_url, redirect_uri };
    Ok(json(StatusCode::OK, show::to_bytes(&shown)))
}

/// An address that a browser can go back to: anything else would end on a page of DocuSign's that blames
/// the visitor.
fn check_address(redirect_uri: &str) -> Result<(), Problem> {
    // The parser is as lenient as a browser; what is registered at DocuSign is a URI (RFC 3986, appendix A).
    let is_uri =
        redirect_uri.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~:/?[]@!$&'()*+,;=%".contains(&b));
    let is_web = url::Url::parse(redirect_uri).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
    if is_uri && is_web && redirect_uri.len() <= MAX_ADDRESS {
        return Ok(());
    }
    let mut faults = Invalids::default();
    faults.wrong(
        "/redirect_uri",
        format!("must be an http(s) URL without fragment, {MAX_ADDRESS} bytes at most"),
    );
    Err(faults.into())
}

/// Says where to consent, if that is what is missing: the page itself where the browser comes back to us, and
/// otherwise the call that makes its address.
pub(super) fn with_consent_link(api: &Api, sender: &SenderName, problem: Problem) -> Problem {
    if problem.code() != "consent_required" {
        return problem;
    }
    let name = sender.as_str();
    let page = api.public_origin.as_ref().and_then(|origin| {
        let asked = api.consents.issue(name, api.clock.now());
        let redirect_uri = format!("{origin}/consent/callback");
        let (state, verifier) = (Some(asked.state.as_str()), Some(&asked.verifier));
        api.auth.consent_url(name, ConsentBy::Individual, &redirect_uri, state, verifier).ok()
    });
    problem.link("consent", page.unwrap_or_else(|| format!("/v1/senders/{name}/consent")))
}

fn gone(error: &auth::Error) -> Problem {
    let problem = Problem::new(error.code(), error.to_string());
    if error.retry_after().is_some() { problem.retry_after(Duration::from_secs(5)) } else { problem }
}
