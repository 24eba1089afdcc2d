//! `ANY /v1/senders/{name}/esign/restapi/…`: official SDKs work as a sender without a key or a token of
//! DocuSign: our address is their base path, with or without `restapi`, and the caller's API key is their bearer.
//!
//! What may pass is a short list of methods and whole paths ([`rules`]); everything else is refused, with the
//! reason, before anything is sent. The body is framed anew ([`body`]), and headers are chosen one by one on
//! the way out and back ([`esign::ForwardRequest`]), so the framing, the credentials and the hop-by-hop
//! headers of a client never reach the upstream. A request that is framed twice (a length and chunks) is read
//! by its chunks, and its connection ends behind it: hyper does so, and a test holds it to that. One that is in a
//! further transfer coding within its chunks is refused before it comes here ([`middleware`](super::middleware)). No
//! token ever comes back (S3). Each call is a line of the audit log before it is sent (S6), and is counted in the
//! account's budget like any other.
//!
//! What we refuse ourselves is a problem as everywhere, with `errorCode` and `message` in it: where SDKs look for the code
//! and the words ([`Problem::document_for_sdks`]).
//!
//! Two bodies are looked into. That of a recipient view says where the visitor goes afterwards, and that is up to the
//! caller's `return_origins` on this way too (L6, [`views`]). That of `POST envelopes` may name an envelope to copy, or
//! ask for a recipient view in the same call, and passes with neither; and the addresses to which it has DocuSign send a
//! recipient are held to `return_origins`, too ([`creates`]). Nothing else that passes names any: recipients and templates
//! are only read.
//!
//! Callers that share a sender share its account, and so what plain lists and templates show; but the envelope of a
//! signing is reached by the caller whose signing it is, and by nobody else, from the moment that DocuSign makes it:
//! while it may be what another caller's create has just made, nobody reaches it (`provider_unavailable`, after ten
//! seconds). Nor does a list name it, or tell more of it than that it is there and how it stands ([`lists`]). That holds
//! for as long as the signing's record is kept, which is twice `store.retention` after its end; whoever shares a sender
//! reaches the envelope afterwards. An envelope's id has one spelling here: DocuSign takes others, under which nobody
//! would know whose it is. Once the time of a signing (`expires_in`) is over, nobody has a view of its envelope made
//! here, either.
//!
//! | Limit | Value | What is over it |
//! |---|---|---|
//! | body | `api.passthrough_limit`, by default the vendor's 34 MiB | `payload_too_large` |
//! | body of a recipient view | 64 KiB | `payload_too_large` |
//! | body kept for a second try after a refused token | 1 MiB | streams; `provider_unavailable`, send again |
//! | what is kept of bodies over 64 KiB, with all others | `api.bodies_at_once` | waits 10 s; `quota_exceeded` |
//! | bodies at once | 256, and 192 of one caller | `quota_exceeded` |
//! | silence in the middle of a body | 30 s | `invalid_request` |
//! | a whole body | 119 s, with all that was before it | `invalid_request` |
//! | a whole call, its body, its turn and a fresh token included | 120 s | `provider_unavailable` |
//! | reads of an envelope, of each part of it, and of lists by its id | one in 15 minutes | `polling_budget` |
//! | lists by its id, of an open signing that was not asked about for an hour, or for a day where events come and none may be kept back (`signing::deafness`) | our own in its place | `polling_budget` |
//! | envelopes in `envelope_ids` of a list | 100 | `invalid_request` |
//! | streamed bodies at once | 8, or a quarter of the calls; of one caller three quarters of that | waits 10 s, or as long as its caller; `quota_exceeded` |
//! | answer | 256 MiB, streamed | it ends with an error |

mod body;
mod creates;
mod lists;
mod rules;
mod views;

#[cfg(any(test, fuzzing))]
pub(crate) use self::creates::lets_pass;

use std::{slice, sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{Request, State},
    response::Response,
};
use http::{HeaderMap, HeaderValue, header};

use self::rules::Refused;
use crate::{
    api::{
        Problem,
        bodies::is_unpacked,
        caller::{Authenticated, Caller},
        prefer::{in_time, stated},
        router::Api,
        senders::with_consent_link,
    },
    audit::{Act, Entry},
    clock::Deadline,
    domain::{AccountId, EnvelopeId, SenderName, SigningId},
    esign::{self, Acting, Doubt, ForwardRequest},
    signing::Whose,
};

/// The longest that a call may take, its body, its turn and a fresh token included.
const PATIENCE: Duration = Duration::from_secs(120);
/// When to ask again for an envelope of which it is not known whose it is.
const OWNER_RETRY: Duration = Duration::from_secs(5);
/// What the path of every resource of an account begins with, behind `restapi`: an SDK whose base path lacks that begins
/// here.
const ROOT: [&str; 2] = ["v2.1", "accounts"];

