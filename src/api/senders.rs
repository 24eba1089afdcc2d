//! `/v1/senders`: how the senders stand, what a check finds now, and where consent is given.
//!
//! A caller sees the senders it may use, and never a token, a key, or where a key lies.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{Request, State},
    response::Response,
};
use http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    api::{
        Problem,
        caller::Authenticated,
        exchange::{Asked, Empty, PageQuery, Parameter, Parameters, Path, json, optional, page},
        pairing::pairing_url,
        prefer::{in_time, stated},
        router::Api,
    },
    audit::{Act, Entry},
    auth::{
        self, SenderStatus,
        consent::{self, ConsentBy, ConsentUrls},
    },
    clock::Deadline,
    domain::{CallerName, SenderName, SigningId, template_names::Ids},
    esign,
    objects::{Invalids, show},
    signing,
    telemetry::chain,
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
    /// The sender of the settings that it was made like; none if it is one itself.
    like: Option<String>,
    /// Whether a customer has connected it; none if its user is in the settings.
    connected: Option<bool>,
    /// Whom it acts as; none while nobody connected it.
    user_id: Option<String>,
    account_id: Option<String>,
    /// Templates that it alone calls so.
    templates: Ids,
    /// The brand that its envelopes wear; none: the account's own.
    brand: Option<String>,
    /// How many Connect keys of its own it was given; none if it is in the settings.
    hmac_key_count: Option<usize>,
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

/// What is wrong with a sender.
#[derive(Serialize)]
pub(super) struct ErrorObject {
    code: &'static str,
    cause: &'static str,
    detail: String,
    fix: &'static str,
    since: Timestamp,
}

/// `GET /v1/senders`: a page, by name.
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    Authenticated(caller): Authenticated,
    Asked(query): Asked<PageQuery>,
) -> Result<Response, Problem> {
    let mut faults = Invalids::default();
    let limit = page(query.limit, &mut faults) as usize;
    faults.into_result()?;
    // It names the first of its page, so that a sender that is gone meanwhile takes no other with it.
    let first = query.cursor.unwrap_or_default();
    let names = api.auth.senders_from(&first).into_iter().map(SenderName::new);
    let mut names: Vec<_> = names.filter(|name| api.sees(&caller, name)).take(limit + 1).collect();
    let next_cursor = names.get(limit).map(ToString::to_string);
    names.truncate(limit);
    let shown =
        names.iter().filter_map(|name| Some(object(&api, name, api.auth.status(name.as_str()).ok()?)));
    Ok(json(StatusCode::OK, show::list(shown.collect(), next_cursor)))
}

/// `GET /v1/senders/{name}`.
pub(super) async fn show(
    State(api): State<Arc<Api>>,
    Authenticated(caller): Authenticated,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    let sender = api.sender_of(&caller, &name)?;
    api.auth.look_for_consent(&name);
    shown(&api, &sender, StatusCode::OK)
}

/// A sender as it stands now.
pub(super) fn shown(api: &Api, sender: &SenderName, status: StatusCode) -> Result<Response, Problem> {
    let state = api.auth.status(sender.as_str()).map_err(|error| Problem::from(&*error))?;
    Ok(json(status, show::to_bytes(&object(api, sender, state))))
}

fn object(api: &Api, name: &SenderName, status: SenderStatus) -> SenderObject {
    let made = api.pairings.made(name);
    let next_try = status.failure.as_ref().map(|failure| failure.next_try);
    SenderObject {
        object: "sender",
        mode: api.mode.as_str(),
        state: status.standing().as_str(),
        consent: status.consent.as_str(),
        templates: match &made {
            Some(made) => made.templates().clone(),
            None => api.templates.own(name).cloned().unwrap_or_default(),
        },
        brand: api.esign.brand(name),
        hmac_key_count: made.as_ref().map(|made| made.hmac_keys().len()),
        like: made.map(|made| made.like.clone()),
        connected: api.pairings.is_connectable(name.as_str()).then(|| api.pairings.paired(name).is_some()),
        user_id: api.pairings.user_of(&status),
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
        last_error: last_error(&status),
        next_try,
        name: status.name,
    }
}