/// Passes a call on, or refuses it without one.
pub(super) async fn forward(
    State(api): State<Arc<Api>>,
    Authenticated(caller): Authenticated,
    request: Request,
) -> Result<Response, Problem> {
    if api.closing.is_cancelled() {
        return Err(Problem::shutting_down());
    }
    let whole = Deadline::within(&*api.clock, PATIENCE);
    let (head, body) = request.into_parts();
    let deadline = caller_deadline(&api, &head.headers).unwrap_or(whole);
    let (sender, path) = parts_of(head.uri.path()).ok_or_else(Problem::not_found)?;
    let sender = api.sender_of(&caller, sender)?;
    let (account, below) = below_account(path).ok_or_else(|| refused(&Refused::Unlisted))?;
    // First what needs to ask nobody: a method or path that no account has, a right, an id that no envelope has.
    rules::check(&head.method, below, None).map_err(|why| refused(&why))?;
    let makes_envelope = rules::makes_envelope(&head.method, below);
    check_right(&caller, makes_envelope)?;
    let envelope = rules::envelope(below).map(envelope_id).transpose()?;
    if let Some(own) = known_account(&api, &sender) {
        check_account(account, &own)?;
    }
    check_headers(&head.headers)?;
    let guard = makes_envelope.then(|| creates::Guard::of(&caller, &head.headers)).transpose()?;
    let acting = acting(&api, &sender, deadline).await.map_err(|error| problem(&api, &sender, error))?;
    check_account(account, &acting.account)?;
    let rule = rules::check(&head.method, below, Some(&acting)).map_err(|why| refused(&why))?;
    let signing = match &envelope {
        Some(envelope) => {
            let named = slice::from_ref(envelope);
            owned(&api, &caller, &acting.account, named, deadline).await?.first().copied()
        }
        None => None,
    };
    if rules::lists_envelopes(&head.method, below) {
        lists::check(&api, &caller, &acting.account, head.uri.query(), deadline).await?;
    }
    let is_view = rules::is_recipient_view(below);
    if let Some(signing) = signing.filter(|_| is_view) {
        api.signings.may_still_open(&caller.name, signing).await?;
    }
    let limit = if is_view { views::LIMIT } else { body::limit(&api) };
    // A call without a body holds nothing that is worth a number.
    let _place = (!http_body::Body::is_end_stream(&body)).then(|| api.room.pass(&caller.name)).transpose()?;
    let ends = body::Ends { whole, caller: deadline };
    let (body, source) = body::take(&api, &caller.name, body, guard, limit, ends).await?;
    let user = if is_view { views::check(&caller, &head.headers, head.uri.query(), &body)? } else { None };
    if let Some(cap) = caller.daily_signings().filter(|_| makes_envelope) {
        caller.capped(api.signings.count_envelope(&caller.name, cap.into()).await)?;
    }
    let entry = entry(&caller, &sender, &format!("{} {rule}", head.method), envelope.as_ref(), signing);
    announce(&api, &sender, entry).await?;
    let request = ForwardRequest {
        method: head.method.clone(),
        path: below,
        query: head.uri.query(),
        headers: &head.headers,
        body,
    };
    let answer = send(&api, &acting, request, deadline).await;
    if let Some((signing, user, trace)) = view_made(signing.zip(user), &answer) {
        api.signings.view_was_passed(signing, &user, trace).await;
    }
    answer.map_err(|error| match source.stopped() {
        // It was the caller's body.
        Some(stopped) => Problem::from(stopped),
        None if makes_envelope && error.doubt() == Doubt::Yes => lost(&error),
        None => problem(&api, &sender, error),
    })
}

/// The view that a passed call has made, if it has: the signing, whose it is, and DocuSign's id of the call.
fn view_made(
    asked: Option<(SigningId, String)>,
    answer: &Result<Response, esign::Error>,
) -> Option<(SigningId, String, Option<String>)> {
    let answer = answer.as_ref().ok().filter(|answer| answer.status().is_success())?;
    asked.map(|(signing, user)| (signing, user, esign::trace(answer.headers())))
}

/// Until when a call must be able to end if its caller says how long it waits (rule B4). What was sent is answered in
/// the time that it has anyway: a create whose answer nobody waits for is in doubt, and would be for a header that an
/// SDK may send of its own accord.
fn caller_deadline(api: &Api, headers: &HeaderMap) -> Option<Deadline> {
    let wait = stated(headers)?;
    Some(Deadline::within(&*api.clock, wait).answered_within(&*api.clock, PATIENCE))
}