/// Why a sender cannot act, or will not for long, if that is so.
pub(super) fn last_error(status: &SenderStatus) -> Option<ErrorObject> {
    let (error, since) = status.trouble()?;
    let (code, cause, detail, fix) = (error.code(), error.cause(), error.in_full(), error.fix());
    Some(ErrorObject { code, cause, detail, fix, since })
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
                let (code, detail, fix) = (Some(error.code()), error.in_full(), Some(error.fix()));
                Self { check, ok: false, code, detail, fix }
            }
        }
    }
}

/// `POST /v1/senders/{name}/check`: a token, the user and the account, asked for now.
pub(super) async fn check(
    State(api): State<Arc<Api>>,
    Authenticated(caller): Authenticated,
    Path(name): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let sender = api.sender_of(&caller, &name)?;
    let deadline = stated(request.headers()).map(|wait| Deadline::within(&*api.clock, wait));
    let Empty {} = optional(request, &api).await?;
    let entry = Entry::new(Act::SenderCheck, &sender).caller(&caller.name);
    api.signings.audit().record(entry).await.map_err(|error| {
        tracing::error!(%sender, %error, "not checked: it cannot be written into the audit log");
        esign::Error::Unrecorded
    })?;
    let findings = Box::pin(findings(&api, &name));
    let checks = match deadline {
        Some(deadline) => match in_time(&*api.clock, deadline, findings).await {
            Ok(checks) => checks,
            Err(error) => last_failure(&api, &name).ok_or(error)?,
        },
        None => findings.await,
    };
    let ok = checks.iter().all(|check| check.ok);
    if ok {
        // Where the account lives may have changed, and what is there. The findings have asked for it, so nobody is asked.
        if let Err(error) = api.esign.take_up(&sender).await {
            tracing::info!(%sender, error = %chain(&error), "the sender was well, and cannot act now");
        }
    }
    let found = CheckObject { object: "sender_check", sender: name, ok, checks };
    Ok(json(StatusCode::OK, show::to_bytes(&found)))
}