async fn acting(api: &Api, sender: &SenderName, deadline: Deadline) -> Result<Arc<Acting>, esign::Error> {
    in_time(&*api.clock, deadline, api.esign.acting(sender)).await?
}

/// Nobody looks a passed create up: whoever sent it must, before they send it again.
fn lost(error: &esign::Error) -> Problem {
    let detail =
        format!("POST envelopes was sent, and its answer was lost ({error}): the envelope may exist");
    Problem::new("outcome_unknown", detail)
}

async fn send(
    api: &Api,
    acting: &Arc<Acting>,
    request: ForwardRequest<'_>,
    deadline: Deadline,
) -> Result<Response, esign::Error> {
    let answer = api.esign.forward(acting, request, deadline).await?;
    let mut response = Response::new(Body::from_stream(answer.body));
    *response.status_mut() = answer.status;
    *response.headers_mut() = answer.headers;
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
    Ok(response)
}

fn check_right(caller: &Caller, makes_envelope: bool) -> Result<(), Problem> {
    if caller.may_pass_through(makes_envelope) {
        return Ok(());
    }
    let detail = if caller.may_pass_through(false) {
        "this caller may not pass on calls that make an envelope: what its other rights refuse (templates, SMS) \
         cannot be seen in a call that is passed on as it is"
    } else {
        "this caller may not pass calls through (callers.NAME.passthrough)"
    };
    let fix = "Make the signing with POST /v1/signings, or set passthrough = true for this caller in the \
               settings.";
    Err(Problem::new("forbidden", detail).fix(fix))
}

/// Refuses an account in the path that is not the sender's.
fn check_account(named: Option<&str>, own: &AccountId) -> Result<(), Problem> {
    let Some(other) = named.filter(|named| !named.eq_ignore_ascii_case(own.as_str())) else { return Ok(()) };
    let is_number = other.bytes().all(|byte| byte.is_ascii_digit());
    let why = if is_number { Refused::AccountNumber } else { Refused::OtherAccount };
    Err(refused(&why(own.clone())))
}

/// The envelope of this id, in the one spelling under which the store knows it. Another spelling of it would find no
/// signing, and so no owner, here, and the envelope all the same at DocuSign.
fn envelope_id(text: &str) -> Result<EnvelopeId, Problem> {
    let id = uuid::Uuid::try_parse(text).map_err(|_| Problem::not_found())?.hyphenated().to_string();
    if text.eq_ignore_ascii_case(&id) { Ok(EnvelopeId::new(id)) } else { Err(Problem::not_found()) }
}

/// The sender's account, as far as it is known without asking anybody.
fn known_account(api: &Api, sender: &SenderName) -> Option<AccountId> {
    let known = api.esign.known(sender).map(|acting| acting.account.clone());
    let named =
        || api.auth.named_account(sender.as_str()).map(|id| AccountId::new(id.hyphenated().to_string()));
    known.or_else(named)
}

/// The signings that these envelopes belong to, as far as they belong to any. A signing is its caller's alone, also where
/// several callers share a sender: to the others its envelope does not exist. What was made by passing calls through
/// belongs to nobody but the account.
async fn owned(
    api: &Api,
    caller: &Caller,
    account: &AccountId,
    envelopes: &[EnvelopeId],
    deadline: Deadline,
) -> Result<Vec<SigningId>, Problem> {
    let found = api.signings.whose(&caller.name, account, envelopes, deadline).await?;
    if found.contains(&Whose::Anothers) {
        return Err(Problem::not_found());
    }
    if found.contains(&Whose::Unknown) {
        let detail = "it is not yet known whose envelope this is: a create of another caller is under way in this \
                      account, and its outcome is not known";
        return Err(Problem::new("provider_unavailable", detail).retry_after(OWNER_RETRY));
    }
    let theirs = |whose| match whose {
        Whose::Theirs(signing) => Some(signing),
        Whose::Anothers | Whose::Nobodys | Whose::Unknown => None,
    };
    Ok(found.into_iter().filter_map(theirs).collect())
}

/// Refuses headers that would make the call mean something else than its path and body say.
fn check_headers(headers: &HeaderMap) -> Result<(), Problem> {
    // "Send on behalf of" acts as another user of the account: the sender is one user.
    let acting = ["x-docusign-act-on-behalf", "x-docusign-act-as-user", "x-docusign-authentication"];
    if let Some(name) = acting.into_iter().find(|name| headers.contains_key(*name)) {
        return Err(Problem::new(
            "forbidden",
            format!("{name} is not passed on: a sender acts as its own user, and for nobody else"),
        )
        .fix("Leave the header out, and use the sender whose user it would name."));
    }
    is_unpacked(headers)
}

/// The line of the audit log: the call by its rule, and which envelope and signing it is about.
fn entry(
    caller: &Caller,
    sender: &SenderName,
    call: &str,
    envelope: Option<&EnvelopeId>,
    signing: Option<SigningId>,
) -> Entry {
    let entry = Entry::new(Act::Forward, sender).caller(&caller.name);
    let entry = match envelope {
        Some(envelope) => entry.detail(format_args!("{call} {envelope}")),
        None => entry.detail(call),
    };
    match signing {
        Some(signing) => entry.signing(signing),
        None => entry,
    }
}

async fn announce(api: &Api, sender: &SenderName, entry: Entry) -> Result<(), Problem> {
    api.signings.audit().record(entry).await.map_err(|error| {
        tracing::error!(%sender, %error, "not passed on: it cannot be written into the audit log");
        problem(api, sender, esign::Error::Unrecorded)
    })
}

fn problem(api: &Api, sender: &SenderName, error: esign::Error) -> Problem {
    with_consent_link(api, sender, error.into())
}

fn refused(why: &Refused) -> Problem {
    Problem::new("forbidden", why.to_string()).fix(why.fix())
}

/// The sender's name and the path behind it, as they came.
fn parts_of(path: &str) -> Option<(&str, &str)> {
    path.strip_prefix("/v1/senders/")?.split_once("/esign/")
}

/// The account in a path, if it names one, and what follows it: the path that SDKs make, with `restapi` or without it
/// (`v2.1/accounts/{id}/envelopes`), and the short one (`envelopes`), which is in the sender's account.
fn below_account(path: &str) -> Option<(Option<&str>, &str)> {
    if !matches!(path.split('/').next(), Some("restapi" | "v2.1")) {
        return Some((None, path));
    }
    let mut rest = path.strip_prefix("restapi/").unwrap_or(path);
    for word in ROOT {
        rest = rest.strip_prefix(word)?.strip_prefix('/')?;
    }
    rest.split_once('/').map(|(account, below)| (Some(account), below))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_passed_view_the_id_of_its_call_is_kept_as_far_as_it_is_plain() {
        let asked = || Some((SigningId::from_uuid(uuid::Uuid::nil()), "c-1".to_owned()));
        let answered = |status, trace| {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = status;
            response.headers_mut().insert("x-docusign-tracetoken", HeaderValue::from_static(trace));
            view_made(asked(), &Ok(response)).map(|(_, user, trace)| (user, trace))
        };
        let kept = |trace: Option<&str>| Some(("c-1".to_owned(), trace.map(str::to_owned)));
        assert_eq!(answered(http::StatusCode::CREATED, "0f2d-4a3c"), kept(Some("0f2d-4a3c")));
        assert_eq!(answered(http::StatusCode::CREATED, "a <b>"), kept(Some("ab")));
        assert_eq!(answered(http::StatusCode::CREATED, "<>"), kept(None));
        assert_eq!(answered(http::StatusCode::BAD_REQUEST, "0f2d-4a3c"), None);
    }

    #[test]
    fn the_account_is_taken_out_of_the_path_as_it_came() {
        for path in ["restapi/v2.1/accounts/1/envelopes/2", "v2.1/accounts/1/envelopes/2"] {
            assert_eq!(below_account(path), Some((Some("1"), "envelopes/2")), "{path}");
        }
        assert_eq!(below_account("envelopes/2"), Some((None, "envelopes/2")));
        for path in [
            "restapi/v2/accounts/1/x",
            "restapi",
            "restapi/restapi/v2.1/accounts/1/x",
            "restapi/v2.1/accounts/1",
            "v2.1",
            "v2.1/accounts/1",
            "v2.1/restapi/v2.1/accounts/1/x",
        ] {
            assert_eq!(below_account(path), None, "{path}");
        }
        // Not one of the forms, and no rule takes it as the short one.
        assert_eq!(below_account("/restapi/v2.1/accounts/1/x").unwrap().0, None);
    }

    #[test]
    fn an_envelope_is_known_by_one_spelling_in_any_case() {
        let id = "3c5fc6a7-5172-4e0d-9b1f-0a1b2c3d4e5f";
        for same in [id.to_owned(), id.to_ascii_uppercase()] {
            assert_eq!(envelope_id(&same).unwrap().as_str(), id);
        }
        for other in [
            id.replace('-', ""),
            format!("{{{id}}}"),
            format!("urn:uuid:{id}"),
            format!("{id}-"),
            format!("-{id}"),
            "3c5fc6a7517-2-4e0d-9b1f-0a1b2c3d4e5f".to_owned(),
            "1".to_owned(),
            "status".to_owned(),
        ] {
            assert_eq!(envelope_id(&other).unwrap_err().code(), "not_found", "{other}");
        }
    }
}