/// What the last mint said, for a caller whose time was over before the next one.
fn last_failure(api: &Api, name: &str) -> Option<Vec<Finding>> {
    let failure = api.auth.status(name).ok()?.failure?;
    Some(vec![Finding::of("token", &Err::<(), _>(failure.error), String::new())])
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

impl Parameters for ConsentQuery {
    const PARAMETERS: &[(&str, Parameter)] = &[("redirect_uri", Parameter::Text)];
}

#[derive(Serialize)]
struct ConsentObject {
    object: &'static str,
    sender: String,
    state: &'static str,
    individual_url: String,
    organisation_url: String,
    own_organisation_url: Option<&'static str>,
    redirect_uri: String,
    /// Which of the addresses is for whom, and why each may not be enough.
    forms: [ConsentForm; 3],
}

/// A way to give consent (DocuSign, "Consent", read 2026-10).
#[derive(Serialize)]
struct ConsentForm {
    form: &'static str,
    url_field: &'static str,
    who: &'static str,
    counts_for: &'static str,
    fails_when: &'static str,
}

const FORMS: [ConsentForm; 3] = [
    ConsentForm {
        form: "individual",
        url_field: "individual_url",
        who: "the sender's own user",
        counts_for: "that user id alone; one e-mail address can have a user id in each account",
        fails_when: "another user id signs in, a scope is missing on the link, the redirect URI is not registered to \
                     the letter, or it is done in the other environment",
    },
    ConsentForm {
        form: "own_organisation",
        url_field: "own_organisation_url",
        who: "an administrator of the organisation that owns the integration key, in DocuSign Admin under Connected \
              Apps, with both scopes",
        counts_for: "every user of the organisation whose e-mail address is in a domain that it has claimed",
        fails_when: "the user's domain is not claimed, the plan has no organisation, or impersonation was left out",
    },
    ConsentForm {
        form: "customers_organisation",
        url_field: "organisation_url",
        who: "an administrator of the customer's organisation, in a browser",
        counts_for: "every user of that organisation whose e-mail address is in a domain that it has claimed",
        fails_when: "whoever signs in is no organisation administrator, or the user's domain is not claimed; then the \
                     user consents individually",
    },
];

/// `GET /v1/senders/{name}/consent`: where a person gives consent. The caller may say which registered address the
/// browser goes back to; otherwise that is our own, or without a public listener DocuSign's.
pub(super) async fn consent(
    State(api): State<Arc<Api>>,
    Authenticated(caller): Authenticated,
    Path(name): Path<String>,
    Asked(query): Asked<ConsentQuery>,
) -> Result<Response, Problem> {
    api.sender_of(&caller, &name)?;
    let ours = api.public_origin.as_deref();
    let is_ours = ours.is_some() && query.redirect_uri.is_none();
    let redirect_uri = query.redirect_uri.unwrap_or_else(|| consent::redirect_uri(ours));
    check_address(&redirect_uri)?;
    // Where the browser does not come back to us, who asks again is the first to learn of the grant.
    api.auth.await_consent(&name);
    let state = api.auth.status(&name).map_err(|error| Problem::from(&*error))?.consent.as_str();
    let asked = is_ours.then(|| api.consents.issue(&name, api.clock.now()));
    // A connectable sender may have no user yet: whoever consents connects it by that.
    let of_customer = || {
        let page = |by| api.pairings.consent_page(&name, by, &redirect_uri);
        let link = pairing_url(&api, &name).filter(|_| is_ours).map(|(link, _)| link);
        let individual = link.or_else(|| page(ConsentBy::Individual))?;
        Some(ConsentUrls { individual, organisation: page(ConsentBy::Organisation)? })
    };
    let urls = api.auth.consent_urls(&name, &redirect_uri, asked.as_ref());
    let urls = urls.or_else(|error| of_customer().ok_or_else(|| Problem::from(&*error)))?;
    let shown = ConsentObject {
        object: "consent",
        sender: name,
        state,
        individual_url: urls.individual,
        organisation_url: urls.organisation,
        own_organisation_url: api.auth.admin_url(),
        redirect_uri,
        forms: FORMS,
    };
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
    let detail = format!("must be an http(s) URL without fragment, {MAX_ADDRESS} bytes at most");
    Err(Invalids::one("/redirect_uri", detail).into())
}

/// Says where to consent, if that is what is missing: the page itself where the browser comes back to us, and
/// otherwise the call that makes its address.
pub(super) fn with_consent_link(api: &Api, sender: &SenderName, problem: Problem) -> Problem {
    if problem.code() != "consent_required" {
        return problem;
    }
    let name = sender.as_str();
    api.auth.await_consent(name);
    let page = api.public_origin.as_ref().and_then(|origin| {
        let asked = api.consents.issue(name, api.clock.now());
        let redirect_uri = consent::callback(origin);
        api.auth.consent_url(name, ConsentBy::Individual, &redirect_uri, Some(&asked)).ok()
    });
    problem.link("consent", page.unwrap_or_else(|| format!("/v1/senders/{name}/consent")))
}

/// What became of a call about a signing. If its sender lacks consent, the problem says where to give it; only then is
/// the signing read once more, to learn whose it is.
pub(super) async fn of_signing<T>(
    api: &Api,
    caller: &CallerName,
    id: SigningId,
    done: Result<T, signing::Error>,
) -> Result<T, Problem> {
    let problem = match done {
        Ok(done) => return Ok(done),
        Err(error) => Problem::from(error),
    };
    if problem.code() != "consent_required" {
        return Err(problem);
    }
    Err(match api.signings.get(caller, id).await {
        Ok(signing) => with_consent_link(api, &signing.sender, problem),
        Err(_) => problem,
    })
}
